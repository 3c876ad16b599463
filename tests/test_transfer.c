/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies: which way they take, and what is where when they fail. */
#include "core.h"

#include "internal.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static umemHost host;
static umemVirtual ctx, other_ctx;
static struct fake device, other;

/* Each test has a host and a device, `other` as it likes. */
static void begin(struct fakeConfig config) {
  assert_ok(umemHost_ctor(&host));
  assert_ok(fake_ctor(&ctx, &device, &config));
}

static void begin_two(struct fakeConfig config, struct fakeConfig other_one) {
  begin(config);
  assert_ok(fake_ctor(&other_ctx, &other, &other_one));
}

static void end(void) {
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_dtor(&host));
  fake_end(&device);
}

static void end_two(void) {
  assert_ok(umem_dtor(&other_ctx));
  fake_end(&other);
  end();
}

static void fail_in(struct fake *which, enum fakeSlot slot, unsigned call,
                    size_t moved) {
  fake_fail(which, slot,
            &(struct fakeFault){
                .call = call, .type = umemRuntimeError, .moved = moved});
}

/* A block with known bytes. */
static uintptr_t block_of(void const *owner, struct fake *of, size_t nbytes) {
  uintptr_t adr = umem_alloc(owner, nbytes);
  assert_true(adr != 0);
  random_bytes(fake_at(of, adr), nbytes, nbytes);
  return adr;
}

/* Its size is hidden from the compiler: valgrind takes the memmove() that is
   told the size, for _FORTIFY_SOURCE, for a memcpy(). */
__attribute__((noinline)) static unsigned char *buffer_of(size_t nbytes) {
  unsigned char *buffer = malloc(nbytes);
  assert_non_null(buffer);
  memset(buffer, 0x5A, nbytes);
  return buffer;
}

/* --- the ladder ---------------------------------------------------------- */

static void copy__within_one_kind_is_direct(void **state) {
  (void)state;
  begin_two((struct fakeConfig){.base = 0}, (struct fakeConfig){.base = 0});
  uintptr_t from = block_of(&ctx, &device, 100);
  uintptr_t to = umem_alloc(&other_ctx, 100);
  fake_forget(&device);
  fake_forget(&other);
  assert_ok(umem_copy_to(&ctx, from, &other_ctx, to, 100));
  assert_has(fake_log(&device), "copy_peer");
  assert_int_equal(device.calls[FAKE_COPY_PEER], 1);
  assert_int_equal(device.calls[FAKE_READ] + device.calls[FAKE_VIEW_BEGIN], 0);
  assert_int_equal(other.calls[FAKE_WRITE] + other.calls[FAKE_VIEW_BEGIN], 0);
  assert_memory_equal(fake_at(&device, from), fake_at(&other, to), 100);
  end_two();
}

static void copy__from_a_view_is_one_write(void **state) {
  (void)state;
  begin_two((struct fakeConfig){.without = 1u << FAKE_COPY_PEER},
            (struct fakeConfig){.without = 1u << FAKE_COPY_PEER});
  uintptr_t from = block_of(&ctx, &device, 100);
  uintptr_t to = umem_alloc(&other_ctx, 100);
  fake_forget(&device);
  fake_forget(&other);
  assert_ok(umem_copy_to(&ctx, from, &other_ctx, to, 100));
  assert_string_equal(fake_log(&device), "check check view_begin view_end");
  assert_string_equal(fake_log(&other), "check check write");
  assert_memory_equal(fake_at(&device, from), fake_at(&other, to), 100);
  end_two();
}

static void copy__to_a_view_is_one_read(void **state) {
  (void)state;
  begin_two((struct fakeConfig){.without = 1u << FAKE_COPY_PEER | FAKE_VIEWS},
            (struct fakeConfig){.declines = 1u << FAKE_COPY_PEER});
  uintptr_t from = block_of(&ctx, &device, 100);
  uintptr_t to = umem_alloc(&other_ctx, 100);
  fake_forget(&device);
  fake_forget(&other);
  assert_ok(umem_copy_to(&ctx, from, &other_ctx, to, 100));
  assert_string_equal(fake_log(&device), "check check read");
  assert_string_equal(fake_log(&other), "check check view_begin view_end");
  assert_memory_equal(fake_at(&device, from), fake_at(&other, to), 100);
  end_two();
}

static void copy__without_peers_and_views_is_staged(void **state) {
  (void)state;
  unsigned const all = 1u << FAKE_COPY_PEER | 1u << FAKE_VIEW_BEGIN;
  begin_two((struct fakeConfig){.declines = all},
            (struct fakeConfig){.declines = all});
  uintptr_t from = block_of(&ctx, &device, 100);
  uintptr_t to = umem_alloc(&other_ctx, 100);
  fake_forget(&device);
  fake_forget(&other);
  assert_ok(umem_copy_to(&ctx, from, &other_ctx, to, 100));
  assert_string_equal(fake_log(&device),
                      "check check copy_peer view_begin read");
  assert_string_equal(fake_log(&other), "check check view_begin write");
  assert_memory_equal(fake_at(&device, from), fake_at(&other, to), 100);
  end_two();
}

static void copy__has_the_same_result_on_every_rung(void **state) {
  (void)state;
  begin((struct fakeConfig){.base = 0});
  unsigned char *bytes = buffer_of(5000), *expected = buffer_of(5000);
  uintptr_t adr = umem_alloc(&ctx, 5000);
  random_bytes(bytes, 5000, 1);
  for (unsigned off = 0; off < 8; off++) {
    umemi_os.rungs_off = off << umemDirectRung;
    memcpy(expected, bytes, 5000);
    memmove(expected + 300, expected, 4000);
    assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &ctx, adr, 5000));
    assert_ok(umem_copy_to(&ctx, adr, &ctx, adr + 300, 4000));
    assert_memory_equal(fake_at(&device, adr), expected, 5000);
    assert_ok(umem_copy_to(&ctx, adr, &host, (uintptr_t)bytes, 5000));
    assert_memory_equal(bytes, expected, 5000);
    memmove(expected, expected + 1, 4999);
    uintptr_t here = (uintptr_t)bytes;
    assert_ok(umem_copy_from(&host, here, &host, here + 1, 4999));
    assert_memory_equal(bytes, expected, 5000);
  }
  free(bytes);
  free(expected);
  end();
}

/* The four forms of a copy, by number. */
static umemStatusType copy_form(int form, void const *from_ctx,
                                unsigned char *from, void const *to_ctx,
                                unsigned char *to, size_t n) {
  uintptr_t a = (uintptr_t)from, b = (uintptr_t)to;
  switch (form) {
  case 0:
    return umem_copy_to(from_ctx, a, to_ctx, b, n);
  case 1:
    return umem_copy_from(to_ctx, b, from_ctx, a, n);
  case 2:
    return umem_copy_to_safe(from_ctx, a, n, to_ctx, b, n, n);
  default:
    return umem_copy_from_safe(to_ctx, b, n, from_ctx, a, n, n);
  }
}

static void copy__within_host_memory_is_memmove_in_every_form(void **state) {
  (void)state;
  unsigned char bytes[300], expected[300];
  umemHost two[2];
  assert_ok(umemHost_ctor(&two[0]));
  checked_host(&two[1]);
  for (int i = 0; i < 16; i++) {
    size_t from = i & 8 ? 100 : 90, to = i & 8 ? 90 : 100;
    random_bytes(bytes, sizeof bytes, (uint64_t)i);
    memcpy(expected, bytes, sizeof bytes);
    memmove(expected + to, expected + from, 150);
    assert_ok(copy_form(i & 3, &two[0], bytes + from, &two[i >> 2 & 1],
                        bytes + to, 150));
    assert_memory_equal(bytes, expected, sizeof bytes);
  }
  assert_ok(umem_dtor(&two[0]));
  assert_ok(umem_dtor(&two[1]));
}

static void copy__needs_two_live_contexts(void **state) {
  (void)state;
  umemHost dead, *const sides[] = {&host, &dead};
  unsigned char byte = 5;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  for (int i = 0; i < 8; i++) {
    umemHost *from = sides[i >> 2], *to = sides[!(i >> 2)];
    assert_fails(&host, copy_form(i & 3, from, &byte, to, &byte, 1),
                 umemTypeError,
                 from == &dead ? "source context is dead"
                               : "destination context is dead");
    assert_slot(&dead, umemTypeError, "context is dead");
  }
  assert_ok(umem_dtor(&host));
}

/* --- staging ------------------------------------------------------------- */

#define STAGED                                                                 \
  ((struct fakeConfig){.without = 1u << FAKE_COPY_PEER | FAKE_VIEWS})

/* Two devices, and `n` bytes to go from one to the other. */
static void begin_staged(size_t n, uintptr_t *from, uintptr_t *to) {
  struct fakeConfig config = STAGED;
  config.capacity = n + 64;
  begin_two(config, config);
  *from = block_of(&ctx, &device, n);
  *to = umem_calloc(&other_ctx, n, 1);
  fake_forget(&device);
  fake_forget(&other);
}

static void expect_copied(uintptr_t from, uintptr_t to, size_t n) {
  assert_int_equal(memcmp(fake_at(&device, from), fake_at(&other, to), n), 0);
}

static void staging__is_bounded_whatever_the_size(void **state) {
  (void)state;
  size_t const n = scaled(64, 8) * MIB;
  uintptr_t from, to;
  begin_staged(n, &from, &to);
  faults_install();
  assert_ok(umem_copy_to(&ctx, from, &other_ctx, to, n));
  assert_int_equal(faults_largest_allocation(), 0);
  /* 4 slots, and room to look at this thread if it starts helpers */
  assert_in_range(faults_count(FAULT_mmap), 1, 2);
  assert_int_equal(device.calls[FAKE_READ], n / MIB);
  assert_int_equal(other.calls[FAKE_WRITE], n / MIB);
  expect_copied(from, to, n);
  end_two();
}

static void staging__makes_do_with_less_down_to_64_kib(void **state) {
  (void)state;
  size_t const n = 2 * MIB + 1;
  uintptr_t from, to;
  for (size_t limit = MIB; limit >= 64 * KIB; limit /= 2) {
    begin_staged(n, &from, &to);
    faults_limit_memory(limit);
    assert_ok(umem_copy_to(&ctx, from, &other_ctx, to, n));
    assert_int_equal(device.calls[FAKE_READ], n / limit + 1);
    expect_copied(from, to, n);
    end_two();
  }
}

static void staging__tries_64_kib_before_it_gives_up(void **state) {
  (void)state;
  uintptr_t from, to;
  begin_staged(100 * KIB, &from, &to); /* half of it would be too little */
  faults_limit_memory(64 * KIB);
  assert_ok(umem_copy_to(&ctx, from, &other_ctx, to, 100 * KIB));
  assert_int_equal(device.calls[FAKE_READ], 2);
  expect_copied(from, to, 100 * KIB);
  end_two();
}

static void staging__without_64_kib_is_a_memory_error(void **state) {
  (void)state;
  size_t const n = 100 * KIB;
  uintptr_t from, to;
  begin_staged(n, &from, &to);
  faults_limit_memory(64 * KIB - 1);
  assert_status(umem_copy_to(&ctx, from, &other_ctx, to, n), umemMemoryError);
  assert_has(last_error(&ctx).text, "ENOMEM (12)");
  assert_has(last_error(&other_ctx).text, "bytes for staging");
  assert_int_equal(last_error(&other_ctx).bytes_done, 0);
  assert_int_equal(device.calls[FAKE_READ] + other.calls[FAKE_WRITE], 0);
  assert_true(all_bytes_are(fake_at(&other, to), n, 0));
  end_two();
}

static void staging__of_less_than_64_kib_needs_no_more_than_that(void **state) {
  (void)state;
  uintptr_t from, to;
  begin_staged(100, &from, &to);
  faults_limit_memory(99);
  assert_status(umem_copy_to(&ctx, from, &other_ctx, to, 100), umemMemoryError);
  faults_limit_memory(100);
  assert_ok(umem_copy_to(&ctx, from, &other_ctx, to, 100));
  expect_copied(from, to, 100);
  end_two();
}

static void overlap__in_chunks_behaves_as_memmove(void **state) {
  (void)state;
  size_t const n = MIB + 13, room = 3 * n;
  size_t const shifts[] = {1,     2, 64 * KIB - 1, 64 * KIB, 100 * KIB,
                           n - 1, n, n + 1};
  unsigned char *expected = buffer_of(room);
  uintptr_t adr, unused;
  begin_staged(room, &adr, &unused);
  faults_limit_memory(64 * KIB);
  for (size_t i = 0; i < 2 * LENGTH(shifts); i++) {
    size_t from = i % 2 ? n + 1 : n / 2, shift = shifts[i / 2];
    size_t to = i % 2 ? from - shift : from + shift;
    random_bytes(fake_at(&device, adr), room, i);
    memcpy(expected, fake_at(&device, adr), room);
    memmove(expected + to, expected + from, n);
    assert_ok(umem_copy_to(&ctx, adr + from, &ctx, adr + to, n));
    assert_int_equal(memcmp(fake_at(&device, adr), expected, room), 0);
  }
  free(expected);
  end_two();
}

static void overlap__uses_no_views(void **state) {
  (void)state;
  begin((struct fakeConfig){.declines = 1u << FAKE_COPY_PEER});
  uintptr_t adr = block_of(&ctx, &device, 100);
  fake_forget(&device);
  assert_ok(umem_copy_to(&ctx, adr, &ctx, adr + 1, 99));
  assert_int_equal(device.calls[FAKE_VIEW_BEGIN], 0);
  assert_ok(umem_copy_to(&ctx, adr, &ctx, adr + 50, 50)); /* they only touch */
  assert_int_equal(device.calls[FAKE_VIEW_BEGIN], 1);
  end();
}

static void overlap__in_one_file_seen_by_two_contexts(void **state) {
  (void)state;
  size_t const n = 3 * MIB;
  unsigned char *bytes = buffer_of(n);
  umemFile one, two;
  random_bytes(bytes, n, 5);
  file_put(temp_path("file"), bytes, n);
  assert_ok(umemFile_ctor(&one, temp_path("file"), "r+"));
  assert_ok(umemFile_ctor(&two, temp_path("file"), "r+"));
  assert_ok(umem_copy_to(&one, 0, &two, 100, n - 100));
  memmove(bytes + 100, bytes, n - 100);
  assert_ok(umem_copy_to(&one, 7, &two, 0, n - 7));
  memmove(bytes, bytes + 7, n - 7);
  unsigned char *got = buffer_of(n);
  file_get(temp_path("file"), 0, got, n);
  assert_int_equal(memcmp(got, bytes, n), 0);
  assert_ok(umem_dtor(&one));
  assert_ok(umem_dtor(&two));
  free(got);
  free(bytes);
}

/* --- failures ------------------------------------------------------------ */

struct failure {
  unsigned without; /* methods that neither device has */
  bool in_src;      /* else in the destination */
  enum fakeSlot slot;
  unsigned call;     /* which one of its calls fails */
  size_t moved;      /* by that call, before */
  size_t bytes_done; /* in all */
  char const *blames;
};

enum { NO_PEER = 1u << FAKE_COPY_PEER, NOTHING = NO_PEER | FAKE_VIEWS };

static void expect_failure(struct failure const *f) {
  size_t const n = 2 * MIB + 500;
  begin_two((struct fakeConfig){.without = f->without},
            (struct fakeConfig){.without = f->without});
  uintptr_t from = block_of(&ctx, &device, n);
  uintptr_t around = umem_calloc(&other_ctx, n + 2, 1), to = around + 1;
  unsigned char *before = buffer_of(n);
  memcpy(before, fake_at(&device, from), n);
  fail_in(f->in_src ? &device : &other, f->slot, f->call, f->moved);
  assert_status(umem_copy_to(&ctx, from, &other_ctx, to, n), umemRuntimeError);
  void const *const both[] = {&ctx, &other_ctx};
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(umem_get_error_count(both[i]), 1);
    assert_int_equal(last_error(both[i]).bytes_done, f->bytes_done);
    assert_slot(both[i], umemRuntimeError, f->blames);
  }
  assert_int_equal(memcmp(fake_at(&device, from), before, n), 0);
  assert_int_equal(memcmp(fake_at(&other, to), before, f->bytes_done), 0);
  assert_int_equal(*fake_at(&other, around), 0);
  assert_int_equal(*fake_at(&other, to + n), 0);
  free(before);
  end_two();
}

static void failure__tells_how_many_bytes_are_done(void **state) {
  (void)state;
  static struct failure const failures[] = {
      {0, true, FAKE_COPY_PEER, 1, 37, 37, "copy_peer failed"},
      {NO_PEER, true, FAKE_VIEW_BEGIN, 1, 0, 0,
       "source Fake: the fake's view_"},
      {NO_PEER, false, FAKE_WRITE, 1, 37, 37,
       "destination Fake: the fake's wr"},
      {NO_PEER, true, FAKE_VIEW_END, 1, 0, 0, "source Fake: the fake's view_"},
      {NOTHING, true, FAKE_READ, 1, 37, 0, "source Fake: the fake's read"},
      {NOTHING, true, FAKE_READ, 3, 37, 2 * MIB, "source Fake: the fake's re"},
      {NOTHING, false, FAKE_WRITE, 1, 37, 37, "destination Fake: the fake's"},
      {NOTHING, false, FAKE_WRITE, 2, 0, MIB, "destination Fake: the fake's"},
      {NOTHING, false, FAKE_WRITE, 3, 499, 2 * MIB + 499, "destination Fake: "},
      {0, true, FAKE_CHECK, 1, 0, 0, "source Fake: the fake's check failed"},
      {0, true, FAKE_CHECK, 2, 0, 0, "source Fake: the fake's check failed"},
      {0, false, FAKE_CHECK, 1, 0, 0, "destination Fake: the fake's check"},
      {0, false, FAKE_CHECK, 2, 0, 0, "destination Fake: the fake's check"},
  };
  for (size_t i = 0; i < LENGTH(failures); i++)
    expect_failure(&failures[i]);
}

/* A device without views, and one with: the rung of a destination's view. */
static void begin_view_dest(uintptr_t *from, uintptr_t *to) {
  begin_two(STAGED, (struct fakeConfig){.without = NO_PEER});
  *from = block_of(&ctx, &device, 100);
  *to = umem_calloc(&other_ctx, 100, 1);
}

static void expect_view_failure(uintptr_t from, uintptr_t to, size_t bytes_done,
                                char const *blames) {
  assert_status(umem_copy_to(&ctx, from, &other_ctx, to, 100),
                umemRuntimeError);
  assert_int_equal(last_error(&ctx).bytes_done, bytes_done);
  assert_slot(&other_ctx, umemRuntimeError, blames);
  assert_int_equal(
      memcmp(fake_at(&device, from), fake_at(&other, to), bytes_done), 0);
}

static void failure__with_a_view_of_the_destination(void **state) {
  (void)state;
  uintptr_t from, to;
  begin_view_dest(&from, &to);
  fail_in(&other, FAKE_VIEW_BEGIN, 1, 0);
  expect_view_failure(from, to, 0, "destination Fake: the fake's view_begin");
  fail_in(&device, FAKE_READ, 1, 37);
  expect_view_failure(from, to, 37, "source Fake: the fake's read failed");
  fail_in(&other, FAKE_VIEW_END, 1, 20);
  expect_view_failure(from, to, 0, "destination Fake: the fake's view_end");
  fail_in(&device, FAKE_READ, 1, 37);
  fail_in(&other, FAKE_VIEW_END, 1, 20);
  expect_view_failure(from, to, 0, "source Fake: the fake's read failed");
  end_two();
}

static void failure__of_both_ends_of_a_view_tells_the_first(void **state) {
  (void)state;
  begin_two((struct fakeConfig){.without = NO_PEER}, STAGED);
  uintptr_t from = block_of(&ctx, &device, 100);
  uintptr_t to = umem_alloc(&other_ctx, 100);
  fail_in(&other, FAKE_WRITE, 1, 37);
  fail_in(&device, FAKE_VIEW_END, 1, 0);
  assert_status(umem_copy_to(&ctx, from, &other_ctx, to, 100),
                umemRuntimeError);
  assert_int_equal(last_error(&ctx).bytes_done, 37);
  assert_slot(&ctx, umemRuntimeError, "destination Fake: the fake's write");
  end_two();
}

static void
failure__of_overlapping_ranges_has_done_nothing_for_sure(void **state) {
  (void)state;
  enum fakeSlot const slots[] = {FAKE_COPY_PEER, FAKE_READ, FAKE_WRITE};
  for (size_t i = 0; i < LENGTH(slots); i++) {
    begin((struct fakeConfig){.without = i ? NOTHING : 0});
    uintptr_t adr = block_of(&ctx, &device, 3 * MIB);
    fail_in(&device, slots[i], i ? 2 : 1, 37);
    assert_status(umem_copy_to(&ctx, adr + 1, &ctx, adr, 2 * MIB),
                  umemRuntimeError);
    assert_int_equal(last_error(&ctx).bytes_done, 0);
    assert_int_equal(umem_get_error_count(&ctx), 1); /* not once per side */
    end();
  }
}

static void failure__of_a_file_is_exact_to_the_byte(void **state) {
  (void)state;
  umemFile file;
  unsigned char bytes[200];
  begin((struct fakeConfig){.base = 0});
  random_bytes(bytes, 120, 1);
  file_put(temp_path("short"), bytes, 120);
  memset(bytes, 0x5A, sizeof bytes);
  assert_ok(umemFile_ctor(&file, temp_path("short"), "r"));
  assert_status(umem_copy_to(&file, 20, &host, (uintptr_t)bytes, 150),
                umemIOError);
  assert_int_equal(last_error(&host).bytes_done, 100);
  assert_slot(&host, umemIOError,
              "source File: the file ends there: read 100 "
              "of 150 bytes at offset 20");
  assert_slot(&file, umemIOError, "(source File 0x14, destination Host 0x");
  assert_true(all_bytes_are(bytes + 150, 50, 0x5A));
  assert_ok(umem_dtor(&file));
  end();
}

/* --- where memory lies ---------------------------------------------------- */

/* A device whose calls note where they are given memory that lies unlike the
   address. */
static size_t wanted_alignment;
static atomic_uint calls_seen, calls_unlike;
static umemStatusType (*fake_read)(void *, uintptr_t, void *, size_t,
                                   umemError *);
static umemStatusType (*fake_write)(void *, uintptr_t, void const *, size_t,
                                    umemError *);

static void note_memory(uintptr_t adr, void const *memory) {
  calls_seen++;
  calls_unlike += (adr - (uintptr_t)memory) % wanted_alignment != 0;
}

static umemStatusType noting_read(void *state, uintptr_t adr, void *out,
                                  size_t nbytes, umemError *error) {
  note_memory(adr, out);
  return fake_read(state, adr, out, nbytes, error);
}

static umemStatusType noting_write(void *state, uintptr_t adr, void const *in,
                                   size_t nbytes, umemError *error) {
  note_memory(adr, in);
  return fake_write(state, adr, in, nbytes, error);
}

static void begin_noting(size_t alignment) {
  struct fakeConfig const config = {.without = FAKE_VIEWS,
                                    .limits.alignment = alignment};
  assert_ok(umemHost_ctor(&host));
  fake_init(&device, &config);
  struct umemVtbl vtbl = fake_vtbl(&device.config);
  fake_read = vtbl.read;
  fake_write = vtbl.write;
  vtbl.read = noting_read;
  vtbl.write = noting_write;
  wanted_alignment = alignment;
  assert_ok(umemVirtual_ctor_ex(&ctx, &vtbl, &device));
}

/* There and back, `shift` away from where it would lie well; returns how many
   calls there were that had to do with memory that lay badly. */
static unsigned unlike_calls(size_t n, size_t shift) {
  unsigned char *bytes = buffer_of(n + 2 * UMEMI_PAGE), *copy = buffer_of(n);
  uintptr_t adr = umem_alloc(&ctx, n), here = (uintptr_t)bytes;
  here += (adr - here) % UMEMI_PAGE + shift;
  random_bytes((void *)here, n, n);
  memcpy(copy, (void *)here, n);
  calls_seen = calls_unlike = 0;
  assert_ok(umem_copy_to(&host, here, &ctx, adr, n));
  assert_int_equal(memcmp(fake_at(&device, adr), copy, n), 0);
  memset((void *)here, 0, n);
  assert_ok(umem_copy_to(&ctx, adr, &host, here, n));
  assert_int_equal(memcmp((void *)here, copy, n), 0);
  assert_true(all_bytes_are(bytes, here - (uintptr_t)bytes, 0x5A));
  assert_int_equal(*(unsigned char *)(here + n), 0x5A);
  assert_ok(umem_free(&ctx, adr));
  free(bytes);
  free(copy);
  return calls_unlike;
}

static void alignment__of_a_device_is_that_of_all_memory_it_is_given(void **s) {
  (void)s;
  size_t const sizes[] = {16 * KIB, MIB - 1, MIB, 5 * MIB + 3};
  assert_ok(umem_set_threads(2));
  for (size_t alignment = 2; alignment <= UMEMI_PAGE; alignment *= 8) {
    begin_noting(alignment);
    for (size_t i = 0; i < LENGTH(sizes); i++) {
      assert_int_equal(unlike_calls(sizes[i], 0), 0);
      assert_int_equal(calls_seen, 2); /* as it lies, in one */
      assert_int_equal(unlike_calls(sizes[i], 1), 0);
      assert_int_equal(unlike_calls(sizes[i], alignment - 1), 0);
    }
    end();
  }
  assert_ok(umem_set_threads(0));
}

static void alignment__does_not_matter_where_it_does_not_pay(void **state) {
  (void)state;
  begin_noting(64);
  assert_int_equal(unlike_calls(16 * KIB - 1, 1), 2); /* too little */
  end();
  begin_noting(64);
  assert_int_equal(unlike_calls(MIB, 64), 0); /* far enough ahead */
  assert_int_equal(calls_seen, 2);
  end();
  begin_noting(24); /* no power of two: against the contract, and harmless */
  for (size_t shift = 0; shift < 50; shift++)
    unlike_calls(64 * KIB, shift);
  end();
}

static void alignment__with_little_memory_is_kept_and_with_none_not(void **st) {
  (void)st;
  begin_noting(4096);
  faults_limit_memory(64 * KIB);
  assert_int_equal(unlike_calls(MIB, 1), 0);
  assert_true(calls_seen >= 2 * 16);
  faults_limit_memory(64 * KIB - 1);
  assert_true(unlike_calls(MIB, 1) > 0);
  end();
}

/* --- refusals ------------------------------------------------------------ */

static void copy__of_nothing_checks_and_touches_nothing(void **state) {
  (void)state;
  umemHost dead;
  begin((struct fakeConfig){.base = 0});
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  uintptr_t adr = umem_alloc(&ctx, 8);
  fake_forget(&device);
  assert_ok(umem_copy_to(&ctx, adr, &host, 0, 0));
  assert_ok(umem_copy_to(&host, 0, &host, 0, 0));
  assert_ok(umem_copy_to_safe(&host, 0, 0, &ctx, adr, 0, 0));
  assert_ok(umem_sync_to(&ctx, adr, &host, 0, 0));
  assert_null(strstr(fake_log(&device), "view"));
  assert_int_equal(device.calls[FAKE_READ] + device.calls[FAKE_WRITE], 0);
  assert_fails(&ctx, umem_copy_to(&ctx, adr, &dead, 0, 0), umemTypeError,
               "destination context is dead");
  fail_in(&device, FAKE_CHECK, 1, 0);
  assert_fails(&ctx, umem_copy_to(&ctx, adr, &host, 0, 0), umemRuntimeError,
               "check failed");
  end();
}

static void copy__plain_is_not_bounded_by_blocks(void **state) {
  (void)state;
  begin((struct fakeConfig){.base = 0});
  uintptr_t adr = umem_alloc(&ctx, 8);
  unsigned char bytes[64] = {0};
  uintptr_t here = (uintptr_t)bytes;
  assert_ok(umem_copy_to(&host, here, &ctx, adr, 64));
  assert_fails(&ctx, umem_copy_to_safe(&host, here, 64, &ctx, adr, 64, 64),
               umemIndexError, "leave the block of 8 bytes");
  assert_fails(&ctx, umem_copy_to_safe(&ctx, adr + 1, 8, &host, here, 64, 8),
               umemIndexError, "source Fake: 8 bytes at");
  assert_ok(umem_copy_to_safe(&host, here, 64, &ctx, adr, 64, 8));
  end();
}

/* One refused _safe copy, in both forms, to a plain host and a checked one. */
static void refused(uintptr_t from, size_t from_size, uintptr_t to,
                    size_t to_size, size_t n, umemStatusType expected,
                    char const *why) {
  for (int i = 0; i < 2; i++) {
    umemHostOptions options = {.size = sizeof options, .checked = i};
    umemHost dest;
    assert_ok(umemHost_ctor_ex(&dest, &options));
    assert_status(
        umem_copy_to_safe(&host, from, from_size, &dest, to, to_size, n),
        expected);
    assert_slot(&dest, expected, why);
    assert_slot(&host, expected, why);
    assert_status(
        umem_copy_from_safe(&dest, to, to_size, &host, from, from_size, n),
        expected);
    assert_slot(&host, expected, why);
    assert_ok(umem_dtor(&dest));
  }
}

static void copy_safe__checks_arguments_then_sizes_then_wrap(void **state) {
  (void)state;
  unsigned char bytes[16] = {1, 2, 3}, to[16] = {0};
  uintptr_t a = (uintptr_t)bytes, b = (uintptr_t)to, top = UINTPTR_MAX - 3;
  assert_ok(umemHost_ctor(&host));
  refused(0, 16, b, 16, 16, umemValueError, "source Host: the address is NULL");
  refused(a, 16, 0, 16, 16, umemValueError, "destination Host: the address is");
  refused(a, 15, 0, 16, 16, umemValueError, "destination Host: the address is");
  refused(top, 16, 0, 16, 16, umemValueError, "destination Host: the address");
  refused(a, 15, b, 16, 16, umemIndexError,
          "source Host: 16 bytes exceed the "
          "size of 15");
  refused(a, 16, b, 15, 16, umemIndexError,
          "destination Host: 16 bytes exceed");
  refused(a, 15, top, 16, 16, umemIndexError, "source Host: 16 bytes exceed");
  refused(top, 8, b, 16, 8, umemIndexError, "source Host: 0x");
  refused(top, 8, b, 16, 1, umemIndexError, "+ size 8 wraps");
  refused(a, 16, top, 8, 1, umemIndexError, "destination Host: 0x");
  refused(a, SIZE_MAX, b, 16, 1, umemIndexError, "exceeds PTRDIFF_MAX");
  refused(a, 16, b, 16, SIZE_MAX, umemIndexError, "exceed the size of 16");
  assert_fails(&host, umem_copy_to_safe(&host, a, 15, NULL, 0, 0, 16),
               umemTypeError, "destination context is NULL");
  assert_true(all_bytes_are(to, sizeof to, 0));
  assert_ok(umem_dtor(&host));
}

static void copy_safe__is_bounded_within_one_memory_too(void **state) {
  (void)state;
  umemHost checked;
  checked_host(&checked);
  uintptr_t adr = umem_calloc(&checked, 16, 1);
  assert_fails(&checked,
               umem_copy_to_safe(&checked, adr, 16, &checked, adr, 15, 16),
               umemIndexError, "destination Host: 16 bytes exceed");
  assert_fails(&checked,
               umem_sync_to_safe(&checked, adr, 17, &checked, adr, 17, 17),
               umemIndexError, "leave the block of 16 bytes");
  assert_fails(&checked,
               umem_sync_from_safe(&checked, adr, 15, &checked, adr, 16, 16),
               umemIndexError, "destination Host: 16 bytes exceed");
  assert_ok(umem_sync_to_safe(&checked, adr, 16, &checked, adr, 16, 16));
  assert_ok(umem_copy_to_safe(&checked, adr, 16, &checked, adr, 16, 16));
  assert_ok(umem_free(&checked, adr));
  assert_ok(umem_dtor(&checked));
}

static void copy__that_wraps_is_an_index_error(void **state) {
  (void)state;
  char byte;
  uintptr_t here = (uintptr_t)&byte, top = UINTPTR_MAX - 3;
  assert_ok(umemHost_ctor(&host));
  assert_fails(&host, umem_copy_to(&host, top, &host, here, 8), umemIndexError,
               "source Host: 0xfffffffffffffffc + nbytes 8 wraps");
  assert_fails(&host, umem_copy_from(&host, top, &host, here, 8),
               umemIndexError, "destination Host: 0xffff");
  assert_fails(&host, umem_copy_to(&host, here, &host, here, SIZE_MAX),
               umemIndexError, "exceeds PTRDIFF_MAX");
  assert_fails(&host, umem_copy_to(&host, 0, &host, here, 1), umemValueError,
               "source Host: the address is NULL");
  assert_ok(umem_dtor(&host));
}

static void calls__name_themselves_and_their_values(void **state) {
  (void)state;
#define NAMED(call, text) assert_fails(&host, call, umemValueError, text)
#define VALUES(sizes)                                                          \
  "(source Host 0x5, destination Host 0x0, 7 bytes" sizes "): "
  assert_ok(umemHost_ctor(&host));
  NAMED(umem_copy_to(&host, 5, &host, 0, 7), "umem_copy_to" VALUES(""));
  NAMED(umem_copy_from(&host, 0, &host, 5, 7), "umem_copy_from" VALUES(""));
  NAMED(umem_sync_to(&host, 5, &host, 0, 7), "umem_sync_to" VALUES(""));
  NAMED(umem_sync_from(&host, 0, &host, 5, 7), "umem_sync_from" VALUES(""));
  NAMED(umem_copy_to_safe(&host, 5, 8, &host, 0, 9, 7),
        "umem_copy_to_safe" VALUES(" (sizes 8, 9)"));
  NAMED(umem_copy_from_safe(&host, 0, 9, &host, 5, 8, 7),
        "umem_copy_from_safe" VALUES(" (sizes 8, 9)"));
  NAMED(umem_sync_to_safe(&host, 5, 8, &host, 0, 9, 7),
        "umem_sync_to_safe" VALUES(" (sizes 8, 9)"));
  NAMED(umem_sync_from_safe(&host, 0, 9, &host, 5, 8, 7),
        "umem_sync_from_safe" VALUES(" (sizes 8, 9)"));
  assert_ok(umem_dtor(&host));
}

/* --- sync ---------------------------------------------------------------- */

static void sync__does_nothing_only_for_one_address_in_one_space(void **state) {
  (void)state;
  begin_two((struct fakeConfig){.base = 0},
            (struct fakeConfig){.shares = &device});
  uintptr_t adr = block_of(&ctx, &device, 100);
  fake_forget(&device);
  assert_ok(umem_sync_to(&ctx, adr, &ctx, adr, 100));
  assert_ok(umem_sync_to(&ctx, adr, &other_ctx, adr, 100));
  assert_ok(umem_sync_from(&other_ctx, adr, &ctx, adr, 100));
  assert_int_equal(device.calls[FAKE_COPY_PEER], 0);
  assert_ok(umem_sync_to(&ctx, adr, &other_ctx, adr + 1, 99));
  assert_int_equal(device.calls[FAKE_COPY_PEER], 1);
  assert_ok(umem_copy_to(&ctx, adr, &ctx, adr, 100)); /* a copy is one always */
  assert_int_equal(device.calls[FAKE_COPY_PEER], 2);
  assert_fails(&ctx, umem_sync_to(&ctx, 1, &ctx, 1, 100), umemIndexError,
               "source Fake: "); /* as a copy would */
  end_two();
}

static void sync__of_equal_addresses_in_two_spaces_copies(void **state) {
  (void)state;
  begin_two((struct fakeConfig){.base = 0}, (struct fakeConfig){.base = 0});
  uintptr_t adr = block_of(&ctx, &device, 100);
  assert_int_equal(umem_alloc(&other_ctx, 100), adr);
  assert_ok(umem_sync_to(&ctx, adr, &other_ctx, adr, 100));
  expect_copied(adr, adr, 100);
  memset(fake_at(&other, adr), 1, 100);
  assert_ok(umem_sync_from_safe(&ctx, adr, 100, &other_ctx, adr, 100, 100));
  expect_copied(adr, adr, 100);
  end_two();
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(copy__within_one_kind_is_direct),
      faulty_test(copy__from_a_view_is_one_write),
      faulty_test(copy__to_a_view_is_one_read),
      faulty_test(copy__without_peers_and_views_is_staged),
      faulty_test(copy__has_the_same_result_on_every_rung),
      faulty_test(copy__within_host_memory_is_memmove_in_every_form),
      faulty_test(copy__needs_two_live_contexts),
      faulty_test(staging__is_bounded_whatever_the_size),
      faulty_test(staging__makes_do_with_less_down_to_64_kib),
      faulty_test(staging__tries_64_kib_before_it_gives_up),
      faulty_test(staging__without_64_kib_is_a_memory_error),
      faulty_test(staging__of_less_than_64_kib_needs_no_more_than_that),
      faulty_test(overlap__in_chunks_behaves_as_memmove),
      faulty_test(overlap__uses_no_views),
      faulty_test(overlap__in_one_file_seen_by_two_contexts),
      faulty_test(failure__tells_how_many_bytes_are_done),
      faulty_test(failure__with_a_view_of_the_destination),
      faulty_test(failure__of_both_ends_of_a_view_tells_the_first),
      faulty_test(failure__of_overlapping_ranges_has_done_nothing_for_sure),
      faulty_test(failure__of_a_file_is_exact_to_the_byte),
      faulty_test(alignment__of_a_device_is_that_of_all_memory_it_is_given),
      faulty_test(alignment__does_not_matter_where_it_does_not_pay),
      faulty_test(alignment__with_little_memory_is_kept_and_with_none_not),
      faulty_test(copy__of_nothing_checks_and_touches_nothing),
      faulty_test(copy__plain_is_not_bounded_by_blocks),
      faulty_test(copy_safe__checks_arguments_then_sizes_then_wrap),
      faulty_test(copy_safe__is_bounded_within_one_memory_too),
      faulty_test(copy__that_wraps_is_an_index_error),
      faulty_test(calls__name_themselves_and_their_values),
      faulty_test(sync__does_nothing_only_for_one_address_in_one_space),
      faulty_test(sync__of_equal_addresses_in_two_spaces_copies),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
