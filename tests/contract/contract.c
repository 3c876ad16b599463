/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs the contract: every test of one context on every kind, every test of two
 * on every ordered pair. In the build with hooks all that copies is run again
 * with rungs of the ladder switched off: results are the same.
 */
#include "contract.h"

#ifdef UMEM_TEST_HOOKS
#include "internal.h"

enum { HOOKS = 1 };

bool rungs_switch_off(unsigned rungs) {
  umemi_os.rungs_off = rungs;
  return true;
}
#else
enum { HOOKS = 0 };

bool rungs_switch_off(unsigned rungs) {
  return rungs == 0;
}
#endif

/* What is switched off, and how it is called in the names of tests. Overlapping
   ranges never go through views, so these make no difference inside. */
static struct ladder {
  unsigned rungs_off;
  bool matters_inside;
  char const *name;
} const ladders[] = {
    {0, true, ""},
    {1u << umemDirectRung, true, ", not direct"},
    {1u << umemSourceViewRung, false, ", no view of the source"},
    {1u << umemDestViewRung, false, ", no view of the destination"},
    {1u << umemDirectRung | 1u << umemSourceViewRung | 1u << umemDestViewRung,
     false, ", all staged"},
};

enum { LADDERS = HOOKS ? sizeof ladders / sizeof *ladders : 1 };

/* --- a test, on its contexts ---------------------------------------------- */

static int situation_begin(void **state) {
  struct situation const *plan = *state;
  struct situation *s = calloc(1, sizeof *s);
  if (!s)
    return -1;
  s->src_kind = plan->src_kind;
  s->dest_kind = plan->dest_kind;
  s->rungs_off = plan->rungs_off;
  *state = s;
  return rungs_switch_off(plan->rungs_off) ? 0 : -1;
}

static int situation_end(void **state) {
  struct situation *s = *state;
  subject_end(&s->src);
  subject_end(&s->dest);
  free(s);
  rungs_switch_off(0);
  return 0;
}

/* --- a family ------------------------------------------------------------- */

/* How many of its kinds can be constructed. */
static int family_count(struct situation *s, char const *family) {
  int count = 0;
  for (size_t i = 0; i < kind_count; i++)
    if (kinds[i].family && strcmp(kinds[i].family, family) == 0) {
      count += subject_try(&s->src, &kinds[i]);
      subject_end(&s->src);
    }
  return count;
}

static bool kind_is_here(struct situation *s, char const *name) {
  bool is_here = false;
  for (size_t i = 0; i < kind_count && !is_here; i++)
    if (strcmp(kinds[i].name, name) == 0) {
      is_here = subject_try(&s->src, &kinds[i]);
      subject_end(&s->src);
    }
  return is_here;
}

/* What is not there is skipped, and so all would be skipped where there is
   nothing: of a family one kind has to be there, and all that UMEM_TEST_KINDS
   names, of whatever family. */
static void family__that_is_asked_for_is_here(void **state) {
  char const *family = getenv("UMEM_TEST_FAMILY");
  char const *needed = getenv("UMEM_TEST_KINDS");
  char list[256], *rest = list;
  snprintf(list, sizeof list, "%s", needed ? needed : "");
  if (family_count(*state, family) == 0)
    fail_msg("no kind of %s can be constructed", family);
  for (char *name; (name = strtok_r(rest, ",", &rest));)
    if (!kind_is_here(*state, name))
      fail_msg("no %s, which has to be here", name);
}

static struct CMUnitTest const family_test =
    cmocka_unit_test(family__that_is_asked_for_is_here);

/* --- the list of all ------------------------------------------------------ */

enum { TESTS_MAX = 8192, NAME_SIZE = 128 };

static struct CMUnitTest tests[TESTS_MAX];
static char names[TESTS_MAX][NAME_SIZE];
static struct situation plans[TESTS_MAX];
static size_t test_count;

static bool is_left_out(struct kind const *kind, struct ladder const *ladder) {
  return kind && kind->no_ladder && ladder->rungs_off;
}

/* What is asked for: without a family all kinds that have none, else all that
   one of the family is in. */
static bool is_asked_for(struct kind const *src, struct kind const *dest) {
  char const *family = getenv("UMEM_TEST_FAMILY");
  if (!src)
    return true;
  if (!family || !family[0])
    return !src->family && !(dest && dest->family);
  return (src->family && strcmp(src->family, family) == 0) ||
         (dest && dest->family && strcmp(dest->family, family) == 0);
}

static void list(struct CMUnitTest const *test, struct kind const *src,
                 struct kind const *dest, struct ladder const *ladder) {
  assert_true(test_count < TESTS_MAX);
  if (is_left_out(src, ladder) || is_left_out(dest, ladder) ||
      !is_asked_for(src, dest))
    return;
  char *name = names[test_count];
  struct situation *plan = &plans[test_count];
  *plan = (struct situation){
      .src_kind = src, .dest_kind = dest, .rungs_off = ladder->rungs_off};
  snprintf(name, NAME_SIZE, "%s: %s%s%s%s", test->name, src ? src->name : "all",
           dest ? " to " : "", dest ? dest->name : "", ladder->name);
  tests[test_count] = (struct CMUnitTest){.name = name,
                                          .test_func = test->test_func,
                                          .setup_func = situation_begin,
                                          .teardown_func = situation_end,
                                          .initial_state = plan};
  test_count++;
}

static void list_single(struct chapter chapter, struct ladder const *ladder) {
  for (size_t t = 0; t < chapter.count; t++)
    for (size_t k = 0; k < kind_count; k++)
      list(&chapter.tests[t], &kinds[k], NULL, ladder);
}

static void list_pairs(struct chapter chapter, struct ladder const *ladder) {
  for (size_t t = 0; t < chapter.count; t++)
    for (size_t i = 0; i < kind_count * kind_count; i++)
      list(&chapter.tests[t], &kinds[i / kind_count], &kinds[i % kind_count],
           ladder);
}

static void list_ladder(struct ladder const *ladder) {
  struct chapter model = model_tests();
  if (ladder->matters_inside)
    list_single(inside_tests(), ladder);
  list_pairs(pair_tests(), ladder);
  for (size_t t = 0; t < model.count; t++)
    list(&model.tests[t], NULL, NULL, ladder);
}

int main(void) {
  char const *family = getenv("UMEM_TEST_FAMILY");
  if (family && family[0])
    list(&family_test, NULL, NULL, &ladders[0]);
  if (!HOOKS) {
    list_single(single_tests(), &ladders[0]);
    list_single(thread_tests(), &ladders[0]);
  }
  for (size_t i = HOOKS ? 1 : 0; i < LADDERS; i++)
    list_ladder(&ladders[i]);
  if (umem_set_threads(2) != umemOK)
    return 1;
  return _cmocka_run_group_tests("contract", tests, test_count, temp_setup,
                                 temp_teardown);
}
