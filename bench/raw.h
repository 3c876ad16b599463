/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands against the library, and what both sides stand on: data, memory,
 * files, and the loops of system calls that a careful user would write. All of
 * it ends the program if the system refuses.
 */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include "bench.h"

/* --- data ----------------------------------------------------------------- */

/*
 * All data are one endless pseudo-random text without zeros. Equal offsets have
 * equal bytes, and what lies a few pages further on is different everywhere: a
 * run that copies from another place than the run before it cannot be right by
 * what that one left behind.
 */
enum { RAW_SHIFT = 4096, RAW_SHIFTS = 128, RAW_SLACK = RAW_SHIFT * RAW_SHIFTS };

/* Where in the data this run begins: below RAW_SLACK, at a page. */
size_t raw_shift(struct benchSide const *side);

/* Writes the data at `at`. */
void raw_fill(void *out, size_t at, size_t nbytes);

/* Ends the program if these are not the data at `at`. */
void raw_check(void const *in, size_t at, size_t nbytes, char const *who);

/* --- memory --------------------------------------------------------------- */

/* Ends the program unless that many bytes can be had without swapping. */
void raw_need_memory(size_t nbytes);

/* Memory that was touched, at the start of a page. */
unsigned char *raw_map(size_t nbytes);
/* The same on huge pages, at the start of one. */
unsigned char *raw_map_huge(size_t nbytes);
void raw_unmap(void *block, size_t nbytes);

/* A virtual machine may give its free pages back to its host, a while after
   they were freed, and gets them again at a fraction of the speed of memory.
   Right before a run that needs so many fresh bytes: sees to it that the pages
   that it will get are there. Right after it: keeps those that are left. */
void raw_warm_pages(size_t nbytes);
void raw_hold_pages(size_t nbytes);

/* --- files ---------------------------------------------------------------- */

/* Ends the program unless the directory has room for so many bytes. */
void raw_need_room(char const *dir, size_t nbytes);

/* Is it on a tmpfs? */
bool raw_is_in_memory(char const *dir);

/* The path of a file of this program in `dir`, which is removed at the end,
   whatever the end is. To be freed. */
char *raw_path(char const *dir, char const *name);

int raw_open(char const *path, int flags);
void raw_close(int fd);

/* A new file with the first `nbytes` bytes of the data from `at` on, clean and
   in the page cache. */
void raw_make_file(char const *path, size_t at, size_t nbytes);

/* Ends the program if the file is not `nbytes` bytes of the data at `at`. */
void raw_check_file(char const *path, size_t at, size_t nbytes);

/* Writes dirty pages back: the next run finds what this one found. */
void raw_clean_file(char const *path);

/* Drops the pages of the file from the page cache. */
void raw_drop_file(char const *path);

/* Removes the file, if there is one, and lets the file system settle. */
void raw_remove(char const *path);

/* --- loops: chunk 0 is all at once ---------------------------------------- */

void raw_pread(int fd, void *out, size_t nbytes, size_t at, size_t chunk);
void raw_pwrite(int fd, void const *in, size_t nbytes, size_t at, size_t chunk);

/* The same past the page cache by some threads, each of which takes the next
   chunk. Whole pages only. */
struct rawDirect {
  char const *path;
  bool is_write;
  unsigned char *bytes;
  size_t nbytes;
  size_t at; /* in the file */
  size_t chunk;
  unsigned nthreads;
};
void raw_direct(struct rawDirect const *work);

/* Has the directory's file system O_DIRECT? */
bool raw_has_direct(char const *dir);

/* From descriptor to descriptor, from their positions on. */
void raw_copy_file_range(int from, int to, size_t nbytes);
void raw_sendfile(int from, int to, size_t nbytes);
void raw_read_write(int from, int to, size_t nbytes, void *buffer,
                    size_t chunk);

/* Runs a program, and returns its status. Of what it prints on stdout as much
   as fits is stored in `out`, which may be NULL; -1: there is no such program.
 */
int raw_spawn(char *const argv[], char *out, size_t size);

/* Is fio installed? */
bool raw_has_fio(void);

/* Nanoseconds that fio says it took to move the bytes past the page cache, with
   so many requests at once. What it writes is its own. */
double raw_fio(char const *path, bool is_write, size_t nbytes, size_t chunk,
               unsigned depth);

#endif
