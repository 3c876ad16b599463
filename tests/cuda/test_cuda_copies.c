/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies of CUDA: of memory that is registered in part, in one visit, and of
   blocks of pools that nobody waits for. */
#include "rig.h"

enum { ALL = 20 * MIB, CALLS_MAX = 12 };

#define must(call) assert_int_equal(client.cu.call, UMEMI_CUDA_SUCCESS)

static bool is_lazy(void) {
  char const *mode = getenv("SIMCU_MODE");
  return !mode || strcmp(mode, "lazy") == 0;
}

static void open_with(umemCuda *ctx, uint32_t flags) {
  umemCudaOptions options = {.size = sizeof options, .flags = flags};
  assert_ok(umemCuda_ctor_ex(ctx, 0, &options));
}

/* On whole pages. */
static unsigned char *pages_new(size_t nbytes, uint64_t seed) {
  void *pages = NULL;
  assert_int_equal(posix_memalign(&pages, UMEMI_PAGE, nbytes), 0);
  random_bytes(pages, nbytes, seed);
  return pages;
}

/* --- memory that is registered in part ------------------------------------ */

/* Host memory of which others have registered parts. */
struct range {
  size_t start, end; /* no end: nothing */
};

struct parts {
  struct range first, second;
  size_t from, nbytes; /* that are copied */
};

static struct parts const parts[] = {
    {{0, 4 * KIB}, {0, 0}, 0, 8 * KIB},
    {{4 * KIB, 8 * KIB}, {0, 0}, 0, 8 * KIB},
    {{4 * KIB, 8 * KIB}, {8 * KIB, 12 * KIB}, 6 * KIB, 4 * KIB},
    {{0, 512 * KIB}, {0, 0}, 100, MIB},
    {{512 * KIB, MIB}, {0, 0}, 0, MIB},
    {{0, 8 * MIB}, {8 * MIB, 16 * MIB}, MIB, 14 * MIB},
    {{0, 6 * MIB}, {0, 0}, 13, 19 * MIB},
    {{13 * MIB, 19 * MIB}, {0, 0}, 0, ALL},
    {{MIB, 2 * MIB}, {3 * MIB, 4 * MIB}, 0, ALL},
};

struct registered {
  umemCuda ctx;
  unsigned char *bytes, *saved;
  uintptr_t adr;
  struct parts const *parts;
};

static void pin_range(struct registered *r, struct range const *range) {
  if (range->end)
    assert_ok(umem_pin(&r->ctx, (uintptr_t)r->bytes + range->start,
                       range->end - range->start));
}

static void unpin_range(struct registered *r, struct range const *range) {
  if (range->end)
    assert_ok(umem_unpin(&r->ctx, (uintptr_t)r->bytes + range->start));
}

static void registered_begin(struct registered *r, struct parts const *of,
                             uint32_t flags) {
  *r = (struct registered){.bytes = pages_new(ALL, 1), .parts = of};
  r->saved = malloc(ALL);
  assert_non_null(r->saved);
  memcpy(r->saved, r->bytes, ALL);
  open_with(&r->ctx, flags);
  r->adr = allocated(&r->ctx, ALL);
  pin_range(r, &of->first);
  pin_range(r, &of->second);
}

static void registered_end(struct registered *r) {
  unpin_range(r, &r->parts->first);
  unpin_range(r, &r->parts->second);
  assert_ok(umem_free(&r->ctx, r->adr));
  assert_ok(umem_dtor(&r->ctx));
  free(r->saved);
  free(r->bytes);
}

/* There and back, each byte, and none beside them. */
static void expect_round_trip(struct parts const *of, uint32_t flags) {
  struct registered r;
  registered_begin(&r, of, flags);
  uintptr_t at = (uintptr_t)r.bytes + of->from;
  assert_ok(umem_copy_to(&host, at, &r.ctx, r.adr, of->nbytes));
  memset((void *)at, 0, of->nbytes);
  assert_ok(umem_copy_to(&r.ctx, r.adr, &host, at, of->nbytes));
  assert_memory_equal(r.bytes, r.saved, ALL);
  registered_end(&r);
}

static void registered_parts__are_copied_as_all_memory_is(void **state) {
  (void)state;
  unsigned const threads = umem_get_threads();
  for (unsigned helpers = 0; helpers < 4; helpers += 3) {
    assert_ok(umem_set_threads(helpers));
    for (size_t i = 0; i < LENGTH(parts); i++) {
      expect_round_trip(&parts[i], 0);
      expect_round_trip(&parts[i], UMEM_CUDA_POOL);
    }
  }
  assert_ok(umem_set_threads(threads));
}

/* In rows of 1000 bytes with gaps. */
static void registered_parts__are_copied_in_rows(void **state) {
  (void)state;
  enum { ROW = 1000, PITCH = 1500 };
  for (size_t i = 0; i < LENGTH(parts); i++) {
    struct parts const *of = &parts[i];
    size_t const rows = of->nbytes / PITCH;
    struct registered r;
    registered_begin(&r, of, 0);
    uintptr_t at = (uintptr_t)r.bytes + of->from;
    assert_ok(umem_copy_2d(&host, at, PITCH, &r.ctx, r.adr, ROW, ROW, rows));
    for (size_t k = 0; k < rows; k++)
      memset((void *)(at + k * PITCH), 0, ROW);
    assert_ok(umem_copy_2d(&r.ctx, r.adr, ROW, &host, at, PITCH, ROW, rows));
    assert_memory_equal(r.bytes, r.saved, ALL);
    registered_end(&r);
  }
}

/* A row that is larger than a slot. */
static void registered_parts__are_copied_in_long_rows(void **state) {
  (void)state;
  enum { ROW = 3 * MIB / 2 + 7, PITCH = 2 * MIB, ROWS = 9 };
  struct registered r;
  registered_begin(&r, &parts[7], 0);
  uintptr_t at = (uintptr_t)r.bytes;
  assert_ok(umem_copy_2d(&host, at, PITCH, &r.ctx, r.adr, ROW, ROW, ROWS));
  for (size_t k = 0; k < ROWS; k++)
    memset((void *)(at + k * PITCH), 0, ROW);
  assert_ok(umem_copy_2d(&r.ctx, r.adr, ROW, &host, at, PITCH, ROW, ROWS));
  assert_memory_equal(r.bytes, r.saved, ALL);
  registered_end(&r);
}

/* Nothing moves where all is one call. */
static void registered_parts__past_the_end_of_a_block_are_errors(void **s) {
  (void)s;
  struct registered r;
  need_strict_memory();
  for (size_t i = 0; i < LENGTH(parts); i++) {
    struct parts const *of = &parts[i];
    unsigned char first = 0;
    registered_begin(&r, of, 0);
    uintptr_t at = (uintptr_t)r.bytes + of->from;
    uintptr_t end = r.adr + ALL - of->nbytes + 1024;
    assert_ok(umem_try_set(&r.ctx, r.adr, 'd', ALL));
    assert_fails(&r.ctx, umem_copy_to(&host, at, &r.ctx, end, of->nbytes),
                 umemIndexError, "leave the device's block of");
    assert_int_equal(client.sim.peek(end, &first, 1), 0);
    if (of->nbytes < umemi_tuning()->gpu_ring_from)
      assert_int_equal(first, 'd');
    assert_fails(&r.ctx, umem_copy_to(&r.ctx, end, &host, at, of->nbytes),
                 umemIndexError, "leave the device's block of");
    umem_clean_status(&host);
    client.sim.forget(); /* that the block was left was meant */
    registered_end(&r);
  }
}

static void registered_parts__without_slots_are_memory_errors(void **state) {
  (void)state;
  struct registered r;
  need_simulation();
  registered_begin(&r, &parts[4], 0);
  client.sim.inject("cuMemHostAlloc", 1, UMEMI_CUDA_ERROR_OUT_OF_MEMORY,
                    SIMCU_FROM_THEN_ON);
  assert_fails(&r.ctx,
               umem_copy_to(&host, (uintptr_t)r.bytes, &r.ctx, r.adr, MIB),
               umemMemoryError, "cuMemHostAlloc");
  umem_clean_status(&host);
  client.sim.forget();
  registered_end(&r);
}

/* --- one visit ------------------------------------------------------------ */

static void assert_calls(char const *symbol, long expected) {
  if (client.sim.calls(symbol) != expected)
    fail_msg("%ld calls of %s, not %ld", client.sim.calls(symbol), symbol,
             expected);
}

/* The thread enters once, and the default stream is asked for once. */
static void expect_one_visit(umemCuda *ctx, uintptr_t adr, uintptr_t at,
                             size_t nbytes) {
  for (int way = 0; way < 2; way++) {
    client.sim.forget();
    if (way)
      assert_ok(umem_copy_to(ctx, adr, &host, at, nbytes));
    else
      assert_ok(umem_copy_to(&host, at, ctx, adr, nbytes));
    assert_calls("cuCtxPushCurrent_v2", 1);
    assert_calls("cuCtxPopCurrent_v2", 1);
    assert_calls("cuStreamIsCapturing", 1);
    assert_in_range(client.sim.calls("cuStreamWaitEvent"), 0, 1);
    assert_in_range(client.sim.calls("cuStreamSynchronize"), 0, 1);
  }
}

static void copies__of_any_size_are_one_visit(void **state) {
  (void)state;
  unsigned const threads = umem_get_threads();
  enum { MOST = 64 * MIB };
  unsigned char *bytes = pages_new(MOST, 2);
  umemCuda ctx;
  need_simulation();
  assert_ok(umem_set_threads(0));
  open_with(&ctx, 0);
  uintptr_t adr = allocated(&ctx, MOST);
  for (size_t nbytes = 8; nbytes <= MOST; nbytes *= 8)
    expect_one_visit(&ctx, adr, (uintptr_t)bytes, nbytes);
  expect_one_visit(&ctx, adr, (uintptr_t)bytes, MOST);
  assert_ok(umem_pin(&ctx, (uintptr_t)bytes, MOST));
  for (size_t nbytes = 8; nbytes <= MOST; nbytes *= 8) {
    expect_one_visit(&ctx, adr, (uintptr_t)bytes, nbytes);
    assert_in_range(client.sim.calls(NULL), 1, CALLS_MAX);
  }
  assert_ok(umem_unpin(&ctx, (uintptr_t)bytes));
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_set_threads(threads));
  free(bytes);
}

/* The GPU moves all of it by itself; threads would do nothing but wait. */
static void copies__of_pinned_memory_are_one_call(void **state) {
  (void)state;
  enum { MOST = 64 * MIB };
  umemCuda ctx;
  umemCudaHost pinned;
  need_simulation();
  open_with(&ctx, 0);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  uintptr_t adr = allocated(&ctx, MOST), at = allocated(&pinned, MOST);
  client.sim.forget();
  assert_ok(umem_copy_to(&pinned, at, &ctx, adr, MOST));
  assert_calls("cuMemcpyHtoDAsync_v2", 1);
  assert_ok(umem_copy_to(&ctx, adr, &pinned, at, MOST));
  assert_calls("cuMemcpyDtoHAsync_v2", 1);
  assert_ok(umem_dtor(&pinned));
  assert_ok(umem_dtor(&ctx));
}

/* Threads that help come after the same event. */
static void copies__with_help_ask_the_default_stream_once(void **state) {
  (void)state;
  unsigned const threads = umem_get_threads();
  enum { MOST = 64 * MIB };
  unsigned char *bytes = pages_new(MOST, 3), *back = pages_new(MOST, 4);
  umemCuda ctx;
  need_simulation();
  assert_ok(umem_set_threads(7));
  open_with(&ctx, 0);
  uintptr_t adr = allocated(&ctx, MOST);
  client.sim.forget();
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &ctx, adr, MOST));
  assert_calls("cuStreamIsCapturing", 1);
  assert_ok(umem_copy_to(&ctx, adr, &host, (uintptr_t)back, MOST));
  assert_calls("cuStreamIsCapturing", 2);
  assert_memory_equal(bytes, back, MOST);
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_set_threads(threads));
  free(back);
  free(bytes);
}

/* The first failure is told, whoever it happens to. */
static void copies__with_help_tell_a_failure(void **state) {
  (void)state;
  unsigned const threads = umem_get_threads();
  enum { MOST = 32 * MIB };
  unsigned char *bytes = pages_new(MOST, 5);
  umemCuda ctx;
  need_simulation();
  assert_ok(umem_set_threads(7));
  open_with(&ctx, 0);
  uintptr_t adr = allocated(&ctx, MOST);
  for (long nth = 1; nth < MOST / UMEMI_GPU_SLOT; nth += 5)
    for (int way = 0; way < 2; way++) {
      client.sim.inject(way ? "cuMemcpyDtoHAsync_v2" : "cuMemcpyHtoDAsync_v2",
                        nth, UMEMI_CUDA_ERROR_UNKNOWN, SIMCU_ONCE);
      umemStatusType status =
          way ? umem_copy_to(&ctx, adr, &host, (uintptr_t)bytes, MOST)
              : umem_copy_to(&host, (uintptr_t)bytes, &ctx, adr, MOST);
      assert_status(status, umemRuntimeError);
      assert_has(umem_get_message(&ctx), "CUDA_ERROR_UNKNOWN (999)");
    }
  umem_clean_status(&ctx);
  umem_clean_status(&host);
  client.sim.forget();
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_set_threads(threads));
  free(bytes);
}

/* --- pools ---------------------------------------------------------------- */

/* The program's work is queued, and stays so. */
static void pools__wait_for_nobody(void **state) {
  (void)state;
  cuContext context;
  cuStream stream;
  umemCuda ctx;
  need_simulation();
  if (!is_lazy())
    skip(); /* it may be done by chance */
  open_with(&ctx, UMEM_CUDA_POOL);
  uintptr_t a = allocated(&ctx, MIB);
  must(DevicePrimaryCtxRetain(&context, 0));
  must(CtxPushCurrent(context));
  must(StreamCreate(&stream, 0));
  must(MemsetD8Async(a, 'a', MIB, stream));
  client.sim.forget();
  size_t const pending = client.sim.pending();
  assert_ok(umem_free(&ctx, a));
  assert_in_range(client.sim.pending(), pending + 1, pending + 3);
  assert_in_range(client.sim.calls(NULL), 1, 8);
  assert_calls("cuStreamSynchronize", 0);
  uintptr_t b = allocated(&ctx, MIB);
  assert_in_range(client.sim.pending(), pending + 1, pending + 3);
  assert_ok(umem_free(&ctx, b));
  must(StreamDestroy(stream));
  must(CtxPopCurrent(&context));
  must(DevicePrimaryCtxRelease(0));
  assert_ok(umem_dtor(&ctx));
}

/* Where there is no more, it waits for what is to be freed. */
static void pools__that_are_short_wait_for_what_is_freed(void **state) {
  (void)state;
  umemCuda ctx;
  need_simulation();
  open_with(&ctx, UMEM_CUDA_POOL);
  uintptr_t a = allocated(&ctx, MIB);
  client.sim.inject("cuMemAllocFromPoolAsync", 1,
                    UMEMI_CUDA_ERROR_OUT_OF_MEMORY, SIMCU_ONCE);
  assert_ok(umem_free(&ctx, a));
  a = allocated(&ctx, MIB);
  assert_int_equal(client.sim.pending(), 0);
  client.sim.inject("cuMemAllocFromPoolAsync", 1,
                    UMEMI_CUDA_ERROR_OUT_OF_MEMORY, SIMCU_FROM_THEN_ON);
  uintptr_t none;
  assert_fails(&ctx, umem_try_alloc(&ctx, MIB, &none), umemMemoryError,
               "cuMemAllocFromPoolAsync");
  client.sim.forget();
  assert_ok(umem_free(&ctx, a));
  assert_ok(umem_dtor(&ctx));
}

/* Threads free and allocate while others of their blocks are in use. */
static void pools__never_give_out_what_is_in_use(void **state) {
  (void)state;
  enum { BLOCKS = 50 };
  cuContext context;
  umemCuda ctx;
  unsigned char got[100];
  open_with(&ctx, UMEM_CUDA_POOL);
  must(DevicePrimaryCtxRetain(&context, 0));
  must(CtxPushCurrent(context));
  for (int i = 0; i < BLOCKS; i++) {
    uintptr_t a = allocated(&ctx, sizeof got), b = allocated(&ctx, sizeof got);
    must(MemsetD8Async(a, (unsigned char)i, sizeof got, NULL));
    must(MemcpyDtoDAsync(b, a, sizeof got, NULL));
    assert_ok(umem_free(&ctx, a));
    uintptr_t other = allocated(&ctx, sizeof got);
    assert_ok(umem_try_set(&ctx, other, 0xEE, sizeof got));
    assert_ok(umem_copy_to(&ctx, b, &host, (uintptr_t)got, sizeof got));
    for (size_t k = 0; k < sizeof got; k++)
      assert_int_equal(got[k], i);
    assert_ok(umem_free(&ctx, b));
    assert_ok(umem_free(&ctx, other));
  }
  must(CtxPopCurrent(&context));
  must(DevicePrimaryCtxRelease(0));
  assert_ok(umem_dtor(&ctx));
}

#define copies_test(name) cmocka_unit_test_teardown(name, cuda_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      copies_test(registered_parts__are_copied_as_all_memory_is),
      copies_test(registered_parts__are_copied_in_rows),
      copies_test(registered_parts__are_copied_in_long_rows),
      copies_test(registered_parts__past_the_end_of_a_block_are_errors),
      copies_test(registered_parts__without_slots_are_memory_errors),
      copies_test(copies__of_any_size_are_one_visit),
      copies_test(copies__of_pinned_memory_are_one_call),
      copies_test(copies__with_help_ask_the_default_stream_once),
      copies_test(copies__with_help_tell_a_failure),
      copies_test(pools__wait_for_nobody),
      copies_test(pools__that_are_short_wait_for_what_is_freed),
      copies_test(pools__never_give_out_what_is_in_use),
  };
  client_load(&client, "libcuda.so.1");
  assert_ok(umemHost_ctor(&host));
  int const absent = rig_find_device();
  return absent ? absent
                : cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
