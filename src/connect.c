/* SPDX-License-Identifier: BSD-3-Clause */
/* Mirrors: connect, disconnect, sync; built on memory.c and transfer.c. */
#include "internal.h"

/* Who owns what was decided at connect; it is never guessed again. Kept in a
   search tree of the destination. */
struct mirror {
  uintptr_t dest_adr, src_adr;
  uint64_t src_id;
  size_t connects; /* disconnects that are due; the block ends with the last */
  bool owned;      /* dest_adr is a block that a connect allocated */
};

#define MIRROR_COMPARE(a, b) ((a) < (b) ? -1 : (a) > (b))

static int mirror_compare(void const *a, void const *b) {
  struct mirror const *one = a, *two = b;
  int order = MIRROR_COMPARE(one->dest_adr, two->dest_adr);
  if (order == 0)
    order = MIRROR_COMPARE(one->src_adr, two->src_adr);
  if (order == 0)
    order = MIRROR_COMPARE(one->src_id, two->src_id);
  return order;
}

/* Enters a mirror, or counts one more connect of the same. */
static umemStatusType mirror_add(struct umemiContext *dest,
                                 struct mirror const *mirror,
                                 umemError *error) {
  struct mirror *copy = umemi_os.malloc(sizeof *copy);
  if (!copy)
    return umemi_no_memory(error, "the list of mirrors", sizeof *copy);
  *copy = *mirror;
  umemi_lock(dest->id);
  struct mirror **node = umemi_os.tsearch(copy, &dest->mirrors, mirror_compare);
  bool added = node && *node == copy;
  if (node && !added) {
    (*node)->connects++;
    (*node)->owned |= mirror->owned; /* 0 bytes at its address own nothing */
  }
  umemi_unlock(dest->id);
  if (!added)
    free(copy);
  return node ? umemOK
              : umemi_no_memory(error, "the list of mirrors", sizeof *copy);
}

/* Counts one connect less; fills `mirror` in from what was recorded. */
static bool mirror_drop(struct umemiContext *dest, struct mirror *mirror) {
  umemi_lock(dest->id);
  struct mirror **node = tfind(mirror, &dest->mirrors, mirror_compare);
  if (node) {
    struct mirror *found = *node;
    found->connects--;
    *mirror = *found;
    if (found->connects == 0) {
      tdelete(found, &dest->mirrors, mirror_compare);
      free(found);
    }
  }
  umemi_unlock(dest->id);
  return node != NULL;
}

umemStatusType umemi_mirrors_free(struct umemiContext *ctx, umemError *error) {
  umemStatusType first = umemOK;
  umemError later;
  while (ctx->mirrors) {
    struct mirror *mirror = *(struct mirror **)ctx->mirrors;
    umemStatusType status = umemOK;
    if (mirror->owned)
      status = umemi_free(ctx, mirror->dest_adr, NULL,
                          first == umemOK ? error : &later);
    first = first == umemOK ? status : first;
    tdelete(mirror, &ctx->mirrors, mirror_compare);
    free(mirror);
  }
  return first;
}

/* --- connect -------------------------------------------------------------- */

static umemStatusType connect_check_alignment(size_t alignment,
                                              umemError *error) {
  if (alignment == 0 || umem_ispowerof2(alignment))
    return umemOK;
  return umem_error_fill(error, umemValueError, 0, 0,
                         "alignment %zu must be 0 or a power of 2", alignment);
}

static umemStatusType connect_alloc(struct umemiContext *dest, size_t nbytes,
                                    size_t alignment, uintptr_t *adr_out,
                                    umemError *error) {
  if (alignment <= 1)
    return umemi_alloc(dest, nbytes, 0, adr_out, error);
  if (umemi_wraps(nbytes, alignment))
    return umem_error_fill(error, umemMemoryError, 0, 0,
                           "more than PTRDIFF_MAX bytes");
  size_t rounded = (nbytes + alignment - 1) & ~(alignment - 1);
  return umemi_alloc(dest, rounded, alignment, adr_out, error);
}

/* A fresh block of `dest` with a copy of the source's range. */
static umemStatusType connect_fresh(struct umemiCopy *copy, size_t alignment,
                                    umemError *error) {
  struct umemiContext *dest = umemi_context(copy->dest);
  umemStatusType status =
      connect_alloc(dest, copy->nbytes, alignment, &copy->dest_adr, error);
  if (status != umemOK)
    return umemi_blame(error, "destination", dest);
  status = umemi_copy(copy, error);
  umemError ignored;
  if (status != umemOK) {
    umemi_free(dest, copy->dest_adr, NULL, &ignored);
    error->bytes_done = 0; /* they are gone with the block */
  }
  return status;
}

/* umemi_grants(), of a range that `src` may read. */
static bool connect_grants(struct umemiContext *src, struct umemiContext *dest,
                           struct umemiRange const *range) {
  umemError ignored;
  return umemi_check(dest, range, umemWrite, &ignored) == umemOK
             ? umemi_check(src, range, umemWrite, &ignored) == umemOK
             : umemi_check(dest, range, umemRead, &ignored) == umemOK;
}

/* May `dest` use the source's own bytes? What is written to a mirror must be
   allowed there, too. */
static bool connect_may_share(struct umemiCopy const *copy, size_t alignment,
                              struct umemiRange const *range) {
  struct umemiContext *src = umemi_context(copy->src);
  struct umemiContext *dest = umemi_context(copy->dest);
  return umemi_reaches(src, dest) &&
         !(copy->src_adr & (alignment ? alignment - 1 : 0)) &&
         connect_grants(src, dest, range);
}

/* The same address as mirror; nothing is copied that would fail past the end.
 */
static umemStatusType connect_share(struct umemiCopy *copy,
                                    struct umemiRange const *range,
                                    umemError *error) {
  struct umemiContext *src = umemi_context(copy->src);
  copy->dest_adr = copy->src_adr;
  umemStatusType status = umemi_check_end(src, range, error);
  return status == umemOK ? status : umemi_blame(error, "source", src);
}

static umemStatusType connect_record(struct umemiCopy const *copy, bool owned,
                                     umemError *error) {
  struct umemiContext *dest = umemi_context(copy->dest);
  struct mirror mirror = {.dest_adr = copy->dest_adr,
                          .src_adr = copy->src_adr,
                          .src_id = umemi_context(copy->src)->id,
                          .connects = 1,
                          .owned = owned};
  umemStatusType status = mirror_add(dest, &mirror, error);
  umemError ignored;
  if (status != umemOK && owned)
    umemi_free(dest, copy->dest_adr, NULL, &ignored);
  return status == umemOK ? status : umemi_blame(error, "destination", dest);
}

static umemStatusType connect_both(struct umemiCopy *copy, size_t alignment,
                                   umemError *error) {
  struct umemiContext *src = umemi_context(copy->src);
  struct umemiRange range = {copy->src_adr, copy->nbytes, copy->nbytes, false};
  umemStatusType status = umemi_check(src, &range, umemRead, error);
  if (status != umemOK)
    return umemi_blame(error, "source", src);
  bool shares = connect_may_share(copy, alignment, &range);
  status = shares ? connect_share(copy, &range, error)
                  : connect_fresh(copy, alignment, error);
  if (status != umemOK)
    return status;
  /* 0 bytes at address 0 are not a block */
  bool owned = !shares && (copy->dest_adr || copy->nbytes);
  return connect_record(copy, owned, error);
}

static umemStatusType connect_checked(struct umemiCopy *copy, size_t alignment,
                                      uintptr_t *adr_out, umemError *error) {
  umemStatusType status = umemi_need_live(copy->src, "source ", error);
  if (status == umemOK)
    status = umemi_need_live(copy->dest, "destination ", error);
  if (status != umemOK)
    return status;
  if (!adr_out)
    return umemi_null(error, "adr_out");
  status = connect_check_alignment(alignment, error);
  if (status == umemOK)
    status = connect_both(copy, alignment, error);
  if (status == umemOK)
    *adr_out = copy->dest_adr;
  return status;
}

static umemStatusType connect_call(char const *function, void const *src,
                                   uintptr_t src_adr, size_t nbytes,
                                   void const *dest, size_t alignment,
                                   uintptr_t *adr_out) {
  struct umemiCall call;
  struct umemiCopy copy = {
      .src = src, .src_adr = src_adr, .dest = dest, .nbytes = nbytes};
  umemi_begin(&call);
  umemStatusType status =
      connect_checked(&copy, alignment, adr_out, &call.error);
  return umemi_end_two(
      &call, status, src, dest,
      "%s(source %s 0x%" PRIxPTR ", %zu bytes, destination %s, "
      "alignment %zu)",
      function, umemi_name(src), src_adr, nbytes, umemi_name(dest), alignment);
}

uintptr_t umem_connect(void const *src, uintptr_t src_adr, size_t nbytes,
                       void const *dest, size_t dest_alignment) {
  uintptr_t adr = 0;
  connect_call("umem_connect", src, src_adr, nbytes, dest, dest_alignment,
               &adr);
  return adr;
}

umemStatusType umem_try_connect(void const *src, uintptr_t src_adr,
                                size_t nbytes, void const *dest,
                                size_t dest_alignment, uintptr_t *adr_out) {
  return connect_call("umem_try_connect", src, src_adr, nbytes, dest,
                      dest_alignment, adr_out);
}

/* --- disconnect ----------------------------------------------------------- */

static umemStatusType disconnect_checked(void const *src, uintptr_t src_adr,
                                         void const *dest, uintptr_t dest_adr,
                                         size_t alignment, umemError *error) {
  umemStatusType status = umemi_need_live(dest, "destination ", error);
  if (status != umemOK)
    return status;
  struct umemiContext *source = umemi_context(src);
  if (!source) /* failed and dead ones have an id still */
    return umemi_need_live(src, "source ", error);
  status = connect_check_alignment(alignment, error);
  if (status != umemOK)
    return status;
  struct mirror mirror = {
      .dest_adr = dest_adr, .src_adr = src_adr, .src_id = source->id};
  if (!mirror_drop(umemi_context(dest), &mirror))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "the two are not connected");
  if (!mirror.owned || mirror.connects > 0)
    return umemOK;
  status = umemi_free(umemi_context(dest), dest_adr, NULL, error);
  return status == umemOK
             ? status
             : umemi_blame(error, "destination", umemi_context(dest));
}

umemStatusType umem_disconnect(void const *src, uintptr_t src_adr,
                               void const *dest, uintptr_t dest_adr,
                               size_t dest_alignment) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = disconnect_checked(src, src_adr, dest, dest_adr,
                                             dest_alignment, &call.error);
  return umemi_end_two(&call, status, src, dest,
                       "umem_disconnect(source %s 0x%" PRIxPTR
                       ", destination %s 0x%" PRIxPTR ", alignment %zu)",
                       umemi_name(src), src_adr, umemi_name(dest), dest_adr,
                       dest_alignment);
}

/* --- sync ----------------------------------------------------------------- */

umemStatusType umem_sync_to(void const *src, uintptr_t src_adr,
                            void const *dest, uintptr_t dest_adr,
                            size_t nbytes) {
  return umemi_copy_call("umem_sync_to", true, src, src_adr, dest, dest_adr,
                         nbytes);
}

umemStatusType umem_sync_from(void const *dest, uintptr_t dest_adr,
                              void const *src, uintptr_t src_adr,
                              size_t nbytes) {
  return umemi_copy_call("umem_sync_from", true, src, src_adr, dest, dest_adr,
                         nbytes);
}

umemStatusType umem_sync_to_safe(void const *src, uintptr_t src_adr,
                                 size_t src_size, void const *dest,
                                 uintptr_t dest_adr, size_t dest_size,
                                 size_t nbytes) {
  return umemi_copy_call_safe("umem_sync_to_safe", true, src, src_adr, src_size,
                              dest, dest_adr, dest_size, nbytes);
}

umemStatusType umem_sync_from_safe(void const *dest, uintptr_t dest_adr,
                                   size_t dest_size, void const *src,
                                   uintptr_t src_adr, size_t src_size,
                                   size_t nbytes) {
  return umemi_copy_call_safe("umem_sync_from_safe", true, src, src_adr,
                              src_size, dest, dest_adr, dest_size, nbytes);
}
