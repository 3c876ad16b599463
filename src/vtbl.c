/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables of foreign kinds: checked, copied, completed with defaults. */
#include "internal.h"

umemStatusType umemi_no_check(void *state, uintptr_t adr, size_t nbytes,
                              umemAccess access, umemError *error) {
  (void)state, (void)adr, (void)nbytes, (void)access, (void)error;
  return umemOK;
}

umemStatusType umemi_no_calloc(void *state, size_t nbytes, uintptr_t *adr_out,
                               umemError *error) {
  (void)state, (void)nbytes, (void)adr_out, (void)error;
  return UMEM_DECLINED;
}

umemStatusType umemi_no_flush(void *state, umemError *error) {
  (void)state, (void)error;
  return umemOK;
}

umemStatusType umemi_no_discard(void *state, umemError *error) {
  (void)state;
  return umem_error_fill(error, umemNotImplementedError, 0, 0,
                         "this kind of context publishes nothing");
}

umemStatusType umemi_no_copy_peer(void *src_state, uintptr_t src_adr,
                                  void *dest_state, uintptr_t dest_adr,
                                  size_t nbytes, umemError *error) {
  (void)src_state, (void)src_adr, (void)dest_state, (void)dest_adr;
  (void)nbytes, (void)error;
  return UMEM_DECLINED;
}

umemStatusType umemi_no_view_begin(void *state, uintptr_t adr, size_t nbytes,
                                   umemAccess access, void **ptr_out,
                                   umemError *error) {
  (void)state, (void)adr, (void)nbytes, (void)access, (void)ptr_out;
  (void)error;
  return UMEM_DECLINED;
}

umemStatusType umemi_no_view_end(void *state, void *ptr, size_t nbytes,
                                 umemAccess access, umemError *error) {
  (void)state, (void)ptr, (void)nbytes, (void)access, (void)error;
  return umemOK;
}

umemStatusType umemi_no_set(void *state, uintptr_t adr, int c, size_t nbytes,
                            umemError *error) {
  (void)state, (void)adr, (void)c, (void)nbytes, (void)error;
  return UMEM_DECLINED;
}

umemStatusType umemi_no_next_data(void *state, uintptr_t adr, size_t nbytes,
                                  size_t *zeros_out, size_t *data_out,
                                  umemError *error) {
  (void)state, (void)adr, (void)error;
  *zeros_out = 0;
  *data_out = nbytes;
  return umemOK;
}

void umemi_no_limits(void *state, unsigned access, uintptr_t adr, size_t nbytes,
                     struct umemLimits *out) {
  (void)state, (void)access, (void)adr, (void)nbytes, (void)out;
}

umemStatusType umemi_no_export_handle(void *state, uintptr_t adr, size_t nbytes,
                                      unsigned char *payload_out,
                                      umemError *error) {
  (void)state, (void)adr, (void)nbytes, (void)payload_out;
  return umem_error_fill(error, umemNotImplementedError, 0, 0,
                         "this kind has no handles");
}

umemStatusType umemi_no_import_handle(void *state, unsigned char const *payload,
                                      size_t nbytes, uintptr_t *adr_out,
                                      umemError *error) {
  (void)payload;
  (void)adr_out;
  return umemi_no_export_handle(state, 0, nbytes, NULL, error);
}

umemStatusType umemi_no_stage_alloc(void *state, size_t nbytes, void **ptr_out,
                                    umemError *error) {
  (void)state, (void)nbytes, (void)ptr_out, (void)error;
  return UMEM_DECLINED;
}

void umemi_no_stage_free(void *state, void *ptr, size_t nbytes) {
  (void)state, (void)ptr, (void)nbytes;
}

bool umemi_no_can_reach(void *state, void *dest_state) {
  (void)state, (void)dest_state;
  return false;
}

umemStatusType umemi_no_punch(void *state, uintptr_t adr, size_t nbytes,
                              umemError *error) {
  (void)state, (void)adr, (void)nbytes, (void)error;
  return UMEM_DECLINED;
}

umemStatusType umemi_no_read_2d(void *state, uintptr_t adr, void *out,
                                struct umemRows const *rows, umemError *error) {
  (void)state, (void)adr, (void)out, (void)rows, (void)error;
  return UMEM_DECLINED;
}

umemStatusType umemi_no_write_2d(void *state, uintptr_t adr, void const *in,
                                 struct umemRows const *rows,
                                 umemError *error) {
  (void)state, (void)adr, (void)in, (void)rows, (void)error;
  return UMEM_DECLINED;
}

umemStatusType umemi_no_copy_peer_2d(void *src_state, uintptr_t src_adr,
                                     void *dest_state, uintptr_t dest_adr,
                                     struct umemRows const *rows,
                                     umemError *error) {
  (void)src_state, (void)src_adr, (void)dest_state, (void)dest_adr;
  (void)rows, (void)error;
  return UMEM_DECLINED;
}

static void vtbl_complete_rows(struct umemVtbl *vtbl) {
  if (!vtbl->read_2d) {
    vtbl->read_2d = umemi_no_read_2d;
    vtbl->write_2d = umemi_no_write_2d;
  }
  if (!vtbl->copy_peer_2d)
    vtbl->copy_peer_2d = umemi_no_copy_peer_2d;
}

static void vtbl_complete(struct umemVtbl *vtbl) {
  if (!vtbl->check)
    vtbl->check = umemi_no_check;
  if (!vtbl->calloc)
    vtbl->calloc = umemi_no_calloc;
  if (!vtbl->flush)
    vtbl->flush = umemi_no_flush;
  if (!vtbl->discard)
    vtbl->discard = umemi_no_discard;
  if (!vtbl->copy_peer)
    vtbl->copy_peer = umemi_no_copy_peer;
  if (!vtbl->view_begin) {
    vtbl->view_begin = umemi_no_view_begin;
    vtbl->view_end = umemi_no_view_end;
  }
  if (!vtbl->set)
    vtbl->set = umemi_no_set;
  if (!vtbl->next_data)
    vtbl->next_data = umemi_no_next_data;
  if (!vtbl->limits)
    vtbl->limits = umemi_no_limits;
  if (!vtbl->export_handle) {
    vtbl->export_handle = umemi_no_export_handle;
    vtbl->import_handle = umemi_no_import_handle;
  }
  if (!vtbl->stage_alloc) {
    vtbl->stage_alloc = umemi_no_stage_alloc;
    vtbl->stage_free = umemi_no_stage_free;
  }
  if (!vtbl->can_reach)
    vtbl->can_reach = umemi_no_can_reach;
  if (!vtbl->punch)
    vtbl->punch = umemi_no_punch;
  vtbl_complete_rows(vtbl);
  if (vtbl->fundamental_align == 0)
    vtbl->fundamental_align = 1;
  if (vtbl->max_align < vtbl->fundamental_align)
    vtbl->max_align = vtbl->fundamental_align;
  vtbl->size = sizeof *vtbl;
}

static char const *vtbl_fault(struct umemVtbl const *vtbl) {
  if (vtbl->type < umemForeignDevice)
    return "type is below umemForeignDevice";
  if (!vtbl->name || !vtbl->name[0])
    return "name is NULL or empty";
  uint32_t known = UMEM_CAP_BLOCKS_OUTLIVE | UMEM_CAP_OWN_REGISTRY |
                   UMEM_CAP_VIEWS_IN_PLACE | UMEM_CAP_MAY_END;
  if (vtbl->caps & ~known)
    return "caps has unknown bits";
  if (!vtbl->dtor || !vtbl->alloc || !vtbl->free || !vtbl->read ||
      !vtbl->write || !vtbl->spaces)
    return "a required method is NULL";
  if (!vtbl->view_begin != !vtbl->view_end)
    return "view_begin and view_end come together";
  if (!vtbl->export_handle != !vtbl->import_handle)
    return "export_handle and import_handle come together";
  if (!vtbl->stage_alloc != !vtbl->stage_free)
    return "stage_alloc and stage_free come together";
  if (!vtbl->read_2d != !vtbl->write_2d)
    return "read_2d and write_2d come together";
  if ((vtbl->fundamental_align && !umem_ispowerof2(vtbl->fundamental_align)) ||
      (vtbl->max_align && !umem_ispowerof2(vtbl->max_align)))
    return "an alignment is not a power of 2";
  return NULL;
}

/* A complete copy of `given` on the heap. */
static umemStatusType vtbl_adopt(struct umemVtbl const *given,
                                 struct umemVtbl **out, umemError *error) {
  if (!given)
    return umemi_null(error, "vtbl");
  struct umemVtbl vtbl = {.size = 0};
  umemStatusType status = umemi_take_options(&vtbl, sizeof vtbl, given, error);
  if (status != umemOK)
    return status;
  char const *fault = vtbl_fault(&vtbl);
  if (fault)
    return umem_error_fill(error, umemValueError, 0, 0, "vtbl: %s", fault);
  *out = umemi_os.malloc(sizeof vtbl);
  if (!*out)
    return umemi_no_memory(error, "a table of methods", sizeof vtbl);
  vtbl_complete(&vtbl);
  **out = vtbl;
  return umemOK;
}

static umemStatusType vtbl_ctor(umemVirtual *ctx, struct umemVtbl const *given,
                                void *state, umemError *error) {
  umemStatusType status = umemi_ctor_begin(ctx, "Virtual", error);
  if (status != umemOK)
    return status;
  struct umemVtbl *vtbl = NULL;
  status = vtbl_adopt(given, &vtbl, error);
  if (status != umemOK)
    return status;
  umemi_context(ctx)->foreign_vtbl = vtbl;
  umemi_ctor_end(ctx, vtbl, state, NULL, 0);
  return umemOK;
}

umemStatusType umemVirtual_ctor_ex(umemVirtual *ctx,
                                   struct umemVtbl const *vtbl, void *state) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = vtbl_ctor(ctx, vtbl, state, &call.error);
  return umemi_end(&call, status, ctx, "umemVirtual_ctor_ex");
}
