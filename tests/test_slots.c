/* SPDX-License-Identifier: BSD-3-Clause */
/* Slots: memory to stage through, kept for the next copy. */
#include "core.h"

#include "internal.h"

#include <signal.h>
#include <sys/wait.h>

enum { KIB = 1 << 10, MIB = 1 << 20, KEPT = 8 };

static int slots_setup(void **state) {
  (void)state;
  faults_install();
  return 0;
}

/* Slots that are kept; none in huge pages. */
static int kept_setup(void **state) {
  slots_setup(state);
  fail_all(FAULT_mmap);
  return 0;
}

static int slots_teardown(void **state) {
  umemi_slots_drop();
  return faults_teardown(state);
}

static struct umemiSlot slot_take(size_t wanted) {
  struct umemiSlot slot = {.ptr = NULL};
  umemError error;
  assert_status(umemi_slot_take(&slot, wanted, &error), umemOK);
  assert_non_null(slot.ptr);
  assert_int_equal((uintptr_t)slot.ptr % UMEMI_PAGE, 0);
  memset(slot.ptr, 0x5A, slot.size);
  return slot;
}

static void slots_take(struct umemiSlot *slots, size_t count) {
  for (size_t i = 0; i < count; i++)
    slots[i] = slot_take(MIB);
}

static void slots_give(struct umemiSlot *slots, size_t count) {
  for (size_t i = 0; i < count; i++)
    umemi_slot_give(&slots[i]);
}

static unsigned allocations(void) {
  return faults_count(FAULT_posix_memalign);
}

/* --- take and give -------------------------------------------------------- */

static void take__gives_a_whole_slot_whatever_is_wanted(void **state) {
  (void)state;
  static size_t const wanted[] = {1, 100, 64 * KIB, MIB, 5 * MIB, SIZE_MAX};
  for (size_t i = 0; i < LENGTH(wanted); i++) {
    struct umemiSlot slot = slot_take(wanted[i]);
    assert_int_equal(slot.size, MIB);
    umemi_slot_give(&slot);
  }
  assert_int_equal(allocations(), 1);
}

static void take__gives_what_was_given_back(void **state) {
  (void)state;
  struct umemiSlot first = slot_take(MIB);
  void *ptr = first.ptr;
  umemi_slot_give(&first);
  for (int i = 0; i < 10; i++) {
    struct umemiSlot again = slot_take(1);
    assert_ptr_equal(again.ptr, ptr);
    umemi_slot_give(&again);
  }
  assert_int_equal(allocations(), 1);
}

static void take__never_gives_one_twice(void **state) {
  (void)state;
  struct umemiSlot slots[2 * KEPT];
  slots_take(slots, KEPT);
  slots_give(slots, KEPT);
  slots_take(slots, 2 * KEPT);
  for (size_t i = 0; i < 2 * KEPT; i++)
    for (size_t j = 0; j < i; j++)
      assert_ptr_not_equal(slots[i].ptr, slots[j].ptr);
  slots_give(slots, 2 * KEPT);
}

static void give__keeps_as_many_as_one_copy_takes(void **state) {
  (void)state;
  struct umemiSlot slots[KEPT + 3];
  slots_take(slots, KEPT + 3);
  assert_int_equal(allocations(), KEPT + 3);
  slots_give(slots, KEPT + 3);
  slots_take(slots, KEPT + 3);
  assert_int_equal(allocations(), KEPT + 3 + 3);
  slots_give(slots, KEPT + 3);
}

static void drop__keeps_none(void **state) {
  (void)state;
  struct umemiSlot slots[KEPT];
  slots_take(slots, KEPT);
  umemi_slots_drop(); /* none is kept */
  slots_give(slots, KEPT);
  umemi_slots_drop();
  umemi_slots_drop();
  slots_take(slots, KEPT);
  assert_int_equal(allocations(), 2 * KEPT);
  slots_give(slots, KEPT);
}

/* --- where memory is short ------------------------------------------------ */

static void take__of_one_that_is_kept_needs_no_memory(void **state) {
  (void)state;
  struct umemiSlot slot = slot_take(1);
  umemi_slot_give(&slot);
  fail_all(FAULT_posix_memalign);
  slot = slot_take(MIB);
  assert_int_equal(slot.size, MIB);
  umemi_slot_give(&slot);
}

static void take__gives_half_as_often_as_need_be(void **state) {
  (void)state;
  for (size_t nbytes = MIB; nbytes >= 64 * KIB; nbytes /= 2)
    for (size_t more = 0; more < nbytes; more += nbytes / 2 + 7) {
      faults_limit_memory(nbytes + more);
      struct umemiSlot slot = slot_take(MIB);
      assert_int_equal(slot.size, nbytes);
      umemi_slot_give(&slot);
    }
}

static void take__of_less_than_64_KiB_gives_that_at_least(void **state) {
  (void)state;
  static size_t const wanted[] = {1, 100, 4096, 64 * KIB - 1};
  for (size_t i = 0; i < LENGTH(wanted); i++) {
    struct umemiSlot slot;
    umemError error;
    faults_limit_memory(wanted[i]);
    slot = slot_take(wanted[i]);
    assert_int_equal(slot.size, wanted[i]);
    umemi_slot_give(&slot);
    faults_limit_memory(wanted[i] - 1);
    assert_status(umemi_slot_take(&slot, wanted[i], &error), umemMemoryError);
  }
}

static void take__without_64_KiB_is_a_memory_error(void **state) {
  (void)state;
  struct umemiSlot slot;
  umemError error;
  faults_limit_memory(64 * KIB - 1);
  assert_status(umemi_slot_take(&slot, 64 * KIB, &error), umemMemoryError);
  assert_status(umemi_slot_take(&slot, MIB, &error), umemMemoryError);
  assert_int_equal(error.type, umemMemoryError);
  assert_int_equal(error.sys_errno, ENOMEM);
  assert_has(error.text, "65536 bytes for staging");
}

static void give__of_less_than_a_whole_one_keeps_nothing(void **state) {
  (void)state;
  faults_limit_memory(64 * KIB);
  struct umemiSlot slot = slot_take(MIB);
  umemi_slot_give(&slot);
  faults_install();
  fail_all(FAULT_mmap);
  slot = slot_take(MIB);
  assert_int_equal(slot.size, MIB);
  assert_int_equal(allocations(), 1);
  umemi_slot_give(&slot);
}

/* --- huge pages ----------------------------------------------------------- */

enum { HUGE = 4 }; /* slots in them */

static void expect_allocations(unsigned mappings, unsigned others) {
  assert_int_equal(faults_count(FAULT_mmap), mappings);
  assert_int_equal(allocations(), others);
}

static void huge_pages__have_the_first_large_slots(void **state) {
  (void)state;
  struct umemiSlot slots[HUGE + 1];
  for (int again = 0; again < 2; again++) {
    slots_take(slots, HUGE + 1);
    expect_allocations(1, 1);
    assert_int_equal((uintptr_t)slots[0].ptr % UMEMI_HUGE_PAGE, 0);
    for (size_t i = 1; i < HUGE; i++)
      assert_ptr_equal(slots[i].ptr, (char *)slots[0].ptr + i * MIB);
    slots_give(slots, HUGE + 1);
  }
}

static void huge_pages__are_not_for_small_slots(void **state) {
  (void)state;
  struct umemiSlot slot = slot_take(MIB / 2);
  expect_allocations(0, 1);
  umemi_slot_give(&slot);
  slot = slot_take(MIB / 2 + 1);
  expect_allocations(1, 1);
  umemi_slot_give(&slot);
}

static void huge_pages__that_are_not_there_are_asked_for_again(void **state) {
  (void)state;
  faults_fail(FAULT_mmap, 1, ENOMEM);
  faults_fail(FAULT_madvise, 1, EINVAL);
  for (unsigned i = 1; i <= 3; i++) {
    struct umemiSlot slot = slot_take(MIB);
    expect_allocations(i < 2 ? 1 : 2, 1);
    umemi_slot_give(&slot);
  }
}

static void huge_pages__that_are_switched_off_are_not_asked_for(void **state) {
  (void)state;
  umemi_tuning_values.huge = 0;
  struct umemiSlot slot = slot_take(MIB);
  expect_allocations(0, 1);
  umemi_slot_give(&slot);
  umemi_tuning_values.huge = 1;
}

static void huge_pages__are_given_back_by_drop(void **state) {
  (void)state;
  struct umemiSlot slot = slot_take(MIB);
  umemi_slots_drop(); /* not while one is taken */
  memset(slot.ptr, 1, slot.size);
  umemi_slot_give(&slot);
  umemi_slots_drop();
  slot = slot_take(MIB);
  expect_allocations(2, 0);
  umemi_slot_give(&slot);
}

/* --- threads -------------------------------------------------------------- */

struct taker {
  unsigned char mark;
  size_t rounds, wrong;
  atomic_bool *stop;
};

/* Takes one or two, marks them, and finds no other mark when it gives them. */
static void take_once(struct taker *t, size_t round) {
  struct umemiSlot slots[2];
  size_t const count = 1 + round % 2;
  umemError error;
  for (size_t i = 0; i < count; i++) {
    t->wrong += umemi_slot_take(&slots[i], MIB, &error) != umemOK;
    memset(slots[i].ptr, t->mark, 2000);
  }
  for (size_t i = 0; i < count; i++) {
    t->wrong += !all_bytes_are(slots[i].ptr, 2000, t->mark);
    umemi_slot_give(&slots[i]);
  }
}

static void *take_and_give(void *argument) {
  struct taker *t = argument;
  for (size_t i = 0; i < t->rounds && !*t->stop; i++)
    take_once(t, i);
  return NULL;
}

static void takers_begin(struct taker takers[THREADS], size_t rounds,
                         atomic_bool *stop) {
  for (size_t i = 0; i < THREADS; i++)
    takers[i] = (struct taker){
        .mark = (unsigned char)(i + 1), .rounds = rounds, .stop = stop};
}

static void threads__never_have_the_same_slot(void **state) {
  (void)state;
  struct taker takers[THREADS];
  atomic_bool stop = false;
  takers_begin(takers, scaled(20000, 1000), &stop);
  in_threads(take_and_give, takers, sizeof *takers);
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(takers[i].wrong, 0);
}

/* --- fork ----------------------------------------------------------------- */

/* In the child; by SIGKILL if it went well, see test_fork.c. */
static void use_in_child(void *expected) {
  struct taker own = {.mark = 99};
  struct umemiSlot slot;
  umemError error;
  alarm(60);
  bool ok = umemi_slot_take(&slot, MIB, &error) == umemOK &&
            (!expected || slot.ptr == expected);
  memset(slot.ptr, 0x77, slot.size);
  umemi_slot_give(&slot);
  for (size_t i = 0; i < 10; i++)
    take_once(&own, i);
  umemi_slots_drop();
  raise(ok && own.wrong == 0 ? SIGKILL : SIGABRT);
}

static bool child_can_use(void *expected) {
  int status;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0)
    use_in_child(expected);
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void fork__gives_the_child_slots_of_its_own(void **state) {
  (void)state;
  struct umemiSlot slot = slot_take(MIB);
  void *ptr = slot.ptr;
  umemi_slot_give(&slot);
  assert_true(child_can_use(ptr));
  slot = slot_take(MIB);
  assert_ptr_equal(slot.ptr, ptr);
  umemi_slot_give(&slot);
}

static void fork__under_threads_that_take_and_give(void **state) {
  (void)state;
  if (UNDER_TSAN || UNDER_ASAN) {
    print_message("skipped: sanitizers cannot fork threads that allocate\n");
    skip();
  }
  struct taker takers[THREADS];
  pthread_t threads[THREADS];
  atomic_bool stop = false;
  size_t const forks = scaled(100, 10);
  size_t good = 0;
  takers_begin(takers, SIZE_MAX, &stop);
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(
        pthread_create(&threads[i], NULL, take_and_give, &takers[i]), 0);
  for (size_t i = 0; i < forks; i++)
    good += child_can_use(NULL);
  stop = true;
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  assert_int_equal(good, forks);
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(takers[i].wrong, 0);
}

#define slots_test(f)                                                          \
  cmocka_unit_test_setup_teardown(f, slots_setup, slots_teardown)

#define kept_test(f)                                                           \
  cmocka_unit_test_setup_teardown(f, kept_setup, slots_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      kept_test(take__gives_a_whole_slot_whatever_is_wanted),
      kept_test(take__gives_what_was_given_back),
      kept_test(take__never_gives_one_twice),
      kept_test(give__keeps_as_many_as_one_copy_takes),
      kept_test(drop__keeps_none),
      kept_test(take__of_one_that_is_kept_needs_no_memory),
      kept_test(take__gives_half_as_often_as_need_be),
      kept_test(take__of_less_than_64_KiB_gives_that_at_least),
      kept_test(take__without_64_KiB_is_a_memory_error),
      kept_test(give__of_less_than_a_whole_one_keeps_nothing),
      slots_test(huge_pages__have_the_first_large_slots),
      slots_test(huge_pages__are_not_for_small_slots),
      slots_test(huge_pages__that_are_not_there_are_asked_for_again),
      slots_test(huge_pages__that_are_switched_off_are_not_asked_for),
      slots_test(huge_pages__are_given_back_by_drop),
      slots_test(fork__gives_the_child_slots_of_its_own),
      slots_test(threads__never_have_the_same_slot),
      kept_test(fork__gives_the_child_slots_of_its_own),
      slots_test(fork__under_threads_that_take_and_give),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
