/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of segments where something is in the way: a creator that is killed,
   files that are no segment, a system that lacks what the usual way needs. */
#include "file_support.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>

enum { SIZE = 256 << 10, SKIPPED = 77 };

static char name[64], path[96];

/* --- support -------------------------------------------------------------- */

/* A name that nobody else has: it begins as the directory of the tests does. */
static int name_setup(void **state) {
  static unsigned number;
  snprintf(name, sizeof name, "%.20s-enter-%u", strrchr(temp_dir(), '/'),
           number++);
  snprintf(path, sizeof path, "/dev/shm%s", name);
  return faults_setup(state);
}

static int name_teardown(void **state) {
  int failed = faults_teardown(state);
  if (unlink(path) == 0) {
    print_error("the name was left\n");
    return -1;
  }
  return failed;
}

#define name_test(test)                                                        \
  cmocka_unit_test_setup_teardown(test, name_setup, name_teardown)

static void open_shm(umemShm *s, size_t size, uint32_t flags) {
  if (umemShm_ctor(s, name, size, flags) != umemOK)
    fail_msg("%s", umem_get_message(s));
}

#define assert_shm_fails(call, expected, part)                                 \
  do {                                                                         \
    umemShm failed_;                                                           \
    umemShm *s = &failed_;                                                     \
    assert_status(call, expected);                                             \
    assert_has(umem_get_message(s), part);                                     \
    assert_ok(umem_dtor(s));                                                   \
  } while (0)

/* The segment of the name is whole, and nothing is allocated in it. */
static void assert_whole(umemShm const *s, size_t nbytes) {
  uintptr_t adr = umem_alloc(s, nbytes);
  if (!adr)
    fail_msg("%s", umem_get_message(s));
  assert_true(all_bytes_are((void const *)adr, nbytes, 0));
  assert_ok(umem_free(s, adr));
}

/* Whoever may create gets a whole segment, and so does who comes then. */
static void assert_usable(uint32_t flags) {
  umemShm s, peer;
  uint64_t const begin = milliseconds();
  open_shm(&s, SIZE, flags);
  assert_true(milliseconds() - begin < 900); /* nobody was waited for */
  open_shm(&peer, SIZE, UMEM_SHM_ATTACH);
  assert_whole(&peer, SIZE);
  assert_ok(umem_dtor(&peer));
  assert_ok(umem_dtor(&s));
}

/* --- systems that refuse a way -------------------------------------------- */

static bool refuses_unnamed, refuses_proc, refuses_empty_path;
static bool refuses_handles = true; /* as to the unprivileged */

/* With the mode behind the flags: ours are all 0600. */
static int refusing_open(char const *file, int flags, ...) {
  if (refuses_unnamed && (flags & O_TMPFILE) == O_TMPFILE)
    return errno = EOPNOTSUPP, -1;
  if (refuses_proc && strncmp(file, "/proc/", 6) == 0)
    return errno = ENOENT, -1;
  return faults_real.open(file, flags, 0600);
}

static int refusing_open_by_handle_at(int mount, struct file_handle *handle,
                                      int flags) {
  if (refuses_handles)
    return errno = EPERM, -1;
  return faults_real.open_by_handle_at(mount, handle, flags);
}

static int refusing_linkat(int from, char const *old, int to, char const *new,
                           int flags) {
  if (refuses_proc && strncmp(old, "/proc/", 6) == 0)
    return errno = ENOENT, -1;
  if (refuses_empty_path && flags & AT_EMPTY_PATH)
    return errno = ENOENT, -1;
  return faults_real.linkat(from, old, to, new, flags);
}

/* What a system may lack, in all combinations. */
enum { SYSTEMS = 8 };

static void on_system(unsigned system) {
  refuses_unnamed = system & 1;
  refuses_proc = system & 2;
  refuses_empty_path = system & 4;
  umemi_os.open = refusing_open;
  umemi_os.linkat = refusing_linkat;
  umemi_os.open_by_handle_at = refusing_open_by_handle_at;
}

static void name__is_created_on_systems_that_refuse_ways(void **state) {
  (void)state;
  for (unsigned system = 0; system < SYSTEMS; system++) {
    on_system(system);
    assert_usable(0);
    assert_usable(UMEM_SHM_CREATE);
    umemShm s;
    open_shm(&s, SIZE, UMEM_SHM_CREATE);
    assert_shm_fails(umemShm_ctor(s, name, SIZE, UMEM_SHM_CREATE), umemIOError,
                     "EEXIST");
    assert_whole(&s, SIZE);
    assert_ok(umem_dtor(&s));
    assert_false(file_exists(path));
    assert_shm_fails(umemShm_ctor(s, name, SIZE, UMEM_SHM_ATTACH), umemIOError,
                     "ENOENT");
  }
}

static void name__of_a_segment_without_room_is_not_left(void **state) {
  (void)state;
  for (unsigned system = 0; system < SYSTEMS; system++) {
    on_system(system);
    assert_shm_fails(umemShm_ctor(s, name, (size_t)1 << 39, 0), umemMemoryError,
                     "cannot reserve");
    assert_false(file_exists(path));
  }
}

static void nameless__without_proc_is_not_supported(void **state) {
  (void)state;
  umemShm s, peer;
  open_shm(&s, SIZE, 0);
  on_system(2);
  assert_shm_fails(umemShm_ctor(s, NULL, SIZE, 0), umemNotSupportedError,
                   "/proc is not mounted and it has no name");
  assert_status(umemShm_ctor_fd(&peer, umemShm_get_fd(&s)),
                umemNotSupportedError);
  assert_ok(umem_dtor(&peer));
  assert_ok(umem_dtor(&s));
}

static void nameless__without_proc_is_had_by_the_privileged(void **state) {
  (void)state;
  umemShm s, peer;
  on_system(2);
  refuses_handles = false;
  umemStatusType status = umemShm_ctor(&s, NULL, SIZE, 0);
  if (status == umemOK) {
    assert_ok(umemShm_ctor_fd(&peer, umemShm_get_fd(&s)));
    uintptr_t adr = umem_alloc(&s, 1);
    assert_ok(umem_free(&s, adr));
    assert_whole(&peer, SIZE);
    assert_ok(umem_dtor(&peer));
  }
  refuses_handles = true;
  assert_ok(umem_dtor(&s));
  if (status != umemOK) {
    assert_int_equal(status, umemNotSupportedError);
    skip();
  }
}

/* The name is of another file by then: its lock would be another. */
static void lock__by_a_name_that_changed_hands_is_not_taken(void **state) {
  (void)state;
  umemShm s, successor;
  uintptr_t adr;
  on_system(2);
  open_shm(&s, SIZE, 0);
  assert_whole(&s, SIZE);
  assert_ok(umemShm_unlink(name));
  open_shm(&successor, SIZE, UMEM_SHM_CREATE);
  faults_fail(FAULT_fcntl, 2, ENOLCK); /* to unlock: gives the lock up */
  assert_ok(umem_try_alloc(&s, 1, &adr));
  assert_fails(&s, umem_try_alloc(&s, 1, &adr), umemNotSupportedError,
               "/proc is not mounted and its name is gone");
  assert_whole(&successor, SIZE);
  assert_ok(umem_dtor(&successor));
  assert_ok(umem_dtor(&s));
}

static void without_proc(void) {
  if (is_under_valgrind() || /* which needs /proc itself */
      unshare(CLONE_NEWNS) ||
      mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
      umount2("/proc", MNT_DETACH))
    exit(SKIPPED);
  umemShm s;
  assert_usable(0);
  if (umemShm_ctor(&s, NULL, SIZE, 0) == umemOK) /* of the privileged */
    assert_whole(&s, SIZE);
  else
    assert_slot(&s, umemNotSupportedError, "/proc");
  assert_ok(umem_dtor(&s));
  end_in_child(0); /* a leak checker would need /proc */
}

static void name__works_where_proc_is_not_mounted(void **state) {
  (void)state;
  int result = in_child(without_proc);
  if (result == SKIPPED) {
    print_message("/proc stays: valgrind, or no right to unmount\n");
    skip();
  }
  assert_int_equal(result, 0);
}

/* --- memory that may not be executed -------------------------------------- */

enum { NOEXEC_SEAL = 8 };

static unsigned refused_flags, wanted_flags;
static int refusal;

static int choosy_memfd(char const *text, unsigned flags) {
  if (flags & refused_flags || (flags & wanted_flags) != wanted_flags)
    return errno = refusal, -1;
  return faults_real.memfd_create(text, flags & ~(unsigned)NOEXEC_SEAL);
}

static void nameless__is_created_whichever_flags_the_system_takes(void **s) {
  (void)s;
  static struct {
    unsigned refused, wanted;
    int refusal;
  } const systems[] = {{NOEXEC_SEAL, 0, EINVAL}, /* before Linux 6.3 */
                       {NOEXEC_SEAL, 0, EPERM},  /* a filter */
                       {0, NOEXEC_SEAL, EACCES}, /* vm.memfd_noexec=2 */
                       {0, 0, 0}};
  for (size_t i = 0; i < sizeof systems / sizeof *systems; i++) {
    umemShm shm;
    refused_flags = systems[i].refused;
    wanted_flags = systems[i].wanted;
    refusal = systems[i].refusal;
    umemi_os.memfd_create = choosy_memfd;
    assert_ok(umemShm_ctor(&shm, NULL, SIZE, 0));
    assert_whole(&shm, SIZE);
    assert_ok(umem_dtor(&shm));
  }
  refused_flags = 2; /* which all need, and no other way */
  faults_fail_from(FAULT_open, 1, EACCES);
  assert_shm_fails(umemShm_ctor(s, NULL, SIZE, 0), umemIOError, "memfd_create");
}

/* --- standard streams ----------------------------------------------------- */

/* In a process that was started without them. */
static void without_streams(void) {
  umemShm named, attached, nameless, peer;
  close(STDIN_FILENO);
  close(STDOUT_FILENO);
  close(STDERR_FILENO);
  for (unsigned system = 0; system < SYSTEMS; system++) {
    on_system(system & ~2u); /* with /proc, or none is nameless */
    if (umemShm_ctor(&named, name, SIZE, UMEM_SHM_CREATE) != umemOK ||
        umemShm_ctor(&attached, name, 0, UMEM_SHM_ATTACH) != umemOK ||
        umemShm_ctor(&nameless, NULL, SIZE, 0) != umemOK ||
        umemShm_ctor_fd(&peer, umemShm_get_fd(&nameless)) != umemOK)
      end_in_child(1);
    umemShm const *const all[] = {&named, &attached, &nameless, &peer};
    for (size_t i = 0; i < 4; i++)
      if (!umem_alloc(all[i], 1) || umemShm_get_fd(all[i]) <= STDERR_FILENO)
        end_in_child(2);
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
      if (fcntl(fd, F_GETFD) != -1)
        end_in_child(3);
    umem_dtor(&peer);
    umem_dtor(&nameless);
    umem_dtor(&attached);
    if (umem_dtor(&named) != umemOK)
      end_in_child(4);
  }
  end_in_child(0);
}

static void descriptors__leave_the_standard_streams_alone(void **state) {
  (void)state;
  assert_int_equal(in_child(without_streams), 0);
}

/* Others who have it can make it smaller then: copies say so. */
static void nameless__where_memfd_create_is_refused_is_unsealed(void **state) {
  (void)state;
  umemShm s;
  umemHost host;
  char byte;
  assert_ok(umemHost_ctor(&host));
  faults_fail_from(FAULT_memfd_create, 1, ENOSYS);
  assert_ok(umemShm_ctor(&s, NULL, SIZE, 0));
  assert_whole(&s, SIZE);
  uintptr_t adr = umem_alloc(&s, 1);
  assert_int_equal(ftruncate(umemShm_get_fd(&s), 0), 0);
  assert_status(umem_copy_to(&s, adr, &host, (uintptr_t)&byte, 1), umemIOError);
  assert_ok(umem_dtor(&s));
  assert_ok(umem_dtor(&host));
}

/* --- leftovers ------------------------------------------------------------ */

static void leave(size_t nbytes, unsigned char value, size_t at) {
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, (off_t)nbytes), 0);
  if (value)
    assert_int_equal(pwrite(fd, &value, 1, (off_t)at), 1);
  close(fd);
}

/* An empty file, and zeros as far as a creator had come. */
static void name__of_a_file_without_contents_is_made_a_segment(void **state) {
  (void)state;
  size_t const sizes[] = {0,
                          1,
                          4096,
                          65536,
                          umemi_segment_total(SIZE),
                          umemi_segment_total(8 * SIZE)};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (unsigned system = 0; system < SYSTEMS; system++) {
      on_system(system);
      leave(sizes[i], 0, 0);
      assert_usable(0);
      assert_false(file_exists(path));
      leave(sizes[i], 0, 0);
      assert_usable(UMEM_SHM_CREATE);
      assert_false(file_exists(path));
    }
}

static void name__of_a_large_file_without_contents_is_not_read(void **state) {
  (void)state;
  leave((size_t)64 << 20, 0, 0);
  faults_clear();
  assert_usable(0);
  assert_in_range(faults_count(FAULT_pread), 1, 100);
}

/* Another program's file, however late its first byte comes. */
static void name__of_a_file_with_contents_is_left_alone(void **state) {
  (void)state;
  size_t const at[] = {8, 4095, 100000, 199999};
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    unsigned char found = 0;
    leave(200000, 7, at[i]);
    assert_shm_fails(umemShm_ctor(s, name, SIZE, UMEM_SHM_CREATE), umemIOError,
                     "EEXIST");
    if (i == 0)
      assert_shm_fails(umemShm_ctor(s, name, SIZE, 0), umemValueError,
                       "not complete (yet)");
    assert_int_equal(file_size(path), 200000);
    file_get(path, at[i], &found, 1);
    assert_int_equal(found, 7);
    assert_int_equal(unlink(path), 0);
  }
}

static void attach__to_a_file_without_contents_leaves_it(void **state) {
  (void)state;
  leave(0, 0, 0);
  assert_shm_fails(umemShm_ctor(s, name, SIZE, UMEM_SHM_ATTACH), umemValueError,
                   "not complete (yet); if its creator was "
                   "killed, create it anew");
  assert_int_equal(file_size(path), 0);
  assert_usable(0);
}

/* A creator that lives has the lock of a file that is empty yet. */
static void create_slowly(void) {
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  struct umemiSegment s;
  umemError error;
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  char self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  int lock_fd = open(self, O_RDWR | O_CLOEXEC);
  assert_int_equal(fcntl(lock_fd, F_OFD_SETLKW, &lock), 0);
  sleep_milliseconds(200);
  umemi_segment_begin(&s, fd);
  assert_status(umemi_segment_create(&s, 2 * SIZE, &error), umemOK);
  end_in_child(0);
}

static void creator__that_is_at_work_is_waited_for(void **state) {
  (void)state;
  umemShm s;
  int status;
  fflush(NULL);
  pid_t creator = fork();
  if (creator == 0)
    create_slowly();
  while (!file_exists(path))
    sleep_milliseconds(1);
  sleep_milliseconds(50);
  open_shm(&s, 2 * SIZE, 0); /* of the creator's size */
  assert_whole(&s, 2 * SIZE);
  assert_int_equal(waitpid(creator, &status, 0), creator);
  assert_int_equal(status, 0);
  assert_ok(umem_dtor(&s));
  assert_ok(umemShm_unlink(name));
}

/* --- kills ---------------------------------------------------------------- */

/* Right before or after the k-th system call that a process makes. */
static unsigned kill_at;
static bool kill_after;

static void kill_before(void) {
  if (--kill_at == 0 && !kill_after)
    raise(SIGKILL);
}

static void kill_then(void) {
  if (kill_at == 0)
    raise(SIGKILL);
}

#define KILLED_CALL(call, parameters, arguments)                               \
  static int killed_##call parameters {                                        \
    kill_before();                                                             \
    int result = faults_real.call arguments;                                   \
    kill_then();                                                               \
    return result;                                                             \
  }

KILLED_CALL(fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
KILLED_CALL(fchmod, (int fd, mode_t mode), (fd, mode))
KILLED_CALL(fstat, (int fd, struct stat *st), (fd, st))
KILLED_CALL(lstat, (char const *file, struct stat *st), (file, st))
KILLED_CALL(unlinkat, (int dir, char const *file, int flags),
            (dir, file, flags))

static ssize_t killed_pwrite(int fd, void const *in, size_t n, off_t at) {
  kill_before();
  ssize_t result = pwrite(fd, in, n, at);
  kill_then();
  return result;
}

static int killed_open(char const *file, int flags, ...) {
  kill_before();
  int result = refusing_open(file, flags, 0600);
  kill_then();
  return result;
}

static int killed_linkat(int from, char const *old, int to, char const *new,
                         int flags) {
  kill_before();
  int result = refusing_linkat(from, old, to, new, flags);
  kill_then();
  return result;
}

static int killed_fcntl(int fd, int command, ...) {
  va_list more;
  va_start(more, command);
  void *argument = va_arg(more, void *);
  va_end(more);
  kill_before();
  int value = fcntl(fd, command, argument);
  kill_then();
  return value;
}

static void die_in_ctor(void) {
  umemShm s;
  umemi_os = faults_real;
  umemi_os.fallocate = killed_fallocate;
  umemi_os.fchmod = killed_fchmod;
  umemi_os.fstat = killed_fstat;
  umemi_os.lstat = killed_lstat;
  umemi_os.unlinkat = killed_unlinkat;
  umemi_os.pwrite = killed_pwrite;
  umemi_os.open = killed_open;
  umemi_os.linkat = killed_linkat;
  umemi_os.open_by_handle_at = refusing_open_by_handle_at;
  umemi_os.fcntl = killed_fcntl;
  umemShm_ctor(&s, name, SIZE, UMEM_SHM_KEEP);
  end_in_child(42);
}

/* False: the constructor ended before the call that kills. */
static bool kill_a_creator(unsigned at, bool after) {
  int status;
  kill_at = at;
  kill_after = after;
  fflush(NULL);
  pid_t creator = fork();
  if (creator == 0)
    die_in_ctor();
  assert_int_equal(waitpid(creator, &status, 0), creator);
  return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* With what the one before has left, and without. */
static void kills__of_creators_leave_names_that_can_be_had(void **state) {
  (void)state;
  unsigned kills = 0, left = 0;
  for (unsigned system = 0; system < SYSTEMS; system++)
    for (int after = 0; after < 2; after++)
      for (unsigned k = 1; kill_a_creator(k, after); k++) {
        bool is_named = file_exists(path);
        kills++;
        left += is_named;
        on_system(system);
        if (k % 3 == 0) /* one more creator, and one more kill */
          kill_a_creator(1 + k / 2, after);
        assert_usable(0);
        umemShm_unlink(name);
      }
  umemShm_unlink(name);
  print_message("kills of creators: %u, names left %u\n", kills, left);
  assert_true(kills > 100 && left > 0);
}

/* Where files can be made without a name a name is a segment's. */
static void kills__of_creators_leave_no_name_or_a_whole_segment(void **state) {
  (void)state;
  unsigned none = 0, whole = 0;
  on_system(0);
  for (int after = 0; after < 2; after++)
    for (unsigned k = 1; kill_a_creator(k, after); k++) {
      umemShm s;
      umemStatusType attached = umemShm_ctor(&s, name, SIZE, UMEM_SHM_ATTACH);
      if (attached != umemOK)
        assert_has(umem_get_message(&s), "ENOENT");
      else
        assert_whole(&s, SIZE);
      none += attached != umemOK;
      whole += attached == umemOK;
      assert_ok(umem_dtor(&s));
      umemShm_unlink(name);
    }
  assert_ok(umemShm_unlink(name)); /* of the one that was not killed */
  assert_true(none > 10 && whole > 0);
}

/* --- races ---------------------------------------------------------------- */

/* Creates or attaches, and leaves; every name is removed by whoever made it. */
static void come_and_go(void) {
  for (size_t i = 0; i < scaled(300, 30); i++) {
    umemShm s;
    umemStatusType status = umemShm_ctor(&s, name, SIZE, 0);
    if (status != umemOK) {
      print_error("%s\n", umem_get_message(&s));
      end_in_child(1);
    }
    uintptr_t adr = umem_alloc(&s, 100);
    if (!adr || umem_free(&s, adr) != umemOK || umem_dtor(&s) != umemOK)
      end_in_child(2);
  }
  end_in_child(0);
}

static void races__of_creators_end_well_on_all_systems(void **state) {
  (void)state;
  for (unsigned system = 0; system < SYSTEMS; system++) {
    pid_t pids[4];
    on_system(system);
    fflush(NULL);
    for (size_t i = 0; i < 4; i++)
      if ((pids[i] = fork()) == 0) {
        alarm(60);
        come_and_go();
      }
    for (size_t i = 0; i < 4; i++) {
      int status;
      assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
      if (status != 0)
        fail_msg("system %u: status 0x%x", system, (unsigned)status);
    }
    assert_false(file_exists(path));
  }
}

/* Two processes step by step: the child, which wants to have the name for a
   segment of its own, goes as far as it can between the parent's look at the
   name and its removal. */
struct steps {
  atomic_bool child_may_start, child_has_stopped, child_may_go_on;
};
static struct steps *steps; /* shared */

static void step_wait(atomic_bool const *step) {
  while (!*step)
    sleep_milliseconds(1);
}

/* Stops at the first lock that is refused. */
static int stepping_fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  int failed = fcntl(fd, command, argument);
  if (failed && command == F_OFD_SETLK && !steps->child_has_stopped) {
    steps->child_has_stopped = true;
    step_wait(&steps->child_may_go_on);
    errno = EAGAIN;
  }
  return failed;
}

static void replace_in_steps(void) {
  umemShm s;
  umemi_os.fcntl = stepping_fcntl;
  step_wait(&steps->child_may_start);
  umemShm_unlink(name); /* or the parent removes it */
  umemStatusType status =
      umemShm_ctor(&s, name, 2 * SIZE, UMEM_SHM_CREATE | UMEM_SHM_KEEP);
  steps->child_has_stopped = true;
  end_in_child(status == umemOK ? 0 : 1);
}

static int stepping_unlinkat(int dir, char const *file, int flags) {
  steps->child_may_start = true;
  step_wait(&steps->child_has_stopped);
  return unlinkat(dir, file, flags);
}

static void assert_successor_stays(umemStatusType (*remove)(umemShm *s)) {
  umemShm s;
  int status;
  *steps = (struct steps){false, false, false};
  open_shm(&s, SIZE, UMEM_SHM_CREATE);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0)
    replace_in_steps();
  umemi_os.unlinkat = stepping_unlinkat;
  assert_ok(remove(&s));
  umemi_os.unlinkat = faults_real.unlinkat;
  steps->child_may_go_on = true;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  umem_dtor(&s);
  open_shm(&s, 2 * SIZE, UMEM_SHM_ATTACH);
  assert_ok(umem_dtor(&s));
  assert_ok(umemShm_unlink(name));
}

static umemStatusType remove_by_dtor(umemShm *s) {
  return umem_dtor(s);
}

static umemStatusType remove_by_unlink(umemShm *s) {
  (void)s;
  return umemShm_unlink(name);
}

static void name__of_a_successor_in_the_last_moment_is_left_alone(void **s) {
  (void)s;
  steps = mmap(NULL, sizeof *steps, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(steps != MAP_FAILED);
  assert_successor_stays(remove_by_dtor);
  assert_successor_stays(remove_by_unlink);
  munmap(steps, sizeof *steps);
}

/* As a process does that is stopped meanwhile. */
static void name__is_removed_though_another_keeps_it_locked(void **state) {
  (void)state;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  umemShm s;
  open_shm(&s, SIZE, 0);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
  assert_ok(umem_dtor(&s));
  assert_false(file_exists(path));
  close(fd);
}

static void unlink__removes_what_is_no_segment(void **state) {
  (void)state;
  leave(100, 'x', 0);
  assert_int_equal(chmod(path, 0), 0);
  assert_ok(umemShm_unlink(name));
  assert_int_equal(symlink("/nowhere", path), 0);
  assert_ok(umemShm_unlink(name));
  assert_int_equal(mkfifo(path, 0600), 0);
  assert_ok(umemShm_unlink(name));
  assert_false(file_exists(path));
}

int main(void) {
  struct CMUnitTest const tests[] = {
      name_test(name__is_created_on_systems_that_refuse_ways),
      name_test(name__of_a_segment_without_room_is_not_left),
      name_test(nameless__without_proc_is_not_supported),
      name_test(nameless__without_proc_is_had_by_the_privileged),
      name_test(lock__by_a_name_that_changed_hands_is_not_taken),
      name_test(name__works_where_proc_is_not_mounted),
      name_test(nameless__is_created_whichever_flags_the_system_takes),
      name_test(descriptors__leave_the_standard_streams_alone),
      name_test(name__of_a_file_without_contents_is_made_a_segment),
      name_test(nameless__where_memfd_create_is_refused_is_unsealed),
      name_test(name__of_a_large_file_without_contents_is_not_read),
      name_test(name__of_a_file_with_contents_is_left_alone),
      name_test(attach__to_a_file_without_contents_leaves_it),
      name_test(creator__that_is_at_work_is_waited_for),
      name_test(kills__of_creators_leave_names_that_can_be_had),
      name_test(kills__of_creators_leave_no_name_or_a_whole_segment),
      name_test(races__of_creators_end_well_on_all_systems),
      name_test(name__of_a_successor_in_the_last_moment_is_left_alone),
      name_test(name__is_removed_though_another_keeps_it_locked),
      name_test(unlink__removes_what_is_no_segment),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
