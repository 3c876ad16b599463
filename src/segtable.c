/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which blocks there are in a segment: a table with an entry for each granule
 * of the data. It says how many granules the block has that starts there, 0 if
 * none does, and carries a hash, because anybody may have written to it.
 *
 * An entry is written by one pwrite() of 8 aligned bytes, so that a process
 * that is killed has either allocated or not, freed or not.
 */
#include "internal.h"

enum {
  GRANULE = UMEMI_SEGMENT_GRANULE,
  ENTRY_SIZE = UMEMI_SEGMENT_ENTRY,
  WINDOW_FIRST =
      32,           /* entries that are read at once: twice as many each time */
  WINDOW_MOST = 192 /* on the stack, which may be small */
};

/* --- table ---------------------------------------------------------------- */

/* A hash of both in the upper half. */
static uint64_t entry_of(uint64_t granule, uint64_t length) {
  uint64_t z = granule << 32 | length;
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return ((z ^ (z >> 31)) & ~(uint64_t)UINT32_MAX) | length;
}

static uint64_t entry_at(uint64_t granule) {
  return UMEMI_SEGMENT_TABLE + granule * ENTRY_SIZE;
}

/* The part of the table that was read last. */
struct window {
  struct umemiSegment const *s;
  uint64_t first, count, size;
  uint64_t entries[WINDOW_MOST];
};

/* Its entries need not be cleared. */
static void window_init(struct window *w, struct umemiSegment const *s) {
  w->s = s;
  w->first = w->count = w->size = 0;
}

static umemStatusType window_move(struct window *w, uint64_t granule,
                                  umemError *error) {
  uint64_t left = w->s->granules - granule;
  size_t done;
  w->size = w->size ? w->size * 2 : WINDOW_FIRST;
  if (w->size > WINDOW_MOST)
    w->size = WINDOW_MOST;
  w->first = granule;
  w->count = left < w->size ? left : w->size;
  int failed = umemi_file_read(&w->s->io, entry_at(granule), w->entries,
                               (size_t)w->count * ENTRY_SIZE, &done);
  if (!failed)
    return umemOK;
  w->count = 0;
  return umem_error_fill(error, umemIOError, failed == UMEMI_EOF ? 0 : failed,
                         0, "read the segment's table%s",
                         failed == UMEMI_EOF ? ": it was cut off" : "");
}

/* How long the block is that starts at a granule; 0 if none does. */
static umemStatusType window_look(struct window *w, uint64_t granule,
                                  uint64_t *length_out, umemError *error) {
  if (granule < w->first || granule - w->first >= w->count) {
    umemStatusType status = window_move(w, granule, error);
    if (status != umemOK)
      return status;
  }
  uint64_t entry = w->entries[granule - w->first];
  uint64_t length = entry & UINT32_MAX;
  *length_out = length;
  if (entry == 0 || (length > 0 && length <= w->s->granules - granule &&
                     entry == entry_of(granule, length)))
    return umemOK;
  return umem_error_fill(error, umemRuntimeError, 0, 0,
                         "the segment is damaged at offset %" PRIu64
                         " of its %" PRIu64 " bytes",
                         entry_at(granule), w->s->total);
}

struct run {
  uint64_t start, length; /* in granules */
};

/* The first block that starts in [from, end): else it has no length, and starts
   at `end`. */
static umemStatusType window_next(struct window *w, uint64_t from, uint64_t end,
                                  struct run *block_out, umemError *error) {
  umemStatusType status = umemOK;
  *block_out = (struct run){from, 0};
  while (block_out->start < end) {
    status = window_look(w, block_out->start, &block_out->length, error);
    if (status != umemOK || block_out->length > 0)
      break;
    block_out->start++;
  }
  return status;
}

static umemStatusType table_put(struct umemiSegment const *s, uint64_t granule,
                                uint64_t entry, umemError *error) {
  size_t done;
  int failed =
      umemi_file_write(&s->io, entry_at(granule), &entry, ENTRY_SIZE, &done);
  return failed ? umem_error_fill(error, umemIOError, failed, 0,
                                  "write the segment's table")
                : umemOK;
}

/* --- blocks --------------------------------------------------------------- */

/* First granule from `from` on whose address is such a multiple. */
static uint64_t table_align(struct umemiSegment const *s, uint64_t from,
                            size_t alignment) {
  uintptr_t adr = s->origin + (uintptr_t)from * GRANULE;
  return from + (-adr & (alignment - 1)) / GRANULE;
}

/* First fit; `length` 0 if there is none. */
static umemStatusType table_find(struct window *w, uint64_t length,
                                 size_t alignment, struct run *found_out,
                                 umemError *error) {
  uint64_t const end = w->s->granules;
  struct run block;
  *found_out = (struct run){0, 0};
  for (uint64_t from = 0; from < end; from = block.start + block.length) {
    uint64_t start = table_align(w->s, from, alignment);
    if (start > end || end - start < length)
      break;
    umemStatusType status = window_next(w, from, start + length, &block, error);
    if (status != umemOK)
      return status;
    if (block.length == 0) {
      *found_out = (struct run){start, length};
      break;
    }
  }
  return umemOK;
}

/* Says what there is instead. */
static umemStatusType table_full(struct window *w, size_t nbytes,
                                 umemError *error) {
  uint64_t largest = 0;
  struct run block = {0, 0};
  for (uint64_t from = 0; from < w->s->granules;
       from = block.start + block.length) {
    umemStatusType status = window_next(w, from, w->s->granules, &block, error);
    if (status != umemOK)
      return status;
    if (block.start - from > largest)
      largest = block.start - from;
  }
  return umem_error_fill(error, umemMemoryError, 0, 0,
                         "no room for %zu bytes: at most %" PRIu64
                         " of the segment's %" PRIu64 " are free in one piece",
                         nbytes, largest * GRANULE, w->s->nbytes);
}

static umemStatusType table_reserve(struct umemiSegment *s, size_t nbytes,
                                    size_t alignment, uintptr_t *adr_out,
                                    umemError *error) {
  struct window w;
  window_init(&w, s);
  struct run found;
  uint64_t length = nbytes / GRANULE + (nbytes % GRANULE > 0 || nbytes == 0);
  umemStatusType status = table_find(&w, length, alignment, &found, error);
  if (status == umemOK && found.length == 0)
    return table_full(&w, nbytes, error);
  if (status == umemOK)
    status = table_put(s, found.start, entry_of(found.start, length), error);
  if (status == umemOK)
    *adr_out = s->origin + (uintptr_t)found.start * GRANULE;
  return status;
}

umemStatusType umemi_segment_alloc(struct umemiSegment *s, size_t nbytes,
                                   size_t alignment, uintptr_t *adr_out,
                                   umemError *error) {
  umemStatusType status = umemi_segment_lock(s, error);
  if (status != umemOK)
    return status;
  status = table_reserve(s, nbytes, alignment ? alignment : 1, adr_out, error);
  umemi_segment_unlock(s);
  return status;
}

/* No block starts there: is it inside one? */
static umemStatusType table_unknown(struct window *w, uintptr_t adr,
                                    uint64_t granule, umemError *error) {
  struct run block = {0, 0};
  for (uint64_t from = 0; from <= granule; from = block.start + block.length) {
    umemStatusType status = window_next(w, from, granule + 1, &block, error);
    if (status != umemOK)
      return status;
    if (block.length == 0 || block.start + block.length > granule)
      break;
  }
  if (block.length > 0 && block.start <= granule)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "0x%" PRIxPTR " lies inside the block of %" PRIu64
                           " bytes at 0x%" PRIxPTR,
                           adr, block.length * GRANULE,
                           w->s->origin + (uintptr_t)block.start * GRANULE);
  return umem_error_fill(error, umemValueError, 0, 0,
                         "0x%" PRIxPTR " is not a live block of this segment: "
                         "freed already, or from elsewhere",
                         adr);
}

static umemStatusType table_release(struct umemiSegment *s, uintptr_t adr,
                                    umemError *error) {
  struct window w;
  window_init(&w, s);
  uint64_t granule = (adr - s->origin) / GRANULE, length = 0;
  umemStatusType status = umemOK;
  if (adr % GRANULE == 0)
    status = window_look(&w, granule, &length, error);
  if (status == umemOK && length == 0)
    return table_unknown(&w, adr, granule, error);
  return status == umemOK ? table_put(s, granule, 0, error) : status;
}

umemStatusType umemi_segment_free(struct umemiSegment *s, uintptr_t adr,
                                  umemError *error) {
  if (adr < s->origin || adr - s->origin >= s->nbytes)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "0x%" PRIxPTR " is not a live block of this "
                           "segment: it lies outside",
                           adr);
  umemStatusType status = umemi_segment_lock(s, error);
  if (status != umemOK)
    return status;
  status = table_release(s, adr, error);
  umemi_segment_unlock(s);
  return status;
}
