/* SPDX-License-Identifier: BSD-3-Clause */
/* Contests: sides run in turn, and are compared round by round. */
#include "bench.h"

#include <string.h>
#include <time.h>

enum {
  SIDES_MAX = 24,
  ROUNDS_MIN = 7,
  ROUNDS_MAX = 301,
  QUALIFYING_ROUNDS = 3,
  ATTEMPTS = 3,
  ATTEMPTS_OF_LARGE = 2
};
static size_t const large = 256 << 20;
static double const batch_default_ns = 200e3;
static double const row_ns = 120e6; /* what all rounds of a row should take */

/* --- clock and numbers ---------------------------------------------------- */

double bench_now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return 1e9 * (double)time.tv_sec + (double)time.tv_nsec;
}

static int by_value(void const *a, void const *b) {
  double x = *(double const *)a, y = *(double const *)b;
  return (x > y) - (x < y);
}

double bench_median(double *values, size_t count) {
  qsort(values, count, sizeof *values, by_value);
  return (values[count / 2] + values[(count - 1) / 2]) / 2;
}

/* The order of sides: the same in every run of the program. */
static size_t random_below(size_t bound) {
  static uint64_t state = 0x9e3779b97f4a7c15;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (size_t)(state >> 11) % bound;
}

static void shuffle(size_t *order, size_t count) {
  for (size_t left = count; left > 1; left--) {
    size_t other = random_below(left), kept = order[left - 1];
    order[left - 1] = order[other];
    order[other] = kept;
  }
}

/* --- rounds --------------------------------------------------------------- */

/* Nanoseconds per call. */
static double run_batch(struct benchSide *side, size_t ncalls,
                        bool is_checked) {
  static size_t serial;
  side->serial = ++serial;
  side->is_checked = is_checked;
  side->own_ns = 0;
  if (side->before)
    side->before(side);
  double began = bench_now();
  side->run(side, ncalls);
  double took = bench_now() - began;
  if (side->own_ns > 0)
    took = side->own_ns;
  if (side->after)
    side->after(side);
  return took / (double)ncalls;
}

double bench_time(struct benchSide *side, size_t ncalls, unsigned rounds) {
  double times[ROUNDS_MAX] = {0};
  size_t count = rounds < ROUNDS_MAX ? rounds : ROUNDS_MAX;
  for (size_t round = 0; round < count; round++)
    times[round] = run_batch(side, ncalls, round == 0);
  return bench_median(times, count);
}

/* The sides of a contest that are still in it: [0] is the library. */
struct field {
  struct benchSide *sides[SIDES_MAX];
  size_t nsides;
};

static double times[SIDES_MAX][ROUNDS_MAX];

static void run_rounds(struct field *field, size_t ncalls, size_t rounds) {
  size_t order[SIDES_MAX];
  for (size_t i = 0; i < field->nsides; i++)
    order[i] = i;
  for (size_t round = 0; round < rounds; round++) {
    bool is_checked = round == 0 || round + 1 == rounds;
    shuffle(order, field->nsides);
    for (size_t i = 0; i < field->nsides; i++)
      times[order[i]][round] =
          run_batch(field->sides[order[i]], ncalls, is_checked);
  }
}

static struct benchCost cost_against(size_t side, size_t rounds) {
  static double ours[ROUNDS_MAX], theirs[ROUNDS_MAX];
  static double ratio[ROUNDS_MAX], over[ROUNDS_MAX];
  for (size_t round = 0; round < rounds; round++) {
    ours[round] = times[0][round];
    theirs[round] = times[side][round];
    ratio[round] = theirs[round] / ours[round];
    over[round] = ours[round] - theirs[round];
  }
  return (struct benchCost){
      bench_median(ours, rounds), bench_median(theirs, rounds),
      bench_median(ratio, rounds), bench_median(over, rounds)};
}

static size_t slowest_side(struct field const *field, size_t rounds) {
  size_t slowest = 1;
  for (size_t side = 2; side < field->nsides; side++)
    if (cost_against(side, rounds).baseline >
        cost_against(slowest, rounds).baseline)
      slowest = side;
  return slowest;
}

/* --- how often ------------------------------------------------------------ */

static size_t batch_size(struct benchContest const *contest) {
  double wanted = contest->batch_ns > 0 ? contest->batch_ns : batch_default_ns;
  size_t ncalls = 1;
  struct benchSide *ours = &contest->sides[0];
  if (contest->is_one_call)
    return 1;
  if (bench_options.quick)
    wanted /= 2;
  while (run_batch(ours, ncalls, true) * (double)ncalls < wanted)
    ncalls *= 2;
  return ncalls;
}

/* One round, to warm up, tells how many more there is time for. Where it would
   take long a first round among seven does no harm. */
static size_t count_rounds(struct benchContest const *contest,
                           struct field *field, size_t ncalls) {
  double took = 0;
  if (contest->is_one_call && contest->nbytes >= large)
    return ROUNDS_MIN;
  run_rounds(field, ncalls, 1);
  for (size_t side = 0; side < field->nsides; side++)
    took += times[side][0] * (double)ncalls;
  size_t rounds = (size_t)((bench_options.quick ? row_ns / 4 : row_ns) / took);
  return rounds < ROUNDS_MIN   ? ROUNDS_MIN
         : rounds > ROUNDS_MAX ? ROUNDS_MAX
                               : rounds | 1;
}

size_t bench_qualify(struct benchSide *sides, size_t nsides, size_t keep) {
  double costs[SIDES_MAX];
  struct field field = {.nsides = nsides};
  if (nsides > SIDES_MAX)
    bench_die("%zu candidates are too many", nsides);
  for (size_t i = 0; i < nsides; i++)
    field.sides[i] = &sides[i];
  run_rounds(&field, 1, QUALIFYING_ROUNDS);
  for (size_t i = 0; i < nsides; i++)
    costs[i] = bench_median(times[i], QUALIFYING_ROUNDS);
  for (size_t place = 0; place < keep && place < nsides; place++)
    for (size_t i = place + 1; i < nsides; i++)
      if (costs[i] < costs[place]) {
        struct benchSide side = sides[i];
        double cost = costs[i];
        sides[i] = sides[place];
        costs[i] = costs[place];
        sides[place] = side;
        costs[place] = cost;
      }
  return keep < nsides ? keep : nsides;
}

/* --- a row ---------------------------------------------------------------- */

static struct benchRow to_row(struct benchContest const *contest,
                              struct benchCost cost, char const *name) {
  struct benchRow row = {.goal = contest->goal,
                         .what = contest->what,
                         .nbytes = contest->nbytes,
                         .nthreads = contest->nthreads,
                         .unit = contest->in_ns ? "ns" : "GB/s",
                         .baseline_name = name,
                         .cost = cost,
                         .rule = contest->rule,
                         .limit = contest->limit};
  if (!contest->in_ns) {
    row.cost.ours = (double)contest->nbytes / cost.ours;
    row.cost.baseline = (double)contest->nbytes / cost.baseline;
    row.cost.over = row.cost.ours - row.cost.baseline;
  }
  return row;
}

static bool is_worse(struct benchContest const *contest, struct benchCost cost,
                     struct benchCost than) {
  return contest->rule == BENCH_OVER ? cost.over > than.over
                                     : cost.ratio < than.ratio;
}

struct verdict {
  struct benchCost cost;
  char const *name;
};

static void judge(struct benchContest const *contest, struct field const *field,
                  size_t side, struct benchCost cost, struct verdict *worst) {
  if (!worst->name || is_worse(contest, cost, worst->cost))
    *worst = (struct verdict){cost, field->sides[side]->name};
}

/* Baselines against which the goal is reached leave the field, and the last one
   of them to leave, or to stay, is what the row shows: the worst. */
static void drop_beaten(struct benchContest const *contest, struct field *field,
                        size_t rounds, struct verdict *beaten,
                        struct verdict *open) {
  size_t kept = 1;
  *open = (struct verdict){.name = NULL};
  for (size_t side = 1; side < field->nsides; side++) {
    struct benchCost cost = cost_against(side, rounds);
    if (bench_is_reached(contest->rule, contest->limit, &cost))
      judge(contest, field, side, cost, beaten);
    else {
      judge(contest, field, side, cost, open);
      field->sides[kept++] = field->sides[side];
    }
  }
  field->nsides = kept;
}

/* All sides stay: which leg is the slower one is found anew each time. */
static void compare_slowest(struct benchContest const *contest,
                            struct field *field, size_t rounds,
                            struct verdict *beaten, struct verdict *open) {
  size_t side = slowest_side(field, rounds);
  struct benchCost cost = cost_against(side, rounds);
  struct verdict verdict = {cost, field->sides[side]->name};
  bool is_ok = bench_is_reached(contest->rule, contest->limit, &cost);
  *(is_ok ? beaten : open) = verdict;
  if (is_ok)
    open->name = NULL;
}

static unsigned count_attempts(struct benchContest const *contest) {
  unsigned attempts = contest->attempts          ? contest->attempts
                      : contest->nbytes >= large ? ATTEMPTS_OF_LARGE
                                                 : ATTEMPTS;
  return bench_options.quick ? (attempts + 1) / 2 : attempts;
}

static struct verdict measure(struct benchContest const *contest) {
  struct field field = {.nsides = contest->nsides};
  struct verdict beaten = {.name = NULL}, open = {.name = NULL};
  for (size_t i = 0; i < field.nsides; i++)
    field.sides[i] = &contest->sides[i];
  size_t ncalls = batch_size(contest);
  size_t rounds = count_rounds(contest, &field, ncalls);
  unsigned attempts = count_attempts(contest);
  for (unsigned attempt = 0; attempt < attempts; attempt++) {
    run_rounds(&field, ncalls, rounds);
    if (contest->against_slowest)
      compare_slowest(contest, &field, rounds, &beaten, &open);
    else
      drop_beaten(contest, &field, rounds, &beaten, &open);
    if (!open.name)
      return beaten;
  }
  return open;
}

void bench_contest(struct benchContest const *contest) {
  if (!bench_wants(contest->goal, contest->what))
    return;
  if (contest->nsides < 2 || contest->nsides > SIDES_MAX)
    bench_die("\"%s\": a contest of %zu sides", contest->what, contest->nsides);
  if (contest->nthreads > bench_ncores()) {
    bench_note("rows of %u threads need as many processors", contest->nthreads);
    return;
  }
  bench_set_threads(contest->nthreads);
  struct verdict verdict = measure(contest);
  struct benchRow row = to_row(contest, verdict.cost, verdict.name);
  bench_report(&row);
}
