/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies from host to host against a called memcpy:
 *
 *   P3   any size, several alignments, one and two threads
 *   P3b  to a destination that nobody has touched yet
 *
 * A load whose address agrees in its last 12 bits with a store shortly before
 * may have to wait for it. All offsets are chosen here, bad ones on purpose,
 * and not by luck of the layout.
 */
#define _GNU_SOURCE /* PR_SET_THP_DISABLE */
#include "raw.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

enum {
  PAGE = 4096,
  HUGE_PAGE = 2 << 20,
  POPULATE_WRITE = 23 /* madvise(2), Linux 5.14 */
};

struct work {
  umemHost from, to;
  unsigned char *src, *dest; /* at least a page is there behind each range */
  size_t nbytes;
  size_t from_offset, to_offset; /* in a page */
};

/* --- P3: sides ------------------------------------------------------------ */

static unsigned char *dest_of(struct work const *work) {
  return work->dest + work->to_offset;
}

static size_t src_at(struct benchSide const *side) {
  struct work const *work = side->work;
  return raw_shift(side) + work->from_offset;
}

static void copy_check(struct benchSide *side) {
  struct work const *work = side->work;
  raw_check(dest_of(work), src_at(side), work->nbytes, side->name);
}

/* What is copied is another place in each run, so that what the run before
   left behind is wrong. */
static void copy_ours(struct benchSide *side, size_t ncalls) {
  struct work const *work = side->work;
  uintptr_t src = (uintptr_t)work->src + src_at(side);
  uintptr_t dest = (uintptr_t)dest_of(work);
  while (ncalls--)
    umem_copy_to(&work->from, src, &work->to, dest, work->nbytes);
}

/* The compiler may not drop a copy that the next one overwrites. */
static void copy_memcpy(struct benchSide *side, size_t ncalls) {
  struct work const *work = side->work;
  unsigned char *src = work->src + src_at(side), *dest = dest_of(work);
  while (ncalls--) {
    memcpy(dest, src, work->nbytes);
    __asm__ volatile("" : : "r"(dest) : "memory");
  }
}

/* --- P3: rows ------------------------------------------------------------- */

struct layout {
  char const *name;
  size_t from_offset, to_offset;
};

/* APART is half a page away, and as aligned as it can be. */
enum { APART = 2048 + 64 };

static struct layout const layouts[] = {
    {"copy, both at a page", 0, 0},
    {"copy, source at 5", 5, APART},
    {"copy, destination at 3", 0, APART + 3},
    {"copy, destination 16 before", 32, 16},
};
static struct layout const one_behind = {"copy, destination 1 behind", 0, 1};

/* The first and the last of them will do where it would take too long. */
static size_t layout_step(size_t nbytes) {
  bool is_long = bench_options.quick || nbytes >= BENCH_GIB;
  return is_long ? BENCH_COUNT(layouts) - 1 : 1;
}

static struct work work; /* of the current row */

static void set_layout(struct layout const *layout, size_t nbytes) {
  work.nbytes = nbytes;
  work.from_offset = layout->from_offset;
  work.to_offset = layout->to_offset;
}

static struct benchSide const copy_sides[] = {
    {.name = "umem", .run = copy_ours, .after = copy_check, .work = &work},
    {.name = "memcpy", .run = copy_memcpy, .after = copy_check, .work = &work}};

static void copy_row(struct layout const *layout, size_t nbytes,
                     unsigned nthreads, enum benchRule rule, double limit) {
  struct benchSide sides[] = {copy_sides[0], copy_sides[1]};
  bool is_small = rule == BENCH_OVER;
  set_layout(layout, nbytes);
  bench_contest(
      &(struct benchContest){.goal = "P3",
                             .what = layout->name,
                             .nbytes = nbytes,
                             .nthreads = nthreads,
                             .rule = rule,
                             .limit = limit,
                             .in_ns = is_small,
                             .sides = sides,
                             .nsides = BENCH_COUNT(sides),
                             /* Several calls: the caches are as copies leave
                                them, not as the check of the data did. */
                             .batch_ns = nbytes >= BENCH_MIB ? 10e6 : 0,
                             .attempts = is_small ? 10 : 0});
}

/* Not 16 KiB: with as much of a destination they fill the first-level cache of
   many processors to the last line, and a line more, of anybody, shows. */
static void small_rows(void) {
  static size_t const sizes[] = {1,    8,    64,   256,   1024,
                                 2048, 4096, 8192, 12288, 32768};
  for (size_t i = 0; i < BENCH_COUNT(sizes); i++)
    for (size_t j = 0; j < BENCH_COUNT(layouts); j += layout_step(0))
      copy_row(&layouts[j], sizes[i], 1, BENCH_OVER, sizes[i] <= 2048 ? 4 : 8);
}

/* --- the last-level cache ------------------------------------------------- */

static size_t read_size(char const *path) {
  char text[32] = "", *end;
  FILE *file = fopen(path, "re");
  if (!file || !fgets(text, sizeof text, file))
    text[0] = '\0';
  if (file)
    fclose(file);
  size_t value = strtoul(text, &end, 10);
  return *end == 'K'   ? value * BENCH_KIB
         : *end == 'M' ? value * BENCH_MIB
                       : value;
}

/* Of one cache, as one processor sees it. sysconf() may tell the sum of all. */
static size_t cache_size(void) {
  size_t largest = 0;
  for (int i = 0; i < 8; i++) {
    char path[80];
    snprintf(path, sizeof path,
             "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
    size_t size = read_size(path);
    largest = size > largest ? size : largest;
  }
  if (largest == 0)
    bench_die("the system does not tell how large the cache is");
  return largest;
}

static void large_row(size_t nbytes, size_t cache, unsigned nthreads) {
  double past_cache = nthreads > 1 ? 1.7 : 1.4;
  for (size_t j = 0; j < BENCH_COUNT(layouts); j += layout_step(nbytes))
    copy_row(&layouts[j], nbytes, nthreads, BENCH_RATIO,
             nbytes >= cache ? past_cache : 0.97);
}

/* Threads have nothing to do for less than a MiB. */
static void large_rows(void) {
  size_t const cache = cache_size();
  size_t const sizes[] = {
      32 * BENCH_KIB, 64 * BENCH_KIB, 256 * BENCH_KIB, BENCH_MIB, 4 * BENCH_MIB,
      16 * BENCH_MIB, cache,          2 * cache,       8 * cache, BENCH_GIB};
  size_t const largest = bench_size(BENCH_GIB, 2 * cache);
  for (size_t i = 0; i < BENCH_COUNT(sizes); i++)
    for (unsigned nthreads = 1; nthreads <= 2; nthreads++)
      if (sizes[i] <= largest && (i == 0 || sizes[i] != sizes[i - 1]) &&
          (nthreads == 1 || sizes[i] >= BENCH_MIB))
        large_row(sizes[i], cache, nthreads);
}

/* --- P3: one byte behind -------------------------------------------------- */

/* Is memcpy of that size slow where the destination is one byte behind the
   source in its page? It is where it uses "rep movsb". */
static bool memcpy_is_slow(size_t nbytes) {
  enum { CALLS = 8, ROUNDS = 7 };
  struct benchSide side = copy_sides[1];
  set_layout(&layouts[0], nbytes);
  double good = bench_time(&side, CALLS, ROUNDS);
  set_layout(&one_behind, nbytes);
  return bench_time(&side, CALLS, ROUNDS) > 5 * good;
}

static void one_behind_rows(void) {
  static size_t const sizes[] = {4, 16, 64, 256, 512}; /* KiB */
  for (size_t i = 0; i < BENCH_COUNT(sizes); i++) {
    size_t nbytes = sizes[i] * BENCH_KIB;
    if (!bench_wants("P3", one_behind.name))
      return;
    bool is_slow = memcpy_is_slow(nbytes);
    if (!is_slow)
      bench_note("memcpy is not slow here: what it reaches will do");
    copy_row(&one_behind, nbytes, 1, BENCH_RATIO, is_slow ? 10 : 0.97);
  }
}

/* --- P3b: fresh destinations ---------------------------------------------- */

struct fresh {
  umemHost host;
  unsigned char *src;
  size_t nbytes;
  uintptr_t block;
};

static void fresh_before(struct benchSide *side) {
  struct fresh *fresh = side->work;
  raw_warm_pages(fresh->nbytes);
}

/* Getting the block counts: whoever prepares pages there pays for it. */
static void fresh_ours(struct benchSide *side, size_t ncalls) {
  struct fresh *fresh = side->work;
  (void)ncalls;
  fresh->block = umem_alloc(&fresh->host, fresh->nbytes);
  umem_copy_to(&fresh->host, (uintptr_t)fresh->src + raw_shift(side),
               &fresh->host, fresh->block, fresh->nbytes);
}

static void fresh_memcpy(struct benchSide *side, size_t ncalls) {
  struct fresh *fresh = side->work;
  (void)ncalls;
  void *block = malloc(fresh->nbytes);
  if (!block)
    bench_die("no memory");
  memcpy(block, fresh->src + raw_shift(side), fresh->nbytes);
  fresh->block = (uintptr_t)block;
}

/* A thread that takes a huge page after the other. */
struct fresh_hand {
  unsigned char *dest;
  unsigned char const *src;
  size_t nbytes;
  atomic_size_t next;
};

static void *fresh_hand_main(void *argument) {
  struct fresh_hand *hand = argument;
  size_t at;
  while ((at = atomic_fetch_add(&hand->next, HUGE_PAGE)) < hand->nbytes) {
    madvise(hand->dest + at, HUGE_PAGE, POPULATE_WRITE);
    memcpy(hand->dest + at, hand->src + at, HUGE_PAGE);
  }
  return NULL;
}

/* What two threads have to gain here: they do the least that there is to do. */
static void fresh_by_hand(struct benchSide *side, size_t ncalls) {
  struct fresh *fresh = side->work;
  struct fresh_hand hand = {.src = fresh->src + raw_shift(side),
                            .nbytes = fresh->nbytes};
  pthread_t thread;
  (void)ncalls;
  hand.dest = aligned_alloc(HUGE_PAGE, fresh->nbytes);
  if (!hand.dest || madvise(hand.dest, fresh->nbytes, MADV_HUGEPAGE) ||
      pthread_create(&thread, NULL, fresh_hand_main, &hand))
    bench_die("no memory, huge pages or thread");
  fresh_hand_main(&hand);
  pthread_join(thread, NULL);
  fresh->block = (uintptr_t)hand.dest;
}

static void fresh_check(struct benchSide *side) {
  struct fresh *fresh = side->work;
  raw_hold_pages(fresh->nbytes);
  raw_check((void *)fresh->block, raw_shift(side), fresh->nbytes, side->name);
}

static void fresh_after_ours(struct benchSide *side) {
  struct fresh *fresh = side->work;
  fresh_check(side);
  umem_free(&fresh->host, fresh->block);
}

static void fresh_after_memcpy(struct benchSide *side) {
  struct fresh *fresh = side->work;
  fresh_check(side);
  free((void *)fresh->block);
}

static void fresh_against(struct fresh *fresh, struct benchSide const *other,
                          unsigned nthreads, bool is_huge, double limit) {
  struct benchSide sides[] = {{.name = "umem",
                               .before = fresh_before,
                               .run = fresh_ours,
                               .after = fresh_after_ours,
                               .work = fresh},
                              *other};
  bench_contest(&(struct benchContest){
      .goal = "P3b",
      .what = is_huge ? "alloc + copy" : "alloc + copy, 4 KiB pages",
      .nbytes = fresh->nbytes,
      .nthreads = nthreads,
      .rule = BENCH_RATIO,
      .limit = limit,
      .sides = sides,
      .nsides = BENCH_COUNT(sides),
      .is_one_call = true});
}

static void fresh_row(size_t nbytes, unsigned nthreads, bool is_huge) {
  struct fresh fresh = {.src = work.src, .nbytes = nbytes};
  struct benchSide other = {.name = "malloc + memcpy",
                            .before = fresh_before,
                            .run = fresh_memcpy,
                            .after = fresh_after_memcpy,
                            .work = &fresh};
  double const limits[2][2] = {{1.3, 2}, {3, 5}};
  umemHost_ctor(&fresh.host);
  fresh_against(&fresh, &other, nthreads, is_huge,
                limits[is_huge][nthreads > 1]);
  other.name = "threads by hand";
  other.run = fresh_by_hand;
  if (is_huge && nthreads > 1)
    fresh_against(&fresh, &other, nthreads, is_huge, 0.95);
  umem_dtor(&fresh.host);
}

static void fresh_rows(bool is_huge) {
  size_t const sizes[] = {32 * BENCH_MIB, 256 * BENCH_MIB};
  size_t const largest = bench_size(256 * BENCH_MIB, 32 * BENCH_MIB);
  if (prctl(PR_SET_THP_DISABLE, !is_huge, 0, 0, 0)) {
    bench_cannot("alloc + copy", "huge pages cannot be switched off");
    return;
  }
  for (size_t i = 0; i < BENCH_COUNT(sizes); i++)
    for (unsigned nthreads = 1; nthreads <= 2; nthreads++)
      if (sizes[i] <= largest)
        fresh_row(sizes[i], nthreads, is_huge);
  prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
}

/* The system's setting: is "[madvise]" in its line of choices? */
static bool huge_pages_are(char const *choice) {
  char line[80] = "";
  FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
  if (file && !fgets(line, sizeof line, file))
    line[0] = '\0';
  if (file)
    fclose(file);
  return strstr(line, choice) != NULL;
}

/* --- all ------------------------------------------------------------------ */

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  size_t room = bench_size(BENCH_GIB, 2 * cache_size()) + RAW_SLACK + 2 * PAGE;
  raw_need_memory(3 * room);
  work.src = raw_map(room);
  work.dest = raw_map(room);
  raw_fill(work.src, 0, room);
  bench_need_ok(umemHost_ctor(&work.from), &work.from);
  bench_need_ok(umemHost_ctor(&work.to), &work.to);
  small_rows();
  one_behind_rows();
  large_rows();
  if (huge_pages_are("[madvise]"))
    fresh_rows(true);
  else
    bench_note("huge pages are not [madvise]: rows with them are left out");
  fresh_rows(false);
  umem_dtor(&work.from);
  umem_dtor(&work.to);
  return bench_end();
}
