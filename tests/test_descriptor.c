/* SPDX-License-Identifier: BSD-3-Clause */
/* src/descriptor.c: no descriptor of the library takes the place of a standard
   stream, whichever of them a program was started without. */
#include "file_support.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

enum { STREAMS = STDERR_FILENO + 1 };

static bool is_open(int fd) {
  return fcntl(fd, F_GETFD) >= 0;
}

/* Tests run in a child without standard streams, where a failure aborts. */
static void check_no_streams(void) {
  for (int fd = 0; fd < STREAMS; fd++)
    assert_false(is_open(fd));
}

static void close_streams(void) {
  for (int fd = 0; fd < STREAMS; fd++)
    close(fd);
}

static void check_one(char const *name, char const *mode, uint32_t flags) {
  umemFile f;
  umemStatusType status = open_flagged(&f, name, mode, flags);
  assert_true(status == umemOK ||
              (flags & UMEM_FILE_DIRECT && status == umemNotSupportedError));
  check_no_streams();
  if (status == umemOK)
    assert_ok(umem_flush(&f));
  check_no_streams();
  assert_ok(umem_dtor(&f));
}

static char const *link_to_nothing;

static void open_files(void) {
  static char const *const modes[] = {"r", "r+", "w", "w+", "a", "a+"};
  close_streams();
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    char const *name = modes[i][0] == 'r' ? file_with("sample") : new_path();
    check_one(name, modes[i], 0);
    check_one(name, modes[i], UMEM_FILE_DIRECT);
  }
  check_one(new_path(), "w", UMEM_FILE_ATOMIC);
  check_one(file_with("old"), "w", UMEM_FILE_ATOMIC | UMEM_FILE_DIRECT);
  check_one(link_to_nothing, "w", 0);
}

static void stream__is_no_number_of_a_File(void **state) {
  (void)state;
  link_to_nothing = new_path();
  assert_int_equal(symlink(new_path(), link_to_nothing), 0);
  assert_child_succeeds(open_files);
}

static int open_without_proc(char const *path, int flags, ...) {
  if (strncmp(path, "/proc/", 6) != 0)
    return open(path, flags, 0666);
  errno = ENOENT;
  return -1;
}

static void stream__is_no_number_without_proc(void **state) {
  (void)state;
  link_to_nothing = new_path();
  umemi_os.open = open_without_proc;
  assert_child_succeeds(open_files);
}

static void map_files(void) {
  umemMMap map;
  close_streams();
  assert_ok(umemMMap_ctor(&map, new_path(), "w+"));
  check_no_streams();
  assert_ok(umem_dtor(&map));
}

static void stream__is_no_number_of_a_MMap(void **state) {
  (void)state;
  assert_child_succeeds(map_files);
}

/* Not even for a moment: another thread may be writing to its "stderr". */
static int watching_fstatvfs(int fd, struct statvfs *fs) {
  check_no_streams();
  return fstatvfs(fd, fs);
}

static ssize_t watching_pread(int fd, void *out, size_t nbytes, off_t at) {
  check_no_streams();
  return pread(fd, out, nbytes, at);
}

static void ask(void) {
  umemDeviceInfo info = {.size = sizeof info};
  char text[64];
  close_streams();
  umemi_os.fstatvfs = watching_fstatvfs;
  umemi_os.pread = watching_pread;
  assert_ok(umem_device_info(umemFileDevice, 0, &info));
  assert_ok(umem_device_info(umemHostDevice, 0, &info));
  umemi_read_text("/proc/self/stat", text, sizeof text);
}

static void stream__is_no_number_of_a_question(void **state) {
  (void)state;
  assert_child_succeeds(ask);
}

static void keep(void) {
  close_streams();
  assert_int_equal(umemi_keep_fd(-1), -1);
  faults_fail(FAULT_fcntl, 1, EMFILE);
  int low = open(temp_dir(), O_RDONLY | O_CLOEXEC);
  assert_int_equal(low, 0);
  assert_int_equal(umemi_keep_fd(low), -1);
  assert_int_equal(errno, EMFILE);
  check_no_streams();
  int high = umemi_keep_fd(open(temp_dir(), O_RDONLY | O_CLOEXEC));
  assert_true(high >= STREAMS);
  assert_true(fcntl(high, F_GETFD) & FD_CLOEXEC);
  assert_int_equal(umemi_keep_fd(high), high);
  close(high);
}

static void keep_fd__moves_or_closes(void **state) {
  (void)state;
  assert_child_succeeds(keep);
}

static void fail_to_keep(void) {
  umemFile f;
  char const *name = temp_path("kept");
  close_streams();
  for (unsigned k = 1; k < 5; k++) {
    faults_clear();
    faults_fail(FAULT_fcntl, k, EMFILE);
    if (umemFile_ctor(&f, name, "w") != umemOK)
      assert_false(file_exists(name));
    faults_clear();
    assert_ok(umem_dtor(&f));
    unlink(name);
    check_no_streams();
  }
}

static void keep_fd__that_fails_leaves_no_file(void **state) {
  (void)state;
  assert_child_succeeds(fail_to_keep);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(stream__is_no_number_of_a_File),
      faulty_test(stream__is_no_number_without_proc),
      faulty_test(stream__is_no_number_of_a_MMap),
      faulty_test(stream__is_no_number_of_a_question),
      faulty_test(keep_fd__moves_or_closes),
      faulty_test(keep_fd__that_fails_leaves_no_file),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
