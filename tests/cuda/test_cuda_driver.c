/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated driver, by plain calls of it: what it allows, what it finds
 * fault with, and when it does things. Here is what concerns the whole library
 * and whole processes, which are this program again in a role: those of
 * planted_bugs.c, and those of run_role(). The rest is in driver/test/.
 */
#include "driver/test/support.h"

int planted_run(char const *role);

/* --- the library ---------------------------------------------------------- */

static void driver__has_every_symbol(void **state) {
  (void)state;
  struct client all;
  assert_int_equal(client_load(&all, "libcuda.so.1"), 0);
  int version;
  ok(c.cu.DriverGetVersion(&version));
  assert_int_equal(version, 13000);
}

static void driver__of_cuda_11_0_lacks_the_optional_functions(void **state) {
  (void)state;
  struct client old;
  int version, value;
#define ONE(name, symbol, parameters) +1
  assert_int_equal(client_load(&old, SIMCU_OLD "/libcuda.so.1"),
                   UMEMI_CU_OPTIONAL(ONE));
  ok(old.cu.DriverGetVersion(&version));
  assert_int_equal(version, 11000);
  ok(old.cu.Init(0));
  fails(old.cu.DeviceGetAttribute(
            &value, UMEMI_CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 0),
        INVALID_VALUE);
}

static void driver__for_linkers_fails_and_writes_nothing(void **state) {
  (void)state;
  struct client stub;
  int count = 77;
#define CONTROL(result, name, parameters) +1
  assert_int_equal(client_load(&stub, SIMCU_STUB "/libcuda.so.1"),
                   SIMCU_CONTROLS(CONTROL));
  fails(stub.cu.Init(0), STUB_LIBRARY);
  fails(stub.cu.DriverGetVersion(&count), STUB_LIBRARY);
  fails(stub.cu.DeviceGetCount(&count), STUB_LIBRARY);
  assert_int_equal(count, 77);
}

static void driver__names_errors(void **state) {
  (void)state;
  char const *name;
  ok(c.cu.GetErrorName(UMEMI_CUDA_ERROR_OUT_OF_MEMORY, &name));
  assert_string_equal(name, "CUDA_ERROR_OUT_OF_MEMORY");
  ok(c.cu.GetErrorString(709, &name));
  fails(c.cu.GetErrorName(12345, &name), INVALID_VALUE);
  assert_null(name);
}

static void devices__say_what_they_are(void **state) {
  (void)state;
  char name[64];
  int value;
  cuUuid first, second;
  size_t nbytes;
  ok(c.cu.DeviceGetCount(&value));
  assert_int_equal(value, 2);
  ok(c.cu.DeviceGetName(name, sizeof name, 1));
  assert_string_equal(name, "Simulated GPU 1");
  ok(c.cu.DeviceGetUuid(&first, 0));
  ok(c.cu.DeviceGetUuid(&second, 1));
  assert_memory_not_equal(&first, &second, sizeof first);
  ok(c.cu.DeviceTotalMem(&nbytes, 0));
  assert_int_equal(nbytes, 256 * MIB);
  fails(c.cu.DeviceGet(&value, 2), INVALID_DEVICE);
  c.sim.set_attribute(0, 1, 1024);
  ok(c.cu.DeviceGetAttribute(&value, 1, 0));
  assert_int_equal(value, 1024);
}

/* --- other processes ------------------------------------------------------ */

static void hex(char *out, void const *bytes, size_t nbytes) {
  for (size_t i = 0; i < nbytes; i++)
    sprintf(out + 2 * i, "%02x", ((unsigned char const *)bytes)[i]);
}

static void ipc__opens_in_another_process(void **state) {
  (void)state;
  cuAddress adr = allocated(NBYTES);
  cuIpcHandle handle;
  char text[2 * sizeof handle + 1];
  ok(c.cu.IpcGetMemHandle(&handle, adr));
  ok(c.cu.MemsetD8(adr, 3, NBYTES));
  ok(c.cu.CtxSynchronize());
  hex(text, &handle, sizeof handle);
  set_mode("lazy", 1);
  assert_int_equal(again("open_handle", text), 3);
  assert_int_equal(byte_at(adr), 4); /* what the other one wrote */
  ok(c.cu.MemFree(adr));
  assert_int_equal(again("open_handle", text), 255);
}

/* Returns the byte that is there, and writes the next one. */
static int open_handle(char const *text) {
  cuIpcHandle handle;
  cuAddress adr;
  unsigned char byte = 0;
  for (size_t i = 0; i < sizeof handle; i++) {
    char digits[] = {text[2 * i], text[2 * i + 1], '\0'};
    ((unsigned char *)&handle)[i] = (unsigned char)strtoul(digits, NULL, 16);
  }
  driver_begin(NULL);
  if (c.cu.IpcOpenMemHandle(&adr, handle, 1) == 0) {
    ok(c.cu.MemcpyDtoH(&byte, adr, 1));
    ok(c.cu.MemsetD8(adr, (unsigned char)(byte + 1), 1));
    ok(c.cu.CtxSynchronize());
    ok(c.cu.IpcCloseMemHandle(adr));
  } else {
    byte = 255;
  }
  driver_end(NULL);
  return byte;
}

/* --- fork and exit -------------------------------------------------------- */

static int call_in_child(void) {
  int count;
  cuContext current;
  return c.cu.Init(0) == 3 && c.cu.DeviceGetCount(&count) == 3 &&
                 c.cu.CtxGetCurrent(&current) == 3 && c.cu.MemFree(0) == 3 &&
                 c.cu.DriverGetVersion(&count) == 0
             ? 3
             : 0;
}

static void fork__leaves_the_child_without_a_driver(void **state) {
  (void)state;
  assert_int_equal(in_child(call_in_child), 3);
}

static void call_late(void) {
  int count;
  printf("before cuInit: %d\n", c.cu.DeviceGetCount(&count));
}

static void call_early(void) {
  int count;
  printf("after cuInit: %d\n", c.cu.DeviceGetCount(&count));
}

/* Handlers run in the reverse order of their registration. */
static int exit_handlers(void) {
  atexit(call_late);
  ok(c.cu.Init(0));
  atexit(call_early);
  return 0;
}

static void exit__ends_the_driver_among_the_handlers(void **state) {
  (void)state;
  set_mode("lazy", 1);
  assert_int_equal(again("exit_handlers", NULL), 0);
  assert_non_null(strstr(told, "after cuInit: 0"));
  assert_non_null(strstr(told, "before cuInit: 4"));
}

static int init_only(void) {
  int count, value;
  cuCode code = c.cu.Init(0);
  if (code)
    return code;
  ok(c.cu.DeviceGetCount(&count));
  ok(c.cu.DeviceGetAttribute(&value, 89, 0));
  return count * 10 + value;
}

static void environment__says_what_the_machine_is_like(void **state) {
  (void)state;
  memset(settings, 0, sizeof settings);
  snprintf(settings[0], sizeof settings[0], "SIMCU_DEVICES=0");
  assert_int_equal(again("init_only", NULL), 100);
  snprintf(settings[0], sizeof settings[0], "SIMCU_DEVICES=4");
  snprintf(settings[1], sizeof settings[1], "SIMCU_ATTRIBUTES=83=0,89=0");
  assert_int_equal(again("init_only", NULL), 40);
  snprintf(settings[2], sizeof settings[2], "SIMCU_REPORT=1");
  assert_int_equal(again("init_only", NULL), 40);
  assert_non_null(strstr(told, "simcu: 0 violations"));
}

static int leak_block(void) {
  driver_begin(NULL);
  allocated(8);
  ok(c.cu.CtxPopCurrent(NULL));
  return 0;
}

static void strict__is_about_what_it_is_told(void **state) {
  (void)state;
  static struct {
    char const *about;
    int status;
  } const cases[] = {{"violations,handles,stack", 0},
                     {"memory", SIMCU_STRICT_EXIT},
                     {"retains", SIMCU_STRICT_EXIT},
                     {"1", SIMCU_STRICT_EXIT}};
  memset(settings, 0, sizeof settings);
  for (size_t i = 0; i < LENGTH(cases); i++) {
    snprintf(settings[0], sizeof settings[0], "SIMCU_STRICT=%s",
             cases[i].about);
    assert_int_equal(again("leak_block", NULL), cases[i].status);
    assert_non_null(strstr(told, "live: 8 bytes at"));
  }
}

/* --- planted bugs --------------------------------------------------------- */

static void planted__nothing_is_found_in_a_correct_program(void **state) {
  (void)state;
  set_mode("lazy", 1);
  assert_int_equal(again("planted", "correct"), 0);
  set_mode("eager", 1);
  assert_int_equal(again("planted", "correct"), 0);
  for (unsigned seed = 1; seed <= SEEDS; seed++) {
    set_mode("random", seed);
    assert_int_equal(again("planted", "correct"), 0);
  }
}

struct bug {
  char const *role, *says;
  int status;
};

static void expect_found(struct bug const *bug) {
  int status = again("planted", bug->role);
  if (status == bug->status && strstr(told, bug->says))
    return;
  fail_msg("%s: %d, not %d: %s", bug->role, status, bug->status, told);
}

/* Sooner or later is what they are about. */
static void planted__races_are_found_in_lazy_mode(void **state) {
  (void)state;
  static struct bug const bugs[] = {
      {"slot_reused", "", CORRUPT},
      {"no_final_wait", "", CORRUPT},
      {"unordered", "", CORRUPT},
  };
  set_mode("lazy", 1);
  for (size_t i = 0; i < LENGTH(bugs); i++)
    expect_found(&bugs[i]);
}

static void planted__early_unregistering_is_found_in_lazy_mode(void **state) {
  (void)state;
  static struct bug const bug = {"unregistered_early",
                                 "is unregistered while queued work uses it",
                                 SIMCU_STRICT_EXIT};
  set_mode("lazy", 1);
  expect_found(&bug);
}

static void expect_all_found(void) {
  static struct bug const bugs[] = {
      {"past_the_end", "leave the block of 300001", SIMCU_STRICT_EXIT},
      {"used_after_free", "is in no live block", SIMCU_STRICT_EXIT},
      {"freed_twice", "where no block is live", SIMCU_STRICT_EXIT},
      {"leaked", "live: 8 bytes at", SIMCU_STRICT_EXIT},
      {"freed_elsewhere", "in a context of device 1", SIMCU_STRICT_EXIT},
      {"context_left", "1 current contexts", SIMCU_STRICT_EXIT},
      {"over_released", "device 1 is not retained", SIMCU_STRICT_EXIT},
  };
  for (size_t i = 0; i < LENGTH(bugs); i++)
    expect_found(&bugs[i]);
  int status = again("planted", "dereferenced");
  assert_true(status == SEGV || strstr(told, "SEGV")); /* AddressSanitizer */
}

static void planted__misuse_is_found_in_every_mode(void **state) {
  (void)state;
  set_mode("lazy", 1);
  expect_all_found();
  set_mode("eager", 1);
  expect_all_found();
  set_mode("random", 1);
  expect_all_found();
}

/* --- the program ---------------------------------------------------------- */

static int run_role(char const *role, char const *argument) {
  if (strcmp(role, "planted") == 0)
    return planted_run(argument);
  if (strcmp(role, "open_handle") == 0)
    return open_handle(argument);
  if (strcmp(role, "exit_handlers") == 0)
    return exit_handlers();
  if (strcmp(role, "leak_block") == 0)
    return leak_block();
  return strcmp(role, "init_only") == 0 ? init_only() : 1;
}

static int library_part(void) {
  struct CMUnitTest const tests[] = {
      cmocka_unit_test(driver__has_every_symbol),
      cmocka_unit_test(driver__of_cuda_11_0_lacks_the_optional_functions),
      cmocka_unit_test(driver__for_linkers_fails_and_writes_nothing),
      cmocka_unit_test(driver__names_errors),
      in_contexts(devices__say_what_they_are),
      in_contexts(ipc__opens_in_another_process),
      in_contexts(fork__leaves_the_child_without_a_driver),
      cmocka_unit_test(exit__ends_the_driver_among_the_handlers),
      cmocka_unit_test(environment__says_what_the_machine_is_like),
      cmocka_unit_test(strict__is_about_what_it_is_told),
      cmocka_unit_test(planted__nothing_is_found_in_a_correct_program),
      cmocka_unit_test(planted__races_are_found_in_lazy_mode),
      cmocka_unit_test(planted__early_unregistering_is_found_in_lazy_mode),
      cmocka_unit_test(planted__misuse_is_found_in_every_mode),
  };
  return cmocka_run_group_tests_name("library", tests, NULL, NULL);
}

int main(int count, char **arguments) {
  if (client_load(&c, "libcuda.so.1")) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  if (count > 1)
    return run_role(arguments[1], count > 2 ? arguments[2] : "");
  return library_part() + memory_part() + time_part() + failures_part() +
         contexts_part() + pools_part() + capture_part() + lives_part() +
         registered_part() + ipc_part() + chunks_part() + created_part() +
         rectangles_part();
}
