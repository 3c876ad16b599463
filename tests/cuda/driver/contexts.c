/* SPDX-License-Identifier: BSD-3-Clause */
/* Contexts, and each thread's stack of current ones. */
#include "inner.h"

#include <stdlib.h>

enum { STACK_MOST = 64 };

/* Handles and not pointers: a context may be destroyed while it is current. */
static _Thread_local struct {
  cuContext stack[STACK_MOST];
  int depth;
  cuCaptureMode mode;
} mine;

void *sim_thread(void) {
  return &mine;
}

/* --- the current one ------------------------------------------------------ */

/* A primary context that nobody retains, or that was reset, is as good as
   destroyed; but its handle is used again. */
static bool is_alive(struct context const *context) {
  return context && context->retains && !context->was_reset;
}

struct context *sim_context(cuContext handle) {
  struct context *context = sim_object(handle, OBJECT_CONTEXT);
  return is_alive(context) ? context : NULL;
}

struct context *sim_current(void) {
  return mine.depth ? sim_context(mine.stack[mine.depth - 1]) : NULL;
}

cuCode sim_current_code(void) {
  struct context *context = sim_current();
  if (!mine.depth)
    return UMEMI_CUDA_ERROR_INVALID_CONTEXT;
  return context ? context->sticky : SIM_ERROR_CONTEXT_IS_DESTROYED;
}

void sim_poison(struct context *context, cuCode code) {
  bool is_fatal = code == UMEMI_CUDA_ERROR_ECC_UNCORRECTABLE ||
                  code == UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS ||
                  code == UMEMI_CUDA_ERROR_LAUNCH_TIMEOUT ||
                  code == UMEMI_CUDA_ERROR_ASSERT ||
                  (code >= UMEMI_CUDA_ERROR_HARDWARE_STACK_ERROR &&
                   code <= UMEMI_CUDA_ERROR_LAUNCH_FAILED);
  if (is_fatal && !context->sticky)
    context->sticky = code;
}

cuCode cuCtxGetCurrent(cuContext *context_out) {
  ENTER(cuCtxGetCurrent, NOTHING);
  *context_out = mine.depth ? mine.stack[mine.depth - 1] : NULL;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuCtxGetDevice(cuDevice *device_out) {
  ENTER(cuCtxGetDevice, IN_CONTEXT);
  *device_out = sim_current()->device;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode sim_stack_push(cuContext handle) {
  if (!sim_context(handle) || mine.depth == STACK_MOST)
    return UMEMI_CUDA_ERROR_INVALID_CONTEXT;
  mine.stack[mine.depth++] = handle;
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuCtxPushCurrent_v2(cuContext context) {
  ENTER(cuCtxPushCurrent_v2, NOTHING);
  return sim_leave(sim_stack_push(context));
}

static cuCode stack_pop(cuContext *context_out) {
  if (!mine.depth)
    return UMEMI_CUDA_ERROR_INVALID_CONTEXT;
  mine.depth--;
  if (context_out)
    *context_out = mine.stack[mine.depth];
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuCtxPopCurrent_v2(cuContext *context_out) {
  ENTER(cuCtxPopCurrent_v2, NOTHING);
  return sim_leave(stack_pop(context_out));
}

/* Takes the place of the current one. */
static cuCode stack_set(cuContext handle) {
  if (handle && !sim_context(handle))
    return UMEMI_CUDA_ERROR_INVALID_CONTEXT;
  if (mine.depth)
    mine.depth--;
  return handle ? sim_stack_push(handle) : UMEMI_CUDA_SUCCESS;
}

cuCode cuCtxSetCurrent(cuContext context) {
  ENTER(cuCtxSetCurrent, NOTHING);
  return sim_leave(stack_set(context));
}

int simcu_stack_depth(void) {
  return mine.depth;
}

uint64_t simcu_stack_state(void) {
  uint64_t state = (uint64_t)mine.mode + 1;
  for (int i = 0; i < mine.depth; i++)
    state = (state ^ (uintptr_t)mine.stack[i]) * UINT64_C(0x100000001B3);
  return state;
}

/* --- the thread's capture mode -------------------------------------------- */

cuCaptureMode sim_mode(void) {
  return mine.mode;
}

cuCode sim_mode_exchange(cuCaptureMode *mode) {
  cuCaptureMode before = mine.mode;
  if (!mode || *mode < 0 || *mode > UMEMI_CU_STREAM_CAPTURE_MODE_RELAXED)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  mine.mode = *mode;
  *mode = before;
  return UMEMI_CUDA_SUCCESS;
}

/* --- its life ------------------------------------------------------------- */

void sim_context_init(struct context *context, int device) {
  context->device = device;
  context->primary = context == &sim.devices[device].primary;
  context->legacy.context = context;
  sim_object_add(&context->object, OBJECT_CONTEXT,
                 context->primary ? SIMCU_KINDS : SIMCU_CONTEXTS);
}

void sim_context_start(struct context *context) {
  static uint64_t newest;
  context->id = ++newest;
  context->was_reset = false;
}

struct ending {
  struct context *context;
  bool is_fault;
  size_t event_count;
};

static void end_block(struct block *block, void *argument) {
  struct ending const *ending = argument;
  if (block->context != ending->context)
    return;
  if (ending->is_fault)
    sim_violation("the context ends with %zu bytes live at %#zx", block->nbytes,
                  (size_t)block->start);
  sim_free(block);
}

static void end_event(struct object *object, void *argument) {
  struct ending *ending = argument;
  struct event *event = (struct event *)object;
  if (event->context != ending->context)
    return;
  ending->event_count++;
  sim_event_end(event);
}

static void end_streams(struct ending const *ending) {
  struct context *context = ending->context;
  if (ending->is_fault && context->stream_count)
    sim_violation("the context ends with %zu live streams",
                  context->stream_count);
  while (context->streams)
    sim_stream_end(context->streams);
}

void sim_context_end(struct context *context, bool is_fault) {
  struct ending ending = {context, is_fault && !context->sticky, 0};
  sim_context_wait(context);
  sim_block_each(end_block, &ending);
  end_streams(&ending);
  sim_object_each(OBJECT_EVENT, end_event, &ending);
  if (ending.is_fault && ending.event_count)
    sim_violation("the context ends with %zu live events", ending.event_count);
  sim_op_drop(context->legacy.last);
  context->legacy.last = NULL;
  free(context->peers);
  context->peers = NULL;
  context->peer_count = 0;
  context->sticky = UMEMI_CUDA_SUCCESS;
}

/* Not freed: events may still know them. */
static struct context *destroyed;

void sim_context_destroy(struct context *context) {
  cuContext handle = (cuContext)context->object.handle;
  sim_context_end(context, true);
  if (mine.depth && mine.stack[mine.depth - 1] == handle)
    mine.depth--;
  sim_object_remove(&context->object);
  context->retains = 0;
  context->next = destroyed;
  destroyed = context;
}

/* --- questions, waiting --------------------------------------------------- */

#if SIMCU_VERSION >= 11040 /* as all that is optional */
cuCode cuCtxGetId(cuContext context, unsigned long long *id_out) {
  ENTER(cuCtxGetId, NOTHING);
  struct context const *found = context ? sim_context(context) : sim_current();
  if (!found)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_CONTEXT);
  *id_out = found->id;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}
#endif

cuCode cuCtxGetApiVersion(cuContext context, unsigned *version_out) {
  ENTER(cuCtxGetApiVersion, NOTHING);
  if (context ? !sim_context(context) : !sim_current())
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_CONTEXT);
  *version_out = 3020;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuCtxSynchronize(void) {
  ENTER(cuCtxSynchronize, IN_CONTEXT | UNSAFE);
  struct context *context = sim_current();
  cuCode code = sim_capture_wait(context->device);
  if (code)
    return sim_leave(code);
  sim_context_wait(context);
  sim_pools_trim(context->device, false);
  return sim_leave(context->sticky);
}
