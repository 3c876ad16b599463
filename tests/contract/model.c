/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random programs over one context of every kind, against images of what the
 * memory should hold. A seed decides a program; UMEM_TEST_SEEDS sets how many
 * are run, UMEM_TEST_FIRST_SEED the first.
 */
#include "contract.h"

enum { KINDS_MAX = 32, BLOCKS = 24, STEPS = 500 };

struct model {
  uint64_t seed, random;
  unsigned step;
  struct subject subjects[KINDS_MAX];
  size_t subject_count;
  struct block blocks[BLOCKS]; /* those with a subject are live */
};

#define must(m, condition)                                                     \
  do {                                                                         \
    if (!(condition))                                                          \
      model_failed(m, #condition, __LINE__);                                   \
  } while (0)
#define must_be_ok(m, call) must(m, (call) == umemOK)

static void model_failed(struct model const *m, char const *what, int line) {
  print_error("seed %llu, step %u: %s\n", (unsigned long long)m->seed, m->step,
              what);
  for (size_t i = 0; i < m->subject_count; i++)
    print_error("  %s: %s\n", m->subjects[i].kind->name,
                umem_get_message(&m->subjects[i].ctx));
  _fail(__FILE__, line);
}

static size_t pick(struct model *m, size_t below) {
  return (size_t)random_below(&m->random, below);
}

/* Mostly small; now and then more than a chunk. */
static size_t pick_size(struct model *m) {
  size_t kind = pick(m, 100);
  return 1 + pick(m, kind < 90 ? 3000 : kind < 99 ? 100000 : CHUNK + 5000);
}

static struct block *pick_live(struct model *m) {
  size_t first = pick(m, BLOCKS);
  for (size_t i = 0; i < BLOCKS; i++) {
    struct block *block = &m->blocks[(first + i) % BLOCKS];
    if (block->subject)
      return block;
  }
  return NULL;
}

/* --- steps ---------------------------------------------------------------- */

static void fill_block(struct model *m, struct block *block) {
  struct subject *s = block->subject;
  random_bytes(block->image, block->nbytes, random_next(&m->random));
  s->kind->poke(s, block->adr, block->image, block->nbytes);
}

static void step_alloc(struct model *m) {
  struct block *block = &m->blocks[pick(m, BLOCKS)];
  if (block->subject)
    return;
  struct subject *s = &m->subjects[pick(m, m->subject_count)];
  size_t nbytes = pick_size(m), alignment = (size_t)1 << pick(m, 13);
  block->image = calloc(1, nbytes + alignment);
  assert_non_null(block->image);
  switch (pick(m, 3)) {
  case 0:
    must_be_ok(m, umem_try_alloc(&s->ctx, nbytes, &block->adr));
    break;
  case 1:
    must_be_ok(m, umem_try_calloc(&s->ctx, nbytes, 1, &block->adr));
    break;
  default:
    nbytes = (nbytes + alignment - 1) & ~(alignment - 1);
    must_be_ok(m,
               umem_try_aligned_alloc(&s->ctx, alignment, nbytes, &block->adr));
    must(m, block->adr && block->adr % alignment == 0);
    break;
  }
  block->subject = s;
  block->nbytes = nbytes;
  fill_block(m, block);
}

static void step_free(struct model *m) {
  struct block *block = pick_live(m);
  if (!block)
    return;
  must(m, block_is_intact(block));
  must_be_ok(m, umem_free(&block->subject->ctx, block->adr));
  free(block->image);
  *block = (struct block){.nbytes = 0};
}

static void step_set(struct model *m) {
  struct block *block = pick_live(m);
  if (!block)
    return;
  void const *ctx = &block->subject->ctx;
  size_t at = pick(m, block->nbytes), nbytes = pick(m, block->nbytes - at + 1);
  int value = (int)pick(m, 256);
  if (pick(m, 2))
    must_be_ok(m, umem_try_set(ctx, block->adr + at, value, nbytes));
  else
    must_be_ok(m, umem_set_safe(ctx, block->adr + at, block->nbytes - at, value,
                                nbytes));
  memset(block->image + at, value, nbytes);
  must(m, block_is_intact(block));
}

static void step_copy(struct model *m) {
  struct block *src = pick_live(m);
  struct block *dest = pick(m, 4) ? pick_live(m) : src;
  if (!src)
    return;
  size_t from = pick(m, src->nbytes), to = pick(m, dest->nbytes);
  size_t left = src->nbytes - from, room = dest->nbytes - to;
  struct move move = {.src = &src->subject->ctx,
                      .dest = &dest->subject->ctx,
                      .src_adr = src->adr + from,
                      .dest_adr = dest->adr + to,
                      .src_size = left,
                      .dest_size = room,
                      .nbytes = pick(m, (left < room ? left : room) + 1)};
  must_be_ok(m, move_as(&move, pick(m, MOVES)));
  memmove(dest->image + to, src->image + from, move.nbytes);
  must(m, block_is_intact(dest));
}

/* More than there is: refused, and nothing moved. */
static void step_refused(struct model *m) {
  struct block *src = pick_live(m), *dest = pick_live(m);
  if (!src)
    return;
  struct move move = {.src = &src->subject->ctx,
                      .dest = &dest->subject->ctx,
                      .src_adr = src->adr,
                      .dest_adr = dest->adr,
                      .src_size = src->nbytes,
                      .dest_size = dest->nbytes,
                      .nbytes = dest->nbytes + 1};
  size_t spelling = SAFE_MOVES + pick(m, MOVES - SAFE_MOVES);
  must(m, move_as(&move, spelling) == umemIndexError);
  must(m, umem_get_status(move.src) == umemIndexError);
  must_be_ok(m, umem_clean_status(move.src));
  must_be_ok(m, umem_clean_status(move.dest));
  must(m, block_is_intact(dest));
}

static void step_mirror(struct model *m) {
  struct block *block = pick_live(m);
  if (!block)
    return;
  struct subject *s = &m->subjects[pick(m, m->subject_count)];
  void const *src = &block->subject->ctx, *dest = &s->ctx;
  size_t alignment = pick(m, 2) ? 0 : (size_t)1 << pick(m, 13);
  struct block mirror = *block; /* one image for both */
  mirror.subject = s;
  must_be_ok(m, umem_try_connect(src, block->adr, block->nbytes, dest,
                                 alignment, &mirror.adr));
  must(m, alignment == 0 || mirror.adr % alignment == 0);
  must(m, block_is_intact(&mirror));
  fill_block(m, &mirror);
  must_be_ok(m,
             umem_sync_from(src, block->adr, dest, mirror.adr, block->nbytes));
  must(m, block_is_intact(block));
  fill_block(m, block);
  must_be_ok(m, umem_sync_to(src, block->adr, dest, mirror.adr, block->nbytes));
  must(m, block_is_intact(&mirror));
  must_be_ok(m, umem_disconnect(src, block->adr, dest, mirror.adr, alignment));
}

/* --- a program ------------------------------------------------------------ */

static void model_step(struct model *m) {
  size_t step = pick(m, 16);
  if (step < 4)
    step_alloc(m);
  else if (step < 6)
    step_free(m);
  else if (step < 8)
    step_set(m);
  else if (step < 14)
    step_copy(m);
  else if (step < 15)
    step_refused(m);
  else
    step_mirror(m);
}

static void model_begin(struct model *m, uint64_t seed, unsigned rungs_off) {
  memset(m, 0, sizeof *m);
  m->seed = m->random = seed;
  for (size_t i = 0; i < kind_count; i++)
    if (!rungs_off || !kinds[i].no_ladder)
      m->subject_count +=
          subject_try(&m->subjects[m->subject_count], &kinds[i]);
}

static void model_end(struct model *m) {
  for (size_t i = 0; i < BLOCKS; i++)
    must(m, !m->blocks[i].subject || block_is_intact(&m->blocks[i]));
  while (pick_live(m))
    step_free(m);
  for (size_t i = 0; i < m->subject_count; i++)
    subject_end(&m->subjects[i]);
}

static uint64_t environment(char const *name, uint64_t otherwise) {
  char const *value = getenv(name);
  return value && value[0] ? strtoull(value, NULL, 10) : otherwise;
}

static void a_random_program__leaves_what_the_images_say(void **state) {
  struct situation const *s = *state;
  static struct model m;
  uint64_t first = environment("UMEM_TEST_FIRST_SEED", 1);
  uint64_t seeds = environment("UMEM_TEST_SEEDS", scaled(20, 3));
  for (uint64_t seed = first; seed < first + seeds; seed++) {
    model_begin(&m, seed, s->rungs_off);
    for (m.step = 0; m.step < STEPS; m.step++)
      model_step(&m);
    model_end(&m);
  }
}

struct chapter model_tests(void) {
  static struct CMUnitTest const tests[] = {
      cmocka_unit_test(a_random_program__leaves_what_the_images_say),
  };
  return (struct chapter){tests, sizeof tests / sizeof *tests};
}
