/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kernel of CUDA on memory of the library:
 *
 *   06_cuda_kernel [COUNT]
 *
 * Two contexts of one program: page-locked memory, which the host fills, and
 * the device's, where the kernel doubles each number. The library's addresses
 * are device pointers, and it works in the primary context of the device: so
 * the kernel takes them as they are. The kernel is written in PTX, which the
 * driver compiles, so that no toolkit is needed; of the driver we need what
 * loads and starts a kernel, and nothing for memory: nine functions, which are
 * declared here.
 */
#include <dlfcn.h>
#include <string.h>
#include <umem.h>

/* numbers[i] += numbers[i], for i below count */
static char const ptx[] =
    ".version 6.0\n"
    ".target sm_50\n"
    ".address_size 64\n"
    ".visible .entry twice(.param .u64 numbers, .param .u32 count) {\n"
    "  .reg .pred %past;\n"
    "  .reg .b32 %block, %width, %thread, %i, %n, %value;\n"
    "  .reg .b64 %base, %offset, %at;\n"
    "  ld.param.u64 %base, [numbers];\n"
    "  ld.param.u32 %n, [count];\n"
    "  mov.u32 %block, %ctaid.x;\n"
    "  mov.u32 %width, %ntid.x;\n"
    "  mov.u32 %thread, %tid.x;\n"
    "  mad.lo.u32 %i, %block, %width, %thread;\n"
    "  setp.ge.u32 %past, %i, %n;\n"
    "  @%past bra done;\n"
    "  cvta.to.global.u64 %base, %base;\n"
    "  mul.wide.u32 %offset, %i, 4;\n"
    "  add.u64 %at, %base, %offset;\n"
    "  ld.global.u32 %value, [%at];\n"
    "  add.u32 %value, %value, %value;\n"
    "  st.global.u32 [%at], %value;\n"
    "done:\n"
    "  ret;\n"
    "}\n";

/* What cuda.h calls CUcontext, CUmodule, CUfunction and CUstream are pointers;
   CUresult and CUdevice are int. */
static struct {
  int (*cuGetErrorName)(int code, char const **name_out);
  int (*cuDevicePrimaryCtxRetain)(void **context_out, int device);
  int (*cuDevicePrimaryCtxRelease)(int device);
  int (*cuCtxPushCurrent)(void *context);
  int (*cuCtxPopCurrent)(void **context_out);
  int (*cuModuleLoadData)(void **module_out, void const *image);
  int (*cuModuleUnload)(void *module);
  int (*cuModuleGetFunction)(void **function_out, void *module,
                             char const *name);
  int (*cuLaunchKernel)(void *function, unsigned grid_x, unsigned grid_y,
                        unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared, void *stream,
                        void **parameters, void **extra);
} cu;

struct numbers {
  umemCudaHost pinned;
  umemCuda device;
  uint32_t count;
  uintptr_t on_host, on_device;
};

static bool fail(char const *what, char const *why) {
  fprintf(stderr, "06_cuda_kernel: %s: %s\n", what, why);
  return false;
}

/* --- CUDA: the kernel ----------------------------------------------------- */

static bool check(char const *function, int code) {
  char const *name = NULL;
  if (code == 0)
    return true;
  cu.cuGetErrorName(code, &name);
  return fail(function, name ? name : "a code without a name");
}

/* POSIX: pointers to functions are as long as those to data. */
static bool find(void *library, char const *symbol, void *function_out) {
  void *found = dlsym(library, symbol);
  memcpy(function_out, &found, sizeof found);
  return found ? true : fail("the driver cannot start kernels", dlerror());
}

/* In the driver that libumem uses: it is loaded once. What cuda.h does by
   macros are the _v2. */
static bool find_functions(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW);
  if (!library)
    return fail("the driver", dlerror());
#define FIND(name, version) find(library, #name version, &cu.name)
  return FIND(cuGetErrorName, "") && FIND(cuDevicePrimaryCtxRetain, "") &&
         FIND(cuDevicePrimaryCtxRelease, "_v2") &&
         FIND(cuCtxPushCurrent, "_v2") && FIND(cuCtxPopCurrent, "_v2") &&
         FIND(cuModuleLoadData, "") && FIND(cuModuleUnload, "") &&
         FIND(cuModuleGetFunction, "") && FIND(cuLaunchKernel, "");
#undef FIND
}

/* It is started in the default stream, and not waited for: calls of the library
   come after what is there. */
static bool start(struct numbers *n, void *module) {
  enum { WIDTH = 256 };
  unsigned const blocks = (n->count + WIDTH - 1) / WIDTH;
  uint64_t adr = n->on_device;
  void *kernel, *parameters[] = {&adr, &n->count};
  return check("cuModuleGetFunction",
               cu.cuModuleGetFunction(&kernel, module, "twice")) &&
         check("cuLaunchKernel",
               cu.cuLaunchKernel(kernel, blocks, 1, 1, WIDTH, 1, 1, 0, NULL,
                                 parameters, NULL));
}

/* The copy back waits for the kernel, so the module is not needed after it. */
static bool run_and_fetch(struct numbers *n) {
  void *module;
  if (!check("cuModuleLoadData", cu.cuModuleLoadData(&module, ptx)))
    return false;
  bool ok = start(n, module);
  if (ok && umem_copy_to(&n->device, n->on_device, &n->pinned, n->on_host,
                         n->count * sizeof(uint32_t)) != umemOK)
    ok = fail("fetching", umem_get_message(&n->device));
  cu.cuModuleUnload(module);
  return ok;
}

/* In the context of device 0 that the library works in, too. */
static bool run_in_context(struct numbers *n) {
  void *context;
  if (!find_functions() || !check("cuDevicePrimaryCtxRetain",
                                  cu.cuDevicePrimaryCtxRetain(&context, 0)))
    return false;
  bool ok = check("cuCtxPushCurrent", cu.cuCtxPushCurrent(context));
  if (ok) {
    ok = run_and_fetch(n);
    cu.cuCtxPopCurrent(&context);
  }
  cu.cuDevicePrimaryCtxRelease(0);
  return ok;
}

/* --- libumem: the memory -------------------------------------------------- */

static bool load(struct numbers *n) {
  size_t const nbytes = n->count * sizeof(uint32_t);
  if (umemCuda_ctor(&n->device, 0) != umemOK)
    return fail("opening the GPU", umem_get_message(&n->device));
  if (umemCudaHost_ctor(&n->pinned, 0) != umemOK)
    return fail("pinned memory", umem_get_message(&n->pinned));
  n->on_host = umem_alloc(&n->pinned, nbytes);
  n->on_device = umem_alloc(&n->device, nbytes);
  if (!n->on_host || !n->on_device)
    return fail("allocating",
                umem_get_message(n->on_host ? (void *)&n->device : &n->pinned));
  for (uint32_t i = 0; i < n->count; i++)
    ((uint32_t *)n->on_host)[i] = i;
  if (umem_copy_to(&n->pinned, n->on_host, &n->device, n->on_device, nbytes) !=
      umemOK)
    return fail("loading", umem_get_message(&n->device));
  return true;
}

static bool verify(struct numbers const *n) {
  uint32_t const *numbers = (uint32_t const *)n->on_host;
  for (uint32_t i = 0; i < n->count; i++)
    if (numbers[i] != 2 * i)
      return fail("the kernel", "a number was not doubled");
  printf("doubled %u numbers\n", (unsigned)n->count);
  return true;
}

int main(int argc, char **argv) {
  static struct numbers n; /* zeroed: what was not constructed is no context */
  char *end = NULL;
  unsigned long count = argc > 1 ? strtoul(argv[1], &end, 10) : 1000000;
  if (argc > 2 || (end && *end) || count == 0 || count > 100000000) {
    fprintf(stderr, "usage: 06_cuda_kernel [1 to 100000000]\n");
    return EXIT_FAILURE;
  }
  n.count = (uint32_t)count;
  bool ok = load(&n) && run_in_context(&n) && verify(&n);
  umem_dtor(&n.pinned); /* each frees its block */
  umem_dtor(&n.device);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
