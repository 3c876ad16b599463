/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P6: copies that are staged through host memory, because neither side reaches
 * the other's: time against each leg alone and against reading and writing in
 * turn, and the memory that it takes.
 *
 * A leg alone is its device read or written by raw means, with the chunks that
 * the library used, from or to a single buffer. Legs are the processor (memory
 * without pointers, the page cache) or wait for something else (paced devices,
 * a disk).
 */
#define _GNU_SOURCE
#include "device.h"
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEQUENTIAL_CHUNK = 1 << 20, BUFFER = 16 << 20 };

/* --- ends ----------------------------------------------------------------- */

enum kind { CPU, PACED_2, PACED_6, PAGE_CACHE, DISK };

static char const *const kind_names[] = {
    [CPU] = "cpu",         [PACED_2] = "2 GB/s",     [PACED_6] = "6 GB/s",
    [PAGE_CACHE] = "File", [DISK] = "O_DIRECT File",
};
static double const kind_paces[] = {[PACED_2] = 2, [PACED_6] = 6, [DISK] = 0};

/* One side of a copy. */
struct end {
  enum kind kind;
  struct device device;
  umemFile file;
  char *path;
  int fd;
  size_t chunk; /* what the library moves at once */
};

static struct {
  struct end src, dest;
  size_t nbytes;
  unsigned char *buffer;
} work;

static bool is_file(struct end const *end) {
  return end->kind == PAGE_CACHE || end->kind == DISK;
}

static bool is_cpu(enum kind kind) {
  return kind == CPU || kind == PAGE_CACHE;
}

static void const *context(struct end const *end) {
  return is_file(end) ? (void const *)&end->file : (void const *)&end->device;
}

static uintptr_t address(struct end const *end, size_t at) {
  return is_file(end) ? at : DEVICE_BASE + at;
}

static void file_begin(struct end *end, char const *name, size_t size) {
  bool is_direct = end->kind == DISK;
  umemFileOptions options = {.size = sizeof options,
                             .flags = is_direct ? UMEM_FILE_DIRECT : 0};
  end->path = raw_path(bench_options.dir, name);
  raw_make_file(end->path, 0, size);
  if (is_direct)
    raw_drop_file(end->path);
  end->fd = raw_open(end->path, O_RDWR | (is_direct ? O_DIRECT : 0));
  bench_need_ok(umemFile_ctor_ex(&end->file, end->path, "r+", &options),
                &end->file);
}

static void end_begin(struct end *end, enum kind kind, char const *name) {
  size_t size = work.nbytes + RAW_SLACK;
  *end = (struct end){.kind = kind};
  if (is_file(end)) {
    file_begin(end, name, size);
  } else {
    device_begin(&end->device, size, kind_paces[kind]);
    raw_fill(end->device.bytes, 0, size);
  }
}

static void end_end(struct end *end) {
  if (!is_file(end)) {
    device_end(&end->device);
    return;
  }
  umem_dtor(&end->file);
  raw_close(end->fd);
  raw_remove(end->path);
  free(end->path);
}

static void end_read(struct end *end, size_t at, void *out, size_t nbytes) {
  if (is_file(end))
    raw_pread(end->fd, out, nbytes, at, 0);
  else
    device_read(&end->device, at, out, nbytes);
}

static void end_write(struct end *end, size_t at, void const *in,
                      size_t nbytes) {
  if (is_file(end))
    raw_pwrite(end->fd, in, nbytes, at, 0);
  else
    device_write(&end->device, at, in, nbytes);
}

/* --- sides ---------------------------------------------------------------- */

static void before(struct benchSide *side) {
  (void)side;
  if (work.dest.kind == PAGE_CACHE)
    raw_clean_file(work.dest.path);
}

static void ours(struct benchSide *side, size_t ncalls) {
  (void)ncalls;
  bench_need_ok(umem_copy_to(context(&work.src),
                             address(&work.src, raw_shift(side) + RAW_SHIFT),
                             context(&work.dest), address(&work.dest, 0),
                             work.nbytes),
                context(&work.dest));
}

static void after_ours(struct benchSide *side) {
  size_t const chunk = SEQUENTIAL_CHUNK;
  size_t at = raw_shift(side) + RAW_SHIFT;
  if (!is_file(&work.dest)) {
    raw_check(work.dest.device.bytes, at, work.nbytes, "staged copy");
    return;
  }
  for (size_t done = 0; done < work.nbytes; done += chunk) {
    raw_pread(work.dest.fd, work.buffer, chunk, done, 0);
    raw_check(work.buffer, at + done, chunk, "staged copy");
  }
}

static size_t next_chunk(size_t chunk, size_t done) {
  size_t left = work.nbytes - done;
  return chunk < left ? chunk : left;
}

static void leg_of_src(struct benchSide *side, size_t ncalls) {
  size_t length;
  (void)ncalls;
  for (size_t done = 0; done < work.nbytes; done += length) {
    length = next_chunk(work.src.chunk, done);
    end_read(&work.src, raw_shift(side) + done, work.buffer, length);
  }
}

/* Writes nonsense: what the library then copies cannot be there yet. */
static void leg_of_dest(struct benchSide *side, size_t ncalls) {
  size_t length;
  (void)side, (void)ncalls;
  for (size_t done = 0; done < work.nbytes; done += length) {
    length = next_chunk(work.dest.chunk, done);
    end_write(&work.dest, done, work.buffer, length);
  }
}

static void sequential(struct benchSide *side, size_t ncalls) {
  size_t length;
  (void)ncalls;
  for (size_t done = 0; done < work.nbytes; done += length) {
    length = next_chunk(SEQUENTIAL_CHUNK, done);
    end_read(&work.src, raw_shift(side) + done, work.buffer, length);
    end_write(&work.dest, done, work.buffer, length);
  }
}

/* --- the same by hand ----------------------------------------------------- */

enum { HAND_THREADS = 4 };

static struct {
  unsigned char *slots; /* a chunk for each thread */
  size_t shift;
  atomic_uint nthreads;
  atomic_size_t next;
} hand;

static void *hand_main(void *unused) {
  size_t const chunk = SEQUENTIAL_CHUNK;
  unsigned char *slot =
      hand.slots + chunk * atomic_fetch_add(&hand.nthreads, 1);
  size_t at;
  while ((at = atomic_fetch_add(&hand.next, chunk)) < work.nbytes) {
    end_read(&work.src, hand.shift + at, slot, next_chunk(chunk, at));
    end_write(&work.dest, at, slot, next_chunk(chunk, at));
  }
  return unused;
}

/* Threads that take chunks in turn: what there is to be had on this machine,
   whose CPUs also are the paced devices. */
static void by_hand(struct benchSide *side, size_t ncalls) {
  pthread_t threads[HAND_THREADS];
  (void)ncalls;
  hand.shift = raw_shift(side);
  hand.next = 0;
  hand.nthreads = 0;
  for (size_t i = 0; i < side->nthreads; i++)
    if (pthread_create(&threads[i], NULL, hand_main, NULL))
      bench_die("no thread");
  for (size_t i = 0; i < side->nthreads; i++)
    pthread_join(threads[i], NULL);
}

/* --- rows: time ----------------------------------------------------------- */

/* Watches the library copy once, to know what it moves at once. Of a file that
   cannot be seen: it is taken for what the other end gets. */
static void find_chunks(void) {
  struct benchSide side = {.before = before, .run = ours, .after = after_ours};
  size_t from, to;
  bench_time(&side, 1, 1);
  from = is_file(&work.src) ? 0 : work.src.device.largest_call;
  to = is_file(&work.dest) ? 0 : work.dest.device.largest_call;
  work.src.chunk = from ? from : to;
  work.dest.chunk = to ? to : from;
  if (!work.src.chunk || work.src.chunk > BUFFER || work.dest.chunk > BUFFER)
    bench_die("the library moves chunks of %zu and %zu bytes", work.src.chunk,
              work.dest.chunk);
}

static void row(char const *what, unsigned nthreads, double limit,
                bool against_slowest, struct benchSide *sides, size_t nsides) {
  bench_contest(&(struct benchContest){.goal = "P6",
                                       .what = what,
                                       .nbytes = work.nbytes,
                                       .nthreads = nthreads,
                                       .rule = BENCH_RATIO,
                                       .limit = limit,
                                       .sides = sides,
                                       .nsides = nsides,
                                       .against_slowest = against_slowest,
                                       .is_one_call = true});
}

static void pair_rows(enum kind from, enum kind to) {
  char what[64];
  struct benchSide const us = {
      .name = "umem", .before = before, .run = ours, .after = after_ours};
  struct benchSide legs[] = {
      us,
      {.name = "leg of source", .run = leg_of_src},
      {.name = "leg of dest.", .before = before, .run = leg_of_dest}};
  struct benchSide turns[] = {
      us, {.name = "read, then write", .before = before, .run = sequential}};
  struct benchSide threads[] = {
      us, {.name = "threads by hand", .before = before, .run = by_hand}};
  snprintf(what, sizeof what, "%s to %s", kind_names[from], kind_names[to]);
  if (!bench_wants("P6", what))
    return;
  end_begin(&work.src, from, "source");
  end_begin(&work.dest, to, "destination");
  bool is_all_cpu = is_cpu(from) && is_cpu(to);
  unsigned nthreads = is_all_cpu ? 2 : 0;
  threads[1].nthreads = is_all_cpu ? 2 : HAND_THREADS;
  bench_set_threads(is_all_cpu ? 2 : 4); /* some of which wait */
  find_chunks();
  row(what, nthreads, is_all_cpu ? 0.75 : 0.9, true, legs, BENCH_COUNT(legs));
  if (is_all_cpu)
    row(what, nthreads, 1.25, false, turns, BENCH_COUNT(turns));
  if (is_all_cpu || to == DISK)
    row(what, nthreads, 0.95, false, threads, BENCH_COUNT(threads));
  end_end(&work.src);
  end_end(&work.dest);
}

static void time_rows(void) {
  static enum kind const pairs[][2] = {{CPU, CPU},
                                       {CPU, PAGE_CACHE},
                                       {PAGE_CACHE, CPU},
                                       {PACED_2, CPU},
                                       {CPU, PACED_6},
                                       {PACED_2, PAGE_CACHE},
                                       {PACED_6, PAGE_CACHE},
                                       {PAGE_CACHE, PACED_2},
                                       {PAGE_CACHE, PACED_6},
                                       {PACED_2, PACED_6},
                                       {PACED_6, PACED_6},
                                       {PACED_2, DISK},
                                       {PACED_6, DISK}};
  for (size_t i = 0; i < BENCH_COUNT(pairs); i++) {
    bool needs_direct = pairs[i][1] == DISK;
    if (needs_direct && !raw_has_direct(bench_options.dir))
      bench_cannot("to O_DIRECT File", "the file system has no O_DIRECT");
    else
      pair_rows(pairs[i][0], pairs[i][1]);
  }
}

/* --- rows: memory --------------------------------------------------------- */

/* Reads every page that files are mapped to: those that the copy would be the
   first to need do not count as its memory. */
static void touch_programs(void) {
  FILE *maps = fopen("/proc/self/maps", "re");
  char line[4352], rights[8];
  unsigned long begin, end;
  if (!maps)
    bench_die("no /proc/self/maps");
  while (fgets(line, sizeof line, maps))
    if (sscanf(line, "%lx-%lx %7s", &begin, &end, rights) == 3 &&
        rights[0] == 'r' && strchr(line, '/'))
      for (; begin < end; begin += 4096)
        (void)*(char const volatile *)begin;
  fclose(maps);
}

static size_t status_value(char const *name) {
  FILE *status = fopen("/proc/self/status", "re");
  char line[128];
  size_t value = 0;
  while (status && fgets(line, sizeof line, status))
    if (strncmp(line, name, strlen(name)) == 0)
      value = strtoul(line + strlen(name), NULL, 10) * BENCH_KIB;
  if (status)
    fclose(status);
  if (!value)
    bench_die("/proc/self/status has no %s", name);
  return value;
}

/* Lets VmHWM start anew. */
static void reset_peak(void) {
  int fd = raw_open("/proc/self/clear_refs", O_WRONLY);
  if (write(fd, "5", 1) != 1)
    bench_die("cannot reset VmHWM: %s", strerror(errno));
  raw_close(fd);
}

/* Bytes of memory that copying took at its peak. */
static size_t peak_of_copy(void const *src, uintptr_t src_adr, void const *dest,
                           uintptr_t dest_adr, size_t nbytes) {
  touch_programs();
  reset_peak();
  size_t at_first = status_value("VmRSS:");
  bench_need_ok(umem_copy_to(src, src_adr, dest, dest_adr, nbytes), dest);
  size_t peak = status_value("VmHWM:");
  return peak > at_first ? peak - at_first : 0;
}

/* Sizes of which neither divides the other nor a chunk: what was put in the
   wrong place shows. */
enum { SRC_WINDOW = (3 << 20) + 4096, DEST_WINDOW = (5 << 20) + 3 * 4096 };

static size_t device_peak(size_t nbytes) {
  struct device src, dest;
  device_begin(&src, SRC_WINDOW, 0);
  device_begin(&dest, DEST_WINDOW, 0);
  raw_fill(src.bytes, 0, SRC_WINDOW);
  size_t peak =
      peak_of_copy(&src.ctx, DEVICE_BASE, &dest.ctx, DEVICE_BASE, nbytes);
  if (src.nbytes != nbytes || dest.nbytes != nbytes)
    bench_die("not all was copied");
  for (size_t at = nbytes - DEST_WINDOW; at < nbytes; at++)
    if (dest.bytes[at % DEST_WINDOW] != src.bytes[at % SRC_WINDOW])
      bench_die("wrong data");
  return peak;
}

static size_t file_peak(size_t nbytes) {
  umemFile src, dest;
  bench_need_ok(umemFile_ctor(&src, work.src.path, "r"), &src);
  bench_need_ok(umemFile_ctor(&dest, work.dest.path, "w"), &dest);
  size_t peak = peak_of_copy(&src, 0, &dest, 0, nbytes);
  bench_need_ok(umem_dtor(&dest), &dest);
  raw_check_file(work.dest.path, 0, nbytes);
  return peak;
}

/* In a process of its own, which has not used the library yet. */
static void peak_row(char const *what, size_t (*peak)(size_t nbytes),
                     size_t nbytes) {
  int ends[2], status;
  size_t value;
  if (pipe2(ends, O_CLOEXEC))
    bench_die("no pipe");
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    bench_set_threads(bench_ncores() > 1 ? 2 : 1);
    value = peak(nbytes);
    _exit(write(ends[1], &value, sizeof value) != sizeof value);
  }
  close(ends[1]);
  ssize_t length = read(ends[0], &value, sizeof value);
  raw_close(ends[0]);
  if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0 ||
      length != sizeof value)
    bench_die("\"%s\": the process that measures failed", what);
  bench_report(
      &(struct benchRow){.goal = "P6",
                         .what = what,
                         .nbytes = nbytes,
                         .unit = "MiB",
                         .cost = {.ours = (double)value / (double)BENCH_MIB},
                         .rule = BENCH_AT_MOST,
                         .limit = 8});
}

static void memory_rows(void) {
  size_t nbytes = bench_size(4 * BENCH_GIB, 256 * BENCH_MIB);
  if (bench_wants("P6", "memory, cpu to cpu"))
    peak_row("memory, cpu to cpu", device_peak, nbytes);
  if (!bench_wants("P6", "memory, File to File"))
    return;
  raw_need_room(bench_options.dir, 2 * nbytes + BENCH_GIB);
  raw_need_memory(2 * nbytes + BENCH_GIB);
  work.src.path = raw_path(bench_options.dir, "from");
  work.dest.path = raw_path(bench_options.dir, "to");
  raw_make_file(work.src.path, 0, nbytes);
  peak_row("memory, File to File", file_peak, nbytes);
  raw_remove(work.src.path);
  raw_remove(work.dest.path);
}

int main(int argc, char **argv) {
  bench_begin(argc, argv);
  work.nbytes = bench_size(256 * BENCH_MIB, 32 * BENCH_MIB);
  raw_need_memory(8 * work.nbytes);
  raw_need_room(bench_options.dir, 3 * work.nbytes);
  if (raw_is_in_memory(bench_options.dir))
    bench_die("\"%s\" is in memory: --dir must be on a disk",
              bench_options.dir);
  memory_rows(); /* as long as this process has not used the library either */
  work.buffer = raw_map_huge(BUFFER);
  raw_fill(work.buffer, 77, BUFFER);
  hand.slots = raw_map_huge(HAND_THREADS * SEQUENTIAL_CHUNK);
  time_rows();
  return bench_end();
}
