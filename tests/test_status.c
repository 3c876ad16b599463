/* SPDX-License-Identifier: BSD-3-Clause */
/* Status: the returned code, the slot of a thread, what a context counts. */
#include "core.h"

#include "internal.h"

enum { TEXTS = 16, SLOTS = 1024, EMERGENCY = 32, LAST_TEXTS = 256 };
enum { TEXT_BYTES = 1024, LAST_LINE = sizeof "\n... and 4294967295 more" };

static umemHost hosts[SLOTS + 1];

static void hosts_ctor(size_t count) {
  for (size_t i = 0; i < count; i++)
    assert_ok(umemHost_ctor(&hosts[i]));
}

static void hosts_dtor(size_t count) {
  for (size_t i = 0; i < count; i++)
    assert_ok(umem_dtor(&hosts[i]));
}

/* `length` characters, the same ones. */
static char const *text_of(char letter, size_t length) {
  static char texts[2][2 * TEXT_BYTES];
  static size_t turn;
  char *text = texts[turn++ % 2];
  memset(text, letter, length);
  text[length] = '\0';
  return text;
}

static void set(void const *ctx, umemStatusType type, char const *text) {
  assert_ok(umem_set_status(ctx, type, text));
}

/* --- names --------------------------------------------------------------- */

static void names__are_bare_and_never_null(void **state) {
  (void)state;
  static char const *const names[] = {
      "OK",         "MemoryError",         "RuntimeError",
      "IOError",    "ValueError",          "TypeError",
      "IndexError", "NotImplementedError", "NotSupportedError",
      "AssertError"};
  for (size_t i = 0; i < LENGTH(names); i++)
    assert_string_equal(umem_get_status_name((umemStatusType)i), names[i]);
  int const out_of_range[] = {10, 64, 255, 1024, INT32_MAX, INT32_MIN, -1};
  for (size_t i = 0; i < LENGTH(out_of_range); i++)
    assert_string_equal(umem_get_status_name((umemStatusType)out_of_range[i]),
                        "UnknownError");
}

/* --- the layers ---------------------------------------------------------- */

static void status__of_a_new_context_is_ok_in_all_layers(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  assert_true(umem_is_ok(&host));
  assert_status(umem_get_status(&host), umemOK);
  assert_string_equal(umem_get_message(&host), "");
  assert_int_equal(umem_get_error_count(&host), 0);
  umemError last = last_error(&host);
  assert_status(last.type, umemOK);
  assert_string_equal(last.text, "");
  assert_ok(umem_dtor(&host));
}

static void failure__is_told_in_all_three_layers(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  fail_once(&host);
  assert_false(umem_is_ok(&host));
  assert_status(umem_get_status(&host), umemValueError);
  assert_string_equal(umem_get_message(&host), BAD_ALIGNMENT);
  assert_int_equal(umem_get_error_count(&host), 1);
  umemError last = last_error(&host);
  assert_status(last.type, umemValueError);
  assert_string_equal(last.text, BAD_ALIGNMENT);
  assert_int_equal(last.size, sizeof last);
  assert_int_equal(last.sys_errno, 0);
  assert_int_equal(last.native, 0);
  assert_int_equal(last.bytes_done, 0);
  assert_true(all_bytes_are(last.reserved, sizeof last.reserved, 0));
  assert_ok(umem_dtor(&host));
}

static void failure__on_one_context_is_not_seen_on_another(void **state) {
  (void)state;
  hosts_ctor(2);
  fail_once(&hosts[0]);
  assert_true(umem_is_ok(&hosts[1]));
  assert_string_equal(umem_get_message(&hosts[1]), "");
  assert_int_equal(umem_get_error_count(&hosts[1]), 0);
  hosts_dtor(2);
}

static void slot__is_sticky_until_cleaned(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  fail_once(&host);
  uintptr_t adr = umem_alloc(&host, 8); /* an old failure changes nothing */
  assert_true(adr != 0);
  assert_true(umem_set(&host, adr, 1, 8) == adr);
  assert_ok(umem_free(&host, adr));
  assert_status(umem_get_status(&host), umemValueError);
  assert_string_equal(umem_get_message(&host), BAD_ALIGNMENT);
  assert_ok(umem_clean_status(&host));
  assert_true(umem_is_ok(&host));
  assert_string_equal(umem_get_message(&host), "");
  fail_once(&host);
  assert_ok(umem_clear_status(&host));
  assert_true(umem_is_ok(&host));
  assert_int_equal(umem_get_error_count(&host), 2);
  assert_string_equal(last_error(&host).text, BAD_ALIGNMENT);
  assert_ok(umem_dtor(&host));
}

static void *see_nothing_and_fail(void *host) {
  uintptr_t adr;
  bool clean = umem_is_ok(host) && !umem_get_message(host)[0];
  umem_try_alloc(host, SIZE_MAX, &adr);
  bool own = umem_get_status(host) == umemMemoryError &&
             strstr(umem_get_message(host), "PTRDIFF_MAX") != NULL;
  return clean && own ? NULL : host;
}

static void slot__belongs_to_one_thread_and_the_count_to_all(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  fail_once(&host);
  assert_null(in_thread(see_nothing_and_fail, &host));
  assert_string_equal(umem_get_message(&host), BAD_ALIGNMENT);
  assert_int_equal(umem_get_error_count(&host), 2);
  assert_status(last_error(&host).type, umemMemoryError);
  assert_ok(umem_dtor(&host));
}

static void failed_call__on_two_contexts_marks_both(void **state) {
  (void)state;
  hosts_ctor(2);
  assert_status(umem_copy_to(&hosts[0], 0, &hosts[1], 0, 1), umemValueError);
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(umem_get_error_count(&hosts[i]), 1);
    assert_slot(&hosts[i], umemValueError, "source Host: the address is NULL");
  }
  assert_status(umem_copy_to(&hosts[0], 0, &hosts[0], 0, 1), umemValueError);
  assert_int_equal(umem_get_error_count(&hosts[0]), 2); /* once, not twice */
  assert_null(strchr(umem_get_message(&hosts[0]), '\n'));
  hosts_dtor(2);
}

/* --- how messages grow --------------------------------------------------- */

static void message__appends_and_says_when_the_type_changes(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  set(&host, umemIOError, "first");
  char const *message = umem_get_message(&host);
  set(&host, umemIOError, "second");
  assert_string_equal(umem_get_message(&host), "first\nsecond");
  set(&host, umemMemoryError, "third");
  assert_string_equal(umem_get_message(&host),
                      "first\nsecond\n"
                      "status IOError changed to MemoryError\nthird");
  assert_status(umem_get_status(&host), umemMemoryError);
  fail_once(&host);
  assert_string_equal(
      umem_get_message(&host),
      "first\nsecond\n"
      "status IOError changed to MemoryError\nthird\n"
      "status MemoryError changed to ValueError\n" BAD_ALIGNMENT);
  assert_ptr_equal(umem_get_message(&host), message); /* readable all along */
  assert_ok(umem_dtor(&host));
}

static void message__that_just_fits_is_whole(void **state) {
  (void)state;
  umemHost host;
  char expected[TEXT_BYTES];
  assert_ok(umemHost_ctor(&host));
  size_t const room = TEXT_BYTES - LAST_LINE - 500 - 1; /* behind 500 and \n */
  snprintf(expected, sizeof expected, "%s\n%s", text_of('a', 500),
           text_of('b', room));
  set(&host, umemIOError, text_of('a', 500));
  set(&host, umemIOError, text_of('b', room));
  assert_string_equal(umem_get_message(&host), expected);
  set(&host, umemIOError, "");
  strcat(expected, "\n... and 1 more");
  assert_string_equal(umem_get_message(&host), expected);
  assert_ok(umem_dtor(&host));
}

static void message__that_does_not_fit_is_counted(void **state) {
  (void)state;
  umemHost host;
  char expected[TEXT_BYTES];
  assert_ok(umemHost_ctor(&host));
  size_t const room = TEXT_BYTES - LAST_LINE - 500 - 1;
  set(&host, umemIOError, text_of('a', 500));
  for (unsigned i = 1; i <= 12; i++) { /* short ones, too, from then on */
    set(&host, umemIOError, i == 1 ? text_of('b', room + 1) : "short");
    snprintf(expected, sizeof expected, "%s\n... and %u more",
             text_of('a', 500), i);
    assert_string_equal(umem_get_message(&host), expected);
  }
  set(&host, umemIndexError, "x");
  assert_status(umem_get_status(&host), umemIndexError);
  snprintf(expected, sizeof expected, "%s\n... and 13 more", text_of('a', 500));
  assert_string_equal(umem_get_message(&host), expected);
  assert_ok(umem_clean_status(&host));
  set(&host, umemIOError, "new"); /* the count starts anew */
  set(&host, umemIOError, "er");
  assert_string_equal(umem_get_message(&host), "new\ner");
  assert_ok(umem_dtor(&host));
}

static void message__change_of_type_counts_against_the_room(void **state) {
  (void)state;
  umemHost host;
  char expected[TEXT_BYTES];
  char const *line = "\nstatus IOError changed to TypeError\n";
  size_t const room = TEXT_BYTES - LAST_LINE - 500 - strlen(line);
  assert_ok(umemHost_ctor(&host));
  set(&host, umemIOError, text_of('a', 500));
  set(&host, umemTypeError, text_of('b', room));
  snprintf(expected, sizeof expected, "%s%s%s", text_of('a', 500), line,
           text_of('b', room));
  assert_string_equal(umem_get_message(&host), expected);
  assert_ok(umem_clean_status(&host));
  set(&host, umemIOError, text_of('a', 500));
  set(&host, umemTypeError, text_of('b', room + 1));
  snprintf(expected, sizeof expected, "%s\n... and 1 more", text_of('a', 500));
  assert_string_equal(umem_get_message(&host), expected);
  assert_ok(umem_dtor(&host));
}

static void message__first_one_stays(void **state) {
  (void)state;
  umemHost host;
  char expected[2 * TEXT_BYTES];
  assert_ok(umemHost_ctor(&host));
  size_t const longest = TEXT_BYTES - LAST_LINE;
  for (size_t length = longest - 1; length <= longest + 1; length++) {
    size_t kept = length < longest ? length : longest;
    set(&host, umemIOError, text_of('a', length));
    assert_string_equal(umem_get_message(&host), text_of('a', kept));
    set(&host, umemIOError, "b");
    snprintf(expected, sizeof expected, "%s\n... and 1 more",
             text_of('a', kept));
    assert_string_equal(umem_get_message(&host), expected);
    assert_ok(umem_clean_status(&host));
  }
  assert_ok(umem_dtor(&host));
}

static void message__of_a_user_is_cut_within_one_kibibyte(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  size_t const longest = TEXT_BYTES - LAST_LINE; /* "... and N more" fits */
  for (size_t length = longest - 1; length <= TEXT_BYTES + 1; length++) {
    size_t kept = length < longest ? length : longest;
    set(&host, umemIOError, text_of('a', length));
    assert_string_equal(umem_get_message(&host), text_of('a', kept));
    assert_ok(umem_clean_status(&host));
  }
  assert_ok(umem_dtor(&host));
}

/* --- what is kept -------------------------------------------------------- */

static void texts__of_the_last_16_failing_contexts_are_kept(void **state) {
  (void)state;
  char text[16];
  hosts_ctor(TEXTS + 1);
  for (size_t i = 0; i < TEXTS; i++) {
    snprintf(text, sizeof text, "text %zu", i);
    set(&hosts[i], umemIOError, text);
  }
  set(&hosts[0], umemIOError, "again"); /* now the last to fail */
  char const *given_away = umem_get_message(&hosts[1]);
  set(&hosts[TEXTS], umemTypeError, "one more");
  assert_true(strlen(given_away) < TEXT_BYTES); /* readable still */
  assert_string_equal(umem_get_message(&hosts[0]), "text 0\nagain");
  assert_status(umem_get_status(&hosts[1]), umemIOError);
  assert_has(umem_get_message(&hosts[1]), "message not kept");
  for (size_t i = 2; i < TEXTS; i++) {
    snprintf(text, sizeof text, "text %zu", i);
    assert_string_equal(umem_get_message(&hosts[i]), text);
  }
  assert_string_equal(umem_get_message(&hosts[TEXTS]), "one more");
  set(&hosts[1], umemIndexError, "back"); /* and takes that of hosts[2] */
  assert_string_equal(umem_get_message(&hosts[1]), "back");
  assert_has(umem_get_message(&hosts[2]), "message not kept");
  assert_status(umem_get_status(&hosts[2]), umemIOError);
  hosts_dtor(TEXTS + 1);
}

static void *destroy(void *ctx) {
  return umem_dtor(ctx) == umemOK ? NULL : "dtor failed";
}

static void texts__of_dead_contexts_are_the_first_to_go(void **state) {
  (void)state;
  hosts_ctor(TEXTS + 1);
  for (size_t i = 0; i < TEXTS; i++)
    set(&hosts[i], umemIOError, "text");
  assert_null(in_thread(destroy, &hosts[5])); /* our slot of it stays */
  set(&hosts[TEXTS], umemIOError, "one more");
  assert_string_equal(umem_get_message(&hosts[0]), "text");
  assert_has(umem_get_message(&hosts[5]), "message not kept");
  hosts_dtor(TEXTS + 1);
}

static void message__may_be_read_after_others_took_its_place(void **state) {
  (void)state;
  hosts_ctor(TEXTS + 1);
  set(&hosts[0], umemIOError, "first");
  char const *message = umem_get_message(&hosts[0]);
  for (size_t i = 1; i <= TEXTS; i++)
    set(&hosts[i], umemIOError, "other");
  for (size_t i = 1; i <= TEXTS; i++)
    assert_ok(umem_clean_status(&hosts[i]));
  assert_string_equal(message, "other");
  hosts_dtor(TEXTS + 1);
}

static void slots__of_1024_contexts_are_kept_and_the_oldest_goes(void **state) {
  (void)state;
  hosts_ctor(SLOTS + 1);
  for (size_t i = 0; i < SLOTS; i++)
    set(&hosts[i], umemIOError, "x");
  for (size_t i = 0; i < SLOTS; i++)
    assert_status(umem_get_status(&hosts[i]), umemIOError);
  set(&hosts[0], umemTypeError, "x"); /* hosts[1] is the oldest now */
  set(&hosts[SLOTS], umemIndexError, "last");
  assert_status(umem_get_status(&hosts[0]), umemTypeError);
  assert_true(umem_is_ok(&hosts[1]));
  assert_string_equal(umem_get_message(&hosts[1]), "");
  for (size_t i = 2; i < SLOTS; i++)
    assert_status(umem_get_status(&hosts[i]), umemIOError);
  assert_status(umem_get_status(&hosts[SLOTS]), umemIndexError);
  assert_string_equal(umem_get_message(&hosts[SLOTS]), "last");
  hosts_dtor(SLOTS + 1);
}

static void slots__of_dead_contexts_go_first(void **state) {
  (void)state;
  size_t const dead = 700;
  hosts_ctor(SLOTS + 1);
  for (size_t i = 0; i < SLOTS; i++)
    set(&hosts[i], umemIOError, "x");
  in_thread(destroy, &hosts[dead]); /* which leaves our slot alone */
  assert_status(umem_get_status(&hosts[dead]), umemIOError);
  set(&hosts[SLOTS], umemIndexError, "x");
  for (size_t i = 0; i < SLOTS; i++)
    assert_status(umem_get_status(&hosts[i]), i == dead ? umemOK : umemIOError);
  assert_status(umem_get_status(&hosts[SLOTS]), umemIndexError);
  hosts_dtor(SLOTS + 1);
}

static void last_errors__lose_their_text_but_not_their_numbers(void **state) {
  (void)state;
  umemFile file;
  assert_status(umemFile_ctor(&file, "/nonexistent/name", "r"), umemIOError);
  assert_has(last_error(&file).text, "ENOENT (2)");
  hosts_ctor(LAST_TEXTS);
  for (size_t i = 0; i < LAST_TEXTS; i++)
    fail_once(&hosts[i]);
  umemError last = last_error(&file);
  assert_status(last.type, umemIOError);
  assert_int_equal(last.sys_errno, ENOENT);
  assert_has(last.text, "text not kept");
  assert_int_equal(umem_get_error_count(&file), 1);
  assert_has(umem_get_message(&file), "message not kept");
  for (size_t i = 0; i < LAST_TEXTS; i++)
    assert_string_equal(last_error(&hosts[i]).text, BAD_ALIGNMENT);
  hosts_dtor(LAST_TEXTS);
  assert_ok(umem_dtor(&file));
}

/* --- set_status ---------------------------------------------------------- */

static void set_status__does_not_count_as_a_failure(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  for (int type = umemMemoryError; type <= umemAssertError; type++) {
    set(&host, (umemStatusType)type, "mine");
    assert_slot(&host, (umemStatusType)type, "mine");
  }
  assert_int_equal(umem_get_error_count(&host), 0);
  assert_status(last_error(&host).type, umemOK);
  assert_ok(umem_dtor(&host));
}

static void set_status__takes_null_and_its_own_message(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  set(&host, umemIOError, NULL);
  assert_false(umem_is_ok(&host));
  assert_string_equal(umem_get_message(&host), "");
  assert_ok(umem_clean_status(&host));
  set(&host, umemIOError, "once");
  set(&host, umemIOError, umem_get_message(&host));
  assert_string_equal(umem_get_message(&host), "once\nonce");
  set(&host, umemOK, umem_get_message(&host));
  assert_true(umem_is_ok(&host));
  assert_string_equal(umem_get_message(&host), "");
  set(&host, umemIOError, umem_get_message(&host)); /* "" of one that is ok */
  assert_string_equal(umem_get_message(&host), "");
  set(&host, umemOK, "ignored");
  assert_true(umem_is_ok(&host));
  assert_ok(umem_dtor(&host));
}

static void set_status__is_no_format(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  set(&host, umemIOError, "%s%n%d 100%");
  set(&host, umemIOError, "%s");
  assert_string_equal(umem_get_message(&host), "%s%n%d 100%\n%s");
  assert_ok(umem_dtor(&host));
}

static void set_status__refuses_types_that_do_not_exist(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  int const types[] = {-1, 10, 64, INT32_MAX, INT32_MIN};
  for (size_t i = 0; i < LENGTH(types); i++) {
    assert_status(umem_set_status(&host, (umemStatusType)types[i], "text"),
                  umemValueError);
    assert_int_equal(umem_get_error_count(&host), i + 1); /* a failed call */
    assert_null(strstr(umem_get_message(&host), "text"));
    assert_slot(&host, umemValueError, "there is no such status");
  }
  assert_ok(umem_dtor(&host));
}

/* --- lives --------------------------------------------------------------- */

static void expect_none(void const *ctx) {
  umemError error = {.size = sizeof error, .native = 7};
  assert_false(umem_is_ok(ctx));
  assert_status(umem_get_status(ctx), umemTypeError);
  assert_has(umem_get_message(ctx), "not a context");
  assert_ptr_equal(umem_get_message(ctx), umem_get_message(NULL));
  assert_status(umem_set_status(ctx, umemIOError, "x"), umemTypeError);
  assert_status(umem_clean_status(ctx), umemTypeError);
  assert_status(umem_clear_status(ctx), umemTypeError);
  assert_int_equal(umem_get_error_count(ctx), 0);
  assert_status(umem_copy_last_error(ctx, &error), umemTypeError);
  assert_int_equal(error.native, 7);
  assert_ok(umem_dtor(ctx));
}

static void none__has_a_constant_status_and_is_not_written_to(void **state) {
  (void)state;
  umemHost host, copy, zeroed = {0};
  unsigned char before[sizeof copy];
  assert_ok(umemHost_ctor(&host));
  fail_once(&host);
  memcpy(&copy, &host, sizeof copy);
  memcpy(before, &copy, sizeof copy);
  expect_none(NULL);
  expect_none(&zeroed);
  assert_true(all_bytes_are(&zeroed, sizeof zeroed, 0));
  expect_none(&copy);
  assert_memory_equal(&copy, before, sizeof copy);
  assert_string_equal(umem_get_message(&host), BAD_ALIGNMENT);
  assert_ok(umem_dtor(&host));
}

static void failed_context__keeps_and_takes_status(void **state) {
  (void)state;
  umemCuda cuda;
  assert_status(umemCuda_ctor(&cuda, 0), umemNotSupportedError);
  assert_slot(&cuda, umemNotSupportedError, "umemCuda_ctor(device 0)");
  assert_true(umem_is_ok(&cuda));
  assert_fails(&cuda, umem_free(&cuda, 1), umemTypeError,
               "failed to construct");
  assert_int_equal(umem_get_error_count(&cuda), 2);
  assert_status(last_error(&cuda).type, umemTypeError);
  set(&cuda, umemAssertError, "mine");
  assert_ok(umem_dtor(&cuda));
  assert_true(umem_is_ok(&cuda));
  assert_int_equal(umem_get_error_count(&cuda), 2); /* the id is kept */
}

static void dead_context__is_ok_until_it_is_used(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  fail_once(&host);
  assert_ok(umem_dtor(&host));
  assert_true(umem_is_ok(&host));
  assert_string_equal(umem_get_message(&host), "");
  assert_true(umem_alloc(&host, 1) == 0);
  assert_false(umem_is_ok(&host));
  assert_slot(&host, umemTypeError, "is dead: umem_dtor() was called");
  assert_int_equal(umem_get_error_count(&host), 2);
  set(&host, umemIOError, "mine");
  assert_slot(&host, umemIOError, "mine");
  assert_ok(umem_dtor(&host));
}

static void dtor__that_fails_leaves_its_error_in_the_slot(void **state) {
  (void)state;
  umemHost host, other;
  checked_host(&host);
  assert_ok(umemHost_ctor(&other));
  uintptr_t adr = umem_alloc(&host, 5);
  fail_once(&host);
  assert_status(umem_dtor(&host), umemRuntimeError);
  assert_null(strchr(umem_get_message(&host), '\n')); /* and only that */
  assert_has(umem_get_message(&host), "umem_dtor(Host): 1 block(s) of 5 bytes");
  assert_status(umem_get_status(&host), umemRuntimeError);
  assert_int_equal(umem_get_error_count(&host), 2);
  assert_status(last_error(&host).type, umemRuntimeError);
  assert_ok(umem_free(&other, adr));
  assert_ok(umem_dtor(&host)); /* once more cleans it */
  assert_true(umem_is_ok(&host));
  assert_ok(umem_dtor(&other));
}

static void constructor__begins_with_a_clean_status(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  fail_once(&host);
  assert_ok(umem_dtor(&host));
  assert_true(umem_alloc(&host, 1) == 0);
  assert_ok(umem_clean_status(&host));
  assert_ok(umemHost_ctor(&host)); /* in the same memory */
  assert_true(umem_is_ok(&host));
  assert_int_equal(umem_get_error_count(&host), 0);
  assert_status(last_error(&host).type, umemOK);
  assert_ok(umem_dtor(&host));
}

/* --- no memory ----------------------------------------------------------- */

static void no_memory(void) {
  faults_install();
  fail_all(FAULT_malloc);
  fail_all(FAULT_calloc);
}

/* That the first `count` hosts have slots, and no more. */
static void expect_slots(size_t count) {
  for (size_t i = 0; i <= EMERGENCY; i++) {
    umemStatusType expected = i < count ? umemValueError : umemOK;
    assert_status(umem_get_status(&hosts[i]), expected);
    assert_string_equal(umem_get_message(&hosts[i]),
                        i < count ? BAD_ALIGNMENT : "");
  }
}

static void *fail_on_32_contexts(void *unused) {
  (void)unused;
  uintptr_t adr;
  for (size_t i = 0; i < EMERGENCY; i++)
    umem_try_aligned_alloc(&hosts[i], 3, 3, &adr);
  return umem_is_ok(&hosts[EMERGENCY - 1]) ? hosts : NULL;
}

static void emergency_slots__are_32_and_come_back_on_clean(void **state) {
  (void)state;
  hosts_ctor(EMERGENCY + 1);
  no_memory();
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i <= EMERGENCY; i++)
      fail_once(&hosts[i]);
    expect_slots(EMERGENCY);
    assert_int_equal(umem_get_error_count(&hosts[EMERGENCY]), 2 * round + 1);
    assert_string_equal(last_error(&hosts[EMERGENCY]).text, BAD_ALIGNMENT);
    assert_ok(umem_clean_status(&hosts[7]));
    fail_once(&hosts[EMERGENCY]);
    assert_string_equal(umem_get_message(&hosts[EMERGENCY]), BAD_ALIGNMENT);
    for (size_t i = 0; i <= EMERGENCY; i++)
      assert_ok(umem_clean_status(&hosts[i]));
  }
  hosts_dtor(EMERGENCY + 1);
}

static void emergency_slots__append_as_others_do(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  no_memory();
  set(&host, umemIOError, "one");
  set(&host, umemTypeError, "two");
  assert_string_equal(umem_get_message(&host),
                      "one\nstatus IOError changed to TypeError\ntwo");
  assert_ok(umem_dtor(&host));
}

static void emergency_slots__come_back_when_a_thread_ends(void **state) {
  (void)state;
  hosts_ctor(EMERGENCY + 1);
  no_memory();
  for (int round = 0; round < 3; round++) {
    assert_null(in_thread(fail_on_32_contexts, NULL));
  }
  assert_null(fail_on_32_contexts(NULL));
  hosts_dtor(EMERGENCY + 1);
}

static void no_thread_end_to_watch__costs_no_status(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  faults_install();
  fail_all(FAULT_pthread_setspecific);
  fail_once(&host);
  assert_slot(&host, umemValueError, BAD_ALIGNMENT);
  assert_int_equal(umem_get_error_count(&host), 1);
  assert_string_equal(last_error(&host).text, BAD_ALIGNMENT);
  assert_ok(umem_dtor(&host));
}

/* --- before the library's constructors, and after its destructors --------- */

static umemHost late, early;
static int early_status = 2;
static bool fails_late;

/* Exit status: 0 if a failure is told. */
static int told_of_a_failure(void const *ctx) {
  umem_aligned_alloc(ctx, 3, 3);
  return strcmp(umem_get_message(ctx), BAD_ALIGNMENT) != 0;
}

/* A constructor and a destructor of a program, linked with the static library:
   they run before, and after, those of the library. */
__attribute__((constructor)) static void fail_at_load(void) {
  if (getenv("UMEM_TEST_EARLY") && umemHost_ctor(&early) == umemOK)
    early_status = told_of_a_failure(&early);
}

__attribute__((destructor)) static void fail_at_exit(void) {
  if (fails_late)
    end_in_child(told_of_a_failure(&late));
}

static int role_late(void) {
  fails_late = umemHost_ctor(&late) == umemOK;
  return 2;
}

static int role_no_key(void) {
  pthread_key_t key;
  while (pthread_key_create(&key, NULL) == 0)
    continue;
  return umemHost_ctor(&late) == umemOK ? told_of_a_failure(&late) : 2;
}

static int role_early(void) {
  return early_status || umem_is_ok(&early);
}

static void expect_role(char const *role, char const *setting) {
  char told[1000];
  int status = run_again(role, setting, told, sizeof told);
  if (status != 0)
    fail_msg("%s: %d: %s", role, status, told);
}

static void failure__before_the_library_is_loaded_is_told(void **state) {
  (void)state;
  expect_role("early", "UMEM_TEST_EARLY=1");
}

static void failure__after_the_library_is_unloaded_is_told(void **state) {
  (void)state;
  expect_role("late", NULL);
}

static void no_key_of_threads__costs_no_status(void **state) {
  (void)state;
  expect_role("no_key", NULL);
}

static void no_memory_for_a_text__takes_an_emergency_slot(void **state) {
  (void)state;
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  faults_install();
  fail_all(FAULT_malloc);
  fail_once(&host);
  assert_slot(&host, umemValueError, BAD_ALIGNMENT);
  assert_ok(umem_dtor(&host));
}

static void no_memory_for_a_text__does_not_cost_another_its_text(void **state) {
  (void)state;
  hosts_ctor(2);
  set(&hosts[0], umemIOError, "first");
  faults_install();
  fail_all(FAULT_malloc);
  set(&hosts[1], umemIOError, "second");
  assert_string_equal(umem_get_message(&hosts[0]), "first");
  assert_string_equal(umem_get_message(&hosts[1]), "second");
  hosts_dtor(2);
}

/* --- umem_copy_last_error ------------------------------------------------ */

static void copy_last_error__writes_as_much_as_the_caller_knows(void **state) {
  (void)state;
  umemFile file;
  umemError full, part;
  assert_status(umemFile_ctor(&file, "/nonexistent/name", "r"), umemIOError);
  full = last_error(&file);
  size_t const sizes[] = {offsetof(umemError, sys_errno),
                          offsetof(umemError, native),
                          offsetof(umemError, bytes_done),
                          offsetof(umemError, reserved),
                          offsetof(umemError, text) + 1,
                          sizeof full - 1,
                          sizeof full};
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    memset(&part, 0x5A, sizeof part);
    part.size = full.size = sizes[i];
    assert_ok(umem_copy_last_error(&file, &part));
    size_t const whole = offsetof(umemError, text);
    assert_memory_equal(&part, &full, sizes[i] < whole ? sizes[i] : whole);
    assert_true(
        all_bytes_are((char *)&part + sizes[i], sizeof part - sizes[i], 0x5A));
    if (sizes[i] > whole) /* a text ends, however short */
      assert_true(memchr(part.text, 0, sizes[i] - whole) != NULL);
  }
  assert_ok(umem_dtor(&file));
}

static void copy_last_error__leaves_what_it_does_not_know(void **state) {
  (void)state;
  umemHost host;
  struct {
    umemError error;
    unsigned char more[64];
  } later;
  assert_ok(umemHost_ctor(&host));
  fail_once(&host);
  memset(&later, 0x5A, sizeof later);
  later.error.size = sizeof later;
  assert_ok(umem_copy_last_error(&host, &later.error));
  assert_int_equal(later.error.size, sizeof later);
  assert_string_equal(later.error.text, BAD_ALIGNMENT);
  assert_true(all_bytes_are(later.more, sizeof later.more, 0x5A));
  assert_ok(umem_dtor(&host));
}

static void copy_last_error__refuses_null_and_impossible_sizes(void **state) {
  (void)state;
  umemHost host;
  umemError error, before;
  assert_ok(umemHost_ctor(&host));
  assert_fails(&host, umem_copy_last_error(&host, NULL), umemValueError,
               "error_out is NULL");
  memset(&error, 0x5A, sizeof error);
  size_t const sizes[] = {0, 1, sizeof(size_t),
                          offsetof(umemError, sys_errno) - 1};
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    error.size = sizes[i];
    memcpy(&before, &error, sizeof error);
    assert_fails(&host, umem_copy_last_error(&host, &error), umemValueError,
                 "error_out->size");
    assert_memory_equal(&error, &before, sizeof error);
  }
  assert_int_equal(umem_get_error_count(&host), 1 + LENGTH(sizes));
  assert_ok(umem_dtor(&host));
}

/* --- messages ------------------------------------------------------------ */

static void error_fill__names_the_errno_and_resets_the_rest(void **state) {
  (void)state;
  umemError error;
  memset(&error, 0xFF, sizeof error);
  assert_status(
      umem_error_fill(&error, umemIOError, ENOSPC, -7, "%s %d", "wrote", 5),
      umemIOError);
  assert_int_equal(error.size, sizeof error);
  assert_status(error.type, umemIOError);
  assert_int_equal(error.sys_errno, ENOSPC);
  assert_int_equal(error.native, -7);
  assert_int_equal(error.bytes_done, 0);
  assert_true(all_bytes_are(error.reserved, sizeof error.reserved, 0));
  assert_string_equal(error.text,
                      "ENOSPC (28) No space left on device: wrote 5");
  umem_error_fill(&error, umemIOError, 0, 0, "%s", "no errno");
  assert_string_equal(error.text, "no errno");
  umem_error_fill(&error, umemIOError, 12345, 0, "%s", "strange");
  assert_string_equal(error.text, "errno 12345: strange");
}

static void error_fill__cuts_at_the_end(void **state) {
  (void)state;
  umemError error;
  size_t const last = sizeof error.text - 1;
  umem_error_fill(&error, umemIOError, 0, 0, "%s", text_of('x', 1000));
  assert_string_equal(error.text, text_of('x', last));
  umem_error_fill(&error, umemIOError, EIO, 0, "%s", text_of('x', 1000));
  assert_int_equal(strlen(error.text), last);
  assert_has(error.text, "EIO (5) Input/output error: xxx");
}

/* What a public call leaves that is called so and fails so. */
static void expect_text(char const *call_text, char const *reason,
                        char const *expected) {
  umemHost host;
  struct umemiCall call;
  assert_ok(umemHost_ctor(&host));
  umemi_begin(&call);
  umem_error_fill(&call.error, umemIOError, 0, 0, "%s", reason);
  assert_status(umemi_end(&call, umemIOError, &host, "%s", call_text),
                umemIOError);
  assert_string_equal(last_error(&host).text, expected);
  assert_string_equal(umem_get_message(&host), expected);
  assert_ok(umem_dtor(&host));
}

static void message__long_values_cannot_push_out_the_reason(void **state) {
  (void)state;
  size_t const size = sizeof((umemError *)NULL)->text;
  char expected[sizeof((umemError *)NULL)->text];
  expect_text("call(5)", "the reason", "call(5): the reason");
  snprintf(expected, size, "%s: the reason", text_of('x', size / 2 - 1));
  expect_text(text_of('x', 1000), "the reason", expected);
  snprintf(expected, size, "call(5): %s",
           text_of('r', size - sizeof "call(5): "));
  expect_text("call(5)", text_of('r', size - 1), expected);
}

static void message__keeps_the_reason_before_a_long_name(void **state) {
  (void)state;
  umemFile file;
  char name[3000];
  memset(name, 'n', sizeof name);
  for (size_t i = 0; i < sizeof name; i += 100)
    name[i] = '/';
  name[sizeof name - 1] = '\0';
  assert_status(umemFile_ctor(&file, name, "r"), umemIOError);
  assert_has(umem_get_message(&file), "umemFile_ctor(mode r): ENOENT (2) No "
                                      "such file or directory: open \"/nnn");
  assert_int_equal(strlen(last_error(&file).text),
                   sizeof last_error(&file).text - 1);
  assert_ok(umem_dtor(&file));
}

/* --- errno --------------------------------------------------------------- */

static void errno__is_neither_read_nor_changed(void **state) {
  (void)state;
  umemHost host;
  umemFile file;
  umemError error = {.size = sizeof error};
  assert_ok(umemHost_ctor(&host));
  no_memory();
  int const numbers[] = {0, EIO, 12345, -1};
  for (size_t i = 0; i < LENGTH(numbers); i++) {
    errno = numbers[i];
    umem_alloc(&host, 8);
    umem_calloc(&host, 8, 8);
    umem_free(NULL, 8);
    umem_set_status(&host, umemIOError, "x");
    umem_copy_last_error(&host, NULL);
    umem_copy_last_error(&host, &error);
    umem_get_message(&host);
    umem_is_ok(&host);
    umem_clean_status(&host);
    umemFile_ctor(&file, "/nonexistent/name", "r");
    umem_dtor(&file);
    assert_int_equal(errno, numbers[i]);
    assert_status(error.type, umemValueError);
    assert_int_equal(error.sys_errno, 0); /* of copy_last_error(NULL) */
  }
  assert_ok(umem_dtor(&host));
}

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(failure__before_the_library_is_loaded_is_told),
      cmocka_unit_test(failure__after_the_library_is_unloaded_is_told),
      cmocka_unit_test(no_key_of_threads__costs_no_status),
      /* These want a thread that has kept no text yet. */
      faulty_test(emergency_slots__are_32_and_come_back_on_clean),
      faulty_test(emergency_slots__append_as_others_do),
      faulty_test(emergency_slots__come_back_when_a_thread_ends),
      faulty_test(no_thread_end_to_watch__costs_no_status),
      faulty_test(no_memory_for_a_text__takes_an_emergency_slot),
      faulty_test(no_memory_for_a_text__does_not_cost_another_its_text),
      cmocka_unit_test(constructor__begins_with_a_clean_status),
      cmocka_unit_test(names__are_bare_and_never_null),
      cmocka_unit_test(status__of_a_new_context_is_ok_in_all_layers),
      cmocka_unit_test(failure__is_told_in_all_three_layers),
      cmocka_unit_test(failure__on_one_context_is_not_seen_on_another),
      cmocka_unit_test(slot__is_sticky_until_cleaned),
      cmocka_unit_test(slot__belongs_to_one_thread_and_the_count_to_all),
      cmocka_unit_test(failed_call__on_two_contexts_marks_both),
      cmocka_unit_test(message__appends_and_says_when_the_type_changes),
      cmocka_unit_test(message__that_just_fits_is_whole),
      cmocka_unit_test(message__that_does_not_fit_is_counted),
      cmocka_unit_test(message__change_of_type_counts_against_the_room),
      cmocka_unit_test(message__first_one_stays),
      cmocka_unit_test(message__of_a_user_is_cut_within_one_kibibyte),
      cmocka_unit_test(texts__of_the_last_16_failing_contexts_are_kept),
      cmocka_unit_test(texts__of_dead_contexts_are_the_first_to_go),
      cmocka_unit_test(message__may_be_read_after_others_took_its_place),
      cmocka_unit_test(slots__of_1024_contexts_are_kept_and_the_oldest_goes),
      cmocka_unit_test(slots__of_dead_contexts_go_first),
      cmocka_unit_test(last_errors__lose_their_text_but_not_their_numbers),
      cmocka_unit_test(set_status__does_not_count_as_a_failure),
      cmocka_unit_test(set_status__takes_null_and_its_own_message),
      cmocka_unit_test(set_status__is_no_format),
      cmocka_unit_test(set_status__refuses_types_that_do_not_exist),
      cmocka_unit_test(none__has_a_constant_status_and_is_not_written_to),
      cmocka_unit_test(failed_context__keeps_and_takes_status),
      cmocka_unit_test(dead_context__is_ok_until_it_is_used),
      cmocka_unit_test(dtor__that_fails_leaves_its_error_in_the_slot),
      cmocka_unit_test(copy_last_error__writes_as_much_as_the_caller_knows),
      cmocka_unit_test(copy_last_error__leaves_what_it_does_not_know),
      cmocka_unit_test(copy_last_error__refuses_null_and_impossible_sizes),
      cmocka_unit_test(error_fill__names_the_errno_and_resets_the_rest),
      cmocka_unit_test(error_fill__cuts_at_the_end),
      cmocka_unit_test(message__long_values_cannot_push_out_the_reason),
      cmocka_unit_test(message__keeps_the_reason_before_a_long_name),
      faulty_test(errno__is_neither_read_nor_changed),
  };
  if (argc > 1 && strcmp(argv[1], "early") == 0)
    return role_early();
  if (argc > 1)
    return strcmp(argv[1], "late") == 0 ? role_late() : role_no_key();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
