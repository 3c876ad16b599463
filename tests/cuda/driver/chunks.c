/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory as devices have it: chunks of 2 MiB, in which small blocks lie side by
 * side, and where the next block begins where one was freed. What leaves a
 * block, or is in none, is found nonetheless, as long as it stays in the chunk.
 */
#include "inner.h"

#include <stdlib.h>
#include <unistd.h>

enum { CHUNK = 2 << 20 };

struct chunk {
  struct chunk *next;
  struct block *whole; /**< For what is not within one block. */
  size_t live;         /**< Blocks in it. */
};

static struct chunk *chunks;

/* --- places --------------------------------------------------------------- */

/* The first gap that is long enough, or 0. */
static uintptr_t chunk_gap(struct chunk const *chunk, size_t room) {
  uintptr_t at = chunk->whole->start, end = at + chunk->whole->room;
  while (room <= end - at) {
    struct block const *block = sim_block_find(at, room);
    if (!block)
      return at;
    at = block->start + block->room;
  }
  return 0;
}

static bool chunk_is_for(struct chunk const *chunk, struct block const *block) {
  return chunk->whole->context == block->context &&
         chunk->whole->device == block->device &&
         chunk->whole->pool == block->pool;
}

/* --- life ----------------------------------------------------------------- */

static bool whole_map(struct block *whole) {
  whole->fd = sim_memory_file(whole->room);
  if (whole->fd < 0)
    return false;
  whole->bytes = sim_map_shared(whole->fd, whole->room);
  if (whole->bytes)
    return true;
  close(whole->fd);
  return false;
}

/* Its bytes are a file in memory, for other processes. */
static struct block *whole_new(struct block const *first) {
  struct arena *arena = &sim.devices[first->device].arena;
  struct block *whole = sim_new(sizeof *whole);
  *whole = *first;
  whole->nbytes = whole->room = sim_round(first->room, CHUNK);
  whole->start = sim_arena_take(arena, whole->room, CHUNK);
  whole->reserved_start = whole->start;
  whole->reserved = whole->room;
  if (whole->start && whole_map(whole))
    return whole;
  free(whole);
  return NULL;
}

static struct chunk *chunk_new(struct block const *first) {
  struct block *whole = whole_new(first);
  if (!whole)
    return NULL;
  struct chunk *chunk = sim_new(sizeof *chunk);
  *chunk = (struct chunk){chunks, whole, 0};
  chunks = chunk;
  return chunk;
}

static struct chunk *chunk_with_gap(struct block const *block) {
  for (struct chunk *chunk = chunks; chunk; chunk = chunk->next)
    if (chunk_is_for(chunk, block) && chunk_gap(chunk, block->room))
      return chunk;
  return NULL;
}

bool sim_chunk_place(struct block *block) {
  struct chunk *chunk = chunk_with_gap(block);
  if (!chunk)
    chunk = chunk_new(block);
  if (!chunk)
    return false;
  block->chunk = chunk;
  block->start = chunk_gap(chunk, block->room);
  block->bytes = chunk->whole->bytes + (block->start - chunk->whole->start);
  chunk->live++;
  return true;
}

void sim_chunk_leave(struct block const *block) {
  struct chunk **link = &chunks, *chunk = block->chunk;
  if (--chunk->live)
    return;
  while (*link != chunk)
    link = &(*link)->next;
  *link = chunk->next;
  sim_block_abandon(chunk->whole);
  free(chunk);
}

/* --- questions ------------------------------------------------------------ */

struct block *sim_chunk_find(uintptr_t adr, size_t nbytes) {
  for (struct chunk *chunk = chunks; chunk; chunk = chunk->next)
    if (sim_block_has(chunk->whole, adr, nbytes))
      return chunk->whole;
  return NULL;
}

struct block const *sim_chunk_whole(struct block const *block) {
  return block->chunk ? block->chunk->whole : block;
}
