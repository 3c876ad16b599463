/* SPDX-License-Identifier: BSD-3-Clause */
/* Forks, signals and errno: what the world around a call may do to it. */
#include "core.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <sys/wait.h>

static umemHost host, checked;
static umemFile file;
static uintptr_t place; /* in the file, for the child */

enum { BYTES = 1000 };

static int contexts_setup(void **state) {
  (void)state;
  assert_ok(umemHost_ctor(&host));
  checked_host(&checked);
  assert_ok(umemFile_ctor(&file, temp_path("shared"), "w+"));
  assert_ok(umem_try_alloc(&file, BYTES, &place));
  return 0;
}

static int contexts_teardown(void **state) {
  (void)state;
  assert_ok(umem_dtor(&file));
  assert_ok(umem_dtor(&checked));
  assert_ok(umem_dtor(&host));
  return 0;
}

/* Forks; was `run` true in the child? Within a minute, or it was not. It says
   so by SIGKILL: at an exit leak checkers would ask for the memory of threads
   that are not there. */
static bool in_child(bool (*run)(void)) {
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    alarm(60);
    end_in_child_by(run() ? SIGKILL : SIGABRT);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* --- everything, once; each step is true if it went well ------------------ */

static bool allocates(void const *ctx) {
  uintptr_t adr = umem_alloc(ctx, 100), other = umem_calloc(ctx, 10, 10);
  bool ok = adr && other && umem_set(ctx, adr, 1, 100) == adr;
  bool freed = umem_free(ctx, adr) == umemOK;
  return umem_free(ctx, other) == umemOK && freed && ok;
}

static bool fails(void const *ctx) {
  return umem_clean_status(ctx) == umemOK &&
         umem_aligned_alloc(ctx, 3, 3) == 0 &&
         strcmp(umem_get_message(ctx), BAD_ALIGNMENT) == 0 &&
         umem_get_error_count(ctx) > 0 && umem_clean_status(ctx) == umemOK;
}

/* Through a file, at a place of its own. */
static bool copies(uintptr_t at) {
  unsigned char bytes[BYTES], back[BYTES];
  random_bytes(bytes, sizeof bytes, at);
  return umem_copy_to(&host, (uintptr_t)bytes, &file, at, sizeof bytes) ==
             umemOK &&
         umem_copy_to(&file, at, &host, (uintptr_t)back, sizeof back) ==
             umemOK &&
         memcmp(bytes, back, sizeof bytes) == 0;
}

static bool constructs(void) {
  umemHost fresh;
  umemFile opened;
  umemHostOptions options = {.size = sizeof options, .checked = 1};
  bool ok = umemHost_ctor_ex(&fresh, &options) == umemOK && allocates(&fresh) &&
            fails(&fresh) && umem_dtor(&fresh) == umemOK;
  return ok && umemFile_ctor(&opened, temp_path("shared"), "r") == umemOK &&
         umem_dtor(&opened) == umemOK;
}

static bool destroys_what_it_inherited(void) {
  return umem_dtor(&file) == umemOK && umem_dtor(&host) == umemOK;
}

static bool everything_works(void) {
  return constructs() && allocates(&host) && allocates(&checked) &&
         fails(&host) && fails(&checked) && fails(&file) && copies(place) &&
         destroys_what_it_inherited();
}

/* --- fork ---------------------------------------------------------------- */

static void child__works_with_what_it_inherited(void **state) {
  (void)state;
  unsigned char expected[BYTES], got[BYTES];
  uintptr_t adr = umem_alloc(&checked, 8);
  assert_true(in_child(everything_works));
  random_bytes(expected, sizeof expected, place);
  file_get(temp_path("shared"), place, got, sizeof got); /* by the child */
  assert_memory_equal(got, expected, sizeof got);
  assert_true(copies(place)); /* the parent's file is open as before */
  assert_true(umem_is_ok(&checked));
  assert_int_equal(umem_get_error_count(&checked), 0);
  assert_ok(umem_free(&checked, adr));
}

static bool keeps_status(void) {
  return strcmp(umem_get_message(&host), BAD_ALIGNMENT) == 0 &&
         umem_get_error_count(&host) == 1 &&
         umem_clean_status(&host) == umemOK && umem_is_ok(&host);
}

static void child__has_a_copy_of_the_status(void **state) {
  (void)state;
  fail_once(&host);
  assert_true(in_child(keeps_status));
  assert_string_equal(umem_get_message(&host), BAD_ALIGNMENT);
}

static void child__publishes_and_removes_nothing(void **state) {
  (void)state;
  check_child_publishes_nothing(in_child);
}

static atomic_bool stop;
static atomic_int went_wrong;

static void *be_busy(void *unused) {
  (void)unused;
  uintptr_t adr;
  if (umem_try_alloc(&file, BYTES, &adr) != umemOK)
    went_wrong++;
  while (!stop) {
    went_wrong += !allocates(&checked);
    went_wrong += !allocates(&file);
    went_wrong += !copies(adr);
    went_wrong += umem_aligned_alloc(&checked, 3, 3) != 0;
  }
  went_wrong += umem_free(&file, adr) != umemOK;
  return NULL;
}

static void child__of_eight_busy_threads_does_not_hang(void **state) {
  (void)state;
  if (UNDER_TSAN) {
    print_message("skipped: ThreadSanitizer cannot fork a threaded process\n");
    skip();
  }
  pthread_t threads[THREADS];
  size_t const forks = scaled(300, 15);
  stop = false;
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, be_busy, NULL), 0);
  size_t good = 0;
  for (size_t i = 0; i < forks; i++)
    good += in_child(everything_works);
  stop = true;
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  assert_int_equal(good, forks);
  assert_int_equal(went_wrong, 0);
}

/* --- signals ------------------------------------------------------------- */

static volatile sig_atomic_t alarms;

static void count_alarm(int signal) {
  (void)signal;
  alarms++;
}

/* A signal every millisecond (a slow machine would do nothing else), which no
   system call is restarted after. */
static void storm_begin(void) {
  struct sigaction action = {.sa_handler = count_alarm};
  struct timeval const often = {0, (suseconds_t)scaled(1000, 20000)};
  struct itimerval const storm = {often, often};
  alarms = 0;
  assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
  assert_int_equal(setitimer(ITIMER_REAL, &storm, NULL), 0);
}

/* The handler stays: a last alarm may still be on its way. */
static void storm_end(void) {
  assert_int_equal(
      setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL), 0);
}

static void copies__in_a_storm_of_signals_are_exact(void **state) {
  (void)state;
  size_t const n = scaled((size_t)4 << 20, (size_t)1 << 19) + 7;
  unsigned char *bytes = malloc(n), *back = malloc(n);
  assert_true(bytes && back);
  int rounds = 0;
  storm_begin();
  while (alarms < 50 && rounds < 200) {
    uintptr_t adr = 0;
    random_bytes(bytes, n, (uint64_t)rounds++);
    assert_ok(umem_try_alloc(&file, n, &adr));
    assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &file, adr, n));
    assert_ok(umem_copy_to(&file, adr, &host, (uintptr_t)back, n));
    assert_int_equal(memcmp(bytes, back, n), 0);
    assert_ok(umem_free(&file, adr));
  }
  storm_end();
  assert_true(alarms > 0);
  free(bytes);
  free(back);
}

/* --- errno --------------------------------------------------------------- */

/* The call, with a random errno before it and the same one after it. */
#define WITH_ERRNO(call, expected)                                             \
  do {                                                                         \
    int const before = (int)random_below(&seed, 200) - 20;                     \
    errno = before;                                                            \
    umemStatusType const got = (call);                                         \
    assert_int_equal(errno, before);                                           \
    assert_status(got, expected);                                              \
  } while (0)

static void errno__before_a_call_is_nothing_to_it(void **state) {
  (void)state;
  uint64_t seed = 1;
  unsigned char bytes[100] = {1, 2, 3};
  uintptr_t adr, here = (uintptr_t)bytes, mirror;
  umemFile opened;
  umemHost fresh;
  for (int i = 0; i < 100; i++) {
    WITH_ERRNO(umemHost_ctor(&fresh), umemOK);
    WITH_ERRNO(umem_dtor(&fresh), umemOK);
    WITH_ERRNO(umemFile_ctor(&opened, temp_path("nothing"), "r"), umemIOError);
    assert_int_equal(last_error(&opened).sys_errno, ENOENT);
    WITH_ERRNO(umem_dtor(&opened), umemOK);
    WITH_ERRNO(umemFile_ctor(&opened, temp_path("shared"), "r"), umemOK);
    WITH_ERRNO(umem_copy_to(&host, here, &opened, 0, 1), umemValueError);
    WITH_ERRNO(umem_dtor(&opened), umemOK);
    WITH_ERRNO(umem_try_alloc(&file, 100, &adr), umemOK);
    WITH_ERRNO(umem_copy_to(&host, here, &file, adr, 100), umemOK);
    WITH_ERRNO(umem_copy_from(&host, here, &file, adr, 100), umemOK);
    WITH_ERRNO(umem_copy_to(&file, adr + (1 << 30), &host, here, 1),
               umemIOError);
    assert_int_equal(last_error(&file).sys_errno, 0); /* the file ends there */
    WITH_ERRNO(umem_try_set(&file, adr, 5, 100), umemOK);
    WITH_ERRNO(umem_try_connect(&file, adr, 100, &checked, 0, &mirror), umemOK);
    WITH_ERRNO(umem_sync_to(&file, adr, &checked, mirror, 100), umemOK);
    WITH_ERRNO(umem_disconnect(&file, adr, &checked, mirror, 0), umemOK);
    WITH_ERRNO(umem_free(&file, adr), umemOK);
    WITH_ERRNO(umem_free(&checked, 8), umemValueError);
    WITH_ERRNO(umem_clean_status(&checked), umemOK);
    WITH_ERRNO(umem_copy_to_safe(&host, here, 1, &host, here, 1, 2),
               umemIndexError);
  }
  WITH_ERRNO(umem_flush(&file), umemOK);
}

#define contexts_test(f)                                                       \
  cmocka_unit_test_setup_teardown(f, contexts_setup, contexts_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      contexts_test(child__works_with_what_it_inherited),
      contexts_test(child__has_a_copy_of_the_status),
      contexts_test(child__publishes_and_removes_nothing),
      contexts_test(child__of_eight_busy_threads_does_not_hang),
      contexts_test(copies__in_a_storm_of_signals_are_exact),
      contexts_test(errno__before_a_call_is_nothing_to_it),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
