/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the core modules share: faults, failing calls, threads. */
#ifndef UMEM_TESTS_CORE_H
#define UMEM_TESTS_CORE_H

#include "os.h" /* first: it says which C library we want */

#include "doubles/fake.h"
#include "doubles/faults.h"
#include "support.h"

#include <errno.h>

#include "umem/backend.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* --- faults -------------------------------------------------------------- */

/* A test that installs faults, or writes to umemi_os itself. */
#define faulty_test(f) cmocka_unit_test_teardown(f, faults_teardown)

static inline int faults_teardown(void **state) {
  (void)state;
  faults_reset();
  return 0;
}

/* From now on every such call fails. */
static inline void fail_all(enum fault_call call) {
  faults_fail_from(call, 1, ENOMEM);
}

/* --- failing calls ------------------------------------------------------- */

/* What fail_once() leaves as message: the whole of it. */
#define BAD_ALIGNMENT "umem_aligned_alloc: alignment 3 must be power of 2"

/* A ValueError on any live context. */
static inline void fail_once(void const *ctx) {
  uintptr_t adr;
  assert_status(umem_try_aligned_alloc(ctx, 3, 3, &adr), umemValueError);
}

static inline void checked_host(umemHost *ctx) {
  umemHostOptions options = {.size = sizeof options, .checked = 1};
  assert_ok(umemHost_ctor_ex(ctx, &options));
}

/* --- threads ------------------------------------------------------------- */

enum { THREADS = 8 };

/* Runs to the end; returns what it returned. */
static inline void *in_thread(void *(*run)(void *), void *argument) {
  pthread_t thread;
  void *result = NULL;
  assert_int_equal(pthread_create(&thread, NULL, run, argument), 0);
  assert_int_equal(pthread_join(thread, &result), 0);
  return result;
}

/* THREADS threads at once, each with its member of `arguments`. */
static inline void in_threads(void *(*run)(void *), void *arguments,
                              size_t size) {
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(
        pthread_create(&threads[i], NULL, run, (char *)arguments + i * size),
        0);
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
}

#endif
