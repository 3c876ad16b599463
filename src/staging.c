/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounded host memory for one call: what is staged through it is chunked. */
#include "internal.h"

enum { STAGE_MAX = 1 << 20, STAGE_MIN = 64 << 10 };

umemStatusType umemi_stage_begin(struct umemiStage *stage, size_t wanted,
                                 umemError *error) {
  size_t size = wanted < STAGE_MAX ? wanted : STAGE_MAX;
  size_t least = wanted < STAGE_MIN ? wanted : STAGE_MIN;
  stage->ptr = umemi_os.malloc(size);
  while (!stage->ptr && size > least) {
    size = size / 2 > least ? size / 2 : least;
    stage->ptr = umemi_os.malloc(size);
  }
  stage->size = size;
  return stage->ptr ? umemOK : umemi_no_memory(error, "staging", size);
}

void umemi_stage_end(struct umemiStage *stage) {
  free(stage->ptr);
}
