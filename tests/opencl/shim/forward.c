/* SPDX-License-Identifier: BSD-3-Clause */
/* The functions of libOpenCL.so.1, each in front of the real one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* secure_getenv */
#endif

#include "inner.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Where the real one was found when this was built. */
#ifndef SHIM_REAL
#define SHIM_REAL ""
#endif

static struct umemiCl real;
static struct umemiClUsm usm; /* the platform's, or emulated */
static enum shim_usm usm_mode;

#define DECLARE(result, name, parameters, arguments)                           \
  SHIM_EXPORT result name parameters;
SHIM_FUNCTIONS(DECLARE)
#undef DECLARE

/* --- the real one --------------------------------------------------------- */

static void real_find(void) {
  char const *path = secure_getenv("UMEM_SHIM_REAL");
  void *library = dlopen(path ? path : SHIM_REAL, RTLD_NOW | RTLD_LOCAL);
  void *found;
  if (!library)
    return;
#define FIND(result, name, parameters, arguments)                              \
  found = dlsym(library, #name);                                               \
  memcpy(&real.name, &found, sizeof found);
  UMEMI_CL_REQUIRED(FIND)
  UMEMI_CL_SVM(FIND)
#undef FIND
}

/* All use of OpenCL begins here: without a real one it also ends here. */
static clInt model_platforms(clUint room, clPlatform *platforms_out,
                             clUint *count_out) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, real_find);
  return real.clGetPlatformIDs
             ? real.clGetPlatformIDs(room, platforms_out, count_out)
             : UMEMI_CL_PLATFORM_NOT_FOUND_KHR;
}

/* --- unified shared memory ------------------------------------------------ */

static void *emulated_alloc(clContext context, clDevice device,
                            clBits const *properties, size_t nbytes,
                            clUint alignment, clInt *code_out) {
  (void)device, (void)properties;
  void *ptr =
      real.clSVMAlloc(context, UMEMI_CL_MEM_READ_WRITE, nbytes, alignment);
  if (code_out)
    *code_out = ptr ? UMEMI_CL_SUCCESS : UMEMI_CL_OUT_OF_RESOURCES;
  return ptr;
}

static clInt emulated_free(clContext context, void *ptr) {
  real.clSVMFree(context, ptr);
  return UMEMI_CL_SUCCESS;
}

static clInt emulated_copy(clQueue queue, clUint blocking, void *dest,
                           void const *src, size_t nbytes, UMEMI_CL_WAITS_) {
  return real.clEnqueueSVMMemcpy(queue, blocking, dest, src, nbytes,
                                 UMEMI_CL_WAITS_GIVEN_);
}

static clInt emulated_fill(clQueue queue, void *ptr, void const *pattern,
                           size_t pattern_size, size_t nbytes,
                           UMEMI_CL_WAITS_) {
  return real.clEnqueueSVMMemFill(queue, ptr, pattern, pattern_size, nbytes,
                                  UMEMI_CL_WAITS_GIVEN_);
}

static clInt emulated_set_arg(clKernel kernel, clUint index, void const *ptr) {
  return real.clSetKernelArgSVMPointer(kernel, index, ptr);
}

static struct umemiClUsm const emulated = {
    .clDeviceMemAllocINTEL = emulated_alloc,
    .clMemFreeINTEL = emulated_free,
    .clEnqueueMemcpyINTEL = emulated_copy,
    .clEnqueueMemFillINTEL = emulated_fill,
    .clSetKernelArgMemPointerINTEL = emulated_set_arg};

static void shim_set_usm(enum shim_usm mode) {
  usm_mode = mode;
}

/* A function is ours if the platform has it; what has no shared virtual memory
   cannot emulate. */
static void *usm_address(clPlatform platform, char const *name) {
  void *found = real.clGetExtensionFunctionAddressForPlatform(platform, name);
#define WRAP(result, name_, parameters, arguments)                             \
  if (strcmp(name, #name_) == 0) {                                             \
    memcpy(&usm.name_, &found, sizeof found);                                  \
    if (usm_mode == SHIM_USM_EMULATED)                                         \
      usm.name_ = emulated.name_;                                              \
    result(*ours) parameters = name_;                                          \
    if (usm.name_ && usm_mode != SHIM_USM_NONE)                                \
      memcpy(&found, &ours, sizeof found);                                     \
    else                                                                       \
      found = NULL;                                                            \
    return found;                                                              \
  }
  UMEMI_CL_USM(WRAP)
#undef WRAP
  return found;
}

static clInt answer(void const *value, size_t size, size_t room, void *out,
                    size_t *size_out) {
  if (out && room < size)
    return UMEMI_CL_INVALID_VALUE;
  if (out)
    memcpy(out, value, size);
  if (size_out)
    *size_out = size;
  return UMEMI_CL_SUCCESS;
}

/* As cl_intel_unified_shared_memory has it: 0 of a device without. */
static clInt model_device(clDevice device, clUint what, size_t room, void *out,
                          size_t *size_out) {
  clBits has = 0;
  uint64_t number;
  if (shim_answered(what, &number))
    return answer(&number, sizeof number, room, out, size_out);
  if (what != UMEMI_CL_DEVICE_DEVICE_MEM_CAPABILITIES_INTEL ||
      usm_mode == SHIM_USM_REAL)
    return real.clGetDeviceInfo(device, what, room, out, size_out);
  if (usm_mode == SHIM_USM_NONE)
    return UMEMI_CL_INVALID_VALUE;
  clInt code = real.clGetDeviceInfo(device, UMEMI_CL_DEVICE_SVM_CAPABILITIES,
                                    sizeof has, &has, NULL);
  if (code != UMEMI_CL_SUCCESS)
    return code;
  has = has & (clBits)UMEMI_CL_DEVICE_SVM_COARSE_GRAIN_BUFFER
            ? (clBits)UMEMI_CL_UNIFIED_SHARED_MEMORY_ACCESS_INTEL
            : 0;
  return answer(&has, sizeof has, room, out, size_out);
}

/* --- what is live --------------------------------------------------------- */

static clInt model_retain_context(clContext context) {
  if (!shim_look(SHIM_CONTEXT, context, NULL))
    return UMEMI_CL_INVALID_CONTEXT;
  shim_take(SHIM_CONTEXT, context, 0);
  return real.clRetainContext(context);
}

static clInt model_release_context(clContext context) {
  return shim_give(SHIM_CONTEXT, context) ? real.clReleaseContext(context)
                                          : UMEMI_CL_INVALID_CONTEXT;
}

static clInt model_retain_queue(clQueue queue) {
  if (!shim_look(SHIM_QUEUE, queue, NULL))
    return UMEMI_CL_INVALID_COMMAND_QUEUE;
  shim_take(SHIM_QUEUE, queue, 0);
  return real.clRetainCommandQueue(queue);
}

static clInt model_release_queue(clQueue queue) {
  return shim_give(SHIM_QUEUE, queue) ? real.clReleaseCommandQueue(queue)
                                      : UMEMI_CL_INVALID_COMMAND_QUEUE;
}

static clInt model_release_mem(clMem mem) {
  return shim_give(SHIM_MEM, mem) ? real.clReleaseMemObject(mem)
                                  : UMEMI_CL_INVALID_MEM_OBJECT;
}

static clInt model_usm_free(clContext context, void *ptr) {
  return shim_give(SHIM_USM, ptr) ? usm.clMemFreeINTEL(context, ptr)
                                  : UMEMI_CL_INVALID_VALUE;
}

/* --- events --------------------------------------------------------------- */

static void event_note(enum shim_call call, clEvent const *event_out) {
  if (event_out)
    shim_take(SHIM_EVENT, *event_out, shim_event_due(call));
}

static clInt model_release_event(clEvent event) {
  return shim_give(SHIM_EVENT, event) ? real.clReleaseEvent(event)
                                      : UMEMI_CL_INVALID_EVENT;
}

static clInt model_wait(clUint nevents, clEvent const *events) {
  clInt worst = UMEMI_CL_SUCCESS, state = 0;
  for (clUint i = 0; i < nevents; i++) {
    if (!shim_look(SHIM_EVENT, events[i], &state))
      return UMEMI_CL_INVALID_EVENT;
    if (state < 0)
      worst = UMEMI_CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST;
  }
  clInt code = real.clWaitForEvents(nevents, events);
  return code == UMEMI_CL_SUCCESS ? worst : code;
}

static clInt model_event(clEvent event, clUint what, size_t room, void *out,
                         size_t *size_out) {
  clInt state = 0;
  if (!shim_look(SHIM_EVENT, event, &state))
    return UMEMI_CL_INVALID_EVENT;
  if (state < 0 && what == UMEMI_CL_EVENT_COMMAND_EXECUTION_STATUS)
    return answer(&state, sizeof state, room, out, size_out);
  return real.clGetEventInfo(event, what, room, out, size_out);
}

/* --- the forwarders ------------------------------------------------------- */

/* The second of several; PICK is the same, for use around the others. */
#define SECOND(...) SECOND_(__VA_ARGS__, ~)
#define SECOND_(first, second, ...) second
#define PICK(...) PICK_(__VA_ARGS__, ~)
#define PICK_(first, second, ...) second

/* What stands for the real function. */
#define MODEL_clGetPlatformIDs ~, model_platforms
#define MODEL_clGetDeviceInfo ~, model_device
#define MODEL_clRetainContext ~, model_retain_context
#define MODEL_clReleaseContext ~, model_release_context
#define MODEL_clRetainCommandQueue ~, model_retain_queue
#define MODEL_clReleaseCommandQueue ~, model_release_queue
#define MODEL_clReleaseMemObject ~, model_release_mem
#define MODEL_clMemFreeINTEL ~, model_usm_free
#define MODEL_clReleaseEvent ~, model_release_event
#define MODEL_clWaitForEvents ~, model_wait
#define MODEL_clGetEventInfo ~, model_event

/* What is done even by a call that fails. */
#define YET_clReleaseContext ~, model_release_context(context)
#define YET_clReleaseCommandQueue ~, model_release_queue(queue)
#define YET_clReleaseMemObject ~, model_release_mem(mem)
#define YET_clMemFreeINTEL ~, model_usm_free(context, ptr)
#define YET_clReleaseEvent ~, model_release_event(event)
#define YET_clWaitForEvents ~, model_wait(nevents, events)
#define YET_clFinish ~, real.clFinish(queue)

/* Where an event goes. */
#define EVENT_clEnqueueReadBuffer ~, event_out
#define EVENT_clEnqueueWriteBuffer ~, event_out
#define EVENT_clEnqueueCopyBuffer ~, event_out
#define EVENT_clEnqueueFillBuffer ~, event_out
#define EVENT_clEnqueueMigrateMemObjects ~, event_out
#define EVENT_clEnqueueSVMMemcpy ~, event_out
#define EVENT_clEnqueueSVMMemFill ~, event_out
#define EVENT_clEnqueueMemcpyINTEL ~, event_out
#define EVENT_clEnqueueMemFillINTEL ~, event_out

static clInt code_of(clInt fault) {
  return fault == SHIM_IDLE ? UMEMI_CL_SUCCESS : fault;
}

/* Most answer a code. */
#define ANSWERS(table, result, name, parameters, arguments)                    \
  result name parameters {                                                     \
    result fault = shim_due(SHIM_##name);                                      \
    if (fault) {                                                               \
      SECOND(YET_##name, (void)0);                                             \
      return code_of(fault);                                                   \
    }                                                                          \
    result code = SECOND(MODEL_##name, table.name) arguments;                  \
    if (code == UMEMI_CL_SUCCESS)                                              \
      event_note(SHIM_##name, SECOND(EVENT_##name, NULL));                     \
    return code;                                                               \
  }

/* Some make an object, and have the code as output. */
#define MAKES_clCreateContext SHIM_CONTEXT
#define MAKES_clCreateCommandQueue SHIM_QUEUE
#define MAKES_clCreateBuffer SHIM_MEM
#define MAKES_clDeviceMemAllocINTEL SHIM_USM

#define MAKES(table, result, name, parameters, arguments)                      \
  result name parameters {                                                     \
    clInt fault = shim_due(SHIM_##name);                                       \
    if (fault && code_out)                                                     \
      *code_out = code_of(fault);                                              \
    if (fault)                                                                 \
      return NULL;                                                             \
    result made = table.name arguments;                                        \
    if (made) {                                                                \
      shim_take(MAKES_##name, made, 0);                                        \
      event_note(SHIM_##name, SECOND(EVENT_##name, NULL));                     \
    }                                                                          \
    return made;                                                               \
  }

#define NOTHING(table, result, name, parameters, arguments)

#define FORM_clCreateContext ~, MAKES
#define FORM_clCreateCommandQueue ~, MAKES
#define FORM_clCreateBuffer ~, MAKES
#define FORM_clDeviceMemAllocINTEL ~, MAKES
#define FORM_clGetExtensionFunctionAddressForPlatform ~, NOTHING /* below */
#define FORM_clSVMAlloc ~, NOTHING
#define FORM_clSVMFree ~, NOTHING

#define FORWARD(result, name, parameters, arguments)                           \
  PICK(FORM_##name, ANSWERS)(real, result, name, parameters, arguments)
#define FORWARD_USM(result, name, parameters, arguments)                       \
  PICK(FORM_##name, ANSWERS)(usm, result, name, parameters, arguments)

UMEMI_CL_REQUIRED(FORWARD)
UMEMI_CL_SVM(FORWARD)
UMEMI_CL_USM(FORWARD_USM)

void *clGetExtensionFunctionAddressForPlatform(clPlatform platform,
                                               char const *name) {
  return shim_due(SHIM_clGetExtensionFunctionAddressForPlatform)
             ? NULL
             : usm_address(platform, name);
}

void *clSVMAlloc(clContext context, clBits flags, size_t nbytes,
                 clUint alignment) {
  static void *_Atomic last;
  clInt fault = shim_due(SHIM_clSVMAlloc);
  if (fault)
    return fault == SHIM_AGAIN ? atomic_load(&last) : NULL;
  void *ptr = real.clSVMAlloc(context, flags, nbytes, alignment);
  if (ptr)
    shim_take(SHIM_SVM, ptr, 0);
  atomic_store(&last, ptr);
  return ptr;
}

void clSVMFree(clContext context, void *ptr) {
  if (shim_give(SHIM_SVM, ptr))
    real.clSVMFree(context, ptr);
}

/* --- controls ------------------------------------------------------------- */

SHIM_EXPORT shimControlsGetter shim_controls;

struct shimControls const *shim_controls(void) {
  static struct shimControls const controls = {.clear = shim_clear,
                                               .fail_call = shim_fail,
                                               .fail_event = shim_fail_event,
                                               .before_call = shim_before,
                                               .answer = shim_answer,
                                               .calls = shim_calls,
                                               .events = shim_events,
                                               .failures = shim_failures,
                                               .name = shim_name,
                                               .live = shim_live,
                                               .kind_name = shim_kind_name,
                                               .misuses = shim_misuses,
                                               .set_usm = shim_set_usm};
  return &controls;
}
