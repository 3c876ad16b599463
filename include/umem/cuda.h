/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Memory of CUDA devices. Part of umem.h, which includes it: include that.
 *
 * The driver, libcuda.so.1, is looked for when the first context is
 * constructed; no toolkit is needed to build or to run. Contexts live in the
 * primary context of a device, as cudart and all that stands on it do, so
 * addresses are device pointers that kernels and other libraries can use, and
 * theirs can be used here. A program's current context, its stack, and its
 * captures of streams are as they were after each call; but a capture must not
 * begin, in another thread, while a call is under way that comes after the
 * stream. The first copy between two devices that can reach each other's memory
 * enables peer access from one to the other, for the program, too. Resetting a
 * device (cudaDeviceReset()) takes away what contexts here stand on: destroy
 * them before, and construct none after.
 *
 * Calls are through when they return. They come after what is in the default
 * ("legacy") stream, and so after what is in all blocking streams; not after
 * what is in non-blocking ones: synchronise these first, or give one to the
 * constructor. A copy comes after what both of its contexts come after. While
 * a blocking stream of the program is being captured the default stream cannot
 * be waited for, and calls do not come after anything: what they read must be
 * there, and what is freed or unpinned must not be in use; a pool gives it out
 * again at once.
 *
 * In a child of fork(2) CUDA does not work: there, contexts of the parent
 * answer umemRuntimeError, umem_free() and umem_dtor() succeed and leave the
 * device alone, and none can be constructed if the parent had used CUDA. After
 * the handlers of exit(3) have begun the same holds.
 *
 * After some errors (an illegal address, an uncorrectable one of memory) a
 * device answers the same error to everything until the process ends: it is
 * told with the code of the first one, by umem_dtor(), too, which ends the
 * context all the same.
 */
#ifndef UMEM_CUDA_H
#define UMEM_CUDA_H

#include "../umem.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Flags of umemCudaOptions. */
enum {
  /** Blocks come from a pool of the context (cuMemAllocFromPoolAsync), which
      keeps what is freed: much faster, but unknown to other processes and
      devices. umem_free() does not wait for the work that it comes after: the
      block goes back to the pool when that is done. umem_alloc() waits for
      such blocks where memory is short. NotSupported where the device or the
      driver (before CUDA 11.2) has no pools. */
  UMEM_CUDA_POOL = 1 << 0
};

/**
 * Options of umemCuda_ctor_ex(). Set `size` to sizeof(umemCudaOptions); 0 is
 * the default of everything else.
 */
typedef struct umemCudaOptions {
  size_t size;
  uint32_t flags;    /**< UMEM_CUDA_* or-ed together. */
  uint32_t reserved; /**< 0. */
  void *stream; /**< A CUstream of the device that our work comes after, instead
                     of the default stream. Borrowed until umem_dtor(). While
                     it is being captured nothing can come after its work:
                     copies and sets answer umemRuntimeError and leave the
                     capture alone, and umem_free() does not wait for it. */
} umemCudaOptions;

/**
 * Construct a context for the memory of CUDA device number `device`.
 *
 * Blocks start at multiples of 256. Any device pointer of the process may be
 * given to copies and sets; umem_free() takes blocks of the context alone.
 * Device memory is not initialised; umem_calloc() zeroes it. Copies between two
 * devices go from one to the other where the machine can do that.
 *
 * Handles (umem_export_handle(), CUDA IPC) are for other processes, and for
 * blocks that come from no pool. What umem_import_handle() finds stays open
 * until the umem_dtor() of the context that imported it: have one context for
 * each exchange, and free the block there only after that.
 *
 * Errors: umemNotSupportedError where there is no driver (before CUDA 11.0) or
 * device; umemIndexError for a device number that is too large or negative;
 * umemRuntimeError with the driver's code (`native`); umemMemoryError.
 */
UMEM_API umemStatusType umemCuda_ctor(umemCuda *ctx, int device);

/**
 * umemCuda_ctor() with options; NULL means all defaults.
 *
 * Errors besides: umemValueError for unknown flags and a stream that is not of
 * the device, or is CU_STREAM_PER_THREAD, which is another one in each thread.
 */
UMEM_API umemStatusType umemCuda_ctor_ex(umemCuda *ctx, int device,
                                         umemCudaOptions const *options);

/** Flags of umemCudaHost_ctor(). */
enum {
  /** Write-combined: faster for the device to read, slow for the host to. */
  UMEM_CUDA_HOST_WRITECOMBINED = 1 << 0
};

/**
 * Construct a context for page-locked ("pinned") host memory, which devices
 * read and write by themselves: copies between it and any umemCuda go at the
 * speed of the bus. Addresses are pointers.
 *
 * @param flags  UMEM_CUDA_HOST_* or-ed together.
 *
 * Errors: those of umemCuda_ctor() for device 0; umemValueError for unknown
 * flags.
 */
UMEM_API umemStatusType umemCudaHost_ctor(umemCudaHost *ctx, uint32_t flags);

/** Flags of umemCudaManaged_ctor(). */
enum {
  /** Devices may not use a block before it is attached to a stream
      (CU_MEM_ATTACH_HOST). */
  UMEM_CUDA_MANAGED_HOST = 1 << 0
};

/**
 * Construct a context for managed ("unified") memory: addresses are pointers
 * that the host and all devices can use, and pages move to whom uses them.
 *
 * @param flags  UMEM_CUDA_MANAGED_* or-ed together.
 * @param async  true: our work comes after what is in `stream`; false: after
 *   what is in the default stream of device 0, and `stream` has to be NULL.
 * @param stream  A CUstream, borrowed until umem_dtor(); NULL is the default
 *   stream.
 *
 * Calls wait for the stream before the host touches memory; on devices that
 * cannot share pages while they work (no CONCURRENT_MANAGED_ACCESS) see to it
 * that no kernel runs in another stream meanwhile: the host would be ended by
 * SIGSEGV.
 *
 * Errors: those of umemCudaHost_ctor(); umemNotSupportedError where the device
 * has no managed memory.
 */
UMEM_API umemStatusType umemCudaManaged_ctor(umemCudaManaged *ctx,
                                             uint32_t flags, bool async,
                                             void *stream);

/**
 * Lock host memory of yours into RAM for all CUDA devices, so that copies from
 * and to it go at the speed of the bus (cuMemHostRegister).
 *
 * @param ctx  A umemCuda, umemCudaHost or umemCudaManaged.
 * @param adr  A pointer, as an address. Stays yours.
 *
 * Takes about 0.1 to 1 ms for each MiB, so it is worth while for what is copied
 * often. Unpin before the memory is freed. The library never does this by
 * itself. Memory that is pinned in part, or in pieces that a copy crosses, is
 * copied as if it were not pinned.
 *
 * Errors: umemRuntimeError if (part of) it is pinned already; umemMemoryError
 * past what may be locked.
 */
UMEM_API umemStatusType umem_pin(void const *ctx, uintptr_t adr, size_t nbytes);

/** Undo umem_pin(). umemRuntimeError for what was not pinned. */
UMEM_API umemStatusType umem_unpin(void const *ctx, uintptr_t adr);

#ifdef __cplusplus
}
#endif

#endif
