/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies between host memory and a GPU: one visit for each, and one order with
 * the program's work, of any size. Short ones are one call of the driver, and
 * so are rows. From and to pinned memory the GPU moves the bytes itself; what
 * can be paged out goes through pinned slots of lanes, of which each has two:
 * one is moved while the other is filled or emptied. Several threads do that,
 * each with a lane. Slots take what the driver refuses, too: a range that was
 * registered in part. The caller's memory is never pinned behind his back: that
 * is slow, fails where he did it himself, and outlives mistakes.
 */
#include "gpu.h"

/* --- rows ----------------------------------------------------------------- */

static uintptr_t rows_host(struct umemiGpuRows const *rows) {
  return rows->way == UMEMI_GPU_WRITE ? rows->src : rows->dest;
}

/* Bytes of a side from its first row to the end of its last one. */
static size_t rows_span(struct umemiGpuRows const *rows, size_t pitch) {
  return (rows->rows - 1) * pitch + rows->row;
}

static umemStatusType rows_one(struct umemiGpuOps const *ops,
                               struct umemiGpuRows const *rows,
                               umemiGpuStream stream, umemError *error) {
  if (rows->way == UMEMI_GPU_WRITE)
    return ops->write(rows->dest, (void const *)rows->src, rows->row, stream,
                      error);
  if (rows->way == UMEMI_GPU_READ)
    return ops->read(rows->src, (void *)rows->dest, rows->row, stream, error);
  return ops->copy(rows->src, rows->dest, rows->row, stream, error);
}

umemStatusType umemi_gpu_rows(struct umemiGpuTurn const *turn,
                              struct umemiGpuRows const *rows,
                              umemError *error) {
  struct umemiGpuOps const *ops = turn->visit.gpu->ops;
  umemiGpuStream stream = turn->lane->stream;
  return rows->rows > 1 ? ops->copy_rows(rows, stream, error)
                        : rows_one(ops, rows, stream, error);
}

/* Was the call not taken, rather than that it failed? */
static bool rows_are_refused(umemStatusType status) {
  return status == umemValueError || status == umemNotSupportedError;
}

umemStatusType umemi_gpu_each_row(struct umemiGpuTurn const *turn,
                                  struct umemiGpuRows const *rows,
                                  umemStatusType status, umemError *error) {
  struct umemiGpuRows row = *rows;
  if (rows->rows == 1 || !rows_are_refused(status))
    return status;
  status = umemOK;
  row.rows = 1;
  for (size_t i = 0; status == umemOK && i < rows->rows; i++) {
    row.src = rows->src + i * rows->src_pitch;
    row.dest = rows->dest + i * rows->dest_pitch;
    status = umemi_gpu_rows(turn, &row, error);
  }
  return status;
}

umemStatusType umemi_gpu_rows_peer(struct umemiGpuTurn const *turn,
                                   struct umemiGpuRows const *rows,
                                   umemiGpuContext src_context,
                                   umemiGpuContext dest_context,
                                   umemError *error) {
  struct umemiGpuOps const *ops = turn->visit.gpu->ops;
  umemiGpuStream stream = turn->lane->stream;
  umemStatusType status =
      ops->copy_rows_peer(rows, src_context, dest_context, stream, error);
  if (!rows_are_refused(status))
    return status;
  status = umemOK;
  for (size_t i = 0; status == umemOK && i < rows->rows; i++)
    status = ops->copy_peer(rows->src + i * rows->src_pitch, src_context,
                            rows->dest + i * rows->dest_pitch, dest_context,
                            rows->row, stream, error);
  return status;
}

/* --- through slots -------------------------------------------------------- */

/* A copy by several threads. Each takes a run of pieces, and then the next. */
struct ring {
  struct umemiGpuRows const *rows;
  struct umemiGpuTurn const *turn; /* of the thread that began it */
  pthread_t beginner;
  size_t pieces, run;
  atomic_size_t next; /* piece that no thread has taken */
  pthread_mutex_t lock;
  umemStatusType status; /* under it, and */
  umemError *error;      /* of the first failure */
};

/* What a thread works with. */
struct ringer {
  struct ring *ring;
  struct umemiGpuTurn const *turn;
  size_t at, end; /* of its run */
};

static size_t lesser(size_t a, size_t b) {
  return a < b ? a : b;
}

/* A piece is as many rows as a slot holds, or a part of one. */
static size_t piece_rows(struct umemiGpuRows const *rows) {
  return rows->row < UMEMI_GPU_SLOT ? UMEMI_GPU_SLOT / rows->row : 1;
}

static size_t piece_parts(struct umemiGpuRows const *rows) {
  return (rows->row - 1) / UMEMI_GPU_SLOT + 1;
}

static size_t piece_count(struct umemiGpuRows const *rows) {
  return ((rows->rows - 1) / piece_rows(rows) + 1) * piece_parts(rows);
}

static struct umemiGpuRows piece_at(struct umemiGpuRows const *rows, size_t i) {
  struct umemiGpuRows piece = *rows;
  size_t first = i / piece_parts(rows) * piece_rows(rows);
  size_t from = i % piece_parts(rows) * UMEMI_GPU_SLOT;
  piece.rows = lesser(rows->rows - first, piece_rows(rows));
  piece.row = lesser(rows->row - from, UMEMI_GPU_SLOT);
  piece.src += first * rows->src_pitch + from;
  piece.dest += first * rows->dest_pitch + from;
  return piece;
}

static bool ring_next(struct ringer *ringer, struct umemiGpuRows *piece_out) {
  struct ring *ring = ringer->ring;
  if (ringer->at == ringer->end) {
    ringer->at = atomic_fetch_add(&ring->next, ring->run);
    ringer->end = ringer->at + ring->run;
  }
  if (ringer->at >= ring->pieces)
    return false;
  *piece_out = piece_at(ring->rows, ringer->at++);
  return true;
}

static char *ring_slot(struct ringer const *ringer, size_t i) {
  return ringer->turn->lane->slots + i % 2 * UMEMI_GPU_SLOT;
}

/* Begins to move what is, or will be, in a slot. */
static umemStatusType ring_begin(struct ringer const *ringer, size_t i,
                                 struct umemiGpuRows const *piece,
                                 umemError *error) {
  struct umemiGpuTurn const *turn = ringer->turn;
  struct umemiGpuRows moved = *piece;
  bool writes = piece->way == UMEMI_GPU_WRITE;
  *(writes ? &moved.src : &moved.dest) = (uintptr_t)ring_slot(ringer, i);
  *(writes ? &moved.src_pitch : &moved.dest_pitch) = piece->row;
  umemStatusType status = umemi_gpu_rows(turn, &moved, error);
  status = umemi_gpu_each_row(turn, &moved, status, error);
  return status == umemOK
             ? turn->visit.gpu->ops->event_record(turn->lane->drained[i % 2],
                                                  turn->lane->stream, error)
             : status;
}

static umemStatusType ring_wait(struct ringer const *ringer, size_t i,
                                umemError *error) {
  struct umemiGpuTurn const *turn = ringer->turn;
  return turn->visit.gpu->ops->event_wait(turn->lane->drained[i % 2], error);
}

static void ring_fill(struct ringer const *ringer, size_t i,
                      struct umemiGpuRows const *piece) {
  for (size_t k = 0; k < piece->rows; k++)
    memcpy(ring_slot(ringer, i) + k * piece->row,
           (void const *)(piece->src + k * piece->src_pitch), piece->row);
}

/* Around the caches, if it is much in one piece. */
static void ring_empty(struct ringer const *ringer, size_t i,
                       struct umemiGpuRows const *piece) {
  size_t total = piece->rows > 1 ? piece->row : ringer->ring->rows->row;
  for (size_t k = 0; k < piece->rows; k++)
    umemi_host_deliver((void *)(piece->dest + k * piece->dest_pitch),
                       ring_slot(ringer, i) + k * piece->row, piece->row,
                       total);
}

static umemStatusType ring_write(struct ringer *ringer, umemError *error) {
  struct umemiGpuRows piece;
  umemStatusType status = umemOK;
  for (size_t i = 0; status == umemOK && ring_next(ringer, &piece); i++) {
    if (i >= 2)
      status = ring_wait(ringer, i, error);
    if (status != umemOK)
      break;
    ring_fill(ringer, i, &piece);
    status = ring_begin(ringer, i, &piece, error);
  }
  return status;
}

/* One piece is on its way while the one before is delivered. */
static umemStatusType ring_read(struct ringer *ringer, umemError *error) {
  struct umemiGpuRows piece, coming;
  umemStatusType status = umemOK;
  bool more = ring_next(ringer, &piece);
  if (more)
    status = ring_begin(ringer, 0, &piece, error);
  for (size_t i = 0; status == umemOK && more; i++) {
    more = ring_next(ringer, &coming);
    if (more)
      status = ring_begin(ringer, i + 1, &coming, error);
    if (status == umemOK)
      status = ring_wait(ringer, i, error);
    if (status == umemOK)
      ring_empty(ringer, i, &piece);
    if (more)
      piece = coming;
  }
  return status;
}

static umemStatusType lane_slots(struct umemiGpuTurn const *turn,
                                 umemError *error) {
  void *slots;
  if (turn->lane->slots)
    return umemOK;
  umemStatusType status = turn->visit.gpu->ops->host_alloc(
      2 * (size_t)UMEMI_GPU_SLOT, false, &slots, error);
  if (status == umemOK)
    turn->lane->slots = slots;
  return status;
}

/* The rest of the pieces are not begun. */
static void ring_failed(struct ring *ring, umemStatusType status,
                        umemError const *error) {
  atomic_store(&ring->next, ring->pieces);
  pthread_mutex_lock(&ring->lock);
  if (ring->status == umemOK) {
    ring->status = status;
    *ring->error = *error;
  }
  pthread_mutex_unlock(&ring->lock);
}

static umemStatusType ring_move(struct ring *ring,
                                struct umemiGpuTurn const *turn,
                                umemError *error) {
  struct ringer ringer = {.ring = ring, .turn = turn};
  return ring->rows->way == UMEMI_GPU_WRITE ? ring_write(&ringer, error)
                                            : ring_read(&ringer, error);
}

/* Another thread comes after what the first one comes after. If it cannot
   begin, its share is left to the others. */
static umemStatusType ring_help(struct ring *ring, umemError *error) {
  struct umemiGpu *gpu = ring->turn->visit.gpu;
  struct umemiGpuTurn turn;
  umemError ignored;
  if (umemi_gpu_begin_at_once(gpu, &turn, &ignored) != umemOK)
    return umemOK;
  if (lane_slots(&turn, &ignored) != umemOK)
    return umemi_gpu_end(&turn, umemOK, error);
  umemStatusType status = gpu->ops->stream_follow(
      turn.lane->stream, ring->turn->lane->before, error);
  if (status == umemOK)
    status = ring_move(ring, &turn, error);
  return umemi_gpu_end(&turn, status, error);
}

static void ring_main(void *arg) {
  struct ring *ring = arg;
  umemError error;
  umemStatusType status = umemOK;
  if (pthread_equal(ring->beginner, pthread_self()))
    status = ring_move(ring, ring->turn, &error);
  else if (atomic_load(&ring->next) < ring->pieces)
    status = ring_help(ring, &error);
  if (status != umemOK)
    ring_failed(ring, status, &error);
}

/* The lane of the turn has slots. */
static umemStatusType ring_run(struct umemiGpuTurn const *turn,
                               struct umemiGpuRows const *rows,
                               umemError *error) {
  struct umemiTuning const *tuning = umemi_tuning();
  size_t nbytes = rows->row * rows->rows;
  unsigned helpers = nbytes < tuning->gpu_share_from
                         ? 0
                         : umemi_workers_of(UMEMI_GPU_THREADS, false);
  size_t pieces = piece_count(rows);
  size_t run = lesser(tuning->gpu_piece / UMEMI_GPU_SLOT,
                      pieces / 2 / ((size_t)helpers + 1));
  struct ring ring = {.rows = rows,
                      .turn = turn,
                      .beginner = pthread_self(),
                      .pieces = pieces,
                      .run = run + !run,
                      .lock = PTHREAD_MUTEX_INITIALIZER,
                      .error = error};
  umemi_workers_run(ring_main, &ring, helpers);
  return ring.status;
}

/* --- one copy ------------------------------------------------------------- */

/* Is it moved without slots? */
static umemStatusType copy_is_direct(struct umemiGpu *gpu,
                                     struct umemiGpuRows const *rows,
                                     bool *direct_out, umemError *error) {
  bool is_pageable = false;
  umemStatusType status = umemOK;
  if (rows->rows == 1 && rows->row >= umemi_tuning()->gpu_ring_from)
    status = gpu->ops->is_pageable(rows_host(rows), &is_pageable, error);
  *direct_out = !is_pageable;
  return status;
}

/* Blocks may lie side by side. */
static bool copy_has_device(struct umemiGpu *gpu,
                            struct umemiGpuRows const *rows) {
  bool writes = rows->way == UMEMI_GPU_WRITE;
  uintptr_t at = writes ? rows->dest : rows->src;
  uintptr_t end =
      at + rows_span(rows, writes ? rows->dest_pitch : rows->src_pitch);
  umemError ignored;
  while (at < end) {
    uintptr_t start = 0;
    size_t nbytes = 0;
    if (gpu->ops->block_of(at, &start, &nbytes, &ignored) != umemOK ||
        start + nbytes <= at)
      return false;
    at = start + nbytes;
  }
  return true;
}

/* What the driver does not take although the device has the bytes: then it is
   host memory of which parts are registered. */
static umemStatusType copy_refused(struct umemiGpuTurn const *turn,
                                   struct umemiGpuRows const *rows,
                                   umemStatusType status, umemError *error) {
  if (!rows_are_refused(status) || !copy_has_device(turn->visit.gpu, rows))
    return status;
  status = lane_slots(turn, error);
  return status == umemOK ? ring_run(turn, rows, error) : status;
}

static umemStatusType copy_in_turn(struct umemiGpuTurn const *turn,
                                   struct umemiGpuRows const *rows,
                                   umemError *error) {
  bool direct;
  umemError ignored;
  umemStatusType status = copy_is_direct(turn->visit.gpu, rows, &direct, error);
  if (status != umemOK)
    return status;
  /* Without slots the driver stages by itself. */
  if (!direct && lane_slots(turn, &ignored) == umemOK)
    return ring_run(turn, rows, error);
  status = umemi_gpu_rows(turn, rows, error);
  return copy_refused(turn, rows, status, error);
}

/* In the default stream; false in *done_out where it is not free for it. */
static umemStatusType copy_now(struct umemiGpu *gpu,
                               struct umemiGpuRows const *rows, bool *done_out,
                               umemError *error) {
  struct umemiGpuOps const *ops = gpu->ops;
  struct umemiGpuVisit visit;
  umemStatusType status = umemi_gpu_enter(gpu, &visit, error);
  if (status != umemOK)
    return status;
  status = ops->stream_is_free(NULL, done_out, error);
  if (status == umemOK && *done_out)
    status =
        rows->way == UMEMI_GPU_WRITE
            ? ops->write_now(rows->dest, (void const *)rows->src, rows->row,
                             error)
            : ops->read_now(rows->src, (void *)rows->dest, rows->row, error);
  return umemi_gpu_leave(&visit, status, error);
}

/* `refused` is what the driver answered to a copy at once, or umemOK. */
static umemStatusType copy_later(struct umemiGpu *gpu, umemiGpuStream after,
                                 struct umemiGpuRows const *rows,
                                 umemStatusType refused, umemError *error) {
  struct umemiGpuTurn turn;
  umemError later;
  umemStatusType status =
      umemi_gpu_begin(gpu, after, &turn, refused == umemOK ? error : &later);
  if (status != umemOK)
    return refused == umemOK ? status : refused;
  status = refused == umemOK ? copy_in_turn(&turn, rows, error)
                             : copy_refused(&turn, rows, refused, error);
  return umemi_gpu_end(&turn, status, error);
}

umemStatusType umemi_gpu_move(struct umemiGpu *gpu, umemiGpuStream after,
                              struct umemiGpuRows const *rows,
                              umemError *error) {
  umemStatusType status = umemOK;
  bool done = false;
  if (!after && rows->rows == 1 && rows->row < umemi_tuning()->gpu_stream_from)
    status = copy_now(gpu, rows, &done, error);
  if (status != umemOK && !rows_are_refused(status))
    return status;
  return done && status == umemOK ? status
                                  : copy_later(gpu, after, rows, status, error);
}

umemStatusType umemi_gpu_write(struct umemiGpu *gpu, umemiGpuStream after,
                               uintptr_t adr, void const *in, size_t nbytes,
                               umemError *error) {
  struct umemiGpuRows row = {.way = UMEMI_GPU_WRITE,
                             .src = (uintptr_t)in,
                             .dest = adr,
                             .row = nbytes,
                             .rows = 1};
  return umemi_gpu_move(gpu, after, &row, error);
}

umemStatusType umemi_gpu_read(struct umemiGpu *gpu, umemiGpuStream after,
                              uintptr_t adr, void *out, size_t nbytes,
                              umemError *error) {
  struct umemiGpuRows row = {.way = UMEMI_GPU_READ,
                             .src = adr,
                             .dest = (uintptr_t)out,
                             .row = nbytes,
                             .rows = 1};
  return umemi_gpu_move(gpu, after, &row, error);
}
