/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The user's own OpenCL beside ours: his cl_context and queue, kernels on our
 * memory, and what comes before what. In every tier that the first device has.
 */
#include "core.h"

#include <dlfcn.h>

#include "doubles/rawcl.h"

enum { SKIPPED = 77, COUNT = 10000, BYTES = 4 * COUNT };

/* What the library has no use for, and its users have. */
enum {
  CONTEXT_REFERENCE_COUNT = 0x1080,
  QUEUE_REFERENCE_COUNT = 0x1092,
  QUEUE_OUT_OF_ORDER = 1 << 0
};

static umemOpenCLTier const tiers[] = {umemOpenCLUsm, umemOpenCLSvm,
                                       umemOpenCLBuffers};

static umemHost host;
static umemDeviceInfo first;
static struct umemiCl const *cl;
static clDevice device;
static bool loses_references; /* the driver, by itself */

/* --- support -------------------------------------------------------------- */

#define assert_cl(call) assert_int_equal((call), UMEMI_CL_SUCCESS)

/* With the user's objects, or without. */
static bool open_with(umemOpenCL *ctx, umemOpenCLTier tier, void *context,
                      void *queue) {
  umemOpenCLOptions options = {
      .size = sizeof options, .tier = tier, .context = context, .queue = queue};
  umemStatusType status =
      umemOpenCL_ctor_ex(ctx, first.platform, first.device, &options);
  if (status != umemOK && status != umemNotSupportedError)
    fail_msg("%s", umem_get_message(ctx));
  return status == umemOK;
}

/* In every tier there is. */
static void each_tier(void (*run)(umemOpenCL *)) {
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    umemOpenCL ctx;
    if (open_with(&ctx, tiers[i], NULL, NULL))
      run(&ctx);
    assert_ok(umem_dtor(&ctx));
  }
}

/* COUNT numbers, which `numbers` has, too, unless it is NULL. */
static uintptr_t numbers_begin(umemOpenCL *ctx, uint32_t *numbers) {
  uintptr_t adr;
  assert_ok(umem_try_alloc(ctx, BYTES, &adr));
  if (numbers) {
    random_bytes(numbers, BYTES, adr);
    assert_ok(umem_copy_to(&host, (uintptr_t)numbers, ctx, adr, BYTES));
  }
  return adr;
}

/* The bytes are fetched by the very call that has to wait for them. */
static void assert_holds(umemOpenCL *ctx, uintptr_t adr, uint32_t const *all) {
  static uint32_t got[COUNT];
  memset(got, 0x5E, sizeof got);
  assert_ok(umem_copy_from(&host, (uintptr_t)got, ctx, adr, sizeof got));
  assert_memory_equal(got, all, sizeof got);
}

static void *queue_of(umemOpenCL const *ctx) {
  void *queue;
  assert_ok(umemOpenCL_get_objects(ctx, NULL, NULL, &queue));
  return queue;
}

/* --- kernels -------------------------------------------------------------- */

static struct {
  void *(*clCreateProgramWithSource)(void *, clUint, char const **,
                                     size_t const *, clInt *);
  clInt (*clBuildProgram)(void *, clUint, clDevice const *, char const *,
                          void (*)(void *, void *), void *);
  clInt (*clReleaseProgram)(void *);
  clKernel (*clCreateKernel)(void *, char const *, clInt *);
  clInt (*clReleaseKernel)(clKernel);
  clInt (*clEnqueueNDRangeKernel)(clQueue, clKernel, clUint, size_t const *,
                                  size_t const *, size_t const *, clUint,
                                  clEvent const *, clEvent *);
} more;

static void more_begin(void) {
  void *library = dlopen("libOpenCL.so.1", RTLD_NOW), *found;
  assert_non_null(library);
#define FIND(name)                                                             \
  found = dlsym(library, #name);                                               \
  assert_non_null(found);                                                      \
  memcpy(&more.name, &found, sizeof found)
  FIND(clCreateProgramWithSource);
  FIND(clBuildProgram);
  FIND(clReleaseProgram);
  FIND(clCreateKernel);
  FIND(clReleaseKernel);
  FIND(clEnqueueNDRangeKernel);
#undef FIND
}

/* `slow` takes long before it does what `twice` does. */
static char const *source =
    "__kernel void twice(__global uint *a) {\n"
    "  a[get_global_id(0)] *= 2;\n"
    "}\n"
    "__kernel void slow(__global uint *a, uint rounds) {\n"
    "  uint x = 1;\n"
    "  for (uint i = 0; i < rounds; i++)\n"
    "    x = x * 1664525u + (x >> 16);\n"
    "  a[get_global_id(0)] = a[get_global_id(0)] * 2 + (x == 0 ? 1 : 0);\n"
    "}\n";

static clKernel kernel_of(umemOpenCL const *ctx, char const *name) {
  void *context;
  clInt code = -1;
  assert_ok(umemOpenCL_get_objects(ctx, &context, NULL, NULL));
  void *program =
      more.clCreateProgramWithSource(context, 1, &source, NULL, &code);
  assert_cl(code);
  assert_cl(more.clBuildProgram(program, 1, &device, "", NULL, NULL));
  clKernel kernel = more.clCreateKernel(program, name, &code);
  assert_cl(code);
  assert_cl(more.clReleaseProgram(program));
  return kernel;
}

static void enqueue(void *queue, clKernel kernel, size_t count) {
  assert_cl(more.clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &count, NULL, 0,
                                        NULL, NULL));
}

/* Doubles all numbers some time later. The kernel is one of `slow`. */
static void double_slowly(umemOpenCL const *ctx, clKernel kernel,
                          uintptr_t adr) {
  clUint const rounds = (clUint)scaled(3000, 100);
  assert_ok(umemOpenCL_set_arg(ctx, kernel, 0, adr));
  assert_cl(cl->clSetKernelArg(kernel, 1, sizeof rounds, &rounds));
  enqueue(queue_of(ctx), kernel, COUNT);
}

static void doubled(uint32_t *numbers) {
  for (size_t i = 0; i < COUNT; i++)
    numbers[i] *= 2;
}

static void run_kernel(umemOpenCL *ctx) {
  static uint32_t numbers[COUNT];
  uintptr_t adr = numbers_begin(ctx, numbers);
  clKernel kernel = kernel_of(ctx, "twice");
  assert_ok(umemOpenCL_set_arg(ctx, kernel, 0, adr));
  for (int i = 0; i < 3; i++) { /* the argument stays */
    enqueue(queue_of(ctx), kernel, COUNT);
    doubled(numbers);
    assert_holds(ctx, adr, numbers);
  }
  random_bytes(numbers, sizeof numbers, 4); /* and the other way round */
  assert_ok(umem_copy_to(&host, (uintptr_t)numbers, ctx, adr, BYTES));
  enqueue(queue_of(ctx), kernel, COUNT);
  doubled(numbers);
  assert_holds(ctx, adr, numbers);
  assert_cl(more.clReleaseKernel(kernel));
  assert_ok(umem_free(ctx, adr));
}

static void kernels__work_on_our_memory(void **state) {
  (void)state;
  each_tier(run_kernel);
}

/* --- what is given back --------------------------------------------------- */

/* A command that uses the block for a while, in the context's queue. */
static clEvent begin_slowly(umemOpenCL const *ctx, clKernel kernel,
                            uintptr_t adr) {
  size_t const count = COUNT;
  clUint const rounds = (clUint)scaled(3000, 100);
  clEvent event = NULL;
  assert_ok(umemOpenCL_set_arg(ctx, kernel, 0, adr));
  assert_cl(cl->clSetKernelArg(kernel, 1, sizeof rounds, &rounds));
  assert_cl(more.clEnqueueNDRangeKernel(queue_of(ctx), kernel, 1, NULL, &count,
                                        NULL, 0, NULL, &event));
  return event;
}

static void assert_through(clEvent event) {
  clInt state = 1;
  assert_cl(cl->clGetEventInfo(event, UMEMI_CL_EVENT_COMMAND_EXECUTION_STATUS,
                               sizeof state, &state, NULL));
  assert_int_equal(state, 0); /* CL_COMPLETE */
  assert_cl(cl->clReleaseEvent(event));
}

static void run_free(umemOpenCL *ctx) {
  clKernel kernel = kernel_of(ctx, "slow");
  uintptr_t adr = numbers_begin(ctx, NULL);
  clEvent event = begin_slowly(ctx, kernel, adr);
  assert_ok(umem_free(ctx, adr));
  assert_through(event);
  assert_cl(more.clReleaseKernel(kernel));
}

static void free__waits_for_the_queue_of_the_context(void **state) {
  (void)state;
  each_tier(run_free);
}

static void run_free_of_another(umemOpenCL *ctx) {
  umemOpenCL twin;
  assert_true(open_with(&twin, umemOpenCL_get_tier(ctx), NULL, NULL));
  clKernel kernel = kernel_of(ctx, "slow");
  uintptr_t adr = numbers_begin(&twin, NULL);
  clEvent event = begin_slowly(ctx, kernel, adr);
  assert_ok(umem_free(&twin, adr));
  assert_through(event);
  adr = numbers_begin(&twin, NULL);
  event = begin_slowly(ctx, kernel, adr);
  assert_ok(umem_dtor(&twin)); /* frees the block */
  assert_through(event);
  assert_cl(more.clReleaseKernel(kernel));
}

static void
free__waits_for_the_queues_of_all_contexts_of_the_device(void **state) {
  (void)state;
  each_tier(run_free_of_another);
}

static void dtor__waits_for_the_queue_of_the_context(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    umemOpenCL ctx, other;
    bool opened = open_with(&ctx, tiers[i], NULL, NULL);
    if (opened) {
      assert_true(open_with(&other, tiers[i], NULL, NULL));
      clKernel kernel = kernel_of(&ctx, "slow");
      uintptr_t adr = numbers_begin(&other, NULL);
      clEvent event = begin_slowly(&ctx, kernel, adr);
      assert_ok(umem_dtor(&ctx)); /* which has no blocks */
      assert_through(event);
      assert_cl(more.clReleaseKernel(kernel));
    }
    assert_ok(umem_dtor(opened ? &other : &ctx));
  }
}

static void run_disconnect(umemOpenCL *ctx) {
  static uint32_t numbers[COUNT];
  uintptr_t adr, at = (uintptr_t)numbers;
  clKernel kernel = kernel_of(ctx, "slow");
  assert_ok(umem_try_connect(&host, at, BYTES, ctx, 0, &adr));
  clEvent event = begin_slowly(ctx, kernel, adr);
  assert_ok(umem_disconnect(&host, at, ctx, adr, 0));
  assert_through(event);
  assert_cl(more.clReleaseKernel(kernel));
}

static void disconnect__waits_for_the_queue_of_the_context(void **state) {
  (void)state;
  each_tier(run_disconnect);
}

/* --- arguments ------------------------------------------------------------ */

/* The second half only: where there are pointers, from there on. */
static void run_interior(umemOpenCL *ctx) {
  static uint32_t numbers[COUNT];
  uintptr_t adr = numbers_begin(ctx, numbers), middle = adr + BYTES / 2;
  clKernel kernel = kernel_of(ctx, "twice");
  umemStatusType status = umemOpenCL_set_arg(ctx, kernel, 0, middle);
  if (umemOpenCL_get_tier(ctx) == umemOpenCLBuffers) {
    assert_status(status, umemValueError);
    assert_slot(ctx, umemValueError, "is 20000 bytes inside a buffer");
  } else {
    assert_ok(status);
    enqueue(queue_of(ctx), kernel, COUNT / 2);
    for (size_t i = COUNT / 2; i < COUNT; i++)
      numbers[i] *= 2;
  }
  assert_holds(ctx, adr, numbers);
  assert_cl(more.clReleaseKernel(kernel));
}

static void set_arg__of_the_middle_is_for_pointers(void **state) {
  (void)state;
  each_tier(run_interior);
}

/* What is aligned to more than the device grants is cut out of a larger block:
   of a buffer, that is passed with the offset that get_mem tells. */
static void run_aligned(umemOpenCL *ctx) {
  clKernel kernel = kernel_of(ctx, "twice");
  for (size_t alignment = 1; alignment <= 8192; alignment *= 2) {
    uint32_t number = 21;
    void *mem;
    size_t offset;
    uintptr_t adr = umem_aligned_alloc(ctx, alignment, alignment * 4);
    assert_true(adr != 0 && adr % alignment == 0);
    assert_ok(umemOpenCL_get_mem(ctx, adr, &mem, &offset));
    if (mem && offset > 0) {
      assert_true(alignment > umem_fundamental_align(ctx));
      assert_int_equal(offset, adr - umem_aligned_origin(ctx, adr));
      assert_fails(ctx, umemOpenCL_set_arg(ctx, kernel, 0, adr), umemValueError,
                   "pass its start, and the offset in another argument");
      adr -= offset;
    }
    assert_ok(umem_copy_to(&host, (uintptr_t)&number, ctx, adr, 4));
    assert_ok(umemOpenCL_set_arg(ctx, kernel, 0, adr));
    enqueue(queue_of(ctx), kernel, 1);
    assert_ok(umem_copy_to(ctx, adr, &host, (uintptr_t)&number, 4));
    assert_int_equal(number, 42);
  }
  assert_cl(more.clReleaseKernel(kernel));
}

static void set_arg__of_aligned_blocks_may_need_an_offset(void **state) {
  (void)state;
  each_tier(run_aligned);
}

static void run_bad_args(umemOpenCL *ctx) {
  char on_host[64];
  umemOpenCL dead;
  uintptr_t adr = numbers_begin(ctx, NULL), freed = numbers_begin(ctx, NULL);
  clKernel kernel = kernel_of(ctx, "twice");
  uintptr_t const bad[] = {0,           1,     (uintptr_t)on_host,
                           adr + BYTES, freed, UINTPTR_MAX};
  assert_ok(umem_free(ctx, freed));
  for (size_t i = 0; i < LENGTH(bad); i++)
    assert_fails(ctx, umemOpenCL_set_arg(ctx, kernel, 0, bad[i]),
                 umemValueError, "in no live block");
  assert_fails(ctx, umemOpenCL_set_arg(ctx, NULL, 0, adr), umemValueError,
               "kernel is NULL");
  assert_fails(ctx, umemOpenCL_set_arg(ctx, kernel, 1, adr), umemRuntimeError,
               "clSetKernelArg");
  assert_true(last_error(ctx).native != 0);
  assert_fails(ctx, umemOpenCL_set_arg(ctx, kernel, 1000, adr),
               umemRuntimeError, "clSetKernelArg");
  assert_fails(&host, umemOpenCL_set_arg((umemOpenCL *)&host, kernel, 0, adr),
               umemTypeError, "context is a Host, and not a OpenCL");
  assert_ok(umemOpenCL_ctor(&dead, first.platform, first.device));
  assert_ok(umem_dtor(&dead));
  assert_fails(&dead, umemOpenCL_set_arg(&dead, kernel, 0, adr), umemTypeError,
               "");
  assert_status(umemOpenCL_set_arg(NULL, kernel, 0, adr), umemTypeError);
  assert_cl(more.clReleaseKernel(kernel));
}

static void set_arg__of_what_is_none_is_refused(void **state) {
  (void)state;
  each_tier(run_bad_args);
}

/* --- order ---------------------------------------------------------------- */

static void run_reads(umemOpenCL *ctx) {
  static uint32_t numbers[COUNT];
  size_t difference;
  uint32_t before, after;
  uintptr_t adr = numbers_begin(ctx, numbers);
  clKernel kernel = kernel_of(ctx, "slow");
  double_slowly(ctx, kernel, adr);
  doubled(numbers);
  assert_holds(ctx, adr, numbers);

  double_slowly(ctx, kernel, adr);
  doubled(numbers);
  assert_ok(
      umem_compare(ctx, adr, &host, (uintptr_t)numbers, BYTES, &difference));
  assert_int_equal(difference, BYTES);

  double_slowly(ctx, kernel, adr);
  doubled(numbers);
  assert_ok(umem_checksum(ctx, adr, BYTES, 0, &after));
  assert_ok(umem_checksum(&host, (uintptr_t)numbers, BYTES, 0, &before));
  assert_int_equal(after, before);
  assert_cl(more.clReleaseKernel(kernel));
}

static void reads__wait_for_the_users_commands(void **state) {
  (void)state;
  each_tier(run_reads);
}

static void run_writes(umemOpenCL *ctx) {
  static uint32_t numbers[COUNT];
  uintptr_t adr = numbers_begin(ctx, numbers);
  clKernel kernel = kernel_of(ctx, "slow");
  double_slowly(ctx, kernel, adr);
  assert_ok(umem_copy_to(&host, (uintptr_t)numbers, ctx, adr, BYTES));
  assert_holds(ctx, adr, numbers);

  double_slowly(ctx, kernel, adr);
  assert_ok(umem_try_set(ctx, adr, 7, BYTES));
  memset(numbers, 7, sizeof numbers);
  assert_holds(ctx, adr, numbers);
  assert_cl(more.clReleaseKernel(kernel));
}

static void writes__wait_for_the_users_commands(void **state) {
  (void)state;
  each_tier(run_writes);
}

static void run_copies(umemOpenCL *ctx) {
  static uint32_t numbers[COUNT];
  uintptr_t adr = numbers_begin(ctx, numbers), other = numbers_begin(ctx, NULL);
  clKernel kernel = kernel_of(ctx, "slow");
  double_slowly(ctx, kernel, adr);
  doubled(numbers);
  assert_ok(umem_copy_to(ctx, adr, ctx, other, BYTES));
  assert_holds(ctx, other, numbers);
  assert_cl(more.clReleaseKernel(kernel));
}

static void copies__wait_for_the_users_commands(void **state) {
  (void)state;
  each_tier(run_copies);
}

/* Both have a queue that something was put into; each time one has to be
   waited for. */
static void run_both_queues(umemOpenCL *a) {
  static uint32_t numbers[COUNT];
  umemOpenCL b;
  assert_true(open_with(&b, umemOpenCL_get_tier(a), NULL, NULL));
  assert_true(queue_of(a) != queue_of(&b));
  uintptr_t from = numbers_begin(a, numbers), to = numbers_begin(&b, NULL);
  clKernel kernel = kernel_of(&b, "slow");
  double_slowly(&b, kernel, to);
  assert_ok(umem_copy_to(a, from, &b, to, BYTES));
  assert_holds(&b, to, numbers);

  double_slowly(a, kernel, from);
  doubled(numbers);
  assert_ok(umem_copy_to(a, from, &b, to, BYTES));
  assert_holds(&b, to, numbers);

  double_slowly(a, kernel, from);
  doubled(numbers);
  assert_ok(umem_copy_2d(a, from, BYTES / 4, &b, to, BYTES / 4, BYTES / 4, 4));
  assert_holds(&b, to, numbers);
  assert_cl(more.clReleaseKernel(kernel));
  assert_ok(umem_dtor(&b));
}

static void copies__wait_for_the_queues_of_both_contexts(void **state) {
  (void)state;
  each_tier(run_both_queues);
}

/* --- objects -------------------------------------------------------------- */

static void run_objects(umemOpenCL *ctx) {
  void *context, *found, *queue, *again;
  clQueue ask;
  assert_ok(umemOpenCL_get_objects(ctx, &context, &found, &queue));
  assert_ptr_equal(found, device);
  ask = queue;
  assert_cl(cl->clGetCommandQueueInfo(ask, UMEMI_CL_QUEUE_CONTEXT, sizeof again,
                                      &again, NULL));
  assert_ptr_equal(again, context);
  assert_cl(cl->clGetCommandQueueInfo(ask, UMEMI_CL_QUEUE_DEVICE, sizeof again,
                                      &again, NULL));
  assert_ptr_equal(again, device);
  assert_ok(umemOpenCL_get_objects(ctx, NULL, NULL, &again));
  assert_ptr_equal(again, queue);
  assert_ok(umemOpenCL_get_objects(ctx, NULL, NULL, NULL));
}

static void get_objects__gives_the_same_every_time(void **state) {
  (void)state;
  each_tier(run_objects);
}

static void assert_no_objects(void const *ctx) {
  void *objects[3] = {&first, &first, &first}, *mem = &first;
  size_t offset = 5;
  assert_status(
      umemOpenCL_get_objects(ctx, &objects[0], &objects[1], &objects[2]),
      umemTypeError);
  assert_status(umemOpenCL_get_mem(ctx, 64, &mem, &offset), umemTypeError);
  assert_int_equal(umemOpenCL_get_tier(ctx), umemOpenCLBest);
  for (size_t i = 0; i < LENGTH(objects); i++)
    assert_ptr_equal(objects[i], &first);
  assert_ptr_equal(mem, &first);
  assert_int_equal(offset, 5);
  umem_clean_status(ctx);
}

static void objects__of_what_is_no_OpenCL_are_type_errors(void **state) {
  (void)state;
  umemOpenCL dead, failed, zeroed = {{{0}}}, moved;
  assert_ok(umemOpenCL_ctor(&dead, first.platform, first.device));
  moved = dead;
  assert_no_objects(&moved);
  assert_ok(umem_dtor(&dead));
  umemOpenCL_ctor(&failed, -1, -1);
  assert_no_objects(&dead);
  assert_no_objects(&failed);
  assert_no_objects(&zeroed);
  assert_no_objects(&host);
  assert_no_objects(NULL);
}

static void run_mem(umemOpenCL *ctx) {
  uint32_t byte = 0;
  size_t offset = 5, unused;
  void *mem = &first, *inner = NULL;
  uintptr_t adr = numbers_begin(ctx, NULL);
  uintptr_t const bad[] = {0, 1, adr + BYTES, (uintptr_t)&byte, UINTPTR_MAX};
  for (size_t i = 0; i < LENGTH(bad); i++)
    assert_fails(ctx, umemOpenCL_get_mem(ctx, bad[i], &mem, &offset),
                 umemValueError, "in no live block");
  assert_fails(ctx, umemOpenCL_get_mem(ctx, adr, NULL, &offset), umemValueError,
               "mem_out is NULL");
  assert_fails(ctx, umemOpenCL_get_mem(ctx, adr, &mem, NULL), umemValueError,
               "offset_out is NULL");
  assert_ptr_equal(mem, &first);
  assert_int_equal(offset, 5);
  assert_ok(umemOpenCL_get_mem(ctx, adr, &mem, &unused));
  assert_int_equal(unused, 0);
  assert_ok(umemOpenCL_get_mem(ctx, adr + BYTES - 1, &inner, &offset));
  bool is_buffer = umemOpenCL_get_tier(ctx) == umemOpenCLBuffers;
  assert_int_equal(mem != NULL, is_buffer);
  assert_int_equal(offset, is_buffer ? BYTES - 1 : 0);
  assert_ptr_equal(inner, mem);
  uintptr_t empty;
  assert_ok(umem_try_alloc(ctx, 0, &empty));
  assert_ok(umemOpenCL_get_mem(ctx, empty, &inner, &offset));
  assert_null(inner);
  assert_int_equal(offset, 0);
  assert_ok(umem_free(ctx, adr));
  assert_fails(ctx, umemOpenCL_get_mem(ctx, adr, &mem, &offset), umemValueError,
               "freed already");
}

static void get_mem__is_what_lies_behind_an_address(void **state) {
  (void)state;
  each_tier(run_mem);
}

/* --- the user's own ------------------------------------------------------- */

static clContext context_of(clDevice const *devices, clUint count) {
  clPlatform platform;
  clInt code = -1;
  cl->clGetDeviceInfo(devices[0], UMEMI_CL_DEVICE_PLATFORM, sizeof platform,
                      &platform, NULL);
  clProperty const properties[] = {UMEMI_CL_CONTEXT_PLATFORM,
                                   (clProperty)platform, 0};
  clContext context =
      cl->clCreateContext(properties, count, devices, NULL, NULL, &code);
  assert_cl(code);
  return context;
}

static clQueue queue_in(clContext context, clBits properties) {
  clInt code = -1;
  clQueue queue = cl->clCreateCommandQueue(context, device, properties, &code);
  return code == UMEMI_CL_SUCCESS ? queue : NULL;
}

static clUint context_references(clContext context) {
  clUint count = 0;
  assert_cl(cl->clGetContextInfo(context, CONTEXT_REFERENCE_COUNT, sizeof count,
                                 &count, NULL));
  return count;
}

static clUint queue_references(clQueue queue) {
  clUint count = 0;
  assert_cl(cl->clGetCommandQueueInfo(queue, QUEUE_REFERENCE_COUNT,
                                      sizeof count, &count, NULL));
  return count;
}

/* Does the driver itself lose a reference with a block of unified shared
   memory? PoCL 6 does. */
static bool driver_loses_references(void) {
  struct umemiClUsm usm;
  clPlatform platform;
  clInt code;
  cl->clGetDeviceInfo(device, UMEMI_CL_DEVICE_PLATFORM, sizeof platform,
                      &platform, NULL);
#define FIND(name)                                                             \
  {                                                                            \
    void *found =                                                              \
        cl->clGetExtensionFunctionAddressForPlatform(platform, #name);         \
    if (!found)                                                                \
      return false;                                                            \
    memcpy(&usm.name, &found, sizeof found);                                   \
  }
  FIND(clDeviceMemAllocINTEL)
  FIND(clMemFreeINTEL)
#undef FIND
  clContext context = context_of(&device, 1);
  clUint before = context_references(context);
  void *block =
      usm.clDeviceMemAllocINTEL(context, device, NULL, BYTES, 0, &code);
  if (block)
    usm.clMemFreeINTEL(context, block);
  bool lost = context_references(context) != before;
  assert_cl(cl->clReleaseContext(context));
  return lost;
}

/* Threads of a driver may still be about to let go. */
static void assert_references(clContext context, clUint contexts, clQueue queue,
                              clUint queues) {
  if (loses_references)
    contexts = 0; /* nobody knows */
  uint64_t const end = milliseconds() + 20000;
  while (((contexts && context_references(context) != contexts) ||
          (queue && queue_references(queue) != queues)) &&
         milliseconds() < end)
    sleep_milliseconds(1);
  if (contexts)
    assert_int_equal(context_references(context), contexts);
  if (queue)
    assert_int_equal(queue_references(queue), queues);
}

static void use(umemOpenCL *ctx) {
  static uint32_t numbers[COUNT];
  uintptr_t adr = numbers_begin(ctx, numbers), other = numbers_begin(ctx, NULL);
  assert_ok(umem_copy_to(ctx, adr, ctx, other, BYTES));
  assert_holds(ctx, other, numbers);
  assert_ok(umem_free(ctx, other)); /* `adr` is left to the destructor */
}

static void use_kernel(umemOpenCL *ctx) {
  static uint32_t numbers[COUNT];
  uintptr_t adr = numbers_begin(ctx, numbers);
  clKernel kernel = kernel_of(ctx, "slow");
  double_slowly(ctx, kernel, adr);
  doubled(numbers);
  assert_holds(ctx, adr, numbers);
  assert_cl(more.clReleaseKernel(kernel));
}

/* With those of the two that are not NULL. */
static void adopt(umemOpenCLTier tier, clContext context, clQueue queue) {
  umemOpenCL ctx, twin;
  void *got_context, *got_queue;
  clContext const in = context_of(&device, 1);
  if (!open_with(&ctx, tier, context, queue)) {
    assert_cl(cl->clReleaseContext(in));
    assert_ok(umem_dtor(&ctx));
    return;
  }
  assert_ok(umemOpenCL_get_objects(&ctx, &got_context, NULL, &got_queue));
  if (context)
    assert_ptr_equal(got_context, context);
  if (queue)
    assert_ptr_equal(got_queue, queue);
  use(&ctx);
  use_kernel(&ctx);
  assert_true(open_with(&twin, tier, got_context, NULL));
  assert_true(umem_is_same_device(&ctx, &twin));
  use(&twin);
  assert_ok(umem_dtor(&ctx));
  use(&twin);
  assert_ok(umem_dtor(&twin));
  assert_true(open_with(&twin, tier, in, NULL)); /* a space of its own */
  assert_true(open_with(&ctx, tier, context, queue));
  assert_false(umem_is_same_device(&ctx, &twin));
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_dtor(&twin));
  assert_cl(cl->clReleaseContext(in));
}

static void adopted__objects_are_given_back_as_they_were(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    clContext context = context_of(&device, 1);
    clQueue queue = queue_in(context, 0);
    clUint const contexts = context_references(context),
                 queues = queue_references(queue);
    adopt(tiers[i], context, NULL);
    assert_references(context, contexts, queue, queues);
    adopt(tiers[i], NULL, queue);
    adopt(tiers[i], context, queue);
    assert_references(context, contexts, queue, queues);
    assert_cl(cl->clReleaseCommandQueue(queue));
    assert_cl(cl->clReleaseContext(context));
  }
}

/* The numbers of platform and device are then for nothing. */
static void queue__says_by_itself_which_device_it_is_for(void **state) {
  (void)state;
  umemOpenCL ctx;
  void *got;
  clContext context = context_of(&device, 1);
  clQueue queue = queue_in(context, 0);
  umemOpenCLOptions options = {.size = sizeof options, .queue = queue};
  assert_ok(umemOpenCL_ctor_ex(&ctx, -1, 1000, &options));
  assert_ok(umemOpenCL_get_objects(&ctx, NULL, &got, NULL));
  assert_ptr_equal(got, device);
  use(&ctx);
  assert_ok(umem_dtor(&ctx));
  assert_cl(cl->clReleaseCommandQueue(queue));
  assert_cl(cl->clReleaseContext(context));
}

/* They are kept as long as we have them. */
static void adopted__objects_may_be_released_by_the_user(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    umemOpenCL ctx;
    clContext context = context_of(&device, 1);
    clQueue queue = queue_in(context, 0);
    bool opened = open_with(&ctx, tiers[i], context, queue);
    assert_cl(cl->clReleaseCommandQueue(queue));
    assert_cl(cl->clReleaseContext(context));
    if (opened)
      use_kernel(&ctx);
    assert_ok(umem_dtor(&ctx));
  }
}

static void ctor__of_objects_that_do_not_match_keeps_none(void **state) {
  (void)state;
  umemOpenCL ctx;
  clContext context = context_of(&device, 1), other = context_of(&device, 1);
  clQueue queue = queue_in(context, 0);
  clUint const references[] = {context_references(context),
                               context_references(other),
                               queue_references(queue)};
  umemOpenCLOptions options = {
      .size = sizeof options, .context = other, .queue = queue};
  assert_fails(&ctx,
               umemOpenCL_ctor_ex(&ctx, first.platform, first.device, &options),
               umemValueError, "the queue is not one of the cl_context");
  options.context = context;
  options.tier = (umemOpenCLTier)99;
  assert_fails(&ctx,
               umemOpenCL_ctor_ex(&ctx, first.platform, first.device, &options),
               umemValueError, "tier 99 is none");
  assert_references(context, references[0], queue, references[2]);
  assert_references(other, references[1], NULL, 0);
  assert_cl(cl->clReleaseCommandQueue(queue));
  assert_cl(cl->clReleaseContext(other));
  assert_cl(cl->clReleaseContext(context));
}

/* --- two devices ---------------------------------------------------------- */

/* The devices of the first one's platform. */
static clUint devices_beside(clDevice devices[64]) {
  clPlatform platform;
  clUint count = 0;
  cl->clGetDeviceInfo(device, UMEMI_CL_DEVICE_PLATFORM, sizeof platform,
                      &platform, NULL);
  cl->clGetDeviceIDs(platform, UMEMI_CL_DEVICE_TYPE_ALL, 64, devices, &count);
  if (count < 2) {
    print_message("the platform has one device only\n");
    skip();
  }
  return count;
}

static void ctor__of_a_context_without_the_device_is_refused(void **state) {
  (void)state;
  clDevice devices[64];
  umemOpenCL ctx;
  devices_beside(devices);
  clContext context = context_of(&devices[first.device + 1], 1);
  umemOpenCLOptions options = {.size = sizeof options, .context = context};
  assert_fails(&ctx,
               umemOpenCL_ctor_ex(&ctx, first.platform, first.device, &options),
               umemValueError, "the cl_context does not have the device");
  assert_references(context, 1, NULL, 0);
  assert_cl(cl->clReleaseContext(context));
}

static void run_shared_context(umemOpenCLTier tier, clContext context) {
  static uint32_t numbers[COUNT];
  umemOpenCL a, b;
  umemOpenCLOptions options = {
      .size = sizeof options, .tier = tier, .context = context};
  if (!open_with(&a, tier, context, NULL)) {
    assert_ok(umem_dtor(&a));
    return;
  }
  assert_ok(umemOpenCL_ctor_ex(&b, first.platform, first.device + 1, &options));
  assert_false(umem_is_same_device(&a, &b));
  uintptr_t from = numbers_begin(&a, numbers), to = numbers_begin(&b, NULL);
  assert_ok(umem_copy_to(&a, from, &b, to, BYTES));
  assert_holds(&b, to, numbers);
  assert_ok(umem_dtor(&a));
  assert_ok(umem_dtor(&b));
}

static void contexts__of_two_devices_in_one_cl_context_are_two(void **state) {
  (void)state;
  clDevice devices[64];
  clContext context = context_of(devices, devices_beside(devices));
  for (size_t i = 0; i < LENGTH(tiers); i++)
    run_shared_context(tiers[i], context);
  assert_references(context, 1, NULL, 0);
  assert_cl(cl->clReleaseContext(context));
}

/* --- order in the user's queue -------------------------------------------- */

static void adopted__queue_comes_first(void **state) {
  (void)state;
  static uint32_t numbers[COUNT];
  unsigned char const seven = 7;
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    umemOpenCL ctx;
    clContext context = context_of(&device, 1);
    clQueue queue = queue_in(context, 0);
    if (open_with(&ctx, tiers[i], NULL, queue)) {
      void *mem;
      size_t offset;
      uintptr_t adr = numbers_begin(&ctx, numbers);
      clKernel kernel = kernel_of(&ctx, "slow");
      double_slowly(&ctx, kernel, adr);
      assert_ok(umemOpenCL_get_mem(&ctx, adr, &mem, &offset));
      doubled(numbers);
      if (mem) {
        assert_cl(cl->clEnqueueFillBuffer(queue, mem, &seven, 1, 0, BYTES / 2,
                                          0, NULL, NULL));
        memset(numbers, seven, BYTES / 2);
      }
      assert_holds(&ctx, adr, numbers);
      assert_cl(more.clReleaseKernel(kernel));
    }
    assert_ok(umem_dtor(&ctx));
    assert_cl(cl->clReleaseCommandQueue(queue));
    assert_cl(cl->clReleaseContext(context));
  }
}

static void adopted__queue_out_of_order_is_finished_by_the_user(void **state) {
  (void)state;
  static uint32_t numbers[COUNT];
  clContext context = context_of(&device, 1);
  clQueue queue = queue_in(context, QUEUE_OUT_OF_ORDER);
  if (!queue) {
    cl->clReleaseContext(context);
    print_message("no queue of the device is out of order\n");
    skip();
  }
  clUint const contexts = context_references(context),
               queues = queue_references(queue);
  for (size_t i = 0; i < LENGTH(tiers); i++) {
    umemOpenCL ctx;
    if (open_with(&ctx, tiers[i], NULL, queue)) {
      uintptr_t adr = numbers_begin(&ctx, numbers);
      clKernel kernel = kernel_of(&ctx, "slow");
      double_slowly(&ctx, kernel, adr);
      doubled(numbers);
      assert_cl(cl->clFinish(queue));
      assert_holds(&ctx, adr, numbers);
      assert_cl(more.clReleaseKernel(kernel));
    }
    assert_ok(umem_dtor(&ctx));
  }
  assert_references(context, contexts, queue, queues);
  assert_cl(cl->clReleaseCommandQueue(queue));
  assert_cl(cl->clReleaseContext(context));
}

/* --- main ----------------------------------------------------------------- */

static bool begin(void) {
  umemOpenCL ctx;
  void *found;
  first.size = sizeof first;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &first));
  if (!first.usable)
    return false;
  cl = rawcl();
  more_begin();
  assert_ok(umemOpenCL_ctor(&ctx, first.platform, first.device));
  assert_ok(umemOpenCL_get_objects(&ctx, NULL, &found, NULL));
  device = found;
  loses_references = driver_loses_references();
  assert_ok(umem_dtor(&ctx));
  return true;
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(kernels__work_on_our_memory),
      cmocka_unit_test(free__waits_for_the_queue_of_the_context),
      cmocka_unit_test(
          free__waits_for_the_queues_of_all_contexts_of_the_device),
      cmocka_unit_test(dtor__waits_for_the_queue_of_the_context),
      cmocka_unit_test(disconnect__waits_for_the_queue_of_the_context),
      cmocka_unit_test(set_arg__of_the_middle_is_for_pointers),
      cmocka_unit_test(set_arg__of_aligned_blocks_may_need_an_offset),
      cmocka_unit_test(set_arg__of_what_is_none_is_refused),
      cmocka_unit_test(reads__wait_for_the_users_commands),
      cmocka_unit_test(writes__wait_for_the_users_commands),
      cmocka_unit_test(copies__wait_for_the_users_commands),
      cmocka_unit_test(copies__wait_for_the_queues_of_both_contexts),
      cmocka_unit_test(get_objects__gives_the_same_every_time),
      cmocka_unit_test(objects__of_what_is_no_OpenCL_are_type_errors),
      cmocka_unit_test(get_mem__is_what_lies_behind_an_address),
      cmocka_unit_test(adopted__objects_are_given_back_as_they_were),
      cmocka_unit_test(queue__says_by_itself_which_device_it_is_for),
      cmocka_unit_test(adopted__objects_may_be_released_by_the_user),
      cmocka_unit_test(ctor__of_objects_that_do_not_match_keeps_none),
      cmocka_unit_test(ctor__of_a_context_without_the_device_is_refused),
      cmocka_unit_test(contexts__of_two_devices_in_one_cl_context_are_two),
      cmocka_unit_test(adopted__queue_comes_first),
      cmocka_unit_test(adopted__queue_out_of_order_is_finished_by_the_user),
  };
  if (!begin()) {
    print_message("skipped: %s\n", first.reason);
    return SKIPPED;
  }
  print_message("OpenCL device \"%s\"\n", first.name);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
