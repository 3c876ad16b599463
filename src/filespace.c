/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The space that a file has on its disk: growing, zeros, holes, shared extents.
 *
 * Each call here saves time or space, and none is needed to move bytes. What a
 * file system says of the contents of a file is believed of those alone that
 * this was tried with; on all others bytes are read and written. A server
 * behind FUSE, for one, does not know what is in the page cache.
 */
#include "internal.h"

#include <linux/falloc.h>
#include <linux/fs.h>

enum {
  GROW_SLICE = 4 << 20, /* per fallocate() */
  ZERO_SLICE = 64 << 20,
  SLICE_MIN = 64 << 10
};

/* --- file systems --------------------------------------------------------- */

enum {
  TELLS_HOLES = 1 << 0,   /* lseek(2), what is in the page cache included */
  MAKES_ZEROES = 1 << 1,  /* fallocate(2) */
  SHARES_EXTENTS = 1 << 2 /* ioctl_ficlonerange(2) */
};

enum { TMPFS = 0x01021994 };

/* By the numbers of statfs(2); of a block device it is where its node is. */
static struct {
  uint32_t type;
  unsigned trusted;
} const tried[] = {{0xEF53, TELLS_HOLES | MAKES_ZEROES}, /* ext2, ext3, ext4 */
                   {TMPFS, TELLS_HOLES | MAKES_ZEROES},  /* tmpfs */
                   {0x58465342,                          /* XFS */
                    TELLS_HOLES | MAKES_ZEROES | SHARES_EXTENTS},
                   {0x9123683E, /* Btrfs */
                    TELLS_HOLES | MAKES_ZEROES | SHARES_EXTENTS}};

static bool file_trusts(struct umemiFileIo const *io, unsigned what) {
  struct statfs fs;
  if (umemi_os.fstatfs(io->fd, &fs))
    return false;
  for (size_t i = 0; i < sizeof tried / sizeof *tried; i++)
    if (tried[i].type == (uint32_t)fs.f_type)
      return tried[i].trusted & what;
  return false;
}

/* Is there no such call of fallocate(2)? File systems, filters of system calls
   and old systems say so by many numbers: all but those of a lack of space, and
   of what the call met. Then the bytes are written, and if they cannot be, that
   is told. */
static bool file_lacks(int failed) {
  switch (failed) {
  case 0:
  case EINTR:
  case EIO:
  case ENOMEM:
  case ENOSPC:
  case EDQUOT:
  case EFBIG:
    return false;
  default:
    return true;
  }
}

/* --- growing -------------------------------------------------------------- */

/* tmpfs is memory: more than the process may have would end it. For little it
   is not asked, which takes as long as to reserve that. */
static bool file_is_affordable(struct umemiFileIo const *io, uint64_t nbytes) {
  struct statfs fs;
  return nbytes <= SLICE_MIN || umemi_os.fstatfs(io->fd, &fs) ||
         (uint32_t)fs.f_type != TMPFS || nbytes <= umemi_memory_left();
}

/* A request for far too much would fill the disk before it fails. The blocks
   that the file has may be reserved for just these bytes. A file system that
   does not know has 0 blocks. */
static bool file_has_blocks(struct umemiFileIo const *io, uint64_t nbytes) {
  struct statvfs fs;
  struct stat st;
  if (nbytes <= GROW_SLICE || umemi_os.fstatvfs(io->fd, &fs) ||
      fs.f_blocks == 0 || fs.f_frsize == 0 ||
      nbytes / fs.f_frsize <= fs.f_bfree)
    return true;
  uint64_t short_of = nbytes / fs.f_frsize - fs.f_bfree;
  return umemi_os.fstat(io->fd, &st) ||
         short_of <= (uint64_t)st.st_blocks * 512 / fs.f_frsize;
}

int umemi_file_room(struct umemiFileIo const *io, uint64_t nbytes) {
  if (!file_has_blocks(io, nbytes))
    return ENOSPC;
  return file_is_affordable(io, nbytes) ? 0 : ENOMEM;
}

/* The system tells by which offsets it accepts. */
uint64_t umemi_file_largest(struct umemiFileIo const *io) {
  uint64_t largest = 0;
  if (umemi_os.lseek(io->fd, (off_t)INT64_MAX, SEEK_SET) >= 0 ||
      errno != EINVAL)
    return INT64_MAX;
  for (uint64_t bit = UINT64_C(1) << 62; bit; bit >>= 1)
    if (umemi_os.lseek(io->fd, (off_t)(largest | bit), SEEK_SET) >= 0)
      largest |= bit;
  return largest;
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
    int failed = umemi_file_fallocate(io, now, at, nbytes);
    if (!failed)
      at += nbytes;
    else if (file_lacks(failed) && now != last_mode)
      mode = last_mode;
    else if (failed != EINTR)
      return failed;
    else if (slice > SLICE_MIN)
      slice /= 2;
  }
  return 0;
}

/*
 * What was reserved before a failure stays so, past the end of the file, for
 * whatever grows it next: nobody else knows of this range, but may write there
 * all the same, and to give the space back would take those bytes along.
 */
int umemi_file_grow(struct umemiFileIo const *io, uint64_t start,
                    uint64_t end) {
  if (end > umemi_file_limit())
    return EFBIG;
  int failed = umemi_file_room(io, end - start);
  if (failed)
    return failed;
  /* the last slice sets the size: until then nothing can be seen of it, unless
     the file system cannot reserve without setting it */
  failed = file_allocate(io, start, end, GROW_SLICE, FALLOC_FL_KEEP_SIZE, 0);
  return file_lacks(failed) ? file_extend(io, end) : failed;
}

/* --- zeros ---------------------------------------------------------------- */

/* Of what the file has. */
static int file_zero_inside(struct umemiFileIo const *io, uint64_t at,
                            uint64_t end, enum umemiZeroes how) {
  int const mode =
      how == UMEMI_HOLES ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
  if (at >= end)
    return 0;
  if (!file_trusts(io, MAKES_ZEROES))
    return EOPNOTSUPP;
  int failed =
      file_allocate(io, at, end, ZERO_SLICE, mode | FALLOC_FL_KEEP_SIZE,
                    mode | FALLOC_FL_KEEP_SIZE);
  return file_lacks(failed) ? EOPNOTSUPP : failed;
}

static bool bytes_are_zero(char const *bytes, size_t nbytes) {
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, nbytes - 1) == 0;
}

/* Writes zeros over what is none, so that what is a hole stays one: needs no
   space for a copy over an older one. EOPNOTSUPP if the file cannot be read. */
static int file_blank(struct umemiFileIo const *io, uint64_t at, uint64_t end) {
  struct umemiSlot slot;
  umemError ignored;
  size_t done;
  if (umemi_slot_take(&slot, UMEMI_SLOT_LEAST, &ignored) != umemOK)
    return EOPNOTSUPP;
  int failed = 0;
  for (size_t piece; !failed && at < end; at += piece) {
    piece = end - at < UMEMI_SLOT_LEAST ? (size_t)(end - at) : UMEMI_SLOT_LEAST;
    if (umemi_file_read(io, at, slot.ptr, piece, &done))
      failed = EOPNOTSUPP;
    else if (!bytes_are_zero(slot.ptr, piece))
      failed =
          umemi_file_write(io, at, memset(slot.ptr, 0, piece), piece, &done);
  }
  umemi_slot_give(&slot);
  return failed;
}

int umemi_file_zero(struct umemiFileIo const *io, uint64_t at, size_t nbytes,
                    enum umemiZeroes how) {
  struct stat st;
  uint64_t end = at + nbytes;
  if (umemi_os.fstat(io->fd, &st))
    return errno;
  uint64_t size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : end;
  uint64_t inside = end < size ? end : size;
  if (S_ISREG(st.st_mode) && end > umemi_file_limit())
    return EFBIG;
  int failed = file_zero_inside(io, at, inside, how);
  if (failed == EOPNOTSUPP && how == UMEMI_HOLES)
    failed = file_blank(io, at, inside);
  return failed || end <= size ? failed : file_extend(io, end);
}

/* --- holes ---------------------------------------------------------------- */

/* lseek(2), at most `end`. Where it cannot tell there is data. */
static uint64_t file_seek(struct umemiFileIo const *io, int whence, uint64_t at,
                          uint64_t end) {
  off_t found = umemi_os.lseek(io->fd, (off_t)at, whence);
  if (found < 0)
    return whence == SEEK_DATA && errno != ENXIO ? at : end;
  return (uint64_t)found < end ? (uint64_t)found : end;
}

/* Reads what is said to be a hole: up to where it is zeros, in pieces. What
   cannot be read is for the copy to tell. */
static uint64_t file_zeros_end(struct umemiFileIo const *io, uint64_t at,
                               uint64_t end) {
  struct umemiSlot slot;
  umemError ignored;
  size_t done;
  if (umemi_slot_take(&slot, UMEMI_SLOT_LEAST, &ignored) != umemOK)
    return at;
  while (at < end) {
    size_t piece = end - at < slot.size ? (size_t)(end - at) : slot.size;
    if (umemi_file_read(io, at, slot.ptr, piece, &done) ||
        !bytes_are_zero(slot.ptr, piece))
      break;
    at += piece;
  }
  umemi_slot_give(&slot);
  return at;
}

/* Where the data begins: what is before it is zeros, for certain. */
static uint64_t holes_end(struct umemiFileIo const *io, uint64_t at,
                          uint64_t end) {
  struct stat st;
  uint64_t data = file_seek(io, SEEK_DATA, at, end);
  if (data == end && /* a hole, unless the file was cut off meanwhile */
      (umemi_os.fstat(io->fd, &st) || end > (uint64_t)st.st_size))
    return at;
  if (data > at && !file_trusts(io, TELLS_HOLES))
    data = file_zeros_end(io, at, data);
  return data == end || data - at >= umemi_tuning()->zero_from ? data : at;
}

/* Where the data that begins at `at` ends: at a hole that is worth while. What
   is there is data, whatever the file system says. */
static uint64_t data_end(struct umemiFileIo const *io, uint64_t at,
                         uint64_t end) {
  uint64_t data = at, hole = at;
  while (data < end &&
         (hole <= at || data - hole < umemi_tuning()->zero_from)) {
    hole = file_seek(io, SEEK_HOLE, data, end);
    data = hole < end ? file_seek(io, SEEK_DATA, hole, end) : end;
  }
  return hole > at ? hole : end;
}

int umemi_file_next_data(struct umemiFileIo const *io, uint64_t at,
                         uint64_t end, uint64_t *data_out,
                         uint64_t *data_end_out) {
  struct stat st;
  *data_out = at;
  *data_end_out = end;
  if (umemi_os.fstat(io->fd, &st))
    return errno;
  if (!S_ISREG(st.st_mode) || end > (uint64_t)st.st_size)
    return 0; /* no holes, or an end that reading has to tell */
  *data_out = holes_end(io, at, end);
  if (*data_out < end)
    *data_end_out = data_end(io, *data_out, end);
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
  if (!file_trusts(dest, SHARES_EXTENTS))
    return EOPNOTSUPP;
  if (dest_at + nbytes > umemi_file_limit())
    return EFBIG;
  struct umemiFileHold hold;
  umemi_file_hold(&hold, dest_at + nbytes);
  int failed = umemi_os.ioctl(dest->fd, FICLONERANGE, &range);
  umemi_file_release(&hold);
  return failed ? errno : 0;
}
