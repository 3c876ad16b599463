/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From host memory to host memory: memmove(), and better than it where it is
 * not the limit. By size, if the ranges are apart:
 *
 *   short        memmove()
 *   middle       an own loop where the CPU has one
 *   long         shared with other threads
 *   past caches  stores that go around the caches
 *
 * A large block of ours that nothing was copied into yet gets its pages in
 * larger pieces than faults would bring: as huge pages, and piece by piece.
 */
#include "internal.h"

#include "kernels.h"

static void portable_copy(void *dest, void const *src, size_t nbytes) {
  memcpy(dest, src, nbytes);
}

static struct umemiKernels const portable = {portable_copy, portable_copy};

static struct umemiKernels const *hostcopy_kernels(void) {
  struct umemiKernels const *best =
      umemi_tuning()->simd ? umemi_kernels_avx2() : NULL;
  return best ? best : &portable;
}

/* --- large blocks of ours ------------------------------------------------- */

/*
 * Those that nothing was copied into yet: address, and size in units in the
 * bits that addresses of 48-bit machines leave free. One word each, so that
 * threads need no lock; who finds his place taken takes it, and what is
 * forgotten is only copied into more slowly.
 */
enum { LARGE_UNIT_SHIFT = 21, LARGE_ADR_BITS = 48 };

_Atomic uint64_t umemi_large_blocks[UMEMI_LARGE_BLOCKS];

#define LARGE_ADR(word) ((word) & ((UINT64_C(1) << LARGE_ADR_BITS) - 1))
#define LARGE_SIZE(word) ((word) >> LARGE_ADR_BITS << LARGE_UNIT_SHIFT)

void umemi_large_note(uintptr_t adr, size_t nbytes) {
  uint64_t units = (uint64_t)nbytes >> LARGE_UNIT_SHIFT;
  if ((uint64_t)adr >> LARGE_ADR_BITS || units >> (64 - LARGE_ADR_BITS))
    return;
  atomic_store_explicit(umemi_large_place(adr), adr | units << LARGE_ADR_BITS,
                        memory_order_relaxed);
}

/* Whole pages of the range, as far as they are in the block. */
static void hostcopy_use_huge_pages(uint64_t word, uintptr_t adr,
                                    size_t nbytes) {
  uintptr_t const page_mask = ~(uintptr_t)(UMEMI_PAGE - 1);
  uintptr_t end = (uintptr_t)(LARGE_ADR(word) + LARGE_SIZE(word));
  if (nbytes < end - adr)
    end = adr + nbytes;
  adr = (adr + UMEMI_PAGE - 1) & page_mask;
  umemi_os.madvise((void *)adr, (end & page_mask) - adr, MADV_HUGEPAGE);
}

/* A block is new until a copy has filled half of it. */
static bool hostcopy_is_new(_Atomic uint64_t *place, uint64_t word,
                            uintptr_t adr, size_t nbytes) {
  if (word == 0 || adr < LARGE_ADR(word) ||
      adr - LARGE_ADR(word) >= LARGE_SIZE(word))
    return false;
  return nbytes < LARGE_SIZE(word) / 2 ||
         atomic_compare_exchange_strong(place, &word, 0);
}

/* Only blocks of ours are advised, and only what is written; about other memory
   nothing is asked. */
bool umemi_host_prepare(void *dest, size_t nbytes) {
  struct umemiTuning const *tuning = umemi_tuning();
  bool fresh = false;
  if (nbytes < tuning->fresh_from)
    return false;
  for (size_t i = 0; i < UMEMI_LARGE_BLOCKS; i++) {
    _Atomic uint64_t *place = &umemi_large_blocks[i];
    uint64_t word = atomic_load_explicit(place, memory_order_relaxed);
    if (!hostcopy_is_new(place, word, (uintptr_t)dest, nbytes))
      continue;
    fresh = true;
    if (tuning->huge)
      hostcopy_use_huge_pages(word, (uintptr_t)dest, nbytes);
  }
  return fresh && tuning->populate;
}

/* Has the page that the byte lies in never been touched? */
static bool hostcopy_is_fresh(char const *byte) {
  unsigned char resident = 1;
  char *page = (char *)byte - (uintptr_t)byte % UMEMI_PAGE;
  return umemi_os.mincore(page, 1, &resident) == 0 && !(resident & 1);
}

/* Brings the pages of a piece in at once. Where the system cannot the copy
   brings them in one by one. */
static void hostcopy_populate(char *dest, size_t nbytes) {
  uintptr_t first = (uintptr_t)dest & ~(uintptr_t)(UMEMI_PAGE - 1);
  if (hostcopy_is_fresh(dest + nbytes - 1))
    umemi_os.madvise((void *)first, (uintptr_t)dest + nbytes - first,
                     UMEMI_POPULATE_WRITE);
}

/* --- the copy ------------------------------------------------------------- */

typedef void hostcopy_kernel(void *dest, void const *src, size_t nbytes);

/* Of any size. */
static void hostcopy_move(hostcopy_kernel *kernel, void *dest, void const *src,
                          size_t nbytes) {
  if (nbytes < UMEMI_KERNEL_LEAST)
    memcpy(dest, src, nbytes);
  else
    kernel(dest, src, nbytes);
}

struct hostcopy {
  char *dest;
  char const *src;
  hostcopy_kernel *kernel;
  bool fresh;
};

static umemStatusType hostcopy_step(struct umemiLanes *lanes, size_t offset,
                                    size_t nbytes, void *slot,
                                    umemError *error) {
  (void)slot, (void)error;
  struct hostcopy const *copy = lanes->arg;
  if (copy->fresh)
    hostcopy_populate(copy->dest + offset, nbytes);
  hostcopy_move(copy->kernel, copy->dest + offset, copy->src + offset, nbytes);
  return umemOK;
}

struct umemiHostPlan umemi_host_plan(uintptr_t dest, uintptr_t src,
                                     size_t nbytes) {
  struct umemiTuning const *tuning = umemi_tuning();
  struct umemiHostPlan plan = {.method = UMEMI_MEMMOVE};
  uintptr_t apart = dest > src ? dest - src : src - dest;
  bool alike = apart % UMEMI_LINE == 0;
  if (apart < nbytes || nbytes < UMEMI_KERNEL_LEAST ||
      nbytes < (alike ? tuning->loop_alike_from : tuning->loop_from))
    return plan;
  plan.method = UMEMI_LOOP;
  if (nbytes >= tuning->share_from)
    plan.helpers = umemi_workers_of(UMEMI_LANES_MAX, false);
  size_t stream_from =
      plan.helpers ? tuning->stream_shared_from : tuning->stream_from;
  if (nbytes >= stream_from)
    plan.method = UMEMI_STREAM;
  return plan;
}

/* Pieces of fresh memory end where huge pages do: two threads would both clear
   one that they share. Up to the first such place there is a shorter piece. */
static size_t hostcopy_head(struct hostcopy const *copy, size_t nbytes) {
  size_t head = (size_t)(-(uintptr_t)copy->dest % UMEMI_HUGE_PAGE);
  return copy->fresh && head < nbytes ? head : 0;
}

static void hostcopy_share(struct hostcopy const *whole, size_t offset,
                           size_t nbytes, unsigned helpers) {
  umemError ignored;
  struct hostcopy part = *whole;
  size_t piece = umemi_tuning()->host_piece;
  part.dest += offset;
  part.src += offset;
  struct umemiLanes lanes = {.nbytes = nbytes,
                             .chunk = part.fresh ? UMEMI_HUGE_PAGE : piece,
                             .grain = 1,
                             .helpers = helpers,
                             .step = hostcopy_step,
                             .arg = &part};
  umemi_lanes_run(&lanes, &ignored);
}

/* Off the short way: system calls may change errno. */
static UMEMI_NOINLINE void hostcopy_long(struct hostcopy *copy, size_t nbytes,
                                         unsigned helpers) {
  int saved = errno;
  copy->fresh = umemi_host_prepare(copy->dest, nbytes);
  size_t head = hostcopy_head(copy, nbytes);
  if (head > 0)
    hostcopy_share(copy, 0, head, 0);
  hostcopy_share(copy, head, nbytes - head, helpers);
  errno = saved;
}

UMEMI_NOINLINE void umemi_host_copy(void *dest, void const *src,
                                    size_t nbytes) {
  struct umemiHostPlan plan =
      umemi_host_plan((uintptr_t)dest, (uintptr_t)src, nbytes);
  struct umemiKernels const *kernels = hostcopy_kernels();
  struct hostcopy copy = {.dest = dest, .src = src, .kernel = kernels->copy};
  if (plan.method == UMEMI_MEMMOVE) {
    memmove(dest, src, nbytes);
    return;
  }
  if (plan.method == UMEMI_STREAM)
    copy.kernel = kernels->stream;
  if (nbytes < umemi_tuning()->fresh_from && plan.helpers == 0)
    copy.kernel(dest, src, nbytes);
  else
    hostcopy_long(&copy, nbytes, plan.helpers);
}

char const *umemi_host_method(size_t total) {
  return total >= umemi_tuning()->stream_from ? "stream" : "loop";
}

void umemi_host_deliver(void *dest, void const *slot, size_t nbytes,
                        size_t total) {
  struct umemiKernels const *kernels = hostcopy_kernels();
  bool past_caches = total >= umemi_tuning()->stream_from;
  hostcopy_move(past_caches ? kernels->stream : kernels->copy, dest, slot,
                nbytes);
}
