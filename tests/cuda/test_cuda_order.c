/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls come after the work of all devices that may use the memory. */
#include "program.h"

enum { N = 4096 };

/* Device 1 is the program's alone, or the library's, too. */
static umemCuda first, second;
static cuContext other;
static cuAddress there;

static void order_begin(bool is_used) {
  assert_ok(umemCuda_ctor(&first, 0));
  if (is_used)
    assert_ok(umemCuda_ctor(&second, 1));
  other = program_enter(1);
  must(MemAlloc(&there, N));
}

/* Work in the default stream of device 1 that writes `to`. */
static void write_later(void *to, int value) {
  must(MemsetD8Async(there, (unsigned char)value, N, NULL));
  must(MemcpyDtoHAsync(to, there, N, NULL));
}

static void order_end(void) {
  client.sim.finish();
  must(MemFree(there));
  program_leave(1);
  umem_dtor(&second);
  assert_ok(umem_dtor(&first));
  memset(&second, 0, sizeof second);
}

static void use_pointers(void const *ctx) {
  static unsigned char bytes[N];
  size_t where;
  uintptr_t const in = (uintptr_t)bytes, adr = allocated(ctx, N),
                  copy = allocated(ctx, N);
  write_later((void *)adr, 'a');
  assert_true(holds(ctx, adr, 'a', N));
  memset(bytes, 'b', N);
  write_later((void *)adr, 'c');
  assert_ok(umem_copy_to(&host, in, ctx, adr, N));
  client.sim.finish();
  assert_true(holds(ctx, adr, 'b', N));
  write_later((void *)adr, 'd');
  assert_ok(umem_try_set(ctx, adr, 'e', N));
  client.sim.finish();
  assert_true(holds(ctx, adr, 'e', N));
  write_later((void *)adr, 'f');
  assert_ok(umem_copy_to(ctx, adr, ctx, copy, N));
  assert_true(holds(ctx, copy, 'f', N));
  write_later((void *)adr, 'g');
  memset(bytes, 'g', N);
  assert_ok(umem_compare(ctx, adr, &host, in, N, &where));
  assert_int_equal(where, N);
  write_later((void *)adr, 'h');
  assert_ok(umem_free(ctx, adr));
  write_later((void *)copy, 'i'); /* and the destructor frees it */
}

static void pinned__memory_waits_for_all_devices(void **state) {
  (void)state;
  for (int is_used = 0; is_used < 2; is_used++) {
    umemCudaHost pinned;
    order_begin(is_used);
    umemCudaHostOptions options = {.size = sizeof options,
                                   .flags = UMEM_CUDA_HOST_ON_DEVICE};
    assert_ok(umemCudaHost_ctor_ex(&pinned, &options));
    use_pointers(&pinned);
    assert_ok(umem_dtor(&pinned));
    order_end();
  }
}

/* Given to a context of another device. */
static void pinned__addresses_wait_for_all_devices(void **state) {
  (void)state;
  static unsigned char bytes[N];
  size_t where;
  umemCudaHost pinned;
  order_begin(true);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  uintptr_t const adr = allocated(&pinned, N), copy = allocated(&first, N);
  write_later((void *)adr, 'a');
  assert_true(holds(&first, adr, 'a', N));
  write_later((void *)adr, 'b');
  assert_ok(umem_copy_to(&first, adr, &first, copy, N));
  assert_true(holds(&first, copy, 'b', N));
  write_later((void *)adr, 'c');
  assert_ok(umem_copy_2d(&first, adr, 64, &host, (uintptr_t)bytes, 64, 64, 8));
  assert_true(all_bytes_are(bytes, 64 * 8, 'c'));
  write_later((void *)adr, 'd');
  memset(bytes, 'd', N);
  assert_ok(umem_compare(&first, adr, &host, (uintptr_t)bytes, N, &where));
  assert_int_equal(where, N);
  write_later((void *)adr, 'e');
  assert_ok(umem_try_set(&first, adr, 'f', N));
  client.sim.finish();
  assert_true(all_bytes_are((void *)adr, N, 'f'));
  assert_ok(umem_dtor(&pinned));
  order_end();
}

static void managed__memory_waits_for_all_devices(void **state) {
  (void)state;
  for (uint32_t flags = 0; flags < 2; flags++) {
    umemCudaManaged managed;
    order_begin(flags);
    umemCudaManagedOptions options = {
        .size = sizeof options, .flags = flags | UMEM_CUDA_MANAGED_ON_DEVICE};
    assert_ok(umemCudaManaged_ctor_ex(&managed, &options));
    use_pointers(&managed);
    assert_ok(umem_dtor(&managed));
    order_end();
  }
}

static void unpin__waits_for_all_devices(void **state) {
  (void)state;
  void *page = aligned_alloc(4096, N);
  order_begin(false);
  assert_ok(umem_pin(&first, (uintptr_t)page, N));
  write_later(page, 'p');
  assert_ok(umem_unpin(&first, (uintptr_t)page));
  order_end();
  assert_true(all_bytes_are(page, N, 'p'));
  free(page);
}

static void free__waits_for_copies_of_another_device(void **state) {
  (void)state;
  cuContext context;
  order_begin(false);
  uintptr_t adr = allocated(&first, N);
  must(DevicePrimaryCtxRetain(&context, 0));
  must(MemcpyPeerAsync(there, other, adr, context, N, NULL));
  assert_ok(umem_free(&first, adr));
  must(DevicePrimaryCtxRelease(0));
  order_end();
}

/* The program's own work is on the device, in a stream that no call waits
   for. */
static void touch_exclusive(umemCudaManaged *managed, umemCuda *cuda) {
  static unsigned char bytes[N];
  size_t where;
  uint32_t sum;
  uintptr_t const in = (uintptr_t)bytes;
  uintptr_t const adr = umem_calloc(managed, 1, N),
                  copy = allocated(managed, N), block = allocated(cuda, N);
  assert_true(adr != 0 && holds(managed, adr, 0, N));
  assert_ok(umem_try_set(managed, adr, 'a', N));
  assert_ok(umem_copy_to(managed, adr, managed, copy, N));
  assert_ok(umem_copy_to(managed, copy, managed, copy + 10, N - 10));
  assert_ok(umem_compare(managed, adr, managed, copy, N, &where));
  assert_int_equal(where, N);
  assert_ok(umem_checksum(managed, adr, N, 0, &sum));
  assert_ok(umem_copy_to(managed, adr, cuda, block, N));
  assert_ok(umem_try_set(cuda, block, 'b', N));
  assert_ok(umem_copy_to(cuda, block, managed, adr, N));
  assert_ok(umem_copy_2d(managed, adr, 100, &host, in, 50, 50, 20));
  assert_true(all_bytes_are(bytes, 1000, 'b'));
  uintptr_t mirror = umem_connect(managed, adr, N, &host, 0);
  assert_true(mirror != 0 && mirror != adr);
  assert_true(all_bytes_are((unsigned char *)mirror, N, 'b'));
  assert_ok(umem_disconnect(managed, adr, &host, mirror, 0));
  assert_ok(umem_free(managed, adr));
}

/* Ends by SIGSEGV if the library touches the memory. */
static int role_exclusive(void) {
  umemCudaManaged managed;
  umemCuda cuda;
  cuStream stream;
  cuAddress block;
  program_enter(0);
  must(MemAlloc(&block, N));
  must(StreamCreate(&stream, UMEMI_CU_STREAM_NON_BLOCKING));
  assert_ok(umemCuda_ctor(&cuda, 0));
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
  assert_false(umem_is_accessible_from(&managed, &host));
  must(MemsetD8Async(block, 1, N, stream));
  assert_true(client.sim.pending() > 0);
  touch_exclusive(&managed, &cuda);
  assert_true(client.sim.pending() > 0);
  assert_ok(umem_dtor(&managed));
  assert_ok(umem_dtor(&cuda));
  must(StreamSynchronize(stream));
  must(StreamDestroy(stream));
  must(MemFree(block));
  program_leave(0);
  return cuda_teardown(NULL);
}

static void
managed__memory_that_is_exclusive_is_left_to_the_driver(void **state) {
  (void)state;
  char const *mode = getenv("SIMCU_MODE");
  if (mode && strcmp(mode, "lazy") != 0)
    skip(); /* the work may be done by chance */
  assert_role_succeeds("exclusive", "SIMCU_ATTRIBUTES=89=0");
}

/* Nothing is made in a device that only others use. */
static void devices__of_the_program_stay_as_they_are(void **state) {
  (void)state;
  umemCudaHost pinned;
  umemCudaHostOptions options = {.size = sizeof options,
                                 .flags = UMEM_CUDA_HOST_ON_DEVICE};
  order_begin(false);
  assert_ok(umemCudaHost_ctor_ex(&pinned, &options));
  uintptr_t adr = allocated(&pinned, N);
  size_t const retains = client.sim.live(SIMCU_RETAINS),
               events = client.sim.live(SIMCU_EVENTS),
               streams = client.sim.live(SIMCU_STREAMS);
  for (int i = 0; i < 3; i++)
    assert_ok(umem_try_set(&pinned, adr, 1, N));
  assert_int_equal(client.sim.live(SIMCU_RETAINS), retains);
  assert_true(client.sim.live(SIMCU_EVENTS) <= events + 3); /* of a lane */
  assert_true(client.sim.live(SIMCU_STREAMS) <= streams + 1);
  assert_ok(umem_dtor(&pinned));
  order_end();
}

static void other_devices__that_fail_are_told(void **state) {
  (void)state;
  umemCudaHost pinned;
  order_begin(false);
  umemCudaHostOptions options = {.size = sizeof options,
                                 .flags = UMEM_CUDA_HOST_ON_DEVICE};
  assert_ok(umemCudaHost_ctor_ex(&pinned, &options));
  uintptr_t adr = allocated(&pinned, N);
  client.sim.inject("cuDevicePrimaryCtxGetState", 1, UMEMI_CUDA_ERROR_UNKNOWN,
                    SIMCU_ONCE);
  assert_fails(&pinned, umem_try_set(&pinned, adr, 1, N), umemRuntimeError,
               "cuDevicePrimaryCtxGetState");
  client.sim.inject("cuEventSynchronize", 1, UMEMI_CUDA_ERROR_UNKNOWN,
                    SIMCU_ONCE);
  assert_fails(&pinned, umem_try_set(&pinned, adr, 1, N), umemRuntimeError,
               "cuEventSynchronize");
  client.sim.inject("cuEventSynchronize", 1, UMEMI_CUDA_ERROR_UNKNOWN,
                    SIMCU_ONCE);
  assert_fails(&pinned, umem_try_set(&pinned, adr, 1, N), umemRuntimeError,
               "of device 1");
  client.sim.inject("cuEventDestroy_v2", 1, UMEMI_CUDA_ERROR_UNKNOWN,
                    SIMCU_AFTER);
  assert_fails(&pinned, umem_try_set(&pinned, adr, 1, N), umemRuntimeError,
               "cuEventDestroy");
  umem_clean_status(&pinned);
  assert_ok(umem_dtor(&pinned));
  order_end();
}

/* The device answers the error to all that follows. */
static void break_device(int number) {
  program_enter(number);
  client.sim.inject("cuMemsetD8_v2", 1, UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS,
                    SIMCU_ONCE);
  assert_int_equal(client.cu.MemsetD8(0x1000, 0, 4),
                   UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS);
  must(CtxPopCurrent(&(cuContext){NULL}));
}

/* Device 1 is broken, and device 2 works. */
static int role_broken(void) {
  umemCudaHost pinned;
  umemCudaHostOptions options = {.size = sizeof options,
                                 .flags = UMEM_CUDA_HOST_ON_DEVICE};
  client.sim.set_devices(3);
  assert_ok(umemCudaHost_ctor_ex(&pinned, &options));
  void *page = aligned_alloc(4096, N);
  uintptr_t const adr = allocated(&pinned, N);
  assert_ok(umem_pin(&pinned, (uintptr_t)page, N));
  break_device(1);
  program_enter(2);
  must(MemAlloc(&there, N));
  write_later((void *)adr, 'a');
  assert_true(holds(&pinned, adr, 'a', N));
  write_later((void *)adr, 'b');
  assert_ok(umem_free(&pinned, adr));
  write_later(page, 'c');
  assert_ok(umem_unpin(&pinned, (uintptr_t)page));
  assert_true(all_bytes_are(page, N, 'c'));
  must(MemFree(there));
  program_leave(2);
  assert_ok(umem_dtor(&pinned));
  free(page);
  assert_no_violations();
  return 0;
}

static void devices__are_waited_for_whichever_is_broken(void **state) {
  (void)state;
  assert_role_succeeds("broken", NULL);
}

/* A stream of the program's is all that a context with one waits for. */
static void stream__of_pinned_memory_is_all_that_is_waited_for(void **state) {
  (void)state;
  char const *mode = getenv("SIMCU_MODE");
  cuStream idle, busy;
  cuAddress block;
  uint64_t flag = 0;
  umemCudaHost pinned;
  if (mode && strcmp(mode, "lazy") != 0)
    skip(); /* the work may be done by chance */
  program_enter(0);
  must(StreamCreate(&idle, UMEMI_CU_STREAM_NON_BLOCKING));
  must(StreamCreate(&busy, UMEMI_CU_STREAM_DEFAULT));
  must(MemAlloc(&block, N));
  umemCudaHostOptions options = {.size = sizeof options, .stream = idle};
  assert_ok(umemCudaHost_ctor_ex(&pinned, &options));
  uintptr_t adr = allocated(&pinned, sizeof flag);
  must(MemsetD8Async(block, 1, N, busy));
  size_t const pending = client.sim.pending();
  assert_ok(umem_try_set(&pinned, adr, 1, sizeof flag));
  assert_ok(umem_copy_to(&pinned, adr, &host, (uintptr_t)&flag, sizeof flag));
  assert_ok(umem_copy_to(&host, (uintptr_t)&flag, &pinned, adr, sizeof flag));
  assert_ok(umem_free(&pinned, adr));
  assert_int_equal(client.sim.pending(), pending);
  assert_true(pending > 0);
  assert_ok(umem_dtor(&pinned));
  must(StreamSynchronize(busy));
  must(MemFree(block));
  must(StreamDestroy(busy));
  must(StreamDestroy(idle));
  program_leave(0);
}

static struct role const roles[] = {{"exclusive", role_exclusive},
                                    {"broken", role_broken}};

#define order_test(f) cmocka_unit_test_teardown(f, cuda_teardown)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      order_test(pinned__memory_waits_for_all_devices),
      order_test(pinned__addresses_wait_for_all_devices),
      order_test(managed__memory_waits_for_all_devices),
      order_test(managed__memory_that_is_exclusive_is_left_to_the_driver),
      order_test(unpin__waits_for_all_devices),
      order_test(free__waits_for_copies_of_another_device),
      order_test(devices__of_the_program_stay_as_they_are),
      order_test(other_devices__that_fail_are_told),
      order_test(devices__are_waited_for_whichever_is_broken),
      order_test(stream__of_pinned_memory_is_all_that_is_waited_for),
  };
  return program_main(tests, LENGTH(tests), roles, LENGTH(roles), argc, argv);
}
