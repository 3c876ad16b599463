/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Public structs begin with their size as the caller compiled it: what is
 * shorter or longer than here is taken from him, and given to him, as far as
 * both know it. No other function copies such a struct.
 */
#include "internal.h"

/* A size that was not set is seldom small; it must not be read up to. */
enum { SIZED_MAX = 1024 };

static size_t sized_of(void const *sized) {
  size_t size;
  memcpy(&size, sized, sizeof size);
  return size;
}

/* A shorter version ends on a multiple of its first member, and so not within a
   number or a pointer. */
umemStatusType umemi_take_options(void *options, size_t size, void const *given,
                                  umemError *error) {
  size_t given_size = sized_of(given);
  bool cuts = given_size < size && given_size % sizeof size != 0;
  if (given_size < sizeof size || given_size > SIZED_MAX || cuts)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "size member is %zu: set it to the struct's sizeof",
                           given_size);
  for (size_t i = size; i < given_size; i++)
    if (((unsigned char const *)given)[i])
      return umem_error_fill(error, umemNotSupportedError, 0, 0,
                             "byte %zu of the struct is set, but this version "
                             "(" UMEM_VERSION_STRING ") knows %zu bytes",
                             i, size);
  memcpy(options, given, given_size < size ? given_size : size);
  return umemOK;
}

umemStatusType umemi_give_result(void *out, char const *name, void *result,
                                 struct umemiSized sized, umemError *error) {
  size_t size = sized_of(out);
  if (size < sized.least)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "%s->size is %zu: set it to the struct's sizeof",
                           name, size);
  memcpy(result, &size, sizeof size);
  if (size > sized.texts && size < sized.size)
    ((char *)result)[size - 1] = '\0';
  memcpy(out, result, size < sized.size ? size : sized.size);
  return umemOK;
}
