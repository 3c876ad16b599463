/* SPDX-License-Identifier: BSD-3-Clause */
#include "internal.h"

/* A program that was started without its standard streams gets their numbers
   from the next open(); what it then writes to "stderr" would go there. */
int umemi_keep_fd(int fd) {
  if (fd < 0 || fd > STDERR_FILENO)
    return fd;
  int kept = umemi_os.fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  int saved = errno;
  umemi_os.close(fd);
  errno = saved;
  return kept;
}
