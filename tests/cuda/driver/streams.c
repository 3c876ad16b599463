/* SPDX-License-Identifier: BSD-3-Clause */
/* Streams and events. */
#include "inner.h"

#include <stdlib.h>

/* --- streams -------------------------------------------------------------- */

/* 1 is its name, too. */
static bool is_legacy(cuStream handle) {
  return (uintptr_t)handle <= 1;
}

static void stream_link(struct stream *stream, struct context *context) {
  stream->context = context;
  stream->next = context->streams;
  if (stream->next)
    stream->next->previous = stream;
  context->streams = stream;
}

/* The calling thread's own in the current context: a blocking one, which lives
   as long as the context. */
static struct stream *stream_of_thread(void) {
  struct stream *stream = sim_current()->streams;
  while (stream && stream->thread != sim_thread())
    stream = stream->next;
  if (stream)
    return stream;
  stream = sim_new(sizeof *stream);
  stream->thread = sim_thread();
  stream_link(stream, sim_current());
  return stream;
}

static struct stream *stream_named(cuStream handle) {
  if (is_legacy(handle))
    return &sim_current()->legacy;
  if ((uintptr_t)handle == UMEMI_CU_PER_THREAD)
    return stream_of_thread();
  return sim_object(handle, OBJECT_STREAM);
}

cuCode sim_stream_find(cuStream handle, struct stream **stream_out) {
  *stream_out = stream_named(handle);
  return *stream_out ? UMEMI_CUDA_SUCCESS : sim_dead("stream", handle);
}

cuCode sim_stream(cuStream handle, struct stream **stream_out) {
  cuCode code = sim_stream_find(handle, stream_out);
  if (code)
    return code;
  if ((*stream_out)->capture > 1)
    return UMEMI_CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  return is_legacy(handle) ? sim_capture_legacy((*stream_out)->context->device)
                           : UMEMI_CUDA_SUCCESS;
}

static void stream_unlink(struct stream *stream) {
  *(stream->previous ? &stream->previous->next : &stream->context->streams) =
      stream->next;
  if (stream->next)
    stream->next->previous = stream->previous;
  sim_op_drop(stream->last);
  free(stream);
}

cuStream sim_stream_new(struct context *context, bool non_blocking) {
  struct stream *stream = sim_new(sizeof *stream);
  stream->non_blocking = non_blocking;
  sim_object_add(&stream->object, OBJECT_STREAM, SIMCU_STREAMS);
  stream_link(stream, context);
  context->stream_count++;
  return (cuStream)stream->object.handle;
}

cuCode cuStreamCreate(cuStream *stream_out, unsigned flags) {
  ENTER(cuStreamCreate, IN_CONTEXT);
  if (flags > UMEMI_CU_STREAM_NON_BLOCKING)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  *stream_out = sim_stream_new(sim_current(), flags);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* All work is of one priority. */
cuCode cuStreamCreateWithPriority(cuStream *stream_out, unsigned flags,
                                  int priority) {
  ENTER(cuStreamCreateWithPriority, IN_CONTEXT);
  (void)priority;
  if (flags > UMEMI_CU_STREAM_NON_BLOCKING)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  *stream_out = sim_stream_new(sim_current(), flags);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* The legacy stream must still wait for a blocking one's work, so those stay
   until it is done. */
static void streams_reap(struct context *context) {
  for (struct stream *stream = context->streams, *next; stream; stream = next) {
    next = stream->next;
    if (stream->destroyed && (!stream->last || stream->last->done))
      stream_unlink(stream);
  }
}

void sim_stream_end(struct stream *stream) {
  struct context *context = stream->context;
  sim_capture_end(stream);
  if (!stream->destroyed && !stream->thread) {
    sim_object_remove(&stream->object);
    context->stream_count--;
  }
  stream->destroyed = true;
  streams_reap(context);
}

cuCode cuStreamDestroy_v2(cuStream stream) {
  ENTER(cuStreamDestroy_v2, IN_CONTEXT);
  struct stream *found = sim_object(stream, OBJECT_STREAM);
  if (!found)
    return sim_leave(sim_dead("stream", stream));
  sim_stream_end(found);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* Asking a stream that captures how it is doing ends the capture. */
static cuCode stream_to_ask(cuStream handle, struct stream **stream_out) {
  cuCode code = sim_stream(handle, stream_out);
  if (code || (*stream_out)->capture == UMEMI_CU_STREAM_CAPTURE_STATUS_NONE)
    return code;
  sim_capture_broken(*stream_out);
  return UMEMI_CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

cuCode cuStreamSynchronize(cuStream stream) {
  ENTER(cuStreamSynchronize, IN_CONTEXT | UNSAFE);
  struct stream *found;
  cuCode code = stream_to_ask(stream, &found);
  if (code)
    return sim_leave(code);
  code = sim_stream_wait(found);
  sim_pools_trim(found->context->device, false);
  return sim_leave(code);
}

cuCode cuStreamQuery(cuStream stream) {
  ENTER(cuStreamQuery, IN_CONTEXT | UNSAFE);
  struct stream *found;
  cuCode code = stream_to_ask(stream, &found);
  if (!code && !sim_stream_idle(found))
    code = UMEMI_CUDA_ERROR_NOT_READY;
  return sim_leave(code);
}

cuCode cuStreamGetCtx(cuStream stream, cuContext *context_out) {
  ENTER(cuStreamGetCtx, IN_CONTEXT);
  struct stream *found;
  cuCode code = sim_stream_find(stream, &found);
  if (!code)
    *context_out = (cuContext)found->context->object.handle;
  return sim_leave(code);
}

/* --- events --------------------------------------------------------------- */

static cuCode event_find(cuEvent handle, struct event **event_out) {
  *event_out = sim_object(handle, OBJECT_EVENT);
  return *event_out ? UMEMI_CUDA_SUCCESS : sim_dead("event", handle);
}

void sim_event_end(struct event *event) {
  sim_object_remove(&event->object);
  sim_op_drop(event->last);
  free(event);
}

cuCode cuEventCreate(cuEvent *event_out, unsigned flags) {
  ENTER(cuEventCreate, IN_CONTEXT);
  if (flags > 7)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  struct event *event = sim_new(sizeof *event);
  event->context = sim_current();
  sim_object_add(&event->object, OBJECT_EVENT, SIMCU_EVENTS);
  *event_out = (cuEvent)event->object.handle;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuEventDestroy_v2(cuEvent event) {
  ENTER(cuEventDestroy_v2, IN_CONTEXT);
  struct event *found;
  cuCode code = event_find(event, &found);
  if (!code)
    sim_event_end(found);
  return sim_leave(code);
}

static cuCode event_record(struct event *event, struct stream *stream) {
  if (event->context != stream->context)
    return UMEMI_CUDA_ERROR_INVALID_HANDLE;
  sim_op_drop(event->last);
  event->last = NULL;
  event->captured = stream->capture != UMEMI_CU_STREAM_CAPTURE_STATUS_NONE;
  if (event->captured)
    return UMEMI_CUDA_SUCCESS;
  event->last = sim_op_keep(sim_op(OP_MARK, stream));
  sim_queue(stream, event->last);
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuEventRecord(cuEvent event, cuStream stream) {
  ENTER(cuEventRecord, IN_CONTEXT);
  struct event *found;
  struct stream *into;
  cuCode code = event_find(event, &found);
  if (!code)
    code = sim_stream(stream, &into);
  return sim_leave(code ? code : event_record(found, into));
}

/* For what the event stands for now; one that was never recorded is done. */
static void stream_wait(struct stream *stream, struct event const *event) {
  struct op *op = sim_op(OP_MARK, stream);
  sim_op_after(op, event->last);
  sim_queue(stream, op);
}

cuCode cuStreamWaitEvent(cuStream stream, cuEvent event, unsigned flags) {
  ENTER(cuStreamWaitEvent, IN_CONTEXT);
  struct event *found;
  struct stream *into;
  cuCode code =
      flags > 1 ? UMEMI_CUDA_ERROR_INVALID_VALUE : event_find(event, &found);
  if (!code)
    code = sim_stream(stream, &into);
  if (!code && found->captured && !into->capture)
    code = SIM_ERROR_STREAM_CAPTURE_ISOLATION;
  if (!code)
    stream_wait(into, found);
  return sim_leave(code);
}

static cuCode event_to_ask(cuEvent handle, struct event **event_out) {
  cuCode code = event_find(handle, event_out);
  if (!code && (*event_out)->captured)
    code = SIM_ERROR_CAPTURED_EVENT;
  return code;
}

cuCode cuEventSynchronize(cuEvent event) {
  ENTER(cuEventSynchronize, IN_CONTEXT | UNSAFE);
  struct event *found;
  cuCode code = event_to_ask(event, &found);
  if (code)
    return sim_leave(code);
  sim_op_run(found->last);
  sim_pools_trim(found->context->device, false);
  return sim_leave(found->context->sticky);
}

cuCode cuEventQuery(cuEvent event) {
  ENTER(cuEventQuery, IN_CONTEXT | UNSAFE);
  struct event *found;
  cuCode code = event_to_ask(event, &found);
  if (!code && found->last && !found->last->done)
    code = UMEMI_CUDA_ERROR_NOT_READY;
  return sim_leave(code);
}
