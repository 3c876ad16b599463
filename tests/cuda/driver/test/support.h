/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the simulated driver share. */
#ifndef UMEM_TESTS_SIMCU_SUPPORT_H
#define UMEM_TESTS_SIMCU_SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pipe2 */
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../client.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#define LENGTH(array) (sizeof(array) / sizeof *(array))

enum { NBYTES = 5000, SEEDS = 5, MIB = 1 << 20 };
enum { CORRUPT = 42, SEGV = 128 + SIGSEGV };

/* The driver, what driver_begin() retains, and memory of the host. */
extern struct client c;
extern cuContext primary[2];
extern unsigned char host[NBYTES];

/* The parts of the program: how many tests failed. */
int memory_part(void);
int time_part(void);
int failures_part(void);
int contexts_part(void);
int pools_part(void);
int capture_part(void);
int lives_part(void);
int registered_part(void);
int ipc_part(void);
int chunks_part(void);
int created_part(void);
int rectangles_part(void);

/* --- results ------------------------------------------------------------- */

#define ok(call) assert_int_equal(call, UMEMI_CUDA_SUCCESS)
#define fails(call, code) assert_int_equal(call, UMEMI_CUDA_ERROR_##code)

/* There was exactly one violation since the last time, and it says so. */
#define violates(part) expect_violation(part, __FILE__, __LINE__)
void expect_violation(char const *part, char const *file, int line);

/* A test that begins with both primary contexts, the first of them current, and
   ends with nothing left and nothing found that it did not expect. */
#define in_contexts(test)                                                      \
  cmocka_unit_test_setup_teardown(test, driver_begin, driver_end)
int driver_begin(void **state);
int driver_end(void **state);

/* --- calls that do not fail ------------------------------------------------
 */

cuAddress allocated(size_t nbytes);
unsigned char *pinned(size_t nbytes);
cuStream new_stream(unsigned flags);
cuEvent new_event(void);
/* The byte that is in a device now. */
int byte_at(cuAddress adr);

/* --- runs ------------------------------------------------------------------
 */

/* Eager, some random ones, lazy. */
void each_mode(void (*run)(void));
/* What a forked child exits with, or 128 + the signal that ended it. */
int in_child(int (*run)(void));

/* "SIMCU_X=value": what again() puts in place of this process's ones. */
extern char settings[4][64];
/* Strict, and with this mode. */
void set_mode(char const *mode, unsigned seed);
/* Runs this program in a role, with an argument or NULL; what it wrote is in
   `told`. */
int again(char const *role, char const *argument);
extern char told[8192];

#endif
