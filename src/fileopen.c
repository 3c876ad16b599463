/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening files: modes, options, what may be opened, and the temporary file
 * that takes the named one's place when it is closed.
 */
#include "internal.h"

#include <linux/fs.h>

enum {
  FILE_FLAGS = UMEM_FILE_NOFOLLOW | UMEM_FILE_EXCL | UMEM_FILE_DIRECT |
               UMEM_FILE_TAKE_FD | UMEM_FILE_ATOMIC,
  TEMP_NAMES = 100 /* that are tried before giving up */
};

/* What one call of umemi_file_open() works on. */
struct opening {
  struct umemiOpenFile *file;
  char const *filename; /* never NULL */
  umemFileOptions options;
  int access; /* O_RDONLY ... */
  mode_t permissions;
  bool created; /* by us, for certain */
};

/* The name comes last: it may be long, and the text is cut at the end. */
static umemStatusType open_failed(struct opening const *o, int sys_errno,
                                  char const *what, umemError *error) {
  return umem_error_fill(error, umemIOError, sys_errno, 0, "%s \"%s\"", what,
                         o->filename);
}

/* --- mode and options ---------------------------------------------------- */

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
                         ", permissions 0%" PRIo32 ")",
                         fault, flags, o->options.permissions);
}

/* --- what may be opened -------------------------------------------------- */

/* 0 for a regular file or a block device, else the errno to tell. */
static int kind_refused(mode_t mode) {
  if (S_ISREG(mode) || S_ISBLK(mode))
    return 0;
  return S_ISDIR(mode) ? EISDIR : ESPIPE;
}

static umemStatusType kind_tell(struct opening const *o, int refused,
                                umemError *error) {
  return open_failed(o, refused,
                     "neither a regular file nor a block device:", error);
}

/* Before opening: a FIFO would wait, a tape rewind. */
static umemStatusType kind_check_name(struct opening const *o,
                                      umemError *error) {
  struct stat st;
  if (umemi_os.stat(o->filename, &st)) /* open() will say it better */
    return umemOK;
  int refused = kind_refused(st.st_mode);
  return refused ? kind_tell(o, refused, error) : umemOK;
}

static umemStatusType kind_check_fd(struct opening const *o, umemError *error) {
  struct umemiOpenFile *file = o->file;
  struct stat st;
  if (umemi_os.fstat(file->io.fd, &st))
    return open_failed(o, errno, "fstat", error);
  int refused = kind_refused(st.st_mode);
  if (refused)
    return kind_tell(o, refused, error);
  file->is_block = S_ISBLK(st.st_mode);
  file->device = file->is_block ? st.st_rdev : st.st_dev;
  file->inode = file->is_block ? 0 : st.st_ino;
  file->size = (uint64_t)st.st_size;
  if (file->is_block && umemi_os.ioctl(file->io.fd, BLKGETSIZE64, &file->size))
    return open_failed(o, errno, "size of block device", error);
  return umemOK;
}

/* --- opening ------------------------------------------------------------- */

static int open_flags(struct opening const *o) {
  int nofollow = o->options.flags & UMEM_FILE_NOFOLLOW ? O_NOFOLLOW : 0;
  /* not blocking: what is a FIFO by now must not make us wait */
  return o->access | nofollow | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
}

/* Opens the directory that a new name is in, for fsync and rename. */
static void open_directory(struct opening const *o, char *path) {
  char *slash = strrchr(path, '/');
  char const *directory = ".";
  if (slash == path)
    directory = "/";
  else if (slash) {
    *slash = '\0';
    directory = path;
  }
  o->file->dir_fd =
      umemi_os.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  o->file->dir_errno = o->file->dir_fd < 0 ? errno : 0;
}

static umemStatusType open_creating(struct opening *o, umemError *error) {
  int flags = open_flags(o) | O_CREAT;
  int fd = umemi_os.open(o->filename, flags | O_EXCL, o->permissions);
  o->created = fd >= 0;
  if (fd < 0 && errno == EEXIST && !(o->options.flags & UMEM_FILE_EXCL))
    fd = umemi_os.open(o->filename, flags, o->permissions);
  if (fd < 0)
    return open_failed(o, errno, "open", error);
  o->file->io.fd = fd;
  if (!o->created)
    return umemOK;
  char *path = umemi_os.strdup(o->filename);
  if (!path)
    return umemi_no_memory(error, "a file name", strlen(o->filename));
  open_directory(o, path);
  free(path);
  return umemOK;
}

static umemStatusType open_named(struct opening *o, umemError *error) {
  umemStatusType status = kind_check_name(o, error);
  if (status != umemOK)
    return status;
  if (o->file->mode.creates)
    return open_creating(o, error);
  o->file->io.fd = umemi_os.open(o->filename, open_flags(o));
  return o->file->io.fd >= 0 ? umemOK : open_failed(o, errno, "open", error);
}

static umemStatusType open_taken(struct opening const *o, umemError *error) {
  int fd = o->options.fd;
  int flags = umemi_os.fcntl(fd, F_GETFL);
  if (flags < 0)
    return umem_error_fill(error, umemValueError, errno, 0, "options->fd %d",
                           fd);
  int access = flags & O_ACCMODE;
  if ((access != O_RDWR && access != o->access) || flags & (O_APPEND | O_PATH))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "options->fd %d: not open for what the mode asks, "
                           "or with O_APPEND",
                           fd);
  o->file->io.fd = fd;
  return umemOK;
}

/* --- ATOMIC -------------------------------------------------------------- */

/* Splits the path of the file to be replaced; a symbolic link is followed, so
   that the file it points to is replaced and not the link. */
static umemStatusType temp_place(struct opening *o, umemError *error) {
  char *path = umemi_os.realpath(o->filename, NULL);
  if (!path && errno == ENOENT)
    path = umemi_os.strdup(o->filename);
  if (!path)
    return open_failed(o, errno, "realpath", error);
  char const *slash = strrchr(path, '/');
  o->file->base_name = umemi_os.strdup(slash ? slash + 1 : path);
  size_t size = strlen(path) + 64;
  o->file->temp_name = umemi_os.malloc(size);
  open_directory(o, path);
  free(path);
  if (!o->file->base_name || !o->file->temp_name)
    return umemi_no_memory(error, "a file name", size);
  if (o->file->dir_fd < 0)
    return open_failed(o, o->file->dir_errno, "open the directory of", error);
  return umemOK;
}

static umemStatusType temp_create(struct opening *o, umemError *error) {
  struct umemiOpenFile *file = o->file;
  size_t size = strlen(file->base_name) + 64;
  int flags = o->access | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  for (unsigned i = 0; file->io.fd < 0 && i < TEMP_NAMES; i++) {
    snprintf(file->temp_name, size, ".%.200s.%ld-%u.tmp", file->base_name,
             (long)getpid(), i);
    file->io.fd =
        umemi_os.openat(file->dir_fd, file->temp_name, flags, o->permissions);
    if (file->io.fd < 0 && errno != EEXIST)
      break;
  }
  return file->io.fd >= 0
             ? umemOK
             : open_failed(o, errno, "create a temporary file for", error);
}

/* A file that is replaced keeps its permissions, and the temporary one never
   has more of them. */
static umemStatusType temp_create_alike(struct opening *o, umemError *error) {
  struct stat st;
  bool alike = !o->options.permissions && umemi_os.stat(o->filename, &st) == 0;
  if (alike)
    o->permissions = st.st_mode & 0777;
  umemStatusType status = temp_create(o, error);
  if (status != umemOK || !alike)
    return status;
  if (umemi_os.fchmod(o->file->io.fd, o->permissions)) /* despite the umask */
    return open_failed(o, errno, "fchmod the temporary file for", error);
  return umemOK;
}

static umemStatusType open_atomic(struct opening *o, umemError *error) {
  struct stat st;
  uint32_t flags = o->options.flags;
  umemStatusType status = kind_check_name(o, error);
  if (status != umemOK)
    return status;
  bool exists = umemi_os.lstat(o->filename, &st) == 0;
  if (exists && flags & UMEM_FILE_EXCL)
    return open_failed(o, EEXIST, "open", error);
  if (exists && flags & UMEM_FILE_NOFOLLOW && S_ISLNK(st.st_mode))
    return open_failed(o, ELOOP, "open", error);
  status = temp_place(o, error);
  return status == umemOK ? temp_create_alike(o, error) : status;
}

/* --- the rest of the constructor ----------------------------------------- */

static umemStatusType open_direct(struct opening const *o, umemError *error) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", o->file->io.fd);
  o->file->io.direct_fd = umemi_os.open(path, o->access | O_DIRECT | O_CLOEXEC);
  if (o->file->io.direct_fd >= 0)
    return umemOK;
  if (errno == EINVAL)
    return umem_error_fill(error, umemNotSupportedError, EINVAL, 0,
                           "this file system has no O_DIRECT: \"%s\"",
                           o->filename);
  return open_failed(o, errno, "open with O_DIRECT", error);
}

/* Last, so that a constructor that fails has not emptied the file. */
static umemStatusType open_truncate(struct opening const *o, umemError *error) {
  struct umemiOpenFile *file = o->file;
  if (!file->mode.truncates || file->is_block || file->size == 0)
    return umemOK;
  int failed;
  do
    failed = umemi_os.ftruncate(file->io.fd, 0);
  while (failed && errno == EINTR);
  if (failed)
    return open_failed(o, errno, "ftruncate", error);
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
    status = open_failed(o, errno, "FD_CLOEXEC", error);
  return status == umemOK ? open_truncate(o, error) : status;
}

/* Undoes a constructor that failed: a descriptor stays the user's, a file that
   was there stays. */
static void open_undo(struct opening *o) {
  umemError ignored;
  if (o->created)
    unlink(o->filename);
  if (o->options.flags & UMEM_FILE_TAKE_FD)
    o->file->io.fd = -1;
  umemi_file_close(o->file, false, &ignored);
}

static void open_init(struct umemiOpenFile *file) {
  struct rlimit limit;
  *file = (struct umemiOpenFile){
      .io = {-1, -1, UINT64_MAX}, .dir_fd = -1, .owner = getpid()};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    file->io.size_limit = limit.rlim_cur;
}

umemStatusType umemi_file_open(struct umemiOpenFile *file, char const *filename,
                               char const *mode, umemFileOptions const *options,
                               umemError *error) {
  struct opening o = {.file = file, .filename = filename, .options = *options};
  open_init(file);
  if (!mode_parse(mode, &file->mode))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "mode must be one of r r+ w w+ a a+, with a b "
                           "behind the first letter if you like: \"%.40s\"",
                           mode);
  umemStatusType status = options_check(&o, error);
  if (status != umemOK)
    return status;
  o.access = !file->mode.writable  ? O_RDONLY
             : file->mode.readable ? O_RDWR
                                   : O_WRONLY;
  file->name = umemi_os.strdup(filename);
  if (!file->name)
    return umemi_no_memory(error, "a file name", strlen(filename));
  status = open_all(&o, error);
  if (status != umemOK)
    open_undo(&o);
  return status;
}

/* --- closing ------------------------------------------------------------- */

static umemStatusType close_failed(struct umemiOpenFile const *file,
                                   char const *what, umemError *error) {
  return umem_error_fill(error, umemIOError, errno, 0, "%s \"%s\"", what,
                         file->name);
}

umemStatusType umemi_file_discard(struct umemiOpenFile *file,
                                  umemError *error) {
  if (!file->temp_name || file->io.fd < 0 || getpid() != file->owner)
    return umemOK;
  if (umemi_os.unlinkat(file->dir_fd, file->temp_name, 0) && errno != ENOENT)
    return close_failed(file, "remove the temporary file of", error);
  return umemOK;
}

static umemStatusType close_publish(struct umemiOpenFile *file,
                                    umemError *error) {
  if (umemi_os.fsync(file->io.fd))
    return close_failed(file, "fsync the temporary file of", error);
  if (umemi_os.renameat(file->dir_fd, file->temp_name, file->dir_fd,
                        file->base_name))
    return close_failed(file, "rename the temporary file to", error);
  if (umemi_os.fsync(file->dir_fd))
    return close_failed(file, "fsync the directory of", error);
  return umemOK;
}

static int close_fd(int fd) {
  /* After EINTR the descriptor is closed on Linux: close(2). */
  return fd >= 0 && umemi_os.close(fd) && errno != EINTR ? -1 : 0;
}

umemStatusType umemi_file_close(struct umemiOpenFile *file, bool publish,
                                umemError *error) {
  umemStatusType status = umemOK;
  umemError later;
  if (file->temp_name && publish && getpid() == file->owner)
    status = close_publish(file, error);
  if (file->temp_name && (!publish || status != umemOK))
    umemi_file_discard(file, &later);
  if (close_fd(file->io.direct_fd) | close_fd(file->io.fd) && status == umemOK)
    status = close_failed(file, "close", error);
  close_fd(file->dir_fd);
  free(file->name);
  free(file->temp_name);
  free(file->base_name);
  return status;
}
