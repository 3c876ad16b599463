/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the first CUDA device. P9: against the bare calls of the driver,
 * on the same memory: pinned copies, copies within the device, sets; and what a
 * call of 8 bytes costs more. P10: memory that can be paged out, and files, by
 * the speed that was aimed at for one H200 with 16 CPUs, beside what the driver
 * does with such memory by itself.
 */
#define _GNU_SOURCE
#include "raw.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>

#include "../src/gpu/cu.h"

static struct umemiCu cu;

static struct {
  umemHost host;
  umemCudaHost pinned;
  umemCuda device;
  umemFile file;
  uintptr_t adr, second; /* on the device */
  unsigned char *locked; /* pinned */
  unsigned char *bytes;  /* pageable */
  unsigned char *room;   /* the same, to look at what is on the device */
  char *path;
  int fd;
  size_t nbytes;
} work;

/* --- bare calls ----------------------------------------------------------- */

static void need(cuCode code, char const *what) {
  char const *name = NULL;
  if (code == UMEMI_CUDA_SUCCESS)
    return;
  cu.GetErrorName(code, &name);
  bench_die("%s: %s (%d)", what, name ? name : "?", (int)code);
}

static void cu_load(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW), *found;
  cuDevice device;
  cuContext context;
  if (!library)
    bench_die("%s", dlerror());
#define FIND(name, symbol, parameters)                                         \
  found = dlsym(library, #symbol);                                             \
  memcpy(&cu.name, &found, sizeof found);
  UMEMI_CU_REQUIRED(FIND)
#undef FIND
  need(cu.Init(0), "cuInit");
  need(cu.DeviceGet(&device, 0), "cuDeviceGet");
  need(cu.DevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  need(cu.CtxPushCurrent(context), "cuCtxPushCurrent");
}

static void settle(void) {
  need(cu.StreamSynchronize(NULL), "cuStreamSynchronize");
}

/* Through when it returns, as ours is. */
static void bare_write(void const *in, size_t nbytes) {
  need(cu.MemcpyHtoD(work.adr, in, nbytes), "cuMemcpyHtoD");
  settle();
}

static void bare_read(void *out, size_t at, size_t nbytes) {
  need(cu.MemcpyDtoH(out, work.adr + at, nbytes), "cuMemcpyDtoH");
}

static void copy(void const *src, uintptr_t src_adr, void const *dest,
                 uintptr_t dest_adr) {
  bench_need_ok(umem_copy_to(src, src_adr, dest, dest_adr, work.nbytes), dest);
}

/* --- checks --------------------------------------------------------------- */

static void check_device(struct benchSide *side) {
  settle();
  bare_read(work.room, 0, work.nbytes);
  raw_check(work.room, raw_shift(side), work.nbytes, side->name);
}

static void check_locked(struct benchSide *side) {
  raw_check(work.locked, raw_shift(side), work.nbytes, side->name);
}

static void check_room(struct benchSide *side) {
  raw_check(work.room, raw_shift(side), work.nbytes, side->name);
}

static void check_second(struct benchSide *side) {
  settle();
  need(cu.MemcpyDtoH(work.room, work.second, work.nbytes), "cuMemcpyDtoH");
  check_room(side);
}

static void check_set(struct benchSide *side) {
  unsigned char c = (unsigned char)side->serial;
  settle();
  bare_read(work.room, 0, work.nbytes);
  if (work.room[0] != c || memcmp(work.room, work.room + 1, work.nbytes - 1))
    bench_die("%s set wrong bytes", side->name);
}

/* --- P9: sides ------------------------------------------------------------ */

static void pinned_write_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    copy(&work.pinned, (uintptr_t)work.locked + raw_shift(side), &work.device,
         work.adr);
}

static void pinned_write_bare(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    bare_write(work.locked + raw_shift(side), work.nbytes);
}

static void pinned_read_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    copy(&work.device, work.adr + raw_shift(side), &work.pinned,
         (uintptr_t)work.locked);
}

static void pinned_read_bare(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    bare_read(work.locked, raw_shift(side), work.nbytes);
}

static void within_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    copy(&work.device, work.adr + raw_shift(side), &work.device, work.second);
}

static void within_bare(struct benchSide *side, size_t ncalls) {
  while (ncalls--) {
    need(cu.MemcpyDtoDAsync(work.second, work.adr + raw_shift(side),
                            work.nbytes, NULL),
         "cuMemcpyDtoDAsync");
    settle();
  }
}

static void set_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    bench_need_ok(
        umem_try_set(&work.device, work.adr, (int)side->serial, work.nbytes),
        &work.device);
}

static void set_bare(struct benchSide *side, size_t ncalls) {
  while (ncalls--) {
    need(cu.MemsetD8Async(work.adr, (unsigned char)side->serial, work.nbytes,
                          NULL),
         "cuMemsetD8Async");
    settle();
  }
}

/* --- rows ----------------------------------------------------------------- */

typedef void run_fn(struct benchSide *side, size_t ncalls);
typedef void check_fn(struct benchSide *side);

static void row(char const *goal, char const *what, enum benchRule rule,
                double limit, struct benchSide *sides, size_t nsides) {
  bench_contest(&(struct benchContest){.goal = goal,
                                       .what = what,
                                       .nbytes = work.nbytes,
                                       .rule = rule,
                                       .limit = limit,
                                       .in_ns = rule == BENCH_OVER,
                                       .sides = sides,
                                       .nsides = nsides});
}

static void against(char const *goal, char const *what, enum benchRule rule,
                    double limit, run_fn *ours, char const *name, run_fn *other,
                    check_fn *check) {
  struct benchSide sides[] = {{.name = "umem", .run = ours, .after = check},
                              {.name = name, .run = other, .after = check}};
  row(goal, what, rule, limit, sides, BENCH_COUNT(sides));
}

/* The driver's call with memory of the same sort. */
static void p9_rows(size_t nbytes) {
  work.nbytes = nbytes;
  raw_fill(work.locked, 0, nbytes + RAW_SLACK);
  against("P9", "pinned to device", BENCH_RATIO, 0.98, pinned_write_ours,
          "cuMemcpyHtoD", pinned_write_bare, check_device);
  need(cu.MemcpyHtoD(work.adr, work.locked, nbytes + RAW_SLACK), "fill");
  against("P9", "device to pinned", BENCH_RATIO, 0.98, pinned_read_ours,
          "cuMemcpyDtoH", pinned_read_bare, check_locked);
  against("P9", "within the device", BENCH_RATIO, 0.98, within_ours,
          "cuMemcpyDtoD", within_bare, check_second);
  against("P9", "set", BENCH_RATIO, 0.98, set_ours, "cuMemsetD8", set_bare,
          check_set);
}

/* --- 8 bytes -------------------------------------------------------------- */

static void short_write_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    copy(&work.host, (uintptr_t)work.bytes + raw_shift(side), &work.device,
         work.adr);
}

static void short_write_bare(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    bare_write(work.bytes + raw_shift(side), work.nbytes);
}

static void short_read_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    copy(&work.device, work.adr + raw_shift(side), &work.host,
         (uintptr_t)work.room);
}

static void short_read_bare(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    bare_read(work.room, raw_shift(side), work.nbytes);
}

static void short_rows(void) {
  enum { OVER_NS = 300 };
  work.nbytes = 8;
  raw_fill(work.bytes, 0, RAW_SLACK + 8);
  against("P9", "8 bytes to the device", BENCH_OVER, OVER_NS, short_write_ours,
          "cuMemcpyHtoD", short_write_bare, check_device);
  bare_write(work.bytes, RAW_SLACK + 8);
  against("P9", "8 bytes from the device", BENCH_OVER, OVER_NS, short_read_ours,
          "cuMemcpyDtoH", short_read_bare, check_room);
}

/* --- P10 ------------------------------------------------------------------ */

static void load_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    copy(&work.file, raw_shift(side), &work.device, work.adr);
}

/* A careful user's: pieces through pinned memory. */
static void load_bare(struct benchSide *side, size_t ncalls) {
  enum { PIECE = 1 << 20 };
  while (ncalls--)
    for (size_t at = 0; at < work.nbytes; at += PIECE) {
      raw_pread(work.fd, work.locked, PIECE, raw_shift(side) + at, 0);
      need(cu.MemcpyHtoD(work.adr + at, work.locked, PIECE), "cuMemcpyHtoD");
    }
}

/* Into a block that nobody has touched. */
static void fresh_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--) {
    uintptr_t adr = umem_connect(&work.device, work.adr + raw_shift(side),
                                 work.nbytes, &work.host, 0);
    if (!adr)
      bench_die("%s", umem_get_message(&work.host));
    raw_check((void const *)adr, raw_shift(side), work.nbytes, side->name);
    umem_disconnect(&work.device, work.adr + raw_shift(side), &work.host, adr,
                    0);
  }
}

/* `speed` in GB/s, which are bytes per ns, on the machine that was aimed at. */
static void absolute(char const *what, double speed, run_fn *ours,
                     check_fn *check) {
  struct benchSide side = {.name = "umem", .run = ours, .after = check};
  double ns = (double)work.nbytes / speed;
  if (!bench_wants("P10", what))
    return;
  bench_report(
      &(struct benchRow){.goal = "P10",
                         .what = what,
                         .nbytes = work.nbytes,
                         .unit = "ms",
                         .cost = {.ours = bench_time(&side, 1, 7) / 1e6},
                         .rule = BENCH_AT_MOST,
                         .limit = ns / 1e6});
}

static void p10_rows(size_t nbytes) {
  work.nbytes = nbytes;
  raw_fill(work.bytes, 0, nbytes + RAW_SLACK);
  absolute("pageable to device", 45, short_write_ours, check_device);
  against("P10", "pageable to device", BENCH_NO_LIMIT, 0, short_write_ours,
          "cuMemcpyHtoD", short_write_bare, check_device);
  bare_write(work.bytes, nbytes + RAW_SLACK);
  absolute("device to pageable", 40, short_read_ours, check_room);
  against("P10", "device to pageable", BENCH_NO_LIMIT, 0, short_read_ours,
          "cuMemcpyDtoH", short_read_bare, check_room);
  absolute("page cache to device", 45, load_ours, check_device);
  against("P10", "page cache to device", BENCH_NO_LIMIT, 0, load_ours,
          "pread + pinned", load_bare, check_device);
  bare_write(work.bytes, nbytes + RAW_SLACK);
  absolute("device to fresh block", 20, fresh_ours, NULL);
}

/* --- the device ----------------------------------------------------------- */

static void begin(size_t largest) {
  umemDeviceInfo info = {.size = sizeof info};
  umem_device_info(umemCudaDevice, 0, &info);
  if (!info.usable)
    bench_die("%s", info.reason);
  bench_note("%s, %u CPUs", info.name, bench_ncores());
  bench_need_ok(umemHost_ctor(&work.host), &work.host);
  bench_need_ok(umemCuda_ctor(&work.device, 0), &work.device);
  bench_need_ok(umemCudaHost_ctor(&work.pinned, 0), &work.pinned);
  uintptr_t locked;
  bench_need_ok(umem_try_alloc(&work.pinned, largest + RAW_SLACK, &locked),
                &work.pinned);
  work.locked = (unsigned char *)locked;
  bench_need_ok(umem_try_alloc(&work.device, largest + RAW_SLACK, &work.adr),
                &work.device);
  bench_need_ok(umem_try_alloc(&work.device, largest, &work.second),
                &work.device);
  work.bytes = raw_map(largest + RAW_SLACK);
  work.room = raw_map(largest + RAW_SLACK);
  work.path = raw_path(bench_options.dir, "gpu");
  raw_make_file(work.path, 0, largest + RAW_SLACK);
  work.fd = raw_open(work.path, O_RDONLY);
  bench_need_ok(umemFile_ctor(&work.file, work.path, "r"), &work.file);
}

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  size_t const largest = bench_size(BENCH_GIB, 16 * BENCH_MIB);
  size_t const sizes[] = {BENCH_MIB, 16 * BENCH_MIB, BENCH_GIB};
  raw_need_memory(5 * largest);
  raw_need_room(bench_options.dir, 2 * largest);
  begin(largest);
  cu_load();
  short_rows();
  for (size_t i = 0; i < BENCH_COUNT(sizes) && sizes[i] <= largest; i++)
    p9_rows(sizes[i]);
  p10_rows(largest);
  umem_dtor(&work.file);
  umem_dtor(&work.pinned);
  umem_dtor(&work.device);
  return bench_end();
}
