/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory in chunks, as real devices have it. */
#include "support.h"

enum { LARGE = 3 * MIB };

static int chunks_begin(void **state) {
  driver_begin(state);
  c.sim.set_chunks(1);
  return 0;
}

static void chunks__hold_blocks_side_by_side(void **state) {
  (void)state;
  cuAddress first = allocated(100), second = allocated(513);
  cuAddress third = allocated(1), large = allocated(LARGE);
  assert_int_equal(first % (2 * MIB), 0);
  assert_true(second == first + 512 && third == second + 1024);
  assert_int_equal(large % (2 * MIB), 0);
  assert_int_equal(byte_at(third), SIMCU_POISON);
  assert_int_equal(c.sim.used(0), 512 + 1024 + 512 + LARGE);
  ok(c.cu.MemFree(second));
  ok(c.cu.MemFree(first));
  ok(c.cu.MemFree(large));
  ok(c.cu.MemFree(third));
}

static void chunks__let_overruns_succeed_within_them(void **state) {
  (void)state;
  cuAddress first = allocated(100), second = allocated(100);
  ok(c.cu.MemsetD8(first, 7, 1024));
  ok(c.cu.MemcpyHtoD(second + 600, host, 8));
  ok(c.cu.CtxSynchronize());
  assert_int_equal(byte_at(second), 7);
  fails(c.cu.MemsetD8(first, 7, 2 * MIB + 1), INVALID_VALUE);
  violates("leave the block");
  fails(c.cu.MemsetD8(first + 2 * MIB, 7, 1), INVALID_VALUE);
  violates("is in no live block");
  ok(c.cu.MemFree(first));
  ok(c.cu.MemFree(second));
}

static void chunks__give_addresses_out_again_at_once(void **state) {
  (void)state;
  cuAddress keeper = allocated(8), adr = allocated(100);
  cuAddress large = allocated(LARGE);
  unsigned char *ptr = pinned(NBYTES);
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFree(large));
  ok(c.cu.MemFreeHost(ptr));
  assert_true(allocated(50) == adr);
  assert_true(allocated(LARGE) == large);
  assert_ptr_equal(pinned(NBYTES), ptr);
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFree(large));
  ok(c.cu.MemFreeHost(ptr));
  ok(c.cu.MemFree(keeper));
}

static void
chunks__let_freed_blocks_be_used_while_they_are_there(void **state) {
  (void)state;
  cuAddress keeper = allocated(8), adr = allocated(8);
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemcpyHtoD(adr, host, 8));
  ok(c.cu.CtxSynchronize());
  fails(c.cu.MemFree(adr), INVALID_VALUE);
  violates("no block is live");
  ok(c.cu.MemFree(keeper));
  fails(c.cu.MemcpyHtoD(adr, host, 8), INVALID_VALUE);
  violates("is in no live block");
}

static void chunks__are_of_one_device_each(void **state) {
  (void)state;
  cuAddress here = allocated(8);
  ok(c.cu.CtxPushCurrent(primary[1]));
  cuAddress there = allocated(8);
  ok(c.cu.MemFree(there));
  ok(c.cu.CtxPopCurrent(NULL));
  assert_true(here / (2 * MIB) != there / (2 * MIB));
  ok(c.cu.MemFree(here));
}

static void work(void) {
  cuAddress adr = allocated(NBYTES), other = allocated(NBYTES);
  unsigned char *ptr = pinned(NBYTES);
  memset(ptr, 8, NBYTES);
  ok(c.cu.MemcpyHtoDAsync(adr, ptr, NBYTES, NULL));
  ok(c.cu.MemcpyDtoDAsync(other, adr, NBYTES, NULL));
  ok(c.cu.MemcpyDtoH(host, other, NBYTES));
  assert_memory_equal(host, ptr, NBYTES);
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFree(other));
  ok(c.cu.MemFreeHost(ptr));
}

static void chunks__hold_what_is_written(void **state) {
  (void)state;
  each_mode(work);
}

#define in_chunks(test)                                                        \
  cmocka_unit_test_setup_teardown(test, chunks_begin, driver_end)

int chunks_part(void) {
  struct CMUnitTest const tests[] = {
      in_chunks(chunks__hold_blocks_side_by_side),
      in_chunks(chunks__let_overruns_succeed_within_them),
      in_chunks(chunks__give_addresses_out_again_at_once),
      in_chunks(chunks__let_freed_blocks_be_used_while_they_are_there),
      in_chunks(chunks__are_of_one_device_each),
      in_chunks(chunks__hold_what_is_written),
  };
  return cmocka_run_group_tests_name("chunks", tests, NULL, NULL);
}
