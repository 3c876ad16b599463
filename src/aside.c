/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work in a process of its own, for what leaves traces in the one that does it:
 * a driver that was started cannot be used by children that are forked later.
 *
 * The process must not be seen by a program that waits for its children, or
 * that handles SIGCHLD. So there are two: one that ends without a signal, and
 * is waited for by its number only (clone(2)); and its child, a true fork(),
 * after which a library may allocate and load others. The first shares our
 * memory and runs while our thread is stopped. No descriptor is opened.
 */
#include "internal.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

/* A thread sanitizer would take what the first process does for what the
   calling thread does: for it the first process has a copy of the memory. */
#ifdef __SANITIZE_THREAD__
enum { ASIDE_SHARES = CLONE_VFORK };
#else
enum { ASIDE_SHARES = CLONE_VM | CLONE_VFORK };
#endif

enum { ASIDE_STACK = 8 << 20, ASIDE_SECONDS = 60 };

struct aside {
  umemiAsideWork *work;
  void const *arg;
  void *answer;
  /* of the two processes, in memory that they share with us: */
  char const *call; /* that failed, with this errno; NULL: none */
  int code;
  int status; /* of the worker, as waitpid() has it */
  bool late;
};

static void aside_die_with_parent(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void aside_worker(struct aside *aside) {
  struct rlimit const none = {0, 0};
  aside_die_with_parent();
  setrlimit(RLIMIT_CORE, &none); /* a driver may crash */
  aside->work(aside->answer, aside->arg);
  umemi_os.exit_now(0);
}

/* Until that second of the clock; whole seconds are exact enough. */
static bool aside_has_ended(time_t end) {
  struct timespec now, limit = {0, 0};
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  for (;;) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    limit.tv_sec = now.tv_sec < end ? end - now.tv_sec : 0;
    if (sigtimedwait(&child, NULL, &limit) >= 0)
      return true;
    if (errno != EINTR) /* which it is after a stop, too */
      return false;
  }
}

/* SIGCHLD is blocked, and so waits for us. */
static void aside_wait(struct aside *aside, pid_t worker) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  aside->late = !aside_has_ended(now.tv_sec + ASIDE_SECONDS);
  if (aside->late)
    kill(worker, SIGKILL);
  waitpid(worker, &aside->status, 0);
}

static int aside_between(void *arg) {
  struct aside *aside = arg;
  aside_die_with_parent();
  signal(SIGCHLD, SIG_DFL); /* ignored, it would take the status away */
  pid_t worker = umemi_os.fork();
  if (worker == 0)
    aside_worker(aside);
  if (worker > 0)
    aside_wait(aside, worker);
  else {
    aside->call = "fork";
    aside->code = errno;
  }
  return 0;
}

/* No handler of the program may run in the first process, and none can in our
   thread meanwhile. What ends the program without one still does: a handler of
   fork() may wait for ever. */
static void aside_block_signals(sigset_t *before) {
  static int const ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGALRM, SIGTERM};
  struct sigaction action;
  sigset_t blocked;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
    if (sigaction(ends[i], NULL, &action) == 0 &&
        !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_DFL)
      sigdelset(&blocked, ends[i]);
  pthread_sigmask(SIG_BLOCK, &blocked, before);
}

/* Our thread goes on when the first process has ended. */
static void aside_run(struct aside *aside, char *stack) {
  sigset_t before;
  aside_block_signals(&before);
  pid_t between =
      umemi_os.clone(aside_between, stack + ASIDE_STACK, ASIDE_SHARES, aside);
  if (between < 0) {
    aside->call = "clone";
    aside->code = errno;
  } else
    UMEMI_RETRY(waitpid(between, NULL, __WALL));
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static umemStatusType aside_result(struct aside const *aside,
                                   umemError *error) {
  static char const what[] = "the driver is asked in a child process, so that "
                             "later ones can use it";
  int status = aside->status;
  if (aside->call && aside->code != ENOMEM)
    return UMEM_DECLINED;
  if (aside->call)
    return umem_error_fill(error, umemRuntimeError, aside->code, 0, "%s: %s",
                           aside->call, what);
  if (aside->late)
    return umem_error_fill(error, umemRuntimeError, 0, 0,
                           "%s: no answer in %d seconds", what, ASIDE_SECONDS);
  if (WIFSIGNALED(status))
    return umem_error_fill(error, umemRuntimeError, 0, 0,
                           "%s: signal %d ended it", what, WTERMSIG(status));
  if (WEXITSTATUS(status))
    return umem_error_fill(error, umemRuntimeError, 0, 0,
                           "%s: it ended with status %d", what,
                           WEXITSTATUS(status));
  return umemOK;
}

static void *aside_map(size_t nbytes, int kind, umemError *error) {
  void *pages = umemi_os.mmap(NULL, nbytes, PROT_READ | PROT_WRITE,
                              kind | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages != MAP_FAILED)
    return pages;
  umemi_no_memory(error, "a child process", nbytes);
  return NULL;
}

/* valgrind makes a copy of our memory for the first process: so what comes back
   is in pages that are shared. */
umemStatusType umemi_aside(umemiAsideWork *work, void const *arg, size_t nbytes,
                           void **answer_out, umemError *error) {
  struct aside *aside = aside_map(sizeof *aside, MAP_SHARED, error);
  void *answer = aside ? aside_map(nbytes, MAP_SHARED, error) : NULL;
  char *stack = answer ? aside_map(ASIDE_STACK, MAP_PRIVATE, error) : NULL;
  umemStatusType status = umemMemoryError;
  if (stack) {
    *aside = (struct aside){.work = work, .arg = arg, .answer = answer};
    aside_run(aside, stack);
    status = aside_result(aside, error);
    munmap(stack, ASIDE_STACK);
  }
  *answer_out = answer;
  if (answer && status != umemOK)
    munmap(answer, nbytes);
  if (aside)
    munmap(aside, sizeof *aside);
  return status;
}
