/* SPDX-License-Identifier: BSD-3-Clause */
/* Rectangles of CUDA: each byte in its place, in few calls of the driver, after
   what the program has queued. */
#include "rig.h"

enum { ROOM = 4 * MIB, CALLS_MAX = 12 };

#define must(call) assert_int_equal(client.cu.call, UMEMI_CUDA_SUCCESS)

/* A rectangle, from the start of one place to another. */
struct shape {
  size_t row, rows, src_pitch, dest_pitch;
};

static struct shape const shapes[] = {
    {1, 2, 1, 3},
    {64, 1000, 4000, 70},
    {64, 1000, 64, 4000},
    {100, 300, 150, 200},
    {30 * KIB, 40, 31 * KIB, 100 * KIB},
    {MIB, 2, MIB + 1, 2 * MIB},
};

/* --- places: memory of each kind ------------------------------------------ */

typedef union anyPlace {
  umemHost host;
  umemCuda cuda;
  umemCudaHost pinned;
  umemCudaManaged managed;
  umemFile file;
} anyPlace;

enum kind { HOST, DEVICE, POOL, OTHER_DEVICE, PINNED, MANAGED, DISK, KINDS };

struct place {
  anyPlace ctx;
  uintptr_t adr;
};

static void place_begin(struct place *place, enum kind kind, char const *name) {
  umemCudaOptions options = {.size = sizeof options, .flags = UMEM_CUDA_POOL};
  void *ctx = &place->ctx;
  if (kind == HOST)
    assert_ok(umemHost_ctor(ctx));
  else if (kind == DEVICE || kind == OTHER_DEVICE)
    assert_ok(umemCuda_ctor(ctx, kind == OTHER_DEVICE));
  else if (kind == POOL)
    assert_ok(umemCuda_ctor_ex(ctx, 0, &options));
  else if (kind == PINNED)
    assert_ok(umemCudaHost_ctor(ctx, 0));
  else if (kind == MANAGED)
    assert_ok(umemCudaManaged_ctor(ctx, 0, false, NULL));
  else
    assert_ok(umemFile_ctor(ctx, temp_path(name), "w+"));
  place->adr = kind == DISK ? 0 : allocated(ctx, ROOM);
}

static void place_end(struct place *place, enum kind kind) {
  if (kind != DISK)
    assert_ok(umem_free(&place->ctx, place->adr));
  assert_ok(umem_dtor(&place->ctx));
}

static unsigned char *random_block(size_t nbytes, uint64_t seed) {
  unsigned char *bytes = malloc(nbytes);
  assert_non_null(bytes);
  random_bytes(bytes, nbytes, seed);
  return bytes;
}

static unsigned char *noise(uint64_t seed) {
  return random_block(ROOM, seed);
}

static umemStatusType copy(void const *src, uintptr_t from, void const *dest,
                           uintptr_t to, struct shape const *s) {
  return umem_copy_2d(src, from, s->src_pitch, dest, to, s->dest_pitch, s->row,
                      s->rows);
}

/* --- each byte ------------------------------------------------------------ */

static void expect_rows(struct place *src, struct place *dest,
                        struct shape const *s) {
  unsigned char *in = noise(1), *want = noise(2), *got = malloc(ROOM);
  assert_non_null(got);
  assert_ok(umem_copy_to(&host, (uintptr_t)in, &src->ctx, src->adr, ROOM));
  assert_ok(umem_copy_to(&host, (uintptr_t)want, &dest->ctx, dest->adr, ROOM));
  assert_ok(copy(&src->ctx, src->adr, &dest->ctx, dest->adr, s));
  for (size_t i = 0; i < s->rows; i++)
    memcpy(want + i * s->dest_pitch, in + i * s->src_pitch, s->row);
  assert_ok(umem_copy_to(&dest->ctx, dest->adr, &host, (uintptr_t)got, ROOM));
  bool same = memcmp(got, want, ROOM) == 0;
  free(got);
  free(want);
  free(in);
  assert_true(same);
}

static void expect_rows_of(enum kind from, enum kind to) {
  struct place src, dest;
  if ((from == OTHER_DEVICE || to == OTHER_DEVICE) &&
      umem_device_count(umemCudaDevice) < 2)
    return;
  place_begin(&src, from, "source");
  place_begin(&dest, to, "destination");
  for (size_t i = 0; i < LENGTH(shapes); i++)
    expect_rows(&src, &dest, &shapes[i]);
  place_end(&dest, to);
  place_end(&src, from);
}

static void rows__of_each_pair_of_kinds_are_in_their_place(void **state) {
  (void)state;
  for (enum kind from = 0; from < KINDS; from++)
    for (enum kind to = 0; to < KINDS; to++)
      if (from == DEVICE || to == DEVICE ||
          (from <= OTHER_DEVICE && to <= OTHER_DEVICE))
        expect_rows_of(from, to);
}

/* What a driver does not take at once it takes row by row. */
static void refuse(char const *symbol) {
  client.sim.inject(symbol, 1, UMEMI_CUDA_ERROR_INVALID_VALUE,
                    SIMCU_FROM_THEN_ON);
}

static void rows__that_the_driver_refuses_are_moved(void **state) {
  (void)state;
  need_simulation();
  for (enum kind other = HOST; other <= MANAGED; other++) {
    refuse(other == OTHER_DEVICE ? "cuMemcpy3DPeerAsync"
                                 : "cuMemcpy2DAsync_v2");
    expect_rows_of(other, DEVICE);
    expect_rows_of(DEVICE, other);
    client.sim.forget();
  }
}

static void expect_overlap(struct shape const *s, size_t from, size_t to,
                           size_t all) {
  struct place place;
  unsigned char *in = random_block(all, 3), *want = random_block(all, 3);
  unsigned char *got = random_block(all, 4);
  assert_ok(umemCuda_ctor(&place.ctx.cuda, 0));
  place.adr = allocated(&place.ctx, all);
  assert_ok(umem_copy_to(&host, (uintptr_t)in, &place.ctx, place.adr, all));
  assert_ok(copy(&place.ctx, place.adr + from, &place.ctx, place.adr + to, s));
  assert_ok(umem_copy_to(&place.ctx, place.adr, &host, (uintptr_t)got, all));
  for (size_t i = 0; i < s->rows; i++)
    memcpy(want + to + i * s->dest_pitch, in + from + i * s->src_pitch, s->row);
  bool same = memcmp(got, want, all) == 0;
  place_end(&place, DEVICE);
  free(got);
  free(want);
  free(in);
  assert_true(same);
}

/* Up, down, and both; in one piece, in several, and with rows too long for
   that. */
static void rows__that_overlap_are_read_before_they_are_written(void **state) {
  (void)state;
  struct shape const equal = {60, 100, 100, 100}, some = {60, 100, 100, 90},
                     large = {3 * MIB, 8, 3 * MIB + 64, 3 * MIB + 64},
                     both = {3 * MIB, 8, 3 * MIB, 4 * MIB},
                     lines = {17 * MIB, 2, 18 * MIB, 18 * MIB};
  expect_overlap(&equal, 0, 350, 20000);
  expect_overlap(&equal, 350, 0, 20000);
  expect_overlap(&equal, 100, 130, 20000);
  expect_overlap(&equal, 100, 100, 20000);
  expect_overlap(&some, 0, 400, 20000);
  expect_overlap(&some, 500, 100, 20000);
  expect_overlap(&large, 0, MIB, 32 * MIB);
  expect_overlap(&large, MIB, 0, 32 * MIB);
  expect_overlap(&both, 4 * MIB, 0, 33 * MIB);
  expect_overlap(&lines, 0, 100, 40 * MIB);
}

/* --- calls of the driver -------------------------------------------------- */

static long calls_of(void const *src, uintptr_t from, void const *dest,
                     uintptr_t to, struct shape const *s) {
  client.sim.forget();
  assert_ok(copy(src, from, dest, to, s));
  return client.sim.calls(NULL);
}

static void expect_few_calls(uintptr_t memory, struct place *device,
                             size_t rows) {
  struct shape const in = {16, rows, 32, 40}, out = {16, rows, 40, 32};
  uintptr_t half = device->adr + ROOM / 2;
  assert_in_range(calls_of(&host, memory, &device->ctx, device->adr, &in), 1,
                  CALLS_MAX);
  assert_in_range(calls_of(&device->ctx, device->adr, &host, memory, &out), 1,
                  CALLS_MAX);
  assert_in_range(calls_of(&device->ctx, device->adr, &device->ctx, half, &in),
                  1, CALLS_MAX);
}

static void rows__of_any_number_take_few_calls(void **state) {
  (void)state;
  struct place device, pinned, managed;
  unsigned char *bytes = noise(4);
  need_simulation();
  place_begin(&device, DEVICE, "");
  place_begin(&pinned, PINNED, "");
  place_begin(&managed, MANAGED, "");
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &device.ctx, device.adr,
                         100 * KIB)); /* has a lane now */
  for (size_t rows = 2; rows < 50000; rows *= 20) {
    expect_few_calls((uintptr_t)bytes, &device, rows);
    expect_few_calls(pinned.adr, &device, rows);
    expect_few_calls(managed.adr, &device, rows);
  }
  place_end(&managed, MANAGED);
  place_end(&pinned, PINNED);
  place_end(&device, DEVICE);
  free(bytes);
}

/* Two visits, or three, where two contexts are to be waited for. */
static void expect_steady_calls(enum kind from, enum kind to) {
  struct shape const few = {16, 3, 32, 40}, many = {16, 10000, 32, 40};
  struct place a, b;
  place_begin(&a, from, "a");
  place_begin(&b, to, "b");
  calls_of(&a.ctx, a.adr, &b.ctx, b.adr, &few);
  long calls = calls_of(&a.ctx, a.adr, &b.ctx, b.adr, &few);
  assert_int_equal(calls_of(&a.ctx, a.adr, &b.ctx, b.adr, &many), calls);
  place_end(&b, to);
  place_end(&a, from);
}

static void rows__between_contexts_take_as_many_calls_as_few_rows(void **s) {
  (void)s;
  need_simulation();
  for (enum kind other = DEVICE; other <= MANAGED; other++) {
    expect_steady_calls(DEVICE, other);
    expect_steady_calls(other, DEVICE);
  }
}

static void columns__of_one_matrix_change_places_on_the_device(void **state) {
  (void)state;
  struct shape const s = {16, 10000, 100, 100};
  struct place device;
  need_simulation();
  place_begin(&device, DEVICE, "");
  calls_of(&device.ctx, device.adr, &device.ctx, device.adr + 50, &s);
  assert_in_range(
      calls_of(&device.ctx, device.adr, &device.ctx, device.adr + 50, &s), 1,
      CALLS_MAX);
  place_end(&device, DEVICE);
}

static void columns__of_memory_of_the_host_change_places_in_one_go(void **s) {
  (void)s;
  struct shape const few = {16, 3, 64, 64}, many = {16, 10000, 64, 64};
  need_simulation();
  for (enum kind kind = PINNED; kind <= MANAGED; kind++) {
    struct place p;
    place_begin(&p, kind, "");
    calls_of(&p.ctx, p.adr, &p.ctx, p.adr + 32, &few);
    long calls = calls_of(&p.ctx, p.adr, &p.ctx, p.adr + 32, &few);
    assert_int_equal(calls_of(&p.ctx, p.adr, &p.ctx, p.adr + 32, &many), calls);
    place_end(&p, kind);
  }
}

static void columns__that_touch_are_moved_in_few_calls(void **state) {
  (void)state;
  struct shape const s = {32, 10000, 64, 64};
  need_simulation();
  for (enum kind kind = DEVICE; kind <= POOL; kind++) {
    struct place p;
    place_begin(&p, kind, "");
    for (int i = 0; i < 2; i++)
      calls_of(&p.ctx, p.adr + 16, &p.ctx, p.adr, &s);
    assert_in_range(calls_of(&p.ctx, p.adr, &p.ctx, p.adr + 16, &s), 1,
                    CALLS_MAX + 4); /* and a block to move them through */
    place_end(&p, kind);
  }
}

/* Which only the driver may touch. */
static void rows__of_exclusive_managed_memory_take_few_calls(void **state) {
  (void)state;
  struct shape const rows = {16, 10000, 32, 40}, columns = {16, 10000, 64, 64};
  int const what = UMEMI_CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS;
  enum { MANY = 10 * CALLS_MAX }; /* of several devices */
  struct place managed, device;
  unsigned char *bytes = noise(7);
  uintptr_t in = (uintptr_t)bytes;
  need_simulation();
  client.sim.set_attribute(0, what, 0);
  place_begin(&managed, MANAGED, "");
  place_begin(&device, DEVICE, "");
  uintptr_t at = managed.adr, half = at + ROOM / 2;
  void *ctx = &managed.ctx;
  assert_in_range(calls_of(&host, in, ctx, at, &rows), 1, MANY);
  assert_in_range(calls_of(ctx, at, &host, in, &rows), 1, MANY);
  assert_in_range(calls_of(ctx, at, ctx, half, &rows), 1, MANY);
  assert_in_range(calls_of(ctx, at, ctx, at + 32, &columns), 1, MANY);
  assert_in_range(calls_of(ctx, at, ctx, at + 8, &columns), 1, MANY);
  assert_in_range(calls_of(ctx, at, &device.ctx, device.adr, &rows), 1, MANY);
  assert_in_range(calls_of(&device.ctx, device.adr, ctx, at, &rows), 1, MANY);
  expect_rows(&managed, &device, &shapes[2]);
  expect_rows(&device, &managed, &shapes[2]);
  place_end(&device, DEVICE);
  place_end(&managed, MANAGED);
  client.sim.set_attribute(0, what, 1);
  free(bytes);
}

/* --- order ---------------------------------------------------------------- */

/* Rows of a block that the program makes in a stream of its own, while the
   copy is between a context that follows the stream and one that does not. */
static void expect_order(bool follows_source, size_t row, char const *refused) {
  struct shape const s = {row, ROOM / 2 / (2 * row), 2 * row, 2 * row};
  umemCudaOptions options = {.size = sizeof options};
  umemCuda plain, with;
  cuContext context;
  unsigned char got = 0;
  must(DevicePrimaryCtxRetain(&context, 0));
  must(CtxPushCurrent(context));
  cuStream stream;
  must(StreamCreate(&stream, UMEMI_CU_STREAM_NON_BLOCKING));
  options.stream = stream;
  assert_ok(umemCuda_ctor(&plain, 0));
  assert_ok(umemCuda_ctor_ex(&with, 0, &options));
  uintptr_t in = allocated(&plain, ROOM), out = allocated(&plain, ROOM);
  void const *src = follows_source ? (void const *)&with : &plain;
  void const *dest = follows_source ? (void const *)&plain : &with;
  assert_ok(umem_try_set(&plain, in, 1, ROOM));
  must(MemsetD8Async(in, 7, ROOM, stream));
  if (refused)
    refuse(refused);
  assert_ok(copy(src, in, dest, out, &s));
  client.sim.forget();
  assert_int_equal(client.sim.peek(out, &got, 1), 0);
  assert_int_equal(got, 7);
  assert_ok(umem_dtor(&with));
  assert_ok(umem_dtor(&plain));
  must(StreamDestroy(stream));
  must(CtxPopCurrent(&context));
  must(DevicePrimaryCtxRelease(0));
}

static void rows__come_after_the_work_of_both_contexts(void **state) {
  (void)state;
  static size_t const rows[] = {512, 64 * KIB};
  need_simulation();
  for (size_t i = 0; i < LENGTH(rows); i++)
    for (int side = 0; side < 2; side++) {
      expect_order(side, rows[i], NULL);
      expect_order(side, rows[i], "cuMemcpy2DAsync_v2");
    }
}

static void rows__come_after_the_default_stream(void **state) {
  (void)state;
  struct shape const s = {100, 1000, 200, 200};
  struct place device;
  unsigned char *bytes = noise(5);
  cuContext context;
  place_begin(&device, DEVICE, "");
  must(DevicePrimaryCtxRetain(&context, 0));
  must(CtxPushCurrent(context));
  must(MemsetD8Async(device.adr, 'r', ROOM, NULL));
  assert_ok(copy(&device.ctx, device.adr, &host, (uintptr_t)bytes, &s));
  for (size_t i = 0; i < s.rows; i++)
    assert_int_equal(bytes[i * s.dest_pitch + s.row - 1], 'r');
  must(MemsetD8Async(device.adr, 'w', ROOM, NULL));
  assert_ok(copy(&host, (uintptr_t)bytes, &device.ctx, device.adr, &s));
  assert_ok(
      umem_copy_to(&device.ctx, device.adr, &host, (uintptr_t)bytes, 201));
  assert_int_equal(bytes[0], 'r');
  assert_int_equal(bytes[150], 'w');
  assert_int_equal(bytes[200], 'r');
  must(CtxPopCurrent(&context));
  must(DevicePrimaryCtxRelease(0));
  place_end(&device, DEVICE);
  free(bytes);
}

/* --- failures ------------------------------------------------------------- */

static void rows__that_leave_the_block_are_index_errors(void **state) {
  (void)state;
  struct shape const s = {16, 1000, 32, 40};
  umemCuda ctx;
  unsigned char *bytes = noise(6);
  need_strict_memory();
  assert_ok(umemCuda_ctor(&ctx, 0));
  uintptr_t adr = allocated(&ctx, 4096);
  assert_fails(&ctx, copy(&host, (uintptr_t)bytes, &ctx, adr, &s),
               umemIndexError, "leave the device's block of 4096 bytes");
  assert_fails(&ctx, copy(&ctx, adr, &host, (uintptr_t)bytes, &s),
               umemIndexError, "leave the device's block of 4096 bytes");
  umem_clean_status(&host);
  client.sim.forget(); /* that the block was left was meant */
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_dtor(&ctx));
  free(bytes);
}

#define rows_test(name) cmocka_unit_test_teardown(name, cuda_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      rows_test(rows__of_each_pair_of_kinds_are_in_their_place),
      rows_test(rows__that_the_driver_refuses_are_moved),
      rows_test(rows__that_overlap_are_read_before_they_are_written),
      rows_test(rows__of_any_number_take_few_calls),
      rows_test(rows__between_contexts_take_as_many_calls_as_few_rows),
      rows_test(columns__of_one_matrix_change_places_on_the_device),
      rows_test(columns__of_memory_of_the_host_change_places_in_one_go),
      rows_test(rows__of_exclusive_managed_memory_take_few_calls),
      rows_test(columns__that_touch_are_moved_in_few_calls),
      rows_test(rows__come_after_the_work_of_both_contexts),
      rows_test(rows__come_after_the_default_stream),
      rows_test(rows__that_leave_the_block_are_index_errors),
  };
  client_load(&client, "libcuda.so.1");
  assert_ok(umemHost_ctor(&host));
  int const absent = rig_find_device();
  return absent ? absent
                : cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
