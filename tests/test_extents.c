/* SPDX-License-Identifier: BSD-3-Clause */
/* Free ranges of a growing address space, against a map of its bytes. */
#include "core.h"

#include "internal.h"

static void expect_take(struct umemiExtents *extents, uint64_t nbytes,
                        uint64_t alignment, uint64_t start, bool reused) {
  uint64_t got = UINT64_MAX;
  bool got_reused = !reused;
  assert_int_equal(umemi_extents_take(extents, nbytes, alignment, 0, 0,
                                      INT64_MAX, &got, &got_reused),
                   0);
  assert_int_equal(got, start);
  assert_int_equal(got_reused, reused);
}

/* The i-th extent of a tree; one of no bytes if there are less. */
static struct umemiExtent extent_in(struct umemiExtents const *extents,
                                    uint32_t tree, size_t *i) {
  if (!tree)
    return (struct umemiExtent){0, 0};
  struct umemiExtentNode const *node = &extents->nodes[tree];
  struct umemiExtent found = extent_in(extents, node->left, i);
  if (found.length)
    return found;
  if ((*i)-- == 0)
    return node->extent;
  return extent_in(extents, node->right, i);
}

static void expect_extent(struct umemiExtents const *extents, uint32_t tree,
                          size_t i, uint64_t start, uint64_t length) {
  struct umemiExtent found = extent_in(extents, tree, &i);
  assert_int_equal(found.length, length);
  assert_int_equal(found.start, start);
}

static void expect_free(struct umemiExtents const *extents, size_t i,
                        uint64_t start, uint64_t length) {
  expect_extent(extents, extents->freed, i, start, length);
}

/* [0, 10 * count) taken in tens. */
static void take_tens(struct umemiExtents *extents, size_t count) {
  for (size_t i = 0; i < count; i++)
    expect_take(extents, 10, 1, 10 * i, false);
}

static void take__goes_past_all_that_is_used(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  uint64_t start;
  bool reused;
  expect_take(&extents, 10, 1, 0, false);
  assert_int_equal(
      umemi_extents_take(&extents, 10, 1, 0, 100, INT64_MAX, &start, &reused),
      0);
  assert_int_equal(start, 100); /* past what is used now */
  expect_take(&extents, 10, 1, 110, false);
  assert_int_equal(
      umemi_extents_take(&extents, 1, 1, 500, 0, INT64_MAX, &start, &reused),
      0);
  assert_int_equal(start, 500);       /* at or after `lowest` */
  assert_int_equal(extents.count, 0); /* what was skipped is not free */
  assert_int_equal(extents.taken, 4);
  assert_int_equal(extents.end, 501);
  umemi_extents_clear(&extents);
}

static void take__aligns(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  expect_take(&extents, 64, 1, 0, false);
  expect_take(&extents, 1, 64, 64, false);
  expect_take(&extents, 3, 1, 65, false);
  umemi_extents_give(&extents, 65, 3);
  expect_take(&extents, 1, 2, 66, true); /* both pieces stay free */
  expect_free(&extents, 0, 65, 1);
  expect_free(&extents, 1, 67, 1);
  expect_take(&extents, 1, 4, 68, false); /* neither is at a multiple */
  umemi_extents_clear(&extents);
}

static void take__what_an_alignment_skips_joins_what_is_given_back(void **s) {
  (void)s;
  struct umemiExtents extents = {.count = 0};
  for (uint64_t i = 0; i < 10; i++)
    expect_take(&extents, 100, 16, 112 * i, false);
  for (uint64_t i = 0; i < 10; i++)
    umemi_extents_give(&extents, 112 * i, 100);
  expect_free(&extents, 0, 0, 9 * 112 + 100);
  expect_free(&extents, 1, 0, 0);
  umemi_extents_clear(&extents);
}

/* It may be in use by those who reserve nothing. */
static void take__what_an_alignment_skips_behind_others_is_theirs(void **s) {
  (void)s;
  struct umemiExtents extents = {.count = 0};
  uint64_t start;
  bool reused;
  expect_take(&extents, 1, 1, 0, false);
  assert_int_equal(
      umemi_extents_take(&extents, 1, 64, 0, 100, INT64_MAX, &start, &reused),
      0);
  assert_int_equal(start, 128);
  assert_int_equal(extents.count, 0);
  umemi_extents_clear(&extents);
}

/* Nobody else has it, but nothing is there yet. */
static void take__pages_that_an_alignment_skips_are_the_next_ones(void **s) {
  (void)s;
  struct umemiExtents extents = {.count = 0};
  expect_take(&extents, 4096, 1, 0, false);
  expect_take(&extents, 1, 16384, 16384, false);
  expect_take(&extents, 4096, 1, 4096, false);
  expect_extent(&extents, extents.withdrawn, 0, 8192, 8192);
  umemi_extents_clear(&extents);
}

static void take__reuses_the_first_extent_with_room(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  uint64_t start;
  bool reused;
  take_tens(&extents, 6);
  umemi_extents_give(&extents, 40, 10);
  umemi_extents_give(&extents, 0, 10);
  expect_take(&extents, 4, 1, 0, true);
  expect_take(&extents, 10, 1, 40, true);
  assert_int_equal(
      umemi_extents_take(&extents, 2, 1, 7, 0, INT64_MAX, &start, &reused), 0);
  assert_true(reused);
  assert_int_equal(start, 7);
  expect_free(&extents, 0, 4, 3);
  expect_free(&extents, 1, 9, 1);
  expect_take(&extents, 3, 1, 4, true);
  expect_take(&extents, 1, 1, 9, true);
  assert_int_equal(extents.count, 0);
  umemi_extents_clear(&extents);
}

static void give__merges_with_both_neighbours(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  take_tens(&extents, 7);
  umemi_extents_give(&extents, 20, 10);
  umemi_extents_give(&extents, 40, 10);
  assert_int_equal(extents.count, 2);
  umemi_extents_give(&extents, 30, 10); /* between two */
  assert_int_equal(extents.count, 1);
  expect_free(&extents, 0, 20, 30);
  umemi_extents_give(&extents, 50, 10); /* behind one */
  expect_free(&extents, 0, 20, 40);
  umemi_extents_give(&extents, 10, 10); /* before one */
  expect_free(&extents, 0, 10, 50);
  assert_int_equal(extents.count, 1);
  assert_int_equal(extents.taken, 2);
  assert_int_equal(extents.end, 70); /* what was handed out once stays so */
  expect_take(&extents, 50, 1, 10, true);
  umemi_extents_clear(&extents);
}

static void take__past_the_limit_is_erange(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  uint64_t start = 77;
  bool reused;
  take_tens(&extents, 2);
  static struct {
    uint64_t nbytes, alignment, lowest, used, limit;
    int expected;
  } const cases[] = {
      {10, 1, 0, 0, 29, ERANGE},
      {10, 1, 0, 25, 34, ERANGE},
      {1, 64, 0, 0, 64, ERANGE},
      {1, 1, 30, 0, 30, ERANGE},
      {1, 1, UINT64_MAX, 0, INT64_MAX, ERANGE},
      {1, 1, 0, UINT64_MAX, UINT64_MAX, ERANGE},
      {1, UINT64_C(1) << 63, 0, UINT64_C(1) << 63, INT64_MAX, ERANGE},
      {1, UINT64_C(1) << 63, UINT64_MAX - 1, 0, UINT64_MAX, ERANGE},
      {UINT64_MAX, 1, 0, 0, INT64_MAX, ERANGE},
      {INT64_MAX, 1, 0, 0, INT64_MAX, ERANGE},
      {10, 1, 0, 0, 30, 0}, /* just so */
  };
  for (size_t i = 0; i < LENGTH(cases); i++) {
    assert_int_equal(start, 77);
    assert_int_equal(extents.taken, 2);
    assert_int_equal(extents.end, 20);
    assert_int_equal(umemi_extents_take(&extents, cases[i].nbytes,
                                        cases[i].alignment, cases[i].lowest,
                                        cases[i].used, cases[i].limit, &start,
                                        &reused),
                     cases[i].expected);
  }
  assert_int_equal(start, 20);
  umemi_extents_clear(&extents);
}

static void take__without_memory_changes_nothing(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  uint64_t start = 77;
  bool reused;
  size_t taken = 0;
  faults_install();
  for (unsigned k = 1; k <= 2; k++) {
    faults_fail(k == 1 ? FAULT_realloc : FAULT_malloc, 1, ENOMEM);
    assert_int_equal(
        umemi_extents_take(&extents, 1, 1, 0, 0, INT64_MAX, &start, &reused),
        ENOMEM);
    assert_int_equal(extents.taken, 0);
  }
  faults_clear();
  expect_take(&extents, 1, 1, taken++, false);
  for (unsigned k = 1; k <= 2; k++) { /* nodes, and what is known of them */
    faults_fail_from(FAULT_realloc, k, ENOMEM);
    while (umemi_extents_take(&extents, 1, 1, 0, 0, INT64_MAX, &start,
                              &reused) == 0)
      assert_int_equal(start, taken++);
    assert_int_equal(extents.taken, taken);
    assert_int_equal(extents.end, taken);
    faults_clear();
    expect_take(&extents, 1, 1, taken++, false); /* retry works */
  }
  fail_all(FAULT_malloc);
  assert_int_equal(/* an alignment that is new */
                   umemi_extents_take(&extents, 1, 2, 0, 0, INT64_MAX, &start,
                                      &reused),
                   ENOMEM);
  assert_int_equal(extents.end, taken);
  umemi_extents_clear(&extents);
}

static void give__needs_no_memory(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  enum { RANGES = 101 };
  take_tens(&extents, RANGES);
  faults_install();
  fail_all(FAULT_realloc);
  for (uint64_t i = 0; i < RANGES; i += 2) /* the worst: none can be merged */
    umemi_extents_give(&extents, 10 * i, 10);
  assert_int_equal(extents.count, RANGES / 2 + 1);
  for (uint64_t i = 1; i < RANGES; i += 2)
    umemi_extents_give(&extents, 10 * i, 10);
  assert_int_equal(extents.count, 1);
  expect_free(&extents, 0, 0, 10 * RANGES);
  assert_int_equal(extents.taken, 0);
  assert_int_equal(faults_count(FAULT_realloc), 0);
  umemi_extents_clear(&extents);
}

static void expect_end(struct umemiExtents const *extents, uint64_t end,
                       size_t withdrawn) {
  assert_int_equal(extents->end, end);
  size_t i = withdrawn;
  assert_int_equal(extent_in(extents, extents->withdrawn, &i).length, 0);
  assert_int_equal(i, 0);
}

static void withdraw__of_the_last_range_forgets_it(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  take_tens(&extents, 3);
  umemi_extents_withdraw(&extents, 20, 10);
  expect_end(&extents, 20, 0);
  expect_take(&extents, 1000, 1, 20, false);
  umemi_extents_clear(&extents);
}

/* What others took behind it is not what the next one gets. */
static void withdraw__of_another_range_gives_it_to_the_next_one(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  uint64_t start;
  bool reused;
  take_tens(&extents, 4);
  umemi_extents_withdraw(&extents, 10, 10);
  expect_end(&extents, 40, 1);
  assert_int_equal(umemi_extents_take(&extents, 4, 1, 0, 0, 0, &start, &reused),
                   ERANGE);
  expect_take(&extents, 4, 4, 12, false);
  expect_extent(&extents, extents.withdrawn, 0, 10, 2);
  expect_extent(&extents, extents.withdrawn, 1, 16, 4);
  umemi_extents_give(&extents, 20, 10); /* was there: first, and apart */
  expect_take(&extents, 4, 1, 20, true);
  expect_extent(&extents, extents.withdrawn, 1, 16, 4);
  umemi_extents_clear(&extents);
}

static void withdraw__of_all_that_is_last_leaves_nothing(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  take_tens(&extents, 6);
  faults_install();
  fail_all(FAULT_realloc);
  umemi_extents_withdraw(&extents, 30, 10);
  umemi_extents_withdraw(&extents, 40, 10);
  expect_end(&extents, 60, 1);
  umemi_extents_withdraw(&extents, 50, 10);
  expect_end(&extents, 30, 0);
  assert_int_equal(extents.taken, 3);
  umemi_extents_clear(&extents);
}

static void clear__leaves_an_empty_space(void **state) {
  (void)state;
  struct umemiExtents extents = {.count = 0};
  take_tens(&extents, 3);
  umemi_extents_give(&extents, 0, 10);
  umemi_extents_clear(&extents);
  assert_int_equal(extents.count, 0);
  assert_null(extents.nodes);
  expect_take(&extents, 5, 1, 0, false);
  umemi_extents_clear(&extents);
}

/* --- random programs ----------------------------------------------------- */

enum { SPACE = 512, RANGES = 64 };
enum byte { NEVER, TAKEN, FREE, WITHDRAWN };

/* What each byte of the space is, and which ranges are out. */
struct oracle {
  enum byte bytes[SPACE];
  uint64_t end;
  struct umemiExtent taken[RANGES];
  size_t count;
};

struct request {
  uint64_t nbytes, alignment, lowest, used, limit;
};

static uint64_t align_up(uint64_t at, uint64_t alignment) {
  return (at + alignment - 1) / alignment * alignment;
}

static bool oracle_is(struct oracle const *oracle, uint64_t start,
                      uint64_t nbytes, enum byte what) {
  for (uint64_t at = start; at < start + nbytes; at++)
    if (at >= SPACE || oracle->bytes[at] != what)
      return false;
  return true;
}

/* Start of what a request must get; SPACE if nothing. */
static uint64_t oracle_place(struct oracle const *oracle,
                             struct request const *r, bool *reused_out,
                             struct umemiExtent *skipped_out) {
  *skipped_out = (struct umemiExtent){0, 0};
  for (enum byte what = FREE; what <= WITHDRAWN; what++)
    for (uint64_t at = align_up(r->lowest, r->alignment); at < SPACE;
         at += r->alignment) {
      *reused_out = what == FREE;
      if (oracle_is(oracle, at, r->nbytes, what) &&
          (*reused_out || at + r->nbytes <= r->limit))
        return at;
    }
  *reused_out = false;
  uint64_t past = r->used > oracle->end ? r->used : oracle->end;
  past = past > r->lowest ? past : r->lowest;
  *skipped_out = (struct umemiExtent){past, -past % r->alignment};
  past += skipped_out->length;
  return past + r->nbytes <= r->limit ? past : SPACE;
}

static void oracle_mark(struct oracle *oracle, struct umemiExtent range,
                        enum byte as) {
  for (uint64_t i = 0; i < range.length; i++)
    oracle->bytes[range.start + i] = as;
}

static void random_take(struct umemiExtents *extents, struct oracle *oracle,
                        uint64_t *seed) {
  struct request r = {1 + random_below(seed, 24),
                      UINT64_C(1) << random_below(seed, 6),
                      random_below(seed, 4) ? 0 : random_below(seed, SPACE),
                      random_below(seed, 4) ? 0 : random_below(seed, SPACE),
                      SPACE - random_below(seed, 16)};
  bool expect_reused, reused;
  struct umemiExtent skipped;
  uint64_t start, expected = oracle_place(oracle, &r, &expect_reused, &skipped);
  if (oracle->count == RANGES)
    return;
  int failed = umemi_extents_take(extents, r.nbytes, r.alignment, r.lowest,
                                  r.used, r.limit, &start, &reused);
  assert_int_equal(failed, expected == SPACE ? ERANGE : 0);
  if (failed)
    return;
  assert_int_equal(start, expected);
  assert_int_equal(reused, expect_reused);
  struct umemiExtent range = {start, r.nbytes};
  if (skipped.start == oracle->end && skipped.start > 0)
    oracle_mark(oracle, skipped, FREE);
  oracle_mark(oracle, range, TAKEN);
  oracle->taken[oracle->count++] = range;
  if (!reused && start + r.nbytes > oracle->end)
    oracle->end = start + r.nbytes;
}

static void random_give(struct umemiExtents *extents, struct oracle *oracle,
                        uint64_t *seed) {
  if (oracle->count == 0)
    return;
  size_t i = random_below(seed, oracle->count);
  struct umemiExtent range = oracle->taken[i];
  oracle->taken[i] = oracle->taken[--oracle->count];
  bool withdraws = random_below(seed, 3) == 0;
  (withdraws ? umemi_extents_withdraw
             : umemi_extents_give)(extents, range.start, range.length);
  oracle_mark(oracle, range, withdraws ? WITHDRAWN : FREE);
  while (oracle->end && oracle->bytes[oracle->end - 1] == WITHDRAWN &&
         withdraws)
    oracle->bytes[--oracle->end] = NEVER;
}

/* The extents of a tree are exactly the runs of such bytes. */
static size_t expect_runs(struct umemiExtents const *extents, uint32_t tree,
                          struct oracle const *oracle, enum byte what) {
  size_t i = 0;
  for (uint64_t at = 0, length; at < SPACE; at += length + !length) {
    for (length = 0; oracle_is(oracle, at + length, 1, what); length++)
      continue;
    if (length)
      expect_extent(extents, tree, i++, at, length);
  }
  return i;
}

static void expect_same(struct umemiExtents const *extents,
                        struct oracle const *oracle) {
  size_t count = expect_runs(extents, extents->freed, oracle, FREE);
  count += expect_runs(extents, extents->withdrawn, oracle, WITHDRAWN);
  assert_int_equal(extents->count, count);
  assert_int_equal(extents->taken, oracle->count);
  assert_int_equal(extents->end, oracle->end);
  assert_true(extents->count + extents->taken <= extents->capacity);
}

static void random_programs__do_what_a_map_of_bytes_does(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (size_t program = 0; program < scaled(200, 20); program++) {
    struct umemiExtents extents = {.count = 0};
    struct oracle oracle = {.count = 0};
    random_take(&extents, &oracle, &seed);
    for (size_t step = 0; step < 200; step++) {
      if (random_below(&seed, 9) < 5)
        random_take(&extents, &oracle, &seed);
      else
        random_give(&extents, &oracle, &seed);
      expect_same(&extents, &oracle);
    }
    umemi_extents_clear(&extents);
  }
}

/* --- many extents -------------------------------------------------------- */

static unsigned depth_of(struct umemiExtents const *extents, uint32_t tree) {
  if (!tree)
    return 0;
  unsigned left = depth_of(extents, extents->nodes[tree].left);
  unsigned right = depth_of(extents, extents->nodes[tree].right);
  return 1 + (left > right ? left : right);
}

/* In whichever order they come: 4 times the logarithm is far more than numbers
   as good as random lead to. */
static void trees__stay_flat(void **state) {
  (void)state;
  enum { COUNT = 1 << 14, DEPTH = 4 * 14 };
  for (unsigned order = 0; order < 3; order++) {
    struct umemiExtents extents = {.count = 0};
    take_tens(&extents, 2 * COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
      uint64_t n = order == 0   ? i
                   : order == 1 ? COUNT - 1 - i
                                : i * 9941 % COUNT;
      umemi_extents_give(&extents, 20 * n, 10);
    }
    assert_int_equal(extents.count, COUNT);
    assert_true(depth_of(&extents, extents.freed) <= DEPTH);
    expect_take(&extents, 11, 1, 20 * (uint64_t)COUNT, false);
    expect_take(&extents, 10, 1, 0, true);
    umemi_extents_clear(&extents);
  }
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(withdraw__of_the_last_range_forgets_it),
      cmocka_unit_test(withdraw__of_another_range_gives_it_to_the_next_one),
      faulty_test(withdraw__of_all_that_is_last_leaves_nothing),
      cmocka_unit_test(trees__stay_flat),
      cmocka_unit_test(take__goes_past_all_that_is_used),
      cmocka_unit_test(take__aligns),
      cmocka_unit_test(take__what_an_alignment_skips_joins_what_is_given_back),
      cmocka_unit_test(take__what_an_alignment_skips_behind_others_is_theirs),
      cmocka_unit_test(take__pages_that_an_alignment_skips_are_the_next_ones),
      cmocka_unit_test(take__reuses_the_first_extent_with_room),
      cmocka_unit_test(give__merges_with_both_neighbours),
      cmocka_unit_test(take__past_the_limit_is_erange),
      faulty_test(take__without_memory_changes_nothing),
      faulty_test(give__needs_no_memory),
      cmocka_unit_test(clear__leaves_an_empty_space),
      cmocka_unit_test(random_programs__do_what_a_map_of_bytes_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
