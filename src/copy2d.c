/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rectangles. Long rows are copies of their own. Short ones are packed: a lane
 * reads many of them, in one call where it can, and writes them likewise; where
 * a side is host memory its rows are used in place.
 */
#include "internal.h"

enum {
  ROW_LONG = 24 << 10, /* rows of this size and more go one by one */
  GAP_SHORT = 4 << 10, /* to read over a gap is cheaper than another call */
};

/* One side of a rectangle. */
struct plane {
  struct umemiContext *ctx;
  uintptr_t adr;
  size_t pitch, size;
  size_t span; /* of all rows and what is between them */
  char *view;
};

static char const *plane_role(umemAccess access) {
  return access == umemRead ? "source" : "destination";
}

struct rectangle {
  struct plane src, dest;
  size_t row, rows; /* bytes of a row, number of rows */
  bool safe;
};

/* --- one row at a time ---------------------------------------------------- */

static umemStatusType rows_copy(struct rectangle const *r, size_t row,
                                bool one_space, umemError *error) {
  struct umemiRoute route = {.src = r->src.ctx,
                             .dest = r->dest.ctx,
                             .src_adr = r->src.adr + row * r->src.pitch,
                             .dest_adr = r->dest.adr + row * r->dest.pitch,
                             .nbytes = r->row,
                             .one_space = one_space};
  umemi_route_judge(&route);
  return umemi_transfer_run(&route, error);
}

static umemStatusType rows_in_order(struct rectangle const *r, bool one_space,
                                    umemError *error) {
  umemStatusType status = umemOK;
  for (size_t row = 0; status == umemOK && row < r->rows; row++) {
    status = rows_copy(r, row, one_space, error);
    if (status != umemOK)
      error->bytes_done += row * r->row;
  }
  return status;
}

/* Does the row go towards higher addresses? */
static bool row_goes_up(struct rectangle const *r, size_t row) {
  return r->dest.adr + row * r->dest.pitch > r->src.adr + row * r->src.pitch;
}

/*
 * Both sides lie in one range. A row that goes up may cover later rows of the
 * source, one that goes down earlier ones; and those that go up are all before
 * or all behind those that go down, whose sources they do not reach. So: first
 * the ones that go up, from the last, then the others, from the first.
 */
static umemStatusType rows_overlapping(struct rectangle const *r,
                                       umemError *error) {
  umemStatusType status = umemOK;
  for (size_t row = r->rows; status == umemOK && row-- > 0;)
    if (row_goes_up(r, row))
      status = rows_copy(r, row, true, error);
  for (size_t row = 0; status == umemOK && row < r->rows; row++)
    if (!row_goes_up(r, row))
      status = rows_copy(r, row, true, error);
  if (status != umemOK)
    error->bytes_done = 0;
  return status;
}

/* --- packed --------------------------------------------------------------- */

/* Some rows, of which the first one is number `first`. */
struct pack {
  struct rectangle const *r;
  size_t first, rows;
  char const *bytes; /* of the first row, in host memory */
  size_t pitch;      /* there */
};

static bool plane_is_dense(struct plane const *plane, size_t row) {
  return plane->pitch == row;
}

/* Does reading take the gaps along? */
static bool plane_is_sieved(struct plane const *plane, size_t row) {
  return plane->pitch - row <= GAP_SHORT;
}

/* Memory that a row of the source takes as it is read. */
static size_t plane_room(struct plane const *src, size_t row) {
  if (src->view)
    return 0;
  return plane_is_sieved(src, row) ? src->pitch : row;
}

/* Where the rows of a pack start in a plane. */
static uintptr_t pack_adr(struct pack const *pack, struct plane const *plane) {
  return plane->adr + pack->first * plane->pitch;
}

static umemStatusType pack_read_rows(struct pack *pack, char *room,
                                     umemError *error) {
  struct plane const *src = &pack->r->src;
  umemStatusType status = umemOK;
  for (size_t i = 0; status == umemOK && i < pack->rows; i++)
    status = umemi_device_read(src->ctx, pack_adr(pack, src) + i * src->pitch,
                               room + i * pack->r->row, pack->r->row, error);
  pack->pitch = pack->r->row;
  return status;
}

/* Finds the rows in host memory, or brings them to `room`. */
static umemStatusType pack_fill(struct pack *pack, char *room,
                                umemError *error) {
  struct plane const *src = &pack->r->src;
  umemStatusType status = umemOK;
  size_t row = pack->r->row;
  pack->bytes = room;
  pack->pitch = src->pitch;
  if (src->view)
    pack->bytes = src->view + pack->first * src->pitch;
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
  struct plane const *dest = &pack->r->dest;
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

/* `room` is for rows that have to lie together. */
static umemStatusType pack_empty(struct pack const *pack, char *room,
                                 umemError *error) {
  struct plane const *dest = &pack->r->dest;
  size_t row = pack->r->row;
  char const *bytes = pack->bytes;
  if (dest->view) {
    pack_lay_out(pack, dest->view + pack->first * dest->pitch, dest->pitch);
    return umemOK;
  }
  if (!plane_is_dense(dest, row))
    return pack_write_rows(pack, error);
  if (pack->pitch != row) {
    pack_lay_out(pack, room, row);
    bytes = room;
  }
  return umemi_device_write(dest->ctx, pack_adr(pack, dest), bytes,
                            pack->rows * row, error);
}

static umemStatusType pack_step(struct umemiLanes *lanes, size_t offset,
                                size_t nbytes, void *slot, umemError *error) {
  struct rectangle const *r = lanes->arg;
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
static size_t pack_room(struct rectangle const *r) {
  bool packs = !r->dest.view && plane_is_dense(&r->dest, r->row) &&
               !plane_is_dense(&r->src, r->row);
  return plane_room(&r->src, r->row) + (packs ? r->row : 0);
}

static umemStatusType pack_run(struct rectangle *r, umemError *error) {
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

static umemStatusType plane_begin(struct plane *plane, umemAccess access,
                                  umemError *error) {
  void *view = NULL;
  umemStatusType status = umemi_device_view_begin(
      plane->ctx, plane->adr, plane->span, access, &view, error);
  if (status == umemOK)
    plane->view = view;
  return status == UMEM_DECLINED ? umemOK : status;
}

static umemStatusType plane_end(struct plane *plane, umemAccess access,
                                umemStatusType status, umemError *error) {
  if (!plane->view)
    return status;
  return umemi_view_end(plane->ctx, plane->view, plane->span, access,
                        plane_role(access), status, error);
}

/* A view of the destination puts all of itself in place when it ends: only if
   it is the memory itself, or has no gaps, is nothing written between rows. */
static bool plane_can_be_filled(struct plane const *dest, size_t row) {
  umemSpace spaces[UMEM_SPACES_MAX];
  umemi_device_spaces(dest->ctx, spaces);
  return plane_is_dense(dest, row) || spaces[0].kind == UMEM_SPACE_PROCESS;
}

static umemStatusType rows_packed(struct rectangle *r, umemError *error) {
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

/* --- which way ------------------------------------------------------------ */

static bool rectangle_overlaps(struct rectangle const *r) {
  struct plane const *src = &r->src, *dest = &r->dest;
  return src->adr < dest->adr ? dest->adr - src->adr < src->span
                              : src->adr - dest->adr < dest->span;
}

/* Rows without gaps on both sides are one long row. */
static void rectangle_join_rows(struct rectangle *r) {
  if (r->rows > 1 &&
      (!plane_is_dense(&r->src, r->row) || !plane_is_dense(&r->dest, r->row)))
    return;
  r->row *= r->rows;
  r->rows = 1;
}

static umemStatusType rectangle_copy(struct rectangle *r, umemError *error) {
  bool one_space = umemi_share_space(r->src.ctx, r->dest.ctx);
  if (r->row == 0 || r->rows == 0)
    return umemOK;
  rectangle_join_rows(r);
  if (r->rows > 1 && one_space) {
    umemStatusType status =
        umemi_transfer_reach(r->src.ctx, r->src.adr + r->src.span - 1, error);
    if (status != umemOK)
      return status;
  }
  if (r->rows > 1 && one_space && rectangle_overlaps(r))
    return rows_overlapping(r, error);
  if (r->rows == 1 || r->row >= ROW_LONG)
    return rows_in_order(r, one_space, error);
  return rows_packed(r, error);
}

/* --- checks --------------------------------------------------------------- */

static umemStatusType plane_check_pitch(struct rectangle const *r,
                                        struct plane const *plane,
                                        umemError *error) {
  if (r->rows <= 1 || plane->pitch >= r->row)
    return umemOK;
  return umem_error_fill(error, umemValueError, 0, 0,
                         "the pitch of %zu bytes is less than a row",
                         plane->pitch);
}

static umemStatusType plane_set_span(struct rectangle const *r,
                                     struct plane *plane, umemError *error) {
  if (r->rows == 0 || r->row == 0)
    return umemOK;
  if (!__builtin_mul_overflow(r->rows - 1, plane->pitch, &plane->span) &&
      !__builtin_add_overflow(plane->span, r->row, &plane->span))
    return umemOK;
  return umem_error_fill(error, umemIndexError, 0, 0,
                         "%zu rows, %zu bytes apart, are more than there can "
                         "be",
                         r->rows, plane->pitch);
}

static umemStatusType plane_check(struct rectangle const *r,
                                  struct plane *plane, umemAccess access,
                                  umemError *error) {
  umemStatusType status = plane_check_pitch(r, plane, error);
  if (status == umemOK)
    status = plane_set_span(r, plane, error);
  struct umemiRange range = {plane->adr, r->safe ? plane->size : plane->span,
                             plane->span, r->safe};
  if (status == umemOK)
    status = umemi_check(plane->ctx, &range, access, error);
  return status == umemOK ? status
                          : umemi_blame(error, plane_role(access), plane->ctx);
}

static umemStatusType rectangle_checked(void const *src, void const *dest,
                                        struct rectangle *r, umemError *error) {
  umemStatusType status = umemi_need_live(src, "source ", error);
  if (status == umemOK)
    status = umemi_need_live(dest, "destination ", error);
  if (status != umemOK)
    return status;
  r->src.ctx = umemi_context(src);
  r->dest.ctx = umemi_context(dest);
  status = plane_check(r, &r->src, umemRead, error);
  if (status == umemOK)
    status = plane_check(r, &r->dest, umemWrite, error);
  return status == umemOK ? rectangle_copy(r, error) : status;
}

/* --- public calls --------------------------------------------------------- */

static umemStatusType rectangle_call(char const *function, void const *src,
                                     void const *dest, struct rectangle *r) {
  struct umemiCall call;
  umemi_begin(&call);
  struct plane from = r->src, to = r->dest;
  size_t row = r->row, rows = r->rows;
  umemStatusType status = rectangle_checked(src, dest, r, &call.error);
  char sizes[64] = "";
  if (r->safe)
    snprintf(sizes, sizeof sizes, " (sizes %zu, %zu)", from.size, to.size);
  return umemi_end_two(&call, status, src, dest,
                       "%s(source %s 0x%" PRIxPTR
                       " pitch %zu, destination %s 0x%" PRIxPTR
                       " pitch %zu, %zu rows of %zu bytes%s)",
                       function, umemi_name(src), from.adr, from.pitch,
                       umemi_name(dest), to.adr, to.pitch, rows, row, sizes);
}

umemStatusType umem_copy_2d(void const *src, uintptr_t src_adr,
                            size_t src_pitch, void const *dest,
                            uintptr_t dest_adr, size_t dest_pitch,
                            size_t row_bytes, size_t rows) {
  struct rectangle r = {.src = {.adr = src_adr, .pitch = src_pitch},
                        .dest = {.adr = dest_adr, .pitch = dest_pitch},
                        .row = row_bytes,
                        .rows = rows};
  return rectangle_call("umem_copy_2d", src, dest, &r);
}

umemStatusType umem_copy_2d_safe(void const *src, uintptr_t src_adr,
                                 size_t src_pitch, size_t src_size,
                                 void const *dest, uintptr_t dest_adr,
                                 size_t dest_pitch, size_t dest_size,
                                 size_t row_bytes, size_t rows) {
  struct rectangle r = {
      .src = {.adr = src_adr, .pitch = src_pitch, .size = src_size},
      .dest = {.adr = dest_adr, .pitch = dest_pitch, .size = dest_size},
      .row = row_bytes,
      .rows = rows,
      .safe = true};
  return rectangle_call("umem_copy_2d_safe", src, dest, &r);
}
