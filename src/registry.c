/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The live blocks of a context. They never overlap, so of all blocks that begin
 * at or before the end of a range the last one reaches furthest: it overlaps
 * the range, or no block does.
 */
#include "internal.h"

/* A block of 0 bytes has its address to itself, as one of 1 byte. */
static size_t block_extent(struct umemiBlock const *block) {
  return block->nbytes ? block->nbytes : 1;
}

int umemi_block_compare(void const *a, void const *b) {
  struct umemiBlock const *one = a, *two = b;
  if (one->adr < two->adr)
    return two->adr - one->adr >= block_extent(one) ? -1 : 0;
  return one->adr - two->adr >= block_extent(two) ? 1 : 0;
}

/* The last block that overlaps the range, or NULL. */
static struct umemiBlock const *block_in(struct umemiContext const *ctx,
                                         uintptr_t adr, size_t nbytes) {
  size_t ahead = nbytes - 1, most = UINTPTR_MAX - adr;
  uintptr_t last = adr + (ahead < most ? ahead : most);
  struct umemiBlock const *block = umemi_blocktree_before(ctx->blocks, last);
  bool overlaps =
      block && (block->adr >= adr || adr - block->adr < block_extent(block));
  return overlaps ? block : NULL;
}

static umemStatusType block_unknown(struct umemiBlock const *near,
                                    uintptr_t adr, umemError *error) {
  if (near)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "0x%" PRIxPTR " lies inside the block of %zu bytes "
                           "at 0x%" PRIxPTR,
                           adr, near->nbytes, near->adr);
  return umem_error_fill(error, umemValueError, 0, 0,
                         "0x%" PRIxPTR " is not a live block of this context: "
                         "freed already, or from elsewhere",
                         adr);
}

umemStatusType umemi_block_bound(struct umemiBlock const *block, uintptr_t adr,
                                 size_t nbytes, umemError *error) {
  if (adr >= block->adr && nbytes <= block->nbytes &&
      adr - block->adr <= block->nbytes - nbytes)
    return umemOK;
  return umem_error_fill(error, umemIndexError, 0, 0,
                         "%zu bytes at 0x%" PRIxPTR " leave the block of %zu "
                         "bytes at 0x%" PRIxPTR,
                         nbytes, adr, block->nbytes, block->adr);
}

umemStatusType umemi_registry_add(struct umemiContext *ctx,
                                  struct umemiBlock const *block,
                                  umemError *error) {
  umemi_lock(ctx->id);
  bool is_free = !block_in(ctx, block->adr, block_extent(block));
  bool added = is_free && umemi_blocktree_add(&ctx->blocks, block);
  umemi_unlock(ctx->id);
  if (added)
    return umemOK;
  if (is_free)
    return umemi_no_memory(error, "the registry of blocks", sizeof *block);
  return umem_error_fill(error, umemRuntimeError, 0, 0,
                         "the device handed out 0x%" PRIxPTR
                         ", which is in use already",
                         block->adr);
}

umemStatusType umemi_registry_get(struct umemiContext *ctx, uintptr_t adr,
                                  struct umemiBlock *out, umemError *error) {
  umemi_lock(ctx->id);
  struct umemiBlock const *block = block_in(ctx, adr, 1);
  struct umemiBlock found = {.nbytes = 0};
  if (block)
    found = *block;
  umemi_unlock(ctx->id);
  if (!block || found.adr != adr)
    return block_unknown(block ? &found : NULL, adr, error);
  *out = found;
  return umemOK;
}

umemStatusType umemi_registry_take(struct umemiContext *ctx, uintptr_t adr,
                                   struct umemiBlock *out, umemError *error) {
  umemi_lock(ctx->id);
  struct umemiBlock const *block = block_in(ctx, adr, 1);
  struct umemiBlock found = {.nbytes = 0};
  if (block)
    found = *block;
  bool taken = block && found.adr == adr;
  if (taken)
    umemi_blocktree_take(&ctx->blocks, adr);
  umemi_unlock(ctx->id);
  if (!taken)
    return block_unknown(block ? &found : NULL, adr, error);
  *out = found;
  return umemOK;
}

umemStatusType umemi_registry_bound(struct umemiContext *ctx, uintptr_t adr,
                                    size_t nbytes, umemError *error) {
  if (nbytes == 0)
    return umemOK;
  umemi_lock(ctx->id);
  struct umemiBlock const *block = block_in(ctx, adr, nbytes);
  struct umemiBlock found = {.nbytes = 0};
  if (block)
    found = *block;
  umemi_unlock(ctx->id);
  return block ? umemi_block_bound(&found, adr, nbytes, error) : umemOK;
}

bool umemi_registry_pop(struct umemiContext *ctx, struct umemiBlock *out) {
  umemi_lock(ctx->id);
  struct umemiBlock const *block =
      umemi_blocktree_before(ctx->blocks, UINTPTR_MAX);
  if (block) {
    *out = *block;
    umemi_blocktree_take(&ctx->blocks, out->adr);
  }
  umemi_unlock(ctx->id);
  return block != NULL;
}
