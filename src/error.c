/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a failure is described: a status, errno, the driver's code, and a text
 * that says which call, on which device, why. It travels down the stack; what
 * is kept of it is status.c's.
 */
#include "internal.h"

/* --- names ---------------------------------------------------------------- */

char const *umem_get_status_name(umemStatusType type) {
  static char const *const names[] = {
      [umemOK] = "OK",
      [umemMemoryError] = "MemoryError",
      [umemRuntimeError] = "RuntimeError",
      [umemIOError] = "IOError",
      [umemValueError] = "ValueError",
      [umemTypeError] = "TypeError",
      [umemIndexError] = "IndexError",
      [umemNotImplementedError] = "NotImplementedError",
      [umemNotSupportedError] = "NotSupportedError",
      [umemAssertError] = "AssertError"};
  size_t i = (size_t)type;
  return i < sizeof names / sizeof *names ? names[i] : "UnknownError";
}

#ifdef __GLIBC_PREREQ
#if __GLIBC_PREREQ(2, 32)
#define ERRNO_NAME strerrorname_np
#define ERRNO_MEANING strerrordesc_np
#endif
#endif
#ifndef ERRNO_NAME
#define ERRNO_NAME(number) "errno"
#define ERRNO_MEANING(number) "see errno(3)"
#endif

/* "ENOSPC (28) No space left on device: ", in no locale. */
static size_t errno_print(char *out, size_t size, int number) {
  char const *name = ERRNO_NAME(number), *meaning = ERRNO_MEANING(number);
  if (name && meaning)
    return (size_t)snprintf(out, size, "%s (%d) %s: ", name, number, meaning);
  return (size_t)snprintf(out, size, "errno %d: ", number);
}

/* --- building an error ---------------------------------------------------- */

umemStatusType umem_error_fill(umemError *error, umemStatusType type,
                               int sys_errno, int64_t native,
                               char const *format, ...) {
  size_t used = 0;
  memset(error, 0, offsetof(umemError, text));
  error->size = sizeof *error;
  error->type = type;
  error->sys_errno = sys_errno;
  error->native = native;
  if (sys_errno)
    used = errno_print(error->text, sizeof error->text, sys_errno);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->text + used, sizeof error->text - used, format, arguments);
  va_end(arguments);
  return type;
}

umemStatusType umemi_no_memory(umemError *error, char const *what,
                               size_t nbytes) {
  return umem_error_fill(error, umemMemoryError, ENOMEM, 0, "%zu bytes for %s",
                         nbytes, what);
}

umemStatusType umemi_null(umemError *error, char const *what) {
  return umem_error_fill(error, umemValueError, 0, 0, "%s is NULL", what);
}

/* Long values may not push out the reason: it keeps half the room. */
void umemi_error_prefix(umemError *error, char const *format, va_list values) {
  char text[sizeof error->text];
  vsnprintf(text, sizeof text / 2, format, values);
  size_t used = strlen(text);
  memcpy(text + used, ": ", 2);
  used += 2;
  size_t rest = strnlen(error->text, sizeof text - used - 1);
  memcpy(text + used, error->text, rest);
  text[used + rest] = '\0';
  memcpy(error->text, text, used + rest + 1);
}

/* Behind the reason, because it may be long. */
void umemi_error_label(umemError *error, struct umemiContext const *ctx) {
  size_t used = strlen(error->text);
  if (ctx->label)
    snprintf(error->text + used, sizeof error->text - used, ": \"%s\"",
             ctx->label);
}

static UMEMI_PRINTF(2, 3) void error_prefixf(umemError *error,
                                             char const *format, ...) {
  va_list values;
  va_start(values, format);
  umemi_error_prefix(error, format, values);
  va_end(values);
}

umemStatusType umemi_blame(umemError *error, char const *side,
                           struct umemiContext const *ctx) {
  umemi_error_label(error, ctx);
  error_prefixf(error, "%s %s", side, ctx->name);
  return error->type;
}
