/* SPDX-License-Identifier: BSD-3-Clause */
/* What the rest of a program does with CUDA around the library. */
#ifndef UMEM_TESTS_CUDA_PROGRAM_H
#define UMEM_TESTS_CUDA_PROGRAM_H

#include "rig.h"

#define must(call) assert_int_equal(client.cu.call, UMEMI_CUDA_SUCCESS)

/* The program works on the device until program_leave(). */
static inline cuContext program_enter(int device) {
  cuContext context;
  must(Init(0));
  must(DevicePrimaryCtxRetain(&context, device));
  must(CtxPushCurrent(context));
  return context;
}

static inline void program_leave(int device) {
  cuContext context;
  must(CtxPopCurrent(&context));
  must(DevicePrimaryCtxRelease(device));
}

/* Has the device a primary context? */
static inline bool has_context(int device) {
  unsigned flags;
  int active = 0;
  must(Init(0));
  must(DevicePrimaryCtxGetState(device, &flags, &active));
  return active;
}

static inline void open_flags(umemCuda *ctx, int device, uint32_t flags) {
  umemCudaOptions options = {.size = sizeof options, .flags = flags};
  if (umemCuda_ctor_ex(ctx, device, &options) != umemOK)
    fail_msg("%s", umem_get_message(ctx));
}

static inline bool holds(void const *ctx, uintptr_t adr, int value,
                         size_t nbytes) {
  unsigned char *bytes = malloc(nbytes);
  assert_non_null(bytes);
  memset(bytes, value + 1, nbytes);
  assert_ok(umem_copy_to(ctx, adr, &host, (uintptr_t)bytes, nbytes));
  bool const same = all_bytes_are(bytes, nbytes, (unsigned char)value);
  free(bytes);
  return same;
}

/* Of a file of tests on the simulated driver alone. */
static inline int program_main(struct CMUnitTest const *tests, size_t count,
                               struct role const *roles, size_t role_count,
                               int argc, char **argv) {
  client_load(&client, "libcuda.so.1");
  assert_ok(umemHost_ctor(&host));
  if (argc > 1)
    return rig_play(roles, role_count, argv[1]);
  int const absent = rig_find_device();
  if (absent)
    return absent;
  if (!is_simulated()) {
    print_message("needs the simulated driver\n");
    return SKIPPED;
  }
  return _cmocka_run_group_tests("tests", tests, count, NULL, NULL);
}

#endif
