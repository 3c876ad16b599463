/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fakes files of /sys and /proc. After the first show() all others are missing.
 * faults_install() puts the real ones back: call it before.
 */
#ifndef UMEM_TESTS_SHOWN_H
#define UMEM_TESTS_SHOWN_H

/* The last text for a path is used. Both strings must stay valid until the test
   ends. */
void show(char const *path, char const *text);

/* A test that shows files, and may install faults. */
#define shown_test(f) cmocka_unit_test_teardown(f, shown_teardown)
int shown_teardown(void **state);

#endif
