/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory shared by processes: a segment (segment.c) behind a name in /dev/shm
 * or a descriptor, mapped for the user's pointers. Who else is attached may cut
 * off one with a name, so the bytes of a copy go by system calls. Nameless ones
 * are sealed if the system can, and
 * offer views then.
 */
#include "../internal.h"

#define SHM_FLAGS (UMEM_SHM_CREATE | UMEM_SHM_ATTACH | UMEM_SHM_KEEP)

struct shm {
  struct umemiSegment segment;
  uint64_t id; /* of the context */
  char *map;   /* all of the segment */
  char *name;  /* or NULL */
  struct umemiSegmentPath path;
  uint64_t creator;   /* the process that removes the name; 0: nobody */
  bool never_shrinks; /* nobody can make it smaller */
  bool has_views;     /* and a page that it lacks is found at the first touch */
};

/* --- blocks --------------------------------------------------------------- */

static umemStatusType shm_alloc(void *state, size_t nbytes, size_t alignment,
                                uintptr_t *adr_out, umemError *error) {
  struct shm *shm = state;
  return umemi_segment_alloc(&shm->segment, nbytes, alignment, adr_out, error);
}

static umemStatusType shm_free(void *state, uintptr_t adr, size_t nbytes,
                               umemError *error) {
  struct shm *shm = state;
  (void)nbytes;
  return adr ? umemi_segment_free(&shm->segment, adr, error) : umemOK;
}

/* --- access --------------------------------------------------------------- */

static uint64_t shm_offset(struct shm const *shm, uintptr_t adr) {
  return adr - (uintptr_t)shm->map;
}

static umemStatusType shm_read(void *state, uintptr_t adr, void *out,
                               size_t nbytes, umemError *error) {
  struct shm const *shm = state;
  uint64_t at = shm_offset(shm, adr);
  size_t done;
  if (shm->has_views) {
    umemi_host_copy(out, (void const *)adr, nbytes);
    return umemOK;
  }
  int failed = umemi_file_read(&shm->segment.io, at, out, nbytes, &done);
  return failed ? umemi_file_moved("the segment was cut off: ", "read", failed,
                                   at, done, nbytes, error)
                : umemOK;
}

/* A write past the end would make the segment larger again, with holes. */
static int shm_check_end(struct shm const *shm, uint64_t end) {
  struct stat st;
  if (shm->never_shrinks)
    return 0;
  if (umemi_os.fstat(shm->segment.io.fd, &st))
    return errno;
  return (uint64_t)st.st_size < end ? UMEMI_EOF : 0;
}

static umemStatusType shm_write(void *state, uintptr_t adr, void const *in,
                                size_t nbytes, umemError *error) {
  struct shm const *shm = state;
  uint64_t at = shm_offset(shm, adr);
  size_t done = 0;
  if (shm->has_views) {
    umemi_host_copy((void *)adr, in, nbytes);
    return umemOK;
  }
  int failed = shm_check_end(shm, at + nbytes);
  if (!failed)
    failed = umemi_file_write(&shm->segment.io, at, in, nbytes, &done);
  return failed ? umemi_file_moved("the segment was cut off: ", "wrote", failed,
                                   at, done, nbytes, error)
                : umemOK;
}

/* Every context has addresses of its own, which are pointers. */
static size_t shm_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct shm const *shm = state;
  out[0] = (umemSpace){UMEM_SPACE_PRIVATE, {shm->id, 0}};
  out[1] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  return 2;
}

static umemStatusType shm_inside(struct shm const *shm, uintptr_t adr,
                                 size_t nbytes, umemError *error) {
  struct umemiSegment const *s = &shm->segment;
  if (adr >= s->origin && nbytes <= s->nbytes &&
      adr - s->origin <= s->nbytes - nbytes)
    return umemOK;
  return umem_error_fill(error, umemIndexError, 0, 0,
                         "%zu bytes at 0x%" PRIxPTR " leave the %" PRIu64
                         " bytes of the segment, at 0x%" PRIxPTR,
                         nbytes, adr, s->nbytes, s->origin);
}

static umemStatusType shm_check(void *state, uintptr_t adr, size_t nbytes,
                                umemAccess access, umemError *error) {
  (void)access;
  return nbytes ? shm_inside(state, adr, nbytes, error) : umemOK;
}

/* As of files in the page cache, which the segment is. */
static void shm_limits(void *state, unsigned access, uintptr_t adr,
                       size_t nbytes, struct umemLimits *out) {
  (void)state, (void)adr;
  umemi_file_limits(access, nbytes, out);
}

static umemStatusType shm_view_begin(void *state, uintptr_t adr, size_t nbytes,
                                     umemAccess access, void **ptr_out,
                                     umemError *error) {
  struct shm const *shm = state;
  (void)nbytes, (void)access, (void)error;
  if (!shm->has_views)
    return UMEM_DECLINED;
  *ptr_out = (void *)adr;
  return umemOK;
}

/* --- handles -------------------------------------------------------------- */

static umemStatusType shm_export_handle(void *state, uintptr_t adr,
                                        size_t nbytes,
                                        unsigned char *payload_out,
                                        umemError *error) {
  struct shm const *shm = state;
  umemStatusType status = shm_inside(shm, adr, nbytes, error);
  return status == umemOK
             ? umemi_place_export(shm->segment.io.fd, shm->segment.total,
                                  shm_offset(shm, adr), nbytes, payload_out,
                                  error)
             : status;
}

static umemStatusType shm_import_handle(void *state,
                                        unsigned char const *payload,
                                        size_t nbytes, uintptr_t *adr_out,
                                        umemError *error) {
  struct shm const *shm = state;
  uint64_t at = 0;
  umemStatusType status = umemi_place_import(
      shm->segment.io.fd, shm->segment.total, payload, nbytes, &at, error);
  uintptr_t adr = (uintptr_t)shm->map + (uintptr_t)at;
  if (status == umemOK)
    status = shm_inside(shm, adr, nbytes, error);
  if (status == umemOK)
    *adr_out = adr;
  return status;
}

/* --- life ----------------------------------------------------------------- */

static void shm_close(struct shm *shm) {
  if (shm->map)
    umemi_os.munmap(shm->map, (size_t)shm->segment.total);
  umemi_segment_end(&shm->segment);
  free(shm->name);
  free(shm);
}

/* What this context created; 0 or errno. */
static int shm_remove_name(struct shm const *shm) {
  return shm->segment.path && shm->creator == umemi_process()
             ? umemi_segment_remove_name(&shm->segment)
             : 0;
}

static umemStatusType shm_dtor(void *state, umemError *error) {
  struct shm *shm = state;
  int failed = shm_remove_name(shm);
  shm_close(shm);
  return failed ? umem_error_fill(error, umemIOError, failed, 0,
                                  "remove the segment's name")
                : umemOK;
}

static struct umemVtbl const shm_vtbl = {
    .size = sizeof(struct umemVtbl),
    .type = umemShmDevice,
    .caps = UMEM_CAP_OWN_REGISTRY | UMEM_CAP_MAY_END | UMEM_CAP_VIEWS_IN_PLACE,
    .name = "Shm",
    .fundamental_align = UMEMI_SEGMENT_GRANULE,
    .max_align = (SIZE_MAX >> 1) + 1,
    .dtor = shm_dtor,
    .alloc = shm_alloc,
    .free = shm_free,
    .read = shm_read,
    .write = shm_write,
    .spaces = shm_spaces,
    .check = shm_check,
    .calloc = umemi_no_calloc,
    .flush = umemi_no_flush,
    .discard = umemi_no_discard,
    .copy_peer = umemi_no_copy_peer,
    .view_begin = shm_view_begin,
    .view_end = umemi_no_view_end,
    .set = umemi_no_set,
    .next_data = umemi_no_next_data,
    .limits = shm_limits,
    .export_handle = shm_export_handle,
    .import_handle = shm_import_handle,
    .stage_alloc = umemi_no_stage_alloc,
    .stage_free = umemi_no_stage_free,
    .can_reach = umemi_no_can_reach,
    .punch = umemi_no_punch,
    UMEMI_NO_ROWS,
};

/* --- constructors --------------------------------------------------------- */

/* What a constructor is to do. */
struct shm_plan {
  char const *name;
  size_t nbytes;
  uint32_t flags;
};

static umemStatusType shm_map(struct shm *shm, umemError *error) {
  struct umemiSegment *s = &shm->segment;
  void *map = umemi_os.mmap(NULL, (size_t)s->total, PROT_READ | PROT_WRITE,
                            MAP_SHARED, s->io.fd, 0);
  if (map == MAP_FAILED)
    return umem_error_fill(error, umemMemoryError, errno, 0,
                           "cannot map %" PRIu64 " bytes", s->total);
  shm->map = map;
  s->origin = (uintptr_t)map + (uintptr_t)s->data_at;
  return umemOK;
}

/* A peer may hand us one of huge pages, with holes that cannot be filled. */
static bool shm_has_small_pages(struct shm const *shm) {
  struct statvfs fs;
  return umemi_os.fstatvfs(shm->segment.io.fd, &fs) == 0 &&
         fs.f_bsize == UMEMI_PAGE;
}

static umemStatusType shm_enter(struct shm *shm, struct shm_plan const *plan,
                                umemError *error) {
  bool created = false;
  if (!plan->name)
    return umemi_segment_enter_nameless(&shm->segment, plan->nbytes, error);
  umemStatusType status =
      umemi_segment_enter(&shm->segment, shm->path.text, plan->nbytes,
                          plan->flags, &created, error);
  shm->creator = created ? umemi_process() : 0;
  return status;
}

static struct shm *shm_new(char const *name) {
  struct shm *shm = umemi_os.calloc(1, sizeof *shm);
  if (shm && name)
    shm->name = umemi_os.strdup(name);
  if (!shm || !name || shm->name)
    return shm;
  free(shm);
  return NULL;
}

/* The last steps, with a segment that is whole. */
static umemStatusType shm_finish(umemShm *ctx, struct shm *shm, uint32_t flags,
                                 umemError *error) {
  struct umemiSegment *segment = &shm->segment;
  int seals = umemi_os.fcntl(segment->io.fd, F_GET_SEALS);
  shm->id = umemi_context(ctx)->id;
  shm->never_shrinks = seals >= 0 && seals & F_SEAL_SHRINK;
  shm->has_views = shm->never_shrinks && shm_has_small_pages(shm);
  umemStatusType status = umemi_segment_ready(segment, error);
  if (status == umemOK)
    status = shm_map(shm, error);
  if (status != umemOK) {
    shm_remove_name(shm);
    shm_close(shm);
    return status;
  }
  if (flags & UMEM_SHM_KEEP)
    shm->creator = 0;
  umemi_ctor_end(ctx, &shm_vtbl, shm, shm->name, 0);
  return umemOK;
}

static umemStatusType shm_check_flags(struct shm_plan const *plan,
                                      umemError *error) {
  uint32_t const both = UMEM_SHM_CREATE | UMEM_SHM_ATTACH;
  char const *why = NULL;
  if (plan->flags & ~(uint32_t)SHM_FLAGS)
    why = "are unknown";
  else if ((plan->flags & both) == both)
    why = "say that there must and must not be a segment";
  else if (!plan->name && plan->flags & ~(uint32_t)UMEM_SHM_CREATE)
    why = "need a name";
  return why ? umem_error_fill(error, umemValueError, 0, 0, "flags 0x%x %s",
                               (unsigned)plan->flags, why)
             : umemOK;
}

/* Of a segment that may have to be created. */
static umemStatusType shm_check_size(struct shm_plan const *plan,
                                     umemError *error) {
  if (plan->flags & UMEM_SHM_ATTACH || umemi_segment_total(plan->nbytes) > 0)
    return umemOK;
  return umem_error_fill(error, umemMemoryError, 0, 0,
                         "no segment can be so large");
}

static umemStatusType shm_ctor(umemShm *ctx, struct shm_plan const *plan,
                               umemError *error) {
  struct umemiSegmentPath path = {.text = ""};
  umemStatusType status = umemi_ctor_begin(ctx, shm_vtbl.name, error);
  if (status == umemOK && plan->name)
    status = umemi_segment_path(plan->name, &path, error);
  if (status == umemOK)
    status = shm_check_flags(plan, error);
  if (status == umemOK)
    status = shm_check_size(plan, error);
  if (status != umemOK)
    return status;
  struct shm *shm = shm_new(plan->name);
  if (!shm)
    return umemi_no_memory(error, "a Shm context", sizeof *shm);
  shm->path = path;
  status = shm_enter(shm, plan, error);
  if (status == umemOK)
    return shm_finish(ctx, shm, plan->flags, error);
  free(shm->name);
  free(shm);
  return status;
}

umemStatusType umemShm_ctor(umemShm *ctx, char const *name, size_t size,
                            uint32_t flags) {
  struct umemiCall call;
  struct shm_plan const plan = {name, size, flags};
  umemi_begin(&call);
  umemStatusType status = shm_ctor(ctx, &plan, &call.error);
  return umemi_end(&call, status, ctx,
                   "umemShm_ctor(%zu bytes, flags 0x%x, name \"%.64s\")", size,
                   (unsigned)flags, name ? name : "(NULL)");
}

/* Writes to one that appends would go elsewhere. */
static umemStatusType shm_take_fd(int fd, int *fd_out, umemError *error) {
  int flags = umemi_os.fcntl(fd, F_GETFL);
  if (flags < 0)
    return umem_error_fill(error, umemValueError, errno, 0, "no descriptor");
  if ((flags & O_ACCMODE) != O_RDWR || flags & (O_APPEND | O_PATH))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "not open for reading and writing anywhere");
  *fd_out = umemi_os.fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  return *fd_out < 0
             ? umem_error_fill(error, umemIOError, errno, 0, "duplicate it")
             : umemOK;
}

static umemStatusType shm_attach_fd(struct umemiSegment *segment, int fd,
                                    umemError *error) {
  int own_fd = -1;
  umemStatusType status = shm_take_fd(fd, &own_fd, error);
  if (status != umemOK)
    return status;
  umemi_segment_begin(segment, own_fd);
  status = umemi_segment_attach(segment, 0, error);
  if (status != umemOK)
    umemi_segment_end(segment);
  return status;
}

static umemStatusType shm_ctor_fd(umemShm *ctx, int fd, umemError *error) {
  umemStatusType status = umemi_ctor_begin(ctx, shm_vtbl.name, error);
  if (status != umemOK)
    return status;
  struct shm *shm = shm_new(NULL);
  if (!shm)
    return umemi_no_memory(error, "a Shm context", sizeof *shm);
  status = shm_attach_fd(&shm->segment, fd, error);
  if (status == umemOK)
    return shm_finish(ctx, shm, 0, error);
  free(shm);
  return status;
}

umemStatusType umemShm_ctor_fd(umemShm *ctx, int fd) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = shm_ctor_fd(ctx, fd, &call.error);
  return umemi_end(&call, status, ctx, "umemShm_ctor_fd(descriptor %d)", fd);
}

int umemShm_get_fd(umemShm const *ctx) {
  struct umemiCall call;
  int fd = -1;
  umemi_begin(&call);
  umemStatusType status = umemi_need_kind(ctx, umemShmDevice, &call.error);
  if (status == umemOK)
    fd = ((struct shm const *)umemi_context(ctx)->state)->segment.io.fd;
  umemi_end(&call, status, ctx, "umemShm_get_fd(%s)", umemi_name(ctx));
  return fd;
}

static umemStatusType shm_unname(char const *name, umemError *error) {
  struct umemiSegmentPath path;
  if (!name)
    return umemi_null(error, "name");
  umemStatusType status = umemi_segment_path(name, &path, error);
  int failed = status == umemOK ? umemi_segment_unlink(path.text) : 0;
  return failed ? umem_error_fill(error, umemIOError, failed, 0, "unlink")
                : status;
}

umemStatusType umemShm_unlink(char const *name) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = shm_unname(name, &call.error);
  return umemi_end(&call, status, NULL, "umemShm_unlink");
}
