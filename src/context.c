/* SPDX-License-Identifier: BSD-3-Clause */
/* Contexts: construct, destroy, identify; questions about two. */
#include "internal.h"

static _Atomic uint64_t last_id;

/* --- identify ------------------------------------------------------------- */

struct umemiContext *umemi_context(void const *ctx) {
  if (!ctx)
    return NULL;
  switch (umemi_word(ctx)) {
  case UMEMI_LIVE:
  case UMEMI_LIVE | UMEMI_PLAIN:
  case UMEMI_FAILED:
  case UMEMI_DEAD:
    return (struct umemiContext *)ctx;
  default:
    return NULL;
  }
}

bool umemi_is_live(void const *ctx) {
  return ctx && (umemi_word(ctx) & ~UMEMI_PLAIN) == UMEMI_LIVE;
}

umemStatusType umemi_need_live(void const *ctx, char const *role,
                               umemError *error) {
  if (umemi_is_live(ctx))
    return umemOK;
  char const *why = "is not a context: zeroed, copied by value, moved, or "
                    "never constructed";
  if (!ctx)
    why = "is NULL";
  else if (umemi_word(ctx) == UMEMI_FAILED)
    why = "failed to construct";
  else if (umemi_word(ctx) == UMEMI_DEAD)
    why = "is dead: umem_dtor() was called";
  return umem_error_fill(error, umemTypeError, 0, 0, "%scontext %s", role, why);
}

umemStatusType umemi_need_kind(void const *ctx, umemDeviceType type,
                               umemError *error) {
  umemStatusType status = umemi_need_live(ctx, "", error);
  if (status != umemOK || umemi_context(ctx)->vtbl->type == type)
    return status;
  return umem_error_fill(error, umemTypeError, 0, 0,
                         "context is a %s, and not a %s", umemi_name(ctx),
                         umem_get_device_name_from_type(type));
}

char const *umemi_name(void const *ctx) {
  struct umemiContext const *c = umemi_context(ctx);
  return c ? c->name : "(none)";
}

/* --- construct ------------------------------------------------------------ */

umemStatusType umemi_ctor_begin(void *ctx, char const *name, umemError *error) {
  if (!ctx)
    return umemi_null(error, "ctx");
  struct umemiContext *c = ctx;
  memset(ctx, 0, sizeof(umemVirtual));
  c->id = 1 + atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed);
  c->name = name;
  c->seal = (uintptr_t)ctx ^ UMEMI_FAILED;
  umemi_process(); /* a child must know that it is not where this began */
  int failed = umemi_fork_guard();
  if (failed)
    return umem_error_fill(error, umemMemoryError, failed, 0,
                           "pthread_atfork, when the library was loaded");
  return umemOK;
}

void umemi_ctor_end(void *ctx, struct umemVtbl const *vtbl, void *state,
                    char const *label, uintptr_t flags) {
  struct umemiContext *c = ctx;
  c->vtbl = vtbl;
  c->name = vtbl->name;
  c->label = label;
  c->state = state;
  c->seal = (uintptr_t)ctx ^ (UMEMI_LIVE | flags);
}

/* --- destroy -------------------------------------------------------------- */

/* Every step is taken, whatever the ones before it came to. */
static umemStatusType context_dtor(struct umemiContext *c, umemError *error) {
  static umemStatusType (*const steps[])(struct umemiContext *, umemError *) = {
      umemi_mirrors_free, umemi_free_all, umemi_device_dtor};
  umemStatusType first = umemOK;
  umemError later;
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    umemStatusType status = steps[i](c, first == umemOK ? error : &later);
    first = first == umemOK ? status : first;
  }
  return first;
}

umemStatusType umem_dtor(void const *ctx) {
  struct umemiContext *c = umemi_context(ctx);
  if (!c)
    return umemOK;
  struct umemiCall call;
  umemStatusType status = umemOK;
  umemi_begin(&call);
  umemi_status_clean(c, true);
  if (umemi_is_live(c))
    status = context_dtor(c, &call.error);
  c->seal = (uintptr_t)c ^ UMEMI_DEAD;
  free(c->foreign_vtbl);
  c->foreign_vtbl = NULL;
  return umemi_end(&call, status, c, "umem_dtor(%s)", c->name);
}

umemStatusType umemVirtual_dtor(umemVirtual *ctx) {
  return umem_dtor(ctx);
}

/* --- questions ------------------------------------------------------------ */

static umemSpace context_home(struct umemiContext *c) {
  umemSpace spaces[UMEM_SPACES_MAX];
  umemi_device_spaces(c, spaces);
  return spaces[0];
}

static bool space_equals(umemSpace a, umemSpace b) {
  return a.kind == b.kind && a.id[0] == b.id[0] && a.id[1] == b.id[1];
}

static bool context_same_space(struct umemiContext *a, struct umemiContext *b) {
  return a == b || space_equals(context_home(a), context_home(b));
}

bool umemi_same_kind(struct umemiContext const *a,
                     struct umemiContext const *b) {
  return a->vtbl->type == b->vtbl->type &&
         a->vtbl->copy_peer == b->vtbl->copy_peer &&
         a->vtbl->can_reach == b->vtbl->can_reach;
}

static bool space_is_among(umemSpace space, umemSpace const *spaces,
                           size_t count) {
  for (size_t i = 0; i < count; i++)
    if (space_equals(spaces[i], space))
      return true;
  return false;
}

/* A space of `dest` may be a quality of its memory, which memory of `src` that
   lies in the same space does not have. */
static bool context_has_spaces_of(struct umemiContext *src,
                                  struct umemiContext *dest) {
  umemSpace of_src[UMEM_SPACES_MAX], of_dest[UMEM_SPACES_MAX];
  size_t count = umemi_device_spaces(src, of_src);
  size_t needed = umemi_device_spaces(dest, of_dest), has = 0;
  while (has < needed && space_is_among(of_dest[has], of_src, count))
    has++;
  return has == needed;
}

bool umemi_reaches(struct umemiContext *src, struct umemiContext *dest) {
  return context_has_spaces_of(src, dest) ||
         (umemi_same_kind(src, dest) && umemi_device_can_reach(src, dest));
}

bool umemi_share_space(struct umemiContext *a, struct umemiContext *b) {
  umemSpace of_a[UMEM_SPACES_MAX], of_b[UMEM_SPACES_MAX];
  size_t na = umemi_device_spaces(a, of_a), nb = umemi_device_spaces(b, of_b);
  for (size_t i = 0; i < na; i++)
    if (space_is_among(of_a[i], of_b, nb))
      return true;
  return false;
}

static umemStatusType question_check(void const *a, void const *b,
                                     umemError *error) {
  umemStatusType status = umemi_need_live(a, "first ", error);
  return status == umemOK ? umemi_need_live(b, "second ", error) : status;
}

bool umem_is_same_device(void const *a, void const *b) {
  struct umemiCall call;
  bool same = false;
  umemi_begin(&call);
  umemStatusType status = question_check(a, b, &call.error);
  if (status == umemOK)
    same = umemi_same_kind(umemi_context(a), umemi_context(b)) &&
           context_same_space(umemi_context(a), umemi_context(b));
  umemi_end_two(&call, status, a, b, "umem_is_same_device(%s, %s)",
                umemi_name(a), umemi_name(b));
  return same;
}

bool umem_is_accessible_from(void const *src, void const *dest) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = question_check(src, dest, &call.error);
  bool lends = status == umemOK &&
               umemi_reaches(umemi_context(src), umemi_context(dest)) &&
               umemi_grants(umemi_context(src), umemi_context(dest));
  umemi_end_two(&call, status, src, dest, "umem_is_accessible_from(%s, %s)",
                umemi_name(src), umemi_name(dest));
  return lends;
}

char const *umem_get_device_name(void const *ctx) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = umemi_need_live(ctx, "", &call.error);
  umemi_end(&call, status, ctx, "umem_get_device_name(%s)", umemi_name(ctx));
  return status == umemOK ? umemi_name(ctx) : "UnknownDevice";
}

char const *umem_get_device_name_from_type(umemDeviceType type) {
  static char const *const names[] = {[umemVirtualDevice] = "Virtual",
                                      [umemHostDevice] = "Host",
                                      [umemFileDevice] = "File",
                                      [umemCudaDevice] = "Cuda",
                                      [umemCudaHostDevice] = "CudaHost",
                                      [umemCudaManagedDevice] = "CudaManaged",
                                      [umemMMapDevice] = "MMap",
                                      [umemShmDevice] = "Shm",
                                      [umemOpenCLDevice] = "OpenCL"};
  size_t i = (size_t)type;
  return i < sizeof names / sizeof *names && names[i] ? names[i]
                                                      : "UnknownDevice";
}

size_t umem_fundamental_align(void const *ctx) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = umemi_need_live(ctx, "", &call.error);
  umemi_end(&call, status, ctx, "umem_fundamental_align(%s)", umemi_name(ctx));
  return status == umemOK ? umemi_context(ctx)->vtbl->fundamental_align : 0;
}

bool umem_ispowerof2(size_t x) {
  return x != 0 && (x & (x - 1)) == 0;
}

unsigned umem_version(void) {
  return UMEM_VERSION;
}
