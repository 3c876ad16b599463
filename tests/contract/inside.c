/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies within one address space, where ranges may overlap. */
#include "contract.h"

/* Copies `nbytes` bytes from one offset to the other, and does the same to the
   image. */
static void move(struct block *block, void const *dest, size_t from, size_t to,
                 size_t nbytes) {
  void const *src = &block->subject->ctx;
  assert_ok(
      umem_copy_to(src, block->adr + from, dest, block->adr + to, nbytes));
  memmove(block->image + to, block->image + from, nbytes);
  assert_true(block_is_intact(block));
}

/* Forward and backward, by little and by much, more than one chunk. */
static void move_all(struct subject *subject, void const *dest) {
  static size_t const distances[] = {1, CHUNK + 1, 0, 4095, CHUNK - 1, CHUNK};
  static size_t const lengths[] = {5000, 2 * CHUNK + 7, 1, CHUNK - 1};
  size_t const farthest = scaled(6, 2), longest = scaled(4, 2);
  for (size_t d = 0; d < farthest; d++)
    for (size_t n = 0; n < longest; n++) {
      size_t distance = distances[d], nbytes = lengths[n];
      struct block block = block_begin(subject, distance + nbytes + 64);
      move(&block, dest, 11, 11 + distance, nbytes);
      move(&block, dest, 23 + distance, 23, nbytes);
      block_end(&block);
    }
}

static void copy__of_ranges_that_overlap_is_memmove(void **state) {
  struct situation *s = *state;
  subject_begin(&s->src, s->src_kind);
  move_all(&s->src, &s->src.ctx);
}

static void copy__between_two_contexts_in_one_space_is_memmove(void **state) {
  struct situation *s = *state;
  subject_begin(&s->src, s->src_kind);
  subject_twin(&s->dest, &s->src);
  move_all(&s->src, &s->dest.ctx);
}

static void sync__of_an_address_with_itself_does_nothing(void **state) {
  struct situation *s = *state;
  subject_begin(&s->src, s->src_kind);
  struct block block = block_begin(&s->src, 5000);
  void const *ctx = &s->src.ctx;
  assert_ok(umem_sync_to(ctx, block.adr, ctx, block.adr, 5000));
  assert_ok(umem_sync_from(ctx, block.adr, ctx, block.adr, 5000));
  assert_true(block_is_intact(&block));
  assert_ok(umem_sync_to(ctx, block.adr, ctx, block.adr + 1, 4999));
  memmove(block.image + 1, block.image, 4999);
  assert_true(block_is_intact(&block));
  block_end(&block);
}

struct chapter inside_tests(void) {
  static struct CMUnitTest const tests[] = {
      cmocka_unit_test(copy__of_ranges_that_overlap_is_memmove),
      cmocka_unit_test(copy__between_two_contexts_in_one_space_is_memmove),
      cmocka_unit_test(sync__of_an_address_with_itself_does_nothing),
  };
  return (struct chapter){tests, sizeof tests / sizeof *tests};
}
