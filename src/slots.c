/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slots: pieces of host memory that data are staged through. As many as one
 * copy takes are kept when they are given back, so that copies in a row neither
 * allocate nor touch fresh pages.
 */
#include "internal.h"

/* Taken by exchange and given back by compare-and-swap: no lock, and nothing
   that fork() could catch half-way. */
enum { SLOTS_KEPT = 2 * UMEMI_LANES_MAX }; /* a lane's and its file's */
static _Atomic(void *) kept[SLOTS_KEPT];

static void *slots_reuse(void) {
  for (size_t i = 0; i < SLOTS_KEPT; i++) {
    void *ptr = atomic_exchange(&kept[i], NULL);
    if (ptr)
      return ptr;
  }
  return NULL;
}

static bool slots_keep(void *ptr) {
  for (size_t i = 0; i < SLOTS_KEPT; i++) {
    void *none = NULL;
    if (atomic_compare_exchange_strong(&kept[i], &none, ptr))
      return true;
  }
  return false;
}

/* On whole pages, for O_DIRECT. */
static void *slots_alloc(size_t size) {
  void *ptr;
  return umemi_os.posix_memalign(&ptr, UMEMI_PAGE, size) ? NULL : ptr;
}

umemStatusType umemi_slot_take(struct umemiSlot *slot, size_t wanted,
                               umemError *error) {
  size_t const whole = umemi_tuning()->slot;
  size_t least = wanted < UMEMI_SLOT_LEAST ? wanted : UMEMI_SLOT_LEAST;
  slot->size = whole;
  slot->ptr = slots_reuse();
  if (!slot->ptr)
    slot->ptr = slots_alloc(whole);
  while (!slot->ptr && slot->size > least) {
    slot->size = slot->size / 2 > least ? slot->size / 2 : least;
    slot->ptr = slots_alloc(slot->size);
  }
  return slot->ptr ? umemOK : umemi_no_memory(error, "staging", slot->size);
}

void umemi_slot_give(struct umemiSlot *slot) {
  if (slot->size != umemi_tuning()->slot || !slots_keep(slot->ptr))
    free(slot->ptr);
}

void umemi_slots_drop(void) {
  for (void *ptr = slots_reuse(); ptr; ptr = slots_reuse())
    free(ptr);
}
