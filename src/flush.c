/* SPDX-License-Identifier: BSD-3-Clause */
/* Durability: what was written is made to last, or given up. */
#include "internal.h"

umemStatusType umem_flush(void const *ctx) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = umemi_need_live(ctx, "", &call.error);
  if (status == umemOK) {
    struct umemiContext *c = umemi_context(ctx);
    status = umemi_device_flush(c, &call.error);
  }
  return umemi_end(&call, status, ctx, "umem_flush(%s)", umemi_name(ctx));
}

umemStatusType umem_discard(void const *ctx) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = umemi_need_live(ctx, "", &call.error);
  if (status == umemOK) {
    struct umemiContext *c = umemi_context(ctx);
    status = umemi_device_discard(c, &call.error);
  }
  return umemi_end(&call, status, ctx, "umem_discard(%s)", umemi_name(ctx));
}
