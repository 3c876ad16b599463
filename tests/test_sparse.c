/* SPDX-License-Identifier: BSD-3-Clause */
/* Zeros that need not be read or written: holes of files, what devices know. */
#include "file_support.h"

#include "doubles/fake.h"

#include <errno.h>
#include <signal.h>

enum { KIB = 1 << 10, MIB = 1 << 20, PIECE = 256 * KIB };

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* --- files with holes ----------------------------------------------------- */

/* A file of a piece for each character: data for a 'D', else a hole. Its name
   is good until there are NAMES more. */
static char const *sparse_file(char const *pieces) {
  enum { NAMES = 8 };
  static char names[NAMES][512];
  static unsigned turn;
  char *name = names[turn++ % NAMES];
  snprintf(name, sizeof *names, "%s", new_path());
  unsigned char *data = malloc(PIECE);
  int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  assert_true(fd >= 0 && data);
  for (size_t i = 0; pieces[i]; i++) {
    random_bytes(data, PIECE, i + 1);
    if (pieces[i] == 'D')
      assert_int_equal(pwrite(fd, data, PIECE, (off_t)i * PIECE), PIECE);
  }
  assert_int_equal(ftruncate(fd, (off_t)strlen(pieces) * PIECE), 0);
  close(fd);
  free(data);
  return name;
}

/* Bytes of disk that a file takes. */
static uint64_t taken(char const *name) {
  struct stat st;
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  fsync(fd); /* else some file systems do not know yet */
  assert_int_equal(fstat(fd, &st), 0);
  close(fd);
  return (uint64_t)st.st_blocks * 512;
}

/* Does this file system keep holes, and tell of them? */
static bool has_holes(void) {
  static int known = -1;
  if (known < 0) {
    char const *name = sparse_file("D...");
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    known = taken(name) < 2 * PIECE && lseek(fd, PIECE, SEEK_DATA) < 0;
    close(fd);
  }
  return known;
}

static void need_holes(void) {
  if (has_holes())
    return;
  print_message("skipped: no holes on the file system of %s\n", temp_dir());
  skip();
}

/* All of a file: free() it. */
static unsigned char *contents(char const *name) {
  size_t size = (size_t)file_size(name);
  unsigned char *bytes = malloc(size + 1);
  assert_non_null(bytes);
  file_get(name, 0, bytes, size);
  return bytes;
}

/* Are bytes of one file those of the other? */
static bool same_bytes(char const *a, size_t from, char const *b, size_t to,
                       size_t nbytes) {
  unsigned char *one = contents(a), *other = contents(b);
  bool same = file_size(a) >= from + nbytes && file_size(b) >= to + nbytes &&
              memcmp(one + from, other + to, nbytes) == 0;
  free(one);
  free(other);
  return same;
}

/* Pieces that are holes, and in how many runs they lie. */
static size_t hole_bytes(char const *pieces, size_t *runs_out) {
  size_t nbytes = 0;
  *runs_out = 0;
  for (size_t i = 0; pieces[i]; i++) {
    nbytes += pieces[i] == 'D' ? 0 : PIECE;
    *runs_out += pieces[i] != 'D' && (i == 0 || pieces[i - 1] == 'D');
  }
  return nbytes;
}

static char const *const layouts[] = {
    "D....D",     "....DD",           "DD....",   "....",
    ".D..D....D", "DDDD....DDDD....", "DDDDDDDD", "D.D.D.D.D.D."};

/* --- copies to a file ----------------------------------------------------- */

static void copy_file(char const *from, char const *to, size_t at,
                      size_t nbytes) {
  umemFile f, g;
  file_open(&f, from, "r");
  file_open(&g, to, "r+");
  assert_ok(umem_copy_to(&f, 0, &g, at, nbytes));
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&f));
  assert_true(same_bytes(from, 0, to, at, nbytes));
}

static void copy__past_the_end_of_a_file_keeps_holes(void **state) {
  (void)state;
  need_holes();
  for (size_t i = 0; i < LENGTH(layouts); i++) {
    char const *from = sparse_file(layouts[i]), *to = new_path();
    size_t const size = (size_t)file_size(from);
    size_t runs, holes = hole_bytes(layouts[i], &runs);
    umemFile f, g;
    file_open(&f, from, "r");
    file_open(&g, to, "w");
    assert_ok(umem_copy_to(&f, 0, &g, 0, size));
    assert_ok(umem_dtor(&g));
    assert_ok(umem_dtor(&f));
    assert_int_equal(file_size(to), size);
    assert_true(same_bytes(from, 0, to, 0, size));
    /* the last byte of a hole may have to be written */
    assert_true(taken(to) <= size - holes + runs * 64 * KIB);
  }
}

/* Such space says nothing of what is in the file. */
static void copy__of_a_file_with_space_past_its_end_keeps_holes(void **state) {
  (void)state;
  need_holes();
  char const *from = sparse_file("D....D"), *to = new_path();
  int fd = open(from, O_RDWR | O_CLOEXEC);
  int failed = fallocate(fd, FALLOC_FL_KEEP_SIZE, 6 * PIECE, 8 * PIECE);
  close(fd);
  if (failed)
    skip();
  file_put(to, "", 0);
  copy_file(from, to, 0, 6 * PIECE);
  assert_true(same_bytes(from, 0, to, 0, 6 * PIECE));
  assert_true(taken(to) < 3 * PIECE);
}

static void copy__of_a_part_that_starts_and_ends_in_holes(void **state) {
  (void)state;
  need_holes();
  char const *from = sparse_file("DD........DD........DD"), *to = new_path();
  size_t const at = 3 * PIECE + 777, nbytes = 12 * PIECE + 13;
  umemFile f, g;
  file_open(&f, from, "r");
  file_open(&g, to, "w");
  assert_ok(umem_copy_to(&f, at, &g, 5, nbytes));
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&f));
  assert_int_equal(file_size(to), 5 + nbytes);
  assert_true(same_bytes(from, at, to, 5, nbytes));
  assert_true(taken(to) <= 3 * PIECE);
}

/* A file of `size` bytes of 'x', then copies; only the range changes. */
static void check_over_data(char const *from, size_t size, size_t to,
                            size_t nbytes) {
  char const *name = new_path();
  unsigned char *x = malloc(size);
  umemFile f, g;
  assert_non_null(x);
  memset(x, 'x', size);
  file_put(name, x, size);
  file_open(&f, from, "r");
  file_open(&g, name, "r+");
  assert_ok(umem_copy_to(&f, 0, &g, to, nbytes));
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&f));
  assert_true(same_bytes(from, 0, name, to, nbytes));
  unsigned char *now = contents(name);
  assert_true(all_bytes_are(now, to < size ? to : size, 'x'));
  if (to + nbytes < size)
    assert_true(all_bytes_are(now + to + nbytes, size - to - nbytes, 'x'));
  assert_int_equal(file_size(name), to + nbytes > size ? to + nbytes : size);
  free(now);
  free(x);
}

static void copy__over_data_puts_zeros_for_holes(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(layouts); i++) {
    char const *from = sparse_file(layouts[i]);
    size_t const size = (size_t)file_size(from);
    check_over_data(from, size + 1000, 500, size);   /* in the middle */
    check_over_data(from, size / 2, 0, size);        /* and past the end */
    check_over_data(from, size / 2 + 333, 77, size); /* on odd bytes */
    check_over_data(from, 100, 4096, size);          /* all past the end */
    check_over_data(from, 3 * PIECE, 11, 3 * PIECE); /* less than 1 MiB */
  }
}

static void copy__of_less_than_1_MiB_does_not_look_for_holes(void **state) {
  (void)state;
  char const *from = sparse_file("D..D");
  umemFile f, g;
  file_open(&f, from, "r");
  file_open(&g, new_path(), "w");
  faults_clear();
  faults_fail_from(FAULT_ioctl, 1, EOPNOTSUPP);
  assert_ok(umem_copy_to(&f, 0, &g, 0, MIB - 1));
  assert_int_equal(faults_count(FAULT_lseek), 0);
  assert_ok(umem_copy_to(&f, 0, &g, 0, MIB));
  assert_true(!has_holes() || faults_count(FAULT_lseek) > 0);
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&f));
}

/* lseek() moves the offset that others have, too. */
static void copy__from_a_descriptor_of_others_does_not_move_it(void **state) {
  (void)state;
  char const *from = sparse_file("D....D...."), *to = new_path();
  size_t const size = (size_t)file_size(from);
  umemFile f, g;
  int fd = open(from, O_RDWR | O_CLOEXEC);
  assert_int_equal(lseek(fd, 12345, SEEK_SET), 12345);
  file_open_ex(&f, NULL, "r",
               (umemFileOptions){.flags = UMEM_FILE_TAKE_FD, .fd = dup(fd)});
  file_open(&g, to, "w");
  faults_clear();
  assert_ok(umem_copy_to(&f, 0, &g, 0, size));
  assert_int_equal(faults_count(FAULT_lseek), 0);
  assert_int_equal(lseek(fd, 0, SEEK_CUR), 12345);
  assert_true(same_bytes(from, 0, to, 0, size));
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&f));
  close(fd);
}

/* What cannot be known is read. */
static void copy__whose_search_for_holes_fails_reads_all(void **state) {
  (void)state;
  static int const errors[] = {EINVAL, EIO, EOPNOTSUPP, ESPIPE, EOVERFLOW};
  char const *from = sparse_file(".D..D....D");
  size_t const size = (size_t)file_size(from);
  for (size_t i = 0; i < LENGTH(errors); i++)
    for (unsigned k = 1; k <= 5; k++) {
      char const *to = new_path();
      umemFile f, g;
      file_open(&f, from, "r");
      file_open(&g, to, "w");
      faults_fail(FAULT_lseek, k, errors[i]);
      assert_ok(umem_copy_to(&f, 0, &g, 0, size));
      assert_true(same_bytes(from, 0, to, 0, size));
      assert_ok(umem_dtor(&g));
      assert_ok(umem_dtor(&f));
      unlink(to);
    }
}

static void copy__that_cannot_look_at_the_source_tells_so(void **state) {
  (void)state;
  umemFile f, g;
  file_open(&f, sparse_file("D....D"), "r");
  file_open(&g, new_path(), "w");
  faults_fail_from(FAULT_ioctl, 1, EOPNOTSUPP);
  faults_fail(FAULT_fstat, 1, EIO);
  assert_fails(&g, umem_copy_to(&f, 0, &g, 0, 6 * PIECE), umemIOError,
               "source File: EIO (5)");
  assert_int_equal(last_error(&g).bytes_done, 0);
  umem_clean_status(&f);
  assert_ok(umem_copy_to(&f, 0, &g, 0, 6 * PIECE));
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&f));
}

static void copy__of_a_sparse_source_that_ends_early_is_exact(void **state) {
  (void)state;
  char const *from = sparse_file("D....D....");
  size_t const size = (size_t)file_size(from);
  for (unsigned threads = 0; threads < 2; threads++) {
    char const *to = new_path();
    umemFile f, g;
    assert_ok(umem_set_threads(threads));
    file_open(&f, from, "r");
    file_open(&g, to, "w");
    assert_fails(&g, umem_copy_to(&f, 13, &g, 0, size + 5 * MIB), umemIOError,
                 "source File: the file ends there");
    size_t done = (size_t)last_error(&g).bytes_done;
    assert_true(done <= size - 13);
    assert_true(done > size - 13 - MIB - 1); /* its chunk */
    assert_true(same_bytes(from, 13, to, 0, done));
    umem_clean_status(&f);
    assert_ok(umem_dtor(&g));
    assert_ok(umem_dtor(&f));
  }
  assert_ok(umem_set_threads(0));
}

static void copy__with_helpers_keeps_holes_and_bytes(void **state) {
  (void)state;
  char const *from =
      sparse_file("DDDDDDDDDDDDDDDDDDDDDDD......DDDDDDDDDDDDDDDDDDDDDDDDDD...");
  char const *to = new_path();
  size_t const size = (size_t)file_size(from);
  umemFile f, g;
  assert_ok(umem_set_threads(3));
  file_open(&f, from, "r");
  file_open(&g, to, "w");
  assert_ok(umem_copy_to(&f, 0, &g, 0, size));
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&f));
  assert_true(same_bytes(from, 0, to, 0, size));
  if (has_holes())
    assert_true(taken(to) <= size - 8 * PIECE);
  assert_ok(umem_set_threads(0));
}

static void copy__within_a_sparse_file_is_memmove(void **state) {
  (void)state;
  static size_t const moves[][3] = {/* from, to, bytes */
                                    {0, 3 * PIECE + 5, 6 * PIECE},
                                    {3 * PIECE + 5, 0, 6 * PIECE},
                                    {0, 10 * PIECE, 10 * PIECE},
                                    {10 * PIECE, 7, 6 * PIECE}};
  for (size_t i = 0; i < LENGTH(moves); i++) {
    char const *name = sparse_file("D....D....DD..DD");
    size_t const from = moves[i][0], to = moves[i][1], n = moves[i][2];
    size_t const size = 20 * PIECE;
    unsigned char *expected = calloc(1, size), *before = contents(name);
    umemFile f;
    assert_non_null(expected);
    memcpy(expected, before, 16 * PIECE);
    memmove(expected + to, expected + from, n);
    file_open(&f, name, "r+");
    assert_ok(umem_copy_to(&f, from, &f, to, n));
    assert_ok(umem_dtor(&f));
    unsigned char *now = contents(name);
    assert_int_equal(memcmp(now, expected, file_size(name)), 0);
    free(now);
    free(before);
    free(expected);
  }
}

/* --- copies over what is there ---------------------------------------------
 */

static void copy__over_an_older_copy_needs_no_more_space(void **state) {
  (void)state;
  need_holes();
  char const *from = sparse_file("D..D......D.");
  size_t const size = (size_t)file_size(from);
  for (size_t at = 0; at < 3; at++) {
    char const *to = file_with("");
    copy_file(from, to, at, size);
    uint64_t once = taken(to);
    copy_file(from, to, at, size);
    assert_true(taken(to) <= once);
  }
}

static void copy__of_holes_over_data_gives_their_space_back(void **state) {
  (void)state;
  need_holes();
  char const *from = sparse_file("D..D........"),
             *to = sparse_file("DDDDDDDDDDDD");
  size_t const size = (size_t)file_size(from);
  assert_true(taken(to) >= size);
  copy_file(from, to, 0, size);
  assert_true(taken(to) <= 4 * PIECE);
}

/* Zeros are written over what is none, or where nothing can be read. */
static void copy__of_holes_that_cannot_be_punched_puts_zeros(void **state) {
  (void)state;
  static int const missing[] = {EOPNOTSUPP, ENOSYS, EINVAL, EPERM, EAGAIN};
  for (size_t i = 0; i < LENGTH(missing); i++)
    for (unsigned k = 1; k <= 2; k++) {
      char const *from = sparse_file("D..D....D...");
      char const *to = sparse_file("DDDDDDDDDDDDDDDD");
      faults_clear();
      faults_fail(FAULT_fallocate, 1, missing[i]);
      if (k == 2)
        faults_fail_from(FAULT_fallocate, 1, missing[i]);
      copy_file(from, to, 77, (size_t)file_size(from));
      unlink(to);
    }
}

static void copy__down_in_a_sparse_file_keeps_its_holes(void **state) {
  (void)state;
  need_holes();
  char const *name = sparse_file("DDD.....D.........D");
  size_t const n = 16 * PIECE;
  unsigned char *before = contents(name);
  umemFile f;
  file_open(&f, name, "r+");
  assert_ok(umem_copy_to(&f, 3 * PIECE - 3, &f, 1, n));
  assert_ok(umem_dtor(&f));
  unsigned char *now = contents(name);
  assert_int_equal(memcmp(now + 1, before + 3 * PIECE - 3, n), 0);
  assert_true(taken(name) <= 5 * PIECE);
  free(now);
  free(before);
}

/* --- file systems that were not tried --------------------------------------
 */

/* FUSE, whose servers answer without looking at the page cache. */
static int fuse_fstatfs(int fd, struct statfs *fs) {
  int failed = fstatfs(fd, fs);
  fs->f_type = 0x65735546;
  return failed;
}

static off_t lseek_of_a_hole(int fd, off_t at, int whence) {
  if (whence == SEEK_HOLE)
    return at;
  (void)fd;
  errno = ENXIO;
  return -1;
}

static uint64_t lies;

/* A hole or data, somewhere behind. */
static off_t lseek_of_a_liar(int fd, off_t at, int whence) {
  if (random_below(&lies, 4) == 0)
    return lseek_of_a_hole(fd, at, SEEK_DATA);
  (void)whence;
  return at + (off_t)random_below(&lies, 3 * PIECE);
}

/* Does nothing, and says that it did. */
static int idle_fallocate(int fd, int mode, off_t at, off_t nbytes) {
  (void)fd, (void)mode, (void)at, (void)nbytes;
  return 0;
}

static int idle_ioctl(int fd, unsigned long request, void *argument) {
  (void)fd, (void)request, (void)argument;
  return 0;
}

static void copy__believes_no_holes_of_a_strange_file_system(void **state) {
  (void)state;
  umemi_os.fstatfs = fuse_fstatfs;
  umemi_os.lseek = lseek_of_a_hole;
  for (size_t i = 0; i < LENGTH(layouts); i++) {
    char const *from = sparse_file(layouts[i]);
    copy_file(from, file_with(""), 0, (size_t)file_size(from));
  }
  umemi_os.lseek = lseek_of_a_liar;
  lies = 1;
  for (unsigned i = 0; i < 30; i++) {
    char const *from = sparse_file(layouts[i % LENGTH(layouts)]);
    char const *to = file_with("");
    copy_file(from, to, 5, (size_t)file_size(from));
    unlink(from);
    unlink(to);
  }
}

static void
copy__keeps_holes_of_a_strange_file_system_that_are_zeros(void **s) {
  (void)s;
  need_holes();
  char const *from = sparse_file("D......D....."), *to = file_with("");
  umemi_os.fstatfs = fuse_fstatfs;
  copy_file(from, to, 0, (size_t)file_size(from));
  assert_true(taken(to) <= 5 * PIECE);
}

static void
copy__over_an_older_one_on_a_strange_file_system_fills_none(void **s) {
  (void)s;
  need_holes();
  char const *from = sparse_file("D......D....."),
             *to = sparse_file("D......DDDD..");
  umemi_os.fstatfs = fuse_fstatfs;
  umemi_os.fallocate = idle_fallocate;
  uint64_t before = taken(to);
  copy_file(from, to, 0, (size_t)file_size(from));
  assert_true(taken(to) <= before);
}

static void copy__of_which_nobody_knows_the_file_system_is_exact(void **state) {
  (void)state;
  char const *from = sparse_file(".D..D....D..");
  size_t const size = (size_t)file_size(from);
  faults_fail_from(FAULT_fstatfs, 1, ENOSYS);
  umemi_os.lseek = lseek_of_a_hole;
  copy_file(from, sparse_file("DDDDDDDDDDDDDDD"), 3, size);
}

static void zeros__of_a_strange_file_system_are_written(void **state) {
  (void)state;
  char const *from = sparse_file("D..D...."), *to = sparse_file("DDDDDDDDDD");
  umemFile f;
  umemi_os.fstatfs = fuse_fstatfs;
  umemi_os.fallocate = idle_fallocate;
  copy_file(from, to, 3, 8 * PIECE);
  file_open(&f, to, "r+");
  assert_ok(umem_try_set(&f, PIECE, 0, 5 * PIECE));
  unsigned char *now = contents(to);
  assert_true(all_bytes_are(now + PIECE, 5 * PIECE, 0));
  free(now);
  assert_ok(umem_dtor(&f));
}

static void copy__shares_nothing_on_a_strange_file_system(void **state) {
  (void)state;
  char const *from = sparse_file("DDDD"), *to = sparse_file("....");
  umemi_os.fstatfs = fuse_fstatfs;
  umemi_os.ioctl = idle_ioctl;
  copy_file(from, to, 0, 4 * PIECE);
}

/* What is in the page cache alone is data. */
static void copy__of_bytes_that_were_just_stored_brings_them(void **state) {
  (void)state;
  char const *name = sparse_file("D..........."), *to = new_path();
  size_t const size = (size_t)file_size(name), at = 5 * PIECE + 77;
  umemMMap m;
  umemFile g;
  assert_ok(umemMMap_ctor(&m, name, "r+"));
  file_open(&g, to, "w+");
  uintptr_t base = umemMMap_get_address(&m, NULL);
  for (int i = 0; i < 3; i++) {
    memset((void *)(base + at + (size_t)i * PIECE), 'D', 1000);
    assert_ok(umem_copy_to(&m, base, &g, 0, size));
    assert_true(same_bytes(name, 0, to, 0, size));
  }
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&m));
}

/* --- set to zero ---------------------------------------------------------- */

/* A File of `size` bytes of 'x'. */
static char const *file_of_x(umemFile *f, size_t size) {
  char const *name = new_path();
  file_open(f, name, "w+");
  if (size)
    assert_ok(umem_try_set(f, 0, 'x', size));
  return name;
}

/* Bytes `at` ... `at + nbytes` are 0, all before and behind are 'x'. */
static void check_zeroed(char const *name, size_t size, size_t at,
                         size_t nbytes) {
  unsigned char *now = contents(name);
  size_t const end = at + nbytes;
  assert_int_equal(file_size(name), end > size ? end : size);
  assert_true(all_bytes_are(now, at < size ? at : size, 'x'));
  assert_true(all_bytes_are(now + at, nbytes, 0));
  if (at > size)
    assert_true(all_bytes_are(now + size, at - size, 0));
  if (end < size)
    assert_true(all_bytes_are(now + end, size - end, 'x'));
  free(now);
}

static void set__to_zero_is_exact_inside_and_past_the_end(void **state) {
  (void)state;
  static size_t const sets[][3] = {/* size, at, bytes */
                                   {4 * MIB, MIB + 13, 2 * MIB},
                                   {4 * MIB, 0, 4 * MIB},
                                   {4 * MIB, 4096, 64 * KIB},
                                   {4 * MIB, 4096, 64 * KIB - 1},
                                   {4 * MIB, 3 * MIB + 1, 2 * MIB},
                                   {MIB, MIB, 2 * MIB},
                                   {100, 5 * MIB + 7, MIB},
                                   {0, 0, 64 * KIB},
                                   {0, 0, 70 * MIB}};
  for (size_t i = 0; i < LENGTH(sets); i++) {
    umemFile f;
    char const *name = file_of_x(&f, sets[i][0]);
    assert_ok(umem_try_set(&f, sets[i][1], i % 2 ? 0x100 : 0, sets[i][2]));
    check_zeroed(name, sets[i][0], sets[i][1], sets[i][2]);
    assert_ok(umem_dtor(&f));
    unlink(name);
  }
}

static void set__to_zero_of_a_large_range_writes_next_to_nothing(void **st) {
  (void)st;
  need_holes();
  umemFile f;
  char const *name = file_of_x(&f, MIB);
  faults_clear();
  assert_ok(umem_try_set(&f, 2 * MIB, 0, 16 * MIB));
  assert_string_equal(faults_trace(), "fstat fstat pwrite");
  assert_true(taken(name) < 2 * MIB);
  assert_int_equal(umem_set(&f, 4 * MIB, 'y', 10), 4 * MIB); /* as any other */
  faults_clear();
  assert_ok(umem_try_set(&f, 0, 'x', 2 * MIB)); /* no zeros */
  assert_int_equal(faults_count(FAULT_fallocate), 0);
  assert_int_equal(faults_count(FAULT_pwrite), 2);
  assert_ok(umem_dtor(&f));
}

static void set__to_zero_of_a_little_is_written(void **state) {
  (void)state;
  umemFile f;
  file_of_x(&f, MIB);
  faults_clear();
  assert_ok(umem_try_set(&f, 5, 0, 64 * KIB - 1));
  assert_string_equal(faults_trace(), "pwrite");
  assert_ok(umem_dtor(&f));
}

static void set__to_zero_without_fallocate_is_written(void **state) {
  (void)state;
  static int const missing[] = {EOPNOTSUPP, ENOSYS, EINVAL, EPERM, EAGAIN};
  for (size_t i = 0; i < LENGTH(missing); i++) {
    umemFile f;
    char const *name = file_of_x(&f, 3 * MIB);
    faults_fail_from(FAULT_fallocate, 1, missing[i]);
    assert_ok(umem_try_set(&f, 7, 0, 2 * MIB));
    check_zeroed(name, 3 * MIB, 7, 2 * MIB);
    assert_ok(umem_try_set(&f, 2 * MIB, 0, 2 * MIB));
    unsigned char *now = contents(name);
    assert_int_equal(file_size(name), 4 * MIB);
    assert_true(all_bytes_are(now + 7, 4 * MIB - 7, 0));
    free(now);
    faults_clear();
    assert_ok(umem_dtor(&f));
  }
}

static void set__to_zero_that_is_interrupted_goes_on(void **state) {
  (void)state;
  umemFile f;
  char const *name = file_of_x(&f, 2 * MIB);
  faults_fail(FAULT_fallocate, 1, EINTR);
  assert_ok(umem_try_set(&f, 100, 0, MIB));
  check_zeroed(name, 2 * MIB, 100, MIB);
  assert_ok(umem_dtor(&f));
}

static void set__to_zero_that_fails_tells_errno(void **state) {
  (void)state;
  static int const errors[] = {ENOSPC, EIO, EDQUOT, EFBIG};
  for (size_t i = 0; i < LENGTH(errors); i++) {
    umemFile f;
    char const *name = file_of_x(&f, 2 * MIB);
    faults_fail(i % 2 ? FAULT_fstat : FAULT_fallocate, 1, errors[i]);
    assert_status(umem_try_set(&f, 0, 0, MIB), umemIOError);
    assert_int_equal(last_error(&f).sys_errno, errors[i]);
    assert_int_equal(last_error(&f).bytes_done, 0);
    umem_clean_status(&f);
    assert_int_equal(file_size(name), 2 * MIB);
    assert_ok(umem_try_set(&f, 0, 0, MIB));
    check_zeroed(name, 2 * MIB, 0, MIB);
    assert_ok(umem_dtor(&f));
  }
}

static void set__to_zero_of_what_may_not_be_written_is_refused(void **state) {
  (void)state;
  umemFile f;
  char const *name = file_of_x(&f, MIB);
  assert_ok(umem_dtor(&f));
  static char const *const modes[] = {"r", "a"};
  for (size_t i = 0; i < 2; i++) {
    file_open(&f, name, modes[i]);
    assert_fails(&f, umem_try_set(&f, 0, 0, MIB), umemValueError, "opened for");
    assert_ok(umem_dtor(&f));
  }
  check_zeroed(name, MIB, MIB, 0);
}

/* --- RLIMIT_FSIZE: in a child --------------------------------------------- */

static struct rlimit unlimited;
static char const *limited_source;

static void limit_set(rlim_t nbytes) {
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
  struct rlimit limit = {nbytes, unlimited.rlim_max};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void limited_zeros(void) {
  umemFile f, g;
  char const *name = temp_path("limited");
  signal(SIGXFSZ, SIG_DFL);
  limit_set(3 * MIB);
  file_open(&f, limited_source, "r");
  file_open(&g, name, "w+");
  assert_fails(&g, umem_try_set(&g, 0, 0, 3 * MIB + 1), umemIOError,
               "EFBIG (27)");
  assert_true(last_error(&g).bytes_done <= 3 * MIB);
  assert_ok(umem_try_set(&g, 0, 0, 3 * MIB));
  assert_fails(&g, umem_copy_to(&f, 0, &g, PIECE, 12 * PIECE), umemIOError,
               "EFBIG (27)");
  size_t done = (size_t)last_error(&g).bytes_done;
  assert_true(done <= 11 * PIECE);
  assert_true(same_bytes(limited_source, 0, name, PIECE, done));
  assert_true(file_size(name) <= 3 * MIB);
  assert_ok(umem_copy_to(&f, 0, &g, 0, 12 * PIECE));
  assert_true(same_bytes(limited_source, 0, name, 0, 12 * PIECE));
  umem_clean_status(&f);
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&f));
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
}

static int fstat_of_a_device(int fd, struct stat *st) {
  int failed = faults_real.fstat(fd, st);
  st->st_mode = (st->st_mode & ~(mode_t)S_IFMT) | S_IFBLK;
  return failed;
}

/* It is a limit of files. */
static void limited_device(void) {
  int fd = open(sparse_file("DDDD"), O_RDWR | O_CLOEXEC);
  struct umemiFileIo io = umemi_file_io(fd);
  umemi_os.fstat = fstat_of_a_device;
  limit_set(PIECE);
  int failed = umemi_file_zero(&io, PIECE, PIECE, UMEMI_RESERVED_ZEROES);
  assert_true(failed == 0 || failed == EOPNOTSUPP);
  close(fd);
}

static void limit__of_file_sizes_is_none_of_devices(void **state) {
  (void)state;
  assert_child_succeeds(limited_device);
}

static void limit__of_file_sizes_is_told_without_a_signal(void **state) {
  (void)state;
  static char const *const sources[] = {"D..........D", "DDDD........",
                                        "............"};
  for (size_t i = 0; i < LENGTH(sources); i++) {
    limited_source = sparse_file(sources[i]);
    assert_child_succeeds(limited_zeros);
  }
}

/* --- next_data of files, by itself ---------------------------------------- */

static void next_data__of_a_file_tells_holes_and_data(void **state) {
  (void)state;
  need_holes();
  struct umemiFileIo io = {.direct_fd = -1};
  uint64_t data, end;
  uint64_t const size = 6 * (uint64_t)PIECE;
  io.fd = open(sparse_file("..D..."), O_RDONLY | O_CLOEXEC);
  assert_int_equal(umemi_file_next_data(&io, 0, size, &data, &end), 0);
  assert_true(data == 2 * PIECE && end == 3 * PIECE);
  assert_int_equal(umemi_file_next_data(&io, 0, PIECE, &data, &end), 0);
  assert_true(data == PIECE && end == PIECE); /* a hole, all of it */
  assert_int_equal(
      umemi_file_next_data(&io, 2 * PIECE + 5, 2 * PIECE + 99, &data, &end), 0);
  assert_true(data == 2 * PIECE + 5 && end == 2 * PIECE + 99);
  assert_int_equal(umemi_file_next_data(&io, 4 * PIECE, size, &data, &end), 0);
  assert_true(data == size && end == size);
  assert_int_equal(umemi_file_next_data(&io, 0, size + 1, &data, &end), 0);
  assert_true(data == 0 && end == size + 1); /* reading has to tell the end */
  close(io.fd);
}

/* --- devices that know their zeros ---------------------------------------- */

static umemVirtual knowing;
static struct fake device;

/* A device that knows zeros by the PIECE, with room for 16 of them. */
static void knowing_begin(bool sets) {
  assert_ok(fake_ctor(
      &knowing, &device,
      &(struct fakeConfig){.without = FAKE_VIEWS | 1u << FAKE_COPY_PEER,
                           .hole = PIECE,
                           .sets = sets,
                           .capacity = 16 * PIECE}));
  random_bytes(device.bytes, 16 * PIECE, 5);
  fake_forget(&device);
}

static void knowing_end(void) {
  assert_ok(umem_dtor(&knowing));
  fake_end(&device);
}

static void zero_pieces(char const *pieces) {
  for (size_t i = 0; pieces[i]; i++)
    if (pieces[i] != 'D')
      memset(device.bytes + i * PIECE, 0, PIECE);
}

static void device__that_knows_zeros_is_not_read_there(void **state) {
  (void)state;
  umemFile g;
  char const *name = new_path();
  knowing_begin(false);
  zero_pieces("D....D......");
  file_open(&g, name, "w");
  assert_ok(umem_copy_to(&knowing, FAKE_BASE, &g, 0, 12 * PIECE));
  assert_int_equal(device.calls[FAKE_READ], 2);
  assert_ok(umem_dtor(&g));
  unsigned char *now = contents(name);
  assert_int_equal(memcmp(now, device.bytes, 12 * PIECE), 0);
  free(now);
  if (has_holes())
    assert_true(taken(name) <= 4 * PIECE);
  knowing_end();
}

static void device__that_can_set_gets_holes_without_writes(void **state) {
  (void)state;
  need_holes();
  umemFile f;
  char const *name = sparse_file(".D....D....D");
  knowing_begin(true);
  file_open(&f, name, "r");
  assert_ok(umem_copy_to(&f, 0, &knowing, FAKE_BASE + 3, 12 * PIECE));
  assert_int_equal(device.calls[FAKE_SET], 3);
  assert_int_equal(device.calls[FAKE_WRITE], 3);
  unsigned char *now = contents(name);
  assert_int_equal(memcmp(now, device.bytes + 3, 12 * PIECE), 0);
  free(now);
  assert_ok(umem_dtor(&f));
  knowing_end();
}

static void device__that_cannot_set_gets_zeros_written(void **state) {
  (void)state;
  umemFile f;
  char const *name = sparse_file(".D....D....D");
  for (int declines = 0; declines < 2; declines++) {
    knowing_begin(declines);
    device.config.declines = 1u << FAKE_SET;
    file_open(&f, name, "r");
    assert_ok(umem_copy_to(&f, 0, &knowing, FAKE_BASE, 12 * PIECE));
    unsigned char *now = contents(name);
    assert_int_equal(memcmp(now, device.bytes, 12 * PIECE), 0);
    free(now);
    assert_ok(umem_dtor(&f));
    knowing_end();
  }
}

static unsigned punched;

static umemStatusType counting_punch(void *state, uintptr_t adr, size_t nbytes,
                                     umemError *error) {
  struct fake const *fake = state;
  (void)error;
  memset(fake->bytes + (adr - FAKE_BASE), 0, nbytes);
  punched++;
  return umemOK;
}

static void device__that_can_punch_is_not_set(void **state) {
  (void)state;
  need_holes();
  struct fakeOne dest;
  umemFile f;
  char const *name = sparse_file(".D....D....D");
  struct fakeConfig const config = {
      .without = FAKE_VIEWS, .sets = true, .capacity = 16 * PIECE};
  fake_init(&dest.device, &config);
  struct umemVtbl vtbl = fake_vtbl(&dest.device.config);
  vtbl.punch = counting_punch;
  assert_ok(umemVirtual_ctor_ex(&dest.ctx, &vtbl, &dest.device));
  memset(dest.device.bytes, 'x', 16 * PIECE);
  file_open(&f, name, "r");
  punched = 0;
  assert_ok(umem_copy_to(&f, 0, &dest.ctx, FAKE_BASE, 12 * PIECE));
  assert_int_equal(punched, 3);
  assert_int_equal(dest.device.calls[FAKE_SET], 0);
  unsigned char *now = contents(name);
  assert_int_equal(memcmp(now, dest.device.bytes, 12 * PIECE), 0);
  free(now);
  assert_ok(umem_dtor(&f));
  fake_one_end(&dest);
}

/* --- failures in the middle ----------------------------------------------- */

/* Of a copy from the device, whose pieces are "D....D......", to itself. */
static void check_failure(enum fakeSlot slot, unsigned call, size_t moved,
                          size_t done) {
  struct fakeOne dest;
  fake_one_begin(&dest, &(struct fakeConfig){.sets = true,
                                             .without = FAKE_VIEWS,
                                             .capacity = 16 * PIECE});
  memset(dest.device.bytes, 'x', 16 * PIECE);
  fake_fail(
      slot == FAKE_READ || slot == FAKE_NEXT_DATA ? &device : &dest.device,
      slot,
      &(struct fakeFault){.call = call, .type = umemIOError, .moved = moved});
  assert_status(
      umem_copy_to(&knowing, FAKE_BASE, &dest.ctx, FAKE_BASE, 12 * PIECE),
      umemIOError);
  assert_int_equal(last_error(&dest.ctx).bytes_done, done);
  assert_int_equal(memcmp(dest.device.bytes, device.bytes, done), 0);
  assert_true(all_bytes_are(dest.device.bytes + 12 * PIECE, 4 * PIECE, 'x'));
  umem_clean_status(&knowing);
  fake_fail(&device, slot, &(struct fakeFault){.call = 0});
  fake_one_end(&dest);
}

static void failure__in_the_middle_of_holes_is_exact(void **state) {
  (void)state;
  knowing_begin(false);
  zero_pieces("D....D......");
  check_failure(FAKE_NEXT_DATA, 1, 0, 0);
  check_failure(FAKE_READ, 1, 9, 0);
  check_failure(FAKE_WRITE, 1, 9, 9);
  check_failure(FAKE_NEXT_DATA, 2, 0, PIECE);
  check_failure(FAKE_SET, 1, 0, PIECE);
  check_failure(FAKE_SET, 1, 1234, PIECE + 1234);
  check_failure(FAKE_READ, 2, 9, 5 * PIECE);
  check_failure(FAKE_WRITE, 2, 9, 5 * PIECE + 9);
  check_failure(FAKE_NEXT_DATA, 3, 0, 6 * PIECE);
  check_failure(FAKE_SET, 2, PIECE, 7 * PIECE);
  knowing_end();
}

static void failure__of_a_write_of_zeros_is_exact(void **state) {
  (void)state;
  knowing_begin(false);
  zero_pieces("D....D......");
  struct fakeOne dest;
  fake_one_begin(&dest, &(struct fakeConfig){.without = FAKE_VIEWS,
                                             .capacity = 16 * PIECE});
  fake_fail(&dest.device, FAKE_WRITE,
            &(struct fakeFault){.call = 2, .type = umemIOError, .moved = 77});
  assert_status(
      umem_copy_to(&knowing, FAKE_BASE, &dest.ctx, FAKE_BASE, 12 * PIECE),
      umemIOError);
  assert_int_equal(last_error(&dest.ctx).bytes_done, PIECE + 77);
  assert_int_equal(memcmp(dest.device.bytes, device.bytes, PIECE + 77), 0);
  umem_clean_status(&knowing);
  fake_one_end(&dest);
  knowing_end();
}

/* --- what no device should answer ----------------------------------------- */

static size_t told_zeros, told_data;

static umemStatusType wild_next_data(void *state, uintptr_t adr, size_t nbytes,
                                     size_t *zeros_out, size_t *data_out,
                                     umemError *error) {
  (void)state, (void)adr, (void)nbytes, (void)error;
  *zeros_out = told_zeros;
  *data_out = told_data;
  return umemOK;
}

static void next_data__that_is_absurd_is_cut_off(void **state) {
  (void)state;
  static size_t const told[][2] = {{0, 0},       {0, 1000},     {0, SIZE_MAX},
                                   {0, 2 * MIB}, {0, MIB + 17}, {0, MIB}};
  enum { NBYTES = MIB + 17 };
  struct fakeOne src, dest;
  fake_init(&src.device,
            &(struct fakeConfig){.without = FAKE_VIEWS | 1u << FAKE_COPY_PEER});
  struct umemVtbl vtbl = fake_vtbl(&src.device.config);
  vtbl.next_data = wild_next_data;
  assert_ok(umemVirtual_ctor_ex(&src.ctx, &vtbl, &src.device));
  fake_one_begin(&dest,
                 &(struct fakeConfig){.without = FAKE_VIEWS, .sets = true});
  random_bytes(src.device.bytes, NBYTES, 3);
  for (size_t i = 0; i < LENGTH(told); i++) {
    told_zeros = told[i][0];
    told_data = told[i][1];
    memset(dest.device.bytes, 'x', NBYTES + 100);
    assert_ok(umem_copy_to(&src.ctx, FAKE_BASE, &dest.ctx, FAKE_BASE, NBYTES));
    assert_int_equal(memcmp(dest.device.bytes, src.device.bytes, NBYTES), 0);
    assert_true(all_bytes_are(dest.device.bytes + NBYTES, 100, 'x'));
  }
  told_zeros = told_data = SIZE_MAX; /* all are zeros, it says */
  assert_ok(umem_copy_to(&src.ctx, FAKE_BASE, &dest.ctx, FAKE_BASE, NBYTES));
  assert_true(all_bytes_are(dest.device.bytes, NBYTES, 0));
  assert_true(all_bytes_are(dest.device.bytes + NBYTES, 100, 'x'));
  fake_one_end(&dest);
  fake_one_end(&src);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(copy__past_the_end_of_a_file_keeps_holes),
      faulty_test(copy__of_a_file_with_space_past_its_end_keeps_holes),
      faulty_test(copy__of_a_part_that_starts_and_ends_in_holes),
      faulty_test(copy__over_data_puts_zeros_for_holes),
      faulty_test(copy__of_less_than_1_MiB_does_not_look_for_holes),
      faulty_test(copy__from_a_descriptor_of_others_does_not_move_it),
      faulty_test(copy__whose_search_for_holes_fails_reads_all),
      faulty_test(copy__that_cannot_look_at_the_source_tells_so),
      faulty_test(copy__of_a_sparse_source_that_ends_early_is_exact),
      faulty_test(copy__with_helpers_keeps_holes_and_bytes),
      faulty_test(copy__within_a_sparse_file_is_memmove),
      faulty_test(copy__over_an_older_copy_needs_no_more_space),
      faulty_test(copy__of_holes_over_data_gives_their_space_back),
      faulty_test(copy__of_holes_that_cannot_be_punched_puts_zeros),
      faulty_test(copy__down_in_a_sparse_file_keeps_its_holes),
      faulty_test(copy__believes_no_holes_of_a_strange_file_system),
      faulty_test(copy__keeps_holes_of_a_strange_file_system_that_are_zeros),
      faulty_test(copy__over_an_older_one_on_a_strange_file_system_fills_none),
      faulty_test(copy__of_which_nobody_knows_the_file_system_is_exact),
      faulty_test(zeros__of_a_strange_file_system_are_written),
      faulty_test(copy__shares_nothing_on_a_strange_file_system),
      faulty_test(copy__of_bytes_that_were_just_stored_brings_them),
      faulty_test(set__to_zero_is_exact_inside_and_past_the_end),
      faulty_test(set__to_zero_of_a_large_range_writes_next_to_nothing),
      faulty_test(set__to_zero_of_a_little_is_written),
      faulty_test(set__to_zero_without_fallocate_is_written),
      faulty_test(set__to_zero_that_is_interrupted_goes_on),
      faulty_test(set__to_zero_that_fails_tells_errno),
      faulty_test(set__to_zero_of_what_may_not_be_written_is_refused),
      faulty_test(limit__of_file_sizes_is_none_of_devices),
      faulty_test(limit__of_file_sizes_is_told_without_a_signal),
      faulty_test(next_data__of_a_file_tells_holes_and_data),
      faulty_test(device__that_knows_zeros_is_not_read_there),
      faulty_test(device__that_can_set_gets_holes_without_writes),
      faulty_test(device__that_cannot_set_gets_zeros_written),
      faulty_test(device__that_can_punch_is_not_set),
      faulty_test(failure__in_the_middle_of_holes_is_exact),
      faulty_test(failure__of_a_write_of_zeros_is_exact),
      faulty_test(next_data__that_is_absurd_is_cut_off),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
