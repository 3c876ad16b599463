/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of CUDA stand on: the driver past the library, and what has to
   hold after each of them. */
#ifndef UMEM_TESTS_CUDA_RIG_H
#define UMEM_TESTS_CUDA_RIG_H

#include "core.h"

#include "driver/client.h"
#include "gpu/gpu.h"

enum { KIB = 1 << 10, MIB = 1 << 20, SKIPPED = 77 };

static struct client client; /* cu: CUDA past the library; sim: or NULLs */
static umemHost host;

static inline bool is_simulated(void) {
  return client.sim.violations != NULL;
}

static inline void need_simulation(void) {
  if (!is_simulated()) {
    print_message("needs the simulated driver\n");
    skip();
  }
}

/* A kind of objects of which there are more than there were the last time, or
   -1: what a test left when it failed is not told of again. */
static inline int find_lives(void) {
  static size_t left[SIMCU_KINDS];
  int found = -1;
  for (int kind = 0; kind < SIMCU_KINDS; kind++) {
    size_t const live = client.sim.live((enum simcuKind)kind);
    if (live > left[kind])
      found = kind;
    left[kind] = live;
  }
  return found;
}

static inline void assert_nothing_lives(void) {
  cuContext context;
  int const found = find_lives(), depth = client.sim.stack_depth();
  while (client.sim.stack_depth())
    client.cu.CtxPopCurrent(&context);
  if (found >= 0 || depth)
    fail_msg("something lives, of enum simcuKind %d, or is current: %d", found,
             depth);
}

/* One test's violations are not the next one's. */
static inline void assert_no_violations(void) {
  char text[256];
  int const count = client.sim.violations();
  snprintf(text, sizeof text, "%.255s", client.sim.violation(0));
  client.sim.forget();
  if (count)
    fail_msg("%d violations, the first one: %s", count, text);
}

/* For tests of accesses that leave a block but not its chunk. */
static inline void need_strict_memory(void) {
  need_simulation();
  client.sim.set_chunks(0);
}

/* Restores the model of the environment. */
static inline void reset_memory(void) {
  char const *chunks = getenv("SIMCU_CHUNKS");
  client.sim.set_chunks(chunks && strcmp(chunks, "1") == 0);
}

/* Lets IPC handles open in this process, which real drivers refuse. */
static inline void open_handles_within(void) {
  if (is_simulated())
    client.sim.set_ipc_within(1);
}

/* After each test: all is given back, and the driver has no complaints. */
static inline int cuda_teardown(void **state) {
  (void)state;
  faults_reset();
  if (!is_simulated())
    return 0;
  client.sim.set_ipc_within(0);
  reset_memory();
  assert_nothing_lives();
  assert_no_violations();
  return 0;
}

/* Lowers the thresholds, so that copies of up to 6 KiB take all paths. */
static inline void rig_shorten_ways(void) {
  umemi_tuning();
  umemi_tuning_values.gpu_stream_from = 1 * KIB;
  umemi_tuning_values.gpu_ring_from = 3 * KIB;
  umemi_tuning_values.gpu_share_from = 5 * KIB;
  umemi_tuning_values.gpu_piece = 1 * KIB;
}

static inline uintptr_t allocated(void const *ctx, size_t nbytes) {
  uintptr_t adr;
  if (umem_try_alloc(ctx, nbytes, &adr) != umemOK)
    fail_msg("%s", umem_get_message(ctx));
  return adr;
}

static inline void assert_role_succeeds(char const *role, char const *setting) {
  char told[4096];
  int status = run_again(role, setting, told, sizeof told);
  if (status != 0)
    fail_msg("%s, %s: status %d\n%s", role, setting ? setting : "as we are",
             status, told);
}

/* What this program is when it runs itself: its argument says which. */
struct role {
  char const *name;
  int (*run)(void);
};

/* They end as they are, and look for themselves at what they leave. */
static inline int rig_play(struct role const *roles, size_t count,
                           char const *name) {
  unsetenv("SIMCU_STRICT");
  for (size_t i = 0; i < count; i++)
    if (strcmp(roles[i].name, name) == 0)
      return roles[i].run();
  return EXIT_FAILURE;
}

/* 0, or that there is nothing to test, and why. */
static inline int rig_find_device(void) {
  umemDeviceInfo first = {.size = sizeof first};
  assert_ok(umem_device_info(umemCudaDevice, 0, &first));
  if (!first.usable) {
    print_message("skipped: %s\n", first.reason);
    return SKIPPED;
  }
  print_message("CUDA device \"%s\"\n", first.name);
  if (client.cu.Init(0) != UMEMI_CUDA_SUCCESS) /* it is asked aside */
    fail_msg("cuInit() fails");
  return 0;
}

#endif
