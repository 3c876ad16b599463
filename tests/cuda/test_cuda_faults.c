/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sweep of CUDA: small programs on each kind of its memory, of which every
 * call of the driver fails with several codes, once, from then on, or after it
 * did its work; work in a queue fails; and each of our own allocations does.
 * What must hold at each point: the program succeeds and its bytes are right,
 * or it says which function failed and with which code; the thread is in the
 * contexts that it was in, and in its capture mode; each object of the driver's
 * is given back once; and the program succeeds when run again.
 *
 * The failing driver is the simulated one, a libcuda.so.1 found by
 * LD_LIBRARY_PATH. What is lost of our own memory is for valgrind and
 * AddressSanitizer to find.
 */
#include "core.h"

#include "gpu/gpu.h"

#include "driver/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  TINY = 8,               /* one call of the driver */
  SMALL = 100 << 10,      /* in a stream */
  LARGE = (2 << 20) + 13, /* through pinned slots, of 1 MiB */
  MOVED = 3 << 10,        /* within the device */
  ROOM = LARGE + 2 * UMEMI_PAGE,
  APART = 100,        /* a range over itself */
  HALVES = 128 << 10, /* of which one is registered */
  HELD_MAX = 8,       /* blocks of a program */
  CALLS_MAX = 2000,   /* of the driver in a program */
  WORK_MAX = 200,     /* operations that are executed in a program */
  SLOW_STEP = 29,     /* every so many points, where it is slow */
  STEP = 9,           /* every so many calls of a program fail, */
  STEP_AROUND = 37,   /* where more is around it, */
  STEP_MODE = 5,      /* and in another mode than the first */
  COMPLAINTS_MAX = 30 /* that are printed */
};

/* Kinds of memory, as bits. */
enum kind { PLAIN = 1, POOL = 2, STREAM = 4, HOST = 8, MANAGED = 16 };
enum { DEVICES = PLAIN | POOL | STREAM, KINDS = DEVICES | HOST | MANAGED };

/* What is around a call. */
enum around { NOTHING, OURS, OTHERS, CAPTURE, AROUNDS };

typedef union anyCuda {
  umemCuda cuda;
  umemCudaHost host;
  umemCudaManaged managed;
} anyCuda;

/* What a program has to give back, and how. */
enum give { FREE, FREE_ALIGNED, UNPIN, DISCONNECT };
struct held {
  void const *ctx;
  uintptr_t adr;
  enum give give;
};

/* What a program works with: it is to leave `want`, which is `in` if it says
   nothing else, in `out`. */
struct world {
  umemHost host;
  anyCuda a, b;
  umemCudaHost pinned;
  umemFile f;
  struct held held[HELD_MAX];
  size_t held_count, nbytes;
  size_t lost;           /* blocks that could not be given back */
  uint64_t state;        /* of the thread */
  unsigned failures;     /* of public calls */
  umemStatusType status; /* of the first one */
  umemError error;
};

struct scenario {
  char const *name;
  bool (*program)(struct world *w);
  size_t nbytes;
  unsigned kinds;
  bool declines; /* has another way, if the first one fails */
};

/* What goes wrong. */
enum evil { EVIL_NONE, EVIL_CALL, EVIL_WORK, EVIL_MEMORY };

struct point {
  struct scenario const *scenario;
  enum evil evil;
  enum fault_call call; /* EVIL_MEMORY */
  unsigned k;
  int code;
  unsigned how; /* bits of enum simcuHow */
};

static struct client c;
static enum kind kind;
static enum around around;
static cuStream users_stream, captured;
static struct point now;
static bool is_lost;        /* a device, to a sticky code */
static bool other_is_lost;  /* of two, and what it did is over */
static bool giving;         /* something is given back now */
static bool while_giving;   /* it went wrong where something was */
static bool while_choosing; /* or where a device was, of several that do */
static unsigned complaints;
static unsigned char in[ROOM], out[ROOM], want[ROOM];
/* The symbols of the calls of a good run, from 1, as far as they are known. */
static char const *trace[CALLS_MAX];

#define must(call) assert_int_equal(c.cu.call, UMEMI_CUDA_SUCCESS)

/* --- what went wrong ------------------------------------------------------ */

static bool is_sticky(int code) {
  return code == UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS ||
         code == UMEMI_CUDA_ERROR_LAUNCH_FAILED;
}

static bool goes_on(void) {
  return now.how & SIMCU_FROM_THEN_ON;
}

/* The first one; "" if nothing did. */
static char const *failed_symbol(void) {
  char const *symbol = c.sim.injected();
  if (now.evil == EVIL_MEMORY)
    return fault_name(now.call);
  if (symbol && goes_on() && trace[now.k])
    return trace[now.k];
  return symbol ? symbol : "";
}

static bool has_failed(char const *symbol) {
  return now.evil == EVIL_CALL && strcmp(failed_symbol(), symbol) == 0;
}

static char const *kind_name(void) {
  return kind == PLAIN     ? "Cuda"
         : kind == POOL    ? "Cuda with a pool"
         : kind == STREAM  ? "Cuda with a stream"
         : kind == HOST    ? "CudaHost"
         : kind == MANAGED ? "CudaManaged"
                           : "";
}

static bool lists_devices(struct world *w);
static bool copies_what_is_registered_in_part(struct world *w);

static void complain(char const *what, char const *more) {
  if (complaints++ < COMPLAINTS_MAX)
    print_error("%s, around %d, %s, %s %u (%s) fails with %d%s%s: %s %s\n",
                kind_name(), (int)around, now.scenario->name,
                now.evil == EVIL_WORK ? "work" : "call", now.k, failed_symbol(),
                now.code, goes_on() ? " for ever" : "",
                now.how & SIMCU_AFTER ? " afterwards" : "", what, more);
}

/* --- what a failure must say ---------------------------------------------- */

/* The name of a function is its symbol, without the version. */
static bool names_function(char const *text, char const *symbol) {
  char name[64];
  snprintf(name, sizeof name, "%s", symbol);
  char *version = strstr(name, "_v");
  if (version)
    *version = '\0';
  return name[0] && strstr(text, name);
}

/* Without which nothing goes wrong: a question whose answer is not needed, what
   makes things faster, and what is tried again: giving back. */
static bool may_be_survived(void) {
  static char const *const names[] = {
      "cuDeviceGetAttribute",    "cuDeviceGetUuid_v2", "cuDeviceCanAccessPeer",
      "cuCtxEnablePeerAccess",   "cuMemGetInfo_v2",    "cuCtxGetId",
      "cuMemGetAddressRange_v2", /* of imported memory */
  };
  for (size_t i = 0; i < LENGTH(names); i++)
    if (has_failed(names[i]))
      return true;
  if (has_failed("cuMemAllocFromPoolAsync") &&
      now.code == UMEMI_CUDA_ERROR_OUT_OF_MEMORY)
    return true; /* is tried again where memory is short */
  return giving || while_giving || while_choosing || now.scenario->declines ||
         now.scenario->program == lists_devices ||
         (kind != HOST && has_failed("cuMemHostAlloc"));
}

/* After a sticky code every function tells it; and if the first failure is none
   that matters, the next one does. */
static bool names_the_failure(umemError const *error) {
  char code[32];
  snprintf(code, sizeof code, "(%d)", now.code);
  if (!strstr(error->text, code) || error->native != now.code)
    return false;
  bool is_unknown = goes_on() && (!trace[now.k] || may_be_survived());
  if (is_sticky(now.code) || is_unknown)
    return strstr(error->text, ": cu") != NULL;
  return names_function(error->text, failed_symbol());
}

static bool is_right(umemStatusType status, umemError const *error) {
  if (now.evil == EVIL_MEMORY)
    return status == umemMemoryError || error->sys_errno == ENOMEM;
  if (now.scenario->program == copies_what_is_registered_in_part &&
      status == umemValueError)
    return has_failed("cuMemGetAddressRange_v2"); /* the refusal is told then */
  umemStatusType expected = now.code == UMEMI_CUDA_ERROR_OUT_OF_MEMORY
                                ? umemMemoryError
                                : umemRuntimeError;
  return status == expected && names_the_failure(error);
}

/* Only what happens for ever fails twice. */
static void failed(struct world *w, umemStatusType status,
                   umemError const *error) {
  bool twice = goes_on() || now.evil == EVIL_MEMORY || is_sticky(now.code);
  if (w->failures++ && !twice)
    complain("fails once more:", error->text);
  if (w->status != umemOK)
    return;
  w->status = status;
  w->error = *error;
  if (!is_right(status, error))
    complain("does not say what failed:", error->text);
}

/* What restores the thread may fail, too. */
static bool thread_may_change(void) {
  return now.evil == EVIL_CALL &&
         (goes_on() || has_failed("cuCtxPopCurrent_v2") ||
          has_failed("cuThreadExchangeStreamCaptureMode"));
}

static void check_thread(struct world *w, umemError const *error) {
  uint64_t state = c.sim.stack_state();
  if (state != w->state && !thread_may_change())
    complain("the thread is not as it was", error ? error->text : "");
  w->state = state;
}

/* Checks one result in all three layers, and what is around it; goes on only
   after a success. */
static bool did(struct world *w, void const *ctx, umemStatusType status) {
  if (status == umemOK) {
    check_thread(w, NULL);
    return true;
  }
  umemError error = last_error(ctx);
  failed(w, status, &error);
  check_thread(w, &error);
  if (error.type != status || umem_get_error_count(ctx) == 0)
    complain("not recorded in the context:", error.text);
  if (umem_get_status(ctx) != status || !umem_get_message(ctx)[0])
    complain("not told in the thread:", umem_get_message(ctx));
  return false;
}

/* --- what is held --------------------------------------------------------- */

static void hold(struct world *w, void const *ctx, uintptr_t adr,
                 enum give give) {
  assert_in_range(w->held_count, 0, HELD_MAX - 1);
  w->held[w->held_count++] = (struct held){ctx, adr, give};
}

static bool give_one(struct world *w, struct held const *held) {
  switch (held->give) {
  case FREE:
    return did(w, held->ctx, umem_free(held->ctx, held->adr));
  case FREE_ALIGNED:
    return did(w, held->ctx, umem_try_free_aligned(held->ctx, held->adr, NULL));
  case UNPIN:
    return did(w, held->ctx, umem_unpin(held->ctx, held->adr));
  case DISCONNECT:
    return did(
        w, held->ctx,
        umem_disconnect(&w->host, (uintptr_t)in, held->ctx, held->adr, 0));
  }
  return false;
}

static bool give_back(struct world *w, struct held const *held) {
  bool before = c.sim.injected() != NULL;
  giving = true;
  bool ok = give_one(w, held);
  giving = false;
  while_giving |= !before && c.sim.injected();
  return ok;
}

static bool destroyed(struct world *w, void const *ctx) {
  bool before = c.sim.injected() != NULL;
  giving = true;
  bool ok = did(w, ctx, umem_dtor(ctx));
  giving = false;
  while_giving |= !before && c.sim.injected();
  return ok;
}

/* The library knows a block no more that could not be freed. */
static bool give_all(struct world *w) {
  bool ok = true;
  while (w->held_count > 0) {
    struct held held = w->held[--w->held_count];
    bool given = give_back(w, &held);
    ok &= given;
    w->lost += !given;
  }
  return ok;
}

/* --- the steps that programs are made of ---------------------------------- */

static umemStatusType cuda_ctor(anyCuda *ctx, int device) {
  umemCudaOptions options = {.size = sizeof options};
  if (kind == PLAIN || device > 0)
    return umemCuda_ctor(&ctx->cuda, device);
  if (kind == HOST)
    return umemCudaHost_ctor(&ctx->host, 0);
  if (kind == MANAGED)
    return umemCudaManaged_ctor(&ctx->managed, 0, false, NULL);
  options.flags = kind == POOL ? UMEM_CUDA_POOL : 0;
  options.stream = kind == STREAM ? users_stream : NULL;
  return umemCuda_ctor_ex(&ctx->cuda, device, &options);
}

/* Host memory can be had of the other device. */
static void choosing(bool before) {
  while_choosing |= !before && c.sim.injected();
}

static bool constructed(struct world *w, anyCuda *ctx, int device) {
  bool before = c.sim.injected() != NULL;
  umemStatusType status = cuda_ctor(ctx, device);
  if (kind == HOST || kind == MANAGED)
    choosing(before);
  return did(w, ctx, status);
}

static bool constructed_pinned(struct world *w) {
  bool before = c.sim.injected() != NULL;
  umemStatusType status = umemCudaHost_ctor(&w->pinned, 0);
  choosing(before);
  return did(w, &w->pinned, status);
}

static bool allocated(struct world *w, void const *ctx, size_t nbytes,
                      uintptr_t *adr_out) {
  bool ok = did(w, ctx, umem_try_alloc(ctx, nbytes, adr_out));
  if (ok)
    hold(w, ctx, *adr_out, FREE);
  return ok;
}

/* A context with a block of `nbytes` bytes. */
static bool began(struct world *w, anyCuda *ctx, size_t nbytes,
                  uintptr_t *adr_out) {
  return constructed(w, ctx, 0) && allocated(w, ctx, nbytes, adr_out);
}

static bool copied(struct world *w, void const *src, uintptr_t from,
                   void const *dest, uintptr_t to, size_t nbytes) {
  return did(w, dest, umem_copy_to(src, from, dest, to, nbytes));
}

static bool written(struct world *w, void const *ctx, uintptr_t adr) {
  return copied(w, &w->host, (uintptr_t)in, ctx, adr, w->nbytes);
}

static bool read_back(struct world *w, void const *ctx, uintptr_t adr) {
  return copied(w, ctx, adr, &w->host, (uintptr_t)out, w->nbytes);
}

/* For programs that move nothing. */
static bool no_bytes(struct world *w) {
  memcpy(out, want, w->nbytes);
  return true;
}

/* --- programs: contexts --------------------------------------------------- */

static bool constructs(struct world *w) {
  return constructed(w, &w->a, 0) && no_bytes(w);
}

static bool constructs_two(struct world *w) {
  return constructed(w, &w->a, 0) && constructed(w, &w->b, 0) &&
         destroyed(w, &w->a) && no_bytes(w);
}

/* What has no context to tell a failure: `reason` does. */
static bool lists_devices(struct world *w) {
  umemDeviceInfo info = {.size = sizeof info};
  umemError error = {.native = now.code};
  if (!constructed(w, &w->a, 0))
    return false;
  umem_device_count(umemCudaDevice);
  check_thread(w, NULL);
  assert_ok(umem_device_info(umemCudaDevice, 0, &info));
  check_thread(w, NULL);
  if (info.usable)
    return no_bytes(w);
  snprintf(error.text, sizeof error.text, "umem_device_info: %s", info.reason);
  failed(w,
         now.code == UMEMI_CUDA_ERROR_OUT_OF_MEMORY ? umemMemoryError
                                                    : umemRuntimeError,
         &error);
  return false;
}

/* --- programs: blocks ----------------------------------------------------- */

static bool allocates(struct world *w) {
  uintptr_t adr, nothing;
  return began(w, &w->a, w->nbytes, &adr) && allocated(w, &w->a, 0, &nothing) &&
         no_bytes(w);
}

static bool callocs(struct world *w) {
  uintptr_t adr;
  memset(want, 0, w->nbytes);
  if (!constructed(w, &w->a, 0) ||
      !did(w, &w->a, umem_try_calloc(&w->a, 1, w->nbytes, &adr)))
    return false;
  hold(w, &w->a, adr, FREE);
  return read_back(w, &w->a, adr);
}

static bool allocates_aligned(struct world *w) {
  uintptr_t adr = 0;
  if (!constructed(w, &w->a, 0) ||
      !did(w, &w->a, umem_try_aligned_alloc(&w->a, 8192, 16384, &adr)))
    return false;
  hold(w, &w->a, adr, FREE_ALIGNED);
  if (adr % 8192)
    complain("not aligned", "");
  return written(w, &w->a, adr) && read_back(w, &w->a, adr);
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

static bool copies_pinned(struct world *w) {
  uintptr_t adr, page;
  bool ok = constructed_pinned(w) &&
            allocated(w, &w->pinned, w->nbytes, &page) &&
            began(w, &w->a, w->nbytes, &adr);
  if (!ok)
    return false;
  memcpy((void *)page, in, w->nbytes);
  ok = copied(w, &w->pinned, page, &w->a, adr, w->nbytes);
  memset((void *)page, 0, w->nbytes);
  ok = ok && copied(w, &w->a, adr, &w->pinned, page, w->nbytes);
  memcpy(out, (void *)page, w->nbytes);
  return ok;
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

static bool between_devices(struct world *w, int can) {
  uintptr_t adr, other;
  c.sim.set_peer(0, 1, can);
  c.sim.set_peer(1, 0, can);
  return began(w, &w->a, w->nbytes, &adr) && constructed(w, &w->b, 1) &&
         allocated(w, &w->b, w->nbytes, &other) && written(w, &w->a, adr) &&
         copied(w, &w->a, adr, &w->b, other, w->nbytes) &&
         did(w, &w->a, umem_try_set(&w->a, adr, 0, w->nbytes)) &&
         copied(w, &w->b, other, &w->a, adr, w->nbytes) &&
         read_back(w, &w->a, adr);
}

static bool copies_to_a_peer(struct world *w) {
  return between_devices(w, 1);
}

static bool copies_to_a_stranger(struct world *w) {
  return between_devices(w, 0);
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
  if (!constructed(w, &w->a, 0) ||
      !did(w, &w->a, umem_try_connect(&w->host, at, w->nbytes, &w->a, 0, &adr)))
    return false;
  hold(w, &w->a, adr, DISCONNECT);
  return did(w, &w->a, umem_sync_to(&w->host, at, &w->a, adr, w->nbytes)) &&
         read_back(w, &w->a, adr);
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

/* --- programs: rows ------------------------------------------------------- */

enum { ROW = 48, PITCH = 64, ROWS = 40 };

static void want_rows(void) {
  memset(want, 0, ROWS * PITCH);
  for (size_t i = 0; i < ROWS; i++)
    memcpy(want + i * PITCH, in + i * PITCH, ROW);
}

static bool rows_copied(struct world *w, void const *src, uintptr_t from,
                        size_t src_pitch, void const *dest, uintptr_t to,
                        size_t dest_pitch) {
  return did(
      w, dest,
      umem_copy_2d(src, from, src_pitch, dest, to, dest_pitch, ROW, ROWS));
}

static bool copies_rows(struct world *w) {
  uintptr_t adr, other;
  want_rows();
  return began(w, &w->a, w->nbytes, &adr) &&
         allocated(w, &w->a, w->nbytes, &other) &&
         rows_copied(w, &w->host, (uintptr_t)in, PITCH, &w->a, adr, ROW + 8) &&
         rows_copied(w, &w->a, adr, ROW + 8, &w->a, other, ROW) &&
         rows_copied(w, &w->a, other, ROW, &w->host, (uintptr_t)out, PITCH);
}

static bool copies_rows_to_a_peer(struct world *w) {
  uintptr_t adr, other;
  want_rows();
  c.sim.set_peer(0, 1, 1);
  c.sim.set_peer(1, 0, 1);
  return began(w, &w->a, w->nbytes, &adr) && constructed(w, &w->b, 1) &&
         allocated(w, &w->b, w->nbytes, &other) &&
         rows_copied(w, &w->host, (uintptr_t)in, PITCH, &w->a, adr, ROW + 8) &&
         rows_copied(w, &w->a, adr, ROW + 8, &w->b, other, ROW) &&
         rows_copied(w, &w->b, other, ROW, &w->host, (uintptr_t)out, PITCH);
}

/* --- programs: memory of others ------------------------------------------- */

static uintptr_t first_page(void) {
  return (uintptr_t)in / UMEMI_PAGE * UMEMI_PAGE + UMEMI_PAGE;
}

static bool pins(struct world *w) {
  uintptr_t adr, page = first_page();
  if (!constructed(w, &w->a, 0) ||
      !did(w, &w->a, umem_pin(&w->a, page, w->nbytes)))
    return false;
  hold(w, &w->a, page, UNPIN);
  memcpy(want, (void *)page, w->nbytes);
  return allocated(w, &w->a, w->nbytes, &adr) &&
         copied(w, &w->host, page, &w->a, adr, w->nbytes) &&
         read_back(w, &w->a, adr);
}

/* The second half of what is copied is registered. */
static bool copies_what_is_registered_in_part(struct world *w) {
  uintptr_t adr, page = first_page(), half = w->nbytes / 2;
  if (!constructed(w, &w->a, 0) ||
      !did(w, &w->a, umem_pin(&w->a, page + half, half)))
    return false;
  hold(w, &w->a, page + half, UNPIN);
  memcpy(want, (void *)page, w->nbytes);
  return allocated(w, &w->a, w->nbytes, &adr) &&
         copied(w, &w->host, page, &w->a, adr, w->nbytes) &&
         copied(w, &w->a, adr, &w->host, page, w->nbytes) &&
         read_back(w, &w->a, adr);
}

static bool tells_another_process(struct world *w) {
  char handle[UMEM_HANDLE_MAX];
  size_t length = sizeof handle, nbytes;
  uintptr_t adr, other;
  c.sim.set_ipc_within(1);
  return began(w, &w->a, w->nbytes, &adr) && constructed(w, &w->b, 0) &&
         written(w, &w->a, adr) &&
         did(w, &w->a,
             umem_export_handle(&w->a, adr, w->nbytes, handle, &length)) &&
         did(w, &w->b,
             umem_import_handle(&w->b, handle, length, &other, &nbytes)) &&
         read_back(w, &w->b, other);
}

static struct scenario const scenarios[] = {
    {"constructs", constructs, 1, KINDS, false},
    {"constructs two", constructs_two, 1, KINDS, false},
    {"lists devices", lists_devices, 1, PLAIN | HOST, false},
    {"allocates", allocates, SMALL, KINDS, false},
    {"callocs", callocs, SMALL, KINDS, false},
    {"allocates aligned", allocates_aligned, 16384, KINDS, false},
    {"sets", sets, SMALL, KINDS, false},
    {"copies little", copies, TINY, KINDS, false},
    {"copies", copies, SMALL, KINDS, false},
    {"copies much", copies, LARGE, KINDS, false},
    {"copies little pinned", copies_pinned, TINY, DEVICES, false},
    {"copies pinned", copies_pinned, SMALL, KINDS, false},
    {"copies much pinned", copies_pinned, LARGE, DEVICES, false},
    {"copies on the device", copies_on_the_device, MOVED, KINDS, false},
    {"moves up", moves_up, MOVED, KINDS, true},
    {"moves down", moves_down, SMALL, KINDS, true},
    {"copies across contexts", copies_across_two_contexts, SMALL, KINDS, false},
    {"copies to a peer", copies_to_a_peer, SMALL, DEVICES | MANAGED, true},
    {"copies to a stranger", copies_to_a_stranger, SMALL, DEVICES, true},
    {"copies to a file", copies_to_a_file_and_back, SMALL, KINDS, false},
    {"copies much to a file", copies_to_a_file_and_back, LARGE, PLAIN, true},
    {"mirrors", mirrors, SMALL, KINDS, false},
    {"compares", compares, SMALL, KINDS, false},
    {"pins", pins, SMALL, KINDS, false},
    {"copies rows", copies_rows, ROWS *PITCH, KINDS, false},
    {"copies rows to a peer", copies_rows_to_a_peer, ROWS *PITCH, DEVICES,
     true},
    {"copies what is registered in part", copies_what_is_registered_in_part,
     HALVES, DEVICES, true},
    {"tells another process", tells_another_process, SMALL, PLAIN | STREAM,
     false},
};

/* --- what is around ------------------------------------------------------- */

static cuContext primaries[2];

/* The user has both devices, a stream, and what is around. */
static void around_begin(void) {
  cuContext context;
  for (int i = 0; i < 2; i++)
    must(DevicePrimaryCtxRetain(&primaries[i], i));
  must(CtxPushCurrent(primaries[0]));
  must(StreamCreate(&users_stream, UMEMI_CU_STREAM_NON_BLOCKING));
  must(StreamCreate(&captured, UMEMI_CU_STREAM_DEFAULT));
  if (around == CAPTURE)
    must(StreamBeginCapture(captured, 0));
  must(CtxPopCurrent(&context));
  if (around == OURS)
    must(CtxPushCurrent(primaries[0]));
  if (around == OTHERS)
    must(CtxPushCurrent(primaries[1]));
}

/* An error of its own makes a context forgive what was lost in it. */
static void forgive(cuContext primary) {
  cuContext context;
  cuDevice device;
  c.sim.forget();
  must(CtxPushCurrent(primary));
  c.sim.inject("cuCtxGetDevice", 1, UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS, 0);
  c.cu.CtxGetDevice(&device);
  must(CtxPopCurrent(&context));
}

static bool is_active(int device) {
  unsigned flags;
  int active = 0;
  must(DevicePrimaryCtxGetState(device, &flags, &active));
  return active;
}

/* A context is released once, whatever comes of it. */
static bool may_be_retained(void) {
  char const *symbol = trace[now.k];
  return goes_on() || (now.evil == EVIL_CALL && symbol &&
                       strcmp(symbol, "cuDevicePrimaryCtxRelease_v2") == 0);
}

/* From here on the devices are like new. */
static void around_end(void) {
  cuContext context;
  if (around == OURS || around == OTHERS)
    must(CtxPopCurrent(&context));
  for (int i = 0; i < 2; i++) {
    forgive(primaries[i]);
    must(DevicePrimaryCtxRelease(i));
  }
  if (c.sim.live(SIMCU_RETAINS) > 0 && !may_be_retained())
    complain("a context is still retained", "");
  for (int i = 0; i < 2; i++)
    while (is_active(i))
      must(DevicePrimaryCtxRelease(i));
  c.sim.forget();
}

/* Nothing that was done spoils what is recorded meanwhile. */
static void check_capture(void) {
  cuContext context;
  cuGraph graph;
  if (around != CAPTURE)
    return;
  must(CtxPushCurrent(primaries[0]));
  cuCode code = c.cu.StreamEndCapture(captured, &graph);
  must(CtxPopCurrent(&context));
  if (code != UMEMI_CUDA_SUCCESS && !is_sticky(code) && !thread_may_change())
    complain("the capture has ended", "");
}

/* --- what is left --------------------------------------------------------- */

struct pair {
  enum simcuKind kind;
  char const *make, *end;
  enum { LANES, CONTEXTS, BLOCKS } of;
};

static struct pair const pairs[] = {
    {SIMCU_STREAMS, "cuStreamCreate", "cuStreamDestroy_v2", LANES},
    {SIMCU_EVENTS, "cuEventCreate", "cuEventDestroy_v2", LANES},
    {SIMCU_POOLS, "cuMemPoolCreate", "cuMemPoolDestroy", CONTEXTS},
    {SIMCU_IMPORTED, "cuIpcOpenMemHandle_v2", "cuIpcCloseMemHandle", CONTEXTS},
    {SIMCU_DEVICE, "cuMemAlloc_v2", "cuMemFree_v2", BLOCKS},
    {SIMCU_POOLED, "cuMemAllocFromPoolAsync", "cuMemFreeAsync", BLOCKS},
    {SIMCU_MANAGED, "cuMemAllocManaged", "cuMemFree_v2", BLOCKS},
    {SIMCU_PINNED, "cuMemHostAlloc", "cuMemFreeHost", BLOCKS},
    {SIMCU_REGISTERED, "cuMemHostRegister_v2", "cuMemHostUnregister", BLOCKS},
};

/* Before, and calls while things went wrong. */
struct balance {
  size_t live[SIMCU_KINDS];
  long made[LENGTH(pairs)];
};

static struct balance balance_take(void) {
  struct balance balance;
  for (unsigned i = 0; i < SIMCU_KINDS; i++)
    balance.live[i] = c.sim.live((enum simcuKind)i);
  for (size_t i = 0; i < LENGTH(pairs); i++)
    balance.made[i] = 0;
  return balance;
}

/* Of the calls of the good run before the one that fails. */
static long traced_before(char const *symbol) {
  long count = 0;
  for (unsigned i = 1; i < now.k && i < CALLS_MAX; i++)
    count += trace[i] && strcmp(trace[i], symbol) == 0;
  return count;
}

/* Are all of these known? */
static bool is_traced(void) {
  for (unsigned i = 1; i < now.k && i < CALLS_MAX; i++)
    if (!trace[i])
      return false;
  return true;
}

/* Things of a pair that were made while things went wrong. */
static long made_of(struct pair const *pair) {
  if (now.evil == EVIL_CALL && (goes_on() || is_lost))
    return traced_before(pair->make);
  return c.sim.calls(pair->make) - has_failed(pair->make);
}

static void balance_note(struct balance *balance) {
  for (size_t i = 0; i < LENGTH(pairs); i++)
    balance->made[i] = made_of(&pairs[i]) - c.sim.calls(pairs[i].make);
}

/* Of which one is lost, and calls in the other succeed. */
static bool uses_two_devices(void) {
  return now.scenario->program == copies_to_a_peer ||
         now.scenario->program == copies_to_a_stranger ||
         now.scenario->program == copies_rows_to_a_peer;
}

/* What a context holds is out of reach if its device cannot be entered. */
static bool is_counted(struct pair const *pair) {
  bool one_of_two = is_lost && uses_two_devices();
  if (now.evil == EVIL_WORK || pair->of == BLOCKS || one_of_two)
    return false;
  if (now.evil == EVIL_CALL && (goes_on() || is_lost) && !is_traced())
    return false;
  return pair->of == LANES || !goes_on();
}

/* Each was ended once, if that worked or not. */
static void check_ends(struct balance const *balance, size_t i) {
  long made = balance->made[i] + c.sim.calls(pairs[i].make);
  long ended = c.sim.calls(pairs[i].end);
  bool again = has_failed(pairs[i].end) &&
               strcmp(pairs[i].end, "cuIpcCloseMemHandle") == 0;
  char text[128];
  if (made == ended || (again && made == ended - 1))
    return;
  snprintf(text, sizeof text, "%ld times, %s %ld times", made, pairs[i].end,
           ended);
  complain(pairs[i].make, text);
}

/* What was not to be given back, at most. */
static size_t may_be_left(struct pair const *pair, size_t lost) {
  if (goes_on() || is_lost)
    return SIZE_MAX;
  return (pair->of == BLOCKS ? lost : 0) + has_failed(pair->end);
}

static void balance_check(struct balance const *before, size_t lost) {
  for (size_t i = 0; i < LENGTH(pairs); i++) {
    size_t live = c.sim.live(pairs[i].kind), was = before->live[pairs[i].kind];
    if (live < was || live - was > may_be_left(&pairs[i], lost))
      complain("lost:", pairs[i].make);
    if (is_counted(&pairs[i]))
      check_ends(before, i);
  }
}

/* --- one run -------------------------------------------------------------- */

static void world_prepare(struct world *w, struct scenario const *scenario) {
  umemi_slots_drop();
  memset(w, 0, sizeof *w);
  w->nbytes = scenario->nbytes;
  memset(out, 0, w->nbytes);
  memcpy(want, in, w->nbytes);
}

static bool world_end(struct world *w) {
  bool ok = give_all(w);
  ok &= destroyed(w, &w->f);
  ok &= destroyed(w, &w->b);
  ok &= destroyed(w, &w->a);
  ok &= destroyed(w, &w->pinned);
  ok &= destroyed(w, &w->host);
  umem_clean_status(&w->f);
  umem_clean_status(&w->b);
  umem_clean_status(&w->a);
  umem_clean_status(&w->pinned);
  return ok;
}

/* Runs the program to its end; true if every call succeeded. */
static bool world_run(struct world *w, struct scenario const *scenario) {
  world_prepare(w, scenario);
  w->state = c.sim.stack_state();
  bool ok = did(w, &w->host, umemHost_ctor(&w->host)) && scenario->program(w);
  return world_end(w) && ok;
}

static bool bytes_are_right(struct world const *w) {
  return memcmp(out, want, w->nbytes) == 0;
}

/* --- one point ------------------------------------------------------------ */

static void point_arm(struct point const *point) {
  c.sim.forget();
  faults_clear();
  if (point->evil == EVIL_CALL)
    c.sim.inject(NULL, point->k, point->code, point->how);
  if (point->evil == EVIL_WORK)
    c.sim.inject_work(point->k, point->code);
  if (point->evil == EVIL_MEMORY && point->how)
    faults_fail_from(point->call, point->k, ENOMEM);
  else if (point->evil == EVIL_MEMORY)
    faults_fail(point->call, point->k, ENOMEM);
}

/* Counts go on. */
static void point_disarm(void) {
  c.sim.inject(NULL, 0, 0, 0);
  c.sim.inject_work(0, 0);
  faults_clear();
}

/* What the library could not do for the thread. */
static void restore_thread(uint64_t state, int depth) {
  cuContext context;
  cuCaptureMode mode = 0;
  while (c.sim.stack_depth() > depth)
    must(CtxPopCurrent(&context));
  if (goes_on() || has_failed("cuThreadExchangeStreamCaptureMode"))
    must(ThreadExchangeStreamCaptureMode(&mode));
  if (c.sim.stack_state() != state)
    complain("the thread is in other contexts than before", "");
}

/* What a program could not unpin would be pinned when it is run again. */
static void unpin_rest(struct world const *w) {
  cuContext context;
  cuCaptureMode mode = UMEMI_CU_STREAM_CAPTURE_MODE_RELAXED;
  uintptr_t at = first_page();
  bool in_part = now.scenario->program == copies_what_is_registered_in_part;
  if ((now.scenario->program != pins && !in_part) || (!w->lost && !goes_on()))
    return;
  must(CtxPushCurrent(primaries[0]));
  must(ThreadExchangeStreamCaptureMode(&mode));
  c.cu.MemHostUnregister((void *)(in_part ? at + HALVES / 2 : at));
  must(ThreadExchangeStreamCaptureMode(&mode));
  must(CtxPopCurrent(&context));
}

/* A sticky code of a call outside of all contexts is lost on them. */
static bool device_is_lost(int number) {
  cuContext context;
  cuDevice device;
  must(CtxPushCurrent(primaries[number]));
  bool lost = is_sticky(c.cu.CtxGetDevice(&device));
  must(CtxPopCurrent(&context));
  return lost;
}

/* That of the context: host memory is where the thread is. */
static int own_device(void) {
  return around == OTHERS && (kind == HOST || kind == MANAGED);
}

/* Nobody can wait where nothing answers any more. */
static void check_violations(void) {
  if (goes_on() || is_lost)
    return;
  for (int i = 0; i < c.sim.violations(); i++)
    complain("a violation:", c.sim.violation(i));
}

static void point_check(struct world const *w, bool ok) {
  if (ok && !bytes_are_right(w))
    complain("succeeded, but did not do it", "");
  if (ok && now.evil == EVIL_CALL && !may_be_survived() && !other_is_lost)
    complain("succeeded nevertheless", "");
  if (!ok && w->status == umemOK)
    complain("failed without a failure", "");
}

/* Once more, where nothing goes wrong. */
static void run_again_well(void) {
  struct world w;
  struct point evil = now;
  if (!world_run(&w, now.scenario) || !bytes_are_right(&w))
    complain("does not succeed afterwards:", w.error.text);
  now = evil;
}

/* Everything from the first use of the devices to the last; what happened. */
static bool point_run(struct point point) {
  struct world w;
  now = point;
  while_giving = while_choosing = false;
  around_begin();
  struct balance before = balance_take();
  uint64_t state = c.sim.stack_state();
  int depth = c.sim.stack_depth();
  point_arm(&point);
  bool ok = world_run(&w, point.scenario);
  if (point.evil == EVIL_CALL && !goes_on())
    trace[point.k] = c.sim.injected();
  point_disarm();
  restore_thread(state, depth);
  other_is_lost =
      device_is_lost(!own_device()) && !device_is_lost(own_device());
  is_lost = other_is_lost || device_is_lost(own_device());
  balance_note(&before);
  point_check(&w, ok);
  unpin_rest(&w);
  if (!is_lost && point.evil != EVIL_NONE)
    run_again_well();
  check_violations();
  balance_check(&before, w.lost);
  check_capture();
  around_end();
  return ok;
}

/* --- all points ----------------------------------------------------------- */

static size_t points, points_seen;

static bool point_visit(struct point point) {
  if (points_seen++ % scaled(1, SLOW_STEP))
    return true;
  points++;
  return point_run(point);
}

/* Contexts are like new after a sticky code, so that nothing is left of it. */
static void check_renewed(struct scenario const *scenario) {
  is_lost = false;
  point_run((struct point){.scenario = scenario});
}

/* What would have made something that nobody knows of, and what only says where
   the thread is, does not tell of earlier work. */
static bool tells_of_work(char const *symbol) {
  static char const *const others[] = {"cuCtxPushCurrent_v2",
                                       "cuThreadExchangeStreamCaptureMode",
                                       "cuDevicePrimaryCtxRetain"};
  for (size_t i = 0; i < LENGTH(others); i++)
    if (strcmp(symbol, others[i]) == 0)
      return false;
  for (size_t i = 0; i < LENGTH(pairs); i++)
    if (strcmp(symbol, pairs[i].make) == 0)
      return false;
  return true;
}

static void sweep_call(struct point point) {
  static int const codes[] = {UMEMI_CUDA_ERROR_UNKNOWN,
                              UMEMI_CUDA_ERROR_OUT_OF_MEMORY,
                              UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS};
  for (size_t i = 0; i < LENGTH(codes); i++) {
    point.code = codes[i];
    point.how = SIMCU_ONCE;
    point_visit(point);
    point.how = SIMCU_FROM_THEN_ON;
    point_visit(point);
  }
  if (!trace[point.k] || !tells_of_work(trace[point.k]))
    return;
  point.code = UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS;
  point.how = SIMCU_AFTER;
  point_visit(point);
}

/* Some of the calls, in turns: all of them is what UMEM_TEST_FULL=1 is for. */
static unsigned step(void) {
  char const *full = getenv("UMEM_TEST_FULL"), *mode = getenv("SIMCU_MODE");
  if (full && full[0] == '1')
    return 1;
  unsigned some = around == NOTHING ? STEP : STEP_AROUND;
  return mode && strcmp(mode, "lazy") != 0 ? some * STEP_MODE : some;
}

static void sweep_calls(struct scenario const *scenario, long count) {
  struct point point = {.scenario = scenario, .evil = EVIL_CALL};
  unsigned turn = (unsigned)(scenario - scenarios), every = step();
  memset(trace, 0, sizeof trace);
  assert_in_range(count, 1, CALLS_MAX - 1);
  for (point.k = 1; point.k <= (unsigned)count; point.k++)
    if ((point.k + turn) % every == 0) {
      sweep_call(point);
      check_renewed(scenario);
    }
}

/* Operations that are executed: up to the first one that there is not. */
static void sweep_work(struct scenario const *scenario) {
  struct point point = {.scenario = scenario,
                        .evil = EVIL_WORK,
                        .code = UMEMI_CUDA_ERROR_LAUNCH_FAILED};
  bool ok = false;
  for (point.k = 1; !ok && point.k < WORK_MAX; point.k++)
    ok = point_visit(point);
  assert_in_range(point.k, 1, WORK_MAX - 1);
}

static void sweep_memory(struct scenario const *scenario,
                         unsigned const *counts) {
  static enum fault_call const calls[] = {
      FAULT_malloc, FAULT_calloc,  FAULT_realloc, FAULT_posix_memalign,
      FAULT_strdup, FAULT_tsearch, FAULT_mmap};
  struct point point = {
      .scenario = scenario, .evil = EVIL_MEMORY, .code = ENOMEM};
  for (size_t i = 0; i < LENGTH(calls); i++) {
    point.call = calls[i];
    for (point.k = 1; point.k <= counts[calls[i]]; point.k++) {
      point.how = 0;
      point_visit(point);
      point.how = 1;
      point_visit(point);
    }
  }
}

static void sweep_scenario(struct scenario const *scenario) {
  unsigned counts[FAULT_CALL_COUNT];
  struct world w;
  now = (struct point){.scenario = scenario};
  around_begin();
  point_arm(&now);
  if (!world_run(&w, scenario) || !bytes_are_right(&w))
    complain("does not succeed without faults:", w.error.text);
  long calls = c.sim.calls(NULL);
  for (unsigned call = 0; call < FAULT_CALL_COUNT; call++)
    counts[call] = faults_count((enum fault_call)call);
  check_violations();
  check_capture();
  around_end();
  sweep_calls(scenario, calls);
  sweep_work(scenario);
  sweep_memory(scenario, counts);
}

static void sweep_around(enum around what) {
  size_t before = points;
  around = what;
  complaints = 0;
  for (size_t i = 0; i < LENGTH(scenarios); i++)
    if (scenarios[i].kinds & kind)
      sweep_scenario(&scenarios[i]);
  print_message("%s, around %d: %zu points, %u complaints\n", kind_name(),
                (int)what, points - before, complaints);
}

static void sweep(enum kind which) {
  unsigned sum = 0;
  kind = which;
  must(Init(0));
  faults_install();
  umemi_os.dlopen = faults_real.dlopen;
  umemi_os.dlsym = faults_real.dlsym;
  assert_ok(umem_set_threads(1));
  check_renewed(&scenarios[0]); /* loads the driver */
  for (unsigned what = 0; what < AROUNDS; what++) {
    sweep_around((enum around)what);
    sum += complaints;
  }
  assert_int_equal(sum, 0);
}

#define SWEEP(name, which)                                                     \
  static void name##__every_call_fails_in_every_way(void **state) {            \
    (void)state;                                                               \
    sweep(which);                                                              \
  }
SWEEP(cuda, PLAIN)
SWEEP(pool, POOL)
SWEEP(stream, STREAM)
SWEEP(host, HOST)
SWEEP(managed, MANAGED)
#undef SWEEP

/* --- there is no driver --------------------------------------------------- */

static char const *absent;

static void *dlopen_without(char const *path, int flags) {
  assert_string_equal(path, "libcuda.so.1");
  return dlopen("libcuda.so.1.absent", flags);
}

static void *dlsym_without(void *library, char const *name) {
  return strcmp(name, absent) == 0 ? NULL : dlsym(library, name);
}

static void *no_malloc(size_t size) {
  (void)size;
  errno = ENOMEM;
  return NULL;
}

/* No context of any kind and no device, and all say so. */
static void assert_no_cuda(umemStatusType status, char const *what) {
  static enum kind const kinds[] = {PLAIN, POOL, HOST, MANAGED};
  umemDeviceInfo info = {.size = sizeof info};
  anyCuda ctx;
  for (size_t i = 0; i < LENGTH(kinds); i++) {
    kind = kinds[i];
    assert_fails(&ctx, cuda_ctor(&ctx, 0), status, what);
    assert_int_equal(last_error(&ctx).type, status);
    assert_ok(umem_dtor(&ctx));
  }
  assert_int_equal(umem_device_count(umemCudaDevice), 0);
  assert_ok(umem_device_info(umemCudaDevice, 0, &info));
  assert_false(info.usable);
  assert_has(info.reason, what);
}

static void loader__without_the_library_says_which(void **state) {
  (void)state;
  umemi_os.dlopen = dlopen_without;
  assert_no_cuda(umemNotSupportedError, "libcuda.so.1 was not found");
}

static void loader__without_a_function_says_which(void **state) {
  (void)state;
  char message[128];
  umemi_os.dlsym = dlsym_without;
#define ABSENT(name, symbol, parameters)                                       \
  absent = #symbol;                                                            \
  snprintf(message, sizeof message, "libcuda.so.1 has no %s()", absent);       \
  assert_no_cuda(umemNotSupportedError, message);
  UMEMI_CU_REQUIRED(ABSENT)
#undef ABSENT
}

static void loader__without_memory_says_so(void **state) {
  (void)state;
  umemi_os.malloc = no_malloc;
  assert_no_cuda(umemMemoryError, "the functions of CUDA");
}

/* A driver that does not start is none, whatever it says; but for memory. */
static void assert_no_start(char const *name, int code) {
  char message[128];
  anyCuda ctx;
  umemStatusType status = code == UMEMI_CUDA_ERROR_OUT_OF_MEMORY
                              ? umemMemoryError
                              : umemNotSupportedError;
  snprintf(message, sizeof message, "cuInit: CUDA_%s (%d)", name, code);
  c.sim.inject("cuInit", 1, code, SIMCU_FROM_THEN_ON);
  assert_no_cuda(status, message);
  assert_fails(&ctx, umemCuda_ctor(&ctx.cuda, 0), status, message);
  assert_int_equal(last_error(&ctx).native, code);
  assert_ok(umem_dtor(&ctx));
}

static void loader__says_why_the_driver_does_not_start(void **state) {
  (void)state;
#define FAILS(name, number)                                                    \
  if (number != UMEMI_CUDA_SUCCESS)                                            \
    assert_no_start(#name, number);
  UMEMI_CU_CODES(FAILS)
#undef FAILS
  c.sim.forget();
}

/* --- what later drivers have ---------------------------------------------- */

static bool round_trip(anyCuda *ctx) {
  umemHost host;
  uintptr_t adr = 0;
  char const text[] = "0123456789";
  char back[sizeof text] = "";
  bool ok =
      umemHost_ctor(&host) == umemOK &&
      umem_try_alloc(ctx, sizeof text, &adr) == umemOK &&
      umem_copy_to(&host, (uintptr_t)text, ctx, adr, sizeof text) == umemOK &&
      umem_copy_to(ctx, adr, &host, (uintptr_t)back, sizeof back) == umemOK &&
      umem_free(ctx, adr) == umemOK && strcmp(text, back) == 0;
  return umem_dtor(&host) == umemOK && ok;
}

static bool works(enum kind which) {
  anyCuda ctx;
  kind = which;
  bool ok = cuda_ctor(&ctx, 0) == umemOK && round_trip(&ctx);
  if (!ok)
    printf("%s: %s\n", kind_name(), umem_get_message(&ctx));
  return umem_dtor(&ctx) == umemOK && ok;
}

static bool has_no_pools(void) {
  anyCuda ctx;
  kind = POOL;
  if (cuda_ctor(&ctx, 0) == umemNotSupportedError &&
      strstr(umem_get_message(&ctx), "has no memory pools"))
    return umem_dtor(&ctx) == umemOK;
  printf("pools: %s\n", umem_get_message(&ctx));
  return false;
}

/* What a process loads it keeps: so each function is missing in another. */
static int play_without(char const *symbol) {
  absent = symbol;
  umemi_os.dlsym = dlsym_without;
  bool ok = works(PLAIN) && works(HOST) && works(MANAGED);
  bool is_of_pools =
      strstr(symbol, "Pool") || strcmp(symbol, "cuMemFreeAsync") == 0;
  return !(ok && (is_of_pools ? has_no_pools() : works(POOL)));
}

static void loader__does_without_what_later_drivers_have(void **state) {
  (void)state;
  char told[1024];
#define ABSENT(name, symbol, parameters)                                       \
  if (run_again(#symbol, NULL, told, sizeof told) != 0)                        \
    fail_msg("without " #symbol ": %s", told);
  UMEMI_CU_OPTIONAL(ABSENT)
#undef ABSENT
}

/* --- what is needed ------------------------------------------------------- */

static int setup(void **state) {
  random_bytes(in, sizeof in, 1);
  umemi_tuning();
  umemi_tuning_values.gpu_ring_from = LARGE;
  return temp_setup(state);
}

static int teardown(void **state) {
  print_message("%zu points\n", points);
  return temp_teardown(state);
}

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      /* first: while nothing is loaded */
      faulty_test(loader__without_the_library_says_which),
      faulty_test(loader__without_a_function_says_which),
      faulty_test(loader__without_memory_says_so),
      faulty_test(loader__says_why_the_driver_does_not_start),
      cmocka_unit_test(loader__does_without_what_later_drivers_have),
      faulty_test(cuda__every_call_fails_in_every_way),
      faulty_test(pool__every_call_fails_in_every_way),
      faulty_test(stream__every_call_fails_in_every_way),
      faulty_test(host__every_call_fails_in_every_way),
      faulty_test(managed__every_call_fails_in_every_way),
  };
  if (client_load(&c, "libcuda.so.1") != 0) {
    puts(c.library ? "skipped: libcuda.so.1 is not the simulated one, or lacks "
                     "functions (LD_LIBRARY_PATH)"
                   : "skipped: no libcuda.so.1 (LD_LIBRARY_PATH)");
    return 77;
  }
  if (argc > 1)
    return play_without(argv[1]);
  return cmocka_run_group_tests(tests, setup, teardown);
}
