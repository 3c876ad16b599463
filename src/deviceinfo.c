/* SPDX-License-Identifier: BSD-3-Clause */
/* What devices there are, before any context exists: a row for each kind. */
#include "internal.h"

#include "gpu/cu.h"
#include "gpu/gpu.h"
#include "opencl/opencl.h"

/* --- memory --------------------------------------------------------------- */

/* The number of the node that has so many others before it; -1: no such. */
static int node_number(uint64_t nodes, size_t before) {
  for (int k = 0; k < 64; k++)
    if (nodes >> k & 1 && before-- == 0)
      return k;
  return -1;
}

/* Counted while pages move from one count to the other. */
static void node_bound(umemDeviceInfo *info) {
  if (info->free_bytes > info->total_bytes)
    info->free_bytes = info->total_bytes;
}

/* Pages of files give way to whoever needs memory. */
static void node_bytes(int node, umemDeviceInfo *info) {
  static char const *const keys[] = {
      "MemFree:", "Active(file):", "Inactive(file):"};
  char path[64];
  uint64_t bytes;
  snprintf(path, sizeof path, "/sys/devices/system/node/node%d/meminfo", node);
  char *text = umemi_text_of(path);
  if (umemi_meminfo(text, "MemTotal:", &bytes))
    info->total_bytes = bytes;
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (umemi_meminfo(text, keys[i], &bytes))
      info->free_bytes += bytes;
  free(text);
  node_bound(info);
}

static uint64_t pages_bytes(int which) {
  long pages = sysconf(which), page = sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}

/* What memory is made for; not every processor tells its name. */
static void node_name(umemDeviceInfo *info) {
  static char const key[] = "model name\t: ";
  char *text = umemi_text_of("/proc/cpuinfo");
  char *found = text ? strstr(text, key) : NULL;
  if (found) {
    found += sizeof key - 1;
    snprintf(info->name, sizeof info->name, "%.*s", (int)strcspn(found, "\n"),
             found);
  } else if (info->numa_node < 0)
    snprintf(info->name, sizeof info->name, "host memory");
  else
    snprintf(info->name, sizeof info->name, "host memory, node %d",
             info->numa_node);
  free(text);
}

/* Where nothing is known of nodes all memory is one device. */
static bool device_node(char const *what, size_t index, umemDeviceInfo *info,
                        umemError *error) {
  (void)what, (void)error;
  uint64_t nodes = umemi_nodes_of_host();
  info->numa_node = node_number(nodes, index);
  if (info->numa_node < 0 && (nodes || index))
    return false;
  if (nodes)
    node_bytes(info->numa_node, info);
  else {
    info->total_bytes = pages_bytes(_SC_PHYS_PAGES);
    info->free_bytes = pages_bytes(_SC_AVPHYS_PAGES);
    node_bound(info);
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

static bool cuda_has(size_t index) {
  int count = 0;
  umemError ignored;
  return umemi_cuda.load(&ignored) == umemOK &&
         umemi_cuda.count(&count, &ignored) == umemOK &&
         index < UMEMI_GPU_MAX && index < (size_t)count;
}

/* One that fails is there nevertheless, as are those behind it. */
static bool device_cuda(char const *what, size_t index, umemDeviceInfo *info,
                        umemError *error) {
  (void)what;
  bool managed = info->type == umemCudaManagedDevice;
  if (umemi_gpu_describe(&umemi_cuda, index, managed, info, error))
    return true;
  return cuda_has(index);
}

/* By us, or by the program: the driver says so before it is started. */
static bool cuda_is_started(void) {
  int (*get_count)(int *);
  int count;
  if (atomic_load(&umemi_cuda.driver->process))
    return true;
  void *library = umemi_os.dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (!library)
    return false;
  void *found = umemi_os.dlsym(library, "cuDeviceGetCount");
  memcpy(&get_count, &found, sizeof found);
  bool started = found && get_count(&count) != UMEMI_CUDA_ERROR_NOT_INITIALIZED;
  dlclose(library);
  return started;
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
     `error` says why. True with an error: it cannot be used. `info` is zeroed,
     and of no node. */
  bool (*describe)(char const *what, size_t index, umemDeviceInfo *info,
                   umemError *error);
  char const *what;
  /* A driver that has to be started to describe anything: was it? */
  bool (*is_started)(void);
} const kinds[] = {
    {umemVirtualDevice, device_none, "made of a Host: has no memory of its own",
     NULL},
    {umemHostDevice, device_node, NULL, NULL},
    {umemFileDevice, device_directory, ".", NULL},
    {umemMMapDevice, device_directory, ".", NULL},
    {umemShmDevice, device_directory, "/dev/shm", NULL},
    {umemOpenCLDevice, umemi_cl_describe, NULL, umemi_cl_is_started},
    {umemCudaDevice, device_cuda, NULL, cuda_is_started},
    {umemCudaHostDevice, device_cuda, NULL, cuda_is_started},
    {umemCudaManagedDevice, device_cuda, NULL, cuda_is_started},
};

static struct deviceKind const *kind_find(umemDeviceType type) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].type == type)
      return &kinds[i];
  return NULL;
}

static void kind_clear(struct deviceKind const *kind, size_t index,
                       umemDeviceInfo *info) {
  memset(info, 0, sizeof *info);
  info->type = kind->type;
  info->numa_node = -1;
  info->device = (int)index;
}

static void kind_say_why(umemDeviceInfo *info, umemError const *error) {
  snprintf(info->reason, sizeof info->reason, "%.*s",
           (int)sizeof info->reason - 1, error->text);
}

/* By this process. False: there is none. */
static bool kind_describe(struct deviceKind const *kind, size_t index,
                          umemDeviceInfo *info) {
  umemError error = {.type = umemOK};
  kind_clear(kind, index, info);
  bool there = kind->describe(kind->what, index, info, &error);
  info->usable = there && error.type == umemOK;
  if (!info->usable)
    kind_say_why(info, &error);
  return there;
}

/* --- what a child process says -------------------------------------------- */

enum { LIST_MAX = 256 };

struct deviceList {
  size_t count;
  umemDeviceInfo infos[LIST_MAX]; /* [0] says why there is none */
};

/* What was told once, by the place of the first kind of a driver, and after it
   that of its others: drivers see no other devices until the process ends, and
   starting one takes long. */
static _Atomic(struct deviceList *) lists[sizeof kinds / sizeof *kinds];

/* The kinds of one driver, which lie side by side. */
static struct deviceKind const *kind_first(struct deviceKind const *kind) {
  while (kind > kinds && kind[-1].is_started == kind->is_started)
    kind--;
  return kind;
}

static size_t kind_siblings(struct deviceKind const *first) {
  size_t count = 1;
  while (first + count < kinds + sizeof kinds / sizeof *kinds &&
         first[count].is_started == first->is_started)
    count++;
  return count;
}

static void list_drop(struct deviceKind const *first, struct deviceList *list) {
  munmap(list, kind_siblings(first) * sizeof *list);
}

void umemi_device_lists_drop(void) {
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    struct deviceList *list = atomic_exchange(&lists[i], NULL);
    if (list)
      list_drop(&kinds[i], list);
  }
}

static void list_fill(void *answer, void const *arg) {
  struct deviceKind const *first = arg;
  struct deviceList *list = answer;
  size_t siblings = kind_siblings(first);
  for (size_t i = 0; i < siblings; i++, list++)
    while (list->count < LIST_MAX &&
           kind_describe(&first[i], list->count, &list->infos[list->count]))
      list->count++;
}

/* Where none is found, another time is another chance. */
static void list_keep(struct deviceKind const *first, struct deviceList *list) {
  struct deviceList *none = NULL;
  if (list->count == 0 ||
      !atomic_compare_exchange_strong(&lists[first - kinds], &none, list))
    list_drop(first, list);
}

static void list_tell(struct deviceList const *list, size_t index,
                      umemDeviceInfo *info, size_t *count_out) {
  *count_out = list->count;
  *info = list->infos[index < list->count ? index : 0];
}

/* False: this process has to ask. */
static bool list_ask(struct deviceKind const *kind, size_t index,
                     umemDeviceInfo *info, size_t *count_out) {
  struct deviceKind const *first = kind_first(kind);
  struct deviceList *list = atomic_load(&lists[first - kinds]);
  umemStatusType status = umemOK;
  umemError error;
  void *answer;
  if (list) {
    list_tell(&list[kind - first], index, info, count_out);
    return true;
  }
  status = umemi_aside(list_fill, first, kind_siblings(first) * sizeof *list,
                       &answer, &error);
  if (status == umemOK) {
    list = answer;
    list_tell(&list[kind - first], index, info, count_out);
    list_keep(first, list);
  } else if (status != UMEM_DECLINED) {
    kind_clear(kind, index, info);
    kind_say_why(info, &error);
    *count_out = 0;
  }
  return status != UMEM_DECLINED;
}

/* --- either way ----------------------------------------------------------- */

/* False: it is to be asked by this process. If that may have no children, none
   can find the driver started. */
static bool kind_is_asked_aside(struct deviceKind const *kind, size_t index,
                                umemDeviceInfo *info, size_t *count_out) {
  return kind->is_started && !kind->is_started() &&
         list_ask(kind, index, info, count_out);
}

/* Not a part of its callers, which have room for a device already. */
static UMEMI_NOINLINE size_t kind_count(struct deviceKind const *kind) {
  size_t count = 0;
  umemDeviceInfo info;
  if (!kind_is_asked_aside(kind, 0, &info, &count))
    while (kind_describe(kind, count, &info))
      count++;
  return count;
}

static bool kind_tell(struct deviceKind const *kind, size_t index,
                      umemDeviceInfo *info) {
  size_t count;
  return kind_is_asked_aside(kind, index, info, &count)
             ? index < count
             : kind_describe(kind, index, info);
}

size_t umem_device_count(umemDeviceType type) {
  struct umemiCall call;
  umemi_begin(&call);
  struct deviceKind const *kind = kind_find(type);
  size_t count = kind ? kind_count(kind) : 0;
  umemi_end(&call, umemOK, NULL, "umem_device_count(type %d)", (int)type);
  return count;
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
  if (!kind_tell(kind, index, &info) && index > 0)
    return umem_error_fill(error, umemIndexError, 0, 0, "there are %zu devices",
                           kind_count(kind));
  struct umemiSized sized = {sizeof info.size, sizeof info,
                             offsetof(umemDeviceInfo, name)};
  return umemi_give_result(info_out, "info_out", &info, sized, error);
}

umemStatusType umem_device_info(umemDeviceType type, size_t index,
                                umemDeviceInfo *info_out) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = info_take(type, index, info_out, &call.error);
  return umemi_end(&call, status, NULL, "umem_device_info(type %d, index %zu)",
                   (int)type, index);
}
