/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System calls that raise a signal in their thread, which ends the process by
 * default, when they fail: they are made while the signal is blocked, and the
 * one that was raised is taken. What remains is errno.
 */
#include "internal.h"

void umemi_signal_hold(struct umemiHeldSignal *held, int signal) {
  sigset_t pending;
  sigemptyset(&held->signal);
  sigaddset(&held->signal, signal);
  sigpending(&pending);
  held->was_pending = sigismember(&pending, signal) == 1;
  pthread_sigmask(SIG_BLOCK, &held->signal, &held->old_mask);
}

void umemi_signal_release(struct umemiHeldSignal const *held) {
  int saved = errno;
  if (!held->was_pending)
    while (sigtimedwait(&held->signal, NULL, &(struct timespec){0, 0}) < 0 &&
           errno == EINTR)
      continue;
  pthread_sigmask(SIG_SETMASK, &held->old_mask, NULL);
  errno = saved;
}
