/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread hands down to the threads that it starts: how urgent it is,
 * what it may do, its descriptors, and where its memory lies. A helper that
 * has less of it than the thread it helps makes the work slower, or changes
 * what the work does.
 *
 * A filter of system calls may end the process at a call that programs rarely
 * make. So what can be read in /proc is read there, and the rest is not asked
 * of a thread that has a filter.
 */
#include "internal.h"

#include "crc32c.h"

#include <sched.h>

enum { IO_PRIORITY_OF_PROCESS = 1 /* IOPRIO_WHO_PROCESS */ };

static pid_t nature_self(void) {
  return (pid_t)syscall(SYS_gettid);
}

/* As large as the text of a thread of 65,536 groups. In pages of its own: a
   handler of signals that copies may have interrupted malloc(). */
enum { NATURE_TEXT = 1 << 20 };

static char *nature_room(void) {
  void *room =
      umemi_os.mmap(NULL, NATURE_TEXT, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return room == MAP_FAILED ? NULL : room;
}

/* Returns false if the file is empty or cannot be read to its end. */
static bool nature_read(pid_t thread, char const *name, char *room) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)thread, name);
  return umemi_read_whole(path, room, NATURE_TEXT) && room[0];
}

/* --- what files say ------------------------------------------------------- */

/* A line that is missing adds nothing: older kernels have fewer. */
static uint32_t nature_sum_line(uint32_t sum, char const *status,
                                char const *key) {
  char const *line = strstr(status, key);
  return line ? umemi_crc32c(sum, line, 1 + strcspn(line + 1, "\n")) : sum;
}

static void nature_read_rights(struct umemiNature *nature, char const *status) {
  static char const *const keys[] = {
      "\nUid:",    "\nGid:",     "\nGroups:",
      "\nCapEff:", "\nSeccomp:", "\nSeccomp_filters:"};
  char const *filter = strstr(status, "\nSeccomp:");
  nature->is_filtered = filter && !strstr(filter, "\nSeccomp:\t0\n");
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    nature->rights = nature_sum_line(nature->rights, status, keys[i]);
}

/* Field number `number` of a stat file, from the third on: proc(5). The second
   may hold anything, and ends with the last parenthesis. */
static int nature_field(char const *stat, unsigned number) {
  char const *at = strrchr(stat, ')');
  for (unsigned i = 2; at && i < number; i++)
    at = strchr(at + 1, ' ');
  return at ? (int)strtol(at, NULL, 10) : 0;
}

static void nature_read_urgency(struct umemiNature *nature, char const *stat) {
  nature->nice = nature_field(stat, 19);
  nature->policy = nature_field(stat, 41);
}

static void nature_read_files(struct umemiNature *nature, pid_t thread) {
  char *room = nature_room();
  if (!room)
    return;
  bool has_rights = nature_read(thread, "status", room);
  if (has_rights)
    nature_read_rights(nature, room);
  bool has_urgency = nature_read(thread, "stat", room);
  if (has_urgency)
    nature_read_urgency(nature, room);
  nature->is_known = has_rights && has_urgency;
  if (nature_read(thread, "cgroup", room)) /* not of all kernels */
    nature->cgroups = umemi_crc32c(0, room, strlen(room));
  munmap(room, NATURE_TEXT);
}

/* By a system call, because the C library has no such function. */
static void nature_of(struct umemiNature *nature, pid_t thread) {
  memset(nature, 0, sizeof *nature);
  nature_read_files(nature, thread);
  if (nature->is_known && !nature->is_filtered)
    nature->io_priority =
        (int)syscall(SYS_ioprio_get, IO_PRIORITY_OF_PROCESS, thread);
}

/* A memory policy can be asked by its own thread only. */
void umemi_nature_of_thread(struct umemiNature *nature) {
  int saved = errno;
  nature_of(nature, nature_self());
  if (nature->is_known && !nature->is_filtered)
    syscall(SYS_get_mempolicy, &nature->memory_policy, nature->memory_nodes,
            (unsigned long)UMEMI_NATURE_NODES, NULL, 0UL);
  errno = saved;
}

/* --- compared with other threads ------------------------------------------ */

bool umemi_nature_is_main(void) {
  return nature_self() == getpid();
}

/* A file that this thread has just opened has its number in the other one's
   table, too, if it is the same table. The file is this thread's own, and no
   other one has a reason to open it. */
bool umemi_nature_shares_files(pid_t thread) {
  int saved = errno;
  char path[64];
  struct stat own, others;
  int fd = umemi_keep_fd(UMEMI_RETRY(
      umemi_os.open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC)));
  snprintf(path, sizeof path, "/proc/self/task/%d/fd/%d", (int)thread, fd);
  bool shares = fd >= 0 && umemi_os.fstat(fd, &own) == 0 &&
                umemi_os.stat(path, &others) == 0 &&
                own.st_dev == others.st_dev && own.st_ino == others.st_ino;
  if (fd >= 0)
    umemi_os.close(fd);
  errno = saved;
  return shares;
}

/* Threads of real time would have the machine's CPUs to themselves. */
static bool nature_is_real_time(struct umemiNature const *nature) {
  return nature->policy > 0 && nature->policy != SCHED_BATCH &&
         nature->policy != SCHED_IDLE;
}

/* Its memory policy may be its own: its helpers have the same. */
static bool nature_is_like_main(struct umemiNature const *nature) {
  int saved = errno;
  struct umemiNature ordinary, own = *nature;
  nature_of(&ordinary, getpid());
  own.memory_policy = 0;
  memset(own.memory_nodes, 0, sizeof own.memory_nodes);
  errno = saved;
  return own.is_known && memcmp(&own, &ordinary, sizeof own) == 0 &&
         umemi_nature_shares_files(getpid());
}

bool umemi_nature_is_ordinary(struct umemiNature const *nature) {
  return !nature_is_real_time(nature) &&
         (umemi_nature_is_main() || nature_is_like_main(nature));
}
