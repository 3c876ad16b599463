/* SPDX-License-Identifier: BSD-3-Clause */
/* libcuda.so.1: found at run time, started once, and what it answers. */
#include "cudriver.h"

/* --- the library ---------------------------------------------------------- */

static _Atomic(struct umemiCu *) loaded;
struct umemiDriver umemi_cu_driver = {.name = "CUDA"};

struct umemiCu const *umemi_cu(void) {
  return atomic_load_explicit(&loaded, memory_order_acquire);
}

/* The first function that is missing, or NULL. */
static char const *cuda_fill(void *library, struct umemiCu *table) {
  char const *missing = NULL;
  void *found;
#define FIND(name, symbol, parameters)                                         \
  found = umemi_os.dlsym(library, #symbol);                                    \
  memcpy(&table->name, &found, sizeof found); /* POSIX: they fit */
#define FIND_REQUIRED(name, symbol, parameters)                                \
  FIND(name, symbol, parameters)                                               \
  missing = missing || found ? missing : #symbol;
  UMEMI_CU_REQUIRED(FIND_REQUIRED)
  UMEMI_CU_OPTIONAL(FIND)
#undef FIND_REQUIRED
#undef FIND
  return missing;
}

static umemStatusType cuda_open(struct umemiCu *table, umemError *error) {
  void *library = umemi_os.dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "no usable CUDA driver: libcuda.so.1 was not found, "
                           "or cannot be loaded: %s",
                           dlerror());
  char const *missing = cuda_fill(library, table);
  if (missing)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "no usable CUDA driver: libcuda.so.1 has no %s(); "
                           "CUDA 11.0 (R450) or later is needed",
                           missing);
  return umemOK;
}

/* --- results -------------------------------------------------------------- */

/* After these the driver answers the same to all that follows: the list is that
   of its documentation, and what ends a context by its nature. */
bool umemi_cu_is_sticky(int64_t code) {
  switch (code) {
  case UMEMI_CUDA_ERROR_ECC_UNCORRECTABLE:
  case UMEMI_CUDA_ERROR_NVLINK_UNCORRECTABLE:
  case UMEMI_CUDA_ERROR_CONTAINED:
  case UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS:
  case UMEMI_CUDA_ERROR_LAUNCH_TIMEOUT:
  case UMEMI_CUDA_ERROR_CONTEXT_IS_DESTROYED:
  case UMEMI_CUDA_ERROR_ASSERT:
  case UMEMI_CUDA_ERROR_HARDWARE_STACK_ERROR:
  case UMEMI_CUDA_ERROR_ILLEGAL_INSTRUCTION:
  case UMEMI_CUDA_ERROR_MISALIGNED_ADDRESS:
  case UMEMI_CUDA_ERROR_INVALID_ADDRESS_SPACE:
  case UMEMI_CUDA_ERROR_INVALID_PC:
  case UMEMI_CUDA_ERROR_LAUNCH_FAILED:
  case UMEMI_CUDA_ERROR_TENSOR_MEMORY_LEAK:
  case UMEMI_CUDA_ERROR_MPS_CLIENT_TERMINATED:
  case UMEMI_CUDA_ERROR_EXTERNAL_DEVICE:
    return true;
  default:
    return false;
  }
}

/* What a caller can do about it. */
static umemStatusType cuda_type(cuCode code) {
  switch (code) {
  case UMEMI_CUDA_ERROR_OUT_OF_MEMORY:
    return umemMemoryError;
  case UMEMI_CUDA_ERROR_INVALID_VALUE:
  case UMEMI_CUDA_ERROR_INVALID_DEVICE:
    return umemValueError;
  case UMEMI_CUDA_ERROR_NOT_INITIALIZED:
  case UMEMI_CUDA_ERROR_STUB_LIBRARY:
  case UMEMI_CUDA_ERROR_NO_DEVICE:
  case UMEMI_CUDA_ERROR_NOT_SUPPORTED:
  case UMEMI_CUDA_ERROR_SYSTEM_NOT_READY:
  case UMEMI_CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
  case UMEMI_CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
    return umemNotSupportedError;
  default:
    return umemRuntimeError;
  }
}

static char const *cuda_text(struct umemiCu const *table, cuCode code) {
  char const *text = NULL;
  if (code == UMEMI_CUDA_ERROR_STUB_LIBRARY)
    return "this libcuda.so.1 is the toolkit's stub, to link with, and no "
           "driver";
  table->GetErrorString(code, &text);
  return text ? text : "the driver does not say more";
}

umemStatusType umemi_cu_failed(struct umemiCu const *table, cuCode code,
                               char const *function, umemError *error) {
  char const *name = NULL;
  if (UMEMI_LIKELY(code == UMEMI_CUDA_SUCCESS))
    return umemOK;
  table->GetErrorName(code, &name);
  return umem_error_fill(error, cuda_type(code), 0, code, "%s: %s (%d): %s",
                         function, name ? name : "CUDA error", (int)code,
                         cuda_text(table, code));
}

/* --- beginning ------------------------------------------------------------ */

static umemStatusType cuda_init(struct umemiCu const *table, umemError *error) {
  umemStatusType status = umemi_cu_failed(
      table, table->Init(0), "no usable CUDA driver: cuInit", error);
  if (status == umemOK)
    umemi_driver_started(&umemi_cu_driver);
  else if (status == umemValueError || status == umemRuntimeError)
    error->type = status = umemNotSupportedError;
  return status;
}

/* Of several threads that load it, one's table is kept. */
umemStatusType umemi_cu_load(umemError *error) {
  struct umemiCu *mine, *none = NULL;
  if (umemi_cu())
    return umemi_driver_guard(&umemi_cu_driver, error);
  mine = umemi_os.malloc(sizeof *mine);
  if (!mine)
    return umemi_no_memory(error, "the functions of CUDA", sizeof *mine);
  umemStatusType status = cuda_open(mine, error);
  if (status == umemOK)
    status = cuda_init(mine, error);
  if (status == umemOK && atomic_compare_exchange_strong(&loaded, &none, mine))
    return umemOK;
  free(mine);
  return status;
}
