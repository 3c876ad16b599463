/* SPDX-License-Identifier: BSD-3-Clause */
/* Copy loops for one CPU family each; hostcopy.c says which is for when. */
#ifndef UMEMI_KERNELS_H
#define UMEMI_KERNELS_H

#include <stddef.h>

struct umemiKernels {
  /* At least UMEMI_KERNEL_LEAST bytes, ranges apart. */
  void (*copy)(void *dest, void const *src, size_t nbytes);
  /* The same past the caches: what is written is not there to be read next. */
  void (*stream)(void *dest, void const *src, size_t nbytes);
};

enum { UMEMI_KERNEL_LEAST = 256 };

/* NULL where this CPU is another. */
struct umemiKernels const *umemi_kernels_avx2(void);

#endif
