/* SPDX-License-Identifier: BSD-3-Clause */
/* What all tests share; see support.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* nftw, mkdtemp */
#endif
#include "support.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- results ------------------------------------------------------------- */

void support_status(umemStatusType got, umemStatusType expected,
                    char const *call, char const *file, int line) {
  if (got == expected)
    return;
  print_error("%s\n  is %s, not %s\n", call, umem_get_status_name(got),
              umem_get_status_name(expected));
  _fail(file, line);
}

void support_has(char const *text, char const *part, char const *file,
                 int line) {
  if (text && strstr(text, part))
    return;
  print_error("\"%s\"\n  has no \"%s\"\n", text ? text : "(NULL)", part);
  _fail(file, line);
}

void support_slot(void const *ctx, umemStatusType expected, char const *part,
                  char const *file, int line) {
  support_status(umem_get_status(ctx), expected, "the slot", file, line);
  support_has(umem_get_message(ctx), part, file, line);
  support_status(umem_clean_status(ctx), umemOK, "clean", file, line);
}

umemError last_error(void const *ctx) {
  umemError error = {.size = sizeof error};
  assert_ok(umem_copy_last_error(ctx, &error));
  return error;
}

/* --- bytes --------------------------------------------------------------- */

/* splitmix64: public domain, Sebastiano Vigna. */
uint64_t random_next(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
  z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
  return z ^ (z >> 31);
}

uint64_t random_below(uint64_t *state, uint64_t below) {
  return random_next(state) % below;
}

void random_bytes(void *out, size_t nbytes, uint64_t seed) {
  unsigned char *to = out;
  uint64_t word;
  for (; nbytes >= sizeof word; nbytes -= sizeof word, to += sizeof word) {
    word = random_next(&seed);
    memcpy(to, &word, sizeof word);
  }
  word = random_next(&seed);
  memcpy(to, &word, nbytes);
}

bool all_bytes_are(void const *bytes, size_t nbytes, unsigned char value) {
  unsigned char const *p = bytes;
  return nbytes == 0 || (p[0] == value && memcmp(p, p + 1, nbytes - 1) == 0);
}

/* --- files --------------------------------------------------------------- */

enum { PATH_SIZE = 512, PATHS = 16 };

static char directory[PATH_SIZE - 256];

int temp_setup(void **state) {
  (void)state;
  char const *parent = getenv("TMPDIR");
  snprintf(directory, sizeof directory, "%s/umem-test-XXXXXX",
           parent && parent[0] ? parent : "/tmp");
  return mkdtemp(directory) ? 0 : -1;
}

static int temp_remove(char const *path, struct stat const *about, int type,
                       struct FTW *where) {
  (void)about, (void)type, (void)where;
  return remove(path);
}

int temp_teardown(void **state) {
  (void)state;
  return nftw(directory, temp_remove, 16, FTW_DEPTH | FTW_PHYS);
}

char const *temp_dir(void) {
  return directory;
}

char const *temp_path(char const *name) {
  static char paths[PATHS][PATH_SIZE];
  static size_t turn;
  char *path = paths[turn++ % PATHS];
  snprintf(path, PATH_SIZE, "%s/%s", directory, name);
  return path;
}

void file_put(char const *path, void const *bytes, size_t nbytes) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, nbytes, file), nbytes);
  assert_int_equal(fclose(file), 0);
}

void file_get(char const *path, size_t at, void *out, size_t nbytes) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  ssize_t got = pread(fd, out, nbytes, (off_t)at);
  close(fd);
  assert_true(got >= 0 && (size_t)got == nbytes);
}

uint64_t file_size(char const *path) {
  struct stat about;
  assert_int_equal(stat(path, &about), 0);
  return (uint64_t)about.st_size;
}

bool file_exists(char const *path) {
  return access(path, F_OK) == 0;
}

/* --- the run ------------------------------------------------------------- */

static int names_of(char const *path) {
  DIR *list = opendir(path);
  assert_non_null(list);
  int count = 0;
  while (readdir(list))
    count++;
  closedir(list);
  return count - 2; /* "." and ".." */
}

int open_descriptors(void) {
  return names_of("/proc/self/fd") - 1; /* the list itself */
}

/* ThreadSanitizer has a thread of its own, from the first of ours on. */
int running_threads(void) {
  int count = names_of("/proc/self/task");
  return UNDER_TSAN && count > 1 ? count - 1 : count;
}

uint64_t milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void sleep_milliseconds(unsigned milliseconds) {
  struct timespec left = {milliseconds / 1000,
                          (long)(milliseconds % 1000) * 1000000};
  while (nanosleep(&left, &left))
    continue;
}

/* All that a program may do between fork() and exec() where others run. */
static void again_exec(char *const arguments[], char *setting, int output) {
  char *environment[256];
  size_t count = 0;
  if (setting) /* before another one of the name */
    environment[count++] = setting;
  for (char **e = environ; *e && count < 255; e++)
    environment[count++] = *e;
  environment[count] = NULL;
  dup2(output, 1);
  dup2(output, 2);
  close(output);
  execve(arguments[0], arguments, environment);
  _exit(127);
}

/* The end of `told` is cut off, but read. */
static void again_read(int from, char *told, size_t size) {
  char more[256];
  size_t length = 0;
  ssize_t got;
  while ((got = read(from, more, sizeof more)) > 0)
    for (ssize_t i = 0; i < got; i++)
      if (length + 1 < size)
        told[length++] = more[i];
  told[length] = '\0';
}

bool is_under_valgrind(void) {
  char const *preloaded = getenv("LD_PRELOAD");
  return preloaded && strstr(preloaded, "vgpreload");
}

/* libgcov's, in a coverage build only. */
__attribute__((weak)) void __gcov_dump(void);

static void keep_counts(void) {
  if (__gcov_dump)
    __gcov_dump();
}

void end_in_child(int status) {
  keep_counts();
  _exit(status);
}

void end_in_child_by(int number) {
  keep_counts();
  raise(number);
  _exit(127);
}

int run_again(char const *role, char const *setting, char *told, size_t size) {
  char program[PATH_SIZE], as[64], with[256] = "";
  char *arguments[] = {program, as, NULL};
  int ends[2], status;
  ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
  assert_true(length > 0);
  program[length] = '\0';
  snprintf(as, sizeof as, "%s", role);
  snprintf(with, sizeof with, "%s", setting ? setting : "");
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    close(ends[0]);
    again_exec(arguments, setting ? with : NULL, ends[1]);
  }
  close(ends[1]);
  again_read(ends[0], told, size);
  close(ends[0]);
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static umemFile atomic_file;

static bool destroys_atomic(void) {
  return umem_dtor(&atomic_file) == umemOK;
}

static void assert_atomic_holds(char const *text) {
  char got[3];
  file_get(temp_path("atomic"), 0, got, sizeof got);
  assert_memory_equal(got, text, sizeof got);
}

void check_child_publishes_nothing(bool (*run_in_child)(bool (*run)(void))) {
  umemFileOptions options = {.size = sizeof options, .flags = UMEM_FILE_ATOMIC};
  umemHost host;
  assert_ok(umemHost_ctor(&host));
  file_put(temp_path("atomic"), "old", 3);
  assert_ok(umemFile_ctor_ex(&atomic_file, temp_path("atomic"), "w", &options));
  assert_ok(umem_copy_to(&host, (uintptr_t) "new", &atomic_file, 0, 3));
  assert_true(run_in_child(destroys_atomic));
  assert_atomic_holds("old");
  assert_ok(umem_dtor(&atomic_file)); /* the temporary file is still there */
  assert_atomic_holds("new");
  assert_ok(umem_dtor(&host));
}

size_t scaled(size_t natively, size_t slowly) {
  char const *slow = getenv("UMEM_TEST_SLOW");
  return slow && slow[0] == '1' ? slowly : natively;
}
