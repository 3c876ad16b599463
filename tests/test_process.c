/* SPDX-License-Identifier: BSD-3-Clause */
/* Children that no handler of fork() tells of: _Fork(), clone(2). */
#include "core.h"

#include "internal.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

enum { BYTES = 100, MINUTE = 60 };

static umemHost host, checked;

/* The child of no handler: as _Fork() of newer C libraries. */
static pid_t fork_unseen(void) {
  return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

/* Was `run` true in such a child? It ends by SIGKILL if so, and hangs for a
   minute at most. */
static bool in_unseen_child(bool (*run)(void)) {
  int status;
  pid_t child = fork_unseen();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGALRM, SIG_DFL);
    alarm(MINUTE);
    syscall(SYS_kill, syscall(SYS_getpid), run() ? SIGKILL : SIGABRT);
    end_in_child(1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static int process_setup(void **state) {
  (void)state;
  assert_ok(umemHost_ctor(&host));
  checked_host(&checked);
  return 0;
}

static int process_teardown(void **state) {
  (void)state;
  assert_ok(umem_dtor(&checked));
  assert_ok(umem_dtor(&host));
  return 0;
}

static bool works(void) {
  uintptr_t adr = umem_alloc(&checked, BYTES);
  return adr && umem_try_set(&checked, adr, 1, BYTES) == umemOK &&
         umem_free(&checked, adr) == umemOK;
}

/* --- numbers -------------------------------------------------------------- */

static uint64_t number_before;

static bool has_another_number(void) {
  return umemi_process() != number_before;
}

static bool has_a_child_of_another_number(void) {
  bool other = has_another_number();
  number_before = umemi_process();
  return other && in_unseen_child(has_another_number);
}

static void number__of_an_unseen_child_is_another(void **state) {
  (void)state;
  number_before = umemi_process();
  assert_int_equal(umemi_process(), number_before);
  assert_true(in_unseen_child(has_another_number));
  assert_true(in_unseen_child(has_a_child_of_another_number));
  assert_int_equal(umemi_process(), number_before);
}

static int refusals;

static int refuse_to_clear(void *at, size_t nbytes, int advice) {
  (void)at, (void)nbytes, (void)advice;
  refusals++;
  errno = EINVAL;
  return -1;
}

/* Where the kernel clears no pages, fork() tells. Exit status 0: it does. */
static int role_no_cleared_page(void) {
  umemi_os.madvise = refuse_to_clear;
  uint64_t before = umemi_process();
  int status = -1;
  pid_t child = fork();
  if (child == 0)
    end_in_child(umemi_process() == before);
  return waitpid(child, &status, 0) != child || status != 0 ||
         umemi_process() != before || refusals != 1;
}

static void number__without_a_cleared_page_is_forks(void **state) {
  (void)state;
  char told[1000];
  assert_int_equal(run_again("no_cleared_page", NULL, told, sizeof told), 0);
}

/* --- what belonged to the parent ------------------------------------------ */

static void unseen_child__publishes_and_removes_nothing(void **state) {
  (void)state;
  check_child_publishes_nothing(in_unseen_child);
}

static atomic_uint inside;

static void wait_for_two(void *unused) {
  (void)unused;
  inside++;
  while (inside < 2)
    sleep_milliseconds(1);
}

static bool has_no_helpers(void) {
  return umem_set_threads(0) == umemOK && umem_get_threads() == 0;
}

static void unseen_child__does_not_wait_for_helpers(void **state) {
  (void)state;
  assert_ok(umem_set_threads(1));
  inside = 0;
  umemi_workers_run(wait_for_two, NULL, 1);
  assert_true(in_unseen_child(has_no_helpers));
  assert_ok(umem_set_threads(0));
}

/* --- locks of threads that stayed in the parent --------------------------- */

static atomic_bool held, release;

static void hold(void) {
  held = true;
  while (!release)
    sleep_milliseconds(1);
}

static void *hold_all_locks(void *unused) {
  (void)unused;
  for (uint64_t i = 0; i < 16; i++)
    umemi_lock(i);
  umemi_workers_before_fork();
  umemi_segments_before_fork();
  hold();
  umemi_segments_after_fork();
  umemi_workers_after_fork();
  for (uint64_t i = 16; i-- > 0;)
    umemi_unlock(i);
  return NULL;
}

static bool works_with_all(void) {
  umemShm shm;
  return works() && has_no_helpers() &&
         umemShm_ctor(&shm, NULL, 4096, 0) == umemOK &&
         umem_dtor(&shm) == umemOK;
}

static void unseen_child_while(void *(*thread_main)(void *),
                               bool (*run)(void)) {
  pthread_t thread;
  if (UNDER_TSAN) {
    print_message("skipped: ThreadSanitizer cannot fork a threaded process\n");
    skip();
  }
  held = release = false;
  assert_int_equal(pthread_create(&thread, NULL, thread_main, NULL), 0);
  while (!held)
    sleep_milliseconds(1);
  bool good = in_unseen_child(run);
  release = true;
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_true(good);
}

static void unseen_child__does_not_wait_for_locks(void **state) {
  (void)state;
  unseen_child_while(hold_all_locks, works_with_all);
}

static _Atomic uint64_t once;
static int done;

static void do_and_hold(void) {
  if (!held)
    hold();
  done++;
}

static void *do_once(void *unused) {
  (void)unused;
  umemi_once(&once, do_and_hold);
  return NULL;
}

static bool does_it_itself(void) {
  umemi_once(&once, do_and_hold);
  umemi_once(&once, do_and_hold);
  return done == 1;
}

static void unseen_child__does_once_what_its_parent_was_at(void **state) {
  (void)state;
  unseen_child_while(do_once, does_it_itself);
  assert_int_equal(done, 1);
}

/* --- fork() --------------------------------------------------------------- */

static umemFile early_file; /* of the handler below */
static bool early_is_on;

/* In the child, before the handlers of the library. */
static void early_handler(void) {
  umemFileOptions options = {.size = sizeof options, .flags = UMEM_FILE_ATOMIC};
  if (early_is_on)
    umemFile_ctor_ex(&early_file, temp_path("early"), "w", &options);
}

/* Before the library is: it registers its handlers later. */
__attribute__((constructor(101))) static void early_load(void) {
  pthread_atfork(NULL, NULL, early_handler);
}

static void child__publishes_what_an_early_handler_opened(void **state) {
  (void)state;
  int status;
  early_is_on = true;
  pid_t child = fork();
  if (child == 0)
    end_in_child(umem_dtor(&early_file) != umemOK || !works());
  early_is_on = false;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_int_equal(access(temp_path("early"), F_OK), 0);
}

/* --- once ----------------------------------------------------------------- */

static _Atomic uint64_t common;
static atomic_int times;

static void count_slowly(void) {
  sleep_milliseconds(20);
  times++;
}

static void *count_once(void *seen) {
  umemi_once(&common, count_slowly);
  *(int *)seen = times;
  return NULL;
}

static void once__in_many_threads_is_once_and_before_they_go_on(void **state) {
  (void)state;
  int seen[THREADS];
  in_threads(count_once, seen, sizeof *seen);
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(seen[i], 1);
}

#define process_test(f)                                                        \
  cmocka_unit_test_setup_teardown(f, process_setup, process_teardown)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      process_test(number__of_an_unseen_child_is_another),
      cmocka_unit_test(number__without_a_cleared_page_is_forks),
      process_test(unseen_child__publishes_and_removes_nothing),
      process_test(unseen_child__does_not_wait_for_helpers),
      process_test(unseen_child__does_not_wait_for_locks),
      process_test(unseen_child__does_once_what_its_parent_was_at),
      process_test(child__publishes_what_an_early_handler_opened),
      cmocka_unit_test(once__in_many_threads_is_once_and_before_they_go_on),
  };
  if (argc > 1 && strcmp(argv[1], "no_cleared_page") == 0)
    return role_no_cleared_page();
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
