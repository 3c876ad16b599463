/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocks in the order of their addresses: a B-tree, whose nodes are sorted
 * arrays. The key of an entry is the address of a block or, above the leaves,
 * of the first block below the child.
 *
 * Adding splits full nodes on the way down, each split leaves a correct tree:
 * without memory for the next one nothing has to be undone. Taking joins two
 * neighbours once both fit into half a node, and needs no memory.
 */
#include "internal.h"

enum { FAN = 64 }; /* entries of a node */

struct umemiBlockNode {
  uint32_t count;
  uint32_t height; /* 0: a leaf */
  uintptr_t keys[FAN];
  union {
    struct umemiBlockNode *children[FAN];
    struct umemiBlock blocks[FAN];
  } items;
};

/* --- one node ------------------------------------------------------------- */

static struct umemiBlockNode *node_new(uint32_t height) {
  struct umemiBlockNode *node = umemi_os.malloc(sizeof *node);
  if (node) {
    node->count = 0;
    node->height = height;
  }
  return node;
}

/* The last entry whose key is not above `adr`; the first if all are. Without a
   branch on the keys, which no processor could predict. */
static size_t node_find(struct umemiBlockNode const *node, uintptr_t adr) {
  size_t at = 0;
  for (size_t left = node->count, half; left > 1; left -= half) {
    half = left / 2;
    at += node->keys[at + half] <= adr ? half : 0;
  }
  return at;
}

/* All keys of a node are on their way at once, instead of one line of the cache
   after the other. */
static void node_prefetch(struct umemiBlockNode const *node) {
  for (size_t at = 0; at < FAN; at += UMEMI_LINE / sizeof(uintptr_t))
    __builtin_prefetch(&node->keys[at]);
}

static size_t node_item_size(struct umemiBlockNode const *node) {
  return node->height ? sizeof(struct umemiBlockNode *)
                      : sizeof(struct umemiBlock);
}

static void *node_item(struct umemiBlockNode *node, size_t at) {
  return (char *)&node->items + at * node_item_size(node);
}

/* Entries of one node, or of two of one height. */
static void node_move(struct umemiBlockNode *src, size_t src_at,
                      struct umemiBlockNode *dest, size_t dest_at,
                      size_t count) {
  memmove(dest->keys + dest_at, src->keys + src_at, count * sizeof *src->keys);
  memmove(node_item(dest, dest_at), node_item(src, src_at),
          count * node_item_size(src));
}

static void node_insert(struct umemiBlockNode *node, size_t at, uintptr_t key,
                        void const *item) {
  node_move(node, at, node, at + 1, node->count - at);
  node->keys[at] = key;
  memcpy(node_item(node, at), item, node_item_size(node));
  node->count++;
}

static void node_remove(struct umemiBlockNode *node, size_t at) {
  node->count--;
  node_move(node, at + 1, node, at, node->count - at);
}

/* --- a node and its children ---------------------------------------------- */

/* Halves a full child; false without memory. */
static bool node_split(struct umemiBlockNode *node, size_t at) {
  struct umemiBlockNode *left = node->items.children[at];
  struct umemiBlockNode *right = node_new(left->height);
  if (!right)
    return false;
  node_move(left, FAN / 2, right, 0, FAN - FAN / 2);
  left->count = FAN / 2;
  right->count = FAN - FAN / 2;
  node_insert(node, at + 1, right->keys[0], &right);
  return true;
}

/* Child `at` takes over the entries of the next one if both are small. */
static void node_join(struct umemiBlockNode *node, size_t at) {
  if (at + 1 >= node->count)
    return;
  struct umemiBlockNode *left = node->items.children[at];
  struct umemiBlockNode *right = node->items.children[at + 1];
  if (left->count + right->count > FAN / 2)
    return;
  node_move(right, 0, left, left->count, right->count);
  left->count += right->count;
  free(right);
  node_remove(node, at + 1);
}

/* Removes the block at `adr`, which is below the node; the node may be empty
   then. */
static void node_take(struct umemiBlockNode *node, uintptr_t adr) {
  size_t at = node_find(node, adr);
  if (node->height == 0) {
    node_remove(node, at);
    return;
  }
  struct umemiBlockNode *child = node->items.children[at];
  node_take(child, adr);
  if (child->count == 0) {
    free(child);
    node_remove(node, at);
    return;
  }
  node->keys[at] = child->keys[0];
  node_join(node, at);
  if (at > 0)
    node_join(node, at - 1);
}

/* --- tree ----------------------------------------------------------------- */

struct umemiBlock const *
umemi_blocktree_before(struct umemiBlockNode const *root, uintptr_t adr) {
  struct umemiBlockNode const *node = root;
  while (node && node->keys[0] <= adr) {
    size_t at = node_find(node, adr);
    if (node->height == 0)
      return &node->items.blocks[at];
    node = node->items.children[at];
    node_prefetch(node);
  }
  return NULL;
}

/* Puts a node above a root that is full, and halves the root. */
static bool tree_grow(struct umemiBlockNode **root) {
  struct umemiBlockNode *above = node_new((*root)->height + 1);
  if (!above)
    return false;
  node_insert(above, 0, (*root)->keys[0], root);
  if (!node_split(above, 0)) {
    free(above);
    return false;
  }
  *root = above;
  return true;
}

bool umemi_blocktree_add(struct umemiBlockNode **root,
                         struct umemiBlock const *block) {
  if (!*root)
    *root = node_new(0);
  if (!*root || ((*root)->count == FAN && !tree_grow(root)))
    return false;
  struct umemiBlockNode *node = *root;
  while (node->height > 0) {
    size_t at = node_find(node, block->adr);
    if (node->items.children[at]->count == FAN) {
      if (!node_split(node, at))
        return false;
      at = node_find(node, block->adr);
    }
    if (block->adr < node->keys[at])
      node->keys[at] = block->adr;
    node = node->items.children[at];
  }
  bool is_first = node->count == 0 || block->adr < node->keys[0];
  size_t at = is_first ? 0 : node_find(node, block->adr) + 1;
  node_insert(node, at, block->adr, block);
  return true;
}

void umemi_blocktree_take(struct umemiBlockNode **root, uintptr_t adr) {
  struct umemiBlockNode *top = *root;
  node_take(top, adr);
  while (top->height > 0 && top->count == 1) {
    *root = top->items.children[0];
    free(top);
    top = *root;
  }
  if (top->count == 0) {
    free(top);
    *root = NULL;
  }
}
