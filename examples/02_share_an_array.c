/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two processes that share an array of numbers:
 *
 *   02_share_an_array [COUNT]
 *
 * The first one makes shared memory, allocates the array in it, fills it, and
 * starts this program once more. What that one gets is a descriptor and a
 * handle: it finds the array at an address of its own, and adds all numbers up
 * in place. The sum comes back in a block of the same memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <umem.h>
#include <unistd.h>

extern char **environ;

/* What is sent from one process to the other. */
struct letter {
  size_t length;
  unsigned char array[UMEM_HANDLE_MAX], sum[UMEM_HANDLE_MAX];
};

static bool fail(void const *ctx, char const *what) {
  fprintf(stderr, "02_share_an_array: %s: %s\n", what,
          ctx ? umem_get_message(ctx) : strerror(errno));
  return false;
}

/* --- the second process --------------------------------------------------- */

static bool add_up(umemShm *shm, struct letter const *letter) {
  uintptr_t array_adr, sum_adr;
  size_t array_bytes, sum_bytes;
  if (umem_import_handle(shm, letter->array, letter->length, &array_adr,
                         &array_bytes) != umemOK ||
      umem_import_handle(shm, letter->sum, letter->length, &sum_adr,
                         &sum_bytes) != umemOK)
    return fail(shm, "finding the array");
  double const *array = (double const *)array_adr; /* in place: no copy */
  double sum = 0;
  for (size_t i = 0; i < array_bytes / sizeof *array; i++)
    sum += array[i];
  *(double *)sum_adr = sum;
  printf("process 2 added up %zu numbers at 0x%" PRIxPTR "\n",
         array_bytes / sizeof *array, array_adr);
  return true;
}

/* Started with the shared memory as descriptor 3, and the letter at 0. */
static bool second_process(void) {
  umemShm shm;
  struct letter letter;
  if (read(0, &letter, sizeof letter) != (ssize_t)sizeof letter)
    return fail(NULL, "reading the letter");
  if (umemShm_ctor_fd(&shm, 3) != umemOK)
    return fail(&shm, "attaching");
  bool ok = add_up(&shm, &letter);
  umem_dtor(&shm);
  return ok;
}

/* --- the first process ---------------------------------------------------- */

/* Runs this program again; true if it succeeded. */
static bool run_second(char const *program, int shm_fd,
                       struct letter const *letter) {
  char *const argv[] = {(char *)program, "--second", NULL};
  int ends[2], status = -1;
  pid_t child;
  posix_spawn_file_actions_t actions;
  if (pipe(ends))
    return fail(NULL, "pipe");
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, shm_fd, 3);
  posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
  posix_spawn_file_actions_addclose(&actions, ends[1]);
  errno = posix_spawn(&child, "/proc/self/exe", &actions, NULL, argv, environ);
  bool started = errno == 0;
  bool sent = started &&
              write(ends[1], letter, sizeof *letter) == (ssize_t)sizeof *letter;
  close(ends[0]);
  close(ends[1]);
  posix_spawn_file_actions_destroy(&actions);
  if (started)
    waitpid(child, &status, 0);
  return sent && status == 0 ? true : fail(NULL, "the second process");
}

static bool tell(umemShm *shm, uintptr_t array, size_t array_bytes,
                 uintptr_t sum, struct letter *letter) {
  *letter = (struct letter){.length = UMEM_HANDLE_MAX};
  umem_export_handle(shm, array, array_bytes, letter->array, &letter->length);
  umem_export_handle(shm, sum, sizeof(double), letter->sum, &letter->length);
  return umem_is_ok(shm) ? true : fail(shm, "describing the array");
}

static bool share(umemShm *shm, char const *program, size_t count) {
  struct letter letter;
  uintptr_t array_adr = umem_alloc(shm, count * sizeof(double));
  uintptr_t sum_adr = umem_calloc(shm, 1, sizeof(double));
  if (!umem_is_ok(shm))
    return fail(shm, "allocating");
  double *array = (double *)array_adr;
  for (size_t i = 0; i < count; i++)
    array[i] = (double)(i + 1);
  printf("process 1 wrote %zu numbers at 0x%" PRIxPTR "\n", count, array_adr);
  fflush(stdout);
  if (!tell(shm, array_adr, count * sizeof *array, sum_adr, &letter) ||
      !run_second(program, umemShm_get_fd(shm), &letter))
    return false;
  double const n = (double)count, expected = n * (n + 1) / 2;
  double const sum = *(double const *)sum_adr;
  printf("process 1 reads the sum %.0f: %s\n", sum,
         sum == expected ? "right" : "WRONG");
  umem_free(shm, array_adr);
  umem_free(shm, sum_adr);
  return sum == expected;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "--second") == 0)
    return second_process() ? EXIT_SUCCESS : EXIT_FAILURE;
  char *end = NULL;
  unsigned long count = argc > 1 ? strtoul(argv[1], &end, 10) : 1000000;
  if (argc > 2 || (end && *end) || count == 0 || count > 100000000) {
    fprintf(stderr, "usage: 02_share_an_array [1 to 100000000]\n");
    return EXIT_FAILURE;
  }
  umemShm shm;
  if (umemShm_ctor(&shm, NULL, count * sizeof(double) + 4096, 0) != umemOK) {
    fail(&shm, "making shared memory");
    return EXIT_FAILURE;
  }
  bool ok = share(&shm, argv[0], count);
  umem_dtor(&shm);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
