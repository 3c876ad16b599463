/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files and block devices: an address is a byte offset. The file holds the
 * user's bytes only; what is reserved is known to the context alone.
 */
#include "../internal.h"

/* Offsets are off_t in the system and uintptr_t to the user. */
#define FILE_END_MAX                                                           \
  (UINTPTR_MAX < INT64_MAX ? UINTPTR_MAX : (uintptr_t)INT64_MAX)

struct file {
  struct umemiOpenFile open;
  umemVirtual const *ctx;
  uint64_t id;                 /* of the context: says which lock is ours */
  struct umemiExtents extents; /* under the lock */
  bool directory_is_synced;    /* under the lock */
  uint64_t protected_end;      /* modes a and a+ write from here on */
  atomic_int flush_errno;      /* of the first flush that failed */
  atomic_bool discarded;
};

/* Nothing can be appended: there are the bytes that are there. */
static bool file_is_fixed(struct file const *file) {
  return file->open.is_block || !file->open.mode.writable;
}

/* Failure of an I/O loop that moved `done` of `nbytes`. */
static umemStatusType file_failed(struct file const *file, char const *what,
                                  int failed, uint64_t at, size_t done,
                                  size_t nbytes, umemError *error) {
  umem_error_fill(error, umemIOError, failed == UMEMI_EOF ? 0 : failed, 0,
                  "%s%s %zu of %zu bytes at offset %" PRIu64 " of \"%s\"",
                  failed == UMEMI_EOF ? "the file ends there: " : "", what,
                  done, nbytes, at, file->open.name);
  error->bytes_done = done;
  return umemIOError;
}

/* --- blocks -------------------------------------------------------------- */

/* How large the file is now: others may have changed it. */
static int file_size(struct file const *file, uint64_t *size_out) {
  struct stat st;
  *size_out = file->open.size;
  if (file->open.is_block)
    return 0;
  if (umemi_os.fstat(file->open.io.fd, &st))
    return errno;
  *size_out = (uint64_t)st.st_size;
  return 0;
}

static void file_give(struct file *file, uint64_t start, size_t nbytes) {
  umemi_lock(file->id);
  umemi_extents_give(&file->extents, start, nbytes);
  umemi_unlock(file->id);
}

static umemStatusType file_no_room(struct file const *file, int failed,
                                   size_t nbytes, umemError *error) {
  bool fixed = file_is_fixed(file);
  umemStatusType type = failed == ERANGE && fixed ? umemIndexError
                        : failed == EIO           ? umemIOError
                                                  : umemMemoryError;
  char const *why = failed != ERANGE ? "cannot reserve"
                    : fixed          ? "nothing can be appended here, and the "
                                       "existing bytes do not leave"
                                     : "the largest offset does not leave";
  return umem_error_fill(error, type, failed == ERANGE ? 0 : failed, 0,
                         "%s %zu bytes in \"%s\"", why, nbytes,
                         file->open.name);
}

/* Finds a range under the lock, and extends the file outside it. */
static umemStatusType file_reserve(struct file *file, size_t nbytes,
                                   size_t alignment, uint64_t *start_out,
                                   bool *reused_out, umemError *error) {
  uint64_t size;
  bool fixed = file_is_fixed(file);
  int failed = file_size(file, &size);
  if (failed)
    return file_failed(file, "fstat", failed, 0, 0, 0, error);
  size_t room = nbytes ? nbytes : 1; /* a place of its own */
  umemi_lock(file->id);
  failed = umemi_extents_take(
      &file->extents, room, alignment ? alignment : 1, alignment ? 1 : 0,
      fixed ? 0 : size, fixed ? size : FILE_END_MAX, start_out, reused_out);
  umemi_unlock(file->id);
  if (failed)
    return file_no_room(file, failed, nbytes, error);
  uint64_t end = *start_out + nbytes;
  if (!fixed && nbytes && end > size)
    failed = umemi_file_grow(&file->open.io, *start_out, end);
  if (!failed)
    return umemOK;
  file_give(file, *start_out, room);
  return file_no_room(file, failed, nbytes, error);
}

/* 0 bytes are the start of the file and reserve nothing; aligned, where 0 is no
   address, they reserve a place of their own. */
static umemStatusType file_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  uint64_t start = 0;
  bool reused;
  if (nbytes > 0 || alignment > 0) {
    umemStatusType status =
        file_reserve(state, nbytes, alignment, &start, &reused, error);
    if (status != umemOK)
      return status;
  }
  *adr_out = (uintptr_t)start;
  return umemOK;
}

static umemStatusType file_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  (void)error;
  file_give(state, adr, nbytes ? nbytes : 1);
  return umemOK;
}

/* --- access -------------------------------------------------------------- */

static umemStatusType file_check(void *state, uintptr_t adr, size_t nbytes,
                                 umemAccess access, umemError *error) {
  struct file const *file = state;
  struct umemiFileMode const *mode = &file->open.mode;
  char const *name = file->open.name;
  uint64_t end = (uint64_t)adr + nbytes;
  if (access == umemRead && !mode->readable)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "opened for writing only: \"%s\"", name);
  if (access == umemWrite && !mode->writable)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "opened for reading only: \"%s\"", name);
  if (end > INT64_MAX)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "the largest offset is INT64_MAX: \"%s\"", name);
  if (access == umemWrite && nbytes && adr < file->protected_end)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "opened for appending: the first %" PRIu64
                           " bytes are read-only: \"%s\"",
                           file->protected_end, name);
  if (access == umemWrite && file->open.is_block && end > file->open.size)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "the block device ends at %" PRIu64 ": \"%s\"",
                           file->open.size, name);
  return umemOK;
}

static umemStatusType file_read(void *state, uintptr_t adr, void *out,
                                size_t nbytes, umemError *error) {
  struct file const *file = state;
  size_t done;
  int failed = umemi_file_read(&file->open.io, adr, out, nbytes, &done);
  return failed ? file_failed(file, "read", failed, adr, done, nbytes, error)
                : umemOK;
}

static umemStatusType file_write(void *state, uintptr_t adr, void const *in,
                                 size_t nbytes, umemError *error) {
  struct file const *file = state;
  size_t done;
  int failed = umemi_file_write(&file->open.io, adr, in, nbytes, &done);
  return failed ? file_failed(file, "wrote", failed, adr, done, nbytes, error)
                : umemOK;
}

static umemStatusType file_clear(void *state, uintptr_t adr, size_t nbytes,
                                 umemError *error) {
  static char const zeros[64 << 10];
  umemStatusType status = umemOK;
  for (size_t done = 0; status == umemOK && done < nbytes;) {
    size_t left = nbytes - done;
    size_t chunk = left < sizeof zeros ? left : sizeof zeros;
    status = file_write(state, adr + done, zeros, chunk, error);
    done += chunk;
  }
  return status;
}

/* Bytes past the end read as zeros; those of a freed extent are cleared. */
static umemStatusType file_calloc(void *state, size_t nbytes,
                                  uintptr_t *adr_out, umemError *error) {
  struct file *file = state;
  uint64_t start = 0;
  bool reused = false;
  umemStatusType status = file_check(state, 0, 0, umemWrite, error);
  if (status == umemOK && nbytes > 0)
    status = file_reserve(file, nbytes, 0, &start, &reused, error);
  if (status != umemOK)
    return status;
  if (reused || file_is_fixed(file))
    status = file_clear(state, (uintptr_t)start, nbytes, error);
  if (status != umemOK)
    file_give(file, start, nbytes);
  else
    *adr_out = (uintptr_t)start;
  return status;
}

static size_t file_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct file const *file = state;
  out[0] = (umemSpace){UMEM_SPACE_FILE, {file->open.device, file->open.inode}};
  return 1;
}

/* --- durability ---------------------------------------------------------- */

/* A name that we created is durable when its directory is. */
static int file_sync_directory(struct file *file) {
  bool needed = file->open.dir_errno || file->open.dir_fd >= 0;
  umemi_lock(file->id);
  bool synced = file->directory_is_synced;
  umemi_unlock(file->id);
  if (!needed || synced || file->open.temp_name)
    return 0;
  if (file->open.dir_fd < 0)
    return file->open.dir_errno;
  if (umemi_os.fsync(file->open.dir_fd))
    return errno;
  umemi_lock(file->id);
  file->directory_is_synced = true;
  umemi_unlock(file->id);
  return 0;
}

static umemStatusType file_flush(void *state, umemError *error) {
  struct file *file = state;
  int failed = atomic_load(&file->flush_errno);
  if (failed)
    return umem_error_fill(error, umemIOError, failed, 0,
                           "an earlier flush failed, data may be lost: open "
                           "the file anew: \"%s\"",
                           file->open.name);
  if (umemi_os.fdatasync(file->open.io.fd))
    failed = errno;
  else
    failed = file_sync_directory(file);
  if (!failed)
    return umemOK;
  atomic_store(&file->flush_errno, failed);
  return umem_error_fill(error, umemIOError, failed, 0, "flush of \"%s\"",
                         file->open.name);
}

static umemStatusType file_discard(void *state, umemError *error) {
  struct file *file = state;
  if (!file->open.temp_name)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "not opened with UMEM_FILE_ATOMIC: \"%s\"",
                           file->open.name);
  atomic_store(&file->discarded, true);
  return umemi_file_discard(&file->open, error);
}

/* --- life ---------------------------------------------------------------- */

static umemStatusType file_dtor(void *state, umemError *error) {
  struct file *file = state;
  bool failed = umem_get_error_count(file->ctx) > 0;
  bool discarded = atomic_load(&file->discarded);
  bool refuse = file->open.temp_name && failed && !discarded;
  umemError later;
  if (refuse)
    umem_error_fill(error, umemIOError, 0, 0,
                    "not published, because %" PRIu64
                    " calls on the context had failed: \"%s\"",
                    umem_get_error_count(file->ctx), file->open.name);
  umemStatusType status = umemi_file_close(&file->open, !failed && !discarded,
                                           refuse ? &later : error);
  umemi_extents_clear(&file->extents);
  free(file);
  return refuse ? umemIOError : status;
}

static struct umemVtbl const file_vtbl = {
    .size = sizeof(struct umemVtbl),
    .type = umemFileDevice,
    .name = "File",
    .fundamental_align = 1,
    .max_align = (SIZE_MAX >> 1) + 1,
    .dtor = file_dtor,
    .alloc = file_alloc,
    .free = file_free,
    .read = file_read,
    .write = file_write,
    .spaces = file_spaces,
    .check = file_check,
    .calloc = file_calloc,
    .flush = file_flush,
    .discard = file_discard,
    .copy_peer = umemi_no_copy_peer,
    .view_begin = umemi_no_view_begin,
    .view_end = umemi_no_view_end,
};

static umemStatusType file_open(umemFile *ctx, char const *filename,
                                char const *mode,
                                umemFileOptions const *options,
                                umemError *error) {
  struct file *file = umemi_os.calloc(1, sizeof *file);
  if (!file)
    return umemi_no_memory(error, "a File context", sizeof *file);
  umemStatusType status =
      umemi_file_open(&file->open, filename, mode, options, error);
  if (status != umemOK) {
    free(file);
    return status;
  }
  file->ctx = &ctx->super;
  file->id = umemi_context(ctx)->id;
  if (file->open.mode.appends)
    file->protected_end = file->open.size;
  umemi_ctor_end(ctx, file, 0);
  return umemOK;
}

static umemStatusType file_ctor(umemFile *ctx, char const *filename,
                                char const *mode, umemFileOptions const *given,
                                struct umemiCall *call) {
  umemError *error = &call->error;
  umemFileOptions options = {.size = sizeof options};
  umemStatusType status = umemi_ctor_begin(ctx, &file_vtbl, error);
  if (status == umemOK && given)
    status = umemi_take_options(&options, sizeof options, given, error);
  if (status != umemOK)
    return status;
  if (!filename && options.flags & UMEM_FILE_TAKE_FD)
    filename = "(descriptor)";
  if (!filename)
    return umemi_null(error, "filename");
  if (!mode)
    return umemi_null(error, "mode");
  call->whole_message = !filename[0] || !mode[0]; /* these are all of it */
  if (!filename[0])
    return umem_error_fill(error, umemValueError, 0, 0,
                           "invalid 0-length filename");
  if (!mode[0])
    return umem_error_fill(error, umemValueError, 0, 0,
                           "invalid 0-length mode");
  return file_open(ctx, filename, mode, &options, error);
}

umemStatusType umemFile_ctor(umemFile *ctx, char const *filename,
                             char const *mode) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = file_ctor(ctx, filename, mode, NULL, &call);
  return umemi_end(&call, status, ctx, NULL, "umemFile_ctor(mode %.8s)",
                   mode ? mode : "NULL");
}

umemStatusType umemFile_ctor_ex(umemFile *ctx, char const *filename,
                                char const *mode,
                                umemFileOptions const *options) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = file_ctor(ctx, filename, mode, options, &call);
  return umemi_end(&call, status, ctx, NULL, "umemFile_ctor_ex(mode %.8s)",
                   mode ? mode : "NULL");
}
