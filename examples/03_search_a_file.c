/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Maps a file and searches it in place:
 *
 *   03_search_a_file TEXT FILE
 *
 * Prints the offset of every occurrence of TEXT, and how many there are. No
 * byte of the file is copied: its addresses are pointers.
 */
#define _GNU_SOURCE /* memmem */
#include <string.h>
#include <umem.h>

/* Prints where the text is; returns how often. */
static size_t search(char const *bytes, size_t nbytes, char const *text) {
  size_t const length = strlen(text);
  size_t count = 0;
  char const *from = bytes, *end = bytes + nbytes, *found;
  while ((found = memmem(from, (size_t)(end - from), text, length))) {
    printf("%zu\n", (size_t)(found - bytes));
    from = found + 1;
    count++;
  }
  return count;
}

int main(int argc, char **argv) {
  umemMMap map;
  umemMMapOptions options = {.size = sizeof options,
                             .advice = umemMMapSequential};
  size_t nbytes;
  if (argc != 3 || !argv[1][0]) {
    fprintf(stderr, "usage: 03_search_a_file TEXT FILE\n");
    return EXIT_FAILURE;
  }
  if (umemMMap_ctor_ex(&map, argv[2], "r", &options) != umemOK) {
    fprintf(stderr, "03_search_a_file: %s\n", umem_get_message(&map));
    return EXIT_FAILURE;
  }
  char const *bytes = (char const *)umemMMap_get_address(&map, &nbytes);
  printf("%zu times in %zu bytes\n", search(bytes, nbytes, argv[1]), nbytes);
  umem_dtor(&map);
  return EXIT_SUCCESS;
}
