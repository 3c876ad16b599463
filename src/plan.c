/* SPDX-License-Identifier: BSD-3-Clause */
/* How a copy is done, for people: umem_copy_plan(), and UMEM_LOG=copy. */
#include "internal.h"

static void plan_describe(struct umemiWay const *way, char *text, size_t size) {
  snprintf(text, size, "%s%s%s", way->methods[0], way->methods[1] ? " + " : "",
           way->methods[1] ? way->methods[1] : "");
}

void umemi_log_copy(struct umemiRoute const *r, struct umemiWay const *way) {
  char method[sizeof((umemCopyPlan *)NULL)->method], line[640];
  plan_describe(way, method, sizeof method);
  snprintf(line, sizeof line,
           "umem: copy of %zu bytes, %.64s 0x%" PRIxPTR " to %.64s 0x%" PRIxPTR
           ": %s, %s, %u thread%s, chunks of %zu, staging %zu: %.160s\n",
           r->nbytes, r->src->name, r->src_adr, r->dest->name, r->dest_adr,
           way->name, method, way->helpers + 1, way->helpers ? "s" : "",
           way->chunk, way->staging, way->reason);
  umemi_log_line(line);
}

static void plan_fill(struct umemiWay const *way, umemCopyPlan *plan) {
  plan->rung = way->rung;
  plan->threads = way->helpers + 1;
  plan->chunk = way->chunk;
  plan->staging = way->staging;
  plan_describe(way, plan->method, sizeof plan->method);
  snprintf(plan->reason, sizeof plan->reason, "%s: %s", way->name, way->reason);
}

static umemStatusType plan_take(struct umemiCopy const *copy,
                                umemCopyPlan *plan, umemError *error) {
  struct umemiRoute route;
  struct umemiWay way;
  umemStatusType status = umemi_route(copy, &route, error);
  if (status != umemOK)
    return status;
  if (route.nbytes == 0) {
    snprintf(plan->reason, sizeof plan->reason, "there is no byte to move");
    return umemOK;
  }
  umemi_transfer_plan(&route, &way);
  plan_fill(&way, plan);
  return umemOK;
}

static umemStatusType plan_checked(struct umemiCopy const *copy,
                                   umemCopyPlan *plan_out, umemError *error) {
  umemCopyPlan plan = {.size = 0};
  umemStatusType status = plan_take(copy, &plan, error);
  if (status != umemOK)
    return status;
  if (!plan_out)
    return umemi_null(error, "plan_out");
  struct umemiSized sized = {sizeof plan.size, sizeof plan,
                             offsetof(umemCopyPlan, method)};
  return umemi_give_result(plan_out, "plan_out", &plan, sized, error);
}

umemStatusType umem_copy_plan(void const *src, uintptr_t src_adr,
                              void const *dest, uintptr_t dest_adr,
                              size_t nbytes, umemCopyPlan *plan_out) {
  struct umemiCall call;
  umemi_begin(&call);
  struct umemiCopy copy = {.src = src,
                           .src_adr = src_adr,
                           .dest = dest,
                           .dest_adr = dest_adr,
                           .nbytes = nbytes};
  umemStatusType status = plan_checked(&copy, plan_out, &call.error);
  return umemi_end_two(&call, status, src, dest,
                       "umem_copy_plan(source %s 0x%" PRIxPTR
                       ", destination %s 0x%" PRIxPTR ", %zu bytes)",
                       umemi_name(src), src_adr, umemi_name(dest), dest_adr,
                       nbytes);
}
