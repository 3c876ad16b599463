/* SPDX-License-Identifier: BSD-3-Clause */
/* When things are done, and in which order. */
#include "support.h"

/* --- when things are done ------------------------------------------------- */

static void
time__lets_synchronous_fills_and_device_copies_be_late(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES), other = allocated(NBYTES);
  ok(c.cu.MemsetD8(adr, 7, NBYTES));
  ok(c.cu.MemcpyDtoD(other, adr, NBYTES));
  assert_int_equal(c.sim.pending(), 2);
  assert_int_equal(byte_at(adr), SIMCU_POISON);
  ok(c.cu.MemcpyDtoH(host, other, NBYTES)); /* waits for both */
  assert_int_equal(host[NBYTES - 1], 7);
  assert_int_equal(c.sim.pending(), 0);
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFree(other));
}

static void time__lets_the_end_of_a_pageable_copy_be_late(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  memset(host, 1, NBYTES);
  ok(c.cu.MemcpyHtoD(adr, host, NBYTES));
  memset(host, 2, NBYTES); /* is the program's again */
  assert_int_equal(byte_at(adr), SIMCU_POISON);
  ok(c.cu.MemcpyHtoDAsync(adr + 1, host, 1, NULL));
  memset(host, 3, NBYTES);
  c.sim.finish();
  assert_int_equal(byte_at(adr), 1);
  assert_int_equal(byte_at(adr + 1), 2);
  ok(c.cu.MemFree(adr));
}

static void time__reads_pinned_memory_late(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  unsigned char *ptr = pinned(NBYTES);
  cuStream lane = new_stream(UMEMI_CU_STREAM_NON_BLOCKING);
  ptr[0] = 1;
  ok(c.cu.MemcpyHtoDAsync(adr, ptr, 1, lane));
  ptr[0] = 2;
  ok(c.cu.StreamSynchronize(lane));
  assert_int_equal(byte_at(adr), 2);
  ok(c.cu.MemcpyHtoD(adr, ptr, 1)); /* this form waits */
  assert_int_equal(c.sim.pending(), 0);
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFreeHost(ptr));
}

static void time__writes_the_hosts_memory_late(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  unsigned char *ptr = pinned(NBYTES);
  cuStream lane = new_stream(UMEMI_CU_STREAM_DEFAULT);
  host[0] = ptr[0] = 0;
  ok(c.cu.MemcpyDtoHAsync(host, adr, 1, lane));
  ok(c.cu.MemcpyDtoHAsync(ptr, adr, 1, lane));
  assert_int_equal(host[0] + ptr[0], 0);
  fails(c.cu.StreamQuery(lane), NOT_READY);
  ok(c.cu.StreamSynchronize(lane));
  ok(c.cu.StreamQuery(lane));
  assert_int_equal(host[0], SIMCU_POISON);
  assert_int_equal(ptr[0], SIMCU_POISON);
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFreeHost(ptr));
}

static void time__in_eager_mode_is_now(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  c.sim.set_mode(SIMCU_EAGER, 0);
  ok(c.cu.MemsetD8Async(adr, 7, NBYTES, NULL));
  assert_int_equal(byte_at(adr), 7);
  ok(c.cu.MemFree(adr));
}

/* How far 20 fills came after each call: 64 bits of it. */
static uint64_t random_course(unsigned seed) {
  cuAddress adr = allocated(NBYTES);
  uint64_t course = 0;
  c.sim.set_mode(SIMCU_RANDOM, seed);
  for (unsigned i = 0; i < 20; i++) {
    ok(c.cu.MemsetD8Async(adr, (unsigned char)i, NBYTES, NULL));
    course = course * 31 + c.sim.pending();
  }
  ok(c.cu.CtxSynchronize());
  ok(c.cu.MemFree(adr));
  return course;
}

static void time__in_random_mode_depends_on_the_seed_alone(void **state) {
  (void)state;
  assert_true(random_course(1) == random_course(1));
  assert_true(random_course(1) != random_course(2));
}

static void queue__is_finite(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  for (int i = 0; i < 5000; i++)
    ok(c.cu.MemsetD8Async(adr, 1, NBYTES, NULL));
  assert_true(c.sim.pending() <= 1024);
  ok(c.cu.CtxSynchronize());
  ok(c.cu.MemFree(adr));
}

/* --- order ---------------------------------------------------------------- */

static void
legacy__stream_waits_for_blocking_ones_and_they_for_it(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  cuStream lane = new_stream(UMEMI_CU_STREAM_DEFAULT);
  ok(c.cu.MemsetD8Async(adr, 1, 1, lane));
  ok(c.cu.MemsetD8Async(adr, 2, 1, NULL));
  ok(c.cu.MemsetD8Async(adr, 3, 1, lane));
  ok(c.cu.StreamSynchronize(lane));
  assert_int_equal(byte_at(adr), 3);
  assert_int_equal(c.sim.pending(), 0);
  ok(c.cu.MemsetD8Async(adr, 4, 1, lane));
  ok(c.cu.StreamDestroy(lane)); /* its work goes on */
  ok(c.cu.StreamSynchronize(NULL));
  assert_int_equal(byte_at(adr), 4);
  ok(c.cu.MemFree(adr));
}

static void legacy__stream_and_non_blocking_ones_are_unordered(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  cuStream lane = new_stream(UMEMI_CU_STREAM_NON_BLOCKING);
  ok(c.cu.MemsetD8Async(adr, 1, 1, NULL));
  ok(c.cu.MemsetD8Async(adr, 2, 1, lane));
  ok(c.cu.StreamSynchronize(lane));
  assert_int_equal(byte_at(adr), 2);
  assert_int_equal(c.sim.pending(), 1);
  ok(c.cu.CtxSynchronize());
  assert_int_equal(byte_at(adr), 1);
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.MemFree(adr));
}

static void events__order_streams(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  cuStream first = new_stream(1), second = new_stream(1);
  cuEvent done = new_event();
  ok(c.cu.EventQuery(done));
  ok(c.cu.MemsetD8Async(adr, 1, 1, first));
  ok(c.cu.EventRecord(done, first));
  ok(c.cu.MemsetD8Async(adr + 1, 1, 1, first));
  fails(c.cu.EventQuery(done), NOT_READY);
  ok(c.cu.StreamWaitEvent(second, done, 0));
  ok(c.cu.EventDestroy(done)); /* the wait stays */
  ok(c.cu.MemsetD8Async(adr, 2, 1, second));
  ok(c.cu.StreamSynchronize(second));
  assert_int_equal(byte_at(adr), 2);
  assert_int_equal(byte_at(adr + 1), SIMCU_POISON); /* after the event */
  ok(c.cu.StreamSynchronize(first));
  assert_int_equal(byte_at(adr), 2);
  ok(c.cu.StreamDestroy(first));
  ok(c.cu.StreamDestroy(second));
  ok(c.cu.MemFree(adr));
}

static void events__are_waited_for(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  cuEvent done = new_event();
  ok(c.cu.MemsetD8Async(adr, 1, 1, NULL));
  ok(c.cu.EventRecord(done, NULL));
  ok(c.cu.EventSynchronize(done));
  assert_int_equal(byte_at(adr), 1);
  ok(c.cu.EventQuery(done));
  ok(c.cu.EventDestroy(done));
  fails(c.cu.EventDestroy(done), INVALID_HANDLE);
  violates("is not live");
  ok(c.cu.MemFree(adr));
}

static void streams__are_destroyed_once(void **state) {
  (void)state;
  cuStream lane = new_stream(0);
  cuContext context;
  ok(c.cu.StreamGetCtx(lane, &context));
  assert_ptr_equal(context, primary[0]);
  ok(c.cu.StreamDestroy(lane));
  fails(c.cu.StreamDestroy(lane), INVALID_HANDLE);
  violates("is not live");
  fails(c.cu.StreamCreate(&lane, 2), INVALID_VALUE);
}

/* Two slots, two streams, ordered by events: right in every mode. */
static void pipeline(void) {
  cuAddress adr = allocated(NBYTES), copy = allocated(NBYTES);
  unsigned char *slot = pinned(NBYTES);
  cuStream in = new_stream(1), out = new_stream(1);
  cuEvent done = new_event();
  memset(slot, 9, NBYTES);
  ok(c.cu.MemcpyHtoDAsync(adr, slot, NBYTES, in));
  ok(c.cu.EventRecord(done, in));
  ok(c.cu.StreamWaitEvent(out, done, 0));
  ok(c.cu.MemcpyDtoDAsync(copy, adr, NBYTES, out));
  ok(c.cu.MemcpyDtoHAsync(host, copy, NBYTES, out));
  ok(c.cu.StreamSynchronize(out));
  assert_memory_equal(host, slot, NBYTES);
  ok(c.cu.StreamDestroy(in));
  ok(c.cu.StreamDestroy(out));
  ok(c.cu.EventDestroy(done));
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFree(copy));
  ok(c.cu.MemFreeHost(slot));
}

static void copies__that_are_ordered_are_right_in_every_mode(void **state) {
  (void)state;
  each_mode(pipeline);
}

static void
copies__of_a_devices_address_as_the_hosts_are_refused(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES), other = allocated(NBYTES);
  fails(c.cu.MemcpyHtoD(adr, (void *)(uintptr_t)other, 1), INVALID_VALUE);
  violates("not of the host");
  fails(c.cu.MemcpyDtoH((void *)(uintptr_t)other, adr, 1), INVALID_VALUE);
  violates("not of the host");
  fails(c.cu.MemcpyHtoD((uintptr_t)host, host, 1), INVALID_VALUE);
  fails(c.cu.MemsetD8((uintptr_t)host, 0, 1), INVALID_VALUE);
  ok(c.cu.MemcpyHtoD(adr, NULL, 0));
  ok(c.cu.MemcpyDtoD(adr, adr + 1, 2));
  violates("overlap");
  ok(c.cu.CtxSynchronize());
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFree(other));
}

static void copies__by_address_alone_find_their_way(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  unsigned char from[8] = "1234567", to[8];
  ok(c.cu.Memcpy(adr, (uintptr_t)from, 8));
  ok(c.cu.Memcpy((uintptr_t)to, adr, 8));
  assert_memory_equal(from, to, 8);
  memset(to, 0, 8);
  ok(c.cu.MemcpyAsync((uintptr_t)to, (uintptr_t)from, 8, NULL));
  assert_memory_equal(from, to, 8); /* on the host nothing is late */
  ok(c.cu.MemFree(adr));
}

int time_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(time__lets_synchronous_fills_and_device_copies_be_late),
      in_contexts(time__lets_the_end_of_a_pageable_copy_be_late),
      in_contexts(time__reads_pinned_memory_late),
      in_contexts(time__writes_the_hosts_memory_late),
      in_contexts(time__in_eager_mode_is_now),
      in_contexts(time__in_random_mode_depends_on_the_seed_alone),
      in_contexts(queue__is_finite),
      in_contexts(legacy__stream_waits_for_blocking_ones_and_they_for_it),
      in_contexts(legacy__stream_and_non_blocking_ones_are_unordered),
      in_contexts(events__order_streams),
      in_contexts(events__are_waited_for),
      in_contexts(streams__are_destroyed_once),
      in_contexts(copies__that_are_ordered_are_right_in_every_mode),
      in_contexts(copies__of_a_devices_address_as_the_hosts_are_refused),
      in_contexts(copies__by_address_alone_find_their_way),
  };
  return cmocka_run_group_tests_name("time", tests, NULL, NULL);
}
