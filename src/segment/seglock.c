/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lock of a segment: exclusive across threads and processes, and released
 * by the system when its owner dies.
 *
 * The lock belongs to an open file description. A forked child shares the
 * parent's, and so does a peer that was sent the descriptor: they would not
 * exclude each other, and the child would keep the lock of a parent that was
 * killed. So every segment has a description for the lock alone, and a child
 * closes it at once. The child finds its segments in the list.
 */
#include "../internal.h"

static pthread_mutex_t list_turn = PTHREAD_MUTEX_INITIALIZER;
static struct umemiSegment *list;

/* --- fork ----------------------------------------------------------------- */

static void list_lock(void) {
  umemi_process(); /* renews the locks in a child */
  pthread_mutex_lock(&list_turn);
}

static void list_unlock(void) {
  pthread_mutex_unlock(&list_turn);
}

static void lock_close(struct umemiSegment *s) {
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
    s->rooms_known = false; /* another thread may have been changing them */
    lock_close(s);
  }
}

static void claim_enter(struct umemiSegment *s) {
  struct stat st;
  if (umemi_os.fstat(s->io.fd, &st))
    return; /* umemi_segment_ready() tells it */
  s->claim = (struct umemiClaim){
      .device = st.st_dev, .inode = st.st_ino, .owner = umemi_process()};
  umemi_claim_enter(&s->claim, false);
}

void umemi_segment_begin(struct umemiSegment *s, int fd) {
  *s = (struct umemiSegment){.io = umemi_file_io(fd), .lock_fd = -1};
  claim_enter(s);
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
  lock_close(s);
  list_unlock();
  umemi_claim_leave(&s->claim);
  umemi_os.close(s->io.fd);
  umemi_rooms_end(&s->rooms);
  pthread_mutex_destroy(&s->turn);
}

/* --- description ---------------------------------------------------------- */

/* The system allows it to the privileged. */
static int lock_open_by_handle(int fd) {
  union {
    struct file_handle handle;
    char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
  } of = {.handle = {.handle_bytes = MAX_HANDLE_SZ}};
  int mount;
  if (name_to_handle_at(fd, "", &of.handle, &mount, AT_EMPTY_PATH))
    return -1;
  return umemi_keep_fd(UMEMI_RETRY(
      umemi_os.open_by_handle_at(fd, &of.handle, O_RDWR | O_CLOEXEC)));
}

/* By the descriptor; where there is no /proc, by what else leads to the file.
   errno is that of the first way. */
static int lock_open(struct umemiSegment const *s) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", s->io.fd);
  int fd = umemi_keep_fd(UMEMI_RETRY(umemi_os.open(path, O_RDWR | O_CLOEXEC)));
  int failed = errno;
  if (fd < 0 && s->path)
    fd = umemi_segment_open_again(s);
  if (fd < 0)
    fd = lock_open_by_handle(s->io.fd);
  errno = failed;
  return fd;
}

umemStatusType umemi_segment_ready(struct umemiSegment *s, umemError *error) {
  if (!s->claim.is_entered)
    return umem_error_fill(error, umemIOError, EIO, 0, "fstat");
  int failed = umemi_fork_guard();
  list_lock(); /* no child may inherit a description that is not in the list */
  if (!failed && s->lock_fd < 0) {
    s->lock_fd = lock_open(s);
    failed = s->lock_fd < 0 ? errno : 0;
  }
  list_unlock();
  if (failed == ENOENT)
    return umem_error_fill(
        error, umemNotSupportedError, failed, 0,
        "lock the segment: its file cannot be opened a second time, because "
        "/proc is not mounted and %s",
        s->path ? "its name is gone" : "it has no name");
  return failed ? umem_error_fill(error, umemIOError, failed, 0,
                                  "lock the segment: open /proc/self/fd/%d",
                                  s->io.fd)
                : umemOK;
}

/* --- lock ----------------------------------------------------------------- */

static int lock_set(struct umemiSegment *s, short type) {
  struct flock lock = {.l_type = type,
                       .l_whence = SEEK_SET,
                       .l_start = UMEMI_SEGMENT_LOCK,
                       .l_len = 1};
  return UMEMI_RETRY(umemi_os.fcntl(s->lock_fd, F_OFD_SETLKW, &lock)) ? errno
                                                                      : 0;
}

/* The turn is for the threads of one context: they share the description. */
umemStatusType umemi_segment_lock(struct umemiSegment *s, umemError *error) {
  umemi_process(); /* renews the turn in a child */
  pthread_mutex_lock(&s->turn);
  umemStatusType status = umemi_segment_ready(s, error);
  int failed = status == umemOK ? lock_set(s, F_WRLCK) : 0;
  if (failed)
    status = umem_error_fill(error, umemIOError, failed, 0, "lock the segment");
  if (status != umemOK)
    pthread_mutex_unlock(&s->turn);
  return status;
}

/* To close the description is another way to give the lock back. */
void umemi_segment_unlock(struct umemiSegment *s) {
  if (lock_set(s, F_UNLCK)) {
    list_lock();
    lock_close(s);
    list_unlock();
  }
  pthread_mutex_unlock(&s->turn);
}
