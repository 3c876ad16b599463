/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the shim tell each other. */
#ifndef UMEM_TESTS_SHIM_INNER_H
#define UMEM_TESTS_SHIM_INNER_H

#include "../../../src/opencl/cl.h"

#include "shim.h"

#define SHIM_EXPORT __attribute__((visibility("default")))

#define SHIM_FUNCTIONS(X) UMEMI_CL_REQUIRED(X) UMEMI_CL_SVM(X) UMEMI_CL_USM(X)

#define SHIM_CALL(result, name, parameters, arguments) SHIM_##name,
enum shim_call { SHIM_FUNCTIONS(SHIM_CALL) SHIM_CALL_COUNT };
#undef SHIM_CALL

/* script.c: what fails ------------------------------------------------------*/

/* Counts a call, and runs what comes before it; returns the code it is to fail
   with, or 0. */
clInt shim_due(enum shim_call call);
/* Counts a command that gives an event; returns how that is to end, or 0. */
clInt shim_event_due(enum shim_call call);
void shim_clear(void);
void shim_fail(char const *name, unsigned k, int code, bool for_ever);
void shim_fail_event(unsigned k, int code);
void shim_before(char const *name, unsigned k, void (*run)(void));
void shim_answer(unsigned what, uint64_t number);
/* False: the device is to answer. */
bool shim_answered(unsigned what, uint64_t *number_out);
unsigned shim_calls(char const *name);
unsigned shim_events(void);
unsigned shim_failures(char const *name);
char const *shim_name(size_t index);

/* live.c: what is to be given back ------------------------------------------*/

/* One reference more. `code`: how an event will end. */
void shim_take(enum shim_kind kind, void const *object, clInt code);
/* One less; false, and a misuse, if there is none. */
bool shim_give(enum shim_kind kind, void const *object);
/* A misuse if it is not live; `code_out` may be NULL. */
bool shim_look(enum shim_kind kind, void const *object, clInt *code_out);
unsigned shim_live(enum shim_kind kind);
char const *shim_kind_name(enum shim_kind kind);
unsigned shim_misuses(void);

#endif
