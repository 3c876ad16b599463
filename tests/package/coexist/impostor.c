/* SPDX-License-Identifier: BSD-3-Clause */
/* Stands in for the libumem.so.0 of Solaris: whoever calls it is lost. */
#include <stdio.h>
#include <stdlib.h>

#define IMPOSTOR(name)                                                         \
  void name(void);                                                             \
  void name(void) {                                                            \
    fputs(#name " of libumem.so.0 was called\n", stderr);                      \
    abort();                                                                   \
  }

IMPOSTOR(umem_alloc)
IMPOSTOR(umem_alloc_align)
IMPOSTOR(umem_zalloc)
IMPOSTOR(umem_free)
IMPOSTOR(umem_free_align)
IMPOSTOR(umem_init)
IMPOSTOR(umem_cache_create)
IMPOSTOR(umem_cache_alloc)
IMPOSTOR(umem_cache_free)
IMPOSTOR(umem_cache_destroy)
IMPOSTOR(umem_nofail_callback)

__attribute__((constructor)) static void announce(void) {
  fputs("impostor loaded\n", stderr);
}
