/* SPDX-License-Identifier: BSD-3-Clause */
/* CPUs, caches and nodes, from faked files of the system; UMEM_TUNE. */
#include "core.h"

#include "doubles/shown.h"
#include "internal.h"

#define KIB(n) ((size_t)(n) << 10)

/* --- texts ---------------------------------------------------------------- */

static char const *long_text(size_t length) {
  static char text[1 << 16];
  assert_true(length < sizeof text);
  memset(text, 'x', length);
  text[length] = '\0';
  return text;
}

static void text__of_any_length_is_read_whole(void **state) {
  (void)state;
  size_t const lengths[] = {
      0, 1, UMEMI_TEXT - 2, UMEMI_TEXT - 1, UMEMI_TEXT, 5 * UMEMI_TEXT};
  for (size_t i = 0; i < LENGTH(lengths); i++) {
    show("/proc/some", long_text(lengths[i]));
    char *text = umemi_whole_text_of("/proc/some");
    assert_string_equal(text, long_text(lengths[i]));
    free(text);
    text = umemi_text_of("/proc/some");
    assert_int_equal(strlen(text),
                     lengths[i] < UMEMI_TEXT ? lengths[i] : UMEMI_TEXT - 1);
    free(text);
  }
}

static void text__in_pieces_is_put_together(void **state) {
  (void)state;
  faults_install();
  show("/proc/some", "sample");
  static int const ways[] = {FAULT_ONE_BYTE, FAULT_HALF};
  for (size_t i = 0; i < LENGTH(ways); i++) {
    faults_clear();
    faults_fail_from(FAULT_pread, 1, ways[i]);
    char *text = umemi_whole_text_of("/proc/some");
    assert_string_equal(text, "sample");
    free(text);
  }
}

static void text__is_read_on_after_signals(void **state) {
  (void)state;
  faults_install();
  show("/proc/some", "sample");
  faults_fail(FAULT_pread, 1, EINTR);
  char *text = umemi_whole_text_of("/proc/some");
  assert_string_equal(text, "sample");
  free(text);
}

static void text__that_cannot_be_read_is_NULL(void **state) {
  (void)state;
  char text[8] = "before";
  faults_install();
  show("/proc/some", long_text(2 * UMEMI_TEXT));
  assert_null(umemi_whole_text_of("/proc/other"));
  assert_string_equal(umemi_read_text("/proc/other", text, sizeof text), "");
  for (unsigned k = 1; k <= 4; k++) {
    faults_clear();
    faults_fail(FAULT_pread, k, EIO);
    assert_null(umemi_whole_text_of("/proc/some"));
  }
  for (unsigned k = 1; k <= 2; k++) {
    faults_clear();
    faults_fail(FAULT_malloc, k, ENOMEM);
    assert_null(umemi_whole_text_of("/proc/some"));
  }
  faults_clear();
  fail_all(FAULT_malloc);
  assert_null(umemi_text_of("/proc/some"));
}

/* --- CPUs ----------------------------------------------------------------- */

#define OLD "/sys/fs/cgroup/cpu/cpu.cfs_"
#define NEW "/sys/fs/cgroup"

/* Without quotas. With one CPU there is nothing that they could lower. */
static unsigned all_cpus(void) {
  show("/proc/nothing", "");
  if (umemi_cpus() < 2)
    skip();
  return umemi_cpus();
}

static void cpus__are_what_a_quota_pays_for(void **state) {
  (void)state;
  static struct {
    char const *text;
    unsigned cpus; /* 0: all */
  } const quotas[] = {{"max 100000\n", 0},
                      {"100000 100000\n", 1},
                      {"1000 100000\n", 1},
                      {"100001 100000\n", 2},
                      {"9999999999999999 1\n", 0},
                      {"100000 0\n", 0},
                      {"100000", 0},
                      {"", 0}};
  unsigned const all = all_cpus();
  show("/proc/self/cgroup", "4:memory:/other\n0::/a/b\n");
  for (size_t i = 0; i < LENGTH(quotas); i++) {
    unsigned const paid = quotas[i].cpus;
    show(NEW "/a/b/cpu.max", quotas[i].text);
    assert_int_equal(umemi_cpus(), paid && paid < all ? paid : all);
  }
}

static void cpus__are_bounded_by_every_group_above(void **state) {
  (void)state;
  all_cpus();
  show("/proc/self/cgroup", "0::/a/b"); /* no newline at the end */
  show(NEW "/a/b/cpu.max", "max 100000\n");
  show(NEW "/a/cpu.max", "50000 100000\n");
  assert_int_equal(umemi_cpus(), 1);
  show(NEW "/a/cpu.max", "max 100000\n");
  show(NEW "/cpu.max", "50000 100000\n");
  assert_int_equal(umemi_cpus(), 1);
}

static void cpus__are_bounded_by_groups_of_version_1(void **state) {
  (void)state;
  unsigned const all = all_cpus();
  show(OLD "period_us", "100000\n");
  show(OLD "quota_us", "-1\n");
  assert_int_equal(umemi_cpus(), all);
  show(OLD "quota_us", "20000\n");
  assert_int_equal(umemi_cpus(), 1);
}

static void cpus__without_memory_are_all(void **state) {
  (void)state;
  unsigned const all = all_cpus();
  faults_install();
  show("/proc/self/cgroup", "0::/a\n");
  show(NEW "/a/cpu.max", "10000 100000\n");
  assert_int_equal(umemi_cpus(), 1);
  fail_all(FAULT_malloc);
  assert_int_equal(umemi_cpus(), all);
  faults_clear();
  faults_fail_from(FAULT_malloc, 2, ENOMEM); /* for the path of the group */
  assert_int_equal(umemi_cpus(), all);
}

/* --- caches and nodes ----------------------------------------------------- */

#define CACHE "/sys/devices/system/cpu/cpu0/cache/index"

static void cache__is_the_last_that_is_there(void **state) {
  (void)state;
  show("/sys/nothing", "");
  assert_int_equal(umemi_cache_size(), KIB(32 << 10)); /* not known */
  show(CACHE "2/size", "512K\n");
  assert_int_equal(umemi_cache_size(), KIB(512));
  show(CACHE "3/size", "16M\n");
  assert_int_equal(umemi_cache_size(), KIB(16 << 10));
  show(CACHE "4/size", "1G\n");
  assert_int_equal(umemi_cache_size(), KIB(1 << 20));
  show(CACHE "4/size", "77\n");
  assert_int_equal(umemi_cache_size(), 77);
}

#define NODES "/sys/devices/system/node/"

static void nodes__are_those_that_may_be_used(void **state) {
  (void)state;
  show(NODES "has_memory", "0-3\n");
  assert_int_equal(umemi_nodes_of_host(), 0xF);
  show(NODES "has_normal_memory", "0,2-3,60-99,4000000000\n");
  assert_int_equal(umemi_nodes_of_host(), UINT64_C(0xF00000000000000D));
  show("/proc/self/status", "Name:\tx\nMems_allowed_list:\t1-2\n");
  assert_int_equal(umemi_nodes_of_host(), 4);
}

/* --- UMEM_TUNE ------------------------------------------------------------ */

/* The library reads it once, so a new process prints the values. */
static int print_tuning(void) {
  struct umemiTuning const *tuning = umemi_tuning();
  printf("%zu %zu %zu %zu\n", tuning->cache, tuning->stream_from, tuning->simd,
         tuning->slot);
  return 0;
}

struct tuned {
  size_t cache, stream_from, simd, slot;
};

static struct tuned tuned_by(char const *setting) {
  char told[256];
  struct tuned t;
  assert_int_equal(run_again("tuning", setting, told, sizeof told), 0);
  assert_int_equal(sscanf(told, "%zu %zu %zu %zu", &t.cache, &t.stream_from,
                          &t.simd, &t.slot),
                   4);
  return t;
}

static void tuning__is_set_by_name(void **state) {
  (void)state;
  struct tuned const usual = tuned_by("UMEM_TUNE=");
  struct tuned t = tuned_by("UMEM_TUNE=simd=0,slot=128K");
  assert_int_equal(t.simd, 0);
  assert_int_equal(t.slot, KIB(128));
  assert_int_equal(t.cache, usual.cache);
  assert_int_equal(t.stream_from, usual.stream_from);
}

static void tuning__that_follows_from_another_follows_it(void **state) {
  (void)state;
  struct tuned t = tuned_by("UMEM_TUNE=cache=8M");
  assert_int_equal(t.cache, KIB(8 << 10));
  assert_int_equal(t.stream_from, KIB(5 << 10));
  t = tuned_by("UMEM_TUNE=stream_from=1G,cache=8M");
  assert_int_equal(t.cache, KIB(8 << 10));
  assert_int_equal(t.stream_from, KIB(1 << 20));
}

static void tuning__keeps_its_bounds(void **state) {
  (void)state;
  assert_int_equal(tuned_by("UMEM_TUNE=slot=1").slot, UMEMI_SLOT_LEAST);
  assert_int_equal(tuned_by("UMEM_TUNE=slot=1G").slot, UMEMI_SLOT_MOST);
  assert_int_equal(tuned_by("UMEM_TUNE=slot=70000").slot, 69632); /* pages */
}

static void tuning__that_is_not_understood_is_left_alone(void **state) {
  (void)state;
  static char const *const odd[] = {"UMEM_TUNE=", "UMEM_TUNE=slot",
                                    "UMEM_TUNE=slo=128K,,=,slots=128K",
                                    "UMEM_TUNE=slot,slot128K"};
  struct tuned const usual = tuned_by("UMEM_TUNE=");
  for (size_t i = 0; i < LENGTH(odd); i++) {
    struct tuned const t = tuned_by(odd[i]);
    assert_memory_equal(&t, &usual, sizeof t);
  }
}

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      shown_test(text__of_any_length_is_read_whole),
      shown_test(text__in_pieces_is_put_together),
      shown_test(text__is_read_on_after_signals),
      shown_test(text__that_cannot_be_read_is_NULL),
      shown_test(cpus__are_what_a_quota_pays_for),
      shown_test(cpus__are_bounded_by_every_group_above),
      shown_test(cpus__are_bounded_by_groups_of_version_1),
      shown_test(cpus__without_memory_are_all),
      shown_test(cache__is_the_last_that_is_there),
      shown_test(nodes__are_those_that_may_be_used),
      cmocka_unit_test(tuning__is_set_by_name),
      cmocka_unit_test(tuning__that_follows_from_another_follows_it),
      cmocka_unit_test(tuning__keeps_its_bounds),
      cmocka_unit_test(tuning__that_is_not_understood_is_left_alone),
  };
  if (argc == 2 && strcmp(argv[1], "tuning") == 0)
    return print_tuning();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
