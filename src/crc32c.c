/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CRC-32C with tables, eight bytes at a time, and which implementation is for
 * this CPU.
 */
#include "crc32c.h"

/*
 * Remainders are linear, so the 256 of a table follow from those of the 8 bits
 * of a byte, which SPAN_8 takes highest first: all their combinations, in the
 * order of the bytes. The compiler computes the tables, so that there is no
 * moment at which they are not there yet.
 */
#define SPAN_1(c, a) (c), (c) ^ (a)
#define SPAN_2(c, a, b) SPAN_1(c, b), SPAN_1((c) ^ (a), b)
#define SPAN_3(c, a, ...) SPAN_2(c, __VA_ARGS__), SPAN_2((c) ^ (a), __VA_ARGS__)
#define SPAN_4(c, a, ...) SPAN_3(c, __VA_ARGS__), SPAN_3((c) ^ (a), __VA_ARGS__)
#define SPAN_5(c, a, ...) SPAN_4(c, __VA_ARGS__), SPAN_4((c) ^ (a), __VA_ARGS__)
#define SPAN_6(c, a, ...) SPAN_5(c, __VA_ARGS__), SPAN_5((c) ^ (a), __VA_ARGS__)
#define SPAN_7(c, a, ...) SPAN_6(c, __VA_ARGS__), SPAN_6((c) ^ (a), __VA_ARGS__)
#define SPAN_8(c, a, ...) SPAN_7(c, __VA_ARGS__), SPAN_7((c) ^ (a), __VA_ARGS__)

/*
 * [n][byte] is the remainder of `byte` with n zero bytes behind it. What is
 * written here are x^32, x^33, ... x^95 modulo the polynomial, reflected: the
 * first is the polynomial, and each of the others the one before shifted right
 * by 1 and, if a 1 fell out, xored with the first.
 */
static uint32_t const crc32c_tables[8][256] = {
    {SPAN_8(0u, 0x82F63B78, 0x417B1DBC, 0x20BD8EDE, 0x105EC76F, 0x8AD958CF,
            0xC79A971F, 0xE13B70F7, 0xF26B8303)},
    {SPAN_8(0u, 0xFBC3FAF9, 0xFF17C604, 0x7F8BE302, 0x3FC5F181, 0x9D14C3B8,
            0x4E8A61DC, 0x274530EE, 0x13A29877)},
    {SPAN_8(0u, 0x8B277743, 0xC76580D9, 0xE144FB14, 0x70A27D8A, 0x38513EC5,
            0x9EDEA41A, 0x4F6F520D, 0xA541927E)},
    {SPAN_8(0u, 0x52A0C93F, 0xABA65FE7, 0xD725148B, 0xE964B13D, 0xF64463E6,
            0x7B2231F3, 0xBF672381, 0xDD45AAB8)},
    {SPAN_8(0u, 0x6EA2D55C, 0x37516AAE, 0x1BA8B557, 0x8F2261D3, 0xC5670B91,
            0xE045BEB0, 0x7022DF58, 0x38116FAC)},
    {SPAN_8(0u, 0x1C08B7D6, 0x0E045BEB, 0x85F4168D, 0xC00C303E, 0x6006181F,
            0xB2F53777, 0xDB8CA0C3, 0xEF306B19)},
    {SPAN_8(0u, 0xF56E0EF4, 0x7AB7077A, 0x3D5B83BD, 0x9C5BFAA6, 0x4E2DFD53,
            0xA5E0C5D1, 0xD0065990, 0x68032CC8)},
    {SPAN_8(0u, 0x34019664, 0x1A00CB32, 0x0D006599, 0x847609B4, 0x423B04DA,
            0x211D826D, 0x9278FA4E, 0x493C7D27)},
};

/* In one load where the machine's order is that of the checksum. */
static inline uint32_t crc32c_load(unsigned char const *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
         (uint32_t)at[3] << 24;
}

/* The remainder of four bytes and `zeros` zero bytes behind them. */
static inline uint32_t crc32c_four(uint32_t bytes, size_t zeros) {
  return crc32c_tables[zeros + 3][bytes & 0xFF] ^
         crc32c_tables[zeros + 2][bytes >> 8 & 0xFF] ^
         crc32c_tables[zeros + 1][bytes >> 16 & 0xFF] ^
         crc32c_tables[zeros][bytes >> 24];
}

uint32_t umemi_crc32c_portable(uint32_t before, void const *data,
                               size_t nbytes) {
  unsigned char const *at = data;
  uint32_t crc = ~before;
  for (; nbytes >= 8; nbytes -= 8, at += 8)
    crc = crc32c_four(crc ^ crc32c_load(at), 4) ^
          crc32c_four(crc32c_load(at + 4), 0);
  for (; nbytes > 0; nbytes--, at++)
    crc = crc >> 8 ^ crc32c_tables[0][(crc ^ *at) & 0xFF];
  return ~crc;
}

uint32_t umemi_crc32c(uint32_t before, void const *data, size_t nbytes) {
  return umemi_crc32c_x86_usable()
             ? umemi_crc32c_x86(before, data, nbytes)
             : umemi_crc32c_portable(before, data, nbytes);
}
