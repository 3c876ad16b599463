/* SPDX-License-Identifier: BSD-3-Clause */
/* May a call access these bytes? Asked before any of them moves. */
#include "internal.h"

umemStatusType umemi_check_address(struct umemiContext *ctx,
                                   struct umemiRange const *range,
                                   umemAccess access, umemError *error) {
  size_t first = range->nbytes && range->adr < UINTPTR_MAX;
  return umemi_device_check(ctx, range->adr, first, access, error);
}

static umemStatusType range_wraps(uintptr_t adr, char const *what,
                                  size_t nbytes, umemError *error) {
  return umem_error_fill(error, umemIndexError, 0, 0,
                         "0x%" PRIxPTR " + %s %zu wraps, or exceeds "
                         "PTRDIFF_MAX",
                         adr, what, nbytes);
}

umemStatusType umemi_check_range(struct umemiContext *ctx,
                                 struct umemiRange const *range,
                                 umemAccess access, umemError *error) {
  (void)access;
  if (range->nbytes > range->size)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "%zu bytes exceed the size of %zu", range->nbytes,
                           range->size);
  if (umemi_wraps(range->adr, range->nbytes))
    return range_wraps(range->adr, "nbytes", range->nbytes, error);
  if (!range->safe)
    return umemOK;
  if (umemi_wraps(range->adr, range->size))
    return range_wraps(range->adr, "size", range->size, error);
  return umemi_registry_bound(ctx, range->adr, range->nbytes, error);
}

umemStatusType umemi_check_access(struct umemiContext *ctx,
                                  struct umemiRange const *range,
                                  umemAccess access, umemError *error) {
  return umemi_device_check(ctx, range->adr, range->nbytes, access, error);
}

umemStatusType umemi_check(struct umemiContext *ctx,
                           struct umemiRange const *range, umemAccess access,
                           umemError *error) {
  umemStatusType status = umemi_check_address(ctx, range, access, error);
  if (status == umemOK)
    status = umemi_check_range(ctx, range, access, error);
  if (status == umemOK)
    status = umemi_check_access(ctx, range, access, error);
  return status;
}

umemStatusType umemi_check_end(struct umemiContext *ctx,
                               struct umemiRange const *range,
                               umemError *error) {
  char byte;
  if (!(ctx->vtbl->caps & UMEM_CAP_MAY_END) || range->nbytes == 0)
    return umemOK;
  umemStatusType status =
      umemi_device_read(ctx, range->adr + range->nbytes - 1, &byte, 1, error);
  if (status != umemOK)
    error->bytes_done = 0;
  return status;
}

/* Of foreign kinds the right alone, whatever else may be wrong with address 0.
 */
bool umemi_has_right(struct umemiContext *ctx, umemAccess access) {
  umemError ignored;
  if (!ctx->foreign_vtbl)
    return !(ctx->refuses & (1u << access));
  return umemi_device_check(ctx, 0, 0, access, &ignored) != umemValueError;
}

bool umemi_grants(struct umemiContext *src, struct umemiContext *dest) {
  if (src == dest)
    return true;
  bool writes_all = !(src->refuses & UMEMI_REFUSES_SOME_WRITES) &&
                    umemi_has_right(src, umemWrite);
  return (writes_all || !umemi_has_right(dest, umemWrite)) &&
         (umemi_has_right(src, umemRead) || !umemi_has_right(dest, umemRead));
}
