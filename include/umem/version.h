/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * Version and ABI promise of libumem.
 *
 * Versions are MAJOR.MINOR.PATCH. Within the SONAME `libumem.so.any0` a newer
 * library runs every program that was linked against an older one: functions
 * are only added, `umemVirtual` and `umemError` never change their size, and
 * every other public struct starts with the size its caller was compiled with.
 * `struct umemVtbl` of umem/backend.h may still change before 1.0.0.
 */
#ifndef UMEM_VERSION_H
#define UMEM_VERSION_H

#define UMEM_VERSION_MAJOR 0
#define UMEM_VERSION_MINOR 1
#define UMEM_VERSION_PATCH 0
#define UMEM_VERSION_STRING "0.1.0"

/** Version of this header as one number: 10000 MAJOR + 100 MINOR + PATCH. */
#define UMEM_VERSION                                                           \
  (UMEM_VERSION_MAJOR * 10000 + UMEM_VERSION_MINOR * 100 + UMEM_VERSION_PATCH)

#endif
