/* SPDX-License-Identifier: BSD-3-Clause */
/* Which ranges are mapped: OpenCL unmaps by the object, and we by the pointer.
   A few places are enough, for copies go other ways when there is none. */
#include "opencl.h"

bool umemi_cl_view_note(struct umemiClSpace *space, void *ptr,
                        struct umemiClPlace const *at) {
  struct umemiClView *view = space->views, *end = view + UMEMI_CL_VIEWS;
  umemi_lock(space->id);
  while (view < end && view->ptr)
    view++;
  bool found = view < end;
  if (found)
    *view = (struct umemiClView){ptr, *at};
  umemi_unlock(space->id);
  return found;
}

struct umemiClPlace umemi_cl_view_forget(struct umemiClSpace *space,
                                         void *ptr) {
  struct umemiClView *view = space->views;
  umemi_lock(space->id);
  while (view->ptr != ptr) /* noted, so it is there */
    view++;
  struct umemiClPlace at = view->at;
  view->ptr = NULL;
  umemi_unlock(space->id);
  return at;
}
