/* SPDX-License-Identifier: BSD-3-Clause */
/* Which ranges are mapped: OpenCL unmaps by the object, and we by the pointer.
   A list, since few copies run at once. */
#include "opencl.h"

struct umemiClView {
  struct umemiClView *next;
  void *ptr;
  struct umemiClPlace at;
};

bool umemi_cl_view_note(struct umemiClSpace *space, void *ptr,
                        struct umemiClPlace const *at) {
  struct umemiClView *view = umemi_os.malloc(sizeof *view);
  if (!view)
    return false;
  umemi_lock(space->id);
  *view = (struct umemiClView){space->views, ptr, *at};
  space->views = view;
  umemi_unlock(space->id);
  return true;
}

struct umemiClPlace umemi_cl_view_forget(struct umemiClSpace *space,
                                         void *ptr) {
  struct umemiClPlace at = {.adr = 0};
  umemi_lock(space->id);
  struct umemiClView **link = &space->views, *view;
  while ((view = *link) && view->ptr != ptr)
    link = &view->next;
  if (view) {
    at = view->at;
    *link = view->next;
  }
  umemi_unlock(space->id);
  free(view);
  return at;
}
