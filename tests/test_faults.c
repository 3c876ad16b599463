/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sweep: small programs, of which every allocation and every system call
 * fails in every way, once and from then on. What must hold at each point:
 * the program succeeds and has done all it says, or it says which call failed,
 * with the code and errno of that failure and a true count of bytes; no
 * descriptor and no temporary file is left; and it succeeds when run again.
 */
#include "file_support.h"

#include <errno.h>

enum {
  MIB = 1 << 20,
  SMALL = 10000,
  LARGE = MIB + 5000, /* two chunks of a staged copy */
  PIECE = 64 << 10,   /* all that is large is so much, in a small world */
  LANES = 5 * PIECE + 13,
  BLOCK = 4 * MIB + 13, /* a large block of a Host */
  ROOM = 5 * MIB,
  SLOW_STEP = 7,      /* every so many points, where it is slow */
  COMPLAINTS_MAX = 30 /* that are printed */
};

/* What a program works with. "source" holds `in`, "target" holds "old". */
struct world {
  umemHost host, checked;
  umemFile f, g;
  int fd;
  char const *dest; /* the file that was opened last, if it has its name */
  size_t nbytes;
  umemStatusType status; /* of the first call that failed */
  umemError error;
};

struct scenario {
  char const *name;
  bool (*program)(struct world *w);
  bool (*result)(struct world const *w);
  size_t nbytes;
};

/* Where the sweep is. */
struct point {
  struct scenario const *scenario;
  enum fault_call call;
  unsigned k;
  int how;
  bool for_ever;
};

static struct point now;
static unsigned complaints;
static unsigned char in[ROOM], out[ROOM];

static void complain(char const *what, char const *more) {
  if (complaints++ < COMPLAINTS_MAX)
    print_error("%s, %s call %u, fault %d%s: %s %s\n", now.scenario->name,
                fault_name(now.call), now.k, now.how,
                now.for_ever ? " for ever" : "", what, more);
}

/* --- what a failure must say ---------------------------------------------- */

static bool is_allocation(enum fault_call call) {
  return call < FAULT_FIRST_SYSTEM_CALL;
}

/* Calls without which nothing becomes wrong, only slower. */
static bool is_helpful(enum fault_call call) {
  return is_allocation(call) && call >= FAULT_FIRST_HELPFUL_CALL;
}

static bool is_right_code(umemStatusType status, umemError const *error) {
  if (is_allocation(now.call))
    return status == umemMemoryError || error->sys_errno == ENOMEM;
  return status == umemIOError || status == umemMemoryError ||
         (now.call == FAULT_fcntl && status == umemValueError);
}

/* Checks one result in all three layers; goes on only after a success. */
static bool did(struct world *w, void const *ctx, umemStatusType status) {
  if (status == umemOK)
    return true;
  if (w->status != umemOK) /* only the first failure is ours */
    return false;
  w->status = status;
  w->error = last_error(ctx);
  if (is_helpful(now.call))
    complain("cannot do without:", w->error.text);
  if (w->error.type != status || umem_get_error_count(ctx) == 0)
    complain("not recorded in the context:", w->error.text);
  if (umem_get_status(ctx) != status || !umem_get_message(ctx)[0])
    complain("not told in the thread:", umem_get_message(ctx));
  if (!is_right_code(status, &w->error))
    complain("the wrong code:", w->error.text);
  if (now.how > 0 && w->error.sys_errno != now.how)
    complain("another errno:", w->error.text);
  return false;
}

/* Are the first bytes that a failed copy says it has done really done? */
static void check_bytes_done(struct world const *w, uintptr_t dest_adr,
                             bool to_file, unsigned char const *source,
                             size_t nbytes) {
  static unsigned char found[ROOM];
  size_t done = (size_t)w->error.bytes_done;
  unsigned char const *dest = (unsigned char const *)dest_adr;
  if (done > nbytes) {
    complain("more bytes done than there are:", w->error.text);
    return;
  }
  if (to_file && !w->dest)
    return;
  if (to_file) {
    int fd = open(temp_path(w->dest), O_RDONLY | O_CLOEXEC);
    if (pread(fd, found, done, (off_t)dest_adr) != (ssize_t)done)
      complain("bytes that were done are missing:", w->error.text);
    close(fd);
    dest = found;
  }
  if (memcmp(dest, source, done) != 0)
    complain("bytes that were done are wrong:", w->error.text);
}

/* --- the steps that programs are made of ---------------------------------- */

static bool opened_flagged(struct world *w, umemFile *f, char const *name,
                           char const *mode, uint32_t flags) {
  umemFileOptions options = {
      .size = sizeof options, .flags = flags, .fd = w->fd};
  w->dest = flags & UMEM_FILE_ATOMIC ? NULL : name;
  return did(w, f, umemFile_ctor_ex(f, temp_path(name), mode, &options));
}

static bool opened(struct world *w, umemFile *f, char const *name,
                   char const *mode) {
  return opened_flagged(w, f, name, mode, 0);
}

/* `in` to the File at `at`. */
static bool written(struct world *w, umemFile *f, uintptr_t at) {
  bool done =
      did(w, f, umem_copy_to(&w->host, (uintptr_t)in, f, at, w->nbytes));
  if (!done)
    check_bytes_done(w, at, true, in, w->nbytes);
  return done;
}

/* The File at `at`, where `source` is, to `out`. */
static bool read_back(struct world *w, umemFile *f, uintptr_t at,
                      unsigned char const *source) {
  bool done =
      did(w, f, umem_copy_from(&w->host, (uintptr_t)out, f, at, w->nbytes));
  if (!done)
    check_bytes_done(w, (uintptr_t)out, false, source, w->nbytes);
  return done;
}

static bool allocated(struct world *w, void const *ctx, size_t nbytes,
                      uintptr_t *adr_out) {
  return did(w, ctx, umem_try_alloc(ctx, nbytes, adr_out));
}

static bool flushed(struct world *w, umemFile *f) {
  return did(w, f, umem_flush(f));
}

/* --- what programs should come to ----------------------------------------- */

static bool holds(char const *name, size_t at, unsigned char const *bytes,
                  size_t nbytes) {
  static unsigned char found[ROOM];
  if (!file_exists(temp_path(name)) || file_size(temp_path(name)) < at + nbytes)
    return false;
  file_get(temp_path(name), at, found, nbytes);
  return memcmp(found, bytes, nbytes) == 0;
}

static bool target_is_in(struct world const *w) {
  return holds("target", 0, in, w->nbytes) &&
         file_size(temp_path("target")) == w->nbytes;
}

static bool target_starts_with_in(struct world const *w) {
  return holds("target", 0, in, w->nbytes);
}

static bool target_has_in_appended(struct world const *w) {
  return holds("target", 0, (unsigned char const *)"old", 3) &&
         holds("target", 3, in, w->nbytes);
}

static bool target_is_old(struct world const *w) {
  (void)w;
  return holds("target", 0, (unsigned char const *)"old", 3) &&
         file_size(temp_path("target")) == 3;
}

static bool new_is_in(struct world const *w) {
  return holds("new", 0, in, w->nbytes);
}

static bool out_is_in(struct world const *w) {
  return memcmp(out, in, w->nbytes) == 0;
}

static bool out_is_in_from_777(struct world const *w) {
  return memcmp(out, in + 777, w->nbytes) == 0;
}

static bool done_is_enough(struct world const *w) {
  (void)w;
  return true;
}

/* --- programs: constructors ----------------------------------------------- */

static bool reads_r(struct world *w) {
  return opened(w, &w->f, "source", "r") && read_back(w, &w->f, 0, in);
}

static bool reads_r_in_the_middle(struct world *w) {
  return opened(w, &w->f, "source", "rb") && read_back(w, &w->f, 777, in + 777);
}

static bool rewrites_r_plus(struct world *w) {
  return opened(w, &w->f, "target", "r+") && written(w, &w->f, 0) &&
         flushed(w, &w->f);
}

static bool writes_w(struct world *w) {
  return opened(w, &w->f, "target", "w") && written(w, &w->f, 0);
}

static bool writes_and_reads_w_plus(struct world *w) {
  return opened(w, &w->f, "target", "w+") && written(w, &w->f, 0) &&
         read_back(w, &w->f, 0, in);
}

static bool creates(struct world *w) {
  return opened(w, &w->f, "new", "w") && written(w, &w->f, 0) &&
         flushed(w, &w->f) && flushed(w, &w->f);
}

static bool creates_exclusively(struct world *w) {
  return opened_flagged(w, &w->f, "new", "a+",
                        UMEM_FILE_EXCL | UMEM_FILE_NOFOLLOW) &&
         written(w, &w->f, 0);
}

static bool appends_a(struct world *w) {
  uintptr_t adr;
  return opened(w, &w->f, "target", "a") &&
         allocated(w, &w->f, w->nbytes, &adr) && written(w, &w->f, adr);
}

static bool appends_a_plus(struct world *w) {
  return opened(w, &w->f, "target", "a+") && written(w, &w->f, 3) &&
         read_back(w, &w->f, 3, in);
}

static bool takes_a_descriptor(struct world *w) {
  w->fd = open(temp_path("target"), O_RDWR | O_CLOEXEC);
  if (!opened_flagged(w, &w->f, "target", "w+", UMEM_FILE_TAKE_FD)) {
    close(w->fd);
    return false;
  }
  return written(w, &w->f, 0);
}

/* --- programs: links ------------------------------------------------------ */

/* "ways/two" is a link to a link to "target", "ways/none" one to "new". */
static void links_make(void) {
  assert_int_equal(mkdir(temp_path("ways"), 0700), 0);
  assert_int_equal(symlink("../target", temp_path("ways/one")), 0);
  assert_int_equal(symlink("one", temp_path("ways/two")), 0);
  assert_int_equal(symlink("../new", temp_path("ways/none")), 0);
}

static bool writes_through_links(struct world *w) {
  return opened(w, &w->f, "ways/two", "w") && written(w, &w->f, 0) &&
         flushed(w, &w->f);
}

static bool creates_through_a_link(struct world *w) {
  return opened(w, &w->f, "ways/none", "w") && written(w, &w->f, 0) &&
         flushed(w, &w->f);
}

/* --- programs: atomic files ----------------------------------------------- */

static bool replaced(struct world *w, char const *name) {
  return opened_flagged(w, &w->f, name, "w", UMEM_FILE_ATOMIC) &&
         did(w, &w->f,
             umem_copy_to(&w->host, (uintptr_t)in, &w->f, 0, w->nbytes));
}

static bool replaces(struct world *w) {
  return replaced(w, "target");
}

static bool replaces_through_links(struct world *w) {
  return replaced(w, "ways/two");
}

static bool replaces_after_a_flush(struct world *w) {
  return replaces(w) && flushed(w, &w->f);
}

static bool publishes_a_new_name(struct world *w) {
  return opened_flagged(w, &w->f, "new", "w+",
                        UMEM_FILE_ATOMIC | UMEM_FILE_EXCL) &&
         written(w, &w->f, 0);
}

static bool discards(struct world *w) {
  return replaces(w) && did(w, &w->f, umem_discard(&w->f));
}

/* --- programs: blocks ----------------------------------------------------- */

static bool allocates(struct world *w) {
  uintptr_t adr, other;
  return opened(w, &w->f, "target", "w+") &&
         allocated(w, &w->f, w->nbytes, &adr) && written(w, &w->f, adr) &&
         allocated(w, &w->f, 10, &other) &&
         did(w, &w->f, umem_free(&w->f, adr));
}

static bool allocates_in_slices(struct world *w) {
  uintptr_t adr;
  return opened(w, &w->f, "target", "w+") &&
         allocated(w, &w->f, 5 * MIB, &adr) && written(w, &w->f, adr);
}

static bool allocates_and_frees_many(struct world *w) {
  uintptr_t adr[12];
  bool ok = opened(w, &w->f, "target", "w+");
  for (size_t i = 0; ok && i < 12; i++)
    ok = allocated(w, &w->f, 10 + i, &adr[i]);
  for (size_t i = 0; ok && i < 12; i += 2)
    ok = did(w, &w->f, umem_free(&w->f, adr[i]));
  return ok && allocated(w, &w->f, 15, &adr[0]);
}

static bool allocates_aligned(struct world *w) {
  uintptr_t adr;
  return opened(w, &w->f, "target", "w+") &&
         did(w, &w->f, umem_try_aligned_alloc(&w->f, 4096, 8192, &adr)) &&
         did(w, &w->f, umem_try_aligned_alloc(&w->f, 64, 0, &adr)) &&
         did(w, &w->f, umem_try_free_aligned(&w->f, adr, NULL)) &&
         written(w, &w->f, 0);
}

static bool callocs_reused_bytes(struct world *w) {
  uintptr_t adr;
  memset(in, 0, w->nbytes); /* that is what is to be found */
  return opened(w, &w->f, "target", "w+") &&
         allocated(w, &w->f, w->nbytes, &adr) &&
         did(w, &w->f, umem_try_set(&w->f, adr, 'x', w->nbytes)) &&
         did(w, &w->f, umem_free(&w->f, adr)) &&
         did(w, &w->f, umem_try_calloc(&w->f, 1, w->nbytes, &adr)) &&
         did(w, &w->f, umem_try_calloc(&w->f, 1, 100, &adr));
}

static bool hands_out_in_r(struct world *w) {
  uintptr_t adr;
  return opened(w, &w->f, "source", "r") &&
         allocated(w, &w->f, w->nbytes, &adr) &&
         read_back(w, &w->f, adr, in + adr);
}

static bool allocates_on_hosts(struct world *w) {
  uintptr_t adr;
  umemHost *hosts[] = {&w->host, &w->checked};
  bool ok = true;
  for (size_t i = 0; ok && i < 2; i++)
    ok = allocated(w, hosts[i], w->nbytes, &adr) &&
         did(w, hosts[i], umem_free(hosts[i], adr)) &&
         did(w, hosts[i], umem_try_calloc(hosts[i], 10, 10, &adr)) &&
         did(w, hosts[i], umem_free(hosts[i], adr)) &&
         did(w, hosts[i], umem_try_aligned_alloc(hosts[i], 64, 128, &adr)) &&
         did(w, hosts[i], umem_try_free_aligned(hosts[i], adr, NULL));
  return ok;
}

/* --- programs: copies ----------------------------------------------------- */

static bool copies_file_to_file(struct world *w) {
  bool ok = opened(w, &w->f, "source", "r") && opened(w, &w->g, "target", "r+");
  if (!ok || did(w, &w->g, umem_copy_to(&w->f, 0, &w->g, 0, w->nbytes)))
    return ok;
  check_bytes_done(w, 0, true, in, w->nbytes);
  return false;
}

static bool copies_safely(struct world *w) {
  uintptr_t adr;
  return opened(w, &w->f, "target", "w+") &&
         allocated(w, &w->f, w->nbytes, &adr) &&
         did(w, &w->f,
             umem_copy_to_safe(&w->host, (uintptr_t)in, w->nbytes, &w->f, adr,
                               w->nbytes, w->nbytes));
}

/* Moves `in` within the target from one place to another over itself. */
static bool moved(struct world *w, umemFile *from, umemFile *to, uintptr_t src,
                  uintptr_t dest) {
  bool ok = written(w, from, src);
  ok = ok && did(w, to, umem_copy_to(from, src, to, dest, w->nbytes));
  if (w->status != umemOK && strstr(w->error.text, "umem_copy_to(source File"))
    if (w->error.bytes_done != 0)
      complain("bytes done where ranges overlap:", w->error.text);
  return ok;
}

static bool moves_down(struct world *w) {
  return opened(w, &w->f, "target", "w+") && moved(w, &w->f, &w->f, 100, 0);
}

static bool moves_up(struct world *w) {
  return opened(w, &w->f, "target", "w+") && moved(w, &w->f, &w->f, 0, 3);
}

static bool target_has_in_at_3(struct world const *w) {
  return holds("target", 3, in, w->nbytes);
}

static bool moves_across_two_contexts(struct world *w) {
  return opened(w, &w->f, "target", "w+") && opened(w, &w->g, "target", "r+") &&
         moved(w, &w->f, &w->g, 100, 0);
}

static bool sets(struct world *w) {
  memset(in, 'x', w->nbytes);
  bool ok = opened(w, &w->f, "target", "w+");
  if (!ok || did(w, &w->f, umem_try_set(&w->f, 0, 'x', w->nbytes)))
    return ok;
  check_bytes_done(w, 0, true, in, w->nbytes);
  return false;
}

/* Over bytes that are there, and then past their end. */
static bool sets_zero(struct world *w) {
  memset(in, 0, w->nbytes);
  if (!opened(w, &w->f, "target", "r+") ||
      !did(w, &w->f, umem_try_set(&w->f, 0, 'x', w->nbytes)))
    return false;
  for (size_t at = 0; at <= PIECE; at += PIECE)
    if (!did(w, &w->f, umem_try_set(&w->f, at, 0, w->nbytes))) {
      check_bytes_done(w, at, true, in, w->nbytes);
      return false;
    }
  return true;
}

static bool target_is_zero(struct world const *w) {
  return holds("target", 0, in, w->nbytes) &&
         holds("target", PIECE, in, w->nbytes) &&
         file_size(temp_path("target")) == w->nbytes + PIECE;
}

/* By two lanes, which wait for the disk. */
static bool writes_direct_in_lanes(struct world *w) {
  return opened_flagged(w, &w->f, "target", "w+", UMEM_FILE_DIRECT) &&
         written(w, &w->f, 0);
}

static bool reads_in_lanes(struct world *w) {
  return opened(w, &w->f, "source", "r") && read_back(w, &w->f, 0, in);
}

static bool copies_to_a_fresh_block(struct world *w) {
  uintptr_t adr;
  bool ok = allocated(w, &w->host, w->nbytes, &adr);
  ok = ok &&
       did(w, &w->host,
           umem_copy_to(&w->host, (uintptr_t)in, &w->host, adr, w->nbytes));
  if (ok && memcmp((void const *)adr, in, w->nbytes) != 0)
    complain("the block is not", "a copy");
  return did(w, &w->host, ok ? umem_free(&w->host, adr) : umemOK) && ok;
}

static bool writes_direct(struct world *w) {
  return opened_flagged(w, &w->f, "target", "w+", UMEM_FILE_DIRECT) &&
         written(w, &w->f, 0) && flushed(w, &w->f);
}

static bool reads_direct(struct world *w) {
  return opened_flagged(w, &w->f, "source", "r", UMEM_FILE_DIRECT) &&
         did(w, &w->f,
             umem_copy_to(&w->f, 1, &w->host, (uintptr_t)out + 1,
                          w->nbytes - 1)) &&
         did(w, &w->f, umem_copy_to(&w->f, 0, &w->host, (uintptr_t)out, 4096));
}

/* --- programs: mirrors ---------------------------------------------------- */

static bool connected(struct world *w, void const *src, uintptr_t src_adr,
                      void const *dest, size_t alignment, uintptr_t *adr_out) {
  return did(
      w, dest,
      umem_try_connect(src, src_adr, w->nbytes, dest, alignment, adr_out));
}

static bool hands_over(struct world *w) {
  unsigned char handle[UMEM_HANDLE_MAX];
  size_t length = sizeof handle, nbytes;
  uintptr_t adr;
  return opened(w, &w->f, "source", "r") && opened(w, &w->g, "source", "r") &&
         did(w, &w->f,
             umem_export_handle(&w->f, 0, w->nbytes, handle, &length)) &&
         did(w, &w->g,
             umem_import_handle(&w->g, handle, length, &adr, &nbytes)) &&
         read_back(w, &w->g, adr, in);
}

static bool mirrors_host_in_file(struct world *w) {
  uintptr_t adr, at = (uintptr_t)in;
  return opened(w, &w->f, "target", "w+") &&
         connected(w, &w->host, at, &w->f, 0, &adr) &&
         did(w, &w->f, umem_sync_to(&w->host, at, &w->f, adr, w->nbytes)) &&
         did(w, &w->f, umem_disconnect(&w->host, at, &w->f, adr, 0));
}

static bool mirrors_file_in_host(struct world *w) {
  uintptr_t adr = 0;
  if (!opened(w, &w->f, "source", "r") ||
      !connected(w, &w->f, 0, &w->checked, 64, &adr))
    return false;
  memcpy(out, (void const *)adr, w->nbytes);
  return did(w, &w->f, umem_sync_from(&w->checked, adr, &w->f, 0, w->nbytes)) &&
         did(w, &w->checked, umem_disconnect(&w->f, 0, &w->checked, adr, 64));
}

static bool mirrors_file_in_file(struct world *w) {
  uintptr_t adr;
  return opened(w, &w->f, "source", "r") && opened(w, &w->g, "target", "w+") &&
         connected(w, &w->f, 0, &w->g, 0, &adr);
}

/* Data, a hole, data, and a hole at the end. */
static void source_make_holes(void) {
  int fd = open(temp_path("source"), O_RDWR | O_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, 0), 0);
  memset(in + PIECE, 0, 2 * PIECE);
  memset(in + 4 * PIECE, 0, LANES - 4 * PIECE);
  assert_int_equal(pwrite(fd, in, PIECE, 0), PIECE);
  assert_int_equal(pwrite(fd, in + 3 * PIECE, PIECE, 3 * PIECE), PIECE);
  assert_int_equal(ftruncate(fd, LANES), 0);
  close(fd);
}

static bool copies_holes(struct world *w) {
  source_make_holes();
  return copies_file_to_file(w);
}

static struct scenario const scenarios[] = {
    {"reads r", reads_r, out_is_in, SMALL},
    {"reads in the middle", reads_r_in_the_middle, out_is_in_from_777, SMALL},
    {"rewrites r+", rewrites_r_plus, target_starts_with_in, SMALL},
    {"writes w", writes_w, target_is_in, SMALL},
    {"writes and reads w+", writes_and_reads_w_plus, out_is_in, SMALL},
    {"creates", creates, new_is_in, SMALL},
    {"creates exclusively", creates_exclusively, new_is_in, SMALL},
    {"appends a", appends_a, target_has_in_appended, SMALL},
    {"appends a+", appends_a_plus, target_has_in_appended, SMALL},
    {"takes a descriptor", takes_a_descriptor, target_is_in, SMALL},
    {"writes through links", writes_through_links, target_is_in, SMALL},
    {"creates through a link", creates_through_a_link, new_is_in, SMALL},
    {"replaces through links", replaces_through_links, target_is_in, SMALL},
    {"replaces", replaces, target_is_in, SMALL},
    {"replaces after a flush", replaces_after_a_flush, target_is_in, SMALL},
    {"publishes a new name", publishes_a_new_name, new_is_in, SMALL},
    {"discards", discards, target_is_old, SMALL},
    {"allocates", allocates, target_starts_with_in, SMALL},
    {"allocates in slices", allocates_in_slices, target_starts_with_in, SMALL},
    {"allocates and frees many", allocates_and_frees_many, done_is_enough, 1},
    {"allocates aligned", allocates_aligned, target_starts_with_in, SMALL},
    {"callocs reused bytes", callocs_reused_bytes, target_starts_with_in,
     SMALL},
    {"hands out in r", hands_out_in_r, out_is_in, SMALL},
    {"allocates on hosts", allocates_on_hosts, done_is_enough, SMALL},
    {"copies file to file", copies_file_to_file, target_is_in, LARGE},
    {"copies safely", copies_safely, target_is_in, SMALL},
    {"moves down", moves_down, target_starts_with_in, LARGE},
    {"moves up", moves_up, target_has_in_at_3, LARGE},
    {"moves across two contexts", moves_across_two_contexts,
     target_starts_with_in, SMALL},
    {"sets", sets, target_is_in, LARGE},
    {"writes direct", writes_direct, target_is_in, SMALL},
    {"reads direct", reads_direct, out_is_in, 3 * 4096},
    {"hands over", hands_over, out_is_in, SMALL},
    {"mirrors host in file", mirrors_host_in_file, target_is_in, SMALL},
    {"mirrors file in host", mirrors_file_in_host, out_is_in, SMALL},
    {"mirrors file in file", mirrors_file_in_file, target_is_in, SMALL},
    {"copies to a fresh block", copies_to_a_fresh_block, done_is_enough, BLOCK},
};

/* With thresholds that are PIECE: the ways of large copies. */
static struct scenario const lower_scenarios[] = {
    {"copies in lanes", copies_file_to_file, target_is_in, LANES},
    {"reads in lanes", reads_in_lanes, out_is_in, LANES},
    {"writes direct in lanes", writes_direct_in_lanes, target_is_in, LANES},
    {"writes what grows", writes_w, target_is_in, LANES},
    {"copies holes", copies_holes, target_is_in, LANES},
    {"sets zero", sets_zero, target_is_zero, LANES},
};

enum {
  SCENARIOS = sizeof scenarios / sizeof *scenarios,
  LOWER_SCENARIOS = sizeof lower_scenarios / sizeof *lower_scenarios
};

/* --- one point ------------------------------------------------------------ */

/* O_DIRECT is asked for, and not taken: not all file systems have it. */
static int (*counted_open)(char const *, int, ...);

static int open_without_direct(char const *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  va_end(more);
  return counted_open(path, flags & ~O_DIRECT, mode);
}

/* What is a megabyte or several becomes a PIECE. */
static void thresholds_lower(bool lower) {
  static struct umemiTuning usual;
  struct umemiTuning *t = &umemi_tuning_values;
  if (usual.slot == 0)
    usual = *umemi_tuning();
  umemi_slots_drop(); /* of the other size */
  *t = usual;
  if (!lower)
    return;
  t->lanes_from = 2 * PIECE;
  t->slot = t->host_piece = t->read_piece = t->direct_piece = PIECE;
  t->reserve_from = t->zero_from = t->sparse_from = t->reflink_from = PIECE;
}

static void world_prepare(struct world *w, struct scenario const *scenario) {
  umemi_slots_drop();
  memset(w, 0, sizeof *w);
  w->nbytes = scenario->nbytes;
  memset(out, 0, w->nbytes);
  file_put(temp_path("target"), "old", 3);
  unlink(temp_path("new"));
}

/* Runs the program to its end; true if every call succeeded. */
static bool world_run(struct world *w, struct scenario const *scenario) {
  umemHostOptions checked = {.size = sizeof checked, .checked = 1};
  bool ok = did(w, &w->host, umemHost_ctor(&w->host)) &&
            did(w, &w->checked, umemHost_ctor_ex(&w->checked, &checked)) &&
            scenario->program(w);
  ok &= did(w, &w->f, umem_dtor(&w->f));
  ok &= did(w, &w->g, umem_dtor(&w->g));
  bool leaks = w->status != umemOK; /* of a program that was cut off */
  ok &= did(w, &w->checked, umem_dtor(&w->checked)) || leaks;
  ok &= did(w, &w->host, umem_dtor(&w->host));
  umem_clean_status(&w->f);
  umem_clean_status(&w->g);
  umem_clean_status(&w->checked);
  return ok;
}

/* Calls that are to be resumed when they are interrupted. */
static bool resumes(enum fault_call call) {
  static enum fault_call const calls[] = {
      FAULT_open,   FAULT_openat,    FAULT_close,     FAULT_pread,
      FAULT_pwrite, FAULT_ftruncate, FAULT_fallocate, FAULT_fstatvfs,
      FAULT_fsync,  FAULT_fdatasync};
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
    if (calls[i] == call)
      return true;
  return false;
}

static void point_check(struct world const *w, bool ok, int descriptors) {
  if (ok && !now.scenario->result(w))
    complain("succeeded, but did not do it", "");
  if (!ok && w->status == umemOK)
    complain("failed without a failure", "");
  if (!ok && now.how == EINTR && resumes(now.call))
    complain("not resumed:", w->error.text);
  if (open_descriptors() != descriptors)
    complain("lost a descriptor", "");
  int names = 3 + file_exists(temp_path("new"));
  bool left = names_in(temp_dir()) != names || names_in(temp_path("ways")) != 3;
  if (left && now.call != FAULT_unlinkat)
    complain("left a temporary file:", w->error.text);
}

/* What a failed removal left is removed, as a user would. */
static void temporary_files_remove(void) {
  DIR *list = opendir(temp_dir());
  assert_non_null(list);
  for (struct dirent *e = readdir(list); e; e = readdir(list))
    if (strstr(e->d_name, ".tmp"))
      unlinkat(dirfd(list), e->d_name, 0);
  closedir(list);
}

static void point_run(struct point point) {
  struct world w;
  int descriptors = open_descriptors();
  now = point;
  world_prepare(&w, point.scenario);
  faults_clear();
  if (point.for_ever)
    faults_fail_from(point.call, point.k, point.how);
  else
    faults_fail(point.call, point.k, point.how);
  bool ok = world_run(&w, point.scenario);
  faults_clear();
  point_check(&w, ok, descriptors);
  temporary_files_remove();
  world_prepare(&w, point.scenario);
  if (!world_run(&w, point.scenario) || !point.scenario->result(&w))
    complain("does not succeed afterwards:", w.error.text);
}

/* --- all points ----------------------------------------------------------- */

static size_t points, points_seen;

static void point_visit(struct point point) {
  if (points_seen++ % scaled(1, SLOW_STEP))
    return;
  point_run(point);
  points++;
}

/* The k-th call fails in every way. */
static void sweep_call(struct point point) {
  static int const errors[] = {EINTR,  EIO,    ENOSPC, EDQUOT,
                               EMFILE, ENOMEM, EFBIG,  EAGAIN};
  static int const shorts[] = {FAULT_ONE_BYTE, FAULT_HALF, FAULT_NOTHING};
  bool moves = point.call == FAULT_pread || point.call == FAULT_pwrite;
  for (size_t i = 0; i < 16; i++) {
    point.how = errors[i / 2];
    point.for_ever = i % 2;
    if (!point.for_ever || point.how != EINTR) /* which would never end */
      point_visit(point);
  }
  for (size_t i = 0; moves && i < 6; i++) {
    point.how = shorts[i / 2];
    point.for_ever = i % 2;
    if (!point.for_ever || point.how != FAULT_ONE_BYTE ||
        point.scenario->nbytes < 100)
      point_visit(point);
  }
}

static void sweep_scenario(struct scenario const *scenario) {
  unsigned counts[FAULT_CALL_COUNT];
  struct world w;
  now = (struct point){.scenario = scenario};
  random_bytes(in, sizeof in, 1);
  file_put(temp_path("source"), in, scenario->nbytes + 1000);
  world_prepare(&w, scenario);
  faults_clear();
  if (!world_run(&w, scenario) || !scenario->result(&w))
    complain("does not succeed without faults:", w.error.text);
  for (unsigned call = 0; call < FAULT_CALL_COUNT; call++)
    counts[call] = faults_count((enum fault_call)call);
  for (unsigned call = 0; call < FAULT_CALL_COUNT; call++)
    for (unsigned k = 1; k <= counts[call]; k++) {
      struct point point = {scenario, (enum fault_call)call, k, ENOMEM, false};
      if (!is_allocation(point.call)) {
        sweep_call(point);
        continue;
      }
      point_visit(point);
      point.for_ever = true;
      point_visit(point);
    }
}

static void sweep_scenarios(struct scenario const *list, size_t count) {
  for (size_t i = 0; i < count; i++) {
    umemi_os.rungs_off = 0;
    sweep_scenario(&list[i]);
    umemi_os.rungs_off = 1u << umemSourceViewRung | 1u << umemDestViewRung;
    sweep_scenario(&list[i]); /* staged, where it was not */
  }
}

static void sweep__every_call_fails_in_every_way(void **state) {
  (void)state;
  counted_open = umemi_os.open;
  umemi_os.open = open_without_direct;
  assert_ok(umem_set_threads(3));
  links_make();
  sweep_scenarios(scenarios, SCENARIOS);
  thresholds_lower(true);
  sweep_scenarios(lower_scenarios, LOWER_SCENARIOS);
  thresholds_lower(false);
  print_message("%d scenarios, %zu points, %u complaints\n",
                SCENARIOS + LOWER_SCENARIOS, points, complaints);
  assert_int_equal(complaints, 0);
  assert_true(points_seen > 3000);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(sweep__every_call_fails_in_every_way),
  };
  if (access("/dev/shm", W_OK) == 0) /* quicker, and fsync() costs nothing */
    setenv("TMPDIR", "/dev/shm", 0);
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
