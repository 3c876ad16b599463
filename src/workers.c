/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads that help with large copies. A call never needs them: it does its
 * work itself, and who is free takes a share. So a thread that cannot be
 * started, or that is busy elsewhere, costs time and nothing else.
 *
 * Workers are detached and end after a second without work; nothing is joined.
 * They are like the main thread, and help threads that are like them: one that
 * hardly runs would hold up the work that it has taken a share of.
 * After fork() a child has none, and starts its own on first need.
 */
#include "internal.h"

#include <sched.h>
#include <sys/prctl.h>

enum {
  IDLE_SECONDS = 1,
  TIMER_SLACK_NS = 50000, /* as the system's threads have */
  THREADS_MAX = 1024,
  THREADS_DEFAULT_MIN = UMEMI_LANES_MAX - 1, /* they may wait for a device */
  THREADS_DEFAULT_MAX = 15
};

/* Work that is open to all; lives on the stack of the call that it belongs to.
 */
struct request {
  struct request *next;
  void (*job)(void *arg);
  void *arg;
  unsigned wanted;  /* helpers that may still join */
  unsigned running; /* that have joined and are not through */
  pthread_cond_t through;
};

/* Read once. */
static unsigned cpus;
static _Atomic uint64_t workers_once;

/* Everything is under the lock, once it is ready. */
static struct {
  pthread_mutex_t lock;
  pthread_cond_t work; /* there is some, or there is to be one thread less */
  pthread_cond_t less; /* a thread has ended */
  bool ready;
  _Atomic unsigned limit; /* read without it, too */
  unsigned threads, idle;
  pid_t example;             /* one of the threads; 0: of the next that looks */
  struct umemiNature nature; /* of the threads, while there are some */
  atomic_bool is_of_main;    /* that started them; read without it, too */
  struct request *requests;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* This thread holds the lock, or is about to. What a handler of signals does in
   it then must do without helpers, rather than wait for what it interrupted. */
static UMEMI_THREAD_LOCAL sig_atomic_t volatile is_in_pool;

/* --- settings ------------------------------------------------------------- */

static unsigned workers_default(void) {
  unsigned threads = cpus - 1;
  if (threads < THREADS_DEFAULT_MIN)
    return THREADS_DEFAULT_MIN;
  return threads < THREADS_DEFAULT_MAX ? threads : THREADS_DEFAULT_MAX;
}

static bool workers_from_environment(unsigned *limit_out) {
  char const *text = secure_getenv("UMEM_THREADS");
  char *end;
  if (!text || !(text[0] >= '0' && text[0] <= '9'))
    return false;
  unsigned long number = strtoul(text, &end, 10);
  *limit_out = number < THREADS_MAX ? (unsigned)number : THREADS_MAX;
  return *end == '\0';
}

/* Timeouts are to be of a clock that nobody sets. */
static void workers_init_conditions(void) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&pool.work, &monotonic);
  pthread_cond_init(&pool.less, &monotonic);
  pthread_condattr_destroy(&monotonic);
}

static void workers_init(void) {
  workers_init_conditions();
  cpus = umemi_cpus();
  unsigned limit;
  pool.limit = workers_from_environment(&limit) ? limit : workers_default();
  pool.ready = true;
}

static void workers_lock(void) {
  umemi_process(); /* renews the pool in a child */
  is_in_pool = true;
  pthread_mutex_lock(&pool.lock);
}

static void workers_unlock(void) {
  pthread_mutex_unlock(&pool.lock);
  is_in_pool = false;
}

/* --- a worker ------------------------------------------------------------- */

/* Nobody else may join. */
static void workers_withdraw(struct request *request) {
  struct request **link = &pool.requests;
  while (*link && *link != request)
    link = &(*link)->next;
  if (*link)
    *link = request->next;
}

/* The first request that wants helpers; it leaves the list with the last. */
static struct request *workers_join(void) {
  struct request *request = pool.requests;
  if (!request)
    return NULL;
  request->running++;
  if (--request->wanted == 0)
    workers_withdraw(request);
  return request;
}

/* Who comes out of a job has left nothing to do in it. */
static void workers_help(struct request *request) {
  pthread_mutex_unlock(&pool.lock);
  request->job(request->arg);
  pthread_mutex_lock(&pool.lock);
  workers_withdraw(request);
  if (--request->running == 0)
    pthread_cond_signal(&request->through);
}

/* False: nothing came for so long. */
static bool workers_wait(void) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += IDLE_SECONDS;
  pool.idle++;
  int failed = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
  pool.idle--;
  return failed == 0 || pool.requests;
}

/* On the CPUs of the main thread: the thread that started it may be pinned. */
static void workers_spread(void) {
  cpu_set_t set;
  if (sched_getaffinity(getpid(), sizeof set, &set) == 0)
    sched_setaffinity(0, sizeof set, &set);
}

static void *workers_main(void *unused) {
  (void)unused;
  pid_t self = (pid_t)syscall(SYS_gettid);
  workers_spread();
  prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
  pthread_mutex_lock(&pool.lock);
  while (pool.threads <= pool.limit) {
    pool.example = pool.example ? pool.example : self;
    struct request *request = workers_join();
    if (request)
      workers_help(request);
    else if (!workers_wait())
      break;
  }
  pool.threads--;
  if (pool.example == self)
    pool.example = 0;
  pthread_cond_broadcast(&pool.less);
  pthread_mutex_unlock(&pool.lock);
  return NULL;
}

/* --- starting one --------------------------------------------------------- */

/* A program that handles faults on its memory must get them here, too. */
static void workers_block_signals(sigset_t *old) {
  static int const faults[] = {SIGSEGV, SIGBUS,  SIGFPE,
                               SIGILL,  SIGTRAP, SIGSYS};
  sigset_t blocked;
  sigfillset(&blocked);
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
    sigdelset(&blocked, faults[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, old);
}

/* The lock is held: the new thread waits for it. */
static bool workers_start_one(void) {
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t old;
  if (pthread_attr_init(&attributes))
    return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  workers_block_signals(&old);
  bool started =
      umemi_os.pthread_create(&thread, &attributes, workers_main, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  pthread_attr_destroy(&attributes);
  if (started)
    pool.threads++;
  return started;
}

/* May this thread start some? They are to be like those that are there. */
static bool workers_may_start(struct umemiNature const *nature) {
  return pool.threads > 0 ? memcmp(nature, &pool.nature, sizeof *nature) == 0
                          : umemi_nature_is_ordinary(nature);
}

/* So many, by a thread of this nature, which is NULL if it was not asked yet;
   fewer where they cannot be had. */
static void workers_start(unsigned count, struct umemiNature const *nature) {
  struct umemiNature own;
  unsigned room = pool.limit > pool.threads ? pool.limit - pool.threads : 0;
  count = count < room ? count : room;
  if (count == 0)
    return;
  if (!nature)
    umemi_nature_of_thread(&own);
  nature = nature ? nature : &own;
  if (!workers_may_start(nature))
    return;
  pool.is_of_main =
      (pool.threads == 0 || pool.is_of_main) && umemi_nature_is_main();
  pool.nature = *nature;
  while (count-- > 0 && workers_start_one())
    continue;
}

/* --- what others call ----------------------------------------------------- */

/* Makes it known to as many as are wanted and allowed. */
static void workers_announce(struct request *request, unsigned helpers,
                             struct umemiNature const *nature) {
  for (unsigned i = 0; i < helpers && i < pool.idle; i++)
    pthread_cond_signal(&pool.work);
  if (helpers > pool.idle)
    workers_start(helpers - pool.idle, nature);
  if (helpers == 0 || pool.threads == 0)
    return;
  request->wanted = helpers;
  request->next = pool.requests;
  pool.requests = request;
}

/* Are the threads that there are like this one? The main thread is like those
   that it started: it makes no more system calls for that. */
static bool workers_are_alike(struct umemiNature const *nature) {
  if (pool.threads == 0)
    return true;
  if (!nature)
    return pool.is_of_main;
  return nature->is_known &&
         memcmp(nature, &pool.nature, sizeof *nature) == 0 &&
         umemi_nature_shares_files(pool.example ? pool.example : getpid());
}

/* False: without helpers, and there is nothing to finish. */
static bool workers_offer(struct request *request, unsigned helpers) {
  struct umemiNature own, *nature = NULL;
  if (is_in_pool)
    return false;
  is_in_pool = true; /* asking allocates */
  if (!pool.is_of_main || !umemi_nature_is_main())
    umemi_nature_of_thread(nature = &own);
  workers_lock();
  bool alike = workers_are_alike(nature);
  if (alike)
    workers_announce(request, helpers < pool.limit ? helpers : pool.limit,
                     nature);
  workers_unlock();
  return alike;
}

/* Waits for those who have joined. */
static void workers_finish(struct request *request) {
  workers_lock();
  workers_withdraw(request);
  while (request->running > 0)
    pthread_cond_wait(&request->through, &pool.lock);
  workers_unlock();
}

void umemi_workers_run(void (*job)(void *arg), void *arg, unsigned helpers) {
  struct request request = {.job = job, .arg = arg};
  int cancel_state;
  if (helpers == 0) {
    job(arg);
    return;
  }
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  pthread_cond_init(&request.through, NULL);
  bool offered = workers_offer(&request, helpers);
  job(arg);
  if (offered)
    workers_finish(&request);
  pthread_cond_destroy(&request.through);
  pthread_setcancelstate(cancel_state, NULL);
}

unsigned umemi_workers_of(unsigned lanes, bool waits) {
  umemi_once(&workers_once, workers_init);
  unsigned most = waits ? lanes : cpus, limit = pool.limit;
  unsigned helpers = (lanes < most ? lanes : most) - 1;
  return helpers < limit ? helpers : limit;
}

/* --- fork ----------------------------------------------------------------- */

void umemi_workers_before_fork(void) {
  workers_lock();
}

void umemi_workers_after_fork(void) {
  workers_unlock();
}

void umemi_workers_in_child(void) {
  pthread_mutex_init(&pool.lock, NULL);
  is_in_pool = false;
  pool.threads = pool.idle = 0;
  pool.example = 0;
  pool.requests = NULL;
  if (pool.ready)
    workers_init_conditions();
}

/* --- public calls --------------------------------------------------------- */

umemStatusType umem_set_threads(unsigned nthreads) {
  if (nthreads > THREADS_MAX)
    return umemValueError;
  int saved = errno, cancel_state;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  umemi_once(&workers_once, workers_init);
  workers_lock();
  pool.limit = nthreads;
  pthread_cond_broadcast(&pool.work);
  pthread_cond_broadcast(&pool.less);
  while (pool.threads > pool.limit)
    pthread_cond_wait(&pool.less, &pool.lock);
  workers_unlock();
  pthread_setcancelstate(cancel_state, NULL);
  errno = saved;
  return umemOK;
}

unsigned umem_get_threads(void) {
  umemi_once(&workers_once, workers_init);
  return pool.limit;
}
