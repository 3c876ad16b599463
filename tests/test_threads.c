/* SPDX-License-Identifier: BSD-3-Clause */
/* Eight threads on one context. Threads count what is wrong instead of
   asserting: only the test's own thread may leave it. */
#include "core.h"

struct worker {
  size_t index;
  void const *ctx, *other;
  size_t rounds;
  uint64_t seed, failed, wrong;
  pthread_barrier_t *start; /* or NULL */
};

static void run_workers(void *(*run)(void *), struct worker const *pattern,
                        struct worker workers[THREADS]) {
  for (size_t i = 0; i < THREADS; i++) {
    workers[i] = *pattern;
    workers[i].index = i;
    workers[i].seed = i;
  }
  in_threads(run, workers, sizeof *workers);
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(workers[i].wrong, 0);
}

static uint64_t all_failed(struct worker const workers[THREADS]) {
  uint64_t sum = 0;
  for (size_t i = 0; i < THREADS; i++)
    sum += workers[i].failed;
  return sum;
}

/* --- status -------------------------------------------------------------- */

/* Fails in a way that no other thread does. */
static bool fail_in_my_way(struct worker *me) {
  char text[80];
  size_t const mine = 2 * me->index + 3;
  snprintf(text, sizeof text,
           "umem_aligned_alloc: alignment %zu must be power of 2", mine);
  me->failed++;
  return umem_aligned_alloc(me->ctx, mine, 1) == 0 &&
         umem_get_status(me->ctx) == umemValueError &&
         strcmp(umem_get_message(me->ctx), text) == 0 &&
         umem_clean_status(me->ctx) == umemOK;
}

static bool succeed(struct worker *me) {
  uintptr_t adr = umem_alloc(me->ctx, 1 + random_below(&me->seed, 64));
  return adr && umem_free(me->ctx, adr) == umemOK && umem_is_ok(me->ctx) &&
         umem_get_message(me->ctx)[0] == '\0';
}

static void *fail_and_succeed(void *argument) {
  struct worker *me = argument;
  for (size_t i = 0; i < me->rounds; i++)
    me->wrong +=
        !(random_below(&me->seed, 2) ? fail_in_my_way(me) : succeed(me));
  return NULL;
}

static void status__of_one_thread_is_never_seen_by_another(void **state) {
  (void)state;
  umemHost hosts[2];
  struct worker workers[THREADS];
  assert_ok(umemHost_ctor(&hosts[0]));
  checked_host(&hosts[1]);
  for (size_t i = 0; i < 2; i++) {
    struct worker const pattern = {.ctx = &hosts[i],
                                   .rounds = scaled(20000, 2000)};
    run_workers(fail_and_succeed, &pattern, workers);
    assert_int_equal(umem_get_error_count(&hosts[i]), all_failed(workers));
    assert_true(umem_is_ok(&hosts[i]));
    assert_has(last_error(&hosts[i]).text, "must be power of 2");
    assert_ok(umem_dtor(&hosts[i]));
  }
}

enum { CONTEXTS = 20 }; /* more than a thread keeps texts for */

static void *fail_and_die(void *argument) {
  struct worker *me = argument;
  umemHost const *hosts = me->ctx;
  char const *message = "";
  for (size_t i = 0; i < CONTEXTS; i++) {
    me->failed += umem_free(&hosts[i], 1) == umemValueError;
    message = umem_get_message(&hosts[i]);
    me->wrong += strstr(message, "is not a live block") == NULL;
  }
  return NULL;
}

static void status__of_threads_that_die_is_gone_but_counted(void **state) {
  (void)state;
  static umemHost hosts[CONTEXTS];
  struct worker workers[THREADS];
  size_t const rounds = scaled(100, 10);
  for (size_t i = 0; i < CONTEXTS; i++)
    checked_host(&hosts[i]);
  for (size_t i = 0; i < rounds; i++) {
    run_workers(fail_and_die, &(struct worker){.ctx = hosts}, workers);
    assert_int_equal(all_failed(workers), THREADS * CONTEXTS);
  }
  for (size_t i = 0; i < CONTEXTS; i++) {
    assert_true(umem_is_ok(&hosts[i]));
    assert_int_equal(umem_get_error_count(&hosts[i]), THREADS * rounds);
    assert_has(last_error(&hosts[i]).text, "is not a live block");
    assert_ok(umem_dtor(&hosts[i]));
  }
}

/* --- files --------------------------------------------------------------- */

enum { PIECE = 1000, PIECES = 4000 };

/* Every 8th piece of the file. */
static void *write_my_pieces(void *argument) {
  struct worker *me = argument;
  unsigned char piece[PIECE], back[PIECE];
  for (size_t i = me->index; i < me->rounds; i += THREADS) {
    random_bytes(piece, PIECE, i);
    me->wrong += umem_copy_to(me->other, (uintptr_t)piece, me->ctx, i * PIECE,
                              PIECE) != umemOK;
    me->wrong += umem_copy_to(me->ctx, i * PIECE, me->other, (uintptr_t)back,
                              PIECE) != umemOK;
    me->wrong += memcmp(piece, back, PIECE) != 0;
  }
  return NULL;
}

static void copies__to_disjoint_ranges_of_one_file_are_exact(void **state) {
  (void)state;
  umemFile file;
  umemHost host;
  struct worker workers[THREADS];
  unsigned char got[PIECE], expected[PIECE];
  size_t const pieces = scaled(PIECES, PIECES / 10);
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemFile_ctor(&file, temp_path("disjoint"), "w+"));
  run_workers(write_my_pieces,
              &(struct worker){.ctx = &file, .other = &host, .rounds = pieces},
              workers);
  assert_ok(umem_dtor(&file));
  assert_int_equal(file_size(temp_path("disjoint")), pieces * PIECE);
  for (size_t i = 0; i < pieces; i++) {
    random_bytes(expected, PIECE, i);
    file_get(temp_path("disjoint"), i * PIECE, got, PIECE);
    assert_memory_equal(got, expected, PIECE);
  }
  assert_ok(umem_dtor(&host));
}

/* --- blocks -------------------------------------------------------------- */

enum { HELD = 16, LARGEST = 300 };

struct held {
  uintptr_t adr;
  size_t nbytes;
};

/* Allocates and marks as mine. */
static bool take(struct worker *me, struct held *held) {
  held->nbytes = 1 + random_below(&me->seed, LARGEST);
  return umem_try_alloc(me->ctx, held->nbytes, &held->adr) == umemOK &&
         umem_try_set(me->ctx, held->adr, (int)me->index, held->nbytes) ==
             umemOK;
}

/* Frees what nobody else may have written to. */
static bool give(struct worker *me, struct held *held) {
  unsigned char bytes[LARGEST];
  bool ok =
      umem_copy_to_safe(me->ctx, held->adr, held->nbytes, me->other,
                        (uintptr_t)bytes, LARGEST, held->nbytes) == umemOK &&
      all_bytes_are(bytes, held->nbytes, (unsigned char)me->index) &&
      umem_free(me->ctx, held->adr) == umemOK;
  held->nbytes = 0;
  return ok;
}

static void *take_and_give(void *argument) {
  struct worker *me = argument;
  struct held held[HELD] = {{0, 0}};
  for (size_t i = 0; i < me->rounds; i++) {
    struct held *one = &held[random_below(&me->seed, HELD)];
    me->wrong += !(one->nbytes ? give(me, one) : take(me, one));
  }
  for (size_t i = 0; i < HELD; i++)
    if (held[i].nbytes)
      me->wrong += !give(me, &held[i]);
  return NULL;
}

static void blocks__that_are_live_never_overlap(void **state) {
  (void)state;
  umemHost host, checked;
  umemFile file;
  struct worker workers[THREADS];
  assert_ok(umemHost_ctor(&host));
  checked_host(&checked);
  assert_ok(umemFile_ctor(&file, temp_path("blocks"), "w+"));
  struct worker pattern = {
      .ctx = &checked, .other = &host, .rounds = scaled(20000, 2000)};
  run_workers(take_and_give, &pattern, workers);
  pattern.ctx = &file;
  pattern.rounds = scaled(4000, 500);
  run_workers(take_and_give, &pattern, workers);
  assert_int_equal(umem_get_error_count(&checked), 0);
  assert_int_equal(umem_get_error_count(&file), 0);
  /* first fit: the file is no longer than all that was held at once */
  assert_true(file_size(temp_path("blocks")) <= 2 * THREADS * HELD * LARGEST);
  assert_ok(umem_dtor(&file));
  assert_ok(umem_dtor(&checked)); /* no leaks */
  assert_ok(umem_dtor(&host));
}

/* All at once; `seed` is the address, `failed` who was refused. */
static void *race_to_free(void *argument) {
  struct worker *me = argument;
  uintptr_t const *blocks = me->other;
  for (size_t i = 0; i < me->rounds; i++) {
    pthread_barrier_wait(me->start);
    umemStatusType status = umem_free(me->ctx, blocks[i]);
    me->failed += status == umemValueError;
    me->wrong += status != umemOK && status != umemValueError;
  }
  return NULL;
}

static void free__of_one_block_by_all_is_won_by_exactly_one(void **state) {
  (void)state;
  enum { ROUNDS = 300 };
  static uintptr_t blocks[ROUNDS];
  umemHost host;
  pthread_barrier_t barrier;
  struct worker workers[THREADS];
  checked_host(&host);
  size_t const rounds = scaled(ROUNDS, 50);
  for (size_t i = 0; i < rounds; i++)
    blocks[i] = umem_alloc(&host, 1 + i);
  assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
  run_workers(
      race_to_free,
      &(struct worker){
          .ctx = &host, .other = blocks, .rounds = rounds, .start = &barrier},
      workers);
  pthread_barrier_destroy(&barrier);
  assert_int_equal(all_failed(workers), (THREADS - 1) * rounds);
  assert_int_equal(umem_get_error_count(&host), (THREADS - 1) * rounds);
  assert_ok(umem_dtor(&host));
}

/* --- mirrors ------------------------------------------------------------- */

static void *connect_and_disconnect(void *argument) {
  struct worker *me = argument;
  static unsigned char const bytes[64] = {1, 2, 3};
  uintptr_t adr = (uintptr_t)bytes;
  for (size_t i = 0; i < me->rounds; i++) {
    bool aligned = i % 2; /* the same address for all, or a block of my own */
    uintptr_t mirror =
        umem_connect(me->other, adr + 1, 60, me->ctx, aligned ? 128 : 0);
    me->wrong += !mirror || memcmp((void *)mirror, bytes + 1, 60) != 0;
    me->wrong +=
        umem_disconnect(me->other, adr + 1, me->ctx, mirror, 0) != umemOK;
  }
  return NULL;
}

static void mirrors__of_one_range_are_counted_exactly(void **state) {
  (void)state;
  umemHost host, checked;
  struct worker workers[THREADS];
  assert_ok(umemHost_ctor(&host));
  checked_host(&checked);
  run_workers(connect_and_disconnect,
              &(struct worker){
                  .ctx = &checked, .other = &host, .rounds = scaled(5000, 500)},
              workers);
  assert_int_equal(umem_get_error_count(&checked), 0);
  assert_ok(umem_dtor(&checked)); /* no block is left */
  assert_ok(umem_dtor(&host));
}

static umemFile flushed;

/* A cancellation that is pending, and a call that could act upon it. */
static void *flush_when_cancelled(void *status_out) {
  pthread_cancel(pthread_self());
  *(umemStatusType *)status_out = umem_flush(&flushed);
  pthread_testcancel();
  return NULL;
}

static void cancelling__waits_for_the_end_of_a_call(void **state) {
  (void)state;
  pthread_t thread;
  void *ended = NULL;
  umemStatusType status = umemAssertError;
  assert_ok(umemFile_ctor(&flushed, temp_path("flushed"), "w"));
  assert_int_equal(pthread_create(&thread, NULL, flush_when_cancelled, &status),
                   0);
  assert_int_equal(pthread_join(thread, &ended), 0);
  assert_ptr_equal(ended, PTHREAD_CANCELED);
  assert_ok(status);
  assert_ok(umem_flush(&flushed)); /* nobody's turn was left behind */
  assert_ok(umem_dtor(&flushed));
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(cancelling__waits_for_the_end_of_a_call),
      cmocka_unit_test(status__of_one_thread_is_never_seen_by_another),
      cmocka_unit_test(status__of_threads_that_die_is_gone_but_counted),
      cmocka_unit_test(copies__to_disjoint_ranges_of_one_file_are_exact),
      cmocka_unit_test(blocks__that_are_live_never_overlap),
      cmocka_unit_test(free__of_one_block_by_all_is_won_by_exactly_one),
      cmocka_unit_test(mirrors__of_one_range_are_counted_exactly),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
