/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Uses libumem through dlopen() alone, as bindings do, and closes it while a
 * thread that has a status still runs: the end of that thread must not run code
 * that is gone.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <umem.h>

static void *library;
static umemHost host;
static pthread_barrier_t failed, closed;

static void *symbol(char const *name) {
  void *found = dlsym(library, name);

  if (found == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  return found;
}

/* A function pointer of the type that the header declares. */
#define FUNCTION(name) ((__typeof__(&name))symbol(#name))

static void *fail_and_outlive(void *unused) {
  umemStatusType status = FUNCTION(umem_set_status)(&host, umemIOError, "no");

  if (status != umemOK || FUNCTION(umem_is_ok)(&host))
    exit(1);
  pthread_barrier_wait(&failed);
  pthread_barrier_wait(&closed);
  return unused;
}

static void allocate_and_free(void) {
  uintptr_t adr = FUNCTION(umem_ctx_alloc)(&host, 100);

  if (adr == 0 || FUNCTION(umem_ctx_free)(&host, adr) != umemOK)
    exit(1);
  if (dlsym(library, "umem_alloc") != NULL)
    exit(1);
}

int main(int argc, char **argv) {
  pthread_t thread;

  library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
  if (library == NULL || FUNCTION(umemHost_ctor)(&host) != umemOK)
    return 1;
  allocate_and_free();

  pthread_barrier_init(&failed, NULL, 2);
  pthread_barrier_init(&closed, NULL, 2);
  pthread_create(&thread, NULL, fail_and_outlive, NULL);
  pthread_barrier_wait(&failed);
  FUNCTION(umem_dtor)(&host);
  dlclose(library);
  pthread_barrier_wait(&closed);
  pthread_join(thread, NULL);
  puts("ok");
  return 0;
}
