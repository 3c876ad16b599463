/* SPDX-License-Identifier: BSD-3-Clause */
/* src/fileopen.c: modes, options, what may be opened, publishing. */
#include "file_support.h"

#include <errno.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/un.h>

static mode_t permissions_of(char const *name) {
  struct stat st;
  assert_int_equal(stat(name, &st), 0);
  return st.st_mode & 07777;
}

/* --- modes ---------------------------------------------------------------- */

struct mode_case {
  char const *mode;
  bool readable, writable, creates, empties, keeps;
};

static struct mode_case const modes[] = {
    {"r", true, false, false, false, false},
    {"rb", true, false, false, false, false},
    {"r+", true, true, false, false, false},
    {"rb+", true, true, false, false, false},
    {"r+b", true, true, false, false, false},
    {"w", false, true, true, true, false},
    {"wb", false, true, true, true, false},
    {"w+", true, true, true, true, false},
    {"wb+", true, true, true, true, false},
    {"w+b", true, true, true, true, false},
    {"a", false, true, true, false, true},
    {"ab", false, true, true, false, true},
    {"a+", true, true, true, false, true},
    {"ab+", true, true, true, false, true},
    {"a+b", true, true, true, false, true},
};

enum { MODES = sizeof modes / sizeof *modes };

static umemStatusType if_allowed(bool allowed) {
  return allowed ? umemOK : umemValueError;
}

static void mode__says_what_may_be_done_with_a_file(void **state) {
  (void)state;
  for (size_t i = 0; i < MODES; i++) {
    struct mode_case const *m = &modes[i];
    char const *name = file_with("sample");
    char byte;
    umemFile f;
    file_open(&f, name, m->mode);
    assert_file_is(name, m->empties ? "" : "sample");
    assert_status(write_text(&f, 0, "S"), if_allowed(m->writable && !m->keeps));
    assert_status(write_text(&f, 6, "s"), if_allowed(m->writable));
    assert_status(read_bytes(&f, 6, &byte, m->writable),
                  if_allowed(m->readable));
    assert_ok(umem_dtor(&f));
  }
}

static void mode__says_whether_a_missing_file_is_created(void **state) {
  (void)state;
  for (size_t i = 0; i < MODES; i++) {
    char const *name = new_path();
    umemFile f;
    umemStatusType status = umemFile_ctor(&f, name, modes[i].mode);
    assert_status(status, modes[i].creates ? umemOK : umemIOError);
    if (!modes[i].creates)
      assert_slot(&f, umemIOError, "ENOENT (2)");
    assert_int_equal(file_exists(name), modes[i].creates);
    assert_ok(umem_dtor(&f));
  }
}

static void mode__anything_else_is_a_ValueError(void **state) {
  (void)state;
  static char const *const wrong[] = {
      "x",    "b",    "br", "+r", "R",   "rw",   "r w",
      " r",   "r ",   "rr", "rt", "r++", "rbb",  "r+bb",
      "rb+b", "r+b+", "wx", "ae", "w+x", "\xff", "r\n"};
  char const *name = file_with("sample");
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    umemFile f;
    assert_ctor_fails(&f, umemFile_ctor(&f, name, wrong[i]), umemValueError,
                      "mode must be one of r r+ w w+ a a+");
    assert_file_is(name, "sample");
  }
}

static void ctor__fixed_texts_are_the_whole_message(void **state) {
  (void)state;
  umemFile f;
  assert_status(umemFile_ctor(&f, "", "r"), umemValueError);
  assert_string_equal(umem_get_message(&f), "invalid 0-length filename");
  assert_ok(umem_dtor(&f));
  assert_status(umemFile_ctor(&f, "name", ""), umemValueError);
  assert_string_equal(umem_get_message(&f), "invalid 0-length mode");
  assert_ok(umem_dtor(&f));
  assert_ctor_fails(&f, umemFile_ctor(&f, NULL, "r"), umemValueError,
                    "filename is NULL");
  assert_ctor_fails(&f, umemFile_ctor(&f, "name", NULL), umemValueError,
                    "mode is NULL");
  assert_ctor_fails(&f, umemFile_ctor_ex(&f, "name", NULL, NULL),
                    umemValueError, "mode NULL");
  assert_status(umemFile_ctor(NULL, "name", "r"), umemValueError);
}

/* --- options -------------------------------------------------------------- */

struct option_case {
  char const *mode;
  uint32_t flags, permissions;
  char const *fault;
};

static void options__bad_combinations_are_named(void **state) {
  (void)state;
  enum {
    N = UMEM_FILE_NOFOLLOW,
    E = UMEM_FILE_EXCL,
    T = UMEM_FILE_TAKE_FD,
    A = UMEM_FILE_ATOMIC
  };
  static struct option_case const cases[] = {
      {"w", 1u << 6, 0, "flags has unknown bits"},
      {"w", 1u << 31, 0, "flags has unknown bits"},
      {"w", 0, 01000, "permissions has bits outside 0777"},
      {"w", 0, UINT32_MAX, "permissions has bits outside 0777"},
      {"r", E, 0, "EXCL goes with modes that create"},
      {"r+", E, 0, "EXCL goes with modes that create"},
      {"r", A, 0, "ATOMIC goes with modes w and w+"},
      {"r+", A, 0, "ATOMIC goes with modes w and w+"},
      {"a", A, 0, "ATOMIC goes with modes w and w+"},
      {"a+", A, 0, "ATOMIC goes with modes w and w+"},
      {"w", T | A, 0, "TAKE_FD goes with DIRECT and NO_LOCK only"},
      {"w", T | E, 0, "TAKE_FD goes with DIRECT and NO_LOCK only"},
      {"w", T | N, 0, "TAKE_FD goes with DIRECT and NO_LOCK only"},
  };
  char const *name = file_with("sample");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    umemFileOptions options = {.size = sizeof options,
                               .flags = cases[i].flags,
                               .permissions = cases[i].permissions};
    umemFile f;
    assert_ctor_fails(&f, umemFile_ctor_ex(&f, name, cases[i].mode, &options),
                      umemValueError, cases[i].fault);
    assert_file_is(name, "sample");
  }
}

static void options__size_says_what_the_caller_knew(void **state) {
  (void)state;
  struct {
    umemFileOptions options;
    char later[8];
  } longer = {.options = {.size = sizeof longer}};
  umemFileOptions options = {.size = 3};
  char const *name = file_with("sample");
  umemFile f;
  assert_ctor_fails(&f, umemFile_ctor_ex(&f, name, "r", &options),
                    umemValueError, "size member is 3");
  options = (umemFileOptions){.size = sizeof options.size, .flags = ~0u};
  assert_ok(umemFile_ctor_ex(&f, name, "r", &options));
  assert_ok(umem_dtor(&f));
  assert_ok(umemFile_ctor_ex(&f, name, "r", &longer.options));
  assert_ok(umem_dtor(&f));
  longer.later[7] = 1;
  assert_ctor_fails(&f, umemFile_ctor_ex(&f, name, "r", &longer.options),
                    umemNotSupportedError, "of the struct is set");
  assert_ok(umemFile_ctor_ex(&f, name, "r", NULL));
  assert_ok(umem_dtor(&f));
}

static void options__EXCL_wants_a_new_file(void **state) {
  (void)state;
  static char const *const creating[] = {"w", "w+", "a", "a+"};
  for (size_t i = 0; i < 4; i++) {
    char const *name = new_path();
    umemFile f;
    assert_ok(open_flagged(&f, name, creating[i], UMEM_FILE_EXCL));
    assert_ok(write_text(&f, 0, "sample"));
    assert_ok(umem_dtor(&f));
    assert_ctor_fails(&f, open_flagged(&f, name, creating[i], UMEM_FILE_EXCL),
                      umemIOError, "EEXIST (17)");
    assert_file_is(name, "sample");
  }
}

static void options__NOFOLLOW_refuses_a_link_as_the_last_part(void **state) {
  (void)state;
  char const *name = file_with("sample"), *link = new_path();
  umemFile f;
  assert_int_equal(symlink(name, link), 0);
  for (size_t i = 0; i < MODES; i++)
    assert_ctor_fails(&f,
                      open_flagged(&f, link, modes[i].mode, UMEM_FILE_NOFOLLOW),
                      umemIOError, "ELOOP (40)");
  assert_ctor_fails(
      &f, open_flagged(&f, link, "w", UMEM_FILE_NOFOLLOW | UMEM_FILE_ATOMIC),
      umemIOError, "ELOOP (40)");
  assert_file_is(name, "sample");
  assert_ok(open_flagged(&f, name, "r", UMEM_FILE_NOFOLLOW));
  assert_ok(umem_dtor(&f));
  assert_ok(open_flagged(&f, name, "w", UMEM_FILE_NOFOLLOW | UMEM_FILE_ATOMIC));
  assert_ok(umem_dtor(&f));
  assert_ok(open_flagged(&f, link, "r", 0));
  assert_ok(umem_dtor(&f));
}

static void options__permissions_of_a_new_file_are_masked(void **state) {
  (void)state;
  static struct {
    uint32_t flags, permissions;
    mode_t mask, expected;
  } const cases[] = {
      {0, 0, 022, 0644},
      {0, 0, 0, 0666},
      {0, 0600, 0, 0600},
      {0, 0777, 027, 0750},
      {UMEM_FILE_ATOMIC, 0, 022, 0644},
      {UMEM_FILE_ATOMIC, 0640, 0, 0640},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char const *name = new_path();
    umemFile f;
    mode_t mask = umask(cases[i].mask);
    file_open_ex(&f, name, "w",
                 (umemFileOptions){.flags = cases[i].flags,
                                   .permissions = cases[i].permissions});
    umask(mask);
    assert_ok(umem_dtor(&f));
    assert_int_equal(permissions_of(name), cases[i].expected);
  }
}

static void options__permissions_of_an_existing_file_stay(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile f;
  assert_int_equal(chmod(name, 0604), 0);
  file_open_ex(&f, name, "w", (umemFileOptions){.permissions = 0777});
  assert_ok(umem_dtor(&f));
  assert_int_equal(permissions_of(name), 0604);
}

/* O_DIRECT opens of the constructor; the rest goes to the faults. */
static int direct_errno;

static int direct_open(char const *path, int flags, ...) {
  if (!(flags & O_DIRECT))
    return open(path, flags, 0666);
  if (direct_errno) {
    errno = direct_errno;
    return -1;
  }
  return open(path, flags & ~O_DIRECT);
}

static void options__DIRECT_needs_a_file_system_that_has_it(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile f;
  umemi_os.open = direct_open;
  direct_errno = EINVAL;
  assert_ctor_fails(&f, open_flagged(&f, name, "w", UMEM_FILE_DIRECT),
                    umemNotSupportedError, "this file system has no O_DIRECT");
  direct_errno = EMFILE;
  assert_ctor_fails(&f, open_flagged(&f, name, "w", UMEM_FILE_DIRECT),
                    umemIOError, "EMFILE (24)");
  assert_file_is(name, "sample");
  direct_errno = 0;
  assert_ok(open_flagged(&f, name, "w+", UMEM_FILE_DIRECT));
  assert_ok(write_text(&f, 3, "simple"));
  assert_ok(umem_dtor(&f));
  assert_int_equal(file_size(name), 9);
}

/* --- kinds of file -------------------------------------------------------- */

static void kind__what_is_no_file_is_refused_in_every_mode(void **state) {
  (void)state;
  char const *directory = new_path(), *fifo = new_path(), *link = new_path();
  assert_int_equal(mkdir(directory, 0700), 0);
  assert_int_equal(mkfifo(fifo, 0600), 0);
  assert_int_equal(symlink(directory, link), 0);
  struct {
    char const *name, *reason;
  } const kinds[] = {{directory, "EISDIR (21)"},   {temp_dir(), "EISDIR (21)"},
                     {link, "EISDIR (21)"},        {fifo, "ESPIPE (29)"},
                     {"/dev/null", "ESPIPE (29)"}, {"/dev/tty", "ESPIPE (29)"}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    for (size_t m = 0; m < MODES; m++) {
      umemFile f;
      assert_ctor_fails(&f, umemFile_ctor(&f, kinds[i].name, modes[m].mode),
                        umemIOError, kinds[i].reason);
    }
  umemFile f;
  assert_ctor_fails(&f, open_flagged(&f, directory, "w", UMEM_FILE_ATOMIC),
                    umemIOError, "EISDIR (21)");
  assert_ctor_fails(&f, open_flagged(&f, fifo, "w", UMEM_FILE_ATOMIC),
                    umemIOError, "ESPIPE (29)");
  assert_int_equal(rmdir(directory), 0);
}

static void kind__socket_is_refused(void **state) {
  (void)state;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char const *name = new_path();
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  umemFile f;
  assert_true(strlen(name) < sizeof address.sun_path);
  strcpy(address.sun_path, name);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_ctor_fails(&f, umemFile_ctor(&f, name, "r+"), umemIOError,
                    "ESPIPE (29)");
  close(fd);
}

/* fstatat() sees a file; by the time of open() it is a FIFO. */
static int deceived_fstatat(int dir, char const *path, struct stat *st,
                            int flags) {
  int result = fstatat(dir, path, st, flags);
  st->st_mode = S_IFREG | 0600;
  return result;
}

static void kind__what_became_a_FIFO_meanwhile_does_not_hang(void **state) {
  (void)state;
  char const *fifo = new_path();
  umemFile f;
  assert_int_equal(mkfifo(fifo, 0600), 0);
  umemi_os.fstatat = deceived_fstatat;
  assert_ctor_fails(&f, umemFile_ctor(&f, fifo, "r"), umemIOError,
                    "ESPIPE (29)");
  assert_ctor_fails(&f, umemFile_ctor(&f, fifo, "w"), umemIOError, "ENXIO (6)");
  assert_true(file_exists(fifo));
}

static void kind__names_that_lead_nowhere(void **state) {
  (void)state;
  char const *file = file_with("sample");
  char below[600], too_long[300];
  umemFile f;
  snprintf(below, sizeof below, "%s/below", file);
  memset(too_long, 'x', sizeof too_long - 1);
  too_long[sizeof too_long - 1] = '\0';
  for (uint32_t flags = 0; flags <= UMEM_FILE_ATOMIC;
       flags += UMEM_FILE_ATOMIC) {
    assert_ctor_fails(&f, open_flagged(&f, below, "w", flags), umemIOError,
                      "ENOTDIR (20)");
    assert_ctor_fails(&f, open_flagged(&f, "/none/such", "w", flags),
                      umemIOError, "ENOENT (2)");
    assert_ctor_fails(&f, open_flagged(&f, temp_path(too_long), "w", flags),
                      umemIOError, "ENAMETOOLONG (36)");
  }
}

static void kind__new_name_with_a_slash_behind_it_is_refused(void **state) {
  (void)state;
  char name[600];
  umemFile f;
  snprintf(name, sizeof name, "%s/", new_path());
  assert_status(open_flagged(&f, name, "w", 0), umemIOError);
  assert_ok(umem_dtor(&f));
  assert_status(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC), umemIOError);
  assert_ok(umem_dtor(&f));
}

static void kind__dangling_link_is_followed_or_missing(void **state) {
  (void)state;
  char const *target = new_path(), *link = new_path();
  umemFile f;
  assert_int_equal(symlink(target, link), 0);
  assert_ctor_fails(&f, umemFile_ctor(&f, link, "r"), umemIOError,
                    "ENOENT (2)");
  assert_ctor_fails(&f, open_flagged(&f, link, "w", UMEM_FILE_EXCL),
                    umemIOError, "EEXIST (17)");
  file_open(&f, link, "w");
  assert_ok(write_text(&f, 0, "sample"));
  assert_ok(umem_dtor(&f));
  assert_file_is(target, "sample");
}

/* --- what a failed constructor leaves ------------------------------------- */

/* Each system call of a constructor fails in turn. */
static void check_failing_ctors(char const *name, char const *mode,
                                uint32_t flags) {
  bool existed = file_exists(name);
  for (int call = FAULT_FIRST_SYSTEM_CALL; call < FAULT_CALL_COUNT; call++)
    for (unsigned k = 1; k <= 4; k++) {
      umemFile f;
      faults_clear();
      faults_fail((enum fault_call)call, k, EIO);
      umemStatusType status = open_flagged(&f, name, mode, flags);
      faults_clear();
      if (status == umemOK) {
        assert_ok(umem_discard(&f));
        assert_ok(umem_dtor(&f));
        continue;
      }
      assert_slot(&f, umemIOError, "EIO (5)");
      assert_ok(umem_dtor(&f));
      assert_int_equal(file_exists(name), existed);
      if (existed)
        assert_file_is(name, "sample");
    }
}

static void ctor__that_fails_leaves_everything_as_it_was(void **state) {
  (void)state;
  char const *existing = file_with("sample"), *missing = new_path();
  int names = names_in(temp_dir());
  check_failing_ctors(existing, "w", UMEM_FILE_ATOMIC);
  check_failing_ctors(missing, "w", UMEM_FILE_ATOMIC);
  assert_int_equal(names_in(temp_dir()), names);
}

static void ctor__that_fails_removes_the_file_that_it_created(void **state) {
  (void)state;
  static enum fault_call const calls[] = {FAULT_openat, FAULT_fstat};
  for (size_t i = 0; i < 2; i++) {
    char const *name = new_path();
    umemFile f;
    faults_clear();
    faults_fail(calls[i], 1, EIO);
    assert_status(umemFile_ctor(&f, name, "w"), umemIOError);
    assert_false(file_exists(name));
    assert_ok(umem_dtor(&f));
  }
}

/* What happens to the file between its creation and the failure. */
static void (*meanwhile)(void);
static char const *created_name;
static umemFile other_context;

static int failing_fstat(int fd, struct stat *st) {
  if (meanwhile) {
    void (*happens)(void) = meanwhile;
    meanwhile = NULL;
    happens();
    errno = EIO;
    return -1;
  }
  return fstat(fd, st);
}

static void file_is_opened(void) {
  file_open(&other_context, created_name, "r+");
}

static void name_becomes_anothers(void) {
  assert_int_equal(unlink(created_name), 0);
  file_put(created_name, "", 0);
}

static void check_created_is_left(void (*happens)(void)) {
  umemFile f;
  created_name = new_path();
  meanwhile = happens;
  umemi_os.fstat = failing_fstat;
  assert_ctor_fails(&f, umemFile_ctor(&f, created_name, "w"), umemIOError,
                    "fstat");
  assert_true(file_exists(created_name));
}

static void ctor__that_fails_leaves_what_others_have_by_now(void **state) {
  (void)state;
  check_created_is_left(name_becomes_anothers);
  check_created_is_left(file_is_opened);
  assert_ok(write_text(&other_context, 0, "theirs"));
  assert_ok(umem_dtor(&other_context));
  assert_file_is(created_name, "theirs");
}

static void ctor__that_fails_cannot_see_whose_the_name_is(void **state) {
  (void)state;
  umemFile f;
  char const *name = new_path();
  faults_fail(FAULT_fstat, 1, EIO);
  faults_fail(FAULT_fstatat, 2, EACCES);
  assert_ctor_fails(&f, umemFile_ctor(&f, name, "w"), umemIOError, "fstat");
  assert_true(file_exists(name));
}

static void ctor__w_empties_only_when_all_else_succeeded(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile f;
  faults_fail(FAULT_fstat, 1, EIO);
  assert_ctor_fails(&f, umemFile_ctor(&f, name, "w"), umemIOError, "fstat");
  assert_file_is(name, "sample");
  faults_fail(FAULT_ftruncate, 1, EIO);
  assert_ctor_fails(&f, umemFile_ctor(&f, name, "w"), umemIOError, "ftruncate");
  assert_file_is(name, "sample");
  faults_fail(FAULT_ftruncate, 1, EINTR);
  file_open(&f, name, "w");
  assert_file_is(name, "");
  assert_ok(umem_dtor(&f));
}

static void ctor__of_a_file_that_is_there_needs_one_descriptor(void **state) {
  (void)state;
  static char const *const modes[] = {"r", "r+"};
  char const *name = file_with("sample");
  struct rlimit before, least;
  umemFile f;
  for (size_t i = 0; i < 2; i++) {
    int next = dup(0);
    assert_int_equal(close(next), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    least = (struct rlimit){(rlim_t)next + 1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &least), 0);
    umemStatusType status = umemFile_ctor(&f, name, modes[i]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_status(status, umemOK);
    assert_ok(umem_dtor(&f));
  }
}

/* --- TAKE_FD -------------------------------------------------------------- */

static umemStatusType take(umemFile *f, int fd, char const *mode) {
  umemFileOptions options = {
      .size = sizeof options, .flags = UMEM_FILE_TAKE_FD, .fd = fd};
  return umemFile_ctor_ex(f, NULL, mode, &options);
}

static bool is_open(int fd) {
  return fcntl(fd, F_GETFD) >= 0;
}

static void take_fd__is_owned_once_constructed(void **state) {
  (void)state;
  char const *name = file_with("sample");
  int fd = open(name, O_RDWR);
  umemFile f;
  assert_int_equal(fcntl(fd, F_GETFD), 0);
  assert_ok(take(&f, fd, "r+"));
  assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
  assert_ok(write_text(&f, 0, "S"));
  assert_ok(umem_dtor(&f));
  assert_false(is_open(fd));
  assert_file_is(name, "Sample");
}

static void take_fd__stays_the_callers_after_a_failure(void **state) {
  (void)state;
  char const *name = file_with("sample");
  int fd = open(name, O_RDWR | O_CLOEXEC);
  umemFile f;
  faults_fail(FAULT_fcntl, 1, EBADF);
  assert_ctor_fails(&f, take(&f, fd, "w"), umemValueError, "EBADF (9)");
  assert_true(is_open(fd));
  faults_fail(FAULT_fstat, 1, EIO);
  assert_ctor_fails(&f, take(&f, fd, "w"), umemIOError, "fstat");
  assert_true(is_open(fd));
  faults_fail(FAULT_ftruncate, 1, EIO);
  assert_ctor_fails(&f, take(&f, fd, "w"), umemIOError, "ftruncate");
  assert_true(is_open(fd));
  assert_file_is(name, "sample");
  faults_fail(FAULT_fcntl, 2, EIO);
  assert_ctor_fails(&f, take(&f, fd, "r+"), umemIOError, "FD_CLOEXEC");
  assert_true(is_open(fd));
  assert_file_is(name, "sample");
  assert_ok(take(&f, fd, "w"));
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "");
}

static void take_fd__must_be_open_for_what_the_mode_asks(void **state) {
  (void)state;
  static struct {
    int flags;
    char const *mode;
    bool good;
    char const *reason; /* NULL: the usual one */
  } const cases[] = {
      {O_RDONLY, "r", true, NULL},
      {O_RDONLY, "r+", false, NULL},
      {O_RDONLY, "w", false, NULL},
      {O_RDONLY, "a", false, NULL},
      {O_WRONLY, "w", true, NULL},
      {O_WRONLY, "a", true, NULL},
      {O_WRONLY, "r", false, NULL},
      {O_WRONLY, "w+", false, NULL},
      {O_RDWR, "r", true, NULL},
      {O_RDWR, "w", true, NULL},
      {O_RDWR, "a+", true, NULL},
      {O_RDWR | O_APPEND, "a", false, "O_APPEND, which moves"},
      {O_WRONLY | O_APPEND, "w", false, "O_APPEND, which moves"},
      {O_RDWR | O_DIRECT, "r+", false, "use UMEM_FILE_DIRECT"},
      {O_PATH, "r", false, NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int fd = open(file_with("sample"), cases[i].flags | O_CLOEXEC);
    umemFile f;
    if (cases[i].good)
      assert_ok(take(&f, fd, cases[i].mode));
    else
      assert_ctor_fails(&f, take(&f, fd, cases[i].mode), umemValueError,
                        cases[i].reason ? cases[i].reason
                                        : "not open for what the mode asks");
    assert_ok(umem_dtor(&f));
    assert_int_equal(is_open(fd), !cases[i].good);
    if (!cases[i].good)
      close(fd);
  }
}

static void take_fd__must_be_a_file(void **state) {
  (void)state;
  int ends[2], directory = open(temp_dir(), O_RDONLY | O_CLOEXEC);
  umemFile f;
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  assert_ctor_fails(&f, take(&f, ends[0], "r"), umemIOError, "ESPIPE (29)");
  assert_ctor_fails(&f, take(&f, ends[1], "w"), umemIOError, "ESPIPE (29)");
  assert_ctor_fails(&f, take(&f, directory, "r"), umemIOError, "EISDIR (21)");
  close(ends[0]);
  close(ends[1]);
  close(directory);
  assert_ctor_fails(&f, take(&f, -1, "r"), umemValueError, "EBADF (9)");
  assert_ctor_fails(&f, take(&f, 1 << 20, "r"), umemValueError, "EBADF (9)");
}

static void take_fd__goes_with_DIRECT_and_a_name(void **state) {
  (void)state;
  umemFileOptions options = {.size = sizeof options,
                             .flags = UMEM_FILE_TAKE_FD | UMEM_FILE_DIRECT,
                             .fd = open(file_with("sample"), O_RDWR)};
  umemFile f;
  umemi_os.open = direct_open;
  direct_errno = EINVAL;
  assert_ctor_fails(&f, umemFile_ctor_ex(&f, "a name", "r", &options),
                    umemNotSupportedError, "\"a name\"");
  assert_true(is_open(options.fd));
  direct_errno = 0;
  assert_ok(umemFile_ctor_ex(&f, "a name", "r", &options));
  assert_fails(&f, write_text(&f, 0, "x"), umemValueError, "\"a name\"");
  assert_ok(umem_dtor(&f));
  assert_false(is_open(options.fd));
}

static void take_fd__without_a_name_is_called_a_descriptor(void **state) {
  (void)state;
  int fd = open(file_with("sample"), O_RDWR);
  umemFile f;
  char name[32];
  snprintf(name, sizeof name, "\"descriptor %d\"", fd);
  assert_ok(take(&f, fd, "r"));
  assert_fails(&f, write_text(&f, 0, "x"), umemValueError, name);
  assert_ok(umem_dtor(&f));
}

/* --- no descriptor survives exec() ---------------------------------------- */

static bool closes_on_exec(int fd) {
  char path[64], line[128];
  bool found = false;
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
  FILE *info = fopen(path, "r");
  assert_non_null(info);
  while (fgets(line, sizeof line, info)) {
    unsigned flags;
    if (sscanf(line, "flags: %o", &flags) == 1)
      found = flags & O_CLOEXEC;
  }
  fclose(info);
  return found;
}

static void check_cloexec(uint32_t flags, int descriptors) {
  bool before[64];
  int seen = 0;
  umemFile f;
  for (int fd = 0; fd < 64; fd++)
    before[fd] = is_open(fd);
  file_open_ex(&f, new_path(), "w", (umemFileOptions){.flags = flags});
  for (int fd = 0; fd < 64; fd++)
    if (is_open(fd) && !before[fd]) {
      assert_true(closes_on_exec(fd));
      seen++;
    }
  assert_int_equal(seen, descriptors);
  assert_ok(umem_dtor(&f));
}

static void descriptors__are_all_closed_on_exec(void **state) {
  (void)state;
  direct_errno = 0;
  check_cloexec(0, 2);
  check_cloexec(UMEM_FILE_ATOMIC, 3);
  umemi_os.open = direct_open;
  check_cloexec(UMEM_FILE_DIRECT, 3);
}

/* --- ATOMIC --------------------------------------------------------------- */

/* The temporary file has a name where there is no /proc, else none. Tests of
   both ways run twice. */
static int open_without_proc(char const *path, int flags, ...) {
  if (strncmp(path, "/proc/", 6) != 0)
    return open(path, flags, 0666);
  errno = ENOENT;
  return -1;
}

static int named_setup(void **state) {
  int failed = faults_setup(state);
  umemi_os.open = open_without_proc;
  return failed;
}

static bool has_name(void) {
  return umemi_os.open == open_without_proc;
}

#define named_test(test)                                                       \
  { #test "@named", test, named_setup, faults_teardown, NULL }

/* A directory of its own, so that each name in it can be counted. */
static char directory[256];

static char const *in_directory(char const *name) {
  static char paths[4][300];
  static unsigned turn;
  char *path = paths[turn++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

/* A File that is to replace "old" in a fresh directory. */
static char const *atomic_open(umemFile *f) {
  snprintf(directory, sizeof directory, "%s", new_path());
  assert_int_equal(mkdir(directory, 0700), 0);
  char const *name = in_directory("file");
  file_put(name, "old", 3);
  file_open_ex(f, name, "w+", (umemFileOptions){.flags = UMEM_FILE_ATOMIC});
  assert_int_equal(names_in(directory), has_name() ? 2 : 1);
  return name;
}

static void assert_only(char const *name, char const *text) {
  assert_file_is(name, text);
  assert_int_equal(names_in(directory), 1);
}

/* At the rights of the file that is replaced. */
#define LOOK "openat fstat stat fstat getxattr fgetxattr close "

static void atomic__dtor_publishes_durably(void **state) {
  (void)state;
  umemFile f;
  char const *name = atomic_open(&f);
  char text[3];
  assert_ok(write_text(&f, 0, "new"));
  assert_ok(read_bytes(&f, 0, text, 3));
  assert_memory_equal(text, "new", 3);
  assert_file_is(name, "old");
  faults_clear();
  assert_ok(umem_dtor(&f));
  assert_only(name, "new");
  assert_string_equal(faults_trace(),
                      has_name() ? "fsync " LOOK "renameat fsync close close"
                                 : "fsync linkat " LOOK
                                   "renameat fsync fsync close close close");
}

static void atomic__EXCL_never_replaces_what_appeared_meanwhile(void **state) {
  (void)state;
  umemFile f;
  snprintf(directory, sizeof directory, "%s", new_path());
  assert_int_equal(mkdir(directory, 0700), 0);
  char const *name = in_directory("file");
  assert_ok(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC | UMEM_FILE_EXCL));
  assert_ok(write_text(&f, 0, "new"));
  file_put(name, "another's", 9);
  assert_status(umem_dtor(&f), umemIOError);
  assert_has(umem_get_message(&f), "EEXIST (17)");
  assert_only(name, "another's");
}

static void atomic__new_name_appears_at_dtor(void **state) {
  (void)state;
  char const *name = new_path();
  umemFile f;
  assert_ok(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC | UMEM_FILE_EXCL));
  assert_ok(write_text(&f, 0, "new"));
  assert_false(file_exists(name));
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "new");
  assert_ctor_fails(
      &f, open_flagged(&f, name, "w", UMEM_FILE_ATOMIC | UMEM_FILE_EXCL),
      umemIOError, "EEXIST (17)");
  assert_file_is(name, "new");
}

static void atomic__flush_makes_durable_and_publishes_nothing(void **state) {
  (void)state;
  umemFile f;
  char const *name = atomic_open(&f);
  assert_ok(write_text(&f, 0, "new"));
  faults_clear();
  assert_ok(umem_flush(&f));
  assert_string_equal(faults_trace(), "fdatasync");
  assert_file_is(name, "old");
  assert_ok(umem_dtor(&f));
  assert_only(name, "new");
}

static void atomic__discard_leaves_the_old_file(void **state) {
  (void)state;
  umemFile f;
  char const *name = atomic_open(&f);
  assert_ok(write_text(&f, 0, "new"));
  assert_ok(umem_discard(&f));
  assert_only(name, "old");
  assert_ok(umem_discard(&f));
  assert_ok(write_text(&f, 0, "lost"));
  assert_ok(umem_dtor(&f));
  assert_only(name, "old");
}

static void atomic__discard_after_a_failure_is_a_clean_end(void **state) {
  (void)state;
  umemFile f;
  char const *name = atomic_open(&f);
  assert_fails(&f, read_bytes(&f, 0, directory, 1), umemIOError, "ends there");
  assert_ok(umem_discard(&f));
  assert_ok(umem_dtor(&f));
  assert_only(name, "old");
}

static void atomic__after_a_failed_call_nothing_is_published(void **state) {
  (void)state;
  umemFile f;
  char const *name = atomic_open(&f);
  assert_ok(write_text(&f, 0, "new"));
  faults_fail(FAULT_pwrite, 1, ENOSPC);
  assert_fails(&f, write_text(&f, 3, "er"), umemIOError, "ENOSPC (28)");
  assert_true(umem_is_ok(&f)); /* a status that was cleaned is no pardon */
  assert_status(umem_dtor(&f), umemIOError);
  assert_has(umem_get_message(&f), "not published, because calls");
  assert_only(name, "old");
}

static void atomic__keeps_the_permissions_of_the_replaced_file(void **state) {
  (void)state;
  umemFile f;
  char const *name = file_with("old");
  assert_int_equal(chmod(name, 0751), 0);
  assert_ok(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC));
  assert_ok(umem_dtor(&f));
  assert_int_equal(permissions_of(name), 0751);
  file_open_ex(
      &f, name, "w",
      (umemFileOptions){.flags = UMEM_FILE_ATOMIC, .permissions = 0600});
  assert_ok(umem_dtor(&f));
  assert_int_equal(permissions_of(name), 0600);
}

static int unchanging_fchmod(int fd, mode_t mode) {
  (void)fd, (void)mode;
  return 0;
}

static void
atomic__temporary_file_is_never_more_open_than_the_old(void **state) {
  (void)state;
  struct dirent *entry;
  struct stat st;
  umemFile f;
  char const *name = atomic_open(&f);
  assert_ok(umem_dtor(&f));
  assert_int_equal(chmod(name, 0600), 0);
  mode_t mask = umask(0);
  umemi_os.fchmod = unchanging_fchmod; /* what counts is how it is created */
  assert_ok(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC));
  umask(mask);
  DIR *list = opendir(directory);
  while ((entry = readdir(list)))
    if (strstr(entry->d_name, ".tmp")) {
      assert_int_equal(fstatat(dirfd(list), entry->d_name, &st, 0), 0);
      assert_int_equal(st.st_mode & 07777, 0600);
    }
  closedir(list);
  assert_ok(umem_dtor(&f));
}

static void atomic__replaces_the_target_of_a_link(void **state) {
  (void)state;
  char const *name = file_with("old"), *link = new_path();
  struct stat st;
  umemFile f;
  assert_int_equal(symlink(name, link), 0);
  assert_ok(open_flagged(&f, link, "w", UMEM_FILE_ATOMIC));
  assert_ok(write_text(&f, 0, "new"));
  assert_ok(umem_dtor(&f));
  assert_int_equal(lstat(link, &st), 0);
  assert_true(S_ISLNK(st.st_mode));
  assert_file_is(name, "new");
}

static void atomic__creates_the_target_of_a_dangling_link(void **state) {
  (void)state;
  char const *name = new_path(), *link = new_path();
  struct stat st;
  umemFile f;
  assert_int_equal(symlink(name, link), 0);
  if (open_flagged(&f, link, "w", UMEM_FILE_ATOMIC) == umemOK)
    assert_ok(write_text(&f, 0, "new"));
  umem_dtor(&f);
  assert_int_equal(lstat(link, &st), 0);
  assert_true(S_ISLNK(st.st_mode)); /* followed or refused, never replaced */
}

static void atomic__relative_name_is_kept_across_a_chdir(void **state) {
  (void)state;
  char here[512];
  umemFile f, other;
  assert_non_null(getcwd(here, sizeof here));
  assert_int_equal(chdir(temp_dir()), 0);
  file_put("relative", "old", 3);
  assert_ok(open_flagged(&f, "relative", "w", UMEM_FILE_ATOMIC));
  assert_ok(open_flagged(&other, "relative-new", "w", UMEM_FILE_ATOMIC));
  assert_int_equal(chdir(here), 0);
  assert_ok(write_text(&f, 0, "new"));
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&other));
  assert_file_is(temp_path("relative"), "new");
  assert_file_is(temp_path("relative-new"), "");
}

static void atomic__name_in_the_root_directory(void **state) {
  (void)state;
  char name[64];
  umemFile f;
  snprintf(name, sizeof name, "/umem-test-%ld", (long)getpid());
  if (open_flagged(&f, name, "w", UMEM_FILE_ATOMIC) == umemOK)
    assert_ok(umem_discard(&f));
  else
    assert_has(umem_get_message(&f), "create a temporary file for");
  assert_ok(umem_dtor(&f));
  assert_false(file_exists(name));
}

static void atomic__long_names_leave_room_for_the_temporary_one(void **state) {
  (void)state;
  char longest[256];
  umemFile f;
  memset(longest, 'x', 255);
  longest[255] = '\0';
  assert_ok(open_flagged(&f, temp_path(longest), "w", UMEM_FILE_ATOMIC));
  assert_ok(write_text(&f, 0, "new"));
  assert_ok(umem_dtor(&f));
  assert_file_is(temp_path(longest), "new");
}

static void
atomic__two_at_once_have_temporary_files_of_their_own(void **state) {
  (void)state;
  umemFile one, two;
  char const *name = atomic_open(&one);
  assert_ok(open_flagged(&two, name, "w", UMEM_FILE_ATOMIC));
  assert_int_equal(names_in(directory), has_name() ? 3 : 1);
  assert_ok(write_text(&one, 0, "one"));
  assert_ok(write_text(&two, 0, "two"));
  assert_ok(umem_dtor(&one));
  assert_file_is(name, "one");
  assert_ok(umem_dtor(&two));
  assert_only(name, "two");
}

static void atomic__names_that_are_all_taken(void **state) {
  (void)state;
  enum { BEFORE = 3 /* of the directory, twice, and the old file */ };
  umemFile f;
  faults_fail_from(FAULT_openat, BEFORE + 1, EEXIST);
  assert_ctor_fails(&f, open_flagged(&f, new_path(), "w", UMEM_FILE_ATOMIC),
                    umemIOError, "create a temporary file for");
  assert_int_equal(faults_count(FAULT_openat), BEFORE + 100);
  faults_fail(FAULT_openat, BEFORE + 1, EACCES);
  assert_ctor_fails(&f, open_flagged(&f, new_path(), "w", UMEM_FILE_ATOMIC),
                    umemIOError, "EACCES (13)");
  assert_int_equal(faults_count(FAULT_openat), 2 * BEFORE + 101);
}

static void atomic__names_that_are_all_taken_at_the_end(void **state) {
  (void)state;
  umemFile f;
  char const *name = atomic_open(&f);
  faults_fail_from(FAULT_linkat, 1, EEXIST);
  assert_status(umem_dtor(&f), umemIOError);
  assert_slot(&f, umemIOError, "EEXIST (17)");
  assert_int_equal(faults_count(FAULT_linkat), 100);
  assert_only(name, "old");
}

static void atomic__constructor_that_cannot_dress_its_file(void **state) {
  (void)state;
  umemFile f;
  char const *name = atomic_open(&f);
  assert_ok(umem_discard(&f));
  assert_ok(umem_dtor(&f));
  faults_fail(FAULT_fchmod, 1, EPERM);
  assert_ctor_fails(&f, open_flagged(&f, name, "w", UMEM_FILE_ATOMIC),
                    umemIOError, "EPERM (1)");
  faults_fail(FAULT_openat, 1, EACCES);
  assert_ctor_fails(&f, open_flagged(&f, name, "w", UMEM_FILE_ATOMIC),
                    umemIOError, "EACCES (13)");
  assert_only(name, "old");
}

/* Each system call on the way fails once. */
struct publish_case {
  enum fault_call call;
  unsigned k;
  int error;
  umemStatusType status;
  char const *reason, *found;
};

static void check_publish(struct publish_case const *cases, size_t count) {
  for (size_t i = 0; i < count; i++) {
    umemFile f;
    char const *name = atomic_open(&f);
    assert_ok(write_text(&f, 0, "new"));
    faults_clear();
    faults_fail(cases[i].call, cases[i].k, cases[i].error);
    assert_status(umem_dtor(&f), cases[i].status);
    faults_clear();
    assert_has(umem_get_message(&f), cases[i].reason);
    assert_only(name, cases[i].found);
    assert_ok(umem_dtor(&f));
  }
}

/* A file without a name is synced twice, and linked before it is renamed. */
static void atomic__each_failure_while_publishing(void **state) {
  (void)state;
  unsigned const last = has_name() ? 2 : 3;
  struct publish_case const cases[] = {
      {FAULT_fsync, 1, EIO, umemIOError, "EIO (5)", "old"},
      {FAULT_fsync, 1, ENOSPC, umemIOError, "ENOSPC (28)", "old"},
      {FAULT_linkat, 1, EACCES, has_name() ? umemOK : umemIOError,
       has_name() ? "" : "EACCES (13)", has_name() ? "new" : "old"},
      {FAULT_renameat, 1, EACCES, umemIOError, "EACCES (13)", "old"},
      {FAULT_renameat, 1, EXDEV, umemIOError, "EXDEV (18)", "old"},
      {FAULT_fsync, last, EIO, umemIOError, "fsync the directory of", "new"},
      {FAULT_fsync, last, EINVAL, umemOK, "", "new"},
      {FAULT_fsync, last - 1, EIO, umemIOError, "fsync the temporary file of",
       has_name() ? "old" : "new"},
      {FAULT_close, 1, EIO, umemOK, "", "new"},
      {FAULT_close, 2, EIO, umemIOError, "close", "new"},
      {FAULT_close, 2, EINTR, umemOK, "", "new"},
      {FAULT_close, 3, EIO, umemOK, "", "new"},
      {FAULT_close, 4, EIO, umemOK, "", "new"},
  };
  check_publish(cases, sizeof cases / sizeof *cases);
}

/* fs.protected_hardlinks, to a process that has another user by now. */
static int protected_linkat(int from, char const *old, int to, char const *new,
                            int flags) {
  if (!flags)
    return linkat(from, old, to, new, flags);
  errno = EPERM;
  return -1;
}

static void atomic__file_that_may_not_be_linked_is_copied(void **state) {
  (void)state;
  static uint32_t const flags[] = {0, UMEM_FILE_EXCL};
  umemi_os.linkat = protected_linkat;
  for (size_t i = 0; i < 2; i++) {
    umemFile f;
    char first = 0;
    snprintf(directory, sizeof directory, "%s", new_path());
    assert_int_equal(mkdir(directory, 0700), 0);
    char const *name = in_directory("file");
    if (!flags[i])
      file_put(name, "old", 3);
    assert_ok(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC | flags[i]));
    assert_ok(write_text(&f, (uintptr_t)1 << 20, "new"));
    assert_ok(umem_dtor(&f));
    assert_int_equal(file_size(name), (1 << 20) + 3);
    file_get(name, (1 << 20) + 2, &first, 1);
    assert_int_equal(first, 'w');
    assert_int_equal(names_in(directory), 1);
  }
}

static void atomic__copy_that_fails_leaves_the_old_file(void **state) {
  (void)state;
  static struct publish_case const cases[] = {
      {FAULT_ftruncate, 1, ENOSPC, umemIOError, "ENOSPC (28)", "old"},
      {FAULT_pwrite, 1, EIO, umemIOError, "EIO (5)", "old"},
      {FAULT_pread, 1, EIO, umemIOError, "EIO (5)", "old"},
      {FAULT_fsync, 2, EIO, umemIOError, "EIO (5)", "old"},
      {FAULT_openat, 1, EMFILE, umemIOError, "EMFILE (24)", "old"},
      {FAULT_renameat, 1, EPERM, umemIOError, "EPERM (1)", "old"},
      {FAULT_malloc, 1, ENOMEM, umemMemoryError, "ENOMEM (12)", "old"},
  };
  umemi_os.linkat = protected_linkat;
  check_publish(cases, sizeof cases / sizeof *cases);
}

/* Another user, in a directory that all may write in. */
static void publish_as_another_user(void) {
  umemFile f;
  char const *name = in_directory("file");
  assert_ok(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC));
  assert_ok(write_text(&f, 0, "new"));
  assert_int_equal(setresgid(65534, 65534, 65534), 0);
  assert_int_equal(setresuid(65534, 65534, 65534), 0);
  assert_ok(umem_dtor(&f));
}

static void atomic__is_published_after_setuid(void **state) {
  (void)state;
  struct stat st;
  if (geteuid() != 0)
    skip();
  snprintf(directory, sizeof directory, "%s", new_path());
  assert_int_equal(mkdir(directory, 0700), 0);
  assert_int_equal(chmod(directory, 0777), 0);
  char const *name = in_directory("file");
  file_put(name, "old", 3);
  assert_int_equal(chmod(name, 0640), 0);
  assert_child_succeeds(publish_as_another_user);
  assert_only(name, "new");
  assert_int_equal(stat(name, &st), 0);
  assert_int_equal(st.st_mode & 07777, has_name() ? 0640 : 0600);
}

static void atomic__discard_that_cannot_remove_is_told(void **state) {
  (void)state;
  umemFile f;
  char const *name = atomic_open(&f);
  faults_fail(FAULT_unlinkat, 1, EIO);
  assert_fails(&f, umem_discard(&f), umemIOError, "EIO (5)");
  assert_ok(umem_dtor(&f)); /* which tried once more */
  assert_only(name, "old");
  name = atomic_open(&f);
  faults_fail(FAULT_unlinkat, 1, ENOENT); /* as if another had removed it */
  assert_ok(umem_discard(&f));
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "old");
}

static void discard__is_for_ATOMIC_files(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile f;
  file_open(&f, name, "r+");
  assert_fails(&f, umem_discard(&f), umemValueError,
               "not opened with UMEM_FILE_ATOMIC");
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "sample");
}

static umemFile inherited;

static void child_destroys(void) {
  assert_ok(write_text(&inherited, 0, "new"));
  assert_ok(umem_dtor(&inherited));
}

static void child_discards(void) {
  assert_ok(umem_discard(&inherited));
  assert_ok(umem_dtor(&inherited));
}

static void child_fails_and_destroys(void) {
  char byte;
  assert_status(read_bytes(&inherited, 99, &byte, 1), umemIOError);
  assert_status(umem_dtor(&inherited), umemIOError);
}

static void atomic__forked_child_publishes_and_removes_nothing(void **state) {
  (void)state;
  char const *name = atomic_open(&inherited);
  assert_child_succeeds(child_destroys);
  assert_child_succeeds(child_discards);
  assert_child_succeeds(child_fails_and_destroys);
  assert_file_is(name, "old");
  assert_int_equal(names_in(directory), has_name() ? 2 : 1);
  assert_ok(umem_dtor(&inherited));
  assert_only(name, "new");
}

static void atomic__the_first_failure_of_dtor_is_told(void **state) {
  (void)state;
  umemFile f;
  char const *name = atomic_open(&f);
  faults_fail(FAULT_fsync, 1, EDQUOT);
  faults_fail(FAULT_close, 1, EIO);
  assert_status(umem_dtor(&f), umemIOError);
  assert_slot(&f, umemIOError, "EDQUOT (122)");
  assert_only(name, "old");
}

/* --- close ---------------------------------------------------------------- */

static void close__failure_is_reported_by_dtor(void **state) {
  (void)state;
  char const *name = new_path();
  umemFile f;
  file_open(&f, name, "w");
  assert_ok(write_text(&f, 0, "sample"));
  faults_fail(FAULT_close, 1, EDQUOT);
  assert_status(umem_dtor(&f), umemIOError);
  assert_slot(&f, umemIOError, "EDQUOT (122)");
  file_open(&f, name, "w");
  faults_fail(FAULT_close, 1, EINTR);
  assert_ok(umem_dtor(&f)); /* it is closed nevertheless: close(2) */
}

static void close__of_either_descriptor_is_reported(void **state) {
  (void)state;
  umemi_os.open = direct_open;
  direct_errno = 0;
  for (unsigned k = 1; k <= 2; k++) {
    umemFile f;
    assert_ok(open_flagged(&f, file_with("sample"), "r", UMEM_FILE_DIRECT));
    faults_fail(FAULT_close, k, EIO);
    assert_status(umem_dtor(&f), umemIOError);
    assert_slot(&f, umemIOError, "EIO (5)");
  }
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(mode__says_what_may_be_done_with_a_file),
      faulty_test(mode__says_whether_a_missing_file_is_created),
      faulty_test(mode__anything_else_is_a_ValueError),
      faulty_test(ctor__fixed_texts_are_the_whole_message),
      faulty_test(options__bad_combinations_are_named),
      faulty_test(options__size_says_what_the_caller_knew),
      faulty_test(options__EXCL_wants_a_new_file),
      faulty_test(options__NOFOLLOW_refuses_a_link_as_the_last_part),
      faulty_test(options__permissions_of_a_new_file_are_masked),
      faulty_test(options__permissions_of_an_existing_file_stay),
      faulty_test(options__DIRECT_needs_a_file_system_that_has_it),
      faulty_test(kind__what_is_no_file_is_refused_in_every_mode),
      faulty_test(kind__socket_is_refused),
      faulty_test(kind__what_became_a_FIFO_meanwhile_does_not_hang),
      faulty_test(kind__names_that_lead_nowhere),
      faulty_test(kind__new_name_with_a_slash_behind_it_is_refused),
      faulty_test(kind__dangling_link_is_followed_or_missing),
      faulty_test(ctor__that_fails_leaves_everything_as_it_was),
      named_test(ctor__that_fails_leaves_everything_as_it_was),
      faulty_test(ctor__that_fails_removes_the_file_that_it_created),
      faulty_test(ctor__that_fails_leaves_what_others_have_by_now),
      faulty_test(ctor__that_fails_cannot_see_whose_the_name_is),
      faulty_test(ctor__w_empties_only_when_all_else_succeeded),
      faulty_test(take_fd__is_owned_once_constructed),
      faulty_test(take_fd__stays_the_callers_after_a_failure),
      faulty_test(take_fd__must_be_open_for_what_the_mode_asks),
      faulty_test(take_fd__must_be_a_file),
      faulty_test(take_fd__goes_with_DIRECT_and_a_name),
      faulty_test(take_fd__without_a_name_is_called_a_descriptor),
      faulty_test(descriptors__are_all_closed_on_exec),
      faulty_test(atomic__dtor_publishes_durably),
      named_test(atomic__dtor_publishes_durably),
      faulty_test(atomic__EXCL_never_replaces_what_appeared_meanwhile),
      named_test(atomic__EXCL_never_replaces_what_appeared_meanwhile),
      faulty_test(atomic__new_name_appears_at_dtor),
      named_test(atomic__new_name_appears_at_dtor),
      faulty_test(atomic__flush_makes_durable_and_publishes_nothing),
      named_test(atomic__flush_makes_durable_and_publishes_nothing),
      faulty_test(atomic__discard_leaves_the_old_file),
      named_test(atomic__discard_leaves_the_old_file),
      faulty_test(atomic__discard_after_a_failure_is_a_clean_end),
      named_test(atomic__discard_after_a_failure_is_a_clean_end),
      faulty_test(atomic__after_a_failed_call_nothing_is_published),
      named_test(atomic__after_a_failed_call_nothing_is_published),
      faulty_test(atomic__keeps_the_permissions_of_the_replaced_file),
      named_test(atomic__keeps_the_permissions_of_the_replaced_file),
      named_test(atomic__temporary_file_is_never_more_open_than_the_old),
      faulty_test(atomic__replaces_the_target_of_a_link),
      named_test(atomic__replaces_the_target_of_a_link),
      faulty_test(atomic__creates_the_target_of_a_dangling_link),
      faulty_test(atomic__relative_name_is_kept_across_a_chdir),
      named_test(atomic__relative_name_is_kept_across_a_chdir),
      faulty_test(atomic__name_in_the_root_directory),
      faulty_test(atomic__long_names_leave_room_for_the_temporary_one),
      named_test(atomic__long_names_leave_room_for_the_temporary_one),
      faulty_test(atomic__two_at_once_have_temporary_files_of_their_own),
      named_test(atomic__two_at_once_have_temporary_files_of_their_own),
      named_test(atomic__names_that_are_all_taken),
      faulty_test(atomic__names_that_are_all_taken_at_the_end),
      faulty_test(atomic__constructor_that_cannot_dress_its_file),
      named_test(atomic__constructor_that_cannot_dress_its_file),
      faulty_test(atomic__each_failure_while_publishing),
      named_test(atomic__each_failure_while_publishing),
      named_test(atomic__discard_that_cannot_remove_is_told),
      faulty_test(discard__is_for_ATOMIC_files),
      faulty_test(atomic__forked_child_publishes_and_removes_nothing),
      named_test(atomic__forked_child_publishes_and_removes_nothing),
      faulty_test(atomic__the_first_failure_of_dtor_is_told),
      named_test(atomic__the_first_failure_of_dtor_is_told),
      faulty_test(close__failure_is_reported_by_dtor),
      faulty_test(close__of_either_descriptor_is_reported),
      faulty_test(atomic__file_that_may_not_be_linked_is_copied),
      faulty_test(atomic__copy_that_fails_leaves_the_old_file),
      faulty_test(atomic__is_published_after_setuid),
      named_test(atomic__is_published_after_setuid),
      faulty_test(ctor__of_a_file_that_is_there_needs_one_descriptor),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
