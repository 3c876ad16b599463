/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A simulated CUDA driver: a libcuda.so.1 for machines without a GPU, which
 * finds fault with its caller. A program gets it by LD_LIBRARY_PATH alone; a
 * test gets at what is declared here by
 *
 *   void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
 *   simcu_violations_fn *violations = dlsym(driver, "simcu_violations");
 *
 * What it has of CUDA are the functions of UMEMI_CU_REQUIRED and
 * UMEMI_CU_OPTIONAL (src/gpu/cu.h) and of SIMCU_EXTRA below. Its old variant
 * (CUDA 11.0) lacks the optional ones; in the stub variant each call answers
 * 34, CUDA_ERROR_STUB_LIBRARY, and writes nothing.
 *
 * MEMORY. Addresses of device memory cannot be dereferenced: they lie in a
 * range that is reserved without access, and are never given out twice. Blocks
 * start at odd multiples of 256, are filled with SIMCU_POISON and rounded up to
 * 512 bytes; whatever leaves that is refused. Pinned and managed memory is the
 * host's and has guard pages; once freed it cannot be dereferenced either.
 *
 * With SIMCU_CHUNKS=1 memory is as on real devices, and fewer errors are found:
 * blocks share chunks of 2 MiB, start at multiples of 512 and have no guards.
 * Accesses outside of a block succeed if they stay in its chunk. Handles of IPC
 * share the whole chunk. Addresses of device and host memory are reused
 * immediately.
 *
 * A device without concurrent managed access (attribute 89) closes all managed
 * memory for the host while copies or fills are queued on it.
 *
 * TIME. Streams are queues. Nothing is executed before the rules of CUDA say
 * that it must be (lazy); or all at once (eager); or at moments that a seed
 * decides (random). A queue that holds QUEUE_DEPTH operations, or STAGED_MOST
 * staged bytes, executes its oldest ones. There are no threads: operations are
 * executed inside calls of the driver, so that runs can be repeated.
 *   - The legacy stream waits for the blocking streams of its context and they
 *     for it; non-blocking ones do neither.
 *   - Handle 2 is a blocking stream of the calling thread and the context.
 *   - Calls of any thread on the same device invalidate captures of any mode:
 *     use of the legacy stream those of blocking streams, cuCtxSynchronize all.
 *   - Copies in pageable memory are staged: the source is read at the call, the
 *     destination is written late. Pinned memory is read late, too.
 *   - The synchronous forms wait, except for copies within a device, for memset
 *     on a device, and for the last step of a copy from pageable memory.
 *
 * LIVES. The resources of a context end with it. A primary context is dead
 * after a reset, and while it is not retained. The next retain starts another
 * life with the same handle, which stays current where it was. Streams and
 * events of an earlier life are dead: their use is a violation, or, if so set,
 * ends the process by SIGSEGV.
 *
 * VIOLATIONS are what the real driver may let pass, or answer by a mere error:
 * use after free, double free, leaving a block, freeing or unregistering memory
 * that queued work uses, freeing with another device's context current, an
 * over-released primary context, a context that is destroyed with something
 * live in it, a device's address where a host's belongs, and so on. They are
 * printed, kept and counted, and the call answers what the real driver would.
 *
 * ENVIRONMENT, read when the library is loaded:
 *   SIMCU_MODE=lazy|eager|random  lazy unless told otherwise
 *   SIMCU_SEED=n                  of random; 1
 *   SIMCU_DEVICES=n               0..SIMCU_DEVICES_MAX; 2
 *   SIMCU_MEM=bytes               of each device; 256 MiB
 *   SIMCU_ATTRIBUTES=89=0,115=0   attributes of all devices
 *   SIMCU_CHUNKS=1                device memory is in chunks, see MEMORY
 *   SIMCU_PEER_DROPS=1            copies by peer access report success and
 *                                 move no bytes, as behind some chipsets
 *   SIMCU_CRASH=1                 use of a dead stream or event raises SIGSEGV,
 *                                 as in real drivers
 *   SIMCU_REPORT=1                print the report at exit in any case
 *   SIMCU_STRICT=1                exit with SIMCU_STRICT_EXIT if there were
 *                                 violations, or if something is live at exit
 *   SIMCU_STRICT=violations,...   only for these: violations, memory, handles
 *                                 (streams, events, pools, foreign contexts),
 *                                 retains (of primary contexts), stack (the
 *                                 exiting thread's current contexts)
 *
 * NOT MODELLED: kernels, graphs (what is captured is checked and thrown away,
 * and a captured event cannot draw other streams in), the functions of programs
 * whose default stream is each thread's (that stream is there, as 2), timing,
 * priorities, arrays and layers of rows, virtual memory management, prefetch
 * and advice, migration of managed memory, portability of pinned memory (it
 * always is), write combining, context flags and limits, default pools, access
 * of other devices to pools, events of IPC. cuMemcpyPeer orders only against
 * the legacy streams of its three contexts. Without chunks, freed pinned
 * memory is never a host's again. Where a real driver must say what it does,
 * the stricter answer was taken: cuMemFree is no way to wait, not even for the
 * last step of a synchronous copy or fill, and all work with memory of another
 * device but cuMemcpyPeer needs peer access of its context. cuDriverGetVersion,
 * cuGetErrorName and cuGetErrorString always work, in forked children, too.
 */
#ifndef UMEM_TESTS_SIMCU_H
#define UMEM_TESTS_SIMCU_H

#include "../../../src/gpu/cu.h"

#ifdef UMEMI_CU_REAL_TYPES
typedef CUgraph cuGraph;
typedef CUgreenCtx cuGreen;
#else
typedef struct cuGraph_ *cuGraph;
typedef struct cuGreen_ *cuGreen;
#endif

/* X(name, symbol, parameters): what programs around the library may call. */
#define SIMCU_EXTRA(X)                                                         \
  X(CtxCreate, cuCtxCreate_v2,                                                 \
    (cuContext * context_out, unsigned flags, cuDevice device))                \
  X(CtxCreate4, cuCtxCreate_v4,                                                \
    (cuContext * context_out, void *parameters, unsigned flags,                \
     cuDevice device))                                                         \
  X(CtxDestroy, cuCtxDestroy_v2, (cuContext context))                          \
  X(GreenCtxCreate, cuGreenCtxCreate,                                          \
    (cuGreen * green_out, void *description, cuDevice device, unsigned flags)) \
  X(GreenCtxDestroy, cuGreenCtxDestroy, (cuGreen green))                       \
  X(GreenCtxStreamCreate, cuGreenCtxStreamCreate,                              \
    (cuStream * stream_out, cuGreen green, unsigned flags, int priority))      \
  X(CtxFromGreenCtx, cuCtxFromGreenCtx,                                        \
    (cuContext * context_out, cuGreen green))                                  \
  X(CtxGetApiVersion, cuCtxGetApiVersion,                                      \
    (cuContext context, unsigned *version_out))                                \
  X(CtxDisablePeerAccess, cuCtxDisablePeerAccess, (cuContext peer))            \
  X(DevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, (cuDevice device))      \
  X(DevicePrimaryCtxReset1, cuDevicePrimaryCtxReset, (cuDevice device))        \
  X(CtxSetCurrent, cuCtxSetCurrent, (cuContext context))                       \
  X(CtxSynchronize, cuCtxSynchronize, (void))                                  \
  X(MemHostGetDevicePointer, cuMemHostGetDevicePointer_v2,                     \
    (cuAddress * adr_out, void *ptr, unsigned flags))                          \
  X(StreamCreateWithPriority, cuStreamCreateWithPriority,                      \
    (cuStream * stream_out, unsigned flags, int priority))                     \
  X(MemHostGetFlags, cuMemHostGetFlags, (unsigned *flags_out, void *ptr))      \
  X(Memcpy, cuMemcpy, (cuAddress dest, cuAddress src, size_t nbytes))          \
  X(MemcpyAsync, cuMemcpyAsync,                                                \
    (cuAddress dest, cuAddress src, size_t nbytes, cuStream stream))           \
  X(MemcpyDtoD, cuMemcpyDtoD_v2,                                               \
    (cuAddress dest, cuAddress src, size_t nbytes))                            \
  X(MemcpyPeer, cuMemcpyPeer,                                                  \
    (cuAddress dest, cuContext dest_context, cuAddress src,                    \
     cuContext src_context, size_t nbytes))                                    \
  X(MemsetD8, cuMemsetD8_v2,                                                   \
    (cuAddress adr, unsigned char value, size_t nbytes))                       \
  X(PointerGetAttribute, cuPointerGetAttribute,                                \
    (void *value_out, cuPointerAttribute what, cuAddress adr))                 \
  X(StreamQuery, cuStreamQuery, (cuStream stream))                             \
  X(StreamBeginCapture, cuStreamBeginCapture_v2,                               \
    (cuStream stream, cuCaptureMode mode))                                     \
  X(StreamEndCapture, cuStreamEndCapture,                                      \
    (cuStream stream, cuGraph * graph_out))                                    \
  X(EventQuery, cuEventQuery, (cuEvent event))

/** What fresh memory is filled with. */
#define SIMCU_POISON 0xA5
#define SIMCU_DEVICES_MAX 8
/** How a strict process ends that has something to report. */
#define SIMCU_STRICT_EXIT 97

enum simcuMode { SIMCU_LAZY, SIMCU_EAGER, SIMCU_RANDOM };

/** How a call fails: bits. */
enum simcuHow {
  SIMCU_ONCE = 0,
  SIMCU_FROM_THEN_ON = 1,
  SIMCU_AFTER = 2 /**< It does its work, and tells of a failure then, as calls
                       do that report what went wrong earlier. */
};

/** What can be live. */
enum simcuKind {
  SIMCU_DEVICE,     /**< Blocks of cuMemAlloc. */
  SIMCU_POOLED,     /**< Blocks of pools. */
  SIMCU_IMPORTED,   /**< Opened handles of IPC. */
  SIMCU_MANAGED,    /**< Blocks of cuMemAllocManaged. */
  SIMCU_PINNED,     /**< Blocks of cuMemHostAlloc. */
  SIMCU_REGISTERED, /**< Ranges of cuMemHostRegister. */
  SIMCU_STREAMS,
  SIMCU_EVENTS,
  SIMCU_POOLS,
  SIMCU_CONTEXTS, /**< Of cuCtxCreate. */
  SIMCU_RETAINS,  /**< Of primary contexts: retained and not released. */
  SIMCU_KINDS
};

/* X(result, name, parameters): simcu_<name>. */
#define SIMCU_CONTROLS(X)                                                      \
  /* --- settings */                                                           \
  /* From now on. The seed is for SIMCU_RANDOM. */                             \
  X(void, set_mode, (enum simcuMode mode, unsigned seed))                      \
  /* Before cuInit. */                                                         \
  X(void, set_devices, (int count))                                            \
  X(void, set_memory, (int device, size_t nbytes))                             \
  X(void, set_attribute, (int device, cuDeviceAttribute what, int value))      \
  /* May `device` access the memory of `peer`? */                              \
  X(void, set_peer, (int device, int peer, int can))                           \
  /* Do copies by peer access from `device` to `peer` move no bytes, and       \
     report success? Copies without peer access do not change. */              \
  X(void, set_peer_drops, (int device, int peer, int does))                    \
  /* Does a handle of IPC open in its own process? Default 0: code 201. */     \
  X(void, set_ipc_within, (int does))                                          \
  /* Does a handle open again in the same context? Default 1; 0: code 208.     \
     Another block at an address that is open always answers 208. */           \
  X(void, set_ipc_again, (int does))                                           \
  /* Does cuMemGetAddressRange know opened blocks? Default 1. The driver       \
     documents it for memory of cuMemAlloc alone. */                           \
  X(void, set_ipc_range, (int does))                                           \
  /* Are new blocks placed in chunks? See MEMORY. */                           \
  X(void, set_chunks, (int does))                                              \
  /* Marks a host range as I/O memory, for cuMemHostRegister. */               \
  X(void, set_io, (void const *ptr, size_t nbytes))                            \
  /* Does the use of a dead stream or event raise SIGSEGV? Default 0. */       \
  X(void, set_crash, (int does))                                               \
                                                                               \
  /* --- failures */                                                           \
  /* The nth call, from 1, of a function (by its symbol) or of all (NULL)      \
     fails with `code`; `how` are bits of enum simcuHow. The codes of fatal    \
     errors stay with the current context. One for each function, and one for  \
     all. */                                                                   \
  X(void, inject, (char const *symbol, long nth, cuCode code, unsigned how))   \
  /* The same for the nth operation that is executed from a queue. */          \
  X(void, inject_work, (long nth, cuCode code))                                \
  /* The symbol of the call that failed last by simcu_inject(), or NULL. */    \
  X(char const *, injected, (void))                                            \
  /* Calls of a function, or of all (NULL), since simcu_forget(). */           \
  X(long, calls, (char const *symbol))                                         \
                                                                               \
  /* --- reports */                                                            \
  X(int, violations, (void))                                                   \
  /* The text of one, from 0: the first 64 are kept. */                        \
  X(char const *, violation, (int number))                                     \
  X(size_t, live, (enum simcuKind kind))                                       \
  /* Bytes of a device that are not free. */                                   \
  X(size_t, used, (int device))                                                \
  /* Operations that wait in queues. */                                        \
  X(size_t, pending, (void))                                                   \
  /* Prints what the exit report would say now; how many leaks it tells of. */ \
  X(size_t, report, (void))                                                    \
  /* Forgets violations, counts and failures that are still to come. */        \
  X(void, forget, (void))                                                      \
                                                                               \
  /* --- this thread, and the device */                                        \
  /* Its stack of current contexts: how many, and a number that is the same    \
     if the stack and the thread's capture mode are. */                        \
  X(int, stack_depth, (void))                                                  \
  X(uint64_t, stack_state, (void))                                             \
  /* Time passes: whatever is queued is executed. */                           \
  X(void, finish, (void))                                                      \
  /* Reads, or writes, what is in a live block now: 0, or 1 if it is none. */  \
  X(int, peek, (cuAddress adr, void *out, size_t nbytes))                      \
  X(int, poke, (cuAddress adr, void const *in, size_t nbytes))

#define SIMCU_TYPE(result, name, parameters)                                   \
  typedef result simcu_##name##_fn parameters;
SIMCU_CONTROLS(SIMCU_TYPE)
#undef SIMCU_TYPE

#define SIMCU_MEMBER(result, name, parameters) simcu_##name##_fn *name;
/** All of them, for a test to fill by dlsym(). */
struct simcu {
  SIMCU_CONTROLS(SIMCU_MEMBER)
};
#undef SIMCU_MEMBER

#endif
