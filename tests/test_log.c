/* SPDX-License-Identifier: BSD-3-Clause */
/* UMEM_LOG: on which stream its lines are, and what they cannot do to the
   program. */
#include "core.h"

#include "internal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILE_LIMIT = 16 << 20 };

/* Each test runs this program again: the stream is that of its start. */
static int copy_once(void) {
  umemHost host;
  char from[8] = "", to[8];
  return umemHost_ctor(&host) != umemOK ||
         umem_copy_to(&host, (uintptr_t)from, &host, (uintptr_t)to,
                      sizeof to) != umemOK ||
         umem_dtor(&host) != umemOK;
}

static int role_stderr(void) {
  return copy_once();
}

/* A file of the program that got the number of a closed stream. */
static int role_file(void) {
  char path[] = "/tmp/umem-log-XXXXXX";
  close(STDERR_FILENO);
  int fd = mkstemp(path);
  unlink(path);
  return fd != STDERR_FILENO || copy_once() || lseek(fd, 0, SEEK_END) != 0;
}

static int role_closed(void) {
  close(STDERR_FILENO);
  return copy_once();
}

/* The stream of the start is what has no reader. */
static int role_start_with(int ends[2]) {
  signal(SIGPIPE, SIG_DFL);
  dup2(ends[1], STDERR_FILENO);
  close(ends[0]);
  close(ends[1]);
  execl("/proc/self/exe", "test_log", "stderr", (char *)NULL);
  return 2;
}

static int role_pipe(void) {
  int ends[2];
  return pipe(ends) ? 2 : role_start_with(ends);
}

static int role_socket(void) {
  int ends[2];
  return socketpair(AF_UNIX, SOCK_STREAM, 0, ends) ? 2 : role_start_with(ends);
}

static int new_stream(int access) {
  char path[] = "/tmp/umem-log-XXXXXX";
  close(mkstemp(path));
  int fd = open(path, access);
  unlink(path);
  return fd;
}

/* Or one whose next byte lies beyond RLIMIT_FSIZE. Files that sanitizers and a
   coverage build write are smaller. */
static int role_limit(void) {
  int ends[2] = {-1, new_stream(O_WRONLY)};
  struct rlimit limit;
  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = FILE_LIMIT;
  return lseek(ends[1], FILE_LIMIT, SEEK_SET) != FILE_LIMIT ||
                 setrlimit(RLIMIT_FSIZE, &limit)
             ? 2
             : role_start_with(ends);
}

static int start_on_file(int access, char const *role) {
  int fd = new_stream(access);
  dup2(fd, STDERR_FILENO);
  close(fd);
  execl("/proc/self/exe", "test_log", role, (char *)NULL);
  return 2;
}

static int copy_without_line(void) {
  return copy_once() || lseek(STDERR_FILENO, 0, SEEK_END) != 0;
}

static int copy_with_line(void) {
  return copy_once() || lseek(STDERR_FILENO, 0, SEEK_END) == 0;
}

/* As of another file with the number of the one of the start. */
static int born_now(int dir, char const *path, int flags, unsigned mask,
                    struct umemiStatx *out) {
  (void)dir, (void)path, (void)flags;
  *out = (struct umemiStatx){.mask = mask, .born_seconds = time(NULL) + 1};
  return 0;
}

static int copy_later(void) {
  struct umemiStatx st = {.mask = 0};
  umemi_statx(STDERR_FILENO, "", AT_EMPTY_PATH, UMEMI_STATX_BTIME, &st);
  if (!(st.mask & UMEMI_STATX_BTIME))
    return 0; /* the file system does not know */
  umemi_os.statx = born_now;
  return copy_without_line();
}

static int role_regular(void) {
  return start_on_file(O_WRONLY, "copy_with_line");
}

static int role_successor(void) {
  return start_on_file(O_WRONLY, "copy_later");
}

static int role_own(void) {
  return start_on_file(O_RDWR, "copy_without_line");
}

static int role_pending(void) {
  sigset_t set;
  struct umemiHeldSignal held;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  sigprocmask(SIG_BLOCK, &set, NULL);
  raise(SIGPIPE);
  umemi_signal_hold(&held, SIGPIPE);
  umemi_signal_release(&held);
  sigpending(&set);
  return !sigismember(&set, SIGPIPE);
}

static struct {
  char const *name;
  int (*run)(void);
} const roles[] = {{"stderr", role_stderr},
                   {"file", role_file},
                   {"closed", role_closed},
                   {"pipe", role_pipe},
                   {"socket", role_socket},
                   {"limit", role_limit},
                   {"pending", role_pending},
                   {"regular", role_regular},
                   {"copy_with_line", copy_with_line},
                   {"successor", role_successor},
                   {"copy_later", copy_later},
                   {"own", role_own},
                   {"copy_without_line", copy_without_line}};

static void expect_role(char const *role, bool tells) {
  char told[2000];
  int status = run_again(role, "UMEM_LOG=copy", told, sizeof told);
  if (status != 0)
    fail_msg("%s: %d: %s", role, status, told);
  assert_int_equal(strstr(told, "umem: copy of 8 bytes, Host 0x") != NULL,
                   tells);
}

static void log__is_on_the_stream_of_the_start(void **state) {
  (void)state;
  expect_role("stderr", true);
  expect_role("regular", false); /* there, and not here */
}

static void log__is_not_written_to_a_file_of_the_program(void **state) {
  (void)state;
  expect_role("file", false);
  expect_role("closed", false);
  expect_role("successor", false);
  expect_role("own", false);
}

static void log__that_nobody_reads_does_not_end_the_process(void **state) {
  (void)state;
  expect_role("pipe", false);
  expect_role("socket", false);
}

static void log__in_a_file_at_its_limit_does_not_end_the_process(void **state) {
  (void)state;
  expect_role("limit", false);
}

static void held_signal__that_was_pending_before_stays(void **state) {
  (void)state;
  expect_role("pending", false);
}

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(log__is_on_the_stream_of_the_start),
      cmocka_unit_test(log__is_not_written_to_a_file_of_the_program),
      cmocka_unit_test(log__that_nobody_reads_does_not_end_the_process),
      cmocka_unit_test(log__in_a_file_at_its_limit_does_not_end_the_process),
      cmocka_unit_test(held_signal__that_was_pending_before_stays),
  };
  for (size_t i = 0; argc > 1 && i < LENGTH(roles); i++)
    if (strcmp(argv[1], roles[i].name) == 0)
      return roles[i].run();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
