/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls on memory that all devices can access are ordered after work in the
 * default streams of all devices, not only of the device of the context.
 */
#include "rig.h"

#define must(call) assert_int_equal(client.cu.call, UMEMI_CUDA_SUCCESS)

enum { NBYTES = 5000, ROWS = 10, ROW = NBYTES / ROWS };
enum { OLD = 1, LATE = 7, NEW = 9 };

/* --- the neighbour -------------------------------------------------------- */

/* The primary context of device 1, and a buffer there. */
static cuContext neighbour;
static cuAddress buffer;

static void neighbour_enter(void) {
  must(CtxPushCurrent(neighbour));
}

static void neighbour_leave(void) {
  cuContext popped;
  must(CtxPopCurrent(&popped));
}

static void neighbour_begin(void) {
  must(DevicePrimaryCtxRetain(&neighbour, 1));
  neighbour_enter();
  must(MemAlloc(&buffer, NBYTES));
  neighbour_leave();
}

static void neighbour_end(void) {
  neighbour_enter();
  must(CtxSynchronize());
  must(MemFree(buffer));
  neighbour_leave();
  must(DevicePrimaryCtxRelease(1));
}

/* Queues a copy that fills the memory with LATE. */
static void neighbour_writes(uintptr_t adr) {
  neighbour_enter();
  must(MemsetD8Async(buffer, LATE, NBYTES, NULL));
  must(MemcpyAsync(adr, buffer, NBYTES, NULL));
  neighbour_leave();
}

/* Queues a copy from the memory to the buffer. */
static void neighbour_reads(uintptr_t adr) {
  neighbour_enter();
  must(MemcpyAsync(buffer, adr, NBYTES, NULL));
  neighbour_leave();
}

/* Waits, and checks the bytes that neighbour_reads() has copied. */
static void assert_neighbour_read(unsigned char value) {
  unsigned char bytes[NBYTES];
  neighbour_enter();
  must(CtxSynchronize());
  must(MemcpyDtoH(bytes, buffer, NBYTES));
  neighbour_leave();
  assert_true(all_bytes_are(bytes, NBYTES, value));
}

/* --- kinds of memory ------------------------------------------------------ */

static umemCuda cuda; /* of device 0 */

static void cudahost_open(void *ctx) {
  assert_ok(umemCudaHost_ctor(ctx, 0));
}

static void managed_open(void *ctx) {
  assert_ok(umemCudaManaged_ctor(ctx, 0, false, NULL));
}

union anyContext {
  umemCudaHost cudahost;
  umemCudaManaged managed;
};

/* A block that is filled with OLD. */
struct memory {
  union anyContext ctx;
  uintptr_t adr;
};

typedef void open_fn(void *ctx);

static void memory_open(struct memory *memory, open_fn *open) {
  open(&memory->ctx);
  memory->adr = allocated(&memory->ctx, NBYTES);
  assert_ok(umem_try_set(&memory->ctx, memory->adr, OLD, NBYTES));
}

static void memory_close(struct memory *memory) {
  assert_ok(umem_dtor(&memory->ctx));
}

/* Host memory: destination and source of the calls. */
static unsigned char local[NBYTES], given[NBYTES];

/* --- calls that read ------------------------------------------------------ */

static void read_by_copy(struct memory *m) {
  assert_ok(umem_copy_to(&m->ctx, m->adr, &host, (uintptr_t)local, NBYTES));
}

static void read_by_copy_2d(struct memory *m) {
  assert_ok(umem_copy_2d(&m->ctx, m->adr, ROW, &host, (uintptr_t)local, ROW,
                         ROW, ROWS));
}

static void read_by_copy_within(struct memory *m) {
  uintptr_t other = allocated(&m->ctx, NBYTES);
  assert_ok(umem_copy_to(&m->ctx, m->adr, &m->ctx, other, NBYTES));
  memcpy(local, (void *)other, NBYTES);
  assert_ok(umem_free(&m->ctx, other));
}

static void read_by_device(struct memory *m) {
  uintptr_t there = allocated(&cuda, NBYTES);
  assert_ok(umem_copy_to(&m->ctx, m->adr, &cuda, there, NBYTES));
  assert_ok(umem_copy_to(&cuda, there, &host, (uintptr_t)local, NBYTES));
  assert_ok(umem_free(&cuda, there));
}

static void read_by_compare(struct memory *m) {
  size_t first;
  memset(local, LATE, NBYTES);
  assert_ok(
      umem_compare(&m->ctx, m->adr, &host, (uintptr_t)local, NBYTES, &first));
  assert_int_equal(first, NBYTES);
}

static void read_by_checksum(struct memory *m) {
  uint32_t wanted, found;
  memset(local, LATE, NBYTES);
  assert_ok(umem_checksum(&host, (uintptr_t)local, NBYTES, 0, &wanted));
  assert_ok(umem_checksum(&m->ctx, m->adr, NBYTES, 0, &found));
  assert_int_equal(wanted, found);
}

/* A mirror at the same address is not copied: read the memory itself. */
static void read_mirror(struct memory *m, uintptr_t mirror) {
  if (mirror == m->adr)
    read_by_copy(m);
  else
    assert_ok(umem_copy_to(&cuda, mirror, &host, (uintptr_t)local, NBYTES));
  assert_ok(umem_disconnect(&m->ctx, m->adr, &cuda, mirror, 0));
}

static void read_by_connect(struct memory *m) {
  uintptr_t mirror;
  assert_ok(umem_try_connect(&m->ctx, m->adr, NBYTES, &cuda, 0, &mirror));
  read_mirror(m, mirror);
}

/* Queues the work between connect and sync. */
static void read_by_sync(struct memory *m) {
  uintptr_t mirror;
  assert_ok(umem_try_connect(&m->ctx, m->adr, NBYTES, &cuda, 0, &mirror));
  neighbour_writes(m->adr);
  assert_ok(umem_sync_to(&m->ctx, m->adr, &cuda, mirror, NBYTES));
  read_mirror(m, mirror);
}

typedef void call_fn(struct memory *memory);

static void assert_reads_late(open_fn *open, call_fn *call) {
  struct memory memory;
  memory_open(&memory, open);
  memset(local, 0, NBYTES);
  neighbour_writes(memory.adr);
  call(&memory);
  assert_true(all_bytes_are(local, NBYTES, LATE));
  memory_close(&memory);
}

static void reads__are_ordered_after_writes_of_other_devices(void **state) {
  (void)state;
  static call_fn *const calls[] = {
      read_by_copy,    read_by_copy_2d,  read_by_copy_within, read_by_device,
      read_by_compare, read_by_checksum, read_by_connect,     read_by_sync};
  for (size_t i = 0; i < LENGTH(calls); i++) {
    assert_reads_late(cudahost_open, calls[i]);
    assert_reads_late(managed_open, calls[i]);
  }
}

/* --- calls that write ----------------------------------------------------- */

static void write_by_set(struct memory *m) {
  assert_ok(umem_try_set(&m->ctx, m->adr, NEW, NBYTES));
}

static void write_by_safe_set(struct memory *m) {
  assert_ok(umem_set_safe(&m->ctx, m->adr, NBYTES, NEW, NBYTES));
}

static void write_by_copy(struct memory *m) {
  assert_ok(umem_copy_to(&host, (uintptr_t)given, &m->ctx, m->adr, NBYTES));
}

static void write_by_copy_2d(struct memory *m) {
  assert_ok(umem_copy_2d(&host, (uintptr_t)given, ROW, &m->ctx, m->adr, ROW,
                         ROW, ROWS));
}

static void write_by_copy_within(struct memory *m) {
  uintptr_t other = allocated(&m->ctx, NBYTES);
  memcpy((void *)other, given, NBYTES);
  assert_ok(umem_copy_to(&m->ctx, other, &m->ctx, m->adr, NBYTES));
  assert_ok(umem_free(&m->ctx, other));
}

static void write_by_device(struct memory *m) {
  uintptr_t there = allocated(&cuda, NBYTES);
  assert_ok(umem_try_set(&cuda, there, NEW, NBYTES));
  assert_ok(umem_copy_to(&cuda, there, &m->ctx, m->adr, NBYTES));
  assert_ok(umem_free(&cuda, there));
}

static call_fn *const writers[] = {write_by_set,         write_by_safe_set,
                                   write_by_copy,        write_by_copy_2d,
                                   write_by_copy_within, write_by_device};

static void assert_writes_last(open_fn *open, call_fn *call) {
  struct memory memory;
  memory_open(&memory, open);
  neighbour_writes(memory.adr);
  call(&memory);
  assert_neighbour_read(LATE);
  assert_true(all_bytes_are((void *)memory.adr, NBYTES, NEW));
  memory_close(&memory);
}

static void writes__are_ordered_after_writes_of_other_devices(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(writers); i++) {
    assert_writes_last(cudahost_open, writers[i]);
    assert_writes_last(managed_open, writers[i]);
  }
}

static void assert_after_reading(open_fn *open, call_fn *call) {
  struct memory memory;
  memory_open(&memory, open);
  neighbour_reads(memory.adr);
  call(&memory);
  assert_neighbour_read(OLD);
  memory_close(&memory);
}

static void writes__are_ordered_after_reads_of_other_devices(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(writers); i++) {
    assert_after_reading(cudahost_open, writers[i]);
    assert_after_reading(managed_open, writers[i]);
  }
}

/* --- calls that take memory away ------------------------------------------ */

/* The simulated driver reports memory that is freed while queued work uses it.
 */
static void end_by_free(struct memory *m) {
  assert_ok(umem_free(&m->ctx, m->adr));
}

static void end_by_dtor(struct memory *m) {
  assert_ok(umem_dtor(&m->ctx));
}

static void memory__is_freed_after_use_by_other_devices(void **state) {
  (void)state;
  assert_after_reading(cudahost_open, end_by_free);
  assert_after_reading(cudahost_open, end_by_dtor);
  assert_after_reading(managed_open, end_by_free);
  assert_after_reading(managed_open, end_by_dtor);
}

/* umem_disconnect() frees a block of pinned memory. */
static void mirrors__are_freed_after_use_by_other_devices(void **state) {
  (void)state;
  umemCudaHost pinned;
  uintptr_t mirror, adr = allocated(&cuda, NBYTES);
  cudahost_open(&pinned);
  assert_ok(umem_try_set(&cuda, adr, OLD, NBYTES));
  assert_ok(umem_try_connect(&cuda, adr, NBYTES, &pinned, 0, &mirror));
  neighbour_reads(mirror);
  assert_ok(umem_disconnect(&cuda, adr, &pinned, mirror, 0));
  assert_neighbour_read(OLD);
  assert_ok(umem_free(&cuda, adr));
  assert_ok(umem_dtor(&pinned));
}

static void memory__is_unpinned_after_use_by_other_devices(void **state) {
  (void)state;
  memset(local, OLD, NBYTES);
  assert_ok(umem_pin(&cuda, (uintptr_t)local, NBYTES));
  neighbour_reads((uintptr_t)local);
  assert_ok(umem_unpin(&cuda, (uintptr_t)local));
  memset(local, NEW, NBYTES);
  assert_neighbour_read(OLD);
}

/* cuMemcpyPeerAsync needs no peer access. */
static void device_memory__is_freed_after_use_by_other_devices(void **state) {
  (void)state;
  uintptr_t adr = allocated(&cuda, NBYTES);
  cuContext ours;
  assert_ok(umem_try_set(&cuda, adr, OLD, NBYTES));
  must(DevicePrimaryCtxRetain(&ours, 0));
  neighbour_enter();
  must(MemcpyPeerAsync(buffer, neighbour, adr, ours, NBYTES, NULL));
  neighbour_leave();
  assert_ok(umem_free(&cuda, adr));
  assert_neighbour_read(OLD);
  must(DevicePrimaryCtxRelease(0));
}

/* --- calls that have nothing to wait for ---------------------------------- */

static void assert_unharmed(open_fn *open) {
  struct memory memory, other;
  memory_open(&memory, open);
  neighbour_writes(memory.adr);
  memory_open(&other, open);
  assert_true(all_bytes_are((void *)other.adr, NBYTES, OLD));
  uintptr_t zeros = umem_calloc(&other.ctx, NBYTES, 1);
  assert_true(all_bytes_are((void *)zeros, NBYTES, 0));
  assert_ok(umem_pin(&other.ctx, (uintptr_t)local, NBYTES));
  assert_ok(umem_unpin(&other.ctx, (uintptr_t)local));
  assert_ok(umem_flush(&memory.ctx));
  read_by_copy(&memory);
  assert_true(all_bytes_are(local, NBYTES, LATE));
  memory_close(&memory);
  memory_close(&other);
}

static void calls__on_other_memory_succeed_meanwhile(void **state) {
  (void)state;
  assert_unharmed(cudahost_open);
  assert_unharmed(managed_open);
}

/* --- the program ---------------------------------------------------------- */

static int neighbours_setup(void **state) {
  (void)state;
  assert_ok(umemCuda_ctor(&cuda, 0));
  neighbour_begin();
  return 0;
}

static int neighbours_teardown(void **state) {
  neighbour_end();
  assert_ok(umem_dtor(&cuda));
  return cuda_teardown(state);
}

#define beside_neighbour(f)                                                    \
  cmocka_unit_test_setup_teardown(f, neighbours_setup, neighbours_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      beside_neighbour(reads__are_ordered_after_writes_of_other_devices),
      beside_neighbour(writes__are_ordered_after_writes_of_other_devices),
      beside_neighbour(writes__are_ordered_after_reads_of_other_devices),
      beside_neighbour(memory__is_freed_after_use_by_other_devices),
      beside_neighbour(mirrors__are_freed_after_use_by_other_devices),
      beside_neighbour(memory__is_unpinned_after_use_by_other_devices),
      beside_neighbour(device_memory__is_freed_after_use_by_other_devices),
      beside_neighbour(calls__on_other_memory_succeed_meanwhile),
  };
  client_load(&client, "libcuda.so.1");
  assert_ok(umemHost_ctor(&host));
  memset(given, NEW, NBYTES);
  if (umem_device_count(umemCudaDevice) < 2) {
    print_message("skipped: there are no two devices\n");
    return SKIPPED;
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
