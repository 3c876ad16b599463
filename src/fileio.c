/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Positional file I/O that is complete or says why not. Interrupted calls are
 * resumed and short ones continued, so a call here either moves all bytes or
 * returns errno (or UMEMI_EOF) and how many it moved.
 */
#include "internal.h"

#include <signal.h>

enum {
  CALL_MAX = 1 << 30,        /* bytes per system call; Linux stops at 2 GiB */
  DIRECT_ALIGN = UMEMI_PAGE, /* of offset, size and buffer for O_DIRECT */
  COPY_ALIGN = 16
};

struct umemiFileIo umemi_file_io(int fd) {
  return (struct umemiFileIo){fd, -1};
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

/* It may change at any time, and is another one in a child or in whichever
   process got the file: so it is never remembered. */
uint64_t umemi_file_limit(void) {
  struct rlimit limit;
  if (umemi_os.getrlimit(RLIMIT_FSIZE, &limit))
    return UMEMI_LIMIT_UNKNOWN;
  return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
}

/*
 * What starts at RLIMIT_FSIZE or past it, inside the file, too, raises SIGXFSZ,
 * which ends the process by default. What comes there, or may come there if the
 * limit cannot be read, runs while the signal is held: what remains is EFBIG.
 * To ask for the limit takes a fifth of the time of holding.
 */
void umemi_file_hold(struct umemiFileHold *hold, uint64_t end) {
  uint64_t limit = umemi_file_limit();
  hold->active = end > limit || limit == UMEMI_LIMIT_UNKNOWN;
  if (hold->active)
    umemi_signal_hold(&hold->signal, SIGXFSZ);
}

void umemi_file_release(struct umemiFileHold const *hold) {
  if (hold->active)
    umemi_signal_release(&hold->signal);
}

int umemi_file_fallocate(struct umemiFileIo const *io, int mode, uint64_t at,
                         uint64_t nbytes) {
  struct umemiFileHold hold;
  umemi_file_hold(&hold, at + nbytes);
  int failed = umemi_os.fallocate(io->fd, mode, (off_t)at, (off_t)nbytes);
  umemi_file_release(&hold);
  return failed ? errno : 0;
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
  struct umemiFileHold hold;
  umemi_file_hold(&hold, at + nbytes);
  ssize_t moved = umemi_os.pwrite(fd, bytes, nbytes, (off_t)at);
  umemi_file_release(&hold);
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

/* --- writes that grow the file -------------------------------------------- */

/* Space that is reserved in one go is written to faster, and lies together. Of
   more than one slot's worth the first bytes are written without, to see
   whether the memory can be read: little is left reserved if it cannot. */
enum {
  RESERVE_AT_ONCE = UMEMI_SLOT_MOST,
  RESERVE_NONE = 64 << 10,
  RESERVE_FIRST = 4 << 20,
  RESERVE_MOST = 16 << 20,
  RESERVE_MORE = 4 /* times the slice before */
};

/* Does a write up to `end` grow the file, which has *size_out bytes now? */
static bool file_grows(struct umemiFileIo const *io, uint64_t end,
                       uint64_t *size_out) {
  struct stat st;
  bool known = umemi_os.fstat(io->fd, &st) == 0 && S_ISREG(st.st_mode);
  *size_out = known ? (uint64_t)st.st_size : 0;
  return known && end > *size_out && end <= umemi_file_limit();
}

static size_t file_next_slice(size_t slice) {
  if (slice < RESERVE_FIRST)
    return RESERVE_FIRST;
  return slice < RESERVE_MOST ? slice * RESERVE_MORE : slice;
}

/* Writes a slice whose space is reserved first. What a file system cannot
   reserve the write tells. What is not written is given back: it belongs to a
   range that is unspecified from now on. ext4 keeps it (Linux 6.18). */
static int file_write_slice(struct file_span const *slice, size_t nbytes,
                            uint64_t size, size_t *done_out) {
  umemi_file_fallocate(slice->io, FALLOC_FL_KEEP_SIZE, slice->at, nbytes);
  int failed = file_move_span(slice, nbytes, done_out);
  uint64_t end = slice->at + nbytes, from = slice->at + *done_out;
  if (from < size)
    from = size;
  if (failed && from < end)
    umemi_file_fallocate(slice->io, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                         from, end - from);
  return failed;
}

static int file_write_reserving(struct file_span const *span, size_t nbytes,
                                uint64_t size, size_t *done_out) {
  size_t slice = RESERVE_NONE - (size_t)(span->at % RESERVE_NONE);
  int failed = file_move_span(span, slice, done_out);
  for (size_t done = *done_out; !failed && done < nbytes; done = *done_out) {
    struct file_span rest = {span->io, true, span->at + done,
                             span->bytes + done};
    slice = file_next_slice(slice);
    failed = file_write_slice(
        &rest, nbytes - done < slice ? nbytes - done : slice, size, done_out);
    *done_out += done;
  }
  return failed;
}

int umemi_file_write(struct umemiFileIo const *io, uint64_t at, void const *in,
                     size_t nbytes, size_t *done_out) {
  struct file_span span = {io, true, at, (char *)(uintptr_t)in};
  uint64_t size;
  if (nbytes < umemi_tuning()->reserve_from ||
      !file_grows(io, at + nbytes, &size))
    return file_move_span(&span, nbytes, done_out);
  return nbytes <= RESERVE_AT_ONCE
             ? file_write_slice(&span, nbytes, size, done_out)
             : file_write_reserving(&span, nbytes, size, done_out);
}
