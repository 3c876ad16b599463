/* SPDX-License-Identifier: BSD-3-Clause */
/* The devices of the CUDA driver and their primary contexts. */
#include "cudriver.h"

#include <ctype.h>

/* --- what a device is ----------------------------------------------------- */

umemStatusType umemi_cuda_count(int *count_out, umemError *error) {
  return CUDA(DeviceGetCount, (count_out));
}

/* 0 of what the driver does not know. */
static umemStatusType cuda_attribute(cuDevice device, int which, int *value_out,
                                     umemError *error) {
  cuCode code = umemi_cu()->DeviceGetAttribute(
      value_out, (cuDeviceAttribute)which, device);
  if (code == UMEMI_CUDA_SUCCESS)
    return umemOK;
  *value_out = 0;
  return code == UMEMI_CUDA_ERROR_INVALID_VALUE
             ? umemOK
             : umemi_cu_failed(umemi_cu(), code, "cuDeviceGetAttribute", error);
}

/* What is asked of a device. */
enum { ADDRESSING, MANAGED, POOLS, DOMAIN_ID, BUS, SLOT, ANSWERS };

static umemStatusType cuda_ask(cuDevice device, int answers[ANSWERS],
                               umemError *error) {
  static int const which[ANSWERS] = {
      [ADDRESSING] = UMEMI_CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING,
      [MANAGED] = UMEMI_CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY,
      [POOLS] = UMEMI_CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED,
      [DOMAIN_ID] = UMEMI_CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID,
      [BUS] = UMEMI_CU_DEVICE_ATTRIBUTE_PCI_BUS_ID,
      [SLOT] = UMEMI_CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID};
  umemStatusType status = umemOK;
  for (int i = 0; status == umemOK && i < ANSWERS; i++)
    status = cuda_attribute(device, which[i], &answers[i], error);
  return status;
}

/* Its UUID, or, with a driver before 11.4, where it is plugged in. */
static umemStatusType cuda_identify(cuDevice device, int const answers[ANSWERS],
                                    unsigned char id[UMEMI_GPU_ID],
                                    umemError *error) {
  cuUuid uuid;
  int const where[] = {answers[DOMAIN_ID], answers[BUS], answers[SLOT], 0};
  _Static_assert(sizeof where == UMEMI_GPU_ID && sizeof uuid == UMEMI_GPU_ID,
                 "either fills it");
  memcpy(id, where, sizeof where);
  if (!umemi_cu()->DeviceGetUuid)
    return umemOK;
  umemStatusType status = CUDA(DeviceGetUuid, (&uuid, device));
  if (status == umemOK)
    memcpy(id, &uuid, sizeof uuid);
  return status;
}

/* The NUMA node that the device is nearest to: -1 where none is. */
static int cuda_node(int const answers[ANSWERS]) {
  char path[96], text[32];
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%04x:%02x:%02x.0/numa_node",
           answers[DOMAIN_ID], answers[BUS], answers[SLOT]);
  umemi_read_text(path, text, sizeof text);
  return isdigit((unsigned char)text[0]) ? (int)umemi_bytes_of(text) : -1;
}

static bool cuda_has_pools(void) {
  struct umemiCu const *cu = umemi_cu();
  return cu->MemPoolCreate && cu->MemPoolDestroy && cu->MemPoolSetAttribute &&
         cu->MemAllocFromPoolAsync && cu->MemFreeAsync;
}

umemStatusType umemi_cuda_describe(int number, struct umemiGpuFacts *out,
                                   umemError *error) {
  cuDevice device;
  size_t total = 0;
  int answers[ANSWERS] = {0};
  umemStatusType status = CUDA(DeviceGet, (&device, number));
  if (status == umemOK)
    status = CUDA(DeviceGetName, (out->name, (int)sizeof out->name, device));
  if (status == umemOK)
    status = CUDA(DeviceTotalMem, (&total, device));
  if (status == umemOK)
    status = cuda_ask(device, answers, error);
  if (status == umemOK)
    status = cuda_identify(device, answers, out->id, error);
  if (status != umemOK)
    return status;
  out->total = total;
  out->numa_node = cuda_node(answers);
  out->unified_addressing = answers[ADDRESSING];
  out->managed = answers[MANAGED];
  out->pools = answers[POOLS] && cuda_has_pools();
  return umemOK;
}

umemStatusType umemi_cuda_managed_is_shared(int number, bool *is_out,
                                            umemError *error) {
  int answer = 0;
  umemStatusType status = cuda_attribute(
      number, UMEMI_CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, &answer,
      error);
  *is_out = answer;
  return status;
}

umemStatusType umemi_cuda_can_peer(int number, int peer, bool *can_out,
                                   umemError *error) {
  int can = 0;
  umemStatusType status = CUDA(DeviceCanAccessPeer, (&can, number, peer));
  *can_out = can;
  return status;
}

/* --- the life of its primary context -------------------------------------- */

/* What the driver answers about a context that was reset or destroyed. */
static bool cuda_is_gone(cuCode code) {
  return code == UMEMI_CUDA_ERROR_INVALID_CONTEXT ||
         code == UMEMI_CUDA_ERROR_CONTEXT_IS_DESTROYED;
}

umemStatusType umemi_cuda_is_active(int number, bool *is_out,
                                    umemError *error) {
  unsigned flags;
  int is_active = 0;
  umemStatusType status =
      CUDA(DevicePrimaryCtxGetState, (number, &flags, &is_active));
  *is_out = is_active;
  return status;
}

/* Which life this is of a context, or of the current one if that is NULL;
   `known` if the driver does not say (before CUDA 12.0, or after an error that
   says nothing of it). 0: none. */
static uint64_t cuda_life(cuContext context, uint64_t known) {
  unsigned long long id = 0;
  if (!umemi_cu()->CtxGetId)
    return known;
  cuCode code = umemi_cu()->CtxGetId(context, &id);
  if (code == UMEMI_CUDA_SUCCESS)
    return id + 1;
  return cuda_is_gone(code) ? 0 : known;
}

umemStatusType umemi_cuda_retain(struct umemiGpu *gpu, umemError *error) {
  cuContext context;
  umemStatusType status = CUDA(DevicePrimaryCtxRetain, (&context, gpu->number));
  if (status != umemOK)
    return status;
  gpu->context = context;
  gpu->life = cuda_life(context, 0);
  return umemOK;
}

umemStatusType umemi_cuda_release(int number, umemError *error) {
  return CUDA(DevicePrimaryCtxRelease, (number));
}

/* The handle is not looked at before the device says that there is a context:
   no driver has to know a dead one. */
umemStatusType umemi_cuda_is_alive(struct umemiGpu const *gpu, bool *is_out,
                                   umemError *error) {
  umemStatusType status = umemi_cuda_is_active(gpu->number, is_out, error);
  if (status == umemOK && *is_out && gpu->life)
    *is_out = cuda_life(gpu->context, gpu->life) == gpu->life;
  return status;
}

/* --- the current context -------------------------------------------------- */

/* The handle alone does not tell: after a reset a new context may have the one
   of the old. */
static bool cuda_is_inside(struct umemiGpu const *gpu) {
  bool is_active;
  umemError ignored;
  if (umemi_cu()->CtxGetId)
    return !gpu->life || cuda_life(NULL, gpu->life) == gpu->life;
  return umemi_cuda_is_active(gpu->number, &is_active, &ignored) != umemOK ||
         is_active;
}

umemStatusType umemi_cuda_enter(struct umemiGpu const *gpu, bool *pushed_out,
                                bool *gone_out, umemError *error) {
  umemError ignored;
  cuCode code = umemi_cu()->CtxPushCurrent(gpu->context);
  *pushed_out = false;
  *gone_out = cuda_is_gone(code);
  if (*gone_out || code != UMEMI_CUDA_SUCCESS)
    return *gone_out
               ? umemOK
               : umemi_cu_failed(umemi_cu(), code, "cuCtxPushCurrent", error);
  *gone_out = !cuda_is_inside(gpu);
  *pushed_out = !*gone_out;
  if (*gone_out)
    umemi_cuda_leave(true, &ignored);
  return umemOK;
}

umemStatusType umemi_cuda_leave(bool pushed, umemError *error) {
  cuContext ours;
  return pushed ? CUDA(CtxPopCurrent, (&ours)) : umemOK;
}

/* A thread without a current context is no failure. */
int umemi_cuda_current(void) {
  cuDevice device;
  cuContext current = NULL;
  struct umemiCu const *cu = umemi_cu();
  if (cu->CtxGetCurrent(&current) != UMEMI_CUDA_SUCCESS || !current ||
      cu->CtxGetDevice(&device) != UMEMI_CUDA_SUCCESS)
    return -1;
  return device;
}

/* The stream's context may be any, and is current for the question alone. */
umemStatusType umemi_cuda_device_of_stream(umemiGpuStream stream,
                                           int *number_out, umemError *error) {
  cuContext context = NULL;
  cuDevice device = 0;
  umemError later;
  umemStatusType status = CUDA(StreamGetCtx, (stream, &context));
  if (status == umemOK)
    status = CUDA(CtxPushCurrent, (context));
  if (status != umemOK)
    return status;
  status = CUDA(CtxGetDevice, (&device));
  umemStatusType left =
      umemi_cuda_leave(true, status == umemOK ? error : &later);
  *number_out = device;
  return status == umemOK ? left : status;
}

/* --- whose memory --------------------------------------------------------- */

/* In this form the question is no error for memory that CUDA does not know: its
   type is 0 then. Pinned memory is that of all devices, as managed memory is.
 */
umemStatusType umemi_cuda_device_of(uintptr_t adr, int *number_out,
                                    umemError *error) {
  unsigned type = 0, is_managed = 0;
  int ordinal = -1;
  cuPointerAttribute which[] = {UMEMI_CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                UMEMI_CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                UMEMI_CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  void *values[] = {&type, &is_managed, &ordinal};
  umemStatusType status = CUDA(PointerGetAttributes, (3, which, values, adr));
  *number_out = type == UMEMI_CU_MEMORYTYPE_DEVICE ? ordinal : -1;
  if (is_managed || type == UMEMI_CU_MEMORYTYPE_HOST)
    *number_out = UMEMI_GPU_SHARED;
  return status;
}
