/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Corners of CUDA that neither use nor one failure at a time leads to: two
 * failures in one call, more at once than is kept, codes that are rare, and
 * what only another process or machine could bring. Most of it works on the
 * simulated driver alone.
 */
#include "rig.h"

#include <limits.h>
#include <sys/wait.h>

#define must(call) assert_int_equal(client.cu.call, UMEMI_CUDA_SUCCESS)

enum { SOME = 1000, UNNAMED = 12345 };

/* --- support -------------------------------------------------------------- */

static void open_with(umemCuda *ctx, int device, uint32_t flags,
                      cuStream stream) {
  umemCudaOptions options = {
      .size = sizeof options, .flags = flags, .stream = stream};
  if (umemCuda_ctor_ex(ctx, device, &options) != umemOK)
    fail_msg("%s", umem_get_message(ctx));
}

static void open_device(umemCuda *ctx) {
  need_simulation();
  open_with(ctx, 0, 0, NULL);
}

static struct umemiGpuState *state_of(void const *ctx) {
  return umemi_context(ctx)->state;
}

static struct umemiGpu *gpu_of(void const *ctx) {
  return state_of(ctx)->gpu;
}

/* The next call of the function fails. */
static void fail_next(char const *symbol) {
  client.sim.inject(symbol, 1, UMEMI_CUDA_ERROR_UNKNOWN, SIMCU_ONCE);
}

static void fail_always(char const *symbol) {
  client.sim.inject(symbol, 1, UMEMI_CUDA_ERROR_UNKNOWN, SIMCU_FROM_THEN_ON);
}

static void assert_holds(void const *ctx, uintptr_t adr, size_t nbytes,
                         unsigned char value) {
  unsigned char bytes[SOME];
  assert_in_range(nbytes, 1, SOME);
  assert_ok(umem_copy_to(ctx, adr, &host, (uintptr_t)bytes, nbytes));
  assert_true(all_bytes_are(bytes, nbytes, value));
}

/* --- what the driver says ------------------------------------------------- */

static void codes__without_a_name_are_told_as_numbers(void **state) {
  (void)state;
  umemCuda ctx;
  uintptr_t adr;
  open_device(&ctx);
  client.sim.inject("cuMemAlloc_v2", 1, UNNAMED, SIMCU_ONCE);
  assert_fails(&ctx, umem_try_alloc(&ctx, SOME, &adr), umemRuntimeError,
               "cuMemAlloc: CUDA error (12345): the driver does not say more");
  assert_int_equal(last_error(&ctx).native, UNNAMED);
  assert_ok(umem_dtor(&ctx));
}

/* A failure that is told of again has the note of the first one only once. */
static void note__of_the_first_failure_is_there_once(void **state) {
  (void)state;
  static char const text[] = "nothing else was 700";
  umemCuda ctx;
  umemError error = {.native = UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS};
  open_device(&ctx);
  for (int i = 0; i < 3; i++) {
    struct umemiGpuVisit visit;
    assert_ok(umemi_gpu_enter(gpu_of(&ctx), &visit, &error));
    assert_status(umemi_gpu_leave(&visit, umemRuntimeError, &error),
                  umemRuntimeError);
    char const *found = strstr(error.text, text);
    assert_int_equal(found != NULL, i > 0);
    assert_null(found ? strstr(found + 1, text) : NULL);
  }
  assert_ok(umem_dtor(&ctx));
}

/* Each in a context that is new: they stay. */
static void codes__after_which_nothing_works_are_known(void **state) {
  (void)state;
  static int const codes[] = {UMEMI_CUDA_ERROR_ECC_UNCORRECTABLE,
                              UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS,
                              UMEMI_CUDA_ERROR_LAUNCH_TIMEOUT,
                              UMEMI_CUDA_ERROR_ASSERT,
                              UMEMI_CUDA_ERROR_HARDWARE_STACK_ERROR,
                              UMEMI_CUDA_ERROR_LAUNCH_FAILED,
                              UMEMI_CUDA_ERROR_NVLINK_UNCORRECTABLE,
                              UMEMI_CUDA_ERROR_CONTAINED,
                              UMEMI_CUDA_ERROR_ILLEGAL_INSTRUCTION,
                              UMEMI_CUDA_ERROR_MISALIGNED_ADDRESS,
                              UMEMI_CUDA_ERROR_INVALID_ADDRESS_SPACE,
                              UMEMI_CUDA_ERROR_INVALID_PC,
                              UMEMI_CUDA_ERROR_TENSOR_MEMORY_LEAK,
                              UMEMI_CUDA_ERROR_MPS_CLIENT_TERMINATED,
                              UMEMI_CUDA_ERROR_EXTERNAL_DEVICE};
  umemCuda ctx;
  uintptr_t adr;
  for (size_t i = 0; i < LENGTH(codes); i++) {
    open_device(&ctx);
    client.sim.inject("cuMemAlloc_v2", 1, codes[i], SIMCU_ONCE);
    assert_status(umem_try_alloc(&ctx, SOME, &adr), umemRuntimeError);
    assert_int_equal(last_error(&ctx).native, codes[i]);
    assert_int_equal(gpu_of(&ctx)->broken, codes[i]);
    umem_clean_status(&ctx);
    umem_dtor(&ctx);
  }
  open_device(&ctx);
  client.sim.inject("cuMemAlloc_v2", 1, UMEMI_CUDA_ERROR_LAUNCH_FAILED + 1,
                    SIMCU_ONCE);
  assert_status(umem_try_alloc(&ctx, SOME, &adr), umemRuntimeError);
  assert_int_equal(gpu_of(&ctx)->broken, 0);
  umem_clean_status(&ctx);
  assert_ok(umem_dtor(&ctx));
}

/* --- devices -------------------------------------------------------------- */

static void device_info__of_one_that_fails_does_not_hide_the_others(void **st) {
  (void)st;
  need_simulation();
  umemDeviceInfo info = {.size = sizeof info};
  size_t const count = umem_device_count(umemCudaDevice);
  client.sim.inject("cuDeviceTotalMem_v2", 1, 999, SIMCU_ONCE);
  assert_int_equal(umem_device_count(umemCudaDevice), count);
  client.sim.inject("cuDeviceTotalMem_v2", 1, 999, SIMCU_ONCE);
  assert_ok(umem_device_info(umemCudaDevice, 0, &info));
  assert_int_equal(info.usable, 0);
  assert_has(info.reason, "cuDeviceTotalMem");
  assert_ok(umem_device_info(umemCudaDevice, count - 1, &info));
  assert_int_equal(info.usable, 1);
}

static void device_info__of_no_index_says_how_many_there_are(void **state) {
  (void)state;
  umemDeviceInfo info = {.size = sizeof info};
  assert_status(umem_device_info(umemCudaDevice, SIZE_MAX, &info),
                umemIndexError);
  assert_status(umem_device_info(umemCudaDevice, INT_MAX, &info),
                umemIndexError);
}

static void devices__that_went_away_are_told(void **state) {
  (void)state;
  umemCuda ctx;
  need_simulation();
  client.sim.set_devices(0);
  umemStatusType status = umemCuda_ctor(&ctx, 0);
  client.sim.set_devices(2);
  assert_fails(&ctx, status, umemNotSupportedError,
               "the CUDA driver has no device");
  assert_ok(umem_dtor(&ctx));
}

/* A machine with two NUMA nodes, and the device at the second one. */
static int open_node(char const *path, int flags, ...) {
  if (!strstr(path, "/numa_node"))
    return open(path, flags);
  int fd = memfd_create("numa_node", MFD_CLOEXEC);
  assert_int_equal(write(fd, "1\n", 2), 2);
  return fd;
}

static void device_info__knows_the_nearest_node(void **state) {
  (void)state;
  umemDeviceInfo info = {.size = sizeof info};
  umemi_os.open = open_node;
  umemStatusType status = umem_device_info(umemCudaDevice, 0, &info);
  faults_reset();
  assert_ok(status);
  assert_int_equal(info.numa_node, 1);
}

/* A device that cannot be entered any more is released as others are. */
static void dtor__releases_a_device_that_does_not_answer(void **state) {
  (void)state;
  umemCuda ctx;
  open_device(&ctx);
  fail_always("cuCtxPushCurrent_v2");
  assert_fails(&ctx, umem_dtor(&ctx), umemRuntimeError, "cuCtxPushCurrent");
  client.sim.forget();
  assert_int_equal(client.sim.live(SIMCU_RETAINS), 0);
  open_device(&ctx); /* and can be used again */
  assert_ok(umem_dtor(&ctx));
  assert_int_equal(client.sim.live(SIMCU_RETAINS), 0);
}

/* A release may tell of earlier work, and has been done then. */
static void dtor__releases_the_device_once(void **state) {
  (void)state;
  umemCuda ctx;
  open_device(&ctx);
  fail_next("cuDevicePrimaryCtxRelease_v2");
  assert_fails(&ctx, umem_dtor(&ctx), umemRuntimeError,
               "cuDevicePrimaryCtxRelease");
  assert_int_equal(client.sim.calls("cuDevicePrimaryCtxRelease_v2"), 1);
  must(DevicePrimaryCtxRelease(0));
}

/* --- more at once than is kept -------------------------------------------- */

static void lanes__beyond_what_is_kept_are_given_back(void **state) {
  (void)state;
  enum { TURNS = UMEMI_GPU_LANES + 3 };
  struct umemiGpuTurn turns[TURNS];
  umemCuda ctx;
  umemError error;
  open_device(&ctx);
  size_t const before = client.sim.live(SIMCU_STREAMS);
  for (int i = 0; i < TURNS; i++)
    assert_ok(umemi_gpu_begin(gpu_of(&ctx), NULL, &turns[i], &error));
  assert_int_equal(client.sim.live(SIMCU_STREAMS) - before, TURNS);
  for (int i = TURNS; i-- > 0;)
    assert_ok(umemi_gpu_end(&turns[i], umemOK, &error));
  assert_int_equal(client.sim.live(SIMCU_STREAMS) - before, UMEMI_GPU_LANES);
  assert_ok(umem_dtor(&ctx));
}

static void stages__beyond_what_is_kept_are_given_back(void **state) {
  (void)state;
  enum { STAGES = UMEMI_GPU_STAGES + 2 };
  size_t const slot = umemi_tuning()->slot;
  umemCuda ctx;
  umemError error;
  void *stages[STAGES];
  open_device(&ctx);
  struct umemiGpu *gpu = gpu_of(&ctx);
  for (int i = 0; i < STAGES; i++) {
    assert_ok(umemi_gpu_stage_take(gpu, slot, &stages[i], &error));
    memset(stages[i], i, slot);
  }
  for (int i = 0; i < STAGES - 1; i++)
    umemi_gpu_stage_give(gpu, stages[i], slot);
  assert_int_equal(client.sim.live(SIMCU_PINNED), UMEMI_GPU_STAGES + 1);
  fail_next("cuCtxPushCurrent_v2");
  umemi_gpu_stage_give(gpu, stages[STAGES - 1],
                       slot); /* cannot be given back */
  assert_int_equal(client.sim.live(SIMCU_PINNED), UMEMI_GPU_STAGES + 1);
  must(CtxPushCurrent(gpu->context));
  must(MemFreeHost(stages[STAGES - 1]));
  must(CtxPopCurrent(&(cuContext){NULL}));
  assert_ok(umem_dtor(&ctx));
}

/* Other memory does for what is staged, then. */
static void stages__are_of_one_size_and_of_this_process(void **state) {
  (void)state;
  size_t const slot = umemi_tuning()->slot;
  umemCuda ctx;
  umemError error;
  void *stage;
  open_device(&ctx);
  struct umemiGpu *gpu = gpu_of(&ctx);
  assert_status(umemi_gpu_stage_take(gpu, slot / 2, &stage, &error),
                UMEM_DECLINED);
  fail_next("cuCtxPushCurrent_v2");
  assert_status(umemi_gpu_stage_take(gpu, slot, &stage, &error), UMEM_DECLINED);
  fail_next("cuMemHostAlloc");
  assert_status(umemi_gpu_stage_take(gpu, slot, &stage, &error), UMEM_DECLINED);
  pid_t child = fork();
  if (child == 0) {
    umemStatusType in_child = umemi_gpu_stage_take(gpu, slot, &stage, &error);
    _exit(in_child == UMEM_DECLINED ? 0 : 1);
  }
  int ended;
  assert_int_equal(waitpid(child, &ended, 0), child);
  assert_int_equal(ended, 0);
  assert_ok(umem_dtor(&ctx));
}

/* --- two failures in one call --------------------------------------------- */

/* What the driver said is told, if it cannot be asked for more. */
static void explanations__that_fail_leave_the_error(void **state) {
  (void)state;
  char bytes[2 * SOME] = "";
  umemCuda ctx;
  need_strict_memory();
  open_device(&ctx);
  uintptr_t adr = allocated(&ctx, 512);
  client.sim.inject("cuCtxPushCurrent_v2", 2, UMEMI_CUDA_ERROR_UNKNOWN,
                    SIMCU_FROM_THEN_ON);
  assert_fails(&ctx,
               umem_copy_to(&host, (uintptr_t)bytes, &ctx, adr, sizeof bytes),
               umemValueError, "CUDA_ERROR_INVALID_VALUE");
  client.sim.forget();
  fail_always("cuMemGetAddressRange_v2");
  assert_fails(&ctx,
               umem_copy_to(&host, (uintptr_t)bytes, &ctx, adr, sizeof bytes),
               umemValueError, "CUDA_ERROR_INVALID_VALUE");
  client.sim.forget();
  assert_fails(&ctx,
               umem_copy_to(&host, (uintptr_t)bytes, &ctx, adr, sizeof bytes),
               umemIndexError, "leave the device's block of 512 bytes");
  client.sim.forget(); /* that the block was left was meant */
  umem_clean_status(&host);
  assert_ok(umem_dtor(&ctx));
}

static void pools__that_cannot_be_set_up_are_given_back(void **state) {
  (void)state;
  umemCuda ctx;
  umemCudaOptions options = {.size = sizeof options, .flags = UMEM_CUDA_POOL};
  need_simulation();
  fail_next("cuMemPoolSetAttribute");
  assert_fails(&ctx, umemCuda_ctor_ex(&ctx, 0, &options), umemRuntimeError,
               "cuMemPoolSetAttribute");
  assert_int_equal(client.sim.live(SIMCU_POOLS), 0);
  assert_ok(umem_dtor(&ctx));
}

static size_t exported(void const *ctx, uintptr_t adr, size_t nbytes,
                       unsigned char handle[UMEM_HANDLE_MAX]) {
  size_t length = UMEM_HANDLE_MAX;
  assert_ok(umem_export_handle(ctx, adr, nbytes, handle, &length));
  return length;
}

/* --- one device, two streams ---------------------------------------------- */

static void work__of_both_streams_comes_first(void **state) {
  (void)state;
  enum { NON_BLOCKING = 1 };
  umemCuda a, b;
  cuStream streams[2];
  cuContext context;
  need_simulation();
  must(DevicePrimaryCtxRetain(&context, 0));
  must(CtxPushCurrent(context));
  for (int i = 0; i < 2; i++)
    must(StreamCreate(&streams[i], NON_BLOCKING));
  open_with(&a, 0, 0, streams[0]);
  open_with(&b, 0, 0, streams[1]);
  uintptr_t from = allocated(&a, SOME), to = allocated(&b, SOME);
  must(MemsetD8Async(from, 'f', SOME, streams[0]));
  must(MemsetD8Async(to, 't', SOME, streams[1]));
  assert_ok(umem_copy_to(&a, from, &b, to, SOME));
  client.sim.finish();
  assert_holds(&b, to, SOME, 'f');
  assert_ok(umem_try_set(&a, from, 'g', SOME));
  fail_next("cuEventRecord");
  assert_fails(&a, umem_copy_to(&a, from, &b, to, SOME), umemRuntimeError,
               "cuEventRecord");
  umem_clean_status(&b);
  assert_holds(&b, to, SOME, 'f');
  assert_ok(umem_dtor(&a));
  assert_ok(umem_dtor(&b));
  for (int i = 0; i < 2; i++)
    must(StreamDestroy(streams[i]));
  must(CtxPopCurrent(&context));
  must(DevicePrimaryCtxRelease(0));
}

/* In another thread it is another stream, which nobody could wait for. */
static void ctor__refuses_the_stream_of_each_thread(void **state) {
  (void)state;
  umemCudaOptions options = {.size = sizeof options,
                             .stream = (void *)UMEMI_CU_PER_THREAD};
  umemCuda ctx;
  assert_fails(&ctx, umemCuda_ctor_ex(&ctx, 0, &options), umemValueError,
               "CU_STREAM_PER_THREAD");
  assert_ok(umem_dtor(&ctx));
}

/* Fresh memory needs no order; what was given back was waited for. */
static void pools__give_blocks_while_other_work_goes_on(void **state) {
  (void)state;
  char const *mode = getenv("SIMCU_MODE");
  umemCuda ctx, pooled;
  need_simulation();
  if (mode && strcmp(mode, "lazy") != 0)
    skip(); /* it may be done by chance */
  open_device(&ctx);
  open_with(&pooled, 0, UMEM_CUDA_POOL, NULL);
  uintptr_t adr = allocated(&ctx, SOME);
  must(CtxPushCurrent(gpu_of(&ctx)->context));
  must(MemsetD8Async(adr, 'w', SOME, NULL));
  size_t const pending = client.sim.pending();
  assert_true(pending > 0);
  uintptr_t block = allocated(&pooled, SOME);
  assert_int_equal(client.sim.pending(), pending);
  must(CtxPopCurrent(&(cuContext){NULL}));
  assert_ok(umem_try_set(&pooled, block, 'p', SOME));
  assert_holds(&pooled, block, SOME, 'p');
  assert_holds(&ctx, adr, SOME, 'w');
  assert_ok(umem_dtor(&pooled));
  assert_ok(umem_dtor(&ctx));
}

/* Both know the addresses: it is a move. */
static void copies__of_one_block_by_two_devices_are_memmove(void **state) {
  (void)state;
  enum { APART = 100 };
  umemCuda a, b;
  unsigned char bytes[SOME], got[SOME];
  open_device(&a);
  open_with(&b, 1, 0, NULL);
  uintptr_t adr = allocated(&a, SOME);
  random_bytes(bytes, SOME, 1);
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &a, adr, SOME));
  assert_ok(umem_copy_to(&a, adr, &b, adr + APART, SOME - APART));
  memmove(bytes + APART, bytes, SOME - APART);
  assert_ok(umem_copy_to(&a, adr, &host, (uintptr_t)got, SOME));
  assert_memory_equal(got, bytes, SOME);
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
}

/* --- memory that the host can use ----------------------------------------- */

/* With a view, and without one. */
static void reads__that_cannot_wait_say_so(void **state) {
  (void)state;
  static unsigned const off[] = {0, 1U << umemDirectRung |
                                        1U << umemSourceViewRung |
                                        1U << umemDestViewRung};
  unsigned char bytes[SOME];
  umemCudaHost pinned;
  need_simulation();
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  uintptr_t adr = allocated(&pinned, SOME);
  assert_ok(umem_try_set(&pinned, adr, 1, SOME));
  for (size_t i = 0; i < LENGTH(off); i++) {
    umemi_os.rungs_off = off[i];
    fail_next("cuStreamSynchronize");
    umemStatusType status =
        umem_copy_to(&pinned, adr, &host, (uintptr_t)bytes, SOME);
    faults_reset();
    assert_fails(&pinned, status, umemRuntimeError, "cuStreamSynchronize");
  }
  umem_clean_status(&host);
  assert_ok(umem_dtor(&pinned));
}

/* Devices may not use it yet. */
static void managed__of_the_host_is_no_devices_memory(void **state) {
  (void)state;
  umemCudaManaged managed;
  umemCuda ctx;
  open_device(&ctx);
  assert_ok(
      umemCudaManaged_ctor(&managed, UMEM_CUDA_MANAGED_HOST, false, NULL));
  uintptr_t adr = allocated(&managed, SOME), block = allocated(&ctx, SOME);
  assert_false(umem_is_accessible_from(&managed, &ctx));
  assert_true(umem_is_accessible_from(&managed, &host));
  memset((void *)adr, 'm', SOME);
  assert_ok(umem_copy_to(&managed, adr, &ctx, block, SOME));
  assert_holds(&ctx, block, SOME, 'm');
  assert_ok(umem_dtor(&managed));
  assert_ok(umem_dtor(&ctx));
}

/* --- handles -------------------------------------------------------------- */

/* What a payload says after the driver's handle. */
struct range {
  uint64_t offset, length;
};

static void assert_not_imported(void const *ctx, unsigned char const *payload,
                                struct range range, umemStatusType status) {
  unsigned char changed[UMEM_HANDLE_PAYLOAD];
  uintptr_t adr = 5;
  umemError error;
  memcpy(changed, payload, sizeof changed);
  memcpy(changed + UMEMI_GPU_IPC, &range, sizeof range);
  assert_status(
      umemi_gpu_import_handle(state_of(ctx), changed, SOME, &adr, &error),
      status);
  assert_int_equal(adr, 5);
  assert_int_equal(client.sim.live(SIMCU_IMPORTED), 0);
}

/* Of a block that became another one since, or by whoever wrote it. */
static void handles__of_other_lengths_are_refused(void **state) {
  (void)state;
  unsigned char payload[UMEM_HANDLE_PAYLOAD] = {0};
  umemCuda ctx;
  uintptr_t got;
  umemError error;
  need_strict_memory();
  open_handles_within();
  open_device(&ctx);
  uintptr_t adr = allocated(&ctx, SOME);
  assert_ok(
      umemi_gpu_export_handle(state_of(&ctx), adr, SOME, payload, &error));
  struct range own;
  memcpy(&own, payload + UMEMI_GPU_IPC, sizeof own);
  uint64_t const length = own.length;
  assert_not_imported(&ctx, payload, (struct range){0, length + 1},
                      umemIndexError);
  assert_not_imported(&ctx, payload, (struct range){length + 1, length},
                      umemIndexError);
  assert_not_imported(&ctx, payload, (struct range){length - SOME + 1, length},
                      umemIndexError);
  fail_next("cuCtxPushCurrent_v2");
  assert_not_imported(&ctx, payload, own, umemRuntimeError);
  assert_ok(
      umemi_gpu_import_handle(state_of(&ctx), payload, SOME, &got, &error));
  assert_ok(umem_dtor(&ctx));
}

static void handles__that_the_driver_does_not_give_are_none(void **state) {
  (void)state;
  unsigned char handle[UMEM_HANDLE_MAX];
  size_t length = sizeof handle;
  umemCuda ctx;
  open_device(&ctx);
  uintptr_t adr = allocated(&ctx, SOME);
  fail_next("cuIpcGetMemHandle");
  assert_fails(&ctx, umem_export_handle(&ctx, adr, SOME, handle, &length),
               umemRuntimeError, "cuIpcGetMemHandle");
  assert_ok(umem_dtor(&ctx));
}

/* A context with something imported, and where that is. */
static uintptr_t imported(umemCuda *importer, umemCuda const *ctx,
                          uintptr_t adr) {
  unsigned char handle[UMEM_HANDLE_MAX];
  uintptr_t got;
  size_t length = exported(ctx, adr, SOME, handle), nbytes;
  open_handles_within();
  open_with(importer, 0, 0, NULL);
  assert_ok(umem_import_handle(importer, handle, length, &got, &nbytes));
  return got;
}

/* Queued work may still use it; and what cannot be waited for is closed all the
   same. */
static void imports__are_closed_when_nothing_uses_them(void **state) {
  (void)state;
  umemCuda ctx, importer;
  open_device(&ctx);
  uintptr_t adr = allocated(&ctx, SOME);
  uintptr_t got = imported(&importer, &ctx, adr);
  must(CtxPushCurrent(gpu_of(&ctx)->context));
  must(MemsetD8Async(got, 'q', SOME, NULL));
  must(CtxPopCurrent(&(cuContext){NULL}));
  assert_ok(umem_dtor(&importer));
  assert_holds(&ctx, adr, SOME, 'q');
  for (int more = 0; more < 2; more++) {
    imported(&importer, &ctx, adr);
    fail_next("cuEventRecord");
    if (more)
      client.sim.inject("cuCtxPushCurrent_v2", 2, UMEMI_CUDA_ERROR_UNKNOWN,
                        SIMCU_ONCE);
    assert_fails(&importer, umem_dtor(&importer), umemRuntimeError,
                 "cuEventRecord");
    assert_int_equal(client.sim.live(SIMCU_IMPORTED), 0);
  }
  assert_ok(umem_dtor(&ctx));
}

/* A child leaves to its parent what that has open. */
static void imports__are_the_parents(void **state) {
  (void)state;
  unsigned char handle[UMEM_HANDLE_MAX];
  umemCuda ctx, importer;
  size_t nbytes;
  uintptr_t got;
  open_handles_within();
  open_device(&ctx);
  open_with(&importer, 0, 0, NULL);
  size_t length = exported(&ctx, allocated(&ctx, SOME), SOME, handle);
  assert_ok(umem_import_handle(&importer, handle, length, &got, &nbytes));
  pid_t child = fork();
  if (child == 0)
    _exit(umem_dtor(&importer) == umemOK ? 0 : 1);
  int ended;
  assert_int_equal(waitpid(child, &ended, 0), child);
  assert_int_equal(ended, 0);
  assert_ok(umem_try_set(&importer, got, 'i', SOME));
  assert_ok(umem_dtor(&importer));
  assert_ok(umem_dtor(&ctx));
}

/* --- a process of its own ------------------------------------------------- */

/* Two imports and a pool, of which what the setting names fails to be closed:
   the first failure is told, and the rest is closed nevertheless. */
static int role_failing_end(void) {
  char const *symbol = getenv("UMEM_TEST_FAILING");
  bool const all = strcmp(symbol, "all") == 0;
  cuContext context; /* goes on with what is lost in it */
  unsigned char handle[UMEM_HANDLE_MAX];
  umemCuda ctx, importer;
  size_t nbytes;
  uintptr_t got;
  open_handles_within();
  open_device(&ctx);
  must(DevicePrimaryCtxRetain(&context, 0));
  open_with(&importer, 0, UMEM_CUDA_POOL, NULL);
  for (int k = 0; k < 2; k++) {
    size_t length = exported(&ctx, allocated(&ctx, SOME), SOME, handle);
    assert_ok(umem_import_handle(&importer, handle, length, &got, &nbytes));
  }
  client.sim.forget();
  if (all) {
    fail_always("cuIpcCloseMemHandle");
    client.sim.inject("cuMemPoolDestroy", 1, UMEMI_CUDA_ERROR_OUT_OF_MEMORY,
                      SIMCU_FROM_THEN_ON);
  } else {
    fail_next(symbol);
  }
  assert_fails(&importer, umem_dtor(&importer), umemRuntimeError,
               all ? "cuIpcCloseMemHandle" : symbol);
  assert_int_equal(client.sim.calls("cuIpcCloseMemHandle"), all ? 4 : 2);
  assert_int_equal(client.sim.calls("cuMemPoolDestroy"), 1);
  assert_ok(umem_dtor(&ctx));
  return client.sim.violations();
}

static void dtor__goes_on_after_a_failure(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("failing end", "UMEM_TEST_FAILING=cuMemPoolDestroy");
  assert_role_succeeds("failing end", "UMEM_TEST_FAILING=all");
}

/* While one thread loads the driver another one has done so. */
static void *load_within(char const *path, int flags) {
  umemError error;
  umemi_os.dlopen = faults_real.dlopen;
  assert_ok(umemi_cuda.load(&error));
  return dlopen(path, flags);
}

static int role_late(void) {
  umemCuda ctx;
  umemi_os.dlopen = load_within;
  open_with(&ctx, 0, 0, NULL);
  assert_ok(umem_try_set(&ctx, allocated(&ctx, SOME), 1, SOME));
  assert_ok(umem_dtor(&ctx));
  return cuda_teardown(NULL);
}

static void loader__that_comes_second_uses_what_the_first_has(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("late", NULL);
}

/* --- main ----------------------------------------------------------------- */

static struct role const roles[] = {{"failing end", role_failing_end},
                                    {"late", role_late}};

#define corner_test(f) cmocka_unit_test_teardown(f, cuda_teardown)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      corner_test(codes__without_a_name_are_told_as_numbers),
      corner_test(note__of_the_first_failure_is_there_once),
      corner_test(codes__after_which_nothing_works_are_known),
      corner_test(device_info__of_one_that_fails_does_not_hide_the_others),
      corner_test(device_info__of_no_index_says_how_many_there_are),
      corner_test(devices__that_went_away_are_told),
      corner_test(device_info__knows_the_nearest_node),
      corner_test(dtor__releases_a_device_that_does_not_answer),
      corner_test(dtor__releases_the_device_once),
      corner_test(lanes__beyond_what_is_kept_are_given_back),
      corner_test(stages__beyond_what_is_kept_are_given_back),
      corner_test(stages__are_of_one_size_and_of_this_process),
      corner_test(explanations__that_fail_leave_the_error),
      corner_test(pools__that_cannot_be_set_up_are_given_back),
      corner_test(work__of_both_streams_comes_first),
      corner_test(ctor__refuses_the_stream_of_each_thread),
      corner_test(pools__give_blocks_while_other_work_goes_on),
      corner_test(copies__of_one_block_by_two_devices_are_memmove),
      corner_test(reads__that_cannot_wait_say_so),
      corner_test(managed__of_the_host_is_no_devices_memory),
      corner_test(handles__of_other_lengths_are_refused),
      corner_test(handles__that_the_driver_does_not_give_are_none),
      corner_test(imports__are_closed_when_nothing_uses_them),
      corner_test(imports__are_the_parents),
      corner_test(dtor__goes_on_after_a_failure),
      corner_test(loader__that_comes_second_uses_what_the_first_has),
  };
  client_load(&client, "libcuda.so.1");
  assert_ok(umemHost_ctor(&host));
  if (argc > 1)
    return rig_play(roles, LENGTH(roles), argv[1]);
  int const absent = rig_find_device();
  return absent ? absent : cmocka_run_group_tests(tests, NULL, NULL);
}
