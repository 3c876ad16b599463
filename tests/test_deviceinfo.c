/* SPDX-License-Identifier: BSD-3-Clause */
/* What devices there are, as the system tells it, and as it might. */
#include "core.h"

#include "internal.h"

#define NODES "/sys/devices/system/node/"

static umemDeviceInfo info_of(umemDeviceType type, size_t index) {
  umemDeviceInfo info;
  memset(&info, 0x5E, sizeof info);
  info.size = sizeof info;
  assert_ok(umem_device_info(type, index, &info));
  assert_int_equal(info.size, sizeof info);
  assert_int_equal(info.type, type);
  assert_int_equal(info.reserved, 0);
  assert_true(strnlen(info.name, sizeof info.name) < sizeof info.name);
  assert_true(strnlen(info.reason, sizeof info.reason) < sizeof info.reason);
  assert_int_equal(info.usable, info.reason[0] == '\0');
  assert_int_equal(info.usable, info.name[0] != '\0');
  return info;
}

/* --- what the system is made to say --------------------------------------- */

/* Files that the library reads elsewhere: names with '-' for '/'. */
static bool shows;

static int open_shown(char const *path, int flags, ...) {
  char name[256];
  if (!shows || (flags & O_PATH) ||
      (strncmp(path, "/sys/", 5) != 0 && strncmp(path, "/proc/", 6) != 0))
    return faults_real.open(path, flags, 0600);
  snprintf(name, sizeof name, "%s", path);
  for (char *p = name; *p; p++)
    if (*p == '/')
      *p = '-';
  return faults_real.open(temp_path(name), O_RDONLY | O_CLOEXEC);
}

static void show(char const *path, char const *text) {
  char name[256];
  snprintf(name, sizeof name, "%s", path);
  for (char *p = name; *p; p++)
    if (*p == '/')
      *p = '-';
  file_put(temp_path(name), text, strlen(text));
  shows = true;
  umemi_os.open = open_shown;
}

static int show_teardown(void **state) {
  shows = false;
  return faults_teardown(state);
}

#define shown_test(f) cmocka_unit_test_teardown(f, show_teardown)

/* --- Host ----------------------------------------------------------------- */

static void host__is_a_device_for_each_node_with_memory(void **state) {
  (void)state;
  size_t count = umem_device_count(umemHostDevice);
  uint64_t total = 0;
  int last = -1;
  assert_true(count >= 1);
  for (size_t i = 0; i < count; i++) {
    umemDeviceInfo info = info_of(umemHostDevice, i);
    assert_int_equal(info.usable, 1);
    assert_true(info.total_bytes > 0);
    assert_true(info.free_bytes <= info.total_bytes);
    assert_true(info.numa_node > last || (info.numa_node == -1 && count == 1));
    last = info.numa_node;
    total += info.total_bytes;
  }
  uint64_t all =
      (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
  assert_true(total / 2 <= all && all / 2 <= total);
}

static void host__on_several_nodes_says_what_each_has(void **state) {
  (void)state;
  show(NODES "has_memory", "0,2-3\n");
  show(NODES "node0/meminfo", "\nNode 0 MemTotal:       1000 kB\n"
                              "Node 0 MemFree:         100 kB\n"
                              "Node 0 Active(file):     20 kB\n"
                              "Node 0 Inactive(file):    3 kB\n");
  show(NODES "node2/meminfo", "Node 2 MemTotal:   1073741824 kB\n");
  show("/proc/cpuinfo", "processor\t: 0\nmodel name\t: A  CPU\nflags\t: x\n");
  assert_int_equal(umem_device_count(umemHostDevice), 3);
  umemDeviceInfo info = info_of(umemHostDevice, 0);
  assert_int_equal(info.numa_node, 0);
  assert_int_equal(info.total_bytes, 1000 << 10);
  assert_int_equal(info.free_bytes, 123 << 10);
  assert_string_equal(info.name, "A  CPU");
  info = info_of(umemHostDevice, 1);
  assert_int_equal(info.numa_node, 2);
  assert_true(info.total_bytes == UINT64_C(1) << 40);
  assert_int_equal(info.free_bytes, 0);
  info = info_of(umemHostDevice, 2); /* of which nothing is told */
  assert_int_equal(info.numa_node, 3);
  assert_int_equal(info.total_bytes, 0);
  assert_int_equal(info.usable, 1);
  info.size = sizeof info;
  assert_status(umem_device_info(umemHostDevice, 3, &info), umemIndexError);
}

static void host__without_names_and_nodes_is_one_device(void **state) {
  (void)state;
  show("/proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 50\n");
  show(NODES "has_memory", "1\n");
  assert_string_equal(info_of(umemHostDevice, 0).name, "host memory, node 1");
  show(NODES "has_memory", "");
  assert_int_equal(umem_device_count(umemHostDevice), 1);
  umemDeviceInfo info = info_of(umemHostDevice, 0);
  assert_int_equal(info.numa_node, -1);
  assert_string_equal(info.name, "host memory");
  assert_true(info.total_bytes > 0);
  assert_true(info.free_bytes <= info.total_bytes);
}

static void names__are_cut_where_they_are_too_long(void **state) {
  (void)state;
  char text[300] = "model name\t: ";
  memset(text + strlen(text), 'x', 200);
  show("/proc/cpuinfo", text);
  umemDeviceInfo info = info_of(umemHostDevice, 0);
  assert_int_equal(strlen(info.name), sizeof info.name - 1);
}

/* --- directories ---------------------------------------------------------- */

static void file_and_mmap__are_the_working_directory(void **state) {
  (void)state;
  static umemDeviceType const types[] = {umemFileDevice, umemMMapDevice};
  for (size_t i = 0; i < LENGTH(types); i++) {
    struct statvfs fs;
    assert_int_equal(statvfs(".", &fs), 0);
    assert_int_equal(umem_device_count(types[i]), 1);
    umemDeviceInfo info = info_of(types[i], 0);
    char *name = realpath(".", NULL);
    assert_non_null(name);
    assert_true(strncmp(info.name, name, sizeof info.name - 1) == 0);
    free(name);
    assert_true(info.total_bytes == (uint64_t)fs.f_blocks * fs.f_frsize);
    assert_true(info.free_bytes < info.total_bytes ||
                fs.f_bavail == fs.f_blocks);
    assert_int_equal(info.numa_node, -1);
  }
}

static void shm__is_where_shared_memory_lies(void **state) {
  (void)state;
  struct statvfs fs;
  bool there = statvfs("/dev/shm", &fs) == 0;
  assert_int_equal(umem_device_count(umemShmDevice), there);
  umemDeviceInfo info = info_of(umemShmDevice, 0);
  assert_int_equal(info.usable, there);
  if (there)
    assert_true(info.total_bytes == (uint64_t)fs.f_blocks * fs.f_frsize);
}

static void a_directory__that_cannot_be_had_is_no_device(void **state) {
  (void)state;
  static umemDeviceType const types[] = {umemFileDevice, umemMMapDevice,
                                         umemShmDevice};
  static enum fault_call const calls[] = {FAULT_open, FAULT_fstatvfs};
  faults_install();
  for (size_t i = 0; i < LENGTH(types) * LENGTH(calls); i++) {
    enum fault_call call = calls[i % LENGTH(calls)];
    umemDeviceType type = types[i / LENGTH(calls)];
    faults_clear();
    faults_fail_from(call, 1, ENOENT);
    assert_int_equal(umem_device_count(type), 0);
    umemDeviceInfo info = info_of(type, 0);
    assert_has(info.reason, "ENOENT (2) No such file or directory: directory");
    assert_has(info.reason, type == umemShmDevice ? "\"/dev/shm\"" : "\".\"");
    assert_int_equal(info.total_bytes, 0);
    assert_int_equal(faults_count(FAULT_close), call == FAULT_fstatvfs ? 2 : 0);
  }
  faults_clear();
  faults_fail_from(FAULT_realpath, 1, ENOMEM);
  assert_string_equal(info_of(umemFileDevice, 0).name, ".");
}

/* --- kinds without devices ------------------------------------------------ */

static void kinds_without_devices__say_why(void **state) {
  (void)state;
  static struct {
    umemDeviceType type;
    char const *why;
  } const cases[] = {
      {umemVirtualDevice, "made of a Host: has no memory of its own"},
      {umemCudaDevice, "libumem " UMEM_VERSION_STRING " has no CUDA support"},
      {umemCudaHostDevice, "no driver was looked for"},
      {umemCudaManagedDevice, "no driver was looked for"}};
  for (size_t i = 0; i < LENGTH(cases); i++) {
    umemDeviceInfo info = info_of(cases[i].type, 0);
    assert_int_equal(umem_device_count(cases[i].type), 0);
    assert_int_equal(info.usable, 0);
    assert_int_equal(info.numa_node, -1);
    assert_int_equal(info.total_bytes, 0);
    assert_has(info.reason, cases[i].why);
    assert_status(umem_device_info(cases[i].type, 1, &info), umemIndexError);
  }
  umemCuda cuda;
  assert_status(umemCuda_ctor(&cuda, 0), umemNotSupportedError);
  assert_has(umem_get_message(&cuda), info_of(umemCudaDevice, 0).reason);
  assert_ok(umem_dtor(&cuda));
}

/* --- sizes ---------------------------------------------------------------- */

/* Of a program that was compiled with less, or more, than there is now. */
static void info__is_written_as_far_as_asked(void **state) {
  (void)state;
  struct {
    umemDeviceInfo info;
    unsigned char newer[32];
  } given;
  for (size_t size = sizeof(size_t); size <= sizeof given; size++) {
    memset(&given, 0x5E, sizeof given);
    given.info.size = size;
    assert_ok(umem_device_info(umemCudaDevice, 0, &given.info));
    size_t written = size < sizeof given.info ? size : sizeof given.info;
    assert_true(
        all_bytes_are((char *)&given + written, sizeof given - written, 0x5E));
    assert_int_equal(given.info.size, size);
    size_t reason = offsetof(umemDeviceInfo, reason);
    if (size > reason)
      assert_non_null(memchr(given.info.reason, '\0', written - reason));
  }
}

int main(void) {
  struct CMUnitTest const tests[] = {
      shown_test(host__is_a_device_for_each_node_with_memory),
      shown_test(host__on_several_nodes_says_what_each_has),
      shown_test(host__without_names_and_nodes_is_one_device),
      shown_test(names__are_cut_where_they_are_too_long),
      shown_test(file_and_mmap__are_the_working_directory),
      shown_test(shm__is_where_shared_memory_lies),
      shown_test(a_directory__that_cannot_be_had_is_no_device),
      shown_test(kinds_without_devices__say_why),
      shown_test(info__is_written_as_far_as_asked),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
