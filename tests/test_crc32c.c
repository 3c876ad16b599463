/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC-32C: each implementation against known answers and the definition. */
#include "core.h"

#include "crc32c.h"

typedef uint32_t checksum(uint32_t before, void const *bytes, size_t nbytes);

/* The last one only if this CPU can. */
static checksum *const implementations[] = {umemi_crc32c_portable, umemi_crc32c,
                                            umemi_crc32c_x86};

static size_t usable(void) {
  return LENGTH(implementations) - !umemi_crc32c_x86_usable();
}

/* The x86 code's blocks of three lanes. */
enum { SHORT_BLOCK = 3 * 64, LONG_BLOCK = 3 * 256 };

enum { SHORT = 600, LONG = 80 * LONG_BLOCK + 100, ALIGNMENTS = 16 };

static unsigned char data[LONG];
static uint32_t sums[LONG + 1]; /* [n]: that of the first n bytes of the data */

/* The definition: division by the polynomial, bit by bit. */
static uint32_t divide(uint32_t remainder, unsigned char byte) {
  remainder ^= byte;
  for (int bit = 0; bit < 8; bit++)
    remainder = remainder >> 1 ^ (remainder & 1 ? 0x82F63B78 : 0);
  return remainder;
}

static int compute_sums(void **state) {
  (void)state;
  uint32_t remainder = 0xFFFFFFFF;
  random_bytes(data, sizeof data, 1);
  for (size_t i = 0; i < LONG; i++) {
    remainder = divide(remainder, data[i]);
    sums[i + 1] = ~remainder;
  }
  return 0;
}

static void expect_sum(void const *bytes, size_t nbytes, uint32_t sum) {
  for (size_t i = 0; i < usable(); i++)
    assert_int_equal(implementations[i](0, bytes, nbytes), sum);
}

/* The first bytes of the data, so far past a multiple of 16, and at the end of
   a block, for the sanitizers and valgrind to see what is read past it. */
static void expect_sum_at(size_t past, size_t nbytes) {
  unsigned char *block = malloc(ALIGNMENTS + past + nbytes);
  assert_non_null(block);
  unsigned char *bytes = block + ALIGNMENTS + past;
  memcpy(bytes, data, nbytes);
  expect_sum(bytes, nbytes, sums[nbytes]);
  free(block);
}

/* The first bytes of the data in two parts. */
static void expect_joined(size_t first, size_t nbytes) {
  for (size_t i = 0; i < usable(); i++) {
    uint32_t before = implementations[i](0, data, first);
    assert_int_equal(before, sums[first]);
    assert_int_equal(implementations[i](before, data + first, nbytes - first),
                     sums[nbytes]);
  }
}

static void sums__are_those_of_rfc_3720(void **state) {
  (void)state;
  static unsigned char const read_command[48] = {
      [0] = 0x01,  [1] = 0xC0,  [16] = 0x14, [22] = 0x04,
      [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02,
  };
  unsigned char up[32], down[32];
  for (size_t i = 0; i < sizeof up; i++)
    up[i] = down[sizeof down - 1 - i] = (unsigned char)i;
  expect_sum(up, sizeof up, 0x46DD794E);
  expect_sum(down, sizeof down, 0x113FDB5C);
  expect_sum(memset(up, 0, sizeof up), sizeof up, 0x8A9136AA);
  expect_sum(memset(up, 0xFF, sizeof up), sizeof up, 0x62A8AB43);
  expect_sum(read_command, sizeof read_command, 0xD9963A56);
  expect_sum("123456789", 9, 0xE3069283);
}

static void no_bytes__leave_the_sum_as_it_was(void **state) {
  (void)state;
  for (size_t i = 0; i < usable(); i++) {
    assert_int_equal(implementations[i](0, NULL, 0), 0);
    assert_int_equal(implementations[i](0xE3069283, NULL, 0), 0xE3069283);
    assert_int_equal(implementations[i](0xE3069283, data, 0), 0xE3069283);
  }
}

static void short_sums__follow_the_definition_at_every_alignment(void **state) {
  (void)state;
  for (size_t past = 0; past < ALIGNMENTS; past++)
    for (size_t nbytes = 0; nbytes <= SHORT; nbytes++)
      expect_sum_at(past, nbytes);
}

/* Whole long blocks are whole short ones, too. */
static void sums__follow_the_definition_around_whole_blocks(void **state) {
  (void)state;
  size_t step = SHORT_BLOCK * scaled(1, 4);
  for (size_t whole = step; whole + 9 <= LONG; whole += step)
    for (size_t nbytes = whole - 9; nbytes <= whole + 9; nbytes++)
      expect_sum(data, nbytes, sums[nbytes]);
}

static void long_sums__follow_the_definition_at_random(void **state) {
  (void)state;
  uint64_t seed = 2;
  for (size_t i = 0; i < scaled(2000, 100); i++)
    expect_sum_at(random_below(&seed, ALIGNMENTS),
                  random_below(&seed, LONG + 1));
}

static void
parts__have_the_sum_of_the_whole_wherever_it_is_split(void **state) {
  (void)state;
  for (size_t first = 0; first <= SHORT; first++)
    expect_joined(first, SHORT);
  size_t nbytes = 3 * LONG_BLOCK + SHORT_BLOCK + 13;
  for (size_t first = 0; first <= nbytes; first++)
    expect_joined(first, nbytes);
  for (size_t first = 0; first <= LONG; first += scaled(97, 997))
    expect_joined(first, LONG);
}

static void many_parts__have_the_sum_of_the_whole(void **state) {
  (void)state;
  uint64_t seed = 3;
  for (size_t i = 0; i < usable(); i++) {
    uint32_t sum = 0;
    for (size_t done = 0, part; done < LONG; done += part) {
      part = random_below(&seed, 2 * LONG_BLOCK);
      part = part < LONG - done ? part : LONG - done;
      sum = implementations[i](sum, data + done, part);
      assert_int_equal(sum, sums[done + part]);
    }
  }
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(sums__are_those_of_rfc_3720),
      cmocka_unit_test(no_bytes__leave_the_sum_as_it_was),
      cmocka_unit_test(short_sums__follow_the_definition_at_every_alignment),
      cmocka_unit_test(sums__follow_the_definition_around_whole_blocks),
      cmocka_unit_test(long_sums__follow_the_definition_at_random),
      cmocka_unit_test(parts__have_the_sum_of_the_whole_wherever_it_is_split),
      cmocka_unit_test(many_parts__have_the_sum_of_the_whole),
  };
  return cmocka_run_group_tests(tests, compute_sums, NULL);
}
