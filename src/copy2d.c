/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rectangles: what is checked, and which way they take. A kind that moves rows
 * does it all. Long rows are copies of their own; short ones are packed
 * (rows.c).
 */
#include "internal.h"

enum { ROW_LONG = 24 << 10 }; /* rows of this size and more go one by one */

char const *umemi_plane_role(umemAccess access) {
  return access == umemRead ? "source" : "destination";
}

/* --- one row at a time ---------------------------------------------------- */

static umemStatusType rows_copy(struct umemiRectangle const *r, size_t row,
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

static umemStatusType rows_in_order(struct umemiRectangle const *r,
                                    bool one_space, umemError *error) {
  umemStatusType status = umemOK;
  for (size_t row = 0; status == umemOK && row < r->rows; row++) {
    status = rows_copy(r, row, one_space, error);
    if (status != umemOK)
      error->bytes_done += row * r->row;
  }
  return status;
}

/* Does the row go towards higher addresses? */
static bool row_goes_up(struct umemiRectangle const *r, size_t row) {
  return r->dest.adr + row * r->dest.pitch > r->src.adr + row * r->src.pitch;
}

/*
 * Both sides lie in one range. A row that goes up may cover later rows of the
 * source, one that goes down earlier ones; and those that go up are all before
 * or all behind those that go down, whose sources they do not reach. So: first
 * the ones that go up, from the last, then the others, from the first.
 */
static umemStatusType rows_overlapping(struct umemiRectangle const *r,
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

/* --- which way ------------------------------------------------------------ */

static bool rectangle_rows_touch(struct umemiRectangle const *r) {
  struct umemRows rows = {r->row, r->rows, r->src.pitch, r->dest.pitch};
  return umemi_rows_touch(&rows, r->src.adr, r->dest.adr);
}

/* Rows without gaps on both sides are one long row. */
static void rectangle_join_rows(struct umemiRectangle *r) {
  if (r->rows > 1 && (r->src.pitch != r->row || r->dest.pitch != r->row))
    return;
  r->row *= r->rows;
  r->rows = 1;
}

/* Rows of which some cannot be moved at once. */
static umemStatusType rectangle_copy_rows(struct umemiRectangle *r,
                                          bool one_space, bool touch,
                                          umemError *error) {
  umemStatusType status = umemOK;
  if (one_space)
    status =
        umemi_transfer_reach(r->src.ctx, r->src.adr + r->src.span - 1, error);
  if (status != umemOK)
    return status;
  if (touch)
    return rows_overlapping(r, error);
  if (r->row >= ROW_LONG)
    return rows_in_order(r, one_space, error);
  return umemi_rows_packed(r, error);
}

static umemStatusType rectangle_copy(struct umemiRectangle *r,
                                     umemError *error) {
  bool one_space = umemi_share_space(r->src.ctx, r->dest.ctx);
  if (r->row == 0 || r->rows == 0)
    return umemOK;
  rectangle_join_rows(r);
  if (r->rows == 1)
    return rows_in_order(r, one_space, error);
  bool touch = one_space && rectangle_rows_touch(r);
  umemStatusType status = umemi_rows_at_once(r, touch, error);
  return status == UMEM_DECLINED
             ? rectangle_copy_rows(r, one_space, touch, error)
             : status;
}

/* --- checks --------------------------------------------------------------- */

static umemStatusType plane_check_pitch(struct umemiRectangle const *r,
                                        struct umemiPlane const *plane,
                                        umemError *error) {
  if (r->rows <= 1 || plane->pitch >= r->row)
    return umemOK;
  return umem_error_fill(error, umemValueError, 0, 0,
                         "the pitch of %zu bytes is less than a row",
                         plane->pitch);
}

static umemStatusType plane_set_span(struct umemiRectangle const *r,
                                     struct umemiPlane *plane,
                                     umemError *error) {
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

static umemStatusType plane_check(struct umemiRectangle const *r,
                                  struct umemiPlane *plane, umemAccess access,
                                  umemError *error) {
  umemStatusType status = plane_check_pitch(r, plane, error);
  if (status == umemOK)
    status = plane_set_span(r, plane, error);
  struct umemiRange range = {plane->adr, r->safe ? plane->size : plane->span,
                             plane->span, r->safe};
  if (status == umemOK)
    status = umemi_check(plane->ctx, &range, access, error);
  return status == umemOK
             ? status
             : umemi_blame(error, umemi_plane_role(access), plane->ctx);
}

static umemStatusType rectangle_checked(void const *src, void const *dest,
                                        struct umemiRectangle *r,
                                        umemError *error) {
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
                                     void const *dest,
                                     struct umemiRectangle *r) {
  struct umemiCall call;
  umemi_begin(&call);
  struct umemiPlane from = r->src, to = r->dest;
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
  struct umemiRectangle r = {.src = {.adr = src_adr, .pitch = src_pitch},
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
  struct umemiRectangle r = {
      .src = {.adr = src_adr, .pitch = src_pitch, .size = src_size},
      .dest = {.adr = dest_adr, .pitch = dest_pitch, .size = dest_size},
      .row = row_bytes,
      .rows = rows,
      .safe = true};
  return rectangle_call("umem_copy_2d_safe", src, dest, &r);
}
