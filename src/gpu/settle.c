/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Waiting for what other devices still do: the default stream of one says
 * nothing about the others. Pinned and managed memory is within the reach of
 * all of them, a copy between two devices may be in a queue of either, and with
 * peer access kernels of one use the memory of another.
 */
#include "gpu.h"

/* What is in the default stream, and so in all blocking ones; while one of them
   is being captured nothing can be waited for. */
static umemStatusType settle_event(struct umemiGpuOps const *ops,
                                   umemiGpuEvent event, umemError *error) {
  bool is_free = false;
  umemStatusType status = ops->stream_is_free(NULL, &is_free, error);
  if (status != umemOK || !is_free)
    return status;
  status = ops->event_record(event, NULL, error);
  return status == umemOK ? ops->event_wait(event, error) : status;
}

/* A device that answers nothing but an earlier error does nothing any more. */
static umemStatusType settle_unless_broken(struct umemiGpu const *gpu,
                                           umemStatusType status,
                                           umemError const *error) {
  return status != umemOK && gpu->ops->is_sticky(error->native) ? umemOK
                                                                : status;
}

static umemStatusType settle_visited(struct umemiGpuOps const *ops,
                                     umemError *error) {
  umemError later;
  umemiGpuEvent event = NULL;
  umemStatusType status = ops->event_new(&event, error);
  if (status == umemOK)
    status = settle_event(ops, event, error);
  umemStatusType freed =
      event ? ops->event_free(event, status == umemOK ? error : &later)
            : umemOK;
  return status == umemOK ? freed : status;
}

static umemStatusType settle_inside(struct umemiGpu *gpu, umemError *error) {
  struct umemiGpuVisit visit;
  umemStatusType status = umemi_gpu_enter(gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = settle_visited(gpu->ops, error);
  status = settle_unless_broken(gpu, status, error);
  return umemi_gpu_leave(&visit, status, error);
}

/* A device that the rest of the program uses: its context is there. */
static umemStatusType settle_stranger(struct umemiGpuOps const *ops, int number,
                                      umemError *error) {
  struct umemiGpu passing = {.ops = ops, .number = number};
  umemError later;
  bool is_active = false;
  umemStatusType status = ops->is_active(number, &is_active, error);
  if (status != umemOK || !is_active)
    return status;
  status = ops->retain(&passing, error);
  if (status != umemOK)
    return status;
  status = umemi_gpu_given(&passing, settle_inside(&passing, error));
  if (atomic_load(&passing.lost))
    return status;
  umemStatusType released =
      ops->release(number, status == umemOK ? error : &later);
  return status == umemOK ? released : status;
}

/* A reset ended its work, too. */
static umemStatusType settle_used(struct umemiGpu *gpu, umemError *error) {
  umemError later;
  umemStatusType status = umemi_gpu_given(gpu, settle_inside(gpu, error));
  umemStatusType closed =
      umemi_gpu_close(gpu, status == umemOK ? error : &later);
  return status == umemOK ? closed : status;
}

static umemStatusType settle_one(struct umemiGpuOps const *ops, int number,
                                 umemError *error) {
  struct umemiGpu *gpu = umemi_gpu_use(number);
  umemStatusType status =
      gpu ? settle_used(gpu, error) : settle_stranger(ops, number, error);
  if (status != umemOK) {
    size_t const used = strlen(error->text);
    snprintf(error->text + used, sizeof error->text - used,
             ", of device %d, whose work comes first", number);
  }
  return status;
}

/* All of them, whichever fails: the first failure is the result. */
static umemStatusType settle_each(struct umemiGpu *gpu, uint64_t numbers,
                                  umemError *error) {
  umemStatusType first = umemOK;
  umemError later;
  for (int i = 0; i < gpu->count; i++) {
    if (i == gpu->number || !(numbers >> i & 1))
      continue;
    umemStatusType status =
        settle_one(gpu->ops, i, first == umemOK ? error : &later);
    first = first == umemOK ? status : first;
  }
  return first;
}

umemStatusType umemi_gpu_settle_others(struct umemiGpu *gpu, umemError *error) {
  return settle_each(gpu, UINT64_MAX, error);
}

umemStatusType umemi_gpu_settle_peers(struct umemiGpu *gpu, umemError *error) {
  return settle_each(gpu, atomic_load(&gpu->reached_by), error);
}
