/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls are counted, and fail where a test says so. */
#include "inner.h"

#include <string.h>

/* One failure to come: `at` counts down. */
struct fault {
  long at; /* 0: none */
  cuCode code;
  unsigned how;
};

static struct fault faults[FUNCTIONS + 1], work; /* the last is for all */
static long calls[FUNCTIONS + 1];
static char const *failed; /* the symbol */
static cuCode afterwards;  /* what the call that runs now tells */

/* FUNCTIONS stands for all; more is none. */
static int number_of(char const *symbol) {
  int number = 0;
  if (!symbol)
    return FUNCTIONS;
  while (number < FUNCTIONS &&
         strcmp(symbol, sim_symbol((enum function)number)) != 0)
    number++;
  return number < FUNCTIONS ? number : FUNCTIONS + 1;
}

/* Does it strike now? */
static bool fault_strikes(struct fault *fault) {
  if (!fault->at || fault->at-- > 1)
    return false;
  if (fault->how & SIMCU_FROM_THEN_ON)
    fault->at = 1;
  return true;
}

static void poison_current(cuCode code) {
  struct context *context = sim_current();
  if (context)
    sim_poison(context, code);
}

static cuCode call_fails(enum function function, struct fault const *fault) {
  failed = sim_symbol(function);
  if (fault->how & SIMCU_AFTER) {
    afterwards = fault->code;
    return UMEMI_CUDA_SUCCESS;
  }
  poison_current(fault->code);
  return fault->code;
}

cuCode sim_script_call(enum function function) {
  calls[function]++;
  calls[FUNCTIONS]++;
  afterwards = UMEMI_CUDA_SUCCESS;
  bool own = fault_strikes(&faults[function]);
  bool common = fault_strikes(&faults[FUNCTIONS]);
  if (own)
    return call_fails(function, &faults[function]);
  return common ? call_fails(function, &faults[FUNCTIONS]) : UMEMI_CUDA_SUCCESS;
}

cuCode sim_script_result(cuCode code) {
  cuCode told = afterwards;
  afterwards = UMEMI_CUDA_SUCCESS;
  if (told)
    poison_current(told);
  return told ? told : code;
}

cuCode sim_script_work(void) {
  return fault_strikes(&work) ? work.code : UMEMI_CUDA_SUCCESS;
}

void sim_script_forget(void) {
  memset(faults, 0, sizeof faults);
  memset(calls, 0, sizeof calls);
  work = (struct fault){.at = 0};
  failed = NULL;
}

/* --- controls ------------------------------------------------------------- */

void simcu_inject(char const *symbol, long nth, cuCode code, unsigned how) {
  int number = number_of(symbol);
  sim_lock();
  if (number <= FUNCTIONS)
    faults[number] = (struct fault){nth, code, how};
  else
    sim_violation("simcu_inject() knows no %s", symbol);
  sim_unlock();
}

void simcu_inject_work(long nth, cuCode code) {
  sim_lock();
  work = (struct fault){nth, code, SIMCU_ONCE};
  sim_unlock();
}

char const *simcu_injected(void) {
  sim_lock();
  char const *symbol = failed;
  sim_unlock();
  return symbol;
}

long simcu_calls(char const *symbol) {
  int number = number_of(symbol);
  sim_lock();
  long count = number <= FUNCTIONS ? calls[number] : 0;
  sim_unlock();
  return count;
}
