/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fake device; see fake.h. A backend is a state, methods that get it as first
 * argument, a table of them, and a constructor: read it from the end. What a
 * real backend does not need is what serves the tests: faults, the log, and the
 * search for breaches of the contract.
 */
#include "fake.h"

#include "support.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Any number of threads may call; one lock is enough for a double. */
static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;

static char const *const slot_names[FAKE_SLOTS] = {
    [FAKE_DTOR] = "dtor",
    [FAKE_ALLOC] = "alloc",
    [FAKE_FREE] = "free",
    [FAKE_READ] = "read",
    [FAKE_WRITE] = "write",
    [FAKE_SPACES] = "spaces",
    [FAKE_CHECK] = "check",
    [FAKE_CALLOC] = "calloc",
    [FAKE_FLUSH] = "flush",
    [FAKE_DISCARD] = "discard",
    [FAKE_COPY_PEER] = "copy_peer",
    [FAKE_VIEW_BEGIN] = "view_begin",
    [FAKE_VIEW_END] = "view_end",
    [FAKE_SET] = "set",
    [FAKE_NEXT_DATA] = "next_data",
    [FAKE_LIMITS] = "limits",
    [FAKE_EXPORT_HANDLE] = "export_handle",
    [FAKE_IMPORT_HANDLE] = "import_handle",
    [FAKE_STAGE_ALLOC] = "stage_alloc",
    [FAKE_STAGE_FREE] = "stage_free",
    [FAKE_CAN_REACH] = "can_reach",
};

/* --- what tests see ------------------------------------------------------ */

/* The first breach is kept: the others follow from it. */
static void fake_breach(struct fake *device, enum fakeSlot slot,
                        char const *what) {
  if (!device->broken[0])
    snprintf(device->broken, sizeof device->broken, "%s: %s", slot_names[slot],
             what);
}

/* Every method begins so: is counted, and told whether to fail. */
static bool fake_enter(struct fake *device, enum fakeSlot slot,
                       struct fakeFault *fault_out) {
  pthread_mutex_lock(&fake_lock);
  device->calls[slot]++;
  size_t length = strlen(device->log);
  if (slot != FAKE_SPACES && slot != FAKE_LIMITS && slot != FAKE_CAN_REACH)
    snprintf(device->log + length, sizeof device->log - length, "%s%s",
             length ? " " : "", slot_names[slot]);
  if (device->destroyed)
    fake_breach(device, slot, "called after dtor");
  struct fakeFault *fault = &device->faults[slot];
  *fault_out = *fault;
  return fault->call && --fault->call == 0;
}

static umemStatusType fake_leave(umemStatusType status) {
  pthread_mutex_unlock(&fake_lock);
  return status;
}

/* Ends a method as the script says. */
static umemStatusType fake_failed(enum fakeSlot slot,
                                  struct fakeFault const *fault,
                                  umemError *error) {
  if (fault->silent)
    return fake_leave(fault->type);
  umem_error_fill(error, fault->type, fault->sys_errno, fault->native,
                  "the fake's %s failed with code %lld", slot_names[slot],
                  (long long)fault->native);
  if (slot != FAKE_VIEW_END)
    error->bytes_done = fault->moved;
  return fake_leave(fault->type);
}

static bool fake_declines(struct fake const *device, enum fakeSlot slot) {
  return device->config.declines & 1u << slot;
}

/* --- memory and blocks --------------------------------------------------- */

static bool fake_has(struct fake const *device, uintptr_t adr, size_t nbytes) {
  struct fake const *memory = device->memory;
  return adr >= memory->base && nbytes <= memory->config.capacity &&
         adr - memory->base <= memory->config.capacity - nbytes;
}

unsigned char *fake_at(struct fake const *device, uintptr_t adr) {
  struct fake const *memory = device->memory;
  return memory->bytes + (adr - memory->base);
}

/* read, write and views get ranges that check() let through. */
static bool fake_range(struct fake *device, enum fakeSlot slot, uintptr_t adr,
                       size_t nbytes, umemError *error) {
  if (nbytes == 0)
    fake_breach(device, slot, "called with 0 bytes");
  if (fake_has(device, adr, nbytes))
    return true;
  if (!(device->config.without & 1u << FAKE_CHECK))
    fake_breach(device, slot, "the range was not checked");
  umem_error_fill(error, umemRuntimeError, 0, 0, "bus error");
  return false;
}

/* The first address for a block at or after `at`. With no alignment wanted it
   has the fundamental one and, so that nobody relies on more, not twice it.
   Address 0 is for bytes that are there and need no alignment. */
static uintptr_t block_place(struct fake const *device, uintptr_t at,
                             size_t nbytes, size_t alignment) {
  size_t least = device->config.fundamental_align;
  size_t unit = alignment > least ? alignment : least ? least : 1;
  bool never_0 = alignment || !nbytes;
  uintptr_t from = never_0 && !at ? 1 : at;
  uintptr_t place = (from + unit - 1) & ~(uintptr_t)(unit - 1);
  bool skewed = device->memory->base && !alignment;
  return skewed && !(place & unit) ? place + unit : place;
}

static size_t block_room(size_t nbytes) {
  return nbytes ? nbytes : 1;
}

/* First fit: the index in `blocks` at which the block would stand. */
static bool block_find(struct fake const *device, size_t nbytes,
                       size_t alignment, uintptr_t *adr_out,
                       size_t *index_out) {
  struct fake const *memory = device->memory;
  uintptr_t at = memory->base;
  for (size_t i = 0; i <= memory->block_count; i++) {
    struct fakeBlock const *next = &memory->blocks[i];
    uintptr_t place = block_place(device, at, nbytes, alignment);
    uintptr_t end = i < memory->block_count
                        ? next->adr
                        : memory->base + memory->config.capacity;
    *adr_out = place;
    *index_out = i;
    if (place <= end && end - place >= block_room(nbytes))
      return true;
    if (i < memory->block_count)
      at = next->adr + block_room(next->nbytes);
  }
  return false;
}

static void block_insert(struct fake *device, size_t index, uintptr_t adr,
                         size_t nbytes) {
  struct fake *memory = device->memory;
  size_t size = (memory->block_count + 1) * sizeof *memory->blocks;
  memory->blocks = realloc(memory->blocks, size);
  assert_non_null(memory->blocks);
  memmove(memory->blocks + index + 1, memory->blocks + index,
          (memory->block_count - index) * sizeof *memory->blocks);
  memory->blocks[index] = (struct fakeBlock){adr, nbytes, device};
  memory->block_count++;
}

/* The live block of `device` at `adr`, or NULL. */
static struct fakeBlock *block_get(struct fake *device, uintptr_t adr) {
  struct fake *memory = device->memory;
  for (size_t i = 0; i < memory->block_count; i++)
    if (memory->blocks[i].adr == adr && memory->blocks[i].owner == device)
      return &memory->blocks[i];
  return NULL;
}

static void block_remove(struct fake *device, struct fakeBlock *block) {
  struct fake *memory = device->memory;
  size_t index = (size_t)(block - memory->blocks);
  memory->block_count--;
  memmove(block, block + 1, (memory->block_count - index) * sizeof *block);
}

size_t fake_live(struct fake const *device) {
  size_t count = 0;
  struct fake const *memory = device->memory;
  for (size_t i = 0; i < memory->block_count; i++)
    count += memory->blocks[i].owner == device;
  return count;
}

/* --- the methods that a backend must have -------------------------------- */

/* A real backend gives back its state here. This one is the test's. */
static umemStatusType fake_dtor(void *state, umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  bool fails = fake_enter(device, FAKE_DTOR, &fault);
  device->destroyed++;
  if (fake_live(device) && !device->config.caps)
    fake_breach(device, FAKE_DTOR, "blocks are live");
  return fails ? fake_failed(FAKE_DTOR, &fault, error) : fake_leave(umemOK);
}

static umemStatusType fake_reserve(struct fake *device, size_t nbytes,
                                   size_t alignment, int fill,
                                   uintptr_t *adr_out, umemError *error) {
  size_t index;
  uintptr_t adr;
  if (!block_find(device, nbytes, alignment, &adr, &index))
    return umem_error_fill(error, umemMemoryError, 0, 0, "the fake is full");
  block_insert(device, index, adr, nbytes);
  memset(fake_at(device, adr), fill, nbytes);
  *adr_out = adr;
  return umemOK;
}

static umemStatusType fake_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  bool all = device->config.caps & UMEM_CAP_OWN_REGISTRY;
  size_t most = device->config.max_align > device->config.fundamental_align
                    ? device->config.max_align
                    : device->config.fundamental_align;
  if (fake_enter(device, FAKE_ALLOC, &fault))
    return fake_failed(FAKE_ALLOC, &fault, error);
  if (nbytes > PTRDIFF_MAX)
    fake_breach(device, FAKE_ALLOC, "more than PTRDIFF_MAX bytes");
  if (alignment && !umem_ispowerof2(alignment))
    fake_breach(device, FAKE_ALLOC, "alignment is not a power of 2");
  if (alignment > (most ? most : 1) && !all)
    fake_breach(device, FAKE_ALLOC, "more alignment than max_align");
  return fake_leave(
      fake_reserve(device, nbytes, alignment, FAKE_DIRT, adr_out, error));
}

/* Whatever it returns, the block is gone. */
static umemStatusType fake_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  bool own = device->config.caps & UMEM_CAP_OWN_REGISTRY;
  bool fails = fake_enter(device, FAKE_FREE, &fault);
  struct fakeBlock *block = block_get(device, adr);
  umemStatusType status = umemOK;
  if (block && !own && block->nbytes != nbytes)
    fake_breach(device, FAKE_FREE, "not what was asked for");
  if (block)
    block_remove(device, block);
  else if (!own)
    fake_breach(device, FAKE_FREE, "no live block is there");
  else if (adr)
    status = umem_error_fill(error, umemValueError, 0, 0, "no block is there");
  return fails ? fake_failed(FAKE_FREE, &fault, error) : fake_leave(status);
}

static umemStatusType fake_read(void *state, uintptr_t adr, void *out,
                                size_t nbytes, umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  bool fails = fake_enter(device, FAKE_READ, &fault);
  if (!fake_range(device, FAKE_READ, adr, nbytes, error))
    return fake_leave(umemRuntimeError);
  memcpy(out, fake_at(device, adr), fails ? fault.moved : nbytes);
  return fails ? fake_failed(FAKE_READ, &fault, error) : fake_leave(umemOK);
}

static umemStatusType fake_write(void *state, uintptr_t adr, void const *in,
                                 size_t nbytes, umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  bool fails = fake_enter(device, FAKE_WRITE, &fault);
  if (!fake_range(device, FAKE_WRITE, adr, nbytes, error))
    return fake_leave(umemRuntimeError);
  memcpy(fake_at(device, adr), in, fails ? fault.moved : nbytes);
  return fails ? fake_failed(FAKE_WRITE, &fault, error) : fake_leave(umemOK);
}

static size_t fake_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct fake *device = state;
  struct fakeFault unused;
  fake_enter(device, FAKE_SPACES, &unused);
  out[0] = (umemSpace){UMEM_SPACE_PRIVATE, {(uintptr_t)device->memory, 0}};
  out[1] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  fake_leave(umemOK);
  return device->config.in_process ? 2 : 1;
}

/* --- those that it may have ---------------------------------------------- */

static umemStatusType fake_check(void *state, uintptr_t adr, size_t nbytes,
                                 umemAccess access, umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  if (fake_enter(device, FAKE_CHECK, &fault))
    return fake_failed(FAKE_CHECK, &fault, error);
  if (access != umemRead && access != umemWrite)
    fake_breach(device, FAKE_CHECK, "neither read nor write");
  if (fake_has(device, adr, nbytes))
    return fake_leave(umemOK);
  return fake_leave(umem_error_fill(error, umemIndexError, 0, 0,
                                    "%zu bytes at 0x%zx leave the fake", nbytes,
                                    (size_t)adr));
}

static umemStatusType fake_calloc(void *state, size_t nbytes,
                                  uintptr_t *adr_out, umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  if (fake_enter(device, FAKE_CALLOC, &fault))
    return fake_failed(FAKE_CALLOC, &fault, error);
  if (fake_declines(device, FAKE_CALLOC))
    return fake_leave(UMEM_DECLINED);
  return fake_leave(fake_reserve(device, nbytes, 0, 0, adr_out, error));
}

static umemStatusType fake_flush(void *state, umemError *error) {
  struct fakeFault fault;
  bool fails = fake_enter(state, FAKE_FLUSH, &fault);
  return fails ? fake_failed(FAKE_FLUSH, &fault, error) : fake_leave(umemOK);
}

static umemStatusType fake_discard(void *state, umemError *error) {
  struct fakeFault fault;
  bool fails = fake_enter(state, FAKE_DISCARD, &fault);
  return fails ? fake_failed(FAKE_DISCARD, &fault, error) : fake_leave(umemOK);
}

static umemStatusType fake_copy_peer(void *src_state, uintptr_t src_adr,
                                     void *dest_state, uintptr_t dest_adr,
                                     size_t nbytes, umemError *error) {
  struct fake *src = src_state, *dest = dest_state;
  struct fakeFault fault;
  bool fails = fake_enter(src, FAKE_COPY_PEER, &fault);
  if (!fails && fake_declines(src, FAKE_COPY_PEER))
    return fake_leave(UMEM_DECLINED);
  if (!fake_range(src, FAKE_COPY_PEER, src_adr, nbytes, error) ||
      !fake_range(dest, FAKE_COPY_PEER, dest_adr, nbytes, error))
    return fake_leave(umemRuntimeError);
  memmove(fake_at(dest, dest_adr), fake_at(src, src_adr),
          fails ? fault.moved : nbytes);
  return fails ? fake_failed(FAKE_COPY_PEER, &fault, error)
               : fake_leave(umemOK);
}

/* A view is a copy, so that what is written to it arrives at its end only. */
static umemStatusType fake_view_begin(void *state, uintptr_t adr, size_t nbytes,
                                      umemAccess access, void **ptr_out,
                                      umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  if (fake_enter(device, FAKE_VIEW_BEGIN, &fault))
    return fake_failed(FAKE_VIEW_BEGIN, &fault, error);
  if (fake_declines(device, FAKE_VIEW_BEGIN))
    return fake_leave(UMEM_DECLINED);
  if (!fake_range(device, FAKE_VIEW_BEGIN, adr, nbytes, error))
    return fake_leave(umemRuntimeError);
  struct fakeView *view = malloc(sizeof *view);
  assert_non_null(view);
  *view = (struct fakeView){device->views, adr, nbytes, access, malloc(nbytes)};
  assert_non_null(view->bytes);
  if (access == umemRead)
    memcpy(view->bytes, fake_at(device, adr), nbytes);
  else
    memset(view->bytes, FAKE_DIRT, nbytes);
  device->views = view;
  *ptr_out = view->bytes;
  return fake_leave(umemOK);
}

static umemStatusType fake_view_end(void *state, void *ptr, size_t nbytes,
                                    umemAccess access, umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  bool fails = fake_enter(device, FAKE_VIEW_END, &fault);
  struct fakeView **at = &device->views;
  while (*at && (*at)->bytes != ptr)
    at = &(*at)->next;
  struct fakeView *view = *at;
  if (!view || view->nbytes != nbytes || view->access != access) {
    fake_breach(device, FAKE_VIEW_END, "no such view");
    return fake_leave(umemOK);
  }
  *at = view->next;
  if (access == umemWrite)
    memcpy(fake_at(device, view->adr), ptr, fails ? fault.moved : nbytes);
  free(view->bytes);
  free(view);
  return fails ? fake_failed(FAKE_VIEW_END, &fault, error) : fake_leave(umemOK);
}

static umemStatusType fake_set(void *state, uintptr_t adr, int c, size_t nbytes,
                               umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  bool fails = fake_enter(device, FAKE_SET, &fault);
  if (!fails && fake_declines(device, FAKE_SET))
    return fake_leave(UMEM_DECLINED);
  if (!fake_range(device, FAKE_SET, adr, nbytes, error))
    return fake_leave(umemRuntimeError);
  memset(fake_at(device, adr), c, fails ? fault.moved : nbytes);
  return fails ? fake_failed(FAKE_SET, &fault, error) : fake_leave(umemOK);
}

/* Is the piece of the memory that has this address one of zeros? Ends where it
   ends. */
static bool fake_is_hole(struct fake const *device, uintptr_t adr,
                         uintptr_t *end_out) {
  struct fake const *memory = device->memory;
  size_t hole = device->config.hole, at = adr - memory->base;
  size_t start = at - at % hole;
  *end_out = memory->base + start + hole;
  return fake_has(device, memory->base + start, hole) &&
         all_bytes_are(memory->bytes + start, hole, 0);
}

static umemStatusType fake_next_data(void *state, uintptr_t adr, size_t nbytes,
                                     size_t *zeros_out, size_t *data_out,
                                     umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  if (fake_enter(device, FAKE_NEXT_DATA, &fault))
    return fake_failed(FAKE_NEXT_DATA, &fault, error);
  if (!fake_range(device, FAKE_NEXT_DATA, adr, nbytes, error))
    return fake_leave(umemRuntimeError);
  uintptr_t at = adr, end = adr + nbytes, next;
  while (at < end && fake_is_hole(device, at, &next))
    at = next < end ? next : end;
  *zeros_out = at - adr;
  uintptr_t data = at;
  while (at < end && !fake_is_hole(device, at, &next))
    at = next < end ? next : end;
  *data_out = at - data;
  return fake_leave(umemOK);
}

static void fake_limits(void *state, unsigned access, uintptr_t adr,
                        size_t nbytes, struct umemLimits *out) {
  struct fake *device = state;
  struct fakeFault unused;
  (void)adr, (void)nbytes;
  fake_enter(device, FAKE_LIMITS, &unused);
  if (access < umemRead || access > (umemRead | umemWrite))
    fake_breach(device, FAKE_LIMITS, "neither read nor write nor both");
  if (out->chunk || out->lanes || out->waits || out->alignment ||
      out->declines || out->method)
    fake_breach(device, FAKE_LIMITS, "not all zeros");
  *out = device->config.limits;
  fake_leave(umemOK);
}

static umemStatusType fake_export_handle(void *state, uintptr_t adr,
                                         size_t nbytes, unsigned char *payload,
                                         umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  if (fake_enter(device, FAKE_EXPORT_HANDLE, &fault))
    return fake_failed(FAKE_EXPORT_HANDLE, &fault, error);
  (void)nbytes;
  memcpy(payload, &adr, sizeof adr);
  return fake_leave(umemOK);
}

static umemStatusType fake_import_handle(void *state,
                                         unsigned char const *payload,
                                         size_t nbytes, uintptr_t *adr_out,
                                         umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  if (fake_enter(device, FAKE_IMPORT_HANDLE, &fault))
    return fake_failed(FAKE_IMPORT_HANDLE, &fault, error);
  memcpy(adr_out, payload, sizeof *adr_out);
  return fake_leave(fake_has(device, *adr_out, nbytes)
                        ? umemOK
                        : umem_error_fill(error, umemIndexError, 0, 0,
                                          "not the fake's memory"));
}

static umemStatusType fake_stage_alloc(void *state, size_t nbytes,
                                       void **ptr_out, umemError *error) {
  struct fake *device = state;
  struct fakeFault fault;
  if (fake_enter(device, FAKE_STAGE_ALLOC, &fault))
    return fake_failed(FAKE_STAGE_ALLOC, &fault, error);
  *ptr_out = malloc(nbytes);
  return fake_leave(*ptr_out ? umemOK : UMEM_DECLINED);
}

static void fake_stage_free(void *state, void *ptr, size_t nbytes) {
  struct fakeFault unused;
  (void)nbytes;
  fake_enter(state, FAKE_STAGE_FREE, &unused);
  free(ptr);
  fake_leave(umemOK);
}

static bool fake_can_reach(void *state, void *dest_state) {
  struct fakeFault unused;
  (void)dest_state;
  fake_enter(state, FAKE_CAN_REACH, &unused);
  fake_leave(umemOK);
  return true;
}

/* --- table and constructor ----------------------------------------------- */

#define FAKE_UNLESS_OUT(slot, method)                                          \
  (config->without & 1u << (slot) ? NULL : (method))

static bool fake_has_limits(struct fakeConfig const *config) {
  struct umemLimits const *limits = &config->limits;
  return limits->chunk || limits->lanes || limits->waits || limits->alignment ||
         limits->declines || limits->method;
}

/* A backend of one shape has this as a static constant. */
struct umemVtbl fake_vtbl(struct fakeConfig const *config) {
  return (struct umemVtbl){
      .size = sizeof(struct umemVtbl),
      .type = FAKE_DEVICE,
      .caps = config->caps,
      .name = "Fake",
      .fundamental_align = config->fundamental_align,
      .max_align = config->max_align,
      .dtor = FAKE_UNLESS_OUT(FAKE_DTOR, fake_dtor),
      .alloc = FAKE_UNLESS_OUT(FAKE_ALLOC, fake_alloc),
      .free = FAKE_UNLESS_OUT(FAKE_FREE, fake_free),
      .read = FAKE_UNLESS_OUT(FAKE_READ, fake_read),
      .write = FAKE_UNLESS_OUT(FAKE_WRITE, fake_write),
      .spaces = FAKE_UNLESS_OUT(FAKE_SPACES, fake_spaces),
      .check = FAKE_UNLESS_OUT(FAKE_CHECK, fake_check),
      .calloc = FAKE_UNLESS_OUT(FAKE_CALLOC, fake_calloc),
      .flush = FAKE_UNLESS_OUT(FAKE_FLUSH, fake_flush),
      .discard = FAKE_UNLESS_OUT(FAKE_DISCARD, fake_discard),
      .copy_peer = FAKE_UNLESS_OUT(FAKE_COPY_PEER, fake_copy_peer),
      .view_begin = FAKE_UNLESS_OUT(FAKE_VIEW_BEGIN, fake_view_begin),
      .view_end = FAKE_UNLESS_OUT(FAKE_VIEW_END, fake_view_end),
      .set = config->sets ? FAKE_UNLESS_OUT(FAKE_SET, fake_set) : NULL,
      .next_data =
          config->hole ? FAKE_UNLESS_OUT(FAKE_NEXT_DATA, fake_next_data) : NULL,
      .limits = fake_has_limits(config)
                    ? FAKE_UNLESS_OUT(FAKE_LIMITS, fake_limits)
                    : NULL,
      .export_handle = config->handles ? fake_export_handle : NULL,
      .import_handle = config->handles ? fake_import_handle : NULL,
      .stage_alloc = config->stages ? fake_stage_alloc : NULL,
      .stage_free = config->stages ? fake_stage_free : NULL,
      .can_reach = config->reaches ? fake_can_reach : NULL,
  };
}

static struct fakeConfig const all_defaults;

void fake_init(struct fake *device, struct fakeConfig const *config) {
  memset(device, 0, sizeof *device);
  device->config = config ? *config : all_defaults;
  device->memory = device->config.shares ? device->config.shares : device;
  if (device->memory != device)
    return;
  uintptr_t base = device->config.base ? device->config.base : FAKE_BASE;
  if (!device->config.capacity)
    device->config.capacity = (size_t)32 << 20;
  device->bytes = calloc(1, device->config.capacity);
  assert_non_null(device->bytes);
  device->base = base == FAKE_BASE_ZERO ? 0 : base;
  if (device->config.in_process)
    device->base = (uintptr_t)device->bytes;
}

umemStatusType fake_ctor(umemVirtual *ctx, struct fake *device,
                         struct fakeConfig const *config) {
  fake_init(device, config);
  struct umemVtbl vtbl = fake_vtbl(&device->config);
  umemStatusType status = umemVirtual_ctor_ex(ctx, &vtbl, device);
  if (status != umemOK)
    fake_release(device); /* the state is ours again */
  return status;
}

/* --- for tests ----------------------------------------------------------- */

void fake_fail(struct fake *device, enum fakeSlot slot,
               struct fakeFault const *fault) {
  device->faults[slot] = *fault;
}

char const *fake_log(struct fake const *device) {
  return device->log;
}

void fake_forget(struct fake *device) {
  device->log[0] = '\0';
  memset(device->calls, 0, sizeof device->calls);
}

void fake_release(struct fake *device) {
  free(device->blocks);
  free(device->bytes);
  device->blocks = NULL;
  device->bytes = NULL;
}

void fake_end(struct fake *device) {
  bool leaked = fake_live(device) > 0 && !device->config.caps;
  bool views = device->views != NULL;
  fake_release(device);
  assert_string_equal(device->broken, "");
  assert_false(leaked);
  assert_false(views);
  assert_int_equal(device->destroyed, 1);
}

void fake_one_begin(struct fakeOne *one, struct fakeConfig const *config) {
  assert_ok(fake_ctor(&one->ctx, &one->device, config));
  fake_forget(&one->device);
}

void fake_one_end(struct fakeOne *one) {
  assert_ok(umem_dtor(&one->ctx));
  fake_end(&one->device);
}
