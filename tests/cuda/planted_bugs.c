/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs with one bug each, which the simulated driver must find, and one
 * without. test_cuda_driver runs itself again as each of them: planted_run() is
 * the whole program, and returns its exit status.
 */
#include "driver/client.h"

#include <stdbool.h>
#include <stdlib.h>

int planted_run(char const *role);

/* What a program says that found its data to be wrong. */
enum { CORRUPT = 42, BROKEN = 1 };
enum { NBYTES = 300001, CHUNK = 1 << 16 };

static struct client c;
static cuContext primary[2];
static cuAddress device;
static unsigned char *slots[2];
static cuStream lane;
static cuEvent slot_free[2], before;
static unsigned char source[NBYTES], result[NBYTES];

/* A call that no bug makes fail. */
static void must(cuCode code) {
  if (!code)
    return;
  fprintf(stderr, "planted: a call failed with %d\n", code);
  exit(BROKEN);
}

/* --- begin and end -------------------------------------------------------- */

static void begin_pipeline(void) {
  must(c.cu.StreamCreate(&lane, UMEMI_CU_STREAM_NON_BLOCKING));
  must(c.cu.EventCreate(&before, UMEMI_CU_EVENT_DISABLE_TIMING));
  for (int i = 0; i < 2; i++) {
    void *slot;
    must(c.cu.MemHostAlloc(&slot, CHUNK, UMEMI_CU_MEMHOSTALLOC_PORTABLE));
    slots[i] = slot;
    must(c.cu.EventCreate(&slot_free[i], UMEMI_CU_EVENT_DISABLE_TIMING));
  }
}

static void begin(void) {
  if (client_load(&c, "libcuda.so.1"))
    exit(BROKEN);
  must(c.cu.Init(0));
  for (int i = 0; i < 2; i++)
    must(c.cu.DevicePrimaryCtxRetain(&primary[i], i));
  must(c.cu.CtxPushCurrent(primary[0]));
  must(c.cu.MemAlloc(&device, NBYTES));
  begin_pipeline();
  for (size_t i = 0; i < NBYTES; i++)
    source[i] = (unsigned char)(i * 31 + i / 251);
}

static void end(void) {
  must(c.cu.CtxSynchronize());
  must(c.cu.StreamDestroy(lane));
  must(c.cu.EventDestroy(before));
  for (int i = 0; i < 2; i++) {
    must(c.cu.EventDestroy(slot_free[i]));
    must(c.cu.MemFreeHost(slots[i]));
  }
  if (device)
    must(c.cu.MemFree(device));
  must(c.cu.CtxPopCurrent(NULL));
  for (int i = 0; i < 2; i++)
    must(c.cu.DevicePrimaryCtxRelease(i));
}

/* --- a copy in chunks, with what can be wrong about it -------------------- */

struct flaws {
  bool one_slot, no_wait, no_order;
};

static void copy_chunk(size_t at, int slot, bool is_first) {
  size_t nbytes = NBYTES - at < CHUNK ? NBYTES - at : CHUNK;
  if (!is_first)
    must(c.cu.EventSynchronize(slot_free[slot]));
  memcpy(slots[slot], source + at, nbytes);
  must(c.cu.MemcpyHtoDAsync(device + at, slots[slot], nbytes, lane));
  must(c.cu.EventRecord(slot_free[slot], lane));
}

static void copy_in(struct flaws flaws) {
  if (!flaws.no_order) {
    must(c.cu.EventRecord(before, NULL));
    must(c.cu.StreamWaitEvent(lane, before, 0));
  }
  for (size_t i = 0; i * CHUNK < NBYTES; i++)
    copy_chunk(i * CHUNK, flaws.one_slot ? 0 : (int)(i & 1),
               flaws.one_slot || i < 2);
  if (!flaws.no_wait)
    must(c.cu.StreamSynchronize(lane));
}

static int verdict(void) {
  must(c.cu.MemcpyDtoH(result, device, NBYTES));
  return memcmp(source, result, NBYTES) ? CORRUPT : 0;
}

static int copy_with(struct flaws flaws) {
  must(c.cu.MemsetD8Async(device, 1, NBYTES, NULL));
  copy_in(flaws);
  return verdict();
}

static int correct(void) {
  return copy_with((struct flaws){.one_slot = false});
}

static int slot_reused(void) {
  return copy_with((struct flaws){.one_slot = true});
}

static int no_final_wait(void) {
  return copy_with((struct flaws){.no_wait = true});
}

static int unordered(void) {
  return copy_with((struct flaws){.no_order = true});
}

/* --- wrong use of memory -------------------------------------------------- */

static int unregistered_early(void) {
  void *host = malloc(NBYTES);
  if (!host)
    return BROKEN;
  memcpy(host, source, NBYTES);
  must(c.cu.MemHostRegister(host, NBYTES, UMEMI_CU_MEMHOSTREGISTER_PORTABLE));
  must(c.cu.MemcpyHtoDAsync(device, host, NBYTES, NULL));
  must(c.cu.MemHostUnregister(host));
  memset(host, 0, NBYTES);
  int found = verdict();
  free(host);
  return found;
}

static int past_the_end(void) {
  c.cu.MemcpyHtoD(device + 1000, source, NBYTES);
  return 0;
}

static int used_after_free(void) {
  must(c.cu.MemFree(device));
  c.cu.MemcpyHtoD(device, source, 8);
  device = 0;
  return 0;
}

static int freed_twice(void) {
  must(c.cu.MemFree(device));
  c.cu.MemFree(device);
  device = 0;
  return 0;
}

static int dereferenced(void) {
  return *(unsigned char volatile *)(uintptr_t)device;
}

static int leaked(void) {
  cuAddress lost;
  must(c.cu.MemAlloc(&lost, 8));
  must(c.cu.CtxPopCurrent(NULL));
  exit(0);
}

static int freed_elsewhere(void) {
  must(c.cu.CtxPushCurrent(primary[1]));
  c.cu.MemFree(device);
  must(c.cu.CtxPopCurrent(NULL));
  device = 0;
  return 0;
}

/* --- wrong use of contexts ------------------------------------------------ */

static int context_left(void) {
  must(c.cu.CtxPushCurrent(primary[0]));
  return 0;
}

static int over_released(void) {
  must(c.cu.DevicePrimaryCtxRelease(1));
  c.cu.DevicePrimaryCtxRelease(1);
  must(c.cu.DevicePrimaryCtxRetain(&primary[1], 1));
  return 0;
}

/* In one that was reset, as some tests and notebooks do. */
static int earlier_life(void) {
  cuContext again;
  cuStream kept;
  must(c.cu.CtxPushCurrent(primary[1]));
  must(c.cu.StreamCreate(&kept, UMEMI_CU_STREAM_NON_BLOCKING));
  must(c.cu.DevicePrimaryCtxReset(1));
  must(c.cu.DevicePrimaryCtxRetain(&again, 1));
  must(c.cu.DevicePrimaryCtxRelease(1));
  c.cu.StreamSynchronize(kept);
  must(c.cu.CtxPopCurrent(NULL));
  return 0;
}

/* --- the program ---------------------------------------------------------- */

static struct {
  char const *role;
  int (*run)(void);
} const programs[] = {
    {"correct", correct},
    {"slot_reused", slot_reused},
    {"no_final_wait", no_final_wait},
    {"unordered", unordered},
    {"unregistered_early", unregistered_early},
    {"past_the_end", past_the_end},
    {"used_after_free", used_after_free},
    {"freed_twice", freed_twice},
    {"dereferenced", dereferenced},
    {"leaked", leaked},
    {"freed_elsewhere", freed_elsewhere},
    {"context_left", context_left},
    {"over_released", over_released},
    {"earlier_life", earlier_life},
};

int planted_run(char const *role) {
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    if (strcmp(programs[i].role, role) != 0)
      continue;
    begin();
    int status = programs[i].run();
    end();
    return status;
  }
  return BROKEN;
}
