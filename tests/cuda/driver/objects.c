/* SPDX-License-Identifier: BSD-3-Clause */
/* Handles: numbers that no pointer can be, each given out once, so that one of
   something destroyed is never taken for something else. */
#include "inner.h"

#include <search.h>
#include <signal.h>
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

/* twalk() has no argument to pass on. */
static struct {
  enum objectKind kind;
  struct object **all;
  size_t count;
} walk;

static void walk_gather(void const *node, VISIT visit, int depth) {
  struct object *object = *(struct object *const *)node;
  (void)depth;
  if ((visit != postorder && visit != leaf) || object->kind != walk.kind)
    return;
  if (walk.all)
    walk.all[walk.count] = object;
  walk.count++;
}

static size_t walk_all(enum objectKind kind, struct object **all) {
  walk.kind = kind;
  walk.all = all;
  walk.count = 0;
  twalk(objects, walk_gather);
  return walk.count;
}

void sim_object_each(enum objectKind kind,
                     void (*call)(struct object *object, void *argument),
                     void *argument) {
  size_t count = walk_all(kind, NULL);
  struct object **all = sim_new((count + 1) * sizeof(struct object *));
  walk_all(kind, all);
  for (size_t i = 0; i < count; i++)
    call(all[i], argument);
  free(all);
}

/* Real drivers follow the handle to memory that is gone. */
cuCode sim_dead(char const *what, void const *handle) {
  sim_violation("%s %#zx is not live", what, (size_t)handle);
  if (sim.crashes) {
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
  }
  return UMEMI_CUDA_ERROR_INVALID_HANDLE;
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
