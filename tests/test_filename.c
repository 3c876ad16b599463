/* SPDX-License-Identifier: BSD-3-Clause */
/* src/filename.c: where names lead, whoever changes them meanwhile. */
#include "file_support.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/fsuid.h>

/* A fresh directory. */
static char const *new_directory(void) {
  char const *name = new_path();
  assert_int_equal(mkdir(name, 0700), 0);
  return name;
}

/* `name` in `directory`. One of 8 buffers that take turns. */
static char const *in(char const *directory, char const *name) {
  static char paths[8][600];
  static unsigned turn;
  char *path = paths[turn++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

static bool is_link(char const *name) {
  struct stat st;
  return lstat(name, &st) == 0 && S_ISLNK(st.st_mode);
}

/* --- a name that changes while it is opened --------------------------------
 */

/* The attacker puts a link to "victim" in place of "name" before the system
   call number `attack_at`. */
static unsigned attack_at, attack_calls;
static char const *attacked, *trap;

static void attack(void) {
  if (++attack_calls != attack_at)
    return;
  unlink(attacked);
  assert_int_equal(symlink(trap, attacked), 0);
}

static int attacked_open(char const *path, int flags, ...) {
  attack();
  return open(path, flags, 0600);
}

static int attacked_openat(int dir, char const *path, int flags, ...) {
  attack();
  return openat(dir, path, flags, 0600);
}

static int attacked_fstat(int fd, struct stat *st) {
  attack();
  return fstat(fd, st);
}

static int attacked_fstatat(int dir, char const *path, struct stat *st,
                            int flags) {
  attack();
  return fstatat(dir, path, st, flags);
}

static int attacked_fchmod(int fd, mode_t mode) {
  attack();
  return fchmod(fd, mode);
}

static int attacked_fsync(int fd) {
  attack();
  return fsync(fd);
}

static int attacked_renameat(int from, char const *old, int to,
                             char const *new) {
  attack();
  return renameat(from, old, to, new);
}

static int attacked_linkat(int from, char const *old, int to, char const *new,
                           int flags) {
  attack();
  return linkat(from, old, to, new, flags);
}

static void attack_begin(char const *name, char const *victim, unsigned k) {
  attacked = name;
  trap = victim;
  attack_at = k;
  attack_calls = 0;
  umemi_os.open = attacked_open;
  umemi_os.openat = attacked_openat;
  umemi_os.fstat = attacked_fstat;
  umemi_os.fstatat = attacked_fstatat;
  umemi_os.fchmod = attacked_fchmod;
  umemi_os.fsync = attacked_fsync;
  umemi_os.renameat = attacked_renameat;
  umemi_os.linkat = attacked_linkat;
}

/* Returns whether the attack still took place. */
static bool attack_once(char const *mode, uint32_t flags, unsigned k) {
  char const *home = new_directory(), *public = new_directory();
  char const *victim = in(home, "victim"), *name = in(public, "name");
  umemFile f;
  file_put(victim, "precious", 8);
  file_put(name, "old", 3);
  attack_begin(name, victim, k);
  if (open_flagged(&f, name, mode, flags | UMEM_FILE_NOFOLLOW) == umemOK)
    write_text(&f, 0, "evil");
  umem_dtor(&f);
  assert_file_is(victim, "precious");
  assert_int_equal(names_in(home), 1);
  return attack_calls >= k;
}

static void NOFOLLOW__link_that_appears_later_is_not_followed(void **state) {
  (void)state;
  struct {
    char const *mode;
    uint32_t flags;
  } const ways[] = {{"w", UMEM_FILE_ATOMIC},  {"w", 0}, {"r+", 0},
                    {"w+", UMEM_FILE_DIRECT}, {"a", 0}, {"w", UMEM_FILE_EXCL}};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    unsigned k = 1;
    while (attack_once(ways[i].mode, ways[i].flags, k))
      k++;
    assert_true(k > 3);
  }
}

/* --- links ---------------------------------------------------------------- */

/* A chain over directories: up/first -> ../down/second -> third. */
static char const *chain_to(char const *target) {
  char const *top = new_directory();
  char text[300];
  assert_int_equal(mkdir(in(top, "up"), 0700), 0);
  assert_int_equal(mkdir(in(top, "down"), 0700), 0);
  assert_int_equal(symlink("../down/second", in(top, "up/first")), 0);
  assert_int_equal(symlink("third", in(top, "down/second")), 0);
  snprintf(text, sizeof text, "%s", target);
  if (*text)
    file_put(in(top, "down/third"), text, strlen(text));
  return top;
}

static void links__lead_an_ATOMIC_file_to_its_directory(void **state) {
  (void)state;
  umemFile f;
  char const *top = chain_to("old");
  assert_ok(open_flagged(&f, in(top, "up/first"), "w", UMEM_FILE_ATOMIC));
  assert_ok(write_text(&f, 0, "new"));
  assert_int_equal(names_in(in(top, "up")), 1);
  assert_ok(umem_dtor(&f));
  assert_file_is(in(top, "down/third"), "new");
  assert_true(is_link(in(top, "up/first")));
  assert_true(is_link(in(top, "down/second")));
}

static void links__to_nothing_create_the_file_at_their_end(void **state) {
  (void)state;
  static char const *const creating[] = {"w", "w+", "a", "a+"};
  for (size_t i = 0; i < 4; i++) {
    umemFile f;
    char const *top = chain_to("");
    file_open(&f, in(top, "up/first"), creating[i]);
    assert_ok(write_text(&f, 0, "new"));
    faults_clear();
    assert_ok(umem_flush(&f));
    assert_string_equal(faults_trace(), "fdatasync fsync close");
    assert_ok(umem_dtor(&f));
    assert_file_is(in(top, "down/third"), "new");
    assert_true(is_link(in(top, "down/second")));
  }
}

static void links__to_nothing_leave_nothing_of_a_failure(void **state) {
  (void)state;
  static enum fault_call const calls[] = {FAULT_fstat, FAULT_readlinkat,
                                          FAULT_openat, FAULT_fcntl};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    for (unsigned k = 1; k < 9; k++) {
      umemFile f;
      char const *top = chain_to("");
      faults_clear();
      faults_fail(calls[i], k, EIO);
      umemStatusType status = umemFile_ctor(&f, in(top, "up/first"), "w");
      faults_clear();
      assert_ok(umem_dtor(&f));
      assert_int_equal(file_exists(in(top, "down/third")), status == umemOK);
      assert_int_equal(names_in(in(top, "down")), 1 + (status == umemOK));
    }
}

static void links__that_go_round_are_ELOOP(void **state) {
  (void)state;
  umemFile f;
  char const *top = new_directory();
  assert_int_equal(symlink("b", in(top, "a")), 0);
  assert_int_equal(symlink("a", in(top, "b")), 0);
  assert_ctor_fails(&f, open_flagged(&f, in(top, "a"), "w", 0), umemIOError,
                    "ELOOP (40)");
  assert_ctor_fails(&f, open_flagged(&f, in(top, "a"), "w", UMEM_FILE_ATOMIC),
                    umemIOError, "ELOOP (40)");
}

static void links__to_missing_directories_are_ENOENT(void **state) {
  (void)state;
  umemFile f;
  char const *top = new_directory();
  assert_int_equal(symlink("none/file", in(top, "a")), 0);
  for (uint32_t flags = 0; flags <= UMEM_FILE_ATOMIC; flags += UMEM_FILE_ATOMIC)
    assert_ctor_fails(&f, open_flagged(&f, in(top, "a"), "w", flags),
                      umemIOError, "ENOENT (2)");
  assert_int_equal(names_in(top), 1);
}

/* What the system says of the protection of links: a file. NULL: no
   /proc. */
static char const *protection;

static int open_with_protection(char const *path, int flags, ...) {
  if (strcmp(path, "/proc/sys/fs/protected_symlinks") != 0)
    return open(path, flags, 0600);
  errno = ENOENT;
  return protection ? open(protection, O_RDONLY | O_CLOEXEC) : -1;
}

static int follow(char const *name) {
  struct umemiPlace place = {.dir = -1};
  struct stat st;
  int fd;
  assert_int_equal(umemi_place_open(&place, name), 0);
  int failed = umemi_place_look(&place, true, &fd, &st);
  if (fd >= 0)
    close(fd);
  umemi_place_close(&place);
  return failed;
}

static char const *shared;

static void follow_as_another_user_of_files(void) {
  assert_int_equal(chown(shared, 777, 777), 0);
  assert_int_equal(chmod(shared, 01777), 0);
  assert_int_equal(chdir(shared), 0);
  assert_int_equal(symlink("file", "roots"), 0);
  assert_int_equal(symlink("file", "theirs"), 0);
  assert_int_equal(lchown("theirs", 12345, 12345), 0);
  assert_int_equal(follow("roots"), 0);
  assert_int_equal(follow("theirs"), EACCES);
  setfsuid(12345);
  int theirs = follow("theirs"), roots = follow("roots");
  setfsuid(0);
  assert_int_equal(theirs, 0);
  assert_int_equal(roots, EACCES);
}

static void links__are_judged_by_the_user_of_file_systems(void **state) {
  (void)state;
  if (geteuid() != 0)
    skip();
  protection = NULL;
  shared = new_directory();
  umemi_os.open = open_with_protection;
  assert_child_succeeds(follow_as_another_user_of_files);
}

static void links__of_others_are_followed_where_the_system_does(void **state) {
  (void)state;
  static char const *const says[] = {"0\n", "1\n", NULL};
  shared = new_directory();
  if (geteuid() != 0)
    skip();
  assert_int_equal(symlink("file", in(shared, "theirs")), 0);
  assert_int_equal(lchown(in(shared, "theirs"), 12345, 12345), 0);
  assert_int_equal(chmod(shared, 01777), 0);
  umemi_os.open = open_with_protection;
  for (size_t i = 0; i < 3; i++) {
    protection = says[i] ? file_with(says[i]) : NULL;
    assert_int_equal(follow(in(shared, "theirs")), i ? EACCES : 0);
  }
}

static void links__of_others_in_shared_directories_are_refused(void **state) {
  (void)state;
  protection = file_with("1\n");
  umemi_os.open = open_with_protection;
  umemFile f;
  char const *home = new_directory();
  shared = new_directory();
  if (geteuid() != 0)
    skip();
  file_put(in(home, "file"), "old", 3);
  assert_int_equal(symlink(in(home, "file"), in(shared, "theirs")), 0);
  assert_int_equal(symlink(in(home, "file"), in(shared, "ours")), 0);
  assert_int_equal(lchown(in(shared, "theirs"), 12345, 12345), 0);
  assert_int_equal(chmod(shared, 01777), 0);
  assert_ctor_fails(
      &f, open_flagged(&f, in(shared, "theirs"), "w", UMEM_FILE_ATOMIC),
      umemIOError, "EACCES (13)");
  assert_file_is(in(home, "file"), "old");
  assert_ok(open_flagged(&f, in(shared, "ours"), "w", UMEM_FILE_ATOMIC));
  assert_ok(umem_dtor(&f));
  assert_file_is(in(home, "file"), "");
}

/* --- directories ---------------------------------------------------------- */

static char const *closed_directory;

/* Works in a directory below one that it may not search. */
static void work_below(void) {
  umemFile f;
  assert_int_equal(chdir(in(closed_directory, "in")), 0);
  if (geteuid() == 0) {
    assert_int_equal(setgroups(0, NULL), 0);
    assert_int_equal(setgid(65534), 0);
    assert_int_equal(setuid(65534), 0);
  } else
    assert_int_equal(chmod(closed_directory, 0), 0);
  file_put("old", "old", 3);
  file_open(&f, "new", "w");
  assert_ok(write_text(&f, 0, "sample"));
  assert_ok(umem_flush(&f));
  assert_ok(umem_dtor(&f));
  assert_ok(open_flagged(&f, "old", "w", UMEM_FILE_ATOMIC));
  assert_ok(write_text(&f, 0, "new"));
  assert_ok(umem_dtor(&f));
  assert_file_is("old", "new");
}

static void directory__above_need_not_be_searchable(void **state) {
  (void)state;
  closed_directory = new_directory();
  assert_int_equal(mkdir(in(closed_directory, "in"), 0777), 0);
  assert_int_equal(chmod(in(closed_directory, "in"), 0777), 0);
  assert_child_succeeds(work_below);
  assert_int_equal(chmod(closed_directory, 0700), 0);
}

static int refusal; /* of fsync() for directories */

static int fsync_of_files(int fd) {
  struct stat st;
  assert_int_equal(fstat(fd, &st), 0);
  if (!S_ISDIR(st.st_mode))
    return fsync(fd);
  errno = refusal;
  return -1;
}

static void directory__that_cannot_be_synced_fails_nothing(void **state) {
  (void)state;
  static int const refusals[] = {EINVAL, EOPNOTSUPP, ENOTTY,
                                 EROFS,  ENOSYS,     EISDIR};
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    char const *name = new_path();
    umemFile f;
    umemi_os.fsync = fsync_of_files;
    refusal = refusals[i];
    file_open(&f, name, "w");
    assert_ok(write_text(&f, 0, "sample"));
    assert_ok(umem_flush(&f));
    assert_ok(umem_flush(&f));
    assert_ok(umem_dtor(&f));
    assert_ok(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC));
    assert_ok(umem_dtor(&f));
    assert_file_is(name, "");
  }
}

static void directory__IO_error_of_its_sync_stays_an_error(void **state) {
  (void)state;
  umemFile f;
  file_open(&f, new_path(), "w");
  umemi_os.fsync = fsync_of_files;
  refusal = EIO;
  assert_fails(&f, umem_flush(&f), umemIOError, "EIO (5)");
  umemi_os.fsync = fsync;
  assert_fails(&f, umem_flush(&f), umemIOError, "an earlier flush failed");
  assert_ok(umem_dtor(&f));
}

/* A directory that may be written to, but not read. */
static int openat_without_reading(int dir, char const *path, int flags, ...) {
  bool reads = strcmp(path, ".") == 0 && (flags & O_TMPFILE) == O_DIRECTORY;
  if (!reads || flags & O_PATH)
    return openat(dir, path, flags, 0600);
  errno = EACCES;
  return -1;
}

static unsigned syncfs_calls;
static int syncfs_errno;

static int counting_syncfs(int fd) {
  (void)fd;
  syncfs_calls++;
  errno = syncfs_errno;
  return syncfs_errno ? -1 : 0;
}

static void directory__that_may_not_be_read_uses_syncfs(void **state) {
  (void)state;
  char const *name = new_path();
  umemFile f;
  umemi_os.openat = openat_without_reading;
  umemi_os.syncfs = counting_syncfs;
  syncfs_calls = 0;
  syncfs_errno = 0;
  file_open(&f, name, "w");
  assert_ok(umem_flush(&f));
  assert_int_equal(syncfs_calls, 1);
  assert_ok(umem_dtor(&f));
  assert_ok(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC));
  assert_ok(umem_dtor(&f));
  assert_int_equal(syncfs_calls, 2);
  file_open(&f, new_path(), "w");
  syncfs_errno = EIO;
  assert_fails(&f, umem_flush(&f), umemIOError, "EIO (5)");
  assert_ok(umem_dtor(&f));
}

/* --- leases --------------------------------------------------------------- */

static int leased_fd;

static void give_lease_back(int signal) {
  (void)signal;
  fcntl(leased_fd, F_SETLEASE, F_UNLCK);
}

/* Holds a lease, which it gives back when the kernel asks for it. */
static void hold_lease(char const *name, int ready) {
  leased_fd = open(name, O_RDWR | O_CLOEXEC);
  signal(SIGIO, give_lease_back);
  char has_lease = fcntl(leased_fd, F_SETLEASE, F_WRLCK) == 0;
  if (write(ready, &has_lease, 1) != 1)
    end_in_child(1);
  for (;;)
    pause();
}

/* Returns the child that holds it, or -1 where there are no leases. */
static pid_t lease(char const *name) {
  int ends[2];
  char has_lease = 0;
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0)
    hold_lease(name, ends[1]);
  assert_int_equal(read(ends[0], &has_lease, 1), 1);
  close(ends[0]);
  close(ends[1]);
  if (has_lease)
    return child;
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return -1;
}

static void lease__is_waited_for_in_every_mode(void **state) {
  (void)state;
  static char const *const all[] = {"r", "r+", "w", "w+", "a", "a+"};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    char const *name = file_with("sample");
    umemFile f;
    pid_t holder = lease(name);
    if (holder < 0)
      skip();
    umemStatusType status = umemFile_ctor(&f, name, all[i]);
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    assert_status(status, umemOK);
    assert_ok(umem_dtor(&f));
  }
}

/* As of a file with a lease that is held for so many tries. There is no /proc,
   and who blocks has lost: by then the file may be a FIFO. */
static unsigned tries_until_given_back;
static char const *becomes_fifo;

static int openat_of_leased(int dir, char const *path, int flags, ...) {
  if (flags & (O_PATH | O_DIRECTORY))
    return openat(dir, path, flags);
  assert_true(flags & O_NONBLOCK);
  if (tries_until_given_back == 0)
    return openat(dir, path, flags, 0600);
  if (--tries_until_given_back == 0 && becomes_fifo) {
    unlink(becomes_fifo);
    assert_int_equal(mkfifo(becomes_fifo, 0600), 0);
  }
  errno = EWOULDBLOCK;
  return -1;
}

static int open_without_proc(char const *path, int flags, ...) {
  (void)path, (void)flags;
  errno = ENOENT;
  return -1;
}

static void lease__is_waited_for_without_proc(void **state) {
  (void)state;
  umemFile f;
  umemi_os.openat = openat_of_leased;
  umemi_os.open = open_without_proc;
  becomes_fifo = NULL;
  tries_until_given_back = 5;
  file_open(&f, file_with("sample"), "r");
  assert_int_equal(tries_until_given_back, 0);
  assert_ok(umem_dtor(&f));
}

static void lease__wait_is_never_for_a_FIFO(void **state) {
  (void)state;
  static char const *const all[] = {"r", "r+", "w", "w+", "a", "a+"};
  umemFile f;
  umemi_os.openat = openat_of_leased;
  umemi_os.open = open_without_proc;
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    becomes_fifo = file_with("sample");
    tries_until_given_back = 3;
    assert_ctor_fails(&f, umemFile_ctor(&f, becomes_fifo, all[i]), umemIOError,
                      "");
    assert_int_equal(tries_until_given_back, 0);
  }
}

static void lease__of_a_segment_is_waited_for(void **state) {
  (void)state;
  char name[64], path[80];
  umemShm shm;
  snprintf(name, sizeof name, "/umem-lease-%d", (int)getpid());
  snprintf(path, sizeof path, "/dev/shm%s", name);
  umemShm_unlink(name);
  assert_ok(umemShm_ctor(&shm, name, 1 << 16, UMEM_SHM_CREATE | UMEM_SHM_KEEP));
  assert_ok(umem_dtor(&shm));
  pid_t holder = lease(path);
  umemStatusType status = umemShm_ctor(&shm, name, 0, UMEM_SHM_ATTACH);
  umemShm_unlink(name);
  if (holder >= 0) {
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
  }
  assert_status(status, umemOK);
  assert_ok(umem_dtor(&shm));
}

/* --- opened again ---------------------------------------------------------
 */

static int proc_errno;

static int open_refused(char const *path, int flags, ...) {
  (void)path, (void)flags;
  errno = proc_errno;
  return -1;
}

static struct umemiPlace place_of(char const *name, int *fd_out,
                                  struct stat *st_out) {
  struct umemiPlace place = {.dir = -1};
  assert_int_equal(umemi_place_open(&place, name), 0);
  assert_int_equal(umemi_place_look(&place, true, fd_out, st_out), 0);
  assert_true(*fd_out >= 0);
  return place;
}

static void reopen__goes_by_the_name_where_proc_leads_nowhere(void **state) {
  (void)state;
  static struct {
    int code;
    bool leads_nowhere;
  } const cases[] = {{ENOENT, true}, {ENOTDIR, true}, {EACCES, true},
                     {EPERM, true},  {ELOOP, true},   {EIO, false},
                     {EMFILE, false}};
  struct umemiPlace const nameless = {.dir = -1};
  struct stat st;
  int fd;
  struct umemiPlace place = place_of(file_with("sample"), &fd, &st);
  umemi_os.open = open_refused;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    proc_errno = cases[i].code;
    int again = umemi_place_reopen(&place, fd, &st, O_RDONLY | O_CLOEXEC);
    assert_int_equal(again >= 0, cases[i].leads_nowhere);
    if (again >= 0)
      close(again);
    assert_true(umemi_place_reopen(&nameless, fd, &st, O_RDONLY) < 0);
    assert_int_equal(errno, cases[i].code);
  }
  close(fd);
  umemi_place_close(&place);
}

static void reopen__of_a_name_that_is_another_files_is_ESTALE(void **state) {
  (void)state;
  char const *name = file_with("sample");
  struct stat st;
  int fd;
  struct umemiPlace place = place_of(name, &fd, &st);
  umemi_os.open = open_refused;
  proc_errno = ENOENT;
  assert_int_equal(rename(file_with("other"), name), 0);
  assert_true(umemi_place_reopen(&place, fd, &st, O_RDONLY) < 0);
  assert_int_equal(errno, ESTALE);
  assert_int_equal(unlink(name), 0);
  assert_true(umemi_place_reopen(&place, fd, &st, O_RDONLY) < 0);
  assert_int_equal(errno, ENOENT);
  close(fd);
  umemi_place_close(&place);
}

/* --- DIRECT without /proc --------------------------------------------------
 */

static void DIRECT__is_opened_by_name_without_proc(void **state) {
  (void)state;
  static uint32_t const flags[] = {0, UMEM_FILE_ATOMIC, UMEM_FILE_NOFOLLOW};
  umemi_os.open = open_without_proc;
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    umemFile f;
    char const *name = file_with("old");
    umemStatusType status =
        open_flagged(&f, name, "w+", flags[i] | UMEM_FILE_DIRECT);
    if (status == umemNotSupportedError) {
      assert_ok(umem_dtor(&f));
      skip();
    }
    assert_status(status, umemOK);
    assert_ok(write_text(&f, 0, "new"));
    assert_ok(umem_dtor(&f));
    assert_file_is(name, "new");
  }
}

static void DIRECT__of_a_descriptor_says_that_it_needs_proc(void **state) {
  (void)state;
  umemFileOptions options = {.size = sizeof options,
                             .flags = UMEM_FILE_TAKE_FD | UMEM_FILE_DIRECT,
                             .fd = open(file_with("sample"), O_RDWR)};
  umemFile f;
  umemi_os.open = open_without_proc;
  assert_ctor_fails(&f, umemFile_ctor_ex(&f, NULL, "r+", &options), umemIOError,
                    "/proc/self/fd");
  close(options.fd);
}

/* The name is another file's when it is opened again. */
static char const *renamed;

static int openat_of_renamed(int dir, char const *path, int flags, ...) {
  if (flags & O_DIRECT) {
    unlink(renamed);
    file_put(renamed, "another's", 9);
  }
  return openat(dir, path, flags & ~O_DIRECT, 0600);
}

static void DIRECT__never_opens_another_file(void **state) {
  (void)state;
  umemFile f;
  umemi_os.open = open_without_proc;
  umemi_os.openat = openat_of_renamed;
  renamed = file_with("sample");
  assert_ctor_fails(&f, open_flagged(&f, renamed, "r+", UMEM_FILE_DIRECT),
                    umemIOError, "ESTALE");
  assert_file_is(renamed, "another's");
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(NOFOLLOW__link_that_appears_later_is_not_followed),
      faulty_test(links__lead_an_ATOMIC_file_to_its_directory),
      faulty_test(links__to_nothing_create_the_file_at_their_end),
      faulty_test(links__to_nothing_leave_nothing_of_a_failure),
      faulty_test(links__that_go_round_are_ELOOP),
      faulty_test(links__to_missing_directories_are_ENOENT),
      faulty_test(links__are_judged_by_the_user_of_file_systems),
      faulty_test(links__of_others_are_followed_where_the_system_does),
      faulty_test(links__of_others_in_shared_directories_are_refused),
      faulty_test(directory__above_need_not_be_searchable),
      faulty_test(directory__that_cannot_be_synced_fails_nothing),
      faulty_test(directory__IO_error_of_its_sync_stays_an_error),
      faulty_test(directory__that_may_not_be_read_uses_syncfs),
      faulty_test(lease__is_waited_for_in_every_mode),
      faulty_test(lease__is_waited_for_without_proc),
      faulty_test(lease__wait_is_never_for_a_FIFO),
      faulty_test(lease__of_a_segment_is_waited_for),
      faulty_test(reopen__goes_by_the_name_where_proc_leads_nowhere),
      faulty_test(reopen__of_a_name_that_is_another_files_is_ESTALE),
      faulty_test(DIRECT__is_opened_by_name_without_proc),
      faulty_test(DIRECT__of_a_descriptor_says_that_it_needs_proc),
      faulty_test(DIRECT__never_opens_another_file),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
