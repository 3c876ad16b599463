/* SPDX-License-Identifier: BSD-3-Clause */
/* What the simulated machine is like: defaults, environment, controls. */
#include "inner.h"

#include <stdlib.h>
#include <string.h>

enum { MIB = 1 << 20, KNOWN_LATER = 113 };

static bool is_index(int number, int below) {
  return number >= 0 && number < below;
}

/* What an H200 says, but for the numbers of its place on the bus. */
static void device_defaults(struct device *device, int number) {
  static struct {
    cuDeviceAttribute what;
    int value;
  } const ones[] = {{UMEMI_CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
                    {UMEMI_CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1},
                    {UMEMI_CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 1},
                    {SIM_HOST_REGISTER_SUPPORTED, 1},
                    {SIM_READ_ONLY_HOST_REGISTER_SUPPORTED, 1},
                    {UMEMI_CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1}};
  device->capacity = (size_t)256 * MIB;
  for (size_t i = 0; i < sizeof ones / sizeof *ones; i++)
    device->attributes[ones[i].what] = ones[i].value;
  device->attributes[UMEMI_CU_DEVICE_ATTRIBUTE_PCI_BUS_ID] = number + 1;
  for (int i = 0; SIMCU_VERSION < 11020 && i < ATTRIBUTES; i++)
    if (i >= KNOWN_LATER)
      device->attributes[i] = -1;
  for (int i = 0; i < SIMCU_DEVICES_MAX; i++)
    device->can_access[i] = i != number;
}

/* --- controls ------------------------------------------------------------- */

void simcu_set_mode(enum simcuMode mode, unsigned seed) {
  sim_lock();
  sim.mode = mode;
  sim.random = seed;
  sim_unlock();
}

void simcu_set_devices(int count) {
  sim_lock();
  if (is_index(count, SIMCU_DEVICES_MAX + 1))
    sim.device_count = count;
  sim_unlock();
}

void simcu_set_memory(int device, size_t nbytes) {
  sim_lock();
  if (is_index(device, SIMCU_DEVICES_MAX))
    sim.devices[device].capacity = nbytes;
  sim_unlock();
}

void simcu_set_attribute(int device, cuDeviceAttribute what, int value) {
  sim_lock();
  if (is_index(device, SIMCU_DEVICES_MAX) && is_index(what, ATTRIBUTES))
    sim.devices[device].attributes[what] = value;
  sim_unlock();
}

void simcu_set_peer(int device, int peer, int can) {
  sim_lock();
  if (is_index(device, SIMCU_DEVICES_MAX) && is_index(peer, SIMCU_DEVICES_MAX))
    sim.devices[device].can_access[peer] = can != 0;
  sim_unlock();
}

void simcu_set_peer_drops(int device, int peer, int does) {
  sim_lock();
  if (is_index(device, SIMCU_DEVICES_MAX) && is_index(peer, SIMCU_DEVICES_MAX))
    sim.devices[device].drops[peer] = does != 0;
  sim_unlock();
}

void simcu_set_ipc_within(int does) {
  sim_lock();
  sim.ipc_within = does != 0;
  sim_unlock();
}

void simcu_set_ipc_again(int does) {
  sim_lock();
  sim.ipc_again = does != 0;
  sim_unlock();
}

void simcu_set_ipc_range(int does) {
  sim_lock();
  sim.ipc_range = does != 0;
  sim_unlock();
}

void simcu_set_chunks(int does) {
  sim_lock();
  sim.chunked = does != 0;
  sim_unlock();
}

void simcu_set_crash(int does) {
  sim_lock();
  sim.crashes = does != 0;
  sim_unlock();
}

/* --- environment ---------------------------------------------------------- */

static enum simcuMode mode_of(char const *name) {
  if (strcmp(name, "eager") == 0)
    return SIMCU_EAGER;
  return strcmp(name, "random") == 0 ? SIMCU_RANDOM : SIMCU_LAZY;
}

static unsigned long number_of(char const *name, unsigned long otherwise) {
  char const *text = getenv(name);
  return text && *text ? strtoul(text, NULL, 0) : otherwise;
}

static void attribute_everywhere(int what, int value) {
  for (int i = 0; i < SIMCU_DEVICES_MAX; i++)
    simcu_set_attribute(i, what, value);
}

static void drop_everywhere(void) {
  for (int i = 0; i < SIMCU_DEVICES_MAX; i++)
    for (int k = 0; k < SIMCU_DEVICES_MAX; k++)
      simcu_set_peer_drops(i, k, i != k);
}

/* "89=0,115=0" */
static void attributes_of(char const *text) {
  while (text && *text) {
    char *end;
    long what = strtol(text, &end, 0);
    if (*end != '=')
      return;
    attribute_everywhere((int)what, (int)strtol(end + 1, &end, 0));
    text = *end == ',' ? end + 1 : end;
  }
}

__attribute__((constructor)) static void begin(void) {
  char const *mode = getenv("SIMCU_MODE");
  for (int i = 0; i < SIMCU_DEVICES_MAX; i++)
    device_defaults(&sim.devices[i], i);
  sim.ipc_again = sim.ipc_range = true;
  sim.chunked = number_of("SIMCU_CHUNKS", 0);
  sim.crashes = number_of("SIMCU_CRASH", 0);
  simcu_set_mode(mode_of(mode ? mode : ""),
                 (unsigned)number_of("SIMCU_SEED", 1));
  sim.device_count = 2;
  simcu_set_devices((int)number_of("SIMCU_DEVICES", 2));
  for (int i = 0; i < SIMCU_DEVICES_MAX; i++)
    simcu_set_memory(i, number_of("SIMCU_MEM", (unsigned long)256 * MIB));
  if (number_of("SIMCU_PEER_DROPS", 0))
    drop_everywhere();
  attributes_of(getenv("SIMCU_ATTRIBUTES"));
}

/* splitmix64: public domain, Sebastiano Vigna. */
unsigned sim_random(unsigned below) {
  uint64_t z = sim.random += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return (unsigned)((z ^ (z >> 31)) % below);
}
