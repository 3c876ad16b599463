/* SPDX-License-Identifier: BSD-3-Clause */
/* Closing files, and undoing constructors that failed. */
#include "internal.h"

static int close_fd(int fd) {
  /* After EINTR the descriptor is closed on Linux: close(2). */
  return fd >= 0 && umemi_os.close(fd) && errno != EINTR ? errno : 0;
}

umemStatusType umemi_file_close(struct umemiOpenFile *file, bool publish,
                                umemError *error) {
  umemStatusType status = umemOK;
  umemi_file_unclaim(file);
  if (publish)
    status = umemi_temp_publish(file, error);
  int undiscarded = umemi_temp_discard(file);
  if (undiscarded && status == umemOK)
    status = umemi_file_failed(file, undiscarded,
                               "remove the temporary file of", error);
  int const fds[] = {file->io.direct_fd, file->io.fd};
  for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
    int unclosed = close_fd(fds[i]);
    if (unclosed && status == umemOK)
      status = umemi_file_failed(file, unclosed, "close", error);
  }
  close_fd(file->lock_fd); /* nothing was written there */
  close_fd(file->proc_fd);
  umemi_place_close(&file->place);
  free(file->name);
  free(file->temp_name);
  return status;
}

/* Is the file `st` the one that is open? It is if it was created a moment ago,
   and its descriptor could not be kept. */
static bool close_is_ours(struct umemiOpenFile const *file,
                          struct stat const *st) {
  return file->io.fd < 0 || umemi_is_same_file(file->io.fd, st);
}

/* Removes the file that a constructor created, unless the name is another's by
   now, or others have the file or have written to it. */
static void close_remove_created(struct umemiOpenFile *file) {
  struct umemiPlace const *place = &file->place;
  struct stat st;
  if (umemi_os.fstatat(place->dir, place->name, &st, AT_SYMLINK_NOFOLLOW) ||
      !close_is_ours(file, &st) || st.st_size > 0)
    return;
  file->claim.device = st.st_dev; /* not known yet if it failed early */
  file->claim.inode = st.st_ino;
  if (umemi_claim_is_alone(&file->claim))
    umemi_os.unlinkat(place->dir, place->name, 0);
}

void umemi_file_abandon(struct umemiOpenFile *file) {
  umemError ignored;
  if (file->created)
    close_remove_created(file);
  if (file->shares_offset) /* TAKE_FD */
    file->io.fd = -1;
  umemi_file_close(file, false, &ignored);
}
