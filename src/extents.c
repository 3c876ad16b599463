/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which ranges of a growing address space are free: an ascending array of
 * extents, first fit. Look-ups of an address take O(log n) of the number of
 * free extents, inserting and first fit O(n); freed neighbours are merged.
 */
#include "internal.h"

/* Index of the first free extent that starts at or after `start`. */
static size_t extents_lower_bound(struct umemiExtents const *extents,
                                  uint64_t start) {
  size_t low = 0, high = extents->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (extents->free[middle].start < start)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static void extents_insert(struct umemiExtents *extents, size_t at,
                           struct umemiExtent extent) {
  struct umemiExtent *place = extents->free + at;
  if (at < extents->count)
    memmove(place + 1, place, (extents->count - at) * sizeof extent);
  /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): take() made room */
  *place = extent;
  extents->count++;
}

static void extents_remove(struct umemiExtents *extents, size_t at) {
  extents->count--;
  memmove(extents->free + at, extents->free + at + 1,
          (extents->count - at) * sizeof *extents->free);
}

/* Makes room for all that can become free: what is taken now, one range more,
   and the piece that is left when that one is cut out of the middle. */
static int extents_reserve(struct umemiExtents *extents) {
  size_t needed = extents->count + extents->taken + 2;
  if (needed <= extents->capacity)
    return 0;
  size_t capacity = needed < 8 ? 8 : needed + needed / 2;
  struct umemiExtent *more =
      umemi_os.realloc(extents->free, capacity * sizeof *more);
  if (!more)
    return ENOMEM;
  extents->free = more;
  extents->capacity = capacity;
  return 0;
}

/* First multiple of `alignment` from `at`; UINT64_MAX if there is none. */
static uint64_t extents_align(uint64_t at, uint64_t alignment) {
  return at > UINT64_MAX - alignment ? UINT64_MAX
                                     : (at + alignment - 1) & ~(alignment - 1);
}

static bool extents_reuse(struct umemiExtents *extents, uint64_t nbytes,
                          uint64_t alignment, uint64_t lowest,
                          uint64_t *start_out) {
  for (size_t i = 0; i < extents->count; i++) {
    struct umemiExtent whole = extents->free[i];
    uint64_t end = whole.start + whole.length;
    uint64_t start =
        extents_align(whole.start < lowest ? lowest : whole.start, alignment);
    if (start > end || end - start < nbytes)
      continue;
    extents_remove(extents, i);
    if (start + nbytes < end)
      extents_insert(
          extents, i,
          (struct umemiExtent){start + nbytes, end - start - nbytes});
    if (start > whole.start)
      extents_insert(extents, i,
                     (struct umemiExtent){whole.start, start - whole.start});
    *start_out = start;
    return true;
  }
  return false;
}

int umemi_extents_take(struct umemiExtents *extents, uint64_t nbytes,
                       uint64_t alignment, uint64_t lowest, uint64_t used,
                       uint64_t limit, uint64_t *start_out, bool *reused_out) {
  if (extents_reserve(extents))
    return ENOMEM;
  *reused_out = extents_reuse(extents, nbytes, alignment, lowest, start_out);
  if (!*reused_out) {
    uint64_t from = used > extents->end ? used : extents->end;
    uint64_t start = extents_align(from > lowest ? from : lowest, alignment);
    if (start > limit || limit - start < nbytes)
      return ERANGE;
    *start_out = start;
    extents->end = start + nbytes;
  }
  extents->taken++;
  return 0;
}

void umemi_extents_give(struct umemiExtents *extents, uint64_t start,
                        uint64_t nbytes) {
  struct umemiExtent given = {start, nbytes};
  size_t at = extents_lower_bound(extents, start);
  extents->taken--;
  if (at < extents->count && start + nbytes == extents->free[at].start) {
    given.length += extents->free[at].length;
    extents_remove(extents, at);
  }
  struct umemiExtent *before = at > 0 ? &extents->free[at - 1] : NULL;
  if (before && before->start + before->length == start)
    before->length += given.length;
  else
    extents_insert(extents, at, given);
}

void umemi_extents_withdraw(struct umemiExtents *extents, uint64_t start,
                            uint64_t nbytes) {
  extents->taken--;
  if (extents->end == start + nbytes)
    extents->end = start;
}

void umemi_extents_clear(struct umemiExtents *extents) {
  free(extents->free);
  *extents = (struct umemiExtents){.count = 0};
}
