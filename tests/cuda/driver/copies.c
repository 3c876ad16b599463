/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies and fills: what they may work on, and when they are done. */
#include "inner.h"

enum direction { ANY, TO_DEVICE, TO_HOST, WITHIN_DEVICES };

/* --- what they may work on ------------------------------------------------ */

static bool overlap(struct operand const *a, struct operand const *b,
                    size_t nbytes) {
  return a->adr < b->adr + nbytes && b->adr < a->adr + nbytes;
}

/* Is it memory of another device that the context cannot access? Opening an IPC
 * handle includes access. */
static bool is_beyond(struct operand const *operand,
                      struct context const *context) {
  struct block const *block = operand->block;
  if (!sim_on_device(operand) || block->device == context->device)
    return false;
  if (block->kind == SIMCU_IMPORTED)
    return block->context->device != context->device;
  return block->pool || !sim_context_reaches(context, block->context);
}

cuCode sim_check_dest(struct operand const *dest) {
  if (!dest->block || !dest->block->read_only)
    return UMEMI_CUDA_SUCCESS;
  return REFUSED("%#zx was registered as read-only", (size_t)dest->adr);
}

cuCode sim_check_reach(struct operand const *operand,
                       struct context const *context) {
  if (!is_beyond(operand, context))
    return UMEMI_CUDA_SUCCESS;
  return REFUSED("%#zx of device %d without peer access from device %d",
                 (size_t)operand->adr, operand->block->device, context->device);
}

static cuCode check(enum direction direction, struct operand const *dest,
                    struct operand const *src, size_t nbytes) {
  bool to_device = direction == TO_DEVICE || direction == WITHIN_DEVICES;
  bool from_device = direction == TO_HOST || direction == WITHIN_DEVICES;
  if ((to_device && !dest->block) || (from_device && !src->block))
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  if (direction == TO_DEVICE && sim_on_device(src))
    return REFUSED("%#zx is of a device, not of the host", (size_t)src->adr);
  if (direction == TO_HOST && sim_on_device(dest))
    return REFUSED("%#zx is of a device, not of the host", (size_t)dest->adr);
  if (overlap(dest, src, nbytes))
    sim_violation("%zu bytes at %#zx and %#zx overlap", nbytes,
                  (size_t)src->adr, (size_t)dest->adr);
  return sim_check_dest(dest);
}

struct copy {
  enum direction direction;
  struct operand dest, src;
  size_t nbytes;
  bool is_lost;
};

static cuCode copy_init(struct copy *copy, enum direction direction,
                        cuAddress dest, cuAddress src, size_t nbytes) {
  *copy = (struct copy){.direction = direction, .nbytes = nbytes};
  cuCode code = sim_operand(dest, nbytes, &copy->dest);
  if (!code)
    code = sim_operand(src, nbytes, &copy->src);
  return code ? code : check(direction, &copy->dest, &copy->src, nbytes);
}

/* Does the direct path between the two devices drop writes? */
static bool is_lossy(struct copy const *copy) {
  if (!sim_on_device(&copy->dest) || !sim_on_device(&copy->src))
    return false;
  int from = copy->src.block->device, to = copy->dest.block->device;
  return sim.devices[from].drops[to];
}

static struct op *copy_op(struct copy const *copy,
                          struct stream const *stream) {
  struct op *op = sim_op(OP_COPY, stream);
  op->dest = copy->dest;
  op->src = copy->src;
  op->nbytes = copy->nbytes;
  op->is_lost = copy->is_lost;
  return op;
}

/* --- synchronous ---------------------------------------------------------- */

static bool on_host(struct operand const *operand) {
  return !operand->block || operand->block->kind == SIMCU_PINNED ||
         operand->block->kind == SIMCU_REGISTERED;
}

static bool is_pageable(struct operand const *operand) {
  return !operand->block;
}

/* Queues it and waits until it is done. */
static cuCode run(struct stream *stream, struct op *op) {
  sim_op_keep(op);
  sim_queue(stream, op);
  sim_op_run(op);
  sim_op_drop(op);
  return stream->context->sticky;
}

/* What was queued before is done; the bytes are on their way. */
static cuCode run_staged(struct stream *stream, struct op *op) {
  cuCode code = sim_stream_wait(stream);
  if (code) {
    sim_op_drop(op);
    return code;
  }
  sim_op_stage(op);
  sim_queue(stream, op);
  return UMEMI_CUDA_SUCCESS;
}

static cuCode copy_now(struct stream *stream, struct copy const *copy) {
  struct op *op = copy_op(copy, stream);
  bool to_device = sim_on_device(&copy->dest);
  if (to_device && is_pageable(&copy->src))
    return run_staged(stream, op);
  if (!to_device || !sim_on_device(&copy->src))
    return run(stream, op);
  sim_queue(stream, op);
  return UMEMI_CUDA_SUCCESS;
}

static cuCode copy_in(struct stream const *stream, struct copy *copy,
                      enum direction direction, cuAddress dest, cuAddress src,
                      size_t nbytes) {
  cuCode code = copy_init(copy, direction, dest, src, nbytes);
  copy->is_lost = !code && is_lossy(copy);
  if (!code)
    code = sim_check_reach(&copy->dest, stream->context);
  return code ? code : sim_check_reach(&copy->src, stream->context);
}

static cuCode copy_sync(enum direction direction, cuAddress dest, cuAddress src,
                        size_t nbytes) {
  struct stream *legacy;
  struct copy copy;
  if (!nbytes)
    return UMEMI_CUDA_SUCCESS;
  cuCode code = sim_stream(NULL, &legacy);
  if (!code)
    code = copy_in(legacy, &copy, direction, dest, src, nbytes);
  return code ? code : copy_now(legacy, &copy);
}

cuCode cuMemcpy(cuAddress dest, cuAddress src, size_t nbytes) {
  ENTER(cuMemcpy, IN_CONTEXT | UNSAFE);
  return sim_leave(copy_sync(ANY, dest, src, nbytes));
}

cuCode cuMemcpyHtoD_v2(cuAddress dest, void const *src, size_t nbytes) {
  ENTER(cuMemcpyHtoD_v2, IN_CONTEXT | UNSAFE);
  return sim_leave(copy_sync(TO_DEVICE, dest, (uintptr_t)src, nbytes));
}

cuCode cuMemcpyDtoH_v2(void *dest, cuAddress src, size_t nbytes) {
  ENTER(cuMemcpyDtoH_v2, IN_CONTEXT | UNSAFE);
  return sim_leave(copy_sync(TO_HOST, (uintptr_t)dest, src, nbytes));
}

cuCode cuMemcpyDtoD_v2(cuAddress dest, cuAddress src, size_t nbytes) {
  ENTER(cuMemcpyDtoD_v2, IN_CONTEXT | UNSAFE);
  return sim_leave(copy_sync(WITHIN_DEVICES, dest, src, nbytes));
}

/* --- asynchronous --------------------------------------------------------- */

/* Between host and host nothing is asynchronous. */
static cuCode copy_later(struct stream *stream, struct copy const *copy) {
  struct op *op = copy_op(copy, stream);
  bool to_host = on_host(&copy->dest);
  if (to_host && on_host(&copy->src) && !stream->capture)
    return run(stream, op);
  if (!to_host && is_pageable(&copy->src))
    sim_op_stage(op);
  sim_queue(stream, op);
  return UMEMI_CUDA_SUCCESS;
}

static cuCode copy_async(enum direction direction, cuAddress dest,
                         cuAddress src, size_t nbytes, cuStream handle) {
  struct stream *stream;
  struct copy copy;
  cuCode code = sim_stream(handle, &stream);
  if (code || !nbytes)
    return code;
  code = copy_in(stream, &copy, direction, dest, src, nbytes);
  return code ? code : copy_later(stream, &copy);
}

cuCode cuMemcpyAsync(cuAddress dest, cuAddress src, size_t nbytes,
                     cuStream stream) {
  ENTER(cuMemcpyAsync, IN_CONTEXT);
  return sim_leave(copy_async(ANY, dest, src, nbytes, stream));
}

cuCode cuMemcpyHtoDAsync_v2(cuAddress dest, void const *src, size_t nbytes,
                            cuStream stream) {
  ENTER(cuMemcpyHtoDAsync_v2, IN_CONTEXT);
  return sim_leave(copy_async(TO_DEVICE, dest, (uintptr_t)src, nbytes, stream));
}

cuCode cuMemcpyDtoHAsync_v2(void *dest, cuAddress src, size_t nbytes,
                            cuStream stream) {
  ENTER(cuMemcpyDtoHAsync_v2, IN_CONTEXT);
  return sim_leave(copy_async(TO_HOST, (uintptr_t)dest, src, nbytes, stream));
}

cuCode cuMemcpyDtoDAsync_v2(cuAddress dest, cuAddress src, size_t nbytes,
                            cuStream stream) {
  ENTER(cuMemcpyDtoDAsync_v2, IN_CONTEXT);
  return sim_leave(copy_async(WITHIN_DEVICES, dest, src, nbytes, stream));
}

/* --- between devices ------------------------------------------------------ */

struct peers {
  struct context *dest, *src;
};

static bool is_of(struct operand const *operand,
                  struct context const *context) {
  return operand->block &&
         (on_host(operand) || operand->block->kind == SIMCU_MANAGED ||
          operand->block->device == context->device);
}

static cuCode peers_init(struct peers *peers, cuContext dest, cuContext src) {
  *peers = (struct peers){sim_context(dest), sim_context(src)};
  if (!peers->dest || !peers->src)
    return UMEMI_CUDA_ERROR_INVALID_CONTEXT;
  return peers->dest->sticky ? peers->dest->sticky : peers->src->sticky;
}

/* Without peer access the driver stages the copy in host memory. */
static bool is_direct(struct peers const *peers) {
  return sim_context_reaches(peers->dest, peers->src) ||
         sim_context_reaches(peers->src, peers->dest);
}

static cuCode peers_check(struct peers const *peers, struct copy *copy) {
  copy->is_lost = is_direct(peers) && is_lossy(copy);
  if (is_of(&copy->dest, peers->dest) && is_of(&copy->src, peers->src))
    return UMEMI_CUDA_SUCCESS;
  return REFUSED("%#zx and %#zx are not of the contexts that are named",
                 (size_t)copy->src.adr, (size_t)copy->dest.adr);
}

cuCode cuMemcpyPeerAsync(cuAddress dest, cuContext dest_context, cuAddress src,
                         cuContext src_context, size_t nbytes,
                         cuStream stream) {
  ENTER(cuMemcpyPeerAsync, IN_CONTEXT);
  struct peers peers;
  struct stream *into;
  struct copy copy;
  cuCode code = peers_init(&peers, dest_context, src_context);
  if (!code)
    code = sim_stream(stream, &into);
  if (code || !nbytes)
    return sim_leave(code);
  code = copy_init(&copy, ANY, dest, src, nbytes);
  if (!code)
    code = peers_check(&peers, &copy);
  if (!code)
    sim_queue(into, copy_op(&copy, into));
  return sim_leave(code);
}

/* An operation in the legacy stream of `context` before or after `op`. */
static void fence(struct context *context, struct op *op, bool before) {
  struct op *mark = sim_op(OP_MARK, &context->legacy);
  if (!before)
    sim_op_after(mark, op);
  sim_op_keep(mark);
  sim_queue(&context->legacy, mark);
  if (before)
    sim_op_after(op, mark);
  sim_op_drop(mark);
}

/* Waits for the three contexts and has them wait. */
static void copy_fenced(struct stream *legacy, struct copy const *copy,
                        struct peers const *peers) {
  struct op *op = sim_op_keep(copy_op(copy, legacy));
  fence(peers->dest, op, true);
  fence(peers->src, op, true);
  sim_queue(legacy, op);
  fence(peers->dest, op, false);
  fence(peers->src, op, false);
  sim_op_drop(op);
}

cuCode cuMemcpyPeer(cuAddress dest, cuContext dest_context, cuAddress src,
                    cuContext src_context, size_t nbytes) {
  ENTER(cuMemcpyPeer, IN_CONTEXT | UNSAFE);
  struct peers peers;
  struct stream *legacy;
  struct copy copy;
  cuCode code = peers_init(&peers, dest_context, src_context);
  if (!code)
    code = sim_stream(NULL, &legacy);
  if (code || !nbytes)
    return sim_leave(code);
  code = copy_init(&copy, ANY, dest, src, nbytes);
  if (!code)
    code = peers_check(&peers, &copy);
  if (!code)
    copy_fenced(legacy, &copy, &peers);
  return sim_leave(code);
}

/* --- fills ---------------------------------------------------------------- */

static cuCode fill_op(cuAddress adr, unsigned char value, size_t nbytes,
                      struct stream const *stream, struct op **op_out) {
  struct operand dest;
  cuCode code = sim_operand(adr, nbytes, &dest);
  if (code)
    return code;
  if (!dest.block)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  code = sim_check_dest(&dest);
  if (!code)
    code = sim_check_reach(&dest, stream->context);
  if (code)
    return code;
  *op_out = sim_op(OP_FILL, stream);
  (*op_out)->dest = dest;
  (*op_out)->nbytes = nbytes;
  (*op_out)->value = value;
  return UMEMI_CUDA_SUCCESS;
}

static cuCode fill(cuAddress adr, unsigned char value, size_t nbytes,
                   cuStream handle, bool sync) {
  struct stream *stream;
  struct op *op = NULL;
  cuCode code = sim_stream(handle, &stream);
  if (!code && nbytes)
    code = fill_op(adr, value, nbytes, stream, &op);
  if (code || !nbytes)
    return code;
  if (sync && !sim_on_device(&op->dest))
    return run(stream, op);
  sim_queue(stream, op);
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuMemsetD8_v2(cuAddress adr, unsigned char value, size_t nbytes) {
  ENTER(cuMemsetD8_v2, IN_CONTEXT | UNSAFE);
  return sim_leave(fill(adr, value, nbytes, NULL, true));
}

cuCode cuMemsetD8Async(cuAddress adr, unsigned char value, size_t nbytes,
                       cuStream stream) {
  ENTER(cuMemsetD8Async, IN_CONTEXT);
  return sim_leave(fill(adr, value, nbytes, stream, false));
}
