/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of other devices, and of other processes on them. */
#include "program.h"

enum { N = 100 << 10 };

/* --- peer access ---------------------------------------------------------- */

static void copy_across(umemCuda *a, umemCuda *b) {
  uintptr_t const from = allocated(a, N), to = allocated(b, N);
  assert_ok(umem_try_set(a, from, 'x', N));
  assert_ok(umem_try_set(b, to, 'y', N));
  assert_ok(umem_copy_to(a, from, b, to, N));
  assert_true(holds(b, to, 'x', N));
  assert_ok(umem_free(a, from));
  assert_ok(umem_free(b, to));
}

/* On this machine direct copies are lost. */
static void peers__copy_through_the_host_unless_asked(void **state) {
  (void)state;
  umemCuda a, b;
  client.sim.set_peer_drops(0, 1, 1);
  client.sim.set_peer_drops(1, 0, 1);
  open_flags(&a, 0, 0);
  open_flags(&b, 1, 0);
  client.sim.forget();
  copy_across(&a, &b);
  copy_across(&b, &a);
  assert_int_equal(client.sim.calls("cuCtxEnablePeerAccess"), 0);
  assert_false(umem_is_accessible_from(&a, &b));
  client.sim.set_peer_drops(0, 1, 0);
  client.sim.set_peer_drops(1, 0, 0);
  assert_ok(umem_dtor(&a));
  assert_ok(umem_dtor(&b));
}

static void peers__reach_each_other_if_asked(void **state) {
  (void)state;
  umemCuda a, b;
  open_flags(&a, 0, UMEM_CUDA_PEER);
  open_flags(&b, 1, 0);
  client.sim.forget();
  copy_across(&a, &b);
  assert_int_equal(client.sim.calls("cuCtxEnablePeerAccess"), 1);
  copy_across(&a, &b);
  assert_int_equal(client.sim.calls("cuCtxEnablePeerAccess"), 1);
  assert_true(umem_is_accessible_from(&b, &a));
  assert_ok(umem_dtor(&b)); /* the access ends with the context */
  open_flags(&b, 1, 0);
  assert_false(umem_is_accessible_from(&b, &a));
  copy_across(&a, &b);
  assert_ok(umem_dtor(&a));
  assert_ok(umem_dtor(&b));
}

static void peers__that_use_memory_are_waited_for(void **state) {
  (void)state;
  umemCuda a, b;
  cuContext second = program_enter(1);
  open_flags(&a, 0, UMEM_CUDA_PEER);
  open_flags(&b, 1, UMEM_CUDA_PEER);
  uintptr_t const adr = allocated(&a, N), there = allocated(&b, N);
  assert_ok(umem_copy_to(&b, there, &a, adr, N));
  must(MemsetD8Async(adr, 'k', N, NULL)); /* as a kernel of device 1 does */
  assert_true(holds(&a, adr, 'k', N));
  assert_ok(umem_dtor(&a));
  assert_ok(umem_dtor(&b));
  assert_non_null(second);
  program_leave(1);
}

/* The library lets one of the devices go, and the program does not. */
static void peers__are_waited_for_after_the_library_let_them_go(void **state) {
  (void)state;
  umemCuda a, b;
  for (int lets = 0; lets < 2; lets++) {
    program_enter(0);
    program_enter(1);
    open_flags(&a, 0, UMEM_CUDA_PEER);
    open_flags(&b, 1, UMEM_CUDA_PEER);
    copy_across(&b, &a); /* device 1 reaches device 0 */
    assert_ok(umem_dtor(&b));
    if (lets) { /* of the other one, too */
      assert_ok(umem_dtor(&a));
      open_flags(&a, 0, 0);
    }
    uintptr_t const adr = allocated(&a, N);
    must(MemsetD8Async(adr, 'k', N, NULL)); /* as a kernel of device 1 does */
    assert_true(holds(&a, adr, 'k', N));
    assert_ok(umem_dtor(&a));
    program_leave(1);
    program_leave(0);
  }
}

/* --- pointers of another device ------------------------------------------- */

static void pointers__of_another_device_are_used_there(void **state) {
  (void)state;
  umemCuda first, second;
  unsigned char bytes[100];
  client.sim.set_peer(0, 1, 0);
  client.sim.set_peer(1, 0, 0);
  open_flags(&first, 0, 0);
  open_flags(&second, 1, 0);
  uintptr_t const far = allocated(&second, N), near = allocated(&first, N);
  assert_ok(umem_try_set(&first, far, 'f', N));
  assert_true(holds(&first, far, 'f', N));
  assert_true(holds(&second, far, 'f', N));
  memset(bytes, 'g', sizeof bytes);
  assert_ok(umem_copy_from(&first, far, &host, (uintptr_t)bytes, 100));
  assert_true(holds(&second, far, 'g', 100));
  assert_ok(umem_copy_to(&first, far, &first, near, N));
  assert_true(holds(&first, near, 'g', 100));
  assert_ok(umem_copy_to(&first, far, &first, far + 10, N - 10)); /* moves */
  assert_true(holds(&second, far, 'g', 110));
  assert_ok(umem_copy_to(&second, near, &first, far, N));
  client.sim.set_peer(0, 1, 1);
  client.sim.set_peer(1, 0, 1);
  assert_ok(umem_dtor(&first));
  assert_ok(umem_dtor(&second));
}

/* Of a device that the library does not use otherwise. */
static void pointers__of_the_programs_device_are_used_there(void **state) {
  (void)state;
  umemCuda first;
  cuAddress far;
  open_flags(&first, 0, 0);
  program_enter(1);
  must(MemAlloc(&far, N));
  must(MemsetD8Async(far, 'p', N, NULL));
  assert_true(holds(&first, (uintptr_t)far, 'p', N));
  client.sim.forget();
  for (int i = 0; i < 3; i++) /* as the pieces of a copy */
    assert_ok(umem_try_set(&first, (uintptr_t)far, 'q', N));
  assert_int_equal(client.sim.calls("cuDevicePrimaryCtxRetain"), 0);
  assert_int_equal(client.sim.calls("cuStreamCreate"), 0);
  must(MemFree(far));
  assert_int_equal(client.sim.live(SIMCU_RETAINS), 3);
  assert_ok(umem_dtor(&first));
  assert_int_equal(client.sim.live(SIMCU_RETAINS), 1);
  program_leave(1);
}

/* Of which the first life was in use, too. */
static void pointers__of_a_device_that_was_reset_are_used_there(void **state) {
  (void)state;
  umemCuda first;
  cuAddress far;
  open_flags(&first, 0, 0);
  for (int life = 0; life < 2; life++) {
    program_enter(1);
    must(MemAlloc(&far, N));
    assert_ok(umem_try_set(&first, (uintptr_t)far, 'r', N));
    assert_true(holds(&first, (uintptr_t)far, 'r', N));
    must(CtxPopCurrent(&(cuContext){NULL}));
    must(DevicePrimaryCtxReset(1));
  }
  assert_ok(umem_dtor(&first));
  while (client.sim.live(SIMCU_RETAINS))
    must(DevicePrimaryCtxRelease(1));
}

/* --- imports -------------------------------------------------------------- */

static umemCuda exporter;
static unsigned char handle[UMEM_HANDLE_MAX];
static size_t length;

static uintptr_t export_block(int value) {
  open_flags(&exporter, 0, 0);
  uintptr_t const adr = allocated(&exporter, N);
  assert_ok(umem_try_set(&exporter, adr, value, N));
  length = sizeof handle;
  assert_ok(umem_export_handle(&exporter, adr, N, handle, &length));
  open_handles_within();
  return adr;
}

static uintptr_t import_block(umemCuda *ctx) {
  uintptr_t adr;
  size_t nbytes;
  assert_ok(umem_import_handle(ctx, handle, length, &adr, &nbytes));
  assert_int_equal(nbytes, N);
  return adr;
}

/* This driver does not open a handle twice. */
static void imports__of_one_handle_are_opened_once(void **state) {
  (void)state;
  umemCuda a, b;
  client.sim.set_ipc_again(0);
  export_block('i');
  open_flags(&a, 0, 0);
  open_flags(&b, 0, 0);
  client.sim.forget();
  uintptr_t const adr = import_block(&a);
  assert_true(import_block(&b) == adr);
  assert_true(import_block(&b) == adr);
  assert_int_equal(client.sim.calls("cuIpcOpenMemHandle_v2"), 1);
  assert_ok(umem_dtor(&a));
  assert_int_equal(client.sim.live(SIMCU_IMPORTED), 1);
  assert_true(holds(&b, adr, 'i', N));
  assert_ok(umem_dtor(&b));
  assert_int_equal(client.sim.live(SIMCU_IMPORTED), 0);
  open_flags(&a, 0, 0); /* and once more */
  assert_true(holds(&a, import_block(&a), 'i', N));
  assert_ok(umem_dtor(&a));
  client.sim.set_ipc_again(1);
  assert_ok(umem_dtor(&exporter));
}

static void imports__past_the_library_are_told(void **state) {
  (void)state;
  umemCuda a;
  export_block('i');
  open_flags(&a, 0, 0);
  client.sim.inject("cuIpcOpenMemHandle_v2", 1, UMEMI_CUDA_ERROR_ALREADY_MAPPED,
                    SIMCU_ONCE);
  uintptr_t adr;
  size_t nbytes;
  assert_fails(&a, umem_import_handle(&a, handle, length, &adr, &nbytes),
               umemRuntimeError, "is still open");
  assert_ok(umem_dtor(&a));
  assert_ok(umem_dtor(&exporter));
}

/* This driver knows the bounds of its own blocks alone. */
static void imports__do_not_need_to_be_known_to_the_driver(void **state) {
  (void)state;
  umemCuda a;
  client.sim.set_ipc_range(0);
  export_block('j');
  open_flags(&a, 0, 0);
  assert_true(holds(&a, import_block(&a), 'j', N));
  client.sim.set_ipc_range(1);
  assert_ok(umem_dtor(&a));
  assert_ok(umem_dtor(&exporter));
}

static void imports__on_another_device_need_peer_access(void **state) {
  (void)state;
  umemCuda other;
  uintptr_t adr;
  size_t nbytes;
  export_block('k');
  open_flags(&other, 1, 0);
  assert_fails(&other,
               umem_import_handle(&other, handle, length, &adr, &nbytes),
               umemValueError, "UMEM_CUDA_PEER");
  umem_clean_status(&other);
  assert_ok(umem_dtor(&other));
  open_flags(&other, 1, UMEM_CUDA_PEER);
  adr = import_block(&other);
  assert_true(holds(&other, adr, 'k', N));
  assert_ok(umem_try_set(&other, adr, 'l', N));
  assert_true(holds(&other, adr, 'l', N));
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&exporter));
}

/* A failure that passes loses no handle. */
static void imports__are_closed_at_the_second_attempt(void **state) {
  (void)state;
  umemCuda a;
  export_block('n');
  open_flags(&a, 0, 0);
  import_block(&a);
  client.sim.inject("cuIpcCloseMemHandle", 1, UMEMI_CUDA_ERROR_UNKNOWN,
                    SIMCU_ONCE);
  assert_ok(umem_dtor(&a));
  assert_int_equal(client.sim.live(SIMCU_IMPORTED), 0);
  assert_ok(umem_dtor(&exporter));
}

/* Exported in a context of another device: the handle is of the block's. */
static void exports__are_of_the_device_that_has_the_memory(void **state) {
  (void)state;
  umemCuda other, here;
  uintptr_t adr;
  size_t nbytes;
  export_block('o');
  open_flags(&other, 1, 0);
  uintptr_t const far = allocated(&other, N);
  assert_ok(umem_try_set(&other, far, 'p', N));
  length = sizeof handle;
  assert_ok(umem_export_handle(&exporter, far, N, handle, &length));
  assert_fails(&exporter,
               umem_import_handle(&exporter, handle, length, &adr, &nbytes),
               umemValueError, "UMEM_CUDA_PEER");
  umem_clean_status(&exporter);
  open_flags(&here, 1, 0);
  assert_true(holds(&here, import_block(&here), 'p', N));
  assert_ok(umem_dtor(&here));
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&exporter));
}

/* Both ways, in one piece and in rows. */
static void expect_exchange(umemCuda const *a, uintptr_t in_a,
                            umemCuda const *b, uintptr_t in_b) {
  enum { ROW = 10, ROWS = N / 20, PITCH = 20 };
  assert_ok(umem_try_set(a, in_a, '1', N));
  assert_ok(umem_try_set(b, in_b, '2', N));
  assert_ok(umem_copy_to(a, in_a, b, in_b, N));
  assert_true(holds(b, in_b, '1', N));
  assert_ok(umem_try_set(b, in_b, '3', N));
  assert_ok(umem_copy_to(b, in_b, a, in_a, N));
  assert_true(holds(a, in_a, '3', N));
  assert_ok(umem_try_set(a, in_a, '4', N));
  assert_ok(umem_copy_2d(a, in_a, PITCH, b, in_b, PITCH, ROW, ROWS));
  assert_true(holds(b, in_b + PITCH, '4', ROW));
  assert_true(holds(b, in_b + PITCH + ROW, '3', ROW));
  assert_ok(umem_try_set(b, in_b, '5', N));
  assert_ok(umem_copy_2d(b, in_b, PITCH, a, in_a, PITCH, ROW, ROWS));
  assert_true(holds(a, in_a + PITCH, '5', ROW));
  assert_true(holds(a, in_a + PITCH + ROW, '4', ROW));
}

static void imports__are_copied_to_and_from_every_device(void **state) {
  (void)state;
  umemCuda other, beside;
  export_block('k');
  open_flags(&other, 1, UMEM_CUDA_PEER);
  uintptr_t adr = import_block(&other);
  for (int device = 0; device < 2; device++) {
    open_flags(&beside, device, 0);
    expect_exchange(&other, adr, &beside, allocated(&beside, N));
    assert_ok(umem_dtor(&beside));
  }
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&exporter));
}

static void imports__without_memory_leave_nothing(void **state) {
  (void)state;
  umemCuda a;
  uintptr_t adr;
  size_t nbytes;
  export_block('m');
  open_flags(&a, 0, 0);
  for (unsigned nth = 1; nth <= 2; nth++) {
    faults_install();
    faults_fail(FAULT_calloc, nth, ENOMEM);
    assert_fails(&a, umem_import_handle(&a, handle, length, &adr, &nbytes),
                 umemMemoryError, "an imported block");
    faults_reset();
  }
  umem_clean_status(&a);
  assert_int_equal(client.sim.live(SIMCU_IMPORTED), 0);
  assert_ok(umem_dtor(&a));
  assert_ok(umem_dtor(&exporter));
}

#define peer_test(f) cmocka_unit_test_teardown(f, cuda_teardown)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      peer_test(peers__copy_through_the_host_unless_asked),
      peer_test(peers__reach_each_other_if_asked),
      peer_test(peers__that_use_memory_are_waited_for),
      peer_test(peers__are_waited_for_after_the_library_let_them_go),
      peer_test(pointers__of_another_device_are_used_there),
      peer_test(pointers__of_the_programs_device_are_used_there),
      peer_test(pointers__of_a_device_that_was_reset_are_used_there),
      peer_test(imports__of_one_handle_are_opened_once),
      peer_test(imports__past_the_library_are_told),
      peer_test(imports__do_not_need_to_be_known_to_the_driver),
      peer_test(imports__on_another_device_need_peer_access),
      peer_test(imports__are_closed_at_the_second_attempt),
      peer_test(exports__are_of_the_device_that_has_the_memory),
      peer_test(imports__are_copied_to_and_from_every_device),
      peer_test(imports__without_memory_leave_nothing),
  };
  return program_main(tests, LENGTH(tests), NULL, 0, argc, argv);
}
