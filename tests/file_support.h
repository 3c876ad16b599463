/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of files share: faults around each test, texts, children. */
#ifndef UMEM_TESTS_FILE_SUPPORT_H
#define UMEM_TESTS_FILE_SUPPORT_H

#include "doubles/faults.h"
#include "internal.h"
#include "support.h"

#include <dirent.h>
#include <sys/wait.h>

/* Around each test: faults are in front of the table, and no descriptor may be
   left behind. */
static inline int faults_setup(void **state) {
  static int descriptors;
  descriptors = open_descriptors();
  *state = &descriptors;
  faults_install();
  return 0;
}

static inline int faults_teardown(void **state) {
  int const *descriptors = *state;
  faults_reset();
  if (open_descriptors() == *descriptors)
    return 0;
  print_error("%d descriptors were open, now %d are\n", *descriptors,
              open_descriptors());
  return -1;
}

#define faulty_test(test)                                                      \
  cmocka_unit_test_setup_teardown(test, faults_setup, faults_teardown)

/* A fresh name in the private directory each time. */
static inline char const *new_path(void) {
  static unsigned number;
  char name[32];
  snprintf(name, sizeof name, "new-%u", number++);
  return temp_path(name);
}

/* A file of a new name that is exactly this text. */
static inline char const *file_with(char const *text) {
  char const *name = new_path();
  file_put(name, text, strlen(text));
  return name;
}

/* A live File; a constructor that fails says why. */
static inline void file_open_ex(umemFile *f, char const *name, char const *mode,
                                umemFileOptions options) {
  options.size = sizeof options;
  if (umemFile_ctor_ex(f, name, mode, &options) != umemOK)
    fail_msg("%s", umem_get_message(f));
}

static inline void file_open(umemFile *f, char const *name, char const *mode) {
  file_open_ex(f, name, mode, (umemFileOptions){.size = 0});
}

static inline umemStatusType open_flagged(umemFile *f, char const *name,
                                          char const *mode, uint32_t flags) {
  umemFileOptions options = {.size = sizeof options, .flags = flags};
  return umemFile_ctor_ex(f, name, mode, &options);
}

/* A constructor fails, says why, and leaves a context that can be destroyed. */
#define assert_ctor_fails(f, call, expected, part)                             \
  do {                                                                         \
    assert_fails(f, call, expected, part);                                     \
    assert_status(umem_flush(f), umemTypeError);                               \
    assert_ok(umem_dtor(f));                                                   \
  } while (0)

/* Puts a text, without its end, into a File at `at`. */
static inline umemStatusType write_text(umemFile *f, uintptr_t at,
                                        char const *text) {
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  umemStatusType status =
      umem_copy_to(&host, (uintptr_t)text, f, at, strlen(text));
  assert_ok(umem_dtor(&host));
  return status;
}

static inline umemStatusType read_bytes(umemFile *f, uintptr_t at, void *out,
                                        size_t nbytes) {
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  umemStatusType status = umem_copy_to(f, at, &host, (uintptr_t)out, nbytes);
  assert_ok(umem_dtor(&host));
  return status;
}

/* A file of a name is exactly this text. */
#define assert_file_is(name, text)                                             \
  check_file((name), (text), __FILE__, __LINE__)

static inline void check_file(char const *name, char const *text,
                              char const *file, int line) {
  char found[256] = "";
  size_t size = file_size(name);
  _assert_true(size < sizeof found, "a small file", file, line);
  file_get(name, 0, found, size);
  _assert_string_equal(found, text, file, line);
}

/* How many names are in a directory. */
static inline int names_in(char const *path) {
  DIR *list = opendir(path);
  int count = 0;
  assert_non_null(list);
  while (readdir(list))
    count++;
  closedir(list);
  return count - 2; /* "." and ".." */
}

/* Runs `body` in a forked child, where a failing assertion aborts; returns the
   child's exit status. A body that returns exits with 0. */
static inline int in_child(void (*body)(void)) {
  int status;
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    body();
    exit(0);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!WIFEXITED(status))
    fail_msg("the child was ended by signal %d", WTERMSIG(status));
  return WEXITSTATUS(status);
}

#define assert_child_succeeds(body) assert_int_equal(in_child(body), 0)

#endif
