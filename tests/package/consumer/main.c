/* SPDX-License-Identifier: BSD-3-Clause */
/* From host to file and back, in the common part of C99 and C++. */
#include <stdio.h>
#include <string.h>
#include <umem.h>

static int round_trip(umemHost *host, umemFile *file) {
  char out[16] = "fifteen letters";
  char in[16] = "";
  uintptr_t adr = umem_alloc(file, sizeof out);

  umem_copy_to(host, (uintptr_t)out, file, adr, sizeof out);
  umem_copy_to(file, adr, host, (uintptr_t)in, sizeof in);
  umem_free(file, adr);
  return umem_is_ok(host) && umem_is_ok(file) && memcmp(in, out, 16) == 0;
}

/* The calls for large things, on a small one. */
static int large_things(umemHost *host) {
  char a[8] = "sampled", b[8] = "";
  uintptr_t from = (uintptr_t)a, to = (uintptr_t)b;
  size_t difference = 0;
  uint32_t sums[2] = {0, 1};
  umemCopyPlan plan;

  plan.size = sizeof plan;
  return umem_set_threads(1) == umemOK && umem_get_threads() == 1 &&
         umem_copy_plan(host, from, host, to, 8, &plan) == umemOK &&
         plan.rung == umemDirectRung &&
         umem_copy_2d(host, from, 4, host, to, 4, 2, 2) == umemOK &&
         umem_copy_2d_safe(host, from, 4, 8, host, to, 4, 8, 4, 2) == umemOK &&
         umem_compare(host, from, host, to, 8, &difference) == umemOK &&
         difference == 8 &&
         umem_checksum(host, from, 8, 0, &sums[0]) == umemOK &&
         umem_checksum(host, to, 8, 0, &sums[1]) == umemOK &&
         sums[0] == sums[1];
}

int main(void) {
  umemHost host;
  umemFile file;
  int ok;

  if (umem_version() != UMEM_VERSION)
    return 1;
  umemHost_ctor(&host);
  umemFile_ctor(&file, "consumer.data", "w+");
  ok = round_trip(&host, &file) && large_things(&host);
  if (!ok)
    printf("%s\n%s\n", umem_get_message(&host), umem_get_message(&file));
  umem_dtor(&file);
  umem_dtor(&host);
  remove("consumer.data");
  if (ok)
    printf("ok %s\n", UMEM_VERSION_STRING);
  return ok ? 0 : 1;
}
