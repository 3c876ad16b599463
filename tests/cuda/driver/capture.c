/* SPDX-License-Identifier: BSD-3-Clause */
/* Capture of streams: what it forbids, and nothing of the graphs. */
#include "inner.h"

enum { ACTIVE = 1, INVALIDATED = 2, GLOBAL = 0 };
enum { RELAXED = UMEMI_CU_STREAM_CAPTURE_MODE_RELAXED };

static struct stream *captures;

/* --- what is forbidden ---------------------------------------------------- */

void sim_capture_broken(struct stream *stream) {
  stream->capture = INVALIDATED;
}

/* By the modes of the capture and of the thread that calls. Captures of other
   threads are safe from what is done with other devices. */
static bool forbids(struct stream const *capture) {
  if (capture->capture != ACTIVE || sim_mode() == RELAXED)
    return false;
  if (capture->capture_thread == sim_thread())
    return capture->capture_mode != RELAXED;
  return capture->capture_mode == GLOBAL && sim_mode() == GLOBAL &&
         capture->context->device == sim_current()->device;
}

cuCode sim_capture_unsafe(void) {
  cuCode code = UMEMI_CUDA_SUCCESS;
  for (struct stream *stream = captures; stream; stream = stream->next_capture)
    if (forbids(stream)) {
      sim_capture_broken(stream);
      code = UMEMI_CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
  return code;
}

/* Of all contexts of the device, and in whatever mode. */
static bool blocks_legacy(struct stream const *stream, int device) {
  return stream->context->device == device && !stream->non_blocking &&
         stream->capture == ACTIVE;
}

/* The legacy stream would have to wait for what is not executed. */
cuCode sim_capture_legacy(int device) {
  cuCode code = UMEMI_CUDA_SUCCESS;
  for (struct stream *stream = captures; stream; stream = stream->next_capture)
    if (blocks_legacy(stream, device)) {
      sim_capture_broken(stream);
      code = UMEMI_CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
    }
  return code;
}

cuCode sim_capture_wait(int device) {
  cuCode code = UMEMI_CUDA_SUCCESS;
  for (struct stream *stream = captures; stream; stream = stream->next_capture)
    if (stream->context->device == device && stream->capture == ACTIVE) {
      sim_capture_broken(stream);
      code = UMEMI_CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
  return code;
}

/* Merely asked: "the blocking stream capture is not invalidated"
   (cuStreamIsCapturing). */
static bool legacy_is_blocked(int device) {
  for (struct stream *stream = captures; stream; stream = stream->next_capture)
    if (blocks_legacy(stream, device))
      return true;
  return false;
}

/* --- begin and end -------------------------------------------------------- */

void sim_capture_end(struct stream *stream) {
  struct stream **link = &captures;
  while (*link && *link != stream)
    link = &(*link)->next_capture;
  if (*link)
    *link = stream->next_capture;
  stream->capture = UMEMI_CU_STREAM_CAPTURE_STATUS_NONE;
}

static cuCode capture_begin(struct stream *stream, cuCaptureMode mode) {
  if (stream == &stream->context->legacy)
    return UMEMI_CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream->capture || mode < GLOBAL || mode > RELAXED)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  stream->capture = ACTIVE;
  stream->capture_mode = mode;
  stream->capture_thread = sim_thread();
  stream->next_capture = captures;
  captures = stream;
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuStreamBeginCapture_v2(cuStream stream, cuCaptureMode mode) {
  ENTER(cuStreamBeginCapture_v2, IN_CONTEXT);
  struct stream *found;
  cuCode code = sim_stream(stream, &found);
  return sim_leave(code ? code : capture_begin(found, mode));
}

static cuCode capture_finish(struct stream *stream) {
  bool is_valid = stream->capture == ACTIVE;
  if (!stream->capture)
    return SIM_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (stream->capture_mode != RELAXED && stream->capture_thread != sim_thread())
    return SIM_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  sim_capture_end(stream);
  return is_valid ? UMEMI_CUDA_SUCCESS
                  : UMEMI_CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
}

/* The graph is a number that means nothing. */
cuCode cuStreamEndCapture(cuStream stream, cuGraph *graph_out) {
  ENTER(cuStreamEndCapture, IN_CONTEXT);
  struct stream *found;
  cuCode code = sim_stream_find(stream, &found);
  if (!code)
    code = capture_finish(found);
  *graph_out = code ? NULL : (cuGraph)&captures;
  return sim_leave(code);
}

cuCode cuStreamIsCapturing(cuStream stream, cuCaptureStatus *status_out) {
  ENTER(cuStreamIsCapturing, IN_CONTEXT);
  struct stream *found;
  cuCode code = sim_stream_find(stream, &found);
  if (!code && found == &found->context->legacy &&
      legacy_is_blocked(found->context->device))
    code = UMEMI_CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  if (!code)
    *status_out = found->capture;
  return sim_leave(code);
}

cuCode cuThreadExchangeStreamCaptureMode(cuCaptureMode *mode) {
  ENTER(cuThreadExchangeStreamCaptureMode, NOTHING);
  return sim_leave(sim_mode_exchange(mode));
}
