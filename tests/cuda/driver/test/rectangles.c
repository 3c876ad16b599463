/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies of rows: which bytes they touch, when, and what they refuse. */
#include "support.h"

enum { ROW = 10, ROWS = 20, PITCH = 40, ALL = ROWS * PITCH };

/* Between host memory and a device, or within devices. */
static cuRows rows_of(void const *src_host, cuAddress src, void *dest_host,
                      cuAddress dest) {
  return (cuRows){.srcMemoryType = src_host ? UMEMI_CU_MEMORYTYPE_HOST
                                            : UMEMI_CU_MEMORYTYPE_DEVICE,
                  .srcHost = src_host,
                  .srcDevice = src,
                  .srcPitch = PITCH,
                  .dstMemoryType = dest_host ? UMEMI_CU_MEMORYTYPE_HOST
                                             : UMEMI_CU_MEMORYTYPE_DEVICE,
                  .dstHost = dest_host,
                  .dstDevice = dest,
                  .dstPitch = PITCH,
                  .WidthInBytes = ROW,
                  .Height = ROWS};
}

/* `got` holds the rows of `from`, and between them `fill`. */
static void expect_rows(unsigned char const *got, unsigned char const *from,
                        unsigned char fill) {
  for (size_t i = 0; i < (ROWS - 1) * PITCH + ROW; i++)
    assert_int_equal(got[i], i % PITCH < ROW ? from[i] : fill);
}

static void move_rows(void) {
  unsigned char in[ALL], out[ALL];
  cuAddress a = allocated(ALL), b = allocated(ALL);
  cuStream stream = new_stream(1);
  for (size_t i = 0; i < ALL; i++)
    in[i] = (unsigned char)i;
  memset(out, 'o', sizeof out);
  ok(c.cu.MemsetD8Async(b, 'b', ALL, stream));
  cuRows there = rows_of(in, 0, NULL, a), within = rows_of(NULL, a, NULL, b),
         back = rows_of(NULL, b, out, 0);
  ok(c.cu.Memcpy2DAsync(&there, stream));
  ok(c.cu.Memcpy2DAsync(&within, stream));
  ok(c.cu.Memcpy2DAsync(&back, stream));
  ok(c.cu.StreamSynchronize(stream));
  expect_rows(out, in, 'o');
  ok(c.cu.MemcpyDtoH(out, b, ALL));
  expect_rows(out, in, 'b');
  ok(c.cu.StreamDestroy(stream));
  ok(c.cu.MemFree(a));
  ok(c.cu.MemFree(b));
}

static void rows__are_moved_and_nothing_between_them(void **state) {
  (void)state;
  each_mode(move_rows);
}

static void rows__are_found_by_their_place(void **state) {
  (void)state;
  unsigned char out[ALL] = "";
  cuAddress a = allocated(ALL);
  for (size_t i = 0; i < ALL; i++)
    host[i] = (unsigned char)(i * 7);
  ok(c.cu.MemcpyHtoD(a, host, ALL));
  cuRows back = rows_of(NULL, a, out, 0);
  back.srcXInBytes = 3;
  back.srcY = 2;
  back.dstY = 1;
  back.Height = 2;
  ok(c.cu.Memcpy2DAsync(&back, NULL));
  ok(c.cu.StreamSynchronize(NULL));
  for (size_t k = 0; k < 2; k++)
    assert_memory_equal(out + (k + 1) * PITCH, host + (k + 2) * PITCH + 3, ROW);
  ok(c.cu.MemFree(a));
}

/* Pageable rows are read at the call, and pinned ones when their turn comes. */
static void rows__of_pinned_memory_are_read_late(void **state) {
  (void)state;
  unsigned char *page = pinned(ALL);
  cuAddress a = allocated(ALL);
  cuRows pageable = rows_of(host, 0, NULL, a), late = rows_of(page, 0, NULL, a);
  memset(host, 1, ALL);
  memset(page, 1, ALL);
  ok(c.cu.Memcpy2DAsync(&pageable, NULL));
  memset(host, 2, ALL);
  ok(c.cu.StreamSynchronize(NULL));
  assert_int_equal(byte_at(a), 1);
  ok(c.cu.Memcpy2DAsync(&late, NULL));
  memset(page, 2, ALL);
  ok(c.cu.StreamSynchronize(NULL));
  assert_int_equal(byte_at(a), 2);
  ok(c.cu.MemFreeHost(page));
  ok(c.cu.MemFree(a));
}

static void rows__that_are_none_are_refused(void **state) {
  (void)state;
  cuAddress a = allocated(ALL);
  cuRows rows = rows_of(host, 0, NULL, a);
  rows.dstPitch = ROW - 1;
  fails(c.cu.Memcpy2DAsync(&rows, NULL), INVALID_VALUE);
  rows.dstPitch = (size_t)1 << 31;
  fails(c.cu.Memcpy2DAsync(&rows, NULL), INVALID_VALUE);
  rows.dstPitch = PITCH;
  rows.dstMemoryType = 3;
  fails(c.cu.Memcpy2DAsync(&rows, NULL), INVALID_VALUE);
  rows = rows_of(host, 0, NULL, (uintptr_t)host);
  fails(c.cu.Memcpy2DAsync(&rows, NULL), INVALID_VALUE);
  rows.Height = 0;
  ok(c.cu.Memcpy2DAsync(&rows, NULL));
  rows = rows_of((void *)(uintptr_t)a, 0, NULL, a + 20);
  fails(c.cu.Memcpy2DAsync(&rows, NULL), INVALID_VALUE);
  violates("is of a device, not of the host");
  rows = rows_of(host, 0, NULL, a + 512);
  fails(c.cu.Memcpy2DAsync(&rows, NULL), INVALID_VALUE);
  violates("leave the block of 800");
  ok(c.cu.MemHostRegister(host, ALL / 2, 0));
  rows = rows_of(host, 0, NULL, a);
  fails(c.cu.Memcpy2DAsync(&rows, NULL), INVALID_VALUE);
  ok(c.cu.MemHostUnregister(host));
  ok(c.cu.MemFree(a));
}

static void rows__may_lie_between_each_other_but_not_touch(void **state) {
  (void)state;
  cuAddress a = allocated(ALL);
  cuRows rows = rows_of(NULL, a, NULL, a + ROW);
  ok(c.cu.Memcpy2DAsync(&rows, NULL));
  rows = rows_of(NULL, a, NULL, a + ROW - 1);
  rows.Height = ROWS - 1;
  ok(c.cu.Memcpy2DAsync(&rows, NULL));
  violates("overlap");
  ok(c.cu.StreamSynchronize(NULL));
  ok(c.cu.MemFree(a));
}

static cuPeerRows peers(cuAddress src, cuAddress dest) {
  return (cuPeerRows){.srcMemoryType = UMEMI_CU_MEMORYTYPE_DEVICE,
                      .srcDevice = src,
                      .srcContext = primary[0],
                      .srcPitch = PITCH,
                      .dstMemoryType = UMEMI_CU_MEMORYTYPE_DEVICE,
                      .dstDevice = dest,
                      .dstContext = primary[1],
                      .dstPitch = PITCH,
                      .WidthInBytes = ROW,
                      .Height = ROWS,
                      .Depth = 1};
}

static void rows__go_to_another_device_with_its_context(void **state) {
  (void)state;
  unsigned char out[ALL];
  cuAddress a = allocated(ALL), b;
  ok(c.cu.CtxPushCurrent(primary[1]));
  ok(c.cu.MemAlloc(&b, ALL));
  ok(c.cu.MemsetD8(b, 'b', ALL));
  ok(c.cu.CtxSynchronize());
  ok(c.cu.CtxPopCurrent(NULL));
  memset(host, 'h', ALL);
  ok(c.cu.MemcpyHtoD(a, host, ALL));
  cuPeerRows rows = peers(a, b), wrong = peers(b, a);
  ok(c.cu.Memcpy3DPeerAsync(&rows, NULL));
  ok(c.cu.StreamSynchronize(NULL));
  fails(c.cu.Memcpy3DPeerAsync(&wrong, NULL), INVALID_VALUE);
  violates("is not of the context that is named");
  wrong.srcContext = NULL;
  fails(c.cu.Memcpy3DPeerAsync(&wrong, NULL), INVALID_CONTEXT);
  rows.Depth = 2;
  fails(c.cu.Memcpy3DPeerAsync(&rows, NULL), NOT_SUPPORTED);
  cuRows plain = rows_of(NULL, a, NULL, b);
  fails(c.cu.Memcpy2DAsync(&plain, NULL), INVALID_VALUE);
  violates("without peer access");
  assert_int_equal(c.sim.peek(b, out, ALL), 0);
  expect_rows(out, host, 'b');
  ok(c.cu.MemFree(a));
  ok(c.cu.CtxPushCurrent(primary[1]));
  ok(c.cu.MemFree(b));
  ok(c.cu.CtxPopCurrent(NULL));
}

int rectangles_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(rows__are_moved_and_nothing_between_them),
      in_contexts(rows__are_found_by_their_place),
      in_contexts(rows__of_pinned_memory_are_read_late),
      in_contexts(rows__that_are_none_are_refused),
      in_contexts(rows__may_lie_between_each_other_but_not_touch),
      in_contexts(rows__go_to_another_device_with_its_context),
  };
  return cmocka_run_group_tests_name("rectangles", tests, NULL, NULL);
}
