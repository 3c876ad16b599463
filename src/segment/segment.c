/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that processes share: a header, a table of blocks (segtable.c), and
 * the data; and a lock (seglock.c) for who changes the table.
 *
 * Whoever is attached may write anywhere in it or cut it off, at any time. So
 * nothing in it is believed: the layout follows from its size alone, and it is
 * only read and written by system calls, which fail where a load would raise
 * SIGBUS.
 */
#include "../internal.h"

#include <time.h>

#include "../crc32c.h"

enum {
  VERSION = 3,
  PER_TABLE_PAGE = UMEMI_SEGMENT_GRANULE / UMEMI_SEGMENT_ENTRY,
  ATTACH_TRIES = 100, /* for one that is being created, so far apart: */
  ATTACH_PAUSE_NS = 10000000
};

/* Pages of data, so that granules are counted in 32 bits. */
#define PAGES_MAX ((uint64_t)UINT32_MAX * UMEMI_SEGMENT_GRANULE / UMEMI_PAGE)

static char const magic[8] = {'u', 'm', 'e', 'm', 'S', 'h', 'm', '\n'};

struct segment_header {
  char magic[8];
  uint32_t version, granule;
  uint64_t total;
  uint32_t reserved, checksum; /* CRC-32C of what is in front of it */
};

/* --- layout --------------------------------------------------------------- */

static uint64_t pages_of(uint64_t nbytes) {
  return nbytes / UMEMI_PAGE + (nbytes % UMEMI_PAGE > 0);
}

uint64_t umemi_segment_total(uint64_t nbytes) {
  uint64_t data = pages_of(nbytes);
  uint64_t table = (data + PER_TABLE_PAGE - 1) / PER_TABLE_PAGE;
  uint64_t total = (1 + table + data) * UMEMI_PAGE;
  return data > PAGES_MAX || total > PTRDIFF_MAX ? 0 : total;
}

/* The other way round; false if no segment is that large. */
static bool segment_lay_out(struct umemiSegment *s, uint64_t total) {
  uint64_t rest = total / UMEMI_PAGE;
  if (rest < 3)
    return false;
  rest--;
  s->total = total;
  s->nbytes =
      (rest - (rest + PER_TABLE_PAGE) / (PER_TABLE_PAGE + 1)) * UMEMI_PAGE;
  s->data_at = total - s->nbytes;
  s->granules = s->nbytes / UMEMI_SEGMENT_GRANULE;
  return umemi_segment_total(s->nbytes) == total;
}

static struct segment_header segment_header_of(uint64_t total) {
  struct segment_header header = {
      .version = VERSION, .granule = UMEMI_SEGMENT_GRANULE, .total = total};
  memcpy(header.magic, magic, sizeof magic);
  header.checksum =
      umemi_crc32c(0, &header, offsetof(struct segment_header, checksum));
  return header;
}

/* --- create --------------------------------------------------------------- */

static umemStatusType segment_no_room(int failed, uint64_t total,
                                      umemError *error) {
  bool full = failed == ENOSPC || failed == ENOMEM || failed == EDQUOT ||
              failed == EFBIG;
  return umem_error_fill(error, full ? umemMemoryError : umemIOError, failed, 0,
                         "cannot reserve %" PRIu64 " bytes of shared memory",
                         total);
}

/* Where the file system does not reserve, zeros that are written do. */
static int segment_fill(struct umemiSegment const *s) {
  static char const zeros[64 << 10];
  struct stat st;
  size_t done;
  int failed = umemi_os.fstat(s->io.fd, &st) ? errno : 0;
  if (failed || (uint64_t)st.st_blocks * 512 >= s->total)
    return failed;
  for (uint64_t at = 0; !failed && at < s->total; at += sizeof zeros) {
    uint64_t left = s->total - at;
    failed = umemi_file_write(&s->io, at, zeros,
                              left < sizeof zeros ? (size_t)left : sizeof zeros,
                              &done);
  }
  return failed;
}

static umemStatusType segment_make(struct umemiSegment *s, umemError *error) {
  struct segment_header header = segment_header_of(s->total);
  size_t done;
  int failed = umemi_file_grow(&s->io, 0, s->total);
  if (!failed)
    failed = segment_fill(s);
  if (!failed) /* last: what has one is whole */
    failed = umemi_file_write(&s->io, 0, &header, sizeof header, &done);
  return failed ? segment_no_room(failed, s->total, error) : umemOK;
}

umemStatusType umemi_segment_create(struct umemiSegment *s, uint64_t nbytes,
                                    umemError *error) {
  segment_lay_out(s, umemi_segment_total(nbytes));
  if (umemi_os.fchmod(s->io.fd, 0600)) /* whatever the umask is */
    return umem_error_fill(error, umemIOError, errno, 0, "fchmod");
  umemStatusType status = umemi_rooms_begin(&s->rooms, s->granules, error);
  return status == umemOK ? segment_make(s, error) : status;
}

/* --- attach --------------------------------------------------------------- */

static umemStatusType segment_refused(umemError *error, char const *why) {
  return umem_error_fill(error, umemValueError, 0, 0,
                         "not a segment of this user and library: %s", why);
}

/* Whose it is, before anything of it is read. */
static umemStatusType segment_check_owner(struct umemiSegment const *s,
                                          uint64_t *size_out,
                                          umemError *error) {
  struct stat st;
  if (umemi_os.fstat(s->io.fd, &st))
    return umem_error_fill(error, umemIOError, errno, 0, "fstat");
  *size_out = (uint64_t)st.st_size;
  if (!S_ISREG(st.st_mode))
    return segment_refused(error, "it is no regular file");
  if (st.st_uid != geteuid())
    return segment_refused(error, "it has another owner");
  if (st.st_mode & (S_IRWXG | S_IRWXO))
    return segment_refused(error, "others may open it, too");
  return umemOK;
}

/* Does it have what a segment has that is being created? */
static bool segment_is_unborn(struct umemiSegment const *s) {
  static char const nothing[sizeof magic];
  char found[sizeof magic];
  size_t done;
  int failed = umemi_file_read(&s->io, 0, found, sizeof found, &done);
  return failed == UMEMI_EOF ||
         (!failed && memcmp(found, nothing, sizeof found) == 0);
}

static umemStatusType segment_check_header(struct umemiSegment *s,
                                           uint64_t size, umemError *error) {
  struct segment_header found, header = segment_header_of(size);
  size_t done;
  int failed = umemi_file_read(&s->io, 0, &found, sizeof found, &done);
  if (failed && failed != UMEMI_EOF)
    return umem_error_fill(error, umemIOError, failed, 0, "read the header");
  if (failed || memcmp(found.magic, magic, sizeof magic) != 0)
    return segment_refused(error, "its contents are others'");
  if (found.version != VERSION)
    return segment_refused(error, "its version is another");
  if (memcmp(&found, &header, sizeof header) != 0)
    return segment_refused(error, "its header and its size do not match");
  return segment_lay_out(s, size)
             ? umemOK
             : segment_refused(error, "no segment has its size");
}

/* One look, which waits for a creator that has the lock. */
static umemStatusType segment_look(struct umemiSegment *s, bool *is_unborn_out,
                                   umemError *error) {
  uint64_t size = 0;
  umemStatusType status = segment_check_owner(s, &size, error);
  *is_unborn_out = status == umemOK && segment_is_unborn(s);
  if (!*is_unborn_out)
    return status == umemOK ? segment_check_header(s, size, error) : status;
  status = umemi_segment_lock(s, error);
  if (status == umemOK)
    umemi_segment_unlock(s);
  return status;
}

static umemStatusType segment_wait(struct umemiSegment *s, umemError *error) {
  bool is_unborn;
  umemStatusType status = segment_look(s, &is_unborn, error);
  for (int i = 0; status == umemOK && is_unborn && i < ATTACH_TRIES; i++) {
    nanosleep(&(struct timespec){0, i ? ATTACH_PAUSE_NS : 0}, NULL);
    status = segment_look(s, &is_unborn, error);
  }
  if (status == umemOK && is_unborn)
    return segment_refused(error, "it is not complete (yet); if its creator "
                                  "was killed, create it anew");
  return status;
}

umemStatusType umemi_segment_attach(struct umemiSegment *s, uint64_t nbytes,
                                    umemError *error) {
  umemStatusType status = segment_wait(s, error);
  if (status != umemOK)
    return status;
  if (nbytes > 0 && umemi_segment_total(nbytes) != s->total)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "it was created with %" PRIu64 " bytes", s->nbytes);
  return umemi_rooms_begin(&s->rooms, s->granules, error);
}

/* --- adopt ---------------------------------------------------------------- */

/* Where there may be data first; what was only reserved has none. */
static uint64_t segment_data_from(struct umemiSegment const *s, uint64_t size) {
  off_t at = umemi_os.lseek(s->io.fd, 0, SEEK_DATA);
  if (at < 0)
    return errno == ENXIO ? size : 0;
  return (uint64_t)at;
}

/* Nobody has put anything into it. */
static bool segment_is_blank(struct umemiSegment const *s, uint64_t size) {
  char bytes[1024]; /* on the stack, which may be small */
  static char const zeros[sizeof bytes];
  uint64_t at = segment_data_from(s, size);
  for (; at < size; at += sizeof bytes) {
    size_t done, nbytes = sizeof bytes;
    if (size - at < nbytes)
      nbytes = (size_t)(size - at);
    if (umemi_file_read(&s->io, at, bytes, nbytes, &done) ||
        memcmp(bytes, zeros, nbytes) != 0)
      return false;
  }
  return true;
}

/* Under the lock, so that no creator of it lives. */
static umemStatusType segment_take_over(struct umemiSegment *s, uint64_t nbytes,
                                        bool *adopted_out, umemError *error) {
  uint64_t size = 0;
  umemStatusType status = segment_check_owner(s, &size, error);
  if (status != umemOK || !umemi_segment_has_name(s) ||
      !segment_is_blank(s, size))
    return status;
  if (size == 0)
    status = umemi_segment_create(s, nbytes, error);
  *adopted_out = size == 0 && status == umemOK;
  if (!*adopted_out)
    umemi_segment_remove_name(s);
  return status;
}

umemStatusType umemi_segment_adopt(struct umemiSegment *s, uint64_t nbytes,
                                   bool *adopted_out, umemError *error) {
  umemError why_not; /* attaching will find it, too */
  uint64_t size;
  *adopted_out = false;
  if (segment_check_owner(s, &size, &why_not) != umemOK ||
      !segment_is_unborn(s))
    return umemOK;
  umemStatusType status = umemi_segment_lock(s, error);
  if (status != umemOK)
    return status;
  status = segment_take_over(s, nbytes, adopted_out, error);
  umemi_segment_unlock(s);
  return status;
}
