/* SPDX-License-Identifier: BSD-3-Clause */
/* Private declarations, grouped under the file that defines them. */
#ifndef UMEMI_INTERNAL_H
#define UMEMI_INTERNAL_H

#include "os.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>

#include "umem/backend.h"

#define UMEMI_LIKELY(x) __builtin_expect(!!(x), 1)
#define UMEMI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define UMEMI_NOINLINE __attribute__((noinline))
/* One load, without a call that may allocate. musl has no room for such objects
   in libraries that are loaded later. */
#ifdef __GLIBC__
#define UMEMI_THREAD_LOCAL                                                     \
  _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define UMEMI_THREAD_LOCAL _Thread_local
#endif
#define UMEMI_PRINTF(text, first) __attribute__((format(printf, text, first)))

/* The value of a system call that is made again while a signal interrupts it.
 */
#define UMEMI_RETRY(call)                                                      \
  __extension__({                                                              \
    __typeof__(call) result_;                                                  \
    do                                                                         \
      result_ = (call);                                                        \
    while (result_ == -1 && errno == EINTR);                                   \
    result_;                                                                   \
  })

/*
 * What an umemVirtual's 128 bytes hold. may_alias, because callers see them as
 * an array of integers.
 */
struct umemiContext {
  uintptr_t seal;                /* this address ^ one of the words below */
  uint64_t id;                   /* never reused in the process */
  char const *name;              /* of the kind */
  char const *label;             /* what the user calls it; lives in state */
  struct umemVtbl const *vtbl;   /* if live; no optional method is NULL */
  struct umemVtbl *foreign_vtbl; /* what vtbl points to, if we own it */
  void *state;
  struct umemiBlockNode *blocks; /* registry.c; under the lock of id */
  void *mirrors;                 /* connect.c; under the lock of id */
  _Atomic uint64_t error_count;
  int64_t last_native; /* last_*: status.c; under the lock of id */
  uint64_t last_bytes_done;
  int last_errno;
  umemStatusType last_type;
  atomic_bool has_status; /* some thread may have a status of it */
  unsigned char refuses;  /* UMEMI_REFUSES_*, of kinds of ours */
} __attribute__((may_alias));

/* What the mode of a file forbids. */
enum {
  UMEMI_REFUSES_READ = 1 << umemRead,
  UMEMI_REFUSES_WRITE = 1 << umemWrite,
  UMEMI_REFUSES_SOME_WRITES = 1 << 7
};

_Static_assert(sizeof(struct umemiContext) <= sizeof(umemVirtual) &&
                   sizeof(umemVirtual) == 128,
               "a context has 128 bytes, for ever");

/*
 * seal ^ address. The words differ from 0 and from each other in their top
 * bits, in which addresses of one process do not differ on 64-bit machines, so
 * a zeroed or moved context cannot be taken for one. PLAIN marks a context
 * whose addresses are malloc's pointers and that keeps no books: on the success
 * path memory.c and transfer.c go straight to libc. Addresses of contexts are
 * multiples of 8, so the flag is safe, too.
 */
#define UMEMI_LIVE ((uintptr_t)UINT64_C(0xA5C300007D9B4600))
#define UMEMI_FAILED ((uintptr_t)UINT64_C(0x5B1E000093E7C200))
#define UMEMI_DEAD ((uintptr_t)UINT64_C(0xC96700002FA81D00))
#define UMEMI_PLAIN ((uintptr_t)1)

static inline uintptr_t umemi_word(void const *ctx) {
  uintptr_t seal;
  memcpy(&seal, ctx, sizeof seal); /* wherever a wrong pointer points */
  return seal ^ (uintptr_t)ctx;
}

static inline bool umemi_is_plain(void const *ctx) {
  return UMEMI_LIKELY(ctx) &&
         UMEMI_LIKELY(umemi_word(ctx) == (UMEMI_LIVE | UMEMI_PLAIN));
}

static inline bool umemi_wraps(uintptr_t adr, size_t nbytes) {
  return UMEMI_UNLIKELY(nbytes > PTRDIFF_MAX) ||
         UMEMI_UNLIKELY(adr > UINTPTR_MAX - nbytes);
}

/* One public call: its error, and what it must leave as it was. */
struct umemiCall {
  umemError error;
  int saved_errno, saved_cancel_state;
  bool whole_message; /* the text is not to be put behind call and values */
};

/* How far two addresses lie apart. */
static inline uintptr_t umemi_apart(uintptr_t a, uintptr_t b) {
  return a < b ? b - a : a - b;
}

/* May a row of one side overlap a row of the other? Not if they are columns
   that lie between each other. */
static inline bool umemi_rows_touch(struct umemRows const *rows, uintptr_t src,
                                    uintptr_t dest) {
  size_t pitch = src < dest ? rows->src_pitch : rows->dest_pitch;
  size_t span = (rows->rows - 1) * pitch + rows->row_bytes;
  uintptr_t apart = umemi_apart(src, dest);
  if (apart >= span || rows->src_pitch != rows->dest_pitch)
    return apart < span;
  return apart % pitch < rows->row_bytes ||
         pitch - apart % pitch < rows->row_bytes;
}

/* Lowers a number to `value` if it is larger. */
static inline void umemi_lower(atomic_size_t *number, size_t value) {
  size_t now = atomic_load(number);
  while (value < now && !atomic_compare_exchange_weak(number, &now, value))
    continue;
}

/* context.c ----------------------------------------------------------------*/

/* The context behind the pointer if it has an id (live, failed or dead). */
struct umemiContext *umemi_context(void const *ctx);
bool umemi_is_live(void const *ctx);
/* TypeError unless `ctx` is live; `role` ("source ", "") goes into the text. */
umemStatusType umemi_need_live(void const *ctx, char const *role,
                               umemError *error);
/* The same, and of this kind. */
umemStatusType umemi_need_kind(void const *ctx, umemDeviceType type,
                               umemError *error);
/* Name of the kind, for messages; "(none)" if it is no context. */
char const *umemi_name(void const *ctx);
/* Gives memory an id, as a failed context of the kind `name`. */
umemStatusType umemi_ctor_begin(void *ctx, char const *name, umemError *error);
/* Makes it live. `label` may be NULL; `flags` is UMEMI_PLAIN or 0. */
void umemi_ctor_end(void *ctx, struct umemVtbl const *vtbl, void *state,
                    char const *label, uintptr_t flags);
/* Are both of one kind, by the methods that get the states of two contexts?
   Tables of foreign kinds are copied: their addresses say nothing. */
bool umemi_same_kind(struct umemiContext const *a,
                     struct umemiContext const *b);
/* Is there any space in which addresses of both are valid? */
bool umemi_share_space(struct umemiContext *a, struct umemiContext *b);
/* May `dest` use addresses of `src` as they are? True if `src` lists every
   space of `dest`, or if their kind says so. */
bool umemi_reaches(struct umemiContext *src, struct umemiContext *dest);

/* process.c: which process this is, and the locks --------------------------*/

/* The number of this process: differs from those of all its ancestors. */
uint64_t umemi_process(void);
/* The lock of a context, by its id. */
void umemi_lock(uint64_t id);
void umemi_unlock(uint64_t id);
/* Calls `init` once in the process; `once` begins as 0. Keeps errno, and cannot
   be cancelled. */
void umemi_once(_Atomic uint64_t *once, void (*init)(void));
/* 0, or errno: fork() may leave locks held in the child. */
int umemi_fork_guard(void);

/* sized.c: structs that begin with their size ------------------------------*/

/* Copies an options struct of the size that its caller knew over the defaults
   in `options`. */
umemStatusType umemi_take_options(void *options, size_t size, void const *given,
                                  umemError *error);

/* How a result is laid out: the least size that a caller may know, the size of
   all of it, and where its texts begin, which go on to the end. */
struct umemiSized {
  size_t least, size, texts;
};

/* Sets the size member of `result`, and copies as much of it to `out`, which
   the message calls `name`, as the caller knows. A text that is cut ends. */
umemStatusType umemi_give_result(void *out, char const *name, void *result,
                                 struct umemiSized sized, umemError *error);

/* device.c: the only way to a backend's methods ----------------------------*/

umemStatusType umemi_device_dtor(struct umemiContext *ctx, umemError *error);
umemStatusType umemi_device_alloc(struct umemiContext *ctx, size_t nbytes,
                                  size_t alignment, uintptr_t *adr_out,
                                  umemError *error);
umemStatusType umemi_device_calloc(struct umemiContext *ctx, size_t nbytes,
                                   uintptr_t *adr_out, umemError *error);
umemStatusType umemi_device_free(struct umemiContext *ctx, uintptr_t adr,
                                 size_t nbytes, umemError *error);
umemStatusType umemi_device_read(struct umemiContext *ctx, uintptr_t adr,
                                 void *out, size_t nbytes, umemError *error);
umemStatusType umemi_device_write(struct umemiContext *ctx, uintptr_t adr,
                                  void const *in, size_t nbytes,
                                  umemError *error);
/* At least 1: without any it is the context's own. */
size_t umemi_device_spaces(struct umemiContext *ctx,
                           umemSpace out[UMEM_SPACES_MAX]);
umemStatusType umemi_device_check(struct umemiContext *ctx, uintptr_t adr,
                                  size_t nbytes, umemAccess access,
                                  umemError *error);
umemStatusType umemi_device_flush(struct umemiContext *ctx, umemError *error);
umemStatusType umemi_device_discard(struct umemiContext *ctx, umemError *error);
umemStatusType umemi_device_copy_peer(struct umemiContext *src,
                                      uintptr_t src_adr,
                                      struct umemiContext *dest,
                                      uintptr_t dest_adr, size_t nbytes,
                                      umemError *error);
umemStatusType umemi_device_view_begin(struct umemiContext *ctx, uintptr_t adr,
                                       size_t nbytes, umemAccess access,
                                       void **ptr_out, umemError *error);
umemStatusType umemi_device_view_end(struct umemiContext *ctx, void *ptr,
                                     size_t nbytes, umemAccess access,
                                     umemError *error);
umemStatusType umemi_device_set(struct umemiContext *ctx, uintptr_t adr, int c,
                                size_t nbytes, umemError *error);
umemStatusType umemi_device_punch(struct umemiContext *ctx, uintptr_t adr,
                                  size_t nbytes, umemError *error);
umemStatusType umemi_device_next_data(struct umemiContext *ctx, uintptr_t adr,
                                      size_t nbytes, size_t *zeros_out,
                                      size_t *data_out, umemError *error);
umemStatusType umemi_device_export_handle(struct umemiContext *ctx,
                                          uintptr_t adr, size_t nbytes,
                                          unsigned char *payload_out,
                                          umemError *error);
umemStatusType umemi_device_import_handle(struct umemiContext *ctx,
                                          unsigned char const *payload,
                                          size_t nbytes, uintptr_t *adr_out,
                                          umemError *error);
umemStatusType umemi_device_stage_alloc(struct umemiContext *ctx, size_t nbytes,
                                        void **ptr_out, umemError *error);
void umemi_device_stage_free(struct umemiContext *ctx, void *ptr,
                             size_t nbytes);
/* Of two of one kind. */
bool umemi_device_can_reach(struct umemiContext *ctx,
                            struct umemiContext *dest);
umemStatusType umemi_device_read_2d(struct umemiContext *ctx, uintptr_t adr,
                                    void *out, struct umemRows const *rows,
                                    umemError *error);
umemStatusType umemi_device_write_2d(struct umemiContext *ctx, uintptr_t adr,
                                     void const *in,
                                     struct umemRows const *rows,
                                     umemError *error);
/* Of two of one kind. */
umemStatusType
umemi_device_copy_peer_2d(struct umemiContext *src, uintptr_t src_adr,
                          struct umemiContext *dest, uintptr_t dest_adr,
                          struct umemRows const *rows, umemError *error);
struct umemLimits umemi_device_limits(struct umemiContext *ctx, uintptr_t adr,
                                      size_t nbytes, unsigned access);

/* vtbl.c: what completes a table, so that nobody tests for NULL ------------*/

umemStatusType umemi_no_check(void *state, uintptr_t adr, size_t nbytes,
                              umemAccess access, umemError *error);
umemStatusType umemi_no_calloc(void *state, size_t nbytes, uintptr_t *adr_out,
                               umemError *error);
umemStatusType umemi_no_flush(void *state, umemError *error);
umemStatusType umemi_no_discard(void *state, umemError *error);
umemStatusType umemi_no_copy_peer(void *src_state, uintptr_t src_adr,
                                  void *dest_state, uintptr_t dest_adr,
                                  size_t nbytes, umemError *error);
umemStatusType umemi_no_view_begin(void *state, uintptr_t adr, size_t nbytes,
                                   umemAccess access, void **ptr_out,
                                   umemError *error);
umemStatusType umemi_no_view_end(void *state, void *ptr, size_t nbytes,
                                 umemAccess access, umemError *error);
umemStatusType umemi_no_set(void *state, uintptr_t adr, int c, size_t nbytes,
                            umemError *error);
umemStatusType umemi_no_next_data(void *state, uintptr_t adr, size_t nbytes,
                                  size_t *zeros_out, size_t *data_out,
                                  umemError *error);
umemStatusType umemi_no_export_handle(void *state, uintptr_t adr, size_t nbytes,
                                      unsigned char *payload_out,
                                      umemError *error);
umemStatusType umemi_no_import_handle(void *state, unsigned char const *payload,
                                      size_t nbytes, uintptr_t *adr_out,
                                      umemError *error);
umemStatusType umemi_no_stage_alloc(void *state, size_t nbytes, void **ptr_out,
                                    umemError *error);
void umemi_no_stage_free(void *state, void *ptr, size_t nbytes);
bool umemi_no_can_reach(void *state, void *dest_state);
umemStatusType umemi_no_punch(void *state, uintptr_t adr, size_t nbytes,
                              umemError *error);
umemStatusType umemi_no_read_2d(void *state, uintptr_t adr, void *out,
                                struct umemRows const *rows, umemError *error);
umemStatusType umemi_no_write_2d(void *state, uintptr_t adr, void const *in,
                                 struct umemRows const *rows, umemError *error);
umemStatusType umemi_no_copy_peer_2d(void *src_state, uintptr_t src_adr,
                                     void *dest_state, uintptr_t dest_adr,
                                     struct umemRows const *rows,
                                     umemError *error);
void umemi_no_limits(void *state, unsigned access, uintptr_t adr, size_t nbytes,
                     struct umemLimits *out);

/* Of tables of our own that have no methods for rows. */
#define UMEMI_NO_ROWS                                                          \
  .read_2d = umemi_no_read_2d, .write_2d = umemi_no_write_2d,                  \
  .copy_peer_2d = umemi_no_copy_peer_2d

/* error.c: what a failure says ---------------------------------------------*/

/* Puts call and values, and ": ", in front of the text; the label behind it. */
void umemi_error_prefix(umemError *error, char const *format, va_list values)
    UMEMI_PRINTF(2, 0);
void umemi_error_label(umemError *error, struct umemiContext const *ctx);
/* Says in which context of two it failed: "source File: reason "label"". */
umemStatusType umemi_blame(umemError *error, char const *side,
                           struct umemiContext const *ctx);
/* Shorthands for the two most frequent kinds of umem_error_fill(). */
umemStatusType umemi_no_memory(umemError *error, char const *what,
                               size_t nbytes);
umemStatusType umemi_null(umemError *error, char const *what);

/* status.c -----------------------------------------------------------------*/

/* Starts a public call: saves errno, and keeps pthread_cancel() off, which
   would leave locks, memory and signal masks behind. */
static inline void umemi_begin(struct umemiCall *call) {
  call->saved_errno = errno;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &call->saved_cancel_state);
  call->whole_message = false;
}
/*
 * Ends it: undoes that and, if the call failed, puts call and values (`format`)
 * in front of the reason and records it in the context, or both. Returns
 * `status`.
 */
umemStatusType umemi_end(struct umemiCall *call, umemStatusType status,
                         void const *ctx, char const *format, ...)
    UMEMI_PRINTF(4, 5);
umemStatusType umemi_end_two(struct umemiCall *call, umemStatusType status,
                             void const *a, void const *b, char const *format,
                             ...) UMEMI_PRINTF(5, 6);
/* Cleans the calling thread's status; `dead`: its slots are the first to go. */
void umemi_status_clean(struct umemiContext *ctx, bool dead);

/* blocktree.c: blocks in the order of their addresses ----------------------*/

struct umemiBlock {
  uintptr_t adr;    /* what the user has */
  size_t nbytes;    /* what the user asked for */
  uintptr_t origin; /* what the device's allocator returned */
  size_t reserved;  /* what it was asked for */
};

/* A tree of blocks with different addresses; NULL is an empty one. */
struct umemiBlockNode;

/* The last block at or before `adr`, valid until the tree changes; or NULL. */
struct umemiBlock const *
umemi_blocktree_before(struct umemiBlockNode const *root, uintptr_t adr);
/* Copies the block. False without memory: the tree has the same blocks. */
bool umemi_blocktree_add(struct umemiBlockNode **root,
                         struct umemiBlock const *block);
/* Removes the block at `adr`, which must be in the tree. Cannot fail. */
void umemi_blocktree_take(struct umemiBlockNode **root, uintptr_t adr);

/* registry.c: the live blocks of a context ---------------------------------*/

/* Order of blocks for tsearch(): overlapping ones are equal. Also of structs
   that begin with a block. */
int umemi_block_compare(void const *a, void const *b);
/* IndexError if the range, which touches the block, is not inside it. */
umemStatusType umemi_block_bound(struct umemiBlock const *block, uintptr_t adr,
                                 size_t nbytes, umemError *error);
/* Copies the block. MemoryError leaves nothing registered; RuntimeError: a live
   block overlaps it. */
umemStatusType umemi_registry_add(struct umemiContext *ctx,
                                  struct umemiBlock const *block,
                                  umemError *error);
/* Takes the block at `adr` out; ValueError if there is none. Needs no memory.
 */
umemStatusType umemi_registry_take(struct umemiContext *ctx, uintptr_t adr,
                                   struct umemiBlock *out, umemError *error);
/* The same without taking it out. */
umemStatusType umemi_registry_get(struct umemiContext *ctx, uintptr_t adr,
                                  struct umemiBlock *out, umemError *error);
/* IndexError if the range touches a live block and is not inside it. */
umemStatusType umemi_registry_bound(struct umemiContext *ctx, uintptr_t adr,
                                    size_t nbytes, umemError *error);
/* Takes any block out; false if there is none. */
bool umemi_registry_pop(struct umemiContext *ctx, struct umemiBlock *out);

/* range.c: may a call access these bytes? ----------------------------------*/

/* `size` bounds nbytes if `safe`, and so does the live block that the range
   touches; else it equals nbytes. */
struct umemiRange {
  uintptr_t adr;
  size_t size, nbytes;
  bool safe;
};

typedef umemStatusType umemiRangeCheck(struct umemiContext *ctx,
                                       struct umemiRange const *range,
                                       umemAccess access, umemError *error);

/* Three checks, in this order; all are about nothing but the arguments. */
umemiRangeCheck umemi_check_address; /* the first byte, to the kind */
umemiRangeCheck umemi_check_range;   /* sizes, wrap, the live block */
umemiRangeCheck umemi_check_access;  /* all bytes, to the kind */
/* All three. */
umemiRangeCheck umemi_check;
/* Of a range that may be read and that ends where it may be missing: is its
   last byte there? */
umemStatusType umemi_check_end(struct umemiContext *ctx,
                               struct umemiRange const *range,
                               umemError *error);
/* May `ctx` be read, or written, at all? */
bool umemi_has_right(struct umemiContext *ctx, umemAccess access);
/* Is there nothing that `dest` may do with bytes of both, and `src` not? */
bool umemi_grants(struct umemiContext *src, struct umemiContext *dest);

/* memory.c -----------------------------------------------------------------*/

/* The alloc family without call and message; alignment 0 is plain alloc. */
umemStatusType umemi_alloc(struct umemiContext *ctx, size_t nbytes,
                           size_t alignment, uintptr_t *adr_out,
                           umemError *error);
umemStatusType umemi_free(struct umemiContext *ctx, uintptr_t adr,
                          uintptr_t *origin_out, umemError *error);
/* Frees, or reports, what is registered when the context is destroyed. */
umemStatusType umemi_free_all(struct umemiContext *ctx, umemError *error);

/* set.c --------------------------------------------------------------------*/

/* umem_set() of a range that was checked. */
umemStatusType umemi_set(struct umemiContext *ctx, uintptr_t adr, int c,
                         size_t nbytes, umemError *error);

/* tuning.c: every threshold, in bytes if not told otherwise ----------------*/

struct umemiTuning {
  size_t cache;              /* the last level, as one CPU has it */
  size_t simd;               /* 0: no own copy loops */
  size_t loop_from;          /* own loop instead of memmove() */
  size_t loop_alike_from;    /* the same if both lie alike in a line */
  size_t share_from;         /* with other threads */
  size_t stream_from;        /* around the caches */
  size_t stream_shared_from; /* the same with other threads */
  size_t fresh_from;         /* look whether the destination has pages */
  size_t huge;               /* 0: no huge pages in blocks of ours */
  size_t populate;           /* 0: pages come one by one */
  size_t host_piece;         /* of a shared copy */
  size_t lanes_from;         /* more than one lane between devices */
  size_t slot;               /* staging of one lane */
  size_t read_piece;         /* of a shared read from the page cache */
  size_t align_from;      /* read into a slot if the destination lies badly */
  size_t direct_piece;    /* of I/O past the page cache */
  size_t reserve_from;    /* reserve disk space before a write that grows */
  size_t zero_from;       /* zeros by fallocate() */
  size_t sparse_from;     /* look for holes */
  size_t reflink_from;    /* share extents instead of copying */
  size_t gpu_stream_from; /* copies of a GPU in a stream of ours */
  size_t gpu_ring_from;   /* through pinned slots, if they may be paged out */
  size_t gpu_share_from;  /* by several threads */
  size_t gpu_piece;       /* of one of them */
};

extern struct umemiTuning umemi_tuning_values;
extern atomic_bool umemi_tuning_is_ready;
void umemi_tuning_init(void);

static inline struct umemiTuning const *umemi_tuning(void) {
  if (UMEMI_UNLIKELY(
          !atomic_load_explicit(&umemi_tuning_is_ready, memory_order_acquire)))
    umemi_tuning_init();
  return &umemi_tuning_values;
}

enum {
  UMEMI_PAGE = 4096, /* of memory and of O_DIRECT */
  UMEMI_HUGE_PAGE = 2 << 20,
  UMEMI_POPULATE_WRITE = 23,   /* madvise(2), Linux 5.14; older headers lack
                                  it, older kernels refuse it */
  UMEMI_LINE = 64,             /* of a cache */
  UMEMI_SHORT_COPY = 2112,     /* below this memmove() is the limit */
  UMEMI_SLOT_LEAST = 64 << 10, /* of staging; with less nothing is staged */
  UMEMI_SLOT_MOST = 1 << 20,
  UMEMI_LANES_MAX = 4,         /* slots that one copy takes, at most */
  UMEMI_LARGE_BLOCK = 32 << 20 /* of ours, that malloc() maps anew */
};

/* machine.c: what we run on -------------------------------------------------*/

/* CPUs that this process may use: affinity and control groups; at least 1. */
unsigned umemi_cpus(void);
/* Bytes of one last-level cache, as CPU 0 sees it. */
size_t umemi_cache_size(void);
/* "32768K": a number with K, M or G behind it, up to whatever follows. */
size_t umemi_bytes_of(char const *text);
/* Reads at most `size` - 1 bytes of a file into `text`, and ends it with '\0';
   `size` is at least 1. Returns true if the end of the file was seen. After an
   error `text` holds what was read before it. */
bool umemi_read_whole(char const *path, char *text, size_t size);
/* The same for a small file. Returns `text`, "" if nothing can be read. */
char *umemi_read_text(char const *path, char *text, size_t size);
enum { UMEMI_TEXT = 4096 };
/* The first UMEMI_TEXT bytes of a file, less one, as a text to free(); NULL if
   there is no memory. */
char *umemi_text_of(char const *path);
/* All of a text file, to free(); NULL if it cannot be read, or there is no
   memory. */
char *umemi_whole_text_of(char const *path);
/* The number behind `key` in a text as /proc/meminfo, or NULL; "kB" are bytes
   then. */
bool umemi_meminfo(char const *text, char const *key, uint64_t *number_out);
/* Bit k: NUMA node k is there and has memory. 0: not known. */
uint64_t umemi_nodes(void);
/* "0-1,3": a bit for each number below 64. */
uint64_t umemi_bits_of(char const *list);

/* memoryleft.c -------------------------------------------------------------*/

/* Bytes of memory that this process may still have, swap included: what the
   machine has, and what its control groups allow. UINT64_MAX: not known. */
uint64_t umemi_memory_left(void);

/* aside.c: work in a child process, which the program does not notice. It has
   60 seconds, and writes its answer to `nbytes` of zeroed memory, which is the
   caller's to munmap() on success. UMEM_DECLINED: this process may have no
   children. Never where a lock of ours is held. */
typedef void umemiAsideWork(void *answer, void const *arg);
umemStatusType umemi_aside(umemiAsideWork *work, void const *arg, size_t nbytes,
                           void **answer_out, umemError *error);
/* deviceinfo.c: what was answered aside is asked again. For tests. */
void umemi_device_lists_drop(void);
/* nodes.c: those that this process may have, all if that is not known; */
uint64_t umemi_nodes_allowed(void);
/* and those of them with memory for all purposes, which are told as devices. */
uint64_t umemi_nodes_of_host(void);

/* nature.c: what a thread hands down to those it starts --------------------*/

enum { UMEMI_NATURE_NODES = 1024 /* as many as kernels are built for */ };

/* Compared as bytes: nothing lies between the members. */
struct umemiNature {
  int is_known;             /* /proc could be read */
  int is_filtered;          /* its system calls are; then these are 0: */
  int io_priority;          /* of scheduling */
  int memory_policy;        /* and of the nodes below */
  int policy, nice;         /* of scheduling */
  uint32_t rights, cgroups; /* checksums of their texts */
  unsigned long memory_nodes[UMEMI_NATURE_NODES / 8 / sizeof(unsigned long)];
};

/* Of the calling thread; reads files. */
void umemi_nature_of_thread(struct umemiNature *nature_out);
/* Is the calling thread, whose nature it is, like the main thread, so that
   those that it starts are? Reads files. */
bool umemi_nature_is_ordinary(struct umemiNature const *nature);
/* Is the calling thread the main one? */
bool umemi_nature_is_main(void);
/* Has the calling thread the same descriptors as `thread` of this process? */
bool umemi_nature_shares_files(pid_t thread);

/* workers.c: threads that help ---------------------------------------------*/

/* Runs `job` in this thread and, where there are any, in up to `helpers`
   others, at once; returns when all are through. It has to come to its end in
   one thread, too. */
void umemi_workers_run(void (*job)(void *arg), void *arg, unsigned helpers);
/* How many helpers make `lanes` of the calling thread, at most; not more than
   there are CPUs, unless a lane `waits` more than it works. */
unsigned umemi_workers_of(unsigned lanes, bool waits);
void umemi_workers_before_fork(void);
void umemi_workers_after_fork(void);
/* The lock is free, and all threads stayed in the parent. */
void umemi_workers_in_child(void);

/* pages.c: pages from the system ------------------------------------------*/

/* Private zeros at a multiple of `alignment`, which is at least a `page`;
   mmap()'s flags besides. NULL and errno. */
char *umemi_map_pages(size_t nbytes, size_t alignment, size_t page, int flags);

/* kept.c: things that are kept for the next one ----------------------------*/

/* One of them, which is the caller's now; NULL if there is none. */
void *umemi_kept_take(_Atomic(void *) *kept, size_t count);
/* False, and the thing stays the caller's, if there is no room for it. */
bool umemi_kept_give(_Atomic(void *) *kept, size_t count, void *thing);

/* slots.c: memory to stage through -----------------------------------------*/

struct umemiSlot {
  void *ptr;
  size_t size;
};

/* A slot of tuning's size; where memory is short less, but not less than 64 KiB
   or `wanted`, else MemoryError. */
umemStatusType umemi_slot_take(struct umemiSlot *slot, size_t wanted,
                               umemError *error);
void umemi_slot_give(struct umemiSlot *slot);
/* Gives back the memory of those that nobody has, while nobody takes one. */
void umemi_slots_drop(void);

/* lanes.c: work in chunks, by several threads ------------------------------*/

struct umemiLanes;

/* Does [offset, offset + nbytes). On failure error->bytes_done bytes of it are
   done. `slot` is the lane's own memory: `room` bytes for each grain. */
typedef umemStatusType umemiLaneStep(struct umemiLanes *lanes, size_t offset,
                                     size_t nbytes, void *slot,
                                     umemError *error);

struct umemiLanes {
  size_t nbytes;
  size_t chunk;     /* at most; cut down where memory is short */
  size_t grain;     /* chunks are multiples of it; 64 KiB of room hold one */
  size_t room;      /* bytes of a lane's own memory per grain; 0: none */
  bool spare;       /* it is of use, but a step can do without: slot NULL */
  unsigned helpers; /* besides the calling thread */
  bool backward;    /* from the end; for one lane only */
  struct umemiContext *stage; /* whose memory is the first choice, or NULL */
  umemiLaneStep *step;
  void *arg;
  atomic_size_t end; /* no chunk from here on is begun; set by the run */
};

/* Failure: of the first chunk that failed, bytes_done from the start of all;
   what lies before it is done. */
umemStatusType umemi_lanes_run(struct umemiLanes *lanes, umemError *error);
/* From a step: nothing from `end` on is wanted any more. */
void umemi_lanes_stop(struct umemiLanes *lanes, size_t end);

/* source.c: a range that is only read --------------------------------------*/

struct umemiSource {
  struct umemiContext *ctx;
  uintptr_t adr;
  size_t nbytes;
  char *view; /* the range as host memory, or NULL */
};

umemStatusType umemi_source_begin(struct umemiSource *source,
                                  struct umemiContext *ctx, uintptr_t adr,
                                  size_t nbytes, umemError *error);
/* A piece of it: in place, or read into `room`. */
umemStatusType umemi_source_bytes(struct umemiSource const *source,
                                  size_t offset, size_t nbytes, void *room,
                                  char const **bytes_out, umemError *error);
/* Ends the view, if there is one; see umemi_view_end(). */
umemStatusType umemi_source_end(struct umemiSource *source, char const *role,
                                umemStatusType status, umemError *error);
/*
 * Ends a view after what was done through it came to `status`; returns what
 * both came to. An earlier failure stays the one that is told; else the end's
 * is, of the side `role`, if not NULL. What was written through a view that
 * cannot be ended may not have arrived.
 */
umemStatusType umemi_view_end(struct umemiContext *ctx, void *view,
                              size_t nbytes, umemAccess access,
                              char const *role, umemStatusType status,
                              umemError *error);

/* hostcopy.c: host memory to host memory -----------------------------------*/

enum umemiHostMethod { UMEMI_MEMMOVE, UMEMI_LOOP, UMEMI_STREAM };

struct umemiHostPlan {
  enum umemiHostMethod method;
  unsigned helpers;
};

struct umemiHostPlan umemi_host_plan(uintptr_t dest, uintptr_t src,
                                     size_t nbytes);
/* memmove(), by other means where they are faster. Keeps errno. */
void umemi_host_copy(void *dest, void const *src, size_t nbytes);
/* The same out of a slot: piece of a copy of `total` bytes. */
void umemi_host_deliver(void *dest, void const *slot, size_t nbytes,
                        size_t total);
/* How, for people. */
char const *umemi_host_method(size_t total);
/* All of the range will be written: huge pages, if it is a new block of ours.
   Answers whether its pages should be brought in ahead. Changes errno. */
bool umemi_host_prepare(void *dest, size_t nbytes);

enum { UMEMI_LARGE_BLOCKS = 64 };
extern _Atomic uint64_t umemi_large_blocks[UMEMI_LARGE_BLOCKS];

/* Where a block is noted: a multiplicative hash of its page. */
static inline _Atomic uint64_t *umemi_large_place(uintptr_t adr) {
  return &umemi_large_blocks[(uint32_t)(adr >> 12) * UINT32_C(2654435769) >>
                             26];
}

/* A block of UMEMI_LARGE_BLOCK bytes or more was allocated. */
void umemi_large_note(uintptr_t adr, size_t nbytes);

/* A block, large or not, is about to be freed. */
static inline void umemi_large_forget(uintptr_t adr) {
  _Atomic uint64_t *place = umemi_large_place(adr);
  uint64_t word = atomic_load_explicit(place, memory_order_relaxed);
  if (UMEMI_UNLIKELY((word ^ adr) << 16 == 0 && word))
    atomic_store_explicit(place, 0, memory_order_relaxed);
}

/* route.c: what is checked before a copy -----------------------------------*/

struct umemiCopy {
  void const *src, *dest;
  uintptr_t src_adr, dest_adr;
  size_t nbytes;
  size_t src_size, dest_size; /* what is at the addresses, if `safe` */
  bool safe;                  /* stay within the sizes and within blocks */
  bool sync;                  /* nothing to do where both are the same bytes */
};

/* A copy whose arguments are checked; of 0 bytes if there is nothing to do. */
struct umemiRoute {
  struct umemiContext *src, *dest;
  uintptr_t src_adr, dest_adr;
  size_t nbytes;
  bool one_space;
  bool overlap; /* of the two ranges, in one space */
};

umemStatusType umemi_route(struct umemiCopy const *copy,
                           struct umemiRoute *route_out, umemError *error);
/* Sets `overlap`. */
void umemi_route_judge(struct umemiRoute *route);

/* transfer.c: the way that a copy takes ------------------------------------*/

struct umemiWay {
  umemCopyRung rung;
  char const *name, *reason;
  char const *methods[2]; /* the second one is what follows the first */
  unsigned helpers;
  size_t chunk, staging;
  bool aligns; /* bytes go through slots that lie on a page as the device's */
};

umemStatusType umemi_transfer_run(struct umemiRoute const *route,
                                  umemError *error);
/* Is the source there up to this byte? Asked before what is written may extend
   the very file whose end is in the source. */
umemStatusType umemi_transfer_reach(struct umemiContext *src, uintptr_t last,
                                    umemError *error);
void umemi_transfer_plan(struct umemiRoute const *route, struct umemiWay *way);
/* Route and run. */
umemStatusType umemi_copy(struct umemiCopy const *copy, umemError *error);
/* Tests switch rungs off. */
static inline bool umemi_rung_is_on(umemCopyRung rung) {
  return !(umemi_os.rungs_off & 1u << rung);
}

/* copy2d.c, rows.c: rectangles ---------------------------------------------*/

/* One side. */
struct umemiPlane {
  struct umemiContext *ctx;
  uintptr_t adr;
  size_t pitch, size;
  size_t span; /* of all rows and what is between them */
  char *view;  /* while one is begun, or NULL */
};

struct umemiRectangle {
  struct umemiPlane src, dest;
  size_t row, rows; /* bytes of a row, number of rows */
  bool safe;
};

/* "source" or "destination". */
char const *umemi_plane_role(umemAccess access);
/* Two rows and more, by one call of a kind. If rows of one side touch rows of
   the other, `touch`, it is a kind that reads all of them first. UMEM_DECLINED,
   and nothing is done, where no kind has such a call. */
umemStatusType umemi_rows_at_once(struct umemiRectangle *r, bool touch,
                                  umemError *error);
/* Rows of less than 32 KiB. */
umemStatusType umemi_rows_packed(struct umemiRectangle *r, umemError *error);

/* copy.c -------------------------------------------------------------------*/

/* umemi_copy() as the public call `function`: told and recorded. */
umemStatusType umemi_copy_call(char const *function, bool sync, void const *src,
                               uintptr_t src_adr, void const *dest,
                               uintptr_t dest_adr, size_t nbytes);
umemStatusType umemi_copy_call_safe(char const *function, bool sync,
                                    void const *src, uintptr_t src_adr,
                                    size_t src_size, void const *dest,
                                    uintptr_t dest_adr, size_t dest_size,
                                    size_t nbytes);

/* signals.c: calls that raise a signal when they fail ----------------------*/

struct umemiHeldSignal {
  sigset_t signal, old_mask;
  bool was_pending;
};

/* Until the release, `signal` does not reach this thread. */
void umemi_signal_hold(struct umemiHeldSignal *held, int signal);
/* Takes the one that was raised since. Keeps errno. */
void umemi_signal_release(struct umemiHeldSignal const *held);

/* log.c: lines for people --------------------------------------------------*/

/* UMEM_LOG=copy: a line for every copy. */
bool umemi_log_is_on(void);
/* Writes `text`, which ends its line, if the process has the standard error
   stream that it was started with. Keeps errno. */
void umemi_log_line(char const *text);

/* plan.c: what a copy will do, or did, for people --------------------------*/

void umemi_log_copy(struct umemiRoute const *route, struct umemiWay const *way);

/* connect.c ----------------------------------------------------------------*/

/* Frees what connect allocated, when the context is destroyed. */
umemStatusType umemi_mirrors_free(struct umemiContext *ctx, umemError *error);

/* placement.c: what a placed Host stands on --------------------------------*/

struct umemiPlacement {
  uint32_t flags;   /* UMEM_HOST_* */
  size_t alignment; /* of every block, at least; or 0 */
  uint64_t nodes;
  size_t page; /* blocks are whole pages of this size; 0: malloc's */
  uint64_t process;
};

/* A forked child that writes to reserved huge pages needs new ones, and gets
   SIGBUS where there are none. */
static inline bool
umemi_placement_may_write(struct umemiPlacement const *placement) {
  return !(placement->flags & UMEM_HOST_HUGE_RESERVED) ||
         placement->process == umemi_process();
}

umemStatusType umemi_placement_make(struct umemiPlacement *placement,
                                    umemHostOptions const *options,
                                    umemError *error);
/* If it has pages: a block of zeros; nothing is left of one that failed. */
umemStatusType umemi_pages_alloc(struct umemiPlacement const *placement,
                                 size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error);
umemStatusType umemi_pages_free(struct umemiPlacement const *placement,
                                uintptr_t adr, size_t nbytes, umemError *error);

/* driver.c: when a device's driver may be used -----------------------------*/

struct umemiDriver {
  char const *name;
  _Atomic uint64_t process; /* that uses it; 0: none did */
  bool has_thread_data;     /* without which it crashes */
};

/* After the first call of it: what it does at exit is registered then, and our
   handler, which is registered after that, runs before. */
void umemi_driver_started(struct umemiDriver *driver);
/* RuntimeError at exit, and in children of the process that uses it: a driver's
   threads are not in them. */
umemStatusType umemi_driver_guard(struct umemiDriver const *driver,
                                  umemError *error);
/* Is neither so? */
bool umemi_driver_is_usable(struct umemiDriver const *driver);

/* extents.c: which ranges of a growing address space are free --------------*/

struct umemiExtent {
  uint64_t start, length;
};

struct umemiExtentNode {
  struct umemiExtent extent;
  uint32_t left, right; /* before it, behind it; 0: none */
};

/* All 0 is an empty space. */
struct umemiExtents {
  struct umemiExtentNode *nodes; /* [0] is none */
  uint64_t *best[64];            /* by alignment, 2 to the power of it, and
                                    node: largest range in the subtree */
  uint64_t alignments;           /* that `best` is kept for, as bits */
  uint32_t freed, withdrawn;     /* trees of nodes, by address */
  uint32_t numbered, unused;     /* nodes ever used; list by `right` */
  size_t count, capacity;        /* nodes in the trees; room for nodes */
  size_t taken;                  /* ranges handed out and not given back */
  uint64_t end;                  /* end of all that was handed out */
};

/*
 * Finds room for `nbytes` at a multiple of `alignment` (a power of two), at or
 * after `lowest`: in the first extent that was given back and has it, else in
 * the first that was withdrawn, else past `used` and all that was handed out;
 * the last two up to `limit`. *reused_out: it was given back, or skipped for an
 * alignment. ENOMEM, or ERANGE past `limit`.
 */
int umemi_extents_take(struct umemiExtents *extents, uint64_t nbytes,
                       uint64_t alignment, uint64_t lowest, uint64_t used,
                       uint64_t limit, uint64_t *start_out, bool *reused_out);
/* Gives a range back. Cannot fail: take() reserved the room. */
void umemi_extents_give(struct umemiExtents *extents, uint64_t start,
                        uint64_t nbytes);
/* Undoes a take() that reused nothing, or gives back what is no longer there:
   the next one that fits gets the range, and not as reused. Cannot fail. */
void umemi_extents_withdraw(struct umemiExtents *extents, uint64_t start,
                            uint64_t nbytes);
void umemi_extents_clear(struct umemiExtents *extents);

/* descriptor.c ------------------------------------------------------------*/

/* Every new descriptor goes through this: moves it above 0, 1 and 2, the
   standard streams. Takes and returns -1 with errno; closes what it cannot
   move. */
int umemi_keep_fd(int fd);

/* fileio.c: positional I/O that is complete or says why not ----------------*/

struct umemiFileIo {
  int fd;
  int direct_fd; /* the same file with O_DIRECT, or -1 */
};

#define UMEMI_EOF (-1)

/* Of an open descriptor, without O_DIRECT. */
struct umemiFileIo umemi_file_io(int fd);
/* IOError: a loop that did `what` moved `done` of `nbytes`; `ended` is what
   UMEMI_EOF means. */
umemStatusType umemi_file_moved(char const *ended, char const *what, int failed,
                                uint64_t at, size_t done, size_t nbytes,
                                umemError *error);
/* How the page cache is best read and written. */
void umemi_file_limits(unsigned access, size_t nbytes, struct umemLimits *out);

/* 0, errno or UMEMI_EOF; *done_out bytes were moved in any case. */
int umemi_file_read(struct umemiFileIo const *io, uint64_t at, void *out,
                    size_t nbytes, size_t *done_out);
int umemi_file_write(struct umemiFileIo const *io, uint64_t at, void const *in,
                     size_t nbytes, size_t *done_out);
/* RLIMIT_FSIZE as it is now; UINT64_MAX if there is none. One that cannot be
   read is past all offsets, too. */
#define UMEMI_LIMIT_UNKNOWN (UINT64_MAX - 1)
uint64_t umemi_file_limit(void);

/* Around a system call that writes up to `end`, or makes a file larger: at the
   limit it fails, and the process lives on. Keeps errno. */
struct umemiFileHold {
  bool active;
  struct umemiHeldSignal signal;
};
void umemi_file_hold(struct umemiFileHold *hold, uint64_t end);
void umemi_file_release(struct umemiFileHold const *hold);
/* fallocate(2) that is held so; 0 or errno. */
int umemi_file_fallocate(struct umemiFileIo const *io, int mode, uint64_t at,
                         uint64_t nbytes);

/* filespace.c: the space that a file has on its disk -----------------------*/

/* Is there room for so many bytes more, as far as can be told? Else ENOSPC,
   or ENOMEM where they are memory. */
int umemi_file_room(struct umemiFileIo const *io, uint64_t nbytes);
/* How large the file system lets a file be; moves the descriptor's offset. */
uint64_t umemi_file_largest(struct umemiFileIo const *io);
/* Reserves and zeroes [start, end) past what the file has; 0 or errno. */
int umemi_file_grow(struct umemiFileIo const *io, uint64_t start, uint64_t end);

enum umemiZeroes {
  UMEMI_RESERVED_ZEROES, /* keep, or get, their space on the disk */
  UMEMI_HOLES            /* give it back */
};

/* Zeroes a range without writing it: what lies past the end becomes a hole.
   0 or errno; EOPNOTSUPP where that has to be written. */
int umemi_file_zero(struct umemiFileIo const *io, uint64_t at, size_t nbytes,
                    enum umemiZeroes how);
/* The first range in [at, end) that is not known to be zeros; [end, end) if
   there is none. Moves the descriptor's offset, and may read. 0 or errno. */
int umemi_file_next_data(struct umemiFileIo const *io, uint64_t at,
                         uint64_t end, uint64_t *data_out,
                         uint64_t *data_end_out);

/* Lets both files share the extents of a range; 0 or errno, and then nothing
   was done. EOPNOTSUPP where the file system has no such thing. */
int umemi_file_reflink(struct umemiFileIo const *src, uint64_t src_at,
                       struct umemiFileIo const *dest, uint64_t dest_at,
                       uint64_t nbytes);

/* filename.c: where a file is -----------------------------------------------*/

struct umemiPlace {
  int dir;       /* an open directory, AT_FDCWD, or -1 */
  char *name;    /* in it; or NULL */
  bool followed; /* symbolic links led here */
};

/* Opens the directory of `path`; no link is followed in its last component. 0
   or errno, and then there is nothing to close. */
int umemi_place_open(struct umemiPlace *place, char const *path);
/* The place of a file that is there, for as long as it is being opened: opens
   no directory. */
int umemi_place_here(struct umemiPlace *place, char const *path);
void umemi_place_close(struct umemiPlace *place);
/* Opens the named file with O_PATH, -1 if there is none; if `follow`, the place
   becomes the one that symbolic links lead to. 0 or errno. */
int umemi_place_look(struct umemiPlace *place, bool follow, int *fd_out,
                     struct stat *st_out);
/* Makes the directory one that can be synced, if it may be read. */
void umemi_place_prepare_sync(struct umemiPlace *place);
/* Makes the names in the directory durable, as far as its file system can;
   `fd` is a file in it. 0 or errno. */
int umemi_place_sync(struct umemiPlace const *place, int fd);
/* Opens the file `st`, which is open as `fd`, with other flags: through /proc,
   or by its name (NULL: it has none). A descriptor, or -1 with errno. */
int umemi_place_reopen(struct umemiPlace const *place, int fd,
                       struct stat const *st, int flags);
/* After an openat() that failed with EWOULDBLOCK: waits until the holder of a
   lease (fcntl(2)) gives it back, but never for a FIFO. A descriptor, or -1. */
int umemi_place_open_leased(int dir, char const *name, int flags,
                            mode_t permissions);
bool umemi_is_same_file(int fd, struct stat const *st);

/* filemode.c: modes and options --------------------------------------------*/

struct umemiFileMode {
  bool readable, writable, creates, truncates, appends;
};

/* False for what is no mode: r r+ w w+ a a+, with a b after the first letter or
   later. */
bool umemi_file_parse_mode(char const *text, struct umemiFileMode *mode);
umemStatusType umemi_file_check_options(struct umemiFileMode const *mode,
                                        umemFileOptions const *options,
                                        umemError *error);

/* fileopen.c: opening files, and what may be opened ------------------------*/

/* An open file in the list of this process (fileclaim.c). */
struct umemiClaim {
  uint64_t device, inode;  /* identity; of a block device st_rdev and 0 */
  uint64_t owner;          /* the process that constructed the context */
  struct umemiClaim *next; /* under the lock of the list, as is: */
  bool is_entered, empties, allocates;
};

struct umemiOpenFile {
  struct umemiFileIo io;
  struct umemiFileMode mode;
  bool is_block;
  bool created;            /* by us, for certain */
  bool shares_offset;      /* with whoever else has the descriptor */
  uint64_t size;           /* when it was opened, after truncation */
  char *name;              /* as the user gave it */
  struct umemiPlace place; /* of a new name, or an ATOMIC file; else empty */
  bool has_new_name;       /* that the directory has to be synced for */
  /* ATOMIC */
  bool is_atomic;
  bool takes_rights;       /* those of the file that it replaces, or fewer */
  bool exclusive;          /* EXCL: never replace a file that appeared */
  char *temp_name;         /* in the same directory */
  int proc_fd;             /* /proc/self/fd, if it has no name; or -1 */
  atomic_bool temp_exists; /* and is to be published or removed */
  struct umemiClaim claim;
  bool has_no_lock;       /* NO_LOCK */
  int lock_fd;            /* instead of io.fd; or -1 */
  atomic_bool is_claimed; /* allocates, and is locked if it can be */
};

/* `maps`: it will be mapped, and has to be readable whatever the mode is. */
umemStatusType umemi_file_open(struct umemiOpenFile *file, char const *filename,
                               char const *mode, umemFileOptions const *options,
                               bool maps, umemError *error);
/* The last step of a constructor: empties the file if the mode says so. Left
   to the caller if it `maps`. */
umemStatusType umemi_file_settle(struct umemiOpenFile *file, umemError *error);
/* IOError, or MemoryError of ENOMEM: errno, `what`, the file's name. */
umemStatusType umemi_file_failed(struct umemiOpenFile const *file,
                                 int sys_errno, char const *what,
                                 umemError *error);

/* fileclose.c --------------------------------------------------------------*/

/* Closes; publishes a temporary file if `publish`, else removes it. */
umemStatusType umemi_file_close(struct umemiOpenFile *file, bool publish,
                                umemError *error);
/* Undoes a constructor that failed: a descriptor stays the user's, a file that
   was there stays. */
void umemi_file_abandon(struct umemiOpenFile *file);

/* fileclaim.c: contexts of one file ----------------------------------------*/

/* Enters a file into the list of this process. Returns whether no other context
   there has it. If so and it is to be emptied, others wait in here until
   umemi_claim_emptied(). */
bool umemi_claim_enter(struct umemiClaim *claim, bool empties);
void umemi_claim_emptied(struct umemiClaim *claim);
/* Does nothing if it was not entered. */
void umemi_claim_leave(struct umemiClaim *claim);
/* Does no other context of this process have the file? */
bool umemi_claim_is_alone(struct umemiClaim const *claim);
/* Makes this context the one that allocates in the file: IOError EAGAIN if
   another one does, RuntimeError in a forked child. Nothing to do from the
   second time on. */
umemStatusType umemi_file_claim(struct umemiOpenFile *file, umemError *error);
/* Undoes that, and leaves the list. */
void umemi_file_unclaim(struct umemiOpenFile *file);

/* filerights.c: who may use a file -----------------------------------------*/

/* Gives the open file the owner of the file `old`, which is open with O_PATH,
   and its users' attributes; `with_mode`: its mode and access list, too. What
   cannot be kept is left out; nobody gets more access. */
umemStatusType umemi_rights_copy(struct umemiOpenFile const *file, int old_fd,
                                 struct stat const *old, bool with_mode,
                                 umemError *error);

/* Takes from the temporary file what the file that has the name by now does not
   grant. 0 or errno. */
int umemi_rights_narrow(struct umemiOpenFile *file);

/* filetemp.c: the temporary file of UMEM_FILE_ATOMIC -----------------------*/

/* Opens one for the file at `place`. */
umemStatusType umemi_temp_create(struct umemiOpenFile *file, mode_t permissions,
                                 umemError *error);
/* Gives it the name, durably, if there is one that this process created. */
umemStatusType umemi_temp_publish(struct umemiOpenFile *file, umemError *error);
/* Removes it likewise; 0 or errno. */
int umemi_temp_discard(struct umemiOpenFile *file);

/* handle.c: where bytes are, told to another process -----------------------*/

/* Payloads of kinds whose bytes are in a file, which has `size` bytes now. */
umemStatusType umemi_place_export(int fd, uint64_t size, uint64_t offset,
                                  size_t nbytes, unsigned char *payload_out,
                                  umemError *error);
umemStatusType umemi_place_import(int fd, uint64_t size,
                                  unsigned char const *payload, size_t nbytes,
                                  uint64_t *offset_out, umemError *error);

/* filestore.c: the bytes of an open file as memory -------------------------*/

/* Offsets are off_t in the system and uintptr_t to the user. */
#define UMEMI_OFFSET_MAX                                                       \
  (UINTPTR_MAX < INT64_MAX ? UINTPTR_MAX : (uint64_t)INT64_MAX)

struct umemiStore {
  struct umemiOpenFile open;
  umemVirtual const *ctx;
  uint64_t id;                 /* of the context: says which lock is ours */
  uintptr_t origin;            /* address of offset 0; 0: they are the same */
  uint64_t lowest, limit;      /* offsets that have addresses */
  size_t alignment;            /* of every block */
  struct umemiExtents extents; /* under the lock */
  struct umemiExtents places;  /* of 0 bytes; under the lock */
  _Atomic uint64_t largest;    /* size that the file system allows; 0: not asked
                                  yet */
  uint64_t protected_end;      /* modes a and a+ write from here on */
  pthread_mutex_t turn;        /* to flush; owned by a process */
  uint64_t turn_process;       /* under the lock */
  int flush_errno;             /* of the flush that failed; in turn */
  atomic_bool discarded;
  atomic_bool no_reflink; /* into this file */
};

/* The rest is 0. A failure leaves nothing open. */
umemStatusType umemi_store_open(struct umemiStore *store, void *ctx,
                                char const *filename, char const *mode,
                                umemFileOptions const *options, bool maps,
                                umemError *error);
/* Publishes what is to be published. */
umemStatusType umemi_store_close(struct umemiStore *store, umemError *error);
/* How large the file is now: others may have changed it. 0 or errno. */
int umemi_store_size(struct umemiStore const *store, uint64_t *size_out);
/* Instead of close, in a constructor that fails. */
void umemi_store_abandon(struct umemiStore *store);
/* ValueError unless both are there and not empty. */
umemStatusType umemi_store_names(char const *filename, char const *mode,
                                 uint32_t flags, struct umemiCall *call);

/* Methods of tables whose state begins with a struct umemiStore. */
umemStatusType umemi_store_alloc(void *state, size_t nbytes, size_t alignment,
                                 uintptr_t *adr_out, umemError *error);
umemStatusType umemi_store_calloc(void *state, size_t nbytes,
                                  uintptr_t *adr_out, umemError *error);
umemStatusType umemi_store_free(void *state, uintptr_t adr, size_t nbytes,
                                umemError *error);
umemStatusType umemi_store_check(void *state, uintptr_t adr, size_t nbytes,
                                 umemAccess access, umemError *error);
umemStatusType umemi_store_read(void *state, uintptr_t adr, void *out,
                                size_t nbytes, umemError *error);
umemStatusType umemi_store_write(void *state, uintptr_t adr, void const *in,
                                 size_t nbytes, umemError *error);
umemStatusType umemi_store_set(void *state, uintptr_t adr, int c, size_t nbytes,
                               umemError *error);
umemStatusType umemi_store_punch(void *state, uintptr_t adr, size_t nbytes,
                                 umemError *error);
umemStatusType umemi_store_next_data(void *state, uintptr_t adr, size_t nbytes,
                                     size_t *zeros_out, size_t *data_out,
                                     umemError *error);
void umemi_store_limits(void *state, unsigned access, uintptr_t adr,
                        size_t nbytes, struct umemLimits *out);
umemStatusType umemi_store_copy_peer(void *src_state, uintptr_t src_adr,
                                     void *dest_state, uintptr_t dest_adr,
                                     size_t nbytes, umemError *error);
umemStatusType umemi_store_flush(void *state, umemError *error);
umemStatusType umemi_store_export_handle(void *state, uintptr_t adr,
                                         size_t nbytes,
                                         unsigned char *payload_out,
                                         umemError *error);
umemStatusType umemi_store_import_handle(void *state,
                                         unsigned char const *payload,
                                         size_t nbytes, uintptr_t *adr_out,
                                         umemError *error);
umemStatusType umemi_store_discard(void *state, umemError *error);

/* segrooms.c: where a segment may have room, as far as this process knows ---*/

enum { UMEMI_SEGMENT_GROUP = 64 }; /* entries of the table */
#define UMEMI_ROOM_UNKNOWN UINT32_MAX

/* For each group of granules the longest free run that begins behind a block or
   mark in it, in granules. */
struct umemiRooms {
  uint32_t *tree; /* maxima: node k is above 2 k and 2 k + 1 */
  uint64_t groups, leaves;
};

/* All groups are unknown at the beginning. */
umemStatusType umemi_rooms_begin(struct umemiRooms *rooms, uint64_t granules,
                                 umemError *error);
void umemi_rooms_end(struct umemiRooms *rooms);
/* All groups are unknown again. */
void umemi_rooms_forget(struct umemiRooms *rooms);
uint32_t umemi_rooms_get(struct umemiRooms const *rooms, uint64_t group);
void umemi_rooms_set(struct umemiRooms *rooms, uint64_t group, uint32_t room);
/* The first group from `from` on that has at least so much; false: none. */
bool umemi_rooms_find(struct umemiRooms const *rooms, uint64_t from,
                      uint64_t length, uint64_t *group_out);
/* Of all groups. */
uint64_t umemi_rooms_longest(struct umemiRooms const *rooms);

/* segment.c: memory that processes share -----------------------------------*/

enum {
  UMEMI_SEGMENT_GRANULE = 256, /* of blocks */
  UMEMI_SEGMENT_ENTRY = 8,     /* bytes in the table for each */
  UMEMI_SEGMENT_HINTS = 1024,  /* where hints begin, behind the header */
  UMEMI_SEGMENT_TABLE = UMEMI_PAGE,
  UMEMI_SEGMENT_LOCK = 0,     /* the byte that is locked for the table, */
  UMEMI_SEGMENT_NAME_LOCK = 1 /* and the one to remove the name */
};

struct umemiSegment {
  struct umemiFileIo io;
  struct umemiClaim claim; /* so that no File empties it */
  char const *path;        /* of its name; borrowed; NULL: it has none */
  uint64_t total;          /* bytes of it, of which the last */
  uint64_t nbytes;         /* are for blocks, */
  uint64_t data_at;        /* from here on: */
  uint64_t granules;       /* so many */
  uintptr_t origin;        /* address of the first of them; set by the user */
  /* under the lock: */
  struct umemiRooms rooms;
  bool rooms_known;     /* none is too low, */
  uint64_t rooms_as_of; /* as long as others announced so many */
  pthread_mutex_t turn;
  int lock_fd; /* in turn, and under the lock of the list; or -1 */
  struct umemiSegment *next;
};

/* Bytes of a segment with so many for blocks; 0 if none can be so large. */
uint64_t umemi_segment_total(uint64_t nbytes);
/* One of these follows umemi_segment_begin(). Makes a segment of an empty file
   that nobody else has; */
umemStatusType umemi_segment_create(struct umemiSegment *segment,
                                    uint64_t nbytes, umemError *error);
/* or finds one in it, `nbytes` 0 is any size; waits for a creator that lives.
 */
umemStatusType umemi_segment_attach(struct umemiSegment *segment,
                                    uint64_t nbytes, umemError *error);
/* Before attaching to a named file: makes a segment of it if it is empty, and
   no creator of it lives. One that a creator left half-way, and one that cannot
   be completed, loses its name. Success without `adopted_out`: to be attached
   to, if it has its name yet. */
umemStatusType umemi_segment_adopt(struct umemiSegment *segment,
                                   uint64_t nbytes, bool *adopted_out,
                                   umemError *error);

/* seglock.c: the lock of a segment -----------------------------------------*/

/* Takes the descriptor, and closes it at the end. */
void umemi_segment_begin(struct umemiSegment *segment, int fd);
void umemi_segment_end(struct umemiSegment *segment);
/* Exclusive across threads and processes. NotSupportedError without /proc for a
   segment that cannot be opened again by its name, either. */
umemStatusType umemi_segment_lock(struct umemiSegment *segment,
                                  umemError *error);
void umemi_segment_unlock(struct umemiSegment *segment);
void umemi_segments_before_fork(void);
void umemi_segments_after_fork(void);
void umemi_segments_in_child(void);
/* Can it be locked? Fails as umemi_segment_lock() would, without waiting. */
umemStatusType umemi_segment_ready(struct umemiSegment *segment,
                                   umemError *error);

/* segname.c: names of segments ---------------------------------------------*/

#define UMEMI_SEGMENT_DIRECTORY "/dev/shm"

struct umemiSegmentPath {
  char text[sizeof UMEMI_SEGMENT_DIRECTORY + NAME_MAX + 1];
};

/* ValueError for a bad name. */
umemStatusType umemi_segment_path(char const *name,
                                  struct umemiSegmentPath *path_out,
                                  umemError *error);
/* A descriptor, or -1 and errno. `flags` as O_CREAT, besides the usual. */
int umemi_segment_open(char const *path, int flags);
/* Of a new file without a name, in the same directory. */
int umemi_segment_open_unnamed(void);
/* Names such a file; 0 or errno, EEXIST if the name is taken. */
int umemi_segment_link(int fd, char const *path);
/* Does `path` mean this very file? Others may have removed the name, and used
   it again. */
bool umemi_segment_has_name(struct umemiSegment const *segment);
/* Another description of the file, by its name; -1 if it has none. */
int umemi_segment_open_again(struct umemiSegment const *segment);
/* Removes the name if it means this file; 0 or errno. Another process cannot
   use the name again meanwhile. */
int umemi_segment_remove_name(struct umemiSegment const *segment);
/* Removes a name of whatever it is; 0 or errno. */
int umemi_segment_unlink(char const *path);

/* segenter.c: ways to a segment --------------------------------------------*/

/* Creates one without a name, sealed against changes of its size where the
   system has memfd_create(). */
umemStatusType umemi_segment_enter_nameless(struct umemiSegment *segment,
                                            uint64_t nbytes, umemError *error);
/* The segment of a name. Attaches to it, or creates it; `flags` are UMEM_SHM_*,
   `nbytes` 0: any size. `path` is borrowed as long as the segment is there. A
   failure leaves nothing open, and no name that this call made. */
umemStatusType umemi_segment_enter(struct umemiSegment *segment,
                                   char const *path, uint64_t nbytes,
                                   uint32_t flags, bool *created_out,
                                   umemError *error);

/* segtable.c: the blocks in a segment --------------------------------------*/

/* `alignment` is of addresses; 0 is that of granules. */
umemStatusType umemi_segment_alloc(struct umemiSegment *segment, size_t nbytes,
                                   size_t alignment, uintptr_t *adr_out,
                                   umemError *error);
umemStatusType umemi_segment_free(struct umemiSegment *segment, uintptr_t adr,
                                  umemError *error);

#endif
