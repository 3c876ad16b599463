/* SPDX-License-Identifier: BSD-3-Clause */
/* Files and block devices: an address is a byte offset. */
#include "../internal.h"

static size_t file_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct umemiStore const *store = state;
  out[0] = (umemSpace){UMEM_SPACE_FILE,
                       {store->open.claim.device, store->open.claim.inode}};
  return 1;
}

static umemStatusType file_dtor(void *state, umemError *error) {
  umemStatusType status = umemi_store_close(state, error);
  free(state);
  return status;
}

static struct umemVtbl const file_vtbl = {
    .size = sizeof(struct umemVtbl),
    .type = umemFileDevice,
    .caps = UMEM_CAP_MAY_END,
    .name = "File",
    .fundamental_align = 1,
    .max_align = (SIZE_MAX >> 1) + 1,
    .dtor = file_dtor,
    .alloc = umemi_store_alloc,
    .free = umemi_store_free,
    .read = umemi_store_read,
    .write = umemi_store_write,
    .spaces = file_spaces,
    .check = umemi_store_check,
    .calloc = umemi_store_calloc,
    .flush = umemi_store_flush,
    .discard = umemi_store_discard,
    .copy_peer = umemi_store_copy_peer,
    .view_begin = umemi_no_view_begin,
    .view_end = umemi_no_view_end,
    .set = umemi_store_set,
    .next_data = umemi_store_next_data,
    .limits = umemi_store_limits,
    .export_handle = umemi_store_export_handle,
    .import_handle = umemi_store_import_handle,
    .stage_alloc = umemi_no_stage_alloc,
    .stage_free = umemi_no_stage_free,
    .can_reach = umemi_no_can_reach,
    .punch = umemi_store_punch,
    UMEMI_NO_ROWS,
};

static umemStatusType file_open(umemFile *ctx, char const *filename,
                                char const *mode,
                                umemFileOptions const *options,
                                umemError *error) {
  struct umemiStore *store = umemi_os.calloc(1, sizeof *store);
  if (!store)
    return umemi_no_memory(error, "a File context", sizeof *store);
  umemStatusType status =
      umemi_store_open(store, ctx, filename, mode, options, false, error);
  if (status == umemOK)
    umemi_ctor_end(ctx, &file_vtbl, store, store->open.name, 0);
  else
    free(store);
  return status;
}

static umemStatusType file_ctor(umemFile *ctx, char const *filename,
                                char const *mode, umemFileOptions const *given,
                                struct umemiCall *call) {
  umemError *error = &call->error;
  umemFileOptions options = {.size = sizeof options};
  umemStatusType status = umemi_ctor_begin(ctx, file_vtbl.name, error);
  if (status == umemOK && given)
    status = umemi_take_options(&options, sizeof options, given, error);
  if (status != umemOK)
    return status;
  status = umemi_store_names(filename, mode, options.flags, call);
  return status == umemOK ? file_open(ctx, filename, mode, &options, error)
                          : status;
}

umemStatusType umemFile_ctor(umemFile *ctx, char const *filename,
                             char const *mode) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = file_ctor(ctx, filename, mode, NULL, &call);
  return umemi_end(&call, status, ctx, "umemFile_ctor(mode %.8s)",
                   mode ? mode : "NULL");
}

umemStatusType umemFile_ctor_ex(umemFile *ctx, char const *filename,
                                char const *mode,
                                umemFileOptions const *options) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = file_ctor(ctx, filename, mode, options, &call);
  return umemi_end(&call, status, ctx, "umemFile_ctor_ex(mode %.8s)",
                   mode ? mode : "NULL");
}
