/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies between files that share extents: on file systems of our own, in loop
 * devices, which takes root, their mkfs and their driver. What is not there is
 * skipped, and told.
 */
#include "file_support.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

enum { KIB = 1 << 10, MIB = 1 << 20, PAGE = 4096, SKIPPED = 77 };

/* --- a file system -------------------------------------------------------- */

static char image[512], disk[512];

/* Runs a program of the system, silently; true if it succeeded. */
static bool run(char const *program, char const *a, char const *b,
                char const *c, char const *d) {
  int status;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    int null = open("/dev/null", O_RDWR);
    dup2(null, 1);
    dup2(null, 2);
    execlp(program, program, a, b, c, d, (char *)NULL);
    _exit(127);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Of the kind, on an image file; in a mount namespace of this process. */
static bool disk_mount(char const *kind) {
  char mkfs[32];
  snprintf(mkfs, sizeof mkfs, "mkfs.%s", kind);
  snprintf(image, sizeof image, "%s", temp_path("image"));
  snprintf(disk, sizeof disk, "%s", temp_path("disk"));
  file_put(image, "", 0);
  assert_int_equal(truncate(image, (off_t)400 * MIB), 0);
  mkdir(disk, 0700);
  return run(mkfs, "-q", image, NULL, NULL) && unshare(CLONE_NEWNS) == 0 &&
         mount("", "/", "", MS_REC | MS_PRIVATE, NULL) == 0 &&
         run("mount", "-o", "loop", image, disk);
}

static char const *on_disk(char const *name) {
  static char names[8][600];
  static unsigned turn;
  char *path = names[turn++ % 8];
  snprintf(path, sizeof *names, "%s/%s", disk, name);
  return path;
}

/* --- what is shared ------------------------------------------------------- */

/* Bytes of a file that are in extents which other files have, too. */
static uint64_t shared_bytes(char const *name) {
  static union {
    struct fiemap map;
    char room[sizeof(struct fiemap) + 512 * sizeof(struct fiemap_extent)];
  } u;
  uint64_t shared = 0;
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  memset(&u, 0, sizeof u);
  u.map.fm_length = FIEMAP_MAX_OFFSET;
  u.map.fm_flags = FIEMAP_FLAG_SYNC;
  u.map.fm_extent_count = 512;
  assert_int_equal(ioctl(fd, FS_IOC_FIEMAP, &u.map), 0);
  for (unsigned i = 0; i < u.map.fm_mapped_extents; i++)
    if (u.map.fm_extents[i].fe_flags & FIEMAP_EXTENT_SHARED)
      shared += u.map.fm_extents[i].fe_length;
  close(fd);
  return shared;
}

enum { BYTES = 8 * MIB };

static unsigned char *bytes, *found;

/* A file "source" of BYTES known bytes, and an empty one, "target". */
static void begin(umemFile *f, umemFile *g) {
  file_put(on_disk("source"), bytes, BYTES);
  file_put(on_disk("target"), "", 0);
  file_open(f, on_disk("source"), "r");
  file_open(g, on_disk("target"), "r+");
  faults_clear();
}

static void end(umemFile *f, umemFile *g) {
  umem_clean_status(f);
  umem_clean_status(g);
  assert_ok(umem_dtor(f));
  assert_ok(umem_dtor(g));
}

static void expect_target(size_t to, size_t from, size_t nbytes) {
  file_get(on_disk("target"), to, found, nbytes);
  assert_int_equal(memcmp(found, bytes + from, nbytes), 0);
}

/* --- what holds ----------------------------------------------------------- */

static void copy_of_whole_files_shares_them(void) {
  umemFile f, g;
  begin(&f, &g);
  assert_ok(umem_copy_to(&f, 0, &g, 0, BYTES));
  assert_string_equal(faults_trace(), "fstatfs ioctl");
  assert_true(shared_bytes(on_disk("target")) >= BYTES);
  assert_ok(write_text(&g, 1000, "changed")); /* in one of them */
  expect_target(0, 0, 1000);
  expect_target(1007, 1007, BYTES - 1007);
  file_get(on_disk("source"), 0, found, BYTES);
  assert_int_equal(memcmp(found, bytes, BYTES), 0);
  end(&f, &g);
}

static void plan_says_so(void) {
  umemFile f, g;
  umemCopyPlan plan = {.size = sizeof plan};
  begin(&f, &g);
  assert_ok(umem_copy_plan(&f, 0, &g, 0, BYTES, &plan));
  assert_int_equal(plan.rung, umemDirectRung);
  assert_string_equal(plan.method, "reflink");
  assert_int_equal(plan.staging, 0);
  end(&f, &g);
}

static void copy_of_blocks_in_the_middle_shares_them(void) {
  umemFile f, g;
  begin(&f, &g);
  assert_ok(umem_copy_to(&f, 5 * PAGE, &g, 9 * PAGE, 100 * PAGE));
  assert_string_equal(faults_trace(), "fstatfs ioctl");
  expect_target(9 * PAGE, 5 * PAGE, 100 * PAGE);
  assert_true(shared_bytes(on_disk("target")) >= 100 * PAGE);
  assert_int_equal(file_size(on_disk("target")), 109 * PAGE);
  end(&f, &g);
}

/* What the system will not share is copied; and what it will is shared after
   that. */
static void copy_of_odd_bytes_is_a_copy(void) {
  static size_t const odd[][3] = {/* from, to, bytes */
                                  {1, 0, MIB},
                                  {0, 1, MIB},
                                  {513, 513, MIB + 1},
                                  {0, 0, 2 * MIB + 1},
                                  {PAGE, 0, MIB - 1}};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    umemFile f, g;
    size_t const from = odd[i][0], to = odd[i][1], n = odd[i][2];
    begin(&f, &g);
    assert_int_equal(umem_set(&g, 0, 'x', 4 * MIB), 0);
    assert_ok(umem_copy_to(&f, from, &g, to, n));
    expect_target(to, from, n);
    file_get(on_disk("target"), 0, found, 4 * MIB);
    assert_true(all_bytes_are(found, to, 'x'));
    assert_true(all_bytes_are(found + to + n, 4 * MIB - to - n, 'x'));
    assert_ok(umem_copy_to(&f, 0, &g, 0, 4 * MIB));
    assert_true(shared_bytes(on_disk("target")) >= 4 * MIB);
    end(&f, &g);
  }
}

static void copy_to_the_end_of_the_source_may_end_oddly(void) {
  umemFile f, g;
  begin(&f, &g);
  assert_int_equal(truncate(on_disk("source"), BYTES - 77), 0);
  assert_ok(umem_copy_to(&f, PAGE, &g, 0, BYTES - 77 - PAGE));
  assert_string_equal(faults_trace(), "fstatfs ioctl");
  expect_target(0, PAGE, BYTES - 77 - PAGE);
  assert_int_equal(file_size(on_disk("target")), BYTES - 77 - PAGE);
  end(&f, &g);
}

static void copy_of_a_little_asks_nobody(void) {
  umemFile f, g;
  begin(&f, &g);
  assert_ok(umem_copy_to(&f, 0, &g, 0, 64 * KIB - 1));
  assert_int_equal(faults_count(FAULT_ioctl), 0);
  assert_ok(umem_copy_to(&f, 0, &g, 0, 64 * KIB));
  assert_int_equal(faults_count(FAULT_ioctl), 1);
  expect_target(0, 0, 64 * KIB);
  end(&f, &g);
}

static void copy_past_the_end_of_the_source_is_exact(void) {
  umemFile f, g;
  begin(&f, &g);
  assert_status(umem_copy_to(&f, PAGE, &g, 0, BYTES), umemIOError);
  assert_slot(&g, umemIOError, "the file ends there");
  size_t done = (size_t)last_error(&g).bytes_done;
  assert_true(done <= BYTES - PAGE && done > BYTES - PAGE - MIB);
  expect_target(0, PAGE, done);
  end(&f, &g);
}

/* 0 ... n to `to` ... in one file that shares with itself, or is moved. */
static void check_inside(size_t to, size_t n) {
  umemFile f, g;
  begin(&f, &g);
  assert_ok(umem_copy_to(&f, 0, &g, 0, BYTES));
  unsigned char *expected = malloc((size_t)2 * BYTES);
  assert_non_null(expected);
  memcpy(expected, bytes, BYTES);
  memmove(expected + to, expected, n);
  assert_ok(umem_copy_to(&g, 0, &g, to, n));
  size_t const size = to + n > BYTES ? to + n : BYTES;
  assert_int_equal(file_size(on_disk("target")), size);
  unsigned char *now = malloc(size);
  assert_non_null(now);
  file_get(on_disk("target"), 0, now, size);
  assert_int_equal(memcmp(now, expected, size), 0);
  free(now);
  free(expected);
  end(&f, &g);
}

static void copy_within_a_file_is_memmove(void) {
  check_inside(BYTES, BYTES);
  check_inside(4 * MIB, 4 * MIB);
  check_inside(PAGE, 4 * MIB);
  check_inside(MIB + 1, 4 * MIB);
  check_inside(0, BYTES);
}

static void copy_that_is_interrupted_or_refused_is_a_copy(void) {
  static int const errors[] = {EINTR,   EINVAL, EXDEV,  ENOSPC,
                               EIO,     EPERM,  EBADF,  EISDIR,
                               ETXTBSY, EAGAIN, ENOTTY, EOPNOTSUPP};
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    umemFile f, g;
    begin(&f, &g);
    faults_fail(FAULT_ioctl, 1, errors[i]);
    assert_ok(umem_copy_to(&f, 0, &g, 0, BYTES));
    expect_target(0, 0, BYTES);
    faults_clear();
    assert_ok(umem_copy_to(&f, 0, &g, 0, BYTES));
    bool for_good = errors[i] == ENOTTY || errors[i] == EOPNOTSUPP;
    assert_int_equal(faults_count(FAULT_ioctl), !for_good);
    end(&f, &g);
  }
}

static void copy_past_the_limit_of_file_sizes_is_told(void) {
  umemFile f, g;
  struct rlimit old, limit;
  begin(&f, &g);
  assert_ok(umem_dtor(&g));
  signal(SIGXFSZ, SIG_DFL);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  limit = (struct rlimit){2 * MIB + 1000, old.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  file_open(&g, on_disk("target"), "r+");
  assert_status(umem_copy_to(&f, 0, &g, 0, BYTES), umemIOError);
  assert_slot(&g, umemIOError, "EFBIG (27)");
  assert_int_equal(last_error(&g).bytes_done, 2 * MIB + 1000);
  expect_target(0, 0, 2 * MIB + 1000);
  assert_ok(umem_copy_to(&f, 0, &g, 0, 2 * MIB));
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  end(&f, &g);
}

static void copy_to_another_file_system_is_a_copy(void) {
  umemFile f, g;
  char const *other = temp_path("other");
  begin(&f, &g);
  assert_ok(umem_dtor(&g));
  file_open(&g, other, "w");
  assert_ok(umem_copy_to(&f, 0, &g, 0, BYTES));
  file_get(other, 0, found, BYTES);
  assert_int_equal(memcmp(found, bytes, BYTES), 0);
  end(&f, &g);
}

static void copy_of_holes_has_holes(void) {
  umemFile f, g;
  struct stat st;
  begin(&f, &g);
  assert_int_equal(truncate(on_disk("source"), (off_t)64 * MIB), 0);
  assert_ok(umem_copy_to(&f, 0, &g, 0, 64 * MIB));
  expect_target(0, 0, BYTES);
  assert_int_equal(stat(on_disk("target"), &st), 0);
  assert_int_equal(st.st_size, 64 * MIB);
  assert_true(st.st_blocks * 512 <= 2 * BYTES);
  end(&f, &g);
}

/* More of them than the disk has room for, on bytes that cannot be shared. */
static void copy_of_holes_on_odd_bytes_has_holes(void) {
  umemFile f, g;
  struct stat st;
  size_t const n = (size_t)2048 * MIB;
  begin(&f, &g);
  assert_int_equal(truncate(on_disk("source"), (off_t)3000 * MIB), 0);
  for (int i = 0; i < 2; i++)
    assert_ok(umem_copy_to(&f, 4 * MIB - 3, &g, 1, n));
  expect_target(1, 4 * MIB - 3, 4 * MIB + 3);
  assert_int_equal(stat(on_disk("target"), &st), 0);
  assert_int_equal(st.st_size, n + 1);
  assert_true(st.st_blocks * 512 <= BYTES);
  assert_ok(umem_copy_to(&g, 4 * MIB + 1, &g, 2, n - 4 * MIB)); /* down */
  assert_int_equal(stat(on_disk("target"), &st), 0);
  assert_true(st.st_blocks * 512 <= BYTES);
  end(&f, &g);
}

static void copy_by_direct_files_shares_as_well(void) {
  umemFile f, g;
  begin(&f, &g);
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&g));
  file_open_ex(&f, on_disk("source"), "r",
               (umemFileOptions){.flags = UMEM_FILE_DIRECT});
  file_open_ex(&g, on_disk("target"), "r+",
               (umemFileOptions){.flags = UMEM_FILE_DIRECT});
  assert_ok(umem_copy_to(&f, 0, &g, 0, BYTES));
  assert_true(shared_bytes(on_disk("target")) >= BYTES);
  expect_target(0, 0, BYTES);
  end(&f, &g);
}

static void copy_to_an_atomic_file_shares_and_is_published(void) {
  umemFile f, g;
  begin(&f, &g);
  assert_ok(umem_dtor(&g));
  file_open_ex(&g, on_disk("target"), "w",
               (umemFileOptions){.flags = UMEM_FILE_ATOMIC});
  assert_ok(umem_copy_to(&f, 0, &g, 0, BYTES));
  end(&f, &g);
  expect_target(0, 0, BYTES);
  assert_true(shared_bytes(on_disk("target")) >= BYTES);
}

static void protected_bytes_are_not_shared_over(void) {
  umemFile f, g;
  begin(&f, &g);
  assert_ok(umem_dtor(&g));
  file_put(on_disk("target"), "old", 3);
  file_open(&g, on_disk("target"), "a");
  assert_status(umem_copy_to(&f, 0, &g, 0, BYTES), umemValueError);
  assert_int_equal(file_size(on_disk("target")), 3);
  assert_ok(umem_copy_to(&f, 0, &g, PAGE, BYTES)); /* behind them */
  expect_target(PAGE, 0, BYTES);
  end(&f, &g);
}

/* --- on each kind of file system ------------------------------------------ */

static char const *kind;

static void all_of_it(void) {
  static void (*const checks[])(void) = {
      copy_of_whole_files_shares_them,
      plan_says_so,
      copy_of_blocks_in_the_middle_shares_them,
      copy_of_odd_bytes_is_a_copy,
      copy_to_the_end_of_the_source_may_end_oddly,
      copy_of_a_little_asks_nobody,
      copy_past_the_end_of_the_source_is_exact,
      copy_within_a_file_is_memmove,
      copy_that_is_interrupted_or_refused_is_a_copy,
      copy_past_the_limit_of_file_sizes_is_told,
      copy_to_another_file_system_is_a_copy,
      copy_of_holes_has_holes,
      copy_of_holes_on_odd_bytes_has_holes,
      copy_by_direct_files_shares_as_well,
      copy_to_an_atomic_file_shares_and_is_published,
      protected_bytes_are_not_shared_over,
  };
  bytes = malloc(BYTES);
  found = malloc(BYTES);
  assert_true(bytes && found);
  random_bytes(bytes, BYTES, 9);
  if (!disk_mount(kind))
    exit(SKIPPED);
  assert_ok(umem_set_threads(1));
  for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
    checks[i]();
  assert_ok(umem_set_threads(0));
  assert_int_equal(umount(disk), 0);
  umemi_slots_drop();
  free(bytes);
  free(found);
}

static void check_on(char const *this_kind) {
  kind = this_kind;
  int result = in_child(all_of_it);
  unlink(temp_path("image"));
  unlink(temp_path("other"));
  rmdir(temp_path("disk"));
  if (result == SKIPPED) {
    print_message("no %s here: needs mkfs.%s, its driver, a free /dev/loop*, "
                  "and the right to mount\n",
                  kind, kind);
    skip();
  }
  assert_int_equal(result, 0);
}

static void btrfs__files_share_what_is_copied(void **state) {
  (void)state;
  check_on("btrfs");
}

static void xfs__files_share_what_is_copied(void **state) {
  (void)state;
  check_on("xfs");
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(btrfs__files_share_what_is_copied),
      faulty_test(xfs__files_share_what_is_copied),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
