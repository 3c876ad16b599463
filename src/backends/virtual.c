/* SPDX-License-Identifier: BSD-3-Clause */
/* A context without methods: every operation answers NotImplementedError. */
#include "../internal.h"

static umemStatusType virtual_refuse(umemError *error) {
  return umem_error_fill(error, umemNotImplementedError, 0, 0,
                         "a Virtual context has no methods");
}

static umemStatusType virtual_dtor(void *state, umemError *error) {
  (void)state, (void)error;
  return umemOK;
}

static umemStatusType virtual_alloc(void *state, size_t nbytes,
                                    size_t alignment, uintptr_t *adr_out,
                                    umemError *error) {
  (void)state, (void)nbytes, (void)alignment, (void)adr_out;
  return virtual_refuse(error);
}

static umemStatusType virtual_free(void *state, uintptr_t adr, size_t nbytes,
                                   umemError *error) {
  (void)state, (void)adr, (void)nbytes;
  return virtual_refuse(error);
}

static umemStatusType virtual_read(void *state, uintptr_t adr, void *out,
                                   size_t nbytes, umemError *error) {
  (void)state, (void)adr, (void)out, (void)nbytes;
  return virtual_refuse(error);
}

static umemStatusType virtual_write(void *state, uintptr_t adr, void const *in,
                                    size_t nbytes, umemError *error) {
  (void)state, (void)adr, (void)in, (void)nbytes;
  return virtual_refuse(error);
}

static size_t virtual_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  out[0] = (umemSpace){UMEM_SPACE_PRIVATE, {(uintptr_t)state, 0}};
  return 1;
}

static umemStatusType virtual_check(void *state, uintptr_t adr, size_t nbytes,
                                    umemAccess access, umemError *error) {
  (void)state, (void)adr, (void)nbytes, (void)access;
  return virtual_refuse(error);
}

static umemStatusType virtual_flush(void *state, umemError *error) {
  (void)state;
  return virtual_refuse(error);
}

static struct umemVtbl const virtual_vtbl = {
    .size = sizeof(struct umemVtbl),
    .type = umemVirtualDevice,
    .caps = UMEM_CAP_OWN_REGISTRY,
    .name = "Virtual",
    .fundamental_align = 1,
    .dtor = virtual_dtor,
    .alloc = virtual_alloc,
    .free = virtual_free,
    .read = virtual_read,
    .write = virtual_write,
    .spaces = virtual_spaces,
    .check = virtual_check,
    .calloc = umemi_no_calloc,
    .flush = virtual_flush,
    .discard = umemi_no_discard,
    .copy_peer = umemi_no_copy_peer,
    .view_begin = umemi_no_view_begin,
    .view_end = umemi_no_view_end,
    .set = umemi_no_set,
    .next_data = umemi_no_next_data,
    .limits = umemi_no_limits,
    .export_handle = umemi_no_export_handle,
    .import_handle = umemi_no_import_handle,
    .stage_alloc = umemi_no_stage_alloc,
    .stage_free = umemi_no_stage_free,
    .can_reach = umemi_no_can_reach,
    .punch = umemi_no_punch,
    UMEMI_NO_ROWS,
};

static umemStatusType virtual_ctor(umemVirtual *ctx, umemHost *host,
                                   umemError *error) {
  umemStatusType status = umemi_ctor_begin(ctx, virtual_vtbl.name, error);
  if (status == umemOK && host)
    status = umemi_need_live(host, "host ", error);
  if (status != umemOK)
    return status;
  if (host && umemi_context(host)->vtbl->type != umemHostDevice)
    return umem_error_fill(error, umemTypeError, 0, 0,
                           "host is a %s context, not a Host",
                           umemi_name(host));
  /* its address tells its space from those of others */
  umemi_ctor_end(ctx, &virtual_vtbl, ctx, NULL, 0);
  return umemOK;
}

umemStatusType umemVirtual_ctor(umemVirtual *ctx, umemHost *host) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = virtual_ctor(ctx, host, &call.error);
  return umemi_end_two(&call, status, ctx, host, "umemVirtual_ctor(host %s)",
                       umemi_name(host));
}
