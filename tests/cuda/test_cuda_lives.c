/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Resets of primary contexts by the program. The library uses no resource of an
 * earlier life, and its contexts of an earlier life end without harm.
 */
#include "rig.h"

#define must(call) assert_int_equal(client.cu.call, UMEMI_CUDA_SUCCESS)

enum { LITTLE = 1000, SOME = 4 * KIB, MUCH = 20 * KIB };

static unsigned char bytes[MUCH], copy[MUCH];

/* --- one life ------------------------------------------------------------- */

static void assert_comes_back(void const *ctx, size_t nbytes) {
  uintptr_t adr = allocated(ctx, nbytes);
  memset(copy, 0, nbytes);
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, ctx, adr, nbytes));
  assert_ok(umem_copy_to(ctx, adr, &host, (uintptr_t)copy, nbytes));
  assert_int_equal(memcmp(bytes, copy, nbytes), 0);
  assert_ok(umem_free(ctx, adr));
}

/* Takes all paths of copies, so that the library caches all its resources. */
static void assert_works(void const *ctx) {
  assert_comes_back(ctx, LITTLE);
  assert_comes_back(ctx, SOME);
  assert_comes_back(ctx, MUCH);
  uintptr_t zeros = umem_calloc(ctx, LITTLE, 1);
  assert_true(zeros != 0);
  assert_ok(umem_try_set(ctx, zeros, 3, LITTLE));
  assert_ok(umem_free(ctx, zeros));
}

static void live_on(int device, uint32_t flags) {
  umemCuda cuda;
  umemCudaOptions options = {.size = sizeof options, .flags = flags};
  assert_ok(umemCuda_ctor_ex(&cuda, device, &options));
  assert_works(&cuda);
  assert_ok(umem_dtor(&cuda));
}

static void live_on_host(void) {
  umemCudaHost pinned;
  umemCudaManaged managed;
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  assert_works(&pinned);
  assert_ok(umem_pin(&pinned, (uintptr_t)bytes, LITTLE));
  assert_ok(umem_unpin(&pinned, (uintptr_t)bytes));
  assert_ok(umemCudaManaged_ctor(&managed, 0, false, NULL));
  assert_works(&managed);
  assert_ok(umem_dtor(&managed));
  assert_ok(umem_dtor(&pinned));
}

static void live(void) {
  live_on(0, 0);
  live_on(0, UMEM_CUDA_POOL);
  live_on_host();
}

static void reset(int device) {
  must(DevicePrimaryCtxReset(device));
}

/* --- several lives -------------------------------------------------------- */

static void lives__follow_each_other(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    live();
    reset(0);
  }
  live();
}

static void lives__follow_each_other_on_several_devices(void **state) {
  (void)state;
  if (umem_device_count(umemCudaDevice) < 2)
    skip();
  for (int i = 0; i < 4; i++) {
    live_on(0, 0);
    live_on(1, 0);
    live_on_host();
    reset(i & 1);
  }
}

/* The program retains the context too, as cudart does. */
static void lives__follow_each_other_while_others_retain(void **state) {
  (void)state;
  cuContext context, again;
  must(DevicePrimaryCtxRetain(&context, 0));
  live();
  reset(0);
  must(DevicePrimaryCtxRetain(&again, 0));
  live();
  must(DevicePrimaryCtxRelease(0));
  must(DevicePrimaryCtxRelease(0));
}

/* A reset leaves the dead context current, as cudaDeviceReset() does. */
static void lives__start_where_a_dead_context_is_current(void **state) {
  (void)state;
  cuContext context, popped;
  must(DevicePrimaryCtxRetain(&context, 0));
  must(CtxPushCurrent(context));
  live();
  reset(0);
  live();
  must(CtxPopCurrent(&popped));
  assert_ptr_equal(popped, context);
  must(DevicePrimaryCtxRelease(0));
}

/* The program releases its retain instead of a reset. */
static void lives__follow_the_end_of_a_context(void **state) {
  (void)state;
  cuContext context;
  for (int i = 0; i < 3; i++) {
    must(DevicePrimaryCtxRetain(&context, 0));
    live();
    must(DevicePrimaryCtxRelease(0));
    live();
  }
}

static void *live_in_thread(void *argument) {
  live_on(0, 0);
  return argument;
}

static void lives__of_other_threads_are_new_ones(void **state) {
  (void)state;
  in_thread(live_in_thread, NULL);
  reset(0);
  in_thread(live_in_thread, NULL);
  live();
}

/* --- contexts of an earlier life ------------------------------------------ */

/* Only umem_free() and umem_dtor() succeed. */
static void contexts__of_an_earlier_life_end_without_harm(void **state) {
  (void)state;
  umemCuda cuda;
  umemCudaHost pinned;
  assert_ok(umemCuda_ctor(&cuda, 0));
  assert_ok(umemCudaHost_ctor(&pinned, 0));
  uintptr_t freed = allocated(&cuda, LITTLE), kept = allocated(&cuda, LITTLE);
  allocated(&pinned, LITTLE);
  assert_works(&cuda);
  reset(0);
  assert_status(umem_try_set(&cuda, kept, 1, LITTLE), umemRuntimeError);
  assert_status(umem_copy_to(&cuda, kept, &host, (uintptr_t)copy, LITTLE),
                umemRuntimeError);
  assert_ok(umem_free(&cuda, freed));
  assert_ok(umem_dtor(&cuda));
  assert_ok(umem_dtor(&pinned));
  live();
}

/* Releases a retain from before the reset. The library may keep it: it cannot
 * know whether the driver still counts it. */
static void release_what_is_left(void) {
  if (is_simulated() && client.sim.live(SIMCU_RETAINS))
    must(DevicePrimaryCtxRelease(0));
}

/* The next life may have reused the addresses. */
static void contexts__of_an_earlier_life_do_not_touch_the_next(void **state) {
  (void)state;
  umemCuda before, after;
  assert_ok(umemCuda_ctor(&before, 0));
  uintptr_t old = allocated(&before, LITTLE);
  reset(0);
  assert_ok(umemCuda_ctor(&after, 0));
  uintptr_t new = allocated(&after, LITTLE);
  assert_ok(umem_try_set(&after, new, 5, LITTLE));
  assert_status(umem_try_set(&before, old, 1, LITTLE), umemRuntimeError);
  assert_ok(umem_free(&before, old));
  assert_ok(umem_dtor(&before));
  assert_ok(umem_copy_to(&after, new, &host, (uintptr_t)copy, LITTLE));
  assert_true(all_bytes_are(copy, LITTLE, 5));
  assert_works(&after);
  assert_ok(umem_dtor(&after));
  release_what_is_left();
}

/* --- what copies are staged through --------------------------------------- */

enum { STAGED = 8 * MIB, BLOCKS = 32 };

static void assert_untouched(void *const *blocks) {
  for (size_t i = 0; i < BLOCKS; i++)
    assert_true(all_bytes_are(blocks[i], MIB, 17));
}

/* The driver gives the addresses of what a reset freed to the program. */
static void staging__of_an_earlier_life_is_not_used(void **state) {
  (void)state;
  umemCuda cuda;
  umemFile file;
  cuContext context;
  void *blocks[BLOCKS];
  assert_ok(umemCuda_ctor(&cuda, 0));
  assert_ok(umemFile_ctor(&file, temp_path("staged"), "w+"));
  uintptr_t at = allocated(&cuda, STAGED), in = allocated(&file, STAGED);
  assert_ok(umem_try_set(&file, in, 3, STAGED));
  assert_ok(umem_copy_to(&file, in, &cuda, at, STAGED));
  reset(0);
  must(DevicePrimaryCtxRetain(&context, 0));
  must(CtxPushCurrent(context));
  for (size_t i = 0; i < BLOCKS; i++) {
    must(MemHostAlloc(&blocks[i], MIB, UMEMI_CU_MEMHOSTALLOC_PORTABLE));
    memset(blocks[i], 17, MIB);
  }
  assert_fails(&file, umem_copy_to(&file, in, &cuda, at, STAGED),
               umemRuntimeError, "was reset");
  assert_untouched(blocks);
  for (size_t i = 0; i < BLOCKS; i++)
    must(MemFreeHost(blocks[i]));
  must(CtxPopCurrent(&context));
  must(DevicePrimaryCtxRelease(0));
  umem_clean_status(&file);
  assert_ok(umem_dtor(&cuda));
  assert_ok(umem_dtor(&file));
  release_what_is_left();
}

/* --- the program ---------------------------------------------------------- */

#define lives_test(f) cmocka_unit_test_teardown(f, cuda_teardown)

int main(void) {
  struct CMUnitTest const tests[] = {
      lives_test(lives__follow_each_other),
      lives_test(lives__follow_each_other_on_several_devices),
      lives_test(lives__follow_each_other_while_others_retain),
      lives_test(lives__start_where_a_dead_context_is_current),
      lives_test(lives__follow_the_end_of_a_context),
      lives_test(lives__of_other_threads_are_new_ones),
      lives_test(contexts__of_an_earlier_life_end_without_harm),
      lives_test(contexts__of_an_earlier_life_do_not_touch_the_next),
      lives_test(staging__of_an_earlier_life_is_not_used),
  };
  client_load(&client, "libcuda.so.1");
  rig_shorten_ways();
  assert_ok(umemHost_ctor(&host));
  int const absent = rig_find_device();
  if (absent)
    return absent;
  random_bytes(bytes, MUCH, 1);
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
