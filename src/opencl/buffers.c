/* SPDX-License-Identifier: BSD-3-Clause */
/* The tier of buffers: objects, which get addresses from an arena. */
#include "opencl.h"

static clInt buffers_find(struct umemiClSpace *space) {
  (void)space;
  return UMEMI_CL_SUCCESS;
}

/* Drivers allocate when a buffer is used first: this is a use, so that a device
   that is full says so here. */
static clInt buffers_touch(struct umemiClTurn const *turn, clMem mem) {
  clEvent event;
  clInt code = turn->space->cl->clEnqueueMigrateMemObjects(
      turn->queue, 1, &mem, UMEMI_CL_MIGRATE_MEM_OBJECT_CONTENT_UNDEFINED, 0,
      NULL, &event);
  return umemi_cl_wait(turn, code, event);
}

/* 0 bytes are an address with nothing behind it. */
static umemStatusType buffers_create(struct umemiClTurn const *turn,
                                     struct umemiClBlock *block,
                                     umemError *error) {
  struct umemiClSpace *space = turn->space;
  char const *function = "clCreateBuffer";
  clInt code = UMEMI_CL_SUCCESS;
  if (block->base.nbytes == 0)
    return umemOK;
  block->mem = space->cl->clCreateBuffer(
      space->context, UMEMI_CL_MEM_READ_WRITE, block->base.nbytes, NULL, &code);
  if (code == UMEMI_CL_SUCCESS) {
    function = "clEnqueueMigrateMemObjects";
    code = buffers_touch(turn, block->mem);
    if (code != UMEMI_CL_SUCCESS)
      space->cl->clReleaseMemObject(block->mem);
  }
  return umemi_cl_failed(umemMemoryError, code, function, error);
}

static umemStatusType buffers_alloc(struct umemiClTurn const *turn,
                                    struct umemiClBlock *block,
                                    umemError *error) {
  struct umemiClSpace *space = turn->space;
  size_t nbytes = block->base.nbytes;
  umemStatusType status =
      umemi_cl_arena_take(space, nbytes, &block->base.adr, error);
  if (status != umemOK)
    return status;
  status = buffers_create(turn, block, error);
  if (status != umemOK)
    umemi_cl_arena_give(space, block->base.adr, nbytes);
  return status;
}

static umemStatusType buffers_free(struct umemiClSpace *space,
                                   struct umemiClBlock const *block,
                                   umemError *error) {
  clInt code = UMEMI_CL_SUCCESS;
  if (block->mem)
    code = space->cl->clReleaseMemObject(block->mem);
  umemi_cl_arena_give(space, block->base.adr, block->base.nbytes);
  return umemi_cl_failed(umemRuntimeError, code, "clReleaseMemObject", error);
}

static clInt buffers_read(struct umemiClTurn const *turn,
                          struct umemiClPlace const *at, void *out,
                          size_t nbytes) {
  return turn->space->cl->clEnqueueReadBuffer(turn->queue, at->mem,
                                              UMEMI_CL_TRUE, at->offset, nbytes,
                                              out, 0, NULL, NULL);
}

/* Waited for by its event: a write that is "blocking" may return when it has
   read `in`, and commands in other queues then see the old bytes (OpenCL 3.0
   API, clEnqueueWriteBuffer; Intel's CPU runtime does so). */
static clInt buffers_write(struct umemiClTurn const *turn,
                           struct umemiClPlace const *at, void const *in,
                           size_t nbytes) {
  clEvent event;
  clInt code = turn->space->cl->clEnqueueWriteBuffer(
      turn->queue, at->mem, UMEMI_CL_FALSE, at->offset, nbytes, in, 0, NULL,
      &event);
  return umemi_cl_wait(turn, code, event);
}

static clInt buffers_fill(struct umemiClTurn const *turn,
                          struct umemiClPlace const *at, unsigned char c,
                          size_t nbytes) {
  clEvent event;
  clInt code = turn->space->cl->clEnqueueFillBuffer(
      turn->queue, at->mem, &c, 1, at->offset, nbytes, 0, NULL, &event);
  return umemi_cl_wait(turn, code, event);
}

static clInt buffers_copy(struct umemiClTurn const *turn,
                          struct umemiClPlace const *src,
                          struct umemiClPlace const *dest, size_t nbytes) {
  clEvent event;
  clInt code = turn->space->cl->clEnqueueCopyBuffer(
      turn->queue, src->mem, dest->mem, src->offset, dest->offset, nbytes, 0,
      NULL, &event);
  return umemi_cl_wait(turn, code, event);
}

static clInt buffers_set_arg(struct umemiClSpace *space, clKernel kernel,
                             clUint index, struct umemiClPlace const *at) {
  return space->cl->clSetKernelArg(kernel, index, sizeof(void *), &at->mem);
}

struct umemiClTier const umemi_cl_buffers = {
    .number = umemOpenCLBuffers,
    .name = "buffers",
    .names = {.read = "clEnqueueReadBuffer",
              .write = "clEnqueueWriteBuffer",
              .fill = "clEnqueueFillBuffer",
              .copy = "clEnqueueCopyBuffer",
              .set_arg = "clSetKernelArg"},
    .find = buffers_find,
    .alloc = buffers_alloc,
    .free = buffers_free,
    .read = buffers_read,
    .write = buffers_write,
    .fill = buffers_fill,
    .copy = buffers_copy,
    .set_arg = buffers_set_arg};
