/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handles: where bytes are, told to another process as a string of bytes. What
 * comes in may be anything: nothing is believed that is not checked.
 */
#include "internal.h"

#include <sys/sysmacros.h>

#include "crc32c.h"

enum { HANDLE_VERSION = 1 };

static char const handle_magic[8] = {'u', 'm', 'e', 'm', '-', 'h', 'd', 'l'};

/* As it is handed on: to processes of one machine, so in its byte order. */
struct handle {
  char magic[8];
  uint32_t version;
  uint32_t type; /* of the context that made it; for messages */
  uint64_t nbytes;
  unsigned char payload[UMEM_HANDLE_PAYLOAD];
  uint32_t size;
  uint32_t sum; /* CRC-32C of all before it */
};

_Static_assert(sizeof(struct handle) == UMEM_HANDLE_PAYLOAD + 32 &&
                   sizeof(struct handle) <= UMEM_HANDLE_MAX,
               "a handle has no padding, and fits");

static uint32_t handle_sum(struct handle const *handle) {
  return umemi_crc32c(0, handle, offsetof(struct handle, sum));
}

/* --- export --------------------------------------------------------------- */

static umemStatusType handle_make(struct umemiContext *ctx, uintptr_t adr,
                                  size_t nbytes, struct handle *out,
                                  umemError *error) {
  struct umemiRange const range = {adr, nbytes, nbytes, false};
  umemStatusType status = umemi_check_range(ctx, &range, umemRead, error);
  if (status != umemOK)
    return status;
  memset(out, 0, sizeof *out);
  memcpy(out->magic, handle_magic, sizeof handle_magic);
  out->version = HANDLE_VERSION;
  out->type = (uint32_t)ctx->vtbl->type;
  out->nbytes = nbytes;
  out->size = sizeof *out;
  status = umemi_device_export_handle(ctx, adr, nbytes, out->payload, error);
  out->sum = handle_sum(out);
  return status;
}

static umemStatusType handle_export(void const *ctx, uintptr_t adr,
                                    size_t nbytes, void *buf, size_t *len,
                                    umemError *error) {
  struct handle handle;
  umemStatusType status = umemi_need_live(ctx, "", error);
  if (status != umemOK)
    return status;
  if (!len)
    return umemi_null(error, "len");
  status = handle_make(umemi_context(ctx), adr, nbytes, &handle, error);
  if (status != umemOK)
    return status;
  if (buf && *len < sizeof handle)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "the handle has %zu bytes, and there is room for "
                           "%zu",
                           sizeof handle, *len);
  if (buf)
    memcpy(buf, &handle, sizeof handle);
  *len = sizeof handle;
  return umemOK;
}

umemStatusType umem_export_handle(void const *ctx, uintptr_t adr, size_t nbytes,
                                  void *buf, size_t *len) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status =
      handle_export(ctx, adr, nbytes, buf, len, &call.error);
  return umemi_end(&call, status, ctx,
                   "umem_export_handle(%s 0x%" PRIxPTR ", %zu bytes)",
                   umemi_name(ctx), adr, nbytes);
}

/* --- import --------------------------------------------------------------- */

/* Takes the bytes for a handle, or says why not. */
static umemStatusType handle_parse(void const *buf, size_t len,
                                   struct handle *out, umemError *error) {
  char const *fault = NULL;
  if (len >= sizeof out->magic + sizeof out->version)
    memcpy(out, buf, len < sizeof *out ? len : sizeof *out);
  if (len < sizeof out->magic + sizeof out->version ||
      memcmp(out->magic, handle_magic, sizeof handle_magic) != 0)
    fault = "this is no handle of libumem";
  else if (out->version > HANDLE_VERSION)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "a handle of version %" PRIu32
                           ", and this library knows version %d",
                           out->version, HANDLE_VERSION);
  else if (len != sizeof *out || out->size != sizeof *out)
    fault = "the handle was cut, or something was added to it";
  else if (out->sum != handle_sum(out) || out->version != HANDLE_VERSION ||
           out->nbytes > PTRDIFF_MAX)
    fault = "the handle was garbled";
  return fault ? umem_error_fill(error, umemValueError, 0, 0, "%s", fault)
               : umemOK;
}

static umemStatusType handle_import(void const *ctx, void const *buf,
                                    size_t len, uintptr_t *adr_out,
                                    size_t *n_out, umemError *error) {
  struct handle handle = {.version = 0};
  uintptr_t adr = 0;
  umemStatusType status = umemi_need_live(ctx, "", error);
  if (status != umemOK)
    return status;
  if (!buf || !adr_out || !n_out)
    return umemi_null(error, !buf ? "buf" : !adr_out ? "adr_out" : "n_out");
  status = handle_parse(buf, len, &handle, error);
  if (status == umemOK)
    status = umemi_device_import_handle(umemi_context(ctx), handle.payload,
                                        (size_t)handle.nbytes, &adr, error);
  if (status != umemOK)
    return status;
  *adr_out = adr;
  *n_out = (size_t)handle.nbytes;
  return umemOK;
}

umemStatusType umem_import_handle(void const *ctx, void const *buf, size_t len,
                                  uintptr_t *adr_out, size_t *n_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status =
      handle_import(ctx, buf, len, adr_out, n_out, &call.error);
  return umemi_end(&call, status, ctx, "umem_import_handle(%s, %zu bytes)",
                   umemi_name(ctx), len);
}

/* --- places in files: what a payload says --------------------------------- */

enum { PLACE_IN_FILE = 1, PLACE_ON_DEVICE = 2 };

/*
 * Which file, and where in it. An inode number is used again after the file is
 * gone; the time of birth, where it is known (else 0), tells one file from the
 * next. A block device is the same whatever node it was opened by.
 */
struct place {
  uint64_t form, device, inode, born_seconds, born_nanoseconds, offset;
};

_Static_assert(sizeof(struct place) <= UMEM_HANDLE_PAYLOAD, "it fits");

static uint64_t place_device(dev_t device) {
  return (uint64_t)major(device) << 32 | minor(device);
}

/* Sandboxes refuse statx() in several ways; then nothing is known. */
static void place_set_birth(int fd, struct place *place) {
  struct umemiStatx st;
  if (umemi_os.statx(fd, "", AT_EMPTY_PATH, UMEMI_STATX_BTIME, &st) ||
      !(st.mask & UMEMI_STATX_BTIME))
    return;
  place->born_seconds = (uint64_t)st.born_seconds;
  place->born_nanoseconds = st.born_nanoseconds;
}

static umemStatusType place_identify(int fd, struct place *place,
                                     umemError *error) {
  struct stat st;
  if (umemi_os.fstat(fd, &st))
    return umem_error_fill(error, umemIOError, errno, 0, "fstat");
  if (S_ISBLK(st.st_mode)) {
    *place = (struct place){.form = PLACE_ON_DEVICE,
                            .device = place_device(st.st_rdev)};
    return umemOK;
  }
  *place = (struct place){.form = PLACE_IN_FILE,
                          .device = place_device(st.st_dev),
                          .inode = st.st_ino};
  place_set_birth(fd, place);
  return umemOK;
}

/* One side may not know the time of birth: then the rest decides. */
static bool place_is_same_file(struct place const *a, struct place const *b) {
  bool both_born = (a->born_seconds || a->born_nanoseconds) &&
                   (b->born_seconds || b->born_nanoseconds);
  return a->form == b->form && a->device == b->device && a->inode == b->inode &&
         (!both_born || (a->born_seconds == b->born_seconds &&
                         a->born_nanoseconds == b->born_nanoseconds));
}

struct place_text {
  char text[128];
};

static struct place_text place_name(struct place const *place) {
  struct place_text name;
  char born[48] = "";
  if (place->born_seconds || place->born_nanoseconds)
    snprintf(born, sizeof born, " born at %" PRIu64 ".%09" PRIu64,
             place->born_seconds, place->born_nanoseconds);
  snprintf(name.text, sizeof name.text,
           "%s %" PRIu64 ":%" PRIu64 ", inode %" PRIu64 "%s",
           place->form == PLACE_ON_DEVICE ? "block device" : "device",
           place->device >> 32, place->device & UINT32_MAX, place->inode, born);
  return name;
}

/* 0 bytes are in any file. */
static bool place_is_in(uint64_t offset, size_t nbytes, uint64_t size) {
  return nbytes == 0 || (offset <= size && nbytes <= size - offset);
}

static umemStatusType place_outside(uint64_t offset, size_t nbytes,
                                    uint64_t size, umemError *error) {
  return umem_error_fill(error, umemIndexError, 0, 0,
                         "%zu bytes at offset %" PRIu64
                         " are not in the file, which has %" PRIu64,
                         nbytes, offset, size);
}

umemStatusType umemi_place_export(int fd, uint64_t size, uint64_t offset,
                                  size_t nbytes, unsigned char *payload_out,
                                  umemError *error) {
  struct place place = {.form = 0};
  umemStatusType status = place_identify(fd, &place, error);
  if (status != umemOK)
    return status;
  if (!place_is_in(offset, nbytes, size))
    return place_outside(offset, nbytes, size, error);
  place.offset = offset;
  memcpy(payload_out, &place, sizeof place);
  return umemOK;
}

umemStatusType umemi_place_import(int fd, uint64_t size,
                                  unsigned char const *payload, size_t nbytes,
                                  uint64_t *offset_out, umemError *error) {
  struct place given, here = {.form = 0};
  umemStatusType status = place_identify(fd, &here, error);
  if (status != umemOK)
    return status;
  memcpy(&given, payload, sizeof given);
  if (!place_is_same_file(&given, &here))
    return umem_error_fill(error, umemValueError, 0, 0,
                           "the handle is of something else: %s, and not %s",
                           place_name(&given).text, place_name(&here).text);
  if (!place_is_in(given.offset, nbytes, size))
    return place_outside(given.offset, nbytes, size, error);
  *offset_out = given.offset;
  return umemOK;
}
