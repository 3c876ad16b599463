/* SPDX-License-Identifier: BSD-3-Clause */
/* Checksums of ranges: the same wherever the bytes are, or none. */
#define PAIR_JOIN " and "
#include "each_pair.h"

#include "internal.h"

enum { KIB = 1024, MIB = 1024 * KIB };

/* What the output holds before each call. */
#define UNTOUCHED UINT32_C(0x5E475E47)

/* --- ranges: memory of each kind ------------------------------------------ */

struct place {
  enum kind kind;
  umemContext ctx;
  struct fake device;
  uintptr_t adr; /* of the first byte of the data */
  char path[512];
};

static struct place place;

/* What is in all of them. */
static unsigned char *data;
static size_t data_size;

static int data_setup(void **state) {
  data_size = 2 * umemi_tuning()->slot + 9999;
  data = malloc(data_size);
  if (!data)
    return -1;
  random_bytes(data, data_size, 1);
  return temp_setup(state);
}

static int data_teardown(void **state) {
  free(data);
  return temp_teardown(state);
}

static void place_begin_fake(struct place *p) {
  struct fakeConfig config = {.capacity = data_size + 64};
  config.without = p->kind == FAKE ? FAKE_VIEWS : 0;
  assert_ok(fake_ctor(&p->ctx.super, &p->device, &config));
  p->adr = umem_alloc(&p->ctx, data_size);
  assert_true(p->adr != 0);
  memcpy(fake_at(&p->device, p->adr), data, data_size);
  fake_forget(&p->device);
}

static void place_begin(struct place *p, enum kind kind) {
  static unsigned number;
  char name[32];
  *p = (struct place){.kind = kind};
  if (kind == HOST) {
    assert_ok(umemHost_ctor(&p->ctx.host));
    p->adr = (uintptr_t)data;
  } else if (kind == DISK) {
    snprintf(name, sizeof name, "place-%u", number++);
    snprintf(p->path, sizeof p->path, "%s", temp_path(name));
    file_put(p->path, data, data_size);
    assert_ok(umemFile_ctor(&p->ctx.file, p->path, "r"));
  } else
    place_begin_fake(p);
}

static void place_end(struct place *p) {
  if (p->kind == FAKE || p->kind == VIEWED)
    assert_ok(umem_free(&p->ctx, p->adr));
  assert_ok(umem_dtor(&p->ctx));
  if (p->kind == FAKE || p->kind == VIEWED)
    fake_end(&p->device);
  else if (p->kind == DISK)
    assert_int_equal(unlink(p->path), 0);
}

static uint32_t sum_of(struct place const *p, size_t at, size_t n,
                       uint32_t before) {
  uint32_t sum = UNTOUCHED;
  assert_ok(umem_checksum(&p->ctx, p->adr + at, n, before, &sum));
  return sum;
}

static void expect_failure(size_t at, size_t n, umemStatusType type,
                           char const *why) {
  uint32_t sum = UNTOUCHED;
  assert_status(umem_checksum(&place.ctx, place.adr + at, n, 0, &sum), type);
  assert_int_equal(sum, UNTOUCHED);
  assert_has(umem_get_message(&place.ctx), "umem_checksum(");
  assert_slot(&place.ctx, type, why);
}

static void fail_in(enum fakeSlot slot, unsigned call) {
  fake_fail(
      &place.device, slot,
      &(struct fakeFault){.call = call, .type = umemRuntimeError, .moved = 9});
}

/* --- the definition ------------------------------------------------------- */

/* Division by the polynomial, bit by bit. */
static uint32_t divided(uint32_t remainder, unsigned char const *bytes,
                        size_t n) {
  for (size_t i = 0; i < n; i++) {
    remainder ^= bytes[i];
    for (int bit = 0; bit < 8; bit++)
      remainder = remainder >> 1 ^ (remainder & 1 ? 0x82F63B78 : 0);
  }
  return remainder;
}

/* The sums of longer and longer ranges from `at` on, for one division. */
static void expect_sums(size_t at, size_t const *ns, size_t count) {
  uint32_t remainder = 0xFFFFFFFF;
  size_t done = 0;
  for (size_t i = 0; i < count; i++) {
    remainder = divided(remainder, data + at + done, ns[i] - done);
    done = ns[i];
    assert_int_equal(sum_of(&place, at, ns[i], 0), ~remainder);
  }
}

static void checksum__is_that_of_the_rfc(void **state) {
  (void)state;
  unsigned char zeros[32] = {0};
  umemHost host;
  uint32_t sum;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umem_checksum(&host, (uintptr_t)zeros, 32, 0, &sum));
  assert_int_equal(sum, 0x8A9136AA);
  assert_ok(umem_checksum(&host, (uintptr_t) "123456789", 9, 0, &sum));
  assert_int_equal(sum, 0xE3069283);
  assert_ok(umem_dtor(&host));
}

static void checksum__follows_the_definition_around_chunks(void **state) {
  enum kind const *pair = *state;
  size_t const slot = umemi_tuning()->slot;
  size_t const ns[] = {
      1,           7,        8,    9,        4095,     4096,         4097,
      slot / 2,    slot - 1, slot, slot + 1, slot + 9, 2 * slot - 1, 2 * slot,
      2 * slot + 1};
  size_t const ats[] = {0, 1, 7, 4095, 4097};
  place_begin(&place, pair[0]);
  for (size_t i = 0; i < scaled(LENGTH(ats), 2); i++)
    expect_sums(ats[i], ns, LENGTH(ns));
  place_end(&place);
}

static void checksum__follows_the_definition_at_random(void **state) {
  enum kind const *pair = *state;
  uint64_t seed = 3;
  place_begin(&place, pair[0]);
  for (size_t i = 0; i < scaled(200, 30); i++) {
    size_t at = random_below(&seed, data_size - 5000);
    size_t n = random_below(&seed, 5001);
    assert_int_equal(sum_of(&place, at, n, 0),
                     ~divided(0xFFFFFFFF, data + at, n));
  }
  place_end(&place);
}

static void checksum__of_pieces_is_that_of_the_whole(void **state) {
  enum kind const *pair = *state;
  uint64_t seed = 4;
  place_begin(&place, pair[0]);
  uint32_t whole = sum_of(&place, 0, data_size, 0);
  for (size_t i = 0; i < scaled(10, 2); i++) {
    uint32_t sum = 0;
    for (size_t done = 0, piece; done < data_size; done += piece) {
      piece = random_below(&seed, data_size / (i + 1) + 1);
      piece = piece < data_size - done ? piece : data_size - done;
      sum = sum_of(&place, done, piece, sum);
    }
    assert_int_equal(sum, whole);
  }
  place_end(&place);
}

static void checksum__goes_on_from_one_memory_to_another(void **state) {
  enum kind const *pair = *state;
  static struct place other;
  place_begin(&place, pair[0]);
  place_begin(&other, pair[1]);
  size_t const cut = umemi_tuning()->slot + 77;
  uint32_t sum = sum_of(&place, 0, cut, 0);
  sum = sum_of(&other, cut, data_size - cut, sum);
  assert_int_equal(sum, sum_of(&other, 0, data_size, 0));
  assert_int_equal(sum, sum_of(&place, 0, data_size, 0));
  place_end(&other);
  place_end(&place);
}

static void checksum__changes_with_every_byte(void **state) {
  (void)state;
  size_t const ats[] = {0, 1, 4096, umemi_tuning()->slot, data_size - 1};
  place_begin(&place, HOST);
  uint32_t whole = sum_of(&place, 0, data_size, 0);
  for (size_t i = 0; i < LENGTH(ats); i++) {
    data[ats[i]] ^= 1;
    assert_int_not_equal(sum_of(&place, 0, data_size, 0), whole);
    data[ats[i]] ^= 1;
  }
  place_end(&place);
}

static void checksum__does_not_depend_on_helpers(void **state) {
  (void)state;
  size_t const n = 6 * MIB;
  umemHost host;
  unsigned char *bytes = malloc(n);
  uint32_t alone, helped;
  assert_non_null(bytes);
  random_bytes(bytes, n, 2);
  assert_ok(umemHost_ctor(&host));
  assert_ok(umem_checksum(&host, (uintptr_t)bytes, n, 0, &alone));
  assert_ok(umem_set_threads(3));
  assert_ok(umem_checksum(&host, (uintptr_t)bytes, n, 0, &helped));
  assert_int_equal(alone, helped);
  assert_ok(umem_dtor(&host));
  free(bytes);
}

static void nothing__leaves_the_sum_as_it_was(void **state) {
  enum kind const *pair = *state;
  place_begin(&place, pair[0]);
  faults_install();
  assert_int_equal(sum_of(&place, 5, 0, 0), 0);
  assert_int_equal(sum_of(&place, 5, 0, 0xE3069283), 0xE3069283);
  assert_string_equal(faults_trace(), "");
  for (size_t i = FAKE_READ; i < FAKE_SLOTS; i++)
    if (i != FAKE_SPACES && i != FAKE_CHECK && i != FAKE_LIMITS)
      assert_int_equal(place.device.calls[i], 0);
  place_end(&place);
}

static void nothing__may_be_at_no_address(void **state) {
  (void)state;
  umemHost host;
  uint32_t sum = UNTOUCHED;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umem_checksum(&host, 0, 0, 7, &sum));
  assert_int_equal(sum, 7);
  assert_ok(umem_dtor(&host));
}

/* --- time and memory ------------------------------------------------------ */

static void memory__is_bounded_and_kept_for_the_next_call(void **state) {
  enum kind const *pair = *state;
  place_begin(&place, pair[0]);
  faults_install();
  uint32_t sum = sum_of(&place, 0, data_size, 0);
  assert_true(faults_count(FAULT_posix_memalign) <= 1);
  assert_true(faults_largest_allocation() <= umemi_tuning()->slot);
  faults_clear();
  assert_int_equal(sum_of(&place, 0, data_size, 0), sum);
  for (int i = 0; i < FAULT_FIRST_HELPFUL_CALL; i++)
    assert_int_equal(faults_count((enum fault_call)i), 0);
  assert_int_equal(faults_count(FAULT_pread), pair[0] == DISK ? 3 : 0);
  place_end(&place);
}

static void memory__that_is_short_makes_smaller_chunks(void **state) {
  (void)state;
  place_begin(&place, FAKE);
  uint32_t sum = sum_of(&place, 0, data_size, 0);
  for (size_t limit = MIB; limit >= 64 * KIB; limit /= 2) {
    faults_limit_memory(limit);
    fake_forget(&place.device);
    assert_int_equal(sum_of(&place, 0, data_size, 0), sum);
    assert_int_equal(place.device.calls[FAKE_READ], data_size / limit + 1);
  }
  faults_limit_memory(64 * KIB - 1);
  expect_failure(0, data_size, umemMemoryError, "65536 bytes for staging");
  place_end(&place);
}

static void memory__is_not_needed_for_a_sum_in_place(void **state) {
  (void)state;
  enum kind const kinds[] = {HOST, VIEWED};
  for (size_t i = 0; i < LENGTH(kinds); i++) {
    place_begin(&place, kinds[i]);
    faults_limit_memory(0);
    sum_of(&place, 0, data_size, 0);
    place_end(&place);
  }
}

static void checksum__of_a_view_reads_nothing(void **state) {
  (void)state;
  place_begin(&place, VIEWED);
  sum_of(&place, 3, data_size - 3, 0);
  assert_string_equal(fake_log(&place.device),
                      "check check view_begin view_end");
  place_end(&place);
}

/* --- failures ------------------------------------------------------------- */

static void failure__of_a_file_that_ends_gives_no_sum(void **state) {
  (void)state;
  size_t const slot = umemi_tuning()->slot, ends[] = {0, 9, slot, slot + 9};
  place_begin(&place, DISK);
  for (size_t i = LENGTH(ends); i-- > 0;) {
    assert_int_equal(truncate(place.path, (off_t)ends[i]), 0);
    expect_failure(0, data_size, umemIOError, "the file ends there: read ");
    assert_int_equal(last_error(&place.ctx).bytes_done, ends[i] / slot * slot);
    expect_failure(ends[i], 1, umemIOError, "place-");
    assert_int_equal(last_error(&place.ctx).bytes_done, 0);
    sum_of(&place, 0, ends[i], 0);
  }
  place_end(&place);
}

static void failure__of_a_device_gives_no_sum(void **state) {
  (void)state;
  place_begin(&place, FAKE);
  for (unsigned call = 1; call <= 3; call++) {
    fail_in(FAKE_READ, call);
    expect_failure(0, data_size, umemRuntimeError, "the fake's read failed");
    assert_int_equal(last_error(&place.ctx).bytes_done,
                     (call - 1) * umemi_tuning()->slot);
  }
  for (unsigned call = 1; call <= 2; call++) {
    fail_in(FAKE_CHECK, call);
    expect_failure(0, 100, umemRuntimeError, "the fake's check failed");
  }
  fail_in(FAKE_CHECK, 1);
  expect_failure(0, 0, umemRuntimeError, "the fake's check failed");
  assert_int_equal(umem_get_error_count(&place.ctx), 6);
  place_end(&place);
}

static void failure__of_a_view_gives_no_sum(void **state) {
  (void)state;
  place_begin(&place, VIEWED);
  fail_in(FAKE_VIEW_BEGIN, 1);
  expect_failure(0, 100, umemRuntimeError, "the fake's view_begin failed");
  fail_in(FAKE_VIEW_END, 1);
  expect_failure(0, 100, umemRuntimeError, "the fake's view_end failed");
  place_end(&place);
}

/* --- arguments ------------------------------------------------------------ */

static uint32_t out;

static void contexts__must_be_live(void **state) {
  (void)state;
  umemHost host, dead;
  umemVirtual none;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  assert_ok(umemVirtual_ctor(&none, &host));
  uintptr_t here = (uintptr_t)&host;
  out = UNTOUCHED;
  for (size_t n = 0; n < 2; n++) {
    assert_fails(&dead, umem_checksum(&dead, here, n, 0, &out), umemTypeError,
                 "umem_checksum(Host 0x");
    assert_status(umem_checksum(NULL, here, n, 0, &out), umemTypeError);
    assert_fails(&none, umem_checksum(&none, here, n, 0, &out),
                 umemNotImplementedError, "umem_checksum(Virtual 0x");
  }
  assert_int_equal(out, UNTOUCHED);
  assert_ok(umem_dtor(&none));
  assert_ok(umem_dtor(&host));
}

static void files__must_be_readable(void **state) {
  (void)state;
  umemFile file;
  out = UNTOUCHED;
  assert_ok(umemFile_ctor(&file, temp_path("unreadable"), "w"));
  for (size_t n = 0; n < 2; n++)
    assert_fails(&file, umem_checksum(&file, 0, n, 0, &out), umemValueError,
                 "opened for writing only: \"");
  assert_int_equal(out, UNTOUCHED);
  assert_ok(umem_dtor(&file));
}

static void values__must_be_good(void **state) {
  (void)state;
  umemHost host;
  uintptr_t const here = (uintptr_t)&host, top = UINTPTR_MAX - 3;
  assert_ok(umemHost_ctor(&host));
  out = UNTOUCHED;
  assert_fails(&host, umem_checksum(&host, here, 1, 0, NULL), umemValueError,
               "checksum_out is NULL");
  assert_fails(&host, umem_checksum(&host, here, 0, 0, NULL), umemValueError,
               "checksum_out is NULL");
  assert_fails(&host, umem_checksum(&host, 0, 5, 9, &out), umemValueError,
               "umem_checksum(Host 0x0, 5 bytes): the address is NULL");
  assert_fails(&host, umem_checksum(&host, top, 8, 0, &out), umemIndexError,
               "umem_checksum(Host 0xfffffffffffffffc, 8 bytes): "
               "0xfffffffffffffffc + nbytes 8 wraps");
  assert_fails(&host, umem_checksum(&host, here, SIZE_MAX, 0, &out),
               umemIndexError, "exceeds PTRDIFF_MAX");
  assert_int_equal(out, UNTOUCHED);
  assert_ok(umem_dtor(&host));
}

static void calls__keep_errno(void **state) {
  (void)state;
  place_begin(&place, DISK);
  errno = EDOM;
  sum_of(&place, 0, 100, 0);
  assert_int_equal(errno, EDOM);
  expect_failure(data_size, 1, umemIOError, "the file ends there");
  assert_int_equal(errno, EDOM);
  place_end(&place);
}

/* --- the list ------------------------------------------------------------- */

static void list_all(void) {
  ONCE(checksum__is_that_of_the_rfc);
  EACH_KIND(checksum__follows_the_definition_around_chunks);
  EACH_KIND(checksum__follows_the_definition_at_random);
  EACH_KIND(checksum__of_pieces_is_that_of_the_whole);
  EACH_PAIR(checksum__goes_on_from_one_memory_to_another);
  ONCE(checksum__changes_with_every_byte);
  ONCE(checksum__does_not_depend_on_helpers);
  EACH_KIND(nothing__leaves_the_sum_as_it_was);
  ONCE(nothing__may_be_at_no_address);
  EACH_KIND(memory__is_bounded_and_kept_for_the_next_call);
  ONCE(memory__that_is_short_makes_smaller_chunks);
  ONCE(memory__is_not_needed_for_a_sum_in_place);
  ONCE(checksum__of_a_view_reads_nothing);
  ONCE(failure__of_a_file_that_ends_gives_no_sum);
  ONCE(failure__of_a_device_gives_no_sum);
  ONCE(failure__of_a_view_gives_no_sum);
  ONCE(contexts__must_be_live);
  ONCE(files__must_be_readable);
  ONCE(values__must_be_good);
  ONCE(calls__keep_errno);
}

int main(void) {
  pairs_begin();
  list_all();
  return RUN_LISTED("checksum", data_setup, data_teardown);
}
