/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls from threads with the smallest stack that pthreads allow. */
#include "core.h"

#include "internal.h"

enum { LARGE = 8 << 20 };

static umemStatusType copy_hosts(void) {
  umemHost host;
  umemStatusType status = umemHost_ctor(&host);
  uintptr_t a = umem_calloc(&host, 1, LARGE), b = umem_alloc(&host, LARGE);
  if (status == umemOK)
    status = umem_copy_to(&host, a, &host, b, LARGE);
  umem_free(&host, a);
  umem_free(&host, b);
  return status == umemOK ? umem_dtor(&host) : status;
}

static umemStatusType copy_file(uint32_t flags) {
  umemHost host;
  umemFile file;
  umemFileOptions options = {.size = sizeof options, .flags = flags};
  umemStatusType status = umemHost_ctor(&host);
  uintptr_t adr = umem_calloc(&host, 1, LARGE);
  if (status == umemOK)
    status = umemFile_ctor_ex(&file, temp_path("file"), "w+", &options);
  if (status == umemOK)
    status = umem_copy_to(&host, adr, &file, 0, LARGE);
  if (status == umemOK)
    status = umem_copy_to(&file, 0, &host, adr, LARGE);
  if (status == umemOK)
    status = umem_copy_to(&file, 0, &file, 4096, LARGE);
  if (status == umemOK)
    status = umem_flush(&file);
  umem_free(&host, adr);
  return status == umemOK ? umem_dtor(&file) : status;
}

static umemStatusType copy_plain_file(void) {
  return copy_file(0);
}

static umemStatusType copy_atomic_file(void) {
  return copy_file(UMEM_FILE_ATOMIC);
}

static umemStatusType fail_to_open(void) {
  umemFile file;
  umemStatusType status = umemFile_ctor(&file, "/nonexistent/name", "r");
  umem_get_message(&file);
  umem_dtor(&file);
  return status == umemIOError ? umemOK : umemRuntimeError;
}

static umemStatusType place_blocks(void) {
  umemHost host;
  umemHostOptions options = {.size = sizeof options,
                             .flags = UMEM_HOST_HUGE_RESERVED};
  umemStatusType status = umemHost_ctor_ex(&host, &options);
  if (status == umemOK) /* there may be none: it is told */
    umem_alloc(&host, LARGE);
  umem_dtor(&host);
  return status == umemNotSupportedError ? umemOK : status;
}

static umemStatusType share_blocks(void) {
  umemShm shm;
  uintptr_t adr = 0;
  umemStatusType status = umemShm_ctor(&shm, NULL, LARGE, 0);
  if (status == umemOK)
    status = umem_try_alloc(&shm, 1000, &adr);
  if (status == umemOK && umem_alloc(&shm, LARGE))
    status = umemRuntimeError;
  if (status == umemOK)
    status = umem_free(&shm, adr);
  umem_dtor(&shm);
  return status;
}

static umemStatusType map_file(void) {
  umemMMap map;
  uintptr_t adr;
  umemStatusType status = umemMMap_ctor(&map, temp_path("map"), "w+");
  if (status == umemOK)
    status = umem_try_calloc(&map, 1, LARGE, &adr);
  if (status == umemOK)
    status = umem_try_set(&map, adr, 1, LARGE);
  return status == umemOK ? umem_dtor(&map) : status;
}

static umemStatusType describe(void) {
  umemDeviceInfo info = {.size = sizeof info};
  umemStatusType status = umem_device_info(umemHostDevice, 0, &info);
  if (status == umemOK)
    status = umem_device_info(umemFileDevice, 0, &info);
  return status;
}

static umemStatusType (*const uses[])(void) = {
    fail_to_open, copy_hosts,   copy_plain_file, copy_atomic_file,
    place_blocks, share_blocks, map_file,        describe};

static umemStatusType results[LENGTH(uses)];

static void *use_all(void *unused) {
  (void)unused;
  for (size_t i = 0; i < LENGTH(uses); i++)
    results[i] = uses[i]();
  return NULL;
}

/* In the first thread of the program that uses the library: what it looks up
   once is looked up there. */
static void calls__of_a_thread_with_the_smallest_stack_work(void **state) {
  (void)state;
  pthread_attr_t smallest;
  pthread_t thread;
  if (scaled(1, 0) == 0) {
    print_message("skipped: sanitizers need more stack\n");
    skip();
  }
  pthread_attr_init(&smallest);
  assert_int_equal(
      pthread_attr_setstacksize(&smallest, (size_t)PTHREAD_STACK_MIN), 0);
  assert_int_equal(pthread_create(&thread, &smallest, use_all, NULL), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  pthread_attr_destroy(&smallest);
  for (size_t i = 0; i < LENGTH(uses); i++)
    if (results[i] != umemOK)
      fail_msg("use %zu: %s", i, umem_get_status_name(results[i]));
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(calls__of_a_thread_with_the_smallest_stack_work),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
