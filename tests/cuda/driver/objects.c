/* SPDX-License-Identifier: BSD-3-Clause */
/* Handles: numbers that no pointer can be, each given out once, so that one of
   something destroyed is never taken for something else. */
#include "inner.h"

#include <search.h>
#include <stdlib.h>

static void *objects; /* a tree, by handle */
static uintptr_t newest = (uintptr_t)0xC0DA << 48;

static int object_compare(void const *left, void const *right) {
  struct object const *a = left, *b = right;
  return (a->handle > b->handle) - (a->handle < b->handle);
}

void *sim_new(size_t nbytes) {
  void *made = calloc(1, nbytes);
  if (!made)
    abort();
  return made;
}

void *sim_object(void const *handle, enum objectKind kind) {
  struct object key = {.handle = (uintptr_t)handle};
  struct object *const *found = tfind(&key, &objects, object_compare);
  return found && (*found)->kind == kind ? *found : NULL;
}

void sim_object_add(struct object *object, enum objectKind kind,
                    enum simcuKind counted) {
  newest += 16;
  object->handle = newest;
  object->kind = kind;
  object->counted = counted;
  if (!tsearch(object, &objects, object_compare))
    abort();
  if (counted != SIMCU_KINDS)
    sim.live[counted]++;
}

void sim_object_remove(struct object *object) {
  tdelete(object, &objects, object_compare);
  if (object->counted != SIMCU_KINDS)
    sim.live[object->counted]--;
}
