/* SPDX-License-Identifier: BSD-3-Clause */
#include "faults.h"

#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>

enum { TRACE_MAX = 4096 };

/* What calls number first ... last of one function come to. */
struct script {
  unsigned first, last;
  int how;
};

struct umemiOs const faults_real = UMEMI_OS_INITIAL;

static struct script scripts[FAULT_CALL_COUNT];
static atomic_uint counts[FAULT_CALL_COUNT];
static atomic_size_t largest_allocation;
static atomic_uchar trace[TRACE_MAX];
static atomic_uint traced;

/* Counts a call; returns how it is to fail, or 0. */
static int fault_due(enum fault_call call) {
  unsigned number = atomic_fetch_add(&counts[call], 1) + 1;
  if (call >= FAULT_FIRST_SYSTEM_CALL) {
    unsigned at = atomic_fetch_add(&traced, 1);
    if (at < TRACE_MAX)
      trace[at] = (unsigned char)call;
  }
  struct script const *script = &scripts[call];
  bool due = number >= script->first && number <= script->last;
  return due ? script->how : 0;
}

/* --- the members of the table -------------------------------------------- */

#define FAULTY(result, name, parameters, arguments, failure)                   \
  static result faulty_##name parameters {                                     \
    int how = fault_due(FAULT_##name);                                         \
    return how ? failure : faults_real.name arguments;                         \
  }

/* How a function tells: -1 or NULL with errno, or errno itself. */
#define MINUS_ONE (errno = how, -1)
#define NO_POINTER (errno = how, NULL)

FAULTY(void *, calloc, (size_t count, size_t size), (count, size), NO_POINTER)
FAULTY(void *, realloc, (void *old, size_t size), (old, size), NO_POINTER)
FAULTY(char *, strdup, (char const *text), (text), NO_POINTER)
FAULTY(void *, tsearch,
       (void const *key, void **root,
        int (*compare)(void const *, void const *)),
       (key, root, compare), NO_POINTER)
FAULTY(int, pthread_key_create, (pthread_key_t * key, void (*end)(void *)),
       (key, end), how)
FAULTY(int, pthread_setspecific, (pthread_key_t key, void const *value),
       (key, value), how)
FAULTY(int, pthread_create,
       (pthread_t * thread, pthread_attr_t const *attributes,
        void *(*run)(void *), void *argument),
       (thread, attributes, run, argument), how)
FAULTY(pid_t, fork, (void), (), MINUS_ONE)
FAULTY(void *, mmap,
       (void *at, size_t size, int prot, int flags, int fd, off_t offset),
       (at, size, prot, flags, fd, offset), (errno = how, MAP_FAILED))
FAULTY(int, madvise, (void *at, size_t size, int advice), (at, size, advice),
       MINUS_ONE)
FAULTY(int, getrlimit, (int resource, struct rlimit *out), (resource, out),
       MINUS_ONE)
FAULTY(int, mincore, (void *at, size_t size, unsigned char *out),
       (at, size, out), MINUS_ONE)
FAULTY(int, stat, (char const *path, struct stat *st), (path, st), MINUS_ONE)
FAULTY(int, lstat, (char const *path, struct stat *st), (path, st), MINUS_ONE)
FAULTY(int, fstat, (int fd, struct stat *st), (fd, st), MINUS_ONE)
FAULTY(int, fstatat, (int dir, char const *path, struct stat *st, int flags),
       (dir, path, st, flags), MINUS_ONE)
FAULTY(ssize_t, readlinkat, (int dir, char const *path, char *out, size_t size),
       (dir, path, out, size), MINUS_ONE)
FAULTY(int, statx,
       (int dir, char const *path, int flags, unsigned mask,
        struct umemiStatx *out),
       (dir, path, flags, mask, out), MINUS_ONE)
FAULTY(int, fstatfs, (int fd, struct statfs *fs), (fd, fs), MINUS_ONE)
FAULTY(int, fstatvfs, (int fd, struct statvfs *fs), (fd, fs), MINUS_ONE)
FAULTY(char *, realpath, (char const *path, char *out), (path, out), NO_POINTER)
FAULTY(int, ftruncate, (int fd, off_t size), (fd, size), MINUS_ONE)
FAULTY(off_t, lseek, (int fd, off_t at, int whence), (fd, at, whence),
       MINUS_ONE)
FAULTY(int, fallocate, (int fd, int mode, off_t at, off_t size),
       (fd, mode, at, size), MINUS_ONE)
FAULTY(int, fdatasync, (int fd), (fd), MINUS_ONE)
FAULTY(int, fsync, (int fd), (fd), MINUS_ONE)
FAULTY(int, syncfs, (int fd), (fd), MINUS_ONE)
FAULTY(int, fchmod, (int fd, mode_t mode), (fd, mode), MINUS_ONE)
FAULTY(int, fchown, (int fd, uid_t owner, gid_t group), (fd, owner, group),
       MINUS_ONE)
FAULTY(ssize_t, getxattr,
       (char const *path, char const *name, void *out, size_t size),
       (path, name, out, size), MINUS_ONE)
FAULTY(ssize_t, fgetxattr, (int fd, char const *name, void *out, size_t size),
       (fd, name, out, size), MINUS_ONE)
FAULTY(ssize_t, listxattr, (char const *path, char *out, size_t size),
       (path, out, size), MINUS_ONE)
FAULTY(ssize_t, flistxattr, (int fd, char *out, size_t size), (fd, out, size),
       MINUS_ONE)
FAULTY(int, fsetxattr,
       (int fd, char const *name, void const *in, size_t size, int flags),
       (fd, name, in, size, flags), MINUS_ONE)
FAULTY(int, fremovexattr, (int fd, char const *name), (fd, name), MINUS_ONE)
FAULTY(int, renameat, (int from, char const *old, int to, char const *new),
       (from, old, to, new), MINUS_ONE)
FAULTY(int, linkat,
       (int from, char const *old, int to, char const *new, int flags),
       (from, old, to, new, flags), MINUS_ONE)
FAULTY(int, unlinkat, (int dir, char const *path, int flags),
       (dir, path, flags), MINUS_ONE)

FAULTY(int, munmap, (void *at, size_t size), (at, size), MINUS_ONE)
FAULTY(int, mlock, (void const *at, size_t size), (at, size), MINUS_ONE)
FAULTY(long, mbind,
       (void *at, unsigned long size, int mode, unsigned long const *nodes,
        unsigned long node_bits, unsigned flags),
       (at, size, mode, nodes, node_bits, flags), MINUS_ONE)

FAULTY(int, open_by_handle_at,
       (int mount, struct file_handle *handle, int flags),
       (mount, handle, flags), MINUS_ONE)
FAULTY(int, memfd_create, (char const *name, unsigned flags), (name, flags),
       MINUS_ONE)

static void note_allocation(size_t size) {
  size_t largest = largest_allocation;
  while (size > largest &&
         !atomic_compare_exchange_weak(&largest_allocation, &largest, size))
    continue;
}

static void *faulty_malloc(size_t size) {
  note_allocation(size);
  int how = fault_due(FAULT_malloc);
  return how ? NO_POINTER : faults_real.malloc(size);
}

static int faulty_posix_memalign(void **out, size_t alignment, size_t size) {
  note_allocation(size);
  int how = fault_due(FAULT_posix_memalign);
  return how ? how : faults_real.posix_memalign(out, alignment, size);
}

static int faulty_close(int fd) {
  int how = fault_due(FAULT_close);
  int result = faults_real.close(fd);
  return how ? MINUS_ONE : result;
}

/* The mode that follows the flags if they create. */
static mode_t mode_argument(int flags, va_list more) {
  bool creates = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE;
  return creates ? va_arg(more, mode_t) : 0;
}

static int faulty_open(char const *path, int flags, ...) {
  int how = fault_due(FAULT_open);
  va_list more;
  va_start(more, flags);
  mode_t mode = mode_argument(flags, more);
  va_end(more);
  return how ? MINUS_ONE : faults_real.open(path, flags, mode);
}

static int faulty_openat(int dir, char const *path, int flags, ...) {
  int how = fault_due(FAULT_openat);
  va_list more;
  va_start(more, flags);
  mode_t mode = mode_argument(flags, more);
  va_end(more);
  return how ? MINUS_ONE : faults_real.openat(dir, path, flags, mode);
}

static int faulty_clone(int (*run)(void *), void *stack, int flags, void *arg,
                        ...) {
  int how = fault_due(FAULT_clone);
  return how ? MINUS_ONE : faults_real.clone(run, stack, flags, arg);
}

static int faulty_fcntl(int fd, int command, ...) {
  int how = fault_due(FAULT_fcntl);
  va_list more;
  va_start(more, command);
  bool locks = command == F_OFD_SETLK || command == F_OFD_SETLKW ||
               command == F_OFD_GETLK;
  void *lock = locks ? va_arg(more, void *) : NULL;
  int argument = locks || command == F_GETFL ? 0 : va_arg(more, int);
  va_end(more);
  if (!how && locks)
    return faults_real.fcntl(fd, command, lock);
  return how ? MINUS_ONE : faults_real.fcntl(fd, command, argument);
}

static int faulty_ioctl(int fd, unsigned long request, void *argument) {
  int how = fault_due(FAULT_ioctl);
  return how ? MINUS_ONE : faults_real.ioctl(fd, request, argument);
}

/* How much a transfer that is cut short asks for. */
static size_t cut_short(size_t nbytes, int how) {
  return how == FAULT_ONE_BYTE ? 1 : how == FAULT_HALF ? nbytes / 2 : nbytes;
}

static ssize_t faulty_pread(int fd, void *out, size_t nbytes, off_t at) {
  int how = fault_due(FAULT_pread);
  if (how > 0)
    return MINUS_ONE;
  if (how == FAULT_NOTHING)
    return 0;
  return faults_real.pread(fd, out, cut_short(nbytes, how), at);
}

static ssize_t faulty_pwrite(int fd, void const *in, size_t nbytes, off_t at) {
  int how = fault_due(FAULT_pwrite);
  if (how > 0)
    return MINUS_ONE;
  if (how == FAULT_NOTHING)
    return 0;
  return faults_real.pwrite(fd, in, cut_short(nbytes, how), at);
}

/* --- script and counts --------------------------------------------------- */

void faults_install(void) {
  umemi_tuning();
  umem_get_threads();
  umemi_slots_drop();
#define FAULT_MEMBER(name) .name = faulty_##name,
  umemi_os = (struct umemiOs){FAULT_CALLS(FAULT_MEMBER).dlopen = dlopen,
                              .dlsym = dlsym};
#undef FAULT_MEMBER
  faults_clear();
}

static size_t memory_limit;

static int limited_memalign(void **out, size_t alignment, size_t size) {
  return size > memory_limit ? ENOMEM
                             : faults_real.posix_memalign(out, alignment, size);
}

static void *no_mmap(void *at, size_t size, int prot, int flags, int fd,
                     off_t offset) {
  (void)at, (void)size, (void)prot, (void)flags, (void)fd, (void)offset;
  errno = ENOMEM;
  return MAP_FAILED;
}

void faults_limit_memory(size_t nbytes) {
  umemi_slots_drop();
  memory_limit = nbytes;
  umemi_os.posix_memalign = limited_memalign;
  umemi_os.mmap = no_mmap;
}

void faults_clear(void) {
  memset(scripts, 0, sizeof scripts);
  for (unsigned i = 0; i < FAULT_CALL_COUNT; i++)
    counts[i] = 0;
  largest_allocation = 0;
  traced = 0;
}

void faults_reset(void) {
  umemi_os = faults_real;
  faults_clear();
}

void faults_fail(enum fault_call call, unsigned k, int how) {
  unsigned number = counts[call] + k;
  scripts[call] = (struct script){number, number, how};
}

void faults_fail_from(enum fault_call call, unsigned k, int how) {
  scripts[call] = (struct script){counts[call] + k, UINT_MAX, how};
}

unsigned faults_count(enum fault_call call) {
  return counts[call];
}

size_t faults_largest_allocation(void) {
  return largest_allocation;
}

char const *fault_name(enum fault_call call) {
#define FAULT_NAME(name) #name,
  static char const *const names[] = {FAULT_CALLS(FAULT_NAME)};
#undef FAULT_NAME
  return names[call];
}

char const *faults_trace(void) {
  static char text[4096];
  size_t used = 0;
  text[0] = '\0';
  for (unsigned i = 0; i < traced && i < TRACE_MAX; i++) {
    char const *name = fault_name((enum fault_call)trace[i]);
    if (used + strlen(name) + 2 > sizeof text)
      break;
    used += (size_t)snprintf(text + used, sizeof text - used, "%s%s",
                             used ? " " : "", name);
  }
  return text;
}
