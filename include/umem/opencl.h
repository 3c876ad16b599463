/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Memory of OpenCL devices. Part of umem.h, which includes it: include that.
 *
 * libOpenCL.so.1 is looked for when the first context is constructed; no header
 * or library of OpenCL is needed to build with this one. OpenCL's own objects
 * are `void *` here: pass and take your cl_context, cl_command_queue, cl_mem
 * and cl_kernel as they are. They have to come from the same libOpenCL.so.1.
 *
 * All calls on such a context are through when they return. Those that copy,
 * set or free memory wait for what was put before into the queues of all
 * contexts for the device, in every tier. Only what you put into queues that no
 * context has must be through before a block that it uses is copied, set or
 * freed. If a queue cannot be waited for, the call fails; umem_free() then
 * leaves the memory allocated on the device, as something may still use it.
 *
 * In a child of fork(2) drivers do not work: there, contexts of the parent
 * answer umemRuntimeError, umem_free() and umem_dtor() succeed and leave the
 * device alone, and none can be constructed if the parent had used OpenCL.
 * After the handlers of exit(3) have begun the same holds, and in a thread
 * whose thread-local objects have been destroyed.
 */
#ifndef UMEM_OPENCL_H
#define UMEM_OPENCL_H

#include "../umem.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The ways in which OpenCL has memory, best first. */
typedef enum umemOpenCLTier {
  umemOpenCLBest = 0, /**< The first one of these that the device has. */
  /** Unified shared memory: device memory with addresses of the driver
      (extension cl_intel_unified_shared_memory). */
  umemOpenCLUsm = 1,
  /** Coarse-grained shared virtual memory (OpenCL 2.0): the same. */
  umemOpenCLSvm = 2,
  /** Buffers (cl_mem), which every device has. They have no addresses: those
      that you get are reserved for them in this process, and any access by the
      host ends in SIGSEGV. */
  umemOpenCLBuffers = 3
} umemOpenCLTier;

/**
 * Options of umemOpenCL_ctor_ex(). Set `size` to sizeof(umemOpenCLOptions); 0
 * is the default of everything else.
 */
typedef struct umemOpenCLOptions {
  size_t size;
  umemOpenCLTier tier; /**< Only this one. */
  uint32_t reserved;   /**< 0. */
  void *context; /**< Your cl_context, which has the device; retained. NULL: one
                      that all contexts for the device share. */
  void *queue; /**< Your cl_command_queue, retained: context and device are the
                    queue's. NULL: a queue of our own. */
} umemOpenCLOptions;

/**
 * Construct a context for the memory of an OpenCL device.
 *
 * @param platform  Number of the platform, in the order of clGetPlatformIDs().
 * @param device  Number of the device in it, in the order of clGetDeviceIDs().
 *
 * umem_device_info() lists both. Contexts for one device are one address space:
 * each can use blocks of the other as long as that lives. Blocks start at
 * multiples of 64 and belong to the context that allocated them. Alignment is
 * that of addresses: what kernels see of a buffer lies as the device lays it
 * (CL_DEVICE_MEM_BASE_ADDR_ALIGN). Copies and sets have to lie in one live
 * block: OpenCL checks nothing.
 *
 * Errors: umemNotSupportedError if there is no libOpenCL.so.1, no platform or
 * no device; umemIndexError for a number that is too large or negative;
 * umemRuntimeError with the driver's code (`native`) if that fails;
 * umemMemoryError.
 */
UMEM_API umemStatusType umemOpenCL_ctor(umemOpenCL *ctx, int platform,
                                        int device);

/**
 * umemOpenCL_ctor() with options; NULL means all defaults.
 *
 * With a queue `platform` and `device` are not looked at. If the queue is out
 * of order, wait for your commands before you call us.
 *
 * Errors besides: umemNotSupportedError for a tier that the device lacks;
 * umemValueError for a tier that is none, a cl_context that is not the queue's,
 * or one that does not have the device.
 */
UMEM_API umemStatusType umemOpenCL_ctor_ex(umemOpenCL *ctx, int platform,
                                           int device,
                                           umemOpenCLOptions const *options);

/** Which way the context's memory is had; umemOpenCLBest on failure. */
UMEM_API umemOpenCLTier umemOpenCL_get_tier(umemOpenCL const *ctx);

/**
 * The context's cl_context, cl_device_id and cl_command_queue, to build and run
 * kernels with. Borrowed; each output may be NULL.
 *
 * The queue is in order, unless it is yours: what you put into it comes before
 * all later calls on `ctx`.
 */
UMEM_API umemStatusType umemOpenCL_get_objects(umemOpenCL const *ctx,
                                               void **context_out,
                                               void **device_out,
                                               void **queue_out);

/**
 * Let an argument of a kernel be the memory at `adr`: clSetKernelArg(), or what
 * the tier has instead.
 *
 * @param kernel  A cl_kernel of the context's cl_context.
 * @param adr  In a live block. With umemOpenCLBuffers the start of one that is
 *   not aligned to more than 4096: a buffer is passed as a whole, so pass an
 *   offset in another argument.
 *
 * As clSetKernelArg() this is not for several threads and one kernel at once.
 *
 * Errors: umemValueError for an address that is none, or is inside a buffer;
 * umemRuntimeError with the driver's code.
 */
UMEM_API umemStatusType umemOpenCL_set_arg(umemOpenCL const *ctx, void *kernel,
                                           unsigned index, uintptr_t adr);

/**
 * The cl_mem behind an address, and the offset in it. Borrowed: it is gone when
 * the block is freed.
 *
 * With umemOpenCLUsm and umemOpenCLSvm the memory is no cl_mem: `*mem_out` is
 * NULL and `*offset_out` is 0, and `adr` is the pointer that OpenCL knows it
 * by.
 *
 * Errors: umemValueError for an address that is in no live block, and NULL.
 */
UMEM_API umemStatusType umemOpenCL_get_mem(umemOpenCL const *ctx, uintptr_t adr,
                                           void **mem_out, size_t *offset_out);

#ifdef __cplusplus
}
#endif

#endif
