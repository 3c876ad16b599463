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

/* What was in the file becomes free again; what was not is no longer known. */
static void store_give(struct umemiStore *store, uint64_t start, size_t nbytes,
                       bool in_file) {
  umemi_lock(store->id);
  if (in_file)
    umemi_extents_give(&store->extents, start, nbytes);
  else
    umemi_extents_withdraw(&store->extents, start, nbytes);
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

/* Finds a range under the lock. */
static int store_take(struct umemiStore *store, size_t nbytes, size_t alignment,
                      uint64_t size, uint64_t *start_out, bool *reused_out) {
  bool fixed = store_is_fixed(store);
  uint64_t lowest = store->lowest,
           end = size < store->limit ? size : store->limit;
  if (alignment && store->origin + lowest == 0)
    lowest++; /* 0 is no address then */
  if (alignment < store->alignment)
    alignment = store->alignment;
  umemi_lock(store->id);
  int failed = umemi_extents_take(
      &store->extents, nbytes, alignment, lowest, fixed ? store->lowest : size,
      fixed ? end : store->limit, start_out, reused_out);
  umemi_unlock(store->id);
  return failed;
}

/* Takes a range, and extends the file outside the lock. */
static umemStatusType store_reserve(struct umemiStore *store, size_t nbytes,
                                    size_t alignment, uint64_t *start_out,
                                    bool *reused_out, umemError *error) {
  uint64_t size;
  size_t room = nbytes ? nbytes : 1; /* a place of its own */
  umemStatusType status = umemi_file_claim(&store->open, error);
  if (status != umemOK)
    return status;
  int failed = umemi_store_size(store, &size);
  if (failed)
    return umem_error_fill(error, umemIOError, failed, 0, "fstat");
  failed = store_take(store, room, alignment, size, start_out, reused_out);
  if (failed)
    return store_no_room(store, failed, room, error);
  uint64_t end = *start_out + nbytes;
  if (!store_is_fixed(store) && nbytes && end > size)
    failed = umemi_file_grow(&store->open.io, *start_out, end);
  if (!failed)
    return umemOK;
  store_give(store, *start_out, room, *reused_out);
  return store_no_room(store, failed, nbytes, error);
}

/* Where addresses are offsets, 0 bytes are the start of the file and reserve
   nothing; aligned, where 0 is no address, they reserve a place of their own.
 */
static bool store_is_nothing(struct umemiStore const *store, size_t nbytes,
                             size_t alignment) {
  return nbytes == 0 && alignment == 0 && store->origin == 0;
}

umemStatusType umemi_store_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  struct umemiStore *store = state;
  uint64_t start = 0;
  bool reused;
  umemStatusType status = umemOK;
  if (!store_is_nothing(store, nbytes, alignment))
    status = store_reserve(store, nbytes, alignment, &start, &reused, error);
  if (status == umemOK)
    *adr_out = store->origin + (uintptr_t)start;
  return status;
}

umemStatusType umemi_store_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  struct umemiStore *store = state;
  uint64_t at = store_offset(store, adr), size;
  (void)error;
  /* 0 bytes have a place, too: in the file, or past its end */
  bool in_file =
      nbytes > 0 || (umemi_store_size(store, &size) == 0 && at < size);
  store_give(store, at, nbytes ? nbytes : 1, in_file);
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

/* Zeros need not be written. */
umemStatusType umemi_store_set(void *state, uintptr_t adr, int c, size_t nbytes,
                               umemError *error) {
  struct umemiStore const *store = state;
  uint64_t at = store_offset(store, adr);
  if ((unsigned char)c || nbytes < umemi_tuning()->zero_from)
    return UMEM_DECLINED;
  int failed = umemi_file_zero(&store->open.io, at, nbytes);
  if (failed == EOPNOTSUPP || failed == ENOSYS || failed == EINVAL)
    return UMEM_DECLINED;
  return failed ? umemi_file_moved("the file ends there: ", "zeroed", failed,
                                   at, 0, nbytes, error)
                : umemOK;
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

/* Bytes past the end read as zeros; those of a freed extent are cleared. */
umemStatusType umemi_store_calloc(void *state, size_t nbytes,
                                  uintptr_t *adr_out, umemError *error) {
  struct umemiStore *store = state;
  uint64_t start = 0;
  bool reused = false;
  uintptr_t lowest = store->origin + (uintptr_t)store->lowest;
  umemStatusType status = umemi_store_check(state, lowest, 0, umemWrite, error);
  if (status == umemOK && !store_is_nothing(store, nbytes, 0))
    status = store_reserve(store, nbytes, 0, &start, &reused, error);
  if (status != umemOK)
    return status;
  uintptr_t adr = store->origin + (uintptr_t)start;
  if (nbytes && (reused || store_is_fixed(store)))
    status = store_clear(state, adr, nbytes, error);
  if (status == umemOK) {
    *adr_out = adr;
    return umemOK;
  }
  store_give(store, start, nbytes, true);
  error->bytes_done = 0; /* there is no block */
  return status;
}

/* --- how to copy ---------------------------------------------------------- */

/* Looking for holes moves the offset of the descriptor. */
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
  uintptr_t adr = store->origin + (uintptr_t)at;
  if (!store_has(store, at, nbytes))
    return store_outside(store, adr, nbytes, error);
  *adr_out = adr;
  return umemOK;
}
