/* SPDX-License-Identifier: BSD-3-Clause */
/* What a driver says: its codes, and what became of a command. */
#include "opencl.h"

static char const *report_name(clInt code) {
#define NAMED(name_, number) {number, "CL_" #name_},
  static struct {
    clInt code;
    char const *name;
  } const errors[] = {UMEMI_CL_ERRORS(NAMED)};
#undef NAMED
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
    if (errors[i].code == code)
      return errors[i].name;
  return "a code of the driver's own";
}

/* Codes that mean the same whoever answers them. */
static umemStatusType report_type(umemStatusType type, clInt code) {
  switch (code) {
  case UMEMI_CL_DEVICE_NOT_FOUND:
  case UMEMI_CL_DEVICE_NOT_AVAILABLE:
  case UMEMI_CL_PLATFORM_NOT_FOUND_KHR:
    return umemNotSupportedError;
  case UMEMI_CL_MEM_OBJECT_ALLOCATION_FAILURE:
  case UMEMI_CL_OUT_OF_HOST_MEMORY:
    return umemMemoryError;
  default:
    return type;
  }
}

umemStatusType umemi_cl_failed(umemStatusType type, clInt code,
                               char const *function, umemError *error) {
  if (code == UMEMI_CL_SUCCESS)
    return umemOK;
  return umem_error_fill(error, report_type(type, code), 0, code,
                         "%s: %s (%" PRId32 ")", function, report_name(code),
                         code);
}

/* Why a command failed, whose event says that it did. */
static clInt report_event(struct umemiCl const *cl, clEvent event) {
  clInt state = UMEMI_CL_SUCCESS;
  clInt code =
      cl->clGetEventInfo(event, UMEMI_CL_EVENT_COMMAND_EXECUTION_STATUS,
                         sizeof state, &state, NULL);
  if (code == UMEMI_CL_SUCCESS && state < 0)
    return state;
  return UMEMI_CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST;
}

/* If waiting fails the command may still run; nobody may see that. */
clInt umemi_cl_wait(struct umemiClTurn const *turn, clInt code, clEvent event) {
  struct umemiCl const *cl = turn->space->cl;
  if (code != UMEMI_CL_SUCCESS)
    return code;
  code = cl->clWaitForEvents(1, &event);
  if (code == UMEMI_CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST)
    code = report_event(cl, event);
  else if (code != UMEMI_CL_SUCCESS)
    cl->clFinish(turn->queue);
  cl->clReleaseEvent(event);
  return code;
}
