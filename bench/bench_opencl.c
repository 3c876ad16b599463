/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of an OpenCL device, the first one of each platform and all the ways
 * it has memory in. P8: copies and sets against the bare command of the driver
 * on the very same memory. P6: from and to files, against each leg alone and
 * against one after the other.
 */
#define _GNU_SOURCE
#include "raw.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../src/opencl/cl.h"

enum { CHUNK = 1 << 20 };

static struct umemiCl cl;

static struct {
  umemHost host;
  umemOpenCL device;
  umemOpenCLTier tier;
  struct umemiClUsm usm;
  clQueue queue; /* for the bare commands */
  uintptr_t adr, second;
  clMem mem, second_mem;
  unsigned char *bytes; /* of the host */
  unsigned char *room;  /* to look at what is on the device */
  umemFile file;
  umemMMap map;
  char *path;
  int fd;
  size_t nbytes;
} work;

/* --- bare commands -------------------------------------------------------- */

static void need(clInt code, char const *what) {
  if (code != UMEMI_CL_SUCCESS)
    bench_die("%s: %d", what, (int)code);
}

static void cl_load(void) {
  void *library = dlopen("libOpenCL.so.1", RTLD_NOW), *found;
  if (!library)
    bench_die("%s", dlerror());
#define FIND(result, name, parameters, arguments)                              \
  found = dlsym(library, #name);                                               \
  memcpy(&cl.name, &found, sizeof found);
  UMEMI_CL_REQUIRED(FIND)
  UMEMI_CL_SVM(FIND)
#undef FIND
}

static void cl_load_usm(clDevice device) {
  clPlatform platform;
  void *found;
  need(cl.clGetDeviceInfo(device, UMEMI_CL_DEVICE_PLATFORM, sizeof platform,
                          &platform, NULL),
       "clGetDeviceInfo");
#define FIND(result, name, parameters, arguments)                              \
  found = cl.clGetExtensionFunctionAddressForPlatform(platform, #name);        \
  memcpy(&work.usm.name, &found, sizeof found);
  UMEMI_CL_USM(FIND)
#undef FIND
}

/* One command that copies `nbytes`, to or from host memory or within. */
static void bare_memcpy(void *dest, void const *src, size_t nbytes) {
  if (work.tier == umemOpenCLSvm)
    need(cl.clEnqueueSVMMemcpy(work.queue, UMEMI_CL_TRUE, dest, src, nbytes, 0,
                               NULL, NULL),
         "clEnqueueSVMMemcpy");
  else
    need(work.usm.clEnqueueMemcpyINTEL(work.queue, UMEMI_CL_TRUE, dest, src,
                                       nbytes, 0, NULL, NULL),
         "clEnqueueMemcpyINTEL");
}

/* A "blocking" write may be on its way when it returns: ours is through. */
static void bare_write(size_t at, void const *in, size_t nbytes) {
  if (work.tier == umemOpenCLBuffers) {
    need(cl.clEnqueueWriteBuffer(work.queue, work.mem, UMEMI_CL_FALSE, at,
                                 nbytes, in, 0, NULL, NULL),
         "clEnqueueWriteBuffer");
    need(cl.clFinish(work.queue), "clFinish");
  } else
    bare_memcpy((char *)work.adr + at, in, nbytes);
}

static void bare_read(size_t at, void *out, size_t nbytes) {
  if (work.tier == umemOpenCLBuffers)
    need(cl.clEnqueueReadBuffer(work.queue, work.mem, UMEMI_CL_TRUE, at, nbytes,
                                out, 0, NULL, NULL),
         "clEnqueueReadBuffer");
  else
    bare_memcpy(out, (char *)work.adr + at, nbytes);
}

static void bare_copy(size_t at, size_t nbytes) {
  if (work.tier != umemOpenCLBuffers) {
    bare_memcpy((void *)work.second, (char *)work.adr + at, nbytes);
    return;
  }
  need(cl.clEnqueueCopyBuffer(work.queue, work.mem, work.second_mem, at, 0,
                              nbytes, 0, NULL, NULL),
       "clEnqueueCopyBuffer");
  need(cl.clFinish(work.queue), "clFinish");
}

static void bare_fill(unsigned char c, size_t nbytes) {
  void *there = (void *)work.adr;
  clInt code;
  if (work.tier == umemOpenCLBuffers)
    code = cl.clEnqueueFillBuffer(work.queue, work.mem, &c, 1, 0, nbytes, 0,
                                  NULL, NULL);
  else if (work.tier == umemOpenCLSvm)
    code =
        cl.clEnqueueSVMMemFill(work.queue, there, &c, 1, nbytes, 0, NULL, NULL);
  else
    code = work.usm.clEnqueueMemFillINTEL(work.queue, there, &c, 1, nbytes, 0,
                                          NULL, NULL);
  need(code, "fill");
  need(cl.clFinish(work.queue), "clFinish");
}

/* --- P8: sides ------------------------------------------------------------ */

static void copy(void const *src, uintptr_t src_adr, void const *dest,
                 uintptr_t dest_adr) {
  bench_need_ok(umem_copy_to(src, src_adr, dest, dest_adr, work.nbytes), dest);
}

static void write_ours(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    copy(&work.host, (uintptr_t)work.bytes + raw_shift(side), &work.device,
         work.adr);
}

static void write_bare(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    bare_write(0, work.bytes + raw_shift(side), work.nbytes);
}

static void check_device(struct benchSide *side) {
  bare_read(0, work.room, work.nbytes);
  raw_check(work.room, raw_shift(side), work.nbytes, side->name);
}

static void read_ours(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    copy(&work.device, work.adr + raw_shift(side), &work.host,
         (uintptr_t)work.room);
}

static void read_bare(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    bare_read(raw_shift(side), work.room, work.nbytes);
}

static void check_room(struct benchSide *side) {
  raw_check(work.room, raw_shift(side), work.nbytes, side->name);
}

static void copy_ours(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    copy(&work.device, work.adr + raw_shift(side), &work.device, work.second);
}

static void copy_bare(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    bare_copy(raw_shift(side), work.nbytes);
}

static void check_second(struct benchSide *side) {
  bench_need_ok(umem_copy_to(&work.device, work.second, &work.host,
                             (uintptr_t)work.room, work.nbytes),
                &work.device);
  raw_check(work.room, raw_shift(side), work.nbytes, side->name);
}

static void set_ours(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    bench_need_ok(
        umem_try_set(&work.device, work.adr, (int)side->serial, work.nbytes),
        &work.device);
}

static void set_bare(struct benchSide *side, size_t ncalls) {
  for (size_t i = 0; i < ncalls; i++)
    bare_fill((unsigned char)side->serial, work.nbytes);
}

static void check_set(struct benchSide *side) {
  unsigned char c = (unsigned char)side->serial;
  bare_read(0, work.room, work.nbytes);
  if (work.room[0] != c || memcmp(work.room, work.room + 1, work.nbytes - 1))
    bench_die("%s set wrong bytes", side->name);
}

/* --- P8: rows ------------------------------------------------------------- */

static char const *tier_name(void) {
  return work.tier == umemOpenCLUsm   ? "USM"
         : work.tier == umemOpenCLSvm ? "SVM"
                                      : "buffers";
}

static void p8(char const *verb,
               void (*ours)(struct benchSide *side, size_t ncalls),
               void (*bare)(struct benchSide *side, size_t ncalls),
               void (*check)(struct benchSide *side)) {
  char what[64];
  struct benchSide sides[] = {
      {.name = "umem", .run = ours, .after = check},
      {.name = "clEnqueue", .run = bare, .after = check}};
  snprintf(what, sizeof what, "%s, %s", verb, tier_name());
  bench_contest(&(struct benchContest){.goal = "P8",
                                       .what = what,
                                       .nbytes = work.nbytes,
                                       .rule = BENCH_RATIO,
                                       .limit = 0.97,
                                       .sides = sides,
                                       .nsides = BENCH_COUNT(sides)});
}

static void p8_rows(size_t nbytes) {
  work.nbytes = nbytes;
  raw_fill(work.bytes, 0, nbytes + RAW_SLACK);
  p8("write", write_ours, write_bare, check_device);
  bare_write(0, work.bytes, nbytes + RAW_SLACK);
  p8("read", read_ours, read_bare, check_room);
  p8("copy", copy_ours, copy_bare, check_second);
  p8("set", set_ours, set_bare, check_set);
}

/* --- P6 ------------------------------------------------------------------- */

static void load_ours(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  copy(&work.file, raw_shift(side), &work.device, work.adr);
}

static void load_in_turn(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  for (size_t at = 0; at < work.nbytes; at += CHUNK) {
    raw_pread(work.fd, work.bytes, CHUNK, raw_shift(side) + at, 0);
    bare_write(at, work.bytes, CHUNK);
  }
}

static void leg_pread(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  for (size_t at = 0; at < work.nbytes; at += CHUNK)
    raw_pread(work.fd, work.bytes, CHUNK, raw_shift(side) + at, 0);
}

/* Nonsense: what the library then copies cannot be there yet. */
static void leg_device_write(struct benchSide *side, size_t ncalls) {
  (void)side, (void)ncalls;
  for (size_t at = 0; at < work.nbytes; at += CHUNK)
    bare_write(at, work.bytes, CHUNK);
}

static void clean(struct benchSide *side) {
  (void)side;
  raw_clean_file(work.path);
}

static void store_ours(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  copy(&work.device, work.adr + raw_shift(side), &work.file, 0);
}

static void map_ours(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  copy(&work.device, work.adr + raw_shift(side), &work.map,
       umemMMap_get_address(&work.map, NULL));
}

static void store_in_turn(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  for (size_t at = 0; at < work.nbytes; at += CHUNK) {
    bare_read(raw_shift(side) + at, work.room, CHUNK);
    raw_pwrite(work.fd, work.room, CHUNK, at, 0);
  }
}

static void leg_device_read(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  for (size_t at = 0; at < work.nbytes; at += CHUNK)
    bare_read(raw_shift(side) + at, work.room, CHUNK);
}

static void leg_pwrite(struct benchSide *side, size_t ncalls) {
  (void)side, (void)ncalls;
  for (size_t at = 0; at < work.nbytes; at += CHUNK)
    raw_pwrite(work.fd, work.room, CHUNK, at, 0);
}

static void check_file(struct benchSide *side) {
  raw_pread(work.fd, work.room, work.nbytes, 0, 0);
  raw_check(work.room, raw_shift(side), work.nbytes, side->name);
}

static void p6(char const *what, double limit, bool against_slowest,
               struct benchSide *sides, size_t nsides) {
  char name[64];
  snprintf(name, sizeof name, "%s, %s", what, tier_name());
  bench_contest(&(struct benchContest){.goal = "P6",
                                       .what = name,
                                       .nbytes = work.nbytes,
                                       .nthreads = 2,
                                       .rule = BENCH_RATIO,
                                       .limit = limit,
                                       .sides = sides,
                                       .nsides = nsides,
                                       .against_slowest = against_slowest,
                                       .is_one_call = true});
}

static void p6_load(void) {
  struct benchSide const us = {
      .name = "umem", .run = load_ours, .after = check_device};
  struct benchSide legs[] = {us,
                             {.name = "pread", .run = leg_pread},
                             {.name = "clEnqueue", .run = leg_device_write}};
  struct benchSide turns[] = {
      us,
      {.name = "one, then other", .run = load_in_turn, .after = check_device}};
  p6("File to OpenCL", 0.75, true, legs, BENCH_COUNT(legs));
  p6("File to OpenCL", 1.25, false, turns, BENCH_COUNT(turns));
}

static void p6_store(char const *what,
                     void (*run)(struct benchSide *side, size_t ncalls)) {
  struct benchSide const us = {
      .name = "umem", .before = clean, .run = run, .after = check_file};
  struct benchSide legs[] = {
      us,
      {.name = "clEnqueue", .run = leg_device_read},
      {.name = "pwrite", .before = clean, .run = leg_pwrite}};
  struct benchSide turns[] = {us,
                              {.name = "one, then other",
                               .before = clean,
                               .run = store_in_turn,
                               .after = check_file}};
  raw_fill(work.room, 0, work.nbytes + RAW_SLACK);
  bare_write(0, work.room, work.nbytes + RAW_SLACK);
  p6(what, 0.75, true, legs, BENCH_COUNT(legs));
  p6(what, 1.25, false, turns, BENCH_COUNT(turns));
}

static void p6_rows(size_t nbytes) {
  work.nbytes = nbytes;
  work.path = raw_path(bench_options.dir, "opencl");
  raw_make_file(work.path, 0, nbytes + RAW_SLACK);
  work.fd = raw_open(work.path, O_RDWR);
  bench_need_ok(umemFile_ctor(&work.file, work.path, "r+"), &work.file);
  bench_need_ok(umemMMap_ctor(&work.map, work.path, "r+"), &work.map);
  bench_set_threads(2);
  p6_load();
  p6_store("OpenCL to File", store_ours);
  p6_store("OpenCL to MMap", map_ours);
  umem_dtor(&work.map);
  umem_dtor(&work.file);
  raw_close(work.fd);
  raw_remove(work.path);
  free(work.path);
}

/* --- devices -------------------------------------------------------------- */

static clMem mem_of(uintptr_t adr) {
  void *mem;
  size_t offset;
  bench_need_ok(umemOpenCL_get_mem(&work.device, adr, &mem, &offset),
                &work.device);
  return mem;
}

static void device_rows(size_t largest) {
  size_t const sizes[] = {1 * BENCH_MIB, 16 * BENCH_MIB, 256 * BENCH_MIB};
  void *context, *device;
  clInt code;
  bench_need_ok(umemOpenCL_get_objects(&work.device, &context, &device, NULL),
                &work.device);
  work.queue = cl.clCreateCommandQueue(context, device, 0, &code);
  need(code, "clCreateCommandQueue");
  cl_load_usm(device);
  bench_need_ok(umem_try_alloc(&work.device, largest + RAW_SLACK, &work.adr),
                &work.device);
  bench_need_ok(umem_try_alloc(&work.device, largest, &work.second),
                &work.device);
  work.mem = mem_of(work.adr);
  work.second_mem = mem_of(work.second);
  bench_set_threads(bench_ncores()); /* drivers take all of them */
  for (size_t i = 0; i < BENCH_COUNT(sizes) && sizes[i] <= largest; i++)
    p8_rows(sizes[i]);
  p6_rows(largest);
  cl.clReleaseCommandQueue(work.queue);
}

static void platform_rows(umemDeviceInfo const *info, size_t largest) {
  static umemOpenCLTier const tiers[] = {umemOpenCLUsm, umemOpenCLSvm,
                                         umemOpenCLBuffers};
  bench_note("OpenCL platform %d: %s", info->platform, info->name);
  for (size_t i = 0; i < BENCH_COUNT(tiers); i++) {
    umemOpenCLOptions options = {.size = sizeof options, .tier = tiers[i]};
    work.tier = tiers[i];
    umemStatusType status = umemOpenCL_ctor_ex(&work.device, info->platform,
                                               info->device, &options);
    if (status == umemOK)
      device_rows(largest);
    else if (status != umemNotSupportedError)
      bench_need_ok(status, &work.device);
    umem_dtor(&work.device);
  }
}

int main(int argc, char **argv) {
  umemDeviceInfo info = {.size = sizeof info};
  bench_begin(argc, argv);
  size_t const largest = bench_size(256 * BENCH_MIB, 16 * BENCH_MIB);
  size_t const count = umem_device_count(umemOpenCLDevice);
  umem_device_info(umemOpenCLDevice, 0, &info);
  if (count == 0)
    bench_die("%s", info.reason);
  raw_need_memory(8 * largest);
  raw_need_room(bench_options.dir, 2 * largest);
  cl_load();
  work.bytes = raw_map(largest + RAW_SLACK);
  work.room = raw_map(largest + RAW_SLACK);
  bench_need_ok(umemHost_ctor(&work.host), &work.host);
  for (size_t i = 0; i < count; i++) {
    bench_need_ok(umem_device_info(umemOpenCLDevice, i, &info), NULL);
    if (info.device == 0)
      platform_rows(&info, largest);
  }
  return bench_end();
}
