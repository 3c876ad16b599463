/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host RAM. Three tables. Two have no state, and differ in who keeps the books:
 * nobody, because malloc() is the whole cost of a plain block, or the library
 * (checked mode). The third is that of placed Hosts, whose state is what was
 * asked of all their blocks.
 */
#include "../internal.h"

static umemStatusType host_dtor(void *state, umemError *error) {
  (void)state, (void)error;
  return umemOK;
}

static umemStatusType host_give(void *block, size_t nbytes,
                                uintptr_t *adr_out) {
  *adr_out = (uintptr_t)block;
  if (nbytes >= UMEMI_LARGE_BLOCK)
    umemi_large_note(*adr_out, nbytes);
  return umemOK;
}

/* Large blocks start on a huge page: none is in part another's, and O_DIRECT
   and fast reads of files want pages. */
static umemStatusType host_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error) {
  (void)state;
  size_t size = nbytes + !nbytes; /* 0 bytes have an address, too */
  void *block = NULL;
  if (nbytes >= UMEMI_LARGE_BLOCK && alignment < UMEMI_HUGE_PAGE)
    alignment = UMEMI_HUGE_PAGE;
  if (alignment == 0)
    block = umemi_os.malloc(size);
  else if (umemi_os.posix_memalign(
               &block, alignment < sizeof(void *) ? sizeof(void *) : alignment,
               size))
    block = NULL;
  if (!block)
    return umemi_no_memory(error, "a block", nbytes);
  return host_give(block, nbytes, adr_out);
}

static umemStatusType host_calloc(void *state, size_t nbytes,
                                  uintptr_t *adr_out, umemError *error) {
  (void)state;
  void *block = umemi_os.calloc(1, nbytes + !nbytes);
  if (!block)
    return umemi_no_memory(error, "a block", nbytes);
  return host_give(block, nbytes, adr_out);
}

static umemStatusType host_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error) {
  (void)state, (void)nbytes, (void)error;
  umemi_large_forget(adr);
  free((void *)adr);
  return umemOK;
}

static umemStatusType host_read(void *state, uintptr_t adr, void *out,
                                size_t nbytes, umemError *error) {
  (void)state, (void)error;
  umemi_host_copy(out, (void const *)adr, nbytes);
  return umemOK;
}

static umemStatusType host_write(void *state, uintptr_t adr, void const *in,
                                 size_t nbytes, umemError *error) {
  (void)state, (void)error;
  umemi_host_copy((void *)adr, in, nbytes);
  return umemOK;
}

static size_t host_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  (void)state;
  out[0] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  return 1;
}

/* Blocks that are placed alike may stand for each other. */
static size_t placed_spaces(void *state, umemSpace out[UMEM_SPACES_MAX]) {
  struct umemiPlacement const *placement = state;
  uint64_t how = placement->flags;
  if (placement->alignment)
    how |= (uint64_t)__builtin_ctzll(placement->alignment) << 32 | UINT64_C(1)
                                                                       << 63;
  out[0] = (umemSpace){UMEM_SPACE_PROCESS, {0, 0}};
  out[1] = (umemSpace){UMEM_SPACE_PLACED, {how, placement->nodes}};
  return 2;
}

/* NULL with 0 bytes is an empty array. */
static umemStatusType host_check(void *state, uintptr_t adr, size_t nbytes,
                                 umemAccess access, umemError *error) {
  (void)state, (void)access;
  return adr || !nbytes ? umemOK : umemi_null(error, "the address");
}

static umemStatusType host_copy_peer(void *src_state, uintptr_t src_adr,
                                     void *dest_state, uintptr_t dest_adr,
                                     size_t nbytes, umemError *error) {
  (void)src_state, (void)dest_state, (void)error;
  umemi_host_copy((void *)dest_adr, (void const *)src_adr, nbytes);
  return umemOK;
}

static umemStatusType host_view_begin(void *state, uintptr_t adr, size_t nbytes,
                                      umemAccess access, void **ptr_out,
                                      umemError *error) {
  (void)state, (void)error;
  *ptr_out = (void *)adr;
  if (access & umemWrite)
    umemi_host_prepare(*ptr_out, nbytes);
  return umemOK;
}

/* As if the other side lay just behind. */
static void host_limits(void *state, unsigned access, uintptr_t adr,
                        size_t nbytes, struct umemLimits *out) {
  static char const *const methods[] = {[UMEMI_MEMMOVE] = "memmove",
                                        [UMEMI_LOOP] = "loop",
                                        [UMEMI_STREAM] = "stream"};
  (void)state, (void)access;
  struct umemiHostPlan plan = umemi_host_plan(adr, adr + nbytes, nbytes);
  out->method = methods[plan.method];
  out->lanes = plan.helpers + 1;
  if (plan.helpers)
    out->chunk = umemi_tuning()->host_piece;
}

/* --- placed --------------------------------------------------------------- */

static umemStatusType placed_dtor(void *state, umemError *error) {
  (void)error;
  free(state);
  return umemOK;
}

static umemStatusType placed_alloc(void *state, size_t nbytes, size_t alignment,
                                   uintptr_t *adr_out, umemError *error) {
  struct umemiPlacement const *placement = state;
  if (alignment < placement->alignment)
    alignment = placement->alignment;
  if (placement->page)
    return umemi_pages_alloc(placement, nbytes, alignment, adr_out, error);
  return host_alloc(NULL, nbytes, alignment, adr_out, error);
}

/* Pages are zeros; so is what calloc() gives, but at no alignment of ours. */
static umemStatusType placed_calloc(void *state, size_t nbytes,
                                    uintptr_t *adr_out, umemError *error) {
  struct umemiPlacement const *placement = state;
  if (placement->page)
    return placed_alloc(state, nbytes, 0, adr_out, error);
  if (placement->alignment <= _Alignof(max_align_t))
    return host_calloc(NULL, nbytes, adr_out, error);
  return UMEM_DECLINED;
}

static umemStatusType placed_free(void *state, uintptr_t adr, size_t nbytes,
                                  umemError *error) {
  struct umemiPlacement const *placement = state;
  if (placement->flags & UMEM_HOST_WIPE && umemi_placement_may_write(placement))
    explicit_bzero((void *)adr, nbytes);
  if (placement->page)
    return umemi_pages_free(placement, adr, nbytes, error);
  return host_free(NULL, adr, nbytes, error);
}

/* --- tables and constructors ---------------------------------------------- */

#define HOST_VTBL(caps_, kind)                                                 \
  {                                                                            \
    .size = sizeof(struct umemVtbl), .type = umemHostDevice,                   \
    .caps = UMEM_CAP_VIEWS_IN_PLACE | (caps_), .name = "Host",                 \
    .fundamental_align = _Alignof(max_align_t),                                \
    .max_align = (SIZE_MAX >> 1) + 1, .dtor = kind##_dtor,                     \
    .alloc = kind##_alloc, .free = kind##_free, .read = host_read,             \
    .write = host_write, .spaces = kind##_spaces, .check = host_check,         \
    .calloc = kind##_calloc, .flush = umemi_no_flush,                          \
    .discard = umemi_no_discard, .copy_peer = host_copy_peer,                  \
    .view_begin = host_view_begin, .view_end = umemi_no_view_end,              \
    .set = umemi_no_set, .next_data = umemi_no_next_data,                      \
    .limits = host_limits, .export_handle = umemi_no_export_handle,            \
    .import_handle = umemi_no_import_handle,                                   \
    .stage_alloc = umemi_no_stage_alloc, .stage_free = umemi_no_stage_free,    \
    .can_reach = umemi_no_can_reach, .punch = umemi_no_punch, UMEMI_NO_ROWS    \
  }

static struct umemVtbl const host_plain =
    HOST_VTBL(UMEM_CAP_OWN_REGISTRY, host);
static struct umemVtbl const host_checked =
    HOST_VTBL(UMEM_CAP_BLOCKS_OUTLIVE, host);
static struct umemVtbl const host_placed = HOST_VTBL(0, placed);

static bool host_env_checked(void) {
  char const *value = secure_getenv("UMEM_CHECKED");
  return value && strcmp(value, "1") == 0;
}

static umemStatusType placed_ctor(umemHost *ctx, umemHostOptions const *options,
                                  umemError *error) {
  struct umemiPlacement placement, *state;
  umemStatusType status = umemi_placement_make(&placement, options, error);
  if (status != umemOK)
    return status;
  state = umemi_os.malloc(sizeof *state);
  if (!state)
    return umemi_no_memory(error, "a placed Host", sizeof *state);
  *state = placement;
  umemi_ctor_end(ctx, &host_placed, state, NULL, 0);
  return umemOK;
}

static umemStatusType host_ctor(umemHost *ctx, umemHostOptions const *given,
                                umemError *error) {
  umemStatusType status = umemi_ctor_begin(ctx, host_plain.name, error);
  if (status != umemOK)
    return status;
  umemHostOptions options = {.size = sizeof options};
  if (given)
    status = umemi_take_options(&options, sizeof options, given, error);
  if (status != umemOK)
    return status;
  if (options.checked != 0 && options.checked != 1)
    return umem_error_fill(error, umemValueError, 0, 0,
                           "options->checked is %d: must be 0 or 1",
                           options.checked);
  if (options.flags || options.alignment || options.nodes)
    return placed_ctor(ctx, &options, error);
  if (options.checked || host_env_checked())
    umemi_ctor_end(ctx, &host_checked, NULL, NULL, 0);
  else
    umemi_ctor_end(ctx, &host_plain, NULL, NULL,
                   umemi_log_is_on() ? 0 : UMEMI_PLAIN);
  return umemOK;
}

umemStatusType umemHost_ctor_ex(umemHost *ctx, umemHostOptions const *options) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = host_ctor(ctx, options, &call.error);
  return umemi_end(&call, status, ctx, "umemHost_ctor_ex");
}

umemStatusType umemHost_ctor(umemHost *ctx) {
  struct umemiCall call;
  umemi_begin(&call);
  umemStatusType status = host_ctor(ctx, NULL, &call.error);
  return umemi_end(&call, status, ctx, "umemHost_ctor");
}
