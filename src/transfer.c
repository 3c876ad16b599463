/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From one context to another. A backend speaks to host memory only; which way
 * the bytes take between two of them is decided here, on a ladder of rungs.
 */
#include "internal.h"

/* The host side of a view cannot be judged before the system touches it. */
static umemStatusType transfer_blame(umemError *error, char const *side,
                                     struct umemiContext const *ctx,
                                     char const *view_side,
                                     struct umemiContext const *view) {
  return error->sys_errno == EFAULT ? umemi_blame(error, view_side, view)
                                    : umemi_blame(error, side, ctx);
}

/* A lane's slot has a page more than the bytes that it aligns. */
enum { ALIGN_ROOM = UMEMI_SLOT_LEAST, ALIGN_GRAIN = ALIGN_ROOM - UMEMI_PAGE };

/* --- planning ------------------------------------------------------------- */

/* Threads at one device; as many slots are the 8 MiB that a copy may take. */
enum { DEVICE_LANES_MAX = 8 };

/* A device may say less, or more, than is of use. */
static struct umemLimits transfer_limits(struct umemiContext *ctx,
                                         uintptr_t adr, size_t nbytes,
                                         unsigned access, char const *method) {
  struct umemLimits limits = umemi_device_limits(ctx, adr, nbytes, access);
  if (limits.lanes == 0)
    limits.lanes = 1;
  if (limits.lanes > DEVICE_LANES_MAX)
    limits.lanes = DEVICE_LANES_MAX;
  if (!limits.method)
    limits.method = method;
  return limits;
}

static unsigned transfer_helpers(struct umemiRoute const *r, unsigned lanes,
                                 bool waits) {
  if (r->overlap || lanes <= 1 || r->nbytes < umemi_tuning()->lanes_from)
    return 0;
  return umemi_workers_of(lanes, waits);
}

/* The lesser one of those that are not 0. */
static size_t transfer_least(size_t a, size_t b) {
  return a && (a < b || !b) ? a : b;
}

/* Chunks are small enough that all lanes have some, and not smaller. */
static size_t transfer_chunk(size_t nbytes, size_t most, unsigned helpers) {
  size_t share = nbytes / 2 / ((size_t)helpers + 1) + UMEMI_PAGE;
  share = share & ~(size_t)(UMEMI_PAGE - 1);
  return helpers == 0 || share > most ? most : share;
}

/*
 * The side that is no host memory decides how a view is used. Where that lies
 * badly the bytes go through a slot that lies well, while they are in the
 * cache.
 */
static void transfer_plan_view(struct umemiRoute const *r, uintptr_t host_adr,
                               uintptr_t adr, struct umemLimits const *limits,
                               struct umemiWay *way) {
  struct umemiTuning const *tuning = umemi_tuning();
  size_t most = limits->chunk && !limits->whole ? limits->chunk : r->nbytes;
  uintptr_t ahead = (host_adr - adr) % UMEMI_PAGE;
  way->aligns =
      ahead > 0 && ahead < limits->alignment && r->nbytes >= tuning->align_from;
  size_t fits = tuning->slot / ALIGN_ROOM * ALIGN_GRAIN;
  if (way->aligns && most > fits)
    most = fits;
  way->helpers =
      limits->whole ? 0 : transfer_helpers(r, limits->lanes, limits->waits);
  if (way->helpers && !limits->chunk && most > tuning->read_piece)
    most = tuning->read_piece;
  way->chunk = transfer_chunk(r->nbytes, most, way->helpers);
  way->methods[0] = limits->method;
  if (!way->aligns)
    return;
  way->methods[1] = umemi_host_method(r->nbytes);
  way->staging = ((size_t)way->helpers + 1) * tuning->slot;
}

/* --- direct: the kind moves its own bytes --------------------------------- */

static bool direct_plan(struct umemiRoute const *r, struct umemiWay *way) {
  if (!umemi_same_kind(r->src, r->dest) ||
      r->src->vtbl->copy_peer == umemi_no_copy_peer)
    return false;
  struct umemLimits limits = transfer_limits(r->dest, r->dest_adr, r->nbytes,
                                             umemRead | umemWrite, "copy_peer");
  if (limits.declines)
    return false;
  way->methods[0] = r->overlap ? "memmove" : limits.method;
  if (r->overlap)
    return true;
  way->helpers = limits.lanes - 1;
  way->chunk = limits.chunk;
  return true;
}

static umemStatusType direct_run(struct umemiRoute const *r,
                                 struct umemiWay const *way, umemError *error) {
  (void)way;
  return umemi_device_copy_peer(r->src, r->src_adr, r->dest, r->dest_adr,
                                r->nbytes, error);
}

/* --- views ---------------------------------------------------------------- */

/* For ranges apart: on others write() would be given a pointer into the very
   range that it writes to. */

/* What a step of a copy needs to know. */
struct transfer {
  struct umemiRoute const *r;
  char *view;
};

/* Where in its slot a lane puts what the device has at `adr`: at the same place
   of a page. */
static char *transfer_place(void *slot, uintptr_t adr) {
  return (char *)slot + adr % UMEMI_PAGE;
}

/* Drivers know best how to bring bytes to host memory. */
static bool view_src_is_second(struct umemiRoute const *r) {
  return r->dest->vtbl->view_begin != umemi_no_view_begin &&
         umemi_device_limits(r->src, r->src_adr, r->nbytes, umemRead).copies;
}

static bool view_src_plan(struct umemiRoute const *r, struct umemiWay *way) {
  if (r->overlap || r->src->vtbl->view_begin == umemi_no_view_begin ||
      view_src_is_second(r))
    return false;
  struct umemLimits limits =
      transfer_limits(r->dest, r->dest_adr, r->nbytes, umemWrite, "write");
  transfer_plan_view(r, r->src_adr, r->dest_adr, &limits, way);
  return true;
}

static umemStatusType view_src_step(struct umemiLanes *lanes, size_t offset,
                                    size_t nbytes, void *slot,
                                    umemError *error) {
  struct transfer const *t = lanes->arg;
  struct umemiRoute const *r = t->r;
  char const *src = t->view + offset;
  if (slot)
    src = memcpy(transfer_place(slot, r->dest_adr + offset), src, nbytes);
  umemStatusType status =
      umemi_device_write(r->dest, r->dest_adr + offset, src, nbytes, error);
  return status == umemOK
             ? status
             : transfer_blame(error, "destination", r->dest, "source", r->src);
}

static umemStatusType transfer_run_lanes(struct transfer *t,
                                         struct umemiWay const *way,
                                         umemiLaneStep *step,
                                         umemError *error) {
  struct umemiLanes lanes = {.nbytes = t->r->nbytes,
                             .chunk = way->chunk,
                             .grain = ALIGN_GRAIN,
                             .room = way->aligns ? ALIGN_ROOM : 0,
                             .spare = true,
                             .helpers = way->helpers,
                             .step = step,
                             .arg = t};
  return umemi_lanes_run(&lanes, error);
}

static umemStatusType view_src_run(struct umemiRoute const *r,
                                   struct umemiWay const *way,
                                   umemError *error) {
  void *view;
  umemStatusType status = umemi_device_view_begin(r->src, r->src_adr, r->nbytes,
                                                  umemRead, &view, error);
  if (status == UMEM_DECLINED)
    return status;
  if (status != umemOK)
    return umemi_blame(error, "source", r->src);
  struct transfer t = {r, view};
  status = transfer_run_lanes(&t, way, view_src_step, error);
  return umemi_view_end(r->src, view, r->nbytes, umemRead, "source", status,
                        error);
}

static bool view_dest_plan(struct umemiRoute const *r, struct umemiWay *way) {
  if (r->overlap || r->dest->vtbl->view_begin == umemi_no_view_begin)
    return false;
  struct umemLimits limits =
      transfer_limits(r->src, r->src_adr, r->nbytes, umemRead, "read");
  transfer_plan_view(r, r->dest_adr, r->src_adr, &limits, way);
  return true;
}

static umemStatusType view_dest_step(struct umemiLanes *lanes, size_t offset,
                                     size_t nbytes, void *slot,
                                     umemError *error) {
  struct transfer const *t = lanes->arg;
  struct umemiRoute const *r = t->r;
  char *dest = t->view + offset;
  char *room = slot ? transfer_place(slot, r->src_adr + offset) : dest;
  umemStatusType status =
      umemi_device_read(r->src, r->src_adr + offset, room, nbytes, error);
  size_t done = status == umemOK ? nbytes : (size_t)error->bytes_done;
  if (slot)
    umemi_host_deliver(dest, room, done, r->nbytes);
  return status == umemOK
             ? status
             : transfer_blame(error, "source", r->src, "destination", r->dest);
}

static umemStatusType view_dest_run(struct umemiRoute const *r,
                                    struct umemiWay const *way,
                                    umemError *error) {
  void *view;
  umemStatusType status = umemi_device_view_begin(
      r->dest, r->dest_adr, r->nbytes, umemWrite, &view, error);
  if (status == UMEM_DECLINED)
    return status;
  if (status != umemOK)
    return umemi_blame(error, "destination", r->dest);
  struct transfer t = {r, view};
  status = transfer_run_lanes(&t, way, view_dest_step, error);
  return umemi_view_end(r->dest, view, r->nbytes, umemWrite, "destination",
                        status, error);
}

/* --- staged: always possible ---------------------------------------------- */

static bool staged_plan(struct umemiRoute const *r, struct umemiWay *way) {
  struct umemLimits from =
      transfer_limits(r->src, r->src_adr, r->nbytes, umemRead, "read");
  struct umemLimits to =
      transfer_limits(r->dest, r->dest_adr, r->nbytes, umemWrite, "write");
  unsigned lanes = from.lanes + to.lanes;
  if (lanes > UMEMI_LANES_MAX)
    lanes = UMEMI_LANES_MAX;
  way->helpers = transfer_helpers(r, lanes, from.waits || to.waits);
  size_t most = transfer_least(from.chunk, to.chunk);
  most = transfer_least(most, umemi_tuning()->slot);
  way->chunk = transfer_chunk(r->nbytes, most, way->helpers);
  way->staging = ((size_t)way->helpers + 1) * umemi_tuning()->slot;
  way->methods[0] = from.method;
  way->methods[1] = to.method;
  return true;
}

static umemStatusType staged_read(struct umemiContext *src, uintptr_t adr,
                                  void *slot, size_t nbytes, umemError *error) {
  umemStatusType status = umemi_device_read(src, adr, slot, nbytes, error);
  if (status == umemOK)
    return umemOK;
  error->bytes_done = 0; /* read, but not written */
  return umemi_blame(error, "source", src);
}

umemStatusType umemi_transfer_reach(struct umemiContext *src, uintptr_t last,
                                    umemError *error) {
  char byte;
  return staged_read(src, last, &byte, 1, error);
}

static umemStatusType staged_step(struct umemiLanes *lanes, size_t offset,
                                  size_t nbytes, void *slot, umemError *error) {
  struct transfer const *t = lanes->arg;
  struct umemiRoute const *r = t->r;
  umemStatusType status =
      staged_read(r->src, r->src_adr + offset, slot, nbytes, error);
  if (status != umemOK)
    return status;
  status =
      umemi_device_write(r->dest, r->dest_adr + offset, slot, nbytes, error);
  return status == umemOK ? status : umemi_blame(error, "destination", r->dest);
}

/* Who has memory of its own to stage through, if that is worth while. */
static struct umemiContext *staged_by(struct umemiRoute const *r) {
  if (r->nbytes < umemi_tuning()->slot)
    return NULL;
  if (r->dest->vtbl->stage_alloc != umemi_no_stage_alloc)
    return r->dest;
  return r->src->vtbl->stage_alloc != umemi_no_stage_alloc ? r->src : NULL;
}

/* From the end where the destination lies behind the source in the same range,
   so that no byte is overwritten before it is read. */
static umemStatusType staged_move(struct umemiRoute const *r,
                                  struct umemiWay const *way,
                                  umemError *error) {
  struct transfer t = {.r = r};
  struct umemiLanes lanes = {
      .nbytes = r->nbytes,
      .chunk = way->chunk,
      .grain = 1,
      .room = 1,
      .helpers = r->nbytes < umemi_tuning()->lanes_from ? 0 : way->helpers,
      .backward = r->overlap && r->dest_adr > r->src_adr,
      .stage = staged_by(r),
      .step = staged_step,
      .arg = &t};
  return umemi_lanes_run(&lanes, error);
}

/* A chunk that is all is read before anything is written. */
static umemStatusType staged_check_end(struct umemiRoute const *r,
                                       struct umemiWay const *way,
                                       umemError *error) {
  bool one_chunk = r->nbytes <= way->chunk && r->nbytes <= UMEMI_SLOT_LEAST;
  if (!r->one_space || one_chunk)
    return umemOK;
  return umemi_transfer_reach(r->src, r->src_adr + r->nbytes - 1, error);
}

/* A part of the route that starts so far in. */
static struct umemiRoute route_part(struct umemiRoute const *r, size_t offset,
                                    size_t nbytes) {
  struct umemiRoute part = *r;
  part.src_adr += offset;
  part.dest_adr += offset;
  part.nbytes = nbytes;
  return part;
}

/* Zeros that need not be read are set; else they are data like all others. */
static umemStatusType staged_zeros(struct umemiRoute const *r,
                                   struct umemiWay const *way,
                                   umemError *error) {
  umemStatusType status =
      umemi_device_punch(r->dest, r->dest_adr, r->nbytes, error);
  if (status == UMEM_DECLINED)
    return staged_move(r, way, error);
  return status == umemOK ? status : umemi_blame(error, "destination", r->dest);
}

static umemStatusType staged_part(struct umemiRoute const *r, size_t offset,
                                  struct umemiWay const *way, bool zeros,
                                  size_t nbytes, umemError *error) {
  if (nbytes == 0)
    return umemOK;
  struct umemiRoute part = route_part(r, offset, nbytes);
  umemStatusType status =
      (zeros ? staged_zeros : staged_move)(&part, way, error);
  if (status != umemOK)
    error->bytes_done += offset;
  return status;
}

/* Holes apart, unless pieces would be written over those still to come. */
static umemStatusType staged_run(struct umemiRoute const *r,
                                 struct umemiWay const *way, umemError *error) {
  umemStatusType status = staged_check_end(r, way, error);
  bool backward = r->overlap && r->dest_adr > r->src_adr;
  if (backward || r->nbytes < umemi_tuning()->sparse_from)
    return status == umemOK ? staged_move(r, way, error) : status;
  for (size_t done = 0, zeros, data; status == umemOK && done < r->nbytes;
       done += zeros + data) {
    status = umemi_device_next_data(r->src, r->src_adr + done, r->nbytes - done,
                                    &zeros, &data, error);
    if (status != umemOK) {
      error->bytes_done = done;
      return umemi_blame(error, "source", r->src);
    }
    status = staged_part(r, done, way, true, zeros, error);
    if (status == umemOK)
      status = staged_part(r, done + zeros, way, false, data, error);
  }
  return status;
}

/* --- the ladder ----------------------------------------------------------- */

/* Rungs in the order in which they are tried. `plan` answers false where the
   rung does not fit; one that fits may answer UMEM_DECLINED before it touches a
   byte. */
static struct rung {
  umemCopyRung number;
  char const *name, *reason;
  bool (*plan)(struct umemiRoute const *r, struct umemiWay *way);
  umemStatusType (*run)(struct umemiRoute const *r, struct umemiWay const *way,
                        umemError *error);
} const rungs[] = {
    {umemDirectRung, "direct",
     "both are of one kind, whose own way is tried first", direct_plan,
     direct_run},
    {umemSourceViewRung, "view of the source",
     "the source can be used as host memory", view_src_plan, view_src_run},
    {umemDestViewRung, "view of the destination",
     "the destination can be used as host memory", view_dest_plan,
     view_dest_run},
    {umemStagedRung, "staged", "neither can be used as host memory",
     staged_plan, staged_run},
};

/* The first rung from `rung` on that fits; the last one always does. */
static struct rung const *transfer_choose(struct umemiRoute const *r,
                                          struct rung const *rung,
                                          struct umemiWay *way) {
  for (;; rung++) {
    *way = (struct umemiWay){
        .rung = rung->number, .name = rung->name, .reason = rung->reason};
    if ((umemi_rung_is_on(rung->number) || rung->number == umemStagedRung) &&
        rung->plan(r, way))
      break;
  }
  if (way->chunk == 0 || way->chunk > r->nbytes)
    way->chunk = r->nbytes;
  if (rung->number == umemStagedRung && r->overlap)
    way->reason = "the ranges overlap, in chunks from the safe end";
  return rung;
}

void umemi_transfer_plan(struct umemiRoute const *r, struct umemiWay *way) {
  transfer_choose(r, rungs, way);
}

static umemStatusType transfer_climb(struct umemiRoute const *r,
                                     umemError *error) {
  struct umemiWay way;
  struct rung const *rung = rungs;
  for (;; rung++) {
    rung = transfer_choose(r, rung, &way);
    umemStatusType status = rung->run(r, &way, error);
    if (status == UMEM_DECLINED)
      continue;
    if (umemi_log_is_on())
      umemi_log_copy(r, &way);
    return status;
  }
}

umemStatusType umemi_transfer_run(struct umemiRoute const *r,
                                  umemError *error) {
  if (r->nbytes == 0)
    return umemOK;
  umemStatusType status = transfer_climb(r, error);
  if (status != umemOK && r->overlap)
    error->bytes_done = 0;
  return status;
}

umemStatusType umemi_copy(struct umemiCopy const *copy, umemError *error) {
  struct umemiRoute route;
  umemStatusType status = umemi_route(copy, &route, error);
  return status == umemOK ? umemi_transfer_run(&route, error) : status;
}
