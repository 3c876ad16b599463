/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses for memory that has none: a range of this process's addresses that
 * nothing else will have, and that nobody can access. It costs no memory.
 */
#include "opencl.h"

/* For a few times the device's memory; as much as the system lets us have, of
   which 32 bits have little. */
enum { ARENA_TIMES = 4, ARENA_IS_WIDE = sizeof(void *) > 4 };
#define ARENA_LEAST ((uint64_t)1 << 28)
#define ARENA_GOOD ((uint64_t)1 << (ARENA_IS_WIDE ? 36 : 30))
#define ARENA_MOST ((uint64_t)1 << (ARENA_IS_WIDE ? 44 : 30))

/* A power of two, so that halves of it end at the least. */
static uint64_t arena_wanted(uint64_t total) {
  uint64_t size = ARENA_GOOD;
  while (size < ARENA_MOST && size / ARENA_TIMES < total)
    size *= 2;
  return size;
}

static char *arena_map(uint64_t total, size_t *size_out) {
  int const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  for (uint64_t size = arena_wanted(total); size >= ARENA_LEAST; size /= 2) {
    void *start = umemi_os.mmap(NULL, (size_t)size, PROT_NONE, flags, -1, 0);
    if (start != MAP_FAILED) {
      *size_out = (size_t)size;
      return start;
    }
  }
  return NULL;
}

/* Once for a space; of two threads at it one gives its own back. */
static umemStatusType arena_begin(struct umemiClSpace *space,
                                  umemError *error) {
  size_t size = 0;
  umemi_lock(space->id);
  bool is_there = space->arena != NULL;
  umemi_unlock(space->id);
  if (is_there)
    return umemOK;
  char *start = arena_map(space->total, &size);
  if (!start)
    return umem_error_fill(error, umemMemoryError, errno, 0,
                           "no address space for buffers could be reserved");
  umemi_lock(space->id);
  if (!space->arena) {
    space->arena = start;
    space->arena_size = size;
    start = NULL;
  }
  umemi_unlock(space->id);
  if (start)
    munmap(start, size);
  return umemOK;
}

/* A block ends before the next one begins. */
static uint64_t arena_room(size_t nbytes) {
  return ((uint64_t)nbytes + UMEMI_PAGE) & ~(uint64_t)(UMEMI_PAGE - 1);
}

umemStatusType umemi_cl_arena_take(struct umemiClSpace *space, size_t nbytes,
                                   uintptr_t *adr_out, umemError *error) {
  uint64_t at;
  bool reused;
  umemStatusType status = arena_begin(space, error);
  if (status != umemOK)
    return status;
  umemi_lock(space->id);
  int failed =
      umemi_extents_take(&space->extents, arena_room(nbytes), UMEMI_PAGE, 0, 0,
                         space->arena_size, &at, &reused);
  umemi_unlock(space->id);
  if (failed == ENOMEM)
    return umemi_no_memory(error, "the addresses of buffers", sizeof *space);
  if (failed)
    return umem_error_fill(error, umemMemoryError, 0, 0,
                           "the %zu addresses reserved for buffers are used up",
                           space->arena_size);
  *adr_out = (uintptr_t)space->arena + (uintptr_t)at;
  return umemOK;
}

void umemi_cl_arena_give(struct umemiClSpace *space, uintptr_t adr,
                         size_t nbytes) {
  umemi_lock(space->id);
  umemi_extents_give(&space->extents, adr - (uintptr_t)space->arena,
                     arena_room(nbytes));
  umemi_unlock(space->id);
}
