/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices and their attributes, the version, the names of errors. */
#include "inner.h"

#include <stdio.h>
#include <string.h>

bool sim_is_device(cuDevice device) {
  return device >= 0 && device < sim.device_count;
}

/* --- without a driver that is ready --------------------------------------- */

cuCode cuDriverGetVersion(int *version_out) {
  *version_out = SIMCU_VERSION;
  return UMEMI_CUDA_SUCCESS;
}

struct name {
  cuCode code;
  char const *name, *text;
};

#define ERROR_NAME(name, number) {number, "CUDA_" #name, "simulated: " #name},
static struct name const names[] = {UMEMI_CU_CODES(ERROR_NAME)
                                        SIM_CODES(ERROR_NAME)};

static struct name const *name_of(cuCode code) {
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].code == code)
      return &names[i];
  return NULL;
}

cuCode cuGetErrorName(cuCode code, char const **name_out) {
  struct name const *found = name_of(code);
  *name_out = found ? found->name : NULL;
  return found ? UMEMI_CUDA_SUCCESS : UMEMI_CUDA_ERROR_INVALID_VALUE;
}

cuCode cuGetErrorString(cuCode code, char const **text_out) {
  struct name const *found = name_of(code);
  *text_out = found ? found->text : NULL;
  return found ? UMEMI_CUDA_SUCCESS : UMEMI_CUDA_ERROR_INVALID_VALUE;
}

/* --- devices -------------------------------------------------------------- */

cuCode cuDeviceGetCount(int *count_out) {
  ENTER(cuDeviceGetCount, NOTHING);
  *count_out = sim.device_count;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuDeviceGet(cuDevice *device_out, int number) {
  ENTER(cuDeviceGet, NOTHING);
  if (!sim_is_device(number))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  *device_out = number;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuDeviceGetName(char *name, int room, cuDevice device) {
  ENTER(cuDeviceGetName, NOTHING);
  if (!sim_is_device(device))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  if (!name || room < 1)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  snprintf(name, (size_t)room, "Simulated GPU %d", device);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuDeviceGetAttribute(int *value_out, cuDeviceAttribute what,
                            cuDevice device) {
  ENTER(cuDeviceGetAttribute, NOTHING);
  if (!sim_is_device(device))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  if (what < 1 || what >= ATTRIBUTES ||
      sim.devices[device].attributes[what] < 0)
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_VALUE);
  *value_out = sim.devices[device].attributes[what];
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuDeviceTotalMem_v2(size_t *nbytes_out, cuDevice device) {
  ENTER(cuDeviceTotalMem_v2, NOTHING);
  if (!sim_is_device(device))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  *nbytes_out = sim.devices[device].capacity;
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

cuCode cuDeviceCanAccessPeer(int *can_out, cuDevice device, cuDevice peer) {
  ENTER(cuDeviceCanAccessPeer, NOTHING);
  if (!sim_is_device(device) || !sim_is_device(peer))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  *can_out = sim.devices[device].can_access[peer];
  return sim_leave(UMEMI_CUDA_SUCCESS);
}

#if SIMCU_VERSION >= 11040
cuCode cuDeviceGetUuid_v2(cuUuid *uuid_out, cuDevice device) {
  ENTER(cuDeviceGetUuid_v2, NOTHING);
  if (!sim_is_device(device))
    return sim_leave(UMEMI_CUDA_ERROR_INVALID_DEVICE);
  memcpy(uuid_out->bytes, "simulated GPU  ", sizeof uuid_out->bytes);
  uuid_out->bytes[14] = (char)('0' + device);
  return sim_leave(UMEMI_CUDA_SUCCESS);
}
#endif
