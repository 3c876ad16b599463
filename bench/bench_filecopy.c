/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P5: file to file in the page cache against cp, copy_file_range, sendfile and
 * a loop of reads and writes, on a disk and in memory.
 *
 * Opening and closing count, on all sides. Two sources take turns, so that what
 * the run before left in the destination is wrong.
 */
#define _GNU_SOURCE
#include "raw.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { BUFFER = 16 << 20 };

static struct {
  char const *dir;
  char *src[2], *dest;
  size_t nbytes;
  unsigned char *buffer;
} work;

/* --- before and after ----------------------------------------------------- */

static size_t source_at(struct benchSide const *side) {
  return side->serial % 2 * RAW_SHIFT;
}

static char *source(struct benchSide const *side) {
  return work.src[side->serial % 2];
}

static void fresh_before(struct benchSide *side) {
  (void)side;
  raw_remove(work.dest);
  raw_warm_pages(work.nbytes);
}

static void existing_before(struct benchSide *side) {
  (void)side;
  raw_clean_file(work.dest);
}

static void existing_after_ours(struct benchSide *side) {
  raw_check_file(work.dest, source_at(side), work.nbytes);
}

static void existing_after_raw(struct benchSide *side) {
  if (side->is_checked)
    existing_after_ours(side);
}

static void fresh_after_ours(struct benchSide *side) {
  raw_hold_pages(work.nbytes);
  existing_after_ours(side);
}

static void fresh_after_raw(struct benchSide *side) {
  raw_hold_pages(work.nbytes);
  existing_after_raw(side);
}

/* --- sides: each overwrites the destination, or makes it ------------------ */

static void copy_ours(char const *from, char const *mode) {
  umemFile src, dest;
  bench_need_ok(umemFile_ctor(&src, from, "r"), &src);
  bench_need_ok(umemFile_ctor(&dest, work.dest, mode), &dest);
  bench_need_ok(umem_copy_to(&src, 0, &dest, 0, work.nbytes), &dest);
  bench_need_ok(umem_dtor(&src), &src);
  bench_need_ok(umem_dtor(&dest), &dest);
}

static void ours_fresh(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  copy_ours(source(side), "w");
}

static void ours_existing(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  copy_ours(source(side), "r+");
}

static void run_cp(struct benchSide *side, size_t ncalls) {
  char *const argv[] = {"cp", "--reflink=auto", source(side), work.dest, NULL};
  (void)ncalls;
  if (raw_spawn(argv, NULL, 0) != 0)
    bench_die("cp failed");
}

struct ends {
  int from, to;
};

static struct ends open_ends(struct benchSide const *side) {
  return (struct ends){raw_open(source(side), O_RDONLY),
                       raw_open(work.dest, O_WRONLY | O_CREAT)};
}

static void close_ends(struct ends ends) {
  raw_close(ends.from);
  raw_close(ends.to);
}

static void run_copy_file_range(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  struct ends ends = open_ends(side);
  raw_copy_file_range(ends.from, ends.to, work.nbytes);
  close_ends(ends);
}

static void run_sendfile(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  struct ends ends = open_ends(side);
  raw_sendfile(ends.from, ends.to, work.nbytes);
  close_ends(ends);
}

static void run_read_write(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  struct ends ends = open_ends(side);
  raw_read_write(ends.from, ends.to, work.nbytes, work.buffer, side->chunk);
  close_ends(ends);
}

/* --- rows ----------------------------------------------------------------- */

static struct benchSide const candidates[] = {
    {.name = "cp", .run = run_cp},
    {.name = "copy_file_range", .run = run_copy_file_range},
    {.name = "sendfile", .run = run_sendfile},
    {.name = "read+write 256 K", .run = run_read_write, .chunk = 256 << 10},
    {.name = "read+write 1 M", .run = run_read_write, .chunk = 1 << 20},
    {.name = "read+write 2 M", .run = run_read_write, .chunk = 2 << 20},
    {.name = "read+write 4 M", .run = run_read_write, .chunk = 4 << 20},
    {.name = "read+write 16 M", .run = run_read_write, .chunk = BUFFER},
};
enum { NCANDIDATES = BENCH_COUNT(candidates), BEST = 2, QUALIFYING_PART = 4 };

struct field {
  char const *what;
  bool is_fresh;
  struct benchSide sides[1 + BEST]; /* ours, and the two best of the others */
};

/* A destination that is neither source. */
static void make_dest(void) {
  raw_make_file(work.dest, 2 * RAW_SHIFT, work.nbytes);
}

static void qualify(struct field *field) {
  struct benchSide others[NCANDIDATES];
  bool is_fresh = field->is_fresh;
  memcpy(others, candidates, sizeof others);
  for (size_t i = 0; i < NCANDIDATES; i++) {
    others[i].before = is_fresh ? fresh_before : existing_before;
    others[i].after = is_fresh ? fresh_after_raw : existing_after_raw;
  }
  make_dest();
  bench_qualify(others, NCANDIDATES, BEST);
  memcpy(field->sides + 1, others, BEST * sizeof *others);
  field->sides[0] = (struct benchSide){
      .name = "umem",
      .before = others[0].before,
      .run = is_fresh ? ours_fresh : ours_existing,
      .after = is_fresh ? fresh_after_ours : existing_after_ours};
}

static void row(struct field *field, unsigned nthreads, double limit) {
  bench_contest(&(struct benchContest){.goal = "P5",
                                       .what = field->what,
                                       .nbytes = work.nbytes,
                                       .nthreads = nthreads,
                                       .rule = BENCH_RATIO,
                                       .limit = limit,
                                       .sides = field->sides,
                                       .nsides = BENCH_COUNT(field->sides),
                                       .is_one_call = true});
}

/* --- directories ---------------------------------------------------------- */

static void make_sources(void) {
  for (size_t i = 0; i < BENCH_COUNT(work.src); i++)
    raw_make_file(work.src[i], i * RAW_SHIFT, work.nbytes);
}

static void begin_in(char const *dir) {
  raw_need_room(dir, 4 * work.nbytes);
  work.src[0] = raw_path(dir, "source0");
  work.src[1] = raw_path(dir, "source1");
  work.dest = raw_path(dir, "destination");
}

static void end_in(void) {
  char *const paths[] = {work.src[0], work.src[1], work.dest};
  for (size_t i = 0; i < BENCH_COUNT(paths); i++) {
    raw_remove(paths[i]);
    free(paths[i]);
  }
}

/* On one core, and in memory, there is less to gain. */
static void rows_in(char const *dir, bool is_on_disk, struct field fields[2]) {
  begin_in(dir);
  work.nbytes /= QUALIFYING_PART;
  make_sources();
  qualify(&fields[0]);
  qualify(&fields[1]);
  work.nbytes *= QUALIFYING_PART;
  make_sources();
  for (int i = 0; i < 2; i++) {
    if (!bench_wants("P5", fields[i].what))
      continue;
    make_dest();
    row(&fields[i], 2, !is_on_disk ? 1.0 : fields[i].is_fresh ? 1.2 : 1.1);
    if (is_on_disk)
      row(&fields[i], 1, 1.0);
  }
  end_in();
}

static void disk_rows(char const *dir) {
  struct field fields[] = {{.what = "copy to a fresh file", .is_fresh = true},
                           {.what = "copy over a file"}};
  if (raw_is_in_memory(dir))
    bench_die("\"%s\" is in memory: --dir must be on a disk", dir);
  if (bench_wants("P5", fields[0].what) || bench_wants("P5", fields[1].what))
    rows_in(dir, true, fields);
}

static void tmpfs_rows(char const *dir) {
  struct field fields[] = {
      {.what = "tmpfs: copy to a fresh file", .is_fresh = true},
      {.what = "tmpfs: copy over a file"}};
  if (!bench_wants("P5", fields[0].what) && !bench_wants("P5", fields[1].what))
    return;
  if (access(dir, W_OK) || !raw_is_in_memory(dir))
    bench_cannot("tmpfs", "/dev/shm is not a tmpfs that can be written to");
  else
    rows_in(dir, false, fields);
}

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  work.nbytes = bench_size(BENCH_GIB, 64 * BENCH_MIB);
  raw_need_memory(6 * work.nbytes);
  work.buffer = raw_map_huge(BUFFER);
  disk_rows(bench_options.dir);
  tmpfs_rows("/dev/shm");
  return bench_end();
}
