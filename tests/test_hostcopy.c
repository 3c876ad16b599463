/* SPDX-License-Identifier: BSD-3-Clause */
/* Host memory to host memory: memmove() by every means, and fresh pages. */
#include "core.h"

#include "internal.h"

enum { KIB = 1 << 10, MIB = 1 << 20, GUARD = 128, POPULATE_WRITE = 23 };

static struct umemiTuning usual;

/* --- around each test ----------------------------------------------------- */

static int hostcopy_setup(void **state) {
  (void)state;
  usual = *umemi_tuning();
  faults_install();
  return 0;
}

static int hostcopy_teardown(void **state) {
  umemi_tuning_values = usual;
  assert_ok(umem_set_threads(0));
  return faults_teardown(state);
}

/* What is large becomes so small a part of it, or where all is slow a 32nd. */
static void thresholds_scale(size_t natively) {
  struct umemiTuning *t = &umemi_tuning_values;
  size_t const by = scaled(natively, 32);
  t->fresh_from /= by;
  t->share_from /= by;
  t->stream_from /= by;
  t->stream_shared_from /= by;
  t->host_piece = by > 1 ? 64 * KIB : t->host_piece;
}

/* --- guarded memory ------------------------------------------------------- */

/* `size` bytes at a whole page, with GUARD bytes in front and behind. */
struct area {
  unsigned char *room, *bytes;
  size_t size;
};

static struct area area_new(size_t size, uint64_t seed) {
  void *room = NULL;
  assert_int_equal(posix_memalign(&room, UMEMI_PAGE, UMEMI_PAGE + size + GUARD),
                   0);
  struct area a = {room, (unsigned char *)room + UMEMI_PAGE, size};
  memset(a.room, 0xEE, UMEMI_PAGE + size + GUARD);
  random_bytes(a.bytes, size, seed);
  return a;
}

/* Bytes `at` ... `at + nbytes` may have changed, and no other. */
static bool is_guarded(struct area const *a, size_t at, size_t nbytes) {
  return all_bytes_are(a->bytes + at - GUARD, GUARD, 0xEE) &&
         all_bytes_are(a->bytes + at + nbytes, GUARD, 0xEE);
}

/* Copies between these offsets of two areas, the second of which is all 0xEE;
   tells what was wrong. */
static void check_copy(struct area const *src, size_t from,
                       struct area const *dest, size_t to, size_t nbytes) {
  umemi_host_copy(dest->bytes + to, src->bytes + from, nbytes);
  if (memcmp(dest->bytes + to, src->bytes + from, nbytes) != 0 ||
      !is_guarded(dest, to, nbytes))
    fail_msg("%zu bytes, offsets %zu and %zu", nbytes, from, to);
  memset(dest->bytes + to, 0xEE, nbytes);
}

/* An area that is all 0xEE. */
static struct area area_empty(size_t size) {
  struct area a = area_new(size, 0);
  memset(a.bytes, 0xEE, size);
  return a;
}

/* --- what is copied where ------------------------------------------------- */

static void check_offsets(size_t nbytes, size_t step) {
  struct area src = area_new(nbytes + 2 * GUARD, nbytes);
  struct area dest = area_empty(nbytes + 2 * GUARD);
  for (size_t to = 0; to <= 65; to++)
    for (size_t from = 0; from <= 65; from += step)
      check_copy(&src, from, &dest, GUARD + to, nbytes);
  free(src.room);
  free(dest.room);
}

static void small_copy__at_every_offset(void **state) {
  (void)state;
  static size_t const sizes[] = {0,    1,    2,    31,   63,   64,   65,
                                 127,  128,  129,  255,  256,  257,  383,
                                 2047, 2111, 2112, 2113, 2175, 2176, 2177};
  for (int simd = 1; simd >= 0; simd--) {
    umemi_tuning_values.simd = (size_t)simd;
    for (size_t i = 0; i < LENGTH(sizes); i++)
      check_offsets(sizes[i], scaled(1, 13));
  }
}

/* All kernels from their least size on, whatever the thresholds are. */
static void small_copy__by_every_loop_at_every_offset(void **state) {
  (void)state;
  struct umemiTuning *t = &umemi_tuning_values;
  t->loop_from = t->loop_alike_from = 256;
  for (int stream = 0; stream < 2; stream++) {
    t->stream_from = stream ? 0 : SIZE_MAX;
    for (size_t nbytes = 256; nbytes < 256 + 130; nbytes += scaled(1, 9))
      check_offsets(nbytes, 13);
    check_offsets(4095, 5);
    check_offsets(4096, 5);
  }
}

static void middle_copy__at_many_offsets(void **state) {
  (void)state;
  static size_t const sizes[] = {4095,          4096,         4097,
                                 32 * KIB - 1,  32 * KIB,     32 * KIB + 1,
                                 32 * KIB + 64, 100 * KIB + 3};
  for (size_t i = 0; i < LENGTH(sizes); i++)
    check_offsets(sizes[i], scaled(16, 33));
}

static void copy__to_a_little_behind_a_multiple_of_the_page(void **state) {
  (void)state;
  static size_t const sizes[] = {2112, 4096, 10000, 64 * KIB + 5};
  for (size_t i = 0; i < LENGTH(sizes); i++)
    for (size_t behind = 1; behind < 64; behind += scaled(2, 11)) {
      struct area src = area_new(sizes[i] + GUARD, i);
      struct area dest = area_empty(sizes[i] + UMEMI_PAGE + 2 * GUARD);
      check_copy(&src, 5, &dest, UMEMI_PAGE + 5 + behind, sizes[i]);
      assert_int_equal((uintptr_t)(dest.bytes + 5 + behind - (src.bytes + 5)) %
                           UMEMI_PAGE,
                       behind);
      free(src.room);
      free(dest.room);
    }
}

/* Two areas of `nbytes` bytes and room for offsets; copies at some of these. */
static void check_large(size_t nbytes) {
  static size_t const offsets[][2] = {
      {0, 0}, {1, 0}, {0, 1}, {63, 65}, {13, 29}};
  struct area src = area_new(nbytes + GUARD, nbytes);
  struct area dest = area_empty(nbytes + 3 * GUARD);
  for (size_t i = 0; i < LENGTH(offsets); i++)
    check_copy(&src, offsets[i][0], &dest, GUARD + offsets[i][1], nbytes);
  free(src.room);
  free(dest.room);
}

static void check_around(size_t threshold) {
  check_large(threshold - 1);
  check_large(threshold);
  check_large(threshold + 1);
}

static void check_thresholds(unsigned threads, size_t simd) {
  assert_ok(umem_set_threads(threads));
  umemi_tuning_values.simd = simd;
  check_around(umemi_tuning()->fresh_from);
  check_around(umemi_tuning()->share_from);
  check_around(umemi_tuning()->stream_from);
  check_around(umemi_tuning()->stream_shared_from);
  check_large(umemi_tuning()->stream_shared_from + 3 * MIB + 7);
}

static void large_copy__around_every_threshold_alone(void **state) {
  (void)state;
  thresholds_scale(1);
  check_thresholds(0, 1);
}

static void large_copy__around_every_threshold_with_help(void **state) {
  (void)state;
  thresholds_scale(8);
  check_thresholds(1, 1);
}

static void large_copy__around_every_threshold_without_SIMD(void **state) {
  (void)state;
  thresholds_scale(8);
  check_thresholds(1, 0);
}

/* --- overlap -------------------------------------------------------------- */

static void check_overlap(size_t nbytes, size_t apart, bool up) {
  struct area a = area_new(nbytes + apart + 2 * GUARD, nbytes);
  unsigned char *expected = malloc(a.size);
  size_t from = GUARD + (up ? 0 : apart), to = GUARD + (up ? apart : 0);
  assert_non_null(expected);
  memcpy(expected, a.bytes, a.size);
  memmove(expected + to, expected + from, nbytes);
  umemi_host_copy(a.bytes + to, a.bytes + from, nbytes);
  if (memcmp(a.bytes, expected, a.size) != 0)
    fail_msg("%zu bytes, %zu apart, %s", nbytes, apart, up ? "up" : "down");
  free(expected);
  free(a.room);
}

static void overlap__in_both_directions_is_memmove(void **state) {
  (void)state;
  thresholds_scale(8);
  assert_ok(umem_set_threads(1));
  size_t const sizes[] = {100, 5000, umemi_tuning()->share_from + 13,
                          umemi_tuning()->stream_shared_from + 13};
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    size_t const n = sizes[i];
    size_t const aparts[] = {0, 1, 63, 64, 4096, n / 2, n - 1, n, n + 1};
    for (size_t k = 0; k < LENGTH(aparts); k++)
      for (int up = 0; up < 2; up++)
        check_overlap(n, aparts[k], up);
  }
}

/* --- the public call, and what it leaves as it was ------------------------ */

static void copy__between_hosts_with_and_without_help_is_exact(void **state) {
  (void)state;
  umemHost host, checked;
  thresholds_scale(8);
  size_t const n = umemi_tuning()->share_from + 1234567;
  assert_ok(umemHost_ctor(&host));
  checked_host(&checked);
  struct area src = area_new(n, 1), dest = area_empty(n + 2 * GUARD);
  for (unsigned i = 0; i < 4; i++) {
    unsigned char *to = dest.bytes + GUARD;
    void const *other = i & 2 ? &checked : &host;
    assert_ok(umem_set_threads(i & 1));
    errno = 42;
    assert_ok(
        umem_copy_to(&host, (uintptr_t)src.bytes, other, (uintptr_t)to, n));
    assert_int_equal(errno, 42);
    assert_int_equal(memcmp(to, src.bytes, n), 0);
    assert_true(is_guarded(&dest, GUARD, n));
    memset(to, 0xEE, n);
  }
  free(src.room);
  free(dest.room);
  assert_ok(umem_dtor(&checked));
  assert_ok(umem_dtor(&host));
}

static void deliver__is_a_copy_of_any_size(void **state) {
  (void)state;
  static size_t const sizes[] = {0, 1, 255, 256, 257, 4096, 100 * KIB + 1};
  struct area src = area_new(101 * KIB, 3);
  struct area dest = area_empty(101 * KIB + 2 * GUARD);
  for (size_t i = 0; i < LENGTH(sizes); i++)
    for (size_t to = 0; to < 40; to += 3) {
      size_t const total = to % 2 ? SIZE_MAX : sizes[i];
      unsigned char *at = dest.bytes + GUARD + to;
      umemi_host_deliver(at, src.bytes, sizes[i], total);
      assert_int_equal(memcmp(at, src.bytes, sizes[i]), 0);
      assert_true(is_guarded(&dest, GUARD + to, sizes[i]));
      memset(at, 0xEE, sizes[i]);
    }
  free(src.room);
  free(dest.room);
}

/* --- fresh pages ---------------------------------------------------------- */

/* What was asked of madvise(), and what mincore() is made to answer. */
struct advice {
  uintptr_t at;
  size_t nbytes;
  int kind;
};

enum { ADVICES_MAX = 512 };

static struct advice advices[ADVICES_MAX];
static atomic_uint advice_count, mincore_count;
static bool all_is_fresh; /* else the truth is told */

static int noting_madvise(void *at, size_t nbytes, int kind) {
  unsigned i = advice_count++;
  if (i < ADVICES_MAX)
    advices[i] = (struct advice){(uintptr_t)at, nbytes, kind};
  return 0;
}

static int noting_mincore(void *at, size_t nbytes, unsigned char *out) {
  mincore_count++;
  if (!all_is_fresh)
    return mincore(at, nbytes, out);
  memset(out, 0, (nbytes + UMEMI_PAGE - 1) / UMEMI_PAGE);
  return 0;
}

static void note_advice(bool fresh) {
  umemi_os.madvise = noting_madvise;
  umemi_os.mincore = noting_mincore;
  advice_count = mincore_count = 0;
  all_is_fresh = fresh;
}

static unsigned advices_of(int kind) {
  unsigned count = 0;
  for (unsigned i = 0; i < advice_count && i < ADVICES_MAX; i++)
    count += advices[i].kind == kind;
  return count;
}

/* The only advice of huge pages: in the block, and of nearly all of it. */
static void expect_huge_once(uintptr_t adr, size_t nbytes) {
  assert_int_equal(advices_of(MADV_HUGEPAGE), 1);
  for (unsigned i = 0; i < advice_count; i++) {
    struct advice const *a = &advices[i];
    if (a->kind != MADV_HUGEPAGE)
      continue;
    assert_int_equal(a->at % UMEMI_PAGE, 0);
    assert_int_equal(a->nbytes % UMEMI_PAGE, 0);
    assert_true(a->at >= adr);
    assert_true(a->at + a->nbytes <= adr + nbytes);
    assert_true(a->nbytes + 2 * MIB + 2 * UMEMI_PAGE >= nbytes);
  }
}

/* Pages are brought in where bytes will be written, and in their pages only. */
static void expect_populated_within(uintptr_t adr, size_t nbytes) {
  for (unsigned i = 0; i < advice_count; i++) {
    struct advice const *a = &advices[i];
    if (a->kind != POPULATE_WRITE)
      continue;
    assert_int_equal(a->at % UMEMI_PAGE, 0);
    assert_true(a->at >= adr - adr % UMEMI_PAGE);
    assert_true(a->at + a->nbytes <= adr + nbytes);
  }
}

static unsigned char *source;
static umemHost host;

enum { BLOCK = UMEMI_LARGE_BLOCK + 4 * MIB + 13, SOURCE = BLOCK + MIB };

static int fresh_setup(void **state) {
  source = malloc(SOURCE);
  assert_non_null(source);
  random_bytes(source, SOURCE, 7);
  assert_ok(umemHost_ctor(&host));
  return hostcopy_setup(state);
}

static int fresh_teardown(void **state) {
  assert_ok(umem_dtor(&host));
  free(source);
  return hostcopy_teardown(state);
}

static void fill(uintptr_t adr, size_t nbytes) {
  assert_ok(umem_copy_to(&host, (uintptr_t)source, &host, adr, nbytes));
  assert_int_equal(memcmp((void *)adr, source, nbytes), 0);
}

static void fresh__block_of_ours_gets_huge_pages_once(void **state) {
  (void)state;
  note_advice(true);
  uintptr_t adr = umem_alloc(&host, BLOCK);
  assert_int_equal(advice_count, 0);
  fill(adr, BLOCK);
  expect_huge_once(adr, BLOCK);
  expect_populated_within(adr, BLOCK);
  for (int i = 0; i < 3; i++)
    fill(adr + (uintptr_t)i, BLOCK - 3);
  assert_int_equal(advices_of(MADV_HUGEPAGE), 1);
  assert_ok(umem_free(&host, adr));
}

/* Only what is written, until half of it was in one copy. */
static void fresh__block_that_is_filled_piece_by_piece_does_too(void **state) {
  (void)state;
  size_t const piece = 8 * MIB;
  uintptr_t adr = umem_alloc(&host, BLOCK);
  for (uintptr_t at = adr; at < adr + 3 * piece; at += piece) {
    note_advice(true);
    fill(at, piece);
    expect_huge_once(at, piece);
    expect_populated_within(at, piece);
  }
  note_advice(true);
  fill(adr + 1000, BLOCK - 1000);
  expect_huge_once(adr + 1000, BLOCK - 1000);
  note_advice(true);
  fill(adr, BLOCK);
  assert_int_equal(advice_count, 0);
  assert_ok(umem_free(&host, adr));
}

static void large_blocks__start_on_a_huge_page(void **state) {
  (void)state;
  uintptr_t small = umem_alloc(&host, 100), large = umem_alloc(&host, BLOCK);
  assert_int_equal(large % UMEMI_HUGE_PAGE, 0);
  assert_true(small != 0);
  assert_ok(umem_free(&host, small));
  assert_ok(umem_free(&host, large));
}

static uintptr_t block_by(unsigned form, void const *ctx, size_t nbytes) {
  uintptr_t adr = 0;
  switch (form) {
  case 0:
    adr = umem_alloc(ctx, nbytes);
    break;
  case 1:
    assert_ok(umem_try_alloc(ctx, nbytes, &adr));
    break;
  case 2:
    adr = umem_calloc(ctx, nbytes, 1);
    break;
  default:
    adr = umem_aligned_alloc(ctx, 64, nbytes & ~(size_t)63);
  }
  assert_true(adr != 0);
  return adr;
}

static void fresh__block_of_every_allocation_gets_huge_pages(void **state) {
  (void)state;
  umemHost checked;
  checked_host(&checked);
  for (unsigned form = 0; form < 8; form++) {
    void const *ctx = form & 4 ? &checked : &host;
    note_advice(true);
    uintptr_t adr = block_by(form & 3, ctx, BLOCK);
    fill(adr, BLOCK & ~(size_t)63);
    expect_huge_once(adr, BLOCK);
    assert_ok(form & 1 ? umem_try_free_aligned(ctx, adr, NULL)
                       : umem_free(ctx, adr));
    note_advice(true); /* it is forgotten: nobody reads or writes there */
    umemi_host_prepare((void *)adr, BLOCK);
    assert_int_equal(advices_of(MADV_HUGEPAGE), 0);
  }
  assert_ok(umem_dtor(&checked));
}

static void fresh__block_of_less_than_32_MiB_is_like_others(void **state) {
  (void)state;
  note_advice(true);
  uintptr_t adr = umem_alloc(&host, UMEMI_LARGE_BLOCK - 1);
  fill(adr, UMEMI_LARGE_BLOCK - 1);
  assert_int_equal(advice_count, 0);
  assert_ok(umem_free(&host, adr));
}

static void *map_fresh(void *hint, size_t nbytes) {
  void *at = mmap(
      hint, nbytes, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | (hint ? MAP_FIXED_NOREPLACE : 0), -1, 0);
  if (at == MAP_FAILED)
    return NULL;
  if (!hint || at == hint)
    return at;
  munmap(at, nbytes); /* who does not know the flag takes it for a hint */
  return NULL;
}

static void fresh__memory_of_others_is_nobodys_business(void **state) {
  (void)state;
  for (int truth = 0; truth < 2; truth++) {
    note_advice(!truth);
    char *at = map_fresh(NULL, 2 * BLOCK);
    assert_non_null(at);
    fill((uintptr_t)at + 1000, BLOCK);
    assert_int_equal(advice_count, 0);
    assert_int_equal(mincore_count, 0);
    munmap(at, 2 * BLOCK);
  }
}

static void fresh__block_that_was_freed_is_none_of_ours(void **state) {
  (void)state;
  uintptr_t adr = umem_alloc(&host, BLOCK);
  uintptr_t page = adr - adr % UMEMI_PAGE;
  assert_ok(umem_free(&host, adr));
  note_advice(true);
  void *again = map_fresh((void *)page, BLOCK + UMEMI_PAGE);
  if (again) /* not where free() keeps the memory */
    fill(adr, BLOCK);
  else
    umemi_host_prepare((void *)adr, BLOCK);
  assert_int_equal(advices_of(MADV_HUGEPAGE), 0);
  if (again)
    munmap(again, BLOCK + UMEMI_PAGE);
}

static void fresh__neighbours_of_a_block_get_nothing(void **state) {
  (void)state;
  char *at = map_fresh(NULL, 4 * BLOCK);
  uintptr_t adr = (uintptr_t)at + BLOCK;
  umemi_large_note(adr, BLOCK);
  note_advice(true);
  fill(adr - BLOCK, BLOCK);
  fill(adr + BLOCK, BLOCK);
  assert_int_equal(advices_of(MADV_HUGEPAGE), 0);
  fill(adr, BLOCK);
  expect_huge_once(adr, BLOCK);
  munmap(at, 4 * BLOCK);
}

/* More than are known at a time: each gets it once, or not at all. */
static void fresh__blocks_by_the_hundred_are_never_mixed_up(void **state) {
  (void)state;
  enum { BLOCKS = 100, SMALLEST = UMEMI_LARGE_BLOCK };
  static uintptr_t adr[BLOCKS];
  size_t const count = scaled(BLOCKS, 70);
  unsigned advised = 0;
  for (size_t i = 0; i < count; i++)
    assert_true((adr[i] = umem_alloc(&host, SMALLEST)) != 0);
  for (size_t i = 0; i < count; i++) {
    note_advice(true);
    umemi_host_prepare((void *)adr[i], SMALLEST);
    if (advices_of(MADV_HUGEPAGE) > 0)
      expect_huge_once(adr[i], SMALLEST);
    advised += advices_of(MADV_HUGEPAGE);
  }
  for (size_t i = 0; i < count; i++)
    assert_ok(umem_free(&host, adr[i]));
  note_advice(true);
  for (size_t i = 0; i < count; i++)
    umemi_host_prepare((void *)adr[i], SMALLEST);
  assert_int_equal(advices_of(MADV_HUGEPAGE), 0);
  assert_in_range(advised, 20, UMEMI_LARGE_BLOCKS);
}

static void fresh__absurd_blocks_are_not_noted(void **state) {
  (void)state;
  note_advice(true);
  umemi_large_note((uintptr_t)source, SIZE_MAX);
  umemi_large_note((uintptr_t)source, (size_t)1 << 37);
  umemi_large_note(UINTPTR_MAX - 5, BLOCK);
  umemi_host_prepare(source, SOURCE);
  assert_int_equal(advices_of(MADV_HUGEPAGE), 0);
}

static void fresh__pages_that_are_there_are_not_brought_in(void **state) {
  (void)state;
  uintptr_t adr = umem_alloc(&host, BLOCK);
  memset((void *)adr, 1, BLOCK);
  note_advice(false);
  fill(adr, BLOCK);
  assert_true(mincore_count > 0);
  assert_int_equal(advices_of(POPULATE_WRITE), 0);
  mincore_count = advice_count = 0;
  fill(adr, BLOCK); /* and the second time nobody looks */
  assert_int_equal(mincore_count, 0);
  assert_int_equal(advice_count, 0);
  assert_ok(umem_free(&host, adr));
}

static void fresh__is_not_asked_for_less_than_4_MiB(void **state) {
  (void)state;
  note_advice(true);
  uintptr_t adr = umem_alloc(&host, BLOCK);
  fill(adr, 4 * MIB - 1);
  assert_int_equal(mincore_count, 0);
  assert_int_equal(advice_count, 0);
  assert_ok(umem_free(&host, adr));
}

static void fresh__can_be_switched_off(void **state) {
  (void)state;
  for (unsigned off = 1; off < 4; off++) {
    umemi_tuning_values.huge = !(off & 1);
    umemi_tuning_values.populate = !(off & 2);
    note_advice(true);
    uintptr_t adr = umem_alloc(&host, BLOCK);
    fill(adr, BLOCK);
    assert_int_equal(advices_of(MADV_HUGEPAGE), !(off & 1));
    assert_int_equal(advices_of(POPULATE_WRITE) > 0, !(off & 2));
    assert_ok(umem_free(&host, adr));
  }
}

static void fresh__calls_that_fail_change_nothing_and_not_errno(void **state) {
  (void)state;
  static enum fault_call const calls[] = {FAULT_madvise, FAULT_mincore};
  static int const errors[] = {ENOMEM, EINVAL, EAGAIN, EFAULT};
  for (size_t i = 0; i < 8; i++) {
    faults_install();
    faults_fail_from(calls[i % 2], 1, errors[i / 2]);
    uintptr_t adr = umem_alloc(&host, BLOCK);
    errno = 33;
    fill(adr, BLOCK);
    assert_int_equal(errno, 33);
    assert_true(faults_count(FAULT_mincore) > 0);
    if (calls[i % 2] == FAULT_mincore) /* only the huge pages */
      assert_in_range(faults_count(FAULT_madvise), 0, 1);
    assert_ok(umem_free(&host, adr));
  }
}

static void fresh__destination_of_a_read_gets_huge_pages(void **state) {
  (void)state;
  umemFile file;
  char const *name = temp_path("source");
  file_put(name, source, BLOCK);
  assert_ok(umemFile_ctor(&file, name, "r"));
  note_advice(true);
  uintptr_t adr = umem_alloc(&host, BLOCK);
  assert_ok(umem_copy_to(&file, 0, &host, adr, BLOCK));
  assert_int_equal(memcmp((void *)adr, source, BLOCK), 0);
  expect_huge_once(adr, BLOCK);
  assert_ok(umem_free(&host, adr));
  assert_ok(umem_dtor(&file));
}

/* For all the others the system was not asked. */
static void fresh__with_what_the_system_makes_of_it(void **state) {
  (void)state;
  for (unsigned threads = 0; threads < 2; threads++) {
    faults_reset();
    assert_ok(umem_set_threads(threads));
    for (int i = 0; i < 3; i++) {
      uintptr_t adr = umem_alloc(&host, SOURCE);
      fill(adr, SOURCE);
      fill(adr + 1, SOURCE - 1);
      assert_ok(umem_free(&host, adr));
    }
  }
}

#define hostcopy_test(f)                                                       \
  cmocka_unit_test_setup_teardown(f, hostcopy_setup, hostcopy_teardown)
#define fresh_test(f)                                                          \
  cmocka_unit_test_setup_teardown(f, fresh_setup, fresh_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      hostcopy_test(small_copy__at_every_offset),
      hostcopy_test(small_copy__by_every_loop_at_every_offset),
      hostcopy_test(middle_copy__at_many_offsets),
      hostcopy_test(copy__to_a_little_behind_a_multiple_of_the_page),
      hostcopy_test(large_copy__around_every_threshold_alone),
      hostcopy_test(large_copy__around_every_threshold_with_help),
      hostcopy_test(large_copy__around_every_threshold_without_SIMD),
      hostcopy_test(overlap__in_both_directions_is_memmove),
      hostcopy_test(copy__between_hosts_with_and_without_help_is_exact),
      hostcopy_test(deliver__is_a_copy_of_any_size),
      fresh_test(fresh__block_of_ours_gets_huge_pages_once),
      fresh_test(fresh__block_that_is_filled_piece_by_piece_does_too),
      fresh_test(large_blocks__start_on_a_huge_page),
      fresh_test(fresh__block_of_every_allocation_gets_huge_pages),
      fresh_test(fresh__block_of_less_than_32_MiB_is_like_others),
      fresh_test(fresh__memory_of_others_is_nobodys_business),
      fresh_test(fresh__block_that_was_freed_is_none_of_ours),
      fresh_test(fresh__neighbours_of_a_block_get_nothing),
      fresh_test(fresh__blocks_by_the_hundred_are_never_mixed_up),
      fresh_test(fresh__absurd_blocks_are_not_noted),
      fresh_test(fresh__pages_that_are_there_are_not_brought_in),
      fresh_test(fresh__is_not_asked_for_less_than_4_MiB),
      fresh_test(fresh__can_be_switched_off),
      fresh_test(fresh__calls_that_fail_change_nothing_and_not_errno),
      fresh_test(fresh__destination_of_a_read_gets_huge_pages),
      fresh_test(fresh__with_what_the_system_makes_of_it),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
