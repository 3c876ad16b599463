/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public copy calls. Between plain host contexts a short copy is memmove()
 * and a few instructions; all else goes to transfer.c.
 */
#include "internal.h"

static umemStatusType copy_call(char const *function,
                                struct umemiCopy const *copy) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = umemi_copy(copy, &call.error);
  char sizes[64] = "";
  if (copy->safe)
    snprintf(sizes, sizeof sizes, " (sizes %zu, %zu)", copy->src_size,
             copy->dest_size);
  return umemi_end_two(&call, status, copy->src, copy->dest,
                       "%s(source %s 0x%" PRIxPTR ", destination %s 0x%" PRIxPTR
                       ", %zu bytes%s)",
                       function, umemi_name(copy->src), copy->src_adr,
                       umemi_name(copy->dest), copy->dest_adr, copy->nbytes,
                       sizes);
}

/* The slow ways take values, so that the fast ones keep no struct in memory. */
UMEMI_NOINLINE umemStatusType umemi_copy_call(
    char const *function, bool sync, void const *src, uintptr_t src_adr,
    void const *dest, uintptr_t dest_adr, size_t nbytes) {
  struct umemiCopy copy = {.src = src,
                           .src_adr = src_adr,
                           .dest = dest,
                           .dest_adr = dest_adr,
                           .nbytes = nbytes,
                           .sync = sync};
  return copy_call(function, &copy);
}

UMEMI_NOINLINE umemStatusType
umemi_copy_call_safe(char const *function, bool sync, void const *src,
                     uintptr_t src_adr, size_t src_size, void const *dest,
                     uintptr_t dest_adr, size_t dest_size, size_t nbytes) {
  struct umemiCopy copy = {.src = src,
                           .src_adr = src_adr,
                           .src_size = src_size,
                           .dest = dest,
                           .dest_adr = dest_adr,
                           .dest_size = dest_size,
                           .nbytes = nbytes,
                           .safe = true,
                           .sync = sync};
  return copy_call(function, &copy);
}

/* Is it all plain host memory? What is left to check is the ranges. */
static inline bool copy_is_plain(void const *src, uintptr_t src_adr,
                                 void const *dest, uintptr_t dest_adr) {
  return umemi_is_plain(src) && umemi_is_plain(dest) && src_adr && dest_adr &&
         umemi_rung_is_on(umemDirectRung);
}

static inline void copy_bytes(uintptr_t dest_adr, uintptr_t src_adr,
                              size_t nbytes) {
  if (UMEMI_LIKELY(nbytes < UMEMI_SHORT_COPY))
    memmove((void *)dest_adr, (void const *)src_adr, nbytes);
  else
    umemi_host_copy((void *)dest_adr, (void const *)src_adr, nbytes);
}

/* Copies and returns true if all of it is plain host memory. */
static inline bool copy_plain(void const *src, uintptr_t src_adr,
                              void const *dest, uintptr_t dest_adr,
                              size_t nbytes) {
  if (!copy_is_plain(src, src_adr, dest, dest_adr) ||
      umemi_wraps(src_adr, nbytes) || umemi_wraps(dest_adr, nbytes))
    return false;
  copy_bytes(dest_adr, src_adr, nbytes);
  return true;
}

/* Sizes that do not wrap bound what is not larger than they are. */
static inline bool copy_plain_safe(void const *src, uintptr_t src_adr,
                                   size_t src_size, void const *dest,
                                   uintptr_t dest_adr, size_t dest_size,
                                   size_t nbytes) {
  if (!copy_is_plain(src, src_adr, dest, dest_adr) || nbytes > src_size ||
      nbytes > dest_size || umemi_wraps(src_adr, src_size) ||
      umemi_wraps(dest_adr, dest_size))
    return false;
  copy_bytes(dest_adr, src_adr, nbytes);
  return true;
}

umemStatusType umem_copy_to(void const *src, uintptr_t src_adr,
                            void const *dest, uintptr_t dest_adr,
                            size_t nbytes) {
  if (UMEMI_LIKELY(copy_plain(src, src_adr, dest, dest_adr, nbytes)))
    return umemOK;
  return umemi_copy_call("umem_copy_to", false, src, src_adr, dest, dest_adr,
                         nbytes);
}

umemStatusType umem_copy_from(void const *dest, uintptr_t dest_adr,
                              void const *src, uintptr_t src_adr,
                              size_t nbytes) {
  if (UMEMI_LIKELY(copy_plain(src, src_adr, dest, dest_adr, nbytes)))
    return umemOK;
  return umemi_copy_call("umem_copy_from", false, src, src_adr, dest, dest_adr,
                         nbytes);
}

umemStatusType umem_copy_to_safe(void const *src, uintptr_t src_adr,
                                 size_t src_size, void const *dest,
                                 uintptr_t dest_adr, size_t dest_size,
                                 size_t nbytes) {
  if (UMEMI_LIKELY(copy_plain_safe(src, src_adr, src_size, dest, dest_adr,
                                   dest_size, nbytes)))
    return umemOK;
  return umemi_copy_call_safe("umem_copy_to_safe", false, src, src_adr,
                              src_size, dest, dest_adr, dest_size, nbytes);
}

umemStatusType umem_copy_from_safe(void const *dest, uintptr_t dest_adr,
                                   size_t dest_size, void const *src,
                                   uintptr_t src_adr, size_t src_size,
                                   size_t nbytes) {
  if (UMEMI_LIKELY(copy_plain_safe(src, src_adr, src_size, dest, dest_adr,
                                   dest_size, nbytes)))
    return umemOK;
  return umemi_copy_call_safe("umem_copy_from_safe", false, src, src_adr,
                              src_size, dest, dest_adr, dest_size, nbytes);
}
