/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools, and handles for other processes. */
#include "support.h"

/* --- pools ---------------------------------------------------------------- */

static cuPool pool(uint64_t threshold) {
  cuPoolProps properties = {
      .allocType = UMEMI_CU_MEM_ALLOCATION_TYPE_PINNED,
      .location = {.type = UMEMI_CU_MEM_LOCATION_TYPE_DEVICE, .id = 0}};
  cuPool made;
  ok(c.cu.MemPoolCreate(&made, &properties));
  ok(c.cu.MemPoolSetAttribute(made, UMEMI_CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                              &threshold));
  return made;
}

static void use_pool(void) {
  cuPool made = pool(0);
  cuStream lane = new_stream(1);
  for (int i = 0; i < 10; i++) {
    cuAddress adr;
    ok(c.cu.MemAllocFromPoolAsync(&adr, NBYTES, made, lane));
    ok(c.cu.MemsetD8Async(adr, (unsigned char)i, NBYTES, lane));
    ok(c.cu.MemcpyDtoHAsync(host, adr, NBYTES, lane));
    ok(c.cu.MemFreeAsync(adr, lane));
  }
  ok(c.cu.StreamSynchronize(lane));
  assert_int_equal(host[NBYTES - 1], 9);
  ok(c.cu.StreamDestroy(lane));
  ok(c.cu.MemPoolDestroy(made));
}

static void pools__free_in_the_order_of_streams(void **state) {
  (void)state;
  c.sim.set_memory(0, (size_t)4 * 5120); /* less than ten of them */
  each_mode(use_pool);
  c.sim.set_memory(0, (size_t)256 * MIB);
}

static void pools__keep_up_to_their_threshold(void **state) {
  (void)state;
  cuPool made = pool(UINT64_MAX);
  cuAddress adr;
  ok(c.cu.MemAllocFromPoolAsync(&adr, 1024, made, NULL));
  ok(c.cu.MemFreeAsync(adr, NULL));
  ok(c.cu.StreamSynchronize(NULL));
  assert_int_equal(c.sim.used(0), 1024);
  c.sim.set_memory(0, 1024);
  ok(c.cu.MemAlloc(&adr, 1024)); /* what is needed elsewhere is given back */
  ok(c.cu.MemFree(adr));
  c.sim.set_memory(0, (size_t)256 * MIB);
  ok(c.cu.MemPoolDestroy(made));
  fails(c.cu.MemPoolDestroy(made), INVALID_VALUE);
  violates("is not live");
}

static void pools__find_uses_out_of_order(void **state) {
  (void)state;
  cuPool made = pool(0);
  cuStream first = new_stream(1), second = new_stream(1);
  cuAddress adr;
  ok(c.cu.MemAllocFromPoolAsync(&adr, 8, made, first));
  ok(c.cu.MemsetD8Async(adr, 1, 8, second));
  violates("does not wait for its allocation");
  ok(c.cu.MemFreeAsync(adr, first));
  violates("does not wait for its use");
  fails(c.cu.MemFreeAsync(adr, first), INVALID_VALUE);
  violates("double free");
  fails(c.cu.MemsetD8Async(adr, 1, 8, first), INVALID_VALUE);
  violates("after it was freed in a stream");
  c.sim.finish();
  ok(c.cu.StreamDestroy(first));
  ok(c.cu.StreamDestroy(second));
  ok(c.cu.MemPoolDestroy(made));
}

static void pools__live_as_long_as_their_blocks(void **state) {
  (void)state;
  cuPool made = pool(0);
  cuAddress adr;
  ok(c.cu.MemAllocFromPoolAsync(&adr, 8, made, NULL));
  ok(c.cu.MemPoolDestroy(made));
  assert_int_equal(c.sim.live(SIMCU_POOLED), 1);
  ok(c.cu.MemFree(adr)); /* is allowed, too */
}

static void pools__may_be_unsupported(void **state) {
  (void)state;
  cuPoolProps properties = {.allocType = 1, .location = {1, 0}};
  cuPool made;
  int supported = UMEMI_CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
  c.sim.set_attribute(0, supported, 0);
  fails(c.cu.MemPoolCreate(&made, &properties), NOT_SUPPORTED);
  c.sim.set_attribute(0, supported, 1);
  properties.location.type = 0;
  fails(c.cu.MemPoolCreate(&made, &properties), INVALID_VALUE);
}

int pools_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(pools__free_in_the_order_of_streams),
      in_contexts(pools__keep_up_to_their_threshold),
      in_contexts(pools__find_uses_out_of_order),
      in_contexts(pools__live_as_long_as_their_blocks),
      in_contexts(pools__may_be_unsupported),
  };
  return cmocka_run_group_tests_name("pools", tests, NULL, NULL);
}
