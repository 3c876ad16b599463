/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of CUDA devices, as its users meet it: on whatever libcuda.so.1 there
 * is, and in processes of their own where the whole process matters (main() has
 * their roles). What only the simulated driver can show is skipped on a real
 * one; the rules of CUDA that nobody sees are in test_cuda_rules.c.
 */
#include "rig.h"

#include <inttypes.h>
#include <limits.h>
#include <sys/wait.h>

static umemCuda ours;
static uintptr_t our_block;

/* --- support -------------------------------------------------------------- */

static int device_count(void) {
  return (int)umem_device_count(umemCudaDevice);
}

static void need_two_devices(void) {
  if (device_count() < 2) {
    print_message("there is one CUDA device only\n");
    skip();
  }
}

/* What the simulation calls a violation was meant, and at least one. */
static void forgive(void) {
  if (!is_simulated())
    return;
  assert_true(client.sim.violations() > 0);
  client.sim.forget();
}

static void open_device(umemCuda *ctx, int device) {
  if (umemCuda_ctor(ctx, device) != umemOK)
    fail_msg("%s", umem_get_message(ctx));
}

static umemStatusType try_flags(umemCuda *ctx, uint32_t flags) {
  umemCudaOptions options = {.size = sizeof options, .flags = flags};
  return umemCuda_ctor_ex(ctx, 0, &options);
}

static void put(void const *ctx, uintptr_t adr, void const *bytes,
                size_t nbytes) {
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, ctx, adr, nbytes));
}

static void assert_holds(void const *ctx, uintptr_t adr, void const *bytes,
                         size_t nbytes) {
  unsigned char *got = malloc(nbytes + 1);
  assert_non_null(got);
  assert_ok(umem_copy_to(ctx, adr, &host, (uintptr_t)got, nbytes));
  bool same = memcmp(got, bytes, nbytes) == 0;
  free(got);
  assert_true(same);
}

/* `told` is what a construction came to; the context is good for nothing. */
static void assert_no_context(void const *ctx, umemStatusType told,
                              umemStatusType expected, char const *part) {
  uintptr_t adr;
  assert_status(told, expected);
  assert_slot(ctx, expected, part);
  assert_status(umem_try_alloc(ctx, 8, &adr), umemTypeError);
  assert_ok(umem_dtor(ctx));
}

/* The loader takes the last LD_LIBRARY_PATH there is, and not the first. */
static void assert_role_succeeds_with(char const *path, char const *role) {
  char const *now = getenv("LD_LIBRARY_PATH");
  char before[1024];
  snprintf(before, sizeof before, "%s", now ? now : "");
  assert_int_equal(setenv("LD_LIBRARY_PATH", path, 1), 0);
  char told[4096];
  int status = run_again(role, NULL, told, sizeof told);
  setenv("LD_LIBRARY_PATH", before, 1);
  if (status != 0)
    fail_msg("%s, %s: status %d\n%s", role, path, status, told);
}

/* The simulation's other variants are beside it. */
static void in_variant(char const *suffix, char const *role) {
  char path[900], file[1024];
  need_simulation();
  char const *now = getenv("LD_LIBRARY_PATH");
  snprintf(path, sizeof path, "%.800s%s", now ? now : "", suffix);
  snprintf(file, sizeof file, "%s/libcuda.so.1", path);
  if (!file_exists(file)) {
    print_message("there is no %s\n", file);
    skip();
  }
  assert_role_succeeds_with(path, role);
}

/* --- construct ------------------------------------------------------------ */

static void ctor__of_bad_numbers_says_how_many_there_are(void **state) {
  (void)state;
  int const bad[] = {-1, INT_MIN, 1000, INT_MAX, device_count()};
  char call[64], text[64];
  umemCuda ctx;
  snprintf(text, sizeof text, "there are %d CUDA devices", device_count());
  for (size_t i = 0; i < LENGTH(bad); i++) {
    snprintf(call, sizeof call, "umemCuda_ctor(device %d)", bad[i]);
    assert_status(umemCuda_ctor(&ctx, bad[i]), umemIndexError);
    assert_has(umem_get_message(&ctx), call);
    assert_no_context(&ctx, umemIndexError, umemIndexError, text);
  }
}

static void ctor__of_unknown_flags_is_a_value_error(void **state) {
  (void)state;
  umemCuda cuda;
  umemCudaHost pinned;
  umemCudaManaged managed;
  assert_no_context(&cuda, try_flags(&cuda, 12), umemValueError,
                    "flags 0xc are unknown");
  assert_no_context(&pinned, umemCudaHost_ctor(&pinned, 4), umemValueError,
                    "flags 0x4 are unknown");
  assert_no_context(&managed, umemCudaManaged_ctor(&managed, 9, false, NULL),
                    umemValueError, "flags 0x8 are unknown");
}

static void ctor__looks_at_no_more_options_than_it_is_given(void **state) {
  (void)state;
  struct {
    umemCudaOptions options;
    unsigned char newer[8];
  } given = {.options = {.size = sizeof given}};
  umemCuda ctx;
  assert_ok(umemCuda_ctor_ex(&ctx, 0, &given.options));
  assert_ok(umem_dtor(&ctx));
  given.newer[7] = 1;
  assert_no_context(&ctx, umemCuda_ctor_ex(&ctx, 0, &given.options),
                    umemNotSupportedError, "knows");
  for (size_t size = 0; size < sizeof size; size++) {
    given.options.size = size;
    assert_no_context(&ctx, umemCuda_ctor_ex(&ctx, 0, &given.options),
                      umemValueError, "set it to the struct's sizeof");
  }
  given.options.flags = 99; /* not among the first 8 bytes */
  given.options.size = sizeof(size_t);
  assert_ok(umemCuda_ctor_ex(&ctx, 0, &given.options));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umemCuda_ctor_ex(&ctx, 0, NULL));
  assert_ok(umem_dtor(&ctx));
}

static void ctor__of_reserved_bits_is_a_value_error(void **state) {
  (void)state;
  umemCudaOptions options = {.size = sizeof options, .reserved = 1};
  umemCuda ctx;
  assert_no_context(&ctx, umemCuda_ctor_ex(&ctx, 0, &options), umemValueError,
                    "reserved");
}

static void ctor__of_nothing_is_a_value_error(void **state) {
  (void)state;
  assert_status(umemCuda_ctor(NULL, 0), umemValueError);
  assert_status(umemCuda_ctor_ex(NULL, 0, NULL), umemValueError);
  assert_status(umemCudaHost_ctor(NULL, 0), umemValueError);
  assert_status(umemCudaManaged_ctor(NULL, 0, false, NULL), umemValueError);
}

static void ctor__tells_what_it_made(void **state) {
  (void)state;
  umemCuda cuda;
  umemCudaHost pinned;
  umemCudaManaged managed;
  open_device(&cuda, 0);
  assert_ok(umemCudaHost_ctor(&pinned, UMEM_CUDA_HOST_WRITECOMBINED));
  assert_ok(umemCudaManaged_ctor(&managed, UMEM_CUDA_MANAGED_HOST, true, NULL));
  assert_string_equal(umem_get_device_name(&cuda), "Cuda");
  assert_string_equal(umem_get_device_name(&pinned), "CudaHost");
  assert_string_equal(umem_get_device_name(&managed), "CudaManaged");
  assert_int_equal(umem_fundamental_align(&cuda), 256);
  uintptr_t a = allocated(&cuda, 1), b = allocated(&pinned, 1),
            c = allocated(&managed, 1);
  assert_int_equal(a % 256, 0);
  assert_int_equal(b % 256, 0);
  assert_int_equal(c % 256, 0);
  *(char volatile *)b = *(char volatile *)c = 'x';
  assert_ok(umem_dtor(&managed));
  assert_ok(umem_dtor(&pinned));
  assert_ok(umem_dtor(&cuda));
}

/* A stream of a device's primary context. */
static cuStream stream_of(int device, unsigned flags) {
  cuContext context;
  cuStream stream;
  assert_int_equal(client.cu.DevicePrimaryCtxRetain(&context, device), 0);
  assert_int_equal(client.cu.CtxPushCurrent(context), 0);
  assert_int_equal(client.cu.StreamCreate(&stream, flags), 0);
  assert_int_equal(client.cu.CtxPopCurrent(&context), 0);
  return stream;
}

static void stream_end(int device, cuStream stream) {
  cuContext context;
  assert_int_equal(client.cu.DevicePrimaryCtxRetain(&context, device), 0);
  assert_int_equal(client.cu.CtxPushCurrent(context), 0);
  assert_int_equal(client.cu.StreamDestroy(stream), 0);
  assert_int_equal(client.cu.CtxPopCurrent(&context), 0);
  assert_int_equal(client.cu.DevicePrimaryCtxRelease(device), 0);
  assert_int_equal(client.cu.DevicePrimaryCtxRelease(device), 0);
}

static void ctor__takes_streams_of_the_device_only(void **state) {
  (void)state;
  umemCuda ctx;
  umemCudaManaged managed;
  need_two_devices();
  cuStream first = stream_of(0, 0), second = stream_of(1, 1);
  umemCudaOptions options = {.size = sizeof options, .stream = second};
  assert_no_context(&ctx, umemCuda_ctor_ex(&ctx, 0, &options), umemValueError,
                    "the stream is not of the primary context of device");
  assert_ok(umemCuda_ctor_ex(&ctx, 1, &options));
  assert_ok(umem_dtor(&ctx));
  options.stream = first;
  assert_ok(umemCuda_ctor_ex(&ctx, 0, &options));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umemCudaManaged_ctor(&managed, 0, true, second));
  assert_ok(umem_dtor(&managed));
  assert_no_context(&managed, umemCudaManaged_ctor(&managed, 0, false, first),
                    umemValueError, "a stream is for async contexts");
  assert_ok(umemCudaManaged_ctor(&managed, 0, true, first));
  assert_ok(umem_dtor(&managed));
  stream_end(1, second);
  stream_end(0, first);
}

static void construct_and_use(void) {
  umemCuda ctx;
  open_device(&ctx, 0);
  uintptr_t adr = allocated(&ctx, 1000);
  assert_ok(umem_try_set(&ctx, adr, 'x', 1000));
  allocated(&ctx, 3000); /* freed by the destructor */
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_dtor(&ctx));
}

static void ctor__again_and_again_leaves_nothing_open(void **state) {
  (void)state;
  construct_and_use();
  int const descriptors = open_descriptors(), threads = running_threads();
  for (size_t i = 0; i < scaled(200, 20); i++)
    construct_and_use();
  assert_int_equal(open_descriptors(), descriptors);
  assert_in_range(running_threads(), 1, threads + 2);
}

/* Contexts of the same device are destroyed under others. */
static void dtor__leaves_other_contexts_their_memory(void **state) {
  (void)state;
  umemCuda a, b;
  char bytes[100];
  random_bytes(bytes, sizeof bytes, 1);
  open_device(&a, 0);
  open_device(&b, 0);
  uintptr_t adr = allocated(&b, sizeof bytes);
  put(&b, adr, bytes, sizeof bytes);
  assert_true(umem_is_same_device(&a, &b));
  assert_holds(&a, adr, bytes, sizeof bytes);
  assert_ok(umem_dtor(&a));
  assert_holds(&b, adr, bytes, sizeof bytes);
  assert_ok(umem_dtor(&b));
}

/* --- the list ------------------------------------------------------------- */

static umemDeviceType const kinds[] = {umemCudaDevice, umemCudaHostDevice,
                                       umemCudaManagedDevice};

static bool is_active(int device) {
  unsigned flags;
  int active;
  assert_int_equal(client.cu.DevicePrimaryCtxGetState(device, &flags, &active),
                   0);
  return active;
}

static void assert_unusable(char const *why) {
  umemDeviceInfo info = {.size = sizeof info};
  umemCuda cuda;
  umemCudaHost pinned;
  umemCudaManaged managed;
  assert_no_context(&cuda, umemCuda_ctor(&cuda, 0), umemNotSupportedError, why);
  assert_no_context(&pinned, umemCudaHost_ctor(&pinned, 0),
                    umemNotSupportedError, why);
  assert_no_context(&managed, umemCudaManaged_ctor(&managed, 0, false, NULL),
                    umemNotSupportedError, why);
  for (size_t i = 0; i < LENGTH(kinds); i++)
    assert_int_equal(umem_device_count(kinds[i]), 0);
  assert_ok(umem_device_info(umemCudaDevice, 0, &info));
  assert_int_equal(info.usable, 0);
  assert_string_equal(info.name, "");
  assert_has(info.reason, why);
  assert_status(umem_device_info(umemCudaDevice, 1, &info), umemIndexError);
}

static void list_check(umemDeviceInfo const *infos, int count) {
  char name[128];
  for (int i = 0; i < count; i++) {
    size_t total;
    umemDeviceInfo info = infos[i];
    assert_int_equal(info.type, umemCudaDevice);
    assert_int_equal(info.usable, 1);
    assert_int_equal(info.device, i);
    assert_string_equal(info.reason, "");
    assert_int_equal(client.cu.DeviceGetName(name, sizeof name, i), 0);
    assert_string_equal(info.name, name);
    assert_int_equal(client.cu.DeviceTotalMem(&total, i), 0);
    assert_true(info.total_bytes == total);
    assert_true(info.free_bytes == 0); /* to ask would make a context */
    assert_false(is_active(i));
  }
}

/* Before the driver is started, and after. */
static int role_list(void) {
  umemDeviceInfo infos[64], none = {.size = sizeof none};
  int const count = device_count();
  int seen;
  for (int started = 0; started < 2; started++) {
    for (int i = 0; i < count; i++) {
      infos[i].size = sizeof infos[i];
      assert_ok(umem_device_info(umemCudaDevice, (size_t)i, &infos[i]));
    }
    assert_status(umem_device_info(umemCudaDevice, (size_t)count, &none),
                  umemIndexError);
    assert_int_equal(client.cu.DeviceGetCount(&seen),
                     started ? UMEMI_CUDA_SUCCESS
                             : UMEMI_CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(client.cu.Init(0), UMEMI_CUDA_SUCCESS);
    list_check(infos, count);
  }
  return 0;
}

static void device_info__makes_no_contexts(void **state) {
  (void)state;
  assert_role_succeeds("list", NULL);
}

static void device_info__of_all_kinds_is_asked_once(void **state) {
  (void)state;
  assert_role_succeeds("ask", NULL);
}

static void device_info__of_host_memory_is_there_if_a_device_is(void **state) {
  (void)state;
  for (size_t i = 1; i < LENGTH(kinds); i++) {
    umemDeviceInfo info = {.size = sizeof info};
    assert_true(umem_device_count(kinds[i]) >= 1);
    assert_ok(umem_device_info(kinds[i], 0, &info));
    assert_int_equal(info.usable, 1);
    assert_int_equal(info.type, kinds[i]);
    assert_true(info.name[0] != '\0');
  }
}

static void device_info__knows_what_is_free_of_a_device_in_use(void **state) {
  (void)state;
  umemDeviceInfo before = {.size = sizeof before}, after = before;
  umemCuda ctx;
  open_device(&ctx, 0);
  assert_ok(umem_device_info(umemCudaDevice, 0, &before));
  allocated(&ctx, 8 * MIB);
  assert_ok(umem_device_info(umemCudaDevice, 0, &after));
  assert_in_range(before.free_bytes, 1, before.total_bytes);
  if (is_simulated())
    assert_true(before.free_bytes - after.free_bytes == 8 * MIB);
  assert_ok(umem_dtor(&ctx));
}

/* --- what is missing: processes of their own ------------------------------ */

static void *no_library(char const *name, int flags) {
  (void)flags;
  assert_string_equal(name, "libcuda.so.1");
  return NULL;
}

static void *no_free(void *library, char const *name) {
  return strcmp(name, "cuMemFree_v2") ? faults_real.dlsym(library, name) : NULL;
}

static int role_without_library(void) {
  umemi_os.dlopen = no_library;
  assert_unusable("no usable CUDA driver: libcuda.so.1 was not found");
  faults_reset();
  umemi_os.dlsym = no_free;
  assert_unusable("libcuda.so.1 has no cuMemFree_v2()");
  faults_reset();
  assert_true(device_count() > 0); /* found after all */
  return 0;
}

static int role_without_file(void) {
  assert_unusable("no usable CUDA driver: libcuda.so.1 was not found");
  return 0;
}

static int role_without_devices(void) {
  assert_unusable("CUDA_ERROR_NO_DEVICE");
  assert_unusable("CUDA_ERROR_NO_DEVICE");
  return 0;
}

static int role_stub(void) {
  assert_unusable("stub");
  return 0;
}

/* All but pools. */
static int role_old(void) {
  umemCuda ctx;
  unsigned char bytes[1000];
  random_bytes(bytes, sizeof bytes, 3);
  open_device(&ctx, 0);
  uintptr_t adr = allocated(&ctx, sizeof bytes);
  put(&ctx, adr, bytes, sizeof bytes);
  assert_holds(&ctx, adr, bytes, sizeof bytes);
  assert_ok(umem_dtor(&ctx));
  assert_no_context(&ctx, try_flags(&ctx, UMEM_CUDA_POOL),
                    umemNotSupportedError, "has no memory pools");
  return cuda_teardown(NULL);
}

static int role_without_pools(void) {
  umemCuda ctx;
  assert_no_context(&ctx, try_flags(&ctx, UMEM_CUDA_POOL),
                    umemNotSupportedError, "has no memory pools");
  return cuda_teardown(NULL);
}

/* Of device 0; also what a child process says. */
static void assert_told(umemDeviceType kind, char const *why) {
  umemDeviceInfo info = {.size = sizeof info};
  assert_ok(umem_device_info(kind, 0, &info));
  assert_int_equal(info.usable, !why);
  assert_true(info.name[0] != '\0');
  assert_has(info.reason, why ? why : "");
}

static int role_without_managed(void) {
  umemCudaManaged ctx;
  assert_told(umemCudaManagedDevice, "no managed memory");
  assert_told(umemCudaDevice, NULL);
  assert_told(umemCudaHostDevice, NULL);
  assert_no_context(&ctx, umemCudaManaged_ctor(&ctx, 0, false, NULL),
                    umemNotSupportedError, "no managed memory");
  return cuda_teardown(NULL);
}

static int clones;

static int counted_clone(int (*run)(void *), void *stack, int flags, void *arg,
                         ...) {
  clones++;
  return faults_real.clone(run, stack, flags, arg);
}

/* By one child process for all kinds. */
static int role_ask(void) {
  umemDeviceInfo info = {.size = sizeof info};
  umemi_os.clone = counted_clone;
  for (size_t i = 0; i < LENGTH(kinds); i++) {
    assert_true(umem_device_count(kinds[i]) > 0);
    assert_ok(umem_device_info(kinds[i], 0, &info));
    assert_int_equal(info.type, kinds[i]);
    assert_int_equal(info.usable, 1);
  }
  assert_int_equal(clones, 1);
  faults_reset();
  return 0;
}

static int role_without_unified_addresses(void) {
  umemCuda ctx;
  for (size_t i = 0; i < LENGTH(kinds); i++)
    assert_told(kinds[i], "no unified addressing");
  assert_no_context(&ctx, umemCuda_ctor(&ctx, 0), umemNotSupportedError,
                    "unified addressing");
  return cuda_teardown(NULL);
}

static void library__that_is_missing_is_named(void **state) {
  (void)state;
  assert_role_succeeds("without library", NULL);
}

static void library__is_looked_for_where_the_loader_looks(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds_with("/nonexistent", "without file");
}

static void library__of_CUDA_11_0_has_all_but_pools(void **state) {
  (void)state;
  in_variant("_old", "old");
}

static void library__that_is_the_stub_is_called_so(void **state) {
  (void)state;
  in_variant("_stub", "stub");
}

static void devices__that_are_missing_are_told(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("without devices", "SIMCU_DEVICES=0");
}

static void devices__that_lack_something_are_told(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("without pools", "SIMCU_ATTRIBUTES=115=0");
  assert_role_succeeds("without managed", "SIMCU_ATTRIBUTES=83=0");
  assert_role_succeeds("without unified addresses", "SIMCU_ATTRIBUTES=41=0");
}

/* --- addresses ------------------------------------------------------------ */

static void free__of_what_is_no_block_is_a_value_error(void **state) {
  (void)state;
  umemCuda a, b;
  umemCudaHost pinned;
  char local;
  open_device(&a, 0);
  open_device(&b, device_count() > 1);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  uintptr_t adr = allocated(&a, 1000), page = allocated(&pinned, 1000);
  assert_fails(&b, umem_free(&b, adr), umemValueError, "not a live block");
  assert_fails(&a, umem_free(&a, adr + 256), umemValueError,
               "lies inside the block of 1000 bytes");
  assert_fails(&a, umem_free(&a, page), umemValueError, "not a live block");
  assert_fails(&pinned, umem_free(&pinned, page + 1), umemValueError, "inside");
  assert_fails(&pinned, umem_free(&pinned, (uintptr_t)&local), umemValueError,
               "not a live block");
  assert_ok(umem_free(&a, adr));
  assert_fails(&a, umem_free(&a, adr), umemValueError, "freed already");
  assert_ok(umem_free(&a, 0));
  assert_ok(umem_free(&pinned, page));
  assert_ok(umem_dtor(&pinned));
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
}

/* A block ends at a multiple of 512 for the driver. */
static void assert_leaves_block(umemCuda *ctx, size_t size) {
  unsigned char *bytes = calloc(1, size + 512);
  assert_non_null(bytes);
  uintptr_t const in = (uintptr_t)bytes, adr = allocated(ctx, size),
                  other = allocated(ctx, size + 512);
  assert_ok(umem_try_set(ctx, adr, 7, size));
  assert_status(umem_copy_to(ctx, adr, &host, in, size + 512), umemIndexError);
  assert_true(last_error(ctx).bytes_done <= size);
  assert_true(all_bytes_are(bytes + size, 512, 0));
  assert_slot(ctx, umemIndexError, "leave the device's block");
  assert_fails(ctx, umem_copy_to(&host, in, ctx, adr, size + 512),
               umemIndexError, "leave the device's block");
  assert_fails(ctx, umem_copy_to(ctx, other, ctx, adr, size + 512),
               umemIndexError, "leave the device's block");
  assert_fails(ctx, umem_copy_to(ctx, adr, ctx, other, size + 512),
               umemIndexError, "leave the device's block");
  assert_fails(ctx, umem_try_set(ctx, adr, 1, size + 512), umemIndexError,
               "leave the device's block");
  umem_clean_status(&host);
  forgive();
  assert_ok(umem_free(ctx, adr));
  assert_ok(umem_free(ctx, other));
  free(bytes);
}

static void copies__past_the_end_are_index_errors(void **state) {
  (void)state;
  static size_t const sizes[] = {512, 128 * KIB, 5 * MIB, 17 * MIB};
  umemCuda ctx;
  need_strict_memory(); /* real blocks are rounded up by 2 MiB */
  open_device(&ctx, 0);
  for (size_t i = 0; i < LENGTH(sizes); i++)
    assert_leaves_block(&ctx, sizes[i]);
  assert_ok(umem_dtor(&ctx));
}

static void blocks__larger_than_the_device_are_memory_errors(void **state) {
  (void)state;
  umemCuda ctx;
  uintptr_t adr = 5;
  umemDeviceInfo info = {.size = sizeof info};
  assert_ok(umem_device_info(umemCudaDevice, 0, &info));
  open_device(&ctx, 0);
  size_t const sizes[] = {(size_t)info.total_bytes + 1, PTRDIFF_MAX / 2};
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    assert_fails(&ctx, umem_try_alloc(&ctx, sizes[i], &adr), umemMemoryError,
                 "CUDA_ERROR_OUT_OF_MEMORY (2)");
    assert_fails(&ctx, umem_try_calloc(&ctx, sizes[i], 1, &adr),
                 umemMemoryError, "cuMemAlloc");
  }
  assert_int_equal(adr, 5);
  adr = allocated(&ctx, 1000);
  assert_ok(umem_try_set(&ctx, adr, 1, 1000));
  assert_ok(umem_dtor(&ctx));
}

static void run_sizes_and_alignments(void const *ctx) {
  static unsigned char zeros[4096];
  for (size_t alignment = 1; alignment <= 1 << 20; alignment *= 4) {
    uintptr_t adr = umem_aligned_alloc(ctx, alignment, alignment * 3);
    assert_true(adr != 0 && adr % alignment == 0);
    assert_ok(umem_try_set(ctx, adr, 1, alignment * 3));
    assert_true(umem_free_aligned(ctx, adr) != 0);
  }
  uintptr_t none = allocated(ctx, 0), another = allocated(ctx, 0),
            zeroed = umem_calloc(ctx, 2, sizeof zeros / 2);
  assert_true(none && another && none != another);
  assert_holds(ctx, zeroed, zeros, sizeof zeros);
  assert_ok(umem_try_set(ctx, none, 1, 0));
  assert_ok(umem_copy_to(ctx, none, ctx, zeroed, 0));
  assert_ok(umem_free(ctx, none));
  assert_ok(umem_free(ctx, another));
  assert_ok(umem_free(ctx, zeroed));
}

static void blocks__of_any_size_are_aligned_as_asked(void **state) {
  (void)state;
  umemCuda cuda, pooled;
  umemCudaHost pinned;
  umemCudaManaged managed;
  open_device(&cuda, 0);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
  run_sizes_and_alignments(&cuda);
  run_sizes_and_alignments(&pinned);
  run_sizes_and_alignments(&managed);
  assert_ok(umem_dtor(&cuda));
  assert_ok(umem_dtor(&pinned));
  assert_ok(umem_dtor(&managed));
  umemStatusType status = try_flags(&pooled, UMEM_CUDA_POOL);
  assert_true(status == umemOK || status == umemNotSupportedError);
  if (status == umemOK)
    run_sizes_and_alignments(&pooled);
  assert_ok(umem_dtor(&pooled));
}

/* --- copies with the host ------------------------------------------------- */

/* Room for the largest copy at an odd offset, with a margin. */
enum { LARGEST = 17 * MIB, MARGIN = 128, ROOM = LARGEST + 2 * MARGIN };

static size_t const sizes[] = {1,
                               255,
                               4095,
                               4096,
                               64 * KIB - 1,
                               64 * KIB,
                               64 * KIB + 1,
                               UMEMI_GPU_SLOT - 1,
                               UMEMI_GPU_SLOT + 1,
                               3 * UMEMI_GPU_SLOT + 7,
                               4 * MIB,
                               4 * MIB + 1,
                               7 * UMEMI_GPU_SLOT + 7,
                               LARGEST};

struct trip {
  void const *ctx; /* of the host's memory */
  unsigned char *out, *back;
  umemCuda *cuda;
  uintptr_t adr;
};

/* There and back; what is beside the bytes stays. */
static void travel(struct trip *t, size_t nbytes, size_t from, size_t at,
                   size_t to) {
  unsigned char edge[2] = {0x11, 0x22}, got[2];
  random_bytes(t->out + from, nbytes, nbytes + from);
  memset(t->back, 0, nbytes + 2 * MARGIN);
  put(t->cuda, t->adr + at - 1, edge, 1);
  put(t->cuda, t->adr + at + nbytes, edge + 1, 1);
  assert_ok(umem_copy_to(t->ctx, (uintptr_t)t->out + from, t->cuda, t->adr + at,
                         nbytes));
  assert_ok(umem_copy_to(t->cuda, t->adr + at, t->ctx, (uintptr_t)t->back + to,
                         nbytes));
  assert_memory_equal(t->back + to, t->out + from, nbytes);
  assert_true(all_bytes_are(t->back, to, 0));
  assert_true(all_bytes_are(t->back + to + nbytes, 2 * MARGIN - to, 0));
  assert_ok(
      umem_copy_to(t->cuda, t->adr + at - 1, &host, (uintptr_t)&got[0], 1));
  assert_ok(umem_copy_to(t->cuda, t->adr + at + nbytes, &host,
                         (uintptr_t)&got[1], 1));
  assert_memory_equal(got, edge, 2);
}

static void travel_all(struct trip *t) {
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    if (sizes[i] > scaled(LARGEST, 5 * MIB))
      continue;
    travel(t, sizes[i], 0, MARGIN, 0);
    travel(t, sizes[i], 3, MARGIN - 63, 61);
  }
}

static void trip_begin(struct trip *t, umemCuda *cuda, void const *ctx,
                       uintptr_t out, uintptr_t back) {
  assert_true(out && back);
  *t = (struct trip){ctx, (unsigned char *)out, (unsigned char *)back, cuda,
                     allocated(cuda, ROOM)};
}

static void run_pageable(umemCuda *cuda) {
  struct trip t;
  trip_begin(&t, cuda, &host, allocated(&host, ROOM), allocated(&host, ROOM));
  travel_all(&t);
  assert_ok(umem_free(&host, (uintptr_t)t.out));
  assert_ok(umem_free(&host, (uintptr_t)t.back));
  assert_ok(umem_free(cuda, t.adr));
}

static void run_pinned_by_us(umemCuda *cuda) {
  struct trip t;
  trip_begin(&t, cuda, &host, umem_aligned_alloc(&host, 4096, ROOM + 3840),
             umem_aligned_alloc(&host, 4096, ROOM + 3840));
  assert_ok(umem_pin(cuda, (uintptr_t)t.out, ROOM));
  assert_ok(umem_pin(cuda, (uintptr_t)t.back, ROOM));
  travel_all(&t);
  assert_ok(umem_unpin(cuda, (uintptr_t)t.out));
  assert_ok(umem_unpin(cuda, (uintptr_t)t.back));
  umem_free_aligned(&host, (uintptr_t)t.out);
  umem_free_aligned(&host, (uintptr_t)t.back);
  assert_ok(umem_free(cuda, t.adr));
}

static void run_host_like(umemCuda *cuda, void const *ctx) {
  struct trip t;
  trip_begin(&t, cuda, ctx, allocated(ctx, ROOM), allocated(ctx, ROOM));
  travel_all(&t);
  t.ctx = &host; /* the same pointers */
  travel_all(&t);
  assert_ok(umem_free(ctx, (uintptr_t)t.out));
  assert_ok(umem_free(ctx, (uintptr_t)t.back));
  assert_ok(umem_free(cuda, t.adr));
}

static void run_trips(void (*run)(umemCuda *cuda)) {
  umemCuda cuda;
  unsigned const before = umem_get_threads();
  assert_ok(umem_set_threads(4));
  open_device(&cuda, 0);
  run(&cuda);
  assert_ok(umem_dtor(&cuda));
  assert_ok(umem_set_threads(before));
}

static void run_pinned(umemCuda *cuda) {
  umemCudaHost pinned;
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  run_host_like(cuda, &pinned);
  assert_ok(umem_dtor(&pinned));
}

static void run_managed(umemCuda *cuda) {
  umemCudaManaged managed;
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
  run_host_like(cuda, &managed);
  assert_ok(umem_dtor(&managed));
}

static void copies__of_pageable_memory_bring_each_byte(void **state) {
  (void)state;
  run_trips(run_pageable);
}

static void copies__of_memory_that_we_pinned_bring_each_byte(void **state) {
  (void)state;
  run_trips(run_pinned_by_us);
}

static void copies__of_pinned_memory_bring_each_byte(void **state) {
  (void)state;
  run_trips(run_pinned);
}

static void copies__of_managed_memory_bring_each_byte(void **state) {
  (void)state;
  run_trips(run_managed);
}

/* --- copies on a device --------------------------------------------------- */

static void move(umemCuda *ctx, uintptr_t adr, unsigned char *image,
                 size_t size, size_t from, size_t to, size_t nbytes) {
  memmove(image + to, image + from, nbytes);
  assert_ok(umem_copy_to(ctx, adr + from, ctx, adr + to, nbytes));
  assert_holds(ctx, adr, image, size);
}

/* Scratch memory of the library is 16 MiB: more is moved in pieces. */
static void run_overlaps(umemCuda *ctx) {
  size_t const size = scaled(34 * MIB, 17 * MIB) + 12345;
  size_t const shifts[] = {1, MIB + 1, size / 3};
  unsigned char *image = malloc(size);
  uintptr_t adr = allocated(ctx, size);
  assert_non_null(image);
  random_bytes(image, size, 3);
  put(ctx, adr, image, size);
  for (size_t i = 0; i < LENGTH(shifts); i++) {
    move(ctx, adr, image, size, 0, shifts[i], size - shifts[i]);
    move(ctx, adr, image, size, shifts[i], 0, size - shifts[i]);
  }
  move(ctx, adr, image, size, 100, 103, 5);
  move(ctx, adr, image, size, 103, 100, 5);
  move(ctx, adr, image, size, 7, 7, size - 7);
  move(ctx, adr, image, size, 0, size / 2, size / 2); /* apart */
  free(image);
  assert_ok(umem_free(ctx, adr));
}

static void copies__that_overlap_are_memmove(void **state) {
  (void)state;
  umemCuda ctx;
  open_device(&ctx, 0);
  run_overlaps(&ctx);
  assert_ok(umem_dtor(&ctx));
  assert_ok(try_flags(&ctx, UMEM_CUDA_POOL));
  run_overlaps(&ctx);
  assert_ok(umem_dtor(&ctx));
}

static void copies__within_a_device_stay_on_it(void **state) {
  (void)state;
  umemCopyPlan plan = {.size = sizeof plan};
  umemCuda ctx;
  open_device(&ctx, 0);
  uintptr_t a = allocated(&ctx, MIB), b = allocated(&ctx, MIB);
  assert_ok(umem_copy_plan(&ctx, a, &ctx, b, MIB, &plan));
  assert_int_equal(plan.rung, umemDirectRung);
  assert_string_equal(plan.method, "cuMemcpyDtoD");
  assert_int_equal(plan.staging, 0);
  assert_ok(umem_dtor(&ctx));
}

/* --- two devices ---------------------------------------------------------- */

static void copy_between(umemCuda *from, umemCuda *to) {
  size_t const some[] = {1, 1000, 3 * MIB + 7};
  unsigned char *bytes = malloc(3 * MIB + 7);
  assert_non_null(bytes);
  for (size_t i = 0; i < LENGTH(some); i++) {
    uintptr_t a = allocated(from, some[i]), b = allocated(to, some[i] + 3);
    random_bytes(bytes, some[i], i);
    put(from, a, bytes, some[i]);
    assert_ok(umem_copy_to(from, a, to, b + 3, some[i]));
    assert_holds(to, b + 3, bytes, some[i]);
    assert_ok(umem_free(from, a));
    assert_ok(umem_free(to, b));
  }
  free(bytes);
}

static void assert_shared(umemCuda *from, umemCuda *to) {
  unsigned char bytes[1000];
  uintptr_t adr = allocated(from, sizeof bytes);
  random_bytes(bytes, sizeof bytes, 4);
  put(from, adr, bytes, sizeof bytes);
  assert_true(umem_is_accessible_from(from, to));
  assert_true(umem_connect(from, adr, sizeof bytes, to, 0) == adr);
  if (is_simulated())
    client.sim.forget();
  assert_ok(umem_sync_to(from, adr, to, adr, sizeof bytes));
  if (is_simulated())
    assert_int_equal(client.sim.calls("cuMemcpyPeerAsync"), 0);
  assert_holds(from, adr, bytes, sizeof bytes);
  assert_ok(umem_disconnect(from, adr, to, adr, 0));
  assert_ok(umem_free(from, adr));
}

static void assert_mirrored(umemCuda *from, umemCuda *to) {
  unsigned char bytes[1000];
  uintptr_t adr = allocated(from, sizeof bytes);
  random_bytes(bytes, sizeof bytes, 4);
  put(from, adr, bytes, sizeof bytes);
  assert_false(umem_is_accessible_from(from, to));
  uintptr_t mirror = umem_connect(from, adr, sizeof bytes, to, 0);
  assert_true(mirror && mirror != adr);
  assert_holds(to, mirror, bytes, sizeof bytes);
  memset(bytes, 'y', sizeof bytes);
  assert_ok(umem_try_set(from, adr, 'y', sizeof bytes));
  assert_ok(umem_sync_to(from, adr, to, mirror, sizeof bytes));
  assert_holds(to, mirror, bytes, sizeof bytes);
  assert_ok(umem_disconnect(from, adr, to, mirror, 0));
  assert_ok(umem_free(from, adr));
}

static void open_peer(umemCuda *ctx, int device) {
  umemCudaOptions options = {.size = sizeof options, .flags = UMEM_CUDA_PEER};
  assert_ok(umemCuda_ctor_ex(ctx, device, &options));
}

static int role_peers(void) {
  umemCuda a, b;
  open_peer(&a, 0);
  open_peer(&b, 1);
  assert_false(umem_is_same_device(&a, &b));
  assert_mirrored(&a, &b);
  copy_between(&a, &b);
  copy_between(&b, &a);
  assert_shared(&a, &b);
  assert_shared(&b, &a);
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
  return cuda_teardown(NULL);
}

static int role_strangers(void) {
  umemCuda a, b;
  client.sim.set_peer(0, 1, 0);
  client.sim.set_peer(1, 0, 0);
  open_peer(&a, 0);
  open_peer(&b, 1);
  for (int i = 0; i < 2; i++) {
    assert_mirrored(&a, &b);
    assert_mirrored(&b, &a);
    copy_between(&a, &b);
    copy_between(&b, &a);
  }
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
  return cuda_teardown(NULL);
}

/* Peer access is not for pools. */
static int role_pooled_peers(void) {
  umemCuda a, b, pooled;
  open_peer(&a, 0);
  open_peer(&b, 1);
  assert_ok(try_flags(&pooled, UMEM_CUDA_POOL));
  copy_between(&a, &b);
  copy_between(&b, &a);
  assert_true(umem_is_accessible_from(&a, &b));
  assert_mirrored(&pooled, &b);
  assert_ok(umem_dtor(&pooled));
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
  return cuda_teardown(NULL);
}

static void devices__that_reach_each_other_share_addresses(void **state) {
  (void)state;
  need_simulation(); /* of real ones nobody knows */
  assert_role_succeeds("peers", NULL);
}

static void devices__that_do_not_are_strangers(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("strangers", NULL);
}

static void devices__do_not_reach_blocks_of_pools(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("pooled peers", NULL);
}

static void devices__copy_to_each_other(void **state) {
  (void)state;
  umemCuda a, b;
  need_two_devices();
  open_device(&a, 0);
  open_device(&b, 1);
  copy_between(&a, &b);
  copy_between(&b, &a);
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
}

/* --- managed memory ------------------------------------------------------- */

static void managed__addresses_are_the_devices_own(void **state) {
  (void)state;
  umemCuda cuda;
  umemCudaManaged managed;
  unsigned char bytes[5000];
  open_device(&cuda, 0);
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
  uintptr_t adr = allocated(&managed, sizeof bytes),
            block = allocated(&cuda, sizeof bytes);
  assert_true(umem_is_accessible_from(&managed, &cuda));
  assert_true(umem_is_accessible_from(&managed, &host));
  assert_false(umem_is_accessible_from(&cuda, &managed));
  assert_true(umem_connect(&managed, adr, 5000, &cuda, 0) == adr);
  random_bytes((void *)adr, sizeof bytes, 9);
  memcpy(bytes, (void *)adr, sizeof bytes);
  assert_ok(umem_copy_to(&cuda, adr, &cuda, block, sizeof bytes));
  assert_holds(&cuda, block, bytes, sizeof bytes);
  assert_ok(umem_try_set(&cuda, adr, 'q', sizeof bytes));
  assert_true(all_bytes_are((void *)adr, sizeof bytes, 'q'));
  assert_ok(umem_copy_to(&cuda, block, &managed, adr, sizeof bytes));
  assert_memory_equal((void *)adr, bytes, sizeof bytes);
  assert_ok(umem_disconnect(&managed, adr, &cuda, adr, 0));
  assert_ok(umem_dtor(&managed));
  assert_ok(umem_dtor(&cuda));
}

/* --- handles -------------------------------------------------------------- */

static size_t exported(void const *ctx, uintptr_t adr, size_t nbytes,
                       unsigned char handle[UMEM_HANDLE_MAX]) {
  size_t length = UMEM_HANDLE_MAX;
  if (umem_export_handle(ctx, adr, nbytes, handle, &length) != umemOK)
    fail_msg("%s", umem_get_message(ctx));
  return length;
}

static void send_handle(unsigned char const *handle, size_t length) {
  char text[2 * UMEM_HANDLE_MAX + 1] = "";
  for (size_t i = 0; i < length; i++)
    snprintf(text + 2 * i, 3, "%02x", handle[i]);
  assert_int_equal(setenv("UMEM_TEST_HANDLE", text, 1), 0);
}

static size_t receive_handle(unsigned char handle[UMEM_HANDLE_MAX]) {
  char const *text = getenv("UMEM_TEST_HANDLE");
  size_t length = 0;
  assert_non_null(text);
  for (; text[2 * length]; length++) {
    char const digits[] = {text[2 * length], text[2 * length + 1], '\0'};
    handle[length] = (unsigned char)strtoul(digits, NULL, 16);
  }
  return length;
}

enum { SHARED = 300000, SHARED_FROM = 1001, SHARED_BYTES = SHARED - 2000 };

static int role_import(void) {
  unsigned char handle[UMEM_HANDLE_MAX], *bytes = malloc(SHARED);
  size_t length = receive_handle(handle), nbytes;
  uintptr_t adr, again;
  umemCuda ctx;
  random_bytes(bytes, SHARED, 21);
  open_device(&ctx, 0);
  assert_ok(umem_import_handle(&ctx, handle, length, &adr, &nbytes));
  assert_int_equal(nbytes, SHARED_BYTES);
  assert_holds(&ctx, adr, bytes + SHARED_FROM, nbytes);
  assert_ok(umem_import_handle(&ctx, handle, length, &again, &nbytes));
  assert_true(again == adr);
  assert_fails(&ctx, umem_free(&ctx, adr), umemValueError, "not a live block");
  assert_ok(umem_try_set(&ctx, adr, 'w', 100));
  if (is_simulated())
    assert_int_equal(client.sim.live(SIMCU_IMPORTED), 1);
  assert_ok(umem_dtor(&ctx));
  if (is_simulated())
    assert_int_equal(client.sim.live(SIMCU_IMPORTED), 0);
  free(bytes);
  return cuda_teardown(NULL);
}

static void handles__lead_to_the_block_in_another_process(void **state) {
  (void)state;
  unsigned char handle[UMEM_HANDLE_MAX], *bytes = malloc(SHARED);
  umemCuda ctx;
  assert_non_null(bytes);
  random_bytes(bytes, SHARED, 21);
  open_device(&ctx, 0);
  uintptr_t adr = allocated(&ctx, SHARED);
  put(&ctx, adr, bytes, SHARED);
  send_handle(handle, exported(&ctx, adr + SHARED_FROM, SHARED_BYTES, handle));
  assert_role_succeeds("import", NULL);
  memset(bytes + SHARED_FROM, 'w', 100);
  assert_holds(&ctx, adr, bytes, SHARED);
  free(bytes);
  assert_ok(umem_dtor(&ctx));
}

/* A byte of it at a time. */
static void handles__that_were_changed_are_refused(void **state) {
  (void)state;
  unsigned char handle[UMEM_HANDLE_MAX];
  uintptr_t adr = 5;
  size_t nbytes;
  umemCuda ctx;
  open_device(&ctx, 0);
  size_t length = exported(&ctx, allocated(&ctx, 1000), 1000, handle);
  for (size_t i = 0; i < length; i++) {
    handle[i] ^= 0x41;
    umemStatusType status =
        umem_import_handle(&ctx, handle, length, &adr, &nbytes);
    assert_true(status == umemValueError || status == umemNotSupportedError);
    handle[i] ^= 0x41;
  }
  for (size_t i = 0; i < length; i++)
    assert_status(umem_import_handle(&ctx, handle, i, &adr, &nbytes),
                  umemValueError);
  assert_int_equal(adr, 5);
  umem_clean_status(&ctx);
  assert_ok(umem_dtor(&ctx));
}

static void handles__are_of_one_device(void **state) {
  (void)state;
  unsigned char handle[UMEM_HANDLE_MAX];
  uintptr_t adr;
  size_t nbytes;
  umemCuda a, b;
  need_two_devices();
  open_device(&a, 0);
  open_device(&b, 1);
  size_t length = exported(&a, allocated(&a, 1000), 1000, handle);
  assert_fails(&b, umem_import_handle(&b, handle, length, &adr, &nbytes),
               umemValueError, "the handle is of another device");
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
}

static void handles__are_of_whole_ranges_of_plain_blocks(void **state) {
  (void)state;
  unsigned char handle[UMEM_HANDLE_MAX];
  size_t length = sizeof handle;
  umemCuda cuda, pooled;
  umemCudaHost pinned;
  open_device(&cuda, 0);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  uintptr_t adr = allocated(&cuda, 512), page = allocated(&pinned, 512);
  if (is_simulated()) /* where a block is as long as asked for */
    assert_fails(&cuda,
                 umem_export_handle(&cuda, adr + 1, 512, handle, &length),
                 umemIndexError, "leave the device's block of 512 bytes");
  length = sizeof handle;
  assert_status(umem_export_handle(&pinned, page, 8, handle, &length),
                umemNotImplementedError);
  umem_clean_status(&pinned);
  if (try_flags(&pooled, UMEM_CUDA_POOL) == umemOK) {
    adr = allocated(&pooled, 512);
    assert_fails(&pooled,
                 umem_export_handle(&pooled, adr, 512, handle, &length),
                 umemNotSupportedError, "pool");
  }
  assert_ok(umem_dtor(&pooled));
  assert_ok(umem_dtor(&pinned));
  assert_ok(umem_dtor(&cuda));
}

/* Ended in the order that is the less natural one. */
static void handles__are_closed_with_the_context(void **state) {
  (void)state;
  unsigned char handle[UMEM_HANDLE_MAX];
  umemCuda a, b;
  uintptr_t adr;
  size_t nbytes;
  need_simulation(); /* real ones do not open in their own process */
  open_handles_within();
  open_device(&a, 0);
  open_device(&b, 0);
  uintptr_t block = allocated(&a, 5000);
  assert_ok(umem_try_set(&a, block, 'm', 5000));
  size_t length = exported(&a, block, 5000, handle);
  assert_ok(umem_import_handle(&b, handle, length, &adr, &nbytes));
  assert_true(adr != block);
  assert_ok(umem_try_set(&b, adr, 'n', 5));
  assert_holds(&a, block, "nnnnnm", 6);
  assert_int_equal(client.sim.live(SIMCU_IMPORTED), 1);
  assert_ok(umem_dtor(&b));
  assert_int_equal(client.sim.live(SIMCU_IMPORTED), 0);
  client.sim.set_ipc_within(0);
  assert_fails(&a, umem_import_handle(&a, handle, length, &adr, &nbytes),
               umemRuntimeError, "cuIpcOpenMemHandle");
  assert_ok(umem_dtor(&a));
}

/* --- pinning -------------------------------------------------------------- */

static void run_pin(void const *ctx) {
  uintptr_t adr = umem_aligned_alloc(&host, 4096, 8192);
  assert_true(adr != 0);
  assert_fails(ctx, umem_unpin(ctx, adr), umemRuntimeError,
               "no memory that umem_pin() pinned");
  assert_ok(umem_pin(ctx, adr, 8192));
  assert_fails(ctx, umem_pin(ctx, adr, 8192), umemRuntimeError,
               "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED (712)");
  assert_status(umem_pin(ctx, adr + 4096, 4096), umemRuntimeError);
  assert_slot(ctx, umemRuntimeError, "umem_pin(");
  assert_ok(umem_unpin(ctx, adr));
  assert_fails(ctx, umem_unpin(ctx, adr), umemRuntimeError, "umem_unpin(");
  umem_free_aligned(&host, adr);
}

static void assert_pins_nothing(void const *ctx) {
  char bytes[64];
  uintptr_t const adr = (uintptr_t)bytes;
  assert_fails(ctx, umem_pin(ctx, 0, 8), umemValueError, "empty");
  assert_fails(ctx, umem_pin(ctx, adr, 0), umemValueError, "empty");
  assert_fails(ctx, umem_pin(ctx, adr, SIZE_MAX - 8), umemIndexError, "wraps");
  assert_fails(ctx, umem_pin(ctx, UINTPTR_MAX - 7, 64), umemIndexError,
               "wraps");
  assert_fails(ctx, umem_unpin(ctx, 0), umemValueError, "address is 0");
}

static void pin__is_once_and_undone_once(void **state) {
  (void)state;
  umemCuda cuda;
  umemCudaHost pinned;
  umemCudaManaged managed;
  open_device(&cuda, 0);
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
  void const *const all[] = {&cuda, &pinned, &managed};
  for (size_t i = 0; i < LENGTH(all); i++) {
    run_pin(all[i]);
    assert_pins_nothing(all[i]);
    assert_ok(umem_dtor(all[i]));
  }
}

static void pin__is_for_contexts_of_CUDA(void **state) {
  (void)state;
  char bytes[64];
  umemCuda dead;
  open_device(&dead, 0);
  assert_ok(umem_dtor(&dead));
  assert_fails(&host, umem_pin(&host, (uintptr_t)bytes, 64), umemTypeError,
               "context is a Host, and not one of CUDA");
  assert_fails(&host, umem_unpin(&host, (uintptr_t)bytes), umemTypeError,
               "Host");
  assert_status(umem_pin(&dead, (uintptr_t)bytes, 64), umemTypeError);
  assert_status(umem_unpin(NULL, (uintptr_t)bytes), umemTypeError);
}

/* --- fork: processes of their own ----------------------------------------- */

/* What exit(3) does in the child must not hang either; but leak checkers would
   ask there for the memory of threads that are not in it. */
static void end_child(int status) {
  fflush(NULL);
  if (UNDER_ASAN)
    _exit(status);
  exit(status);
}

static void assert_child_succeeds(void (*run)(void)) {
  int status;
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    alarm((unsigned)scaled(20, 100));
    run();
    end_child(0);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
}

#define assert_forked(ctx, call)                                               \
  assert_fails(ctx, call, umemRuntimeError, "fork()")

static void child_moves_nothing(void) {
  unsigned char bytes[64] = {0};
  uintptr_t const in = (uintptr_t)bytes, adr = our_block;
  size_t difference;
  uint32_t sum;
  umemCopyPlan plan = {.size = sizeof plan};
  assert_forked(&ours, umem_try_set(&ours, adr, 1, 1));
  assert_forked(&ours, umem_copy_to(&ours, adr, &host, in, 8));
  assert_forked(&ours, umem_copy_to(&host, in, &ours, adr, 8));
  assert_forked(&ours, umem_copy_to(&ours, adr, &ours, adr + 8, 8));
  assert_forked(&ours, umem_copy_to_safe(&ours, adr, 8, &host, in, 8, 8));
  assert_forked(&ours, umem_copy_2d(&ours, adr, 8, &host, in, 8, 4, 2));
  assert_forked(&ours, umem_copy_plan(&ours, adr, &host, in, 8, &plan));
  assert_forked(&ours, umem_compare(&ours, adr, &host, in, 8, &difference));
  assert_forked(&ours, umem_checksum(&ours, adr, 8, 0, &sum));
  assert_forked(&ours, umem_sync_to(&host, in, &ours, adr, 8));
  assert_forked(&ours, umem_pin(&ours, in, 64));
  assert_forked(&ours, umem_unpin(&ours, in));
  assert_true(all_bytes_are(bytes, sizeof bytes, 0));
}

static void child_has_nothing(void) {
  unsigned char handle[UMEM_HANDLE_MAX];
  size_t length = sizeof handle;
  uintptr_t adr;
  char byte;
  umemCuda fresh;
  umemCudaHost pinned;
  umemDeviceInfo info = {.size = sizeof info};
  assert_forked(&ours, umem_try_alloc(&ours, 8, &adr));
  assert_forked(&ours, umem_try_calloc(&ours, 8, 8, &adr));
  assert_forked(&ours, umem_try_aligned_alloc(&ours, 4096, 4096, &adr));
  assert_forked(&ours,
                umem_try_connect(&host, (uintptr_t)&byte, 1, &ours, 0, &adr));
  assert_forked(&ours,
                umem_export_handle(&ours, our_block, 8, handle, &length));
  assert_no_context(&fresh, umemCuda_ctor(&fresh, 0), umemRuntimeError,
                    "fork()");
  assert_no_context(&pinned, umemCudaHost_ctor(&pinned, 0), umemRuntimeError,
                    "fork()");
  assert_int_equal(umem_device_count(umemCudaDevice), 0);
  assert_ok(umem_device_info(umemCudaDevice, 0, &info));
  assert_int_equal(info.usable, 0);
  assert_has(info.reason, "fork()");
}

static void child_ends_what_it_inherited(void) {
  child_moves_nothing();
  child_has_nothing();
  assert_ok(umem_free(&ours, our_block));
  assert_fails(&ours, umem_free(&ours, our_block), umemValueError, "freed");
  assert_ok(umem_dtor(&ours)); /* with a block that is left */
}

static void child_leaves_all_alone(void) {
}

static umemCudaHost our_pinned;
static umemCudaManaged our_managed;
static uintptr_t our_page, our_managed_block;

static void child_ends_pointers(void) {
  char byte = 0;
  uintptr_t adr = (uintptr_t)&byte;
  assert_forked(&our_pinned, umem_try_alloc(&our_pinned, 8, &adr));
  assert_forked(&our_pinned, umem_try_set(&our_pinned, our_page, 1, 1));
  assert_forked(&our_pinned,
                umem_copy_to(&our_pinned, our_page, &host, adr, 1));
  assert_forked(&our_managed,
                umem_copy_to(&host, adr, &our_managed, our_managed_block, 1));
  assert_ok(umem_free(&our_pinned, our_page));
  assert_ok(umem_free(&our_managed, our_managed_block));
  assert_ok(umem_dtor(&our_pinned));
  assert_ok(umem_dtor(&our_managed));
}

static void fork_with(uint32_t flags) {
  unsigned char bytes[1000];
  random_bytes(bytes, sizeof bytes, 8);
  assert_ok(try_flags(&ours, flags));
  our_block = allocated(&ours, sizeof bytes);
  put(&ours, allocated(&ours, sizeof bytes), bytes, sizeof bytes);
  put(&ours, our_block, bytes, sizeof bytes);
  if (!flags)
    assert_child_succeeds(child_ends_what_it_inherited);
  else
    assert_child_succeeds(child_moves_nothing);
  assert_child_succeeds(child_leaves_all_alone);
  assert_holds(&ours, our_block, bytes, sizeof bytes);
  assert_ok(umem_free(&ours, our_block));
  assert_ok(umem_dtor(&ours));
}

static int role_fork(void) {
  fork_with(0);
  fork_with(UMEM_CUDA_POOL);
  assert_ok(umemCudaHost_ctor(&our_pinned, 0));
  assert_ok(umemCudaManaged_ctor(&our_managed, 0, false, NULL));
  our_page = allocated(&our_pinned, 100);
  our_managed_block = allocated(&our_managed, 100);
  assert_child_succeeds(child_ends_pointers);
  assert_ok(umem_try_set(&our_pinned, our_page, 'p', 100));
  assert_ok(umem_try_set(&our_managed, our_managed_block, 'm', 100));
  assert_ok(umem_dtor(&our_managed));
  assert_ok(umem_dtor(&our_pinned));
  return cuda_teardown(NULL);
}

static void skip_where_nobody_may_fork(void) {
  if (UNDER_TSAN) {
    print_message("ThreadSanitizer: no forks\n");
    skip();
  }
}

static void child__is_told_that_it_cannot_use_the_device(void **state) {
  (void)state;
  skip_where_nobody_may_fork();
  assert_role_succeeds("fork", NULL);
}

/* Asking what there is does not count as use. */
static int role_fork_first(void) {
  umemDeviceInfo info = {.size = sizeof info};
  assert_true(device_count() > 0);
  assert_ok(umem_device_info(umemCudaHostDevice, 0, &info));
  assert_int_equal(info.usable, 1);
  for (int i = 0; i < 2; i++)
    assert_child_succeeds(construct_and_use);
  construct_and_use();
  return 0;
}

static void child__of_who_has_not_used_CUDA_may_use_it(void **state) {
  (void)state;
  skip_where_nobody_may_fork();
  assert_role_succeeds("fork first", NULL);
}

/* --- exit: processes of their own ----------------------------------------- */

static void use_at_exit(void) {
  unsigned char bytes[64];
  umemCuda fresh;
  umemStatusType copied =
      umem_copy_to(&ours, our_block, &host, (uintptr_t)bytes, sizeof bytes);
  printf("copy %s: %s\n", umem_get_status_name(copied),
         umem_get_message(&ours));
  printf("free %s\n", umem_get_status_name(umem_free(&ours, our_block)));
  printf("dtor %s\n", umem_get_status_name(umem_dtor(&ours)));
  printf("ctor %s\n", umem_get_status_name(umemCuda_ctor(&fresh, 0)));
  umem_dtor(&fresh);
}

static void begin_ours(void) {
  open_device(&ours, 0);
  our_block = allocated(&ours, 64);
  assert_ok(umem_try_set(&ours, our_block, 'x', 64));
  allocated(&ours, 1000);
}

/* What is left to the driver then is left for good. */
static void end_without_leak_checks(void) {
  end_child(0);
}

static int role_exit(void) {
  if (UNDER_ASAN)
    assert_int_equal(atexit(end_without_leak_checks), 0);
  assert_int_equal(atexit(use_at_exit), 0);
  begin_ours();
  return 0;
}

static int role_exit_first(void) {
  begin_ours();
  assert_int_equal(atexit(use_at_exit), 0);
  return 0;
}

static int role_exit_in_use(void) {
  begin_ours();
  return 0;
}

static void exit__leaves_the_device_alone(void **state) {
  (void)state;
  char told[4096];
  int status = run_again("exit", NULL, told, sizeof told);
  if (status != 0)
    fail_msg("status %d\n%s", status, told);
  assert_has(told, "copy RuntimeError: ");
  assert_has(told, "the process is exiting");
  assert_has(told, "free OK\ndtor OK\nctor RuntimeError\n");
}

/* Handlers that were registered after ours run before it. */
static void exit__handlers_that_come_first_can_use_the_device(void **state) {
  (void)state;
  char told[4096];
  int status = run_again("exit first", NULL, told, sizeof told);
  if (status != 0)
    fail_msg("status %d\n%s", status, told);
  assert_has(told, "copy OK: \nfree OK\ndtor OK\nctor OK\n");
}

static void exit__with_live_contexts_does_not_crash(void **state) {
  (void)state;
  assert_role_succeeds("exit in use", NULL);
}

/* --- threads -------------------------------------------------------------- */

struct user {
  umemCuda *ctx; /* NULL: its own */
  int device;
  uint64_t seed;
  char const *failed;
};

#define TRY(user, call)                                                        \
  do {                                                                         \
    if ((call) != umemOK && !(user)->failed)                                   \
      (user)->failed = #call;                                                  \
  } while (0)

/* No assertions: they are for the main thread. */
static void use(struct user *user, umemCuda *ctx, size_t size) {
  unsigned char *in = malloc(2 * size), *out = in + size;
  uintptr_t a = 0, b = 0;
  random_bytes(in, size, user->seed++);
  memset(out, 0, size);
  TRY(user, umem_try_alloc(ctx, size, &a));
  TRY(user, umem_try_alloc(ctx, size, &b));
  TRY(user, umem_copy_to(&host, (uintptr_t)in, ctx, a, size));
  TRY(user, umem_try_set(ctx, b, 'z', size));
  TRY(user, umem_copy_to(ctx, a, ctx, b, size));
  TRY(user, umem_copy_to(ctx, b + 100, ctx, b + 200, size - 200));
  TRY(user, umem_copy_to(ctx, b, &host, (uintptr_t)out, size));
  TRY(user, umem_free(ctx, b));
  TRY(user, umem_free(ctx, a));
  if (memcmp(out, in, 200) || memcmp(out + 200, in + 100, size - 200))
    user->failed = user->failed ? user->failed : "the bytes";
  free(in);
}

static void *use_often(void *argument) {
  struct user *user = argument;
  for (size_t i = 0; i < scaled(30, 3) && !user->failed; i++) {
    umemCuda own = {{{0}}};
    umemCuda *ctx = user->ctx ? user->ctx : &own;
    if (!user->ctx)
      TRY(user, umemCuda_ctor(&own, user->device));
    if (!user->failed)
      use(user, ctx, i % 8 == 7 ? 5 * MIB : i % 2 ? 50000 : 100000);
    if (!user->ctx)
      TRY(user, umem_dtor(&own));
  }
  return NULL;
}

static void assert_threads_succeed(umemCuda *shared) {
  struct user users[THREADS];
  int const count = device_count();
  for (size_t i = 0; i < THREADS; i++)
    users[i] = (struct user){shared, (int)i % count, 1000 * i, NULL};
  in_threads(use_often, users, sizeof *users);
  for (size_t i = 0; i < THREADS; i++)
    if (users[i].failed)
      fail_msg("thread %zu: %s", i, users[i].failed);
}

static void threads__share_a_context(void **state) {
  (void)state;
  umemCuda ctx;
  open_device(&ctx, 0);
  assert_threads_succeed(&ctx);
  assert_true(umem_is_ok(&ctx));
  assert_ok(umem_dtor(&ctx));
  if (try_flags(&ctx, UMEM_CUDA_POOL) == umemOK)
    assert_threads_succeed(&ctx);
  assert_ok(umem_dtor(&ctx));
}

static void threads__construct_and_destroy_on_all_devices(void **state) {
  (void)state;
  assert_threads_succeed(NULL);
}

struct opener {
  pthread_barrier_t *start;
  umemStatusType status;
};

static void *open_first(void *argument) {
  struct opener *opener = argument;
  umemCuda ctx;
  pthread_barrier_wait(opener->start);
  opener->status = umemCuda_ctor(&ctx, 0);
  umem_dtor(&ctx);
  return NULL;
}

static void threads__that_open_a_device_first_all_get_it(void **state) {
  (void)state;
  struct opener openers[THREADS];
  pthread_barrier_t start;
  assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
  for (size_t round = 0; round < scaled(200, 20); round++) {
    for (size_t i = 0; i < THREADS; i++)
      openers[i] = (struct opener){&start, umemRuntimeError};
    in_threads(open_first, openers, sizeof *openers);
    for (size_t i = 0; i < THREADS; i++)
      assert_ok(openers[i].status);
    if (is_simulated())
      assert_int_equal(client.sim.live(SIMCU_RETAINS), 0);
  }
  pthread_barrier_destroy(&start);
}

/* --- main ----------------------------------------------------------------- */

/* Processes that have not touched CUDA when they begin. */
static struct role const roles[] = {
    {"list", role_list},
    {"without library", role_without_library},
    {"without file", role_without_file},
    {"without devices", role_without_devices},
    {"without pools", role_without_pools},
    {"without managed", role_without_managed},
    {"ask", role_ask},
    {"without unified addresses", role_without_unified_addresses},
    {"stub", role_stub},
    {"old", role_old},
    {"peers", role_peers},
    {"strangers", role_strangers},
    {"pooled peers", role_pooled_peers},
    {"import", role_import},
    {"fork", role_fork},
    {"fork first", role_fork_first},
    {"exit", role_exit},
    {"exit first", role_exit_first},
    {"exit in use", role_exit_in_use},
};

#define cuda_test(f) cmocka_unit_test_teardown(f, cuda_teardown)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      cuda_test(ctor__of_bad_numbers_says_how_many_there_are),
      cuda_test(ctor__of_unknown_flags_is_a_value_error),
      cuda_test(ctor__looks_at_no_more_options_than_it_is_given),
      cuda_test(ctor__of_reserved_bits_is_a_value_error),
      cuda_test(ctor__of_nothing_is_a_value_error),
      cuda_test(ctor__tells_what_it_made),
      cuda_test(ctor__takes_streams_of_the_device_only),
      cuda_test(ctor__again_and_again_leaves_nothing_open),
      cuda_test(dtor__leaves_other_contexts_their_memory),
      cuda_test(device_info__makes_no_contexts),
      cuda_test(device_info__of_all_kinds_is_asked_once),
      cuda_test(device_info__of_host_memory_is_there_if_a_device_is),
      cuda_test(device_info__knows_what_is_free_of_a_device_in_use),
      cuda_test(library__that_is_missing_is_named),
      cuda_test(library__is_looked_for_where_the_loader_looks),
      cuda_test(library__of_CUDA_11_0_has_all_but_pools),
      cuda_test(library__that_is_the_stub_is_called_so),
      cuda_test(devices__that_are_missing_are_told),
      cuda_test(devices__that_lack_something_are_told),
      cuda_test(free__of_what_is_no_block_is_a_value_error),
      cuda_test(copies__past_the_end_are_index_errors),
      cuda_test(blocks__larger_than_the_device_are_memory_errors),
      cuda_test(blocks__of_any_size_are_aligned_as_asked),
      cuda_test(copies__of_pageable_memory_bring_each_byte),
      cuda_test(copies__of_memory_that_we_pinned_bring_each_byte),
      cuda_test(copies__of_pinned_memory_bring_each_byte),
      cuda_test(copies__of_managed_memory_bring_each_byte),
      cuda_test(copies__that_overlap_are_memmove),
      cuda_test(copies__within_a_device_stay_on_it),
      cuda_test(devices__that_reach_each_other_share_addresses),
      cuda_test(devices__that_do_not_are_strangers),
      cuda_test(devices__do_not_reach_blocks_of_pools),
      cuda_test(devices__copy_to_each_other),
      cuda_test(managed__addresses_are_the_devices_own),
      cuda_test(handles__lead_to_the_block_in_another_process),
      cuda_test(handles__that_were_changed_are_refused),
      cuda_test(handles__are_of_one_device),
      cuda_test(handles__are_of_whole_ranges_of_plain_blocks),
      cuda_test(handles__are_closed_with_the_context),
      cuda_test(pin__is_once_and_undone_once),
      cuda_test(pin__is_for_contexts_of_CUDA),
      cuda_test(child__is_told_that_it_cannot_use_the_device),
      cuda_test(child__of_who_has_not_used_CUDA_may_use_it),
      cuda_test(exit__leaves_the_device_alone),
      cuda_test(exit__handlers_that_come_first_can_use_the_device),
      cuda_test(exit__with_live_contexts_does_not_crash),
      cuda_test(threads__share_a_context),
      cuda_test(threads__construct_and_destroy_on_all_devices),
      cuda_test(threads__that_open_a_device_first_all_get_it),
  };
  client_load(&client, "libcuda.so.1");
  assert_ok(umemHost_ctor(&host));
  if (argc > 1)
    return rig_play(roles, LENGTH(roles), argv[1]);
  int const absent = rig_find_device();
  return absent ? absent : cmocka_run_group_tests(tests, NULL, NULL);
}
