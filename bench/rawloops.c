/* SPDX-License-Identifier: BSD-3-Clause */
/* The loops of system calls that the library is measured against. */
#define _GNU_SOURCE /* copy_file_range, O_DIRECT, pipe2 */
#include "raw.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>

/* Linux moves at most this much in one call. */
static size_t const call_max = 0x7ffff000;

static size_t call_size(size_t left, size_t chunk) {
  size_t most = chunk && chunk < call_max ? chunk : call_max;
  return left < most ? left : most;
}

/* How many bytes moved; a call that moves none would be made for ever. */
static size_t moved(ssize_t result, char const *what) {
  if (result <= 0)
    bench_die("%s: %s", what, result ? strerror(errno) : "moved nothing");
  return (size_t)result;
}

void raw_pread(int fd, void *out, size_t nbytes, size_t at, size_t chunk) {
  for (size_t done = 0; done < nbytes;)
    done += moved(pread(fd, (char *)out + done, call_size(nbytes - done, chunk),
                        (off_t)(at + done)),
                  "pread");
}

void raw_pwrite(int fd, void const *in, size_t nbytes, size_t at,
                size_t chunk) {
  for (size_t done = 0; done < nbytes;)
    done += moved(pwrite(fd, (char const *)in + done,
                         call_size(nbytes - done, chunk), (off_t)(at + done)),
                  "pwrite");
}

void raw_copy_file_range(int from, int to, size_t nbytes) {
  for (size_t done = 0; done < nbytes;)
    done += moved(
        copy_file_range(from, NULL, to, NULL, call_size(nbytes - done, 0), 0),
        "copy_file_range");
}

void raw_sendfile(int from, int to, size_t nbytes) {
  for (size_t done = 0; done < nbytes;)
    done += moved(sendfile(to, from, NULL, call_size(nbytes - done, 0)),
                  "sendfile");
}

void raw_read_write(int from, int to, size_t nbytes, void *buffer,
                    size_t chunk) {
  for (size_t done = 0; done < nbytes;) {
    size_t length =
        moved(read(from, buffer, call_size(nbytes - done, chunk)), "read");
    for (size_t out = 0; out < length;)
      out += moved(write(to, (char *)buffer + out, length - out), "write");
    done += length;
  }
}

/* --- past the page cache -------------------------------------------------- */

struct direct {
  struct rawDirect const *work;
  int fd;
  atomic_size_t next; /* byte that nobody moves yet */
};

static void *move_direct(void *argument) {
  struct direct *direct = argument;
  struct rawDirect const *work = direct->work;
  for (;;) {
    size_t at = atomic_fetch_add(&direct->next, work->chunk);
    if (at >= work->nbytes)
      return NULL;
    size_t left = work->nbytes - at;
    size_t length = left < work->chunk ? left : work->chunk;
    if (work->is_write)
      raw_pwrite(direct->fd, work->bytes + at, length, work->at + at, 0);
    else
      raw_pread(direct->fd, work->bytes + at, length, work->at + at, 0);
  }
}

void raw_direct(struct rawDirect const *work) {
  pthread_t threads[16];
  int access = work->is_write ? O_WRONLY : O_RDONLY;
  struct direct direct = {.work = work,
                          .fd = raw_open(work->path, O_DIRECT | access)};
  unsigned nhelpers = work->nthreads - 1;
  if (nhelpers > BENCH_COUNT(threads))
    bench_die("%u threads are too many", work->nthreads);
  for (unsigned i = 0; i < nhelpers; i++)
    if (pthread_create(&threads[i], NULL, move_direct, &direct))
      bench_die("no thread");
  move_direct(&direct);
  for (unsigned i = 0; i < nhelpers; i++)
    pthread_join(threads[i], NULL);
  raw_close(direct.fd);
}

bool raw_has_direct(char const *dir) {
  char *path = raw_path(dir, "direct");
  raw_close(raw_open(path, O_WRONLY | O_CREAT));
  int fd = open(path, O_WRONLY | O_DIRECT | O_CLOEXEC);
  if (fd >= 0)
    raw_close(fd);
  raw_remove(path);
  free(path);
  return fd >= 0;
}

/* --- programs ------------------------------------------------------------- */

static size_t read_all(int fd, char *out, size_t size) {
  size_t length = 0;
  ssize_t count;
  while (length + 1 < size &&
         (count = read(fd, out + length, size - 1 - length)) > 0)
    length += (size_t)count;
  out[length] = '\0';
  char rest[4096]; /* it must not be killed by a closed pipe */
  while (read(fd, rest, sizeof rest) > 0)
    continue;
  return length;
}

int raw_spawn(char *const argv[], char *out, size_t size) {
  extern char **environ;
  posix_spawn_file_actions_t actions;
  int ends[2], status;
  pid_t pid;
  if (pipe2(ends, O_CLOEXEC) || posix_spawn_file_actions_init(&actions))
    bench_die("no pipe");
  if (out)
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  int error = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  raw_close(ends[1]);
  if (out && !error)
    read_all(ends[0], out, size);
  raw_close(ends[0]);
  if (error)
    return -1;
  if (waitpid(pid, &status, 0) < 0)
    bench_die("waitpid: %s", strerror(errno));
  return status;
}

/* --- fio ------------------------------------------------------------------ */

bool raw_has_fio(void) {
  char text[64];
  char *const argv[] = {"fio", "--version", NULL};
  return raw_spawn(argv, text, sizeof text) == 0;
}

/* The number of that name in the part of the JSON text with that name. */
static double fio_number(char const *text, char const *part, char const *name) {
  char quoted[32];
  snprintf(quoted, sizeof quoted, "\"%s\" : {", part);
  char const *at = strstr(text, quoted);
  snprintf(quoted, sizeof quoted, "\"%s\" : ", name);
  at = at ? strstr(at, quoted) : NULL;
  return at ? strtod(at + strlen(quoted), NULL) : 0;
}

double raw_fio(char const *path, bool is_write, size_t nbytes, size_t chunk,
               unsigned depth) {
  static char text[64 << 10];
  char file[4096], sizes[3][48];
  snprintf(file, sizeof file, "--filename=%s", path);
  snprintf(sizes[0], sizeof sizes[0], "--size=%zu", nbytes);
  snprintf(sizes[1], sizeof sizes[1], "--bs=%zu", chunk);
  snprintf(sizes[2], sizeof sizes[2], "--iodepth=%u", depth);
  char *const argv[] = {"fio",
                        "--name=bench",
                        "--output-format=json",
                        "--direct=1",
                        "--fallocate=none",
                        "--allow_file_create=0",
                        "--invalidate=0",
                        depth > 1 ? "--ioengine=libaio" : "--ioengine=psync",
                        is_write ? "--rw=write" : "--rw=read",
                        file,
                        sizes[0],
                        sizes[1],
                        sizes[2],
                        NULL};
  if (raw_spawn(argv, text, sizeof text) != 0)
    bench_die("fio failed");
  char const *part = is_write ? "write" : "read";
  double speed = fio_number(text, part, "bw_bytes");
  if (fio_number(text, part, "io_bytes") != (double)nbytes || speed <= 0)
    bench_die("fio did not move %zu bytes", nbytes);
  return 1e9 * (double)nbytes / speed;
}
