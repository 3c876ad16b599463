/* SPDX-License-Identifier: BSD-3-Clause */
/* The live blocks of a context. Their addresses are made up: nothing here
   reads or writes a block. */
#include "core.h"

#include "internal.h"

static umemHost host;

static struct umemiContext *context(void) {
  return umemi_context(&host);
}

static int registry_setup(void **state) {
  (void)state;
  checked_host(&host);
  return 0;
}

static int registry_teardown(void **state) {
  struct umemiBlock block;
  while (umemi_registry_pop(context(), &block))
    continue;
  assert_ok(umem_dtor(&host));
  return faults_teardown(state);
}

static umemStatusType add(uintptr_t adr, size_t nbytes, umemError *error) {
  struct umemiBlock block = {adr, nbytes, adr - 1, nbytes + 2};
  return umemi_registry_add(context(), &block, error);
}

static void add_ok(uintptr_t adr, size_t nbytes) {
  umemError error;
  assert_ok(add(adr, nbytes, &error));
}

static void expect_block(struct umemiBlock const *block, uintptr_t adr,
                         size_t nbytes) {
  assert_int_equal(block->adr, adr);
  assert_int_equal(block->nbytes, nbytes);
  assert_int_equal(block->origin, adr - 1);
  assert_int_equal(block->reserved, nbytes + 2);
}

static void block__is_found_at_its_address_only(void **state) {
  (void)state;
  umemError error;
  struct umemiBlock block = {.nbytes = 7};
  add_ok(1000, 16);
  assert_ok(umemi_registry_get(context(), 1000, &block, &error));
  expect_block(&block, 1000, 16);
  static struct {
    uintptr_t adr;
    char const *why;
  } const wrong[] = {{999, "is not a live block of this context"},
                     {1001, "0x3e9 lies inside the block of 16 bytes at 0x3e8"},
                     {1015, "0x3f7 lies inside the block of 16 bytes"},
                     {1016, "0x3f8 is not a live block of this context"},
                     {0, "is not a live block"},
                     {UINTPTR_MAX, "is not a live block"}};
  for (size_t i = 0; i < LENGTH(wrong); i++) {
    struct umemiBlock untouched = {.nbytes = 7};
    assert_status(
        umemi_registry_get(context(), wrong[i].adr, &untouched, &error),
        umemValueError);
    assert_has(error.text, wrong[i].why);
    assert_status(
        umemi_registry_take(context(), wrong[i].adr, &untouched, &error),
        umemValueError);
    assert_has(error.text, wrong[i].why);
    assert_int_equal(untouched.nbytes, 7);
  }
  assert_ok(umemi_registry_get(context(), 1000, &block, &error));
}

static void block__is_taken_once(void **state) {
  (void)state;
  umemError error;
  struct umemiBlock block;
  add_ok(1000, 16);
  add_ok(2000, 16);
  assert_ok(umemi_registry_take(context(), 1000, &block, &error));
  expect_block(&block, 1000, 16);
  assert_status(umemi_registry_take(context(), 1000, &block, &error),
                umemValueError);
  assert_has(error.text, "freed already, or from elsewhere");
  add_ok(1000, 8); /* the address may come again */
  assert_ok(umemi_registry_take(context(), 1000, &block, &error));
  expect_block(&block, 1000, 8);
  assert_ok(umemi_registry_take(context(), 2000, &block, &error));
  assert_false(umemi_registry_pop(context(), &block));
}

static void blocks__may_touch_but_not_overlap(void **state) {
  (void)state;
  umemError error;
  add_ok(1000, 16);
  add_ok(1016, 16);
  add_ok(984, 16);
  uintptr_t const used[] = {1000, 1001, 1015, 1031, 984};
  for (size_t i = 0; i < LENGTH(used); i++) {
    assert_status(add(used[i], 1, &error), umemRuntimeError);
    assert_has(error.text, "which is in use already");
  }
  assert_status(add(983, 2, &error), umemRuntimeError);
  assert_status(add(500, 5000, &error), umemRuntimeError);
  add_ok(983, 1);
}

static void blocks__of_no_bytes_have_an_address_to_themselves(void **state) {
  (void)state;
  umemError error;
  struct umemiBlock block;
  add_ok(1000, 0);
  add_ok(1001, 0);
  assert_status(add(1000, 0, &error), umemRuntimeError);
  assert_ok(umemi_registry_take(context(), 1000, &block, &error));
  expect_block(&block, 1000, 0);
  assert_ok(umemi_registry_take(context(), 1001, &block, &error));
}

static void blocks__at_the_ends_of_the_address_space(void **state) {
  (void)state;
  umemError error;
  struct umemiBlock block;
  add_ok(0, 1);
  add_ok(UINTPTR_MAX - 15, 15);
  assert_ok(umemi_registry_get(context(), UINTPTR_MAX - 15, &block, &error));
  assert_status(umemi_registry_get(context(), UINTPTR_MAX - 1, &block, &error),
                umemValueError);
  assert_has(error.text, "lies inside");
  assert_status(umemi_registry_get(context(), UINTPTR_MAX, &block, &error),
                umemValueError);
  assert_ok(umemi_registry_take(context(), 0, &block, &error));
}

static void add__without_memory_registers_nothing(void **state) {
  (void)state;
  umemError error;
  struct umemiBlock block;
  faults_install();
  faults_fail(FAULT_malloc, 1, ENOMEM);
  assert_status(add(1000, 16, &error), umemMemoryError);
  assert_has(error.text, "ENOMEM (12)");
  assert_has(error.text, "the registry of blocks");
  assert_int_equal(error.sys_errno, ENOMEM);
  assert_false(umemi_registry_pop(context(), &block));
  add_ok(1000, 16); /* retry works */
}

static void pop__hands_out_each_block_once(void **state) {
  (void)state;
  struct umemiBlock block;
  bool seen[10] = {false};
  for (size_t i = 0; i < LENGTH(seen); i++)
    add_ok(1000 + 100 * i, i);
  while (umemi_registry_pop(context(), &block)) {
    size_t i = (block.adr - 1000) / 100;
    assert_true(i < LENGTH(seen) && !seen[i]);
    expect_block(&block, 1000 + 100 * i, i);
    seen[i] = true;
  }
  assert_true(all_bytes_are(seen, sizeof seen, true));
}

/* --- ranges -------------------------------------------------------------- */

static umemStatusType check(struct umemiRange const *range, umemError *error) {
  umemStatusType status =
      umemi_check_address(context(), range, umemWrite, error);
  return status == umemOK
             ? umemi_check_range(context(), range, umemWrite, error)
             : status;
}

static void check_range__bounds_by_size_wrap_and_block(void **state) {
  (void)state;
  uintptr_t const top = UINTPTR_MAX;
  add_ok(1000, 16);
  add_ok(1016, 16);
  add_ok(2000, 0);
  struct {
    struct umemiRange range;
    umemStatusType expected;
    char const *why;
  } const cases[] = {
      {{1000, 16, 16, true}, umemOK, ""},
      {{1000, 100, 16, true}, umemOK, ""}, /* nbytes count, not the size */
      {{1004, 12, 12, true}, umemOK, ""},
      {{1015, 1, 1, true}, umemOK, ""},
      {{1000, 17, 17, true}, umemIndexError, "17 bytes at 0x3e8 leave the"},
      {{1004, 13, 13, true}, umemIndexError, "leave the block of 16 bytes"},
      {{1015, 2, 2, true}, umemIndexError, "leave"}, /* into the next one */
      {{999, 2, 2, true}, umemIndexError, "leave"},
      {{900, 500, 500, true}, umemIndexError, "leave"},
      {{2000, 1, 1, true}, umemIndexError, "block of 0 bytes"},
      {{2000, 0, 0, true}, umemOK, ""},
      {{3000, 64, 64, true}, umemOK, ""}, /* not in the registry */
      {{1000, 15, 16, true}, umemIndexError, "16 bytes exceed the size of 15"},
      {{1000, 17, 17, false}, umemOK, ""}, /* plain calls are not bounded */
      {{0, 0, 0, true}, umemOK, ""},
      {{0, 1, 1, true}, umemValueError, "the address is NULL"},
      {{0, 0, 1, true}, umemValueError, "the address is NULL"},
      {{top, 1, 1, false}, umemIndexError, "nbytes 1 wraps"},
      {{top - 1, 1, 1, false}, umemOK, ""},
      {{top - 1, 2, 2, false}, umemIndexError, "nbytes 2 wraps"},
      {{top - 1, 2, 1, true}, umemIndexError, "size 2 wraps"},
      {{8, PTRDIFF_MAX, PTRDIFF_MAX, false}, umemOK, ""},
      {{8, SIZE_MAX, SIZE_MAX, false}, umemIndexError, "exceeds PTRDIFF_MAX"},
      {{8, SIZE_MAX, 1, true}, umemIndexError, "exceeds PTRDIFF_MAX"},
  };
  for (size_t i = 0; i < LENGTH(cases); i++) {
    umemError error = {.text = ""};
    assert_status(check(&cases[i].range, &error), cases[i].expected);
    assert_has(error.text, cases[i].why);
  }
}

/* --- random programs ----------------------------------------------------- */

enum { BLOCKS = 128, SPACE = 4096 };

struct oracle {
  struct umemiBlock blocks[BLOCKS];
  size_t count;
};

/* The block that has a byte of the range (one of no bytes counts as one), and
   how many have; or NULL. */
static struct umemiBlock *oracle_find(struct oracle *oracle, uintptr_t adr,
                                      size_t nbytes) {
  for (size_t i = 0; i < oracle->count; i++) {
    struct umemiBlock *block = &oracle->blocks[i];
    size_t extent = block->nbytes ? block->nbytes : 1;
    if (adr < block->adr + extent && block->adr < adr + nbytes)
      return block;
  }
  return NULL;
}

static void random_add(struct oracle *oracle, uintptr_t adr, size_t nbytes) {
  umemError error;
  bool in_use = oracle_find(oracle, adr, nbytes ? nbytes : 1) != NULL;
  if (oracle->count == BLOCKS)
    return;
  assert_status(add(adr, nbytes, &error), in_use ? umemRuntimeError : umemOK);
  if (!in_use)
    oracle->blocks[oracle->count++] =
        (struct umemiBlock){.adr = adr, .nbytes = nbytes};
}

static void random_take(struct oracle *oracle, uintptr_t adr) {
  umemError error;
  struct umemiBlock block, *known = oracle_find(oracle, adr, 1);
  bool there = known && known->adr == adr;
  assert_status(umemi_registry_take(context(), adr, &block, &error),
                there ? umemOK : umemValueError);
  assert_int_equal(!there && known, !there && strstr(error.text, "inside"));
  if (!there)
    return;
  expect_block(&block, adr, known->nbytes);
  *known = oracle->blocks[--oracle->count];
}

static void random_range(struct oracle *oracle, uintptr_t adr, size_t nbytes) {
  umemError error;
  struct umemiRange range = {adr, nbytes, nbytes, true};
  struct umemiBlock const *block = oracle_find(oracle, adr, nbytes);
  bool inside = !block || (adr >= block->adr &&
                           adr + nbytes <= block->adr + block->nbytes);
  assert_status(check(&range, &error),
                inside || !nbytes ? umemOK : umemIndexError);
}

static void random_programs__do_what_a_list_does(void **state) {
  (void)state;
  struct oracle oracle = {.count = 0};
  uint64_t seed = 2;
  for (size_t step = 0; step < scaled(100000, 10000); step++) {
    uintptr_t adr = 1 + random_below(&seed, SPACE);
    size_t nbytes = random_below(&seed, 40);
    size_t some = oracle.count ? random_below(&seed, oracle.count) : 0;
    switch (random_below(&seed, 4)) {
    case 0:
      random_add(&oracle, adr, nbytes);
      break;
    case 1:
      random_take(&oracle, adr);
      break;
    case 2:
      random_take(&oracle, oracle.blocks[some].adr);
      break;
    default:
      random_range(&oracle, adr, nbytes);
    }
  }
}

/* --- many blocks ---------------------------------------------------------- */

enum { SLOTS = 4000, SLOT = 64 };

/* Slots of the address space, each with a block or without one, in a random
   order: enough of them for several levels of the tree. */
struct slots {
  uint64_t seed;
  size_t order[SLOTS];
  bool live[SLOTS];
};

static uintptr_t slot_adr(size_t slot) {
  return SLOT * (slot + 1);
}

/* A third of the blocks have 0 bytes, others fill their slot. */
static size_t slot_bytes(size_t slot) {
  return slot % 3 == 0 ? 0 : slot % 3 == 1 ? 1 + slot % SLOT : SLOT;
}

static void slots_shuffle(struct slots *slots, uint64_t seed) {
  *slots = (struct slots){.seed = seed};
  for (size_t i = 0; i < SLOTS; i++) {
    size_t at = random_below(&slots->seed, i + 1);
    slots->order[i] = slots->order[at];
    slots->order[at] = i;
  }
}

static void slots_check(struct slots const *slots) {
  umemError error;
  struct umemiBlock block;
  for (size_t i = 0; i < SLOTS; i++) {
    umemStatusType expected = slots->live[i] ? umemOK : umemValueError;
    assert_status(umemi_registry_get(context(), slot_adr(i), &block, &error),
                  expected);
    if (slots->live[i])
      expect_block(&block, slot_adr(i), slot_bytes(i));
    assert_status(add(slot_adr(i), 1, &error),
                  slots->live[i] ? umemRuntimeError : umemOK);
    if (!slots->live[i])
      assert_ok(umemi_registry_take(context(), slot_adr(i), &block, &error));
  }
}

static void slots_add(struct slots *slots, size_t slot) {
  add_ok(slot_adr(slot), slot_bytes(slot));
  slots->live[slot] = true;
}

static void slots_take(struct slots *slots, size_t slot) {
  umemError error;
  struct umemiBlock block;
  assert_ok(umemi_registry_take(context(), slot_adr(slot), &block, &error));
  expect_block(&block, slot_adr(slot), slot_bytes(slot));
  slots->live[slot] = false;
}

static void blocks__in_random_order_are_all_found_and_taken(void **state) {
  (void)state;
  static struct slots slots;
  struct umemiBlock block;
  for (uint64_t seed = 1; seed <= scaled(5, 1); seed++) {
    slots_shuffle(&slots, seed);
    for (size_t i = 0; i < SLOTS; i++)
      slots_add(&slots, slots.order[i]);
    slots_check(&slots);
    slots_shuffle(&slots, seed + 100);
    memset(slots.live, true, sizeof slots.live);
    for (size_t i = 0; i < SLOTS; i++) {
      slots_take(&slots, slots.order[i]);
      if (i % (SLOTS / 4) == 0)
        slots_check(&slots);
    }
    assert_false(umemi_registry_pop(context(), &block));
  }
}

/* Ascending and descending orders fill the tree from one end. */
static void blocks__in_ascending_and_descending_order(void **state) {
  (void)state;
  static struct slots slots;
  for (int way = 0; way < 4; way++) {
    slots_shuffle(&slots, 1);
    for (size_t i = 0; i < SLOTS; i++)
      slots_add(&slots, way & 1 ? i : SLOTS - 1 - i);
    slots_check(&slots);
    for (size_t i = 0; i < SLOTS; i++)
      slots_take(&slots, way & 2 ? i : SLOTS - 1 - i);
    slots_check(&slots);
  }
}

/* The number of live blocks goes up and down, so that nodes are split and
   joined in turns. */
static void blocks__come_and_go_in_waves(void **state) {
  (void)state;
  static struct slots slots;
  slots_shuffle(&slots, 3);
  for (size_t step = 0; step < scaled(400000, 20000); step++) {
    size_t slot = random_below(&slots.seed, SLOTS);
    bool rises = step / 5000 % 2 == 0;
    bool adds = random_below(&slots.seed, 10) < (rises ? 8 : 2);
    if (adds && !slots.live[slot])
      slots_add(&slots, slot);
    if (!adds && slots.live[slot])
      slots_take(&slots, slot);
    if (step % (SLOTS * 10) == 0)
      slots_check(&slots);
  }
  slots_check(&slots);
}

/* Every allocation of the registry fails once: the block is not there, all
   others are, and the next attempt succeeds. Taking allocates nothing. */
static void add__without_memory_at_any_moment_changes_nothing(void **state) {
  (void)state;
  static struct slots slots;
  umemError error;
  unsigned failures = 0;
  slots_shuffle(&slots, 5);
  faults_install();
  for (size_t i = 0; i < SLOTS; i++) {
    size_t slot = slots.order[i];
    faults_fail_from(FAULT_malloc, 1 + (unsigned)i % 3, ENOMEM);
    umemStatusType status = add(slot_adr(slot), slot_bytes(slot), &error);
    slots.live[slot] = status == umemOK;
    faults_clear();
    if (status == umemOK)
      continue;
    assert_int_equal(status, umemMemoryError);
    if (failures++ % 50 == 0)
      slots_check(&slots);
    slots_add(&slots, slot);
  }
  slots_check(&slots);
  faults_fail_from(FAULT_malloc, 1, ENOMEM);
  for (size_t i = 0; i < SLOTS; i++)
    slots_take(&slots, slots.order[i]);
  print_message("registry: %u failures of memory\n", failures);
  assert_true(failures > 20);
}

#define registry_test(f)                                                       \
  cmocka_unit_test_setup_teardown(f, registry_setup, registry_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      registry_test(block__is_found_at_its_address_only),
      registry_test(block__is_taken_once),
      registry_test(blocks__may_touch_but_not_overlap),
      registry_test(blocks__of_no_bytes_have_an_address_to_themselves),
      registry_test(blocks__at_the_ends_of_the_address_space),
      registry_test(add__without_memory_registers_nothing),
      registry_test(pop__hands_out_each_block_once),
      registry_test(check_range__bounds_by_size_wrap_and_block),
      registry_test(random_programs__do_what_a_list_does),
      registry_test(blocks__in_random_order_are_all_found_and_taken),
      registry_test(blocks__in_ascending_and_descending_order),
      registry_test(blocks__come_and_go_in_waves),
      registry_test(add__without_memory_at_any_moment_changes_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
