/* SPDX-License-Identifier: BSD-3-Clause */
/* The checksum of a range, chunk by chunk. */
#include "internal.h"

#include "crc32c.h"

struct checksum {
  struct umemiSource source;
  uint32_t sum;
};

static umemStatusType checksum_step(struct umemiLanes *lanes, size_t offset,
                                    size_t nbytes, void *slot,
                                    umemError *error) {
  struct checksum *c = lanes->arg;
  char const *bytes;
  umemStatusType status =
      umemi_source_bytes(&c->source, offset, nbytes, slot, &bytes, error);
  if (status == umemOK)
    c->sum = umemi_crc32c(c->sum, bytes, nbytes);
  else
    error->bytes_done = 0; /* of a chunk that was not summed up */
  return status;
}

/* In one lane: a sum goes on from the one before. */
static umemStatusType checksum_run(struct checksum *c, size_t nbytes,
                                   umemError *error) {
  struct umemiLanes lanes = {.nbytes = nbytes,
                             .chunk = umemi_tuning()->slot,
                             .grain = 1,
                             .room = !c->source.view,
                             .step = checksum_step,
                             .arg = c};
  umemStatusType status = umemi_lanes_run(&lanes, error);
  return umemi_source_end(&c->source, NULL, status, error);
}

static umemStatusType checksum(void const *ctx, struct umemiRange const *range,
                               uint32_t before, uint32_t *checksum_out,
                               umemError *error) {
  umemStatusType status = umemi_need_live(ctx, "", error);
  if (status != umemOK)
    return status;
  if (!checksum_out)
    return umemi_null(error, "checksum_out");
  struct umemiContext *live = umemi_context(ctx);
  struct checksum c = {.sum = before};
  status = umemi_check(live, range, umemRead, error);
  if (status == umemOK && range->nbytes > 0) {
    status =
        umemi_source_begin(&c.source, live, range->adr, range->nbytes, error);
    if (status == umemOK)
      status = checksum_run(&c, range->nbytes, error);
  }
  if (status == umemOK)
    *checksum_out = c.sum;
  return status;
}

umemStatusType umem_checksum(void const *ctx, uintptr_t adr, size_t nbytes,
                             uint32_t before, uint32_t *checksum_out) {
  struct umemiCall call;
  umemi_begin(&call);
  struct umemiRange range = {adr, nbytes, nbytes, false};
  umemStatusType status =
      checksum(ctx, &range, before, checksum_out, &call.error);
  return umemi_end(&call, status, ctx,
                   "umem_checksum(%s 0x%" PRIxPTR ", %zu bytes)",
                   umemi_name(ctx), adr, nbytes);
}
