/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allocating in a File: among many live blocks and holes, against few. What a
 * pair of alloc and free takes should hardly depend on how many there are.
 */
#include "raw.h"

#include <stdlib.h>

enum { FEW = 100, MANY = 100000 };

struct work {
  umemFile file;
  char *path;
  size_t nbytes, alignment; /* of what is allocated; 0: as it comes */
};

/* --- files ---------------------------------------------------------------- */

/* So many blocks, and a hole of `hole` bytes behind each, or none. */
static void work_begin(struct work *work, size_t nblocks, size_t hole) {
  umemFile *f = &work->file;
  uintptr_t *holes = calloc(nblocks, sizeof *holes);
  uintptr_t block;
  if (!holes)
    bench_die("no memory");
  work->path = raw_path(bench_options.dir, nblocks == MANY ? "many" : "few");
  bench_need_ok(umemFile_ctor(f, work->path, "w+"), f);
  for (size_t i = 0; i < nblocks; i++) {
    bench_need_ok(umem_try_alloc(f, 1, &block), f);
    if (hole)
      bench_need_ok(umem_try_alloc(f, hole, &holes[i]), f);
  }
  for (size_t i = 0; hole && i < nblocks; i++)
    bench_need_ok(umem_free(f, holes[i]), f);
  free(holes);
}

static void work_end(struct work *work) {
  bench_need_ok(umem_dtor(&work->file), &work->file);
  raw_remove(work->path);
  free(work->path);
}

/* --- rows ----------------------------------------------------------------- */

static void run(struct benchSide *side, size_t ncalls) {
  struct work *work = side->work;
  uintptr_t block = 0;
  while (ncalls--) {
    bench_need_ok(work->alignment
                      ? umem_try_aligned_alloc(&work->file, work->alignment,
                                               work->nbytes, &block)
                      : umem_try_alloc(&work->file, work->nbytes, &block),
                  &work->file);
    bench_need_ok(umem_free(&work->file, block), &work->file);
  }
}

static void row(char const *what, size_t hole, size_t nbytes,
                size_t alignment) {
  if (!bench_wants("P18", what))
    return;
  struct work many = {.nbytes = nbytes, .alignment = alignment}, few = many;
  work_begin(&many, MANY, hole);
  work_begin(&few, FEW, hole);
  struct benchSide sides[] = {
      {.name = "100000 blocks", .run = run, .work = &many},
      {.name = "100 blocks", .run = run, .work = &few}};
  bench_contest(&(struct benchContest){.goal = "P18",
                                       .what = what,
                                       .nbytes = nbytes,
                                       .rule = BENCH_RATIO,
                                       .limit = 0.5,
                                       .in_ns = true,
                                       .sides = sides,
                                       .nsides = BENCH_COUNT(sides)});
  work_end(&many);
  work_end(&few);
}

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  row("among live blocks", 0, 16, 0);
  row("among holes that are too small", 8, 16, 0);
  row("among holes that are too small, aligned", 5000, 8192, 4096);
  row("in a hole", 16, 16, 0);
  return bench_end();
}
