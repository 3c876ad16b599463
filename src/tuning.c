/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every threshold that decides how bytes are moved, in one place. Each can be
 * overridden: UMEM_TUNE="name=bytes,name=bytes", bytes with K, M or G behind
 * them. bench/ has the sweeps that set them; docs/performance.md tells what
 * they came to.
 */
#include "internal.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

#define TUNING_NAMES(X)                                                        \
  X(cache)                                                                     \
  X(simd)                                                                      \
  X(loop_from)                                                                 \
  X(loop_alike_from)                                                           \
  X(share_from)                                                                \
  X(stream_from)                                                               \
  X(stream_shared_from)                                                        \
  X(fresh_from)                                                                \
  X(huge)                                                                      \
  X(populate)                                                                  \
  X(host_piece)                                                                \
  X(lanes_from)                                                                \
  X(slot)                                                                      \
  X(align_from)                                                                \
  X(read_piece)                                                                \
  X(direct_piece)                                                              \
  X(reserve_from)                                                              \
  X(zero_from)                                                                 \
  X(sparse_from)                                                               \
  X(reflink_from)                                                              \
  X(gpu_stream_from)                                                           \
  X(gpu_ring_from)                                                             \
  X(gpu_share_from)                                                            \
  X(gpu_piece)

struct umemiTuning umemi_tuning_values;
atomic_bool umemi_tuning_is_ready;
static _Atomic uint64_t tuning_once;

struct tuning_name {
  char const *name;
  size_t offset;
};

static size_t *tuning_find(char const *name, size_t length) {
#define TUNING_ROW(name_) {#name_, offsetof(struct umemiTuning, name_)},
  static struct tuning_name const names[] = {TUNING_NAMES(TUNING_ROW)};
#undef TUNING_ROW
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strlen(names[i].name) == length &&
        memcmp(names[i].name, name, length) == 0)
      return (size_t *)((char *)&umemi_tuning_values + names[i].offset);
  return NULL;
}

/* What is not understood is left alone. */
static void tuning_override(char const *text) {
  while (text && *text) {
    size_t length = strcspn(text, "=,");
    size_t *member = tuning_find(text, length);
    if (text[length] == '=' && member)
      *member = umemi_bytes_of(text + length + 1);
    text = strchr(text, ',');
    text += text != NULL;
  }
}

/* A slot has to be useful and to keep the promise of 8 MiB a copy. */
static void tuning_bound(size_t *bytes, size_t least, size_t most) {
  if (*bytes < least)
    *bytes = least;
  if (*bytes > most)
    *bytes = most;
  *bytes &= ~(size_t)(UMEMI_PAGE - 1);
}

static void tuning_set(void) {
  struct umemiTuning *tuning = &umemi_tuning_values;
  tuning->cache = umemi_cache_size();
  tuning_override(secure_getenv("UMEM_TUNE")); /* others follow from it */
  size_t cache = tuning->cache;
  *tuning = (struct umemiTuning){
      .cache = cache,
      .simd = 1,
      .loop_from = UMEMI_SHORT_COPY,
      .loop_alike_from = 32 * KIB,
      .share_from = 6 * MIB,
      .stream_from = cache / 8 * 5,
      .stream_shared_from = cache,
      .fresh_from = 4 * MIB,
      .huge = 1,
      .populate = 1,
      .host_piece = 1 * MIB,
      .lanes_from = 4 * MIB,
      .slot = 1 * MIB,
      .read_piece = 2 * MIB,
      .align_from = 16 * KIB,
      .direct_piece = 16 * MIB,
      .reserve_from = 1 * MIB,
      .zero_from = 64 * KIB,
      .sparse_from = 1 * MIB,
      .reflink_from = 64 * KIB,
      .gpu_stream_from = 64 * KIB,
      .gpu_ring_from = 4 * MIB,
      .gpu_share_from = 16 * MIB,
      .gpu_piece = 8 * MIB,
  };
  tuning_override(secure_getenv("UMEM_TUNE"));
  tuning_bound(&tuning->slot, UMEMI_SLOT_LEAST, UMEMI_SLOT_MOST);
  tuning_bound(&tuning->host_piece, 64 * KIB, 1024 * MIB);
  tuning_bound(&tuning->read_piece, 64 * KIB, 1024 * MIB);
  tuning_bound(&tuning->direct_piece, 64 * KIB, 1024 * MIB);
  atomic_store_explicit(&umemi_tuning_is_ready, true, memory_order_release);
}

void umemi_tuning_init(void) {
  umemi_once(&tuning_once, tuning_set);
}
