/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that the program had already: what can be registered, and as what. */
#include "inner.h"

#include <stdio.h>
#include <string.h>

enum { IO_MEMORY = 4, READ_ONLY = 8, KNOWN_FLAGS = 15 };

static uintptr_t io_start, io_end;

/* --- pages ---------------------------------------------------------------- */

struct pages {
  uintptr_t start, end; /**< What is still to be found. */
  bool are_mapped, are_writable;
};

/* One line of /proc/self/maps: they ascend. */
static void pages_see(struct pages *pages, char const *line) {
  unsigned long from, to;
  char access[8];
  if (sscanf(line, "%lx-%lx %4s", &from, &to, access) != 3 ||
      pages->start < from || pages->start >= to || access[0] != 'r')
    return;
  pages->start = to;
  pages->are_writable = pages->are_writable && access[1] == 'w';
  pages->are_mapped = pages->start >= pages->end;
}

static struct pages pages_of(uintptr_t start, size_t nbytes) {
  struct pages pages = {start / PAGE * PAGE, start + nbytes, false, true};
  char line[512];
  FILE *maps = fopen("/proc/self/maps", "re");
  while (maps && !pages.are_mapped && fgets(line, sizeof line, maps))
    pages_see(&pages, line);
  if (maps)
    fclose(maps);
  return pages;
}

/* --- register ------------------------------------------------------------- */

static bool has(cuDeviceAttribute what) {
  return sim.devices[sim_current()->device].attributes[what] == 1;
}

static cuCode flags_check(unsigned flags) {
  if (flags > KNOWN_FLAGS || (SIMCU_VERSION < 11010 && flags & READ_ONLY))
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  return has(SIM_HOST_REGISTER_SUPPORTED) &&
                 (!(flags & READ_ONLY) ||
                  has(SIM_READ_ONLY_HOST_REGISTER_SUPPORTED))
             ? UMEMI_CUDA_SUCCESS
             : UMEMI_CUDA_ERROR_NOT_SUPPORTED;
}

static bool is_io(uintptr_t start, size_t nbytes) {
  return start < io_end && io_start < start + nbytes;
}

/* Devices write to what they get, unless it is said that they do not. */
static cuCode range_check(uintptr_t start, size_t nbytes, unsigned flags) {
  if (!start || !nbytes || nbytes > UINTPTR_MAX - start)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  if (sim_block_find(start, nbytes))
    return UMEMI_CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  if (is_io(start, nbytes) != !!(flags & IO_MEMORY))
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  struct pages pages = pages_of(start, nbytes);
  return pages.are_mapped && (pages.are_writable || flags & READ_ONLY)
             ? UMEMI_CUDA_SUCCESS
             : UMEMI_CUDA_ERROR_INVALID_VALUE;
}

cuCode cuMemHostRegister_v2(void *ptr, size_t nbytes, unsigned flags) {
  ENTER(cuMemHostRegister_v2, IN_CONTEXT | UNSAFE);
  cuCode code = flags_check(flags);
  if (!code)
    code = range_check((uintptr_t)ptr, nbytes, flags);
  if (code)
    return sim_leave(code);
  struct block *block = sim_block_register(ptr, nbytes, sim_current());
  block->read_only = flags & READ_ONLY;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* --- unregister ----------------------------------------------------------- */

/* Work that uses it goes on in memory that may be gone. */
cuCode cuMemHostUnregister(void *ptr) {
  ENTER(cuMemHostUnregister, IN_CONTEXT | UNSAFE);
  struct block *block = sim_block_find((uintptr_t)ptr, 1);
  if (ptr && !block)
    return sim_leave(UMEMI_CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
  if (!ptr || block->kind != SIMCU_REGISTERED || block->start != (uintptr_t)ptr)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  if (block->pending)
    sim_violation("%#zx is unregistered while queued work uses it",
                  (size_t)block->start);
  sim_block_remove(block);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* --- controls ------------------------------------------------------------- */

void simcu_set_io(void const *ptr, size_t nbytes) {
  sim_lock();
  io_start = (uintptr_t)ptr;
  io_end = io_start + nbytes;
  sim_unlock();
}
