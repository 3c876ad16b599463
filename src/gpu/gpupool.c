/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocks of pools: freed in the order of streams, and allocated at once. */
#include "gpu.h"

/* In the order of the stream that work comes after: nobody waits for it. False
   in *done_out while that is being captured: the graph would free the block. */
static umemStatusType pool_give(struct umemiGpuState *own, uintptr_t adr,
                                bool *done_out, umemError *error) {
  struct umemiGpuOps const *ops = own->gpu->ops;
  struct umemiGpuVisit visit;
  bool is_free = false;
  umemStatusType status = umemi_gpu_enter(own->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = ops->stream_is_free(own->after, &is_free, error);
  *done_out = status == umemOK && is_free;
  if (*done_out)
    status = ops->pool_give(adr, own->after, error);
  return umemi_gpu_leave(&visit, status, error);
}

/* What comes after nothing is through at once. */
static umemStatusType pool_give_now(struct umemiGpuState *own, uintptr_t adr,
                                    umemError *error) {
  struct umemiGpuTurn turn;
  umemStatusType status = umemi_gpu_begin_at_once(own->gpu, &turn, error);
  if (status != umemOK)
    return status;
  status = own->gpu->ops->pool_give(adr, turn.lane->stream, error);
  return umemi_gpu_end(&turn, status, error);
}

/* As nobody will know of it afterwards, what fails before is tried twice. */
umemStatusType umemi_gpu_pool_free(struct umemiGpuState *own, uintptr_t adr,
                                   umemError *error) {
  bool done = false;
  umemStatusType status = pool_give(own, adr, &done, error);
  if (!done && status != umemOK)
    status = pool_give(own, adr, &done, error);
  if (!done && status == umemOK)
    status = pool_give_now(own, adr, error);
  return status;
}

/* What is to be freed is free. */
static bool pool_wait(struct umemiGpuState *own, struct umemiGpuTurn *turn) {
  umemError ignored;
  return umemi_gpu_order(turn, own->after, &ignored) == umemOK &&
         own->gpu->ops->stream_wait(turn->lane->stream, &ignored) == umemOK;
}

/* The driver gives out nothing that is still to be freed: where memory is short
   that is waited for, once. */
static umemStatusType pool_take(struct umemiGpuState *own,
                                struct umemiGpuTurn *turn, size_t nbytes,
                                uintptr_t *adr_out, umemError *error) {
  struct umemiGpuOps const *ops = own->gpu->ops;
  umemiGpuStream stream = turn->lane->stream;
  umemStatusType status =
      ops->pool_alloc(own->pool, nbytes, stream, adr_out, error);
  if (status == umemMemoryError && pool_wait(own, turn))
    status = ops->pool_alloc(own->pool, nbytes, stream, adr_out, error);
  return status;
}

/* Through when it returns, so that any stream can use it. */
umemStatusType umemi_gpu_pool_alloc(struct umemiGpuState *own, size_t nbytes,
                                    uintptr_t *adr_out, umemError *error) {
  struct umemiGpuTurn turn;
  umemError ignored;
  umemStatusType status = umemi_gpu_begin_at_once(own->gpu, &turn, error);
  if (status != umemOK)
    return status;
  status = pool_take(own, &turn, nbytes, adr_out, error);
  umemStatusType ended = umemi_gpu_end(&turn, status, error);
  if (status == umemOK && ended != umemOK)
    umemi_gpu_pool_free(own, *adr_out, &ignored); /* nobody will know of it */
  return ended;
}
