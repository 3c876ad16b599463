/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of segments: files in the directory of shared memory. */
#include "../internal.h"

#include <time.h>

#define DIRECTORY UMEMI_SEGMENT_DIRECTORY

umemStatusType umemi_segment_path(char const *name,
                                  struct umemiSegmentPath *path_out,
                                  umemError *error) {
  size_t length = strnlen(name, NAME_MAX + 1);
  if (length < 2 || length > NAME_MAX || name[0] != '/' ||
      strchr(name + 1, '/') || !strcmp(name, "/.") || !strcmp(name, "/.."))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "a name is \"/\" and 1 to %d characters other than "
                           "\"/\", not \"%.64s\"",
                           NAME_MAX - 1, name);
  snprintf(path_out->text, sizeof path_out->text, DIRECTORY "%s", name);
  return umemOK;
}

int umemi_segment_open(char const *path, int flags) {
  flags |= O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  int fd = umemi_keep_fd(UMEMI_RETRY(umemi_os.open(path, flags, 0600)));
  return fd < 0 && errno == EWOULDBLOCK
             ? umemi_place_open_leased(AT_FDCWD, path, flags, 0600)
             : fd;
}

int umemi_segment_open_unnamed(void) {
  return umemi_keep_fd(UMEMI_RETRY(
      umemi_os.open(DIRECTORY, O_RDWR | O_CLOEXEC | O_TMPFILE, 0600)));
}

/* The second way needs no /proc: newer systems allow it to whoever opened the
   file, older ones to the privileged. */
int umemi_segment_link(int fd, char const *path) {
  char self[32];
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  if (umemi_os.linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
    return 0;
  if (errno == EEXIST)
    return EEXIST;
  return umemi_os.linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) ? errno : 0;
}

static bool name_is_same(struct stat const *a, struct stat const *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool umemi_segment_has_name(struct umemiSegment const *s) {
  struct stat ours, named;
  return umemi_os.fstat(s->io.fd, &ours) == 0 &&
         umemi_os.lstat(s->path, &named) == 0 && name_is_same(&ours, &named);
}

int umemi_segment_open_again(struct umemiSegment const *s) {
  struct stat ours, other;
  int fd = umemi_segment_open(s->path, 0);
  if (fd < 0)
    return -1;
  if (umemi_os.fstat(s->io.fd, &ours) == 0 && umemi_os.fstat(fd, &other) == 0 &&
      name_is_same(&ours, &other))
    return fd;
  umemi_os.close(fd);
  return -1;
}

/* --- removal -------------------------------------------------------------- */

enum { /* between tries, twice as long each time: most of a second in all */
       LOCK_PAUSE_NS = 5000,
       LOCK_PAUSE_MOST_NS = 400000000
};

/* Of the name, not of the blocks. */
static int name_lock_set(int fd, short type) {
  struct flock lock = {.l_type = type,
                       .l_whence = SEEK_SET,
                       .l_start = UMEMI_SEGMENT_NAME_LOCK,
                       .l_len = 1};
  return umemi_os.fcntl(fd, F_OFD_SETLK, &lock) ? errno : 0;
}

/* A process that is stopped while it has the lock must not stop this one, so
   the name is removed without it in the end. */
static void name_lock(int fd) {
  int failed = name_lock_set(fd, F_WRLCK);
  for (long pause = LOCK_PAUSE_NS;
       (failed == EAGAIN || failed == EACCES) && pause < LOCK_PAUSE_MOST_NS;
       pause *= 2) {
    nanosleep(&(struct timespec){0, pause}, NULL);
    failed = name_lock_set(fd, F_WRLCK);
  }
}

static int name_remove_locked(int fd, char const *path) {
  struct stat ours, named;
  if (umemi_os.fstat(fd, &ours) || umemi_os.lstat(path, &named))
    return errno;
  if (!name_is_same(&ours, &named))
    return ENOENT;
  return umemi_os.unlinkat(AT_FDCWD, path, 0) ? errno : 0;
}

/* Whoever removes the name of a file has its lock. So between the look and the
   removal nobody else can remove the name, and nobody can give it to another
   segment. */
static int name_remove(int fd, char const *path) {
  name_lock(fd);
  int failed = name_remove_locked(fd, path);
  name_lock_set(fd, F_UNLCK);
  return failed;
}

int umemi_segment_remove_name(struct umemiSegment const *s) {
  int failed = name_remove(s->io.fd, s->path);
  return failed == ENOENT ? 0 : failed;
}

/* Without its lock what cannot be opened: no segment of this user. */
int umemi_segment_unlink(char const *path) {
  int fd = umemi_segment_open(path, 0);
  if (fd < 0 && errno == ENOENT)
    return ENOENT;
  if (fd < 0)
    return umemi_os.unlinkat(AT_FDCWD, path, 0) ? errno : 0;
  int failed = name_remove(fd, path);
  umemi_os.close(fd);
  return failed;
}
