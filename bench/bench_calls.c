/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one call costs over the call of the C library that does its work:
 *
 *   P1  umem_alloc and umem_free over malloc and free
 *   P2  umem_copy_to and umem_copy_to_safe of 64 bytes over memcpy
 *
 *   bench_calls [--json FILE]
 *
 * Time: batches of both alternate in one process; what counts is the median of
 * the differences of neighbours, so that a busy machine, which slows both,
 * decides nothing. Instructions: callgrind runs this program with n and with 2n
 * calls, and the difference is n calls' and nothing else's.
 *
 * Exit status: 0 if every goal is reached, 1 if not, 2 if it cannot measure.
 */
#define _GNU_SOURCE /* pipe2 */
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <umem.h>
#include <unistd.h>

enum {
  PAIRS = 301,           /* of batches: one of ours, one of the baseline's */
  BATCH_NS = 200 * 1000, /* what a batch should take */
  ROUNDS = 10,           /* at most, for a goal that is missed */
  COUNTED = 1000,        /* calls under callgrind; then twice as many */
  PAGE = 4096,
  ROOM = 4 * PAGE
};

/* --- what is measured ----------------------------------------------------- */

struct work {
  umemHost host, other;
  size_t nbytes;
  unsigned char *src, *dest; /* copies only */
};

typedef void loop(struct work const *work, size_t ncalls);

/* The compiler may neither drop a block that nobody uses nor look into it. */
static inline void *used(void *block) {
  __asm__ volatile("" : "+r"(block) : : "memory");
  return block;
}

static void loop_malloc(struct work const *work, size_t ncalls) {
  while (ncalls--)
    free(used(malloc(work->nbytes)));
}

static void loop_alloc(struct work const *work, size_t ncalls) {
  while (ncalls--) {
    uintptr_t adr = umem_alloc(&work->host, work->nbytes);
    umem_free(&work->host, (uintptr_t)used((void *)adr));
  }
}

static void loop_memcpy(struct work const *work, size_t ncalls) {
  while (ncalls--)
    used(memcpy(work->dest, work->src, work->nbytes));
}

static void loop_copy(struct work const *work, size_t ncalls) {
  while (ncalls--) {
    umem_copy_to(&work->host, (uintptr_t)work->src, &work->other,
                 (uintptr_t)work->dest, work->nbytes);
    used(work->dest);
  }
}

static void loop_copy_safe(struct work const *work, size_t ncalls) {
  while (ncalls--) {
    umem_copy_to_safe(&work->host, (uintptr_t)work->src, PAGE, &work->other,
                      (uintptr_t)work->dest, PAGE, work->nbytes);
    used(work->dest);
  }
}

/* One row: a call at one size, and what it may cost over the baseline. */
struct goal {
  char const *id, *call;
  loop *ours, *baseline;
  size_t nbytes;
  size_t distance; /* from source to destination; 0: not a copy */
  double max_ns;
  double max_instructions; /* 0: the same as in the row before */
};

#define P1(nbytes)                                                             \
  { "P1", "alloc + free", loop_alloc, loop_malloc, nbytes, 0, 6, 70 }
#define P2(call, loop, distance, max_instructions)                             \
  { "P2", call, loop, loop_memcpy, 64, distance, 3, max_instructions }

/*
 * A load whose address agrees in its last 12 bits with a store shortly before
 * may have to wait for it. Both layouts are chosen here, not by luck.
 */
enum { APART = PAGE + PAGE / 2, ALIASED = 2 * PAGE - 16 };

static struct goal const goals[] = {
    P1(0),
    P1(8),
    P1(64),
    P1(1024),
    P1(65536),
    P1(1048576),
    P2("copy_to", loop_copy, APART, 55),
    P2("copy_to, aliased", loop_copy, ALIASED, 0),
    P2("copy_to_safe", loop_copy_safe, APART, 70),
    P2("copy_to_safe, aliased", loop_copy_safe, ALIASED, 0),
};
enum { NGOALS = sizeof goals / sizeof *goals };

static _Noreturn void die(char const *what) {
  fprintf(stderr, "bench_calls: %s\n", what);
  exit(2);
}

static void work_begin(struct work *work, struct goal const *goal) {
  unsigned char *room = aligned_alloc(PAGE, ROOM);
  if (!room || umemHost_ctor(&work->host) || umemHost_ctor(&work->other))
    die("no memory");
  for (size_t i = 0; i < ROOM; i++)
    room[i] = (unsigned char)(1 + i % 251); /* never zeros */
  work->nbytes = goal->nbytes;
  work->src = room;
  work->dest = room + goal->distance;
}

static void work_end(struct work *work) {
  umem_dtor(&work->host);
  umem_dtor(&work->other);
  free(work->src);
}

/* --- time ----------------------------------------------------------------- */

struct cost {
  double ours, baseline, over;
};

static double now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}

/* Nanoseconds per call. A copy that did not copy ends the program. */
static double run_batch(loop *run, struct work const *work, size_t ncalls) {
  bool is_copy = work->dest != work->src;
  for (size_t i = 0; is_copy && i < work->nbytes; i++)
    work->dest[i] = (unsigned char)~work->src[i];
  double began = now_ns();
  run(work, ncalls);
  double took = now_ns() - began;
  if (is_copy && memcmp(work->dest, work->src, work->nbytes) != 0)
    die("a copy is wrong");
  return took / (double)ncalls;
}

static size_t batch_size(loop *run, struct work const *work) {
  size_t ncalls = 1000;
  while (run_batch(run, work, ncalls) * (double)ncalls < BATCH_NS)
    ncalls *= 2;
  return ncalls;
}

static int by_value(void const *a, void const *b) {
  double x = *(double const *)a, y = *(double const *)b;
  return (x > y) - (x < y);
}

static double median(double values[PAIRS]) {
  qsort(values, PAIRS, sizeof *values, by_value);
  return values[PAIRS / 2];
}

static struct cost measure_once(struct goal const *goal,
                                struct work const *work) {
  static double ours[PAIRS], baseline[PAIRS], over[PAIRS];
  size_t ncalls = batch_size(goal->ours, work);
  for (size_t i = 0; i < PAIRS; i++) {
    if (i % 2)
      ours[i] = run_batch(goal->ours, work, ncalls);
    baseline[i] = run_batch(goal->baseline, work, ncalls);
    if (i % 2 == 0)
      ours[i] = run_batch(goal->ours, work, ncalls);
    over[i] = ours[i] - baseline[i];
  }
  return (struct cost){median(ours), median(baseline), median(over)};
}

/* Who shares the core slows what has more instructions by more: a goal counts
   as missed if it is missed every time. */
static struct cost measure(struct goal const *goal) {
  struct work work;
  work_begin(&work, goal);
  struct cost cost = measure_once(goal, &work);
  for (int round = 1; round < ROUNDS && cost.over > goal->max_ns; round++)
    cost = measure_once(goal, &work);
  work_end(&work);
  return cost;
}

/* --- instructions --------------------------------------------------------- */

/* What callgrind runs: --count ROW ours|baseline NCALLS */
static int count_mode(char **argv) {
  struct goal const *goal = &goals[strtoul(argv[0], NULL, 10) % NGOALS];
  struct work work;
  work_begin(&work, goal);
  loop *run = strcmp(argv[1], "ours") == 0 ? goal->ours : goal->baseline;
  run(&work, strtoul(argv[2], NULL, 10));
  work_end(&work);
  return 0;
}

/* Starts a program; what it says on stderr can be read from the stream. */
static FILE *start(char *const argv[], pid_t *pid_out) {
  posix_spawn_file_actions_t actions;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions))
    die("no pipe");
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  extern char **environ;
  int error = posix_spawnp(pid_out, argv[0], &actions, NULL, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error)
    close(ends[0]);
  return error ? NULL : fdopen(ends[0], "r");
}

/* Instructions of the whole process; 0 if valgrind is not installed. */
static double count_process(size_t row, char const *side, size_t ncalls) {
  char self[PATH_MAX] = "", row_text[24], ncalls_text[24], line[1024];
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
    die("cannot find itself");
  snprintf(row_text, sizeof row_text, "%zu", row);
  snprintf(ncalls_text, sizeof ncalls_text, "%zu", ncalls);
  char *const argv[] = {
      "valgrind",   "--tool=callgrind", "--callgrind-out-file=/dev/null",
      self,         "--count",          row_text,
      (char *)side, ncalls_text,        NULL};
  pid_t pid;
  FILE *output = start(argv, &pid);
  if (!output)
    return 0;
  double count = 0;
  while (fgets(line, sizeof line, output)) {
    char const *number = strstr(line, "Collected : ");
    if (number)
      count = strtod(number + strlen("Collected : "), NULL);
  }
  fclose(output);
  int status;
  if (waitpid(pid, &status, 0) < 0 || status != 0 || count <= 0)
    die("valgrind did not count");
  return count;
}

static double count_call(size_t row, char const *side) {
  double once = count_process(row, side, COUNTED);
  double twice = count_process(row, side, 2 * COUNTED);
  return (twice - once) / COUNTED;
}

static struct cost count(size_t row) {
  struct cost cost = {.ours = count_call(row, "ours"),
                      .baseline = count_call(row, "baseline")};
  cost.over = cost.ours - cost.baseline;
  return cost;
}

/* --- report --------------------------------------------------------------- */

static FILE *json;
static char const *json_separator = "";

static bool report(struct goal const *goal, char const *unit, struct cost cost,
                   double limit) {
  bool is_ok = cost.over <= limit;
  printf("%-5s%-22s%8zu  %-13s%8.2f%10.2f%8.2f%8.2f  %s\n", goal->id,
         goal->call, goal->nbytes, unit, cost.ours, cost.baseline, cost.over,
         limit, is_ok ? "ok" : "MISSED");
  fflush(stdout);
  if (json)
    fprintf(json,
            "%s\n  {\"goal\": \"%s\", \"call\": \"%s\", \"bytes\": %zu, "
            "\"unit\": \"%s\", \"ours\": %.3f, \"baseline\": %.3f, "
            "\"over\": %.3f, \"limit\": %g, \"ok\": %s}",
            json_separator, goal->id, goal->call, goal->nbytes, unit, cost.ours,
            cost.baseline, cost.over, limit, is_ok ? "true" : "false");
  json_separator = ",";
  return is_ok;
}

static bool measure_all(void) {
  bool can_count = count_process(0, "ours", 1) > 0, is_ok = true;
  printf("%-5s%-22s%8s  %-13s%8s%10s%8s%8s\n", "goal", "call", "bytes", "unit",
         "ours", "baseline", "over", "limit");
  for (size_t row = 0; row < NGOALS; row++) {
    struct goal const *goal = &goals[row];
    is_ok &= report(goal, "ns", measure(goal), goal->max_ns);
    if (can_count && goal->max_instructions > 0)
      is_ok &= report(goal, "instructions", count(row), goal->max_instructions);
  }
  if (!can_count)
    printf("instructions are not counted: valgrind is not installed\n");
  printf("%s\n", is_ok ? "every goal is reached" : "a goal is MISSED");
  return is_ok;
}

int main(int argc, char **argv) {
  unsetenv("UMEM_CHECKED");
  if (argc == 5 && strcmp(argv[1], "--count") == 0)
    return count_mode(argv + 2);
  bool has_file = argc == 3 && strcmp(argv[1], "--json") == 0;
  if (argc != 1 && !has_file)
    die("usage: bench_calls [--json FILE]");
  if (has_file) {
    json = fopen(argv[2], "w");
    if (!json)
      die("cannot write the JSON file");
    fputs("[", json);
  }
  bool is_ok = measure_all();
  if (json) {
    fputs("\n]\n", json);
    if (ferror(json) | fclose(json))
      die("cannot write the JSON file");
  }
  return is_ok ? 0 : 1;
}
