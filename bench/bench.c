/* SPDX-License-Identifier: BSD-3-Clause */
/* Options, the table and its JSON; see bench.h. */
#define _GNU_SOURCE /* program_invocation_short_name, RTLD_DEFAULT */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

struct benchOptions bench_options;

static FILE *json;
static unsigned nreached, nmissed, ncannot;

/* --- the end -------------------------------------------------------------- */

void bench_die(char const *format, ...) {
  va_list arguments;
  fflush(stdout);
  fprintf(stderr, "%s: ", program_invocation_short_name);
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(2);
}

void bench_need_ok(umemStatusType status, void const *ctx) {
  if (status != umemOK)
    bench_die("%s", umem_get_message(ctx));
}

void bench_cannot(char const *what, char const *why) {
  fflush(stdout);
  fprintf(stderr, "%s: cannot measure \"%s\": %s\n",
          program_invocation_short_name, what, why);
  ncannot++;
}

void bench_note(char const *format, ...) {
  static char last[256];
  char text[sizeof last];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (strcmp(text, last) != 0)
    printf("  (%s)\n", text);
  memcpy(last, text, sizeof last);
}

int bench_end(void) {
  if (json) {
    fputs("\n]\n", json);
    if (ferror(json) | fclose(json))
      bench_die("cannot write \"%s\"", bench_options.json);
  }
  if (ncannot > 0)
    printf("%u rows could not be measured\n", ncannot);
  printf("%u goals reached, %u missed\n", nreached, nmissed);
  return ncannot > 0 ? 2 : nmissed > 0;
}

/* --- options -------------------------------------------------------------- */

static char const usage[] =
    "usage: %s [--json FILE] [--quick] [--only TEXT] [--dir DIR]\n"
    "\n"
    "  --json FILE  write the rows to FILE, too\n"
    "  --quick      smaller sizes and fewer rounds\n"
    "  --only TEXT  only the rows with TEXT in \"GOAL NAME\"\n"
    "  --dir DIR    make files there (default: where this program is)\n";

static void print_usage(FILE *out) {
  fprintf(out, usage, program_invocation_short_name);
}

/* A build directory is on a disk; /tmp often is not. */
static char const *own_directory(void) {
  static char path[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length < 0)
    bench_die("cannot find itself: %s", strerror(errno));
  *strrchr(path, '/') = '\0';
  return path;
}

/* Takes option argv[at], and returns the index behind it; 0: no such option. */
static int take_option(int argc, char **argv, int at) {
  char const *name = argv[at];
  char const **value = strcmp(name, "--json") == 0   ? &bench_options.json
                       : strcmp(name, "--only") == 0 ? &bench_options.only
                       : strcmp(name, "--dir") == 0  ? &bench_options.dir
                                                     : NULL;
  if (strcmp(name, "--quick") == 0) {
    bench_options.quick = true;
    return at + 1;
  }
  if (!value || at + 1 == argc)
    return 0;
  *value = argv[at + 1];
  return at + 2;
}

void bench_begin(int argc, char **argv) {
  unsetenv("UMEM_CHECKED");
  bench_options.dir = own_directory();
  for (int at = 1; at < argc;) {
    if (strcmp(argv[at], "--help") == 0) {
      print_usage(stdout);
      exit(0);
    }
    at = take_option(argc, argv, at);
    if (!at) {
      print_usage(stderr);
      exit(2);
    }
  }
  if (!bench_options.json)
    return;
  json = fopen(bench_options.json, "we");
  if (!json)
    bench_die("cannot write \"%s\": %s", bench_options.json, strerror(errno));
  fputc('[', json);
}

bool bench_wants(char const *goal, char const *what) {
  char text[128];
  snprintf(text, sizeof text, "%s %s", goal, what);
  return !bench_options.only || strstr(text, bench_options.only);
}

size_t bench_size(size_t full, size_t quick) {
  return bench_options.quick ? quick : full;
}

/* --- threads -------------------------------------------------------------- */

unsigned bench_ncores(void) {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores))
    bench_die("sched_getaffinity: %s", strerror(errno));
  return (unsigned)CPU_COUNT(&cores);
}

void bench_set_threads(unsigned nthreads) {
  if (nthreads > 0 && umem_set_threads(nthreads - 1) != umemOK)
    bench_die("%u threads are refused", nthreads);
}

/* --- report --------------------------------------------------------------- */

/* "64 B", "1.5 MiB": short, and exact where the size is a round one. */
static char const *size_text(size_t nbytes, char out[24]) {
  static char const *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = (double)nbytes;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < BENCH_COUNT(units)) {
    value /= 1024;
    unit++;
  }
  snprintf(out, 24, "%.4g %s", value, units[unit]);
  return out;
}

/* Figures are judged as they are shown: they are not known better than that. */
static double shown(double value) {
  return round(100 * value);
}

bool bench_is_reached(enum benchRule rule, double limit,
                      struct benchCost const *cost) {
  switch (rule) {
  case BENCH_RATIO:
    return shown(cost->ratio) >= shown(limit);
  case BENCH_OVER:
    return shown(cost->over) <= shown(limit);
  case BENCH_AT_MOST:
    return shown(cost->ours) <= shown(limit);
  case BENCH_NO_LIMIT:
    break;
  }
  return true;
}

static void print_header(void) {
  printf("%-6s%-30s%9s%4s  %-6s%8s%9s  %-17s%8s %8s\n", "goal", "what", "bytes",
         "thr", "unit", "ours", "baseline", "", "result", "limit");
}

/* What is compared with the limit, and the limit. */
static void print_result(struct benchRow const *row) {
  switch (row->rule) {
  case BENCH_NO_LIMIT:
    printf("%7.2fx %8s", row->cost.ratio, "");
    break;
  case BENCH_RATIO:
    printf("%7.2fx %7.2fx", row->cost.ratio, row->limit);
    break;
  case BENCH_OVER:
    printf("%+8.2f %+8.2f", row->cost.over, row->limit);
    break;
  case BENCH_AT_MOST:
    printf("%8.2f %8.2f", row->cost.ours, row->limit);
    break;
  }
}

static void print_row(struct benchRow const *row, bool is_ok) {
  char size[24], threads[12] = "-", baseline[24] = "";
  if (row->nthreads)
    snprintf(threads, sizeof threads, "%u", row->nthreads);
  if (row->baseline_name)
    snprintf(baseline, sizeof baseline, "%.2f", row->cost.baseline);
  printf("%-6s%-30s%9s%4s  %-6s%8.2f%9s  %-17s", row->goal, row->what,
         size_text(row->nbytes, size), threads, row->unit, row->cost.ours,
         baseline, row->baseline_name ? row->baseline_name : "");
  print_result(row);
  printf("  %s\n", row->rule == BENCH_NO_LIMIT ? "" : is_ok ? "ok" : "MISSED");
  if (row->note && *row->note)
    printf("      %s\n", row->note);
  fflush(stdout);
}

static void json_text(char const *name, char const *text) {
  fprintf(json, ", \"%s\": ", name);
  if (text)
    fprintf(json, "\"%s\"", text);
  else
    fputs("null", json);
}

static void json_number(char const *name, bool has_it, double value) {
  fprintf(json, ", \"%s\": ", name);
  if (has_it)
    fprintf(json, "%.9g", value);
  else
    fputs("null", json);
}

static void json_row(struct benchRow const *row, bool is_ok) {
  static char const *const rules[] = {NULL, "ratio >=", "over <=", "ours <="};
  static char const *separator = "";
  bool is_versus = row->baseline_name != NULL;
  fprintf(json, "%s\n  {\"goal\": \"%s\"", separator, row->goal);
  separator = ",";
  json_text("what", row->what);
  fprintf(json, ", \"bytes\": %zu, \"threads\": %u", row->nbytes,
          row->nthreads);
  json_text("unit", row->unit);
  json_number("ours", true, row->cost.ours);
  json_text("baseline_name", row->baseline_name);
  json_number("baseline", is_versus, row->cost.baseline);
  json_number("ratio", is_versus, row->cost.ratio);
  json_number("over", is_versus, row->cost.over);
  json_text("rule", rules[row->rule]);
  json_number("limit", row->rule != BENCH_NO_LIMIT, row->limit);
  fprintf(json, ", \"ok\": %s", is_ok ? "true" : "false");
  json_text("note", row->note);
  fputc('}', json);
}

bool bench_report(struct benchRow const *row) {
  struct benchCost const *cost = &row->cost;
  if (!isfinite(cost->ours) || !isfinite(cost->baseline) ||
      !isfinite(cost->ratio) || !isfinite(cost->over))
    bench_die("\"%s\": no figure came out", row->what);
  static bool has_header;
  if (!has_header)
    print_header();
  has_header = true;
  bool is_ok = bench_is_reached(row->rule, row->limit, cost);
  print_row(row, is_ok);
  if (json)
    json_row(row, is_ok);
  if (row->rule != BENCH_NO_LIMIT)
    *(is_ok ? &nreached : &nmissed) += 1;
  return is_ok;
}
