/* SPDX-License-Identifier: BSD-3-Clause */
/* src/backends/mmap.c: what a mapped file is to its user. */
#include "file_support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { PAGE = 4096, MIB = 1 << 20 };

static void mmap_open_ex(umemMMap *m, char const *name, char const *mode,
                         umemMMapOptions options) {
  options.size = sizeof options;
  if (umemMMap_ctor_ex(m, name, mode, &options) != umemOK)
    fail_msg("%s", umem_get_message(m));
}

static void mmap_open(umemMMap *m, char const *name, char const *mode) {
  mmap_open_ex(m, name, mode, (umemMMapOptions){.size = 0});
}

/* A mapping of a new and empty file. */
static char const *new_mmap(umemMMap *m) {
  char const *name = new_path();
  mmap_open(m, name, "w+");
  return name;
}

static char *bytes_of(umemMMap const *m) {
  return (char *)umemMMap_get_address(m, NULL);
}

static char *allocated(umemMMap *m, size_t nbytes) {
  uintptr_t adr = 0;
  assert_ok(umem_try_alloc(m, nbytes, &adr));
  return (char *)adr;
}

static umemStatusType from_host(void const *in, umemMMap *m, void *at,
                                size_t nbytes) {
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  return umem_copy_to(&host, (uintptr_t)in, m, (uintptr_t)at, nbytes);
}

static umemStatusType to_host(umemMMap *m, void const *at, void *out,
                              size_t nbytes) {
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  return umem_copy_to(m, (uintptr_t)at, &host, (uintptr_t)out, nbytes);
}

#define assert_refused(status, type, text)                                     \
  do {                                                                         \
    assert_status((status), (type));                                           \
    assert_has(umem_get_message(&m), (text));                                  \
    assert_ok(umem_clean_status(&m));                                          \
  } while (0)

/* --- addresses ------------------------------------------------------------ */

static void addresses__are_pointers_into_the_file(void **state) {
  (void)state;
  umemMMap m;
  char const *name = file_with("sample");
  size_t nbytes = 0;
  mmap_open(&m, name, "r+");
  assert_ptr_equal((char *)umemMMap_get_address(&m, &nbytes), bytes_of(&m));
  assert_int_equal(nbytes, 6);
  assert_memory_equal(bytes_of(&m), "sample", 6);
  bytes_of(&m)[1] = 'i';
  assert_file_is(name, "simple");
  assert_ok(from_host("w", &m, bytes_of(&m), 1));
  assert_memory_equal(bytes_of(&m), "wimple", 6);
  assert_ok(umem_dtor(&m));
  assert_file_is(name, "wimple");
}

static void addresses__of_two_mappings_are_the_same_bytes(void **state) {
  (void)state;
  umemMMap m, n;
  char const *name = file_with("one two");
  mmap_open(&m, name, "r+");
  mmap_open(&n, name, "r");
  assert_ptr_not_equal(bytes_of(&m), bytes_of(&n));
  assert_false(umem_is_same_device(&m, &n));
  assert_ok(from_host("six", &m, bytes_of(&m), 3));
  assert_memory_equal(bytes_of(&n), "six two", 7);
  assert_ok(umem_dtor(&m));
  assert_ok(umem_dtor(&n));
}

static void addresses__are_host_memory_but_host_memory_is_not_theirs(void **s) {
  (void)s;
  umemMMap m;
  umemHost host;
  char text[32] = "mirrored";
  mmap_open(&m, file_with("sample"), "r+");
  assert_ok(umemHost_ctor(&host));
  assert_true(umem_is_accessible_from(&m, &host));
  assert_false(umem_is_accessible_from(&host, &m));
  uintptr_t first = umemMMap_get_address(&m, NULL), mirror = 0;
  assert_ok(umem_try_connect(&m, first, 6, &host, 1, &mirror));
  assert_int_equal(mirror, first);
  assert_ok(umem_disconnect(&m, first, &host, mirror, 1));
  assert_ok(umem_try_connect(&host, (uintptr_t)text, 9, &m, 1, &mirror));
  assert_string_equal((char const *)mirror, "mirrored");
  assert_ok(umem_disconnect(&host, (uintptr_t)text, &m, mirror, 1));
  assert_ok(umem_dtor(&m));
}

static void addresses__outside_the_mapping_are_index_errors(void **state) {
  (void)state;
  umemMMap m;
  char byte = 'x';
  mmap_open_ex(&m, file_with("sample"), "r+", (umemMMapOptions){.length = 100});
  char *first = bytes_of(&m);
  assert_refused(from_host(&byte, &m, first - 1, 1), umemIndexError,
                 "not in the mapping, which has 0x64 bytes at 0x");
  assert_refused(from_host(&byte, &m, first + 100, 1), umemIndexError,
                 "not in the mapping");
  assert_refused(to_host(&m, &byte, first, 1), umemIndexError,
                 "not in the mapping");
  assert_ok(from_host(&byte, &m, first + 99, 1));
  assert_ok(umem_dtor(&m));
}

static void get_address__is_of_live_mappings_only(void **state) {
  (void)state;
  umemMMap m = {.super = {{0}}};
  umemHost host;
  assert_int_equal(umemMMap_get_address(&m, NULL), 0);
  assert_int_equal(umemMMap_get_address(NULL, NULL), 0);
  assert_ok(umemHost_ctor(&host));
  assert_int_equal(umemMMap_get_address((umemMMap *)&host, NULL), 0);
  assert_status(umem_get_status(&host), umemTypeError);
  assert_has(umem_get_message(&host), "is a Host, and not a MMap");
  assert_ok(umem_dtor(&host));
}

/* --- alloc ---------------------------------------------------------------- */

static void alloc__extends_the_file_and_is_aligned_for_any_type(void **state) {
  (void)state;
  umemMMap m;
  char const *name = new_mmap(&m);
  char *one = allocated(&m, 5), *two = allocated(&m, 7);
  assert_ptr_equal(one, bytes_of(&m));
  assert_ptr_equal(two, one + 16);
  assert_int_equal(file_size(name), 16 + 7);
  assert_int_equal(umem_fundamental_align(&m), 16);
  memcpy(two, "lasting", 7); /* memory, at once */
  uintptr_t page = umem_aligned_alloc(&m, PAGE, PAGE);
  assert_ptr_equal((char *)page, one + PAGE);
  assert_ok(umem_dtor(&m));
  char found[8] = "";
  file_get(name, 16, found, 7);
  assert_string_equal(found, "lasting");
}

static void alloc__of_nothing_is_a_place_of_its_own(void **state) {
  (void)state;
  umemMMap m;
  char const *name = new_mmap(&m);
  char *one = allocated(&m, 0), *two = allocated(&m, 0);
  assert_true(one && two && one != two);
  assert_int_equal(file_size(name), 0);
  assert_ok(umem_free(&m, (uintptr_t)one));
  assert_ok(umem_free(&m, (uintptr_t)two));
  assert_refused(umem_free(&m, (uintptr_t)two), umemValueError, "");
  assert_ok(umem_dtor(&m));
}

static void alloc__of_nothing_aligned_to_more_than_a_page(void **state) {
  (void)state;
  umemMMap m;
  new_mmap(&m);
  uintptr_t const alignments[] = {2 * PAGE, MIB, 16, PAGE};
  for (size_t i = 0; i < 4; i++) {
    uintptr_t nothing = 0, block = 0;
    assert_ok(umem_try_aligned_alloc(&m, alignments[i], 0, &nothing));
    assert_int_equal(nothing % alignments[i], 0);
    assert_ok(umem_try_alloc(&m, 100, &block));
    assert_true(nothing < block || nothing >= block + 100);
    assert_ok(umem_free(&m, nothing));
    assert_ok(umem_free(&m, block));
  }
  assert_ok(umem_dtor(&m));
}

static void free__of_nothing_gives_its_place_back(void **state) {
  (void)state;
  umemMMap m;
  uintptr_t adr;
  mmap_open(&m, file_with("17 bytes are here"), "r");
  char *nothing = allocated(&m, 0), *last = allocated(&m, 1);
  assert_ptr_equal(last, nothing + 16);
  assert_refused(umem_try_alloc(&m, 1, &adr), umemIndexError, "no 1 bytes");
  assert_ok(umem_free(&m, (uintptr_t)nothing));
  assert_ptr_equal(allocated(&m, 1), nothing);
  assert_ok(umem_dtor(&m));
}

static void alloc__reuses_what_is_free_and_calloc_clears_it(void **state) {
  (void)state;
  umemMMap m;
  new_mmap(&m);
  char *block = allocated(&m, 2 * MIB);
  memset(block, 'x', 2 * MIB);
  assert_ok(umem_free(&m, (uintptr_t)block));
  assert_ptr_equal(allocated(&m, MIB), block);
  assert_int_equal(block[5], 'x');
  assert_ptr_equal((char *)umem_calloc(&m, MIB, 1), block + MIB);
  assert_true(all_bytes_are(block + MIB, MIB, 0));
  assert_ok(umem_dtor(&m));
}

static void growing__moves_nothing(void **state) {
  (void)state;
  umemMMap m;
  char const *name = new_mmap(&m);
  char *first = allocated(&m, 10);
  memcpy(first, "stays here", 10);
  for (size_t i = 0; i < 64; i++) {
    char *more = allocated(&m, MIB);
    more[0] = more[MIB - 1] = (char)i;
  }
  assert_memory_equal(first, "stays here", 10);
  assert_ptr_equal(bytes_of(&m), first);
  assert_true(file_size(name) > 64 * MIB);
  assert_ok(umem_dtor(&m));
}

static void alloc__of_much_fits_where_small_blocks_were_freed(void **state) {
  (void)state;
  enum { COUNT = 100 };
  umemMMap m;
  char *blocks[COUNT];
  char const *name = new_mmap(&m);
  for (size_t i = 0; i < COUNT; i++)
    blocks[i] = allocated(&m, i % 3 ? 100 : 0);
  uint64_t size = file_size(name);
  for (size_t i = 0; i < COUNT; i++)
    assert_ok(umem_free(&m, (uintptr_t)blocks[i]));
  assert_ptr_equal(allocated(&m, (size_t)size - 16), blocks[0]);
  assert_int_equal(file_size(name), size);
  assert_ok(umem_dtor(&m));
}

static void alloc__in_a_window_stays_in_it(void **state) {
  (void)state;
  umemMMap m;
  char const *name = file_with("sample");
  mmap_open_ex(&m, name, "r+",
               (umemMMapOptions){.offset = PAGE, .length = 2 * PAGE});
  size_t nbytes = 1;
  assert_true(umemMMap_get_address(&m, &nbytes) != 0);
  assert_int_equal(nbytes, 0); /* the file ends before */
  char *block = allocated(&m, 2 * PAGE);
  uintptr_t adr = 0;
  assert_ptr_equal((char *)umemMMap_get_address(&m, &nbytes), block);
  assert_int_equal(nbytes, 2 * PAGE);
  faults_fail(FAULT_fstat, 1, EIO);
  nbytes = 7;
  assert_int_equal(umemMMap_get_address(&m, &nbytes), 0);
  assert_int_equal(nbytes, 7);
  assert_ok(umem_clean_status(&m));
  assert_int_equal(file_size(name), 3 * PAGE);
  assert_refused(umem_try_alloc(&m, 1, &adr), umemMemoryError,
                 "there are no 1 bytes before the end of the mapping");
  memcpy(block, "second page", 11);
  assert_ok(umem_dtor(&m));
  char found[12] = "";
  file_get(name, PAGE, found, 11);
  assert_string_equal(found, "second page");
}

static void alloc__where_the_disk_is_full_is_a_memory_error(void **state) {
  (void)state;
  umemMMap m;
  uintptr_t adr = 0;
  new_mmap(&m);
  faults_fail_from(FAULT_fallocate, 1, ENOSPC);
  assert_refused(umem_try_alloc(&m, 100, &adr), umemMemoryError, "ENOSPC");
  faults_clear();
  assert_non_null(allocated(&m, 100));
  assert_ok(umem_dtor(&m));
}

/* --- modes and options ---------------------------------------------------- */

static void mode__says_what_may_be_done(void **state) {
  (void)state;
  umemMMap m;
  char text[8] = "";
  uintptr_t adr = 0;
  mmap_open(&m, file_with("sample"), "r");
  assert_ptr_equal(allocated(&m, 4), bytes_of(&m));
  assert_refused(umem_try_alloc(&m, 100, &adr), umemIndexError,
                 "nothing can be appended");
  assert_refused(from_host("x", &m, bytes_of(&m), 1), umemValueError,
                 "opened for reading only");
  assert_ok(to_host(&m, bytes_of(&m), text, 6));
  assert_string_equal(text, "sample");
  assert_ok(umem_dtor(&m));
  mmap_open(&m, file_with("sample"), "w");
  assert_ok(from_host("new", &m, bytes_of(&m), 3));
  assert_refused(to_host(&m, bytes_of(&m), text, 3), umemValueError,
                 "opened for writing only");
  assert_memory_equal(bytes_of(&m), "new", 3); /* by pointer it can be read */
  assert_ok(umem_dtor(&m));
  char const *name = file_with("kept ");
  mmap_open(&m, name, "a+");
  assert_refused(from_host("x", &m, bytes_of(&m) + 4, 1), umemValueError,
                 "the first 5 bytes are read-only");
  assert_ok(from_host("more", &m, bytes_of(&m) + 5, 4));
  assert_ok(umem_dtor(&m));
  assert_file_is(name, "kept more");
}

static void mode__r_of_an_empty_file_has_nothing(void **state) {
  (void)state;
  umemMMap m;
  uintptr_t adr = 0;
  char byte;
  mmap_open(&m, file_with(""), "r");
  assert_true(umemMMap_get_address(&m, NULL) != 0);
  assert_refused(umem_try_alloc(&m, 1, &adr), umemIndexError, "no 1 bytes");
  assert_refused(to_host(&m, bytes_of(&m), &byte, 1), umemIOError,
                 "the file ends there");
  assert_ok(umem_dtor(&m));
}

static void names__and_modes_are_those_of_files(void **state) {
  (void)state;
  umemMMap m;
  assert_status(umemMMap_ctor(&m, "", "r"), umemValueError);
  assert_string_equal(umem_get_message(&m), "invalid 0-length filename");
  assert_ok(umem_dtor(&m));
  assert_status(umemMMap_ctor(&m, "x", ""), umemValueError);
  assert_string_equal(umem_get_message(&m), "invalid 0-length mode");
  assert_ok(umem_dtor(&m));
  assert_refused(umemMMap_ctor(&m, NULL, "r"), umemValueError, "filename");
  assert_refused(umemMMap_ctor(&m, "x", NULL), umemValueError, "mode");
  assert_refused(umemMMap_ctor(&m, "x", "q"), umemValueError,
                 "umemMMap_ctor(mode q): mode must be one of");
  assert_refused(umemMMap_ctor(&m, "/nowhere/at/all", "r"), umemIOError,
                 "ENOENT");
  assert_refused(umemMMap_ctor(&m, "/", "r"), umemIOError, "EISDIR");
  assert_refused(umemMMap_ctor(&m, "/dev/null", "r"), umemIOError, "ESPIPE");
  assert_ok(umem_dtor(&m));
}

static void options__that_make_no_sense_are_refused(void **state) {
  (void)state;
  struct {
    umemMMapOptions options;
    umemStatusType type;
    char const *text;
  } const cases[] = {
      {{.flags = UMEM_FILE_DIRECT}, umemValueError, "DIRECT"},
      {{.flags = 1u << 31}, umemValueError, "unknown bits"},
      {{.permissions = 01777}, umemValueError, "permissions"},
      {{.advice = (umemMMapAdvice)4}, umemValueError, "advice"},
      {{.advice = (umemMMapAdvice)-1}, umemValueError, "advice"},
      {{.offset = 1}, umemValueError, "multiple of 4096"},
      {{.offset = PAGE - 1}, umemValueError, "multiple of 4096"},
      {{.offset = UINT64_MAX & ~UINT64_C(4095)}, umemValueError, "largest"},
      {{.offset = PAGE, .length = UINT64_MAX}, umemValueError, "largest"},
      {{.length = UINT64_C(1) << 62}, umemIndexError, "past the end"},
      {{.offset = PAGE}, umemIndexError, "past the end of the file, 6"},
      {{.length = 7}, umemIndexError, "past the end of the file, 6"},
  };
  char const *name = file_with("sample");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    umemMMap m;
    umemMMapOptions options = cases[i].options;
    options.size = sizeof options;
    assert_refused(umemMMap_ctor_ex(&m, name, "r", &options), cases[i].type,
                   cases[i].text);
    assert_ok(umem_dtor(&m));
  }
}

static void options__advice_is_given_to_the_system(void **state) {
  (void)state;
  for (int advice = 1; advice <= 3; advice++) {
    umemMMap m;
    faults_clear();
    faults_fail(FAULT_madvise, 1, EINVAL); /* and not insisted on */
    mmap_open_ex(&m, file_with("sample"), "r",
                 (umemMMapOptions){.advice = (umemMMapAdvice)advice});
    assert_int_equal(faults_count(FAULT_madvise), 1);
    assert_ok(umem_dtor(&m));
  }
}

static void
options__fd_is_taken_and_stays_the_callers_after_a_failure(void **s) {
  (void)s;
  umemMMap m;
  char const *name = file_with("sample");
  int fd = open(name, O_RDWR | O_CLOEXEC);
  umemMMapOptions options = {.size = sizeof options,
                             .flags = UMEM_FILE_TAKE_FD,
                             .fd = fd,
                             .offset = PAGE,
                             .length = 1};
  assert_refused(umemMMap_ctor_ex(&m, NULL, "r", &options), umemIndexError,
                 "descriptor");
  assert_true(fcntl(fd, F_GETFD) >= 0);
  mmap_open_ex(&m, NULL, "r+",
               (umemMMapOptions){.flags = UMEM_FILE_TAKE_FD, .fd = fd});
  assert_memory_equal(bytes_of(&m), "sample", 6);
  assert_ok(umem_dtor(&m));
  assert_true(fcntl(fd, F_GETFD) < 0);
}

static void atomic__mapping_is_published_by_dtor(void **state) {
  (void)state;
  umemMMap m;
  char const *name = file_with("old");
  mmap_open_ex(&m, name, "w+", (umemMMapOptions){.flags = UMEM_FILE_ATOMIC});
  memcpy(allocated(&m, 3), "new", 3);
  assert_file_is(name, "old");
  assert_ok(umem_dtor(&m));
  assert_file_is(name, "new");
}

/* --- copies --------------------------------------------------------------- */

/* Through pointers of the same mapping given as Host memory. */
static void copy__within_a_mapping_is_memmove_also_by_way_of_a_host(void **s) {
  (void)s;
  enum { N = 3 * MIB + 5 };
  umemMMap m;
  umemHost host;
  unsigned char *image = malloc(N + 5000);
  assert_non_null(image);
  new_mmap(&m);
  assert_ok(umemHost_ctor(&host));
  char *block = allocated(&m, N + 5000);
  random_bytes((unsigned char *)block, N + 5000, 8);
  memcpy(image, block, N + 5000);
  void const *pairs[][2] = {{&m, &host}, {&host, &m}, {&m, &m}};
  for (size_t i = 0; i < 3; i++)
    for (size_t by = 1; by < 5000; by += 1777) {
      uintptr_t at = (uintptr_t)block;
      assert_ok(umem_copy_to(pairs[i][0], at, pairs[i][1], at + by, N));
      memmove(image + by, image, N);
      assert_memory_equal(block, image, N + 5000);
      assert_ok(umem_copy_to(pairs[i][0], at + by, pairs[i][1], at, N));
      memmove(image, image + by, N);
      assert_memory_equal(block, image, N + 5000);
    }
  assert_ok(umem_sync_to(&m, (uintptr_t)block, &host, (uintptr_t)block, N));
  free(image);
  assert_ok(umem_dtor(&m));
}

static void copy__moves_large_ranges_between_kinds(void **state) {
  (void)state;
  enum { N = 9 * MIB + 77 };
  umemMMap m;
  umemFile f;
  char *bytes = malloc(2 * N);
  assert_non_null(bytes);
  random_bytes((unsigned char *)bytes, N, 3);
  new_mmap(&m);
  file_open(&f, new_path(), "w+");
  char *block = allocated(&m, N);
  assert_ok(from_host(bytes, &m, block, N));
  assert_memory_equal(block, bytes, N);
  assert_ok(umem_copy_to(&m, (uintptr_t)block, &f, 3, N));
  memset(block, 0, N);
  assert_ok(umem_copy_to(&f, 3, &m, (uintptr_t)block, N));
  assert_ok(to_host(&m, block, bytes + N, N));
  assert_memory_equal(bytes, bytes + N, N);
  free(bytes);
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&m));
}

static void copy__to_past_the_end_extends_the_file(void **state) {
  (void)state;
  umemMMap m;
  char const *name = file_with("12");
  mmap_open(&m, name, "r+");
  assert_ok(from_host("3456", &m, bytes_of(&m) + 2, 4));
  assert_memory_equal(bytes_of(&m), "123456", 6);
  assert_ok(umem_dtor(&m));
  assert_file_is(name, "123456");
}

static void safe__copies_stay_in_the_block(void **state) {
  (void)state;
  umemMMap m;
  umemHost host;
  new_mmap(&m);
  assert_ok(umemHost_ctor(&host));
  uintptr_t block = (uintptr_t)allocated(&m, 10);
  assert_refused(umem_copy_to_safe(&host, (uintptr_t) "0123456789ab", 12, &m,
                                   block, 12, 12),
                 umemIndexError, "");
  assert_ok(umem_dtor(&host));
  assert_ok(umem_dtor(&m));
}

/* --- truncation ----------------------------------------------------------- */

static void truncated__file_answers_IOError_and_goes_on(void **state) {
  (void)state;
  umemMMap m;
  char bytes[100];
  char const *name = new_mmap(&m);
  char *block = allocated(&m, 3 * PAGE);
  assert_int_equal(truncate(name, 50), 0);
  assert_refused(to_host(&m, block, bytes, 100), umemIOError,
                 "the file ends there: read 50 of 100 bytes");
  assert_int_equal(last_error(&m).bytes_done, 50);
  size_t first;
  assert_refused(umem_compare(&m, (uintptr_t)block, &m, (uintptr_t)block + PAGE,
                              PAGE, &first),
                 umemIOError, "the file ends there");
  uint32_t sum;
  assert_refused(umem_checksum(&m, (uintptr_t)block, PAGE, 0, &sum),
                 umemIOError, "the file ends there");
  assert_ok(
      umem_try_set(&m, (uintptr_t)block, 'y', 3 * PAGE)); /* grows again */
  assert_true(all_bytes_are(block, 3 * PAGE, 'y'));
  assert_ok(umem_dtor(&m));
}

struct race {
  char const *name;
  atomic_bool stop;
};

static void *cut_and_grow(void *argument) {
  struct race *race = argument;
  while (!race->stop)
    if (truncate(race->name, 100) || truncate(race->name, 4 * MIB))
      return argument;
  return NULL;
}

/* Whatever is cut off at whatever moment: an answer, and no signal. */
static void truncated__meanwhile_is_an_error_and_never_a_signal(void **state) {
  (void)state;
  umemMMap m, other;
  struct race race = {.name = new_path()};
  pthread_t thread;
  void *failed;
  size_t const rounds = scaled(500, 40);
  size_t cut = 0;
  char *bytes = malloc(4 * MIB);
  assert_non_null(bytes);
  memset(bytes, 'z', 4 * MIB);
  file_put(race.name, bytes, 4 * MIB);
  mmap_open(&m, race.name, "r+");
  new_mmap(&other);
  char *to = allocated(&other, 4 * MIB);
  assert_int_equal(pthread_create(&thread, NULL, cut_and_grow, &race), 0);
  for (size_t i = 0; i < rounds; i++) {
    umemStatusType got[] = {to_host(&m, bytes_of(&m), bytes, 4 * MIB),
                            from_host(bytes, &m, bytes_of(&m), 4 * MIB),
                            umem_copy_to(&m, umemMMap_get_address(&m, NULL),
                                         &other, (uintptr_t)to, 4 * MIB)};
    for (size_t k = 0; k < 3; k++) {
      assert_true(got[k] == umemOK || got[k] == umemIOError);
      cut += got[k] != umemOK;
    }
    umem_clean_status(&m);
    umem_clean_status(&other);
  }
  race.stop = true;
  assert_int_equal(pthread_join(thread, &failed), 0);
  assert_null(failed);
  assert_true(cut > 0);
  free(bytes);
  assert_ok(umem_dtor(&m));
  assert_ok(umem_dtor(&other));
}

/* --- durability ----------------------------------------------------------- */

/* Not msync(): it would be told a lost write, and later flushes would not. */
static void
flush__is_fdatasync_and_fails_for_ever_once_it_failed(void **state) {
  (void)state;
  umemMMap m;
  new_mmap(&m);
  memcpy(allocated(&m, 4), "last", 4);
  faults_clear();
  assert_ok(umem_flush(&m));
  assert_string_equal(faults_trace(), "fdatasync fsync close");
  faults_clear();
  faults_fail(FAULT_fdatasync, 1, EIO);
  assert_refused(umem_flush(&m), umemIOError, "EIO");
  assert_refused(umem_flush(&m), umemIOError, "an earlier flush failed");
  assert_ok(umem_dtor(&m));
}

/* --- constructors that fail ----------------------------------------------- */

static void ctor__that_cannot_map_leaves_all_as_it_was(void **state) {
  (void)state;
  static struct {
    int reason;
    umemStatusType type;
  } const cases[] = {{ENOMEM, umemMemoryError},
                     {EAGAIN, umemMemoryError}, /* mlockall(2) */
                     {ENODEV, umemNotSupportedError},
                     {EPERM, umemNotSupportedError}}; /* a sealed memfd */
  static char const *const modes[] = {"r", "r+", "w", "w+", "a", "a+"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (size_t k = 0; k < sizeof modes / sizeof *modes; k++) {
      umemMMap m;
      char const *name = file_with("sample");
      faults_clear();
      faults_fail_from(FAULT_mmap, 1, cases[i].reason);
      assert_status(umemMMap_ctor(&m, name, modes[k]), cases[i].type);
      assert_ok(umem_dtor(&m));
      assert_file_is(name, "sample");
      name = new_path();
      assert_status(umemMMap_ctor(&m, name, modes[k]),
                    k < 2 ? umemIOError : cases[i].type);
      assert_ok(umem_dtor(&m));
      assert_true(access(name, F_OK) < 0);
    }
}

static void *refuse_large(void *at, size_t size, int prot, int flags, int fd,
                          off_t offset) {
  errno = ENOMEM;
  return size > 64 * MIB ? MAP_FAILED : mmap(at, size, prot, flags, fd, offset);
}

static void ctor__without_much_address_space_has_less_room(void **state) {
  (void)state;
  umemMMap m;
  uintptr_t adr;
  umemi_os.mmap = refuse_large;
  mmap_open(&m, file_with("sample"), "r+");
  assert_ok(umem_try_alloc(&m, 24 * MIB, &adr));
  /* of what there was half is left to others */
  assert_refused(umem_try_alloc(&m, 24 * MIB, &adr), umemMemoryError,
                 "before the end of the mapping");
  assert_ok(umem_dtor(&m));
}

static void in_little_space(void) {
  umemMMap m;
  uintptr_t adr;
  struct rlimit limit = {(rlim_t)1 << 32, (rlim_t)1 << 32};
  assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
  new_mmap(&m);
  assert_ok(umem_try_alloc(&m, 64 * MIB, &adr));
  ((char *)adr)[64 * MIB - 1] = 1;
  assert_status(umem_try_alloc(&m, (size_t)1 << 33, &adr), umemMemoryError);
  assert_ok(umem_dtor(&m));
}

static void ctor__under_a_limit_of_address_space_works(void **state) {
  (void)state;
  if (UNDER_ASAN || UNDER_TSAN || getenv("LD_PRELOAD")) {
    print_message("skipped: needs all of the address space itself\n");
    skip();
  }
  assert_int_equal(in_child(in_little_space), 0);
}

static void ctor__that_fails_leaves_no_file_behind_a_link(void **state) {
  (void)state;
  char const *target = temp_path("target"), *link = temp_path("link");
  umemMMapOptions options = {.size = sizeof options,
                             .length = UINT64_C(1) << 62};
  assert_int_equal(symlink(target, link), 0);
  char const *const names[] = {link, target};
  for (size_t i = 0; i < 2; i++) {
    umemMMap m;
    assert_status(umemMMap_ctor_ex(&m, names[i], "w+", &options),
                  umemMemoryError);
    assert_ok(umem_dtor(&m));
    assert_false(file_exists(target));
  }
}

static char const *grown;

static void *refused_mmap(void *at, size_t size, int prot, int flags, int fd,
                          off_t offset) {
  (void)at, (void)size, (void)prot, (void)flags, (void)fd, (void)offset;
  file_put(grown, "another's", 9);
  errno = ENODEV;
  return MAP_FAILED;
}

static void ctor__that_fails_leaves_what_others_have_written(void **state) {
  (void)state;
  umemMMap m;
  grown = temp_path("grown");
  umemi_os.mmap = refused_mmap;
  assert_status(umemMMap_ctor(&m, grown, "w+"), umemNotSupportedError);
  assert_ok(umem_dtor(&m));
  assert_int_equal(file_size(grown), 9);
}

/* --- fork ----------------------------------------------------------------- */

static umemMMap inherited;

static void use_inherited(void) {
  umemMMap *m = &inherited;
  memcpy(bytes_of(m), "child", 5);
  assert_ok(from_host("ren", m, bytes_of(m) + 5, 3));
  uintptr_t adr;
  assert_fails(m, umem_try_alloc(m, 10, &adr), umemRuntimeError,
               "in a forked child");
  assert_ok(umem_flush(m));
  assert_ok(umem_dtor(m));
}

static void fork__leaves_the_child_a_mapping_that_works(void **state) {
  (void)state;
  char const *name = file_with("parent's text");
  mmap_open(&inherited, name, "r+");
  assert_int_equal(in_child(use_inherited), 0);
  assert_memory_equal(bytes_of(&inherited), "children text", 8);
  assert_ok(umem_dtor(&inherited));
}

/* Mappings of files of the private directory. */
static size_t mappings(void) {
  char line[1024];
  size_t count = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  assert_non_null(maps);
  while (fgets(line, sizeof line, maps))
    count += strstr(line, temp_dir()) != NULL;
  fclose(maps);
  return count;
}

/* One construction whose call number `k` fails; false if there is none. */
static bool ctor_fails_at(enum fault_call call, unsigned k, char const *mode,
                          size_t length, size_t *failed) {
  umemMMapOptions const options = {.size = sizeof options, .length = length};
  char const *name = file_with("old");
  umemMMap m;
  faults_clear();
  faults_fail(call, k, ENOMEM);
  umemStatusType status = umemMMap_ctor_ex(&m, name, mode, &options);
  bool const was_reached = faults_count(call) >= k;
  faults_clear();
  if (status != umemOK) {
    *failed += 1;
    assert_int_equal(last_error(&m).sys_errno, ENOMEM);
    assert_status(umem_flush(&m), umemTypeError);
    assert_file_is(name, "old");
    assert_int_equal(mappings(), 0);
  }
  assert_ok(umem_dtor(&m));
  unlink(name);
  return was_reached;
}

/* Descriptors are counted at the end of the test. */
static void ctor__leaves_nothing_if_any_call_fails(void **state) {
  (void)state;
  static char const *const modes[] = {"r", "r+", "w+"};
  for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++)
    for (size_t length = 0; length <= 3; length += 3) {
      size_t failed = 0;
      for (unsigned call = 0; call < FAULT_CALL_COUNT; call++)
        for (unsigned k = 1;
             ctor_fails_at((enum fault_call)call, k, modes[i], length, &failed);
             k++)
          continue;
      assert_true(failed > 0);
    }
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(addresses__are_pointers_into_the_file),
      faulty_test(addresses__of_two_mappings_are_the_same_bytes),
      faulty_test(addresses__are_host_memory_but_host_memory_is_not_theirs),
      faulty_test(addresses__outside_the_mapping_are_index_errors),
      faulty_test(get_address__is_of_live_mappings_only),
      faulty_test(alloc__extends_the_file_and_is_aligned_for_any_type),
      faulty_test(alloc__of_nothing_is_a_place_of_its_own),
      faulty_test(alloc__of_nothing_aligned_to_more_than_a_page),
      faulty_test(free__of_nothing_gives_its_place_back),
      faulty_test(alloc__reuses_what_is_free_and_calloc_clears_it),
      faulty_test(growing__moves_nothing),
      faulty_test(alloc__of_much_fits_where_small_blocks_were_freed),
      faulty_test(alloc__in_a_window_stays_in_it),
      faulty_test(alloc__where_the_disk_is_full_is_a_memory_error),
      faulty_test(mode__says_what_may_be_done),
      faulty_test(mode__r_of_an_empty_file_has_nothing),
      faulty_test(names__and_modes_are_those_of_files),
      faulty_test(ctor__leaves_nothing_if_any_call_fails),
      faulty_test(options__that_make_no_sense_are_refused),
      faulty_test(options__advice_is_given_to_the_system),
      faulty_test(options__fd_is_taken_and_stays_the_callers_after_a_failure),
      faulty_test(atomic__mapping_is_published_by_dtor),
      faulty_test(copy__within_a_mapping_is_memmove_also_by_way_of_a_host),
      faulty_test(copy__moves_large_ranges_between_kinds),
      faulty_test(copy__to_past_the_end_extends_the_file),
      faulty_test(safe__copies_stay_in_the_block),
      faulty_test(truncated__file_answers_IOError_and_goes_on),
      faulty_test(truncated__meanwhile_is_an_error_and_never_a_signal),
      faulty_test(flush__is_fdatasync_and_fails_for_ever_once_it_failed),
      faulty_test(ctor__that_cannot_map_leaves_all_as_it_was),
      faulty_test(ctor__without_much_address_space_has_less_room),
      faulty_test(ctor__under_a_limit_of_address_space_works),
      faulty_test(ctor__that_fails_leaves_no_file_behind_a_link),
      faulty_test(ctor__that_fails_leaves_what_others_have_written),
      faulty_test(fork__leaves_the_child_a_mapping_that_works),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
