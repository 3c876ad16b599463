/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of devices and of the host that programs allocate, and questions about
   addresses. */
#include "inner.h"

#include <string.h>

/* --- freeing -------------------------------------------------------------- */

/* The work is done first: the real driver would wait for it in most cases. */
cuCode sim_free(struct block *block) {
  if (block->pending) {
    sim_violation("%#zx is freed while queued work uses it",
                  (size_t)block->start);
    sim_block_wait(block);
  }
  sim_block_remove(block);
  return UMEMI_CUDA_SUCCESS;
}

struct block *sim_block_to_free(uintptr_t start, bool of_host) {
  struct block *block = sim_block_find(start, 1);
  if (!block)
    sim_violation("free of %#zx, where no block is live", (size_t)start);
  else if (block->start != start)
    sim_violation("free of %#zx inside the block at %#zx", (size_t)start,
                  (size_t)block->start);
  else if (block->dying)
    sim_violation("double free of %#zx", (size_t)start);
  else if (block->kind == SIMCU_REGISTERED || block->kind == SIMCU_IMPORTED ||
           (block->kind == SIMCU_PINNED) != of_host)
    sim_violation("free of %#zx by the wrong function", (size_t)start);
  else
    return block;
  return NULL;
}

/* Nothing is freed, as by free(). */
static cuCode memory_free(uintptr_t start) {
  if (!start)
    return UMEMI_CUDA_SUCCESS;
  struct block *block = sim_block_to_free(start, false);
  if (!block)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  if (block->device != sim_current()->device)
    sim_violation("%#zx of device %d is freed in a context of device %d",
                  (size_t)start, block->device, sim_current()->device);
  return sim_free(block);
}

cuCode cuMemFree_v2(cuAddress adr) {
  ENTER(cuMemFree_v2, IN_CONTEXT | UNSAFE);
  return sim_leave(memory_free((uintptr_t)adr));
}

cuCode cuMemFreeHost(void *ptr) {
  ENTER(cuMemFreeHost, IN_CONTEXT | UNSAFE);
  if (!ptr)
    return sim_leave(UMEMI_CUDA_SUCCESS);
  struct block *block = sim_block_to_free((uintptr_t)ptr, true);
  return sim_leave(block ? sim_free(block) : UMEMI_CUDA_ERROR_INVALID_VALUE);
}

static bool is_host(struct block const *block) {
  return block->kind == SIMCU_PINNED || block->kind == SIMCU_REGISTERED;
}

/* --- allocation ----------------------------------------------------------- */

cuCode cuMemAlloc_v2(cuAddress *adr_out, size_t nbytes) {
  ENTER(cuMemAlloc_v2, IN_CONTEXT | UNSAFE);
  if (!adr_out || !nbytes)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  struct block *block = sim_block_device(nbytes, sim_current(), NULL);
  if (!block)
    return sim_leave(UMEMI_CUDA_ERROR_OUT_OF_MEMORY);
  *adr_out = block->start;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

static bool has_attribute(cuDeviceAttribute what) {
  return sim.devices[sim_current()->device].attributes[what] == 1;
}

cuCode cuMemAllocManaged(cuAddress *adr_out, size_t nbytes, unsigned flags) {
  ENTER(cuMemAllocManaged, IN_CONTEXT | UNSAFE);
  if (!adr_out || !nbytes ||
      (flags != UMEMI_CU_MEM_ATTACH_GLOBAL &&
       flags != UMEMI_CU_MEM_ATTACH_HOST))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  if (!has_attribute(UMEMI_CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY))
    return sim_leave(UMEMI_CUDA_ERROR_NOT_SUPPORTED);
  struct block *block = sim_block_host(nbytes, sim_current(), SIMCU_MANAGED);
  if (!block)
    return sim_leave(UMEMI_CUDA_ERROR_OUT_OF_MEMORY);
  block->of_host = flags == UMEMI_CU_MEM_ATTACH_HOST;
  sim_managed_update(block);
  *adr_out = block->start;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuMemHostAlloc(void **ptr_out, size_t nbytes, unsigned flags) {
  ENTER(cuMemHostAlloc, IN_CONTEXT | UNSAFE);
  if (!ptr_out || flags > 7)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  *ptr_out = NULL;
  if (!nbytes)
    return sim_leave(UMEMI_CUDA_SUCCESS);
  struct block *block = sim_block_host(nbytes, sim_current(), SIMCU_PINNED);
  if (!block)
    return sim_leave(UMEMI_CUDA_ERROR_OUT_OF_MEMORY);
  block->flags = flags | UMEMI_CU_MEMHOSTALLOC_DEVICEMAP;
  *ptr_out = (void *)block->start;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* The host's pointers are the devices', too. */
cuCode cuMemHostGetDevicePointer_v2(cuAddress *adr_out, void *ptr,
                                    unsigned flags) {
  ENTER(cuMemHostGetDevicePointer_v2, IN_CONTEXT);
  struct block const *block = sim_block_find((uintptr_t)ptr, 1);
  if (flags || !block || !is_host(block))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  *adr_out = (uintptr_t)ptr;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuMemHostGetFlags(unsigned *flags_out, void *ptr) {
  ENTER(cuMemHostGetFlags, IN_CONTEXT);
  struct block const *block = sim_block_find((uintptr_t)ptr, 1);
  if (!block || block->kind != SIMCU_PINNED)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  *flags_out = block->flags;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* --- questions ------------------------------------------------------------ */

cuCode cuMemGetInfo_v2(size_t *free_out, size_t *total_out) {
  ENTER(cuMemGetInfo_v2, IN_CONTEXT);
  struct device const *device = &sim.devices[sim_current()->device];
  *free_out = device->capacity - device->used;
  *total_out = device->capacity;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuMemGetAddressRange_v2(cuAddress *start_out, size_t *nbytes_out,
                               cuAddress adr) {
  ENTER(cuMemGetAddressRange_v2, IN_CONTEXT);
  struct block const *block = sim_block_find((uintptr_t)adr, 1);
  if (!block || (block->kind == SIMCU_IMPORTED && !sim.ipc_range))
    return sim_leave(UMEMI_CUDA_ERROR_NOT_FOUND);
  if (start_out)
    *start_out = block->start;
  if (nbytes_out)
    *nbytes_out = block->nbytes;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

static void put_unsigned(void *out, unsigned value) {
  memcpy(out, &value, sizeof value);
}

/* `block` may be NULL: pageable. */
static cuCode attribute_get(void *out, cuPointerAttribute what,
                            struct block const *block) {
  unsigned type = UMEMI_CU_MEMORYTYPE_DEVICE;
  if (!block)
    type = 0;
  else if (is_host(block))
    type = UMEMI_CU_MEMORYTYPE_HOST;
  switch (what) {
  case UMEMI_CU_POINTER_ATTRIBUTE_CONTEXT: /* of a pool's memory there is none
                                            */
    *(cuContext *)out =
        block && !block->pool ? (cuContext)block->context->object.handle : NULL;
    return UMEMI_CUDA_SUCCESS;
  case UMEMI_CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    put_unsigned(out, type);
    return UMEMI_CUDA_SUCCESS;
  case UMEMI_CU_POINTER_ATTRIBUTE_IS_MANAGED:
    put_unsigned(out, block && block->kind == SIMCU_MANAGED);
    return UMEMI_CUDA_SUCCESS;
  case UMEMI_CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
    *(int *)out = block ? block->device : -2;
    return UMEMI_CUDA_SUCCESS;
  case SIM_POINTER_BUFFER_ID:
    *(unsigned long long *)out = block ? block->serial : 0;
    return UMEMI_CUDA_SUCCESS;
  case SIM_POINTER_RANGE_START:
    *(cuAddress *)out = block ? block->start : 0;
    return UMEMI_CUDA_SUCCESS;
  case SIM_POINTER_RANGE_SIZE:
    *(size_t *)out = block ? block->nbytes : 0;
    return UMEMI_CUDA_SUCCESS;
  default:
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  }
}

cuCode cuPointerGetAttribute(void *value_out, cuPointerAttribute what,
                             cuAddress adr) {
  ENTER(cuPointerGetAttribute, NOTHING);
  struct block const *block = sim_block_find((uintptr_t)adr, 1);
  return sim_leave(block ? attribute_get(value_out, what, block)
                         : UMEMI_CUDA_ERROR_INVALID_VALUE);
}

cuCode cuPointerGetAttributes(unsigned count, cuPointerAttribute *which,
                              void **values_out, cuAddress adr) {
  ENTER(cuPointerGetAttributes, NOTHING);
  struct block const *block = sim_block_find((uintptr_t)adr, 1);
  cuCode code = count && which && values_out ? UMEMI_CUDA_SUCCESS
                                             : UMEMI_CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < count && !code; i++)
    code = attribute_get(values_out[i], which[i], block);
  return sim_leave(code);
}
