/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much memory this process may still have. The kernel kills a process that
 * takes more than its control groups allow, also in calls that reserve space on
 * tmpfs: so it is asked for before.
 */
#include "internal.h"

/* Files of a version of cgroups(7); `both_*` count memory and swap in one. */
struct left_version {
  char const *mark, *root; /* in /proc/self/cgroup, before the group */
  char const *most, *used, *swap_most, *swap_used, *both_most, *both_used;
  char const *inactive, *active; /* keys of memory.stat: page cache */
};

static struct left_version const versions[] = {
    {.mark = "0::/",
     .root = "/sys/fs/cgroup",
     .most = "memory.max",
     .used = "memory.current",
     .swap_most = "memory.swap.max",
     .swap_used = "memory.swap.current",
     .inactive = "\ninactive_file ",
     .active = "\nactive_file "},
    {.mark = "memory:/",
     .root = "/sys/fs/cgroup/memory",
     .most = "memory.limit_in_bytes",
     .used = "memory.usage_in_bytes",
     .both_most = "memory.memsw.limit_in_bytes",
     .both_used = "memory.memsw.usage_in_bytes",
     .inactive = "\ntotal_inactive_file ",
     .active = "\ntotal_active_file "}};

static uint64_t left_least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

static uint64_t left_sum(uint64_t a, uint64_t b) {
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* --- one group ------------------------------------------------------------ */

/* The text of a file of the group, to free(); NULL without memory. */
static char *left_text(char const *root, char const *group, char const *file) {
  size_t size = strlen(root) + strlen(group) + strlen(file) + 2;
  char *path = umemi_os.malloc(size), *text = NULL;
  if (path) {
    snprintf(path, size, "%s%s/%s", root, group, file);
    text = umemi_text_of(path);
  }
  free(path);
  return text;
}

/* False for "max", and for a file that is not there. */
static bool left_number(struct left_version const *v, char const *group,
                        char const *file, uint64_t *number_out) {
  char *text = file ? left_text(v->root, group, file) : NULL;
  bool known = text && text[0] >= '0' && text[0] <= '9';
  if (known)
    *number_out = strtoull(text, NULL, 10);
  free(text);
  return known;
}

/* What is between the two; UINT64_MAX if there is no limit. */
static uint64_t left_below(struct left_version const *v, char const *group,
                           char const *most_file, char const *used_file) {
  uint64_t most, used;
  if (!left_number(v, group, most_file, &most) ||
      !left_number(v, group, used_file, &used))
    return UINT64_MAX;
  return most > used ? most - used : 0;
}

/* Page cache, which the kernel takes back before it kills. */
static uint64_t left_cache(struct left_version const *v, char const *group) {
  uint64_t inactive = 0, active = 0;
  char *text = left_text(v->root, group, "memory.stat");
  umemi_meminfo(text, v->inactive, &inactive);
  umemi_meminfo(text, v->active, &active);
  free(text);
  return left_sum(inactive, active);
}

static uint64_t left_in_group(struct left_version const *v, char const *group,
                              uint64_t swap) {
  uint64_t memory = left_below(v, group, v->most, v->used);
  uint64_t both = left_below(v, group, v->both_most, v->both_used);
  if (memory == UINT64_MAX && both == UINT64_MAX)
    return UINT64_MAX;
  swap = left_least(swap, left_below(v, group, v->swap_most, v->swap_used));
  return left_sum(left_least(left_sum(memory, swap), both),
                  left_cache(v, group));
}

/* --- all groups ----------------------------------------------------------- */

/* Of the group of this process, and of all that it is in. In a container the
   names may be those outside: what is mounted is the group itself then, which
   is found last. */
static uint64_t left_in_groups(struct left_version const *v, uint64_t swap) {
  char *text = umemi_text_of("/proc/self/cgroup");
  char *group = text ? strstr(text, v->mark) : NULL;
  uint64_t least = UINT64_MAX;
  if (group) {
    group += strlen(v->mark) - 1;
    group[strcspn(group, "\n")] = '\0';
  }
  for (char *slash = group; slash;) {
    least = left_least(least, left_in_group(v, group, swap));
    slash = strrchr(group, '/');
    if (slash)
      *slash = '\0';
  }
  free(text);
  return least;
}

uint64_t umemi_memory_left(void) {
  char *text = umemi_text_of("/proc/meminfo");
  uint64_t memory = UINT64_MAX, swap = 0;
  umemi_meminfo(text, "MemAvailable:", &memory);
  umemi_meminfo(text, "SwapFree:", &swap);
  free(text);
  uint64_t left = left_sum(memory, swap);
  for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
    left = left_least(left, left_in_groups(&versions[i], swap));
  return left;
}
