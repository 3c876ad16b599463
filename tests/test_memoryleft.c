/* SPDX-License-Identifier: BSD-3-Clause */
/* How much memory control groups leave to a process. */
#include "core.h"

#include "doubles/shown.h"
#include "internal.h"

#define KIB(n) ((uint64_t)(n) << 10)

static void left__is_what_the_machine_has_and_swap(void **state) {
  (void)state;
  show("/proc/self/nothing", "");
  assert_int_equal(umemi_memory_left(), UINT64_MAX);
  show("/proc/meminfo", "MemTotal: 900 kB\nMemAvailable:   500 kB\n"
                        "SwapFree:   100 kB\n");
  assert_int_equal(umemi_memory_left(), KIB(600));
}

#define NEW "/sys/fs/cgroup"

static void show_new_group(void) {
  show("/proc/meminfo", "MemAvailable: 5000 kB\nSwapFree: 100 kB\n");
  show("/proc/self/cgroup", "0::/a/b\n");
  show(NEW "/a/b/memory.max", "max\n");
  show(NEW "/a/b/memory.current", "40960\n");
  show(NEW "/a/memory.max", "409600\n");
  show(NEW "/a/memory.current", "102400\n");
  show(NEW "/a/memory.stat", "anon 4096\ninactive_anon 4096\n"
                             "inactive_file 8192\nactive_file 4096\n");
  show(NEW "/a/memory.swap.max", "0\n");
  show(NEW "/a/memory.swap.current", "0\n");
}

static void left__is_what_any_group_above_allows(void **state) {
  (void)state;
  show_new_group();
  assert_int_equal(umemi_memory_left(), KIB(312));
  show(NEW "/a/b/memory.max", "45056\n");
  assert_int_equal(umemi_memory_left(), KIB(104)); /* with the swap */
  show(NEW "/a/memory.current", "500000\n");
  assert_int_equal(umemi_memory_left(), KIB(12)); /* page cache alone */
}

static void left__counts_the_swap_that_a_group_may_have(void **state) {
  (void)state;
  show_new_group();
  show(NEW "/a/memory.swap.max", "20480\n");
  show(NEW "/a/memory.swap.current", "4096\n");
  assert_int_equal(umemi_memory_left(), KIB(328));
  show(NEW "/a/memory.swap.max", "max\n");
  assert_int_equal(umemi_memory_left(), KIB(412));
}

static void
left__in_a_container_is_what_its_mounted_group_allows(void **state) {
  (void)state;
  show("/proc/meminfo", "MemAvailable: 5000 kB\n");
  show("/proc/self/cgroup", "0::/outside\n");
  show(NEW "/memory.max", "409600\n");
  show(NEW "/memory.current", "0\n");
  assert_int_equal(umemi_memory_left(), KIB(400));
}

#define OLD "/sys/fs/cgroup/memory"

static void left__is_what_groups_of_version_1_allow(void **state) {
  (void)state;
  show("/proc/meminfo", "MemAvailable: 5000 kB\nSwapFree: 100 kB\n");
  show("/proc/self/cgroup", "4:cpuset,memory:/a\n1:cpu:/\n0::/\n");
  show(OLD "/memory.limit_in_bytes", "9223372036854771712\n");
  show(OLD "/memory.usage_in_bytes", "4096\n");
  show(OLD "/a/memory.limit_in_bytes", "409600\n");
  show(OLD "/a/memory.usage_in_bytes", "102400\n");
  show(OLD "/a/memory.stat", "cache 4096\ninactive_file 1\nactive_file 1\n"
                             "total_inactive_file 4096\ntotal_active_file 0\n");
  assert_int_equal(umemi_memory_left(), KIB(404));
  show(OLD "/a/memory.memsw.limit_in_bytes", "409600\n");
  show(OLD "/a/memory.memsw.usage_in_bytes", "204800\n");
  assert_int_equal(umemi_memory_left(), KIB(204));
}

/* Would be killed otherwise. */
static void alloc__of_more_than_the_groups_allow_on_tmpfs_fails(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  char name[64];
  snprintf(name, sizeof name, "/dev/shm/umem-left-%ld", (long)getpid());
  if (access("/dev/shm", W_OK))
    skip();
  assert_ok(umemFile_ctor(&f, name, "w+"));
  show("/proc/self/cgroup", "0::/a\n");
  show(NEW "/a/memory.max", "1048576\n");
  show(NEW "/a/memory.current", "0\n");
  assert_int_equal(umem_try_alloc(&f, KIB(2048), &adr), umemMemoryError);
  assert_ok(umem_try_alloc(&f, KIB(512), &adr));
  assert_ok(umem_dtor(&f));
  unlink(name);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      shown_test(left__is_what_the_machine_has_and_swap),
      shown_test(left__is_what_any_group_above_allows),
      shown_test(left__counts_the_swap_that_a_group_may_have),
      shown_test(left__in_a_container_is_what_its_mounted_group_allows),
      shown_test(left__is_what_groups_of_version_1_allow),
      shown_test(alloc__of_more_than_the_groups_allow_on_tmpfs_fails)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
