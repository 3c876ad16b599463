/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P18: what it costs to track live blocks, however many there are.
 *
 * Registry: a device whose addresses are made up, so that an allocation is the
 * registry and the way to it. The baseline is a balanced binary tree of blocks
 * on the heap (tsearch) under a mutex. Addresses are random, and so is the
 * order in which they come and go.
 *
 * Shm: a block comes and goes while 40,000 others are live; the baseline is the
 * same while 100 are.
 */
#include "bench.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <umem/backend.h>

static uint64_t random_next(void) {
  static uint64_t state = 0x9e3779b97f4a7c15;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state >> 11;
}

static void *need(void *memory) {
  if (!memory)
    bench_die("no memory");
  return memory;
}

/* Numbers below `count` in a random order. */
static size_t *random_order(size_t count) {
  size_t *order = need(malloc(count * sizeof *order));
  for (size_t i = 0; i < count; i++) {
    size_t at = random_next() % (i + 1);
    order[i] = order[at];
    order[at] = i;
  }
  return order;
}

/* --- registry ------------------------------------------------------------- */

enum { SLOT = 4096, NBYTES = 64, OTHER = SLOT / 2 };

/* A live block in every slot of SLOT addresses; in one half of it or, after it
   has been replaced, in the other. */
struct blocks {
  size_t count, next;
  size_t *order;
  uintptr_t *addresses;
  uintptr_t given; /* what the device hands out next */
  umemVirtual ctx;
  pthread_mutex_t lock;
  void *tree;
};

struct leaf {
  uintptr_t adr;
  size_t nbytes, origin, reserved;
};

static umemStatusType device_dtor(void *state, umemError *error) {
  (void)state, (void)error;
  return umemOK;
}

static umemStatusType device_alloc(void *state, size_t nbytes, size_t alignment,
                                   uintptr_t *adr_out, umemError *error) {
  struct blocks const *blocks = state;
  (void)nbytes, (void)alignment, (void)error;
  *adr_out = blocks->given;
  return umemOK;
}

static umemStatusType device_free(void *state, uintptr_t adr, size_t nbytes,
                                  umemError *error) {
  (void)state, (void)adr, (void)nbytes, (void)error;
  return umemOK;
}

static umemStatusType device_read(void *state, uintptr_t adr, void *out,
                                  size_t nbytes, umemError *error) {
  (void)state, (void)adr, (void)out, (void)nbytes, (void)error;
  return umemNotSupportedError;
}

static umemStatusType device_write(void *state, uintptr_t adr, void const *in,
                                   size_t nbytes, umemError *error) {
  (void)state, (void)adr, (void)in, (void)nbytes, (void)error;
  return umemNotSupportedError;
}

static size_t device_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  (void)state;
  out[0] = (umemSpace){UMEM_SPACE_PRIVATE, {1, 0}};
  return 1;
}

static struct umemVtbl const device = {.size = sizeof(struct umemVtbl),
                                       .type = umemForeignDevice,
                                       .name = "Bench",
                                       .dtor = device_dtor,
                                       .alloc = device_alloc,
                                       .free = device_free,
                                       .read = device_read,
                                       .write = device_write,
                                       .spaces = device_spaces};

static void ours_add(struct blocks *blocks, uintptr_t adr) {
  blocks->given = adr;
  if (umem_alloc(&blocks->ctx, NBYTES) != adr)
    bench_die("%s", umem_get_message(&blocks->ctx));
}

static void ours_take(struct blocks *blocks, uintptr_t adr) {
  bench_need_ok(umem_free(&blocks->ctx, adr), &blocks->ctx);
}

static bool ours_has(struct blocks *blocks, uintptr_t adr) {
  return umem_aligned_origin(&blocks->ctx, adr) == adr;
}

static int leaf_compare(void const *a, void const *b) {
  struct leaf const *one = a, *two = b;
  if (one->adr < two->adr)
    return two->adr - one->adr >= one->nbytes ? -1 : 0;
  return one->adr - two->adr >= two->nbytes ? 1 : 0;
}

static void tree_add(struct blocks *blocks, uintptr_t adr) {
  struct leaf *leaf = need(malloc(sizeof *leaf));
  *leaf = (struct leaf){adr, NBYTES, adr, NBYTES};
  pthread_mutex_lock(&blocks->lock);
  need(tsearch(leaf, &blocks->tree, leaf_compare));
  pthread_mutex_unlock(&blocks->lock);
}

static void tree_take(struct blocks *blocks, uintptr_t adr) {
  struct leaf key = {adr, 1, 0, 0};
  pthread_mutex_lock(&blocks->lock);
  struct leaf **node = need(tfind(&key, &blocks->tree, leaf_compare));
  struct leaf *leaf = *node;
  tdelete(leaf, &blocks->tree, leaf_compare);
  pthread_mutex_unlock(&blocks->lock);
  free(leaf);
}

static bool tree_has(struct blocks *blocks, uintptr_t adr) {
  struct leaf key = {adr, 1, 0, 0};
  pthread_mutex_lock(&blocks->lock);
  struct leaf **node = tfind(&key, &blocks->tree, leaf_compare);
  bool has = node && (*node)->adr == adr;
  pthread_mutex_unlock(&blocks->lock);
  return has;
}

struct books {
  void (*add)(struct blocks *, uintptr_t);
  void (*take)(struct blocks *, uintptr_t);
  bool (*has)(struct blocks *, uintptr_t);
  struct blocks blocks;
};

static void books_begin(struct books *books, size_t count) {
  struct blocks *blocks = &books->blocks;
  *blocks =
      (struct blocks){.count = count,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .order = random_order(count),
                      .addresses = need(calloc(count, sizeof(uintptr_t)))};
  if (umemVirtual_ctor_ex(&blocks->ctx, &device, blocks))
    bench_die("%s", umem_get_message(&blocks->ctx));
  for (size_t i = 0; i < count; i++) {
    size_t slot = blocks->order[i];
    uintptr_t place = random_next() % (OTHER - NBYTES) / 16 * 16;
    blocks->addresses[slot] = ((uintptr_t)1 << 40) + slot * SLOT + place;
    books->add(blocks, blocks->addresses[slot]);
  }
}

static void books_end(struct books *books) {
  struct blocks *blocks = &books->blocks;
  for (size_t slot = 0; slot < blocks->count; slot++)
    books->take(blocks, blocks->addresses[slot]);
  bench_need_ok(umem_dtor(&blocks->ctx), &blocks->ctx);
  free(blocks->addresses);
  free(blocks->order);
}

static size_t next_slot(struct blocks *blocks) {
  size_t at = blocks->next++;
  if (blocks->next == blocks->count)
    blocks->next = 0;
  return blocks->order[at];
}

static void replace(struct benchSide *side, size_t ncalls) {
  struct books *books = side->work;
  struct blocks *blocks = &books->blocks;
  while (ncalls--) {
    uintptr_t *adr = &blocks->addresses[next_slot(blocks)];
    books->take(blocks, *adr);
    *adr ^= OTHER;
    books->add(blocks, *adr);
  }
}

static void look_up(struct benchSide *side, size_t ncalls) {
  struct books *books = side->work;
  struct blocks *blocks = &books->blocks;
  while (ncalls--)
    if (!books->has(blocks, blocks->addresses[next_slot(blocks)]))
      bench_die("a block is not found");
}

/* What is live is found, and what was taken is not. */
static void check_books(struct benchSide *side) {
  struct books *books = side->work;
  struct blocks *blocks = &books->blocks;
  for (size_t slot = 0; side->is_checked && slot < blocks->count; slot++)
    if (!books->has(blocks, blocks->addresses[slot]) ||
        books->has(blocks, blocks->addresses[slot] ^ OTHER))
      bench_die("the blocks are others");
}

static void contest_of_books(char const *what, size_t count, double limit,
                             void (*run)(struct benchSide *, size_t)) {
  static struct books ours = {ours_add, ours_take, ours_has, {.count = 0}};
  static struct books tree = {tree_add, tree_take, tree_has, {.count = 0}};
  if (!bench_wants("P18", what))
    return;
  books_begin(&ours, count);
  books_begin(&tree, count);
  struct benchSide sides[] = {
      {.name = "umem", .run = run, .after = check_books, .work = &ours},
      {.name = "tsearch", .run = run, .after = check_books, .work = &tree}};
  bench_contest(&(struct benchContest){.goal = "P18",
                                       .what = what,
                                       .nbytes = NBYTES,
                                       .rule = BENCH_AT_MOST,
                                       .limit = limit,
                                       .in_ns = true,
                                       .sides = sides,
                                       .nsides = BENCH_COUNT(sides),
                                       .batch_ns = 2e6});
  books_end(&tree);
  books_end(&ours);
}

/* --- Shm ------------------------------------------------------------------ */

enum { FEW = 100, MANY = 40000, GRANULE = 256 };

struct segment {
  umemShm shm;
  size_t count, next;
  size_t *order;
  uintptr_t *blocks;
};

static void segment_fill(struct segment *segment, size_t block) {
  segment->blocks[block] = umem_alloc(&segment->shm, NBYTES);
  if (!segment->blocks[block])
    bench_die("%s", umem_get_message(&segment->shm));
}

/* Room for twice as many. */
static void segment_begin(struct segment *segment, char const *name,
                          size_t count) {
  *segment = (struct segment){.count = count,
                              .order = random_order(count),
                              .blocks = need(calloc(count, sizeof(uintptr_t)))};
  bench_need_ok(
      umemShm_ctor(&segment->shm, name, (size_t)2 * MANY * GRANULE, 0),
      &segment->shm);
  for (size_t block = 0; block < count; block++)
    segment_fill(segment, block);
}

static void segment_end(struct segment *segment) {
  bench_need_ok(umem_dtor(&segment->shm), &segment->shm);
  free(segment->order);
  free(segment->blocks);
}

/* Every block keeps the number that is put into it. */
static void check_segment(struct benchSide *side) {
  struct segment const *segment = side->work;
  size_t count = side->is_checked ? segment->count : 0;
  for (size_t block = 0; block < count; block++)
    memcpy((void *)segment->blocks[block], &block, sizeof block);
  for (size_t block = 0; block < count; block++)
    if (memcmp((void const *)segment->blocks[block], &block, sizeof block) != 0)
      bench_die("two blocks have the same bytes");
}

/* One more, behind all others. */
static void come_and_go(struct benchSide *side, size_t ncalls) {
  struct segment const *segment = side->work;
  while (ncalls--) {
    uintptr_t adr = umem_alloc(&segment->shm, NBYTES);
    bench_need_ok(umem_free(&segment->shm, adr), &segment->shm);
  }
}

static void replace_any(struct benchSide *side, size_t ncalls) {
  struct segment *segment = side->work;
  while (ncalls--) {
    size_t block = segment->order[segment->next++ % segment->count];
    bench_need_ok(umem_free(&segment->shm, segment->blocks[block]),
                  &segment->shm);
    segment_fill(segment, block);
  }
}

/* A few holes at random places; they are filled in the order of addresses. */
static void replace_some(struct benchSide *side, size_t ncalls) {
  enum { HOLES = 50 };
  struct segment *segment = side->work;
  for (size_t i = 0; i < ncalls; i += HOLES) {
    size_t from = segment->next;
    for (size_t k = 0; k < HOLES; k++) {
      size_t block = segment->order[(from + k) % segment->count];
      bench_need_ok(umem_free(&segment->shm, segment->blocks[block]),
                    &segment->shm);
    }
    for (size_t k = 0; k < HOLES; k++)
      segment_fill(segment, segment->order[(from + k) % segment->count]);
    segment->next += HOLES;
  }
}

static void contest_of_segments(char const *what, char const *name,
                                char const *other_name,
                                void (*run)(struct benchSide *, size_t)) {
  static struct segment many, few;
  if (!bench_wants("P18", what))
    return;
  segment_begin(&many, name, MANY);
  segment_begin(&few, other_name, FEW);
  struct benchSide sides[] = {
      {.name = "40,000 live",
       .run = run,
       .after = check_segment,
       .work = &many},
      {.name = "100 live", .run = run, .after = check_segment, .work = &few}};
  bench_contest(&(struct benchContest){.goal = "P18",
                                       .what = what,
                                       .nbytes = NBYTES,
                                       .rule = BENCH_RATIO,
                                       .limit = 0.5,
                                       .in_ns = true,
                                       .sides = sides,
                                       .nsides = BENCH_COUNT(sides),
                                       .batch_ns = 1e6});
  segment_end(&few);
  segment_end(&many);
}

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  contest_of_books("add + take, 10,000 live", 10000, 200, replace);
  contest_of_books("add + take, 100,000 live", 100000, 600, replace);
  contest_of_books("look-up, 10,000 live", 10000, 50, look_up);
  contest_of_books("look-up, 100,000 live", 100000, 150, look_up);
  contest_of_segments("Shm, one more block", NULL, NULL, come_and_go);
  contest_of_segments("Shm, any block", NULL, NULL, replace_any);
  contest_of_segments("Shm, 50 holes", NULL, NULL, replace_some);
  contest_of_segments("Shm with a name, any block", "/umem-bench-many",
                      "/umem-bench-few", replace_any);
  return bench_end();
}
