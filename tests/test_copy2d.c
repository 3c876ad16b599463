/* SPDX-License-Identifier: BSD-3-Clause */
/* Rectangles: every byte in its place and none beside it, whatever happens. */
#define PAIR_JOIN " to "
#include "each_pair.h"

#include "internal.h"

enum { KIB = 1024, MIB = 1024 * KIB };

/* --- places: memory of each kind, and what should be in it ---------------- */

struct place {
  enum kind kind;
  umemContext ctx;
  struct fake device;
  uintptr_t adr; /* of the first of `size` bytes */
  size_t size;
  unsigned char *model;
  char path[512];
};

static struct place from, to;

/* What a failing assertion is about. */
static char now[256] = "";

/* Its size is hidden from the compiler; see test_transfer.c. */
__attribute__((noinline)) static unsigned char *buffer_of(size_t nbytes) {
  unsigned char *buffer = malloc(nbytes + !nbytes);
  assert_non_null(buffer);
  return buffer;
}

static unsigned char *place_memory(struct place const *p) {
  return p->kind == HOST ? (unsigned char *)p->adr
                         : fake_at(&p->device, p->adr);
}

static void place_get(struct place const *p, size_t at, void *out, size_t n) {
  if (p->kind == DISK && n > 0)
    file_get(p->path, at, out, n);
  else if (n > 0)
    memcpy(out, place_memory(p) + at, n);
}

/* New bytes everywhere. Not with file_put(): some file systems write to disk
   what replaces a file. */
static void place_fill(struct place *p, uint64_t seed) {
  random_bytes(p->model, p->size, seed);
  if (p->kind != DISK) {
    memcpy(place_memory(p), p->model, p->size);
    return;
  }
  int fd = open(p->path, O_WRONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(pwrite(fd, p->model, p->size, 0), p->size);
  assert_int_equal(close(fd), 0);
}

static void place_begin_file(struct place *p) {
  static unsigned number;
  char name[32];
  snprintf(name, sizeof name, "place-%u", number++);
  snprintf(p->path, sizeof p->path, "%s", temp_path(name));
  file_put(p->path, "", 0);
  assert_ok(umemFile_ctor(&p->ctx.file, p->path, "r+"));
}

static void place_begin_fake(struct place *p) {
  struct fakeConfig config = {.capacity = p->size + 64};
  config.without = p->kind == FAKE ? FAKE_VIEWS : 1u << FAKE_COPY_PEER;
  assert_ok(fake_ctor(&p->ctx.super, &p->device, &config));
  p->adr = umem_alloc(&p->ctx, p->size);
  assert_true(p->adr != 0);
  fake_forget(&p->device);
}

static void place_begin(struct place *p, enum kind kind, size_t size) {
  static uint64_t seed = 2000;
  *p = (struct place){.kind = kind, .size = size, .model = buffer_of(size)};
  if (kind == HOST) {
    assert_ok(umemHost_ctor(&p->ctx.host));
    p->adr = (uintptr_t)buffer_of(size);
  } else if (kind == DISK)
    place_begin_file(p);
  else
    place_begin_fake(p);
  place_fill(p, seed++);
}

static void place_end(struct place *p) {
  if (p->kind == FAKE || p->kind == VIEWED)
    assert_ok(umem_free(&p->ctx, p->adr));
  assert_ok(umem_dtor(&p->ctx));
  if (p->kind == FAKE || p->kind == VIEWED)
    fake_end(&p->device);
  else if (p->kind == DISK)
    assert_int_equal(unlink(p->path), 0);
  else
    free((void *)p->adr);
  free(p->model);
}

static void begin(enum kind src, size_t src_size, enum kind dest,
                  size_t dest_size) {
  place_begin(&from, src, src_size);
  place_begin(&to, dest, dest_size);
}

static void end(void) {
  place_end(&to);
  place_end(&from);
}

/* [start, end) is as in the model. */
static void place_expect(struct place const *p, size_t start, size_t end_) {
  size_t n = end_ - start, same = 0;
  unsigned char *got = buffer_of(n);
  place_get(p, start, got, n);
  bool alike = n == 0 || memcmp(got, p->model + start, n) == 0;
  while (!alike && got[same] == p->model[start + same])
    same++;
  free(got);
  if (!alike)
    fail_msg("byte %zu of the %s is wrong: %s", start + same,
             kind_names[p->kind], now);
}

static void expect_all(void) {
  place_expect(&from, 0, from.size);
  place_expect(&to, 0, to.size);
}

/* --- rectangles ----------------------------------------------------------- */

/* Where the first rows are is relative to the places. */
struct rect {
  size_t row, rows, src_at, src_pitch, dest_at, dest_pitch;
};

static size_t span_of(struct rect const *r, size_t pitch) {
  return r->rows && r->row ? (r->rows - 1) * pitch + r->row : 0;
}

static umemStatusType copy_as(void const *src, void const *dest,
                              struct rect const *r) {
  snprintf(now, sizeof now,
           "%zu rows of %zu bytes, from %zu pitch %zu to %zu pitch %zu",
           r->rows, r->row, r->src_at, r->src_pitch, r->dest_at, r->dest_pitch);
  return umem_copy_2d(src, from.adr + r->src_at, r->src_pitch, dest,
                      to.adr + r->dest_at, r->dest_pitch, r->row, r->rows);
}

static umemStatusType copy(struct rect const *r) {
  return copy_as(&from.ctx, &to.ctx, r);
}

/* The same, within what the spans are and not a byte more. */
static umemStatusType copy_exactly(struct rect const *r) {
  return umem_copy_2d_safe(&from.ctx, from.adr + r->src_at, r->src_pitch,
                           span_of(r, r->src_pitch), &to.ctx,
                           to.adr + r->dest_at, r->dest_pitch,
                           span_of(r, r->dest_pitch), r->row, r->rows);
}

/* The oracle: all rows are read before any is written. */
static void model_copy(unsigned char *dest, unsigned char const *src,
                       struct rect const *r) {
  unsigned char *rows = buffer_of(r->row * r->rows);
  for (size_t i = 0; i < r->rows; i++)
    memcpy(rows + i * r->row, src + r->src_at + i * r->src_pitch, r->row);
  for (size_t i = 0; i < r->rows; i++)
    memcpy(dest + r->dest_at + i * r->dest_pitch, rows + i * r->row, r->row);
  free(rows);
}

/* What the first `done` bytes of the rows must be, and the others are. */
static void model_copy_part(struct rect const *r, size_t done) {
  unsigned char *found = buffer_of(to.size);
  place_get(&to, 0, found, to.size);
  for (size_t i = 0; i < r->rows; i++) {
    size_t before = i * r->row, at = r->dest_at + i * r->dest_pitch;
    size_t left = done > before ? done - before : 0;
    size_t n = left < r->row ? left : r->row;
    memcpy(to.model + at, from.model + r->src_at + i * r->src_pitch, n);
    memcpy(to.model + at + n, found + at + n, r->row - n);
  }
  free(found);
}

static size_t at_most(size_t n, size_t most) {
  return n < most ? n : most;
}

/* The rows that one step of the library takes if each needs so much memory. */
static size_t rows_in(size_t room) {
  return umemi_tuning()->slot / room;
}

/* --- every byte in its place ---------------------------------------------- */

enum { ARENA = 5 * MIB, MARGIN = 256 };

static size_t random_row(uint64_t *seed) {
  static size_t const large[] = {24 * KIB - 1, 24 * KIB, 24 * KIB + 1, 70 * KIB,
                                 3 * MIB / 2};
  switch (random_below(seed, 16)) {
  case 0:
    return large[random_below(seed, LENGTH(large))];
  case 1:
  case 2:
    return random_below(seed, 9);
  default:
    return random_below(seed, 5001);
  }
}

static size_t random_pitch(size_t row, uint64_t *seed) {
  size_t const gaps[] = {0,    0,    1,    random_below(seed, 300),
                         4096, 4097, 8000, random_below(seed, 60000)};
  return row + gaps[random_below(seed, LENGTH(gaps))];
}

/* Somewhere, or at one of the ends. */
static size_t random_at(size_t room, uint64_t *seed) {
  size_t const ats[] = {0, room, random_below(seed, room + 1),
                        random_below(seed, room + 1)};
  return ats[random_below(seed, LENGTH(ats))];
}

static struct rect random_rect(uint64_t *seed) {
  struct rect r = {.row = random_row(seed), .rows = random_below(seed, 51)};
  r.src_pitch = random_pitch(r.row, seed);
  r.dest_pitch = random_pitch(r.row, seed);
  while (span_of(&r, r.src_pitch) > ARENA || span_of(&r, r.dest_pitch) > ARENA)
    r.rows--;
  r.src_at = random_at(ARENA - span_of(&r, r.src_pitch), seed);
  r.dest_at = random_at(ARENA - span_of(&r, r.dest_pitch), seed);
  return r;
}

/* The rows, what is between them, and some of what is around them. */
static void expect_around(struct rect const *r) {
  size_t start = r->dest_at < MARGIN ? 0 : r->dest_at - MARGIN;
  size_t behind = r->dest_at + span_of(r, r->dest_pitch) + MARGIN;
  place_expect(&to, start, at_most(behind, to.size));
}

static void copy_2d__puts_each_byte_in_its_place(void **state) {
  enum kind const *pair = *state;
  uint64_t seed = (uint64_t)(pair[0] * KINDS + pair[1]);
  begin(pair[0], ARENA, pair[1], ARENA);
  for (size_t i = 0; i < scaled(160, 12); i++) {
    struct rect r = random_rect(&seed);
    assert_ok(i % 3 ? copy(&r) : copy_exactly(&r));
    model_copy(to.model, from.model, &r);
    expect_around(&r);
  }
  expect_all();
  end();
}

/* More than helpers come for, in rows that are packed. */
static struct rect const many_rows[] = {
    {.row = 64, .rows = 70000, .src_pitch = 128, .dest_pitch = 64},
    {.row = 500, .rows = 8500, .src_pitch = 501, .dest_pitch = 501},
    {.row = 500, .rows = 8500, .src_pitch = 500, .dest_pitch = 504},
    {.row = 5000, .rows = 900, .src_pitch = 9097, .dest_pitch = 5000},
    {.row = 5000, .rows = 900, .src_pitch = 9096, .dest_pitch = 5001},
};

static void copy_2d__of_many_rows_has_help(void **state) {
  enum kind const *pair = *state;
  size_t const size = 9 * MIB;
  begin(pair[0], size, pair[1], size);
  assert_ok(umem_set_threads(1));
  size_t const one = (size_t)(pair[0] * KINDS + pair[1]) % LENGTH(many_rows);
  for (size_t i = scaled(0, one); i < LENGTH(many_rows);
       i += scaled(1, LENGTH(many_rows))) {
    struct rect r = many_rows[i];
    assert_true(r.row * r.rows >= umemi_tuning()->lanes_from);
    r.src_at = 3 + i;
    r.dest_at = 5 - i;
    assert_ok(copy(&r));
    model_copy(to.model, from.model, &r);
    place_expect(&to, 0, to.size);
  }
  place_expect(&from, 0, from.size);
  assert_ok(umem_set_threads(0));
  end();
}

static void copy_2d__starts_a_thread_to_help(void **state) {
  (void)state;
  begin(DISK, 9 * MIB, HOST, 9 * MIB);
  faults_install();
  assert_ok(copy(&many_rows[1]));
  assert_int_equal(faults_count(FAULT_pthread_create), 0);
  assert_ok(umem_set_threads(1));
  assert_ok(copy(&many_rows[1]));
  assert_int_equal(faults_count(FAULT_pthread_create), umemi_cpus() > 1);
  assert_ok(umem_set_threads(0));
  model_copy(to.model, from.model, &many_rows[1]);
  expect_all();
  end();
}

static void copy_2d__into_an_empty_file_leaves_zeros_between(void **state) {
  (void)state;
  struct rect const r = {.row = 30,
                         .rows = 1000,
                         .src_pitch = 31,
                         .dest_at = 5000,
                         .dest_pitch = 90};
  size_t const nbytes = r.dest_at + span_of(&r, r.dest_pitch);
  begin(HOST, span_of(&r, r.src_pitch), DISK, nbytes);
  file_put(to.path, "", 0);
  memset(to.model, 0, nbytes);
  assert_ok(copy(&r));
  assert_int_equal(file_size(to.path), nbytes);
  model_copy(to.model, from.model, &r);
  expect_all();
  end();
}

/* --- rows between others' rows -------------------------------------------- */

/* A thread copies one of THREADS columns of a matrix, again and again. */
struct column {
  struct rect r;
  size_t times;
  umemStatusType status;
};

static void *column_main(void *arg) {
  struct column *c = arg;
  for (size_t i = 0; i < c->times && c->status == umemOK; i++)
    c->status = umem_copy_2d(&from.ctx, from.adr + c->r.src_at, c->r.src_pitch,
                             &to.ctx, to.adr + c->r.dest_at, c->r.dest_pitch,
                             c->r.row, c->r.rows);
  return NULL;
}

static void copy_2d__leaves_what_is_between_to_other_threads(void **state) {
  enum kind const *pair = *state;
  size_t const row = 37, rows = scaled(400, 100), pitch = THREADS * row;
  struct column columns[THREADS];
  begin(pair[0], rows * pitch, pair[1], rows * pitch);
  snprintf(now, sizeof now, "columns of threads");
  for (size_t i = 0; i < THREADS; i++) {
    columns[i] = (struct column){.times = 5};
    columns[i].r = (struct rect){.row = row,
                                 .rows = rows,
                                 .src_at = (THREADS - 1 - i) * row,
                                 .src_pitch = pitch,
                                 .dest_at = i * row,
                                 .dest_pitch = pitch};
    model_copy(to.model, from.model, &columns[i].r);
  }
  in_threads(column_main, columns, sizeof *columns);
  for (size_t i = 0; i < THREADS; i++)
    assert_status(columns[i].status, umemOK);
  expect_all();
  end();
}

/* --- rectangles that overlap ---------------------------------------------- */

enum { FIELD = MIB, OVERLAPS = 300 };

/* How many rows go up and down, and how many rectangles have both. */
struct directions {
  size_t up, down, mixed;
};

/* Ways in which two rectangles can lie in each other. */
enum tangle { SHIFTED, SPREAD, CROSSING, COLUMNS, LONG_ROWS, TANGLES };

/* So much behind, or before, what is at `at`. */
static size_t shifted(size_t at, size_t most, uint64_t *seed) {
  return at - most + random_below(seed, 2 * most + 1);
}

static struct rect tangled_rect(enum tangle how, uint64_t *seed) {
  struct rect r = {.row = 1 + random_below(seed, 5000),
                   .rows = 2 + random_below(seed, 24)};
  if (how == LONG_ROWS) {
    r.row = 24 * KIB + random_below(seed, 50 * KIB);
    r.rows = 2 + random_below(seed, 3);
  }
  r.src_pitch = r.dest_pitch = r.row + random_below(seed, 4098);
  if (how != SHIFTED && how != COLUMNS)
    r.dest_pitch = r.row + random_below(seed, 4098);
  r.src_at = FIELD / 2 - span_of(&r, r.src_pitch) / 2;
  r.dest_at = shifted(r.src_at, r.src_pitch * 2, seed);
  if (how == CROSSING) {
    size_t row = random_below(seed, r.rows);
    r.dest_at =
        shifted(r.src_at + row * r.src_pitch, 100, seed) - row * r.dest_pitch;
  } else if (how == COLUMNS) {
    r.src_pitch = r.dest_pitch = 3 * r.row;
    r.src_at = FIELD / 2 - span_of(&r, r.src_pitch) / 2;
    r.dest_at = r.src_at + r.row * (random_below(seed, 5)) - 2 * r.row;
  }
  return r;
}

static void count_directions(struct rect const *r, struct directions *d) {
  size_t up = 0, down = 0;
  for (size_t i = 0; i < r->rows; i++) {
    size_t src = r->src_at + i * r->src_pitch;
    size_t dest = r->dest_at + i * r->dest_pitch;
    up += dest > src;
    down += dest < src;
  }
  d->up += up;
  d->down += down;
  d->mixed += up > 0 && down > 0;
}

/* Random rectangles within one place, as two contexts see it. */
static void expect_overlaps(void const *src, void const *dest, uint64_t seed) {
  struct directions d = {.up = 0};
  for (size_t i = 0; i < scaled(OVERLAPS, 40); i++) {
    struct rect r = tangled_rect((enum tangle)(i % TANGLES), &seed);
    assert_true(r.dest_at + span_of(&r, r.dest_pitch) <= FIELD);
    if (i % 8 == 0)
      place_fill(&from, seed);
    assert_ok(copy_as(src, dest, &r));
    model_copy(from.model, from.model, &r);
    place_expect(&from, 0, FIELD);
    count_directions(&r, &d);
  }
  assert_true(d.up > 50 && d.down > 50 && d.mixed > 4);
}

static void overlap_begin(enum kind kind) {
  place_begin(&from, kind, FIELD);
  to.adr = from.adr;
}

static void overlap__in_one_context_is_as_if_all_was_read_first(void **state) {
  enum kind const *pair = *state;
  overlap_begin(pair[0]);
  expect_overlaps(&from.ctx, &from.ctx, 10 + (uint64_t)pair[0]);
  place_end(&from);
}

static void overlap__on_every_rung_is_as_if_all_was_read_first(void **state) {
  enum kind const *pair = *state;
  overlap_begin(pair[0]);
  umemi_os.rungs_off = 1u << umemDirectRung;
  expect_overlaps(&from.ctx, &from.ctx, 20 + (uint64_t)pair[0]);
  place_end(&from);
}

static void overlap__of_two_hosts_is_one_of_memory(void **state) {
  (void)state;
  umemHost other;
  checked_host(&other);
  overlap_begin(HOST);
  expect_overlaps(&from.ctx, &other, 30);
  expect_overlaps(&other, &from.ctx, 31);
  place_end(&from);
  assert_ok(umem_dtor(&other));
}

static void overlap__of_two_contexts_on_one_file_is_one(void **state) {
  (void)state;
  umemFile other;
  overlap_begin(DISK);
  assert_ok(umemFile_ctor(&other, from.path, "r+"));
  expect_overlaps(&from.ctx, &other, 40);
  expect_overlaps(&other, &from.ctx, 41);
  assert_ok(umem_dtor(&other));
  place_end(&from);
}

static void overlap__of_two_devices_with_one_memory_is_one(void **state) {
  (void)state;
  static struct fake sharer;
  umemVirtual other;
  overlap_begin(FAKE);
  struct fakeConfig config = {.shares = &from.device, .without = FAKE_VIEWS};
  assert_ok(fake_ctor(&other, &sharer, &config));
  expect_overlaps(&from.ctx, &other, 50);
  expect_overlaps(&other, &from.ctx, 51);
  assert_ok(umem_dtor(&other));
  fake_end(&sharer);
  place_end(&from);
}

/* Pieces of a row follow each other, too. */
static void overlap__of_rows_longer_than_a_chunk_is_right(void **state) {
  enum kind const *pair = *state;
  size_t const row = 3 * MIB / 2 + 7,
               shifts[] = {1, 4096, MIB + 1, row, row + 9};
  place_begin(&from, pair[0], 8 * MIB);
  to.adr = from.adr;
  for (size_t i = 0; i < 2 * LENGTH(shifts); i += scaled(1, 3)) {
    struct rect r = {.row = row, .rows = 2, .src_at = 2 * MIB};
    r.src_pitch = row + 20;
    r.dest_pitch = row + i % 3 * 10;
    r.dest_at = i % 2 ? r.src_at - shifts[i / 2] : r.src_at + shifts[i / 2];
    assert_ok(copy_as(&from.ctx, &from.ctx, &r));
    model_copy(from.model, from.model, &r);
    place_expect(&from, 0, from.size);
  }
  place_end(&from);
}

/* A file: many short rows between those of the source, more than one pack. */
static void columns__change_places_in_one_matrix(void **state) {
  enum kind const *pair = *state;
  struct rect r = {.row = 24,
                   .rows = scaled(20000, 2000),
                   .src_pitch = 100,
                   .dest_at = 40,
                   .dest_pitch = 100};
  place_begin(&from, pair[0], r.rows * r.src_pitch);
  to.adr = from.adr;
  assert_ok(copy_as(&from.ctx, &from.ctx, &r));
  model_copy(from.model, from.model, &r);
  place_expect(&from, 0, from.size);
  r.src_at = 70;
  r.dest_at = 1;
  assert_ok(copy_as(&from.ctx, &from.ctx, &r));
  model_copy(from.model, from.model, &r);
  place_expect(&from, 0, from.size);
  place_end(&from);
}

static void rectangles__of_one_space_that_only_touch_are_packed(void **state) {
  (void)state;
  struct rect const r = {.row = 10,
                         .rows = 5000,
                         .src_pitch = 12,
                         .dest_at = 4999 * 12 + 10,
                         .dest_pitch = 10};
  overlap_begin(DISK);
  faults_install();
  assert_ok(copy_as(&from.ctx, &from.ctx, &r));
  assert_true(faults_count(FAULT_pread) <= 2); /* the last byte, then all */
  assert_int_equal(faults_count(FAULT_pwrite), 1);
  model_copy(from.model, from.model, &r);
  place_expect(&from, 0, from.size);
  place_end(&from);
}

/* --- how many calls, how much memory -------------------------------------- */

/* So many reads of `from` and writes of `to`, if they are files. */
static void expect_calls(enum kind src, enum kind dest, struct rect const *r,
                         size_t reads, size_t writes) {
  begin(src, span_of(r, r->src_pitch), dest, span_of(r, r->dest_pitch));
  faults_install();
  assert_ok(copy(r));
  assert_int_equal(faults_count(FAULT_pread), reads);
  assert_int_equal(faults_count(FAULT_pwrite), writes);
  assert_int_equal(faults_largest_allocation() > umemi_tuning()->slot, 0);
  assert_true(faults_count(FAULT_posix_memalign) <= 1);
  faults_clear();
  assert_ok(copy(r));
  for (int i = 0; i < FAULT_FIRST_HELPFUL_CALL; i++)
    assert_int_equal(faults_count((enum fault_call)i), 0);
  faults_reset();
  model_copy(to.model, from.model, r);
  expect_all();
  end();
}

static size_t calls_for(size_t rows, size_t room) {
  return (rows + rows_in(room) - 1) / rows_in(room);
}

static void short_rows__of_files_move_many_in_a_call(void **state) {
  (void)state;
  struct rect const gather = {
      .row = 64, .rows = 10000, .src_pitch = 128, .dest_pitch = 64};
  struct rect const scatter = {
      .row = 64, .rows = 10000, .src_pitch = 64, .dest_pitch = 128};
  struct rect const both = {
      .row = 64, .rows = 10000, .src_pitch = 128, .dest_pitch = 100};
  struct rect const dense = {
      .row = 64, .rows = 10000, .src_pitch = 64, .dest_pitch = 64};
  expect_calls(DISK, HOST, &gather, calls_for(10000, 128), 0);
  expect_calls(DISK, HOST, &both, calls_for(10000, 128), 0);
  expect_calls(DISK, HOST, &scatter, calls_for(10000, 64), 0);
  expect_calls(DISK, HOST, &dense, 1, 0);
  expect_calls(HOST, DISK, &gather, 0, calls_for(10000, 64));
  expect_calls(HOST, DISK, &dense, 0, 1);
  expect_calls(HOST, DISK, &scatter, 0, 10000);
  expect_calls(DISK, DISK, &gather, calls_for(10000, 192),
               calls_for(10000, 192));
  expect_calls(DISK, DISK, &scatter, calls_for(10000, 64), 10000);
  expect_calls(DISK, FAKE, &gather, calls_for(10000, 192), 0);
  expect_calls(DISK, VIEWED, &gather, calls_for(10000, 128), 0);
  expect_calls(HOST, HOST, &both, 0, 0);
}

/* A gap of one page is read over; one more byte is not worth it. */
static void short_rows__far_apart_are_read_one_by_one(void **state) {
  (void)state;
  struct rect r = {.row = 64, .rows = 300, .src_pitch = 4160, .dest_pitch = 64};
  expect_calls(DISK, HOST, &r, calls_for(300, 4160), 0);
  r.src_pitch++;
  expect_calls(DISK, HOST, &r, 300, 0);
}

static void short_rows__without_a_gap_are_one_copy(void **state) {
  (void)state;
  struct rect const r = {
      .row = 100, .rows = 1000, .src_pitch = 100, .dest_pitch = 100};
  begin(FAKE, 100000, FAKE, 100000);
  assert_ok(copy(&r));
  assert_int_equal(from.device.calls[FAKE_COPY_PEER], 1);
  assert_int_equal(from.device.calls[FAKE_READ], 0);
  assert_int_equal(to.device.calls[FAKE_WRITE], 0);
  model_copy(to.model, from.model, &r);
  expect_all();
  end();
}

static void memory__that_is_short_makes_smaller_packs(void **state) {
  (void)state;
  struct rect const r = {
      .row = 900, .rows = 3000, .src_pitch = 1000, .dest_pitch = 900};
  begin(FAKE, span_of(&r, 1000), FAKE, span_of(&r, 900));
  model_copy(to.model, from.model, &r);
  for (size_t limit = MIB; limit >= 64 * KIB; limit /= 2) {
    faults_limit_memory(limit);
    memset(place_memory(&to), 0, to.size);
    fake_forget(&from.device);
    assert_ok(copy(&r));
    size_t in_a_pack = limit / (1000 + 900);
    assert_int_equal(from.device.calls[FAKE_READ],
                     (r.rows + in_a_pack - 1) / in_a_pack);
    expect_all();
  }
  end();
}

static void memory__of_64_kib_does_for_the_longest_short_rows(void **state) {
  enum kind const *pair = *state;
  size_t const row = 24 * KIB - 1;
  begin(pair[0], 40 * (row + 4096), pair[1], 40 * (row + 4096));
  faults_limit_memory(64 * KIB);
  for (size_t i = 0; i < 4; i++) {
    struct rect r = {.row = row, .rows = 40};
    r.src_pitch = row + (i & 1 ? 4096 : 0);
    r.dest_pitch = row + (i & 2 ? 1 : 0);
    assert_ok(copy(&r));
    model_copy(to.model, from.model, &r);
    expect_all();
  }
  end();
}

static void memory__that_is_short_is_enough_with_helpers(void **state) {
  (void)state;
  begin(FAKE, 9 * MIB, FAKE, 9 * MIB);
  assert_ok(umem_set_threads(2));
  for (size_t i = 0; i < LENGTH(many_rows); i += 3) {
    faults_limit_memory(64 * KIB);
    assert_ok(copy(&many_rows[i]));
    model_copy(to.model, from.model, &many_rows[i]);
    expect_all();
  }
  assert_ok(umem_set_threads(0));
  end();
}

static void memory__that_is_not_there_is_a_memory_error(void **state) {
  (void)state;
  struct rect const r = {
      .row = 900, .rows = 3000, .src_pitch = 1000, .dest_pitch = 900};
  begin(FAKE, span_of(&r, 1000), FAKE, span_of(&r, 900));
  faults_limit_memory(64 * KIB - 1);
  assert_status(copy(&r), umemMemoryError);
  void const *const both[] = {&from.ctx, &to.ctx};
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(last_error(both[i]).bytes_done, 0);
    assert_has(last_error(both[i]).text, "umem_copy_2d(source Fake 0x");
    assert_slot(both[i], umemMemoryError, "65536 bytes for staging");
  }
  assert_int_equal(from.device.calls[FAKE_READ], 0);
  assert_int_equal(to.device.calls[FAKE_WRITE], 0);
  expect_all();
  end();
}

static void memory__is_not_needed_to_use_rows_in_place(void **state) {
  (void)state;
  enum kind const pairs[][2] = {
      {HOST, HOST}, {HOST, DISK}, {HOST, FAKE}, {VIEWED, HOST}, {VIEWED, DISK}};
  struct rect const r = {
      .row = 90, .rows = 300, .src_pitch = 100, .dest_pitch = 95};
  for (size_t i = 0; i < LENGTH(pairs); i++) {
    begin(pairs[i][0], 30000, pairs[i][1], 30000);
    faults_limit_memory(0);
    assert_ok(copy(&r));
    model_copy(to.model, from.model, &r);
    expect_all();
    end();
  }
}

/* --- failures ------------------------------------------------------------- */

/* The copy fails; `done` bytes of the rows are right, and all else is as it
   was. */
static void expect_failure(struct rect const *r, umemStatusType type,
                           size_t done, char const *blames) {
  void const *const both[] = {&from.ctx, &to.ctx};
  uint64_t const before[] = {umem_get_error_count(&from.ctx),
                             umem_get_error_count(&to.ctx)};
  assert_status(copy(r), type);
  for (size_t i = 0; i < 2; i++) {
    assert_int_equal(umem_get_error_count(both[i]), before[i] + 1);
    assert_int_equal(last_error(both[i]).bytes_done, done);
    assert_int_equal(last_error(both[i]).type, type);
    assert_slot(both[i], type, blames);
  }
  model_copy_part(r, done);
  expect_all();
}

/* The source, a file, has so many bytes. */
static void cut_source(size_t nbytes) {
  assert_int_equal(truncate(from.path, (off_t)nbytes), 0);
}

/* The source ends with the byte before `cut`: rows are read pack by pack. */
static void expect_early_end(struct rect const *r, enum kind dest, size_t room,
                             size_t cut) {
  size_t whole = cut < r->row ? 0 : (cut - r->row) / r->src_pitch + 1;
  size_t done = whole / rows_in(room) * rows_in(room) * r->row;
  begin(DISK, span_of(r, r->src_pitch), dest, r->rows * r->dest_pitch);
  cut_source(cut);
  from.size = cut;
  expect_failure(r, umemIOError, done,
                 "source File: the file ends there: read ");
  end();
}

static void end_of_a_source__is_exact_to_the_pack(void **state) {
  enum kind const *pair = *state;
  struct rect gather = {
      .row = 200, .rows = 9000, .src_pitch = 300, .dest_pitch = 200};
  struct rect both = gather;
  both.dest_pitch = 250;
  size_t const cuts[] = {0,
                         199,
                         300,
                         4000 * 300 + 7,
                         6000 * 300,
                         6000 * 300 - 1,
                         8999 * 300 + 199};
  bool const packs = pair[0] == DISK || pair[0] == FAKE;
  for (size_t i = 0; i < LENGTH(cuts); i += scaled(1, 2)) {
    expect_early_end(&gather, pair[0], packs ? 500 : 300, cuts[i]);
    expect_early_end(&both, pair[0], 300, cuts[i]);
  }
}

static void end_of_a_source__is_found_in_rows_read_one_by_one(void **state) {
  enum kind const *pair = *state;
  struct rect const r = {
      .row = 5000, .rows = 400, .src_pitch = 10000, .dest_pitch = 5001};
  size_t const cuts[] = {4999, 10000, 250 * 10000 + 1, 399 * 10000 + 4999};
  for (size_t i = 0; i < LENGTH(cuts); i++)
    expect_early_end(&r, pair[0], 5000, cuts[i]);
}

static void end_of_a_source__is_exact_with_helpers(void **state) {
  (void)state;
  struct rect r = many_rows[0]; /* of 4.27 MiB of rows */
  assert_ok(umem_set_threads(1));
  for (size_t i = 0; i < scaled(10, 2); i++)
    expect_early_end(&r, HOST, 128, (20000 + 5000 * i) * 128);
  assert_ok(umem_set_threads(0));
}

static void end_of_a_source__in_a_long_row_is_exact_to_the_byte(void **state) {
  (void)state;
  struct rect const r = {
      .row = 30000, .rows = 5, .src_pitch = 40000, .dest_pitch = 30001};
  begin(DISK, span_of(&r, 40000), HOST, 5 * 30001);
  cut_source(from.size = 40000 + 777);
  expect_failure(&r, umemIOError, 30777,
                 "read 777 of 30000 bytes at offset 40");
  end();
  begin(DISK, span_of(&r, 40000), FAKE, 5 * 30001);
  cut_source(from.size = 3 * 40000 + 777);
  expect_failure(&r, umemIOError, 90000, "source File: the file ends there");
  end();
}

static void end_of_a_source__in_a_dense_one_is_exact_to_the_byte(void **state) {
  (void)state;
  struct rect const r = {
      .row = 100, .rows = 1000, .src_pitch = 100, .dest_pitch = 100};
  begin(DISK, 100000, HOST, 100000);
  cut_source(from.size = 77777);
  expect_failure(&r, umemIOError, 77777, "the file ends there");
  end();
}

static void disk_full__at_a_row_is_exact(void **state) {
  enum kind const *pair = *state;
  struct rect const r = {
      .row = 64, .rows = 3000, .src_pitch = 70, .dest_pitch = 128};
  unsigned const calls[] = {1, 2, 1500, 3000};
  for (size_t i = 0; i < LENGTH(calls); i++) {
    begin(pair[0], 210000, DISK, 384000);
    faults_install();
    faults_fail(FAULT_pwrite, calls[i], ENOSPC);
    expect_failure(&r, umemIOError, (calls[i] - 1) * 64,
                   "destination File: ENOSPC (28) ");
    faults_reset();
    end();
  }
}

static void disk_full__at_a_pack_is_exact(void **state) {
  enum kind const *pair = *state;
  struct rect const r = {
      .row = 64, .rows = 40000, .src_pitch = 70, .dest_pitch = 64};
  bool const in_place = pair[0] == HOST || pair[0] == VIEWED;
  size_t const pack = rows_in(in_place ? 64 : 70 + 64);
  for (unsigned call = 1; call <= 3; call++) {
    begin(pair[0], 40000 * 70, DISK, 40000 * 64);
    faults_install();
    faults_fail(FAULT_pwrite, call, ENOSPC);
    expect_failure(&r, umemIOError, (call - 1) * pack * 64,
                   "destination File: ENOSPC (28) ");
    faults_reset();
    end();
  }
}

/* A limit ends a write in the middle, as a disk does. */
static void expect_limited(struct rect const *r, size_t limit, size_t done) {
  struct rlimit old, less;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  less = old;
  less.rlim_cur = limit;
  begin(HOST, r->rows * r->src_pitch, DISK, limit);
  umemFile file;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
  assert_ok(umemFile_ctor(&file, to.path, "r+"));
  umemStatusType status = copy_as(&from.ctx, &file, r);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  assert_status(status, umemIOError);
  assert_int_equal(last_error(&file).bytes_done, done);
  assert_int_equal(last_error(&file).sys_errno, EFBIG);
  assert_ok(umem_dtor(&file));
  assert_int_equal(file_size(to.path), limit);
  struct rect fits = *r;
  fits.rows = done / r->row;
  model_copy(to.model, from.model, &fits);
  fits.src_at += fits.rows * r->src_pitch;
  fits.dest_at += fits.rows * r->dest_pitch;
  fits.rows = 1;
  fits.row = done % r->row;
  model_copy(to.model, from.model, &fits);
  expect_all();
  end();
}

static void disk_full__in_the_middle_is_exact_to_the_byte(void **state) {
  (void)state;
  struct rect r = {.row = 100, .rows = 3000, .src_pitch = 110};
  r.dest_pitch = 100;
  expect_limited(&r, 77777, 77777);
  r.dest_pitch = 130;
  expect_limited(&r, 100 * 130 + 33, 10033);
  r = (struct rect){
      .row = 30000, .rows = 5, .src_pitch = 30001, .dest_pitch = 40000};
  expect_limited(&r, 2 * 40000 + 12345, 72345);
}

struct failure {
  enum kind src, dest;
  size_t dest_pitch;
  bool in_src;
  enum fakeSlot slot;
  unsigned call; /* which one of its calls fails */
  size_t moved;  /* by that call, before */
  size_t packs;  /* that are done in all, */
  size_t bytes;  /* and bytes more */
  char const *blames;
};

/* 20,000 rows of 64 bytes, 100 apart, in packs of `room` bytes a row. */
static void expect_device_failure(struct failure const *f, size_t room) {
  struct rect const r = {
      .row = 64, .rows = 20000, .src_pitch = 100, .dest_pitch = f->dest_pitch};
  begin(f->src, 20000 * 100, f->dest, 20000 * f->dest_pitch);
  fake_fail(f->in_src ? &from.device : &to.device, f->slot,
            &(struct fakeFault){
                .call = f->call, .type = umemRuntimeError, .moved = f->moved});
  expect_failure(&r, umemRuntimeError,
                 f->packs * (rows_in(room) * 64) + f->bytes, f->blames);
  end();
}

#define OF_SOURCE(what) "source Fake: the fake's " what " failed"
#define OF_DEST(what) "destination Fake: the fake's " what " failed"

static void failure__of_a_device_tells_how_many_bytes_are_done(void **state) {
  (void)state;
  static struct failure const gathers[] = {
      {FAKE, FAKE, 64, true, FAKE_READ, 1, 99, 0, 0, OF_SOURCE("read")},
      {FAKE, FAKE, 64, true, FAKE_READ, 3, 99, 2, 0, OF_SOURCE("read")},
      {FAKE, FAKE, 64, false, FAKE_WRITE, 1, 0, 0, 0, OF_DEST("write")},
      {FAKE, FAKE, 64, false, FAKE_WRITE, 3, 777, 2, 777, OF_DEST("write")},
  };
  static struct failure const scatters[] = {
      {FAKE, FAKE, 65, true, FAKE_READ, 2, 99, 1, 0, OF_SOURCE("read")},
      {FAKE, HOST, 64, true, FAKE_READ, 2, 99, 1, 0, OF_SOURCE("read")},
      {FAKE, HOST, 80, true, FAKE_READ, 2, 99, 1, 0, OF_SOURCE("read")},
      {FAKE, VIEWED, 64, true, FAKE_READ, 2, 99, 1, 0, OF_SOURCE("read")},
      {FAKE, FAKE, 65, false, FAKE_WRITE, 1, 7, 0, 7, OF_DEST("write")},
      {FAKE, FAKE, 65, false, FAKE_WRITE, 99, 7, 0, 98 * 64 + 7,
       OF_DEST("write")},
      {HOST, FAKE, 65, false, FAKE_WRITE, 99, 7, 0, 98 * 64 + 7,
       OF_DEST("write")},
      {FAKE, FAKE, 65, false, FAKE_CHECK, 1, 0, 0, 0, OF_DEST("check")},
      {FAKE, FAKE, 65, true, FAKE_CHECK, 1, 0, 0, 0, OF_SOURCE("check")},
      {FAKE, FAKE, 65, false, FAKE_CHECK, 2, 0, 0, 0, OF_DEST("check")},
      {FAKE, FAKE, 65, true, FAKE_CHECK, 2, 0, 0, 0, OF_SOURCE("check")},
  };
  for (size_t i = 0; i < LENGTH(gathers); i++)
    expect_device_failure(&gathers[i], 164);
  for (size_t i = 0; i < LENGTH(scatters); i++)
    expect_device_failure(&scatters[i], 100);
}

static void failure__of_a_view_tells_how_many_bytes_are_done(void **state) {
  (void)state;
  static struct failure const failures[] = {
      {VIEWED, HOST, 70, true, FAKE_VIEW_BEGIN, 1, 0, 0, 0,
       OF_SOURCE("view_begin")},
      {VIEWED, VIEWED, 64, true, FAKE_VIEW_BEGIN, 1, 0, 0, 0,
       OF_SOURCE("view_begin")},
      {VIEWED, VIEWED, 64, false, FAKE_VIEW_BEGIN, 1, 0, 0, 0,
       OF_DEST("view_begin")},
      {VIEWED, VIEWED, 64, false, FAKE_VIEW_END, 1, 640, 0, 0,
       OF_DEST("view_end")},
      {FAKE, VIEWED, 64, false, FAKE_VIEW_END, 1, 640, 0, 0,
       OF_DEST("view_end")},
      {VIEWED, FAKE, 65, true, FAKE_VIEW_END, 1, 0, 0, 0,
       OF_SOURCE("view_end")},
      {VIEWED, FAKE, 65, false, FAKE_WRITE, 9, 3, 0, 8 * 64 + 3,
       OF_DEST("write")},
      {VIEWED, FAKE, 64, false, FAKE_WRITE, 2, 3, 1, 3, OF_DEST("write")},
  };
  for (size_t i = 0; i < LENGTH(failures); i++)
    expect_device_failure(&failures[i], 64);
}

/* Which one of the two is told. */
static void failure__of_a_copy_and_of_its_view_tells_the_first(void **state) {
  (void)state;
  struct fakeFault const fault = {.call = 1, .type = umemRuntimeError};
  struct rect const r = {
      .row = 64, .rows = 200, .src_pitch = 100, .dest_pitch = 65};
  begin(VIEWED, 20000, FAKE, 13000);
  fake_fail(&from.device, FAKE_VIEW_END, &fault);
  fake_fail(&to.device, FAKE_WRITE,
            &(struct fakeFault){.call = 10, .type = umemIOError, .moved = 5});
  expect_failure(&r, umemIOError, 9 * 64 + 5, OF_DEST("write"));
  end();
  struct rect const packs = {
      .row = 64, .rows = 20000, .src_pitch = 100, .dest_pitch = 64};
  begin(FAKE, 20000 * 100, VIEWED, 20000 * 64);
  fake_fail(&from.device, FAKE_READ,
            &(struct fakeFault){.call = 2, .type = umemIOError});
  fake_fail(&to.device, FAKE_VIEW_END, &fault);
  expect_failure(&packs, umemIOError, 0, OF_SOURCE("read"));
  end();
}

static void failure__in_an_overlap_has_done_nothing_for_sure(void **state) {
  (void)state;
  struct rect const r = {.row = 50,
                         .rows = 100,
                         .src_pitch = 60,
                         .dest_at = 100,
                         .dest_pitch = 70};
  enum fakeSlot const slots[] = {FAKE_READ, FAKE_WRITE};
  umemi_os.rungs_off = 1u << umemDirectRung;
  for (size_t i = 0; i < LENGTH(slots); i++) {
    place_begin(&from, FAKE, 10000);
    to.adr = from.adr;
    fake_fail(
        &from.device, slots[i],
        &(struct fakeFault){.call = 50, .type = umemRuntimeError, .moved = 7});
    assert_status(copy_as(&from.ctx, &from.ctx, &r), umemRuntimeError);
    assert_int_equal(last_error(&from.ctx).bytes_done, 0);
    assert_int_equal(umem_get_error_count(&from.ctx), 1);
    assert_slot(&from.ctx, umemRuntimeError, "the fake's ");
    place_end(&from);
  }
}

/* --- a source that ends where the destination would go on ----------------- */

enum { SHORT_FILE = 100000 };

/* Nothing was done to the file. */
static void expect_refused(void const *src, void const *dest,
                           struct rect const *r) {
  faults_install();
  assert_status(copy_as(src, dest, r), umemIOError);
  assert_int_equal(last_error(src).bytes_done, 0);
  assert_slot(src, umemIOError, "source File: the file ends there");
  assert_int_equal(faults_count(FAULT_pwrite), 0);
  assert_int_equal(faults_count(FAULT_fallocate), 0);
  faults_reset();
  assert_int_equal(file_size(from.path), SHORT_FILE);
  place_expect(&from, 0, SHORT_FILE);
}

static void end_in_the_source__is_found_before_the_file_grows(void **state) {
  (void)state;
  static struct rect const rects[] = {
      {100, 1000, 0, 150, 200000, 100},        /* packed */
      {100, 1000, 0, 150, 200000, 120},        /* row by row */
      {100, 1000, 0, 150, 50, 150},            /* in each other */
      {100, 900, 0, 5000, SHORT_FILE, 100},    /* far apart */
      {100, 2, SHORT_FILE - 100, 101, 0, 100}, /* one byte too much */
      {100, 10, SHORT_FILE + 5, 101, 0, 100},  /* nothing is there */
      {30000, 4, 0, 40000, 200000, 30000},     /* long */
      {30000, 4, 0, 40000, 1000, 40000},       /* long, in each other */
      {1500, 100, 0, 1500, 200000, 1500},      /* one row in truth */
      {3 * MIB, 1, 50, 3 * MIB, 6 * MIB, 3 * MIB},
      {8 * MIB, 1, 50, 8 * MIB, 16 * MIB, 8 * MIB},
  };
  umemFile other;
  overlap_begin(DISK);
  cut_source(SHORT_FILE);
  assert_ok(umemFile_ctor(&other, from.path, "r+"));
  for (size_t i = 0; i < LENGTH(rects); i++) {
    expect_refused(&from.ctx, &from.ctx, &rects[i]);
    expect_refused(&from.ctx, &other, &rects[i]);
  }
  assert_ok(umem_dtor(&other));
  place_end(&from);
}

static void end_in_the_source__is_found_if_memory_is_short(void **state) {
  (void)state;
  struct rect const r = {300000, 1, 50, 300000, 400000, 300000};
  overlap_begin(DISK);
  cut_source(SHORT_FILE);
  faults_limit_memory(64 * KIB);
  assert_status(copy_as(&from.ctx, &from.ctx, &r), umemIOError);
  assert_int_equal(file_size(from.path), SHORT_FILE);
  place_expect(&from, 0, SHORT_FILE);
  place_end(&from);
}

/* --- arguments ------------------------------------------------------------ */

static umemHost host;
static unsigned char small_src[64], small_dest[64];

/* In both forms; `side` is at fault, and the plain form says `why`. */
static void expect_bad(struct rect const *r, umemStatusType type,
                       char const *side, char const *why) {
  uintptr_t src = (uintptr_t)small_src, dest = (uintptr_t)small_dest;
  size_t const size = PTRDIFF_MAX / 2;
  assert_status(umem_copy_2d(&host, src, r->src_pitch, &host, dest,
                             r->dest_pitch, r->row, r->rows),
                type);
  assert_has(umem_get_message(&host), why);
  assert_slot(&host, type, side);
  assert_int_equal(last_error(&host).bytes_done, 0);
  assert_fails(&host,
               umem_copy_2d_safe(&host, src, r->src_pitch, size, &host, dest,
                                 r->dest_pitch, size, r->row, r->rows),
               type, side);
  assert_true(all_bytes_are(small_dest, sizeof small_dest, 0));
}

static void pitch__below_a_row_is_a_value_error_from_two_rows(void **state) {
  (void)state;
  assert_ok(umemHost_ctor(&host));
  expect_bad(&(struct rect){8, 2, 0, 7, 0, 8}, umemValueError,
             "source Host: ", "the pitch of 7 bytes is less than a row");
  expect_bad(&(struct rect){8, 2, 0, 8, 0, 7}, umemValueError,
             "destination Host: ", "the pitch of 7 bytes is less than a row");
  expect_bad(&(struct rect){8, 5, 0, 8, 0, 0}, umemValueError,
             "destination Host: ", "the pitch of 0 bytes is less than a row");
  expect_bad(&(struct rect){8, SIZE_MAX, 0, 7, 0, 7}, umemValueError,
             "source Host: ", "the pitch of 7 bytes is less than a row");
  uintptr_t src = (uintptr_t)small_src, dest = (uintptr_t)small_dest;
  assert_ok(umem_copy_2d(&host, src, 7, &host, dest, 0, 8, 1));
  assert_ok(umem_copy_2d_safe(&host, src, 0, 8, &host, dest, 0, 8, 8, 1));
  assert_ok(umem_copy_2d(&host, src, 0, &host, dest, 0, 8, 0));
  assert_ok(umem_copy_2d(&host, src, 0, &host, dest, 0, 0, 8));
  assert_ok(umem_dtor(&host));
}

static void sizes__that_cannot_be_are_index_errors(void **state) {
  (void)state;
  size_t const half = (size_t)PTRDIFF_MAX + 1;
  static char const src[] = "source Host: ", dest[] = "destination Host: ";
  assert_ok(umemHost_ctor(&host));
  expect_bad(&(struct rect){1, half + 1, 0, 2, 0, 1}, umemIndexError, src,
             "9223372036854775809 rows, 2 bytes apart");
  expect_bad(&(struct rect){1, half, 0, 1, 0, 1}, umemIndexError, src,
             "exceeds PTRDIFF_MAX");
  expect_bad(&(struct rect){1, 3, 0, 1, 0, half}, umemIndexError, dest,
             "3 rows, 9223372036854775808 bytes apart");
  expect_bad(&(struct rect){1, 2, 0, SIZE_MAX, 0, 1}, umemIndexError, src,
             "2 rows, 18446744073709551615 bytes apart");
  expect_bad(&(struct rect){1, 2, 0, 1, 0, SIZE_MAX - 1}, umemIndexError, dest,
             "exceeds PTRDIFF_MAX");
  expect_bad(&(struct rect){1, 2, 0, 1, 0, half - 1}, umemIndexError, dest,
             "exceeds PTRDIFF_MAX");
  expect_bad(&(struct rect){SIZE_MAX, 1, 0, 0, 0, 0}, umemIndexError, src,
             "exceeds PTRDIFF_MAX");
  expect_bad(&(struct rect){SIZE_MAX, SIZE_MAX, 0, SIZE_MAX, 0, SIZE_MAX},
             umemIndexError, src, "18446744073709551615 rows, ");
  assert_ok(umem_dtor(&host));
}

static void ranges__that_wrap_are_index_errors(void **state) {
  (void)state;
  uintptr_t const here = (uintptr_t)small_src, top = UINTPTR_MAX - 29;
  assert_ok(umemHost_ctor(&host));
  assert_fails(&host, umem_copy_2d(&host, top, 10, &host, here, 8, 8, 4),
               umemIndexError, "source Host: 0xffffffffffffffe2 + nbytes 38");
  assert_fails(&host, umem_copy_2d(&host, here, 8, &host, top, 10, 8, 4),
               umemIndexError, "destination Host: 0xffffffffffffffe2 + nbytes");
  assert_fails(
      &host, umem_copy_2d_safe(&host, here, 8, 64, &host, top, 10, 64, 8, 2),
      umemIndexError, "destination Host: 0xffffffffffffffe2 + size 64 wraps");
  assert_ok(umem_dtor(&host));
}

/* Of 3 rows of 8 bytes, 10 and 12 apart: 28 and 32 bytes. */
static umemStatusType copy_small(void const *src, uintptr_t src_adr,
                                 size_t src_size, void const *dest,
                                 uintptr_t dest_adr, size_t dest_size) {
  return umem_copy_2d_safe(src, src_adr, 10, src_size, dest, dest_adr, 12,
                           dest_size, 8, 3);
}

static void copy_2d_safe__holds_spans_to_the_sizes(void **state) {
  (void)state;
  uintptr_t src = (uintptr_t)small_src, dest = (uintptr_t)small_dest;
  assert_ok(umemHost_ctor(&host));
  assert_fails(&host, copy_small(&host, src, 27, &host, dest, 32),
               umemIndexError, "source Host: 28 bytes exceed the size of 27");
  assert_fails(&host, copy_small(&host, src, 28, &host, dest, 31),
               umemIndexError, "destination Host: 32 bytes exceed the size of");
  assert_fails(&host, copy_small(&host, src, 0, &host, dest, 0), umemIndexError,
               "source Host: 28 bytes exceed the size of 0");
  random_bytes(small_src, sizeof small_src, 5);
  assert_ok(copy_small(&host, src, 28, &host, dest, 32));
  for (size_t i = 0; i < 3; i++)
    assert_memory_equal(small_dest + 12 * i, small_src + 10 * i, 8);
  memset(small_dest, 0, sizeof small_dest);
  memset(small_src, 0, sizeof small_src);
  assert_ok(umem_dtor(&host));
}

/* Blocks of exactly what the rows span, and one byte beside them. */
static void expect_block_bounds(void *ctx) {
  uintptr_t src = umem_alloc(ctx, 28), dest = umem_alloc(ctx, 32);
  assert_ok(umem_try_set(ctx, src, 1, 28));
  assert_ok(umem_try_set(ctx, dest, 2, 32));
  assert_ok(copy_small(ctx, src, 28, ctx, dest, 32));
  assert_ok(copy_small(ctx, src, 999, ctx, dest, 999));
  assert_fails(ctx, copy_small(ctx, src + 1, 28, ctx, dest, 32), umemIndexError,
               "source ");
  assert_fails(ctx, copy_small(ctx, src, 28, ctx, dest + 1, 32), umemIndexError,
               "leave the block of 32 bytes");
  assert_ok(umem_free(ctx, src));
  assert_ok(umem_free(ctx, dest));
}

static void copy_2d_safe__holds_spans_to_the_live_blocks(void **state) {
  (void)state;
  struct fakeOne one;
  umemFile file;
  checked_host(&host);
  expect_block_bounds(&host);
  assert_ok(umem_dtor(&host));
  fake_one_begin(&one, &(struct fakeConfig){.base = 0});
  expect_block_bounds(&one.ctx);
  fake_one_end(&one);
  assert_ok(umemFile_ctor(&file, temp_path("blocks"), "w+"));
  expect_block_bounds(&file);
  assert_ok(umem_dtor(&file));
}

/* Both contexts tell it. */
static void expect_slots(void const *a, void const *b, umemStatusType type,
                         char const *why) {
  if (a)
    assert_slot(a, type, why);
  if (b && b != a)
    assert_slot(b, type, why);
}

static void expect_bad_pair(void const *src, uintptr_t src_adr,
                            void const *dest, uintptr_t dest_adr, size_t row,
                            size_t rows, umemStatusType type, char const *why) {
  assert_status(umem_copy_2d(src, src_adr, 10, dest, dest_adr, 12, row, rows),
                type);
  expect_slots(src, dest, type, why);
  assert_status(umem_copy_2d_safe(src, src_adr, 10, 99, dest, dest_adr, 12, 99,
                                  row, rows),
                type);
  expect_slots(src, dest, type, why);
}

/* With rows, without any, and with rows of nothing. */
static void expect_bad_contexts(void const *src, void const *dest,
                                umemStatusType type, char const *why) {
  uintptr_t from_here = (uintptr_t)small_src, to_here = (uintptr_t)small_dest;
  size_t const rows[] = {3, 0, 3}, row[] = {8, 8, 0};
  for (size_t i = 0; i < LENGTH(rows); i++)
    expect_bad_pair(src, from_here, dest, to_here, row[i], rows[i], type, why);
  assert_true(all_bytes_are(small_dest, sizeof small_dest, 0));
}

static void contexts__must_be_live(void **state) {
  (void)state;
  umemHost dead;
  umemVirtual none;
  assert_ok(umemHost_ctor(&host));
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  assert_ok(umemVirtual_ctor(&none, &host));
  expect_bad_contexts(&dead, &host, umemTypeError, "source context is dead");
  expect_bad_contexts(&host, &dead, umemTypeError,
                      "destination context is dead");
  expect_bad_contexts(NULL, &host, umemTypeError, "source context is NULL");
  expect_bad_contexts(&host, NULL, umemTypeError,
                      "destination context is NULL");
  expect_bad_contexts(&none, &host, umemNotImplementedError, "source Virtual");
  expect_bad_contexts(&host, &none, umemNotImplementedError,
                      "destination Virtual");
  assert_ok(umem_dtor(&none));
  assert_ok(umem_dtor(&host));
}

static void files__must_be_open_for_it(void **state) {
  (void)state;
  char const *name = temp_path("modes");
  umemFile file;
  assert_ok(umemHost_ctor(&host));
  file_put(name, "0123456789", 10);
  assert_ok(umemFile_ctor(&file, name, "r"));
  expect_bad_contexts(&host, &file, umemValueError,
                      "destination File: opened for reading only");
  assert_ok(umem_dtor(&file));
  assert_ok(umemFile_ctor(&file, name, "a"));
  expect_bad_contexts(&file, &host, umemValueError,
                      "source File: opened for writing only");
  expect_bad_pair(&host, (uintptr_t)small_src, &file, 9, 8, 3, umemValueError,
                  "destination File: opened for appending");
  assert_ok(umem_dtor(&file));
  assert_int_equal(file_size(name), 10);
  assert_ok(umem_dtor(&host));
}

static void addresses__must_not_be_null_if_there_are_bytes(void **state) {
  (void)state;
  uintptr_t here = (uintptr_t)small_src;
  assert_ok(umemHost_ctor(&host));
  expect_bad_pair(&host, 0, &host, here, 8, 3, umemValueError,
                  "source Host: the address is NULL");
  expect_bad_pair(&host, here, &host, 0, 8, 3, umemValueError,
                  "destination Host: the address is NULL");
  assert_ok(umem_copy_2d(&host, 0, 10, &host, 0, 10, 8, 0));
  assert_ok(umem_copy_2d(&host, 0, 10, &host, 0, 10, 0, 8));
  assert_ok(umem_copy_2d_safe(&host, 0, 0, 0, &host, 0, 0, 0, 8, 0));
  assert_ok(umem_copy_2d_safe(&host, 0, 0, 0, &host, 0, 0, 0, 0, 8));
  assert_ok(umem_copy_2d(&host, 0, SIZE_MAX, &host, 0, SIZE_MAX, 0, SIZE_MAX));
  assert_ok(umem_copy_2d(&host, 0, 0, &host, 0, 0, SIZE_MAX, 0));
  assert_ok(umem_dtor(&host));
}

static void nothing__is_checked_and_touches_nothing(void **state) {
  enum kind const *pair = *state;
  struct rect const nothing[] = {{8, 0, 3, 10, 5, 12}, {0, 8, 3, 10, 5, 12}};
  begin(pair[0], 64, pair[1], 64);
  faults_install();
  for (size_t i = 0; i < LENGTH(nothing); i++) {
    assert_ok(copy(&nothing[i]));
    assert_ok(copy_exactly(&nothing[i]));
  }
  assert_string_equal(faults_trace(), "");
  faults_reset();
  expect_all();
  for (size_t i = FAKE_READ; i < FAKE_SLOTS; i++)
    if (i != FAKE_SPACES && i != FAKE_CHECK && i != FAKE_LIMITS)
      assert_int_equal(from.device.calls[i] + to.device.calls[i], 0);
  if (pair[1] == FAKE) {
    fake_fail(&to.device, FAKE_CHECK,
              &(struct fakeFault){.call = 1, .type = umemRuntimeError});
    assert_fails(&to.ctx, copy(&nothing[0]), umemRuntimeError,
                 OF_DEST("check"));
  }
  end();
}

static void calls__name_themselves_and_their_values(void **state) {
  (void)state;
  assert_ok(umemHost_ctor(&host));
  assert_fails(&host, umem_copy_2d(&host, 5, 11, &host, 0, 12, 7, 3),
               umemValueError,
               "umem_copy_2d(source Host 0x5 pitch 11, destination Host 0x0 "
               "pitch 12, 3 rows of 7 bytes): destination Host: the address");
  assert_fails(&host, umem_copy_2d_safe(&host, 5, 7, 50, &host, 0, 7, 60, 7, 3),
               umemValueError,
               "umem_copy_2d_safe(source Host 0x5 pitch 7, destination Host "
               "0x0 pitch 7, 3 rows of 7 bytes (sizes 50, 60)): destination "
               "Host: the address is NULL");
  assert_ok(umem_dtor(&host));
}

static void calls__keep_errno(void **state) {
  (void)state;
  struct rect const r = {
      .row = 8, .rows = 4, .src_pitch = 10, .dest_pitch = 12};
  begin(DISK, 64, HOST, 64);
  errno = EDOM;
  assert_ok(copy(&r));
  assert_int_equal(errno, EDOM);
  cut_source(20);
  assert_status(copy(&r), umemIOError);
  assert_int_equal(errno, EDOM);
  umem_clean_status(&from.ctx);
  umem_clean_status(&to.ctx);
  end();
}

/* --- the list ------------------------------------------------------------- */

static void list_places(void) {
  EACH_PAIR(copy_2d__puts_each_byte_in_its_place);
  EACH_PAIR(copy_2d__of_many_rows_has_help);
  ONCE(copy_2d__starts_a_thread_to_help);
  ONCE(copy_2d__into_an_empty_file_leaves_zeros_between);
  EACH_PAIR(copy_2d__leaves_what_is_between_to_other_threads);
  EACH_KIND(overlap__in_one_context_is_as_if_all_was_read_first);
  EACH_KIND(overlap__on_every_rung_is_as_if_all_was_read_first);
  ONCE(overlap__of_two_hosts_is_one_of_memory);
  ONCE(overlap__of_two_contexts_on_one_file_is_one);
  ONCE(overlap__of_two_devices_with_one_memory_is_one);
  EACH_KIND(overlap__of_rows_longer_than_a_chunk_is_right);
  EACH_KIND(columns__change_places_in_one_matrix);
  ONCE(rectangles__of_one_space_that_only_touch_are_packed);
  ONCE(short_rows__of_files_move_many_in_a_call);
  ONCE(short_rows__far_apart_are_read_one_by_one);
  ONCE(short_rows__without_a_gap_are_one_copy);
  ONCE(memory__that_is_short_makes_smaller_packs);
  EACH_PAIR(memory__of_64_kib_does_for_the_longest_short_rows);
  ONCE(memory__that_is_short_is_enough_with_helpers);
  ONCE(memory__that_is_not_there_is_a_memory_error);
  ONCE(memory__is_not_needed_to_use_rows_in_place);
}

static void list_failures(void) {
  EACH_KIND(end_of_a_source__is_exact_to_the_pack);
  EACH_KIND(end_of_a_source__is_found_in_rows_read_one_by_one);
  ONCE(end_of_a_source__is_exact_with_helpers);
  ONCE(end_of_a_source__in_a_long_row_is_exact_to_the_byte);
  ONCE(end_of_a_source__in_a_dense_one_is_exact_to_the_byte);
  EACH_KIND(disk_full__at_a_row_is_exact);
  EACH_KIND(disk_full__at_a_pack_is_exact);
  ONCE(disk_full__in_the_middle_is_exact_to_the_byte);
  ONCE(failure__of_a_device_tells_how_many_bytes_are_done);
  ONCE(failure__of_a_view_tells_how_many_bytes_are_done);
  ONCE(failure__of_a_copy_and_of_its_view_tells_the_first);
  ONCE(failure__in_an_overlap_has_done_nothing_for_sure);
  ONCE(end_in_the_source__is_found_before_the_file_grows);
  ONCE(end_in_the_source__is_found_if_memory_is_short);
}

static void list_arguments(void) {
  ONCE(pitch__below_a_row_is_a_value_error_from_two_rows);
  ONCE(sizes__that_cannot_be_are_index_errors);
  ONCE(ranges__that_wrap_are_index_errors);
  ONCE(copy_2d_safe__holds_spans_to_the_sizes);
  ONCE(copy_2d_safe__holds_spans_to_the_live_blocks);
  ONCE(contexts__must_be_live);
  ONCE(files__must_be_open_for_it);
  ONCE(addresses__must_not_be_null_if_there_are_bytes);
  EACH_PAIR(nothing__is_checked_and_touches_nothing);
  ONCE(calls__name_themselves_and_their_values);
  ONCE(calls__keep_errno);
}

int main(void) {
  pairs_begin();
  list_places();
  list_failures();
  list_arguments();
  return RUN_LISTED("copy2d", temp_setup, temp_teardown);
}
