/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A failure in each method of a backend: the status, the text and the number of
 * bytes that the user is told, and a context that works on.
 */
#include <errno.h>
#include <string.h>

#include "doubles/fake.h"
#include "support.h"

enum { MIB = 1 << 20, CODE = 719 };

/* --- a failure in each method -------------------------------------------- */

/* A fake with two blocks, and host memory. */
struct world {
  struct fakeOne one;
  umemHost host;
  uintptr_t src, dest, ram; /* FAULTY bytes each */
  uintptr_t in;             /* the source of the copy that is tried */
  unsigned char *from, *to; /* the bytes of a copy that is tried */
};

enum { FAULTY = MIB + 1000 };

typedef umemStatusType action(struct world *w);

/* The action fails with the fault's code, and works when it is tried again. */
struct fault_row {
  char const *what;
  action *act;
  unsigned without;
  enum fakeSlot slot;
  unsigned call;
  size_t moved;
  uint64_t done;
  char const *begins; /* the message */
  char const *side;   /* the text behind call and values */
};

static umemStatusType act_alloc(struct world *w) {
  uintptr_t adr;
  umemStatusType status = umem_try_alloc(&w->one.ctx, 100, &adr);
  if (status == umemOK)
    assert_ok(umem_free(&w->one.ctx, adr));
  return status;
}

static umemStatusType act_calloc(struct world *w) {
  uintptr_t adr;
  umemStatusType status = umem_try_calloc(&w->one.ctx, FAULTY, 1, &adr);
  if (status == umemOK)
    assert_ok(umem_free(&w->one.ctx, adr));
  return status;
}

static umemStatusType act_aligned_alloc(struct world *w) {
  uintptr_t adr;
  umemStatusType status = umem_try_aligned_alloc(&w->one.ctx, 64, 128, &adr);
  if (status == umemOK)
    assert_ok(umem_free(&w->one.ctx, adr));
  return status;
}

static umemStatusType act_free(struct world *w) {
  return umem_free(&w->one.ctx, umem_alloc(&w->one.ctx, 100));
}

static umemStatusType act_set(struct world *w) {
  memset(w->from, 'x', FAULTY);
  w->to = fake_at(&w->one.device, w->dest);
  return umem_try_set(&w->one.ctx, w->dest, 'x', FAULTY);
}

static umemStatusType act_host_to_fake(struct world *w) {
  w->to = fake_at(&w->one.device, w->dest);
  return umem_copy_to(&w->host, w->ram, &w->one.ctx, w->dest, FAULTY);
}

static umemStatusType act_fake_to_host(struct world *w) {
  memcpy(fake_at(&w->one.device, w->src), w->from, FAULTY);
  w->to = (unsigned char *)w->ram + FAULTY;
  return umem_copy_from(&w->host, w->ram + FAULTY, &w->one.ctx, w->src, FAULTY);
}

static umemStatusType act_fake_to_fake(struct world *w) {
  memcpy(fake_at(&w->one.device, w->src), w->from, FAULTY);
  w->to = fake_at(&w->one.device, w->dest);
  return umem_copy_to(&w->one.ctx, w->src, &w->one.ctx, w->dest, FAULTY);
}

static umemStatusType act_overlap(struct world *w) {
  return umem_copy_to(&w->one.ctx, w->src, &w->one.ctx, w->src + 1, FAULTY - 1);
}

static umemStatusType act_flush(struct world *w) {
  return umem_flush(&w->one.ctx);
}

static umemStatusType act_discard(struct world *w) {
  return umem_discard(&w->one.ctx);
}

static umemStatusType act_connect(struct world *w) {
  uintptr_t adr = 1;
  umemStatusType status =
      umem_try_connect(&w->host, w->ram, 100, &w->one.ctx, 64, &adr);
  if (status == umemOK)
    assert_ok(umem_disconnect(&w->host, w->ram, &w->one.ctx, adr, 64));
  else
    assert_true(adr == 1);
  return status;
}

static umemStatusType act_connect_from(struct world *w) {
  uintptr_t adr = 1;
  umemStatusType status =
      umem_try_connect(&w->one.ctx, w->src, 100, &w->host, 0, &adr);
  if (status == umemOK)
    assert_ok(umem_disconnect(&w->one.ctx, w->src, &w->host, adr, 0));
  return status;
}

static umemStatusType act_disconnect(struct world *w) {
  uintptr_t adr = umem_connect(&w->host, w->ram, 100, &w->one.ctx, 0);
  return umem_disconnect(&w->host, w->ram, &w->one.ctx, adr, 0);
}

#define PEER (1u << FAKE_COPY_PEER)
#define NO_SET (1u << FAKE_SET)
#define BARE                                                                   \
  (PEER | FAKE_VIEWS | 1u << FAKE_CALLOC | NO_SET | 1u << FAKE_NEXT_DATA)
#define SPARSE (PEER | FAKE_VIEWS)
#define SRC "): source Fake: the fake's "
#define DEST "): destination Fake: the fake's "
#define ALONE "): the fake's "
#define TO_FAKE "umem_copy_to(source Host 0x"
#define FROM_FAKE "umem_copy_from(source Fake 0x"
#define INSIDE "umem_copy_to(source Fake 0x"

static struct fault_row const fault_rows[] = {
    {"alloc", act_alloc, 0, FAKE_ALLOC, 1, 0, 0,
     "umem_try_alloc(Fake, 100 bytes", ALONE "alloc failed with code 719"},
    {"aligned_alloc", act_aligned_alloc, 0, FAKE_ALLOC, 1, 0, 0,
     "umem_try_aligned_alloc(Fake, alignment 64, 128 bytes", ALONE "alloc"},
    {"calloc", act_calloc, 0, FAKE_CALLOC, 1, 0, 0,
     "umem_try_calloc(Fake, 1049576 * 1 bytes", ALONE "calloc"},
    {"calloc by alloc", act_calloc, BARE, FAKE_ALLOC, 1, 0, 0,
     "umem_try_calloc(Fake, ", ALONE "alloc"},
    {"calloc by write", act_calloc, BARE, FAKE_WRITE, 2, 5, 0,
     "umem_try_calloc(Fake, ", ALONE "write"},
    {"calloc by view", act_calloc, 1u << FAKE_CALLOC | NO_SET, FAKE_VIEW_END, 1,
     5, 0, "umem_try_calloc(Fake, ", ALONE "view_end"},
    {"calloc by set", act_calloc, 1u << FAKE_CALLOC, FAKE_SET, 1, 5, 0,
     "umem_try_calloc(Fake, ", ALONE "set"},
    {"free", act_free, 0, FAKE_FREE, 1, 0, 0, "umem_free(Fake 0x",
     ALONE "free failed"},
    {"check before set", act_set, 0, FAKE_CHECK, 1, 0, 0,
     "umem_try_set(Fake 0x", ALONE "check"},
    {"check of the whole", act_set, 0, FAKE_CHECK, 2, 0, 0,
     "umem_try_set(Fake 0x", ALONE "check"},
    {"set by write", act_set, BARE, FAKE_WRITE, 1, 17, 17,
     "umem_try_set(Fake 0x", ", value 120, 1049576 bytes" ALONE "write"},
    {"set by second write", act_set, BARE, FAKE_WRITE, 2, 999, MIB + 999,
     "umem_try_set(Fake 0x", ALONE "write"},
    {"set", act_set, 0, FAKE_SET, 1, 17, 17, "umem_try_set(Fake 0x",
     ALONE "set"},
    {"set by view, begin", act_set, NO_SET, FAKE_VIEW_BEGIN, 1, 0, 0,
     "umem_try_set(Fake 0x", ALONE "view_begin"},
    {"set by view, end", act_set, NO_SET, FAKE_VIEW_END, 1, 17, 0,
     "umem_try_set(Fake 0x", ALONE "view_end"},
    {"check of a source", act_fake_to_host, 0, FAKE_CHECK, 1, 0, 0, FROM_FAKE,
     SRC "check"},
    {"check of a destination", act_host_to_fake, 0, FAKE_CHECK, 2, 0, 0,
     TO_FAKE, DEST "check"},
    {"check of the second", act_fake_to_fake, 0, FAKE_CHECK, 2, 0, 0, INSIDE,
     DEST "check"},
    {"check of all of the first", act_fake_to_fake, 0, FAKE_CHECK, 3, 0, 0,
     INSIDE, SRC "check"},
    {"check of all of the second", act_fake_to_fake, 0, FAKE_CHECK, 4, 0, 0,
     INSIDE, DEST "check"},
    {"write from a view", act_host_to_fake, PEER, FAKE_WRITE, 1, 1001, 1001,
     TO_FAKE, DEST "write"},
    {"write from host", act_host_to_fake, BARE, FAKE_WRITE, 1, FAULTY, FAULTY,
     TO_FAKE, DEST "write"},
    {"read to a view of host", act_fake_to_host, BARE, FAKE_READ, 1, 1001, 1001,
     FROM_FAKE, SRC "read"},
    {"source view, begin", act_fake_to_host, PEER, FAKE_VIEW_BEGIN, 1, 0, 0,
     FROM_FAKE, SRC "view_begin"},
    {"source view, end", act_fake_to_host, PEER, FAKE_VIEW_END, 1, 0, 0,
     FROM_FAKE, SRC "view_end"},
    {"source view, write", act_fake_to_fake, PEER, FAKE_WRITE, 1, 7, 7, INSIDE,
     DEST "write"},
    {"copy_peer", act_fake_to_fake, 0, FAKE_COPY_PEER, 1, 12345, 12345, INSIDE,
     ALONE "copy_peer"},
    {"staged probe", act_fake_to_fake, BARE, FAKE_READ, 1, 1, 0, INSIDE,
     SRC "read"},
    {"staged, look for data", act_fake_to_fake, SPARSE, FAKE_NEXT_DATA, 1, 0, 0,
     INSIDE, SRC "next_data"},
    {"staged read", act_fake_to_fake, BARE, FAKE_READ, 2, 5, 0, INSIDE,
     SRC "read"},
    {"staged second read", act_fake_to_fake, BARE, FAKE_READ, 3, 5, MIB, INSIDE,
     SRC "read"},
    {"staged write", act_fake_to_fake, BARE, FAKE_WRITE, 1, 5, 5, INSIDE,
     DEST "write"},
    {"staged second write", act_fake_to_fake, BARE, FAKE_WRITE, 2, 5, MIB + 5,
     INSIDE, DEST "write"},
    {"overlap, second read", act_overlap, BARE, FAKE_READ, 2, 5, 0, INSIDE,
     SRC "read"},
    {"overlap, second write", act_overlap, BARE, FAKE_WRITE, 2, 5, 0, INSIDE,
     DEST "write"},
    {"overlap by copy_peer", act_overlap, 0, FAKE_COPY_PEER, 1, 5, 0, INSIDE,
     ALONE "copy_peer"},
    {"flush", act_flush, 0, FAKE_FLUSH, 1, 0, 0, "umem_flush(Fake",
     ALONE "flush"},
    {"discard", act_discard, 0, FAKE_DISCARD, 1, 0, 0, "umem_discard(Fake",
     ALONE "discard"},
    {"connect, alloc", act_connect, 0, FAKE_ALLOC, 1, 0, 0,
     "umem_try_connect(source Host 0x", DEST "alloc"},
    {"connect, first copy", act_connect, 0, FAKE_WRITE, 1, 50, 0,
     "umem_try_connect(source Host 0x", DEST "write"},
    {"connect, source", act_connect_from, 0, FAKE_CHECK, 1, 0, 0,
     "umem_try_connect(source Fake 0x", SRC "check"},
    {"connect, read", act_connect_from, BARE, FAKE_READ, 1, 9, 0,
     "umem_try_connect(source Fake 0x", SRC "read"},
    {"disconnect, free", act_disconnect, 0, FAKE_FREE, 1, 0, 0,
     "umem_disconnect(source Host 0x", DEST "free"},
};

static void world_begin(struct world *w, unsigned without) {
  fake_one_begin(&w->one, &(struct fakeConfig){
                              .without = without, .sets = true, .hole = 4096});
  assert_ok(umemHost_ctor(&w->host));
  assert_true((w->src = umem_alloc(&w->one.ctx, FAULTY)) != 0);
  assert_true((w->dest = umem_alloc(&w->one.ctx, FAULTY)) != 0);
  assert_true((w->ram = umem_alloc(&w->host, (size_t)2 * FAULTY)) != 0);
  w->from = (unsigned char *)w->ram;
  w->to = w->from;
  random_bytes(w->from, (size_t)2 * FAULTY, without);
}

static void world_end(struct world *w) {
  assert_ok(umem_free(&w->host, w->ram));
  assert_ok(umem_dtor(&w->host));
  assert_ok(umem_free(&w->one.ctx, w->src));
  fake_one_end(&w->one); /* and with it the other block */
}

static void world_check_failure(struct world *w, struct fault_row const *row) {
  umemError error = last_error(&w->one.ctx);
  char const *message = umem_get_message(&w->one.ctx);
  assert_has(message, row->begins);
  assert_ptr_equal(strstr(message, row->begins), message);
  assert_has(message, row->side);
  assert_string_equal(error.text, message);
  assert_int_equal(error.native, CODE);
  assert_int_equal(error.bytes_done, row->done);
  assert_memory_equal(w->to, w->from, row->done);
  assert_int_equal(umem_get_error_count(&w->one.ctx), 1);
  assert_int_equal(fake_live(&w->one.device), 2);
  assert_null(w->one.device.views);
}

static void a_fault__is_told_and_the_call_can_be_tried_again(void **state) {
  struct fault_row const *row = *state;
  struct world w;
  world_begin(&w, row->without);
  fake_fail(&w.one.device, row->slot,
            &(struct fakeFault){.call = row->call,
                                .type = umemIOError,
                                .native = CODE,
                                .moved = row->moved});
  assert_status(row->act(&w), umemIOError);
  world_check_failure(&w, row);
  assert_ok(umem_clean_status(&w.one.ctx));
  assert_ok(row->act(&w));
  assert_true(umem_is_ok(&w.one.ctx));
  world_end(&w);
}

/* The k-th call of a method fails as a driver does. */
static void fail_once(struct fakeOne *one, enum fakeSlot slot, unsigned call) {
  fake_fail(&one->device, slot,
            &(struct fakeFault){
                .call = call, .type = umemRuntimeError, .native = CODE});
}

static void free__that_the_device_fails_is_never_tried_again(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, NULL);
  uintptr_t adr = umem_alloc(&one.ctx, 10);
  fail_once(&one, FAKE_FREE, 1);
  assert_fails(&one.ctx, umem_free(&one.ctx, adr), umemRuntimeError, "free");
  assert_fails(&one.ctx, umem_free(&one.ctx, adr), umemValueError,
               "is not a live block");
  assert_int_equal(one.device.calls[FAKE_FREE], 1);
  fake_one_end(&one);
}

static void disconnect__that_the_device_fails_has_disconnected(void **state) {
  (void)state;
  struct world w;
  world_begin(&w, 0);
  uintptr_t adr = umem_connect(&w.host, w.ram, 10, &w.one.ctx, 0);
  fail_once(&w.one, FAKE_FREE, 1);
  assert_fails(&w.one.ctx, umem_disconnect(&w.host, w.ram, &w.one.ctx, adr, 0),
               umemRuntimeError, "destination Fake: the fake's free");
  assert_fails(&w.one.ctx, umem_disconnect(&w.host, w.ram, &w.one.ctx, adr, 0),
               umemValueError, "not connected");
  assert_int_equal(w.one.device.calls[FAKE_FREE], 1);
  world_end(&w);
}

static void copy__whose_write_and_view_end_fail_tells_the_first(void **state) {
  (void)state;
  struct world w;
  world_begin(&w, PEER);
  fail_once(&w.one, FAKE_WRITE, 1);
  fail_once(&w.one, FAKE_VIEW_END, 1);
  assert_fails(&w.one.ctx, act_fake_to_fake(&w), umemRuntimeError,
               DEST "write");
  assert_int_equal(umem_get_error_count(&w.one.ctx), 1);
  world_end(&w);
}

/* And a source that offers no view; returns 10 bytes of it. */
static uintptr_t world_begin_with(struct world *w, struct fakeOne *src) {
  world_begin(w, 0);
  fake_one_begin(src, &(struct fakeConfig){.without = BARE});
  return umem_alloc(&src->ctx, 10);
}

static void copy__to_a_view_that_fails_at_its_end_has_done_nothing(void **s) {
  (void)s;
  struct world w;
  struct fakeOne src;
  uintptr_t adr = world_begin_with(&w, &src);
  for (unsigned both = 0; both < 2; both++) {
    fail_once(&w.one, FAKE_VIEW_END, 1);
    fake_fail(
        &src.device, FAKE_READ,
        &(struct fakeFault){.call = both, .type = umemIOError, .moved = 5});
    umemStatusType expected = both ? umemIOError : umemRuntimeError;
    assert_status(umem_copy_to(&src.ctx, adr, &w.one.ctx, w.dest, 10),
                  expected);
    assert_slot(&w.one.ctx, expected,
                both ? SRC "read" : DEST "view_end failed with code 719");
    assert_int_equal(last_error(&src.ctx).bytes_done, 0);
  }
  fake_one_end(&src);
  world_end(&w);
}

static void copy__to_a_view_that_cannot_begin_blames_the_destination(void **s) {
  (void)s;
  struct world w;
  struct fakeOne src;
  uintptr_t adr = world_begin_with(&w, &src);
  fail_once(&w.one, FAKE_VIEW_BEGIN, 1);
  assert_fails(&src.ctx, umem_copy_to(&src.ctx, adr, &w.one.ctx, w.dest, 10),
               umemRuntimeError, DEST "view_begin");
  assert_int_equal(src.device.calls[FAKE_READ], 0);
  fake_one_end(&src);
  world_end(&w);
}

static void an_errno_of_a_method__is_told_with_its_name(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, NULL);
  fake_fail(
      &one.device, FAKE_FLUSH,
      &(struct fakeFault){.call = 1, .type = umemIOError, .sys_errno = EIO});
  errno = ENOENT;
  assert_status(umem_flush(&one.ctx), umemIOError);
  assert_int_equal(errno, ENOENT);
  assert_int_equal(last_error(&one.ctx).sys_errno, EIO);
  assert_slot(&one.ctx, umemIOError, "umem_flush(Fake): EIO (5) ");
  fake_one_end(&one);
}

/* --- backends that break the contract ------------------------------------- */

/* Which action meets which method first; without what. */
static struct {
  enum fakeSlot slot;
  action *act;
  unsigned without;
  char const *name;
} const first_met[] = {
    {FAKE_ALLOC, act_alloc, 0, "alloc"},
    {FAKE_FREE, act_free, 0, "free"},
    {FAKE_READ, act_fake_to_host, BARE, "read"},
    {FAKE_WRITE, act_host_to_fake, BARE, "write"},
    {FAKE_CHECK, act_set, 0, "check"},
    {FAKE_CALLOC, act_calloc, 0, "calloc"},
    {FAKE_FLUSH, act_flush, 0, "flush"},
    {FAKE_DISCARD, act_discard, 0, "discard"},
    {FAKE_COPY_PEER, act_fake_to_fake, 0, "copy_peer"},
    {FAKE_VIEW_BEGIN, act_set, NO_SET, "view_begin"},
    {FAKE_VIEW_END, act_set, NO_SET, "view_end"},
    {FAKE_SET, act_set, 0, "set"},
    {FAKE_NEXT_DATA, act_fake_to_fake, SPARSE, "next_data"},
};

/* The first call of each method fails in this way. */
static void breach_everywhere(struct fakeFault fault, umemStatusType expected,
                              char const *text) {
  fault.call = 1;
  for (size_t i = 0; i < sizeof first_met / sizeof *first_met; i++) {
    struct world w;
    char whole[128];
    snprintf(whole, sizeof whole, "%s() of the Fake backend %s",
             first_met[i].name, text);
    world_begin(&w, first_met[i].without);
    fake_fail(&w.one.device, first_met[i].slot, &fault);
    assert_fails(&w.one.ctx, first_met[i].act(&w), expected, whole);
    assert_int_equal(last_error(&w.one.ctx).bytes_done, 0);
    assert_ok(first_met[i].act(&w));
    world_end(&w);
  }
}

static void a_backend__that_gives_no_reason_is_named(void **state) {
  (void)state;
  breach_everywhere((struct fakeFault){.type = umemIOError, .silent = true},
                    umemIOError, "gave no reason");
}

static void a_backend__that_returns_no_status_is_named(void **state) {
  (void)state;
  breach_everywhere(
      (struct fakeFault){.type = (umemStatusType)99, .silent = true},
      umemRuntimeError, "returned 99, which is not a status");
  breach_everywhere((struct fakeFault){.type = (umemStatusType)-1},
                    umemRuntimeError, "returned -1, which is not a status");
}

static void a_required_method__cannot_decline(void **state) {
  (void)state;
  struct world w;
  world_begin(&w, BARE);
  fake_fail(
      &w.one.device, FAKE_WRITE,
      &(struct fakeFault){.call = 1, .type = UMEM_DECLINED, .silent = true});
  assert_fails(&w.one.ctx, act_host_to_fake(&w), umemRuntimeError,
               "write() of the Fake backend returned 15");
  world_end(&w);
}

static void a_backend__whose_dtor_gives_no_reason_is_named(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, NULL);
  fake_fail(
      &one.device, FAKE_DTOR,
      &(struct fakeFault){.call = 1, .type = umemIOError, .silent = true});
  assert_fails(&one.ctx, umem_dtor(&one.ctx), umemIOError,
               "umem_dtor(Fake): dtor() of the Fake backend gave no reason");
  fake_end(&one.device);
}

/* Fail, and say to have moved more than there was to move. */
static umemStatusType boast(size_t nbytes, umemError *error) {
  umem_error_fill(error, umemIOError, 0, CODE, "boasting");
  error->bytes_done = nbytes + 100;
  return umemIOError;
}

static umemStatusType boasting_read(void *state, uintptr_t adr, void *out,
                                    size_t nbytes, umemError *error) {
  (void)state, (void)adr;
  memset(out, 'r', nbytes);
  return boast(nbytes, error);
}

static umemStatusType boasting_write(void *state, uintptr_t adr, void const *in,
                                     size_t nbytes, umemError *error) {
  (void)state, (void)adr, (void)in;
  return boast(nbytes, error);
}

static umemStatusType boasting_set(void *state, uintptr_t adr, int c,
                                   size_t nbytes, umemError *error) {
  (void)state, (void)adr, (void)c;
  return boast(nbytes, error);
}

static umemStatusType boasting_copy(void *src, uintptr_t src_adr, void *dest,
                                    uintptr_t dest_adr, size_t nbytes,
                                    umemError *error) {
  (void)src, (void)src_adr, (void)dest, (void)dest_adr;
  return boast(nbytes, error);
}

/* The range that a call was given, and no byte more, is what it has done. */
static void a_backend__that_says_it_did_more_than_all_did_all(void **state) {
  (void)state;
  enum { ROOM = 100000, ASKED = 50001 };
  struct fakeOne one;
  umemHost host;
  unsigned char *bytes = calloc(1, ROOM);
  assert_non_null(bytes);
  fake_init(&one.device, &(struct fakeConfig){.without = FAKE_VIEWS,
                                              .limits.alignment = 4096});
  struct umemVtbl vtbl = fake_vtbl(&one.device.config);
  vtbl.read = boasting_read;
  vtbl.write = boasting_write;
  vtbl.set = boasting_set;
  vtbl.copy_peer = boasting_copy;
  assert_ok(umemVirtual_ctor_ex(&one.ctx, &vtbl, &one.device));
  assert_ok(umemHost_ctor(&host));
  uintptr_t adr = umem_alloc(&one.ctx, ROOM), here = (uintptr_t)bytes;
  assert_status(umem_copy_to(&one.ctx, adr, &host, here, ASKED), umemIOError);
  assert_int_equal(last_error(&host).bytes_done, ASKED);
  assert_true(all_bytes_are(bytes, ASKED, 'r'));
  assert_true(all_bytes_are(bytes + ASKED, ROOM - ASKED, 0));
  assert_status(umem_copy_to(&host, here, &one.ctx, adr, ASKED), umemIOError);
  assert_int_equal(last_error(&host).bytes_done, ASKED);
  assert_status(umem_try_set(&one.ctx, adr, 0, ASKED), umemIOError);
  assert_int_equal(last_error(&one.ctx).bytes_done, ASKED);
  assert_status(umem_copy_to(&one.ctx, adr, &one.ctx, adr + ASKED, 40000),
                umemIOError);
  assert_int_equal(last_error(&one.ctx).bytes_done, 40000);
  fake_one_end(&one);
  assert_ok(umem_dtor(&host));
  free(bytes);
}

static umemStatusType stuck_alloc(void *state, size_t nbytes, size_t alignment,
                                  uintptr_t *adr_out, umemError *error) {
  (void)state, (void)nbytes, (void)alignment, (void)error;
  *adr_out = FAKE_BASE;
  return umemOK;
}

static umemStatusType stuck_free(void *state, uintptr_t adr, size_t nbytes,
                                 umemError *error) {
  (void)adr, (void)nbytes, (void)error;
  ((struct fake *)state)->calls[FAKE_FREE]++;
  return umemOK;
}

/* The block that is there stays what it is. */
static void a_backend__that_hands_out_an_address_twice_is_named(void **state) {
  (void)state;
  struct fakeOne one;
  fake_init(&one.device, NULL);
  struct umemVtbl vtbl = fake_vtbl(&one.device.config);
  vtbl.alloc = stuck_alloc;
  vtbl.free = stuck_free;
  assert_ok(umemVirtual_ctor_ex(&one.ctx, &vtbl, &one.device));
  assert_true(umem_alloc(&one.ctx, 10) == FAKE_BASE);
  assert_zero_fails(&one.ctx, umem_alloc(&one.ctx, 10), umemRuntimeError,
                    "which is in use already");
  assert_int_equal(one.device.calls[FAKE_FREE], 0);
  assert_ok(umem_free(&one.ctx, FAKE_BASE));
  assert_int_equal(one.device.calls[FAKE_FREE], 1);
  fake_one_end(&one);
}

/* --- destroying ----------------------------------------------------------- */

static void dtor__frees_what_is_left_and_then_the_state(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, NULL);
  umem_alloc(&one.ctx, 10);
  umem_aligned_alloc(&one.ctx, 64, 64);
  fake_forget(&one.device);
  assert_ok(umem_dtor(&one.ctx));
  assert_log(&one.device, "free free dtor");
  fake_end(&one.device);
}

static void dtor__that_fails_leaves_its_status_and_a_dead_context(void **s) {
  (void)s;
  struct fakeOne one;
  fake_one_begin(&one, NULL);
  uintptr_t adr = umem_alloc(&one.ctx, 10);
  assert_status(umem_free(&one.ctx, adr + 1), umemValueError);
  fail_once(&one, FAKE_DTOR, 1);
  assert_status(umem_dtor(&one.ctx), umemRuntimeError);
  assert_string_equal(umem_get_message(&one.ctx), /* the older one is gone */
                      "umem_dtor(Fake): the fake's dtor failed with code 719");
  assert_int_equal(last_error(&one.ctx).native, CODE);
  assert_slot(&one.ctx, umemRuntimeError, "dtor");
  assert_fails(&one.ctx, umem_flush(&one.ctx), umemTypeError,
               "context is dead: umem_dtor() was called");
  assert_ok(umem_dtor(&one.ctx));
  assert_true(umem_is_ok(&one.ctx));
  fake_end(&one.device);
}

static void dtor__tells_the_first_failure_and_does_the_rest(void **state) {
  (void)state;
  struct fakeOne one;
  fake_one_begin(&one, NULL);
  for (int i = 0; i < 3; i++)
    umem_alloc(&one.ctx, 10);
  fail_once(&one, FAKE_FREE, 2);
  fail_once(&one, FAKE_DTOR, 1);
  fake_forget(&one.device);
  assert_fails(&one.ctx, umem_dtor(&one.ctx), umemRuntimeError,
               "umem_dtor(Fake): the fake's free failed with code 719");
  assert_int_equal(umem_get_error_count(&one.ctx), 1);
  assert_log(&one.device, "free free free dtor");
  fake_end(&one.device);
}

static void dtor__with_mirrors_left_frees_them(void **state) {
  (void)state;
  struct world w;
  world_begin(&w, 0);
  assert_true(umem_connect(&w.host, w.ram, 100, &w.one.ctx, 0) != 0);
  assert_true(umem_connect(&w.host, w.ram, 100, &w.one.ctx, 64) != 0);
  assert_int_equal(fake_live(&w.one.device), 4);
  world_end(&w);
}

static int run_fault_rows(void) {
  enum { ROWS = sizeof fault_rows / sizeof *fault_rows };
  struct CMUnitTest tests[ROWS];
  for (size_t i = 0; i < ROWS; i++)
    tests[i] = (struct CMUnitTest){
        .name = fault_rows[i].what,
        .test_func = a_fault__is_told_and_the_call_can_be_tried_again,
        .initial_state = (void *)(uintptr_t)&fault_rows[i]};
  return _cmocka_run_group_tests("faults", tests, ROWS, NULL, NULL);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(free__that_the_device_fails_is_never_tried_again),
      cmocka_unit_test(disconnect__that_the_device_fails_has_disconnected),
      cmocka_unit_test(copy__whose_write_and_view_end_fail_tells_the_first),
      cmocka_unit_test(copy__to_a_view_that_fails_at_its_end_has_done_nothing),
      cmocka_unit_test(
          copy__to_a_view_that_cannot_begin_blames_the_destination),
      cmocka_unit_test(an_errno_of_a_method__is_told_with_its_name),
      cmocka_unit_test(dtor__frees_what_is_left_and_then_the_state),
      cmocka_unit_test(dtor__that_fails_leaves_its_status_and_a_dead_context),
      cmocka_unit_test(dtor__tells_the_first_failure_and_does_the_rest),
      cmocka_unit_test(dtor__with_mirrors_left_frees_them),
      cmocka_unit_test(a_backend__that_gives_no_reason_is_named),
      cmocka_unit_test(a_backend__that_returns_no_status_is_named),
      cmocka_unit_test(a_required_method__cannot_decline),
      cmocka_unit_test(a_backend__whose_dtor_gives_no_reason_is_named),
      cmocka_unit_test(a_backend__that_says_it_did_more_than_all_did_all),
      cmocka_unit_test(a_backend__that_hands_out_an_address_twice_is_named),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  return failed + run_fault_rows();
}
