/* SPDX-License-Identifier: BSD-3-Clause */
/* Which device is used, for how long, and what remains after its reset. */
#include "program.h"

enum { N = 100 << 10 };

/* --- which device --------------------------------------------------------- */

static umemCudaHost pinned;
static umemCudaManaged managed;

static void open_both(void) {
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
}

static void close_both(void) {
  assert_ok(umem_dtor(&pinned));
  assert_ok(umem_dtor(&managed));
}

static void host_memory__is_on_the_current_device(void **state) {
  (void)state;
  umemCuda used;
  assert_ok(umemCuda_ctor(&used, 0));
  program_enter(1);
  size_t const retains = client.sim.live(SIMCU_RETAINS);
  assert_ok(umem_dtor(&used));
  open_both();
  assert_false(has_context(0));
  assert_int_equal(client.sim.live(SIMCU_RETAINS), retains);
  close_both();
  program_leave(1);
}

static void host_memory__is_on_a_device_of_the_library(void **state) {
  (void)state;
  umemCuda used;
  assert_ok(umemCuda_ctor(&used, 1));
  open_both();
  assert_false(has_context(0));
  close_both();
  assert_ok(umem_dtor(&used));
}

static void host_memory__is_on_a_device_of_the_program(void **state) {
  (void)state;
  cuContext context;
  must(Init(0));
  must(DevicePrimaryCtxRetain(&context, 1));
  open_both();
  assert_false(has_context(0));
  close_both();
  must(DevicePrimaryCtxRelease(1));
}

static void host_memory__is_on_the_device_that_is_asked_for(void **state) {
  (void)state;
  umemCudaHostOptions host_options = {.size = sizeof host_options,
                                      .flags = UMEM_CUDA_HOST_ON_DEVICE,
                                      .device = 1};
  umemCudaManagedOptions managed_options = {.size = sizeof managed_options,
                                            .flags =
                                                UMEM_CUDA_MANAGED_ON_DEVICE,
                                            .device = 1};
  assert_ok(umemCudaHost_ctor_ex(&pinned, &host_options));
  assert_ok(umemCudaManaged_ctor_ex(&managed, &managed_options));
  assert_false(has_context(0));
  close_both();
  host_options.device = managed_options.device = 99;
  assert_fails(&pinned, umemCudaHost_ctor_ex(&pinned, &host_options),
               umemIndexError, "there are 2");
  assert_fails(&managed, umemCudaManaged_ctor_ex(&managed, &managed_options),
               umemIndexError, "there are 2");
  host_options.flags = managed_options.flags = 0;
  assert_fails(&pinned, umemCudaHost_ctor_ex(&pinned, &host_options),
               umemValueError, "UMEM_CUDA_HOST_ON_DEVICE");
  assert_fails(&managed, umemCudaManaged_ctor_ex(&managed, &managed_options),
               umemValueError, "UMEM_CUDA_MANAGED_ON_DEVICE");
  assert_ok(umemCudaHost_ctor_ex(&pinned, NULL));
  assert_ok(umemCudaManaged_ctor_ex(&managed, NULL));
  close_both();
}

static void host_memory__is_on_the_device_of_its_stream(void **state) {
  (void)state;
  cuStream stream;
  cuContext context;
  program_enter(1);
  must(StreamCreate(&stream, UMEMI_CU_STREAM_DEFAULT));
  must(CtxPopCurrent(&context));
  umemCudaHostOptions options = {.size = sizeof options, .stream = stream};
  assert_ok(umemCudaHost_ctor_ex(&pinned, &options));
  assert_ok(umemCudaManaged_ctor(&managed, 0, true, stream));
  assert_false(has_context(0));
  close_both();
  must(CtxPushCurrent(context));
  must(StreamDestroy(stream));
  program_leave(1);
}

/* The question where a stream is needs no device but that of the thread; and if
   that has none, any one that answers. */
static void host_memory__depends_on_no_device_but_its_streams(void **state) {
  (void)state;
  cuStream stream;
  cuContext context;
  program_enter(1);
  must(StreamCreate(&stream, UMEMI_CU_STREAM_DEFAULT));
  umemCudaHostOptions options = {.size = sizeof options, .stream = stream};
  client.sim.forget();
  assert_ok(umemCudaHost_ctor_ex(&pinned, &options));
  assert_int_equal(client.sim.calls("cuDevicePrimaryCtxRetain"), 1);
  assert_ok(umem_dtor(&pinned));
  must(CtxPopCurrent(&context));
  client.sim.inject("cuDevicePrimaryCtxRetain", 1,
                    UMEMI_CUDA_ERROR_DEVICE_UNAVAILABLE, SIMCU_ONCE);
  assert_ok(umemCudaHost_ctor_ex(&pinned, &options));
  assert_false(has_context(0));
  assert_ok(umem_dtor(&pinned));
  must(CtxPushCurrent(context));
  must(StreamDestroy(stream));
  program_leave(1);
}

/* As where device 0 is for one process at a time, and another has it. */
static void host_memory__is_elsewhere_if_a_device_refuses(void **state) {
  (void)state;
  client.sim.inject("cuDevicePrimaryCtxRetain", 1,
                    UMEMI_CUDA_ERROR_DEVICE_UNAVAILABLE, SIMCU_ONCE);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  assert_true(has_context(1) && !has_context(0));
  assert_ok(umem_dtor(&pinned));
  client.sim.inject("cuDevicePrimaryCtxRetain", 1,
                    UMEMI_CUDA_ERROR_DEVICE_UNAVAILABLE, SIMCU_FROM_THEN_ON);
  assert_fails(&pinned, umemCudaHost_ctor(&pinned, 0), umemRuntimeError,
               "cuDevicePrimaryCtxRetain: CUDA_ERROR_DEVICE_UNAVAILABLE");
}

/* --- for how long --------------------------------------------------------- */

static void devices__are_kept_as_long_as_they_are_used(void **state) {
  (void)state;
  static char page[8192];
  umemCuda a, b;
  assert_ok(umemCuda_ctor(&a, 0));
  assert_ok(umemCuda_ctor(&b, 0));
  assert_int_equal(client.sim.live(SIMCU_RETAINS), 1);
  assert_ok(umem_pin(&a, (uintptr_t)page, sizeof page));
  assert_ok(umem_dtor(&a));
  assert_ok(umem_dtor(&b));
  assert_true(has_context(0)); /* the memory is pinned in it */
  assert_ok(umemCuda_ctor(&b, 1));
  assert_ok(umem_unpin(&b, (uintptr_t)page));
  assert_false(has_context(0));
  assert_ok(umem_dtor(&b));
  assert_false(has_context(1));
}

static void devices__of_the_program_outlive_the_library(void **state) {
  (void)state;
  umemCuda ctx;
  cuAddress adr;
  unsigned char byte = 0;
  program_enter(0);
  must(MemAlloc(&adr, 100));
  assert_ok(umemCuda_ctor(&ctx, 0));
  assert_ok(umem_try_set(&ctx, (uintptr_t)adr, 7, 100));
  assert_ok(umem_dtor(&ctx));
  must(MemcpyDtoH(&byte, adr, 1));
  assert_int_equal(byte, 7);
  must(MemFree(adr));
  program_leave(0);
}

/* --- resets --------------------------------------------------------------- */

static void use_well(int device) {
  umemCuda ctx;
  unsigned char *bytes = calloc(1, N);
  assert_non_null(bytes);
  assert_ok(umemCuda_ctor(&ctx, device));
  uintptr_t adr = allocated(&ctx, N);
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &ctx, adr, N));
  assert_true(holds(&ctx, adr, 0, N));
  assert_ok(umem_try_set(&ctx, adr, 3, N));
  assert_true(holds(&ctx, adr, 3, N));
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_dtor(&ctx));
  free(bytes);
}

/* The program's current context is dead, and has the handle of the new one. */
static void reset__between_two_uses_is_not_noticed(void **state) {
  (void)state;
  cuContext context;
  client.sim.set_crash(1);
  program_enter(0);
  use_well(0);
  must(DevicePrimaryCtxReset(0));
  use_well(0);
  must(DevicePrimaryCtxReset(0));
  must(DevicePrimaryCtxRetain(&context, 0));
  use_well(0);
  must(DevicePrimaryCtxRelease(0));
  program_leave(0);
  client.sim.set_crash(0);
}

#define ENDS(ctx, call)                                                        \
  assert_fails(ctx, call, umemRuntimeError, "the device was reset")

/* The program retains the new life, or not. */
static void run_reset_below(bool is_renewed) {
  static char page[8192], bytes[N];
  uintptr_t const in = (uintptr_t)bytes;
  umemCuda ctx, pool;
  cuContext context = program_enter(0);
  assert_ok(umemCuda_ctor(&ctx, 0));
  open_flags(&pool, 0, UMEM_CUDA_POOL);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  uintptr_t adr = allocated(&ctx, N), ptr = allocated(&pinned, N),
            pooled = allocated(&pool, N);
  assert_ok(umem_copy_to(&host, in, &ctx, adr, N)); /* by a lane */
  assert_ok(umem_try_set(&pinned, ptr, 1, N));
  assert_ok(umem_pin(&ctx, (uintptr_t)page, sizeof page));
  must(DevicePrimaryCtxReset(0));
  if (is_renewed)
    must(DevicePrimaryCtxRetain(&context, 0));
  ENDS(&ctx, umem_copy_to(&host, in, &ctx, adr, N));
  ENDS(&ctx, umem_try_set(&ctx, adr, 1, N));
  ENDS(&ctx, umem_try_alloc(&ctx, 8, &adr));
  ENDS(&pinned, umem_copy_to(&pinned, ptr, &host, in, N));
  ENDS(&pool, umem_try_set(&pool, pooled, 1, N));
  umem_clean_status(&host);
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_free(&pinned, ptr));
  assert_ok(umem_free(&pool, pooled));
  assert_ok(umem_unpin(&ctx, (uintptr_t)page));
  use_well(0); /* beside the contexts from before */
  assert_ok(umem_dtor(&pool));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_dtor(&pinned));
  must(CtxPopCurrent(&context));
}

/* Each user retains a context for itself, of whatever life; and pools are of
   the device, which the library leaves alone. */
static void release_all(void) {
  while (client.sim.live(SIMCU_RETAINS))
    must(DevicePrimaryCtxRelease(0));
  find_lives();
}

static void reset__below_contexts_ends_them(void **state) {
  (void)state;
  client.sim.set_crash(1);
  for (int is_renewed = 0; is_renewed < 2; is_renewed++) {
    run_reset_below(is_renewed);
    release_all();
  }
  client.sim.set_crash(0);
}

#define life_test(f) cmocka_unit_test_teardown(f, cuda_teardown)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      life_test(host_memory__is_on_the_current_device),
      life_test(host_memory__is_on_a_device_of_the_library),
      life_test(host_memory__is_on_a_device_of_the_program),
      life_test(host_memory__is_on_the_device_that_is_asked_for),
      life_test(host_memory__is_on_the_device_of_its_stream),
      life_test(host_memory__depends_on_no_device_but_its_streams),
      life_test(host_memory__is_elsewhere_if_a_device_refuses),
      life_test(devices__are_kept_as_long_as_they_are_used),
      life_test(devices__of_the_program_outlive_the_library),
      life_test(reset__between_two_uses_is_not_noticed),
      life_test(reset__below_contexts_ends_them),
  };
  return program_main(tests, LENGTH(tests), NULL, 0, argc, argv);
}
