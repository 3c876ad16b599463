/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where in a segment's table there may be room: for each group of entries the
 * longest free run that begins behind one of its blocks, as far as this process
 * knows, and above them a tree of maxima, so that the first group with enough
 * room is found without a look at the others.
 *
 * Other processes change the table without a word, so a number may be wrong.
 * One that is too high costs a look at the group; one that is too low is put
 * right by umemi_rooms_forget(), which is called before an allocation fails,
 * unless nobody has announced any room since it was called last. A tree that a
 * forked child inherits, which may be in the middle of a change, does no more
 * harm.
 */
#include "../internal.h"

umemStatusType umemi_rooms_begin(struct umemiRooms *rooms, uint64_t granules,
                                 umemError *error) {
  uint64_t groups = (granules + UMEMI_SEGMENT_GROUP - 1) / UMEMI_SEGMENT_GROUP;
  uint64_t leaves = 1;
  while (leaves < groups)
    leaves *= 2;
  size_t nbytes = (size_t)leaves * 2 * sizeof *rooms->tree;
  rooms->tree = umemi_os.malloc(nbytes);
  if (!rooms->tree)
    return umemi_no_memory(error, "where a segment has room", nbytes);
  rooms->groups = groups;
  rooms->leaves = leaves;
  umemi_rooms_forget(rooms);
  return umemOK;
}

void umemi_rooms_end(struct umemiRooms *rooms) {
  free(rooms->tree);
}

/* Computes a node from its children. */
static void rooms_join(struct umemiRooms *rooms, uint64_t node) {
  uint32_t left = rooms->tree[2 * node], right = rooms->tree[2 * node + 1];
  rooms->tree[node] = left > right ? left : right;
}

void umemi_rooms_forget(struct umemiRooms *rooms) {
  for (uint64_t group = 0; group < rooms->leaves; group++)
    rooms->tree[rooms->leaves + group] =
        group < rooms->groups ? UMEMI_ROOM_UNKNOWN : 0;
  for (uint64_t node = rooms->leaves - 1; node > 0; node--)
    rooms_join(rooms, node);
}

uint32_t umemi_rooms_get(struct umemiRooms const *rooms, uint64_t group) {
  return rooms->tree[rooms->leaves + group];
}

void umemi_rooms_set(struct umemiRooms *rooms, uint64_t group, uint32_t room) {
  uint64_t node = rooms->leaves + group;
  rooms->tree[node] = room;
  while (node /= 2)
    rooms_join(rooms, node);
}

/* Goes up until a tree to the right has enough, and down in it. */
bool umemi_rooms_find(struct umemiRooms const *rooms, uint64_t from,
                      uint64_t length, uint64_t *group_out) {
  uint64_t node = rooms->leaves + from;
  if (from >= rooms->groups)
    return false;
  while (rooms->tree[node] < length) {
    while (node % 2)
      node /= 2;
    if (node == 0)
      return false;
    node++;
  }
  while (node < rooms->leaves)
    node = 2 * node + (rooms->tree[2 * node] < length);
  *group_out = node - rooms->leaves;
  return *group_out < rooms->groups;
}

uint64_t umemi_rooms_longest(struct umemiRooms const *rooms) {
  return rooms->tree[1];
}
