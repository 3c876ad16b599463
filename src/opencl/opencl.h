/* SPDX-License-Identifier: BSD-3-Clause */
/* Private declarations of the OpenCL kind, by the file that defines them. */
#ifndef UMEMI_OPENCL_H
#define UMEMI_OPENCL_H

#include "../internal.h"
#include "cl.h"

/* A block: `base` comes first, for umemi_block_compare(). */
struct umemiClBlock {
  struct umemiBlock base;
  clMem mem; /* buffers: what is behind the address, or NULL of 0 bytes */
};

/* A place inside a block. */
struct umemiClPlace {
  uintptr_t adr;
  clMem mem; /* buffers */
  size_t offset;
};

enum {
  UMEMI_CL_QUEUES = 8 /* kept */
};

/*
 * One address space: the memory of one kind, of one device, in one cl_context.
 * All contexts for the same device share it, as CUDA's do a primary context.
 */
struct umemiClSpace {
  struct umemiClSpace *next; /* under the lock of the list, as `users` */
  size_t users;
  uint64_t id; /* says which lock is ours */
  struct umemiCl const *cl;
  clPlatform platform;
  clDevice device;
  clContext context;
  bool adopted; /* the cl_context is the user's */
  struct umemiClTier const *tier;
  struct umemiClUsm usm;
  uint64_t total, largest; /* bytes of the device, and of one block */
  bool is_cpu;
  char name[128];
  _Atomic(void *) queues[UMEMI_CL_QUEUES]; /* kept.c */
  /* under the lock of id: */
  void *blocks;
  struct umemiOpenCl *contexts; /* in the order in which they came */
  uint64_t last_number;
  char *arena; /* buffers: reserved addresses */
  size_t arena_size;
  struct umemiExtents extents;
};

/* State of a context. */
struct umemiOpenCl {
  struct umemiClSpace *space;
  struct umemiOpenCl *next; /* of the space's, under the lock of the space */
  uint64_t number;          /* larger than of those before */
  _Atomic(clQueue) queue; /* the user's, or of ours that he asked for; or NULL:
                             our own commands have others */
};

/* The right to use a queue alone. */
struct umemiClTurn {
  struct umemiClSpace *space;
  clQueue queue;
};

/*
 * One of the ways in which OpenCL has memory. Those that return a clInt are one
 * command that is through on return; `names` says which, for people.
 */
struct umemiClTier {
  umemOpenCLTier number;
  char const *name;
  struct {
    char const *read, *write, *fill, *copy, *set_arg;
  } names;
  /* Notes in `space` what it needs. CL_INVALID_VALUE: the device does not have
     it. */
  clInt (*find)(struct umemiClSpace *space);
  /* `block->base.nbytes` bytes: sets adr and mem. */
  umemStatusType (*alloc)(struct umemiClTurn const *turn,
                          struct umemiClBlock *block, umemError *error);
  umemStatusType (*free)(struct umemiClSpace *space,
                         struct umemiClBlock const *block, umemError *error);
  clInt (*read)(struct umemiClTurn const *turn, struct umemiClPlace const *at,
                void *out, size_t nbytes);
  clInt (*write)(struct umemiClTurn const *turn, struct umemiClPlace const *at,
                 void const *in, size_t nbytes);
  clInt (*fill)(struct umemiClTurn const *turn, struct umemiClPlace const *at,
                unsigned char c, size_t nbytes);
  /* Of ranges that do not overlap. */
  clInt (*copy)(struct umemiClTurn const *turn, struct umemiClPlace const *src,
                struct umemiClPlace const *dest, size_t nbytes);
  clInt (*set_arg)(struct umemiClSpace *space, clKernel kernel, clUint index,
                   struct umemiClPlace const *at);
};

/* loader.c: the library of OpenCL, and when it may be used -----------------*/

/* The functions of libOpenCL.so.1, loaded at the first call. NotSupported if
   there is no such library, or one without a function that we need. */
umemStatusType umemi_cl_load(struct umemiCl const **cl_out, umemError *error);
/* umemi_driver_guard() and umemi_driver_is_usable() of it. */
umemStatusType umemi_cl_guard(umemError *error);
bool umemi_cl_is_usable(void);
/* By this process, or by a parent of it. */
bool umemi_cl_is_started(void);

/* report.c: what a driver says ---------------------------------------------*/

/* A failure of `function`; `type` is the status of codes without one of their
   own. umemOK of CL_SUCCESS. */
umemStatusType umemi_cl_failed(umemStatusType type, clInt code,
                               char const *function, umemError *error);
/* Waits until a command that was begun with `code` is through. */
clInt umemi_cl_wait(struct umemiClTurn const *turn, clInt code, clEvent event);

/* devices.c: which devices there are ---------------------------------------*/

/* Device number `device` of platform number `platform`. */
umemStatusType umemi_cl_device(struct umemiCl const *cl, int platform,
                               int device, clDevice *device_out,
                               umemError *error);
/* Its name, of which the end is cut off where there is no room; "" if it does
   not tell. */
void umemi_cl_name(struct umemiCl const *cl, clDevice device, char *out,
                   size_t room);
/* For umem_device_info(): number `index` of all. */
bool umemi_cl_describe(char const *what, size_t index, umemDeviceInfo *info,
                       umemError *error);

/* space.c: address spaces, and the blocks in them --------------------------*/

/* A space for the device, of the tier or the best one, in the user's cl_context
   or one of ours; `id` names it if it is new. */
umemStatusType umemi_cl_space_open(struct umemiCl const *cl, clDevice device,
                                   clContext context, umemOpenCLTier tier,
                                   uint64_t id, struct umemiClSpace **space_out,
                                   umemError *error);
umemStatusType umemi_cl_space_close(struct umemiClSpace *space, bool driver,
                                    umemError *error);
umemStatusType umemi_cl_space_alloc(struct umemiOpenCl *state, size_t nbytes,
                                    struct umemiClBlock *block_out,
                                    umemError *error);
umemStatusType umemi_cl_space_free(struct umemiOpenCl *state, uintptr_t adr,
                                   umemError *error);
/* The block is none of the space's any more, but its memory stays: a queue that
   cannot be waited for may use it. */
void umemi_cl_space_abandon(struct umemiOpenCl *state, uintptr_t adr);
/* The place of a range, which has to lie in one live block. */
umemStatusType umemi_cl_space_find(struct umemiClSpace *space, uintptr_t adr,
                                   size_t nbytes, struct umemiClPlace *at_out,
                                   umemError *error);

/* The context is one of the space's from here on, */
void umemi_cl_space_join(struct umemiOpenCl *state);
/* and to here: before its queue is released. */
void umemi_cl_space_leave(struct umemiOpenCl *state);

/* queues.c: one for every command ------------------------------------------*/

/* Waits for what the user has put into the context's queue. */
umemStatusType umemi_cl_wait_for_user(struct umemiOpenCl const *opencl,
                                      umemError *error);
/* Waits for the queues of all contexts of its space, as each may use the blocks
   of the others; also of those behind one that fails. */
umemStatusType umemi_cl_wait_for_users(struct umemiOpenCl const *opencl,
                                       umemError *error);
/* For what uses no block that there is already. */
umemStatusType umemi_cl_turn_begin_at_once(struct umemiClSpace *space,
                                           struct umemiClTurn *turn,
                                           umemError *error);
/* After the queues of all contexts of its space. */
umemStatusType umemi_cl_turn_begin(struct umemiOpenCl *opencl,
                                   struct umemiClTurn *turn, umemError *error);
/* `code` is what came of it. */
void umemi_cl_turn_end(struct umemiClTurn *turn, clInt code);
/* Releases what is kept. */
clInt umemi_cl_queues_end(struct umemiClSpace *space);

/* arena.c: addresses for memory that has none ------------------------------*/

/* In pages that nobody can access, so that a mistaken access is seen. */
umemStatusType umemi_cl_arena_take(struct umemiClSpace *space, size_t nbytes,
                                   uintptr_t *adr_out, umemError *error);
void umemi_cl_arena_give(struct umemiClSpace *space, uintptr_t adr,
                         size_t nbytes);

/* usm.c, svm.c, buffers.c: the tiers, best first ---------------------------*/

extern struct umemiClTier const umemi_cl_usm, umemi_cl_svm, umemi_cl_buffers;

#endif
