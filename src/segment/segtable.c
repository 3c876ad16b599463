/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which blocks there are in a segment: a table with an entry for each granule
 * of the data. It says how many granules the block has that starts there. An
 * entry of length 0 is a mark: no block starts there, and none covers the
 * granule. Without an entry (0) the granule may be inside a block. Every entry
 * carries a hash, because anybody may have written to it.
 *
 * So wherever in the table a search begins, the first block or mark is a place
 * from which it can go on from block to block. A free block leaves a mark; a
 * block that is put over marks removes them.
 *
 * An entry is written by one pwrite() of 8 aligned bytes, so that a process
 * that is killed has either allocated or not, freed or not. Marks can be
 * removed at any time: the free run goes on from the block before it.
 */
#include "../internal.h"

enum {
  GRANULE = UMEMI_SEGMENT_GRANULE,
  ENTRY_SIZE = UMEMI_SEGMENT_ENTRY,
  GROUP = UMEMI_SEGMENT_GROUP,
  /* entries that are read at once: a group, and a few to see where its last
     free run ends; twice as many each time that reading goes on */
  WINDOW_FIRST = GROUP + 8,
  WINDOW_MOST = 192, /* on the stack, which may be small */
  HINTS = 16
};

/* --- table ---------------------------------------------------------------- */

/* A hash of both in the upper half. The mark of granule 0, which is needless,
   is 0. */
static uint64_t entry_of(uint64_t granule, uint64_t length) {
  uint64_t z = granule << 32 | length;
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return ((z ^ (z >> 31)) & ~(uint64_t)UINT32_MAX) | length;
}

static uint64_t entry_at(uint64_t granule) {
  return UMEMI_SEGMENT_TABLE + granule * ENTRY_SIZE;
}

struct run {
  uint64_t start, length; /* in granules */
};

/* The part of the table that was read last. */
struct window {
  struct umemiSegment const *s;
  uint64_t first, count, size;
  struct run marks; /* from the first to the last that a search met */
  uint64_t entries[WINDOW_MOST];
};

/* Its entries need not be cleared. */
static void window_init(struct window *w, struct umemiSegment const *s) {
  w->s = s;
  w->first = w->count = w->size = 0;
  w->marks = (struct run){0, 0};
}

static umemStatusType window_move(struct window *w, uint64_t granule,
                                  umemError *error) {
  uint64_t left = w->s->granules - granule;
  size_t done;
  bool goes_on = w->size > 0 && granule == w->first + w->count;
  w->size = goes_on ? w->size * 2 : WINDOW_FIRST;
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

/* The entry of a granule, which is right. */
static umemStatusType window_look(struct window *w, uint64_t granule,
                                  uint64_t *entry_out, umemError *error) {
  if (granule < w->first || granule - w->first >= w->count) {
    umemStatusType status = window_move(w, granule, error);
    if (status != umemOK)
      return status;
  }
  uint64_t entry = w->entries[granule - w->first];
  uint64_t length = entry & UINT32_MAX;
  *entry_out = entry;
  if (entry == 0 || (length <= w->s->granules - granule &&
                     entry == entry_of(granule, length)))
    return umemOK;
  return umem_error_fill(error, umemRuntimeError, 0, 0,
                         "the segment is damaged at offset %" PRIu64
                         " of its %" PRIu64 " bytes",
                         entry_at(granule), w->s->total);
}

/* The first block or mark in [from, end), granule 0 being one; else a run that
   starts at `end`. */
static umemStatusType window_boundary(struct window *w, uint64_t from,
                                      uint64_t end, struct run *found_out,
                                      umemError *error) {
  umemStatusType status = umemOK;
  for (; from < end; from++) {
    uint64_t entry = 0;
    status = window_look(w, from, &entry, error);
    *found_out = (struct run){from, entry & UINT32_MAX};
    if (status != umemOK || entry || from == 0)
      return status;
  }
  *found_out = (struct run){end, 0};
  return status;
}

/* The first block that starts in [from, end): else it has no length, and starts
   at `end`. Notes the marks behind `from`. */
static umemStatusType window_next(struct window *w, uint64_t from, uint64_t end,
                                  struct run *block_out, umemError *error) {
  w->marks.length = 0;
  for (uint64_t at = from; at < end; at++) {
    uint64_t entry = 0;
    umemStatusType status = window_look(w, at, &entry, error);
    *block_out = (struct run){at, entry & UINT32_MAX};
    if (status != umemOK || block_out->length > 0)
      return status;
    if (entry && at > from && w->marks.length == 0)
      w->marks.start = at;
    if (entry && at > from)
      w->marks.length = at + 1 - w->marks.start;
  }
  *block_out = (struct run){end, 0};
  return umemOK;
}

static umemStatusType table_write(struct umemiSegment const *s,
                                  uint64_t granule, uint64_t const *entries,
                                  uint64_t count, umemError *error) {
  size_t done;
  int failed = umemi_file_write(&s->io, entry_at(granule), entries,
                                (size_t)count * ENTRY_SIZE, &done);
  return failed ? umem_error_fill(error, umemIOError, failed, 0,
                                  "write the segment's table")
                : umemOK;
}

static umemStatusType table_put(struct umemiSegment const *s, uint64_t granule,
                                uint64_t length, umemError *error) {
  uint64_t entry = entry_of(granule, length);
  return table_write(s, granule, &entry, 1, error);
}

/* Of a free run. */
static umemStatusType table_remove_marks(struct umemiSegment const *s,
                                         struct run marks, umemError *error) {
  static uint64_t const none[WINDOW_MOST];
  umemStatusType status = umemOK;
  for (uint64_t at = 0; status == umemOK && at < marks.length;
       at += WINDOW_MOST) {
    uint64_t left = marks.length - at;
    status = table_write(s, marks.start + at, none,
                         left < WINDOW_MOST ? left : WINDOW_MOST, error);
  }
  return status;
}

/* --- hints ---------------------------------------------------------------- */

/* In the header's page, for processes that know of no room any more: how often
   room came to a group for which others may know less, and the granules where
   it came last. Whatever is found there, it costs no more than a look, or a
   refusal. */
struct hints {
  uint64_t count;
  uint64_t granules[HINTS];
};

static umemStatusType hints_read(struct umemiSegment const *s,
                                 struct hints *out, umemError *error) {
  size_t done;
  int failed =
      umemi_file_read(&s->io, UMEMI_SEGMENT_HINTS, out, sizeof *out, &done);
  return failed ? umem_error_fill(error, umemIOError,
                                  failed == UMEMI_EOF ? 0 : failed, 0,
                                  "read the segment's hints%s",
                                  failed == UMEMI_EOF ? ": it was cut off" : "")
                : umemOK;
}

/* Before the table is changed: a process that is killed then has announced too
   much, not too little. */
static umemStatusType hints_put(struct umemiSegment const *s, uint64_t granule,
                                umemError *error) {
  struct hints hints;
  umemStatusType status = hints_read(s, &hints, error);
  if (status != umemOK)
    return status;
  hints.granules[hints.count++ % HINTS] = granule;
  size_t done;
  int failed = umemi_file_write(&s->io, UMEMI_SEGMENT_HINTS, &hints,
                                sizeof hints, &done);
  return failed ? umem_error_fill(error, umemIOError, failed, 0,
                                  "write the segment's hints")
                : umemOK;
}

static void hints_take(struct umemiSegment *s, struct hints const *hints) {
  for (size_t i = 0; i < HINTS; i++)
    if (hints->granules[i] < s->granules)
      umemi_rooms_set(&s->rooms, hints->granules[i] / GROUP,
                      UMEMI_ROOM_UNKNOWN);
}

/* --- alloc ---------------------------------------------------------------- */

/* What is looked for. */
struct wish {
  uint64_t length; /* in granules */
  size_t alignment;
};

/* First granule from `from` on whose address is such a multiple. */
static uint64_t table_align(struct umemiSegment const *s, uint64_t from,
                            size_t alignment) {
  uintptr_t adr = s->origin + (uintptr_t)from * GRANULE;
  return from + (-adr & (alignment - 1)) / GRANULE;
}

/* First fit in the free runs that begin behind the blocks and marks of a group.
   Without one the length is 0, and `longest_out` is that of the longest run. */
static umemStatusType group_find(struct window *w, uint64_t group,
                                 struct wish const *wish, struct run *found_out,
                                 uint64_t *longest_out, umemError *error) {
  uint64_t const end = w->s->granules, begin = group * GROUP;
  uint64_t const group_end = end - begin < GROUP ? end : begin + GROUP;
  struct run block;
  *found_out = (struct run){0, 0};
  *longest_out = 0;
  umemStatusType status = window_boundary(w, begin, group_end, &block, error);
  while (status == umemOK && block.start < group_end) {
    uint64_t from = block.start + block.length;
    uint64_t start = table_align(w->s, from, wish->alignment);
    uint64_t last = start + wish->length;
    status = window_next(w, from, last < end ? last : end, &block, error);
    if (status == umemOK && block.length == 0 && last <= end) {
      *found_out = (struct run){start, wish->length};
      break;
    }
    if (block.start - from > *longest_out)
      *longest_out = block.start - from;
  }
  return status;
}

/* What follows a new block belongs to its group, which others do not know. */
static umemStatusType table_note(struct umemiSegment *s, uint64_t found_in,
                                 uint64_t start, umemError *error) {
  uint32_t room = umemi_rooms_get(&s->rooms, found_in);
  if (start / GROUP == found_in)
    return umemOK;
  if (umemi_rooms_get(&s->rooms, start / GROUP) < room)
    umemi_rooms_set(&s->rooms, start / GROUP, room);
  return hints_put(s, start, error);
}

/* First fit, as far as this process knows where there is room. */
static umemStatusType table_find(struct window *w, struct umemiSegment *s,
                                 struct wish const *wish, struct run *found_out,
                                 umemError *error) {
  struct umemiRooms *rooms = &s->rooms;
  uint64_t group, longest;
  *found_out = (struct run){0, 0};
  for (uint64_t from = 0; umemi_rooms_find(rooms, from, wish->length, &group);
       from = group + 1) {
    umemStatusType status =
        group_find(w, group, wish, found_out, &longest, error);
    if (status != umemOK)
      return status;
    if (found_out->length > 0)
      return table_note(s, group, found_out->start, error);
    umemi_rooms_set(rooms, group, (uint32_t)longest);
  }
  return umemOK;
}

static umemStatusType table_full(struct umemiSegment const *s, size_t nbytes,
                                 umemError *error) {
  return umem_error_fill(error, umemMemoryError, 0, 0,
                         "no room for %zu bytes: at most %" PRIu64
                         " of the segment's %" PRIu64 " are free in one piece",
                         nbytes, umemi_rooms_longest(&s->rooms) * GRANULE,
                         s->nbytes);
}

/* The same with all that others may have freed: first where the hints say, then
   everywhere, unless nothing has changed since. */
static umemStatusType table_find_anywhere(struct window *w,
                                          struct umemiSegment *s,
                                          struct wish const *wish,
                                          struct run *found_out,
                                          umemError *error) {
  struct hints hints;
  umemStatusType status = table_find(w, s, wish, found_out, error);
  if (status != umemOK || found_out->length > 0)
    return status;
  status = hints_read(s, &hints, error);
  if (status != umemOK || (s->rooms_known && s->rooms_as_of == hints.count))
    return status;
  hints_take(s, &hints);
  status = table_find(w, s, wish, found_out, error);
  if (status != umemOK || found_out->length > 0)
    return status;
  umemi_rooms_forget(&s->rooms);
  s->rooms_as_of = hints.count;
  s->rooms_known = true;
  return table_find(w, s, wish, found_out, error);
}

static umemStatusType table_reserve(struct umemiSegment *s, size_t nbytes,
                                    size_t alignment, uintptr_t *adr_out,
                                    umemError *error) {
  struct window w;
  struct run found;
  uint64_t length = nbytes / GRANULE + (nbytes % GRANULE > 0 || nbytes == 0);
  struct wish const wish = {length <= s->granules ? length : s->granules + 1,
                            alignment};
  window_init(&w, s);
  umemStatusType status = table_find_anywhere(&w, s, &wish, &found, error);
  if (status == umemOK && found.length == 0)
    return table_full(s, nbytes, error);
  if (status == umemOK)
    status = table_remove_marks(s, w.marks, error);
  if (status == umemOK)
    status = table_put(s, found.start, length, error);
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
  if (status == umemIOError && error->sys_errno == EFBIG)
    status = error->type = umemMemoryError; /* as of all kinds */
  return status;
}

/* --- free ----------------------------------------------------------------- */

/* The last block or mark at or before a granule; one of no length at granule 0
   if there is none. */
static umemStatusType table_before(struct window *w, uint64_t granule,
                                   struct run *found_out, umemError *error) {
  struct run next;
  umemStatusType status = umemOK;
  *found_out = (struct run){0, 0};
  for (uint64_t begin, end = granule + 1; end > 0; end = begin) {
    begin = (end - 1) / GROUP * GROUP;
    for (uint64_t at = begin; at < end; at = next.start + 1) {
      status = window_boundary(w, at, end, &next, error);
      if (status != umemOK)
        return status;
      if (next.start < end)
        *found_out = next;
    }
    if (found_out->start >= begin)
      break;
  }
  return status;
}

/* No block starts there: is it inside one? */
static umemStatusType table_unknown(struct window *w, uintptr_t adr,
                                    uint64_t granule, umemError *error) {
  struct run block;
  umemStatusType status = table_before(w, granule, &block, error);
  if (status != umemOK)
    return status;
  if (block.start + block.length > granule)
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
  uint64_t granule = (adr - s->origin) / GRANULE, entry = 0;
  umemStatusType status = umemOK;
  if (adr % GRANULE == 0)
    status = window_look(&w, granule, &entry, error);
  if (status == umemOK && (entry & UINT32_MAX) == 0)
    return table_unknown(&w, adr, granule, error);
  if (status == umemOK)
    status = hints_put(s, granule, error);
  if (status == umemOK)
    status = table_put(s, granule, 0, error);
  if (status == umemOK)
    umemi_rooms_set(&s->rooms, granule / GROUP, UMEMI_ROOM_UNKNOWN);
  return status;
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
