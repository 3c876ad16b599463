/* SPDX-License-Identifier: BSD-3-Clause */
/* The tier of unified shared memory: device memory with pointers of the driver,
   which the host cannot follow. */
#include "opencl.h"

/* False: the platform lacks one. */
static bool usm_load(struct umemiClSpace *space) {
#define FUNCTION(result, name, parameters, arguments)                          \
  {#name, offsetof(struct umemiClUsm, name)},
  static struct {
    char const *name;
    size_t offset;
  } const functions[] = {UMEMI_CL_USM(FUNCTION)};
#undef FUNCTION
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *found = space->cl->clGetExtensionFunctionAddressForPlatform(
        space->platform, functions[i].name);
    if (!found)
      return false;
    memcpy((char *)&space->usm + functions[i].offset, &found, sizeof found);
  }
  return true;
}

static clInt usm_find(struct umemiClSpace *space) {
  struct umemiCl const *cl = space->cl;
  clBits has = 0;
  clInt code = cl->clGetDeviceInfo(
      space->device, UMEMI_CL_DEVICE_DEVICE_MEM_CAPABILITIES_INTEL, sizeof has,
      &has, NULL);
  if (code != UMEMI_CL_SUCCESS)
    return code;
  if (!(has & (clBits)UMEMI_CL_UNIFIED_SHARED_MEMORY_ACCESS_INTEL))
    return UMEMI_CL_INVALID_VALUE;
  return usm_load(space) ? UMEMI_CL_SUCCESS : UMEMI_CL_INVALID_VALUE;
}

static umemStatusType usm_alloc(struct umemiClTurn const *turn,
                                struct umemiClBlock *block, umemError *error) {
  struct umemiClSpace *space = turn->space;
  size_t nbytes = block->base.nbytes;
  clInt code = UMEMI_CL_SUCCESS;
  void *ptr = space->usm.clDeviceMemAllocINTEL(
      space->context, space->device, NULL, nbytes + !nbytes, 0, &code);
  block->base.adr = (uintptr_t)ptr;
  if (!ptr && code == UMEMI_CL_SUCCESS)
    code = UMEMI_CL_MEM_OBJECT_ALLOCATION_FAILURE;
  return umemi_cl_failed(umemMemoryError, code, "clDeviceMemAllocINTEL", error);
}

/* Not clMemBlockingFreeINTEL(): who frees has waited, and PoCL 6 crashes in it
   where threads use other queues. */
static umemStatusType usm_free(struct umemiClSpace *space,
                               struct umemiClBlock const *block,
                               umemError *error) {
  clInt code =
      space->usm.clMemFreeINTEL(space->context, (void *)block->base.adr);
  return umemi_cl_failed(umemRuntimeError, code, "clMemFreeINTEL", error);
}

static clInt usm_memcpy(struct umemiClTurn const *turn, void *dest,
                        void const *src, size_t nbytes) {
  return turn->space->usm.clEnqueueMemcpyINTEL(turn->queue, UMEMI_CL_TRUE, dest,
                                               src, nbytes, 0, NULL, NULL);
}

static clInt usm_read(struct umemiClTurn const *turn,
                      struct umemiClPlace const *at, void *out, size_t nbytes) {
  return usm_memcpy(turn, out, (void const *)at->adr, nbytes);
}

static clInt usm_write(struct umemiClTurn const *turn,
                       struct umemiClPlace const *at, void const *in,
                       size_t nbytes) {
  return usm_memcpy(turn, (void *)at->adr, in, nbytes);
}

static clInt usm_copy(struct umemiClTurn const *turn,
                      struct umemiClPlace const *src,
                      struct umemiClPlace const *dest, size_t nbytes) {
  return usm_memcpy(turn, (void *)dest->adr, (void const *)src->adr, nbytes);
}

static clInt usm_fill(struct umemiClTurn const *turn,
                      struct umemiClPlace const *at, unsigned char c,
                      size_t nbytes) {
  clEvent event;
  clInt code = turn->space->usm.clEnqueueMemFillINTEL(
      turn->queue, (void *)at->adr, &c, 1, nbytes, 0, NULL, &event);
  return umemi_cl_wait(turn, code, event);
}

static clInt usm_set_arg(struct umemiClSpace *space, clKernel kernel,
                         clUint index, struct umemiClPlace const *at) {
  return space->usm.clSetKernelArgMemPointerINTEL(kernel, index,
                                                  (void const *)at->adr);
}

struct umemiClTier const umemi_cl_usm = {
    .number = umemOpenCLUsm,
    .name = "unified shared memory (cl_intel_unified_shared_memory)",
    .names = {.read = "clEnqueueMemcpyINTEL",
              .write = "clEnqueueMemcpyINTEL",
              .fill = "clEnqueueMemFillINTEL",
              .copy = "clEnqueueMemcpyINTEL",
              .set_arg = "clSetKernelArgMemPointerINTEL"},
    .find = usm_find,
    .alloc = usm_alloc,
    .free = usm_free,
    .read = usm_read,
    .write = usm_write,
    .fill = usm_fill,
    .copy = usm_copy,
    .set_arg = usm_set_arg};
