/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handles by which other processes reach a block. Its bytes move into a file in
 * memory, which the other process opens by way of /proc: it must be one of the
 * same user, and the block must be live.
 */
#include "inner.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is in a handle. */
struct ticket {
  char magic[8];
  pid_t process;
  int fd, device;
  uint32_t offset; /**< Of the block in its chunk, which is shared with it. */
  uintptr_t start; /**< Of the chunk; or of the block, which is in none. */
  size_t nbytes;
  uint64_t serial; /**< Of the block. */
};

static char const magic[8] = "simcu 2";

_Static_assert(sizeof(struct ticket) <= sizeof(cuIpcHandle),
               "a ticket is longer than a handle");

/* --- out ------------------------------------------------------------------ */

static cuCode ticket_write(struct ticket *ticket, struct block *block) {
  if (!block || block->kind != SIMCU_DEVICE || block->dying)
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  if (!block->chunk && !sim_block_share(block))
    return UMEMI_CUDA_ERROR_OUT_OF_MEMORY;
  struct block const *whole = sim_chunk_whole(block);
  *ticket = (struct ticket){.process = getpid(),
                            .fd = whole->fd,
                            .device = block->device,
                            .offset = (uint32_t)(block->start - whole->start),
                            .start = whole->start,
                            .nbytes = whole->nbytes,
                            .serial = block->serial};
  memcpy(ticket->magic, magic, sizeof magic);
  return UMEMI_CUDA_SUCCESS;
}

cuCode cuIpcGetMemHandle(cuIpcHandle *handle_out, cuAddress adr) {
  ENTER(cuIpcGetMemHandle, IN_CONTEXT);
  struct ticket ticket;
  cuCode code = ticket_write(&ticket, sim_block_find((uintptr_t)adr, 1));
  if (code)
    return sim_leave(code);
  memset(handle_out, 0, sizeof *handle_out);
  memcpy(handle_out, &ticket, sizeof ticket);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

/* --- in ------------------------------------------------------------------- */

/* A handle that is open, and how often. */
struct opening {
  struct opening *next;
  uint32_t offset;
  uint64_t serial;
  unsigned count;
};

void sim_openings_forget(struct block *block) {
  while (block->openings) {
    struct opening *opening = block->openings;
    block->openings = opening->next;
    free(opening);
  }
}

struct search {
  struct ticket const *ticket;
  struct block *found;
};

static void compare(struct block *block, void *argument) {
  struct search *search = argument;
  if (block->kind == SIMCU_IMPORTED && block->origin == search->ticket->start &&
      block->origin_process == search->ticket->process &&
      block->context == sim_current())
    search->found = block;
}

static struct block *ticket_known(struct ticket const *ticket) {
  struct search search = {ticket, NULL};
  sim_block_each(compare, &search);
  return search.found;
}

/* A descriptor of ours for theirs, or -1: they, or the block, are gone. */
static int ticket_fd(struct ticket const *ticket) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)ticket->process,
           ticket->fd);
  return open(path, O_RDWR | O_CLOEXEC);
}

static struct block *ticket_import(struct ticket const *ticket) {
  int fd = ticket_fd(ticket);
  if (fd < 0)
    return NULL;
  struct block *block =
      sim_block_import(fd, ticket->nbytes, sim_current(), ticket->device);
  if (block) {
    block->origin = ticket->start;
    block->origin_process = ticket->process;
  }
  return block;
}

static cuCode ticket_check(struct ticket const *ticket, unsigned flags) {
  if (flags != UMEMI_CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS ||
      memcmp(ticket->magic, magic, sizeof magic) != 0 ||
      !sim_is_device(ticket->device))
    return UMEMI_CUDA_ERROR_INVALID_VALUE;
  if (ticket->process == getpid() && !sim.ipc_within)
    return UMEMI_CUDA_ERROR_INVALID_CONTEXT;
  return UMEMI_CUDA_SUCCESS;
}

static struct opening *opening_at(struct block const *block, size_t offset) {
  struct opening *opening = block->openings;
  while (opening && opening->offset != offset)
    opening = opening->next;
  return opening;
}

/* What was at that address before may still be open. */
static cuCode opening_count(struct block *block, struct ticket const *ticket) {
  struct opening *opening = opening_at(block, ticket->offset);
  if (opening && (opening->serial != ticket->serial || !sim.ipc_again))
    return SIM_ERROR_ALREADY_MAPPED;
  if (!opening) {
    opening = sim_new(sizeof *opening);
    *opening =
        (struct opening){block->openings, ticket->offset, ticket->serial, 0};
    block->openings = opening;
  }
  opening->count++;
  return UMEMI_CUDA_SUCCESS;
}

static cuCode handle_open(struct ticket const *ticket, cuAddress *adr_out) {
  struct block *block = ticket_known(ticket);
  if (!block)
    block = ticket_import(ticket);
  if (!block)
    return UMEMI_CUDA_ERROR_INVALID_HANDLE;
  *adr_out = block->start + ticket->offset;
  return opening_count(block, ticket);
}

cuCode cuIpcOpenMemHandle_v2(cuAddress *adr_out, cuIpcHandle handle,
                             unsigned flags) {
  ENTER(cuIpcOpenMemHandle_v2, IN_CONTEXT);
  struct ticket ticket;
  memcpy(&ticket, &handle, sizeof ticket);
  cuCode code = ticket_check(&ticket, flags);
  return sim_leave(code ? code : handle_open(&ticket, adr_out));
}

/* --- close ---------------------------------------------------------------- */

static void opening_drop(struct block *block, struct opening *opening) {
  struct opening **link = &block->openings;
  if (--opening->count)
    return;
  while (*link != opening)
    link = &(*link)->next;
  *link = opening->next;
  free(opening);
}

cuCode cuIpcCloseMemHandle(cuAddress adr) {
  ENTER(cuIpcCloseMemHandle, IN_CONTEXT);
  struct block *block = sim_block_find((uintptr_t)adr, 1);
  struct opening *opening = NULL;
  if (block && block->kind == SIMCU_IMPORTED)
    opening = opening_at(block, (size_t)(adr - block->start));
  if (!opening)
    return sim_leave(REFUSED("%#llx is no opened handle", adr));
  opening_drop(block, opening);
  return sim_leave(block->openings ? UMEMI_CUDA_SUCCESS : sim_free(block));
}
