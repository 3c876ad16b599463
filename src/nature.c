/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread hands down to the threads that it starts: how urgent it is,
 * what it may do, and where its memory lies. A helper that has less of it than
 * the thread it helps makes the work slower, or changes what the work does.
 */
#include "internal.h"

#include <sched.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

enum { IO_PRIORITY_OF_PROCESS = 1 /* IOPRIO_WHO_PROCESS */ };

/* By system calls, because musl has no such functions; `id` 0 is this thread.
   What a system does not tell is the same of all threads. */
static void nature_urgency(struct umemiNature *nature, pid_t id) {
  nature->policy = (int)syscall(SYS_sched_getscheduler, id);
  nature->nice = getpriority(PRIO_PROCESS, (id_t)id);
  nature->io_priority =
      (int)syscall(SYS_ioprio_get, IO_PRIORITY_OF_PROCESS, id);
}

void umemi_nature_of_thread(struct umemiNature *nature) {
  int saved = errno;
  memset(nature, 0, sizeof *nature);
  nature_urgency(nature, 0);
  nature->fs_user = setfsuid((uid_t)-1); /* changes nothing */
  nature->fs_group = setfsgid((gid_t)-1);
  syscall(SYS_get_mempolicy, &nature->memory_policy, nature->memory_nodes,
          (unsigned long)UMEMI_NATURE_NODES, NULL, 0UL);
  errno = saved;
}

/* --- compared with the main thread ---------------------------------------- */

/* Threads of real time would have the machine's CPUs to themselves. */
static bool nature_is_as_urgent(struct umemiNature const *nature, pid_t main) {
  struct umemiNature ordinary;
  nature_urgency(&ordinary, main);
  bool real_time = nature->policy > 0 && nature->policy != SCHED_BATCH &&
                   nature->policy != SCHED_IDLE;
  return !real_time && nature->policy == ordinary.policy &&
         nature->nice == ordinary.nice &&
         nature->io_priority == ordinary.io_priority;
}

/* Is the line behind a line end that begins with `key` the same in both? */
static bool nature_line_is_same(char const *a, char const *b, char const *key) {
  a = strstr(a, key);
  b = strstr(b, key);
  if (!a || !b)
    return a == b;
  size_t length = 1 + strcspn(a + 1, "\n");
  return strncmp(a, b, length + 1) == 0;
}

/* Rights, filters of system calls, and control groups. Without /proc nothing is
   known of the main thread; then a filter is one too many. */
static bool nature_is_as_free(void) {
  static char const *const keys[] = {
      "\nUid:",    "\nGid:",     "\nGroups:",
      "\nCapEff:", "\nSeccomp:", "\nSeccomp_filters:"};
  static char own[4096], main[4096]; /* under the lock of the pool */
  umemi_read_text("/proc/thread-self/cgroup", own, sizeof own);
  umemi_read_text("/proc/self/cgroup", main, sizeof main);
  bool same = strcmp(own, main) == 0;
  umemi_read_text("/proc/thread-self/status", own, sizeof own);
  umemi_read_text("/proc/self/status", main, sizeof main);
  if (!own[0] || !main[0])
    return same && prctl(PR_GET_SECCOMP, 0, 0, 0, 0) <= 0;
  for (size_t i = 0; same && i < sizeof keys / sizeof *keys; i++)
    same = nature_line_is_same(own, main, keys[i]);
  return same;
}

static bool nature_has_own_files(struct umemiNature const *nature) {
  return nature->fs_user == (int)geteuid() &&
         nature->fs_group == (int)getegid();
}

bool umemi_nature_is_ordinary(struct umemiNature const *nature) {
  int saved = errno;
  pid_t main = getpid();
  bool is_main = syscall(SYS_gettid) == main;
  bool ordinary = nature_is_as_urgent(nature, main) &&
                  nature_has_own_files(nature) &&
                  (is_main || nature_is_as_free());
  errno = saved;
  return ordinary;
}
