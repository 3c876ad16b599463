/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The only way to a backend's methods: one function per method, which makes
 * sure that a failure has a status that exists and a reason, whatever the
 * backend did.
 */
#include "internal.h"

static umemStatusType device_end(struct umemiContext *ctx, char const *method,
                                 umemStatusType status, umemError *error) {
  if (status == umemOK || (status == error->type && status <= umemAssertError))
    return status;
  if ((unsigned)status > umemAssertError)
    return umem_error_fill(error, umemRuntimeError, 0, 0,
                           "%s() of the %s backend returned %d, which is not a "
                           "status",
                           method, ctx->vtbl->name, (int)status);
  return umem_error_fill(error, status, 0, 0,
                         "%s() of the %s backend gave no reason", method,
                         ctx->vtbl->name);
}

/* For methods that may decline. */
static umemStatusType device_end_optional(struct umemiContext *ctx,
                                          char const *method,
                                          umemStatusType status,
                                          umemError *error) {
  return status == UMEM_DECLINED ? status
                                 : device_end(ctx, method, status, error);
}

/* No more bytes are done than there are. */
static umemStatusType device_bound(umemStatusType status, size_t nbytes,
                                   umemError *error) {
  if (status != umemOK && status != UMEM_DECLINED && error->bytes_done > nbytes)
    error->bytes_done = nbytes;
  return status;
}

umemStatusType umemi_device_dtor(struct umemiContext *ctx, umemError *error) {
  error->type = umemOK;
  return device_end(ctx, "dtor", ctx->vtbl->dtor(ctx->state, error), error);
}

umemStatusType umemi_device_alloc(struct umemiContext *ctx, size_t nbytes,
                                  size_t alignment, uintptr_t *adr_out,
                                  umemError *error) {
  error->type = umemOK;
  return device_end(
      ctx, "alloc",
      ctx->vtbl->alloc(ctx->state, nbytes, alignment, adr_out, error), error);
}

umemStatusType umemi_device_calloc(struct umemiContext *ctx, size_t nbytes,
                                   uintptr_t *adr_out, umemError *error) {
  error->type = umemOK;
  return device_end_optional(
      ctx, "calloc", ctx->vtbl->calloc(ctx->state, nbytes, adr_out, error),
      error);
}

umemStatusType umemi_device_free(struct umemiContext *ctx, uintptr_t adr,
                                 size_t nbytes, umemError *error) {
  error->type = umemOK;
  return device_end(ctx, "free",
                    ctx->vtbl->free(ctx->state, adr, nbytes, error), error);
}

umemStatusType umemi_device_read(struct umemiContext *ctx, uintptr_t adr,
                                 void *out, size_t nbytes, umemError *error) {
  error->type = umemOK;
  umemStatusType status = ctx->vtbl->read(ctx->state, adr, out, nbytes, error);
  return device_bound(device_end(ctx, "read", status, error), nbytes, error);
}

umemStatusType umemi_device_write(struct umemiContext *ctx, uintptr_t adr,
                                  void const *in, size_t nbytes,
                                  umemError *error) {
  error->type = umemOK;
  umemStatusType status = ctx->vtbl->write(ctx->state, adr, in, nbytes, error);
  return device_bound(device_end(ctx, "write", status, error), nbytes, error);
}

size_t umemi_device_spaces(struct umemiContext *ctx,
                           umemSpace out[UMEM_SPACES_MAX]) {
  size_t count = ctx->vtbl->spaces(ctx->state, out);
  if (count > 0)
    return count < UMEM_SPACES_MAX ? count : UMEM_SPACES_MAX;
  out[0] = (umemSpace){UMEM_SPACE_PRIVATE, {ctx->id, 0}};
  return 1;
}

umemStatusType umemi_device_check(struct umemiContext *ctx, uintptr_t adr,
                                  size_t nbytes, umemAccess access,
                                  umemError *error) {
  error->type = umemOK;
  return device_end(ctx, "check",
                    ctx->vtbl->check(ctx->state, adr, nbytes, access, error),
                    error);
}

umemStatusType umemi_device_flush(struct umemiContext *ctx, umemError *error) {
  error->type = umemOK;
  return device_end(ctx, "flush", ctx->vtbl->flush(ctx->state, error), error);
}

umemStatusType umemi_device_discard(struct umemiContext *ctx,
                                    umemError *error) {
  error->type = umemOK;
  return device_end(ctx, "discard", ctx->vtbl->discard(ctx->state, error),
                    error);
}

umemStatusType umemi_device_copy_peer(struct umemiContext *src,
                                      uintptr_t src_adr,
                                      struct umemiContext *dest,
                                      uintptr_t dest_adr, size_t nbytes,
                                      umemError *error) {
  error->type = umemOK;
  umemStatusType status = src->vtbl->copy_peer(src->state, src_adr, dest->state,
                                               dest_adr, nbytes, error);
  return device_bound(device_end_optional(src, "copy_peer", status, error),
                      nbytes, error);
}

/* What a kind says of its views has to be true: others' bytes depend on it. */
static umemStatusType device_check_view(struct umemiContext const *ctx,
                                        uintptr_t adr, void const *ptr,
                                        umemError *error) {
  if (!(ctx->vtbl->caps & UMEM_CAP_VIEWS_IN_PLACE) || (uintptr_t)ptr == adr)
    return umemOK;
  return umem_error_fill(
      error, umemRuntimeError, 0, 0,
      "view_begin() of the %s backend gave %p for 0x%" PRIxPTR
      ", but its views are in place",
      ctx->vtbl->name, ptr, adr);
}

umemStatusType umemi_device_view_begin(struct umemiContext *ctx, uintptr_t adr,
                                       size_t nbytes, umemAccess access,
                                       void **ptr_out, umemError *error) {
  error->type = umemOK;
  umemStatusType status = device_end_optional(
      ctx, "view_begin",
      ctx->vtbl->view_begin(ctx->state, adr, nbytes, access, ptr_out, error),
      error);
  return status == umemOK ? device_check_view(ctx, adr, *ptr_out, error)
                          : status;
}

umemStatusType umemi_device_view_end(struct umemiContext *ctx, void *ptr,
                                     size_t nbytes, umemAccess access,
                                     umemError *error) {
  error->type = umemOK;
  return device_end(ctx, "view_end",
                    ctx->vtbl->view_end(ctx->state, ptr, nbytes, access, error),
                    error);
}

umemStatusType umemi_device_set(struct umemiContext *ctx, uintptr_t adr, int c,
                                size_t nbytes, umemError *error) {
  error->type = umemOK;
  umemStatusType status = ctx->vtbl->set(ctx->state, adr, c, nbytes, error);
  return device_bound(device_end_optional(ctx, "set", status, error), nbytes,
                      error);
}

/* Zeros that take storage are better than none. */
umemStatusType umemi_device_punch(struct umemiContext *ctx, uintptr_t adr,
                                  size_t nbytes, umemError *error) {
  error->type = umemOK;
  umemStatusType status = ctx->vtbl->punch(ctx->state, adr, nbytes, error);
  if (status == UMEM_DECLINED)
    return umemi_device_set(ctx, adr, 0, nbytes, error);
  return device_bound(device_end_optional(ctx, "punch", status, error), nbytes,
                      error);
}

/* What a device says too much of is cut off; at least one byte comes. */
umemStatusType umemi_device_next_data(struct umemiContext *ctx, uintptr_t adr,
                                      size_t nbytes, size_t *zeros_out,
                                      size_t *data_out, umemError *error) {
  error->type = umemOK;
  *zeros_out = 0;
  *data_out = nbytes;
  umemStatusType status = device_end(
      ctx, "next_data",
      ctx->vtbl->next_data(ctx->state, adr, nbytes, zeros_out, data_out, error),
      error);
  if (*zeros_out > nbytes)
    *zeros_out = nbytes;
  if (*data_out > nbytes - *zeros_out || *zeros_out + *data_out == 0)
    *data_out = nbytes - *zeros_out;
  return status;
}

umemStatusType umemi_device_export_handle(struct umemiContext *ctx,
                                          uintptr_t adr, size_t nbytes,
                                          unsigned char *payload_out,
                                          umemError *error) {
  error->type = umemOK;
  return device_end(
      ctx, "export_handle",
      ctx->vtbl->export_handle(ctx->state, adr, nbytes, payload_out, error),
      error);
}

umemStatusType umemi_device_import_handle(struct umemiContext *ctx,
                                          unsigned char const *payload,
                                          size_t nbytes, uintptr_t *adr_out,
                                          umemError *error) {
  error->type = umemOK;
  return device_end(
      ctx, "import_handle",
      ctx->vtbl->import_handle(ctx->state, payload, nbytes, adr_out, error),
      error);
}

umemStatusType umemi_device_stage_alloc(struct umemiContext *ctx, size_t nbytes,
                                        void **ptr_out, umemError *error) {
  error->type = umemOK;
  return device_end_optional(
      ctx, "stage_alloc",
      ctx->vtbl->stage_alloc(ctx->state, nbytes, ptr_out, error), error);
}

void umemi_device_stage_free(struct umemiContext *ctx, void *ptr,
                             size_t nbytes) {
  ctx->vtbl->stage_free(ctx->state, ptr, nbytes);
}

bool umemi_device_can_reach(struct umemiContext *ctx,
                            struct umemiContext *dest) {
  return ctx->vtbl->can_reach(ctx->state, dest->state);
}

static umemStatusType device_end_rows(struct umemiContext *ctx,
                                      char const *method, umemStatusType status,
                                      struct umemRows const *rows,
                                      umemError *error) {
  status = device_end_optional(ctx, method, status, error);
  return device_bound(status, rows->row_bytes * rows->rows, error);
}

umemStatusType umemi_device_read_2d(struct umemiContext *ctx, uintptr_t adr,
                                    void *out, struct umemRows const *rows,
                                    umemError *error) {
  error->type = umemOK;
  umemStatusType status = ctx->vtbl->read_2d(ctx->state, adr, out, rows, error);
  return device_end_rows(ctx, "read_2d", status, rows, error);
}

umemStatusType umemi_device_write_2d(struct umemiContext *ctx, uintptr_t adr,
                                     void const *in,
                                     struct umemRows const *rows,
                                     umemError *error) {
  error->type = umemOK;
  umemStatusType status = ctx->vtbl->write_2d(ctx->state, adr, in, rows, error);
  return device_end_rows(ctx, "write_2d", status, rows, error);
}

umemStatusType
umemi_device_copy_peer_2d(struct umemiContext *src, uintptr_t src_adr,
                          struct umemiContext *dest, uintptr_t dest_adr,
                          struct umemRows const *rows, umemError *error) {
  error->type = umemOK;
  umemStatusType status = src->vtbl->copy_peer_2d(
      src->state, src_adr, dest->state, dest_adr, rows, error);
  return device_end_rows(src, "copy_peer_2d", status, rows, error);
}

struct umemLimits umemi_device_limits(struct umemiContext *ctx, uintptr_t adr,
                                      size_t nbytes, unsigned access) {
  struct umemLimits limits = {.size = sizeof limits};
  ctx->vtbl->limits(ctx->state, access, adr, nbytes, &limits);
  return limits;
}
