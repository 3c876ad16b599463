/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sweep of OpenCL: small programs on each tier of memory, of which every
 * call of the driver fails with several codes, once and from then on; every
 * command's event ends badly; and each of our own allocations fails. What must
 * hold at each point: the program succeeds and its bytes are right, or it says
 * which function failed and with which code; nothing of the driver's is left,
 * nothing is released twice; and it succeeds when run again.
 *
 * The failing driver is shim/, a libOpenCL.so.1 found by LD_LIBRARY_PATH. What
 * is lost of our own memory is for valgrind and AddressSanitizer to find.
 */
#include "core.h"

#include "doubles/rawcl.h"
#include "internal.h"
#include "shim/shim.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
  SMALL = 10000,
  LARGE = (2 << 20) + 13,
  ROOM = LARGE + 1000,
  APART = 100,        /* a range over itself */
  SLOW_STEP = 29,     /* every so many points, where it is slow */
  COMPLAINTS_MAX = 30 /* that are printed */
};

/* What a program works with: it is to leave `want`, which is `in` if it says
   nothing else, in `out`. */
struct world {
  umemHost host;
  umemOpenCL a, b;
  umemFile f;
  size_t nbytes;
  umemStatusType status; /* of the first call that failed */
  umemError error;
};

struct scenario {
  char const *name;
  bool (*program)(struct world *w);
  size_t nbytes;
  bool declines; /* has another way, if the first one fails */
};

/* What goes wrong. */
enum evil { EVIL_NONE, EVIL_CALL, EVIL_EVENT, EVIL_MEMORY };

struct point {
  struct scenario const *scenario;
  enum evil evil;
  enum fault_call call; /* EVIL_MEMORY */
  unsigned k;
  int code;
  bool for_ever; /* EVIL_EVENT: and the event cannot be asked why */
};

static struct shimControls const *shim;
static clContext users_context;
static clQueue users_queue;
static umemOpenCLTier tier;
static struct point now;
static unsigned complaints;
static unsigned char in[ROOM], out[ROOM], want[ROOM];

/* The function that failed first in the list of names, or "". */
static char const *failed_name(void) {
  if (now.evil == EVIL_MEMORY)
    return fault_name(now.call);
  for (size_t i = 0; shim->name(i); i++)
    if (shim->failures(shim->name(i)))
      return shim->name(i);
  return "";
}

static void complain(char const *what, char const *more) {
  if (complaints++ < COMPLAINTS_MAX)
    print_error("tier %d, %s, %s %u (%s) fails with %d%s: %s %s\n", (int)tier,
                now.scenario->name, now.evil == EVIL_EVENT ? "event" : "call",
                now.k, failed_name(), now.code, now.for_ever ? " for ever" : "",
                what, more);
}

/* --- what a failure must say ---------------------------------------------- */

static bool has_failed(char const *name) {
  return shim->failures(name) > 0;
}

/* Which is all that is known of an event that cannot be asked. */
static int expected_code(void) {
  return now.evil == EVIL_EVENT && now.for_ever
             ? UMEMI_CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST
             : now.code;
}

/* One of the functions that failed, and with the code. */
static bool names_the_failure(umemError const *error) {
  char code[32];
  snprintf(code, sizeof code, "(%d)", expected_code());
  if (has_failed("clSVMAlloc") && strstr(error->text, "clSVMAlloc"))
    return true; /* which has no codes */
  if (!strstr(error->text, code) || error->native != expected_code())
    return false;
  if (has_failed("clWaitForEvents") && strstr(error->text, "clEnqueue"))
    return true; /* of the command that was waited for */
  for (size_t i = 0; shim->name(i); i++)
    if (has_failed(shim->name(i)) && strstr(error->text, shim->name(i)))
      return true;
  return false;
}

/* A device that does not answer, or not with an address, lacks the tier. */
static bool lacks_the_tier(umemStatusType status, umemError const *error) {
  return status == umemNotSupportedError &&
         strstr(error->text, "the device has no ") &&
         (has_failed("clGetDeviceInfo") ||
          has_failed("clGetExtensionFunctionAddressForPlatform"));
}

static bool is_right(umemStatusType status, umemError const *error) {
  if (now.evil == EVIL_MEMORY)
    return status == umemMemoryError || error->sys_errno == ENOMEM;
  if (lacks_the_tier(status, error))
    return true;
  if (status != umemRuntimeError && status != umemMemoryError)
    return false;
  if (expected_code() == UMEMI_CL_OUT_OF_HOST_MEMORY &&
      status != umemMemoryError)
    return false;
  return names_the_failure(error);
}

/* Notes a failure that is the first. */
static void failed(struct world *w, umemStatusType status,
                   umemError const *error) {
  if (w->status != umemOK)
    return;
  w->status = status;
  w->error = *error;
  if (!is_right(status, error))
    complain("does not say what failed:", error->text);
}

/* Checks one result in all three layers; goes on only after a success. */
static bool did(struct world *w, void const *ctx, umemStatusType status) {
  if (status == umemOK)
    return true;
  umemError error = last_error(ctx);
  failed(w, status, &error);
  if (error.type != status || umem_get_error_count(ctx) == 0)
    complain("not recorded in the context:", error.text);
  if (umem_get_status(ctx) != status || !umem_get_message(ctx)[0])
    complain("not told in the thread:", umem_get_message(ctx));
  return false;
}

/* --- the steps that programs are made of ---------------------------------- */

static bool constructed(struct world *w, umemOpenCL *ctx) {
  umemOpenCLOptions options = {.size = sizeof options, .tier = tier};
  return did(w, ctx, umemOpenCL_ctor_ex(ctx, 0, 0, &options));
}

static bool allocated(struct world *w, umemOpenCL *ctx, size_t nbytes,
                      uintptr_t *adr_out) {
  return did(w, ctx, umem_try_alloc(ctx, nbytes, adr_out));
}

/* A context with a block of `nbytes` bytes. */
static bool began(struct world *w, umemOpenCL *ctx, size_t nbytes,
                  uintptr_t *adr_out) {
  return constructed(w, ctx) && allocated(w, ctx, nbytes, adr_out);
}

static bool freed(struct world *w, umemOpenCL *ctx, uintptr_t adr) {
  return did(w, ctx, umem_free(ctx, adr));
}

static bool copied(struct world *w, void const *src, uintptr_t from,
                   void const *dest, uintptr_t to, size_t nbytes) {
  return did(w, dest, umem_copy_to(src, from, dest, to, nbytes));
}

static bool written(struct world *w, umemOpenCL *ctx, uintptr_t adr) {
  return copied(w, &w->host, (uintptr_t)in, ctx, adr, w->nbytes);
}

static bool read_back(struct world *w, umemOpenCL *ctx, uintptr_t adr) {
  return copied(w, ctx, adr, &w->host, (uintptr_t)out, w->nbytes);
}

/* For programs that move nothing. */
static bool no_bytes(struct world *w) {
  memcpy(out, want, w->nbytes);
  return true;
}

/* --- programs: contexts --------------------------------------------------- */

static bool constructs(struct world *w) {
  return constructed(w, &w->a) && no_bytes(w);
}

static bool constructs_two(struct world *w) {
  return constructed(w, &w->a) && constructed(w, &w->b) &&
         did(w, &w->a, umem_dtor(&w->a)) && no_bytes(w);
}

/* The best tier that answers. */
static bool constructs_the_best(struct world *w) {
  uintptr_t adr;
  return did(w, &w->a, umemOpenCL_ctor(&w->a, 0, 0)) &&
         allocated(w, &w->a, w->nbytes, &adr) && written(w, &w->a, adr) &&
         read_back(w, &w->a, adr);
}

static bool adopts_a_queue(struct world *w) {
  umemOpenCLOptions options = {
      .size = sizeof options, .tier = tier, .queue = users_queue};
  uintptr_t adr;
  return did(w, &w->a, umemOpenCL_ctor_ex(&w->a, 0, 0, &options)) &&
         allocated(w, &w->a, w->nbytes, &adr) && written(w, &w->a, adr) &&
         read_back(w, &w->a, adr) && freed(w, &w->a, adr);
}

static bool adopts_a_context(struct world *w) {
  umemOpenCLOptions options = {
      .size = sizeof options, .tier = tier, .context = users_context};
  return did(w, &w->a, umemOpenCL_ctor_ex(&w->a, 0, 0, &options)) &&
         no_bytes(w);
}

/* From then on every command waits for the user's. */
static bool asks_for_objects(struct world *w) {
  void *context, *device, *queue, *mem;
  size_t offset;
  uintptr_t adr;
  return constructed(w, &w->a) &&
         did(w, &w->a,
             umemOpenCL_get_objects(&w->a, &context, &device, &queue)) &&
         allocated(w, &w->a, w->nbytes, &adr) &&
         did(w, &w->a, umemOpenCL_get_mem(&w->a, adr, &mem, &offset)) &&
         written(w, &w->a, adr) && read_back(w, &w->a, adr) &&
         freed(w, &w->a, adr);
}

/* They have no context to tell a failure: `reason` does. */
static bool lists_devices(struct world *w) {
  umemDeviceInfo info = {.size = sizeof info};
  umemError error = {.native = now.code};
  bool none = umem_device_count(umemOpenCLDevice) == 0;
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &info));
  if (none && now.evil == EVIL_NONE)
    complain("lists no device", "");
  if (info.usable)
    return no_bytes(w);
  snprintf(error.text, sizeof error.text, "%s", info.reason);
  failed(w, umemMemoryError, &error);
  return false;
}

/* --- programs: blocks ----------------------------------------------------- */

static bool allocates(struct world *w) {
  uintptr_t adr, nothing;
  return began(w, &w->a, w->nbytes, &adr) && allocated(w, &w->a, 0, &nothing) &&
         freed(w, &w->a, adr) && freed(w, &w->a, nothing) && no_bytes(w);
}

/* The context's end frees it. */
static bool leaves_a_block(struct world *w) {
  uintptr_t adr;
  return began(w, &w->a, w->nbytes, &adr) && no_bytes(w);
}

static bool callocs(struct world *w) {
  uintptr_t adr;
  memset(want, 0, w->nbytes);
  return constructed(w, &w->a) &&
         did(w, &w->a, umem_try_calloc(&w->a, 1, w->nbytes, &adr)) &&
         read_back(w, &w->a, adr) && freed(w, &w->a, adr);
}

static bool allocates_aligned(struct world *w) {
  uintptr_t adr = 0;
  bool ok = constructed(w, &w->a) &&
            did(w, &w->a, umem_try_aligned_alloc(&w->a, 8192, 16384, &adr));
  if (ok && adr % 8192)
    complain("not aligned", "");
  return ok && written(w, &w->a, adr) && read_back(w, &w->a, adr) &&
         did(w, &w->a, umem_try_free_aligned(&w->a, adr, NULL));
}

static bool sets(struct world *w) {
  uintptr_t adr;
  memset(want, 'x', w->nbytes);
  return began(w, &w->a, w->nbytes, &adr) &&
         did(w, &w->a, umem_try_set(&w->a, adr, 'x', w->nbytes)) &&
         read_back(w, &w->a, adr);
}

/* --- programs: copies ----------------------------------------------------- */

static bool copies(struct world *w) {
  uintptr_t adr;
  return began(w, &w->a, w->nbytes, &adr) && written(w, &w->a, adr) &&
         read_back(w, &w->a, adr);
}

static bool copies_on_the_device(struct world *w) {
  uintptr_t adr, other;
  return began(w, &w->a, w->nbytes, &adr) &&
         allocated(w, &w->a, w->nbytes, &other) && written(w, &w->a, adr) &&
         copied(w, &w->a, adr, &w->a, other, w->nbytes) &&
         read_back(w, &w->a, other);
}

static bool moves_up(struct world *w) {
  uintptr_t adr;
  return began(w, &w->a, w->nbytes + APART, &adr) && written(w, &w->a, adr) &&
         copied(w, &w->a, adr, &w->a, adr + APART, w->nbytes) &&
         read_back(w, &w->a, adr + APART);
}

static bool moves_down(struct world *w) {
  uintptr_t adr;
  return began(w, &w->a, w->nbytes + APART, &adr) &&
         written(w, &w->a, adr + APART) &&
         copied(w, &w->a, adr + APART, &w->a, adr, w->nbytes) &&
         read_back(w, &w->a, adr);
}

static bool copies_across_two_contexts(struct world *w) {
  uintptr_t adr, other;
  return began(w, &w->a, w->nbytes, &adr) &&
         began(w, &w->b, w->nbytes, &other) && written(w, &w->a, adr) &&
         copied(w, &w->a, adr, &w->b, other, w->nbytes) &&
         read_back(w, &w->b, other);
}

static bool copies_to_a_file_and_back(struct world *w) {
  uintptr_t adr, other;
  return did(w, &w->f, umemFile_ctor(&w->f, temp_path("target"), "w+")) &&
         began(w, &w->a, w->nbytes, &adr) &&
         allocated(w, &w->a, w->nbytes, &other) && written(w, &w->a, adr) &&
         copied(w, &w->a, adr, &w->f, 0, w->nbytes) &&
         copied(w, &w->f, 0, &w->a, other, w->nbytes) &&
         read_back(w, &w->a, other);
}

static bool mirrors(struct world *w) {
  uintptr_t adr, at = (uintptr_t)in;
  return constructed(w, &w->a) &&
         did(w, &w->a,
             umem_try_connect(&w->host, at, w->nbytes, &w->a, 0, &adr)) &&
         did(w, &w->a, umem_sync_to(&w->host, at, &w->a, adr, w->nbytes)) &&
         read_back(w, &w->a, adr) &&
         did(w, &w->a, umem_disconnect(&w->host, at, &w->a, adr, 0));
}

static bool compares(struct world *w) {
  uintptr_t adr;
  size_t first = 0;
  bool ok =
      began(w, &w->a, w->nbytes, &adr) && written(w, &w->a, adr) &&
      did(w, &w->a,
          umem_compare(&w->host, (uintptr_t)in, &w->a, adr, w->nbytes, &first));
  if (ok && first != w->nbytes)
    complain("a difference that is none", "");
  return ok && no_bytes(w);
}

static bool sums_up(struct world *w) {
  uintptr_t adr;
  uint32_t sum = 0, expected = 0;
  bool ok = began(w, &w->a, w->nbytes, &adr) && written(w, &w->a, adr) &&
            did(w, &w->a, umem_checksum(&w->a, adr, w->nbytes, 0, &sum));
  umem_checksum(&w->host, (uintptr_t)in, w->nbytes, 0, &expected);
  if (ok && sum != expected)
    complain("the wrong sum", "");
  return ok && no_bytes(w);
}

static struct scenario const scenarios[] = {
    {"constructs", constructs, 1, false},
    {"constructs two", constructs_two, 1, false},
    {"constructs the best", constructs_the_best, SMALL, false},
    {"adopts a queue", adopts_a_queue, SMALL, false},
    {"adopts a context", adopts_a_context, 1, false},
    {"asks for objects", asks_for_objects, SMALL, false},
    {"lists devices", lists_devices, 1, false},
    {"allocates", allocates, SMALL, false},
    {"leaves a block", leaves_a_block, SMALL, false},
    {"callocs", callocs, SMALL, false},
    {"allocates aligned", allocates_aligned, SMALL, false},
    {"sets", sets, SMALL, false},
    {"copies", copies, SMALL, false},
    {"copies much", copies, LARGE, false},
    {"copies on the device", copies_on_the_device, SMALL, false},
    {"moves up", moves_up, SMALL, true},
    {"moves down much", moves_down, LARGE, true},
    {"copies across contexts", copies_across_two_contexts, SMALL, false},
    {"copies to a file", copies_to_a_file_and_back, SMALL, false},
    {"copies much to a file", copies_to_a_file_and_back, LARGE, false},
    {"mirrors", mirrors, SMALL, false},
    {"compares much", compares, LARGE, false},
    {"sums up much", sums_up, LARGE, false},
};

/* --- one run -------------------------------------------------------------- */

/* What is not ours alone, before and after. */
struct balance {
  unsigned live[SHIM_KIND_COUNT], misuses;
  uint64_t addresses;
};

static uint64_t address_space(void) {
  unsigned long pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%lu", &pages), 1);
  fclose(file);
  return (uint64_t)pages * UMEMI_PAGE;
}

static struct balance balance_take(void) {
  struct balance balance = {.addresses = address_space(),
                            .misuses = shim->misuses()};
  for (unsigned kind = 0; kind < SHIM_KIND_COUNT; kind++)
    balance.live[kind] = shim->live((enum shim_kind)kind);
  return balance;
}

/* Where a queue can never be waited for, blocks are never known to be unused.
 */
static bool may_be_kept(enum shim_kind kind) {
  bool memory = kind == SHIM_MEM || kind == SHIM_SVM || kind == SHIM_USM;
  return memory && now.for_ever && has_failed("clFinish");
}

/* An arena is larger than all else that a program maps. */
static void balance_check(struct balance const *before) {
  struct balance after = balance_take();
  for (unsigned kind = 0; kind < SHIM_KIND_COUNT; kind++)
    if (after.live[kind] != before->live[kind] &&
        !may_be_kept((enum shim_kind)kind))
      complain("lost or released too often:",
               shim->kind_name((enum shim_kind)kind));
  if (after.misuses != before->misuses)
    complain("used what was released", "");
  if (after.addresses > before->addresses + ((uint64_t)1 << 27))
    complain("lost addresses", "");
}

static void world_prepare(struct world *w, struct scenario const *scenario) {
  umemi_slots_drop();
  memset(w, 0, sizeof *w);
  w->nbytes = scenario->nbytes;
  memset(out, 0, w->nbytes);
  memcpy(want, in, w->nbytes);
}

/* Runs the program to its end; true if every call succeeded. */
static bool world_run(struct world *w, struct scenario const *scenario) {
  world_prepare(w, scenario);
  bool ok = did(w, &w->host, umemHost_ctor(&w->host)) && scenario->program(w);
  ok &= did(w, &w->f, umem_dtor(&w->f));
  ok &= did(w, &w->b, umem_dtor(&w->b));
  ok &= did(w, &w->a, umem_dtor(&w->a));
  ok &= did(w, &w->host, umem_dtor(&w->host));
  umem_clean_status(&w->f);
  umem_clean_status(&w->b);
  umem_clean_status(&w->a);
  return ok;
}

static bool bytes_are_right(struct world const *w) {
  return memcmp(out, want, w->nbytes) == 0;
}

/* Without which nothing goes wrong: a question whose answer is not needed, and
   what is given back. */
static bool may_be_survived(void) {
  static char const *const names[] = {
      "clGetDeviceInfo", "clGetExtensionFunctionAddressForPlatform",
      "clReleaseEvent"};
  unsigned helpful = 0;
  for (size_t i = 0; i < LENGTH(names); i++)
    helpful += shim->failures(names[i]);
  return now.scenario->declines || now.scenario->program == lists_devices ||
         helpful == shim->failures(NULL);
}

/* --- one point ------------------------------------------------------------ */

static void point_arm(struct point const *point) {
  shim->clear();
  faults_clear();
  if (point->evil == EVIL_CALL)
    shim->fail_call(NULL, point->k, point->code, point->for_ever);
  if (point->evil == EVIL_EVENT)
    shim->fail_event(point->k, point->code);
  if (point->evil == EVIL_EVENT && point->for_ever)
    shim->fail_call("clGetEventInfo", 1, point->code, true);
  if (point->evil == EVIL_MEMORY && point->for_ever)
    faults_fail_from(point->call, point->k, ENOMEM);
  else if (point->evil == EVIL_MEMORY)
    faults_fail(point->call, point->k, ENOMEM);
}

static void point_check(struct world const *w, bool ok) {
  if (ok && !bytes_are_right(w))
    complain("succeeded, but did not do it", "");
  if (ok && now.evil != EVIL_MEMORY && !may_be_survived())
    complain("succeeded nevertheless", "");
  if (!ok && w->status == umemOK)
    complain("failed without a failure", "");
}

static void point_run(struct point point) {
  struct world w;
  struct balance before = balance_take();
  now = point;
  point_arm(&point);
  bool ok = world_run(&w, point.scenario);
  point_check(&w, ok);
  balance_check(&before);
  before = balance_take();
  point_arm(&(struct point){.evil = EVIL_NONE});
  if (!world_run(&w, point.scenario) || !bytes_are_right(&w))
    complain("does not succeed afterwards:", w.error.text);
  balance_check(&before);
}

/* --- all points ----------------------------------------------------------- */

static size_t points, points_seen;

static void point_visit(struct point point) {
  if (points_seen++ % scaled(1, SLOW_STEP))
    return;
  point_run(point);
  points++;
}

/* In every way. */
static void sweep_calls(struct point point, unsigned count) {
  static int const codes[] = {UMEMI_CL_OUT_OF_RESOURCES,
                              UMEMI_CL_OUT_OF_HOST_MEMORY,
                              UMEMI_CL_INVALID_COMMAND_QUEUE};
  for (point.k = 1; point.k <= count; point.k++)
    for (size_t i = 0; i < LENGTH(codes); i++) {
      point.code = codes[i];
      point.for_ever = false;
      point_visit(point);
      point.for_ever = true;
      point_visit(point);
    }
}

static void sweep_memory(struct point point, unsigned const *counts) {
  static enum fault_call const calls[] = {
      FAULT_malloc, FAULT_calloc,  FAULT_realloc, FAULT_posix_memalign,
      FAULT_strdup, FAULT_tsearch, FAULT_mmap};
  point.evil = EVIL_MEMORY;
  point.code = ENOMEM;
  for (size_t i = 0; i < LENGTH(calls); i++) {
    point.call = calls[i];
    for (point.k = 1; point.k <= counts[calls[i]]; point.k++) {
      point.for_ever = false;
      point_visit(point);
      point.for_ever = true;
      point_visit(point);
    }
  }
}

static void sweep_scenario(struct scenario const *scenario) {
  unsigned counts[FAULT_CALL_COUNT];
  struct world w;
  struct balance before = balance_take();
  struct point point = {.scenario = scenario};
  now = point;
  point_arm(&point);
  if (!world_run(&w, scenario) || !bytes_are_right(&w))
    complain("does not succeed without faults:", w.error.text);
  balance_check(&before);
  for (unsigned call = 0; call < FAULT_CALL_COUNT; call++)
    counts[call] = faults_count((enum fault_call)call);
  unsigned calls = shim->calls(NULL), events = shim->events();
  point.evil = EVIL_CALL;
  sweep_calls(point, calls);
  point.evil = EVIL_EVENT;
  sweep_calls(point, events);
  sweep_memory(point, counts);
}

static void sweep_tier(umemOpenCLTier number) {
  size_t before = points;
  tier = number;
  complaints = 0;
  for (size_t i = 0; i < LENGTH(scenarios); i++)
    sweep_scenario(&scenarios[i]);
  print_message("tier %d: %zu scenarios, %zu points, %u complaints\n",
                (int)number, LENGTH(scenarios), points - before, complaints);
  assert_int_equal(complaints, 0);
}

/* --- the driver fails ----------------------------------------------------- */

static bool device_has(umemOpenCLTier number) {
  umemOpenCLOptions options = {.size = sizeof options, .tier = number};
  umemOpenCL ctx;
  shim->clear();
  umemStatusType status = umemOpenCL_ctor_ex(&ctx, 0, 0, &options);
  if (status == umemOK)
    assert_ok(umem_dtor(&ctx));
  else
    assert_slot(&ctx, umemNotSupportedError, "the device has no");
  return status == umemOK;
}

static void sweep_if_there(umemOpenCLTier number) {
  if (!device_has(number)) {
    print_message("the device lacks tier %d\n", (int)number);
    skip();
  }
  faults_install();
  umemi_os.dlopen = faults_real.dlopen;
  umemi_os.dlsym = faults_real.dlsym;
  assert_ok(umem_set_threads(1));
  sweep_tier(number);
}

static void usm__every_call_fails_in_every_way(void **state) {
  (void)state;
  shim->set_usm(SHIM_USM_REAL);
  bool real = device_has(umemOpenCLUsm);
  if (!real)
    shim->set_usm(SHIM_USM_EMULATED);
  print_message("unified shared memory is %s\n",
                real ? "the device's" : "emulated by the shim");
  sweep_if_there(umemOpenCLUsm);
}

static void svm__every_call_fails_in_every_way(void **state) {
  (void)state;
  shim->set_usm(SHIM_USM_NONE);
  sweep_if_there(umemOpenCLSvm);
}

static void buffers__every_call_fails_in_every_way(void **state) {
  (void)state;
  shim->set_usm(SHIM_USM_NONE);
  sweep_if_there(umemOpenCLBuffers);
}

/* --- there is no driver --------------------------------------------------- */

static char const *absent;

static void *dlopen_without(char const *path, int flags) {
  assert_string_equal(path, "libOpenCL.so.1");
  return dlopen("libOpenCL.so.1.absent", flags);
}

static void *dlsym_without(void *library, char const *name) {
  return strcmp(name, absent) == 0 ? NULL : dlsym(library, name);
}

static void *no_malloc(size_t size) {
  (void)size;
  errno = ENOMEM;
  return NULL;
}

/* Neither a context nor a device, and both say so. */
static void assert_no_opencl(umemStatusType status, char const *what) {
  umemOpenCL ctx;
  umemDeviceInfo info = {.size = sizeof info};
  assert_fails(&ctx, umemOpenCL_ctor(&ctx, 0, 0), status, what);
  assert_int_equal(last_error(&ctx).type, status);
  assert_ok(umem_dtor(&ctx));
  assert_int_equal(umem_device_count(umemOpenCLDevice), 0);
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &info));
  assert_false(info.usable);
  assert_has(info.reason, what);
}

static void loader__without_the_library_says_which(void **state) {
  (void)state;
  umemi_os.dlopen = dlopen_without;
  assert_no_opencl(umemNotSupportedError, "libOpenCL.so.1 was not found");
}

static void loader__without_a_function_says_which(void **state) {
  (void)state;
  char message[128];
  umemi_os.dlsym = dlsym_without;
#define ABSENT(result, name, parameters, arguments)                            \
  absent = #name;                                                              \
  snprintf(message, sizeof message, "libOpenCL.so.1 has no %s()", absent);     \
  assert_no_opencl(umemNotSupportedError, message);
  UMEMI_CL_REQUIRED(ABSENT)
#undef ABSENT
}

static void loader__without_memory_says_so(void **state) {
  (void)state;
  umemi_os.malloc = no_malloc;
  assert_no_opencl(umemMemoryError, "the functions of OpenCL");
}

static void *dlsym_of_no_map(void *library, char const *name) {
  if (strstr(name, "Map") || strstr(name, "Unmap"))
    fail_msg("%s() is looked for", name);
  return dlsym(library, name);
}

/* While a range is mapped the whole object is closed to all commands, and so to
   copies of its other bytes. */
static void driver__is_never_asked_to_map(void **state) {
  (void)state;
  umemOpenCL ctx;
  umemi_os.dlsym = dlsym_of_no_map;
  assert_ok(umemOpenCL_ctor(&ctx, 0, 0));
  assert_ok(umem_dtor(&ctx));
}

/* What a process loads it keeps: so each function is missing in another. */
static int play_without(char const *name) {
  umemOpenCLOptions options = {.size = sizeof options, .tier = umemOpenCLSvm};
  umemOpenCL ctx;
  absent = name;
  umemi_os.dlsym = dlsym_without;
  umemStatusType status = umemOpenCL_ctor_ex(&ctx, 0, 0, &options);
  char const *message = umem_get_message(&ctx);
  if (status != umemNotSupportedError ||
      !strstr(message, "has no shared virtual memory"))
    return printf("status %d: %s\n", (int)status, message), 1;
  options.tier = umemOpenCLBest;
  if (umemOpenCL_ctor_ex(&ctx, 0, 0, &options) != umemOK ||
      umemOpenCL_get_tier(&ctx) == umemOpenCLSvm)
    return printf("no other tier: %s\n", umem_get_message(&ctx)), 1;
  return umem_dtor(&ctx) != umemOK;
}

static void svm__without_a_function_is_not_there(void **state) {
  (void)state;
  char told[1024];
#define ABSENT(result, name, parameters, arguments)                            \
  if (run_again(#name, NULL, told, sizeof told) != 0)                          \
    fail_msg("without " #name ": %s", told);
  UMEMI_CL_SVM(ABSENT)
#undef ABSENT
}

/* --- what is needed ------------------------------------------------------- */

/* A device, and the queue that is to be adopted. */
static bool device_find(void) {
  struct umemiCl const *cl = rawcl();
  clPlatform platform;
  clDevice device;
  clInt code;
  if (cl->clGetPlatformIDs(1, &platform, NULL) != UMEMI_CL_SUCCESS ||
      cl->clGetDeviceIDs(platform, UMEMI_CL_DEVICE_TYPE_ALL, 1, &device,
                         NULL) != UMEMI_CL_SUCCESS)
    return false;
  clProperty const properties[] = {UMEMI_CL_CONTEXT_PLATFORM,
                                   (clProperty)platform, 0};
  users_context =
      cl->clCreateContext(properties, 1, &device, NULL, NULL, &code);
  users_queue = cl->clCreateCommandQueue(users_context, device, 0, &code);
  return code == UMEMI_CL_SUCCESS;
}

static int setup(void **state) {
  random_bytes(in, sizeof in, 1);
  return temp_setup(state);
}

static int teardown(void **state) {
  rawcl()->clReleaseCommandQueue(users_queue);
  rawcl()->clReleaseContext(users_context);
  print_message("%zu points\n", points);
  return temp_teardown(state);
}

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      /* first: while nothing is loaded */
      faulty_test(loader__without_the_library_says_which),
      faulty_test(loader__without_a_function_says_which),
      faulty_test(loader__without_memory_says_so),
      faulty_test(driver__is_never_asked_to_map), /* loads it */
      cmocka_unit_test(svm__without_a_function_is_not_there),
      faulty_test(usm__every_call_fails_in_every_way),
      faulty_test(svm__every_call_fails_in_every_way),
      faulty_test(buffers__every_call_fails_in_every_way),
  };
  shim = shim_find();
  if (shim && argc > 1)
    return play_without(argv[1]);
  if (!shim || !device_find()) {
    puts(shim ? "skipped: no OpenCL device"
              : "skipped: libOpenCL.so.1 is not the shim (LD_LIBRARY_PATH)");
    return 77;
  }
  return cmocka_run_group_tests(tests, setup, teardown);
}
