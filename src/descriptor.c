/* SPDX-License-Identifier: BSD-3-Clause */
#include "internal.h"

#include <time.h>

enum { LEASE_PAUSE = 1000000 /* nanoseconds between two tries */ };

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

/* Each try tells the kernel to ask for the lease, and to take it away in the
   end. A try that blocks could meet a FIFO that has taken the name. */
bool umemi_lease_wait(int dir, char const *name) {
  struct timespec const pause = {0, LEASE_PAUSE};
  struct stat st;
  if (errno != EWOULDBLOCK)
    return false;
  bool is_regular =
      umemi_os.fstatat(dir, name, &st, 0) == 0 && S_ISREG(st.st_mode);
  if (is_regular)
    nanosleep(&pause, NULL);
  errno = EWOULDBLOCK;
  return is_regular;
}
