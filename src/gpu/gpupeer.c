/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies within a GPU and from one to another, and rows of them: what kinds
 * have in common whose bytes only a driver may touch.
 */
#include "gpupeer.h"

/* --- what was wrong ------------------------------------------------------- */

umemStatusType umemi_gpu_explain(struct umemiGpuState *own,
                                 umemStatusType status, uintptr_t adr,
                                 size_t nbytes, umemError *error) {
  struct umemiGpuVisit visit;
  umemError ignored;
  uintptr_t start = 0;
  size_t length = 0;
  if (status != umemValueError ||
      umemi_gpu_enter(own->gpu, &visit, &ignored) != umemOK)
    return status;
  umemStatusType found =
      own->gpu->ops->block_of(adr, &start, &length, &ignored);
  if (umemi_gpu_leave(&visit, found, &ignored) != umemOK ||
      adr - start + nbytes <= length)
    return status;
  return umem_error_fill(error, umemIndexError, 0, error->native,
                         "%zu bytes at 0x%" PRIxPTR " leave the device's block "
                         "of %zu bytes at 0x%" PRIxPTR,
                         nbytes, adr, length, start);
}

/* --- copies within and between -------------------------------------------- */

/* After what both contexts come after. */
static umemStatusType peer_begin_within(struct umemiGpuState const *src,
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
static umemStatusType peer_scratch_take(struct umemiGpuTurn const *turn,
                                        umemiGpuPool pool, size_t nbytes,
                                        uintptr_t *adr_out, umemError *error) {
  struct umemiGpuOps const *ops = turn->visit.gpu->ops;
  return pool
             ? ops->pool_alloc(pool, nbytes, turn->lane->stream, adr_out, error)
             : ops->alloc(nbytes, adr_out, error);
}

/* When what was begun with it is through; if that is not known, never. */
static umemStatusType peer_scratch_give(struct umemiGpuTurn const *turn,
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

/* In pieces of so many bytes through a block that lies elsewhere, from the end
   where the destination lies behind: no byte is overwritten before it is
   read. */
static umemStatusType peer_move(struct umemiGpuTurn const *turn,
                                struct umemiGpuRows const *row,
                                uintptr_t scratch, size_t piece,
                                umemError *error) {
  struct umemiGpuOps const *ops = turn->visit.gpu->ops;
  umemiGpuStream stream = turn->lane->stream;
  umemStatusType status = umemOK;
  for (size_t done = 0; status == umemOK && done < row->row; done += piece) {
    if (piece > row->row - done)
      piece = row->row - done;
    size_t at = row->dest > row->src ? row->row - done - piece : done;
    status = ops->copy(row->src + at, scratch, piece, stream, error);
    if (status == umemOK)
      status = ops->copy(scratch, row->dest + at, piece, stream, error);
  }
  return status;
}

static umemStatusType peer_rows_run(struct umemiGpuTurn const *turn,
                                    struct umemiGpuRows const *rows,
                                    umemError *error) {
  umemStatusType status = umemi_gpu_rows(turn, rows, error);
  return umemi_gpu_each_row(turn, rows, status, error);
}

/* The same of so many rows, which lie together in the block. */
static umemStatusType peer_move_some(struct umemiGpuTurn const *turn,
                                     struct umemiGpuRows const *rows,
                                     uintptr_t scratch, size_t piece,
                                     umemError *error) {
  umemStatusType status = umemOK;
  for (size_t done = 0; status == umemOK && done < rows->rows; done += piece) {
    if (piece > rows->rows - done)
      piece = rows->rows - done;
    size_t first = rows->dest > rows->src ? rows->rows - done - piece : done;
    struct umemiGpuRows out = *rows, in = *rows;
    out.rows = in.rows = piece;
    out.dest_pitch = in.src_pitch = rows->row;
    out.src += first * rows->src_pitch;
    in.dest += first * rows->dest_pitch;
    out.dest = in.src = scratch;
    status = peer_rows_run(turn, &out, error);
    if (status == umemOK)
      status = peer_rows_run(turn, &in, error);
  }
  return status;
}

typedef umemStatusType peerMove(struct umemiGpuTurn const *turn,
                                struct umemiGpuRows const *rows,
                                uintptr_t scratch, size_t piece,
                                umemError *error);

/* What CUDA leaves undefined. */
static umemStatusType peer_by_scratch(struct umemiGpuTurn const *turn,
                                      umemiGpuPool pool, size_t nbytes,
                                      struct umemiGpuRows const *rows,
                                      peerMove *move, size_t piece,
                                      umemError *error) {
  uintptr_t scratch;
  umemError later;
  if (peer_scratch_take(turn, pool, nbytes, &scratch, &later) != umemOK)
    return UMEM_DECLINED; /* through the host, then */
  umemStatusType status = move(turn, rows, scratch, piece, error);
  umemStatusType given =
      peer_scratch_give(turn, pool, scratch, status == umemOK ? error : &later);
  return status == umemOK ? given : status;
}

enum { PEER_SCRATCH = 16 << 20 };

static umemStatusType peer_copy_overlapping(struct umemiGpuTurn const *turn,
                                            umemiGpuPool pool,
                                            struct umemiGpuRows const *row,
                                            umemError *error) {
  size_t piece = row->row < PEER_SCRATCH ? row->row : PEER_SCRATCH;
  return peer_by_scratch(turn, pool, piece, row, peer_move, piece, error);
}

/* Of rows some of which go up and others down all are read first. */
static umemStatusType peer_rows_overlapping(struct umemiGpuTurn const *turn,
                                            umemiGpuPool pool,
                                            struct umemiGpuRows const *rows,
                                            umemError *error) {
  size_t most = PEER_SCRATCH / rows->row;
  size_t piece = rows->rows < most ? rows->rows : most;
  if (piece == 0 || (piece < rows->rows && rows->src_pitch != rows->dest_pitch))
    return UMEM_DECLINED;
  return peer_by_scratch(turn, pool, piece * rows->row, rows, peer_move_some,
                         piece, error);
}

static umemStatusType peer_end(struct umemiGpuTurn *turn, umemStatusType status,
                               umemError *error) {
  bool declined = status == UMEM_DECLINED;
  status = umemi_gpu_end(turn, declined ? umemOK : status, error);
  return declined && status == umemOK ? UMEM_DECLINED : status;
}

static umemStatusType peer_copy_within(struct umemiGpuState *from,
                                       struct umemiGpuState *to,
                                       struct umemiGpuRows const *row,
                                       umemError *error) {
  struct umemiGpuTurn turn;
  if (row->src == row->dest)
    return umemOK;
  umemStatusType status = peer_begin_within(from, to, &turn, error);
  if (status != umemOK)
    return status;
  status = umemi_apart(row->src, row->dest) < row->row
               ? peer_copy_overlapping(&turn, to->pool, row, error)
               : umemi_gpu_rows(&turn, row, error);
  return peer_end(&turn, status, error);
}

/* From one device to another, after what both contexts come after. */
static umemStatusType peer_begin_between(struct umemiGpuState const *src,
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

/* The context that the driver knows memory by. */
struct peer_home {
  umemiGpuContext context;
  struct umemiGpu *opened; /* another device, in use for this alone; or NULL */
};

/* What was imported is the memory of the device that exported it. */
static umemStatusType peer_home_open(struct umemiGpu *gpu, uintptr_t adr,
                                     struct peer_home *home, umemError *error) {
  int number = gpu->number;
  umemError ignored;
  home->context = gpu->context;
  if (!umemi_gpu_has_imported(gpu, adr) ||
      gpu->ops->device_of(adr, &number, &ignored) != umemOK || number < 0 ||
      number == gpu->number)
    return umemOK;
  umemStatusType status =
      umemi_gpu_open(gpu->ops, number, &home->opened, error);
  if (status == umemOK)
    home->context = home->opened->context;
  return status;
}

static umemStatusType peer_home_close(struct peer_home const *home,
                                      umemStatusType status, umemError *error) {
  umemError later;
  if (!home->opened)
    return status;
  umemStatusType closed =
      umemi_gpu_close(home->opened, status == umemOK ? error : &later);
  return status == umemOK ? closed : status;
}

/* The driver goes the way there is: directly with peer access, which the
   program or a context with UMEM_CUDA_PEER enabled, else through the host. */
static umemStatusType
peer_copy_named(struct umemiGpuState *from, umemiGpuContext src,
                struct umemiGpuState *to, umemiGpuContext dest,
                struct umemiGpuRows const *rows, umemError *error) {
  struct umemiGpuTurn turn;
  umemStatusType status = peer_begin_between(from, to, &turn, error);
  if (status != umemOK)
    return status;
  status = rows->rows > 1
               ? umemi_gpu_rows_peer(&turn, rows, src, dest, error)
               : from->gpu->ops->copy_peer(rows->src, src, rows->dest, dest,
                                           rows->row, turn.lane->stream, error);
  return umemi_gpu_end(&turn, status, error);
}

static umemStatusType peer_copy_between(struct umemiGpuState *from,
                                        struct umemiGpuState *to,
                                        struct umemiGpuRows const *rows,
                                        umemError *error) {
  struct peer_home src = {NULL, NULL}, dest = {NULL, NULL};
  umemStatusType status = peer_home_open(from->gpu, rows->src, &src, error);
  if (status == umemOK)
    status = peer_home_open(to->gpu, rows->dest, &dest, error);
  if (status == umemOK)
    status = peer_copy_named(from, src.context, to, dest.context, rows, error);
  status = peer_home_close(&dest, status, error);
  return peer_home_close(&src, status, error);
}

/* What goes another way reads the source after the destination's work, too. */
static umemStatusType peer_declined(struct umemiGpuState *dest,
                                    umemError *error) {
  umemStatusType status = umemi_gpu_settle(dest, error);
  return status == umemOK ? UMEM_DECLINED : status;
}

static umemStatusType peer_copy_one(struct umemiGpuState *src,
                                    struct umemiGpuState *dest,
                                    struct umemiGpuRows const *row,
                                    umemError *error) {
  umemStatusType status = UMEM_DECLINED;
  if (src->gpu == dest->gpu)
    status = peer_copy_within(src, dest, row, error);
  else if (umemi_apart(row->src, row->dest) >= row->row) /* else memory of one
                                                     of them, known to both */
    status = peer_copy_between(src, dest, row, error);
  return status == UMEM_DECLINED ? peer_declined(dest, error) : status;
}

/* --- rows ----------------------------------------------------------------- */

static size_t peer_span(struct umemRows const *rows, size_t pitch) {
  return (rows->rows - 1) * pitch + rows->row_bytes;
}

static struct umemiGpuRows peer_rows(struct umemRows const *rows,
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
static umemStatusType peer_move_rows(struct umemiGpuState *cuda, uintptr_t adr,
                                     struct umemiGpuRows const *rows,
                                     umemError *error) {
  struct umemiGpuPlace place;
  umemStatusType status = umemi_gpu_find(cuda, adr, &place, error);
  if (status == umemOK)
    status = umemi_gpu_move(place.at->gpu, place.at->after, rows, error);
  return umemi_gpu_found(&place, status, error);
}

umemStatusType umemi_gpu_read_2d(void *state, uintptr_t adr, void *out,
                                 struct umemRows const *rows,
                                 umemError *error) {
  struct umemiGpuRows moved =
      peer_rows(rows, UMEMI_GPU_READ, adr, (uintptr_t)out);
  umemStatusType status = peer_move_rows(state, adr, &moved, error);
  return umemi_gpu_explain(state, status, adr, peer_span(rows, rows->src_pitch),
                           error);
}

umemStatusType umemi_gpu_write_2d(void *state, uintptr_t adr, void const *in,
                                  struct umemRows const *rows,
                                  umemError *error) {
  struct umemiGpuRows moved =
      peer_rows(rows, UMEMI_GPU_WRITE, (uintptr_t)in, adr);
  umemStatusType status = peer_move_rows(state, adr, &moved, error);
  return umemi_gpu_explain(state, status, adr,
                           peer_span(rows, rows->dest_pitch), error);
}

static bool peer_rows_touch(struct umemiGpuRows const *rows) {
  struct umemRows shape = {rows->row, rows->rows, rows->src_pitch,
                           rows->dest_pitch};
  return umemi_rows_touch(&shape, rows->src, rows->dest);
}

static umemStatusType peer_rows_within(struct umemiGpuState *src,
                                       struct umemiGpuState *dest,
                                       struct umemiGpuRows const *rows,
                                       umemError *error) {
  struct umemiGpuTurn turn;
  umemStatusType status = peer_begin_within(src, dest, &turn, error);
  if (status != umemOK)
    return status;
  status = peer_rows_touch(rows)
               ? peer_rows_overlapping(&turn, dest->pool, rows, error)
               : peer_rows_run(&turn, rows, error);
  return peer_end(&turn, status, error);
}

/* Each address is worked with on the device that has it. */
static umemStatusType peer_copy_placed(struct umemiGpuState *src,
                                       struct umemiGpuState *dest,
                                       struct umemiGpuRows const *rows,
                                       umemError *error) {
  if (rows->rows == 1)
    return peer_copy_one(src, dest, rows, error);
  if (src->gpu == dest->gpu)
    return peer_rows_within(src, dest, rows, error);
  return peer_rows_touch(rows) ? UMEM_DECLINED
                               : peer_copy_between(src, dest, rows, error);
}

static umemStatusType peer_copy_found(struct umemiGpuState *src,
                                      struct umemiGpuState *dest,
                                      struct umemiGpuRows const *rows,
                                      umemError *error) {
  struct umemiGpuPlace from, to;
  umemStatusType status = umemi_gpu_find(src, rows->src, &from, error);
  if (status != umemOK)
    return umemi_gpu_found(&from, status, error);
  status = umemi_gpu_find(dest, rows->dest, &to, error);
  if (status == umemOK)
    status = peer_copy_placed(from.at, to.at, rows, error);
  status = umemi_gpu_found(&to, status, error);
  return umemi_gpu_found(&from, status, error);
}

umemStatusType umemi_gpu_copy_peer(void *src_state, uintptr_t src_adr,
                                   void *dest_state, uintptr_t dest_adr,
                                   size_t nbytes, umemError *error) {
  struct umemiGpuRows row = {
      .src = src_adr, .dest = dest_adr, .row = nbytes, .rows = 1};
  umemStatusType status = peer_copy_found(src_state, dest_state, &row, error);
  status = umemi_gpu_explain(src_state, status, src_adr, nbytes, error);
  return umemi_gpu_explain(dest_state, status, dest_adr, nbytes, error);
}

umemStatusType umemi_gpu_copy_peer_2d(void *src_state, uintptr_t src_adr,
                                      void *dest_state, uintptr_t dest_adr,
                                      struct umemRows const *rows,
                                      umemError *error) {
  struct umemiGpuRows moved =
      peer_rows(rows, UMEMI_GPU_WITHIN, src_adr, dest_adr);
  umemStatusType status = peer_copy_found(src_state, dest_state, &moved, error);
  status = umemi_gpu_explain(src_state, status, src_adr,
                             peer_span(rows, rows->src_pitch), error);
  return umemi_gpu_explain(dest_state, status, dest_adr,
                           peer_span(rows, rows->dest_pitch), error);
}
