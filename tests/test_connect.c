/* SPDX-License-Identifier: BSD-3-Clause */
/* Mirrors: who owns what, from connect to disconnect. */
#include "core.h"

#include "internal.h"

static umemHost host, checked;
static umemVirtual ctx;
static struct fake device;
static umemFile file;

/* Each test has two hosts, a device and a file of 100 known bytes. */
static unsigned char known[100];

static int connect_setup(void **state) {
  (void)state;
  random_bytes(known, sizeof known, 1);
  file_put(temp_path("file"), known, sizeof known);
  assert_ok(umemHost_ctor(&host));
  checked_host(&checked);
  assert_ok(fake_ctor(&ctx, &device, &(struct fakeConfig){.max_align = 16}));
  assert_ok(umemFile_ctor(&file, temp_path("file"), "r+"));
  return 0;
}

static int connect_teardown(void **state) {
  faults_teardown(state);
  assert_ok(umem_dtor(&file));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_dtor(&checked)); /* nothing is leaked */
  assert_ok(umem_dtor(&host));
  fake_end(&device);
  return 0;
}

static uintptr_t here(void const *bytes) {
  return (uintptr_t)bytes;
}

#define KNOWN here(known)

/* A mirror of known bytes from a host to the device. */
static uintptr_t connect_known(size_t nbytes, size_t alignment) {
  uintptr_t adr = umem_connect(&host, KNOWN, nbytes, &ctx, alignment);
  assert_true(umem_is_ok(&ctx));
  assert_true(adr != 0);
  return adr;
}

/* --- connect ------------------------------------------------------------- */

static void connect__gives_the_same_address_where_it_can_be_used(void **state) {
  (void)state;
  uintptr_t adr = umem_aligned_alloc(&host, 64, 64), mirror = 0;
  faults_install();
  assert_int_equal(umem_connect(&host, adr, 64, &host, 0), adr);
  assert_int_equal(umem_connect(&host, adr + 1, 8, &checked, 0), adr + 1);
  assert_int_equal(umem_connect(&checked, adr + 1, 8, &host, 1), adr + 1);
  assert_ok(umem_try_connect(&host, adr, 64, &checked, 64, &mirror));
  assert_int_equal(mirror, adr);
  assert_int_equal(faults_count(FAULT_posix_memalign), 0); /* no block */
  assert_ok(umem_disconnect(&host, adr, &host, adr, 0));
  assert_ok(umem_disconnect(&host, adr + 1, &checked, adr + 1, 0));
  assert_ok(umem_disconnect(&checked, adr + 1, &host, adr + 1, 1));
  assert_ok(umem_disconnect(&host, adr, &checked, adr, 64));
  memset((void *)adr, 1, 64); /* still there */
  assert_ok(umem_free(&host, adr));
}

static void connect__makes_a_block_where_the_alignment_asks_for(void **state) {
  (void)state;
  uintptr_t adr = umem_aligned_alloc(&host, 64, 64);
  random_bytes((void *)adr, 64, 2);
  uintptr_t mirror = umem_connect(&host, adr + 1, 60, &checked, 32);
  assert_true(mirror != 0 && mirror != adr + 1);
  assert_int_equal(mirror % 32, 0);
  assert_memory_equal((void *)mirror, (void *)(adr + 1), 60);
  memset((void *)mirror, 0, 64); /* rounded up to the alignment */
  assert_fails(&checked, umem_set_safe(&checked, mirror, 65, 0, 65),
               umemIndexError, "block of 64 bytes");
  assert_ok(umem_disconnect(&host, adr + 1, &checked, mirror, 32));
  assert_fails(&checked, umem_free(&checked, mirror), umemValueError,
               "freed already");
  assert_ok(umem_free(&host, adr));
}

static void connect__makes_a_block_where_addresses_do_not_reach(void **state) {
  (void)state;
  uintptr_t mirror = connect_known(100, 0);
  assert_int_equal(fake_live(&device), 1);
  assert_int_equal(device.blocks[0].nbytes, 100);
  assert_memory_equal(fake_at(&device, mirror), known, 100);
  assert_ok(umem_disconnect(&host, KNOWN, &ctx, mirror, 0));
  assert_int_equal(fake_live(&device), 0);
  mirror = umem_connect(&file, 10, 50, &checked, 0);
  assert_memory_equal((void *)mirror, known + 10, 50);
  assert_ok(umem_disconnect(&file, 10, &checked, mirror, 0));
}

static void connect__aligns_on_devices_that_cannot(void **state) {
  (void)state;
  for (size_t alignment = 2; alignment <= 4096; alignment *= 2) {
    uintptr_t mirror = connect_known(99, alignment);
    assert_int_equal(mirror % alignment, 0);
    assert_memory_equal(fake_at(&device, mirror), known, 99);
    assert_ok(umem_disconnect(&host, KNOWN, &ctx, mirror, alignment));
    assert_int_equal(fake_live(&device), 0);
  }
}

static void connect__of_no_bytes_has_a_block_of_no_bytes(void **state) {
  (void)state;
  uintptr_t mirror = umem_connect(&file, 0, 0, &checked, 0);
  assert_true(mirror != 0);
  assert_ok(umem_disconnect(&file, 0, &checked, mirror, 0));
  mirror = connect_known(0, 64);
  assert_int_equal(mirror % 64, 0);
  assert_int_equal(fake_live(&device), 1);
  assert_ok(umem_disconnect(&host, KNOWN, &ctx, mirror, 64));
  assert_int_equal(fake_live(&device), 0);
}

static void connect__of_no_bytes_to_a_file_takes_none_of_it(void **state) {
  (void)state;
  uintptr_t one = 0, two = 0;
  assert_ok(umem_try_connect(&host, KNOWN, 0, &file, 0, &one));
  assert_ok(umem_try_connect(&host, KNOWN, 0, &file, 8, &two));
  assert_true(one && two && two % 8 == 0);
  assert_ok(umem_disconnect(&host, KNOWN, &file, one, 0));
  assert_ok(umem_disconnect(&host, KNOWN, &file, two, 0));
  assert_fails(&file, umem_disconnect(&host, KNOWN, &file, two, 0),
               umemValueError, "the two are not connected");
  assert_int_equal(file_size(temp_path("file")), 100);
}

static void connect__to_a_file_is_a_range_past_its_end(void **state) {
  (void)state;
  unsigned char got[30];
  uintptr_t adr = umem_connect(&host, KNOWN, 30, &file, 0);
  assert_int_equal(adr, 100);
  file_get(temp_path("file"), 100, got, sizeof got);
  assert_memory_equal(got, known, sizeof got);
  assert_ok(umem_disconnect(&host, KNOWN, &file, adr, 0));
  file_get(temp_path("file"), 100, got, sizeof got);
  assert_memory_equal(got, known, sizeof got); /* free() changes no file */
}

static void connect__to_an_empty_file_has_address_0(void **state) {
  (void)state;
  umemFile empty;
  uintptr_t adr = 77;
  assert_ok(umemFile_ctor(&empty, temp_path("empty"), "w"));
  for (int i = 0; i < 2; i++) { /* freed, it can be had again */
    assert_ok(umem_try_connect(&host, KNOWN, 50, &empty, 0, &adr));
    assert_int_equal(adr, 0);
    assert_ok(umem_disconnect(&host, KNOWN, &empty, 0, 0));
    assert_fails(&empty, umem_disconnect(&host, KNOWN, &empty, 0, 0),
                 umemValueError, "not connected");
  }
  assert_int_equal(file_size(temp_path("empty")), 50);
  assert_ok(umem_dtor(&empty));
}

static void connect__checks_the_alignment_before_the_address(void **state) {
  (void)state;
  size_t const wrong[] = {3, 6, 24, SIZE_MAX};
  uintptr_t adr = 77;
  for (size_t i = 0; i < LENGTH(wrong); i++) {
    assert_fails(&host, umem_try_connect(&host, 0, 8, &checked, wrong[i], &adr),
                 umemValueError, "must be 0 or a power of 2");
    assert_slot(&checked, umemValueError, "must be 0 or a power of 2");
    assert_fails(&host, umem_disconnect(&host, 5, &checked, 5, wrong[i]),
                 umemValueError, "must be 0 or a power of 2");
    assert_ok(umem_clean_status(&checked));
  }
  assert_zero_fails(&host, umem_connect(&host, 0, 8, &checked, 8),
                    umemValueError,
                    "umem_connect(source Host 0x0, 8 bytes, destination Host, "
                    "alignment 8): source Host: the address is NULL");
  assert_fails(&host, umem_try_connect(&host, KNOWN, 8, &ctx, 0, NULL),
               umemValueError, "adr_out is NULL");
  assert_zero_fails(&host, umem_connect(&host, UINTPTR_MAX, 8, &ctx, 0),
                    umemIndexError, "source Host: 0xffff");
  assert_int_equal(adr, 77);
  assert_int_equal(fake_live(&device), 0);
}

static void connect__needs_two_live_contexts(void **state) {
  (void)state;
  uintptr_t adr = 77;
  umemHost dead;
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  assert_fails(&dead, umem_try_connect(&dead, KNOWN, 8, &ctx, 0, &adr),
               umemTypeError, "source context is dead");
  assert_slot(&ctx, umemTypeError, "source context is dead");
  assert_fails(&ctx, umem_try_connect(&ctx, 8, 8, NULL, 0, &adr), umemTypeError,
               "destination context is NULL");
  assert_int_equal(adr, 77);
}

static void connect__of_more_than_there_can_be(void **state) {
  (void)state;
  uintptr_t adr = 77;
  size_t const highest = SIZE_MAX / 2 + 1;
  assert_fails(&ctx, umem_try_connect(&host, KNOWN, 0, &ctx, highest, &adr),
               umemMemoryError, "destination Fake: more than PTRDIFF_MAX");
  assert_fails(&ctx, umem_try_connect(&host, 4096, PTRDIFF_MAX, &ctx, 2, &adr),
               umemMemoryError, "destination Fake: more than PTRDIFF_MAX");
  assert_fails(&ctx, umem_try_connect(&host, 1, PTRDIFF_MAX, &ctx, 0, &adr),
               umemMemoryError, "destination Fake: the fake is full");
  assert_int_equal(adr, 77);
}

static void connect__of_no_bytes_and_of_some_share_no_block(void **state) {
  (void)state;
  for (int first = 0; first < 2; first++) { /* the one of no bytes, or not */
    umemFile empty;
    uintptr_t adr[2], next = 77;
    char got[50];
    assert_ok(umemFile_ctor(&empty, temp_path("empty"), "w+"));
    for (int i = 0; i < 2; i++)
      assert_ok(umem_try_connect(&host, KNOWN, i == first ? 0 : 50, &empty, 0,
                                 &adr[i == first]));
    assert_int_equal(adr[0], 0);
    assert_true(adr[1] >= 50);
    assert_ok(umem_disconnect(&host, KNOWN, &empty, adr[1], 0));
    assert_ok(umem_try_alloc(&empty, 50, &next));
    assert_int_equal(next, 50); /* the block is live */
    file_get(temp_path("empty"), 0, got, sizeof got);
    assert_memory_equal(got, known, sizeof got);
    assert_ok(umem_disconnect(&host, KNOWN, &empty, adr[0], 0));
    assert_fails(&empty, umem_disconnect(&host, KNOWN, &empty, adr[0], 0),
                 umemValueError, "not connected");
    assert_ok(umem_try_alloc(&empty, 50, &next)); /* it is free now */
    assert_int_equal(next, 0);
    assert_ok(umem_dtor(&empty));
  }
}

/* --- the same address is a copy's right ----------------------------------- */

/* A mapped file of 100 known bytes. */
static uintptr_t map_known(umemMMap *map, char const *mode) {
  file_put(temp_path("map"), known, sizeof known);
  assert_ok(umemMMap_ctor(map, temp_path("map"), mode));
  return umemMMap_get_address(map, NULL);
}

static void connect__of_what_may_not_be_written_makes_a_block(void **state) {
  (void)state;
  static char const *const modes[] = {"r", "a+"};
  for (size_t i = 0; i < LENGTH(modes); i++) {
    umemMMap map;
    uintptr_t base = map_known(&map, modes[i]);
    uintptr_t mirror = umem_connect(&map, base, 100, &checked, 0);
    assert_true(mirror != 0 && mirror != base);
    assert_memory_equal((void *)mirror, known, 100);
    assert_ok(umem_try_set(&checked, mirror, 'x', 100));
    assert_fails(&map, umem_sync_from(&map, base, &checked, mirror, 100),
                 umemValueError, "destination MMap: opened for ");
    assert_ok(umem_clean_status(&checked));
    assert_ok(umem_disconnect(&map, base, &checked, mirror, 0));
    assert_false(umem_is_accessible_from(&map, &host));
    assert_true(umem_is_accessible_from(&map, &map));
    assert_ok(umem_dtor(&map));
  }
}

static void connect__of_what_may_be_written_is_the_same_address(void **state) {
  (void)state;
  umemMMap map;
  uintptr_t base = map_known(&map, "r+");
  assert_true(umem_is_accessible_from(&map, &host));
  assert_int_equal(umem_connect(&map, base, 100, &host, 0), base);
  assert_ok(umem_disconnect(&map, base, &host, base, 0));
  assert_ok(umem_dtor(&map));
}

static void connect__to_who_only_reads_them_is_the_same_bytes(void **state) {
  (void)state;
  umemMMap map;
  umemFile r, all;
  uintptr_t base = map_known(&map, "r"), adr;
  assert_ok(umemFile_ctor(&r, temp_path("map"), "r"));
  assert_ok(umemFile_ctor(&all, temp_path("map"), "r+"));
  assert_true(umem_is_accessible_from(&all, &r));
  assert_false(umem_is_accessible_from(&r, &all));
  assert_int_equal(umem_connect(&map, base, 9, &map, 0), base);
  assert_ok(umem_try_connect(&r, 7, 9, &r, 0, &adr));
  assert_int_equal(adr, 7);
  assert_ok(umem_try_connect(&all, 7, 9, &r, 0, &adr));
  assert_int_equal(adr, 7);
  assert_ok(umem_try_connect(&r, 7, 9, &all, 0, &adr));
  assert_int_not_equal(adr, 7); /* a block */
  assert_ok(umem_dtor(&all));
  assert_ok(umem_dtor(&r));
  assert_ok(umem_dtor(&map));
}

static void connect__past_the_end_of_a_file_is_an_io_error(void **state) {
  (void)state;
  umemMMap map;
  umemFile same;
  uintptr_t base = map_known(&map, "r+"), adr = 77;
  assert_fails(&map, umem_try_connect(&map, base, 101, &host, 0, &adr),
               umemIOError, "source MMap: the file ends there");
  assert_int_equal(last_error(&map).bytes_done, 0);
  assert_ok(umemFile_ctor(&same, temp_path("file"), "r+"));
  assert_fails(&same, umem_try_connect(&same, 0, 101, &file, 0, &adr),
               umemIOError, "source File: the file ends there");
  assert_ok(umem_try_connect(&same, 0, 100, &file, 0, &adr));
  assert_int_equal(adr, 0);
  assert_ok(umem_disconnect(&same, 0, &file, 0, 0));
  assert_ok(umem_clean_status(&file));
  assert_ok(umem_clean_status(&host));
  assert_ok(umem_dtor(&same));
  assert_ok(umem_dtor(&map));
}

static void sync__of_the_same_bytes_refuses_what_a_copy_would(void **state) {
  (void)state;
  umemMMap map;
  uintptr_t base = map_known(&map, "a+");
  assert_fails(&map, umem_sync_to(&host, base, &map, base, 100), umemValueError,
               "destination MMap: opened for appending");
  assert_slot(&host, umemValueError, "opened for appending");
  assert_ok(umem_sync_to(&map, base, &host, base, 100));
  assert_fails(&host, umem_sync_to(&host, 0, &host, 0, 1), umemValueError,
               "source Host: the address is NULL");
  assert_ok(umem_dtor(&map));
}

static void sync__of_the_same_bytes_past_the_end_is_an_io_error(void **state) {
  (void)state;
  umemMMap map;
  uintptr_t base = map_known(&map, "r+");
  assert_fails(&file, umem_sync_to(&file, 50, &file, 50, 51), umemIOError,
               "source File: the file ends there");
  assert_int_equal(last_error(&file).bytes_done, 0);
  assert_fails(&map, umem_sync_to(&map, base, &host, base, 101), umemIOError,
               "source MMap: the file ends there");
  assert_fails(&map, umem_sync_to(&host, base, &map, base, 101), umemIOError,
               "destination MMap: the file ends there");
  assert_ok(umem_sync_to(&map, base, &host, base, 100));
  assert_ok(umem_sync_to(&map, base + 100, &host, base + 100, 0));
  assert_ok(umem_clean_status(&file));
  assert_ok(umem_clean_status(&host));
  assert_ok(umem_dtor(&map));
}

/* --- kinds that reach further than their spaces --------------------------- */

static void connect__asks_a_foreign_kind_what_it_can_reach(void **state) {
  (void)state;
  struct fakeConfig const reaching = {.reaches = true};
  struct fakeOne plain, src, dest;
  fake_one_begin(&plain, NULL);
  fake_one_begin(&src, &reaching);
  fake_one_begin(&dest, &reaching);
  assert_false(umem_is_accessible_from(&src.ctx, &plain.ctx)); /* not alike */
  assert_int_equal(src.device.calls[FAKE_CAN_REACH], 0);
  assert_true(umem_is_accessible_from(&src.ctx, &dest.ctx));
  assert_int_equal(src.device.calls[FAKE_CAN_REACH], 1);
  uintptr_t adr = umem_alloc(&src.ctx, 10);
  assert_int_equal(umem_connect(&src.ctx, adr, 10, &dest.ctx, 0), adr);
  assert_ok(umem_disconnect(&src.ctx, adr, &dest.ctx, adr, 0));
  fake_one_end(&dest);
  fake_one_end(&src);
  fake_one_end(&plain);
}

/* --- failures of connect leave nothing ----------------------------------- */

/* A connect to the device that fails, and what the device was asked for. */
static void connect_fails(umemStatusType expected, char const *why,
                          unsigned frees) {
  uintptr_t adr = 77;
  fake_forget(&device);
  assert_fails(&host, umem_try_connect(&host, KNOWN, 100, &ctx, 0, &adr),
               expected, why);
  assert_slot(&ctx, expected, why);
  assert_int_equal(adr, 77);
  assert_int_equal(device.calls[FAKE_FREE], frees);
  assert_int_equal(fake_live(&device), 0);
}

static void connect__that_fails_leaves_no_block(void **state) {
  (void)state;
  struct fakeFault const fault = {
      .call = 1, .type = umemRuntimeError, .moved = 50};
  fake_fail(&device, FAKE_ALLOC, &fault);
  connect_fails(umemRuntimeError, "destination Fake: the fake's alloc", 0);
  fake_fail(&device, FAKE_WRITE, &fault);
  connect_fails(umemRuntimeError, "destination Fake: the fake's write", 1);
  assert_int_equal(last_error(&host).bytes_done, 0); /* nothing is left */
  fake_fail(&device, FAKE_CHECK, &fault);
  connect_fails(umemRuntimeError, "destination Fake: the fake's check", 1);
  faults_install();
  faults_fail(FAULT_malloc, 1, ENOMEM);
  connect_fails(umemMemoryError, "for the registry of blocks", 1);
  faults_fail(FAULT_malloc, 2, ENOMEM);
  connect_fails(umemMemoryError, "for the list of mirrors", 1);
  faults_fail(FAULT_tsearch, 1, ENOMEM);
  connect_fails(umemMemoryError, "for the list of mirrors", 1);
  uintptr_t mirror = connect_known(100, 0); /* retry works */
  assert_ok(umem_disconnect(&host, KNOWN, &ctx, mirror, 0));
}

static void connect__whose_first_copy_fails_frees_and_returns_0(void **state) {
  (void)state;
  assert_zero_fails(&checked, umem_connect(&file, 50, 51, &checked, 0),
                    umemIOError,
                    "source File: the file ends there: read 50 "
                    "of 51 bytes");
} /* and the teardown of `checked` finds no leak */

static void connect__of_one_memory_that_fails_frees_nothing(void **state) {
  (void)state;
  uintptr_t adr = umem_alloc(&checked, 8);
  faults_install();
  faults_fail(FAULT_malloc, 1, ENOMEM);
  assert_zero_fails(&host, umem_connect(&host, adr, 8, &checked, 0),
                    umemMemoryError, "for the list of mirrors");
  assert_ok(umem_free(&checked, adr));
}

/* --- disconnect ---------------------------------------------------------- */

static void disconnect__is_due_once_per_connect(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++)
    assert_int_equal(umem_connect(&host, KNOWN, 100, &checked, 0), KNOWN);
  for (int i = 0; i < 3; i++)
    assert_ok(umem_disconnect(&host, KNOWN, &checked, KNOWN, 0));
  assert_fails(&host, umem_disconnect(&host, KNOWN, &checked, KNOWN, 0),
               umemValueError, "the two are not connected");
  uintptr_t one = connect_known(100, 0), two = connect_known(100, 0);
  assert_true(one != two); /* blocks of their own */
  assert_ok(umem_disconnect(&host, KNOWN, &ctx, one, 0));
  assert_fails(&ctx, umem_disconnect(&host, KNOWN, &ctx, one, 0),
               umemValueError, "not connected");
  assert_int_equal(fake_live(&device), 1);
  assert_ok(umem_disconnect(&host, KNOWN, &ctx, two, 0));
  assert_int_equal(fake_live(&device), 0);
}

static void disconnect__tells_sources_of_one_address_apart(void **state) {
  (void)state;
  umemHost sources[3];
  for (size_t i = 0; i < 3; i++)
    assert_ok(umemHost_ctor(&sources[i]));
  size_t const connects[] = {1, 0, 2, 1}, disconnects[] = {0, 1, 2, 1};
  for (size_t i = 0; i < 4; i++)
    assert_int_equal(umem_connect(&sources[connects[i]], KNOWN, 8, &checked, 0),
                     KNOWN);
  for (size_t i = 0; i < 4; i++)
    assert_ok(
        umem_disconnect(&sources[disconnects[i]], KNOWN, &checked, KNOWN, 0));
  for (size_t i = 0; i < 3; i++) {
    assert_fails(&sources[i],
                 umem_disconnect(&sources[i], KNOWN, &checked, KNOWN, 0),
                 umemValueError, "not connected");
    assert_ok(umem_dtor(&sources[i]));
  }
  assert_ok(umem_clean_status(&checked));
}

static void disconnect__of_an_unknown_pair_frees_nothing(void **state) {
  (void)state;
  uintptr_t mirror = connect_known(100, 0), block = umem_alloc(&ctx, 8);
  umemHost other;
  assert_ok(umemHost_ctor(&other));
  struct {
    void const *src;
    uintptr_t src_adr, dest_adr;
  } const wrong[] = {{&host, KNOWN + 1, mirror}, {&host, KNOWN, mirror + 1},
                     {&other, KNOWN, mirror},    {&host, KNOWN, block},
                     {&ctx, mirror, mirror},     {&host, 0, 0}};
  for (size_t i = 0; i < LENGTH(wrong); i++)
    assert_fails(&ctx,
                 umem_disconnect(wrong[i].src, wrong[i].src_adr, &ctx,
                                 wrong[i].dest_adr, 0),
                 umemValueError, "the two are not connected");
  assert_int_equal(fake_live(&device), 2);
  assert_int_equal(umem_get_error_count(&other), 1); /* both are told */
  assert_ok(umem_disconnect(&host, KNOWN, &ctx, mirror, 0));
  assert_ok(umem_free(&ctx, block));
  assert_ok(umem_dtor(&other));
}

static void disconnect__of_a_dead_source_works(void **state) {
  (void)state;
  umemHost source, none = {0};
  assert_ok(umemHost_ctor(&source));
  uintptr_t mirror = umem_connect(&source, KNOWN, 100, &ctx, 0);
  assert_ok(umem_dtor(&source));
  assert_memory_equal(fake_at(&device, mirror), known, 100); /* still there */
  assert_fails(&ctx, umem_disconnect(&none, KNOWN, &ctx, mirror, 0),
               umemTypeError, "source context is not a context");
  assert_ok(umem_disconnect(&source, KNOWN, &ctx, mirror, 0));
  assert_int_equal(fake_live(&device), 0);
}

static void disconnect__needs_a_live_destination(void **state) {
  (void)state;
  umemHost dead;
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  assert_fails(&host, umem_disconnect(&host, KNOWN, &dead, KNOWN, 0),
               umemTypeError, "destination context is dead");
}

static void disconnect__tells_if_the_device_cannot_free(void **state) {
  (void)state;
  uintptr_t mirror = connect_known(100, 0);
  fake_fail(&device, FAKE_FREE,
            &(struct fakeFault){.call = 1, .type = umemRuntimeError});
  assert_fails(&ctx, umem_disconnect(&host, KNOWN, &ctx, mirror, 0),
               umemRuntimeError, "destination Fake: the fake's free failed");
  assert_fails(&ctx, umem_disconnect(&host, KNOWN, &ctx, mirror, 0),
               umemValueError, "not connected"); /* the block is gone */
  assert_int_equal(device.calls[FAKE_FREE], 1);
}

/* --- dtor ---------------------------------------------------------------- */

static void dtor__of_the_destination_frees_its_mirrors(void **state) {
  (void)state;
  umemVirtual dest;
  struct fake of;
  assert_ok(fake_ctor(&dest, &of, NULL));
  for (size_t n = 0; n < 10; n++)
    assert_true(umem_connect(&host, KNOWN + n, n, &dest, n % 2 * 64) != 0);
  assert_int_equal(fake_live(&of), 10);
  assert_ok(umem_dtor(&dest));
  assert_int_equal(of.calls[FAKE_FREE], 10);
  fake_end(&of);
}

static void dtor__of_a_host_frees_its_mirrors_and_no_others(void **state) {
  (void)state;
  umemHost plain, strict;
  uintptr_t adr = umem_alloc(&host, 8);
  assert_ok(umemHost_ctor(&plain));
  checked_host(&strict);
  assert_true(umem_connect(&file, 0, 50, &plain, 0) != 0);
  assert_true(umem_connect(&file, 0, 50, &strict, 64) != 0);
  assert_int_equal(umem_connect(&host, adr, 8, &plain, 0), adr);
  assert_int_equal(umem_connect(&host, adr, 8, &strict, 0), adr);
  assert_ok(umem_dtor(&plain)); /* the leak checker looks at the first mirror */
  assert_ok(umem_dtor(&strict)); /* and checked mode at the second */
  assert_ok(umem_free(&host, adr));
}

static void dtor__tells_if_a_mirror_cannot_be_freed(void **state) {
  (void)state;
  umemVirtual dest;
  struct fake of;
  assert_ok(fake_ctor(&dest, &of, NULL));
  for (int i = 0; i < 3; i++)
    assert_true(umem_connect(&host, KNOWN, 8, &dest, 0) != 0);
  fake_fail(&of, FAKE_FREE,
            &(struct fakeFault){.call = 2, .type = umemRuntimeError});
  assert_status(umem_dtor(&dest), umemRuntimeError);
  assert_slot(&dest, umemRuntimeError, "umem_dtor(Fake): the fake's free");
  assert_int_equal(of.calls[FAKE_FREE], 3);
  fake_end(&of);
}

static void dtor__of_the_source_leaves_its_mirrors(void **state) {
  (void)state;
  umemHost source;
  assert_ok(umemHost_ctor(&source));
  uintptr_t mirror = umem_connect(&source, KNOWN, 100, &ctx, 0);
  assert_ok(umem_dtor(&source));
  assert_int_equal(fake_live(&device), 1);
  assert_memory_equal(fake_at(&device, mirror), known, 100);
} /* and the teardown frees it with its device */

/* --- sync ---------------------------------------------------------------- */

static void sync__keeps_a_mirror_and_its_source_alike(void **state) {
  (void)state;
  unsigned char bytes[100];
  memcpy(bytes, known, sizeof bytes);
  uintptr_t adr = here(bytes);
  uintptr_t mirror = umem_connect(&host, adr, 100, &ctx, 0);
  bytes[7] ^= 0xFF;
  assert_ok(umem_sync_to(&host, adr, &ctx, mirror, 100));
  assert_memory_equal(fake_at(&device, mirror), bytes, 100);
  *fake_at(&device, mirror + 9) ^= 0xFF;
  assert_ok(umem_sync_from(&host, adr, &ctx, mirror, 100));
  assert_memory_equal(fake_at(&device, mirror), bytes, 100);
  assert_ok(umem_disconnect(&host, adr, &ctx, mirror, 0));
  uintptr_t block = umem_alloc(&ctx, 100); /* not connected: just the same */
  assert_ok(umem_sync_to_safe(&host, adr, 100, &ctx, block, 100, 100));
  assert_memory_equal(fake_at(&device, block), bytes, 100);
  assert_ok(umem_free(&ctx, block));
}

#define connect_test(f)                                                        \
  cmocka_unit_test_setup_teardown(f, connect_setup, connect_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      connect_test(connect__gives_the_same_address_where_it_can_be_used),
      connect_test(connect__makes_a_block_where_the_alignment_asks_for),
      connect_test(connect__makes_a_block_where_addresses_do_not_reach),
      connect_test(connect__aligns_on_devices_that_cannot),
      connect_test(connect__of_no_bytes_has_a_block_of_no_bytes),
      connect_test(connect__of_no_bytes_to_a_file_takes_none_of_it),
      connect_test(connect__of_no_bytes_and_of_some_share_no_block),
      connect_test(connect__of_what_may_not_be_written_makes_a_block),
      connect_test(connect__of_what_may_be_written_is_the_same_address),
      connect_test(connect__to_who_only_reads_them_is_the_same_bytes),
      connect_test(connect__past_the_end_of_a_file_is_an_io_error),
      connect_test(sync__of_the_same_bytes_refuses_what_a_copy_would),
      connect_test(sync__of_the_same_bytes_past_the_end_is_an_io_error),
      connect_test(connect__asks_a_foreign_kind_what_it_can_reach),
      connect_test(connect__to_a_file_is_a_range_past_its_end),
      connect_test(connect__to_an_empty_file_has_address_0),
      connect_test(connect__checks_the_alignment_before_the_address),
      connect_test(connect__needs_two_live_contexts),
      connect_test(connect__of_more_than_there_can_be),
      connect_test(connect__that_fails_leaves_no_block),
      connect_test(connect__whose_first_copy_fails_frees_and_returns_0),
      connect_test(connect__of_one_memory_that_fails_frees_nothing),
      connect_test(disconnect__is_due_once_per_connect),
      connect_test(disconnect__tells_sources_of_one_address_apart),
      connect_test(disconnect__of_an_unknown_pair_frees_nothing),
      connect_test(disconnect__of_a_dead_source_works),
      connect_test(disconnect__needs_a_live_destination),
      connect_test(disconnect__tells_if_the_device_cannot_free),
      connect_test(dtor__of_the_destination_frees_its_mirrors),
      connect_test(dtor__of_a_host_frees_its_mirrors_and_no_others),
      connect_test(dtor__tells_if_a_mirror_cannot_be_freed),
      connect_test(dtor__of_the_source_leaves_its_mirrors),
      connect_test(sync__keeps_a_mirror_and_its_source_alike),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
