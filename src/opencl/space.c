/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address spaces of OpenCL devices, shared by all contexts of this process that
 * are for the same; and the live blocks in them, for OpenCL checks no address.
 */
#include "opencl.h"

/* --- the list ------------------------------------------------------------- */

enum { LIST_LOCK = 0 };
static struct umemiClSpace *list; /* under it */

/* What a space is to be. */
struct wanted {
  clDevice device;
  clContext context; /* the user's, or NULL */
  struct umemiClTier const *tier;
};

static bool space_fits(struct umemiClSpace const *space,
                       struct wanted const *wanted) {
  return space->device == wanted->device && space->tier == wanted->tier &&
         (wanted->context ? space->context == wanted->context
                          : !space->adopted);
}

/* Under the lock. */
static struct umemiClSpace *list_find(struct wanted const *wanted) {
  struct umemiClSpace *space = list;
  while (space && !space_fits(space, wanted))
    space = space->next;
  if (space)
    space->users++;
  return space;
}

static struct umemiClSpace *list_share(struct wanted const *wanted) {
  umemi_lock(LIST_LOCK);
  struct umemiClSpace *space = list_find(wanted);
  umemi_unlock(LIST_LOCK);
  return space;
}

/* Enters a new space, unless another thread's was first: returns which. */
static struct umemiClSpace *list_enter(struct umemiClSpace *space,
                                       struct wanted const *wanted) {
  umemi_lock(LIST_LOCK);
  struct umemiClSpace *other = list_find(wanted);
  if (!other) {
    space->users = 1;
    space->next = list;
    list = space;
  }
  umemi_unlock(LIST_LOCK);
  return other ? other : space;
}

/* False if it has other users. */
static bool list_leave(struct umemiClSpace *space) {
  umemi_lock(LIST_LOCK);
  bool last = --space->users == 0;
  struct umemiClSpace **link = &list;
  while (last && *link != space)
    link = &(*link)->next;
  if (last)
    *link = space->next;
  umemi_unlock(LIST_LOCK);
  return last;
}

/* --- begin and end -------------------------------------------------------- */

static uint64_t space_number(struct umemiClSpace const *space, clUint what) {
  uint64_t number = 0; /* of 4 or 8 bytes, little or big endian */
  uint32_t half = 0;
  size_t size = 0;
  struct umemiCl const *cl = space->cl;
  if (cl->clGetDeviceInfo(space->device, what, sizeof number, &number, &size))
    return 0;
  memcpy(&half, &number, sizeof half);
  return size == sizeof half ? half : number;
}

/* What is asked of every device. Beside the platform, without which there is no
   context, what it does not answer it has none of. */
static umemStatusType space_ask(struct umemiClSpace *space, umemError *error) {
  struct umemiCl const *cl = space->cl;
  clInt code = cl->clGetDeviceInfo(space->device, UMEMI_CL_DEVICE_PLATFORM,
                                   sizeof(void *), &space->platform, NULL);
  umemi_cl_name(cl, space->device, space->name, sizeof space->name);
  space->total = space_number(space, UMEMI_CL_DEVICE_GLOBAL_MEM_SIZE);
  space->largest = space_number(space, UMEMI_CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  space->is_cpu = space_number(space, UMEMI_CL_DEVICE_TYPE) &
                  (uint64_t)UMEMI_CL_DEVICE_TYPE_CPU;
  return umemi_cl_failed(umemRuntimeError, code, "clGetDeviceInfo", error);
}

/* The first one that is asked for and that the device has. */
static umemStatusType space_find_tier(struct umemiClSpace *space,
                                      umemOpenCLTier number, umemError *error) {
  enum { TIERS = 3 };
  static struct umemiClTier const *const tiers[TIERS] = {
      &umemi_cl_usm, &umemi_cl_svm, &umemi_cl_buffers};
  for (size_t i = 0; i < TIERS; i++) {
    if (number && number != tiers[i]->number)
      continue;
    clInt code = tiers[i]->find(space);
    if (code == UMEMI_CL_SUCCESS)
      space->tier = tiers[i];
    if (code != UMEMI_CL_INVALID_VALUE)
      return umemi_cl_failed(umemRuntimeError, code, "clGetDeviceInfo", error);
    if (number)
      return umem_error_fill(error, umemNotSupportedError, 0, 0,
                             "the device has no %s: \"%s\"", tiers[i]->name,
                             space->name);
  }
  return umem_error_fill(error, umemValueError, 0, 0, "tier %d is none",
                         (int)number);
}

static umemStatusType space_make_context(struct umemiClSpace *space,
                                         clContext given, umemError *error) {
  struct umemiCl const *cl = space->cl;
  clProperty const properties[] = {UMEMI_CL_CONTEXT_PLATFORM,
                                   (clProperty)space->platform, 0};
  clInt code;
  space->adopted = given != NULL;
  space->context = given;
  if (given) {
    code = cl->clRetainContext(given);
    return umemi_cl_failed(umemRuntimeError, code, "clRetainContext", error);
  }
  space->context =
      cl->clCreateContext(properties, 1, &space->device, NULL, NULL, &code);
  return umemi_cl_failed(umemRuntimeError, code, "clCreateContext", error);
}

/* All that is not the driver's. */
static void space_forget(struct umemiClSpace *space) {
  if (space->arena)
    munmap(space->arena, space->arena_size);
  umemi_extents_clear(&space->extents);
  free(space);
}

static umemStatusType space_end(struct umemiClSpace *space, umemError *error) {
  char const *function = "clReleaseCommandQueue";
  clInt code = umemi_cl_queues_end(space);
  clInt last = space->cl->clReleaseContext(space->context);
  if (code == UMEMI_CL_SUCCESS) {
    code = last;
    function = "clReleaseContext";
  }
  space_forget(space);
  return umemi_cl_failed(umemRuntimeError, code, function, error);
}

static umemStatusType space_new(struct umemiClSpace *space,
                                struct wanted const *wanted,
                                struct umemiClSpace **space_out,
                                umemError *error) {
  umemError ignored;
  umemStatusType status = space_make_context(space, wanted->context, error);
  if (status != umemOK) {
    space_forget(space);
    return status;
  }
  *space_out = list_enter(space, wanted);
  if (*space_out != space)
    space_end(space, &ignored);
  return umemOK;
}

umemStatusType umemi_cl_space_open(struct umemiCl const *cl, clDevice device,
                                   clContext context, umemOpenCLTier tier,
                                   uint64_t id, struct umemiClSpace **space_out,
                                   umemError *error) {
  struct umemiClSpace *space = umemi_os.calloc(1, sizeof *space);
  if (!space)
    return umemi_no_memory(error, "an OpenCL device", sizeof *space);
  space->cl = cl;
  space->device = device;
  space->id = id;
  umemStatusType status = space_ask(space, error);
  if (status == umemOK)
    status = space_find_tier(space, tier, error);
  struct wanted wanted = {device, context, space->tier};
  *space_out = status == umemOK ? list_share(&wanted) : NULL;
  if (status == umemOK && !*space_out)
    return space_new(space, &wanted, space_out, error);
  space_forget(space);
  return status;
}

umemStatusType umemi_cl_space_close(struct umemiClSpace *space, bool driver,
                                    umemError *error) {
  if (!list_leave(space))
    return umemOK;
  if (driver)
    return space_end(space, error);
  space_forget(space);
  return umemOK;
}

/* --- contexts ------------------------------------------------------------- */

void umemi_cl_space_join(struct umemiOpenCl *opencl) {
  struct umemiClSpace *space = opencl->space;
  struct umemiOpenCl **link = &space->contexts;
  umemi_lock(space->id);
  while (*link)
    link = &(*link)->next;
  opencl->number = ++space->last_number;
  *link = opencl;
  umemi_unlock(space->id);
}

void umemi_cl_space_leave(struct umemiOpenCl *opencl) {
  struct umemiClSpace *space = opencl->space;
  struct umemiOpenCl **link = &space->contexts;
  umemi_lock(space->id);
  while (*link != opencl)
    link = &(*link)->next;
  *link = opencl->next;
  umemi_unlock(space->id);
}

/* --- blocks --------------------------------------------------------------- */

/* Once only: no other block of a live one's address gets here, so that whoever
   frees one finds it. */
static umemStatusType blocks_add(struct umemiClSpace *space,
                                 struct umemiClBlock *block, umemError *error) {
  umemi_lock(space->id);
  struct umemiClBlock **node =
      umemi_os.tsearch(block, &space->blocks, umemi_block_compare);
  bool added = node && *node == block;
  umemi_unlock(space->id);
  if (added)
    return umemOK;
  if (!node)
    return umemi_no_memory(error, "the table of blocks", sizeof(void *));
  return umem_error_fill(error, umemRuntimeError, 0, 0,
                         "the driver handed out 0x%" PRIxPTR
                         ", which is in use already",
                         block->base.adr);
}

/* The block that the range touches, or none. */
static struct umemiClBlock blocks_get(struct umemiClSpace *space, uintptr_t adr,
                                      size_t nbytes) {
  struct umemiBlock key = {.adr = adr, .nbytes = nbytes};
  struct umemiClBlock found = {.base = {.adr = 0}};
  umemi_lock(space->id);
  struct umemiClBlock **node = tfind(&key, &space->blocks, umemi_block_compare);
  if (node)
    found = **node;
  umemi_unlock(space->id);
  return found;
}

/* A live one: the registry of the context, or who allocated it, knows that it
   is, and gives it back once. */
static struct umemiClBlock *blocks_take(struct umemiClSpace *space,
                                        uintptr_t adr) {
  struct umemiBlock key = {.adr = adr};
  umemi_lock(space->id);
  struct umemiClBlock **node = tfind(&key, &space->blocks, umemi_block_compare);
  struct umemiClBlock *block = *node;
  tdelete(block, &space->blocks, umemi_block_compare);
  umemi_unlock(space->id);
  return block;
}

/* The memory itself. */
static umemStatusType space_alloc(struct umemiOpenCl *opencl,
                                  struct umemiClBlock *block,
                                  umemError *error) {
  struct umemiClTurn turn;
  umemStatusType status =
      umemi_cl_turn_begin_at_once(opencl->space, &turn, error);
  if (status != umemOK)
    return status;
  status = turn.space->tier->alloc(&turn, block, error);
  umemi_cl_turn_end(&turn, UMEMI_CL_SUCCESS);
  return status;
}

umemStatusType umemi_cl_space_alloc(struct umemiOpenCl *opencl, size_t nbytes,
                                    struct umemiClBlock *block_out,
                                    umemError *error) {
  struct umemiClSpace *space = opencl->space;
  umemError ignored;
  if (space->largest && nbytes > space->largest)
    return umem_error_fill(error, umemMemoryError, 0, 0,
                           "the device has no blocks of more than %" PRIu64
                           " bytes",
                           space->largest);
  struct umemiClBlock *block = umemi_os.calloc(1, sizeof *block);
  if (!block)
    return umemi_no_memory(error, "the table of blocks", sizeof *block);
  block->base.nbytes = nbytes;
  umemStatusType status = space_alloc(opencl, block, error);
  *block_out = *block;
  if (status == umemOK) {
    status = blocks_add(space, block, error);
    if (status == umemOK)
      return umemOK;
    if (status == umemMemoryError) /* else it is another one's */
      space->tier->free(space, block_out, &ignored);
  }
  free(block);
  return status;
}

umemStatusType umemi_cl_space_free(struct umemiOpenCl *opencl, uintptr_t adr,
                                   umemError *error) {
  struct umemiClBlock *block = blocks_take(opencl->space, adr);
  umemStatusType status = umemOK;
  if (umemi_cl_is_usable())
    status = opencl->space->tier->free(opencl->space, block, error);
  free(block);
  return status;
}

void umemi_cl_space_abandon(struct umemiOpenCl *opencl, uintptr_t adr) {
  free(blocks_take(opencl->space, adr));
}

umemStatusType umemi_cl_space_find(struct umemiClSpace *space, uintptr_t adr,
                                   size_t nbytes, struct umemiClPlace *at_out,
                                   umemError *error) {
  struct umemiClBlock block = blocks_get(space, adr, nbytes);
  if (block.base.adr == 0)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "0x%" PRIxPTR " is in no live block of the device: "
                           "freed already, or from elsewhere",
                           adr);
  umemStatusType status = umemi_block_bound(&block.base, adr, nbytes, error);
  if (status != umemOK)
    return status;
  *at_out = (struct umemiClPlace){adr, block.mem, adr - block.base.adr};
  return umemOK;
}
