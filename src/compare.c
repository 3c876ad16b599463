/* SPDX-License-Identifier: BSD-3-Clause */
/* Compare two ranges, chunk by chunk. */
#include "internal.h"

struct comparison {
  struct umemiSource a, b;
  atomic_size_t difference; /* the first one so far, or SIZE_MAX */
};

/* Equal bytes at the start of two pieces; in blocks, until one differs. */
static size_t compare_bytes(char const *a, char const *b, size_t nbytes) {
  size_t const block = 4096;
  size_t equal = 0;
  while (nbytes - equal > block && memcmp(a + equal, b + equal, block) == 0)
    equal += block;
  while (equal < nbytes && a[equal] == b[equal])
    equal++;
  return equal;
}

static void compare_differs(struct umemiLanes *lanes, size_t at) {
  struct comparison *c = lanes->arg;
  umemi_lower(&c->difference, at);
  umemi_lanes_stop(lanes, at);
}

/* Bytes of a piece of one side that there are: all, or what was read before a
   failure, which says so in `error`. */
static size_t compare_bring(struct umemiSource const *source, char const *role,
                            size_t offset, size_t nbytes, void *room,
                            char const **bytes_out, umemError *error) {
  umemStatusType status =
      umemi_source_bytes(source, offset, nbytes, room, bytes_out, error);
  if (status == umemOK)
    return nbytes;
  size_t done = (size_t)error->bytes_done;
  umemi_blame(error, role, source->ctx);
  error->bytes_done = 0;
  return done < nbytes ? done : nbytes;
}

/* Of two failures the one that comes first counts: the second side is read as
   far as the first one is there. */
static umemStatusType compare_step(struct umemiLanes *lanes, size_t offset,
                                   size_t nbytes, void *slot,
                                   umemError *error) {
  struct comparison *c = lanes->arg;
  char const *a, *b;
  char *room = slot;
  size_t one = compare_bring(&c->a, "first", offset, nbytes, room, &a, error);
  if (!c->a.view)
    room += nbytes;
  umemError second; /* of which success would change the type, too */
  size_t two =
      one == 0 ? 0
               : compare_bring(&c->b, "second", offset, one, room, &b, &second);
  if (two < one)
    *error = second;
  size_t equal = two > 0 ? compare_bytes(a, b, two) : 0;
  if (equal < two)
    compare_differs(lanes, offset + equal);
  return equal < two || two == nbytes ? umemOK : error->type;
}

/* What lies behind a difference does not matter, failures included. */
static umemStatusType compare_run(struct comparison *c, size_t nbytes,
                                  umemError *error) {
  struct umemiLanes lanes = {.nbytes = nbytes,
                             .chunk = umemi_tuning()->slot,
                             .grain = 1,
                             .room = (size_t)!c->a.view + (size_t)!c->b.view,
                             .step = compare_step,
                             .arg = c};
  if (nbytes >= umemi_tuning()->lanes_from)
    lanes.helpers = umemi_workers_of(UMEMI_LANES_MAX, false);
  umemStatusType status = umemi_lanes_run(&lanes, error);
  return atomic_load(&c->difference) <= atomic_load(&lanes.end) ? umemOK
                                                                : status;
}

static umemStatusType compare_sources(struct umemiContext *a, uintptr_t a_adr,
                                      struct umemiContext *b, uintptr_t b_adr,
                                      size_t nbytes, size_t *difference_out,
                                      umemError *error) {
  struct comparison c = {.difference = SIZE_MAX};
  umemStatusType status = umemi_source_begin(&c.a, a, a_adr, nbytes, error);
  if (status != umemOK)
    return umemi_blame(error, "first", a);
  status = umemi_source_begin(&c.b, b, b_adr, nbytes, error);
  if (status != umemOK)
    umemi_blame(error, "second", b);
  else
    status = compare_run(&c, nbytes, error);
  status = umemi_source_end(&c.a, "first", status, error);
  status = umemi_source_end(&c.b, "second", status, error);
  size_t difference = atomic_load(&c.difference);
  *difference_out = difference < nbytes ? difference : nbytes;
  return status;
}

static umemStatusType compare_check(struct umemiContext *ctx, char const *role,
                                    uintptr_t adr, size_t nbytes,
                                    umemError *error) {
  struct umemiRange range = {adr, nbytes, nbytes, false};
  umemStatusType status = umemi_check(ctx, &range, umemRead, error);
  return status == umemOK ? status : umemi_blame(error, role, ctx);
}

static umemStatusType compare(void const *a, uintptr_t a_adr, void const *b,
                              uintptr_t b_adr, size_t nbytes,
                              size_t *first_difference_out, umemError *error) {
  umemStatusType status = umemi_need_live(a, "first ", error);
  if (status == umemOK)
    status = umemi_need_live(b, "second ", error);
  if (status != umemOK)
    return status;
  if (!first_difference_out)
    return umemi_null(error, "first_difference_out");
  struct umemiContext *one = umemi_context(a), *two = umemi_context(b);
  size_t difference = 0;
  status = compare_check(one, "first", a_adr, nbytes, error);
  if (status == umemOK)
    status = compare_check(two, "second", b_adr, nbytes, error);
  if (status == umemOK && nbytes > 0)
    status =
        compare_sources(one, a_adr, two, b_adr, nbytes, &difference, error);
  if (status == umemOK)
    *first_difference_out = difference;
  return status;
}

umemStatusType umem_compare(void const *a, uintptr_t a_adr, void const *b,
                            uintptr_t b_adr, size_t nbytes,
                            size_t *first_difference_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status =
      compare(a, a_adr, b, b_adr, nbytes, first_difference_out, &call.error);
  return umemi_end_two(&call, status, a, b,
                       "umem_compare(first %s 0x%" PRIxPTR
                       ", second %s 0x%" PRIxPTR ", %zu bytes)",
                       umemi_name(a), a_adr, umemi_name(b), b_adr, nbytes);
}
