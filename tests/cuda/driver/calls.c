/* SPDX-License-Identifier: BSD-3-Clause */
/* How each call begins and ends, and the life of the driver in a process. */
#include "inner.h"

#include <stdlib.h>
#include <unistd.h>

struct sim sim = {.lock = PTHREAD_MUTEX_INITIALIZER};

#define SIM_SYMBOL(name, symbol, parameters) [FN_##symbol] = #symbol,
static char const *const symbols[FUNCTIONS] = {SIM_FUNCTIONS(SIM_SYMBOL)};

char const *sim_symbol(enum function function) {
  return symbols[function];
}

void sim_lock(void) {
  pthread_mutex_lock(&sim.lock);
}

void sim_unlock(void) {
  pthread_mutex_unlock(&sim.lock);
}

/* --- calls ---------------------------------------------------------------- */

/* Read without the lock, which a forked child may find taken for ever. */
static pid_t process(void) {
  return __atomic_load_n(&sim.process, __ATOMIC_RELAXED);
}

static bool is_forked(void) {
  return process() && process() != getpid();
}

static cuCode life_code(unsigned needs) {
  if (sim.exiting)
    return UMEMI_CUDA_ERROR_DEINITIALIZED;
  if (!process() && !(needs & UNREADY))
    return UMEMI_CUDA_ERROR_NOT_INITIALIZED;
  return UMEMI_CUDA_SUCCESS;
}

static cuCode enter_code(enum function function, unsigned needs) {
  cuCode code = life_code(needs);
  if (code)
    return code;
  sim.calling = function;
  code = sim_script_call(function);
  if (code)
    return code;
  sim_work_randomly();
  if (needs & IN_CONTEXT)
    code = sim_current_code();
  if (!code && needs & UNSAFE)
    code = sim_capture_unsafe();
  return code;
}

cuCode sim_enter(enum function function, unsigned needs) {
  if (is_forked())
    return UMEMI_CUDA_ERROR_NOT_INITIALIZED;
  sim_lock();
  cuCode code = enter_code(function, needs);
  if (code)
    sim_unlock();
  return code;
}

cuCode sim_leave(cuCode code) {
  code = sim_script_result(code);
  sim_unlock();
  return code;
}

/* --- life ----------------------------------------------------------------- */

/* Like the real driver's: what was registered later has run before. */
static void shut_down(void) {
  if (is_forked())
    return;
  sim_lock();
  sim.exiting = true;
  sim_unlock();
}

static void start(void) {
  sim_arena_reserve(&sim.host);
  for (int i = 0; i < sim.device_count; i++) {
    sim_arena_reserve(&sim.devices[i].arena);
    sim_context_init(&sim.devices[i].primary, i);
  }
  atexit(shut_down);
  __atomic_store_n(&sim.process, getpid(), __ATOMIC_RELAXED);
}

cuCode cuInit(unsigned flags) {
  ENTER(cuInit, UNREADY);
  if (flags)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  if (!sim.device_count)
    return sim_leave(UMEMI_CUDA_ERROR_NO_DEVICE);
  if (!process())
    start();
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* After the handlers of exit(), when nothing calls any more. */
__attribute__((destructor)) static void end(void) {
  if (process() && !is_forked())
    sim_report_exit();
}
