/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CRC-32C (Castagnoli), the checksum of iSCSI, ext4 and SCTP: polynomial
 * 0x1EDC6F41, bits reflected, all ones before and after.
 */
#ifndef UMEMI_CRC32C_H
#define UMEMI_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The checksum of `nbytes` bytes that follow those with the checksum `before`;
 * 0 if none do. `data` may be NULL if `nbytes` is 0.
 */
uint32_t umemi_crc32c(uint32_t before, void const *data, size_t nbytes);

/* What it chooses from: the same results everywhere. */
uint32_t umemi_crc32c_portable(uint32_t before, void const *data,
                               size_t nbytes);
/* Only if umemi_crc32c_x86_usable(), or where this is no x86-64. */
uint32_t umemi_crc32c_x86(uint32_t before, void const *data, size_t nbytes);
bool umemi_crc32c_x86_usable(void);

#endif
