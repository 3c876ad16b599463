/* SPDX-License-Identifier: BSD-3-Clause */
/* What devices there are, before any context exists: a row for each kind. */
#include "gpu/gpu.h"
#include "internal.h"
#include "opencl/opencl.h"

/* --- memory --------------------------------------------------------------- */

/* The number of the node that has so many others before it; -1: no such. */
static int node_number(uint64_t nodes, size_t before) {
  for (int k = 0; k < 64; k++)
    if (nodes >> k & 1 && before-- == 0)
      return k;
  return -1;
}

/* Pages of files give way to whoever needs memory. */
static void node_bytes(int node, umemDeviceInfo *info) {
  static char const *const keys[] = {
      "MemFree:", "Active(file):", "Inactive(file):"};
  char path[64], text[UMEMI_MEMINFO];
  uint64_t bytes;
  snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
  umemi_read_text(path, text, sizeof text);
  if (umemi_meminfo(text, "MemTotal:", &bytes))
    info->total_bytes = bytes;
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (umemi_meminfo(text, keys[i], &bytes))
      info->free_bytes += bytes;
}

static uint64_t pages_bytes(int which) {
  long pages = sysconf(which), page = sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

/* What memory is made for; not every processor tells its name. */
static void node_name(umemDeviceInfo *info) {
  static char const key[] = "model name\t: ";
  char text[UMEMI_MEMINFO];
  char *found =
      strstr(umemi_read_text("/proc/cpuinfo", text, sizeof text), key);
  if (found) {
    found += sizeof key - 1;
    snprintf(info->name, sizeof info->name, "%.*s", (int)strcspn(found, "\n"),
             found);
  } else if (info->numa_node < 0)
    snprintf(info->name, sizeof info->name, "host memory");
  else
    snprintf(info->name, sizeof info->name, "host memory, node %d",
             info->numa_node);
}

/* Where nothing is known of nodes all memory is one device. */
static bool device_node(char const *what, size_t index, umemDeviceInfo *info,
                        umemError *error) {
  (void)what, (void)error;
  uint64_t nodes = umemi_nodes();
  info->numa_node = node_number(nodes, index);
  if (info->numa_node < 0 && (nodes || index))
    return false;
  if (nodes)
    node_bytes(info->numa_node, info);
  else {
    info->total_bytes = pages_bytes(_SC_PHYS_PAGES);
    info->free_bytes = pages_bytes(_SC_AVPHYS_PAGES);
  }
  node_name(info);
  return true;
}

/* --- file systems --------------------------------------------------------- */

/* False: errno says why. */
static bool directory_look(char const *path, struct statvfs *fs) {
  int fd = umemi_keep_fd(
      UMEMI_RETRY(umemi_os.open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)));
  bool known = fd >= 0 && umemi_os.fstatvfs(fd, fs) == 0;
  int saved = errno;
  if (fd >= 0)
    umemi_os.close(fd);
  errno = saved;
  return known;
}

static bool device_directory(char const *path, size_t index,
                             umemDeviceInfo *info, umemError *error) {
  struct statvfs fs;
  if (index > 0)
    return false;
  if (!directory_look(path, &fs)) {
    umem_error_fill(error, umemIOError, errno, 0, "directory \"%s\"", path);
    return false;
  }
  char *whole = umemi_os.realpath(path, NULL);
  snprintf(info->name, sizeof info->name, "%s", whole ? whole : path);
  free(whole);
  info->total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
  info->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
  return true;
}

/* --- GPUs ----------------------------------------------------------------- */

static bool device_cuda(char const *what, size_t index, umemDeviceInfo *info,
                        umemError *error) {
  (void)what;
  return umemi_gpu_describe(&umemi_cuda, index, info, error);
}

/* --- kinds without devices ------------------------------------------------ */

static bool device_none(char const *why, size_t index, umemDeviceInfo *info,
                        umemError *error) {
  (void)index, (void)info;
  umem_error_fill(error, umemNotSupportedError, 0, 0, "%s", why);
  return false;
}

/* --- all kinds ------------------------------------------------------------ */

static struct deviceKind {
  umemDeviceType type;
  /* Describes a device; false: there is none of that number, and if it is 0
     `error` says why. `info` is zeroed, and of no node. */
  bool (*describe)(char const *what, size_t index, umemDeviceInfo *info,
                   umemError *error);
  char const *what;
} const kinds[] = {
    {umemVirtualDevice, device_none,
     "made of a Host: has no memory of its own"},
    {umemHostDevice, device_node, NULL},
    {umemFileDevice, device_directory, "."},
    {umemMMapDevice, device_directory, "."},
    {umemShmDevice, device_directory, "/dev/shm"},
    {umemOpenCLDevice, umemi_cl_describe, NULL},
    {umemCudaDevice, device_cuda, NULL},
    {umemCudaHostDevice, device_cuda, NULL},
    {umemCudaManagedDevice, device_cuda, NULL},
};

static struct deviceKind const *kind_find(umemDeviceType type) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].type == type)
      return &kinds[i];
  return NULL;
}

static bool kind_describe(struct deviceKind const *kind, size_t index,
                          umemDeviceInfo *info) {
  umemError error = {.type = umemOK};
  memset(info, 0, sizeof *info);
  info->type = kind->type;
  info->numa_node = -1;
  info->device = (int)index;
  info->usable = kind->describe(kind->what, index, info, &error);
  if (!info->usable)
    snprintf(info->reason, sizeof info->reason, "%.*s",
             (int)sizeof info->reason - 1, error.text);
  return info->usable;
}

static size_t kind_count(struct deviceKind const *kind) {
  size_t count = 0;
  umemDeviceInfo info;
  while (kind_describe(kind, count, &info))
    count++;
  return count;
}

size_t umem_device_count(umemDeviceType type) {
  struct umemiCall call;
  umemi_begin(&call);
  struct deviceKind const *kind = kind_find(type);
  size_t count = kind ? kind_count(kind) : 0;
  umemi_end(&call, umemOK, NULL, "umem_device_count(type %d)", (int)type);
  return count;
}

/* What is cut off in the middle of a text still ends. */
static umemStatusType info_give(umemDeviceInfo *info, umemDeviceInfo *info_out,
                                umemError *error) {
  size_t size = info_out->size;
  if (size < sizeof size)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "info_out->size is %zu: set it to the struct's "
                           "sizeof",
                           size);
  info->size = size;
  if (size > offsetof(umemDeviceInfo, name) && size < sizeof *info)
    ((char *)info)[size - 1] = '\0';
  memcpy(info_out, info, size < sizeof *info ? size : sizeof *info);
  return umemOK;
}

static umemStatusType info_take(umemDeviceType type, size_t index,
                                umemDeviceInfo *info_out, umemError *error) {
  umemDeviceInfo info;
  struct deviceKind const *kind = kind_find(type);
  if (!kind)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "type is no kind of this library");
  if (!info_out)
    return umemi_null(error, "info_out");
  if (!kind_describe(kind, index, &info) && index > 0)
    return umem_error_fill(error, umemIndexError, 0, 0, "there are %zu devices",
                           kind_count(kind));
  return info_give(&info, info_out, error);
}

umemStatusType umem_device_info(umemDeviceType type, size_t index,
                                umemDeviceInfo *info_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = info_take(type, index, info_out, &call.error);
  return umemi_end(&call, status, NULL, "umem_device_info(type %d, index %zu)",
                   (int)type, index);
}
