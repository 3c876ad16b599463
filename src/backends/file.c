/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files and block devices: an address is a byte offset. The file holds the
 * user's bytes only; what is reserved is known to the context alone.
 */
#include "../internal.h"

/* Offsets are off_t in the system and uintptr_t to the user. */
#define FILE_END_MAX                                                           \
  (UINTPTR_MAX < INT64_MAX ? UINTPTR_MAX : (uintptr_t)INT64_MAX)

enum { FILE_COPY_ALIGN = 16 };

struct file {
  struct umemiOpenFile open;
  umemVirtual const *ctx;
  uint64_t id;                 /* of the context: says which lock is ours */
  struct umemiExtents extents; /* under the lock */
  uint64_t protected_end;      /* modes a and a+ write from here on */
  pthread_mutex_t turn;        /* to flush; owned by a process */
  uint64_t turn_process;       /* under the lock */
  int flush_errno;             /* of the flush that failed; in turn */
  atomic_bool discarded;
  atomic_bool no_reflink; /* into this file */
};

/* Nothing can be appended: there are the bytes that are there. */
static bool file_is_fixed(struct file const *file) {
  return file->open.is_block || !file->open.mode.writable;
}

/* Failure of an I/O loop that moved `done` of `nbytes`. */
static umemStatusType file_failed(char const *what, int failed, uint64_t at,
                                  size_t done, size_t nbytes,
                                  umemError *error) {
  umem_error_fill(error, umemIOError, failed == UMEMI_EOF ? 0 : failed, 0,
                  "%s%s %zu of %zu bytes at offset %" PRIu64,
                  failed == UMEMI_EOF ? "the file ends there: " : "", what,
                  done, nbytes, at);
  error->bytes_done = done;
  return umemIOError;
}

/* --- blocks --------------------------------------------------------------- */

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

/* What was in the file becomes free again; what was not is no longer known. */
static void file_give(struct file *file, uint64_t start, size_t nbytes,
                      bool in_file) {
  umemi_lock(file->id);
  if (in_file)
    umemi_extents_give(&file->extents, start, nbytes);
  else
    umemi_extents_withdraw(&file->extents, start, nbytes);
  umemi_unlock(file->id);
}

static umemStatusType file_no_room(struct file const *file, int failed,
                                   size_t nbytes, umemError *error) {
  if (failed == ERANGE && file_is_fixed(file))
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "there are no %zu bytes more, and nothing can be "
                           "appended",
                           nbytes);
  if (failed == ERANGE)
    return umem_error_fill(error, umemMemoryError, 0, 0,
                           "there are no %zu bytes before the largest offset",
                           nbytes);
  return umem_error_fill(error, failed == EIO ? umemIOError : umemMemoryError,
                         failed, 0, "cannot reserve %zu bytes", nbytes);
}

/* Finds a range under the lock, and extends the file outside it. */
static umemStatusType file_reserve(struct file *file, size_t nbytes,
                                   size_t alignment, uint64_t *start_out,
                                   bool *reused_out, umemError *error) {
  uint64_t size;
  bool fixed = file_is_fixed(file);
  size_t room = nbytes ? nbytes : 1; /* a place of its own */
  int failed = file_size(file, &size);
  if (failed)
    return umem_error_fill(error, umemIOError, failed, 0, "fstat");
  umemi_lock(file->id);
  failed = umemi_extents_take(
      &file->extents, room, alignment ? alignment : 1, alignment ? 1 : 0,
      fixed ? 0 : size, fixed ? size : FILE_END_MAX, start_out, reused_out);
  umemi_unlock(file->id);
  if (failed)
    return file_no_room(file, failed, room, error);
  uint64_t end = *start_out + nbytes;
  if (!fixed && nbytes && end > size)
    failed = umemi_file_grow(&file->open.io, *start_out, end);
  if (!failed)
    return umemOK;
  file_give(file, *start_out, room, *reused_out);
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
  file_give(state, adr, nbytes ? nbytes : 1, nbytes > 0);
  return umemOK;
}

/* --- access --------------------------------------------------------------- */

static umemStatusType file_check(void *state, uintptr_t adr, size_t nbytes,
                                 umemAccess access, umemError *error) {
  struct file const *file = state;
  struct umemiFileMode const *mode = &file->open.mode;
  uint64_t end = (uint64_t)adr + nbytes;
  if (access == umemRead && !mode->readable)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "opened for writing only");
  if (access == umemWrite && !mode->writable)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "opened for reading only");
  if (end > FILE_END_MAX)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "offset %" PRIu64 " is past the largest one", end);
  if (access == umemWrite && nbytes && adr < file->protected_end)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "opened for appending: the first %" PRIu64
                           " bytes are read-only",
                           file->protected_end);
  if (access == umemWrite && file->open.is_block && end > file->open.size)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "the block device ends at %" PRIu64,
                           file->open.size);
  return umemOK;
}

static umemStatusType file_read(void *state, uintptr_t adr, void *out,
                                size_t nbytes, umemError *error) {
  struct file const *file = state;
  size_t done;
  int failed = umemi_file_read(&file->open.io, adr, out, nbytes, &done);
  return failed ? file_failed("read", failed, adr, done, nbytes, error)
                : umemOK;
}

static umemStatusType file_write(void *state, uintptr_t adr, void const *in,
                                 size_t nbytes, umemError *error) {
  struct file const *file = state;
  size_t done;
  int failed = umemi_file_write(&file->open.io, adr, in, nbytes, &done);
  return failed ? file_failed("wrote", failed, adr, done, nbytes, error)
                : umemOK;
}

/* Zeros need not be written. */
static umemStatusType file_set(void *state, uintptr_t adr, int c, size_t nbytes,
                               umemError *error) {
  struct file const *file = state;
  if ((unsigned char)c || nbytes < umemi_tuning()->zero_from)
    return UMEM_DECLINED;
  int failed = umemi_file_zero(&file->open.io, adr, nbytes);
  if (failed == EOPNOTSUPP || failed == ENOSYS || failed == EINVAL)
    return UMEM_DECLINED;
  return failed ? file_failed("zeroed", failed, adr, 0, nbytes, error) : umemOK;
}

static umemStatusType file_clear(void *state, uintptr_t adr, size_t nbytes,
                                 umemError *error) {
  static char const zeros[64 << 10];
  umemStatusType status = file_check(state, adr, nbytes, umemWrite, error);
  if (status != umemOK)
    return status;
  status = file_set(state, adr, 0, nbytes, error);
  if (status != UMEM_DECLINED)
    return status;
  status = umemOK;
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
  if (status == umemOK) {
    *adr_out = (uintptr_t)start;
    return umemOK;
  }
  file_give(file, start, nbytes, true);
  error->bytes_done = 0; /* there is no block */
  return status;
}

/* --- how to copy ---------------------------------------------------------- */

/* Looking for holes moves the offset of the descriptor. */
static umemStatusType file_next_data(void *state, uintptr_t adr, size_t nbytes,
                                     size_t *zeros_out, size_t *data_out,
                                     umemError *error) {
  struct file const *file = state;
  uint64_t data = adr, end = (uint64_t)adr + nbytes;
  int failed = 0;
  if (!file->open.shares_offset)
    failed = umemi_file_next_data(&file->open.io, adr, end, &data, &end);
  *zeros_out = (size_t)(data - adr);
  *data_out = (size_t)(end - data);
  return failed
             ? umem_error_fill(error, umemIOError, failed, 0, "look for holes")
             : umemOK;
}

static bool file_may_reflink(struct file const *dest, size_t nbytes) {
  return nbytes >= umemi_tuning()->reflink_from &&
         !atomic_load(&dest->no_reflink);
}

/*
 * Reads of the page cache go in parallel, writes have the inode to themselves;
 * past the page cache both wait for the disk. The kernel copies by `rep movsb`,
 * which falls to a tenth of its speed where the destination lies up to 15 bytes
 * ahead, and past the caches is slow wherever the two lie differently. O_DIRECT
 * needs whole pages.
 */
static void file_limits(void *state, unsigned access, uintptr_t adr,
                        size_t nbytes, struct umemLimits *out) {
  struct file const *file = state;
  (void)adr;
  out->method = access == umemRead ? "pread" : "pwrite";
  if (access == (umemRead | umemWrite)) {
    out->method = "reflink";
    out->declines = !file_may_reflink(file, nbytes);
    return;
  }
  if (access == umemRead) {
    bool past_caches = nbytes >= umemi_tuning()->stream_from;
    out->lanes = UMEMI_LANES_MAX;
    out->alignment = past_caches ? UMEMI_PAGE : FILE_COPY_ALIGN;
  }
  if (file->open.io.direct_fd >= 0) {
    out->lanes = UMEMI_LANES_MAX;
    out->alignment = UMEMI_PAGE;
    out->chunk = umemi_tuning()->direct_piece;
    out->waits = 1;
  }
}

/* Where the file system can share extents. A file that cannot is not asked
   again. */
static umemStatusType file_copy_peer(void *src_state, uintptr_t src_adr,
                                     void *dest_state, uintptr_t dest_adr,
                                     size_t nbytes, umemError *error) {
  struct file *src = src_state, *dest = dest_state;
  (void)error;
  if (!file_may_reflink(dest, nbytes))
    return UMEM_DECLINED;
  int failed = umemi_file_reflink(&src->open.io, src_adr, &dest->open.io,
                                  dest_adr, nbytes);
  if (failed == EOPNOTSUPP || failed == ENOTTY)
    atomic_store(&dest->no_reflink, true);
  return failed ? UMEM_DECLINED : umemOK;
}

static size_t file_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct file const *file = state;
  out[0] = (umemSpace){UMEM_SPACE_FILE, {file->open.device, file->open.inode}};
  return 1;
}

/* --- durability ----------------------------------------------------------- */

/* Flushes take turns: the kernel tells a lost write to one fdatasync() only
   (fsync(2)), and every flush must fail from then on. Over I/O for that reason.
   A child does not wait for a turn that another thread had at the fork. */
static void file_flush_begin(struct file *file) {
  umemi_lock(file->id);
  if (file->turn_process != umemi_process()) {
    pthread_mutex_init(&file->turn, NULL);
    file->turn_process = umemi_process();
  }
  umemi_unlock(file->id);
  pthread_mutex_lock(&file->turn);
}

/* A name that we created is durable when its directory is; after that the
   directory is not needed any more. */
static int file_sync_directory(struct file *file) {
  struct umemiOpenFile *open = &file->open;
  if (open->temp_name) /* not published yet */
    return 0;
  if (open->dir_fd < 0)
    return open->dir_errno;
  if (UMEMI_RETRY(umemi_os.fsync(open->dir_fd)))
    return errno;
  umemi_os.close(open->dir_fd);
  open->dir_fd = -1;
  return 0;
}

static umemStatusType file_flush_in_turn(struct file *file, umemError *error) {
  char const *what = "fdatasync";
  int failed = file->flush_errno;
  if (failed)
    return umem_error_fill(error, umemIOError, failed, 0,
                           "an earlier flush failed, data may be lost: open "
                           "the file anew");
  if (UMEMI_RETRY(umemi_os.fdatasync(file->open.io.fd)))
    failed = errno;
  else {
    what = "fsync of the directory";
    failed = file_sync_directory(file);
  }
  file->flush_errno = failed;
  return failed ? umem_error_fill(error, umemIOError, failed, 0, "%s", what)
                : umemOK;
}

static umemStatusType file_flush(void *state, umemError *error) {
  struct file *file = state;
  file_flush_begin(file);
  umemStatusType status = file_flush_in_turn(file, error);
  pthread_mutex_unlock(&file->turn);
  return status;
}

static umemStatusType file_discard(void *state, umemError *error) {
  struct file *file = state;
  if (!file->open.temp_name)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "not opened with UMEM_FILE_ATOMIC");
  atomic_store(&file->discarded, true);
  int failed = umemi_temp_discard(&file->open);
  return failed ? umem_error_fill(error, umemIOError, failed, 0,
                                  "remove the temporary file")
                : umemOK;
}

/* --- life ----------------------------------------------------------------- */

static umemStatusType file_dtor(void *state, umemError *error) {
  struct file *file = state;
  uint64_t failures = umem_get_error_count(file->ctx);
  bool discarded = atomic_load(&file->discarded);
  bool refuse = file->open.temp_name && failures > 0 && !discarded;
  umemError later;
  if (refuse)
    umem_error_fill(error, umemIOError, 0, 0,
                    "not published, because calls on the context had failed "
                    "(%" PRIu64 "): \"%s\"",
                    failures, file->open.name);
  umemStatusType status = umemi_file_close(
      &file->open, failures == 0 && !discarded, refuse ? &later : error);
  umemi_extents_clear(&file->extents);
  pthread_mutex_destroy(&file->turn);
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
    .copy_peer = file_copy_peer,
    .view_begin = umemi_no_view_begin,
    .view_end = umemi_no_view_end,
    .set = file_set,
    .next_data = file_next_data,
    .limits = file_limits,
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
  pthread_mutex_init(&file->turn, NULL);
  file->turn_process = umemi_process();
  if (file->open.mode.appends)
    file->protected_end = file->open.size;
  umemi_ctor_end(ctx, &file_vtbl, file, file->open.name, 0);
  return umemOK;
}

static umemStatusType file_ctor(umemFile *ctx, char const *filename,
                                char const *mode, umemFileOptions const *given,
                                struct umemiCall *call) {
  umemError *error = &call->error;
  umemFileOptions options = {.size = sizeof options};
  umemStatusType status = umemi_ctor_begin(ctx, file_vtbl.name, error);
  if (status == umemOK && given)
    status = umemi_take_options(&options, sizeof options, given, error);
  if (status != umemOK)
    return status;
  char fd_name[32];
  snprintf(fd_name, sizeof fd_name, "descriptor %d", options.fd);
  if (!filename && options.flags & UMEM_FILE_TAKE_FD)
    filename = fd_name;
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
  return umemi_end(&call, status, ctx, "umemFile_ctor(mode %.8s)",
                   mode ? mode : "NULL");
}

umemStatusType umemFile_ctor_ex(umemFile *ctx, char const *filename,
                                char const *mode,
                                umemFileOptions const *options) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = file_ctor(ctx, filename, mode, options, &call);
  return umemi_end(&call, status, ctx, "umemFile_ctor_ex(mode %.8s)",
                   mode ? mode : "NULL");
}
