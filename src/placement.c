/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a placed Host stands on: the checks of its options, and blocks of whole
 * pages, about which the system is told how to fill them before the first byte
 * is touched.
 */
#include "internal.h"

#include <linux/mempolicy.h>

enum {
  PLACEMENT_HUGE = UMEM_HOST_HUGE_ADVICE | UMEM_HOST_HUGE_RESERVED,
  PLACEMENT_NUMA = UMEM_HOST_BIND | UMEM_HOST_INTERLEAVE,
  /* what malloc() cannot do */
  PLACEMENT_PAGES = PLACEMENT_HUGE | PLACEMENT_NUMA | UMEM_HOST_LOCK,
  PLACEMENT_FLAGS = PLACEMENT_PAGES | UMEM_HOST_WIPE
};

/* --- options -------------------------------------------------------------- */

static umemStatusType options_check(umemHostOptions const *options,
                                    umemError *error) {
  uint32_t flags = options->flags, numa = flags & PLACEMENT_NUMA;
  size_t alignment = options->alignment;
  char const *fault = NULL;
  if (flags & ~(uint32_t)PLACEMENT_FLAGS)
    fault = "flags has unknown bits";
  else if ((flags & PLACEMENT_HUGE) == PLACEMENT_HUGE)
    fault = "HUGE_ADVICE and HUGE_RESERVED contradict each other";
  else if (numa == PLACEMENT_NUMA)
    fault = "BIND and INTERLEAVE contradict each other";
  else if (numa && !options->nodes)
    fault = "BIND and INTERLEAVE need nodes";
  else if (!numa && options->nodes)
    fault = "nodes goes with BIND or INTERLEAVE";
  else if (alignment && !umem_ispowerof2(alignment))
    fault = "alignment is not a power of two";
  else if (alignment > PTRDIFF_MAX)
    fault = "alignment is more than PTRDIFF_MAX";
  if (!fault)
    return umemOK;
  return umem_error_fill(error, umemValueError, 0, 0,
                         "options: %s (flags 0x%" PRIx32
                         ", alignment %zu, nodes 0x%" PRIx64 ")",
                         fault, flags, alignment, options->nodes);
}

/* --- NUMA nodes ----------------------------------------------------------- */

/* "0 1 3" */
static void nodes_print(uint64_t nodes, char *text, size_t size) {
  size_t used = 0;
  text[0] = '\0';
  for (int k = 0; k < 64 && used < size; k++)
    if (nodes >> k & 1)
      used += (size_t)snprintf(text + used, size - used, "%s%d",
                               used ? " " : "", k);
}

/* mbind() takes words of the kernel's, and how many bits they have, plus 1. */
static long nodes_bind(struct umemiPlacement const *placement, void *pages,
                       size_t nbytes) {
  enum { WORD = sizeof(unsigned long) * CHAR_BIT, WORDS = 64 / WORD };
  bool only = placement->flags & UMEM_HOST_BIND;
  unsigned long mask[WORDS];
  for (unsigned i = 0; i < WORDS; i++)
    mask[i] = (unsigned long)(placement->nodes >> i * WORD);
  return umemi_os.mbind(pages, nbytes, only ? MPOL_BIND : MPOL_INTERLEAVE, mask,
                        64 + 1, 0);
}

/* Binding nothing tells whether the system binds at all. */
static umemStatusType nodes_check(struct umemiPlacement const *placement,
                                  umemError *error) {
  uint64_t nodes = umemi_nodes(), missing = placement->nodes & ~nodes;
  uint64_t allowed = umemi_nodes_allowed(),
           closed = placement->nodes & ~allowed;
  char text[64 * 3];
  if (nodes && missing) {
    nodes_print(nodes, text, sizeof text);
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "options: there is no NUMA node %d with memory, but "
                           "these: %s",
                           __builtin_ctzll(missing), text);
  }
  if (closed) {
    nodes_print(allowed, text, sizeof text);
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "options: NUMA node %d is not allowed to this "
                           "process (cpuset(7)), but these: %s",
                           __builtin_ctzll(closed), text);
  }
  if (nodes_bind(placement, NULL, 0))
    return umem_error_fill(error, umemNotSupportedError, errno, 0,
                           "mbind: no NUMA policies here");
  return umemOK;
}

/* --- reserved huge pages -------------------------------------------------- */

/* As the system has them: how many, and the size of one. */
struct hugePages {
  uint64_t total, free, page;
};

static bool huge_look(struct hugePages *huge) {
  char *text = umemi_text_of("/proc/meminfo");
  uint64_t promised = 0;
  bool known = umemi_meminfo(text, "HugePages_Total:", &huge->total) &&
               umemi_meminfo(text, "HugePages_Free:", &huge->free) &&
               umemi_meminfo(text, "Hugepagesize:", &huge->page);
  umemi_meminfo(text, "HugePages_Rsvd:", &promised);
  free(text);
  if (known)
    huge->free -= promised < huge->free ? promised : huge->free;
  return known && umem_ispowerof2((size_t)huge->page);
}

static umemStatusType huge_refused(char const *what, size_t nbytes,
                                   umemError *error) {
  int refused = errno;
  struct hugePages huge = {0, 0, 0};
  huge_look(&huge);
  return umem_error_fill(error, umemMemoryError, refused, 0,
                         "%s, %zu bytes: only %" PRIu64 " of %" PRIu64
                         " reserved huge pages of %" PRIu64 " bytes are free",
                         what, nbytes, huge.free, huge.total, huge.page);
}

/* --- construction --------------------------------------------------------- */

static umemStatusType page_find(struct umemiPlacement *placement,
                                umemError *error) {
  struct hugePages huge;
  if (placement->flags & UMEM_HOST_HUGE_RESERVED) {
    if (!huge_look(&huge))
      return umem_error_fill(error, umemNotSupportedError, 0, 0,
                             "HUGE_RESERVED: /proc/meminfo tells of no "
                             "HugePages_Total and Hugepagesize");
    placement->page = (size_t)huge.page;
  } else if (placement->flags & PLACEMENT_PAGES)
    placement->page = (size_t)sysconf(_SC_PAGESIZE);
  return umemOK;
}

umemStatusType umemi_placement_make(struct umemiPlacement *placement,
                                    umemHostOptions const *options,
                                    umemError *error) {
  *placement = (struct umemiPlacement){.flags = options->flags,
                                       .alignment = options->alignment,
                                       .nodes = options->nodes,
                                       .process = umemi_process()};
  umemStatusType status = options_check(options, error);
  if (status == umemOK && placement->nodes)
    status = nodes_check(placement, error);
  return status == umemOK ? page_find(placement, error) : status;
}

/* --- pages ---------------------------------------------------------------- */

/* What the pages of a block are counted in, and lie on a multiple of. */
static size_t pages_unit(struct umemiPlacement const *placement,
                         size_t nbytes) {
  bool huge =
      placement->flags & UMEM_HOST_HUGE_ADVICE && nbytes >= UMEMI_HUGE_PAGE;
  return huge ? UMEMI_HUGE_PAGE : placement->page;
}

/* A block of 0 bytes has a page, too: it needs an address. */
static size_t pages_size(struct umemiPlacement const *placement,
                         size_t nbytes) {
  size_t unit = pages_unit(placement, nbytes);
  return (nbytes + !nbytes + unit - 1) & ~(unit - 1);
}

static umemStatusType pages_lock(char *pages, size_t size, umemError *error) {
  struct rlimit limit = {0, 0};
  if (umemi_os.mlock(pages, size) == 0)
    return umemOK;
  int refused = errno;
  getrlimit(RLIMIT_MEMLOCK, &limit);
  return umem_error_fill(error, umemMemoryError, refused, 0,
                         "mlock of %zu bytes: RLIMIT_MEMLOCK is %llu bytes",
                         size, (unsigned long long)limit.rlim_cur);
}

/*
 * Huge pages are advice, which may come to nothing. Reserved ones are brought
 * in at once: a node, or a control group, that has too few of them would be
 * told by SIGBUS otherwise. Before Linux 5.14 (EINVAL) it still is.
 */
static umemStatusType pages_settle(struct umemiPlacement const *placement,
                                   char *pages, size_t size, umemError *error) {
  if (placement->flags & UMEM_HOST_HUGE_ADVICE)
    umemi_os.madvise(pages, size, MADV_HUGEPAGE);
  if (placement->nodes && nodes_bind(placement, pages, size))
    return umem_error_fill(error, umemMemoryError, errno, 0,
                           "mbind of %zu bytes to NUMA nodes 0x%" PRIx64, size,
                           placement->nodes);
  if (placement->flags & UMEM_HOST_HUGE_RESERVED &&
      UMEMI_RETRY(umemi_os.madvise(pages, size, UMEMI_POPULATE_WRITE)) &&
      errno != EINVAL)
    return huge_refused("to bring in MAP_HUGETLB", size, error);
  if (placement->flags & UMEM_HOST_LOCK)
    return pages_lock(pages, size, error);
  return umemOK;
}

umemStatusType umemi_pages_alloc(struct umemiPlacement const *placement,
                                 size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  size_t size = pages_size(placement, nbytes);
  size_t unit = pages_unit(placement, nbytes);
  char *pages = umemi_map_pages(
      size, alignment > unit ? alignment : unit, placement->page,
      placement->flags & UMEM_HOST_HUGE_RESERVED ? MAP_HUGETLB : 0);
  if (!pages && placement->flags & UMEM_HOST_HUGE_RESERVED)
    return huge_refused("mmap with MAP_HUGETLB", size, error);
  if (!pages)
    return umem_error_fill(error, umemMemoryError, errno, 0,
                           "mmap of %zu bytes", size);
  umemStatusType status = pages_settle(placement, pages, size, error);
  if (status == umemOK)
    *adr_out = (uintptr_t)pages;
  else
    munmap(pages, size);
  return status;
}

umemStatusType umemi_pages_free(struct umemiPlacement const *placement,
                                uintptr_t adr, size_t nbytes,
                                umemError *error) {
  size_t size = pages_size(placement, nbytes);
  if (umemi_os.munmap((void *)adr, size) == 0)
    return umemOK;
  return umem_error_fill(error, umemRuntimeError, errno, 0,
                         "munmap of %zu bytes", size);
}
