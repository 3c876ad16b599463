/* SPDX-License-Identifier: BSD-3-Clause */
/* Set: by the device itself, through a view where it offers one, else staged
   writes. */
#include "internal.h"

static umemStatusType set_staged(struct umemiContext *ctx, uintptr_t adr, int c,
                                 size_t nbytes, umemError *error) {
  struct umemiSlot slot;
  umemStatusType status = umemi_slot_take(&slot, nbytes, error);
  if (status != umemOK)
    return status;
  memset(slot.ptr, c, nbytes < slot.size ? nbytes : slot.size);
  for (size_t done = 0; status == umemOK && done < nbytes;) {
    size_t left = nbytes - done;
    size_t chunk = left < slot.size ? left : slot.size;
    status = umemi_device_write(ctx, adr + done, slot.ptr, chunk, error);
    if (status != umemOK)
      error->bytes_done += done;
    done += chunk;
  }
  umemi_slot_give(&slot);
  return status;
}

static umemStatusType set_view(struct umemiContext *ctx, uintptr_t adr, int c,
                               size_t nbytes, umemError *error) {
  void *view;
  umemStatusType status =
      umemi_device_view_begin(ctx, adr, nbytes, umemWrite, &view, error);
  if (status != umemOK)
    return status;
  memset(view, c, nbytes);
  return umemi_view_end(ctx, view, nbytes, umemWrite, NULL, umemOK, error);
}

umemStatusType umemi_set(struct umemiContext *ctx, uintptr_t adr, int c,
                         size_t nbytes, umemError *error) {
  static umemStatusType (*const ways[])(struct umemiContext *, uintptr_t, int,
                                        size_t, umemError *) = {
      umemi_device_set, set_view, set_staged};
  umemStatusType status = umemOK;
  for (size_t i = 0; nbytes > 0 && i < sizeof ways / sizeof *ways; i++) {
    status = ways[i](ctx, adr, c, nbytes, error);
    if (status != UMEM_DECLINED)
      break;
  }
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
