/* SPDX-License-Identifier: BSD-3-Clause */
/* Reserved ranges of addresses, which nobody can dereference. */
#include "inner.h"

#include <stdlib.h>
#include <sys/mman.h>

/* What was given back. */
struct hole {
  struct hole *next;
  uintptr_t start;
  size_t nbytes;
};

static void *reserve(size_t nbytes) {
  void *at = mmap(NULL, nbytes, PROT_NONE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? NULL : at;
}

/* As much as there is: valgrind has less than the kernel. */
void sim_arena_reserve(struct arena *arena) {
  size_t nbytes = (size_t)1 << 38, least = (size_t)1 << 32;
  void *at = reserve(nbytes);
  while (!at && nbytes > least)
    at = reserve(nbytes /= 2);
  if (!at)
    abort();
  arena->base = (uintptr_t)at;
  arena->next = arena->base + PAGE;
  arena->end = arena->base + nbytes;
}

bool sim_arena_has(struct arena const *arena, uintptr_t adr) {
  return adr >= arena->base && adr < arena->end;
}

static uintptr_t hole_take(struct arena *arena, size_t nbytes) {
  struct hole **link = &arena->holes, *hole;
  while (*link && (*link)->nbytes != nbytes)
    link = &(*link)->next;
  if (!*link)
    return 0;
  hole = *link;
  *link = hole->next;
  uintptr_t at = hole->start;
  free(hole);
  return at;
}

uintptr_t sim_arena_take(struct arena *arena, size_t nbytes, size_t align) {
  uintptr_t at = hole_take(arena, nbytes);
  if (at)
    return at;
  at = sim_round(arena->next, align);
  if (at > arena->end || nbytes > arena->end - at)
    return 0;
  arena->next = at + nbytes;
  return at;
}

void sim_arena_give(struct arena *arena, uintptr_t start, size_t nbytes) {
  struct hole *hole = sim_new(sizeof *hole);
  *hole = (struct hole){arena->holes, start, nbytes};
  arena->holes = hole;
}
