/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every system call and allocation that may fail, in one table: the place where
 * tests inject faults. In a normal build the table is constant and each call
 * compiles to a direct one; with UMEM_TEST_HOOKS it can be written to.
 */
#ifndef UMEMI_OS_H
#define UMEMI_OS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* fallocate, O_DIRECT, secure_getenv */
#endif

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <search.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The C library has no such function. */
static inline long umemi_mbind(void *at, unsigned long nbytes, int mode,
                               unsigned long const *nodes,
                               unsigned long node_bits, unsigned flags) {
  return syscall(SYS_mbind, at, nbytes, mode, nodes, node_bits, flags);
}

/* The C library may take the request as an int. */
static inline int umemi_ioctl(int fd, unsigned long request, void *argument) {
  return (int)syscall(SYS_ioctl, fd, request, argument);
}

/* The C library may take the resource as an enum. */
static inline int umemi_getrlimit(int resource, struct rlimit *out) {
  return (int)syscall(SYS_prlimit64, 0, resource, NULL, out);
}

/* musl's <fcntl.h> has not all of them; <linux/falloc.h> says the number. */
#ifndef FALLOC_FL_ZERO_RANGE
#define FALLOC_FL_ZERO_RANGE 0x10
#endif

/* The kernel's struct statx (statx(2)), which not every C library has. */
struct umemiStatx {
  uint32_t mask; /* what is known of this: */
  char unused[76];
  int64_t born_seconds;
  uint32_t born_nanoseconds;
  char rest[164];
};
#define UMEMI_STATX_BTIME 0x800u

static inline int umemi_statx(int dir, char const *path, int flags,
                              unsigned mask, struct umemiStatx *out) {
  return (int)syscall(SYS_statx, dir, path, flags, mask, out);
}

struct file_handle; /* not everybody who includes this can see it */

struct umemiOs {
  /* memory */
  void *(*malloc)(size_t);
  void *(*calloc)(size_t, size_t);
  void *(*realloc)(void *, size_t);
  int (*posix_memalign)(void **, size_t, size_t);
  char *(*strdup)(char const *);
  void *(*tsearch)(void const *, void **, int (*)(void const *, void const *));
  /* libraries */
  void *(*dlopen)(char const *, int);
  void *(*dlsym)(void *, char const *);
  /* threads */
  int (*pthread_key_create)(pthread_key_t *, void (*)(void *));
  int (*pthread_setspecific)(pthread_key_t, void const *);
  int (*pthread_create)(pthread_t *, pthread_attr_t const *, void *(*)(void *),
                        void *);
  /* processes */
  int (*clone)(int (*)(void *), void *, int, void *, ...);
  pid_t (*fork)(void);
  void (*exit_now)(int);
  int (*getrlimit)(int, struct rlimit *);
  /* pages */
  void *(*mmap)(void *, size_t, int, int, int, off_t);
  int (*madvise)(void *, size_t, int);
  int (*mincore)(void *, size_t, unsigned char *);
  int (*munmap)(void *, size_t);
  int (*mlock)(void const *, size_t);
  long (*mbind)(void *, unsigned long, int, unsigned long const *,
                unsigned long, unsigned);
  /* files */
  int (*open)(char const *, int, ...);
  int (*openat)(int, char const *, int, ...);
  int (*open_by_handle_at)(int, struct file_handle *, int);
  int (*close)(int);
  int (*stat)(char const *, struct stat *);
  int (*lstat)(char const *, struct stat *);
  int (*fstat)(int, struct stat *);
  int (*fstatat)(int, char const *, struct stat *, int);
  int (*statx)(int, char const *, int, unsigned, struct umemiStatx *);
  int (*fstatvfs)(int, struct statvfs *);
  int (*fstatfs)(int, struct statfs *);
  int (*fcntl)(int, int, ...);
  int (*ioctl)(int, unsigned long, void *);
  char *(*realpath)(char const *, char *);
  ssize_t (*readlinkat)(int, char const *, char *, size_t);
  ssize_t (*pread)(int, void *, size_t, off_t);
  ssize_t (*pwrite)(int, void const *, size_t, off_t);
  int (*ftruncate)(int, off_t);
  off_t (*lseek)(int, off_t, int);
  int (*fallocate)(int, int, off_t, off_t);
  int (*fdatasync)(int);
  int (*fsync)(int);
  int (*syncfs)(int);
  int (*fchmod)(int, mode_t);
  int (*fchown)(int, uid_t, gid_t);
  ssize_t (*getxattr)(char const *, char const *, void *, size_t);
  ssize_t (*fgetxattr)(int, char const *, void *, size_t);
  ssize_t (*listxattr)(char const *, char *, size_t);
  ssize_t (*flistxattr)(int, char *, size_t);
  int (*fsetxattr)(int, char const *, void const *, size_t, int);
  int (*fremovexattr)(int, char const *);
  int (*renameat)(int, char const *, int, char const *);
  int (*linkat)(int, char const *, int, char const *, int);
  int (*unlinkat)(int, char const *, int);
  int (*memfd_create)(char const *, unsigned);
  /* copy ladder: rungs that tests switch off, as bits 1 << rung */
  unsigned rungs_off;
};

#define UMEMI_OS_INITIAL                                                       \
  {                                                                            \
    .malloc = malloc, .calloc = calloc, .realloc = realloc,                    \
    .posix_memalign = posix_memalign, .strdup = strdup, .tsearch = tsearch,    \
    .dlopen = dlopen, .dlsym = dlsym,                                          \
    .pthread_key_create = pthread_key_create,                                  \
    .pthread_setspecific = pthread_setspecific,                                \
    .pthread_create = pthread_create, .clone = clone, .fork = fork,            \
    .exit_now = _exit, .getrlimit = umemi_getrlimit, .mmap = mmap,             \
    .madvise = madvise, .mincore = mincore, .munmap = munmap, .mlock = mlock,  \
    .mbind = umemi_mbind, .open = open, .openat = openat,                      \
    .open_by_handle_at = open_by_handle_at, .close = close, .stat = stat,      \
    .lstat = lstat, .fstat = fstat, .fstatat = fstatat, .statx = umemi_statx,  \
    .fstatvfs = fstatvfs, .fstatfs = fstatfs, .fcntl = fcntl,                  \
    .ioctl = umemi_ioctl, .realpath = realpath, .readlinkat = readlinkat,      \
    .pread = pread, .pwrite = pwrite, .ftruncate = ftruncate, .lseek = lseek,  \
    .fallocate = fallocate, .fdatasync = fdatasync, .fsync = fsync,            \
    .syncfs = syncfs, .fchmod = fchmod, .fchown = fchown,                      \
    .getxattr = getxattr, .fgetxattr = fgetxattr, .listxattr = listxattr,      \
    .flistxattr = flistxattr, .fsetxattr = fsetxattr,                          \
    .fremovexattr = fremovexattr, .renameat = renameat, .linkat = linkat,      \
    .unlinkat = unlinkat, .memfd_create = memfd_create                         \
  }

#ifdef UMEM_TEST_HOOKS
extern struct umemiOs umemi_os;
#else
static struct umemiOs const umemi_os = UMEMI_OS_INITIAL;
#endif

#endif
