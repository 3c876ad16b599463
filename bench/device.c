/* SPDX-License-Identifier: BSD-3-Clause */
/* A foreign kind of context; see device.h. */
#define _GNU_SOURCE
#include "device.h"

#include "raw.h"

#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <umem/backend.h>

enum { DEVICE_TYPE = umemForeignDevice + 77 };

/* --- the engine ----------------------------------------------------------- */

/* Takes the engine's next free time; returns when it will be through. */
static double engine_book(struct device *device, size_t nbytes) {
  if (device->pace <= 0)
    return 0;
  pthread_mutex_lock(&device->engine);
  double now = bench_now();
  if (device->free_at < now)
    device->free_at = now;
  device->free_at += (double)nbytes / device->pace;
  double end = device->free_at;
  pthread_mutex_unlock(&device->engine);
  return end;
}

static void engine_wait(struct device *device, double end) {
  if (device->pace <= 0)
    return;
  struct timespec until = {.tv_sec = (time_t)(end / 1e9)};
  until.tv_nsec = (long)(end - 1e9 * (double)until.tv_sec);
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL))
    continue;
}

/* How much of `nbytes` lies before the end of the memory. */
static size_t before_end(struct device const *device, size_t at,
                         size_t nbytes) {
  size_t left = device->size - at % device->size;
  return nbytes < left ? nbytes : left;
}

void device_read(struct device *device, size_t at, void *out, size_t nbytes) {
  double end = engine_book(device, nbytes);
  size_t length;
  for (size_t done = 0; done < nbytes; done += length) {
    length = before_end(device, at + done, nbytes - done);
    memcpy((char *)out + done, device->bytes + (at + done) % device->size,
           length);
  }
  engine_wait(device, end);
}

void device_write(struct device *device, size_t at, void const *in,
                  size_t nbytes) {
  double end = engine_book(device, nbytes);
  size_t length;
  for (size_t done = 0; done < nbytes; done += length) {
    length = before_end(device, at + done, nbytes - done);
    memcpy(device->bytes + (at + done) % device->size, (char const *)in + done,
           length);
  }
  engine_wait(device, end);
}

/* --- the backend ---------------------------------------------------------- */

static void count_call(struct device *device, size_t nbytes) {
  size_t largest = atomic_load(&device->largest_call);
  while (nbytes > largest &&
         !atomic_compare_exchange_weak(&device->largest_call, &largest, nbytes))
    continue;
  atomic_fetch_add(&device->ncalls, 1);
  atomic_fetch_add(&device->nbytes, nbytes);
}

static umemStatusType backend_read(void *state, uintptr_t adr, void *out,
                                   size_t nbytes, umemError *error) {
  (void)error;
  count_call(state, nbytes);
  device_read(state, adr - DEVICE_BASE, out, nbytes);
  return umemOK;
}

static umemStatusType backend_write(void *state, uintptr_t adr, void const *in,
                                    size_t nbytes, umemError *error) {
  (void)error;
  count_call(state, nbytes);
  device_write(state, adr - DEVICE_BASE, in, nbytes);
  return umemOK;
}

static umemStatusType backend_dtor(void *state, umemError *error) {
  (void)state, (void)error;
  return umemOK;
}

static umemStatusType backend_alloc(void *state, size_t nbytes,
                                    size_t alignment, uintptr_t *adr_out,
                                    umemError *error) {
  (void)state, (void)nbytes, (void)alignment, (void)adr_out;
  return umem_error_fill(error, umemMemoryError, 0, 0,
                         "the whole device is in use");
}

static umemStatusType backend_free(void *state, uintptr_t adr, size_t nbytes,
                                   umemError *error) {
  (void)state, (void)adr, (void)nbytes, (void)error;
  return umemOK;
}

static size_t backend_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  out[0] = (umemSpace){UMEM_SPACE_PRIVATE, {(uint64_t)(uintptr_t)state}};
  return 1;
}

/* Two calls in flight keep the engine busy. */
static void backend_limits(void *state, unsigned access, uintptr_t adr,
                           size_t nbytes, struct umemLimits *out) {
  struct device const *device = state;
  (void)access, (void)adr, (void)nbytes;
  out->waits = device->pace > 0;
  out->lanes = device->pace > 0 ? 2 : 1;
}

static struct umemVtbl const vtbl = {
    .size = sizeof(struct umemVtbl),
    .type = (umemDeviceType)DEVICE_TYPE,
    .name = "Bench",
    .dtor = backend_dtor,
    .alloc = backend_alloc,
    .free = backend_free,
    .read = backend_read,
    .write = backend_write,
    .spaces = backend_spaces,
    .limits = backend_limits,
};

void device_begin(struct device *device, size_t size, double pace) {
  memset(device, 0, sizeof *device);
  device->bytes = raw_map(size);
  device->size = size;
  device->pace = pace;
  pthread_mutex_init(&device->engine, NULL);
  /* Threads to come sleep as exactly as this one. */
  prctl(PR_SET_TIMERSLACK, 1);
  bench_need_ok(umemVirtual_ctor_ex(&device->ctx, &vtbl, device), &device->ctx);
}

void device_end(struct device *device) {
  umem_dtor(&device->ctx);
  pthread_mutex_destroy(&device->engine);
  raw_unmap(device->bytes, device->size);
}

void device_forget(struct device *device) {
  atomic_store(&device->ncalls, 0);
  atomic_store(&device->nbytes, 0);
  atomic_store(&device->largest_call, 0);
}
