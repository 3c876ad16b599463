/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which process this is, and the locks of the library. A forked child must know
 * that it is one: it publishes no file of its parent, it has no helper threads,
 * and a thread that it does not have may have held a lock.
 *
 * A child is recognised by state, because _Fork() and clone(2) run no handlers:
 * the number of the process lies in a page that the kernel clears in a child.
 * Where the kernel has no such pages the handlers of fork() set the number.
 */
#include "internal.h"

#include <signal.h>
#include <time.h>

/* --- waiting -------------------------------------------------------------- */

/* Sleeps, because a thread that only yields may keep a less urgent one, for
   which it waits, from its CPU. */
static void process_pause(void) {
  nanosleep(&(struct timespec){0, 100000}, NULL);
}

/* --- locks ---------------------------------------------------------------- */

/*
 * Locks are striped by context id, and a call holds at most one at a time, so
 * that fork() can take them all in order: no child of fork() inherits one that
 * is held.
 */
enum { LOCKS = 16 };

static pthread_mutex_t locks[LOCKS] = {
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
    PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};

void umemi_lock(uint64_t id) {
  umemi_process(); /* renews the locks in a child */
  pthread_mutex_lock(&locks[id % LOCKS]);
}

void umemi_unlock(uint64_t id) {
  pthread_mutex_unlock(&locks[id % LOCKS]);
}

/* --- the number of the process -------------------------------------------- */

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18 /* Linux 4.14 */
#endif

/* Instead of a number: some thread is renewing what belongs to the process. */
#define PROCESS_RENEWS UINT64_MAX

static _Atomic(_Atomic uint64_t *) process_word; /* NULL until first need */
static _Atomic uint64_t process_kept_word; /* without a page that is cleared */
static _Atomic uint64_t process_last;

static _Atomic uint64_t *process_map(void) {
  void *page = umemi_os.mmap(NULL, UMEMI_PAGE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return &process_kept_word;
  if (umemi_os.madvise(page, UMEMI_PAGE, MADV_WIPEONFORK) == 0)
    return page;
  munmap(page, UMEMI_PAGE);
  return &process_kept_word;
}

static _Atomic uint64_t *process_place(void) {
  _Atomic uint64_t *place = atomic_load(&process_word), *mapped;
  if (place)
    return place;
  mapped = process_map();
  if (atomic_compare_exchange_strong(&process_word, &place, mapped))
    return mapped;
  if (mapped != &process_kept_word) /* another thread was first */
    munmap(mapped, UMEMI_PAGE);
  return place;
}

/* What belonged to threads that a child does not have. */
static void process_renew(void) {
  for (size_t i = 0; i < LOCKS; i++)
    pthread_mutex_init(&locks[i], NULL);
  umemi_workers_in_child();
  umemi_segments_in_child();
}

/* Gives the process its number. One thread does, the others wait. */
static void process_number(_Atomic uint64_t *place) {
  uint64_t none = 0;
  if (atomic_compare_exchange_strong(place, &none, PROCESS_RENEWS)) {
    uint64_t number = 1 + atomic_fetch_add(&process_last, 1);
    if (number > 1)
      process_renew();
    atomic_store(place, number);
  }
  while (atomic_load(place) == PROCESS_RENEWS)
    process_pause();
}

/* Without signals: a handler would wait for the thread that it interrupted. */
static UMEMI_NOINLINE uint64_t process_begin(void) {
  int saved = errno;
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  _Atomic uint64_t *place = process_place();
  process_number(place);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  errno = saved;
  return atomic_load(place);
}

/* Not getpid(): it may be the same in another namespace. */
uint64_t umemi_process(void) {
  _Atomic uint64_t *place =
      atomic_load_explicit(&process_word, memory_order_acquire);
  uint64_t number =
      place ? atomic_load_explicit(place, memory_order_acquire) : 0;
  return UMEMI_LIKELY(number != 0 && number != PROCESS_RENEWS)
             ? number
             : process_begin();
}

/* --- fork() --------------------------------------------------------------- */

static uint64_t fork_parent; /* the number of who forks; under all locks */

static void fork_prepare(void) {
  for (uint64_t i = 0; i < LOCKS; i++)
    umemi_lock(i);
  fork_parent = umemi_process();
  umemi_workers_before_fork();
  umemi_segments_before_fork();
}

static void fork_release(void) {
  umemi_segments_after_fork();
  umemi_workers_after_fork();
  for (uint64_t i = LOCKS; i-- > 0;)
    umemi_unlock(i);
}

/* A handler that ran before may have used the library: then the child has its
   number, and new locks. */
static bool fork_is_renewed(void) {
  uint64_t number = atomic_load(process_place());
  return number != 0 && number != fork_parent;
}

/* The number last: the locks may be used as soon as it is set. */
static void fork_in_child(void) {
  if (fork_is_renewed())
    return;
  fork_release();
  atomic_store(process_place(), 0);
  umemi_process();
}

static atomic_bool fork_is_guarded;
static int fork_guard_errno;

int umemi_fork_guard(void) {
  if (!atomic_exchange(&fork_is_guarded, true))
    fork_guard_errno =
        pthread_atfork(fork_prepare, fork_release, fork_in_child);
  return fork_guard_errno;
}

/*
 * A plugin that has the library inside may be unloaded. The library stays:
 * idle threads wait in its code, and the ends of threads and of the process
 * call it. The reference is never given back. RTLD_NOLOAD finds nothing where
 * the library is part of the program, which stays anyway.
 */
static void process_stay_loaded(void) {
  Dl_info self;
  if (dladdr((void *)process_stay_loaded, &self) && self.dli_fname)
    dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

/* At load time, because no thread can be forking then. Constructors of the
   program may run before and use the library. */
__attribute__((constructor)) static void process_load(void) {
  umemi_fork_guard();
  process_stay_loaded();
}

/* --- once ----------------------------------------------------------------- */

/* Instead of the number of the process that is at it. */
#define ONCE_DONE UINT64_MAX

/* Not pthread_once(): a child of _Fork() would wait for the thread that was at
   it in the parent. */
void umemi_once(_Atomic uint64_t *once, void (*init)(void)) {
  int saved = errno, cancel_state;
  if (UMEMI_LIKELY(atomic_load(once) == ONCE_DONE))
    return;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  uint64_t mine = umemi_process(), at_it = atomic_load(once);
  while (at_it != ONCE_DONE)
    if (at_it == mine) {
      process_pause();
      at_it = atomic_load(once);
    } else if (atomic_compare_exchange_strong(once, &at_it, mine)) {
      init();
      atomic_store(once, at_it = ONCE_DONE);
    }
  pthread_setcancelstate(cancel_state, NULL);
  errno = saved;
}
