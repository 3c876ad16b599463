/* SPDX-License-Identifier: BSD-3-Clause */
/* src/handle.c: where bytes are, told to another process. */
#include "file_support.h"

#include "crc32c.h"

#include <errno.h>
#include <stddef.h>

enum { PAGE = 4096, HANDLE = 128, SUM_AT = HANDLE - 4 };

struct message {
  unsigned char bytes[UMEM_HANDLE_MAX];
  size_t length;
};

static struct message exported(void const *ctx, uintptr_t adr, size_t nbytes) {
  struct message m = {.length = sizeof m.bytes};
  assert_ok(umem_export_handle(ctx, adr, nbytes, m.bytes, &m.length));
  return m;
}

/* With a sum that is right: what is in it has to be judged. */
static void seal(struct message *m) {
  uint32_t sum = umemi_crc32c(0, m->bytes, SUM_AT);
  memcpy(m->bytes + SUM_AT, &sum, sizeof sum);
}

static umemStatusType import(void const *ctx, struct message const *m,
                             uintptr_t *adr_out, size_t *n_out) {
  /* on the heap, so that reading past its end is noticed */
  unsigned char *copy = malloc(m->length + !m->length);
  assert_non_null(copy);
  memcpy(copy, m->bytes, m->length);
  umemStatusType status =
      umem_import_handle(ctx, copy, m->length, adr_out, n_out);
  free(copy);
  return status;
}

static void expect_import(void const *ctx, struct message const *m,
                          uintptr_t adr, size_t nbytes) {
  uintptr_t here = 1;
  size_t n = 1;
  assert_ok(import(ctx, m, &here, &n));
  assert_int_equal(here, adr);
  assert_int_equal(n, nbytes);
}

/* Refused with a text, and the outputs untouched. */
static void expect_refused(void const *ctx, struct message const *m,
                           umemStatusType type, char const *text) {
  uintptr_t adr = 77;
  size_t n = 78;
  assert_status(import(ctx, m, &adr, &n), type);
  assert_has(umem_get_message(ctx), text);
  assert_int_equal(adr, 77);
  assert_int_equal(n, 78);
  assert_ok(umem_clean_status(ctx));
}

/* --- what is told --------------------------------------------------------- */

static void handle__of_a_file_is_the_same_place_in_all_that_open_it(void **s) {
  (void)s;
  umemFile f, g;
  umemMMap m;
  char const *name = file_with("one two three");
  file_open(&f, name, "r+");
  file_open(&g, name, "r");
  assert_ok(umemMMap_ctor(&m, name, "r+"));
  struct message told = exported(&f, 4, 3);
  assert_int_equal(told.length, HANDLE);
  expect_import(&g, &told, 4, 3);
  expect_import(&m, &told, umemMMap_get_address(&m, NULL) + 4, 3);
  told = exported(&m, umemMMap_get_address(&m, NULL) + 8, 5);
  expect_import(&f, &told, 8, 5);
  assert_memory_equal((char *)umemMMap_get_address(&m, NULL) + 8, "three", 5);
  assert_ok(umem_dtor(&m));
  assert_ok(umem_dtor(&g));
  assert_ok(umem_dtor(&f));
}

static void handle__of_nothing_is_a_place_too(void **state) {
  (void)state;
  umemFile f;
  file_open(&f, file_with("12345"), "r+");
  struct message told = exported(&f, 5, 0);
  expect_import(&f, &told, 5, 0);
  assert_ok(umem_dtor(&f));
}

static void handle__of_a_block_of_nothing_can_be_told(void **state) {
  (void)state;
  umemFile f;
  umemMMap m;
  char const *name = file_with("12345");
  uintptr_t in_file, in_map;
  assert_ok(umemMMap_ctor(&m, name, "r+"));
  assert_ok(umem_try_alloc(&m, 0, &in_map));
  struct message told = exported(&m, in_map, 0);
  expect_import(&m, &told, in_map, 0);
  assert_ok(umem_dtor(&m));
  file_open(&f, name, "r+");
  assert_ok(umemMMap_ctor(&m, name, "r+"));
  assert_ok(umem_try_alloc(&f, 0, &in_file));
  told = exported(&f, in_file, 0);
  expect_import(&f, &told, in_file, 0);
  expect_import(&m, &told, umemMMap_get_address(&m, NULL), 0);
  assert_ok(umem_dtor(&m));
  assert_ok(umem_dtor(&f));
}

static void
handle__in_a_window_of_a_mapping_is_where_it_is_in_the_file(void **s) {
  (void)s;
  umemMMap all, window;
  umemMMapOptions options = {
      .size = sizeof options, .offset = PAGE, .length = PAGE};
  char *bytes = calloc(3, PAGE);
  char const *name = new_path();
  assert_non_null(bytes);
  file_put(name, bytes, 3 * PAGE);
  free(bytes);
  assert_ok(umemMMap_ctor(&all, name, "r+"));
  assert_ok(umemMMap_ctor_ex(&window, name, "r+", &options));
  struct message told =
      exported(&window, umemMMap_get_address(&window, NULL) + 9, 1);
  expect_import(&all, &told, umemMMap_get_address(&all, NULL) + PAGE + 9, 1);
  told = exported(&all, umemMMap_get_address(&all, NULL) + 5, 1);
  expect_refused(&window, &told, umemIndexError, "not in the mapping");
  assert_ok(umem_dtor(&window));
  assert_ok(umem_dtor(&all));
}

static void handle__of_shared_memory_is_the_same_block_elsewhere(void **state) {
  (void)state;
  umemShm a, b, other;
  umemFile f;
  assert_ok(umemShm_ctor(&a, NULL, 100000, 0));
  assert_ok(umemShm_ctor_fd(&b, umemShm_get_fd(&a)));
  assert_ok(umemShm_ctor(&other, NULL, 100000, 0));
  uintptr_t block = umem_calloc(&a, 5000, 1), here = 0;
  size_t n = 0, length;
  struct message told = exported(&a, block + 10, 4990);
  strcpy((char *)block + 10, "shared");
  assert_ok(import(&b, &told, &here, &n));
  assert_int_equal(n, 4990);
  assert_true(here != block + 10);
  assert_string_equal((char const *)here, "shared");
  expect_refused(&other, &told, umemValueError, "of something else");
  file_open(&f, file_with("sample"), "r");
  struct message outside = exported(&f, 0, 6);
  expect_refused(&a, &outside, umemValueError, "of something else");
  assert_ok(umem_dtor(&f));
  assert_status(umem_export_handle(&a, block, 200000, NULL, &length),
                umemIndexError);
  umem_clean_status(&a);
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
}

static char const *told_name;
static struct message told_range;

static void open_what_was_told(void) {
  umemFile f;
  uintptr_t adr;
  size_t n;
  char text[4] = "";
  file_open(&f, told_name, "r");
  assert_ok(import(&f, &told_range, &adr, &n));
  assert_ok(read_bytes(&f, adr, text, n));
  assert_string_equal(text, "two");
  assert_ok(umem_dtor(&f));
}

static void handle__is_understood_in_another_process(void **state) {
  (void)state;
  umemFile f;
  told_name = file_with("one two three");
  file_open(&f, told_name, "r+");
  told_range = exported(&f, 4, 3);
  assert_ok(umem_dtor(&f));
  assert_child_succeeds(open_what_was_told);
}

/* --- what is asked wrongly ------------------------------------------------ */

static void export__tells_its_size_and_wants_the_room(void **state) {
  (void)state;
  umemFile f;
  unsigned char small[HANDLE - 1];
  size_t length = 0;
  file_open(&f, file_with("sample"), "r");
  assert_ok(umem_export_handle(&f, 0, 6, NULL, &length));
  assert_int_equal(length, HANDLE);
  length = sizeof small;
  memset(small, 5, sizeof small);
  assert_status(umem_export_handle(&f, 0, 6, small, &length), umemValueError);
  assert_has(umem_get_message(&f), "the handle has 128 bytes");
  assert_int_equal(length, sizeof small);
  assert_true(all_bytes_are(small, sizeof small, 5));
  umem_clean_status(&f);
  assert_status(umem_export_handle(&f, 0, 6, small, NULL), umemValueError);
  umem_clean_status(&f);
  assert_ok(umem_dtor(&f));
}

static void export__of_what_is_not_there_is_an_index_error(void **state) {
  (void)state;
  umemFile f;
  size_t length = UMEM_HANDLE_MAX;
  struct {
    uintptr_t adr;
    size_t nbytes;
  } const cases[] = {
      {0, 7}, {6, 1}, {UINTPTR_MAX, 1}, {0, SIZE_MAX}, {1, SIZE_MAX}};
  file_open(&f, file_with("sample"), "r");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_status(
        umem_export_handle(&f, cases[i].adr, cases[i].nbytes, NULL, &length),
        umemIndexError);
    umem_clean_status(&f);
  }
  assert_ok(umem_dtor(&f));
}

static void kinds__without_handles_say_so(void **state) {
  (void)state;
  umemHost host;
  umemFile f;
  size_t length = UMEM_HANDLE_MAX;
  int here = 0;
  assert_ok(umemHost_ctor(&host));
  file_open(&f, file_with("sample"), "r");
  struct message told = exported(&f, 0, 6);
  assert_status(umem_export_handle(&host, (uintptr_t)&here, 1, NULL, &length),
                umemNotImplementedError);
  umem_clean_status(&host);
  expect_refused(&host, &told, umemNotImplementedError, "no handles");
  assert_ok(umem_dtor(&host));
  assert_ok(umem_dtor(&f));
}

static void import__wants_all_its_arguments(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  size_t n;
  file_open(&f, file_with("sample"), "r");
  struct message told = exported(&f, 0, 6);
  assert_status(umem_import_handle(&f, NULL, HANDLE, &adr, &n), umemValueError);
  assert_status(umem_import_handle(&f, told.bytes, HANDLE, NULL, &n),
                umemValueError);
  assert_status(umem_import_handle(&f, told.bytes, HANDLE, &adr, NULL),
                umemValueError);
  assert_status(umem_import_handle(NULL, told.bytes, HANDLE, &adr, &n),
                umemTypeError);
  umem_clean_status(&f);
  assert_ok(umem_dtor(&f));
}

/* --- what comes in may be anything ---------------------------------------- */

static void import__of_another_file_is_refused(void **state) {
  (void)state;
  umemFile f, g;
  file_open(&f, file_with("sample"), "r");
  file_open(&g, file_with("sample"), "r");
  struct message told = exported(&f, 0, 6);
  expect_refused(&g, &told, umemValueError, "of something else");
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&g));
}

static void import__after_the_file_was_cut_off_is_an_index_error(void **state) {
  (void)state;
  umemFile f;
  char const *name = file_with("sample");
  file_open(&f, name, "r+");
  struct message told = exported(&f, 2, 4);
  assert_int_equal(truncate(name, 5), 0);
  expect_refused(&f, &told, umemIndexError, "which has 5");
  assert_ok(umem_dtor(&f));
}

static void import__of_a_handle_that_was_cut_or_made_longer(void **state) {
  (void)state;
  umemFile f;
  file_open(&f, file_with("sample"), "r");
  struct message told = exported(&f, 0, 6);
  for (size_t length = 0; length < UMEM_HANDLE_MAX; length++) {
    struct message other = told;
    other.length = length;
    if (length != HANDLE)
      expect_refused(&f, &other, umemValueError,
                     length < 12 ? "no handle of libumem" : "was cut");
  }
  assert_ok(umem_dtor(&f));
}

static void import__of_a_later_version_is_not_supported(void **state) {
  (void)state;
  umemFile f;
  file_open(&f, file_with("sample"), "r");
  struct message told = exported(&f, 0, 6);
  uint32_t const version = 2;
  memcpy(told.bytes + 8, &version, sizeof version);
  seal(&told);
  expect_refused(&f, &told, umemNotSupportedError, "version 2");
  struct message early = told;
  memset(early.bytes + 8, 0, sizeof version);
  seal(&early);
  expect_refused(&f, &early, umemValueError, "garbled");
  told.length = 20; /* whatever it looks like */
  expect_refused(&f, &told, umemNotSupportedError, "version 2");
  assert_ok(umem_dtor(&f));
}

static void import__of_any_flipped_bit_is_refused(void **state) {
  (void)state;
  umemFile f;
  uintptr_t adr;
  size_t n;
  file_open(&f, file_with("sample"), "r");
  struct message const told = exported(&f, 0, 6);
  for (size_t bit = 0; bit < (size_t)HANDLE * 8; bit++) {
    struct message other = told;
    other.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    assert_true(import(&f, &other, &adr, &n) != umemOK);
    umem_clean_status(&f);
  }
  assert_ok(umem_dtor(&f));
}

/* With right sums, so that every field is judged: what is accepted is in the
   file. */
static void
import__of_random_handles_never_leads_out_of_the_file(void **state) {
  (void)state;
  umemFile f;
  umemMMap m;
  char const *name = file_with("sample");
  size_t const rounds = scaled(200000, 5000);
  uint64_t seed = 4;
  file_open(&f, name, "r");
  assert_ok(umemMMap_ctor(&m, name, "r"));
  uintptr_t first = umemMMap_get_address(&m, NULL);
  struct message const told = exported(&f, 1, 2);
  for (size_t i = 0; i < rounds; i++) {
    struct message other = told;
    uintptr_t adr = 0;
    size_t n = 0;
    uint64_t const draw = random_next(&seed), value = random_next(&seed);
    size_t const width = 1u << draw % 4;
    size_t const at = (draw >> 8) % (HANDLE - width);
    memcpy(other.bytes + at, &value, draw >> 32 & 1 ? width : 1);
    seal(&other);
    if (import(&f, &other, &adr, &n) == umemOK)
      assert_true(adr <= 6 && n <= 6 - adr);
    if (import(&m, &other, &adr, &n) == umemOK)
      assert_true(adr >= first && adr - first <= 6 && n <= 6 - (adr - first));
    umem_clean_status(&f);
    umem_clean_status(&m);
  }
  assert_ok(umem_dtor(&m));
  assert_ok(umem_dtor(&f));
}

/* --- sandboxes ------------------------------------------------------------ */

static void system__that_cannot_identify_files_is_an_IOError(void **state) {
  (void)state;
  umemFile f;
  size_t length;
  file_open(&f, file_with("sample"), "r");
  struct message told = exported(&f, 0, 6);
  faults_fail_from(FAULT_statx, 1, ENOSYS);
  faults_fail_from(FAULT_fstat, 1, EIO);
  assert_fails(&f, umem_export_handle(&f, 0, 6, NULL, &length), umemIOError,
               "EIO");
  expect_refused(&f, &told, umemIOError, "EIO");
  faults_clear();
  assert_ok(umem_dtor(&f));
}

/* Whether the exporter, the importer or both may not call statx(). */
static void statx__that_is_refused_gives_way_to_fstat(void **state) {
  (void)state;
  static int const refusals[] = {EPERM, EINVAL, ENOSYS, EACCES, EOPNOTSUPP};
  umemFile f, other;
  umemMMap m;
  umemShm shm;
  char const *name = file_with("sample");
  file_open(&f, name, "r+");
  file_open(&other, file_with("sample"), "r+");
  assert_ok(umemMMap_ctor(&m, name, "r+"));
  assert_ok(umemShm_ctor(&shm, NULL, 10000, 0));
  uintptr_t block = umem_alloc(&shm, 100);
  uintptr_t map = umemMMap_get_address(&m, NULL);
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
    for (unsigned where = 1; where < 4; where++) {
      if (where & 1)
        faults_fail_from(FAULT_statx, 1, refusals[i]);
      struct message in_file = exported(&f, 2, 4);
      struct message in_map = exported(&m, map + 1, 5);
      struct message in_shm = exported(&shm, block, 100);
      faults_clear();
      if (where & 2)
        faults_fail_from(FAULT_statx, 1, refusals[i]);
      expect_import(&m, &in_file, map + 2, 4);
      expect_import(&f, &in_map, 1, 5);
      expect_import(&shm, &in_shm, block, 100);
      expect_refused(&other, &in_file, umemValueError, "of something else");
      expect_refused(&f, &in_shm, umemValueError, "of something else");
      faults_clear();
    }
  assert_ok(umem_dtor(&shm));
  assert_ok(umem_dtor(&m));
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&f));
}

/* The same device and inode, which a later file may get, too. */
static int newborn_statx(int dir, char const *path, int flags, unsigned mask,
                         struct umemiStatx *out) {
  int result = faults_real.statx(dir, path, flags, mask, out);
  out->mask |= UMEMI_STATX_BTIME;
  out->born_seconds = 1700000000;
  out->born_nanoseconds = 42;
  return result;
}

static void message__of_a_refused_handle_shows_when_files_were_born(void **s) {
  (void)s;
  umemFile f;
  file_open(&f, file_with("sample"), "r");
  umemi_os.statx = newborn_statx;
  struct message told = exported(&f, 0, 6);
  umemi_os.statx = faults_real.statx;
  struct umemiStatx st;
  assert_int_equal(umemi_statx(AT_FDCWD, temp_dir(), 0, UMEMI_STATX_BTIME, &st),
                   0);
  if (!(st.mask & UMEMI_STATX_BTIME)) /* the file system does not know */
    expect_import(&f, &told, 0, 6);
  else
    expect_refused(&f, &told, umemValueError,
                   "born at 1700000000.000000042, and not device");
  assert_ok(umem_dtor(&f));
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(handle__of_a_file_is_the_same_place_in_all_that_open_it),
      faulty_test(handle__of_nothing_is_a_place_too),
      faulty_test(handle__of_a_block_of_nothing_can_be_told),
      faulty_test(handle__in_a_window_of_a_mapping_is_where_it_is_in_the_file),
      faulty_test(handle__of_shared_memory_is_the_same_block_elsewhere),
      faulty_test(handle__is_understood_in_another_process),
      faulty_test(export__tells_its_size_and_wants_the_room),
      faulty_test(export__of_what_is_not_there_is_an_index_error),
      faulty_test(kinds__without_handles_say_so),
      faulty_test(import__wants_all_its_arguments),
      faulty_test(import__of_another_file_is_refused),
      faulty_test(import__after_the_file_was_cut_off_is_an_index_error),
      faulty_test(import__of_a_handle_that_was_cut_or_made_longer),
      faulty_test(import__of_a_later_version_is_not_supported),
      faulty_test(import__of_any_flipped_bit_is_refused),
      faulty_test(import__of_random_handles_never_leads_out_of_the_file),
      faulty_test(system__that_cannot_identify_files_is_an_IOError),
      faulty_test(statx__that_is_refused_gives_way_to_fstat),
      faulty_test(message__of_a_refused_handle_shows_when_files_were_born),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
