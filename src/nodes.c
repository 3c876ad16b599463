/* SPDX-License-Identifier: BSD-3-Clause */
/* Which NUMA nodes this process may have memory of, and which of them are told
   as devices. Those from 64 on do not fit a mask, and are not seen. */
#include "internal.h"

/* The cpuset's. */
uint64_t umemi_nodes_allowed(void) {
  static char const key[] = "\nMems_allowed_list:\t";
  char *status = umemi_whole_text_of("/proc/self/status");
  char const *found = status ? strstr(status, key) : NULL;
  uint64_t allowed = found ? umemi_bits_of(found + sizeof key - 1) : 0;
  free(status);
  return allowed ? allowed : UINT64_MAX;
}

/* Memory of a GPU, or of an expansion, is movable only, and so not normal. */
uint64_t umemi_nodes_of_host(void) {
  char text[512];
  uint64_t normal = umemi_bits_of(umemi_read_text(
      "/sys/devices/system/node/has_normal_memory", text, sizeof text));
  return (normal ? normal : umemi_nodes()) & umemi_nodes_allowed();
}
