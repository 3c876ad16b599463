/* SPDX-License-Identifier: BSD-3-Clause */
/* Counts of calls, and which of them fail. */
#include "inner.h"

#include <pthread.h>
#include <string.h>

/* Calls number first ... last. */
struct script {
  unsigned first, last;
  clInt code;
};

/* Those of one function, and behind them those of all. */
enum { ALL = SHIM_CALL_COUNT };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct script scripts[ALL + 1], event_script;
static unsigned counts[ALL + 1], failed[ALL + 1], event_count;

/* What comes before call number `number` of a function. */
static struct {
  unsigned call, number;
  void (*run)(void); /* NULL: nothing */
} intruder;

static struct {
  unsigned what; /* 0: none */
  uint64_t number;
} known;

#define SHIM_NAME(result, name, parameters, arguments) #name,
static char const *const names[] = {SHIM_FUNCTIONS(SHIM_NAME)};
#undef SHIM_NAME

static clInt script_due(struct script const *script, unsigned number) {
  bool due = number >= script->first && number <= script->last;
  return due ? script->code : 0;
}

static void note_failure(enum shim_call call) {
  failed[call]++;
  failed[ALL]++;
}

/* Once, and without the lock: it may call anything. */
static void let_in(enum shim_call call) {
  void (*run)(void) = NULL;
  pthread_mutex_lock(&lock);
  if (intruder.call == (unsigned)call && intruder.number == counts[call] + 1) {
    run = intruder.run;
    intruder.run = NULL;
  }
  pthread_mutex_unlock(&lock);
  if (run)
    run();
}

clInt shim_due(enum shim_call call) {
  let_in(call);
  pthread_mutex_lock(&lock);
  clInt own = script_due(&scripts[call], ++counts[call]);
  clInt common = script_due(&scripts[ALL], ++counts[ALL]);
  if (own || common)
    note_failure(call);
  pthread_mutex_unlock(&lock);
  return own ? own : common;
}

clInt shim_event_due(enum shim_call call) {
  pthread_mutex_lock(&lock);
  clInt code = script_due(&event_script, ++event_count);
  if (code)
    note_failure(call);
  pthread_mutex_unlock(&lock);
  return code;
}

/* ALL of NULL, and of what is no function. */
static unsigned number_of(char const *name) {
  for (unsigned i = 0; name && i < ALL; i++)
    if (strcmp(names[i], name) == 0)
      return i;
  return ALL;
}

void shim_clear(void) {
  pthread_mutex_lock(&lock);
  memset(scripts, 0, sizeof scripts);
  memset(&event_script, 0, sizeof event_script);
  memset(counts, 0, sizeof counts);
  memset(failed, 0, sizeof failed);
  event_count = 0;
  intruder.run = NULL;
  known.what = 0;
  pthread_mutex_unlock(&lock);
}

void shim_fail(char const *name, unsigned k, int code, bool for_ever) {
  unsigned number = number_of(name);
  pthread_mutex_lock(&lock);
  unsigned first = counts[number] + k;
  scripts[number] = (struct script){first, for_ever ? UINT_MAX : first, code};
  pthread_mutex_unlock(&lock);
}

void shim_fail_event(unsigned k, int code) {
  pthread_mutex_lock(&lock);
  unsigned first = event_count + k;
  event_script = (struct script){first, first, code};
  pthread_mutex_unlock(&lock);
}

void shim_before(char const *name, unsigned k, void (*run)(void)) {
  unsigned number = number_of(name);
  pthread_mutex_lock(&lock);
  intruder.call = number;
  intruder.number = counts[number] + k;
  intruder.run = run;
  pthread_mutex_unlock(&lock);
}

void shim_answer(unsigned what, uint64_t number) {
  pthread_mutex_lock(&lock);
  known.what = what;
  known.number = number;
  pthread_mutex_unlock(&lock);
}

bool shim_answered(unsigned what, uint64_t *number_out) {
  pthread_mutex_lock(&lock);
  bool answered = what == known.what;
  *number_out = known.number;
  pthread_mutex_unlock(&lock);
  return answered;
}

unsigned shim_calls(char const *name) {
  pthread_mutex_lock(&lock);
  unsigned count = counts[number_of(name)];
  pthread_mutex_unlock(&lock);
  return count;
}

unsigned shim_events(void) {
  pthread_mutex_lock(&lock);
  unsigned count = event_count;
  pthread_mutex_unlock(&lock);
  return count;
}

unsigned shim_failures(char const *name) {
  pthread_mutex_lock(&lock);
  unsigned count = failed[number_of(name)];
  pthread_mutex_unlock(&lock);
  return count;
}

char const *shim_name(size_t index) {
  return index < ALL ? names[index] : NULL;
}
