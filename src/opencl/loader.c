/* SPDX-License-Identifier: BSD-3-Clause */
/* libOpenCL.so.1: found at run time, and used as long as it may be. */
#include "opencl.h"

/* Set once; the library stays loaded, because drivers have threads. */
static _Atomic(struct umemiCl *) loaded;
static struct umemiDriver driver = {.name = "OpenCL", .has_thread_data = true};

umemStatusType umemi_cl_guard(umemError *error) {
  return umemi_driver_guard(&driver, error);
}

bool umemi_cl_is_usable(void) {
  return umemi_driver_is_usable(&driver);
}

bool umemi_cl_is_started(void) {
  return atomic_load(&driver.process) != 0;
}

/* The name of the first function that is missing, or NULL. POSIX: what dlsym()
   finds fits a pointer to a function. */
static char const *loader_fill(void *library, struct umemiCl *cl) {
#define FUNCTION(result, name, parameters, arguments)                          \
  {#name, offsetof(struct umemiCl, name)},
  static struct {
    char const *name;
    size_t offset;
  } const functions[] = {UMEMI_CL_REQUIRED(FUNCTION) UMEMI_CL_SVM(FUNCTION)};
#undef FUNCTION
  enum { OPTIONAL = offsetof(struct umemiCl, clSVMAlloc) }; /* from there on */
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    void *found = umemi_os.dlsym(library, functions[i].name);
    if (!found && functions[i].offset < OPTIONAL)
      return functions[i].name;
    memcpy((char *)cl + functions[i].offset, &found, sizeof found);
  }
  return NULL;
}

static umemStatusType loader_open(struct umemiCl *cl, umemError *error) {
  void *library = umemi_os.dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "no OpenCL: libOpenCL.so.1 was not found, or cannot "
                           "be loaded: %s",
                           dlerror());
  char const *missing = loader_fill(library, cl);
  if (missing)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "libOpenCL.so.1 has no %s(): OpenCL 1.2 is needed",
                           missing);
  return umemOK;
}

/* Of several threads that load it, one's table is kept. */
static umemStatusType loader_load(umemError *error) {
  struct umemiCl *mine = umemi_os.malloc(sizeof *mine), *none = NULL;
  if (!mine)
    return umemi_no_memory(error, "the functions of OpenCL", sizeof *mine);
  umemStatusType status = loader_open(mine, error);
  if (status == umemOK && atomic_compare_exchange_strong(&loaded, &none, mine))
    return umemOK;
  free(mine);
  return status;
}

/* Drivers start with the first question. */
static void loader_start(struct umemiCl const *cl) {
  clUint count;
  if (atomic_load(&driver.process))
    return;
  cl->clGetPlatformIDs(0, NULL, &count);
  umemi_driver_started(&driver);
}

umemStatusType umemi_cl_load(struct umemiCl const **cl_out, umemError *error) {
  umemStatusType status = umemOK;
  if (!atomic_load(&loaded))
    status = loader_load(error);
  if (status != umemOK)
    return status;
  loader_start(atomic_load(&loaded));
  *cl_out = atomic_load(&loaded);
  return umemi_cl_guard(error);
}
