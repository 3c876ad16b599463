/* SPDX-License-Identifier: BSD-3-Clause */
/* A plugin with libumem.a inside: leaves helper threads, a thread's status and
   handlers behind. */
#include <umem.h>

int work(void);

int work(void) {
  umemHost host;
  umemStatusType status = umemIOError;
  size_t nbytes = (size_t)64 << 20;

  if (umemHost_ctor(&host) != umemOK)
    return 1;
  uintptr_t a = umem_calloc(&host, 1, nbytes), b = umem_alloc(&host, nbytes);
  if (a && b)
    status = umem_copy_to(&host, a, &host, b, nbytes);
  umem_free(&host, a);
  umem_free(&host, b);
  umem_set_status(&host, umemIOError, "left behind");
  umem_dtor(&host);
  return (int)status;
}
