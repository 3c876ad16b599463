/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The GPUs that this process uses: each with its primary context, which the
 * rest of the program shares. It is retained while a context of the library, or
 * memory that it pinned, is on the device, and released after the last of them:
 * a program that uses no GPU any more keeps none. A reset of the device ends
 * what is in its context, though the handle may be given out again: that is
 * another life, and nothing of an earlier one is used in it.
 */
#include "gpu.h"

/* No context has this id; its lock is taken before fork(), as all are. */
enum { GPUS_LOCK = 0 };

static struct umemiGpu *gpus[UMEMI_GPU_MAX]; /* under the lock */

/* What is known of the last life of a device that the library used: it may go
   on without users of the library, as others retain it. */
static struct {
  uint64_t life;
  int broken;
  uint64_t peers, reached_by;
} lives[UMEMI_GPU_MAX]; /* under the lock */

void umemi_gpus_lock(void) {
  umemi_lock(GPUS_LOCK);
}

void umemi_gpus_unlock(void) {
  umemi_unlock(GPUS_LOCK);
}

/* --- numbers -------------------------------------------------------------- */

static umemStatusType gpus_count(struct umemiGpuOps const *ops, int *count_out,
                                 umemError *error) {
  umemStatusType status = ops->load(error);
  if (status == umemOK)
    status = ops->count(count_out, error);
  if (status == umemOK && *count_out > UMEMI_GPU_MAX)
    *count_out = UMEMI_GPU_MAX;
  return status;
}

static umemStatusType gpu_check_number(struct umemiGpuOps const *ops,
                                       int number, int *count_out,
                                       umemError *error) {
  umemStatusType status = gpus_count(ops, count_out, error);
  int const count = status == umemOK ? *count_out : 0;
  if (status != umemOK)
    return status;
  if (count == 0)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "the %s driver has no device", ops->name);
  if (number >= 0 && number < count)
    return umemOK;
  return umem_error_fill(error, umemIndexError, 0, 0, "there are %d %s devices",
                         count, ops->name);
}

/* --- uses ----------------------------------------------------------------- */

struct umemiGpu *umemi_gpu_use(int number) {
  umemi_gpus_lock();
  struct umemiGpu *gpu = gpus[number];
  if (gpu)
    gpu->users++;
  umemi_gpus_unlock();
  return gpu;
}

void umemi_gpu_keep(struct umemiGpu *gpu) {
  umemi_gpus_lock();
  gpu->users++;
  umemi_gpus_unlock();
}

/* Under the lock. Peer access ends with the life of either context. Where lives
   are unknown it may go on: then it is enabled anew, and still waited for. */
static void gpu_begin_life(struct umemiGpu const *gpu) {
  uint64_t const others = ~(UINT64_C(1) << gpu->number);
  uint64_t const reached_by = gpu->life ? others : UINT64_MAX;
  for (int i = 0; i < UMEMI_GPU_MAX; i++) {
    lives[i].peers &= others;
    lives[i].reached_by &= reached_by;
    if (gpus[i]) {
      atomic_fetch_and(&gpus[i]->peers, others);
      atomic_fetch_and(&gpus[i]->reached_by, reached_by);
    }
  }
  lives[gpu->number].broken = 0;
  lives[gpu->number].peers = 0;
  if (gpu->life)
    lives[gpu->number].reached_by = 0;
}

/* Under the lock. */
static void gpu_recall(struct umemiGpu *gpu) {
  int const number = gpu->number;
  if (!gpu->life || lives[number].life != gpu->life)
    gpu_begin_life(gpu);
  atomic_store(&gpu->broken, lives[number].broken);
  atomic_store(&gpu->peers, lives[number].peers);
  atomic_store(&gpu->reached_by, lives[number].reached_by);
}

/* Of the number's lives, only this one is found from now on. */
static bool gpu_publish(struct umemiGpu *gpu) {
  umemi_gpus_lock();
  bool is_first = !gpus[gpu->number];
  if (is_first) {
    gpu_recall(gpu);
    gpus[gpu->number] = gpu;
  }
  umemi_gpus_unlock();
  return is_first;
}

/* Under the lock. */
static void gpu_withdraw(struct umemiGpu *gpu) {
  int const number = gpu->number;
  if (gpus[number] != gpu)
    return;
  gpus[number] = NULL;
  lives[number].life = gpu->life;
  lives[number].broken = atomic_load(&gpu->broken);
  lives[number].peers = atomic_load(&gpu->peers);
  lives[number].reached_by = atomic_load(&gpu->reached_by);
}

bool umemi_gpu_is_usable(struct umemiGpu const *gpu) {
  return umemi_driver_is_usable(gpu->ops->driver) && !atomic_load(&gpu->lost);
}

umemStatusType umemi_gpu_given(struct umemiGpu const *gpu,
                               umemStatusType status) {
  return atomic_load(&gpu->lost) ? umemOK : status;
}

/* --- the end of one by a reset -------------------------------------------- */

/* A context that was retained before a reset may count as retained after it.
   While the device has none, releasing it harms nobody; once it has another
   one, that may be in use by others alone. */
static void gpu_release_lost(struct umemiGpu *gpu) {
  umemError ignored;
  bool is_active = true;
  if (!umemi_driver_is_usable(gpu->ops->driver) ||
      gpu->ops->is_active(gpu->number, &is_active, &ignored) != umemOK ||
      is_active)
    return;
  gpu->ops->release(gpu->number, &ignored);
}

void umemi_gpu_lose(struct umemiGpu *gpu) {
  umemi_gpus_lock();
  bool is_first = !atomic_exchange(&gpu->lost, true);
  gpu_withdraw(gpu);
  umemi_gpus_unlock();
  if (is_first)
    gpu_release_lost(gpu);
}

/* --- the end of one ------------------------------------------------------- */

/* What is kept stays in a context that cannot be entered. */
static umemStatusType gpu_empty(struct umemiGpu *gpu, umemError *error) {
  struct umemiGpuVisit visit;
  umemError ignored;
  umemStatusType status = umemi_gpu_enter(gpu, &visit, error);
  if (status != umemOK && umemi_gpu_enter(gpu, &visit, &ignored) != umemOK)
    return status;
  umemi_gpu_drop(gpu);
  return umemi_gpu_leave(&visit, umemOK, error);
}

/* Released once, whatever comes of it: a failure may be that of earlier
   work. */
static umemStatusType gpu_end(struct umemiGpu *gpu, umemError *error) {
  umemStatusType status = umemOK, released = umemOK;
  umemError later;
  if (umemi_gpu_is_usable(gpu))
    status = gpu_empty(gpu, error);
  if (umemi_gpu_is_usable(gpu))
    released =
        gpu->ops->release(gpu->number, status == umemOK ? error : &later);
  status = umemi_gpu_given(gpu, status == umemOK ? released : status);
  umemi_gpu_forget(gpu);
  free(gpu);
  return status;
}

umemStatusType umemi_gpu_close(struct umemiGpu *gpu, umemError *error) {
  umemi_gpus_lock();
  bool is_last = --gpu->users == 0;
  if (is_last)
    gpu_withdraw(gpu);
  umemi_gpus_unlock();
  return is_last ? gpu_end(gpu, error) : umemOK;
}

/* --- the beginning -------------------------------------------------------- */

/* Can there be contexts of it? */
static umemStatusType gpu_check_facts(struct umemiGpuFacts const *facts,
                                      bool managed, umemError *error) {
  if (!facts->unified_addressing)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "the device has no unified addressing");
  if (managed && !facts->managed)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "the device has no managed memory");
  return umemOK;
}

static umemStatusType gpu_begin(struct umemiGpu *gpu, umemError *error) {
  struct umemiGpuOps const *ops = gpu->ops;
  umemStatusType status = ops->describe(gpu->number, &gpu->facts, error);
  if (status == umemOK)
    status = gpu_check_facts(&gpu->facts, false, error);
  return status == umemOK ? ops->retain(gpu, error) : status;
}

static umemStatusType gpu_new(struct umemiGpuOps const *ops, int number,
                              int count, struct umemiGpu **gpu_out,
                              umemError *error) {
  struct umemiGpu *gpu = umemi_os.calloc(1, sizeof *gpu);
  umemError ignored;
  if (!gpu)
    return umemi_no_memory(error, "a GPU", sizeof *gpu);
  *gpu = (struct umemiGpu){
      .ops = ops, .number = number, .count = count, .users = 1};
  umemStatusType status = gpu_begin(gpu, error);
  *gpu_out = gpu;
  if (status == umemOK && gpu_publish(gpu))
    return umemOK;
  free(gpu);
  if (status != umemOK)
    return status;
  ops->release(number, &ignored); /* another thread's was first */
  return umemi_gpu_open(ops, number, gpu_out, error);
}

/* Of a device that is in use: is it still what it was? */
static umemStatusType gpu_reuse(struct umemiGpu *gpu, bool *alive_out,
                                umemError *error) {
  umemError ignored;
  umemStatusType status = gpu->ops->is_alive(gpu, alive_out, error);
  if (status == umemOK && *alive_out)
    return umemOK;
  if (status == umemOK)
    umemi_gpu_lose(gpu);
  umemi_gpu_close(gpu, &ignored);
  return status;
}

umemStatusType umemi_gpu_open(struct umemiGpuOps const *ops, int number,
                              struct umemiGpu **gpu_out, umemError *error) {
  bool is_alive = false;
  int count;
  umemStatusType status = gpu_check_number(ops, number, &count, error);
  if (status != umemOK)
    return status;
  *gpu_out = umemi_gpu_use(number);
  if (*gpu_out)
    status = gpu_reuse(*gpu_out, &is_alive, error);
  return status != umemOK || is_alive
             ? status
             : gpu_new(ops, number, count, gpu_out, error);
}

/* --- questions ------------------------------------------------------------ */

/* Of a device that is not in use a context would have to be made. */
static uint64_t gpu_free_bytes(int number) {
  struct umemiGpu *gpu = umemi_gpu_use(number);
  struct umemiGpuVisit visit;
  umemError ignored;
  uint64_t bytes = 0;
  if (!gpu)
    return 0;
  if (umemi_gpu_enter(gpu, &visit, &ignored) == umemOK) {
    umemStatusType status = gpu->ops->free_bytes(&bytes, &ignored);
    umemi_gpu_leave(&visit, status, &ignored);
  }
  umemi_gpu_close(gpu, &ignored);
  return bytes;
}

bool umemi_gpu_describe(struct umemiGpuOps const *ops, size_t index,
                        bool managed, umemDeviceInfo *info, umemError *error) {
  struct umemiGpuFacts facts = {.total = 0};
  int number = index < INT_MAX ? (int)index : INT_MAX, count;
  umemStatusType status = gpu_check_number(ops, number, &count, error);
  if (status == umemOK)
    status = ops->describe(number, &facts, error);
  if (status != umemOK)
    return false;
  memcpy(info->name, facts.name, sizeof info->name);
  info->total_bytes = facts.total;
  info->numa_node = facts.numa_node;
  info->free_bytes = gpu_free_bytes(number);
  return gpu_check_facts(&facts, managed, error) == umemOK;
}

static int gpus_first_used(void) {
  int found = -1;
  umemi_gpus_lock();
  for (int i = 0; found < 0 && i < UMEMI_GPU_MAX; i++)
    if (gpus[i])
      found = i;
  umemi_gpus_unlock();
  return found;
}

static int gpus_first_active(struct umemiGpuOps const *ops, int count) {
  umemError ignored;
  for (int i = 0; i < count; i++) {
    bool is_active = false;
    if (ops->is_active(i, &is_active, &ignored) == umemOK && is_active)
      return i;
  }
  return 0;
}

umemStatusType umemi_gpus_choose(struct umemiGpuOps const *ops, int *number_out,
                                 int *count_out, umemError *error) {
  umemStatusType status = gpu_check_number(ops, 0, count_out, error);
  if (status != umemOK)
    return status;
  *number_out = ops->current();
  if (*number_out < 0 || *number_out >= *count_out)
    *number_out = gpus_first_used();
  if (*number_out < 0)
    *number_out = gpus_first_active(ops, *count_out);
  return umemOK;
}
