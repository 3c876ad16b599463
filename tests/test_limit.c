/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RLIMIT_FSIZE that is set after the file was opened: each act runs in a child
 * of its own, in which SIGXFSZ would end the process.
 */
#include "file_support.h"

#include <errno.h>
#include <signal.h>

enum { MIB = 1 << 20, LIMIT = 3 * MIB, BYTES = 8 * MIB };

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* --- the world of an act ---------------------------------------------------
 */

static struct {
  umemHost host;
  umemFile file, source; /* of BYTES bytes each */
  umemMMap map;          /* of the same file */
  uintptr_t base;
  char *bytes;
  char name[512];
  struct rlimit old;
} w;

static void world_begin(void) {
  snprintf(w.name, sizeof w.name, "%s", new_path());
  w.bytes = malloc(BYTES);
  assert_non_null(w.bytes);
  random_bytes(w.bytes, BYTES, 1);
  file_put(w.name, w.bytes, BYTES);
  assert_ok(umemHost_ctor(&w.host));
  file_open(&w.file, w.name, "r+");
  file_open(&w.source, w.name, "r");
  assert_ok(umemMMap_ctor(&w.map, w.name, "r+"));
  w.base = umemMMap_get_address(&w.map, NULL);
}

static void limit_set(void) {
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &w.old), 0);
  assert_int_equal(
      setrlimit(RLIMIT_FSIZE, &(struct rlimit){LIMIT, w.old.rlim_max}), 0);
}

static void world_end(void) {
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &w.old), 0);
  umem_dtor(&w.map);
  umem_dtor(&w.source);
  umem_dtor(&w.file);
  umem_dtor(&w.host);
  free(w.bytes);
}

/* --- acts ------------------------------------------------------------------
 */

static umemStatusType copy_in(size_t at, size_t nbytes) {
  return umem_copy_to(&w.host, (uintptr_t)w.bytes, &w.file, at, nbytes);
}

static umemStatusType act_copy_across(void) {
  return copy_in(LIMIT - 10, 20);
}

static umemStatusType act_copy_inside(void) {
  return copy_in(LIMIT + 4096, 1);
}

static umemStatusType act_copy_large(void) {
  return copy_in(MIB, 5 * MIB);
}

static umemStatusType act_copy_that_extends(void) {
  return copy_in(BYTES, 4096);
}

static umemStatusType act_copy_that_extends_by_much(void) {
  return copy_in(BYTES - 1, 2 * MIB);
}

static umemStatusType act_copy_between_files(void) {
  return umem_copy_to(&w.source, 0, &w.file, 2 * MIB, 4 * MIB);
}

static umemStatusType act_copy_in_the_file(void) {
  return umem_copy_to(&w.file, 0, &w.file, MIB, 4 * MIB);
}

static umemStatusType act_copy_to_the_map(void) {
  return umem_copy_to(&w.host, (uintptr_t)w.bytes, &w.map, w.base + LIMIT, 8);
}

static umemStatusType act_set(void) {
  return umem_try_set(&w.file, LIMIT - 1, 'x', 100);
}

static umemStatusType act_set_to_zero(void) {
  return umem_try_set(&w.file, MIB, 0, 4 * MIB);
}

static umemStatusType act_set_in_the_map(void) {
  return umem_try_set(&w.map, w.base + 2 * MIB, 'x', 2 * MIB);
}

static umemStatusType act_alloc(void) {
  uintptr_t adr;
  return umem_try_alloc(&w.file, 1, &adr);
}

static umemStatusType act_alloc_much(void) {
  uintptr_t adr;
  return umem_try_alloc(&w.file, 8 * MIB, &adr);
}

static umemStatusType act_alloc_without_fallocate(void) {
  faults_fail_from(FAULT_fallocate, 1, EPERM);
  return act_alloc_much();
}

static umemStatusType act_alloc_in_the_map(void) {
  uintptr_t adr;
  return umem_try_alloc(&w.map, 100, &adr);
}

static umemStatusType act_calloc(void) {
  uintptr_t adr;
  return umem_try_calloc(&w.file, 1, 5 * MIB, &adr);
}

static umemStatusType act_shm(void) {
  umemShm shm;
  umemStatusType status = umemShm_ctor(&shm, NULL, 2 * LIMIT, 0);
  umem_dtor(&shm);
  return status;
}

static struct {
  umemStatusType (*act)(void);
  umemStatusType expected;
} const acts[] = {
    {act_copy_across, umemIOError},
    {act_copy_inside, umemIOError},
    {act_copy_large, umemIOError},
    {act_copy_that_extends, umemIOError},
    {act_copy_that_extends_by_much, umemIOError},
    {act_copy_between_files, umemIOError},
    {act_copy_in_the_file, umemIOError},
    {act_copy_to_the_map, umemIOError},
    {act_set, umemIOError},
    {act_set_to_zero, umemIOError},
    {act_set_in_the_map, umemIOError},
    {act_alloc, umemMemoryError},
    {act_alloc_much, umemMemoryError},
    {act_alloc_without_fallocate, umemMemoryError},
    {act_alloc_in_the_map, umemMemoryError},
    {act_calloc, umemMemoryError},
    {act_shm, umemMemoryError},
};

static size_t turn;

/* --- what holds ------------------------------------------------------------
 */

static bool signal_is_left(void) {
  sigset_t mask, pending;
  assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
  assert_int_equal(sigpending(&pending), 0);
  return sigismember(&mask, SIGXFSZ) || sigismember(&pending, SIGXFSZ);
}

static void expect_refused(void) {
  umemStatusType status = acts[turn].act();
  if (status != acts[turn].expected)
    fail_msg("act %zu: %s", turn, umem_get_status_name(status));
  assert_false(signal_is_left());
  assert_ok(copy_in(LIMIT - 5, 5)); /* up to it all is well */
}

static void limited_later(void) {
  signal(SIGXFSZ, SIG_DFL);
  world_begin();
  limit_set();
  expect_refused();
  world_end();
}

static void limit__set_after_the_constructor_is_told(void **state) {
  (void)state;
  for (turn = 0; turn < LENGTH(acts); turn++)
    assert_child_succeeds(limited_later);
}

/* A filter of system calls may refuse to tell. */
static void limited_unseen(void) {
  signal(SIGXFSZ, SIG_DFL);
  world_begin();
  faults_fail_from(FAULT_getrlimit, 1, EPERM);
  limit_set();
  expect_refused();
  faults_reset();
  world_end();
}

static void limit__that_cannot_be_read_is_told_when_it_is_met(void **state) {
  (void)state;
  for (turn = 0; turn < LENGTH(acts); turn++)
    if (acts[turn].act != act_set_to_zero) /* the system may allow that */
      assert_child_succeeds(limited_unseen);
}

/* The descriptors are those of the parent, the limit is not. */
static void limited_child(void) {
  signal(SIGXFSZ, SIG_DFL);
  limit_set();
  expect_refused();
  world_end();
}

static void limit__of_a_forked_child_is_told(void **state) {
  (void)state;
  world_begin();
  for (turn = 0; turn < LENGTH(acts); turn++)
    if (acts[turn].expected == umemIOError)
      assert_child_succeeds(limited_child);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &w.old), 0);
  world_end();
}

static void limited_twice(void) {
  signal(SIGXFSZ, SIG_DFL);
  world_begin();
  limit_set();
  assert_status(copy_in(LIMIT, 1), umemIOError);
  assert_int_equal(last_error(&w.file).sys_errno, EFBIG);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &w.old), 0);
  assert_ok(copy_in(LIMIT, 1));
  limit_set();
  assert_status(copy_in(LIMIT - 3, 8), umemIOError);
  assert_int_equal(last_error(&w.file).bytes_done, 3);
  world_end();
}

static void limit__that_is_lifted_and_set_again_is_told_each_time(void **s) {
  (void)s;
  assert_child_succeeds(limited_twice);
}

/* Nothing is taken of a file for an alloc() that its limit forbids. */
static void limited_alloc(void) {
  uintptr_t adr;
  world_begin();
  limit_set();
  assert_status(umem_try_alloc(&w.file, 100, &adr), umemMemoryError);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &w.old), 0);
  assert_ok(umem_try_alloc(&w.file, 100, &adr));
  assert_int_equal(adr, BYTES);
  world_end();
}

static void limit__that_refuses_an_alloc_leaves_no_trace(void **state) {
  (void)state;
  assert_child_succeeds(limited_alloc);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(limit__set_after_the_constructor_is_told),
      faulty_test(limit__that_cannot_be_read_is_told_when_it_is_met),
      faulty_test(limit__of_a_forked_child_is_told),
      faulty_test(limit__that_is_lifted_and_set_again_is_told_each_time),
      faulty_test(limit__that_refuses_an_alloc_leaves_no_trace),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
