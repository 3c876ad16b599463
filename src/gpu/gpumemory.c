/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes at any device address of the process. Work in the context of one device
 * on memory of another is refused by the driver, or ends the context, unless
 * there is peer access: so it is done where the memory is.
 */
#include "gpu.h"

/* The device stays in use until the context ends, or needs the place for
   another one: the next piece of a copy is there, too. */
static umemStatusType place_keep(struct umemiGpuState *own,
                                 struct umemiGpu *gpu, umemError *error) {
  _Atomic(struct umemiGpu *) *kept =
      &own->others[gpu->number % UMEMI_GPU_OTHERS];
  if (atomic_load(kept) == gpu)
    return umemOK;
  umemi_gpu_keep(gpu);
  struct umemiGpu *before = atomic_exchange(kept, gpu);
  return before ? umemi_gpu_close(before, error) : umemOK;
}

umemStatusType umemi_gpu_let_go(struct umemiGpuState *own, umemError *error) {
  umemStatusType first = umemOK;
  umemError later;
  for (int i = 0; i < UMEMI_GPU_OTHERS; i++) {
    struct umemiGpu *gpu = atomic_exchange(&own->others[i], NULL);
    umemStatusType status =
        gpu ? umemi_gpu_close(gpu, first == umemOK ? error : &later) : umemOK;
    first = first == umemOK ? status : first;
  }
  return first;
}

/* The context's own order is kept: what its stream holds comes first. */
static umemStatusType place_move(struct umemiGpuState *own, int number,
                                 struct umemiGpuPlace *place,
                                 umemError *error) {
  umemStatusType status = umemi_gpu_settle(own, error);
  if (status == umemOK)
    status =
        umemi_gpu_open(own->gpu->ops, number, &place->elsewhere.gpu, error);
  if (status != umemOK)
    return status;
  place->elsewhere.peers = own->peers;
  place->at = &place->elsewhere;
  return place_keep(own, place->elsewhere.gpu, error);
}

/* What other devices do with the memory comes first, too. */
static umemStatusType place_settle(struct umemiGpu *gpu, bool is_shared,
                                   umemError *error) {
  return is_shared ? umemi_gpu_settle_others(gpu, error)
                   : umemi_gpu_settle_peers(gpu, error);
}

umemStatusType umemi_gpu_find(struct umemiGpuState *own, uintptr_t adr,
                              struct umemiGpuPlace *place_out,
                              umemError *error) {
  struct umemiGpuOps const *ops = own->gpu->ops;
  int number = -1;
  *place_out = (struct umemiGpuPlace){.at = own};
  if (own->gpu->count < 2)
    return umemOK;
  umemStatusType status = umemi_driver_guard(ops->driver, error);
  if (status == umemOK && !umemi_gpu_has_imported(own->gpu, adr))
    status = ops->device_of(adr, &number, error);
  if (status == umemOK && number >= 0 && number != own->gpu->number)
    status = place_move(own, number, place_out, error);
  if (status == umemOK && !own->after)
    status =
        place_settle(place_out->at->gpu, number == UMEMI_GPU_SHARED, error);
  return status;
}

umemStatusType umemi_gpu_found(struct umemiGpuPlace *place,
                               umemStatusType status, umemError *error) {
  umemError later;
  if (place->at != &place->elsewhere)
    return status;
  umemStatusType closed =
      umemi_gpu_close(place->elsewhere.gpu, status == umemOK ? error : &later);
  return status == umemOK ? closed : status;
}

umemStatusType umemi_gpu_mem_read(struct umemiGpuState *own, uintptr_t adr,
                                  void *out, size_t nbytes, umemError *error) {
  struct umemiGpuPlace place;
  umemStatusType status = umemi_gpu_find(own, adr, &place, error);
  if (status == umemOK)
    status =
        umemi_gpu_read(place.at->gpu, place.at->after, adr, out, nbytes, error);
  return umemi_gpu_found(&place, status, error);
}

umemStatusType umemi_gpu_mem_write(struct umemiGpuState *own, uintptr_t adr,
                                   void const *in, size_t nbytes,
                                   umemError *error) {
  struct umemiGpuPlace place;
  umemStatusType status = umemi_gpu_find(own, adr, &place, error);
  if (status == umemOK)
    status =
        umemi_gpu_write(place.at->gpu, place.at->after, adr, in, nbytes, error);
  return umemi_gpu_found(&place, status, error);
}

static umemStatusType place_set(struct umemiGpuState *at, uintptr_t adr, int c,
                                size_t nbytes, umemError *error) {
  struct umemiGpuTurn turn;
  umemStatusType status = umemi_gpu_begin(at->gpu, at->after, &turn, error);
  if (status != umemOK)
    return status;
  status = at->gpu->ops->set(adr, (unsigned char)c, nbytes, turn.lane->stream,
                             error);
  return umemi_gpu_end(&turn, status, error);
}

umemStatusType umemi_gpu_mem_set(struct umemiGpuState *own, uintptr_t adr,
                                 int c, size_t nbytes, umemError *error) {
  struct umemiGpuPlace place;
  umemStatusType status = umemi_gpu_find(own, adr, &place, error);
  if (status == umemOK)
    status = place_set(place.at, adr, c, nbytes, error);
  return umemi_gpu_found(&place, status, error);
}
