/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Our declarations of CUDA against NVIDIA's own, where the machine has them: a
 * wrong one does not compile. So that this is known to find them, wrong ones
 * are compared, too, and must be seen to differ. The program only says what was
 * compared. UMEM_CUDA_H, if it is defined, is the path of the header.
 */
#include <stddef.h>
#include <stdio.h>

#ifdef UMEM_CUDA_H
#include UMEM_CUDA_H
#elif defined(__has_include)
#if __has_include(<cuda.h>)
#include <cuda.h>
#endif
#endif

/* Other headers have that name, too, and older ones lack what we declare. */
#if defined(CUDA_VERSION) && CUDA_VERSION >= 11040

#define UMEMI_CU_REAL_TYPES
#include "../../src/gpu/cu.h"

#define COUNT_NUMBER(name, number) +1
#define COUNT_FUNCTION(name, symbol, parameters) +1
enum {
  NUMBERS = UMEMI_CU_CODES(COUNT_NUMBER) UMEMI_CU_NUMBERS(COUNT_NUMBER),
  FUNCTIONS =
      UMEMI_CU_REQUIRED(COUNT_FUNCTION) UMEMI_CU_OPTIONAL(COUNT_FUNCTION)
};

/* --- numbers -------------------------------------------------------------- */

#define IS_NUMBER(theirs, ours, number)                                        \
  ((long long)(theirs) == (number) && (long long)(ours) == (number))

#define SAME_CODE(name, number)                                                \
  _Static_assert(IS_NUMBER(CUDA_##name, UMEMI_CUDA_##name, number),            \
                 "CUDA_" #name " is another number");
#define SAME_NUMBER(name, number)                                              \
  _Static_assert(IS_NUMBER(CU_##name, UMEMI_CU_##name, number),                \
                 "CU_" #name " is another number");
UMEMI_CU_CODES(SAME_CODE)
UMEMI_CU_NUMBERS(SAME_NUMBER)

/* --- functions ------------------------------------------------------------ */

/* By the type of the prototype that has the symbol's very name: what cuda.h
   makes of shorter ones by macros does not matter. */
#define IS_TYPE_OF(symbol, type)                                               \
  __builtin_types_compatible_p(__typeof__(&symbol), type)

#define SAME_FUNCTION(name, symbol, parameters)                                \
  _Static_assert(IS_TYPE_OF(symbol, __typeof__(((struct umemiCu *)0)->name)),  \
                 #symbol "() is of another type");
UMEMI_CU_REQUIRED(SAME_FUNCTION)
UMEMI_CU_OPTIONAL(SAME_FUNCTION)

/* Of our own types instead of theirs: in a scope of its own, where each name
   may be declared again. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"

#define IS_LIKE(ours, theirs)                                                  \
  (sizeof(ours) == sizeof(theirs) && _Alignof(ours) == _Alignof(theirs))
#define IS_AT(ours, member, theirs, their_member)                              \
  (offsetof(ours, member) == offsetof(theirs, their_member) &&                 \
   sizeof(((ours *)0)->member) == sizeof(((theirs *)0)->their_member))

/* Pointers are passed as pointers, and numbers as numbers. */
#define IS_POINTER(type)                                                       \
  (__builtin_classify_type((type)0) == __builtin_classify_type((void *)0))
#define PASSES_LIKE(ours, theirs)                                              \
  (IS_LIKE(ours, theirs) && IS_POINTER(ours) == IS_POINTER(theirs))

/* X(ours, theirs): what is passed by value or, singly, by address. */
#define SCALARS(X)                                                             \
  X(cuCode, CUresult)                                                          \
  X(cuDevice, CUdevice)                                                        \
  X(cuAddress, CUdeviceptr)                                                    \
  X(cuContext, CUcontext)                                                      \
  X(cuStream, CUstream)                                                        \
  X(cuEvent, CUevent)                                                          \
  X(cuPool, CUmemoryPool)                                                      \
  X(cuDeviceAttribute, CUdevice_attribute)                                     \
  X(cuPointerAttribute, CUpointer_attribute)                                   \
  X(cuPoolAttribute, CUmemPool_attribute)                                      \
  X(cuCaptureMode, CUstreamCaptureMode)                                        \
  X(cuCaptureStatus, CUstreamCaptureStatus)

/* X(ours, theirs) */
#define STRUCTS(X)                                                             \
  X(cuUuid, CUuuid)                                                            \
  X(cuLocation, CUmemLocation)                                                 \
  X(cuPoolProps, CUmemPoolProps)                                               \
  X(cuIpcHandle, CUipcMemHandle)                                               \
  X(cuRows, CUDA_MEMCPY2D)                                                     \
  X(cuPeerRows, CUDA_MEMCPY3D_PEER)

/* X(ours, member, theirs) where members have one name. */
#define MEMBERS(X)                                                             \
  X(cuUuid, bytes, CUuuid)                                                     \
  X(cuLocation, type, CUmemLocation)                                           \
  X(cuLocation, id, CUmemLocation)                                             \
  X(cuPoolProps, allocType, CUmemPoolProps)                                    \
  X(cuPoolProps, handleTypes, CUmemPoolProps)                                  \
  X(cuPoolProps, location, CUmemPoolProps)                                     \
  X(cuPoolProps, win32SecurityAttributes, CUmemPoolProps)                      \
  X(cuIpcHandle, reserved, CUipcMemHandle)                                     \
  X(cuRows, srcXInBytes, CUDA_MEMCPY2D)                                        \
  X(cuRows, srcY, CUDA_MEMCPY2D)                                               \
  X(cuRows, srcMemoryType, CUDA_MEMCPY2D)                                      \
  X(cuRows, srcHost, CUDA_MEMCPY2D)                                            \
  X(cuRows, srcDevice, CUDA_MEMCPY2D)                                          \
  X(cuRows, srcArray, CUDA_MEMCPY2D)                                           \
  X(cuRows, srcPitch, CUDA_MEMCPY2D)                                           \
  X(cuRows, dstXInBytes, CUDA_MEMCPY2D)                                        \
  X(cuRows, dstY, CUDA_MEMCPY2D)                                               \
  X(cuRows, dstMemoryType, CUDA_MEMCPY2D)                                      \
  X(cuRows, dstHost, CUDA_MEMCPY2D)                                            \
  X(cuRows, dstDevice, CUDA_MEMCPY2D)                                          \
  X(cuRows, dstArray, CUDA_MEMCPY2D)                                           \
  X(cuRows, dstPitch, CUDA_MEMCPY2D)                                           \
  X(cuRows, WidthInBytes, CUDA_MEMCPY2D)                                       \
  X(cuRows, Height, CUDA_MEMCPY2D)                                             \
  X(cuPeerRows, srcXInBytes, CUDA_MEMCPY3D_PEER)                               \
  X(cuPeerRows, srcY, CUDA_MEMCPY3D_PEER)                                      \
  X(cuPeerRows, srcZ, CUDA_MEMCPY3D_PEER)                                      \
  X(cuPeerRows, srcLOD, CUDA_MEMCPY3D_PEER)                                    \
  X(cuPeerRows, srcMemoryType, CUDA_MEMCPY3D_PEER)                             \
  X(cuPeerRows, srcHost, CUDA_MEMCPY3D_PEER)                                   \
  X(cuPeerRows, srcDevice, CUDA_MEMCPY3D_PEER)                                 \
  X(cuPeerRows, srcArray, CUDA_MEMCPY3D_PEER)                                  \
  X(cuPeerRows, srcContext, CUDA_MEMCPY3D_PEER)                                \
  X(cuPeerRows, srcPitch, CUDA_MEMCPY3D_PEER)                                  \
  X(cuPeerRows, srcHeight, CUDA_MEMCPY3D_PEER)                                 \
  X(cuPeerRows, dstXInBytes, CUDA_MEMCPY3D_PEER)                               \
  X(cuPeerRows, dstY, CUDA_MEMCPY3D_PEER)                                      \
  X(cuPeerRows, dstZ, CUDA_MEMCPY3D_PEER)                                      \
  X(cuPeerRows, dstLOD, CUDA_MEMCPY3D_PEER)                                    \
  X(cuPeerRows, dstMemoryType, CUDA_MEMCPY3D_PEER)                             \
  X(cuPeerRows, dstHost, CUDA_MEMCPY3D_PEER)                                   \
  X(cuPeerRows, dstDevice, CUDA_MEMCPY3D_PEER)                                 \
  X(cuPeerRows, dstArray, CUDA_MEMCPY3D_PEER)                                  \
  X(cuPeerRows, dstContext, CUDA_MEMCPY3D_PEER)                                \
  X(cuPeerRows, dstPitch, CUDA_MEMCPY3D_PEER)                                  \
  X(cuPeerRows, dstHeight, CUDA_MEMCPY3D_PEER)                                 \
  X(cuPeerRows, WidthInBytes, CUDA_MEMCPY3D_PEER)                              \
  X(cuPeerRows, Height, CUDA_MEMCPY3D_PEER)                                    \
  X(cuPeerRows, Depth, CUDA_MEMCPY3D_PEER)

/* Members that newer headers have: older ones count them as `reserved`. */
#if CUDA_VERSION >= 13000
#define REST_IS_RIGHT                                                          \
  (IS_AT(cuPoolProps, maxSize, CUmemPoolProps, maxSize) &&                     \
   IS_AT(cuPoolProps, usage, CUmemPoolProps, usage) &&                         \
   IS_AT(cuPoolProps, reserved, CUmemPoolProps, reserved))
#else
#define REST_IS_RIGHT                                                          \
  (offsetof(cuPoolProps, maxSize) ==                                           \
   offsetof(CUmemPoolProps, win32SecurityAttributes) + sizeof(void *))
#endif

#define COUNT_PAIR(ours, theirs) +1
#define COUNT_MEMBER(ours, member, theirs) +1
enum {
  TYPES = SCALARS(COUNT_PAIR) STRUCTS(COUNT_PAIR),
  OFFSETS = MEMBERS(COUNT_MEMBER)
};

static void own_types_are_theirs(void) {
#undef UMEMI_CU_H
#undef UMEMI_CU_REAL_TYPES
#include "../../src/gpu/cu.h"
#define SAME_SCALAR(ours, theirs)                                              \
  _Static_assert(PASSES_LIKE(ours, theirs), #ours " is not passed alike");
#define SAME_STRUCT(ours, theirs)                                              \
  _Static_assert(IS_LIKE(ours, theirs), #ours " is of another size");
#define SAME_MEMBER(ours, member, theirs)                                      \
  _Static_assert(IS_AT(ours, member, theirs, member),                          \
                 #ours "." #member " is elsewhere");
  SCALARS(SAME_SCALAR)
  STRUCTS(SAME_STRUCT)
  MEMBERS(SAME_MEMBER)
  _Static_assert(REST_IS_RIGHT, "the end of cuPoolProps is another");
}

/* --- planted errors ------------------------------------------------------- */

/* The older form of a function, arguments that are exchanged, and so on: each
   is what could have been written, and must differ. */
struct planted {
  CUresult (*old_form)(unsigned *adr_out, unsigned nbytes);
  CUresult (*exchanged)(CUdeviceptr src, void *dest, size_t nbytes);
  CUresult (*one_less)(CUdeviceptr dest, void const *src, size_t nbytes);
  CUresult (*not_const)(CUdeviceptr dest, void *src, size_t nbytes);
  CUresult (*by_value)(CUcontext context);
  CUresult (*returns_int)(CUstream stream);
};

struct plantedProps {
  int allocType, handleTypes;
  void *win32SecurityAttributes; /* before the location */
  struct {
    int type, id;
  } location;
  size_t maxSize;
  unsigned char reserved[48]; /* and too short */
};

typedef struct {
  char bytes[15];
} plantedUuid;

#define DIFFERS(symbol, member)                                                \
  (!IS_TYPE_OF(symbol, __typeof__(((struct planted *)0)->member)))

/* X(what, condition that must hold) */
#define PLANTED(X)                                                             \
  X("a code", !IS_NUMBER(CUDA_ERROR_ILLEGAL_ADDRESS,                           \
                         UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS, 701))               \
  X("a code's name", !IS_NUMBER(CUDA_ERROR_ILLEGAL_ADDRESS,                    \
                                UMEMI_CUDA_ERROR_LAUNCH_FAILED, 700))          \
  X("a number",                                                                \
    !IS_NUMBER(CU_EVENT_DISABLE_TIMING, UMEMI_CU_EVENT_DISABLE_TIMING, 1))     \
  X("the older form", DIFFERS(cuMemAlloc_v2, old_form))                        \
  X("arguments exchanged", DIFFERS(cuMemcpyDtoH_v2, exchanged))                \
  X("an argument less", DIFFERS(cuMemcpyHtoDAsync_v2, one_less))               \
  X("const forgotten", DIFFERS(cuMemcpyHtoD_v2, not_const))                    \
  X("a value for an address", DIFFERS(cuCtxGetCurrent, by_value))              \
  X("another function", DIFFERS(cuEventSynchronize, returns_int))              \
  X("a short struct", !IS_LIKE(struct plantedProps, CUmemPoolProps))           \
  X("members exchanged",                                                       \
    !IS_AT(struct plantedProps, location, CUmemPoolProps, location))           \
  X("a short array", !IS_LIKE(plantedUuid, CUuuid))                            \
  X("a handle of an integer", !PASSES_LIKE(unsigned long, CUstream))           \
  X("a narrow address", !PASSES_LIKE(unsigned, CUdeviceptr))

#define IS_CAUGHT(what, condition)                                             \
  _Static_assert(condition, what " is not seen");
PLANTED(IS_CAUGHT)
#define COUNT_PLANTED(what, condition) +1
enum { PLANTED_ERRORS = PLANTED(COUNT_PLANTED) };

#pragma GCC diagnostic pop

int main(void) {
  own_types_are_theirs();
  if ((uintptr_t)CU_STREAM_PER_THREAD != UMEMI_CU_PER_THREAD)
    return 1;
  printf("%d functions, %d numbers, %d types and %d members are those of "
         "<cuda.h> %d.%d; %d planted errors are seen\n",
         FUNCTIONS, NUMBERS, TYPES, OFFSETS, CUDA_VERSION / 1000,
         CUDA_VERSION % 1000 / 10, PLANTED_ERRORS);
  return 0;
}

#else

int main(void) {
#ifdef CUDA_VERSION
  printf("skipped: <cuda.h> was of CUDA %d.%d when this was compiled, and "
         "before 11.4\n",
         CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10);
#else
  puts("skipped: no <cuda.h> of a CUDA toolkit when this was compiled");
#endif
  return 77;
}

#endif
