/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies of 1 B to 1 GiB against what does the same without the library:
 * memcpy, pwrite, pread, and a loop that reads and writes in turn. No limits:
 * plot.py draws the ratios.
 */
#define _GNU_SOURCE
#include "device.h"
#include "raw.h"

#include <fcntl.h>
#include <string.h>

/* All begin at other places of a page, lest loads wait for stores whose
   addresses end alike: here by luck, there not. */
enum { CHUNK = 1 << 20, APART = 2048 + 64, APART_TOO = 1024 + 64 };

static struct {
  umemHost host;
  umemFile file;
  char *path;
  int fd;
  struct device from, to;
  unsigned char *src, *dest, *buffer;
  size_t nbytes;
} work;

/* Large files are checked in some runs only. */
enum { SMALL = 4 << 20 };

static bool must_check(struct benchSide const *side) {
  return side->is_checked || work.nbytes <= SMALL;
}

/* --- host to host --------------------------------------------------------- */

static void host_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    umem_copy_to(&work.host, (uintptr_t)work.src + raw_shift(side), &work.host,
                 (uintptr_t)work.dest, work.nbytes);
}

static void host_raw(struct benchSide *side, size_t ncalls) {
  while (ncalls--) {
    memcpy(work.dest, work.src + raw_shift(side), work.nbytes);
    __asm__ volatile("" : : "r"(work.dest) : "memory");
  }
}

static void check_memory(struct benchSide *side) {
  if (must_check(side))
    raw_check(work.dest, raw_shift(side), work.nbytes, side->name);
}

/* --- host to file --------------------------------------------------------- */

static void clean(struct benchSide *side) {
  (void)side;
  if (work.nbytes > SMALL)
    raw_clean_file(work.path);
}

static void write_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    bench_need_ok(umem_copy_to(&work.host,
                               (uintptr_t)work.src + raw_shift(side),
                               &work.file, 0, work.nbytes),
                  &work.file);
}

static void write_raw(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    raw_pwrite(work.fd, work.src + raw_shift(side), work.nbytes, 0, CHUNK);
}

static void check_file(struct benchSide *side) {
  if (!must_check(side))
    return;
  raw_pread(work.fd, work.dest, work.nbytes, 0, CHUNK);
  raw_check(work.dest, raw_shift(side), work.nbytes, side->name);
}

/* --- file to host --------------------------------------------------------- */

static void read_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    bench_need_ok(umem_copy_to(&work.file, raw_shift(side), &work.host,
                               (uintptr_t)work.dest, work.nbytes),
                  &work.file);
}

static void read_raw(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    raw_pread(work.fd, work.dest, work.nbytes, raw_shift(side), CHUNK);
}

/* --- staged --------------------------------------------------------------- */

static void staged_ours(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    bench_need_ok(umem_copy_to(&work.from.ctx, DEVICE_BASE + raw_shift(side),
                               &work.to.ctx, DEVICE_BASE + APART_TOO,
                               work.nbytes),
                  &work.to.ctx);
}

static void staged_raw(struct benchSide *side, size_t ncalls) {
  while (ncalls--)
    for (size_t done = 0; done < work.nbytes; done += CHUNK) {
      size_t left = work.nbytes - done, length = left < CHUNK ? left : CHUNK;
      device_read(&work.from, raw_shift(side) + done, work.buffer, length);
      device_write(&work.to, APART_TOO + done, work.buffer, length);
    }
}

static void check_device(struct benchSide *side) {
  if (must_check(side))
    raw_check(work.to.bytes + APART_TOO, raw_shift(side), work.nbytes,
              side->name);
}

/* --- what each pair needs ------------------------------------------------- */

static size_t room(void) {
  return bench_size(BENCH_GIB, 64 * BENCH_MIB) + RAW_SLACK;
}

static void host_begin(void) {
  work.src = raw_map(room());
  work.dest = raw_map(room() + APART) + APART;
  raw_fill(work.src, 0, room());
}

static void host_end(void) {
  raw_unmap(work.src, room());
  raw_unmap(work.dest - APART, room() + APART);
}

static void file_begin(void) {
  host_begin();
  raw_make_file(work.path, 0, room());
  work.fd = raw_open(work.path, O_RDWR);
  bench_need_ok(umemFile_ctor(&work.file, work.path, "r+"), &work.file);
}

static void file_end(void) {
  bench_need_ok(umem_dtor(&work.file), &work.file);
  raw_close(work.fd);
  raw_remove(work.path);
  host_end();
}

static void staged_begin(void) {
  work.buffer = raw_map(CHUNK + APART) + APART;
  device_begin(&work.from, room(), 0);
  device_begin(&work.to, room(), 0);
  raw_fill(work.from.bytes, 0, room());
}

static void staged_end(void) {
  device_end(&work.from);
  device_end(&work.to);
  raw_unmap(work.buffer - APART, CHUNK + APART);
}

/* --- rows ----------------------------------------------------------------- */

static struct pair {
  char const *what;
  void (*begin)(void);
  void (*end)(void);
  struct benchSide ours, raw;
} const pairs[] = {
    {"host to host",
     host_begin,
     host_end,
     {.name = "umem", .run = host_ours, .after = check_memory},
     {.name = "memcpy", .run = host_raw, .after = check_memory}},
    {"host to file",
     file_begin,
     file_end,
     {.name = "umem", .before = clean, .run = write_ours, .after = check_file},
     {.name = "pwrite",
      .before = clean,
      .run = write_raw,
      .after = check_file}},
    {"file to host",
     file_begin,
     file_end,
     {.name = "umem", .run = read_ours, .after = check_memory},
     {.name = "pread", .run = read_raw, .after = check_memory}},
    {"staged",
     staged_begin,
     staged_end,
     {.name = "umem", .run = staged_ours, .after = check_device},
     {.name = "read, then write", .run = staged_raw, .after = check_device}},
};

static void row(struct pair const *pair, size_t nbytes) {
  struct benchSide sides[] = {pair->ours, pair->raw};
  work.nbytes = nbytes;
  bench_contest(
      &(struct benchContest){.goal = "sweep",
                             .what = pair->what,
                             .nbytes = nbytes,
                             .nthreads = bench_ncores() > 1 ? 2 : 1,
                             .rule = BENCH_NO_LIMIT,
                             .in_ns = nbytes < 4096,
                             .sides = sides,
                             .nsides = BENCH_COUNT(sides),
                             .batch_ns = nbytes >= BENCH_MIB ? 10e6 : 0});
}

/* Powers of two, and half-way between them up to 64 MiB. */
static void sweep(struct pair const *pair) {
  size_t const largest = room() - RAW_SLACK;
  for (size_t size = 1; size <= largest; size *= 2) {
    row(pair, size);
    if (size > 1 && size < 64 * BENCH_MIB && !bench_options.quick)
      row(pair, size + size / 2);
  }
}

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  raw_need_memory(4 * room());
  raw_need_room(bench_options.dir, 2 * room());
  work.path = raw_path(bench_options.dir, "file");
  bench_need_ok(umemHost_ctor(&work.host), &work.host);
  for (size_t i = 0; i < BENCH_COUNT(pairs); i++) {
    if (!bench_wants("sweep", pairs[i].what))
      continue;
    pairs[i].begin();
    sweep(&pairs[i]);
    pairs[i].end();
  }
  umem_dtor(&work.host);
  return bench_end();
}
