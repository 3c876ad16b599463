/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CRC-32C on x86-64 with SSE4.2, whose crc32 instruction can start every cycle
 * but takes three: a block is three lanes of equal length, one behind the
 * other, with a remainder each, that are joined at its end.
 */
#include "crc32c.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <string.h>
#include <wmmintrin.h>

#define CRC32C_X86 __attribute__((target("sse4.2,pclmul")))

/*
 * Lanes of n bytes are joined by multiplying the remainder of an earlier one by
 * x^(8n), modulo the polynomial, for the n bytes that follow. The factor is
 * x^(8n - 33): the product of two reflected remainders comes out multiplied by
 * x, and the crc32 instruction that reduces it multiplies by x^32. x^m is made
 * from 0x80000000, which is x^0, by m times shifting right by 1 and, if a 1
 * fell out, xoring with 0x82F63B78.
 */
struct x86_lanes {
  size_t nbytes;
  uint32_t one_on, two_on; /* factors for so many lanes that follow */
};

/*
 * Longer lanes are up to an eighth faster in the caches. But of bytes that come
 * from memory, lanes of 512 were three times slower than lanes of 256 (Zen 4),
 * which its prefetchers take for one stream. Short lanes are for the rest, and
 * for short inputs.
 */
static struct x86_lanes const x86_lanes[] = {
    {256, 0xB9E02B86, 0xDD7E3B0C},
    {64, 0x9E4ADDF8, 0x0D3B6092},
};

CRC32C_X86 static inline uint64_t x86_word(uint64_t crc,
                                           unsigned char const *at) {
  uint64_t word;
  memcpy(&word, at, sizeof word);
  return _mm_crc32_u64(crc, word);
}

CRC32C_X86 static inline __m128i x86_product(uint64_t crc, uint32_t factor) {
  return _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                              _mm_cvtsi32_si128((int)factor), 0);
}

/* Of three lanes. */
CRC32C_X86 static inline uint64_t x86_block(uint64_t crc,
                                            unsigned char const *at,
                                            struct x86_lanes const *lanes) {
  uint64_t second = 0, third = 0;
  size_t lane = lanes->nbytes;
  for (unsigned char const *end = at + lane; at < end; at += sizeof crc) {
    crc = x86_word(crc, at);
    second = x86_word(second, at + lane);
    third = x86_word(third, at + 2 * lane);
  }
  __m128i sum = _mm_xor_si128(x86_product(crc, lanes->two_on),
                              x86_product(second, lanes->one_on));
  return third ^ _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(sum));
}

CRC32C_X86 uint32_t umemi_crc32c_x86(uint32_t before, void const *data,
                                     size_t nbytes) {
  unsigned char const *at = data;
  uint64_t crc = ~before;
  for (size_t i = 0; i < sizeof x86_lanes / sizeof *x86_lanes; i++) {
    size_t block = 3 * x86_lanes[i].nbytes;
    for (; nbytes >= block; nbytes -= block, at += block)
      crc = x86_block(crc, at, &x86_lanes[i]);
  }
  for (; nbytes >= sizeof crc; nbytes -= sizeof crc, at += sizeof crc)
    crc = x86_word(crc, at);
  for (; nbytes > 0; nbytes--, at++)
    crc = _mm_crc32_u8((uint32_t)crc, *at);
  return ~(uint32_t)crc;
}

/* The CPU has been asked when the library was loaded: this reads a word. A
   constructor that runs even before gets false, which is only slower. */
bool umemi_crc32c_x86_usable(void) {
  return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

#else

uint32_t umemi_crc32c_x86(uint32_t before, void const *data, size_t nbytes) {
  return umemi_crc32c_portable(before, data, nbytes);
}

bool umemi_crc32c_x86_usable(void) {
  return false;
}

#endif
