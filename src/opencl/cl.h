/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What we use of OpenCL: its types, numbers and functions, as the OpenCL 3.0
 * API and the extension cl_intel_unified_shared_memory 1.0 define them. A
 * driver is found at run time and no header of OpenCL is needed to build; where
 * there is one a test holds this file against it (UMEMI_CL_REAL_TYPES).
 */
#ifndef UMEMI_CL_H
#define UMEMI_CL_H

#include <stddef.h>
#include <stdint.h>

#ifdef UMEMI_CL_REAL_TYPES
typedef cl_int clInt;
typedef cl_uint clUint;
typedef cl_bitfield clBits;
typedef intptr_t clProperty;
typedef cl_platform_id clPlatform;
typedef cl_device_id clDevice;
typedef cl_context clContext;
typedef cl_command_queue clQueue;
typedef cl_mem clMem;
typedef cl_event clEvent;
typedef cl_kernel clKernel;
#else
typedef int32_t clInt;
typedef uint32_t clUint;
typedef uint64_t clBits;
typedef intptr_t clProperty;
typedef struct clPlatform_ *clPlatform;
typedef struct clDevice_ *clDevice;
typedef struct clContext_ *clContext;
typedef struct clQueue_ *clQueue;
typedef struct clMem_ *clMem;
typedef struct clEvent_ *clEvent;
typedef struct clKernel_ *clKernel;
#endif

/* X(name, number): CL_<name>, here UMEMI_CL_<name>. */
#define UMEMI_CL_ERRORS(X)                                                     \
  X(DEVICE_NOT_FOUND, -1)                                                      \
  X(DEVICE_NOT_AVAILABLE, -2)                                                  \
  X(COMPILER_NOT_AVAILABLE, -3)                                                \
  X(MEM_OBJECT_ALLOCATION_FAILURE, -4)                                         \
  X(OUT_OF_RESOURCES, -5)                                                      \
  X(OUT_OF_HOST_MEMORY, -6)                                                    \
  X(MEM_COPY_OVERLAP, -8)                                                      \
  X(MAP_FAILURE, -12)                                                          \
  X(MISALIGNED_SUB_BUFFER_OFFSET, -13)                                         \
  X(EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST, -14)                            \
  X(INVALID_VALUE, -30)                                                        \
  X(INVALID_DEVICE_TYPE, -31)                                                  \
  X(INVALID_PLATFORM, -32)                                                     \
  X(INVALID_DEVICE, -33)                                                       \
  X(INVALID_CONTEXT, -34)                                                      \
  X(INVALID_QUEUE_PROPERTIES, -35)                                             \
  X(INVALID_COMMAND_QUEUE, -36)                                                \
  X(INVALID_HOST_PTR, -37)                                                     \
  X(INVALID_MEM_OBJECT, -38)                                                   \
  X(INVALID_KERNEL, -48)                                                       \
  X(INVALID_ARG_INDEX, -49)                                                    \
  X(INVALID_ARG_VALUE, -50)                                                    \
  X(INVALID_ARG_SIZE, -51)                                                     \
  X(INVALID_EVENT_WAIT_LIST, -57)                                              \
  X(INVALID_EVENT, -58)                                                        \
  X(INVALID_OPERATION, -59)                                                    \
  X(INVALID_BUFFER_SIZE, -61)                                                  \
  X(INVALID_PROPERTY, -64)                                                     \
  X(PLATFORM_NOT_FOUND_KHR, -1001)

#define UMEMI_CL_NUMBERS(X)                                                    \
  X(SUCCESS, 0)                                                                \
  X(FALSE, 0)                                                                  \
  X(TRUE, 1)                                                                   \
  X(DEVICE_TYPE_CPU, 1 << 1)                                                   \
  X(DEVICE_TYPE, 0x1000)                                                       \
  X(DEVICE_MAX_MEM_ALLOC_SIZE, 0x1010)                                         \
  X(DEVICE_GLOBAL_MEM_SIZE, 0x101F)                                            \
  X(DEVICE_AVAILABLE, 0x1027)                                                  \
  X(DEVICE_NAME, 0x102B)                                                       \
  X(DEVICE_PLATFORM, 0x1031)                                                   \
  X(DEVICE_SVM_CAPABILITIES, 0x1053)                                           \
  X(DEVICE_SVM_COARSE_GRAIN_BUFFER, 1 << 0)                                    \
  X(CONTEXT_DEVICES, 0x1081)                                                   \
  X(CONTEXT_PLATFORM, 0x1084)                                                  \
  X(QUEUE_CONTEXT, 0x1090)                                                     \
  X(QUEUE_DEVICE, 0x1091)                                                      \
  X(MEM_READ_WRITE, 1 << 0)                                                    \
  X(MIGRATE_MEM_OBJECT_CONTENT_UNDEFINED, 1 << 1)                              \
  X(EVENT_COMMAND_EXECUTION_STATUS, 0x11D3)                                    \
  X(DEVICE_DEVICE_MEM_CAPABILITIES_INTEL, 0x4191)                              \
  X(UNIFIED_SHARED_MEMORY_ACCESS_INTEL, 1 << 0)

#define UMEMI_CL_NUMBER(name, number) UMEMI_CL_##name = (number),
/* Fits a clUint and, as a flag, a clBits. */
enum { UMEMI_CL_ERRORS(UMEMI_CL_NUMBER) };
enum { UMEMI_CL_NUMBERS(UMEMI_CL_NUMBER) };
#undef UMEMI_CL_NUMBER
/* Not one of them: it would make all of them unsigned, as C23 has it. */
#define UMEMI_CL_DEVICE_TYPE_ALL ((clBits)0xFFFFFFFF)

/* The part that all commands end with. */
#define UMEMI_CL_WAITS_ clUint nwaits, clEvent const *waits, clEvent *event_out
#define UMEMI_CL_WAITS_GIVEN_ nwaits, waits, event_out

/*
 * X(result, name, parameters, arguments): what OpenCL 1.2 has, and no driver
 * does without.
 */
#define UMEMI_CL_REQUIRED(X)                                                   \
  X(clInt, clGetPlatformIDs,                                                   \
    (clUint room, clPlatform * platforms_out, clUint * count_out),             \
    (room, platforms_out, count_out))                                          \
  X(clInt, clGetDeviceIDs,                                                     \
    (clPlatform platform, clBits type, clUint room, clDevice * devices_out,    \
     clUint * count_out),                                                      \
    (platform, type, room, devices_out, count_out))                            \
  X(clInt, clGetDeviceInfo,                                                    \
    (clDevice device, clUint what, size_t room, void *out, size_t *size_out),  \
    (device, what, room, out, size_out))                                       \
  X(clContext, clCreateContext,                                                \
    (clProperty const *properties, clUint ndevices, clDevice const *devices,   \
     void (*notify)(char const *, void const *, size_t, void *), void *data,   \
     clInt *code_out),                                                         \
    (properties, ndevices, devices, notify, data, code_out))                   \
  X(clInt, clRetainContext, (clContext context), (context))                    \
  X(clInt, clReleaseContext, (clContext context), (context))                   \
  X(clInt, clGetContextInfo,                                                   \
    (clContext context, clUint what, size_t room, void *out,                   \
     size_t *size_out),                                                        \
    (context, what, room, out, size_out))                                      \
  X(clQueue, clCreateCommandQueue,                                             \
    (clContext context, clDevice device, clBits properties, clInt * code_out), \
    (context, device, properties, code_out))                                   \
  X(clInt, clRetainCommandQueue, (clQueue queue), (queue))                     \
  X(clInt, clReleaseCommandQueue, (clQueue queue), (queue))                    \
  X(clInt, clGetCommandQueueInfo,                                              \
    (clQueue queue, clUint what, size_t room, void *out, size_t *size_out),    \
    (queue, what, room, out, size_out))                                        \
  X(clMem, clCreateBuffer,                                                     \
    (clContext context, clBits flags, size_t nbytes, void *host,               \
     clInt *code_out),                                                         \
    (context, flags, nbytes, host, code_out))                                  \
  X(clInt, clReleaseMemObject, (clMem mem), (mem))                             \
  X(clInt, clEnqueueReadBuffer,                                                \
    (clQueue queue, clMem mem, clUint blocking, size_t offset, size_t nbytes,  \
     void *out, UMEMI_CL_WAITS_),                                              \
    (queue, mem, blocking, offset, nbytes, out, UMEMI_CL_WAITS_GIVEN_))        \
  X(clInt, clEnqueueWriteBuffer,                                               \
    (clQueue queue, clMem mem, clUint blocking, size_t offset, size_t nbytes,  \
     void const *in, UMEMI_CL_WAITS_),                                         \
    (queue, mem, blocking, offset, nbytes, in, UMEMI_CL_WAITS_GIVEN_))         \
  X(clInt, clEnqueueCopyBuffer,                                                \
    (clQueue queue, clMem src, clMem dest, size_t src_offset,                  \
     size_t dest_offset, size_t nbytes, UMEMI_CL_WAITS_),                      \
    (queue, src, dest, src_offset, dest_offset, nbytes,                        \
     UMEMI_CL_WAITS_GIVEN_))                                                   \
  X(clInt, clEnqueueFillBuffer,                                                \
    (clQueue queue, clMem mem, void const *pattern, size_t pattern_size,       \
     size_t offset, size_t nbytes, UMEMI_CL_WAITS_),                           \
    (queue, mem, pattern, pattern_size, offset, nbytes,                        \
     UMEMI_CL_WAITS_GIVEN_))                                                   \
  X(clInt, clEnqueueMigrateMemObjects,                                         \
    (clQueue queue, clUint nmems, clMem const *mems, clBits flags,             \
     UMEMI_CL_WAITS_),                                                         \
    (queue, nmems, mems, flags, UMEMI_CL_WAITS_GIVEN_))                        \
  X(clInt, clFinish, (clQueue queue), (queue))                                 \
  X(clInt, clWaitForEvents, (clUint nevents, clEvent const *events),           \
    (nevents, events))                                                         \
  X(clInt, clGetEventInfo,                                                     \
    (clEvent event, clUint what, size_t room, void *out, size_t *size_out),    \
    (event, what, room, out, size_out))                                        \
  X(clInt, clReleaseEvent, (clEvent event), (event))                           \
  X(clInt, clSetKernelArg,                                                     \
    (clKernel kernel, clUint index, size_t size, void const *value),           \
    (kernel, index, size, value))                                              \
  X(void *, clGetExtensionFunctionAddressForPlatform,                          \
    (clPlatform platform, char const *name), (platform, name))

/* Shared virtual memory: OpenCL 2.0. */
#define UMEMI_CL_SVM(X)                                                        \
  X(void *, clSVMAlloc,                                                        \
    (clContext context, clBits flags, size_t nbytes, clUint alignment),        \
    (context, flags, nbytes, alignment))                                       \
  X(void, clSVMFree, (clContext context, void *ptr), (context, ptr))           \
  X(clInt, clEnqueueSVMMemcpy,                                                 \
    (clQueue queue, clUint blocking, void *dest, void const *src,              \
     size_t nbytes, UMEMI_CL_WAITS_),                                          \
    (queue, blocking, dest, src, nbytes, UMEMI_CL_WAITS_GIVEN_))               \
  X(clInt, clEnqueueSVMMemFill,                                                \
    (clQueue queue, void *ptr, void const *pattern, size_t pattern_size,       \
     size_t nbytes, UMEMI_CL_WAITS_),                                          \
    (queue, ptr, pattern, pattern_size, nbytes, UMEMI_CL_WAITS_GIVEN_))        \
  X(clInt, clSetKernelArgSVMPointer,                                           \
    (clKernel kernel, clUint index, void const *ptr), (kernel, index, ptr))

/* Unified shared memory: of one platform each, and found by
   clGetExtensionFunctionAddressForPlatform(). */
#define UMEMI_CL_USM(X)                                                        \
  X(void *, clDeviceMemAllocINTEL,                                             \
    (clContext context, clDevice device, clBits const *properties,             \
     size_t nbytes, clUint alignment, clInt *code_out),                        \
    (context, device, properties, nbytes, alignment, code_out))                \
  X(clInt, clMemFreeINTEL, (clContext context, void *ptr), (context, ptr))     \
  X(clInt, clEnqueueMemcpyINTEL,                                               \
    (clQueue queue, clUint blocking, void *dest, void const *src,              \
     size_t nbytes, UMEMI_CL_WAITS_),                                          \
    (queue, blocking, dest, src, nbytes, UMEMI_CL_WAITS_GIVEN_))               \
  X(clInt, clEnqueueMemFillINTEL,                                              \
    (clQueue queue, void *ptr, void const *pattern, size_t pattern_size,       \
     size_t nbytes, UMEMI_CL_WAITS_),                                          \
    (queue, ptr, pattern, pattern_size, nbytes, UMEMI_CL_WAITS_GIVEN_))        \
  X(clInt, clSetKernelArgMemPointerINTEL,                                      \
    (clKernel kernel, clUint index, void const *ptr), (kernel, index, ptr))

#define UMEMI_CL_MEMBER(result, name, parameters, arguments)                   \
  result(*(name)) parameters; /* NOLINT(bugprone-macro-parentheses) */
/* The functions of libOpenCL.so.1; those of SVM may be missing. */
struct umemiCl {
  UMEMI_CL_REQUIRED(UMEMI_CL_MEMBER)
  UMEMI_CL_SVM(UMEMI_CL_MEMBER)
};
struct umemiClUsm {
  UMEMI_CL_USM(UMEMI_CL_MEMBER)
};
#undef UMEMI_CL_MEMBER

#endif
