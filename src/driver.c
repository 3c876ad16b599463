/* SPDX-License-Identifier: BSD-3-Clause */
/* When a device's driver may be used: not by children of the process that began
   to use it, and not when the process is about to end. */
#include "internal.h"

static atomic_bool exiting;

static void driver_exit(void) {
  atomic_store(&exiting, true);
}

void umemi_driver_started(struct umemiDriver *driver) {
  uint64_t none = 0;
  if (atomic_compare_exchange_strong(&driver->process, &none, umemi_process()))
    atexit(driver_exit);
}

bool umemi_driver_is_usable(struct umemiDriver const *driver) {
  return !atomic_load_explicit(&exiting, memory_order_relaxed) &&
         atomic_load_explicit(&driver->process, memory_order_relaxed) ==
             umemi_process();
}

umemStatusType umemi_driver_guard(struct umemiDriver const *driver,
                                  umemError *error) {
  if (UMEMI_LIKELY(umemi_driver_is_usable(driver)))
    return umemOK;
  if (atomic_load(&exiting))
    return umem_error_fill(error, umemRuntimeError, 0, 0,
                           "the process is exiting, and %s with it",
                           driver->name);
  return umem_error_fill(error, umemRuntimeError, 0, 0,
                         "%s cannot be used after fork(): the parent used it. "
                         "Fork first, or exec() in the child",
                         driver->name);
}
