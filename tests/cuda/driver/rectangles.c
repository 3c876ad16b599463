/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies of rows: one operation each. What lies between the rows is not
 * touched, but the rows and what lies between them have to be in one block, or
 * in none. The pitches of CUDA end at MAX_PITCH.
 */
#include "inner.h"

#include <stdint.h>

#if SIMCU_VERSION >= 11040
enum { ARRAY = 3, UNIFIED = 4 }; /* kinds of memory that CUDA has besides */
#define MAX_PITCH ((size_t)INT32_MAX)

/* One side of a copy. */
struct side {
  int type;
  void const *host;
  cuAddress device;
  size_t column, row, pitch;
  struct operand operand;
};

static bool is_good_pitch(struct side const *side, size_t width,
                          size_t height) {
  return side->pitch <= MAX_PITCH &&
         (height == 1 || side->pitch >= width + side->column);
}

static cuCode side_init(struct side *side, size_t width, size_t height) {
  cuAddress adr = side->type == UMEMI_CU_MEMORYTYPE_HOST ? (uintptr_t)side->host
                                                         : side->device;
  adr += side->row * side->pitch + side->column;
  if (side->type < UMEMI_CU_MEMORYTYPE_HOST || side->type == ARRAY ||
      side->type > UNIFIED || !is_good_pitch(side, width, height))
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  cuCode code =
      sim_operand(adr, (height - 1) * side->pitch + width, &side->operand);
  if (code)
    return code;
  if (side->type == UMEMI_CU_MEMORYTYPE_DEVICE && !side->operand.block)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  if (side->type == UMEMI_CU_MEMORYTYPE_HOST && sim_on_device(&side->operand))
    return REFUSED("%#zx is of a device, not of the host", (size_t)adr);
  return UMEMI_CUDA_SUCCESS;
}

/* Does a row of one side touch one of the other? Both go up. */
static bool rows_touch(struct side const *a, struct side const *b, size_t width,
                       size_t height) {
  for (size_t i = 0, k = 0; i < height && k < height;) {
    uintptr_t of_a = a->operand.adr + i * a->pitch;
    uintptr_t of_b = b->operand.adr + k * b->pitch;
    if (of_a < of_b + width && of_b < of_a + width)
      return true;
    if (of_a < of_b)
      i++;
    else
      k++;
  }
  return false;
}

static bool is_on_host(struct operand const *operand) {
  return !operand->block || operand->block->kind == SIMCU_PINNED ||
         operand->block->kind == SIMCU_REGISTERED;
}

static cuCode rows_init(struct side *src, struct side *dest, size_t width,
                        size_t height) {
  cuCode code = side_init(src, width, height);
  if (!code)
    code = side_init(dest, width, height);
  if (!code && rows_touch(src, dest, width, height))
    sim_violation("rows at %#zx and %#zx overlap", (size_t)src->operand.adr,
                  (size_t)dest->operand.adr);
  return code ? code : sim_check_dest(&dest->operand);
}

/* Between devices whose direct path loses what is written. */
static bool is_lossy(struct side const *src, struct side const *dest) {
  if (!sim_on_device(&src->operand) || !sim_on_device(&dest->operand))
    return false;
  int from = src->operand.block->device, to = dest->operand.block->device;
  return sim.devices[from].drops[to];
}

/* Fits cuRows and cuPeerRows: their members have the same names. */
#define SIDE(rows, side)                                                       \
  {                                                                            \
    .type = (int)(rows)->side##MemoryType, .host = (rows)->side##Host,         \
    .device = (rows)->side##Device, .column = (rows)->side##XInBytes,          \
    .row = (rows)->side##Y, .pitch = (rows)->side##Pitch                       \
  }

static struct op *rows_op(struct stream *stream, struct side const *src,
                          struct side const *dest, size_t width,
                          size_t height) {
  struct op *op = sim_op(OP_COPY, stream);
  op->src = src->operand;
  op->dest = dest->operand;
  op->src_pitch = src->pitch;
  op->dest_pitch = dest->pitch;
  op->nbytes = width;
  op->rows = height;
  return op;
}

/* Between host and host nothing is asynchronous. */
static void rows_queue(struct stream *stream, struct op *op) {
  bool to_host = is_on_host(&op->dest), from_host = is_on_host(&op->src);
  if (!to_host && !op->src.block)
    sim_op_stage(op);
  sim_op_keep(op);
  sim_queue(stream, op);
  if (to_host && from_host && !stream->capture)
    sim_op_run(op);
  sim_op_drop(op);
}

cuCode cuMemcpy2DAsync_v2(cuRows const *rows, cuStream handle) {
  ENTER(cuMemcpy2DAsync_v2, IN_CONTEXT);
  struct side src = SIDE(rows, src), dest = SIDE(rows, dst);
  size_t width = rows->WidthInBytes, height = rows->Height;
  struct stream *stream;
  cuCode code = sim_stream(handle, &stream);
  if (code || !width || !height)
    return sim_leave(code);
  code = rows_init(&src, &dest, width, height);
  if (!code)
    code = sim_check_reach(&src.operand, stream->context);
  if (!code)
    code = sim_check_reach(&dest.operand, stream->context);
  if (code)
    return sim_leave(code);
  struct op *op = rows_op(stream, &src, &dest, width, height);
  op->is_lost = is_lossy(&src, &dest);
  rows_queue(stream, op);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* --- between devices ------------------------------------------------------ */

static cuCode peer_check(struct side const *side, cuContext handle) {
  struct context *context = sim_context(handle);
  if (!context)
    return UMEMI_CUDA_ERROR_INVALID_CONTEXT;
  if (context->sticky)
    return context->sticky;
  if (sim_on_device(&side->operand) &&
      side->operand.block->device != context->device)
    return REFUSED("%#zx is not of the context that is named",
                   (size_t)side->operand.adr);
  return UMEMI_CUDA_SUCCESS;
}

/* Without access it goes through memory of the driver's. */
static bool is_direct(cuPeerRows const *rows) {
  struct context *src = sim_context(rows->srcContext);
  struct context *dest = sim_context(rows->dstContext);
  return sim_context_reaches(dest, src) || sim_context_reaches(src, dest);
}

/* Layers are not modelled. */
cuCode cuMemcpy3DPeerAsync(cuPeerRows const *rows, cuStream handle) {
  ENTER(cuMemcpy3DPeerAsync, IN_CONTEXT);
  struct side src = SIDE(rows, src), dest = SIDE(rows, dst);
  size_t width = rows->WidthInBytes, height = rows->Height;
  struct stream *stream;
  cuCode code = sim_stream(handle, &stream);
  if (!code && rows->Depth > 1)
    code = UMEMI_CUDA_ERROR_NOT_SUPPORTED;
  if (code || !width || !height || !rows->Depth)
    return sim_leave(code);
  code = rows_init(&src, &dest, width, height);
  if (!code)
    code = peer_check(&src, rows->srcContext);
  if (!code)
    code = peer_check(&dest, rows->dstContext);
  if (code)
    return sim_leave(code);
  struct op *op = rows_op(stream, &src, &dest, width, height);
  op->is_lost = is_direct(rows) && is_lossy(&src, &dest);
  rows_queue(stream, op);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}
#endif
