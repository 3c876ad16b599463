/* SPDX-License-Identifier: BSD-3-Clause */
/* Contexts: their lives, kinds and options, and questions about them. */
#include "core.h"

#include "internal.h"

_Static_assert(sizeof(umemVirtual) == 128, "for ever");
_Static_assert(sizeof(umemHost) == 128, "super and nothing else");
_Static_assert(sizeof(umemFile) == 128, "super and nothing else");
_Static_assert(sizeof(umemCuda) == 128, "super and nothing else");
_Static_assert(sizeof(umemCudaHost) == 128, "super and nothing else");
_Static_assert(sizeof(umemCudaManaged) == 128, "super and nothing else");
_Static_assert(sizeof(umemOpenCL) == 128, "super and nothing else");
_Static_assert(sizeof(umemContext) == 128, "any of them");
_Static_assert(sizeof(umemError) == 64 + 480, "frozen");
_Static_assert(offsetof(umemError, text) == 64, "frozen");
#if UINTPTR_MAX > UINT32_MAX
_Static_assert(offsetof(umemError, size) == 0, "frozen");
_Static_assert(offsetof(umemError, type) == 8, "frozen");
_Static_assert(offsetof(umemError, sys_errno) == 12, "frozen");
_Static_assert(offsetof(umemError, native) == 16, "frozen");
_Static_assert(offsetof(umemError, bytes_done) == 24, "frozen");
_Static_assert(offsetof(umemError, reserved) == 32, "frozen");
#endif

/* Any operation, as a probe of whether the context is live. */
static umemStatusType use(void const *ctx) {
  uintptr_t adr;
  umemStatusType status = umem_try_alloc(ctx, 1, &adr);
  if (status == umemOK)
    assert_ok(umem_free(ctx, adr));
  return status;
}

static void expect_live(void const *ctx) {
  assert_ok(use(ctx));
  assert_true(umem_is_ok(ctx));
}

static uint64_t id_of(void const *ctx) {
  return umemi_context(ctx)->id;
}

/* --- life ---------------------------------------------------------------- */

static void constructor__does_not_read_its_memory(void **state) {
  (void)state;
  umemHost host, other;
  unsigned char const fills[] = {0x00, 0xFF, 0x5A, 0xA5};
  for (size_t i = 0; i < LENGTH(fills); i++) {
    memset(&host, fills[i], sizeof host);
    assert_ok(umemHost_ctor(&host));
    expect_live(&host);
    assert_ok(umem_dtor(&host));
  }
  assert_ok(umemHost_ctor(&host));
  fail_once(&host);
  memcpy(&other, &host, sizeof host); /* the image of a live one */
  assert_ok(umemHost_ctor(&other));
  expect_live(&other);
  assert_int_equal(umem_get_error_count(&other), 0);
  assert_ok(umem_dtor(&host));
  assert_ok(umem_dtor(&other));
}

static void constructor__works_on_fresh_heap_memory(void **state) {
  (void)state;
  umemContext *contexts = malloc(3 * sizeof *contexts);
  assert_non_null(contexts);
  assert_ok(umemHost_ctor(&contexts[0].host));
  assert_ok(umemVirtual_ctor(&contexts[1].super, &contexts[0].host));
  assert_status(umemCuda_ctor(&contexts[2].cuda, 0), umemNotSupportedError);
  expect_live(&contexts[0]);
  for (size_t i = 0; i < 3; i++)
    assert_ok(umem_dtor(&contexts[i]));
  free(contexts);
}

static void constructor__of_null_is_a_value_error(void **state) {
  (void)state;
  umemHost host;
  struct umemVtbl vtbl = {.size = sizeof vtbl};
  assert_ok(umemHost_ctor(&host));
  assert_status(umemHost_ctor(NULL), umemValueError);
  assert_status(umemHost_ctor_ex(NULL, NULL), umemValueError);
  assert_status(umemFile_ctor(NULL, "x", "r"), umemValueError);
  assert_status(umemFile_ctor_ex(NULL, "x", "r", NULL), umemValueError);
  assert_status(umemCuda_ctor(NULL, 0), umemValueError);
  assert_status(umemVirtual_ctor(NULL, &host), umemValueError);
  assert_status(umemVirtual_ctor_ex(NULL, &vtbl, NULL), umemValueError);
  assert_ok(umem_dtor(&host));
}

static void ids__are_never_reused(void **state) {
  (void)state;
  umemHost host;
  umemCuda cuda;
  uint64_t last = 0;
  for (int i = 0; i < 100; i++) {
    assert_ok(umemHost_ctor(&host));
    assert_true(id_of(&host) > last);
    last = id_of(&host);
    assert_ok(umem_dtor(&host));
    assert_int_equal(id_of(&host), last); /* the dead keep theirs */
    assert_status(umemCuda_ctor(&cuda, 0), umemNotSupportedError);
    assert_true(id_of(&cuda) > last);
    last = id_of(&cuda);
    assert_ok(umem_dtor(&cuda));
  }
}

static void dtor__makes_a_context_dead_and_may_be_repeated(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umem_dtor(&host));
  for (int i = 0; i < 3; i++) {
    assert_ok(umem_dtor(&host));
    assert_true(umem_is_ok(&host));
  }
  assert_fails(&host, use(&host), umemTypeError,
               "umem_try_alloc(Host, 1 bytes): context is dead");
  assert_ok(umem_dtor(&host));
}

static void dtor__of_what_is_no_context_is_ok_and_writes_nothing(void **state) {
  (void)state;
  umemContext none;
  unsigned char const fills[] = {0x00, 0xFF, 0x5A};
  assert_ok(umem_dtor(NULL));
  assert_ok(umemVirtual_dtor(NULL));
  for (size_t i = 0; i < LENGTH(fills); i++) {
    memset(&none, fills[i], sizeof none);
    assert_ok(umem_dtor(&none));
    assert_status(use(&none), umemTypeError);
    assert_true(all_bytes_are(&none, sizeof none, fills[i]));
  }
}

static void copies_by_value__are_not_contexts(void **state) {
  (void)state;
  umemHost host, copy;
  assert_ok(umemHost_ctor(&host));
  copy = host;
  assert_status(use(&copy), umemTypeError);
  assert_status(umem_copy_to(&copy, 0, &host, 0, 0), umemTypeError);
  assert_slot(&host, umemTypeError,
              "source context is not a context: zeroed, "
              "copied by value");
  assert_string_equal(umem_get_device_name(&copy), "UnknownDevice");
  assert_ok(umem_dtor(&copy));
  expect_live(&host);
  assert_ok(umem_dtor(&host));
  copy = host; /* neither are those of the dead */
  assert_status(umem_get_status(&copy), umemTypeError);
}

static void
failed_context__answers_type_errors_and_may_be_destroyed(void **state) {
  (void)state;
  umemFile file;
  assert_status(umemFile_ctor(&file, "", "r"), umemValueError);
  assert_slot(&file, umemValueError, "invalid 0-length filename");
  assert_fails(&file, use(&file), umemTypeError, "context failed to construct");
  assert_fails(&file, umem_flush(&file), umemTypeError, "failed to construct");
  assert_fails(&file, umem_discard(&file), umemTypeError, "failed to");
  assert_string_equal(umem_get_device_name(&file), "UnknownDevice");
  assert_slot(&file, umemTypeError,
              "umem_get_device_name(File): context failed");
  assert_true(umem_fundamental_align(&file) == 0);
  assert_ok(umem_dtor(&file));
  assert_true(umem_is_ok(&file));
  assert_fails(&file, use(&file), umemTypeError, "context is dead");
  assert_ok(umem_dtor(&file));
}

/* --- Virtual ------------------------------------------------------------- */

#define NOT_IMPLEMENTED(call)                                                  \
  assert_fails(&ctx, call, umemNotImplementedError, "")

static void virtual__implements_nothing(void **state) {
  (void)state;
  umemHost host;
  umemVirtual ctx;
  uintptr_t adr;
  char buffer[8];
  uintptr_t here = (uintptr_t)buffer;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemVirtual_ctor(&ctx, &host));
  NOT_IMPLEMENTED(umem_try_alloc(&ctx, 8, &adr));
  NOT_IMPLEMENTED(umem_try_alloc(&ctx, 0, &adr));
  NOT_IMPLEMENTED(umem_try_calloc(&ctx, 8, 1, &adr));
  NOT_IMPLEMENTED(umem_try_aligned_alloc(&ctx, 8, 8, &adr));
  NOT_IMPLEMENTED(umem_free(&ctx, 8));
  NOT_IMPLEMENTED(umem_free(&ctx, 0));
  NOT_IMPLEMENTED(umem_try_free_aligned(&ctx, 8, &adr));
  NOT_IMPLEMENTED(umem_try_set(&ctx, 8, 0, 8));
  NOT_IMPLEMENTED(umem_set_safe(&ctx, 8, 8, 0, 0));
  NOT_IMPLEMENTED(umem_copy_to(&ctx, 8, &host, here, 8));
  NOT_IMPLEMENTED(umem_copy_from(&ctx, 8, &host, here, 0));
  NOT_IMPLEMENTED(umem_copy_to_safe(&host, here, 8, &ctx, 8, 8, 8));
  NOT_IMPLEMENTED(umem_sync_to(&ctx, 8, &ctx, 16, 8));
  NOT_IMPLEMENTED(umem_try_connect(&ctx, 8, 8, &host, 0, &adr));
  NOT_IMPLEMENTED(umem_try_connect(&host, here, 8, &ctx, 0, &adr));
  NOT_IMPLEMENTED(umem_flush(&ctx));
  NOT_IMPLEMENTED(umem_discard(&ctx));
  assert_true(umem_aligned_origin(&ctx, 8) == 0);
  assert_slot(&ctx, umemNotImplementedError, "a Virtual context has no meth");
  assert_string_equal(umem_get_device_name(&ctx), "Virtual");
  assert_int_equal(umem_fundamental_align(&ctx), 1);
  assert_ok(umemVirtual_dtor(&ctx));
  assert_ok(umem_clean_status(&host));
  expect_live(&host); /* was borrowed */
  assert_ok(umem_dtor(&host));
}

static void virtual__without_a_host_has_no_methods(void **state) {
  (void)state;
  umemVirtual ctx;
  assert_ok(umemVirtual_ctor(&ctx, NULL));
  assert_fails(&ctx, use(&ctx), umemNotImplementedError, "no methods");
  assert_ok(umemVirtual_dtor(&ctx));
}

static void virtual__refuses_a_host_that_is_not_live(void **state) {
  (void)state;
  umemHost host, dead;
  umemVirtual ctx, other;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  assert_ok(umemVirtual_ctor(&other, &host));
  assert_fails(&ctx, umemVirtual_ctor(&ctx, &dead), umemTypeError,
               "host context is dead");
  assert_fails(&ctx, umemVirtual_ctor(&ctx, (umemHost *)&other), umemTypeError,
               "host is a Virtual context, not a Host");
  assert_fails(&ctx, use(&ctx), umemTypeError, "failed to construct");
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&host));
}

/* --- Cuda ---------------------------------------------------------------- */

static void *no_library(char const *name, int flags) {
  (void)name, (void)flags;
  return NULL;
}

static void cuda__is_told_to_be_missing_by_its_constructor(void **state) {
  (void)state;
  umemCuda cuda;
  umemi_os.dlopen = no_library;
  assert_status(umemCuda_ctor(&cuda, 3), umemNotSupportedError);
  umemError last = last_error(&cuda);
  assert_has(last.text, "umemCuda_ctor(device 3)");
  assert_has(last.text, "libcuda.so.1 was not found");
  assert_int_equal(last.native, 0); /* no driver gave a code */
  assert_slot(&cuda, umemNotSupportedError, last.text);
  assert_fails(&cuda, use(&cuda), umemTypeError, "failed to construct");
  assert_ok(umem_dtor(&cuda));
}

/* --- checked mode and options -------------------------------------------- */

/* A Host in checked mode knows that it never handed this address out. */
static bool is_checked(umemHost const *host) {
  char local;
  bool known = umem_aligned_origin(host, (uintptr_t)&local) != 0;
  assert_status(umem_get_status(host), known ? umemOK : umemValueError);
  assert_ok(umem_clean_status(host));
  return !known;
}

static bool ctor_is_checked(umemHostOptions const *options) {
  umemHost host;
  assert_ok(umemHost_ctor_ex(&host, options));
  bool checked = is_checked(&host);
  assert_ok(umem_dtor(&host));
  return checked;
}

static void checked_mode__is_read_by_each_constructor(void **state) {
  (void)state;
  static struct {
    char const *value;
    bool checked;
  } const cases[] = {{"1", true},   {"0", false},  {"", false},
                     {"2", false},  {"11", false}, {"true", false},
                     {" 1", false}, {NULL, false}};
  umemHostOptions options = {.size = sizeof options, .checked = 1};
  umemHost before, host;
  assert_int_equal(unsetenv("UMEM_CHECKED"), 0);
  assert_ok(umemHost_ctor(&before));
  for (size_t i = 0; i < LENGTH(cases); i++) {
    if (cases[i].value)
      assert_int_equal(setenv("UMEM_CHECKED", cases[i].value, 1), 0);
    else
      assert_int_equal(unsetenv("UMEM_CHECKED"), 0);
    assert_ok(umemHost_ctor(&host));
    assert_int_equal(is_checked(&host), cases[i].checked);
    assert_ok(umem_dtor(&host));
    options.checked = 0;
    assert_int_equal(ctor_is_checked(&options), cases[i].checked);
    assert_int_equal(ctor_is_checked(NULL), cases[i].checked);
    options.checked = 1;
    assert_true(ctor_is_checked(&options));
    assert_false(is_checked(&before)); /* fixed for life */
  }
  assert_ok(umem_dtor(&before));
}

static void options__may_be_shorter_or_longer(void **state) {
  (void)state;
  struct {
    umemHostOptions known;
    unsigned char more[48];
  } options = {.known = {.checked = 1}};
  options.known.size = sizeof(size_t); /* shorter: the rest is 0 */
  assert_false(ctor_is_checked(&options.known));
  options.known.size = sizeof options.known;
  assert_true(ctor_is_checked(&options.known));
  options.known.size = sizeof options; /* longer: the excess is 0 */
  assert_true(ctor_is_checked(&options.known));
  umemHost host;
  options.more[47] = 1;
  assert_fails(&host, umemHost_ctor_ex(&host, &options.known),
               umemNotSupportedError, "byte 79 of the struct is set");
  assert_ok(umem_dtor(&host));
  options.known.size = sizeof options - 1;
  assert_true(ctor_is_checked(&options.known));
}

static void options__of_impossible_sizes_and_values_are_refused(void **state) {
  (void)state;
  umemHost host;
  umemHostOptions options = {.checked = 0};
  size_t const sizes[] = {0, 1, sizeof(size_t) - 1, SIZE_MAX};
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    options.size = sizes[i];
    assert_fails(&host, umemHost_ctor_ex(&host, &options), umemValueError,
                 "umemHost_ctor_ex: size member is");
    assert_ok(umem_dtor(&host));
  }
  options.size = sizeof options;
  int const values[] = {2, -1, INT32_MAX, INT32_MIN};
  for (size_t i = 0; i < LENGTH(values); i++) {
    options.checked = values[i];
    assert_fails(&host, umemHost_ctor_ex(&host, &options), umemValueError,
                 "must be 0 or 1");
    assert_ok(umem_dtor(&host));
  }
}

/* --- questions ----------------------------------------------------------- */

static void same_device__is_one_kind_in_one_space(void **state) {
  (void)state;
  umemHost plain, checked;
  umemVirtual one, other;
  assert_ok(umemHost_ctor(&plain));
  checked_host(&checked);
  assert_ok(umemVirtual_ctor(&one, &plain));
  assert_ok(umemVirtual_ctor(&other, &plain));
  assert_true(umem_is_same_device(&plain, &plain));
  assert_true(umem_is_same_device(&plain, &checked));
  assert_true(umem_is_same_device(&one, &one));
  assert_false(umem_is_same_device(&one, &other));
  assert_false(umem_is_same_device(&one, &plain));
  assert_false(umem_is_same_device(&plain, &one));
  assert_true(umem_is_accessible_from(&checked, &plain));
  assert_false(umem_is_accessible_from(&one, &other));
  assert_false(umem_is_accessible_from(&plain, &one));
  assert_true(umem_is_ok(&one)); /* a "no" is no failure */
  assert_ok(umem_dtor(&one));
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&plain));
  assert_ok(umem_dtor(&checked));
}

static void same_device__of_files_goes_by_inode_not_by_name(void **state) {
  (void)state;
  umemHost host;
  umemFile file, link_to_it, other;
  char dotted[600];
  snprintf(dotted, sizeof dotted, "%s/./one", temp_dir());
  file_put(temp_path("one"), "1", 1);
  file_put(temp_path("other"), "2", 1);
  assert_int_equal(link(temp_path("one"), temp_path("link")), 0);
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemFile_ctor(&file, dotted, "r"));
  assert_ok(umemFile_ctor(&link_to_it, temp_path("link"), "r+"));
  assert_ok(umemFile_ctor(&other, temp_path("other"), "r"));
  assert_true(umem_is_same_device(&file, &link_to_it));
  assert_true(umem_is_accessible_from(&link_to_it, &file));
  assert_false(umem_is_accessible_from(&file, &link_to_it)); /* may write */
  assert_false(umem_is_same_device(&file, &other));
  assert_false(umem_is_accessible_from(&file, &other));
  assert_false(umem_is_same_device(&file, &host));
  assert_false(umem_is_accessible_from(&file, &host));
  assert_false(umem_is_accessible_from(&host, &file));
  assert_ok(umem_dtor(&file));
  assert_ok(umem_dtor(&link_to_it));
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&host));
}

static void accessible_from__is_not_symmetric(void **state) {
  (void)state;
  umemHost host;
  umemVirtual ctx;
  struct fake device;
  assert_ok(umemHost_ctor(&host));
  assert_ok(fake_ctor(&ctx, &device, &(struct fakeConfig){.in_process = true}));
  assert_true(umem_is_accessible_from(&ctx, &host));
  assert_false(umem_is_accessible_from(&host, &ctx));
  assert_false(umem_is_same_device(&host, &ctx));
  assert_ok(umem_dtor(&ctx));
  fake_end(&device);
  assert_ok(umem_dtor(&host));
}

static void questions__about_what_is_not_live_are_type_errors(void **state) {
  (void)state;
  umemHost host, dead;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  assert_false(umem_is_same_device(&host, NULL));
  assert_slot(&host, umemTypeError, "second context is NULL");
  assert_false(umem_is_same_device(NULL, &host));
  assert_slot(&host, umemTypeError, "first context is NULL");
  assert_false(umem_is_accessible_from(&dead, &host));
  assert_slot(&host, umemTypeError, "first context is dead");
  assert_slot(&dead, umemTypeError, "first context is dead");
  assert_false(umem_is_accessible_from(NULL, NULL));
  assert_true(umem_fundamental_align(NULL) == 0);
  assert_string_equal(umem_get_device_name(NULL), "UnknownDevice");
  assert_ok(umem_dtor(&host));
}

static void device_names__are_bare(void **state) {
  (void)state;
  static struct {
    int type;
    char const *name;
  } const cases[] = {{umemVirtualDevice, "Virtual"},
                     {umemHostDevice, "Host"},
                     {umemFileDevice, "File"},
                     {umemCudaDevice, "Cuda"},
                     {umemCudaHostDevice, "CudaHost"},
                     {umemCudaManagedDevice, "CudaManaged"},
                     {umemMMapDevice, "MMap"},
                     {7, "UnknownDevice"},
                     {15, "UnknownDevice"},
                     {umemShmDevice, "Shm"},
                     {umemOpenCLDevice, "OpenCL"},
                     {18, "UnknownDevice"},
                     {umemForeignDevice, "UnknownDevice"},
                     {INT32_MAX, "UnknownDevice"},
                     {-1, "UnknownDevice"}};
  umemHost host;
  for (size_t i = 0; i < LENGTH(cases); i++)
    assert_string_equal(
        umem_get_device_name_from_type((umemDeviceType)cases[i].type),
        cases[i].name);
  assert_ok(umemHost_ctor(&host));
  assert_string_equal(umem_get_device_name(&host), "Host");
  assert_ok(umem_dtor(&host));
}

static void numbers__are_part_of_the_abi(void **state) {
  (void)state;
  assert_int_equal(umemOK, 0);
  assert_int_equal(umemAssertError, 9);
  assert_int_equal(umemMMapDevice, 6);
  assert_int_equal(umemShmDevice, 16);
  assert_int_equal(umemOpenCLDevice, 17);
  assert_int_equal(umemForeignDevice, 1024);
  assert_int_equal(umem_version(), UMEM_VERSION);
}

static void ispowerof2__knows_all_powers(void **state) {
  (void)state;
  assert_false(umem_ispowerof2(0));
  for (size_t x = 1; x; x <<= 1) {
    assert_true(umem_ispowerof2(x));
    if (x > 2) {
      assert_false(umem_ispowerof2(x - 1));
      assert_false(umem_ispowerof2(x + 1));
    }
  }
  assert_false(umem_ispowerof2(SIZE_MAX));
}

static void fundamental_align__is_that_of_every_block(void **state) {
  (void)state;
  umemHost host;
  umemFile file;
  assert_ok(umemHost_ctor(&host));
  assert_int_equal(umem_fundamental_align(&host), _Alignof(max_align_t));
  for (size_t n = 0; n < 40; n++) {
    uintptr_t adr = umem_alloc(&host, n);
    assert_int_equal(adr % umem_fundamental_align(&host), 0);
    assert_ok(umem_free(&host, adr));
  }
  assert_ok(umemFile_ctor(&file, temp_path("align"), "w"));
  assert_int_equal(umem_fundamental_align(&file), 1);
  assert_ok(umem_dtor(&file));
  assert_ok(umem_dtor(&host));
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(constructor__does_not_read_its_memory),
      cmocka_unit_test(constructor__works_on_fresh_heap_memory),
      cmocka_unit_test(constructor__of_null_is_a_value_error),
      cmocka_unit_test(ids__are_never_reused),
      cmocka_unit_test(dtor__makes_a_context_dead_and_may_be_repeated),
      cmocka_unit_test(dtor__of_what_is_no_context_is_ok_and_writes_nothing),
      cmocka_unit_test(copies_by_value__are_not_contexts),
      cmocka_unit_test(
          failed_context__answers_type_errors_and_may_be_destroyed),
      cmocka_unit_test(virtual__implements_nothing),
      cmocka_unit_test(virtual__without_a_host_has_no_methods),
      cmocka_unit_test(virtual__refuses_a_host_that_is_not_live),
      faulty_test(cuda__is_told_to_be_missing_by_its_constructor),
      cmocka_unit_test(checked_mode__is_read_by_each_constructor),
      cmocka_unit_test(options__may_be_shorter_or_longer),
      cmocka_unit_test(options__of_impossible_sizes_and_values_are_refused),
      cmocka_unit_test(same_device__is_one_kind_in_one_space),
      cmocka_unit_test(same_device__of_files_goes_by_inode_not_by_name),
      cmocka_unit_test(accessible_from__is_not_symmetric),
      cmocka_unit_test(questions__about_what_is_not_live_are_type_errors),
      cmocka_unit_test(device_names__are_bare),
      cmocka_unit_test(numbers__are_part_of_the_abi),
      cmocka_unit_test(ispowerof2__knows_all_powers),
      cmocka_unit_test(fundamental_align__is_that_of_every_block),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
