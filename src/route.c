/* SPDX-License-Identifier: BSD-3-Clause */
/* What is checked before a copy: nothing but arguments. */
#include "internal.h"

static umemStatusType route_check_both(struct umemiCopy const *copy,
                                       umemiRangeCheck *check,
                                       umemError *error) {
  struct umemiContext *src = umemi_context(copy->src);
  struct umemiContext *dest = umemi_context(copy->dest);
  size_t n = copy->nbytes;
  struct umemiRange from = {copy->src_adr, copy->safe ? copy->src_size : n, n,
                            copy->safe};
  struct umemiRange to = {copy->dest_adr, copy->safe ? copy->dest_size : n, n,
                          copy->safe};
  if (check(src, &from, umemRead, error) != umemOK)
    return umemi_blame(error, "source", src);
  if (check(dest, &to, umemWrite, error) != umemOK)
    return umemi_blame(error, "destination", dest);
  return umemOK;
}

/* The arguments of both sides come before the ranges of either. */
static umemStatusType route_check(struct umemiCopy const *copy,
                                  umemError *error) {
  umemStatusType status = route_check_both(copy, umemi_check_address, error);
  if (status == umemOK)
    status = route_check_both(copy, umemi_check_range, error);
  if (status == umemOK)
    status = route_check_both(copy, umemi_check_access, error);
  return status;
}

/* Of the same bytes in both: a copy that is not made would fail past the end,
   which one side may not know of. */
static umemStatusType route_check_end(struct umemiCopy const *copy,
                                      umemError *error) {
  struct umemiContext *src = umemi_context(copy->src);
  struct umemiContext *dest = umemi_context(copy->dest);
  struct umemiRange range = {copy->src_adr, copy->nbytes, copy->nbytes, false};
  if (umemi_check_end(src, &range, error) != umemOK)
    return umemi_blame(error, "source", src);
  if (!(src->vtbl->caps & UMEM_CAP_MAY_END) &&
      umemi_has_right(dest, umemRead) &&
      umemi_check_end(dest, &range, error) != umemOK)
    return umemi_blame(error, "destination", dest);
  return umemOK;
}

void umemi_route_judge(struct umemiRoute *r) {
  r->overlap = r->one_space && umemi_apart(r->src_adr, r->dest_adr) < r->nbytes;
}

umemStatusType umemi_route(struct umemiCopy const *copy, struct umemiRoute *r,
                           umemError *error) {
  umemStatusType status = umemi_need_live(copy->src, "source ", error);
  if (status == umemOK)
    status = umemi_need_live(copy->dest, "destination ", error);
  if (status != umemOK)
    return status;
  *r = (struct umemiRoute){.src = umemi_context(copy->src),
                           .dest = umemi_context(copy->dest),
                           .src_adr = copy->src_adr,
                           .dest_adr = copy->dest_adr,
                           .nbytes = copy->nbytes};
  r->one_space = umemi_share_space(r->src, r->dest);
  status = route_check(copy, error);
  umemi_route_judge(r);
  if (status != umemOK || !copy->sync || !r->one_space ||
      r->src_adr != r->dest_adr)
    return status;
  r->nbytes = 0; /* checked like all others, and there already */
  return route_check_end(copy, error);
}
