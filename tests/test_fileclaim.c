/* SPDX-License-Identifier: BSD-3-Clause */
/* src/fileclaim.c: contexts that have the same file. */
#include "file_support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

static umemStatusType take(umemFile *f, int fd, char const *mode) {
  umemFileOptions options = {
      .size = sizeof options, .flags = UMEM_FILE_TAKE_FD, .fd = fd};
  return umemFile_ctor_ex(f, NULL, mode, &options);
}

static umemStatusType allocate(void const *ctx) {
  uintptr_t adr;
  return umem_try_alloc(ctx, 100, &adr);
}

#define assert_second(ctx)                                                     \
  assert_true(umem_calloc(ctx, 1, 1) == 0);                                    \
  assert_slot(ctx, umemIOError, "EAGAIN (11)");                                \
  assert_fails(                                                                \
      ctx, allocate(ctx), umemIOError,                                         \
      "EAGAIN (11) Resource temporarily unavailable: another context "         \
      "allocates in this file")

/* --- emptied by one, open in another ---------------------------------------
 */

#define assert_refused(name)                                                   \
  do {                                                                         \
    umemFile file_;                                                            \
    umemMMap map_;                                                             \
    assert_ctor_fails(&file_, umemFile_ctor(&file_, name, "w"),                \
                      umemValueError, "use UMEM_FILE_ATOMIC");                 \
    assert_ctor_fails(&file_, umemFile_ctor(&file_, name, "w+"),               \
                      umemValueError, "lose its ");                            \
    assert_ctor_fails(&file_, take(&file_, fd_of(name), "w"), umemValueError,  \
                      "use UMEM_FILE_ATOMIC");                                 \
    assert_ctor_fails(&map_, umemMMap_ctor(&map_, name, "w+"), umemValueError, \
                      "use UMEM_FILE_ATOMIC");                                 \
    close(last_fd);                                                            \
  } while (0)

static int last_fd;

static int fd_of(char const *name) {
  last_fd = open(name, O_RDWR | O_CLOEXEC);
  return last_fd;
}

static void empty__is_refused_while_a_context_has_the_file(void **state) {
  (void)state;
  static char const *const live[] = {"r", "r+", "a", "a+"};
  for (size_t i = 0; i < sizeof live / sizeof *live; i++) {
    char const *name = file_with("sample"), *other = new_path();
    umemFile f;
    assert_int_equal(link(name, other), 0);
    file_open(&f, name, live[i]);
    assert_refused(name);
    assert_refused(other);
    assert_file_is(name, "sample");
    assert_ok(umem_dtor(&f));
    file_open(&f, name, "w");
    assert_ok(umem_dtor(&f));
    assert_file_is(name, "");
  }
}

static void empty__is_refused_while_a_mapping_has_the_file(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemMMap map;
  umemFile f;
  assert_ok(umemMMap_ctor(&map, name, "r"));
  assert_refused(name);
  assert_file_is(name, "sample");
  assert_ok(open_flagged(&f, name, "w", UMEM_FILE_ATOMIC));
  assert_ok(umem_copy_to(&map, umemMMap_get_address(&map, NULL), &f, 0, 6));
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&map));
  assert_file_is(name, "sample");
}

/* Of memory that processes share. */
static void empty__is_refused_while_a_segment_lives(void **state) {
  (void)state;
  char name[64], path[80], letter = 0;
  umemShm shm;
  umemHost host;
  snprintf(name, sizeof name, "/umem-claim-%d", (int)getpid());
  snprintf(path, sizeof path, "/dev/shm%s", name);
  umemShm_unlink(name);
  assert_ok(umemShm_ctor(&shm, name, 1 << 16, UMEM_SHM_CREATE));
  assert_ok(umemHost_ctor(&host));
  uintptr_t adr = umem_alloc(&shm, 100);
  umem_set(&shm, adr, 'S', 100);
  assert_refused(path);
  assert_ok(umem_copy_to(&shm, adr + 99, &host, (uintptr_t)&letter, 1));
  assert_int_equal(letter, 'S');
  assert_ok(umem_dtor(&shm));
  assert_ok(umem_dtor(&host));
}

static void empty__of_an_empty_file_loses_nothing(void **state) {
  (void)state;
  char const *name = file_with("");
  umemFile reader, writer;
  file_open(&reader, name, "r");
  file_open(&writer, name, "w");
  assert_ok(umem_dtor(&writer));
  assert_ok(umem_dtor(&reader));
}

static void empty__refused_context_does_not_keep_others_out(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile reader, writer;
  file_open(&reader, name, "r");
  assert_ctor_fails(&writer, umemFile_ctor(&writer, name, "w"), umemValueError,
                    "");
  assert_ok(umem_dtor(&reader));
  faults_fail(FAULT_ftruncate, 1, EIO);
  assert_ctor_fails(&writer, umemFile_ctor(&writer, name, "w"), umemIOError,
                    "ftruncate");
  file_open(&writer, name, "r+");
  assert_ok(allocate(&writer));
  assert_ok(umem_dtor(&writer));
}

/* A reader that is constructed while the file is being emptied. */
static char const *contested;
static atomic_bool is_read;
static pthread_t reading;
static umemFile late_reader;

static void *construct_reader(void *unused) {
  (void)unused;
  file_open(&late_reader, contested, "r");
  is_read = true;
  return NULL;
}

static int contested_ftruncate(int fd, off_t size) {
  assert_int_equal(pthread_create(&reading, NULL, construct_reader, NULL), 0);
  sleep_milliseconds(20);
  assert_false(is_read);
  return ftruncate(fd, size);
}

static void empty__reader_that_comes_meanwhile_waits(void **state) {
  (void)state;
  umemFile writer;
  contested = file_with("sample");
  is_read = false;
  umemi_os.ftruncate = contested_ftruncate;
  file_open(&writer, contested, "w");
  assert_int_equal(pthread_join(reading, NULL), 0);
  assert_true(is_read);
  assert_ok(umem_dtor(&late_reader));
  assert_ok(umem_dtor(&writer));
}

static pthread_barrier_t together;

static void *construct_writer(void *context) {
  pthread_barrier_wait(&together);
  umemStatusType status = umemFile_ctor(context, contested, "w");
  return status == umemOK ? context : NULL;
}

static void empty__of_two_at_a_time_one_succeeds(void **state) {
  (void)state;
  assert_int_equal(pthread_barrier_init(&together, NULL, 2), 0);
  for (size_t i = 0; i < scaled(200, 20); i++) {
    umemFile files[2];
    pthread_t other;
    void *theirs;
    contested = file_with("sample");
    assert_int_equal(pthread_create(&other, NULL, construct_writer, &files[0]),
                     0);
    void const *ours = construct_writer(&files[1]);
    assert_int_equal(pthread_join(other, &theirs), 0);
    assert_int_equal(!!ours + !!theirs, 1);
    assert_ok(umem_dtor(&files[0]));
    assert_ok(umem_dtor(&files[1]));
    assert_file_is(contested, "");
    unlink(contested);
  }
  pthread_barrier_destroy(&together);
}

static void open_and_close(void) {
  umemFile f;
  alarm(60);
  file_open(&f, contested, "r");
  assert_ok(umem_dtor(&f));
}

static int forking_ftruncate(int fd, off_t size) {
  assert_child_succeeds(open_and_close);
  return ftruncate(fd, size);
}

static void empty__forked_child_does_not_wait_for_its_parent(void **state) {
  (void)state;
  umemFile writer;
  contested = file_with("sample");
  umemi_os.ftruncate = forking_ftruncate;
  file_open(&writer, contested, "w");
  assert_ok(umem_dtor(&writer));
}

/* --- one allocates, in one process -----------------------------------------
 */

static void alloc__by_a_second_context_is_refused(void **state) {
  (void)state;
  static char const *const writing[] = {"r+", "a", "a+"};
  for (size_t i = 0; i < 3; i++) {
    char const *name = file_with("sample");
    umemFile one, two;
    file_open(&one, name, "r+");
    file_open(&two, name, writing[i]);
    assert_ok(allocate(&one));
    assert_second(&two);
    assert_ok(write_text(&two, 6, "copies are free"));
    assert_ok(allocate(&one));
    assert_ok(umem_dtor(&one));
    assert_ok(allocate(&two));
    assert_ok(umem_dtor(&two));
  }
}

static void alloc__is_refused_for_mappings_too(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemMMap map;
  umemFile f;
  assert_ok(umemMMap_ctor(&map, name, "r+"));
  file_open(&f, name, "r+");
  assert_ok(allocate(&f));
  assert_second(&map);
  assert_ok(umem_dtor(&f));
  assert_ok(allocate(&map));
  assert_ok(umem_dtor(&map));
}

static void alloc__in_mode_r_needs_no_claim(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile writer, reader;
  uintptr_t adr;
  file_open(&writer, name, "r+");
  assert_ok(allocate(&writer));
  file_open(&reader, name, "r");
  assert_ok(umem_try_alloc(&reader, 6, &adr));
  assert_ok(umem_dtor(&reader));
  assert_ok(umem_dtor(&writer));
}

static void alloc__of_nothing_needs_no_claim(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile one, two;
  uintptr_t adr;
  file_open(&one, name, "r+");
  file_open(&two, name, "r+");
  assert_ok(umem_try_alloc(&one, 0, &adr));
  assert_ok(allocate(&two));
  assert_second(&one);
  assert_ok(umem_dtor(&one));
  assert_ok(umem_dtor(&two));
}

static void alloc__with_NO_LOCK_is_up_to_the_caller(void **state) {
  (void)state;
  char const *name = file_with("sample");
  umemFile one, two;
  file_open(&one, name, "r+");
  assert_ok(allocate(&one));
  assert_ok(open_flagged(&two, name, "r+", UMEM_FILE_NO_LOCK));
  faults_clear();
  assert_ok(allocate(&two));
  assert_int_equal(faults_count(FAULT_fcntl), 0);
  assert_ok(umem_dtor(&two));
  assert_ok(umem_dtor(&one));
}

static void alloc__of_contexts_that_share_a_descriptor(void **state) {
  (void)state;
  int fd = open(file_with("sample"), O_RDWR | O_CLOEXEC);
  umemFile one, two;
  assert_ok(take(&one, fcntl(fd, F_DUPFD_CLOEXEC, 0), "r+"));
  assert_ok(take(&two, fd, "r+"));
  assert_ok(allocate(&one));
  assert_second(&two);
  assert_ok(umem_dtor(&one));
  assert_ok(allocate(&two));
  assert_ok(umem_dtor(&two));
}

static void alloc__goes_on_where_there_are_no_locks(void **state) {
  (void)state;
  static int const refusals[] = {ENOLCK, EOPNOTSUPP, EINVAL,
                                 ENOSYS, EPERM,      EACCES};
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    char const *name = file_with("sample");
    umemFile one, two;
    file_open(&one, name, "r+");
    file_open(&two, name, "r+");
    faults_fail_from(FAULT_fcntl, 1, refusals[i]);
    assert_ok(allocate(&one));
    assert_second(&two); /* the process knows without a lock */
    faults_clear();
    assert_ok(umem_dtor(&one));
    assert_ok(umem_dtor(&two));
    faults_fail_from(FAULT_fcntl, 1, refusals[i]);
    file_open(&one, name, "w");
    assert_ok(allocate(&one));
    assert_ok(umem_dtor(&one));
    faults_clear();
  }
}

static int lock_errno;

/* Refuses locks with what a system may say of a conflict. */
static int refusing_fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  int result = fcntl(fd, command, argument);
  if (command == F_OFD_SETLK && result)
    errno = lock_errno;
  return result;
}

static void alloc__conflict_of_locks_has_two_names(void **state) {
  (void)state;
  static int const conflicts[] = {EAGAIN, EACCES};
  struct flock claim = {.l_type = F_WRLCK,
                        .l_whence = SEEK_SET,
                        .l_start = (off_t)(INT64_MAX - 1),
                        .l_len = 1};
  char const *name = file_with("sample");
  int fd = fd_of(name);
  assert_int_equal(fcntl(fd, F_OFD_SETLK, &claim), 0);
  umemi_os.fcntl = refusing_fcntl;
  for (size_t i = 0; i < 2; i++) {
    umemFile f;
    lock_errno = conflicts[i];
    file_open(&f, name, "r+");
    assert_second(&f);
    assert_ok(umem_dtor(&f));
  }
  close(fd);
}

static void alloc__lock_that_comes_and_goes_is_tried_again(void **state) {
  (void)state;
  umemFile f;
  file_open(&f, file_with("sample"), "r+");
  faults_fail(FAULT_fcntl, 1, EAGAIN);
  assert_ok(allocate(&f));
  assert_ok(umem_dtor(&f));
  file_open(&f, file_with("sample"), "r+");
  faults_fail_from(FAULT_fcntl, 1, EAGAIN);
  assert_second(&f);
  faults_clear();
  assert_ok(allocate(&f));
  assert_ok(umem_dtor(&f));
}

/* --- one allocates, of all processes ---------------------------------------
 */

/* A process of its own for one test: constructs a File, allocates if told so,
   says how that went, and stays until it is ended. */
struct other {
  pid_t pid;
  umemStatusType status;
};

static void other_run(umemStatusType (*work)(void), int result) {
  umemStatusType status = work();
  if (write(result, &status, sizeof status) != sizeof status)
    end_in_child(1);
  for (;;)
    pause();
}

static struct other other_start(umemStatusType (*work)(void)) {
  int ends[2];
  struct other other = {.status = umemAssertError};
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  fflush(NULL);
  other.pid = fork();
  assert_true(other.pid >= 0);
  if (other.pid == 0)
    other_run(work, ends[1]);
  close(ends[1]);
  assert_int_equal(read(ends[0], &other.status, sizeof other.status),
                   sizeof other.status);
  close(ends[0]);
  return other;
}

static void other_end(struct other const *other) {
  kill(other->pid, SIGKILL);
  assert_int_equal(waitpid(other->pid, NULL, 0), other->pid);
}

static char const *shared_name;
static int shared_fd;
static umemFile others;

static umemStatusType allocate_by_name(void) {
  file_open(&others, shared_name, "r+");
  return allocate(&others);
}

static umemStatusType empty_by_name(void) {
  return umemFile_ctor(&others, shared_name, "w");
}

static umemStatusType allocate_by_descriptor(void) {
  umemStatusType status = take(&others, shared_fd, "r+");
  return status == umemOK ? allocate(&others) : status;
}

static umemStatusType lock_all_of_it(void) {
  struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  int fd = open(shared_name, O_RDWR | O_CLOEXEC);
  return fcntl(fd, F_SETLK, &all) ? umemIOError : umemOK;
}

static void claim__keeps_other_processes_from_allocating(void **state) {
  (void)state;
  umemFile f;
  shared_name = file_with("sample");
  struct other other = other_start(allocate_by_name);
  assert_status(other.status, umemOK);
  file_open(&f, shared_name, "r+");
  assert_second(&f);
  assert_ok(write_text(&f, 0, "S"));
  other_end(&other); /* and a killed process has no locks */
  assert_ok(allocate(&f));
  other = other_start(empty_by_name);
  assert_true(other.status != umemOK);
  other_end(&other);
  assert_ok(umem_dtor(&f));
}

static void claim__is_taken_before_the_file_is_emptied(void **state) {
  (void)state;
  umemFile f;
  umemMMap map;
  shared_name = file_with("sample");
  struct other other = other_start(allocate_by_name);
  uint64_t size = file_size(shared_name);
  assert_ctor_fails(&f, umemFile_ctor(&f, shared_name, "w"), umemIOError,
                    "EAGAIN (11)");
  assert_ctor_fails(&map, umemMMap_ctor(&map, shared_name, "w"), umemIOError,
                    "EAGAIN (11)");
  assert_int_equal(file_size(shared_name), size);
  assert_ok(open_flagged(&f, shared_name, "w", UMEM_FILE_ATOMIC));
  assert_ok(allocate(&f));
  assert_ok(umem_dtor(&f));
  other_end(&other);
}

static void claim__holds_for_descriptors_that_processes_share(void **state) {
  (void)state;
  umemFile f;
  shared_fd = open(file_with("sample"), O_RDWR | O_CLOEXEC);
  struct other other = other_start(allocate_by_descriptor);
  assert_status(other.status, umemOK);
  assert_ok(take(&f, shared_fd, "r+"));
  assert_second(&f);
  other_end(&other);
  assert_ok(allocate(&f));
  assert_ok(umem_dtor(&f));
}

static void claim__locks_of_programs_are_their_own(void **state) {
  (void)state;
  umemFile f;
  shared_name = file_with("sample");
  struct other other = other_start(lock_all_of_it);
  assert_status(other.status, umemOK);
  file_open(&f, shared_name, "r+");
  assert_ok(allocate(&f));
  assert_ok(umem_dtor(&f));
  file_open(&f, shared_name, "w");
  assert_ok(umem_dtor(&f));
  other_end(&other);
}

static umemStatusType do_nothing(void) {
  return umemOK;
}

static void claim__ends_with_the_context_whoever_was_forked(void **state) {
  (void)state;
  umemFile f, next;
  shared_name = file_with("sample");
  file_open(&f, shared_name, "r+");
  assert_ok(allocate(&f));
  struct other child = other_start(do_nothing); /* has the descriptor, too */
  assert_ok(umem_dtor(&f));
  file_open(&next, shared_name, "r+");
  assert_ok(allocate(&next));
  assert_ok(umem_dtor(&next));
  other_end(&child);
}

static umemFile inherited, inherited_reader;

static void use_inherited(void) {
  uintptr_t adr;
  assert_fails(&inherited, allocate(&inherited), umemRuntimeError,
               "the parent process allocates in this file");
  assert_true(umem_calloc(&inherited, 1, 1) == 0);
  assert_slot(&inherited, umemRuntimeError, "in a forked child");
  assert_ok(write_text(&inherited, 0, "S"));
  assert_ok(umem_try_set(&inherited, 1, 'A', 1));
  assert_ok(umem_flush(&inherited));
  assert_ok(umem_try_alloc(&inherited_reader, 1, &adr));
  assert_ok(umem_dtor(&inherited));
  assert_ok(umem_dtor(&inherited_reader));
}

static void fork__child_copies_but_does_not_allocate(void **state) {
  (void)state;
  char const *name = file_with("sample");
  file_open(&inherited, name, "r+");
  file_open(&inherited_reader, name, "r");
  assert_child_succeeds(use_inherited);
  assert_file_is(name, "SAmple");
  assert_ok(allocate(&inherited));
  assert_child_succeeds(use_inherited); /* whose dtor releases no lock */
  shared_name = name;
  struct other other = other_start(allocate_by_name);
  assert_status(other.status, umemIOError);
  other_end(&other);
  assert_ok(umem_dtor(&inherited));
  assert_ok(umem_dtor(&inherited_reader));
}

/* Of any offset, the last one included. */
static void claim__restricts_no_offset(void **state) {
  (void)state;
  char const *name = file_with("sample");
  struct flock far = {.l_type = F_WRLCK,
                      .l_whence = SEEK_SET,
                      .l_start = (off_t)1 << 50,
                      .l_len = (off_t)1 << 50};
  int fd = open(name, O_RDWR | O_CLOEXEC);
  umemFile f;
  file_open(&f, name, "r+");
  assert_ok(allocate(&f));
  assert_int_equal(fcntl(fd, F_OFD_SETLK, &far), 0);
  assert_ok(write_text(&f, (uintptr_t)1 << 30, "far"));
  assert_ok(umem_dtor(&f));
  close(fd);
}

int main(void) {
  struct CMUnitTest const tests[] = {
      faulty_test(empty__is_refused_while_a_context_has_the_file),
      faulty_test(empty__is_refused_while_a_mapping_has_the_file),
      faulty_test(empty__is_refused_while_a_segment_lives),
      faulty_test(empty__of_an_empty_file_loses_nothing),
      faulty_test(empty__refused_context_does_not_keep_others_out),
      faulty_test(empty__reader_that_comes_meanwhile_waits),
      faulty_test(empty__of_two_at_a_time_one_succeeds),
      faulty_test(empty__forked_child_does_not_wait_for_its_parent),
      faulty_test(alloc__by_a_second_context_is_refused),
      faulty_test(alloc__is_refused_for_mappings_too),
      faulty_test(alloc__in_mode_r_needs_no_claim),
      faulty_test(alloc__of_nothing_needs_no_claim),
      faulty_test(alloc__with_NO_LOCK_is_up_to_the_caller),
      faulty_test(alloc__of_contexts_that_share_a_descriptor),
      faulty_test(alloc__goes_on_where_there_are_no_locks),
      faulty_test(alloc__conflict_of_locks_has_two_names),
      faulty_test(alloc__lock_that_comes_and_goes_is_tried_again),
      faulty_test(claim__keeps_other_processes_from_allocating),
      faulty_test(claim__is_taken_before_the_file_is_emptied),
      faulty_test(claim__holds_for_descriptors_that_processes_share),
      faulty_test(claim__locks_of_programs_are_their_own),
      faulty_test(claim__ends_with_the_context_whoever_was_forked),
      faulty_test(fork__child_copies_but_does_not_allocate),
      faulty_test(claim__restricts_no_offset),
  };
  return cmocka_run_group_tests(tests, temp_setup, temp_teardown);
}
