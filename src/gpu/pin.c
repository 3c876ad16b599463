/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * umem_pin() and umem_unpin(). What was pinned is remembered: in which pieces,
 * and on which device, whose context stays until it is unpinned. So what the
 * driver answers about other memory decides nothing.
 */
#include "gpu.h"

enum {
  PIN_PIECE_LEAST = 1 << 20, /* below this the size is not the reason */
  PIN_POPULATE_READ = 22     /* madvise(2), Linux 5.14; older headers lack it */
};

struct pin {
  struct umemiBlock block; /* first, for umemi_block_compare() */
  size_t piece;            /* each was registered by itself */
  struct umemiGpu *gpu;
  struct pin *next; /* of those that are known no more */
};

static void *pins; /* a tree, under the lock of gpus.c */

/* --- what is pinned ------------------------------------------------------- */

/* Under the lock. Gives what is known of memory that was unpinned past the
   library: any number of ranges that the new one overlaps. */
static bool pin_replace(struct pin *pin, struct pin **stale_out) {
  struct pin **found;
  *stale_out = NULL;
  while ((found = umemi_os.tsearch(pin, &pins, umemi_block_compare)) &&
         *found != pin) {
    struct pin *stale = *found;
    tdelete(stale, &pins, umemi_block_compare);
    stale->next = *stale_out;
    *stale_out = stale;
  }
  return found;
}

static umemStatusType pin_remember(struct pin *pin, umemError *error) {
  struct pin *stale;
  umemError ignored;
  umemi_gpus_lock();
  bool const is_known = pin_replace(pin, &stale);
  umemi_gpus_unlock();
  while (stale) {
    struct pin *next = stale->next;
    umemi_gpu_close(stale->gpu, &ignored);
    free(stale);
    stale = next;
  }
  return is_known ? umemOK
                  : umemi_no_memory(error, "a pinned range", sizeof *pin);
}

static struct pin *pin_take(uintptr_t adr) {
  struct pin key = {.block = {.adr = adr, .nbytes = 1, .origin = adr}};
  umemi_gpus_lock();
  struct pin **found = tfind(&key, &pins, umemi_block_compare);
  struct pin *pin = found && (*found)->block.adr == adr ? *found : NULL;
  if (pin)
    tdelete(pin, &pins, umemi_block_compare);
  umemi_gpus_unlock();
  return pin;
}

/* --- pieces --------------------------------------------------------------- */

/* Unpins what lies in [adr, end); the first failure is the result. */
static umemStatusType pin_undo(struct pin const *pin, uintptr_t end,
                               umemError *error) {
  umemStatusType first = umemOK;
  umemError later;
  for (uintptr_t at = pin->block.adr; at < end;
       at = pin->piece < end - at ? at + pin->piece : end) {
    umemStatusType status =
        pin->gpu->ops->unpin(at, first == umemOK ? error : &later);
    first = first == umemOK ? status : first;
  }
  return first;
}

/* Pins all pieces or none; *first_out: not even the first one was pinned. */
static umemStatusType pin_pieces(struct pin const *pin, bool read_only,
                                 bool *first_out, umemError *error) {
  uintptr_t const start = pin->block.adr, end = start + pin->block.nbytes;
  umemStatusType status = umemOK;
  umemError ignored;
  uintptr_t at = start;
  while (status == umemOK && at < end) {
    size_t const nbytes = pin->piece < end - at ? pin->piece : end - at;
    status = pin->gpu->ops->pin((void *)at, nbytes, read_only, error);
    at += status == umemOK ? nbytes : 0;
  }
  *first_out = at == start;
  if (status != umemOK)
    pin_undo(pin, at, &ignored);
  return status;
}

/* --- which way ------------------------------------------------------------ */

/* Pages that can be read and not be written. Both questions only bring the
   pages in, which pinning them does, too. */
static bool pin_is_read_only(uintptr_t adr, size_t nbytes) {
  uintptr_t const start = adr & ~(uintptr_t)(UMEMI_PAGE - 1);
  void *const from = (void *)start;
  size_t const length = adr - start + nbytes;
  return umemi_os.madvise(from, length, PIN_POPULATE_READ) == 0 &&
         umemi_os.madvise(from, length, UMEMI_POPULATE_WRITE) != 0;
}

/* Halves end where pages do. */
static size_t pin_half(size_t piece) {
  size_t const half = piece / 2 + UMEMI_PAGE - 1;
  return half - half % UMEMI_PAGE;
}

/* As a whole; then, if the memory cannot be written, for reading; then in ever
   smaller pieces, as long as the first of them is refused. Pieces begin where
   pages do. `error` is that of the first way. */
static umemStatusType pin_somehow(struct pin *pin, umemError *error) {
  umemError later;
  bool is_first = true;
  bool (*const may)(int64_t) = pin->gpu->ops->may_pin_otherwise;
  umemStatusType status = pin_pieces(pin, false, &is_first, error);
  if (status == umemOK || !may(error->native))
    return status;
  bool read_only = pin_is_read_only(pin->block.adr, pin->block.nbytes);
  if (read_only && pin_pieces(pin, true, &is_first, &later) == umemOK)
    return umemOK;
  while (is_first && pin->piece > PIN_PIECE_LEAST &&
         pin->block.adr % UMEMI_PAGE == 0) {
    pin->piece = pin_half(pin->piece);
    if (pin_pieces(pin, read_only, &is_first, &later) == umemOK)
      return umemOK;
    if (!may(later.native))
      break;
  }
  return status;
}

/* --- the calls ------------------------------------------------------------ */

static umemStatusType pin_unregister(uintptr_t made, umemError *error) {
  struct pin const *pin = (struct pin const *)made;
  return pin_undo(pin, pin->block.adr + pin->block.nbytes, error);
}

/* The state of a context of CUDA; NULL, and a TypeError, of others. */
static struct umemiGpuState *pin_find_state(void const *ctx, umemError *error) {
  if (umemi_need_live(ctx, "", error) != umemOK)
    return NULL;
  umemDeviceType type = umemi_context(ctx)->vtbl->type;
  if (type == umemCudaDevice || type == umemCudaHostDevice ||
      type == umemCudaManagedDevice)
    return umemi_context(ctx)->state;
  umem_error_fill(error, umemTypeError, 0, 0,
                  "context is a %s, and not one of CUDA", umemi_name(ctx));
  return NULL;
}

static umemStatusType pin_check_range(uintptr_t adr, size_t nbytes,
                                      umemError *error) {
  if (!adr || nbytes == 0)
    return umem_error_fill(error, umemValueError, 0, 0, "the range is empty");
  if (umemi_wraps(adr, nbytes))
    return umem_error_fill(error, umemIndexError, 0, 0, "the range wraps");
  return umemOK;
}

static umemStatusType pin_register(struct pin *pin, umemError *error) {
  struct umemiGpuVisit visit;
  umemStatusType status = umemi_gpu_enter(pin->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = pin_somehow(pin, error);
  return umemi_gpu_leave_with(&visit, status, pin_unregister, (uintptr_t)pin,
                              error);
}

/* Nothing has used it yet. */
static umemStatusType pin_make(struct pin *pin, umemError *error) {
  struct umemiGpuState of = {.gpu = pin->gpu};
  umemError ignored;
  umemStatusType status = pin_register(pin, error);
  if (status != umemOK)
    return status;
  umemi_gpu_keep(pin->gpu);
  status = pin_remember(pin, error);
  if (status == umemOK)
    return umemOK;
  umemi_gpu_give(&of, pin_unregister, (uintptr_t)pin, &ignored);
  umemi_gpu_close(pin->gpu, &ignored);
  return status;
}

static umemStatusType pin_range(void const *ctx, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  struct umemiGpuState *own = pin_find_state(ctx, error);
  if (!own || pin_check_range(adr, nbytes, error) != umemOK)
    return error->type;
  struct pin *pin = umemi_os.calloc(1, sizeof *pin);
  if (!pin)
    return umemi_no_memory(error, "a pinned range", sizeof *pin);
  *pin = (struct pin){
      .block = {adr, nbytes, adr, nbytes}, .piece = nbytes, .gpu = own->gpu};
  umemStatusType status = pin_make(pin, error);
  if (status != umemOK)
    free(pin);
  return status;
}

umemStatusType umem_pin(void const *ctx, uintptr_t adr, size_t nbytes) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = pin_range(ctx, adr, nbytes, &call.error);
  return umemi_end(&call, status, ctx,
                   "umem_pin(%s, 0x%" PRIxPTR ", %zu bytes)", umemi_name(ctx),
                   adr, nbytes);
}

/* On the device that registered it; a stream of another one says nothing
   there. As with blocks, what cannot be given back is known no more. */
static umemStatusType pin_end(struct umemiGpuState *own, struct pin *pin,
                              umemError *error) {
  struct umemiGpuState of = {.gpu = pin->gpu};
  umemError later;
  if (own->gpu == pin->gpu)
    of.after = own->after;
  umemStatusType status =
      umemi_gpu_give(&of, pin_unregister, (uintptr_t)pin, error);
  umemStatusType closed =
      umemi_gpu_close(pin->gpu, status == umemOK ? error : &later);
  free(pin);
  return status == umemOK ? closed : status;
}

static umemStatusType unpin_range(void const *ctx, uintptr_t adr,
                                  umemError *error) {
  struct umemiGpuState *own = pin_find_state(ctx, error);
  if (!own)
    return error->type;
  if (!adr)
    return umem_error_fill(error, umemValueError, 0, 0, "the address is 0");
  umemStatusType status = umemi_driver_guard(own->gpu->ops->driver, error);
  struct pin *pin = status == umemOK ? pin_take(adr) : NULL;
  if (status == umemOK && !pin)
    return umem_error_fill(error, umemRuntimeError, 0, 0,
                           "no memory that umem_pin() pinned starts there");
  return status == umemOK ? pin_end(own, pin, error) : status;
}

umemStatusType umem_unpin(void const *ctx, uintptr_t adr) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = unpin_range(ctx, adr, &call.error);
  return umemi_end(&call, status, ctx, "umem_unpin(%s, 0x%" PRIxPTR ")",
                   umemi_name(ctx), adr);
}
