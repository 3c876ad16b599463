/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lanes: one piece of work, cut into chunks that several threads take in turn.
 *
 * A lane does whole chunks by itself, so lanes never wait for each other; what
 * one spends waiting for a device or on a fault the others fill. Chunks are
 * begun in order, so when one fails all before it were begun, and are finished:
 * how far the work came is where the first failure is.
 */
#include "internal.h"

struct lanes_run {
  struct umemiLanes *lanes;
  size_t chunk;
  atomic_size_t next;   /* number of the chunk that nobody has begun */
  _Atomic(void *) slot; /* that was taken beforehand, for who comes first */
  bool slot_is_staged;  /* it is of lanes->stage */
  size_t slot_size;     /* of that one; others' must not be smaller */
  pthread_mutex_t lock; /* over what follows */
  size_t failed_at;     /* where the first failure is, or SIZE_MAX */
  umemError *error;     /* and which */
};

void umemi_lanes_stop(struct umemiLanes *lanes, size_t end) {
  umemi_lower(&lanes->end, end);
}

static void lanes_failed(struct lanes_run *run, size_t offset,
                         umemError const *error) {
  umemi_lanes_stop(run->lanes, run->lanes->backward ? 0 : offset);
  pthread_mutex_lock(&run->lock);
  if (offset < run->failed_at) {
    run->failed_at = offset;
    *run->error = *error;
    run->error->bytes_done += offset;
  }
  pthread_mutex_unlock(&run->lock);
}

/* Takes the next chunk; false if there is none, or no use in it. */
static bool lanes_next(struct lanes_run *run, size_t *offset_out,
                       size_t *nbytes_out) {
  struct umemiLanes *lanes = run->lanes;
  size_t before = atomic_fetch_add(&run->next, 1) * run->chunk;
  if (before >= lanes->nbytes)
    return false;
  size_t left = lanes->nbytes - before;
  *nbytes_out = left < run->chunk ? left : run->chunk;
  *offset_out = lanes->backward ? left - *nbytes_out : before;
  return *offset_out < atomic_load(&lanes->end);
}

static void lanes_loop(struct lanes_run *run, void *slot) {
  size_t offset, nbytes;
  umemError error;
  while (lanes_next(run, &offset, &nbytes))
    if (run->lanes->step(run->lanes, offset, nbytes, slot, &error) != umemOK)
      lanes_failed(run, offset, &error);
}

/* --- slots: the device's own, if it has some ------------------------------ */

static umemStatusType lanes_take(struct umemiLanes const *lanes,
                                 struct umemiSlot *slot, size_t wanted,
                                 bool *staged_out, umemError *error) {
  umemError ignored;
  slot->size = umemi_tuning()->slot;
  *staged_out =
      lanes->stage && umemi_device_stage_alloc(lanes->stage, slot->size,
                                               &slot->ptr, &ignored) == umemOK;
  return *staged_out ? umemOK : umemi_slot_take(slot, wanted, error);
}

static void lanes_give(struct umemiLanes const *lanes, struct umemiSlot *slot,
                       bool staged) {
  if (staged)
    umemi_device_stage_free(lanes->stage, slot->ptr, slot->size);
  else
    umemi_slot_give(slot);
}

/* A lane that gets no memory leaves its share to the others. */
static void lanes_main(void *arg) {
  struct lanes_run *run = arg;
  struct umemiSlot slot = {.ptr = atomic_exchange(&run->slot, NULL),
                           .size = run->slot_size};
  bool staged = run->slot_is_staged;
  umemError ignored;
  if (run->slot_size == 0) {
    lanes_loop(run, NULL);
    return;
  }
  if (!slot.ptr && lanes_take(run->lanes, &slot, run->slot_size, &staged,
                              &ignored) != umemOK)
    return;
  if (slot.size >= run->slot_size)
    lanes_loop(run, slot.ptr);
  lanes_give(run->lanes, &slot, staged);
}

/* Cuts the chunks down to the memory that can be had. */
static umemStatusType lanes_take_slot(struct lanes_run *run, umemError *error) {
  struct umemiLanes const *lanes = run->lanes;
  struct umemiSlot slot;
  size_t most = lanes->nbytes < run->chunk ? lanes->nbytes : run->chunk;
  size_t wanted = (most + lanes->grain - 1) / lanes->grain * lanes->room;
  umemStatusType status =
      lanes_take(lanes, &slot, wanted, &run->slot_is_staged, error);
  if (status != umemOK)
    return status;
  size_t fits = slot.size / lanes->room * lanes->grain;
  if (fits < run->chunk)
    run->chunk = fits;
  run->slot_size = slot.size;
  atomic_store(&run->slot, slot.ptr);
  return umemOK;
}

umemStatusType umemi_lanes_run(struct umemiLanes *lanes, umemError *error) {
  struct lanes_run run = {.lanes = lanes,
                          .chunk = lanes->chunk,
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .failed_at = SIZE_MAX,
                          .error = error};
  atomic_store(&lanes->end, lanes->nbytes);
  if (lanes->room > 0) {
    umemStatusType status = lanes_take_slot(&run, error);
    if (status != umemOK && !lanes->spare)
      return status;
  }
  umemi_workers_run(lanes_main, &run, lanes->helpers);
  return run.failed_at == SIZE_MAX ? umemOK : error->type;
}
