/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adds two files of numbers on an OpenCL device:
 *
 *   04_vector_add A B SUM
 *
 * A and B hold 32-bit integers as this machine writes them, as many in one as
 * in the other; SUM is written, and gets the sum of each pair. The library
 * brings the numbers from the files into the device's memory, and the sums from
 * there into a file. Of OpenCL itself we need what compiles and starts a
 * kernel, and nothing for memory: six functions, which are declared here, so
 * that no header of OpenCL is needed.
 */
#include <dlfcn.h>
#include <string.h>
#include <umem.h>

static char const source[] =
    "kernel void add(global uint const *a, global uint const *b,\n"
    "                global uint *sum) {\n"
    "  size_t i = get_global_id(0);\n"
    "  sum[i] = a[i] + b[i];\n"
    "}\n";

/* What cl.h calls cl_program, cl_kernel and so on are pointers. */
static struct {
  void *(*clCreateProgramWithSource)(void *context, uint32_t count,
                                     char const **sources,
                                     size_t const *lengths, int32_t *code_out);
  int32_t (*clBuildProgram)(void *program, uint32_t ndevices,
                            void *const *devices, char const *options,
                            void (*notify)(void *, void *), void *data);
  void *(*clCreateKernel)(void *program, char const *name, int32_t *code_out);
  int32_t (*clEnqueueNDRangeKernel)(void *queue, void *kernel, uint32_t ndims,
                                    size_t const *offset, size_t const *size,
                                    size_t const *group, uint32_t nwaits,
                                    void *const *waits, void **event_out);
  int32_t (*clReleaseKernel)(void *kernel);
  int32_t (*clReleaseProgram)(void *program);
} cl;

struct vectors {
  umemMMap a_file, b_file;
  umemFile sum_file;
  umemOpenCL device;
  umemDeviceInfo info; /* of it */
  size_t nbytes;       /* of each vector */
  uintptr_t a, b, sum;
};

static bool fail(char const *what, char const *why) {
  fprintf(stderr, "04_vector_add: %s: %s\n", what, why);
  return false;
}

/* --- OpenCL: the kernel --------------------------------------------------- */

static bool fail_code(char const *function, int32_t code) {
  char why[64];
  snprintf(why, sizeof why, "OpenCL answers %d", (int)code);
  return fail(function, why);
}

/* POSIX: pointers to functions are as long as those to data. */
static bool find(void *library, char const *name, void *function_out) {
  void *found = dlsym(library, name);
  memcpy(function_out, &found, sizeof found);
  return found ? true : fail("OpenCL", dlerror());
}

/* In the library that libumem uses: it is loaded once. */
static bool find_functions(void) {
  void *library = dlopen("libOpenCL.so.1", RTLD_NOW);
  if (!library)
    return fail("OpenCL", dlerror());
#define FIND(name) find(library, #name, &cl.name)
  return FIND(clCreateProgramWithSource) && FIND(clBuildProgram) &&
         FIND(clCreateKernel) && FIND(clEnqueueNDRangeKernel) &&
         FIND(clReleaseKernel) && FIND(clReleaseProgram);
#undef FIND
}

/* Compiled for the device that the context is for; NULL on failure. */
static void *make_kernel(umemOpenCL *device) {
  char const *text = source;
  void *context, *id, *kernel = NULL;
  int32_t code;
  if (umemOpenCL_get_objects(device, &context, &id, NULL) != umemOK) {
    fail("asking for the device", umem_get_message(device));
    return NULL;
  }
  void *program = cl.clCreateProgramWithSource(context, 1, &text, NULL, &code);
  if (code != 0) {
    fail_code("clCreateProgramWithSource", code);
    return NULL;
  }
  code = cl.clBuildProgram(program, 1, &id, "", NULL, NULL);
  if (code != 0)
    fail_code("clBuildProgram", code);
  else if (!(kernel = cl.clCreateKernel(program, "add", &code)))
    fail_code("clCreateKernel", code);
  cl.clReleaseProgram(program);
  return kernel;
}

/*
 * Starts the kernel, once for each number, and does not wait for it: it is in
 * the context's queue, which later calls on the context look after.
 */
static bool start_kernel(struct vectors *v, void *kernel) {
  size_t const count = v->nbytes / sizeof(uint32_t);
  void *queue;
  umemOpenCL_set_arg(&v->device, kernel, 0, v->a);
  umemOpenCL_set_arg(&v->device, kernel, 1, v->b);
  umemOpenCL_set_arg(&v->device, kernel, 2, v->sum);
  umemOpenCL_get_objects(&v->device, NULL, NULL, &queue);
  if (!umem_is_ok(&v->device)) /* of all four calls */
    return fail("passing the vectors", umem_get_message(&v->device));
  int32_t code = cl.clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &count, NULL,
                                           0, NULL, NULL);
  return code == 0 ? true : fail_code("clEnqueueNDRangeKernel", code);
}

/* --- libumem: the memory -------------------------------------------------- */

/* The first one there is, or why there is none. */
static bool open_device(umemOpenCL *device, umemDeviceInfo *info) {
  info->size = sizeof *info;
  if (umem_device_info(umemOpenCLDevice, 0, info) != umemOK || !info->usable)
    return fail("no OpenCL device", info->reason);
  if (umemOpenCL_ctor(device, info->platform, info->device) != umemOK)
    return fail("opening the device", umem_get_message(device));
  return true;
}

/* Mapped: so it has an address, and the library knows how long it is. */
static bool open_input(umemMMap *map, char const *name, uintptr_t *adr_out,
                       size_t *nbytes_out) {
  if (umemMMap_ctor(map, name, "r") != umemOK)
    return fail("opening", umem_get_message(map));
  *adr_out = umemMMap_get_address(map, nbytes_out);
  if (*nbytes_out == 0)
    return fail(name, "is empty: there is nothing to add");
  if (*nbytes_out % sizeof(uint32_t))
    return fail(name, "does not hold 32-bit integers only");
  return true;
}

/* From the files into the device. */
static bool load(struct vectors *v, char const *a_name, char const *b_name) {
  uintptr_t a_adr, b_adr;
  size_t b_bytes;
  if (!open_input(&v->a_file, a_name, &a_adr, &v->nbytes) ||
      !open_input(&v->b_file, b_name, &b_adr, &b_bytes))
    return false;
  if (v->nbytes != b_bytes)
    return fail(b_name, "is not as long as the first file");
  v->a = umem_alloc(&v->device, v->nbytes);
  v->b = umem_alloc(&v->device, v->nbytes);
  v->sum = umem_alloc(&v->device, v->nbytes);
  if (!umem_is_ok(&v->device))
    return fail("allocating", umem_get_message(&v->device));
  umem_copy_to(&v->a_file, a_adr, &v->device, v->a, v->nbytes);
  umem_copy_to(&v->b_file, b_adr, &v->device, v->b, v->nbytes);
  if (!umem_is_ok(&v->device)) /* a failed copy is told on both sides */
    return fail("loading", umem_get_message(&v->device));
  return true;
}

/* From the device into a file, which takes its name when all is in it. The
   copy waits for the kernel. */
static bool store(struct vectors *v, char const *name) {
  umemFileOptions const options = {.size = sizeof options,
                                   .flags = UMEM_FILE_ATOMIC};
  if (umemFile_ctor_ex(&v->sum_file, name, "w", &options) != umemOK)
    return fail("opening", umem_get_message(&v->sum_file));
  if (umem_copy_to(&v->device, v->sum, &v->sum_file, 0, v->nbytes) != umemOK)
    return fail("storing", umem_get_message(&v->sum_file));
  if (umem_dtor(&v->sum_file) != umemOK)
    return fail("storing", umem_get_message(&v->sum_file));
  printf("added %zu pairs of numbers on %s\n", v->nbytes / sizeof(uint32_t),
         v->info.name);
  return true;
}

/* --- both ----------------------------------------------------------------- */

static bool add(struct vectors *v, char const *sum_name) {
  void *kernel = find_functions() ? make_kernel(&v->device) : NULL;
  if (!kernel)
    return false;
  bool ok = start_kernel(v, kernel) && store(v, sum_name);
  cl.clReleaseKernel(kernel);
  return ok;
}

int main(int argc, char **argv) {
  static struct vectors v; /* zeroed: what was not constructed is no context */
  if (argc != 4) {
    fprintf(stderr, "usage: 04_vector_add A B SUM\n");
    return EXIT_FAILURE;
  }
  bool ok = open_device(&v.device, &v.info) && load(&v, argv[1], argv[2]) &&
            add(&v, argv[3]);
  umem_dtor(&v.sum_file);
  umem_dtor(&v.device); /* and frees the three blocks */
  umem_dtor(&v.b_file);
  umem_dtor(&v.a_file);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
