/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapped files and shared memory, to and from host memory: against memcpy to
 * and from the mapping, which raises SIGBUS where the file was cut off, and
 * against pwrite and pread, which answer. The library uses the latter.
 */
#define _GNU_SOURCE
#include "raw.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static struct {
  umemHost host;
  void const *ctx; /* MMap or Shm */
  uintptr_t adr;
  int fd;
  size_t at; /* of adr in fd */
  unsigned char *bytes;
  size_t nbytes;
} work;

/* --- sides ---------------------------------------------------------------- */

static void check_there(struct benchSide *side) {
  raw_check((void const *)work.adr, raw_shift(side), work.nbytes, side->name);
}

static void check_here(struct benchSide *side) {
  (void)side;
  raw_check(work.bytes, 0, work.nbytes, side->name);
}

static void to_ours(struct benchSide *side, size_t ncalls) {
  uintptr_t from = (uintptr_t)work.bytes + raw_shift(side);
  for (size_t i = 0; i < ncalls; i++)
    umem_copy_to(&work.host, from, work.ctx, work.adr, work.nbytes);
}

static void to_memcpy(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    memcpy((void *)work.adr, work.bytes + raw_shift(side), work.nbytes);
}

static void to_pwrite(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    raw_pwrite(work.fd, work.bytes + raw_shift(side), work.nbytes, work.at, 0);
}

static void from_ours(struct benchSide *side, size_t ncalls) {
  (void)side;
  for (size_t i = 0; i < ncalls; i++)
    umem_copy_to(work.ctx, work.adr, &work.host, (uintptr_t)work.bytes,
                 work.nbytes);
}

static void from_memcpy(struct benchSide *side, size_t ncalls) {
  (void)side;
  for (size_t i = 0; i < ncalls; i++)
    memcpy(work.bytes, (void const *)work.adr, work.nbytes);
}

static void from_pread(struct benchSide *side, size_t ncalls) {
  (void)side;
  for (size_t i = 0; i < ncalls; i++)
    raw_pread(work.fd, work.bytes, work.nbytes, work.at, 0);
}

/* --- rows ----------------------------------------------------------------- */

/* What a call costs besides shows in small copies, and is no goal of these. */
enum { GOAL_FROM = 4 << 20 };

static void row(char const *what, struct benchSide const *ours,
                struct benchSide const *other, enum benchRule rule) {
  struct benchSide sides[] = {*ours, *other};
  bench_contest(&(struct benchContest){
      .goal = "map",
      .what = what,
      .nbytes = work.nbytes,
      .nthreads = 1,
      .rule = work.nbytes < GOAL_FROM ? BENCH_NO_LIMIT : rule,
      .limit = 0.97,
      .sides = sides,
      .nsides = BENCH_COUNT(sides)});
}

static void rows_to(char const *kind) {
  char what[32];
  struct benchSide const sides[] = {
      {.name = "umem", .run = to_ours, .after = check_there},
      {.name = "pwrite", .run = to_pwrite, .after = check_there},
      {.name = "memcpy", .run = to_memcpy, .after = check_there}};
  snprintf(what, sizeof what, "Host to %s", kind);
  row(what, &sides[0], &sides[1], BENCH_RATIO);
  row(what, &sides[0], &sides[2], BENCH_NO_LIMIT);
}

static void rows_from(char const *kind) {
  char what[32];
  struct benchSide const sides[] = {
      {.name = "umem", .run = from_ours, .after = check_here},
      {.name = "pread", .run = from_pread, .after = check_here},
      {.name = "memcpy", .run = from_memcpy, .after = check_here}};
  snprintf(what, sizeof what, "%s to Host", kind);
  raw_fill((void *)work.adr, 0, work.nbytes);
  row(what, &sides[0], &sides[1], BENCH_RATIO);
  row(what, &sides[0], &sides[2], BENCH_NO_LIMIT);
}

static void rows(char const *kind, size_t largest) {
  size_t const sizes[] = {64 * BENCH_KIB, 4 * BENCH_MIB, 256 * BENCH_MIB};
  bench_set_threads(1);
  for (size_t i = 0; i < BENCH_COUNT(sizes) && sizes[i] <= largest; i++) {
    work.nbytes = sizes[i];
    raw_fill(work.bytes, 0, work.nbytes + RAW_SLACK);
    rows_to(kind);
    raw_fill(work.bytes, 0, work.nbytes + RAW_SLACK);
    rows_from(kind);
  }
}

static void mmap_rows(size_t largest) {
  umemMMap map;
  char *path = raw_path(bench_options.dir, "mapped");
  bench_need_ok(umemMMap_ctor(&map, path, "w+"), &map);
  bench_need_ok(umem_try_alloc(&map, largest, &work.adr), &map);
  work.ctx = &map;
  work.fd = raw_open(path, O_RDWR);
  work.at = 0;
  rows("MMap", largest);
  raw_close(work.fd);
  umem_dtor(&map);
  raw_remove(path);
  free(path);
}

static void shm_rows(size_t largest) {
  umemShm shm;
  bench_need_ok(umemShm_ctor(&shm, NULL, largest, 0), &shm);
  bench_need_ok(umem_try_alloc(&shm, largest, &work.adr), &shm);
  work.ctx = &shm;
  work.fd = umemShm_get_fd(&shm);
  /* blocks end where the segment does, give or take a page */
  work.at = (size_t)lseek(work.fd, 0, SEEK_END) - largest;
  rows("Shm", largest);
  umem_dtor(&shm);
}

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  size_t const largest = bench_size(256 * BENCH_MIB, 4 * BENCH_MIB);
  raw_need_memory(4 * largest);
  raw_need_room(bench_options.dir, 2 * largest);
  work.bytes = raw_map(largest + RAW_SLACK);
  bench_need_ok(umemHost_ctor(&work.host), &work.host);
  mmap_rows(largest);
  shm_rows(largest);
  return bench_end();
}
