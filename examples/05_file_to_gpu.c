/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Brings a file into the memory of a CUDA device, and from there into another
 * file:
 *
 *   05_file_to_gpu FROM TO [DEVICE]
 *
 * No byte passes through memory of ours: the library reads the file, moves the
 * bytes to the device, and writes what it brings back. A checksum tells whether
 * the device has what is in the file, and a comparison whether TO is the same
 * as FROM. Nothing of CUDA is needed to build this; to run it, a driver is.
 */
#include <inttypes.h>
#include <string.h>
#include <umem.h>

struct journey {
  umemMMap from;
  umemCuda device;
  umemFile to;
  uintptr_t from_adr, block;
  size_t nbytes;
};

static bool fail(char const *what, char const *why) {
  fprintf(stderr, "05_file_to_gpu: %s: %s\n", what, why);
  return false;
}

/* Of one of the contexts: it knows what has failed. */
static bool fail_with(char const *what, void const *ctx) {
  return fail(what, umem_get_message(ctx));
}

static bool open_device(umemCuda *device, int number) {
  umemDeviceInfo info = {.size = sizeof info};
  if (umemCuda_ctor(device, number) != umemOK)
    return fail_with("opening the GPU", device);
  umem_device_info(umemCudaDevice, (size_t)number, &info);
  printf("device %d is %s, with %" PRIu64 " MiB\n", number, info.name,
         info.total_bytes >> 20);
  return true;
}

/* Mapped: so it has an address, and the library knows how long it is. */
static bool open_from(struct journey *j, char const *name) {
  if (umemMMap_ctor(&j->from, name, "r") != umemOK)
    return fail_with("opening", &j->from);
  j->from_adr = umemMMap_get_address(&j->from, &j->nbytes);
  return true;
}

/* umem_connect() makes a block on the device and copies the file into it. */
static bool load(struct journey *j) {
  uint32_t in_file, on_device;
  if (umem_try_connect(&j->from, j->from_adr, j->nbytes, &j->device, 0,
                       &j->block) != umemOK)
    return fail_with("loading", &j->device);
  if (umem_checksum(&j->from, j->from_adr, j->nbytes, 0, &in_file) != umemOK)
    return fail_with("reading", &j->from);
  if (umem_checksum(&j->device, j->block, j->nbytes, 0, &on_device) != umemOK)
    return fail_with("reading back", &j->device);
  if (in_file != on_device)
    return fail("loading", "the device has something else than the file");
  printf("%zu bytes at 0x%" PRIxPTR ", CRC-32C %08" PRIx32 "\n", j->nbytes,
         j->block, on_device);
  return true;
}

/* The file takes its name when all is in it, and never before. */
static bool store(struct journey *j, char const *name) {
  umemFileOptions const options = {.size = sizeof options,
                                   .flags = UMEM_FILE_ATOMIC};
  if (umemFile_ctor_ex(&j->to, name, "w", &options) != umemOK)
    return fail_with("opening", &j->to);
  if (umem_copy_to(&j->device, j->block, &j->to, 0, j->nbytes) != umemOK)
    return fail_with("storing", &j->to);
  if (umem_dtor(&j->to) != umemOK)
    return fail_with("storing", &j->to);
  return true;
}

static bool compare(struct journey *j, char const *name) {
  umemMMap copy;
  size_t nbytes, where = 0;
  if (umemMMap_ctor(&copy, name, "r") != umemOK)
    return fail_with("opening", &copy);
  uintptr_t adr = umemMMap_get_address(&copy, &nbytes);
  bool ok = nbytes == j->nbytes && umem_compare(&j->from, j->from_adr, &copy,
                                                adr, nbytes, &where) == umemOK;
  umem_dtor(&copy);
  if (!ok || where != j->nbytes)
    return fail(name, "is not the same as the first file");
  printf("%s is the same\n", name);
  return true;
}

/* A number of at most three digits, or -1. */
static int device_number(char const *text) {
  size_t const length = strlen(text);
  return length > 0 && length < 4 && strspn(text, "0123456789") == length
             ? atoi(text)
             : -1;
}

int main(int argc, char **argv) {
  static struct journey j; /* zeroed: what was not constructed is no context */
  int const number = argc == 4 ? device_number(argv[3]) : 0;
  if (argc < 3 || argc > 4 || number < 0) {
    fprintf(stderr, "usage: 05_file_to_gpu FROM TO [DEVICE]\n");
    return EXIT_FAILURE;
  }
  bool ok = open_device(&j.device, number) && open_from(&j, argv[1]) &&
            load(&j) && store(&j, argv[2]) && compare(&j, argv[2]);
  umem_dtor(&j.to);
  umem_dtor(&j.device); /* and frees the block */
  umem_dtor(&j.from);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
