/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scripted faults in the system calls and allocations of the library under
 * test. While the faults are installed each call is counted and traced; a
 * script makes chosen ones fail.
 *
 *   faults_install();
 *   faults_fail(FAULT_pwrite, 2, ENOSPC);     the second pwrite() from now on
 *   ...
 *   assert_int_equal(faults_count(FAULT_pwrite), 2);
 *   faults_reset();
 *
 * Scripts are written while one thread runs; calls may come from any number.
 */
#ifndef UMEM_TESTS_FAULTS_H
#define UMEM_TESTS_FAULTS_H

#include "os.h"

/* Allocations first, then what a call can do without; then system calls that
   are traced. */
#define FAULT_CALLS(X)                                                         \
  X(malloc)                                                                    \
  X(calloc)                                                                    \
  X(realloc)                                                                   \
  X(posix_memalign)                                                            \
  X(strdup)                                                                    \
  X(tsearch)                                                                   \
  X(pthread_key_create)                                                        \
  X(pthread_setspecific)                                                       \
  X(pthread_create)                                                            \
  X(mmap)                                                                      \
  X(madvise)                                                                   \
  X(mincore)                                                                   \
  X(getrlimit)                                                                 \
  X(open)                                                                      \
  X(openat)                                                                    \
  X(open_by_handle_at)                                                         \
  X(close)                                                                     \
  X(stat)                                                                      \
  X(lstat)                                                                     \
  X(fstat)                                                                     \
  X(fstatat)                                                                   \
  X(statx)                                                                     \
  X(fstatfs)                                                                   \
  X(fstatvfs)                                                                  \
  X(fcntl)                                                                     \
  X(ioctl)                                                                     \
  X(realpath)                                                                  \
  X(readlinkat)                                                                \
  X(pread)                                                                     \
  X(pwrite)                                                                    \
  X(ftruncate)                                                                 \
  X(lseek)                                                                     \
  X(fallocate)                                                                 \
  X(fdatasync)                                                                 \
  X(fsync)                                                                     \
  X(syncfs)                                                                    \
  X(fchmod)                                                                    \
  X(fchown)                                                                    \
  X(getxattr)                                                                  \
  X(fgetxattr)                                                                 \
  X(listxattr)                                                                 \
  X(flistxattr)                                                                \
  X(fsetxattr)                                                                 \
  X(fremovexattr)                                                              \
  X(renameat)                                                                  \
  X(linkat)                                                                    \
  X(unlinkat)                                                                  \
  X(clone)                                                                     \
  X(fork)                                                                      \
  X(munmap)                                                                    \
  X(mlock)                                                                     \
  X(mbind)                                                                     \
  X(memfd_create)

#define FAULT_ENUMERATOR(name) FAULT_##name,
enum fault_call {
  FAULT_CALLS(FAULT_ENUMERATOR) FAULT_CALL_COUNT,
  FAULT_FIRST_HELPFUL_CALL = FAULT_pthread_create,
  FAULT_FIRST_SYSTEM_CALL = FAULT_open
};
#undef FAULT_ENUMERATOR

/* Instead of an errno, for pread and pwrite: so much is moved and returned. */
enum { FAULT_ONE_BYTE = -1, FAULT_HALF = -2, FAULT_NOTHING = -3 };

/* Puts counters and scripts in front of the whole table; all are clear. What
   the library reads once in a process it has read, and it keeps no slots. */
void faults_install(void);
/* Forgets counts, trace and scripts. */
void faults_clear(void);
/* The table is as it was. */
void faults_reset(void);

/* The k-th call from now on (1 is the next) fails with `how`: an errno, or one
   of the above. close() closes nevertheless, as on Linux. */
void faults_fail(enum fault_call call, unsigned k, int how);
/* That one and all that follow. */
void faults_fail_from(enum fault_call call, unsigned k, int how);

/* The library keeps no slots, and gets pieces of at most so many bytes of
   aligned memory and no pages. */
void faults_limit_memory(size_t nbytes);

/* Calls since faults_install() or faults_clear(), failed ones included. */
unsigned faults_count(enum fault_call call);
/* The largest size that was asked of malloc() or posix_memalign(). */
size_t faults_largest_allocation(void);
/* The system calls so far, in order: "open fstat pwrite close". */
char const *faults_trace(void);
char const *fault_name(enum fault_call call);

/* The functions behind the faults. */
extern struct umemiOs const faults_real;

#endif
