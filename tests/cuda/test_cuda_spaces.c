/* SPDX-License-Identifier: BSD-3-Clause */
/* Whose addresses can be used by whom: all pairs of 13 contexts. */
#include "rig.h"

enum {
  PLAIN,
  CHECKED,
  WIPED,  /* placed */
  PAGED,  /* placed in another way */
  FILE_A, /* and */
  FILE_B, /* another file */
  MAPPED,
  SHARED,
  GPU_0,
  GPU_1,
  PINNED,
  MANAGED,
  MANAGED_HOST, /* of the host alone at first */
  CONTEXTS
};

static umemContext all[CONTEXTS];

/* Row: the source; column: the destination, in the same order; `y`: it may use
   addresses of the source. */
static char const table[CONTEXTS][CONTEXTS + 1] = {
    "yy...........", /* plain */
    "yy...........", /* checked */
    "yyy..........", /* wiped */
    "yy.y.........", /* paged */
    "....y........", /* file */
    ".....y.......", /* another */
    "yy....y......", /* mapped */
    "yy.....y.....", /* shared */
    "........y....", /* GPU 0 */
    ".........y...", /* GPU 1 */
    "yy........y..", /* pinned */
    "yy......y..yy", /* managed */
    "yy..........y", /* managed, of the host */
};

static umemStatusType placed(umemHost *ctx, uint32_t flags, size_t alignment) {
  umemHostOptions options = {
      .size = sizeof options, .flags = flags, .alignment = alignment};
  return umemHost_ctor_ex(ctx, &options);
}

static umemStatusType filed(umemFile *ctx, char const *name) {
  file_put(temp_path(name), "1234", 4);
  return umemFile_ctor(ctx, temp_path(name), "r+");
}

static void must_have(umemContext *ctx, umemStatusType status) {
  if (status != umemOK)
    fail_msg("%s", umem_get_message(ctx));
}

static void all_begin(void) {
  umemHostOptions options = {.size = sizeof options, .checked = 1};
  file_put(temp_path("map"), "1234", 4);
  must_have(&all[PLAIN], umemHost_ctor(&all[PLAIN].host));
  must_have(&all[CHECKED], umemHost_ctor_ex(&all[CHECKED].host, &options));
  must_have(&all[WIPED], placed(&all[WIPED].host, UMEM_HOST_WIPE, 0));
  must_have(&all[PAGED], placed(&all[PAGED].host, UMEM_HOST_WIPE, 4096));
  must_have(&all[FILE_A], filed(&all[FILE_A].file, "a"));
  must_have(&all[FILE_B], filed(&all[FILE_B].file, "b"));
  must_have(&all[MAPPED],
            umemMMap_ctor(&all[MAPPED].mmap, temp_path("map"), "r+"));
  must_have(&all[SHARED], umemShm_ctor(&all[SHARED].shm, NULL, 4096, 0));
  must_have(&all[GPU_0], umemCuda_ctor(&all[GPU_0].cuda, 0));
  must_have(&all[GPU_1], umemCuda_ctor(&all[GPU_1].cuda, 1));
  must_have(&all[PINNED], umemCudaHost_ctor(&all[PINNED].cuda_host, 0));
  must_have(&all[MANAGED],
            umemCudaManaged_ctor(&all[MANAGED].cuda_managed, 0, false, NULL));
  must_have(&all[MANAGED_HOST],
            umemCudaManaged_ctor(&all[MANAGED_HOST].cuda_managed,
                                 UMEM_CUDA_MANAGED_HOST, false, NULL));
}

static void all_end(void) {
  for (size_t i = CONTEXTS; i-- > 0;)
    assert_ok(umem_dtor(&all[i]));
}

static void accessible_from__follows_the_spaces(void **state) {
  (void)state;
  need_simulation();
  all_begin();
  for (size_t src = 0; src < CONTEXTS; src++)
    for (size_t dest = 0; dest < CONTEXTS; dest++)
      if (umem_is_accessible_from(&all[src], &all[dest]) !=
          (table[src][dest] == 'y'))
        fail_msg("%zu to %zu is not '%c'", src, dest, table[src][dest]);
  all_end();
}

/* The same of a block: a mirror has its address, or one of its own. */
static void connect__follows_the_spaces(void **state) {
  (void)state;
  need_simulation();
  all_begin();
  for (size_t src = 0; src < CONTEXTS; src++)
    for (size_t dest = 0; dest < CONTEXTS; dest++) {
      uintptr_t adr = 0, mirror = 0;
      assert_ok(umem_try_alloc(&all[src], 64, &adr));
      assert_ok(umem_try_set(&all[src], adr, 1, 64));
      assert_ok(umem_try_connect(&all[src], adr, 64, &all[dest], 0, &mirror));
      if (table[src][dest] == 'y')
        assert_int_equal(mirror, adr);
      else if (src < FILE_A && dest < FILE_A)
        assert_true(mirror != adr);
      assert_ok(umem_disconnect(&all[src], adr, &all[dest], mirror, 0));
      assert_ok(umem_free(&all[src], adr));
    }
  all_end();
}

/* Their numbers may be equal: that of the device, and of the context. */
static void spaces__of_devices_and_of_contexts_differ(void **state) {
  (void)state;
  need_simulation();
  umemMMap maps[3];
  umemCuda cuda;
  file_put(temp_path("map"), "1234", 4);
  assert_ok(umemCuda_ctor(&cuda, 1));
  for (size_t i = 0; i < LENGTH(maps); i++) {
    assert_ok(umemMMap_ctor(&maps[i], temp_path("map"), "r+"));
    assert_false(umem_is_accessible_from(&maps[i], &cuda));
    assert_false(umem_is_accessible_from(&cuda, &maps[i]));
  }
  for (size_t i = 0; i < LENGTH(maps); i++)
    assert_ok(umem_dtor(&maps[i]));
  assert_ok(umem_dtor(&cuda));
}

/* In a process whose first context is a map, as its ids are small there. */
static int role_first(void) {
  umemMMap map;
  umemCuda cuda;
  bool shares = true;
  char path[] = "/tmp/umem-spaces-XXXXXX";
  int fd = mkstemp(path);
  if (fd < 0 || ftruncate(fd, 4096) ||
      umemMMap_ctor(&map, path, "r+") != umemOK ||
      umemCuda_ctor(&cuda, 1) != umemOK)
    return 2;
  unlink(path);
  close(fd);
  shares = umem_is_accessible_from(&map, &cuda);
  umem_dtor(&map);
  umem_dtor(&cuda);
  return shares;
}

static void spaces__of_the_first_context_are_no_devices(void **state) {
  (void)state;
  need_simulation();
  assert_role_succeeds("first", NULL);
}

#define spaces_test(f) cmocka_unit_test_teardown(f, cuda_teardown)

int main(int argc, char **argv) {
  struct CMUnitTest const tests[] = {
      spaces_test(accessible_from__follows_the_spaces),
      spaces_test(connect__follows_the_spaces),
      spaces_test(spaces__of_devices_and_of_contexts_differ),
      spaces_test(spaces__of_the_first_context_are_no_devices),
  };
  static struct role const roles[] = {{"first", role_first}};
  if (argc > 1)
    return rig_play(roles, LENGTH(roles), argv[1]);
  client_load(&client, "libcuda.so.1");
  assert_ok(umemHost_ctor(&host));
  int const absent = rig_find_device();
  return absent ? absent
                : cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
