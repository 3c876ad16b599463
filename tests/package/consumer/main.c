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

int main(void) {
  umemHost host;
  umemFile file;
  int ok;

  if (umem_version() != UMEM_VERSION)
    return 1;
  umemHost_ctor(&host);
  umemFile_ctor(&file, "consumer.data", "w+");
  ok = round_trip(&host, &file);
  if (!ok)
    printf("%s\n%s\n", umem_get_message(&host), umem_get_message(&file));
  umem_dtor(&file);
  umem_dtor(&host);
  remove("consumer.data");
  if (ok)
    printf("ok %s\n", UMEM_VERSION_STRING);
  return ok ? 0 : 1;
}
