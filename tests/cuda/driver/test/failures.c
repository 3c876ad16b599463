/* SPDX-License-Identifier: BSD-3-Clause */
/* Failures that a test asks for, and what they leave behind. */
#include "support.h"

static void failures__come_at_the_call_that_was_named(void **state) {
  (void)state;
  cuAddress adr;
  c.sim.inject("cuMemAlloc_v2", 2, UMEMI_CUDA_ERROR_OUT_OF_MEMORY, SIMCU_ONCE);
  adr = allocated(8);
  assert_null(c.sim.injected());
  fails(c.cu.MemAlloc(&adr, 8), OUT_OF_MEMORY);
  assert_string_equal(c.sim.injected(), "cuMemAlloc_v2");
  ok(c.cu.MemFree(adr));
  assert_int_equal(c.sim.calls("cuMemAlloc_v2"), 2);
  assert_int_equal(c.sim.calls(NULL), 3);
  c.sim.inject(NULL, 2, UMEMI_CUDA_ERROR_UNKNOWN, SIMCU_FROM_THEN_ON);
  int count;
  ok(c.cu.DeviceGetCount(&count));
  fails(c.cu.DeviceGetCount(&count), UNKNOWN);
  fails(c.cu.CtxGetDevice(&count), UNKNOWN);
  c.sim.forget();
  ok(c.cu.CtxGetDevice(&count));
}

static void failures__may_be_told_after_the_work(void **state) {
  (void)state;
  cuAddress adr = allocated(8);
  c.sim.inject("cuMemFree_v2", 1, UMEMI_CUDA_ERROR_LAUNCH_FAILED, SIMCU_AFTER);
  fails(c.cu.MemFree(adr), LAUNCH_FAILED);
  assert_int_equal(c.sim.live(SIMCU_DEVICE), 0);
  fails(c.cu.MemFree(adr), LAUNCH_FAILED); /* and the context is ended */
}

static void failures__of_symbols_that_are_not_there_are_told(void **state) {
  (void)state;
  c.sim.inject("cuMemAlloc", 1, 1, SIMCU_ONCE);
  violates("knows no cuMemAlloc");
}

static void fatal__codes_stay_with_the_context(void **state) {
  (void)state;
  static int const codes[] = {214, 700, 702, 714, 715, 716, 717, 718, 719};
  for (size_t i = 0; i < LENGTH(codes); i++) {
    size_t left, total;
    cuAddress adr = allocated(8);
    c.sim.inject("cuMemcpyHtoD_v2", 1, codes[i], SIMCU_ONCE);
    assert_int_equal(c.cu.MemcpyHtoD(adr, host, 8), codes[i]);
    assert_int_equal(c.cu.MemGetInfo(&left, &total), codes[i]);
    assert_int_equal(c.cu.MemFree(adr), codes[i]);
    ok(c.cu.DevicePrimaryCtxRelease(0)); /* what is lost is nobody's leak */
    ok(c.cu.DevicePrimaryCtxRetain(&primary[0], 0));
    ok(c.cu.MemGetInfo(&left, &total));
  }
}

static void fatal__errors_of_queued_work_come_with_the_next_wait(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  c.sim.inject_work(2, UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS);
  for (int i = 0; i < 3; i++)
    ok(c.cu.MemsetD8Async(adr + (unsigned)i, 1, 1, NULL));
  fails(c.cu.StreamSynchronize(NULL), ILLEGAL_ADDRESS);
  assert_int_equal(byte_at(adr), 1);
  assert_int_equal(byte_at(adr + 1), SIMCU_POISON);
  assert_int_equal(byte_at(adr + 2), SIMCU_POISON);
  fails(c.cu.MemFree(adr), ILLEGAL_ADDRESS);
}

static void failures__of_other_kinds_pass(void **state) {
  (void)state;
  c.sim.inject("cuCtxSynchronize", 1, UMEMI_CUDA_ERROR_UNKNOWN, SIMCU_ONCE);
  fails(c.cu.CtxSynchronize(), UNKNOWN);
  ok(c.cu.CtxSynchronize());
}

int failures_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(failures__come_at_the_call_that_was_named),
      in_contexts(failures__may_be_told_after_the_work),
      in_contexts(failures__of_symbols_that_are_not_there_are_told),
      in_contexts(fatal__codes_stay_with_the_context),
      in_contexts(fatal__errors_of_queued_work_come_with_the_next_wait),
      in_contexts(failures__of_other_kinds_pass),
  };
  return cmocka_run_group_tests_name("failures", tests, NULL, NULL);
}
