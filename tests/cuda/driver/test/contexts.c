/* SPDX-License-Identifier: BSD-3-Clause */
/* Contexts, several devices, several threads. */
#include "support.h"

#include <pthread.h>

enum { THREADS = 4 };

/* --- contexts ------------------------------------------------------------- */

static void contexts__are_needed(void **state) {
  (void)state;
  cuAddress adr;
  cuContext popped;
  ok(c.cu.CtxPopCurrent(&popped));
  assert_ptr_equal(popped, primary[0]);
  fails(c.cu.MemAlloc(&adr, 8), INVALID_CONTEXT);
  fails(c.cu.MemcpyHtoD(0x1000, host, 8), INVALID_CONTEXT);
  fails(c.cu.CtxPopCurrent(&popped), INVALID_CONTEXT);
  ok(c.cu.CtxGetCurrent(&popped));
  assert_null(popped);
  fails(c.cu.CtxPushCurrent(NULL), INVALID_CONTEXT);
  ok(c.cu.CtxPushCurrent(primary[0]));
}

static void contexts__are_a_stack_in_each_thread(void **state) {
  (void)state;
  uint64_t before = c.sim.stack_state();
  cuDevice device;
  ok(c.cu.CtxPushCurrent(primary[1]));
  assert_int_equal(c.sim.stack_depth(), 2);
  ok(c.cu.CtxGetDevice(&device));
  assert_int_equal(device, 1);
  assert_true(c.sim.stack_state() != before);
  ok(c.cu.CtxSetCurrent(primary[0]));
  ok(c.cu.CtxSetCurrent(NULL)); /* pops */
  assert_true(c.sim.stack_state() == before);
  ok(c.cu.CtxSetCurrent(primary[1]));
  assert_int_equal(c.sim.stack_depth(), 1);
  assert_true(c.sim.stack_state() != before);
  ok(c.cu.CtxSetCurrent(primary[0]));
}

static void contexts__of_programs_come_and_go(void **state) {
  (void)state;
  cuContext own, current;
  cuDevice device;
  ok(c.cu.CtxCreate(&own, 0, 1));
  ok(c.cu.CtxGetCurrent(&current));
  assert_ptr_equal(current, own);
  cuAddress adr = allocated(8);
  ok(c.cu.PointerGetAttribute(&current, UMEMI_CU_POINTER_ATTRIBUTE_CONTEXT,
                              adr));
  assert_ptr_equal(current, own);
  ok(c.cu.CtxPushCurrent(own));
  ok(c.cu.CtxDestroy(own));
  violates("the context ends with 8 bytes live");
  fails(c.cu.CtxDestroy(own), INVALID_CONTEXT);
  assert_int_equal(c.cu.CtxGetDevice(&device), 709);
  ok(c.cu.CtxPopCurrent(NULL));
  fails(c.cu.CtxDestroy(primary[0]), INVALID_CONTEXT);
}

static void primary__contexts_are_released_once(void **state) {
  (void)state;
  unsigned flags;
  int is_active;
  ok(c.cu.DevicePrimaryCtxGetState(1, &flags, &is_active));
  assert_int_equal(is_active, 1);
  ok(c.cu.DevicePrimaryCtxRelease(1));
  ok(c.cu.DevicePrimaryCtxGetState(1, &flags, &is_active));
  assert_int_equal(is_active, 0);
  fails(c.cu.CtxPushCurrent(primary[1]), INVALID_CONTEXT);
  fails(c.cu.DevicePrimaryCtxRelease(1), INVALID_CONTEXT);
  violates("is not retained");
  ok(c.cu.DevicePrimaryCtxRetain(&primary[1], 1));
}

static void primary__contexts_end_with_nothing_in_them(void **state) {
  (void)state;
  allocated(8);
  ok(c.cu.DevicePrimaryCtxRelease(0));
  violates("ends with 8 bytes live");
  ok(c.cu.DevicePrimaryCtxRetain(&primary[0], 0));
  new_stream(0);
  ok(c.cu.DevicePrimaryCtxRelease(0));
  violates("ends with 1 live streams");
  ok(c.cu.DevicePrimaryCtxRetain(&primary[0], 0));
}

/* --- several devices ------------------------------------------------------ */

static void peers__are_enabled_once(void **state) {
  (void)state;
  int can;
  ok(c.cu.DeviceCanAccessPeer(&can, 0, 1));
  assert_int_equal(can, 1);
  fails(c.cu.CtxEnablePeerAccess(primary[1], 1), INVALID_VALUE);
  fails(c.cu.CtxEnablePeerAccess(primary[0], 0), INVALID_CONTEXT);
  c.sim.set_peer(0, 1, 0);
  fails(c.cu.CtxEnablePeerAccess(primary[1], 0), PEER_ACCESS_UNSUPPORTED);
  c.sim.set_peer(0, 1, 1);
  ok(c.cu.CtxEnablePeerAccess(primary[1], 0));
  fails(c.cu.CtxEnablePeerAccess(primary[1], 0), PEER_ACCESS_ALREADY_ENABLED);
}

static cuAddress allocated_on(int device, size_t nbytes) {
  ok(c.cu.CtxPushCurrent(primary[device]));
  cuAddress adr = allocated(nbytes);
  ok(c.cu.CtxPopCurrent(NULL));
  return adr;
}

static void freed_on(int device, cuAddress adr) {
  ok(c.cu.CtxPushCurrent(primary[device]));
  ok(c.cu.MemFree(adr));
  ok(c.cu.CtxPopCurrent(NULL));
}

static void peers__need_access_for_any_use_of_their_memory(void **state) {
  (void)state;
  cuAddress there = allocated_on(1, 8);
  fails(c.cu.MemsetD8Async(there, 1, 8, NULL), INVALID_VALUE);
  violates("of device 1 without peer access from device 0");
  fails(c.cu.MemsetD8(there, 1, 8), INVALID_VALUE);
  violates("without peer access");
  fails(c.cu.MemcpyHtoD(there, host, 8), INVALID_VALUE);
  violates("without peer access");
  fails(c.cu.MemcpyDtoHAsync(host, there, 8, NULL), INVALID_VALUE);
  violates("without peer access");
  ok(c.cu.CtxEnablePeerAccess(primary[1], 0));
  ok(c.cu.MemsetD8(there, 1, 8));
  ok(c.cu.MemcpyDtoH(host, there, 8));
  assert_int_equal(host[7], 1);
  ok(c.cu.CtxDisablePeerAccess(primary[1]));
  fails(c.cu.CtxDisablePeerAccess(primary[1]), PEER_ACCESS_NOT_ENABLED);
  fails(c.cu.MemcpyDtoH(host, there, 8), INVALID_VALUE);
  violates("without peer access");
  freed_on(1, there);
}

static void peers__are_contexts_and_not_devices(void **state) {
  (void)state;
  cuContext own;
  cuAddress there = allocated_on(1, 8);
  ok(c.cu.CtxEnablePeerAccess(primary[1], 0));
  ok(c.cu.CtxCreate(&own, 0, 0));
  fails(c.cu.MemsetD8(there, 1, 8), INVALID_VALUE);
  violates("without peer access");
  ok(c.cu.CtxDestroy(own));
  ok(c.cu.MemsetD8(there, 1, 8));
  ok(c.cu.CtxSynchronize());
  freed_on(1, there);
  ok(c.cu.DevicePrimaryCtxRelease(1)); /* its access ends with it */
  ok(c.cu.DevicePrimaryCtxRetain(&primary[1], 1));
  ok(c.cu.CtxEnablePeerAccess(primary[1], 0));
}

static void copy_to_peer(void) {
  cuAddress here = allocated_on(0, NBYTES), there = allocated_on(1, NBYTES);
  ok(c.cu.MemsetD8(here, 6, NBYTES));
  ok(c.cu.MemcpyPeer(there, primary[1], here, primary[0], NBYTES));
  ok(c.cu.MemcpyPeerAsync(here, primary[0], there, primary[1], 1, NULL));
  ok(c.cu.MemcpyDtoH(host, here, NBYTES));
  ok(c.cu.CtxPushCurrent(primary[1]));
  ok(c.cu.MemcpyDtoH(host, there, NBYTES)); /* waits for the first */
  ok(c.cu.CtxPopCurrent(NULL));
  assert_int_equal(host[NBYTES - 1], 6);
  freed_on(0, here);
  freed_on(1, there);
}

static void peers__copy_with_and_without_access(void **state) {
  (void)state;
  each_mode(copy_to_peer);
  ok(c.cu.CtxEnablePeerAccess(primary[1], 0));
  each_mode(copy_to_peer);
}

/* What a copy there makes of a byte. */
static int byte_after_copy(cuAddress there, cuAddress here) {
  ok(c.cu.MemcpyPeer(there, primary[1], here, primary[0], 8));
  c.sim.finish();
  return byte_at(there);
}

static void peers__may_lose_what_goes_directly(void **state) {
  (void)state;
  cuAddress here = allocated_on(0, 8), there = allocated_on(1, 8);
  ok(c.cu.MemsetD8(here, 6, 8));
  c.sim.set_peer_drops(0, 1, 1);
  assert_int_equal(byte_after_copy(there, here), 6);
  ok(c.cu.CtxEnablePeerAccess(primary[1], 0));
  ok(c.cu.MemsetD8(here, 7, 8));
  assert_int_equal(byte_after_copy(there, here), 6);
  ok(c.cu.MemcpyDtoD(there, here, 8));
  ok(c.cu.CtxSynchronize());
  assert_int_equal(byte_at(there), 6);
  c.sim.set_peer_drops(0, 1, 0);
  assert_int_equal(byte_after_copy(there, here), 7);
  freed_on(0, here);
  freed_on(1, there);
}

static void peers__need_access_or_their_contexts_for_copies(void **state) {
  (void)state;
  cuAddress here = allocated_on(0, 8), there = allocated_on(1, 8);
  fails(c.cu.MemcpyDtoDAsync(there, here, 8, NULL), INVALID_VALUE);
  violates("without peer access");
  fails(c.cu.MemcpyPeer(there, primary[0], here, primary[0], 8), INVALID_VALUE);
  violates("not of the contexts");
  fails(c.cu.MemcpyPeer(there, NULL, here, primary[0], 8), INVALID_CONTEXT);
  ok(c.cu.CtxEnablePeerAccess(primary[1], 0));
  ok(c.cu.MemcpyDtoDAsync(there, here, 8, NULL));
  ok(c.cu.CtxSynchronize());
  freed_on(0, here);
  freed_on(1, there);
}

/* --- threads -------------------------------------------------------------- */

struct worker {
  pthread_t thread;
  unsigned char number;
  int wrong;
};

static int work_once(unsigned char value) {
  unsigned char bytes[512];
  cuAddress adr;
  cuStream lane;
  int wrong = c.cu.MemAlloc(&adr, 512) || c.cu.StreamCreate(&lane, 1) ||
              c.cu.MemsetD8Async(adr, value, 512, lane) ||
              c.cu.MemcpyDtoHAsync(bytes, adr, 512, lane) ||
              c.cu.StreamSynchronize(lane) || c.cu.StreamDestroy(lane) ||
              c.cu.MemFree(adr);
  for (size_t i = 0; i < sizeof bytes && !wrong; i++)
    wrong = bytes[i] != value;
  return wrong;
}

static void *work(void *argument) {
  struct worker *worker = argument;
  c.cu.CtxPushCurrent(primary[worker->number % 2]);
  for (int i = 0; i < 100; i++)
    worker->wrong += work_once(worker->number);
  c.cu.CtxPopCurrent(NULL);
  return NULL;
}

static void work_together(void) {
  struct worker workers[THREADS];
  for (unsigned char i = 0; i < THREADS; i++) {
    workers[i] = (struct worker){.number = i};
    assert_int_equal(
        pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
    assert_int_equal(workers[i].wrong, 0);
  }
}

static void threads__may_call_at_the_same_time(void **state) {
  (void)state;
  each_mode(work_together);
}

int contexts_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(contexts__are_needed),
      in_contexts(contexts__are_a_stack_in_each_thread),
      in_contexts(contexts__of_programs_come_and_go),
      in_contexts(primary__contexts_are_released_once),
      in_contexts(primary__contexts_end_with_nothing_in_them),
      in_contexts(peers__are_enabled_once),
      in_contexts(peers__need_access_for_any_use_of_their_memory),
      in_contexts(peers__are_contexts_and_not_devices),
      in_contexts(peers__copy_with_and_without_access),
      in_contexts(peers__may_lose_what_goes_directly),
      in_contexts(peers__need_access_or_their_contexts_for_copies),
      in_contexts(threads__may_call_at_the_same_time),
  };
  return cmocka_run_group_tests_name("contexts", tests, NULL, NULL);
}
