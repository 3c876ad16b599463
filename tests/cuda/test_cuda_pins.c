/* SPDX-License-Identifier: BSD-3-Clause */
/* umem_pin() of what the driver does not take as it is. */
#include "program.h"

#include <sys/mman.h>

enum { PAGE = 4096, SIZE = 16 * MIB };

static umemCuda ctx;

static int begin(void **state) {
  (void)state;
  assert_ok(umemCuda_ctor(&ctx, 0));
  return 0;
}

static int end(void **state) {
  assert_ok(umem_dtor(&ctx));
  return cuda_teardown(state);
}

static char *pages_new(size_t nbytes, int access) {
  char *pages = mmap(NULL, nbytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(pages != MAP_FAILED);
  memset(pages, 'p', nbytes);
  assert_int_equal(mprotect(pages, nbytes, access), 0);
  return pages;
}

static void fail_pins(long nth, int code, unsigned how) {
  client.sim.inject("cuMemHostRegister_v2", nth, code, how);
}

static size_t ranges(void) {
  return client.sim.live(SIMCU_REGISTERED);
}

static void pin__takes_memory_that_cannot_be_written(void **state) {
  (void)state;
  char *pages = pages_new(SIZE, PROT_READ);
  uintptr_t const at = (uintptr_t)pages;
  uintptr_t adr = allocated(&ctx, SIZE);
  assert_ok(umem_pin(&ctx, at, SIZE));
  assert_int_equal(ranges(), 1);
  client.sim.forget();
  assert_ok(umem_copy_to(&host, at, &ctx, adr, SIZE));
  assert_int_equal(client.sim.calls("cuMemHostAlloc"), 0); /* not staged */
  assert_true(holds(&ctx, adr, 'p', SIZE));
  assert_ok(umem_unpin(&ctx, at));
  assert_int_equal(ranges(), 0);
  munmap(pages, SIZE);
}

static void pin__takes_a_part_of_a_page_that_cannot_be_written(void **state) {
  (void)state;
  char *pages = pages_new(2 * PAGE, PROT_READ);
  assert_ok(umem_pin(&ctx, (uintptr_t)pages + 100, PAGE));
  assert_ok(umem_unpin(&ctx, (uintptr_t)pages + 100));
  munmap(pages, 2 * PAGE);
}

/* Where the device does not support it the first failure is told. */
static void pin__tells_why_read_only_memory_is_refused(void **state) {
  (void)state;
  char *pages = pages_new(PAGE, PROT_READ);
  fail_pins(2, UMEMI_CUDA_ERROR_NOT_SUPPORTED, SIMCU_ONCE);
  assert_fails(&ctx, umem_pin(&ctx, (uintptr_t)pages, PAGE), umemValueError,
               "cuMemHostRegister: CUDA_ERROR_INVALID_VALUE");
  assert_int_equal(client.sim.calls("cuMemHostRegister_v2"), 2);
  munmap(pages, PAGE);
}

/* Memory that can be written is never registered for reading alone. */
static void pin__of_writable_memory_is_for_both_ways(void **state) {
  (void)state;
  char *pages = pages_new(SIZE, PROT_READ | PROT_WRITE);
  uintptr_t const at = (uintptr_t)pages;
  uintptr_t adr = allocated(&ctx, MIB);
  assert_ok(umem_try_set(&ctx, adr, 'w', MIB));
  fail_pins(1, UMEMI_CUDA_ERROR_INVALID_VALUE, SIMCU_ONCE);
  assert_ok(umem_pin(&ctx, at, SIZE));
  assert_int_equal(ranges(), 2);
  assert_ok(umem_copy_to(&ctx, adr, &host, at, MIB));
  assert_true(all_bytes_are((unsigned char *)pages, MIB, 'w'));
  assert_ok(umem_unpin(&ctx, at));
  assert_int_equal(ranges(), 0);
  munmap(pages, SIZE);
}

/* Each failure halves them. */
static void pin__makes_pieces_as_small_as_needed(void **state) {
  (void)state;
  enum { ODD = SIZE - 5 * PAGE - 100 };
  char *pages = pages_new(SIZE, PROT_READ | PROT_WRITE);
  uintptr_t const at = (uintptr_t)pages;
  fail_pins(1, UMEMI_CUDA_ERROR_OUT_OF_MEMORY, SIMCU_FROM_THEN_ON);
  assert_status(umem_pin(&ctx, at, ODD), umemMemoryError);
  assert_int_equal(ranges(), 0);
  client.sim.forget();
  fail_pins(1, UMEMI_CUDA_ERROR_OUT_OF_MEMORY, SIMCU_ONCE);
  assert_ok(umem_pin(&ctx, at, ODD));
  assert_int_equal(ranges(), 2);
  assert_status(umem_pin(&ctx, at, ODD), umemRuntimeError);
  umem_clean_status(&ctx);
  assert_ok(umem_unpin(&ctx, at));
  assert_int_equal(ranges(), 0);
  munmap(pages, SIZE);
}

static void pin__of_which_a_piece_fails_pins_nothing(void **state) {
  (void)state;
  char *pages = pages_new(SIZE, PROT_READ | PROT_WRITE);
  uintptr_t const at = (uintptr_t)pages;
  must(CtxPushCurrent(
      ((struct umemiGpuState *)umemi_context(&ctx)->state)->gpu->context));
  must(MemHostRegister(pages + SIZE - PAGE, PAGE, 0)); /* by somebody else */
  must(CtxPopCurrent(&(cuContext){NULL}));
  fail_pins(1, UMEMI_CUDA_ERROR_INVALID_VALUE, SIMCU_ONCE);
  assert_fails(&ctx, umem_pin(&ctx, at, SIZE), umemValueError,
               "CUDA_ERROR_INVALID_VALUE");
  assert_int_equal(ranges(), 1);
  fail_pins(1, UMEMI_CUDA_ERROR_INVALID_VALUE, SIMCU_FROM_THEN_ON);
  assert_fails(&ctx, umem_pin(&ctx, at, SIZE / 2), umemValueError,
               "CUDA_ERROR_INVALID_VALUE");
  assert_true(client.sim.calls("cuMemHostRegister_v2") <= 8);
  client.sim.forget();
  assert_int_equal(ranges(), 1);
  must(CtxPushCurrent(
      ((struct umemiGpuState *)umemi_context(&ctx)->state)->gpu->context));
  must(MemHostUnregister(pages + SIZE - PAGE));
  must(CtxPopCurrent(&(cuContext){NULL}));
  munmap(pages, SIZE);
}

static void unpin__goes_on_after_a_failure(void **state) {
  (void)state;
  char *pages = pages_new(SIZE, PROT_READ | PROT_WRITE);
  uintptr_t const at = (uintptr_t)pages;
  fail_pins(1, UMEMI_CUDA_ERROR_INVALID_VALUE, SIMCU_ONCE);
  assert_ok(umem_pin(&ctx, at, SIZE));
  client.sim.inject("cuMemHostUnregister", 1, UMEMI_CUDA_ERROR_UNKNOWN,
                    SIMCU_AFTER);
  assert_fails(&ctx, umem_unpin(&ctx, at), umemRuntimeError,
               "cuMemHostUnregister");
  assert_int_equal(ranges(), 0);
  munmap(pages, SIZE);
}

/* Whatever the driver would answer. */
static void unpin__is_for_what_was_pinned(void **state) {
  (void)state;
  static char stranger[PAGE];
  umemCudaHost pinned;
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  char *pages = pages_new(2 * PAGE, PROT_READ | PROT_WRITE);
  uintptr_t const at = (uintptr_t)pages, adr = allocated(&pinned, PAGE);
  assert_ok(umem_pin(&ctx, at, 2 * PAGE));
  uintptr_t const wrong[] = {at + 1, at + PAGE, adr, (uintptr_t)stranger};
  for (size_t i = 0; i < LENGTH(wrong); i++)
    assert_fails(&pinned, umem_unpin(&pinned, wrong[i]), umemRuntimeError,
                 "no memory that umem_pin() pinned");
  umem_clean_status(&pinned);
  assert_ok(umem_unpin(&pinned, at));
  assert_ok(umem_dtor(&pinned));
  munmap(pages, 2 * PAGE);
}

/* The range is known no more, and can be pinned anew. */
static void pin__replaces_what_was_unpinned_past_it(void **state) {
  (void)state;
  char *pages = pages_new(2 * PAGE, PROT_READ | PROT_WRITE);
  uintptr_t const at = (uintptr_t)pages;
  assert_ok(umem_pin(&ctx, at, 2 * PAGE));
  must(CtxPushCurrent(
      ((struct umemiGpuState *)umemi_context(&ctx)->state)->gpu->context));
  must(MemHostUnregister(pages));
  must(CtxPopCurrent(&(cuContext){NULL}));
  assert_ok(umem_pin(&ctx, at + PAGE, PAGE));
  assert_status(umem_unpin(&ctx, at), umemRuntimeError);
  umem_clean_status(&ctx);
  assert_ok(umem_unpin(&ctx, at + PAGE));
  munmap(pages, 2 * PAGE);
}

static void pin__replaces_all_that_was_unpinned_past_it(void **state) {
  (void)state;
  char *pages = pages_new(3 * PAGE, PROT_READ | PROT_WRITE);
  uintptr_t const at = (uintptr_t)pages;
  size_t const retains = client.sim.live(SIMCU_RETAINS);
  for (size_t i = 0; i < 3; i++)
    assert_ok(umem_pin(&ctx, at + i * PAGE, PAGE));
  must(CtxPushCurrent(
      ((struct umemiGpuState *)umemi_context(&ctx)->state)->gpu->context));
  for (size_t i = 0; i < 3; i++)
    must(MemHostUnregister(pages + i * PAGE));
  must(CtxPopCurrent(&(cuContext){NULL}));
  assert_ok(umem_pin(&ctx, at, 3 * PAGE));
  for (size_t i = 1; i < 3; i++)
    assert_status(umem_unpin(&ctx, at + i * PAGE), umemRuntimeError);
  umem_clean_status(&ctx);
  assert_ok(umem_unpin(&ctx, at));
  assert_ok(umem_dtor(&ctx)); /* the last use of the device */
  assert_int_equal(client.sim.live(SIMCU_RETAINS), retains - 1);
  assert_ok(umemCuda_ctor(&ctx, 0));
  munmap(pages, 3 * PAGE);
}

static void pin__without_memory_pins_nothing(void **state) {
  (void)state;
  char *pages = pages_new(PAGE, PROT_READ | PROT_WRITE);
  uintptr_t const at = (uintptr_t)pages;
  faults_install();
  faults_fail(FAULT_tsearch, 1, ENOMEM);
  assert_fails(&ctx, umem_pin(&ctx, at, PAGE), umemMemoryError, "pinned range");
  faults_reset();
  faults_install();
  faults_fail(FAULT_calloc, 1, ENOMEM);
  assert_fails(&ctx, umem_pin(&ctx, at, PAGE), umemMemoryError, "pinned range");
  faults_reset();
  assert_int_equal(ranges(), 0);
  munmap(pages, PAGE);
}

#define pin_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      pin_test(pin__takes_memory_that_cannot_be_written),
      pin_test(pin__takes_a_part_of_a_page_that_cannot_be_written),
      pin_test(pin__tells_why_read_only_memory_is_refused),
      pin_test(pin__of_writable_memory_is_for_both_ways),
      pin_test(pin__makes_pieces_as_small_as_needed),
      pin_test(pin__of_which_a_piece_fails_pins_nothing),
      pin_test(unpin__goes_on_after_a_failure),
      pin_test(unpin__is_for_what_was_pinned),
      pin_test(pin__replaces_what_was_unpinned_past_it),
      pin_test(pin__replaces_all_that_was_unpinned_past_it),
      pin_test(pin__without_memory_pins_nothing),
  };
  return program_main(tests, LENGTH(tests), NULL, 0, argc, argv);
}
