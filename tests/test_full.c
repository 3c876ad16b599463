/* SPDX-License-Identifier: BSD-3-Clause */
/* Large copies whose destination is full, or whose source ends, midway: alone
   and with helpers. */
#include "file_support.h"

#include "doubles/fake.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>

enum {
  MIB = 1 << 20,
  SKIPPED = 77,
  NBYTES = 6 * MIB + 13,
  AT = 100,
  GUARD = 50
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* --- a copy of NBYTES bytes to a File ------------------------------------- */

enum way { FROM_HOST, FROM_FILE, FROM_FAKE, WAYS };

static char const *const way_names[] = {"Host", "File", "Fake"};

static struct {
  umemHost host;
  umemFile file, dest;
  struct fakeOne fake;
  unsigned char *bytes; /* of all sources */
  char source[512], target[512];
} w;

static void world_begin(char const *target) {
  w.bytes = malloc(NBYTES);
  assert_non_null(w.bytes);
  random_bytes(w.bytes, NBYTES, 4);
  snprintf(w.source, sizeof w.source, "%s", temp_path("source"));
  snprintf(w.target, sizeof w.target, "%s", target);
  file_put(w.source, w.bytes, NBYTES);
  file_put(w.target, "", 0);
  assert_ok(umemHost_ctor(&w.host));
  file_open(&w.file, w.source, "r");
  file_open(&w.dest, w.target, "r+");
  fake_one_begin(&w.fake, &(struct fakeConfig){.without = FAKE_VIEWS});
  memcpy(w.fake.device.bytes, w.bytes, NBYTES);
}

static void world_clean(void) {
  umem_clean_status(&w.host);
  umem_clean_status(&w.file);
  umem_clean_status(&w.dest);
  umem_clean_status(&w.fake.ctx);
}

/* Every source is what it was. */
static void world_end(void) {
  unsigned char *now = malloc(NBYTES);
  assert_non_null(now);
  file_get(w.source, 0, now, NBYTES);
  assert_int_equal(memcmp(now, w.bytes, NBYTES), 0);
  assert_int_equal(memcmp(w.fake.device.bytes, w.bytes, NBYTES), 0);
  free(now);
  world_clean();
  assert_ok(umem_dtor(&w.dest));
  assert_ok(umem_dtor(&w.file));
  assert_ok(umem_dtor(&w.host));
  fake_one_end(&w.fake);
  free(w.bytes);
  umemi_slots_drop();
}

static umemStatusType copy_by(enum way way) {
  switch (way) {
  case FROM_HOST:
    return umem_copy_to(&w.host, (uintptr_t)w.bytes, &w.dest, AT, NBYTES);
  case FROM_FILE:
    return umem_copy_to(&w.file, 0, &w.dest, AT, NBYTES);
  default:
    return umem_copy_to(&w.fake.ctx, FAKE_BASE, &w.dest, AT, NBYTES);
  }
}

/* The first so many bytes of the copy are in the target. */
static void expect_done(size_t nbytes) {
  unsigned char *now = malloc(nbytes + 1);
  assert_non_null(now);
  file_get(w.target, AT, now, nbytes);
  assert_int_equal(memcmp(now, w.bytes, nbytes), 0);
  free(now);
}

/* No thread is busy any more, and none cannot be ended. */
static void expect_idle(void) {
  uint64_t const end = milliseconds() + 10000;
  assert_ok(umem_set_threads(0));
  while (running_threads() > 1 && milliseconds() < end)
    sleep_milliseconds(1);
  assert_int_equal(running_threads(), 1);
}

/* --- by faults ------------------------------------------------------------ */

/* A disk on which there is room up to an offset. */
static size_t disk_end;

static ssize_t small_disk_pwrite(int fd, void const *in, size_t nbytes,
                                 off_t at) {
  size_t left = (size_t)at < disk_end ? disk_end - (size_t)at : 0;
  if (left > 0)
    return pwrite(fd, in, nbytes < left ? nbytes : left, at);
  errno = ENOSPC;
  return -1;
}

/* A disk that cannot be read from an offset on. */
static ssize_t bad_disk_pread(int fd, void *out, size_t nbytes, off_t at) {
  size_t left = (size_t)at < disk_end ? disk_end - (size_t)at : 0;
  if (left > 0)
    return pread(fd, out, nbytes < left ? nbytes : left, at);
  errno = EIO;
  return -1;
}

static void check_full_at(enum way way, unsigned threads, size_t end) {
  disk_end = AT + end;
  world_begin(temp_path("target"));
  faults_fail_from(FAULT_ioctl, 1, EOPNOTSUPP);
  umemi_os.pwrite = small_disk_pwrite;
  assert_ok(umem_set_threads(threads));
  assert_status(copy_by(way), umemIOError);
  umemError error = last_error(&w.dest);
  umemi_os.pwrite = faults_real.pwrite;
  if (error.bytes_done != end || error.sys_errno != ENOSPC)
    fail_msg("%s, %u threads, full at %zu: %s", way_names[way], threads, end,
             error.text);
  assert_has(error.text, "destination File: ENOSPC (28)");
  expect_done(end);
  expect_idle();
  world_clean();
  assert_ok(copy_by(way)); /* there is room again */
  expect_done(NBYTES);
  world_end();
}

static void full__destination_is_told_to_the_byte(void **state) {
  (void)state;
  static size_t const ends[] = {0,           1,       MIB - 1,
                                MIB,         MIB + 1, 3 * MIB + 77,
                                5 * MIB + 5, 6 * MIB, NBYTES - 1};
  for (enum way way = FROM_HOST; way < WAYS; way++)
    for (size_t i = 0; i < LENGTH(ends); i += scaled(1, 4))
      for (unsigned threads = 0; threads < 4; threads += 3)
        check_full_at(way, threads, ends[i]);
}

/* The k-th write of whichever lane makes it. */
static void full__at_any_write_leaves_what_it_says(void **state) {
  (void)state;
  size_t const rounds = scaled(2, 1);
  for (enum way way = FROM_FILE; way < WAYS; way++)
    for (unsigned k = 1; k <= 6; k++)
      for (size_t round = 0; round < rounds; round++) {
        world_begin(temp_path("target"));
        assert_ok(umem_set_threads(3));
        faults_fail_from(FAULT_ioctl, 1, EOPNOTSUPP);
        faults_fail_from(FAULT_pwrite, k, ENOSPC);
        assert_status(copy_by(way), umemIOError);
        assert_int_equal(last_error(&w.dest).sys_errno, ENOSPC);
        size_t done = (size_t)last_error(&w.dest).bytes_done;
        assert_true(done < ((size_t)k + 3) * MIB);
        expect_done(done);
        faults_clear();
        expect_idle();
        world_end();
      }
}

/* --- a source that ends, or cannot be read -------------------------------- */

/* From the File to Host memory between guards: exact to the byte. */
static void check_end_to_host(unsigned threads, size_t end, bool is_bad,
                              size_t shift) {
  unsigned char *room = malloc(NBYTES + 2 * GUARD + 64);
  assert_non_null(room);
  memset(room, 'g', NBYTES + 2 * GUARD + 64);
  unsigned char *to = room + GUARD + shift;
  assert_ok(umem_set_threads(threads));
  disk_end = end;
  if (is_bad)
    umemi_os.pread = bad_disk_pread;
  else
    assert_int_equal(truncate(w.source, (off_t)end), 0);
  assert_status(umem_copy_to(&w.file, 3, &w.host, (uintptr_t)to, NBYTES - 3),
                umemIOError);
  umemError error = last_error(&w.host);
  umemi_os.pread = faults_real.pread;
  assert_int_equal(error.sys_errno, is_bad ? EIO : 0);
  size_t const expected = end > 3 ? end - 3 : 0;
  if (error.bytes_done != expected)
    fail_msg("%u threads, end %zu: %s", threads, end, error.text);
  assert_int_equal(memcmp(to, w.bytes + 3, expected), 0);
  assert_true(all_bytes_are(room, GUARD, 'g'));
  assert_true(all_bytes_are(to + NBYTES - 3, GUARD, 'g'));
  free(room);
  file_put(w.source, w.bytes, NBYTES);
  world_clean();
}

static void ends__of_a_source_for_host_memory_are_told_to_the_byte(void **s) {
  (void)s;
  static size_t const ends[] = {
      0, 1, MIB, 2 * MIB + 3, 4 * MIB + 1, 5 * MIB - 1, NBYTES - 1};
  world_begin(temp_path("target"));
  for (size_t i = 0; i < LENGTH(ends); i += scaled(1, 3))
    for (unsigned threads = 0; threads < 4; threads += 3)
      for (size_t shift = 0; shift < 48; shift += 16) {
        check_end_to_host(threads, ends[i], false, shift);
        check_end_to_host(threads, ends[i], true, shift);
      }
  expect_idle();
  world_end();
}

/* By chunks: what was read of the last one was not written. */
static void ends__of_a_source_for_a_file_are_told_by_chunks(void **state) {
  (void)state;
  static size_t const ends[] = {0,           1,           MIB,
                                2 * MIB + 3, 5 * MIB - 1, NBYTES - 1};
  for (size_t i = 0; i < LENGTH(ends); i += scaled(1, 3))
    for (unsigned threads = 0; threads < 4; threads += 3) {
      world_begin(temp_path("target"));
      faults_fail_from(FAULT_ioctl, 1, EOPNOTSUPP);
      assert_ok(umem_set_threads(threads));
      assert_int_equal(truncate(w.source, (off_t)ends[i]), 0);
      assert_status(copy_by(FROM_FILE), umemIOError);
      assert_has(last_error(&w.dest).text, "source File: the file ends there");
      size_t done = (size_t)last_error(&w.dest).bytes_done;
      assert_true(done <= ends[i] && ends[i] - done < MIB);
      expect_done(done);
      expect_idle();
      file_put(w.source, w.bytes, NBYTES);
      world_end();
    }
}

/* What lanes wrote behind the failure are their own chunks, whole. */
static void expect_chunks_behind(size_t done) {
  static unsigned char const nothing[MIB];
  size_t const first = done / MIB + 1;
  unsigned char *now = calloc(NBYTES, 1);
  size_t const size = file_size(w.target);
  assert_non_null(now);
  assert_true(size <= AT + NBYTES);
  if (size > AT)
    file_get(w.target, AT, now, size - AT);
  for (size_t at = first * MIB; at < NBYTES; at += MIB) {
    size_t n = NBYTES - at < MIB ? NBYTES - at : MIB;
    assert_true(memcmp(now + at, w.bytes + at, n) == 0 ||
                memcmp(now + at, nothing, n) == 0);
  }
  free(now);
}

static void ends__of_a_device_leave_the_rest_of_the_file_alone(void **state) {
  (void)state;
  for (unsigned threads = 0; threads < 4; threads++)
    for (unsigned k = 1; k <= 6; k += (unsigned)scaled(1, 4)) {
      world_begin(temp_path("target"));
      assert_ok(umem_set_threads(threads));
      fake_fail(&w.fake.device, FAKE_READ,
                &(struct fakeFault){
                    .call = k, .type = umemRuntimeError, .moved = 500});
      assert_status(copy_by(FROM_FAKE), umemRuntimeError);
      size_t done = (size_t)last_error(&w.dest).bytes_done;
      assert_true(done < ((size_t)k + threads) * MIB);
      expect_done(done);
      expect_chunks_behind(done);
      expect_idle();
      world_end();
    }
}

/* --- a disk that is full: in a child with a tmpfs of its own -------------- */

enum { DISK = 5 * MIB };

static void check_disk(enum way way, unsigned threads) {
  world_begin(temp_path("disk/target"));
  faults_fail_from(FAULT_ioctl, 1, EOPNOTSUPP);
  assert_ok(umem_set_threads(threads));
  assert_status(copy_by(way), umemIOError);
  umemError error = last_error(&w.dest);
  assert_int_equal(error.sys_errno, ENOSPC);
  assert_true(error.bytes_done <= DISK - AT);
  if (threads == 0) /* helpers' chunks may lie behind the first that failed */
    assert_int_equal(error.bytes_done, DISK - AT);
  expect_done((size_t)error.bytes_done);
  expect_idle();
  world_clean();
  assert_int_equal(truncate(w.target, 0), 0);
  assert_ok(write_text(&w.dest, DISK - 6, "sample")); /* there is room again */
  world_end();
  assert_int_equal(unlink(w.target), 0);
}

static void fill_disk(void) {
  static char const bytes[4096];
  int fd = open(temp_path("disk/rest"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  while (write(fd, bytes, sizeof bytes) > 0)
    continue;
  assert_int_equal(errno, ENOSPC);
  close(fd);
}

/* Of a file with holes, over its older copy. */
static void check_sparse_on_a_full_disk(void) {
  umemFile source, dest;
  char const *from = temp_path("disk/from"), *to = temp_path("disk/to");
  file_put(from, "sample", 6);
  file_put(to, "", 0);
  assert_int_equal(truncate(from, (off_t)100 * MIB), 0);
  file_open(&source, from, "r");
  file_open(&dest, to, "r+");
  assert_ok(umem_copy_to(&source, 0, &dest, 0, (size_t)100 * MIB));
  fill_disk();
  assert_ok(umem_copy_to(&source, 0, &dest, 0, (size_t)100 * MIB));
  size_t difference = 0;
  assert_ok(umem_compare(&source, 0, &dest, 0, (size_t)100 * MIB, &difference));
  assert_int_equal(difference, 100 * MIB);
  assert_ok(umem_dtor(&dest));
  assert_ok(umem_dtor(&source));
  assert_int_equal(unlink(from), 0);
  assert_int_equal(unlink(to), 0);
  assert_int_equal(unlink(temp_path("disk/rest")), 0);
}

static void small_disk(void) {
  char const *disk = temp_path("disk");
  if (unshare(CLONE_NEWNS) || mount("", "/", "", MS_REC | MS_PRIVATE, NULL))
    exit(SKIPPED);
  assert_int_equal(mkdir(disk, 0700), 0);
  if (mount("none", disk, "tmpfs", 0, "size=5m")) {
    rmdir(disk);
    exit(SKIPPED);
  }
  for (enum way way = FROM_HOST; way < WAYS; way++)
    for (unsigned threads = 0; threads < 4; threads += 3)
      check_disk(way, threads);
  check_sparse_on_a_full_disk();
  assert_int_equal(umount(temp_path("disk")), 0);
}

static void disk__that_is_full_ends_large_copies(void **state) {
  (void)state;
  int result = in_child(small_disk);
  if (result == SKIPPED) {
    print_message("no tmpfs here: needs the right to mount\n");
    skip();
  }
  assert_int_equal(result, 0);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(full__destination_is_told_to_the_byte),
      faulty_test(full__at_any_write_leaves_what_it_says),
      faulty_test(ends__of_a_source_for_host_memory_are_told_to_the_byte),
      faulty_test(ends__of_a_source_for_a_file_are_told_by_chunks),
      faulty_test(ends__of_a_device_leave_the_rest_of_the_file_alone),
      faulty_test(disk__that_is_full_ends_large_copies),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
