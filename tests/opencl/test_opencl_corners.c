/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What hardly ever happens to OpenCL, made to happen by the driver of shim/:
 * answers that real devices here do not give, another thread that comes in
 * between two calls of the driver, and more at once than there is room for.
 * After each test nothing of the driver's is left.
 */
#include "core.h"

#include "doubles/rawcl.h"
#include "opencl/opencl.h"
#include "shim/shim.h"

enum {
  SMALL = 10000,
  PIECE = 4096, /* of zeros */
  SKIPPED = 77
};

static struct shimControls const *shim;
static umemHost host;
static umemOpenCL ctx;

/* --- support -------------------------------------------------------------- */

static unsigned live[SHIM_KIND_COUNT], misuses;

static void count_live(unsigned *counts) {
  for (unsigned kind = 0; kind < SHIM_KIND_COUNT; kind++)
    counts[kind] = shim->live((enum shim_kind)kind);
}

static int corner_begin(void **state) {
  (void)state;
  shim->clear();
  shim->set_usm(SHIM_USM_NONE);
  count_live(live);
  misuses = shim->misuses();
  return 0;
}

static int corner_end(void **state) {
  unsigned now[SHIM_KIND_COUNT];
  int lost = 0;
  shim->clear();
  count_live(now);
  for (unsigned kind = 0; kind < SHIM_KIND_COUNT; kind++)
    if (now[kind] != live[kind])
      print_error("%s: %u before, %u now\n",
                  shim->kind_name((enum shim_kind)kind), live[kind], now[kind]),
          lost = 1;
  if (shim->misuses() != misuses)
    print_error("used what was released\n"), lost = 1;
  return faults_teardown(state) | lost;
}

#define corner_test(f)                                                         \
  cmocka_unit_test_setup_teardown(f, corner_begin, corner_end)

static umemStatusType try_tier(umemOpenCL *out, umemOpenCLTier tier) {
  umemOpenCLOptions options = {.size = sizeof options, .tier = tier};
  return umemOpenCL_ctor_ex(out, 0, 0, &options);
}

static void open_tier(umemOpenCL *out, umemOpenCLTier tier) {
  if (try_tier(out, tier) != umemOK)
    fail_msg("%s", umem_get_message(out));
}

static uintptr_t allocated(umemOpenCL const *in, size_t nbytes) {
  uintptr_t adr;
  if (umem_try_alloc(in, nbytes, &adr) != umemOK)
    fail_msg("%s", umem_get_message(in));
  return adr;
}

static void assert_holds(umemOpenCL const *in, uintptr_t adr, size_t nbytes,
                         unsigned char value) {
  unsigned char *got = malloc(nbytes);
  assert_non_null(got);
  assert_ok(umem_copy_to(in, adr, &host, (uintptr_t)got, nbytes));
  bool right = all_bytes_are(got, nbytes, value);
  free(got);
  assert_true(right);
}

/* Nothing comes of a construction; the reason is told. */
static void assert_no_context(umemStatusType told, umemStatusType expected,
                              char const *part) {
  assert_status(told, expected);
  assert_slot(&ctx, expected, part);
  assert_ok(umem_dtor(&ctx));
}

/* --- first: while nothing is loaded --------------------------------------- */

static unsigned opened;
static umemOpenCL beside;

static void *dlopen_for_two(char const *path, int flags) {
  if (opened++ == 0)
    assert_ok(umemOpenCL_ctor(&beside, 0, 0));
  return faults_real.dlopen(path, flags);
}

static void loader__of_two_threads_at_once_serves_both(void **state) {
  (void)state;
  umemi_os.dlopen = dlopen_for_two;
  open_tier(&ctx, umemOpenCLBest);
  assert_int_equal(opened, 2);
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_dtor(&beside));
  assert_int_equal(opened, 2);
}

/* --- what drivers answer -------------------------------------------------- */

static umemStatusType status_of(clInt code) {
  switch (code) {
  case UMEMI_CL_DEVICE_NOT_FOUND:
  case UMEMI_CL_DEVICE_NOT_AVAILABLE:
  case UMEMI_CL_PLATFORM_NOT_FOUND_KHR:
    return umemNotSupportedError;
  case UMEMI_CL_MEM_OBJECT_ALLOCATION_FAILURE:
  case UMEMI_CL_OUT_OF_HOST_MEMORY:
    return umemMemoryError;
  default:
    return umemRuntimeError;
  }
}

static void code__is_told_by_name_and_number(void **state) {
  (void)state;
  static struct {
    char const *name;
    clInt code;
  } const codes[] = {
#define CODE(name, number) {"CL_" #name, number},
      UMEMI_CL_ERRORS(CODE)
#undef CODE
          {"a code of the driver's own", -12345},
  };
  char text[128];
  for (size_t i = 0; i < LENGTH(codes); i++) {
    snprintf(text, sizeof text, "clCreateContext: %s (%d)", codes[i].name,
             codes[i].code);
    shim->fail_call("clCreateContext", 1, codes[i].code, false);
    assert_no_context(umemOpenCL_ctor(&ctx, 0, 0), status_of(codes[i].code),
                      text);
    assert_int_equal(last_error(&ctx).native, codes[i].code);
  }
}

static void assert_no_device(char const *call, clInt code, char const *told,
                             char const *reason) {
  umemDeviceInfo info = {.size = sizeof info};
  shim->fail_call(call, 1, code, true);
  assert_no_context(umemOpenCL_ctor(&ctx, 0, 0), umemNotSupportedError, told);
  assert_int_equal(umem_device_count(umemOpenCLDevice), 0);
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &info));
  assert_false(info.usable);
  assert_has(info.reason, reason);
  shim->clear();
}

/* Some drivers say that by a code, others by the number 0. */
static void devices__of_a_platform_without_any_are_none(void **state) {
  (void)state;
  char const *const none = "no device in any of";
  assert_no_device("clGetDeviceIDs", UMEMI_CL_DEVICE_NOT_FOUND,
                   "platform 0 has no device", none);
  assert_no_device("clGetDeviceIDs", SHIM_IDLE, "platform 0 has no device",
                   none);
  assert_no_device("clGetPlatformIDs", UMEMI_CL_PLATFORM_NOT_FOUND_KHR,
                   "no OpenCL platform", "no OpenCL platform");
  assert_no_device("clGetPlatformIDs", SHIM_IDLE, "no OpenCL platform",
                   "no OpenCL platform");
}

/* It is asked for by name, or passed over. */
static void assert_lacks(umemOpenCLTier tier, clUint what, char const *name) {
  shim->answer(what, 0);
  assert_no_context(try_tier(&ctx, tier), umemNotSupportedError, name);
  open_tier(&ctx, umemOpenCLBest);
  assert_int_not_equal(umemOpenCL_get_tier(&ctx), tier);
  assert_ok(umem_dtor(&ctx));
}

static void tier__of_which_a_device_has_nothing_is_not_there(void **state) {
  (void)state;
  assert_lacks(umemOpenCLSvm, UMEMI_CL_DEVICE_SVM_CAPABILITIES,
               "the device has no shared virtual memory");
  shim->set_usm(SHIM_USM_EMULATED);
  assert_lacks(umemOpenCLUsm, UMEMI_CL_DEVICE_DEVICE_MEM_CAPABILITIES_INTEL,
               "the device has no unified shared memory");
}

/* A wait may fail by itself: then this is all that is known. */
static void wait__that_fails_without_a_reason_is_told(void **state) {
  (void)state;
  open_tier(&ctx, umemOpenCLBuffers);
  uintptr_t adr = allocated(&ctx, SMALL);
  shim->fail_call("clWaitForEvents", 1,
                  UMEMI_CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, false);
  assert_fails(&ctx, umem_try_set(&ctx, adr, 1, SMALL), umemRuntimeError,
               "clEnqueueFillBuffer: "
               "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST (-14)");
  assert_ok(umem_try_set(&ctx, adr, 2, SMALL));
  assert_holds(&ctx, adr, SMALL, 2);
  assert_ok(umem_dtor(&ctx));
}

static void alloc__of_no_memory_and_no_code_is_a_memory_error(void **state) {
  (void)state;
  uintptr_t adr = 5;
  shim->set_usm(SHIM_USM_EMULATED);
  if (try_tier(&ctx, umemOpenCLUsm) != umemOK)
    skip();
  shim->fail_call("clDeviceMemAllocINTEL", 1, SHIM_IDLE, false);
  assert_fails(&ctx, umem_try_alloc(&ctx, SMALL, &adr), umemMemoryError,
               "clDeviceMemAllocINTEL: CL_MEM_OBJECT_ALLOCATION_FAILURE (-4)");
  assert_int_equal(adr, 5);
  assert_ok(umem_dtor(&ctx));
}

/* By a driver that is broken, or whose block somebody else released. */
static void alloc__of_what_is_in_use_leaves_its_owner_alone(void **state) {
  (void)state;
  umemOpenCL other;
  uintptr_t adr = 5;
  if (try_tier(&ctx, umemOpenCLSvm) != umemOK)
    skip();
  open_tier(&other, umemOpenCLSvm);
  uintptr_t const owned = allocated(&ctx, SMALL);
  shim->fail_call("clSVMAlloc", 1, SHIM_AGAIN, false);
  assert_fails(&other, umem_try_alloc(&other, SMALL, &adr), umemRuntimeError,
               "which is in use already");
  assert_int_equal(adr, 5);
  assert_ok(umem_dtor(&other));
  assert_ok(umem_try_set(&ctx, owned, 7, SMALL));
  assert_holds(&ctx, owned, SMALL, 7);
  assert_ok(umem_free(&ctx, owned));
  assert_ok(umem_dtor(&ctx));
}

/* --- addresses of buffers ------------------------------------------------- */

enum { ARENA_LEAST = 1 << 28 };
static size_t reserved_first; /* what was asked for first */
static unsigned reserved;     /* how many were had */
static void (*intruder)(void);

/* Addresses without memory are had, but not many. */
static void *mmap_little(void *at, size_t nbytes, int access, int flags, int fd,
                         off_t offset) {
  void (*run)(void) = intruder;
  if (access != PROT_NONE)
    return mmap(at, nbytes, access, flags, fd, offset);
  intruder = NULL;
  if (run)
    run();
  reserved_first = reserved_first ? reserved_first : nbytes;
  errno = ENOMEM;
  if (nbytes > ARENA_LEAST)
    return MAP_FAILED;
  reserved++;
  return mmap(at, nbytes, access, flags, fd, offset);
}

static void mmap_little_begin(void) {
  reserved_first = 0;
  reserved = 0;
  intruder = NULL;
  umemi_os.mmap = mmap_little;
}

static void addresses__are_reserved_for_the_size_of_the_device(void **state) {
  (void)state;
  static struct {
    uint64_t total, wanted;
  } const devices[] = {
      {0, (uint64_t)1 << 36},
      {(uint64_t)1 << 30, (uint64_t)1 << 36},
      {(uint64_t)1 << 40, (uint64_t)1 << 42},
      {(uint64_t)1 << 42, (uint64_t)1 << 44},
      {((uint64_t)1 << 42) + 1, (uint64_t)1 << 44},
      {UINT64_MAX, (uint64_t)1 << 44},
  };
  if (sizeof(void *) < 8)
    skip();
  for (size_t i = 0; i < LENGTH(devices); i++) {
    shim->answer(UMEMI_CL_DEVICE_GLOBAL_MEM_SIZE, devices[i].total);
    mmap_little_begin();
    open_tier(&ctx, umemOpenCLBuffers);
    uintptr_t adr = allocated(&ctx, SMALL);
    assert_true(reserved_first == devices[i].wanted);
    assert_ok(umem_try_set(&ctx, adr, 3, SMALL)); /* with fewer, too */
    assert_holds(&ctx, adr, SMALL, 3);
    assert_ok(umem_dtor(&ctx));
  }
}

static void addresses__that_are_used_up_are_a_memory_error(void **state) {
  (void)state;
  enum { MUCH = 100 << 20 };
  uintptr_t adr;
  mmap_little_begin();
  open_tier(&ctx, umemOpenCLBuffers);
  uintptr_t const first = allocated(&ctx, MUCH), second = allocated(&ctx, MUCH);
  assert_fails(&ctx, umem_try_alloc(&ctx, MUCH, &adr), umemMemoryError,
               "the 268435456 addresses reserved for buffers are used up");
  allocated(&ctx, SMALL);
  assert_ok(umem_free(&ctx, first));
  assert_int_equal(allocated(&ctx, MUCH), first);
  assert_ok(umem_try_set(&ctx, first, 1, SMALL));
  assert_ok(umem_free(&ctx, second));
  assert_ok(umem_dtor(&ctx));
}

static uintptr_t intruders_block;

static void allocate_in_between(void) {
  intruders_block = allocated(&ctx, SMALL);
}

static size_t address_space(void) {
  unsigned long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%lu", &pages), 1);
  fclose(file);
  return (size_t)pages * UMEMI_PAGE;
}

static void addresses__reserved_by_two_threads_are_kept_once(void **state) {
  (void)state;
  mmap_little_begin();
  open_tier(&ctx, umemOpenCLBuffers);
  size_t before = address_space();
  intruder = allocate_in_between;
  uintptr_t adr = allocated(&ctx, SMALL);
  assert_int_equal(reserved, 2);
  assert_in_range(address_space() - before, ARENA_LEAST, 2 * ARENA_LEAST - 1);
  assert_in_range(umemi_apart(adr, intruders_block), SMALL, ARENA_LEAST);
  assert_ok(umem_try_set(&ctx, adr, 1, SMALL));
  assert_ok(umem_try_set(&ctx, intruders_block, 2, SMALL));
  assert_holds(&ctx, adr, SMALL, 1);
  assert_ok(umem_dtor(&ctx));
}

/* --- another thread is first ---------------------------------------------- */

static umemOpenCL intruders;

static void construct_in_between(void) {
  open_tier(&intruders, umemOpenCLBuffers);
}

static void contexts__constructed_at_once_share_one_space(void **state) {
  (void)state;
  shim->before_call("clCreateContext", 1, construct_in_between);
  open_tier(&ctx, umemOpenCLBuffers);
  assert_int_equal(shim->calls("clCreateContext"), 2);
  assert_int_equal(shim->live(SHIM_CONTEXT), live[SHIM_CONTEXT] + 1);
  assert_true(umem_is_same_device(&ctx, &intruders));
  uintptr_t adr = allocated(&ctx, SMALL);
  assert_ok(umem_try_set(&intruders, adr, 4, SMALL));
  assert_holds(&ctx, adr, SMALL, 4);
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_dtor(&intruders));
}

static void *intruders_queue;

static void ask_in_between(void) {
  assert_ok(umemOpenCL_get_objects(&ctx, NULL, NULL, &intruders_queue));
}

static void queue__that_two_threads_ask_for_is_one(void **state) {
  (void)state;
  void *queue;
  open_tier(&ctx, umemOpenCLBuffers);
  unsigned const queues = shim->live(SHIM_QUEUE);
  shim->before_call("clCreateCommandQueue", 1, ask_in_between);
  assert_ok(umemOpenCL_get_objects(&ctx, NULL, NULL, &queue));
  assert_non_null(queue);
  assert_ptr_equal(queue, intruders_queue);
  assert_int_equal(shim->live(SHIM_QUEUE), queues + 1);
  assert_ok(umem_dtor(&ctx));
}

/* In one cl_context of the user's there is one space, and in ours another. */
static void contexts__of_the_users_objects_are_apart_from_ours(void **state) {
  (void)state;
  umemOpenCL own, adopted[2];
  void *context;
  assert_ok(umemOpenCL_ctor(&own, 0, 0));
  assert_ok(umemOpenCL_get_objects(&own, &context, NULL, NULL));
  umemOpenCLOptions options = {
      .size = sizeof options, .tier = umemOpenCLBuffers, .context = context};
  for (size_t i = 0; i < LENGTH(adopted); i++)
    assert_ok(umemOpenCL_ctor_ex(&adopted[i], 0, 0, &options));
  open_tier(&ctx, umemOpenCLBuffers); /* while the newest one is adopted */
  assert_true(umem_is_same_device(&adopted[0], &adopted[1]));
  assert_false(umem_is_same_device(&adopted[0], &ctx));
  uintptr_t adr = allocated(&adopted[0], SMALL);
  assert_fails(&ctx, umem_try_set(&ctx, adr, 1, SMALL), umemValueError,
               "in no live block");
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_dtor(&adopted[0]));
  assert_ok(umem_dtor(&adopted[1]));
  assert_ok(umem_dtor(&own));
}

/* --- queues of the user's that fail --------------------------------------- */

/* Of a copy both sides' are waited for. */
static void copy__waits_for_both_queues_or_moves_nothing(void **state) {
  (void)state;
  umemOpenCL dest;
  void *queue;
  open_tier(&ctx, umemOpenCLBuffers);
  open_tier(&dest, umemOpenCLBuffers);
  uintptr_t from = allocated(&ctx, SMALL), to = allocated(&dest, SMALL);
  assert_ok(umem_try_set(&ctx, from, 1, SMALL));
  assert_ok(umem_try_set(&dest, to, 2, SMALL));
  assert_ok(umemOpenCL_get_objects(&ctx, NULL, NULL, &queue));
  assert_ok(umemOpenCL_get_objects(&dest, NULL, NULL, &queue));
  for (unsigned k = 1; k <= 2; k++) {
    shim->clear();
    shim->fail_call("clFinish", k, UMEMI_CL_OUT_OF_RESOURCES, false);
    assert_fails(&dest, umem_copy_to(&ctx, from, &dest, to, SMALL),
                 umemRuntimeError, "clFinish: CL_OUT_OF_RESOURCES (-5)");
    assert_int_equal(shim->calls("clFinish"), 2);
    assert_int_equal(shim->calls("clEnqueueCopyBuffer"), 0);
  }
  assert_holds(&dest, to, SMALL, 2);
  assert_ok(umem_copy_to(&ctx, from, &dest, to, SMALL));
  assert_holds(&dest, to, SMALL, 1);
  umem_clean_status(&ctx);
  assert_ok(umem_dtor(&dest));
  assert_ok(umem_dtor(&ctx));
}

enum { USERS = 3 };

/* Contexts with a queue each; gives the object behind a block of the first. */
static void users_begin(umemOpenCL users[USERS], uintptr_t *adr_out,
                        void **mem_out) {
  void *queue;
  size_t offset;
  for (size_t i = 0; i < USERS; i++) {
    open_tier(&users[i], umemOpenCLBuffers);
    assert_ok(umemOpenCL_get_objects(&users[i], NULL, NULL, &queue));
  }
  *adr_out = allocated(&users[0], SMALL);
  assert_ok(umemOpenCL_get_mem(&users[0], *adr_out, mem_out, &offset));
  shim->clear();
}

static void users_end(umemOpenCL users[USERS]) {
  for (size_t i = 0; i < USERS; i++) {
    umem_clean_status(&users[i]);
    assert_ok(umem_dtor(&users[i]));
  }
}

/* Returns the number of calls of clFinish(), the failed one included. */
static unsigned free_unwaited(char const *call, bool for_ever) {
  umemOpenCL users[USERS];
  uintptr_t adr;
  void *mem;
  users_begin(users, &adr, &mem);
  shim->fail_call(call, 1, UMEMI_CL_OUT_OF_RESOURCES, for_ever);
  assert_fails(&users[0], umem_free(&users[0], adr), umemRuntimeError,
               "CL_OUT_OF_RESOURCES (-5)");
  unsigned const waits = shim->calls("clFinish");
  assert_int_equal(shim->live(SHIM_MEM), live[SHIM_MEM] + for_ever);
  shim->clear();
  if (for_ever)
    assert_int_equal(rawcl()->clReleaseMemObject(mem), UMEMI_CL_SUCCESS);
  users_end(users);
  return waits;
}

static void free__goes_on_where_a_queue_cannot_be_waited_for(void **state) {
  (void)state;
  assert_int_equal(free_unwaited("clFinish", false), 2 * USERS);
  assert_int_equal(free_unwaited("clRetainCommandQueue", false), 2 * USERS - 1);
}

/* What is in the queue may use it still. */
static void free__leaves_the_memory_of_a_queue_that_never_ends(void **state) {
  (void)state;
  free_unwaited("clFinish", true);
  free_unwaited("clRetainCommandQueue", true);
}

/* As each may use the blocks of the others. */
static void calls__wait_for_the_queues_of_all_contexts(void **state) {
  (void)state;
  umemOpenCL users[USERS];
  char bytes[SMALL];
  uintptr_t adr;
  void *mem;
  users_begin(users, &adr, &mem);
  assert_ok(umem_try_set(&users[0], adr, 7, SMALL));
  assert_int_equal(shim->calls("clFinish"), USERS);
  shim->clear();
  assert_holds(&users[0], adr, SMALL, 7);
  assert_int_equal(shim->calls("clFinish"), USERS);
  shim->clear();
  memset(bytes, 8, sizeof bytes);
  assert_ok(
      umem_copy_to(&host, (uintptr_t)bytes, &users[0], adr, sizeof bytes));
  assert_int_equal(shim->calls("clFinish"), USERS);
  shim->clear();
  assert_ok(umem_copy_to(&users[0], adr, &users[0], adr + 5000, 5000));
  assert_int_equal(shim->calls("clFinish"), USERS);
  users_end(users);
}

/* A user may wait for us before he lets his commands go on. */
static void ctor__and_alloc_wait_for_no_queue(void **state) {
  (void)state;
  umemOpenCL users[USERS];
  uintptr_t adr, other;
  void *mem;
  users_begin(users, &adr, &mem);
  open_tier(&ctx, umemOpenCLBuffers);
  other = allocated(&users[0], SMALL);
  assert_int_equal(shim->calls("clFinish"), 0);
  assert_ok(umem_free(&users[0], other));
  assert_ok(umem_dtor(&ctx));
  users_end(users);
}

/* --- blocks that go away -------------------------------------------------- */

/* A copy is checked as a whole, and done in parts: what another thread frees
   between two of them is not touched any more. */
static uintptr_t victim;

static void free_in_between(void) {
  assert_ok(umem_free(&ctx, victim));
}

/* When the k-th command is through. */
static void free_after(unsigned k, uintptr_t adr) {
  victim = adr;
  shim->clear();
  shim->before_call("clReleaseEvent", k, free_in_between);
}

static void assert_stopped(umemStatusType told, int64_t bytes_done) {
  assert_status(told, umemValueError);
  assert_slot(&ctx, umemValueError, "is in no live block of the device");
  assert_int_equal(last_error(&ctx).bytes_done, bytes_done);
}

static void write__to_a_block_freed_meanwhile_stops(void **state) {
  (void)state;
  enum { ROW = 1000 };
  static unsigned char rows[4 * ROW];
  open_tier(&ctx, umemOpenCLBuffers);
  uintptr_t adr = allocated(&ctx, (size_t)8 * ROW);
  free_after(2, adr);
  assert_stopped(umem_copy_2d(&host, (uintptr_t)rows, ROW, &ctx, adr,
                              (size_t)2 * ROW, ROW, 4),
                 (int64_t)2 * ROW);
  assert_int_equal(shim->calls("clEnqueueWriteBuffer"), 2);
  umem_clean_status(&host);
  assert_ok(umem_dtor(&ctx));
}

/* Whichever of the two it is. */
static void copy__of_a_block_freed_meanwhile_stops(void **state) {
  (void)state;
  enum { ROW = 32 << 10, STEP = 40 << 10 };
  for (int i = 0; i < 2; i++) {
    open_tier(&ctx, umemOpenCLBuffers);
    uintptr_t const blocks[] = {allocated(&ctx, (size_t)3 * STEP),
                                allocated(&ctx, (size_t)3 * STEP)};
    free_after(1, blocks[i]);
    assert_stopped(
        umem_copy_2d(&ctx, blocks[0], STEP, &ctx, blocks[1], STEP, ROW, 3),
        ROW);
    assert_int_equal(shim->calls("clEnqueueCopyBuffer"), 1);
    assert_ok(umem_dtor(&ctx));
  }
}

/* Zeros that are not read are set. */
static void set__of_a_block_freed_meanwhile_stops(void **state) {
  (void)state;
  enum { SIZE = 3 * PIECE };
  struct fakeOne source;
  uintptr_t from;
  fake_one_begin(&source,
                 &(struct fakeConfig){.without = FAKE_VIEWS, .hole = PIECE});
  assert_ok(umem_try_aligned_alloc(&source.ctx, PIECE, SIZE, &from));
  memset(fake_at(&source.device, from), 0, SIZE);
  memset(fake_at(&source.device, from + PIECE), 1, PIECE);
  open_tier(&ctx, umemOpenCLBuffers);
  uintptr_t adr = allocated(&ctx, SIZE);
  free_after(2, adr);
  assert_stopped(umem_copy_to(&source.ctx, from, &ctx, adr, SIZE),
                 (int64_t)2 * PIECE);
  assert_int_equal(shim->calls("clEnqueueFillBuffer"), 1);
  assert_int_equal(shim->calls("clEnqueueWriteBuffer"), 1);
  umem_clean_status(&source.ctx);
  assert_ok(umem_dtor(&ctx));
  assert_ok(umem_free(&source.ctx, from));
  fake_one_end(&source);
}

/* --- more at once than there is room for ---------------------------------- */

/* Copies, each of which begins when the command of the one before does. */
static struct {
  uintptr_t adr;
  unsigned depth;
  umemStatusType told;
} nested;

static void nest(void) {
  static char const bytes[64];
  if (++nested.depth <= UMEMI_CL_QUEUES)
    shim->before_call("clEnqueueWriteBuffer", 1, nest);
  umemStatusType status =
      umem_copy_to(&host, (uintptr_t)bytes, &ctx, nested.adr, sizeof bytes);
  nested.told = status == umemOK ? nested.told : status;
}

static void nest_begin(void) {
  memset(&nested, 0, sizeof nested);
  open_tier(&ctx, umemOpenCLBuffers);
  nested.adr = allocated(&ctx, 64);
  nest();
  assert_ok(nested.told);
  assert_int_equal(nested.depth, UMEMI_CL_QUEUES + 1);
}

static void queues__more_than_are_kept_are_released(void **state) {
  (void)state;
  nest_begin();
  assert_int_equal(shim->live(SHIM_QUEUE), live[SHIM_QUEUE] + UMEMI_CL_QUEUES);
  assert_ok(umem_dtor(&ctx));
}

/* All of them are released, and the first failure is the one that is told. */
static void dtor__goes_on_where_a_queue_cannot_be_released(void **state) {
  (void)state;
  nest_begin();
  shim->clear();
  shim->fail_call("clReleaseCommandQueue", 1, UMEMI_CL_INVALID_COMMAND_QUEUE,
                  false);
  assert_fails(&ctx, umem_dtor(&ctx), umemRuntimeError,
               "clReleaseCommandQueue: CL_INVALID_COMMAND_QUEUE (-36)");
  assert_int_equal(shim->calls("clReleaseCommandQueue"), UMEMI_CL_QUEUES);
  assert_int_equal(shim->live(SHIM_QUEUE), live[SHIM_QUEUE]);
}

/* --- what is needed ------------------------------------------------------- */

static bool has_device(void) {
  clPlatform platform;
  clUint count = 0;
  return rawcl()->clGetPlatformIDs(1, &platform, NULL) == UMEMI_CL_SUCCESS &&
         rawcl()->clGetDeviceIDs(platform, UMEMI_CL_DEVICE_TYPE_ALL, 0, NULL,
                                 &count) == UMEMI_CL_SUCCESS &&
         count > 0;
}

/* One thread: what comes in between does so where it is told. */
static int setup(void **state) {
  (void)state;
  umemi_tuning();
  umemi_tuning_values.sparse_from = PIECE;
  assert_ok(umem_set_threads(1));
  return umemHost_ctor(&host) != umemOK;
}

static int teardown(void **state) {
  (void)state;
  return umem_dtor(&host) != umemOK;
}

int main(void) {
  struct CMUnitTest const tests[] = {
      corner_test(loader__of_two_threads_at_once_serves_both),
      corner_test(code__is_told_by_name_and_number),
      corner_test(devices__of_a_platform_without_any_are_none),
      corner_test(tier__of_which_a_device_has_nothing_is_not_there),
      corner_test(wait__that_fails_without_a_reason_is_told),
      corner_test(alloc__of_no_memory_and_no_code_is_a_memory_error),
      corner_test(alloc__of_what_is_in_use_leaves_its_owner_alone),
      corner_test(addresses__are_reserved_for_the_size_of_the_device),
      corner_test(addresses__that_are_used_up_are_a_memory_error),
      corner_test(addresses__reserved_by_two_threads_are_kept_once),
      corner_test(contexts__constructed_at_once_share_one_space),
      corner_test(queue__that_two_threads_ask_for_is_one),
      corner_test(contexts__of_the_users_objects_are_apart_from_ours),
      corner_test(copy__waits_for_both_queues_or_moves_nothing),
      corner_test(free__goes_on_where_a_queue_cannot_be_waited_for),
      corner_test(free__leaves_the_memory_of_a_queue_that_never_ends),
      corner_test(calls__wait_for_the_queues_of_all_contexts),
      corner_test(ctor__and_alloc_wait_for_no_queue),
      corner_test(write__to_a_block_freed_meanwhile_stops),
      corner_test(copy__of_a_block_freed_meanwhile_stops),
      corner_test(set__of_a_block_freed_meanwhile_stops),
      corner_test(queues__more_than_are_kept_are_released),
      corner_test(dtor__goes_on_where_a_queue_cannot_be_released),
  };
  shim = shim_find();
  if (!shim || !has_device()) {
    puts(shim ? "skipped: no OpenCL device"
              : "skipped: libOpenCL.so.1 is not the shim (LD_LIBRARY_PATH)");
    return SKIPPED;
  }
  return cmocka_run_group_tests(tests, setup, teardown);
}
