/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * x86-64 with AVX2. Loads may lie anywhere, stores are aligned: the ends are
 * copied by stores that overlap the loop's.
 *
 * Why not memcpy(): glibc uses `rep movsb` from about 2 KiB on, which falls to
 * a twentieth of its speed where the destination lies 1 to 63 bytes behind the
 * source modulo 4096; and it writes through the caches up to a size that it
 * computes from a wrong cache size. AVX-512, more streams and prefetching were
 * not faster.
 */
#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>

#define AVX2 __attribute__((target("avx2")))

enum { LINE = 64, BLOCK = 2 * LINE };

/* Four registers; in a macro, because a struct of them would go to memory. */
#define BLOCK_LOAD(name, src)                                                  \
  __m256i const *name##_at = (__m256i const *)(src);                           \
  __m256i name##_0 = _mm256_loadu_si256(name##_at),                            \
          name##_1 = _mm256_loadu_si256(name##_at + 1),                        \
          name##_2 = _mm256_loadu_si256(name##_at + 2),                        \
          name##_3 = _mm256_loadu_si256(name##_at + 3)

#define BLOCK_STORE(store, dest, name)                                         \
  do {                                                                         \
    __m256i *to_ = (__m256i *)(dest);                                          \
    store(to_, name##_0);                                                      \
    store(to_ + 1, name##_1);                                                  \
    store(to_ + 2, name##_2);                                                  \
    store(to_ + 3, name##_3);                                                  \
  } while (0)

/* One loop for both: `streams` is known when it is compiled. */
AVX2 static inline __attribute__((always_inline)) void
avx2_move(void *dest, void const *src, size_t nbytes, bool streams) {
  char *to = dest, *end = to + nbytes;
  char const *from = src;
  size_t head = LINE - (uintptr_t)to % LINE;
  BLOCK_LOAD(first, from);
  BLOCK_LOAD(last, from + nbytes - BLOCK);
  BLOCK_STORE(_mm256_storeu_si256, to, first);
  for (to += head, from += head; to + BLOCK < end; to += BLOCK, from += BLOCK) {
    BLOCK_LOAD(block, from);
    if (streams)
      BLOCK_STORE(_mm256_stream_si256, to, block);
    else
      BLOCK_STORE(_mm256_store_si256, to, block);
  }
  if (streams)
    _mm_sfence(); /* streamed stores are ordered with nothing else */
  BLOCK_STORE(_mm256_storeu_si256, end - BLOCK, last);
}

AVX2 static void avx2_copy(void *dest, void const *src, size_t nbytes) {
  avx2_move(dest, src, nbytes, false);
}

AVX2 static void avx2_stream(void *dest, void const *src, size_t nbytes) {
  avx2_move(dest, src, nbytes, true);
}

struct umemiKernels const *umemi_kernels_avx2(void) {
  static struct umemiKernels const avx2 = {avx2_copy, avx2_stream};
  return __builtin_cpu_supports("avx2") ? &avx2 : NULL;
}

#else

struct umemiKernels const *umemi_kernels_avx2(void) {
  return NULL;
}

#endif
