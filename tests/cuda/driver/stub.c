/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver of toolkits, which is there for linkers: each call fails. */
#include "simcu.h"

#define STUB(name, symbol, parameters)                                         \
  __attribute__((visibility("default"))) cuCode symbol parameters;             \
  cuCode symbol parameters {                                                   \
    return UMEMI_CUDA_ERROR_STUB_LIBRARY;                                      \
  }

#pragma GCC diagnostic ignored "-Wunused-parameter"
UMEMI_CU_REQUIRED(STUB)
UMEMI_CU_OPTIONAL(STUB)
SIMCU_EXTRA(STUB)
