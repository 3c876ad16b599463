/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the cases of test_bad_input.c run in: contexts of every kind and state,
 * each with memory or a file of known bytes; all functions behind one
 * signature; and run(), which makes one call and checks all that it may not do.
 */
#ifndef UMEM_TESTS_BAD_INPUT_H
#define UMEM_TESTS_BAD_INPUT_H

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "doubles/fake.h"
#include "support.h"

enum { BLOCK = 256, FILE_BYTES = 320, SENTINEL = 0x5E47 };

#define LENGTH(array) (sizeof(array) / sizeof *(array))
#define MANY ((size_t)PTRDIFF_MAX + 1) /* more bytes than there can be */
#define HALF ((size_t)1 << (sizeof(size_t) * 8 - 1))

/* The sanitizers' malloc ends the process where others return NULL. */
char const *__asan_default_options(void);
char const *__tsan_default_options(void);
char const *__asan_default_options(void) {
  return "allocator_may_return_null=1";
}
char const *__tsan_default_options(void) {
  return "allocator_may_return_null=1";
}

/* --- the world ------------------------------------------------------------ */

enum who {
  HOST,
  CHECKED,
  FILE_RW, /* mode r+ */
  FILE_R,
  FILE_W,
  FILE_A, /* the first FILE_BYTES are protected */
  FAKE,
  VIRTUAL, /* without methods */
  FAILED,
  DEAD,
  /* what is no context has no status either */
  ZEROED,
  HOST_COPY,
  FILE_COPY,
  EVERYONE,
  FIRST_BAD = FAILED,
  FIRST_NONE = ZEROED
};

static char const *const names[] = {
    "Host",     "checked Host",  "File r+",      "File r",   "File w",
    "File a",   "Fake",          "Virtual",      "a failed", "a dead",
    "a zeroed", "a copied Host", "a copied File"};

static umemContext world[EVERYONE];
static umemContext nobodies[EVERYONE]; /* as they should be: from FIRST_NONE */
static uintptr_t block[EVERYONE];      /* BLOCK bytes each */
static struct fake fake;
static unsigned char image[FILE_BYTES]; /* what all memory and files hold */
static char paths[EVERYONE][512];
static uintptr_t freed; /* of CHECKED */

static char now[256]; /* the case that runs */
static unsigned case_count;

static void world_open(enum who who, char const *mode) {
  char name[16];
  snprintf(name, sizeof name, "file-%d", (int)who);
  snprintf(paths[who], sizeof paths[who], "%s", temp_path(name));
  file_put(paths[who], image, FILE_BYTES);
  assert_ok(umemFile_ctor(&world[who].file, paths[who], mode));
}

static void world_open_files(void) {
  world_open(FILE_RW, "r+");
  world_open(FILE_R, "r");
  world_open(FILE_W, "w");
  world_open(FILE_A, "a");
  assert_ok(umem_copy_to(&world[HOST], (uintptr_t)image, &world[FILE_W], 0,
                         FILE_BYTES));
  /* no block at 0, one at FILE_BYTES, the file as long as before */
  block[FILE_RW] = umem_alloc(&world[FILE_RW], BLOCK);
  assert_int_equal(block[FILE_RW], FILE_BYTES);
  unsigned char bytes[FILE_BYTES + BLOCK];
  memcpy(bytes, image, FILE_BYTES);
  memcpy(bytes + FILE_BYTES, image, BLOCK);
  file_put(paths[FILE_RW], bytes, sizeof bytes);
}

static int world_begin(void **state) {
  umemHostOptions checked = {.size = sizeof checked, .checked = 1};
  unsetenv("UMEM_CHECKED");
  if (temp_setup(state))
    return -1;
  random_bytes(image, sizeof image, 7);
  assert_ok(umemHost_ctor(&world[HOST].host));
  assert_ok(umemHost_ctor_ex(&world[CHECKED].host, &checked));
  assert_ok(fake_ctor(&world[FAKE].super, &fake,
                      &(struct fakeConfig){.without = 1u << FAKE_DISCARD}));
  assert_ok(umemVirtual_ctor(&world[VIRTUAL].super, &world[HOST].host));
  world_open_files();
  for (enum who who = HOST; who <= FAKE; who++)
    if (who == HOST || who == CHECKED || who == FAKE) {
      assert_true((block[who] = umem_alloc(&world[who], BLOCK)) != 0);
      assert_ok(umem_copy_to(&world[HOST], (uintptr_t)image, &world[who],
                             block[who], BLOCK));
    }
  freed = umem_alloc(&world[CHECKED], 64);
  assert_ok(umem_free(&world[CHECKED], freed));
  umemFile_ctor(&world[FAILED].file, "", "r");
  umem_clean_status(&world[FAILED]);
  assert_ok(umemHost_ctor(&world[DEAD].host));
  assert_ok(umem_dtor(&world[DEAD]));
  memcpy(&world[HOST_COPY], &world[HOST], sizeof *world);
  memcpy(&world[FILE_COPY], &world[FILE_RW], sizeof *world);
  memcpy(nobodies, world, sizeof world);
  return 0;
}

/* Every block can be freed: none was by a case. */
static int world_end(void **state) {
  assert_ok(umem_free(&world[HOST], block[HOST]));
  assert_ok(umem_free(&world[CHECKED], block[CHECKED]));
  assert_ok(umem_free(&world[FILE_RW], block[FILE_RW]));
  assert_int_equal(fake_live(&fake), 1);
  assert_ok(umem_free(&world[FAKE], block[FAKE]));
  for (enum who who = HOST; who <= DEAD; who++)
    assert_ok(umem_dtor(&world[who]));
  fake_end(&fake);
  return temp_teardown(state);
}

/* --- one case ------------------------------------------------------------- */

static void signalled(int number) {
  static char const text[] = "\na signal, in the case: ";
  if (write(2, text, sizeof text - 1) < 0 || write(2, now, strlen(now)) < 0)
    _exit(1);
  signal(number, SIG_DFL);
  raise(number);
}

static void check(bool good, char const *what, int line) {
  if (good)
    return;
  print_error("case %u, %s: %s\n", case_count, now, what);
  _fail(__FILE__, line);
}

#define CHECK(condition) check((condition), #condition, __LINE__)

static void check_code(umemStatusType got, umemStatusType expected,
                       char const *where, int line) {
  char what[128];
  snprintf(what, sizeof what, "%s %s, not %s", where, umem_get_status_name(got),
           umem_get_status_name(expected));
  check(got == expected, what, line);
}

/* Memory, files, and what is no context: as in the beginning? */
static void check_world(void) {
  unsigned char bytes[FILE_BYTES + BLOCK];
  CHECK(memcmp((void *)block[HOST], image, BLOCK) == 0);
  CHECK(memcmp((void *)block[CHECKED], image, BLOCK) == 0);
  CHECK(memcmp(fake_at(&fake, block[FAKE]), image, BLOCK) == 0);
  for (enum who who = FILE_RW; who <= FILE_A; who++) {
    size_t size = who == FILE_RW ? FILE_BYTES + BLOCK : FILE_BYTES;
    CHECK(file_size(paths[who]) == size);
    file_get(paths[who], 0, bytes, size);
    CHECK(memcmp(bytes, image, FILE_BYTES) == 0);
    CHECK(memcmp(bytes + FILE_BYTES, image, size - FILE_BYTES) == 0);
  }
  CHECK(memcmp(&nobodies[FIRST_NONE], &world[FIRST_NONE],
               (EVERYONE - FIRST_NONE) * sizeof *world) == 0);
}

/* The arguments of any function; each takes what it has. */
struct args {
  void const *a; /* the context, or the source */
  void const *b; /* the destination */
  uintptr_t a_adr, b_adr;
  size_t a_size, b_size, n, m, alignment;
  bool no_out;      /* NULL for the output */
  char const *text; /* the whole message, where that is fixed */
};

struct function {
  char const *name;
  umemStatusType (*call)(struct args const *);
  char const *says; /* how messages begin */
};

static uintptr_t out;

static uintptr_t *out_of(struct args const *args) {
  return args->no_out ? NULL : &out;
}

/* The status behind a call that answers 0 on failure. */
static umemStatusType unless(bool answered, void const *ctx) {
  umemStatusType status = umem_get_status(ctx);
  return answered == (status == umemOK) ? status : umemAssertError;
}

static void check_contexts(struct function const *f, struct args const *args,
                           uint64_t const *before, umemStatusType expected) {
  for (enum who who = HOST; who <= DEAD; who++) {
    void const *ctx = &world[who];
    bool told = expected != umemOK && (ctx == args->a || ctx == args->b);
    umemStatusType status = told ? expected : umemOK;
    check_code(umem_get_status(ctx), status, names[who], __LINE__);
    CHECK(umem_get_error_count(ctx) == before[who] + told);
    char const *message = umem_get_message(ctx);
    if (told && args->text)
      check(strcmp(message, args->text) == 0, message, __LINE__);
    else if (told)
      check(strstr(message, f->says) == message, message, __LINE__);
    if (told)
      CHECK(umem_clean_status(ctx) == umemOK);
  }
}

static void run(struct function const *f, struct args const *args,
                umemStatusType expected, char const *what) {
  static uint64_t random = 1;
  uint64_t before[EVERYONE];
  snprintf(now, sizeof now, "%s, %s", f->name, what);
  case_count++;
  for (enum who who = HOST; who <= DEAD; who++) {
    umem_clean_status(&world[who]); /* what a case that failed has left */
    before[who] = umem_get_error_count(&world[who]);
  }
  int number = 1 + (int)random_below(&random, 130);
  out = SENTINEL;
  errno = number;
  umemStatusType got = f->call(args);
  int after = errno;
  check_code(got, expected, "returned", __LINE__);
  CHECK(after == number);
  CHECK(expected == umemOK || out == SENTINEL);
  check_contexts(f, args, before, expected);
  check_world();
}

/* --- the functions -------------------------------------------------------- */

/* A call of that name with what it takes of `x`. */
#define CALL(name, expression)                                                 \
  static umemStatusType name(struct args const *x) {                           \
    return expression;                                                         \
  }

CALL(call_alloc, unless(umem_alloc(x->a, x->n) != 0, x->a))
CALL(call_try_alloc, umem_try_alloc(x->a, x->n, out_of(x)))
CALL(call_calloc, unless(umem_calloc(x->a, x->n, x->m) != 0, x->a))
CALL(call_try_calloc, umem_try_calloc(x->a, x->n, x->m, out_of(x)))
CALL(call_aligned,
     unless(umem_aligned_alloc(x->a, x->alignment, x->n) != 0, x->a))
CALL(call_try_aligned,
     umem_try_aligned_alloc(x->a, x->alignment, x->n, out_of(x)))
CALL(call_free, umem_free(x->a, x->a_adr))
CALL(call_free_aligned, unless(umem_free_aligned(x->a, x->a_adr) != 0, x->a))
CALL(call_aligned_free, unless(umem_aligned_free(x->a, x->a_adr) != 0, x->a))
CALL(call_try_free, umem_try_free_aligned(x->a, x->a_adr, out_of(x)))
CALL(call_origin, unless(umem_aligned_origin(x->a, x->a_adr) != 0, x->a))
CALL(call_set, unless(umem_set(x->a, x->a_adr, 'x', x->n) != 0, x->a))
CALL(call_try_set, umem_try_set(x->a, x->a_adr, 'x', x->n))
CALL(call_set_safe, umem_set_safe(x->a, x->a_adr, x->a_size, 'x', x->n))
CALL(call_flush, umem_flush(x->a))
CALL(call_discard, umem_discard(x->a))
static umemStatusType call_name(struct args const *x) {
  char const *name = umem_get_device_name(x->a);
  return unless(strcmp(name, "UnknownDevice") != 0, x->a);
}
CALL(call_fundamental, unless(umem_fundamental_align(x->a) != 0, x->a))

/* The plan has the size m - 2, or if that cannot be the right one. */
static umemStatusType call_copy_plan(struct args const *x) {
  umemCopyPlan plan, before;
  memset(&plan, 0x5E, sizeof plan);
  plan.size = x->m > 1 ? x->m - 2 : sizeof plan;
  before = plan;
  umemStatusType status = umem_copy_plan(x->a, x->a_adr, x->b, x->b_adr, x->n,
                                         x->no_out ? NULL : &plan);
  CHECK(status == umemOK || memcmp(&plan, &before, sizeof plan) == 0);
  return status;
}
CALL(call_copy_to, umem_copy_to(x->a, x->a_adr, x->b, x->b_adr, x->n))
CALL(call_copy_from, umem_copy_from(x->b, x->b_adr, x->a, x->a_adr, x->n))
CALL(call_sync_to, umem_sync_to(x->a, x->a_adr, x->b, x->b_adr, x->n))
CALL(call_sync_from, umem_sync_from(x->b, x->b_adr, x->a, x->a_adr, x->n))
CALL(call_copy_to_safe, umem_copy_to_safe(x->a, x->a_adr, x->a_size, x->b,
                                          x->b_adr, x->b_size, x->n))
CALL(call_copy_from_safe, umem_copy_from_safe(x->b, x->b_adr, x->b_size, x->a,
                                              x->a_adr, x->a_size, x->n))
CALL(call_sync_to_safe, umem_sync_to_safe(x->a, x->a_adr, x->a_size, x->b,
                                          x->b_adr, x->b_size, x->n))
CALL(call_sync_from_safe, umem_sync_from_safe(x->b, x->b_adr, x->b_size, x->a,
                                              x->a_adr, x->a_size, x->n))
static umemStatusType call_connect(struct args const *x) {
  uintptr_t adr = umem_connect(x->a, x->a_adr, x->n, x->b, x->alignment);
  umemStatusType status = unless(adr != 0, x->a);
  return status == umemOK ? unless(adr != 0, x->b) : status;
}
CALL(call_try_connect,
     umem_try_connect(x->a, x->a_adr, x->n, x->b, x->alignment, out_of(x)))
CALL(call_disconnect,
     umem_disconnect(x->a, x->a_adr, x->b, x->b_adr, x->alignment))
CALL(call_is_same, unless(umem_is_same_device(x->a, x->b), x->a))
CALL(call_is_accessible, unless(umem_is_accessible_from(x->a, x->b), x->a))

enum { ALLOCS = 6, FREES = 5, SETS = 3, MOVES = 9, PLAIN_MOVES = 5 };

#define FUNCTION(name, call)                                                   \
  { #name, call, #name "(" }

static struct function const allocs[ALLOCS] = {
    FUNCTION(umem_alloc, call_alloc),
    FUNCTION(umem_try_alloc, call_try_alloc),
    FUNCTION(umem_calloc, call_calloc),
    FUNCTION(umem_try_calloc, call_try_calloc),
    FUNCTION(umem_aligned_alloc, call_aligned),
    FUNCTION(umem_try_aligned_alloc, call_try_aligned)};

static struct function const frees[FREES] = {
    FUNCTION(umem_free, call_free),
    FUNCTION(umem_free_aligned, call_free_aligned),
    {"umem_aligned_free", call_aligned_free, "umem_free_aligned("},
    FUNCTION(umem_try_free_aligned, call_try_free),
    FUNCTION(umem_aligned_origin, call_origin)};

static struct function const sets[SETS] = {
    FUNCTION(umem_set, call_set), FUNCTION(umem_try_set, call_try_set),
    FUNCTION(umem_set_safe, call_set_safe)};

static struct function const others[] = {
    FUNCTION(umem_flush, call_flush),
    FUNCTION(umem_discard, call_discard),
    {"umem_get_device_name", call_name, "umem_get_device_name("},
    {"umem_fundamental_align", call_fundamental, "umem_fundamental_align("}};

static struct function const moves[MOVES] = {
    FUNCTION(umem_copy_plan, call_copy_plan), /* a copy but for moving */
    FUNCTION(umem_copy_to, call_copy_to),
    FUNCTION(umem_copy_from, call_copy_from),
    FUNCTION(umem_sync_to, call_sync_to),
    FUNCTION(umem_sync_from, call_sync_from),
    FUNCTION(umem_copy_to_safe, call_copy_to_safe),
    FUNCTION(umem_copy_from_safe, call_copy_from_safe),
    FUNCTION(umem_sync_to_safe, call_sync_to_safe),
    FUNCTION(umem_sync_from_safe, call_sync_from_safe)};

static struct function const connects[] = {
    FUNCTION(umem_connect, call_connect),
    FUNCTION(umem_try_connect, call_try_connect)};

static struct function const disconnect =
    FUNCTION(umem_disconnect, call_disconnect);

static struct function const questions[] = {
    FUNCTION(umem_is_same_device, call_is_same),
    FUNCTION(umem_is_accessible_from, call_is_accessible)};

/* --- arguments in which nothing is wrong yet ------------------------------ */

static struct args good_one(enum who who) {
  return (struct args){.a = &world[who],
                       .a_adr = block[who],
                       .a_size = BLOCK,
                       .n = 64,
                       .m = 1,
                       .alignment = 64};
}

static struct args good_two(enum who src, enum who dest) {
  return (struct args){.a = &world[src],
                       .b = &world[dest],
                       .a_adr = block[src],
                       .b_adr = block[dest],
                       .a_size = BLOCK,
                       .b_size = BLOCK,
                       .n = 100};
}

static char const *text_of_two(enum who src, enum who dest, char const *what) {
  static char text[128];
  snprintf(text, sizeof text, "%s to %s, %s", names[src], names[dest], what);
  return text;
}

static char const *text_of_one(enum who who, char const *what) {
  static char text[128];
  snprintf(text, sizeof text, "%s, %s", names[who], what);
  return text;
}

#endif
