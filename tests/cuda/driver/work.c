/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue of operations. Each one knows what must be done before it, and is
 * executed when something waits for it, when the queue is full, or when the
 * mode says so: a stream is no more than the newest operation in it.
 */
#include "inner.h"

#include <stdlib.h>
#include <string.h>

/* Real queues are finite, too. */
enum { QUEUE_DEPTH = 1024, RANDOM_REACH = 16, STAGED_MOST = 256 << 20 };

static struct {
  struct op *first, *last;
  size_t count, staged;
} queue;

/* --- operations ----------------------------------------------------------- */

struct op *sim_op(enum opKind kind, struct stream const *stream) {
  struct op *op = sim_new(sizeof *op);
  op->kind = kind;
  op->function = sim.calling;
  op->context = stream->context;
  op->references = 1;
  op->rows = 1;
  return op;
}

struct op *sim_op_keep(struct op *op) {
  op->references++;
  return op;
}

/* What is done knows no others, so that this does not go on and on. */
void sim_op_drop(struct op *op) {
  if (!op || --op->references)
    return;
  free(op->staged);
  free(op->after);
  free(op);
}

static void move_rows(struct op const *op, unsigned char *dest,
                      size_t dest_pitch, unsigned char const *src,
                      size_t src_pitch) {
  for (size_t i = 0; i < op->rows; i++)
    memmove(dest + i * dest_pitch, src + i * src_pitch, op->nbytes);
}

void sim_op_stage(struct op *op) {
  op->staged = malloc(op->nbytes * op->rows);
  if (!op->staged)
    abort();
  move_rows(op, op->staged, op->nbytes, sim_bytes(&op->src), op->src_pitch);
  op->src.block = NULL;
  op->src_pitch = op->nbytes;
}

void sim_op_after(struct op *op, struct op *earlier) {
  if (!earlier || earlier->done)
    return;
  if (op->after_count == op->after_room) {
    op->after_room = 2 * op->after_room + 2;
    op->after = realloc(op->after, op->after_room * sizeof *op->after);
    if (!op->after)
      abort();
  }
  op->after[op->after_count++] = sim_op_keep(earlier);
}

/* --- execution ------------------------------------------------------------ */

/* Freed in another stream before this one came to it. */
static bool is_gone(struct operand const *operand) {
  return operand->block && operand->block->dead &&
         operand->block->kind != SIMCU_REGISTERED;
}

static cuCode op_move(struct op *op) {
  if (is_gone(&op->dest) || is_gone(&op->src)) {
    sim_violation("work of %s uses a block that is freed",
                  sim_symbol(op->function));
    return UMEMI_CUDA_ERROR_ILLEGAL_ADDRESS;
  }
  if (op->is_lost)
    return UMEMI_CUDA_SUCCESS;
  if (op->kind == OP_FILL)
    memset(sim_bytes(&op->dest), op->value, op->nbytes);
  else
    move_rows(op, sim_bytes(&op->dest), op->dest_pitch,
              op->staged ? op->staged : sim_bytes(&op->src), op->src_pitch);
  return UMEMI_CUDA_SUCCESS;
}

static bool op_moves(struct op const *op) {
  return op->kind == OP_COPY || op->kind == OP_FILL;
}

static void op_perform(struct op *op) {
  if (op->kind == OP_DEATH)
    sim_block_remove(op->dest.block);
  if (!op_moves(op) || op->context->sticky)
    return;
  cuCode code = sim_script_work();
  sim_poison(op->context, code ? code : op_move(op));
}

static void op_unlink(struct op *op) {
  *(op->previous ? &op->previous->next : &queue.first) = op->next;
  *(op->next ? &op->next->previous : &queue.last) = op->previous;
  queue.count--;
  queue.staged -= op->staged ? op->nbytes : 0;
}

static void op_unuse(struct op *op) {
  if (!op_moves(op))
    return;
  sim_device_rests(op->context->device);
  if (op->dest.block)
    sim_block_unuse(op->dest.block);
  if (op->src.block)
    sim_block_unuse(op->src.block);
}

static void op_execute(struct op *op) {
  op_unlink(op);
  op->done = true;
  op_perform(op);
  op_unuse(op);
  for (size_t i = 0; i < op->after_count; i++)
    sim_op_drop(op->after[i]);
  op->after_count = 0;
  sim_op_drop(op);
}

static struct op *op_obstacle(struct op const *op) {
  for (size_t i = 0; i < op->after_count; i++)
    if (!op->after[i]->done)
      return op->after[i];
  return NULL;
}

/* A stack of what waits for what, because queues are longer than ours is. */
void sim_op_run(struct op *op) {
  struct op *top = op && !op->done ? op : NULL;
  if (top)
    top->below = NULL;
  while (top) {
    struct op *obstacle = op_obstacle(top), *below = top->below;
    if (obstacle)
      obstacle->below = top;
    else
      op_execute(top);
    top = obstacle ? obstacle : below;
  }
}

/* --- what pools want to know ---------------------------------------------- */

static unsigned newest_mark;

/* Marks what `op` waits for, itself included. */
static void op_mark(struct op *op) {
  struct op *top = op;
  op->mark = ++newest_mark;
  op->below = NULL;
  while (top) {
    struct op *from = top;
    top = top->below;
    for (size_t i = 0; i < from->after_count; i++) {
      struct op *next = from->after[i];
      if (next->done || next->mark == newest_mark)
        continue;
      next->mark = newest_mark;
      next->below = top;
      top = next;
    }
  }
}

static bool op_uses(struct op const *op, struct block const *block) {
  return op_moves(op) && (op->dest.block == block || op->src.block == block);
}

/* Is there a queued use of its block that the free does not wait for? */
static void check_death(struct op *death) {
  struct block const *block = death->dest.block;
  if (!block->pending)
    return;
  op_mark(death);
  for (struct op *op = queue.first; op; op = op->next)
    if (op_uses(op, block) && op->mark != newest_mark) {
      sim_violation("%#zx is freed in a stream that does not wait for its use "
                    "by %s",
                    (size_t)block->start, sim_symbol(op->function));
      return;
    }
}

static void check_birth(struct op *op, struct operand const *operand) {
  struct op const *birth = operand->block ? operand->block->birth : NULL;
  if (!birth || birth->done)
    return;
  op_mark(op);
  if (birth->mark != newest_mark)
    sim_violation("%#zx is used in a stream that does not wait for its "
                  "allocation",
                  (size_t)operand->adr);
}

static void op_check(struct op *op) {
  if (op->kind == OP_DEATH)
    check_death(op);
  if (op_moves(op)) {
    check_birth(op, &op->dest);
    check_birth(op, &op->src);
  }
}

/* --- queues --------------------------------------------------------------- */

static void op_order(struct stream const *stream, struct op *op) {
  struct stream *legacy = &stream->context->legacy;
  sim_op_after(op, stream->last);
  if (stream != legacy && !stream->non_blocking)
    sim_op_after(op, legacy->last);
  if (stream != legacy)
    return;
  for (struct stream *other = stream->context->streams; other;
       other = other->next)
    if (!other->non_blocking)
      sim_op_after(op, other->last);
}

static void op_append(struct op *op) {
  op->previous = queue.last;
  *(queue.last ? &queue.last->next : &queue.first) = op;
  queue.last = op;
  queue.count++;
  queue.staged += op->staged ? op->nbytes : 0;
  if (!op_moves(op))
    return;
  sim_device_runs(op->context->device);
  if (op->dest.block)
    sim_block_use(op->dest.block);
  if (op->src.block)
    sim_block_use(op->src.block);
}

static bool is_full(void) {
  return queue.count > QUEUE_DEPTH || queue.staged > STAGED_MOST;
}

void sim_queue(struct stream *stream, struct op *op) {
  if (stream->capture != UMEMI_CU_STREAM_CAPTURE_STATUS_NONE) {
    sim_op_drop(op);
    return;
  }
  op_order(stream, op);
  op_check(op);
  op_append(op);
  sim_op_drop(stream->last);
  stream->last = sim_op_keep(op);
  if (sim.mode == SIMCU_EAGER)
    sim_op_run(op);
  while (is_full())
    sim_op_run(queue.first);
}

/* --- waiting -------------------------------------------------------------- */

/* The legacy stream waits for the others by an operation of its own. */
cuCode sim_stream_wait(struct stream *stream) {
  if (stream == &stream->context->legacy)
    sim_queue(stream, sim_op(OP_MARK, stream));
  sim_op_run(stream->last);
  return stream->context->sticky;
}

static bool is_done(struct op const *op) {
  return !op || op->done;
}

bool sim_stream_idle(struct stream *stream) {
  if (stream != &stream->context->legacy)
    return is_done(stream->last);
  bool idle = is_done(stream->last);
  for (struct stream *other = stream->context->streams; other;
       other = other->next)
    idle = idle && (other->non_blocking || is_done(other->last));
  return idle;
}

/* What an operation waits for is before it: `next` stays where it is. */
static void wait_for(struct context const *context, struct block const *block) {
  for (struct op *op = queue.first, *next; op; op = next) {
    next = op->next;
    if ((!context || op->context == context) && (!block || op_uses(op, block)))
      sim_op_run(op);
  }
}

void sim_context_wait(struct context *context) {
  wait_for(context, NULL);
}

void sim_block_wait(struct block *block) {
  wait_for(NULL, block);
}

void sim_all_wait(void) {
  wait_for(NULL, NULL);
}

void sim_work_randomly(void) {
  struct op *op = sim.mode == SIMCU_RANDOM ? queue.first : NULL;
  for (int i = 0; op && i < RANDOM_REACH; i++) {
    struct op *next = op->next;
    if (sim_random(3) == 0)
      sim_op_run(op);
    op = next;
  }
}

/* --- controls ------------------------------------------------------------- */

size_t simcu_pending(void) {
  sim_lock();
  size_t count = queue.count;
  sim_unlock();
  return count;
}

void simcu_finish(void) {
  sim_lock();
  sim_all_wait();
  sim_unlock();
}
