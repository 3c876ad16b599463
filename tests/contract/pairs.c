/* SPDX-License-Identifier: BSD-3-Clause */
/* What holds between every ordered pair of kinds. */
#include "contract.h"

/* The offsets are odd, and leave bytes that may not change on both sides. */
enum { SRC_AT = 13, DEST_AT = 29, GUARD = 64 };

static struct situation *begin(void **state) {
  struct situation *s = *state;
  subject_begin(&s->src, s->src_kind);
  subject_begin(&s->dest, s->dest_kind);
  return s;
}

/* --- copies --------------------------------------------------------------- */

umemStatusType move_as(struct move const *m, size_t spelling) {
  switch (spelling % MOVES) {
  case 0:
    return umem_copy_to(m->src, m->src_adr, m->dest, m->dest_adr, m->nbytes);
  case 1:
    return umem_copy_from(m->dest, m->dest_adr, m->src, m->src_adr, m->nbytes);
  case 2:
    return umem_sync_to(m->src, m->src_adr, m->dest, m->dest_adr, m->nbytes);
  case 3:
    return umem_sync_from(m->dest, m->dest_adr, m->src, m->src_adr, m->nbytes);
  case 4:
    return umem_copy_to_safe(m->src, m->src_adr, m->src_size, m->dest,
                             m->dest_adr, m->dest_size, m->nbytes);
  case 5:
    return umem_copy_from_safe(m->dest, m->dest_adr, m->dest_size, m->src,
                               m->src_adr, m->src_size, m->nbytes);
  case 6:
    return umem_sync_to_safe(m->src, m->src_adr, m->src_size, m->dest,
                             m->dest_adr, m->dest_size, m->nbytes);
  default:
    return umem_sync_from_safe(m->dest, m->dest_adr, m->dest_size, m->src,
                               m->src_adr, m->src_size, m->nbytes);
  }
}

static struct move move_between(struct block const *src,
                                struct block const *dest, size_t nbytes) {
  return (struct move){.src = &src->subject->ctx,
                       .dest = &dest->subject->ctx,
                       .src_adr = src->adr + SRC_AT,
                       .dest_adr = dest->adr + DEST_AT,
                       .src_size = src->nbytes - SRC_AT,
                       .dest_size = dest->nbytes - DEST_AT,
                       .nbytes = nbytes};
}

static void copy__moves_every_byte_and_no_other(void **state) {
  static size_t const sizes[] = {
      0, 1, 4095, 4096, CHUNK + 1, 3 * CHUNK + 7, CHUNK - 1, CHUNK};
  struct situation *s = begin(state);
  size_t const count = scaled(s->rungs_off ? 6 : 8, 5);
  for (size_t i = 0; i < count; i++) {
    size_t nbytes = sizes[i];
    struct block src = block_begin(&s->src, nbytes + GUARD);
    struct block dest = block_begin(&s->dest, nbytes + GUARD);
    struct move move = move_between(&src, &dest, nbytes);
    size_t spellings = nbytes < CHUNK / 2 ? MOVES : 1;
    for (size_t spelling = 0; spelling < spellings; spelling++) {
      src.image[SRC_AT] ^= 0x5A; /* else later ones had nothing to do */
      s->src.kind->poke(&s->src, src.adr + SRC_AT, src.image + SRC_AT, 1);
      assert_ok(move_as(&move, spelling + i));
      memcpy(dest.image + DEST_AT, src.image + SRC_AT, nbytes);
      assert_true(block_is_intact(&dest));
      assert_true(block_is_intact(&src));
    }
    block_end(&src);
    block_end(&dest);
  }
}

/* In lanes, and with holes where a kind knows its own. The second time to where
   memory lies as well as the source does. */
static void copy__of_much_with_help_moves_every_byte(void **state) {
  struct situation *s = begin(state);
  if (s->rungs_off && scaled(0, 1))
    skip(); /* once is slow enough */
  size_t const times = s->rungs_off ? 1 : scaled(2, 1);
  size_t const nbytes = times > 1 ? LARGE : LARGE - (2 << 20);
  struct block src = block_begin(&s->src, nbytes + GUARD);
  struct block dest = block_begin(&s->dest, nbytes + GUARD);
  memset(src.image + nbytes / 3, 0, nbytes / 4);
  s->src.kind->poke(&s->src, src.adr, src.image, nbytes + GUARD);
  for (size_t i = 0; i < times; i++) {
    struct move move = move_between(&src, &dest, nbytes);
    size_t at = i ? (size_t)(src.adr + SRC_AT - dest.adr) % GUARD : DEST_AT;
    move.dest_adr = dest.adr + at;
    move.dest_size = dest.nbytes - at;
    assert_ok(move_as(&move, i + s->rungs_off));
    memcpy(dest.image + at, src.image + SRC_AT, nbytes);
    assert_true(block_is_intact(&dest));
  }
  assert_true(block_is_intact(&src));
  block_end(&src);
  block_end(&dest);
}

/* `plan` is one that the rungs and the promises allow. */
static void check_plan(umemCopyPlan const *plan, unsigned rungs_off,
                       size_t nbytes) {
  assert_in_range(plan->rung, umemDirectRung, umemStagedRung);
  assert_false(rungs_off & 1u << plan->rung);
  assert_in_range(plan->threads, 1, 8);
  assert_in_range(plan->chunk, 1, nbytes);
  assert_true(plan->staging <= (size_t)8 << 20);
  assert_true(plan->rung != umemStagedRung || plan->staging > 0);
  assert_true(plan->method[0] && plan->reason[0]);
}

static void copy_plan__of_any_size_tells_a_way_and_moves_nothing(void **state) {
  static size_t const sizes[] = {1, 4096, CHUNK + 1, LARGE};
  struct situation *s = begin(state);
  uintptr_t from, to;
  unsigned char before[4096], after[4096];
  assert_ok(umem_try_alloc(&s->src.ctx, LARGE, &from));
  assert_ok(umem_try_calloc(&s->dest.ctx, 1, LARGE, &to));
  s->dest.kind->peek(&s->dest, to, before, sizeof before);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    umemCopyPlan plan = {.size = sizeof plan};
    assert_ok(
        umem_copy_plan(&s->src.ctx, from, &s->dest.ctx, to, sizes[i], &plan));
    check_plan(&plan, s->rungs_off, sizes[i]);
  }
  s->dest.kind->peek(&s->dest, to, after, sizeof after);
  assert_memory_equal(before, after, sizeof after);
  assert_ok(umem_free(&s->src.ctx, from));
  assert_ok(umem_free(&s->dest.ctx, to));
}

/* The call is refused in both contexts, and no byte has moved. */
static void expect_refusal(struct move const *move, size_t spelling,
                           struct block const *src, struct block const *dest,
                           char const *text) {
  uint64_t count = umem_get_error_count(move->dest);
  assert_status(move_as(move, spelling), umemIndexError);
  assert_slot(move->src, umemIndexError, text);
  assert_slot(move->dest, umemIndexError, text);
  assert_int_equal(umem_get_error_count(move->dest), count + 1);
  assert_int_equal(last_error(move->src).bytes_done, 0);
  assert_true(block_is_intact(src));
  assert_true(block_is_intact(dest));
}

static void copy__safe_forms_stay_in_both_sizes(void **state) {
  struct situation *s = begin(state);
  struct block src = block_begin(&s->src, 200);
  struct block dest = block_begin(&s->dest, 200);
  for (size_t spelling = SAFE_MOVES; spelling < MOVES; spelling++) {
    struct move move = move_between(&src, &dest, 100);
    move.src_size = 99;
    expect_refusal(&move, spelling, &src, &dest,
                   "100 bytes exceed the size of 99");
    move = move_between(&src, &dest, 100);
    move.dest_size = 99;
    expect_refusal(&move, spelling, &src, &dest,
                   "100 bytes exceed the size of 99");
    move.dest_size = 0;
    expect_refusal(&move, spelling, &src, &dest, "exceed the size of 0");
    move = move_between(&src, &dest, 1);
    move.src_size = SIZE_MAX;
    expect_refusal(&move, spelling, &src, &dest, "wraps");
    move = move_between(&src, &dest, 1);
    move.dest_size = SIZE_MAX;
    expect_refusal(&move, spelling, &src, &dest, "wraps");
  }
  block_end(&src);
  block_end(&dest);
}

static void copy__safe_forms_stay_in_the_blocks_that_are_known(void **state) {
  struct situation *s = begin(state);
  struct block src = block_begin(&s->src, 200);
  struct block dest = block_begin(&s->dest, 200);
  for (size_t spelling = SAFE_MOVES; spelling < MOVES; spelling++) {
    struct move move = move_between(&src, &dest, 180);
    move.src_size = move.dest_size = 1000;
    if (s->dest.kind->knows_blocks)
      expect_refusal(&move, spelling, &src, &dest,
                     "leave the block of 200 bytes");
    move.src_adr = src.adr + 101;
    move.dest_adr = dest.adr;
    move.nbytes = 100;
    if (s->src.kind->knows_blocks)
      expect_refusal(&move, spelling, &src, &dest,
                     "leave the block of 200 bytes");
  }
  block_end(&src);
  block_end(&dest);
}

static void copy__of_more_than_there_can_be_is_refused(void **state) {
  struct situation *s = begin(state);
  struct block src = block_begin(&s->src, 200);
  struct block dest = block_begin(&s->dest, 200);
  for (size_t spelling = 0; spelling < MOVES; spelling++) {
    struct move move = move_between(&src, &dest, SIZE_MAX);
    move.src_size = move.dest_size = SIZE_MAX;
    expect_refusal(&move, spelling, &src, &dest, "wraps, or exceeds");
  }
  block_end(&src);
  block_end(&dest);
}

/* --- connect -------------------------------------------------------------- */

static bool is_shared(struct situation *s, uintptr_t adr, size_t alignment) {
  return umem_is_accessible_from(&s->src.ctx, &s->dest.ctx) &&
         (alignment == 0 || adr % alignment == 0);
}

/* What is `nbytes` bytes at `adr` of a subject: free() it. */
static unsigned char *bytes_at(struct subject const *subject, uintptr_t adr,
                               size_t nbytes) {
  unsigned char *bytes = malloc(nbytes + 1);
  assert_non_null(bytes);
  subject->kind->peek(subject, adr, bytes, nbytes);
  return bytes;
}

static void expect_bytes(struct subject const *subject, uintptr_t adr,
                         void const *expected, size_t nbytes) {
  unsigned char *bytes = bytes_at(subject, adr, nbytes);
  bool equal = memcmp(bytes, expected, nbytes) == 0;
  free(bytes);
  assert_true(equal);
}

static void connect__gives_the_data_at_the_alignment_asked_for(void **state) {
  static size_t const alignments[] = {0, 1, 64, 4096};
  static size_t const sizes[] = {0, 1, 4096, 5001};
  struct situation *s = begin(state);
  struct block src = block_begin(&s->src, 6000);
  uintptr_t from = src.adr + SRC_AT;
  for (size_t i = 0; i < 16; i++) {
    size_t alignment = alignments[i % 4], nbytes = sizes[i / 4];
    uintptr_t adr = 1;
    assert_ok(umem_try_connect(&s->src.ctx, from, nbytes, &s->dest.ctx,
                               alignment, &adr));
    assert_true(alignment == 0 || adr % alignment == 0);
    if (is_shared(s, from, alignment))
      assert_true(adr == from);
    expect_bytes(&s->dest, adr, src.image + SRC_AT, nbytes);
    assert_ok(umem_disconnect(&s->src.ctx, from, &s->dest.ctx, adr, alignment));
  }
  assert_true(block_is_intact(&src));
  block_end(&src);
}

static void connect__k_times_needs_k_disconnects(void **state) {
  struct situation *s = begin(state);
  void const *src = &s->src.ctx, *dest = &s->dest.ctx;
  struct block block = block_begin(&s->src, 1000);
  uintptr_t adr[3];
  for (size_t i = 0; i < 3; i++) {
    adr[i] = umem_connect(src, block.adr, 1000, dest, 0);
    assert_true(umem_is_ok(dest));
    expect_bytes(&s->dest, adr[i], block.image, 1000);
  }
  assert_true((adr[0] == adr[1]) == is_shared(s, block.adr, 0));
  for (size_t i = 0; i < 3; i++)
    assert_ok(umem_disconnect(src, block.adr, dest, adr[i], 0));
  assert_fails(src, umem_disconnect(src, block.adr, dest, adr[0], 0),
               umemValueError, "the two are not connected");
  assert_slot(dest, umemValueError, "umem_disconnect(source ");
  assert_true(block_is_intact(&block));
  block_end(&block);
}

static void disconnect__of_an_unknown_pair_frees_nothing(void **state) {
  struct situation *s = begin(state);
  void const *src = &s->src.ctx, *dest = &s->dest.ctx;
  struct block a = block_begin(&s->src, 100), b = block_begin(&s->dest, 100);
  uintptr_t adr = umem_connect(src, a.adr, 100, dest, 0);
  struct {
    uintptr_t src_adr, dest_adr;
    size_t alignment;
    char const *text;
  } const bad[] = {{a.adr, b.adr, 0, "the two are not connected"},
                   {a.adr + 1, adr, 0, "the two are not connected"},
                   {a.adr, adr + 1, 0, "the two are not connected"},
                   {a.adr, adr, 3, "alignment 3 must be 0 or a power of 2"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_fails(dest,
                 umem_disconnect(src, bad[i].src_adr, dest, bad[i].dest_adr,
                                 bad[i].alignment),
                 umemValueError, bad[i].text);
    assert_slot(src, umemValueError, bad[i].text);
  }
  expect_bytes(&s->dest, adr, a.image, 100);
  assert_ok(umem_disconnect(src, a.adr, dest, adr, 0));
  assert_true(block_is_intact(&a) && block_is_intact(&b));
  block_end(&a);
  block_end(&b);
}

static void connect__refuses_what_is_no_alignment(void **state) {
  struct situation *s = begin(state);
  struct block block = block_begin(&s->src, 100);
  uintptr_t adr = 1;
  assert_fails(
      &s->src.ctx,
      umem_try_connect(&s->src.ctx, block.adr, 100, &s->dest.ctx, 3, &adr),
      umemValueError, "alignment 3 must be 0 or a power of 2");
  assert_slot(&s->dest.ctx, umemValueError, "alignment 3");
  assert_true(adr == 1);
  block_end(&block);
}

/* --- sync ----------------------------------------------------------------- */

static void poke_image(struct block *block, size_t at, unsigned char value) {
  block->image[at] = value;
  block->subject->kind->poke(block->subject, block->adr + at, &value, 1);
}

static void sync__makes_mirrors_alike_in_both_directions(void **state) {
  struct situation *s = begin(state);
  void const *src = &s->src.ctx, *dest = &s->dest.ctx;
  struct block block = block_begin(&s->src, 3000);
  uintptr_t adr = umem_connect(src, block.adr, 3000, dest, 64);
  assert_true(umem_is_ok(dest));
  poke_image(&block, 7, 'a');
  assert_ok(umem_sync_to(src, block.adr, dest, adr, 3000));
  expect_bytes(&s->dest, adr, block.image, 3000);
  block.image[2999] = 'z';
  s->dest.kind->poke(&s->dest, adr + 2999, "z", 1);
  assert_ok(umem_sync_from(src, block.adr, dest, adr, 3000));
  assert_true(block_is_intact(&block));
  poke_image(&block, 1000, 'm');
  assert_ok(umem_sync_to_safe(src, block.adr, 3000, dest, adr, 3000, 3000));
  expect_bytes(&s->dest, adr, block.image, 3000);
  s->dest.kind->poke(&s->dest, adr, "A", 1);
  block.image[0] = 'A';
  assert_ok(umem_sync_from_safe(src, block.adr, 3000, dest, adr, 3000, 3000));
  assert_true(block_is_intact(&block));
  assert_ok(umem_disconnect(src, block.adr, dest, adr, 64));
  block_end(&block);
}

/* Fakes and files start at the same address, and are not the same bytes. */
static void sync__of_equal_addresses_in_two_spaces_copies(void **state) {
  struct situation *s = begin(state);
  struct block src = block_begin(&s->src, 100);
  struct block dest = block_begin(&s->dest, 100);
  assert_ok(umem_sync_to(&s->src.ctx, src.adr, &s->dest.ctx, dest.adr, 50));
  memcpy(dest.image, src.image, 50);
  assert_true(block_is_intact(&dest));
  assert_ok(umem_sync_from(&s->dest.ctx, dest.adr + 50, &s->src.ctx,
                           src.adr + 50, 50));
  memcpy(dest.image, src.image, 100);
  assert_true(block_is_intact(&dest));
  assert_true(block_is_intact(&src));
  block_end(&src);
  block_end(&dest);
}

struct chapter pair_tests(void) {
  static struct CMUnitTest const tests[] = {
      cmocka_unit_test(copy__moves_every_byte_and_no_other),
      cmocka_unit_test(copy__of_much_with_help_moves_every_byte),
      cmocka_unit_test(copy_plan__of_any_size_tells_a_way_and_moves_nothing),
      cmocka_unit_test(copy__safe_forms_stay_in_both_sizes),
      cmocka_unit_test(copy__safe_forms_stay_in_the_blocks_that_are_known),
      cmocka_unit_test(copy__of_more_than_there_can_be_is_refused),
      cmocka_unit_test(connect__gives_the_data_at_the_alignment_asked_for),
      cmocka_unit_test(connect__k_times_needs_k_disconnects),
      cmocka_unit_test(disconnect__of_an_unknown_pair_frees_nothing),
      cmocka_unit_test(connect__refuses_what_is_no_alignment),
      cmocka_unit_test(sync__makes_mirrors_alike_in_both_directions),
      cmocka_unit_test(sync__of_equal_addresses_in_two_spaces_copies),
  };
  return (struct chapter){tests, sizeof tests / sizeof *tests};
}
