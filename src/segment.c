/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that processes share: a header, a table of blocks (segtable.c), and
 * the data; and the lock for who changes the table, which the system gives back
 * for the dead.
 *
 * Whoever is attached may write anywhere in it or cut it off, at any time. So
 * nothing in it is believed: the layout follows from its size alone, and it is
 * only read and written by system calls, which fail where a load would raise
 * SIGBUS.
 */
#include "internal.h"

#include <time.h>

#include "crc32c.h"

enum {
  VERSION = 1,
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

/* --- fork ----------------------------------------------------------------- */

/*
 * The lock belongs to an open file description, which a forked child shares:
 * it would keep the lock of a parent that was killed. So every segment has a
 * description for the lock alone, and a child closes it at once. The list of
 * segments is what the child goes by.
 */
static pthread_mutex_t list_turn = PTHREAD_MUTEX_INITIALIZER;
static struct umemiSegment *list;

static void list_lock(void) {
  umemi_process(); /* renews the locks in a child */
  pthread_mutex_lock(&list_turn);
}

static void list_unlock(void) {
  pthread_mutex_unlock(&list_turn);
}

static void segment_close_lock(struct umemiSegment *s) {
  if (s->lock_fd >= 0)
    umemi_os.close(s->lock_fd);
  s->lock_fd = -1;
}

void umemi_segments_before_fork(void) {
  list_lock();
}

void umemi_segments_after_fork(void) {
  list_unlock();
}

/* Another thread may have had a turn, and is not here to end it. */
void umemi_segments_in_child(void) {
  pthread_mutex_init(&list_turn, NULL);
  for (struct umemiSegment *s = list; s; s = s->next) {
    pthread_mutex_init(&s->turn, NULL);
    segment_close_lock(s);
  }
}

void umemi_segment_begin(struct umemiSegment *s, int fd) {
  *s = (struct umemiSegment){.io = umemi_file_io(fd), .lock_fd = -1};
  pthread_mutex_init(&s->turn, NULL);
  list_lock();
  s->next = list;
  list = s;
  list_unlock();
}

void umemi_segment_end(struct umemiSegment *s) {
  struct umemiSegment **place = &list;
  list_lock();
  while (*place != s)
    place = &(*place)->next;
  *place = s->next;
  segment_close_lock(s);
  list_unlock();
  umemi_os.close(s->io.fd);
  pthread_mutex_destroy(&s->turn);
}

/* --- lock ----------------------------------------------------------------- */

/* Under the lock of the list: no child may inherit what is not in it yet. */
static int segment_open_lock(struct umemiSegment *s) {
  char path[32];
  int failed = umemi_fork_guard();
  snprintf(path, sizeof path, "/proc/self/fd/%d", s->io.fd);
  list_lock();
  if (!failed && s->lock_fd < 0) {
    s->lock_fd = UMEMI_RETRY(umemi_os.open(path, O_RDWR | O_CLOEXEC));
    failed = s->lock_fd < 0 ? errno : 0;
  }
  list_unlock();
  return failed;
}

static int segment_set_lock(struct umemiSegment *s, short type) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
  return UMEMI_RETRY(umemi_os.fcntl(s->lock_fd, F_OFD_SETLKW, &lock)) ? errno
                                                                      : 0;
}

static umemStatusType segment_no_lock(int failed, umemError *error) {
  return umem_error_fill(error, umemIOError, failed, 0, "lock the segment");
}

/* The turn is for the threads of one context: they share the description. */
umemStatusType umemi_segment_lock(struct umemiSegment *s, umemError *error) {
  umemi_process(); /* renews the turn in a child */
  pthread_mutex_lock(&s->turn);
  int failed = segment_open_lock(s);
  if (!failed)
    failed = segment_set_lock(s, F_WRLCK);
  if (!failed)
    return umemOK;
  pthread_mutex_unlock(&s->turn);
  return segment_no_lock(failed, error);
}

/* To close the description is another way to give the lock back. */
void umemi_segment_unlock(struct umemiSegment *s) {
  if (segment_set_lock(s, F_UNLCK)) {
    list_lock();
    segment_close_lock(s);
    list_unlock();
  }
  pthread_mutex_unlock(&s->turn);
}

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

/* Else nameless memory, which no file system limits, would be taken from other
   processes until the system ends one. */
static bool segment_is_affordable(uint64_t total) {
  char *text = umemi_text_of("/proc/meminfo");
  uint64_t memory = UINT64_MAX, swap = 0;
  if (umemi_meminfo(text, "MemAvailable:", &memory))
    umemi_meminfo(text, "SwapFree:", &swap);
  free(text);
  return total <= memory + swap;
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
  int failed = segment_is_affordable(s->total) ? 0 : ENOMEM;
  if (!failed)
    failed = umemi_file_grow(&s->io, 0, s->total);
  if (!failed)
    failed = segment_fill(s);
  if (!failed) /* last: what has one is whole */
    failed = umemi_file_write(&s->io, 0, &header, sizeof header, &done);
  return failed ? segment_no_room(failed, s->total, error) : umemOK;
}

umemStatusType umemi_segment_create(struct umemiSegment *s, uint64_t nbytes,
                                    umemError *error) {
  segment_lay_out(s, umemi_segment_total(nbytes));
  umemStatusType status = umemi_segment_lock(s, error);
  if (status != umemOK)
    return status;
  status = segment_make(s, error);
  umemi_segment_unlock(s);
  return status;
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
    return segment_refused(error, "it is not complete (yet)");
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
  int failed = segment_open_lock(s); /* now, and not with the first block */
  return failed ? segment_no_lock(failed, error) : umemOK;
}
