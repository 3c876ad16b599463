/* SPDX-License-Identifier: BSD-3-Clause */
/* The tier of coarse-grained shared virtual memory: pointers of the driver. */
#include "opencl.h"

/* A device of OpenCL 1.x does not know the question. */
static clInt svm_find(struct umemiClSpace *space) {
  struct umemiCl const *cl = space->cl;
  clBits has = 0;
  if (!cl->clSVMAlloc || !cl->clSVMFree || !cl->clEnqueueSVMMemcpy ||
      !cl->clEnqueueSVMMemFill || !cl->clSetKernelArgSVMPointer)
    return UMEMI_CL_INVALID_VALUE;
  clInt code = cl->clGetDeviceInfo(
      space->device, UMEMI_CL_DEVICE_SVM_CAPABILITIES, sizeof has, &has, NULL);
  if (code != UMEMI_CL_SUCCESS)
    return code;
  return has & (clBits)UMEMI_CL_DEVICE_SVM_COARSE_GRAIN_BUFFER
             ? UMEMI_CL_SUCCESS
             : UMEMI_CL_INVALID_VALUE;
}

/* 0 bytes cannot be had, but an address has to be; and there is no code. */
static umemStatusType svm_alloc(struct umemiClTurn const *turn,
                                struct umemiClBlock *block, umemError *error) {
  struct umemiClSpace *space = turn->space;
  size_t nbytes = block->base.nbytes;
  void *ptr = space->cl->clSVMAlloc(space->context, UMEMI_CL_MEM_READ_WRITE,
                                    nbytes + !nbytes, 0);
  block->base.adr = (uintptr_t)ptr;
  return ptr ? umemOK
             : umem_error_fill(error, umemMemoryError, 0, 0,
                               "clSVMAlloc: the device has no %zu bytes",
                               nbytes);
}

static umemStatusType svm_free(struct umemiClSpace *space,
                               struct umemiClBlock const *block,
                               umemError *error) {
  (void)error;
  space->cl->clSVMFree(space->context, (void *)block->base.adr);
  return umemOK;
}

static clInt svm_memcpy(struct umemiClTurn const *turn, void *dest,
                        void const *src, size_t nbytes) {
  return turn->space->cl->clEnqueueSVMMemcpy(turn->queue, UMEMI_CL_TRUE, dest,
                                             src, nbytes, 0, NULL, NULL);
}

static clInt svm_read(struct umemiClTurn const *turn,
                      struct umemiClPlace const *at, void *out, size_t nbytes) {
  return svm_memcpy(turn, out, (void const *)at->adr, nbytes);
}

static clInt svm_write(struct umemiClTurn const *turn,
                       struct umemiClPlace const *at, void const *in,
                       size_t nbytes) {
  return svm_memcpy(turn, (void *)at->adr, in, nbytes);
}

static clInt svm_copy(struct umemiClTurn const *turn,
                      struct umemiClPlace const *src,
                      struct umemiClPlace const *dest, size_t nbytes) {
  return svm_memcpy(turn, (void *)dest->adr, (void const *)src->adr, nbytes);
}

static clInt svm_fill(struct umemiClTurn const *turn,
                      struct umemiClPlace const *at, unsigned char c,
                      size_t nbytes) {
  clEvent event;
  clInt code = turn->space->cl->clEnqueueSVMMemFill(
      turn->queue, (void *)at->adr, &c, 1, nbytes, 0, NULL, &event);
  return umemi_cl_wait(turn, code, event);
}

static clInt svm_set_arg(struct umemiClSpace *space, clKernel kernel,
                         clUint index, struct umemiClPlace const *at) {
  return space->cl->clSetKernelArgSVMPointer(kernel, index,
                                             (void const *)at->adr);
}

struct umemiClTier const umemi_cl_svm = {
    .number = umemOpenCLSvm,
    .name = "shared virtual memory",
    .names = {.read = "clEnqueueSVMMemcpy",
              .write = "clEnqueueSVMMemcpy",
              .fill = "clEnqueueSVMMemFill",
              .copy = "clEnqueueSVMMemcpy",
              .set_arg = "clSetKernelArgSVMPointer"},
    .find = svm_find,
    .alloc = svm_alloc,
    .free = svm_free,
    .read = svm_read,
    .write = svm_write,
    .fill = svm_fill,
    .copy = svm_copy,
    .set_arg = svm_set_arg};
