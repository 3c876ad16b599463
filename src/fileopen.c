/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening and closing files: modes, options, and what may be opened.
 */
#include "internal.h"

#include <linux/fs.h>

enum {
  FILE_FLAGS = UMEM_FILE_NOFOLLOW | UMEM_FILE_EXCL | UMEM_FILE_DIRECT |
               UMEM_FILE_TAKE_FD | UMEM_FILE_ATOMIC
};

/* What one call of umemi_file_open() works on. */
struct opening {
  struct umemiOpenFile *file;
  umemFileOptions options;
  bool maps;
  int access;  /* O_RDONLY ... */
  int missing; /* errno of stat() before; of a link to nothing, too; or 0 */
  mode_t kept; /* permissions of what was not missing */
};

/* The name comes last: it may be long, and the text is cut at the end. */
umemStatusType umemi_file_failed(struct umemiOpenFile const *file,
                                 int sys_errno, char const *what,
                                 umemError *error) {
  return umem_error_fill(error, umemIOError, sys_errno, 0, "%s \"%s\"", what,
                         file->name);
}

/* --- mode and options ----------------------------------------------------- */

/* r r+ w w+ a a+, with at most one b after the first letter. */
static bool mode_parse(char const *text, struct umemiFileMode *mode) {
  bool plus = false, binary = false;
  *mode = (struct umemiFileMode){.readable = text[0] == 'r',
                                 .writable = text[0] != 'r',
                                 .creates = text[0] != 'r',
                                 .truncates = text[0] == 'w',
                                 .appends = text[0] == 'a'};
  if (text[0] != 'r' && text[0] != 'w' && text[0] != 'a')
    return false;
  for (char const *p = text + 1; *p; p++) {
    bool *seen = *p == '+' ? &plus : *p == 'b' ? &binary : NULL;
    if (!seen || *seen)
      return false;
    *seen = true;
  }
  mode->readable |= plus;
  mode->writable |= plus;
  return true;
}

static umemStatusType options_check(struct opening const *o, umemError *error) {
  struct umemiFileMode const *mode = &o->file->mode;
  uint32_t flags = o->options.flags;
  char const *fault = NULL;
  if (flags & ~(uint32_t)FILE_FLAGS)
    fault = "flags has unknown bits";
  else if (o->options.permissions & ~(uint32_t)0777)
    fault = "permissions has bits outside 0777";
  else if (o->options.reserved)
    fault = "reserved is not 0";
  else if (flags & UMEM_FILE_EXCL && !mode->creates)
    fault = "EXCL goes with modes that create";
  else if (flags & UMEM_FILE_ATOMIC && !mode->truncates)
    fault = "ATOMIC goes with modes w and w+";
  else if (flags & UMEM_FILE_TAKE_FD &&
           flags & ~(uint32_t)(UMEM_FILE_TAKE_FD | UMEM_FILE_DIRECT))
    fault = "TAKE_FD goes with DIRECT only";
  if (!fault)
    return umemOK;
  return umem_error_fill(error, umemValueError, 0, 0,
                         "options: %s (flags 0x%" PRIx32
                         ", permissions %04" PRIo32 ")",
                         fault, flags, o->options.permissions);
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
  struct stat st;
  o->missing = umemi_os.stat(o->file->name, &st) ? errno : 0;
  if (o->missing)
    return umemOK;
  o->kept = st.st_mode & 0777;
  int refused = kind_refused(st.st_mode);
  return refused ? kind_tell(o, refused, error) : umemOK;
}

static umemStatusType kind_check_fd(struct opening const *o, umemError *error) {
  struct umemiOpenFile *file = o->file;
  struct stat st;
  if (umemi_os.fstat(file->io.fd, &st))
    return umemi_file_failed(o->file, errno, "fstat", error);
  int refused = kind_refused(st.st_mode);
  if (refused)
    return kind_tell(o, refused, error);
  file->is_block = S_ISBLK(st.st_mode);
  file->device = file->is_block ? st.st_rdev : st.st_dev;
  file->inode = file->is_block ? 0 : st.st_ino;
  file->size = (uint64_t)st.st_size;
  if (file->is_block && umemi_os.ioctl(file->io.fd, BLKGETSIZE64, &file->size))
    return umemi_file_failed(o->file, errno, "size of block device", error);
  return umemOK;
}

/* --- opening -------------------------------------------------------------- */

static umemStatusType open_refused(struct opening const *o, char const *what,
                                   umemError *error) {
  bool link = errno == ELOOP && o->options.flags & UMEM_FILE_NOFOLLOW;
  return umemi_file_failed(
      o->file, errno, link ? "NOFOLLOW, but a symbolic link:" : what, error);
}

static int open_flags(struct opening const *o) {
  int nofollow = o->options.flags & UMEM_FILE_NOFOLLOW ? O_NOFOLLOW : 0;
  /* not blocking: what is a FIFO by now must not make us wait */
  return o->access | nofollow | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
}

void umemi_file_open_directory(struct umemiOpenFile *file, char *path) {
  char *slash = strrchr(path, '/');
  char const *directory = ".";
  if (slash == path)
    directory = "/";
  else if (slash) {
    *slash = '\0';
    directory = path;
  }
  file->dir_fd =
      UMEMI_RETRY(umemi_os.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  file->dir_errno = file->dir_fd < 0 ? errno : 0;
}

/* A new name is durable when its directory is, wherever links led us. If that
   cannot be had it is umem_flush() that fails. */
static void open_directory_of_new(struct opening *o) {
  char *path = umemi_os.realpath(o->file->name, NULL);
  o->file->dir_errno = path ? 0 : errno;
  if (path)
    umemi_file_open_directory(o->file, path);
  free(path);
}

static mode_t open_permissions(struct opening const *o) {
  return o->options.permissions ? (mode_t)o->options.permissions : 0666;
}

static umemStatusType open_creating(struct opening *o, umemError *error) {
  int flags = open_flags(o) | O_CREAT;
  int fd = UMEMI_RETRY(
      umemi_os.open(o->file->name, flags | O_EXCL, open_permissions(o)));
  o->file->created = fd >= 0;
  if (fd < 0 && errno == EEXIST && !(o->options.flags & UMEM_FILE_EXCL))
    fd = UMEMI_RETRY(umemi_os.open(o->file->name, flags, open_permissions(o)));
  if (fd < 0)
    return open_refused(o, "open", error);
  o->file->io.fd = fd;
  if (o->missing || o->file->created)
    open_directory_of_new(o);
  return umemOK;
}

static umemStatusType open_named(struct opening *o, umemError *error) {
  umemStatusType status = kind_check_name(o, error);
  if (status != umemOK)
    return status;
  if (o->file->mode.creates)
    return open_creating(o, error);
  o->file->io.fd = UMEMI_RETRY(umemi_os.open(o->file->name, open_flags(o)));
  return o->file->io.fd >= 0 ? umemOK : open_refused(o, "open", error);
}

static umemStatusType open_taken(struct opening const *o, umemError *error) {
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
  return umemOK;
}

/* What an atomic one is not for. */
static umemStatusType atomic_check(struct opening *o, umemError *error) {
  struct stat st;
  uint32_t flags = o->options.flags;
  umemStatusType status = kind_check_name(o, error);
  if (status != umemOK)
    return status;
  if (o->missing && o->missing != ENOENT)
    return umemi_file_failed(o->file, o->missing, "stat", error);
  if (umemi_os.lstat(o->file->name, &st))
    return umemOK;
  if (flags & UMEM_FILE_EXCL)
    return umemi_file_failed(o->file, EEXIST, "open", error);
  if (flags & UMEM_FILE_NOFOLLOW && S_ISLNK(st.st_mode))
    return umemi_file_failed(o->file, ELOOP,
                             "NOFOLLOW, but a symbolic link:", error);
  if (S_ISBLK(st.st_mode))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "options: ATOMIC would replace the block device by "
                           "a file: \"%s\"",
                           o->file->name);
  if (o->missing)
    return umemi_file_failed(o->file, ENOENT,
                             "a symbolic link to nothing:", error);
  return umemOK;
}

/* What is replaced keeps its permissions, and the temporary file never has more
   of them. */
static umemStatusType open_atomic(struct opening *o, umemError *error) {
  umemStatusType status = atomic_check(o, error);
  if (status != umemOK)
    return status;
  o->file->exclusive = o->options.flags & UMEM_FILE_EXCL;
  bool alike = !o->missing && !o->options.permissions;
  status = umemi_temp_create(o->file, !o->missing, o->access,
                             alike ? o->kept : open_permissions(o), error);
  if (status != umemOK || !alike)
    return status;
  if (umemi_os.fchmod(o->file->io.fd, o->kept)) /* despite the umask */
    return umemi_file_failed(o->file, errno, "fchmod the temporary file for",
                             error);
  return umemOK;
}

/* --- the rest of the constructor ------------------------------------------ */

static umemStatusType open_direct(struct opening const *o, umemError *error) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", o->file->io.fd);
  o->file->io.direct_fd =
      UMEMI_RETRY(umemi_os.open(path, o->access | O_DIRECT | O_CLOEXEC));
  if (o->file->io.direct_fd >= 0)
    return umemOK;
  if (errno == EINVAL)
    return umem_error_fill(error, umemNotSupportedError, EINVAL, 0,
                           "this file system has no O_DIRECT: \"%s\"",
                           o->file->name);
  return umemi_file_failed(o->file, errno, "open with O_DIRECT", error);
}

/* Last, so that a constructor that fails has not emptied the file. */
umemStatusType umemi_file_truncate(struct umemiOpenFile *file,
                                   umemError *error) {
  if (!file->mode.truncates || file->is_block || file->size == 0)
    return umemOK;
  if (UMEMI_RETRY(umemi_os.ftruncate(file->io.fd, 0)))
    return umemi_file_failed(file, errno, "ftruncate", error);
  file->size = 0;
  return umemOK;
}

static umemStatusType open_all(struct opening *o, umemError *error) {
  uint32_t flags = o->options.flags;
  umemStatusType status = flags & UMEM_FILE_TAKE_FD  ? open_taken(o, error)
                          : flags & UMEM_FILE_ATOMIC ? open_atomic(o, error)
                                                     : open_named(o, error);
  if (status == umemOK)
    status = kind_check_fd(o, error);
  if (status == umemOK && flags & UMEM_FILE_DIRECT)
    status = open_direct(o, error);
  if (status == umemOK && flags & UMEM_FILE_TAKE_FD &&
      umemi_os.fcntl(o->file->io.fd, F_SETFD, FD_CLOEXEC))
    status = umemi_file_failed(o->file, errno, "FD_CLOEXEC", error);
  return status == umemOK && !o->maps ? umemi_file_truncate(o->file, error)
                                      : status;
}

static void open_init(struct umemiOpenFile *file) {
  *file = (struct umemiOpenFile){
      .io = umemi_file_io(-1), .dir_fd = -1, .owner = umemi_process()};
}

umemStatusType umemi_file_open(struct umemiOpenFile *file, char const *filename,
                               char const *mode, umemFileOptions const *options,
                               bool maps, umemError *error) {
  struct opening o = {.file = file, .options = *options, .maps = maps};
  open_init(file);
  if (!mode_parse(mode, &file->mode))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "mode must be one of r r+ w w+ a a+, with a b "
                           "behind the first letter if you like: \"%.40s\"",
                           mode);
  umemStatusType status = options_check(&o, error);
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
  if (status != umemOK)
    umemi_file_abandon(file);
  return status;
}

/* --- closing -------------------------------------------------------------- */

static int close_fd(int fd) {
  /* After EINTR the descriptor is closed on Linux: close(2). */
  return fd >= 0 && umemi_os.close(fd) && errno != EINTR ? errno : 0;
}

umemStatusType umemi_file_close(struct umemiOpenFile *file, bool publish,
                                umemError *error) {
  umemStatusType status = umemOK;
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
  close_fd(file->dir_fd); /* nothing was written there */
  free(file->name);
  free(file->temp_name);
  free(file->base_name);
  return status;
}

void umemi_file_abandon(struct umemiOpenFile *file) {
  umemError ignored;
  if (file->created)
    umemi_os.unlinkat(AT_FDCWD, file->name, 0);
  if (file->shares_offset) /* TAKE_FD */
    file->io.fd = -1;
  umemi_file_close(file, false, &ignored);
}
