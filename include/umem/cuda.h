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
 * stream.
 *
 * The library retains the primary context of a device while one of its contexts
 * is on the device, or memory that umem_pin() pinned there. It releases it
 * after the last of them: unless the rest of the program retains it too, the
 * driver then destroys it, and the next constructor makes it again, which takes
 * some tenths of a second. So keep one context for as long as the device is
 * used.
 *
 * Resetting a device (cudaDeviceReset()) destroys what contexts are on, and all
 * their memory. Contexts from before answer umemRuntimeError afterwards; their
 * umem_free() and umem_dtor() succeed and leave the device alone. New ones can
 * be constructed. No call may be under way during the reset. If the program
 * retains the context anew before the library notices the reset, one count of
 * the library's may stay: the library cannot know whose it is.
 *
 * Calls are through when they return. They come after what is in the default
 * ("legacy") stream of the device's primary context, and so after what is in
 * all its blocking streams; not after what is in non-blocking ones, or in
 * contexts of cuCtxCreate(): synchronise these first, or give a stream of the
 * primary context to the constructor. Memory that all devices reach
 * (umemCudaHost, umemCudaManaged, umem_unpin()) is touched, and memory of any
 * kind but a pool's is freed, only after the default streams of the primary
 * contexts of all devices that the program uses. One that answers nothing but
 * an error is passed over: it does nothing any more. Memory of a umemCuda is
 * touched also after those of devices that the library let use it by peer
 * access (UMEM_CUDA_PEER); where the program enabled peer access by itself, it
 * has to synchronise the other devices before a call. A copy comes after what
 * both of its contexts come after. While a blocking stream of the program is
 * being captured the default stream cannot be waited for, and calls do not come
 * after anything: what they read must be there, and what is freed or unpinned
 * must not be in use; a pool gives it out again at once.
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
      block goes back to the pool when that is done. That no other device uses
      the block any more is for the program to see to. umem_alloc() waits for
      such blocks where memory is short. NotSupported where the device or the
      driver (before CUDA 11.2) has no pools. */
  UMEM_CUDA_POOL = 1 << 0,
  /** Peer access may be used between this device and others: the first copy
     from one to another enables it (cuCtxEnablePeerAccess), for the whole
     program, where cuDeviceCanAccessPeer() allows that; and handles of other
     devices may be imported. Without this flag the library never enables it,
     and the driver copies through the host unless the program enabled it. On
     some machines (an IOMMU that is on, some drivers) copies by peer access
     arrive damaged though the driver reports success: check before use. */
  UMEM_CUDA_PEER = 1 << 1
};

/**
 * Options of umemCuda_ctor_ex(). Set `size` to sizeof(umemCudaOptions); 0 is
 * the default of everything else.
 */
typedef struct umemCudaOptions {
  size_t size;
  uint32_t flags;    /**< UMEM_CUDA_* or-ed together. */
  uint32_t reserved; /**< 0. */
  void *stream; /**< A CUstream of the device's primary context that calls come
                     after, instead of the default streams; of no other device
                     they wait for anything. Borrowed until umem_dtor(). While
                     it is being captured nothing can come after its work:
                     copies and sets answer umemRuntimeError and leave the
                     capture alone, and umem_free() does not wait for it. */
} umemCudaOptions;

/**
 * Construct a context for the memory of CUDA device number `device`.
 *
 * Blocks start at multiples of 256. Device memory is not initialised;
 * umem_calloc() zeroes it. Any device pointer of the process may be given to
 * copies and sets, also one of another device: the work is then done on the
 * device that has the memory, after what is in the context's stream and in the
 * default stream of that device, whose primary context the library then retains
 * until umem_dtor(), too. Memory of contexts of cuCtxCreate() is for the driver
 * to allow. umem_free() takes blocks of the context alone. A range that leaves
 * its block is not always noticed by the driver, which allocates in pieces of 2
 * MiB: the _safe calls look at the block.
 *
 * Handles (umem_export_handle(), CUDA IPC) are for other processes, and for
 * blocks that come from no pool; each is of the device that has the memory. The
 * driver shares the whole piece of 2 MiB that a small block is in, with all
 * other blocks there: export only to processes that may see them. What
 * umem_import_handle() finds stays open until the umem_dtor() of all contexts
 * that imported it: have one context for each exchange, and free the block
 * there only after that. The importing context has to be of the same device, or
 * of one with UMEM_CUDA_PEER that can reach it.
 *
 * Errors: umemNotSupportedError where there is no driver (before CUDA 11.0) or
 * device; umemIndexError for a device number that is too large or negative;
 * umemRuntimeError with the driver's code (`native`); umemMemoryError.
 */
UMEM_API umemStatusType umemCuda_ctor(umemCuda *ctx, int device);

/**
 * umemCuda_ctor() with options; NULL means all defaults.
 *
 * Errors besides: umemValueError for unknown flags, and for a stream that is
 * not of the device's primary context: streams of contexts of cuCtxCreate(), of
 * green contexts, and CU_STREAM_PER_THREAD, which is another one in each
 * thread. A stream that was destroyed is not noticed by the driver, which may
 * crash.
 */
UMEM_API umemStatusType umemCuda_ctor_ex(umemCuda *ctx, int device,
                                         umemCudaOptions const *options);

/** Flags of umemCudaHostOptions and umemCudaHost_ctor(). */
enum {
  /** Write-combined: faster for the device to read, slow for the host to. */
  UMEM_CUDA_HOST_WRITECOMBINED = 1 << 0,
  /** Allocate in the context of device number `device`. */
  UMEM_CUDA_HOST_ON_DEVICE = 1 << 1
};

/**
 * Options of umemCudaHost_ctor_ex(). Set `size` to sizeof(umemCudaHostOptions);
 * 0 is the default of everything else.
 */
typedef struct umemCudaHostOptions {
  size_t size;
  uint32_t flags; /**< UMEM_CUDA_HOST_* or-ed together. */
  int32_t device; /**< With UMEM_CUDA_HOST_ON_DEVICE; else 0. */
  void *stream;   /**< A CUstream that calls come after, instead of the default
                       streams of all devices: as in umemCudaOptions. With an
                       idle non-blocking stream calls wait for nothing, so that
                       the host can use memory that a running kernel polls. */
} umemCudaHostOptions;

/**
 * Construct a context for page-locked ("pinned") host memory, which devices
 * read and write by themselves: copies between it and any umemCuda go at the
 * speed of the bus. Addresses are pointers, for the host and all devices.
 * Ranges of pinned memory that overlap are copied as by memmove() where both
 * are given to contexts of the host; not if one of them is given to a umemCuda.
 *
 * The memory is allocated in the primary context of one device: that of
 * `stream`; else of the calling thread's current context; else one that
 * contexts of the library are on; else one whose primary context is active;
 * else device 0. If that one refuses, the others are tried.
 *
 * @param flags  UMEM_CUDA_HOST_* or-ed together.
 *
 * Errors: those of umemCuda_ctor_ex(), for unknown flags, too.
 */
UMEM_API umemStatusType umemCudaHost_ctor(umemCudaHost *ctx, uint32_t flags);

/** umemCudaHost_ctor() with options; NULL means all defaults. */
UMEM_API umemStatusType
umemCudaHost_ctor_ex(umemCudaHost *ctx, umemCudaHostOptions const *options);

/** Flags of umemCudaManagedOptions and umemCudaManaged_ctor(). */
enum {
  /** Devices may not use a block before it is attached to a stream
      (CU_MEM_ATTACH_HOST). */
  UMEM_CUDA_MANAGED_HOST = 1 << 0,
  /** Allocate in the context of device number `device`. */
  UMEM_CUDA_MANAGED_ON_DEVICE = 1 << 1
};

/**
 * Options of umemCudaManaged_ctor_ex(). Set `size` to
 * sizeof(umemCudaManagedOptions); 0 is the default of everything else.
 */
typedef struct umemCudaManagedOptions {
  size_t size;
  uint32_t flags; /**< UMEM_CUDA_MANAGED_* or-ed together. */
  int32_t device; /**< With UMEM_CUDA_MANAGED_ON_DEVICE; else 0. */
  void *stream;   /**< As in umemCudaHostOptions. */
} umemCudaManagedOptions;

/**
 * Construct a context for managed ("unified") memory: addresses are pointers
 * that the host and all devices can use, and pages move to whom uses them. The
 * device is found as in umemCudaHost_ctor().
 *
 * @param flags  UMEM_CUDA_MANAGED_* or-ed together.
 * @param async  true: calls come after what is in `stream`; false: after what
 *   is in the default streams of all devices, and `stream` has to be NULL.
 * @param stream  A CUstream, borrowed until umem_dtor(); NULL is the default
 *   stream.
 *
 * Where a device of the machine does not share pages while it works (no
 * CONCURRENT_MANAGED_ACCESS: WSL, Jetson, some virtual GPUs) a host that
 * touches managed memory while any device does anything is ended by SIGSEGV.
 * There the library leaves the bytes to the driver: calls on the context are
 * safe, and umem_connect() to a umemHost makes a copy. What the program does
 * with the pointers, and umemHost contexts that it gives them to, must wait for
 * all devices. Memory with UMEM_CUDA_MANAGED_HOST is the host's at all times.
 *
 * Errors: those of umemCudaHost_ctor(); umemNotSupportedError where the device
 * has no managed memory.
 */
UMEM_API umemStatusType umemCudaManaged_ctor(umemCudaManaged *ctx,
                                             uint32_t flags, bool async,
                                             void *stream);

/** umemCudaManaged_ctor() with options; NULL means all defaults. */
UMEM_API umemStatusType umemCudaManaged_ctor_ex(
    umemCudaManaged *ctx, umemCudaManagedOptions const *options);

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
 * Memory that cannot be written (a mapping for reading) is registered for
 * reading by devices, where they support that (and Linux is 5.14 or later). A
 * range that the driver refuses in one piece is registered in several, or not
 * at all.
 *
 * The primary context of the context's device stays until umem_unpin(), for
 * which any context of CUDA will do.
 *
 * Errors: umemRuntimeError if (part of) it is pinned already; umemMemoryError
 * past what may be locked; else the driver's for the range as a whole.
 */
UMEM_API umemStatusType umem_pin(void const *ctx, uintptr_t adr, size_t nbytes);

/** Undo umem_pin(), in its device's context. umemRuntimeError for memory that
    no umem_pin() of this address pinned, however it was registered. */
UMEM_API umemStatusType umem_unpin(void const *ctx, uintptr_t adr);

#ifdef __cplusplus
}
#endif

#endif
