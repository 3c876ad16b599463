/* SPDX-License-Identifier: BSD-3-Clause */
/* src/fileio.c: complete transfers, pages past the cache, limits, growing. */
#include "file_support.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

enum { PAGE = 4096, MIB = 1 << 20 };

static struct umemiFileIo io;

static char const *io_path(void) {
  return temp_path("io");
}

/* --- what was asked of pread, pwrite and fallocate ------------------------ */

struct step {
  int fd;
  uint64_t at, nbytes;
  bool aligned;
};

static struct step steps[16];
static size_t steps_taken;

static void step_note(struct step step) {
  assert_true(steps_taken < 16);
  steps[steps_taken++] = step;
}

static bool is_aligned(void const *bytes) {
  return (uintptr_t)bytes % PAGE == 0;
}

static ssize_t noting_pread(int fd, void *out, size_t nbytes, off_t at) {
  step_note((struct step){fd, (uint64_t)at, nbytes, is_aligned(out)});
  return pread(fd, out, nbytes, at);
}

static ssize_t noting_pwrite(int fd, void const *in, size_t nbytes, off_t at) {
  step_note((struct step){fd, (uint64_t)at, nbytes, is_aligned(in)});
  return pwrite(fd, in, nbytes, at);
}

static int noting_fallocate(int fd, int mode, off_t at, off_t nbytes) {
  step_note((struct step){fd, (uint64_t)at, (uint64_t)nbytes, true});
  return fallocate(fd, mode, at, nbytes);
}

static void assert_step(size_t i, int fd, uint64_t at, uint64_t nbytes) {
  assert_true(i < steps_taken);
  assert_int_equal(steps[i].fd, fd);
  assert_int_equal(steps[i].at, at);
  assert_int_equal(steps[i].nbytes, nbytes);
}

/* --- around each test ----------------------------------------------------- */

/* `direct_fd` is one more descriptor of the file: what goes to it is what would
   go past the page cache, on every file system. */
static int io_setup(void **state) {
  faults_setup(state);
  io.fd = open(io_path(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  io.direct_fd = -1;
  steps_taken = 0;
  return io.fd >= 0 ? 0 : -1;
}

static int direct_setup(void **state) {
  int failed = io_setup(state);
  io.direct_fd = open(io_path(), O_RDWR | O_CLOEXEC);
  return io.direct_fd >= 0 ? failed : -1;
}

static int io_teardown(void **state) {
  close(io.fd);
  if (io.direct_fd >= 0)
    close(io.direct_fd);
  return faults_teardown(state);
}

static int io_write(uint64_t at, void const *in, size_t nbytes, size_t *done) {
  *done = SIZE_MAX;
  return umemi_file_write(&io, at, in, nbytes, done);
}

static int io_read(uint64_t at, void *out, size_t nbytes, size_t *done) {
  *done = SIZE_MAX;
  return umemi_file_read(&io, at, out, nbytes, done);
}

/* --- known bytes ---------------------------------------------------------- */

/* Room whose byte 0 is at a page's byte `shift`. */
struct buffer {
  char *room, *bytes;
};

static struct buffer buffer_new(size_t nbytes, size_t shift) {
  struct buffer buffer;
  void *room = NULL;
  assert_int_equal(posix_memalign(&room, PAGE, nbytes + PAGE), 0);
  buffer.room = room;
  buffer.bytes = buffer.room + shift;
  random_bytes(buffer.bytes, nbytes, nbytes + shift);
  return buffer;
}

static void assert_io_holds(uint64_t at, struct buffer buffer, size_t nbytes) {
  char *found = malloc(nbytes);
  assert_non_null(found);
  file_get(io_path(), at, found, nbytes);
  assert_memory_equal(found, buffer.bytes, nbytes);
  free(found);
}

/* --- complete transfers --------------------------------------------------- */

static void transfer__takes_one_system_call_each(void **state) {
  (void)state;
  char in[1000], out[1000];
  size_t done;
  random_bytes(in, sizeof in, 1);
  assert_int_equal(io_write(77, in, sizeof in, &done), 0);
  assert_int_equal(done, sizeof in);
  assert_int_equal(io_read(77, out, sizeof out, &done), 0);
  assert_int_equal(done, sizeof out);
  assert_memory_equal(in, out, sizeof in);
  assert_string_equal(faults_trace(), "pwrite pread");
}

static void transfer__interrupted_calls_are_resumed(void **state) {
  (void)state;
  char out[6];
  size_t done;
  faults_fail(FAULT_pwrite, 1, EINTR);
  faults_fail(FAULT_pread, 1, EINTR);
  assert_int_equal(io_write(0, "sample", 6, &done), 0);
  assert_int_equal(done, 6);
  assert_int_equal(io_read(0, out, 6, &done), 0);
  assert_int_equal(done, 6);
  assert_memory_equal(out, "sample", 6);
  assert_string_equal(faults_trace(), "pwrite pwrite pread pread");
}

static void transfer__short_counts_are_continued(void **state) {
  (void)state;
  char in[64], out[64];
  size_t done;
  random_bytes(in, sizeof in, 2);
  faults_fail_from(FAULT_pwrite, 1, FAULT_ONE_BYTE);
  assert_int_equal(io_write(5, in, sizeof in, &done), 0);
  assert_int_equal(done, sizeof in);
  assert_int_equal(faults_count(FAULT_pwrite), 64);
  faults_fail(FAULT_pread, 1, FAULT_HALF);
  assert_int_equal(io_read(5, out, sizeof out, &done), 0);
  assert_int_equal(done, sizeof out);
  assert_int_equal(faults_count(FAULT_pread), 2);
  assert_memory_equal(in, out, sizeof in);
}

static void write__of_nothing_is_a_full_disk(void **state) {
  (void)state;
  size_t done;
  faults_fail(FAULT_pwrite, 1, FAULT_NOTHING);
  assert_int_equal(io_write(0, "sample", 6, &done), ENOSPC);
  assert_int_equal(done, 0);
  faults_fail_from(FAULT_pwrite, 1, FAULT_HALF); /* 3 of 6, 1 of 3, 1 of 2 */
  assert_int_equal(io_write(0, "sample", 6, &done), ENOSPC);
  assert_int_equal(done, 5);
  assert_file_is(io_path(), "sampl");
}

static void read__past_the_end_tells_how_much_there_was(void **state) {
  (void)state;
  char out[10];
  size_t done;
  assert_int_equal(io_write(0, "sample", 6, &done), 0);
  assert_int_equal(io_read(2, out, sizeof out, &done), UMEMI_EOF);
  assert_int_equal(done, 4);
  assert_memory_equal(out, "mple", 4);
  assert_int_equal(io_read(6, out, 1, &done), UMEMI_EOF);
  assert_int_equal(done, 0);
}

static void transfer__errno_comes_through_with_what_was_done(void **state) {
  (void)state;
  char out[8];
  size_t done;
  assert_int_equal(io_write(0, "sampling", 8, &done), 0);
  faults_fail(FAULT_pwrite, 1, EDQUOT);
  assert_int_equal(io_write(0, "x", 1, &done), EDQUOT);
  assert_int_equal(done, 0);
  faults_fail(FAULT_pread, 1, EIO);
  assert_int_equal(io_read(0, out, 8, &done), EIO);
  assert_int_equal(done, 0);
}

/* Half is moved by the first call, and the second one fails. */
static ssize_t half_then_fail(int fd, void const *in, size_t nbytes, off_t at) {
  if (at == 0)
    return pwrite(fd, in, nbytes / 2, at);
  errno = EDQUOT;
  return -1;
}

static void write__that_fails_midway_counts_what_it_wrote(void **state) {
  (void)state;
  size_t done;
  umemi_os.pwrite = half_then_fail;
  assert_int_equal(io_write(0, "sampling", 8, &done), EDQUOT);
  assert_int_equal(done, 4);
  assert_file_is(io_path(), "samp");
}

static void transfer__offsets_beyond_4_GiB(void **state) {
  (void)state;
  uint64_t const far = UINT64_C(5) << 30;
  char out[6];
  size_t done;
  assert_int_equal(io_write(far, "sample", 6, &done), 0);
  assert_int_equal(file_size(io_path()), far + 6);
  assert_int_equal(io_read(far, out, 6, &done), 0);
  assert_memory_equal(out, "sample", 6);
  assert_int_equal(io_read(far - (UINT64_C(4) << 30), out, 6, &done), 0);
  assert_true(all_bytes_are(out, 6, 0));
}

static ssize_t pretending_pwrite(int fd, void const *in, size_t nbytes,
                                 off_t at) {
  step_note((struct step){fd, (uint64_t)at, nbytes, is_aligned(in)});
  return (ssize_t)nbytes;
}

/* So many bytes to write that are not there; munmap() them. */
static void *room_of(size_t nbytes) {
  void *room = mmap(NULL, nbytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  assert_true(room != MAP_FAILED);
  return room;
}

static void transfer__asks_for_1_GiB_at_most_in_one_call(void **state) {
  (void)state;
  size_t const gib = 1 << 30, nbytes = 2 * gib + 5;
  void *room = room_of(nbytes);
  size_t done;
  umemi_os.pwrite = pretending_pwrite;
  assert_int_equal(ftruncate(io.fd, 3 * (off_t)gib), 0);
  assert_int_equal(io_write(3, room, nbytes, &done), 0);
  assert_int_equal(done, nbytes);
  assert_int_equal(steps_taken, 3);
  assert_step(0, io.fd, 3, gib);
  assert_step(1, io.fd, 3 + gib, gib);
  assert_step(2, io.fd, 3 + 2 * gib, 5);
  munmap(room, nbytes);
}

/* --- writes that grow the file -------------------------------------------- */

static void write__that_grows_by_much_reserves_space_first(void **state) {
  (void)state;
  char *bytes = calloc(1, 2 * MIB);
  size_t done;
  assert_non_null(bytes);
  assert_int_equal(io_write(0, bytes, MIB - 1, &done), 0);
  assert_string_equal(faults_trace(), "pwrite");
  faults_clear();
  assert_int_equal(io_write(100, bytes, MIB, &done), 0);
  assert_string_equal(faults_trace(), "fstat fallocate pwrite");
  faults_clear();
  assert_int_equal(io_write(99, bytes, MIB, &done), 0); /* all is there */
  assert_string_equal(faults_trace(), "fstat pwrite");
  assert_int_equal(file_size(io_path()), MIB + 100);
  free(bytes);
}

/* Each slice is reserved and then written, so that little is left reserved if
   it cannot be written. */
static void write__that_grows_by_very_much_does_so_by_slices(void **state) {
  (void)state;
  static size_t const slices[] = {4 * MIB, 16 * MIB, 16 * MIB, 16 * MIB, 5};
  size_t nbytes = 64 * 1024 - 3, done;
  uint64_t at = 64 * 1024;
  for (size_t i = 0; i < 5; i++)
    nbytes += slices[i];
  void *room = room_of(nbytes);
  umemi_os.fallocate = noting_fallocate;
  umemi_os.pwrite = pretending_pwrite;
  assert_int_equal(io_write(3, room, nbytes, &done), 0);
  assert_int_equal(done, nbytes);
  assert_int_equal(steps_taken, 11);
  assert_step(0, io.fd, 3, 64 * 1024 - 3);
  for (size_t i = 0; i < 5; at += slices[i++]) {
    assert_step(1 + 2 * i, io.fd, at, slices[i]);
    assert_step(2 + 2 * i, io.fd, at, slices[i]);
  }
  assert_int_equal(file_size(io_path()), 0); /* what is reserved is not seen */
  munmap(room, nbytes);
}

static void write__goes_on_where_nothing_can_be_reserved(void **state) {
  (void)state;
  static int const errors[] = {EOPNOTSUPP, ENOSYS, ENOSPC, EIO, EINTR, EBADF};
  struct buffer in = buffer_new(MIB + 7, 1);
  size_t done;
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    assert_int_equal(ftruncate(io.fd, 0), 0);
    faults_fail(i % 2 ? FAULT_fallocate : FAULT_fstat, 1, errors[i]);
    assert_int_equal(io_write(5, in.bytes, MIB + 7, &done), 0);
    assert_int_equal(done, MIB + 7);
    assert_io_holds(5, in, MIB + 7);
    faults_clear();
    assert_int_equal(ftruncate(io.fd, 0), 0);
    faults_fail_from(FAULT_fallocate, 1, errors[i]);
    assert_int_equal(io_write(5, in.bytes, MIB + 7, &done), 0);
    assert_io_holds(5, in, MIB + 7);
    faults_clear();
  }
  free(in.room);
}

/* Writes fail from an offset on; what is punched is noted. */
static uint64_t fails_from;

static ssize_t failing_pwrite(int fd, void const *in, size_t nbytes, off_t at) {
  size_t left = (uint64_t)at < fails_from ? fails_from - (size_t)at : 0;
  if (left > 0)
    return pwrite(fd, in, nbytes < left ? nbytes : left, at);
  errno = EDQUOT;
  return -1;
}

static int punching_fallocate(int fd, int mode, off_t at, off_t nbytes) {
  if (mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE))
    step_note((struct step){fd, (uint64_t)at, (uint64_t)nbytes, true});
  return fallocate(fd, mode, at, nbytes);
}

static void check_gives_back(size_t size, uint64_t at, size_t nbytes,
                             uint64_t from) {
  struct buffer in = buffer_new(nbytes, 0);
  size_t done;
  steps_taken = 0;
  assert_int_equal(ftruncate(io.fd, 0), 0);
  assert_int_equal(ftruncate(io.fd, (off_t)size), 0);
  assert_int_equal(io_write(at, in.bytes, nbytes, &done), EDQUOT);
  assert_int_equal(done, fails_from - at);
  assert_io_holds(at, in, done);
  assert_int_equal(steps_taken, 1);
  assert_step(0, io.fd, from, at + nbytes - from);
  free(in.room);
}

static void write__that_grows_and_fails_gives_the_rest_back(void **state) {
  (void)state;
  umemi_os.pwrite = failing_pwrite;
  umemi_os.fallocate = punching_fallocate;
  fails_from = 300 * 1024;
  check_gives_back(0, 0, 2 * MIB, fails_from);
  check_gives_back(0, 100, 3 * MIB, fails_from);
  check_gives_back(0, 0, MIB, fails_from);
  check_gives_back(MIB, 0, 2 * MIB, MIB); /* what was there stays */
}

static uint64_t io_blocks(void) {
  struct stat st;
  assert_int_equal(fstat(io.fd, &st), 0);
  return (uint64_t)st.st_blocks;
}

/* ext4 itself counts the pages of a write that fails in this way. Valgrind
   reports such a write as an error of the program. */
static void write__of_memory_that_cannot_be_read_reserves_little(void **st) {
  (void)st;
  if (is_under_valgrind())
    skip();
  void *room = room_of(64 * MIB); /* has no access */
  size_t done;
  assert_int_equal(io_write(0, room, 64 * MIB, &done), EFAULT);
  assert_int_equal(done, 0);
  assert_int_equal(file_size(io_path()), 0);
  assert_true(io_blocks() * 512 <= (uint64_t)64 * 1024);
  munmap(room, 64 * MIB);
}

/* --- past the page cache -------------------------------------------------- */

/* Bytes 100 ... 100 + 3 pages: a head, two whole pages, a tail. */
static void check_head_pages_tail(size_t shift) {
  size_t const nbytes = 3 * PAGE;
  struct buffer in = buffer_new(nbytes, shift), out = buffer_new(nbytes, shift);
  size_t done;
  steps_taken = 0;
  assert_int_equal(io_write(100, in.bytes, nbytes, &done), 0);
  assert_int_equal(done, nbytes);
  memset(out.bytes, 0, nbytes);
  assert_int_equal(io_read(100, out.bytes, nbytes, &done), 0);
  assert_int_equal(done, nbytes);
  assert_memory_equal(in.bytes, out.bytes, nbytes);
  assert_io_holds(100, in, nbytes);
  assert_int_equal(steps_taken, 6);
  for (size_t i = 0; i < 6; i += 3) {
    assert_step(i, io.fd, 100, PAGE - 100);
    assert_step(i + 1, io.direct_fd, PAGE, 2 * PAGE);
    assert_true(steps[i + 1].aligned);
    assert_step(i + 2, io.fd, 3 * PAGE, 100);
  }
  free(in.room);
  free(out.room);
}

static void direct__head_and_tail_go_through_the_page_cache(void **state) {
  (void)state;
  umemi_os.pread = noting_pread;
  umemi_os.pwrite = noting_pwrite;
  check_head_pages_tail(100); /* whole pages lie in whole pages of memory */
  check_head_pages_tail(0);   /* they do not, and are bounced */
  check_head_pages_tail(1);
  check_head_pages_tail(100 + 512); /* aligned, but not to pages */
}

static void direct__less_than_a_page_is_ordinary(void **state) {
  (void)state;
  char bytes[PAGE];
  size_t done;
  random_bytes(bytes, sizeof bytes, 3);
  umemi_os.pwrite = noting_pwrite;
  assert_int_equal(io_write(PAGE + 1, bytes, PAGE, &done), 0);
  assert_int_equal(steps_taken, 1);
  assert_step(0, io.fd, PAGE + 1, PAGE);
  assert_int_equal(faults_count(FAULT_posix_memalign), 0);
}

static void direct__unaligned_memory_is_bounced_by_the_MiB(void **state) {
  (void)state;
  size_t const nbytes = 2 * MIB + PAGE;
  struct buffer in = buffer_new(nbytes, 8);
  size_t done;
  assert_int_equal(ftruncate(io.fd, (off_t)nbytes), 0);
  umemi_os.pwrite = noting_pwrite;
  assert_int_equal(io_write(0, in.bytes, nbytes, &done), 0);
  assert_int_equal(done, nbytes);
  assert_int_equal(steps_taken, 3);
  assert_step(0, io.direct_fd, 0, MIB);
  assert_step(1, io.direct_fd, MIB, MIB);
  assert_step(2, io.direct_fd, 2 * MIB, PAGE);
  assert_io_holds(0, in, nbytes);
  free(in.room);
}

static void direct__aligned_memory_goes_in_one_step(void **state) {
  (void)state;
  size_t const nbytes = 2 * MIB + PAGE;
  struct buffer in = buffer_new(nbytes, 0);
  size_t done;
  assert_int_equal(ftruncate(io.fd, (off_t)nbytes), 0);
  umemi_os.pwrite = noting_pwrite;
  assert_int_equal(io_write(0, in.bytes, nbytes, &done), 0);
  assert_int_equal(steps_taken, 1);
  assert_step(0, io.direct_fd, 0, nbytes);
  assert_io_holds(0, in, nbytes);
  free(in.room);
}

/* Transfers of 8 pages to the direct descriptor that move less. */
static size_t direct_moves;

static ssize_t short_direct_pwrite(int fd, void const *in, size_t nbytes,
                                   off_t at) {
  bool cut = fd == io.direct_fd && nbytes > direct_moves;
  return noting_pwrite(fd, in, cut ? direct_moves : nbytes, at);
}

static void direct__short_step_of_whole_pages_is_continued(void **state) {
  (void)state;
  struct buffer in = buffer_new(8 * PAGE, 0);
  size_t done;
  direct_moves = 6 * PAGE;
  umemi_os.pwrite = short_direct_pwrite;
  assert_int_equal(io_write(0, in.bytes, 8 * PAGE, &done), 0);
  assert_int_equal(steps_taken, 2);
  assert_step(0, io.direct_fd, 0, 6 * PAGE);
  assert_step(1, io.direct_fd, 6 * PAGE, 2 * PAGE);
  assert_io_holds(0, in, 8 * PAGE);
  free(in.room);
}

static void
direct__step_that_ends_in_a_page_makes_the_rest_ordinary(void **state) {
  (void)state;
  struct buffer in = buffer_new(8 * PAGE, 8);
  size_t done;
  direct_moves = PAGE + 512;
  umemi_os.pwrite = short_direct_pwrite;
  assert_int_equal(io_write(0, in.bytes, 8 * PAGE, &done), 0);
  assert_int_equal(done, 8 * PAGE);
  assert_int_equal(steps_taken, 2);
  assert_step(0, io.direct_fd, 0, PAGE + 512);
  assert_step(1, io.fd, PAGE + 512, 7 * PAGE - 512);
  assert_io_holds(0, in, 8 * PAGE);
  free(in.room);
}

static void direct__read_at_the_end_tells_how_much_there_was(void **state) {
  (void)state;
  struct buffer in = buffer_new(3 * PAGE, 8);
  size_t done;
  assert_int_equal(io_write(0, in.bytes, PAGE + 10, &done), 0);
  assert_int_equal(io_read(0, in.bytes, 3 * PAGE, &done), UMEMI_EOF);
  assert_int_equal(done, PAGE + 10);
  assert_int_equal(io_read(2 * PAGE, in.bytes, PAGE, &done), UMEMI_EOF);
  assert_int_equal(done, 0);
  free(in.room);
}

static void direct__interrupted_step_is_resumed(void **state) {
  (void)state;
  struct buffer in = buffer_new(PAGE, 0);
  size_t done;
  faults_fail(FAULT_pwrite, 1, EINTR);
  assert_int_equal(io_write(0, in.bytes, PAGE, &done), 0);
  assert_int_equal(done, PAGE);
  assert_int_equal(faults_count(FAULT_pwrite), 2);
  assert_io_holds(0, in, PAGE);
  free(in.room);
}

static void direct__failure_of_each_part_counts_what_was_done(void **state) {
  (void)state;
  size_t const head = PAGE - 100, nbytes = 3 * PAGE;
  size_t const before[] = {0, head, head + 2 * PAGE};
  struct buffer in = buffer_new(nbytes, 0);
  size_t done;
  for (unsigned part = 0; part < 3; part++) {
    faults_fail(FAULT_pwrite, part + 1, EIO);
    assert_int_equal(io_write(100, in.bytes, nbytes, &done), EIO);
    assert_int_equal(done, before[part]);
  }
  free(in.room);
}

/* As much as a slot that is had after the larger ones were not. */
static void direct__with_little_memory_is_bounced_by_less(void **state) {
  (void)state;
  struct buffer in = buffer_new(MIB, 8);
  size_t done;
  umemi_os.pwrite = noting_pwrite;
  faults_fail(FAULT_mmap, 1, ENOMEM);
  faults_fail(FAULT_posix_memalign, 1, ENOMEM);
  assert_int_equal(io_write(0, in.bytes, MIB, &done), 0);
  assert_int_equal(steps_taken, 2);
  assert_step(0, io.direct_fd, 0, MIB / 2);
  assert_step(1, io.direct_fd, MIB / 2, MIB / 2);
  assert_io_holds(0, in, MIB);
  free(in.room);
}

static void
direct__without_memory_to_bounce_goes_through_the_cache(void **state) {
  (void)state;
  struct buffer in = buffer_new(3 * PAGE, 8);
  size_t done;
  faults_fail_from(FAULT_posix_memalign, 1, ENOMEM);
  assert_int_equal(io_write(100, in.bytes, 3 * PAGE, &done), 0);
  assert_int_equal(done, 3 * PAGE);
  assert_int_equal(faults_count(FAULT_pwrite), 1);
  assert_int_equal(file_size(io_path()), 100 + 3 * PAGE);
  free(in.room);
}

static void direct__real_device_takes_every_shape(void **state) {
  (void)state;
  size_t const nbytes = 5 * PAGE;
  close(io.direct_fd);
  io.direct_fd = open(io_path(), O_RDWR | O_DIRECT | O_CLOEXEC);
  if (io.direct_fd < 0)
    skip(); /* this file system has no O_DIRECT */
  for (size_t shift = 0; shift < 20; shift += 4) {
    struct buffer in = buffer_new(nbytes, shift);
    struct buffer out = buffer_new(nbytes, 2 * shift);
    uint64_t at = shift * 1021;
    size_t done;
    assert_int_equal(io_write(at, in.bytes, nbytes, &done), 0);
    assert_int_equal(io_read(at, out.bytes, nbytes, &done), 0);
    assert_memory_equal(in.bytes, out.bytes, nbytes);
    assert_io_holds(at, in, nbytes);
    free(in.room);
    free(out.room);
  }
}

/* --- RLIMIT_FSIZE: in children, with the limit set before ----------------- */

enum { LIMIT = 10000 };

static struct rlimit unlimited;
static volatile sig_atomic_t signals_seen;

static void signal_seen(int number) {
  (void)number;
  signals_seen++;
}

static void limit_set(rlim_t nbytes) {
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  struct rlimit limit = {nbytes, unlimited.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* What the child writes when it ends may be larger. */
static void limit_lift(void) {
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
}

static bool limit_signal_is_pending(void) {
  sigset_t pending;
  assert_int_equal(sigpending(&pending), 0);
  return sigismember(&pending, SIGXFSZ) == 1;
}

static bool limit_signal_is_blocked(void) {
  sigset_t mask;
  assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
  return sigismember(&mask, SIGXFSZ) == 1;
}

/* 3000 of the 8000 bytes at 7000 are below the limit. */
static void write_past_the_limit(umemFile *f) {
  static char bytes[8000];
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  assert_status(umem_copy_to(&host, (uintptr_t)bytes, f, 7000, sizeof bytes),
                umemIOError);
  assert_slot(f, umemIOError, "EFBIG (27)");
  assert_int_equal(last_error(f).bytes_done, LIMIT - 7000);
  assert_int_equal(last_error(f).sys_errno, EFBIG);
  assert_ok(umem_dtor(&host));
  assert_int_equal(file_size(temp_path("limited")), LIMIT);
}

static void limited_write(void) {
  umemFile f;
  limit_set(LIMIT);
  file_open(&f, temp_path("limited"), "w");
  write_past_the_limit(&f);
  assert_false(limit_signal_is_pending());
  assert_false(limit_signal_is_blocked());
  assert_ok(write_text(&f, LIMIT - 6, "sample"));
  assert_ok(umem_dtor(&f));
  limit_lift();
}

static void limit__write_past_it_is_EFBIG_and_no_signal(void **state) {
  (void)state;
  assert_child_succeeds(limited_write);
}

static void limited_write_with_handler(void) {
  umemFile f;
  signal(SIGXFSZ, signal_seen);
  limit_set(LIMIT);
  file_open(&f, temp_path("limited"), "w");
  write_past_the_limit(&f);
  assert_int_equal(signals_seen, 0);
  raise(SIGXFSZ);
  assert_int_equal(signals_seen, 1);
  assert_ok(umem_dtor(&f));
  limit_lift();
}

static void limit__handler_of_the_program_is_not_called(void **state) {
  (void)state;
  assert_child_succeeds(limited_write_with_handler);
}

static void limited_write_while_pending(void) {
  umemFile f;
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGXFSZ);
  assert_int_equal(pthread_sigmask(SIG_BLOCK, &blocked, NULL), 0);
  raise(SIGXFSZ);
  limit_set(LIMIT);
  file_open(&f, temp_path("limited"), "w");
  write_past_the_limit(&f);
  assert_true(limit_signal_is_pending());
  assert_true(limit_signal_is_blocked());
  assert_ok(umem_dtor(&f));
  limit_lift();
}

static void limit__signal_that_was_pending_stays(void **state) {
  (void)state;
  assert_child_succeeds(limited_write_while_pending);
}

static void limited_alloc(void) {
  umemFile f;
  uintptr_t adr = 77;
  limit_set(LIMIT);
  file_open(&f, temp_path("limited"), "w");
  assert_fails(&f, umem_try_alloc(&f, LIMIT + 1, &adr), umemMemoryError,
               "EFBIG (27)");
  assert_int_equal(adr, 77);
  assert_false(limit_signal_is_pending());
  assert_ok(umem_try_alloc(&f, LIMIT, &adr));
  assert_ok(umem_dtor(&f));
  assert_int_equal(file_size(temp_path("limited")), LIMIT);
  limit_lift();
}

static void limit__alloc_past_it_is_a_MemoryError(void **state) {
  (void)state;
  assert_child_succeeds(limited_alloc);
}

static void limited_extend(void) {
  faults_fail_from(FAULT_fallocate, 1, EOPNOTSUPP);
  limited_alloc();
}

static void
limit__alloc_without_fallocate_past_it_is_a_MemoryError(void **state) {
  (void)state;
  assert_child_succeeds(limited_extend);
}

/* --- growing -------------------------------------------------------------- */

static void grow__reserves_in_slices_of_4_MiB(void **state) {
  (void)state;
  umemi_os.fallocate = noting_fallocate;
  int failed = umemi_file_grow(&io, 100, 100 + 9 * MIB);
  if (failed == 0 && steps_taken == 1)
    skip(); /* this file system has no fallocate() */
  assert_int_equal(failed, 0);
  assert_step(0, io.fd, 100, 4 * MIB);
  assert_step(1, io.fd, 100 + 4 * MIB, 4 * MIB);
  assert_step(2, io.fd, 100 + 8 * MIB, MIB);
  assert_int_equal(file_size(io_path()), 100 + 9 * MIB);
}

static void grow__interrupted_slice_is_resumed(void **state) {
  (void)state;
  faults_fail(FAULT_fallocate, 2, EINTR);
  assert_int_equal(umemi_file_grow(&io, 0, 5 * MIB), 0);
  assert_int_equal(file_size(io_path()), 5 * MIB);
  assert_true(faults_count(FAULT_fallocate) >= 3);
}

/* Signals come faster than more than 256 KiB can be reserved. */
static int stormy_fallocate(int fd, int mode, off_t at, off_t nbytes) {
  if (nbytes <= MIB / 4)
    return fallocate(fd, mode, at, nbytes);
  errno = EINTR;
  return -1;
}

static void grow__gets_on_in_a_storm_of_signals(void **state) {
  (void)state;
  umemi_os.fallocate = stormy_fallocate;
  assert_int_equal(umemi_file_grow(&io, 0, 9 * MIB + 1), 0);
  assert_int_equal(file_size(io_path()), 9 * MIB + 1);
}

/* The second slice fails: the disk is full. */
static int filling_fallocate(int fd, int mode, off_t at, off_t nbytes) {
  if (at < 4 * MIB)
    return noting_fallocate(fd, mode, at, nbytes);
  errno = ENOSPC;
  return -1;
}

static void grow__full_disk_midway_changes_no_byte_and_no_size(void **state) {
  (void)state;
  umemi_os.fallocate = filling_fallocate;
  assert_int_equal(pwrite(io.fd, "sample", 6, 0), 6);
  assert_int_equal(umemi_file_grow(&io, 6, 9 * MIB), ENOSPC);
  assert_int_equal(file_size(io_path()), 6);
  assert_int_equal(umemi_file_grow(&io, 6, 4 * MIB), 0); /* what is reserved */
  assert_int_equal(file_size(io_path()), 4 * MIB);
}

/* As NFS: it can reserve, but not without setting the size. */
static int sizing_fallocate(int fd, int mode, off_t at, off_t nbytes) {
  if (mode == 0)
    return noting_fallocate(fd, mode, at, nbytes);
  errno = EOPNOTSUPP;
  return -1;
}

static void
grow__that_cannot_keep_the_size_reserves_all_the_same(void **state) {
  (void)state;
  umemi_os.fallocate = sizing_fallocate;
  assert_int_equal(umemi_file_grow(&io, 0, 9 * MIB), 0);
  assert_int_equal(steps_taken, 3);
  assert_step(0, io.fd, 0, 4 * MIB);
  assert_step(2, io.fd, 8 * MIB, MIB);
  assert_int_equal(file_size(io_path()), 9 * MIB);
}

static void check_extends(int missing, char const *trace) {
  faults_clear();
  assert_int_equal(ftruncate(io.fd, 10), 0);
  faults_fail_from(FAULT_fallocate, 1, missing);
  assert_int_equal(umemi_file_grow(&io, 10, 5 * MIB), 0);
  assert_int_equal(file_size(io_path()), 5 * MIB);
  assert_string_equal(faults_trace(), trace);
}

static void grow__without_fallocate_the_last_byte_extends(void **state) {
  (void)state;
  static int const missing[] = {EOPNOTSUPP, ENOSYS, EINVAL, EPERM,
                                EACCES,     ENXIO,  EAGAIN};
  for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
    check_extends(missing[i],
                  "fstatvfs fstatfs fallocate fallocate fstat pwrite");
}

static void grow__without_fallocate_a_larger_file_is_left_alone(void **state) {
  (void)state;
  faults_fail_from(FAULT_fallocate, 1, EOPNOTSUPP);
  assert_int_equal(ftruncate(io.fd, 5 * MIB), 0);
  assert_int_equal(umemi_file_grow(&io, 10, MIB), 0);
  assert_int_equal(file_size(io_path()), 5 * MIB);
  assert_string_equal(faults_trace(), "fstatfs fallocate fstat");
}

static void grow__without_fallocate_failures_come_through(void **state) {
  (void)state;
  faults_fail_from(FAULT_fallocate, 1, EOPNOTSUPP);
  faults_fail(FAULT_fstat, 1, EIO);
  assert_int_equal(umemi_file_grow(&io, 0, 10), EIO);
  faults_fail(FAULT_pwrite, 1, EDQUOT);
  assert_int_equal(umemi_file_grow(&io, 0, 10), EDQUOT);
  assert_int_equal(file_size(io_path()), 0);
  assert_int_equal(umemi_file_grow(&io, 0, 10), 0);
}

/* --- is there room at all? ------------------------------------------------ */

static struct statvfs room;

static int scripted_fstatvfs(int fd, struct statvfs *out) {
  (void)fd;
  *out = room;
  return 0;
}

static void grow__what_cannot_fit_is_refused_untouched(void **state) {
  (void)state;
  room = (struct statvfs){.f_blocks = 9999, .f_bfree = 1100, .f_frsize = PAGE};
  umemi_os.fstatvfs = scripted_fstatvfs;
  assert_int_equal(umemi_file_grow(&io, 0, 1101 * PAGE), ENOSPC);
  assert_int_equal(file_size(io_path()), 0);
  assert_int_equal(faults_count(FAULT_fallocate), 0);
  assert_int_equal(umemi_file_grow(&io, 0, 1100 * PAGE), 0);
}

static void grow__absurd_size_is_refused_untouched(void **state) {
  (void)state;
  assert_int_equal(umemi_file_grow(&io, 0, INT64_MAX), ENOSPC);
  assert_int_equal(file_size(io_path()), 0);
  assert_string_equal(faults_trace(), "fstatvfs fstat");
}

static void grow__what_the_file_has_reserved_already_is_room(void **state) {
  (void)state;
  if (fallocate(io.fd, FALLOC_FL_KEEP_SIZE, 0, 8 * MIB))
    skip(); /* this file system has no fallocate() */
  room = (struct statvfs){.f_blocks = 9999, .f_bfree = 3, .f_frsize = PAGE};
  umemi_os.fstatvfs = scripted_fstatvfs;
  assert_int_equal(umemi_file_grow(&io, 0, 16 * MIB), ENOSPC);
  assert_int_equal(umemi_file_grow(&io, 0, 8 * MIB), 0);
  assert_int_equal(file_size(io_path()), 8 * MIB);
}

static void grow__file_system_that_does_not_know_its_room(void **state) {
  (void)state;
  umemi_os.fstatvfs = scripted_fstatvfs;
  room = (struct statvfs){.f_blocks = 0, .f_bfree = 0, .f_frsize = PAGE};
  assert_int_equal(umemi_file_grow(&io, 0, 5 * MIB), 0);
  room = (struct statvfs){.f_blocks = 1, .f_bfree = 0, .f_frsize = 0};
  assert_int_equal(umemi_file_grow(&io, 5 * MIB, 10 * MIB), 0);
  faults_install();
  faults_fail(FAULT_fstatvfs, 1, ENOSYS);
  assert_int_equal(umemi_file_grow(&io, 10 * MIB, 15 * MIB), 0);
  assert_int_equal(file_size(io_path()), 15 * MIB);
}

#define io_test(test)                                                          \
  cmocka_unit_test_setup_teardown(test, io_setup, io_teardown)
#define direct_test(test)                                                      \
  cmocka_unit_test_setup_teardown(test, direct_setup, io_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      io_test(transfer__takes_one_system_call_each),
      io_test(transfer__interrupted_calls_are_resumed),
      io_test(transfer__short_counts_are_continued),
      io_test(write__of_nothing_is_a_full_disk),
      io_test(read__past_the_end_tells_how_much_there_was),
      io_test(transfer__errno_comes_through_with_what_was_done),
      io_test(write__that_fails_midway_counts_what_it_wrote),
      io_test(transfer__offsets_beyond_4_GiB),
      io_test(transfer__asks_for_1_GiB_at_most_in_one_call),
      io_test(write__that_grows_by_much_reserves_space_first),
      io_test(write__that_grows_by_very_much_does_so_by_slices),
      io_test(write__goes_on_where_nothing_can_be_reserved),
      io_test(write__that_grows_and_fails_gives_the_rest_back),
      io_test(write__of_memory_that_cannot_be_read_reserves_little),
      direct_test(direct__head_and_tail_go_through_the_page_cache),
      direct_test(direct__less_than_a_page_is_ordinary),
      direct_test(direct__unaligned_memory_is_bounced_by_the_MiB),
      direct_test(direct__aligned_memory_goes_in_one_step),
      direct_test(direct__short_step_of_whole_pages_is_continued),
      direct_test(direct__step_that_ends_in_a_page_makes_the_rest_ordinary),
      direct_test(direct__read_at_the_end_tells_how_much_there_was),
      direct_test(direct__interrupted_step_is_resumed),
      direct_test(direct__failure_of_each_part_counts_what_was_done),
      direct_test(direct__with_little_memory_is_bounced_by_less),
      direct_test(direct__without_memory_to_bounce_goes_through_the_cache),
      direct_test(direct__real_device_takes_every_shape),
      faulty_test(limit__write_past_it_is_EFBIG_and_no_signal),
      faulty_test(limit__handler_of_the_program_is_not_called),
      faulty_test(limit__signal_that_was_pending_stays),
      faulty_test(limit__alloc_past_it_is_a_MemoryError),
      faulty_test(limit__alloc_without_fallocate_past_it_is_a_MemoryError),
      io_test(grow__reserves_in_slices_of_4_MiB),
      io_test(grow__interrupted_slice_is_resumed),
      io_test(grow__gets_on_in_a_storm_of_signals),
      io_test(grow__full_disk_midway_changes_no_byte_and_no_size),
      io_test(grow__that_cannot_keep_the_size_reserves_all_the_same),
      io_test(grow__without_fallocate_the_last_byte_extends),
      io_test(grow__without_fallocate_a_larger_file_is_left_alone),
      io_test(grow__without_fallocate_failures_come_through),
      io_test(grow__what_cannot_fit_is_refused_untouched),
      io_test(grow__absurd_size_is_refused_untouched),
      io_test(grow__what_the_file_has_reserved_already_is_room),
      io_test(grow__file_system_that_does_not_know_its_room),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
