/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of devices and of the host: what may be done with it. */
#include "support.h"

static cuAddress touched;

static int touch(void) {
  return *(unsigned char volatile *)(uintptr_t)touched;
}

/* --- memory of devices ---------------------------------------------------- */

static void memory__of_a_device_cannot_be_dereferenced(void **state) {
  (void)state;
  touched = allocated(NBYTES);
  assert_int_equal(in_child(touch), SEGV);
  ok(c.cu.MemFree(touched));
}

static void memory__is_poisoned_and_aligned_to_256(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  assert_int_equal(adr % 512, 256);
  ok(c.cu.MemcpyDtoH(host, adr, NBYTES));
  for (size_t i = 0; i < NBYTES; i++)
    assert_int_equal(host[i], SIMCU_POISON);
  ok(c.cu.MemFree(adr));
}

static void memory__has_addresses_that_are_given_out_once(void **state) {
  (void)state;
  cuAddress before = 0;
  for (int i = 0; i < 2000; i++) {
    cuAddress adr = allocated(1);
    assert_true(adr > before);
    ok(c.cu.MemFree(adr));
    before = adr;
  }
}

static void memory__is_rounded_up_to_512_and_no_further(void **state) {
  (void)state;
  cuAddress adr = allocated(100), start;
  size_t nbytes;
  ok(c.cu.MemcpyHtoD(adr + 412, host, 100));
  ok(c.cu.CtxSynchronize());
  fails(c.cu.MemcpyHtoD(adr + 412, host, 101), INVALID_VALUE);
  violates("leave the block of 100");
  fails(c.cu.MemsetD8(adr, 0, 513), INVALID_VALUE);
  violates("513 bytes");
  fails(c.cu.MemcpyHtoD(adr - 1, host, 1), INVALID_VALUE);
  violates("is in no live block");
  fails(c.cu.MemcpyHtoD(adr, host, SIZE_MAX), INVALID_VALUE);
  violates("leave the block");
  ok(c.cu.MemGetAddressRange(&start, &nbytes, adr + 99));
  assert_true(start == adr);
  assert_int_equal(nbytes, 100);
  assert_int_equal(c.sim.used(0), 512);
  ok(c.cu.MemFree(adr));
  fails(c.cu.MemGetAddressRange(&start, &nbytes, adr), NOT_FOUND);
}

static void memory__after_free_is_refused(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  fails(c.cu.MemFree(adr + 256), INVALID_VALUE);
  violates("inside the block");
  ok(c.cu.MemFree(adr));
  fails(c.cu.MemcpyDtoH(host, adr + 8, 8), INVALID_VALUE);
  violates("is in no live block");
  fails(c.cu.MemFree(adr), INVALID_VALUE);
  violates("no block is live");
}

/* As driver 590.48.01 answers. */
static void memory__of_no_bytes_is_no_error(void **state) {
  (void)state;
  void *ptr = host;
  unsigned flags;
  cuAddress adr;
  ok(c.cu.MemFree(0));
  ok(c.cu.MemFreeHost(NULL));
  ok(c.cu.MemHostAlloc(&ptr, 0, 0));
  assert_null(ptr);
  ok(c.cu.MemHostAlloc(&ptr, 8, 0));
  ok(c.cu.MemHostGetDevicePointer(&adr, ptr, 0));
  assert_true(adr == (uintptr_t)ptr);
  fails(c.cu.MemHostGetDevicePointer(&adr, host, 0), INVALID_VALUE);
  ok(c.cu.MemHostGetFlags(&flags, ptr));
  assert_int_equal(flags, UMEMI_CU_MEMHOSTALLOC_DEVICEMAP);
  fails(c.cu.MemHostGetFlags(&flags, host), INVALID_VALUE);
  fails(c.cu.MemHostUnregister(ptr), INVALID_VALUE);
  fails(c.cu.MemHostUnregister(NULL), INVALID_VALUE);
  ok(c.cu.MemFreeHost(ptr));
}

static void memory__freed_while_work_uses_it_is_a_violation(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  ok(c.cu.MemsetD8(adr, 1, NBYTES));
  ok(c.cu.MemFree(adr));
  violates("while queued work uses it");
  unsigned char *ptr = pinned(NBYTES);
  adr = allocated(NBYTES);
  ok(c.cu.MemcpyHtoDAsync(adr, ptr, NBYTES, NULL));
  ok(c.cu.MemFreeHost(ptr));
  violates("while queued work uses it");
  ok(c.cu.MemFree(adr));
}

static void
memory__freed_in_another_devices_context_is_a_violation(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  ok(c.cu.CtxPushCurrent(primary[1]));
  ok(c.cu.MemFree(adr));
  violates("is freed in a context of device 1");
  ok(c.cu.CtxPopCurrent(NULL));
}

static void memory__runs_out(void **state) {
  (void)state;
  cuAddress adr, more;
  size_t left, total;
  fails(c.cu.MemAlloc(&adr, (size_t)257 * MIB), OUT_OF_MEMORY);
  fails(c.cu.MemAlloc(&adr, SIZE_MAX), OUT_OF_MEMORY);
  fails(c.cu.MemAlloc(&adr, 0), INVALID_VALUE);
  c.sim.set_memory(0, 1024);
  adr = allocated(600);
  ok(c.cu.MemGetInfo(&left, &total));
  assert_int_equal(left, 0);
  assert_int_equal(total, 1024);
  fails(c.cu.MemAlloc(&more, 1), OUT_OF_MEMORY);
  ok(c.cu.MemFree(adr));
  c.sim.set_memory(0, (size_t)256 * MIB);
}

/* --- memory of the host --------------------------------------------------- */

static unsigned char *freed_pinned;

static int touch_pinned(void) {
  return *(unsigned char volatile *)freed_pinned;
}

static void pinned__memory_is_the_hosts_until_it_is_freed(void **state) {
  (void)state;
  unsigned char *ptr = freed_pinned = pinned(NBYTES);
  assert_int_equal(ptr[0], SIMCU_POISON);
  fails(c.cu.MemFree((uintptr_t)ptr), INVALID_VALUE);
  violates("by the wrong function");
  ok(c.cu.MemsetD8((uintptr_t)ptr, 5, NBYTES));
  assert_int_equal(ptr[NBYTES - 1], 5); /* filled at once */
  ok(c.cu.MemFreeHost(ptr));
  assert_int_equal(in_child(touch_pinned), SEGV);
  fails(c.cu.MemFreeHost(ptr), INVALID_VALUE);
  violates("no block is live");
}

static void registered__ranges_do_not_overlap(void **state) {
  (void)state;
  ok(c.cu.MemHostRegister(host + 100, 1000, 0));
  fails(c.cu.MemHostRegister(host + 1099, 2, 0),
        HOST_MEMORY_ALREADY_REGISTERED);
  fails(c.cu.MemHostUnregister(host + 101), INVALID_VALUE);
  ok(c.cu.MemHostUnregister(host + 100));
  fails(c.cu.MemHostUnregister(host + 100), HOST_MEMORY_NOT_REGISTERED);
}

static void registered__memory_is_read_late(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  memset(host, 1, NBYTES);
  ok(c.cu.MemHostRegister(host, NBYTES, 0));
  ok(c.cu.MemcpyHtoDAsync(adr, host, NBYTES, NULL));
  host[0] = 2;
  ok(c.cu.MemHostUnregister(host));
  violates("is unregistered while queued work uses it");
  ok(c.cu.CtxSynchronize());
  assert_int_equal(byte_at(adr), 2);
  ok(c.cu.MemFree(adr));
}

static int touch_managed(void) {
  touch();
  return 0;
}

static void managed__memory_is_the_hosts_when_the_device_is_idle(void **state) {
  (void)state;
  int concurrent = UMEMI_CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS;
  c.sim.set_attribute(0, concurrent, 0);
  ok(c.cu.MemAllocManaged(&touched, NBYTES, UMEMI_CU_MEM_ATTACH_GLOBAL));
  ok(c.cu.MemsetD8Async(touched, 3, NBYTES, NULL));
  assert_int_equal(in_child(touch_managed), SEGV);
  ok(c.cu.CtxSynchronize());
  assert_int_equal(touch(), 3);
  c.sim.set_attribute(0, concurrent, 1);
  ok(c.cu.MemsetD8Async(touched, 4, NBYTES, NULL));
  assert_int_equal(in_child(touch_managed), 0);
  ok(c.cu.CtxSynchronize());
  ok(c.cu.MemFree(touched));
  assert_int_equal(in_child(touch_managed), SEGV);
}

static void managed__memory_is_all_closed_while_a_device_runs(void **state) {
  (void)state;
  int concurrent = UMEMI_CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS;
  cuAddress adr = allocated(NBYTES), later;
  ok(c.cu.MemAllocManaged(&touched, NBYTES, UMEMI_CU_MEM_ATTACH_GLOBAL));
  ok(c.cu.MemsetD8Async(adr, 3, NBYTES, NULL));
  assert_int_equal(in_child(touch_managed), 0);
  ok(c.cu.CtxSynchronize());
  c.sim.set_attribute(0, concurrent, 0);
  ok(c.cu.MemsetD8Async(adr, 3, NBYTES, NULL));
  assert_int_equal(in_child(touch_managed), SEGV);
  ok(c.cu.MemAllocManaged(&later, NBYTES, UMEMI_CU_MEM_ATTACH_GLOBAL));
  c.sim.set_attribute(0, concurrent, 1); /* too late for what runs */
  assert_int_equal(in_child(touch_managed), SEGV);
  ok(c.cu.CtxSynchronize());
  assert_int_equal(in_child(touch_managed), 0);
  ok(c.cu.MemFree(touched));
  touched = later;
  assert_int_equal(in_child(touch_managed), 0);
  ok(c.cu.MemFree(later));
  ok(c.cu.MemFree(adr));
}

static void managed__memory_of_the_host_is_closed_by_its_use(void **state) {
  (void)state;
  int concurrent = UMEMI_CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS;
  cuAddress adr = allocated(NBYTES);
  c.sim.set_attribute(0, concurrent, 0);
  ok(c.cu.MemAllocManaged(&touched, NBYTES, UMEMI_CU_MEM_ATTACH_HOST));
  ok(c.cu.MemsetD8Async(adr, 3, NBYTES, NULL));
  assert_int_equal(in_child(touch_managed), 0);
  ok(c.cu.MemsetD8Async(touched, 3, NBYTES, NULL));
  assert_int_equal(in_child(touch_managed), SEGV);
  ok(c.cu.CtxSynchronize());
  assert_int_equal(in_child(touch_managed), 0);
  c.sim.set_attribute(0, concurrent, 1);
  ok(c.cu.MemFree(touched));
  ok(c.cu.MemFree(adr));
}

static void managed__memory_may_be_unsupported(void **state) {
  (void)state;
  cuAddress adr;
  c.sim.set_attribute(0, UMEMI_CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 0);
  fails(c.cu.MemAllocManaged(&adr, 1, UMEMI_CU_MEM_ATTACH_GLOBAL),
        NOT_SUPPORTED);
  c.sim.set_attribute(0, UMEMI_CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1);
  fails(c.cu.MemAllocManaged(&adr, 1, 0), INVALID_VALUE);
}

struct facts {
  unsigned type, managed;
  int device;
  cuContext context;
};

static struct facts facts_of(cuAddress adr) {
  struct facts facts;
  cuPointerAttribute which[] = {UMEMI_CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                UMEMI_CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                UMEMI_CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                UMEMI_CU_POINTER_ATTRIBUTE_CONTEXT};
  void *values[] = {&facts.type, &facts.managed, &facts.device, &facts.context};
  ok(c.cu.PointerGetAttributes(LENGTH(which), which, values, adr));
  return facts;
}

static void pointers__tell_where_their_block_is(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES), start;
  size_t nbytes;
  unsigned long long first, second;
  cuPointerAttribute which[] = {11, 12, 7};
  void *values[] = {&start, &nbytes, &first};
  ok(c.cu.PointerGetAttributes(3, which, values, adr + 5));
  assert_true(start == adr);
  assert_int_equal(nbytes, NBYTES);
  ok(c.cu.MemFree(adr));
  adr = allocated(NBYTES);
  ok(c.cu.PointerGetAttribute(&second, 7, adr));
  assert_true(first != second);
  ok(c.cu.PointerGetAttributes(3, which, values, (uintptr_t)host));
  assert_int_equal(nbytes, 0);
  ok(c.cu.MemFree(adr));
}

static void pointers__tell_what_they_point_to(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES), managed;
  unsigned char *ptr = pinned(NBYTES);
  unsigned type;
  ok(c.cu.MemAllocManaged(&managed, NBYTES, UMEMI_CU_MEM_ATTACH_GLOBAL));
  struct facts facts = facts_of(adr + 1);
  assert_int_equal(facts.type, UMEMI_CU_MEMORYTYPE_DEVICE);
  assert_int_equal(facts.device, 0);
  assert_ptr_equal(facts.context, primary[0]);
  assert_int_equal(facts_of((uintptr_t)ptr).type, UMEMI_CU_MEMORYTYPE_HOST);
  assert_int_equal(facts_of(managed).managed, 1);
  assert_int_equal(facts_of((uintptr_t)host).type, 0);
  fails(c.cu.PointerGetAttribute(&type, UMEMI_CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                 (uintptr_t)host),
        INVALID_VALUE);
  ok(c.cu.MemFree(adr));
  ok(c.cu.MemFree(managed));
  ok(c.cu.MemFreeHost(ptr));
}

int memory_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(memory__of_a_device_cannot_be_dereferenced),
      in_contexts(memory__is_poisoned_and_aligned_to_256),
      in_contexts(memory__has_addresses_that_are_given_out_once),
      in_contexts(memory__is_rounded_up_to_512_and_no_further),
      in_contexts(memory__after_free_is_refused),
      in_contexts(memory__of_no_bytes_is_no_error),
      in_contexts(memory__freed_while_work_uses_it_is_a_violation),
      in_contexts(memory__freed_in_another_devices_context_is_a_violation),
      in_contexts(memory__runs_out),
      in_contexts(pinned__memory_is_the_hosts_until_it_is_freed),
      in_contexts(registered__ranges_do_not_overlap),
      in_contexts(registered__memory_is_read_late),
      in_contexts(managed__memory_is_the_hosts_when_the_device_is_idle),
      in_contexts(managed__memory_is_all_closed_while_a_device_runs),
      in_contexts(managed__memory_of_the_host_is_closed_by_its_use),
      in_contexts(managed__memory_may_be_unsupported),
      in_contexts(pointers__tell_what_they_point_to),
      in_contexts(pointers__tell_where_their_block_is),
  };
  return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
