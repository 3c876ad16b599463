/* SPDX-License-Identifier: BSD-3-Clause */
/* Loads a plugin, lets a thread use it, and unloads it while the thread lives:
   no code that is gone may run afterwards. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_barrier_t worked, closed;
static int (*work)(void);

static void *use(void *unused) {
  if (work() != 0)
    exit(1);
  pthread_barrier_wait(&worked);
  pthread_barrier_wait(&closed);
  return unused;
}

/* The handlers of a fork belong to the plugin, too. */
static void fork_once(void) {
  int status = 1;
  pid_t child = fork();

  if (child == 0)
    _exit(0);
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
    exit(1);
}

int main(int argc, char **argv) {
  pthread_t thread;
  void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;

  if (library == NULL) {
    fprintf(stderr, "%s\n", argc == 2 ? dlerror() : "usage: host PLUGIN");
    return 1;
  }
  *(void **)&work = dlsym(library, "work");
  pthread_barrier_init(&worked, NULL, 2);
  pthread_barrier_init(&closed, NULL, 2);
  if (work == NULL || pthread_create(&thread, NULL, use, NULL) != 0)
    return 1;
  pthread_barrier_wait(&worked);
  dlclose(library);
  fork_once();
  pthread_barrier_wait(&closed);
  pthread_join(thread, NULL);
  sleep(2); /* helper threads end after a second without work */
  puts("ok");
  return 0;
}
