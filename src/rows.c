/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows of rectangles, many at once. A kind that moves rows gets all of them in
 * one call. Else they are packed: a lane reads many short ones, in one call
 * where it can, and writes them likewise; where a side is host memory its rows
 * are used in place.
 */
#include "internal.h"

enum { GAP_SHORT = 4 << 10 }; /* to read over a gap is cheaper than a call */

/* --- packed --------------------------------------------------------------- */

/* Some rows, of which the first one is number `first`. */
struct pack {
  struct umemiRectangle const *r;
  size_t first, rows;
  char const *bytes; /* of the first row, in host memory */
  size_t pitch;      /* there */
};

static bool plane_is_dense(struct umemiPlane const *plane, size_t row) {
  return plane->pitch == row;
}

/* Does reading take the gaps along? */
static bool plane_is_sieved(struct umemiPlane const *plane, size_t row) {
  return plane->pitch - row <= GAP_SHORT;
}

/* Has the kind methods for rows? */
static bool plane_moves_rows(struct umemiPlane const *plane) {
  return plane->ctx->vtbl->read_2d != umemi_no_read_2d;
}

/* Memory that a row of the source takes as it is read. */
static size_t plane_room(struct umemiPlane const *src, size_t row) {
  if (src->view)
    return 0;
  return plane_is_sieved(src, row) && !plane_moves_rows(src) ? src->pitch : row;
}

/* Where the rows of a pack start in a plane. */
static uintptr_t pack_adr(struct pack const *pack,
                          struct umemiPlane const *plane) {
  return plane->adr + pack->first * plane->pitch;
}

static umemStatusType pack_read_rows(struct pack *pack, char *room,
                                     umemError *error) {
  struct umemiPlane const *src = &pack->r->src;
  umemStatusType status = umemOK;
  for (size_t i = 0; status == umemOK && i < pack->rows; i++)
    status = umemi_device_read(src->ctx, pack_adr(pack, src) + i * src->pitch,
                               room + i * pack->r->row, pack->r->row, error);
  pack->pitch = pack->r->row;
  return status;
}

/* The same by one call, if the kind has one. */
static umemStatusType pack_read_2d(struct pack *pack, char *room,
                                   umemError *error) {
  struct umemiPlane const *src = &pack->r->src;
  struct umemRows rows = {pack->r->row, pack->rows, src->pitch, pack->r->row};
  umemStatusType status = UMEM_DECLINED;
  if (pack->rows > 1)
    status =
        umemi_device_read_2d(src->ctx, pack_adr(pack, src), room, &rows, error);
  if (status == UMEM_DECLINED)
    return pack_read_rows(pack, room, error);
  pack->pitch = pack->r->row;
  return status;
}

/* Finds the rows in host memory, or brings them to `room`. */
static umemStatusType pack_fill(struct pack *pack, char *room,
                                umemError *error) {
  struct umemiPlane const *src = &pack->r->src;
  umemStatusType status = umemOK;
  size_t row = pack->r->row;
  pack->bytes = room;
  pack->pitch = src->pitch;
  if (src->view)
    pack->bytes = src->view + pack->first * src->pitch;
  else if (plane_moves_rows(src))
    status = pack_read_2d(pack, room, error);
  else if (plane_is_sieved(src, row))
    status = umemi_device_read(src->ctx, pack_adr(pack, src), room,
                               (pack->rows - 1) * src->pitch + row, error);
  else
    status = pack_read_rows(pack, room, error);
  return status;
}

static void pack_lay_out(struct pack const *pack, char *dest, size_t pitch) {
  for (size_t i = 0; i < pack->rows; i++)
    memcpy(dest + i * pitch, pack->bytes + i * pack->pitch, pack->r->row);
}

static umemStatusType pack_write_rows(struct pack const *pack,
                                      umemError *error) {
  struct umemiPlane const *dest = &pack->r->dest;
  umemStatusType status = umemOK;
  for (size_t i = 0; status == umemOK && i < pack->rows; i++) {
    status =
        umemi_device_write(dest->ctx, pack_adr(pack, dest) + i * dest->pitch,
                           pack->bytes + i * pack->pitch, pack->r->row, error);
    if (status != umemOK)
      error->bytes_done += i * pack->r->row;
  }
  return status;
}

/* The same by one call, if the kind has one. */
static umemStatusType pack_write_2d(struct pack const *pack, umemError *error) {
  struct umemiPlane const *dest = &pack->r->dest;
  struct umemRows rows = {pack->r->row, pack->rows, pack->pitch, dest->pitch};
  umemStatusType status = UMEM_DECLINED;
  if (pack->rows > 1)
    status = umemi_device_write_2d(dest->ctx, pack_adr(pack, dest), pack->bytes,
                                   &rows, error);
  return status == UMEM_DECLINED ? pack_write_rows(pack, error) : status;
}

/* `room` is for rows that have to lie together. */
static umemStatusType pack_empty(struct pack const *pack, char *room,
                                 umemError *error) {
  struct umemiPlane const *dest = &pack->r->dest;
  size_t row = pack->r->row;
  char const *bytes = pack->bytes;
  if (dest->view) {
    pack_lay_out(pack, dest->view + pack->first * dest->pitch, dest->pitch);
    return umemOK;
  }
  if (!plane_is_dense(dest, row))
    return pack_write_2d(pack, error);
  if (pack->pitch != row) {
    pack_lay_out(pack, room, row);
    bytes = room;
  }
  return umemi_device_write(dest->ctx, pack_adr(pack, dest), bytes,
                            pack->rows * row, error);
}

static umemStatusType pack_step(struct umemiLanes *lanes, size_t offset,
                                size_t nbytes, void *slot, umemError *error) {
  struct umemiRectangle const *r = lanes->arg;
  struct pack pack = {
      .r = r, .first = offset / r->row, .rows = nbytes / r->row};
  char *room = slot;
  umemStatusType status = pack_fill(&pack, room, error);
  if (status != umemOK) {
    error->bytes_done = 0; /* read, but not written */
    return umemi_blame(error, "source", r->src.ctx);
  }
  room += pack.rows * plane_room(&r->src, r->row);
  status = pack_empty(&pack, room, error);
  return status == umemOK ? status
                          : umemi_blame(error, "destination", r->dest.ctx);
}

/* Memory for one row: as it is read, and as it is written. */
static size_t pack_room(struct umemiRectangle const *r) {
  bool packs = !r->dest.view && plane_is_dense(&r->dest, r->row) &&
               !plane_is_dense(&r->src, r->row);
  return plane_room(&r->src, r->row) + (packs ? r->row : 0);
}

static umemStatusType pack_run(struct umemiRectangle *r, umemError *error) {
  size_t room = pack_room(r), nbytes = r->row * r->rows;
  size_t rows = umemi_tuning()->slot / (room ? room : r->row);
  struct umemiLanes lanes = {.nbytes = nbytes,
                             .chunk = rows * r->row,
                             .grain = r->row,
                             .room = room,
                             .step = pack_step,
                             .arg = r};
  if (nbytes >= umemi_tuning()->lanes_from)
    lanes.helpers = umemi_workers_of(UMEMI_LANES_MAX, false);
  return umemi_lanes_run(&lanes, error);
}

/* --- views ---------------------------------------------------------------- */

static umemStatusType plane_begin(struct umemiPlane *plane, umemAccess access,
                                  umemError *error) {
  void *view = NULL;
  umemStatusType status = umemi_device_view_begin(
      plane->ctx, plane->adr, plane->span, access, &view, error);
  if (status == umemOK)
    plane->view = view;
  return status == UMEM_DECLINED ? umemOK : status;
}

static umemStatusType plane_end(struct umemiPlane *plane, umemAccess access,
                                umemStatusType status, umemError *error) {
  char *view = plane->view;
  plane->view = NULL;
  return view ? umemi_view_end(plane->ctx, view, plane->span, access,
                               umemi_plane_role(access), status, error)
              : status;
}

/* Only where a view is the memory itself, or has no gaps, is nothing written
   between the rows. */
static bool plane_can_be_filled(struct umemiPlane const *dest, size_t row) {
  return plane_is_dense(dest, row) ||
         dest->ctx->vtbl->caps & UMEM_CAP_VIEWS_IN_PLACE;
}

umemStatusType umemi_rows_packed(struct umemiRectangle *r, umemError *error) {
  if (r->row == 0)
    return umemOK;
  umemStatusType status = plane_begin(&r->src, umemRead, error);
  if (status != umemOK)
    return umemi_blame(error, "source", r->src.ctx);
  if (plane_can_be_filled(&r->dest, r->row))
    status = plane_begin(&r->dest, umemWrite, error);
  if (status != umemOK)
    umemi_blame(error, "destination", r->dest.ctx);
  else
    status = pack_run(r, error);
  status = plane_end(&r->dest, umemWrite, status, error);
  return plane_end(&r->src, umemRead, status, error);
}

/* --- at once -------------------------------------------------------------- */

static struct umemRows rows_of(struct umemiRectangle const *r) {
  return (struct umemRows){r->row, r->rows, r->src.pitch, r->dest.pitch};
}

static umemStatusType rows_by_peer(struct umemiRectangle const *r,
                                   umemError *error) {
  struct umemVtbl const *src = r->src.ctx->vtbl, *dest = r->dest.ctx->vtbl;
  struct umemRows rows = rows_of(r);
  if (src->type != dest->type || src->copy_peer_2d != dest->copy_peer_2d ||
      !umemi_rung_is_on(umemDirectRung))
    return UMEM_DECLINED;
  return umemi_device_copy_peer_2d(r->src.ctx, r->src.adr, r->dest.ctx,
                                   r->dest.adr, &rows, error);
}

/* From host memory. */
static umemStatusType rows_by_write(struct umemiRectangle *r,
                                    umemError *error) {
  struct umemRows rows = rows_of(r);
  if (!plane_moves_rows(&r->dest) || !umemi_rung_is_on(umemSourceViewRung))
    return UMEM_DECLINED;
  umemStatusType status = plane_begin(&r->src, umemRead, error);
  if (status != umemOK)
    return umemi_blame(error, "source", r->src.ctx);
  if (!r->src.view)
    return UMEM_DECLINED;
  status = umemi_device_write_2d(r->dest.ctx, r->dest.adr, r->src.view, &rows,
                                 error);
  if (status != umemOK && status != UMEM_DECLINED)
    umemi_blame(error, "destination", r->dest.ctx);
  return plane_end(&r->src, umemRead, status, error);
}

/* To host memory. */
static umemStatusType rows_by_read(struct umemiRectangle *r, umemError *error) {
  struct umemRows rows = rows_of(r);
  if (!plane_moves_rows(&r->src) || !plane_can_be_filled(&r->dest, r->row) ||
      !umemi_rung_is_on(umemDestViewRung))
    return UMEM_DECLINED;
  umemStatusType status = plane_begin(&r->dest, umemWrite, error);
  if (status != umemOK)
    return umemi_blame(error, "destination", r->dest.ctx);
  if (!r->dest.view)
    return UMEM_DECLINED;
  status =
      umemi_device_read_2d(r->src.ctx, r->src.adr, r->dest.view, &rows, error);
  if (status != umemOK && status != UMEM_DECLINED)
    umemi_blame(error, "source", r->src.ctx);
  return plane_end(&r->dest, umemWrite, status, error);
}

umemStatusType umemi_rows_at_once(struct umemiRectangle *r, bool touch,
                                  umemError *error) {
  umemStatusType status = rows_by_peer(r, error);
  if (status == UMEM_DECLINED && !touch)
    status = rows_by_write(r, error);
  if (status == UMEM_DECLINED && !touch)
    status = rows_by_read(r, error);
  return status;
}
