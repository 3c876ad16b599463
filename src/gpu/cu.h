/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What we use of the CUDA driver API: its types, numbers and functions. The
 * driver is found at run time, by the literal names of its symbols, each of
 * which has one signature for ever (cuda.h's macros move on to newer ones), and
 * no toolkit is needed to build; where there is one a test holds this file
 * against it (UMEMI_CU_REAL_TYPES).
 */
#ifndef UMEMI_CU_H
#define UMEMI_CU_H

#include <stddef.h>
#include <stdint.h>

#ifdef UMEMI_CU_REAL_TYPES
typedef CUresult cuCode;
typedef CUdevice cuDevice;
typedef CUdeviceptr cuAddress;
typedef CUcontext cuContext;
typedef CUstream cuStream;
typedef CUevent cuEvent;
typedef CUmemoryPool cuPool;
typedef CUuuid cuUuid;
typedef CUmemPoolProps cuPoolProps;
typedef CUipcMemHandle cuIpcHandle;
typedef CUdevice_attribute cuDeviceAttribute;
typedef CUpointer_attribute cuPointerAttribute;
typedef CUmemPool_attribute cuPoolAttribute;
typedef CUstreamCaptureMode cuCaptureMode;
typedef CUstreamCaptureStatus cuCaptureStatus;
typedef CUDA_MEMCPY2D cuRows;
typedef CUDA_MEMCPY3D_PEER cuPeerRows;
#else
typedef int cuCode;
typedef int cuDevice;
typedef unsigned long long cuAddress;
typedef struct cuContext_ *cuContext;
typedef struct cuStream_ *cuStream;
typedef struct cuEvent_ *cuEvent;
typedef struct cuPool_ *cuPool;
typedef struct cuUuid {
  char bytes[16];
} cuUuid;
typedef struct cuLocation {
  int type, id;
} cuLocation;
typedef struct cuPoolProps {
  int allocType, handleTypes;
  cuLocation location;
  void *win32SecurityAttributes;
  size_t maxSize;
  unsigned short usage;
  unsigned char reserved[54];
} cuPoolProps;
typedef struct cuIpcHandle {
  char reserved[64];
} cuIpcHandle;
typedef int cuDeviceAttribute, cuPointerAttribute, cuPoolAttribute;
typedef int cuCaptureMode, cuCaptureStatus;
typedef struct cuRows {
  size_t srcXInBytes, srcY;
  int srcMemoryType;
  void const *srcHost;
  cuAddress srcDevice;
  void *srcArray;
  size_t srcPitch;
  size_t dstXInBytes, dstY;
  int dstMemoryType;
  void *dstHost;
  cuAddress dstDevice;
  void *dstArray;
  size_t dstPitch;
  size_t WidthInBytes, Height;
} cuRows;
typedef struct cuPeerRows {
  size_t srcXInBytes, srcY, srcZ, srcLOD;
  int srcMemoryType;
  void const *srcHost;
  cuAddress srcDevice;
  void *srcArray;
  cuContext srcContext;
  size_t srcPitch, srcHeight;
  size_t dstXInBytes, dstY, dstZ, dstLOD;
  int dstMemoryType;
  void *dstHost;
  cuAddress dstDevice;
  void *dstArray;
  cuContext dstContext;
  size_t dstPitch, dstHeight;
  size_t WidthInBytes, Height, Depth;
} cuPeerRows;
#endif

/* X(name, number): CUDA_<name>, here UMEMI_CUDA_<name>. */
#define UMEMI_CU_CODES(X)                                                      \
  X(SUCCESS, 0)                                                                \
  X(ERROR_INVALID_VALUE, 1)                                                    \
  X(ERROR_OUT_OF_MEMORY, 2)                                                    \
  X(ERROR_NOT_INITIALIZED, 3)                                                  \
  X(ERROR_DEINITIALIZED, 4)                                                    \
  X(ERROR_STUB_LIBRARY, 34)                                                    \
  X(ERROR_DEVICE_UNAVAILABLE, 46)                                              \
  X(ERROR_NO_DEVICE, 100)                                                      \
  X(ERROR_INVALID_DEVICE, 101)                                                 \
  X(ERROR_INVALID_CONTEXT, 201)                                                \
  X(ERROR_ALREADY_MAPPED, 208)                                                 \
  X(ERROR_ECC_UNCORRECTABLE, 214)                                              \
  X(ERROR_PEER_ACCESS_UNSUPPORTED, 217)                                        \
  X(ERROR_NVLINK_UNCORRECTABLE, 220)                                           \
  X(ERROR_CONTAINED, 226)                                                      \
  X(ERROR_INVALID_HANDLE, 400)                                                 \
  X(ERROR_NOT_FOUND, 500)                                                      \
  X(ERROR_NOT_READY, 600)                                                      \
  X(ERROR_ILLEGAL_ADDRESS, 700)                                                \
  X(ERROR_LAUNCH_TIMEOUT, 702)                                                 \
  X(ERROR_PEER_ACCESS_ALREADY_ENABLED, 704)                                    \
  X(ERROR_PEER_ACCESS_NOT_ENABLED, 705)                                        \
  X(ERROR_CONTEXT_IS_DESTROYED, 709)                                           \
  X(ERROR_ASSERT, 710)                                                         \
  X(ERROR_HOST_MEMORY_ALREADY_REGISTERED, 712)                                 \
  X(ERROR_HOST_MEMORY_NOT_REGISTERED, 713)                                     \
  X(ERROR_HARDWARE_STACK_ERROR, 714)                                           \
  X(ERROR_ILLEGAL_INSTRUCTION, 715)                                            \
  X(ERROR_MISALIGNED_ADDRESS, 716)                                             \
  X(ERROR_INVALID_ADDRESS_SPACE, 717)                                          \
  X(ERROR_INVALID_PC, 718)                                                     \
  X(ERROR_LAUNCH_FAILED, 719)                                                  \
  X(ERROR_TENSOR_MEMORY_LEAK, 721)                                             \
  X(ERROR_NOT_PERMITTED, 800)                                                  \
  X(ERROR_NOT_SUPPORTED, 801)                                                  \
  X(ERROR_SYSTEM_NOT_READY, 802)                                               \
  X(ERROR_SYSTEM_DRIVER_MISMATCH, 803)                                         \
  X(ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, 804)                                 \
  X(ERROR_MPS_CLIENT_TERMINATED, 810)                                          \
  X(ERROR_STREAM_CAPTURE_UNSUPPORTED, 900)                                     \
  X(ERROR_STREAM_CAPTURE_INVALIDATED, 901)                                     \
  X(ERROR_STREAM_CAPTURE_IMPLICIT, 906)                                        \
  X(ERROR_EXTERNAL_DEVICE, 911)                                                \
  X(ERROR_UNKNOWN, 999)

/* X(name, number): CU_<name>, here UMEMI_CU_<name>. */
#define UMEMI_CU_NUMBERS(X)                                                    \
  X(DEVICE_ATTRIBUTE_PCI_BUS_ID, 33)                                           \
  X(DEVICE_ATTRIBUTE_PCI_DEVICE_ID, 34)                                        \
  X(DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 41)                                   \
  X(DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, 50)                                        \
  X(DEVICE_ATTRIBUTE_MANAGED_MEMORY, 83)                                       \
  X(DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 89)                            \
  X(DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 115)                              \
  X(POINTER_ATTRIBUTE_CONTEXT, 1)                                              \
  X(POINTER_ATTRIBUTE_MEMORY_TYPE, 2)                                          \
  X(POINTER_ATTRIBUTE_IS_MANAGED, 8)                                           \
  X(POINTER_ATTRIBUTE_DEVICE_ORDINAL, 9)                                       \
  X(MEMORYTYPE_HOST, 1)                                                        \
  X(MEMORYTYPE_DEVICE, 2)                                                      \
  X(STREAM_DEFAULT, 0)                                                         \
  X(STREAM_NON_BLOCKING, 1)                                                    \
  X(EVENT_DISABLE_TIMING, 2)                                                   \
  X(MEMHOSTALLOC_PORTABLE, 1)                                                  \
  X(MEMHOSTALLOC_DEVICEMAP, 2)                                                 \
  X(MEMHOSTALLOC_WRITECOMBINED, 4)                                             \
  X(MEMHOSTREGISTER_PORTABLE, 1)                                               \
  X(MEMHOSTREGISTER_READ_ONLY, 8)                                              \
  X(MEM_ATTACH_GLOBAL, 1)                                                      \
  X(MEM_ATTACH_HOST, 2)                                                        \
  X(MEM_ALLOCATION_TYPE_PINNED, 1)                                             \
  X(MEM_LOCATION_TYPE_DEVICE, 1)                                               \
  X(MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, 3)                         \
  X(MEMPOOL_ATTR_RELEASE_THRESHOLD, 4)                                         \
  X(STREAM_CAPTURE_MODE_RELAXED, 2)                                            \
  X(STREAM_CAPTURE_STATUS_NONE, 0)                                             \
  X(IPC_MEM_LAZY_ENABLE_PEER_ACCESS, 1)

#define UMEMI_CUDA_NUMBER(name, number) UMEMI_CUDA_##name = (number),
#define UMEMI_CU_NUMBER(name, number) UMEMI_CU_##name = (number),
enum { UMEMI_CU_CODES(UMEMI_CUDA_NUMBER) };
enum { UMEMI_CU_NUMBERS(UMEMI_CU_NUMBER) };
enum { UMEMI_CU_PER_THREAD = 2 }; /* CU_STREAM_PER_THREAD, as a number */
#undef UMEMI_CUDA_NUMBER
#undef UMEMI_CU_NUMBER

/* X(name, symbol, parameters): what CUDA 11.0 (R450) and later have. */
#define UMEMI_CU_REQUIRED(X)                                                   \
  X(Init, cuInit, (unsigned flags))                                            \
  X(DriverGetVersion, cuDriverGetVersion, (int *version_out))                  \
  X(GetErrorName, cuGetErrorName, (cuCode code, char const **name_out))        \
  X(GetErrorString, cuGetErrorString, (cuCode code, char const **text_out))    \
  X(DeviceGetCount, cuDeviceGetCount, (int *count_out))                        \
  X(DeviceGet, cuDeviceGet, (cuDevice * device_out, int number))               \
  X(DeviceGetName, cuDeviceGetName, (char *name, int room, cuDevice device))   \
  X(DeviceGetAttribute, cuDeviceGetAttribute,                                  \
    (int *value_out, cuDeviceAttribute what, cuDevice device))                 \
  X(DeviceTotalMem, cuDeviceTotalMem_v2,                                       \
    (size_t * nbytes_out, cuDevice device))                                    \
  X(DeviceCanAccessPeer, cuDeviceCanAccessPeer,                                \
    (int *can_out, cuDevice device, cuDevice peer))                            \
  X(DevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain,                          \
    (cuContext * context_out, cuDevice device))                                \
  X(DevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, (cuDevice device))  \
  X(DevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState,                      \
    (cuDevice device, unsigned *flags_out, int *is_active_out))                \
  X(CtxPushCurrent, cuCtxPushCurrent_v2, (cuContext context))                  \
  X(CtxPopCurrent, cuCtxPopCurrent_v2, (cuContext * context_out))              \
  X(CtxGetCurrent, cuCtxGetCurrent, (cuContext * context_out))                 \
  X(CtxGetDevice, cuCtxGetDevice, (cuDevice * device_out))                     \
  X(CtxEnablePeerAccess, cuCtxEnablePeerAccess,                                \
    (cuContext peer, unsigned flags))                                          \
  X(MemGetInfo, cuMemGetInfo_v2, (size_t * free_out, size_t * total_out))      \
  X(MemAlloc, cuMemAlloc_v2, (cuAddress * adr_out, size_t nbytes))             \
  X(MemFree, cuMemFree_v2, (cuAddress adr))                                    \
  X(MemGetAddressRange, cuMemGetAddressRange_v2,                               \
    (cuAddress * start_out, size_t * nbytes_out, cuAddress adr))               \
  X(MemHostAlloc, cuMemHostAlloc,                                              \
    (void **ptr_out, size_t nbytes, unsigned flags))                           \
  X(MemFreeHost, cuMemFreeHost, (void *ptr))                                   \
  X(MemHostRegister, cuMemHostRegister_v2,                                     \
    (void *ptr, size_t nbytes, unsigned flags))                                \
  X(MemHostUnregister, cuMemHostUnregister, (void *ptr))                       \
  X(MemAllocManaged, cuMemAllocManaged,                                        \
    (cuAddress * adr_out, size_t nbytes, unsigned flags))                      \
  X(PointerGetAttributes, cuPointerGetAttributes,                              \
    (unsigned count, cuPointerAttribute *which, void **values_out,             \
     cuAddress adr))                                                           \
  X(MemsetD8Async, cuMemsetD8Async,                                            \
    (cuAddress adr, unsigned char value, size_t nbytes, cuStream stream))      \
  X(MemcpyHtoD, cuMemcpyHtoD_v2,                                               \
    (cuAddress dest, void const *src, size_t nbytes))                          \
  X(MemcpyDtoH, cuMemcpyDtoH_v2, (void *dest, cuAddress src, size_t nbytes))   \
  X(MemcpyHtoDAsync, cuMemcpyHtoDAsync_v2,                                     \
    (cuAddress dest, void const *src, size_t nbytes, cuStream stream))         \
  X(MemcpyDtoHAsync, cuMemcpyDtoHAsync_v2,                                     \
    (void *dest, cuAddress src, size_t nbytes, cuStream stream))               \
  X(MemcpyDtoDAsync, cuMemcpyDtoDAsync_v2,                                     \
    (cuAddress dest, cuAddress src, size_t nbytes, cuStream stream))           \
  X(MemcpyPeerAsync, cuMemcpyPeerAsync,                                        \
    (cuAddress dest, cuContext dest_context, cuAddress src,                    \
     cuContext src_context, size_t nbytes, cuStream stream))                   \
  X(StreamCreate, cuStreamCreate, (cuStream * stream_out, unsigned flags))     \
  X(StreamDestroy, cuStreamDestroy_v2, (cuStream stream))                      \
  X(StreamSynchronize, cuStreamSynchronize, (cuStream stream))                 \
  X(StreamWaitEvent, cuStreamWaitEvent,                                        \
    (cuStream stream, cuEvent event, unsigned flags))                          \
  X(StreamIsCapturing, cuStreamIsCapturing,                                    \
    (cuStream stream, cuCaptureStatus * status_out))                           \
  X(StreamGetCtx, cuStreamGetCtx, (cuStream stream, cuContext * context_out))  \
  X(EventCreate, cuEventCreate, (cuEvent * event_out, unsigned flags))         \
  X(EventDestroy, cuEventDestroy_v2, (cuEvent event))                          \
  X(EventRecord, cuEventRecord, (cuEvent event, cuStream stream))              \
  X(EventSynchronize, cuEventSynchronize, (cuEvent event))                     \
  X(ThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode,        \
    (cuCaptureMode * mode))                                                    \
  X(IpcGetMemHandle, cuIpcGetMemHandle,                                        \
    (cuIpcHandle * handle_out, cuAddress adr))                                 \
  X(IpcOpenMemHandle, cuIpcOpenMemHandle_v2,                                   \
    (cuAddress * adr_out, cuIpcHandle handle, unsigned flags))                 \
  X(IpcCloseMemHandle, cuIpcCloseMemHandle, (cuAddress adr))

/* What can be done without: functions of CUDA 11.2 to 12.0, and of rows, which
   stand-ins for the driver may lack. Missing ones are NULL. */
#define UMEMI_CU_OPTIONAL(X)                                                   \
  X(MemPoolCreate, cuMemPoolCreate,                                            \
    (cuPool * pool_out, cuPoolProps const *properties))                        \
  X(MemPoolDestroy, cuMemPoolDestroy, (cuPool pool))                           \
  X(MemPoolSetAttribute, cuMemPoolSetAttribute,                                \
    (cuPool pool, cuPoolAttribute what, void *value))                          \
  X(MemAllocFromPoolAsync, cuMemAllocFromPoolAsync,                            \
    (cuAddress * adr_out, size_t nbytes, cuPool pool, cuStream stream))        \
  X(MemFreeAsync, cuMemFreeAsync, (cuAddress adr, cuStream stream))            \
  X(DeviceGetUuid, cuDeviceGetUuid_v2, (cuUuid * uuid_out, cuDevice device))   \
  X(Memcpy2DAsync, cuMemcpy2DAsync_v2, (cuRows const *rows, cuStream stream))  \
  X(Memcpy3DPeerAsync, cuMemcpy3DPeerAsync,                                    \
    (cuPeerRows const *rows, cuStream stream))                                 \
  X(CtxGetId, cuCtxGetId, (cuContext context, unsigned long long *id_out))

#define UMEMI_CU_MEMBER(name, symbol, parameters)                              \
  cuCode(*(name)) parameters; /* NOLINT(bugprone-macro-parentheses) */
/* The functions of libcuda.so.1. */
struct umemiCu {
  UMEMI_CU_REQUIRED(UMEMI_CU_MEMBER)
  UMEMI_CU_OPTIONAL(UMEMI_CU_MEMBER)
};
#undef UMEMI_CU_MEMBER

#endif
