/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening files: modes, options, and what may be opened.
 */
#include "internal.h"

#include <linux/fs.h>

/* What one call of umemi_file_open() works on. */
struct opening {
  struct umemiOpenFile *file;
  umemFileOptions options;
  bool maps;
  int access;      /* O_RDONLY ... */
  int missing;     /* errno of looking at the name before, or 0 */
  struct stat old; /* of the file then, if not missing */
  struct stat st;  /* of the file that is open */
  int old_fd;      /* O_PATH: what an ATOMIC one will replace, or -1 */
};

/* The name comes last: it may be long, and the text is cut at the end. */
umemStatusType umemi_file_failed(struct umemiOpenFile const *file,
                                 int sys_errno, char const *what,
                                 umemError *error) {
  umemStatusType type = sys_errno == ENOMEM ? umemMemoryError : umemIOError;
  return umem_error_fill(error, type, sys_errno, 0, "%s \"%s\"", what,
                         file->name);
}

/* --- what may be opened --------------------------------------------------- */

/* 0 for a regular file or a block device, else the errno to tell. */
static int kind_refused(mode_t mode) {
  if (S_ISREG(mode) || S_ISBLK(mode))
    return 0;
  return S_ISDIR(mode) ? EISDIR : ESPIPE;
}

static umemStatusType kind_tell(struct opening const *o, int refused,
                                umemError *error) {
  return umemi_file_failed(o->file, refused,
                           "neither a regular file nor a block device:", error);
}

/* Before opening: a FIFO would wait, a tape rewind. */
static umemStatusType kind_check_name(struct opening *o, umemError *error) {
  struct umemiPlace const *place = &o->file->place;
  bool nofollow = o->options.flags & UMEM_FILE_NOFOLLOW;
  o->missing = umemi_os.fstatat(place->dir, place->name, &o->old,
                                nofollow ? AT_SYMLINK_NOFOLLOW : 0)
                   ? errno
                   : 0;
  if (o->missing || S_ISLNK(o->old.st_mode)) /* which O_NOFOLLOW refuses */
    return umemOK;
  int refused = kind_refused(o->old.st_mode);
  return refused ? kind_tell(o, refused, error) : umemOK;
}

static umemStatusType kind_check_fd(struct opening *o, umemError *error) {
  struct umemiOpenFile *file = o->file;
  if (umemi_os.fstat(file->io.fd, &o->st))
    return umemi_file_failed(o->file, errno, "fstat", error);
  int refused = kind_refused(o->st.st_mode);
  if (refused)
    return kind_tell(o, refused, error);
  file->is_block = S_ISBLK(o->st.st_mode);
  file->claim.device = file->is_block ? o->st.st_rdev : o->st.st_dev;
  file->claim.inode = file->is_block ? 0 : o->st.st_ino;
  file->size = (uint64_t)o->st.st_size;
  if (file->is_block && umemi_os.ioctl(file->io.fd, BLKGETSIZE64, &file->size))
    return umemi_file_failed(o->file, errno, "size of block device", error);
  return umemOK;
}

/* --- opening -------------------------------------------------------------- */

static umemStatusType open_refused(struct opening const *o, int failed,
                                   char const *what, umemError *error) {
  bool link = failed == ELOOP && o->options.flags & UMEM_FILE_NOFOLLOW;
  return umemi_file_failed(
      o->file, failed, link ? "NOFOLLOW, but a symbolic link:" : what, error);
}

static int open_flags(struct opening const *o) {
  int nofollow = o->options.flags & UMEM_FILE_NOFOLLOW ? O_NOFOLLOW : 0;
  /* not blocking: what is a FIFO by now must not make us wait */
  return o->access | nofollow | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
}

static mode_t open_permissions(struct opening const *o) {
  return o->options.permissions ? (mode_t)o->options.permissions : 0666;
}

/* Returns a descriptor, or -1. O_CREAT makes the system refuse files that other
   users have planted in directories like /tmp (fs.protected_regular). */
static int open_existing(struct opening const *o) {
  struct umemiPlace const *place = &o->file->place;
  int flags = open_flags(o) | (o->file->mode.creates ? O_CREAT : 0);
  int fd = umemi_keep_fd(UMEMI_RETRY(
      umemi_os.openat(place->dir, place->name, flags, open_permissions(o))));
  return fd < 0 && errno == EWOULDBLOCK
             ? umemi_place_open_leased(place->dir, place->name, flags,
                                       open_permissions(o))
             : fd;
}

/* Moves the place to where a dangling link leads. Returns 0 or errno. */
static int open_resolve(struct opening *o) {
  struct stat st;
  int fd;
  if (o->options.flags & (UMEM_FILE_NOFOLLOW | UMEM_FILE_EXCL))
    return 0; /* O_EXCL refuses a link */
  int failed = umemi_place_look(&o->file->place, true, &fd, &st);
  if (fd >= 0)
    umemi_os.close(fd);
  return failed;
}

/* Returns a descriptor, or -1. */
static int open_new(struct opening *o) {
  struct umemiOpenFile *file = o->file;
  int failed = open_resolve(o);
  if (failed) {
    errno = failed;
    return -1;
  }
  int fd = UMEMI_RETRY(umemi_os.openat(file->place.dir, file->place.name,
                                       open_flags(o) | O_CREAT | O_EXCL,
                                       open_permissions(o)));
  file->created = fd >= 0;
  return umemi_keep_fd(fd);
}

static int open_creating(struct opening *o) {
  bool exclusive = o->options.flags & UMEM_FILE_EXCL;
  int fd = -1;
  if (o->missing || exclusive)
    fd = open_new(o);
  if (fd < 0 && !exclusive && (!o->missing || errno == EEXIST))
    fd = open_existing(o);
  return fd;
}

/* Is the name new, also if another process created it meanwhile? */
static bool open_is_new(struct opening const *o) {
  bool is_another =
      o->st.st_ino != o->old.st_ino || o->st.st_dev != o->old.st_dev;
  return o->file->mode.creates && (o->missing || is_another);
}

static umemStatusType open_named(struct opening *o, umemError *error) {
  struct umemiOpenFile *file = o->file;
  umemStatusType status = kind_check_name(o, error);
  if (status != umemOK)
    return status;
  file->io.fd = file->mode.creates ? open_creating(o) : open_existing(o);
  if (file->io.fd < 0)
    return open_refused(o, errno, "open", error);
  status = kind_check_fd(o, error);
  file->has_new_name = open_is_new(o);
  if (file->has_new_name)
    umemi_place_prepare_sync(&file->place);
  return status;
}

static umemStatusType open_taken(struct opening *o, umemError *error) {
  int fd = o->options.fd;
  int flags = umemi_os.fcntl(fd, F_GETFL);
  char const *fault = NULL;
  if (flags < 0)
    return umem_error_fill(error, umemValueError, errno, 0, "options->fd %d",
                           fd);
  if (flags & O_PATH ||
      ((flags & O_ACCMODE) != O_RDWR && (flags & O_ACCMODE) != o->access))
    fault = "not open for what the mode asks";
  else if (flags & O_APPEND)
    fault = "open with O_APPEND, which moves what is written to the end";
  else if (flags & O_DIRECT)
    fault = "open with O_DIRECT: use UMEM_FILE_DIRECT instead";
  if (fault)
    return umem_error_fill(error, umemValueError, 0, 0, "options->fd %d: %s",
                           fd, fault);
  o->file->io.fd = fd;
  o->file->shares_offset = true;
  return kind_check_fd(o, error);
}

/* A lock belongs to the open file description, which other processes may share:
   the context gets one of its own, if it can be had. */
static void open_lock_fd(struct opening const *o) {
  struct umemiOpenFile *file = o->file;
  struct umemiPlace const nameless = {.dir = -1};
  if (file->mode.writable && !file->has_no_lock)
    file->lock_fd =
        umemi_place_reopen(&nameless, file->io.fd, &o->st,
                           O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* Finds what will be replaced. */
static umemStatusType atomic_look(struct opening *o, umemError *error) {
  struct umemiPlace *place = &o->file->place;
  bool follow = !(o->options.flags & (UMEM_FILE_NOFOLLOW | UMEM_FILE_EXCL));
  int failed = umemi_place_look(place, follow, &o->old_fd, &o->old);
  o->missing = o->old_fd < 0 ? ENOENT : 0;
  if (!failed && o->missing && place->name[strlen(place->name) - 1] == '/')
    failed = EISDIR;
  if (failed)
    return open_refused(o, failed, "open", error);
  if (o->missing && place->followed)
    return umemi_file_failed(o->file, ENOENT,
                             "a symbolic link to nothing:", error);
  return umemOK;
}

/* Refuses files that ATOMIC cannot replace. */
static umemStatusType atomic_check(struct opening const *o, umemError *error) {
  if (o->missing)
    return umemOK;
  if (o->options.flags & UMEM_FILE_EXCL)
    return umemi_file_failed(o->file, EEXIST, "open", error);
  if (S_ISLNK(o->old.st_mode))
    return open_refused(o, ELOOP, "open", error);
  if (S_ISBLK(o->old.st_mode))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "options: ATOMIC would replace the block device by "
                           "a file: \"%s\"",
                           o->file->name);
  int refused = kind_refused(o->old.st_mode);
  return refused ? kind_tell(o, refused, error) : umemOK;
}

/* Does the new file get the permissions of the old one? */
static bool atomic_is_alike(struct opening const *o) {
  return !o->missing && !o->options.permissions;
}

/* The temporary file is its owner's alone until atomic_dress(). */
static umemStatusType open_atomic(struct opening *o, umemError *error) {
  struct umemiOpenFile *file = o->file;
  file->is_atomic = true;
  file->takes_rights = !o->options.permissions;
  file->exclusive = o->options.flags & UMEM_FILE_EXCL;
  umemStatusType status = atomic_look(o, error);
  if (status == umemOK)
    status = atomic_check(o, error);
  if (status != umemOK)
    return status;
  umemi_place_prepare_sync(&file->place);
  status = umemi_temp_create(
      file, atomic_is_alike(o) ? 0600 : open_permissions(o), error);
  return status == umemOK ? kind_check_fd(o, error) : status;
}

/* Comes after all descriptors are open: the rights may forbid to open more. */
static umemStatusType atomic_dress(struct opening const *o, umemError *error) {
  return o->old_fd < 0 ? umemOK
                       : umemi_rights_copy(o->file, o->old_fd, &o->old,
                                           atomic_is_alike(o), error);
}

/* --- the rest of the constructor ------------------------------------------ */

/* Returns where the open file has a name; `name` is NULL if it has none. */
static struct umemiPlace direct_place(struct umemiOpenFile const *file) {
  struct umemiPlace place = file->place;
  if (file->is_atomic)
    place.name = file->proc_fd < 0 ? file->temp_name : NULL;
  return place;
}

static umemStatusType open_direct(struct opening const *o, umemError *error) {
  struct umemiOpenFile *file = o->file;
  struct umemiPlace const place = direct_place(file);
  file->io.direct_fd = umemi_place_reopen(
      &place, file->io.fd, &o->st, o->access | O_DIRECT | O_CLOEXEC | O_NOCTTY);
  if (file->io.direct_fd >= 0)
    return umemOK;
  if (errno == EINVAL)
    return umem_error_fill(error, umemNotSupportedError, EINVAL, 0,
                           "this file system has no O_DIRECT: \"%s\"",
                           file->name);
  return umemi_file_failed(file, errno,
                           place.name ? "open with O_DIRECT"
                                      : "open with O_DIRECT, by /proc/self/fd "
                                        "as there is no name:",
                           error);
}

static umemStatusType open_place(struct opening *o, umemError *error) {
  struct umemiOpenFile *file = o->file;
  /* modes r and r+ have no new name to sync */
  int failed = file->mode.creates ? umemi_place_open(&file->place, file->name)
                                  : umemi_place_here(&file->place, file->name);
  if (failed)
    return open_refused(o, failed, "open", error);
  return o->options.flags & UMEM_FILE_ATOMIC ? open_atomic(o, error)
                                             : open_named(o, error);
}

static umemStatusType open_all(struct opening *o, umemError *error) {
  uint32_t flags = o->options.flags;
  umemStatusType status =
      flags & UMEM_FILE_TAKE_FD ? open_taken(o, error) : open_place(o, error);
  if (status == umemOK && flags & UMEM_FILE_DIRECT)
    status = open_direct(o, error);
  if (status == umemOK && flags & UMEM_FILE_TAKE_FD) {
    if (umemi_os.fcntl(o->file->io.fd, F_SETFD, FD_CLOEXEC))
      return umemi_file_failed(o->file, errno, "FD_CLOEXEC", error);
    open_lock_fd(o);
  }
  if (status == umemOK)
    status = atomic_dress(o, error);
  return status == umemOK && !o->maps ? umemi_file_settle(o->file, error)
                                      : status;
}

/* --- the last step -------------------------------------------------------- */

static umemStatusType settle_empty(struct umemiOpenFile *file, bool alone,
                                   umemError *error) {
  struct stat st;
  if (umemi_os.fstat(file->io.fd, &st))
    return umemi_file_failed(file, errno, "fstat", error);
  if (!alone && st.st_size)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "emptying the file would lose its %" PRIu64
                           " bytes, and a context of this process has it open: "
                           "use UMEM_FILE_ATOMIC: \"%s\"",
                           (uint64_t)st.st_size, file->name);
  umemStatusType status = umemi_file_claim(file, error);
  file->size = 0;
  if (status != umemOK || !st.st_size)
    return status;
  if (UMEMI_RETRY(umemi_os.ftruncate(file->io.fd, 0)))
    return umemi_file_failed(file, errno, "ftruncate", error);
  return umemOK;
}

/* Comes last in a constructor: one that fails has not emptied the file. */
umemStatusType umemi_file_settle(struct umemiOpenFile *file, umemError *error) {
  bool empties = file->mode.truncates && !file->is_block && !file->is_atomic;
  bool alone = umemi_claim_enter(&file->claim, empties);
  umemStatusType status = empties ? settle_empty(file, alone, error) : umemOK;
  umemi_claim_emptied(&file->claim);
  if (!file->has_new_name && !file->is_atomic)
    umemi_place_close(&file->place); /* needed no more */
  return status;
}

/* --- all of it ------------------------------------------------------------ */

static void open_init(struct umemiOpenFile *file, uint32_t flags) {
  *file = (struct umemiOpenFile){.io = umemi_file_io(-1),
                                 .place = {.dir = -1},
                                 .proc_fd = -1,
                                 .lock_fd = -1,
                                 .has_no_lock = flags & UMEM_FILE_NO_LOCK,
                                 .claim = {.owner = umemi_process()}};
}

umemStatusType umemi_file_open(struct umemiOpenFile *file, char const *filename,
                               char const *mode, umemFileOptions const *options,
                               bool maps, umemError *error) {
  struct opening o = {
      .file = file, .options = *options, .maps = maps, .old_fd = -1};
  open_init(file, options->flags);
  if (!umemi_file_parse_mode(mode, &file->mode))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "mode must be one of r r+ w w+ a a+, with a b "
                           "behind the first letter if you like: \"%.40s\"",
                           mode);
  umemStatusType status = umemi_file_check_options(&file->mode, options, error);
  if (status != umemOK)
    return status;
  o.access = !file->mode.writable          ? O_RDONLY
             : file->mode.readable || maps ? O_RDWR
                                           : O_WRONLY;
  char fd_name[32];
  snprintf(fd_name, sizeof fd_name, "descriptor %d", options->fd);
  file->name = umemi_os.strdup(filename ? filename : fd_name);
  if (!file->name)
    return umemi_no_memory(error, "a file name",
                           strlen(filename ? filename : fd_name));
  status = open_all(&o, error);
  if (o.old_fd >= 0)
    umemi_os.close(o.old_fd);
  if (status != umemOK)
    umemi_file_abandon(file);
  return status;
}
