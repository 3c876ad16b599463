/* SPDX-License-Identifier: BSD-3-Clause */
/* The nature of a thread is read from faked, odd and unreadable files. Real
   kinds of thread: test_workers.c. */
#include "core.h"

#include "doubles/shown.h"
#include "internal.h"

/* --- this thread as files say it ------------------------------------------ */

static char const *file_of_self(char const *name) {
  static char paths[8][64];
  static unsigned turn;
  char *path = paths[turn++ % LENGTH(paths)];
  snprintf(path, sizeof paths[0], "/proc/self/task/%ld/%s", syscall(SYS_gettid),
           name);
  return path;
}

#define STATUS                                                                 \
  "Name:\tx\nUid:\t0\t0\nGroups:\t4 5\nCapEff:\t00ff\nSeccomp:\t0\n"
#define BEFORE_NICE "7 (a) b) 1 (c) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 "
#define STAT                                                                   \
  BEFORE_NICE "-5 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 "            \
              "36 37 38 39 40 3 42\n"

static void show_thread(char const *status, char const *stat) {
  show(file_of_self("status"), status);
  show(file_of_self("stat"), stat);
}

static struct umemiNature nature(void) {
  struct umemiNature nature;
  errno = 77;
  umemi_nature_of_thread(&nature);
  assert_int_equal(errno, 77);
  return nature;
}

static void nature__is_what_files_say(void **state) {
  (void)state;
  show_thread(STATUS, STAT);
  struct umemiNature const first = nature();
  assert_true(first.is_known);
  assert_false(first.is_filtered);
  assert_int_equal(first.nice, -5);
  assert_int_equal(first.policy, SCHED_BATCH);
  show_thread(STATUS "Threads:\t9\n", STAT);
  struct umemiNature again = nature();
  assert_memory_equal(&again, &first, sizeof first);
  show_thread("Name:\tx\nUid:\t1\t1\n", STAT);
  assert_int_not_equal(nature().rights, first.rights);
  show(file_of_self("cgroup"), "0::/a\n");
  assert_int_not_equal(nature().cgroups, first.cgroups);
}

static void nature__of_a_filtered_thread_says_so(void **state) {
  (void)state;
  show_thread("Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n", STAT);
  assert_true(nature().is_filtered);
}

static void nature__of_odd_text_is_zero(void **state) {
  (void)state;
  show_thread("x\n", "no parenthesis\n");
  assert_int_equal(nature().nice, 0);
  show_thread("x\n", "7 (a) S 4\n");
  assert_int_equal(nature().policy, 0);
}

static void nature__is_not_known_without_files(void **state) {
  (void)state;
  show(file_of_self("status"), STATUS);
  assert_false(nature().is_known);
  show_thread("", STAT);
  assert_false(nature().is_known);
}

static void nature__that_cannot_be_read_is_not_known(void **state) {
  (void)state;
  faults_install();
  for (unsigned k = 1; k <= 4; k++) { /* both files, each to its end */
    faults_clear();
    faults_fail(FAULT_pread, k, EIO);
    assert_false(nature().is_known);
  }
  faults_clear();
  faults_fail(FAULT_mmap, 1, ENOMEM);
  assert_false(nature().is_known);
}

/* --- compared with others ------------------------------------------------- */

static void *is_ordinary(void *unused) {
  struct umemiNature const own = nature();
  assert_false(umemi_nature_is_main());
  return umemi_nature_is_ordinary(&own) ? &umemi_os : unused;
}

static void thread__is_ordinary_if_it_is_like_the_main_one(void **state) {
  (void)state;
  assert_non_null(in_thread(is_ordinary, NULL));
  faults_install();
  faults_fail(FAULT_mmap, 2, ENOMEM); /* of the main one nothing is known */
  assert_null(in_thread(is_ordinary, NULL));
}

static void thread__of_real_time_is_not_ordinary(void **state) {
  (void)state;
  static struct {
    int policy;
    bool is_ordinary;
  } const policies[] = {{SCHED_OTHER, true},
                        {SCHED_BATCH, true},
                        {SCHED_IDLE, true},
                        {SCHED_FIFO, false},
                        {SCHED_RR, false}};
  for (size_t i = 0; i < LENGTH(policies); i++) {
    struct umemiNature own = {.is_known = 1, .policy = policies[i].policy};
    assert_int_equal(umemi_nature_is_ordinary(&own), policies[i].is_ordinary);
  }
}

static void *shares_with_main(void *unused) {
  return umemi_nature_shares_files(getpid()) ? &umemi_os : unused;
}

static void descriptors__count_as_private_if_unknown(void **st) {
  (void)st;
  static enum fault_call const calls[] = {FAULT_open, FAULT_fstat, FAULT_stat};
  assert_non_null(in_thread(shares_with_main, NULL));
  for (size_t i = 0; i < LENGTH(calls); i++) {
    int const open_before = open_descriptors();
    faults_install();
    faults_fail(calls[i], 1, EACCES);
    assert_null(in_thread(shares_with_main, NULL));
    faults_reset();
    assert_int_equal(open_descriptors(), open_before);
  }
}

int main(void) {
  struct CMUnitTest const tests[] = {
      shown_test(nature__is_what_files_say),
      shown_test(nature__of_a_filtered_thread_says_so),
      shown_test(nature__of_odd_text_is_zero),
      shown_test(nature__is_not_known_without_files),
      faulty_test(nature__that_cannot_be_read_is_not_known),
      faulty_test(thread__is_ordinary_if_it_is_like_the_main_one),
      cmocka_unit_test(thread__of_real_time_is_not_ordinary),
      faulty_test(descriptors__count_as_private_if_unknown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
