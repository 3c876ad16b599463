/* SPDX-License-Identifier: BSD-3-Clause */
/* Capture of streams. */
#include "support.h"

#include <pthread.h>

static cuCaptureStatus capturing(cuStream lane) {
  cuCaptureStatus status;
  ok(c.cu.StreamIsCapturing(lane, &status));
  return status;
}

static void capture__throws_its_work_away(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  cuStream lane = new_stream(1);
  cuGraph graph;
  ok(c.cu.StreamBeginCapture(lane, 0));
  assert_int_equal(capturing(lane), 1);
  assert_int_equal(capturing(NULL), 0);
  ok(c.cu.MemsetD8Async(adr, 1, NBYTES, lane));
  ok(c.cu.StreamEndCapture(lane, &graph));
  assert_non_null(graph);
  assert_int_equal(capturing(lane), 0);
  ok(c.cu.StreamSynchronize(lane));
  assert_int_equal(byte_at(adr), SIMCU_POISON);
  assert_int_equal(c.cu.StreamEndCapture(lane, &graph), 903);
  fails(c.cu.StreamBeginCapture(NULL, 0), STREAM_CAPTURE_UNSUPPORTED);
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.MemFree(adr));
}

static void capture__is_ended_by_unsafe_calls(void **state) {
  (void)state;
  cuStream lane = new_stream(1);
  cuAddress adr;
  cuGraph graph;
  ok(c.cu.StreamBeginCapture(lane, 0));
  fails(c.cu.MemAlloc(&adr, 8), STREAM_CAPTURE_UNSUPPORTED);
  assert_int_equal(capturing(lane), 2);
  fails(c.cu.StreamEndCapture(lane, &graph), STREAM_CAPTURE_INVALIDATED);
  assert_null(graph);
  ok(c.cu.StreamBeginCapture(lane, 0));
  fails(c.cu.StreamSynchronize(lane), STREAM_CAPTURE_UNSUPPORTED);
  fails(c.cu.StreamEndCapture(lane, &graph), STREAM_CAPTURE_INVALIDATED);
  ok(c.cu.StreamDestroy(lane));
}

static void capture__allows_unsafe_calls_of_relaxed_threads(void **state) {
  (void)state;
  cuStream lane = new_stream(1);
  cuCaptureMode mode = UMEMI_CU_STREAM_CAPTURE_MODE_RELAXED;
  uint64_t before = c.sim.stack_state();
  cuGraph graph;
  ok(c.cu.StreamBeginCapture(lane, 0));
  ok(c.cu.ThreadExchangeStreamCaptureMode(&mode));
  assert_int_equal(mode, 0);
  assert_true(c.sim.stack_state() != before);
  ok(c.cu.MemFree(allocated(8)));
  ok(c.cu.ThreadExchangeStreamCaptureMode(&mode));
  assert_true(c.sim.stack_state() == before);
  ok(c.cu.StreamEndCapture(lane, &graph));
  ok(c.cu.StreamDestroy(lane));
}

static void capture__of_blocking_streams_forbids_the_legacy_one(void **state) {
  (void)state;
  cuStream lane = new_stream(0);
  cuAddress adr = allocated(8);
  cuGraph graph;
  cuCaptureStatus status;
  ok(c.cu.StreamBeginCapture(lane, UMEMI_CU_STREAM_CAPTURE_MODE_RELAXED));
  fails(c.cu.MemsetD8Async(adr, 1, 8, NULL), STREAM_CAPTURE_IMPLICIT);
  ok(c.cu.StreamIsCapturing(lane, &status));
  assert_int_equal(status, 2);
  fails(c.cu.MemsetD8Async(adr, 1, 8, lane), STREAM_CAPTURE_INVALIDATED);
  fails(c.cu.StreamEndCapture(lane, &graph), STREAM_CAPTURE_INVALIDATED);
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.MemFree(adr));
}

static void capture__keeps_its_events_to_itself(void **state) {
  (void)state;
  cuStream lane = new_stream(1), other = new_stream(1);
  cuEvent done = new_event();
  cuGraph graph;
  cuCaptureMode mode = UMEMI_CU_STREAM_CAPTURE_MODE_RELAXED;
  ok(c.cu.StreamBeginCapture(lane, mode));
  ok(c.cu.EventRecord(done, lane));
  assert_int_equal(c.cu.EventQuery(done), 907);
  assert_int_equal(c.cu.StreamWaitEvent(other, done, 0), 905);
  ok(c.cu.StreamEndCapture(lane, &graph));
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.StreamDestroy(other));
  ok(c.cu.EventDestroy(done));
}

/* In another thread, with no capture of its own. */
static void *alloc_elsewhere(void *context) {
  static cuCode code;
  cuAddress adr;
  c.cu.CtxPushCurrent(context);
  code = c.cu.MemAlloc(&adr, 8);
  if (!code)
    c.cu.MemFree(adr);
  c.cu.CtxPopCurrent(NULL);
  return &code;
}

static void *use_legacy_elsewhere(void *context) {
  static cuCode code;
  cuEvent done;
  c.cu.CtxPushCurrent(context);
  code = c.cu.EventCreate(&done, 0);
  if (!code)
    code = c.cu.EventRecord(done, NULL);
  c.cu.EventDestroy(done);
  c.cu.CtxPopCurrent(NULL);
  return &code;
}

static void *wait_elsewhere(void *context) {
  static cuCode code;
  c.cu.CtxPushCurrent(context);
  code = c.cu.CtxSynchronize();
  c.cu.CtxPopCurrent(NULL);
  return &code;
}

static cuCode code_of(void *(*run)(void *context), int device) {
  pthread_t thread;
  void *code;
  assert_int_equal(pthread_create(&thread, NULL, run, primary[device]), 0);
  assert_int_equal(pthread_join(thread, &code), 0);
  return *(cuCode *)code;
}

static cuCode code_elsewhere(void) {
  return code_of(alloc_elsewhere, 0);
}

static void capture__in_global_mode_binds_other_threads(void **state) {
  (void)state;
  cuStream lane = new_stream(1);
  cuGraph graph;
  ok(c.cu.StreamBeginCapture(lane, 1)); /* of this thread alone */
  ok(code_elsewhere());
  ok(c.cu.StreamEndCapture(lane, &graph));
  ok(c.cu.StreamBeginCapture(lane, 0));
  assert_int_equal(code_elsewhere(), 900);
  fails(c.cu.StreamEndCapture(lane, &graph), STREAM_CAPTURE_INVALIDATED);
  ok(c.cu.StreamDestroy(lane));
}

/* `use` in another thread is refused, and ends the capture, on the same device
   only. */
static void check_ended_by(void *(*use)(void *context), unsigned flags,
                           cuCode refused) {
  cuStream lane = new_stream(flags);
  cuGraph graph;
  for (cuCaptureMode mode = 0; mode < 3; mode++) {
    ok(c.cu.StreamBeginCapture(lane, mode));
    ok(code_of(use, 1));
    ok(c.cu.StreamEndCapture(lane, &graph));
    ok(c.cu.StreamBeginCapture(lane, mode));
    assert_int_equal(code_of(use, 0), refused);
    fails(c.cu.StreamEndCapture(lane, &graph), STREAM_CAPTURE_INVALIDATED);
  }
  ok(c.cu.StreamDestroy(lane));
}

static void capture__is_ended_by_the_devices_legacy_stream(void **state) {
  (void)state;
  check_ended_by(use_legacy_elsewhere, 0, 906);
}

static void capture__is_ended_by_a_wait_for_its_device(void **state) {
  (void)state;
  check_ended_by(wait_elsewhere, 1, 900);
}

static void capture__in_another_context_of_the_device_counts(void **state) {
  (void)state;
  cuContext own, popped;
  cuCaptureStatus status;
  cuGraph graph;
  ok(c.cu.CtxCreate(&own, 0, 0));
  cuStream lane = new_stream(0);
  ok(c.cu.StreamBeginCapture(lane, UMEMI_CU_STREAM_CAPTURE_MODE_RELAXED));
  ok(c.cu.CtxPopCurrent(&popped));
  fails(c.cu.StreamIsCapturing(NULL, &status), STREAM_CAPTURE_IMPLICIT);
  ok(c.cu.CtxPushCurrent(own));
  assert_int_equal(capturing(lane), 1); /* to ask is no harm */
  ok(c.cu.StreamEndCapture(lane, &graph));
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.CtxDestroy(own));
}

int capture_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(capture__throws_its_work_away),
      in_contexts(capture__is_ended_by_unsafe_calls),
      in_contexts(capture__allows_unsafe_calls_of_relaxed_threads),
      in_contexts(capture__of_blocking_streams_forbids_the_legacy_one),
      in_contexts(capture__keeps_its_events_to_itself),
      in_contexts(capture__in_global_mode_binds_other_threads),
      in_contexts(capture__is_ended_by_the_devices_legacy_stream),
      in_contexts(capture__is_ended_by_a_wait_for_its_device),
      in_contexts(capture__in_another_context_of_the_device_counts),
  };
  return cmocka_run_group_tests_name("capture", tests, NULL, NULL);
}
