/* SPDX-License-Identifier: BSD-3-Clause */
/* Views that end, and ranges that are only read: as host memory, or through a
   lane's own. */
#include "internal.h"

umemStatusType umemi_view_end(struct umemiContext *ctx, void *view,
                              size_t nbytes, umemAccess access,
                              char const *role, umemStatusType status,
                              umemError *error) {
  umemError at_end;
  if (umemi_device_view_end(ctx, view, nbytes, access, &at_end) == umemOK)
    return status;
  if (status == umemOK) {
    *error = at_end;
    if (role)
      umemi_blame(error, role, ctx);
  }
  if (access == umemWrite)
    error->bytes_done = 0;
  return error->type;
}

umemStatusType umemi_source_begin(struct umemiSource *source,
                                  struct umemiContext *ctx, uintptr_t adr,
                                  size_t nbytes, umemError *error) {
  void *view = NULL;
  *source = (struct umemiSource){.ctx = ctx, .adr = adr, .nbytes = nbytes};
  umemStatusType status =
      umemi_device_view_begin(ctx, adr, nbytes, umemRead, &view, error);
  if (status == umemOK)
    source->view = view;
  return status == UMEM_DECLINED ? umemOK : status;
}

umemStatusType umemi_source_bytes(struct umemiSource const *source,
                                  size_t offset, size_t nbytes, void *room,
                                  char const **bytes_out, umemError *error) {
  *bytes_out = source->view ? source->view + offset : room;
  if (source->view)
    return umemOK;
  return umemi_device_read(source->ctx, source->adr + offset, room, nbytes,
                           error);
}

umemStatusType umemi_source_end(struct umemiSource *source, char const *role,
                                umemStatusType status, umemError *error) {
  if (!source->view)
    return status;
  return umemi_view_end(source->ctx, source->view, source->nbytes, umemRead,
                        role, status, error);
}
