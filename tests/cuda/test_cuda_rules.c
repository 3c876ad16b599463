/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules of CUDA that a library keeps and nobody sees: what is current and
 * what is captured stays so, work comes in order and is through when a call
 * returns, nothing is asked of the driver twice, and what fails leaves nothing
 * behind. Most of it only the simulated driver can show.
 */
#include "rig.h"

#define must(call) assert_int_equal(client.cu.call, UMEMI_CUDA_SUCCESS)

/* --- support -------------------------------------------------------------- */

static void open_device(umemCuda *ctx, int device, uint32_t flags,
                        cuStream stream) {
  umemCudaOptions options = {
      .size = sizeof options, .flags = flags, .stream = stream};
  if (umemCuda_ctor_ex(ctx, device, &options) != umemOK)
    fail_msg("%s", umem_get_message(ctx));
}

static unsigned char *bytes_new(size_t nbytes, uint64_t seed) {
  unsigned char *bytes = malloc(nbytes);
  assert_non_null(bytes);
  random_bytes(bytes, nbytes, seed);
  return bytes;
}

/* The program's own work on a device is done with its context current. */
static void program_enter(int device) {
  cuContext context;
  must(DevicePrimaryCtxRetain(&context, device));
  must(CtxPushCurrent(context));
}

static void program_leave(int device) {
  cuContext context;
  must(CtxPopCurrent(&context));
  must(DevicePrimaryCtxRelease(device));
}

static long calls(char const *symbol) {
  return client.sim.calls(symbol);
}

/* --- what is current stays so --------------------------------------------- */

/* What the thread is in, as it was when a run began. */
static struct {
  cuContext current;
  uint64_t stack;
  int depth;
} before;

static void undisturbed_begin(void) {
  must(CtxGetCurrent(&before.current));
  if (!is_simulated())
    return;
  before.stack = client.sim.stack_state();
  before.depth = client.sim.stack_depth();
}

static void undisturbed_check(char const *call) {
  cuContext current;
  must(CtxGetCurrent(&current));
  if (current != before.current)
    fail_msg("%s: another context is current", call);
  if (!is_simulated())
    return;
  if (client.sim.stack_depth() != before.depth)
    fail_msg("%s: depth %d", call, client.sim.stack_depth());
  if (client.sim.stack_state() != before.stack)
    fail_msg("%s: the stack, or the mode of captures", call);
}

#define STEP(call)                                                             \
  do {                                                                         \
    (void)(call);                                                              \
    undisturbed_check(#call);                                                  \
  } while (0)

/* Whether it works does not matter: it has to be told by the next step. */
static void step_memory(void const *ctx) {
  uintptr_t a = 0, b = 0, c = 0;
  size_t const big = SIZE_MAX / 4;
  STEP(a = umem_alloc(ctx, 1000));
  STEP(umem_try_alloc(ctx, big, &b));
  STEP(umem_try_alloc(ctx, 1000, &b));
  STEP(c = umem_calloc(ctx, 10, 100));
  STEP(umem_free(ctx, c));
  STEP(umem_try_calloc(ctx, big, 1, &c));
  STEP(umem_try_calloc(ctx, 9, 9, &c));
  STEP(umem_free(ctx, c));
  STEP(c = umem_aligned_alloc(ctx, 4096, 8192));
  STEP(umem_aligned_origin(ctx, c));
  STEP(umem_aligned_origin(ctx, c + 1));
  STEP(umem_free_aligned(ctx, c));
  STEP(umem_aligned_free(ctx, c));
  STEP(umem_try_aligned_alloc(ctx, 4096, 8192, &c));
  STEP(umem_try_aligned_alloc(ctx, 3, 8192, &c));
  STEP(umem_try_free_aligned(ctx, c, NULL));
  STEP(umem_set(ctx, a, 1, 1000));
  STEP(umem_try_set(ctx, b, 2, 1000));
  STEP(umem_set_safe(ctx, a, 1000, 3, 1000));
  STEP(umem_set_safe(ctx, a, 1000, 3, 1001));
  STEP(umem_free(ctx, a));
  STEP(umem_free(ctx, a));
  STEP(umem_free(ctx, b + 1));
  STEP(umem_free(ctx, b));
  STEP(umem_free(ctx, 0));
}

static void step_copies(void const *a, void const *b) {
  enum { SIZE = 5 * MIB };
  umemCopyPlan plan = {.size = sizeof plan};
  size_t where;
  uint32_t sum;
  uintptr_t const x = allocated(a, SIZE), y = allocated(b, SIZE);
  undisturbed_check("umem_try_alloc");
  STEP(umem_try_set(a, x, 'a', SIZE));
  STEP(umem_copy_to(a, x, b, y, 100));
  STEP(umem_copy_to(a, x, b, y, 100 * KIB));
  STEP(umem_copy_to(a, x, b, y, SIZE));
  STEP(umem_copy_to(a, x, b, y, SIZE_MAX));
  STEP(umem_copy_from(b, y, a, x, SIZE));
  STEP(umem_copy_to_safe(a, x, 10, b, y, 10, 10));
  STEP(umem_copy_to_safe(a, x, 10, b, y, 10, 11));
  STEP(umem_copy_from_safe(a, x, 10, b, y, 10, 10));
  STEP(umem_copy_2d(a, x, 100, b, y, 200, 50, 5));
  STEP(umem_copy_2d(a, x, 10, b, y, 200, 50, 5));
  STEP(umem_copy_2d_safe(a, x, 100, 500, b, y, 200, 1000, 50, 5));
  STEP(umem_copy_plan(a, x, b, y, 1000, &plan));
  STEP(umem_compare(a, x, b, y, 100 * KIB, &where));
  STEP(umem_checksum(a, x, 100 * KIB, 0, &sum));
  STEP(umem_sync_to(a, x, b, y, 1000));
  STEP(umem_sync_from(a, x, b, y, 1000));
  STEP(umem_sync_to_safe(a, x, 10, b, y, 10, 10));
  STEP(umem_sync_from_safe(a, x, 10, b, y, 10, 11));
  STEP(umem_free(a, x));
  STEP(umem_free(b, y));
}

static void step_mirrors(void const *a, void const *b) {
  uintptr_t x = allocated(a, 1000), mirror = 0;
  STEP(mirror = umem_connect(a, x, 1000, b, 0));
  STEP(umem_disconnect(a, x, b, mirror, 0));
  STEP(umem_disconnect(a, x, b, mirror, 0));
  STEP(umem_try_connect(a, x, 1000, b, 4096, &mirror));
  STEP(umem_sync_to(a, x, b, mirror, 1000));
  STEP(umem_disconnect(a, x, b, mirror, 4096));
  STEP(umem_try_connect(a, x, 1000, b, 3, &mirror));
  STEP(umem_free(a, x));
}

static void step_handles(void const *ctx) {
  unsigned char handle[UMEM_HANDLE_MAX] = {0};
  size_t length = sizeof handle, nbytes;
  uintptr_t adr = allocated(ctx, 1000), other;
  open_handles_within();
  STEP(umem_export_handle(ctx, adr, 1000, handle, &length));
  STEP(umem_import_handle(ctx, handle, length, &other, &nbytes));
  handle[40] ^= 1;
  STEP(umem_import_handle(ctx, handle, length, &other, &nbytes));
  STEP(umem_free(ctx, adr));
}

static void step_questions(void const *ctx) {
  static char bytes[8192];
  umemDeviceInfo info = {.size = sizeof info};
  umemError error = {.size = sizeof error};
  STEP(umem_pin(ctx, (uintptr_t)bytes, sizeof bytes));
  STEP(umem_pin(ctx, (uintptr_t)bytes, sizeof bytes));
  STEP(umem_unpin(ctx, (uintptr_t)bytes));
  STEP(umem_unpin(ctx, (uintptr_t)bytes));
  STEP(umem_flush(ctx));
  STEP(umem_discard(ctx));
  STEP(umem_is_ok(ctx));
  STEP(umem_get_status(ctx));
  STEP(umem_get_message(ctx));
  STEP(umem_copy_last_error(ctx, &error));
  STEP(umem_is_same_device(ctx, &host));
  STEP(umem_is_accessible_from(ctx, &host));
  STEP(umem_get_device_name(ctx));
  STEP(umem_fundamental_align(ctx));
  STEP(umem_device_count(umemCudaDevice));
  STEP(umem_device_info(umemCudaDevice, 0, &info));
  STEP(umem_device_info(umemCudaDevice, 99, &info));
  STEP(umem_clean_status(ctx));
}

static void step_all(void) {
  umemCuda first, second, pooled;
  umemCudaHost pinned;
  umemCudaManaged managed;
  umemCudaOptions pool = {.size = sizeof pool, .flags = UMEM_CUDA_POOL};
  int const other = umem_device_count(umemCudaDevice) > 1;
  STEP(umemCuda_ctor(&first, -1));
  STEP(umemCuda_ctor(&first, 0));
  STEP(umemCuda_ctor(&second, other));
  STEP(umemCuda_ctor_ex(&pooled, 0, &pool));
  STEP(umemCudaHost_ctor(&pinned, 7));
  STEP(umemCudaHost_ctor(&pinned, 0));
  STEP(umemCudaManaged_ctor(&managed, 0, false, NULL));
  void const *const all[] = {&first, &second, &pooled, &pinned, &managed};
  for (size_t i = 0; i < LENGTH(all); i++) {
    step_memory(all[i]);
    step_handles(all[i]);
    step_questions(all[i]);
    step_copies(all[i], &host);
    step_copies(&host, all[i]);
    step_mirrors(&host, all[i]);
    for (size_t k = 0; k < LENGTH(all); k++)
      step_copies(all[i], all[k]);
    step_mirrors(all[i], all[(i + 1) % LENGTH(all)]);
  }
  allocated(&first, 100);
  for (size_t i = 0; i < LENGTH(all); i++)
    STEP(umem_dtor(all[i]));
}

static void current__none_stays_none(void **state) {
  (void)state;
  undisturbed_begin();
  step_all();
}

static void run_in_primary(int device) {
  program_enter(device);
  undisturbed_begin();
  step_all();
  program_leave(device);
}

static void current__primary_context_stays_so(void **state) {
  (void)state;
  run_in_primary(0);
}

static void current__context_of_another_device_stays_so(void **state) {
  (void)state;
  if (umem_device_count(umemCudaDevice) < 2)
    skip();
  run_in_primary(1);
}

static void current__foreign_context_stays_so(void **state) {
  (void)state;
  cuContext foreign;
  must(CtxCreate(&foreign, 0, 0));
  undisturbed_begin();
  step_all();
  must(CtxDestroy(foreign));
}

static void current__mode_of_captures_stays_so(void **state) {
  (void)state;
  for (cuCaptureMode mode = 2; mode >= 0; mode--) {
    cuCaptureMode exchanged = mode;
    must(ThreadExchangeStreamCaptureMode(&exchanged));
    undisturbed_begin();
    step_all();
  }
}

/* Each function of the driver fails, at its first call and its second. What
   restores cannot be made to fail: nobody could restore then. */
static char const *const failing[] = {
#define NAME(name, symbol, parameters) #symbol,
    UMEMI_CU_REQUIRED(NAME) UMEMI_CU_OPTIONAL(NAME)
#undef NAME
};

static bool restores(char const *symbol) {
  return strcmp(symbol, "cuCtxPopCurrent_v2") == 0 ||
         strcmp(symbol, "cuThreadExchangeStreamCaptureMode") == 0 ||
         strcmp(symbol, "cuCtxGetCurrent") == 0; /* that we ask by */
}

/* No assertions about what works: blocks may be 0. */
static void step_failing(void) {
  static unsigned char bytes[100 * KIB];
  umemCuda ctx;
  umemCudaOptions pool = {.size = sizeof pool, .flags = UMEM_CUDA_POOL};
  uintptr_t adr = 0, out = (uintptr_t)bytes;
  for (int i = 0; i < 2; i++) {
    if (i)
      STEP(umemCuda_ctor(&ctx, 0));
    else
      STEP(umemCuda_ctor_ex(&ctx, 0, &pool));
    STEP(umem_try_alloc(&ctx, sizeof bytes, &adr));
    STEP(umem_try_set(&ctx, adr, 1, sizeof bytes));
    STEP(umem_copy_to(&host, out, &ctx, adr, 10));
    STEP(umem_copy_to(&ctx, adr, &host, out, sizeof bytes));
    STEP(umem_copy_to(&ctx, adr, &ctx, adr + 10, 100));
    STEP(umem_pin(&ctx, out, sizeof bytes));
    STEP(umem_unpin(&ctx, out));
    STEP(umem_free(&ctx, adr));
    STEP(umem_dtor(&ctx));
  }
}

static int role_failing(void) {
  undisturbed_begin();
  for (size_t i = 0; i < LENGTH(failing); i++)
    for (long nth = 1; nth <= 2 && !restores(failing[i]); nth++) {
      client.sim.inject(failing[i], nth, UMEMI_CUDA_ERROR_UNKNOWN, SIMCU_ONCE);
      step_failing();
      client.sim.forget();
    }
  return 0;
}

static void current__context_stays_so_when_the_driver_fails(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("failing", NULL);
}

/* --- order ---------------------------------------------------------------- */

/* A stream of the program's in the primary context of device 0; our context
   follows it by its option, or because it is a blocking one. */
struct order {
  umemCuda ctx;
  cuStream stream;
  cuStream own;
  size_t nbytes;
  unsigned char *bytes;
  uintptr_t a, b;
};

static size_t const order_sizes[] = {100, 100 * KIB, 5 * MIB, 17 * MIB};

static void order_begin(struct order *o, int which, size_t nbytes,
                        uint32_t flags) {
  program_enter(0);
  *o = (struct order){.nbytes = nbytes, .bytes = bytes_new(nbytes, nbytes)};
  if (which > 0)
    must(StreamCreate(&o->own, which == 2)); /* 2: non-blocking */
  o->stream = o->own;
  open_device(&o->ctx, 0, flags, which >= 2 ? o->stream : NULL);
  o->a = allocated(&o->ctx, nbytes);
  o->b = allocated(&o->ctx, nbytes);
  assert_ok(umem_try_set(&o->ctx, o->a, 'a', nbytes));
  assert_ok(umem_try_set(&o->ctx, o->b, 'b', nbytes));
}

static void order_end(struct order *o) {
  assert_ok(umem_dtor(&o->ctx));
  if (o->own)
    must(StreamDestroy(o->own));
  free(o->bytes);
  program_leave(0);
}

static bool holds_only(struct order *o, uintptr_t adr, unsigned char value) {
  assert_ok(umem_copy_to(&o->ctx, adr, &host, (uintptr_t)o->bytes, o->nbytes));
  return all_bytes_are(o->bytes, o->nbytes, value);
}

static void order_of_reads(struct order *o) {
  must(MemsetD8Async(o->a, 'x', o->nbytes, o->stream));
  assert_true(holds_only(o, o->a, 'x'));
}

/* The program's read is queued, and gets what was there then. */
static void order_of_writes(struct order *o) {
  must(MemcpyDtoDAsync(o->b, o->a, o->nbytes, o->stream));
  assert_ok(umem_copy_to(&host, (uintptr_t)o->bytes, &o->ctx, o->a, o->nbytes));
  assert_true(holds_only(o, o->b, 'x'));
}

static void order_of_sets(struct order *o) {
  must(MemsetD8Async(o->a, 'y', o->nbytes, o->stream));
  must(MemcpyDtoDAsync(o->b, o->a, o->nbytes, o->stream));
  assert_ok(umem_try_set(&o->ctx, o->a, 'z', o->nbytes));
  assert_true(holds_only(o, o->b, 'y'));
  assert_true(holds_only(o, o->a, 'z'));
}

static void order_of_copies(struct order *o) {
  must(MemsetD8Async(o->a, 'p', o->nbytes, o->stream));
  assert_ok(umem_copy_to(&o->ctx, o->a, &o->ctx, o->b, o->nbytes));
  assert_true(holds_only(o, o->b, 'p'));
  must(MemsetD8Async(o->a, 'q', o->nbytes, o->stream));
  assert_ok(umem_copy_to(&o->ctx, o->a, &o->ctx, o->a + 1, o->nbytes - 1));
  assert_true(holds_only(o, o->a, 'q'));
}

/* The driver would complain of work that is not done; for pools, the next
   block is at the same place and must not get it. */
static void order_of_frees(struct order *o) {
  must(MemsetD8Async(o->a, 'f', o->nbytes, o->stream));
  assert_ok(umem_free(&o->ctx, o->a));
  o->a = allocated(&o->ctx, o->nbytes);
  assert_ok(umem_try_set(&o->ctx, o->a, 'g', o->nbytes));
  if (is_simulated())
    client.sim.finish();
  assert_true(holds_only(o, o->a, 'g'));
}

static void run_order(int which, uint32_t flags) {
  for (size_t i = 0; i < LENGTH(order_sizes); i++) {
    struct order o;
    order_begin(&o, which, order_sizes[i], flags);
    order_of_reads(&o);
    order_of_writes(&o);
    order_of_sets(&o);
    order_of_copies(&o);
    order_of_frees(&o);
    order_end(&o);
  }
}

static void work__of_the_default_stream_comes_first(void **state) {
  (void)state;
  run_order(0, 0);
  run_order(0, UMEM_CUDA_POOL);
}

static void work__of_a_blocking_stream_comes_first(void **state) {
  (void)state;
  run_order(1, 0);
  run_order(1, UMEM_CUDA_POOL);
}

static void work__of_the_contexts_own_stream_comes_first(void **state) {
  (void)state;
  run_order(2, 0);
  run_order(2, UMEM_CUDA_POOL);
  run_order(3, 0);
}

/* What is queued elsewhere is not our business, and may take long. */
static void work__of_other_streams_is_not_waited_for(void **state) {
  (void)state;
  char const *mode = getenv("SIMCU_MODE");
  struct order o;
  need_simulation();
  if (mode && strcmp(mode, "lazy") != 0)
    skip(); /* it may be done by chance */
  order_begin(&o, 2, 100, 0);
  uintptr_t adr = allocated(&o.ctx, 100);
  must(MemsetD8Async(adr, 'x', 100, NULL));
  size_t const pending = client.sim.pending();
  assert_true(pending > 0);
  assert_ok(umem_try_set(&o.ctx, o.a, 'w', 100));
  assert_true(holds_only(&o, o.a, 'w'));
  assert_int_equal(client.sim.pending(), pending);
  client.sim.finish();
  order_end(&o);
}

/* Work of both devices' default streams. */
static void work__of_both_devices_comes_first(void **state) {
  (void)state;
  enum { SIZE = 100 * KIB };
  umemCuda a, b;
  unsigned char *bytes = bytes_new(SIZE, 1);
  if (umem_device_count(umemCudaDevice) < 2)
    skip();
  open_device(&a, 0, 0, NULL);
  open_device(&b, 1, 0, NULL);
  uintptr_t x = allocated(&a, SIZE), y = allocated(&b, SIZE),
            z = allocated(&b, SIZE);
  program_enter(0);
  must(MemsetD8Async(x, 'x', SIZE, NULL));
  program_leave(0);
  program_enter(1);
  must(MemsetD8Async(y, 'y', SIZE, NULL));
  must(MemcpyDtoDAsync(z, y, SIZE, NULL));
  program_leave(1);
  assert_ok(umem_copy_to(&a, x, &b, y, SIZE));
  assert_ok(umem_copy_to(&b, y, &host, (uintptr_t)bytes, SIZE));
  assert_true(all_bytes_are(bytes, SIZE, 'x'));
  assert_ok(umem_copy_to(&b, z, &host, (uintptr_t)bytes, SIZE));
  assert_true(all_bytes_are(bytes, SIZE, 'y'));
  free(bytes);
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
}

/* --- through when they return --------------------------------------------- */

static cuStream apart; /* a non-blocking stream: it waits for nobody */

/* Now, without any waiting, and by a stream that knows nothing of ours. */
static void assert_is_there(uintptr_t adr, unsigned char const *bytes,
                            size_t nbytes) {
  unsigned char *got = malloc(nbytes);
  assert_non_null(got);
  if (is_simulated()) {
    assert_int_equal(client.sim.peek(adr, got, nbytes), 0);
    bool same = memcmp(got, bytes, nbytes) == 0;
    if (!same)
      free(got);
    assert_true(same);
  }
  must(MemcpyDtoHAsync(got, adr, nbytes, apart));
  must(StreamSynchronize(apart));
  assert_memory_equal(got, bytes, nbytes);
  free(got);
}

static void run_through(umemCuda *ctx, size_t nbytes) {
  unsigned char *bytes = bytes_new(nbytes, 7 + nbytes);
  uintptr_t a = allocated(ctx, nbytes), b = allocated(ctx, nbytes);
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, ctx, a, nbytes));
  assert_is_there(a, bytes, nbytes);
  assert_ok(umem_copy_to(ctx, a, ctx, b, nbytes));
  assert_is_there(b, bytes, nbytes);
  memset(bytes, 's', nbytes);
  assert_ok(umem_try_set(ctx, a, 's', nbytes));
  assert_is_there(a, bytes, nbytes);
  assert_ok(umem_copy_to(ctx, a, ctx, a + 1, nbytes - 1));
  assert_is_there(a, bytes, nbytes);
  memset(bytes, 0, nbytes);
  uintptr_t c = umem_calloc(ctx, 1, nbytes);
  assert_is_there(c, bytes, nbytes);
  if (is_simulated())
    assert_int_equal(client.sim.pending(), 0);
  assert_ok(umem_free(ctx, a));
  assert_ok(umem_free(ctx, b));
  assert_ok(umem_free(ctx, c));
  free(bytes);
}

static void run_through_with(uint32_t flags) {
  umemCuda ctx;
  program_enter(0);
  must(StreamCreate(&apart, UMEMI_CU_STREAM_NON_BLOCKING));
  open_device(&ctx, 0, flags, NULL);
  for (size_t i = 0; i < LENGTH(order_sizes); i++)
    run_through(&ctx, order_sizes[i]);
  assert_ok(umem_dtor(&ctx));
  must(StreamDestroy(apart));
  program_leave(0);
}

static void calls__are_through_when_they_return(void **state) {
  (void)state;
  run_through_with(0);
  run_through_with(UMEM_CUDA_POOL);
}

static void calls__between_devices_are_through_when_they_return(void **state) {
  (void)state;
  enum { SIZE = 100 * KIB };
  umemCuda a, b;
  unsigned char *bytes = bytes_new(SIZE, 1), *got = malloc(SIZE);
  need_simulation();
  open_device(&a, 0, 0, NULL);
  open_device(&b, 1, 0, NULL);
  uintptr_t x = allocated(&a, SIZE), y = allocated(&b, SIZE);
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &a, x, SIZE));
  assert_ok(umem_copy_to(&a, x, &b, y, SIZE));
  assert_int_equal(client.sim.peek(y, got, SIZE), 0);
  assert_memory_equal(got, bytes, SIZE);
  assert_int_equal(client.sim.pending(), 0);
  free(got);
  free(bytes);
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
}

/* The program's memory may be gone, and changed, after the call. */
static void copies__do_not_look_at_the_host_later(void **state) {
  (void)state;
  umemCuda ctx;
  umemCudaHost pinned;
  open_device(&ctx, 0, 0, NULL);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  for (size_t i = 0; i < LENGTH(order_sizes); i++) {
    size_t const n = order_sizes[i];
    uintptr_t page = allocated(&pinned, n), adr = allocated(&ctx, n);
    unsigned char *got = malloc(n);
    assert_non_null(got);
    memset((void *)page, 'k', n);
    assert_ok(umem_copy_to(&pinned, page, &ctx, adr, n));
    memset((void *)page, 'l', n);
    assert_ok(umem_free(&pinned, page));
    assert_ok(umem_copy_to(&ctx, adr, &host, (uintptr_t)got, n));
    assert_true(all_bytes_are(got, n, 'k'));
    free(got);
    assert_ok(umem_free(&ctx, adr));
  }
  assert_ok(umem_dtor(&pinned));
  assert_ok(umem_dtor(&ctx));
}

/* --- what is asked of the driver ------------------------------------------ */

static void assert_calls(char const *symbol, long expected) {
  if (calls(symbol) != expected)
    fail_msg("%ld calls of %s, not %ld", calls(symbol), symbol, expected);
}

static void driver__is_called_once_for_a_copy(void **state) {
  (void)state;
  enum { SIZE = 5 * MIB };
  umemCuda ctx;
  umemCudaHost pinned;
  need_simulation();
  open_device(&ctx, 0, 0, NULL);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  uintptr_t page = allocated(&pinned, SIZE), adr = allocated(&ctx, SIZE);
  client.sim.forget();
  assert_ok(umem_copy_to(&pinned, page, &ctx, adr, SIZE));
  assert_calls("cuMemcpyHtoDAsync_v2", 1);
  assert_ok(umem_copy_to(&ctx, adr, &pinned, page, SIZE));
  assert_calls("cuMemcpyDtoHAsync_v2", 1);
  assert_calls("cuMemcpyHtoD_v2", 0);
  assert_ok(umem_copy_to(&pinned, page, &ctx, adr, 100));
  assert_ok(umem_copy_to(&ctx, adr, &pinned, page, 100));
  assert_calls("cuMemcpyHtoD_v2", 1);
  assert_calls("cuMemcpyDtoH_v2", 1);
  assert_calls("cuMemcpyHtoDAsync_v2", 1);
  assert_calls("cuMemcpyDtoHAsync_v2", 1);
  assert_ok(umem_copy_to(&ctx, adr, &ctx, adr + 2 * MIB, MIB));
  assert_calls("cuMemcpyDtoDAsync_v2", 1);
  assert_ok(umem_dtor(&pinned));
  assert_ok(umem_dtor(&ctx));
}

/* Devices move managed memory, too, whoever gives its address. */
static void driver__is_called_once_for_managed_memory(void **state) {
  (void)state;
  enum { SIZE = 5 * MIB };
  umemCuda ctx;
  umemCudaManaged managed;
  need_simulation();
  open_device(&ctx, 0, 0, NULL);
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
  uintptr_t page = allocated(&managed, SIZE), adr = allocated(&ctx, SIZE);
  client.sim.forget();
  assert_ok(umem_copy_to(&host, page, &ctx, adr, SIZE));
  assert_ok(umem_copy_to(&ctx, adr, &host, page, SIZE));
  assert_calls("cuMemcpyHtoDAsync_v2", 1);
  assert_calls("cuMemcpyDtoHAsync_v2", 1);
  assert_calls("cuMemHostAlloc", 0);
  assert_ok(umem_dtor(&managed));
  assert_ok(umem_dtor(&ctx));
}

/* What can reach no device is staged in memory that the device can reach, which
   is made once. */
static void driver__reads_files_from_pinned_memory(void **state) {
  (void)state;
  enum { SIZE = 5 * MIB };
  umemCuda ctx;
  umemFile file;
  unsigned char *bytes = bytes_new(2 * SIZE, 7);
  unsigned const threads = umem_get_threads();
  need_simulation();
  assert_ok(umem_set_threads(0)); /* who help one time may not the next */
  file_put(temp_path("pinned"), bytes, SIZE);
  assert_ok(umemFile_ctor(&file, temp_path("pinned"), "r+"));
  open_device(&ctx, 0, 0, NULL);
  uintptr_t adr = allocated(&ctx, SIZE);
  for (int round = 0; round < 2; round++) {
    client.sim.forget();
    assert_ok(umem_copy_to(&file, 0, &ctx, adr, SIZE));
    assert_ok(umem_copy_to(&ctx, adr, &file, SIZE, SIZE));
    assert_true((calls("cuMemHostAlloc") > 0) == (round == 0));
    assert_calls("cuMemcpyHtoD_v2", 0);
  }
  assert_ok(umem_copy_to(&file, SIZE, &host, (uintptr_t)bytes + SIZE, SIZE));
  assert_memory_equal(bytes, bytes + SIZE, SIZE);
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_dtor(&file));
  assert_ok(umem_set_threads(threads));
  free(bytes);
}

/* Pageable memory goes through slots, and none is copied twice. */
static void driver__gets_a_slot_at_a_time(void **state) {
  (void)state;
  enum { SIZE = 5 * MIB };
  umemCuda ctx;
  unsigned char *bytes = bytes_new(SIZE, 1);
  need_simulation();
  open_device(&ctx, 0, 0, NULL);
  uintptr_t adr = allocated(&ctx, SIZE);
  client.sim.forget();
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &ctx, adr, SIZE));
  assert_ok(umem_copy_to(&ctx, adr, &host, (uintptr_t)bytes, SIZE));
  assert_calls("cuMemcpyHtoDAsync_v2", SIZE / UMEMI_GPU_SLOT);
  assert_calls("cuMemcpyDtoHAsync_v2", SIZE / UMEMI_GPU_SLOT);
  assert_calls("cuMemHostRegister_v2", 0);
  free(bytes);
  assert_ok(umem_dtor(&ctx));
}

static void move_all_sizes(umemCuda *ctx, uintptr_t adr, unsigned char *bytes) {
  for (size_t i = 0; i < LENGTH(order_sizes); i++) {
    size_t const n = order_sizes[i];
    assert_ok(umem_copy_to(&host, (uintptr_t)bytes, ctx, adr, n));
    assert_ok(umem_copy_to(ctx, adr, &host, (uintptr_t)bytes, n));
    assert_ok(umem_try_set(ctx, adr, 1, n));
  }
}

static void driver__makes_nothing_in_the_long_run(void **state) {
  (void)state;
  static char const *const makers[] = {
      "cuMemHostAlloc", "cuStreamCreate",       "cuEventCreate",
      "cuMemAlloc_v2",  "cuMemHostRegister_v2", "cuDevicePrimaryCtxRetain"};
  umemCuda ctx;
  unsigned char *bytes = bytes_new(17 * MIB, 1);
  unsigned const threads = umem_get_threads();
  need_simulation();
  assert_ok(umem_set_threads(0)); /* or who takes how many lanes is chance */
  open_device(&ctx, 0, 0, NULL);
  uintptr_t adr = allocated(&ctx, 17 * MIB);
  move_all_sizes(&ctx, adr, bytes);
  client.sim.forget();
  for (int i = 0; i < 3; i++)
    move_all_sizes(&ctx, adr, bytes);
  for (size_t i = 0; i < LENGTH(makers); i++)
    assert_calls(makers[i], 0);
  assert_ok(umem_set_threads(threads));
  free(bytes);
  assert_ok(umem_dtor(&ctx));
}

/* Neither does a context: they share what a device has. */
static void contexts__share_what_a_device_keeps(void **state) {
  (void)state;
  char byte = 1;
  umemCuda ctx;
  need_simulation();
  open_device(&ctx, 0, 0, NULL);
  uintptr_t adr = allocated(&ctx, 1);
  assert_ok(umem_try_set(&ctx, adr, 1, 1));
  size_t const streams = client.sim.live(SIMCU_STREAMS),
               retains = client.sim.live(SIMCU_RETAINS);
  for (int i = 0; i < 10; i++) {
    umemCuda other;
    open_device(&other, 0, 0, NULL);
    assert_ok(umem_copy_to(&host, (uintptr_t)&byte, &other, adr, 1));
    assert_ok(umem_try_set(&other, adr, 2, 1));
    assert_ok(umem_dtor(&other));
  }
  assert_int_equal(client.sim.live(SIMCU_STREAMS), streams);
  assert_int_equal(client.sim.live(SIMCU_RETAINS), retains);
  assert_ok(umem_dtor(&ctx));
}

/* --- managed memory of devices that do not share -------------------------- */

enum { MANAGED_BYTES = 3000 };

static void make_busy(uintptr_t adr, unsigned char value) {
  program_enter(0);
  must(MemsetD8Async(adr, value, MANAGED_BYTES, NULL));
  program_leave(0);
}

static void touch_managed(umemCudaManaged *managed, umemCuda *cuda) {
  enum { N = MANAGED_BYTES };
  unsigned char bytes[N];
  size_t where;
  uint32_t sum;
  uintptr_t const in = (uintptr_t)bytes, adr = allocated(managed, N),
                  block = allocated(cuda, N), other = allocated(managed, N);
  make_busy(adr, 'a');
  assert_ok(umem_copy_to(managed, adr, &host, in, N));
  assert_true(all_bytes_are(bytes, N, 'a'));
  make_busy(adr, 'b');
  assert_ok(umem_copy_to(&host, in, managed, adr, N));
  make_busy(adr, 'c');
  assert_ok(umem_try_set(managed, adr, 'd', N));
  make_busy(other, 'e');
  assert_ok(umem_copy_to(managed, adr, managed, other, N));
  make_busy(adr, 'f');
  assert_ok(umem_copy_to(managed, adr, cuda, block, N));
  make_busy(adr, 'g');
  assert_ok(umem_copy_to(cuda, block, managed, adr, N));
  make_busy(adr, 'h');
  make_busy(other, 'h');
  assert_ok(umem_compare(managed, adr, managed, other, N, &where));
  assert_int_equal(where, N);
  make_busy(adr, 'i');
  assert_ok(umem_checksum(managed, adr, N, 0, &sum));
  make_busy(adr, 'j');
  umem_clean_status(&host);
  uintptr_t mirror = umem_connect(managed, adr, N, &host, 0);
  assert_true((mirror == adr) == umem_is_accessible_from(managed, &host));
  assert_true(umem_is_ok(&host));
  make_busy(adr, 'k');
  assert_ok(umem_copy_2d(managed, adr, 100, &host, in, 50, 50, 20));
  assert_true(all_bytes_are(bytes, 1000, 'k'));
  make_busy(adr, 'l');
  assert_ok(umem_disconnect(managed, adr, &host, mirror, 0));
  assert_ok(umem_free(managed, adr));
  assert_ok(umem_free(managed, other));
  assert_ok(umem_free(cuda, block));
}

/* Ends by SIGSEGV where the host comes too early. */
static int role_managed(void) {
  umemCudaManaged managed;
  umemCuda cuda;
  open_device(&cuda, 0, 0, NULL);
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
  touch_managed(&managed, &cuda);
  assert_ok(umem_dtor(&managed));
  assert_ok(umem_dtor(&cuda));
  return cuda_teardown(NULL);
}

static void managed__memory_is_the_hosts_inside_of_calls(void **state) {
  (void)state;
  assert_int_equal(role_managed(), 0);
  if (is_simulated())
    assert_role_succeeds("managed", "SIMCU_ATTRIBUTES=89=0");
}

/* --- captures ------------------------------------------------------------- */

static void use_while_captured(umemCuda *ctx, cuStream stream, int mode) {
  static size_t const some[] = {100, 100 * KIB, 5 * MIB};
  cuGraph graph;
  uintptr_t adr;
  for (size_t i = 0; i < LENGTH(some); i++) {
    unsigned char *bytes = bytes_new(2 * some[i], i);
    uintptr_t const in = (uintptr_t)bytes, out = in + some[i];
    must(StreamBeginCapture(stream, mode));
    assert_ok(umem_try_alloc(ctx, some[i], &adr));
    assert_ok(umem_copy_to(&host, in, ctx, adr, some[i]));
    assert_ok(umem_copy_to(ctx, adr, &host, out, some[i]));
    assert_memory_equal(bytes, bytes + some[i], some[i]);
    assert_ok(umem_try_set(ctx, adr, 'c', some[i]));
    assert_ok(umem_copy_to(ctx, adr, ctx, adr + 1, some[i] - 1));
    assert_ok(umem_copy_to(ctx, adr, &host, out, some[i]));
    assert_true(all_bytes_are(bytes + some[i], some[i], 'c'));
    assert_ok(umem_free(ctx, adr));
    must(StreamEndCapture(stream, &graph));
    free(bytes);
  }
}

static void run_capture(unsigned stream_flags, uint32_t flags) {
  umemCuda ctx;
  cuStream stream;
  need_simulation(); /* a real one wants its graphs destroyed */
  for (int mode = 0; mode <= 2; mode++) {
    program_enter(0);
    must(StreamCreate(&stream, stream_flags));
    open_device(&ctx, 0, flags, NULL);
    use_while_captured(&ctx, stream, mode);
    assert_ok(umem_dtor(&ctx));
    must(StreamDestroy(stream));
    program_leave(0);
  }
}

static void capture__of_a_blocking_stream_goes_on(void **state) {
  (void)state;
  run_capture(0, 0);
  run_capture(0, UMEM_CUDA_POOL);
}

static void capture__of_a_non_blocking_stream_goes_on(void **state) {
  (void)state;
  run_capture(1, 0);
  run_capture(1, UMEM_CUDA_POOL);
}

static void capture__goes_on_when_contexts_come_and_go(void **state) {
  (void)state;
  cuStream stream;
  cuGraph graph;
  umemCuda cuda;
  umemCudaHost pinned;
  umemCudaManaged managed;
  static char bytes[8192];
  need_simulation();
  program_enter(0);
  must(StreamCreate(&stream, 0));
  must(StreamBeginCapture(stream, 0));
  open_device(&cuda, 0, UMEM_CUDA_POOL, NULL);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
  assert_ok(umem_try_set(&pinned, allocated(&pinned, 99), 1, 99));
  assert_ok(umem_try_set(&managed, allocated(&managed, 99), 1, 99));
  assert_ok(umem_pin(&pinned, (uintptr_t)bytes, sizeof bytes));
  assert_ok(umem_unpin(&pinned, (uintptr_t)bytes));
  assert_ok(umem_dtor(&managed));
  assert_ok(umem_dtor(&pinned));
  assert_ok(umem_dtor(&cuda));
  must(StreamEndCapture(stream, &graph));
  must(StreamDestroy(stream));
  program_leave(0);
}

/* Nothing can come after what is not executed: that is told, and the capture
   goes on. What is given back does not wait. */
static void use_while_captured_itself(void const *ctx, cuStream stream) {
  char bytes[100] = "";
  uintptr_t const in = (uintptr_t)bytes, adr = allocated(ctx, sizeof bytes);
  static char const why[] = "stream is being captured";
  uintptr_t other;
  cuGraph graph;
  must(StreamBeginCapture(stream, UMEMI_CU_STREAM_CAPTURE_MODE_RELAXED));
  assert_fails(ctx, umem_try_set(ctx, adr, 1, 8), umemRuntimeError, why);
  assert_fails(ctx, umem_copy_to(&host, in, ctx, adr, 8), umemRuntimeError,
               why);
  assert_fails(ctx, umem_copy_to(ctx, adr, &host, in, 8), umemRuntimeError,
               why);
  assert_fails(ctx, umem_copy_to(ctx, adr, ctx, adr + 8, 8), umemRuntimeError,
               why);
  assert_ok(umem_try_alloc(ctx, 100, &other));
  assert_ok(umem_free(ctx, other));
  must(StreamEndCapture(stream, &graph));
  assert_ok(umem_try_set(ctx, adr, 2, sizeof bytes));
  assert_ok(umem_copy_to(ctx, adr, &host, in, sizeof bytes));
  assert_true(all_bytes_are(bytes, sizeof bytes, 2));
  umem_clean_status(&host);
}

static void capture__of_the_contexts_own_stream_is_told(void **state) {
  (void)state;
  umemCuda cuda, pooled;
  umemCudaManaged managed;
  cuStream stream;
  need_simulation();
  program_enter(0);
  must(StreamCreate(&stream, UMEMI_CU_STREAM_NON_BLOCKING));
  open_device(&cuda, 0, 0, stream);
  open_device(&pooled, 0, UMEM_CUDA_POOL, stream);
  assert_ok(umemCudaManaged_ctor(&managed, 0, true, stream));
  use_while_captured_itself(&cuda, stream);
  use_while_captured_itself(&pooled, stream);
  use_while_captured_itself(&managed, stream);
  assert_ok(umem_dtor(&managed));
  assert_ok(umem_dtor(&pooled));
  assert_ok(umem_dtor(&cuda));
  must(StreamDestroy(stream));
  program_leave(0);
}

/* --- what fails leaves nothing behind ------------------------------------- */

static int role_small_device(void) {
  enum { SIZE = 10 * MIB };
  unsigned char *bytes = bytes_new(SIZE, 1);
  uintptr_t adr;
  umemCuda ctx;
  open_device(&ctx, 0, 0, NULL);
  size_t const used = client.sim.used(0);
  assert_fails(&ctx,
               umem_try_connect(&host, (uintptr_t)bytes, SIZE, &ctx, 0, &adr),
               umemMemoryError, "CUDA_ERROR_OUT_OF_MEMORY");
  assert_int_equal(client.sim.used(0), used);
  assert_int_equal(client.sim.live(SIMCU_DEVICE), 0);
  adr = umem_connect(&host, (uintptr_t)bytes, SIZE / 4, &ctx, 0);
  assert_true(adr != 0);
  assert_ok(umem_disconnect(&host, (uintptr_t)bytes, &ctx, adr, 0));
  assert_int_equal(client.sim.used(0), used);
  umem_clean_status(&host);
  assert_ok(umem_dtor(&ctx));
  free(bytes);
  return cuda_teardown(NULL);
}

static void connect__to_a_full_device_leaves_nothing(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("small device", "SIMCU_MEM=8388608");
}

/* In the middle of a copy: the second slot is the one that fails. */
static void connect__whose_copy_fails_leaves_nothing(void **state) {
  (void)state;
  enum { SIZE = 5 * MIB };
  umemCuda ctx;
  unsigned char *bytes = bytes_new(SIZE, 1);
  uintptr_t adr;
  need_simulation();
  open_device(&ctx, 0, 0, NULL);
  size_t const used = client.sim.used(0);
  for (long nth = 1; nth <= 3; nth++) {
    client.sim.inject("cuMemcpyHtoDAsync_v2", nth,
                      UMEMI_CUDA_ERROR_OUT_OF_MEMORY, SIMCU_ONCE);
    assert_fails(
        &ctx, umem_try_connect(&host, (uintptr_t)bytes, SIZE, &ctx, 0, &adr),
        umemMemoryError, "cuMemcpyHtoDAsync: CUDA_ERROR_OUT_OF_MEMORY (2)");
    assert_int_equal(client.sim.used(0), used);
    assert_int_equal(client.sim.pending(), 0);
  }
  umem_clean_status(&host);
  free(bytes);
  assert_ok(umem_dtor(&ctx));
}

/* What has been begun is given back; but where the driver does not restore what
   was current there is no way back. */
static void fail_to_construct(long nth, bool *reached_out) {
  umemCuda ctx;
  umemCudaOptions options = {.size = sizeof options, .flags = UMEM_CUDA_POOL};
  cuCaptureMode mode = 0;
  cuContext context;
  client.sim.inject(NULL, nth, UMEMI_CUDA_ERROR_OUT_OF_MEMORY, SIMCU_ONCE);
  umemCuda_ctor_ex(&ctx, 0, &options);
  char const *failed = client.sim.injected();
  client.sim.forget();
  assert_ok(umem_dtor(&ctx));
  int const found = find_lives();
  if (!failed || !restores(failed))
    assert_int_equal(found, -1);
  while (client.sim.stack_depth())
    must(CtxPopCurrent(&context));
  must(ThreadExchangeStreamCaptureMode(&mode));
  *reached_out = failed != NULL;
}

static int role_failing_ctor(void) {
  bool reached = true;
  long nth = 1;
  for (; reached; nth++)
    fail_to_construct(nth, &reached);
  return nth > 10 ? 0 : EXIT_FAILURE;
}

static void ctor__that_fails_leaves_nothing(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("failing ctor", NULL);
}

static void ctor__without_memory_leaves_nothing(void **state) {
  (void)state;
  umemCuda ctx;
  for (unsigned k = 1; k <= 4; k++) {
    faults_install();
    faults_fail(FAULT_calloc, k, ENOMEM);
    umemStatusType status = umemCuda_ctor(&ctx, 0);
    faults_reset();
    assert_true(status == umemOK || status == umemMemoryError);
    assert_ok(umem_dtor(&ctx));
    if (is_simulated())
      assert_nothing_lives();
  }
}

/* Pinned slots are no must: the driver stages by itself then. */
static void copies__work_without_slots(void **state) {
  (void)state;
  enum { SIZE = 5 * MIB };
  umemCuda ctx;
  unsigned char *bytes = bytes_new(2 * SIZE, 1);
  uintptr_t const in = (uintptr_t)bytes;
  need_simulation();
  open_device(&ctx, 0, 0, NULL);
  uintptr_t adr = allocated(&ctx, SIZE);
  client.sim.inject("cuMemHostAlloc", 1, UMEMI_CUDA_ERROR_OUT_OF_MEMORY,
                    SIMCU_FROM_THEN_ON);
  assert_ok(umem_copy_to(&host, in, &ctx, adr, SIZE));
  assert_ok(umem_copy_to(&ctx, adr, &host, in + SIZE, SIZE));
  assert_memory_equal(bytes, bytes + SIZE, SIZE);
  free(bytes);
  assert_ok(umem_dtor(&ctx));
}

/* --- errors that stay: a process of their own ----------------------------- */

static char const note[] = "the first failure after which the device answers "
                           "nothing else was 700";

#define assert_broken(ctx, call)                                               \
  do {                                                                         \
    assert_status(call, umemRuntimeError);                                     \
    assert_int_equal(last_error(ctx).native, 700);                             \
    assert_slot(ctx, umemRuntimeError, note);                                  \
  } while (0)

static void use_broken(umemCuda *ctx, uintptr_t adr) {
  unsigned char bytes[64];
  uintptr_t const in = (uintptr_t)bytes;
  uintptr_t other;
  assert_broken(ctx, umem_try_alloc(ctx, 8, &other));
  assert_broken(ctx, umem_copy_to(ctx, adr, &host, in, 8));
  assert_broken(ctx, umem_copy_to(&host, in, ctx, adr, 8));
  assert_broken(ctx, umem_copy_to(ctx, adr, ctx, adr + 8, 8));
  assert_broken(ctx, umem_try_set(ctx, adr, 1, 8));
  umem_clean_status(&host);
}

static int role_sticky(void) {
  char byte = 1;
  umemCuda ctx, other, fresh;
  cuContext broken; /* goes on with the error */
  open_device(&ctx, 0, 0, NULL);
  must(DevicePrimaryCtxRetain(&broken, 0));
  open_device(&other, 1, 0, NULL);
  uintptr_t adr = allocated(&ctx, 64), well = allocated(&other, 64);
  for (int i = 0; i < 100; i++)
    allocated(&ctx, 64);
  client.sim.inject("cuMemcpyHtoD_v2", 1, UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS,
                    SIMCU_ONCE);
  assert_fails(&ctx, umem_copy_to(&host, (uintptr_t)&byte, &ctx, adr, 1),
               umemRuntimeError, "CUDA_ERROR_ILLEGAL_ADDRESS (700)");
  for (int i = 0; i < 3; i++)
    use_broken(&ctx, adr);
  assert_broken(&ctx, umem_free(&ctx, adr));
  assert_ok(umem_try_set(&other, well, 1, 64)); /* the other device goes on */
  assert_ok(umem_dtor(&other));
  umemStatusType ended = umem_dtor(&ctx);
  assert_true(ended == umemOK || ended == umemRuntimeError);
  if (umemCuda_ctor(&fresh, 0) == umemOK)
    assert_broken(&fresh, umem_try_alloc(&fresh, 8, &adr));
  umem_dtor(&fresh);
  return client.sim.violations();
}

static void errors__that_stay_are_told_with_the_first_one(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("sticky", NULL);
}

/* --- main ----------------------------------------------------------------- */

static struct role const roles[] = {
    {"failing", role_failing}, {"failing ctor", role_failing_ctor},
    {"managed", role_managed}, {"small device", role_small_device},
    {"sticky", role_sticky},
};

#define rules_test(f) cmocka_unit_test_teardown(f, cuda_teardown)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      rules_test(current__none_stays_none),
      rules_test(current__primary_context_stays_so),
      rules_test(current__context_of_another_device_stays_so),
      rules_test(current__foreign_context_stays_so),
      rules_test(current__mode_of_captures_stays_so),
      rules_test(current__context_stays_so_when_the_driver_fails),
      rules_test(work__of_the_default_stream_comes_first),
      rules_test(work__of_a_blocking_stream_comes_first),
      rules_test(work__of_the_contexts_own_stream_comes_first),
      rules_test(work__of_other_streams_is_not_waited_for),
      rules_test(work__of_both_devices_comes_first),
      rules_test(calls__are_through_when_they_return),
      rules_test(calls__between_devices_are_through_when_they_return),
      rules_test(copies__do_not_look_at_the_host_later),
      rules_test(driver__is_called_once_for_a_copy),
      rules_test(driver__is_called_once_for_managed_memory),
      rules_test(driver__reads_files_from_pinned_memory),
      rules_test(driver__gets_a_slot_at_a_time),
      rules_test(driver__makes_nothing_in_the_long_run),
      rules_test(contexts__share_what_a_device_keeps),
      rules_test(managed__memory_is_the_hosts_inside_of_calls),
      rules_test(capture__of_a_blocking_stream_goes_on),
      rules_test(capture__of_a_non_blocking_stream_goes_on),
      rules_test(capture__goes_on_when_contexts_come_and_go),
      rules_test(capture__of_the_contexts_own_stream_is_told),
      rules_test(connect__to_a_full_device_leaves_nothing),
      rules_test(connect__whose_copy_fails_leaves_nothing),
      rules_test(ctor__that_fails_leaves_nothing),
      rules_test(ctor__without_memory_leaves_nothing),
      rules_test(copies__work_without_slots),
      rules_test(errors__that_stay_are_told_with_the_first_one),
  };
  client_load(&client, "libcuda.so.1");
  assert_ok(umemHost_ctor(&host));
  int const absent = rig_find_device();
  if (!absent && argc > 1)
    return rig_play(roles, LENGTH(roles), argv[1]);
  return absent ? absent
                : cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
