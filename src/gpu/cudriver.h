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
