/* SPDX-License-Identifier: BSD-3-Clause */
/* Which ranges are mapped: OpenCL unmaps by the object, and we by the pointer.
   A few places are enough, for copies go other ways when there is none. */
#include "opencl.h"

bool umemi_cl_view_note(struct umemiClSpace *space,
                        struct umemiClView const *view) {
  struct umemiClView *place = space->views, *end = place + UMEMI_CL_VIEWS;
  umemi_lock(space->id);
  while (place < end && place->ptr)
    place++;
  bool found = place < end;
  if (found)
    *place = *view;
  umemi_unlock(space->id);
  return found;
}

struct umemiClView umemi_cl_view_forget(struct umemiClSpace *space, void *ptr) {
  struct umemiClView *place = space->views;
  umemi_lock(space->id);
  while (place->ptr != ptr) /* noted, so it is there */
    place++;
  struct umemiClView view = *place;
  place->ptr = NULL;
  umemi_unlock(space->id);
  return view;
}
