/* SPDX-License-Identifier: BSD-3-Clause */
/* What umem_copy_plan() tells, and that the copy is done so. */
#include "core.h"

#include "internal.h"

#include <inttypes.h>

enum { KIB = 1 << 10, MIB = 1 << 20, LARGE = 8 * MIB, SMALL = 1000 };

/* --- contexts of every kind, with LARGE + PAGE bytes each ----------------- */

enum who { HOST, CHECKED, FILE_A, FILE_B, DIRECT, BARE, VIEWS, EVERYONE };

static umemContext all[EVERYONE];
static struct fake fakes[EVERYONE];
static uintptr_t place[EVERYONE]; /* on a page */
static bool has_direct;

static void begin_fake(enum who who, struct fakeConfig config) {
  config.capacity = LARGE + 4 * UMEMI_PAGE;
  config.max_align = UMEMI_PAGE;
  assert_ok(fake_ctor(&all[who].super, &fakes[who], &config));
}

static void begin_file(enum who who, char const *name, uint32_t flags) {
  umemFileOptions options = {.size = sizeof options, .flags = flags};
  umemStatusType status =
      umemFile_ctor_ex(&all[who].file, temp_path(name), "w+", &options);
  if (flags)
    has_direct = status == umemOK;
  else
    assert_ok(status);
}

static struct umemiTuning usual;

static int plan_setup(void **state) {
  (void)state;
  usual = *umemi_tuning();
  faults_install();
  faults_fail_from(FAULT_ioctl, 1, EOPNOTSUPP); /* no file system shares */
  assert_ok(umemHost_ctor(&all[HOST].host));
  checked_host(&all[CHECKED].host);
  begin_file(FILE_A, "a", 0);
  begin_file(FILE_B, "b", 0);
  begin_file(DIRECT, "direct", UMEM_FILE_DIRECT);
  begin_fake(BARE, (struct fakeConfig){.without = FAKE_OPTIONAL});
  begin_fake(VIEWS, (struct fakeConfig){.declines = 1u << FAKE_COPY_PEER,
                                        .limits.declines = 1});
  for (enum who who = HOST; who < EVERYONE; who++)
    if (who != DIRECT || has_direct) {
      place[who] =
          umem_aligned_alloc(&all[who], UMEMI_PAGE, LARGE + (size_t)UMEMI_PAGE);
      assert_true(place[who] != 0);
    }
  umem_clean_status(&all[DIRECT]);
  assert_ok(umem_set_threads(0));
  return 0;
}

static int plan_teardown(void **state) {
  for (enum who who = HOST; who < EVERYONE; who++) {
    if (who == HOST || who == CHECKED)
      assert_ok(umem_free(&all[who], place[who]));
    assert_ok(umem_dtor(&all[who]));
  }
  fake_end(&fakes[BARE]);
  fake_end(&fakes[VIEWS]);
  assert_ok(umem_set_threads(0));
  umemi_tuning_values = usual;
  umemi_slots_drop();
  return faults_teardown(state);
}

/* --- a plan --------------------------------------------------------------- */

static umemCopyPlan plan_at(enum who src, uintptr_t from, enum who dest,
                            uintptr_t to, size_t nbytes) {
  umemCopyPlan plan = {.size = sizeof plan};
  umemStatusType status =
      umem_copy_plan(&all[src], place[src] + from, &all[dest], place[dest] + to,
                     nbytes, &plan);
  if (status != umemOK)
    fail_msg("%s", umem_get_message(&all[src]));
  assert_int_equal(plan.size, sizeof plan);
  return plan;
}

static umemCopyPlan plan_of(enum who src, enum who dest, size_t nbytes) {
  return plan_at(src, 0, dest, 0, nbytes);
}

/* What a plan should be. `chunk` 0 is all of it. */
struct expected {
  umemCopyRung rung;
  char const *method;
  uint32_t threads;
  size_t chunk, staging;
};

#define assert_plan(plan, nbytes, ...)                                         \
  check_plan((plan), (nbytes), (struct expected){__VA_ARGS__}, __LINE__)

static void check_plan(umemCopyPlan plan, size_t nbytes,
                       struct expected expected, int line) {
  if (expected.chunk == 0)
    expected.chunk = nbytes;
  if (plan.rung == expected.rung && plan.threads == expected.threads &&
      plan.chunk == expected.chunk && plan.staging == expected.staging &&
      strcmp(plan.method, expected.method) == 0 && plan.reason[0])
    return;
  print_error("%zu bytes: rung %d, %s, %u threads, chunk %zu, staging %zu: %s"
              "\n  not rung %d, %s, %u threads, chunk %zu, staging %zu\n",
              nbytes, (int)plan.rung, plan.method, plan.threads, plan.chunk,
              plan.staging, plan.reason, (int)expected.rung, expected.method,
              expected.threads, expected.chunk, expected.staging);
  _fail(__FILE__, line);
}

/* Threads for a large copy in which lanes work, with one helper allowed. */
static uint32_t working_pair(void) {
  return umemi_cpus() > 1 ? 2 : 1;
}

/* The chunk of a large copy by so many threads. */
static size_t chunk_by(uint32_t threads, size_t nbytes, size_t most) {
  size_t share = (nbytes / 2 / threads + UMEMI_PAGE) & ~(size_t)4095;
  return threads == 1 || share > most ? most : share;
}

/* --- within hosts --------------------------------------------------------- */

static void plan__between_hosts_is_direct(void **state) {
  (void)state;
  enum who const hosts[] = {HOST, CHECKED};
  for (size_t i = 0; i < 4; i++) {
    enum who a = hosts[i / 2], b = i % 2 ? CHECKED : HOST;
    uintptr_t apart = a == b ? LARGE / 2 : 0;
    assert_plan(plan_at(a, apart, b, 0, SMALL), SMALL, umemDirectRung,
                "memmove", 1, 0, 0);
    assert_plan(plan_at(a, apart, b, 0, 100 * KIB), 100 * KIB, umemDirectRung,
                "loop", 1, 0, 0);
  }
}

static void plan__of_a_large_copy_between_hosts_has_helpers(void **state) {
  (void)state;
  assert_plan(plan_of(HOST, CHECKED, LARGE), LARGE, umemDirectRung, "loop", 1,
              0, 0);
  assert_ok(umem_set_threads(1));
  assert_plan(plan_of(HOST, CHECKED, 5 * MIB), 5 * MIB, umemDirectRung, "loop",
              1, 0, 0);
  assert_plan(plan_of(HOST, CHECKED, LARGE), LARGE, umemDirectRung, "loop",
              working_pair(), working_pair() > 1 ? MIB : 0, 0);
}

static void plan__past_the_caches_is_a_stream(void **state) {
  (void)state;
  umemi_tuning_values.stream_from = LARGE;
  umemi_tuning_values.stream_shared_from = LARGE - 1;
  assert_plan(plan_of(HOST, CHECKED, LARGE), LARGE, umemDirectRung, "stream", 1,
              0, 0);
  assert_plan(plan_of(HOST, CHECKED, LARGE - 1), LARGE - 1, umemDirectRung,
              "loop", 1, 0, 0);
  assert_ok(umem_set_threads(1));
  assert_string_equal(plan_of(HOST, CHECKED, LARGE - 1).method,
                      working_pair() > 1 ? "stream" : "loop");
}

static void plan__of_overlapping_host_memory_is_memmove(void **state) {
  (void)state;
  assert_ok(umem_set_threads(1));
  for (uintptr_t by = 0; by < 5000; by += 4097) {
    assert_plan(plan_at(HOST, 0, HOST, by, LARGE), LARGE, umemDirectRung,
                "memmove", 1, 0, 0);
    assert_plan(plan_at(CHECKED, by, CHECKED, 0, LARGE), LARGE, umemDirectRung,
                "memmove", 1, 0, 0);
  }
}

/* --- hosts and files ------------------------------------------------------ */

static void plan__of_host_to_file_is_writes_from_where_it_is(void **state) {
  (void)state;
  for (unsigned threads = 0; threads < 2; threads++) {
    assert_ok(umem_set_threads(threads));
    for (size_t n = SMALL; n <= LARGE; n += LARGE - SMALL) {
      assert_plan(plan_of(HOST, FILE_A, n), n, umemSourceViewRung, "pwrite", 1,
                  0, 0);
      assert_plan(plan_at(CHECKED, 7, FILE_A, 1, n), n, umemSourceViewRung,
                  "pwrite", 1, 0, 0);
    }
  }
}

static void plan__of_file_to_host_is_reads_to_where_it_goes(void **state) {
  (void)state;
  size_t const piece = umemi_tuning()->read_piece;
  assert_plan(plan_of(FILE_A, HOST, SMALL), SMALL, umemDestViewRung, "pread", 1,
              0, 0);
  assert_plan(plan_of(FILE_A, HOST, LARGE), LARGE, umemDestViewRung, "pread", 1,
              0, 0);
  assert_ok(umem_set_threads(1));
  assert_plan(plan_of(FILE_A, CHECKED, SMALL), SMALL, umemDestViewRung, "pread",
              1, 0, 0);
  uint32_t const two = working_pair();
  assert_plan(plan_of(FILE_A, CHECKED, LARGE), LARGE, umemDestViewRung, "pread",
              two, two > 1 ? chunk_by(two, LARGE, piece) : 0, 0);
}

/* A slot less the page by which its bytes may be shifted, in each 64 KiB. */
static size_t shifted_slot(void) {
  return umemi_tuning()->slot / (64 * KIB) * (60 * KIB);
}

static void plan__of_file_to_memory_that_lies_badly_has_slots(void **state) {
  (void)state;
  size_t const slot = umemi_tuning()->slot;
  assert_plan(plan_at(FILE_A, 0, HOST, 8, LARGE), LARGE, umemDestViewRung,
              "pread + loop", 1, shifted_slot(), slot);
  assert_plan(plan_at(FILE_A, 16, HOST, 16, LARGE), LARGE, umemDestViewRung,
              "pread", 1, 0, 0);
  assert_plan(plan_at(FILE_A, 0, HOST, 8, SMALL), SMALL, umemDestViewRung,
              "pread", 1, 0, 0);
  assert_ok(umem_set_threads(1));
  uint32_t const two = working_pair();
  assert_plan(plan_at(FILE_A, 0, HOST, 8, LARGE), LARGE, umemDestViewRung,
              "pread + loop", two, shifted_slot(), two * slot);
}

/* Its lanes wait for the disk: they need no CPUs of their own. */
static void plan__of_a_direct_file_has_lanes_on_one_CPU(void **state) {
  (void)state;
  if (!has_direct)
    skip();
  umemi_tuning_values.direct_piece = 2 * MIB;
  for (unsigned threads = 1; threads < 5; threads++) {
    size_t const chunk = chunk_by(threads, LARGE, 2 * MIB);
    assert_ok(umem_set_threads(threads - 1));
    assert_plan(plan_of(HOST, DIRECT, LARGE), LARGE, umemSourceViewRung,
                "pwrite", threads, chunk, 0);
    assert_plan(plan_of(DIRECT, HOST, LARGE), LARGE, umemDestViewRung, "pread",
                threads, chunk, 0);
    assert_plan(plan_of(HOST, DIRECT, SMALL), SMALL, umemSourceViewRung,
                "pwrite", 1, 0, 0);
  }
}

static void
plan__counts_the_slots_that_a_direct_file_bounces_through(void **state) {
  (void)state;
  if (!has_direct)
    skip();
  size_t const slot = umemi_tuning()->slot;
  assert_plan(plan_at(DIRECT, 0, HOST, 8, LARGE), LARGE, umemDestViewRung,
              "pread + loop", 1, shifted_slot(), slot);
  assert_plan(plan_at(HOST, 8, DIRECT, 0, LARGE), LARGE, umemSourceViewRung,
              "pwrite + loop", 1, shifted_slot(), slot);
}

/* --- files ---------------------------------------------------------------- */

/* With sharing that was tried and turned down. */
static void learn_that_files_share_nothing(void) {
  assert_ok(umem_copy_to(&all[FILE_A], place[FILE_A], &all[FILE_B],
                         place[FILE_B], LARGE));
  assert_ok(umem_copy_to(&all[FILE_B], place[FILE_B], &all[FILE_A],
                         place[FILE_A], LARGE));
  if (has_direct)
    assert_ok(umem_copy_to(&all[FILE_A], place[FILE_A], &all[DIRECT],
                           place[DIRECT], LARGE));
}

static void plan__between_files_is_sharing_until_that_is_refused(void **state) {
  (void)state;
  size_t const slot = umemi_tuning()->slot;
  assert_plan(plan_of(FILE_A, FILE_B, LARGE), LARGE, umemDirectRung, "reflink",
              1, 0, 0);
  learn_that_files_share_nothing();
  assert_plan(plan_of(FILE_A, FILE_B, LARGE), LARGE, umemStagedRung,
              "pread + pwrite", 1, slot, slot);
  assert_plan(plan_of(FILE_A, FILE_B, SMALL), SMALL, umemStagedRung,
              "pread + pwrite", 1, 0, slot);
}

static void plan__of_a_small_copy_between_files_is_staged(void **state) {
  (void)state;
  size_t const slot = umemi_tuning()->slot;
  assert_plan(plan_of(FILE_A, FILE_B, SMALL), SMALL, umemStagedRung,
              "pread + pwrite", 1, 0, slot);
}

static void plan__between_files_with_help(void **state) {
  (void)state;
  size_t const slot = umemi_tuning()->slot;
  learn_that_files_share_nothing();
  assert_ok(umem_set_threads(1));
  uint32_t const two = working_pair();
  assert_plan(plan_of(FILE_A, FILE_B, LARGE), LARGE, umemStagedRung,
              "pread + pwrite", two, slot, two * slot);
  assert_plan(plan_of(FILE_A, FILE_B, 3 * MIB), 3 * MIB, umemStagedRung,
              "pread + pwrite", 1, slot, slot);
  if (has_direct)
    assert_plan(plan_of(FILE_A, DIRECT, LARGE), LARGE, umemStagedRung,
                "pread + pwrite", 2, slot, 2 * slot);
}

static void plan__of_overlap_in_a_file_is_staged_by_one(void **state) {
  (void)state;
  size_t const slot = umemi_tuning()->slot;
  learn_that_files_share_nothing();
  assert_ok(umem_set_threads(1));
  umemCopyPlan plan = plan_at(FILE_A, 0, FILE_A, 1, LARGE);
  assert_plan(plan, LARGE, umemStagedRung, "pread + pwrite", 1, slot, slot);
  assert_has(plan.reason, "overlap");
}

/* --- fakes ---------------------------------------------------------------- */

static void plan__uses_a_view_of_the_source_before_one_of_the_other(void **st) {
  (void)st;
  size_t const slot = umemi_tuning()->slot;
  for (size_t n = SMALL; n <= LARGE; n += LARGE - SMALL) {
    assert_plan(plan_of(VIEWS, FILE_A, n), n, umemSourceViewRung, "pwrite", 1,
                0, 0);
    assert_plan(plan_of(FILE_A, VIEWS, n), n, umemDestViewRung, "pread", 1, 0,
                0);
    assert_plan(plan_of(VIEWS, HOST, n), n, umemSourceViewRung,
                n == SMALL ? "memmove" : "loop", 1, 0, 0);
    assert_plan(plan_of(HOST, VIEWS, n), n, umemSourceViewRung, "write", 1, 0,
                0);
    assert_plan(plan_of(BARE, HOST, n), n, umemDestViewRung, "read", 1, 0, 0);
    assert_plan(plan_of(HOST, BARE, n), n, umemSourceViewRung, "write", 1, 0,
                0);
    assert_plan(plan_of(BARE, VIEWS, n), n, umemDestViewRung, "read", 1, 0, 0);
    assert_plan(plan_of(VIEWS, BARE, n), n, umemSourceViewRung, "write", 1, 0,
                0);
    size_t const chunk = n < slot ? n : slot;
    assert_plan(plan_of(BARE, FILE_A, n), n, umemStagedRung, "read + pwrite", 1,
                chunk, slot);
    assert_plan(plan_of(FILE_A, BARE, n), n, umemStagedRung, "pread + write", 1,
                chunk, slot);
  }
}

static void plan__follows_the_limits_of_a_device(void **state) {
  (void)state;
  umemVirtual ctx;
  struct fake device;
  size_t const slot = umemi_tuning()->slot;
  umemCopyPlan plan = {.size = sizeof plan};
  struct umemLimits limits = {
      .chunk = 300000, .lanes = 3, .waits = 1, .method = "wand"};
  assert_ok(
      fake_ctor(&ctx, &device,
                &(struct fakeConfig){.without = FAKE_VIEWS, .limits = limits}));
  uintptr_t adr = FAKE_BASE;
  assert_ok(umem_set_threads(9));
  assert_ok(umem_copy_plan(&all[HOST], place[HOST], &ctx, adr, LARGE, &plan));
  assert_plan(plan, LARGE, umemSourceViewRung, "wand", 3, 300000, 0);
  assert_ok(umem_copy_plan(&ctx, adr, &all[FILE_A], 0, LARGE, &plan));
  assert_plan(plan, LARGE, umemStagedRung, "wand + pwrite", 4,
              chunk_by(4, LARGE, 300000), 4 * slot);
  assert_ok(umem_copy_plan(&ctx, adr, &ctx, adr + LARGE, LARGE, &plan));
  assert_plan(plan, LARGE, umemDirectRung, "wand", 3, 300000, 0);
  assert_ok(umem_dtor(&ctx));
  fake_end(&device);
}

/* Eight threads at one device, and the slots of four through another. */
static void plan__bounds_what_a_device_asks_for(void **state) {
  (void)state;
  struct fakeOne one;
  size_t const slot = umemi_tuning()->slot;
  umemCopyPlan plan = {.size = sizeof plan};
  uintptr_t adr = FAKE_BASE;
  fake_one_begin(&one,
                 &(struct fakeConfig){.without = FAKE_VIEWS,
                                      .limits = {.lanes = 99, .waits = 1}});
  assert_ok(umem_set_threads(20));
  assert_ok(
      umem_copy_plan(&all[HOST], place[HOST], &one.ctx, adr, LARGE, &plan));
  assert_int_equal(plan.threads, 8);
  assert_ok(umem_copy_plan(&one.ctx, adr, &all[FILE_A], 0, LARGE, &plan));
  assert_int_equal(plan.threads, 4);
  assert_true(plan.staging == 4 * slot);
  fake_one_end(&one);
}

/* It is the destination that is asked; copy_peer() itself is not tried. */
static void plan__asks_a_kind_whether_it_declines_its_own(void **state) {
  (void)state;
  struct fakeOne yes, no;
  umemCopyPlan plan = {.size = sizeof plan};
  uintptr_t adr = FAKE_BASE;
  fake_one_begin(&yes, NULL);
  fake_one_begin(&no, &(struct fakeConfig){.limits.declines = 1});
  assert_ok(umem_copy_plan(&no.ctx, adr, &yes.ctx, adr, 100, &plan));
  assert_plan(plan, 100, umemDirectRung, "copy_peer", 1, 0, 0);
  assert_log(&yes.device, "check check");
  assert_log(&no.device, "check check");
  assert_ok(umem_copy_plan(&yes.ctx, adr, &no.ctx, adr, 100, &plan));
  assert_plan(plan, 100, umemSourceViewRung, "write", 1, 0, 0);
  assert_ok(umem_copy_to(&yes.ctx, adr, &no.ctx, adr, 100));
  assert_int_equal(yes.device.calls[FAKE_COPY_PEER], 0);
  fake_one_end(&no);
  fake_one_end(&yes);
}

/* What is not said beforehand is tried, and the next way taken. */
static void plan__of_a_kind_that_declines_unexpectedly_is_direct(void **state) {
  (void)state;
  struct fakeOne one;
  umemCopyPlan plan = {.size = sizeof plan};
  uintptr_t adr = FAKE_BASE;
  fake_one_begin(&one, &(struct fakeConfig){.declines = 1u << FAKE_COPY_PEER});
  assert_ok(umem_copy_plan(&one.ctx, adr, &one.ctx, adr + 100, 100, &plan));
  assert_plan(plan, 100, umemDirectRung, "copy_peer", 1, 0, 0);
  fake_forget(&one.device);
  assert_ok(umem_copy_to(&one.ctx, adr, &one.ctx, adr + 100, 100));
  assert_has(fake_log(&one.device), "copy_peer view_begin write view_end");
  fake_one_end(&one);
}

/* --- the call itself ------------------------------------------------------ */

static void plan__of_no_bytes_has_no_rung(void **state) {
  (void)state;
  for (enum who a = HOST; a < EVERYONE; a++)
    for (enum who b = HOST; b < EVERYONE; b++)
      if (has_direct || (a != DIRECT && b != DIRECT)) {
        umemCopyPlan plan = plan_of(a, b, 0);
        assert_int_equal(plan.rung, umemNoRung);
        assert_int_equal(plan.threads, 0);
        assert_int_equal(plan.chunk, 0);
        assert_int_equal(plan.staging, 0);
        assert_string_equal(plan.method, "");
        assert_has(plan.reason, "no byte");
      }
}

static void plan__moves_nothing(void **state) {
  (void)state;
  for (enum who a = HOST; a < EVERYONE; a++)
    for (enum who b = HOST; b < EVERYONE; b++)
      if (has_direct || (a != DIRECT && b != DIRECT)) {
        faults_clear();
        fake_forget(&fakes[VIEWS]);
        errno = 66;
        plan_of(a, b, LARGE);
        assert_int_equal(errno, 66);
        assert_string_equal(faults_trace(), "");
        assert_int_equal(faults_largest_allocation(), 0);
        assert_null(strstr(fake_log(&fakes[VIEWS]), "view"));
        assert_int_equal(fakes[VIEWS].calls[FAKE_READ], 0);
        assert_int_equal(fakes[VIEWS].calls[FAKE_WRITE], 0);
        assert_int_equal(fakes[BARE].calls[FAKE_READ], 0);
      }
}

/* A struct as someone compiled it who knew `size` bytes of it. */
union sized {
  umemCopyPlan plan;
  unsigned char bytes[sizeof(umemCopyPlan) + 64];
};

static umemStatusType plan_sized(union sized *sized, size_t size) {
  memset(sized, 0xC3, sizeof *sized);
  sized->plan.size = size;
  return umem_copy_plan(&all[HOST], place[HOST], &all[CHECKED], place[CHECKED],
                        SMALL, &sized->plan);
}

static void size__is_as_much_as_is_written(void **state) {
  (void)state;
  union sized sized;
  umemCopyPlan whole = plan_of(HOST, CHECKED, SMALL);
  for (size_t size = sizeof(size_t); size <= sizeof sized; size++) {
    size_t written = size < sizeof whole ? size : sizeof whole;
    assert_ok(plan_sized(&sized, size));
    umemCopyPlan cut = whole;
    cut.size = size;
    if (size > offsetof(umemCopyPlan, method)) /* a text that is cut ends */
      ((char *)&cut)[written - 1] = '\0';
    assert_memory_equal(&sized, &cut, written);
    assert_true(
        all_bytes_are(sized.bytes + written, sizeof sized - written, 0xC3));
  }
  assert_ok(plan_sized(&sized, SIZE_MAX));
}

static void size__that_no_struct_has_is_a_value_error(void **state) {
  (void)state;
  for (size_t size = 0; size < sizeof(size_t); size++) {
    union sized sized;
    assert_fails(&all[HOST], plan_sized(&sized, size), umemValueError,
                 "set it to the struct's sizeof");
    assert_slot(&all[CHECKED], umemValueError, "umem_copy_plan(source Host");
    assert_true(all_bytes_are(sized.bytes + sizeof(size_t),
                              sizeof sized - sizeof(size_t), 0xC3));
  }
  assert_fails(&all[HOST],
               umem_copy_plan(&all[HOST], place[HOST], &all[HOST], place[HOST],
                              SMALL, NULL),
               umemValueError, "plan_out is NULL");
}

/* The copy and its plan fail alike: the same status, the same message but for
   the name of the call. */
static void check_alike(void const *src, uintptr_t src_adr, void const *dest,
                        uintptr_t dest_adr, size_t nbytes) {
  umemCopyPlan plan = {.size = sizeof plan, .threads = 77};
  void const *told = src ? src : dest;
  char message[1024];
  umemStatusType status = umem_copy_to(src, src_adr, dest, dest_adr, nbytes);
  assert_true(status != umemOK);
  snprintf(message, sizeof message, "%s", umem_get_message(told));
  umem_clean_status(src);
  umem_clean_status(dest);
  assert_status(umem_copy_plan(src, src_adr, dest, dest_adr, nbytes, &plan),
                status);
  if (message[0])
    assert_string_equal(umem_get_message(told) + strlen("umem_copy_plan"),
                        message + strlen("umem_copy_to"));
  assert_int_equal(plan.threads, 77);
  assert_int_equal(last_error(told).bytes_done, 0);
  umem_clean_status(src);
  umem_clean_status(dest);
}

static void errors__are_those_of_the_copy(void **state) {
  (void)state;
  umemHost dead;
  umemFile only_read;
  char byte;
  uintptr_t here = (uintptr_t)&byte;
  void const *host = &all[HOST], *file = &all[FILE_A];
  assert_ok(umemHost_ctor(&dead));
  assert_ok(umem_dtor(&dead));
  assert_ok(umemFile_ctor(&only_read, temp_path("b"), "r"));
  check_alike(host, here, NULL, here, 1);
  check_alike(NULL, here, host, here, 1);
  check_alike(host, here, &dead, here, 1);
  check_alike(&dead, here, host, here, 0);
  check_alike(host, 0, host, here, 1);
  check_alike(host, here, host, 0, 1);
  check_alike(host, UINTPTR_MAX - 3, host, here, 8);
  check_alike(host, here, host, here, SIZE_MAX);
  check_alike(host, here, &only_read, 0, 1);
  check_alike(host, here, &only_read, 0, 0);
  check_alike(file, (uintptr_t)INT64_MAX, host, here, 1);
  check_alike(&all[BARE], 5, host, here, SIZE_MAX);
  check_alike(&all[VIEWS], 5, host, here, 1);
  check_alike(file, 0, &all[VIEWS], UINTPTR_MAX, 1);
  assert_ok(umem_dtor(&only_read));
}

/* --- what is done is what was planned: in a process that tells ------------ */

/* One copy in all its spellings. */
static umemStatusType copy_as(unsigned form, void const *src, uintptr_t from,
                              void const *dest, uintptr_t to, size_t n) {
  switch (form % 8) {
  case 0:
    return umem_copy_to(src, from, dest, to, n);
  case 1:
    return umem_copy_from(dest, to, src, from, n);
  case 2:
    return umem_sync_to(src, from, dest, to, n);
  case 3:
    return umem_sync_from(dest, to, src, from, n);
  case 4:
    return umem_copy_to_safe(src, from, n, dest, to, n, n);
  case 5:
    return umem_copy_from_safe(dest, to, n, src, from, n, n);
  case 6:
    return umem_sync_to_safe(src, from, n, dest, to, n, n);
  default:
    return umem_sync_from_safe(dest, to, n, src, from, n, n);
  }
}

/* Prints what the library should print, then lets it. */
static void plan_and_copy(enum who a, uintptr_t from, enum who b, uintptr_t to,
                          size_t n, unsigned form) {
  umemCopyPlan plan = plan_at(a, from, b, to, n);
  char const *reason = strstr(plan.reason, ": ");
  assert_non_null(reason);
  printf("umem: copy of %zu bytes, %s 0x%" PRIxPTR " to %s 0x%" PRIxPTR
         ": %.*s, %s, %u thread%s, chunks of %zu, staging %zu%s\n",
         n, umem_get_device_name(&all[a]), place[a] + from,
         umem_get_device_name(&all[b]), place[b] + to,
         (int)(reason - plan.reason), plan.reason, plan.method, plan.threads,
         plan.threads > 1 ? "s" : "", plan.chunk, plan.staging, reason);
  fflush(stdout);
  assert_ok(copy_as(form, &all[a], place[a] + from, &all[b], place[b] + to, n));
}

static int role_log(void) {
  unsigned form = 0;
  assert_int_equal(temp_setup(NULL), 0);
  plan_setup(NULL);
  fprintf(stderr, "begin\n");
  learn_that_files_share_nothing();
  fprintf(stderr, "learnt\n");
  for (unsigned threads = (unsigned)scaled(0, 1); threads < 3; threads += 2) {
    assert_ok(umem_set_threads(threads));
    for (enum who a = HOST; a < EVERYONE; a++)
      for (enum who b = HOST; b < EVERYONE; b++)
        if (has_direct || (a != DIRECT && b != DIRECT)) {
          plan_and_copy(a, 0, b, 128, SMALL, form++);
          plan_and_copy(a, 16, b, 0, LARGE - 3, form++);
        }
  }
  umem_copy_to(&all[HOST], place[HOST], &all[BARE], place[BARE], 0);
  umem_copy_to(&all[HOST], 0, &all[BARE], place[BARE], 5);
  umem_sync_to(&all[HOST], place[HOST], &all[HOST], place[HOST], 5);
  umem_try_set(&all[BARE], place[BARE], 1, LARGE);
  umem_clean_status(&all[HOST]);
  umem_clean_status(&all[BARE]);
  fprintf(stderr, "end\n");
  plan_teardown(&(void *){NULL});
  return temp_teardown(NULL);
}

/* What `role_log` tells: free() it. */
static char *log_with(char const *setting) {
  size_t const size = 1 << 20;
  char *told = malloc(size);
  assert_non_null(told);
  int result = run_again("log", setting, told, size);
  if (result != 0)
    fail_msg("%d: %s", result, told);
  return told;
}

static void log__tells_of_each_copy_what_was_planned(void **state) {
  (void)state;
  char *told = log_with("UMEM_LOG=copy");
  char *rest = strstr(told, "learnt\n"), *planned, *done;
  unsigned count = 0;
  assert_non_null(rest);
  for (strtok_r(rest, "\n", &rest);; count++) {
    planned = strtok_r(NULL, "\n", &rest);
    assert_non_null(planned);
    if (strcmp(planned, "end") == 0)
      break;
    done = strtok_r(NULL, "\n", &rest);
    assert_non_null(done);
    assert_string_equal(done, planned);
    assert_has(done, "umem: copy of ");
  }
  assert_in_range(count, 2 * scaled(2, 1) * 36, 2 * scaled(2, 1) * 49);
  assert_null(strtok_r(NULL, "\n", &rest));
  free(told);
}

/* The lines of the plans are there, and no others. */
static void log__is_silent_unless_it_is_asked_for(void **state) {
  (void)state;
  static char const *const settings[] = {NULL, "UMEM_LOG=", "UMEM_LOG=1",
                                         "UMEM_LOG=copyx", "UMEM_LOG=cop"};
  for (size_t i = 0; i < LENGTH(settings); i += scaled(1, 3)) {
    char *told = log_with(settings[i]);
    size_t lines = 0;
    assert_has(told, "begin\nlearnt\n");
    for (char *at = strstr(told, "umem:"); at; at = strstr(at + 1, "umem:"))
      lines++;
    assert_in_range(lines, 2 * scaled(2, 1) * 36, 2 * scaled(2, 1) * 49);
    free(told);
  }
}

#define plan_test(f)                                                           \
  cmocka_unit_test_setup_teardown(f, plan_setup, plan_teardown)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      plan_test(plan__between_hosts_is_direct),
      plan_test(plan__of_a_large_copy_between_hosts_has_helpers),
      plan_test(plan__past_the_caches_is_a_stream),
      plan_test(plan__of_overlapping_host_memory_is_memmove),
      plan_test(plan__of_host_to_file_is_writes_from_where_it_is),
      plan_test(plan__of_file_to_host_is_reads_to_where_it_goes),
      plan_test(plan__of_file_to_memory_that_lies_badly_has_slots),
      plan_test(plan__of_a_direct_file_has_lanes_on_one_CPU),
      plan_test(plan__counts_the_slots_that_a_direct_file_bounces_through),
      plan_test(plan__between_files_is_sharing_until_that_is_refused),
      plan_test(plan__of_a_small_copy_between_files_is_staged),
      plan_test(plan__between_files_with_help),
      plan_test(plan__of_overlap_in_a_file_is_staged_by_one),
      plan_test(plan__uses_a_view_of_the_source_before_one_of_the_other),
      plan_test(plan__follows_the_limits_of_a_device),
      plan_test(plan__bounds_what_a_device_asks_for),
      plan_test(plan__asks_a_kind_whether_it_declines_its_own),
      plan_test(plan__of_a_kind_that_declines_unexpectedly_is_direct),
      plan_test(plan__of_no_bytes_has_no_rung),
      plan_test(plan__moves_nothing),
      plan_test(size__is_as_much_as_is_written),
      plan_test(size__that_no_struct_has_is_a_value_error),
      plan_test(errors__are_those_of_the_copy),
      cmocka_unit_test(log__tells_of_each_copy_what_was_planned),
      cmocka_unit_test(log__is_silent_unless_it_is_asked_for),
  };
  if (argc > 1 && strcmp(argv[1], "log") == 0)
    return role_log();
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
