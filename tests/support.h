/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all tests share: a private directory, known bytes, checks of results.
 * Uses the public interface alone, so that it goes with either library.
 */
#ifndef UMEM_TESTS_SUPPORT_H
#define UMEM_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "umem.h"

/* --- results ------------------------------------------------------------- */

/* The status is exactly `expected`; a failure prints both names. */
#define assert_status(call, expected)                                          \
  support_status((call), (expected), #call, __FILE__, __LINE__)
#define assert_ok(call) assert_status(call, umemOK)

/* `text` contains `part`; a failure prints both. */
#define assert_has(text, part) support_has((text), (part), __FILE__, __LINE__)

/* This thread's status of `ctx` is `expected` and its message contains `part`;
   then the status is cleaned. */
#define assert_slot(ctx, expected, part)                                       \
  support_slot((ctx), (expected), (part), __FILE__, __LINE__)

/* One failing call, checked in layers 1 and 2. */
#define assert_fails(ctx, call, expected, part)                                \
  do {                                                                         \
    assert_status(call, expected);                                             \
    assert_slot(ctx, expected, part);                                          \
  } while (0)

/* The same for calls that return 0 on failure. */
#define assert_zero_fails(ctx, call, expected, part)                           \
  do {                                                                         \
    assert_true((call) == 0);                                                  \
    assert_slot(ctx, expected, part);                                          \
  } while (0)

void support_status(umemStatusType got, umemStatusType expected,
                    char const *call, char const *file, int line);
void support_has(char const *text, char const *part, char const *file,
                 int line);
void support_slot(void const *ctx, umemStatusType expected, char const *part,
                  char const *file, int line);

/* The last failure of `ctx` in any thread, with everything known about it. */
umemError last_error(void const *ctx);

/* --- bytes --------------------------------------------------------------- */

/* The next number of a sequence that `state` alone decides. */
uint64_t random_next(uint64_t *state);
/* 0 .. below - 1. */
uint64_t random_below(uint64_t *state, uint64_t below);
/* The same bytes for the same seed, on every machine. */
void random_bytes(void *out, size_t nbytes, uint64_t seed);
/* Are all bytes `value`? */
bool all_bytes_are(void const *bytes, size_t nbytes, unsigned char value);

/* --- files --------------------------------------------------------------- */

/* Group fixtures: a private directory under $TMPDIR or /tmp, and its removal
   with all that is in it. */
int temp_setup(void **state);
int temp_teardown(void **state);
/* Its name. */
char const *temp_dir(void);
/* `name` in it. One of 16 buffers that take turns. */
char const *temp_path(char const *name);

/* What is in a file, by its name: past the library under test. */
void file_put(char const *path, void const *bytes, size_t nbytes);
/* Exactly `nbytes` bytes from `at`. */
void file_get(char const *path, size_t at, void *out, size_t nbytes);
uint64_t file_size(char const *path);
bool file_exists(char const *path);

/* --- the run ------------------------------------------------------------- */

/* Sanitizers and processes with threads that fork: ThreadSanitizer cannot, and
   AddressSanitizer may leave its allocator locked in the child. */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
enum { UNDER_TSAN = 1 };
#else
enum { UNDER_TSAN = 0 };
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
enum { UNDER_ASAN = 1 };
#else
enum { UNDER_ASAN = 0 };
#endif

/* Descriptors that this process has open. */
int open_descriptors(void);
/* Threads that it has. */
int running_threads(void);
/* Milliseconds since some moment. */
uint64_t milliseconds(void);
void sleep_milliseconds(unsigned milliseconds);
bool is_under_valgrind(void);
/* Ends a child as _exit() or raise() would, but keeps what a coverage build has
   counted in it. */
_Noreturn void end_in_child(int status);
_Noreturn void end_in_child_by(int number);
/* Runs this very program again, as `role` (its only argument) and with
   `setting`, a "NAME=value" or NULL, in its environment. Returns its exit
   status, -1 if it was ended by a signal; `told` is what it wrote to stdout and
   stderr. */
int run_again(char const *role, char const *setting, char *told, size_t size);
/* Checks that a child that destroys its parent's ATOMIC file publishes and
   removes nothing. `run_in_child` runs a function in a child and returns its
   result. Needs a private directory. */
void check_child_publishes_nothing(bool (*run_in_child)(bool (*run)(void)));
/* `natively`, or `slowly` under a sanitizer or valgrind (UMEM_TEST_SLOW=1). */
size_t scaled(size_t natively, size_t slowly);

#endif
