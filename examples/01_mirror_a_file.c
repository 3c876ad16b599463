/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mirrors a file in memory, changes the mirror, and brings the change into a
 * copy of the file:
 *
 *   01_mirror_a_file FILE
 *
 * FILE is only read. Two programs that know nothing of libumem, cmp and
 * sha256sum, judge each step. The library is at work in the second half; the
 * first one prints, keeps the copy private, and runs the two programs.
 */
#define _GNU_SOURCE /* pipe2 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <umem.h>
#include <unistd.h>

enum { ALIGNMENT = 4096, MAX_CHANGED = 1000, DIGEST_SIZE = 65 };

/* A range of bytes of the file. */
struct range {
  size_t first, count;
};

/* The copy, in a directory that nobody else can enter. */
static char copy_dir[PATH_MAX];
static char copy_name[PATH_MAX + sizeof "/copy"];

/* --- words ---------------------------------------------------------------- */

/* File names may hold line ends, and worse; what we print does not. */
static char const *printable(char *text) {
  for (char *c = text; *c; c++)
    if (iscntrl((unsigned char)*c))
      *c = '?';
  return text;
}

__attribute__((format(printf, 1, 2))) static _Noreturn void
die(char const *format, ...) {
  char text[PATH_MAX + 256];
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  fprintf(stderr, "01_mirror_a_file: %s\n", printable(text));
  exit(EXIT_FAILURE);
}

/*
 * Ends the demo if a call on this context has failed. A status stays until it
 * is cleaned, so one look after several calls is enough, and a call on two
 * contexts tells both of them.
 */
static void check(void const *ctx) {
  if (!umem_is_ok(ctx))
    die("%s", umem_get_message(ctx));
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void head(void) {
  printf("%-32s %-11s %-11s %14s %8s\n", "step", "from", "to", "bytes", "GB/s");
}

/* A line of the table: what was done since the time `began`. */
static void row(char const *step, char const *from, char const *to,
                size_t nbytes, double began) {
  double speed = 1e-9 * (double)nbytes / (now() - began);
  char text[16] = "< 0.01";
  if (speed >= 0.01)
    snprintf(text, sizeof text, "%.2f", speed);
  printf("%-32s %-11s %-11s %14zu %8s\n", step, from, to, nbytes, text);
}

/* The same for what has no speed that matters. */
static void row_untimed(char const *step, char const *from, char const *to,
                        size_t nbytes) {
  printf("%-32s %-11s %-11s %14zu %8s\n", step, from, to, nbytes, "-");
}

/* --- the private copy ----------------------------------------------------- */

static void remove_copy(void) {
  unlink(copy_name);
  rmdir(copy_dir);
}

static void on_signal(int number) {
  remove_copy();
  raise(number); /* SA_RESETHAND: this time it ends the process */
}

/* However the demo ends, the copy goes. */
static void remove_copy_at_end(void) {
  int const numbers[] = {SIGHUP, SIGINT, SIGPIPE, SIGTERM};
  struct sigaction action = {.sa_handler = on_signal,
                             .sa_flags = (int)SA_RESETHAND};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    sigaction(numbers[i], &action, NULL);
  atexit(remove_copy);
}

static void make_copy_dir(void) {
  char const *parent = getenv("TMPDIR");
  if (!parent || !*parent)
    parent = "/tmp";
  int length =
      snprintf(copy_dir, sizeof copy_dir, "%s/umem-demo-XXXXXX", parent);
  if (length >= (int)sizeof copy_dir || !mkdtemp(copy_dir))
    die("no directory for the copy in %s: %s", parent, strerror(errno));
  snprintf(copy_name, sizeof copy_name, "%s/copy", copy_dir);
  remove_copy_at_end();
}

/* --- the independent programs --------------------------------------------- */

struct program {
  char const *name;
  pid_t pid;
  FILE *output; /* what it prints and what it complains about */
};

/* Starts a program that reads the file `input`. No shell sees any name. */
static struct program start(char *const argv[], char const *input) {
  struct program program = {.name = argv[0]};
  posix_spawn_file_actions_t actions;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0 || posix_spawn_file_actions_init(&actions))
    die("cannot run %s: %s", argv[0], strerror(errno));
  posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  extern char **environ;
  int error =
      posix_spawnp(&program.pid, argv[0], &actions, NULL, argv, environ);
  if (error)
    die("cannot run %s with %s: %s", argv[0], input, strerror(error));
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  program.output = fdopen(ends[0], "r");
  if (!program.output)
    die("cannot read from %s: %s", argv[0], strerror(errno));
  return program;
}

/* Its exit status, or -1 if it said more than was read, or was killed. */
static int finish(struct program *program) {
  bool is_all = fgetc(program->output) == EOF;
  int status;
  fclose(program->output);
  if (waitpid(program->pid, &status, 0) < 0 || !WIFEXITED(status) || !is_all)
    return -1;
  return WEXITSTATUS(status);
}

static void sha256(char const *file, char digest[DIGEST_SIZE]) {
  char *const argv[] = {"sha256sum", NULL};
  struct program program = start(argv, file);
  bool is_read = fscanf(program.output, "%64[0-9a-f] -\n", digest) == 1;
  if (finish(&program) != 0 || !is_read)
    die("sha256sum cannot read %s", file);
}

/*
 * Ends the demo unless cmp says that the copy differs from the file in every
 * byte of `changed`, by all its bits, and in no other.
 */
static void compare(char const *file, struct range changed) {
  char *const argv[] = {"cmp", "-l", "--", "-", copy_name, NULL};
  struct program program = start(argv, file);
  size_t position, seen = 0; /* cmp counts from 1, and writes octal */
  unsigned was, is;
  while (seen < changed.count &&
         fscanf(program.output, "%zu %o %o\n", &position, &was, &is) == 3 &&
         position == changed.first + seen + 1 && (was ^ is) == 0xff)
    seen++;
  if (finish(&program) != (changed.count > 0) || seen != changed.count)
    die("cmp: the copy of %s is not what it should be", file);
}

/* --- the library, step by step -------------------------------------------- */

struct demo {
  char const *file;
  size_t nbytes; /* of the file */
  umemHost host;
  umemFile original, copy;
  uintptr_t block, mirror; /* in host: nbytes each */
};

static void read_file(struct demo *demo) {
  double began = now();
  demo->block = umem_alloc(&demo->host, demo->nbytes);
  umem_copy_to(&demo->original, 0, &demo->host, demo->block, demo->nbytes);
  check(&demo->host);
  row("read it into fresh memory", "File", "Host", demo->nbytes, began);
}

/* The same call copies between any two contexts. */
static void copy_file(struct demo *demo) {
  char before[DIGEST_SIZE], after[DIGEST_SIZE];
  double began = now();
  umem_copy_to(&demo->original, 0, &demo->copy, 0, demo->nbytes);
  check(&demo->copy);
  row("copy it", "File", "File copy", demo->nbytes, began);
  compare(demo->file, (struct range){0, 0});
  row_untimed("  cmp: they are equal", "File", "File copy", demo->nbytes);
  sha256(demo->file, before);
  sha256(copy_name, after);
  if (strcmp(before, after) != 0)
    die("the copy of %s has another sha256", demo->file);
  row_untimed("  sha256sum: they are equal", "File", "File copy", demo->nbytes);
}

/*
 * A mirror holds the same bytes where another context can use them. Had it been
 * able to use the file's addresses as they are, there would be no second block.
 */
static void connect_mirror(struct demo *demo) {
  double began = now();
  demo->mirror =
      umem_connect(&demo->original, 0, demo->nbytes, &demo->host, ALIGNMENT);
  check(&demo->host);
  row("connect an aligned mirror", "File", "Host mirror", demo->nbytes, began);
}

/* Inverts some bytes in the middle, so that each of them becomes another. */
static struct range change_mirror(struct demo *demo) {
  unsigned char *bytes =
      (unsigned char *)demo->mirror; /* on a Host it is one */
  struct range range = {.first = demo->nbytes / 3,
                        .count = demo->nbytes - demo->nbytes / 3};
  if (range.count > MAX_CHANGED)
    range.count = MAX_CHANGED;
  for (size_t i = 0; i < range.count; i++)
    bytes[range.first + i] ^= 0xff;
  row_untimed("change some bytes of it", "-", "Host mirror", range.count);
  return range;
}

static void sync_mirror(struct demo *demo) {
  double began = now();
  umem_sync_to(&demo->host, demo->mirror, &demo->copy, 0, demo->nbytes);
  check(&demo->copy);
  row("sync it into the copy", "Host mirror", "File copy", demo->nbytes, began);

  began = now();
  umem_flush(&demo->copy);
  check(&demo->copy);
  row("flush: it survives a power cut", "File copy", "disk", demo->nbytes,
      began);
}

static void read_copy(struct demo *demo) {
  double began = now();
  umem_copy_to(&demo->copy, 0, &demo->host, demo->block, demo->nbytes);
  check(&demo->host);
  row("read the copy again", "File copy", "Host", demo->nbytes, began);
  if (memcmp((void *)demo->block, (void *)demo->mirror, demo->nbytes) != 0)
    die("what was read again is not what was written");
  row_untimed("  memcmp: it is the mirror", "Host", "Host mirror",
              demo->nbytes);
}

/* --- the story ------------------------------------------------------------ */

static size_t size_of(char const *file) {
  struct stat status;
  if (stat(file, &status) != 0)
    die("%s: %s", file, strerror(errno));
  if (status.st_size <= 0)
    die("%s: an empty file, there is nothing to mirror", file);
  return (size_t)status.st_size;
}

static void begin(struct demo *demo, char const *file) {
  demo->file = file;
  umemHost_ctor(&demo->host);
  check(&demo->host);
  umemFile_ctor(&demo->original, file, "r");
  check(&demo->original);
  demo->nbytes = size_of(file);
  make_copy_dir();
  umemFile_ctor(&demo->copy, copy_name, "w+");
  check(&demo->copy);
}

static void end(struct demo *demo) {
  umem_disconnect(&demo->original, 0, &demo->host, demo->mirror, ALIGNMENT);
  umem_free(&demo->host, demo->block);
  check(&demo->host);
  umem_dtor(&demo->copy);
  check(&demo->copy); /* closing a file can fail, too */
  umem_dtor(&demo->original);
  umem_dtor(&demo->host);
}

int main(int argc, char **argv) {
  char name[PATH_MAX], before[DIGEST_SIZE], after[DIGEST_SIZE];
  struct demo demo;
  if (argc != 2)
    die("which file? usage: %s FILE", argv[0]);
  begin(&demo, argv[1]);
  sha256(demo.file, before);
  snprintf(name, sizeof name, "%s", demo.file);
  printf("File is %s\n\n", printable(name));
  head();

  read_file(&demo);
  copy_file(&demo);
  connect_mirror(&demo);
  struct range changed = change_mirror(&demo);
  sync_mirror(&demo);
  read_copy(&demo);
  end(&demo);

  compare(demo.file, changed);
  row_untimed("  cmp: they differ just there", "File", "File copy",
              demo.nbytes);
  sha256(demo.file, after);
  if (strcmp(before, after) != 0)
    die("%s has another sha256 than before", demo.file);
  row_untimed("  sha256sum: it is what it was", "File", "-", demo.nbytes);
  printf("\nproved: the copy is File but for bytes %zu to %zu; "
         "File is untouched\n",
         changed.first, changed.first + changed.count - 1);
}
