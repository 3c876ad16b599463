/* SPDX-License-Identifier: BSD-3-Clause */
/* The kinds of context that the contract holds for: one row each. */
#include "contract.h"

#include <fcntl.h>
#include <unistd.h>

#include "doubles/rawcl.h"
#include "doubles/rawcu.h"

/* --- host ---------------------------------------------------------------- */

static umemStatusType host_begin(struct subject *subject) {
  return umemHost_ctor(&subject->ctx.host);
}

static umemStatusType checked_begin(struct subject *subject) {
  umemHostOptions options = {.size = sizeof options, .checked = 1};
  return umemHost_ctor_ex(&subject->ctx.host, &options);
}

static umemStatusType placed_begin(struct subject *subject) {
  umemHostOptions options = {
      .size = sizeof options, .flags = UMEM_HOST_WIPE, .alignment = 256};
  return umemHost_ctor_ex(&subject->ctx.host, &options);
}

static umemStatusType host_twin(struct subject *subject,
                                struct subject const *first) {
  (void)first;
  return host_begin(subject);
}

static void host_end(struct subject *subject) {
  (void)subject;
}

static void host_peek(struct subject const *subject, uintptr_t adr, void *out,
                      size_t nbytes) {
  (void)subject;
  memcpy(out, (void const *)adr, nbytes);
}

static void host_poke(struct subject const *subject, uintptr_t adr,
                      void const *in, size_t nbytes) {
  (void)subject;
  memcpy((void *)adr, in, nbytes);
}

/* --- file ---------------------------------------------------------------- */

static umemStatusType file_open(struct subject *subject, uint32_t flags) {
  umemFileOptions options = {.size = sizeof options, .flags = flags};
  return umemFile_ctor_ex(&subject->ctx.file, subject->path, "r+", &options);
}

static void file_create(struct subject *subject) {
  static unsigned number;
  char name[32];
  snprintf(name, sizeof name, "contract-%u", number++);
  snprintf(subject->path, sizeof subject->path, "%s", temp_path(name));
  file_put(subject->path, "", 0);
}

static umemStatusType file_begin(struct subject *subject) {
  file_create(subject);
  return file_open(subject, 0);
}

static umemStatusType direct_begin(struct subject *subject) {
  file_create(subject);
  return file_open(subject, UMEM_FILE_DIRECT);
}

static umemStatusType file_twin(struct subject *subject,
                                struct subject const *first) {
  memcpy(subject->path, first->path, sizeof subject->path);
  return file_open(subject, 0);
}

static void file_end(struct subject *subject) {
  unlink(subject->path);
}

static void file_peek(struct subject const *subject, uintptr_t adr, void *out,
                      size_t nbytes) {
  file_get(subject->path, adr, out, nbytes);
}

static void file_poke(struct subject const *subject, uintptr_t adr,
                      void const *in, size_t nbytes) {
  int fd = open(subject->path, O_WRONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  ssize_t done = pwrite(fd, in, nbytes, (off_t)adr);
  close(fd);
  assert_true(done >= 0 && (size_t)done == nbytes);
}

/* --- mapped file --------------------------------------------------------- */

static umemStatusType mmap_begin(struct subject *subject) {
  file_create(subject);
  return umemMMap_ctor(&subject->ctx.mmap, subject->path, "r+");
}

/* Another context has other addresses: what shares these is host memory. */
static umemStatusType pointer_twin(struct subject *subject,
                                   struct subject const *first) {
  subject->kind = &kinds[0];
  return host_twin(subject, first);
}

static void mmap_peek(struct subject const *subject, uintptr_t adr, void *out,
                      size_t nbytes) {
  uintptr_t first = umemMMap_get_address(&subject->ctx.mmap, NULL);
  file_get(subject->path, adr - first, out, nbytes);
}

/* --- shared memory ------------------------------------------------------- */

enum { SHM_SIZE = 20 << 20 }; /* all tests fit, and it is filled for each */

static umemStatusType shm_begin(struct subject *subject) {
  return umemShm_ctor(&subject->ctx.shm, NULL, SHM_SIZE, 0);
}

/* Called as the directory of the tests is: numbers of processes come again, and
   what a killed one left is still there. */
static umemStatusType named_shm_begin(struct subject *subject) {
  static unsigned number;
  char name[64];
  snprintf(name, sizeof name, "%s-%u", strrchr(temp_dir(), '/'), number++);
  return umemShm_ctor(&subject->ctx.shm, name, SHM_SIZE, UMEM_SHM_CREATE);
}

/* --- OpenCL -------------------------------------------------------------- */

static umemStatusType opencl_with(struct subject *subject, umemOpenCLTier tier,
                                  int device) {
  umemOpenCLOptions options = {.size = sizeof options, .tier = tier};
  return umemOpenCL_ctor_ex(&subject->ctx.opencl, 0, device, &options);
}

static umemStatusType usm_begin(struct subject *subject) {
  return opencl_with(subject, umemOpenCLUsm, 0);
}

static umemStatusType svm_begin(struct subject *subject) {
  return opencl_with(subject, umemOpenCLSvm, 0);
}

static umemStatusType buffers_begin(struct subject *subject) {
  return opencl_with(subject, umemOpenCLBuffers, 0);
}

/* Where there is none it is the first one, in another way. */
static umemStatusType second_device_begin(struct subject *subject) {
  umemStatusType status = opencl_with(subject, umemOpenCLBest, 1);
  return status == umemIndexError ? opencl_with(subject, umemOpenCLBest, 0)
                                  : status;
}

static umemStatusType opencl_twin(struct subject *subject,
                                  struct subject const *first) {
  umemOpenCLOptions options = {.size = sizeof options};
  options.tier = umemOpenCL_get_tier(&first->ctx.opencl);
  assert_ok(
      umemOpenCL_get_objects(&first->ctx.opencl, NULL, NULL, &options.queue));
  return umemOpenCL_ctor_ex(&subject->ctx.opencl, 0, 0, &options);
}

static void opencl_peek(struct subject const *subject, uintptr_t adr, void *out,
                        size_t nbytes) {
  rawcl_read(&subject->ctx.opencl, adr, out, nbytes);
}

static void opencl_poke(struct subject const *subject, uintptr_t adr,
                        void const *in, size_t nbytes) {
  rawcl_write(&subject->ctx.opencl, adr, in, nbytes);
}

/* --- CUDA ---------------------------------------------------------------- */

static umemStatusType cuda_begin(struct subject *subject) {
  return umemCuda_ctor(&subject->ctx.cuda, 0);
}

static umemStatusType cuda_pool_begin(struct subject *subject) {
  umemCudaOptions options = {.size = sizeof options, .flags = UMEM_CUDA_POOL};
  return umemCuda_ctor_ex(&subject->ctx.cuda, 0, &options);
}

/* Where there is none it is the first one. */
static umemStatusType second_cuda_begin(struct subject *subject) {
  umemStatusType status = umemCuda_ctor(&subject->ctx.cuda, 1);
  return status == umemIndexError ? cuda_begin(subject) : status;
}

static umemStatusType cuda_twin(struct subject *subject,
                                struct subject const *first) {
  bool is_second = first->kind->begin == second_cuda_begin;
  return is_second ? second_cuda_begin(subject) : cuda_begin(subject);
}

static umemStatusType cuda_host_begin(struct subject *subject) {
  return umemCudaHost_ctor(&subject->ctx.cuda_host, 0);
}

static umemStatusType cuda_host_twin(struct subject *subject,
                                     struct subject const *first) {
  (void)first;
  return cuda_host_begin(subject);
}

static umemStatusType cuda_managed_begin(struct subject *subject) {
  return umemCudaManaged_ctor(&subject->ctx.cuda_managed, 0, false, NULL);
}

static umemStatusType cuda_managed_twin(struct subject *subject,
                                        struct subject const *first) {
  (void)first;
  return cuda_managed_begin(subject);
}

static void cuda_peek(struct subject const *subject, uintptr_t adr, void *out,
                      size_t nbytes) {
  (void)subject;
  rawcu_read(adr, out, nbytes);
}

static void cuda_poke(struct subject const *subject, uintptr_t adr,
                      void const *in, size_t nbytes) {
  (void)subject;
  rawcu_write(adr, in, nbytes);
}

/* --- fake devices -------------------------------------------------------- */

static umemStatusType fake_with(struct subject *subject,
                                struct fakeConfig const *config) {
  return fake_ctor(&subject->ctx.super, &subject->fake, config);
}

/* Copies within its kind by itself, sets, knows zeros, and has its ideas of how
   bytes are to be moved. */
static umemStatusType peer_begin(struct subject *subject) {
  return fake_with(subject, &(struct fakeConfig){.fundamental_align = 8,
                                                 .max_align = 4096,
                                                 .without = FAKE_VIEWS,
                                                 .sets = true,
                                                 .hole = 4096,
                                                 .limits = {.chunk = 300000,
                                                            .lanes = 3,
                                                            .waits = 1,
                                                            .alignment = 64,
                                                            .method = "wand"}});
}

static umemStatusType views_begin(struct subject *subject) {
  return fake_with(subject,
                   &(struct fakeConfig){.declines = 1u << FAKE_COPY_PEER});
}

/* As little as a kind may have. */
static umemStatusType bare_begin(struct subject *subject) {
  return fake_with(subject, &(struct fakeConfig){.base = FAKE_BASE_ZERO,
                                                 .without = FAKE_OPTIONAL});
}

static umemStatusType fake_twin(struct subject *subject,
                                struct subject const *first) {
  struct fakeConfig config = first->fake.config;
  config.shares = first->fake.memory;
  return fake_with(subject, &config);
}

static void fake_finish(struct subject *subject) {
  fake_end(&subject->fake);
}

static void fake_peek(struct subject const *subject, uintptr_t adr, void *out,
                      size_t nbytes) {
  memcpy(out, fake_at(&subject->fake, adr), nbytes);
}

static void fake_poke(struct subject const *subject, uintptr_t adr,
                      void const *in, size_t nbytes) {
  memcpy(fake_at(&subject->fake, adr), in, nbytes);
}

/* --- the rows ------------------------------------------------------------ */

#define HOST_ROW                                                               \
  .device_name = "Host", .twin = host_twin, .end = host_end,                   \
  .peek = host_peek, .poke = host_poke
#define FILE_ROW                                                               \
  .device_name = "File", .twin = file_twin, .end = file_end,                   \
  .peek = file_peek, .poke = file_poke, .knows_blocks = true,                  \
  .zero_is_an_address = true
#define FAKE_ROW                                                               \
  .device_name = "Fake", .twin = fake_twin, .end = fake_finish,                \
  .peek = fake_peek, .poke = fake_poke, .knows_blocks = true

#define OPENCL_ROW                                                             \
  .family = "OpenCL", .device_name = "OpenCL", .twin = opencl_twin,            \
  .end = host_end, .peek = opencl_peek, .poke = opencl_poke,                   \
  .knows_blocks = true

#define CUDA_ROW                                                               \
  .family = "CUDA", .device_name = "Cuda", .twin = cuda_twin, .end = host_end, \
  .peek = cuda_peek, .poke = cuda_poke, .knows_blocks = true
#define CUDA_POINTER_ROW                                                       \
  .family = "CUDA", .end = host_end, .peek = host_peek, .poke = host_poke,     \
  .knows_blocks = true

struct kind const kinds[] = {
    {.name = "Host", .begin = host_begin, HOST_ROW},
    {.name = "checked Host",
     .no_ladder = true,
     .begin = checked_begin,
     .knows_blocks = true,
     HOST_ROW},
    {.name = "placed Host",
     .no_ladder = true,
     .begin = placed_begin,
     .knows_blocks = true,
     HOST_ROW},
    {.name = "File", .begin = file_begin, FILE_ROW},
    {.name = "direct File", .begin = direct_begin, .no_ladder = true, FILE_ROW},
    {.name = "MMap",
     .no_ladder = true,
     .device_name = "MMap",
     .begin = mmap_begin,
     .twin = pointer_twin,
     .end = file_end,
     .peek = mmap_peek,
     .poke = host_poke,
     .knows_blocks = true},
    {.name = "Shm",
     .device_name = "Shm",
     .begin = shm_begin,
     .twin = pointer_twin,
     .end = host_end,
     .peek = host_peek,
     .poke = host_poke},
    {.name = "named Shm",
     .no_ladder = true,
     .device_name = "Shm",
     .begin = named_shm_begin,
     .twin = pointer_twin,
     .end = host_end,
     .peek = host_peek,
     .poke = host_poke},
    {.name = "Fake", .begin = peer_begin, FAKE_ROW},
    {.name = "Fake with views", .begin = views_begin, FAKE_ROW},
    {.name = "bare Fake",
     .begin = bare_begin,
     .zero_is_an_address = true,
     FAKE_ROW},
    {.name = "OpenCL USM", .begin = usm_begin, OPENCL_ROW},
    {.name = "OpenCL SVM", .begin = svm_begin, OPENCL_ROW},
    {.name = "OpenCL buffers", .begin = buffers_begin, OPENCL_ROW},
    {.name = "second OpenCL", .begin = second_device_begin, OPENCL_ROW},
    {.name = "Cuda", .begin = cuda_begin, CUDA_ROW},
    {.name = "Cuda pool", .begin = cuda_pool_begin, CUDA_ROW},
    {.name = "second Cuda", .begin = second_cuda_begin, CUDA_ROW},
    {.name = "CudaHost",
     .device_name = "CudaHost",
     .begin = cuda_host_begin,
     .twin = cuda_host_twin,
     CUDA_POINTER_ROW},
    {.name = "CudaManaged",
     .device_name = "CudaManaged",
     .begin = cuda_managed_begin,
     .twin = cuda_managed_twin,
     CUDA_POINTER_ROW},
};

size_t const kind_count = sizeof kinds / sizeof *kinds;

/* --- subjects and blocks -------------------------------------------------- */

/* False, and nothing left behind, if this machine does not have the kind. */
static bool subject_ready(struct subject *subject, umemStatusType status) {
  if (status != umemNotSupportedError) {
    assert_status(status, umemOK);
    return true;
  }
  print_message("no %s: %s\n", subject->kind->name,
                umem_get_message(&subject->ctx));
  assert_ok(umem_dtor(&subject->ctx));
  subject->kind->end(subject);
  subject->kind = NULL;
  return false;
}

bool subject_try(struct subject *subject, struct kind const *kind) {
  subject->kind = kind;
  return subject_ready(subject, kind->begin(subject));
}

void subject_begin(struct subject *subject, struct kind const *kind) {
  if (!subject_try(subject, kind))
    skip();
}

void subject_twin(struct subject *subject, struct subject const *first) {
  subject->kind = first->kind;
  if (!subject_ready(subject, first->kind->twin(subject, first)))
    skip();
}

void subject_end(struct subject *subject) {
  struct kind const *kind = subject->kind;
  subject->kind = NULL; /* whatever fails now, once is enough */
  if (!kind)
    return;
  bool was_ok = umem_is_ok(&subject->ctx);
  umemStatusType status = umem_dtor(&subject->ctx);
  kind->end(subject);
  assert_true(was_ok);
  assert_status(status, umemOK);
}

struct block block_begin(struct subject *subject, size_t nbytes) {
  static uint64_t seed;
  struct block block = {.subject = subject, .nbytes = nbytes};
  assert_ok(umem_try_alloc(&subject->ctx, nbytes, &block.adr));
  block.image = malloc(nbytes + 1);
  assert_non_null(block.image);
  random_bytes(block.image, nbytes, seed++);
  subject->kind->poke(subject, block.adr, block.image, nbytes);
  return block;
}

bool block_is_intact(struct block const *block) {
  unsigned char *now = malloc(block->nbytes + 1);
  assert_non_null(now);
  block->subject->kind->peek(block->subject, block->adr, now, block->nbytes);
  bool intact = memcmp(now, block->image, block->nbytes) == 0;
  free(now);
  return intact;
}

void block_end(struct block *block) {
  free(block->image);
  assert_ok(umem_free(&block->subject->ctx, block->adr));
}
