/* SPDX-License-Identifier: BSD-3-Clause */
/* kill -9: what was acknowledged is in the file, and an atomic file is the old
   one or the new one. */
#include "core.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECORD = 512, RECORDS_MAX = 100000, PIECES = 16, PIECE = 4096 };

struct child {
  pid_t pid;
  int acknowledgements; /* one byte for each */
};

static void write_record(umemHost *host, umemFile *file, size_t i, int ack) {
  unsigned char record[RECORD];
  random_bytes(record, RECORD, i);
  if (umem_copy_to(host, (uintptr_t)record, file, i * RECORD, RECORD) !=
          umemOK ||
      write(ack, "", 1) != 1)
    _exit(1);
}

/* Acknowledges each record that was copied; after `last` of them dies. */
static void write_records(int ack, size_t last) {
  umemHost host;
  umemFile file;
  if (umemHost_ctor(&host) != umemOK ||
      umemFile_ctor(&file, temp_path("records"), "w") != umemOK)
    _exit(1);
  for (size_t i = 0; i < last; i++)
    write_record(&host, &file, i, ack);
  raise(SIGKILL);
}

/* Replaces the file by PIECES pieces; acknowledges each, and the end. After
   `last` acknowledgements dies. */
static void replace(int ack, size_t last) {
  umemHost host;
  umemFile file;
  unsigned char piece[PIECE];
  umemFileOptions options = {.size = sizeof options, .flags = UMEM_FILE_ATOMIC};
  memset(piece, 'n', PIECE);
  if (umemHost_ctor(&host) != umemOK ||
      umemFile_ctor_ex(&file, temp_path("atomic"), "w", &options) != umemOK)
    _exit(1);
  for (size_t i = 0; i <= PIECES; i++) {
    if (i == last)
      raise(SIGKILL);
    umemStatusType status = i < PIECES ? umem_copy_to(&host, (uintptr_t)piece,
                                                      &file, i * PIECE, PIECE)
                                       : umem_dtor(&file);
    if (status != umemOK || write(ack, "", 1) != 1)
      _exit(1);
  }
  raise(SIGKILL);
}

static struct child start(void (*run)(int ack, size_t last), size_t last) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(60);
    close(ends[0]);
    run(ends[1], last);
    _exit(1);
  }
  close(ends[1]);
  return (struct child){pid, ends[0]};
}

/* Waits for `count` acknowledgements; returns how many there were, fewer if
   the child ended. */
static size_t await(struct child const *child, size_t count) {
  size_t got = 0;
  char byte;
  while (got < count && read(child->acknowledgements, &byte, 1) == 1)
    got++;
  return got;
}

/* Kills it, and returns how many acknowledgements there were after all. */
static size_t finish(struct child const *child, size_t got) {
  int status;
  kill(child->pid, SIGKILL);
  assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  got += await(child, SIZE_MAX);
  close(child->acknowledgements);
  return got;
}

static void expect_records(size_t count) {
  unsigned char expected[RECORD], got[RECORD];
  assert_true(count > 0);
  for (size_t i = 0; i < count; i++) {
    random_bytes(expected, RECORD, i);
    file_get(temp_path("records"), i * RECORD, got, RECORD);
    assert_memory_equal(got, expected, RECORD);
  }
}

static void records__that_were_acknowledged_survive_any_kill(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (size_t i = 0; i < scaled(200, 20); i++) {
    struct child child = start(write_records, RECORDS_MAX);
    size_t got = await(&child, 1 + random_below(&seed, 100));
    expect_records(finish(&child, got));
  }
}

static void records__survive_a_kill_right_after_the_last_one(void **state) {
  (void)state;
  for (size_t i = 0; i < scaled(50, 5); i++) {
    struct child child = start(write_records, i + 1);
    size_t got = await(&child, SIZE_MAX);
    assert_int_equal(finish(&child, got), i + 1);
    expect_records(i + 1);
    assert_int_equal(file_size(temp_path("records")), (i + 1) * RECORD);
  }
}

/* --- atomic replacement -------------------------------------------------- */

enum { OLD_SIZE = 3 * PIECE + 7, NEW_SIZE = PIECES * PIECE };

static void put_old(void) {
  unsigned char bytes[OLD_SIZE];
  memset(bytes, 'o', sizeof bytes);
  file_put(temp_path("atomic"), bytes, sizeof bytes);
}

/* True if the file is the new one, false if it is the old one. */
static bool is_new(void) {
  static unsigned char bytes[NEW_SIZE];
  uint64_t size = file_size(temp_path("atomic"));
  assert_true(size == OLD_SIZE || size == NEW_SIZE);
  file_get(temp_path("atomic"), 0, bytes, size);
  assert_true(all_bytes_are(bytes, size, size == NEW_SIZE ? 'n' : 'o'));
  return size == NEW_SIZE;
}

static void atomic__is_old_or_new_whenever_it_is_killed(void **state) {
  (void)state;
  for (size_t i = 0; i < scaled(51, 17); i++) {
    put_old();
    struct child child = start(replace, SIZE_MAX);
    size_t got = finish(&child, await(&child, i % (PIECES + 1)));
    bool published = is_new();
    if (got == PIECES + 1)
      assert_true(published); /* dtor had returned */
    if (got < PIECES)
      assert_false(published); /* dtor was not yet called */
  }
}

static void atomic__is_old_until_dtor_and_new_from_then_on(void **state) {
  (void)state;
  for (size_t last = 0; last <= PIECES + 1; last++) {
    put_old();
    struct child child = start(replace, last);
    size_t got = await(&child, SIZE_MAX);
    assert_int_equal(finish(&child, got), last);
    assert_int_equal(is_new(), last == PIECES + 1);
  }
}

/* Has the system files without a name? */
static bool has_nameless_files(void) {
  int fd = open(temp_dir(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
  if (fd >= 0)
    close(fd);
  return fd >= 0 && access("/proc/self/fd", F_OK) == 0;
}

static int names_in_temp_dir(void) {
  DIR *list = opendir(temp_dir());
  int count = 0;
  assert_non_null(list);
  while (readdir(list))
    count++;
  closedir(list);
  return count;
}

static void atomic__of_a_killed_process_leaves_no_name(void **state) {
  (void)state;
  if (!has_nameless_files())
    skip();
  put_old();
  int names = names_in_temp_dir();
  for (size_t last = 0; last <= PIECES + 1; last++) {
    struct child child = start(replace, last);
    finish(&child, await(&child, SIZE_MAX));
    assert_int_equal(names_in_temp_dir(), names);
  }
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(records__that_were_acknowledged_survive_any_kill),
      cmocka_unit_test(records__survive_a_kill_right_after_the_last_one),
      cmocka_unit_test(atomic__is_old_or_new_whenever_it_is_killed),
      cmocka_unit_test(atomic__is_old_until_dtor_and_new_from_then_on),
      cmocka_unit_test(atomic__of_a_killed_process_leaves_no_name),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
