/* SPDX-License-Identifier: BSD-3-Clause */
/* src/filerights.c: a file that replaces another keeps its rights, or has
   less. */
#include "file_support.h"

#include <errno.h>
#include <sys/xattr.h>

#define ACL "system.posix_acl_access"
#define DEFAULT_ACL "system.posix_acl_default"

enum { STRANGER = 12345 };

/* There may be no /proc. */
static int open_without_proc(char const *path, int flags, ...) {
  if (strncmp(path, "/proc/", 6) != 0)
    return open(path, flags, 0666);
  errno = ENOENT;
  return -1;
}

static int stat_without_proc(char const *path, struct stat *st) {
  (void)path, (void)st;
  errno = ENOENT;
  return -1;
}

static int setup_without_proc(void **state) {
  int failed = faults_setup(state);
  umemi_os.open = open_without_proc;
  umemi_os.stat = stat_without_proc;
  return failed;
}

#define both_tests(test)                                                       \
  faulty_test(test), {                                                         \
#test "@no_proc", test, setup_without_proc, faults_teardown, NULL          \
  }

static struct stat replaced_with(char const *name, uint32_t permissions) {
  struct stat st;
  umemFile f;
  file_open_ex(
      &f, name, "w",
      (umemFileOptions){.flags = UMEM_FILE_ATOMIC, .permissions = permissions});
  assert_ok(write_text(&f, 0, "new"));
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "new");
  assert_int_equal(stat(name, &st), 0);
  return st;
}

static struct stat replaced(char const *name) {
  return replaced_with(name, 0);
}

/* --- owner, group, mode ----------------------------------------------------
 */

static void need_root(void) {
  if (geteuid() != 0)
    skip();
}

static char const *file_of(uid_t owner, gid_t group, mode_t mode) {
  char const *name = file_with("old");
  assert_int_equal(chown(name, owner, group), 0);
  assert_int_equal(chmod(name, mode), 0);
  return name;
}

static void owner__and_group_stay_where_they_can(void **state) {
  (void)state;
  static mode_t const modes[] = {0600, 0660, 0664, 0604, 0444, 01666, 02750};
  need_root();
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    struct stat st = replaced(file_of(STRANGER, STRANGER + 1, modes[i]));
    assert_int_equal(st.st_uid, STRANGER);
    assert_int_equal(st.st_gid, STRANGER + 1);
    assert_int_equal(st.st_mode & 07777, modes[i]);
  }
}

/* chown() of others is refused: of the owner, or also of the group. */
static bool refuses_groups;

static int refusing_fchown(int fd, uid_t owner, gid_t group) {
  if (owner == (uid_t)-1 && !refuses_groups)
    return fchown(fd, owner, group);
  errno = EPERM;
  return -1;
}

struct narrowed {
  mode_t old, new;
};

static void group__that_cannot_be_kept_loses_its_rights(void **state) {
  (void)state;
  static struct narrowed const cases[] = {
      {0600, 0600}, {0660, 0600},  {0640, 0600},  {0644, 0644},
      {0664, 0644}, {0604, 0600},  {0666, 0666},  {0620, 0600},
      {0645, 0644}, {02770, 0700}, {04755, 0755}, {01644, 01644}};
  need_root();
  umemi_os.fchown = refusing_fchown;
  refuses_groups = true;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct stat st = replaced(file_of(STRANGER, STRANGER + 1, cases[i].old));
    assert_int_equal(st.st_uid, geteuid());
    assert_int_equal(st.st_gid, getegid());
    assert_int_equal(st.st_mode & 07777, cases[i].new);
  }
}

static void owner__that_cannot_be_kept_leaves_the_group(void **state) {
  (void)state;
  need_root();
  umemi_os.fchown = refusing_fchown;
  refuses_groups = false;
  struct stat st = replaced(file_of(STRANGER, STRANGER + 1, 06770));
  assert_int_equal(st.st_uid, geteuid());
  assert_int_equal(st.st_gid, STRANGER + 1);
  assert_int_equal(st.st_mode & 07777, 02770); /* and not another's setuid */
}

/* The old owner is one of the group or of the others by now. */
static void owner__that_is_lost_gets_no_right_that_he_had_not(void **state) {
  (void)state;
  static struct narrowed const cases[] = {
      {0066, 0000}, {0466, 0444}, {0664, 0664}, {0467, 0444}, {0660, 0660}};
  need_root();
  umemi_os.fchown = refusing_fchown;
  refuses_groups = false;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct stat st = replaced(file_of(STRANGER, STRANGER + 1, cases[i].old));
    assert_int_equal(st.st_mode & 07777, cases[i].new);
  }
}

/* --- rights that change while the new file is written -----------------------
 */

static void replace_begin(umemFile *f, char const *name) {
  file_open_ex(f, name, "w", (umemFileOptions){.flags = UMEM_FILE_ATOMIC});
  assert_ok(write_text(f, 0, "new"));
}

static mode_t replace_end(umemFile *f, char const *name) {
  struct stat st;
  if (umem_dtor(f) != umemOK)
    fail_msg("%s", umem_get_message(f));
  assert_file_is(name, "new");
  assert_int_equal(stat(name, &st), 0);
  return st.st_mode & 07777;
}

static void meanwhile__rights_are_taken_and_not_given(void **state) {
  (void)state;
  static mode_t const cases[][3] = {{0644, 0600, 0600}, {0600, 0644, 0600},
                                    {0664, 0604, 0604}, {0755, 0711, 0711},
                                    {0640, 0604, 0600}, {0644, 0644, 0644}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char const *name = file_of(geteuid(), getegid(), cases[i][0]);
    umemFile f;
    replace_begin(&f, name);
    assert_int_equal(chmod(name, cases[i][1]), 0);
    assert_int_equal(replace_end(&f, name), cases[i][2]);
  }
}

static void meanwhile__name_that_appears_has_rights(void **state) {
  (void)state;
  char const *name = new_path();
  umemFile f;
  mode_t mask = umask(022);
  replace_begin(&f, name);
  umask(mask);
  file_put(name, "secret", 6);
  assert_int_equal(chmod(name, 0600), 0);
  assert_int_equal(replace_end(&f, name), 0600);
}

static void meanwhile__permissions_that_are_asked_for_stay(void **state) {
  (void)state;
  char const *name = file_of(geteuid(), getegid(), 0644);
  umemFile f;
  mode_t mask = umask(022);
  file_open_ex(
      &f, name, "w",
      (umemFileOptions){.flags = UMEM_FILE_ATOMIC, .permissions = 0644});
  umask(mask);
  assert_ok(write_text(&f, 0, "new"));
  assert_int_equal(chmod(name, 0600), 0);
  assert_int_equal(replace_end(&f, name), 0644);
}

static void meanwhile__name_that_cannot_be_looked_at_is_told(void **state) {
  (void)state;
  char const *name = file_of(geteuid(), getegid(), 0644);
  umemFile f;
  replace_begin(&f, name);
  faults_clear();
  faults_fail(FAULT_openat, 1, EMFILE);
  assert_fails(&f, umem_dtor(&f), umemIOError, "EMFILE (24)");
  assert_file_is(name, "old");
}

static void permissions__that_are_asked_for_are_given(void **state) {
  (void)state;
  mode_t mask = umask(022);
  struct stat st = replaced_with(file_of(geteuid(), getegid(), 0600), 0664);
  umask(mask);
  assert_int_equal(st.st_mode & 07777, 0644);
}

static void
new_file__is_its_owners_alone_until_it_has_the_rights(void **state) {
  (void)state;
  struct stat st;
  umemFile f;
  char const *name = file_of(geteuid(), getegid(), 0666);
  faults_fail(FAULT_fchmod, 1, EPERM);
  umemFileOptions options = {.size = sizeof options, .flags = UMEM_FILE_ATOMIC};
  assert_fails(&f, umemFile_ctor_ex(&f, name, "w", &options), umemIOError,
               "give the rights of the old file");
  assert_ok(umem_dtor(&f));
  assert_file_is(name, "old");
  assert_int_equal(stat(name, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0666);
}

/* A file system whose files all have one mode. */
static int fixed_fchmod(int fd, mode_t mode) {
  assert_int_equal(fchmod(fd, mode), 0);
  errno = EPERM;
  return -1;
}

static void mode__that_is_right_need_not_be_set(void **state) {
  (void)state;
  umemi_os.fchmod = fixed_fchmod;
  struct stat st = replaced(file_of(geteuid(), getegid(), 0640));
  assert_int_equal(st.st_mode & 07777, 0640);
}

static void mode__that_forbids_writing_goes_with_DIRECT(void **state) {
  (void)state;
  char const *name = file_of(geteuid(), getegid(), 0400);
  umemFileOptions options = {.size = sizeof options,
                             .flags = UMEM_FILE_ATOMIC | UMEM_FILE_DIRECT};
  umemFile f;
  umemStatusType status = umemFile_ctor_ex(&f, name, "w", &options);
  assert_true(status == umemOK || status == umemNotSupportedError);
  assert_ok(umem_dtor(&f));
}

/* --- access lists --------------------------------------------------------- */

struct acl_entry {
  uint16_t tag, permissions;
  uint32_t id;
};

/* As the kernel has them: linux/posix_acl_xattr.h, in the order of a
   little-endian machine. */
struct acl {
  uint32_t version;
  struct acl_entry entries[5];
};

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, MASK = 16, OTHER = 32 };

/* user::rw- user:STRANGER:rw- group::--- mask::rw- other::--- */
static struct acl const shared_acl = {2,
                                      {{USER_OBJ, 6, UINT32_MAX},
                                       {USER, 6, STRANGER},
                                       {GROUP_OBJ, 0, UINT32_MAX},
                                       {MASK, 6, UINT32_MAX},
                                       {OTHER, 0, UINT32_MAX}}};

static void put_acl(char const *path, char const *name) {
  if (setxattr(path, name, &shared_acl, sizeof shared_acl, 0) == 0)
    return;
  print_message("skipped: no access lists here\n");
  skip();
}

static bool has_acl(char const *path) {
  struct acl found;
  return getxattr(path, ACL, &found, sizeof found) == sizeof found &&
         memcmp(&found, &shared_acl, sizeof found) == 0;
}

static void acl__stays(void **state) {
  (void)state;
  char const *name = file_of(geteuid(), getegid(), 0600);
  put_acl(name, ACL);
  struct stat st = replaced(name);
  assert_true(has_acl(name));
  assert_int_equal(st.st_mode & 07777, 0660);
}

static void acl__without_its_group_leaves_the_owner_alone(void **state) {
  (void)state;
  need_root();
  char const *name = file_of(geteuid(), STRANGER, 0604);
  put_acl(name, ACL);
  umemi_os.fchown = refusing_fchown;
  refuses_groups = true;
  struct stat st = replaced(name);
  assert_true(getxattr(name, ACL, NULL, 0) < 0);
  assert_int_equal(st.st_mode & 07777, 0600);
}

static void acl__that_changes_meanwhile_leaves_the_owner_alone(void **state) {
  (void)state;
  umemFile f;
  for (int had = 0; had < 2; had++) {
    char const *name = file_of(geteuid(), getegid(), 0664);
    if (had)
      put_acl(name, ACL);
    replace_begin(&f, name);
    if (had)
      assert_int_equal(removexattr(name, ACL), 0);
    else
      put_acl(name, ACL);
    assert_int_equal(replace_end(&f, name), 0600);
    assert_true(getxattr(name, ACL, NULL, 0) < 0);
  }
}

static void acl__that_cannot_be_set_leaves_the_owner_alone(void **state) {
  (void)state;
  char const *name = file_of(geteuid(), getegid(), 0600);
  put_acl(name, ACL);
  faults_fail_from(FAULT_fsetxattr, 1, ENOSPC);
  struct stat st = replaced(name);
  assert_int_equal(st.st_mode & 07777, 0600);
}

static void acl__that_cannot_be_read_leaves_the_owner_alone(void **state) {
  (void)state;
  char const *name = file_of(geteuid(), getegid(), 0664);
  faults_fail_from(FAULT_getxattr, 1, EIO);
  faults_fail_from(FAULT_fgetxattr, 1, EIO);
  struct stat st = replaced(name);
  assert_int_equal(st.st_mode & 07777, 0600);
}

static void acl__of_the_directory_does_not_open_the_file(void **state) {
  (void)state;
  char directory[300], name[400];
  snprintf(directory, sizeof directory, "%s", new_path());
  snprintf(name, sizeof name, "%s/file", directory);
  assert_int_equal(mkdir(directory, 0700), 0);
  file_put(name, "old", 3);
  assert_int_equal(chmod(name, 0660), 0);
  put_acl(directory, DEFAULT_ACL);
  struct stat st = replaced(name);
  assert_true(getxattr(name, ACL, NULL, 0) < 0);
  assert_int_equal(st.st_mode & 07777, 0660);
}

/* --- attributes ----------------------------------------------------------- */

static void put_attribute(char const *path, char const *name,
                          char const *value) {
  if (setxattr(path, name, value, strlen(value), 0) == 0)
    return;
  print_message("skipped: no attributes here\n");
  skip();
}

static void assert_attribute(char const *path, char const *name,
                             char const *value) {
  char found[32] = "";
  assert_int_equal(getxattr(path, name, found, sizeof found - 1),
                   strlen(value));
  assert_string_equal(found, value);
}

static void attributes__of_users_stay(void **state) {
  (void)state;
  char const *name = file_with("old");
  put_attribute(name, "user.first", "1");
  put_attribute(name, "user.empty", "");
  put_attribute(name, "user.second", "value");
  replaced(name);
  assert_attribute(name, "user.first", "1");
  assert_attribute(name, "user.empty", "");
  assert_attribute(name, "user.second", "value");
}

static void attributes__that_are_refused_are_left_out(void **state) {
  (void)state;
  char const *name = file_with("old");
  put_attribute(name, "user.first", "1");
  put_attribute(name, "user.second", "2");
  faults_fail(FAULT_fsetxattr, 1, ENOSPC);
  replaced(name);
  assert_int_equal(listxattr(name, NULL, 0), sizeof "user.second");
}

/* That grows between the question for its size and the one for its value. */
static unsigned reads;

static ssize_t growing_getxattr(char const *path, char const *name, void *out,
                                size_t size) {
  if (size > 0 && reads++ == 0) {
    errno = ERANGE;
    return -1;
  }
  return getxattr(path, name, out, size);
}

static void attributes__that_grow_meanwhile_are_read_again(void **state) {
  (void)state;
  char const *name = file_with("old");
  put_attribute(name, "user.first", "value");
  reads = 0;
  umemi_os.getxattr = growing_getxattr;
  replaced(name);
  assert_attribute(name, "user.first", "value");
}

static void attributes__without_memory_are_told(void **state) {
  (void)state;
  char const *name = file_with("old");
  umemFileOptions options = {.size = sizeof options, .flags = UMEM_FILE_ATOMIC};
  put_attribute(name, "user.first", "1");
  unsigned refused = 0;
  for (unsigned k = 1; k < 20; k++) {
    umemFile f;
    faults_clear();
    faults_fail(FAULT_malloc, k, ENOMEM);
    umemStatusType status = umemFile_ctor_ex(&f, name, "w", &options);
    faults_clear();
    refused += status == umemMemoryError;
    if (status == umemOK)
      assert_ok(umem_discard(&f));
    else
      assert_status(status, umemMemoryError);
    assert_ok(umem_dtor(&f));
  }
  assert_true(refused >= 3);
  assert_file_is(name, "old");
}

int main(void) {
  struct CMUnitTest const tests[] = {
      both_tests(owner__and_group_stay_where_they_can),
      both_tests(group__that_cannot_be_kept_loses_its_rights),
      both_tests(owner__that_cannot_be_kept_leaves_the_group),
      both_tests(owner__that_is_lost_gets_no_right_that_he_had_not),
      both_tests(meanwhile__rights_are_taken_and_not_given),
      both_tests(meanwhile__name_that_appears_has_rights),
      both_tests(meanwhile__permissions_that_are_asked_for_stay),
      both_tests(meanwhile__name_that_cannot_be_looked_at_is_told),
      both_tests(permissions__that_are_asked_for_are_given),
      both_tests(new_file__is_its_owners_alone_until_it_has_the_rights),
      both_tests(mode__that_is_right_need_not_be_set),
      both_tests(mode__that_forbids_writing_goes_with_DIRECT),
      both_tests(acl__stays),
      both_tests(acl__without_its_group_leaves_the_owner_alone),
      both_tests(acl__that_changes_meanwhile_leaves_the_owner_alone),
      both_tests(acl__that_cannot_be_set_leaves_the_owner_alone),
      both_tests(acl__that_cannot_be_read_leaves_the_owner_alone),
      both_tests(acl__of_the_directory_does_not_open_the_file),
      both_tests(attributes__of_users_stay),
      both_tests(attributes__that_are_refused_are_left_out),
      faulty_test(attributes__that_grow_meanwhile_are_read_again),
      both_tests(attributes__without_memory_are_told),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
