/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver of CUDA, for cuda.c and curows.c alone. */
#ifndef UMEMI_CUDRIVER_H
#define UMEMI_CUDRIVER_H

#include "gpu.h"

#include "cu.h"

extern struct umemiDriver umemi_cu_driver;

/* Its functions, once they are loaded. */
struct umemiCu const *umemi_cu(void);
/* Loads and starts it. NotSupported if there is none, with what was looked for;
   RuntimeError in a forked child. */
umemStatusType umemi_cu_load(umemError *error);
bool umemi_cu_is_sticky(int64_t code);
/* What a call came to. */
umemStatusType umemi_cu_failed(struct umemiCu const *table, cuCode code,
                               char const *function, umemError *error);

/* cudadevice.c: operations of umemiGpuOps ----------------------------------*/

umemStatusType umemi_cuda_count(int *count_out, umemError *error);
umemStatusType umemi_cuda_describe(int number, struct umemiGpuFacts *out,
                                   umemError *error);
umemStatusType umemi_cuda_managed_is_shared(int number, bool *is_out,
                                            umemError *error);
umemStatusType umemi_cuda_can_peer(int number, int peer, bool *can_out,
                                   umemError *error);
umemStatusType umemi_cuda_is_active(int number, bool *is_out, umemError *error);
umemStatusType umemi_cuda_retain(struct umemiGpu *gpu, umemError *error);
umemStatusType umemi_cuda_release(int number, umemError *error);
umemStatusType umemi_cuda_is_alive(struct umemiGpu const *gpu, bool *is_out,
                                   umemError *error);
umemStatusType umemi_cuda_enter(struct umemiGpu const *gpu, bool *pushed_out,
                                bool *gone_out, umemError *error);
umemStatusType umemi_cuda_leave(bool pushed, umemError *error);
int umemi_cuda_current(void);
umemStatusType umemi_cuda_device_of_stream(umemiGpuStream stream,
                                           int *number_out, umemError *error);
umemStatusType umemi_cuda_device_of(uintptr_t adr, int *number_out,
                                    umemError *error);

/* One call of the driver, with its arguments in parentheses. */
#define CUDA(name, arguments)                                                  \
  umemi_cu_failed(umemi_cu(), umemi_cu()->name arguments, "cu" #name, error)

/* curows.c: copy_rows and copy_rows_peer of the operations. */
umemStatusType umemi_cu_copy_rows(struct umemiGpuRows const *rows,
                                  umemiGpuStream stream, umemError *error);
umemStatusType umemi_cu_copy_rows_peer(struct umemiGpuRows const *rows,
                                       umemiGpuContext src_context,
                                       umemiGpuContext dest_context,
                                       umemiGpuStream stream, umemError *error);

#endif
