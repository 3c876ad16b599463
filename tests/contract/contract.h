/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contract of all contexts: what every kind, and every ordered pair of
 * kinds, must do. A new kind joins by one row in kinds.c.
 */
#ifndef UMEM_TESTS_CONTRACT_H
#define UMEM_TESTS_CONTRACT_H

#include <string.h>

#include "doubles/fake.h"
#include "support.h"

/* A staged copy moves this much at a time; and with so much threads help. */
enum { CHUNK = 1 << 20, LARGE = (6 << 20) + 13 };

struct subject;

/* A kind of context, and how tests get past the library to its bytes. */
struct kind {
  char const *name;
  char const *family; /* of devices that not every machine has, or NULL */
  char const *device_name;
  /* Constructs subject->ctx. A umemNotSupportedError skips the kind. */
  umemStatusType (*begin)(struct subject *subject);
  /* The same for a second context in the space of `first`; of another kind, if
     none of this one can be. */
  umemStatusType (*twin)(struct subject *subject, struct subject const *first);
  /* After umem_dtor(). */
  void (*end)(struct subject *subject);
  void (*peek)(struct subject const *subject, uintptr_t adr, void *out,
               size_t nbytes);
  void (*poke)(struct subject const *subject, uintptr_t adr, void const *in,
               size_t nbytes);
  bool knows_blocks; /* and refuses to free what is none */
  bool zero_is_an_address;
  bool no_ladder; /* goes the ways of another kind: left out where the rungs are
                     all that is new */
};

/* A context of a kind. */
struct subject {
  struct kind const *kind;
  umemContext ctx;
  struct fake fake;
  char path[512];
};

extern struct kind const kinds[];
extern size_t const kind_count;

/* False, and told, if this machine does not have the kind. */
bool subject_try(struct subject *subject, struct kind const *kind);
/* The same; skip()s the test. */
void subject_begin(struct subject *subject, struct kind const *kind);
void subject_twin(struct subject *subject, struct subject const *first);
/* Does nothing if it did not begin. Tests leave this to the fixture. */
void subject_end(struct subject *subject);

/* A block that holds random bytes. `image` is what they are; free() it. */
struct block {
  struct subject *subject;
  uintptr_t adr;
  size_t nbytes;
  unsigned char *image;
};

struct block block_begin(struct subject *subject, size_t nbytes);
/* Is the memory what the image says? */
bool block_is_intact(struct block const *block);
void block_end(struct block *block);

/* A copy between two places. */
struct move {
  void const *src, *dest;
  uintptr_t src_adr, dest_adr;
  size_t src_size, dest_size, nbytes;
};

/* The calls that copy; from SAFE_MOVES on they look at the sizes. */
enum { SAFE_MOVES = 4, MOVES = 8 };

umemStatusType move_as(struct move const *move, size_t spelling);

/* What a test runs on. It begins what it needs, the fixture ends it. */
struct situation {
  struct kind const *src_kind, *dest_kind;
  unsigned rungs_off;
  struct subject src, dest;
};

/* Tests of one module of the suite. */
struct chapter {
  struct CMUnitTest const *tests;
  size_t count;
};

struct chapter single_tests(void); /* of one context */
struct chapter thread_tests(void); /* of one, used by several threads */
struct chapter inside_tests(void); /* of copies in one address space */
struct chapter pair_tests(void);   /* of two */
struct chapter model_tests(void);  /* of all at once */

/* Run all following copies without these rungs of the ladder, 1 << rung; false
   if this is a build in which they cannot be switched off. */
bool rungs_switch_off(unsigned rungs);

#endif
