/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the simulated driver share; see support.h. */
#include "support.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

struct client c;
cuContext primary[2];
unsigned char host[NBYTES];

void expect_violation(char const *part, char const *file, int line) {
  int count = c.sim.violations();
  bool same = count == 1 && strstr(c.sim.violation(0), part);
  if (!same) {
    print_error("%d violations; \"%s\" has no \"%s\"\n", count,
                c.sim.violation(0), part);
    _fail(file, line);
  }
  c.sim.forget();
}

int driver_begin(void **state) {
  (void)state;
  c.sim.set_mode(SIMCU_LAZY, 1);
  c.sim.set_chunks(0);
  c.sim.set_ipc_within(0);
  ok(c.cu.Init(0));
  for (int i = 0; i < 2; i++)
    ok(c.cu.DevicePrimaryCtxRetain(&primary[i], i));
  ok(c.cu.CtxPushCurrent(primary[0]));
  c.sim.forget();
  return 0;
}

int driver_end(void **state) {
  (void)state;
  ok(c.cu.CtxPopCurrent(NULL));
  for (int i = 0; i < 2; i++)
    ok(c.cu.DevicePrimaryCtxRelease(i));
  assert_int_equal(c.sim.stack_depth(), 0);
  assert_int_equal(c.sim.violations(), 0);
  for (int kind = 0; kind < SIMCU_KINDS; kind++)
    assert_int_equal(c.sim.live((enum simcuKind)kind), 0);
  assert_int_equal(c.sim.used(0), 0);
  assert_int_equal(c.sim.used(1), 0);
  return 0;
}

void each_mode(void (*run)(void)) {
  c.sim.set_mode(SIMCU_EAGER, 0);
  run();
  for (unsigned seed = 1; seed <= SEEDS; seed++) {
    c.sim.set_mode(SIMCU_RANDOM, seed);
    run();
  }
  c.sim.set_mode(SIMCU_LAZY, 0);
  run();
}

cuAddress allocated(size_t nbytes) {
  cuAddress adr;
  ok(c.cu.MemAlloc(&adr, nbytes));
  return adr;
}

unsigned char *pinned(size_t nbytes) {
  void *ptr;
  ok(c.cu.MemHostAlloc(&ptr, nbytes, UMEMI_CU_MEMHOSTALLOC_PORTABLE));
  return ptr;
}

cuStream new_stream(unsigned flags) {
  cuStream made;
  ok(c.cu.StreamCreate(&made, flags));
  return made;
}

cuEvent new_event(void) {
  cuEvent made;
  ok(c.cu.EventCreate(&made, UMEMI_CU_EVENT_DISABLE_TIMING));
  return made;
}

int byte_at(cuAddress adr) {
  unsigned char byte;
  assert_int_equal(c.sim.peek(adr, &byte, 1), 0);
  return byte;
}

int in_child(int (*run)(void)) {
  int status;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL); /* cmocka's and the sanitizers' */
    _exit(run());
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* --- this program again --------------------------------------------------- */

extern char **environ;

char settings[4][64];

static char **new_environment(void) {
  static char *all[256];
  size_t count = 0;
  for (char **each = environ; *each && count < 250; each++)
    if (strncmp(*each, "SIMCU_", 6) != 0)
      all[count++] = *each;
  for (size_t i = 0; i < LENGTH(settings); i++)
    if (settings[i][0])
      all[count++] = settings[i];
  all[count] = NULL;
  return all;
}

char told[8192];

/* Not by its name in /proc, which under valgrind is valgrind's. */
static void start(char const *role, char const *argument, int output,
                  pid_t *child_out) {
  char path[4096];
  char *arguments[] = {path, (char *)(uintptr_t)role,
                       (char *)(uintptr_t)argument, NULL};
  posix_spawn_file_actions_t actions;
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  assert_true(length > 0);
  path[length] = '\0';
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, 1);
  posix_spawn_file_actions_adddup2(&actions, output, 2);
  assert_int_equal(posix_spawn(child_out, path, &actions, NULL, arguments,
                               new_environment()),
                   0);
  posix_spawn_file_actions_destroy(&actions);
}

static void hear(int input) {
  size_t length = 0;
  ssize_t got;
  while (length < sizeof told - 1 &&
         (got = read(input, told + length, sizeof told - 1 - length)) > 0)
    length += (size_t)got;
  told[length] = '\0';
}

int again(char const *role, char const *argument) {
  int ends[2], status;
  pid_t child;
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  start(role, argument, ends[1], &child);
  close(ends[1]);
  hear(ends[0]);
  close(ends[0]);
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void set_mode(char const *mode, unsigned seed) {
  memset(settings, 0, sizeof settings);
  snprintf(settings[0], sizeof settings[0], "SIMCU_MODE=%s", mode);
  snprintf(settings[1], sizeof settings[1], "SIMCU_SEED=%u", seed);
  snprintf(settings[2], sizeof settings[2], "SIMCU_STRICT=1");
}
