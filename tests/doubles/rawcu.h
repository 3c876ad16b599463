/* SPDX-License-Identifier: BSD-3-Clause */
/* CUDA past the library under test: the functions of libcuda.so.1, and the
   bytes behind an address. */
#ifndef UMEM_TESTS_RAWCU_H
#define UMEM_TESTS_RAWCU_H

#include "umem.h"

#include "../../src/gpu/cu.h"

/* All of them; a test that gets here has a driver. */
struct umemiCu const *rawcu(void);
/* Of any device's memory. Wait for what is in the default stream. */
void rawcu_read(uintptr_t adr, void *out, size_t nbytes);
void rawcu_write(uintptr_t adr, void const *in, size_t nbytes);

#endif
