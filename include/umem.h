/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * libumem: one API for memory on any storage device.
 *
 * Every place is a pair (context, address). A *context* is a value of a type
 * such as umemHost or umemFile that you own, fill with its constructor and
 * empty with umem_dtor(); an *address* is a `uintptr_t` whose increments
 * address the following bytes. The same calls then allocate, set, copy between
 * any two contexts, connect mirrors, and tell what went wrong.
 *
 * Contracts that hold for every function here, so that a function's own
 * comment says only what differs:
 *
 * - *Context arguments* are `void const *`: a pointer to any context type. A
 *   context records its own address, so one that was copied by value, moved,
 *   zeroed or never constructed is recognised as not being one.
 * - *Results.* Every call returns a status, or a value that is 0 on failure.
 *   The status is also kept per (thread, context) for umem_is_ok() and
 *   umem_get_message(), and per context for umem_get_error_count(). A status
 *   that is set never changes what a later call does. Outputs are written on
 *   success only.
 * - *Errors.* umemTypeError: a context that is not live or of the wrong kind.
 *   umemValueError: a NULL or bad argument, an unknown address, a missing
 *   access right. umemIndexError: a range that wraps or leaves its size or
 *   block. umemMemoryError: cannot be allocated. umemIOError: the system
 *   refused I/O. umemRuntimeError: a driver failed, or a block was leaked.
 *   umemNotSupportedError: not on this machine. umemNotImplementedError: this
 *   kind of context has no such operation.
 * - *Failure* leaves nothing half done, except where a comment says so: a call
 *   refused by a check moved no byte.
 * - *Threads.* Any number of threads may use one context at once, for
 *   everything but constructing and destroying it.
 * - *fork.* Host, File, MMap and Shm contexts work in a forked child: copies,
 *   sets, umem_flush(), umem_dtor(). umem_alloc() in a File or MMap that can be
 *   written to is a umemRuntimeError in the child, because parent and child
 *   would get the same ranges: allocate before the fork. umem_dtor() in the
 *   child publishes, renames and removes nothing. Contexts of devices fail with
 *   umemRuntimeError in the child. The same holds for a child of _Fork() or
 *   clone(2) without CLONE_VM, where the kernel has MADV_WIPEONFORK (Linux
 *   4.14). If the parent of such a child has more threads, the child must not
 *   use the contexts that they were using: a change may be half done there.
 *   A handler of pthread_atfork() that was registered before the library was
 *   loaded must not call it before the fork, nor in the parent after it: fork()
 *   holds the library's locks then.
 * - *errno* is not changed by any call. No call ends the process. Writing past
 *   RLIMIT_FSIZE is a umemIOError with EFBIG, allocating there a
 *   umemMemoryError, and SIGXFSZ is not raised; the limit that counts is the
 *   one when the write begins: lower it while no call is running.
 * - *Stacks.* A call needs no more than the smallest stack of a thread
 *   (PTHREAD_STACK_MIN); drivers of devices may need more.
 */
#ifndef UMEM_H
#define UMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "umem/version.h"

#if defined(__GNUC__)
#define UMEM_API __attribute__((visibility("default")))
#define UMEM_LABEL_TEXT_(name) #name
#define UMEM_LABEL_JOIN_(prefix, name) UMEM_LABEL_TEXT_(prefix) name
#define UMEM_LABEL_(prefix, name) UMEM_LABEL_JOIN_(prefix, name)
/* Gives a function another name in the object file than in C. */
#define UMEM_LINK_NAME(name) __asm__(UMEM_LABEL_(__USER_LABEL_PREFIX__, name))
#else
#error "libumem needs a compiler with GNU attributes: gcc or clang"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------ */
/* Types                                                                    */
/* ------------------------------------------------------------------------ */

/** What a call came to. Numbers are part of the ABI. */
typedef enum umemStatusType {
  umemOK = 0,
  umemMemoryError = 1,
  umemRuntimeError = 2,
  umemIOError = 3,
  umemValueError = 4,
  umemTypeError = 5,
  umemIndexError = 6,
  umemNotImplementedError = 7,
  umemNotSupportedError = 8,
  umemAssertError = 9 /**< Never from the library; for your own use. */
} umemStatusType;

/**
 * Kinds of context. Numbers are part of the ABI and never reused: further kinds
 * of this library start at 16, those of others (umem/backend.h) at 1024.
 */
typedef enum umemDeviceType {
  umemVirtualDevice = 0,
  umemHostDevice = 1,
  umemFileDevice = 2,
  umemCudaDevice = 3,
  umemCudaHostDevice = 4,
  umemCudaManagedDevice = 5,
  umemMMapDevice = 6,
  umemShmDevice = 16,
  umemOpenCLDevice = 17,
  umemForeignDevice = 1024, /**< First number of other authors' kinds. */
  umemForeignDeviceLast = INT32_MAX /**< Last one. */
} umemDeviceType;

/** The common part of all contexts: 128 opaque bytes, for ever. */
typedef struct umemVirtual {
  uint64_t umem_opaque_[16] __attribute__((aligned(8)));
} umemVirtual;

/** Host RAM: addresses are pointers. */
typedef struct umemHost {
  umemVirtual super;
} umemHost;

/** A file or block device: addresses are byte offsets in it. */
typedef struct umemFile {
  umemVirtual super;
} umemFile;

/** A mapped file: addresses are pointers into it. */
typedef struct umemMMap {
  umemVirtual super;
} umemMMap;

/** Memory shared by processes: addresses are pointers into it. */
typedef struct umemShm {
  umemVirtual super;
} umemShm;

/** Memory of one CUDA device: see umem/cuda.h. */
typedef struct umemCuda {
  umemVirtual super;
} umemCuda;

/** Page-locked host memory of CUDA. */
typedef struct umemCudaHost {
  umemVirtual super;
} umemCudaHost;

/** Managed memory of CUDA. */
typedef struct umemCudaManaged {
  umemVirtual super;
} umemCudaManaged;

/** Memory of one OpenCL device: see umem/opencl.h. */
typedef struct umemOpenCL {
  umemVirtual super;
} umemOpenCL;

/** Room for a context of any kind. */
typedef union umemContext {
  umemVirtual super;
  umemHost host;
  umemFile file;
  umemMMap mmap;
  umemShm shm;
  umemCuda cuda;
  umemCudaHost cuda_host;
  umemCudaManaged cuda_managed;
  umemOpenCL opencl;
} umemContext;

/** One failure, in full. Frozen: never changes its size or layout. */
typedef struct umemError {
  size_t size;          /**< sizeof(umemError) as you compiled it. */
  umemStatusType type;  /**< umemOK if there was no failure. */
  int sys_errno;        /**< errno of the system call that failed, or 0. */
  int64_t native;       /**< Code of the device's driver, or 0. */
  uint64_t bytes_done;  /**< Bytes at the start of the destination range that
                             were done before the failure. */
  uint64_t reserved[4]; /**< 0. */
  char text[480];       /**< What failed, with which values, and why. */
} umemError;

/** Flags of umemHostOptions: where blocks lie, and what becomes of them. */
enum {
  /** Ask for huge pages (madvise(2)): as many as the system has. Blocks of a
      huge page or more start on one. */
  UMEM_HOST_HUGE_ADVICE = 1 << 0,
  /** Reserved huge pages only (MAP_HUGETLB), brought in at once: a block that
      there are not enough for is a umemMemoryError. A child of fork(2) that
      writes to one needs another, and is ended by SIGBUS if there is none. */
  UMEM_HOST_HUGE_RESERVED = 1 << 1,
  /** Only on the NUMA nodes in `nodes` (mbind(2)). */
  UMEM_HOST_BIND = 1 << 2,
  /** Page by page on the NUMA nodes in `nodes`, in turn. */
  UMEM_HOST_INTERLEAVE = 1 << 3,
  /** Never swapped out (mlock(2)): past RLIMIT_MEMLOCK a umemMemoryError. Not
      so in forked children. */
  UMEM_HOST_LOCK = 1 << 4,
  /** Overwritten with zeros before it is freed, the destructor included. */
  UMEM_HOST_WIPE = 1 << 5
};

/**
 * Options of umemHost_ctor_ex(). Set `size` to sizeof(umemHostOptions); 0 is
 * the default of everything else.
 */
typedef struct umemHostOptions {
  size_t size;
  int checked;      /**< 1: checked mode, see umemHost_ctor(). */
  uint32_t flags;   /**< UMEM_HOST_* or-ed together. */
  size_t alignment; /**< Of every block: a power of two; 0: malloc()'s. */
  uint64_t nodes;   /**< Bit k: NUMA node k, which has to be allowed to the
                         process (cpuset(7)). With BIND and INTERLEAVE only. */
} umemHostOptions;

/** Flags of umemFileOptions. */
enum {
  /** Refuse a symbolic link as the last part of the name. */
  UMEM_FILE_NOFOLLOW = 1 << 0,
  /** The file must not exist yet. Not with modes `r` and `r+`. */
  UMEM_FILE_EXCL = 1 << 1,
  /** Move whole 4 KiB pages past the page cache (O_DIRECT); the rest of a
      range, head and tail, goes through it. umemNotSupportedError where the
      file system has no O_DIRECT. */
  UMEM_FILE_DIRECT = 1 << 2,
  /** Use the open descriptor `fd`: the context owns it once constructed, and
      closes it. The file name is for messages only and may be NULL. */
  UMEM_FILE_TAKE_FD = 1 << 3,
  /**
   * Write a temporary file in the directory of the named one. umem_dtor() puts
   * it in that file's place, in one step and durably, if no call on the context
   * failed. For regular files and modes `w` and `w+`. What must be writable is
   * the directory, as for rename(2). The file may be open in other contexts:
   * they keep the old bytes.
   *
   * Where the system has files without a name (O_TMPFILE, and /proc), a process
   * that is killed leaves nothing behind; elsewhere it leaves a file
   * ".NAME.*.tmp".
   *
   * If the process has another user by then (setuid(2)), the system may refuse
   * to name the file of the first one: umem_dtor() copies it to one of the
   * present user, who must be allowed to write in the directory.
   *
   * The new file gets owner, group, mode, access list and `user.*` attributes
   * of the old one, as far as the system lets this process set them. Nobody
   * gets more access than before: without the old owner, group and others get
   * no right that the owner did not have; without the old group, they get the
   * rights that both had; without the old access list, they get none; the
   * setuid and setgid bits are dropped with owner and group. umem_dtor() looks
   * again: a right that the file of the name does not grant by then is taken
   * from the new one, too; if the access list is another, group and others get
   * no rights. If `permissions` are given, the new file gets those instead of
   * mode and access list, whatever the old one has.
   */
  UMEM_FILE_ATOMIC = 1 << 4,
  /** Allocate without the lock that keeps other contexts from allocating in
      the same file: see umemFile_ctor(). You see to it that only one does. */
  UMEM_FILE_NO_LOCK = 1 << 5
};

/**
 * Options of umemFile_ctor_ex(). Set `size` to sizeof(umemFileOptions); 0 is
 * the default of everything else.
 */
typedef struct umemFileOptions {
  size_t size;
  uint32_t flags;       /**< UMEM_FILE_* or-ed together. */
  uint32_t permissions; /**< Mode bits of a file that is created, before the
                             umask: at most 0777; 0 means 0666. */
  int fd;               /**< With UMEM_FILE_TAKE_FD. */
  uint32_t reserved;    /**< 0. */
} umemFileOptions;

/** How a mapping will be used (madvise(2)). */
typedef enum umemMMapAdvice {
  umemMMapNormal = 0,
  umemMMapSequential = 1, /**< Read ahead far, drop what was read. */
  umemMMapRandom = 2,     /**< Do not read ahead. */
  umemMMapWillNeed = 3    /**< Read all of it now, in the background. */
} umemMMapAdvice;

/**
 * Options of umemMMap_ctor_ex(). Set `size` to sizeof(umemMMapOptions); 0 is
 * the default of everything else.
 */
typedef struct umemMMapOptions {
  size_t size;
  uint32_t flags;        /**< UMEM_FILE_* or-ed together, but not DIRECT. */
  uint32_t permissions;  /**< As in umemFileOptions. */
  int fd;                /**< With UMEM_FILE_TAKE_FD. */
  umemMMapAdvice advice; /**< About all that is mapped. */
  uint64_t offset;       /**< Map from here on: a multiple of 4096. */
  uint64_t length; /**< Map so many bytes, and never more. 0: the whole file,
                        with room to grow. */
} umemMMapOptions;

/** Flags of umemShm_ctor(). */
enum {
  /** There must be no segment of this name yet. */
  UMEM_SHM_CREATE = 1 << 0,
  /** There must be one already. */
  UMEM_SHM_ATTACH = 1 << 1,
  /** The name outlives the context that created it, until umemShm_unlink(). */
  UMEM_SHM_KEEP = 1 << 2
};

/** Ways that the bytes of a copy can take, best first. */
typedef enum umemCopyRung {
  umemNoRung = 0,         /**< No byte has to move. */
  umemDirectRung = 1,     /**< Within the kind of device that both are. */
  umemSourceViewRung = 2, /**< The source is host memory to the destination. */
  umemDestViewRung = 3,   /**< The destination is host memory to the source. */
  umemStagedRung = 4      /**< In chunks, through host memory of the library. */
} umemCopyRung;

/** How a copy would be done: see umem_copy_plan(). */
typedef struct umemCopyPlan {
  size_t size;       /**< sizeof(umemCopyPlan) as you compiled it. */
  umemCopyRung rung; /**< The way. */
  uint32_t threads;  /**< Threads that move bytes, yours included, at most. */
  size_t chunk;      /**< Bytes that one step moves, at most. */
  size_t staging;    /**< Bytes of extra host memory, at most. */
  char method[32];   /**< What moves them: "memmove", "stream", "pread", ... */
  char reason[160];  /**< Why this way, in words. */
} umemCopyPlan;

/* ------------------------------------------------------------------------ */
/* Constructors and the destructor                                          */
/* ------------------------------------------------------------------------ */
/*
 * A constructor never reads the memory it is given. If it fails, the context
 * tells why (umem_get_message), may be destroyed, and answers umemTypeError to
 * everything else. A NULL context is a umemValueError. No other thread may use
 * the context meanwhile.
 */

/**
 * Construct a context for host RAM.
 *
 * Allocates nothing. Blocks come from malloc() and outlive the context: any
 * umemHost may free them, by umem_free(). Blocks of 32 MiB or more start on a
 * multiple of 2 MiB, unless umem_calloc() makes them, which leaves that to
 * calloc(); what a large copy brings there first is put on huge pages
 * (madvise(2)). With UMEM_CHECKED=1 in the environment (ignored in setuid
 * programs) the context is in *checked mode*: it keeps a registry of its live
 * blocks, refuses addresses that it did not hand out, bounds the `_safe` calls
 * by them, and lets umem_dtor() report blocks that were never freed.
 */
UMEM_API umemStatusType umemHost_ctor(umemHost *ctx);

/**
 * umemHost_ctor() with options; NULL means all defaults.
 *
 * With a flag or an alignment the Host is a *placed* one: it keeps a registry
 * of its blocks, refuses addresses that it did not hand out, and frees them in
 * umem_dtor(), in checked mode, too. Its blocks are host memory like all other:
 * any context that can use a pointer can use them. Other memory is not placed:
 * umem_connect() to a placed Host makes a block, unless the source is placed in
 * the same way.
 *
 * Errors: umemValueError for flags that are unknown or contradict each other;
 * umemIndexError for a NUMA node that there is not; umemNotSupportedError where
 * the system has no NUMA policies, or knows no reserved huge pages.
 */
UMEM_API umemStatusType umemHost_ctor_ex(umemHost *ctx,
                                         umemHostOptions const *options);

/**
 * Open a file as a context.
 *
 * @param filename  Path, copied. A regular file or a block device.
 * @param mode  As for fopen(): `r` read, `r+` read and write; `w` write, `w+`
 *   read and write, an empty file, created if need be; `a` write, `a+` read and
 *   write, created if need be, with what the file has now protected from
 *   writing. A `b` may stand anywhere after the first letter. Reads of `w` and
 * `a`, writes of `r`, and writes to bytes that `a` and `a+` protect are
 * umemValueErrors.
 *
 * The file holds your bytes only. Copies and umem_set() address it by offset,
 * with or without an allocation, and may extend it; reading past its end is a
 * umemIOError. umem_alloc() reserves a range past everything in use and extends
 * the file, so that a full disk is told there (where the file system can
 * reserve); in mode `r`, and on a block device, it hands out the existing bytes
 * in order and answers umemIndexError when they are used up; umem_calloc()
 * would have to write, a umemValueError in `r`. An allocation that fails
 * half-way may leave disk space reserved past the end of the file, for what
 * grows it next; a copy gives back what it has not written, but for file
 * systems that cannot (ext4: at most 16 MiB stay reserved). A block of 0 bytes
 * is at an address past any byte of the file, and takes none. Freed ranges, and
 * what an alignment skips between two blocks, are used by later allocations of
 * the same context; umem_free() never changes the file. Data are in the kernel
 * when a call returns (they survive a killed process); umem_flush() makes them
 * durable.
 *
 * One context per file allocates; any number may copy. Modes `w` and `w+`
 * become that context before they empty the file, other modes that can write
 * at their first umem_alloc(), until umem_dtor(). Another context, also one of
 * another process, then fails with umemIOError EAGAIN. Between processes this
 * is an advisory lock (fcntl(2), F_OFD_SETLK) on one byte just before the
 * largest offset, which no data reach. File systems without locks protect
 * contexts of one process only. A forked child holds the lock until it ends or
 * destroys the context if its parent ended without umem_dtor().
 *
 * Modes `w` and `w+` do not empty a file that has bytes while another context
 * of this process has it open, File, MMap or Shm: that is a umemValueError. Use
 * UMEM_FILE_ATOMIC to save over a file that you are reading. A constructor that
 * fails has neither emptied nor created a file; one that it created stays if
 * others have it or have written to it by then.
 *
 * If another process has a lease on the file (fcntl(2)), the constructor waits
 * for it, as open(2) does; where there is no /proc for a minute at most, and
 * fails with EAGAIN then.
 *
 * Descriptors 0, 1 and 2 are never used, unless given with UMEM_FILE_TAKE_FD.
 *
 * Errors: umemIOError with sys_errno (ENOENT, EACCES, EISDIR for a directory,
 * ESPIPE for a FIFO, socket or character device, EAGAIN if another context
 * allocates in the file, ...); umemValueError for a bad mode; umemMemoryError.
 */
UMEM_API umemStatusType umemFile_ctor(umemFile *ctx, char const *filename,
                                      char const *mode);

/**
 * umemFile_ctor() with options; NULL means all defaults.
 *
 * A descriptor given with UMEM_FILE_TAKE_FD stays yours if this fails (and may
 * have become close-on-exec). It must be open for what the mode asks, and
 * without O_APPEND and O_DIRECT. With UMEM_FILE_DIRECT it also needs /proc.
 */
UMEM_API umemStatusType umemFile_ctor_ex(umemFile *ctx, char const *filename,
                                         char const *mode,
                                         umemFileOptions const *options);

/**
 * Map a file into memory.
 *
 * Names and modes are those of umemFile_ctor(), except that the file must be
 * readable for `w` and `a`, too. Addresses are pointers into one mapping that
 * is shared with all who have the file open: what you store through them is in
 * the file, and growing the file never moves them. umem_alloc() reserves a
 * range of the file as for umemFile, 16-byte aligned; the bytes that were in
 * the file already are at umemMMap_get_address(). A block of 0 bytes may take
 * 16 bytes of the file, and one that is aligned to more than a page takes its
 * alignment besides. Any context of host memory can use the addresses.
 *
 * Copies, sets and comparisons by this context go through system calls: where
 * somebody cuts the file off meanwhile they answer umemIOError. Your own
 * loads and stores then raise SIGBUS, and so do those of the library through a
 * umemHost.
 *
 * Room to grow is reserved address space, not memory: at most 256 GiB, less
 * where RLIMIT_AS says so. Blocks past it are a umemMemoryError, accesses
 * outside the mapping a umemIndexError. A block of 0 bytes takes the place of
 * one, which in mode `r` has to be there.
 *
 * Errors: those of umemFile_ctor(); umemMemoryError if there is no address
 * space; umemNotSupportedError for a file that cannot be mapped.
 */
UMEM_API umemStatusType umemMMap_ctor(umemMMap *ctx, char const *filename,
                                      char const *mode);

/**
 * umemMMap_ctor() with options; NULL means all defaults.
 *
 * Errors besides: umemValueError for an offset or an advice that is none;
 * umemIndexError for a range past the end of a file that cannot grow.
 */
UMEM_API umemStatusType umemMMap_ctor_ex(umemMMap *ctx, char const *filename,
                                         char const *mode,
                                         umemMMapOptions const *options);

/**
 * Where the mapping begins; 0 on failure.
 *
 * @param nbytes_out  Bytes from there that are in the file now: what lies
 *   behind them is only room. May be NULL.
 */
UMEM_API uintptr_t umemMMap_get_address(umemMMap const *ctx,
                                        size_t *nbytes_out);

/**
 * Create memory that processes share, or attach to it.
 *
 * @param name  "/name" as for shm_open(3), copied; NULL: nameless memory, that
 *   others get through its descriptor (umemShm_get_fd()), and that nobody can
 *   make smaller (memfd_create(2), sealed; where the system refuses that, a
 *   file without a name in /dev/shm, which others who have it can).
 * @param size  Bytes for blocks, rounded up to whole pages. Of a segment that
 *   is there already: 0, or what it was created with.
 * @param flags  UMEM_SHM_* or-ed together; 0: attach if there is one, else
 *   create.
 *
 * All of the memory is reserved when it is created. Any number of processes may
 * allocate in it concurrently; a process that is killed during a call leaves
 * the segment intact. Blocks belong to the segment: any context that is
 * attached may free one, and umem_dtor() frees none. They start at multiples of
 * 256. The time of an allocation does not grow with the number of live blocks,
 * unless it asks for an alignment above 256 and finds free runs that are long
 * enough, but lie wrong. A refusal looks at all blocks if any were freed since
 * the last one. Addresses differ from process to process: hand them on with
 * umem_export_handle(). Processes of one user share a segment; another's is
 * refused. A segment that others can make smaller is copied by system calls,
 * which fail with umemIOError then; your own loads and stores raise SIGBUS.
 *
 * A name appears when its segment is complete, so a creator that is killed
 * leaves no name or a complete segment. A file of the name that is empty or all
 * zeros, and that no creator is filling, is replaced by a new segment, unless
 * `flags` have UMEM_SHM_ATTACH. The context that created a name removes it in
 * umem_dtor(), in the process that constructed it, unless told to keep it.
 *
 * Errors: umemIOError with sys_errno (EEXIST, ENOENT, ...); umemValueError for
 * a bad name, size or flag, and for a segment that is not ours, by owner, mode,
 * size or contents; umemMemoryError if there is not enough memory;
 * umemNotSupportedError where /proc is not mounted, which nameless memory and
 * umemShm_ctor_fd() need in processes without privileges.
 */
UMEM_API umemStatusType umemShm_ctor(umemShm *ctx, char const *name,
                                     size_t size, uint32_t flags);

/**
 * Attach to the segment behind a descriptor, which stays yours: it is
 * duplicated. Checked as by umemShm_ctor().
 */
UMEM_API umemStatusType umemShm_ctor_fd(umemShm *ctx, int fd);

/** The context's descriptor, to be passed on; close-on-exec; borrowed. -1 on
    failure. */
UMEM_API int umemShm_get_fd(umemShm const *ctx);

/** Remove the name of a segment, or of whatever else is there. Who is attached
    stays so. umemIOError with sys_errno ENOENT if there is none, or another
    process removed it at the same time. No context holds a message. */
UMEM_API umemStatusType umemShm_unlink(char const *name);

/**
 * Construct a context without methods: every operation on it answers
 * umemNotImplementedError.
 *
 * @param host  A live umemHost, borrowed for the call; or NULL.
 */
UMEM_API umemStatusType umemVirtual_ctor(umemVirtual *ctx, umemHost *host);

/** The same as umem_dtor(). */
UMEM_API umemStatusType umemVirtual_dtor(umemVirtual *ctx);

/**
 * Destroy a context: free its blocks and mirrors, close its file, give back
 * what it holds.
 *
 * Blocks of a umemHost are left alone: they are malloc()'s. The context is dead
 * afterwards whatever is returned, and the calling thread's status is clean
 * unless this call failed. Destroying a context that failed to construct, is
 * dead, or is none at all is umemOK.
 *
 * Errors: umemIOError if closing or publishing a file failed (what had been
 * written may be lost: see umem_flush()); umemRuntimeError if a umemHost in
 * checked mode still had live blocks.
 */
UMEM_API umemStatusType umem_dtor(void const *ctx);

/* ------------------------------------------------------------------------ */
/* Memory                                                                   */
/* ------------------------------------------------------------------------ */
/*
 * 0 means failure, but it is a natural address in a file, too: generic code
 * uses the umem_try_ forms, which return the status.
 *
 * Size 0 gives an address that is not 0, that no other live block has, and that
 * may be freed. Sizes over PTRDIFF_MAX are umemMemoryErrors.
 *
 * Every kind but umemHost out of checked mode knows its live blocks: freeing an
 * address that is not the start of one is a umemValueError and frees nothing.
 */

/**
 * Allocate `nbytes` uninitialised bytes.
 *
 * Solaris has a libumem that exports functions of this name and of umem_free's,
 * so the symbols are umem_ctx_alloc and umem_ctx_free, for dlsym(), too.
 */
UMEM_API uintptr_t umem_alloc(void const *ctx, size_t nbytes)
    UMEM_LINK_NAME("umem_ctx_alloc");

/** Allocate `nmemb` members of `size` bytes, zeroed. */
UMEM_API uintptr_t umem_calloc(void const *ctx, size_t nmemb, size_t size);

/**
 * Allocate `size` bytes at a multiple of `alignment`.
 *
 * @param alignment  A power of two, else umemValueError.
 * @param size  A multiple of `alignment`, else umemValueError.
 *
 * The address is never 0, in a file either. Release it with
 * umem_free_aligned() or umem_free().
 */
UMEM_API uintptr_t umem_aligned_alloc(void const *ctx, size_t alignment,
                                      size_t size);

/** umem_alloc() that returns the status. */
UMEM_API umemStatusType umem_try_alloc(void const *ctx, size_t nbytes,
                                       uintptr_t *adr_out);

/** umem_calloc() that returns the status. */
UMEM_API umemStatusType umem_try_calloc(void const *ctx, size_t nmemb,
                                        size_t size, uintptr_t *adr_out);

/** umem_aligned_alloc() that returns the status. */
UMEM_API umemStatusType umem_try_aligned_alloc(void const *ctx,
                                               size_t alignment, size_t size,
                                               uintptr_t *adr_out);

/**
 * Free a block. Address 0 is a no-op, except that in a file it frees the live
 * block at 0 if there is one.
 *
 * If the device fails to free it, the block is gone all the same and is never
 * freed twice. But in shared memory it stays, and may be freed again.
 */
UMEM_API umemStatusType umem_free(void const *ctx, uintptr_t adr)
    UMEM_LINK_NAME("umem_ctx_free");

/** Free a block of umem_aligned_alloc(); returns its origin, 0 on failure. */
UMEM_API uintptr_t umem_free_aligned(void const *ctx, uintptr_t adr);

/** umem_free_aligned() under its other usual name. */
UMEM_API uintptr_t umem_aligned_free(void const *ctx, uintptr_t adr);

/** umem_free_aligned() that returns the status; `origin_out` may be NULL. */
UMEM_API umemStatusType umem_try_free_aligned(void const *ctx, uintptr_t adr,
                                              uintptr_t *origin_out);

/**
 * The address that the device's own allocator returned for the block at `adr`.
 * On a umemHost out of checked mode that is `adr`.
 */
UMEM_API uintptr_t umem_aligned_origin(void const *ctx, uintptr_t adr);

/* The symbols behind umem_alloc and umem_free. */
UMEM_API uintptr_t umem_ctx_alloc(void const *ctx, size_t nbytes);
UMEM_API umemStatusType umem_ctx_free(void const *ctx, uintptr_t adr);

/**
 * Set `nbytes` bytes at `adr` to `(unsigned char)c`; returns `adr`.
 *
 * After a failure the first umemError.bytes_done bytes are set and the rest of
 * the range is unspecified.
 */
UMEM_API uintptr_t umem_set(void const *ctx, uintptr_t adr, int c,
                            size_t nbytes);

/** umem_set() that returns the status. */
UMEM_API umemStatusType umem_try_set(void const *ctx, uintptr_t adr, int c,
                                     size_t nbytes);

/**
 * umem_try_set() that stays within the `size` bytes at `adr`, and within the
 * live block there if the context knows one: umemIndexError otherwise.
 */
UMEM_API umemStatusType umem_set_safe(void const *ctx, uintptr_t adr,
                                      size_t size, int c, size_t nbytes);

/* ------------------------------------------------------------------------ */
/* Copy                                                                     */
/* ------------------------------------------------------------------------ */
/*
 * Between any two contexts, at any offset, of any size, in bounded extra
 * memory (at most 8 MiB). Ranges that overlap in one address space behave as
 * with memmove(); the same bytes seen through two spaces (a file, and your own
 * mapping of it) are your duty. Size 0 checks the arguments and touches
 * nothing.
 *
 * After a failure the first umemError.bytes_done bytes of the destination are
 * done and the rest of its range is unspecified; if the ranges overlap all of
 * it is, and bytes_done is 0. Nothing outside the range changes. The failure is
 * recorded in both contexts, and the message names the side at fault.
 *
 * Large copies are shared with threads of the library (umem_set_threads()),
 * which access your memory and your descriptors. A handler of a fault may
 * repair it and return, but not jump out of the call; a thread that has
 * protection keys of its own has to do without the library's. Copies between
 * files may share extents, and holes of the source become holes of the
 * destination where the file system can do that, also in a range that
 * umem_alloc() reserved: a later write there may need disk space. A copy that
 * overlaps upwards in one file writes zeros for holes, as does one from a
 * descriptor that was given (UMEM_FILE_TAKE_FD), whose offset stays as it is.
 *
 * The plain calls do not look at block boundaries. The `_safe` calls answer
 * umemIndexError before any byte moves if `nbytes` exceeds one of the two
 * sizes, if a range wraps, or if it leaves the live block that it starts in.
 */

/** Copy `nbytes` bytes from `src` to `dest`. */
UMEM_API umemStatusType umem_copy_to(void const *src, uintptr_t src_adr,
                                     void const *dest, uintptr_t dest_adr,
                                     size_t nbytes);

/** umem_copy_to() with the destination first. */
UMEM_API umemStatusType umem_copy_from(void const *dest, uintptr_t dest_adr,
                                       void const *src, uintptr_t src_adr,
                                       size_t nbytes);

/** umem_copy_to() within `src_size` bytes and `dest_size` bytes. */
UMEM_API umemStatusType umem_copy_to_safe(void const *src, uintptr_t src_adr,
                                          size_t src_size, void const *dest,
                                          uintptr_t dest_adr, size_t dest_size,
                                          size_t nbytes);

/** umem_copy_to_safe() with the destination first. */
UMEM_API umemStatusType umem_copy_from_safe(void const *dest,
                                            uintptr_t dest_adr,
                                            size_t dest_size, void const *src,
                                            uintptr_t src_adr, size_t src_size,
                                            size_t nbytes);

/**
 * Copy a rectangle: `rows` rows of `row_bytes` bytes, each starting a pitch
 * behind the one before.
 *
 * @param src_pitch, dest_pitch  Bytes from the start of a row to the start of
 *   the next; at least `row_bytes`, else umemValueError, if there are two rows.
 *
 * The bytes between the rows are not written, in the destination, and may be
 * others' business meanwhile; that they may be accessed is checked with the
 * rows. Rows that overlap rows of the other side behave as if all had been read
 * before any was written. umemError.bytes_done counts bytes of rows, in their
 * order; it is 0 where the two sides lie in one another.
 */
UMEM_API umemStatusType umem_copy_2d(void const *src, uintptr_t src_adr,
                                     size_t src_pitch, void const *dest,
                                     uintptr_t dest_adr, size_t dest_pitch,
                                     size_t row_bytes, size_t rows);

/** umem_copy_2d() within `src_size` bytes and `dest_size` bytes. */
UMEM_API umemStatusType umem_copy_2d_safe(void const *src, uintptr_t src_adr,
                                          size_t src_pitch, size_t src_size,
                                          void const *dest, uintptr_t dest_adr,
                                          size_t dest_pitch, size_t dest_size,
                                          size_t row_bytes, size_t rows);

/**
 * Tell how umem_copy_to() with these arguments would be done, and why.
 *
 * Set `plan_out->size` to sizeof(umemCopyPlan) first; only that many bytes are
 * written. Moves nothing. Checks what the copy would check before it starts. A
 * way that a device turns down when it is tried gives way to the next one; what
 * was done in the end is printed with UMEM_LOG=copy in the environment (read
 * once; ignored in setuid programs), a line per copy on stderr; of a rectangle
 * a line per row that is copied by itself. A line is lost where stderr cannot
 * be written to, or is another file than when the library was loaded, or is a
 * regular file that is open for reading, too.
 */
UMEM_API umemStatusType umem_copy_plan(void const *src, uintptr_t src_adr,
                                       void const *dest, uintptr_t dest_adr,
                                       size_t nbytes, umemCopyPlan *plan_out);

/**
 * Let the library run at most `nthreads` threads of its own, in the whole
 * process, to help with large copies.
 *
 * They start when there is work for them, end after a second without, block all
 * signals but those of faults, and are never needed: 0 means that every call
 * does its work in the calling thread. Threads that differ from the main thread
 * in scheduling (policy, nice value, I/O priority), rights, filters of system
 * calls, control group or descriptor table have no helpers, nor have real-time
 * threads; threads with different memory policies do not share helpers. All
 * that is read in /proc: without it the main thread alone has helpers. In
 * threads with a filter of system calls I/O priority and memory policy are not
 * asked. What the main thread changes of itself counts for helpers that start
 * afterwards: umem_set_threads(0), and then a number, ends those that there
 * are. Returns when no more than that are left, which is after the copies at
 * which they are helping now.
 * Unless this is called the number is that of UMEM_THREADS in the environment
 * (ignored in setuid programs), else one less than the CPUs that the process
 * may use by its affinity and the quota of its control groups, but 3 to 15:
 * work that keeps a CPU busy is never shared by more threads than there are
 * CPUs, but disks and devices are waited for by more.
 *
 * Errors: umemValueError over 1024; it is told by the returned status only.
 */
UMEM_API umemStatusType umem_set_threads(unsigned nthreads);

/** How many threads the library may run. */
UMEM_API unsigned umem_get_threads(void);

/* ------------------------------------------------------------------------ */
/* Compare and checksum                                                     */
/* ------------------------------------------------------------------------ */
/*
 * Any range of any context, of any size, in bounded extra memory (at most
 * 8 MiB).
 */

/**
 * Compare `nbytes` bytes of `a` with as many of `b`.
 *
 * @param first_difference_out  The number of bytes before the first one that
 *   differs; `nbytes` if none does. What lies behind it need not be readable.
 */
UMEM_API umemStatusType umem_compare(void const *a, uintptr_t a_adr,
                                     void const *b, uintptr_t b_adr,
                                     size_t nbytes,
                                     size_t *first_difference_out);

/**
 * Checksum of `nbytes` bytes: CRC-32C (Castagnoli; RFC 3720, appendix B.4), as
 * iSCSI, ext4 and Btrfs use it.
 *
 * @param before  0, or the checksum of the bytes before: the checksum of pieces
 *   one after the other is that of the whole.
 */
UMEM_API umemStatusType umem_checksum(void const *ctx, uintptr_t adr,
                                      size_t nbytes, uint32_t before,
                                      uint32_t *checksum_out);

/* ------------------------------------------------------------------------ */
/* Connect and sync                                                         */
/* ------------------------------------------------------------------------ */
/*
 * A *mirror* is an address of `dest` that holds the data of a range of `src`:
 * the same address where `dest` can use it, and cannot do with it what `src`
 * refuses, else a block of its own. Keep the two alike with umem_sync_to() and
 * umem_sync_from(), which move nothing where they are the same bytes.
 */

/**
 * Connect `nbytes` bytes of `src` to `dest`; returns the mirror's address.
 *
 * @param dest_alignment  0 or 1 for none, else a power of two. A fresh block
 *   is rounded up to a multiple of it.
 *
 * Fails where a copy of the range would fail, even if none is made: the range
 * may be unreadable, or end past the end of a file. A fresh block holds a copy
 * of the data. If that copy fails the block is freed again. Release each mirror
 * with umem_disconnect(), as often as connected, and never with umem_free().
 */
UMEM_API uintptr_t umem_connect(void const *src, uintptr_t src_adr,
                                size_t nbytes, void const *dest,
                                size_t dest_alignment);

/** umem_connect() that returns the status. */
UMEM_API umemStatusType umem_try_connect(void const *src, uintptr_t src_adr,
                                         size_t nbytes, void const *dest,
                                         size_t dest_alignment,
                                         uintptr_t *adr_out);

/**
 * Undo one umem_connect(): the last one of a pair frees the block if, and only
 * if, connect made it.
 *
 * Nothing is synced. Only `dest` must still be live; `src` may be dead. A pair
 * that is not connected is a umemValueError. Mirrors that are left are freed
 * when `dest` is destroyed.
 *
 * @param dest_alignment  As given to umem_connect(); checked in the same way,
 *   and otherwise not needed.
 */
UMEM_API umemStatusType umem_disconnect(void const *src, uintptr_t src_adr,
                                        void const *dest, uintptr_t dest_adr,
                                        size_t dest_alignment);

/**
 * Make `dest` like `src`: umem_copy_to(), whether the two are connected or not.
 * Where the addresses are equal in one address space no byte is moved, but what
 * a copy would refuse is refused.
 */
UMEM_API umemStatusType umem_sync_to(void const *src, uintptr_t src_adr,
                                     void const *dest, uintptr_t dest_adr,
                                     size_t nbytes);

/** umem_sync_to() with the destination first. */
UMEM_API umemStatusType umem_sync_from(void const *dest, uintptr_t dest_adr,
                                       void const *src, uintptr_t src_adr,
                                       size_t nbytes);

/** umem_sync_to() within `src_size` bytes and `dest_size` bytes. */
UMEM_API umemStatusType umem_sync_to_safe(void const *src, uintptr_t src_adr,
                                          size_t src_size, void const *dest,
                                          uintptr_t dest_adr, size_t dest_size,
                                          size_t nbytes);

/** umem_sync_to_safe() with the destination first. */
UMEM_API umemStatusType umem_sync_from_safe(void const *dest,
                                            uintptr_t dest_adr,
                                            size_t dest_size, void const *src,
                                            uintptr_t src_adr, size_t src_size,
                                            size_t nbytes);

/* ------------------------------------------------------------------------ */
/* Handles                                                                  */
/* ------------------------------------------------------------------------ */

/** The most bytes that a handle has. */
#define UMEM_HANDLE_MAX 256

/**
 * Describe a range to another process of this machine: a string of bytes that
 * can be sent by any means, and that grants no access.
 *
 * @param buf  Where it is written; NULL: only its size is wanted.
 * @param len  In: the room at `buf`, UMEM_HANDLE_MAX is enough; out: the bytes
 *   of the handle.
 *
 * Of File, MMap, Shm and Cuda. Errors: umemIndexError for a range that is not
 * there (0 bytes are in any file); umemValueError if there is too little room;
 * umemNotImplementedError for other kinds.
 */
UMEM_API umemStatusType umem_export_handle(void const *ctx, uintptr_t adr,
                                           size_t nbytes, void *buf,
                                           size_t *len);

/**
 * Find the range of a handle in `ctx`, a context of the same file or segment
 * that any process has constructed.
 *
 * @param adr_out  Its address here, which may be another than there.
 * @param n_out  Its bytes. Nothing is allocated, and but for Cuda (umem/cuda.h)
 *   nothing held: the range is there as long as its owner leaves it alone.
 *
 * Handles of one file fit contexts of all kinds that open it. A file is known
 * by device, inode and time of birth; where the system does not tell the time
 * of birth, a later file that got the same inode is taken for it. Any bytes may
 * be given. Errors: umemValueError for what is no handle, was cut or garbled,
 * or is of another file; umemIndexError if the file does not reach that far any
 * more; umemNotSupportedError for a handle of a later version;
 * umemNotImplementedError for kinds without handles.
 */
UMEM_API umemStatusType umem_import_handle(void const *ctx, void const *buf,
                                           size_t len, uintptr_t *adr_out,
                                           size_t *n_out);

/* ------------------------------------------------------------------------ */
/* Durability                                                               */
/* ------------------------------------------------------------------------ */

/**
 * Make what was written to `ctx` durable: on return it survives a power cut.
 *
 * Files: fdatasync(), and an fsync() of the directory after a create, where the
 * file system can sync directories; syncfs() if this process may not read the
 * directory. After a failed flush every later one fails
 * until the file is opened anew, because the kernel may have dropped the data
 * (fsync(2)). With UMEM_FILE_ATOMIC the temporary file is made durable, and
 * nothing is published. Devices whose contents die with the process: nothing to
 * do, umemOK.
 */
UMEM_API umemStatusType umem_flush(void const *ctx);

/**
 * Give up what a UMEM_FILE_ATOMIC context would publish: the temporary file
 * is removed, and umem_dtor() will leave the named file as it is.
 *
 * Once more is umemOK. Errors: umemValueError on other files;
 * umemNotImplementedError on other kinds.
 */
UMEM_API umemStatusType umem_discard(void const *ctx);

/* ------------------------------------------------------------------------ */
/* Status                                                                   */
/* ------------------------------------------------------------------------ */
/*
 * Each thread has its own status of each context: it sees its own failures, and
 * never those of another thread. It is sticky until cleaned; later failures are
 * appended to the message while they fit in 1 KiB and are counted after that.
 * A thread keeps the status of the last 1,024 contexts that failed in it, and
 * the texts of the last 16.
 *
 * These calls also work on contexts that failed to construct or are dead. On
 * what is no context at all the status is umemTypeError, and nothing is
 * written.
 */

/** Has no call of this thread on `ctx` failed since the last clean? */
UMEM_API bool umem_is_ok(void const *ctx);

/** The type of this thread's last failure on `ctx`, or umemOK. */
UMEM_API umemStatusType umem_get_status(void const *ctx);

/**
 * What failed in this thread on `ctx`; "" if nothing did. Never NULL.
 *
 * The pointer may be read until the thread ends; do not free it. The text
 * behind it changes when the status is cleaned or set again, and may give way
 * to another's when 16 other contexts have failed.
 */
UMEM_API char const *umem_get_message(void const *ctx);

/**
 * Set this thread's status as a failed call would; umemOK cleans it.
 *
 * @param message  Copied; NULL is "". May be the context's own message.
 *
 * Not counted by umem_get_error_count(). A `type` that is not a status is a
 * umemValueError.
 */
UMEM_API umemStatusType umem_set_status(void const *ctx, umemStatusType type,
                                        char const *message);

/** Forget this thread's failures on `ctx`. */
UMEM_API umemStatusType umem_clean_status(void const *ctx);

/** umem_clean_status() under its other usual name. */
UMEM_API umemStatusType umem_clear_status(void const *ctx);

/** Number of failed calls on `ctx` so far, in all threads. */
UMEM_API uint64_t umem_get_error_count(void const *ctx);

/**
 * Copy the last failure on `ctx` in any thread to `error_out`; umemOK and an
 * empty text if there was none.
 *
 * Set `error_out->size` to sizeof(umemError) first; only that many bytes are
 * written. The text is kept for the last failing contexts, 256 of them.
 */
UMEM_API umemStatusType umem_copy_last_error(void const *ctx,
                                             umemError *error_out);

/** Bare name of a status: "OK", "MemoryError", ... "UnknownError". */
UMEM_API char const *umem_get_status_name(umemStatusType type);

/* ------------------------------------------------------------------------ */
/* Questions                                                                */
/* ------------------------------------------------------------------------ */

/** Are the addresses of `a` and `b` the same thing: one kind, one space? */
UMEM_API bool umem_is_same_device(void const *a, void const *b);

/**
 * May `dest` use addresses of `src` as they are? Not symmetric: host code can
 * use pinned memory, but what needs pinned memory cannot use all host memory.
 * False where `dest` could do with some of them what `src` refuses: a umemHost
 * with the pointers of a umemMMap in mode `r`, or in mode `a+` of a file that
 * has bytes already. Where it is true umem_connect() makes no block, unless an
 * alignment asks for one.
 */
UMEM_API bool umem_is_accessible_from(void const *src, void const *dest);

/** Bare name of a context's kind: "Host", "File", ... "UnknownDevice". */
UMEM_API char const *umem_get_device_name(void const *ctx);

/** Bare name of a kind; "UnknownDevice" for those of other authors. */
UMEM_API char const *umem_get_device_name_from_type(umemDeviceType type);

/** What a device is, before any context exists: see umem_device_info(). */
typedef struct umemDeviceInfo {
  size_t size;          /**< sizeof(umemDeviceInfo) as you compiled it. */
  umemDeviceType type;  /**< The kind that was asked for. */
  int numa_node;        /**< Nearest to it; -1: none in particular. */
  uint64_t total_bytes; /**< Of memory; 0 if not known. */
  uint64_t free_bytes;  /**< That could be had now; 0 if not known. */
  int usable;           /**< 1: a context of it can be constructed. */
  uint32_t reserved;    /**< 0. */
  char name[128];       /**< What its maker calls it. */
  char reason[256];     /**< If not usable: what was looked for, and why not. */
  int platform;         /**< OpenCL: the numbers that umemOpenCL_ctor() takes */
  int device;           /**< for it; other kinds: 0, and `index`. */
} umemDeviceInfo;

/**
 * How many devices of a kind there are here: Host, one for each NUMA node below
 * 64 that the process may use and that has memory for all purposes (not that of
 * GPUs); File and MMap, one (the working directory); Shm, one (/dev/shm);
 * OpenCL, those of all platforms. 0 for kinds that cannot be used here, and
 * those of other authors.
 *
 * A driver of GPUs or of OpenCL that this process has not started is asked by a
 * child process, once, for at most 60 seconds: children that are forked later
 * can use it. The program sees no SIGCHLD and no child to wait for. Its
 * handlers of pthread_atfork() run, outside of the 60 seconds: hold no lock
 * that they take. Until then the calling thread handles no signal; those that
 * end a program without a handler do. Where no child can be had (a limit, a
 * filter of system calls), this process asks. A GPU that fails is counted, too.
 */
UMEM_API size_t umem_device_count(umemDeviceType type);

/**
 * Describe device number `index` of a kind. Needs no context, and makes none.
 *
 * Set `info_out->size` to sizeof(umemDeviceInfo) first; only that many bytes
 * are written. Of a kind without devices here, index 0 is umemOK with `usable`
 * 0, and says why.
 *
 * Errors: umemIndexError if there is no such device; umemValueError for a type
 * that is no kind of this library, or NULL. No context holds a message.
 */
UMEM_API umemStatusType umem_device_info(umemDeviceType type, size_t index,
                                         umemDeviceInfo *info_out);

/** The alignment that every umem_alloc() of `ctx` has; 0 on failure. */
UMEM_API size_t umem_fundamental_align(void const *ctx);

/** Is `x` a power of two? 0 is not. */
UMEM_API bool umem_ispowerof2(size_t x);

/** UMEM_VERSION of the library that runs. */
UMEM_API unsigned umem_version(void);

#ifdef __cplusplus
}
#endif

#include "umem/cuda.h"
#include "umem/opencl.h"

#endif
