/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A libOpenCL.so.1 that hands every call to the real one, counts it, and fails
 * those that a test chooses. It is found by LD_LIBRARY_PATH and by nothing
 * else, so that the library under test is what users have:
 *
 *   shim_find()->fail_call(NULL, 3, -5, false);    the third call from now on
 *
 * A call that fails writes nothing but its code, and does nothing: except that
 * what is to be released is gone, and what is waited for is
 * through. clSVMFree() has no way to fail and is not counted.
 */
#ifndef UMEM_TESTS_SHIM_H
#define UMEM_TESTS_SHIM_H

#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What is live, and has to be given back. */
#define SHIM_KINDS(X)                                                          \
  X(CONTEXT, "cl_context")                                                     \
  X(QUEUE, "cl_command_queue")                                                 \
  X(MEM, "cl_mem")                                                             \
  X(EVENT, "cl_event")                                                         \
  X(SVM, "block of SVM")                                                       \
  X(USM, "block of USM")

#define SHIM_KIND_ENUMERATOR(name, text) SHIM_##name,
enum shim_kind { SHIM_KINDS(SHIM_KIND_ENUMERATOR) SHIM_KIND_COUNT };
#undef SHIM_KIND_ENUMERATOR

/* What a call does that does not fail as it should: instead of its code. */
enum {
  SHIM_IDLE = INT_MIN, /* it says CL_SUCCESS, and makes or writes nothing */
  SHIM_AGAIN           /* clSVMAlloc: the block that it made last */
};

enum shim_usm {
  SHIM_USM_REAL,     /* what the platform has */
  SHIM_USM_EMULATED, /* by its shared virtual memory */
  SHIM_USM_NONE      /* the platform has none */
};

struct shimControls {
  /* Forgets counts and scripts; what is live stays so. */
  void (*clear)(void);
  /* The k-th call (1 is the next) of `name`, or of all if it is NULL, returns
     `code`; `for_ever`: so do all that follow. */
  void (*fail_call)(char const *name, unsigned k, int code, bool for_ever);
  /* The k-th command that gives an event is begun, and its event ends with
     `code`. */
  void (*fail_event)(unsigned k, int code);
  /* The k-th call of `name` begins with `run`, as if another thread came in
     between. Once. */
  void (*before_call)(char const *name, unsigned k, void (*run)(void));
  /* Every device answers `number`, of 8 bytes, to clGetDeviceInfo(what). */
  void (*answer)(unsigned what, uint64_t number);
  /* Calls since clear() that could have failed: of `name`, or all. */
  unsigned (*calls)(char const *name);
  /* Commands that gave an event. */
  unsigned (*events)(void);
  /* Calls of `name`, or all, that failed by a script, or whose event did. */
  unsigned (*failures)(char const *name);
  /* Name number `index` of those that can be called; NULL behind the last. */
  char const *(*name)(size_t index);
  /* References to what is live. */
  unsigned (*live)(enum shim_kind kind);
  char const *(*kind_name)(enum shim_kind kind);
  /* Uses of what is not live: none of them reached the driver. */
  unsigned (*misuses)(void);
  void (*set_usm)(enum shim_usm usm);
};

typedef struct shimControls const *shimControlsGetter(void);

/* NULL: libOpenCL.so.1 is not the shim. */
static inline struct shimControls const *shim_find(void) {
  void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
  void *found = library ? dlsym(library, "shim_controls") : NULL;
  shimControlsGetter *get;
  memcpy(&get, &found, sizeof get);
  return found ? get() : NULL;
}

#endif
