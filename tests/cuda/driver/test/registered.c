/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of the host that can be registered, and that cannot. */
#include "support.h"

#include <sys/mman.h>

enum { PAGE = 4096, IO_MEMORY = 4, READ_ONLY = 8 };

static unsigned char *mapped(int access) {
  unsigned char *at =
      mmap(NULL, (size_t)3 * PAGE, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(at != MAP_FAILED);
  return at;
}

static void registered__memory_is_mapped(void **state) {
  (void)state;
  unsigned char *at = mapped(PROT_READ | PROT_WRITE);
  ok(c.cu.MemHostRegister(at + 5, (size_t)3 * PAGE - 5, 0));
  ok(c.cu.MemHostUnregister(at + 5));
  munmap(at + PAGE, PAGE);
  fails(c.cu.MemHostRegister(at, (size_t)3 * PAGE, 0), INVALID_VALUE);
  fails(c.cu.MemHostRegister(at + PAGE, 8, 0), INVALID_VALUE);
  ok(c.cu.MemHostRegister(at, PAGE, 0));
  ok(c.cu.MemHostUnregister(at));
  munmap(at, PAGE);
  munmap(at + 2 * PAGE, PAGE);
}

static void registered__memory_is_readable(void **state) {
  (void)state;
  unsigned char *at = mapped(PROT_NONE);
  fails(c.cu.MemHostRegister(at, PAGE, READ_ONLY), INVALID_VALUE);
  munmap(at, (size_t)3 * PAGE);
}

static void registered__memory_without_writing_needs_a_flag(void **state) {
  (void)state;
  cuAddress adr = allocated(8);
  unsigned char *at = mapped(PROT_READ);
  fails(c.cu.MemHostRegister(at, PAGE, 0), INVALID_VALUE);
  ok(c.cu.MemHostRegister(at, PAGE, READ_ONLY | 1));
  ok(c.cu.MemcpyHtoDAsync(adr, at, 8, NULL));
  ok(c.cu.CtxSynchronize());
  assert_int_equal(byte_at(adr), 0);
  fails(c.cu.MemcpyDtoH(at, adr, 8), INVALID_VALUE);
  violates("as read-only");
  fails(c.cu.MemsetD8((uintptr_t)at, 1, 8), INVALID_VALUE);
  violates("as read-only");
  ok(c.cu.MemHostUnregister(at));
  ok(c.cu.MemFree(adr));
  munmap(at, (size_t)3 * PAGE);
}

static void registered__memory_of_io_needs_a_flag(void **state) {
  (void)state;
  c.sim.set_io(host, NBYTES);
  fails(c.cu.MemHostRegister(host, NBYTES, 0), INVALID_VALUE);
  ok(c.cu.MemHostRegister(host, NBYTES, IO_MEMORY));
  ok(c.cu.MemHostUnregister(host));
  c.sim.set_io(NULL, 0);
  fails(c.cu.MemHostRegister(host, NBYTES, IO_MEMORY), INVALID_VALUE);
}

static void registering__may_be_unsupported(void **state) {
  (void)state;
  c.sim.set_attribute(0, 113, 0);
  fails(c.cu.MemHostRegister(host, NBYTES, READ_ONLY), NOT_SUPPORTED);
  ok(c.cu.MemHostRegister(host, NBYTES, 0));
  ok(c.cu.MemHostUnregister(host));
  c.sim.set_attribute(0, 113, 1);
  c.sim.set_attribute(0, 99, 0);
  fails(c.cu.MemHostRegister(host, NBYTES, 0), NOT_SUPPORTED);
  c.sim.set_attribute(0, 99, 1);
  fails(c.cu.MemHostRegister(host, NBYTES, 16), INVALID_VALUE);
}

int registered_part(void) {
  struct CMUnitTest const tests[] = {
      in_contexts(registered__memory_is_mapped),
      in_contexts(registered__memory_is_readable),
      in_contexts(registered__memory_without_writing_needs_a_flag),
      in_contexts(registered__memory_of_io_needs_a_flag),
      in_contexts(registering__may_be_unsupported),
  };
  return cmocka_run_group_tests_name("registered", tests, NULL, NULL);
}
