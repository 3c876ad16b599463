/* SPDX-License-Identifier: BSD-3-Clause */
/* Lanes: every chunk once, in order, up to the first that fails. */
#include "core.h"

#include "internal.h"

enum { KIB = 1 << 10, MIB = 1 << 20, PATIENCE = 10000 /* ms */ };

/* --- work ----------------------------------------------------------------- */

enum { CHUNKS_MAX = 4096 };

struct work {
  struct umemiLanes lanes; /* first: steps are given this */
  unsigned char *touched;  /* how often each byte was done */
  atomic_uint begun;
  size_t begun_at[CHUNKS_MAX]; /* offsets, as their steps began */
  size_t begun_bytes[CHUNKS_MAX];
  pthread_t begun_by[CHUNKS_MAX];
  void *slots[CHUNKS_MAX];
  /* Failures: of the chunk that starts there, after so many bytes. */
  size_t fails_at, fails_too_at, moved;
  bool late;         /* the first one waits for the stop of the second */
  bool waits;        /* all others wait for a stop */
  size_t stops_at;   /* the chunk that starts there stops the lanes... */
  size_t stops_from; /* ... from here on */
};

static struct work work_new(size_t nbytes, size_t chunk, unsigned helpers) {
  struct work w = {.lanes = {.nbytes = nbytes,
                             .chunk = chunk,
                             .grain = 1,
                             .helpers = helpers},
                   .fails_at = SIZE_MAX,
                   .fails_too_at = SIZE_MAX,
                   .stops_at = SIZE_MAX};
  w.touched = calloc(1, nbytes + 1);
  assert_non_null(w.touched);
  return w;
}

static void work_free(struct work *w) {
  free(w->touched);
}

static void wait_for_stop(struct umemiLanes *lanes, size_t end) {
  uint64_t const until = milliseconds() + PATIENCE;
  while (atomic_load(&lanes->end) > end && milliseconds() < until)
    sleep_milliseconds(1);
}

static void note_begin(struct work *w, size_t offset, size_t nbytes,
                       void *slot) {
  unsigned i = w->begun++;
  if (i >= CHUNKS_MAX)
    return;
  w->begun_at[i] = offset;
  w->begun_bytes[i] = nbytes;
  w->begun_by[i] = pthread_self();
  w->slots[i] = slot;
}

static umemStatusType work_fail(struct work *w, size_t offset,
                                umemError *error) {
  for (size_t i = 0; i < w->moved; i++)
    w->touched[offset + i]++;
  umem_error_fill(error, umemIOError, EIO, (int64_t)offset, "chunk at %zu",
                  offset);
  error->bytes_done = w->moved;
  return umemIOError;
}

static umemStatusType work_step(struct umemiLanes *lanes, size_t offset,
                                size_t nbytes, void *slot, umemError *error) {
  struct work *w = lanes->arg;
  note_begin(w, offset, nbytes, slot);
  if (slot)
    memset(slot, 0xA5, nbytes * lanes->room / lanes->grain);
  if (offset == w->fails_at) {
    if (w->late)
      wait_for_stop(lanes, w->fails_too_at);
    return work_fail(w, offset, error);
  }
  if (offset == w->fails_too_at)
    return work_fail(w, offset, error);
  if (offset == w->stops_at)
    umemi_lanes_stop(lanes, w->stops_from);
  if (w->waits)
    wait_for_stop(lanes, w->fails_at);
  for (size_t i = 0; i < nbytes; i++)
    w->touched[offset + i]++;
  return umemOK;
}

static umemStatusType work_run(struct work *w, umemError *error) {
  w->lanes.step = work_step;
  w->lanes.arg = w;
  return umemi_lanes_run(&w->lanes, error);
}

static void work_succeed(struct work *w) {
  umemError error = {.text = ""};
  assert_status(work_run(w, &error), umemOK);
}

/* Was this chunk begun, and never another time? */
static bool was_begun(struct work const *w, size_t offset) {
  unsigned count = 0;
  for (unsigned i = 0; i < w->begun; i++)
    count += w->begun_at[i] == offset;
  assert_true(count <= 1);
  return count == 1;
}

/* How many lanes there were. */
static unsigned lanes_of(struct work const *w) {
  unsigned count = 0;
  for (unsigned i = 0; i < w->begun; i++) {
    bool seen = false;
    for (unsigned j = 0; j < i; j++)
      seen |= pthread_equal(w->begun_by[i], w->begun_by[j]) != 0;
    count += !seen;
  }
  return count;
}

static size_t largest_chunk(struct work const *w) {
  size_t largest = 0;
  for (unsigned i = 0; i < w->begun; i++)
    largest = w->begun_bytes[i] > largest ? w->begun_bytes[i] : largest;
  return largest;
}

/* --- around each test ----------------------------------------------------- */

static int lanes_setup(void **state) {
  (void)state;
  faults_install();
  assert_ok(umem_set_threads(3));
  return 0;
}

static int lanes_teardown(void **state) {
  umemi_slots_drop();
  assert_ok(umem_set_threads(0));
  return faults_teardown(state);
}

/* --- every byte once ------------------------------------------------------ */

static void check_every_byte(size_t nbytes, size_t chunk, unsigned helpers,
                             size_t room) {
  static struct work w; /* large */
  w = work_new(nbytes, chunk, helpers);
  w.lanes.room = room;
  work_succeed(&w);
  assert_true(all_bytes_are(w.touched, nbytes, 1));
  assert_int_equal(w.touched[nbytes], 0);
  assert_int_equal(w.begun, (nbytes + chunk - 1) / chunk);
  work_free(&w);
}

static void run__does_every_byte_exactly_once(void **state) {
  (void)state;
  static size_t const sizes[] = {
      0, 1, 2, 4095, 4096, 64 * KIB + 1, 200 * KIB + 13};
  static size_t const chunks[] = {96, 1000, 4096, 64 * KIB, MIB};
  for (size_t s = 0; s < LENGTH(sizes); s++)
    for (size_t c = 0; c < LENGTH(chunks); c++)
      for (unsigned helpers = 0; helpers < 4; helpers++)
        check_every_byte(sizes[s], chunks[c], helpers, helpers % 2);
}

static void run__of_chunks_that_just_fit_and_just_do_not(void **state) {
  (void)state;
  for (size_t n = 1; n < 70; n++)
    for (size_t chunk = 1; chunk < 70; chunk += chunk < 8 ? 1 : 13)
      check_every_byte(n, chunk, n % 4, 0);
}

static void run__by_one_lane_takes_chunks_in_order(void **state) {
  (void)state;
  static struct work w;
  w = work_new(100050, 1000, 0);
  work_succeed(&w);
  assert_int_equal(w.begun, 101);
  for (size_t i = 0; i < w.begun; i++) {
    assert_int_equal(w.begun_at[i], 1000 * i);
    assert_int_equal(w.begun_bytes[i], i < 100 ? 1000 : 50);
  }
  assert_int_equal(lanes_of(&w), 1);
  work_free(&w);
}

static void run__by_many_lanes_takes_chunks_in_order_in_each(void **state) {
  (void)state;
  static struct work w;
  w = work_new(400 * KIB, 100, 3);
  work_succeed(&w);
  for (unsigned i = 0; i < w.begun; i++)
    for (unsigned j = i + 1; j < w.begun; j++)
      if (pthread_equal(w.begun_by[i], w.begun_by[j])) {
        assert_true(w.begun_at[i] < w.begun_at[j] ||
                    w.begun_bytes[i] == 0); /* another's note */
        break;
      }
  assert_true(all_bytes_are(w.touched, 400 * KIB, 1));
  work_free(&w);
}

static void run__with_helpers_has_several_lanes(void **state) {
  (void)state;
  static struct work w;
  w = work_new(16, 1, 3);
  w.waits = true; /* for the stop that the last of four lanes brings */
  w.fails_at = 3;
  umemError error;
  assert_status(work_run(&w, &error), umemIOError);
  assert_int_equal(lanes_of(&w), 4);
  work_free(&w);
}

static void run__backward_takes_chunks_from_the_end(void **state) {
  (void)state;
  static struct work w;
  w = work_new(10050, 1000, 0);
  w.lanes.backward = true;
  work_succeed(&w);
  assert_int_equal(w.begun, 11);
  for (size_t i = 0; i < 10; i++) {
    assert_int_equal(w.begun_at[i], 10050 - 1000 * (i + 1));
    assert_int_equal(w.begun_bytes[i], 1000);
  }
  assert_int_equal(w.begun_at[10], 0);
  assert_int_equal(w.begun_bytes[10], 50);
  assert_true(all_bytes_are(w.touched, 10050, 1));
  work_free(&w);
}

/* --- failures ------------------------------------------------------------- */

enum { CHUNK = 1000, CHUNKS = 20 };

static void expect_error_of(umemError const *error, size_t chunk,
                            size_t moved) {
  assert_int_equal(error->type, umemIOError);
  assert_int_equal(error->sys_errno, EIO);
  assert_int_equal(error->native, chunk * CHUNK);
  assert_int_equal(error->bytes_done, chunk * CHUNK + moved);
}

/* What is in front of a failure was done, once. */
static void expect_done(struct work const *w, size_t nbytes) {
  assert_true(all_bytes_are(w->touched, nbytes, 1));
}

static void failure__of_a_chunk_ends_the_only_lane(void **state) {
  (void)state;
  static struct work w;
  for (size_t k = 0; k < CHUNKS; k++) {
    umemError error;
    w = work_new(CHUNKS * CHUNK - 3, CHUNK, 0);
    w.fails_at = k * CHUNK;
    w.moved = k * 7;
    assert_status(work_run(&w, &error), umemIOError);
    expect_error_of(&error, k, k * 7);
    expect_done(&w, k * CHUNK + k * 7);
    assert_int_equal(w.begun, k + 1);
    assert_int_equal(w.touched[k * CHUNK + k * 7], 0);
    work_free(&w);
  }
}

/* The others are at their chunks when it comes, and begin no more. */
static void failure__of_a_chunk_ends_all_lanes_after_their_chunks(void **st) {
  (void)st;
  static struct work w;
  for (size_t k = 0; k < 3; k++)
    for (unsigned helpers = 0; helpers < 4; helpers++) {
      umemError error;
      w = work_new(CHUNKS * CHUNK, CHUNK, helpers);
      w.fails_at = k * CHUNK;
      w.moved = 5;
      w.waits = helpers >= k; /* else those in front wait for each other */
      assert_status(work_run(&w, &error), umemIOError);
      expect_error_of(&error, k, 5);
      expect_done(&w, k * CHUNK + 5);
      if (w.waits)
        assert_true(w.begun <= k + 1 + helpers);
      for (unsigned i = 0; i < w.begun; i++) /* what was begun was finished */
        assert_int_equal(w.touched[w.begun_at[i]], 1);
      work_free(&w);
    }
}

static void failure__of_any_chunk_under_load_is_exact(void **state) {
  (void)state;
  static struct work w;
  size_t const rounds = scaled(300, 30);
  for (size_t i = 0; i < rounds; i++) {
    size_t k = i % CHUNKS;
    umemError error;
    w = work_new(CHUNKS * CHUNK, CHUNK, 3);
    w.fails_at = k * CHUNK;
    w.moved = i % CHUNK;
    assert_status(work_run(&w, &error), umemIOError);
    expect_error_of(&error, k, i % CHUNK);
    expect_done(&w, k * CHUNK + i % CHUNK);
    for (size_t chunk = 0; chunk <= k; chunk++)
      assert_true(was_begun(&w, chunk * CHUNK));
    work_free(&w);
  }
}

static void failure__of_two_chunks_is_that_of_the_first(void **state) {
  (void)state;
  static struct work w;
  for (size_t first = 0; first < CHUNKS - 1; first++)
    for (size_t apart = 1; apart < 4; apart += 2) {
      umemError error;
      w = work_new((CHUNKS + 4) * CHUNK, CHUNK, 3);
      w.fails_at = first * CHUNK;
      w.fails_too_at = (first + apart) * CHUNK;
      w.moved = 11;
      assert_status(work_run(&w, &error), umemIOError);
      expect_error_of(&error, first, 11);
      expect_done(&w, first * CHUNK + 11);
      work_free(&w);
    }
}

static void
failure__that_comes_later_but_lies_before_is_the_one_told(void **s) {
  (void)s;
  static struct work w;
  for (size_t first = 0; first < 10; first++)
    for (size_t apart = 1; apart < 4; apart++) {
      umemError error;
      w = work_new(CHUNKS * CHUNK, CHUNK, 3);
      w.fails_at = first * CHUNK;
      w.fails_too_at = (first + apart) * CHUNK;
      w.moved = 11;
      w.late = true;
      assert_status(work_run(&w, &error), umemIOError);
      expect_error_of(&error, first, 11);
      expect_done(&w, first * CHUNK + 11);
      assert_true(was_begun(&w, w.fails_too_at));
      work_free(&w);
    }
}

static void failure__backward_begins_no_chunk_in_front_of_it(void **state) {
  (void)state;
  static struct work w;
  umemError error;
  w = work_new(CHUNKS * CHUNK, CHUNK, 0);
  w.lanes.backward = true;
  w.fails_at = 5 * CHUNK;
  assert_status(work_run(&w, &error), umemIOError);
  assert_int_equal(w.begun, CHUNKS - 5);
  assert_int_equal(error.native, 5 * CHUNK);
  assert_true(all_bytes_are(w.touched, 5 * CHUNK, 0));
  assert_true(all_bytes_are(w.touched + 6 * CHUNK, (CHUNKS - 6) * CHUNK, 1));
  work_free(&w);
}

/* --- stop ----------------------------------------------------------------- */

static void stop__begins_no_chunk_from_there_on(void **state) {
  (void)state;
  static struct work w;
  for (size_t end = 4; end < CHUNKS; end += 3) {
    w = work_new(CHUNKS * CHUNK, CHUNK, 0);
    w.stops_at = 3 * CHUNK;
    w.stops_from = end * CHUNK;
    work_succeed(&w);
    assert_int_equal(w.begun, end);
    assert_true(all_bytes_are(w.touched, end * CHUNK, 1));
    assert_int_equal(w.touched[end * CHUNK], 0);
    work_free(&w);
  }
}

static void stop__inside_a_chunk_still_begins_that_chunk(void **state) {
  (void)state;
  static struct work w;
  w = work_new(CHUNKS * CHUNK, CHUNK, 0);
  w.stops_at = 3 * CHUNK;
  w.stops_from = 5 * CHUNK + 1;
  work_succeed(&w);
  assert_int_equal(w.begun, 6);
  work_free(&w);
}

static void stop__never_puts_the_end_off(void **state) {
  (void)state;
  struct umemiLanes lanes = {.end = 100};
  umemi_lanes_stop(&lanes, 70);
  assert_int_equal(lanes.end, 70);
  umemi_lanes_stop(&lanes, 80);
  assert_int_equal(lanes.end, 70);
  umemi_lanes_stop(&lanes, 0);
  umemi_lanes_stop(&lanes, SIZE_MAX);
  assert_int_equal(lanes.end, 0);
}

/* --- memory --------------------------------------------------------------- */

/* For all allocations of slots but so many that succeed, the first ones. */
static size_t memory_limit, memory_limit_later;
static unsigned memory_first;
static atomic_uint memory_taken;

static int limited_memalign(void **out, size_t alignment, size_t nbytes) {
  bool first = memory_taken < memory_first;
  if (nbytes > (first ? memory_limit : memory_limit_later))
    return ENOMEM;
  memory_taken++;
  return posix_memalign(out, alignment, nbytes);
}

/* The first slots may be so large, all later ones that large. */
static void limit_memory_twice(size_t nbytes, unsigned first, size_t later) {
  memory_limit = nbytes;
  memory_limit_later = later;
  memory_first = first;
  memory_taken = 0;
  faults_limit_memory(0);
  umemi_os.posix_memalign = limited_memalign;
}

static void limit_memory(size_t nbytes) {
  limit_memory_twice(nbytes, 0, nbytes);
}

static void memory__of_a_lane_is_its_own_and_on_whole_pages(void **state) {
  (void)state;
  static struct work w;
  w = work_new(64, 4, 3);
  w.lanes.room = 1;
  w.waits = true;
  w.fails_at = 3 * 4; /* when all four lanes are at their chunks */
  umemError error;
  assert_status(work_run(&w, &error), umemIOError);
  for (unsigned i = 0; i < w.begun; i++) {
    assert_non_null(w.slots[i]);
    assert_int_equal((uintptr_t)w.slots[i] % UMEMI_PAGE, 0);
    for (unsigned j = 0; j < i; j++)
      if (!pthread_equal(w.begun_by[i], w.begun_by[j]))
        assert_ptr_not_equal(w.slots[i], w.slots[j]);
  }
  work_free(&w);
}

static void memory__that_is_not_asked_for_is_not_taken(void **state) {
  (void)state;
  static struct work w;
  w = work_new(1000, 100, 2);
  work_succeed(&w);
  for (unsigned i = 0; i < w.begun; i++)
    assert_null(w.slots[i]);
  assert_int_equal(faults_count(FAULT_posix_memalign), 0);
  work_free(&w);
}

static void memory__that_is_short_makes_chunks_smaller(void **state) {
  (void)state;
  static struct work w;
  for (size_t limit = MIB; limit >= 64 * KIB; limit /= 2)
    for (unsigned helpers = 0; helpers < 3; helpers += 2) {
      limit_memory(limit);
      w = work_new(MIB + 4097, MIB, helpers);
      w.lanes.room = 1;
      work_succeed(&w);
      assert_true(all_bytes_are(w.touched, MIB + 4097, 1));
      assert_int_equal(largest_chunk(&w), limit);
      work_free(&w);
    }
}

static void memory__that_is_short_keeps_whole_grains(void **state) {
  (void)state;
  static struct work w;
  size_t const grain = 1000, room = 1500, limit = 64 * KIB;
  limit_memory(limit);
  w = work_new(500 * grain, 400 * grain, 1);
  w.lanes.grain = grain;
  w.lanes.room = room;
  work_succeed(&w);
  assert_true(all_bytes_are(w.touched, 500 * grain, 1));
  assert_int_equal(largest_chunk(&w), limit / room * grain);
  for (unsigned i = 0; i < w.begun; i++)
    assert_int_equal(w.begun_at[i] % grain, 0);
  work_free(&w);
}

static void memory__below_64_KiB_is_an_error_before_any_step(void **state) {
  (void)state;
  static struct work w;
  umemError error;
  limit_memory(64 * KIB - 1);
  w = work_new(MIB, MIB, 2);
  w.lanes.room = 1;
  assert_status(work_run(&w, &error), umemMemoryError);
  assert_int_equal(error.sys_errno, ENOMEM);
  assert_int_equal(error.bytes_done, 0);
  assert_has(error.text, "staging");
  assert_int_equal(w.begun, 0);
  work_free(&w);
}

static void memory__that_is_spare_may_be_none(void **state) {
  (void)state;
  static struct work w;
  limit_memory(0);
  w = work_new(MIB + 1, 64 * KIB, 2);
  w.lanes.room = 1;
  w.lanes.spare = true;
  work_succeed(&w);
  assert_true(all_bytes_are(w.touched, MIB + 1, 1));
  for (unsigned i = 0; i < w.begun; i++)
    assert_null(w.slots[i]);
  work_free(&w);
}

/* The first lane has what there is; a slot that is smaller is of no use. */
static void memory__of_one_lane_is_enough_for_all_of_the_work(void **state) {
  (void)state;
  static struct work w;
  static size_t const left[] = {0, 64 * KIB - 1, 64 * KIB, MIB - 1};
  for (size_t i = 0; i < LENGTH(left); i++) {
    limit_memory_twice(MIB, 1, left[i]);
    w = work_new(3 * MIB + 5, MIB, 3);
    w.lanes.room = 1;
    work_succeed(&w);
    assert_true(all_bytes_are(w.touched, 3 * MIB + 5, 1));
    assert_int_equal(largest_chunk(&w), MIB);
    assert_int_equal(lanes_of(&w), 1);
    work_free(&w);
  }
}

/* The chunks are those of the first lane, and helpers have room to spare. */
static void memory__that_comes_back_is_used_by_helpers(void **state) {
  (void)state;
  static struct work w;
  limit_memory_twice(128 * KIB, 1, MIB);
  w = work_new(MIB + 1, MIB, 3);
  w.lanes.room = 1;
  w.waits = true;
  w.fails_at = 3 * 128 * KIB; /* the fourth lane's, if there are four */
  umemError error;
  assert_status(work_run(&w, &error), umemIOError);
  assert_int_equal(lanes_of(&w), 4);
  assert_int_equal(largest_chunk(&w), 128 * KIB);
  assert_int_equal(memory_taken, 4);
  work_free(&w);
}

#define lanes_test(f)                                                          \
  cmocka_unit_test_setup_teardown(f, lanes_setup, lanes_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      lanes_test(run__does_every_byte_exactly_once),
      lanes_test(run__of_chunks_that_just_fit_and_just_do_not),
      lanes_test(run__by_one_lane_takes_chunks_in_order),
      lanes_test(run__by_many_lanes_takes_chunks_in_order_in_each),
      lanes_test(run__with_helpers_has_several_lanes),
      lanes_test(run__backward_takes_chunks_from_the_end),
      lanes_test(failure__of_a_chunk_ends_the_only_lane),
      lanes_test(failure__of_a_chunk_ends_all_lanes_after_their_chunks),
      lanes_test(failure__of_any_chunk_under_load_is_exact),
      lanes_test(failure__of_two_chunks_is_that_of_the_first),
      lanes_test(failure__that_comes_later_but_lies_before_is_the_one_told),
      lanes_test(failure__backward_begins_no_chunk_in_front_of_it),
      lanes_test(stop__begins_no_chunk_from_there_on),
      lanes_test(stop__inside_a_chunk_still_begins_that_chunk),
      lanes_test(stop__never_puts_the_end_off),
      lanes_test(memory__of_a_lane_is_its_own_and_on_whole_pages),
      lanes_test(memory__that_is_not_asked_for_is_not_taken),
      lanes_test(memory__that_is_short_makes_chunks_smaller),
      lanes_test(memory__that_is_short_keeps_whole_grains),
      lanes_test(memory__below_64_KiB_is_an_error_before_any_step),
      lanes_test(memory__that_is_spare_may_be_none),
      lanes_test(memory__of_one_lane_is_enough_for_all_of_the_work),
      lanes_test(memory__that_comes_back_is_used_by_helpers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
