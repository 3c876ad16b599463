/* SPDX-License-Identifier: BSD-3-Clause */
/* Set: through a view where the device offers one, else staged writes. */
#include "internal.h"

static umemStatusType set_staged(struct umemiContext *ctx, uintptr_t adr, int c,
                                 size_t nbytes, umemError *error) {
  struct umemiStage stage;
  umemStatusType status = umemi_stage_begin(&stage, nbytes, error);
  if (status != umemOK)
    return status;
  memset(stage.ptr, c, stage.size);
  for (size_t done = 0; status == umemOK && done < nbytes;) {
    size_t left = nbytes - done;
    size_t chunk = left < stage.size ? left : stage.size;
    status = umemi_device_write(ctx, adr + done, stage.ptr, chunk, error);
    if (status != umemOK)
      error->bytes_done += done;
    done += chunk;
  }
  umemi_stage_end(&stage);
  return status;
}

umemStatusType umemi_set(struct umemiContext *ctx, uintptr_t adr, int c,
                         size_t nbytes, umemError *error) {
  void *view;
  if (nbytes == 0)
    return umemOK;
  umemStatusType status =
      umemi_device_view_begin(ctx, adr, nbytes, umemWrite, &view, error);
  if (status == UMEM_DECLINED)
    return set_staged(ctx, adr, c, nbytes, error);
  if (status != umemOK)
    return status;
  memset(view, c, nbytes);
  status = umemi_device_view_end(ctx, view, nbytes, umemWrite, error);
  if (status != umemOK)
    error->bytes_done = 0; /* what was set may not have arrived */
  return status;
}

static umemStatusType set_checked(void const *ctx, int c,
                                  struct umemiRange const *range,
                                  umemError *error) {
  umemStatusType status = umemi_need_live(ctx, "", error);
  if (status != umemOK)
    return status;
  struct umemiContext *live = umemi_context(ctx);
  status = umemi_check(live, range, umemWrite, error);
  if (status != umemOK)
    return status;
  return umemi_set(live, range->adr, c, range->nbytes, error);
}

static UMEMI_NOINLINE umemStatusType set_slow(void const *ctx, uintptr_t adr,
                                              int c, size_t nbytes,
                                              char const *function) {
  struct umemiCall call;
  umemi_begin(&call);
  struct umemiRange range = {adr, nbytes, nbytes, false};
  umemStatusType status = set_checked(ctx, c, &range, &call.error);
  return umemi_end(&call, status, ctx,
                   "%s(%s 0x%" PRIxPTR ", value %d, %zu bytes)", function,
                   umemi_name(ctx), adr, c, nbytes);
}

/* Sets and returns true if this is all in plain host memory. */
static inline bool set_plain(void const *ctx, uintptr_t adr, int c,
                             size_t nbytes) {
  if (!umemi_is_plain(ctx) || !adr || umemi_wraps(adr, nbytes))
    return false;
  memset((void *)adr, c, nbytes);
  return true;
}

uintptr_t umem_set(void const *ctx, uintptr_t adr, int c, size_t nbytes) {
  if (UMEMI_LIKELY(set_plain(ctx, adr, c, nbytes)))
    return adr;
  umemStatusType status = set_slow(ctx, adr, c, nbytes, "umem_set");
  return status == umemOK ? adr : 0;
}

umemStatusType umem_try_set(void const *ctx, uintptr_t adr, int c,
                            size_t nbytes) {
  if (UMEMI_LIKELY(set_plain(ctx, adr, c, nbytes)))
    return umemOK;
  return set_slow(ctx, adr, c, nbytes, "umem_try_set");
}

umemStatusType umem_set_safe(void const *ctx, uintptr_t adr, size_t size, int c,
                             size_t nbytes) {
  struct umemiCall call;
  umemi_begin(&call);
  struct umemiRange range = {adr, size, nbytes, true};
  umemStatusType status = set_checked(ctx, c, &range, &call.error);
  return umemi_end(&call, status, ctx,
                   "umem_set_safe(%s 0x%" PRIxPTR ", size %zu, value %d, "
                   "%zu bytes)",
                   umemi_name(ctx), adr, size, c, nbytes);
}
