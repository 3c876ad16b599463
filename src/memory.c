/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The alloc family and free: checks, the registry, one backend call.
 *
 * Plain host contexts (UMEMI_PLAIN) take a short way: their blocks are malloc's
 * and there are no books to keep, so a call that succeeds is malloc() or free()
 * and a few instructions. Whatever is not that goes to the slow functions.
 */
#include "internal.h"

/* --- alloc ---------------------------------------------------------------- */

static bool memory_has_registry(struct umemiContext const *ctx) {
  return !(ctx->vtbl->caps & UMEM_CAP_OWN_REGISTRY);
}

/* More alignment than the device can give is cut out of a larger block: always
   behind its origin, which may be 0. */
static umemStatusType memory_reserve(struct umemiContext *ctx, size_t alignment,
                                     struct umemiBlock *block,
                                     umemError *error) {
  bool cut = memory_has_registry(ctx) && alignment > ctx->vtbl->max_align;
  size_t slack = cut ? alignment + !block->nbytes : 0; /* 0 bytes: a place */
  if (alignment > PTRDIFF_MAX || block->nbytes > PTRDIFF_MAX ||
      slack > PTRDIFF_MAX - block->nbytes)
    return umem_error_fill(error, umemMemoryError, 0, 0,
                           "more than PTRDIFF_MAX bytes");
  block->reserved = block->nbytes + slack;
  umemStatusType status = umemi_device_alloc(
      ctx, block->reserved, cut ? 0 : alignment, &block->origin, error);
  if (status != umemOK)
    return status;
  block->adr = block->origin;
  if (cut)
    block->adr = (block->origin + alignment) & ~(uintptr_t)(alignment - 1);
  return umemOK;
}

/* Enters a block that the device handed out; gives it back if that fails. */
static umemStatusType memory_register(struct umemiContext *ctx,
                                      struct umemiBlock const *block,
                                      umemError *error) {
  bool nothing = block->nbytes == 0 && block->adr == 0;
  if (nothing || !memory_has_registry(ctx))
    return umemOK;
  umemStatusType status = umemi_registry_add(ctx, block, error);
  umemError ignored; /* the failure that is told is the first one */
  if (status == umemMemoryError)
    umemi_device_free(ctx, block->origin, block->reserved, &ignored);
  return status;
}

umemStatusType umemi_alloc(struct umemiContext *ctx, size_t nbytes,
                           size_t alignment, uintptr_t *adr_out,
                           umemError *error) {
  struct umemiBlock block = {.nbytes = nbytes};
  umemStatusType status = memory_reserve(ctx, alignment, &block, error);
  if (status == umemOK)
    status = memory_register(ctx, &block, error);
  if (status == umemOK)
    *adr_out = block.adr;
  return status;
}

static umemStatusType memory_alloc(void const *ctx, size_t nbytes,
                                   uintptr_t *adr_out, umemError *error) {
  umemStatusType status = umemi_need_live(ctx, "", error);
  if (status != umemOK)
    return status;
  if (!adr_out)
    return umemi_null(error, "adr_out");
  return umemi_alloc(umemi_context(ctx), nbytes, 0, adr_out, error);
}

static UMEMI_NOINLINE uintptr_t memory_alloc_slow(void const *ctx,
                                                  size_t nbytes) {
  struct umemiCall call;
  uintptr_t adr = 0;
  umemi_begin(&call);
  umemStatusType status = memory_alloc(ctx, nbytes, &adr, &call.error);
  umemi_end(&call, status, ctx, "umem_alloc(%s, %zu bytes)", umemi_name(ctx),
            nbytes);
  return adr;
}

uintptr_t umem_alloc(void const *ctx, size_t nbytes) {
  if (UMEMI_LIKELY(umemi_is_plain(ctx) && nbytes < UMEMI_LARGE_BLOCK)) {
    int saved = errno; /* malloc() may change it even if it succeeds */
    void *block = umemi_os.malloc(nbytes); /* of 0: NULL is the slow way's */
    __asm__ volatile("" ::: "memory");     /* clang believes it does not */
    errno = saved;
    if (UMEMI_LIKELY(block))
      return (uintptr_t)block;
  }
  return memory_alloc_slow(ctx, nbytes);
}

umemStatusType umem_try_alloc(void const *ctx, size_t nbytes,
                              uintptr_t *adr_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = memory_alloc(ctx, nbytes, adr_out, &call.error);
  return umemi_end(&call, status, ctx, "umem_try_alloc(%s, %zu bytes)",
                   umemi_name(ctx), nbytes);
}

/* --- calloc --------------------------------------------------------------- */

/* For devices without a calloc of their own. */
static umemStatusType memory_alloc_zeroed(struct umemiContext *ctx,
                                          size_t nbytes, uintptr_t *adr_out,
                                          umemError *error) {
  uintptr_t adr;
  umemStatusType status = umemi_alloc(ctx, nbytes, 0, &adr, error);
  if (status != umemOK)
    return status;
  status = umemi_set(ctx, adr, 0, nbytes, error);
  umemError ignored;
  if (status == umemOK) {
    *adr_out = adr;
    return umemOK;
  }
  umemi_free(ctx, adr, NULL, &ignored);
  error->bytes_done = 0; /* they are gone with the block */
  return status;
}

static umemStatusType memory_calloc(void const *ctx, size_t nmemb, size_t size,
                                    uintptr_t *adr_out, umemError *error) {
  struct umemiBlock block;
  umemStatusType status = umemi_need_live(ctx, "", error);
  if (status != umemOK)
    return status;
  if (!adr_out)
    return umemi_null(error, "adr_out");
  if (__builtin_mul_overflow(nmemb, size, &block.nbytes) ||
      block.nbytes > PTRDIFF_MAX)
    return umem_error_fill(error, umemMemoryError, 0, 0,
                           "more than PTRDIFF_MAX bytes");
  struct umemiContext *c = umemi_context(ctx);
  status = umemi_device_calloc(c, block.nbytes, &block.adr, error);
  if (status == UMEM_DECLINED)
    return memory_alloc_zeroed(c, block.nbytes, adr_out, error);
  if (status != umemOK)
    return status;
  block.origin = block.adr;
  block.reserved = block.nbytes;
  status = memory_register(c, &block, error);
  if (status == umemOK)
    *adr_out = block.adr;
  return status;
}

uintptr_t umem_calloc(void const *ctx, size_t nmemb, size_t size) {
  struct umemiCall call;
  uintptr_t adr = 0;
  umemi_begin(&call);
  umemStatusType status = memory_calloc(ctx, nmemb, size, &adr, &call.error);
  umemi_end(&call, status, ctx, "umem_calloc(%s, %zu * %zu bytes)",
            umemi_name(ctx), nmemb, size);
  return adr;
}

umemStatusType umem_try_calloc(void const *ctx, size_t nmemb, size_t size,
                               uintptr_t *adr_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = memory_calloc(ctx, nmemb, size, adr_out, &call.error);
  return umemi_end(&call, status, ctx, "umem_try_calloc(%s, %zu * %zu bytes)",
                   umemi_name(ctx), nmemb, size);
}

/* --- aligned_alloc -------------------------------------------------------- */

static umemStatusType memory_aligned_alloc(void const *ctx, size_t alignment,
                                           size_t size, uintptr_t *adr_out,
                                           struct umemiCall *call) {
  umemStatusType status = umemi_need_live(ctx, "", &call->error);
  if (status != umemOK)
    return status;
  if (!adr_out)
    return umemi_null(&call->error, "adr_out");
  call->whole_message = true; /* these two are all that is said */
  if (!umem_ispowerof2(alignment))
    return umem_error_fill(&call->error, umemValueError, 0, 0,
                           "umem_aligned_alloc: alignment %zu must be power of "
                           "2",
                           alignment);
  if (size & (alignment - 1))
    return umem_error_fill(&call->error, umemValueError, 0, 0,
                           "umem_aligned_alloc: size %zu must be multiple of "
                           "alignment %zu",
                           size, alignment);
  call->whole_message = false;
  return umemi_alloc(umemi_context(ctx), size, alignment, adr_out,
                     &call->error);
}

uintptr_t umem_aligned_alloc(void const *ctx, size_t alignment, size_t size) {
  struct umemiCall call;
  uintptr_t adr = 0;
  umemi_begin(&call);
  umemStatusType status =
      memory_aligned_alloc(ctx, alignment, size, &adr, &call);
  umemi_end(&call, status, ctx,
            "umem_aligned_alloc(%s, alignment %zu, %zu bytes)", umemi_name(ctx),
            alignment, size);
  return adr;
}

umemStatusType umem_try_aligned_alloc(void const *ctx, size_t alignment,
                                      size_t size, uintptr_t *adr_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status =
      memory_aligned_alloc(ctx, alignment, size, adr_out, &call);
  return umemi_end(&call, status, ctx,
                   "umem_try_aligned_alloc(%s, alignment %zu, %zu bytes)",
                   umemi_name(ctx), alignment, size);
}

/* --- free ----------------------------------------------------------------- */

umemStatusType umemi_free(struct umemiContext *ctx, uintptr_t adr,
                          uintptr_t *origin_out, umemError *error) {
  struct umemiBlock block = {.origin = adr};
  if (memory_has_registry(ctx)) {
    umemStatusType status = umemi_registry_take(ctx, adr, &block, error);
    if (status != umemOK && adr == 0) /* free(NULL), unless a block is there */
      return umemOK;
    if (status != umemOK)
      return status;
  }
  umemStatusType status =
      umemi_device_free(ctx, block.origin, block.reserved, error);
  if (status == umemOK && origin_out)
    *origin_out = block.origin;
  return status;
}

static umemStatusType memory_free(void const *ctx, uintptr_t adr,
                                  uintptr_t *origin_out, umemError *error) {
  umemStatusType status = umemi_need_live(ctx, "", error);
  if (status != umemOK)
    return status;
  uintptr_t origin = 0;
  status = umemi_free(umemi_context(ctx), adr, &origin, error);
  if (status == umemOK && origin_out)
    *origin_out = origin;
  return status;
}

static UMEMI_NOINLINE umemStatusType memory_free_slow(void const *ctx,
                                                      uintptr_t adr) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = memory_free(ctx, adr, NULL, &call.error);
  return umemi_end(&call, status, ctx, "umem_free(%s 0x%" PRIxPTR ")",
                   umemi_name(ctx), adr);
}

/* free() keeps errno, says POSIX.1-2024; glibc's does from 2.33 on, and then
   the call is all there is to do. */
#if __GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 33)
#define memory_libc_free free
#else
static void memory_libc_free(void *block) {
  int saved = errno;
  free(block);
  errno = saved;
}
#endif

umemStatusType umem_free(void const *ctx, uintptr_t adr) {
  if (UMEMI_LIKELY(umemi_is_plain(ctx))) {
    umemi_large_forget(adr);
    memory_libc_free((void *)adr);
    return umemOK;
  }
  return memory_free_slow(ctx, adr);
}

umemStatusType umem_try_free_aligned(void const *ctx, uintptr_t adr,
                                     uintptr_t *origin_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = memory_free(ctx, adr, origin_out, &call.error);
  return umemi_end(&call, status, ctx,
                   "umem_try_free_aligned(%s 0x%" PRIxPTR ")", umemi_name(ctx),
                   adr);
}

uintptr_t umem_free_aligned(void const *ctx, uintptr_t adr) {
  struct umemiCall call;
  uintptr_t origin = 0;
  umemi_begin(&call);
  umemStatusType status = memory_free(ctx, adr, &origin, &call.error);
  umemi_end(&call, status, ctx, "umem_free_aligned(%s 0x%" PRIxPTR ")",
            umemi_name(ctx), adr);
  return origin;
}

uintptr_t umem_aligned_free(void const *ctx, uintptr_t adr) {
  return umem_free_aligned(ctx, adr);
}

static umemStatusType memory_origin(void const *ctx, uintptr_t adr,
                                    uintptr_t *origin_out, umemError *error) {
  umemStatusType status = umemi_need_live(ctx, "", error);
  if (status != umemOK)
    return status;
  struct umemiContext *c = umemi_context(ctx);
  struct umemiBlock block = {.origin = adr};
  if (memory_has_registry(c))
    status = umemi_registry_get(c, adr, &block, error);
  else
    status = umemi_device_check(c, adr, adr < UINTPTR_MAX, umemRead, error);
  if (status == umemOK)
    *origin_out = block.origin;
  return status;
}

uintptr_t umem_aligned_origin(void const *ctx, uintptr_t adr) {
  struct umemiCall call;
  uintptr_t origin = 0;
  umemi_begin(&call);
  umemStatusType status = memory_origin(ctx, adr, &origin, &call.error);
  umemi_end(&call, status, ctx, "umem_aligned_origin(%s 0x%" PRIxPTR ")",
            umemi_name(ctx), adr);
  return origin;
}

/* Says what outlives the context; such blocks are left alone. */
static umemStatusType memory_report_leaks(struct umemiContext *ctx,
                                          umemError *error) {
  struct umemiBlock block, first = {.nbytes = 0};
  size_t count = 0, nbytes = 0;
  while (umemi_registry_pop(ctx, &block)) {
    first = count++ ? first : block;
    nbytes += block.nbytes;
  }
  if (count == 0)
    return umemOK;
  return umem_error_fill(error, umemRuntimeError, 0, 0,
                         "%zu block(s) of %zu bytes in all were never freed, "
                         "one of them %zu bytes at 0x%" PRIxPTR,
                         count, nbytes, first.nbytes, first.adr);
}

umemStatusType umemi_free_all(struct umemiContext *ctx, umemError *error) {
  if (ctx->vtbl->caps & UMEM_CAP_BLOCKS_OUTLIVE)
    return memory_report_leaks(ctx, error);
  umemStatusType first = umemOK;
  struct umemiBlock block;
  umemError later;
  while (umemi_registry_pop(ctx, &block)) {
    umemStatusType status = umemi_device_free(ctx, block.origin, block.reserved,
                                              first == umemOK ? error : &later);
    first = first == umemOK ? status : first;
  }
  return first;
}
