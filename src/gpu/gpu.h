/* SPDX-License-Identifier: BSD-3-Clause */
/* Private declarations of GPUs: a table of what a driver does, which knows one
   driver each, and what stands on it, which knows none. */
#ifndef UMEMI_GPU_H
#define UMEMI_GPU_H

#include "../internal.h"

enum {
  UMEMI_GPU_SHARED = -2, /* for the number of a device */
  UMEMI_GPU_IPC = 64,    /* bytes of a handle of the driver's */
  UMEMI_GPU_ID = 16      /* that tell a device from all others */
};

/* What a GPU is. */
struct umemiGpuFacts {
  char name[128];
  uint64_t total; /* bytes of memory */
  unsigned char id[UMEMI_GPU_ID];
  int numa_node;
  bool unified_addressing, managed, pools;
};

/* Objects of the driver. */
typedef void *umemiGpuContext;
typedef void *umemiGpuStream; /* NULL: the one that all others wait for */
typedef void *umemiGpuEvent;
typedef void *umemiGpuPool;

struct umemiGpu;

/* Rows: a plain range is one. A driver's own copy of many has limits. */
struct umemiGpuRows {
  enum umemiGpuWay { UMEMI_GPU_WITHIN, UMEMI_GPU_WRITE, UMEMI_GPU_READ } way;
  uintptr_t src, dest; /* the source of a WRITE, and the destination of a READ,
                          are the host's */
  size_t src_pitch, dest_pitch;
  size_t row, rows; /* bytes of a row, number of rows; none is 0 */
};

/*
 * The operations of a driver. All return a status and fill in `error`: what was
 * called, and the driver's code and name of it. Those that need a context work
 * in the one that is current.
 */
struct umemiGpuOps {
  char const *name; /* "CUDA" */
  struct umemiDriver *driver;
  umemStatusType (*load)(umemError *error);
  /* Codes after which a device answers nothing else. */
  bool (*is_sticky)(int64_t code);

  umemStatusType (*count)(int *count_out, umemError *error);
  umemStatusType (*describe)(int number, struct umemiGpuFacts *out,
                             umemError *error);
  /* May the host use managed memory while the device works? */
  umemStatusType (*managed_is_shared)(int number, bool *is_out,
                                      umemError *error);
  /* Fills in the context of the device, and which life of it this is. */
  umemStatusType (*retain)(struct umemiGpu *gpu, umemError *error);
  umemStatusType (*release)(int number, umemError *error);
  /* Does anybody retain the device's context? */
  umemStatusType (*is_active)(int number, bool *is_out, umemError *error);
  /* Is the life of the context that was retained not over? */
  umemStatusType (*is_alive)(struct umemiGpu const *gpu, bool *is_out,
                             umemError *error);
  /* The device of this thread's current context, or -1. */
  int (*current)(void);
  /* The device that the stream belongs to. */
  umemStatusType (*device_of_stream)(umemiGpuStream stream, int *number_out,
                                     umemError *error);
  /* The device whose memory this is; -1: it is not memory of a device;
     UMEMI_GPU_SHARED: it is that of all. */
  umemStatusType (*device_of)(uintptr_t adr, int *number_out, umemError *error);
  umemStatusType (*can_peer)(int number, int peer, bool *can_out,
                             umemError *error);
  /* Makes the context current in this thread; *pushed_out: it was not before;
   *gone_out: its life is over, and nothing is pushed. */
  umemStatusType (*enter)(struct umemiGpu const *gpu, bool *pushed_out,
                          bool *gone_out, umemError *error);
  umemStatusType (*leave)(bool pushed, umemError *error);
  /* Of kernels of the current context on memory of another; once more is no
     error. */
  umemStatusType (*enable_peer)(umemiGpuContext peer, umemError *error);
  /* Lets calls of this thread do what a capture of a stream forbids; gives the
     mode that was before. */
  umemStatusType (*relax)(int *mode_out, umemError *error);
  umemStatusType (*restore)(int mode, umemError *error);
  /* May other work come after the stream's, or is that being captured? */
  umemStatusType (*stream_is_free)(umemiGpuStream stream, bool *free_out,
                                   umemError *error);

  umemStatusType (*alloc)(size_t nbytes, uintptr_t *adr_out, umemError *error);
  umemStatusType (*free)(uintptr_t adr, umemError *error);
  umemStatusType (*free_bytes)(uint64_t *free_out, umemError *error);
  umemStatusType (*host_alloc)(size_t nbytes, bool write_combined,
                               void **ptr_out, umemError *error);
  umemStatusType (*host_free)(uintptr_t adr, umemError *error);
  umemStatusType (*pin)(void *ptr, size_t nbytes, bool read_only,
                        umemError *error);
  /* After a failure of pin(): may the same memory be pinned in another way? */
  bool (*may_pin_otherwise)(int64_t code);
  umemStatusType (*unpin)(uintptr_t adr, umemError *error);
  umemStatusType (*managed_alloc)(size_t nbytes, bool host_first,
                                  uintptr_t *adr_out, umemError *error);
  /* Is it host memory that the driver does not know? */
  umemStatusType (*is_pageable)(uintptr_t adr, bool *is_out, umemError *error);
  umemStatusType (*block_of)(uintptr_t adr, uintptr_t *start_out,
                             size_t *nbytes_out, umemError *error);

  umemStatusType (*stream_new)(umemiGpuStream *stream_out, umemError *error);
  umemStatusType (*stream_free)(umemiGpuStream stream, umemError *error);
  umemStatusType (*stream_wait)(umemiGpuStream stream, umemError *error);
  umemStatusType (*stream_follow)(umemiGpuStream stream, umemiGpuEvent event,
                                  umemError *error);
  /* Not the one that each thread has of its own: others could not wait for
     it. */
  umemStatusType (*stream_is_of)(umemiGpuStream stream, umemiGpuContext context,
                                 bool *is_out, umemError *error);
  umemStatusType (*event_new)(umemiGpuEvent *event_out, umemError *error);
  umemStatusType (*event_free)(umemiGpuEvent event, umemError *error);
  umemStatusType (*event_record)(umemiGpuEvent event, umemiGpuStream stream,
                                 umemError *error);
  umemStatusType (*event_wait)(umemiGpuEvent event, umemError *error);

  umemStatusType (*set)(uintptr_t adr, unsigned char c, size_t nbytes,
                        umemiGpuStream stream, umemError *error);
  umemStatusType (*write)(uintptr_t adr, void const *in, size_t nbytes,
                          umemiGpuStream stream, umemError *error);
  umemStatusType (*read)(uintptr_t adr, void *out, size_t nbytes,
                         umemiGpuStream stream, umemError *error);
  /* In the default stream, and waited for. */
  umemStatusType (*write_now)(uintptr_t adr, void const *in, size_t nbytes,
                              umemError *error);
  umemStatusType (*read_now)(uintptr_t adr, void *out, size_t nbytes,
                             umemError *error);
  umemStatusType (*copy)(uintptr_t src, uintptr_t dest, size_t nbytes,
                         umemiGpuStream stream, umemError *error);
  umemStatusType (*copy_peer)(uintptr_t src, umemiGpuContext src_context,
                              uintptr_t dest, umemiGpuContext dest_context,
                              size_t nbytes, umemiGpuStream stream,
                              umemError *error);

  /* Memory in the order of a stream. */
  umemStatusType (*pool_new)(int number, umemiGpuPool *pool_out,
                             umemError *error);
  umemStatusType (*pool_free)(umemiGpuPool pool, umemError *error);
  umemStatusType (*pool_alloc)(umemiGpuPool pool, size_t nbytes,
                               umemiGpuStream stream, uintptr_t *adr_out,
                               umemError *error);
  umemStatusType (*pool_give)(uintptr_t adr, umemiGpuStream stream,
                              umemError *error);

  umemStatusType (*ipc_export)(uintptr_t adr,
                               unsigned char handle_out[UMEMI_GPU_IPC],
                               umemError *error);
  umemStatusType (*ipc_open)(unsigned char const handle[UMEMI_GPU_IPC],
                             uintptr_t *adr_out, umemError *error);
  umemStatusType (*ipc_close)(uintptr_t adr, umemError *error);

  /* Two rows and more: ValueError for what the driver does not take, and
     NotSupported where it has no such function. */
  umemStatusType (*copy_rows)(struct umemiGpuRows const *rows,
                              umemiGpuStream stream, umemError *error);
  umemStatusType (*copy_rows_peer)(struct umemiGpuRows const *rows,
                                   umemiGpuContext src_context,
                                   umemiGpuContext dest_context,
                                   umemiGpuStream stream, umemError *error);
};

/* cuda.c -------------------------------------------------------------------*/

extern struct umemiGpuOps const umemi_cuda;

/* A stream of ours, that waits for nobody, and what is staged through. */
struct umemiGpuLane {
  umemiGpuStream stream;
  umemiGpuEvent before;     /* what the stream comes after */
  umemiGpuEvent drained[2]; /* slot k may be used again */
  char *slots;              /* two, pinned; or NULL */
};

enum {
  UMEMI_GPU_MAX = 64,        /* devices that are seen */
  UMEMI_GPU_LANES = 32,      /* that a device keeps */
  UMEMI_GPU_STAGES = 8,      /* likewise */
  UMEMI_GPU_THREADS = 8,     /* that fill and empty slots of one copy */
  UMEMI_GPU_SLOT = 512 << 10 /* of a lane; it has two, if it needed them */
};

/* One life of a device's context: from when it was retained until it is
   released, or the device is reset. */
struct umemiGpu {
  struct umemiGpuOps const *ops;
  int number, count; /* of all devices */
  umemiGpuContext context;
  uint64_t life; /* differs from that of all other lives; 0: unknown */
  struct umemiGpuFacts facts;
  _Atomic(void *) lanes[UMEMI_GPU_LANES];   /* kept.c */
  _Atomic(void *) stages[UMEMI_GPU_STAGES]; /* pinned, of tuning's slot */
  _Atomic uint64_t peers;      /* bit k: it reaches the memory of device k */
  _Atomic uint64_t reached_by; /* bit k: device k reaches its memory */
  atomic_int broken;           /* the first sticky code, or 0 */
  atomic_bool lost;            /* the device was reset */
  size_t users;                /* contexts and pins; under gpus.c's lock */
};

/* gpus.c: which GPUs this process uses -------------------------------------*/

/* Held for short, around calls of the driver, too; never with another. */
void umemi_gpus_lock(void);
void umemi_gpus_unlock(void);

/* Begins a use of the device; the caller ends it by umemi_gpu_close().
   IndexError for an invalid number. */
umemStatusType umemi_gpu_open(struct umemiGpuOps const *ops, int number,
                              struct umemiGpu **gpu_out, umemError *error);
/* The same of a device that is in use; else NULL. */
struct umemiGpu *umemi_gpu_use(int number);
/* Adds a use. */
void umemi_gpu_keep(struct umemiGpu *gpu);
/* The last one gives back what is kept, and releases the context. */
umemStatusType umemi_gpu_close(struct umemiGpu *gpu, umemError *error);
/* The device was reset: from now on it is left alone. */
void umemi_gpu_lose(struct umemiGpu *gpu);
/* May the driver be called, and is something of the device left? */
bool umemi_gpu_is_usable(struct umemiGpu const *gpu);
/* `status`, or umemOK after a reset, which took what was to be given back. */
umemStatusType umemi_gpu_given(struct umemiGpu const *gpu,
                               umemStatusType status);
/* For umem_device_info(); `managed` is the memory that is asked about. */
bool umemi_gpu_describe(struct umemiGpuOps const *ops, size_t index,
                        bool managed, umemDeviceInfo *info, umemError *error);
/* Where memory that is of no device is best allocated: on the device of the
   thread's current context, else one that is in use, else one whose context is
   active, else device 0; and how many devices there are, as far as the library
   can use them. */
umemStatusType umemi_gpus_choose(struct umemiGpuOps const *ops, int *number_out,
                                 int *count_out, umemError *error);

/* gpu.c: visits and turns --------------------------------------------------*/

/* The calling thread is in the device's context, and has the driver. */
struct umemiGpuVisit {
  struct umemiGpu *gpu;
  bool pushed;
  int mode;
};

umemStatusType umemi_gpu_enter(struct umemiGpu *gpu,
                               struct umemiGpuVisit *visit, umemError *error);
/* Returns what both came to: `status`, if that was a failure. */
umemStatusType umemi_gpu_leave(struct umemiGpuVisit const *visit,
                               umemStatusType status, umemError *error);

/* The same after something was made: it is given back if leaving fails, for
   nobody will know of it. */
typedef umemStatusType umemiGpuGive(uintptr_t made, umemError *error);
umemStatusType umemi_gpu_leave_with(struct umemiGpuVisit const *visit,
                                    umemStatusType status, umemiGpuGive *give,
                                    uintptr_t made, umemError *error);

/* A visit with a lane. */
struct umemiGpuTurn {
  struct umemiGpuVisit visit;
  struct umemiGpuLane *lane;
};

/* What is in `after`, or in the default stream if it is NULL, comes first. */
umemStatusType umemi_gpu_begin(struct umemiGpu *gpu, umemiGpuStream after,
                               struct umemiGpuTurn *turn, umemError *error);
/* A turn that comes after nothing. */
umemStatusType umemi_gpu_begin_at_once(struct umemiGpu *gpu,
                                       struct umemiGpuTurn *turn,
                                       umemError *error);
/* Waits for all that the turn has begun. */
umemStatusType umemi_gpu_end(struct umemiGpuTurn *turn, umemStatusType status,
                             umemError *error);
/* The turn comes after what is in another stream of its device, too; */
umemStatusType umemi_gpu_order(struct umemiGpuTurn *turn, umemiGpuStream after,
                               umemError *error);
/* and after what is in another device's stream. */
umemStatusType umemi_gpu_follow(struct umemiGpuTurn *turn, struct umemiGpu *gpu,
                                umemiGpuStream after, umemError *error);
/* Enables peer access of `gpu` to the memory of `peer`, another one, if the
   machine has it. */
bool umemi_gpu_reach(struct umemiGpu *gpu, struct umemiGpu *peer);

/* Pinned memory that copies are staged through, kept for the next one. */
umemStatusType umemi_gpu_stage_take(struct umemiGpu *gpu, size_t nbytes,
                                    void **ptr_out, umemError *error);
void umemi_gpu_stage_give(struct umemiGpu *gpu, void *ptr, size_t nbytes);
/* Gives back the lanes and the staging that are kept, inside a visit; */
void umemi_gpu_drop(struct umemiGpu *gpu);
/* or, without the driver, the library's own memory of them. */
void umemi_gpu_forget(struct umemiGpu *gpu);

/* settle.c: what other devices still do ------------------------------------*/

/* Waits for the default streams of all devices but this one whose context is
   active: memory that all devices reach may be in use there. */
umemStatusType umemi_gpu_settle_others(struct umemiGpu *gpu, umemError *error);
/* The same for those that the library gave peer access to its memory. */
umemStatusType umemi_gpu_settle_peers(struct umemiGpu *gpu, umemError *error);

/* gpucopy.c: copies between host memory and a GPU --------------------------*/

/* Of any size, in one visit; */
umemStatusType umemi_gpu_write(struct umemiGpu *gpu, umemiGpuStream after,
                               uintptr_t adr, void const *in, size_t nbytes,
                               umemError *error);
umemStatusType umemi_gpu_read(struct umemiGpu *gpu, umemiGpuStream after,
                              uintptr_t adr, void *out, size_t nbytes,
                              umemError *error);
/* and of any rows of a READ or WRITE. */
umemStatusType umemi_gpu_move(struct umemiGpu *gpu, umemiGpuStream after,
                              struct umemiGpuRows const *rows,
                              umemError *error);
/* Begins a copy of rows in the turn, by one call of the driver; */
umemStatusType umemi_gpu_rows(struct umemiGpuTurn const *turn,
                              struct umemiGpuRows const *rows,
                              umemError *error);
/* or row by row, where it does not take them at once. `status` is what it
   answered: it stays if it is something else. */
umemStatusType umemi_gpu_each_row(struct umemiGpuTurn const *turn,
                                  struct umemiGpuRows const *rows,
                                  umemStatusType status, umemError *error);
/* Both, from one device to another. */
umemStatusType umemi_gpu_rows_peer(struct umemiGpuTurn const *turn,
                                   struct umemiGpuRows const *rows,
                                   umemiGpuContext src_context,
                                   umemiGpuContext dest_context,
                                   umemError *error);

/* gpustate.c: contexts of GPUs ---------------------------------------------*/

enum { UMEMI_GPU_ALIGN = 256, UMEMI_GPU_OTHERS = 4 };

struct umemiGpuImport;

struct umemiGpuState {
  struct umemiGpu *gpu;
  umemiGpuStream after; /* our work comes after it; NULL: the default one */
  umemiGpuPool pool;    /* or NULL */
  uint32_t flags;
  bool peers;                     /* peer access may be enabled */
  uint64_t id;                    /* of the context: says which lock is ours */
  struct umemiGpuImport *imports; /* under it */
  _Atomic(struct umemiGpu *) others[UMEMI_GPU_OTHERS]; /* gpumemory.c */
};

/* What a context is to be. */
struct umemiGpuPlan {
  struct umemiGpuOps const *ops;
  struct umemVtbl const *vtbl;
  struct umemVtbl const *exclusive_vtbl; /* where the host may not touch managed
                                            memory while a device works */
  int device;
  bool any_device;       /* `device` is not set: the best one for host memory */
  uint32_t flags, known; /* of those that there are */
  bool pooled, managed;  /* and so the device has to be able to */
  bool peers;
  umemiGpuStream after;
};

/* After umemi_ctor_begin(). */
umemStatusType umemi_gpu_ctor(void *ctx, struct umemiGpuPlan const *plan,
                              umemError *error);
/* Methods of all. */
umemStatusType umemi_gpu_dtor(void *state, umemError *error);
umemStatusType umemi_gpu_check(void *state, uintptr_t adr, size_t nbytes,
                               umemAccess access, umemError *error);

/* A turn in which something is given back: see there. */
umemStatusType umemi_gpu_begin_anyway(struct umemiGpuState *own,
                                      struct umemiGpuTurn *turn,
                                      umemError *error);
/* Gives back what the device may still use, when it does no more. As nobody
   will know of it afterwards, what fails before is tried twice. */
umemStatusType umemi_gpu_give(struct umemiGpuState *own, umemiGpuGive *give,
                              uintptr_t adr, umemError *error);
/* Waits for what the context's work comes after. */
umemStatusType umemi_gpu_settle(struct umemiGpuState *own, umemError *error);
/* The same for memory that all devices reach: in the context's stream, or in
   the default streams of all of them. */
umemStatusType umemi_gpu_settle_all(struct umemiGpuState *own,
                                    umemError *error);
/* The home of what is on a device; */
umemSpace umemi_gpu_space(struct umemiGpu const *gpu);
/* and the space of the addresses of all, which has no home: no two bytes have
   one address (unified addressing), whoever may use it. */
umemSpace umemi_gpu_common_space(void);

/* gpupool.c: blocks of contexts with a pool --------------------------------*/

umemStatusType umemi_gpu_pool_alloc(struct umemiGpuState *own, size_t nbytes,
                                    uintptr_t *adr_out, umemError *error);
umemStatusType umemi_gpu_pool_free(struct umemiGpuState *own, uintptr_t adr,
                                   umemError *error);
/* gpumemory.c: bytes at addresses of any device ----------------------------*/

/* Where an address is worked with: on the device that has the memory. */
struct umemiGpuPlace {
  struct umemiGpuState *at;       /* the context's, or */
  struct umemiGpuState elsewhere; /* of another device, which is in use */
};

/* Finds the place; the caller ends it by umemi_gpu_found(). */
umemStatusType umemi_gpu_find(struct umemiGpuState *own, uintptr_t adr,
                              struct umemiGpuPlace *place_out,
                              umemError *error);
/* Lets the devices go whose memory was found; at the end of the context. */
umemStatusType umemi_gpu_let_go(struct umemiGpuState *own, umemError *error);
/* Returns `status`, or what ending it resulted in. */
umemStatusType umemi_gpu_found(struct umemiGpuPlace *place,
                               umemStatusType status, umemError *error);
umemStatusType umemi_gpu_mem_read(struct umemiGpuState *own, uintptr_t adr,
                                  void *out, size_t nbytes, umemError *error);
umemStatusType umemi_gpu_mem_write(struct umemiGpuState *own, uintptr_t adr,
                                   void const *in, size_t nbytes,
                                   umemError *error);
umemStatusType umemi_gpu_mem_set(struct umemiGpuState *own, uintptr_t adr,
                                 int c, size_t nbytes, umemError *error);

/* gpuimport.c: memory of other processes -----------------------------------*/

/* Opens the handle, once in each life of a device, however often it is
   imported; until the context ends. `length` is what the handle says. */
umemStatusType umemi_gpu_import(struct umemiGpuState *own,
                                unsigned char const handle[UMEMI_GPU_IPC],
                                size_t length, uintptr_t *adr_out,
                                umemError *error);
/* Is the address in memory that was imported on this device? */
bool umemi_gpu_has_imported(struct umemiGpu const *gpu, uintptr_t adr);
/* Ends all imports of a context, inside a visit if `is_visited`, else without
   the driver. */
umemStatusType umemi_gpu_end_imports(struct umemiGpuState *own, bool is_visited,
                                     umemError *error);

/* gpuhandle.c: their memory, told to other processes -----------------------*/

umemStatusType umemi_gpu_export_handle(void *state, uintptr_t adr,
                                       size_t nbytes,
                                       unsigned char *payload_out,
                                       umemError *error);
umemStatusType umemi_gpu_import_handle(void *state,
                                       unsigned char const *payload,
                                       size_t nbytes, uintptr_t *adr_out,
                                       umemError *error);

#endif
