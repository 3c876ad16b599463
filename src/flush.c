/* SPDX-License-Identifier: BSD-3-Clause */
/* Durability: what was written is made to last, or given up. */
#include "internal.h"

static umemStatusType flush_call(char const *function, void const *ctx,
                                 umemStatusType (*method)(struct umemiContext *,
                                                          umemError *)) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = umemi_need_live(ctx, "", &call.error);
  if (status == umemOK)
    status = method(umemi_context(ctx), &call.error);
  return umemi_end(&call, status, ctx, "%s(%s)", function, umemi_name(ctx));
}

umemStatusType umem_flush(void const *ctx) {
  return flush_call("umem_flush", ctx, umemi_device_flush);
}

umemStatusType umem_discard(void const *ctx) {
  return flush_call("umem_discard", ctx, umemi_device_discard);
}
