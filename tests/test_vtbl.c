/* SPDX-License-Identifier: BSD-3-Clause */
/* Kinds of other authors: which tables are taken, and how they are completed.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "doubles/fake.h"
#include "os.h"
#include "support.h"

#define WITHOUT(slot) (1u << (slot))

enum {
  STAGED = 3 << 20 /* bytes, of which a copy is staged in several chunks */
};

/* --- which tables are taken ---------------------------------------------- */

/* A table that is refused, and nothing of it is called. */
static void expect_refusal(struct umemVtbl const *vtbl, umemStatusType expected,
                           char const *text) {
  struct fake device;
  umemVirtual ctx;
  fake_init(&device, NULL);
  assert_fails(&ctx, umemVirtual_ctor_ex(&ctx, vtbl, &device), expected, text);
  assert_int_equal(umem_get_error_count(&ctx), 1);
  assert_fails(&ctx, umem_flush(&ctx), umemTypeError, "failed to construct");
  assert_ok(umem_dtor(&ctx));
  for (size_t slot = 0; slot < FAKE_SLOTS; slot++)
    assert_int_equal(device.calls[slot], 0);
  fake_release(&device);
}

static void ctor_ex__refuses_a_table_without_a_required_method(void **state) {
  (void)state;
  for (unsigned slot = FAKE_DTOR; slot <= FAKE_SPACES; slot++) {
    struct fakeConfig config = {.without = WITHOUT(slot)};
    struct umemVtbl vtbl = fake_vtbl(&config);
    expect_refusal(&vtbl, umemValueError,
                   "umemVirtual_ctor_ex: vtbl: a required method is NULL");
  }
}

/* Memory to stage through, as a device that has some of its own offers it. */
static struct {
  _Atomic int live, taken;
  bool declines;
} stage;

static umemStatusType stage_alloc(void *state, size_t nbytes, void **ptr_out,
                                  umemError *error) {
  (void)state, (void)error;
  if (stage.declines || !(*ptr_out = malloc(nbytes)))
    return UMEM_DECLINED;
  stage.live++;
  stage.taken++;
  return umemOK;
}

static void stage_free(void *state, void *ptr, size_t nbytes) {
  (void)state, (void)nbytes;
  free(ptr);
  stage.live--;
}

static umemStatusType write_2d(void *state, uintptr_t adr, void const *in,
                               struct umemRows const *rows, umemError *error) {
  (void)state, (void)adr, (void)in, (void)rows, (void)error;
  return UMEM_DECLINED;
}

static void ctor_ex__refuses_half_a_group(void **state) {
  (void)state;
  for (unsigned slot = FAKE_VIEW_BEGIN; slot <= FAKE_VIEW_END; slot++) {
    struct fakeConfig config = {.without = WITHOUT(slot)};
    struct umemVtbl vtbl = fake_vtbl(&config);
    expect_refusal(&vtbl, umemValueError,
                   "vtbl: view_begin and view_end come together");
  }
  struct umemVtbl vtbl = fake_vtbl(&(struct fakeConfig){.caps = 0});
  vtbl.stage_alloc = stage_alloc;
  expect_refusal(&vtbl, umemValueError,
                 "vtbl: stage_alloc and stage_free come together");
  vtbl = fake_vtbl(&(struct fakeConfig){.caps = 0});
  vtbl.write_2d = write_2d;
  expect_refusal(&vtbl, umemValueError,
                 "vtbl: read_2d and write_2d come together");
}

/* A device without views, whose copies to others are staged. */
static void staged_begin(umemVirtual *ctx, struct fake *device) {
  struct fakeConfig const config = {.without = FAKE_OPTIONAL};
  fake_init(device, &config);
  struct umemVtbl vtbl = fake_vtbl(&device->config);
  vtbl.stage_alloc = stage_alloc;
  vtbl.stage_free = stage_free;
  assert_ok(umemVirtual_ctor_ex(ctx, &vtbl, device));
}

static void copies__are_staged_in_memory_of_the_device(void **state) {
  enum { SIZE = 3 << 20 };
  (void)state;
  struct fake from, to;
  umemVirtual src, dest;
  uintptr_t a, b;
  staged_begin(&src, &from);
  staged_begin(&dest, &to);
  assert_ok(umem_try_alloc(&src, SIZE, &a));
  assert_ok(umem_try_alloc(&dest, SIZE, &b));
  random_bytes(fake_at(&from, a), SIZE, 1);
  for (int round = 0; round < 2; round++) {
    stage.taken = 0;
    stage.declines = round == 1; /* then in other memory */
    memset(fake_at(&to, b), 0, SIZE);
    assert_ok(umem_copy_to(&src, a, &dest, b, SIZE));
    assert_memory_equal(fake_at(&from, a), fake_at(&to, b), SIZE);
    assert_true((stage.taken > 0) == (round == 0));
    assert_int_equal(stage.live, 0);
  }
  assert_ok(umem_dtor(&src));
  assert_ok(umem_dtor(&dest));
  fake_end(&from);
  fake_end(&to);
}

static void ctor_ex__refuses_types_of_the_library(void **state) {
  (void)state;
  int const types[] = {-1, 0, umemHostDevice, umemMMapDevice, 7, 16, 17, 1023};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    struct umemVtbl vtbl = fake_vtbl(&(struct fakeConfig){.caps = 0});
    vtbl.type = (umemDeviceType)types[i];
    if (types[i] < 0 && (umemDeviceType)-1 > 0)
      continue; /* as an unsigned number it is a large one */
    expect_refusal(&vtbl, umemValueError, "vtbl: type is below umemForeign");
  }
}

static void ctor_ex__refuses_a_table_without_a_name(void **state) {
  (void)state;
  struct umemVtbl vtbl = fake_vtbl(&(struct fakeConfig){.caps = 0});
  vtbl.name = NULL;
  expect_refusal(&vtbl, umemValueError, "vtbl: name is NULL or empty");
  vtbl.name = "";
  expect_refusal(&vtbl, umemValueError, "vtbl: name is NULL or empty");
}

static void ctor_ex__refuses_unknown_caps(void **state) {
  (void)state;
  for (unsigned bit = 4; bit < 32; bit++) {
    struct umemVtbl vtbl = fake_vtbl(&(struct fakeConfig){.caps = 1u << bit});
    expect_refusal(&vtbl, umemValueError, "vtbl: caps has unknown bits");
  }
}

static void ctor_ex__refuses_alignments_that_are_no_power_of_2(void **state) {
  (void)state;
  size_t const bad[] = {3, 6, 24, SIZE_MAX, SIZE_MAX - 1};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct fakeConfig config = {.fundamental_align = bad[i]};
    struct umemVtbl vtbl = fake_vtbl(&config);
    expect_refusal(&vtbl, umemValueError, "an alignment is not a power of 2");
    config = (struct fakeConfig){.max_align = bad[i]};
    vtbl = fake_vtbl(&config);
    expect_refusal(&vtbl, umemValueError, "an alignment is not a power of 2");
  }
}

static void ctor_ex__refuses_NULL_for_context_and_table(void **state) {
  (void)state;
  struct umemVtbl vtbl = fake_vtbl(&(struct fakeConfig){.caps = 0});
  assert_status(umemVirtual_ctor_ex(NULL, &vtbl, NULL), umemValueError);
  expect_refusal(NULL, umemValueError, "umemVirtual_ctor_ex: vtbl is NULL");
}

static struct fakeConfig const all_methods = {
    .sets = true, .hole = 4096, .limits = {.method = "wand"}};

/* A table as someone compiled it who knew `size` bytes of it. */
struct sized {
  struct umemVtbl vtbl;
  unsigned char newer[16];
};

static struct sized table_of_size(size_t size) {
  struct sized table = {.vtbl = fake_vtbl(&all_methods)};
  table.vtbl.size = size;
  return table;
}

static void ctor_ex__refuses_sizes_that_no_table_has(void **state) {
  (void)state;
  for (size_t size = 0; size < sizeof(size_t); size++) {
    struct sized table = table_of_size(size);
    expect_refusal(&table.vtbl, umemValueError, "set it to the struct's size");
  }
}

static void ctor_ex__takes_what_a_shorter_table_lacks_as_0(void **state) {
  (void)state;
  struct sized table = table_of_size(sizeof(size_t));
  expect_refusal(&table.vtbl, umemValueError, "type is below");
  table.vtbl.size = offsetof(struct umemVtbl, spaces);
  expect_refusal(&table.vtbl, umemValueError, "a required method is NULL");
  table.vtbl.size = offsetof(struct umemVtbl, view_end);
  expect_refusal(&table.vtbl, umemValueError, "come together");

  struct fake device;
  umemVirtual ctx;
  fake_init(&device, &all_methods);
  table.vtbl.size = offsetof(struct umemVtbl, flush);
  assert_ok(umemVirtual_ctor_ex(&ctx, &table.vtbl, &device));
  assert_fails(&ctx, umem_discard(&ctx), umemNotImplementedError,
               "umem_discard(Fake): this kind of context publishes nothing");
  assert_ok(umem_flush(&ctx));
  assert_int_equal(device.calls[FAKE_FLUSH], 0);
  uintptr_t adr = umem_calloc(&ctx, 1, 1);
  assert_int_equal(device.calls[FAKE_CALLOC], 1);
  assert_ok(umem_try_set(&ctx, adr, 1, 1));
  assert_ok(umem_free(&ctx, adr));
  for (size_t slot = FAKE_FLUSH; slot < FAKE_SLOTS; slot++)
    assert_int_equal(device.calls[slot], 0);
  assert_ok(umem_dtor(&ctx));
  fake_end(&device);
}

/* A table of each size there was, or may have been: what it does not reach is
   not called. */
static void ctor_ex__takes_a_table_that_ends_anywhere(void **state) {
  (void)state;
  for (size_t size = offsetof(struct umemVtbl, check);
       size <= sizeof(struct umemVtbl); size += sizeof(void (*)(void))) {
    struct sized table = table_of_size(size);
    if (size == offsetof(struct umemVtbl, view_end))
      continue; /* half a group */
    struct fakeOne one;
    fake_init(&one.device, &all_methods);
    assert_ok(umemVirtual_ctor_ex(&one.ctx, &table.vtbl, &one.device));
    uintptr_t adr = umem_calloc(&one.ctx, 2, 10);
    assert_true(adr != 0);
    assert_ok(umem_try_set(&one.ctx, adr, 'x', 10));
    assert_ok(umem_copy_to(&one.ctx, adr, &one.ctx, adr + 10, 10));
    assert_memory_equal(fake_at(&one.device, adr), "xxxxxxxxxxxxxxxxxxxx", 20);
    assert_int_equal(one.device.calls[FAKE_CHECK] > 0,
                     size > offsetof(struct umemVtbl, check));
    assert_int_equal(one.device.calls[FAKE_COPY_PEER],
                     size > offsetof(struct umemVtbl, copy_peer));
    assert_int_equal(one.device.calls[FAKE_SET],
                     size > offsetof(struct umemVtbl, set));
    assert_int_equal(one.device.calls[FAKE_LIMITS] > 0,
                     size > offsetof(struct umemVtbl, limits));
    fake_one_end(&one);
  }
}

static void ctor_ex__refuses_a_table_that_ends_within_a_method(void **state) {
  (void)state;
  for (size_t size = sizeof(size_t); size < sizeof(struct umemVtbl); size++) {
    struct sized table = table_of_size(size);
    if (size % sizeof(void (*)(void)) != 0)
      expect_refusal(&table.vtbl, umemValueError,
                     "set it to the struct's size");
  }
}

static void ctor_ex__takes_a_longer_table_if_the_excess_is_0(void **state) {
  (void)state;
  struct fake device;
  umemVirtual ctx;
  fake_init(&device, &all_methods);
  struct sized table = table_of_size(sizeof table);
  assert_ok(umemVirtual_ctor_ex(&ctx, &table.vtbl, &device));
  assert_ok(umem_dtor(&ctx));
  fake_end(&device);
}

static void ctor_ex__does_not_support_methods_that_it_does_not_know(void **s) {
  (void)s;
  for (size_t i = 0; i < sizeof((struct sized *)NULL)->newer; i++) {
    struct sized table = table_of_size(sizeof table);
    table.newer[i] = 1;
    char text[64];
    snprintf(text, sizeof text, "byte %zu of the struct is set",
             sizeof table.vtbl + i);
    expect_refusal(&table.vtbl, umemNotSupportedError, text);
  }
}

static void *no_malloc(size_t nbytes) {
  (void)nbytes;
  return NULL;
}

static void ctor_ex__tells_that_there_is_no_memory_for_the_table(void **state) {
  (void)state;
  struct umemVtbl vtbl = fake_vtbl(&(struct fakeConfig){.caps = 0});
  struct fake device;
  umemVirtual ctx;
  fake_init(&device, NULL);
  umemi_os.malloc = no_malloc;
  umemStatusType status = umemVirtual_ctor_ex(&ctx, &vtbl, &device);
  umemi_os.malloc = malloc;
  assert_status(status, umemMemoryError);
  assert_int_equal(last_error(&ctx).sys_errno, ENOMEM);
  assert_ok(umem_dtor(&ctx));
  assert_int_equal(device.destroyed, 0);
  fake_release(&device);
}

static void ctor_ex__copies_the_table(void **state) {
  (void)state;
  struct fake device;
  umemVirtual ctx;
  fake_init(&device, NULL);
  struct umemVtbl vtbl = fake_vtbl(&device.config);
  assert_ok(umemVirtual_ctor_ex(&ctx, &vtbl, &device));
  memset(&vtbl, 0, sizeof vtbl);
  uintptr_t adr = umem_alloc(&ctx, 10);
  assert_true(adr != 0);
  assert_string_equal(umem_get_device_name(&ctx), "Fake");
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_dtor(&ctx));
  fake_end(&device);
}

/* --- how they are completed ---------------------------------------------- */

static void calloc__without_the_method_is_alloc_and_writes(void **state) {
  (void)state;
  struct fakeOne one;
  unsigned const declined = 1u << FAKE_CALLOC | 1u << FAKE_VIEW_BEGIN;
  struct fakeConfig const configs[] = {
      {.without = WITHOUT(FAKE_CALLOC) | FAKE_VIEWS}, {.declines = declined}};
  char const *const logs[] = {"alloc write", "calloc alloc view_begin write"};
  for (size_t i = 0; i < 2; i++) {
    fake_one_begin(&one, &configs[i]);
    assert_ok(umem_free(&one.ctx, umem_alloc(&one.ctx, 101)));
    fake_forget(&one.device);
    uintptr_t adr = umem_calloc(&one.ctx, 10, 10); /* the same, dirty memory */
    assert_true(adr != 0);
    assert_log(&one.device, logs[i]);
    assert_true(all_bytes_are(fake_at(&one.device, adr), 100, 0));
    assert_int_equal(fake_at(&one.device, adr)[100], FAKE_DIRT);
    fake_one_end(&one);
  }
}

static void calloc__of_0_bytes_without_the_method_writes_nothing(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, &(struct fakeConfig){.without = FAKE_OPTIONAL});
  uintptr_t adr = umem_calloc(&one.ctx, 0, 10);
  assert_log(&one.device, "alloc");
  assert_ok(umem_free(&one.ctx, adr));
  fake_one_end(&one);
}

static void set__goes_through_a_view_where_one_is_offered(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, NULL);
  uintptr_t adr = umem_alloc(&one.ctx, 10);
  fake_forget(&one.device);
  assert_true(umem_set(&one.ctx, adr, 'x', 10) == adr);
  assert_log(&one.device, "check check view_begin view_end");
  assert_memory_equal(fake_at(&one.device, adr), "xxxxxxxxxx", 10);
  fake_one_end(&one);
}

static void set__is_the_devices_own_where_it_has_one(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, &(struct fakeConfig){.sets = true});
  uintptr_t adr = umem_alloc(&one.ctx, 12);
  fake_forget(&one.device);
  assert_true(umem_set(&one.ctx, adr + 1, 'x', 10) == adr + 1);
  assert_log(&one.device, "check check set");
  assert_memory_equal(fake_at(&one.device, adr + 1), "xxxxxxxxxx", 10);
  assert_int_equal(*fake_at(&one.device, adr), FAKE_DIRT);
  assert_int_equal(*fake_at(&one.device, adr + 11), FAKE_DIRT);
  assert_ok(umem_set_safe(&one.ctx, adr, 12, 0x1CC, 12)); /* one byte of it */
  assert_log(&one.device, "check check set");
  assert_true(all_bytes_are(fake_at(&one.device, adr), 12, 0xCC));
  assert_ok(umem_try_set(&one.ctx, adr, 'y', 0));
  assert_int_equal(one.device.calls[FAKE_SET], 0);
  fake_one_end(&one);
}

static void set__that_is_declined_takes_the_next_way(void **state) {
  (void)state;
  unsigned const declines[] = {WITHOUT(FAKE_SET),
                               WITHOUT(FAKE_SET) | WITHOUT(FAKE_VIEW_BEGIN)};
  char const *const logs[] = {"check check set view_begin view_end",
                              "check check set view_begin write"};
  for (size_t i = 0; i < 2; i++) {
    struct fakeOne one;
    fake_one_begin(&one,
                   &(struct fakeConfig){.sets = true, .declines = declines[i]});
    uintptr_t adr = umem_alloc(&one.ctx, 10);
    fake_forget(&one.device);
    assert_ok(umem_try_set(&one.ctx, adr, 'x', 10));
    assert_log(&one.device, logs[i]);
    assert_memory_equal(fake_at(&one.device, adr), "xxxxxxxxxx", 10);
    fake_one_end(&one);
  }
}

static void calloc__without_the_method_is_alloc_and_set(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(
      &one, &(struct fakeConfig){.sets = true, .without = 1u << FAKE_CALLOC});
  uintptr_t adr = umem_calloc(&one.ctx, 10, 10);
  assert_log(&one.device, "alloc set");
  assert_true(all_bytes_are(fake_at(&one.device, adr), 100, 0));
  assert_ok(umem_free(&one.ctx, adr));
  fake_one_end(&one);
}

/* --- how they like their bytes moved -------------------------------------- */

enum { LARGE = 100000 };

/* Copies LARGE bytes from host memory to a fake with these limits and back;
   returns how many calls of write and read it took. */
static unsigned calls_with(struct umemLimits limits) {
  struct fakeOne one;
  umemHost host;
  static unsigned char bytes[LARGE], back[LARGE];
  assert_ok(umemHost_ctor(&host));
  fake_one_begin(&one,
                 &(struct fakeConfig){.without = FAKE_VIEWS, .limits = limits});
  uintptr_t adr = umem_alloc(&one.ctx, LARGE);
  random_bytes(bytes, LARGE, limits.chunk);
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &one.ctx, adr, LARGE));
  assert_memory_equal(fake_at(&one.device, adr), bytes, LARGE);
  assert_ok(umem_copy_to(&one.ctx, adr, &host, (uintptr_t)back, LARGE));
  assert_memory_equal(back, bytes, LARGE);
  unsigned calls = one.device.calls[FAKE_WRITE] + one.device.calls[FAKE_READ];
  fake_one_end(&one);
  assert_ok(umem_dtor(&host));
  return calls;
}

static void limits__bound_what_one_call_moves(void **state) {
  (void)state;
  assert_int_equal(calls_with((struct umemLimits){.lanes = 1}), 2);
  assert_int_equal(calls_with((struct umemLimits){.chunk = LARGE}), 2);
  assert_int_equal(calls_with((struct umemLimits){.chunk = LARGE - 1}), 4);
  assert_int_equal(calls_with((struct umemLimits){.chunk = LARGE / 10}), 20);
  assert_int_equal(calls_with((struct umemLimits){.chunk = 7}),
                   2 * (LARGE / 7 + 1));
}

static void limits__that_are_absurd_do_no_harm(void **state) {
  (void)state;
  char const *const endless = "a method whose name is longer than any that "
                              "people would want to read in a line of text";
  struct umemLimits const absurd[] = {
      {.chunk = SIZE_MAX, .lanes = UINT_MAX, .waits = UINT_MAX},
      {.chunk = SIZE_MAX - 1, .lanes = 1000000, .method = endless},
      {.chunk = (size_t)PTRDIFF_MAX + 1, .lanes = 5, .waits = 1}};
  for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++)
    assert_int_equal(calls_with(absurd[i]), 2);
}

static void flush_and_discard__without_the_methods(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, &(struct fakeConfig){.without = FAKE_OPTIONAL});
  assert_ok(umem_flush(&one.ctx));
  assert_fails(&one.ctx, umem_discard(&one.ctx), umemNotImplementedError,
               "umem_discard(Fake): this kind of context publishes nothing");
  assert_log(&one.device, "");
  fake_one_end(&one);
}

static void copy__takes_the_first_rung_that_is_not_declined(void **state) {
  (void)state;
  unsigned const peer = WITHOUT(FAKE_COPY_PEER);
  struct fakeConfig const configs[] = {{.caps = 0},
                                       {.without = peer},
                                       {.declines = peer},
                                       {.without = peer | FAKE_VIEWS},
                                       {.declines = peer | FAKE_VIEWS}};
  char const *const logs[] = {"copy_peer", "view_begin write view_end",
                              "copy_peer view_begin write view_end",
                              "read write",
                              "copy_peer view_begin view_begin read write"};
  for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
    struct fakeOne one;
    fake_one_begin(&one, &configs[i]);
    uintptr_t src = umem_alloc(&one.ctx, 10), dest = umem_alloc(&one.ctx, 10);
    random_bytes(fake_at(&one.device, src), 10, i);
    fake_forget(&one.device);
    assert_ok(umem_copy_to(&one.ctx, src, &one.ctx, dest, 10));
    char const *log = fake_log(&one.device);
    assert_memory_equal(log, "check check check check ", 24);
    assert_string_equal(log + 24, logs[i]);
    assert_memory_equal(fake_at(&one.device, src), fake_at(&one.device, dest),
                        10);
    fake_one_end(&one);
  }
}

static void copy__of_overlapping_ranges_never_goes_through_a_view(void **s) {
  (void)s;
  struct fakeOne one;
  fake_one_begin(&one, &(struct fakeConfig){.without = WITHOUT(FAKE_COPY_PEER) |
                                                       WITHOUT(FAKE_CHECK)});
  uintptr_t adr = umem_alloc(&one.ctx, 10);
  memcpy(fake_at(&one.device, adr), "0123456789", 10);
  fake_forget(&one.device);
  assert_ok(umem_copy_to(&one.ctx, adr, &one.ctx, adr + 1, 9));
  assert_log(&one.device, "read write");
  assert_memory_equal(fake_at(&one.device, adr), "0012345678", 10);
  fake_one_end(&one);
}

/* --- alignment ----------------------------------------------------------- */

static void fundamental_align__of_a_table_that_says_0_is_1(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, NULL);
  assert_int_equal(umem_fundamental_align(&one.ctx), 1);
  fake_one_end(&one);
  fake_one_begin(&one, &(struct fakeConfig){.fundamental_align = 256});
  assert_int_equal(umem_fundamental_align(&one.ctx), 256);
  fake_one_end(&one);
}

static void aligned_alloc__over_allocates_past_max_align(void **state) {
  (void)state;
  struct fakeConfig const configs[] = {
      {.caps = 0},
      {.fundamental_align = 16},
      {.fundamental_align = 64, .max_align = 16},
      {.max_align = 4096},
      {.base = FAKE_BASE_ZERO}};
  for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
    struct fakeConfig const *c = &configs[i];
    size_t most = c->max_align > c->fundamental_align ? c->max_align
                                                      : c->fundamental_align;
    struct fakeOne one;
    fake_one_begin(&one, c);
    for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
      uintptr_t adr = umem_aligned_alloc(&one.ctx, alignment, alignment);
      bool cut = alignment > (most ? most : 1);
      assert_true(adr != 0);
      assert_true(adr % alignment == 0);
      uintptr_t origin = umem_aligned_origin(&one.ctx, adr);
      assert_int_equal(origin != adr, cut);
      assert_true(adr - origin <= alignment);
      size_t reserved = one.device.blocks[0].nbytes;
      assert_int_equal(reserved, cut ? 2 * alignment : alignment);
      assert_true(origin + reserved >= adr + alignment);
      if (cut && origin) { /* not what the user was given */
        assert_zero_fails(&one.ctx, umem_free_aligned(&one.ctx, origin),
                          umemValueError, "not a live block");
        assert_int_equal(fake_live(&one.device), 1);
      }
      assert_true(umem_free_aligned(&one.ctx, adr) == origin || origin == 0);
      assert_int_equal(fake_live(&one.device), 0);
    }
    fake_one_end(&one);
  }
}

static void aligned_alloc__too_large_with_its_slack_is_told(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, NULL);
  size_t const half = PTRDIFF_MAX / 2 + 1;
  assert_zero_fails(&one.ctx, umem_aligned_alloc(&one.ctx, half, half),
                    umemMemoryError, "more than PTRDIFF_MAX bytes");
  assert_int_equal(one.device.calls[FAKE_ALLOC], 0);
  fake_one_end(&one);
}

/* --- kinds that keep their own books, or none ----------------------------- */

static void own_registry__leaves_alignment_and_addresses_to_the_kind(void **s) {
  (void)s;
  struct fakeOne one;
  fake_one_begin(&one, &(struct fakeConfig){.caps = UMEM_CAP_OWN_REGISTRY});
  uintptr_t adr = umem_aligned_alloc(&one.ctx, 65536, 65536);
  assert_true(adr && adr % 65536 == 0);
  assert_int_equal(one.device.blocks[0].nbytes, 65536);
  assert_true(umem_aligned_origin(&one.ctx, adr + 5) == adr + 5);
  assert_zero_fails(&one.ctx, umem_aligned_origin(&one.ctx, 5), umemIndexError,
                    "umem_aligned_origin(Fake 0x5)");
  assert_fails(&one.ctx, umem_free(&one.ctx, adr + 5), umemValueError,
               "no block is there");
  assert_ok(umem_free(&one.ctx, adr));
  assert_ok(umem_free(&one.ctx, 0));
  assert_ok(umem_set_safe(&one.ctx, FAKE_BASE, 10, 'x', 10));
  fake_one_end(&one);
}

static void blocks_outlive__are_reported_by_dtor_and_left_alone(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, &(struct fakeConfig){.caps = UMEM_CAP_BLOCKS_OUTLIVE});
  umem_alloc(&one.ctx, 10);
  umem_alloc(&one.ctx, 32);
  assert_fails(&one.ctx, umem_dtor(&one.ctx), umemRuntimeError,
               "umem_dtor(Fake): 2 block(s) of 42 bytes in all were");
  assert_int_equal(fake_live(&one.device), 2);
  assert_int_equal(one.device.calls[FAKE_FREE], 0);
  fake_end(&one.device);
}

static void spaces__shared_by_two_contexts_make_one_device(void **state) {
  (void)state;
  struct fakeOne a, b, c;
  fake_one_begin(&a, &(struct fakeConfig){.without = WITHOUT(FAKE_COPY_PEER)});
  fake_one_begin(&b, &(struct fakeConfig){.shares = &a.device,
                                          .without = WITHOUT(FAKE_COPY_PEER)});
  fake_one_begin(&c, NULL);
  assert_true(umem_is_same_device(&a.ctx, &b.ctx));
  assert_true(umem_is_accessible_from(&a.ctx, &b.ctx));
  assert_false(umem_is_same_device(&a.ctx, &c.ctx));
  assert_false(umem_is_accessible_from(&a.ctx, &c.ctx));
  uintptr_t adr = umem_alloc(&a.ctx, 10);
  memcpy(fake_at(&a.device, adr), "0123456789", 10);
  assert_ok(umem_sync_to(&a.ctx, adr, &b.ctx, adr, 10));
  assert_int_equal(b.device.calls[FAKE_WRITE], 0);
  assert_ok(umem_copy_to(&a.ctx, adr, &b.ctx, adr + 1, 9));
  assert_memory_equal(fake_at(&a.device, adr), "0012345678", 10);
  assert_true(umem_connect(&a.ctx, adr, 10, &b.ctx, 0) == adr);
  assert_ok(umem_disconnect(&a.ctx, adr, &b.ctx, adr, 0));
  fake_one_end(&c);
  fake_one_end(&b);
  fake_one_end(&a);
}

static void spaces__with_the_process_second_need_no_copy_in_host(void **state) {
  (void)state;
  struct fakeOne one;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  fake_one_begin(&one, &(struct fakeConfig){.in_process = true});
  assert_true(umem_is_accessible_from(&one.ctx, &host));
  assert_false(umem_is_accessible_from(&host, &one.ctx));
  assert_false(umem_is_same_device(&one.ctx, &host));
  uintptr_t adr = umem_alloc(&one.ctx, 10);
  fake_forget(&one.device);
  assert_true(umem_connect(&one.ctx, adr, 10, &host, 0) == adr);
  assert_log(&one.device, "check check check check"); /* to read and write */
  assert_ok(umem_disconnect(&one.ctx, adr, &host, adr, 0));
  fake_one_end(&one);
  assert_ok(umem_dtor(&host));
}

/* --- all methods ---------------------------------------------------------- */

static struct fakeConfig const everything = {.sets = true,
                                             .hole = 4096,
                                             .limits = {.method = "wand"},
                                             .handles = true,
                                             .stages = true,
                                             .reaches = true};

/* Copies to another fake, which has no views, are staged. */
static void stage_with(umemVirtual *ctx, uintptr_t adr) {
  struct fakeOne bare;
  fake_one_begin(&bare, &(struct fakeConfig){.without = FAKE_OPTIONAL});
  uintptr_t place = umem_alloc(&bare.ctx, STAGED);
  assert_ok(umem_copy_to(ctx, adr, &bare.ctx, place, STAGED));
  fake_one_end(&bare);
}

static void give_by_handle(umemVirtual *ctx, uintptr_t adr) {
  unsigned char handle[UMEM_HANDLE_MAX];
  size_t length = sizeof handle, nbytes;
  uintptr_t found;
  assert_ok(umem_export_handle(ctx, adr, 100, handle, &length));
  assert_ok(umem_import_handle(ctx, handle, length, &found, &nbytes));
  assert_int_equal(found, adr);
  assert_int_equal(nbytes, 100);
}

static void methods__of_a_table_are_all_called(void **state) {
  (void)state;
  umemHost host;
  struct fakeOne with_views, without, other;
  struct fakeConfig config = everything;
  fake_one_begin(&with_views, &config);
  fake_one_begin(&other, &config);
  config.without = FAKE_VIEWS;
  fake_one_begin(&without, &config);
  assert_ok(umemHost_ctor(&host));
  struct fakeOne *const all[] = {&with_views, &without};
  for (size_t i = 0; i < 2; i++) {
    umemVirtual *ctx = &all[i]->ctx;
    static char here[100];
    uintptr_t adr = umem_alloc(ctx, STAGED);
    assert_true(umem_calloc(ctx, 1, 10) != 0);
    assert_ok(umem_try_set(ctx, adr, 0, STAGED));
    assert_ok(umem_copy_to(ctx, adr, ctx, adr + 100, 100));
    assert_ok(umem_copy_to(ctx, adr, &host, (uintptr_t)here, sizeof here));
    assert_ok(umem_copy_from(ctx, adr, &host, (uintptr_t)here, sizeof here));
    assert_true(umem_is_accessible_from(ctx, &other.ctx));
    stage_with(ctx, adr);
    give_by_handle(ctx, adr);
    assert_ok(umem_free(ctx, adr));
    assert_ok(umem_flush(ctx));
    assert_ok(umem_discard(ctx));
  }
  assert_ok(umem_dtor(&host));
  fake_one_end(&other);
  fake_one_end(&without);
  fake_one_end(&with_views);
  for (unsigned slot = 0; slot < FAKE_SLOTS; slot++)
    if (with_views.device.calls[slot] + without.device.calls[slot] == 0)
      fail_msg("method %u of the table is never called", slot);
}

static size_t no_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  (void)state, (void)out;
  return 0;
}

static size_t all_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  (void)state;
  for (size_t i = 0; i < UMEM_SPACES_MAX; i++)
    out[i] = (umemSpace){umemForeignDevice, {i, 0}};
  return SIZE_MAX;
}

static void spaces__of_an_impossible_number_do_no_harm(void **state) {
  (void)state;
  umemVirtual none, all;
  struct fake one, two;
  fake_init(&one, NULL);
  fake_init(&two, NULL);
  struct umemVtbl vtbl = fake_vtbl(&one.config);
  vtbl.spaces = no_spaces;
  assert_ok(umemVirtual_ctor_ex(&none, &vtbl, &one));
  vtbl.spaces = all_spaces;
  assert_ok(umemVirtual_ctor_ex(&all, &vtbl, &two));
  assert_true(umem_is_same_device(&none, &none));
  assert_false(umem_is_accessible_from(&all, &none));
  assert_false(umem_is_accessible_from(&none, &all));
  assert_ok(umem_dtor(&none));
  assert_ok(umem_dtor(&all));
  fake_end(&one);
  fake_end(&two);
}

static void zero__is_an_address_where_the_kind_says_so(void **state) {
  (void)state;
  struct fakeOne one;
  uintptr_t adr = 1;
  fake_one_begin(&one, &(struct fakeConfig){.base = FAKE_BASE_ZERO});
  assert_ok(umem_try_alloc(&one.ctx, 10, &adr));
  assert_true(adr == 0);
  assert_ok(umem_try_set(&one.ctx, 0, 'x', 10));
  assert_memory_equal(one.device.bytes, "xxxxxxxxxx", 10);
  assert_ok(umem_free(&one.ctx, 0));
  assert_int_equal(fake_live(&one.device), 0);
  assert_ok(umem_free(&one.ctx, 0));
  fake_one_end(&one);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(ctor_ex__refuses_a_table_without_a_required_method),
      cmocka_unit_test(ctor_ex__refuses_half_a_group),
      cmocka_unit_test(copies__are_staged_in_memory_of_the_device),
      cmocka_unit_test(ctor_ex__refuses_types_of_the_library),
      cmocka_unit_test(ctor_ex__refuses_a_table_without_a_name),
      cmocka_unit_test(ctor_ex__refuses_unknown_caps),
      cmocka_unit_test(ctor_ex__refuses_alignments_that_are_no_power_of_2),
      cmocka_unit_test(ctor_ex__refuses_NULL_for_context_and_table),
      cmocka_unit_test(ctor_ex__refuses_sizes_that_no_table_has),
      cmocka_unit_test(ctor_ex__takes_what_a_shorter_table_lacks_as_0),
      cmocka_unit_test(ctor_ex__takes_a_table_that_ends_anywhere),
      cmocka_unit_test(ctor_ex__refuses_a_table_that_ends_within_a_method),
      cmocka_unit_test(ctor_ex__takes_a_longer_table_if_the_excess_is_0),
      cmocka_unit_test(ctor_ex__does_not_support_methods_that_it_does_not_know),
      cmocka_unit_test(ctor_ex__tells_that_there_is_no_memory_for_the_table),
      cmocka_unit_test(ctor_ex__copies_the_table),
      cmocka_unit_test(calloc__without_the_method_is_alloc_and_writes),
      cmocka_unit_test(calloc__of_0_bytes_without_the_method_writes_nothing),
      cmocka_unit_test(set__goes_through_a_view_where_one_is_offered),
      cmocka_unit_test(set__is_the_devices_own_where_it_has_one),
      cmocka_unit_test(set__that_is_declined_takes_the_next_way),
      cmocka_unit_test(calloc__without_the_method_is_alloc_and_set),
      cmocka_unit_test(limits__bound_what_one_call_moves),
      cmocka_unit_test(limits__that_are_absurd_do_no_harm),
      cmocka_unit_test(flush_and_discard__without_the_methods),
      cmocka_unit_test(copy__takes_the_first_rung_that_is_not_declined),
      cmocka_unit_test(copy__of_overlapping_ranges_never_goes_through_a_view),
      cmocka_unit_test(fundamental_align__of_a_table_that_says_0_is_1),
      cmocka_unit_test(aligned_alloc__over_allocates_past_max_align),
      cmocka_unit_test(aligned_alloc__too_large_with_its_slack_is_told),
      cmocka_unit_test(
          own_registry__leaves_alignment_and_addresses_to_the_kind),
      cmocka_unit_test(blocks_outlive__are_reported_by_dtor_and_left_alone),
      cmocka_unit_test(spaces__shared_by_two_contexts_make_one_device),
      cmocka_unit_test(spaces__with_the_process_second_need_no_copy_in_host),
      cmocka_unit_test(zero__is_an_address_where_the_kind_says_so),
      cmocka_unit_test(spaces__of_an_impossible_number_do_no_harm),
      cmocka_unit_test(methods__of_a_table_are_all_called),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
