/* SPDX-License-Identifier: BSD-3-Clause */
/* What the simulation found: violations, and what is live at the end. */
#include "inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEPT = 64, TEXT = 256, SHOWN = 8 };

static char texts[KEPT][TEXT];
static int count;

static char const *const kinds[SIMCU_KINDS] = {
    [SIMCU_DEVICE] = "device blocks",
    [SIMCU_POOLED] = "pool blocks",
    [SIMCU_IMPORTED] = "imported blocks",
    [SIMCU_MANAGED] = "managed blocks",
    [SIMCU_PINNED] = "pinned blocks",
    [SIMCU_REGISTERED] = "registered ranges",
    [SIMCU_STREAMS] = "streams",
    [SIMCU_EVENTS] = "events",
    [SIMCU_POOLS] = "pools",
    [SIMCU_CONTEXTS] = "contexts",
    [SIMCU_RETAINS] = "retained primary contexts",
};

void sim_violation(char const *format, ...) {
  char text[TEXT];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  char *kept = count < KEPT ? texts[count] : text;
  if (kept != text)
    snprintf(kept, TEXT, "%s: %.200s", sim_symbol(sim.calling), text);
  fprintf(stderr, "simcu: VIOLATION: %s\n", kept);
  count++;
}

/* --- leaks ---------------------------------------------------------------- */

/* What a fatal error leaves behind cannot be freed: it is nobody's leak. */
static bool is_forgiven(struct context const *context) {
  return context->sticky != UMEMI_CUDA_SUCCESS;
}

struct leaks {
  size_t blocks, shown;
};

static void leak_block(struct block *block, void *argument) {
  struct leaks *leaks = argument;
  if (block->dying || is_forgiven(block->context))
    return;
  leaks->blocks++;
  if (leaks->shown++ < SHOWN)
    fprintf(stderr, "simcu: live: %zu bytes at %#zx of %s\n", block->nbytes,
            (size_t)block->start, sim_symbol(block->function));
}

static size_t live_blocks(void) {
  struct leaks leaks = {.shown = 0};
  sim_block_each(leak_block, &leaks);
  return leaks.blocks;
}

static bool any_poisoned(void) {
  for (int i = 0; i < sim.device_count; i++)
    if (is_forgiven(&sim.devices[i].primary))
      return true;
  return false;
}

/* All or nothing: which of them belong to a context with a fatal error is not
   worth knowing. */
static size_t live_handles(void) {
  size_t sum = 0;
  for (int kind = SIMCU_STREAMS; kind <= SIMCU_CONTEXTS; kind++) {
    if (sim.live[kind] && !any_poisoned())
      fprintf(stderr, "simcu: live: %zu %s\n", sim.live[kind], kinds[kind]);
    sum += any_poisoned() ? 0 : sim.live[kind];
  }
  return sum;
}

static size_t live_retains(void) {
  if (sim.live[SIMCU_RETAINS])
    fprintf(stderr, "simcu: live: %zu %s\n", sim.live[SIMCU_RETAINS],
            kinds[SIMCU_RETAINS]);
  return sim.live[SIMCU_RETAINS];
}

/* --- at exit -------------------------------------------------------------- */

struct findings {
  size_t violations, memory, handles, retains, stack;
};

static size_t leaks_of(struct findings const *found) {
  return found->memory + found->handles + found->retains + found->stack;
}

static struct findings look(void) {
  struct findings found = {.violations = (size_t)count};
  found.memory = live_blocks();
  found.handles = live_handles();
  found.retains = live_retains();
  found.stack = (size_t)simcu_stack_depth();
  fprintf(stderr,
          "simcu: %zu violations; live: %zu blocks, %zu handles, %zu retains; "
          "%zu current contexts\n",
          found.violations, found.memory, found.handles, found.retains,
          found.stack);
  return found;
}

static bool is_wanted(char const *wanted, char const *word, size_t found) {
  return found && (strcmp(wanted, "1") == 0 || strstr(wanted, word));
}

static bool is_failure(char const *wanted, struct findings const *found) {
  return is_wanted(wanted, "violations", found->violations) ||
         is_wanted(wanted, "memory", found->memory) ||
         is_wanted(wanted, "handles", found->handles) ||
         is_wanted(wanted, "retains", found->retains) ||
         is_wanted(wanted, "stack", found->stack);
}

static bool has_something_to_say(void) {
  for (int kind = 0; kind < SIMCU_KINDS; kind++)
    if (sim.live[kind])
      return true;
  return count || simcu_stack_depth() || getenv("SIMCU_REPORT");
}

void sim_report_exit(void) {
  char const *strict = getenv("SIMCU_STRICT");
  sim_lock();
  struct findings found = {.violations = 0};
  if (has_something_to_say())
    found = look();
  sim_unlock();
  if (!strict || !is_failure(strict, &found))
    return;
  fflush(NULL); /* what _exit() would lose */
  _exit(SIMCU_STRICT_EXIT);
}

/* --- controls ------------------------------------------------------------- */

int simcu_violations(void) {
  sim_lock();
  int found = count;
  sim_unlock();
  return found;
}

char const *simcu_violation(int number) {
  return number >= 0 && number < KEPT ? texts[number] : "";
}

size_t simcu_live(enum simcuKind kind) {
  sim_lock();
  size_t live = kind < SIMCU_KINDS ? sim.live[kind] : 0;
  sim_unlock();
  return live;
}

size_t simcu_used(int device) {
  sim_lock();
  size_t used = sim_is_device(device) ? sim.devices[device].used : 0;
  sim_unlock();
  return used;
}

size_t simcu_report(void) {
  sim_lock();
  struct findings found = look();
  sim_unlock();
  return leaks_of(&found);
}

void simcu_forget(void) {
  sim_lock();
  count = 0;
  memset(texts, 0, sizeof texts);
  sim_script_forget();
  sim_unlock();
}
