/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of CUDA devices. */
#include "../gpu/gpu.h"

/* --- alloc and free ------------------------------------------------------- */

static umemStatusType cuda_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  struct umemiGpuState *cuda = state;
  struct umemiGpuVisit visit;
  (void)alignment; /* the fundamental one at most */
  nbytes += !nbytes;
  if (cuda->pool)
    return umemi_gpu_pool_alloc(cuda, nbytes, adr_out, error);
  umemStatusType status = umemi_gpu_enter(cuda->gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = cuda->gpu->ops->alloc(nbytes, adr_out, error);
  return umemi_gpu_leave_with(&visit, status, cuda->gpu->ops->free, *adr_out,
                              error);
}

static umemStatusType cuda_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  struct umemiGpuState *cuda = state;
  (void)nbytes;
  if (!umemi_gpu_is_usable(cuda->gpu))
    return umemOK;
  if (cuda->pool)
    return umemi_gpu_pool_free(cuda, adr, error);
  return umemi_gpu_give(cuda, cuda->gpu->ops->free, adr, error);
}

/* --- bytes ---------------------------------------------------------------- */

/* Says where the block ends, if that is what was wrong. */
static umemStatusType cuda_explain(struct umemiGpuState *cuda,
                                   umemStatusType status, uintptr_t adr,
                                   size_t nbytes, umemError *error) {
  struct umemiGpuVisit visit;
  umemError ignored;
  uintptr_t start = 0;
  size_t length = 0;
  if (status != umemValueError ||
      umemi_gpu_enter(cuda->gpu, &visit, &ignored) != umemOK)
    return status;
  umemStatusType found =
      cuda->gpu->ops->block_of(adr, &start, &length, &ignored);
  if (umemi_gpu_leave(&visit, found, &ignored) != umemOK ||
      adr - start + nbytes <= length)
    return status;
  return umem_error_fill(error, umemIndexError, 0, error->native,
                         "%zu bytes at 0x%" PRIxPTR " leave the device's block "
                         "of %zu bytes at 0x%" PRIxPTR,
                         nbytes, adr, length, start);
}

static umemStatusType cuda_read(void *state, uintptr_t adr, void *out,
                                size_t nbytes, umemError *error) {
  struct umemiGpuState *cuda = state;
  umemStatusType status = umemi_gpu_mem_read(cuda, adr, out, nbytes, error);
  return cuda_explain(cuda, status, adr, nbytes, error);
}

static umemStatusType cuda_write(void *state, uintptr_t adr, void const *in,
                                 size_t nbytes, umemError *error) {
  struct umemiGpuState *cuda = state;
  umemStatusType status = umemi_gpu_mem_write(cuda, adr, in, nbytes, error);
  return cuda_explain(cuda, status, adr, nbytes, error);
}

static umemStatusType cuda_set(void *state, uintptr_t adr, int c, size_t nbytes,
                               umemError *error) {
  struct umemiGpuState *cuda = state;
  umemStatusType status = umemi_gpu_mem_set(cuda, adr, c, nbytes, error);
  return cuda_explain(cuda, status, adr, nbytes, error);
}

/* --- copies within and between -------------------------------------------- */

/* After what both contexts come after. */
static umemStatusType cuda_begin_within(struct umemiGpuState const *src,
                                        struct umemiGpuState const *dest,
                                        struct umemiGpuTurn *turn,
                                        umemError *error) {
  umemStatusType status = umemi_gpu_begin(dest->gpu, dest->after, turn, error);
  if (status != umemOK || src->after == dest->after)
    return status;
  status = umemi_gpu_order(turn, src->after, error);
  return status == umemOK ? umemOK : umemi_gpu_end(turn, status, error);
}

/* A block for the turn alone. */
static umemStatusType cuda_scratch_take(struct umemiGpuTurn const *turn,
                                        umemiGpuPool pool, size_t nbytes,
                                        uintptr_t *adr_out, umemError *error) {
  struct umemiGpuOps const *ops = turn->visit.gpu->ops;
  return pool
             ? ops->pool_alloc(pool, nbytes, turn->lane->stream, adr_out, error)
             : ops->alloc(nbytes, adr_out, error);
}

/* When what was begun with it is through; if that is not known, never. */
static umemStatusType cuda_scratch_give(struct umemiGpuTurn const *turn,
                                        umemiGpuPool pool, uintptr_t adr,
                                        umemError *error) {
  struct umemiGpuOps const *ops = turn->visit.gpu->ops;
  umemiGpuStream stream = turn->lane->stream;
  umemError ignored;
  if (pool)
    return ops->pool_give(adr, stream, error);
  umemStatusType status = ops->stream_wait(stream, error);
  if (status == umemOK || ops->stream_wait(stream, &ignored) == umemOK)
    ops->free(adr, &ignored);
  return status;
}

/* In pieces through a block that lies elsewhere, from the end where the
   destination lies behind: no byte is overwritten before it is read. */
static umemStatusType cuda_move(struct umemiGpuTurn const *turn, uintptr_t src,
                                uintptr_t dest, size_t nbytes,
                                uintptr_t scratch, size_t piece,
                                umemError *error) {
  struct umemiGpuOps const *ops = turn->visit.gpu->ops;
  umemiGpuStream stream = turn->lane->stream;
  umemStatusType status = umemOK;
  for (size_t done = 0; status == umemOK && done < nbytes; done += piece) {
    if (piece > nbytes - done)
      piece = nbytes - done;
    size_t at = dest > src ? nbytes - done - piece : done;
    status = ops->copy(src + at, scratch, piece, stream, error);
    if (status == umemOK)
      status = ops->copy(scratch, dest + at, piece, stream, error);
  }
  return status;
}

/* What CUDA leaves undefined. */
static umemStatusType cuda_copy_overlapping(struct umemiGpuTurn const *turn,
                                            umemiGpuPool pool, uintptr_t src,
                                            uintptr_t dest, size_t nbytes,
                                            umemError *error) {
  enum { SCRATCH = 16 << 20 };
  size_t size = nbytes < SCRATCH ? nbytes : SCRATCH;
  uintptr_t scratch;
  umemError later;
  if (cuda_scratch_take(turn, pool, size, &scratch, &later) != umemOK)
    return UMEM_DECLINED; /* through the host, then */
  umemStatusType status =
      cuda_move(turn, src, dest, nbytes, scratch, size, error);
  umemStatusType given =
      cuda_scratch_give(turn, pool, scratch, status == umemOK ? error : &later);
  return status == umemOK ? given : status;
}

static umemStatusType cuda_copy_within(struct umemiGpuState *from,
                                       uintptr_t src, struct umemiGpuState *to,
                                       uintptr_t dest, size_t nbytes,
                                       umemError *error) {
  struct umemiGpuTurn turn;
  if (src == dest)
    return umemOK;
  umemStatusType status = cuda_begin_within(from, to, &turn, error);
  if (status != umemOK)
    return status;
  status =
      umemi_apart(src, dest) < nbytes
          ? cuda_copy_overlapping(&turn, to->pool, src, dest, nbytes, error)
          : to->gpu->ops->copy(src, dest, nbytes, turn.lane->stream, error);
  bool declined = status == UMEM_DECLINED;
  status = umemi_gpu_end(&turn, declined ? umemOK : status, error);
  return declined && status == umemOK ? UMEM_DECLINED : status;
}

/* From one device to another, after what both contexts come after. */
static umemStatusType cuda_begin_between(struct umemiGpuState const *src,
                                         struct umemiGpuState const *dest,
                                         struct umemiGpuTurn *turn,
                                         umemError *error) {
  if (src->peers || dest->peers)
    umemi_gpu_reach(src->gpu, dest->gpu);
  umemStatusType status = umemi_gpu_begin(src->gpu, src->after, turn, error);
  if (status != umemOK)
    return status;
  status = umemi_gpu_follow(turn, dest->gpu, dest->after, error);
  return status == umemOK ? umemOK : umemi_gpu_end(turn, status, error);
}

/* The driver goes the way there is: directly with peer access, which the
   program or a context with UMEM_CUDA_PEER enabled, else through the host. */
static umemStatusType cuda_copy_between(struct umemiGpuState *from,
                                        uintptr_t src, struct umemiGpuState *to,
                                        uintptr_t dest, size_t nbytes,
                                        umemError *error) {
  struct umemiGpuTurn turn;
  umemStatusType status = cuda_begin_between(from, to, &turn, error);
  if (status != umemOK)
    return status;
  status =
      from->gpu->ops->copy_peer(src, from->gpu->context, dest, to->gpu->context,
                                nbytes, turn.lane->stream, error);
  return umemi_gpu_end(&turn, status, error);
}

/* What goes another way reads the source after the destination's work, too. */
static umemStatusType cuda_declined(struct umemiGpuState *dest,
                                    umemError *error) {
  umemStatusType status = umemi_gpu_settle(dest, error);
  return status == umemOK ? UMEM_DECLINED : status;
}

static umemStatusType cuda_copy_one(struct umemiGpuState *src,
                                    struct umemiGpuState *dest,
                                    struct umemiGpuRows const *row,
                                    umemError *error) {
  umemStatusType status = UMEM_DECLINED;
  if (src->gpu == dest->gpu)
    status = cuda_copy_within(src, row->src, dest, row->dest, row->row, error);
  else if (umemi_apart(row->src, row->dest) >= row->row) /* else memory of one
                                                     of them, known to both */
    status = cuda_copy_between(src, row->src, dest, row->dest, row->row, error);
  return status == UMEM_DECLINED ? cuda_declined(dest, error) : status;
}

/* --- rows ----------------------------------------------------------------- */

static size_t cuda_span(struct umemRows const *rows, size_t pitch) {
  return (rows->rows - 1) * pitch + rows->row_bytes;
}

static struct umemiGpuRows cuda_rows(struct umemRows const *rows,
                                     enum umemiGpuWay way, uintptr_t src,
                                     uintptr_t dest) {
  return (struct umemiGpuRows){.way = way,
                               .src = src,
                               .dest = dest,
                               .src_pitch = rows->src_pitch,
                               .dest_pitch = rows->dest_pitch,
                               .row = rows->row_bytes,
                               .rows = rows->rows};
}

/* Rows between host memory and the device that has the address. */
static umemStatusType cuda_move_rows(struct umemiGpuState *cuda, uintptr_t adr,
                                     struct umemiGpuRows const *rows,
                                     umemError *error) {
  struct umemiGpuPlace place;
  umemStatusType status = umemi_gpu_find(cuda, adr, &place, error);
  if (status == umemOK)
    status = umemi_gpu_move(place.at->gpu, place.at->after, rows, error);
  return umemi_gpu_found(&place, status, error);
}

static umemStatusType cuda_read_2d(void *state, uintptr_t adr, void *out,
                                   struct umemRows const *rows,
                                   umemError *error) {
  struct umemiGpuRows moved =
      cuda_rows(rows, UMEMI_GPU_READ, adr, (uintptr_t)out);
  umemStatusType status = cuda_move_rows(state, adr, &moved, error);
  return cuda_explain(state, status, adr, cuda_span(rows, rows->src_pitch),
                      error);
}

static umemStatusType cuda_write_2d(void *state, uintptr_t adr, void const *in,
                                    struct umemRows const *rows,
                                    umemError *error) {
  struct umemiGpuRows moved =
      cuda_rows(rows, UMEMI_GPU_WRITE, (uintptr_t)in, adr);
  umemStatusType status = cuda_move_rows(state, adr, &moved, error);
  return cuda_explain(state, status, adr, cuda_span(rows, rows->dest_pitch),
                      error);
}

static umemStatusType cuda_rows_within(struct umemiGpuState *src,
                                       struct umemiGpuState *dest,
                                       struct umemiGpuRows const *rows,
                                       umemError *error) {
  struct umemiGpuTurn turn;
  umemStatusType status = cuda_begin_within(src, dest, &turn, error);
  if (status != umemOK)
    return status;
  status = umemi_gpu_rows(&turn, rows, error);
  status = umemi_gpu_each_row(&turn, rows, status, error);
  return umemi_gpu_end(&turn, status, error);
}

static umemStatusType cuda_rows_between(struct umemiGpuState *src,
                                        struct umemiGpuState *dest,
                                        struct umemiGpuRows const *rows,
                                        umemError *error) {
  struct umemiGpuTurn turn;
  umemStatusType status = cuda_begin_between(src, dest, &turn, error);
  if (status != umemOK)
    return status;
  status = umemi_gpu_rows_peer(&turn, rows, dest->gpu->context, error);
  return umemi_gpu_end(&turn, status, error);
}

/* Each address is worked with on the device that has it. */
static umemStatusType cuda_copy_placed(struct umemiGpuState *src,
                                       struct umemiGpuState *dest,
                                       struct umemiGpuRows const *rows,
                                       umemError *error) {
  if (rows->rows == 1)
    return cuda_copy_one(src, dest, rows, error);
  return src->gpu == dest->gpu ? cuda_rows_within(src, dest, rows, error)
                               : cuda_rows_between(src, dest, rows, error);
}

static umemStatusType cuda_copy_found(struct umemiGpuState *src,
                                      struct umemiGpuState *dest,
                                      struct umemiGpuRows const *rows,
                                      umemError *error) {
  struct umemiGpuPlace from, to;
  umemStatusType status = umemi_gpu_find(src, rows->src, &from, error);
  if (status != umemOK)
    return umemi_gpu_found(&from, status, error);
  status = umemi_gpu_find(dest, rows->dest, &to, error);
  if (status == umemOK)
    status = cuda_copy_placed(from.at, to.at, rows, error);
  status = umemi_gpu_found(&to, status, error);
  return umemi_gpu_found(&from, status, error);
}

static umemStatusType cuda_copy_peer(void *src_state, uintptr_t src_adr,
                                     void *dest_state, uintptr_t dest_adr,
                                     size_t nbytes, umemError *error) {
  struct umemiGpuRows row = {
      .src = src_adr, .dest = dest_adr, .row = nbytes, .rows = 1};
  umemStatusType status = cuda_copy_found(src_state, dest_state, &row, error);
  status = cuda_explain(src_state, status, src_adr, nbytes, error);
  return cuda_explain(dest_state, status, dest_adr, nbytes, error);
}

static umemStatusType cuda_copy_peer_2d(void *src_state, uintptr_t src_adr,
                                        void *dest_state, uintptr_t dest_adr,
                                        struct umemRows const *rows,
                                        umemError *error) {
  struct umemiGpuRows moved =
      cuda_rows(rows, UMEMI_GPU_WITHIN, src_adr, dest_adr);
  umemStatusType status = cuda_copy_found(src_state, dest_state, &moved, error);
  status = cuda_explain(src_state, status, src_adr,
                        cuda_span(rows, rows->src_pitch), error);
  return cuda_explain(dest_state, status, dest_adr,
                      cuda_span(rows, rows->dest_pitch), error);
}

/* --- where it is, and how it is moved ------------------------------------- */

static size_t cuda_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct umemiGpuState const *cuda = state;
  out[0] = umemi_gpu_space(cuda->gpu);
  out[1] = umemi_gpu_common_space();
  return 2;
}

/* Another device may, once it was let; but not to what is in a pool. */
static bool cuda_can_reach(void *state, void *dest_state) {
  struct umemiGpuState const *cuda = state, *dest = dest_state;
  return !cuda->pool && atomic_load(&dest->gpu->peers) >> cuda->gpu->number & 1;
}

static void cuda_limits(void *state, unsigned access, uintptr_t adr,
                        size_t nbytes, struct umemLimits *out) {
  (void)state, (void)adr;
  if (access == (umemRead | umemWrite)) {
    out->method = "cuMemcpyDtoD";
    return;
  }
  out->method = access == umemRead ? "cuMemcpyDtoH" : "cuMemcpyHtoD";
  out->lanes = nbytes < umemi_tuning()->gpu_share_from ? 1 : UMEMI_GPU_THREADS;
  out->whole = 1;
}

/* --- staging -------------------------------------------------------------- */

static umemStatusType cuda_stage_alloc(void *state, size_t nbytes,
                                       void **ptr_out, umemError *error) {
  struct umemiGpuState *cuda = state;
  return umemi_gpu_stage_take(cuda->gpu, nbytes, ptr_out, error);
}

static void cuda_stage_free(void *state, void *ptr, size_t nbytes) {
  struct umemiGpuState *cuda = state;
  umemi_gpu_stage_give(cuda->gpu, ptr, nbytes);
}

static struct umemVtbl const cuda_vtbl = {
    .size = sizeof cuda_vtbl,
    .type = umemCudaDevice,
    .name = "Cuda",
    .fundamental_align = UMEMI_GPU_ALIGN,
    .max_align = UMEMI_GPU_ALIGN,
    .dtor = umemi_gpu_dtor,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .read = cuda_read,
    .write = cuda_write,
    .spaces = cuda_spaces,
    .check = umemi_gpu_check,
    .calloc = umemi_no_calloc,
    .flush = umemi_no_flush,
    .discard = umemi_no_discard,
    .copy_peer = cuda_copy_peer,
    .view_begin = umemi_no_view_begin,
    .view_end = umemi_no_view_end,
    .set = cuda_set,
    .next_data = umemi_no_next_data,
    .limits = cuda_limits,
    .export_handle = umemi_gpu_export_handle,
    .import_handle = umemi_gpu_import_handle,
    .stage_alloc = cuda_stage_alloc,
    .stage_free = cuda_stage_free,
    .can_reach = cuda_can_reach,
    .punch = umemi_no_punch,
    .read_2d = cuda_read_2d,
    .write_2d = cuda_write_2d,
    .copy_peer_2d = cuda_copy_peer_2d};

/* --- construct ------------------------------------------------------------ */

static umemStatusType cuda_ctor(umemCuda *ctx, int device,
                                umemCudaOptions *options,
                                umemCudaOptions const *given,
                                umemError *error) {
  umemStatusType status = umemi_ctor_begin(ctx, cuda_vtbl.name, error);
  if (status == umemOK && given)
    status = umemi_take_options(options, sizeof *options, given, error);
  if (status == umemOK && options->reserved)
    status = umem_error_fill(error, umemValueError, 0, 0, "reserved is not 0");
  if (status != umemOK)
    return status;
  struct umemiGpuPlan plan = {.ops = &umemi_cuda,
                              .vtbl = &cuda_vtbl,
                              .device = device,
                              .flags = options->flags,
                              .known = UMEM_CUDA_POOL | UMEM_CUDA_PEER,
                              .pooled = options->flags & UMEM_CUDA_POOL,
                              .peers = options->flags & UMEM_CUDA_PEER,
                              .after = options->stream};
  return umemi_gpu_ctor(ctx, &plan, error);
}

umemStatusType umemCuda_ctor(umemCuda *ctx, int device) {
  struct umemiCall call;
  umemCudaOptions options = {.size = sizeof options};
  umemi_begin(&call);
  umemStatusType status = cuda_ctor(ctx, device, &options, NULL, &call.error);
  return umemi_end(&call, status, ctx, "umemCuda_ctor(device %d)", device);
}

umemStatusType umemCuda_ctor_ex(umemCuda *ctx, int device,
                                umemCudaOptions const *options) {
  struct umemiCall call;
  umemCudaOptions taken = {.size = sizeof taken};
  umemi_begin(&call);
  umemStatusType status = cuda_ctor(ctx, device, &taken, options, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemCuda_ctor_ex(device %d, flags 0x%x)", device,
                   (unsigned)taken.flags);
}
