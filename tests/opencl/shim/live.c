/* SPDX-License-Identifier: BSD-3-Clause */
/* What was made and has to be given back. */
#include "inner.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { LIVE_MAX = 4096 };

struct live {
  void const *object; /* NULL: free */
  enum shim_kind kind;
  unsigned references;
  clInt code;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct live table[LIVE_MAX];
static unsigned references[SHIM_KIND_COUNT], misuses;

static struct live *live_find(enum shim_kind kind, void const *object) {
  for (size_t i = 0; i < LIVE_MAX; i++)
    if (table[i].object == object && (!object || table[i].kind == kind))
      return &table[i];
  return NULL;
}

void shim_take(enum shim_kind kind, void const *object, clInt code) {
  pthread_mutex_lock(&lock);
  struct live *live = live_find(kind, object);
  if (!live) {
    live = live_find(kind, NULL);
    if (!live) {
      fprintf(stderr, "shim: more than %d objects are live\n", LIVE_MAX);
      abort();
    }
    *live = (struct live){object, kind, 0, code};
  }
  live->references++;
  references[kind]++;
  pthread_mutex_unlock(&lock);
}

bool shim_give(enum shim_kind kind, void const *object) {
  pthread_mutex_lock(&lock);
  struct live *live = object ? live_find(kind, object) : NULL;
  if (live) {
    references[kind]--;
    if (--live->references == 0)
      live->object = NULL;
  } else
    misuses++;
  pthread_mutex_unlock(&lock);
  return live != NULL;
}

bool shim_look(enum shim_kind kind, void const *object, clInt *code_out) {
  pthread_mutex_lock(&lock);
  struct live *live = object ? live_find(kind, object) : NULL;
  if (live && code_out)
    *code_out = live->code;
  misuses += !live;
  pthread_mutex_unlock(&lock);
  return live != NULL;
}

unsigned shim_live(enum shim_kind kind) {
  pthread_mutex_lock(&lock);
  unsigned count = references[kind];
  pthread_mutex_unlock(&lock);
  return count;
}

unsigned shim_misuses(void) {
  pthread_mutex_lock(&lock);
  unsigned count = misuses;
  pthread_mutex_unlock(&lock);
  return count;
}

char const *shim_kind_name(enum shim_kind kind) {
#define SHIM_KIND_NAME(name, text) text,
  static char const *const names[] = {SHIM_KINDS(SHIM_KIND_NAME)};
#undef SHIM_KIND_NAME
  return names[kind];
}
