/* SPDX-License-Identifier: BSD-3-Clause */
/* Data, memory and files; see raw.h. The loops are in rawloops.c. */
#define _GNU_SOURCE /* O_TMPFILE and the like */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

/* --- data ----------------------------------------------------------------- */

/* The data repeat after a prime number of bytes, so that no chunk or shift is a
   multiple of it. */
enum { PERIOD = 1048573, FILES_MAX = 16, CHECK_CHUNK = 1 << 20 };
static unsigned char period[PERIOD];

static void fill_period(void) {
  uint64_t state = 88172645463325252;
  for (size_t i = 0; i < PERIOD; i++) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    period[i] = (unsigned char)(1 + (state >> 32) % 255);
  }
}

/* The piece of the period at `at`, and how many of `nbytes` bytes it has. */
static unsigned char const *piece(size_t at, size_t nbytes, size_t *length) {
  if (!period[0])
    fill_period();
  size_t start = at % PERIOD, left = PERIOD - start;
  *length = nbytes < left ? nbytes : left;
  return period + start;
}

size_t raw_shift(struct benchSide const *side) {
  return side->serial % RAW_SHIFTS * RAW_SHIFT;
}

void raw_fill(void *out, size_t at, size_t nbytes) {
  size_t length;
  for (size_t done = 0; done < nbytes; done += length) {
    unsigned char const *from = piece(at + done, nbytes - done, &length);
    memcpy((char *)out + done, from, length);
  }
}

void raw_check(void const *in, size_t at, size_t nbytes, char const *who) {
  size_t length;
  for (size_t done = 0; done < nbytes; done += length) {
    unsigned char const *from = piece(at + done, nbytes - done, &length);
    if (memcmp((char const *)in + done, from, length) != 0)
      bench_die("%s: wrong data in the %zu bytes after byte %zu", who, length,
                done);
  }
}

/* --- memory --------------------------------------------------------------- */

void raw_need_memory(size_t nbytes) {
  FILE *info = fopen("/proc/meminfo", "re");
  char line[128];
  size_t available = 0;
  while (info && !available && fgets(line, sizeof line, info))
    if (strncmp(line, "MemAvailable:", 13) == 0)
      available = strtoul(line + 13, NULL, 10) * BENCH_KIB;
  if (info)
    fclose(info);
  if (available < nbytes)
    bench_die("needs %zu MiB of memory, and %zu are available",
              nbytes / BENCH_MIB, available / BENCH_MIB);
}

static unsigned char *map(size_t nbytes) {
  void *block = mmap(NULL, nbytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED)
    bench_die("mmap of %zu bytes: %s", nbytes, strerror(errno));
  return block;
}

static void touch(unsigned char volatile *block, size_t nbytes) {
  for (size_t at = 0; at < nbytes; at += 4096)
    block[at] = 0;
}

unsigned char *raw_map(size_t nbytes) {
  unsigned char *block = map(nbytes);
  touch(block, nbytes);
  return block;
}

unsigned char *raw_map_huge(size_t nbytes) {
  size_t const huge = 2 * BENCH_MIB;
  unsigned char *block = map(nbytes + huge);
  size_t before = (size_t)(-(uintptr_t)block & (huge - 1));
  if (before)
    munmap(block, before);
  if (huge - before)
    munmap(block + before + nbytes, huge - before);
  if (madvise(block + before, nbytes, MADV_HUGEPAGE))
    bench_note("there are no huge pages for buffers");
  touch(block + before, nbytes);
  return block + before;
}

void raw_unmap(void *block, size_t nbytes) {
  munmap(block, nbytes);
}

static unsigned char *held;
static size_t held_size;

static unsigned char *take_pages(size_t nbytes) {
  unsigned char *block = map(nbytes);
  madvise(block, nbytes, MADV_HUGEPAGE);
  touch(block, nbytes);
  return block;
}

static void drop_held_pages(void) {
  if (held)
    raw_unmap(held, held_size);
  held = NULL;
  held_size = 0;
}

/* Twice as many, as the run may get others than these. They are free from here
   to raw_hold_pages() and no longer. */
void raw_warm_pages(size_t nbytes) {
  size_t wanted = 2 * nbytes;
  size_t more = held_size < wanted ? wanted - held_size : 0;
  unsigned char *block = more ? take_pages(more) : NULL;
  drop_held_pages();
  if (more)
    raw_unmap(block, more);
}

void raw_hold_pages(size_t nbytes) {
  drop_held_pages();
  held = take_pages(nbytes);
  held_size = nbytes;
}

/* --- files that go at the end --------------------------------------------- */

static char *files[FILES_MAX];
static pid_t owner; /* children leave them alone */

static void remove_files(void) {
  for (size_t i = 0; i < FILES_MAX; i++)
    if (files[i] && getpid() == owner)
      unlink(files[i]);
}

static void remove_and_die(int signal) {
  remove_files();
  _exit(128 + signal);
}

static void keep_for_the_end(char const *path) {
  static size_t nfiles;
  if (nfiles == FILES_MAX)
    bench_die("more than %d files", FILES_MAX);
  if (!owner) {
    int const ends[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    owner = getpid();
    atexit(remove_files);
    for (size_t i = 0; i < BENCH_COUNT(ends); i++)
      signal(ends[i], remove_and_die);
  }
  files[nfiles++] = strdup(path);
}

char *raw_path(char const *dir, char const *name) {
  char *path;
  if (asprintf(&path, "%s/umem-bench-%d-%s.tmp", dir, (int)getpid(), name) < 0)
    bench_die("no memory");
  keep_for_the_end(path);
  return path;
}

/* --- files ---------------------------------------------------------------- */

static _Noreturn void failed(char const *what, char const *path) {
  bench_die("%s \"%s\": %s", what, path, strerror(errno));
}

static struct statfs file_system(char const *dir) {
  struct statfs fs;
  if (statfs(dir, &fs))
    failed("statfs", dir);
  return fs;
}

void raw_need_room(char const *dir, size_t nbytes) {
  struct statfs fs = file_system(dir);
  size_t room = (size_t)fs.f_bavail * (size_t)fs.f_bsize;
  if (room < nbytes)
    bench_die("needs %zu MiB in \"%s\", and %zu are free", nbytes / BENCH_MIB,
              dir, room / BENCH_MIB);
}

bool raw_is_in_memory(char const *dir) {
  struct statfs fs = file_system(dir);
  return fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
}

int raw_open(char const *path, int flags) {
  int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd < 0)
    failed("open", path);
  return fd;
}

void raw_close(int fd) {
  if (close(fd))
    bench_die("close: %s", strerror(errno));
}

void raw_make_file(char const *path, size_t at, size_t nbytes) {
  unsigned char *chunk = raw_map(CHECK_CHUNK);
  int fd = raw_open(path, O_WRONLY | O_CREAT | O_TRUNC);
  for (size_t done = 0; done < nbytes; done += CHECK_CHUNK) {
    size_t left = nbytes - done;
    size_t length = left < CHECK_CHUNK ? left : CHECK_CHUNK;
    raw_fill(chunk, at + done, length);
    raw_pwrite(fd, chunk, length, done, 0);
  }
  if (fdatasync(fd))
    failed("fdatasync", path);
  raw_close(fd);
  raw_unmap(chunk, CHECK_CHUNK);
}

void raw_check_file(char const *path, size_t at, size_t nbytes) {
  unsigned char *chunk = raw_map(CHECK_CHUNK);
  int fd = raw_open(path, O_RDONLY);
  if (lseek(fd, 0, SEEK_END) != (off_t)nbytes)
    bench_die("\"%s\" has not %zu bytes", path, nbytes);
  for (size_t done = 0; done < nbytes; done += CHECK_CHUNK) {
    size_t left = nbytes - done;
    size_t length = left < CHECK_CHUNK ? left : CHECK_CHUNK;
    raw_pread(fd, chunk, length, done, 0);
    raw_check(chunk, at + done, length, path);
  }
  raw_close(fd);
  raw_unmap(chunk, CHECK_CHUNK);
}

void raw_clean_file(char const *path) {
  int fd = raw_open(path, O_WRONLY);
  if (fdatasync(fd))
    failed("fdatasync", path);
  raw_close(fd);
}

void raw_drop_file(char const *path) {
  raw_clean_file(path);
  int fd = raw_open(path, O_RDONLY);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  raw_close(fd);
}

void raw_remove(char const *path) {
  if (unlink(path) && errno != ENOENT)
    failed("unlink", path);
  char *copy = strdup(path);
  int fd = raw_open(dirname(copy), O_RDONLY | O_DIRECTORY);
  syncfs(fd);
  raw_close(fd);
  free(copy);
}
