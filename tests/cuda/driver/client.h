/* SPDX-License-Identifier: BSD-3-Clause */
/* For programs that call the simulated driver directly: its functions, found
   as the library finds them, by name. */
#ifndef UMEM_TESTS_SIMCU_CLIENT_H
#define UMEM_TESTS_SIMCU_CLIENT_H

#include "simcu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define CLIENT_MEMBER(name, symbol, parameters) cuCode(*name) parameters;
struct client {
  void *library;
  struct {
    UMEMI_CU_REQUIRED(CLIENT_MEMBER)
    UMEMI_CU_OPTIONAL(CLIENT_MEMBER)
    SIMCU_EXTRA(CLIENT_MEMBER)
  } cu;
  struct simcu sim;
};
#undef CLIENT_MEMBER

/* Puts the address of a symbol where a pointer to a function is. */
static inline int client_find(struct client *client, char const *symbol,
                              void *function_out) {
  void *found = dlsym(client->library, symbol);
  memcpy(function_out, &found, sizeof found);
  return found ? 0 : 1;
}

/* How many symbols are missing; -1: there is no such library. */
static inline int client_load(struct client *client, char const *path) {
  int missing = 0;
  memset(client, 0, sizeof *client);
  client->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!client->library)
    return -1;
#define CLIENT_FIND(name, symbol, parameters)                                  \
  missing += client_find(client, #symbol, &client->cu.name);
#define CLIENT_CONTROL(result, name, parameters)                               \
  missing += client_find(client, "simcu_" #name, &client->sim.name);
  UMEMI_CU_REQUIRED(CLIENT_FIND)
  UMEMI_CU_OPTIONAL(CLIENT_FIND)
  SIMCU_EXTRA(CLIENT_FIND)
  SIMCU_CONTROLS(CLIENT_CONTROL)
#undef CLIENT_FIND
#undef CLIENT_CONTROL
  return missing;
}

#endif
