/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work on a GPU, in streams of the library, which wait for nothing by
 * themselves. A call is in the context while it works, and leaves the thread as
 * it was.
 */
#include "gpu.h"

/* --- visits --------------------------------------------------------------- */

static umemStatusType gpu_say_lost(umemError *error) {
  return umem_error_fill(
      error, umemRuntimeError, 0, 0,
      "the device was reset (cudaDeviceReset()), which ended "
      "all that was on it: construct the context anew");
}

static umemStatusType gpu_make_current(struct umemiGpu *gpu, bool *pushed_out,
                                       umemError *error) {
  bool gone = atomic_load(&gpu->lost);
  umemStatusType status = umemi_driver_guard(gpu->ops->driver, error);
  if (status == umemOK && !gone)
    status = gpu->ops->enter(gpu, pushed_out, &gone, error);
  if (status != umemOK || !gone)
    return status;
  umemi_gpu_lose(gpu);
  return gpu_say_lost(error);
}

umemStatusType umemi_gpu_enter(struct umemiGpu *gpu,
                               struct umemiGpuVisit *visit, umemError *error) {
  umemError ignored;
  *visit = (struct umemiGpuVisit){.gpu = gpu};
  umemStatusType status = gpu_make_current(gpu, &visit->pushed, error);
  if (status != umemOK)
    return status;
  status = gpu->ops->relax(&visit->mode, error);
  if (status != umemOK)
    gpu->ops->leave(visit->pushed, &ignored);
  return status;
}

/* All that comes after a sticky error is the same one, and tells nothing: the
   first one is told besides. */
static void gpu_note(struct umemiGpu *gpu, umemError *error) {
  static char const note[] = "; the first failure after which the device "
                             "answers nothing else was ";
  int none = 0, code = (int)error->native;
  if (!gpu->ops->is_sticky(code) || strstr(error->text, note))
    return;
  if (atomic_compare_exchange_strong(&gpu->broken, &none, code))
    return;
  size_t used = strlen(error->text);
  snprintf(error->text + used, sizeof error->text - used, "%s%d", note, none);
}

umemStatusType umemi_gpu_leave(struct umemiGpuVisit const *visit,
                               umemStatusType status, umemError *error) {
  struct umemiGpu *gpu = visit->gpu;
  umemError later;
  if (status != umemOK)
    gpu_note(gpu, error);
  umemStatusType restored =
      gpu->ops->restore(visit->mode, status == umemOK ? error : &later);
  status = status == umemOK ? restored : status;
  umemStatusType left =
      gpu->ops->leave(visit->pushed, status == umemOK ? error : &later);
  return status == umemOK ? left : status;
}

umemStatusType umemi_gpu_leave_with(struct umemiGpuVisit const *visit,
                                    umemStatusType status, umemiGpuGive *give,
                                    uintptr_t made, umemError *error) {
  struct umemiGpuVisit again;
  umemError ignored;
  umemStatusType left = umemi_gpu_leave(visit, status, error);
  if (status != umemOK || left == umemOK)
    return left;
  if (umemi_gpu_enter(visit->gpu, &again, &ignored) == umemOK) {
    give(made, &ignored);
    umemi_gpu_leave(&again, umemOK, &ignored);
  }
  return left;
}

/* --- lanes ---------------------------------------------------------------- */

/* What is queued in it may still use the slots. */
static void lane_free(struct umemiGpu *gpu, struct umemiGpuLane *lane) {
  struct umemiGpuOps const *ops = gpu->ops;
  umemError ignored;
  if (lane->stream)
    ops->stream_wait(lane->stream, &ignored);
  if (lane->slots)
    ops->host_free((uintptr_t)lane->slots, &ignored);
  if (lane->stream)
    ops->stream_free(lane->stream, &ignored);
  umemiGpuEvent const events[] = {lane->before, lane->drained[0],
                                  lane->drained[1]};
  for (size_t i = 0; i < sizeof events / sizeof *events; i++)
    if (events[i])
      ops->event_free(events[i], &ignored);
  free(lane);
}

static umemStatusType lane_new(struct umemiGpu *gpu,
                               struct umemiGpuLane **lane_out,
                               umemError *error) {
  struct umemiGpuOps const *ops = gpu->ops;
  struct umemiGpuLane *lane = umemi_os.calloc(1, sizeof *lane);
  if (!lane)
    return umemi_no_memory(error, "a lane to a GPU", sizeof *lane);
  umemStatusType status = ops->stream_new(&lane->stream, error);
  if (status == umemOK)
    status = ops->event_new(&lane->before, error);
  for (size_t i = 0; status == umemOK && i < 2; i++)
    status = ops->event_new(&lane->drained[i], error);
  if (status == umemOK)
    *lane_out = lane;
  else
    lane_free(gpu, lane);
  return status;
}

static umemStatusType lane_take(struct umemiGpu *gpu,
                                struct umemiGpuLane **lane_out,
                                umemError *error) {
  *lane_out = umemi_kept_take(gpu->lanes, UMEMI_GPU_LANES);
  return *lane_out ? umemOK : lane_new(gpu, lane_out, error);
}

static void lane_give(struct umemiGpu *gpu, struct umemiGpuLane *lane) {
  if (!umemi_kept_give(gpu->lanes, UMEMI_GPU_LANES, lane))
    lane_free(gpu, lane);
}

/* --- turns ---------------------------------------------------------------- */

/* What is being captured cannot be waited for; what a program does then is in
   streams that it knows. */
static umemStatusType turn_order(struct umemiGpu *gpu,
                                 struct umemiGpuLane *lane,
                                 umemiGpuStream after, umemError *error) {
  bool is_free = false;
  umemStatusType status = gpu->ops->stream_is_free(after, &is_free, error);
  if (status != umemOK || !is_free)
    return status;
  status = gpu->ops->event_record(lane->before, after, error);
  if (status == umemOK)
    status = gpu->ops->stream_follow(lane->stream, lane->before, error);
  return status;
}

umemStatusType umemi_gpu_begin_at_once(struct umemiGpu *gpu,
                                       struct umemiGpuTurn *turn,
                                       umemError *error) {
  umemStatusType status = umemi_gpu_enter(gpu, &turn->visit, error);
  if (status != umemOK)
    return status;
  status = lane_take(gpu, &turn->lane, error);
  if (status != umemOK)
    umemi_gpu_leave(&turn->visit, status, error);
  return status;
}

umemStatusType umemi_gpu_begin(struct umemiGpu *gpu, umemiGpuStream after,
                               struct umemiGpuTurn *turn, umemError *error) {
  umemStatusType status = umemi_gpu_begin_at_once(gpu, turn, error);
  if (status != umemOK)
    return status;
  status = turn_order(gpu, turn->lane, after, error);
  if (status == umemOK)
    return umemOK;
  lane_free(gpu, turn->lane);
  umemi_gpu_leave(&turn->visit, status, error);
  return status;
}

umemStatusType umemi_gpu_end(struct umemiGpuTurn *turn, umemStatusType status,
                             umemError *error) {
  struct umemiGpu *gpu = turn->visit.gpu;
  umemError later;
  umemStatusType waited = gpu->ops->stream_wait(
      turn->lane->stream, status == umemOK ? error : &later);
  status = status == umemOK ? waited : status;
  if (status == umemOK)
    lane_give(gpu, turn->lane);
  else
    lane_free(gpu, turn->lane);
  return umemi_gpu_leave(&turn->visit, status, error);
}

umemStatusType umemi_gpu_order(struct umemiGpuTurn *turn, umemiGpuStream after,
                               umemError *error) {
  return turn_order(turn->visit.gpu, turn->lane, after, error);
}

umemStatusType umemi_gpu_follow(struct umemiGpuTurn *turn, struct umemiGpu *gpu,
                                umemiGpuStream after, umemError *error) {
  struct umemiGpuTurn other;
  umemStatusType status = umemi_gpu_begin(gpu, after, &other, error);
  if (status != umemOK)
    return status;
  status =
      gpu->ops->stream_follow(turn->lane->stream, other.lane->before, error);
  return umemi_gpu_end(&other, status, error);
}

/* --- peers ---------------------------------------------------------------- */

bool umemi_gpu_reach(struct umemiGpu *gpu, struct umemiGpu *peer) {
  uint64_t bit = UINT64_C(1) << peer->number;
  struct umemiGpuVisit visit;
  umemError ignored;
  bool can = false;
  if (atomic_load(&gpu->peers) & bit)
    return true;
  umemStatusType status = umemi_gpu_enter(gpu, &visit, &ignored);
  if (status != umemOK)
    return false;
  status = gpu->ops->can_peer(gpu->number, peer->number, &can, &ignored);
  if (status == umemOK && can)
    status = gpu->ops->enable_peer(peer->context, &ignored);
  if (umemi_gpu_leave(&visit, status, &ignored) != umemOK || !can)
    return false;
  atomic_fetch_or(&gpu->peers, bit);
  atomic_fetch_or(&peer->reached_by, UINT64_C(1) << gpu->number);
  return true;
}

/* --- staging -------------------------------------------------------------- */

/* All are of one size; whatever fails, other memory does, too. Inside a visit:
   a reset frees what is kept, and the driver may give the addresses to others.
 */
umemStatusType umemi_gpu_stage_take(struct umemiGpu *gpu, size_t nbytes,
                                    void **ptr_out, umemError *error) {
  struct umemiGpuVisit visit;
  if (nbytes != umemi_tuning()->slot ||
      umemi_gpu_enter(gpu, &visit, error) != umemOK)
    return UMEM_DECLINED;
  *ptr_out = umemi_kept_take(gpu->stages, UMEMI_GPU_STAGES);
  umemStatusType status =
      *ptr_out ? umemOK : gpu->ops->host_alloc(nbytes, false, ptr_out, error);
  status = umemi_gpu_leave_with(&visit, status, gpu->ops->host_free,
                                (uintptr_t)*ptr_out, error);
  return status == umemOK ? umemOK : UMEM_DECLINED;
}

void umemi_gpu_stage_give(struct umemiGpu *gpu, void *ptr, size_t nbytes) {
  struct umemiGpuVisit visit;
  umemError ignored;
  (void)nbytes;
  if (umemi_kept_give(gpu->stages, UMEMI_GPU_STAGES, ptr) ||
      umemi_gpu_enter(gpu, &visit, &ignored) != umemOK)
    return;
  gpu->ops->host_free((uintptr_t)ptr, &ignored);
  umemi_gpu_leave(&visit, umemOK, &ignored);
}

/* --- drop ----------------------------------------------------------------- */

void umemi_gpu_drop(struct umemiGpu *gpu) {
  umemError ignored;
  void *kept;
  while ((kept = umemi_kept_take(gpu->lanes, UMEMI_GPU_LANES)))
    lane_free(gpu, kept);
  while ((kept = umemi_kept_take(gpu->stages, UMEMI_GPU_STAGES)))
    gpu->ops->host_free((uintptr_t)kept, &ignored);
}

void umemi_gpu_forget(struct umemiGpu *gpu) {
  void *kept;
  while ((kept = umemi_kept_take(gpu->lanes, UMEMI_GPU_LANES)))
    free(kept);
  while (umemi_kept_take(gpu->stages, UMEMI_GPU_STAGES))
    ;
}
