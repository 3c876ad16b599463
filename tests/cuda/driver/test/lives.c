/* SPDX-License-Identifier: BSD-3-Clause */
/* Primary contexts that are reset: the handle is the same, and all else new. */
#include "support.h"

static unsigned long long id_of(cuContext context) {
  unsigned long long id;
  ok(c.cu.CtxGetId(context, &id));
  return id;
}

static int is_active(int device) {
  unsigned flags;
  int active;
  ok(c.cu.DevicePrimaryCtxGetState(device, &flags, &active));
  return active;
}

/* Retained by driver_begin(), and once more. */
static void retained_again(void) {
  cuContext again;
  ok(c.cu.DevicePrimaryCtxRetain(&again, 0));
  assert_ptr_equal(again, primary[0]);
  assert_int_equal(is_active(0), 1);
  ok(c.cu.DevicePrimaryCtxRelease(0));
}

static void reset__ends_what_is_in_the_context(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES), managed;
  ok(c.cu.MemAllocManaged(&managed, NBYTES, UMEMI_CU_MEM_ATTACH_GLOBAL));
  ok(c.cu.MemHostRegister(host, NBYTES, 0));
  pinned(NBYTES);
  new_stream(1);
  new_event();
  ok(c.cu.MemsetD8Async(adr, 1, NBYTES, NULL));
  ok(c.cu.DevicePrimaryCtxReset(0));
  for (int kind = 0; kind < SIMCU_CONTEXTS; kind++)
    assert_int_equal(c.sim.live((enum simcuKind)kind), 0);
  assert_int_equal(c.sim.used(0), 0);
  assert_int_equal(c.sim.pending(), 0);
  assert_int_equal(c.sim.live(SIMCU_RETAINS), 2);
  retained_again();
}

static void reset__leaves_the_dead_context_current(void **state) {
  (void)state;
  unsigned version;
  unsigned long long id;
  cuContext current;
  cuAddress adr;
  ok(c.cu.CtxGetApiVersion(primary[0], &version));
  ok(c.cu.DevicePrimaryCtxReset(0));
  assert_int_equal(is_active(0), 0);
  ok(c.cu.CtxGetCurrent(&current));
  assert_ptr_equal(current, primary[0]);
  assert_int_equal(c.cu.MemAlloc(&adr, 8), 709);
  fails(c.cu.CtxPushCurrent(primary[0]), INVALID_CONTEXT);
  fails(c.cu.CtxGetApiVersion(primary[0], &version), INVALID_CONTEXT);
  fails(c.cu.CtxGetId(NULL, &id), INVALID_CONTEXT);
  fails(c.cu.DevicePrimaryCtxReset(2), INVALID_DEVICE);
  retained_again();
}

static void reset__gives_the_handle_to_the_next_life(void **state) {
  (void)state;
  unsigned long long before = id_of(NULL);
  assert_true(before != id_of(primary[1]));
  retained_again();
  assert_true(id_of(primary[0]) == before); /* the same life */
  ok(c.cu.DevicePrimaryCtxReset1(0));
  retained_again();
  assert_true(id_of(primary[0]) != before);
  ok(c.cu.MemFree(allocated(8))); /* it is current, as it was */
}

static void reset__makes_kept_streams_and_events_violations(void **state) {
  (void)state;
  cuStream lane = new_stream(1);
  cuEvent done = new_event();
  ok(c.cu.DevicePrimaryCtxReset(0));
  retained_again();
  fails(c.cu.StreamSynchronize(lane), INVALID_HANDLE);
  violates("is not live");
  fails(c.cu.EventRecord(done, NULL), INVALID_HANDLE);
  violates("is not live");
  fails(c.cu.StreamDestroy(lane), INVALID_HANDLE);
  violates("is not live");
}

static void dead__handles_may_end_the_process(void **state) {
  (void)state;
  set_mode("lazy", 1);
  assert_int_equal(again("planted", "earlier_life"), SIMCU_STRICT_EXIT);
  snprintf(settings[3], sizeof settings[3], "SIMCU_CRASH=1");
  assert_int_equal(again("planted", "earlier_life"), SEGV);
}

static void contexts__that_end_take_their_events_along(void **state) {
  (void)state;
  new_event();
  ok(c.cu.DevicePrimaryCtxRelease(0));
  violates("ends with 1 live events");
  ok(c.cu.DevicePrimaryCtxRetain(&primary[0], 0));
}

int lives_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(reset__ends_what_is_in_the_context),
      in_contexts(reset__leaves_the_dead_context_current),
      in_contexts(reset__gives_the_handle_to_the_next_life),
      in_contexts(reset__makes_kept_streams_and_events_violations),
      in_contexts(dead__handles_may_end_the_process),
      in_contexts(contexts__that_end_take_their_events_along),
  };
  return cmocka_run_group_tests_name("lives", tests, NULL, NULL);
}
