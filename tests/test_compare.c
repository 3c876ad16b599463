/* SPDX-License-Identifier: BSD-3-Clause */
/* Comparisons: the first byte that differs, or why there is no answer. */
#define PAIR_JOIN " and "
#include "each_pair.h"

#include "internal.h"

enum { KIB = 1024, MIB = 1024 * KIB };

/* What the output holds before each call. */
#define UNTOUCHED ((size_t)0x5E475E47)

/* --- sides: memory of each kind ------------------------------------------- */

struct side {
  enum kind kind;
  umemContext ctx;
  struct fake device;
  uintptr_t adr; /* of the first of `size` bytes */
  size_t size;
  char path[512];
};

static struct side a, b;

static void side_put(struct side const *s, size_t at, void const *in,
                     size_t n) {
  if (s->kind == HOST)
    memcpy((char *)s->adr + at, in, n);
  else if (s->kind != DISK)
    memcpy(fake_at(&s->device, s->adr) + at, in, n);
  else {
    int fd = open(s->path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, in, n, (off_t)at), n);
    assert_int_equal(close(fd), 0);
  }
}

static void side_begin_file(struct side *s) {
  static unsigned number;
  char name[32];
  snprintf(name, sizeof name, "side-%u", number++);
  snprintf(s->path, sizeof s->path, "%s", temp_path(name));
  file_put(s->path, "", 0);
  assert_ok(umemFile_ctor(&s->ctx.file, s->path, "r"));
}

static void side_begin_fake(struct side *s) {
  struct fakeConfig config = {.capacity = s->size + 64};
  config.without = s->kind == FAKE ? FAKE_VIEWS : 0;
  assert_ok(fake_ctor(&s->ctx.super, &s->device, &config));
  s->adr = umem_alloc(&s->ctx, s->size);
  assert_true(s->adr != 0);
}

static void side_begin(struct side *s, enum kind kind, void const *bytes,
                       size_t size) {
  *s = (struct side){.kind = kind, .size = size};
  if (kind == HOST) {
    assert_ok(umemHost_ctor(&s->ctx.host));
    s->adr = (uintptr_t)malloc(size);
    assert_true(s->adr != 0);
  } else if (kind == DISK)
    side_begin_file(s);
  else
    side_begin_fake(s);
  side_put(s, 0, bytes, size);
  fake_forget(&s->device);
}

static void side_end(struct side *s) {
  if (s->kind == FAKE || s->kind == VIEWED)
    assert_ok(umem_free(&s->ctx, s->adr));
  assert_ok(umem_dtor(&s->ctx));
  if (s->kind == FAKE || s->kind == VIEWED)
    fake_end(&s->device);
  else if (s->kind == DISK)
    assert_int_equal(unlink(s->path), 0);
  else
    free((void *)s->adr);
}

/* Where the bytes that are compared start: not aligned, and not alike. */
enum { A_AT = 3, B_AT = 10 };

/* What both sides have there. */
static unsigned char *common;

/* Two sides with `n` equal bytes, and other ones around them. */
static void begin(enum kind first, enum kind second, size_t n) {
  unsigned char *bytes = malloc(n + 32);
  assert_non_null(bytes);
  random_bytes(bytes, n + 32, n);
  common = malloc(n);
  assert_non_null(common);
  memcpy(common, bytes + B_AT, n);
  side_begin(&a, first, bytes + B_AT - A_AT, n + 16);
  bytes[B_AT - 1] ^= 1;
  bytes[B_AT + n] ^= 1;
  side_begin(&b, second, bytes, n + 16);
  free(bytes);
}

static void end(void) {
  side_end(&a);
  side_end(&b);
  free(common);
}

/* From here on a byte of the second side differs, until it is mended. */
static void differ(size_t at) {
  unsigned char other = common[at] ^ 0x80;
  side_put(&b, B_AT + at, &other, 1);
}

static void mend(size_t at) {
  side_put(&b, B_AT + at, &common[at], 1);
}

static umemStatusType compare(size_t n, size_t *out) {
  *out = UNTOUCHED;
  return umem_compare(&a.ctx, a.adr + A_AT, &b.ctx, b.adr + B_AT, n, out);
}

/* The same from the other side. */
static umemStatusType compare_back(size_t n, size_t *out) {
  *out = UNTOUCHED;
  return umem_compare(&b.ctx, b.adr + B_AT, &a.ctx, a.adr + A_AT, n, out);
}

static void expect(size_t n, size_t first) {
  size_t out;
  assert_ok(compare(n, &out));
  assert_int_equal(out, first);
}

static void expect_failure(size_t n, umemStatusType type, char const *blames) {
  size_t out;
  assert_status(compare(n, &out), type);
  assert_int_equal(out, UNTOUCHED);
  assert_has(umem_get_message(&a.ctx), "umem_compare(first ");
  assert_slot(&a.ctx, type, blames);
  assert_slot(&b.ctx, type, blames);
}

/* What one step of the library compares. */
static size_t chunk_of(size_t memory) {
  size_t rooms = (a.kind == DISK || a.kind == FAKE) +
                 (size_t)(b.kind == DISK || b.kind == FAKE);
  return rooms ? memory / rooms : umemi_tuning()->slot;
}

static void fail_in(struct side *s, enum fakeSlot slot, unsigned call) {
  fake_fail(&s->device, slot,
            &(struct fakeFault){.call = call, .type = umemRuntimeError});
}

/* The file behind a side has so many bytes from where they are compared. */
static void cut(struct side const *s, size_t n) {
  size_t at = s == &a ? A_AT : B_AT;
  assert_int_equal(truncate(s->path, (off_t)(at + n)), 0);
}

/* --- the answer ----------------------------------------------------------- */

static void expect_each(size_t n, size_t const *ats, size_t count) {
  expect(n, n);
  for (size_t i = 0; i < count; i++)
    if (ats[i] < n) {
      differ(ats[i]);
      expect(n, ats[i]);
      mend(ats[i]);
    }
}

static void compare__finds_the_first_byte_that_differs(void **state) {
  enum kind const *pair = *state;
  size_t const most = 2 * umemi_tuning()->slot + 7;
  begin(pair[0], pair[1], most);
  size_t const chunk = chunk_of(umemi_tuning()->slot);
  size_t const ns[] = {1,         2,     4096,      4097,
                       chunk - 1, chunk, chunk + 1, 2 * chunk + 5};
  for (size_t i = 0; i < LENGTH(ns); i++) {
    size_t const ats[] = {0,         1,     ns[i] - 1, ns[i] / 2,
                          4095,      4096,  8191,      8192,
                          chunk - 1, chunk, chunk + 1, 2 * chunk};
    expect_each(ns[i], ats, LENGTH(ats));
  }
  end();
}

static void compare__tells_the_first_of_several(void **state) {
  enum kind const *pair = *state;
  size_t const n = scaled(3, 2) * MIB,
               ats[] = {n - 1, n - 2, MIB + 1, MIB, 77, 76, 0};
  begin(pair[0], pair[1], n);
  for (size_t i = 0; i < LENGTH(ats); i++) {
    size_t out;
    differ(ats[i]);
    expect(n, ats[i]);
    assert_ok(compare_back(n, &out));
    assert_int_equal(out, ats[i]);
  }
  end();
}

static void compare__is_right_for_ranges_at_random(void **state) {
  enum kind const *pair = *state;
  size_t const most = 20000;
  uint64_t seed = 7;
  begin(pair[0], pair[1], most);
  for (size_t i = 0; i < scaled(100, 20); i++) {
    size_t at = random_below(&seed, most), n = random_below(&seed, most), out;
    size_t wrong = random_below(&seed, most);
    n = n < most - at ? n : most - at;
    differ(wrong);
    assert_ok(umem_compare(&a.ctx, a.adr + A_AT + at, &b.ctx, b.adr + B_AT + at,
                           n, &out));
    assert_int_equal(out, wrong >= at && wrong - at < n ? wrong - at : n);
    mend(wrong);
  }
  end();
}

/* Where what is compared lies in a chunk is the helpers' luck. */
static void expect_random_differences(size_t n, uint64_t *seed) {
  size_t ats[5], first = n;
  for (size_t i = 0; i < LENGTH(ats); i++) {
    ats[i] = random_below(seed, n);
    first = ats[i] < first ? ats[i] : first;
    differ(ats[i]);
  }
  expect(n, first);
  for (size_t i = 0; i < LENGTH(ats); i++)
    mend(ats[i]);
}

static void compare__with_helpers_tells_the_first(void **state) {
  enum kind const *pair = *state;
  size_t const n = 5 * MIB + 3;
  uint64_t seed = 5;
  begin(pair[0], pair[1], n);
  assert_true(n >= umemi_tuning()->lanes_from);
  assert_ok(umem_set_threads(1));
  expect(n, n);
  for (size_t i = 0; i < scaled(6, 2); i++)
    expect_random_differences(n, &seed);
  end();
}

static void compare__with_many_helpers_tells_the_first(void **state) {
  (void)state;
  size_t const n = 5 * MIB + 3;
  uint64_t seed = 6;
  begin(HOST, HOST, n);
  assert_ok(umem_set_threads(3));
  for (size_t i = 0; i < scaled(200, 20); i++)
    expect_random_differences(n, &seed);
  end();
}

static void compare__starts_a_thread_to_help(void **state) {
  (void)state;
  size_t const n = 5 * MIB;
  begin(DISK, HOST, n);
  faults_install();
  expect(n, n);
  assert_int_equal(faults_count(FAULT_pthread_create), 0);
  assert_ok(umem_set_threads(1));
  expect(n, n);
  assert_int_equal(faults_count(FAULT_pthread_create), umemi_cpus() > 1);
  end();
}

static void compare__of_a_range_with_itself_is_equal(void **state) {
  enum kind const *pair = *state;
  size_t const n = 2 * MIB + 5;
  size_t out = UNTOUCHED;
  begin(pair[0], HOST, n);
  assert_ok(umem_compare(&a.ctx, a.adr, &a.ctx, a.adr, n, &out));
  assert_int_equal(out, n);
  end();
}

static void compare__of_ranges_in_each_other_is_as_of_others(void **state) {
  enum kind const *pair = *state;
  unsigned char bytes[1000];
  struct side s;
  size_t out;
  memset(bytes, 5, sizeof bytes);
  bytes[700] = 6;
  side_begin(&s, pair[0], bytes, sizeof bytes);
  assert_ok(umem_compare(&s.ctx, s.adr, &s.ctx, s.adr + 1, 999, &out));
  assert_int_equal(out, 699);
  assert_ok(umem_compare(&s.ctx, s.adr + 100, &s.ctx, s.adr, 600, &out));
  assert_int_equal(out, 600);
  assert_ok(umem_compare(&s.ctx, s.adr + 100, &s.ctx, s.adr, 601, &out));
  assert_int_equal(out, 600);
  side_end(&s);
}

static void compare__of_two_contexts_on_one_file_is_as_of_others(void **state) {
  (void)state;
  umemFile other;
  size_t out;
  begin(DISK, HOST, 5000);
  assert_ok(umemFile_ctor(&other, a.path, "r"));
  assert_ok(umem_compare(&a.ctx, 0, &other, 0, 5000, &out));
  assert_int_equal(out, 5000);
  assert_ok(umem_dtor(&other));
  end();
}

/* --- time and memory ------------------------------------------------------ */

static void compare__stops_at_the_first_difference(void **state) {
  (void)state;
  size_t const n = 9 * MIB;
  begin(DISK, DISK, n);
  faults_install();
  differ(100);
  expect(n, 100);
  assert_int_equal(faults_count(FAULT_pread), 2);
  end();
}

static void compare__writes_nothing(void **state) {
  (void)state;
  begin(FAKE, VIEWED, 3 * MIB);
  expect(3 * MIB, 3 * MIB);
  assert_int_equal(a.device.calls[FAKE_WRITE] + b.device.calls[FAKE_WRITE], 0);
  assert_int_equal(b.device.calls[FAKE_VIEW_BEGIN], 1);
  assert_int_equal(b.device.calls[FAKE_VIEW_END], 1);
  assert_int_equal(b.device.calls[FAKE_READ], 0);
  end();
}

static void memory__is_bounded_and_kept_for_the_next_call(void **state) {
  enum kind const *pair = *state;
  size_t const n = 6 * MIB;
  begin(pair[0], pair[1], n);
  faults_install();
  expect(n, n);
  assert_true(faults_largest_allocation() <= umemi_tuning()->slot);
  assert_true(faults_count(FAULT_posix_memalign) <= 1);
  faults_clear();
  expect(n, n);
  for (int i = 0; i < FAULT_FIRST_HELPFUL_CALL; i++)
    assert_int_equal(faults_count((enum fault_call)i), 0);
  faults_clear();
  assert_ok(umem_set_threads(3));
  expect(n, n);
  assert_true(faults_count(FAULT_posix_memalign) <= UMEMI_LANES_MAX);
  assert_true(faults_largest_allocation() <= umemi_tuning()->slot);
  end();
}

static void memory__that_is_short_makes_smaller_chunks(void **state) {
  (void)state;
  size_t const n = 2 * MIB + 1;
  begin(FAKE, FAKE, n);
  for (size_t limit = MIB; limit >= 64 * KIB; limit /= 2) {
    faults_limit_memory(limit);
    fake_forget(&a.device);
    expect(n, n);
    assert_int_equal(a.device.calls[FAKE_READ], n / (limit / 2) + 1);
    size_t const ats[] = {0, limit / 2 - 1, limit / 2, limit, n - 1};
    expect_each(n, ats, LENGTH(ats));
  }
  end();
}

static void memory__that_is_short_is_enough_with_helpers(void **state) {
  (void)state;
  size_t const n = 5 * MIB;
  uint64_t seed = 8;
  begin(DISK, FAKE, n);
  faults_limit_memory(64 * KIB);
  assert_ok(umem_set_threads(3));
  expect(n, n);
  for (size_t i = 0; i < scaled(20, 4); i++)
    expect_random_differences(n, &seed);
  end();
}

static atomic_uint memalign_calls;

static int shrinking_memalign(void **out, size_t alignment, size_t size) {
  bool enough = atomic_fetch_add(&memalign_calls, 1) == 0 || size <= 64 * KIB;
  return enough ? posix_memalign(out, alignment, size) : ENOMEM;
}

/* Who comes to help has less than who began. */
static void memory__that_gets_short_meanwhile_is_used_as_it_is(void **state) {
  (void)state;
  size_t const n = 5 * MIB;
  uint64_t seed = 9;
  begin(DISK, FAKE, n);
  assert_ok(umem_set_threads(3));
  for (size_t i = 0; i < scaled(20, 4); i++) {
    memalign_calls = 0;
    faults_limit_memory(0);
    umemi_os.posix_memalign = shrinking_memalign;
    expect_random_differences(n, &seed);
    expect(n, n);
  }
  end();
}

static void memory__that_is_not_there_is_a_memory_error(void **state) {
  (void)state;
  begin(FAKE, HOST, MIB);
  faults_limit_memory(64 * KIB - 1);
  expect_failure(MIB, umemMemoryError, "65536 bytes for staging");
  assert_int_equal(a.device.calls[FAKE_READ], 0);
  differ(0);
  expect_failure(MIB, umemMemoryError, "65536 bytes for staging");
  end();
}

static void memory__is_not_needed_to_compare_in_place(void **state) {
  (void)state;
  enum kind const pairs[][2] = {{HOST, HOST}, {HOST, VIEWED}, {VIEWED, VIEWED}};
  for (size_t i = 0; i < LENGTH(pairs); i++) {
    begin(pairs[i][0], pairs[i][1], 3 * MIB);
    faults_limit_memory(0);
    expect(3 * MIB, 3 * MIB);
    end();
  }
}

/* --- failures ------------------------------------------------------------- */

/* A file that ends after `whole` chunks and a half, as the first side. */
static void begin_cut(enum kind second, size_t n, size_t whole,
                      size_t *chunk_out, size_t *end_out) {
  begin(DISK, second, n);
  *chunk_out = chunk_of(umemi_tuning()->slot);
  *end_out = whole * *chunk_out + *chunk_out / 2;
  cut(&a, *end_out);
}

static void failure__before_any_difference_is_told(void **state) {
  enum kind const *pair = *state;
  size_t const n = 4 * MIB - 1;
  size_t chunk, ends, out;
  begin_cut(pair[0], n, 2, &chunk, &ends);
  expect_failure(n, umemIOError, "first File: the file ends there: read ");
  assert_status(compare_back(n, &out), umemIOError);
  assert_int_equal(out, UNTOUCHED);
  assert_slot(&a.ctx, umemIOError, "second File: the file ends there: read ");
  expect(ends, ends);
  differ(3 * chunk);
  expect_failure(n, umemIOError, "first File: the file ends there: read ");
  end();
}

static void failure__behind_a_difference_does_not_matter(void **state) {
  enum kind const *pair = *state;
  size_t const n = 4 * MIB - 1;
  size_t chunk, ends, out;
  begin_cut(pair[0], n, 2, &chunk, &ends);
  size_t const ats[] = {2 * chunk - 1, chunk, chunk - 1, 0};
  for (size_t i = 0; i < LENGTH(ats); i++) {
    differ(ats[i]);
    expect(n, ats[i]);
    assert_ok(compare_back(n, &out));
    assert_int_equal(out, ats[i]);
    assert_true(umem_is_ok(&a.ctx));
  }
  assert_int_equal(umem_get_error_count(&a.ctx), 0);
  end();
}

/* How large the chunks are is nobody's business. */
static void failure__just_behind_a_difference_does_not_matter(void **state) {
  enum kind const *pair = *state;
  size_t out;
  begin(DISK, pair[0], 3000);
  cut(&a, 1000);
  differ(999);
  expect(3000, 999);
  differ(10);
  expect(3000, 10);
  assert_ok(compare_back(3000, &out));
  assert_int_equal(out, 10);
  end();
}

static void failure__of_both_sides_leaves_what_both_have(void **state) {
  (void)state;
  begin(DISK, DISK, 3000);
  cut(&a, 1000);
  cut(&b, 900);
  expect_failure(3000, umemIOError, " File: the file ends there: read ");
  differ(899);
  expect(3000, 899);
  end();
}

static void failure__and_helpers_agree_on_what_comes_first(void **state) {
  (void)state;
  size_t const n = 6 * MIB;
  size_t chunk, ends;
  begin_cut(HOST, n, 3, &chunk, &ends);
  assert_ok(umem_set_threads(3));
  for (size_t i = 0; i < scaled(30, 4); i++) {
    expect_failure(n, umemIOError, "first File: the file ends there: read ");
    differ(5 * chunk);
    expect_failure(n, umemIOError, "first File: the file ends there: read ");
    differ(3 * chunk - 1);
    differ(3 * chunk - 2);
    expect(n, 3 * chunk - 2);
    mend(5 * chunk);
    mend(3 * chunk - 1);
    mend(3 * chunk - 2);
  }
  end();
}

static void failure__of_a_device_names_the_side(void **state) {
  (void)state;
  size_t const n = 2 * MIB;
  begin(FAKE, FAKE, n);
  size_t const chunk = chunk_of(umemi_tuning()->slot);
  struct side *const sides[] = {&a, &b};
  static char const *const blames[] = {"first Fake: the fake's read failed",
                                       "second Fake: the fake's read failed"};
  for (unsigned i = 0; i < 6; i++) {
    fail_in(sides[i % 2], FAKE_READ, i / 2 + 1);
    expect_failure(n, umemRuntimeError, blames[i % 2]);
  }
  fail_in(&a, FAKE_READ, 3);
  differ(2 * chunk - 1);
  expect(n, 2 * chunk - 1);
  fail_in(&a, FAKE_CHECK, 1);
  expect_failure(n, umemRuntimeError, "first Fake: the fake's check failed");
  fail_in(&b, FAKE_CHECK, 2);
  expect_failure(n, umemRuntimeError, "second Fake: the fake's check failed");
  end();
}

static void failure__of_a_view_names_the_side(void **state) {
  (void)state;
  begin(VIEWED, VIEWED, 1000);
  fail_in(&a, FAKE_VIEW_BEGIN, 1);
  expect_failure(1000, umemRuntimeError, "first Fake: the fake's view_begin");
  assert_int_equal(b.device.calls[FAKE_VIEW_BEGIN], 0);
  fail_in(&b, FAKE_VIEW_BEGIN, 1);
  expect_failure(1000, umemRuntimeError, "second Fake: the fake's view_begin");
  assert_int_equal(a.device.calls[FAKE_VIEW_END], 1);
  fail_in(&a, FAKE_VIEW_END, 1);
  expect_failure(1000, umemRuntimeError, "first Fake: the fake's view_end");
  fail_in(&b, FAKE_VIEW_END, 1);
  expect_failure(1000, umemRuntimeError, "second Fake: the fake's view_end");
  fail_in(&a, FAKE_VIEW_END, 1);
  fail_in(&b, FAKE_VIEW_END, 1);
  expect_failure(1000, umemRuntimeError, "first Fake: the fake's view_end");
  fail_in(&a, FAKE_VIEW_BEGIN, 1);
  expect_failure(1000, umemRuntimeError, "first Fake: the fake's view_begin");
  expect(1000, 1000);
  end();
}

static void failure__of_a_read_is_told_before_that_of_a_view(void **state) {
  (void)state;
  begin(VIEWED, FAKE, 1000);
  fail_in(&a, FAKE_VIEW_END, 1);
  fail_in(&b, FAKE_READ, 1);
  expect_failure(1000, umemRuntimeError, "second Fake: the fake's read failed");
  assert_int_equal(a.device.calls[FAKE_VIEW_END], 1);
  end();
}

static void failure__within_one_context_counts_once(void **state) {
  (void)state;
  size_t out = UNTOUCHED;
  begin(DISK, HOST, 1000);
  assert_status(umem_compare(&a.ctx, 0, &a.ctx, 0, 9999, &out), umemIOError);
  assert_int_equal(umem_get_error_count(&a.ctx), 1);
  assert_int_equal(out, UNTOUCHED);
  end();
}

/* --- arguments ------------------------------------------------------------ */

static void nothing__is_equal_and_checked(void **state) {
  enum kind const *pair = *state;
  size_t out;
  begin(pair[0], pair[1], 100);
  faults_install();
  expect(0, 0);
  assert_string_equal(faults_trace(), "");
  for (size_t i = FAKE_READ; i < FAKE_SLOTS; i++)
    if (i != FAKE_SPACES && i != FAKE_CHECK && i != FAKE_LIMITS)
      assert_int_equal(a.device.calls[i] + b.device.calls[i], 0);
  if (pair[0] == HOST && pair[1] == HOST) {
    assert_ok(umem_compare(&a.ctx, 0, &b.ctx, 0, 0, &out));
    assert_int_equal(out, 0);
  }
  fail_in(&b, FAKE_CHECK, 1);
  if (pair[1] == FAKE)
    expect_failure(0, umemRuntimeError, "second Fake: the fake's check");
  end();
}

static umemHost host;
static unsigned char small[64];

/* Of `n` bytes of `small`, as either side sees them. */
static void expect_bad(void const *first, void const *second, size_t n,
                       umemStatusType type, char const *why) {
  size_t out = UNTOUCHED;
  uintptr_t here = (uintptr_t)small;
  assert_status(umem_compare(first, here, second, here, n, &out), type);
  assert_int_equal(out, UNTOUCHED);
  if (first)
    assert_slot(first, type, why);
  if (second)
    assert_slot(second, type, why);
}

static void contexts__must_be_live(void **state) {
  (void)state;
  umemHost dead;
  umemVirtual none;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  assert_ok(umemVirtual_ctor(&none, &host));
  for (size_t n = 0; n < 2; n++) {
    expect_bad(&dead, &host, n, umemTypeError, "first context is dead");
    expect_bad(&host, &dead, n, umemTypeError, "second context is dead");
    expect_bad(NULL, &host, n, umemTypeError, "first context is NULL");
    expect_bad(&host, NULL, n, umemTypeError, "second context is NULL");
    expect_bad(&none, &host, n, umemNotImplementedError, "first Virtual");
    expect_bad(&host, &none, n, umemNotImplementedError, "second Virtual");
  }
  assert_ok(umem_dtor(&none));
  assert_ok(umem_dtor(&host));
}

static void files__must_be_readable(void **state) {
  (void)state;
  umemFile file;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemFile_ctor(&file, temp_path("unreadable"), "w"));
  for (size_t n = 0; n < 2; n++) {
    expect_bad(&file, &host, n, umemValueError,
               "first File: opened for writing only");
    expect_bad(&host, &file, n, umemValueError,
               "second File: opened for writing only");
  }
  assert_ok(umem_dtor(&file));
  assert_ok(umem_dtor(&host));
}

static void values__must_be_good(void **state) {
  (void)state;
  uintptr_t const here = (uintptr_t)small, top = UINTPTR_MAX - 3;
  size_t out = UNTOUCHED;
  assert_ok(umemHost_ctor(&host));
  assert_fails(&host, umem_compare(&host, here, &host, here, 8, NULL),
               umemValueError, "first_difference_out is NULL");
  assert_fails(&host, umem_compare(&host, here, &host, here, 0, NULL),
               umemValueError, "first_difference_out is NULL");
  assert_fails(&host, umem_compare(&host, 0, &host, here, 1, &out),
               umemValueError, "first Host: the address is NULL");
  assert_fails(&host, umem_compare(&host, here, &host, 0, 1, &out),
               umemValueError, "second Host: the address is NULL");
  assert_fails(&host, umem_compare(&host, top, &host, here, 8, &out),
               umemIndexError, "first Host: 0xfffffffffffffffc + nbytes 8 wra");
  assert_fails(&host, umem_compare(&host, here, &host, top, 8, &out),
               umemIndexError, "second Host: 0xfffffffffffffffc + nbytes 8");
  assert_fails(&host, umem_compare(&host, here, &host, here, SIZE_MAX, &out),
               umemIndexError, "first Host: ");
  assert_int_equal(out, UNTOUCHED);
  assert_ok(umem_dtor(&host));
}

static void calls__name_themselves_and_their_values(void **state) {
  (void)state;
  size_t out = UNTOUCHED;
  assert_ok(umemHost_ctor(&host));
  assert_fails(&host, umem_compare(&host, 5, &host, 0, 7, &out), umemValueError,
               "umem_compare(first Host 0x5, second Host 0x0, 7 bytes): second "
               "Host: the address is NULL");
  assert_ok(umem_dtor(&host));
}

static void calls__keep_errno(void **state) {
  (void)state;
  size_t out;
  begin(DISK, HOST, 100);
  errno = EDOM;
  assert_ok(compare(100, &out));
  assert_int_equal(errno, EDOM);
  cut(&a, 20);
  assert_status(compare(100, &out), umemIOError);
  assert_int_equal(errno, EDOM);
  end();
}

/* --- the list ------------------------------------------------------------- */

static void list_answers(void) {
  EACH_PAIR(compare__finds_the_first_byte_that_differs);
  EACH_PAIR(compare__tells_the_first_of_several);
  EACH_PAIR(compare__is_right_for_ranges_at_random);
  EACH_PAIR(compare__with_helpers_tells_the_first);
  ONCE(compare__with_many_helpers_tells_the_first);
  ONCE(compare__starts_a_thread_to_help);
  EACH_KIND(compare__of_a_range_with_itself_is_equal);
  EACH_KIND(compare__of_ranges_in_each_other_is_as_of_others);
  ONCE(compare__of_two_contexts_on_one_file_is_as_of_others);
  ONCE(compare__stops_at_the_first_difference);
  ONCE(compare__writes_nothing);
  EACH_PAIR(memory__is_bounded_and_kept_for_the_next_call);
  ONCE(memory__that_is_short_makes_smaller_chunks);
  ONCE(memory__that_is_short_is_enough_with_helpers);
  ONCE(memory__that_gets_short_meanwhile_is_used_as_it_is);
  ONCE(memory__that_is_not_there_is_a_memory_error);
  ONCE(memory__is_not_needed_to_compare_in_place);
}

static void list_failures(void) {
  EACH_KIND(failure__before_any_difference_is_told);
  EACH_KIND(failure__behind_a_difference_does_not_matter);
  EACH_KIND(failure__just_behind_a_difference_does_not_matter);
  ONCE(failure__of_both_sides_leaves_what_both_have);
  ONCE(failure__and_helpers_agree_on_what_comes_first);
  ONCE(failure__of_a_device_names_the_side);
  ONCE(failure__of_a_view_names_the_side);
  ONCE(failure__of_a_read_is_told_before_that_of_a_view);
  ONCE(failure__within_one_context_counts_once);
  EACH_PAIR(nothing__is_equal_and_checked);
  ONCE(contexts__must_be_live);
  ONCE(files__must_be_readable);
  ONCE(values__must_be_good);
  ONCE(calls__name_themselves_and_their_values);
  ONCE(calls__keep_errno);
}

int main(void) {
  pairs_begin();
  list_answers();
  list_failures();
  return RUN_LISTED("compare", temp_setup, temp_teardown);
}
