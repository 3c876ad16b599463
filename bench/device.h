/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A foreign kind of context for the benchmarks: memory that host pointers do
 * not reach, so that all copies from and to it are staged.
 *
 * Paced, it has one transfer engine with a queue, which takes the time that a
 * bus would: whoever calls copies the bytes, and then sleeps until the engine
 * would be through.
 */
#ifndef BENCH_DEVICE_H
#define BENCH_DEVICE_H

#include "bench.h"

#include <pthread.h>
#include <stdatomic.h>

/* A device's first address: no pointer and no offset looks like it. */
#define DEVICE_BASE ((uintptr_t)1 << 52)

struct device {
  umemVirtual ctx;
  unsigned char *bytes;
  size_t size; /* of the memory behind it; addresses wrap at its end */
  double pace; /* bytes per ns; 0: as fast as the processor copies */
  pthread_mutex_t engine;
  double free_at; /* when the engine has done all that is queued, in ns */
  /* What the library did: */
  atomic_size_t ncalls;       /* reads and writes */
  atomic_size_t nbytes;       /* in them */
  atomic_size_t largest_call; /* bytes */
};

/* Constructs device->ctx on memory of its own, which is all zeros. */
void device_begin(struct device *device, size_t size, double pace);
void device_end(struct device *device);

/* Forgets what the library did. */
void device_forget(struct device *device);

/* The methods, for those who go without the library. */
void device_read(struct device *device, size_t at, void *out, size_t nbytes);
void device_write(struct device *device, size_t at, void const *in,
                  size_t nbytes);

#endif
