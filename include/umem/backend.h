/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file
 * For people who write a new kind of context. Users need umem.h only.
 *
 * A kind is a table of methods and a state that they get as first argument.
 * A backend speaks to host memory only and never to another backend: what lies
 * between two contexts (staging, overlap, mirrors) is the library's work, and
 * so are the checks of arguments, the registry of live blocks and the status.
 *
 * The contract of all methods:
 * - They return umemOK, or a status after umem_error_fill(error, ...). `error`
 *   is never NULL; on success it is left alone. The library puts the call and
 *   its values in front of the text.
 * - `nbytes` is at most PTRDIFF_MAX and `adr + nbytes` does not wrap. Pointers
 *   to host memory are valid for `nbytes` bytes.
 * - read, write and view methods are never called with 0 bytes; those of rows
 *   never with less than two rows.
 * - Any number of threads, some of them the library's, call them at once,
 *   except `dtor`. No lock of the library is held meanwhile. They may not call
 *   umem_set_threads().
 * - They may change errno; they may not end the process, nor leave by longjmp()
 *   or a C++ exception: the library is C, and its threads call them, too.
 *
 * The table is not frozen before 1.0.0; `size` lets it grow.
 */
#ifndef UMEM_BACKEND_H
#define UMEM_BACKEND_H

#include "umem.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Answer of an optional method: "not me, go on without"; nothing was done. */
#define UMEM_DECLINED ((umemStatusType)15) /* in the enum's range in C++ */

/** What is done to a range. */
typedef enum umemAccess { umemRead = 1, umemWrite = 2 } umemAccess;

/**
 * One address space. Two contexts share one if the tags are equal; then equal
 * addresses are equal bytes.
 *
 * A space may also be a *quality* of memory in another space of the same list,
 * such as UMEM_SPACE_PINNED. Contexts with an equal quality must share the
 * space that it is about.
 */
typedef struct umemSpace {
  uint64_t kind;  /**< UMEM_SPACE_*, or a device type. */
  uint64_t id[2]; /**< Which one of that kind. */
} umemSpace;

/** The address space of this process: id is 0. */
#define UMEM_SPACE_PROCESS (((uint64_t)1 << 32) + 1)
/** A file: id is its device and inode number. */
#define UMEM_SPACE_FILE (((uint64_t)1 << 32) + 2)
/** A context that is a space of its own: id[0] is unique. */
#define UMEM_SPACE_PRIVATE (((uint64_t)1 << 32) + 3)
/** A quality: page-locked for a driver. id is the driver's device type, and the
    flags that make such memory differ. */
#define UMEM_SPACE_PINNED (((uint64_t)1 << 32) + 4)
/** A quality: host memory that was placed. id says how and where. */
#define UMEM_SPACE_PLACED (((uint64_t)1 << 32) + 5)

/** The most spaces that a context's addresses are valid in. */
#define UMEM_SPACES_MAX 4

/** How a device likes its bytes moved; 0 and NULL say nothing. */
struct umemLimits {
  size_t size;        /**< As the library knows it: write no more. */
  size_t chunk;       /**< Bytes that one call of a copy should move at most. */
  size_t alignment;   /**< Calls are slow if host memory lies 1 to this many
                           bytes, less one, ahead of the address modulo 4096. */
  unsigned lanes;     /**< Threads that move one range faster than one does. */
  unsigned waits;     /**< 1: a call waits for the device more than it uses a
                           CPU, so that threads are worth while on one CPU. */
  unsigned declines;  /**< 1: copy_peer() would decline such a copy. */
  unsigned copies;    /**< 1: its own read() is the best way to host memory,
                           even where it can be viewed. */
  char const *method; /**< What moves the bytes, for people: "pread". */
  unsigned whole;     /**< 1: a call shares its work with threads by itself.
                           Host memory is given to it in one piece, whatever
                           `chunk` and `lanes` say. */
};

/** Rows of equal length. All rows of a side lie in its range, in order: a row
    starts a pitch behind the one before, and a pitch is at least a row. */
struct umemRows {
  size_t row_bytes, rows;       /**< At least 1 and 2. */
  size_t src_pitch, dest_pitch; /**< Bytes. */
};

/** Blocks outlive the context: umem_dtor() reports live ones as leaked, and
    leaves them alone. */
#define UMEM_CAP_BLOCKS_OUTLIVE ((uint32_t)1 << 0)
/** free() judges addresses itself and alloc() honours every alignment: the
    library keeps no registry of blocks. */
#define UMEM_CAP_OWN_REGISTRY ((uint32_t)1 << 1)
/** A view is the memory itself: view_begin() gives `adr` as a pointer. The
    library may then write parts of a view and leave the rest as it is. Without
    this a view may be a copy, which view_end() writes back as a whole. */
#define UMEM_CAP_VIEWS_IN_PLACE ((uint32_t)1 << 2)
/** Bytes that check() allows may be missing, as past the end of a file: read()
    tells. umem_connect() and umem_sync_to(), which need not copy within one
    space, read the last byte of a range first. */
#define UMEM_CAP_MAY_END ((uint32_t)1 << 3)

/** Bytes of a handle that are the kind's own. */
#define UMEM_HANDLE_PAYLOAD 96

/** The methods of a kind. Optional ones may be NULL; groups are all or none. */
struct umemVtbl {
  size_t size;         /**< sizeof(struct umemVtbl). */
  umemDeviceType type; /**< Your number, from umemForeignDevice up. */
  uint32_t caps;       /**< UMEM_CAP_*. */
  char const *name;    /**< Bare name, for messages; borrowed for ever. */
  /** Every block's address is a multiple of this power of two; 0 means 1. */
  size_t fundamental_align;
  /** Largest alignment that alloc() honours; 0: only the fundamental one.
      The library over-allocates for larger ones. */
  size_t max_align;

  /** Give back all that the state holds, and the state. Blocks were freed. */
  umemStatusType (*dtor)(void *state, umemError *error);

  /** Reserve `nbytes` bytes, 0 included, at a multiple of `alignment`, which is
      0 for "as it comes" or a power of two up to `max_align`. Not 0, unless
      `alignment` is 0 and 0 is an address of the device; a block of 0 bytes
      there is no block: nothing is reserved, and it is never freed. */
  umemStatusType (*alloc)(void *state, size_t nbytes, size_t alignment,
                          uintptr_t *adr_out, umemError *error);

  /** Release a block of alloc() or calloc(). `nbytes` is what was asked for.
      It is gone whatever is returned. With UMEM_CAP_OWN_REGISTRY `adr` is what
      the user gave, 0 included, and `nbytes` is 0. */
  umemStatusType (*free)(void *state, uintptr_t adr, size_t nbytes,
                         umemError *error);

  /** Copy to host memory. On failure error->bytes_done bytes were copied. */
  umemStatusType (*read)(void *state, uintptr_t adr, void *out, size_t nbytes,
                         umemError *error);

  /** Copy from host memory. On failure error->bytes_done bytes were. */
  umemStatusType (*write)(void *state, uintptr_t adr, void const *in,
                          size_t nbytes, umemError *error);

  /** List the spaces that addresses are valid in, home first, and the qualities
      of the memory; always the same. Returns how many; 0 stands for a space of
      the context's own. `dest` may use an address of `src` as it is if every
      space of `dest` is in the list of `src`. */
  size_t (*spaces)(void *state, umemSpace out[UMEM_SPACES_MAX]);

  /* Optional from here. */

  /** May these bytes be accessed? Asked before any byte of a copy or set moves,
      for the first byte and then for all. With 0 bytes it is about the access
      alone: umemValueError where the right is missing. Default: yes. */
  umemStatusType (*check)(void *state, uintptr_t adr, size_t nbytes,
                          umemAccess access, umemError *error);

  /** alloc() with alignment 0, zeroed. Default: alloc() and writes. */
  umemStatusType (*calloc)(void *state, size_t nbytes, uintptr_t *adr_out,
                           umemError *error);

  /** Make what was written durable. Default: nothing to do. */
  umemStatusType (*flush)(void *state, umemError *error);

  /** Give up what dtor would publish. Default: umemNotImplementedError. */
  umemStatusType (*discard)(void *state, umemError *error);

  /** Copy between two states of one kind, as of can_reach; overlap as
      memmove(). May
      answer UMEM_DECLINED before it touches a byte. On failure
      error->bytes_done bytes were copied. Default: declined. */
  umemStatusType (*copy_peer)(void *src_state, uintptr_t src_adr,
                              void *dest_state, uintptr_t dest_adr,
                              size_t nbytes, umemError *error);

  /** Offer the range as host memory until view_end(), without any signal on
      access. All of a view for writing will be written, unless the call of the
      user fails, or the kind has UMEM_CAP_VIEWS_IN_PLACE. May answer
      UMEM_DECLINED. Default: declined. */
  umemStatusType (*view_begin)(void *state, uintptr_t adr, size_t nbytes,
                               umemAccess access, void **ptr_out,
                               umemError *error);

  /** End a view; what was written through it is then in place. */
  umemStatusType (*view_end)(void *state, void *ptr, size_t nbytes,
                             umemAccess access, umemError *error);

  /** Set bytes to `(unsigned char)c`. May answer UMEM_DECLINED before it
      touches a byte. On failure error->bytes_done bytes were set. Default:
      declined; through a view, or by writes. */
  umemStatusType (*set)(void *state, uintptr_t adr, int c, size_t nbytes,
                        umemError *error);

  /** How many bytes at `adr`, at most `nbytes`, are known to be zeros without
      reading them, and how many behind those are not? Default: 0 and all. */
  umemStatusType (*next_data)(void *state, uintptr_t adr, size_t nbytes,
                              size_t *zeros_out, size_t *data_out,
                              umemError *error);

  /** How is a copy of `nbytes` to or from `adr` best done? `access` is
     umemRead, umemWrite, or both or-ed together for copy_peer() to this state.
     `out` is all zeros. Default: nothing to say. */
  void (*limits)(void *state, unsigned access, uintptr_t adr, size_t nbytes,
                 struct umemLimits *out);

  /** Describe a range to another process, in `payload_out`, which is all zeros:
      see umem_export_handle(). With import_handle. Default:
      umemNotImplementedError. */
  umemStatusType (*export_handle)(
      void *state, uintptr_t adr, size_t nbytes,
      unsigned char payload_out[UMEM_HANDLE_PAYLOAD], umemError *error);

  /** Find that range. The payload may be anybody's: check all of it. */
  umemStatusType (*import_handle)(
      void *state, unsigned char const payload[UMEM_HANDLE_PAYLOAD],
      size_t nbytes, uintptr_t *adr_out, umemError *error);

  /** Memory to stage copies of this device through, which it reads and writes
      faster than other memory: `nbytes` bytes on whole pages. Asked for each
      lane of a copy, so keep what is given back. May answer UMEM_DECLINED. With
      stage_free. Default: declined; the library's own. */
  umemStatusType (*stage_alloc)(void *state, size_t nbytes, void **ptr_out,
                                umemError *error);

  /** Take it back. */
  void (*stage_free)(void *state, void *ptr, size_t nbytes);

  /** May `dest_state` use addresses of `state` as they are, although the lists
      of their spaces do not say so? Both states are of one kind: with this very
      type, copy_peer and can_reach. Default: no. */
  bool (*can_reach)(void *state, void *dest_state);

  /** Set bytes to 0, giving back the storage behind them as far as that can be:
      for zeros that were a hole in the source of a copy. Answers and failures
      as of set(). Default: declined; set(). */
  umemStatusType (*punch)(void *state, uintptr_t adr, size_t nbytes,
                          umemError *error);

  /** read() of rows; `out` is the first byte of the first row. Bytes between
      the rows are not written: they may be another thread's. May answer
      UMEM_DECLINED before it touches a byte. On failure error->bytes_done
      bytes of rows were copied. With write_2d. Default: declined; row by row,
      or with the bytes between them. */
  umemStatusType (*read_2d)(void *state, uintptr_t adr, void *out,
                            struct umemRows const *rows, umemError *error);

  /** write() of rows, likewise. Default: declined; row by row. */
  umemStatusType (*write_2d)(void *state, uintptr_t adr, void const *in,
                             struct umemRows const *rows, umemError *error);

  /** copy_peer() of rows, likewise. Where rows of one side overlap rows of the
      other, all are read before one of them is written: decline what cannot be
      done so. Default: declined; as between two kinds. */
  umemStatusType (*copy_peer_2d)(void *src_state, uintptr_t src_adr,
                                 void *dest_state, uintptr_t dest_adr,
                                 struct umemRows const *rows, umemError *error);
};

/**
 * Construct a context of your own kind.
 *
 * @param vtbl  Copied, and completed with defaults. A table without one of the
 *   required methods, without a name, with half a group (view_begin, view_end),
 *   with a type below umemForeignDevice, an alignment that is not a power of
 *   two, or a size that ends within a member is a umemValueError; one with
 *   methods newer than this library is a umemNotSupportedError.
 * @param state  Yours again if this fails; else given to `dtor` in the end.
 */
UMEM_API umemStatusType umemVirtual_ctor_ex(umemVirtual *ctx,
                                            struct umemVtbl const *vtbl,
                                            void *state);

/**
 * Fill in a failure, for use in methods; returns `type`.
 *
 * @param sys_errno  errno of the failing system call, or 0; its name and
 *   meaning are put in front of the text.
 * @param native  Your driver's code, or 0.
 * @param format  As for printf(). Say what was tried with which values, and
 *   put long strings last: the text is cut at the end.
 *
 * Sets error->bytes_done to 0.
 */
UMEM_API umemStatusType umem_error_fill(umemError *error, umemStatusType type,
                                        int sys_errno, int64_t native,
                                        char const *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 5, 6)))
#endif
    ;

#ifdef __cplusplus
}
#endif

#endif
