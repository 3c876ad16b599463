/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory from the system at a multiple of more than a page. */
#include "internal.h"

/* Cut out of a range that surely has it. */
char *umemi_map_pages(size_t nbytes, size_t alignment, size_t page, int flags) {
  size_t slack = alignment - page;
  if (nbytes > PTRDIFF_MAX - slack) {
    errno = ENOMEM;
    return NULL;
  }
  char *room = umemi_os.mmap(NULL, nbytes + slack, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (room == MAP_FAILED)
    return NULL;
  size_t before = -(uintptr_t)room & (alignment - 1);
  if (before > 0)
    munmap(room, before);
  if (before < slack)
    munmap(room + before + nbytes, slack - before);
  return room + before;
}
