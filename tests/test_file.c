/* SPDX-License-Identifier: BSD-3-Clause */
/* src/backends/file.c: what a File is to its user. */
#include "file_support.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

enum { PAGE = 4096, MIB = 1 << 20, SKIPPED = 77 };

/* A File of a new name in mode w+. */
static char const *new_file(umemFile *f) {
  char const *name = new_path();
  file_open(f, name, "w+");
  return name;
}

static umemStatusType host_to_file(void const *in, umemFile *f, uintptr_t at,
                                   size_t nbytes) {
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  return umem_copy_to(&host, (uintptr_t)in, f, at, nbytes);
}

static uintptr_t allocated(umemFile *f, size_t nbytes) {
  uintptr_t adr = UINTPTR_MAX;
  assert_status(umem_try_alloc(f, nbytes, &adr), umemOK);
  return adr;
}

/* --- alloc ---------------------------------------------------------------- */

static void alloc__the_first_in_an_empty_file_is_at_0(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  char bytes[10];
  assert_int_equal(allocated(&f, 10), 0);
  assert_int_equal(file_size(name), 10);
  assert_ok(read_bytes(&f, 0, bytes, 10));
  assert_true(all_bytes_are(bytes, 10, 0));
  assert_int_equal(umem_alloc(&f, 5), 10);
  assert_int_equal(file_size(name), 15);
  assert_ok(umem_dtor(&f));
}

static void alloc__contents_are_the_users_bytes_only(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  assert_ok(write_text(&f, allocated(&f, 3), "one"));
  assert_ok(write_text(&f, allocated(&f, 3), "two"));
  assert_ok(umem_free(&f, 0));
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "onetwo");
}

static void alloc__is_past_everything_in_use(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile f;
  file_open(&f, name, "r+");
  assert_int_equal(allocated(&f, 10), 6);
  assert_ok(write_text(&f, 100, "far"));
  assert_int_equal(allocated(&f, 7), 103);
  assert_int_equal(file_size(name), 110);
  assert_int_equal(truncate(name, 0), 0);
  assert_int_equal(allocated(&f, 1), 110);
  assert_int_equal(file_size(name), 111);
  assert_ok(umem_dtor(&f));
}

static void alloc__in_mode_a_starts_behind_what_was_there(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile f;
  file_open(&f, name, "a");
  assert_int_equal(allocated(&f, 4), 6);
  assert_ok(write_text(&f, 6, "more"));
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "samplemore");
}

static void alloc__that_cannot_look_at_the_file_reserves_nothing(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr = 77;
  char const *name = new_file(&f);
  faults_fail(FAULT_fstat, 1, EIO);
  assert_fails(&f, umem_try_alloc(&f, 10, &adr), umemIOError, "fstat");
  assert_int_equal(adr, 77);
  assert_int_equal(allocated(&f, 10), 0);
  assert_int_equal(file_size(name), 10);
  assert_ok(umem_dtor(&f));
}

static void alloc__absurd_sizes_are_MemoryErrors(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  uintptr_t adr;
  assert_fails(&f, umem_try_alloc(&f, SIZE_MAX, &adr), umemMemoryError,
               "PTRDIFF_MAX");
  assert_fails(&f, umem_try_alloc(&f, PTRDIFF_MAX, &adr), umemMemoryError,
               "ENOSPC (28)");
  assert_fails(&f, umem_try_calloc(&f, SIZE_MAX / 2, 3, &adr), umemMemoryError,
               "PTRDIFF_MAX");
  assert_fails(&f, umem_try_calloc(&f, PTRDIFF_MAX, 1, &adr), umemMemoryError,
               "ENOSPC (28)");
  assert_int_equal(file_size(name), 0);
  assert_int_equal(allocated(&f, 10), 0);
  assert_ok(umem_dtor(&f));
}

/* --- what becomes of a growth that fails ---------------------------------- */

static int second_slice_fails(int fd, int mode, off_t at, off_t nbytes) {
  if (at == 0)
    return faults_real.fallocate(fd, mode, at, nbytes);
  errno = ENOSPC;
  return -1;
}

static void alloc__on_a_full_disk_is_a_MemoryError(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr = 77;
  char const *name = new_file(&f);
  umemi_os.fallocate = second_slice_fails;
  assert_fails(&f, umem_try_alloc(&f, 5 * MIB, &adr), umemMemoryError,
               "ENOSPC (28)");
  assert_int_equal(adr, 77);
  assert_int_equal(file_size(name), 0);
  assert_ok(umem_dtor(&f));
}

static void alloc__after_a_failed_growth_reserves_blocks_again(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  struct stat st;
  char const *name = new_file(&f);
  umemi_os.fallocate = second_slice_fails;
  assert_fails(&f, umem_try_alloc(&f, 5 * MIB, &adr), umemMemoryError, "");
  umemi_os.fallocate = faults_real.fallocate;
  assert_ok(umem_try_alloc(&f, MIB, &adr));
  assert_int_equal(stat(name, &st), 0);
  assert_true(st.st_blocks * 512 >= MIB);
  assert_ok(umem_dtor(&f));
}

static void alloc__after_a_failed_one_is_past_everything_in_use(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile f;
  uintptr_t adr;
  file_open(&f, name, "r+");
  assert_fails(&f, umem_try_alloc(&f, PTRDIFF_MAX / 2, &adr), umemMemoryError,
               "");
  assert_ok(write_text(&f, 6, " in use"));
  assert_int_equal(allocated(&f, 4), 13);
  assert_ok(umem_dtor(&f));
}

/* Meanwhile, another context copies past the end. */
static char const *grown_name;

static int writes_then_fails(int fd, int mode, off_t at, off_t nbytes) {
  if (at == 0)
    return faults_real.fallocate(fd, mode, at, nbytes);
  umemFile other;
  file_open(&other, grown_name, "r+");
  assert_ok(write_text(&other, 5000, "sample"));
  assert_ok(umem_dtor(&other));
  errno = ENOSPC;
  return -1;
}

static void alloc__that_fails_keeps_what_others_copied_meanwhile(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  char text[6];
  grown_name = new_file(&f);
  umemi_os.fallocate = writes_then_fails;
  assert_fails(&f, umem_try_alloc(&f, 5 * MIB, &adr), umemMemoryError, "");
  assert_ok(read_bytes(&f, 5000, text, 6));
  assert_memory_equal(text, "sample", 6);
  assert_ok(umem_dtor(&f));
}

/* --- free ----------------------------------------------------------------- */

/* --- what another thread allocates while a growth fails ------------------- */

static umemFile *others; /* allocates ten bytes once, when it is asked */
static uintptr_t others_adr;

static void other_allocates(void) {
  umemFile *f = others;
  others = NULL;
  if (f)
    others_adr = allocated(f, 10);
}

static int other_fstatvfs(int fd, struct statvfs *fs) {
  other_allocates();
  return faults_real.fstatvfs(fd, fs);
}

static int other_fallocate(int fd, int mode, off_t at, off_t nbytes) {
  bool first = others != NULL;
  other_allocates();
  if (!first)
    return faults_real.fallocate(fd, mode, at, nbytes);
  errno = ENOSPC;
  return -1;
}

/* As ext4, which has room for so many bytes in a file. */
static off_t bounded_lseek(int fd, off_t at, int whence) {
  if (whence != SEEK_SET || at <= (off_t)1 << 33)
    return faults_real.lseek(fd, at, whence);
  errno = EINVAL;
  return -1;
}

static int roomy_fstatvfs(int fd, struct statvfs *fs) {
  int failed = other_fstatvfs(fd, fs);
  fs->f_blocks = 0;
  return failed;
}

static void alloc__that_is_refused_moves_no_other_block(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  char const *name = new_file(&f);
  umemi_os.fstatvfs = other_fstatvfs;
  others = &f;
  assert_fails(&f, umem_try_alloc(&f, (size_t)1 << 50, &adr), umemMemoryError,
               "ENOSPC (28)");
  assert_int_equal(others_adr, 0);
  assert_int_equal(file_size(name), 10);
  assert_ok(umem_dtor(&f));
  file_open(&f, name, "r+");
  umemi_os.fstatvfs = roomy_fstatvfs;
  umemi_os.lseek = bounded_lseek;
  others = &f;
  assert_fails(&f, umem_try_alloc(&f, ((size_t)1 << 33) + 1, &adr),
               umemMemoryError, "EFBIG (27)");
  assert_int_equal(others_adr, 10);
  assert_int_equal(file_size(name), 20);
  assert_ok(umem_dtor(&f));
}

static void alloc__that_fails_leaves_its_range_to_the_next(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  struct stat st;
  char const *name = new_file(&f);
  umemi_os.fallocate = other_fallocate;
  others = &f;
  assert_fails(&f, umem_try_alloc(&f, MIB, &adr), umemMemoryError,
               "ENOSPC (28)");
  assert_int_equal(others_adr, MIB);
  assert_ok(write_text(&f, 100, "sample")); /* nobody's bytes */
  assert_int_equal(umem_calloc(&f, 1, MIB - 10), 0);
  char bytes[6];
  assert_ok(read_bytes(&f, 100, bytes, 6));
  assert_true(all_bytes_are(bytes, 6, 0));
  assert_int_equal(stat(name, &st), 0);
  assert_true(st.st_blocks * 512 >= MIB - 10); /* it is reserved */
  assert_int_equal(allocated(&f, 10), MIB - 10);
  assert_int_equal(allocated(&f, 10), MIB + 10);
  assert_ok(umem_dtor(&f));
}

static void free__changes_nothing_in_the_file(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  assert_int_equal(allocated(&f, 6), 0);
  assert_ok(write_text(&f, 0, "sample"));
  faults_clear();
  assert_ok(umem_free(&f, 0));
  assert_string_equal(faults_trace(), "");
  assert_file_is(name, "sample");
  assert_int_equal(allocated(&f, 6), 0); /* reused, with what was in it */
  assert_string_equal(faults_trace(), "fstat");
  assert_file_is(name, "sample");
  assert_ok(umem_free(&f, 0));
  assert_int_equal(umem_calloc(&f, 2, 3), 0);
  assert_true(umem_is_ok(&f));
  assert_int_equal(file_size(name), 6);
  assert_ok(umem_dtor(&f));
  char bytes[6];
  file_get(name, 0, bytes, 6);
  assert_true(all_bytes_are(bytes, 6, 0));
}

static void free__neighbours_are_merged_and_split(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  for (uintptr_t i = 0; i < 4; i++)
    assert_int_equal(allocated(&f, 10), 10 * i);
  assert_ok(umem_free(&f, 10));
  assert_ok(umem_free(&f, 0));
  assert_ok(umem_free(&f, 20));
  assert_int_equal(allocated(&f, 31), 40);
  assert_int_equal(allocated(&f, 25), 0);
  assert_int_equal(allocated(&f, 5), 25);
  assert_int_equal(file_size(name), 71);
  assert_ok(umem_dtor(&f));
}

static void free__at_0_frees_the_block_there_or_nothing(void **state) {
  (void)state;
  umemFile f;
  new_file(&f);
  assert_ok(umem_free(&f, 0));
  assert_int_equal(allocated(&f, 10), 0);
  assert_ok(umem_free(&f, 0));
  assert_ok(umem_free(&f, 0));
  assert_int_equal(allocated(&f, 10), 0);
  assert_int_equal(umem_get_error_count(&f), 0);
  assert_ok(umem_dtor(&f));
}

static void free__of_what_is_no_block_frees_nothing(void **state) {
  (void)state;
  umemFile f;
  new_file(&f);
  assert_int_equal(allocated(&f, 10), 0);
  assert_int_equal(allocated(&f, 10), 10);
  assert_fails(&f, umem_free(&f, 15), umemValueError, "lies inside the block");
  assert_fails(&f, umem_free(&f, 20), umemValueError, "not a live block");
  assert_ok(umem_free(&f, 10));
  assert_fails(&f, umem_free(&f, 10), umemValueError, "freed already");
  assert_int_equal(allocated(&f, 10), 10);
  assert_ok(umem_dtor(&f));
}

/* --- 0 bytes, alignment --------------------------------------------------- */

/* A block of 0 bytes at an address of its own, not 0. */
static uintptr_t nothing_of(umemFile *f) {
  uintptr_t adr = 0;
  assert_ok(umem_try_alloc(f, 0, &adr));
  assert_int_not_equal(adr, 0);
  return adr;
}

static void alloc__of_0_bytes_has_a_place_of_its_own_in_every_mode(void **st) {
  (void)st;
  static char const *const modes[] = {"r", "r+", "a", "a+", "w", "w+"};
  char const *name = file_with("sample");
  for (size_t i = 0; i < 6; i++) {
    umemFile f;
    file_open(&f, name, modes[i]);
    uint64_t size = file_size(name);
    faults_clear();
    uintptr_t one = nothing_of(&f), two = nothing_of(&f);
    assert_int_not_equal(one, two);
    assert_ok(umem_free(&f, one));
    assert_fails(&f, umem_free(&f, one), umemValueError, "not a live block");
    assert_int_not_equal(nothing_of(&f), two);
    assert_string_equal(faults_trace(), "");
    assert_int_equal(file_size(name), size);
    assert_ok(umem_dtor(&f));
  }
}

static void alloc__of_0_bytes_takes_no_bytes_of_the_file(void **state) {
  (void)state;
  umemFile f;
  char const *name = file_with("sample");
  file_open(&f, name, "r");
  nothing_of(&f);
  assert_int_equal(allocated(&f, 6), 0); /* all that there is */
  nothing_of(&f);
  assert_ok(umem_dtor(&f));
  file_open(&f, name, "w");
  nothing_of(&f);
  assert_int_equal(allocated(&f, 10), 0);
  nothing_of(&f);
  assert_int_equal(allocated(&f, 10), 10);
  assert_int_equal(file_size(name), 20);
  assert_ok(umem_dtor(&f));
}

static void free__of_0_bytes_frees_nothing_else(void **state) {
  (void)state;
  umemFile f;
  new_file(&f);
  assert_int_equal(allocated(&f, 100), 0);
  assert_ok(umem_free(&f, nothing_of(&f)));
  assert_int_equal(allocated(&f, 100), 100);
  uintptr_t cleared = 0;
  assert_ok(umem_try_calloc(&f, 0, 10, &cleared));
  assert_int_not_equal(cleared, 0);
  assert_ok(umem_free(&f, cleared));
  assert_ok(umem_free(&f, 0)); /* the block there */
  uintptr_t empty = nothing_of(&f);
  assert_ok(umem_free(&f, 0)); /* none is there any more */
  assert_ok(umem_copy_to(&f, empty, &f, empty, 0));
  assert_ok(umem_free(&f, empty));
  assert_int_equal(allocated(&f, 100), 0);
  assert_ok(umem_dtor(&f));
}

static void aligned__addresses_are_never_0(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  assert_int_equal(umem_aligned_alloc(&f, 64, 128), 64);
  assert_int_equal(file_size(name), 192);
  assert_int_equal(umem_aligned_origin(&f, 64), 64);
  assert_int_equal(umem_aligned_alloc(&f, 1, 3), 192);
  uintptr_t one = umem_aligned_alloc(&f, 128, 0);
  uintptr_t two = umem_aligned_alloc(&f, 128, 0);
  assert_true(one && two && one != two && one % 128 == 0 && two % 128 == 0);
  assert_int_equal(umem_free_aligned(&f, 64), 64);
  assert_int_equal(umem_aligned_alloc(&f, 32, 64), 64);
  assert_int_equal(umem_aligned_free(&f, 64), 64);
  assert_true(umem_is_ok(&f));
  assert_ok(umem_dtor(&f));
}

static void aligned__freed_start_of_the_file_is_not_reused_as_0(void **state) {
  (void)state;
  umemFile f;
  new_file(&f);
  assert_int_equal(allocated(&f, 100), 0);
  assert_ok(umem_free(&f, 0));
  assert_int_equal(umem_aligned_alloc(&f, 16, 16), 16);
  assert_int_equal(umem_aligned_alloc(&f, 1, 1), 1);
  assert_int_equal(allocated(&f, 1), 0);
  assert_ok(umem_dtor(&f));
}

static void aligned__what_cannot_be_is_refused(void **state) {
  (void)state;
  size_t const top = (SIZE_MAX >> 1) + 1;
  umemFile f;
  char const *name = new_file(&f);
  assert_zero_fails(&f, umem_aligned_alloc(&f, 3, 3), umemValueError,
                    "umem_aligned_alloc: alignment 3 must be power of 2");
  assert_zero_fails(
      &f, umem_aligned_alloc(&f, 8, 12), umemValueError,
      "umem_aligned_alloc: size 12 must be multiple of alignment 8");
  assert_zero_fails(&f, umem_aligned_alloc(&f, top, 0), umemMemoryError,
                    "PTRDIFF_MAX");
  assert_zero_fails(&f, umem_aligned_alloc(&f, top, top), umemMemoryError,
                    "PTRDIFF_MAX");
  assert_int_equal(file_size(name), 0);
  assert_int_equal(umem_fundamental_align(&f), 1);
  assert_ok(umem_dtor(&f));
}

/* --- mode r: what is there is handed out ---------------------------------- */

static void alloc__in_mode_r_hands_out_the_bytes_in_order(void **state) {
  (void)state;
  char const *name = file_with("sample text");
  umemFile f;
  uintptr_t adr = 77;
  char text[6];
  file_open(&f, name, "r");
  assert_int_equal(allocated(&f, 6), 0);
  assert_ok(read_bytes(&f, 0, text, 6));
  assert_memory_equal(text, "sample", 6);
  assert_int_equal(allocated(&f, 1), 6);
  assert_fails(&f, umem_try_alloc(&f, 5, &adr), umemIndexError,
               "nothing can be appended");
  assert_int_equal(adr, 77);
  assert_int_equal(allocated(&f, 4), 7);
  assert_fails(&f, umem_try_alloc(&f, 1, &adr), umemIndexError, "");
  assert_ok(umem_free(&f, 6));
  assert_int_equal(allocated(&f, 1), 6);
  assert_fails(&f, umem_try_calloc(&f, 1, 1, &adr), umemValueError,
               "opened for reading only");
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "sample text");
}

static void aligned__in_mode_r_stays_in_the_file(void **state) {
  (void)state;
  umemFile f;
  file_open(&f, file_with("0123456789"), "r");
  assert_int_equal(umem_aligned_alloc(&f, 4, 4), 4);
  assert_zero_fails(&f, umem_aligned_alloc(&f, 4, 4), umemIndexError,
                    "nothing can be appended");
  assert_ok(umem_dtor(&f));
}

/* --- access --------------------------------------------------------------- */

static void access__writes_of_r_move_nothing(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile f;
  file_open(&f, name, "r");
  faults_clear();
  assert_fails(&f, write_text(&f, 0, "x"), umemValueError,
               "opened for reading only");
  assert_fails(&f, write_text(&f, 0, ""), umemValueError,
               "opened for reading only");
  assert_zero_fails(&f, umem_set(&f, 1, 'x', 1), umemValueError,
                    "opened for reading only");
  assert_fails(&f, umem_copy_to(&f, 0, &f, 3, 3), umemValueError,
               "destination File: opened for reading only");
  assert_string_equal(faults_trace(), "");
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "sample");
}

static void access__reads_of_w_and_a_move_nothing(void **state) {
  (void)state;
  static char const *const modes[] = {"w", "a"};
  for (size_t i = 0; i < 2; i++) {
    char const *name = new_path();
    char byte = 'x';
    umemFile f;
    file_open(&f, name, modes[i]);
    assert_ok(write_text(&f, 0, "sample"));
    faults_clear();
    assert_fails(&f, read_bytes(&f, 0, &byte, 1), umemValueError,
                 "opened for writing only");
    assert_int_equal(byte, 'x');
    assert_fails(&f, umem_copy_to(&f, 0, &f, 3, 3), umemValueError,
                 "source File: opened for writing only");
    assert_string_equal(faults_trace(), "");
    assert_ok(umem_dtor(&f));
    assert_file_is(name, "sample");
  }
}

static void access__what_a_file_had_is_protected_in_a(void **state) {
  (void)state;
  static char const *const modes[] = {"a", "a+"};
  for (size_t i = 0; i < 2; i++) {
    char const *name = file_with("sample");
    umemFile f;
    file_open(&f, name, modes[i]);
    assert_fails(&f, write_text(&f, 5, "xy"), umemValueError,
                 "the first 6 bytes are read-only");
    assert_zero_fails(&f, umem_set(&f, 0, 0, 1), umemValueError,
                      "opened for appending");
    assert_fails(&f, umem_set_safe(&f, 0, 6, 0, 6), umemValueError,
                 "opened for appending");
    assert_ok(write_text(&f, 5, ""));
    assert_ok(write_text(&f, 6, "s"));
    assert_ok(write_text(&f, 6, "S"));
    assert_ok(umem_dtor(&f));
    assert_file_is(name, "sampleS");
  }
}

static void access__overlapping_copies_respect_protected_bytes(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile f;
  file_open(&f, name, "a+");
  assert_ok(write_text(&f, 6, "0123456789"));
  for (uintptr_t to = 0; to < 6; to++)
    for (uintptr_t from = 0; from < 10; from++)
      assert_fails(&f, umem_copy_to(&f, from, &f, to, 6), umemValueError,
                   "read-only");
  assert_file_is(name, "sample0123456789");
  assert_ok(umem_copy_to(&f, 3, &f, 6, 6));
  assert_ok(umem_copy_to(&f, 10, &f, 7, 6));
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "samplep126789789");
}

static void access__offsets_end_at_INT64_MAX(void **state) {
  (void)state;
  umemFile f;
  char byte;
  char const *name = new_file(&f);
  assert_fails(&f, write_text(&f, INT64_MAX, "x"), umemIndexError,
               "is past the largest one");
  assert_fails(&f, write_text(&f, UINTPTR_MAX, "x"), umemIndexError, "");
  assert_fails(&f, read_bytes(&f, (uintptr_t)INT64_MAX + 1, &byte, 1),
               umemIndexError, "is past the largest one");
  assert_fails(&f, read_bytes(&f, UINTPTR_MAX, &byte, 2), umemIndexError, "");
  assert_zero_fails(&f, umem_set(&f, INT64_MAX - 1, 0, 2), umemIndexError, "");
  assert_ok(read_bytes(&f, INT64_MAX, &byte, 0));
  assert_fails(&f, read_bytes(&f, INT64_MAX - 1, &byte, 1), umemIOError,
               "the file ends there");
  assert_int_equal(file_size(name), 0);
  assert_ok(umem_dtor(&f));
}

/* --- copies --------------------------------------------------------------- */

static void copy__without_any_alloc_extends_the_file(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  char bytes[16];
  assert_ok(write_text(&f, 10, "sample"));
  assert_int_equal(file_size(name), 16);
  assert_ok(read_bytes(&f, 0, bytes, 16));
  assert_true(all_bytes_are(bytes, 10, 0));
  assert_memory_equal(bytes + 10, "sample", 6);
  assert_int_equal(umem_set(&f, 14, 'x', 4), 14);
  assert_int_equal(file_size(name), 18);
  assert_ok(umem_dtor(&f));
}

static void copy__safe_ones_stay_in_the_block(void **state) {
  (void)state;
  umemFile f;
  umemHost host;
  char const *name = new_file(&f);
  char text[] = "sample";
  assert_ok(umemHost_ctor(&host));
  assert_int_equal(allocated(&f, 4), 0);
  assert_int_equal(allocated(&f, 4), 4);
  assert_fails(&f, umem_copy_to_safe(&host, (uintptr_t)text, 6, &f, 0, 6, 6),
               umemIndexError, "leave the block of 4 bytes");
  assert_fails(&f, umem_set_safe(&f, 6, 4, 'x', 3), umemIndexError,
               "leave the block of 4 bytes");
  assert_ok(umem_copy_to_safe(&host, (uintptr_t)text, 6, &f, 4, 4, 4));
  assert_ok(umem_dtor(&f));
  file_get(name, 4, text, 4);
  assert_memory_equal(text, "samp", 4);
  file_get(name, 0, text, 4);
  assert_true(all_bytes_are(text, 4, 0));
}

static void copy__read_past_the_end_counts_what_was_there(void **state) {
  (void)state;
  umemFile f;
  char text[10];
  file_open(&f, file_with("sample"), "r");
  assert_fails(&f, read_bytes(&f, 2, text, 10), umemIOError,
               "the file ends there: read 4 of 10 bytes at offset 2");
  umemError error = last_error(&f);
  assert_int_equal(error.bytes_done, 4);
  assert_int_equal(error.sys_errno, 0);
  assert_memory_equal(text, "mple", 4);
  assert_fails(&f, read_bytes(&f, 6, text, 1), umemIOError, "read 0 of 1");
  assert_int_equal(last_error(&f).bytes_done, 0);
  assert_ok(umem_dtor(&f));
}

static void copy__of_a_source_that_ends_does_not_feed_on_itself(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  assert_int_equal(umem_set(&f, 0, 'x', 2 * MIB), 0);
  assert_fails(&f, umem_copy_to(&f, MIB, &f, 5 * MIB, 2 * MIB), umemIOError,
               "the file ends there");
  assert_true(last_error(&f).bytes_done <= MIB);
  assert_true(file_size(name) <= 6 * MIB);
  assert_ok(umem_dtor(&f));
}

static void copy__failed_write_tells_errno_and_bytes_done(void **state) {
  (void)state;
  umemFile f, g;
  new_file(&f);
  new_file(&g);
  assert_int_equal(umem_set(&f, 0, 'x', 3 * MIB), 0);
  faults_fail(FAULT_pwrite, 3, EDQUOT);
  assert_fails(&f, umem_copy_to(&f, 0, &g, 0, 3 * MIB), umemIOError,
               "destination File: EDQUOT (122)");
  assert_int_equal(last_error(&g).bytes_done, 2 * MIB);
  assert_int_equal(last_error(&f).bytes_done, 2 * MIB);
  assert_status(umem_get_status(&g), umemIOError);
  faults_fail(FAULT_pread, 2, EIO);
  assert_fails(&f, umem_copy_to(&f, 0, &g, 0, 3 * MIB), umemIOError,
               "source File: EIO (5)");
  assert_int_equal(last_error(&g).bytes_done, MIB);
  faults_fail(FAULT_pwrite, 2, EIO);
  assert_zero_fails(&f, umem_set(&f, 0, 'y', 3 * MIB), umemIOError, "EIO (5)");
  assert_int_equal(last_error(&f).bytes_done, MIB);
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&g));
}

/* A disk on which each file may have DISK_BYTES. */
enum { DISK_BYTES = 3 * MIB / 2 + 100 };

static ssize_t small_disk_pwrite(int fd, void const *in, size_t nbytes,
                                 off_t at) {
  size_t left = at < DISK_BYTES ? (size_t)(DISK_BYTES - at) : 0;
  if (left > 0)
    return pwrite(fd, in, nbytes < left ? nbytes : left, at);
  errno = ENOSPC;
  return -1;
}

static void copy__bytes_done_are_exact_in_the_middle_of_a_chunk(void **state) {
  (void)state;
  umemFile f, g;
  new_file(&f);
  char const *name = new_file(&g);
  assert_int_equal(umem_set(&f, 0, 'x', 3 * MIB), 0);
  umemi_os.pwrite = small_disk_pwrite;
  assert_fails(&g, umem_copy_to(&f, 0, &g, 0, 3 * MIB), umemIOError,
               "ENOSPC (28)");
  assert_int_equal(last_error(&g).bytes_done, DISK_BYTES);
  assert_int_equal(file_size(name), DISK_BYTES);
  assert_zero_fails(&g, umem_set(&g, 0, 'y', 3 * MIB), umemIOError,
                    "ENOSPC (28)");
  assert_int_equal(last_error(&g).bytes_done, DISK_BYTES);
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&g));
}

/* Copies within `from`, which may be `to` or another context of the file, and
   compares with memmove(). */
static void check_overlap(umemFile *from, umemFile *to, char const *name,
                          size_t src, size_t dest, size_t nbytes) {
  enum { ROOM = 5 * MIB };
  char *expected = malloc(ROOM), *found = malloc(ROOM);
  assert_non_null(expected);
  assert_non_null(found);
  random_bytes(expected, ROOM, src + dest);
  assert_ok(host_to_file(expected, to, 0, ROOM));
  memmove(expected + dest, expected + src, nbytes);
  assert_ok(umem_copy_to(from, src, to, dest, nbytes));
  file_get(name, 0, found, ROOM);
  assert_true(memcmp(expected, found, ROOM) == 0);
  free(expected);
  free(found);
}

static void check_overlaps(umemFile *from, umemFile *to, char const *name) {
  static size_t const near[] = {1, 4097, MIB - 1, MIB, MIB + 1, 2 * MIB};
  for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
    check_overlap(from, to, name, 7, 7 + near[i], 2 * MIB + 4095);
    check_overlap(from, to, name, 7 + near[i], 7, 2 * MIB + 4095);
  }
  check_overlap(from, to, name, 7, 7, 2 * MIB);
  check_overlap(from, to, name, 0, 3 * MIB, 2 * MIB);
}

static void
copy__overlapping_ranges_in_one_file_behave_as_memmove(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  check_overlaps(&f, &f, name);
  assert_ok(umem_dtor(&f));
}

static void copy__failure_of_an_overlapping_one_counts_0(void **state) {
  (void)state;
  umemFile f;
  new_file(&f);
  assert_int_equal(umem_set(&f, 0, 'x', 3 * MIB), 0);
  faults_fail(FAULT_pwrite, 2, EIO);
  assert_fails(&f, umem_copy_to(&f, 100, &f, 0, 2 * MIB), umemIOError, "");
  assert_int_equal(last_error(&f).bytes_done, 0);
  assert_ok(umem_dtor(&f));
}

/* --- two contexts on one file --------------------------------------------- */

/* Opens the file of `name` through a hard link and through another spelling. */
static void other_names(char const *name, umemFile *link, umemFile *spelling) {
  char other[600];
  char const *hard = new_path();
  assert_int_equal(symlink(".", temp_path("here")), 0);
  assert_int_equal(linkat(AT_FDCWD, name, AT_FDCWD, hard, 0), 0);
  snprintf(other, sizeof other, "%s/here/./%s", temp_dir(),
           strrchr(name, '/') + 1);
  file_open(link, hard, "r+");
  file_open(spelling, other, "r+");
  assert_int_equal(unlink(temp_path("here")), 0);
}

static void device__is_the_file_and_not_its_name(void **state) {
  (void)state;
  umemFile f, link, spelling, other;
  umemHost host;
  char const *name = new_file(&f);
  other_names(name, &link, &spelling);
  new_file(&other);
  assert_ok(umemHost_ctor(&host));
  assert_true(umem_is_same_device(&f, &f));
  assert_true(umem_is_same_device(&f, &link));
  assert_true(umem_is_same_device(&spelling, &link));
  assert_true(umem_is_accessible_from(&f, &link));
  assert_false(umem_is_same_device(&f, &other));
  assert_false(umem_is_accessible_from(&f, &other));
  assert_false(umem_is_same_device(&f, &host));
  assert_false(umem_is_accessible_from(&f, &host));
  assert_ok(umem_dtor(&other));
  assert_int_equal(unlink(name), 0);
  file_open(&other, name, "w"); /* the same name, another file */
  assert_false(umem_is_same_device(&f, &other));
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&link));
  assert_ok(umem_dtor(&spelling));
  assert_ok(umem_dtor(&f));
}

static void device__contexts_on_one_file_are_coherent(void **state) {
  (void)state;
  umemFile f, link, spelling;
  char const *name = new_file(&f);
  char text[6];
  other_names(name, &link, &spelling);
  assert_ok(write_text(&link, 3, "sample"));
  assert_ok(read_bytes(&f, 3, text, 6));
  assert_memory_equal(text, "sample", 6);
  assert_int_equal(allocated(&f, 2), 9); /* past what the other one wrote */
  check_overlaps(&f, &link, name);
  check_overlaps(&link, &spelling, name);
  faults_clear();
  assert_ok(umem_sync_to(&f, 10, &link, 10, 10)); /* one and the same */
  assert_string_equal(faults_trace(), "pread");   /* is its last byte there? */
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&link));
  assert_ok(umem_dtor(&spelling));
}

static void connect__of_two_contexts_on_one_file_is_the_address(void **state) {
  (void)state;
  umemFile f, link, spelling;
  other_names(new_file(&f), &link, &spelling);
  assert_ok(write_text(&f, 100, "sample"));
  assert_int_equal(umem_connect(&f, 100, 6, &link, 4), 100);
  assert_ok(umem_disconnect(&f, 100, &link, 100, 4));
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&link));
  assert_ok(umem_dtor(&spelling));
}

/* --- what reaches the system ---------------------------------------------- */

/* `nbytes` bytes at an odd multiple of 16, as malloc() gives them, or at one of
   64. */
static char *bytes_new(void **room_out, size_t nbytes, bool aligned) {
  assert_int_equal(posix_memalign(room_out, 4096, nbytes + 8), 0);
  char *bytes = (char *)*room_out + (aligned ? 0 : 8);
  random_bytes(bytes, nbytes, 1);
  return bytes;
}

static void system_calls__are_those_that_are_needed(void **state) {
  (void)state;
  umemFile f;
  void *room = NULL;
  char *bytes = bytes_new(&room, 3 * MIB, true);
  char const *name = file_with("sample");
  faults_clear();
  file_open(&f, name, "r+");
  assert_string_equal(faults_trace(), "fstatat openat fstat");
  faults_clear();
  assert_ok(host_to_file(bytes, &f, 0, MIB - 1));
  assert_string_equal(faults_trace(), "pwrite");
  faults_clear();
  assert_ok(host_to_file(bytes, &f, 0, 3 * MIB));
  assert_string_equal(faults_trace(), "fstat pwrite fallocate pwrite");
  faults_clear();
  assert_ok(host_to_file(bytes, &f, 0, 3 * MIB));
  assert_string_equal(faults_trace(), "fstat pwrite");
  faults_clear();
  assert_ok(read_bytes(&f, 0, bytes, 3 * MIB));
  assert_string_equal(faults_trace(), "pread");
  assert_int_equal(faults_largest_allocation(), 0);
  faults_clear();
  assert_int_equal(allocated(&f, 100), 3 * MIB);
  assert_string_equal(faults_trace(), "fcntl fstat fallocate");
  faults_clear();
  assert_ok(umem_dtor(&f));
  assert_string_equal(faults_trace(), "fcntl close");
  free(room);
}

/* Memory in which the system's own copy would be slow is filled from memory in
   which it is not. */
static void system_calls__of_a_read_to_where_it_is_slow(void **state) {
  (void)state;
  umemFile f;
  void *room = NULL, *in_room = NULL;
  char *in = bytes_new(&in_room, 3 * MIB, true);
  char *out = bytes_new(&room, 3 * MIB, false);
  new_file(&f);
  assert_ok(host_to_file(in, &f, 0, 3 * MIB));
  memset(out, 0, 3 * MIB);
  faults_clear();
  assert_ok(read_bytes(&f, 0, out, 3 * MIB));
  assert_in_range(faults_count(FAULT_pread), 3, 4); /* by the slot */
  assert_memory_equal(faults_trace(), "pread pread pread", 17);
  assert_int_equal(faults_largest_allocation(), 0); /* but slots */
  assert_memory_equal(in, out, 3 * MIB);
  faults_clear();
  assert_ok(read_bytes(&f, 8, out, 2 * MIB)); /* there it is not */
  assert_string_equal(faults_trace(), "pread");
  assert_memory_equal(in + 8, out, 2 * MIB);
  assert_ok(umem_dtor(&f));
  free(in_room);
  free(room);
}

static void system_calls__of_a_copy_between_files(void **state) {
  (void)state;
  umemFile f, g;
  new_file(&f);
  new_file(&g);
  assert_ok(umem_try_set(&f, 0, 'x', 2 * MIB));
  umemi_slots_drop();
  faults_clear();
  faults_fail(FAULT_fstatfs, 1, ENOSYS);
  assert_ok(umem_copy_to(&f, 0, &g, 0, 2 * MIB));
  assert_string_equal(faults_trace(),
                      "fstatfs fstat lseek lseek pread fstat fallocate pwrite"
                      " pread fstat fallocate pwrite");
  assert_int_equal(faults_count(FAULT_mmap), 1);
  assert_int_equal(faults_largest_allocation(), 0);
  faults_clear();
  assert_ok(umem_copy_to(&f, 0, &g, 0, 2 * MIB));
  assert_string_equal(
      faults_trace(),
      "fstat lseek lseek pread fstat pwrite pread fstat pwrite");
  assert_int_equal(faults_count(FAULT_mmap), 0); /* a slot was kept */
  assert_int_equal(faults_largest_allocation(), 0);
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&g));
}

/* --- flush ---------------------------------------------------------------- */

static void flush__syncs_the_directory_once_after_a_create(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  faults_clear();
  assert_ok(umem_flush(&f));
  assert_string_equal(faults_trace(), "fdatasync fsync close");
  faults_clear();
  assert_ok(umem_flush(&f));
  assert_string_equal(faults_trace(), "fdatasync");
  assert_ok(umem_dtor(&f));
  file_open(&f, name, "r");
  faults_clear();
  assert_ok(umem_flush(&f));
  assert_string_equal(faults_trace(), "fdatasync");
  assert_ok(umem_dtor(&f));
}

static void check_poisoned(enum fault_call call) {
  umemFile f;
  char const *name = new_file(&f);
  assert_ok(write_text(&f, 0, "sample"));
  faults_fail(call, 1, EIO);
  assert_fails(&f, umem_flush(&f), umemIOError, "EIO (5)");
  faults_clear();
  for (int i = 0; i < 3; i++)
    assert_fails(&f, umem_flush(&f), umemIOError,
                 "an earlier flush failed, data may be lost");
  assert_string_equal(faults_trace(), "");
  assert_ok(write_text(&f, 6, "s"));
  assert_ok(umem_dtor(&f));
  file_open(&f, name, "r+");
  assert_ok(umem_flush(&f));
  assert_ok(umem_dtor(&f));
}

static void flush__that_failed_once_fails_until_reopened(void **state) {
  (void)state;
  check_poisoned(FAULT_fdatasync);
  check_poisoned(FAULT_fsync);
}

static void flush__interrupted_is_resumed(void **state) {
  (void)state;
  umemFile f;
  new_file(&f);
  faults_fail(FAULT_fdatasync, 1, EINTR);
  assert_ok(umem_flush(&f));
  assert_ok(umem_dtor(&f));
}

/* --- block devices -------------------------------------------------------- */

enum { BLOCK_BYTES = 64 << 10 };

/* A block device that is a file. */
static dev_t block_number;

static int block_stat(char const *path, struct stat *st) {
  int failed = stat(path, st);
  st->st_mode = S_IFBLK | 0600;
  return failed;
}

static int block_fstat(int fd, struct stat *st) {
  int failed = fstat(fd, st);
  st->st_mode = S_IFBLK | 0600;
  st->st_rdev = block_number;
  st->st_size = 0;
  return failed;
}

static int block_ioctl(int fd, unsigned long request, void *argument) {
  assert_true(fd >= 0);
  assert_int_equal(request, BLKGETSIZE64);
  *(uint64_t *)argument = BLOCK_BYTES;
  return 0;
}

static char const *block_new(void) {
  char const *name = new_path();
  static char bytes[BLOCK_BYTES];
  block_number = makedev(240, 5);
  memset(bytes, 'x', sizeof bytes);
  file_put(name, bytes, sizeof bytes);
  umemi_os.stat = block_stat;
  umemi_os.fstat = block_fstat;
  umemi_os.ioctl = block_ioctl;
  return name;
}

/* calloc() would have to clear what a+ protects. */
static void block__opened_for_appending_keeps_its_bytes(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  char byte;
  file_open(&f, block_new(), "r+");
  assert_ok(write_text(&f, 0, "x"));
  assert_ok(umem_dtor(&f));
  file_open(&f, block_new(), "a+");
  assert_fails(&f, umem_try_calloc(&f, 1, 8, &adr), umemValueError,
               "opened for appending");
  assert_int_equal(allocated(&f, 8), 0); /* it was given back */
  assert_ok(umem_dtor(&f));
  file_open(&f, block_new(), "r");
  assert_ok(read_bytes(&f, 0, &byte, 1));
  assert_int_equal(byte, 'x');
  assert_ok(umem_dtor(&f));
}

static void message__of_a_bad_pointer_blames_the_host(void **state) {
  (void)state;
  umemFile f;
  umemHost host;
  char bytes[10] = "";
  new_file(&f);
  assert_ok(umemHost_ctor(&host));
  faults_fail(FAULT_pwrite, 1, EFAULT); /* what the system says of it */
  assert_fails(&f, umem_copy_to(&host, (uintptr_t)bytes, &f, 0, 10),
               umemIOError, "source Host: EFAULT (14)");
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, &f, 0, 10));
  faults_fail(FAULT_pread, 1, EFAULT);
  assert_fails(&f, umem_copy_to(&f, 0, &host, (uintptr_t)bytes, 10),
               umemIOError, "destination Host: EFAULT (14)");
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&host));
}

static void message__names_the_file_at_fault_and_no_other(void **state) {
  (void)state;
  umemFile f;
  file_open(&f, temp_path("two\nlines"), "w");
  assert_status(umem_copy_to(&f, 0, NULL, 0, 5), umemTypeError);
  assert_null(strchr(umem_get_message(&f), '"'));
  assert_ok(umem_clean_status(&f));
  assert_fails(&f, umem_free(&f, 3), umemValueError, "/two?lines\"");
  assert_ok(umem_dtor(&f));
}

/* What holds for every block device of BLOCK_BYTES bytes. */
static void check_block(char const *name) {
  umemFile f;
  uintptr_t adr;
  char bytes[100];
  file_open(&f, name, "w+");
  assert_int_equal(allocated(&f, 100), 0);
  assert_int_equal(umem_calloc(&f, 1, 100), 100);
  assert_ok(read_bytes(&f, 100, bytes, 100));
  assert_true(all_bytes_are(bytes, 100, 0));
  assert_fails(&f, umem_try_alloc(&f, BLOCK_BYTES, &adr), umemIndexError,
               "nothing can be appended");
  assert_fails(&f, umem_try_calloc(&f, 1, BLOCK_BYTES - 100, &adr),
               umemIndexError, "nothing can be appended");
  assert_fails(&f, umem_try_calloc(&f, 1, BLOCK_BYTES + 1, &adr),
               umemIndexError, "nothing can be appended");
  assert_fails(&f, write_text(&f, BLOCK_BYTES - 3, "four"), umemIndexError,
               "the block device ends at 65536");
  assert_ok(write_text(&f, BLOCK_BYTES - 4, "four"));
  assert_ok(read_bytes(&f, BLOCK_BYTES - 4, bytes, 4));
  assert_memory_equal(bytes, "four", 4);
  assert_fails(&f, read_bytes(&f, BLOCK_BYTES - 4, bytes, 5), umemIOError,
               "the file ends there: read 4 of 5");
  assert_int_equal(allocated(&f, BLOCK_BYTES - 200), 200);
  assert_ok(umem_flush(&f));
  assert_ok(umem_dtor(&f));
}

static void block__simulated_device_never_grows(void **state) {
  (void)state;
  char const *name = block_new();
  check_block(name);
  assert_int_equal(file_size(name), BLOCK_BYTES);
  assert_int_equal(faults_count(FAULT_ftruncate), 0);
  assert_int_equal(faults_count(FAULT_fallocate), 0);
}

static void block__identity_is_the_device_and_not_the_node(void **state) {
  (void)state;
  umemFile f, other;
  file_open(&f, block_new(), "r+");
  file_open(&other, block_new(), "r");
  assert_true(umem_is_same_device(&f, &other));
  assert_ok(umem_dtor(&other));
  char const *name = block_new();
  block_number = makedev(240, 6);
  file_open(&other, name, "r");
  assert_false(umem_is_same_device(&f, &other));
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&other));
}

static void block__of_unknown_size_is_refused(void **state) {
  (void)state;
  char const *name = block_new();
  umemFile f;
  faults_install();
  umemi_os.fstat = block_fstat;
  faults_fail(FAULT_ioctl, 1, EIO);
  assert_fails(&f, umemFile_ctor(&f, name, "r"), umemIOError,
               "size of block device");
  assert_ok(umem_dtor(&f));
}

/* A loop device on a file until it is closed, or -1; `name` is what to open. */
static int loop_attach(char const *backing, char *name, size_t size) {
  int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
  if (control >= 0)
    close(control);
  snprintf(name, size, "/dev/loop%d", number);
  int device = number < 0 ? -1 : open(name, O_RDWR | O_CLOEXEC);
  int file = open(backing, O_RDWR | O_CLOEXEC);
  struct loop_info64 info = {.lo_flags = LO_FLAGS_AUTOCLEAR};
  bool attached = device >= 0 && ioctl(device, LOOP_SET_FD, file) == 0 &&
                  ioctl(device, LOOP_SET_STATUS64, &info) == 0;
  close(file);
  if (device >= 0 && !attached) {
    close(device);
    device = -1;
  }
  return device;
}

static void block__real_device_never_grows(void **state) {
  (void)state;
  char device[64];
  char const *backing = block_new();
  faults_install();
  int loop = loop_attach(backing, device, sizeof device);
  if (loop < 0) {
    print_message("no loop device here: needs root and a free /dev/loop*\n");
    skip();
  }
  check_block(device);
  umemFile f, other;
  file_open(&f, device, "r");
  file_open(&other, backing, "r");
  assert_false(umem_is_same_device(&f, &other));
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&other));
  close(loop);
  assert_int_equal(file_size(backing), BLOCK_BYTES);
}

/* --- a full disk: a child with a tmpfs of 1 MiB of its own ---------------- */

static void disk_fills(char const *name) {
  static char bytes[2 * MIB];
  umemFile f;
  uintptr_t adr = 77;
  file_open(&f, name, "w+");
  assert_fails(&f, umem_try_alloc(&f, 2 * MIB, &adr), umemMemoryError,
               "ENOSPC (28)");
  assert_int_equal(adr, 77);
  assert_int_equal(file_size(name), 0);
  assert_fails(&f, host_to_file(bytes, &f, 0, sizeof bytes), umemIOError,
               "ENOSPC (28)");
  umemError error = last_error(&f);
  assert_int_equal(error.sys_errno, ENOSPC);
  assert_int_equal(error.bytes_done, MIB); /* all that there is */
  assert_int_equal(file_size(name), MIB);
  assert_fails(&f, umem_try_alloc(&f, 1, &adr), umemMemoryError, "ENOSPC (28)");
  assert_int_equal(truncate(name, 0), 0);
  assert_ok(umem_try_alloc(&f, MIB / 2, &adr)); /* space returned */
  assert_ok(host_to_file(bytes, &f, adr, MIB / 2));
  assert_ok(umem_dtor(&f));
}

static void disk_of_1_MiB(void) {
  char const *disk = temp_path("disk");
  if (unshare(CLONE_NEWNS) || mount("", "/", "", MS_REC | MS_PRIVATE, NULL))
    exit(SKIPPED);
  assert_int_equal(mkdir(disk, 0700), 0);
  if (mount("none", disk, "tmpfs", 0, "size=1m")) {
    rmdir(disk);
    exit(SKIPPED);
  }
  disk_fills(temp_path("disk/file"));
  assert_int_equal(umount(disk), 0);
}

static void disk__that_is_full_is_told_and_usable_again(void **state) {
  (void)state;
  int result = in_child(disk_of_1_MiB);
  if (result == SKIPPED) {
    print_message("no tmpfs here: needs the right to mount\n");
    skip();
  }
  assert_int_equal(result, 0);
}

/* --- changed behind our back ---------------------------------------------- */

static void truncated__behind_our_back_is_told_and_overcome(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  char bytes[100];
  assert_int_equal(allocated(&f, 100), 0);
  assert_int_equal(truncate(name, 30), 0);
  assert_fails(&f, read_bytes(&f, 0, bytes, 100), umemIOError,
               "read 30 of 100 bytes");
  assert_int_equal(last_error(&f).bytes_done, 30);
  assert_ok(umem_free(&f, 0));
  assert_int_equal(allocated(&f, 100), 0); /* reused, and long enough again */
  assert_int_equal(file_size(name), 100);
  assert_ok(read_bytes(&f, 0, bytes, 100));
  assert_ok(umem_dtor(&f));
}

static void truncated__failing_to_regrow_keeps_what_is_left(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  char const *name = new_file(&f);
  assert_int_equal(allocated(&f, 100), 0);
  assert_ok(write_text(&f, 0, "sample"));
  assert_int_equal(truncate(name, 6), 0);
  assert_ok(umem_free(&f, 0));
  faults_fail(FAULT_fallocate, 1, ENOSPC);
  assert_fails(&f, umem_try_alloc(&f, 100, &adr), umemMemoryError, "");
  assert_file_is(name, "sample");
  assert_ok(umem_dtor(&f));
}

static void calloc__that_cannot_clear_gives_the_block_back(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  new_file(&f);
  assert_int_equal(allocated(&f, 100), 0);
  assert_ok(umem_free(&f, 0));
  faults_fail(FAULT_pwrite, 1, EIO);
  assert_fails(&f, umem_try_calloc(&f, 1, 100, &adr), umemIOError, "EIO (5)");
  assert_int_equal(umem_calloc(&f, 1, 100), 0);
  assert_true(umem_is_ok(&f));
  assert_ok(umem_dtor(&f));
}

/* Allocates, writes and frees what grows the file. */
static void *write_and_free(void *f) {
  uintptr_t adr = allocated(f, 100);
  assert_ok(umem_try_set(f, adr, 'x', 100));
  assert_ok(umem_free(f, adr));
  return NULL;
}

/* The file that grows as soon as its size was asked for. */
static umemFile *grown_meanwhile;

static int fstat_before_others(int fd, struct stat *st) {
  umemFile *f = grown_meanwhile;
  pthread_t other;
  int failed = faults_real.fstat(fd, st);
  grown_meanwhile = NULL;
  if (!f)
    return failed;
  assert_int_equal(pthread_create(&other, NULL, write_and_free, f), 0);
  assert_int_equal(pthread_join(other, NULL), 0);
  return failed;
}

static void calloc__of_what_was_freed_meanwhile_is_cleared(void **state) {
  (void)state;
  umemFile f;
  char bytes[100];
  new_file(&f);
  allocated(&f, 10); /* the file is claimed from here on */
  umemi_os.fstat = fstat_before_others;
  grown_meanwhile = &f;
  uintptr_t adr = umem_calloc(&f, 1, 100);
  assert_null(grown_meanwhile);
  assert_int_equal(adr, 10);
  assert_ok(read_bytes(&f, adr, bytes, 100));
  assert_true(all_bytes_are(bytes, 100, 0));
  assert_ok(umem_dtor(&f));
}

static void calloc__clears_large_reused_blocks(void **state) {
  (void)state;
  umemFile f;
  char *bytes = malloc(MIB);
  char const *name = new_file(&f);
  assert_non_null(bytes);
  assert_int_equal(allocated(&f, MIB), 0);
  assert_int_equal(umem_set(&f, 0, 'x', MIB), 0);
  assert_ok(umem_free(&f, 0));
  assert_int_equal(umem_calloc(&f, 4, MIB / 4 - 1), 0);
  assert_ok(umem_dtor(&f));
  file_get(name, 0, bytes, MIB);
  assert_true(all_bytes_are(bytes, MIB - 4, 0));
  assert_true(all_bytes_are(bytes + MIB - 4, 4, 'x'));
  free(bytes);
}

/* --- threads -------------------------------------------------------------- */

enum { ROUNDS = 300 };

struct grower {
  umemFile *f;
  unsigned char mark;
  size_t rounds;
  size_t wrong;
};

/* Allocates, marks and checks blocks; every third is given back. */
static void *grow(void *argument) {
  struct grower *g = argument;
  uint64_t random = g->mark;
  for (size_t i = 0; i < g->rounds; i++) {
    unsigned char bytes[500];
    size_t nbytes = 1 + random_below(&random, sizeof bytes);
    uintptr_t adr;
    g->wrong += umem_try_alloc(g->f, nbytes, &adr) != umemOK;
    g->wrong += umem_try_set(g->f, adr, g->mark, nbytes) != umemOK;
    g->wrong += read_bytes(g->f, adr, bytes, nbytes) != umemOK;
    g->wrong += !all_bytes_are(bytes, nbytes, g->mark);
    if (i % 3 == 0)
      g->wrong += umem_free(g->f, adr) != umemOK;
  }
  return NULL;
}

static void threads__growing_one_file_get_ranges_of_their_own(void **state) {
  (void)state;
  umemFile f;
  pthread_t thread;
  size_t rounds = scaled(ROUNDS, ROUNDS / 6);
  new_file(&f);
  struct grower one = {&f, 1, rounds, 0}, two = {&f, 2, rounds, 0};
  assert_int_equal(pthread_create(&thread, NULL, grow, &one), 0);
  grow(&two);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_int_equal(one.wrong + two.wrong, 0);
  assert_ok(umem_dtor(&f));
}

static void threads__growing_without_fallocate_lose_nothing(void **state) {
  faults_fail_from(FAULT_fallocate, 1, EOPNOTSUPP);
  threads__growing_one_file_get_ranges_of_their_own(state);
}

/* --- the end -------------------------------------------------------------- */

static void dtor__frees_blocks_and_keeps_contents(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_file(&f);
  assert_int_equal(allocated(&f, 3), 0);
  assert_int_equal(umem_aligned_alloc(&f, 4, 4), 4);
  assert_ok(write_text(&f, 0, "one "));
  assert_ok(write_text(&f, 4, "more"));
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "one more");
  assert_status(write_text(&f, 0, "x"), umemTypeError);
  assert_file_is(name, "one more");
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(alloc__the_first_in_an_empty_file_is_at_0),
      faulty_test(alloc__contents_are_the_users_bytes_only),
      faulty_test(alloc__is_past_everything_in_use),
      faulty_test(alloc__in_mode_a_starts_behind_what_was_there),
      faulty_test(alloc__that_cannot_look_at_the_file_reserves_nothing),
      faulty_test(alloc__absurd_sizes_are_MemoryErrors),
      faulty_test(alloc__on_a_full_disk_is_a_MemoryError),
      faulty_test(alloc__after_a_failed_growth_reserves_blocks_again),
      faulty_test(alloc__after_a_failed_one_is_past_everything_in_use),
      faulty_test(alloc__that_fails_keeps_what_others_copied_meanwhile),
      faulty_test(alloc__that_is_refused_moves_no_other_block),
      faulty_test(alloc__that_fails_leaves_its_range_to_the_next),
      faulty_test(free__changes_nothing_in_the_file),
      faulty_test(free__neighbours_are_merged_and_split),
      faulty_test(free__at_0_frees_the_block_there_or_nothing),
      faulty_test(free__of_what_is_no_block_frees_nothing),
      faulty_test(alloc__of_0_bytes_has_a_place_of_its_own_in_every_mode),
      faulty_test(alloc__of_0_bytes_takes_no_bytes_of_the_file),
      faulty_test(free__of_0_bytes_frees_nothing_else),
      faulty_test(calloc__that_cannot_clear_gives_the_block_back),
      faulty_test(calloc__of_what_was_freed_meanwhile_is_cleared),
      faulty_test(calloc__clears_large_reused_blocks),
      faulty_test(aligned__addresses_are_never_0),
      faulty_test(aligned__freed_start_of_the_file_is_not_reused_as_0),
      faulty_test(aligned__what_cannot_be_is_refused),
      faulty_test(alloc__in_mode_r_hands_out_the_bytes_in_order),
      faulty_test(aligned__in_mode_r_stays_in_the_file),
      faulty_test(access__writes_of_r_move_nothing),
      faulty_test(access__reads_of_w_and_a_move_nothing),
      faulty_test(access__what_a_file_had_is_protected_in_a),
      faulty_test(access__overlapping_copies_respect_protected_bytes),
      faulty_test(access__offsets_end_at_INT64_MAX),
      faulty_test(copy__without_any_alloc_extends_the_file),
      faulty_test(copy__safe_ones_stay_in_the_block),
      faulty_test(copy__read_past_the_end_counts_what_was_there),
      faulty_test(copy__of_a_source_that_ends_does_not_feed_on_itself),
      faulty_test(copy__failed_write_tells_errno_and_bytes_done),
      faulty_test(copy__bytes_done_are_exact_in_the_middle_of_a_chunk),
      faulty_test(copy__overlapping_ranges_in_one_file_behave_as_memmove),
      faulty_test(copy__failure_of_an_overlapping_one_counts_0),
      faulty_test(device__is_the_file_and_not_its_name),
      faulty_test(device__contexts_on_one_file_are_coherent),
      faulty_test(connect__of_two_contexts_on_one_file_is_the_address),
      faulty_test(system_calls__are_those_that_are_needed),
      faulty_test(system_calls__of_a_read_to_where_it_is_slow),
      faulty_test(system_calls__of_a_copy_between_files),
      faulty_test(flush__syncs_the_directory_once_after_a_create),
      faulty_test(flush__that_failed_once_fails_until_reopened),
      faulty_test(flush__interrupted_is_resumed),
      faulty_test(block__opened_for_appending_keeps_its_bytes),
      faulty_test(message__of_a_bad_pointer_blames_the_host),
      faulty_test(message__names_the_file_at_fault_and_no_other),
      faulty_test(block__simulated_device_never_grows),
      faulty_test(block__identity_is_the_device_and_not_the_node),
      faulty_test(block__of_unknown_size_is_refused),
      faulty_test(block__real_device_never_grows),
      faulty_test(disk__that_is_full_is_told_and_usable_again),
      faulty_test(truncated__behind_our_back_is_told_and_overcome),
      faulty_test(truncated__failing_to_regrow_keeps_what_is_left),
      faulty_test(threads__growing_one_file_get_ranges_of_their_own),
      faulty_test(threads__growing_without_fallocate_lose_nothing),
      faulty_test(dtor__frees_blocks_and_keeps_contents),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
