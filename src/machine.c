/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What we run on: how many CPUs this process may use, which are those of its
 * affinity mask, as far as the quota of its control groups pays for them; and
 * how large the last-level cache is.
 */
#include "internal.h"

#include <sched.h>

/* The text of a small file; "" if it cannot be had. */
static char *machine_read(char const *path, char *text, size_t size) {
  ssize_t length = -1;
  int fd = UMEMI_RETRY(umemi_os.open(path, O_RDONLY | O_CLOEXEC));
  if (fd >= 0) {
    length = umemi_os.pread(fd, text, size - 1, 0);
    umemi_os.close(fd);
  }
  text[length > 0 ? length : 0] = '\0';
  return text;
}

/* --- CPUs ----------------------------------------------------------------- */

/* Of the main thread: the one that asks may be pinned for its own reasons. */
static unsigned cpus_of_affinity(void) {
  cpu_set_t set;
  if (sched_getaffinity(getpid(), sizeof set, &set) == 0)
    return (unsigned)CPU_COUNT(&set);
  long online = sysconf(_SC_NPROCESSORS_ONLN); /* more than CPU_SETSIZE */
  return online > 0 ? (unsigned)online : 1;
}

/* CPUs that a quota of so much per period comes to, rounded up; "max 100000" is
   no quota. */
static unsigned cpus_of_quota(char const *quota_and_period) {
  char *end;
  unsigned long long quota = strtoull(quota_and_period, &end, 10);
  unsigned long long period = strtoull(end, NULL, 10);
  if (quota == 0 || period == 0 || quota / period >= UINT_MAX)
    return UINT_MAX;
  return (unsigned)((quota + period - 1) / period);
}

/* Of the group and of all that it is in: cgroups(7), version 2. */
static unsigned cpus_of_groups(char *group) {
  unsigned least = UINT_MAX;
  for (;;) {
    char path[PATH_MAX], text[64];
    int length = snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
    if (length > 0 && (size_t)length < sizeof path) {
      unsigned cpus = cpus_of_quota(machine_read(path, text, sizeof text));
      least = cpus < least ? cpus : least;
    }
    char *slash = strrchr(group, '/');
    if (!slash)
      return least;
    *slash = '\0';
  }
}

/* Version 1, where what is mounted is the group itself or its root. */
static unsigned cpus_of_old_group(void) {
  char quota[32], period[32], both[80];
  machine_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota);
  machine_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period);
  if (quota[0] == '-') /* -1: none */
    return UINT_MAX;
  snprintf(both, sizeof both, "%s %s", quota, period);
  return cpus_of_quota(both);
}

unsigned umemi_cpus(void) {
  char text[PATH_MAX];
  char *group =
      strstr(machine_read("/proc/self/cgroup", text, sizeof text), "0::");
  unsigned cpus = cpus_of_affinity(), paid = cpus_of_old_group();
  cpus = paid < cpus ? paid : cpus;
  if (group) {
    group += strlen("0::");
    group[strcspn(group, "\n")] = '\0';
    paid = cpus_of_groups(group);
    cpus = paid < cpus ? paid : cpus;
  }
  return cpus > 0 ? cpus : 1;
}

/* --- the last-level cache ------------------------------------------------- */

static size_t machine_scale(char unit) {
  char const units[] = "KMG";
  char const *found = unit ? strchr(units, unit) : NULL;
  return found ? (size_t)1 << (10 * (found - units + 1)) : 1;
}

size_t umemi_bytes_of(char const *text) {
  char *end;
  unsigned long long number = strtoull(text, &end, 10);
  return (size_t)number * machine_scale(*end);
}

/*
 * Not sysconf(_SC_LEVEL3_CACHE_SIZE): glibc multiplies it by what it takes for
 * the number of caches, and has been seen to say 320 MiB where each is 32 MiB.
 */
size_t umemi_cache_size(void) {
  for (int level = 4; level >= 2; level--) {
    char path[64], text[32];
    snprintf(path, sizeof path,
             "/sys/devices/system/cpu/cpu0/cache/index%d/size", level);
    size_t size = umemi_bytes_of(machine_read(path, text, sizeof text));
    if (size > 0)
      return size;
  }
  return (size_t)32 << 20;
}
