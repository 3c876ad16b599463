/* SPDX-License-Identifier: BSD-3-Clause */
/* What a caller asks for when a file is opened: mode and options. */
#include "internal.h"

enum {
  FILE_FLAGS = UMEM_FILE_NOFOLLOW | UMEM_FILE_EXCL | UMEM_FILE_DIRECT |
               UMEM_FILE_TAKE_FD | UMEM_FILE_ATOMIC | UMEM_FILE_NO_LOCK
};

/* r r+ w w+ a a+, with at most one b after the first letter. */
bool umemi_file_parse_mode(char const *text, struct umemiFileMode *mode) {
  bool plus = false, binary = false;
  *mode = (struct umemiFileMode){.readable = text[0] == 'r',
                                 .writable = text[0] != 'r',
                                 .creates = text[0] != 'r',
                                 .truncates = text[0] == 'w',
                                 .appends = text[0] == 'a'};
  if (text[0] != 'r' && text[0] != 'w' && text[0] != 'a')
    return false;
  for (char const *p = text + 1; *p; p++) {
    bool *seen = *p == '+' ? &plus : *p == 'b' ? &binary : NULL;
    if (!seen || *seen)
      return false;
    *seen = true;
  }
  mode->readable |= plus;
  mode->writable |= plus;
  return true;
}

umemStatusType umemi_file_check_options(struct umemiFileMode const *mode,
                                        umemFileOptions const *options,
                                        umemError *error) {
  uint32_t flags = options->flags;
  char const *fault = NULL;
  if (flags & ~(uint32_t)FILE_FLAGS)
    fault = "flags has unknown bits";
  else if (options->permissions & ~(uint32_t)0777)
    fault = "permissions has bits outside 0777";
  else if (options->reserved)
    fault = "reserved is not 0";
  else if (flags & UMEM_FILE_EXCL && !mode->creates)
    fault = "EXCL goes with modes that create";
  else if (flags & UMEM_FILE_ATOMIC && !mode->truncates)
    fault = "ATOMIC goes with modes w and w+";
  else if (flags & UMEM_FILE_TAKE_FD &&
           flags & ~(uint32_t)(UMEM_FILE_TAKE_FD | UMEM_FILE_DIRECT |
                               UMEM_FILE_NO_LOCK))
    fault = "TAKE_FD goes with DIRECT and NO_LOCK only";
  if (!fault)
    return umemOK;
  return umem_error_fill(error, umemValueError, 0, 0,
                         "options: %s (flags 0x%" PRIx32
                         ", permissions %04" PRIo32 ")",
                         fault, flags, options->permissions);
}
