/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The place of a file: an open directory, and a name in it. Once the directory
 * is open, a change of the path that led there has no effect. No absolute path
 * is made, so directories above need not be searchable.
 */
#include "internal.h"

#include <sys/fsuid.h>
#include <time.h>

enum {
  PLACE_LINKS = 40,       /* that are followed: as many as by the kernel */
  LEASE_TRIES = 6000,     /* a minute; the kernel takes leases away in 45 s */
  LEASE_PAUSE = 10000000, /* nanoseconds */
  PLACE_FLAGS = O_PATH | O_DIRECTORY | O_CLOEXEC
};

/* Returns the last component. It includes trailing slashes, because the kernel
   must see them. */
static char const *place_last(char const *path) {
  char const *last = path + strlen(path);
  while (last > path && last[-1] == '/')
    last--;
  while (last > path && last[-1] != '/')
    last--;
  return last;
}

/* Moves the place to `path`, relative to its directory. Returns 0 or errno, and
   then the place is unchanged. */
static int place_move(struct umemiPlace *place, char const *path) {
  char const *last = place_last(path);
  char *name = umemi_os.strdup(last);
  char *above = name ? umemi_os.strdup(last > path ? path : ".") : NULL;
  if (above && last > path)
    above[last - path] = '\0';
  int dir = above ? umemi_keep_fd(UMEMI_RETRY(
                        umemi_os.openat(place->dir, above, PLACE_FLAGS)))
                  : -1;
  int failed = dir < 0 ? errno : 0;
  free(above);
  if (failed) {
    free(name);
    return failed;
  }
  umemi_place_close(place);
  place->dir = dir;
  place->name = name;
  return 0;
}

int umemi_place_open(struct umemiPlace *place, char const *path) {
  place->dir = AT_FDCWD;
  return place_move(place, path);
}

int umemi_place_here(struct umemiPlace *place, char const *path) {
  place->dir = AT_FDCWD;
  place->name = umemi_os.strdup(path);
  return place->name ? 0 : ENOMEM;
}

void umemi_place_close(struct umemiPlace *place) {
  if (place->dir >= 0)
    umemi_os.close(place->dir);
  free(place->name);
  place->dir = -1;
  place->name = NULL;
}

/* True unless the system says that it does not protect links. */
static bool place_protects_links(void) {
  char text[4] = "";
  umemi_read_text("/proc/sys/fs/protected_symlinks", text, sizeof text);
  return text[0] != '0';
}

/* Refuses links that another user has put into a directory like /tmp. This is
   the rule of fs.protected_symlinks, which the kernel does not apply to
   readlink(). To let it judge the name would be a race: the link is open. */
static int place_check_owner(struct umemiPlace const *place,
                             struct stat const *link) {
  struct stat dir;
  if (umemi_os.fstat(place->dir, &dir))
    return errno;
  bool is_shared = dir.st_mode & S_ISVTX && dir.st_mode & S_IWOTH;
  if (!is_shared || link->st_uid == dir.st_uid || !place_protects_links())
    return 0;
  uid_t follower = (uid_t)setfsuid((uid_t)-1); /* changes nothing */
  return link->st_uid == follower ? 0 : EACCES;
}

/* `fd` is the link itself. */
static int place_follow(struct umemiPlace *place, int fd,
                        struct stat const *link) {
  int failed = place_check_owner(place, link);
  char *text = failed ? NULL : umemi_os.malloc(PATH_MAX);
  if (!text)
    return failed ? failed : ENOMEM;
  ssize_t length = umemi_os.readlinkat(fd, "", text, PATH_MAX);
  if (length < 0)
    failed = errno;
  else if (length == PATH_MAX)
    failed = ENAMETOOLONG;
  else {
    text[length] = '\0';
    failed = place_move(place, text);
  }
  free(text);
  place->followed = true;
  return failed;
}

/* Opens the name itself, without following a link. */
static int place_peek(struct umemiPlace const *place, struct stat *st_out) {
  int fd = umemi_keep_fd(UMEMI_RETRY(umemi_os.openat(
      place->dir, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC)));
  if (fd < 0 || umemi_os.fstat(fd, st_out) == 0)
    return fd;
  int failed = errno;
  umemi_os.close(fd);
  errno = failed;
  return -1;
}

int umemi_place_look(struct umemiPlace *place, bool follow, int *fd_out,
                     struct stat *st_out) {
  for (unsigned links = 0; links <= PLACE_LINKS; links++) {
    int fd = place_peek(place, st_out);
    *fd_out = fd;
    if (fd < 0)
      return errno == ENOENT ? 0 : errno;
    if (!follow || !S_ISLNK(st_out->st_mode))
      return 0;
    int failed = place_follow(place, fd, st_out);
    umemi_os.close(fd);
    *fd_out = -1;
    if (failed)
      return failed;
  }
  return ELOOP;
}

void umemi_place_prepare_sync(struct umemiPlace *place) {
  int dir = umemi_keep_fd(UMEMI_RETRY(
      umemi_os.openat(place->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (dir < 0)
    return;
  umemi_os.close(place->dir);
  place->dir = dir;
}

/* Does the error say that the file system cannot sync directories? */
static bool place_cannot_sync(int failed) {
  return failed == EINVAL || failed == EOPNOTSUPP || failed == ENOTTY ||
         failed == EROFS || failed == ENOSYS || failed == EISDIR;
}

int umemi_place_sync(struct umemiPlace const *place, int fd) {
  int failed = UMEMI_RETRY(umemi_os.fsync(place->dir)) ? errno : 0;
  if (failed == EBADF) /* O_PATH: the directory may not be read */
    failed = UMEMI_RETRY(umemi_os.syncfs(fd)) ? errno : 0;
  return place_cannot_sync(failed) ? 0 : failed;
}

bool umemi_is_same_file(int fd, struct stat const *st) {
  struct stat other;
  return umemi_os.fstat(fd, &other) == 0 && other.st_dev == st->st_dev &&
         other.st_ino == st->st_ino;
}

/* Opens the name, if it is the name of the file `st`. */
static int place_open_same(struct umemiPlace const *place,
                           struct stat const *st, int flags) {
  int fd = umemi_keep_fd(
      UMEMI_RETRY(umemi_os.openat(place->dir, place->name, flags)));
  if (fd < 0 || umemi_is_same_file(fd, st))
    return fd;
  umemi_os.close(fd);
  errno = ESTALE;
  return -1;
}

/* Does the error of open() say that /proc leads nowhere? */
static bool place_is_unreachable(int failed) {
  return failed == ENOENT || failed == ENOTDIR || failed == EACCES ||
         failed == EPERM || failed == ELOOP;
}

int umemi_place_reopen(struct umemiPlace const *place, int fd,
                       struct stat const *st, int flags) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int again = umemi_keep_fd(UMEMI_RETRY(umemi_os.open(path, flags)));
  if (again >= 0 || !place_is_unreachable(errno) || !place->name)
    return again;
  return place_open_same(place, st, flags);
}

/* --- leases --------------------------------------------------------------- */

/* Each try makes the kernel ask for the lease. */
static int lease_poll(int dir, char const *name, int flags,
                      mode_t permissions) {
  struct timespec const pause = {0, LEASE_PAUSE};
  int fd = -1;
  errno = EWOULDBLOCK;
  for (unsigned i = 0; fd < 0 && errno == EWOULDBLOCK && i < LEASE_TRIES; i++) {
    nanosleep(&pause, NULL);
    fd = UMEMI_RETRY(umemi_os.openat(dir, name, flags, permissions));
  }
  return umemi_keep_fd(fd);
}

/* What is held with O_PATH is waited for without end, as by open(2). Where
   there is no /proc, only the name is left, which a FIFO may have by now. */
int umemi_place_open_leased(int dir, char const *name, int flags,
                            mode_t permissions) {
  struct umemiPlace const nameless = {.dir = -1};
  int const blocking = flags & ~(O_NOFOLLOW | O_NONBLOCK | O_CREAT);
  struct stat st;
  int held = umemi_keep_fd(UMEMI_RETRY(
      umemi_os.openat(dir, name, O_PATH | O_CLOEXEC | (flags & O_NOFOLLOW))));
  if (held < 0)
    return -1;
  int fd = -1, failed = umemi_os.fstat(held, &st) ? errno
                        : S_ISREG(st.st_mode)     ? 0
                                                  : EWOULDBLOCK;
  if (!failed) {
    fd = umemi_place_reopen(&nameless, held, &st, blocking);
    if (fd < 0 && place_is_unreachable(errno))
      fd = lease_poll(dir, name, flags, permissions);
    failed = errno;
  }
  umemi_os.close(held);
  errno = failed;
  return fd;
}
