/* SPDX-License-Identifier: BSD-3-Clause */
/* What devices there are, as the system tells it, and as it might. */
#include "core.h"

#include <signal.h>
#include <sys/wait.h>

#include "doubles/shown.h"
#include "internal.h"
#include "opencl/cl.h"

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
  if (type != umemOpenCLDevice) {
    assert_int_equal(info.platform, 0);
    assert_int_equal(info.device, index);
  }
  return info;
}

/* --- Host ----------------------------------------------------------------- */

static void host__is_a_device_for_each_node_with_memory(void **state) {
  (void)state;
  size_t count = umem_device_count(umemHostDevice);
  int last = -1;
  assert_true(count >= 1);
  for (size_t i = 0; i < count; i++) {
    umemDeviceInfo info = info_of(umemHostDevice, i);
    assert_int_equal(info.usable, 1);
    assert_true(info.total_bytes > 0);
    assert_true(info.free_bytes <= info.total_bytes);
    assert_true(info.numa_node > last || (info.numa_node == -1 && count == 1));
    last = info.numa_node;
  }
}

static void host__tells_only_nodes_whose_memory_can_be_had(void **state) {
  (void)state;
  show(NODES "has_memory", "0-2,10,66\n"); /* 10: a GPU's */
  show(NODES "has_normal_memory", "0-2,66\n");
  assert_int_equal(umem_device_count(umemHostDevice), 3);
  assert_int_equal(info_of(umemHostDevice, 2).numa_node, 2);
  show("/proc/self/status",
       "Name:\tx\nMems_allowed:\t5\nMems_allowed_list:\t0,2-63\nx:\t1\n");
  assert_int_equal(umem_device_count(umemHostDevice), 2);
  assert_int_equal(info_of(umemHostDevice, 1).numa_node, 2);
}

static void host__has_no_more_free_than_there_is(void **state) {
  (void)state;
  show(NODES "has_memory", "0\n");
  show(NODES "node0/meminfo", "Node 0 MemTotal:       1000 kB\n"
                              "Node 0 MemFree:         900 kB\n"
                              "Node 0 Active(file):    200 kB\n");
  assert_int_equal(info_of(umemHostDevice, 0).free_bytes, 1000 << 10);
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

/* The same each time, whatever others do on the file system. */
static int fstatvfs_of_4096(int fd, struct statvfs *out) {
  int failed = fstatvfs(fd, out);
  out->f_frsize = 4096;
  out->f_blocks = 1000;
  out->f_bavail = 300;
  return failed;
}

static void file_and_mmap__are_the_working_directory(void **state) {
  (void)state;
  static umemDeviceType const types[] = {umemFileDevice, umemMMapDevice};
  umemi_os.fstatvfs = fstatvfs_of_4096;
  for (size_t i = 0; i < LENGTH(types); i++) {
    assert_int_equal(umem_device_count(types[i]), 1);
    umemDeviceInfo info = info_of(types[i], 0);
    char *name = realpath(".", NULL);
    assert_non_null(name);
    assert_true(strncmp(info.name, name, sizeof info.name - 1) == 0);
    free(name);
    assert_int_equal(info.total_bytes, 4096000);
    assert_int_equal(info.free_bytes, 1228800);
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

/* What a process has loaded stays loaded: these tests come before others. */
static void *no_library(char const *name, int flags) {
  (void)name, (void)flags;
  return NULL;
}

/* --- kinds without devices ------------------------------------------------ */

static void kinds_without_devices__say_why(void **state) {
  (void)state;
  static struct {
    umemDeviceType type;
    char const *why;
  } const cases[] = {
      {umemVirtualDevice, "made of a Host: has no memory of its own"},
      {umemCudaDevice, "no usable CUDA driver: libcuda.so.1 was not found"},
      {umemCudaHostDevice, "libcuda.so.1"},
      {umemCudaManagedDevice, "libcuda.so.1"}};
  umemi_os.dlopen = no_library;
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

/* --- OpenCL --------------------------------------------------------------- */

static void opencl__that_is_not_installed_says_what_was_looked_for(void **st) {
  (void)st;
  umemi_os.dlopen = no_library;
  assert_int_equal(umem_device_count(umemOpenCLDevice), 0);
  umemDeviceInfo info = info_of(umemOpenCLDevice, 0);
  assert_int_equal(info.usable, 0);
  assert_int_equal(info.numa_node, -1);
  assert_int_equal(info.total_bytes, 0);
  assert_has(info.reason, "libOpenCL.so.1 was not found");
  assert_status(umem_device_info(umemOpenCLDevice, 1, &info), umemIndexError);
}

/* An OpenCL of ours: so many devices each of its platforms has, or an error. */
static int cl_devices[8];
static clUint cl_platforms;
static char const *cl_name;
static char cl_ids[8][8]; /* their addresses are ids */

static clInt give_platforms(clUint room, clPlatform *out, clUint *count_out) {
  for (clUint i = 0; out && i < cl_platforms && i < room; i++)
    out[i] = (clPlatform)cl_ids[i];
  *count_out = cl_platforms;
  return UMEMI_CL_SUCCESS;
}

static clInt give_devices(clPlatform platform, clBits type, clUint room,
                          clDevice *out, clUint *count_out) {
  char *ids = (char *)platform;
  int count = cl_devices[(ids - cl_ids[0]) / 8];
  assert_true(type == UMEMI_CL_DEVICE_TYPE_ALL);
  if (count < 0)
    return count;
  for (int i = 0; out && i < count && (clUint)i < room; i++)
    out[i] = (clDevice)&ids[i];
  *count_out = (clUint)count;
  return UMEMI_CL_SUCCESS;
}

/* Too little room is an error, as everywhere in OpenCL. */
static clInt give_info(clDevice device, clUint what, size_t room, void *out,
                       size_t *size_out) {
  uint64_t bytes = (uint64_t)((char *)device - cl_ids[0] + 1) << 30;
  void const *from = &bytes;
  size_t size = sizeof bytes;
  if (what == UMEMI_CL_DEVICE_NAME) {
    from = cl_name;
    size = strlen(cl_name) + 1;
  } else if (what != UMEMI_CL_DEVICE_GLOBAL_MEM_SIZE)
    return UMEMI_CL_INVALID_VALUE;
  if (size_out)
    *size_out = size;
  if (out && size > room)
    return UMEMI_CL_INVALID_VALUE;
  if (out)
    memcpy(out, from, size);
  return UMEMI_CL_SUCCESS;
}

static void never_called(void) {
  fail_msg("not needed to tell what there is");
}

static void *a_library(char const *name, int flags) {
  (void)flags;
  return strcmp(name, "libOpenCL.so.1") == 0 ? cl_ids : NULL;
}

static void *a_function(void *library, char const *name) {
  assert_ptr_equal(library, cl_ids);
  if (strcmp(name, "clGetPlatformIDs") == 0)
    return (void *)give_platforms;
  if (strcmp(name, "clGetDeviceIDs") == 0)
    return (void *)give_devices;
  if (strcmp(name, "clGetDeviceInfo") == 0)
    return (void *)give_info;
  return (void *)never_called;
}

static void cl_begin(int const *devices, size_t platforms) {
  umemi_device_lists_drop();
  umemi_os.dlopen = a_library;
  umemi_os.dlsym = a_function;
  memcpy(cl_devices, devices, platforms * sizeof *devices);
  cl_platforms = (clUint)platforms;
  cl_name = "An OpenCL device";
}

static void assert_listed(size_t index, int platform, int device) {
  umemDeviceInfo info = info_of(umemOpenCLDevice, index);
  assert_int_equal(info.usable, 1);
  assert_int_equal(info.platform, platform);
  assert_int_equal(info.device, device);
  assert_int_equal(info.numa_node, -1);
  assert_true(info.total_bytes == (uint64_t)(8 * platform + device + 1) << 30);
  assert_int_equal(info.free_bytes, 0);
  assert_string_equal(info.name, cl_name);
}

static void opencl__has_the_devices_of_all_platforms(void **state) {
  static int const devices[] = {UMEMI_CL_DEVICE_NOT_FOUND, 2, 0, 3};
  (void)state;
  umemDeviceInfo info = {.size = sizeof info};
  cl_begin(devices, LENGTH(devices));
  assert_int_equal(umem_device_count(umemOpenCLDevice), 5);
  assert_listed(0, 1, 0);
  assert_listed(1, 1, 1);
  assert_listed(2, 3, 0);
  assert_listed(3, 3, 1);
  assert_listed(4, 3, 2);
  assert_status(umem_device_info(umemOpenCLDevice, 5, &info), umemIndexError);
  assert_status(umem_device_info(umemOpenCLDevice, SIZE_MAX, &info),
                umemIndexError);
}

static void opencl__without_platform_or_device_says_which(void **state) {
  static int const none[] = {UMEMI_CL_DEVICE_NOT_FOUND, 0};
  (void)state;
  cl_begin(none, 0);
  assert_int_equal(umem_device_count(umemOpenCLDevice), 0);
  assert_has(info_of(umemOpenCLDevice, 0).reason, "no OpenCL platform");
  cl_begin(none, 2);
  assert_int_equal(umem_device_count(umemOpenCLDevice), 0);
  assert_has(info_of(umemOpenCLDevice, 0).reason,
             "no device in any of 2 OpenCL platform");
}

/* One driver that is out of order takes nobody else's devices away. */
static void opencl__with_a_platform_that_fails_has_the_others(void **state) {
  static int const devices[] = {UMEMI_CL_OUT_OF_HOST_MEMORY, 1,
                                UMEMI_CL_OUT_OF_RESOURCES, 1};
  (void)state;
  cl_begin(devices, 1);
  assert_int_equal(umem_device_count(umemOpenCLDevice), 0);
  assert_has(info_of(umemOpenCLDevice, 0).reason,
             "clGetDeviceIDs: CL_OUT_OF_HOST_MEMORY (-6)");
  cl_begin(devices, LENGTH(devices));
  assert_int_equal(umem_device_count(umemOpenCLDevice), 2);
  assert_listed(0, 1, 0);
  assert_listed(1, 3, 0);
}

static void opencl__names_are_cut_where_they_are_too_long(void **state) {
  static int const one = 1;
  (void)state;
  char name[200];
  memset(name, 'x', sizeof name);
  for (size_t length = 126; length < 130; length++) {
    cl_begin(&one, 1);
    name[length] = '\0';
    cl_name = name;
    umemDeviceInfo info = info_of(umemOpenCLDevice, 0);
    assert_int_equal(strlen(info.name), length < 127 ? length : 127);
    name[length] = 'x';
  }
}

/* --- drivers that have not been started ----------------------------------- */

static void (*child_does)(void);
static pid_t test_process;

static clInt platforms_in_child(clUint room, clPlatform *out,
                                clUint *count_out) {
  if (getpid() == test_process)
    fail_msg("the driver is started here");
  if (child_does)
    child_does();
  return give_platforms(room, out, count_out);
}

static void *a_function_for_children(void *library, char const *name) {
  return strcmp(name, "clGetPlatformIDs") == 0 ? (void *)platforms_in_child
                                               : a_function(library, name);
}

static void aside_begin(void (*does)(void)) {
  static int const one = 1;
  test_process = getpid();
  child_does = does;
  cl_begin(&one, 1);
  umemi_os.dlsym = a_function_for_children;
  umemi_os.exit_now = end_in_child;
}

static volatile sig_atomic_t signals;

static void count_signal(int number) {
  (void)number;
  signals++;
}

static void
asking__is_not_seen_by_a_program_that_waits_for_children(void **st) {
  (void)st;
  int const actions[] = {0, 1};
  for (size_t i = 0; i < LENGTH(actions); i++) {
    signals = 0;
    signal(SIGCHLD, actions[i] ? count_signal : SIG_IGN);
    int before = dup(0);
    close(before);
    aside_begin(NULL);
    assert_int_equal(umem_device_count(umemOpenCLDevice), 1);
    assert_int_equal(info_of(umemOpenCLDevice, 0).usable, 1);
    assert_int_equal(signals, 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    int after = dup(0);
    close(after);
    assert_int_equal(after, before); /* no descriptor is left */
  }
  signal(SIGCHLD, SIG_DFL);
}

static void crash(void) {
  kill(getpid(), SIGKILL);
}

static void end_early(void) {
  end_in_child(3);
}

static void asking__a_driver_that_ends_the_process_says_so(void **state) {
  (void)state;
  aside_begin(crash);
  assert_int_equal(umem_device_count(umemOpenCLDevice), 0);
  assert_has(info_of(umemOpenCLDevice, 0).reason, "signal 9 ended it");
  aside_begin(end_early);
  assert_has(info_of(umemOpenCLDevice, 0).reason, "it ended with status 3");
}

/* As a shell does with a job, all of its processes. */
static void stop_a_moment(void) {
  pid_t between = getppid();
  kill(between, SIGSTOP);
  sleep_milliseconds(50);
  kill(between, SIGCONT);
  sleep_milliseconds(50);
}

static void asking__goes_on_after_a_stop(void **state) {
  (void)state;
  aside_begin(stop_a_moment);
  assert_int_equal(umem_device_count(umemOpenCLDevice), 1);
}

static atomic_bool hangs;

/* Waits for what the caller holds, as it were. */
static void hang_before_fork(void) {
  if (!hangs)
    return;
  kill(getppid(), SIGTERM);
  for (;;)
    pause();
}

static void asking__can_be_ended_where_a_handler_of_fork_hangs(void **state) {
  (void)state;
  int status = 0;
  if (is_under_valgrind()) {
    print_message("skipped: valgrind keeps signals from the first process\n");
    skip();
  }
  assert_int_equal(pthread_atfork(hang_before_fork, NULL, NULL), 0);
  pid_t child = fork();
  if (child == 0) {
    signal(SIGTERM, SIG_DFL);
    hangs = true;
    aside_begin(NULL);
    umem_device_count(umemOpenCLDevice);
    end_in_child(1);
  }
  uint64_t const end = milliseconds() + 10000;
  while (waitpid(child, &status, WNOHANG) == 0)
    if (milliseconds() > end)
      kill(child, SIGKILL);
    else
      sleep_milliseconds(1);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void asking__without_memory_says_so(void **state) {
  (void)state;
  static struct {
    enum fault_call call;
    unsigned k;
    char const *why;
  } const cases[] = {{FAULT_clone, 1, "clone: the driver is asked"},
                     {FAULT_fork, 1, "fork: the driver is asked"},
                     {FAULT_mmap, 1, "a child process"},
                     {FAULT_mmap, 2, "a child process"},
                     {FAULT_mmap, 3, "a child process"}};
  for (size_t i = 0; i < LENGTH(cases); i++) {
    umemi_device_lists_drop();
    faults_install();
    faults_fail(cases[i].call, cases[i].k, ENOMEM);
    umemDeviceInfo info = info_of(umemOpenCLDevice, 0);
    assert_int_equal(info.usable, 0);
    assert_has(info.reason, cases[i].why);
    faults_reset();
  }
}

/* In a process of its own, which loads the driver. */
static bool finds_the_device(enum fault_call refused, int code) {
  static int const two = 2;
  umemDeviceInfo info = {.size = sizeof info};
  faults_install();
  cl_begin(&two, 1);
  faults_fail_from(refused, 1, code);
  return umem_device_count(umemOpenCLDevice) == 2 &&
         umem_device_info(umemOpenCLDevice, 1, &info) == umemOK && info.usable;
}

static void asking__where_no_child_can_be_had_is_done_here(void **state) {
  (void)state;
  static struct {
    enum fault_call call;
    int code;
  } const refusals[] = {
      {FAULT_clone, EPERM}, {FAULT_clone, EAGAIN}, {FAULT_fork, EAGAIN}};
  for (size_t i = 0; i < LENGTH(refusals); i++) {
    int status = 0;
    pid_t child = fork();
    if (child == 0)
      end_in_child(finds_the_device(refusals[i].call, refusals[i].code) ? 42
                                                                        : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
  }
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
      shown_test(host__tells_only_nodes_whose_memory_can_be_had),
      shown_test(host__has_no_more_free_than_there_is),
      shown_test(host__on_several_nodes_says_what_each_has),
      shown_test(host__without_names_and_nodes_is_one_device),
      shown_test(names__are_cut_where_they_are_too_long),
      shown_test(file_and_mmap__are_the_working_directory),
      shown_test(shm__is_where_shared_memory_lies),
      shown_test(a_directory__that_cannot_be_had_is_no_device),
      faulty_test(kinds_without_devices__say_why),
      faulty_test(opencl__that_is_not_installed_says_what_was_looked_for),
      faulty_test(opencl__has_the_devices_of_all_platforms),
      faulty_test(opencl__without_platform_or_device_says_which),
      faulty_test(opencl__with_a_platform_that_fails_has_the_others),
      faulty_test(opencl__names_are_cut_where_they_are_too_long),
      faulty_test(asking__is_not_seen_by_a_program_that_waits_for_children),
      faulty_test(asking__a_driver_that_ends_the_process_says_so),
      faulty_test(asking__goes_on_after_a_stop),
      faulty_test(asking__can_be_ended_where_a_handler_of_fork_hangs),
      faulty_test(asking__without_memory_says_so),
      faulty_test(asking__where_no_child_can_be_had_is_done_here),
      shown_test(info__is_written_as_far_as_asked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
