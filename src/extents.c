/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which ranges of a growing address space are free: first fit, in O(log n) of
 * the number of free extents for every call.
 *
 * Free extents are nodes of treaps in order of address: binary trees that are
 * balanced because the priorities of their nodes are as good as random. Per
 * subtree each node knows how large a range fits at the best, for each
 * alignment that was ever asked for: this leads to the first fit without
 * looking at what does not fit. Nodes are numbered, and 0 is none.
 */
#include "internal.h"

/* --- nodes ---------------------------------------------------------------- */

/* A hash of the number: a bijection, so no two nodes have the same. */
static uint32_t node_priority(uint32_t node) {
  node = (node ^ node >> 16) * UINT32_C(0x85EBCA6B);
  node = (node ^ node >> 13) * UINT32_C(0xC2B2AE35);
  return node ^ node >> 16;
}

static uint64_t extent_end(struct umemiExtent const *extent) {
  return extent->start + extent->length;
}

/* First multiple of `alignment` from `at`; UINT64_MAX if there is none. */
static uint64_t extents_align(uint64_t at, uint64_t alignment) {
  return at > UINT64_MAX - alignment ? UINT64_MAX
                                     : (at + alignment - 1) & ~(alignment - 1);
}

/* Bytes of an extent from the first multiple of `alignment` at or after
   `lowest`. */
static uint64_t extent_room(struct umemiExtent const *extent, uint64_t lowest,
                            uint64_t alignment) {
  uint64_t end = extent_end(extent);
  uint64_t start =
      extents_align(extent->start < lowest ? lowest : extent->start, alignment);
  return start < end ? end - start : 0;
}

/* Brings up to date what a node knows of its subtree. */
static void node_update(struct umemiExtents *x, uint32_t node) {
  struct umemiExtentNode const *n = &x->nodes[node];
  for (uint64_t used = x->alignments; used; used &= used - 1) {
    unsigned k = (unsigned)__builtin_ctzll(used);
    uint64_t *best = x->best[k];
    uint64_t room = extent_room(&n->extent, 0, UINT64_C(1) << k);
    room = room > best[n->left] ? room : best[n->left];
    best[node] = room > best[n->right] ? room : best[n->right];
  }
}

static uint32_t node_new(struct umemiExtents *x, struct umemiExtent extent) {
  uint32_t node = x->unused;
  if (node)
    x->unused = x->nodes[node].right;
  else
    node = ++x->numbered;
  x->nodes[node] = (struct umemiExtentNode){.extent = extent};
  x->count++;
  return node;
}

static void node_drop(struct umemiExtents *x, uint32_t node) {
  x->nodes[node].right = x->unused;
  x->unused = node;
  x->count--;
}

/* --- trees ---------------------------------------------------------------- */

/* Cuts a tree in two: extents that start before `at`, and all others. */
static void tree_split(struct umemiExtents *x, uint32_t tree, uint64_t at,
                       uint32_t *low_out, uint32_t *high_out) {
  struct umemiExtentNode *n = &x->nodes[tree];
  *low_out = *high_out = 0;
  if (!tree)
    return;
  if (n->extent.start < at) {
    tree_split(x, n->right, at, &n->right, high_out);
    *low_out = tree;
  } else {
    tree_split(x, n->left, at, low_out, &n->left);
    *high_out = tree;
  }
  node_update(x, tree);
}

/* One tree of two, of which the first has the lower addresses. */
static uint32_t tree_join(struct umemiExtents *x, uint32_t low, uint32_t high) {
  if (!low || !high)
    return low ? low : high;
  uint32_t root = node_priority(low) > node_priority(high) ? low : high;
  struct umemiExtentNode *n = &x->nodes[root];
  if (root == low)
    n->right = tree_join(x, n->right, high);
  else
    n->left = tree_join(x, low, n->left);
  node_update(x, root);
  return root;
}

/* Where its priority puts it: below nodes of a higher one. */
static void tree_put(struct umemiExtents *x, uint32_t *tree, uint32_t node) {
  struct umemiExtentNode *n = &x->nodes[node], *at = &x->nodes[*tree];
  if (*tree && node_priority(*tree) > node_priority(node)) {
    tree_put(x, n->extent.start < at->extent.start ? &at->left : &at->right,
             node);
    node_update(x, *tree);
    return;
  }
  tree_split(x, *tree, n->extent.start, &n->left, &n->right);
  node_update(x, node);
  *tree = node;
}

static void tree_insert(struct umemiExtents *x, uint32_t *tree,
                        struct umemiExtent extent) {
  if (extent.length)
    tree_put(x, tree, node_new(x, extent));
}

/* Takes out the node of the extent that starts there; returns its length. */
static uint64_t tree_remove(struct umemiExtents *x, uint32_t *tree,
                            uint64_t start) {
  uint32_t node = *tree;
  struct umemiExtentNode *n = &x->nodes[node];
  if (n->extent.start == start) {
    *tree = tree_join(x, n->left, n->right);
    node_drop(x, node);
    return n->extent.length;
  }
  uint64_t length =
      tree_remove(x, start < n->extent.start ? &n->left : &n->right, start);
  node_update(x, node);
  return length;
}

/* The last extent that starts before `at`, and the first one that does not. */
static void tree_neighbours(struct umemiExtents const *x, uint32_t tree,
                            uint64_t at, uint32_t *before_out,
                            uint32_t *after_out) {
  *before_out = *after_out = 0;
  while (tree) {
    bool before = x->nodes[tree].extent.start < at;
    *(before ? before_out : after_out) = tree;
    tree = before ? x->nodes[tree].right : x->nodes[tree].left;
  }
}

/* What is wanted of a tree: so many bytes at a multiple of 2 to the power of
   `k`, at or after `lowest`, up to `limit`. */
struct cut {
  uint64_t nbytes, lowest, limit;
  unsigned k;
  bool is_past_limit;        /* the first fit is: so are all others */
  uint64_t start;            /* what comes out of it, */
  struct umemiExtent behind; /* and what is left behind that, to be put in */
};

/* Out of the extent at the root, if it fits there. */
static bool root_cut(struct umemiExtents *x, uint32_t *tree, struct cut *cut) {
  uint32_t node = *tree;
  struct umemiExtentNode *n = &x->nodes[node];
  uint64_t room = extent_room(&n->extent, cut->lowest, UINT64_C(1) << cut->k);
  uint64_t start = extent_end(&n->extent) - room, from = n->extent.start;
  if (room < cut->nbytes)
    return false;
  cut->is_past_limit = start > cut->limit || cut->limit - start < cut->nbytes;
  if (cut->is_past_limit)
    return false;
  cut->start = start;
  cut->behind = (struct umemiExtent){start + cut->nbytes, room - cut->nbytes};
  n->extent.length = start - from;
  if (start == from) {
    *tree = tree_join(x, n->left, n->right);
    node_drop(x, node);
  }
  return true;
}

/* Out of the first extent in which it fits. What lies before `lowest` is one
   path of the tree; of the rest `best` tells the truth, so that no way is gone
   in vain. */
static bool tree_cut(struct umemiExtents *x, uint32_t *tree, struct cut *cut) {
  uint32_t node = *tree;
  struct umemiExtentNode *n = &x->nodes[node];
  if (cut->is_past_limit || x->best[cut->k][node] < cut->nbytes)
    return false;
  bool is_after = n->extent.start >= cut->lowest;
  if (!(is_after && tree_cut(x, &n->left, cut)) && !root_cut(x, tree, cut) &&
      !tree_cut(x, &n->right, cut))
    return false;
  if (*tree == node)
    node_update(x, node);
  return true;
}

/* Puts an extent in, as one with those that it touches. */
static void tree_merge(struct umemiExtents *x, uint32_t *tree,
                       struct umemiExtent extent) {
  uint32_t before, after;
  tree_neighbours(x, *tree, extent.start, &before, &after);
  struct umemiExtent const low = x->nodes[before].extent;
  if (after && x->nodes[after].extent.start == extent_end(&extent))
    extent.length += tree_remove(x, tree, extent_end(&extent));
  if (before && extent_end(&low) == extent.start) {
    tree_remove(x, tree, low.start);
    extent = (struct umemiExtent){low.start, low.length + extent.length};
  }
  tree_insert(x, tree, extent);
}

/* --- memory --------------------------------------------------------------- */

static int extents_grow(struct umemiExtents *x, size_t capacity) {
  struct umemiExtentNode *nodes =
      umemi_os.realloc(x->nodes, capacity * sizeof *nodes);
  if (!nodes)
    return ENOMEM;
  x->nodes = nodes;
  x->nodes[0] = (struct umemiExtentNode){.left = 0};
  for (uint64_t used = x->alignments; used; used &= used - 1) {
    unsigned k = (unsigned)__builtin_ctzll(used);
    uint64_t *best = umemi_os.realloc(x->best[k], capacity * sizeof *best);
    if (!best)
      return ENOMEM;
    x->best[k] = best;
  }
  x->capacity = capacity;
  return 0;
}

/* Makes room for all that can become free: what is taken now, one range more,
   and the piece that is left when that one is cut out of the middle, or that is
   skipped. */
static int extents_reserve(struct umemiExtents *x) {
  size_t needed = 1 + x->count + x->taken + 2;
  if (needed <= x->capacity)
    return 0;
  if (needed > UINT32_MAX / 2)
    return ENOMEM;
  return extents_grow(x, needed < 8 ? 8 : needed + needed / 2);
}

static void extents_measure(struct umemiExtents *x, uint32_t tree) {
  if (!tree)
    return;
  extents_measure(x, x->nodes[tree].left);
  extents_measure(x, x->nodes[tree].right);
  node_update(x, tree);
}

/* An alignment that is asked for the first time: what fits is found out once
   for all nodes, and then kept up to date. */
static int extents_know(struct umemiExtents *x, unsigned k) {
  if (x->alignments >> k & 1)
    return 0;
  x->best[k] = umemi_os.malloc(x->capacity * sizeof *x->best[k]);
  if (!x->best[k])
    return ENOMEM;
  x->best[k][0] = 0;
  x->alignments |= UINT64_C(1) << k;
  extents_measure(x, x->freed);
  extents_measure(x, x->withdrawn);
  return 0;
}

/* --- calls ---------------------------------------------------------------- */

static bool extents_reuse(struct umemiExtents *x, uint32_t *tree,
                          struct cut *cut, uint64_t limit) {
  cut->limit = limit;
  if (!tree_cut(x, tree, cut))
    return false;
  tree_insert(x, tree, cut->behind);
  return true;
}

/* What an alignment skips behind a range that was handed out is free. Less than
   a page lies between pages that are in use, and so is there as these are: it
   joins what is given back. What lies behind other bytes may be in use. */
static void extents_skip(struct umemiExtents *x, uint64_t from,
                         uint64_t start) {
  bool is_there = start - from < UMEMI_PAGE;
  if (from == x->end && from > 0 && from < start)
    tree_merge(x, is_there ? &x->freed : &x->withdrawn,
               (struct umemiExtent){from, start - from});
}

static int extents_append(struct umemiExtents *x, uint64_t nbytes,
                          uint64_t alignment, uint64_t from, uint64_t limit,
                          uint64_t *start_out) {
  if (from < x->end)
    from = x->end;
  uint64_t start = extents_align(from, alignment);
  if (start > limit || limit - start < nbytes)
    return ERANGE;
  extents_skip(x, from, start);
  *start_out = start;
  x->end = start + nbytes;
  return 0;
}

int umemi_extents_take(struct umemiExtents *x, uint64_t nbytes,
                       uint64_t alignment, uint64_t lowest, uint64_t used,
                       uint64_t limit, uint64_t *start_out, bool *reused_out) {
  struct cut cut = {.nbytes = nbytes,
                    .lowest = lowest,
                    .k = (unsigned)__builtin_ctzll(alignment)};
  if (extents_reserve(x) || extents_know(x, cut.k))
    return ENOMEM;
  *reused_out = extents_reuse(x, &x->freed, &cut, UINT64_MAX);
  int failed = 0;
  if (!*reused_out && !extents_reuse(x, &x->withdrawn, &cut, limit))
    failed = extents_append(x, nbytes, alignment, used > lowest ? used : lowest,
                            limit, &cut.start);
  if (failed)
    return failed;
  *start_out = cut.start;
  x->taken++;
  return 0;
}

void umemi_extents_give(struct umemiExtents *x, uint64_t start,
                        uint64_t nbytes) {
  x->taken--;
  tree_merge(x, &x->freed, (struct umemiExtent){start, nbytes});
}

void umemi_extents_withdraw(struct umemiExtents *x, uint64_t start,
                            uint64_t nbytes) {
  x->taken--;
  tree_merge(x, &x->withdrawn, (struct umemiExtent){start, nbytes});
  uint32_t last, none;
  tree_neighbours(x, x->withdrawn, x->end, &last, &none);
  struct umemiExtent const extent = x->nodes[last].extent;
  if (!last || extent_end(&extent) != x->end)
    return;
  tree_remove(x, &x->withdrawn, extent.start);
  x->end = extent.start;
}

void umemi_extents_clear(struct umemiExtents *x) {
  for (uint64_t used = x->alignments; used; used &= used - 1)
    free(x->best[__builtin_ctzll(used)]);
  free(x->nodes);
  *x = (struct umemiExtents){.count = 0};
}
