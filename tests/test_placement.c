/* SPDX-License-Identifier: BSD-3-Clause */
/* Placed Hosts: what is asked of their blocks, as the system sees it. */
#include "core.h"

#include "internal.h"

#include <linux/mempolicy.h>
#include <malloc.h>

enum { MIB = 1 << 20, HUGE_PAGE = 2 * MIB };
/* Anything but malloc's memory. */
enum { PAGES = UMEM_HOST_HUGE_ADVICE };

static umemHost host;

static umemStatusType place(uint32_t flags, size_t alignment, uint64_t nodes) {
  umemHostOptions options = {.size = sizeof options,
                             .flags = flags,
                             .alignment = alignment,
                             .nodes = nodes};
  return umemHost_ctor_ex(&host, &options);
}

static umemStatusType place_with(uint32_t flags) {
  return place(flags, 0, 0);
}

static unsigned char *bytes_at(uintptr_t adr) {
  return (unsigned char *)adr;
}

/* Skips the test, and says why, where the system cannot. */
static void place_or_skip(uint32_t flags, uint64_t nodes) {
  umemStatusType status = place(flags, 0, nodes);
  if (status != umemNotSupportedError) {
    assert_ok(status);
    return;
  }
  print_message("skipped: %s\n", umem_get_message(&host));
  assert_ok(umem_dtor(&host));
  skip();
}

/* --- what the system says ------------------------------------------------- */

/* The text behind `key` of the mapping that the address lies in; "" if there is
   none. */
static char const *mapping_says(uintptr_t adr, char const *key) {
  static char line[512];
  bool inside = false, found = false;
  FILE *smaps = fopen("/proc/self/smaps", "re");
  assert_non_null(smaps);
  while (!found && fgets(line, sizeof line, smaps)) {
    unsigned long long start, end;
    if (sscanf(line, "%llx-%llx ", &start, &end) == 2)
      inside = adr >= start && adr < end;
    else
      found = inside && strncmp(line, key, strlen(key)) == 0;
  }
  assert_int_equal(fclose(smaps), 0);
  return found ? line + strlen(key) : "";
}

static unsigned long long mapping_number(uintptr_t adr, char const *key) {
  return strtoull(mapping_says(adr, key), NULL, 10);
}

/* Bytes of address space that this process uses. */
static uint64_t address_space(void) {
  char text[256];
  umemi_read_text("/proc/self/statm", text, sizeof text);
  return strtoull(text, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t first_node(void) {
  uint64_t nodes = umemi_nodes();
  return nodes ? nodes & -nodes : 1;
}

/* --- what the system is made to say --------------------------------------- */

static char const *shown_path;

static int open_shown(char const *path, int flags, ...) {
  if (shown_path && strcmp(path, shown_path) == 0)
    return faults_real.open(temp_path("shown"), O_RDONLY | O_CLOEXEC);
  return faults_real.open(path, flags, 0600);
}

/* From now on the library reads `text` in the file of that name. */
static void show(char const *path, char const *text) {
  file_put(temp_path("shown"), text, strlen(text));
  shown_path = path;
  umemi_os.open = open_shown;
}

#define MEMINFO(total, free, reserved)                                         \
  "MemTotal:  100 kB\nHugePages_Total:   " total "\nHugePages_Free:    " free  \
  "\nHugePages_Rsvd:    " reserved                                             \
  "\nHugePages_Surp:   0\nHugepagesize:       2048 kB\n"

static int huge_maps;

/* As if there were reserved huge pages. */
static void *mmap_huge(void *at, size_t size, int prot, int flags, int fd,
                       off_t offset) {
  if (flags & MAP_HUGETLB) {
    huge_maps++;
    assert_int_equal(size % HUGE_PAGE, 0);
  }
  char *room = faults_real.mmap(at, size + HUGE_PAGE, prot,
                                flags & ~MAP_HUGETLB, fd, offset);
  size_t before = -(uintptr_t)room % HUGE_PAGE;
  if (before)
    munmap(room, before);
  munmap(room + before + size, HUGE_PAGE - before);
  return room + before;
}

/* Half a huge page behind a multiple of 4 MiB. */
static void *mmap_odd(void *at, size_t size, int prot, int flags, int fd,
                      off_t offset) {
  size_t const unit = 4 * MIB;
  char *room = faults_real.mmap(at, size + 2 * unit, prot, flags, fd, offset);
  size_t before = -(uintptr_t)room % unit + MIB;
  munmap(room, before);
  munmap(room + before + size, 2 * unit - before);
  return room + before;
}

static int placement_teardown(void **state) {
  shown_path = NULL;
  faults_reset();
  umem_dtor(&host); /* of a test that was skipped or failed */
  memset(&host, 0, sizeof host);
  return faults_teardown(state);
}

#define placed_test(f) cmocka_unit_test_teardown(f, placement_teardown)

/* --- construction --------------------------------------------------------- */

static void ctor__refuses_options_that_make_no_sense(void **state) {
  (void)state;
  static struct {
    uint32_t flags;
    size_t alignment;
    uint64_t nodes;
    char const *why;
  } const cases[] = {
      {1 << 6, 0, 0, "flags has unknown bits (flags 0x40, "},
      {UINT32_MAX, 0, 0, "flags has unknown bits"},
      {UMEM_HOST_HUGE_ADVICE | UMEM_HOST_HUGE_RESERVED, 0, 0, "contradict"},
      {UMEM_HOST_BIND | UMEM_HOST_INTERLEAVE, 0, 1, "contradict"},
      {UMEM_HOST_BIND, 0, 0, "BIND and INTERLEAVE need nodes"},
      {UMEM_HOST_INTERLEAVE, 0, 0, "BIND and INTERLEAVE need nodes"},
      {0, 0, 1, "nodes goes with BIND or INTERLEAVE"},
      {UMEM_HOST_LOCK, 64, 2, "nodes goes with BIND or INTERLEAVE"},
      {0, 3, 0, "alignment is not a power of two"},
      {UMEM_HOST_WIPE, 4097, 0, "alignment is not a power of two"},
      {0, SIZE_MAX, 0, "alignment is not a power of two"},
      {0, SIZE_MAX / 2 + 1, 0, "alignment is more than PTRDIFF_MAX"}};
  for (size_t i = 0; i < LENGTH(cases); i++) {
    assert_fails(&host,
                 place(cases[i].flags, cases[i].alignment, cases[i].nodes),
                 umemValueError, cases[i].why);
    assert_status(umem_flush(&host), umemTypeError);
    assert_ok(umem_dtor(&host));
  }
}

static void ctor__tells_which_nodes_there_are(void **state) {
  (void)state;
  show("/sys/devices/system/node/has_memory", "0-1,3,62-70\n");
  assert_fails(&host, place(UMEM_HOST_BIND, 0, UINT64_C(1) << 5 | 1),
               umemIndexError,
               "there is no NUMA node 5 with memory, but these: 0 1 3 62 63");
  assert_ok(umem_dtor(&host));
  assert_fails(&host, place(UMEM_HOST_INTERLEAVE, 0, UINT64_MAX),
               umemIndexError, "no NUMA node 2 ");
  assert_ok(umem_dtor(&host));
}

static void ctor__refuses_nodes_that_the_process_may_not_have(void **state) {
  (void)state;
  static uint32_t const flags[] = {UMEM_HOST_BIND, UMEM_HOST_INTERLEAVE};
  show("/proc/self/status", "Name:\tx\nMems_allowed_list:\t40-70\n");
  for (size_t i = 0; i < LENGTH(flags); i++) {
    assert_fails(
        &host, place(flags[i], 0, first_node()), umemIndexError,
        "is not allowed to this process (cpuset(7)), but these: 40 41");
    assert_ok(umem_dtor(&host));
  }
}

static void ctor__does_not_judge_nodes_that_nobody_tells_of(void **state) {
  (void)state;
  static char const *const texts[] = {"", "\n", "(none)\n"};
  place_or_skip(UMEM_HOST_BIND, first_node());
  assert_ok(umem_dtor(&host));
  for (size_t i = 0; i < LENGTH(texts); i++) {
    show("/sys/devices/system/node/has_memory", texts[i]);
    assert_ok(place(UMEM_HOST_BIND, 0, first_node()));
    assert_ok(umem_dtor(&host));
  }
}

static void ctor__without_numa_policies_is_not_supported(void **state) {
  (void)state;
  static int const refusals[] = {ENOSYS, EPERM};
  faults_install();
  for (size_t i = 0; i < LENGTH(refusals); i++) {
    faults_fail(FAULT_mbind, 1, refusals[i]);
    assert_fails(&host, place(UMEM_HOST_BIND, 0, first_node()),
                 umemNotSupportedError, "mbind: no NUMA policies here");
    assert_ok(umem_dtor(&host));
  }
}

static void ctor__without_reserved_huge_pages_is_not_supported(void **state) {
  (void)state;
  static char const *const texts[] = {
      "", "MemTotal:  100 kB\n", "HugePages_Total: 0\nHugePages_Free: 0\n",
      "HugePages_Total: 0\nHugePages_Free: 0\nHugepagesize: 0 kB\n"};
  for (size_t i = 0; i < LENGTH(texts); i++) {
    show("/proc/meminfo", texts[i]);
    assert_fails(&host, place_with(UMEM_HOST_HUGE_RESERVED),
                 umemNotSupportedError, "/proc/meminfo tells of no HugePages");
    assert_ok(umem_dtor(&host));
  }
}

static void ctor__without_memory_is_told(void **state) {
  (void)state;
  faults_install();
  faults_fail(FAULT_malloc, 1, ENOMEM);
  assert_fails(&host, place_with(UMEM_HOST_WIPE), umemMemoryError,
               "a placed Host");
  assert_ok(umem_dtor(&host));
}

/* --- every placement ------------------------------------------------------ */

static size_t const sizes[] = {
    0, 1, 100, 4095, 4097, MIB, HUGE_PAGE - 1, HUGE_PAGE, HUGE_PAGE + 1};

static void check_blocks(size_t alignment) {
  uintptr_t adr[3 * LENGTH(sizes)];
  size_t asked = alignment ? alignment : 1;
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    uintptr_t *a = adr + 3 * i;
    size_t nbytes = sizes[i];
    assert_ok(umem_try_alloc(&host, nbytes, a));
    assert_ok(umem_try_calloc(&host, nbytes, 1, a + 1));
    assert_ok(umem_try_aligned_alloc(&host, 8192, nbytes & -8192UL, a + 2));
    assert_int_equal(a[0] % asked, 0);
    assert_int_equal(a[1] % asked, 0);
    assert_int_equal(a[2] % (asked > 8192 ? asked : 8192), 0);
    assert_true(all_bytes_are(bytes_at(a[1]), nbytes, 0));
    for (size_t k = 0; k < 2; k++)
      memset(bytes_at(a[k]), (int)(3 * i + k + 1), nbytes);
  }
  for (size_t i = 0; i < LENGTH(adr); i++) {
    assert_true(adr[i] != 0);
    if (i % 3 < 2)
      assert_true(all_bytes_are(bytes_at(adr[i]), sizes[i / 3],
                                (unsigned char)(i + 1)));
    for (size_t k = 0; k < i; k++)
      assert_true(adr[i] != adr[k]);
  }
  for (size_t i = 0; i < LENGTH(adr); i++)
    assert_ok(umem_free(&host, adr[i]));
  uintptr_t again = umem_calloc(&host, 1, 3 * 4096); /* used before */
  assert_true(all_bytes_are(bytes_at(again), (size_t)3 * 4096, 0));
  assert_ok(umem_free(&host, again));
}

static void blocks__are_distinct_aligned_and_zero_if_asked(void **state) {
  (void)state;
  static uint32_t const flags[] = {0, UMEM_HOST_WIPE, UMEM_HOST_HUGE_ADVICE,
                                   UMEM_HOST_HUGE_ADVICE | UMEM_HOST_WIPE};
  static size_t const alignments[] = {0, 1, 16, 256, 4096, 4 * MIB};
  for (size_t f = 0; f < LENGTH(flags); f++)
    for (size_t a = !flags[f]; a < LENGTH(alignments); a++) {
      assert_ok(place(flags[f], alignments[a], 0));
      check_blocks(alignments[a]);
      assert_int_equal(umem_get_error_count(&host), 0);
      assert_ok(umem_dtor(&host));
    }
}

static void pages__are_cut_out_of_what_the_system_gives(void **state) {
  (void)state;
  size_t const asked[] = {0, 4096, 8192, MIB, 4 * MIB};
  umemi_os.mmap = mmap_odd;
  for (size_t i = 0; i < LENGTH(asked); i++) {
    assert_ok(place(PAGES, asked[i], 0));
    check_blocks(asked[i]);
    uint64_t before = address_space();
    for (int round = 0; round < 64; round++) {
      uintptr_t adr = umem_alloc(&host, 3 * MIB);
      assert_int_equal(adr % HUGE_PAGE, 0);
      assert_ok(umem_free(&host, adr));
    }
    assert_true(address_space() < before + 30 * MIB);
    assert_ok(umem_dtor(&host));
  }
}

static void a_block_as_large_as_can_be__is_a_memory_error(void **state) {
  (void)state;
  uintptr_t adr = 77;
  assert_ok(place(PAGES, PTRDIFF_MAX / 2 + 1, 0));
  assert_fails(&host, umem_try_alloc(&host, PTRDIFF_MAX, &adr), umemMemoryError,
               "ENOMEM");
  assert_fails(&host, umem_try_alloc(&host, 1, &adr), umemMemoryError,
               "mmap of 4096 bytes");
  assert_int_equal(adr, 77);
}

static void a_placed_host__is_host_memory_to_others(void **state) {
  (void)state;
  umemHost plain;
  umemCopyPlan plan = {.size = sizeof plan};
  unsigned char bytes[300];
  random_bytes(bytes, sizeof bytes, 1);
  assert_ok(umemHost_ctor(&plain));
  assert_ok(place_with(PAGES));
  uintptr_t adr = umem_alloc(&host, sizeof bytes);
  assert_true(umem_is_same_device(&host, &plain));
  assert_true(umem_is_accessible_from(&host, &plain));
  assert_false(umem_is_accessible_from(&plain, &host)); /* is not placed */
  assert_ok(umem_copy_plan(&plain, (uintptr_t)bytes, &host, adr, sizeof bytes,
                           &plan));
  assert_int_equal(plan.rung, umemDirectRung);
  assert_ok(umem_copy_to(&plain, (uintptr_t)bytes, &host, adr, sizeof bytes));
  assert_memory_equal(bytes_at(adr), bytes, sizeof bytes);
  assert_true(umem_connect(&host, adr, sizeof bytes, &plain, 0) == adr);
  assert_ok(umem_disconnect(&host, adr, &plain, adr, 0));
  assert_ok(umem_dtor(&plain));
  assert_ok(umem_free(&host, adr));
}

/* --- huge pages ----------------------------------------------------------- */

static void huge_advice__is_given_on_whole_huge_pages(void **state) {
  (void)state;
  assert_ok(place_with(UMEM_HOST_HUGE_ADVICE));
  uintptr_t adr = umem_alloc(&host, HUGE_PAGE + 1);
  assert_int_equal(adr % HUGE_PAGE, 0);
  char const *flags = mapping_says(adr, "VmFlags:");
  if (!strstr(flags, " hg ")) {
    print_message("skipped: no transparent huge pages here\n");
    skip();
  }
  memset(bytes_at(adr), 1, HUGE_PAGE + 1);
  unsigned long long huge = mapping_number(adr, "AnonHugePages:");
  char text[256];
  umemi_read_text("/sys/kernel/mm/transparent_hugepage/enabled", text,
                  sizeof text);
  if (huge == 0) /* it is advice */
    print_message("no huge page came; the system says: %s", text);
  assert_true(huge > 0 || strstr(text, "[never]") || !text[0] ||
              scaled(0, 1) > 0);
  assert_ok(umem_free(&host, adr));
}

static void huge_advice__that_is_turned_down_does_not_matter(void **state) {
  (void)state;
  faults_install();
  assert_ok(place_with(UMEM_HOST_HUGE_ADVICE));
  faults_fail_from(FAULT_madvise, 1, EINVAL);
  uintptr_t adr = umem_alloc(&host, HUGE_PAGE);
  assert_true(adr != 0);
  memset(bytes_at(adr), 1, HUGE_PAGE);
  assert_true(faults_count(FAULT_madvise) > 0);
  assert_ok(umem_free(&host, adr));
}

static void huge_reserved__takes_whole_reserved_pages(void **state) {
  (void)state;
  show("/proc/meminfo", MEMINFO("8", "8", "0"));
  umemi_os.mmap = mmap_huge;
  huge_maps = 0;
  assert_ok(place_with(UMEM_HOST_HUGE_RESERVED));
  check_blocks(HUGE_PAGE);
  assert_int_equal(huge_maps, 3 * LENGTH(sizes) + 1);
}

static void huge_reserved__that_are_too_few_are_a_memory_error(void **state) {
  (void)state;
  uintptr_t adr = 77;
  faults_install();
  show("/proc/meminfo", MEMINFO("8", "5", "2"));
  assert_ok(place_with(UMEM_HOST_HUGE_RESERVED));
  faults_fail(FAULT_mmap, 1, ENOMEM);
  assert_fails(&host, umem_try_alloc(&host, 10 * MIB - 5, &adr),
               umemMemoryError,
               "ENOMEM (12) Cannot allocate memory: mmap with MAP_HUGETLB, "
               "10485760 bytes: only 3 of 8 reserved huge pages of 2097152 "
               "bytes are free");
  assert_int_equal(adr, 77);
}

/* What would be SIGBUS when they are touched. */
static void huge_reserved__that_cannot_be_brought_in_are_told(void **state) {
  (void)state;
  uintptr_t adr = 77;
  faults_install();
  show("/proc/meminfo", MEMINFO("8", "5", "9"));
  umemi_os.mmap = mmap_huge;
  assert_ok(place_with(UMEM_HOST_HUGE_RESERVED));
  faults_fail(FAULT_madvise, 1, EFAULT);
  assert_fails(&host, umem_try_alloc(&host, 1, &adr), umemMemoryError,
               "EFAULT (14) Bad address: to bring in MAP_HUGETLB, 2097152 "
               "bytes: only 0 of 8");
  assert_int_equal(adr, 77);
  faults_fail(FAULT_madvise, 1, EINVAL); /* before Linux 5.14 */
  adr = umem_alloc(&host, 1);
  assert_true(adr != 0);
  faults_fail(FAULT_madvise, 1, EINTR);
  assert_ok(umem_free(&host, adr));
  assert_true((adr = umem_alloc(&host, 1)) != 0);
}

static void huge_reserved__are_the_systems(void **state) {
  (void)state;
  place_or_skip(UMEM_HOST_HUGE_RESERVED, 0);
  uintptr_t adr;
  if (umem_try_alloc(&host, 100, &adr) != umemOK) {
    print_message("skipped: %s\n", umem_get_message(&host));
    assert_slot(&host, umemMemoryError, " reserved huge pages of ");
    skip();
  }
  assert_true(mapping_number(adr, "KernelPageSize:") * 1024 >= HUGE_PAGE);
  assert_true(mapping_number(adr, "Private_Hugetlb:") > 0);
  assert_true(all_bytes_are(bytes_at(adr), HUGE_PAGE, 0));
  assert_ok(umem_free(&host, adr));
}

/* --- NUMA ----------------------------------------------------------------- */

static long policy_of(uintptr_t adr, unsigned long flags) {
  int answer = -1;
  return syscall(SYS_get_mempolicy, &answer, NULL, 0, adr, flags) ? -1 : answer;
}

static void check_policy(uint32_t flag, int policy) {
  uint64_t const node = first_node();
  place_or_skip(flag, node);
  uintptr_t adr = umem_alloc(&host, 5 * 4096), other;
  assert_true(adr != 0);
  assert_int_equal(policy_of(adr, MPOL_F_ADDR), policy);
  assert_int_equal(policy_of(adr + 4 * 4096, MPOL_F_ADDR), policy);
  memset(bytes_at(adr), 1, (size_t)5 * 4096);
  assert_int_equal(policy_of(adr, MPOL_F_ADDR | MPOL_F_NODE),
                   __builtin_ctzll(node));
  assert_ok(umem_try_calloc(&host, 1, 10, &other));
  assert_int_equal(policy_of(other, MPOL_F_ADDR), policy);
  assert_int_equal(policy_of((uintptr_t)&host, MPOL_F_ADDR), MPOL_DEFAULT);
}

static void bind__lets_pages_be_of_the_nodes_only(void **state) {
  (void)state;
  check_policy(UMEM_HOST_BIND, MPOL_BIND);
}

static void interleave__is_the_policy_of_the_pages(void **state) {
  (void)state;
  check_policy(UMEM_HOST_INTERLEAVE, MPOL_INTERLEAVE);
}

/* --- lock ----------------------------------------------------------------- */

static void lock__keeps_pages_in_memory(void **state) {
  (void)state;
  assert_ok(place_with(UMEM_HOST_LOCK));
  uintptr_t adr = umem_alloc(&host, 3 * 4096 + 1);
  if (!adr) {
    print_message("skipped: %s\n", umem_get_message(&host));
    skip();
  }
  if (strstr(mapping_says(adr, "VmFlags:"), " lo ")) /* not under valgrind */
    assert_true(mapping_number(adr, "Rss:") >= 16);
  else
    assert_true(scaled(0, 1) > 0);
  assert_ok(umem_free(&host, adr));
}

static void lock__past_the_limit_is_a_memory_error(void **state) {
  (void)state;
  uintptr_t adr = 77;
  struct rlimit limit, before;
  assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
  limit = before;
  limit.rlim_cur = 65536;
  if (limit.rlim_cur > limit.rlim_max)
    limit.rlim_cur = limit.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
  faults_install();
  assert_ok(place_with(UMEM_HOST_LOCK));
  if (geteuid() == 0) /* for whom there is no limit */
    faults_fail(FAULT_mlock, 1, ENOMEM);
  umemStatusType status = umem_try_alloc(&host, MIB, &adr);
  assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
  if (status == umemOK) {
    print_message("skipped: this user may lock what he likes\n");
    skip();
  }
  assert_fails(&host, status, umemMemoryError,
               "mlock of 1048576 bytes: RLIMIT_MEMLOCK is ");
  assert_int_equal(adr, 77);
}

/* --- what a failure leaves ------------------------------------------------ */

static void failures__are_told_and_leave_nothing(void **state) {
  (void)state;
  static struct {
    uint32_t flags;
    enum fault_call call;
    int how;
    char const *why;
  } const cases[] = {
      {UMEM_HOST_HUGE_ADVICE, FAULT_mmap, ENOMEM, "ENOMEM (12)"},
      {UMEM_HOST_LOCK, FAULT_mmap, EAGAIN, "EAGAIN (11)"},
      {UMEM_HOST_LOCK, FAULT_mlock, EPERM, "EPERM (1)"},
      {UMEM_HOST_BIND, FAULT_mbind, EINVAL, "to NUMA nodes 0x"},
      {UMEM_HOST_INTERLEAVE, FAULT_mbind, ENOMEM, "mbind of 3145728 bytes"},
      {UMEM_HOST_HUGE_ADVICE, FAULT_malloc, ENOMEM, "ENOMEM (12)"},
      {UMEM_HOST_WIPE, FAULT_malloc, ENOMEM, "ENOMEM (12)"}};
  for (size_t i = 0; i < LENGTH(cases); i++) {
    bool numa = cases[i].flags & (UMEM_HOST_BIND | UMEM_HOST_INTERLEAVE);
    uint64_t before = 0;
    uintptr_t adr = 77;
    if (numa && place(cases[i].flags, 0, first_node()) != umemOK) {
      assert_ok(umem_dtor(&host));
      continue; /* told by another test */
    }
    if (!numa)
      assert_ok(place(cases[i].flags, 0, 0));
    faults_install();
    for (int round = 0; round < 33; round++) {
      faults_fail(cases[i].call, 1, cases[i].how);
      assert_fails(&host, umem_try_alloc(&host, 3 * MIB, &adr), umemMemoryError,
                   cases[i].why);
      before = round ? before : address_space();
    }
    assert_int_equal(last_error(&host).sys_errno, cases[i].how);
    faults_reset();
    if (!UNDER_ASAN) /* which keeps what is freed for a while */
      assert_true(address_space() < before + 30 * MIB);
    assert_int_equal(adr, 77);
    assert_ok(umem_dtor(&host));
  }
}

static void free__that_the_system_refuses_is_told(void **state) {
  (void)state;
  assert_ok(place_with(PAGES));
  uintptr_t adr = umem_alloc(&host, 100);
  faults_install();
  faults_fail(FAULT_munmap, 1, ENOMEM);
  assert_fails(&host, umem_free(&host, adr), umemRuntimeError,
               "munmap of 4096 bytes");
  assert_fails(&host, umem_free(&host, adr), umemValueError,
               "is not a live block");
  assert_int_equal(munmap((void *)adr, 4096), 0);
}

static void free__of_what_is_anothers_is_refused(void **state) {
  (void)state;
  static uint32_t const flags[] = {UMEM_HOST_WIPE, PAGES};
  umemHost plain;
  assert_ok(umemHost_ctor(&plain));
  for (size_t i = 0; i < LENGTH(flags); i++) {
    assert_ok(place_with(flags[i]));
    uintptr_t other = umem_alloc(&plain, 10), adr = umem_alloc(&host, 10);
    memset(bytes_at(other), 'x', 10);
    assert_fails(&host, umem_free(&host, other), umemValueError,
                 "is not a live block of this context");
    assert_true(all_bytes_are(bytes_at(other), 10, 'x'));
    assert_fails(&host, umem_free(&host, adr + 1), umemValueError,
                 "lies inside the block of 10 bytes");
    assert_ok(umem_free(&host, adr));
    assert_fails(&host, umem_free(&host, adr), umemValueError,
                 "is not a live block");
    assert_ok(umem_free(&host, 0));
    assert_ok(umem_free(&plain, other));
    assert_ok(umem_dtor(&host));
  }
  assert_ok(umem_dtor(&plain));
}

static void dtor__frees_blocks_in_checked_mode_too(void **state) {
  (void)state;
  for (int checked = 0; checked < 2; checked++)
    for (uint32_t flags = 0; flags <= PAGES; flags += PAGES) {
      umemHostOptions options = {.size = sizeof options,
                                 .checked = checked,
                                 .flags = flags,
                                 .alignment = 64};
      uint64_t before = address_space();
      for (int round = 0; round < 20; round++) {
        assert_ok(umemHost_ctor_ex(&host, &options));
        for (size_t i = 0; i < LENGTH(sizes); i++)
          assert_true(umem_alloc(&host, sizes[i]) != 0);
        assert_ok(umem_dtor(&host));
      }
      if (!UNDER_ASAN)
        assert_true(address_space() < before + 60 * MIB);
    }
}

/* --- wipe ----------------------------------------------------------------- */

enum { SECRET = MIB };

/* The sanitizer's free() fills what it frees, and leaves notes there. */
char const *__asan_default_options(void);
char const *__asan_default_options(void) {
  return "max_free_fill_size=0";
}
enum { NOTES = UNDER_ASAN ? 64 : 0 };

/* Puts the pages of a file under a block, which stay when it is freed. */
static int secret_begin(uintptr_t adr) {
  int fd = memfd_create("secret", MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(adr % 4096, 0);
  assert_int_equal(ftruncate(fd, SECRET), 0);
  assert_true(mmap((void *)adr, SECRET, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED, fd, 0) == (void *)adr);
  memset(bytes_at(adr), 0x5E, SECRET);
  return fd;
}

/* The bytes of the block when it was freed were all `value`. */
static void secret_end(int fd, unsigned char value) {
  static unsigned char bytes[SECRET];
  assert_int_equal(pread(fd, bytes, SECRET, 0), SECRET);
  assert_true(all_bytes_are(bytes + NOTES, SECRET - NOTES, value));
  assert_int_equal(close(fd), 0);
}

static void wipe__leaves_zeros_and_without_it_nothing_changes(void **state) {
  (void)state;
  static uint32_t const flags[] = {UMEM_HOST_WIPE, UMEM_HOST_WIPE | PAGES, 0,
                                   PAGES};
  for (size_t i = 0; i < 2 * LENGTH(flags); i++) {
    uint32_t flag = flags[i % LENGTH(flags)];
    assert_ok(place(flag, 4096, 0));
    uintptr_t adr = umem_alloc(&host, SECRET);
    int fd = secret_begin(adr);
    if (i < LENGTH(flags))
      assert_ok(umem_free(&host, adr));
    assert_ok(umem_dtor(&host));
    secret_end(fd, flag & UMEM_HOST_WIPE ? 0 : 0x5E);
  }
}

int main(void) {
  struct CMUnitTest const tests[] = {
      placed_test(ctor__refuses_options_that_make_no_sense),
      placed_test(ctor__tells_which_nodes_there_are),
      placed_test(ctor__refuses_nodes_that_the_process_may_not_have),
      placed_test(ctor__does_not_judge_nodes_that_nobody_tells_of),
      placed_test(ctor__without_numa_policies_is_not_supported),
      placed_test(ctor__without_reserved_huge_pages_is_not_supported),
      placed_test(ctor__without_memory_is_told),
      placed_test(blocks__are_distinct_aligned_and_zero_if_asked),
      placed_test(pages__are_cut_out_of_what_the_system_gives),
      placed_test(a_block_as_large_as_can_be__is_a_memory_error),
      placed_test(a_placed_host__is_host_memory_to_others),
      placed_test(huge_advice__is_given_on_whole_huge_pages),
      placed_test(huge_advice__that_is_turned_down_does_not_matter),
      placed_test(huge_reserved__takes_whole_reserved_pages),
      placed_test(huge_reserved__that_are_too_few_are_a_memory_error),
      placed_test(huge_reserved__that_cannot_be_brought_in_are_told),
      placed_test(huge_reserved__are_the_systems),
      placed_test(bind__lets_pages_be_of_the_nodes_only),
      placed_test(interleave__is_the_policy_of_the_pages),
      placed_test(lock__keeps_pages_in_memory),
      placed_test(lock__past_the_limit_is_a_memory_error),
      placed_test(failures__are_told_and_leave_nothing),
      placed_test(free__that_the_system_refuses_is_told),
      placed_test(free__of_what_is_anothers_is_refused),
      placed_test(dtor__frees_blocks_in_checked_mode_too),
      placed_test(wipe__leaves_zeros_and_without_it_nothing_changes),
  };
  unsetenv("UMEM_CHECKED");
  mallopt(M_MMAP_THRESHOLD, 1 << 16); /* wipe: free() leaves no notes */
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
