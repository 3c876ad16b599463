/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P11: what a call of the library asks of others in steady state: allocations,
 * locks, system calls.
 *
 * A child process makes the calls. Its allocations and locks are counted by
 * this program's own malloc(), pthread_mutex_lock() and the like, which the
 * library gets instead of libc's; its system calls by the parent, which traces
 * it and all its threads. A close() of an impossible descriptor marks where
 * counting begins and ends.
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "device.h"
#include "raw.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ptrace.h>

enum {
  CALLS = 10,        /* counted */
  WARM_UP = 3,       /* before that */
  MARK = -0x5eed00,  /* the descriptor that is closed: + 1 ends counting */
  SYSCALLS_MAX = 512 /* numbers from here on count as one */
};

/* --- allocations and locks ------------------------------------------------ */

static atomic_bool is_counting;
static atomic_size_t nallocations, nlocks;

static void count(atomic_size_t *counter) {
  if (atomic_load_explicit(&is_counting, memory_order_relaxed))
    atomic_fetch_add(counter, 1);
}

/* libc's function of that name; looking for it may allocate, once. */
static void *find_next(char const *name) {
  static _Thread_local bool is_looking;
  if (is_looking)
    return NULL;
  is_looking = true;
  void *found = dlsym(RTLD_NEXT, name);
  is_looking = false;
  return found;
}

/* A function that counts and hands on. */
#define COUNTED(counter, type, failure, name, parameters, arguments)           \
  type name parameters {                                                       \
    typedef type function parameters;                                          \
    static function *next;                                                     \
    if (!next)                                                                 \
      *(void **)&next = find_next(#name);                                      \
    count(&(counter));                                                         \
    return next ? next arguments : (failure);                                  \
  }

COUNTED(nallocations, void *, NULL, malloc, (size_t nbytes), (nbytes))
COUNTED(nallocations, void *, NULL, calloc, (size_t nmemb, size_t size),
        (nmemb, size))
COUNTED(nallocations, void *, NULL, realloc, (void *old, size_t nbytes),
        (old, nbytes))
COUNTED(nallocations, int, ENOMEM, posix_memalign,
        (void **out, size_t alignment, size_t nbytes), (out, alignment, nbytes))
COUNTED(nallocations, void *, NULL, aligned_alloc,
        (size_t alignment, size_t nbytes), (alignment, nbytes))
COUNTED(nallocations, void *, NULL, memalign, (size_t alignment, size_t nbytes),
        (alignment, nbytes))
COUNTED(nallocations, void *, MAP_FAILED, mmap,
        (void *at, size_t nbytes, int protection, int flags, int fd,
         off_t offset),
        (at, nbytes, protection, flags, fd, offset))
COUNTED(nlocks, int, EAGAIN, pthread_mutex_lock, (pthread_mutex_t * mutex),
        (mutex))
COUNTED(nlocks, int, EAGAIN, pthread_mutex_trylock, (pthread_mutex_t * mutex),
        (mutex))
COUNTED(nlocks, int, EAGAIN, pthread_rwlock_rdlock, (pthread_rwlock_t * lock),
        (lock))
COUNTED(nlocks, int, EAGAIN, pthread_rwlock_wrlock, (pthread_rwlock_t * lock),
        (lock))

/* --- cases ---------------------------------------------------------------- */

enum end { HOST, DEVICE, FILE_END, NO_END };

/* What may be asked for. */
enum allowance {
  NOTHING,
  WAKING, /* of helpers: locks and futex */
  MOVING  /* what moves, reserves and waits; a lock per look-up and chunk */
};

static struct test {
  char const *what;
  enum end from, to; /* from NO_END: a set */
  size_t nbytes;
  enum allowance allowed;
} const tests[] = {
    {"copy Host to Host", HOST, HOST, 64, NOTHING},
    {"copy Host to Host", HOST, HOST, 64 << 10, NOTHING},
    {"copy Host to Host", HOST, HOST, 1 << 20, NOTHING},
    {"copy Host to Host", HOST, HOST, 64 << 20, WAKING},
    {"set Host", NO_END, HOST, 64, NOTHING},
    {"set Host", NO_END, HOST, 64 << 10, NOTHING},
    {"set Host", NO_END, HOST, 1 << 20, NOTHING},
    {"set Host", NO_END, HOST, 64 << 20, WAKING},
    {"copy staged", DEVICE, DEVICE, 64, MOVING},
    {"copy staged", DEVICE, DEVICE, 1 << 20, MOVING},
    {"copy staged", DEVICE, DEVICE, 64 << 20, MOVING},
    {"copy Host to File", HOST, FILE_END, 64, MOVING},
    {"copy Host to File", HOST, FILE_END, 1 << 20, MOVING},
    {"copy Host to File", HOST, FILE_END, 64 << 20, MOVING},
    {"copy File to Host", FILE_END, HOST, 64, MOVING},
    {"copy File to Host", FILE_END, HOST, 1 << 20, MOVING},
    {"copy File to Host", FILE_END, HOST, 64 << 20, MOVING},
    {"copy File to File", FILE_END, FILE_END, 64 << 20, MOVING},
};

/* What came out, for all calls of a section together. */
struct counts {
  size_t nallocations, nlocks;
  size_t nmoves;                  /* of devices: reads and writes */
  size_t nsyscalls[SYSCALLS_MAX]; /* by number */
};
static struct counts *counts; /* shared with the child */

/* --- in the child --------------------------------------------------------- */

static struct {
  umemHost host[2];
  umemFile file[2];
  struct device device[2];
  unsigned char *memory[2];
} ends;

static void ends_begin(char *const paths[2]) {
  size_t const room = 64 << 20;
  for (int i = 0; i < 2; i++) {
    ends.memory[i] = raw_map(room);
    raw_fill(ends.memory[i], 0, room);
    bench_need_ok(umemHost_ctor(&ends.host[i]), &ends.host[i]);
    bench_need_ok(umemFile_ctor(&ends.file[i], paths[i], "r+"), &ends.file[i]);
    device_begin(&ends.device[i], room, 0);
    raw_fill(ends.device[i].bytes, 0, room);
  }
}

static void const *context(enum end end, int which) {
  return end == HOST       ? (void const *)&ends.host[which]
         : end == FILE_END ? (void const *)&ends.file[which]
                           : (void const *)&ends.device[which];
}

static uintptr_t address(enum end end, int which) {
  return end == HOST       ? (uintptr_t)ends.memory[which]
         : end == FILE_END ? 0
                           : DEVICE_BASE;
}

static void call(struct test const *test) {
  void const *to = context(test->to, 1);
  uintptr_t to_adr = address(test->to, 1);
  umemStatusType status =
      test->from == NO_END
          ? umem_try_set(to, to_adr, 77, test->nbytes)
          : umem_copy_to(context(test->from, 0), address(test->from, 0), to,
                         to_adr, test->nbytes);
  bench_need_ok(status, to);
}

static void mark(int which) {
  syscall(SYS_close, MARK + which);
}

static void count_calls(struct test const *test, struct counts *out) {
  for (int i = 0; i < WARM_UP; i++)
    call(test);
  device_forget(&ends.device[0]);
  device_forget(&ends.device[1]);
  nallocations = nlocks = 0;
  is_counting = true;
  mark(0);
  for (int i = 0; i < CALLS; i++)
    call(test);
  mark(1);
  is_counting = false;
  out->nallocations = nallocations;
  out->nlocks = nlocks;
  out->nmoves = ends.device[0].ncalls + ends.device[1].ncalls;
}

/* --- the tracer ----------------------------------------------------------- */

struct section {
  size_t index; /* of the test */
  bool is_open;
};

/* Takes a stop at the entry of a system call. */
static void take_entry(struct section *section, uint64_t number,
                       uint64_t argument) {
  bool is_mark = number == SYS_close &&
                 ((int)argument == MARK || (int)argument == MARK + 1);
  if (is_mark) {
    section->is_open = (int)argument == MARK;
    section->index += !section->is_open;
  } else if (section->is_open) {
    size_t slot = number < SYSCALLS_MAX ? number : SYSCALLS_MAX - 1;
    counts[section->index].nsyscalls[slot]++;
  }
}

static void take_stop(pid_t thread, int status, struct section *section) {
  struct __ptrace_syscall_info info;
  int signal = WSTOPSIG(status);
  bool is_event = status >> 16 != 0;
  if (signal == (SIGTRAP | 0x80)) {
    long length =
        ptrace(PTRACE_GET_SYSCALL_INFO, thread, (void *)sizeof info, &info);
    if (length > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY)
      take_entry(section, info.entry.nr, info.entry.args[0]);
    signal = 0;
  } else if (is_event || signal == SIGSTOP || signal == SIGTRAP) {
    signal = 0; /* a thread begins, or the first stop */
  }
  ptrace(PTRACE_SYSCALL, thread, NULL, (void *)(long)signal);
}

/* Returns the child's status. */
static int trace(pid_t child) {
  struct section section = {0, false};
  int status;
  long options =
      PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
  if (waitpid(child, &status, __WALL) < 0 || !WIFSTOPPED(status) ||
      ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)options))
    bench_die("cannot trace a child: ptrace is not allowed here");
  ptrace(PTRACE_SYSCALL, child, NULL, NULL);
  for (;;) {
    pid_t thread = waitpid(-1, &status, __WALL);
    if (thread < 0)
      bench_die("waitpid: %s", strerror(errno));
    if (WIFSTOPPED(status))
      take_stop(thread, status, &section);
    else if (thread == child)
      return section.index == BENCH_COUNT(tests) ? status : -1;
  }
}

/* --- rows ----------------------------------------------------------------- */

static struct {
  size_t number;
  char const *name;
  bool moves; /* or else reserves or waits */
  bool is_allowed;
} const known[] = {
    {SYS_pread64, "pread64", true, true},
    {SYS_pwrite64, "pwrite64", true, true},
    {SYS_preadv, "preadv", true, true},
    {SYS_pwritev, "pwritev", true, true},
    {SYS_preadv2, "preadv2", true, true},
    {SYS_pwritev2, "pwritev2", true, true},
    {SYS_copy_file_range, "copy_file_range", true, true},
    {SYS_sendfile, "sendfile", true, true},
    {SYS_splice, "splice", true, true},
    {SYS_fallocate, "fallocate", false, true},
    {SYS_fstat, "fstat", false, true},
    {SYS_lseek, "lseek", false, true},
    {SYS_futex, "futex", false, true},
    {SYS_mmap, "mmap", false, false},
    {SYS_munmap, "munmap", false, false},
    {SYS_madvise, "madvise", false, false},
    {SYS_mincore, "mincore", false, false},
    {SYS_brk, "brk", false, false},
    {SYS_ioctl, "ioctl", false, false},
    {SYS_sched_yield, "sched_yield", false, false},
    {SYS_clone3, "clone3", false, false},
    {SYS_rt_sigprocmask, "rt_sigprocmask", false, false},
    {SYS_rt_sigpending, "rt_sigpending", false, false},
    {SYS_rt_sigtimedwait, "rt_sigtimedwait", false, false},
#ifdef SYS_newfstatat
    {SYS_newfstatat, "newfstatat", false, true},
#endif
    {SYS_statx, "statx", false, true},
    {SYS_clock_nanosleep, "clock_nanosleep", false, false},
    {SYS_getpid, "getpid", false, false},
    {SYS_gettid, "gettid", false, false},
};

static bool is_allowed(enum allowance allowed, size_t number) {
  for (size_t i = 0; i < BENCH_COUNT(known); i++)
    if (known[i].number == number)
      return allowed == WAKING   ? number == SYS_futex
             : allowed == MOVING ? known[i].is_allowed
                                 : false;
  return false;
}

static size_t count_moves(struct counts const *count) {
  size_t nmoves = count->nmoves;
  for (size_t i = 0; i < BENCH_COUNT(known); i++)
    if (known[i].moves)
      nmoves += count->nsyscalls[known[i].number];
  return nmoves;
}

/* "pread64 x 4.0, 999 x 0.1": per call, all that were made. */
static void name_syscalls(struct counts const *count, char *out, size_t size) {
  size_t length = 0;
  out[0] = '\0';
  for (size_t number = 0; number < SYSCALLS_MAX; number++) {
    char name[24];
    if (!count->nsyscalls[number])
      continue;
    snprintf(name, sizeof name, "syscall %zu", number);
    for (size_t i = 0; i < BENCH_COUNT(known); i++)
      if (known[i].number == number)
        snprintf(name, sizeof name, "%s", known[i].name);
    int added =
        snprintf(out + length, size - length, "%s%s x %.1f", length ? ", " : "",
                 name, (double)count->nsyscalls[number] / CALLS);
    length += (size_t)added;
    if (length >= size)
      return;
  }
}

static void row(struct test const *test, char const *of, size_t total,
                double limit, char const *note) {
  char what[64];
  snprintf(what, sizeof what, "%s: %s", test->what, of);
  if (!bench_wants("P11", what))
    return;
  bench_report(&(struct benchRow){.goal = "P11",
                                  .what = what,
                                  .nbytes = test->nbytes,
                                  .nthreads = bench_ncores() > 1 ? 2 : 1,
                                  .unit = "a call",
                                  .cost = {.ours = (double)total / CALLS},
                                  .rule = BENCH_AT_MOST,
                                  .limit = limit,
                                  .note = note});
}

/* At most one lock per look-up, of which there are two, and per chunk. A waking
   caller takes one to give work, and one to take it back. */
static double max_locks(struct test const *test, struct counts const *count) {
  return test->allowed == NOTHING  ? 0
         : test->allowed == WAKING ? 4
                                   : 2 + (double)count_moves(count) / CALLS;
}

static void report(struct test const *test, struct counts const *count) {
  char names[256];
  size_t noffending = 0;
  for (size_t number = 0; number < SYSCALLS_MAX; number++)
    if (!is_allowed(test->allowed, number))
      noffending += count->nsyscalls[number];
  name_syscalls(count, names, sizeof names);
  row(test, "allocs", count->nallocations, 0, NULL);
  row(test, "locks", count->nlocks, max_locks(test, count), NULL);
  row(test, "syscalls", noffending, 0, names);
}

/* --- all ------------------------------------------------------------------ */

static _Noreturn void be_traced(char *const paths[2]) {
  if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
    _exit(3);
  raise(SIGSTOP);
  bench_set_threads(bench_ncores() > 1 ? 2 : 1);
  ends_begin(paths);
  for (size_t i = 0; i < BENCH_COUNT(tests); i++)
    count_calls(&tests[i], &counts[i]);
  fflush(NULL);
  _exit(0);
}

/* Does the library call this program's functions? It allocates a File, and its
   references are bound to what is found by their names. */
static void need_counters(char const *path) {
  umemFile file;
  is_counting = true;
  bench_need_ok(umemFile_ctor(&file, path, "r"), &file);
  is_counting = false;
  umem_dtor(&file);
  void *(*first_malloc)(size_t) = malloc;
  int (*first_lock)(pthread_mutex_t *) = pthread_mutex_lock;
  if (nallocations == 0 ||
      dlsym(RTLD_DEFAULT, "malloc") != *(void **)&first_malloc ||
      dlsym(RTLD_DEFAULT, "pthread_mutex_lock") != *(void **)&first_lock)
    bench_die("allocations and locks cannot be counted here");
}

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  size_t const file = 64 << 20;
  raw_need_room(bench_options.dir, 3 * file);
  char *paths[] = {raw_path(bench_options.dir, "source"),
                   raw_path(bench_options.dir, "destination")};
  for (int i = 0; i < 2; i++)
    raw_make_file(paths[i], 0, file);
  need_counters(paths[0]);
  counts = mmap(NULL, sizeof *counts * BENCH_COUNT(tests),
                PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (counts == MAP_FAILED)
    bench_die("mmap: %s", strerror(errno));
  fflush(NULL);
  pid_t child = fork();
  if (child == 0)
    be_traced(paths);
  if (child < 0 || trace(child) != 0)
    bench_die("the process that was traced failed");
  for (size_t i = 0; i < BENCH_COUNT(tests); i++)
    report(&tests[i], &counts[i]);
  return bench_end();
}
