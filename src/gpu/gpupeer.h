/* SPDX-License-Identifier: BSD-3-Clause */
/* Copies within and between GPUs: for the kinds whose bytes only a driver may
   touch. */
#ifndef UMEMI_GPUPEER_H
#define UMEMI_GPUPEER_H

#include "gpu.h"

/* What the driver refused, told as the end of the block if it was left. */
umemStatusType umemi_gpu_explain(struct umemiGpuState *own,
                                 umemStatusType status, uintptr_t adr,
                                 size_t nbytes, umemError *error);
/* Methods of the kinds whose bytes only the driver may touch. */
umemStatusType umemi_gpu_copy_peer(void *src_state, uintptr_t src_adr,
                                   void *dest_state, uintptr_t dest_adr,
                                   size_t nbytes, umemError *error);
umemStatusType umemi_gpu_read_2d(void *state, uintptr_t adr, void *out,
                                 struct umemRows const *rows, umemError *error);
umemStatusType umemi_gpu_write_2d(void *state, uintptr_t adr, void const *in,
                                  struct umemRows const *rows,
                                  umemError *error);
umemStatusType umemi_gpu_copy_peer_2d(void *src_state, uintptr_t src_adr,
                                      void *dest_state, uintptr_t dest_adr,
                                      struct umemRows const *rows,
                                      umemError *error);

#endif
