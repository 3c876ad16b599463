/* SPDX-License-Identifier: BSD-3-Clause */
/* When a device's driver may be used: not by children of the process that began
   to use it, and not when the process, or the thread, is about to end. */
#include "internal.h"

static atomic_bool exiting;

static void driver_exit(void) {
  atomic_store(&exiting, true);
}

/*
 * exit() destroys the thread-local objects of its thread before it calls
 * handlers, and a driver may crash without its own (rusticl of Mesa 25 does).
 * To know of that takes such an object of ours, as C++ has them.
 */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
extern int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object,
                                    void *library) __attribute__((weak));
extern void *__dso_handle __attribute__((visibility("hidden")));
/* NOLINTEND(bugprone-reserved-identifier) */

static _Thread_local bool thread_is_noted, thread_is_ending;

static void driver_thread_ends(void *ending) {
  *(bool *)ending = true;
}

static bool driver_thread_is_alive(void) {
  if (UMEMI_LIKELY(thread_is_noted))
    return !thread_is_ending;
  thread_is_noted = true;
  if (__cxa_thread_atexit_impl)
    __cxa_thread_atexit_impl(driver_thread_ends, &thread_is_ending,
                             &__dso_handle);
  return true;
}

void umemi_driver_started(struct umemiDriver *driver) {
  uint64_t none = 0;
  if (atomic_compare_exchange_strong(&driver->process, &none, umemi_process()))
    atexit(driver_exit);
}

bool umemi_driver_is_usable(struct umemiDriver const *driver) {
  return !atomic_load_explicit(&exiting, memory_order_relaxed) &&
         atomic_load_explicit(&driver->process, memory_order_relaxed) ==
             umemi_process() &&
         (!driver->has_thread_data || driver_thread_is_alive());
}

umemStatusType umemi_driver_guard(struct umemiDriver const *driver,
                                  umemError *error) {
  if (UMEMI_LIKELY(umemi_driver_is_usable(driver)))
    return umemOK;
  if (atomic_load(&exiting))
    return umem_error_fill(error, umemRuntimeError, 0, 0,
                           "the process is exiting, and %s with it",
                           driver->name);
  if (driver->has_thread_data && thread_is_ending)
    return umem_error_fill(error, umemRuntimeError, 0, 0,
                           "the thread is ending, or the process is exiting, "
                           "and %s with it",
                           driver->name);
  return umem_error_fill(error, umemRuntimeError, 0, 0,
                         "%s cannot be used after fork(): the parent used it. "
                         "Fork first, or exec() in the child",
                         driver->name);
}
