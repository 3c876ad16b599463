/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads that help: how many, when, and what becomes of them. */
#include "core.h"

#include "internal.h"

#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

enum { MIB = 1 << 20, PATIENCE = 10000 /* ms; nothing takes so long */ };

/* --- jobs ----------------------------------------------------------------- */

static _Thread_local bool is_caller; /* of umemi_workers_run(), in a test */

/* What a job tells. Who is in it waits until `wanted` threads are, or `open` is
   set, or patience ends. */
struct meeting {
  atomic_uint runs, inside, most, helpers, most_helpers;
  unsigned wanted;
  atomic_bool open;
};

static void note_most(atomic_uint *most, unsigned now) {
  unsigned before = *most;
  while (now > before && !atomic_compare_exchange_weak(most, &before, now))
    continue;
}

static bool meeting_is_over(struct meeting *m) {
  return m->open || m->most >= m->wanted;
}

/* Returns false where patience ended first. */
static bool wait_until(bool (*is_so)(struct meeting *m), struct meeting *m) {
  uint64_t const end = milliseconds() + PATIENCE;
  while (!is_so(m)) {
    if (milliseconds() > end)
      return false;
    sleep_milliseconds(1);
  }
  return true;
}

static void meet(void *argument) {
  struct meeting *m = argument;
  m->runs++;
  note_most(&m->most, ++m->inside);
  if (!is_caller)
    note_most(&m->most_helpers, ++m->helpers);
  wait_until(meeting_is_over, m);
  if (!is_caller)
    m->helpers--;
  m->inside--;
}

static void run_meeting(struct meeting *m, unsigned helpers) {
  is_caller = true;
  umemi_workers_run(meet, m, helpers);
  is_caller = false;
}

static void *meeting_main(void *argument) {
  run_meeting(argument, 1);
  return NULL;
}

/* No thread but this one; one that has told its end may still be ending. */
static bool is_alone(struct meeting *unused) {
  (void)unused;
  return running_threads() == 1;
}

static int alone_setup(void **state) {
  (void)state;
  faults_install();
  assert_ok(umem_set_threads(0));
  assert_true(wait_until(is_alone, NULL));
  return 0;
}

static int alone_teardown(void **state) {
  assert_ok(umem_set_threads(0));
  return faults_teardown(state);
}

/* --- run ------------------------------------------------------------------ */

static void run__without_helpers_is_the_job_once_in_this_thread(void **state) {
  (void)state;
  struct meeting m = {.wanted = 1};
  assert_ok(umem_set_threads(4));
  run_meeting(&m, 0);
  assert_int_equal(m.runs, 1);
  assert_int_equal(m.most_helpers, 0);
  assert_int_equal(running_threads(), 1);
}

static void run__with_helpers_is_the_job_in_all_of_them_at_once(void **state) {
  (void)state;
  assert_ok(umem_set_threads(4));
  for (unsigned helpers = 1; helpers <= 4; helpers++) {
    struct meeting m = {.wanted = helpers + 1};
    run_meeting(&m, helpers);
    assert_int_equal(m.most, helpers + 1);
    assert_int_equal(m.runs, helpers + 1);
    assert_int_equal(m.inside, 0); /* all were through when it returned */
  }
}

static void run__uses_the_threads_that_are_there(void **state) {
  (void)state;
  assert_ok(umem_set_threads(4));
  faults_clear();
  for (unsigned i = 0; i < 50; i++) {
    struct meeting m = {.wanted = 3};
    run_meeting(&m, 2);
    assert_int_equal(m.most, 3);
  }
  assert_int_equal(faults_count(FAULT_pthread_create), 2);
}

static void run__of_a_job_that_ends_at_once_need_not_have_helpers(void **st) {
  (void)st;
  size_t const rounds = scaled(20000, 1000);
  assert_ok(umem_set_threads(4));
  for (size_t i = 0; i < rounds; i++) {
    struct meeting m = {.open = true};
    run_meeting(&m, 4);
    assert_in_range(m.runs, 1, 5);
  }
}

static void run__where_no_thread_can_be_started_is_the_job_once(void **state) {
  (void)state;
  struct meeting m = {.open = true}, later = {.wanted = 3};
  assert_ok(umem_set_threads(4));
  faults_fail_from(FAULT_pthread_create, 1, EAGAIN);
  run_meeting(&m, 4);
  assert_int_equal(m.runs, 1);
  assert_int_equal(faults_count(FAULT_pthread_create), 1);
  faults_clear();
  faults_fail(FAULT_pthread_create, 2, ENOMEM);
  struct meeting two = {.wanted = 2};
  run_meeting(&two, 4);
  assert_int_equal(two.most, 2);
  assert_int_equal(two.runs, 2); /* not again by the one that there is */
  run_meeting(&later, 2);
  assert_int_equal(later.most, 3);
}

static void run__of_more_helpers_than_are_allowed_has_those(void **state) {
  (void)state;
  struct meeting m = {.wanted = 3};
  assert_ok(umem_set_threads(2));
  run_meeting(&m, 1000);
  assert_int_equal(m.runs, 3);
  assert_ok(umem_set_threads(0));
  m = (struct meeting){.wanted = 1};
  run_meeting(&m, 1000);
  assert_int_equal(m.runs, 1);
}

/* --- who helps whom ------------------------------------------------------- */

/* What a thread is made of before it meets others. */
struct odd {
  bool (*become)(void);
  struct meeting m;
  bool became;
};

static void *meet_as_odd(void *argument) {
  struct odd *odd = argument;
  odd->became = odd->become();
  if (odd->became)
    run_meeting(&odd->m, 2);
  return NULL;
}

static bool become_idle(void) {
  return sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){0}) == 0;
}

static bool become_batch(void) {
  return sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}) == 0;
}

static bool become_nice(void) {
  return setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19) == 0;
}

static bool become_urgent(void) {
  struct sched_param const first = {.sched_priority = 1};
  return sched_setscheduler(0, SCHED_FIFO, &first) == 0; /* root's */
}

static bool become_late_in_io(void) {
  return syscall(SYS_ioprio_set, 1, 0, 3 << 13) == 0;
}

static bool become_nobody_of_files(void) {
  setfsuid(65534);
  return setfsuid((uid_t)-1) == 65534; /* root's */
}

static bool become_interleaved(void) {
  unsigned long nodes[16] = {1};
  return syscall(SYS_set_mempolicy, 3, nodes, 1024UL) == 0;
}

static bool become_filtered(void) {
  struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {1, &allow};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

static bool become_owner_of_descriptors(void) {
  return unshare(CLONE_FILES) == 0;
}

/* Such a thread does its work alone, and starts none. Its job waits a moment
   for helpers that would be wrong. */
static void expect_alone(bool (*become)(void)) {
  struct odd odd = {.become = become, .m = {.wanted = 2}};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, meet_as_odd, &odd), 0);
  sleep_milliseconds(50);
  odd.m.open = true;
  assert_int_equal(pthread_join(thread, NULL), 0);
  if (!odd.became)
    print_message("a kind of thread cannot be had here\n");
  assert_int_equal(odd.m.runs, odd.became);
}

static bool (*const odd_ones[])(void) = {
    become_idle,       become_batch,
    become_nice,       become_urgent,
    become_late_in_io, become_nobody_of_files,
    become_filtered,   become_owner_of_descriptors};

static void run__of_a_thread_unlike_the_main_one_starts_no_helpers(void **st) {
  (void)st;
  assert_ok(umem_set_threads(2));
  for (size_t i = 0; i < LENGTH(odd_ones); i++)
    expect_alone(odd_ones[i]);
  assert_int_equal(faults_count(FAULT_pthread_create), 0);
}

static void run__of_a_thread_unlike_the_helpers_has_none(void **state) {
  (void)state;
  assert_ok(umem_set_threads(2));
  for (size_t i = 0; i < LENGTH(odd_ones); i++) {
    struct meeting ordinary = {.wanted = 3};
    run_meeting(&ordinary, 2); /* they are there, and wait for work */
    expect_alone(odd_ones[i]);
  }
  struct meeting ordinary = {.wanted = 3};
  run_meeting(&ordinary, 2);
  expect_alone(become_interleaved);
}

/* Ends the process at calls that sandboxes have reason to forbid. */
static bool forbid(void) {
  static int const calls[] = {SYS_setfsuid,      SYS_setfsgid,
                              SYS_get_mempolicy, SYS_ioprio_get,
                              SYS_kcmp,          SYS_sched_getscheduler};
  struct sock_filter code[2 * LENGTH(calls) + 2] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
  size_t n = 1;
  for (size_t i = 0; i < LENGTH(calls); i++) {
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                             (unsigned)calls[i], 0, 1);
    code[n++] =
        (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  }
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog program = {(unsigned short)n, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

/* In a process of its own: filters stay. */
static int meet_in_sandbox(void) {
  struct meeting one = {.wanted = 3}, other = {.wanted = 3},
                 last = {.wanted = 2};
  pthread_t thread;
  if (!forbid())
    return 77;
  umem_set_threads(2);
  run_meeting(&one, 2);
  run_meeting(&other, 2);
  pthread_create(&thread, NULL, meeting_main, &last);
  pthread_join(thread, NULL);
  return one.runs != 3 || other.runs != 3 || last.runs != 2;
}

/* The line about filters is behind those groups in /proc. */
static int meet_filtered_in_many_groups(void) {
  static gid_t groups[1000];
  struct odd odd = {.become = become_filtered, .m = {.open = true}};
  pthread_t thread;
  for (size_t i = 0; i < LENGTH(groups); i++)
    groups[i] = (gid_t)(1000000000 + i);
  if (setgroups(LENGTH(groups), groups)) /* root's */
    return 77;
  umem_set_threads(2);
  pthread_create(&thread, NULL, meet_as_odd, &odd);
  pthread_join(thread, NULL);
  return !odd.became ? 77 : faults_count(FAULT_pthread_create) != 0;
}

/* A successful child ends by SIGUSR1: at _exit() valgrind would report the
   memory of its idle helpers. */
static void expect_in_child(int (*meet)(void)) {
  int status;
  if (UNDER_TSAN) {
    print_message("skipped: ThreadSanitizer cannot start threads in a child\n");
    return;
  }
  pid_t child = fork();
  if (child == 0) {
    int result = meet();
    if (result == 0)
      end_in_child_by(SIGUSR1);
    end_in_child(result);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
    print_message("this cannot be had here\n");
  else
    assert_int_equal(status, SIGUSR1);
}

static void run__of_a_filtered_thread_of_many_groups_has_none(void **state) {
  (void)state;
  expect_in_child(meet_filtered_in_many_groups);
}

static void run__in_a_sandbox_has_helpers_and_makes_no_rare_call(void **state) {
  (void)state;
  expect_in_child(meet_in_sandbox);
}

static void look_at_slack(void *argument) {
  struct meeting *m = argument;
  if (!is_caller)
    m->helpers = (unsigned)prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
  note_most(&m->most, ++m->inside);
  wait_until(meeting_is_over, m);
}

static void *run_lazily(void *argument) {
  struct meeting *m = argument;
  prctl(PR_SET_TIMERSLACK, 1000000000, 0, 0, 0);
  is_caller = true;
  umemi_workers_run(look_at_slack, m, 1);
  return NULL;
}

static void helpers__wake_as_soon_as_others(void **state) {
  (void)state;
  struct meeting m = {.wanted = 2};
  assert_ok(umem_set_threads(1));
  in_thread(run_lazily, &m);
  assert_int_equal(m.most, 2);
  assert_int_equal(m.helpers, 50000);
}

static void *run_many(void *argument) {
  struct meeting *all = argument;
  size_t const rounds = scaled(3000, 200);
  for (size_t i = 0; i < rounds; i++) {
    struct meeting own = {.open = true}; /* gone when the run returns */
    run_meeting(&own, 3);
    all->runs += own.runs < 1 || own.runs > 4 || own.inside != 0;
  }
  return NULL;
}

static void run__by_many_callers_at_once_is_over_when_it_returns(void **state) {
  (void)state;
  struct meeting wrong = {.wanted = 0};
  pthread_t threads[THREADS];
  assert_ok(umem_set_threads(3));
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, run_many, &wrong), 0);
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  assert_int_equal(wrong.runs, 0);
}

static void *lock_and_unlock(void *argument) {
  atomic_bool *stop = argument;
  while (!*stop) {
    umem_set_threads(4);
    sched_yield(); /* a mutex is not fair, and valgrind even less */
  }
  return NULL;
}

static void run__has_helpers_also_while_others_use_the_pool(void **state) {
  (void)state;
  atomic_bool stop = false;
  pthread_t thread;
  unsigned alone = 0;
  assert_ok(umem_set_threads(4));
  assert_int_equal(pthread_create(&thread, NULL, lock_and_unlock, &stop), 0);
  size_t const rounds = scaled(1000, 100);
  for (size_t i = 0; alone == 0 && i < rounds; i++) {
    struct meeting m = {.wanted = 2};
    run_meeting(&m, 1);
    alone += m.runs != 2;
  }
  stop = true;
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_int_equal(alone, 0);
}

/* --- the limit ------------------------------------------------------------ */

static void *run_shared(void *argument) {
  run_meeting(argument, 3);
  return NULL;
}

static void limit__holds_for_all_callers_together(void **state) {
  (void)state;
  struct meeting m = {.wanted = THREADS + 2};
  pthread_t threads[THREADS];
  assert_ok(umem_set_threads(2));
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, run_shared, &m), 0);
  assert_true(wait_until(meeting_is_over, &m));
  assert_in_range(running_threads(), 1 + 2, 1 + THREADS + 2);
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  assert_int_equal(m.most_helpers, 2);
}

static void set_threads__is_what_get_threads_tells(void **state) {
  (void)state;
  static unsigned const numbers[] = {0, 1, 2, 15, 1023, 1024};
  for (size_t i = 0; i < LENGTH(numbers); i++) {
    assert_ok(umem_set_threads(numbers[i]));
    assert_int_equal(umem_get_threads(), numbers[i]);
  }
  assert_int_equal(running_threads(), 1); /* none is started ahead */
}

static void set_threads__of_more_than_1024_is_refused(void **state) {
  (void)state;
  static unsigned const numbers[] = {1025, 1 << 20, UINT_MAX};
  assert_ok(umem_set_threads(7));
  for (size_t i = 0; i < LENGTH(numbers); i++) {
    errno = 5;
    assert_status(umem_set_threads(numbers[i]), umemValueError);
    assert_int_equal(errno, 5);
    assert_int_equal(umem_get_threads(), 7);
  }
}

static void set_threads__ends_those_that_are_too_many(void **state) {
  (void)state;
  struct meeting m = {.wanted = 5}, two = {.wanted = 3};
  assert_ok(umem_set_threads(4));
  run_meeting(&m, 4);
  assert_ok(umem_set_threads(2));
  run_meeting(&two, 4);
  assert_int_equal(two.runs, 3);
  assert_ok(umem_set_threads(0));
  uint64_t const begin = milliseconds();
  assert_true(wait_until(is_alone, NULL));
  assert_true(milliseconds() - begin < 900); /* before they would end */
}

static void workers_of__is_bounded_by_lanes_limit_and_CPUs(void **state) {
  (void)state;
  unsigned const cpus = umemi_cpus();
  assert_ok(umem_set_threads(1024));
  for (unsigned lanes = 1; lanes <= 4; lanes++) {
    assert_int_equal(umemi_workers_of(lanes, true), lanes - 1);
    assert_int_equal(umemi_workers_of(lanes, false),
                     (lanes < cpus ? lanes : cpus) - 1);
  }
  assert_ok(umem_set_threads(1));
  assert_int_equal(umemi_workers_of(4, true), 1);
  assert_ok(umem_set_threads(0));
  assert_int_equal(umemi_workers_of(4, true), 0);
}

/* A thread at work, and one that waits for the end of it in set_threads(0). */
struct waiter {
  struct meeting *meeting;
  atomic_bool returned;
};

static bool has_returned(struct meeting *m) {
  return ((struct waiter *)(void *)m)->returned;
}

static void *set_threads_to_0(void *argument) {
  struct waiter *waiter = argument;
  if (umem_set_threads(0) == umemOK)
    waiter->returned = true;
  return NULL;
}

static bool has_helper(struct meeting *m) {
  return m->helpers > 0;
}

/* Both have begun, and the first one is not let go before m->open. */
static void begin_waiting(struct meeting *m, struct waiter *waiter,
                          pthread_t threads[2]) {
  *m = (struct meeting){.wanted = 99};
  *waiter = (struct waiter){.meeting = m};
  assert_ok(umem_set_threads(1));
  assert_int_equal(pthread_create(&threads[0], NULL, meeting_main, m), 0);
  assert_true(wait_until(has_helper, m));
  assert_int_equal(pthread_create(&threads[1], NULL, set_threads_to_0, waiter),
                   0);
  uint64_t const end = milliseconds() + PATIENCE;
  while (umem_get_threads() != 0 && milliseconds() < end)
    sleep_milliseconds(1);
  sleep_milliseconds(50);
}

static void end_waiting(struct meeting *m, pthread_t const threads[2]) {
  m->open = true;
  for (size_t i = 0; i < 2; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void set_threads__returns_after_what_they_are_at(void **state) {
  (void)state;
  struct meeting m;
  struct waiter waiter;
  pthread_t threads[2];
  begin_waiting(&m, &waiter, threads);
  bool early = waiter.returned;
  end_waiting(&m, threads);
  assert_false(early);
  assert_true(waiter.returned);
  assert_int_equal(m.runs, 2);
}

static void set_threads__to_more_lets_one_go_who_waits_for_less(void **state) {
  (void)state;
  struct meeting m;
  struct waiter waiter;
  pthread_t threads[2];
  begin_waiting(&m, &waiter, threads);
  assert_ok(umem_set_threads(1));
  bool in_time = wait_until(has_returned, (struct meeting *)&waiter);
  end_waiting(&m, threads);
  assert_true(in_time);
}

/* --- idle ----------------------------------------------------------------- */

static void idle__threads_end_after_about_a_second(void **state) {
  (void)state;
  struct meeting m = {.wanted = 4};
  assert_ok(umem_set_threads(3));
  run_meeting(&m, 3);
  uint64_t const begin = milliseconds();
  sleep_milliseconds(300);
  int const still = running_threads();
  if (milliseconds() - begin < 900)
    assert_int_equal(still, 4);
  assert_true(wait_until(is_alone, NULL));
  m = (struct meeting){.wanted = 4}; /* and are started again */
  run_meeting(&m, 3);
  assert_int_equal(m.most, 4);
}

/* --- signals -------------------------------------------------------------- */

static int const faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

static bool is_fault(int number) {
  for (size_t i = 0; i < LENGTH(faults); i++)
    if (faults[i] == number)
      return true;
  return false;
}

/* Can it be blocked at all? Between 31 and SIGRTMIN are those of the C
   library. */
static bool is_ours(int number) {
  return number != SIGKILL && number != SIGSTOP &&
         (number <= 31 || number >= SIGRTMIN);
}

struct masks {
  struct meeting meeting; /* first */
  atomic_uint wrong;
};

static void check_mask(void *argument) {
  struct masks *masks = argument;
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  for (int i = 1; !is_caller && i <= SIGRTMAX; i++)
    if (is_ours(i))
      masks->wrong += sigismember(&mask, i) == is_fault(i);
  meet(&masks->meeting);
}

static void signals__but_faults_are_blocked_in_helpers(void **state) {
  (void)state;
  struct masks masks = {.meeting = {.wanted = 3}};
  sigset_t before, after;
  pthread_sigmask(SIG_BLOCK, NULL, &before);
  assert_ok(umem_set_threads(2));
  is_caller = true;
  umemi_workers_run(check_mask, &masks, 2);
  is_caller = false;
  assert_int_equal(masks.meeting.most_helpers, 2);
  assert_int_equal(masks.wrong, 0);
  pthread_sigmask(SIG_BLOCK, NULL, &after);
  for (int i = 1; i <= 31; i++)
    assert_int_equal(sigismember(&before, i), sigismember(&after, i));
}

static char *guarded; /* a page that a handler gives access to */
static atomic_uint faults_handled;

static void unguard(int number) {
  (void)number;
  faults_handled++;
  mprotect(guarded, UMEMI_PAGE, PROT_READ | PROT_WRITE);
}

static void touch_guarded(void *argument) {
  if (!is_caller)
    *(char volatile *)guarded = 1;
  meet(argument);
}

/* Valgrind 3.19 delivers a fault of a thread again and again. */
static void signals__of_faults_reach_the_programs_handler(void **state) {
  (void)state;
  if (is_under_valgrind())
    skip();
  struct meeting m = {.wanted = 2};
  struct sigaction old, action = {.sa_handler = unguard};
  guarded =
      mmap(NULL, UMEMI_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(guarded != MAP_FAILED);
  faults_handled = 0;
  assert_int_equal(sigaction(SIGSEGV, &action, &old), 0);
  assert_ok(umem_set_threads(1));
  is_caller = true;
  umemi_workers_run(touch_guarded, &m, 1);
  is_caller = false;
  assert_int_equal(sigaction(SIGSEGV, &old, NULL), 0);
  assert_int_equal(m.runs, 2);
  assert_int_equal(faults_handled, 1);
  munmap(guarded, UMEMI_PAGE);
}

/* --- the world around ----------------------------------------------------- */

static void errno__is_left_as_it_was(void **state) {
  (void)state;
  for (int i = 0; i < 10; i++) {
    struct meeting m = {.open = true};
    errno = 100 + i;
    assert_ok(umem_set_threads(i % 2 ? 1 : 0));
    assert_int_equal(errno, 100 + i);
    umem_get_threads();
    assert_int_equal(errno, 100 + i);
    umemi_workers_run(meet, &m, 1);
    assert_int_equal(errno, 100 + i);
  }
}

/* Thresholds at which 1 MiB is a large copy, for all that follows. */
static struct umemiTuning usual;

static int small_setup(void **state) {
  usual = *umemi_tuning();
  umemi_tuning_values.share_from = 256 << 10;
  umemi_tuning_values.host_piece = 64 << 10;
  umemi_tuning_values.fresh_from = 512 << 10;
  return alone_setup(state);
}

static int small_teardown(void **state) {
  int failed = alone_teardown(state);
  umemi_tuning_values = usual;
  return failed;
}

/* Two buffers, and the copy of one to the other; true if it is one. */
struct copier {
  unsigned char *from, *to;
  atomic_bool *stop;
  size_t wrong, seed;
};

static void copier_begin(struct copier *c, size_t seed, atomic_bool *stop) {
  *c = (struct copier){
      .from = malloc(MIB), .to = malloc(MIB), .stop = stop, .seed = seed};
  assert_true(c->from && c->to);
  random_bytes(c->from, MIB, seed);
}

static void copier_end(struct copier *c) {
  free(c->from);
  free(c->to);
}

static bool copies(struct copier *c) {
  umemHost host;
  bool ok = umemHost_ctor(&host) == umemOK;
  memset(c->to, 0, MIB);
  ok &= umem_copy_to(&host, (uintptr_t)c->from, &host, (uintptr_t)c->to, MIB) ==
        umemOK;
  ok &= memcmp(c->from, c->to, MIB) == 0;
  return umem_dtor(&host) == umemOK && ok;
}

static void *copy_on(void *argument) {
  struct copier *c = argument;
  do {
    c->wrong += !copies(c);
    pthread_testcancel();
  } while (!*c->stop);
  return NULL;
}

/* Ends by SIGKILL if it went well; see expect_in_child(). */
static void work_in_child(struct copier *c) {
  struct meeting m = {.wanted = 3};
  alarm(60);
  bool ok = running_threads() == 1 && copies(c);
  ok &= umem_set_threads(2) == umemOK;
  run_meeting(&m, 2);
  ok &= m.most == 3 && copies(c) && umem_set_threads(0) == umemOK;
  end_in_child_by(ok ? SIGKILL : SIGABRT);
}

static bool child_works(struct copier *c) {
  int status;
  pid_t child = fork();
  if (child == 0)
    work_in_child(c);
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void
fork__under_copies_with_helpers_leaves_a_child_that_works(void **s) {
  (void)s;
  if (UNDER_TSAN) {
    print_message("skipped: ThreadSanitizer cannot fork a threaded process\n");
    skip();
  }
  struct copier copiers[THREADS], own;
  pthread_t threads[THREADS];
  atomic_bool stop = false;
  size_t const forks = scaled(150, 10);
  size_t good = 0, wrong = 0;
  assert_ok(umem_set_threads(4));
  copier_begin(&own, 99, &stop);
  for (size_t i = 0; i < THREADS; i++) {
    copier_begin(&copiers[i], i, &stop);
    assert_int_equal(pthread_create(&threads[i], NULL, copy_on, &copiers[i]),
                     0);
  }
  for (size_t i = 0; i < forks; i++)
    good += child_works(&own);
  stop = true;
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
    wrong += copiers[i].wrong;
    copier_end(&copiers[i]);
  }
  assert_true(copies(&own));
  copier_end(&own);
  assert_int_equal(good, forks);
  assert_int_equal(wrong, 0);
}

static struct copier handlers;
static umemHost handlers_host;
static atomic_uint handled;

static void copy_in_handler(int number) {
  (void)number;
  handlers.wrong +=
      umem_copy_to(&handlers_host, (uintptr_t)handlers.from, &handlers_host,
                   (uintptr_t)handlers.to, MIB) != umemOK;
  handled++;
}

/* Whatever of a copy a signal interrupts. Starting a thread allocates: a
   handler may do that where it interrupts no allocation, as here. */
static void signals__whose_handlers_copy_may_interrupt_copies(void **state) {
  (void)state;
  if (UNDER_TSAN) {
    print_message("skipped: ThreadSanitizer reports every allocation there\n");
    skip();
  }
  struct copier own;
  struct sigaction old,
      action = {.sa_handler = copy_in_handler, .sa_flags = SA_RESTART};
  struct timeval const often = {0, (suseconds_t)scaled(500, 50000)};
  uint64_t const end = milliseconds() + scaled(1000, 200);
  copier_begin(&own, 1, NULL);
  copier_begin(&handlers, 2, NULL);
  assert_ok(umemHost_ctor(&handlers_host));
  handled = 0;
  assert_ok(umem_set_threads(2));
  assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
  setitimer(ITIMER_REAL, &(struct itimerval){often, often}, NULL);
  while (milliseconds() < end)
    own.wrong += !copies(&own);
  setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
  assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
  assert_true(handled > 0);
  assert_int_equal(own.wrong + handlers.wrong, 0);
  assert_int_equal(memcmp(handlers.from, handlers.to, MIB), 0);
  assert_ok(umem_dtor(&handlers_host));
  copier_end(&own);
  copier_end(&handlers);
}

static void cancelling__a_thread_in_a_copy_leaves_all_usable(void **state) {
  (void)state;
  atomic_bool stop = false;
  struct copier copier;
  size_t const rounds = scaled(200, 20);
  assert_ok(umem_set_threads(2));
  copier_begin(&copier, 1, &stop);
  for (size_t i = 0; i < rounds; i++) {
    pthread_t thread;
    void *ended;
    assert_int_equal(pthread_create(&thread, NULL, copy_on, &copier), 0);
    if (i % 2)
      sched_yield();
    assert_int_equal(pthread_cancel(thread), 0);
    assert_int_equal(pthread_join(thread, &ended), 0);
    assert_ptr_equal(ended, PTHREAD_CANCELED);
  }
  assert_int_equal(copier.wrong, 0);
  copier_end(&copier);
  struct meeting m = {.wanted = 3};
  run_meeting(&m, 2);
  assert_int_equal(m.most, 3);
}

/* --- in a process of their own: what is decided once ---------------------- */

/* What a program is told first. */
static int role_threads(void) {
  unsigned threads = umem_get_threads();
  printf("%u %u %u %u\n", threads, umemi_cpus(), umemi_workers_of(4, false),
         umemi_workers_of(4, true));
  return 0;
}

/* The first copy of a process, and the second. */
static int role_errno(void) {
  static unsigned char from[4 * MIB], to[4 * MIB];
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  size_t const sizes[] = {4096, sizeof from};
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    errno = 77;
    if (umem_copy_to(&host, (uintptr_t)from, &host, (uintptr_t)to, sizes[i]) !=
            umemOK ||
        errno != 77)
      return 1 + (int)i;
  }
  return umem_dtor(&host) == umemOK ? 0 : 9;
}

static void *copy_when_cancelled(void *argument) {
  static unsigned char from[8 * MIB], to[8 * MIB];
  pthread_cancel(pthread_self());
  umem_copy_to(argument, (uintptr_t)from, argument, (uintptr_t)to, sizeof from);
  pthread_testcancel();
  return NULL;
}

static void *get_when_cancelled(void *unused) {
  (void)unused;
  pthread_cancel(pthread_self());
  umem_get_threads();
  pthread_testcancel();
  return NULL;
}

/* The first call of a process, in a thread that is cancelled meanwhile. */
static int cancelled_first(void *(*call)(void *)) {
  umemHost host;
  alarm(10);
  umemi_tuning();
  assert_ok(umemHost_ctor(&host));
  in_thread(call, &host);
  return umem_get_threads() > 0 && umem_set_threads(0) == umemOK &&
                 umem_dtor(&host) == umemOK
             ? 0
             : 1;
}

static int role_cancel_copy(void) {
  return cancelled_first(copy_when_cancelled);
}

static int role_cancel_get(void) {
  return cancelled_first(get_when_cancelled);
}

static struct {
  char const *name;
  int (*run)(void);
} const roles[] = {{"threads", role_threads},
                   {"errno", role_errno},
                   {"cancel-copy", role_cancel_copy},
                   {"cancel-get", role_cancel_get}};

/* How many threads a process with this setting is told to have. */
static unsigned threads_with(char const *setting) {
  char told[256];
  unsigned threads = UINT_MAX;
  assert_int_equal(run_again("threads", setting, told, sizeof told), 0);
  assert_int_equal(sscanf(told, "%u", &threads), 1);
  return threads;
}

static void environment__sets_the_number_of_threads(void **state) {
  (void)state;
  assert_int_equal(threads_with("UMEM_THREADS=0"), 0);
  assert_int_equal(threads_with("UMEM_THREADS=3"), 3);
  assert_int_equal(threads_with("UMEM_THREADS=007"), 7);
  assert_int_equal(threads_with("UMEM_THREADS=1024"), 1024);
}

static void environment__of_more_than_1024_threads_is_1024(void **state) {
  (void)state;
  assert_int_equal(threads_with("UMEM_THREADS=1025"), 1024);
  assert_int_equal(threads_with("UMEM_THREADS=99999999999999999999"), 1024);
}

static void environment__that_is_no_number_is_ignored(void **state) {
  (void)state;
  static char const *const bad[] = {"UMEM_THREADS=",    "UMEM_THREADS=x",
                                    "UMEM_THREADS=-1",  "UMEM_THREADS=+5",
                                    "UMEM_THREADS= 5",  "UMEM_THREADS=5x",
                                    "UMEM_THREADS=5 ",  "UMEM_THREADS=0x5",
                                    "UMEM_THREADS=5.0", "UMEM_THREADS_=5"};
  unsigned const usual_number = threads_with(NULL);
  assert_in_range(usual_number, 3, 15);
  for (size_t i = 0; i < LENGTH(bad); i++)
    assert_int_equal(threads_with(bad[i]), usual_number);
}

static void one_cpu__has_helpers_only_for_what_waits(void **state) {
  (void)state;
  cpu_set_t all, one;
  char told[256];
  unsigned threads = 0, cpus = 0, working = 9, waiting = 0;
  assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
  CPU_ZERO(&one);
  for (size_t i = 0; CPU_COUNT(&one) == 0; i++)
    if (CPU_ISSET(i, &all))
      CPU_SET(i, &one);
  assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
  int result = run_again("threads", NULL, told, sizeof told);
  assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
  assert_int_equal(result, 0);
  assert_int_equal(
      sscanf(told, "%u %u %u %u", &threads, &cpus, &working, &waiting), 4);
  assert_int_equal(threads, 3);
  assert_int_equal(cpus, 1);
  assert_int_equal(working, 0);
  assert_int_equal(waiting, 3);
}

static void first_call__of_a_process_keeps_errno(void **state) {
  (void)state;
  char told[1024];
  if (run_again("errno", NULL, told, sizeof told) != 0)
    fail_msg("errno was changed: %s", told);
}

static void first_call__of_a_process_may_be_cancelled(void **state) {
  (void)state;
  char told[1024];
  assert_int_equal(run_again("cancel-copy", NULL, told, sizeof told), 0);
  assert_int_equal(run_again("cancel-get", NULL, told, sizeof told), 0);
}

#define alone_test(f)                                                          \
  cmocka_unit_test_setup_teardown(f, alone_setup, alone_teardown)
#define small_test(f)                                                          \
  cmocka_unit_test_setup_teardown(f, small_setup, small_teardown)

static void *do_nothing(void *unused) {
  return unused;
}

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      alone_test(run__without_helpers_is_the_job_once_in_this_thread),
      alone_test(run__with_helpers_is_the_job_in_all_of_them_at_once),
      alone_test(run__uses_the_threads_that_are_there),
      alone_test(run__of_a_job_that_ends_at_once_need_not_have_helpers),
      alone_test(run__where_no_thread_can_be_started_is_the_job_once),
      alone_test(run__of_more_helpers_than_are_allowed_has_those),
      alone_test(run__of_a_thread_unlike_the_main_one_starts_no_helpers),
      alone_test(run__of_a_thread_unlike_the_helpers_has_none),
      alone_test(run__of_a_filtered_thread_of_many_groups_has_none),
      alone_test(run__in_a_sandbox_has_helpers_and_makes_no_rare_call),
      alone_test(helpers__wake_as_soon_as_others),
      alone_test(run__by_many_callers_at_once_is_over_when_it_returns),
      alone_test(run__has_helpers_also_while_others_use_the_pool),
      alone_test(limit__holds_for_all_callers_together),
      alone_test(set_threads__is_what_get_threads_tells),
      alone_test(set_threads__of_more_than_1024_is_refused),
      alone_test(set_threads__ends_those_that_are_too_many),
      alone_test(set_threads__returns_after_what_they_are_at),
      alone_test(set_threads__to_more_lets_one_go_who_waits_for_less),
      alone_test(workers_of__is_bounded_by_lanes_limit_and_CPUs),
      alone_test(idle__threads_end_after_about_a_second),
      alone_test(signals__but_faults_are_blocked_in_helpers),
      alone_test(signals__of_faults_reach_the_programs_handler),
      alone_test(errno__is_left_as_it_was),
      small_test(fork__under_copies_with_helpers_leaves_a_child_that_works),
      small_test(signals__whose_handlers_copy_may_interrupt_copies),
      small_test(cancelling__a_thread_in_a_copy_leaves_all_usable),
      cmocka_unit_test(environment__sets_the_number_of_threads),
      cmocka_unit_test(environment__of_more_than_1024_threads_is_1024),
      cmocka_unit_test(environment__that_is_no_number_is_ignored),
      cmocka_unit_test(one_cpu__has_helpers_only_for_what_waits),
      cmocka_unit_test(first_call__of_a_process_keeps_errno),
      cmocka_unit_test(first_call__of_a_process_may_be_cancelled),
  };
  for (size_t i = 0; argc > 1 && i < LENGTH(roles); i++)
    if (strcmp(argv[1], roles[i].name) == 0)
      return roles[i].run();
  in_thread(do_nothing, NULL); /* what comes with the first one is there */
  return cmocka_run_group_tests(tests, NULL, NULL);
}
