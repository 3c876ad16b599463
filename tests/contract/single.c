/* SPDX-License-Identifier: BSD-3-Clause */
/* What every kind of context must do by itself. */
#include "contract.h"

static size_t const sizes[] = {0, 1, 4095, 4096, CHUNK + 7};

enum { SIZES = sizeof sizes / sizeof *sizes };

/* The one context of a test. */
static struct subject *begin(void **state) {
  struct situation *s = *state;
  subject_begin(&s->src, s->src_kind);
  return &s->src;
}

/* Fills `nbytes` bytes at `adr` with `value`, past the library. */
static void scribble(struct subject const *s, uintptr_t adr, int value,
                     size_t nbytes) {
  unsigned char *bytes = malloc(nbytes + 1);
  assert_non_null(bytes);
  memset(bytes, value, nbytes);
  s->kind->poke(s, adr, bytes, nbytes);
  free(bytes);
}

static bool holds(struct subject const *s, uintptr_t adr, int value,
                  size_t nbytes) {
  unsigned char *bytes = malloc(nbytes + 1);
  assert_non_null(bytes);
  s->kind->peek(s, adr, bytes, nbytes);
  bool all = all_bytes_are(bytes, nbytes, (unsigned char)value);
  free(bytes);
  return all;
}

/* --- alloc ---------------------------------------------------------------- */

static void alloc__gives_memory_of_its_own_for_every_size(void **state) {
  struct subject *s = begin(state);
  uintptr_t adr[SIZES];
  for (size_t i = 0; i < SIZES; i++) {
    adr[i] = umem_alloc(&s->ctx, sizes[i]);
    assert_true(umem_is_ok(&s->ctx));
    assert_true(adr[i] || s->kind->zero_is_an_address);
    scribble(s, adr[i], (int)i, sizes[i]);
  }
  for (size_t i = 0; i < SIZES; i++)
    assert_true(holds(s, adr[i], (int)i, sizes[i]));
  for (size_t i = 0; i < SIZES; i++)
    assert_ok(umem_free(&s->ctx, adr[i]));
}

static void alloc__of_0_bytes_can_be_freed(void **state) {
  struct subject *s = begin(state);
  uintptr_t one = 1, two = 1;
  assert_ok(umem_try_alloc(&s->ctx, 0, &one));
  assert_ok(umem_try_alloc(&s->ctx, 0, &two));
  assert_true(one != 0 && two != 0 && one != two);
  assert_ok(umem_free(&s->ctx, one));
  assert_ok(umem_free(&s->ctx, two));
}

static void alloc__has_the_fundamental_alignment(void **state) {
  struct subject *s = begin(state);
  size_t alignment = umem_fundamental_align(&s->ctx);
  assert_true(umem_ispowerof2(alignment));
  for (size_t nbytes = 1; nbytes < 100; nbytes += 7) {
    uintptr_t adr = 1;
    assert_ok(umem_try_alloc(&s->ctx, nbytes, &adr));
    assert_true(adr % alignment == 0);
    assert_ok(umem_free(&s->ctx, adr));
  }
}

static void alloc__too_large_is_told_and_leaves_the_context_usable(void **st) {
  struct subject *s = begin(st);
  uintptr_t adr = 1;
  assert_zero_fails(&s->ctx, umem_alloc(&s->ctx, SIZE_MAX), umemMemoryError,
                    "umem_alloc(");
  assert_fails(&s->ctx, umem_try_alloc(&s->ctx, (size_t)PTRDIFF_MAX + 1, &adr),
               umemMemoryError, "umem_try_alloc(");
  assert_zero_fails(&s->ctx, umem_calloc(&s->ctx, SIZE_MAX / 2 + 1, 2),
                    umemMemoryError, "umem_calloc(");
  assert_fails(&s->ctx, umem_try_calloc(&s->ctx, SIZE_MAX, SIZE_MAX, &adr),
               umemMemoryError, "umem_try_calloc(");
  assert_true(adr == 1);
  assert_int_equal(umem_get_error_count(&s->ctx), 4);
  assert_ok(umem_try_alloc(&s->ctx, 10, &adr));
  assert_ok(umem_free(&s->ctx, adr));
}

static void aligned_alloc__aligns_and_never_gives_0(void **state) {
  struct subject *s = begin(state);
  for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
    uintptr_t adr = umem_aligned_alloc(&s->ctx, alignment, 3 * alignment);
    uintptr_t more, origin = 1;
    assert_true(adr != 0);
    assert_true(adr % alignment == 0);
    scribble(s, adr, 'a', 3 * alignment);
    assert_ok(umem_try_aligned_alloc(&s->ctx, alignment, 0, &more));
    assert_true(more && more % alignment == 0 && more != adr);
    assert_true(holds(s, adr, 'a', 3 * alignment));
    uintptr_t told = umem_aligned_origin(&s->ctx, adr);
    assert_true(umem_is_ok(&s->ctx));
    assert_true(told <= adr && adr - told <= alignment);
    assert_ok(umem_try_free_aligned(&s->ctx, adr, &origin));
    assert_true(origin == told);
    umem_free_aligned(&s->ctx, more);
    assert_true(umem_is_ok(&s->ctx));
  }
}

static void aligned_alloc__refuses_what_is_no_alignment(void **state) {
  struct subject *s = begin(state);
  uintptr_t adr = 1;
  assert_zero_fails(&s->ctx, umem_aligned_alloc(&s->ctx, 3, 3), umemValueError,
                    "umem_aligned_alloc: alignment 3 must be power of 2");
  assert_zero_fails(&s->ctx, umem_aligned_alloc(&s->ctx, 0, 0), umemValueError,
                    "umem_aligned_alloc: alignment 0 must be power of 2");
  assert_fails(&s->ctx, umem_try_aligned_alloc(&s->ctx, 64, 65, &adr),
               umemValueError,
               "umem_aligned_alloc: size 65 must be multiple of alignment 64");
  assert_true(adr == 1);
}

static void calloc__zeroes_memory_that_was_used_before(void **state) {
  struct subject *s = begin(state);
  for (size_t i = 0; i < SIZES; i++) {
    uintptr_t dirty, adr = 1;
    assert_ok(umem_try_alloc(&s->ctx, sizes[i], &dirty));
    scribble(s, dirty, 0xEE, sizes[i]);
    assert_ok(umem_free(&s->ctx, dirty));
    assert_ok(umem_try_calloc(&s->ctx, sizes[i], 1, &adr));
    assert_true(holds(s, adr, 0, sizes[i]));
    assert_ok(umem_free(&s->ctx, adr));
  }
  uintptr_t adr = umem_calloc(&s->ctx, 33, 31);
  assert_true(umem_is_ok(&s->ctx));
  assert_true(holds(s, adr, 0, (size_t)33 * 31));
  assert_ok(umem_free(&s->ctx, adr));
}

/* --- free ----------------------------------------------------------------- */

static void free__of_0_does_nothing_where_no_block_is(void **state) {
  struct subject *s = begin(state);
  uintptr_t origin = 1;
  assert_ok(umem_free(&s->ctx, 0));
  assert_true(umem_free_aligned(&s->ctx, 0) == 0);
  assert_true(umem_aligned_free(&s->ctx, 0) == 0);
  assert_ok(umem_try_free_aligned(&s->ctx, 0, &origin));
  assert_true(origin == 0);
  assert_ok(umem_try_free_aligned(&s->ctx, 0, NULL));
  assert_true(umem_is_ok(&s->ctx));
}

static void free__of_what_is_no_block_frees_nothing(void **state) {
  struct subject *s = begin(state);
  if (!s->kind->knows_blocks)
    return;
  struct block block = block_begin(s, 100);
  uintptr_t gone;
  assert_ok(umem_try_aligned_alloc(&s->ctx, 64, 64, &gone));
  assert_ok(umem_free(&s->ctx, gone));
  uintptr_t const bad[] = {block.adr + 1, block.adr + 99, block.adr + 100, gone,
                           UINTPTR_MAX};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    uintptr_t origin = 1;
    char const *why = i < 2 ? "lies inside the block of 100 bytes"
                            : "is not a live block of this context";
    assert_fails(&s->ctx, umem_free(&s->ctx, bad[i]), umemValueError, why);
    assert_zero_fails(&s->ctx, umem_free_aligned(&s->ctx, bad[i]),
                      umemValueError, why);
    assert_fails(&s->ctx, umem_try_free_aligned(&s->ctx, bad[i], &origin),
                 umemValueError, why);
    assert_true(origin == 1);
    assert_zero_fails(&s->ctx, umem_aligned_origin(&s->ctx, bad[i]),
                      umemValueError, why);
  }
  assert_true(block_is_intact(&block));
  block_end(&block);
}

static void free__twice_is_told(void **state) {
  struct subject *s = begin(state);
  if (!s->kind->knows_blocks)
    return;
  uintptr_t adr = umem_aligned_alloc(&s->ctx, 1, 10);
  assert_ok(umem_free(&s->ctx, adr));
  assert_fails(&s->ctx, umem_free(&s->ctx, adr), umemValueError,
               "is not a live block of this context");
}

static void free__leaves_room_that_is_used_again(void **state) {
  struct subject *s = begin(state);
  for (int i = 0; i < 64; i++) { /* 64 MiB, in much less memory */
    uintptr_t adr;
    assert_ok(umem_try_alloc(&s->ctx, CHUNK, &adr));
    assert_ok(umem_free(&s->ctx, adr));
  }
}

/* --- set ------------------------------------------------------------------ */

static void set__fills_at_any_offset_and_nothing_else(void **state) {
  struct subject *s = begin(state);
  struct block block = block_begin(s, CHUNK + 1000);
  size_t const lengths[] = {0, 1, 63, 4096, CHUNK + 7, CHUNK / 8};
  int const values[] = {0, 0x55, 0xFF, -1, 0x1234, 0x100};
  for (size_t i = 0; i < 6 * scaled(6, 1); i++) {
    uintptr_t adr = block.adr + 13 + i;
    size_t const nbytes = lengths[i % 6];
    int const value = values[(i + i / 6) % 6];
    assert_true(umem_set(&s->ctx, adr, value, nbytes) == adr);
    memset(block.image + 13 + i, value, nbytes);
    assert_true(block_is_intact(&block));
    assert_ok(umem_try_set(&s->ctx, adr + 1, 'b', 3));
    memset(block.image + 14 + i, 'b', 3);
    assert_true(block_is_intact(&block));
  }
  block_end(&block);
}

static void set_safe__stays_in_the_size(void **state) {
  struct subject *s = begin(state);
  struct block block = block_begin(s, 100);
  assert_ok(umem_set_safe(&s->ctx, block.adr, 100, 'x', 100));
  assert_ok(umem_set_safe(&s->ctx, block.adr + 99, 1, 'y', 1));
  memset(block.image, 'x', 100);
  block.image[99] = 'y';
  assert_fails(&s->ctx, umem_set_safe(&s->ctx, block.adr, 99, 'z', 100),
               umemIndexError, "100 bytes exceed the size of 99");
  assert_fails(&s->ctx, umem_set_safe(&s->ctx, block.adr, SIZE_MAX, 'z', 1),
               umemIndexError, "wraps");
  assert_true(block_is_intact(&block));
  block_end(&block);
}

static void set_safe__stays_in_the_block(void **state) {
  struct subject *s = begin(state);
  if (!s->kind->knows_blocks)
    return;
  struct block block = block_begin(s, 100);
  assert_fails(&s->ctx, umem_set_safe(&s->ctx, block.adr, 101, 'z', 101),
               umemIndexError, "101 bytes at 0x");
  assert_fails(&s->ctx, umem_set_safe(&s->ctx, block.adr + 99, 10, 'z', 2),
               umemIndexError, "leave the block of 100 bytes");
  assert_ok(umem_set_safe(&s->ctx, block.adr + 50, 1000, block.image[50], 1));
  assert_true(block_is_intact(&block));
  block_end(&block);
}

/* --- questions and status ------------------------------------------------- */

static void a_context__knows_itself(void **state) {
  struct subject *s = begin(state);
  assert_string_equal(umem_get_device_name(&s->ctx), s->kind->device_name);
  assert_true(umem_is_same_device(&s->ctx, &s->ctx));
  assert_true(umem_is_accessible_from(&s->ctx, &s->ctx));
  assert_int_equal(umem_get_error_count(&s->ctx), 0);
}

static void a_second_context_in_one_space__is_the_same_device(void **state) {
  struct situation *s = *state;
  begin(state);
  subject_twin(&s->dest, &s->src);
  bool same = s->dest.kind == s->src.kind;
  assert_int_equal(umem_is_same_device(&s->src.ctx, &s->dest.ctx), same);
  assert_int_equal(umem_is_same_device(&s->dest.ctx, &s->src.ctx), same);
  assert_true(umem_is_accessible_from(&s->src.ctx, &s->dest.ctx));
}

static void status__is_kept_until_it_is_cleaned(void **state) {
  struct subject *s = begin(state);
  uintptr_t adr = 1;
  assert_string_equal(umem_get_message(&s->ctx), "");
  assert_status(umem_try_alloc(&s->ctx, SIZE_MAX, &adr), umemMemoryError);
  assert_false(umem_is_ok(&s->ctx));
  assert_ok(umem_try_alloc(&s->ctx, 10, &adr)); /* old status, new success */
  assert_status(umem_get_status(&s->ctx), umemMemoryError);
  assert_zero_fails(&s->ctx, umem_aligned_alloc(&s->ctx, 3, 3), umemValueError,
                    "\nstatus MemoryError changed to ValueError\n");
  assert_true(umem_is_ok(&s->ctx));
  assert_string_equal(umem_get_message(&s->ctx), "");
  assert_int_equal(umem_get_error_count(&s->ctx), 2);
  assert_status(last_error(&s->ctx).type, umemValueError);
  assert_ok(umem_free(&s->ctx, adr));
}

static void status__can_be_set(void **state) {
  struct subject *s = begin(state);
  assert_ok(umem_set_status(&s->ctx, umemAssertError, "mine"));
  assert_string_equal(umem_get_message(&s->ctx), "mine");
  assert_slot(&s->ctx, umemAssertError, "mine");
  assert_int_equal(umem_get_error_count(&s->ctx), 0);
}

static void flush__of_what_was_written_is_ok(void **state) {
  struct subject *s = begin(state);
  struct block block = block_begin(s, 100);
  assert_ok(umem_flush(&s->ctx));
  assert_true(block_is_intact(&block));
  block_end(&block);
}

static void dtor__frees_what_the_context_knows(void **state) {
  struct subject *s = begin(state);
  if (strcmp(s->kind->device_name, "Host") == 0)
    return; /* its blocks outlive it */
  for (size_t i = 0; i < SIZES; i++) {
    uintptr_t adr;
    assert_ok(umem_try_alloc(&s->ctx, sizes[i], &adr));
    assert_ok(umem_try_aligned_alloc(&s->ctx, 4096, 4096 * i, &adr));
  }
  subject_end(s); /* a fake tells what it still has */
}

static void dtor__leaves_a_dead_context(void **state) {
  struct subject *s = begin(state);
  struct kind const *kind = s->kind;
  uintptr_t adr = 1;
  assert_ok(umem_dtor(&s->ctx));
  assert_true(umem_is_ok(&s->ctx));
  assert_fails(&s->ctx, umem_try_alloc(&s->ctx, 1, &adr), umemTypeError,
               "context is dead: umem_dtor() was called");
  assert_true(adr == 1);
  assert_ok(umem_dtor(&s->ctx));
  kind->end(s);
  s->kind = NULL;
}

struct chapter single_tests(void) {
  static struct CMUnitTest const tests[] = {
      cmocka_unit_test(alloc__gives_memory_of_its_own_for_every_size),
      cmocka_unit_test(alloc__of_0_bytes_can_be_freed),
      cmocka_unit_test(alloc__has_the_fundamental_alignment),
      cmocka_unit_test(alloc__too_large_is_told_and_leaves_the_context_usable),
      cmocka_unit_test(aligned_alloc__aligns_and_never_gives_0),
      cmocka_unit_test(aligned_alloc__refuses_what_is_no_alignment),
      cmocka_unit_test(calloc__zeroes_memory_that_was_used_before),
      cmocka_unit_test(free__of_0_does_nothing_where_no_block_is),
      cmocka_unit_test(free__of_what_is_no_block_frees_nothing),
      cmocka_unit_test(free__twice_is_told),
      cmocka_unit_test(free__leaves_room_that_is_used_again),
      cmocka_unit_test(set__fills_at_any_offset_and_nothing_else),
      cmocka_unit_test(set_safe__stays_in_the_size),
      cmocka_unit_test(set_safe__stays_in_the_block),
      cmocka_unit_test(a_context__knows_itself),
      cmocka_unit_test(a_second_context_in_one_space__is_the_same_device),
      cmocka_unit_test(status__is_kept_until_it_is_cleaned),
      cmocka_unit_test(status__can_be_set),
      cmocka_unit_test(flush__of_what_was_written_is_ok),
      cmocka_unit_test(dtor__frees_what_the_context_knows),
      cmocka_unit_test(dtor__leaves_a_dead_context),
  };
  return (struct chapter){tests, sizeof tests / sizeof *tests};
}
