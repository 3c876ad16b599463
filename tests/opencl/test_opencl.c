/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of OpenCL devices, as its users meet it: in every tier that the first
 * device has, and in processes of their own where the whole process matters
 * (main() has their roles). Kernels are in test_opencl_kernels.c.
 */
#include "core.h"

#include "doubles/rawcl.h"

#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, SKIPPED = 77, CAUGHT = 42 };

static umemOpenCLTier const tiers[] = {umemOpenCLUsm, umemOpenCLSvm,
                                       umemOpenCLBuffers};

static umemHost host;
static umemDeviceInfo first; /* the device under test */

/* --- support -------------------------------------------------------------- */

static umemStatusType try_tier(umemOpenCL *ctx, umemOpenCLTier tier) {
  umemOpenCLOptions options = {.size = sizeof options, .tier = tier};
  return umemOpenCL_ctor_ex(ctx, first.platform, first.device, &options);
}

static bool has_tier(umemOpenCLTier tier) {
  umemOpenCL ctx;
  umemStatusType status = try_tier(&ctx, tier);
  assert_true(status == umemOK || status == umemNotSupportedError);
  assert_ok(umem_dtor(&ctx));
  return status == umemOK;
}

static void open_tier(umemOpenCL *ctx, umemOpenCLTier tier) {
  if (try_tier(ctx, tier) != umemOK)
    fail_msg("%s", umem_get_message(ctx));
}

/* In every tier there is. */
static void each_tier(void (*run)(umemOpenCL *)) {
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    umemOpenCL ctx;
    if (!has_tier(tiers[i]))
      continue;
    open_tier(&ctx, tiers[i]);
    run(&ctx);
    assert_ok(umem_dtor(&ctx));
  }
}

static uintptr_t allocated(void const *ctx, size_t nbytes) {
  uintptr_t adr;
  if (umem_try_alloc(ctx, nbytes, &adr) != umemOK)
    fail_msg("%s", umem_get_message(ctx));
  return adr;
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
static void assert_no_context(umemOpenCL *ctx, umemStatusType told,
                              umemStatusType expected, char const *part) {
  void *object;
  assert_status(told, expected);
  assert_slot(ctx, expected, part);
  assert_status(umemOpenCL_get_objects(ctx, &object, NULL, NULL),
                umemTypeError);
  assert_ok(umem_dtor(ctx));
}

static uint64_t device_number(umemOpenCL const *ctx, clUint what) {
  void *device;
  uint64_t number = 0;
  assert_ok(umemOpenCL_get_objects(ctx, NULL, &device, NULL));
  assert_int_equal(
      rawcl()->clGetDeviceInfo(device, what, sizeof number, &number, NULL),
      UMEMI_CL_SUCCESS);
  return number;
}

/* --- construct ------------------------------------------------------------ */

static void ctor__of_bad_numbers_says_how_many_there_are(void **state) {
  (void)state;
  static int const bad[] = {-1, INT_MIN, 1000, INT_MAX};
  clPlatform platforms[64];
  clUint nplatforms, ndevices;
  char text[128], call[128];
  umemOpenCL ctx;
  rawcl()->clGetPlatformIDs(64, platforms, &nplatforms);
  rawcl()->clGetDeviceIDs(platforms[first.platform], UMEMI_CL_DEVICE_TYPE_ALL,
                          0, NULL, &ndevices);
  for (size_t i = 0; i < LENGTH(bad); i++) {
    snprintf(call, sizeof call, "umemOpenCL_ctor(platform %d, device 0)",
             bad[i]);
    snprintf(text, sizeof text, "there are %u platforms", nplatforms);
    assert_status(umemOpenCL_ctor(&ctx, bad[i], 0), umemIndexError);
    assert_has(umem_get_message(&ctx), call);
    assert_no_context(&ctx, umemIndexError, umemIndexError, text);
    snprintf(text, sizeof text, "platform %d has %u devices", first.platform,
             ndevices);
    assert_no_context(&ctx, umemOpenCL_ctor(&ctx, first.platform, bad[i]),
                      umemIndexError, text);
  }
  assert_no_context(&ctx, umemOpenCL_ctor(&ctx, (int)nplatforms, 0),
                    umemIndexError, "there are");
  assert_no_context(&ctx, umemOpenCL_ctor(&ctx, first.platform, (int)ndevices),
                    umemIndexError, "devices");
}

static void ctor__of_no_tier_is_a_value_error(void **state) {
  (void)state;
  static int const bad[] = {-1, 4, 99, INT_MAX, INT_MIN};
  char text[64];
  umemOpenCL ctx;
  for (size_t i = 0; i < LENGTH(bad); i++) {
    snprintf(text, sizeof text, "tier %d is none", bad[i]);
    assert_no_context(&ctx, try_tier(&ctx, (umemOpenCLTier)bad[i]),
                      umemValueError, text);
  }
}

static void ctor__of_a_tier_that_is_not_there_names_the_device(void **state) {
  (void)state;
  umemOpenCL ctx;
  umemOpenCLTier best = umemOpenCLBest;
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    umemStatusType status = try_tier(&ctx, tiers[i]);
    if (status == umemOK) {
      assert_int_equal(umemOpenCL_get_tier(&ctx), tiers[i]);
      best = best ? best : tiers[i];
      assert_ok(umem_dtor(&ctx));
      continue;
    }
    assert_has(umem_get_message(&ctx), "the device has no ");
    assert_no_context(&ctx, status, umemNotSupportedError, first.name);
  }
  assert_true(has_tier(umemOpenCLBuffers));
  assert_ok(umemOpenCL_ctor(&ctx, first.platform, first.device));
  assert_int_equal(umemOpenCL_get_tier(&ctx), best);
  assert_string_equal(umem_get_device_name(&ctx), "OpenCL");
  assert_int_equal(umem_fundamental_align(&ctx), 64);
  assert_ok(umem_dtor(&ctx));
}

static void ctor__looks_at_no_more_options_than_it_is_given(void **state) {
  (void)state;
  struct {
    umemOpenCLOptions options;
    unsigned char newer[8];
  } given = {.options = {.size = sizeof given}};
  umemOpenCL ctx;
  assert_ok(
      umemOpenCL_ctor_ex(&ctx, first.platform, first.device, &given.options));
  assert_ok(umem_dtor(&ctx));
  given.newer[7] = 1;
  assert_no_context(
      &ctx,
      umemOpenCL_ctor_ex(&ctx, first.platform, first.device, &given.options),
      umemNotSupportedError, "knows");
  for (size_t size = 0; size < sizeof size; size++) {
    given.options.size = size;
    assert_no_context(
        &ctx,
        umemOpenCL_ctor_ex(&ctx, first.platform, first.device, &given.options),
        umemValueError, "set it to the struct's sizeof");
  }
  given.options.tier = (umemOpenCLTier)99; /* not among the first 8 bytes */
  given.options.size = sizeof(size_t);
  assert_ok(
      umemOpenCL_ctor_ex(&ctx, first.platform, first.device, &given.options));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umemOpenCL_ctor_ex(&ctx, first.platform, first.device, NULL));
  assert_ok(umem_dtor(&ctx));
}

static void ctor__of_reserved_bits_is_a_value_error(void **state) {
  (void)state;
  umemOpenCLOptions options = {.size = sizeof options, .reserved = 1};
  umemOpenCL ctx;
  assert_no_context(
      &ctx, umemOpenCL_ctor_ex(&ctx, first.platform, first.device, &options),
      umemValueError, "reserved");
}

static void ctor__of_nothing_is_a_value_error(void **state) {
  (void)state;
  assert_status(umemOpenCL_ctor(NULL, 0, 0), umemValueError);
  assert_status(umemOpenCL_ctor_ex(NULL, 0, 0, NULL), umemValueError);
}

static void construct_and_use(void) {
  umemOpenCL ctx;
  void *queue;
  assert_ok(umemOpenCL_ctor(&ctx, first.platform, first.device));
  assert_ok(umemOpenCL_get_objects(&ctx, NULL, NULL, &queue));
  uintptr_t adr = allocated(&ctx, 1000);
  assert_ok(umem_try_set(&ctx, adr, 'x', 1000));
  allocated(&ctx, 3000); /* freed by the destructor */
  assert_ok(umem_free(&ctx, adr));
  assert_ok(umem_dtor(&ctx));
}

/* What a driver keeps it keeps from the first time on. */
static void ctor__again_and_again_leaves_nothing_open(void **state) {
  (void)state;
  construct_and_use();
  construct_and_use();
  int const descriptors = open_descriptors(), threads = running_threads();
  for (size_t i = 0; i < scaled(200, 20); i++)
    construct_and_use();
  assert_int_equal(open_descriptors(), descriptors);
  assert_in_range(running_threads(), 1, threads + 2);
}

/* The options of a failed construction are no use to the next one. */
static void ctor__after_failures_starts_afresh(void **state) {
  (void)state;
  umemOpenCL ctx;
  for (int i = 0; i < 3; i++) {
    assert_status(umemOpenCL_ctor(&ctx, -1, 0), umemIndexError);
    assert_ok(umemOpenCL_ctor(&ctx, first.platform, first.device));
    assert_ok(umem_dtor(&ctx));
    assert_ok(umem_dtor(&ctx));
  }
}

/* --- the list ------------------------------------------------------------- */

static void assert_is_device(umemDeviceInfo const *info) {
  clPlatform platforms[64];
  clDevice devices[64];
  clUint count;
  void *device;
  umemOpenCL ctx;
  assert_ok(umemOpenCL_ctor(&ctx, info->platform, info->device));
  assert_ok(umemOpenCL_get_objects(&ctx, NULL, &device, NULL));
  rawcl()->clGetPlatformIDs(64, platforms, &count);
  assert_in_range(info->platform, 0, count - 1);
  rawcl()->clGetDeviceIDs(platforms[info->platform], UMEMI_CL_DEVICE_TYPE_ALL,
                          64, devices, &count);
  assert_in_range(info->device, 0, count - 1);
  assert_ptr_equal(device, devices[info->device]);
  assert_true(info->total_bytes ==
              device_number(&ctx, UMEMI_CL_DEVICE_GLOBAL_MEM_SIZE));
  assert_ok(umem_dtor(&ctx));
}

static void device_info__lists_what_can_be_constructed(void **state) {
  (void)state;
  size_t const count = umem_device_count(umemOpenCLDevice);
  umemDeviceInfo info = {.size = sizeof info}, last = first;
  assert_true(count >= 1);
  for (size_t i = 0; i < count; i++) {
    assert_ok(umem_device_info(umemOpenCLDevice, i, &info));
    assert_int_equal(info.type, umemOpenCLDevice);
    assert_int_equal(info.usable, 1);
    assert_int_equal(info.numa_node, -1);
    assert_true(info.name[0] != '\0');
    assert_string_equal(info.reason, "");
    assert_true(info.total_bytes > 0);
    if (i > 0)
      assert_true(
          info.platform > last.platform ||
          (info.platform == last.platform && info.device == last.device + 1));
    assert_is_device(&info);
    last = info;
  }
  assert_status(umem_device_info(umemOpenCLDevice, count, &info),
                umemIndexError);
}

/* --- what is missing: processes of their own ------------------------------ */

static void *no_library(char const *name, int flags) {
  (void)flags;
  assert_string_equal(name, "libOpenCL.so.1");
  return NULL;
}

static void *no_finish(void *library, char const *name) {
  return strcmp(name, "clFinish") ? faults_real.dlsym(library, name) : NULL;
}

static void assert_unusable(char const *why) {
  umemOpenCL ctx;
  umemDeviceInfo info = {.size = sizeof info};
  assert_no_context(&ctx, umemOpenCL_ctor(&ctx, 0, 0), umemNotSupportedError,
                    why);
  assert_int_equal(umem_device_count(umemOpenCLDevice), 0);
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &info));
  assert_int_equal(info.usable, 0);
  assert_string_equal(info.name, "");
  assert_has(info.reason, why);
  assert_status(umem_device_info(umemOpenCLDevice, 1, &info), umemIndexError);
}

static int role_without_library(void) {
  umemi_os.dlopen = no_library;
  assert_unusable("libOpenCL.so.1");
  faults_reset();
  umemi_os.dlsym = no_finish;
  assert_unusable("libOpenCL.so.1 has no clFinish()");
  faults_reset();
  assert_true(umem_device_count(umemOpenCLDevice) > 0); /* found after all */
  return 0;
}

static int role_without_platform(void) {
  assert_unusable("no OpenCL platform");
  assert_unusable("no OpenCL platform");
  return 0;
}

static void assert_role_succeeds(char const *role, char const *setting) {
  char told[4096];
  int status = run_again(role, setting, told, sizeof told);
  if (status != 0)
    fail_msg("%s, %s: status %d\n%s", role, setting ? setting : "as we are",
             status, told);
}

static void library__that_is_missing_is_named(void **state) {
  (void)state;
  assert_role_succeeds("without library", NULL);
}

static void platforms__that_are_missing_are_told(void **state) {
  (void)state;
  assert_role_succeeds("without platform", "OCL_ICD_VENDORS=/nonexistent/");
}

/* --- addresses ------------------------------------------------------------ */

static void run_out_of_blocks(umemOpenCL *ctx) {
  enum { SIZE = 5000 };
  static unsigned char bytes[SIZE], in[SIZE + 1];
  uintptr_t const at = (uintptr_t)in, adr = allocated(ctx, SIZE),
                  other = allocated(ctx, SIZE);
  random_bytes(bytes, sizeof bytes, 1);
  put(ctx, adr, bytes, SIZE);
  put(ctx, other, bytes, SIZE);
  assert_fails(ctx, umem_copy_to(&host, at, ctx, adr, SIZE + 1), umemIndexError,
               "leave the block of 5000 bytes");
  assert_fails(ctx, umem_copy_to(ctx, adr, &host, at, SIZE + 1), umemIndexError,
               "leave the block of 5000 bytes");
  assert_fails(ctx, umem_copy_to(&host, at, ctx, adr + 1, SIZE), umemIndexError,
               "leave the block");
  assert_fails(ctx, umem_copy_to(ctx, adr, ctx, other + 1, SIZE),
               umemIndexError, "leave the block");
  assert_fails(ctx, umem_copy_to(ctx, adr + SIZE - 1, ctx, other, 2),
               umemIndexError, "leave the block");
  assert_fails(ctx, umem_try_set(ctx, adr, 0, SIZE + 1), umemIndexError,
               "leave the block");
  assert_fails(ctx, umem_copy_to(&host, at, ctx, adr - 1, 2), umemValueError,
               "in no live block");
  assert_fails(ctx, umem_copy_to(&host, at, ctx, adr + SIZE, 1), umemValueError,
               "in no live block");
  umem_clean_status(&host);
  assert_holds(ctx, adr, bytes, SIZE);
  assert_holds(ctx, other, bytes, SIZE);
  assert_true(all_bytes_are(in, sizeof in, 0));
  assert_ok(umem_free(ctx, adr));
  assert_ok(umem_free(ctx, other));
}

static void copies__out_of_a_block_move_nothing(void **state) {
  (void)state;
  each_tier(run_out_of_blocks);
}

static void run_dead_addresses(umemOpenCL *ctx) {
  unsigned char bytes[64] = {0};
  uintptr_t const in = (uintptr_t)bytes, adr = allocated(ctx, 64);
  uintptr_t const bad[] = {adr, in, 1, 0, UINTPTR_MAX - 64};
  uintptr_t const live = allocated(ctx, 64);
  assert_fails(ctx, umem_free(ctx, adr + 1), umemValueError,
               "lies inside the block of 64 bytes");
  assert_ok(umem_free(ctx, adr));
  assert_fails(ctx, umem_free(ctx, adr), umemValueError, "freed already");
  assert_fails(ctx, umem_free(ctx, in), umemValueError, "not a live block");
  for (size_t i = 0; i < LENGTH(bad); i++) {
    assert_fails(ctx, umem_copy_to(&host, in, ctx, bad[i], 8), umemValueError,
                 "in no live block");
    assert_fails(ctx, umem_copy_to(ctx, bad[i], &host, in, 8), umemValueError,
                 "in no live block");
    assert_fails(ctx, umem_copy_to(ctx, live, ctx, bad[i], 8), umemValueError,
                 "in no live block");
    assert_fails(ctx, umem_try_set(ctx, bad[i], 'x', 8), umemValueError,
                 "in no live block");
  }
  umem_clean_status(&host);
  assert_true(all_bytes_are(bytes, sizeof bytes, 0));
  assert_ok(umem_free(ctx, 0));
  assert_ok(umem_free(ctx, live));
}

static void addresses__that_are_none_are_value_errors(void **state) {
  (void)state;
  each_tier(run_dead_addresses);
}

static void run_large_blocks(umemOpenCL *ctx) {
  uint64_t largest = device_number(ctx, UMEMI_CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  uintptr_t adr = 5;
  size_t const sizes[] = {(size_t)largest + 1, (size_t)largest * 4,
                          PTRDIFF_MAX};
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    assert_fails(ctx, umem_try_alloc(ctx, sizes[i], &adr), umemMemoryError,
                 "no blocks of more than");
    assert_fails(ctx, umem_try_calloc(ctx, sizes[i], 1, &adr), umemMemoryError,
                 "no blocks of more than");
  }
  assert_status(umem_try_alloc(ctx, SIZE_MAX, &adr), umemMemoryError);
  umem_clean_status(ctx);
  assert_int_equal(adr, 5);
  adr = allocated(ctx, 1000); /* and goes on */
  assert_ok(umem_try_set(ctx, adr, 1, 1000));
  assert_ok(umem_free(ctx, adr));
}

static void blocks__larger_than_the_device_has_are_memory_errors(void **state) {
  (void)state;
  each_tier(run_large_blocks);
}

static void run_sizes_and_alignments(umemOpenCL *ctx) {
  static unsigned char zeros[4096];
  for (size_t alignment = 1; alignment <= 1 << 20; alignment *= 4) {
    uintptr_t adr = umem_aligned_alloc(ctx, alignment, alignment * 3);
    assert_true(adr != 0 && adr % alignment == 0);
    assert_ok(umem_try_set(ctx, adr, 1, alignment * 3));
    assert_ok(umem_free(ctx, adr));
  }
  uintptr_t none = allocated(ctx, 0), another = allocated(ctx, 0),
            zeroed = umem_calloc(ctx, 2, sizeof zeros / 2);
  assert_true(none && another && none != another);
  assert_holds(ctx, zeroed, zeros, sizeof zeros);
  assert_ok(umem_try_set(ctx, none, 1, 0));
  assert_ok(umem_copy_to(ctx, none, ctx, zeroed, 0));
  assert_status(umem_try_set(ctx, none, 1, 1), umemIndexError);
  umem_clean_status(ctx);
  assert_ok(umem_free(ctx, none));
  assert_ok(umem_free(ctx, another));
  for (size_t i = 0; i < 20; i++) {
    uintptr_t adr = allocated(ctx, i * 7);
    assert_int_equal(adr % 64, 0);
  }
}

static void blocks__of_any_size_are_aligned_as_asked(void **state) {
  (void)state;
  each_tier(run_sizes_and_alignments);
}

/* --- copies on the device ------------------------------------------------- */

static char const *copy_method(umemOpenCLTier tier) {
  return tier == umemOpenCLUsm   ? "clEnqueueMemcpyINTEL"
         : tier == umemOpenCLSvm ? "clEnqueueSVMMemcpy"
                                 : "clEnqueueCopyBuffer";
}

static void run_plan(umemOpenCL *ctx) {
  umemCopyPlan plan = {.size = sizeof plan};
  uintptr_t a = allocated(ctx, MIB), b = allocated(ctx, MIB);
  assert_ok(umem_copy_plan(ctx, a, ctx, b, MIB, &plan));
  assert_int_equal(plan.rung, umemDirectRung);
  assert_string_equal(plan.method, copy_method(umemOpenCL_get_tier(ctx)));
  assert_int_equal(plan.staging, 0);
  assert_fails(ctx, umem_copy_plan(ctx, a, ctx, b, MIB + 1, &plan),
               umemIndexError, "leave the block");
  assert_ok(
      umem_copy_plan(&host, (uintptr_t)&plan, ctx, b, sizeof plan, &plan));
  assert_true(plan.rung == umemSourceViewRung || plan.rung == umemDestViewRung);
}

static void copies__within_a_device_stay_on_it(void **state) {
  (void)state;
  each_tier(run_plan);
}

static void move(umemOpenCL *ctx, uintptr_t adr, unsigned char *image,
                 size_t size, size_t from, size_t to, size_t nbytes) {
  memmove(image + to, image + from, nbytes);
  assert_ok(umem_copy_to(ctx, adr + from, ctx, adr + to, nbytes));
  assert_holds(ctx, adr, image, size);
}

/* Scratch memory of the library is 8 MiB: more is moved in pieces. */
static void run_overlaps(umemOpenCL *ctx) {
  size_t const size = scaled(20 * MIB, 9 * MIB) + 12345;
  size_t const shifts[] = {1, 1000, MIB + 1, size / 3};
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
  free(image);
  assert_ok(umem_free(ctx, adr));
}

static void copies__that_overlap_are_memmove(void **state) {
  (void)state;
  each_tier(run_overlaps);
}

/* --- a thousand blocks ---------------------------------------------------- */

enum { BLOCKS = 1000, BLOCK_MAX = 9000 };

struct oracle {
  uintptr_t adr;
  size_t nbytes;
  unsigned char *bytes;
};

static struct oracle blocks[BLOCKS];

static void oracle_begin(umemOpenCL *ctx, struct oracle *o, uint64_t *random) {
  o->nbytes = random_below(random, 4) ? random_below(random, BLOCK_MAX)
                                      : 4096 * random_below(random, 3);
  o->adr = allocated(ctx, o->nbytes);
  o->bytes = malloc(o->nbytes + 1);
  assert_non_null(o->bytes);
  random_bytes(o->bytes, o->nbytes, *random);
  put(ctx, o->adr, o->bytes, o->nbytes);
}

static void oracle_end(umemOpenCL *ctx, struct oracle *o) {
  assert_holds(ctx, o->adr, o->bytes, o->nbytes);
  assert_ok(umem_free(ctx, o->adr));
  free(o->bytes);
}

/* A part of one is read, written, set, or copied into another. */
static void oracle_step(umemOpenCL *ctx, struct oracle *a, struct oracle *b,
                        uint64_t *random) {
  size_t least = a->nbytes < b->nbytes ? a->nbytes : b->nbytes;
  size_t n = random_below(random, least + 1);
  size_t from = random_below(random, a->nbytes - n + 1);
  size_t to = random_below(random, b->nbytes - n + 1);
  switch (random_below(random, 4)) {
  case 0:
    assert_holds(ctx, a->adr + from, a->bytes + from, n);
    return;
  case 1:
    random_bytes(a->bytes + from, n, *random);
    put(ctx, a->adr + from, a->bytes + from, n);
    return;
  case 2:
    memset(a->bytes + from, (int)n & 0xff, n);
    assert_ok(umem_try_set(ctx, a->adr + from, (int)n, n));
    return;
  default:
    memmove(b->bytes + to, a->bytes + from, n);
    assert_ok(umem_copy_to(ctx, a->adr + from, ctx, b->adr + to, n));
  }
}

static int oracle_compare(void const *a, void const *b) {
  struct oracle const *one = a, *two = b;
  return one->adr < two->adr ? -1 : one->adr > two->adr;
}

/* Not even the end of one is the start of another: 0 bytes there are no bytes
   of the next. */
static void assert_apart(size_t count, size_t room) {
  qsort(blocks, count, sizeof *blocks, oracle_compare);
  for (size_t i = 1; i < count; i++)
    assert_true(blocks[i - 1].adr + blocks[i - 1].nbytes + room <=
                blocks[i].adr);
}

static void run_many_blocks(umemOpenCL *ctx) {
  uint64_t random = 11;
  size_t const count = scaled(BLOCKS, 100);
  for (size_t i = 0; i < count; i++)
    oracle_begin(ctx, &blocks[i], &random);
  assert_apart(count, umemOpenCL_get_tier(ctx) == umemOpenCLBuffers);
  for (size_t i = 0; i < 3 * count; i++) {
    struct oracle *a = &blocks[random_below(&random, count)];
    oracle_step(ctx, a, &blocks[random_below(&random, count)], &random);
    if (i % 5 == 0) {
      oracle_end(ctx, a);
      oracle_begin(ctx, a, &random);
    }
  }
  assert_apart(count, umemOpenCL_get_tier(ctx) == umemOpenCLBuffers);
  for (size_t i = 0; i < count; i++)
    oracle_end(ctx, &blocks[i]);
}

static void blocks__by_the_thousand_keep_their_bytes(void **state) {
  (void)state;
  each_tier(run_many_blocks);
}

/* --- addresses of buffers ------------------------------------------------- */

static uintptr_t touched;

static void fault_seen(int number, siginfo_t *info, void *machine) {
  (void)number, (void)machine;
  _exit((uintptr_t)info->si_addr == touched ? CAUGHT : 1);
}

static int role_touch(void) {
  struct sigaction action = {.sa_sigaction = fault_seen,
                             .sa_flags = SA_SIGINFO};
  umemOpenCL ctx;
  open_tier(&ctx, umemOpenCLBuffers);
  touched = allocated(&ctx, 10000) + 77;
  assert_ok(umem_try_set(&ctx, touched, 'x', 100));
  assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
  return *(unsigned char volatile *)touched == 'x' ? 2 : 3;
}

static void addresses__of_buffers_fault_if_the_host_follows_them(void **state) {
  (void)state;
  char told[1024];
  int status = run_again("touch", NULL, told, sizeof told);
  if (status != CAUGHT)
    fail_msg("status %d\n%s", status, told);
}

/* --- several contexts ----------------------------------------------------- */

static void run_two_contexts(umemOpenCL *a) {
  unsigned char bytes[1000];
  umemOpenCL b;
  open_tier(&b, umemOpenCL_get_tier(a));
  uintptr_t const adr = allocated(a, sizeof bytes),
                  own = allocated(&b, sizeof bytes);
  random_bytes(bytes, sizeof bytes, 5);
  put(&b, adr, bytes, sizeof bytes);
  assert_true(umem_is_same_device(a, &b));
  assert_true(umem_is_accessible_from(a, &b));
  assert_true(umem_is_accessible_from(&b, a));
  assert_int_equal(umem_connect(a, adr, sizeof bytes, &b, 0), adr);
  assert_ok(umem_sync_to(a, adr, &b, adr, sizeof bytes));
  assert_ok(umem_disconnect(a, adr, &b, adr, 0));
  assert_ok(umem_copy_to(&b, adr, &b, own, sizeof bytes));
  assert_holds(a, own, bytes, sizeof bytes);
  assert_ok(umem_copy_to(a, adr, &b, own, sizeof bytes));
  assert_fails(&b, umem_free(&b, adr), umemValueError, "not a live block of");
  assert_holds(a, adr, bytes, sizeof bytes);
  assert_ok(umem_dtor(&b));
  assert_fails(a, umem_try_set(a, own, 1, 1), umemValueError,
               "in no live block");
  assert_holds(a, adr, bytes, sizeof bytes);
}

static void contexts__of_one_device_are_one_address_space(void **state) {
  (void)state;
  each_tier(run_two_contexts);
}

/* Whoever made the space may go first. */
static void run_heirs(umemOpenCL *ctx) {
  umemOpenCL a, b;
  umemOpenCLTier tier = umemOpenCL_get_tier(ctx);
  assert_ok(umem_dtor(ctx));
  open_tier(&a, tier);
  open_tier(&b, tier);
  uintptr_t adr = allocated(&b, 500);
  allocated(&a, 500);
  assert_ok(umem_dtor(&a));
  assert_ok(umem_try_set(&b, adr, 9, 500));
  open_tier(&a, tier);
  assert_true(umem_is_same_device(&a, &b));
  assert_ok(umem_try_set(&a, adr, 9, 500));
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
  open_tier(ctx, tier);
}

static void contexts__outlive_those_that_came_before(void **state) {
  (void)state;
  each_tier(run_heirs);
}

/* They have nothing in common; what is copied goes through the host. */
static void assert_strangers(umemOpenCL *a, umemOpenCL *b) {
  unsigned char *bytes = malloc(3 * MIB);
  assert_non_null(bytes);
  random_bytes(bytes, 3 * MIB, 6);
  uintptr_t adr = allocated(a, 3 * MIB);
  put(a, adr, bytes, 3 * MIB);
  assert_false(umem_is_same_device(a, b));
  assert_false(umem_is_accessible_from(a, b));
  assert_false(umem_is_accessible_from(b, a));
  uintptr_t mirror = umem_connect(a, adr, 3 * MIB, b, 0);
  assert_true(umem_is_ok(b));
  assert_holds(b, mirror, bytes, 3 * MIB);
  assert_ok(umem_try_set(a, adr, 'y', 3 * MIB));
  assert_ok(umem_sync_to(a, adr, b, mirror, 3 * MIB));
  memset(bytes, 'y', 3 * MIB);
  assert_holds(b, mirror, bytes, 3 * MIB);
  assert_fails(b, umem_try_set(b, adr, 0, 1), umemValueError,
               "in no live block");
  assert_ok(umem_disconnect(a, adr, b, mirror, 0));
  assert_ok(umem_free(a, adr));
  free(bytes);
}

static void run_other_tiers(umemOpenCL *ctx) {
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    umemOpenCL other;
    if (tiers[i] == umemOpenCL_get_tier(ctx) || !has_tier(tiers[i]))
      continue;
    open_tier(&other, tiers[i]);
    assert_strangers(ctx, &other);
    assert_ok(umem_dtor(&other));
  }
}

static void contexts__of_different_tiers_are_different_devices(void **state) {
  (void)state;
  each_tier(run_other_tiers);
}

static umemDeviceInfo second;

static void run_second_device(umemOpenCL *ctx) {
  umemOpenCL other;
  umemOpenCLOptions options = {.size = sizeof options,
                               .tier = umemOpenCL_get_tier(ctx)};
  umemStatusType status =
      umemOpenCL_ctor_ex(&other, second.platform, second.device, &options);
  if (status == umemOK)
    assert_strangers(ctx, &other);
  assert_ok(umem_dtor(&other));
}

static void devices__are_different_address_spaces(void **state) {
  (void)state;
  second.size = sizeof second;
  if (umem_device_info(umemOpenCLDevice, 1, &second) != umemOK) {
    print_message("there is one OpenCL device only\n");
    skip();
  }
  each_tier(run_second_device);
}

/* --- fork: processes of their own ----------------------------------------- */

static umemOpenCL ours;
static uintptr_t our_block;

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
  assert_true(all_bytes_are(bytes, sizeof bytes, 0));
}

static void child_has_nothing(void) {
  void *objects[3], *mem;
  size_t offset;
  uintptr_t adr;
  umemOpenCL fresh;
  umemDeviceInfo info = {.size = sizeof info};
  assert_forked(&ours, umem_try_alloc(&ours, 8, &adr));
  assert_forked(&ours, umem_try_calloc(&ours, 8, 8, &adr));
  assert_forked(&ours, umem_try_aligned_alloc(&ours, 4096, 4096, &adr));
  assert_forked(&ours,
                umem_try_connect(&host, (uintptr_t)objects, 8, &ours, 0, &adr));
  assert_forked(&ours, umemOpenCL_get_objects(&ours, &objects[0], &objects[1],
                                              &objects[2]));
  assert_forked(&ours, umemOpenCL_get_mem(&ours, our_block, &mem, &offset));
  assert_forked(&ours, umemOpenCL_set_arg(&ours, objects, 0, our_block));
  assert_status(umemOpenCL_ctor(&fresh, first.platform, first.device),
                umemRuntimeError);
  assert_slot(&fresh, umemRuntimeError, "fork()");
  assert_ok(umem_dtor(&fresh));
  assert_int_equal(umem_device_count(umemOpenCLDevice), 0);
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &info));
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

static int role_fork(void) {
  unsigned char bytes[1000];
  random_bytes(bytes, sizeof bytes, 8);
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    if (!has_tier(tiers[i]))
      continue;
    open_tier(&ours, tiers[i]);
    our_block = allocated(&ours, sizeof bytes);
    put(&ours, allocated(&ours, sizeof bytes), bytes, sizeof bytes);
    put(&ours, our_block, bytes, sizeof bytes);
    assert_child_succeeds(child_ends_what_it_inherited);
    assert_child_succeeds(child_leaves_all_alone);
    assert_holds(&ours, our_block, bytes, sizeof bytes);
    assert_ok(umem_free(&ours, our_block));
    assert_ok(umem_dtor(&ours));
  }
  return 0;
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

/* PoCL has devices with threads and without; others do not look. */
static void child__of_a_driver_with_threads_does_not_hang(void **state) {
  (void)state;
  skip_where_nobody_may_fork();
  assert_role_succeeds("fork", "POCL_DEVICES=pthread");
}

static void child_uses_the_device(void) {
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &first));
  construct_and_use();
}

/* Asking what there is does not count as use. */
static int role_fork_first(void) {
  assert_true(umem_device_count(umemOpenCLDevice) > 0);
  for (int i = 0; i < 2; i++)
    assert_child_succeeds(child_uses_the_device);
  child_uses_the_device();
  return 0;
}

static void child__of_who_has_not_used_OpenCL_may_use_it(void **state) {
  (void)state;
  skip_where_nobody_may_fork();
  assert_role_succeeds("fork first", NULL);
}

/* --- exit: processes of their own ----------------------------------------- */

static void use_at_exit(void) {
  unsigned char bytes[64];
  umemOpenCL fresh;
  umemStatusType copied =
      umem_copy_to(&ours, our_block, &host, (uintptr_t)bytes, sizeof bytes);
  printf("copy %s: %s\n", umem_get_status_name(copied),
         umem_get_message(&ours));
  printf("free %s\n", umem_get_status_name(umem_free(&ours, our_block)));
  printf("dtor %s\n", umem_get_status_name(umem_dtor(&ours)));
  printf("ctor %s\n", umem_get_status_name(umemOpenCL_ctor(
                          &fresh, first.platform, first.device)));
  umem_dtor(&fresh);
}

static void begin_ours(void) {
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &first));
  assert_ok(umemOpenCL_ctor(&ours, first.platform, first.device));
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
  if (UNDER_ASAN)
    assert_int_equal(atexit(end_without_leak_checks), 0);
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

/* Our handler comes after this one: drivers may work, or not any more. */
static void exit__handlers_that_come_first_do_not_crash(void **state) {
  (void)state;
  char told[4096];
  int status = run_again("exit first", NULL, told, sizeof told);
  if (status != 0)
    fail_msg("status %d\n%s", status, told);
  assert_has(told, "free OK\ndtor OK\n");
}

static void exit__with_live_contexts_does_not_crash(void **state) {
  (void)state;
  assert_role_succeeds("exit in use", NULL);
}

/* --- threads -------------------------------------------------------------- */

struct user {
  umemOpenCL *ctx; /* NULL: its own */
  umemOpenCLTier tier;
  uint64_t seed;
  char const *failed;
};

#define TRY(user, call)                                                        \
  do {                                                                         \
    if ((call) != umemOK && !(user)->failed)                                   \
      (user)->failed = #call;                                                  \
  } while (0)

/* No assertions: they are for the main thread. */
static void use(struct user *user, umemOpenCL *ctx) {
  enum { SIZE = 50000 };
  unsigned char *in = malloc(2 * SIZE), *out = in + SIZE;
  uintptr_t a = 0, b = 0;
  random_bytes(in, SIZE, user->seed++);
  memset(out, 0, SIZE);
  TRY(user, umem_try_alloc(ctx, SIZE, &a));
  TRY(user, umem_try_alloc(ctx, SIZE, &b));
  TRY(user, umem_copy_to(&host, (uintptr_t)in, ctx, a, SIZE));
  TRY(user, umem_try_set(ctx, b, 'z', SIZE));
  TRY(user, umem_copy_to(ctx, a, ctx, b, SIZE));
  TRY(user, umem_copy_to(ctx, b + 100, ctx, b + 200, SIZE - 200));
  TRY(user, umem_copy_to(ctx, b, &host, (uintptr_t)out, SIZE));
  TRY(user, umem_free(ctx, b));
  TRY(user, umem_free(ctx, a));
  if (memcmp(out, in, 200) || memcmp(out + 200, in + 100, SIZE - 200))
    user->failed = user->failed ? user->failed : "the bytes";
  free(in);
}

static void *use_often(void *argument) {
  struct user *user = argument;
  for (size_t i = 0; i < scaled(50, 5) && !user->failed; i++) {
    umemOpenCL own = {{{0}}};
    umemOpenCL *ctx = user->ctx ? user->ctx : &own;
    if (!user->ctx)
      TRY(user, try_tier(&own, user->tier));
    if (!user->failed)
      use(user, ctx);
    if (!user->ctx)
      TRY(user, umem_dtor(&own));
  }
  return NULL;
}

static void assert_threads_succeed(umemOpenCL *shared, umemOpenCLTier tier) {
  struct user users[THREADS];
  for (size_t i = 0; i < THREADS; i++)
    users[i] = (struct user){shared, tier, 1000 * i, NULL};
  in_threads(use_often, users, sizeof *users);
  for (size_t i = 0; i < THREADS; i++)
    if (users[i].failed)
      fail_msg("thread %zu: %s", i, users[i].failed);
}

static void run_threads_on_one(umemOpenCL *ctx) {
  assert_threads_succeed(ctx, umemOpenCL_get_tier(ctx));
  assert_true(umem_is_ok(ctx));
}

static void threads__share_a_context(void **state) {
  (void)state;
  each_tier(run_threads_on_one);
}

/* And the space of the device, which begins and ends many times. */
static void threads__construct_and_destroy_at_once(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(tiers); i++)
    if (has_tier(tiers[i]))
      assert_threads_succeed(NULL, tiers[i]);
}

static pthread_key_t last_words;

static void destroy_at_last(void *ctx) {
  umem_dtor(ctx);
}

/* The thread has used the driver, whose thread-local objects end first. */
static void *leave_a_context(void *ctx) {
  umem_free(ctx, umem_alloc(ctx, 1));
  pthread_setspecific(last_words, ctx);
  return NULL;
}

/* What the context could not give back any more, and what the test retains. */
static void release_all(clQueue queue) {
  enum { REFERENCE_COUNT = 0x1092 };
  clUint count = 0;
  assert_int_equal(rawcl()->clGetCommandQueueInfo(queue, REFERENCE_COUNT,
                                                  sizeof count, &count, NULL),
                   UMEMI_CL_SUCCESS);
  assert_true(count >= 1);
  while (count-- > 0)
    rawcl()->clReleaseCommandQueue(queue);
}

static void run_without_one_that_ended_late(umemOpenCL *ctx) {
  umemOpenCL beside;
  pthread_t thread;
  void *queue;
  uintptr_t adr = allocated(ctx, 100);
  open_tier(&beside, umemOpenCL_get_tier(ctx));
  assert_ok(umemOpenCL_get_objects(&beside, NULL, NULL, &queue));
  assert_int_equal(rawcl()->clRetainCommandQueue(queue), UMEMI_CL_SUCCESS);
  assert_int_equal(pthread_create(&thread, NULL, leave_a_context, &beside), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_ok(umem_free(ctx, adr));
  release_all(queue);
}

/* Where the driver may not be used any more. */
static void threads__that_end_may_destroy_a_context_last(void **state) {
  (void)state;
  assert_int_equal(pthread_key_create(&last_words, destroy_at_last), 0);
  each_tier(run_without_one_that_ended_late);
  assert_int_equal(pthread_key_delete(last_words), 0);
}

struct asker {
  umemOpenCL *ctx;
  pthread_barrier_t *start;
  void *queue;
};

static void *ask_for_queue(void *argument) {
  struct asker *asker = argument;
  pthread_barrier_wait(asker->start);
  umemOpenCL_get_objects(asker->ctx, NULL, NULL, &asker->queue);
  return NULL;
}

static void threads__that_ask_for_the_queue_first_get_the_same(void **state) {
  (void)state;
  struct asker askers[THREADS];
  pthread_barrier_t start;
  assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
  for (size_t round = 0; round < scaled(50, 5); round++) {
    umemOpenCL ctx;
    assert_ok(umemOpenCL_ctor(&ctx, first.platform, first.device));
    for (size_t i = 0; i < THREADS; i++)
      askers[i] = (struct asker){&ctx, &start, NULL};
    in_threads(ask_for_queue, askers, sizeof *askers);
    for (size_t i = 0; i < THREADS; i++) {
      assert_non_null(askers[i].queue);
      assert_ptr_equal(askers[i].queue, askers[0].queue);
    }
    assert_ok(umem_dtor(&ctx));
  }
  pthread_barrier_destroy(&start);
}

/* --- main ----------------------------------------------------------------- */

/* Processes that have not touched OpenCL when they begin. */
static struct {
  char const *name;
  int (*run)(void);
  bool finds_first; /* it is told which device */
} const roles[] = {
    {"without library", role_without_library, false},
    {"without platform", role_without_platform, false},
    {"touch", role_touch, true},
    {"fork", role_fork, true},
    {"fork first", role_fork_first, false},
    {"exit", role_exit, false},
    {"exit first", role_exit_first, false},
    {"exit in use", role_exit_in_use, false},
};

static bool find_first(void) {
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &first));
  return first.usable;
}

static int play(char const *name) {
  for (size_t i = 0; i < LENGTH(roles); i++)
    if (strcmp(roles[i].name, name) == 0)
      return roles[i].finds_first && !find_first() ? SKIPPED : roles[i].run();
  return EXIT_FAILURE;
}

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(ctor__of_bad_numbers_says_how_many_there_are),
      cmocka_unit_test(ctor__of_no_tier_is_a_value_error),
      cmocka_unit_test(ctor__of_a_tier_that_is_not_there_names_the_device),
      cmocka_unit_test(ctor__looks_at_no_more_options_than_it_is_given),
      cmocka_unit_test(ctor__of_reserved_bits_is_a_value_error),
      cmocka_unit_test(ctor__of_nothing_is_a_value_error),
      cmocka_unit_test(ctor__again_and_again_leaves_nothing_open),
      cmocka_unit_test(ctor__after_failures_starts_afresh),
      cmocka_unit_test(device_info__lists_what_can_be_constructed),
      cmocka_unit_test(library__that_is_missing_is_named),
      cmocka_unit_test(platforms__that_are_missing_are_told),
      cmocka_unit_test(copies__out_of_a_block_move_nothing),
      cmocka_unit_test(addresses__that_are_none_are_value_errors),
      cmocka_unit_test(blocks__larger_than_the_device_has_are_memory_errors),
      cmocka_unit_test(blocks__of_any_size_are_aligned_as_asked),
      cmocka_unit_test(copies__within_a_device_stay_on_it),
      cmocka_unit_test(copies__that_overlap_are_memmove),
      cmocka_unit_test(blocks__by_the_thousand_keep_their_bytes),
      cmocka_unit_test(addresses__of_buffers_fault_if_the_host_follows_them),
      cmocka_unit_test(contexts__of_one_device_are_one_address_space),
      cmocka_unit_test(contexts__outlive_those_that_came_before),
      cmocka_unit_test(contexts__of_different_tiers_are_different_devices),
      cmocka_unit_test(devices__are_different_address_spaces),
      cmocka_unit_test(child__is_told_that_it_cannot_use_the_device),
      cmocka_unit_test(child__of_a_driver_with_threads_does_not_hang),
      cmocka_unit_test(child__of_who_has_not_used_OpenCL_may_use_it),
      cmocka_unit_test(exit__leaves_the_device_alone),
      cmocka_unit_test(exit__handlers_that_come_first_do_not_crash),
      cmocka_unit_test(exit__with_live_contexts_does_not_crash),
      cmocka_unit_test(threads__share_a_context),
      cmocka_unit_test(threads__construct_and_destroy_at_once),
      cmocka_unit_test(threads__that_ask_for_the_queue_first_get_the_same),
      cmocka_unit_test(threads__that_end_may_destroy_a_context_last),
  };
  first.size = sizeof first;
  assert_ok(umemHost_ctor(&host));
  if (argc > 1)
    return play(argv[1]);
  if (!find_first()) {
    print_message("skipped: %s\n", first.reason);
    return SKIPPED;
  }
  print_message("OpenCL device \"%s\"\n", first.name);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
