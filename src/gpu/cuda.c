/* SPDX-License-Identifier: BSD-3-Clause */
/* The operations of a GPU by the CUDA driver API: one call each. */
#include "cudriver.h"

/* --- peers ---------------------------------------------------------------- */

static umemStatusType cuda_enable_peer(umemiGpuContext peer, umemError *error) {
  cuCode code = umemi_cu()->CtxEnablePeerAccess(peer, 0);
  return code == UMEMI_CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED
             ? umemOK
             : umemi_cu_failed(umemi_cu(), code, "cuCtxEnablePeerAccess",
                               error);
}

/* --- captures ------------------------------------------------------------- */

static umemStatusType cuda_relax(int *mode_out, umemError *error) {
  cuCaptureMode mode = UMEMI_CU_STREAM_CAPTURE_MODE_RELAXED;
  umemStatusType status = CUDA(ThreadExchangeStreamCaptureMode, (&mode));
  *mode_out = (int)mode;
  return status;
}

static umemStatusType cuda_restore(int mode, umemError *error) {
  cuCaptureMode before = (cuCaptureMode)mode;
  return CUDA(ThreadExchangeStreamCaptureMode, (&before));
}

/* The question itself ends no capture (cuStreamIsCapturing). Of the default
   stream it is answered by a code: those that it waits for are captured. */
static umemStatusType cuda_stream_is_free(umemiGpuStream stream, bool *free_out,
                                          umemError *error) {
  cuCaptureStatus capture = UMEMI_CU_STREAM_CAPTURE_STATUS_NONE;
  cuCode code = umemi_cu()->StreamIsCapturing(stream, &capture);
  *free_out = code == UMEMI_CUDA_SUCCESS &&
              capture == UMEMI_CU_STREAM_CAPTURE_STATUS_NONE;
  return code == UMEMI_CUDA_ERROR_STREAM_CAPTURE_IMPLICIT
             ? umemOK
             : umemi_cu_failed(umemi_cu(), code, "cuStreamIsCapturing", error);
}

/* --- memory --------------------------------------------------------------- */

static umemStatusType cuda_alloc(size_t nbytes, uintptr_t *adr_out,
                                 umemError *error) {
  cuAddress adr = 0;
  umemStatusType status = CUDA(MemAlloc, (&adr, nbytes));
  if (status == umemOK)
    *adr_out = (uintptr_t)adr;
  return status;
}

static umemStatusType cuda_free(uintptr_t adr, umemError *error) {
  return CUDA(MemFree, (adr));
}

static umemStatusType cuda_free_bytes(uint64_t *free_out, umemError *error) {
  size_t unused = 0, total = 0;
  umemStatusType status = CUDA(MemGetInfo, (&unused, &total));
  *free_out = unused;
  return status;
}

/* For all devices. */
static umemStatusType cuda_host_alloc(size_t nbytes, bool write_combined,
                                      void **ptr_out, umemError *error) {
  unsigned flags = UMEMI_CU_MEMHOSTALLOC_PORTABLE;
  if (write_combined)
    flags |= UMEMI_CU_MEMHOSTALLOC_WRITECOMBINED;
  return CUDA(MemHostAlloc, (ptr_out, nbytes, flags));
}

static umemStatusType cuda_host_free(uintptr_t adr, umemError *error) {
  return CUDA(MemFreeHost, ((void *)adr));
}

static umemStatusType cuda_pin(void *ptr, size_t nbytes, bool read_only,
                               umemError *error) {
  unsigned flags = UMEMI_CU_MEMHOSTREGISTER_PORTABLE;
  if (read_only)
    flags |= UMEMI_CU_MEMHOSTREGISTER_READ_ONLY;
  return CUDA(MemHostRegister, (ptr, nbytes, flags));
}

/* The flags, or so much memory at once, were refused; others tell what is so in
   any way: memory that is registered already, or a device that is broken. */
static bool cuda_may_pin_otherwise(int64_t code) {
  return code == UMEMI_CUDA_ERROR_INVALID_VALUE ||
         code == UMEMI_CUDA_ERROR_OUT_OF_MEMORY ||
         code == UMEMI_CUDA_ERROR_NOT_PERMITTED ||
         code == UMEMI_CUDA_ERROR_NOT_SUPPORTED;
}

static umemStatusType cuda_unpin(uintptr_t adr, umemError *error) {
  return CUDA(MemHostUnregister, ((void *)adr));
}

static umemStatusType cuda_managed_alloc(size_t nbytes, bool host_first,
                                         uintptr_t *adr_out, umemError *error) {
  cuAddress adr = 0;
  unsigned flags =
      host_first ? UMEMI_CU_MEM_ATTACH_HOST : UMEMI_CU_MEM_ATTACH_GLOBAL;
  umemStatusType status = CUDA(MemAllocManaged, (&adr, nbytes, flags));
  if (status == umemOK)
    *adr_out = (uintptr_t)adr;
  return status;
}

/* In this form the question is no error for memory that CUDA does not know: its
   type is 0 then. */
static umemStatusType cuda_is_pageable(uintptr_t adr, bool *is_out,
                                       umemError *error) {
  unsigned type = 0;
  cuPointerAttribute which = UMEMI_CU_POINTER_ATTRIBUTE_MEMORY_TYPE;
  void *value = &type;
  umemStatusType status = CUDA(PointerGetAttributes, (1, &which, &value, adr));
  *is_out = type == 0;
  return status;
}

static umemStatusType cuda_block_of(uintptr_t adr, uintptr_t *start_out,
                                    size_t *nbytes_out, umemError *error) {
  cuAddress start = 0;
  umemStatusType status = CUDA(MemGetAddressRange, (&start, nbytes_out, adr));
  *start_out = (uintptr_t)start;
  return status;
}

/* --- streams and events --------------------------------------------------- */

static umemStatusType cuda_stream_new(umemiGpuStream *stream_out,
                                      umemError *error) {
  cuStream stream;
  umemStatusType status =
      CUDA(StreamCreate, (&stream, UMEMI_CU_STREAM_NON_BLOCKING));
  if (status == umemOK)
    *stream_out = stream;
  return status;
}

static umemStatusType cuda_stream_free(umemiGpuStream stream,
                                       umemError *error) {
  return CUDA(StreamDestroy, (stream));
}

static umemStatusType cuda_stream_wait(umemiGpuStream stream,
                                       umemError *error) {
  return CUDA(StreamSynchronize, (stream));
}

static umemStatusType cuda_stream_follow(umemiGpuStream stream,
                                         umemiGpuEvent event,
                                         umemError *error) {
  return CUDA(StreamWaitEvent, (stream, event, 0));
}

static umemStatusType cuda_stream_is_of(umemiGpuStream stream,
                                        umemiGpuContext context, bool *is_out,
                                        umemError *error) {
  cuContext other = NULL;
  umemStatusType status = CUDA(StreamGetCtx, (stream, &other));
  *is_out = other == context && (uintptr_t)stream != UMEMI_CU_PER_THREAD;
  return status;
}

static umemStatusType cuda_event_new(umemiGpuEvent *event_out,
                                     umemError *error) {
  cuEvent event;
  umemStatusType status =
      CUDA(EventCreate, (&event, UMEMI_CU_EVENT_DISABLE_TIMING));
  if (status == umemOK)
    *event_out = event;
  return status;
}

static umemStatusType cuda_event_free(umemiGpuEvent event, umemError *error) {
  return CUDA(EventDestroy, (event));
}

static umemStatusType cuda_event_record(umemiGpuEvent event,
                                        umemiGpuStream stream,
                                        umemError *error) {
  return CUDA(EventRecord, (event, stream));
}

static umemStatusType cuda_event_wait(umemiGpuEvent event, umemError *error) {
  return CUDA(EventSynchronize, (event));
}

/* --- bytes ---------------------------------------------------------------- */

static umemStatusType cuda_set(uintptr_t adr, unsigned char c, size_t nbytes,
                               umemiGpuStream stream, umemError *error) {
  return CUDA(MemsetD8Async, (adr, c, nbytes, stream));
}

static umemStatusType cuda_write(uintptr_t adr, void const *in, size_t nbytes,
                                 umemiGpuStream stream, umemError *error) {
  return CUDA(MemcpyHtoDAsync, (adr, in, nbytes, stream));
}

static umemStatusType cuda_read(uintptr_t adr, void *out, size_t nbytes,
                                umemiGpuStream stream, umemError *error) {
  return CUDA(MemcpyDtoHAsync, (out, adr, nbytes, stream));
}

/* From memory that can be paged out the call returns when the bytes are on
   their way ("API synchronization behavior" of the driver API). */
static umemStatusType cuda_write_now(uintptr_t adr, void const *in,
                                     size_t nbytes, umemError *error) {
  umemStatusType status = CUDA(MemcpyHtoD, (adr, in, nbytes));
  return status == umemOK ? CUDA(StreamSynchronize, (NULL)) : status;
}

static umemStatusType cuda_read_now(uintptr_t adr, void *out, size_t nbytes,
                                    umemError *error) {
  return CUDA(MemcpyDtoH, (out, adr, nbytes));
}

static umemStatusType cuda_copy(uintptr_t src, uintptr_t dest, size_t nbytes,
                                umemiGpuStream stream, umemError *error) {
  return CUDA(MemcpyDtoDAsync, (dest, src, nbytes, stream));
}

static umemStatusType cuda_copy_peer(uintptr_t src, umemiGpuContext src_context,
                                     uintptr_t dest,
                                     umemiGpuContext dest_context,
                                     size_t nbytes, umemiGpuStream stream,
                                     umemError *error) {
  return CUDA(MemcpyPeerAsync,
              (dest, dest_context, src, src_context, nbytes, stream));
}

/* --- pools ---------------------------------------------------------------- */

/* Memory that was given back stays with the pool, and is not given out again
   before it is free: who allocates would wait for what uses it. */
static umemStatusType cuda_pool_set_up(cuPool pool, umemError *error) {
  uint64_t all = UINT64_MAX;
  int no = 0;
  umemStatusType status =
      CUDA(MemPoolSetAttribute,
           (pool, UMEMI_CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all));
  if (status == umemOK)
    status = CUDA(
        MemPoolSetAttribute,
        (pool, UMEMI_CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, &no));
  return status;
}

static umemStatusType cuda_pool_new(int number, umemiGpuPool *pool_out,
                                    umemError *error) {
  cuPool pool;
  umemError ignored;
  cuPoolProps properties = {
      .allocType = UMEMI_CU_MEM_ALLOCATION_TYPE_PINNED,
      .location = {.type = UMEMI_CU_MEM_LOCATION_TYPE_DEVICE, .id = number}};
  umemStatusType status = CUDA(MemPoolCreate, (&pool, &properties));
  if (status != umemOK)
    return status;
  status = cuda_pool_set_up(pool, error);
  if (status == umemOK)
    *pool_out = pool;
  else
    umemi_cu_failed(umemi_cu(), umemi_cu()->MemPoolDestroy(pool), "", &ignored);
  return status;
}

static umemStatusType cuda_pool_free(umemiGpuPool pool, umemError *error) {
  return CUDA(MemPoolDestroy, (pool));
}

static umemStatusType cuda_pool_alloc(umemiGpuPool pool, size_t nbytes,
                                      umemiGpuStream stream, uintptr_t *adr_out,
                                      umemError *error) {
  cuAddress adr = 0;
  umemStatusType status =
      CUDA(MemAllocFromPoolAsync, (&adr, nbytes, pool, stream));
  if (status == umemOK)
    *adr_out = (uintptr_t)adr;
  return status;
}

static umemStatusType cuda_pool_give(uintptr_t adr, umemiGpuStream stream,
                                     umemError *error) {
  return CUDA(MemFreeAsync, (adr, stream));
}

/* --- other processes ------------------------------------------------------ */

static umemStatusType cuda_ipc_export(uintptr_t adr,
                                      unsigned char handle_out[UMEMI_GPU_IPC],
                                      umemError *error) {
  cuIpcHandle handle;
  umemStatusType status = CUDA(IpcGetMemHandle, (&handle, adr));
  if (status == umemOK)
    memcpy(handle_out, &handle, sizeof handle);
  return status;
}

static void cuda_advise(umemError *error, char const *advice) {
  size_t const used = strlen(error->text);
  snprintf(error->text + used, sizeof error->text - used, "; %s", advice);
}

static umemStatusType cuda_ipc_open(unsigned char const bytes[UMEMI_GPU_IPC],
                                    uintptr_t *adr_out, umemError *error) {
  cuIpcHandle handle;
  cuAddress adr = 0;
  memcpy(&handle, bytes, sizeof handle);
  umemStatusType status =
      CUDA(IpcOpenMemHandle,
           (&adr, handle, UMEMI_CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS));
  if (status == umemOK)
    *adr_out = (uintptr_t)adr;
  else if (error->native == UMEMI_CUDA_ERROR_ALREADY_MAPPED)
    cuda_advise(error, "the program opened the memory itself, or an earlier "
                       "block of that address is still open: destroy the "
                       "context that imported it");
  return status;
}

static umemStatusType cuda_ipc_close(uintptr_t adr, umemError *error) {
  return CUDA(IpcCloseMemHandle, (adr));
}

struct umemiGpuOps const umemi_cuda = {
    .name = "CUDA",
    .driver = &umemi_cu_driver,
    .load = umemi_cu_load,
    .is_sticky = umemi_cu_is_sticky,
    .count = umemi_cuda_count,
    .describe = umemi_cuda_describe,
    .managed_is_shared = umemi_cuda_managed_is_shared,
    .retain = umemi_cuda_retain,
    .release = umemi_cuda_release,
    .is_active = umemi_cuda_is_active,
    .is_alive = umemi_cuda_is_alive,
    .current = umemi_cuda_current,
    .device_of_stream = umemi_cuda_device_of_stream,
    .device_of = umemi_cuda_device_of,
    .can_peer = umemi_cuda_can_peer,
    .enter = umemi_cuda_enter,
    .leave = umemi_cuda_leave,
    .enable_peer = cuda_enable_peer,
    .relax = cuda_relax,
    .restore = cuda_restore,
    .stream_is_free = cuda_stream_is_free,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .free_bytes = cuda_free_bytes,
    .host_alloc = cuda_host_alloc,
    .host_free = cuda_host_free,
    .pin = cuda_pin,
    .may_pin_otherwise = cuda_may_pin_otherwise,
    .unpin = cuda_unpin,
    .managed_alloc = cuda_managed_alloc,
    .is_pageable = cuda_is_pageable,
    .block_of = cuda_block_of,
    .stream_new = cuda_stream_new,
    .stream_free = cuda_stream_free,
    .stream_wait = cuda_stream_wait,
    .stream_follow = cuda_stream_follow,
    .stream_is_of = cuda_stream_is_of,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .event_record = cuda_event_record,
    .event_wait = cuda_event_wait,
    .set = cuda_set,
    .write = cuda_write,
    .read = cuda_read,
    .write_now = cuda_write_now,
    .read_now = cuda_read_now,
    .copy = cuda_copy,
    .copy_peer = cuda_copy_peer,
    .pool_new = cuda_pool_new,
    .pool_free = cuda_pool_free,
    .pool_alloc = cuda_pool_alloc,
    .pool_give = cuda_pool_give,
    .ipc_export = cuda_ipc_export,
    .ipc_open = cuda_ipc_open,
    .ipc_close = cuda_ipc_close,
    .copy_rows = umemi_cu_copy_rows,
    .copy_rows_peer = umemi_cu_copy_rows_peer};
