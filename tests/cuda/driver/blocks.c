/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where memory is: the blocks, and a tree by which to find the block of an
 * address. The bytes of a device's block are
 * somewhere else, and only the simulation knows where.
 */
#include "inner.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROUNDING = 512, SKEW = 256 };

size_t sim_round(size_t nbytes, size_t unit) {
  return (nbytes + unit - 1) / unit * unit;
}

/* --- pages of the host ---------------------------------------------------- */

/* Pages of the host arena are mapped over, and then are as before. */
static void pages_close(uintptr_t at, size_t nbytes) {
  int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  if (mmap((void *)at, nbytes, PROT_NONE, flags, -1, 0) == MAP_FAILED)
    abort();
}

static bool pages_open(uintptr_t at, size_t nbytes, int fd) {
  int flags = MAP_FIXED | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
  return mmap((void *)at, nbytes, PROT_READ | PROT_WRITE, flags, fd, 0) !=
         MAP_FAILED;
}

/* --- files in memory ------------------------------------------------------ */

int sim_memory_file(size_t nbytes) {
  int fd = memfd_create("simcu", MFD_CLOEXEC);
  if (fd >= 0 && ftruncate(fd, (off_t)nbytes) == 0)
    return fd;
  if (fd >= 0)
    close(fd);
  return -1;
}

unsigned char *sim_map_shared(int fd, size_t nbytes) {
  void *at = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? NULL : at;
}

bool sim_block_share(struct block *block) {
  if (block->fd >= 0)
    return true;
  int fd = sim_memory_file(block->room);
  unsigned char *bytes = fd < 0 ? NULL : sim_map_shared(fd, block->room);
  if (!bytes) {
    if (fd >= 0)
      close(fd);
    return false;
  }
  memcpy(bytes, block->bytes, block->room);
  free(block->bytes);
  block->bytes = bytes;
  block->fd = fd;
  return true;
}

/* --- the tree ------------------------------------------------------------- */

static void *blocks;

/* Blocks do not overlap; a range that is looked for equals what it meets. */
static int block_compare(void const *left, void const *right) {
  struct block const *a = left, *b = right;
  if (a->start + a->room <= b->start)
    return -1;
  return b->start + b->room <= a->start;
}

struct block *sim_block_find(uintptr_t adr, size_t nbytes) {
  size_t most = UINTPTR_MAX - adr;
  struct block key = {.start = adr, .room = nbytes < most ? nbytes : most};
  struct block *const *found = tfind(&key, &blocks, block_compare);
  return found ? *found : NULL;
}

/* twalk() has no argument to pass on. */
static struct {
  struct block **all;
  size_t count;
} walk;

static void walk_count(void const *node, VISIT visit, int depth) {
  (void)node, (void)depth;
  walk.count += visit == postorder || visit == leaf;
}

static void walk_gather(void const *node, VISIT visit, int depth) {
  (void)depth;
  if (visit == postorder || visit == leaf)
    walk.all[walk.count++] = *(struct block *const *)node;
}

/* Of a copy: calls may remove what they get. */
void sim_block_each(void (*call)(struct block *block, void *argument),
                    void *argument) {
  walk.count = 0;
  twalk(blocks, walk_count);
  struct block **all = sim_new((walk.count + 1) * sizeof *all);
  size_t count = walk.count;
  walk.all = all;
  walk.count = 0;
  twalk(blocks, walk_gather);
  for (size_t i = 0; i < count; i++)
    call(all[i], argument);
  free(all);
}

/* --- blocks --------------------------------------------------------------- */

static struct block *block_new(struct context *context, enum simcuKind kind,
                               size_t nbytes) {
  static uint64_t newest;
  struct block *block = sim_new(sizeof *block);
  block->context = context;
  block->device = context->device;
  block->kind = kind;
  block->nbytes = nbytes;
  block->fd = -1;
  block->function = sim.calling;
  block->serial = ++newest;
  return block;
}

static struct block *block_add(struct block *block) {
  if (!tsearch(block, &blocks, block_compare))
    abort();
  sim.live[block->kind]++;
  return block;
}

bool sim_device_take(struct device *device, size_t nbytes) {
  if (nbytes > device->capacity || device->used > device->capacity - nbytes)
    sim_pools_trim((int)(device - sim.devices), true);
  if (nbytes > device->capacity || device->used > device->capacity - nbytes)
    return false;
  device->used += nbytes;
  return true;
}

static bool budget_take(struct block const *block) {
  if (block->pool)
    return sim_pool_take(block->pool, block->room);
  return sim_device_take(&sim.devices[block->device], block->room);
}

static void budget_put(struct block const *block) {
  if (block->pool)
    sim_pool_put(block->pool, block->room);
  else if (block->kind == SIMCU_DEVICE || block->kind == SIMCU_MANAGED)
    sim.devices[block->device].used -= block->room;
}

/* Nothing of a block that did not come to be. */
static struct block *block_undo(struct block *block) {
  free(block->bytes);
  free(block);
  return NULL;
}

/* With a guard behind it. Only where there are chunks do addresses come
   again. */
static uintptr_t place(struct block *block, struct arena *arena,
                       size_t nbytes) {
  size_t reserved = sim_round(nbytes, PAGE) + PAGE;
  uintptr_t at = sim_arena_take(arena, reserved, PAGE);
  block->reserved_start = at;
  block->reserved = sim.chunked ? reserved : 0;
  return at;
}

static bool device_place(struct block *block) {
  struct arena *arena = &sim.devices[block->device].arena;
  uintptr_t at = place(block, arena, SKEW + block->room);
  block->start = at + SKEW;
  return at != 0;
}

static bool device_find_bytes(struct block *block) {
  if (sim.chunked)
    return sim_chunk_place(block);
  block->bytes = malloc(block->room);
  return block->bytes && device_place(block);
}

struct block *sim_block_device(size_t nbytes, struct context *context,
                               struct pool *pool) {
  if (nbytes > PTRDIFF_MAX)
    return NULL;
  struct block *block =
      block_new(context, pool ? SIMCU_POOLED : SIMCU_DEVICE, nbytes);
  block->room = sim_round(nbytes, ROUNDING);
  block->pool = pool;
  if (pool)
    block->device = pool->device;
  if (!budget_take(block))
    return block_undo(block);
  if (!device_find_bytes(block)) {
    budget_put(block);
    return block_undo(block);
  }
  memset(block->bytes, SIMCU_POISON, block->room);
  return block_add(block);
}

struct block *sim_block_import(int fd, size_t nbytes, struct context *context,
                               int device) {
  struct block *block = block_new(context, SIMCU_IMPORTED, nbytes);
  block->device = device;
  block->room = sim_round(nbytes, ROUNDING);
  block->fd = fd;
  unsigned char *bytes = sim_map_shared(fd, block->room);
  if (!bytes || !device_place(block)) {
    if (bytes)
      munmap(bytes, block->room);
    close(fd);
    return block_undo(block);
  }
  block->bytes = bytes;
  return block_add(block);
}

/* Pinned memory is one mapping; managed memory has a second one of the same
   pages, which the simulation uses while the host may not. */
static bool host_open(struct block *block) {
  size_t pages = sim_round(block->room, PAGE);
  uintptr_t at = place(block, &sim.host, pages);
  if (block->kind == SIMCU_MANAGED)
    block->fd = sim_memory_file(pages);
  if (!at || !pages_open(at, pages, block->fd))
    return false;
  block->start = at;
  block->bytes =
      block->fd < 0 ? (unsigned char *)at : sim_map_shared(block->fd, pages);
  return block->bytes != NULL;
}

struct block *sim_block_host(size_t nbytes, struct context *context,
                             enum simcuKind kind) {
  if (nbytes > PTRDIFF_MAX)
    return NULL;
  struct block *block = block_new(context, kind, nbytes);
  block->room = sim_round(nbytes, ROUNDING);
  if (kind == SIMCU_MANAGED && !budget_take(block))
    return block_undo(block);
  if (!host_open(block)) {
    budget_put(block);
    if (block->fd >= 0)
      close(block->fd);
    block->bytes = NULL;
    return block_undo(block);
  }
  memset(block->bytes, SIMCU_POISON, block->room);
  sim_managed_update(block);
  return block_add(block);
}

struct block *sim_block_register(void *ptr, size_t nbytes,
                                 struct context *context) {
  struct block *block = block_new(context, SIMCU_REGISTERED, nbytes);
  block->room = nbytes;
  block->start = (uintptr_t)ptr;
  block->bytes = ptr;
  return block_add(block);
}

static void device_close(struct block *block) {
  if (block->fd < 0)
    free(block->bytes);
  else
    munmap(block->bytes, block->room);
}

static void host_close(struct block *block) {
  size_t pages = sim_round(block->room, PAGE);
  if (block->fd >= 0)
    munmap(block->bytes, pages);
  pages_close(block->start, pages);
}

static void addresses_give(struct block const *block) {
  bool of_host = sim_arena_has(&sim.host, block->reserved_start);
  struct arena *arena = of_host ? &sim.host : &sim.devices[block->device].arena;
  if (block->reserved)
    sim_arena_give(arena, block->reserved_start, block->reserved);
}

static void block_close(struct block *block) {
  if (block->kind == SIMCU_PINNED || block->kind == SIMCU_MANAGED)
    host_close(block);
  else if (block->chunk)
    sim_chunk_leave(block);
  else if (block->kind != SIMCU_REGISTERED)
    device_close(block);
  if (block->fd >= 0)
    close(block->fd);
  addresses_give(block);
  sim_op_drop(block->birth);
  free(block);
}

void sim_block_abandon(struct block *block) {
  block->dead = true;
  if (!block->pending)
    block_close(block);
}

void sim_block_remove(struct block *block) {
  tdelete(block, &blocks, block_compare);
  sim.live[block->kind] -= !block->dying;
  budget_put(block);
  sim_openings_forget(block);
  sim_block_abandon(block);
}

/* --- uses ----------------------------------------------------------------- */

void sim_block_use(struct block *block) {
  if (block->pending++ == 0 && block->of_host)
    sim_managed_update(block);
}

void sim_block_unuse(struct block *block) {
  if (--block->pending)
    return;
  if (block->of_host)
    sim_managed_update(block);
  if (block->dead)
    block_close(block);
}

static bool is_reserved(uintptr_t adr) {
  for (int i = 0; i < sim.device_count; i++)
    if (sim_arena_has(&sim.devices[i].arena, adr))
      return true;
  return sim_arena_has(&sim.host, adr);
}

static cuCode operand_pageable(uintptr_t adr) {
  if (is_reserved(adr))
    return REFUSED("%#zx is in no live block: freed, or beside one",
                   (size_t)adr);
  return adr ? UMEMI_CUDA_SUCCESS : UMEMI_CUDA_ERROR_INVALID_VALUE;
}

bool sim_block_has(struct block const *block, uintptr_t adr, size_t nbytes) {
  return adr >= block->start && nbytes <= block->room &&
         adr - block->start <= block->room - nbytes;
}

/* Why a range that is not within one block cannot be used. */
static cuCode operand_refuse(struct block const *block, cuAddress adr,
                             size_t nbytes) {
  if (!block)
    return operand_pageable((uintptr_t)adr);
  if (block->kind == SIMCU_REGISTERED)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  return REFUSED("%zu bytes at %#llx leave the block of %zu at %#zx", nbytes,
                 adr, block->nbytes, (size_t)block->start);
}

cuCode sim_operand(cuAddress adr, size_t nbytes, struct operand *operand_out) {
  struct block *block = sim_block_find((uintptr_t)adr, nbytes);
  *operand_out = (struct operand){(uintptr_t)adr, block};
  if (block && block->dying)
    return REFUSED("use of %#llx after it was freed in a stream", adr);
  if (block && sim_block_has(block, (uintptr_t)adr, nbytes))
    return UMEMI_CUDA_SUCCESS;
  operand_out->block = sim_chunk_find((uintptr_t)adr, nbytes);
  return operand_out->block ? UMEMI_CUDA_SUCCESS
                            : operand_refuse(block, adr, nbytes);
}

bool sim_on_device(struct operand const *operand) {
  return operand->block && (operand->block->kind == SIMCU_DEVICE ||
                            operand->block->kind == SIMCU_POOLED ||
                            operand->block->kind == SIMCU_IMPORTED);
}

unsigned char *sim_bytes(struct operand const *operand) {
  struct block const *block = operand->block;
  return block ? block->bytes + (operand->adr - block->start)
               : (unsigned char *)operand->adr;
}

/* --- controls ------------------------------------------------------------- */

static int look(cuAddress adr, size_t nbytes, struct operand *operand_out) {
  *operand_out = (struct operand){(uintptr_t)adr, NULL};
  operand_out->block = sim_block_find((uintptr_t)adr, nbytes);
  return operand_out->block &&
         sim_block_has(operand_out->block, (uintptr_t)adr, nbytes);
}

int simcu_peek(cuAddress adr, void *out, size_t nbytes) {
  struct operand at;
  sim_lock();
  int is_there = look(adr, nbytes, &at);
  if (is_there)
    memcpy(out, sim_bytes(&at), nbytes);
  sim_unlock();
  return !is_there;
}

int simcu_poke(cuAddress adr, void const *in, size_t nbytes) {
  struct operand at;
  sim_lock();
  int is_there = look(adr, nbytes, &at);
  if (is_there)
    memcpy(sim_bytes(&at), in, nbytes);
  sim_unlock();
  return !is_there;
}
