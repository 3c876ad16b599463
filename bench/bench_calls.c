/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one call costs over the call of the C library that does its work:
 *
 *   P1  umem_alloc and umem_free over malloc and free
 *   P2  umem_copy_to and umem_copy_to_safe of 64 bytes over memcpy
 *
 * Time: batches of both take turns in one process; what counts is the median of
 * the differences of neighbours. Who shares the core slows what has more
 * instructions by more: a goal counts as missed in time if it is missed ten
 * times. Instructions: callgrind runs this program with n and with 2n calls,
 * and the difference is n calls' and nothing else's.
 */
#define _GNU_SOURCE /* pipe2 */
#include "bench.h"

#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  ATTEMPTS = 10,  /* for a goal that is missed */
  COUNTED = 1000, /* calls under callgrind; then twice as many */
  PAGE = 4096,
  ROOM = 4 * PAGE
};

/* --- what is measured ----------------------------------------------------- */

struct work {
  umemHost host, other;
  size_t nbytes;
  unsigned char *src, *dest; /* copies only */
};

typedef void loop(struct benchSide *side, size_t ncalls);

/* The compiler may neither drop a block that nobody uses nor look into it. */
static inline void *used(void *block) {
  __asm__ volatile("" : "+r"(block) : : "memory");
  return block;
}

static void loop_malloc(struct benchSide *side, size_t ncalls) {
  struct work const *work = side->work;
  while (ncalls--)
    free(used(malloc(work->nbytes)));
}

static void loop_alloc(struct benchSide *side, size_t ncalls) {
  struct work const *work = side->work;
  while (ncalls--) {
    uintptr_t adr = umem_alloc(&work->host, work->nbytes);
    umem_free(&work->host, (uintptr_t)used((void *)adr));
  }
}

static void loop_memcpy(struct benchSide *side, size_t ncalls) {
  struct work const *work = side->work;
  while (ncalls--)
    used(memcpy(work->dest, work->src, work->nbytes));
}

static void loop_copy(struct benchSide *side, size_t ncalls) {
  struct work const *work = side->work;
  while (ncalls--) {
    umem_copy_to(&work->host, (uintptr_t)work->src, &work->other,
                 (uintptr_t)work->dest, work->nbytes);
    used(work->dest);
  }
}

static void loop_copy_safe(struct benchSide *side, size_t ncalls) {
  struct work const *work = side->work;
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

static void work_begin(struct work *work, struct goal const *goal) {
  unsigned char *room = aligned_alloc(PAGE, ROOM);
  if (!room || umemHost_ctor(&work->host) || umemHost_ctor(&work->other))
    bench_die("no memory");
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

static bool is_copy(struct work const *work) {
  return work->dest != work->src;
}

static void spoil(struct benchSide *side) {
  struct work const *work = side->work;
  for (size_t i = 0; is_copy(work) && i < work->nbytes; i++)
    work->dest[i] = (unsigned char)~work->src[i];
}

static void check(struct benchSide *side) {
  struct work const *work = side->work;
  if (is_copy(work) && memcmp(work->dest, work->src, work->nbytes) != 0)
    bench_die("a copy is wrong");
}

static void measure(struct goal const *goal) {
  struct work work;
  work_begin(&work, goal);
  struct benchSide ours = {.name = "umem",
                           .before = spoil,
                           .after = check,
                           .run = goal->ours,
                           .work = &work};
  struct benchSide baseline = ours;
  baseline.name = is_copy(&work) ? "memcpy" : "malloc + free";
  baseline.run = goal->baseline;
  struct benchSide sides[] = {ours, baseline};
  bench_contest(&(struct benchContest){.goal = goal->id,
                                       .what = goal->call,
                                       .nbytes = goal->nbytes,
                                       .rule = BENCH_OVER,
                                       .limit = goal->max_ns,
                                       .in_ns = true,
                                       .sides = sides,
                                       .nsides = BENCH_COUNT(sides),
                                       .attempts = ATTEMPTS});
  work_end(&work);
}

/* --- instructions --------------------------------------------------------- */

/* What callgrind runs: --count ROW ours|baseline NCALLS */
static int count_mode(char **argv) {
  struct goal const *goal = &goals[strtoul(argv[0], NULL, 10) % NGOALS];
  struct work work;
  work_begin(&work, goal);
  loop *run = strcmp(argv[1], "ours") == 0 ? goal->ours : goal->baseline;
  run(&(struct benchSide){.work = &work}, strtoul(argv[2], NULL, 10));
  work_end(&work);
  return 0;
}

/* Starts a program; what it says on stderr can be read from the stream. */
static FILE *start(char *const argv[], pid_t *pid_out) {
  posix_spawn_file_actions_t actions;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions))
    bench_die("no pipe");
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
    bench_die("cannot find itself");
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
    bench_die("valgrind did not count");
  return count;
}

static double count_call(size_t row, char const *side) {
  double once = count_process(row, side, COUNTED);
  double twice = count_process(row, side, 2 * COUNTED);
  return (twice - once) / COUNTED;
}

static void count(size_t row) {
  struct goal const *goal = &goals[row];
  struct benchCost cost = {.ours = count_call(row, "ours"),
                           .baseline = count_call(row, "baseline")};
  cost.over = cost.ours - cost.baseline;
  cost.ratio = cost.baseline / cost.ours;
  bench_report(&(struct benchRow){
      .goal = goal->id,
      .what = goal->call,
      .nbytes = goal->nbytes,
      .unit = "instr.",
      .baseline_name = goal->ours == loop_alloc ? "malloc + free" : "memcpy",
      .cost = cost,
      .rule = BENCH_OVER,
      .limit = goal->max_instructions});
}

/* --- all ------------------------------------------------------------------ */

int main(int argc, char **argv) {
  if (argc == 5 && strcmp(argv[1], "--count") == 0) {
    unsetenv("UMEM_CHECKED");
    return count_mode(argv + 2);
  }
  bench_begin(argc, argv);
  bool can_count = count_process(0, "ours", 1) > 0;
  for (size_t row = 0; row < NGOALS; row++) {
    if (!bench_wants(goals[row].id, goals[row].call))
      continue;
    measure(&goals[row]);
    if (can_count && goals[row].max_instructions > 0)
      count(row);
  }
  if (!can_count)
    bench_note("instructions are not counted: valgrind is not installed");
  return bench_end();
}
