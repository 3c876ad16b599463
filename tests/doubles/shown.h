/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the system is made to say of itself: files of /sys and /proc with texts
 * that a test chooses. From the first show() on the library finds no others
 * there.
 */
#ifndef UMEM_TESTS_SHOWN_H
#define UMEM_TESTS_SHOWN_H

/* The last text of a path counts. Both have to live until the test ends. */
void show(char const *path, char const *text);

/* A test that shows files, and may install faults. */
#define shown_test(f) cmocka_unit_test_teardown(f, shown_teardown)
int shown_teardown(void **state);

#endif
