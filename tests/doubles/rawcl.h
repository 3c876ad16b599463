/* SPDX-License-Identifier: BSD-3-Clause */
/* OpenCL past the library under test: the functions of libOpenCL.so.1, and the
   bytes behind an address of a umemOpenCL. */
#ifndef UMEM_TESTS_RAWCL_H
#define UMEM_TESTS_RAWCL_H

#include "umem.h"

#include "../../src/opencl/cl.h"

/* All of them; a test that gets here has a device. */
struct umemiCl const *rawcl(void);
void rawcl_read(umemOpenCL const *ctx, uintptr_t adr, void *out, size_t nbytes);
void rawcl_write(umemOpenCL const *ctx, uintptr_t adr, void const *in,
                 size_t nbytes);

#endif
