/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bad input to every function: each case expects one exact status, told in
 * every context that the call names and nowhere else; outputs, memory, files
 * and errno as they were; and no signal. Tables of functions and of bad values
 * are multiplied; every product is a case.
 */
#include "bad_input.h"

#include <fcntl.h>
#include <limits.h>

enum { MIN_CASES = 400 };

/* --- contexts that are none, failed or dead ------------------------------- */

/* From FAILED to EVERYONE; that last one is NULL. */
static void const *bad_context(enum who who) {
  return who == EVERYONE ? NULL : &world[who];
}

static char const *bad_name(enum who who) {
  return who == EVERYONE ? "NULL" : names[who];
}

static void run_on_bad_contexts(struct function const *f, size_t count) {
  for (size_t i = 0; i < count; i++)
    for (enum who who = FIRST_BAD; who <= EVERYONE; who++) {
      struct args args = good_one(HOST);
      args.a = bad_context(who);
      run(&f[i], &args, umemTypeError, bad_name(who));
    }
}

static void one_context__that_is_not_live_is_a_type_error(void **state) {
  (void)state;
  run_on_bad_contexts(allocs, ALLOCS);
  run_on_bad_contexts(frees, FREES);
  run_on_bad_contexts(sets, SETS);
  run_on_bad_contexts(others, LENGTH(others));
}

/* umem_get_status() of what is none is a TypeError, too: so `unless` holds. */
static void run_on_bad_sides(struct function const *f, enum who good,
                             enum who bad) {
  struct args args = good_two(good, good);
  char text[128];
  args.a = bad_context(bad);
  snprintf(text, sizeof text, "source %s, to %s", bad_name(bad), names[good]);
  run(f, &args, umemTypeError, text);
  args.a = &world[good];
  args.b = bad_context(bad);
  snprintf(text, sizeof text, "%s to %s", names[good], bad_name(bad));
  run(f, &args, umemTypeError, text);
  args.a = args.b;
  run(f, &args, umemTypeError, "the same bad context on both sides");
}

static void two_contexts__of_which_one_is_not_live_are_a_type_error(void **s) {
  static enum who const good[] = {HOST, FILE_RW, FAKE};
  (void)s;
  for (size_t g = 0; g < LENGTH(good); g++)
    for (enum who bad = FIRST_BAD; bad <= EVERYONE; bad++) {
      for (size_t i = 0; i < MOVES; i++)
        run_on_bad_sides(&moves[i], good[g], bad);
      for (size_t i = 0; i < LENGTH(connects); i++)
        run_on_bad_sides(&connects[i], good[g], bad);
      for (size_t i = 0; i < LENGTH(questions); i++)
        run_on_bad_sides(&questions[i], good[g], bad);
    }
}

/* Only the destination must be live: a source that is dead may have been
   connected, so here it is the pair that is unknown. */
static void disconnect__needs_a_source_that_was_a_context_once(void **state) {
  (void)state;
  for (enum who bad = FIRST_BAD; bad <= EVERYONE; bad++) {
    struct args args = good_two(HOST, CHECKED);
    bool was_one = bad == FAILED || bad == DEAD;
    args.a = bad_context(bad);
    run(&disconnect, &args, was_one ? umemValueError : umemTypeError,
        bad_name(bad));
    args = good_two(HOST, CHECKED);
    args.b = bad_context(bad);
    run(&disconnect, &args, umemTypeError, bad_name(bad));
  }
}

/* --- a context without methods -------------------------------------------- */

static void run_virtual(struct function const *f, size_t count) {
  for (size_t i = 0; i < count; i++) {
    struct args args = good_one(VIRTUAL);
    args.a_adr = 64;
    run(&f[i], &args, umemNotImplementedError, "Virtual");
  }
}

static void virtual__implements_no_operation(void **state) {
  (void)state;
  run_virtual(allocs, ALLOCS);
  run_virtual(frees, FREES);
  run_virtual(sets, SETS);
  run_virtual(others, 2); /* it has a name and an alignment */
  for (size_t i = 0; i < MOVES + LENGTH(connects); i++) {
    struct function const *f = i < MOVES ? &moves[i] : &connects[i - MOVES];
    struct args args = good_two(HOST, VIRTUAL);
    run(f, &args, umemNotImplementedError, "Host to Virtual");
    args = good_two(VIRTUAL, FAKE);
    run(f, &args, umemNotImplementedError, "Virtual to Fake");
    args = good_two(VIRTUAL, VIRTUAL);
    args.b_adr = 64;
    run(f, &args, umemNotImplementedError, "Virtual to Virtual");
  }
}

static void discard__is_for_what_is_to_be_published(void **state) {
  (void)state;
  for (enum who who = HOST; who <= FAKE; who++) {
    struct args args = good_one(who);
    bool file = who >= FILE_RW && who <= FILE_A;
    run(&others[1], &args, file ? umemValueError : umemNotImplementedError,
        names[who]);
  }
}

/* --- sizes and alignments of new blocks ----------------------------------- */

struct pair {
  size_t one, two;
  umemStatusType expected;
};

static void run_pairs(struct function const *f, enum who who,
                      struct pair const *pairs, size_t count) {
  for (size_t i = 0; i < count; i++) {
    struct args args = good_one(who);
    char text[128];
    args.n = pairs[i].one;
    args.m = pairs[i].two;
    snprintf(text, sizeof text, "%s, %zu * %zu", names[who], args.n, args.m);
    run(f, &args, pairs[i].expected, text);
  }
}

static void alloc__of_more_than_there_can_be_is_a_memory_error(void **state) {
  static struct pair const sizes[] = {{SIZE_MAX, 1, umemMemoryError},
                                      {SIZE_MAX - 1, 1, umemMemoryError},
                                      {MANY, 1, umemMemoryError},
                                      {MANY + 1, 1, umemMemoryError}};
  static struct pair const products[] = {
      {1, SIZE_MAX, umemMemoryError},        {1, MANY, umemMemoryError},
      {SIZE_MAX, 2, umemMemoryError},        {2, SIZE_MAX - 1, umemMemoryError},
      {SIZE_MAX, SIZE_MAX, umemMemoryError}, {HALF, 2, umemMemoryError},
      {3, SIZE_MAX / 3 + 1, umemMemoryError}};
  (void)state;
  for (enum who who = HOST; who <= FAKE; who++) {
    for (size_t i = 0; i < 4; i++)
      run_pairs(&allocs[i], who, sizes, LENGTH(sizes));
    for (size_t i = 2; i < 4; i++)
      run_pairs(&allocs[i], who, products, LENGTH(products));
  }
}

/* Nothing can be reserved in a file that is only read: there are its bytes. */
static void alloc__of_all_there_can_be_is_a_memory_error(void **state) {
  (void)state;
  for (enum who who = HOST; who <= FAKE; who++)
    for (size_t i = 0; i < 2; i++) {
      struct args args = good_one(who);
      umemStatusType expected =
          who == FILE_R ? umemIndexError : umemMemoryError;
      args.n = PTRDIFF_MAX;
      run(&allocs[i], &args, expected, text_of_one(who, "PTRDIFF_MAX"));
    }
}

static void alloc__past_the_end_of_a_file_that_is_only_read(void **state) {
  (void)state;
  struct args args = good_one(FILE_R);
  args.n = FILE_BYTES + 1;
  run(&allocs[0], &args, umemIndexError, "one byte more than the file has");
  run(&allocs[1], &args, umemIndexError, "one byte more than the file has");
  args.n = (size_t)2 * FILE_BYTES;
  run(&allocs[4], &args, umemIndexError, "twice what the file has");
  args.n = 10;
  run(&allocs[2], &args, umemValueError, "cannot be zeroed");
  run(&allocs[3], &args, umemValueError, "cannot be zeroed");
}

static void alloc__without_an_output_is_a_value_error(void **state) {
  (void)state;
  for (enum who who = HOST; who <= FAKE; who++)
    for (size_t i = 1; i < ALLOCS; i += 2) {
      struct args args = good_one(who);
      args.no_out = true;
      run(&allocs[i], &args, umemValueError, text_of_one(who, "NULL"));
    }
}

static void run_aligned(enum who who, size_t alignment, size_t size,
                        umemStatusType expected, char const *fixed) {
  for (size_t i = 4; i < ALLOCS; i++) {
    struct args args = good_one(who);
    char text[128];
    args.alignment = alignment;
    args.n = size;
    args.text = fixed;
    snprintf(text, sizeof text, "%s, alignment %zu, size %zu", names[who],
             alignment, size);
    run(&allocs[i], &args, expected, text);
  }
}

static void aligned_alloc__of_bad_alignments_says_a_fixed_text(void **state) {
  static size_t const bad[] = {
      0, 3, 5, 6, 7, 12, 63, 65535, SIZE_MAX, SIZE_MAX - 1, HALF + 1};
  (void)state;
  for (enum who who = HOST; who <= FAKE; who++)
    for (size_t i = 0; i < LENGTH(bad); i++) {
      char text[128];
      snprintf(text, sizeof text,
               "umem_aligned_alloc: alignment %zu must be power of 2", bad[i]);
      run_aligned(who, bad[i], 0, umemValueError, text);
      run_aligned(who, bad[i], bad[i], umemValueError, text);
    }
}

static void aligned_alloc__of_bad_sizes_says_a_fixed_text(void **state) {
  static struct pair const bad[] = {
      {64, 1, 0},    {64, 63, 0},      {64, 65, 0},         {2, 1, 0},
      {4096, 64, 0}, {2, SIZE_MAX, 0}, {HALF, HALF + 2, 0}, {HALF, 1, 0}};
  (void)state;
  for (enum who who = HOST; who <= FAKE; who++)
    for (size_t i = 0; i < LENGTH(bad); i++) {
      char text[128];
      snprintf(text, sizeof text,
               "umem_aligned_alloc: size %zu must be multiple of alignment %zu",
               bad[i].two, bad[i].one);
      run_aligned(who, bad[i].one, bad[i].two, umemValueError, text);
    }
}

static void aligned_alloc__of_absurd_alignments_is_a_memory_error(void **st) {
  (void)st;
  for (enum who who = HOST; who <= FAKE; who++) {
    run_aligned(who, 64, SIZE_MAX - 63, umemMemoryError, NULL);
    run_aligned(who, 1, SIZE_MAX, umemMemoryError, NULL);
    run_aligned(who, HALF, HALF, umemMemoryError, NULL);
    run_aligned(who, HALF, 0, umemMemoryError, NULL);
  }
}

/* --- addresses to free ---------------------------------------------------- */

static void run_frees(enum who who, uintptr_t adr, char const *what) {
  for (size_t i = 0; i < FREES; i++) {
    struct args args = good_one(who);
    args.a_adr = adr;
    run(&frees[i], &args, umemValueError, text_of_one(who, what));
    args.no_out = true;
    if (i == 3)
      run(&frees[i], &args, umemValueError, text_of_one(who, what));
  }
}

static void free__of_what_is_no_live_block_is_a_value_error(void **state) {
  static enum who const known[] = {CHECKED, FILE_RW, FAKE};
  (void)state;
  for (size_t i = 0; i < LENGTH(known); i++) {
    enum who who = known[i];
    run_frees(who, 1, "address 1");
    run_frees(who, UINTPTR_MAX, "the last address");
    run_frees(who, UINTPTR_MAX - 1, "the last but one");
    run_frees(who, block[who] + 1, "inside, odd");
    run_frees(who, block[who] + 64, "inside, aligned");
    run_frees(who, block[who] + BLOCK - 1, "the last byte");
    run_frees(who, block[who] - 1, "in front of the block");
    run_frees(who, block[who] + BLOCK, "behind the block");
    run_frees(who, block[HOST], "a block of a plain Host");
    run_frees(who, freed, "freed");
    run_frees(who, block[who == CHECKED ? FAKE : CHECKED], "of another");
  }
  for (enum who who = FILE_R; who <= FILE_A; who++) {
    run_frees(who, 1, "a file in which nothing is allocated");
    run_frees(who, FILE_BYTES, "its end");
  }
}

static void aligned_origin__of_0_is_a_value_error(void **state) {
  (void)state;
  for (enum who who = HOST; who <= FAKE; who++) {
    struct args args = good_one(who);
    args.a_adr = 0;
    run(&frees[4], &args, umemValueError, text_of_one(who, "address 0"));
  }
}

static void free__of_0_is_nothing_to_do(void **state) {
  (void)state;
  for (enum who who = HOST; who <= FAKE; who++) {
    struct args args = good_one(who);
    args.a_adr = 0;
    run(&frees[0], &args, umemOK, text_of_one(who, "address 0"));
    run(&frees[3], &args, umemOK, text_of_one(who, "address 0"));
  }
}

/* --- ranges --------------------------------------------------------------- */

/* One argument of a range call that is bad, the others as they were. */
struct range_row {
  char const *what;
  size_t adr;  /* added to the block's address, or instead of it */
  size_t size; /* of the safe forms */
  size_t n;
  bool absolute;  /* adr is the address */
  bool safe_only; /* plain calls do not look */
};

static struct range_row const range_rows[] = {
    {"n SIZE_MAX", 0, BLOCK, SIZE_MAX, false, false},
    {"n SIZE_MAX - 1", 0, BLOCK, SIZE_MAX - 1, false, false},
    {"n PTRDIFF_MAX + 1", 0, BLOCK, MANY, false, false},
    {"n PTRDIFF_MAX + 2", 0, BLOCK, MANY + 1, false, false},
    {"all SIZE_MAX", 0, SIZE_MAX, SIZE_MAX, false, false},
    {"the last address", UINTPTR_MAX, 1, 1, true, false},
    {"wraps to 0", UINTPTR_MAX - 98, 100, 99, true, false},
    {"wraps by one", UINTPTR_MAX - 98, 100, 100, true, false},
    {"wraps, odd", UINTPTR_MAX - 6, 100, 100, true, false},
    {"n is size + 1", 0, 99, 100, false, true},
    {"n is twice the size", 0, 50, 100, false, true},
    {"size 1", 0, 1, 100, false, true},
    {"size 0", 0, 0, 100, false, true},
    {"size 0, one byte", 0, 0, 1, false, true},
    {"size SIZE_MAX", 0, SIZE_MAX, 100, false, true},
    {"size SIZE_MAX - 1", 0, SIZE_MAX - 1, 100, false, true},
    {"size PTRDIFF_MAX + 1", 0, MANY, 100, false, true},
    {"size SIZE_MAX, 0 bytes", 0, SIZE_MAX, 0, false, true},
};

/* These leave a block, which a plain Host does not know. */
static struct range_row const block_rows[] = {
    {"one byte behind", 157, BLOCK, 100, false, true},
    {"all behind the first byte", 1, BLOCK, BLOCK, false, true},
    {"one byte too many", 0, 2 * BLOCK, BLOCK + 1, false, true},
    {"one byte in front", SIZE_MAX, BLOCK, 100, false, true},
    {"the last byte and one", BLOCK - 1, 2, 2, false, true},
};

static uintptr_t row_adr(struct range_row const *row, enum who who) {
  return row->absolute ? row->adr : block[who] + row->adr;
}

static void run_set(enum who who, struct range_row const *row,
                    umemStatusType expected) {
  for (size_t i = row->safe_only ? 2 : 0; i < SETS; i++) {
    struct args args = good_one(who);
    args.a_adr = row_adr(row, who);
    args.a_size = row->size;
    args.n = row->n;
    run(&sets[i], &args, expected, text_of_one(who, row->what));
  }
}

static void set__of_a_bad_range_is_an_index_error(void **state) {
  static enum who const all[] = {HOST, CHECKED, FILE_RW, FILE_W, FAKE};
  (void)state;
  for (size_t w = 0; w < LENGTH(all); w++)
    for (size_t i = 0; i < LENGTH(range_rows); i++)
      run_set(all[w], &range_rows[i], umemIndexError);
}

static void set_safe__out_of_a_known_block_is_an_index_error(void **state) {
  static enum who const known[] = {CHECKED, FILE_RW, FAKE};
  (void)state;
  for (size_t w = 0; w < LENGTH(known); w++)
    for (size_t i = 0; i < LENGTH(block_rows); i++)
      run_set(known[w], &block_rows[i], umemIndexError);
}

/* Arguments come before ranges: so also where the range is bad, too. */
static void set__at_NULL_in_host_memory_is_a_value_error(void **state) {
  static struct range_row const rows[] = {
      {"NULL", 0, 1, 1, true, false},
      {"NULL, size 0", 0, 0, 1, true, false},
      {"NULL, SIZE_MAX bytes", 0, SIZE_MAX, SIZE_MAX, true, false}};
  (void)state;
  for (enum who who = HOST; who <= CHECKED; who++)
    for (size_t i = 0; i < LENGTH(rows); i++)
      run_set(who, &rows[i], umemValueError);
}

static void set__of_bytes_that_are_read_only_is_a_value_error(void **state) {
  static struct range_row const rows[] = {
      {"0", 0, BLOCK, 100, true, false},
      {"the last byte that is there", FILE_BYTES - 1, 100, 100, true, false},
      {"SIZE_MAX bytes", 0, SIZE_MAX, SIZE_MAX, true, false}};
  static struct range_row const nothing = {"0 bytes", 0, 0, 0, true, false};
  (void)state;
  for (size_t i = 0; i < LENGTH(rows); i++) {
    run_set(FILE_R, &rows[i], umemValueError);
    run_set(FILE_A, &rows[i], umemValueError);
  }
  run_set(FILE_R, &nothing, umemValueError); /* 0 bytes: arguments checked */
}

static void set__past_the_largest_offset_is_an_index_error(void **state) {
  static struct range_row const rows[] = {
      {"INT64_MAX", INT64_MAX, 1, 1, true, false},
      {"INT64_MAX + 1", (size_t)INT64_MAX + 1, 1, 1, true, false},
      {"PTRDIFF_MAX bytes at 1", 1, PTRDIFF_MAX, PTRDIFF_MAX, true, false}};
  (void)state;
  for (size_t i = 0; i < LENGTH(rows); i++) {
    run_set(FILE_RW, &rows[i], umemIndexError);
    run_set(FILE_W, &rows[i], umemIndexError);
    run_set(FAKE, &rows[i], umemIndexError);
  }
}

/* --- copies and syncs ----------------------------------------------------- */

/* A row on one side of a copy; the other side is good. */
static void run_side(enum who src, enum who dest, bool on_src,
                     struct range_row const *row, umemStatusType expected) {
  char text[96];
  snprintf(text, sizeof text, "%s: %s", on_src ? "source" : "destination",
           row->what);
  for (size_t i = row->safe_only ? PLAIN_MOVES : 0; i < MOVES; i++) {
    struct args args = good_two(src, dest);
    args.n = row->n;
    if (on_src) {
      args.a_adr = row_adr(row, src);
      args.a_size = row->size;
    } else {
      args.b_adr = row_adr(row, dest);
      args.b_size = row->size;
    }
    run(&moves[i], &args, expected, text_of_two(src, dest, text));
  }
}

static void run_sides(enum who const *all, size_t count,
                      struct range_row const *rows, size_t row_count) {
  for (size_t w = 0; w < count * count; w++)
    for (size_t i = 0; i < row_count; i++) {
      run_side(all[w / count], all[w % count], true, &rows[i], umemIndexError);
      run_side(all[w / count], all[w % count], false, &rows[i], umemIndexError);
    }
}

static void copy__of_a_bad_range_is_an_index_error(void **state) {
  static enum who const all[] = {HOST, CHECKED, FILE_RW, FAKE};
  (void)state;
  run_sides(all, LENGTH(all), range_rows, LENGTH(range_rows));
}

static void copy__safe_out_of_a_known_block_is_an_index_error(void **state) {
  static enum who const all[] = {CHECKED, FILE_RW, FAKE};
  (void)state;
  run_sides(all, LENGTH(all), block_rows, LENGTH(block_rows));
}

static void copy__from_or_to_NULL_in_host_memory_is_a_value_error(void **s) {
  static struct range_row const rows[] = {
      {"NULL", 0, BLOCK, 100, true, false},
      {"NULL, SIZE_MAX bytes", 0, SIZE_MAX, SIZE_MAX, true, false}};
  static enum who const all[] = {HOST, CHECKED, FILE_RW, FAKE};
  (void)s;
  for (enum who who = HOST; who <= CHECKED; who++)
    for (size_t i = 0; i < LENGTH(all) * LENGTH(rows); i++) {
      struct range_row const *row = &rows[i % LENGTH(rows)];
      enum who other = all[i / LENGTH(rows)];
      run_side(who, other, true, row, umemValueError);
      run_side(other, who, false, row, umemValueError);
    }
}

static void run_access(enum who src, enum who dest) {
  static size_t const sizes[] = {100, 0, 1, SIZE_MAX};
  for (size_t i = 0; i < MOVES; i++)
    for (size_t n = 0; n < LENGTH(sizes); n++) {
      struct args args = good_two(src, dest);
      char text[64];
      snprintf(text, sizeof text, "%zu bytes", sizes[n]);
      args.n = sizes[n];
      if (dest == FILE_A && args.n == 0)
        continue; /* of what is protected, none */
      if (src == dest)
        args.a_adr++; /* or a sync would have nothing to do */
      run(&moves[i], &args, umemValueError, text_of_two(src, dest, text));
    }
}

static void copy__without_the_right_to_is_a_value_error(void **state) {
  static enum who const others[] = {HOST, FILE_RW, FAKE};
  (void)state;
  for (size_t i = 0; i < LENGTH(others); i++) {
    run_access(FILE_W, others[i]);
    run_access(FILE_A, others[i]);
    run_access(others[i], FILE_R);
    run_access(others[i], FILE_A);
  }
  run_access(FILE_W, FILE_R);
  run_access(FILE_R, FILE_R);
  run_access(FILE_W, FILE_W);
}

static void copy_plan__into_too_little_is_a_value_error(void **state) {
  static enum who const all[] = {HOST, CHECKED, FILE_RW, FAKE};
  (void)state;
  for (size_t w = 0; w < LENGTH(all) * LENGTH(all); w++)
    for (size_t size = 0; size <= sizeof(size_t); size++) {
      enum who src = all[w / LENGTH(all)], dest = all[w % LENGTH(all)];
      struct args args = good_two(src, dest);
      args.no_out = size == sizeof(size_t);
      args.m = size + 2;
      run(&moves[0], &args, umemValueError,
          text_of_two(src, dest, args.no_out ? "NULL" : "a small size"));
      args.n = 0; /* even then */
      run(&moves[0], &args, umemValueError,
          text_of_two(src, dest, "of no bytes"));
    }
}

CALL(call_set_threads, umem_set_threads((unsigned)x->n))

static void set_threads__of_too_many_is_a_value_error(void **state) {
  static struct function const set_threads =
      FUNCTION(umem_set_threads, call_set_threads);
  static unsigned const bad[] = {1025, 1026, INT_MAX, UINT_MAX - 1, UINT_MAX};
  (void)state;
  unsigned const before = umem_get_threads();
  for (size_t i = 0; i < LENGTH(bad); i++) {
    run(&set_threads, &(struct args){.n = bad[i]}, umemValueError, "too many");
    assert_int_equal(umem_get_threads(), before);
  }
  run(&set_threads, &(struct args){.n = 1024}, umemOK, "1024");
  run(&set_threads, &(struct args){.n = before}, umemOK, "as before");
}

/* --- connect and disconnect ----------------------------------------------- */

static enum who const connect_src[] = {HOST, CHECKED, FILE_RW, FAKE};
static enum who const connect_dest[] = {HOST, CHECKED, FAKE};

static void run_connect(enum who src, enum who dest, struct args const *args,
                        umemStatusType expected, char const *what) {
  for (size_t i = 0; i < LENGTH(connects); i++)
    run(&connects[i], args, expected, text_of_two(src, dest, what));
}

static void run_connects(enum who src, enum who dest) {
  static size_t const bad[] = {3, 5, 6, 7, 65535, SIZE_MAX, SIZE_MAX - 1};
  static size_t const many[] = {SIZE_MAX, SIZE_MAX - 1, MANY, MANY + 1};
  struct args args = good_two(src, dest);
  char text[64];
  for (size_t i = 0; i < LENGTH(bad); i++) {
    snprintf(text, sizeof text, "alignment %zu", bad[i]);
    args.alignment = bad[i];
    run_connect(src, dest, &args, umemValueError, text);
  }
  args.alignment = HALF;
  run_connect(src, dest, &args, umemMemoryError, "alignment 2^63");
  args.alignment = 0;
  for (size_t i = 0; i < LENGTH(many); i++) {
    snprintf(text, sizeof text, "%zu bytes", many[i]);
    args.n = many[i];
    run_connect(src, dest, &args, umemIndexError, text);
  }
  args = good_two(src, dest);
  args.a_adr = UINTPTR_MAX;
  args.n = 1;
  run_connect(src, dest, &args, umemIndexError, "the last address");
  args.alignment = 3; /* checked before the address is looked at */
  run_connect(src, dest, &args, umemValueError, "alignment and address");
  args = good_two(src, dest);
  args.no_out = true;
  run(&connects[1], &args, umemValueError, text_of_two(src, dest, "NULL"));
  args = good_two(src, dest);
  args.a_adr = 0;
  if (src == HOST || src == CHECKED)
    run_connect(src, dest, &args, umemValueError, "from NULL");
}

static void connect__of_bad_arguments_allocates_nothing(void **state) {
  (void)state;
  for (size_t s = 0; s < LENGTH(connect_src); s++)
    for (size_t d = 0; d < LENGTH(connect_dest); d++)
      run_connects(connect_src[s], connect_dest[d]);
}

static void connect__without_the_right_to_is_a_value_error(void **state) {
  (void)state;
  for (size_t d = 0; d < LENGTH(connect_dest); d++) {
    struct args args = good_two(FILE_W, connect_dest[d]);
    run_connect(FILE_W, connect_dest[d], &args, umemValueError, "write-only");
    args = good_two(FILE_A, connect_dest[d]);
    run_connect(FILE_A, connect_dest[d], &args, umemValueError, "write-only");
    args = good_two(connect_dest[d], FILE_R);
    run_connect(connect_dest[d], FILE_R, &args, umemValueError, "read-only");
  }
}

static void run_disconnects(enum who src, enum who dest) {
  uintptr_t const bad[] = {0,           1,          block[src], block[dest] + 1,
                           UINTPTR_MAX, block[HOST]};
  for (size_t i = 0; i < LENGTH(bad); i++) {
    struct args args = good_two(src, dest);
    args.a_adr = bad[i];
    run(&disconnect, &args, umemValueError,
        text_of_two(src, dest, "unknown source"));
    args = good_two(src, dest);
    args.b_adr = bad[i];
    run(&disconnect, &args, umemValueError,
        text_of_two(src, dest, "unknown destination"));
  }
  struct args args = good_two(src, dest);
  args.alignment = 3;
  run(&disconnect, &args, umemValueError, text_of_two(src, dest, "alignment"));
}

static void disconnect__of_what_is_not_connected_is_a_value_error(void **st) {
  (void)st;
  for (size_t s = 0; s < LENGTH(connect_src); s++)
    for (size_t d = 0; d < LENGTH(connect_dest); d++)
      run_disconnects(connect_src[s], connect_dest[d]);
}

/* What is connected stays so, whatever else is asked to be disconnected. */
static void disconnect__of_almost_the_right_pair_is_a_value_error(void **st) {
  (void)st;
  void const *src = &world[FILE_RW], *dest = &world[FAKE];
  uintptr_t adr = umem_connect(src, block[FILE_RW], 100, dest, 0);
  assert_true(umem_is_ok(dest));
  struct args args = good_two(FILE_RW, FAKE);
  args.b_adr = adr + 1;
  run(&disconnect, &args, umemValueError, "an interior address");
  args.b_adr = adr;
  args.a_adr++;
  run(&disconnect, &args, umemValueError, "another source");
  args.a_adr--;
  args.a = &world[FILE_COPY];
  run(&disconnect, &args, umemTypeError, "a copy of the source");
  args.a = &world[CHECKED];
  run(&disconnect, &args, umemValueError, "another source context");
  args.a = dest;
  args.b = src;
  run(&disconnect, &args, umemValueError, "the other way round");
  assert_ok(umem_disconnect(src, block[FILE_RW], dest, adr, 0));
}

/* --- status --------------------------------------------------------------- */

CALL(call_set_status, umem_set_status(x->a, (umemStatusType)x->m, "text"))
CALL(call_clean, umem_clean_status(x->a))
CALL(call_clear, umem_clear_status(x->a))
CALL(call_get_status, umem_get_status(x->a))
CALL(call_is_ok, unless(umem_is_ok(x->a), x->a))
CALL(call_get_message, unless(umem_get_message(x->a)[0] == '\0', x->a))
CALL(call_get_count,
     umem_get_error_count(x->a) == 0 ? umem_get_status(x->a) : umemOK)
static umemStatusType call_last_error(struct args const *x) {
  umemError last = {.size = x->n, .native = SENTINEL};
  umemStatusType status = umem_copy_last_error(x->a, x->no_out ? NULL : &last);
  CHECK(status == umemOK || last.native == SENTINEL);
  return status;
}

static struct function const status_calls[] = {
    {"umem_set_status", call_set_status, "umem_set_status("},
    {"umem_clean_status", call_clean, ""},
    {"umem_clear_status", call_clear, ""},
    {"umem_get_status", call_get_status, ""},
    {"umem_is_ok", call_is_ok, ""},
    {"umem_get_message", call_get_message, ""},
    {"umem_get_error_count", call_get_count, ""},
    {"umem_copy_last_error", call_last_error, "umem_copy_last_error("}};

static void status__of_what_is_no_context_is_a_type_error(void **state) {
  (void)state;
  for (size_t i = 0; i < LENGTH(status_calls); i++)
    for (enum who who = FIRST_NONE; who <= EVERYONE; who++) {
      struct args args = {.a = bad_context(who), .n = sizeof(umemError)};
      run(&status_calls[i], &args, umemTypeError, bad_name(who));
    }
}

static void set_status__of_no_status_is_a_value_error(void **state) {
  static int const bad[] = {-1, 10, 11, 64, 1 << 16, INT_MAX, INT_MIN};
  (void)state;
  for (enum who who = HOST; who <= DEAD; who++)
    for (size_t i = 0; i < LENGTH(bad); i++) {
      struct args args = {.a = &world[who], .m = (size_t)bad[i]};
      char text[32];
      snprintf(text, sizeof text, "type %d", bad[i]);
      run(&status_calls[0], &args, umemValueError, text_of_one(who, text));
    }
}

/* A struct too short for the type would tell nothing. */
static void copy_last_error__into_too_little_is_a_value_error(void **state) {
  (void)state;
  for (enum who who = HOST; who <= DEAD; who++) {
    struct args args = {.a = &world[who], .n = sizeof(umemError)};
    args.no_out = true;
    run(&status_calls[7], &args, umemValueError, text_of_one(who, "NULL"));
    args.no_out = false;
    for (args.n = 0; args.n < offsetof(umemError, sys_errno); args.n++)
      run(&status_calls[7], &args, umemValueError, text_of_one(who, "size"));
  }
}

static void names__of_unknown_numbers_are_unknown(void **state) {
  static int const bad[] = {-1, 10, 64, INT_MAX, INT_MIN};
  static int const types[] = {-1, 7, 15, 1023, 1024, INT_MAX, INT_MIN};
  (void)state;
  for (size_t i = 0; i < LENGTH(bad); i++, case_count++)
    assert_string_equal(umem_get_status_name((umemStatusType)bad[i]),
                        "UnknownError");
  for (size_t i = 0; i < LENGTH(types); i++, case_count++)
    assert_string_equal(
        umem_get_device_name_from_type((umemDeviceType)types[i]),
        "UnknownDevice");
}

/* The type m of the kind, the device n; a_size is the size of what is to be
   filled in. */
static umemStatusType call_device_info(struct args const *x) {
  umemDeviceInfo info, before;
  memset(&info, 0x5E, sizeof info);
  info.size = x->a_size;
  before = info;
  umemStatusType status = umem_device_info((umemDeviceType)(int)x->m, x->n,
                                           x->no_out ? NULL : &info);
  CHECK(status == umemOK || memcmp(&info, &before, sizeof info) == 0);
  return status;
}

static struct function const device_info =
    FUNCTION(umem_device_info, call_device_info);

static void device_info__of_no_kind_or_device_is_refused(void **state) {
  static int const types[] = {-1, 7, 15, 18, 1023, 1024, INT_MAX, INT_MIN};
  static umemDeviceType const kinds[] = {
      umemVirtualDevice, umemHostDevice,        umemFileDevice,
      umemCudaDevice,    umemCudaHostDevice,    umemMMapDevice,
      umemShmDevice,     umemCudaManagedDevice, umemOpenCLDevice,
  };
  (void)state;
  struct args args = {.a_size = sizeof(umemDeviceInfo)};
  for (size_t i = 0; i < LENGTH(types); i++, case_count++) {
    args.m = (size_t)types[i];
    run(&device_info, &args, umemValueError, "no kind");
    errno = EXDEV;
    assert_int_equal(umem_device_count((umemDeviceType)types[i]), 0);
    assert_int_equal(errno, EXDEV);
  }
  for (size_t i = 0; i < LENGTH(kinds); i++) {
    size_t count = umem_device_count(kinds[i]);
    size_t const bad[] = {count + !count, 1000, MANY, SIZE_MAX};
    args.m = kinds[i];
    for (size_t k = 0; k < LENGTH(bad); k++) {
      args.n = bad[k];
      run(&device_info, &args, umemIndexError, "no device");
    }
    args.n = 0;
    run(&device_info, &args, umemOK, "nothing wrong");
  }
}

static void device_info__into_too_little_is_a_value_error(void **state) {
  (void)state;
  struct args args = {.m = umemHostDevice, .a_size = sizeof(umemDeviceInfo)};
  args.no_out = true;
  run(&device_info, &args, umemValueError, "NULL");
  args.no_out = false;
  for (args.a_size = 0; args.a_size < sizeof(size_t); args.a_size++)
    run(&device_info, &args, umemValueError, "a small size");
}

/* --- constructors and the destructor -------------------------------------- */

/* A construction that fails: told in the context, which is good for dtor only
   afterwards; `ctx` is full of what may not be looked at. */
typedef umemStatusType construct(umemContext *ctx, void const *what);

static void run_ctor(construct *ctor, void const *what, umemStatusType expected,
                     char const *text, char const *fixed) {
  umemContext ctx;
  snprintf(now, sizeof now, "constructor, %s", text);
  case_count++;
  memset(&ctx, 0xA5, sizeof ctx);
  errno = EXDEV;
  umemStatusType got = ctor(&ctx, what);
  int after = errno;
  check_code(got, expected, "returned", __LINE__);
  CHECK(after == EXDEV);
  check_code(umem_get_status(&ctx), expected, "the slot has", __LINE__);
  CHECK(umem_get_error_count(&ctx) == 1);
  char const *message = umem_get_message(&ctx);
  check(fixed ? !strcmp(message, fixed) : !strncmp(message, "umem", 4), message,
        __LINE__);
  CHECK(umem_clean_status(&ctx) == umemOK);
  CHECK(umem_flush(&ctx) == umemTypeError);
  CHECK(umem_dtor(&ctx) == umemOK);
  CHECK(umem_is_ok(&ctx));
  case_count++;
  check_code(ctor(NULL, what), umemValueError, "with NULL", __LINE__);
  check_world();
}

struct host_arg {
  umemHostOptions options;
  unsigned char newer[8];
};

static umemStatusType ctor_host(umemContext *ctx, void const *what) {
  return umemHost_ctor_ex(ctx ? &ctx->host : NULL, what);
}

static void host_ctor__with_bad_options(void **state) {
  static int const bad[] = {2, -1, 3, INT_MAX, INT_MIN};
  (void)state;
  struct host_arg arg = {.options = {.size = sizeof(umemHostOptions)}};
  for (size_t i = 0; i < LENGTH(bad); i++) {
    arg.options.checked = bad[i];
    run_ctor(ctor_host, &arg, umemValueError, "Host, checked", NULL);
  }
  arg.options.checked = 0;
  for (size_t size = 0; size < sizeof(size_t); size++) {
    arg.options.size = size;
    run_ctor(ctor_host, &arg, umemValueError, "Host, short size", NULL);
  }
  arg.options.size = sizeof arg;
  for (size_t i = 0; i < sizeof arg.newer; i++) {
    arg.newer[i] = 1;
    run_ctor(ctor_host, &arg, umemNotSupportedError, "Host, excess", NULL);
    arg.newer[i] = 0;
  }
  assert_status(umemHost_ctor(NULL), umemValueError);
}

static void host_ctor__with_bad_placements(void **state) {
  static umemHostOptions const bad[] = {
      {.flags = 1u << 6},
      {.flags = UINT32_MAX},
      {.flags = UMEM_HOST_HUGE_ADVICE | UMEM_HOST_HUGE_RESERVED},
      {.flags = UMEM_HOST_BIND | UMEM_HOST_INTERLEAVE, .nodes = 1},
      {.flags = UMEM_HOST_BIND},
      {.flags = UMEM_HOST_INTERLEAVE, .checked = 1},
      {.nodes = 1},
      {.flags = UMEM_HOST_WIPE, .nodes = UINT64_MAX},
      {.alignment = 3},
      {.alignment = HALF},
      {.alignment = SIZE_MAX}};
  (void)state;
  struct host_arg arg = {.options = {.size = 0}};
  for (unsigned bit = 6; bit < 32; bit++) {
    arg.options = (umemHostOptions){.flags = 1u << bit};
    arg.options.size = sizeof arg;
    run_ctor(ctor_host, &arg, umemValueError, "Host, an unknown flag", NULL);
  }
  for (size_t i = 0; i < LENGTH(bad); i++) {
    arg.options = bad[i];
    arg.options.size = sizeof arg.options;
    run_ctor(ctor_host, &arg, umemValueError, "Host, placed", NULL);
  }
}

static void host_ctor__with_options_of_another_size(void **state) {
  (void)state;
  struct host_arg arg = {.options = {.size = sizeof arg}};
  size_t const sizes[] = {sizeof arg, sizeof arg.options, sizeof(size_t)};
  for (size_t i = 0; i < LENGTH(sizes); i++, case_count++) {
    umemHost host;
    arg.options.size = sizes[i];
    assert_ok(umemHost_ctor_ex(&host, &arg.options));
    assert_ok(umem_dtor(&host));
  }
}

struct file_arg {
  char const *filename, *mode;
  umemFileOptions const *options; /* NULL: the short form */
};

static umemStatusType ctor_file(umemContext *ctx, void const *what) {
  struct file_arg const *arg = what;
  umemFile *file = ctx ? &ctx->file : NULL;
  return arg->options
             ? umemFile_ctor_ex(file, arg->filename, arg->mode, arg->options)
             : umemFile_ctor(file, arg->filename, arg->mode);
}

/* In both forms; files are as they were, for bad modes with a w, too. */
static void run_file(char const *filename, char const *mode,
                     umemStatusType expected, char const *fixed) {
  umemFileOptions options = {.size = sizeof options};
  struct file_arg arg = {filename, mode, NULL};
  char text[128];
  snprintf(text, sizeof text, "File \"%.60s\", mode \"%.20s\"",
           filename ? filename : "(NULL)", mode ? mode : "(NULL)");
  run_ctor(ctor_file, &arg, expected, text, fixed);
  arg.options = &options;
  run_ctor(ctor_file, &arg, expected, text, fixed);
}

static void file_ctor__with_bad_modes(void **state) {
  static char const *const bad[] = {
      "x",  "b",   "+",    "R",    "W",   "br",   "+r",   " r", "r ",
      "rw", "wr",  "r++",  "rbb",  "w++", "r+b+", "w+b+", "wx", "re",
      "rt", "a+t", "r\n",  "\xff", "ra",  "rr",   "ww",   "aa", "w,ccs=UTF-8",
      "r0", "w-",  "rb+b", "a b",  "0",   "%s%n", "wbbb+"};
  (void)state;
  for (size_t i = 0; i < LENGTH(bad); i++)
    run_file(paths[FILE_RW], bad[i], umemValueError, NULL);
  char many[1000];
  memset(many, 'r', sizeof many);
  many[sizeof many - 1] = '\0';
  run_file(paths[FILE_RW], many, umemValueError, NULL);
  run_file(paths[FILE_RW], NULL, umemValueError, NULL);
  run_file(paths[FILE_RW], "", umemValueError, "invalid 0-length mode");
}

static void file_ctor__with_bad_names(void **state) {
  (void)state;
  char many[5000], below[600];
  memset(many, 'x', sizeof many);
  many[sizeof many - 1] = '\0';
  snprintf(below, sizeof below, "%s/below", paths[FILE_RW]);
  run_file(NULL, "r", umemValueError, NULL);
  run_file("", "r", umemValueError, "invalid 0-length filename");
  run_file(NULL, NULL, umemValueError, NULL);
  run_file("", "", umemValueError, "invalid 0-length filename");
  run_file("", "x", umemValueError, "invalid 0-length filename");
  run_file(many, "r", umemIOError, NULL);
  run_file(many, "w", umemIOError, NULL);
  run_file(below, "r", umemIOError, NULL);
  run_file(below, "w", umemIOError, NULL);
  run_file(temp_dir(), "r", umemIOError, NULL);
  run_file(temp_dir(), "w", umemIOError, NULL);
  run_file("/dev/null", "r", umemIOError, NULL);
  run_file("/dev/null", "w", umemIOError, NULL);
  run_file(temp_path("none"), "r", umemIOError, NULL);
  run_file(temp_path("none"), "r+", umemIOError, NULL);
  run_file(temp_path("none/none"), "w", umemIOError, NULL);
  assert_false(file_exists(temp_path("none")));
}

static void run_options(char const *mode, umemFileOptions const *options,
                        umemStatusType expected) {
  struct file_arg arg = {paths[FILE_RW], mode, options};
  char text[128];
  snprintf(text, sizeof text, "File, mode %s, flags 0x%x, permissions 0%o",
           mode, (unsigned)options->flags, (unsigned)options->permissions);
  run_ctor(ctor_file, &arg, expected, text, NULL);
}

static void file_ctor__with_bad_flags(void **state) {
  static char const *const modes[] = {"r", "r+", "w", "w+", "a", "a+"};
  (void)state;
  umemFileOptions options = {.size = sizeof options};
  for (size_t i = 0; i < LENGTH(modes); i++) {
    for (unsigned bit = 6; bit < 32; bit++) {
      options.flags = 1u << bit;
      run_options(modes[i], &options, umemValueError);
    }
    options.flags = UINT32_MAX;
    run_options(modes[i], &options, umemValueError);
    options.flags = UMEM_FILE_EXCL; /* there is such a file */
    run_options(modes[i], &options, i < 2 ? umemValueError : umemIOError);
    options.flags = UMEM_FILE_ATOMIC;
    if (modes[i][0] != 'w')
      run_options(modes[i], &options, umemValueError);
  }
  options.flags = 0;
  uint32_t const bad[] = {01000, 04000, 07777, 010000, UINT32_MAX};
  for (size_t i = 0; i < LENGTH(bad); i++) {
    options.permissions = bad[i];
    run_options("w", &options, umemValueError);
  }
}

static void file_ctor__with_options_of_bad_sizes(void **state) {
  struct {
    umemFileOptions options;
    unsigned char newer[8];
  } arg = {.options = {.size = sizeof arg}};
  (void)state;
  for (size_t size = 0; size < sizeof(size_t); size++) {
    arg.options.size = size;
    run_options("w", &arg.options, umemValueError);
  }
  arg.options.size = sizeof arg;
  for (size_t i = 0; i < sizeof arg.newer; i++) {
    arg.newer[i] = 1;
    run_options("w", &arg.options, umemNotSupportedError);
    arg.newer[i] = 0;
  }
}

static void run_fd(int fd, char const *mode, umemStatusType expected) {
  umemFileOptions options = {
      .size = sizeof options, .flags = UMEM_FILE_TAKE_FD, .fd = fd};
  run_options(mode, &options, expected);
}

/* And the descriptor stays the caller's. */
static void file_ctor__with_bad_descriptors(void **state) {
  (void)state;
  static int const bad[] = {-1, -2, INT_MAX, INT_MIN, 9999};
  for (size_t i = 0; i < LENGTH(bad); i++)
    run_fd(bad[i], "r", umemValueError);
  int fd = open(paths[FILE_RW], O_RDONLY | O_CLOEXEC);
  run_fd(fd, "r+", umemValueError);
  run_fd(fd, "w", umemValueError);
  assert_int_equal(close(fd), 0);
  run_fd(fd, "r", umemValueError);
  fd = open(paths[FILE_RW], O_RDWR | O_APPEND | O_CLOEXEC);
  run_fd(fd, "r+", umemValueError);
  run_fd(fd, "a", umemValueError);
  umemFileOptions options = {.size = sizeof options, .fd = fd};
  uint32_t const with[] = {UMEM_FILE_NOFOLLOW, UMEM_FILE_EXCL,
                           UMEM_FILE_ATOMIC};
  for (size_t i = 0; i < LENGTH(with); i++) {
    options.flags = UMEM_FILE_TAKE_FD | with[i];
    run_options("w", &options, umemValueError);
  }
  assert_int_equal(close(fd), 0);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  run_fd(ends[0], "r", umemIOError);
  assert_int_equal(close(ends[0]), 0);
  assert_int_equal(close(ends[1]), 0);
  fd = open(temp_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  run_fd(fd, "r", umemIOError);
  assert_int_equal(close(fd), 0);
}

/* --- shared memory -------------------------------------------------------- */

struct shm_arg {
  char const *name;
  size_t nbytes;
  uint32_t flags;
};

static umemStatusType ctor_shm(umemContext *ctx, void const *what) {
  struct shm_arg const *arg = what;
  return umemShm_ctor(ctx ? &ctx->shm : NULL, arg->name, arg->nbytes,
                      arg->flags);
}

static void run_shm(char const *name, size_t nbytes, uint32_t flags,
                    umemStatusType expected) {
  struct shm_arg arg = {name, nbytes, flags};
  char text[128];
  snprintf(text, sizeof text, "Shm \"%.40s\", %zu bytes, flags 0x%x",
           name ? name : "(NULL)", nbytes, (unsigned)flags);
  run_ctor(ctor_shm, &arg, expected, text, NULL);
}

static void shm_ctor__with_bad_arguments(void **state) {
  static char const *const names[] = {"",   "/",   "x",    "//", "/a/",
                                      "/.", "/..", "/a/b", "a/", "%s%n"};
  static size_t const sizes[] = {SIZE_MAX, SIZE_MAX - 1, MANY, MANY - 1,
                                 (size_t)1 << 40};
  static char const good[] = "/umem-test-bad-input";
  char many[300] = "/";
  (void)state;
  memset(many + 1, 'x', sizeof many - 2);
  many[sizeof many - 1] = '\0';
  for (size_t i = 0; i < LENGTH(names); i++)
    run_shm(names[i], BLOCK, 0, umemValueError);
  run_shm(many, BLOCK, 0, umemValueError);
  for (size_t i = 0; i < LENGTH(sizes); i++) {
    run_shm(good, sizes[i], 0, umemMemoryError);
    run_shm(NULL, sizes[i], UMEM_SHM_CREATE, umemMemoryError);
  }
  run_shm(NULL, 0, 0, umemValueError);
  run_shm(good, 0, 0, umemValueError);
  run_shm(good, 0, UMEM_SHM_CREATE, umemValueError);
  run_shm(good, 0, UMEM_SHM_ATTACH, umemIOError);
  run_shm(NULL, BLOCK, UMEM_SHM_ATTACH, umemValueError);
  run_shm(NULL, BLOCK, UMEM_SHM_KEEP, umemValueError);
  run_shm(good, BLOCK, UMEM_SHM_CREATE | UMEM_SHM_ATTACH, umemValueError);
  for (unsigned bit = 3; bit < 32; bit++)
    run_shm(good, BLOCK, 1u << bit, umemValueError);
}

static umemStatusType ctor_shm_fd(umemContext *ctx, void const *what) {
  int const *fd = what;
  return umemShm_ctor_fd(ctx ? &ctx->shm : NULL, *fd);
}

static void shm_ctor_fd__with_bad_descriptors(void **state) {
  (void)state;
  int const bad[] = {-1,
                     -2,
                     INT_MAX,
                     INT_MIN,
                     9999,
                     open(paths[FILE_RW], O_RDONLY | O_CLOEXEC),
                     open(paths[FILE_RW], O_RDWR | O_CLOEXEC),
                     open("/dev/null", O_RDWR | O_CLOEXEC)};
  for (size_t i = 0; i < LENGTH(bad); i++)
    run_ctor(ctor_shm_fd, &bad[i], umemValueError, "Shm, descriptor", NULL);
  for (size_t i = 5; i < LENGTH(bad); i++)
    assert_int_equal(close(bad[i]), 0);
}

CALL(call_get_fd, unless(umemShm_get_fd(x->a) != -1, x->a))

static void shm_get_fd__of_what_is_no_shm_is_a_type_error(void **state) {
  static struct function const get_fd = FUNCTION(umemShm_get_fd, call_get_fd);
  (void)state;
  for (enum who who = HOST; who <= EVERYONE; who++) {
    struct args args = {.a = bad_context(who)};
    run(&get_fd, &args, umemTypeError, bad_name(who));
  }
}

static void shm_unlink__of_bad_names(void **state) {
  static char const *const names[] = {NULL, "", "/", "x", "/.", "/..", "/a/b"};
  (void)state;
  for (size_t i = 0; i < LENGTH(names); i++, case_count++) {
    errno = EXDEV;
    assert_status(umemShm_unlink(names[i]), umemValueError);
    assert_int_equal(errno, EXDEV);
  }
  assert_status(umemShm_unlink("/umem-test-there-is-none"), umemIOError);
}

/* --- OpenCL: without a device --------------------------------------------- */

struct opencl_arg {
  int platform, device;
  umemOpenCLOptions const *options;
};

static umemStatusType ctor_opencl(umemContext *ctx, void const *what) {
  struct opencl_arg const *arg = what;
  umemOpenCL *opencl = ctx ? &ctx->opencl : NULL;
  return arg->options ? umemOpenCL_ctor_ex(opencl, arg->platform, arg->device,
                                           arg->options)
                      : umemOpenCL_ctor(opencl, arg->platform, arg->device);
}

/* Where there is no platform no number is better than another. */
static umemStatusType opencl_number_error(void) {
  umemDeviceInfo info = {.size = sizeof info};
  assert_ok(umem_device_info(umemOpenCLDevice, 0, &info));
  bool any = info.usable || strstr(info.reason, "no device in any of");
  return any ? umemIndexError : umemNotSupportedError;
}

static void opencl_ctor__with_bad_numbers(void **state) {
  static int const bad[] = {-1, -2, 1000, INT_MAX, INT_MIN};
  umemOpenCLOptions options = {.size = sizeof options};
  (void)state;
  umemStatusType const expected = opencl_number_error();
  for (size_t i = 0; i < LENGTH(bad); i++) {
    struct opencl_arg arg = {bad[i], 0, NULL};
    run_ctor(ctor_opencl, &arg, expected, "OpenCL, platform", NULL);
    arg.options = &options;
    run_ctor(ctor_opencl, &arg, expected, "OpenCL, options", NULL);
    arg.device = bad[i];
    run_ctor(ctor_opencl, &arg, expected, "OpenCL, device", NULL);
  }
}

static void opencl_ctor__with_options_of_bad_sizes(void **state) {
  struct {
    umemOpenCLOptions options;
    unsigned char newer[8];
  } given = {.options = {.size = sizeof given}};
  (void)state;
  struct opencl_arg arg = {0, 0, &given.options};
  for (size_t i = 0; i < sizeof given.newer; i++) {
    given.newer[i] = 1;
    run_ctor(ctor_opencl, &arg, umemNotSupportedError, "OpenCL, excess", NULL);
    given.newer[i] = 0;
  }
  for (size_t size = 0; size < sizeof size; size++) {
    given.options.size = size;
    run_ctor(ctor_opencl, &arg, umemValueError, "OpenCL, short size", NULL);
  }
  given.options.size = SIZE_MAX;
  run_ctor(ctor_opencl, &arg, umemValueError, "OpenCL, a huge size", NULL);
}

static umemStatusType call_get_objects(struct args const *x) {
  void *objects[] = {image, image, image};
  umemStatusType status = umemOpenCL_get_objects(
      x->a, &objects[0], x->no_out ? NULL : &objects[1], &objects[2]);
  for (size_t i = 0; i < LENGTH(objects); i++)
    CHECK(objects[i] == image);
  return status;
}

static umemStatusType call_get_mem(struct args const *x) {
  void *mem = image;
  size_t offset = SENTINEL;
  umemStatusType status = umemOpenCL_get_mem(
      x->a, x->a_adr, x->no_out ? NULL : &mem, x->no_out ? NULL : &offset);
  CHECK(mem == image && offset == SENTINEL);
  return status;
}

CALL(call_get_tier, unless(umemOpenCL_get_tier(x->a) != umemOpenCLBest, x->a))
CALL(call_set_arg,
     umemOpenCL_set_arg(x->a, x->no_out ? NULL : image, 0, x->a_adr))

static void opencl__functions_of_what_is_no_OpenCL_are_type_errors(void **st) {
  static struct function const functions[] = {
      FUNCTION(umemOpenCL_get_tier, call_get_tier),
      FUNCTION(umemOpenCL_get_objects, call_get_objects),
      FUNCTION(umemOpenCL_get_mem, call_get_mem),
      FUNCTION(umemOpenCL_set_arg, call_set_arg)};
  (void)st;
  for (size_t i = 0; i < LENGTH(functions); i++)
    for (enum who who = HOST; who <= EVERYONE; who++) {
      struct args args = {.a = bad_context(who), .a_adr = block[HOST]};
      run(&functions[i], &args, umemTypeError, bad_name(who));
      args.no_out = true;
      args.a_adr = 0;
      run(&functions[i], &args, umemTypeError, bad_name(who));
    }
}

static umemStatusType ctor_cuda(umemContext *ctx, void const *what) {
  int const *device = what;
  return umemCuda_ctor(ctx ? &ctx->cuda : NULL, *device);
}

static void cuda_ctor__is_not_supported_yet(void **state) {
  static int const devices[] = {0, 1, -1, INT_MAX, INT_MIN};
  (void)state;
  for (size_t i = 0; i < LENGTH(devices); i++)
    run_ctor(ctor_cuda, &devices[i], umemNotSupportedError, "Cuda", NULL);
}

/* Two contexts: the failure is told in both. */
static umemContext fresh;

static umemStatusType call_virtual_ctor(struct args const *x) {
  umemStatusType status =
      umemVirtual_ctor(&fresh.super, (umemHost *)(uintptr_t)x->a);
  CHECK(umem_get_status(&fresh) == status);
  CHECK(umem_dtor(&fresh) == umemOK);
  return status;
}

static struct function const virtual_ctor = {
    "umemVirtual_ctor", call_virtual_ctor, "umemVirtual_ctor(host "};

static void virtual_ctor__needs_no_host_but_a_live_one(void **state) {
  (void)state;
  for (enum who who = FILE_RW; who <= EVERYONE; who++) {
    struct args args = {.a = bad_context(who)};
    if (args.a)
      run(&virtual_ctor, &args, umemTypeError, bad_name(who));
  }
  assert_status(umemVirtual_ctor(NULL, NULL), umemValueError);
}

CALL(call_dtor, umem_dtor(x->a))
CALL(call_virtual_dtor, umemVirtual_dtor((umemVirtual *)(uintptr_t)x->a))

/* And what is no context is not written to: see check_world(). */
static void dtor__of_what_is_not_live_is_ok(void **state) {
  static struct function const dtors[] = {
      {"umem_dtor", call_dtor, ""},
      {"umemVirtual_dtor", call_virtual_dtor, ""}};
  (void)state;
  for (size_t i = 0; i < LENGTH(dtors); i++)
    for (enum who who = DEAD; who <= EVERYONE; who++) {
      struct args args = {.a = bad_context(who)};
      run(&dtors[i], &args, umemOK, bad_name(who));
    }
}

/* --- all of it ------------------------------------------------------------ */

static void there_were_enough_cases(void **state) {
  (void)state;
  print_message("bad input: %u cases\n", case_count);
  assert_true(case_count >= MIN_CASES);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(one_context__that_is_not_live_is_a_type_error),
      cmocka_unit_test(two_contexts__of_which_one_is_not_live_are_a_type_error),
      cmocka_unit_test(disconnect__needs_a_source_that_was_a_context_once),
      cmocka_unit_test(virtual__implements_no_operation),
      cmocka_unit_test(discard__is_for_what_is_to_be_published),
      cmocka_unit_test(alloc__of_more_than_there_can_be_is_a_memory_error),
      cmocka_unit_test(alloc__of_all_there_can_be_is_a_memory_error),
      cmocka_unit_test(alloc__past_the_end_of_a_file_that_is_only_read),
      cmocka_unit_test(alloc__without_an_output_is_a_value_error),
      cmocka_unit_test(aligned_alloc__of_bad_alignments_says_a_fixed_text),
      cmocka_unit_test(aligned_alloc__of_bad_sizes_says_a_fixed_text),
      cmocka_unit_test(aligned_alloc__of_absurd_alignments_is_a_memory_error),
      cmocka_unit_test(free__of_what_is_no_live_block_is_a_value_error),
      cmocka_unit_test(aligned_origin__of_0_is_a_value_error),
      cmocka_unit_test(free__of_0_is_nothing_to_do),
      cmocka_unit_test(set__of_a_bad_range_is_an_index_error),
      cmocka_unit_test(set_safe__out_of_a_known_block_is_an_index_error),
      cmocka_unit_test(set__at_NULL_in_host_memory_is_a_value_error),
      cmocka_unit_test(set__of_bytes_that_are_read_only_is_a_value_error),
      cmocka_unit_test(set__past_the_largest_offset_is_an_index_error),
      cmocka_unit_test(copy__of_a_bad_range_is_an_index_error),
      cmocka_unit_test(copy__safe_out_of_a_known_block_is_an_index_error),
      cmocka_unit_test(copy__from_or_to_NULL_in_host_memory_is_a_value_error),
      cmocka_unit_test(copy__without_the_right_to_is_a_value_error),
      cmocka_unit_test(copy_plan__into_too_little_is_a_value_error),
      cmocka_unit_test(set_threads__of_too_many_is_a_value_error),
      cmocka_unit_test(connect__of_bad_arguments_allocates_nothing),
      cmocka_unit_test(connect__without_the_right_to_is_a_value_error),
      cmocka_unit_test(disconnect__of_what_is_not_connected_is_a_value_error),
      cmocka_unit_test(disconnect__of_almost_the_right_pair_is_a_value_error),
      cmocka_unit_test(status__of_what_is_no_context_is_a_type_error),
      cmocka_unit_test(set_status__of_no_status_is_a_value_error),
      cmocka_unit_test(copy_last_error__into_too_little_is_a_value_error),
      cmocka_unit_test(names__of_unknown_numbers_are_unknown),
      cmocka_unit_test(device_info__of_no_kind_or_device_is_refused),
      cmocka_unit_test(device_info__into_too_little_is_a_value_error),
      cmocka_unit_test(host_ctor__with_bad_options),
      cmocka_unit_test(host_ctor__with_bad_placements),
      cmocka_unit_test(host_ctor__with_options_of_another_size),
      cmocka_unit_test(file_ctor__with_bad_modes),
      cmocka_unit_test(file_ctor__with_bad_names),
      cmocka_unit_test(file_ctor__with_bad_flags),
      cmocka_unit_test(file_ctor__with_options_of_bad_sizes),
      cmocka_unit_test(file_ctor__with_bad_descriptors),
      cmocka_unit_test(shm_ctor__with_bad_arguments),
      cmocka_unit_test(shm_ctor_fd__with_bad_descriptors),
      cmocka_unit_test(shm_get_fd__of_what_is_no_shm_is_a_type_error),
      cmocka_unit_test(shm_unlink__of_bad_names),
      cmocka_unit_test(opencl_ctor__with_bad_numbers),
      cmocka_unit_test(opencl_ctor__with_options_of_bad_sizes),
      cmocka_unit_test(opencl__functions_of_what_is_no_OpenCL_are_type_errors),
      cmocka_unit_test(cuda_ctor__is_not_supported_yet),
      cmocka_unit_test(virtual_ctor__needs_no_host_but_a_live_one),
      cmocka_unit_test(dtor__of_what_is_not_live_is_ok),
      cmocka_unit_test(there_were_enough_cases),
  };
  static int const signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE};
  cmocka_set_message_output(CM_OUTPUT_STDOUT);
  for (size_t i = 0; i < LENGTH(signals); i++)
    signal(signals[i], signalled);
  return cmocka_run_group_tests(tests, world_begin, world_end);
}
