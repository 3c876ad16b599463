/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose managed memory is. A device that cannot share it with a running host
 * has all of it while anything runs there, and not only what that uses; memory
 * that was attached to the host is closed only while something uses it.
 */
#include "inner.h"

#include <stdlib.h>
#include <sys/mman.h>

static bool shares(struct device const *device) {
  int concurrent = UMEMI_CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS;
  return device->attributes[concurrent] == 1;
}

/* --- one block ------------------------------------------------------------ */

static bool is_closed(struct block const *block) {
  if (!block->of_host)
    return sim.excluding > 0;
  return block->pending && !shares(&sim.devices[block->device]);
}

void sim_managed_update(struct block *block) {
  int access = is_closed(block) ? PROT_NONE : PROT_READ | PROT_WRITE;
  if (block->kind != SIMCU_MANAGED)
    return;
  if (mprotect((void *)block->start, sim_round(block->room, PAGE), access))
    abort();
}

/* --- all of them ---------------------------------------------------------- */

static void update(struct block *block, void *argument) {
  (void)argument;
  sim_managed_update(block);
}

void sim_device_runs(int number) {
  struct device *device = &sim.devices[number];
  if (device->running++ || shares(device))
    return;
  device->excludes = true;
  if (sim.excluding++ == 0)
    sim_block_each(update, NULL);
}

void sim_device_rests(int number) {
  struct device *device = &sim.devices[number];
  if (--device->running || !device->excludes)
    return;
  device->excludes = false;
  if (--sim.excluding == 0)
    sim_block_each(update, NULL);
}
