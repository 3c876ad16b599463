/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the simulated driver share. Every function here but those
 * of "calls" and the controls needs the lock, which sim_enter() takes and
 * sim_leave() gives back:
 *
 *   cuCode cuMemFree_v2(cuAddress adr) {
 *     ENTER(cuMemFree_v2, IN_CONTEXT | UNSAFE);
 *     return sim_leave(memory_free(adr));
 *   }
 */
#ifndef UMEM_TESTS_SIMCU_INNER_H
#define UMEM_TESTS_SIMCU_INNER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create, twalk */
#endif

#include "simcu.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

/** 13000, or less for a driver that lacks what came later. */
#ifndef SIMCU_VERSION
#define SIMCU_VERSION 13000
#endif
#if SIMCU_VERSION >= 11040
#define SIM_OPTIONAL(X) UMEMI_CU_OPTIONAL(X)
#else
#define SIM_OPTIONAL(X)
#endif
#define SIM_FUNCTIONS(X) UMEMI_CU_REQUIRED(X) SIM_OPTIONAL(X) SIMCU_EXTRA(X)

/* A definition of another type than the table's does not compile. */
#define SIM_API __attribute__((visibility("default")))
#define SIM_PROTOTYPE(name, symbol, parameters)                                \
  SIM_API cuCode symbol parameters;
SIM_FUNCTIONS(SIM_PROTOTYPE)
#define SIM_CONTROL(result, name, parameters)                                  \
  SIM_API result simcu_##name parameters;
SIMCU_CONTROLS(SIM_CONTROL)

#define SIM_NUMBER(name, symbol, parameters) FN_##symbol,
/** Functions by number. */
enum function { SIM_FUNCTIONS(SIM_NUMBER) FUNCTIONS };

/* X(name, number): codes that the library has no use for. */
#define SIM_CODES(X)                                                           \
  X(ERROR_ALREADY_MAPPED, 208)                                                 \
  X(ERROR_CONTEXT_IS_DESTROYED, 709)                                           \
  X(ERROR_STREAM_CAPTURE_UNMATCHED, 903)                                       \
  X(ERROR_STREAM_CAPTURE_ISOLATION, 905)                                       \
  X(ERROR_CAPTURED_EVENT, 907)                                                 \
  X(ERROR_STREAM_CAPTURE_WRONG_THREAD, 908)
#define SIM_CODE(name, number) SIM_##name = (number),
enum { SIM_CODES(SIM_CODE) };

/* Attributes that the library does not use. */
enum {
  SIM_HOST_REGISTER_SUPPORTED = 99,
  SIM_READ_ONLY_HOST_REGISTER_SUPPORTED = 113,
  SIM_POINTER_BUFFER_ID = 7,
  SIM_POINTER_RANGE_START = 11,
  SIM_POINTER_RANGE_SIZE = 12
};

enum { ATTRIBUTES = 160, PAGE = 4096 };

/* --- objects: what programs have handles of ------------------------------- */

enum objectKind { OBJECT_CONTEXT, OBJECT_STREAM, OBJECT_EVENT, OBJECT_POOL };

/** First member of all of them. A handle is a number that is given out once;
    the one of the legacy stream is 0. */
struct object {
  uintptr_t handle;
  enum objectKind kind;
  enum simcuKind counted; /**< SIMCU_KINDS: not counted. */
};

struct stream {
  struct object object;
  struct context *context;
  struct stream *next, *previous; /**< Of the context. */
  bool non_blocking, destroyed;
  void *thread;    /**< Owner of a per-thread stream, which has no handle. */
  struct op *last; /**< The newest operation, or NULL. */
  cuCaptureStatus capture;
  cuCaptureMode capture_mode;
  void *capture_thread;
  struct stream *next_capture;
};

struct context {
  struct object object;
  int device;
  bool primary;
  unsigned retains; /**< 1 for others than primary ones. */
  bool was_reset;   /**< No retain since the last reset. */
  bool is_green;
  uint64_t id; /**< Unique for each life of each context. */
  cuCode sticky;
  struct stream legacy;
  struct stream *streams; /**< The others. */
  size_t stream_count;
  uint64_t *peers; /**< Ids of contexts with peer access. */
  size_t peer_count;
  struct context *next; /**< Destroyed before. */
};

struct event {
  struct object object;
  struct context *context;
  struct op *last;
  bool captured;
};

struct pool {
  struct object object;
  int device;
  size_t live, cached; /**< Bytes in blocks; bytes to be used again. */
  size_t most;         /**< 0: no limit. */
  uint64_t threshold;
  bool destroyed;
  struct pool *next;
};

/** NULL if it is no handle of that kind. */
void *sim_object(void const *handle, enum objectKind kind);
/** Gives a new object its handle. */
void sim_object_add(struct object *object, enum objectKind kind,
                    enum simcuKind counted);
/** The handle is no more; the object is the caller's. */
void sim_object_remove(struct object *object);
/** Calls `call` for all objects of a kind. `call` may remove its object. */
void sim_object_each(enum objectKind kind,
                     void (*call)(struct object *object, void *argument),
                     void *argument);
/** Reports the use of a dead handle; ends the process if simcu_set_crash(1). */
cuCode sim_dead(char const *what, void const *handle);
/** calloc() that does not fail. */
void *sim_new(size_t nbytes);

/* --- devices -------------------------------------------------------------- */

/** Reserved addresses: [base, next) was given out. */
struct arena {
  uintptr_t base, next, end;
  struct hole *holes; /**< Ranges to reuse. */
};

struct device {
  size_t capacity, used;
  struct arena arena;
  struct context primary;
  int attributes[ATTRIBUTES]; /**< -1: unknown. */
  bool can_access[SIMCU_DEVICES_MAX], drops[SIMCU_DEVICES_MAX];
  size_t running; /**< Queued copies and fills. */
  bool excludes;  /**< `running` closes managed memory. */
};

struct sim {
  pthread_mutex_t lock;
  pid_t process; /**< That called cuInit, or 0. */
  bool exiting;
  int device_count;
  struct device devices[SIMCU_DEVICES_MAX];
  struct arena host; /**< Pinned and managed memory. */
  enum simcuMode mode;
  uint64_t random;
  enum function calling;
  size_t live[SIMCU_KINDS];
  unsigned excluding; /**< Number of devices with `excludes`. */
  bool ipc_within, ipc_again, ipc_range, crashes, chunked;
};
extern struct sim sim;

bool sim_is_device(cuDevice device);
/** 0 .. below - 1. */
unsigned sim_random(unsigned below);

/* --- calls ---------------------------------------------------------------- */

enum needs {
  NOTHING = 0,
  IN_CONTEXT = 1, /**< A current context without a fatal error. */
  UNSAFE = 2,     /**< Not while work is captured. */
  UNREADY = 4     /**< cuInit itself. */
};

#define ENTER(symbol, needs)                                                   \
  do {                                                                         \
    cuCode refused_ = sim_enter(FN_##symbol, needs);                           \
    if (refused_)                                                              \
      return refused_;                                                         \
  } while (0)

/** Takes the lock, unless it refuses the call. */
cuCode sim_enter(enum function function, unsigned needs);
/** Gives it back. */
cuCode sim_leave(cuCode code);
void sim_lock(void);
void sim_unlock(void);
char const *sim_symbol(enum function function);

/** What the script has for this call before it does anything. */
cuCode sim_script_call(enum function function);
/** What the script makes of its result. */
cuCode sim_script_result(cuCode code);
/** What it has for an operation that is executed. */
cuCode sim_script_work(void);
void sim_script_forget(void);

__attribute__((format(printf, 1, 2))) void sim_violation(char const *format,
                                                         ...);
/** INVALID_VALUE, for calls that end so. */
#define REFUSED(...)                                                           \
  (sim_violation(__VA_ARGS__), UMEMI_CUDA_ERROR_INVALID_VALUE)

/* --- contexts ------------------------------------------------------------- */

/** This thread's current one; NULL if there is none, or if it is no more. */
struct context *sim_current(void);
/** 0, or why calls in it fail. */
cuCode sim_current_code(void);
/** A context that can be used. */
struct context *sim_context(cuContext handle);
/** The code is one of those that end a context, and does. */
void sim_poison(struct context *context, cuCode code);
/** For those with handles and those of devices. */
void sim_context_init(struct context *context, int device);
/** Starts a life of the context, with a new id. */
void sim_context_start(struct context *context);
/** Ends a created context, and its handle. */
void sim_context_destroy(struct context *context);
cuCode sim_stack_push(cuContext handle);
cuContext sim_primary_retain(int device);
cuCode sim_primary_release(int device);
/** Ends a life with all its resources. `is_fault`: live ones are violations. */
void sim_context_end(struct context *context, bool is_fault);
/** Has `context` peer access to the memory of `owner`? */
bool sim_context_reaches(struct context const *context,
                         struct context const *owner);
cuCode sim_mode_exchange(cuCaptureMode *mode);
cuCaptureMode sim_mode(void);
/** Some address that is this thread's. */
void *sim_thread(void);

/* --- blocks --------------------------------------------------------------- */

struct block {
  uintptr_t start;
  size_t nbytes, room; /**< Asked for; what may be used. */
  enum simcuKind kind;
  struct context *context;
  int device;
  enum function function; /**< That made it. */
  unsigned char *bytes;   /**< What is in it. */
  int fd;                 /**< Of `bytes` if others can map them, or -1. */
  size_t pending;         /**< Uses of queued operations. */
  bool dead;              /**< Freed, but for those operations. */
  bool dying;             /**< To be freed by a queued operation. */
  bool of_host;           /**< Managed memory that is attached to the host. */
  bool read_only;         /**< Registered with READ_ONLY. */
  unsigned flags;         /**< Flags of cuMemHostAlloc, or-ed with DEVICEMAP. */
  struct pool *pool;
  struct op *birth;    /**< Until it is done. */
  uint64_t serial;     /**< Unique for each block. */
  struct chunk *chunk; /**< The chunk that has its bytes, or NULL. */
  /** Addresses to give back with the block; 0 bytes: never. */
  uintptr_t reserved_start;
  size_t reserved;
  struct opening *openings; /**< IPC handles that are open. */
  uintptr_t origin;         /**< Of IPC: what was imported, and from where. */
  pid_t origin_process;
};

/** A range of memory that an operation uses; no block: pageable. */
struct operand {
  uintptr_t adr;
  struct block *block;
};

void sim_arena_reserve(struct arena *arena);
bool sim_arena_has(struct arena const *arena, uintptr_t adr);
/** Returns the start of a free range, or 0 if the arena is full. */
uintptr_t sim_arena_take(struct arena *arena, size_t nbytes, size_t align);
/** Makes a range free for reuse. */
void sim_arena_give(struct arena *arena, uintptr_t start, size_t nbytes);

/** Places the block in a chunk; false without memory. */
bool sim_chunk_place(struct block *block);
void sim_chunk_leave(struct block const *block);
/** Returns the block that stands for the range's chunk, or NULL. */
struct block *sim_chunk_find(uintptr_t adr, size_t nbytes);
/** Returns the block that stands for the block's chunk, or the block itself. */
struct block const *sim_chunk_whole(struct block const *block);

/** The block that has any of these bytes, or NULL. */
struct block *sim_block_find(uintptr_t adr, size_t nbytes);
/** NULL: the device has not so much memory left. */
struct block *sim_block_device(size_t nbytes, struct context *context,
                               struct pool *pool);
struct block *sim_block_host(size_t nbytes, struct context *context,
                             enum simcuKind kind);
struct block *sim_block_register(void *ptr, size_t nbytes,
                                 struct context *context);
/** Memory of a device that another descriptor shares; takes `fd`. */
struct block *sim_block_import(int fd, size_t nbytes, struct context *context,
                               int device);
/** Is the whole range in the block? */
bool sim_block_has(struct block const *block, uintptr_t adr, size_t nbytes);
/** Frees a block that is not in the tree, when no queued work uses it. */
void sim_block_abandon(struct block *block);
/** Nobody can find it any more; its bytes stay while work uses them. */
void sim_block_remove(struct block *block);
void sim_block_use(struct block *block);
void sim_block_unuse(struct block *block);
/** Have a descriptor stand for its bytes: `fd`. */
bool sim_block_share(struct block *block);
/** Calls for all, in the order of addresses. */
void sim_block_each(void (*call)(struct block *block, void *argument),
                    void *argument);
/** A range that a program names. */
cuCode sim_operand(cuAddress adr, size_t nbytes, struct operand *operand_out);
bool sim_on_device(struct operand const *operand);
/** What the simulation itself reads and writes. */
unsigned char *sim_bytes(struct operand const *operand);
/** Maps so many bytes of a new file in memory. */
unsigned char *sim_map_shared(int fd, size_t nbytes);
int sim_memory_file(size_t nbytes);
size_t sim_round(size_t nbytes, size_t unit);

/* --- managed memory ------------------------------------------------------- */

/** Opens or closes the block's pages for the host. */
void sim_managed_update(struct block *block);
/** Counts an operation that starts, or completes, on the device. */
void sim_device_runs(int number);
void sim_device_rests(int number);

/* --- work ----------------------------------------------------------------- */

enum opKind { OP_COPY, OP_FILL, OP_MARK, OP_BIRTH, OP_DEATH };

struct op {
  enum opKind kind;
  enum function function;
  unsigned references;
  bool done;
  unsigned mark; /**< Of a search. */
  struct context *context;
  struct op **after; /**< What must be done before. */
  size_t after_count, after_room;
  struct op *next, *previous, *below;
  struct operand dest, src;
  size_t nbytes;
  size_t rows, dest_pitch, src_pitch; /**< Rows of so many bytes; 1 of most. */
  unsigned char value;
  unsigned char *staged;
  bool is_lost; /**< Reports success and moves no bytes. */
};

/** A stream by its handle, with work to be put in it. */
cuCode sim_stream(cuStream handle, struct stream **stream_out);
/* The same without saying that it is used. */
cuCode sim_stream_find(cuStream handle, struct stream **stream_out);
cuStream sim_stream_new(struct context *context, bool non_blocking);
struct op *sim_op(enum opKind kind, struct stream const *stream);
/** Reads a source in pageable memory now. */
void sim_op_stage(struct op *op);
void sim_op_after(struct op *op, struct op *earlier);
/** Puts it in the queue, which has it then. */
void sim_queue(struct stream *stream, struct op *op);
/** Executes an operation and all that must be done before; may be NULL. */
void sim_op_run(struct op *op);
/** Its work is done some time. */
void sim_stream_end(struct stream *stream);
/** Whatever is before now in the stream; the context's fatal error. */
cuCode sim_stream_wait(struct stream *stream);
bool sim_stream_idle(struct stream *stream);
void sim_context_wait(struct context *context);
void sim_all_wait(void);
/** Executes all that uses the block. */
void sim_block_wait(struct block *block);
/** At the random moments of SIMCU_RANDOM. */
void sim_work_randomly(void);
/** Destroys an event. */
void sim_event_end(struct event *event);
struct op *sim_op_keep(struct op *op);
void sim_op_drop(struct op *op);

/** May it be written to, and may work in the context use it? */
cuCode sim_check_dest(struct operand const *dest);
cuCode sim_check_reach(struct operand const *operand,
                       struct context const *context);

/* --- the rest ------------------------------------------------------------- */

/** 0, or the code of a call that a capture forbids; ends the capture. */
cuCode sim_capture_unsafe(void);
cuCode sim_capture_legacy(int device);
/** The same for a synchronisation of the whole device. */
cuCode sim_capture_wait(int device);
void sim_capture_broken(struct stream *stream);
/** Forgets a stream that is destroyed. */
void sim_capture_end(struct stream *stream);

/** A block that nobody should use any more goes, and its memory, too. */
cuCode sim_free(struct block *block);
/** The live block that starts there, if it may be freed. */
struct block *sim_block_to_free(uintptr_t start, bool of_host);
/** Frees the list of open handles of an imported block. */
void sim_openings_forget(struct block *block);
/** Bytes of a device, for a block. */
bool sim_device_take(struct device *device, size_t nbytes);
/** Pools give back what they need not keep; all of it if `all`. */
void sim_pools_trim(int device, bool all);
/** Bytes for a block, from what the pool has or the device. */
bool sim_pool_take(struct pool *pool, size_t nbytes);
void sim_pool_put(struct pool *pool, size_t nbytes);

/** Settings from the environment, and the report at exit. */
void sim_report_exit(void);
/** How many live things the report tells of. */
size_t sim_leaks(void);

#endif
