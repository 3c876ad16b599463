/* SPDX-License-Identifier: BSD-3-Clause */
/* Pools: memory that is allocated and freed in the order of streams. */
#include "inner.h"

#include <stdlib.h>
#include <string.h>

static struct pool *pools;

/* --- bytes ---------------------------------------------------------------- */

static size_t smaller(size_t a, size_t b) {
  return a < b ? a : b;
}

bool sim_pool_take(struct pool *pool, size_t nbytes) {
  size_t again = smaller(pool->cached, nbytes);
  if (pool->most && nbytes > pool->most - smaller(pool->live, pool->most))
    return false;
  pool->cached -= again;
  if (!sim_device_take(&sim.devices[pool->device], nbytes - again)) {
    pool->cached += again;
    return false;
  }
  pool->live += nbytes;
  return true;
}

static void pool_trim(struct pool *pool, size_t keep) {
  if (pool->cached <= keep)
    return;
  sim.devices[pool->device].used -= pool->cached - keep;
  pool->cached = keep;
}

void sim_pools_trim(int device, bool all) {
  for (struct pool *pool = pools; pool; pool = pool->next)
    if (pool->device == device)
      pool_trim(pool, all ? 0 : (size_t)pool->threshold);
}

/* The last block of a destroyed pool takes it along. */
static void pool_release(struct pool *pool) {
  struct pool **link = &pools;
  pool_trim(pool, 0);
  while (*link != pool)
    link = &(*link)->next;
  *link = pool->next;
  free(pool);
}

void sim_pool_put(struct pool *pool, size_t nbytes) {
  pool->live -= nbytes;
  pool->cached += nbytes;
  if (pool->destroyed && !pool->live)
    pool_release(pool);
}

/* --- calls ---------------------------------------------------------------- */

#if SIMCU_VERSION >= 11040
static cuCode properties_check(cuPoolProps const *properties) {
  int supported = UMEMI_CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
  if (!properties ||
      properties->allocType != UMEMI_CU_MEM_ALLOCATION_TYPE_PINNED ||
      properties->location.type != UMEMI_CU_MEM_LOCATION_TYPE_DEVICE ||
      !sim_is_device(properties->location.id))
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  return sim.devices[properties->location.id].attributes[supported] == 1
             ? UMEMI_CUDA_SUCCESS
             : UMEMI_CUDA_ERROR_NOT_SUPPORTED;
}

cuCode cuMemPoolCreate(cuPool *pool_out, cuPoolProps const *properties) {
  ENTER(cuMemPoolCreate, NOTHING);
  cuCode code = properties_check(properties);
  if (code)
    return sim_leave(code);
  struct pool *pool = sim_new(sizeof *pool);
  pool->device = properties->location.id;
  pool->most = properties->maxSize;
  pool->next = pools;
  pools = pool;
  sim_object_add(&pool->object, OBJECT_POOL, SIMCU_POOLS);
  *pool_out = (cuPool)pool->object.handle;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

static cuCode pool_find(cuPool handle, struct pool **pool_out) {
  *pool_out = sim_object(handle, OBJECT_POOL);
  return *pool_out ? UMEMI_CUDA_SUCCESS
                   : REFUSED("pool %#zx is not live", (size_t)handle);
}

cuCode cuMemPoolDestroy(cuPool pool) {
  ENTER(cuMemPoolDestroy, NOTHING);
  struct pool *found;
  cuCode code = pool_find(pool, &found);
  if (code)
    return sim_leave(code);
  sim_object_remove(&found->object);
  found->destroyed = true;
  if (!found->live)
    pool_release(found);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* 1 to 3 are how memory is used again: it always is as early as possible. */
cuCode cuMemPoolSetAttribute(cuPool pool, cuPoolAttribute what, void *value) {
  ENTER(cuMemPoolSetAttribute, NOTHING);
  struct pool *found;
  cuCode code = pool_find(pool, &found);
  if (!code &&
      (!value || what < 1 || what > UMEMI_CU_MEMPOOL_ATTR_RELEASE_THRESHOLD))
    code = UMEMI_CUDA_ERROR_INVALID_VALUE;
  if (!code && what == UMEMI_CU_MEMPOOL_ATTR_RELEASE_THRESHOLD)
    memcpy(&found->threshold, value, sizeof found->threshold);
  return sim_leave(code);
}

/* Capture would make it a node of the graph. */
static cuCode stream_for_memory(cuStream handle, struct stream **stream_out) {
  cuCode code = sim_stream(handle, stream_out);
  if (code || (*stream_out)->capture == UMEMI_CU_STREAM_CAPTURE_STATUS_NONE)
    return code;
  sim_capture_broken(*stream_out);
  return UMEMI_CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

/* If need be it waits for what is freed in streams. */
static struct block *pool_block(struct pool *pool, struct stream *stream,
                                size_t nbytes) {
  struct block *block = sim_block_device(nbytes, stream->context, pool);
  if (block)
    return block;
  sim_all_wait();
  return sim_block_device(nbytes, stream->context, pool);
}

static cuCode pool_alloc(struct pool *pool, struct stream *stream,
                         size_t nbytes, cuAddress *adr_out) {
  if (!nbytes || pool->device != stream->context->device)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  struct block *block = pool_block(pool, stream, nbytes);
  if (!block)
    return UMEMI_CUDA_ERROR_OUT_OF_MEMORY;
  block->birth = sim_op_keep(sim_op(OP_BIRTH, stream));
  sim_queue(stream, block->birth);
  *adr_out = block->start;
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuMemAllocFromPoolAsync(cuAddress *adr_out, size_t nbytes, cuPool pool,
                               cuStream stream) {
  ENTER(cuMemAllocFromPoolAsync, IN_CONTEXT);
  struct pool *found;
  struct stream *into;
  cuCode code = pool_find(pool, &found);
  if (!code)
    code = stream_for_memory(stream, &into);
  return sim_leave(code ? code : pool_alloc(found, into, nbytes, adr_out));
}

static cuCode free_later(struct stream *stream, struct block *block) {
  if (block->kind != SIMCU_POOLED && block->kind != SIMCU_DEVICE)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  struct op *op = sim_op(OP_DEATH, stream);
  op->dest.block = block;
  sim_op_after(op, block->birth);
  block->dying = true;
  sim.live[block->kind]--;
  sim_queue(stream, op);
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuMemFreeAsync(cuAddress adr, cuStream stream) {
  ENTER(cuMemFreeAsync, IN_CONTEXT);
  struct stream *into;
  cuCode code = stream_for_memory(stream, &into);
  if (code)
    return sim_leave(code);
  struct block *block = adr ? sim_block_to_free((uintptr_t)adr, false) : NULL;
  return sim_leave(block ? free_later(into, block)
                         : UMEMI_CUDA_ERROR_INVALID_VALUE);
}
#endif
