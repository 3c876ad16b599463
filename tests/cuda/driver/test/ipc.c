/* SPDX-License-Identifier: BSD-3-Clause */
/* Handles for other processes, opened in this one. */
#include "support.h"

static cuIpcHandle handle_of(cuAddress adr) {
  cuIpcHandle handle;
  ok(c.cu.IpcGetMemHandle(&handle, adr));
  return handle;
}

static cuAddress opened_of(cuAddress adr) {
  cuAddress opened;
  ok(c.cu.IpcOpenMemHandle(&opened, handle_of(adr), 1));
  return opened;
}

static void ipc__opens_within_the_process_if_it_may(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES), opened, again;
  ok(c.cu.MemsetD8(adr, 3, NBYTES)); /* is done in the shared bytes */
  cuIpcHandle handle = handle_of(adr + 10);
  fails(c.cu.IpcOpenMemHandle(&opened, handle, 1), INVALID_CONTEXT);
  c.sim.set_ipc_within(1);
  fails(c.cu.IpcOpenMemHandle(&opened, handle, 0), INVALID_VALUE);
  ok(c.cu.IpcOpenMemHandle(&opened, handle, 1));
  ok(c.cu.IpcOpenMemHandle(&again, handle, 1));
  assert_true(opened == again && opened != adr);
  ok(c.cu.CtxSynchronize());
  assert_int_equal(byte_at(opened), 3);
  fails(c.cu.MemFree(opened), INVALID_VALUE);
  violates("by the wrong function");
  ok(c.cu.IpcCloseMemHandle(opened));
  ok(c.cu.IpcCloseMemHandle(opened));
  fails(c.cu.IpcCloseMemHandle(opened), INVALID_VALUE);
  violates("is no opened handle");
  ok(c.cu.MemFree(adr));
}

static void ipc__may_refuse_what_is_open(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES), again;
  c.sim.set_ipc_within(1);
  c.sim.set_ipc_again(0);
  cuAddress opened = opened_of(adr);
  assert_int_equal(c.cu.IpcOpenMemHandle(&again, handle_of(adr), 1), 208);
  ok(c.cu.IpcCloseMemHandle(opened));
  ok(c.cu.IpcCloseMemHandle(opened_of(adr)));
  c.sim.set_ipc_again(1);
  ok(c.cu.MemFree(adr));
}

static void ipc__opens_again_in_another_context(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  c.sim.set_ipc_within(1);
  cuAddress here = opened_of(adr);
  ok(c.cu.CtxPushCurrent(primary[1]));
  cuAddress there = opened_of(adr);
  assert_true(here != there);
  ok(c.cu.MemsetD8(there, 1, 8)); /* with access to its device */
  ok(c.cu.CtxSynchronize());
  ok(c.cu.IpcCloseMemHandle(there));
  ok(c.cu.CtxPopCurrent(NULL));
  ok(c.cu.IpcCloseMemHandle(here));
  ok(c.cu.MemFree(adr));
}

static void ipc__refuses_another_block_at_an_open_address(void **state) {
  (void)state;
  c.sim.set_chunks(1);
  c.sim.set_ipc_within(1);
  cuAddress keeper = allocated(NBYTES), adr = allocated(NBYTES), again;
  cuAddress opened = opened_of(adr);
  ok(c.cu.MemFree(adr));
  assert_true(allocated(NBYTES) == adr);
  assert_int_equal(c.cu.IpcOpenMemHandle(&again, handle_of(adr), 1), 208);
  ok(c.cu.IpcCloseMemHandle(opened));
  ok(c.cu.IpcCloseMemHandle(opened_of(adr)));
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFree(keeper));
}

static void ipc__shares_the_whole_chunk(void **state) {
  (void)state;
  c.sim.set_chunks(1);
  c.sim.set_ipc_within(1);
  cuAddress secret = allocated(512), adr = allocated(512);
  ok(c.cu.MemsetD8(secret, 5, 512));
  cuAddress opened = opened_of(adr);
  ok(c.cu.MemcpyDtoH(host, opened - 512, 512));
  assert_int_equal(host[0], 5);
  cuAddress other = opened_of(secret);
  assert_true(other + 512 == opened);
  assert_int_equal(c.sim.live(SIMCU_IMPORTED), 1);
  ok(c.cu.IpcCloseMemHandle(opened));
  ok(c.cu.MemcpyDtoH(host, other, 512));
  ok(c.cu.IpcCloseMemHandle(other));
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFree(secret));
}

static void ipc__may_not_tell_how_long_an_opened_block_is(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES), start;
  size_t nbytes;
  c.sim.set_ipc_within(1);
  cuAddress opened = opened_of(adr);
  ok(c.cu.MemGetAddressRange(&start, &nbytes, opened));
  assert_int_equal(nbytes, NBYTES);
  c.sim.set_ipc_range(0);
  fails(c.cu.MemGetAddressRange(&start, &nbytes, opened), NOT_FOUND);
  ok(c.cu.MemGetAddressRange(&start, &nbytes, adr));
  c.sim.set_ipc_range(1);
  ok(c.cu.IpcCloseMemHandle(opened));
  ok(c.cu.MemFree(adr));
}

static void ipc__refuses_what_is_no_block_of_cuMemAlloc(void **state) {
  (void)state;
  unsigned char *ptr = pinned(8);
  cuIpcHandle handle;
  cuAddress opened;
  fails(c.cu.IpcGetMemHandle(&handle, (uintptr_t)ptr), INVALID_VALUE);
  fails(c.cu.IpcGetMemHandle(&handle, (uintptr_t)host), INVALID_VALUE);
  memset(&handle, 0, sizeof handle);
  fails(c.cu.IpcOpenMemHandle(&opened, handle, 1), INVALID_VALUE);
  ok(c.cu.MemFreeHost(ptr));
}

int ipc_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(ipc__opens_within_the_process_if_it_may),
      in_contexts(ipc__may_refuse_what_is_open),
      in_contexts(ipc__opens_again_in_another_context),
      in_contexts(ipc__refuses_another_block_at_an_open_address),
      in_contexts(ipc__shares_the_whole_chunk),
      in_contexts(ipc__may_not_tell_how_long_an_opened_block_is),
      in_contexts(ipc__refuses_what_is_no_block_of_cuMemAlloc),
  };
  return cmocka_run_group_tests_name("ipc", tests, NULL, NULL);
}
