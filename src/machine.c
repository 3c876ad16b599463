/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What we run on: how many CPUs this process may use, which are those of its
 * affinity mask, as far as the quota of its control groups pays for them; how
 * large the last-level cache is; and which NUMA nodes have memory.
 */
#include "internal.h"

#include <sched.h>

bool umemi_read_whole(char const *path, char *text, size_t size) {
  int fd =
      umemi_keep_fd(UMEMI_RETRY(umemi_os.open(path, O_RDONLY | O_CLOEXEC)));
  size_t length = 0;
  ssize_t more = fd < 0 ? -1 : 1;
  while (more > 0 && length < size - 1) {
    more = UMEMI_RETRY(
        umemi_os.pread(fd, text + length, size - 1 - length, (off_t)length));
    length += more > 0 ? (size_t)more : 0;
  }
  if (fd >= 0)
    umemi_os.close(fd);
  text[length] = '\0';
  return more == 0;
}

char *umemi_read_text(char const *path, char *text, size_t size) {
  umemi_read_whole(path, text, size);
  return text;
}

/* Not on the stack: that of a thread may be as small as PTHREAD_STACK_MIN. */
char *umemi_text_of(char const *path) {
  char *text = umemi_os.malloc(UMEMI_TEXT);
  return text ? umemi_read_text(path, text, UMEMI_TEXT) : NULL;
}

char *umemi_whole_text_of(char const *path) {
  bool is_whole = false, is_full = true;
  char *text = NULL;
  for (size_t size = UMEMI_TEXT; !is_whole && is_full; size *= 2) {
    free(text);
    text = umemi_os.malloc(size);
    is_whole = text && umemi_read_whole(path, text, size);
    is_full = text && strlen(text) == size - 1;
  }
  if (is_whole)
    return text;
  free(text);
  return NULL;
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

/* Of one group: cgroups(7), version 2. */
static unsigned cpus_of_group(char const *group) {
  static char const format[] = "/sys/fs/cgroup%s/cpu.max";
  size_t size = sizeof format + strlen(group);
  char text[64], *path = umemi_os.malloc(size);
  if (!path)
    return UINT_MAX;
  snprintf(path, size, format, group);
  umemi_read_text(path, text, sizeof text);
  free(path);
  return cpus_of_quota(text);
}

/* Of the group and of all that it is in. */
static unsigned cpus_of_groups(char *group) {
  unsigned least = UINT_MAX;
  for (;;) {
    unsigned cpus = cpus_of_group(group);
    least = cpus < least ? cpus : least;
    char *slash = strrchr(group, '/');
    if (!slash)
      return least;
    *slash = '\0';
  }
}

/* Of the groups of this process, where there are any. */
static unsigned cpus_of_new_groups(void) {
  char *text = umemi_text_of("/proc/self/cgroup");
  char *group = text ? strstr(text, "0::") : NULL;
  unsigned cpus = UINT_MAX;
  if (group) {
    group += strlen("0::");
    group[strcspn(group, "\n")] = '\0';
    cpus = cpus_of_groups(group);
  }
  free(text);
  return cpus;
}

/* Version 1, where what is mounted is the group itself or its root. */
static unsigned cpus_of_old_group(void) {
  char quota[32], period[32], both[80];
  umemi_read_text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota);
  umemi_read_text("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period,
                  sizeof period);
  if (quota[0] == '-') /* -1: none */
    return UINT_MAX;
  snprintf(both, sizeof both, "%s %s", quota, period);
  return cpus_of_quota(both);
}

unsigned umemi_cpus(void) {
  unsigned cpus = cpus_of_affinity(), paid = cpus_of_old_group();
  cpus = paid < cpus ? paid : cpus;
  paid = cpus_of_new_groups();
  cpus = paid < cpus ? paid : cpus;
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
    size_t size = umemi_bytes_of(umemi_read_text(path, text, sizeof text));
    if (size > 0)
      return size;
  }
  return (size_t)32 << 20;
}

/* --- memory --------------------------------------------------------------- */

bool umemi_meminfo(char const *text, char const *key, uint64_t *number_out) {
  char const *found = text ? strstr(text, key) : NULL;
  if (!found)
    return false;
  char *end;
  uint64_t number = strtoull(found + strlen(key), &end, 10);
  *number_out = strncmp(end, " kB", 3) == 0 ? number << 10 : number;
  return true;
}

/* "0-1,3": a bit for each; those from 64 on are left out. */
uint64_t umemi_bits_of(char const *list) {
  uint64_t bits = 0;
  char *end;
  for (char const *p = list; *p >= '0' && *p <= '9'; p = end + (*end == ',')) {
    unsigned long first = strtoul(p, &end, 10), last = first;
    if (*end == '-')
      last = strtoul(end + 1, &end, 10);
    for (unsigned long k = first; k <= last && k < 64; k++)
      bits |= UINT64_C(1) << k;
  }
  return bits;
}

uint64_t umemi_nodes(void) {
  char text[512];
  return umemi_bits_of(umemi_read_text("/sys/devices/system/node/has_memory",
                                       text, sizeof text));
}
