/* SPDX-License-Identifier: BSD-3-Clause */
/* Access of a context to the memory of others: it ends with either's life. */
#include "inner.h"

#include <stdlib.h>

static uint64_t *peer_find(struct context const *context,
                           struct context const *peer) {
  for (size_t i = 0; i < context->peer_count; i++)
    if (context->peers[i] == peer->id)
      return &context->peers[i];
  return NULL;
}

bool sim_context_reaches(struct context const *context,
                         struct context const *owner) {
  return peer_find(context, owner);
}

static cuCode peer_add(struct context *context, struct context const *peer) {
  if (!sim.devices[context->device].can_access[peer->device])
    return UMEMI_CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
  if (peer_find(context, peer))
    return UMEMI_CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
  size_t nbytes = (context->peer_count + 1) * sizeof *context->peers;
  context->peers = realloc(context->peers, nbytes);
  if (!context->peers)
    abort();
  context->peers[context->peer_count++] = peer->id;
  return UMEMI_CUDA_SUCCESS;
}

static cuCode peer_remove(struct context *context, struct context const *peer) {
  uint64_t *found = peer_find(context, peer);
  if (!found)
    return UMEMI_CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
  *found = context->peers[--context->peer_count];
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuCtxEnablePeerAccess(cuContext peer, unsigned flags) {
  ENTER(cuCtxEnablePeerAccess, IN_CONTEXT);
  struct context const *other = sim_context(peer);
  if (flags)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  if (!other || other == sim_current())
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_CONTEXT);
  return sim_leave(peer_add(sim_current(), other));
}

cuCode cuCtxDisablePeerAccess(cuContext peer) {
  ENTER(cuCtxDisablePeerAccess, IN_CONTEXT);
  struct context const *other = sim_context(peer);
  return sim_leave(other ? peer_remove(sim_current(), other)
                         : UMEMI_CUDA_ERROR_INVALID_CONTEXT);
}
