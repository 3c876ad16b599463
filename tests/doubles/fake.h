/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fake device: a kind of context with memory of its own, written on
 * umem/backend.h alone. It is an example for people who write a backend, and
 * a double for tests: it fails where it is told to, writes down what is asked
 * of it, and finds fault with a library that breaks the contract.
 *
 *   struct fake device;
 *   umemVirtual ctx;
 *   assert_ok(fake_ctor(&ctx, &device, &(struct fakeConfig){.base = 0}));
 *   fake_fail(&device, FAKE_WRITE, &(struct fakeFault){.call = 2, ...});
 *   ...
 *   assert_ok(umem_dtor(&ctx));
 *   fake_end(&device);
 */
#ifndef UMEM_TESTS_FAKE_H
#define UMEM_TESTS_FAKE_H

#include <stdbool.h>

#include "umem/backend.h"

/** The kind of all fakes. */
#define FAKE_DEVICE ((umemDeviceType)(umemForeignDevice + 42))
/** Where the addresses of a fake start unless it is told otherwise. */
#define FAKE_BASE (UINTPTR_MAX / 4 + 1)
/** A base for fakes in which 0 is an address. */
#define FAKE_BASE_ZERO UINTPTR_MAX
/** What fresh memory is filled with, because it is not zeroed. */
#define FAKE_DIRT 0xDB

/** The methods, in the order of the table. */
enum fakeSlot {
  FAKE_DTOR,
  FAKE_ALLOC,
  FAKE_FREE,
  FAKE_READ,
  FAKE_WRITE,
  FAKE_SPACES,
  FAKE_CHECK,
  FAKE_CALLOC,
  FAKE_FLUSH,
  FAKE_DISCARD,
  FAKE_COPY_PEER,
  FAKE_VIEW_BEGIN,
  FAKE_VIEW_END,
  FAKE_SET,
  FAKE_NEXT_DATA,
  FAKE_LIMITS,
  FAKE_EXPORT_HANDLE,
  FAKE_IMPORT_HANDLE,
  FAKE_STAGE_ALLOC,
  FAKE_STAGE_FREE,
  FAKE_CAN_REACH,
  FAKE_SLOTS
};

/** All methods that a table may leave out. */
#define FAKE_OPTIONAL                                                          \
  (1u << FAKE_CHECK | 1u << FAKE_CALLOC | 1u << FAKE_FLUSH |                   \
   1u << FAKE_DISCARD | 1u << FAKE_COPY_PEER | FAKE_VIEWS | 1u << FAKE_SET |   \
   1u << FAKE_NEXT_DATA | 1u << FAKE_LIMITS)
/** The group of view_begin and view_end. */
#define FAKE_VIEWS (1u << FAKE_VIEW_BEGIN | 1u << FAKE_VIEW_END)

/** What a fake is like; 0 is the default of everything. */
struct fakeConfig {
  unsigned without;  /**< Bits 1 << slot: methods that the table leaves out. */
  unsigned declines; /**< Bits 1 << slot: optional ones that say "not me". */
  uint32_t caps;     /**< UMEM_CAP_*. */
  size_t fundamental_align; /**< As in the table. */
  size_t max_align;         /**< As in the table. */
  uintptr_t base;           /**< First address, or FAKE_BASE_ZERO. */
  size_t capacity;          /**< Bytes of memory; 0: 32 MiB. */
  struct fake *shares;      /**< Has the memory, and the space, of this one. */
  bool in_process;          /**< Its addresses are pointers, too. */
  bool sets;                /**< Has a `set`. */
  size_t hole;              /**< Has a `next_data`, which knows the zeros in
                                 whole pieces of so many bytes. */
  struct umemLimits limits; /**< Has `limits`, if any of them is set. */
  bool handles;             /**< Has handles: the address. */
  bool stages;              /**< Has memory to stage through. */
  bool reaches;             /**< Has a `can_reach`, which says yes. */
};

/** One scripted failure. */
struct fakeFault {
  unsigned call;       /**< The k-th call from now on; 0: never. */
  umemStatusType type; /**< What it returns. */
  int sys_errno;
  int64_t native;
  size_t moved; /**< Bytes that read, write, set, copy_peer or a view that
                     ends move before; all but the view tell how many. */
  bool silent;  /**< Against the contract: the error is not filled in. */
};

struct fakeBlock {
  uintptr_t adr;
  size_t nbytes;
  struct fake const *owner;
};

/** Host memory that stands for a range until the view ends. */
struct fakeView {
  struct fakeView *next;
  uintptr_t adr;
  size_t nbytes;
  umemAccess access;
  unsigned char *bytes;
};

struct fake {
  struct fakeConfig config;
  struct fake *memory; /**< Who has the memory: itself, or what it shares. */
  unsigned char *bytes;
  uintptr_t base;
  struct fakeBlock *blocks; /**< Live ones, by address. */
  size_t block_count;
  struct fakeView *views; /**< That have not ended. */
  struct fakeFault faults[FAKE_SLOTS];
  unsigned calls[FAKE_SLOTS]; /**< How often each method was called. */
  char log[1024];             /**< "check alloc write": see fake_log(). */
  char broken[256];           /**< First breach of the contract, or "". */
  unsigned destroyed;         /**< How often dtor was called. */
};

/** Initialise `device` and construct a context for it; NULL: all defaults. */
umemStatusType fake_ctor(umemVirtual *ctx, struct fake *device,
                         struct fakeConfig const *config);
/** The two halves of fake_ctor(), for tests of tables. */
void fake_init(struct fake *device, struct fakeConfig const *config);
struct umemVtbl fake_vtbl(struct fakeConfig const *config);

/** Have the fault's `call`-th call of a method from now on fail. */
void fake_fail(struct fake *device, enum fakeSlot slot,
               struct fakeFault const *fault);

/** The methods called since the last fake_forget(); spaces(), limits() and
    can_reach(), which only answer, are left out. */
char const *fake_log(struct fake const *device);
void fake_forget(struct fake *device);

/** Blocks of this device that are live. */
size_t fake_live(struct fake const *device);
/** The host memory behind an address. */
unsigned char *fake_at(struct fake const *device, uintptr_t adr);

/** Fail the test if the library broke the contract, or left a block, a view or
    the device behind; give back the memory. */
void fake_end(struct fake *device);
/** Only give back the memory. */
void fake_release(struct fake *device);

/** A fake and its context in one: constructed with an empty log; destroyed. */
struct fakeOne {
  struct fake device;
  umemVirtual ctx;
};
void fake_one_begin(struct fakeOne *one, struct fakeConfig const *config);
void fake_one_end(struct fakeOne *one);

/** The methods called since the last time. */
#define assert_log(device, expected)                                           \
  do {                                                                         \
    assert_string_equal(fake_log(device), expected);                           \
    fake_forget(device);                                                       \
  } while (0)

#endif
