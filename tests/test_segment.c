/* SPDX-License-Identifier: BSD-3-Clause */
/* The segment under the Shm kind: its layout, table and lock. */
#include "file_support.h"

#include <signal.h>

enum {
  GRANULE = UMEMI_SEGMENT_GRANULE,
  PAGES = 4,
  NBYTES = PAGES * 4096,
  GRANULES = NBYTES / GRANULE,
  TABLE = 4096, /* where it begins */
  ORIGIN = 1 << 20
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static umemError error;

/* --- support -------------------------------------------------------------- */

static int fresh_fd(void) {
  int fd = memfd_create("test", MFD_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(fchmod(fd, 0600), 0);
  return fd;
}

static void create(struct umemiSegment *s, uint64_t nbytes) {
  umemi_segment_begin(s, fresh_fd());
  assert_status(umemi_segment_create(s, nbytes, &error), umemOK);
  s->origin = ORIGIN;
}

/* A second attachment, at other addresses. */
static umemStatusType attach(struct umemiSegment *s,
                             struct umemiSegment const *to, uint64_t nbytes) {
  umemi_segment_begin(s, fcntl(to->io.fd, F_DUPFD_CLOEXEC, 0));
  s->origin = (uintptr_t)3 * ORIGIN;
  return umemi_segment_attach(s, nbytes, &error);
}

static uintptr_t allocated(struct umemiSegment *s, size_t nbytes,
                           size_t alignment) {
  uintptr_t adr = 0;
  umemStatusType status =
      umemi_segment_alloc(s, nbytes, alignment, &adr, &error);
  if (status != umemOK)
    fail_msg("%s", error.text);
  return adr;
}

#define assert_segment_fails(call, expected, part)                             \
  do {                                                                         \
    assert_status(call, expected);                                             \
    assert_has(error.text, part);                                              \
  } while (0)

static void poke(struct umemiSegment const *s, uint64_t at, void const *bytes,
                 size_t nbytes) {
  assert_int_equal(pwrite(s->io.fd, bytes, nbytes, (off_t)at), nbytes);
}

static void peek(struct umemiSegment const *s, uint64_t at, void *bytes,
                 size_t nbytes) {
  assert_int_equal(pread(s->io.fd, bytes, nbytes, (off_t)at), nbytes);
}

static bool is_all_free(struct umemiSegment *s) {
  uintptr_t adr;
  return umemi_segment_alloc(s, s->nbytes, 0, &adr, &error) == umemOK &&
         umemi_segment_free(s, adr, &error) == umemOK;
}

/* --- layout --------------------------------------------------------------- */

static void total__counts_header_and_table_in_whole_pages(void **state) {
  (void)state;
  static struct {
    uint64_t nbytes, pages;
  } const known[] = {{1, 3},          {4096, 3},         {4097, 4},
                     {32 * 4096, 34}, {33 * 4096, 36},   {64 * 4096, 67},
                     {65 * 4096, 69}, {1 << 20, 256 + 9}};
  for (size_t i = 0; i < LENGTH(known); i++)
    assert_int_equal(umemi_segment_total(known[i].nbytes),
                     known[i].pages * 4096);
}

static void total__of_more_than_can_be_counted_is_0(void **state) {
  (void)state;
  uint64_t const most = (uint64_t)UINT32_MAX * GRANULE / 4096 * 4096;
  assert_true(umemi_segment_total(most) > most);
  assert_int_equal(umemi_segment_total(most + 1), 0);
  assert_int_equal(umemi_segment_total(PTRDIFF_MAX), 0);
  assert_int_equal(umemi_segment_total(UINT64_MAX), 0);
  assert_int_equal(umemi_segment_total(UINT64_MAX - 4096), 0);
}

static void attach__finds_the_layout_of_every_size_again(void **state) {
  (void)state;
  for (uint64_t pages = 1; pages < 100; pages += scaled(1, 13)) {
    struct umemiSegment s, other;
    create(&s, pages * 4096);
    assert_status(attach(&other, &s, 0), umemOK);
    assert_int_equal(other.nbytes, pages * 4096);
    assert_int_equal(other.total, umemi_segment_total(pages * 4096));
    assert_int_equal(other.granules, pages * 16);
    assert_int_equal(other.data_at, s.data_at);
    assert_true(other.data_at >= TABLE + other.granules * 8);
    umemi_segment_end(&other);
    umemi_segment_end(&s);
  }
}

static void attach__wants_the_size_that_it_was_created_with(void **state) {
  (void)state;
  struct umemiSegment s, other;
  static uint64_t const good[] = {0, NBYTES, NBYTES - 1, NBYTES - 4095};
  static uint64_t const bad[] = {1, NBYTES - 4096, NBYTES + 1, UINT64_MAX};
  create(&s, NBYTES);
  for (size_t i = 0; i < 4; i++) {
    assert_status(attach(&other, &s, good[i]), umemOK);
    umemi_segment_end(&other);
    assert_segment_fails(attach(&other, &s, bad[i]), umemValueError,
                         "it was created with 16384 bytes");
    umemi_segment_end(&other);
  }
  umemi_segment_end(&s);
}

static void attach__of_sizes_that_no_segment_has_is_refused(void **state) {
  (void)state;
  struct umemiSegment s, other;
  create(&s, NBYTES);
  static off_t const sizes[] = {8,         4096,   8192,         35 * 4096,
                                68 * 4096, NBYTES, 6 * 4096 + 1, 1 << 30};
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    assert_int_equal(ftruncate(s.io.fd, sizes[i]), 0);
    assert_segment_fails(attach(&other, &s, 0), umemValueError,
                         "not a segment of this user and library");
    umemi_segment_end(&other);
  }
  umemi_segment_end(&s);
}

static void create__reserves_all_of_it(void **state) {
  (void)state;
  struct umemiSegment s;
  struct stat st;
  create(&s, 3 << 20);
  assert_int_equal(fstat(s.io.fd, &st), 0);
  assert_true((uint64_t)st.st_blocks * 512 >= s.total);
  umemi_segment_end(&s);
}

static void create__writes_zeros_where_nothing_can_be_reserved(void **state) {
  (void)state;
  struct umemiSegment s;
  struct stat st;
  faults_fail_from(FAULT_fallocate, 1, EOPNOTSUPP);
  create(&s, 3 << 20);
  assert_int_equal(fstat(s.io.fd, &st), 0);
  assert_true((uint64_t)st.st_blocks * 512 >= s.total);
  faults_clear();
  assert_true(is_all_free(&s));
  umemi_segment_end(&s);
}

static void create__of_more_than_there_is_is_a_memory_error(void **state) {
  (void)state;
  struct umemiSegment s;
  umemi_segment_begin(&s, fresh_fd());
  assert_segment_fails(umemi_segment_create(&s, (uint64_t)1 << 39, &error),
                       umemMemoryError, "ENOMEM");
  umemi_segment_end(&s);
}

/* Of the control group /g. */
static int open_in_a_group(char const *path, int flags, ...) {
  static char const *const shown[][2] = {
      {"/proc/self/cgroup", "0::/g\n"},
      {"/sys/fs/cgroup/g/memory.max", "67108864\n"},
      {"/sys/fs/cgroup/g/memory.swap.max", "0\n"},
      {"/sys/fs/cgroup/g/memory.swap.current", "0\n"},
      {"/sys/fs/cgroup/g/memory.current", "1048576\n"}};
  for (size_t i = 0; i < LENGTH(shown); i++)
    if (strcmp(path, shown[i][0]) == 0) {
      int fd = memfd_create("shown", MFD_CLOEXEC);
      assert_int_equal(write(fd, shown[i][1], strlen(shown[i][1])),
                       strlen(shown[i][1]));
      assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
      return fd;
    }
  return open(path, flags, 0600);
}

static void create__past_a_control_group_is_a_memory_error(void **state) {
  (void)state;
  struct umemiSegment segment;
  umemi_os.open = open_in_a_group;
  umemi_segment_begin(&segment, fresh_fd());
  assert_segment_fails(umemi_segment_create(&segment, 70 << 20, &error),
                       umemMemoryError, "ENOMEM");
  assert_int_equal(faults_count(FAULT_fallocate), 0);
  umemi_segment_end(&segment);
  umemi_os.open = faults_real.open;
}

/* --- blocks --------------------------------------------------------------- */

static void alloc__takes_the_first_room_that_is_large_enough(void **state) {
  (void)state;
  struct umemiSegment s;
  create(&s, NBYTES);
  uintptr_t a = allocated(&s, 1, 0), b = allocated(&s, 257, 0);
  uintptr_t c = allocated(&s, 0, 0), d = allocated(&s, 256, 0);
  assert_int_equal(a, ORIGIN);
  assert_int_equal(b, ORIGIN + 256);
  assert_int_equal(c, ORIGIN + 3 * 256);
  assert_int_equal(d, ORIGIN + 4 * 256);
  assert_status(umemi_segment_free(&s, b, &error), umemOK);
  assert_int_equal(allocated(&s, 513, 0), ORIGIN + 5 * 256);
  assert_int_equal(allocated(&s, 512, 0), b);
  umemi_segment_end(&s);
}

static void alloc__honours_every_alignment_of_the_address(void **state) {
  (void)state;
  struct umemiSegment s;
  create(&s, 1 << 20);
  s.origin = ((uintptr_t)7 << 32) + 12345 * (uintptr_t)4096;
  for (size_t alignment = 1; alignment <= 1 << 18; alignment *= 2) {
    uintptr_t adr = allocated(&s, 100, alignment);
    assert_int_equal(adr % alignment, 0);
    assert_int_equal(adr % GRANULE, 0);
    assert_true(adr - s.origin < s.nbytes);
  }
  uintptr_t adr;
  for (size_t alignment = (size_t)1 << 33; alignment; alignment *= 2)
    assert_segment_fails(umemi_segment_alloc(&s, 1, alignment, &adr, &error),
                         umemMemoryError, "no room for 1 bytes");
  umemi_segment_end(&s);
}

static void alloc__of_too_much_tells_what_there_is(void **state) {
  (void)state;
  struct umemiSegment s;
  uintptr_t adr = 1, blocks[GRANULES];
  create(&s, NBYTES);
  size_t const sizes[] = {NBYTES + 1, PTRDIFF_MAX, (size_t)1 << 40};
  for (size_t i = 0; i < LENGTH(sizes); i++)
    assert_segment_fails(umemi_segment_alloc(&s, sizes[i], 0, &adr, &error),
                         umemMemoryError,
                         "at most 16384 of the segment's 16384 are free");
  for (size_t i = 0; i < GRANULES; i++)
    blocks[i] = allocated(&s, GRANULE, 0);
  assert_segment_fails(umemi_segment_alloc(&s, 0, 0, &adr, &error),
                       umemMemoryError, "at most 0 of");
  for (size_t i = 3; i < 6; i++)
    assert_status(umemi_segment_free(&s, blocks[i], &error), umemOK);
  assert_status(umemi_segment_free(&s, blocks[GRANULES - 1], &error), umemOK);
  assert_segment_fails(umemi_segment_alloc(&s, 1000, 0, &adr, &error),
                       umemMemoryError, "at most 768 of");
  assert_int_equal(adr, 1);
  assert_int_equal(allocated(&s, 700, 0), blocks[3]);
  umemi_segment_end(&s);
}

static void free__of_what_is_no_block_is_a_value_error(void **state) {
  (void)state;
  struct umemiSegment s;
  create(&s, NBYTES);
  uintptr_t small = allocated(&s, 10, 0), large = allocated(&s, 1000, 0);
  uintptr_t const inside[] = {small + 1,   small + 255, large + 1,
                              large + 256, large + 999, large + 1023};
  for (size_t i = 0; i < LENGTH(inside); i++)
    assert_segment_fails(umemi_segment_free(&s, inside[i], &error),
                         umemValueError, "lies inside the block of");
  uintptr_t const outside[] = {0,
                               1,
                               ORIGIN - 1,
                               ORIGIN - GRANULE,
                               large + 1024,
                               large + 1025,
                               ORIGIN + NBYTES - 1,
                               ORIGIN + NBYTES - GRANULE,
                               ORIGIN + NBYTES,
                               UINTPTR_MAX,
                               UINTPTR_MAX - 255};
  for (size_t i = 0; i < LENGTH(outside); i++)
    assert_segment_fails(umemi_segment_free(&s, outside[i], &error),
                         umemValueError, "is not a live block of this segment");
  assert_status(umemi_segment_free(&s, small, &error), umemOK);
  assert_segment_fails(umemi_segment_free(&s, small, &error), umemValueError,
                       "freed already");
  assert_status(umemi_segment_free(&s, large, &error), umemOK);
  assert_true(is_all_free(&s));
  umemi_segment_end(&s);
}

static void free__is_for_every_attachment(void **state) {
  (void)state;
  struct umemiSegment s, other;
  create(&s, NBYTES);
  assert_status(attach(&other, &s, 0), umemOK);
  uintptr_t adr = allocated(&s, 3000, 0);
  assert_int_equal(allocated(&other, 1, 0), other.origin + 3072);
  assert_status(
      umemi_segment_free(&other, adr - s.origin + other.origin, &error),
      umemOK);
  assert_int_equal(allocated(&s, 3072, 0), adr);
  umemi_segment_end(&other);
  umemi_segment_end(&s);
}

/* --- many blocks ---------------------------------------------------------- */

enum { MANY = 40000, FEW = 100 };

static void fill_with(struct umemiSegment *s, uintptr_t *blocks, size_t count) {
  for (size_t i = 0; i < count; i++)
    blocks[i] = allocated(s, 1, 0);
}

/* Bytes of the table that one free and alloc of the block read. */
static size_t nread;

static ssize_t counting_pread(int fd, void *out, size_t nbytes, off_t at) {
  nread += nbytes;
  return pread(fd, out, nbytes, at);
}

static size_t read_for_another(struct umemiSegment *s, uintptr_t *block) {
  nread = 0;
  umemi_os.pread = counting_pread;
  assert_status(umemi_segment_free(s, *block, &error), umemOK);
  *block = allocated(s, 1, 0);
  umemi_os.pread = faults_real.pread;
  return nread;
}

/* Of 1,000 blocks that come instead of others, in random places. */
static size_t read_for_some(struct umemiSegment *s, uintptr_t *blocks,
                            size_t count) {
  uint64_t random = 1;
  size_t total = 0;
  for (size_t i = 0; i < 1000; i++)
    total += read_for_another(s, &blocks[random_below(&random, count)]);
  return total;
}

static void alloc__reads_as_much_whatever_number_of_blocks_lives(void **state) {
  (void)state;
  static uintptr_t blocks[MANY];
  struct umemiSegment s;
  create(&s, (uint64_t)2 * MANY * GRANULE);
  fill_with(&s, blocks, FEW);
  size_t of_few = read_for_some(&s, blocks, FEW);
  fill_with(&s, blocks + FEW, MANY - FEW);
  size_t of_many = read_for_some(&s, blocks, MANY);
  print_message("bytes for a block: %zu of %d, %zu of %d\n", of_few / 1000, FEW,
                of_many / 1000, MANY);
  assert_in_range(of_many, 1, 2 * of_few);
  umemi_segment_end(&s);
}

/* A peer frees where this context knows of no room: a block at a time, so that
   there is no other. */
static void alloc__in_a_full_segment_finds_what_a_peer_freed(void **state) {
  (void)state;
  static uintptr_t blocks[MANY];
  struct umemiSegment s, peer;
  uint64_t random = 2;
  create(&s, (uint64_t)MANY * GRANULE);
  assert_status(attach(&peer, &s, 0), umemOK);
  fill_with(&s, blocks, MANY);
  umemi_os.pread = counting_pread;
  nread = 0;
  for (size_t i = 0; i < 500; i++) {
    uintptr_t adr = blocks[random_below(&random, MANY)];
    assert_status(
        umemi_segment_free(&peer, adr - s.origin + peer.origin, &error),
        umemOK);
    assert_int_equal(allocated(&s, 1, 0), adr);
  }
  print_message("bytes for a block that a peer freed: %zu\n", nread / 500);
  assert_in_range(nread / 500, 1, MANY * 8 / 10);
  umemi_os.pread = faults_real.pread;
  umemi_segment_end(&peer);
  umemi_segment_end(&s);
}

/* However many blocks a peer has freed, and wherever: all of them are found. */
static void alloc__finds_all_that_a_peer_freed(void **state) {
  (void)state;
  static uintptr_t blocks[MANY];
  struct umemiSegment s, peer;
  uintptr_t adr;
  create(&s, (uint64_t)MANY * GRANULE);
  assert_status(attach(&peer, &s, 0), umemOK);
  fill_with(&s, blocks, MANY);
  for (size_t i = 0; i < MANY; i += 3)
    assert_status(
        umemi_segment_free(&peer, blocks[i] - s.origin + peer.origin, &error),
        umemOK);
  for (size_t i = 0; i < MANY; i += 3)
    allocated(&s, 1, 0);
  assert_segment_fails(umemi_segment_alloc(&s, 1, 0, &adr, &error),
                       umemMemoryError, "at most 0 of");
  umemi_segment_end(&peer);
  umemi_segment_end(&s);
}

static void alloc__refused_again_does_not_read_the_table(void **state) {
  (void)state;
  static uintptr_t blocks[MANY];
  struct umemiSegment s, peer;
  uintptr_t adr;
  create(&s, (uint64_t)MANY * GRANULE);
  assert_status(attach(&peer, &s, 0), umemOK);
  fill_with(&s, blocks, MANY);
  umemi_os.pread = counting_pread;
  for (size_t i = 0; i < 3; i++) {
    assert_status(umemi_segment_alloc(&s, 1, 0, &adr, &error), umemMemoryError);
    nread = 0;
    for (size_t k = 0; k < 10; k++)
      assert_segment_fails(umemi_segment_alloc(&s, 1, 0, &adr, &error),
                           umemMemoryError, "at most 0 of");
    assert_in_range(nread, 1, 10 * 1024);
    adr = blocks[MANY / 2] - s.origin + peer.origin;
    assert_status(umemi_segment_free(&peer, adr, &error), umemOK);
    assert_int_equal(allocated(&s, 1, 0), blocks[MANY / 2]);
  }
  umemi_os.pread = faults_real.pread;
  umemi_segment_end(&peer);
  umemi_segment_end(&s);
}

/* A block in the middle of a free run divides it: the second part belongs to a
   group that had none. */
static void alloc__finds_room_behind_what_a_peer_allocated(void **state) {
  enum { GROUP = UMEMI_SEGMENT_GROUP, COUNT = 4 * GROUP };
  (void)state;
  struct umemiSegment s, peer;
  uintptr_t adr;
  create(&s, COUNT * GRANULE);
  assert_status(attach(&peer, &s, 0), umemOK);
  allocated(&s, 1, 0);
  adr = allocated(&s, (3 * GROUP - 1) * GRANULE, 0);
  allocated(&s, GROUP * GRANULE, 0);
  assert_status(umemi_segment_free(&s, adr, &error), umemOK);
  assert_status(umemi_segment_alloc(&s, s.nbytes, 0, &adr, &error),
                umemMemoryError);
  adr = allocated(&peer, 1, GROUP * GRANULE);
  assert_int_equal(adr - peer.origin, GROUP * GRANULE);
  adr = allocated(&s, (2 * GROUP - 1) * GRANULE, 0);
  assert_int_equal(adr - s.origin, (GROUP + 1) * GRANULE);
  umemi_segment_end(&peer);
  umemi_segment_end(&s);
}

static void alloc__over_many_free_blocks_takes_them_all(void **state) {
  (void)state;
  static uintptr_t blocks[MANY];
  struct umemiSegment s;
  create(&s, (uint64_t)MANY * GRANULE);
  fill_with(&s, blocks, MANY);
  for (size_t i = 1; i < MANY; i++)
    assert_status(umemi_segment_free(&s, blocks[i], &error), umemOK);
  uintptr_t adr = allocated(&s, (MANY - 1) * (size_t)GRANULE, 0);
  assert_int_equal(adr, blocks[1]);
  for (size_t i = 2; i < MANY; i += 777)
    assert_segment_fails(umemi_segment_free(&s, blocks[i], &error),
                         umemValueError, "lies inside the block of");
  assert_status(umemi_segment_free(&s, adr, &error), umemOK);
  assert_status(umemi_segment_free(&s, blocks[0], &error), umemOK);
  assert_true(is_all_free(&s));
  umemi_segment_end(&s);
}

/* Hints that lie, and marks where there are none. */
static void hints__of_a_peer_that_lie_do_no_harm(void **state) {
  (void)state;
  struct umemiSegment s;
  uintptr_t adr;
  uint64_t random = 3;
  create(&s, NBYTES);
  for (size_t i = 0; i < GRANULES; i++)
    allocated(&s, GRANULE, 0);
  for (size_t i = 0; i < 100; i++) {
    uint64_t lies[16];
    for (size_t k = 0; k < 16; k++)
      lies[k] = i % 2 ? random_next(&random) : random_below(&random, GRANULES);
    poke(&s, UMEMI_SEGMENT_HINTS, lies, sizeof lies);
    assert_segment_fails(umemi_segment_alloc(&s, 1, 0, &adr, &error),
                         umemMemoryError, "at most 0 of");
    uintptr_t block = ORIGIN + random_below(&random, GRANULES) * GRANULE;
    assert_status(umemi_segment_free(&s, block, &error), umemOK);
    assert_int_equal(allocated(&s, 1, 0), block);
  }
  umemi_segment_end(&s);
}

static void table__of_a_segment_without_memory_is_a_memory_error(void **state) {
  (void)state;
  struct umemiSegment s, other;
  create(&s, NBYTES);
  faults_fail(FAULT_malloc, 1, ENOMEM);
  assert_segment_fails(attach(&other, &s, 0), umemMemoryError,
                       "where a segment has room");
  umemi_segment_end(&other);
  umemi_segment_end(&s);
}

/* --- model: random calls of three attachments against an oracle ----------- */

enum { MODEL_SEGMENTS = 3, MODEL_PAGES = 40, MODEL = MODEL_PAGES * 16 };

struct model {
  struct umemiSegment segments[MODEL_SEGMENTS];
  uint32_t lengths[MODEL]; /* of blocks that start there */
  bool taken[MODEL];
  uint64_t random, allocs, refusals;
};

static void model_check_refusal(struct model *m, size_t length) {
  size_t run = 0;
  for (size_t i = 0; i < MODEL; i++) {
    run = m->taken[i] ? 0 : run + 1;
    assert_true(run < length);
  }
  m->refusals++;
}

static void model_alloc(struct model *m, struct umemiSegment *s) {
  size_t nbytes = random_below(&m->random, 10)
                      ? random_below(&m->random, 3000)
                      : random_below(&m->random, MODEL * GRANULE);
  size_t alignment = (size_t)1 << random_below(&m->random, 13);
  size_t length = nbytes ? (nbytes + GRANULE - 1) / GRANULE : 1;
  uintptr_t adr;
  umemStatusType status =
      umemi_segment_alloc(s, nbytes, alignment, &adr, &error);
  if (status == umemMemoryError && alignment <= GRANULE)
    model_check_refusal(m, length);
  if (status == umemMemoryError)
    return;
  assert_status(status, umemOK);
  assert_int_equal(adr % alignment, 0);
  size_t first = (adr - s->origin) / GRANULE;
  assert_true(first + length <= MODEL);
  for (size_t i = first; i < first + length; i++) {
    assert_false(m->taken[i]);
    m->taken[i] = true;
  }
  m->lengths[first] = (uint32_t)length;
  m->allocs++;
}

static void model_free(struct model *m, struct umemiSegment *s) {
  size_t at = random_below(&m->random, MODEL);
  while (at > 0 && random_below(&m->random, 10) && !m->lengths[at])
    at--;
  umemStatusType expected = m->lengths[at] ? umemOK : umemValueError;
  assert_status(umemi_segment_free(s, s->origin + at * GRANULE, &error),
                expected);
  for (size_t i = 0; i < m->lengths[at]; i++)
    m->taken[at + i] = false;
  m->lengths[at] = 0;
}

static void model__of_random_calls_never_hands_out_a_byte_twice(void **state) {
  (void)state;
  uint64_t allocs = 0, refusals = 0;
  for (uint64_t seed = 1; seed <= scaled(40, 3); seed++) {
    static struct model m;
    m = (struct model){.random = seed};
    create(&m.segments[0], MODEL_PAGES * 4096);
    for (size_t i = 1; i < MODEL_SEGMENTS; i++)
      assert_status(attach(&m.segments[i], &m.segments[0], 0), umemOK);
    for (size_t step = 0; step < 1000; step++) {
      struct umemiSegment *s =
          &m.segments[random_below(&m.random, MODEL_SEGMENTS)];
      (random_below(&m.random, 2) ? model_alloc : model_free)(&m, s);
    }
    for (size_t i = 0; i < MODEL; i++)
      if (m.lengths[i])
        assert_status(
            umemi_segment_free(&m.segments[0], ORIGIN + i * GRANULE, &error),
            umemOK);
    assert_true(is_all_free(&m.segments[1]));
    for (size_t i = MODEL_SEGMENTS; i-- > 0;)
      umemi_segment_end(&m.segments[i]);
    allocs += m.allocs;
    refusals += m.refusals;
  }
  print_message("model: %llu blocks, %llu refusals\n",
                (unsigned long long)allocs, (unsigned long long)refusals);
  assert_true(allocs > 0 && refusals > 0);
}

/* --- damage --------------------------------------------------------------- */

/* Everything may answer an error; nothing may take for ever, or crash. */
static void use_all(struct umemiSegment *s) {
  uintptr_t adr;
  for (size_t i = 0; i < GRANULES; i++)
    umemi_segment_free(s, s->origin + i * GRANULE + i % 2, &error);
  for (size_t nbytes = 0; nbytes <= NBYTES; nbytes += 777)
    umemi_segment_alloc(s, nbytes, 1, &adr, &error);
}

static void table__with_wild_entries_is_told_and_harms_nobody(void **state) {
  (void)state;
  uint64_t random = 1;
  size_t cases = 0, told = 0;
  for (size_t at = 0; at < GRANULES; at += scaled(1, 7))
    for (size_t kind = 0; kind < 6; kind++, cases++) {
      struct umemiSegment s;
      create(&s, NBYTES);
      uintptr_t adr = allocated(&s, 2000, 0), other;
      uint64_t const wild[] = {1,
                               UINT64_MAX,
                               random_next(&random),
                               GRANULES - at,
                               GRANULES - at + 1,
                               (uint64_t)1 << 63};
      poke(&s, TABLE + at * 8, &wild[kind], 8);
      umemStatusType status =
          umemi_segment_alloc(&s, NBYTES / 2, 0, &other, &error);
      if (status != umemOK) {
        assert_status(status, umemRuntimeError);
        assert_has(error.text, "the segment is damaged at offset");
        told++;
      }
      status = umemi_segment_free(&s, adr, &error);
      assert_status(status, at == 0 ? umemRuntimeError : umemOK);
      use_all(&s);
      umemi_segment_end(&s);
    }
  print_message("wild entries: %zu cases, %zu met and told\n", cases, told);
  assert_true(told > cases / 3);
}

/* The entry of another granule is none here. */
static void table__with_entries_that_were_moved_is_told(void **state) {
  (void)state;
  struct umemiSegment s;
  uint64_t entry;
  create(&s, NBYTES);
  uintptr_t adr = allocated(&s, 300, 0);
  peek(&s, TABLE, &entry, 8);
  poke(&s, TABLE + 10 * 8, &entry, 8);
  assert_segment_fails(umemi_segment_free(&s, adr + 10 * GRANULE, &error),
                       umemRuntimeError, "damaged at offset 4176");
  assert_segment_fails(umemi_segment_alloc(&s, NBYTES, 0, &adr, &error),
                       umemRuntimeError, "damaged at offset 4176");
  assert_int_equal(allocated(&s, 8 * GRANULE, 0), ORIGIN + 2 * GRANULE);
  umemi_segment_end(&s);
}

/* A true entry, of a segment that is larger. */
static void table__with_a_length_past_the_end_is_told(void **state) {
  (void)state;
  struct umemiSegment s, larger;
  uint64_t entry;
  uintptr_t adr;
  create(&s, NBYTES);
  create(&larger, 2 * NBYTES);
  for (uint64_t past = 0; past < 2; past++) {
    allocated(&larger, 10 * GRANULE, 0);
    allocated(&larger, (GRANULES - 10 + past) * GRANULE, 0);
    peek(&larger, TABLE + 10 * 8, &entry, 8);
    poke(&s, TABLE + 10 * 8, &entry, 8);
    assert_segment_fails(umemi_segment_alloc(&s, NBYTES, 0, &adr, &error),
                         past ? umemRuntimeError : umemMemoryError,
                         past ? "damaged" : "at most 2560 of");
    assert_status(umemi_segment_free(&s, ORIGIN + 10 * GRANULE, &error),
                  past ? umemRuntimeError : umemOK);
    umemi_segment_free(&larger, ORIGIN + 10 * GRANULE, &error);
    umemi_segment_free(&larger, ORIGIN, &error);
  }
  umemi_segment_end(&larger);
  umemi_segment_end(&s);
}

static void table__of_random_bytes_never_hangs(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < scaled(200, 10); seed++) {
    struct umemiSegment s;
    unsigned char bytes[GRANULES * 8];
    create(&s, NBYTES);
    random_bytes(bytes, sizeof bytes, seed);
    poke(&s, TABLE, bytes, sizeof bytes);
    use_all(&s);
    umemi_segment_end(&s);
  }
}

static void segment__that_is_cut_off_is_an_io_error(void **state) {
  (void)state;
  static off_t const sizes[] = {0, 1, 4095, 4096, 4097, 4096 + 16 * 8};
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    struct umemiSegment s;
    uintptr_t adr = 1;
    create(&s, NBYTES);
    uintptr_t block = allocated(&s, 100 * (size_t)GRANULE / 2, 0);
    assert_int_equal(ftruncate(s.io.fd, sizes[i]), 0);
    assert_segment_fails(umemi_segment_alloc(&s, NBYTES / 2, 0, &adr, &error),
                         umemIOError, "it was cut off");
    assert_segment_fails(umemi_segment_free(&s, block, &error), umemIOError,
                         "it was cut off");
    assert_segment_fails(umemi_segment_free(&s, block + 1, &error), umemIOError,
                         "it was cut off");
    assert_int_equal(adr, 1);
    umemi_segment_end(&s);
  }
}

/* --- lock ----------------------------------------------------------------- */

static void lock__is_free_again_after_each_call(void **state) {
  (void)state;
  struct umemiSegment s;
  uintptr_t adr;
  char path[64];
  create(&s, NBYTES);
  snprintf(path, sizeof path, "/proc/self/fd/%d", s.io.fd);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  assert_int_equal(umemi_segment_alloc(&s, 1, 0, &adr, &error), umemOK);
  umemi_segment_alloc(&s, NBYTES, 0, &adr, &error);
  umemi_segment_free(&s, ORIGIN + 300, &error);
  assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
  close(fd);
  umemi_segment_end(&s);
}

static void lock__that_cannot_be_given_back_is_given_up(void **state) {
  (void)state;
  struct umemiSegment s, other;
  create(&s, NBYTES);
  assert_status(attach(&other, &s, 0), umemOK);
  faults_fail(FAULT_fcntl, 2, ENOLCK); /* to unlock */
  uintptr_t adr = allocated(&s, 1, 0);
  assert_int_not_equal(allocated(&other, 1, 0) - other.origin, adr - ORIGIN);
  allocated(&s, 1, 0);
  umemi_segment_end(&other);
  umemi_segment_end(&s);
}

static void lock__that_is_interrupted_is_tried_again(void **state) {
  (void)state;
  struct umemiSegment s;
  create(&s, NBYTES);
  for (unsigned k = 1; k < 3; k++) {
    faults_fail(FAULT_fcntl, k, EINTR);
    allocated(&s, 1, 0);
  }
  uintptr_t adr;
  faults_fail(FAULT_fcntl, 1, ENOLCK);
  assert_segment_fails(umemi_segment_alloc(&s, 1, 0, &adr, &error), umemIOError,
                       "ENOLCK");
  allocated(&s, 1, 0);
  umemi_segment_end(&s);
}

/* Two attachments of one process, and the threads of one, exclude each other:
   no granule has two owners. */
struct worker {
  struct umemiSegment *s;
  atomic_uchar *owners;
  uint64_t seed;
  unsigned faults;
};

static void *allocate_and_free(void *argument) {
  struct worker *w = argument;
  umemError mine;
  for (size_t i = 0; i < scaled(2000, 100); i++) {
    size_t length = 1 + random_below(&w->seed, 3);
    uintptr_t adr;
    if (umemi_segment_alloc(w->s, length * GRANULE, 0, &adr, &mine) != umemOK) {
      w->faults++;
      continue;
    }
    size_t first = (adr - w->s->origin) / GRANULE;
    for (size_t g = first; g < first + length; g++)
      w->faults += atomic_fetch_add(&w->owners[g], 1) != 0;
    for (size_t g = first; g < first + length; g++)
      atomic_fetch_sub(&w->owners[g], 1);
    w->faults += umemi_segment_free(w->s, adr, &mine) != umemOK;
  }
  return NULL;
}

static void lock__keeps_threads_apart_in_one_and_in_two(void **state) {
  (void)state;
  enum { THREADS = 6 };
  static atomic_uchar owners[GRANULES];
  struct umemiSegment s[2];
  struct worker workers[THREADS];
  pthread_t threads[THREADS];
  create(&s[0], NBYTES);
  assert_status(attach(&s[1], &s[0], 0), umemOK);
  for (size_t i = 0; i < THREADS; i++) {
    /* valgrind runs one thread at a time, one that waits for the lock included:
       there all use the first */
    workers[i] = (struct worker){&s[i % scaled(2, 1)], owners, i, 0};
    assert_int_equal(
        pthread_create(&threads[i], NULL, allocate_and_free, &workers[i]), 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(workers[i].faults, 0);
  }
  assert_true(is_all_free(&s[0]));
  umemi_segment_end(&s[1]);
  umemi_segment_end(&s[0]);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(total__counts_header_and_table_in_whole_pages),
      faulty_test(total__of_more_than_can_be_counted_is_0),
      faulty_test(attach__finds_the_layout_of_every_size_again),
      faulty_test(attach__wants_the_size_that_it_was_created_with),
      faulty_test(attach__of_sizes_that_no_segment_has_is_refused),
      faulty_test(create__reserves_all_of_it),
      faulty_test(create__writes_zeros_where_nothing_can_be_reserved),
      faulty_test(create__of_more_than_there_is_is_a_memory_error),
      faulty_test(create__past_a_control_group_is_a_memory_error),
      faulty_test(alloc__takes_the_first_room_that_is_large_enough),
      faulty_test(alloc__honours_every_alignment_of_the_address),
      faulty_test(alloc__of_too_much_tells_what_there_is),
      faulty_test(free__of_what_is_no_block_is_a_value_error),
      faulty_test(free__is_for_every_attachment),
      faulty_test(alloc__reads_as_much_whatever_number_of_blocks_lives),
      faulty_test(alloc__in_a_full_segment_finds_what_a_peer_freed),
      faulty_test(alloc__finds_all_that_a_peer_freed),
      faulty_test(alloc__refused_again_does_not_read_the_table),
      faulty_test(alloc__finds_room_behind_what_a_peer_allocated),
      faulty_test(alloc__over_many_free_blocks_takes_them_all),
      faulty_test(hints__of_a_peer_that_lie_do_no_harm),
      faulty_test(table__of_a_segment_without_memory_is_a_memory_error),
      faulty_test(model__of_random_calls_never_hands_out_a_byte_twice),
      faulty_test(table__with_wild_entries_is_told_and_harms_nobody),
      faulty_test(table__with_entries_that_were_moved_is_told),
      faulty_test(table__with_a_length_past_the_end_is_told),
      faulty_test(table__of_random_bytes_never_hangs),
      faulty_test(segment__that_is_cut_off_is_an_io_error),
      faulty_test(lock__is_free_again_after_each_call),
      faulty_test(lock__that_cannot_be_given_back_is_given_up),
      faulty_test(lock__that_is_interrupted_is_tried_again),
      faulty_test(lock__keeps_threads_apart_in_one_and_in_two),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
