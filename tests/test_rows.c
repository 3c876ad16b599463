/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows that a kind moves by itself, and rows in views. */
#include "core.h"

#include "internal.h"

enum { KIB = 1024, SIZE = 4096 * KIB };

/* A kind in this process: its addresses are pointers. */
struct mine {
  bool bounces;  /* a view is a copy, which view_end() writes back */
  bool declines; /* all rows */
  bool fails;    /* to move rows */
  unsigned reads, writes, views, reads_2d, writes_2d, peers_2d;
  uintptr_t viewed;
  void *copy; /* that stands for a view */
};

struct one {
  struct mine mine;
  umemVirtual ctx;
  uintptr_t adr; /* of SIZE bytes */
};

static umemHost host;

static unsigned char *bytes_new(uint64_t seed) {
  unsigned char *bytes = malloc(SIZE);
  assert_non_null(bytes);
  random_bytes(bytes, SIZE, seed);
  return bytes;
}

static umemStatusType mine_dtor(void *state, umemError *error) {
  (void)state, (void)error;
  return umemOK;
}

static umemStatusType mine_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  (void)state, (void)alignment, (void)error;
  *adr_out = (uintptr_t)malloc(nbytes + !nbytes);
  return umemOK;
}

static umemStatusType mine_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  (void)state, (void)nbytes, (void)error;
  free((void *)adr);
  return umemOK;
}

static umemStatusType mine_read(void *state, uintptr_t adr, void *out,
                                size_t nbytes, umemError *error) {
  struct mine *mine = state;
  (void)error;
  mine->reads++;
  memcpy(out, (void const *)adr, nbytes);
  return umemOK;
}

static umemStatusType mine_write(void *state, uintptr_t adr, void const *in,
                                 size_t nbytes, umemError *error) {
  struct mine *mine = state;
  (void)error;
  mine->writes++;
  memcpy((void *)adr, in, nbytes);
  return umemOK;
}

static size_t mine_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  (void)state;
  out[0] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  return 1;
}

static umemStatusType mine_view_begin(void *state, uintptr_t adr, size_t nbytes,
                                      umemAccess access, void **ptr_out,
                                      umemError *error) {
  struct mine *mine = state;
  (void)error;
  mine->views++;
  mine->viewed = adr;
  *ptr_out = (void *)adr;
  if (!mine->bounces)
    return umemOK;
  *ptr_out = mine->copy = malloc(nbytes);
  assert_non_null(*ptr_out);
  if (access == umemRead)
    memcpy(*ptr_out, (void const *)adr, nbytes);
  else
    memset(*ptr_out, '?', nbytes);
  return umemOK;
}

static umemStatusType mine_view_end(void *state, void *ptr, size_t nbytes,
                                    umemAccess access, umemError *error) {
  struct mine *mine = state;
  (void)error;
  if (!mine->bounces)
    return umemOK;
  if (access == umemWrite)
    memcpy((void *)mine->viewed, ptr, nbytes);
  free(ptr);
  return umemOK;
}

/* All rows are read before one is written: they may overlap. */
static void lay_out(char *dest, char const *src, struct umemRows const *rows) {
  size_t row = rows->row_bytes;
  char *all = malloc(rows->rows * row);
  assert_non_null(all);
  for (size_t i = 0; i < rows->rows; i++)
    memcpy(all + i * row, src + i * rows->src_pitch, row);
  for (size_t i = 0; i < rows->rows; i++)
    memcpy(dest + i * rows->dest_pitch, all + i * row, row);
  free(all);
}

/* One row is done, and more is said to be. */
static umemStatusType move_2d(struct mine const *mine, uintptr_t dest,
                              uintptr_t src, struct umemRows const *rows,
                              umemError *error) {
  assert_true(rows->rows >= 2 && rows->row_bytes >= 1);
  if (mine->declines)
    return UMEM_DECLINED;
  struct umemRows moved = *rows;
  if (mine->fails)
    moved.rows = 1;
  lay_out((char *)dest, (char const *)src, &moved);
  if (!mine->fails)
    return umemOK;
  umem_error_fill(error, umemIOError, 0, 0, "no more rows today");
  error->bytes_done = SIZE_MAX;
  return umemIOError;
}

static umemStatusType mine_read_2d(void *state, uintptr_t adr, void *out,
                                   struct umemRows const *rows,
                                   umemError *error) {
  struct mine *mine = state;
  mine->reads_2d++;
  return move_2d(mine, (uintptr_t)out, adr, rows, error);
}

static umemStatusType mine_write_2d(void *state, uintptr_t adr, void const *in,
                                    struct umemRows const *rows,
                                    umemError *error) {
  struct mine *mine = state;
  mine->writes_2d++;
  return move_2d(mine, adr, (uintptr_t)in, rows, error);
}

static umemStatusType mine_copy_peer_2d(void *src_state, uintptr_t src_adr,
                                        void *dest_state, uintptr_t dest_adr,
                                        struct umemRows const *rows,
                                        umemError *error) {
  struct mine *mine = src_state;
  (void)dest_state;
  mine->peers_2d++;
  return move_2d(mine, dest_adr, src_adr, rows, error);
}

/* --- places --------------------------------------------------------------- */

/* With views, or with methods for rows. */
enum what { VIEWS, VIEWS_IN_PLACE, ROWS };

static void one_begin(struct one *one, enum what what,
                      struct mine const *mine) {
  struct umemVtbl vtbl = {.size = sizeof vtbl,
                          .type = umemForeignDevice,
                          .name = "Mine",
                          .dtor = mine_dtor,
                          .alloc = mine_alloc,
                          .free = mine_free,
                          .read = mine_read,
                          .write = mine_write,
                          .spaces = mine_spaces};
  *one = (struct one){.mine = *mine};
  if (what == VIEWS_IN_PLACE)
    vtbl.caps = UMEM_CAP_VIEWS_IN_PLACE;
  if (what != ROWS) {
    vtbl.view_begin = mine_view_begin;
    vtbl.view_end = mine_view_end;
  } else {
    vtbl.read_2d = mine_read_2d;
    vtbl.write_2d = mine_write_2d;
    vtbl.copy_peer_2d = mine_copy_peer_2d;
  }
  assert_ok(umemVirtual_ctor_ex(&one->ctx, &vtbl, &one->mine));
  assert_ok(umem_try_alloc(&one->ctx, SIZE, &one->adr));
  memset((void *)one->adr, '.', SIZE);
}

static void one_end(struct one *one) {
  assert_ok(umem_dtor(&one->ctx));
}

/* A rectangle from one place to another. */
struct shape {
  size_t row, rows, src_pitch, dest_pitch;
};

static struct shape const shapes[] = {
    {3, 10, 3, 10},      {3, 10, 10, 3},       {1, 2, 1, 2},
    {64, 1000, 64, 100}, {64, 1000, 3000, 64}, {32 * KIB, 50, 32 * KIB, 40000},
    {100, 500, 150, 200}};

/* `dest` holds '.' and the rows of `src`. */
static void assert_laid_out(unsigned char const *dest, unsigned char const *src,
                            struct shape const *s) {
  unsigned char *want = malloc(SIZE);
  assert_non_null(want);
  memset(want, '.', SIZE);
  for (size_t i = 0; i < s->rows; i++)
    memcpy(want + i * s->dest_pitch, src + i * s->src_pitch, s->row);
  bool same = memcmp(want, dest, SIZE) == 0;
  free(want);
  assert_true(same);
}

static umemStatusType copy(void const *src, uintptr_t from, void const *dest,
                           uintptr_t to, struct shape const *s) {
  return umem_copy_2d(src, from, s->src_pitch, dest, to, s->dest_pitch, s->row,
                      s->rows);
}

/* --- views ---------------------------------------------------------------- */

static void views__that_are_copies_leave_what_is_between_rows(void **state) {
  (void)state;
  unsigned char *bytes = bytes_new(1);
  for (size_t i = 0; i < LENGTH(shapes); i++) {
    struct one to;
    one_begin(&to, VIEWS, &(struct mine){.bounces = true});
    assert_ok(copy(&host, (uintptr_t)bytes, &to.ctx, to.adr, &shapes[i]));
    assert_laid_out((void *)to.adr, bytes, &shapes[i]);
    one_end(&to);
  }
  free(bytes);
}

static void views__in_place_are_filled_in_part(void **state) {
  (void)state;
  unsigned char *bytes = bytes_new(1);
  struct one to;
  one_begin(&to, VIEWS_IN_PLACE, &(struct mine){.bounces = false});
  assert_ok(copy(&host, (uintptr_t)bytes, &to.ctx, to.adr, &shapes[3]));
  assert_laid_out((void *)to.adr, bytes, &shapes[3]);
  assert_int_equal(to.mine.views, 1);
  assert_int_equal(to.mine.writes, 0);
  one_end(&to);
  free(bytes);
}

static void views__that_are_not_in_place_as_promised_are_told(void **state) {
  (void)state;
  char bytes[100] = "";
  struct one to;
  one_begin(&to, VIEWS_IN_PLACE, &(struct mine){.bounces = true});
  assert_fails(&to.ctx, copy(&host, (uintptr_t)bytes, &to.ctx, to.adr, shapes),
               umemRuntimeError, "its views are in place");
  assert_laid_out((void *)to.adr, (void *)bytes, &(struct shape){.rows = 0});
  free(to.mine.copy);
  umem_clean_status(&host);
  one_end(&to);
}

/* --- methods for rows ----------------------------------------------------- */

static void expect_moved(struct mine const *mine, unsigned reads,
                         unsigned writes, unsigned peers) {
  assert_int_equal(mine->reads, 0);
  assert_int_equal(mine->writes, 0);
  assert_int_equal(mine->reads_2d, reads);
  assert_int_equal(mine->writes_2d, writes);
  assert_int_equal(mine->peers_2d, peers);
}

static void rows__of_a_kind_that_moves_them_are_one_call(void **state) {
  (void)state;
  unsigned char *bytes = bytes_new(2), *back = malloc(SIZE);
  assert_non_null(back);
  for (size_t i = 0; i < LENGTH(shapes); i++) {
    struct one a, b;
    one_begin(&a, ROWS, &(struct mine){.fails = false});
    one_begin(&b, ROWS, &(struct mine){.fails = false});
    assert_ok(copy(&host, (uintptr_t)bytes, &a.ctx, a.adr, &shapes[i]));
    assert_laid_out((void *)a.adr, bytes, &shapes[i]);
    expect_moved(&a.mine, 0, 1, 0);
    memset(back, '.', SIZE);
    assert_ok(copy(&a.ctx, a.adr, &host, (uintptr_t)back, &shapes[i]));
    assert_laid_out(back, (void *)a.adr, &shapes[i]);
    expect_moved(&a.mine, 1, 1, 0);
    assert_ok(copy(&a.ctx, a.adr, &b.ctx, b.adr, &shapes[i]));
    assert_laid_out((void *)b.adr, (void *)a.adr, &shapes[i]);
    expect_moved(&a.mine, 1, 1, 1);
    expect_moved(&b.mine, 0, 0, 0);
    one_end(&a);
    one_end(&b);
  }
  free(back);
  free(bytes);
}

static void rows__that_a_kind_declines_go_another_way(void **state) {
  (void)state;
  unsigned char *bytes = bytes_new(2), *back = malloc(SIZE);
  assert_non_null(back);
  for (size_t i = 0; i < LENGTH(shapes); i++) {
    struct one a, b;
    one_begin(&a, ROWS, &(struct mine){.declines = true});
    one_begin(&b, ROWS, &(struct mine){.declines = true});
    assert_ok(copy(&host, (uintptr_t)bytes, &a.ctx, a.adr, &shapes[i]));
    assert_laid_out((void *)a.adr, bytes, &shapes[i]);
    memset(back, '.', SIZE);
    assert_ok(copy(&a.ctx, a.adr, &host, (uintptr_t)back, &shapes[i]));
    assert_laid_out(back, (void *)a.adr, &shapes[i]);
    assert_ok(copy(&a.ctx, a.adr, &b.ctx, b.adr, &shapes[i]));
    assert_laid_out((void *)b.adr, (void *)a.adr, &shapes[i]);
    one_end(&a);
    one_end(&b);
  }
  free(back);
  free(bytes);
}

/* A file has no methods for rows: they come by packs. */
static void rows__from_and_to_a_file_are_one_call_a_pack(void **state) {
  (void)state;
  struct shape const there = {64, 1000, 100, 128}, back = {64, 1000, 128, 64};
  unsigned char *bytes = bytes_new(3);
  umemFile file;
  struct one a;
  file_put(temp_path("rows"), bytes, SIZE);
  assert_ok(umemFile_ctor(&file, temp_path("rows"), "r+"));
  one_begin(&a, ROWS, &(struct mine){.fails = false});
  assert_ok(copy(&file, 0, &a.ctx, a.adr, &there));
  assert_laid_out((void *)a.adr, bytes, &there);
  expect_moved(&a.mine, 0, 1, 0);
  assert_ok(copy(&a.ctx, a.adr, &file, 0, &back));
  expect_moved(&a.mine, 1, 1, 0);
  file_get(temp_path("rows"), 0, bytes, SIZE);
  for (size_t i = 0; i < back.rows; i++)
    assert_memory_equal(bytes + i * 64, (char *)a.adr + i * 128, 64);
  one_end(&a);
  assert_ok(umem_dtor(&file));
  free(bytes);
}

static void overlap(bool declines) {
  struct shape const s = {60, 100, 100, 100};
  struct one a;
  one_begin(&a, ROWS, &(struct mine){.declines = declines});
  random_bytes((unsigned char *)a.adr, SIZE, 4);
  unsigned char *before = malloc(SIZE);
  assert_non_null(before);
  memcpy(before, (void *)a.adr, SIZE);
  assert_ok(copy(&a.ctx, a.adr, &a.ctx, a.adr + 300 + 50, &s));
  assert_int_equal(a.mine.peers_2d, 1);
  for (size_t i = 0; i < s.rows; i++)
    assert_memory_equal((char *)a.adr + 350 + i * 100, before + i * 100, 60);
  free(before);
  one_end(&a);
}

static void rows__that_overlap_are_read_before_they_are_written(void **state) {
  (void)state;
  overlap(false);
  overlap(true);
}

static void columns__that_lie_between_each_other_are_one_call(void **state) {
  (void)state;
  struct shape const s = {40, 100, 100, 100};
  struct one a;
  one_begin(&a, ROWS, &(struct mine){.fails = false});
  random_bytes((unsigned char *)a.adr, 10000, 5);
  assert_ok(copy(&a.ctx, a.adr, &a.ctx, a.adr + 40, &s));
  assert_ok(copy(&a.ctx, a.adr + 340, &a.ctx, a.adr + 300, &s));
  expect_moved(&a.mine, 0, 0, 2);
  for (size_t i = 0; i < s.rows; i++)
    assert_memory_equal((char *)a.adr + i * 100, (char *)a.adr + 40 + i * 100,
                        40);
  one_end(&a);
}

static void failure__of_rows_is_of_a_side_and_bounded(void **state) {
  (void)state;
  static char bytes[4096];
  struct one a;
  one_begin(&a, ROWS, &(struct mine){.fails = true});
  assert_fails(&a.ctx, copy(&host, (uintptr_t)bytes, &a.ctx, a.adr, &shapes[0]),
               umemIOError, "destination Mine: no more rows today");
  assert_int_equal(last_error(&a.ctx).bytes_done, 30);
  assert_fails(&a.ctx, copy(&a.ctx, a.adr, &host, (uintptr_t)bytes, &shapes[0]),
               umemIOError, "source Mine: no more rows today");
  assert_fails(&a.ctx, copy(&a.ctx, a.adr, &a.ctx, a.adr + 1000, &shapes[0]),
               umemIOError, "no more rows today");
  umem_clean_status(&host);
  one_end(&a);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(views__that_are_copies_leave_what_is_between_rows),
      cmocka_unit_test(views__in_place_are_filled_in_part),
      cmocka_unit_test(views__that_are_not_in_place_as_promised_are_told),
      cmocka_unit_test(rows__of_a_kind_that_moves_them_are_one_call),
      cmocka_unit_test(rows__that_a_kind_declines_go_another_way),
      cmocka_unit_test(rows__from_and_to_a_file_are_one_call_a_pack),
      cmocka_unit_test(rows__that_overlap_are_read_before_they_are_written),
      cmocka_unit_test(columns__that_lie_between_each_other_are_one_call),
      cmocka_unit_test(failure__of_rows_is_of_a_side_and_bounded),
  };
  assert_ok(umemHost_ctor(&host));
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
