/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contexts that have the same file open, segments included. A context does not
 * empty a file that another context of this process has open, and one context
 * of all processes allocates in it.
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

static struct umemiClaim *claim_files[CLAIM_BUCKETS];

/* Returns the bucket, which is also the number of its lock. */
static uint64_t claim_bucket(struct umemiClaim const *claim) {
  return (claim->device ^ claim->inode) % CLAIM_BUCKETS;
}

/* --- the open files of this process --------------------------------------- */

static bool claim_any(struct umemiClaim const *claim) {
  (void)claim;
  return true;
}

/* A forked child inherits entries of its parent. What the parent was doing with
   them does not go on in the child. */
static bool claim_empties(struct umemiClaim const *claim) {
  return claim->empties && claim->owner == umemi_process();
}

static bool claim_allocates(struct umemiClaim const *claim) {
  return claim->allocates && claim->owner == umemi_process();
}

/* Does another context have this file, and fulfil `is_so`? The caller holds the
   lock of the bucket. */
static bool claim_other(struct umemiClaim const *claim,
                        bool (*is_so)(struct umemiClaim const *)) {
  struct umemiClaim const *other = claim_files[claim_bucket(claim)];
  for (; other; other = other->next)
    if (other != claim && other->device == claim->device &&
        other->inode == claim->inode && is_so(other))
      return true;
  return false;
}

bool umemi_claim_enter(struct umemiClaim *claim, bool empties) {
  uint64_t bucket = claim_bucket(claim);
  struct timespec const moment = {0, CLAIM_WAIT};
  umemi_lock(bucket);
  while (claim_other(claim, claim_empties)) { /* no lock is held over I/O */
    umemi_unlock(bucket);
    nanosleep(&moment, NULL);
    umemi_lock(bucket);
  }
  bool alone = !claim_other(claim, claim_any);
  claim->empties = alone && empties;
  claim->next = claim_files[bucket];
  claim_files[bucket] = claim;
  claim->is_entered = true;
  umemi_unlock(bucket);
  return alone;
}

void umemi_claim_emptied(struct umemiClaim *claim) {
  uint64_t bucket = claim_bucket(claim);
  umemi_lock(bucket);
  claim->empties = false;
  umemi_unlock(bucket);
}

void umemi_claim_leave(struct umemiClaim *claim) {
  if (!claim->is_entered)
    return;
  uint64_t bucket = claim_bucket(claim);
  umemi_lock(bucket);
  struct umemiClaim **at = &claim_files[bucket];
  while (*at != claim)
    at = &(*at)->next;
  *at = claim->next;
  claim->is_entered = false;
  umemi_unlock(bucket);
}

bool umemi_claim_is_alone(struct umemiClaim const *claim) {
  uint64_t bucket = claim_bucket(claim);
  umemi_lock(bucket);
  bool alone = !claim_other(claim, claim_any);
  umemi_unlock(bucket);
  return alone;
}

/* --- the lock ------------------------------------------------------------- */

static struct flock claim_byte(short type) {
  return (struct flock){.l_type = type,
                        .l_whence = SEEK_SET,
                        .l_start = (off_t)CLAIM_AT,
                        .l_len = 1};
}

/* POSIX lets a system say either, fcntl(2). */
static bool claim_is_conflict(int failed) {
  return failed == EAGAIN || failed == EACCES;
}

/* Returns 0 if the byte is locked, or if the file has no locks. A conflicting
   lock of another range is the program's own: it does not count. EACCES without
   such a lock is a system that forbids locks. */
static int claim_lock(int fd) {
  int failed = EAGAIN;
  for (unsigned i = 0; i < CLAIM_TRIES; i++) {
    struct flock lock = claim_byte(F_WRLCK);
    if (UMEMI_RETRY(umemi_os.fcntl(fd, F_OFD_SETLK, &lock)) == 0 ||
        !claim_is_conflict(errno))
      return 0;
    failed = errno;
    if (UMEMI_RETRY(umemi_os.fcntl(fd, F_OFD_GETLK, &lock)))
      break;
    if (lock.l_type != F_UNLCK)
      return lock.l_start == (off_t)CLAIM_AT && lock.l_len == 1 ? EAGAIN : 0;
  }
  return failed == EAGAIN ? EAGAIN : 0;
}

static int claim_fd(struct umemiOpenFile const *file) {
  return file->lock_fd >= 0 ? file->lock_fd : file->io.fd;
}

/* Returns false if another context of the process allocates. */
static bool claim_take(struct umemiOpenFile *file) {
  uint64_t bucket = claim_bucket(&file->claim);
  umemi_lock(bucket);
  bool is_free = !claim_other(&file->claim, claim_allocates);
  if (is_free)
    file->claim.allocates = true;
  umemi_unlock(bucket);
  return is_free;
}

static void claim_give(struct umemiOpenFile *file) {
  uint64_t bucket = claim_bucket(&file->claim);
  umemi_lock(bucket);
  file->claim.allocates = false;
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
  if (file->claim.owner != umemi_process())
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
  if (file->is_claimed && file->claim.owner == umemi_process())
    umemi_os.fcntl(claim_fd(file), F_OFD_SETLK, &lock);
  atomic_store(&file->is_claimed, false);
  umemi_claim_leave(&file->claim);
}
