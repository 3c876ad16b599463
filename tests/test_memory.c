/* SPDX-License-Identifier: BSD-3-Clause */
/* The alloc family, free and set: on hosts and on a fake device. */
#include "core.h"

#include "internal.h"

static umemHost hosts[2];
static umemHost *const plain = &hosts[0], *const checked = &hosts[1];

static int hosts_setup(void **state) {
  (void)state;
  assert_ok(umemHost_ctor(plain));
  checked_host(checked);
  return 0;
}

static int hosts_teardown(void **state) {
  assert_ok(umem_dtor(plain));
  assert_ok(umem_dtor(checked)); /* no test leaks */
  return faults_teardown(state);
}

/* Plain and checked. */
#define for_each_host(host)                                                    \
  for (umemHost *host = hosts; host < hosts + LENGTH(hosts); host++)

static unsigned char *bytes_at(uintptr_t adr) {
  return (unsigned char *)adr;
}

/* --- alloc --------------------------------------------------------------- */

static void alloc__gives_memory_of_its_own(void **state) {
  (void)state;
  for_each_host(host) {
    uintptr_t one = umem_alloc(host, 100), other = 0;
    assert_ok(umem_try_alloc(host, 100, &other));
    memset(bytes_at(one), 1, 100);
    memset(bytes_at(other), 2, 100);
    assert_true(all_bytes_are(bytes_at(one), 100, 1));
    assert_true(all_bytes_are(bytes_at(other), 100, 2));
    assert_ok(umem_free(host, one));
    assert_ok(umem_free(host, other));
  }
}

static void alloc__of_no_bytes_is_unique_and_not_zero(void **state) {
  (void)state;
  uintptr_t adr[9];
  for_each_host(host) {
    for (size_t i = 0; i < LENGTH(adr); i += 3) {
      adr[i] = umem_alloc(host, 0);
      adr[i + 1] = umem_calloc(host, 0, 8);
      adr[i + 2] = umem_aligned_alloc(host, 64, 0);
      assert_int_equal(adr[i + 2] % 64, 0);
    }
    for (size_t i = 0; i < LENGTH(adr); i++) {
      assert_true(adr[i] != 0);
      for (size_t k = 0; k < i; k++)
        assert_true(adr[k] != adr[i]);
    }
    for (size_t i = 0; i < LENGTH(adr); i++)
      assert_ok(umem_free(host, adr[i]));
    assert_true(umem_is_ok(host));
  }
}

static void calloc__is_zeroed(void **state) {
  (void)state;
  for_each_host(host) {
    for (int round = 0; round < 4; round++) { /* used memory, too */
      uintptr_t adr = umem_calloc(host, 30, 7), other;
      assert_true(all_bytes_are(bytes_at(adr), 210, 0));
      memset(bytes_at(adr), 0xFF, 210);
      assert_ok(umem_free(host, adr));
      assert_ok(umem_try_calloc(host, 7, 30, &other));
      assert_true(all_bytes_are(bytes_at(other), 210, 0));
      assert_ok(umem_free(host, other));
    }
  }
}

static void aligned_alloc__is_aligned_and_its_own_origin(void **state) {
  (void)state;
  for_each_host(host) {
    for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
      uintptr_t adr = umem_aligned_alloc(host, alignment, 2 * alignment);
      assert_true(adr != 0);
      assert_int_equal(adr % alignment, 0);
      memset(bytes_at(adr), 3, 2 * alignment);
      assert_int_equal(umem_aligned_origin(host, adr), adr);
      if (alignment & 0x5555)
        assert_int_equal(umem_free_aligned(host, adr), adr);
      else
        assert_int_equal(umem_aligned_free(host, adr), adr);
    }
    assert_true(umem_is_ok(host));
  }
}

static void aligned_alloc__refuses_with_fixed_texts(void **state) {
  (void)state;
  static struct {
    size_t alignment, size;
    char const *text;
  } const cases[] = {
      {0, 8, "umem_aligned_alloc: alignment 0 must be power of 2"},
      {3, 8, "umem_aligned_alloc: alignment 3 must be power of 2"},
      {24, 5, "umem_aligned_alloc: alignment 24 must be power of 2"},
      {SIZE_MAX, 0,
       "umem_aligned_alloc: alignment 18446744073709551615 must be power of "
       "2"},
      {2, 1, "umem_aligned_alloc: size 1 must be multiple of alignment 2"},
      {16, 24, "umem_aligned_alloc: size 24 must be multiple of alignment 16"},
      {64, SIZE_MAX,
       "umem_aligned_alloc: size 18446744073709551615 must be multiple of "
       "alignment 64"}};
  for_each_host(host) for (size_t i = 0; i < LENGTH(cases); i++) {
    size_t alignment = cases[i].alignment, size = cases[i].size;
    uintptr_t adr = 77;
    assert_true(umem_aligned_alloc(host, alignment, size) == 0);
    assert_string_equal(umem_get_message(host), cases[i].text);
    assert_ok(umem_clean_status(host));
    assert_status(umem_try_aligned_alloc(host, alignment, size, &adr),
                  umemValueError);
    assert_string_equal(umem_get_message(host), cases[i].text);
    assert_status(umem_get_status(host), umemValueError);
    assert_ok(umem_clean_status(host));
    assert_int_equal(adr, 77);
  }
}

#define TOO_MUCH(host, call)                                                   \
  assert_fails(host, call, umemMemoryError, "more than PTRDIFF_MAX bytes")

static void alloc__of_too_much_is_a_memory_error(void **state) {
  (void)state;
  size_t const limit = PTRDIFF_MAX;
  for_each_host(host) {
    uintptr_t adr = 77;
    TOO_MUCH(host, umem_try_alloc(host, limit + 1, &adr));
    TOO_MUCH(host, umem_try_alloc(host, SIZE_MAX, &adr));
    TOO_MUCH(host, umem_try_calloc(host, 1, limit + 1, &adr));
    TOO_MUCH(host, umem_try_calloc(host, SIZE_MAX, 2, &adr));
    TOO_MUCH(host, umem_try_calloc(host, limit, limit, &adr));
    TOO_MUCH(host, umem_try_calloc(host, limit + 1, 2, &adr)); /* wraps to 0 */
    TOO_MUCH(host, umem_try_aligned_alloc(host, 16, limit + 1, &adr));
    assert_int_equal(adr, 77);
    assert_zero_fails(host, umem_alloc(host, limit + 1), umemMemoryError,
                      "umem_alloc(Host, 9223372036854775808 bytes): more");
    assert_zero_fails(host, umem_calloc(host, 3, SIZE_MAX / 2), umemMemoryError,
                      "umem_calloc(Host, 3 * 9223372036854775807 bytes): more");
    assert_zero_fails(host, umem_aligned_alloc(host, 16, limit + 1),
                      umemMemoryError, "umem_aligned_alloc(Host, alignment 16");
  }
}

static void alloc__without_memory_says_so_and_can_be_retried(void **state) {
  (void)state;
  for_each_host(host) {
    uintptr_t adr = 77;
    faults_install();
    faults_fail(FAULT_posix_memalign, 1, ENOMEM);
    faults_fail_from(FAULT_malloc, 1, ENOMEM);
    assert_status(umem_try_alloc(host, 10, &adr), umemMemoryError);
    assert_true(umem_alloc(host, 11) == 0);
    faults_fail_from(FAULT_malloc, 1, 0);
    assert_has(last_error(host).text,
               "umem_alloc(Host, 11 bytes): ENOMEM (12) Cannot allocate "
               "memory: 11 bytes for a block");
    assert_int_equal(last_error(host).sys_errno, ENOMEM);
    assert_status(umem_try_aligned_alloc(host, 32, 64, &adr), umemMemoryError);
    assert_has(last_error(host).text, "64 bytes for a block");
    faults_fail(FAULT_posix_memalign, 1, EINVAL); /* an absurd alignment */
    assert_true(umem_aligned_alloc(host, 32, 0) == 0);
    assert_status(last_error(host).type, umemMemoryError);
    faults_fail(FAULT_calloc, 1, ENOMEM);
    assert_status(umem_try_calloc(host, 3, 4, &adr), umemMemoryError);
    assert_has(last_error(host).text, "12 bytes for a block");
    assert_int_equal(adr, 77);
    assert_int_equal(umem_get_error_count(host), 5);
    assert_ok(umem_try_alloc(host, 10, &adr));
    assert_ok(umem_free(host, adr));
    assert_ok(umem_try_calloc(host, 10, 1, &adr));
    assert_ok(umem_free(host, adr));
    assert_ok(umem_try_aligned_alloc(host, 32, 32, &adr));
    assert_ok(umem_free(host, adr));
  }
}

static void alloc__without_room_in_the_registry_gives_back(void **state) {
  (void)state;
  uintptr_t adr = 77;
  faults_install();
  faults_fail(FAULT_malloc, 2, ENOMEM); /* the first one is the block */
  assert_fails(checked, umem_try_alloc(checked, 10, &adr), umemMemoryError,
               "for the registry of blocks");
  faults_fail(FAULT_malloc, 1, ENOMEM);
  assert_fails(checked, umem_try_calloc(checked, 10, 1, &adr), umemMemoryError,
               "for the registry of blocks");
  faults_fail(FAULT_malloc, 1, ENOMEM);
  assert_fails(checked, umem_try_aligned_alloc(checked, 16, 16, &adr),
               umemMemoryError, "for the registry of blocks");
  assert_int_equal(adr, 77);
}

#define NULL_OUT(ctx, call)                                                    \
  assert_fails(ctx, call, umemValueError, "adr_out is NULL")

static void try_alloc__needs_somewhere_to_put_the_address(void **state) {
  (void)state;
  for_each_host(host) {
    NULL_OUT(host, umem_try_alloc(host, 8, NULL));
    NULL_OUT(host, umem_try_calloc(host, 8, 8, NULL));
    NULL_OUT(host, umem_try_aligned_alloc(host, 8, 8, NULL));
    NULL_OUT(host, umem_try_aligned_alloc(host, 3, 8, NULL));
  }
}

/* Allocators that succeed and leave errno as they like. */
static void *noisy_malloc(size_t size) {
  void *block = malloc(size);
  errno = ENOSYS;
  return block;
}

static void *noisy_calloc(size_t count, size_t size) {
  void *block = calloc(count, size);
  errno = ENOSYS;
  return block;
}

static int noisy_memalign(void **out, size_t alignment, size_t size) {
  int failed = posix_memalign(out, alignment, size);
  errno = ENOSYS;
  return failed;
}

static void alloc_family__keeps_errno(void **state) {
  (void)state;
  umemi_os.malloc = noisy_malloc;
  umemi_os.calloc = noisy_calloc;
  umemi_os.posix_memalign = noisy_memalign;
  for_each_host(host) {
    errno = 1234;
    uintptr_t one = umem_alloc(host, 8), two = umem_calloc(host, 8, 1);
    uintptr_t three = umem_aligned_alloc(host, 64, 64);
    assert_int_equal(errno, 1234);
    umem_set(host, one, 0, 8);
    umem_free(host, one);
    umem_free(host, two);
    umem_free_aligned(host, three);
    umem_free(host, 0);
    assert_int_equal(errno, 1234);
    assert_true(umem_is_ok(host));
  }
}

/* --- free ---------------------------------------------------------------- */

static void free__of_zero_does_nothing(void **state) {
  (void)state;
  uintptr_t origin = 77;
  for_each_host(host) {
    assert_ok(umem_free(host, 0));
    assert_true(umem_free_aligned(host, 0) == 0);
    assert_ok(umem_try_free_aligned(host, 0, &origin));
    assert_ok(umem_try_free_aligned(host, 0, NULL));
    assert_int_equal(umem_get_error_count(host), 0);
  }
}

static void free__on_plain_hosts_takes_any_hosts_blocks(void **state) {
  (void)state;
  umemHost dead;
  assert_ok(umemHost_ctor(&dead));
  uintptr_t adr = umem_alloc(&dead, 8);
  assert_ok(umem_dtor(&dead)); /* blocks outlive their context */
  memset(bytes_at(adr), 1, 8);
  assert_ok(umem_free(plain, adr));
}

#define REFUSED(call, why) assert_fails(checked, call, umemValueError, why)

static void free__on_checked_hosts_refuses_what_is_no_live_block(void **state) {
  (void)state;
  uintptr_t adr = umem_alloc(checked, 16), foreign = umem_alloc(plain, 16);
  uintptr_t origin = 77;
  memset(bytes_at(adr), 0x5A, 16);
  REFUSED(umem_free(checked, adr + 1), "lies inside the block of 16 bytes");
  REFUSED(umem_try_free_aligned(checked, adr + 15, &origin), "lies inside");
  REFUSED(umem_free(checked, foreign), "is not a live block of this context");
  REFUSED(umem_free(checked, 1), "umem_free(Host 0x1): 0x1 is not a live");
  REFUSED(umem_free(checked, UINTPTR_MAX), "is not a live block");
  assert_zero_fails(checked, umem_free_aligned(checked, adr + 8),
                    umemValueError, "lies inside");
  assert_zero_fails(checked, umem_aligned_origin(checked, adr + 8),
                    umemValueError, "lies inside");
  assert_int_equal(origin, 77);
  assert_true(all_bytes_are(bytes_at(adr), 16, 0x5A)); /* nothing was freed */
  assert_ok(umem_try_free_aligned(checked, adr, &origin));
  assert_int_equal(origin, adr);
  REFUSED(umem_free(checked, adr), "freed already, or from elsewhere");
  assert_ok(umem_free(plain, foreign));
}

static void checked_host__tells_leaks_and_leaves_them(void **state) {
  (void)state;
  umemHost host;
  checked_host(&host);
  uintptr_t one = umem_alloc(&host, 10), two = umem_calloc(&host, 1, 20);
  uintptr_t freed = umem_alloc(&host, 40), three = umem_alloc(&host, 0);
  assert_ok(umem_free(&host, freed));
  assert_status(umem_dtor(&host), umemRuntimeError);
  assert_has(umem_get_message(&host), "umem_dtor(Host): 3 block(s) of 30 "
                                      "bytes in all were never freed, one of");
  assert_ok(umem_dtor(&host));
  memset(bytes_at(one), 1, 10);
  memset(bytes_at(two), 2, 20);
  assert_true(all_bytes_are(bytes_at(one), 10, 1));
  assert_ok(umem_free(plain, one));
  assert_ok(umem_free(plain, two));
  assert_ok(umem_free(plain, three));
}

static void aligned_origin__on_plain_hosts_is_the_address(void **state) {
  (void)state;
  assert_int_equal(umem_aligned_origin(plain, 4096), 4096);
  assert_zero_fails(plain, umem_aligned_origin(plain, 0), umemValueError,
                    "umem_aligned_origin(Host 0x0): the address is NULL");
}

#define DEAD(call) assert_fails(&dead, call, umemTypeError, "context is dead")

static void memory_calls__need_a_live_context(void **state) {
  (void)state;
  umemHost dead;
  uintptr_t adr = 77;
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  DEAD(umem_try_alloc(&dead, 1, &adr));
  DEAD(umem_try_calloc(&dead, 1, 1, &adr));
  DEAD(umem_try_aligned_alloc(&dead, 3, 1, &adr)); /* before the arguments */
  DEAD(umem_free(&dead, 0));
  DEAD(umem_try_free_aligned(&dead, 1, &adr));
  DEAD(umem_try_set(&dead, 0, 0, 1));
  DEAD(umem_set_safe(&dead, 0, 0, 0, 1));
  assert_zero_fails(&dead, umem_aligned_origin(&dead, 1), umemTypeError, "");
  assert_zero_fails(&dead, umem_alloc(&dead, 1), umemTypeError, "");
  assert_zero_fails(&dead, umem_calloc(&dead, 1, 1), umemTypeError, "");
  assert_zero_fails(&dead, umem_set(&dead, 1, 1, 1), umemTypeError, "");
  assert_int_equal(adr, 77);
}

/* --- set ----------------------------------------------------------------- */

static void set__sets_exactly_the_range_to_the_low_byte(void **state) {
  (void)state;
  static int const values[] = {0, 7, 255, 0x1FE, -1};
  unsigned char bytes[16];
  uintptr_t adr = (uintptr_t)bytes + 4;
  for_each_host(host) for (size_t i = 0; i < LENGTH(values); i++) {
    for (int form = 0; form < 3; form++) {
      memset(bytes, 0x5A, sizeof bytes);
      if (form == 0)
        assert_true(umem_set(host, adr, values[i], 8) == adr);
      else if (form == 1)
        assert_ok(umem_try_set(host, adr, values[i], 8));
      else
        assert_ok(umem_set_safe(host, adr, 9, values[i], 8));
      assert_true(all_bytes_are(bytes + 4, 8, (unsigned char)values[i]));
      assert_true(all_bytes_are(bytes, 4, 0x5A));
      assert_true(all_bytes_are(bytes + 12, 4, 0x5A));
    }
  }
}

static void set__of_no_bytes_checks_and_touches_nothing(void **state) {
  (void)state;
  unsigned char byte = 0x5A;
  for_each_host(host) {
    assert_ok(umem_try_set(host, (uintptr_t)&byte, 0, 0));
    assert_ok(umem_set_safe(host, (uintptr_t)&byte, 0, 0, 0));
    assert_ok(umem_try_set(host, 0, 0, 0));
    assert_int_equal(byte, 0x5A);
    assert_true(umem_is_ok(host));
  }
}

static void set__refuses_null_and_what_wraps(void **state) {
  (void)state;
  for_each_host(host) {
    assert_zero_fails(host, umem_set(host, 0, 5, 1), umemValueError,
                      "umem_set(Host 0x0, value 5, 1 bytes): the address is "
                      "NULL");
    assert_fails(host, umem_try_set(host, 0, 0, 1), umemValueError, "NULL");
    assert_fails(host, umem_set_safe(host, 0, 1, 0, 1), umemValueError, "NULL");
    assert_fails(host, umem_set_safe(host, 0, 0, 0, 1), umemValueError,
                 "NULL"); /* before the sizes are looked at */
    assert_zero_fails(host, umem_set(host, UINTPTR_MAX, 0, 2), umemIndexError,
                      "wraps");
    assert_fails(host, umem_try_set(host, 8, 0, SIZE_MAX), umemIndexError,
                 "exceeds PTRDIFF_MAX");
  }
}

static void set_safe__stays_within_size_and_block(void **state) {
  (void)state;
  for_each_host(host) {
    uintptr_t adr = umem_calloc(host, 16, 1);
    assert_fails(host, umem_set_safe(host, adr, 15, 1, 16), umemIndexError,
                 "16 bytes exceed the size of 15");
    assert_fails(host, umem_set_safe(host, adr, SIZE_MAX, 1, 16),
                 umemIndexError, "size 18446744073709551615 wraps");
    assert_fails(host, umem_set_safe(host, UINTPTR_MAX - 4, 9, 1, 1),
                 umemIndexError, "wraps");
    assert_true(all_bytes_are(bytes_at(adr), 16, 0));
    assert_ok(umem_set_safe(host, adr + 4, 12, 1, 12));
    assert_ok(umem_free(host, adr));
  }
  uintptr_t adr = umem_calloc(checked, 16, 1);
  assert_fails(checked, umem_set_safe(checked, adr + 4, 13, 1, 13),
               umemIndexError, "leave the block of 16 bytes");
  assert_true(all_bytes_are(bytes_at(adr), 16, 0));
  assert_ok(umem_free(checked, adr));
}

/* --- on a device --------------------------------------------------------- */

static umemVirtual ctx;
static struct fake device;

static void device_ctor(struct fakeConfig config) {
  assert_ok(fake_ctor(&ctx, &device, &config));
}

static void device_dtor(void) {
  assert_ok(umem_dtor(&ctx));
  fake_end(&device);
}

static void device__gets_what_it_can_align_and_more_is_cut_out(void **state) {
  (void)state;
  uintptr_t origin = 0;
  device_ctor((struct fakeConfig){.fundamental_align = 4, .max_align = 16});
  assert_int_equal(umem_fundamental_align(&ctx), 4);
  for (size_t alignment = 1; alignment <= 16384; alignment *= 4) {
    uintptr_t adr = umem_aligned_alloc(&ctx, alignment, 3 * alignment);
    assert_true(adr != 0);
    assert_int_equal(adr % alignment, 0);
    assert_int_equal(fake_live(&device), 1);
    struct fakeBlock block = device.blocks[0];
    assert_int_equal(umem_aligned_origin(&ctx, adr), block.adr);
    assert_int_equal(block.adr == adr, alignment <= 16);
    assert_int_equal(block.nbytes == 3 * alignment, alignment <= 16);
    assert_true(adr >= block.adr &&
                adr + 3 * alignment <= block.adr + block.nbytes);
    assert_ok(umem_try_set(&ctx, adr, 1, 3 * alignment));
    if (block.adr != adr)
      assert_fails(&ctx, umem_free(&ctx, block.adr), umemValueError,
                   "is not a live block");
    assert_ok(umem_try_free_aligned(&ctx, adr, &origin));
    assert_int_equal(origin, block.adr);
    assert_int_equal(fake_live(&device), 0);
  }
  device_dtor();
}

static void device__absurd_alignments_are_memory_errors(void **state) {
  (void)state;
  size_t const highest = SIZE_MAX / 2 + 1;
  uintptr_t adr;
  device_ctor((struct fakeConfig){.max_align = 16});
  TOO_MUCH(&ctx, umem_try_aligned_alloc(&ctx, highest, 0, &adr));
  TOO_MUCH(&ctx, umem_try_aligned_alloc(&ctx, highest / 2, highest / 2, &adr));
  assert_fails(&ctx, umem_try_aligned_alloc(&ctx, highest / 2, 0, &adr),
               umemMemoryError, "the fake is full");
  device_dtor();
}

static void device__failing_to_allocate_is_told_as_it_said(void **state) {
  (void)state;
  uintptr_t adr = 77;
  device_ctor((struct fakeConfig){.base = 0});
  fake_fail(
      &device, FAKE_ALLOC,
      &(struct fakeFault){.call = 1, .type = umemRuntimeError, .native = 999});
  assert_fails(&ctx, umem_try_alloc(&ctx, 5, &adr), umemRuntimeError,
               "umem_try_alloc(Fake, 5 bytes): the fake's alloc failed with "
               "code 999");
  assert_int_equal(last_error(&ctx).native, 999);
  fake_fail(&device, FAKE_CALLOC,
            &(struct fakeFault){.call = 1, .type = umemMemoryError});
  assert_fails(&ctx, umem_try_calloc(&ctx, 5, 1, &adr), umemMemoryError,
               "calloc failed");
  assert_int_equal(adr, 77);
  device_dtor();
}

static void device__without_registry_gets_all_addresses(void **state) {
  (void)state;
  uintptr_t adr;
  device_ctor((struct fakeConfig){.caps = UMEM_CAP_OWN_REGISTRY});
  adr = umem_aligned_alloc(&ctx, 4096, 4096);
  assert_int_equal(device.blocks[0].adr, adr); /* not cut out of a larger one */
  assert_int_equal(device.blocks[0].nbytes, 4096);
  assert_int_equal(umem_aligned_origin(&ctx, adr + 5), adr + 5);
  assert_fails(&ctx, umem_free(&ctx, adr + 5), umemValueError,
               "no block is there");
  assert_ok(umem_free(&ctx, 0));
  assert_ok(umem_free(&ctx, adr));
  device_dtor();
}

static void device__blocks_that_cannot_be_registered_go_back(void **state) {
  (void)state;
  uintptr_t adr = 77;
  device_ctor((struct fakeConfig){.base = 0});
  faults_install();
  fake_forget(&device);
  faults_fail(FAULT_malloc, 1, ENOMEM);
  assert_status(umem_try_alloc(&ctx, 5, &adr), umemMemoryError);
  assert_string_equal(fake_log(&device), "alloc free");
  faults_fail(FAULT_malloc, 1, ENOMEM);
  assert_status(umem_try_calloc(&ctx, 5, 1, &adr), umemMemoryError);
  assert_string_equal(fake_log(&device), "alloc free calloc free");
  faults_fail(FAULT_malloc, 1, ENOMEM);
  assert_status(umem_try_aligned_alloc(&ctx, 64, 64, &adr), umemMemoryError);
  assert_int_equal(fake_live(&device), 0);
  assert_int_equal(adr, 77);
  device_dtor();
}

/* A device that thinks all its memory is free. */
static umemStatusType same_again(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  (void)state, (void)nbytes, (void)alignment, (void)error;
  *adr_out = 4096;
  return umemOK;
}

static umemStatusType count_free(void *state, uintptr_t adr, size_t nbytes,
                                 umemError *error) {
  (void)adr, (void)nbytes, (void)error;
  ++*(int *)state;
  return umemOK;
}

static umemStatusType no_dtor(void *state, umemError *error) {
  (void)state, (void)error;
  return umemOK;
}

static void device__handing_out_what_is_in_use_is_found_out(void **state) {
  (void)state;
  int freed = 0;
  uintptr_t adr = 77;
  struct umemVtbl vtbl = fake_vtbl(&(struct fakeConfig){.base = 0});
  vtbl.alloc = same_again;
  vtbl.free = count_free;
  vtbl.dtor = no_dtor;
  assert_ok(umemVirtual_ctor_ex(&ctx, &vtbl, &freed));
  assert_int_equal(umem_alloc(&ctx, 64), 4096);
  assert_fails(&ctx, umem_try_alloc(&ctx, 64, &adr), umemRuntimeError,
               "the device handed out 0x1000, which is in use already");
  assert_int_equal(adr, 77);
  assert_int_equal(freed, 0); /* or the first one's memory would be gone */
  assert_ok(umem_dtor(&ctx));
  assert_int_equal(freed, 1);
}

static void device__calloc_is_made_of_alloc_and_write(void **state) {
  (void)state;
  struct fakeConfig const configs[] = {
      {.without = 1u << FAKE_CALLOC | FAKE_VIEWS},
      {.declines = 1u << FAKE_CALLOC | 1u << FAKE_VIEW_BEGIN}};
  char const *const logs[] = {"alloc write", "calloc alloc view_begin write"};
  for (size_t i = 0; i < LENGTH(configs); i++) {
    device_ctor(configs[i]);
    uintptr_t adr = umem_calloc(&ctx, 10, 10);
    assert_true(all_bytes_are(fake_at(&device, adr), 100, 0));
    assert_string_equal(fake_log(&device), logs[i]);
    assert_ok(umem_free(&ctx, adr));
    assert_true(umem_calloc(&ctx, 0, 10) != 0);
    fake_fail(&device, FAKE_WRITE,
              &(struct fakeFault){.call = 1, .type = umemIOError});
    assert_fails(&ctx, umem_try_calloc(&ctx, 1, 9, &adr), umemIOError,
                 "umem_try_calloc(Fake, 1 * 9 bytes): the fake's write failed");
    fake_fail(&device, FAKE_ALLOC,
              &(struct fakeFault){.call = 1, .type = umemMemoryError});
    assert_fails(&ctx, umem_try_calloc(&ctx, 1, 9, &adr), umemMemoryError,
                 "alloc failed");
    assert_int_equal(fake_live(&device), 1);
    device_dtor();
  }
}

static void device__set_goes_through_a_view(void **state) {
  (void)state;
  device_ctor((struct fakeConfig){.base = 0});
  uintptr_t adr = umem_calloc(&ctx, 100, 1);
  fake_forget(&device);
  assert_true(umem_set(&ctx, adr + 10, 5, 80) == adr + 10);
  assert_has(fake_log(&device), "view_begin view_end");
  assert_int_equal(device.calls[FAKE_WRITE], 0);
  assert_true(all_bytes_are(fake_at(&device, adr), 10, 0));
  assert_true(all_bytes_are(fake_at(&device, adr + 10), 80, 5));
  assert_true(all_bytes_are(fake_at(&device, adr + 90), 10, 0));
  struct fakeFault const fault = {.call = 1, .type = umemIOError};
  fake_fail(&device, FAKE_VIEW_BEGIN, &fault);
  assert_fails(&ctx, umem_try_set(&ctx, adr, 7, 9), umemIOError, "view_begin");
  assert_true(all_bytes_are(fake_at(&device, adr), 10, 0));
  fake_fail(&device, FAKE_VIEW_END, &fault);
  assert_fails(&ctx, umem_try_set(&ctx, adr, 7, 9), umemIOError, "view_end");
  assert_int_equal(last_error(&ctx).bytes_done, 0);
  fake_fail(&device, FAKE_CHECK, &fault);
  fake_forget(&device);
  assert_fails(&ctx, umem_try_set(&ctx, adr, 7, 9), umemIOError, "check");
  assert_string_equal(fake_log(&device), "check"); /* and nothing after it */
  device_dtor();
}

static void device__set_writes_chunk_by_chunk(void **state) {
  (void)state;
  size_t const chunk = 1 << 20, n = 3 * chunk + 5;
  device_ctor((struct fakeConfig){.without = FAKE_VIEWS});
  uintptr_t adr = umem_calloc(&ctx, n, 1);
  faults_install();
  fake_forget(&device);
  assert_ok(umem_try_set(&ctx, adr + 1, 5, n - 2));
  assert_int_equal(device.calls[FAKE_WRITE], 4);
  assert_int_equal(faults_largest_allocation(), 0); /* but slots */
  assert_true(all_bytes_are(fake_at(&device, adr + 1), n - 2, 5));
  assert_int_equal(*fake_at(&device, adr), 0);
  assert_int_equal(*fake_at(&device, adr + n - 1), 0);
  fake_fail(&device, FAKE_WRITE,
            &(struct fakeFault){.call = 3, .type = umemIOError, .moved = 100});
  assert_status(umem_try_set(&ctx, adr, 9, n), umemIOError);
  assert_int_equal(last_error(&ctx).bytes_done, 2 * chunk + 100);
  assert_true(all_bytes_are(fake_at(&device, adr), 2 * chunk + 100, 9));
  assert_int_equal(*fake_at(&device, adr + 2 * chunk + 100), 5);
  fake_forget(&device);
  faults_limit_memory(0);
  assert_status(umem_try_set(&ctx, adr, 1, n), umemMemoryError);
  assert_has(last_error(&ctx).text, "65536 bytes for staging");
  assert_int_equal(last_error(&ctx).bytes_done, 0);
  assert_int_equal(device.calls[FAKE_WRITE], 0);
  device_dtor();
}

static void device__block_is_gone_even_if_free_fails(void **state) {
  (void)state;
  uintptr_t origin = 77;
  device_ctor((struct fakeConfig){.base = 0});
  uintptr_t adr = umem_alloc(&ctx, 5);
  fake_fail(&device, FAKE_FREE,
            &(struct fakeFault){.call = 1, .type = umemRuntimeError});
  assert_fails(&ctx, umem_try_free_aligned(&ctx, adr, &origin),
               umemRuntimeError, "the fake's free failed");
  assert_int_equal(origin, 77);
  assert_fails(&ctx, umem_free(&ctx, adr), umemValueError, "freed already");
  assert_int_equal(device.calls[FAKE_FREE], 1);
  device_dtor();
}

static void dtor__frees_all_blocks_and_tells_the_first_failure(void **state) {
  (void)state;
  for (unsigned failing = 0; failing < 2; failing++) {
    device_ctor((struct fakeConfig){.base = 0});
    for (size_t i = 0; i < 5; i++)
      assert_true(umem_alloc(&ctx, i) != 0);
    struct fakeFault fault = {
        .call = 3 * failing, .type = umemIOError, .native = 1};
    fake_fail(&device, FAKE_FREE, &fault);
    fault =
        (struct fakeFault){.call = 1, .type = umemRuntimeError, .native = 2};
    fake_fail(&device, FAKE_DTOR, &fault);
    assert_status(umem_dtor(&ctx), failing ? umemIOError : umemRuntimeError);
    assert_has(umem_get_message(&ctx),
               failing ? "free failed with code 1" : "dtor failed with code 2");
    assert_int_equal(device.calls[FAKE_FREE], 5);
    assert_ok(umem_dtor(&ctx));
    fake_end(&device);
  }
}

static void dtor__leaves_blocks_that_outlive_the_context(void **state) {
  (void)state;
  device_ctor((struct fakeConfig){.caps = UMEM_CAP_BLOCKS_OUTLIVE});
  assert_true(umem_alloc(&ctx, 7) != 0);
  assert_status(umem_dtor(&ctx), umemRuntimeError);
  assert_slot(&ctx, umemRuntimeError, "1 block(s) of 7 bytes in all were");
  assert_int_equal(device.calls[FAKE_FREE], 0);
  assert_int_equal(fake_live(&device), 1);
  fake_end(&device);
}

#define host_test(f)                                                           \
  cmocka_unit_test_setup_teardown(f, hosts_setup, hosts_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      host_test(alloc__gives_memory_of_its_own),
      host_test(alloc__of_no_bytes_is_unique_and_not_zero),
      host_test(calloc__is_zeroed),
      host_test(aligned_alloc__is_aligned_and_its_own_origin),
      host_test(aligned_alloc__refuses_with_fixed_texts),
      host_test(alloc__of_too_much_is_a_memory_error),
      host_test(alloc__without_memory_says_so_and_can_be_retried),
      host_test(alloc__without_room_in_the_registry_gives_back),
      host_test(try_alloc__needs_somewhere_to_put_the_address),
      host_test(alloc_family__keeps_errno),
      host_test(free__of_zero_does_nothing),
      host_test(free__on_plain_hosts_takes_any_hosts_blocks),
      host_test(free__on_checked_hosts_refuses_what_is_no_live_block),
      host_test(checked_host__tells_leaks_and_leaves_them),
      host_test(aligned_origin__on_plain_hosts_is_the_address),
      faulty_test(memory_calls__need_a_live_context),
      host_test(set__sets_exactly_the_range_to_the_low_byte),
      host_test(set__of_no_bytes_checks_and_touches_nothing),
      host_test(set__refuses_null_and_what_wraps),
      host_test(set_safe__stays_within_size_and_block),
      faulty_test(device__gets_what_it_can_align_and_more_is_cut_out),
      faulty_test(device__absurd_alignments_are_memory_errors),
      faulty_test(device__failing_to_allocate_is_told_as_it_said),
      faulty_test(device__without_registry_gets_all_addresses),
      faulty_test(device__blocks_that_cannot_be_registered_go_back),
      faulty_test(device__handing_out_what_is_in_use_is_found_out),
      faulty_test(device__calloc_is_made_of_alloc_and_write),
      faulty_test(device__set_goes_through_a_view),
      faulty_test(device__set_writes_chunk_by_chunk),
      faulty_test(device__block_is_gone_even_if_free_fails),
      faulty_test(dtor__frees_all_blocks_and_tells_the_first_failure),
      faulty_test(dtor__leaves_blocks_that_outlive_the_context),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
