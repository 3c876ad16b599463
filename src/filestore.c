/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of an open file as memory: what the kinds that are files (by
 * offset, or mapped) have in common. An address is an offset plus `origin`. The
 * file holds the user's bytes only; what is reserved is known to the context
 * alone.
 *
 * The functions are methods of a backend's table, whose state begins with a
 * struct umemiStore.
 */
#include "internal.h"

static uint64_t store_offset(struct umemiStore const *store, uintptr_t adr) {
  return adr - store->origin;
}

/* Nothing can be appended: there are the bytes that are there. */
static bool store_is_fixed(struct umemiStore const *store) {
  return store->open.is_block || !store->open.mode.writable;
}

/* --- blocks --------------------------------------------------------------- */

int umemi_store_size(struct umemiStore const *store, uint64_t *size_out) {
  struct stat st;
  *size_out = store->open.size;
  if (store->open.is_block)
    return 0;
  if (umemi_os.fstat(store->open.io.fd, &st))
    return errno;
  *size_out = (uint64_t)st.st_size;
  return 0;
}

/* Blocks of 0 bytes have places of their own, which are no bytes of any file:
   behind all that a File can reach; in a mapping they are among the others. */
#define STORE_PLACES (UMEMI_OFFSET_MAX - UMEMI_OFFSET_MAX / 16)

static bool store_is_place(struct umemiStore const *store, uint64_t at,
                           size_t nbytes) {
  return nbytes == 0 && store->origin == 0 && at >= STORE_PLACES;
}

/* What was in the file becomes free again; what was not is not known to be. Of
   0 bytes it does not matter: but the last place is not kept. */
static void store_give(struct umemiStore *store, uint64_t start, size_t nbytes,
                       bool in_file) {
  umemi_lock(store->id);
  if (store_is_place(store, start, nbytes))
    umemi_extents_give(&store->places, start, 1);
  else if (in_file || (nbytes == 0 && start + 1 < store->extents.end))
    umemi_extents_give(&store->extents, start, nbytes ? nbytes : 1);
  else
    umemi_extents_withdraw(&store->extents, start, nbytes ? nbytes : 1);
  umemi_unlock(store->id);
}

static umemStatusType store_no_room(struct umemiStore const *store, int failed,
                                    size_t nbytes, umemError *error) {
  if (failed == ERANGE && store_is_fixed(store))
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "there are no %zu bytes more, and nothing can be "
                           "appended",
                           nbytes);
  if (failed == ERANGE)
    return umem_error_fill(error, umemMemoryError, 0, 0,
                           "there are no %zu bytes before %s", nbytes,
                           store->limit < UMEMI_OFFSET_MAX
                               ? "the end of the mapping"
                               : "the largest offset");
  return umem_error_fill(error, failed == EIO ? umemIOError : umemMemoryError,
                         failed, 0, "cannot reserve %zu bytes", nbytes);
}

/* --- reserving ------------------------------------------------------------ */

struct reserving {
  size_t nbytes;
  uint64_t alignment, lowest; /* of the address */
  uint64_t size;              /* of the file now */
  uint64_t start;             /* what comes out of it */
  bool reused;                /* and is in the file already */
};

/* Finds a range under the lock: one that was given back or, up to `limit`,
   another one. */
static int store_take(struct umemiStore *store, struct reserving *r,
                      uint64_t limit) {
  uint64_t used = store_is_fixed(store) ? store->lowest : r->size;
  umemi_lock(store->id);
  int failed = umemi_extents_take(
      &store->extents, r->nbytes ? r->nbytes : 1, r->alignment, r->lowest, used,
      limit < store->limit ? limit : store->limit, &r->start, &r->reused);
  umemi_unlock(store->id);
  return failed;
}

/* Up to where the file may grow by so many bytes; 0 or errno. */
static int store_judge(struct umemiStore *store, struct reserving const *r,
                       uint64_t *limit_out) {
  *limit_out = UINT64_MAX;
  if (store_is_fixed(store) || r->nbytes == 0) {
    *limit_out = store_is_fixed(store) ? r->size : UINT64_MAX;
    return 0;
  }
  uint64_t largest = atomic_load(&store->largest);
  if (!largest && !store->open.shares_offset &&
      r->size + r->nbytes > INT32_MAX) {
    largest = umemi_file_largest(&store->open.io);
    atomic_store(&store->largest, largest);
  }
  *limit_out = umemi_file_limit();
  if (largest && largest < *limit_out)
    *limit_out = largest;
  return umemi_file_room(&store->open.io, r->nbytes);
}

/*
 * Takes a range. What can be known in advance is judged before: a range that is
 * taken and then withdrawn would have moved the blocks that others allocate
 * meanwhile.
 */
static int store_place(struct umemiStore *store, struct reserving *r) {
  uint64_t limit;
  int failed = store_take(store, r, 0);
  if (failed != ERANGE)
    return failed;
  failed = store_judge(store, r, &limit);
  if (!failed)
    failed = store_take(store, r, limit);
  bool file_ends = !store_is_fixed(store) && limit < store->limit;
  return failed == ERANGE && file_ends ? EFBIG : failed;
}

/* Takes a range, and extends the file outside the lock. */
static umemStatusType store_reserve(struct umemiStore *store,
                                    struct reserving *r, umemError *error) {
  umemStatusType status = umemi_file_claim(&store->open, error);
  if (status != umemOK)
    return status;
  int failed = umemi_store_size(store, &r->size);
  if (failed)
    return umem_error_fill(error, umemIOError, failed, 0, "fstat");
  failed = store_place(store, r);
  if (failed)
    return store_no_room(store, failed, r->nbytes, error);
  uint64_t end = r->start + r->nbytes;
  bool grows = r->nbytes && (end > r->size || !r->reused);
  if (!store_is_fixed(store) && grows)
    failed = umemi_file_grow(&store->open.io, r->start, end);
  if (!failed)
    return umemOK;
  store_give(store, r->start, r->nbytes, r->reused);
  return store_no_room(store, failed, r->nbytes, error);
}

/* A place for 0 bytes, without I/O. */
static umemStatusType store_reserve_place(struct umemiStore *store,
                                          struct reserving *r,
                                          umemError *error) {
  umemi_lock(store->id);
  int failed = umemi_extents_take(&store->places, 1, r->alignment, STORE_PLACES,
                                  0, UMEMI_OFFSET_MAX, &r->start, &r->reused);
  umemi_unlock(store->id);
  return failed ? store_no_room(store, failed, 0, error) : umemOK;
}

static umemStatusType store_alloc(struct umemiStore *store, size_t alignment,
                                  struct reserving *r, umemError *error) {
  r->lowest = store->lowest;
  if (alignment && store->origin + r->lowest == 0)
    r->lowest++; /* 0 is no address then */
  r->alignment = alignment < store->alignment ? store->alignment : alignment;
  return r->nbytes == 0 && store->origin == 0
             ? store_reserve_place(store, r, error)
             : store_reserve(store, r, error);
}

umemStatusType umemi_store_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  struct umemiStore *store = state;
  struct reserving r = {.nbytes = nbytes};
  umemStatusType status = store_alloc(store, alignment, &r, error);
  if (status == umemOK)
    *adr_out = store->origin + (uintptr_t)r.start;
  return status;
}

umemStatusType umemi_store_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  struct umemiStore *store = state;
  uint64_t at = store_offset(store, adr), size;
  (void)error;
  /* the place of 0 bytes in a mapping is in the file, or past its end */
  bool in_file = nbytes > 0 || store_is_place(store, at, 0) ||
                 (umemi_store_size(store, &size) == 0 && at < size);
  store_give(store, at, nbytes, in_file);
  return umemOK;
}

/* --- access --------------------------------------------------------------- */

static bool store_has(struct umemiStore const *store, uint64_t at,
                      size_t nbytes) {
  return at >= store->lowest && at <= store->limit &&
         nbytes <= store->limit - at;
}

/* Told by what the user gave: an offset, or a pointer. */
static umemStatusType store_outside(struct umemiStore const *store,
                                    uintptr_t adr, size_t nbytes,
                                    umemError *error) {
  if (store->origin == 0)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "offset %" PRIu64 " is past the largest one",
                           (uint64_t)adr + nbytes);
  return umem_error_fill(error, umemIndexError, 0, 0,
                         "%zu bytes at 0x%" PRIxPTR
                         " are not in the mapping, which has 0x%" PRIx64
                         " bytes at 0x%" PRIxPTR,
                         nbytes, adr, store->limit - store->lowest,
                         store->origin + (uintptr_t)store->lowest);
}

umemStatusType umemi_store_check(void *state, uintptr_t adr, size_t nbytes,
                                 umemAccess access, umemError *error) {
  struct umemiStore const *store = state;
  struct umemiFileMode const *mode = &store->open.mode;
  uint64_t at = store_offset(store, adr), end = at + nbytes;
  if (access == umemRead && !mode->readable)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "opened for writing only");
  if (access == umemWrite && !mode->writable)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "opened for reading only");
  if (!store_has(store, at, nbytes))
    return store_outside(store, adr, nbytes, error);
  if (access == umemWrite && nbytes && at < store->protected_end)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "opened for appending: the first %" PRIu64
                           " bytes are read-only",
                           store->protected_end);
  if (access == umemWrite && store->open.is_block && end > store->open.size)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "the block device ends at %" PRIu64,
                           store->open.size);
  return umemOK;
}

umemStatusType umemi_store_read(void *state, uintptr_t adr, void *out,
                                size_t nbytes, umemError *error) {
  struct umemiStore const *store = state;
  uint64_t at = store_offset(store, adr);
  size_t done;
  int failed = umemi_file_read(&store->open.io, at, out, nbytes, &done);
  return failed ? umemi_file_moved("the file ends there: ", "read", failed, at,
                                   done, nbytes, error)
                : umemOK;
}

umemStatusType umemi_store_write(void *state, uintptr_t adr, void const *in,
                                 size_t nbytes, umemError *error) {
  struct umemiStore const *store = state;
  uint64_t at = store_offset(store, adr);
  size_t done;
  int failed = umemi_file_write(&store->open.io, at, in, nbytes, &done);
  return failed ? umemi_file_moved("the file ends there: ", "wrote", failed, at,
                                   done, nbytes, error)
                : umemOK;
}

static umemStatusType store_zero(struct umemiStore const *store, uintptr_t adr,
                                 size_t nbytes, enum umemiZeroes how,
                                 umemError *error) {
  uint64_t at = store_offset(store, adr);
  if (nbytes < umemi_tuning()->zero_from)
    return UMEM_DECLINED;
  int failed = umemi_file_zero(&store->open.io, at, nbytes, how);
  if (failed == EOPNOTSUPP)
    return UMEM_DECLINED;
  return failed ? umemi_file_moved("the file ends there: ", "zeroed", failed,
                                   at, 0, nbytes, error)
                : umemOK;
}

/* Zeros need not be written. */
umemStatusType umemi_store_set(void *state, uintptr_t adr, int c, size_t nbytes,
                               umemError *error) {
  return (unsigned char)c
             ? UMEM_DECLINED
             : store_zero(state, adr, nbytes, UMEMI_RESERVED_ZEROES, error);
}

umemStatusType umemi_store_punch(void *state, uintptr_t adr, size_t nbytes,
                                 umemError *error) {
  return store_zero(state, adr, nbytes, UMEMI_HOLES, error);
}

static umemStatusType store_clear(void *state, uintptr_t adr, size_t nbytes,
                                  umemError *error) {
  static char const zeros[64 << 10];
  umemStatusType status =
      umemi_store_check(state, adr, nbytes, umemWrite, error);
  if (status != umemOK)
    return status;
  status = umemi_store_set(state, adr, 0, nbytes, error);
  if (status != UMEM_DECLINED)
    return status;
  status = umemOK;
  for (size_t done = 0; status == umemOK && done < nbytes;) {
    size_t left = nbytes - done;
    size_t chunk = left < sizeof zeros ? left : sizeof zeros;
    status = umemi_store_write(state, adr + done, zeros, chunk, error);
    done += chunk;
  }
  return status;
}

/* Bytes past the end read as zeros; those that were in the file are cleared. */
umemStatusType umemi_store_calloc(void *state, size_t nbytes,
                                  uintptr_t *adr_out, umemError *error) {
  struct umemiStore *store = state;
  struct reserving r = {.nbytes = nbytes};
  uintptr_t lowest = store->origin + (uintptr_t)store->lowest;
  umemStatusType status = umemi_store_check(state, lowest, 0, umemWrite, error);
  if (status == umemOK)
    status = store_alloc(store, 0, &r, error);
  if (status != umemOK)
    return status;
  uintptr_t adr = store->origin + (uintptr_t)r.start;
  if (nbytes && (r.reused || r.start < r.size || store_is_fixed(store)))
    status = store_clear(state, adr, nbytes, error);
  if (status == umemOK) {
    *adr_out = adr;
    return umemOK;
  }
  store_give(store, r.start, nbytes, true);
  error->bytes_done = 0; /* there is no block */
  return status;
}

/* --- how to copy ---------------------------------------------------------- */

/* Looking for holes moves the offset of the descriptor, which others may have,
   too. */
umemStatusType umemi_store_next_data(void *state, uintptr_t adr, size_t nbytes,
                                     size_t *zeros_out, size_t *data_out,
                                     umemError *error) {
  struct umemiStore const *store = state;
  uint64_t at = store_offset(store, adr), data = at, end = at + nbytes;
  int failed = 0;
  if (!store->open.shares_offset)
    failed = umemi_file_next_data(&store->open.io, at, end, &data, &end);
  *zeros_out = (size_t)(data - at);
  *data_out = (size_t)(end - data);
  return failed
             ? umem_error_fill(error, umemIOError, failed, 0, "look for holes")
             : umemOK;
}

static bool store_may_reflink(struct umemiStore const *dest, size_t nbytes) {
  return nbytes >= umemi_tuning()->reflink_from &&
         !atomic_load(&dest->no_reflink);
}

/* O_DIRECT waits for the disk both ways, and needs whole pages. */
void umemi_store_limits(void *state, unsigned access, uintptr_t adr,
                        size_t nbytes, struct umemLimits *out) {
  struct umemiStore const *store = state;
  (void)adr;
  if (access == (umemRead | umemWrite)) {
    out->method = "reflink";
    out->declines = !store_may_reflink(store, nbytes);
    return;
  }
  umemi_file_limits(access, nbytes, out);
  if (store->open.io.direct_fd >= 0) {
    out->lanes = UMEMI_LANES_MAX;
    out->alignment = UMEMI_PAGE;
    out->chunk = umemi_tuning()->direct_piece;
    out->waits = 1;
  }
}

/* Where the file system can share extents. A file that cannot is not asked
   again. */
umemStatusType umemi_store_copy_peer(void *src_state, uintptr_t src_adr,
                                     void *dest_state, uintptr_t dest_adr,
                                     size_t nbytes, umemError *error) {
  struct umemiStore *src = src_state, *dest = dest_state;
  (void)error;
  if (!store_may_reflink(dest, nbytes))
    return UMEM_DECLINED;
  int failed =
      umemi_file_reflink(&src->open.io, store_offset(src, src_adr),
                         &dest->open.io, store_offset(dest, dest_adr), nbytes);
  if (failed == EOPNOTSUPP || failed == ENOTTY)
    atomic_store(&dest->no_reflink, true);
  return failed ? UMEM_DECLINED : umemOK;
}

/* --- handles -------------------------------------------------------------- */

umemStatusType umemi_store_export_handle(void *state, uintptr_t adr,
                                         size_t nbytes,
                                         unsigned char *payload_out,
                                         umemError *error) {
  struct umemiStore const *store = state;
  uint64_t at = store_offset(store, adr), size;
  if (!store_has(store, at, nbytes))
    return store_outside(store, adr, nbytes, error);
  int failed = umemi_store_size(store, &size);
  return failed ? umem_error_fill(error, umemIOError, failed, 0, "fstat")
                : umemi_place_export(store->open.io.fd, size, at, nbytes,
                                     payload_out, error);
}

umemStatusType umemi_store_import_handle(void *state,
                                         unsigned char const *payload,
                                         size_t nbytes, uintptr_t *adr_out,
                                         umemError *error) {
  struct umemiStore const *store = state;
  uint64_t at, size;
  int failed = umemi_store_size(store, &size);
  if (failed)
    return umem_error_fill(error, umemIOError, failed, 0, "fstat");
  umemStatusType status =
      umemi_place_import(store->open.io.fd, size, payload, nbytes, &at, error);
  if (status != umemOK)
    return status;
  if (nbytes == 0 && !store_has(store, at, 0))
    at = store->lowest; /* a place that only the other one has */
  uintptr_t adr = store->origin + (uintptr_t)at;
  if (!store_has(store, at, nbytes))
    return store_outside(store, adr, nbytes, error);
  *adr_out = adr;
  return umemOK;
}
