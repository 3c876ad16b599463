/* SPDX-License-Identifier: BSD-3-Clause */
/* See rawcu.h. */
#include "rawcu.h"

#include <dlfcn.h>
#include <string.h>

#include "support.h"

struct umemiCu const *rawcu(void) {
  static struct umemiCu cu;
  if (cu.Init)
    return &cu;
  void *library = dlopen("libcuda.so.1", RTLD_NOW), *found;
  assert_non_null(library);
#define FIND(name, symbol, parameters)                                         \
  found = dlsym(library, #symbol);                                             \
  memcpy(&cu.name, &found, sizeof found);
  UMEMI_CU_OPTIONAL(FIND)
  UMEMI_CU_REQUIRED(FIND)
#undef FIND
  assert_int_equal(cu.Init(0), UMEMI_CUDA_SUCCESS);
  return &cu;
}

#define must(call) assert_int_equal(rawcu()->call, UMEMI_CUDA_SUCCESS)

/* In the primary context of the device that has the memory. */
static cuDevice rawcu_enter(uintptr_t adr) {
  cuPointerAttribute which[] = {UMEMI_CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  int number = -1;
  void *values[] = {&number};
  cuDevice device;
  cuContext context;
  must(PointerGetAttributes(1, which, values, adr));
  must(DeviceGet(&device, number));
  must(DevicePrimaryCtxRetain(&context, device));
  must(CtxPushCurrent(context));
  return device;
}

static void rawcu_leave(cuDevice device) {
  cuContext context;
  must(CtxPopCurrent(&context));
  must(DevicePrimaryCtxRelease(device));
}

void rawcu_read(uintptr_t adr, void *out, size_t nbytes) {
  if (nbytes == 0)
    return;
  cuDevice device = rawcu_enter(adr);
  must(MemcpyDtoH(out, adr, nbytes));
  must(StreamSynchronize(NULL));
  rawcu_leave(device);
}

void rawcu_write(uintptr_t adr, void const *in, size_t nbytes) {
  if (nbytes == 0)
    return;
  cuDevice device = rawcu_enter(adr);
  must(MemcpyHtoD(adr, in, nbytes));
  must(StreamSynchronize(NULL));
  rawcu_leave(device);
}
