/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Positional file I/O that is complete or says why not. Interrupted calls are
 * resumed and short ones continued, so a call here either moves all bytes or
 * returns errno (or UMEMI_EOF) and how many it moved.
 */
#include "internal.h"

#include <linux/fs.h>
#include <signal.h>

enum {
  CALL_MAX = 1 << 30,        /* bytes per system call; Linux stops at 2 GiB */
  DIRECT_ALIGN = UMEMI_PAGE, /* of offset, size and buffer for O_DIRECT */
  GROW_SLICE = 4 << 20,      /* per fallocate() */
  SLICE_MIN = 64 << 10,
  COPY_ALIGN = 16
};

struct umemiFileIo umemi_file_io(int fd) {
  struct rlimit limit;
  struct umemiFileIo io = {fd, -1, UINT64_MAX};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    io.size_limit = limit.rlim_cur;
  return io;
}

umemStatusType umemi_file_moved(char const *ended, char const *what, int failed,
                                uint64_t at, size_t done, size_t nbytes,
                                umemError *error) {
  umem_error_fill(error, umemIOError, failed == UMEMI_EOF ? 0 : failed, 0,
                  "%s%s %zu of %zu bytes at offset %" PRIu64,
                  failed == UMEMI_EOF ? ended : "", what, done, nbytes, at);
  error->bytes_done = done;
  return umemIOError;
}

/*
 * Reads of the page cache go in parallel, writes have the inode to themselves.
 * The kernel copies by `rep movsb`, which falls to a tenth of its speed where
 * the destination lies up to 15 bytes ahead, and past the caches is slow
 * wherever the two lie differently.
 */
void umemi_file_limits(unsigned access, size_t nbytes, struct umemLimits *out) {
  out->method = access == umemRead ? "pread" : "pwrite";
  if (access != umemRead)
    return;
  bool past_caches = nbytes >= umemi_tuning()->stream_from;
  out->lanes = UMEMI_LANES_MAX;
  out->alignment = past_caches ? UMEMI_PAGE : COPY_ALIGN;
}

/* --- SIGXFSZ -------------------------------------------------------------- */

/*
 * Going past RLIMIT_FSIZE raises SIGXFSZ, which ends the process by default. An
 * operation that would do so runs with the signal blocked in this thread, and
 * the one that it raised is taken: what remains is EFBIG. Not asking for the
 * limit on each call is what makes it cheap where there is none.
 */
struct limit_guard {
  bool active, was_pending;
  sigset_t old_mask;
};

static void limit_guard_begin(struct limit_guard *guard,
                              struct umemiFileIo const *io, uint64_t end) {
  guard->active = end > io->size_limit;
  if (!guard->active)
    return;
  sigset_t signal, pending;
  sigemptyset(&signal);
  sigaddset(&signal, SIGXFSZ);
  sigpending(&pending);
  guard->was_pending = sigismember(&pending, SIGXFSZ) == 1;
  pthread_sigmask(SIG_BLOCK, &signal, &guard->old_mask);
}

static void limit_guard_end(struct limit_guard const *guard) {
  if (!guard->active)
    return;
  int saved = errno;
  sigset_t signal;
  sigemptyset(&signal);
  sigaddset(&signal, SIGXFSZ);
  if (!guard->was_pending)
    while (sigtimedwait(&signal, NULL, &(struct timespec){0, 0}) < 0 &&
           errno == EINTR)
      continue;
  pthread_sigmask(SIG_SETMASK, &guard->old_mask, NULL);
  errno = saved;
}

/* --- one system call ------------------------------------------------------ */

struct file_span {
  struct umemiFileIo const *io;
  bool is_write;
  uint64_t at; /* offset in the file of bytes[0] */
  char *bytes;
};

static ssize_t file_step(struct file_span const *span, int fd, char *bytes,
                         size_t nbytes, uint64_t at) {
  if (nbytes > CALL_MAX)
    nbytes = CALL_MAX;
  if (!span->is_write)
    return umemi_os.pread(fd, bytes, nbytes, (off_t)at);
  struct limit_guard guard;
  limit_guard_begin(&guard, span->io, at + nbytes);
  ssize_t moved = umemi_os.pwrite(fd, bytes, nbytes, (off_t)at);
  limit_guard_end(&guard);
  return moved;
}

/* --- loops: *done follows what was moved, up to `end` --------------------- */

static int file_move(struct file_span const *span, size_t *done, size_t end) {
  while (*done < end) {
    ssize_t moved = file_step(span, span->io->fd, span->bytes + *done,
                              end - *done, span->at + *done);
    if (moved < 0 && errno != EINTR)
      return errno;
    if (moved == 0) /* a write of nothing would be tried for ever */
      return span->is_write ? ENOSPC : UMEMI_EOF;
    if (moved > 0)
      *done += (size_t)moved;
  }
  return 0;
}

/* One step of whole pages past the page cache, through `bounce` if the user's
   buffer is not aligned. */
static ssize_t file_step_direct(struct file_span const *span,
                                struct umemiSlot const *bounce, size_t done,
                                size_t nbytes) {
  char *user = span->bytes + done;
  int fd = span->io->direct_fd;
  uint64_t at = span->at + done;
  if (!bounce)
    return file_step(span, fd, user, nbytes, at);
  if (nbytes > bounce->size)
    nbytes = bounce->size;
  if (span->is_write)
    memcpy(bounce->ptr, user, nbytes);
  ssize_t moved = file_step(span, fd, bounce->ptr, nbytes, at);
  if (moved > 0 && !span->is_write)
    memcpy(user, bounce->ptr, (size_t)moved);
  return moved;
}

/* A step that ends inside a page ends the loop: the rest is not aligned. */
static int file_move_direct(struct file_span const *span,
                            struct umemiSlot const *bounce, size_t *done,
                            size_t end) {
  while (end - *done >= DIRECT_ALIGN) {
    size_t pages = (end - *done) & ~(size_t)(DIRECT_ALIGN - 1);
    ssize_t moved = file_step_direct(span, bounce, *done, pages);
    if (moved < 0 && errno == EINVAL)
      break; /* cut off inside a page at a limit, or sectors are larger */
    if (moved < 0 && errno != EINTR)
      return errno;
    if (moved >= 0)
      *done += (size_t)moved;
    if (moved == 0 || (moved > 0 && moved % DIRECT_ALIGN))
      break;
  }
  return 0;
}

/* Head and tail that are no whole pages go through the page cache. */
static int file_move_parts(struct file_span const *span,
                           struct umemiSlot const *bounce, size_t head,
                           size_t *done, size_t end) {
  int failed = file_move(span, done, head);
  if (!failed)
    failed = file_move_direct(span, bounce, done, end);
  return failed ? failed : file_move(span, done, end);
}

/* Without memory to bounce the pages off they go through the page cache, too.
 */
static int file_move_pages(struct file_span const *span, size_t head,
                           size_t *done, size_t end) {
  struct umemiSlot slot;
  umemError ignored;
  if ((uintptr_t)(span->bytes + head) % DIRECT_ALIGN == 0)
    return file_move_parts(span, NULL, head, done, end);
  if (umemi_slot_take(&slot, end - head, &ignored) != umemOK)
    return file_move(span, done, end);
  int failed = file_move_parts(span, &slot, head, done, end);
  umemi_slot_give(&slot);
  return failed;
}

static int file_move_span(struct file_span const *span, size_t nbytes,
                          size_t *done_out) {
  size_t head = (size_t)(-span->at % DIRECT_ALIGN);
  *done_out = 0;
  if (span->io->direct_fd >= 0 && nbytes >= head + DIRECT_ALIGN)
    return file_move_pages(span, head, done_out, nbytes);
  return file_move(span, done_out, nbytes);
}

int umemi_file_read(struct umemiFileIo const *io, uint64_t at, void *out,
                    size_t nbytes, size_t *done_out) {
  struct file_span span = {io, false, at, out};
  return file_move_span(&span, nbytes, done_out);
}

/* Space that is reserved in one go is written to faster, and lies together.
   Not more than this much is left reserved past the end if the write fails. */
enum { RESERVE_SLICE = 64 << 20 };

/* Does [at, end) grow the file? */
static bool file_grows(struct umemiFileIo const *io, uint64_t end) {
  struct stat st;
  return umemi_os.fstat(io->fd, &st) == 0 && S_ISREG(st.st_mode) &&
         end > (uint64_t)st.st_size && end <= io->size_limit;
}

/* What a file system cannot reserve the write tells. */
static int file_write_reserving(struct file_span const *span, size_t nbytes,
                                size_t *done_out) {
  int failed = 0;
  for (size_t done = 0; !failed && done < nbytes; done = *done_out) {
    size_t slice =
        nbytes - done < RESERVE_SLICE ? nbytes - done : (size_t)RESERVE_SLICE;
    struct file_span rest = *span;
    rest.at += done;
    rest.bytes += done;
    umemi_os.fallocate(rest.io->fd, FALLOC_FL_KEEP_SIZE, (off_t)rest.at,
                       (off_t)slice);
    failed = file_move_span(&rest, slice, done_out);
    *done_out += done;
  }
  return failed;
}

int umemi_file_write(struct umemiFileIo const *io, uint64_t at, void const *in,
                     size_t nbytes, size_t *done_out) {
  struct file_span span = {io, true, at, (char *)(uintptr_t)in};
  if (nbytes >= umemi_tuning()->reserve_from && file_grows(io, at + nbytes))
    return file_write_reserving(&span, nbytes, done_out);
  return file_move_span(&span, nbytes, done_out);
}

/* --- growing -------------------------------------------------------------- */

/* Is there room at all? Else a request for far too much would fill the disk
   before it fails. A file system that does not know has 0 blocks. */
static bool file_has_room(struct umemiFileIo const *io, uint64_t nbytes) {
  struct statvfs fs;
  if (umemi_os.fstatvfs(io->fd, &fs) || fs.f_blocks == 0 || fs.f_frsize == 0)
    return true;
  return nbytes / fs.f_frsize <= fs.f_bfree;
}

/* The limit may have been raised since the file was opened. */
static bool file_is_past_limit(struct umemiFileIo const *io, uint64_t end) {
  struct rlimit limit;
  return end > io->size_limit && getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
         end > limit.rlim_cur;
}

/*
 * Where there is no fallocate(): the last byte extends the file, and a full
 * disk is told at the write. In a race with others who write past the end
 * ftruncate() could cut off all that they wrote, this at most zero that one
 * byte.
 */
static int file_extend(struct umemiFileIo const *io, uint64_t end) {
  struct stat st;
  size_t done;
  if (umemi_os.fstat(io->fd, &st))
    return errno;
  if ((uint64_t)st.st_size >= end)
    return 0;
  return umemi_file_write(io, end - 1, "", 1, &done);
}

/*
 * Slice by slice, because an interrupted fallocate() starts over; and in
 * smaller ones after that, because signals may come faster than a large one
 * takes. The last slice has a mode of its own, which the others get, too, where
 * theirs is not known.
 */
static int file_allocate(struct umemiFileIo const *io, uint64_t at,
                         uint64_t end, uint64_t slice, int mode,
                         int last_mode) {
  while (at < end) {
    bool last = end - at <= slice;
    uint64_t nbytes = last ? end - at : slice;
    int now = last ? last_mode : mode;
    if (umemi_os.fallocate(io->fd, now, (off_t)at, (off_t)nbytes) == 0)
      at += nbytes;
    else if (errno == EOPNOTSUPP && now != last_mode)
      mode = last_mode;
    else if (errno != EINTR)
      return errno;
    else if (slice > SLICE_MIN)
      slice /= 2;
  }
  return 0;
}

/*
 * What was reserved before a failure stays so, past the end of the file, for
 * whatever grows it next. To give it back would take ftruncate(), which may cut
 * off what others wrote past the end meanwhile.
 */
int umemi_file_grow(struct umemiFileIo const *io, uint64_t start,
                    uint64_t end) {
  if (file_is_past_limit(io, end))
    return EFBIG;
  if (end - start > GROW_SLICE && !file_has_room(io, end - start))
    return ENOSPC;
  /* the last slice sets the size: until then nothing can be seen of it, unless
     the file system cannot reserve without setting it */
  int failed =
      file_allocate(io, start, end, GROW_SLICE, FALLOC_FL_KEEP_SIZE, 0);
  return failed == EOPNOTSUPP || failed == ENOSYS ? file_extend(io, end)
                                                  : failed;
}

/* --- zeros and holes ------------------------------------------------------ */

int umemi_file_zero(struct umemiFileIo const *io, uint64_t at, size_t nbytes) {
  struct stat st;
  uint64_t end = at + nbytes;
  if (umemi_os.fstat(io->fd, &st))
    return errno;
  uint64_t size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : end;
  if (file_is_past_limit(io, end))
    return EFBIG;
  int const mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  int failed =
      file_allocate(io, at, end < size ? end : size, RESERVE_SLICE, mode, mode);
  return failed || end <= size ? failed : file_extend(io, end);
}

/* lseek(2), at most `end`. Where it cannot tell there is data. */
static uint64_t file_seek(struct umemiFileIo const *io, int whence, uint64_t at,
                          uint64_t end) {
  off_t found = umemi_os.lseek(io->fd, (off_t)at, whence);
  if (found < 0)
    return whence == SEEK_DATA && errno != ENXIO ? at : end;
  return (uint64_t)found < end ? (uint64_t)found : end;
}

int umemi_file_next_data(struct umemiFileIo const *io, uint64_t at,
                         uint64_t end, uint64_t *data_out,
                         uint64_t *data_end_out) {
  struct stat st;
  *data_out = at;
  *data_end_out = end;
  if (umemi_os.fstat(io->fd, &st))
    return errno;
  if (!S_ISREG(st.st_mode) || end > (uint64_t)st.st_size ||
      (uint64_t)st.st_blocks >= (uint64_t)st.st_size / 512)
    return 0; /* no holes, or an end that reading has to tell */
  uint64_t data = file_seek(io, SEEK_DATA, at, end), hole = at;
  if (data == end) { /* a hole, unless the file was cut off meanwhile */
    *data_out = umemi_os.fstat(io->fd, &st) == 0 && end <= (uint64_t)st.st_size
                    ? end
                    : at;
    return 0;
  }
  if (data - at >= umemi_tuning()->zero_from)
    *data_out = hole = data;
  while (data < end &&
         (hole <= *data_out || data - hole < umemi_tuning()->zero_from)) {
    hole = file_seek(io, SEEK_HOLE, data, end);
    data = hole < end ? file_seek(io, SEEK_DATA, hole, end) : end;
  }
  *data_end_out = hole;
  return 0;
}

/* --- sharing extents ------------------------------------------------------ */

/* ioctl_ficlonerange(2): whole blocks, or up to the end of the source. The
   system fails it as a whole, or has shared all. */
int umemi_file_reflink(struct umemiFileIo const *src, uint64_t src_at,
                       struct umemiFileIo const *dest, uint64_t dest_at,
                       uint64_t nbytes) {
  struct file_clone_range range = {.src_fd = src->fd,
                                   .src_offset = src_at,
                                   .src_length = nbytes,
                                   .dest_offset = dest_at};
  if (dest_at + nbytes > dest->size_limit)
    return EFBIG;
  return umemi_os.ioctl(dest->fd, FICLONERANGE, &range) ? errno : 0;
}
