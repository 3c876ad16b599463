/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The same tests for each kind of memory, and for each ordered pair of kinds.
 *
 *   #define PAIR_JOIN " to "
 *   #include "each_pair.h"
 *   static void list_all(void) { ONCE(a); EACH_KIND(b); EACH_PAIR(c); }
 *   int main(void) { pairs_begin(); list_all(); return RUN_LISTED(...); }
 *
 * A test finds its two kinds in `*state`. Helpers are off, unless it asks.
 */
#ifndef UMEM_TESTS_EACH_PAIR_H
#define UMEM_TESTS_EACH_PAIR_H

#include "core.h"

enum kind { HOST, DISK, FAKE, VIEWED, KINDS };

static char const *const kind_names[KINDS] = {"Host", "File", "Fake",
                                              "Fake with views"};

static struct CMUnitTest tests[256];
static char names[256][128];
static enum kind pairs[KINDS * KINDS][2];
static size_t test_count;

static int after_each(void **state) {
  umem_set_threads(0);
  return faults_teardown(state);
}

static void list(CMUnitTestFunction test, char const *name, enum kind *pair,
                 char const *first, char const *second) {
  assert_true(test_count < LENGTH(tests));
  snprintf(names[test_count], sizeof *names, "%s%s%s%s%s", name,
           first ? ": " : "", first ? first : "", second ? PAIR_JOIN : "",
           second ? second : "");
  tests[test_count] = (struct CMUnitTest){.name = names[test_count],
                                          .test_func = test,
                                          .teardown_func = after_each,
                                          .initial_state = pair};
  test_count++;
}

static void list_pairs(CMUnitTestFunction test, char const *name) {
  for (size_t i = 0; i < LENGTH(pairs); i++)
    list(test, name, pairs[i], kind_names[pairs[i][0]],
         kind_names[pairs[i][1]]);
}

static void list_kinds(CMUnitTestFunction test, char const *name) {
  for (size_t i = 0; i < KINDS; i++)
    list(test, name, pairs[i * KINDS + i], kind_names[i], NULL);
}

#define ONCE(test) list(test, #test, NULL, NULL, NULL)
#define EACH_KIND(test) list_kinds(test, #test)
#define EACH_PAIR(test) list_pairs(test, #test)

static void pairs_begin(void) {
  for (size_t i = 0; i < LENGTH(pairs); i++) {
    pairs[i][0] = (enum kind)(i / KINDS);
    pairs[i][1] = (enum kind)(i % KINDS);
  }
  umem_set_threads(0);
}

/* Runs what was listed; the exit status. */
#define RUN_LISTED(group, setup, teardown)                                     \
  _cmocka_run_group_tests(group, tests, test_count, setup, teardown)

#endif
