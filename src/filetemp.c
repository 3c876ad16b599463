/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The temporary file of UMEM_FILE_ATOMIC. It is written in the directory of the
 * named file, and replaces that in one step and durably, or is removed. Where
 * the system can, it has no name until then, so that nothing is left of a
 * process that is killed.
 */
#include "internal.h"

#include <sys/random.h>
#include <time.h>

enum {
  TEMP_NAMES = 100,     /* that are tried; random, so one is enough */
  TEMP_PIECE = 1 << 18, /* bytes of a copy at a time */
  TEMP_SIZE = 32        /* how much longer than the name they are */
};

/* Differs on each call and in each process. Secrecy is not needed: the file
   is opened with O_EXCL. */
static uint64_t temp_number(void) {
  static _Atomic uint64_t calls;
  struct timespec now = {0, 0};
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number)
    clock_gettime(CLOCK_REALTIME, &now);
  return number + (uint64_t)now.tv_nsec * UINT64_C(0x9E3779B97F4A7C15) +
         ((uint64_t)getpid() << 32) + atomic_fetch_add(&calls, 1);
}

static void temp_invent_name(struct umemiOpenFile *file) {
  snprintf(file->temp_name, TEMP_SIZE + strlen(file->place.name),
           ".%.200s.%016" PRIx64 ".tmp", file->place.name, temp_number());
}

/* --- create --------------------------------------------------------------- */

/* Can the descriptor be found by its number in `proc`? Linking needs that. */
static bool temp_is_in(int proc, int fd) {
  char number[16];
  struct stat st;
  snprintf(number, sizeof number, "%d", fd);
  return umemi_os.fstatat(proc, number, &st, 0) == 0 &&
         umemi_is_same_file(fd, &st);
}

static bool temp_create_nameless(struct umemiOpenFile *file,
                                 mode_t permissions) {
  int proc = umemi_keep_fd(UMEMI_RETRY(
      umemi_os.open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC)));
  if (proc < 0)
    return false;
  int fd = umemi_keep_fd(UMEMI_RETRY(umemi_os.openat(
      file->place.dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, permissions)));
  bool works = fd >= 0 && temp_is_in(proc, fd);
  if (works) {
    file->io.fd = fd;
    file->proc_fd = proc;
    return true;
  }
  if (fd >= 0)
    umemi_os.close(fd);
  umemi_os.close(proc);
  return false;
}

static umemStatusType temp_create_named(struct umemiOpenFile *file,
                                        mode_t permissions, umemError *error) {
  int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, fd = -1;
  for (unsigned i = 0; fd < 0 && i < TEMP_NAMES; i++) {
    temp_invent_name(file);
    fd = UMEMI_RETRY(
        umemi_os.openat(file->place.dir, file->temp_name, flags, permissions));
    if (fd < 0 && errno != EEXIST)
      break;
  }
  file->temp_exists = fd >= 0;
  file->io.fd = umemi_keep_fd(fd);
  return file->io.fd >= 0
             ? umemOK
             : umemi_file_failed(file, errno, "create a temporary file for",
                                 error);
}

/* Whatever the mode is, it can be read: see temp_copy(). */
umemStatusType umemi_temp_create(struct umemiOpenFile *file, mode_t permissions,
                                 umemError *error) {
  size_t size = TEMP_SIZE + strlen(file->place.name);
  file->temp_name = umemi_os.malloc(size);
  if (!file->temp_name)
    return umemi_no_memory(error, "a file name", size);
  if (!temp_create_nameless(file, permissions))
    return temp_create_named(file, permissions, error);
  file->temp_exists = true;
  return umemOK;
}

/* --- publish, or remove --------------------------------------------------- */

/* 0 or errno. */
static int temp_unlink(struct umemiOpenFile const *file) {
  return umemi_os.unlinkat(file->place.dir, file->temp_name, 0) &&
                 errno != ENOENT
             ? errno
             : 0;
}

int umemi_temp_discard(struct umemiOpenFile *file) {
  if (umemi_process() != file->claim.owner ||
      !atomic_exchange(&file->temp_exists, false) || file->proc_fd >= 0)
    return 0;
  int failed = temp_unlink(file);
  if (failed)
    atomic_store(&file->temp_exists, true);
  return failed;
}

/* Gives the file a name that is not in use; 0 or errno. */
static int temp_link(struct umemiOpenFile const *file, char const *name) {
  char number[16];
  int dir = file->place.dir;
  snprintf(number, sizeof number, "%d", file->io.fd);
  int linked =
      file->proc_fd >= 0
          ? umemi_os.linkat(file->proc_fd, number, dir, name, AT_SYMLINK_FOLLOW)
          : umemi_os.linkat(dir, file->temp_name, dir, name, 0);
  return linked ? errno : 0;
}

/* A nameless file cannot replace another: it needs a name for a moment. */
static int temp_name_now(struct umemiOpenFile *file) {
  int failed = EEXIST;
  for (unsigned i = 0; failed == EEXIST && i < TEMP_NAMES; i++) {
    temp_invent_name(file);
    failed = temp_link(file, file->temp_name);
  }
  return failed;
}

/* Replaces the named file; 0 or errno. */
static int temp_rename(struct umemiOpenFile *file) {
  int dir = file->place.dir;
  int failed = file->proc_fd >= 0 ? temp_name_now(file) : 0;
  if (failed)
    return failed;
  if (file->takes_rights)
    failed = umemi_rights_narrow(file);
  if (!failed &&
      umemi_os.renameat(dir, file->temp_name, dir, file->place.name) == 0) {
    atomic_store(&file->temp_exists, false);
    return 0;
  }
  if (!failed)
    failed = errno;
  if (file->proc_fd >= 0)
    temp_unlink(file);
  return failed;
}

static umemStatusType temp_sync(struct umemiOpenFile const *file,
                                umemError *error) {
  return UMEMI_RETRY(umemi_os.fsync(file->io.fd))
             ? umemi_file_failed(file, errno, "fsync the temporary file of",
                                 error)
             : umemOK;
}

/* --- copy ----------------------------------------------------------------- */

static int temp_copy_range(struct umemiFileIo const *src,
                           struct umemiFileIo const *dest, uint64_t at,
                           uint64_t end, char *room) {
  int failed = 0;
  while (!failed && at < end) {
    size_t done, nbytes = TEMP_PIECE;
    if (end - at < nbytes)
      nbytes = (size_t)(end - at);
    failed = umemi_file_read(src, at, room, nbytes, &done);
    if (!failed)
      failed = umemi_file_write(dest, at, room, nbytes, &done);
    at += nbytes;
  }
  return failed;
}

/* Holes stay holes. 0 or errno. */
static int temp_copy_bytes(struct umemiFileIo const *src,
                           struct umemiFileIo const *dest, uint64_t size) {
  char *room = umemi_os.malloc(TEMP_PIECE);
  if (!room)
    return ENOMEM;
  int failed =
      UMEMI_RETRY(umemi_os.ftruncate(dest->fd, (off_t)size)) ? errno : 0;
  for (uint64_t at = 0, data, end; !failed && at < size; at = end) {
    end = size;
    failed = umemi_file_next_data(src, at, size, &data, &end);
    if (!failed)
      failed = temp_copy_range(src, dest, data, end, room);
  }
  free(room);
  return failed;
}

/*
 * Puts a file with a name in the place of the nameless one: the system does not
 * let a process name a file of another user (fs.protected_hardlinks), as the
 * nameless one is after setuid(2). Its rights stay, or are fewer.
 */
static umemStatusType temp_copy(struct umemiOpenFile *file, umemError *error) {
  struct umemiFileIo const src = umemi_file_io(file->io.fd);
  int proc = file->proc_fd;
  struct stat st;
  if (umemi_os.fstat(src.fd, &st))
    return umemi_file_failed(file, errno, "fstat the temporary file of", error);
  umemStatusType status = temp_create_named(file, 0600, error);
  if (status != umemOK) {
    file->io.fd = src.fd;
    return status;
  }
  file->proc_fd = -1;
  int failed = temp_copy_bytes(&src, &file->io, (uint64_t)st.st_size);
  status = failed ? umemi_file_failed(file, failed,
                                      "copy the temporary file of", error)
                  : umemi_rights_copy(file, src.fd, &st, true, error);
  umemi_os.close(src.fd); /* a failure loses nothing: the copy is whole */
  umemi_os.close(proc);
  return status == umemOK ? temp_sync(file, error) : status;
}

/* --- publish -------------------------------------------------------------- */

/* A rename would replace a file that appeared meanwhile. A temporary name that
   is left is removed when the file is closed. 0 or errno. */
static int temp_name_it(struct umemiOpenFile *file) {
  return file->exclusive ? temp_link(file, file->place.name)
                         : temp_rename(file);
}

static umemStatusType temp_replace(struct umemiOpenFile *file,
                                   umemError *error) {
  int failed = temp_name_it(file);
  if (failed == EPERM && file->proc_fd >= 0) {
    umemStatusType status = temp_copy(file, error);
    if (status != umemOK)
      return status;
    failed = temp_name_it(file);
  }
  return failed ? umemi_file_failed(file, failed,
                                    "rename the temporary file to", error)
                : umemOK;
}

umemStatusType umemi_temp_publish(struct umemiOpenFile *file,
                                  umemError *error) {
  if (!file->temp_exists || umemi_process() != file->claim.owner)
    return umemOK;
  umemStatusType status = temp_sync(file, error);
  if (status != umemOK)
    return status;
  status = temp_replace(file, error);
  if (status != umemOK)
    return status;
  /* once more: the first sync recorded a file without a name */
  status = file->proc_fd >= 0 ? temp_sync(file, error) : umemOK;
  if (status != umemOK)
    return status;
  int failed = umemi_place_sync(&file->place, file->io.fd);
  return failed
             ? umemi_file_failed(file, failed, "fsync the directory of", error)
             : umemOK;
}
