/* SPDX-License-Identifier: BSD-3-Clause */
/* Platforms and their devices, by number. */
#include "opencl.h"

/* More of either are not seen. */
enum { IDS_MAX = 64 };

static umemStatusType devices_platforms(struct umemiCl const *cl,
                                        clPlatform *platforms,
                                        clUint *count_out, umemError *error) {
  clUint count = 0;
  char const *vendors = getenv("OCL_ICD_VENDORS");
  clInt code = cl->clGetPlatformIDs(IDS_MAX, platforms, &count);
  *count_out = count < IDS_MAX ? count : IDS_MAX;
  if (code == UMEMI_CL_PLATFORM_NOT_FOUND_KHR ||
      (code == UMEMI_CL_SUCCESS && count == 0))
    return umem_error_fill(error, umemNotSupportedError, 0, code,
                           "no OpenCL platform: no driver was found in %s%s",
                           vendors ? vendors : "/etc/OpenCL/vendors",
                           vendors ? " (OCL_ICD_VENDORS)" : "");
  return umemi_cl_failed(umemRuntimeError, code, "clGetPlatformIDs", error);
}

/* A platform without devices has 0, which is no error here. */
static umemStatusType devices_of(struct umemiCl const *cl, clPlatform platform,
                                 clDevice *devices, clUint *count_out,
                                 umemError *error) {
  clUint count = 0;
  clInt code = cl->clGetDeviceIDs(platform, UMEMI_CL_DEVICE_TYPE_ALL, IDS_MAX,
                                  devices, &count);
  if (code == UMEMI_CL_DEVICE_NOT_FOUND)
    code = UMEMI_CL_SUCCESS, count = 0;
  *count_out = count < IDS_MAX ? count : IDS_MAX;
  return umemi_cl_failed(umemRuntimeError, code, "clGetDeviceIDs", error);
}

umemStatusType umemi_cl_device(struct umemiCl const *cl, int platform,
                               int device, clDevice *device_out,
                               umemError *error) {
  clPlatform platforms[IDS_MAX];
  clDevice devices[IDS_MAX];
  clUint count;
  umemStatusType status = devices_platforms(cl, platforms, &count, error);
  if (status != umemOK)
    return status;
  if (platform < 0 || (clUint)platform >= count)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "there are %" PRIu32 " platforms", count);
  status = devices_of(cl, platforms[platform], devices, &count, error);
  if (status != umemOK)
    return status;
  if (count == 0)
    return umem_error_fill(error, umemNotSupportedError, 0, 0,
                           "platform %d has no device", platform);
  if (device < 0 || (clUint)device >= count)
    return umem_error_fill(error, umemIndexError, 0, 0,
                           "platform %d has %" PRIu32 " devices", platform,
                           count);
  *device_out = devices[device];
  return umemOK;
}

/* --- without a context ---------------------------------------------------- */

/* A driver gives all of the name or nothing. */
void umemi_cl_name(struct umemiCl const *cl, clDevice device, char *out,
                   size_t room) {
  char name[512] = "";
  cl->clGetDeviceInfo(device, UMEMI_CL_DEVICE_NAME, sizeof name - 1, name,
                      NULL);
  snprintf(out, room, "%.*s", (int)room - 1, name);
}

static void devices_tell(struct umemiCl const *cl, clDevice device,
                         umemDeviceInfo *info) {
  uint64_t bytes = 0;
  umemi_cl_name(cl, device, info->name, sizeof info->name);
  if (cl->clGetDeviceInfo(device, UMEMI_CL_DEVICE_GLOBAL_MEM_SIZE, sizeof bytes,
                          &bytes, NULL) == UMEMI_CL_SUCCESS)
    info->total_bytes = bytes;
}

/* Goes through all platforms until so many devices have passed; one that fails
   does not hide the others. */
static umemStatusType devices_search(struct umemiCl const *cl, size_t index,
                                     umemDeviceInfo *info, umemError *error) {
  clPlatform platforms[IDS_MAX];
  clDevice devices[IDS_MAX];
  clUint nplatforms, ndevices;
  umemStatusType failed = umemOK;
  umemStatusType status = devices_platforms(cl, platforms, &nplatforms, error);
  if (status != umemOK)
    return status;
  for (clUint i = 0; i < nplatforms; i++) {
    status = devices_of(cl, platforms[i], devices, &ndevices, error);
    failed = status == umemOK ? failed : status;
    ndevices = status == umemOK ? ndevices : 0;
    if (index < ndevices) {
      info->platform = (int)i;
      info->device = (int)index;
      devices_tell(cl, devices[index], info);
      return umemOK;
    }
    index -= ndevices;
  }
  if (failed != umemOK)
    return failed;
  return umem_error_fill(error, umemNotSupportedError, 0, 0,
                         "no device in any of %" PRIu32 " OpenCL platform(s)",
                         nplatforms);
}

bool umemi_cl_describe(char const *what, size_t index, umemDeviceInfo *info,
                       umemError *error) {
  (void)what;
  struct umemiCl const *cl;
  umemStatusType status = umemi_cl_load(&cl, error);
  if (status == umemOK)
    status = devices_search(cl, index, info, error);
  error->type = status; /* a platform that failed may have been passed */
  return status == umemOK;
}
