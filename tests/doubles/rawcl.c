/* SPDX-License-Identifier: BSD-3-Clause */
/* See rawcl.h. */
#include "rawcl.h"

#include <dlfcn.h>
#include <string.h>

#include "support.h"

struct umemiCl const *rawcl(void) {
  static struct umemiCl cl;
  if (cl.clGetPlatformIDs)
    return &cl;
  void *library = dlopen("libOpenCL.so.1", RTLD_NOW), *found;
  assert_non_null(library);
#define FIND(result, name, parameters, arguments)                              \
  found = dlsym(library, #name);                                               \
  assert_non_null(found);                                                      \
  memcpy(&cl.name, &found, sizeof found);
  UMEMI_CL_SVM(FIND)
  UMEMI_CL_REQUIRED(FIND)
#undef FIND
  return &cl;
}

static struct umemiClUsm rawcl_usm(clDevice device) {
  struct umemiClUsm usm;
  clPlatform platform;
  void *found;
  rawcl()->clGetDeviceInfo(device, UMEMI_CL_DEVICE_PLATFORM, sizeof platform,
                           &platform, NULL);
#define FIND(result, name, parameters, arguments)                              \
  found = rawcl()->clGetExtensionFunctionAddressForPlatform(platform, #name);  \
  assert_non_null(found);                                                      \
  memcpy(&usm.name, &found, sizeof found);
  UMEMI_CL_USM(FIND)
#undef FIND
  return usm;
}

/* The context's own queue: what is done there comes before its next call. */
static void rawcl_copy(umemOpenCL const *ctx, uintptr_t adr, void *out,
                       void const *in, size_t nbytes) {
  struct umemiCl const *cl = rawcl();
  void *device, *queue, *mem, *pointer = (void *)adr;
  size_t offset;
  clInt code;
  if (nbytes == 0)
    return;
  assert_ok(umemOpenCL_get_objects(ctx, NULL, &device, &queue));
  assert_ok(umemOpenCL_get_mem(ctx, adr, &mem, &offset));
  void *dest = out ? out : pointer;
  void const *src = out ? pointer : in;
  if (mem && out)
    code = cl->clEnqueueReadBuffer(queue, mem, UMEMI_CL_TRUE, offset, nbytes,
                                   out, 0, NULL, NULL);
  else if (mem)
    code = cl->clEnqueueWriteBuffer(queue, mem, UMEMI_CL_TRUE, offset, nbytes,
                                    in, 0, NULL, NULL);
  else if (umemOpenCL_get_tier(ctx) == umemOpenCLSvm)
    code = cl->clEnqueueSVMMemcpy(queue, UMEMI_CL_TRUE, dest, src, nbytes, 0,
                                  NULL, NULL);
  else
    code = rawcl_usm(device).clEnqueueMemcpyINTEL(queue, UMEMI_CL_TRUE, dest,
                                                  src, nbytes, 0, NULL, NULL);
  assert_int_equal(code, UMEMI_CL_SUCCESS);
  assert_int_equal(cl->clFinish(queue), UMEMI_CL_SUCCESS);
}

void rawcl_read(umemOpenCL const *ctx, uintptr_t adr, void *out,
                size_t nbytes) {
  rawcl_copy(ctx, adr, out, NULL, nbytes);
}

void rawcl_write(umemOpenCL const *ctx, uintptr_t adr, void const *in,
                 size_t nbytes) {
  rawcl_copy(ctx, adr, NULL, in, nbytes);
}
