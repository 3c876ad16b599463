/* SPDX-License-Identifier: BSD-3-Clause */
/* OpenCL devices: one table of methods over the tiers of memory. */
#include "../opencl/opencl.h"

/* What a driver says of a command, and of which device. */
static umemStatusType opencl_result(clInt code, char const *function,
                                    umemError *error) {
  return umemi_cl_failed(umemRuntimeError, code, function, error);
}

/* --- methods -------------------------------------------------------------- */

/* What was put into it is through then. */
static umemStatusType opencl_give_queue(struct umemiCl const *cl, clQueue queue,
                                        umemStatusType status,
                                        umemError *error) {
  clInt code = queue ? cl->clReleaseCommandQueue(queue) : UMEMI_CL_SUCCESS;
  return status == umemOK ? opencl_result(code, "clReleaseCommandQueue", error)
                          : status;
}

/* Others wait for its queue until it has waited itself. */
static umemStatusType opencl_leave_space(struct umemiOpenCl *opencl,
                                         bool driver, umemError *error) {
  umemStatusType status =
      driver ? umemi_cl_wait_for_user(opencl, error) : umemOK;
  umemi_cl_space_leave(opencl);
  if (driver)
    status = opencl_give_queue(opencl->space->cl, atomic_load(&opencl->queue),
                               status, error);
  return status;
}

static umemStatusType opencl_dtor(void *state, umemError *error) {
  struct umemiOpenCl *opencl = state;
  umemError later;
  bool driver = umemi_cl_is_usable();
  umemStatusType status = opencl_leave_space(opencl, driver, error);
  umemStatusType closed = umemi_cl_space_close(
      opencl->space, driver, status == umemOK ? error : &later);
  free(opencl);
  return status == umemOK ? closed : status;
}

static umemStatusType opencl_alloc(void *state, size_t nbytes, size_t alignment,
                                   uintptr_t *adr_out, umemError *error) {
  struct umemiOpenCl *opencl = state;
  struct umemiClBlock block;
  (void)alignment; /* of what the table says, all have it */
  umemStatusType status = umemi_cl_guard(error);
  if (status == umemOK)
    status = umemi_cl_space_alloc(opencl, nbytes, &block, error);
  if (status == umemOK)
    *adr_out = block.base.adr;
  return status;
}

/* After all that may use it in the queues of the space, in every tier: drivers
   wait in some of them only. What fails once may do so for want of memory. */
static umemStatusType opencl_free(void *state, uintptr_t adr, size_t nbytes,
                                  umemError *error) {
  struct umemiOpenCl *opencl = state;
  umemError later;
  umemStatusType status = umemOK;
  (void)nbytes;
  if (umemi_cl_is_usable())
    status = umemi_cl_wait_for_users(opencl, error);
  if (status == umemOK)
    return umemi_cl_space_free(opencl, adr, error);
  if (umemi_cl_wait_for_users(opencl, &later) == umemOK)
    umemi_cl_space_free(opencl, adr, &later);
  else
    umemi_cl_space_abandon(opencl, adr);
  return status;
}

/* The place of a range, if it may be used. */
static umemStatusType opencl_find(struct umemiOpenCl *opencl, uintptr_t adr,
                                  size_t nbytes, struct umemiClPlace *at,
                                  umemError *error) {
  umemStatusType status = umemi_cl_guard(error);
  if (status == umemOK)
    status = umemi_cl_space_find(opencl->space, adr, nbytes, at, error);
  return status;
}

static umemStatusType opencl_check(void *state, uintptr_t adr, size_t nbytes,
                                   umemAccess access, umemError *error) {
  struct umemiOpenCl *opencl = state;
  struct umemiClPlace at;
  (void)access;
  return nbytes ? opencl_find(opencl, adr, nbytes, &at, error)
                : umemi_cl_guard(error);
}

/* A command has its place, and a queue, from here ... */
static umemStatusType opencl_enter(struct umemiOpenCl *opencl, uintptr_t adr,
                                   size_t nbytes, struct umemiClPlace *at,
                                   struct umemiClTurn *turn, umemError *error) {
  umemStatusType status = opencl_find(opencl, adr, nbytes, at, error);
  return status == umemOK ? umemi_cl_turn_begin(opencl, turn, error) : status;
}

/* ... to here. */
static umemStatusType opencl_leave(struct umemiClTurn *turn, clInt code,
                                   char const *function, umemError *error) {
  umemi_cl_turn_end(turn, code);
  return opencl_result(code, function, error);
}

static umemStatusType opencl_read(void *state, uintptr_t adr, void *out,
                                  size_t nbytes, umemError *error) {
  struct umemiOpenCl *opencl = state;
  struct umemiClTier const *tier = opencl->space->tier;
  struct umemiClPlace at;
  struct umemiClTurn turn;
  umemStatusType status = opencl_enter(opencl, adr, nbytes, &at, &turn, error);
  if (status != umemOK)
    return status;
  return opencl_leave(&turn, tier->read(&turn, &at, out, nbytes),
                      tier->names.read, error);
}

static umemStatusType opencl_write(void *state, uintptr_t adr, void const *in,
                                   size_t nbytes, umemError *error) {
  struct umemiOpenCl *opencl = state;
  struct umemiClTier const *tier = opencl->space->tier;
  struct umemiClPlace at;
  struct umemiClTurn turn;
  umemStatusType status = opencl_enter(opencl, adr, nbytes, &at, &turn, error);
  if (status != umemOK)
    return status;
  return opencl_leave(&turn, tier->write(&turn, &at, in, nbytes),
                      tier->names.write, error);
}

static umemStatusType opencl_set(void *state, uintptr_t adr, int c,
                                 size_t nbytes, umemError *error) {
  struct umemiOpenCl *opencl = state;
  struct umemiClTier const *tier = opencl->space->tier;
  struct umemiClPlace at;
  struct umemiClTurn turn;
  umemStatusType status = opencl_enter(opencl, adr, nbytes, &at, &turn, error);
  if (status != umemOK)
    return status;
  return opencl_leave(&turn, tier->fill(&turn, &at, (unsigned char)c, nbytes),
                      tier->names.fill, error);
}

static size_t opencl_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct umemiOpenCl const *opencl = state;
  out[0] = (umemSpace){umemOpenCLDevice, {opencl->space->id, 0}};
  return 1;
}

/* --- copies on the device ------------------------------------------------- */

static struct umemiClPlace place_plus(struct umemiClPlace const *at,
                                      size_t bytes) {
  return (struct umemiClPlace){at->adr + bytes, at->mem, at->offset + bytes};
}

/* Through a block that lies elsewhere, piece by piece, from the end where the
   destination lies behind: so that no byte is overwritten before it is read. */
static clInt opencl_move(struct umemiClTurn const *turn,
                         struct umemiClPlace const *src,
                         struct umemiClPlace const *dest, size_t nbytes,
                         struct umemiClBlock const *scratch) {
  struct umemiClTier const *tier = turn->space->tier;
  struct umemiClPlace by = {scratch->base.adr, scratch->mem, 0};
  size_t piece = scratch->base.nbytes;
  clInt code = UMEMI_CL_SUCCESS;
  for (size_t done = 0; code == UMEMI_CL_SUCCESS && done < nbytes;
       done += piece) {
    if (piece > nbytes - done)
      piece = nbytes - done;
    size_t at = dest->adr > src->adr ? nbytes - done - piece : done;
    struct umemiClPlace from = place_plus(src, at), to = place_plus(dest, at);
    code = tier->copy(turn, &from, &by, piece);
    if (code == UMEMI_CL_SUCCESS)
      code = tier->copy(turn, &by, &to, piece);
  }
  return code;
}

/* OpenCL refuses ranges that overlap. */
static umemStatusType opencl_copy_within(struct umemiOpenCl *opencl,
                                         struct umemiClPlace const *src,
                                         struct umemiClPlace const *dest,
                                         size_t nbytes, umemError *error) {
  enum { SCRATCH = 8 << 20 };
  struct umemiClTier const *tier = opencl->space->tier;
  struct umemiClTurn turn;
  struct umemiClBlock scratch;
  umemError ignored;
  clInt code;
  bool overlap = umemi_apart(src->adr, dest->adr) < nbytes;
  if (overlap &&
      umemi_cl_space_alloc(opencl, nbytes < SCRATCH ? nbytes : SCRATCH,
                           &scratch, &ignored) != umemOK)
    return UMEM_DECLINED; /* through the host, then */
  umemStatusType status = umemi_cl_turn_begin(opencl, &turn, error);
  if (status == umemOK) {
    code = overlap ? opencl_move(&turn, src, dest, nbytes, &scratch)
                   : tier->copy(&turn, src, dest, nbytes);
    status = opencl_leave(&turn, code, tier->names.copy, error);
  }
  if (overlap)
    umemi_cl_space_free(opencl, scratch.base.adr, &ignored);
  return status;
}

static umemStatusType opencl_copy_peer(void *src_state, uintptr_t src_adr,
                                       void *dest_state, uintptr_t dest_adr,
                                       size_t nbytes, umemError *error) {
  struct umemiOpenCl *src = src_state, *dest = dest_state;
  struct umemiClPlace from, to;
  if (src->space != dest->space)
    return UMEM_DECLINED;
  if (src_adr == dest_adr)
    return umemOK;
  umemStatusType status = opencl_find(src, src_adr, nbytes, &from, error);
  if (status == umemOK)
    status = opencl_find(dest, dest_adr, nbytes, &to, error);
  return status == umemOK ? opencl_copy_within(dest, &from, &to, nbytes, error)
                          : status;
}

static void opencl_limits(void *state, unsigned access, uintptr_t adr,
                          size_t nbytes, struct umemLimits *out) {
  struct umemiOpenCl const *opencl = state;
  struct umemiClTier const *tier = opencl->space->tier;
  (void)adr, (void)nbytes;
  out->waits = !opencl->space->is_cpu;
  out->copies = 1;
  out->method = access == umemRead    ? tier->names.read
                : access == umemWrite ? tier->names.write
                                      : tier->names.copy;
}

/* No views: while a range is mapped no command may use any of its object
   (OpenCL 3.0 API, "Accessing mapped regions of a memory object"), and commands
   of other threads may. */
#define OPENCL_METHODS                                                         \
  .size = sizeof(struct umemVtbl), .type = umemOpenCLDevice, .name = "OpenCL", \
  .fundamental_align = 64, .dtor = opencl_dtor, .alloc = opencl_alloc,         \
  .free = opencl_free, .read = opencl_read, .write = opencl_write,             \
  .spaces = opencl_spaces, .check = opencl_check, .calloc = umemi_no_calloc,   \
  .flush = umemi_no_flush, .discard = umemi_no_discard,                        \
  .copy_peer = opencl_copy_peer, .view_begin = umemi_no_view_begin,            \
  .view_end = umemi_no_view_end, .set = opencl_set,                            \
  .next_data = umemi_no_next_data, .limits = opencl_limits,                    \
  .export_handle = umemi_no_export_handle,                                     \
  .import_handle = umemi_no_import_handle,                                     \
  .stage_alloc = umemi_no_stage_alloc, .stage_free = umemi_no_stage_free,      \
  .can_reach = umemi_no_can_reach, .punch = umemi_no_punch, UMEMI_NO_ROWS

static struct umemVtbl const opencl_vtbl = {OPENCL_METHODS, .max_align = 64};

/* Addresses of buffers are ours, and start on pages: what is aligned is then
   still the start of a buffer, as kernels need it. */
static struct umemVtbl const opencl_buffers_vtbl = {OPENCL_METHODS,
                                                    .max_align = UMEMI_PAGE};

/* --- construct ------------------------------------------------------------ */

/* What a context is to be. */
struct opencl_plan {
  int platform, device_number;
  umemOpenCLOptions options;
  struct umemiCl const *cl;
  clContext context;
  clQueue queue;
  clDevice device;
};

/* Context and device of the user's queue. */
static umemStatusType plan_ask_queue(struct opencl_plan *plan,
                                     umemError *error) {
  clContext context;
  clInt code = plan->cl->clGetCommandQueueInfo(
      plan->queue, UMEMI_CL_QUEUE_CONTEXT, sizeof(void *), &context, NULL);
  if (code == UMEMI_CL_SUCCESS)
    code = plan->cl->clGetCommandQueueInfo(plan->queue, UMEMI_CL_QUEUE_DEVICE,
                                           sizeof(void *), &plan->device, NULL);
  if (code != UMEMI_CL_SUCCESS)
    return opencl_result(code, "clGetCommandQueueInfo", error);
  if (plan->context && plan->context != context)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "the queue is not one of the cl_context");
  plan->context = context;
  return umemOK;
}

/* Is the device one of those that the user's context is for? */
static umemStatusType plan_ask_context(struct opencl_plan const *plan,
                                       umemError *error) {
  clDevice devices[64];
  size_t size = 0;
  clInt code = plan->cl->clGetContextInfo(
      plan->context, UMEMI_CL_CONTEXT_DEVICES, sizeof devices, devices, &size);
  if (code != UMEMI_CL_SUCCESS)
    return opencl_result(code, "clGetContextInfo", error);
  for (size_t i = 0; i < size / sizeof(void *); i++)
    if (devices[i] == plan->device)
      return umemOK;
  return umem_error_fill(error, umemValueError, 0, 0,
                         "the cl_context does not have the device");
}

static umemStatusType plan_make(struct opencl_plan *plan, umemError *error) {
  plan->context = plan->options.context;
  plan->queue = plan->options.queue;
  umemStatusType status = umemi_cl_load(&plan->cl, error);
  if (status != umemOK || plan->queue)
    return status == umemOK ? plan_ask_queue(plan, error) : status;
  status = umemi_cl_device(plan->cl, plan->platform, plan->device_number,
                           &plan->device, error);
  if (status == umemOK && plan->context)
    status = plan_ask_context(plan, error);
  return status;
}

/* A queue of ours is kept for the first command; that there is one has to be
   known here. */
static umemStatusType opencl_take_queue(struct umemiOpenCl *opencl,
                                        clQueue given, umemError *error) {
  struct umemiClTurn turn;
  if (given) {
    clInt code = opencl->space->cl->clRetainCommandQueue(given);
    atomic_store(&opencl->queue, given);
    return opencl_result(code, "clRetainCommandQueue", error);
  }
  umemStatusType status =
      umemi_cl_turn_begin_at_once(opencl->space, &turn, error);
  if (status == umemOK)
    umemi_cl_turn_end(&turn, UMEMI_CL_SUCCESS);
  return status;
}

static umemStatusType opencl_begin(struct umemiOpenCl *opencl,
                                   struct opencl_plan const *plan, uint64_t id,
                                   umemError *error) {
  umemError ignored;
  umemStatusType status =
      umemi_cl_space_open(plan->cl, plan->device, plan->context,
                          plan->options.tier, id, &opencl->space, error);
  if (status != umemOK)
    return status;
  status = opencl_take_queue(opencl, plan->queue, error);
  if (status == umemOK)
    umemi_cl_space_join(opencl);
  else
    umemi_cl_space_close(opencl->space, true, &ignored);
  return status;
}

static umemStatusType opencl_ctor(umemOpenCL *ctx, struct opencl_plan *plan,
                                  umemOpenCLOptions const *given,
                                  umemError *error) {
  umemStatusType status = umemi_ctor_begin(ctx, opencl_vtbl.name, error);
  if (status == umemOK && given)
    status =
        umemi_take_options(&plan->options, sizeof plan->options, given, error);
  if (status == umemOK && plan->options.reserved)
    status = umem_error_fill(error, umemValueError, 0, 0, "reserved is not 0");
  if (status == umemOK)
    status = plan_make(plan, error);
  if (status != umemOK)
    return status;
  struct umemiOpenCl *opencl = umemi_os.calloc(1, sizeof *opencl);
  if (!opencl)
    return umemi_no_memory(error, "an OpenCL context", sizeof *opencl);
  status = opencl_begin(opencl, plan, umemi_context(ctx)->id, error);
  if (status != umemOK) {
    free(opencl);
    return status;
  }
  bool buffers = opencl->space->tier == &umemi_cl_buffers;
  umemi_ctor_end(ctx, buffers ? &opencl_buffers_vtbl : &opencl_vtbl, opencl,
                 opencl->space->name, 0);
  return umemOK;
}

umemStatusType umemOpenCL_ctor(umemOpenCL *ctx, int platform, int device) {
  struct umemiCall call;
  struct opencl_plan plan = {.platform = platform, .device_number = device};
  umemi_begin(&call);
  umemStatusType status = opencl_ctor(ctx, &plan, NULL, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemOpenCL_ctor(platform %d, device %d)", platform, device);
}

umemStatusType umemOpenCL_ctor_ex(umemOpenCL *ctx, int platform, int device,
                                  umemOpenCLOptions const *options) {
  struct umemiCall call;
  struct opencl_plan plan = {.platform = platform, .device_number = device};
  umemi_begin(&call);
  umemStatusType status = opencl_ctor(ctx, &plan, options, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemOpenCL_ctor_ex(platform %d, device %d, tier %d)",
                   platform, device, (int)plan.options.tier);
}
