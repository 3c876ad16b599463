/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contexts that have the same file open. A context does not empty a file that
 * another context of this process has open, and one context of all processes
 * allocates in it.
 *
 * A list of open files decides within the process. An advisory lock on one
 * byte, which data never reach, decides between processes.
 */
#include "internal.h"

#include <time.h>

enum {
  CLAIM_BUCKETS = 64,
  CLAIM_TRIES = 3,   /* while other locks come and go */
  CLAIM_WAIT = 50000 /* nanoseconds between two looks */
};

/* The byte is not the last one: F_OFD_GETLK reports a lock that includes the
   last byte with length 0. */
#define CLAIM_AT (INT64_MAX - 1)

static struct umemiOpenFile *claim_files[CLAIM_BUCKETS];

/* Returns the bucket, which is also the number of its lock. */
static uint64_t claim_bucket(struct umemiOpenFile const *file) {
  return (file->device ^ file->inode) % CLAIM_BUCKETS;
}

/* --- the open files of this process --------------------------------------- */

static bool claim_any(struct umemiOpenFile const *file) {
  (void)file;
  return true;
}

/* A forked child inherits entries of its parent. What the parent was doing with
   them does not go on in the child. */
static bool claim_empties(struct umemiOpenFile const *file) {
  return file->empties && file->owner == umemi_process();
}

static bool claim_allocates(struct umemiOpenFile const *file) {
  return file->allocates && file->owner == umemi_process();
}

/* Does another context have this file, and fulfil `is_so`? The caller holds the
   lock of the bucket. */
static bool claim_other(struct umemiOpenFile const *file,
                        bool (*is_so)(struct umemiOpenFile const *)) {
  struct umemiOpenFile const *other = claim_files[claim_bucket(file)];
  for (; other; other = other->next)
    if (other != file && other->device == file->device &&
        other->inode == file->inode && is_so(other))
      return true;
  return false;
}

bool umemi_claim_enter(struct umemiOpenFile *file, bool empties) {
  uint64_t bucket = claim_bucket(file);
  struct timespec const moment = {0, CLAIM_WAIT};
  umemi_lock(bucket);
  while (claim_other(file, claim_empties)) { /* no lock is held over I/O */
    umemi_unlock(bucket);
    nanosleep(&moment, NULL);
    umemi_lock(bucket);
  }
  bool alone = !claim_other(file, claim_any);
  file->empties = alone && empties;
  file->next = claim_files[bucket];
  claim_files[bucket] = file;
  file->is_entered = true;
  umemi_unlock(bucket);
  return alone;
}

void umemi_claim_emptied(struct umemiOpenFile *file) {
  uint64_t bucket = claim_bucket(file);
  umemi_lock(bucket);
  file->empties = false;
  umemi_unlock(bucket);
}

static void claim_leave(struct umemiOpenFile *file) {
  uint64_t bucket = claim_bucket(file);
  umemi_lock(bucket);
  struct umemiOpenFile **at = &claim_files[bucket];
  while (*at != file)
    at = &(*at)->next;
  *at = file->next;
  file->is_entered = false;
  umemi_unlock(bucket);
}

/* --- the lock ------------------------------------------------------------- */

static struct flock claim_byte(short type) {
  return (struct flock){.l_type = type,
                        .l_whence = SEEK_SET,
                        .l_start = (off_t)CLAIM_AT,
                        .l_len = 1};
}

/* Returns 0 if the byte is locked, or if the file has no locks. A conflicting
   lock of another range is the program's own: it does not count. */
static int claim_lock(int fd) {
  for (unsigned i = 0; i < CLAIM_TRIES; i++) {
    struct flock lock = claim_byte(F_WRLCK);
    if (UMEMI_RETRY(umemi_os.fcntl(fd, F_OFD_SETLK, &lock)) == 0 ||
        errno != EAGAIN)
      return 0;
    if (UMEMI_RETRY(umemi_os.fcntl(fd, F_OFD_GETLK, &lock)))
      break;
    if (lock.l_type != F_UNLCK)
      return lock.l_start == (off_t)CLAIM_AT && lock.l_len == 1 ? EAGAIN : 0;
  }
  return EAGAIN;
}

static int claim_fd(struct umemiOpenFile const *file) {
  return file->lock_fd >= 0 ? file->lock_fd : file->io.fd;
}

/* Returns false if another context of the process allocates. */
static bool claim_take(struct umemiOpenFile *file) {
  uint64_t bucket = claim_bucket(file);
  umemi_lock(bucket);
  bool is_free = !claim_other(file, claim_allocates);
  if (is_free)
    file->allocates = true;
  umemi_unlock(bucket);
  return is_free;
}

static void claim_give(struct umemiOpenFile *file) {
  uint64_t bucket = claim_bucket(file);
  umemi_lock(bucket);
  file->allocates = false;
  umemi_unlock(bucket);
}

static umemStatusType claim_new(struct umemiOpenFile *file, umemError *error) {
  bool is_first = claim_take(file);
  int failed = is_first ? claim_lock(claim_fd(file)) : EAGAIN;
  if (!failed) {
    atomic_store(&file->is_claimed, true);
    return umemOK;
  }
  if (is_first)
    claim_give(file);
  return umemi_file_failed(file, failed,
                           "another context allocates in this file (see "
                           "UMEM_FILE_NO_LOCK):",
                           error);
}

umemStatusType umemi_file_claim(struct umemiOpenFile *file, umemError *error) {
  if (!file->mode.writable) /* hands out bytes that are there */
    return umemOK;
  if (file->owner != umemi_process())
    return umem_error_fill(error, umemRuntimeError, 0, 0,
                           "allocate in a forked child: the parent process "
                           "allocates in this file, and both would get the "
                           "same ranges: \"%s\"",
                           file->name);
  if (file->is_atomic || file->has_no_lock || atomic_load(&file->is_claimed))
    return umemOK;
  return claim_new(file, error);
}

void umemi_file_unclaim(struct umemiOpenFile *file) {
  struct flock lock = claim_byte(F_UNLCK);
  /* closing is not enough: forked children have the descriptor, too */
  if (file->is_claimed && file->owner == umemi_process())
    umemi_os.fcntl(claim_fd(file), F_OFD_SETLK, &lock);
  atomic_store(&file->is_claimed, false);
  if (file->is_entered)
    claim_leave(file);
}
