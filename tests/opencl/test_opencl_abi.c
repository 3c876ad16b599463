/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our declarations of OpenCL against Khronos' own, where the machine has them:
 * a wrong one does not compile. The program only says what was compared.
 */
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS

#include <stdio.h>

#ifdef __has_include
#if __has_include(<CL/cl.h>) && __has_include(<CL/cl_ext.h>)
#include <CL/cl.h>
#include <CL/cl_ext.h>
#endif
#endif

/* Older ones lack some of what we declare. */
#if defined(CL_VERSION_3_0) && defined(CL_DEVICE_DEVICE_MEM_CAPABILITIES_INTEL)

#define UMEMI_CL_REAL_TYPES
#include "../../src/opencl/cl.h"

#define SAME_NUMBER(name, number)                                              \
  _Static_assert((long long)CL_##name == (long long)(number) &&                \
                     (long long)UMEMI_CL_##name == (long long)(number),        \
                 "CL_" #name " is another number");
UMEMI_CL_ERRORS(SAME_NUMBER)
UMEMI_CL_NUMBERS(SAME_NUMBER)
#undef SAME_NUMBER
_Static_assert(CL_DEVICE_TYPE_ALL == UMEMI_CL_DEVICE_TYPE_ALL,
               "CL_DEVICE_TYPE_ALL is another number");

#define SAME_TYPE(table, name, theirs)                                         \
  _Static_assert(__builtin_types_compatible_p(                                 \
                     __typeof__(((struct table *)0)->name), theirs),           \
                 #name "() is of another type");
#define SAME_FUNCTION(result, name, parameters, arguments)                     \
  SAME_TYPE(umemiCl, name, __typeof__(&name))
#define SAME_EXTENSION(result, name, parameters, arguments)                    \
  SAME_TYPE(umemiClUsm, name, name##_fn)
UMEMI_CL_REQUIRED(SAME_FUNCTION)
UMEMI_CL_SVM(SAME_FUNCTION)
UMEMI_CL_USM(SAME_EXTENSION)

/* What is passed by address, or its size. */
_Static_assert(sizeof(clBits) == sizeof(cl_device_svm_capabilities) &&
                   sizeof(clBits) == sizeof(cl_device_type) &&
                   sizeof(clInt) == sizeof(cl_int) &&
                   sizeof(clProperty) == sizeof(cl_context_properties),
               "an answer is of another size");

#define ONE_NUMBER(name, number) +1
#define ONE_FUNCTION(result, name, parameters, arguments) +1
enum {
  NUMBERS = 1 UMEMI_CL_ERRORS(ONE_NUMBER) UMEMI_CL_NUMBERS(ONE_NUMBER),
  FUNCTIONS = UMEMI_CL_REQUIRED(ONE_FUNCTION) UMEMI_CL_SVM(ONE_FUNCTION)
      UMEMI_CL_USM(ONE_FUNCTION)
};

int main(void) {
  printf("%d functions and %d numbers are those of <CL/cl.h> and "
         "<CL/cl_ext.h>\n",
         FUNCTIONS, NUMBERS);
  return 0;
}

#else

int main(void) {
  puts("skipped: no <CL/cl.h> and <CL/cl_ext.h> of OpenCL 3.0 with "
       "cl_intel_unified_shared_memory when this was compiled");
  return 77;
}

#endif
