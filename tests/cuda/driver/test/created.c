/* SPDX-License-Identifier: BSD-3-Clause */
/* Contexts and streams beside those of the primary contexts. */
#include "support.h"

#include <pthread.h>

static cuContext context_of(cuStream lane) {
  cuContext context;
  ok(c.cu.StreamGetCtx(lane, &context));
  return context;
}

static void created__contexts_are_not_the_primary_one(void **state) {
  (void)state;
  cuContext own;
  unsigned flags;
  int active;
  cuEvent done = new_event();
  ok(c.cu.DevicePrimaryCtxRelease(1));
  ok(c.cu.CtxCreate4(&own, NULL, 0, 1));
  ok(c.cu.DevicePrimaryCtxGetState(1, &flags, &active));
  assert_int_equal(active, 0);
  ok(c.cu.DevicePrimaryCtxRetain(&primary[1], 1));
  cuStream lane;
  fails(c.cu.StreamCreateWithPriority(&lane, 2, 0), INVALID_VALUE);
  ok(c.cu.StreamCreateWithPriority(&lane, 0, -1));
  assert_ptr_equal(context_of(lane), own);
  fails(c.cu.EventRecord(done, lane), INVALID_HANDLE);
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.CtxDestroy(own));
  ok(c.cu.EventDestroy(done));
}

static void created__contexts_have_their_own_legacy_stream(void **state) {
  (void)state;
  cuContext own;
  cuAddress adr = allocated(8);
  ok(c.cu.MemsetD8Async(adr, 1, 8, NULL));
  ok(c.cu.CtxCreate(&own, 0, 0));
  ok(c.cu.StreamSynchronize(NULL));
  assert_int_equal(c.sim.pending(), 1);
  ok(c.cu.MemsetD8Async(adr, 2, 8, NULL)); /* of the same device */
  ok(c.cu.StreamSynchronize(NULL));
  ok(c.cu.CtxDestroy(own));
  ok(c.cu.CtxSynchronize());
  assert_int_equal(byte_at(adr), 1);
  ok(c.cu.MemFree(adr));
}

static void green__contexts_keep_the_primary_one(void **state) {
  (void)state;
  cuGreen green;
  cuStream lane;
  cuContext context;
  cuEvent done = new_event();
  fails(c.cu.GreenCtxCreate(&green, NULL, 0, 0), INVALID_VALUE);
  ok(c.cu.GreenCtxCreate(&green, NULL, 0, 1));
  assert_int_equal(c.sim.live(SIMCU_RETAINS), 3);
  fails(c.cu.GreenCtxStreamCreate(&lane, green, 0, 0), INVALID_VALUE);
  ok(c.cu.GreenCtxStreamCreate(&lane, green, 1, 0));
  ok(c.cu.CtxFromGreenCtx(&context, green));
  assert_ptr_equal(context_of(lane), context);
  assert_true(context != primary[0]);
  fails(c.cu.EventRecord(done, lane), INVALID_HANDLE);
  fails(c.cu.CtxDestroy(context), INVALID_CONTEXT);
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.GreenCtxDestroy(green));
  fails(c.cu.GreenCtxDestroy(green), INVALID_CONTEXT);
  assert_int_equal(c.sim.live(SIMCU_RETAINS), 2);
  ok(c.cu.EventDestroy(done));
}

static void per_thread__stream_is_another_blocking_one(void **state) {
  (void)state;
  cuStream mine = (cuStream)(uintptr_t)UMEMI_CU_PER_THREAD;
  cuAddress adr = allocated(8);
  assert_ptr_equal(context_of(mine), primary[0]);
  ok(c.cu.MemsetD8Async(adr, 1, 8, mine));
  ok(c.cu.MemsetD8Async(adr, 2, 8, NULL));
  ok(c.cu.StreamSynchronize(mine));
  assert_int_equal(byte_at(adr), 1);
  ok(c.cu.MemsetD8Async(adr, 3, 8, mine));
  ok(c.cu.StreamSynchronize(NULL));
  assert_int_equal(byte_at(adr), 3);
  ok(c.cu.MemFree(adr));
}

static void *fill_by_thread(void *adr) {
  cuStream mine = (cuStream)(uintptr_t)UMEMI_CU_PER_THREAD;
  c.cu.CtxPushCurrent(primary[0]);
  c.cu.MemsetD8Async((cuAddress)(uintptr_t)adr, 5, 8, mine);
  c.cu.CtxPopCurrent(NULL);
  return NULL;
}

static void per_thread__streams_do_not_wait_for_each_other(void **state) {
  (void)state;
  pthread_t thread;
  cuStream mine = (cuStream)(uintptr_t)UMEMI_CU_PER_THREAD;
  cuAddress adr = allocated(8);
  ok(c.cu.MemsetD8Async(adr, 1, 8, mine));
  assert_int_equal(
      pthread_create(&thread, NULL, fill_by_thread, (void *)(uintptr_t)adr), 0);
  pthread_join(thread, NULL);
  ok(c.cu.StreamSynchronize(mine));
  assert_int_equal(c.sim.pending(), 1);
  ok(c.cu.CtxSynchronize());
  assert_int_equal(byte_at(adr), 5);
  ok(c.cu.MemFree(adr));
}

int created_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(created__contexts_are_not_the_primary_one),
      in_contexts(created__contexts_have_their_own_legacy_stream),
      in_contexts(green__contexts_keep_the_primary_one),
      in_contexts(per_thread__stream_is_another_blocking_one),
      in_contexts(per_thread__streams_do_not_wait_for_each_other),
  };
  return cmocka_run_group_tests_name("created", tests, NULL, NULL);
}
