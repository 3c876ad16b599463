/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No call creates a context on a device that the program does not use. The
 * programs here use device 1.
 */
#include "rig.h"

#define must(call) assert_int_equal(client.cu.call, UMEMI_CUDA_SUCCESS)

enum { HOME = 1, LITTLE = 1000, SOME = 4 * KIB, MUCH = 20 * KIB };

/* --- what is there -------------------------------------------------------- */

static int active(int device) {
  unsigned flags;
  int is_active = 0;
  return client.cu.DevicePrimaryCtxGetState(device, &flags, &is_active) ==
             UMEMI_CUDA_SUCCESS &&
         is_active;
}

static void assert_alone(char const *call) {
  int const count = (int)umem_device_count(umemCudaDevice);
  for (int i = 0; i < count; i++)
    if (i != HOME && active(i))
      fail_msg("%s: device %d has a context", call, i);
}

#define STEP(call)                                                             \
  do {                                                                         \
    (void)(call);                                                              \
    assert_alone(#call);                                                       \
  } while (0)

/* --- all calls ------------------------------------------------------------ */

static void step_questions(void const *ctx) {
  umemDeviceInfo info = {.size = sizeof info};
  umemError error = {.size = sizeof error};
  STEP(umem_device_count(umemCudaDevice));
  for (size_t i = 0; i < 4; i++)
    STEP(umem_device_info(umemCudaDevice, i, &info));
  STEP(umem_is_same_device(ctx, &host));
  STEP(umem_is_accessible_from(ctx, &host));
  STEP(umem_is_accessible_from(&host, ctx));
  STEP(umem_get_device_name(ctx));
  STEP(umem_fundamental_align(ctx));
  STEP(umem_copy_last_error(ctx, &error));
  STEP(umem_flush(ctx));
  STEP(umem_discard(ctx));
}

static void step_memory(void const *ctx) {
  static char bytes[8192];
  uintptr_t adr = 0, aligned = 0;
  STEP(umem_try_alloc(ctx, LITTLE, &adr));
  STEP(umem_try_set(ctx, adr, 1, LITTLE));
  STEP(umem_set_safe(ctx, adr, LITTLE, 1, LITTLE));
  STEP(umem_free(ctx, adr));
  STEP(umem_try_calloc(ctx, LITTLE, 1, &adr));
  STEP(umem_free(ctx, adr));
  STEP(umem_try_aligned_alloc(ctx, 4096, 8192, &aligned));
  STEP(umem_try_free_aligned(ctx, aligned, NULL));
  STEP(umem_pin(ctx, (uintptr_t)bytes, sizeof bytes));
  STEP(umem_unpin(ctx, (uintptr_t)bytes));
}

static void step_copies(void const *a, void const *b) {
  umemCopyPlan plan = {.size = sizeof plan};
  size_t where;
  uint32_t sum;
  uintptr_t const x = allocated(a, MUCH), y = allocated(b, MUCH);
  STEP(umem_set(a, x, 1, MUCH)); /* it is compared and summed below */
  STEP(umem_copy_plan(a, x, b, y, MUCH, &plan));
  STEP(umem_copy_to(a, x, b, y, LITTLE));
  STEP(umem_copy_to(a, x, b, y, SOME));
  STEP(umem_copy_to(a, x, b, y, MUCH));
  STEP(umem_copy_2d(a, x, 100, b, y, 200, 50, 5));
  STEP(umem_compare(a, x, b, y, LITTLE, &where));
  STEP(umem_checksum(a, x, LITTLE, 0, &sum));
  STEP(umem_sync_to(a, x, b, y, LITTLE));
  STEP(umem_free(a, x));
  STEP(umem_free(b, y));
}

static void step_mirrors(void const *a, void const *b) {
  uintptr_t const x = allocated(a, LITTLE);
  uintptr_t mirror = 0;
  STEP(umem_try_connect(a, x, LITTLE, b, 0, &mirror));
  STEP(umem_sync_to(a, x, b, mirror, LITTLE));
  STEP(umem_disconnect(a, x, b, mirror, 0));
  STEP(umem_free(a, x));
}

static void step_handles(void const *ctx) {
  unsigned char handle[UMEM_HANDLE_MAX] = {0};
  size_t length = sizeof handle, nbytes;
  uintptr_t const adr = allocated(ctx, LITTLE);
  uintptr_t other;
  open_handles_within();
  STEP(umem_export_handle(ctx, adr, LITTLE, handle, &length));
  STEP(umem_import_handle(ctx, handle, length, &other, &nbytes));
  STEP(umem_free(ctx, adr));
}

static void step_through(void const *const all[], size_t count) {
  for (size_t i = 0; i < count; i++) {
    step_questions(all[i]);
    step_memory(all[i]);
    step_handles(all[i]);
    step_copies(&host, all[i]);
    step_mirrors(&host, all[i]);
    for (size_t k = 0; k < count; k++)
      step_copies(all[i], all[k]);
    step_mirrors(all[i], all[(i + 1) % count]);
  }
}

static void step_hosts(void) {
  umemCudaHost pinned;
  umemCudaManaged managed;
  STEP(umemCudaHost_ctor(&pinned, 7));
  STEP(umemCudaHost_ctor(&pinned, 0));
  STEP(umemCudaManaged_ctor(&managed, 0, false, NULL));
  void const *const all[] = {&pinned, &managed};
  step_through(all, LENGTH(all));
  for (size_t i = 0; i < LENGTH(all); i++)
    STEP(umem_dtor(all[i]));
}

static void step_devices(void) {
  umemCuda plain, pooled;
  umemCudaOptions pool = {.size = sizeof pool, .flags = UMEM_CUDA_POOL};
  STEP(umemCuda_ctor(&plain, -1));
  STEP(umemCuda_ctor(&plain, HOME));
  STEP(umemCuda_ctor_ex(&pooled, HOME, &pool));
  void const *const all[] = {&plain, &pooled};
  step_through(all, LENGTH(all));
  step_hosts();
  for (size_t i = 0; i < LENGTH(all); i++)
    STEP(umem_dtor(all[i]));
}

/* --- where the program is ------------------------------------------------- */

static void queries__create_no_context(void **state) {
  (void)state;
  umemDeviceInfo info = {.size = sizeof info};
  size_t const count = umem_device_count(umemCudaDevice);
  for (size_t i = 0; i <= count; i++)
    umem_device_info(umemCudaDevice, i, &info);
  for (int i = 0; i < (int)count; i++)
    assert_false(active(i));
}

static void contexts__use_no_other_device(void **state) {
  (void)state;
  step_devices();
}

static void pinned__memory_uses_the_current_device(void **state) {
  (void)state;
  cuContext home, popped;
  must(DevicePrimaryCtxRetain(&home, HOME));
  must(CtxPushCurrent(home));
  step_hosts();
  step_devices();
  must(CtxPopCurrent(&popped));
  must(DevicePrimaryCtxRelease(HOME));
}

/* The library may create the primary context of the same device. */
static void pinned__memory_uses_the_created_contexts_device(void **state) {
  (void)state;
  cuContext own;
  must(CtxCreate(&own, 0, HOME));
  step_hosts();
  must(CtxDestroy(own));
}

static void pinned__memory_uses_the_device_of_another_context(void **state) {
  (void)state;
  umemCuda cuda;
  assert_ok(umemCuda_ctor(&cuda, HOME));
  step_hosts();
  assert_ok(umem_dtor(&cuda));
}

static void pinned__memory_uses_the_device_with_a_context(void **state) {
  (void)state;
  cuContext home;
  must(DevicePrimaryCtxRetain(&home, HOME));
  step_hosts();
  must(DevicePrimaryCtxRelease(HOME));
}

static void *step_in_thread(void *argument) {
  step_hosts();
  return argument;
}

/* A new thread has no current context. */
static void pinned__memory_of_threads_uses_the_active_device(void **state) {
  (void)state;
  cuContext home, popped;
  must(DevicePrimaryCtxRetain(&home, HOME));
  must(CtxPushCurrent(home));
  in_thread(step_in_thread, NULL);
  must(CtxPopCurrent(&popped));
  must(DevicePrimaryCtxRelease(HOME));
}

/* --- the program ---------------------------------------------------------- */

#define footprint_test(f) cmocka_unit_test_teardown(f, cuda_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      footprint_test(queries__create_no_context),
      footprint_test(contexts__use_no_other_device),
      footprint_test(pinned__memory_uses_the_current_device),
      footprint_test(pinned__memory_uses_the_created_contexts_device),
      footprint_test(pinned__memory_uses_the_device_of_another_context),
      footprint_test(pinned__memory_uses_the_device_with_a_context),
      footprint_test(pinned__memory_of_threads_uses_the_active_device),
  };
  client_load(&client, "libcuda.so.1");
  if (is_simulated())
    client.sim.set_devices(3);
  rig_shorten_ways();
  assert_ok(umemHost_ctor(&host));
  if (umem_device_count(umemCudaDevice) < 2) {
    print_message("skipped: there are no two devices\n");
    return SKIPPED;
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
