/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a process gets a segment: it makes one without a name, attaches to the
 * one of a name, or makes that.
 *
 * A new segment is made without a name and gets it when it is whole, by
 * linkat(), which fails if the name is taken. So a creator that is killed
 * leaves nothing. Where that cannot be done the segment is made in an empty
 * file of the name, under the lock. What a killed creator leaves then, or one
 * of an older version has left, is no segment and has no lock: the next who may
 * create makes it whole, or removes it.
 */
#include "../internal.h"

#ifndef MFD_NOEXEC_SEAL /* of Linux 6.3 */
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* --- nameless ------------------------------------------------------------- */

/* Systems that forbid executable memory want the last flag, older ones do not
   know it. */
static int enter_memfd(void) {
  unsigned const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  int fd = umemi_os.memfd_create("umem", flags | MFD_NOEXEC_SEAL);
  if (fd < 0)
    fd = umemi_os.memfd_create("umem", flags);
  return umemi_keep_fd(fd);
}

static umemStatusType enter_seal(struct umemiSegment const *s,
                                 umemError *error) {
  if (umemi_os.fcntl(s->io.fd, F_ADD_SEALS, SEALS))
    return umem_error_fill(error, umemIOError, errno, 0, "seal the segment");
  return umemOK;
}

/* The next best way, for systems that refuse memfd_create(): a file that nobody
   can seal. errno is that of the first way. */
static int enter_unsealed(void) {
  int failed = errno;
  int fd = umemi_segment_open_unnamed();
  errno = failed;
  return fd;
}

static umemStatusType enter_sizeless(umemError *error) {
  return umem_error_fill(error, umemValueError, 0, 0,
                         "a new segment needs a size");
}

umemStatusType umemi_segment_enter_nameless(struct umemiSegment *s,
                                            uint64_t nbytes, umemError *error) {
  if (nbytes == 0)
    return enter_sizeless(error);
  int fd = enter_memfd();
  bool const can_be_sealed = fd >= 0;
  if (fd < 0)
    fd = enter_unsealed();
  if (fd < 0)
    return umem_error_fill(error, umemIOError, errno, 0, "memfd_create");
  umemi_segment_begin(s, fd);
  umemStatusType status = umemi_segment_create(s, nbytes, error);
  if (status == umemOK && can_be_sealed)
    status = enter_seal(s, error);
  if (status != umemOK)
    umemi_segment_end(s);
  return status;
}

/* --- named ---------------------------------------------------------------- */

enum { TRIES = 1000 }; /* each of which another process has foiled */

/* Another process made or removed the name meanwhile. */
#define ENTER_AGAIN UMEM_DECLINED

struct enter {
  char const *path;
  uint64_t nbytes;
  uint32_t flags;
  bool *created_out;
};

static bool enter_may_create(struct enter const *enter) {
  return !(enter->flags & UMEM_SHM_ATTACH) && enter->nbytes > 0;
}

static umemStatusType enter_failed(struct enter const *enter, char const *what,
                                   int failed, umemError *error) {
  return umem_error_fill(error, umemIOError, failed, 0, "%s \"%s\"", what,
                         enter->path);
}

/* Without /proc the lock needs the name, which others may remove. */
static umemStatusType enter_lockable(struct umemiSegment const *s,
                                     umemStatusType status) {
  bool again = status == umemNotSupportedError && !umemi_segment_has_name(s);
  return again ? ENTER_AGAIN : status;
}

/* There is something in the file. */
static umemStatusType enter_whole(struct umemiSegment *s,
                                  struct enter const *enter, umemError *error) {
  if (enter_may_create(enter) && !umemi_segment_has_name(s))
    return ENTER_AGAIN;
  return enter->flags & UMEM_SHM_CREATE
             ? enter_failed(enter, "create", EEXIST, error)
             : umemi_segment_attach(s, enter->nbytes, error);
}

static umemStatusType enter_file(struct umemiSegment *s, int fd,
                                 struct enter const *enter, umemError *error) {
  umemStatusType status = umemOK;
  umemi_segment_begin(s, fd);
  s->path = enter->path;
  if (enter_may_create(enter))
    status = umemi_segment_adopt(s, enter->nbytes, enter->created_out, error);
  if (status == umemOK && !*enter->created_out)
    status = enter_whole(s, enter, error);
  if (status == umemOK)
    status = umemi_segment_ready(s, error);
  status = enter_lockable(s, status);
  if (status != umemOK)
    umemi_segment_end(s);
  return status;
}

static umemStatusType enter_in_place(struct umemiSegment *s,
                                     struct enter const *enter,
                                     umemError *error) {
  int fd = umemi_segment_open(enter->path, O_CREAT | O_EXCL);
  if (fd < 0)
    return errno == EEXIST ? ENTER_AGAIN
                           : enter_failed(enter, "create", errno, error);
  return enter_file(s, fd, enter, error);
}

/* A new segment has its name. */
static umemStatusType enter_named(struct umemiSegment *s,
                                  struct enter const *enter, umemError *error) {
  s->path = enter->path;
  umemStatusType status = enter_lockable(s, umemi_segment_ready(s, error));
  if (status != umemOK)
    umemi_segment_remove_name(s);
  *enter->created_out = status == umemOK;
  return status;
}

static umemStatusType enter_new(struct umemiSegment *s,
                                struct enter const *enter, umemError *error) {
  int link_failed = 0, fd = umemi_segment_open_unnamed();
  if (fd < 0)
    return enter_in_place(s, enter, error);
  umemi_segment_begin(s, fd);
  umemStatusType status = umemi_segment_create(s, enter->nbytes, error);
  if (status == umemOK)
    link_failed = umemi_segment_link(fd, enter->path);
  if (status == umemOK && !link_failed)
    status = enter_named(s, enter, error);
  if (status == umemOK && !link_failed)
    return umemOK;
  umemi_segment_end(s);
  if (link_failed == EEXIST)
    return ENTER_AGAIN;
  return link_failed ? enter_in_place(s, enter, error) : status;
}

static umemStatusType enter_once(struct umemiSegment *s,
                                 struct enter const *enter, umemError *error) {
  struct stat ignored;
  int fd = umemi_segment_open(enter->path, 0);
  if (fd >= 0)
    return enter_file(s, fd, enter, error);
  if (errno == ENOENT && enter_may_create(enter))
    return enter_new(s, enter, error);
  if (errno == ENOENT && !(enter->flags & UMEM_SHM_ATTACH))
    return enter_sizeless(error);
  int failed = errno;
  if (enter->flags & UMEM_SHM_CREATE &&
      umemi_os.lstat(enter->path, &ignored) == 0)
    return enter_failed(enter, "create", EEXIST, error);
  return enter_failed(enter, "open", failed, error);
}

umemStatusType umemi_segment_enter(struct umemiSegment *s, char const *path,
                                   uint64_t nbytes, uint32_t flags,
                                   bool *created_out, umemError *error) {
  struct enter const enter = {path, nbytes, flags, created_out};
  umemStatusType status = ENTER_AGAIN;
  *created_out = false;
  for (int i = 0; i < TRIES && status == ENTER_AGAIN; i++)
    status = enter_once(s, &enter, error);
  return status == ENTER_AGAIN ? enter_failed(&enter, "open", EAGAIN, error)
                               : status;
}
