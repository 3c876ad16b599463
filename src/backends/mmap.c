/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mapped files: an address is a pointer into one mapping of the file, which
 * reaches past its end, so that growing the file moves nothing. The pointers
 * are the user's: the library itself reads and writes the file, because a file
 * that somebody cuts off meanwhile answers a read, but a load with SIGBUS.
 */
#include "../internal.h"

/* Address space for growing, where none was asked for. */
#define MMAP_ROOM                                                              \
  (SIZE_MAX > UINT32_MAX ? (size_t)(UINT64_C(1) << 38) : (size_t)1 << 28)

enum { MMAP_ALIGN = 16 /* as malloc's, for any type */ };

struct mmap {
  struct umemiStore store; /* first */
  char *base;
  size_t span;
};

static size_t mmap_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct mmap const *map = state;
  out[0] = (umemSpace){UMEM_SPACE_PRIVATE, {map->store.id}};
  out[1] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  return 2;
}

static umemStatusType mmap_dtor(void *state, umemError *error) {
  struct mmap *map = state;
  if (map->base)
    munmap(map->base, map->span);
  umemStatusType status = umemi_store_close(&map->store, error);
  free(map);
  return status;
}

static struct umemVtbl const mmap_vtbl = {
    .size = sizeof(struct umemVtbl),
    .type = umemMMapDevice,
    .caps = UMEM_CAP_MAY_END,
    .name = "MMap",
    .fundamental_align = MMAP_ALIGN,
    .max_align = UMEMI_PAGE,
    .dtor = mmap_dtor,
    .alloc = umemi_store_alloc,
    .free = umemi_store_free,
    .read = umemi_store_read,
    .write = umemi_store_write,
    .spaces = mmap_spaces,
    .check = umemi_store_check,
    .calloc = umemi_store_calloc,
    .flush = umemi_store_flush, /* writes what was stored, too: fsync(2) */
    .discard = umemi_store_discard,
    .copy_peer = umemi_store_copy_peer,
    .view_begin = umemi_no_view_begin,
    .view_end = umemi_no_view_end,
    .set = umemi_store_set,
    .next_data = umemi_store_next_data,
    .limits = umemi_store_limits,
    .export_handle = umemi_store_export_handle,
    .import_handle = umemi_store_import_handle,
    .stage_alloc = umemi_no_stage_alloc,
    .stage_free = umemi_no_stage_free,
    .can_reach = umemi_no_can_reach,
    .punch = umemi_store_punch,
    UMEMI_NO_ROWS,
};

/* --- the mapping ---------------------------------------------------------- */

/* EAGAIN: with all memory locked, mlockall(2). EINVAL: under valgrind. */
static bool mmap_lacks_room(void) {
  return errno == ENOMEM || errno == EAGAIN || errno == EINVAL;
}

static umemStatusType mmap_failed(struct mmap const *map, size_t nbytes,
                                  umemError *error) {
  return umem_error_fill(
      error, mmap_lacks_room() ? umemMemoryError : umemNotSupportedError, errno,
      0, "map %zu bytes of \"%s\"", nbytes, map->store.open.name);
}

/* How much has to be mapped, and how much would be good. */
static void mmap_sizes(struct mmap const *map, umemMMapOptions const *options,
                       size_t *least_out, size_t *best_out) {
  struct umemiOpenFile const *open = &map->store.open;
  uint64_t size = open->mode.truncates && !open->is_block ? 0 : open->size;
  uint64_t there = size > options->offset ? size - options->offset : 0;
  bool grows = open->mode.writable && !open->is_block;
  if (options->length)
    there = options->length;
  *least_out = there > PTRDIFF_MAX ? SIZE_MAX : (size_t)there + !there;
  *best_out = *least_out;
  if (grows && !options->length && *best_out < MMAP_ROOM)
    *best_out = MMAP_ROOM;
}

/* Others need address space, too: where there was not enough for all, half of
   what there was is left. */
static void mmap_shrink(struct mmap *map, size_t least) {
  size_t half = map->span / 2 & ~(size_t)(UMEMI_PAGE - 1);
  if (half < least)
    return;
  munmap(map->base + half, map->span - half);
  map->span = half;
}

static umemStatusType mmap_map(struct mmap *map, size_t least, size_t best,
                               uint64_t offset, umemError *error) {
  struct umemiOpenFile const *open = &map->store.open;
  int access = PROT_READ | (open->mode.writable ? PROT_WRITE : 0);
  void *base = MAP_FAILED;
  for (map->span = best;; map->span /= 2) {
    if (map->span < least)
      map->span = least;
    base = umemi_os.mmap(NULL, map->span, access, MAP_SHARED | MAP_NORESERVE,
                         open->io.fd, (off_t)offset);
    if (base != MAP_FAILED || !mmap_lacks_room() || map->span == least)
      break;
  }
  if (base == MAP_FAILED)
    return mmap_failed(map, map->span, error);
  map->base = base;
  if (map->span < best)
    mmap_shrink(map, least);
  return umemOK;
}

/* Addresses are there from now on. */
static void mmap_place(struct mmap *map, umemMMapOptions const *options) {
  struct umemiStore *store = &map->store;
  uint64_t span = options->length ? options->length : map->span;
  store->origin = (uintptr_t)map->base - (uintptr_t)options->offset;
  store->lowest = options->offset;
  store->limit = UMEMI_OFFSET_MAX - span < options->offset
                     ? UMEMI_OFFSET_MAX
                     : options->offset + span;
  store->alignment = MMAP_ALIGN;
}

static umemStatusType
mmap_begin(struct mmap *map, umemMMapOptions const *options, umemError *error) {
  static int const advices[] = {[umemMMapNormal] = MADV_NORMAL,
                                [umemMMapSequential] = MADV_SEQUENTIAL,
                                [umemMMapRandom] = MADV_RANDOM,
                                [umemMMapWillNeed] = MADV_WILLNEED};
  size_t least, best;
  mmap_sizes(map, options, &least, &best);
  umemStatusType status = mmap_map(map, least, best, options->offset, error);
  if (status != umemOK)
    return status;
  mmap_place(map, options);
  if (options->advice != umemMMapNormal) /* a hint: it need not be taken */
    umemi_os.madvise(map->base, least, advices[options->advice]);
  return umemOK;
}

/* --- the constructor ------------------------------------------------------ */

static umemStatusType mmap_check_options(umemMMapOptions const *options,
                                         umemError *error) {
  char const *fault = NULL;
  if (options->flags & UMEM_FILE_DIRECT)
    fault = "DIRECT goes past the page cache, which is what is mapped";
  else if (options->advice < umemMMapNormal ||
           options->advice > umemMMapWillNeed)
    fault = "advice is none";
  else if (options->offset % UMEMI_PAGE)
    fault = "offset must be a multiple of 4096";
  else if (options->offset > UMEMI_OFFSET_MAX ||
           options->length > UMEMI_OFFSET_MAX - options->offset)
    fault = "offset and length are past the largest offset";
  if (!fault)
    return umemOK;
  return umem_error_fill(error, umemValueError, 0, 0,
                         "options: %s (flags 0x%" PRIx32 ", advice %d, offset "
                         "%" PRIu64 ", length %" PRIu64 ")",
                         fault, options->flags, (int)options->advice,
                         options->offset, options->length);
}

/* Where nothing can be appended, what is mapped has to be there. */
static umemStatusType mmap_check_end(struct mmap const *map,
                                     umemMMapOptions const *options,
                                     umemError *error) {
  struct umemiOpenFile const *open = &map->store.open;
  uint64_t end = options->offset + options->length;
  if ((open->mode.writable && !open->is_block) || end <= open->size)
    return umemOK;
  return umem_error_fill(error, umemIndexError, 0, 0,
                         "%" PRIu64 " bytes at offset %" PRIu64
                         " are past the end of the file, %" PRIu64 ": \"%s\"",
                         options->length, options->offset, open->size,
                         open->name);
}

static umemStatusType mmap_open(struct mmap *map, umemMMap *ctx,
                                char const *filename, char const *mode,
                                umemMMapOptions const *options,
                                umemError *error) {
  umemFileOptions const file = {.size = sizeof file,
                                .flags = options->flags,
                                .permissions = options->permissions,
                                .fd = options->fd};
  umemStatusType status =
      umemi_store_open(&map->store, ctx, filename, mode, &file, true, error);
  if (status != umemOK)
    return status;
  status = mmap_check_end(map, options, error);
  if (status == umemOK)
    status = mmap_begin(map, options, error);
  if (status == umemOK) /* last: one that fails has not emptied the file */
    status = umemi_file_settle(&map->store.open, error);
  if (status == umemOK)
    return umemOK;
  if (map->base)
    munmap(map->base, map->span);
  umemi_store_abandon(&map->store);
  return status;
}

static umemStatusType mmap_ctor(umemMMap *ctx, char const *filename,
                                char const *mode, umemMMapOptions const *given,
                                struct umemiCall *call) {
  umemError *error = &call->error;
  umemMMapOptions options = {.size = sizeof options};
  umemStatusType status = umemi_ctor_begin(ctx, mmap_vtbl.name, error);
  if (status == umemOK && given)
    status = umemi_take_options(&options, sizeof options, given, error);
  if (status == umemOK)
    status = umemi_store_names(filename, mode, options.flags, call);
  if (status == umemOK)
    status = mmap_check_options(&options, error);
  if (status != umemOK)
    return status;
  struct mmap *map = umemi_os.calloc(1, sizeof *map);
  if (!map)
    return umemi_no_memory(error, "a MMap context", sizeof *map);
  status = mmap_open(map, ctx, filename, mode, &options, error);
  if (status == umemOK)
    umemi_ctor_end(ctx, &mmap_vtbl, map, map->store.open.name, 0);
  else
    free(map);
  return status;
}

umemStatusType umemMMap_ctor(umemMMap *ctx, char const *filename,
                             char const *mode) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = mmap_ctor(ctx, filename, mode, NULL, &call);
  return umemi_end(&call, status, ctx, "umemMMap_ctor(mode %.8s)",
                   mode ? mode : "NULL");
}

umemStatusType umemMMap_ctor_ex(umemMMap *ctx, char const *filename,
                                char const *mode,
                                umemMMapOptions const *options) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = mmap_ctor(ctx, filename, mode, options, &call);
  return umemi_end(&call, status, ctx, "umemMMap_ctor_ex(mode %.8s)",
                   mode ? mode : "NULL");
}

static umemStatusType mmap_get_address(void const *ctx, uintptr_t *adr_out,
                                       size_t *nbytes_out, umemError *error) {
  umemStatusType status = umemi_need_kind(ctx, umemMMapDevice, error);
  if (status != umemOK)
    return status;
  struct mmap const *map = umemi_context(ctx)->state;
  uint64_t size;
  int failed = umemi_store_size(&map->store, &size);
  if (failed)
    return umem_error_fill(error, umemIOError, failed, 0, "fstat");
  uint64_t end = size < map->store.limit ? size : map->store.limit;
  if (nbytes_out)
    *nbytes_out =
        end > map->store.lowest ? (size_t)(end - map->store.lowest) : 0;
  *adr_out = (uintptr_t)map->base;
  return umemOK;
}

uintptr_t umemMMap_get_address(umemMMap const *ctx, size_t *nbytes_out) {
  struct umemiCall call;
  uintptr_t adr = 0;
  umemi_begin(&call);
  umemStatusType status = mmap_get_address(ctx, &adr, nbytes_out, &call.error);
  umemi_end(&call, status, ctx, "umemMMap_get_address(%s)", umemi_name(ctx));
  return adr;
}
