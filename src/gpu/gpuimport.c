/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of other processes. A driver counts who opened a handle, or refuses it
 * the second time, by its version: so each is opened once on a device, and the
 * contexts that imported it are counted here.
 */
#include "gpu.h"

/* An open handle. */
struct opened {
  struct opened *next;
  struct umemiGpu *gpu; /* in use as long as this is */
  unsigned char handle[UMEMI_GPU_IPC];
  uintptr_t adr;
  size_t length;
  size_t users; /* imports of contexts */
};

/* What a context imported; owned by it. */
struct umemiGpuImport {
  struct umemiGpuImport *next;
  struct opened *opened;
};

static struct opened *all; /* under the lock of gpus.c */

static struct opened *opened_find(struct umemiGpu const *gpu,
                                  unsigned char const *handle) {
  struct opened *opened = all;
  while (opened && (opened->gpu != gpu ||
                    memcmp(opened->handle, handle, UMEMI_GPU_IPC) != 0))
    opened = opened->next;
  return opened;
}

static void opened_remove(struct opened *opened) {
  struct opened **at = &all;
  while (*at != opened)
    at = &(*at)->next;
  *at = opened->next;
}

/* --- open ----------------------------------------------------------------- */

/* The driver opens what the other process has; that may be less by now. Of what
   it imported it need not know the bounds: then those of the handle hold. */
static umemStatusType opened_check(struct opened const *opened,
                                   umemError *error) {
  uintptr_t start;
  size_t length;
  umemError ignored;
  if (opened->gpu->ops->block_of(opened->adr, &start, &length, &ignored) !=
          umemOK ||
      length >= opened->length)
    return umemOK;
  return umem_error_fill(error, umemIndexError, 0, 0,
                         "the block has %zu bytes, and not %zu", length,
                         opened->length);
}

static umemStatusType opened_make(struct opened *opened, umemError *error) {
  struct umemiGpuOps const *ops = opened->gpu->ops;
  umemError ignored;
  umemStatusType status = ops->ipc_open(opened->handle, &opened->adr, error);
  if (status != umemOK)
    return status;
  status = opened_check(opened, error);
  if (status != umemOK)
    ops->ipc_close(opened->adr, &ignored);
  return status;
}

static umemStatusType import_known(struct umemiGpuImport *import,
                                   struct opened *known,
                                   struct opened const *fresh,
                                   umemError *error) {
  if (known->length < fresh->length)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "the block has %zu bytes, and not %zu",
                           known->length, fresh->length);
  known->users++;
  import->opened = known;
  return umemOK;
}

/* Under the lock, inside a visit. `fresh` joins the list if it is needed. */
static umemStatusType import_locked(struct umemiGpuImport *import,
                                    struct opened *fresh, umemError *error) {
  struct opened *known = opened_find(fresh->gpu, fresh->handle);
  if (known)
    return import_known(import, known, fresh, error);
  umemStatusType status = opened_make(fresh, error);
  if (status != umemOK)
    return status;
  fresh->next = all;
  all = fresh;
  return import_known(import, fresh, fresh, error);
}

/* --- close ---------------------------------------------------------------- */

/* True if it was the last one: the caller frees the opened handle. */
static bool import_drop(struct umemiGpuImport *import) {
  bool is_last = --import->opened->users == 0;
  if (is_last)
    opened_remove(import->opened);
  return is_last;
}

/* The handle is lost afterwards, so what fails is tried twice. */
static umemStatusType opened_close(struct opened const *opened,
                                   umemError *error) {
  struct umemiGpuOps const *ops = opened->gpu->ops;
  umemError ignored;
  umemStatusType status = ops->ipc_close(opened->adr, error);
  return status == umemOK || ops->ipc_close(opened->adr, &ignored) == umemOK
             ? umemOK
             : status;
}

static umemStatusType import_end(struct umemiGpuImport *import, bool is_visited,
                                 umemError *error) {
  struct opened *opened = import->opened;
  umemStatusType status = umemOK;
  umemi_gpus_lock();
  bool is_last = import_drop(import);
  if (is_last && is_visited)
    status = opened_close(opened, error);
  umemi_gpus_unlock();
  if (is_last)
    free(opened);
  free(import);
  return status;
}

umemStatusType umemi_gpu_end_imports(struct umemiGpuState *own, bool is_visited,
                                     umemError *error) {
  umemStatusType first = umemOK;
  umemError later;
  while (own->imports) {
    struct umemiGpuImport *import = own->imports;
    own->imports = import->next;
    umemStatusType status =
        import_end(import, is_visited, first == umemOK ? error : &later);
    first = first == umemOK ? status : first;
  }
  return first;
}

/* --- the call ------------------------------------------------------------- */

static umemStatusType import_visit(struct umemiGpuState *own,
                                   struct umemiGpuImport *import,
                                   struct opened *fresh, umemError *error) {
  struct umemiGpuVisit visit;
  umemStatusType status = umemi_gpu_enter(own->gpu, &visit, error);
  if (status != umemOK)
    return status;
  umemi_gpus_lock();
  status = import_locked(import, fresh, error);
  umemi_gpus_unlock();
  return umemi_gpu_leave(&visit, status, error);
}

static void import_link(struct umemiGpuState *own,
                        struct umemiGpuImport *import) {
  umemi_lock(own->id);
  import->next = own->imports;
  own->imports = import;
  umemi_unlock(own->id);
}

/* What is open when leaving the device fails is closed with the context. */
umemStatusType umemi_gpu_import(struct umemiGpuState *own,
                                unsigned char const handle[UMEMI_GPU_IPC],
                                size_t length, uintptr_t *adr_out,
                                umemError *error) {
  struct umemiGpuImport *import = umemi_os.calloc(1, sizeof *import);
  struct opened *fresh = import ? umemi_os.calloc(1, sizeof *fresh) : NULL;
  if (!fresh) {
    free(import);
    return umemi_no_memory(error, "an imported block", sizeof *fresh);
  }
  *fresh = (struct opened){.gpu = own->gpu, .length = length};
  memcpy(fresh->handle, handle, UMEMI_GPU_IPC);
  umemStatusType status = import_visit(own, import, fresh, error);
  if (import->opened != fresh)
    free(fresh);
  if (!import->opened) {
    free(import);
    return status;
  }
  *adr_out = import->opened->adr;
  import_link(own, import);
  return status;
}

bool umemi_gpu_has_imported(struct umemiGpu const *gpu, uintptr_t adr) {
  umemi_gpus_lock();
  struct opened const *opened = all;
  while (opened && (opened->gpu != gpu || adr - opened->adr >= opened->length))
    opened = opened->next;
  umemi_gpus_unlock();
  return opened != NULL;
}
