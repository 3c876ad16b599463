/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What becomes of the bytes of an open file in the end: flushed, given up,
 * published, closed. See filestore.c.
 */
#include "internal.h"

/* --- durability ----------------------------------------------------------- */

/* Flushes take turns: the kernel tells a lost write to one fdatasync() only
   (fsync(2)), and every flush must fail from then on. Over I/O for that reason.
   A child does not wait for a turn that another thread had at the fork. */
static void store_flush_begin(struct umemiStore *store) {
  umemi_lock(store->id);
  if (store->turn_process != umemi_process()) {
    pthread_mutex_init(&store->turn, NULL);
    store->turn_process = umemi_process();
  }
  umemi_unlock(store->id);
  pthread_mutex_lock(&store->turn);
}

/* A new name is durable when its directory is; after that the directory is not
   needed any more. */
static int store_sync_directory(struct umemiStore *store) {
  struct umemiOpenFile *open = &store->open;
  if (!open->has_new_name)
    return 0;
  int failed = umemi_place_sync(&open->place, open->io.fd);
  if (failed)
    return failed;
  umemi_place_close(&open->place);
  open->has_new_name = false;
  return 0;
}

static umemStatusType store_flush_in_turn(struct umemiStore *store,
                                          umemError *error) {
  char const *what = "fdatasync";
  int failed = store->flush_errno;
  if (failed)
    return umem_error_fill(error, umemIOError, failed, 0,
                           "an earlier flush failed, data may be lost: open "
                           "the file anew");
  if (UMEMI_RETRY(umemi_os.fdatasync(store->open.io.fd)))
    failed = errno;
  else {
    what = "fsync of the directory";
    failed = store_sync_directory(store);
  }
  store->flush_errno = failed;
  return failed ? umem_error_fill(error, umemIOError, failed, 0, "%s", what)
                : umemOK;
}

umemStatusType umemi_store_flush(void *state, umemError *error) {
  struct umemiStore *store = state;
  store_flush_begin(store);
  umemStatusType status = store_flush_in_turn(store, error);
  pthread_mutex_unlock(&store->turn);
  return status;
}

umemStatusType umemi_store_discard(void *state, umemError *error) {
  struct umemiStore *store = state;
  if (!store->open.is_atomic)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "not opened with UMEM_FILE_ATOMIC");
  atomic_store(&store->discarded, true);
  int failed = umemi_temp_discard(&store->open);
  return failed ? umem_error_fill(error, umemIOError, failed, 0,
                                  "remove the temporary file")
                : umemOK;
}

/* --- life ----------------------------------------------------------------- */

umemStatusType umemi_store_close(struct umemiStore *store, umemError *error) {
  uint64_t failures = umem_get_error_count(store->ctx);
  bool discarded = atomic_load(&store->discarded);
  bool refuse = store->open.is_atomic && failures > 0 && !discarded;
  umemError later;
  if (refuse)
    umem_error_fill(error, umemIOError, 0, 0,
                    "not published, because calls on the context had failed "
                    "(%" PRIu64 "): \"%s\"",
                    failures, store->open.name);
  umemStatusType status = umemi_file_close(
      &store->open, failures == 0 && !discarded, refuse ? &later : error);
  umemi_extents_clear(&store->extents);
  umemi_extents_clear(&store->places);
  pthread_mutex_destroy(&store->turn);
  return refuse ? umemIOError : status;
}

void umemi_store_abandon(struct umemiStore *store) {
  umemi_file_abandon(&store->open);
  pthread_mutex_destroy(&store->turn);
}

/* The bits of a context that it has by the mode of its file. */
static unsigned char store_refusals(struct umemiStore const *store) {
  struct umemiFileMode const *mode = &store->open.mode;
  unsigned refuses = 0;
  if (!mode->readable)
    refuses |= UMEMI_REFUSES_READ;
  if (!mode->writable)
    refuses |= UMEMI_REFUSES_WRITE;
  if (store->protected_end > 0)
    refuses |= UMEMI_REFUSES_SOME_WRITES;
  return (unsigned char)refuses;
}

umemStatusType umemi_store_open(struct umemiStore *store, void *ctx,
                                char const *filename, char const *mode,
                                umemFileOptions const *options, bool maps,
                                umemError *error) {
  umemStatusType status =
      umemi_file_open(&store->open, filename, mode, options, maps, error);
  if (status != umemOK)
    return status;
  store->ctx = ctx;
  store->id = umemi_context(ctx)->id;
  store->alignment = 1;
  store->limit = UMEMI_OFFSET_MAX;
  pthread_mutex_init(&store->turn, NULL);
  store->turn_process = umemi_process();
  if (store->open.mode.appends)
    store->protected_end = store->open.size;
  umemi_context(ctx)->refuses = store_refusals(store);
  return umemOK;
}

/* The texts about empty ones are whole messages. */
umemStatusType umemi_store_names(char const *filename, char const *mode,
                                 uint32_t flags, struct umemiCall *call) {
  umemError *error = &call->error;
  if (!filename && flags & UMEM_FILE_TAKE_FD)
    filename = "descriptor";
  if (!filename)
    return umemi_null(error, "filename");
  if (!mode)
    return umemi_null(error, "mode");
  call->whole_message = !filename[0] || !mode[0];
  if (!filename[0])
    return umem_error_fill(error, umemValueError, 0, 0,
                           "invalid 0-length filename");
  if (!mode[0])
    return umem_error_fill(error, umemValueError, 0, 0,
                           "invalid 0-length mode");
  return umemOK;
}
