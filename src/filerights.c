/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rights of a file that is replaced: owner, group, mode, access list, and
 * `user.*` attributes. The new file gets them, or fewer: nobody gets access
 * through a replacement.
 */
#include "internal.h"

#define RIGHTS_ACL "system.posix_acl_access"
#define RIGHTS_USER "user."

enum { RIGHTS_TRIES = 3 /* while an attribute grows */ };

struct rights {
  struct stat const *old;
  int new_fd;
  char path[32]; /* of the old file, in /proc */
  int old_fd;    /* the old file where there is no /proc; or -1 */
};

/* The old file need not be readable: its path in /proc is enough to read most
   attributes. */
static void rights_begin(struct rights *r, struct umemiPlace const *place,
                         int fd) {
  struct stat st;
  r->old_fd = -1;
  snprintf(r->path, sizeof r->path, "/proc/self/fd/%d", fd);
  if (umemi_os.stat(r->path, &st) == 0 && st.st_ino == r->old->st_ino &&
      st.st_dev == r->old->st_dev)
    return;
  r->old_fd = umemi_place_reopen(place, fd, r->old,
                                 O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* --- attributes ----------------------------------------------------------- */

/* Reads the value of an attribute; the names of all if `name` is NULL. */
static ssize_t rights_read(struct rights const *r, char const *name, void *out,
                           size_t size) {
  if (r->old_fd >= 0)
    return name ? umemi_os.fgetxattr(r->old_fd, name, out, size)
                : umemi_os.flistxattr(r->old_fd, out, size);
  return name ? umemi_os.getxattr(r->path, name, out, size)
              : umemi_os.listxattr(r->path, out, size);
}

/* Reads into new memory, with a trailing 0. The caller frees it. Returns NULL
   with errno on failure. */
static char *rights_fetch(struct rights const *r, char const *name,
                          size_t *size_out) {
  for (unsigned i = 0; i < RIGHTS_TRIES; i++) {
    ssize_t size = rights_read(r, name, NULL, 0);
    char *value = size < 0 ? NULL : umemi_os.malloc((size_t)size + 1);
    if (!value)
      return NULL;
    ssize_t got = size > 0 ? rights_read(r, name, value, (size_t)size) : 0;
    if (got >= 0) {
      value[got] = '\0';
      *size_out = (size_t)got;
      return value;
    }
    int failed = errno;
    free(value);
    errno = failed;
    if (failed != ERANGE)
      break;
  }
  return NULL;
}

/* Returns 0 or ENOMEM. Attributes that the file system refuses are left out. */
static int rights_copy_attribute(struct rights const *r, char const *name) {
  size_t size;
  char *value = rights_fetch(r, name, &size);
  if (!value)
    return errno == ENOMEM ? ENOMEM : 0;
  umemi_os.fsetxattr(r->new_fd, name, value, size, 0);
  free(value);
  return 0;
}

/* Copies the attributes of programs only. Those of the system belong to the old
   bytes, as file capabilities do. */
static int rights_copy_attributes(struct rights const *r) {
  size_t size;
  int failed = 0;
  char *names = rights_fetch(r, NULL, &size);
  if (!names)
    return errno == ENOMEM ? ENOMEM : 0;
  for (char *name = names; !failed && name < names + size;
       name += strlen(name) + 1)
    if (strncmp(name, RIGHTS_USER, sizeof RIGHTS_USER - 1) == 0)
      failed = rights_copy_attribute(r, name);
  free(names);
  return failed;
}

/* --- access --------------------------------------------------------------- */

static bool rights_has_none(int failed) {
  return failed == ENODATA || failed == EOPNOTSUPP;
}

/* Removes the access list that the new file may have from its directory. */
static int rights_remove_acl(struct rights const *r) {
  int failed = umemi_os.fremovexattr(r->new_fd, RIGHTS_ACL) ? errno : 0;
  return rights_has_none(failed) ? 0 : failed;
}

/* Gives the new file the access list of the old one; removes it unless `keep`.
   Returns 0 if the access lists are the same now, else errno. */
static int rights_copy_acl(struct rights const *r, bool keep) {
  size_t size;
  char *acl = rights_fetch(r, RIGHTS_ACL, &size);
  int failed = acl ? 0 : errno;
  if (acl && keep)
    failed =
        umemi_os.fsetxattr(r->new_fd, RIGHTS_ACL, acl, size, 0) ? errno : 0;
  else {
    int left = rights_remove_acl(r);
    failed = acl ? EACCES : rights_has_none(failed) ? left : failed;
  }
  free(acl);
  return failed;
}

/* Keeps the owner if the process may give files away, else the group. */
static void rights_copy_owner(struct rights const *r, struct stat const *new) {
  if (new->st_uid == r->old->st_uid &&new->st_gid == r->old->st_gid)
    return;
  if (umemi_os.fchown(r->new_fd, r->old->st_uid, r->old->st_gid))
    umemi_os.fchown(r->new_fd, (uid_t)-1, r->old->st_gid);
}

/*
 * If the owner is lost, that user belongs to the group or to the others, which
 * get no right that the owner did not have. If the group is lost, its members
 * become "others", and the members of the new group were "others" before: both
 * get the rights that group and others had in common. If the access list is
 * lost, the users that it excluded are not known: only the owner gets rights.
 */
static mode_t rights_mode(struct rights const *r, struct stat const *new,
                          bool has_acl) {
  mode_t mode = r->old->st_mode & 07777, owner = mode >> 6 & 7;
  if (new->st_uid != r->old->st_uid)
    mode &= ~(mode_t)(S_ISUID | 077) | owner << 3 | owner;
  mode_t common = has_acl ? mode >> 3 & mode & 7 : 0;
  if (new->st_gid == r->old->st_gid && has_acl)
    return mode;
  return (mode & ~(mode_t)(S_ISGID | 077)) | common << 3 | common;
}

static int rights_set_mode(struct rights const *r, mode_t mode) {
  struct stat new;
  if (umemi_os.fchmod(r->new_fd, mode) == 0)
    return 0;
  int failed = errno; /* of no matter where a file system has fixed modes */
  return umemi_os.fstat(r->new_fd, &new) == 0 && (new.st_mode & 07777) == mode
             ? 0
             : failed;
}

/* 0 or errno */
static int rights_copy_access(struct rights const *r, bool with_mode) {
  struct stat new;
  if (umemi_os.fstat(r->new_fd, &new))
    return errno;
  rights_copy_owner(r, &new);
  if (!with_mode)
    return 0;
  if (umemi_os.fstat(r->new_fd, &new)) /* what counts is how it is now */
    return errno;
  int lost = rights_copy_acl(r, new.st_gid == r->old->st_gid);
  return lost == ENOMEM ? ENOMEM
                        : rights_set_mode(r, rights_mode(r, &new, !lost));
}

umemStatusType umemi_rights_copy(struct umemiOpenFile const *file, int old_fd,
                                 struct stat const *old, bool with_mode,
                                 umemError *error) {
  struct rights r = {.old = old, .new_fd = file->io.fd};
  rights_begin(&r, &file->place, old_fd);
  int failed = rights_copy_attributes(&r);
  if (!failed)
    failed = rights_copy_access(&r, with_mode);
  if (r.old_fd >= 0)
    umemi_os.close(r.old_fd);
  if (!failed)
    return umemOK;
  return umemi_file_failed(
      file, failed,
      "give the rights of the old file to the temporary one:", error);
}

/* --- rights that are taken away meanwhile --------------------------------- */

/* *same_out: neither has an access list, or both have the same. 0 or ENOMEM. */
static int rights_compare_acl(struct rights const *r, bool *same_out) {
  struct rights const new = {.old_fd = r->new_fd};
  size_t old_size = 0, new_size = 0;
  char *old_acl = rights_fetch(r, RIGHTS_ACL, &old_size);
  int old_failed = old_acl ? 0 : errno;
  char *new_acl = rights_fetch(&new, RIGHTS_ACL, &new_size);
  int new_failed = new_acl ? 0 : errno;
  if (old_acl && new_acl)
    *same_out = old_size == new_size && memcmp(old_acl, new_acl, old_size) == 0;
  else
    *same_out = rights_has_none(old_failed) && rights_has_none(new_failed);
  free(old_acl);
  free(new_acl);
  return old_failed == ENOMEM || new_failed == ENOMEM ? ENOMEM : 0;
}

/* 0 or errno */
static int rights_narrow(struct rights const *r) {
  struct stat new;
  bool same_acl;
  if (umemi_os.fstat(r->new_fd, &new))
    return errno;
  int failed = rights_compare_acl(r, &same_acl);
  if (!failed && !same_acl)
    failed = rights_remove_acl(r);
  mode_t mode = new.st_mode & 07777;
  mode_t narrow = mode & rights_mode(r, &new, same_acl);
  return failed || narrow == mode ? failed : rights_set_mode(r, narrow);
}

int umemi_rights_narrow(struct umemiOpenFile *file) {
  struct stat old;
  int fd, failed = umemi_place_look(&file->place, false, &fd, &old);
  if (fd < 0)
    return failed;
  struct rights r = {.old = &old, .new_fd = file->io.fd, .old_fd = -1};
  if (!S_ISLNK(old.st_mode)) { /* links have no rights of their own */
    rights_begin(&r, &file->place, fd);
    failed = rights_narrow(&r);
  }
  if (r.old_fd >= 0)
    umemi_os.close(r.old_fd);
  umemi_os.close(fd);
  return failed;
}
