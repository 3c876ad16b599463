/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies: the only file that sees two contexts. A backend speaks to host memory
 * only; which way the bytes take between two of them is decided here, on a
 * ladder of rungs (transfer_climb).
 */
#include "internal.h"

/* A copy whose arguments are checked. */
struct route {
  struct umemiContext *src, *dest;
  uintptr_t src_adr, dest_adr;
  size_t nbytes;
  bool one_space;
  bool overlap; /* of the two ranges, in one space */
};

static bool transfer_rung_is_on(unsigned rung) {
  return !(umemi_os.rungs_off & 1u << rung);
}

/* The host side of a view cannot be judged before the system touches it. */
static umemStatusType transfer_blame(umemError *error, char const *side,
                                     struct umemiContext const *ctx,
                                     char const *view_side,
                                     struct umemiContext const *view) {
  return error->sys_errno == EFAULT ? umemi_blame(error, view_side, view)
                                    : umemi_blame(error, side, ctx);
}

/* --- rungs: each may answer UMEM_DECLINED before it touches a byte -------- */

static umemStatusType transfer_direct(struct route const *r, umemError *error) {
  struct umemVtbl const *src = r->src->vtbl, *dest = r->dest->vtbl;
  if (src->type != dest->type || src->copy_peer != dest->copy_peer)
    return UMEM_DECLINED;
  return umemi_device_copy_peer(r->src, r->src_adr, r->dest, r->dest_adr,
                                r->nbytes, error);
}

static umemStatusType transfer_view_src(struct route const *r,
                                        umemError *error) {
  void *view;
  umemStatusType status = umemi_device_view_begin(r->src, r->src_adr, r->nbytes,
                                                  umemRead, &view, error);
  if (status == UMEM_DECLINED)
    return status;
  if (status != umemOK)
    return umemi_blame(error, "source", r->src);
  status = umemi_device_write(r->dest, r->dest_adr, view, r->nbytes, error);
  if (status != umemOK)
    transfer_blame(error, "destination", r->dest, "source", r->src);
  umemError at_end;
  umemStatusType ended =
      umemi_device_view_end(r->src, view, r->nbytes, umemRead, &at_end);
  if (status != umemOK || ended == umemOK)
    return status;
  *error = at_end;
  return umemi_blame(error, "source", r->src);
}

static umemStatusType transfer_view_dest(struct route const *r,
                                         umemError *error) {
  void *view;
  umemStatusType status = umemi_device_view_begin(
      r->dest, r->dest_adr, r->nbytes, umemWrite, &view, error);
  if (status == UMEM_DECLINED)
    return status;
  if (status != umemOK)
    return umemi_blame(error, "destination", r->dest);
  status = umemi_device_read(r->src, r->src_adr, view, r->nbytes, error);
  if (status != umemOK)
    transfer_blame(error, "source", r->src, "destination", r->dest);
  umemError at_end;
  umemStatusType ended =
      umemi_device_view_end(r->dest, view, r->nbytes, umemWrite, &at_end);
  if (ended == umemOK)
    return status;
  if (status == umemOK) {
    *error = at_end;
    umemi_blame(error, "destination", r->dest);
  }
  error->bytes_done = 0; /* what was read may not have arrived */
  return error->type;
}

static umemStatusType transfer_read(struct route const *r, size_t offset,
                                    void *stage, size_t nbytes,
                                    umemError *error) {
  umemStatusType status =
      umemi_device_read(r->src, r->src_adr + offset, stage, nbytes, error);
  if (status == umemOK)
    return umemOK;
  error->bytes_done = 0; /* read, but not written */
  return umemi_blame(error, "source", r->src);
}

static umemStatusType transfer_chunk(struct route const *r, size_t offset,
                                     void *stage, size_t nbytes,
                                     umemError *error) {
  umemStatusType status = transfer_read(r, offset, stage, nbytes, error);
  if (status != umemOK)
    return status;
  status =
      umemi_device_write(r->dest, r->dest_adr + offset, stage, nbytes, error);
  return status == umemOK ? status : umemi_blame(error, "destination", r->dest);
}

/* Chunk by chunk, from the end where the destination lies behind the source in
   the same range, so that no byte is overwritten before it is read. */
static umemStatusType transfer_staged(struct route const *r, umemError *error) {
  struct umemiStage stage;
  umemStatusType status = umemi_stage_begin(&stage, r->nbytes, error);
  bool backward = r->overlap && r->dest_adr > r->src_adr;
  if (status != umemOK)
    return status;
  /* Is the source all there? What is written may extend the very file whose end
     is in the source. */
  if (r->one_space && r->nbytes > stage.size)
    status = transfer_read(r, r->nbytes - 1, stage.ptr, 1, error);
  for (size_t done = 0; status == umemOK && done < r->nbytes;) {
    size_t left = r->nbytes - done;
    size_t chunk = left < stage.size ? left : stage.size;
    size_t offset = backward ? left - chunk : done;
    status = transfer_chunk(r, offset, stage.ptr, chunk, error);
    if (status != umemOK)
      error->bytes_done += done;
    done += chunk;
  }
  umemi_stage_end(&stage);
  return status;
}

typedef umemStatusType transfer_rung(struct route const *r, umemError *error);

/* Views are for ranges apart: on them write() would be given a pointer into the
   very range that it writes to. */
static umemStatusType transfer_climb(struct route const *r, umemError *error) {
  static transfer_rung *const rungs[] = {
      [UMEMI_DIRECT] = transfer_direct,
      [UMEMI_VIEW_SRC] = transfer_view_src,
      [UMEMI_VIEW_DEST] = transfer_view_dest,
  };
  for (unsigned rung = UMEMI_DIRECT; rung < UMEMI_STAGED; rung++) {
    if (!transfer_rung_is_on(rung) || (r->overlap && rung != UMEMI_DIRECT))
      continue;
    umemStatusType status = rungs[rung](r, error);
    if (status != UMEM_DECLINED)
      return status;
  }
  return transfer_staged(r, error);
}

/* --- checks -------------------------------------------------------------- */

static umemStatusType transfer_check_both(struct umemiCopy const *copy,
                                          umemiRangeCheck *check,
                                          umemError *error) {
  struct umemiContext *src = umemi_context(copy->src);
  struct umemiContext *dest = umemi_context(copy->dest);
  size_t n = copy->nbytes;
  struct umemiRange from = {copy->src_adr, copy->safe ? copy->src_size : n, n,
                            copy->safe};
  struct umemiRange to = {copy->dest_adr, copy->safe ? copy->dest_size : n, n,
                          copy->safe};
  if (check(src, &from, umemRead, error) != umemOK)
    return umemi_blame(error, "source", src);
  if (check(dest, &to, umemWrite, error) != umemOK)
    return umemi_blame(error, "destination", dest);
  return umemOK;
}

/* The arguments of both sides come before the ranges of either. Nothing will be
   accessed if both are the same bytes already. */
static umemStatusType transfer_check(struct umemiCopy const *copy, bool same,
                                     umemError *error) {
  umemStatusType status = umemOK;
  if (!same)
    status = transfer_check_both(copy, umemi_check_address, error);
  if (status == umemOK)
    status = transfer_check_both(copy, umemi_check_range, error);
  if (status == umemOK && !same)
    status = transfer_check_both(copy, umemi_check_access, error);
  return status;
}

umemStatusType umemi_copy(struct umemiCopy const *copy, umemError *error) {
  umemStatusType status = umemi_need_live(copy->src, "source ", error);
  if (status == umemOK)
    status = umemi_need_live(copy->dest, "destination ", error);
  if (status != umemOK)
    return status;
  struct route r = {.src = umemi_context(copy->src),
                    .dest = umemi_context(copy->dest),
                    .src_adr = copy->src_adr,
                    .dest_adr = copy->dest_adr,
                    .nbytes = copy->nbytes};
  r.one_space = umemi_same_space(r.src, r.dest);
  bool same = copy->sync && r.one_space && r.src_adr == r.dest_adr;
  status = transfer_check(copy, same, error);
  if (status != umemOK || same || copy->nbytes == 0)
    return status;
  r.overlap = r.one_space &&
              (r.src_adr < r.dest_adr ? r.dest_adr - r.src_adr < r.nbytes
                                      : r.src_adr - r.dest_adr < r.nbytes);
  status = transfer_climb(&r, error);
  if (status != umemOK && r.overlap)
    error->bytes_done = 0;
  return status;
}

/* --- public calls -------------------------------------------------------- */

static umemStatusType transfer_call(char const *function,
                                    struct umemiCopy const *copy) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = umemi_copy(copy, &call.error);
  char sizes[64] = "";
  if (copy->safe)
    snprintf(sizes, sizeof sizes, " (sizes %zu, %zu)", copy->src_size,
             copy->dest_size);
  return umemi_end_two(&call, status, copy->src, copy->dest,
                       "%s(source %s 0x%" PRIxPTR ", destination %s 0x%" PRIxPTR
                       ", %zu bytes%s)",
                       function, umemi_name(copy->src), copy->src_adr,
                       umemi_name(copy->dest), copy->dest_adr, copy->nbytes,
                       sizes);
}

/* The slow ways take values, so that the fast ones keep no struct in memory. */
UMEMI_NOINLINE umemStatusType umemi_transfer(char const *function, bool sync,
                                             void const *src, uintptr_t src_adr,
                                             void const *dest,
                                             uintptr_t dest_adr,
                                             size_t nbytes) {
  struct umemiCopy copy = {.src = src,
                           .src_adr = src_adr,
                           .dest = dest,
                           .dest_adr = dest_adr,
                           .nbytes = nbytes,
                           .sync = sync};
  return transfer_call(function, &copy);
}

UMEMI_NOINLINE umemStatusType
umemi_transfer_safe(char const *function, bool sync, void const *src,
                    uintptr_t src_adr, size_t src_size, void const *dest,
                    uintptr_t dest_adr, size_t dest_size, size_t nbytes) {
  struct umemiCopy copy = {.src = src,
                           .src_adr = src_adr,
                           .src_size = src_size,
                           .dest = dest,
                           .dest_adr = dest_adr,
                           .dest_size = dest_size,
                           .nbytes = nbytes,
                           .safe = true,
                           .sync = sync};
  return transfer_call(function, &copy);
}

/* Is it all plain host memory? What is left to check is the ranges. */
static inline bool transfer_is_plain(void const *src, uintptr_t src_adr,
                                     void const *dest, uintptr_t dest_adr) {
  return umemi_is_plain(src) && umemi_is_plain(dest) && src_adr && dest_adr &&
         transfer_rung_is_on(UMEMI_DIRECT);
}

/* Copies and returns true if all of it is plain host memory. */
static inline bool transfer_plain(void const *src, uintptr_t src_adr,
                                  void const *dest, uintptr_t dest_adr,
                                  size_t nbytes) {
  if (!transfer_is_plain(src, src_adr, dest, dest_adr) ||
      umemi_wraps(src_adr, nbytes) || umemi_wraps(dest_adr, nbytes))
    return false;
  memmove((void *)dest_adr, (void const *)src_adr, nbytes);
  return true;
}

/* Sizes that do not wrap bound what is not larger than they are. */
static inline bool transfer_plain_safe(void const *src, uintptr_t src_adr,
                                       size_t src_size, void const *dest,
                                       uintptr_t dest_adr, size_t dest_size,
                                       size_t nbytes) {
  if (!transfer_is_plain(src, src_adr, dest, dest_adr) || nbytes > src_size ||
      nbytes > dest_size || umemi_wraps(src_adr, src_size) ||
      umemi_wraps(dest_adr, dest_size))
    return false;
  memmove((void *)dest_adr, (void const *)src_adr, nbytes);
  return true;
}

umemStatusType umem_copy_to(void const *src, uintptr_t src_adr,
                            void const *dest, uintptr_t dest_adr,
                            size_t nbytes) {
  if (UMEMI_LIKELY(transfer_plain(src, src_adr, dest, dest_adr, nbytes)))
    return umemOK;
  return umemi_transfer("umem_copy_to", false, src, src_adr, dest, dest_adr,
                        nbytes);
}

umemStatusType umem_copy_from(void const *dest, uintptr_t dest_adr,
                              void const *src, uintptr_t src_adr,
                              size_t nbytes) {
  if (UMEMI_LIKELY(transfer_plain(src, src_adr, dest, dest_adr, nbytes)))
    return umemOK;
  return umemi_transfer("umem_copy_from", false, src, src_adr, dest, dest_adr,
                        nbytes);
}

umemStatusType umem_copy_to_safe(void const *src, uintptr_t src_adr,
                                 size_t src_size, void const *dest,
                                 uintptr_t dest_adr, size_t dest_size,
                                 size_t nbytes) {
  if (UMEMI_LIKELY(transfer_plain_safe(src, src_adr, src_size, dest, dest_adr,
                                       dest_size, nbytes)))
    return umemOK;
  return umemi_transfer_safe("umem_copy_to_safe", false, src, src_adr, src_size,
                             dest, dest_adr, dest_size, nbytes);
}

umemStatusType umem_copy_from_safe(void const *dest, uintptr_t dest_adr,
                                   size_t dest_size, void const *src,
                                   uintptr_t src_adr, size_t src_size,
                                   size_t nbytes) {
  if (UMEMI_LIKELY(transfer_plain_safe(src, src_adr, src_size, dest, dest_adr,
                                       dest_size, nbytes)))
    return umemOK;
  return umemi_transfer_safe("umem_copy_from_safe", false, src, src_adr,
                             src_size, dest, dest_adr, dest_size, nbytes);
}
