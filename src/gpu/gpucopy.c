/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies between host memory and a GPU. Short ones are one call of the driver.
 * From and to pinned memory the GPU moves the bytes itself; what can be paged
 * out goes through two pinned slots of a lane, of which one is moved while the
 * other is filled or emptied. Large copies come here in pieces, from several
 * threads at once (lanes.c). The caller's memory is never pinned behind his
 * back: that is slow, fails where he did it himself, and outlives mistakes.
 */
#include "gpu.h"

/* Is it moved without slots? */
static umemStatusType copy_is_direct(struct umemiGpu *gpu, void const *host,
                                     size_t nbytes, bool *direct_out,
                                     umemError *error) {
  bool is_pageable = false;
  umemStatusType status = umemOK;
  if (nbytes >= umemi_tuning()->gpu_ring_from)
    status = gpu->ops->is_pageable((uintptr_t)host, &is_pageable, error);
  *direct_out = !is_pageable;
  return status;
}

/* Without slots the driver stages by itself. */
static umemStatusType lane_slots(struct umemiGpu *gpu,
                                 struct umemiGpuLane *lane) {
  umemError ignored;
  void *slots;
  if (lane->slots)
    return umemOK;
  umemStatusType status =
      gpu->ops->host_alloc(2 * (size_t)UMEMI_GPU_SLOT, false, &slots, &ignored);
  if (status == umemOK)
    lane->slots = slots;
  return status;
}

static size_t piece_at(size_t nbytes, size_t offset) {
  size_t left = nbytes - offset;
  return left < UMEMI_GPU_SLOT ? left : UMEMI_GPU_SLOT;
}

static umemStatusType ring_write(struct umemiGpu *gpu,
                                 struct umemiGpuLane *lane, uintptr_t adr,
                                 char const *in, size_t nbytes,
                                 umemError *error) {
  struct umemiGpuOps const *ops = gpu->ops;
  umemStatusType status = umemOK;
  for (size_t at = 0, i = 0; status == umemOK && at < nbytes;
       at += UMEMI_GPU_SLOT, i++) {
    char *slot = lane->slots + i % 2 * UMEMI_GPU_SLOT;
    size_t piece = piece_at(nbytes, at);
    if (i >= 2)
      status = ops->event_wait(lane->drained[i % 2], error);
    if (status != umemOK)
      break;
    memcpy(slot, in + at, piece);
    status = ops->write(adr + at, slot, piece, lane->stream, error);
    if (status == umemOK)
      status = ops->event_record(lane->drained[i % 2], lane->stream, error);
  }
  return status;
}

/* Begins to read piece number `i`, if there is one. */
static umemStatusType ring_fetch(struct umemiGpu *gpu,
                                 struct umemiGpuLane *lane, uintptr_t adr,
                                 size_t nbytes, size_t i, umemError *error) {
  size_t at = i * UMEMI_GPU_SLOT;
  if (at >= nbytes)
    return umemOK;
  umemStatusType status =
      gpu->ops->read(adr + at, lane->slots + i % 2 * UMEMI_GPU_SLOT,
                     piece_at(nbytes, at), lane->stream, error);
  return status == umemOK
             ? gpu->ops->event_record(lane->drained[i % 2], lane->stream, error)
             : status;
}

static umemStatusType ring_read(struct umemiGpu *gpu, struct umemiGpuLane *lane,
                                uintptr_t adr, char *out, size_t nbytes,
                                umemError *error) {
  umemStatusType status = ring_fetch(gpu, lane, adr, nbytes, 0, error);
  for (size_t at = 0, i = 0; status == umemOK && at < nbytes;
       at += UMEMI_GPU_SLOT, i++) {
    status = ring_fetch(gpu, lane, adr, nbytes, i + 1, error);
    if (status == umemOK)
      status = gpu->ops->event_wait(lane->drained[i % 2], error);
    if (status == umemOK)
      umemi_host_deliver(out + at, lane->slots + i % 2 * UMEMI_GPU_SLOT,
                         piece_at(nbytes, at), nbytes);
  }
  return status;
}

/* Bytes that go one way. */
struct way {
  uintptr_t adr;
  void const *in; /* or */
  void *out;
  size_t nbytes;
};

/* In the default stream; false in *done_out where it is not free for it. */
static umemStatusType copy_now(struct umemiGpu *gpu, struct way const *way,
                               bool *done_out, umemError *error) {
  struct umemiGpuOps const *ops = gpu->ops;
  struct umemiGpuVisit visit;
  umemStatusType status = umemi_gpu_enter(gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = ops->stream_is_free(NULL, done_out, error);
  if (status == umemOK && *done_out)
    status = way->in ? ops->write_now(way->adr, way->in, way->nbytes, error)
                     : ops->read_now(way->adr, way->out, way->nbytes, error);
  return umemi_gpu_leave(&visit, status, error);
}

static umemStatusType copy_in_turn(struct umemiGpu *gpu,
                                   struct umemiGpuLane *lane,
                                   struct way const *way, umemError *error) {
  struct umemiGpuOps const *ops = gpu->ops;
  bool direct;
  umemStatusType status = copy_is_direct(gpu, way->in ? way->in : way->out,
                                         way->nbytes, &direct, error);
  if (status != umemOK)
    return status;
  direct = direct || lane_slots(gpu, lane) != umemOK;
  if (way->in && direct)
    return ops->write(way->adr, way->in, way->nbytes, lane->stream, error);
  if (way->in)
    return ring_write(gpu, lane, way->adr, way->in, way->nbytes, error);
  if (direct)
    return ops->read(way->adr, way->out, way->nbytes, lane->stream, error);
  return ring_read(gpu, lane, way->adr, way->out, way->nbytes, error);
}

static umemStatusType copy(struct umemiGpu *gpu, umemiGpuStream after,
                           struct way const *way, umemError *error) {
  struct umemiGpuTurn turn;
  umemStatusType status;
  bool done = false;
  if (!after && way->nbytes < umemi_tuning()->gpu_stream_from) {
    status = copy_now(gpu, way, &done, error);
    if (status != umemOK || done)
      return status;
  }
  status = umemi_gpu_begin(gpu, after, &turn, error);
  if (status != umemOK)
    return status;
  status = copy_in_turn(gpu, turn.lane, way, error);
  return umemi_gpu_end(&turn, status, error);
}

umemStatusType umemi_gpu_write(struct umemiGpu *gpu, umemiGpuStream after,
                               uintptr_t adr, void const *in, size_t nbytes,
                               umemError *error) {
  struct way way = {.adr = adr, .in = in, .nbytes = nbytes};
  return copy(gpu, after, &way, error);
}

umemStatusType umemi_gpu_read(struct umemiGpu *gpu, umemiGpuStream after,
                              uintptr_t adr, void *out, size_t nbytes,
                              umemError *error) {
  struct way way = {.adr = adr, .out = out, .nbytes = nbytes};
  return copy(gpu, after, &way, error);
}
