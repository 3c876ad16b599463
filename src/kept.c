/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Things that are kept for the next one who needs such. Taken by exchange and
 * given back by compare-and-swap: no lock, and nothing that fork() could catch
 * half-way.
 */
#include "internal.h"

void *umemi_kept_take(_Atomic(void *) *kept, size_t count) {
  for (size_t i = 0; i < count; i++) {
    void *thing = atomic_exchange(&kept[i], NULL);
    if (thing)
      return thing;
  }
  return NULL;
}

bool umemi_kept_give(_Atomic(void *) *kept, size_t count, void *thing) {
  for (size_t i = 0; i < count; i++) {
    void *none = NULL;
    if (atomic_compare_exchange_strong(&kept[i], &none, thing))
      return true;
  }
  return false;
}
