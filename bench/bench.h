/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all benchmarks share: options, contests, the table.
 *
 * A contest is the library against one or more baselines in one process. Each
 * round runs every side once, in random order, and what counts is the median of
 * the rounds' ratios or differences: a busy machine, which slows all sides,
 * decides nothing. A goal that is missed is measured again a few times, and
 * counts as missed if it is missed every time.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <umem.h>

#define BENCH_KIB ((size_t)1 << 10)
#define BENCH_MIB ((size_t)1 << 20)
#define BENCH_GIB ((size_t)1 << 30)

#define BENCH_COUNT(array) (sizeof(array) / sizeof *(array))

/* --- the program ---------------------------------------------------------- */

/* The command line: [--json FILE] [--quick] [--only TEXT] [--dir DIR] */
struct benchOptions {
  char const *json;
  char const *only; /* only rows whose goal and name have this in them */
  char const *dir;  /* where files are made */
  bool quick;       /* smaller, and fewer rounds */
};
extern struct benchOptions bench_options;

/* Reads the command line; ends the program if it is wrong. */
void bench_begin(int argc, char **argv);

/* Prints how many goals were reached; returns the exit status: 0 if all were,
   1 if one was missed, 2 if one could not be measured. */
int bench_end(void);

/* Ends the program with status 2: it cannot measure. */
void bench_die(char const *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));

/* Ends the program if a call on this context failed. */
void bench_need_ok(umemStatusType status, void const *ctx);

/* A row that cannot be measured: the others are, and the status will be 2. */
void bench_cannot(char const *what, char const *why);

/* A line about what follows. The same line is printed once. */
void bench_note(char const *format, ...) __attribute__((format(printf, 1, 2)));

/* Was this row asked for? */
bool bench_wants(char const *goal, char const *what);

/* The full size, or the small one with --quick. */
size_t bench_size(size_t full, size_t quick);

/* Processors that this process may use. */
unsigned bench_ncores(void);

/* On how many threads a call of the library works, the caller's among them. */
void bench_set_threads(unsigned nthreads);

/* --- contests ------------------------------------------------------------- */

struct benchSide {
  char const *name;
  /* Not timed, may be NULL: make ready; check the data, and tidy up. */
  void (*before)(struct benchSide *side);
  void (*after)(struct benchSide *side);
  void (*run)(struct benchSide *side, size_t ncalls);
  void *work;
  size_t chunk;      /* raw means: bytes in one system call */
  unsigned nthreads; /* raw means: threads */

  /* For the methods. */
  size_t serial;   /* of this run: no two in a row have the same */
  bool is_checked; /* in this run data must be checked, if that takes long */
  double own_ns;   /* set by run() if it timed itself; else 0 */
};

enum benchRule {
  BENCH_NO_LIMIT,
  BENCH_RATIO,  /* the baseline's time / ours is at least the limit */
  BENCH_OVER,   /* ours - the baseline is at most the limit */
  BENCH_AT_MOST /* ours is at most the limit; there is no baseline */
};

struct benchContest {
  char const *goal, *what;
  size_t nbytes;
  unsigned nthreads; /* of the library; 0: it does not matter */
  enum benchRule rule;
  double limit;
  bool in_ns; /* shown as ns per call, not as GB/s */
  struct benchSide *sides;
  size_t nsides;        /* sides[0] is the library */
  bool against_slowest; /* the limit is not for each baseline, but for the one
                           that is slowest */
  bool is_one_call;     /* each batch is a single call */
  double batch_ns;      /* else: what a batch of calls should take; 0: 0.2 ms */
  unsigned attempts;    /* for a goal that is missed; 0: 3, of much data 2 */
};

/* What came out against one baseline: medians. */
struct benchCost {
  double ours, baseline, ratio, over;
};

/* Measures and reports one row, if it was asked for. */
void bench_contest(struct benchContest const *contest);

/* Moves the `keep` fastest of `sides` to the front; returns how many. What is
   the best of many candidates is decided before they are measured: the best of
   many noisy figures is better than any of them. */
size_t bench_qualify(struct benchSide *sides, size_t nsides, size_t keep);

/* Median time of one call in ns. */
double bench_time(struct benchSide *side, size_t ncalls, unsigned rounds);

/* Nanoseconds since some moment. */
double bench_now(void);

double bench_median(double *values, size_t count);

/* --- report --------------------------------------------------------------- */

struct benchRow {
  char const *goal, *what;
  size_t nbytes;
  unsigned nthreads;
  char const *unit, *baseline_name; /* no baseline: NULL */
  struct benchCost cost;
  enum benchRule rule;
  double limit;
  char const *note; /* may be NULL */
};

bool bench_is_reached(enum benchRule rule, double limit,
                      struct benchCost const *cost);

/* Returns whether the goal is reached. */
bool bench_report(struct benchRow const *row);

#endif
