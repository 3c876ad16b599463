/* SPDX-License-Identifier: BSD-3-Clause */
/* Several threads on one context: each has blocks of its own, and errors. */
#include "contract.h"

#include <pthread.h>

enum { THREADS = 4, BYTES_MAX = 20000 };

struct worker {
  void const *ctx;
  size_t rounds;
  uint64_t seed, wrong, failed;
};

/* Bytes of its own go in, are changed in part, and come out again. */
static bool round_trip(struct worker *me, umemHost *host) {
  unsigned char in[BYTES_MAX], out[BYTES_MAX];
  size_t const n = 2 + random_below(&me->seed, BYTES_MAX - 2), half = n / 2;
  uintptr_t adr;
  random_bytes(in, n, random_next(&me->seed));
  if (umem_try_alloc(me->ctx, n, &adr) != umemOK)
    return false;
  bool ok = umem_copy_to(host, (uintptr_t)in, me->ctx, adr, n) == umemOK &&
            umem_try_set(me->ctx, adr + half, 7, n - half) == umemOK &&
            umem_copy_from(host, (uintptr_t)out, me->ctx, adr, n) == umemOK;
  memset(in + half, 7, n - half);
  return umem_free(me->ctx, adr) == umemOK && ok && memcmp(in, out, n) == 0;
}

/* Nobody else sees it. */
static bool fails_alone(struct worker *me) {
  uintptr_t adr;
  me->failed++;
  return umem_is_ok(me->ctx) &&
         umem_try_aligned_alloc(me->ctx, 3, 3, &adr) == umemValueError &&
         umem_get_status(me->ctx) == umemValueError &&
         umem_clean_status(me->ctx) == umemOK;
}

static void *work(void *argument) {
  struct worker *me = argument;
  umemHost host;
  if (umemHost_ctor(&host) != umemOK)
    me->wrong++;
  for (size_t i = 0; i < me->rounds; i++)
    me->wrong += !(i % 8 ? round_trip(me, &host) : fails_alone(me));
  umem_dtor(&host);
  return NULL;
}

static void threads__on_one_context_do_not_disturb_each_other(void **state) {
  struct situation *s = *state;
  struct worker workers[THREADS];
  pthread_t threads[THREADS];
  uint64_t failed = 0;
  subject_begin(&s->src, s->src_kind);
  for (size_t i = 0; i < THREADS; i++) {
    workers[i] = (struct worker){
        .ctx = &s->src.ctx, .rounds = scaled(400, 80), .seed = i};
    assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(workers[i].wrong, 0);
    failed += workers[i].failed;
  }
  assert_int_equal(umem_get_error_count(&s->src.ctx), failed);
  assert_true(umem_is_ok(&s->src.ctx));
}

struct chapter thread_tests(void) {
  static struct CMUnitTest const tests[] = {
      cmocka_unit_test(threads__on_one_context_do_not_disturb_each_other),
  };
  return (struct chapter){tests, sizeof tests / sizeof *tests};
}
