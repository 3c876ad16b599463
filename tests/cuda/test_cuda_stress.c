/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random programs on several devices, alone and at the same time: calls of the
 * library and work of the program in all default streams, on all kinds of
 * memory, against a model of every byte. A program is decided by its seed.
 */
#include "rig.h"

enum { DEVICES = 3, KINDS = 2 * DEVICES + 2, BLOCKS = 10, SIZE = 6000 };
enum { PROGRAMS = 4, ROWS = 7, NOWHERE = -1 };

struct block {
  void const *ctx;
  uintptr_t adr;
  int device;  /* NOWHERE: all reach it */
  int pending; /* in whose default stream work of the program uses it */
  unsigned char model[SIZE];
};

struct program {
  uint64_t random;
  size_t steps;
  umemCuda plain[DEVICES], pooled[DEVICES];
  umemCudaHost pinned;
  umemCudaManaged managed;
  struct block blocks[BLOCKS];
  unsigned char scratch[SIZE];
  char failed[512]; /* what went wrong first */
};

static int device_count;
static cuContext primary[DEVICES];

/* --- results: not by assertions, which threads cannot make ---------------- */

static void program_fail(struct program *program, char const *what, int code) {
  if (!program->failed[0])
    snprintf(program->failed, sizeof program->failed, "%.400s: %d", what, code);
}

#define DO(call)                                                               \
  do {                                                                         \
    int const code_ = (int)(call);                                             \
    if (code_)                                                                 \
      program_fail(program, #call, code_);                                     \
  } while (0)

#define CU(call) DO(client.cu.call)

/* --- choices -------------------------------------------------------------- */

static size_t below(struct program *program, size_t limit) {
  return (size_t)random_below(&program->random, limit);
}

static struct block *any_block(struct program *program) {
  return &program->blocks[below(program, BLOCKS)];
}

static struct block *another_block(struct program *program,
                                   struct block const *one) {
  struct block *other = any_block(program);
  while (other == one)
    other = any_block(program);
  return other;
}

struct range {
  size_t from, nbytes;
};

static struct range any_range(struct program *program) {
  size_t const from = below(program, SIZE);
  return (struct range){from, 1 + below(program, SIZE - from)};
}

/* --- the program's own work ----------------------------------------------- */

static void wait_for(struct program *program, struct block *block) {
  if (block->pending == NOWHERE)
    return;
  CU(CtxPushCurrent(primary[block->pending]));
  CU(StreamSynchronize(NULL));
  CU(CtxPopCurrent(&(cuContext){NULL}));
  block->pending = NOWHERE;
}

/* Default streams of two devices do not wait for each other. */
static void use_on(struct program *program, struct block *block, int device) {
  if (block->pending != device)
    wait_for(program, block);
  block->pending = device;
}

static int device_for(struct program *program, struct block const *block) {
  return block->device == NOWHERE ? (int)below(program, (size_t)device_count)
                                  : block->device;
}

static void queue_fill(struct program *program) {
  struct block *block = any_block(program);
  struct range const at = any_range(program);
  int const device = device_for(program, block);
  unsigned char const value = (unsigned char)below(program, 256);
  use_on(program, block, device);
  CU(CtxPushCurrent(primary[device]));
  CU(MemsetD8Async(block->adr + at.from, value, at.nbytes, NULL));
  CU(CtxPopCurrent(&(cuContext){NULL}));
  memset(block->model + at.from, value, at.nbytes);
}

static void queue_copy(struct program *program) {
  struct block *src = any_block(program), *dest = another_block(program, src);
  struct range const at = any_range(program);
  int const device = device_for(program, src->device == NOWHERE ? dest : src);
  if (dest->device != NOWHERE && dest->device != device)
    return;
  use_on(program, src, device);
  use_on(program, dest, device);
  CU(CtxPushCurrent(primary[device]));
  CU(MemcpyAsync(dest->adr + at.from, src->adr + at.from, at.nbytes, NULL));
  CU(CtxPopCurrent(&(cuContext){NULL}));
  memcpy(dest->model + at.from, src->model + at.from, at.nbytes);
}

/* --- calls of the library ------------------------------------------------- */

/* Calls are through when they return, and so is what they came after. */
static void called(struct block *block) {
  block->pending = NOWHERE;
}

static void set(struct program *program) {
  struct block *block = any_block(program);
  struct range const at = any_range(program);
  int const value = (int)below(program, 256);
  DO(umem_try_set(block->ctx, block->adr + at.from, value, at.nbytes));
  memset(block->model + at.from, value, at.nbytes);
  called(block);
}

static void write_host(struct program *program) {
  struct block *block = any_block(program);
  struct range const at = any_range(program);
  random_bytes(block->model + at.from, at.nbytes, program->random);
  DO(umem_copy_to(&host, (uintptr_t)block->model + at.from, block->ctx,
                  block->adr + at.from, at.nbytes));
  called(block);
}

static void read_host(struct program *program) {
  struct block *block = any_block(program);
  struct range const at = any_range(program);
  DO(umem_copy_to(block->ctx, block->adr + at.from, &host,
                  (uintptr_t)program->scratch, at.nbytes));
  if (memcmp(program->scratch, block->model + at.from, at.nbytes) != 0)
    program_fail(program, "read_host", (int)at.from);
  called(block);
}

static void copy(struct program *program) {
  struct block *src = any_block(program), *dest = another_block(program, src);
  struct range const at = any_range(program);
  DO(umem_copy_to(src->ctx, src->adr + at.from, dest->ctx, dest->adr + at.from,
                  at.nbytes));
  memcpy(dest->model + at.from, src->model + at.from, at.nbytes);
  called(src);
  called(dest);
}

static void copy_2d(struct program *program) {
  struct block *src = any_block(program), *dest = another_block(program, src);
  size_t const pitch = SIZE / ROWS, row = 1 + below(program, pitch);
  DO(umem_copy_2d(src->ctx, src->adr, pitch, dest->ctx, dest->adr, pitch, row,
                  ROWS));
  for (size_t i = 0; i < ROWS; i++)
    memcpy(dest->model + i * pitch, src->model + i * pitch, row);
  called(src);
  called(dest);
}

static void compare(struct program *program) {
  struct block *block = any_block(program);
  struct range const at = any_range(program);
  size_t first = 0;
  DO(umem_compare(block->ctx, block->adr + at.from, &host,
                  (uintptr_t)block->model + at.from, at.nbytes, &first));
  if (first != at.nbytes)
    program_fail(program, "compare", (int)first);
  called(block);
}

static void checksum(struct program *program) {
  struct block *block = any_block(program);
  struct range const at = any_range(program);
  uint32_t wanted, found;
  DO(umem_checksum(&host, (uintptr_t)block->model + at.from, at.nbytes, 0,
                   &wanted));
  DO(umem_checksum(block->ctx, block->adr + at.from, at.nbytes, 0, &found));
  if (wanted != found)
    program_fail(program, "checksum", (int)at.from);
  called(block);
}

/* There and back by a mirror, which may be the block itself. */
static void mirror(struct program *program) {
  struct block *block = any_block(program);
  void const *dest = another_block(program, block)->ctx;
  uintptr_t made = 0;
  DO(umem_try_connect(block->ctx, block->adr, SIZE, dest, 0, &made));
  if (program->failed[0])
    return;
  if (made == block->adr) /* as its device has it, after no other's work */
    wait_for(program, block);
  DO(umem_try_set(dest, made, 'm', SIZE / 2));
  DO(umem_sync_from(block->ctx, block->adr, dest, made, SIZE));
  DO(umem_disconnect(block->ctx, block->adr, dest, made, 0));
  memset(block->model, 'm', SIZE / 2);
  called(block);
}

static void block_fill(struct program *program, struct block *block) {
  DO(umem_try_calloc(block->ctx, SIZE, 1, &block->adr));
  memset(block->model, 0, SIZE);
  called(block);
}

/* While work may use what goes. */
static void replace(struct program *program) {
  struct block *block = any_block(program);
  DO(umem_free(block->ctx, block->adr));
  block_fill(program, block);
}

/* Memory of the program is written by a device until it is unpinned. */
static void pin(struct program *program) {
  struct block *block = any_block(program);
  uintptr_t const to = (uintptr_t)program->scratch;
  int const device = device_for(program, block);
  DO(umem_pin(&program->pinned, to, SIZE));
  use_on(program, block, device);
  CU(CtxPushCurrent(primary[device]));
  CU(MemcpyAsync(to, block->adr, SIZE, NULL));
  CU(CtxPopCurrent(&(cuContext){NULL}));
  DO(umem_unpin(&program->pinned, to));
  if (memcmp(program->scratch, block->model, SIZE) != 0)
    program_fail(program, "pin", device);
}

/* --- a program ------------------------------------------------------------ */

static void step(struct program *program) {
  static void (*const all[])(struct program *) = {
      queue_fill, queue_copy, queue_fill, queue_copy, set,
      write_host, read_host,  copy,       copy,       copy_2d,
      compare,    checksum,   mirror,     replace,    pin};
  all[below(program, LENGTH(all))](program);
}

static size_t program_open(struct program *program, struct block kinds[KINDS]) {
  umemCudaOptions pool = {.size = sizeof pool, .flags = UMEM_CUDA_POOL};
  size_t count = 0;
  DO(umemCudaHost_ctor(&program->pinned, 0));
  DO(umemCudaManaged_ctor(&program->managed, 0, false, NULL));
  kinds[count++] = (struct block){&program->pinned, 0, NOWHERE, NOWHERE, {0}};
  kinds[count++] = (struct block){&program->managed, 0, NOWHERE, NOWHERE, {0}};
  for (int i = 0; i < device_count; i++) {
    DO(umemCuda_ctor(&program->plain[i], i));
    DO(umemCuda_ctor_ex(&program->pooled[i], i, &pool));
    kinds[count++] = (struct block){&program->plain[i], 0, i, NOWHERE, {0}};
    kinds[count++] = (struct block){&program->pooled[i], 0, i, NOWHERE, {0}};
  }
  return count;
}

static void program_begin(struct program *program) {
  static struct block const none;
  struct block kinds[KINDS] = {none};
  size_t const count = program_open(program, kinds);
  for (size_t i = 0; i < BLOCKS && !program->failed[0]; i++) {
    program->blocks[i] = kinds[i % count];
    block_fill(program, &program->blocks[i]);
  }
}

static void program_check(struct program *program) {
  for (size_t i = 0; i < BLOCKS && !program->failed[0]; i++) {
    struct block *block = &program->blocks[i];
    DO(umem_copy_to(block->ctx, block->adr, &host, (uintptr_t)program->scratch,
                    SIZE));
    if (memcmp(program->scratch, block->model, SIZE) != 0)
      program_fail(program, "in the end, block", (int)i);
  }
}

/* Half of the blocks go with their contexts. */
static void program_end(struct program *program) {
  for (size_t i = 0; i < BLOCKS && !program->failed[0]; i += 2)
    DO(umem_free(program->blocks[i].ctx, program->blocks[i].adr));
  DO(umem_dtor(&program->managed));
  DO(umem_dtor(&program->pinned));
  for (int i = 0; i < device_count; i++) {
    DO(umem_dtor(&program->pooled[i]));
    DO(umem_dtor(&program->plain[i]));
  }
}

static void *program_run(void *argument) {
  struct program *program = argument;
  program_begin(program);
  for (size_t i = 0; i < program->steps && !program->failed[0]; i++)
    step(program);
  program_check(program);
  program_end(program);
  return NULL;
}

static struct program *program_new(uint64_t seed, size_t steps) {
  struct program *program = calloc(1, sizeof *program);
  assert_non_null(program);
  program->random = seed;
  program->steps = steps;
  return program;
}

static void program_judge(struct program *program, uint64_t seed) {
  if (program->failed[0])
    fail_msg("program %d: %s", (int)seed, program->failed);
  free(program);
}

/* --- alone and together --------------------------------------------------- */

static void run_alone(void) {
  for (uint64_t seed = 1; seed <= PROGRAMS; seed++) {
    struct program *program = program_new(seed, scaled(1500, 60));
    program_run(program);
    program_judge(program, seed);
  }
}

static void run_together(void) {
  struct program *programs[PROGRAMS];
  pthread_t threads[PROGRAMS];
  for (size_t i = 0; i < PROGRAMS; i++) {
    programs[i] = program_new(100 + i, scaled(1500, 60));
    assert_int_equal(
        pthread_create(&threads[i], NULL, program_run, programs[i]), 0);
  }
  for (size_t i = 0; i < PROGRAMS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  for (size_t i = 0; i < PROGRAMS; i++)
    program_judge(programs[i], 100 + i);
}

static void programs__alone_agree_with_their_model(void **state) {
  (void)state;
  run_alone();
}

static void programs__together_agree_with_their_models(void **state) {
  (void)state;
  run_together();
}

/* --- on other machines ---------------------------------------------------- */

static void set_concurrent(int value) {
  int const what = UMEMI_CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS;
  for (int i = 0; i < device_count; i++)
    client.sim.set_attribute(i, what, value);
}

/* A touch of managed memory ends the process while any device works. */
static void programs__agree_where_managed_memory_is_exclusive(void **state) {
  (void)state;
  need_simulation();
  set_concurrent(0);
  run_alone();
  run_together();
}

static void set_drops(int value) {
  for (int i = 0; i < device_count; i++)
    for (int k = 0; k < device_count; k++)
      client.sim.set_peer_drops(i, k, value && i != k);
}

static void programs__agree_where_peer_access_loses_bytes(void **state) {
  (void)state;
  need_simulation();
  set_drops(1);
  run_alone();
}

/* --- the program ---------------------------------------------------------- */

static int stress_setup(void **state) {
  (void)state;
  for (int i = 0; i < device_count; i++)
    assert_int_equal(client.cu.DevicePrimaryCtxRetain(&primary[i], i), 0);
  return 0;
}

static int stress_teardown(void **state) {
  if (is_simulated()) {
    set_concurrent(1);
    set_drops(0);
  }
  for (int i = 0; i < device_count; i++)
    assert_int_equal(client.cu.DevicePrimaryCtxRelease(i), 0);
  return cuda_teardown(state);
}

#define stress_test(f)                                                         \
  cmocka_unit_test_setup_teardown(f, stress_setup, stress_teardown)

/* All ways of copying are those of some length up to SIZE. */
static void shorten(void) {
  umemi_tuning();
  umemi_tuning_values.gpu_stream_from = 1 * KIB;
  umemi_tuning_values.gpu_ring_from = 3 * KIB;
  umemi_tuning_values.gpu_share_from = 5 * KIB;
  umemi_tuning_values.gpu_piece = 1 * KIB;
}

int main(void) {
  struct CMUnitTest const tests[] = {
      stress_test(programs__alone_agree_with_their_model),
      stress_test(programs__together_agree_with_their_models),
      stress_test(programs__agree_where_managed_memory_is_exclusive),
      stress_test(programs__agree_where_peer_access_loses_bytes),
  };
  client_load(&client, "libcuda.so.1");
  if (is_simulated())
    client.sim.set_devices(DEVICES);
  shorten();
  assert_ok(umemHost_ctor(&host));
  int const absent = rig_find_device();
  if (absent)
    return absent;
  size_t const found = umem_device_count(umemCudaDevice);
  device_count = found < DEVICES ? (int)found : DEVICES;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
