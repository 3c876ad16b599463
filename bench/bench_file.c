/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P4: host to file and file to host, through the page cache and past it,
 * against loops of system calls, stdio and fio.
 *
 * Opening and closing count, on all sides. A file that is overwritten is clean
 * before each run: whoever comes next does not pay for the pages of who went
 * before.
 */
#define _GNU_SOURCE
#include "raw.h"

#include <fcntl.h>
#include <string.h>

struct work {
  umemHost host;
  umemFile file;
  char *path;
  unsigned char *memory; /* nbytes + RAW_SLACK bytes */
  size_t nbytes;
  uintptr_t block; /* fresh destination */
};
static struct work work;

/* --- writing -------------------------------------------------------------- */

static unsigned char *source(struct benchSide const *side) {
  return work.memory + raw_shift(side);
}

static void clean_before(struct benchSide *side) {
  (void)side;
  raw_clean_file(work.path);
}

static void fresh_before(struct benchSide *side) {
  (void)side;
  raw_remove(work.path);
  raw_warm_pages(work.nbytes);
}

static void check_ours(struct benchSide *side) {
  raw_check_file(work.path, raw_shift(side), work.nbytes);
}

static void check_raw(struct benchSide *side) {
  if (side->is_checked)
    check_ours(side);
}

static void fresh_after_ours(struct benchSide *side) {
  raw_hold_pages(work.nbytes);
  check_ours(side);
}

static void fresh_after_raw(struct benchSide *side) {
  raw_hold_pages(work.nbytes);
  check_raw(side);
}

static void write_with_mode(struct benchSide *side, char const *mode) {
  bench_need_ok(umemFile_ctor(&work.file, work.path, mode), &work.file);
  bench_need_ok(umem_copy_to(&work.host, (uintptr_t)source(side), &work.file, 0,
                             work.nbytes),
                &work.file);
  bench_need_ok(umem_dtor(&work.file), &work.file);
}

static void write_ours(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  write_with_mode(side, "r+");
}

static void write_ours_fresh(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  write_with_mode(side, "w");
}

static void write_raw(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  int fd = raw_open(work.path, O_WRONLY | O_CREAT);
  raw_pwrite(fd, source(side), work.nbytes, 0, side->chunk);
  raw_close(fd);
}

static void write_stdio(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  FILE *file = fopen(work.path, "r+e");
  size_t chunk = side->chunk ? side->chunk : work.nbytes;
  for (size_t done = 0; file && done < work.nbytes; done += chunk)
    if (fwrite(source(side) + done, 1, chunk, file) != chunk)
      bench_die("fwrite failed");
  if (!file || fclose(file))
    bench_die("stdio failed");
}

/* --- reading -------------------------------------------------------------- */

static void read_after(struct benchSide *side) {
  raw_check(work.memory, raw_shift(side), work.nbytes, side->name);
}

static void read_to(struct benchSide *side, uintptr_t dest) {
  bench_need_ok(umemFile_ctor(&work.file, work.path, "r"), &work.file);
  bench_need_ok(
      umem_copy_to(&work.file, raw_shift(side), &work.host, dest, work.nbytes),
      &work.file);
  bench_need_ok(umem_dtor(&work.file), &work.file);
}

static void read_ours(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  read_to(side, (uintptr_t)work.memory);
}

static void read_raw_to(struct benchSide *side, void *dest) {
  int fd = raw_open(work.path, O_RDONLY);
  raw_pread(fd, dest, work.nbytes, raw_shift(side), side->chunk);
  raw_close(fd);
}

static void read_raw(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  read_raw_to(side, work.memory);
}

static void read_stdio(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  FILE *file = fopen(work.path, "re");
  size_t chunk = side->chunk ? side->chunk : work.nbytes;
  if (!file || fseeko(file, (off_t)raw_shift(side), SEEK_SET))
    bench_die("stdio failed");
  for (size_t done = 0; done < work.nbytes; done += chunk)
    if (fread(work.memory + done, 1, chunk, file) != chunk)
      bench_die("fread failed");
  fclose(file);
}

/* --- reading into blocks that nobody has touched -------------------------- */

static void block_before(struct benchSide *side) {
  (void)side;
  raw_warm_pages(work.nbytes);
}

static void block_check(struct benchSide *side) {
  raw_hold_pages(work.nbytes);
  raw_check((void *)work.block, raw_shift(side), work.nbytes, side->name);
}

static void block_ours(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  work.block = umem_alloc(&work.host, work.nbytes);
  read_to(side, work.block);
}

static void block_ours_after(struct benchSide *side) {
  block_check(side);
  umem_free(&work.host, work.block);
}

static void block_raw(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  void *block = malloc(work.nbytes);
  if (!block)
    bench_die("no memory");
  read_raw_to(side, block);
  work.block = (uintptr_t)block;
}

static void block_raw_after(struct benchSide *side) {
  block_check(side);
  free((void *)work.block);
}

/* --- past the page cache -------------------------------------------------- */

/* Its pages must not come into the page cache: they would have to be dropped
   again, by a side. */
static void check_direct(size_t at) {
  size_t const chunk = 8 * BENCH_MIB;
  unsigned char *bytes = raw_map_huge(chunk);
  for (size_t done = 0; done < work.nbytes; done += chunk) {
    raw_direct(&(struct rawDirect){.path = work.path,
                                   .bytes = bytes,
                                   .nbytes = chunk,
                                   .at = done,
                                   .chunk = chunk,
                                   .nthreads = 1});
    raw_check(bytes, at + done, chunk, "O_DIRECT");
  }
  raw_unmap(bytes, chunk);
}

static void direct_written_after(struct benchSide *side) {
  if (side->is_checked)
    check_direct(raw_shift(side));
}

static void open_direct(char const *mode) {
  umemFileOptions options = {.size = sizeof options, .flags = UMEM_FILE_DIRECT};
  bench_need_ok(umemFile_ctor_ex(&work.file, work.path, mode, &options),
                &work.file);
}

static void direct_write_ours(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  open_direct("r+");
  bench_need_ok(umem_copy_to(&work.host, (uintptr_t)source(side), &work.file, 0,
                             work.nbytes),
                &work.file);
  bench_need_ok(umem_dtor(&work.file), &work.file);
}

static void direct_read_ours(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  open_direct("r");
  bench_need_ok(umem_copy_to(&work.file, raw_shift(side), &work.host,
                             (uintptr_t)work.memory, work.nbytes),
                &work.file);
  bench_need_ok(umem_dtor(&work.file), &work.file);
}

static void direct_write_raw(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  raw_direct(&(struct rawDirect){.path = work.path,
                                 .is_write = true,
                                 .bytes = source(side),
                                 .nbytes = work.nbytes,
                                 .chunk = side->chunk,
                                 .nthreads = side->nthreads});
}

static void direct_read_raw(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  raw_direct(&(struct rawDirect){.path = work.path,
                                 .bytes = work.memory,
                                 .nbytes = work.nbytes,
                                 .at = raw_shift(side),
                                 .chunk = side->chunk,
                                 .nthreads = side->nthreads});
}

static void run_fio(struct benchSide *side, bool is_write) {
  side->own_ns =
      raw_fio(work.path, is_write, work.nbytes, side->chunk, side->nthreads);
}

static void fio_write(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  run_fio(side, true);
}

static void fio_read(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  run_fio(side, false);
}

/* --- rows ----------------------------------------------------------------- */

/* A file of that size; what is written to it is something else. */
static void make_file(size_t nbytes) {
  raw_make_file(work.path, RAW_SLACK, nbytes);
}

/* To read from: the data are at their places. */
static void make_source(void) {
  raw_make_file(work.path, 0, work.nbytes + RAW_SLACK);
}

static void row(char const *what, unsigned nthreads, double limit,
                struct benchSide const *ours, struct benchSide const *baselines,
                size_t nbaselines) {
  struct benchSide sides[8] = {*ours};
  if (nbaselines >= BENCH_COUNT(sides))
    bench_die("\"%s\": too many sides", what);
  memcpy(sides + 1, baselines, nbaselines * sizeof *baselines);
  bench_contest(&(struct benchContest){.goal = "P4",
                                       .what = what,
                                       .nbytes = work.nbytes,
                                       .nthreads = nthreads,
                                       .rule = BENCH_RATIO,
                                       .limit = limit,
                                       .sides = sides,
                                       .nsides = nbaselines + 1,
                                       .is_one_call = true});
}

/* A way to do it: how much at once, and by how many. */
struct shape {
  char const *name;
  size_t chunk;
  unsigned nthreads;
};

static struct shape const loops[] = {
    {"raw, 64 KiB", 64 << 10, 1}, {"raw, 256 KiB", 256 << 10, 1},
    {"raw, 1 MiB", 1 << 20, 1},   {"raw, 4 MiB", 4 << 20, 1},
    {"raw, 16 MiB", 16 << 20, 1}, {"raw, one call", 0, 1},
};

static struct shape const direct_loops[] = {
    {"raw, 1 MiB x 1", 1 << 20, 1},   {"raw, 1 MiB x 2", 1 << 20, 2},
    {"raw, 1 MiB x 4", 1 << 20, 4},   {"raw, 4 MiB x 1", 4 << 20, 1},
    {"raw, 4 MiB x 2", 4 << 20, 2},   {"raw, 4 MiB x 4", 4 << 20, 4},
    {"raw, 16 MiB x 1", 16 << 20, 1}, {"raw, 16 MiB x 2", 16 << 20, 2},
    {"raw, 16 MiB x 4", 16 << 20, 4},
};

/* Here the threads are requests at once. */
static struct shape const fio_jobs[] = {
    {"fio, 4 MiB x 4", 4 << 20, 4},
    {"fio, 4 MiB x 1", 4 << 20, 1},
    {"fio, 1 MiB x 16", 1 << 20, 16},
};

enum { BEST = 2, QUALIFYING_PART = 4 };

/* The `keep` fastest ways to do what `like` does, found out with less data. */
static void best_of(struct benchSide const *like, struct shape const *shapes,
                    size_t nshapes, struct benchSide *best, size_t keep) {
  struct benchSide sides[BENCH_COUNT(direct_loops)];
  for (size_t i = 0; i < nshapes; i++) {
    sides[i] = *like;
    sides[i].name = shapes[i].name;
    sides[i].chunk = shapes[i].chunk;
    sides[i].nthreads = shapes[i].nthreads;
  }
  work.nbytes /= QUALIFYING_PART;
  bench_qualify(sides, nshapes, keep);
  work.nbytes *= QUALIFYING_PART;
  memcpy(best, sides, keep * sizeof *best);
}

static struct benchSide side(char const *name, struct benchSide const *like,
                             void (*run)(struct benchSide *, size_t)) {
  struct benchSide made = *like;
  made.name = name;
  made.run = run;
  return made;
}

static struct benchSide with_chunk(struct benchSide made, size_t chunk) {
  made.chunk = chunk;
  return made;
}

static void overwrite_rows(void) {
  struct benchSide like = {.before = clean_before, .after = check_raw};
  struct benchSide ours = side("umem", &like, write_ours);
  ours.after = check_ours;
  struct benchSide raw = side(NULL, &like, write_raw), best[BEST];
  struct benchSide one = side("fwrite, one call", &like, write_stdio);
  struct benchSide small =
      with_chunk(side("fwrite, 64 KiB", &like, write_stdio), 64 << 10);
  if (!bench_wants("P4", "write, existing file"))
    return;
  make_file(work.nbytes / QUALIFYING_PART);
  best_of(&raw, loops, BENCH_COUNT(loops), best, BEST);
  make_file(work.nbytes);
  for (unsigned nthreads = 1; nthreads <= 2; nthreads++)
    row("write, existing file", nthreads, 0.97, &ours, best, BEST);
  row("write, existing file", 1, 1.0, &ours, &one, 1);
  row("write, existing file", 1, 1.5, &ours, &small, 1);
}

static void fresh_file_rows(void) {
  struct benchSide like = {.before = fresh_before, .after = fresh_after_raw};
  struct benchSide ours = side("umem", &like, write_ours_fresh);
  ours.after = fresh_after_ours;
  struct benchSide raw = side(NULL, &like, write_raw), best[BEST];
  if (!bench_wants("P4", "write, fresh file"))
    return;
  best_of(&raw, loops, BENCH_COUNT(loops), best, BEST);
  for (unsigned nthreads = 1; nthreads <= 2; nthreads++)
    row("write, fresh file", nthreads, 1.2, &ours, best, BEST);
}

static void read_rows(void) {
  struct benchSide like = {.after = read_after};
  struct benchSide ours = side("umem", &like, read_ours);
  struct benchSide raw = side(NULL, &like, read_raw), best[BEST];
  struct benchSide one = side("fread, one call", &like, read_stdio);
  struct benchSide small =
      with_chunk(side("fread, 64 KiB", &like, read_stdio), 64 << 10);
  if (!bench_wants("P4", "read"))
    return;
  best_of(&raw, loops, BENCH_COUNT(loops), best, BEST);
  row("read", 1, 0.97, &ours, best, BEST);
  row("read", 2, 1.2, &ours, best, BEST);
  row("read", 1, 1.0, &ours, &one, 1);
  row("read", 1, 1.0, &ours, &small, 1);
}

static void read_fresh_row(void) {
  struct benchSide ours = {.name = "umem",
                           .before = block_before,
                           .run = block_ours,
                           .after = block_ours_after};
  struct benchSide raw = {.name = "malloc + pread",
                          .before = block_before,
                          .run = block_raw,
                          .after = block_raw_after,
                          .chunk = 1 << 20};
  row("alloc + read", 1, 3, &ours, &raw, 1);
}

/* The two best loops, and the best fio. */
static void direct_row(char const *what, struct benchSide const *ours,
                       struct benchSide const *raw,
                       struct benchSide const *fio) {
  struct benchSide best[BEST + 1];
  size_t count = BEST;
  if (!bench_wants("P4", what))
    return;
  best_of(raw, direct_loops, BENCH_COUNT(direct_loops), best, BEST);
  if (raw_has_fio())
    best_of(fio, fio_jobs, bench_size(BENCH_COUNT(fio_jobs), 1), &best[count++],
            1);
  else
    bench_note("fio is not installed: loops are the only baseline");
  row(what, 2, 0.95, ours, best, count);
}

static void direct_rows(void) {
  struct benchSide reading = {.after = read_after};
  struct benchSide writing = {.after = direct_written_after};
  struct benchSide fio = {.after = NULL}; /* its data are its own */
  struct benchSide ours, raw;
  if (!bench_wants("P4", "O_DIRECT read") &&
      !bench_wants("P4", "O_DIRECT write"))
    return;
  if (!raw_has_direct(bench_options.dir)) {
    bench_cannot("O_DIRECT", "the file system has no O_DIRECT");
    return;
  }
  make_source();
  raw_drop_file(work.path);
  ours = side("umem", &reading, direct_read_ours);
  raw = side(NULL, &reading, direct_read_raw);
  fio.run = fio_read;
  direct_row("O_DIRECT read", &ours, &raw, &fio);
  raw_fill(work.memory, 0, work.nbytes + RAW_SLACK);
  ours = side("umem", &writing, direct_write_ours);
  raw = side(NULL, &writing, direct_write_raw);
  fio.run = fio_write;
  direct_row("O_DIRECT write", &ours, &raw, &fio);
}

/* --- all ------------------------------------------------------------------ */

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  work.nbytes = bench_size(BENCH_GIB, 64 * BENCH_MIB);
  if (raw_is_in_memory(bench_options.dir))
    bench_die("\"%s\" is in memory: --dir must be on a disk",
              bench_options.dir);
  raw_need_room(bench_options.dir, 2 * work.nbytes);
  raw_need_memory(6 * work.nbytes);
  bench_need_ok(umemHost_ctor(&work.host), &work.host);
  work.path = raw_path(bench_options.dir, "file");
  work.memory = raw_map_huge(work.nbytes + RAW_SLACK);
  raw_fill(work.memory, 0, work.nbytes + RAW_SLACK);
  overwrite_rows();
  fresh_file_rows();
  make_source();
  read_rows();
  read_fresh_row();
  direct_rows();
  raw_remove(work.path);
  umem_dtor(&work.host);
  return bench_end();
}
