/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The temporary file of UMEM_FILE_ATOMIC: it is written beside the named one,
 * and takes its place at once and durably, or is removed.
 */
#include "internal.h"

#include <sys/random.h>
#include <time.h>

enum {
  TEMP_NAMES = 100, /* that are tried; random, so one is enough */
  TEMP_SIZE = 32    /* what they are longer than the name */
};

/* Splits the path of the file to be replaced. A symbolic link is followed, so
   that the file it points to is replaced and not the link. */
static umemStatusType temp_place(struct umemiOpenFile *file, bool replaces,
                                 umemError *error) {
  char *path = replaces ? umemi_os.realpath(file->name, NULL)
                        : umemi_os.strdup(file->name);
  if (!path && errno == ENOMEM)
    return umemi_no_memory(error, "a file name", strlen(file->name));
  if (!path)
    return umemi_file_failed(file, errno, "realpath", error);
  char const *slash = strrchr(path, '/');
  size_t size = TEMP_SIZE + strlen(path);
  file->base_name = umemi_os.strdup(slash ? slash + 1 : path);
  file->temp_name = umemi_os.malloc(size);
  umemi_file_open_directory(file, path);
  free(path);
  if (!file->base_name || !file->temp_name)
    return umemi_no_memory(error, "a file name", size);
  if (file->dir_fd < 0)
    return umemi_file_failed(file, file->dir_errno, "open the directory of",
                             error);
  return umemOK;
}

/* Another one on each call and in each process. Secrecy is not needed: the file
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

static umemStatusType temp_open(struct umemiOpenFile *file, int access,
                                mode_t permissions, umemError *error) {
  size_t size = TEMP_SIZE + strlen(file->base_name);
  int flags = access | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  for (unsigned i = 0; file->io.fd < 0 && i < TEMP_NAMES; i++) {
    snprintf(file->temp_name, size, ".%.200s.%016" PRIx64 ".tmp",
             file->base_name, temp_number());
    file->io.fd = UMEMI_RETRY(
        umemi_os.openat(file->dir_fd, file->temp_name, flags, permissions));
    if (file->io.fd < 0 && errno != EEXIST)
      break;
  }
  file->temp_exists = file->io.fd >= 0;
  return file->temp_exists
             ? umemOK
             : umemi_file_failed(file, errno, "create a temporary file for",
                                 error);
}

umemStatusType umemi_temp_create(struct umemiOpenFile *file, bool replaces,
                                 int access, mode_t permissions,
                                 umemError *error) {
  umemStatusType status = temp_place(file, replaces, error);
  return status == umemOK ? temp_open(file, access, permissions, error)
                          : status;
}

int umemi_temp_discard(struct umemiOpenFile *file) {
  if (umemi_process() != file->owner ||
      !atomic_exchange(&file->temp_exists, false))
    return 0;
  if (umemi_os.unlinkat(file->dir_fd, file->temp_name, 0) == 0 ||
      errno == ENOENT)
    return 0;
  int failed = errno;
  atomic_store(&file->temp_exists, true);
  return failed;
}

/* Gives the temporary file its name; 0 or errno. */
static int temp_rename(struct umemiOpenFile *file) {
  if (file->exclusive) /* rename would replace what is there by now */
    return umemi_os.linkat(file->dir_fd, file->temp_name, file->dir_fd,
                           file->base_name, 0)
               ? errno
               : 0; /* and the other name is removed when it is closed */
  if (umemi_os.renameat(file->dir_fd, file->temp_name, file->dir_fd,
                        file->base_name))
    return errno;
  atomic_store(&file->temp_exists, false);
  return 0;
}

umemStatusType umemi_temp_publish(struct umemiOpenFile *file,
                                  umemError *error) {
  if (!file->temp_exists || umemi_process() != file->owner)
    return umemOK;
  if (UMEMI_RETRY(umemi_os.fsync(file->io.fd)))
    return umemi_file_failed(file, errno, "fsync the temporary file of", error);
  int failed = temp_rename(file);
  if (failed)
    return umemi_file_failed(file, failed, "rename the temporary file to",
                             error);
  if (UMEMI_RETRY(umemi_os.fsync(file->dir_fd)))
    return umemi_file_failed(file, errno, "fsync the directory of", error);
  return umemOK;
}
