/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slots: pieces of host memory that data are staged through. As many as one
 * copy takes are kept when they are given back, so that copies in a row neither
 * allocate nor touch fresh pages.
 */
#include "internal.h"

/* --- in huge pages -------------------------------------------------------- */

/*
 * As many as one copy takes are in huge pages, for good. To a disk that fetches
 * its data itself (O_DIRECT) such a slot is one piece of memory, and not one
 * for each page: 1.25 times the speed.
 */
enum { ARENA_SLOTS = UMEMI_LANES_MAX, ARENA = ARENA_SLOTS * UMEMI_SLOT_MOST };
static struct {
  _Atomic(char *) start;
  atomic_uint taken; /* a bit for each slot */
} arena;

static char *arena_map(void) {
  char *start = umemi_map_pages(ARENA, UMEMI_HUGE_PAGE, UMEMI_PAGE, 0);
  if (start)
    umemi_os.madvise(start, ARENA, MADV_HUGEPAGE);
  return start;
}

static char *arena_start(void) {
  char *start = atomic_load(&arena.start), *mapped;
  if (start || !(mapped = arena_map()))
    return start;
  if (atomic_compare_exchange_strong(&arena.start, &start, mapped))
    return mapped;
  munmap(mapped, ARENA); /* another thread's was first */
  return start;
}

static void *arena_take(void) {
  char *start = umemi_tuning()->huge ? arena_start() : NULL;
  for (unsigned i = 0; start && i < ARENA_SLOTS; i++)
    if (!(atomic_fetch_or(&arena.taken, 1U << i) & 1U << i))
      return start + (size_t)i * UMEMI_SLOT_MOST;
  return NULL;
}

static bool arena_give(void *ptr) {
  char *start = atomic_load(&arena.start);
  size_t offset = (uintptr_t)ptr - (uintptr_t)start;
  if (!start || offset >= ARENA)
    return false;
  atomic_fetch_and(&arena.taken, ~(1U << offset / UMEMI_SLOT_MOST));
  return true;
}

/* --- kept ----------------------------------------------------------------- */

enum { SLOTS_KEPT = 2 * UMEMI_LANES_MAX }; /* a lane's and its file's */
static _Atomic(void *) kept[SLOTS_KEPT];

/* --- from the system ------------------------------------------------------ */

/* On whole pages, for O_DIRECT. */
static void *slots_alloc(size_t size) {
  void *ptr;
  return umemi_os.posix_memalign(&ptr, UMEMI_PAGE, size) ? NULL : ptr;
}

/* --- take and give -------------------------------------------------------- */

umemStatusType umemi_slot_take(struct umemiSlot *slot, size_t wanted,
                               umemError *error) {
  size_t const whole = umemi_tuning()->slot;
  size_t least = wanted < UMEMI_SLOT_LEAST ? wanted : UMEMI_SLOT_LEAST;
  slot->size = whole;
  slot->ptr = wanted > whole / 2 ? arena_take() : NULL;
  if (!slot->ptr)
    slot->ptr = umemi_kept_take(kept, SLOTS_KEPT);
  if (!slot->ptr)
    slot->ptr = slots_alloc(whole);
  while (!slot->ptr && slot->size > least) {
    slot->size = slot->size / 2 > least ? slot->size / 2 : least;
    slot->ptr = slots_alloc(slot->size);
  }
  return slot->ptr ? umemOK : umemi_no_memory(error, "staging", slot->size);
}

void umemi_slot_give(struct umemiSlot *slot) {
  if (arena_give(slot->ptr))
    return;
  if (slot->size != umemi_tuning()->slot ||
      !umemi_kept_give(kept, SLOTS_KEPT, slot->ptr))
    free(slot->ptr);
}

void umemi_slots_drop(void) {
  if (arena.start && arena.taken == 0)
    munmap(atomic_exchange(&arena.start, NULL), ARENA);
  void *ptr;
  while ((ptr = umemi_kept_take(kept, SLOTS_KEPT)))
    free(ptr);
}
