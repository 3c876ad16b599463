/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UMEM_LOG: lines for people, on the standard error stream with which the
 * process was started, and nowhere else. Where that was closed its number may
 * be that of a file of the program since.
 */
#include "internal.h"

/* What descriptor 2 was when the library was loaded. A file that was removed
   may have left its number to another one, which was born later. */
static atomic_bool log_is_noted;
static bool log_has_stream;
static struct stat log_stream;
static struct umemiStatx log_birth; /* 0: not known */

typedef int log_statx(int, char const *, int, unsigned, struct umemiStatx *);

static void log_ask_birth(log_statx *ask, int fd, struct umemiStatx *birth) {
  if (ask(fd, "", AT_EMPTY_PATH, UMEMI_STATX_BTIME, birth) ||
      !(birth->mask & UMEMI_STATX_BTIME))
    birth->born_seconds = birth->born_nanoseconds = 0;
}

/* A regular file that can be read is one of the program, which was started
   without the stream and loaded the library late. */
static bool log_may_be_stream(struct stat const *st) {
  return !S_ISREG(st->st_mode) ||
         (fcntl(STDERR_FILENO, F_GETFL) & O_ACCMODE) == O_WRONLY;
}

/* Plain calls: constructors run while nothing can be made to fail. */
static void log_note_stream(void) {
  int saved = errno;
  if (!atomic_exchange(&log_is_noted, true)) {
    log_has_stream = fstat(STDERR_FILENO, &log_stream) == 0 &&
                     log_may_be_stream(&log_stream);
    if (log_has_stream && S_ISREG(log_stream.st_mode) &&
        secure_getenv("UMEM_LOG")) /* for nothing else: it may be refused */
      log_ask_birth(umemi_statx, STDERR_FILENO, &log_birth);
  }
  errno = saved;
}

__attribute__((constructor)) static void log_load(void) {
  log_note_stream();
}

/* Read once: a call of it is a load. */
bool umemi_log_is_on(void) {
  static _Atomic signed char is_on = -1;
  signed char now = atomic_load_explicit(&is_on, memory_order_relaxed);
  if (now < 0) {
    char const *value = secure_getenv("UMEM_LOG");
    log_note_stream();
    now = value && strcmp(value, "copy") == 0 ? 1 : 0;
    atomic_store_explicit(&is_on, now, memory_order_relaxed);
  }
  return now;
}

static bool log_is_as_old(int fd) {
  struct umemiStatx birth;
  if (!log_birth.born_seconds && !log_birth.born_nanoseconds)
    return true;
  log_ask_birth(umemi_os.statx, fd, &birth);
  return birth.born_seconds == log_birth.born_seconds &&
         birth.born_nanoseconds == log_birth.born_nanoseconds;
}

static bool log_is_stream(int fd) {
  struct stat now;
  return log_has_stream && umemi_os.fstat(fd, &now) == 0 &&
         now.st_dev == log_stream.st_dev && now.st_ino == log_stream.st_ino &&
         now.st_rdev == log_stream.st_rdev &&
         (now.st_mode & S_IFMT) == (log_stream.st_mode & S_IFMT) &&
         log_is_as_old(fd);
}

/* A pipe without a reader and a file at its limit raise signals. */
static void log_put(int fd, char const *text, size_t nbytes) {
  struct umemiHeldSignal pipe, limit;
  ssize_t put = 1;
  umemi_signal_hold(&pipe, SIGPIPE);
  umemi_signal_hold(&limit, SIGXFSZ);
  for (size_t done = 0; done < nbytes && put > 0; done += (size_t)put)
    put = UMEMI_RETRY(write(fd, text + done, nbytes - done));
  umemi_signal_release(&limit);
  umemi_signal_release(&pipe);
}

/* The copy of the descriptor stays the same file while it is looked at and
   written to, whatever other threads open and close. */
void umemi_log_line(char const *text) {
  int saved = errno;
  int fd = umemi_os.fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (fd >= 0) {
    if (log_is_stream(fd))
      log_put(fd, text, strlen(text));
    umemi_os.close(fd);
  }
  errno = saved;
}
