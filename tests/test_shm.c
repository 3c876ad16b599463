/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory shared by processes: names, descriptors, peers that die or misbehave.
 */
#include "file_support.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
  MIB = 1 << 20,
  SKIPPED = 77,
  SIZE = 256 << 10,
  GRANULE = UMEMI_SEGMENT_GRANULE,
  TABLE = 4096,
  THREADS = 8
};

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static umemHost host;
static char names_prefix[32];

/* --- support -------------------------------------------------------------- */

static char const *new_name(void) {
  static char names[8][64];
  static unsigned number;
  char *name = names[number % 8];
  snprintf(name, sizeof *names, "%s%u", names_prefix, number++);
  return name;
}

/* Names begin as that of the directory of the tests does, and nobody else's:
   numbers of processes come again, and what a killed one left is still there.
 */
static int names_setup(void **state) {
  int failed = temp_setup(state);
  snprintf(names_prefix, sizeof names_prefix, "%.20s-",
           strrchr(temp_dir(), '/'));
  return failed;
}

/* Where the system has it. */
static char const *path_of(char const *name) {
  static char paths[8][128];
  static unsigned turn;
  char *path = paths[turn++ % 8];
  snprintf(path, sizeof *paths, "/dev/shm%s", name);
  return path;
}

static int names_left(void) {
  DIR *list = opendir("/dev/shm");
  assert_non_null(list);
  int count = 0;
  for (struct dirent *entry; (entry = readdir(list));)
    count +=
        strncmp(entry->d_name, names_prefix + 1, strlen(names_prefix) - 1) == 0;
  closedir(list);
  return count;
}

static int shm_setup(void **state) {
  assert_ok(umemHost_ctor(&host));
  return faults_setup(state);
}

static int shm_teardown(void **state) {
  assert_ok(umem_dtor(&host));
  if (names_left() > 0) {
    print_error("%d names were left in /dev/shm\n", names_left());
    return -1;
  }
  return faults_teardown(state);
}

#define shm_test(test)                                                         \
  cmocka_unit_test_setup_teardown(test, shm_setup, shm_teardown)

static void open_shm(umemShm *s, char const *name, size_t size,
                     uint32_t flags) {
  if (umemShm_ctor(s, name, size, flags) != umemOK)
    fail_msg("%s", umem_get_message(s));
}

static uintptr_t allocated(umemShm const *s, size_t nbytes) {
  uintptr_t adr = umem_alloc(s, nbytes);
  if (!adr)
    fail_msg("%s", umem_get_message(s));
  return adr;
}

/* By the library, and seen through the pointer; and the other way round. */
static void fill(umemShm const *s, uintptr_t adr, size_t nbytes,
                 uint64_t seed) {
  unsigned char *bytes = malloc(nbytes + 1);
  assert_non_null(bytes);
  random_bytes(bytes, nbytes, seed);
  assert_ok(umem_copy_to(&host, (uintptr_t)bytes, s, adr, nbytes));
  free(bytes);
}

static bool holds(uintptr_t adr, size_t nbytes, uint64_t seed) {
  unsigned char *bytes = malloc(nbytes + 1);
  assert_non_null(bytes);
  random_bytes(bytes, nbytes, seed);
  bool same = memcmp((void const *)adr, bytes, nbytes) == 0;
  free(bytes);
  return same;
}

/* Frees every block but those at `kept`; is what is left then free? */
static void free_all_but(umemShm const *s, uintptr_t first, size_t nbytes,
                         uintptr_t const *kept, size_t count) {
  for (uintptr_t adr = first; adr < first + nbytes; adr += GRANULE) {
    bool keep = false;
    for (size_t i = 0; i < count; i++)
      keep = keep || adr == kept[i];
    if (keep)
      continue;
    umemStatusType status = umem_free(s, adr);
    assert_true(status == umemOK || status == umemValueError);
  }
  umem_clean_status(s);
}

/* The first address for blocks: of a segment in which nothing is allocated. */
static uintptr_t first_address(umemShm const *s) {
  uintptr_t adr = allocated(s, 0);
  assert_ok(umem_free(s, adr));
  return adr;
}

static void assert_all_free(umemShm const *s, size_t nbytes) {
  uintptr_t adr = allocated(s, nbytes);
  assert_ok(umem_free(s, adr));
}

/* A process of its own, which has a minute. */
static pid_t start(void (*run)(void)) {
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    alarm(60);
    run();
    end_in_child(0);
  }
  return pid;
}

static int ended(pid_t pid) {
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

static void kill_hard(pid_t pid) {
  kill(pid, SIGKILL);
  int status = ended(pid);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* --- names ---------------------------------------------------------------- */

static void ctor__creates_and_attaches_as_the_flags_say(void **state) {
  (void)state;
  char const *name = new_name();
  umemShm a, b, c;
  assert_ctor_fails(&a, umemShm_ctor(&a, name, SIZE, UMEM_SHM_ATTACH),
                    umemIOError, "ENOENT");
  assert_ctor_fails(&a, umemShm_ctor(&a, name, 0, 0), umemValueError,
                    "a new segment needs a size");
  assert_false(file_exists(path_of(name)));
  open_shm(&a, name, SIZE, UMEM_SHM_CREATE);
  assert_ctor_fails(&b, umemShm_ctor(&b, name, SIZE, UMEM_SHM_CREATE),
                    umemIOError, "EEXIST");
  open_shm(&b, name, SIZE, UMEM_SHM_ATTACH);
  open_shm(&c, name, 0, 0);
  uintptr_t adr = allocated(&b, 10);
  assert_true(allocated(&c, 10) != 0);
  assert_true(adr % GRANULE == 0);
  assert_ok(umem_dtor(&c));
  assert_ok(umem_dtor(&b));
  assert_true(file_exists(path_of(name)));
  assert_ok(umem_dtor(&a));
  assert_false(file_exists(path_of(name)));
  open_shm(&a, name, SIZE, 0); /* created */
  assert_all_free(&a, SIZE);
  assert_ok(umem_dtor(&a));
}

static void name__outlives_its_creator_if_kept(void **state) {
  (void)state;
  char const *name = new_name();
  umemShm a;
  open_shm(&a, name, SIZE, UMEM_SHM_KEEP);
  uintptr_t adr = allocated(&a, 1000), first = adr;
  fill(&a, adr, 1000, 5);
  assert_ok(umem_dtor(&a));
  open_shm(&a, name, 0, UMEM_SHM_ATTACH | UMEM_SHM_KEEP);
  adr = allocated(&a, 1) - 1024; /* behind the block that is there */
  (void)first;
  assert_true(holds(adr, 1000, 5));
  assert_ok(umem_free(&a, adr));
  assert_ok(umem_dtor(&a));
  assert_ok(umemShm_unlink(name));
  assert_status(umemShm_unlink(name), umemIOError);
}

static void name__of_a_successor_is_left_alone(void **state) {
  (void)state;
  char const *name = new_name();
  umemShm a, b, c;
  open_shm(&a, name, SIZE, 0);
  assert_ok(umemShm_unlink(name));
  open_shm(&b, name, 2 * SIZE, UMEM_SHM_CREATE);
  assert_ok(umem_dtor(&a));
  open_shm(&c, name, 2 * SIZE, UMEM_SHM_ATTACH);
  assert_ok(umem_dtor(&c));
  assert_ok(umemShm_unlink(name));
  assert_ok(umem_dtor(&b)); /* there is nothing to remove any more */
}

static void ctor__of_bad_names_creates_nothing(void **state) {
  (void)state;
  char longest[NAME_MAX + 2], longer[NAME_MAX + 3];
  memset(longer, 'x', sizeof longer);
  longer[0] = '/';
  longer[sizeof longer - 1] = '\0';
  memcpy(longest, longer, sizeof longest);
  longest[NAME_MAX] = '\0';
  char const *const bad[] = {
      "",      "/",  "x",   "//",    "/a/",  "/a/b",        "/.", "/..",
      "/../x", "a/", "///", "/a//b", longer, "/etc/passwd", "%s", "/./x"};
  umemShm s;
  for (size_t i = 0; i < LENGTH(bad); i++) {
    assert_ctor_fails(&s, umemShm_ctor(&s, bad[i], SIZE, 0), umemValueError,
                      "a name is \"/\" and 1 to 254 characters");
    assert_status(umemShm_unlink(bad[i]), umemValueError);
  }
  assert_status(umemShm_unlink(NULL), umemValueError);
  assert_ok(umemShm_ctor(&s, longest, SIZE, 0));
  assert_ok(umem_dtor(&s));
  assert_status(umemShm_ctor(NULL, new_name(), SIZE, 0), umemValueError);
}

static void ctor__of_bad_flags_and_sizes_creates_nothing(void **state) {
  (void)state;
  umemShm s;
  char const *name = new_name();
  for (unsigned bit = 3; bit < 32; bit++)
    assert_ctor_fails(&s, umemShm_ctor(&s, name, SIZE, 1u << bit),
                      umemValueError, "are unknown");
  assert_ctor_fails(
      &s, umemShm_ctor(&s, name, SIZE, UMEM_SHM_CREATE | UMEM_SHM_ATTACH),
      umemValueError, "must and must not");
  assert_ctor_fails(&s, umemShm_ctor(&s, NULL, SIZE, UMEM_SHM_KEEP),
                    umemValueError, "need a name");
  assert_ctor_fails(&s, umemShm_ctor(&s, NULL, SIZE, UMEM_SHM_ATTACH),
                    umemValueError, "need a name");
  assert_ctor_fails(&s, umemShm_ctor(&s, NULL, 0, 0), umemValueError,
                    "needs a size");
  assert_ctor_fails(&s, umemShm_ctor(&s, name, 0, UMEM_SHM_CREATE),
                    umemValueError, "needs a size");
  size_t const large[] = {SIZE_MAX, (size_t)PTRDIFF_MAX, (size_t)1 << 40,
                          (size_t)1 << 39};
  for (size_t i = 0; i < LENGTH(large); i++) {
    assert_ctor_fails(&s, umemShm_ctor(&s, name, large[i], 0), umemMemoryError,
                      "");
    assert_ctor_fails(&s, umemShm_ctor(&s, NULL, large[i], 0), umemMemoryError,
                      "");
  }
}

static void segments__are_0600_whatever_the_umask_is(void **state) {
  (void)state;
  static mode_t const masks[] = {0, 022, 077, 0777};
  for (size_t i = 0; i < LENGTH(masks); i++) {
    umemShm s;
    struct stat st;
    char const *name = new_name();
    mode_t old = umask(masks[i]);
    open_shm(&s, name, SIZE, 0);
    umask(old);
    assert_int_equal(stat(path_of(name), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(fcntl(umemShm_get_fd(&s), F_GETFD), FD_CLOEXEC);
    assert_ok(umem_dtor(&s));
    open_shm(&s, NULL, SIZE, 0);
    assert_int_equal(fstat(umemShm_get_fd(&s), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_ok(umem_dtor(&s));
  }
}

/* Whoever comes first creates, and all have the same. */
static char const *raced_name;
static int raced_go[2];

static void race(void) {
  umemShm s;
  char byte;
  if (read(raced_go[0], &byte, 1) != 0)
    end_in_child(1);
  for (int i = 0; i < 20; i++) {
    if (umemShm_ctor(&s, raced_name, SIZE, UMEM_SHM_KEEP) != umemOK) {
      print_error("%s\n", umem_get_message(&s));
      end_in_child(2);
    }
    uintptr_t adr = umem_alloc(&s, 100);
    if (!adr || umem_dtor(&s) != umemOK)
      end_in_child(3);
  }
}

static void ctor__raced_by_many_processes_makes_one_segment(void **state) {
  (void)state;
  for (size_t round = 0; round < scaled(20, 2); round++) {
    pid_t pids[6];
    umemShm s;
    raced_name = new_name();
    assert_int_equal(pipe(raced_go), 0);
    for (size_t i = 0; i < LENGTH(pids); i++) {
      fflush(NULL);
      if ((pids[i] = fork()) == 0) {
        close(raced_go[1]);
        alarm(60);
        race();
        end_in_child(0);
      }
    }
    close(raced_go[1]);
    close(raced_go[0]);
    for (size_t i = 0; i < LENGTH(pids); i++)
      assert_int_equal(ended(pids[i]), 0);
    open_shm(&s, raced_name, SIZE, UMEM_SHM_ATTACH);
    uintptr_t adr = allocated(&s, 1); /* behind those of all */
    uintptr_t first = adr - LENGTH(pids) * 20 * GRANULE;
    for (uintptr_t at = first; at <= adr; at += GRANULE)
      assert_ok(umem_free(&s, at));
    assert_all_free(&s, SIZE);
    assert_ok(umem_dtor(&s));
    assert_ok(umemShm_unlink(raced_name));
  }
}

/* --- descriptors ---------------------------------------------------------- */

static void nameless__memory_is_sealed(void **state) {
  (void)state;
  umemShm s;
  open_shm(&s, NULL, SIZE, UMEM_SHM_CREATE);
  int fd = umemShm_get_fd(&s);
  assert_int_equal(ftruncate(fd, 0), -1);
  assert_int_equal(errno, EPERM);
  assert_int_equal(ftruncate(fd, 2 * SIZE), -1);
  assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
  assert_all_free(&s, SIZE);
  assert_ok(umem_dtor(&s));
}

static void get_fd__of_what_is_no_shm_is_minus_1(void **state) {
  (void)state;
  umemShm s;
  assert_int_equal(umemShm_get_fd(NULL), -1);
  umemShm_ctor(&s, "bad", 1, 0);
  assert_int_equal(umemShm_get_fd(&s), -1);
  assert_status(umem_get_status(&s), umemTypeError);
  assert_ok(umem_dtor(&s));
  assert_int_equal(umemShm_get_fd((umemShm const *)(void const *)&host), -1);
  assert_slot(&host, umemTypeError, "umemShm_get_fd(Host)");
}

static void send_fd(int socket, int fd) {
  char byte = 0, room[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec io = {&byte, 1};
  struct msghdr message = {.msg_iov = &io,
                           .msg_iovlen = 1,
                           .msg_control = room,
                           .msg_controllen = sizeof room};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  assert_int_equal(sendmsg(socket, &message, 0), 1);
}

static int receive_fd(int socket) {
  int fd = -1;
  char byte, room[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec io = {&byte, 1};
  struct msghdr message = {.msg_iov = &io,
                           .msg_iovlen = 1,
                           .msg_control = room,
                           .msg_controllen = sizeof room};
  assert_int_equal(recvmsg(socket, &message, MSG_CMSG_CLOEXEC), 1);
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

static int sockets[2];

/* The first block is the parent's; the child frees it, and leaves one. */
static void use_received_fd(void) {
  umemShm s;
  int fd = receive_fd(sockets[1]);
  assert_ok(umemShm_ctor_fd(&s, fd));
  close(fd);
  uintptr_t mine = allocated(&s, 2000), theirs = mine - 1024;
  assert_true(holds(theirs, 1000, 1));
  assert_ok(umem_free(&s, theirs));
  fill(&s, mine, 2000, 2);
  assert_ok(umem_dtor(&s));
}

static void descriptor__sent_to_a_process_gives_it_the_memory(void **state) {
  (void)state;
  char const *const names[] = {NULL, new_name()};
  for (size_t i = 0; i < LENGTH(names); i++) {
    umemShm s;
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    pid_t pid = start(use_received_fd);
    open_shm(&s, names[i], SIZE, 0); /* the child cannot inherit it */
    uintptr_t adr = allocated(&s, 1000);
    fill(&s, adr, 1000, 1);
    send_fd(sockets[0], umemShm_get_fd(&s));
    assert_int_equal(ended(pid), 0);
    assert_true(holds(adr + 1024, 2000, 2));
    assert_fails(&s, umem_free(&s, adr), umemValueError, "is not a live block");
    assert_ok(umem_free(&s, adr + 1024));
    assert_all_free(&s, SIZE);
    assert_ok(umem_dtor(&s));
    close(sockets[0]);
    close(sockets[1]);
  }
}

static void check_fd(int fd, umemStatusType expected, char const *part) {
  umemShm s;
  assert_ctor_fails(&s, umemShm_ctor_fd(&s, fd), expected, part);
  if (fd >= 0 && fcntl(fd, F_GETFD) >= 0)
    close(fd);
}

static void ctor_fd__of_what_is_no_segment_is_refused(void **state) {
  (void)state;
  umemShm s;
  int ends[2];
  check_fd(-1, umemValueError, "no descriptor");
  check_fd(INT_MIN, umemValueError, "no descriptor");
  check_fd(9999, umemValueError, "EBADF");
  assert_int_equal(pipe(ends), 0);
  check_fd(ends[0], umemValueError, "not open for reading and writing");
  check_fd(ends[1], umemValueError, "not open for reading and writing");
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  check_fd(ends[0], umemValueError, "no regular file");
  close(ends[1]);
  check_fd(open("/dev/null", O_RDWR), umemValueError, "no regular file");
  check_fd(open("/dev/shm", O_RDONLY), umemValueError, "not open for");
  check_fd(open(file_with("text that is not much of a segment"), O_RDWR),
           umemValueError, "others may open it, too");
  char const *name = new_name();
  open_shm(&s, name, SIZE, 0);
  check_fd(open(path_of(name), O_RDONLY), umemValueError, "not open for");
  check_fd(open(path_of(name), O_RDWR | O_APPEND), umemValueError, "not open");
  check_fd(open(path_of(name), O_PATH), umemValueError, "not open for");
  check_fd(memfd_create("x", MFD_CLOEXEC), umemValueError, "others may");
  assert_all_free(&s, SIZE);
  assert_ok(umem_dtor(&s));
  assert_status(umemShm_ctor_fd(NULL, 0), umemValueError);
}

/* --- memory --------------------------------------------------------------- */

static void addresses__are_pointers_of_this_context_alone(void **state) {
  (void)state;
  umemShm a, b;
  char const *name = new_name();
  open_shm(&a, name, SIZE, 0);
  open_shm(&b, name, SIZE, 0);
  assert_false(umem_is_same_device(&a, &b));
  assert_false(umem_is_same_device(&a, &host));
  assert_true(umem_is_accessible_from(&a, &host));
  assert_false(umem_is_accessible_from(&host, &a));
  assert_false(umem_is_accessible_from(&a, &b));
  assert_int_equal(umem_fundamental_align(&a), GRANULE);
  uintptr_t first = first_address(&a), adr = allocated(&b, 5000);
  assert_ok(umem_try_set(&b, adr, 'x', 5000));
  assert_true(all_bytes_are((void *)first, 5000, 'x'));
  assert_fails(&a, umem_try_set(&a, adr, 'y', 1), umemIndexError, "leave the");
  assert_ok(umem_dtor(&b));
  assert_ok(umem_free(&a, first));
  assert_ok(umem_dtor(&a));
}

static void access__outside_of_the_blocks_is_an_index_error(void **state) {
  (void)state;
  umemShm s;
  char byte[8];
  open_shm(&s, NULL, SIZE, 0);
  uintptr_t const first = first_address(&s), end = first + SIZE;
  struct {
    uintptr_t adr;
    size_t nbytes;
  } const bad[] = {
      {first - 1, 1}, {first - 4096, 4}, {end, 1}, {end - 1, 2}, {0, 1},
      {1, 8},         {end - 7, 8}};
  for (size_t i = 0; i < LENGTH(bad); i++) {
    assert_fails(&s, umem_try_set(&s, bad[i].adr, 'x', bad[i].nbytes),
                 umemIndexError, "leave the 262144 bytes of the segment");
    assert_status(
        umem_copy_to(&s, bad[i].adr, &host, (uintptr_t)byte, bad[i].nbytes),
        umemIndexError);
    assert_status(
        umem_copy_to(&host, (uintptr_t)byte, &s, bad[i].adr, bad[i].nbytes),
        umemIndexError);
  }
  assert_ok(umem_try_set(&s, first, 'x', SIZE));
  assert_ok(umem_try_set(&s, end, 'x', 0));
  assert_ok(umem_try_set(&s, first, 'x', 0));
  umem_clean_status(&host);
  umem_clean_status(&s);
  assert_ok(umem_dtor(&s));
}

static void overlap__with_host_memory_is_memmove(void **state) {
  (void)state;
  umemShm s;
  enum { LARGE = 3 * MIB, BY = 4000 };
  unsigned char *image = malloc(LARGE + BY);
  assert_non_null(image);
  open_shm(&s, NULL, 4 * MIB, 0);
  uintptr_t adr = allocated(&s, LARGE + BY);
  for (int i = 0; i < 4; i++) {
    uintptr_t from = i & 1 ? adr : adr + BY, to = i & 1 ? adr + BY : adr;
    random_bytes(image, LARGE + BY, (uint64_t)i);
    memcpy((void *)adr, image, LARGE + BY);
    if (i & 2)
      assert_ok(umem_copy_to(&s, from, &host, to, LARGE));
    else
      assert_ok(umem_copy_to(&host, from, &s, to, LARGE));
    memmove(image + (to - adr), image + (from - adr), LARGE);
    assert_int_equal(memcmp((void *)adr, image, LARGE + BY), 0);
  }
  free(image);
  assert_ok(umem_dtor(&s));
}

static void handle__finds_the_block_at_other_addresses(void **state) {
  (void)state;
  umemShm a, b, c;
  char const *name = new_name();
  unsigned char handle[UMEM_HANDLE_MAX];
  size_t len = sizeof handle, nbytes;
  uintptr_t there;
  open_shm(&a, name, SIZE, 0);
  open_shm(&b, name, SIZE, 0);
  open_shm(&c, NULL, SIZE, 0);
  uintptr_t adr = allocated(&a, 5000);
  fill(&a, adr, 5000, 4);
  assert_ok(umem_export_handle(&a, adr, 5000, handle, &len));
  assert_ok(umem_import_handle(&b, handle, len, &there, &nbytes));
  assert_int_equal(nbytes, 5000);
  assert_true(there != adr && holds(there, 5000, 4));
  assert_ok(umem_free(&b, there));
  assert_fails(&c, umem_import_handle(&c, handle, len, &there, &nbytes),
               umemValueError, "the handle is of something else");
  len = sizeof handle;
  assert_fails(&a, umem_export_handle(&a, adr - 1, 1, handle, &len),
               umemIndexError, "leave the 262144 bytes");
  assert_fails(&a, umem_export_handle(&a, adr, SIZE + 1, handle, &len),
               umemIndexError, "leave the 262144 bytes");
  assert_ok(umem_dtor(&c));
  assert_ok(umem_dtor(&b));
  assert_ok(umem_dtor(&a));
}

/* Of a file that is a segment to one and a File to the other. */
static void handle__of_the_table_is_an_index_error(void **state) {
  (void)state;
  umemShm s;
  umemFile f;
  char const *name = new_name();
  unsigned char handle[UMEM_HANDLE_MAX];
  size_t len = sizeof handle, nbytes;
  uintptr_t adr;
  open_shm(&s, name, SIZE, 0);
  file_open(&f, path_of(name), "r+");
  assert_ok(umem_export_handle(&f, TABLE, 8, handle, &len));
  assert_fails(&s, umem_import_handle(&s, handle, len, &adr, &nbytes),
               umemIndexError, "leave the 262144 bytes");
  assert_ok(umem_dtor(&f));
  assert_ok(umem_dtor(&s));
}

/* --- several processes ---------------------------------------------------- */

static char const *shared_name;

static void share_blocks(void) {
  umemShm s;
  open_shm(&s, shared_name, SIZE, UMEM_SHM_ATTACH);
  uintptr_t mine = allocated(&s, 500), theirs = mine - 1024;
  assert_true(holds(theirs, 1000, 7));
  fill(&s, theirs, 1000, 8);
  fill(&s, mine, 500, 9);
  assert_ok(umem_dtor(&s)); /* frees nothing, and leaves the name */
}

static void blocks__are_shared_by_two_processes(void **state) {
  (void)state;
  umemShm s;
  shared_name = new_name();
  open_shm(&s, shared_name, SIZE, 0);
  uintptr_t adr = allocated(&s, 1000);
  fill(&s, adr, 1000, 7);
  assert_int_equal(ended(start(share_blocks)), 0);
  assert_true(holds(adr, 1000, 8));
  assert_true(holds(adr + 1024, 500, 9));
  assert_true(file_exists(path_of(shared_name)));
  assert_ok(umem_free(&s, adr + 1024));
  assert_ok(umem_free(&s, adr));
  assert_all_free(&s, SIZE);
  assert_ok(umem_dtor(&s));
}

/* Allocates, fills, checks and frees; exits with the first fault. */
enum { HELD = 8 };

static void hammer_with(umemShm const *s, uint64_t seed, size_t steps) {
  struct {
    uintptr_t adr;
    size_t nbytes;
    uint64_t seed;
  } held[HELD] = {{0, 0, 0}};
  for (size_t i = 0; i < steps; i++) {
    size_t at = random_below(&seed, HELD);
    if (held[at].adr) {
      if (!holds(held[at].adr, held[at].nbytes, held[at].seed))
        end_in_child(10);
      if (umem_free(s, held[at].adr) != umemOK) {
        print_error("%s\n", umem_get_message(s));
        end_in_child(11);
      }
      held[at].adr = 0;
      continue;
    }
    held[at].nbytes = random_below(&seed, 3000);
    held[at].seed = random_next(&seed);
    held[at].adr = umem_alloc(s, held[at].nbytes);
    if (!held[at].adr) {
      print_error("%s\n", umem_get_message(s));
      end_in_child(12);
    }
    random_bytes((void *)held[at].adr, held[at].nbytes, held[at].seed);
  }
  for (size_t i = 0; i < HELD; i++)
    if (held[i].adr && umem_free(s, held[i].adr) != umemOK)
      end_in_child(13);
}

static void hammer(void) {
  umemShm s;
  open_shm(&s, shared_name, 0, UMEM_SHM_ATTACH);
  hammer_with(&s, (uint64_t)getpid(), scaled(5000, 300));
  assert_ok(umem_dtor(&s));
}

static void processes__that_hammer_at_once_never_share_a_byte(void **state) {
  (void)state;
  umemShm s;
  pid_t pids[4];
  shared_name = new_name();
  open_shm(&s, shared_name, SIZE, 0);
  for (size_t i = 0; i < LENGTH(pids); i++)
    pids[i] = start(hammer);
  for (size_t i = 0; i < LENGTH(pids); i++)
    assert_int_equal(ended(pids[i]), 0);
  assert_all_free(&s, SIZE);
  assert_ok(umem_dtor(&s));
}

/* --- kills ---------------------------------------------------------------- */

static umemShm const *inherited; /* or NULL: attach anew */

static void hammer_for_ever(void) {
  umemShm s;
  umemShm const *ctx = inherited;
  if (!ctx) {
    open_shm(&s, shared_name, 0, UMEM_SHM_ATTACH);
    ctx = &s;
  }
  hammer_with(ctx, (uint64_t)getpid(), SIZE_MAX);
}

static atomic_int *stop_flag; /* shared with children */

static void hammer_until_stopped(void) {
  umemShm s;
  open_shm(&s, shared_name, 0, UMEM_SHM_ATTACH);
  for (uint64_t seed = 1; !*stop_flag; seed++) {
    alarm(60);
    hammer_with(&s, seed, 100);
  }
  assert_ok(umem_dtor(&s));
}

enum { KEPT = 8, KEPT_BYTES = 5000 };

static void nap(unsigned microseconds) {
  nanosleep(&(struct timespec){0, (long)microseconds * 1000}, NULL);
}

/* Blocks of killed ones are there for ever, unless somebody frees them. Others
   may have some at the moment. */
static void kills__at_any_moment_harm_nobody(void **state) {
  (void)state;
  umemShm s;
  uintptr_t kept[KEPT];
  uint64_t seed = 1;
  size_t const kills = scaled(1000, 60), sweep_every = 20;
  shared_name = new_name();
  open_shm(&s, shared_name, SIZE * 4, 0);
  uintptr_t const first = first_address(&s);
  for (size_t i = 0; i < KEPT; i++) {
    kept[i] = allocated(&s, KEPT_BYTES);
    fill(&s, kept[i], KEPT_BYTES, i);
  }
  stop_flag = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert_true(stop_flag != MAP_FAILED);
  for (size_t i = 0; i < kills;) {
    *stop_flag = 0;
    pid_t peer = start(hammer_until_stopped);
    for (size_t end = i + sweep_every; i < end; i++) {
      inherited = i % 2 ? &s : NULL;
      pid_t victim = start(hammer_for_ever);
      nap((unsigned)random_below(&seed, 4000));
      kill_hard(victim);
      alarm(20); /* nobody may hang */
      assert_ok(umem_free(&s, allocated(&s, 100)));
      alarm(0);
    }
    *stop_flag = 1;
    assert_int_equal(ended(peer), 0);
    for (size_t k = 0; k < KEPT; k++)
      assert_true(holds(kept[k], KEPT_BYTES, k));
    free_all_but(&s, first, SIZE * 4, kept, KEPT);
    assert_ok(umem_free(&s, allocated(&s, SIZE * 4 - KEPT * 5120)));
  }
  for (size_t i = 0; i < KEPT; i++)
    assert_ok(umem_free(&s, kept[i]));
  assert_all_free(&s, SIZE * 4);
  munmap(stop_flag, 4096);
  assert_ok(umem_dtor(&s));
  print_message("kills: %zu, no hang\n", kills);
}

/* Right before or after the k-th system call that a process makes. */
static unsigned kill_at;
static bool kill_after, kill_on;

#define KILLED_CALL(result, name, parameters, arguments)                       \
  static result killed_##name parameters {                                     \
    if (kill_on && --kill_at == 0 && !kill_after)                              \
      raise(SIGKILL);                                                          \
    result value = faults_real.name arguments;                                 \
    if (kill_on && kill_at == 0)                                               \
      raise(SIGKILL);                                                          \
    return value;                                                              \
  }

KILLED_CALL(ssize_t, pread, (int fd, void *out, size_t n, off_t at),
            (fd, out, n, at))
KILLED_CALL(ssize_t, pwrite, (int fd, void const *in, size_t n, off_t at),
            (fd, in, n, at))

static int killed_fcntl(int fd, int command, ...) {
  va_list more;
  va_start(more, command);
  void *argument = va_arg(more, void *);
  va_end(more);
  if (kill_on && --kill_at == 0 && !kill_after)
    raise(SIGKILL);
  int value = fcntl(fd, command, argument);
  if (kill_on && kill_at == 0)
    raise(SIGKILL);
  return value;
}

static void install_kills(void) {
  umemi_os = faults_real;
  umemi_os.pread = killed_pread;
  umemi_os.pwrite = killed_pwrite;
  umemi_os.fcntl = killed_fcntl;
}

static void die_in_alloc_or_free(void) {
  umemShm s;
  install_kills();
  open_shm(&s, shared_name, 0, UMEM_SHM_ATTACH);
  kill_on = true;
  uintptr_t adr = allocated(&s, 3000);
  assert_ok(umem_free(&s, adr));
  umem_alloc(&s, 2000);
  kill_on = false;
  assert_ok(umem_dtor(&s));
  end_in_child(42);
}

static void kills__at_every_system_call_leave_a_correct_heap(void **state) {
  (void)state;
  umemShm s;
  unsigned points = 0;
  shared_name = new_name();
  open_shm(&s, shared_name, SIZE, 0);
  uintptr_t const first = first_address(&s);
  for (int after = 0; after < 2; after++)
    for (unsigned k = 1;; k++, points++) {
      kill_at = k;
      kill_after = after;
      int status = ended(start(die_in_alloc_or_free));
      free_all_but(&s, first, SIZE, NULL, 0);
      assert_all_free(&s, SIZE);
      if (WIFEXITED(status)) {
        assert_int_equal(WEXITSTATUS(status), 42);
        break;
      }
      assert_int_equal(WTERMSIG(status), SIGKILL);
    }
  print_message("kills at system calls: %u\n", points);
  assert_true(points >= 20);
  assert_ok(umem_dtor(&s));
}

/* --- locks ---------------------------------------------------------------- */

static int lock_told[2];

static void lock_and_wait(void) {
  int fd = open(path_of(shared_name), O_RDWR | O_CLOEXEC);
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  if (fcntl(fd, F_OFD_SETLKW, &lock) || write(lock_told[1], "", 1) != 1)
    end_in_child(1);
  pause();
}

static pid_t locker;

/* A process, not a thread: valgrind runs one thread at a time, one that waits
   for the lock included. */
static void kill_locker_soon(void) {
  sleep_milliseconds(100);
  kill(locker, SIGKILL);
}

static void lock__of_a_peer_is_waited_for_and_freed_by_its_kill(void **state) {
  (void)state;
  umemShm s;
  char byte;
  shared_name = new_name();
  open_shm(&s, shared_name, SIZE, 0);
  assert_int_equal(pipe(lock_told), 0);
  locker = start(lock_and_wait);
  assert_int_equal(read(lock_told[0], &byte, 1), 1);
  uint64_t const begin = milliseconds();
  pid_t killer = start(kill_locker_soon);
  alarm(20);
  uintptr_t adr = allocated(&s, 1);
  alarm(0);
  assert_true(milliseconds() - begin >= 50);
  assert_int_equal(ended(killer), 0);
  ended(locker);
  assert_ok(umem_free(&s, adr));
  close(lock_told[0]);
  close(lock_told[1]);
  assert_ok(umem_dtor(&s));
}

/* Its child, which does nothing, has inherited all descriptors. */
static void die_with_the_lock_and_a_child(void) {
  umemShm s;
  install_kills();
  open_shm(&s, shared_name, 0, UMEM_SHM_ATTACH);
  assert_ok(umem_free(&s, allocated(&s, 1))); /* it has a lock to inherit */
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    pause();
    end_in_child(0);
  }
  if (write(lock_told[1], &child, sizeof child) != sizeof child)
    end_in_child(1);
  kill_on = true;
  kill_at = 3; /* fcntl, pread, pwrite */
  umem_alloc(&s, 100);
}

static void lock__of_a_killed_process_is_not_kept_by_its_child(void **state) {
  (void)state;
  umemShm s;
  pid_t child;
  shared_name = new_name();
  open_shm(&s, shared_name, SIZE, 0);
  assert_int_equal(pipe(lock_told), 0);
  kill_after = true;
  int status = ended(start(die_with_the_lock_and_a_child));
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  assert_int_equal(read(lock_told[0], &child, sizeof child), sizeof child);
  alarm(20);
  uintptr_t adr = allocated(&s, 1);
  alarm(0);
  assert_int_equal(kill(child, SIGKILL), 0); /* it was there */
  assert_ok(umem_free(&s, adr));
  close(lock_told[0]);
  close(lock_told[1]);
  assert_ok(umem_dtor(&s));
}

/* --- fork ----------------------------------------------------------------- */

static umemShm forked;

static void use_what_was_inherited(void) {
  int const descriptors = open_descriptors();
  hammer_with(&forked, 1, 500);
  assert_int_equal(fcntl(umemShm_get_fd(&forked), F_GETFD), FD_CLOEXEC);
  assert_ok(umem_free(&forked, allocated(&forked, SIZE / 4)));
  assert_in_range(open_descriptors(), descriptors, descriptors + 1);
  if (fork() == 0) {
    hammer_with(&forked, 2, 100);
    assert_ok(umem_dtor(&forked));
    end_in_child(0);
  }
  int status;
  wait(&status);
  assert_int_equal(status, 0);
  assert_ok(umem_dtor(&forked)); /* the name stays */
  assert_in_range(open_descriptors(), 0, descriptors - 1);
}

static void child__allocates_beside_its_parent(void **state) {
  (void)state;
  char const *name = new_name();
  open_shm(&forked, name, SIZE, 0);
  for (int i = 0; i < 3; i++) {
    pid_t child = start(use_what_was_inherited);
    hammer_with(&forked, 3, 500);
    assert_int_equal(ended(child), 0);
    assert_true(file_exists(path_of(name)));
  }
  assert_all_free(&forked, SIZE);
  assert_ok(umem_dtor(&forked));
}

static atomic_bool stop;

static void *be_busy(void *seed) {
  while (!stop)
    hammer_with(&forked, (uint64_t)(uintptr_t)seed, 50);
  return NULL;
}

static void child__of_busy_threads_does_not_hang(void **state) {
  (void)state;
  if (UNDER_TSAN) {
    print_message("skipped: ThreadSanitizer cannot fork a threaded process\n");
    skip();
  }
  pthread_t threads[THREADS];
  umemShm other;
  size_t const forks = scaled(300, 15);
  open_shm(&forked, NULL, MIB, 0);
  open_shm(&other, NULL, SIZE, 0);
  stop = false;
  for (uintptr_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, be_busy, (void *)i), 0);
  for (size_t i = 0; i < forks; i++) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      uintptr_t adr = umem_alloc(&forked, 100), more = umem_alloc(&other, 100);
      bool good = adr && more && umem_free(&forked, adr) == umemOK &&
                  umem_free(&other, more) == umemOK &&
                  umem_dtor(&forked) == umemOK;
      raise(good ? SIGKILL : SIGABRT); /* leak checkers would ask threads */
    }
    assert_int_equal(WTERMSIG(ended(child)), SIGKILL);
  }
  stop = true;
  for (size_t i = 0; i < THREADS; i++)
    assert_int_equal(pthread_join(threads[i], NULL), 0);
  assert_all_free(&forked, MIB);
  assert_ok(umem_dtor(&other));
  assert_ok(umem_dtor(&forked));
}

/* --- abuse ---------------------------------------------------------------- */

/* What somebody does to a segment of SIZE bytes, by its name and descriptor. */
struct abuse {
  char const *what;
  void (*harm)(struct abuse const *, char const *path, int fd);
  uint64_t a, b;
  umemStatusType expected; /* of attaching; umemAssertError: any */
  char const *part;        /* of the message */
  bool breaks;             /* even who is attached may get errors */
};

static void harm_header(struct abuse const *abuse, char const *path, int fd) {
  unsigned char byte;
  (void)path;
  assert_int_equal(pread(fd, &byte, 1, (off_t)abuse->a), 1);
  byte ^= (unsigned char)abuse->b;
  assert_int_equal(pwrite(fd, &byte, 1, (off_t)abuse->a), 1);
}

static void harm_entry(struct abuse const *abuse, char const *path, int fd) {
  (void)path;
  assert_int_equal(pwrite(fd, &abuse->b, 8, (off_t)(TABLE + abuse->a * 8)), 8);
}

static void harm_size(struct abuse const *abuse, char const *path, int fd) {
  (void)path;
  assert_int_equal(ftruncate(fd, (off_t)abuse->a), 0);
}

static void harm_mode(struct abuse const *abuse, char const *path, int fd) {
  (void)path;
  assert_int_equal(fchmod(fd, (mode_t)abuse->a), 0);
}

static void harm_owner(struct abuse const *abuse, char const *path, int fd) {
  (void)path;
  if (fchown(fd, (uid_t)abuse->a, (gid_t)-1))
    end_in_child(SKIPPED);
}

static void harm_user(struct abuse const *abuse, char const *path, int fd) {
  (void)path, (void)fd;
  if (setresuid((uid_t)abuse->a, (uid_t)abuse->a, (uid_t)abuse->a))
    end_in_child(SKIPPED);
}

static void harm_zero(struct abuse const *abuse, char const *path, int fd) {
  char *zeros = calloc(1, abuse->b);
  (void)path;
  assert_int_equal(pwrite(fd, zeros, abuse->b, (off_t)abuse->a), abuse->b);
  free(zeros);
}

/* Everything but the size is right. */
static void harm_total(struct abuse const *abuse, char const *path, int fd) {
  umemShm other;
  char page[4096];
  (void)path;
  open_shm(&other, NULL, abuse->a, 0);
  assert_int_equal(pread(umemShm_get_fd(&other), page, 4096, 0), 4096);
  assert_int_equal(pwrite(fd, page, 4096, 0), 4096);
  assert_ok(umem_dtor(&other));
}

/* A true entry, of a block that is longer than what is left here. */
static void harm_length(struct abuse const *abuse, char const *path, int fd) {
  umemShm other;
  uint64_t entry;
  (void)path;
  open_shm(&other, NULL, 2 * SIZE, 0);
  if (abuse->a)
    allocated(&other, abuse->a * GRANULE);
  allocated(&other, abuse->b * GRANULE);
  off_t at = (off_t)(TABLE + abuse->a * 8);
  assert_int_equal(pread(umemShm_get_fd(&other), &entry, 8, at), 8);
  assert_true(entry != 0);
  assert_int_equal(pwrite(fd, &entry, 8, at), 8);
  assert_ok(umem_dtor(&other));
}

static void squat(char const *path, int (*make)(char const *path)) {
  assert_int_equal(unlink(path), 0);
  assert_int_equal(make(path), 0);
}

static int make_directory(char const *path) {
  return mkdir(path, 0700);
}

static int make_fifo(char const *path) {
  return mkfifo(path, 0600);
}

static int make_link(char const *path) {
  return symlink("/dev/null", path);
}

static int make_socket(char const *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int result = bind(fd, (struct sockaddr const *)&address, sizeof address);
  close(fd);
  return result;
}

static int make_text(char const *path) {
  file_put(path, "Dear Sir or Madam,\nthis is no segment.", 38);
  return chmod(path, 0600);
}

static int make_empty(char const *path) {
  file_put(path, "", 0);
  return chmod(path, 0600);
}

static int make_noise(char const *path) {
  static unsigned char bytes[SIZE];
  random_bytes(bytes, sizeof bytes, 3);
  file_put(path, bytes, sizeof bytes);
  return chmod(path, 0600);
}

static void harm_squat(struct abuse const *abuse, char const *path, int fd) {
  static int (*const makes[])(char const *) = {
      make_directory, make_fifo,  make_link, make_socket,
      make_text,      make_empty, make_noise};
  (void)fd;
  squat(path, makes[abuse->a]);
}

static struct abuse now;

/* In a process of its own: the segment, two that are attached to it, the harm,
   and then everything. */
static void suffer(void) {
  umemShm a, b, c, bystander;
  char const *name = shared_name;
  uintptr_t adr = 0;
  char bytes[100] = {0};
  uint32_t sum;
  alarm(30);
  open_shm(&a, name, SIZE, UMEM_SHM_KEEP);
  open_shm(&b, name, SIZE, 0);
  open_shm(&bystander, NULL, SIZE, 0);
  uintptr_t mine = allocated(&a, 5000), theirs = allocated(&b, 100);
  int fd = open(path_of(name), O_RDWR | O_CLOEXEC);
  assert_true(fd >= 0);
  now.harm(&now, path_of(name), fd);
  close(fd);
  umemStatusType status = umemShm_ctor(&c, name, SIZE, UMEM_SHM_ATTACH);
  if (now.expected != umemAssertError && status != now.expected) {
    print_error("%s: %s\n", now.what, umem_get_message(&c));
    end_in_child(20);
  }
  if (status != umemOK)
    assert_has(umem_get_message(&c), now.part);
  umemShm const *const all[] = {&a, &b, &c};
  for (size_t i = 0; i < (status == umemOK ? 3 : 2); i++) {
    for (size_t nbytes = 0; nbytes < SIZE / 2; nbytes += 20000) {
      bool good = umem_try_alloc(all[i], nbytes, &adr) == umemOK;
      if (good)
        good =
            umem_copy_to(&host, (uintptr_t)bytes, all[i], adr, 100) == umemOK &&
            umem_copy_to(all[i], adr, &host, (uintptr_t)bytes, 100) == umemOK &&
            umem_free(all[i], adr) == umemOK;
      if (!good && !now.breaks) {
        print_error("%s: %s\n", now.what, umem_get_message(all[i]));
        end_in_child(21);
      }
      if (!good)
        assert_true(umem_get_message(all[i])[0] != '\0');
    }
    umem_free(all[i], mine + 1);
    umem_free(all[i], mine + 256);
    umem_checksum(all[i], mine, 5000, 0, &sum);
  }
  umem_free(&a, mine);
  umem_free(&b, theirs);
  fill(&bystander, allocated(&bystander, 3000), 3000, 1);
  umem_dtor(&c);
  umem_dtor(&b);
  umem_dtor(&a);
  assert_ok(umem_dtor(&bystander));
  end_in_child(0);
}

static unsigned abuses, abuses_skipped;

static void abuse(struct abuse one) {
  now = one;
  shared_name = new_name();
  int status = ended(start(suffer));
  if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
    abuses_skipped++;
  else if (status != 0)
    fail_msg("%s (%llu, %llu): status 0x%x", one.what,
             (unsigned long long)one.a, (unsigned long long)one.b, status);
  abuses++;
  if (unlink(path_of(shared_name)))
    assert_int_equal(rmdir(path_of(shared_name)), 0);
}

static void abuse__of_the_header_is_told_to_who_attaches(void **state) {
  (void)state;
  for (uint64_t at = 0; at < 32; at += scaled(1, 5))
    abuse((struct abuse){"header byte", harm_header, at, 1 + at, umemValueError,
                         "not a segment of", false});
  abuse((struct abuse){"no header", harm_zero, 0, 4096, umemValueError,
                       "it is not complete (yet)", false});
  abuse((struct abuse){"no magic", harm_zero, 0, 8, umemValueError,
                       "it is not complete (yet)", false});
  abuse((struct abuse){"half a header", harm_zero, 16, 16, umemValueError,
                       "its header and its size do not match", false});
  abuse((struct abuse){"version", harm_header, 8, 4, umemValueError,
                       "its version is another", false});
  static uint64_t const sizes[] = {4096, SIZE - 4096, SIZE + 4096, 2 * MIB};
  for (size_t i = 0; i < LENGTH(sizes); i++)
    abuse((struct abuse){"header of another size", harm_total, sizes[i], 0,
                         umemValueError, "do not match", false});
}

static void abuse__of_the_table_is_told(void **state) {
  (void)state;
  static uint64_t const places[] = {0, 1, 19, 20, 21, 100, 1022, 1023};
  uint64_t random = 9;
  for (size_t i = 0; i < LENGTH(places); i += scaled(1, 3)) {
    uint64_t const values[] = {0, 1, UINT64_MAX, random_next(&random),
                               UINT32_MAX};
    for (size_t v = 0; v < LENGTH(values); v++)
      abuse((struct abuse){"table entry", harm_entry, places[i], values[v],
                           umemOK, "", true});
  }
  abuse((struct abuse){"no table", harm_zero, TABLE, 8192, umemOK, "", true});
  for (uint64_t at = 24; at < 1000; at += 300)
    abuse((struct abuse){"length past the end", harm_length, at, 1025 - at,
                         umemOK, "", true});
}

static void abuse__of_the_size_is_told_and_raises_no_signal(void **state) {
  (void)state;
  uint64_t const total = umemi_segment_total(SIZE);
  uint64_t const sizes[] = {1,
                            31,
                            32,
                            4095,
                            4096,
                            4097,
                            8192,
                            12288,
                            total / 2,
                            total - 1,
                            total - 4096,
                            total + 1,
                            total + 4096,
                            4 * total};
  for (size_t i = 0; i < LENGTH(sizes); i++)
    abuse((struct abuse){"size", harm_size, sizes[i], 0, umemValueError,
                         "not a segment of", sizes[i] < total});
  abuse((struct abuse){"size 0", harm_size, 0, 0, umemValueError,
                       "it is not complete (yet)", true});
}

static void abuse__of_owner_and_mode_is_told_to_who_attaches(void **state) {
  (void)state;
  static uint64_t const modes[] = {0644, 0660, 0606, 0601, 0610, 0666, 0777};
  for (size_t i = 0; i < LENGTH(modes); i++)
    abuse((struct abuse){"mode", harm_mode, modes[i], 0, umemValueError,
                         "others may open it, too", false});
  abuse((struct abuse){"owner", harm_owner, 65534, 0, umemValueError,
                       "it has another owner", false});
  abuse((struct abuse){"another user", harm_user, 65534, 0, umemIOError,
                       "EACCES", true});
}

static void abuse__of_the_name_is_told_to_who_attaches(void **state) {
  (void)state;
  static struct {
    umemStatusType expected;
    char const *part;
  } const made[] = {{umemIOError, "EISDIR"},
                    {umemValueError, "no regular file"},
                    {umemIOError, "ELOOP"},
                    {umemIOError, "ENXIO"},
                    {umemValueError, "its contents are others'"},
                    {umemValueError, "it is not complete (yet)"},
                    {umemValueError, "its contents are others'"}};
  for (uint64_t i = 0; i < LENGTH(made); i++)
    abuse((struct abuse){"what has the name", harm_squat, i, 0,
                         made[i].expected, made[i].part, false});
  print_message("abuse: %u cases, %u skipped\n", abuses, abuses_skipped);
  if (scaled(1, 0))
    assert_true(abuses - abuses_skipped >= 60);
}

/* Tells what there was, and cuts it off. */
static int cutting_fstat(int fd, struct stat *st) {
  int result = fstat(fd, st);
  return ftruncate(fd, 4096) ? -1 : result;
}

static ssize_t cutting_pread(int fd, void *out, size_t nbytes, off_t at) {
  return ftruncate(fd, 4096) ? -1 : pread(fd, out, nbytes, at);
}

static void copies__cut_off_in_the_last_moment_raise_no_signal(void **state) {
  (void)state;
  umemShm s;
  static char bytes[10000];
  uintptr_t const in = (uintptr_t)bytes;
  open_shm(&s, new_name(), SIZE, 0);
  uintptr_t const adr = allocated(&s, sizeof bytes);
  umemi_os.fstat = cutting_fstat;
  umem_copy_to(&host, in, &s, adr, sizeof bytes); /* makes it longer again */
  assert_fails(&s, umem_try_set(&s, adr + 200000, 'x', 10000), umemIOError,
               "the segment was cut off: wrote 0 of 10000 bytes");
  umemi_os.fstat = faults_real.fstat;
  umemi_os.pread = cutting_pread;
  assert_status(umem_copy_to(&s, adr, &host, in, sizeof bytes), umemIOError);
  assert_slot(&host, umemIOError, "the segment was cut off: read 0 of 10000");
  umem_clean_status(&s);
  assert_ok(umem_dtor(&s));
}

/* Somebody cuts it off while others copy and allocate. */
static void cut_and_extend(void) {
  int fd = open(path_of(shared_name), O_RDWR | O_CLOEXEC);
  off_t const total = (off_t)umemi_segment_total(SIZE);
  for (;;)
    if (ftruncate(fd, 4096) || ftruncate(fd, total))
      end_in_child(1);
}

static void races__with_one_who_cuts_it_off_raise_no_signal(void **state) {
  (void)state;
  umemShm s;
  static char bytes[SIZE / 2];
  unsigned failures = 0;
  shared_name = new_name();
  open_shm(&s, shared_name, SIZE, 0);
  uintptr_t const adr = allocated(&s, sizeof bytes);
  pid_t peer = start(cut_and_extend);
  for (size_t i = 0; i < scaled(500, 50); i++) {
    uintptr_t more, in = (uintptr_t)bytes;
    umemStatusType const got[] = {
        umem_copy_to(&host, in, &s, adr, sizeof bytes),
        umem_copy_to(&s, adr, &host, in, sizeof bytes),
        umem_try_alloc(&s, 1000, &more), umem_free(&s, adr)};
    for (size_t k = 0; k < LENGTH(got); k++) {
      failures += got[k] != umemOK;
      assert_true(got[k] == umemOK || got[k] == umemIOError ||
                  got[k] == umemValueError || got[k] == umemMemoryError);
    }
  }
  kill_hard(peer);
  print_message("cut off: %u failures told\n", failures);
  umem_clean_status(&host);
  umem_clean_status(&s);
  assert_ok(umem_dtor(&s));
}

/* --- no room -------------------------------------------------------------- */

static void small_dev_shm(void) {
  umemShm s, t;
  if (unshare(CLONE_NEWNS) || mount("", "/", "", MS_REC | MS_PRIVATE, NULL) ||
      mount("none", "/dev/shm", "tmpfs", 0, "size=1m"))
    exit(SKIPPED);
  assert_ctor_fails(&s, umemShm_ctor(&s, "/large", 2 * MIB, 0), umemMemoryError,
                    "ENOSPC");
  assert_ctor_fails(&s, umemShm_ctor(&s, "/large", 64 * MIB, 0),
                    umemMemoryError, "ENOSPC");
  assert_int_equal(names_in("/dev/shm"), 0);
  open_shm(&s, "/small", MIB / 2, 0);
  assert_ctor_fails(&t, umemShm_ctor(&t, "/second", MIB * 3 / 4, 0),
                    umemMemoryError, "ENOSPC");
  assert_int_equal(names_in("/dev/shm"), 1);
  uintptr_t adr = allocated(&s, MIB / 2); /* all of it was reserved */
  memset((void *)adr, 'x', MIB / 2);
  assert_ok(umem_dtor(&s));
  assert_int_equal(names_in("/dev/shm"), 0);
}

static void ctor__where_memory_is_full_is_a_memory_error(void **state) {
  (void)state;
  int result = in_child(small_dev_shm);
  if (result == SKIPPED) {
    print_message("no tmpfs here: needs the right to mount\n");
    skip();
  }
  assert_int_equal(result, 0);
}

static void with_a_limit_of_sizes(void) {
  umemShm s;
  struct rlimit limit = {MIB, MIB};
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_ctor_fails(&s, umemShm_ctor(&s, new_name(), 2 * MIB, 0),
                    umemMemoryError, "EFBIG");
  assert_ctor_fails(&s, umemShm_ctor(&s, NULL, 2 * MIB, 0), umemMemoryError,
                    "EFBIG");
  open_shm(&s, new_name(), MIB / 2, 0);
  fill(&s, allocated(&s, MIB / 2), MIB / 2, 1);
  assert_ok(umem_dtor(&s));
}

static void ctor__past_RLIMIT_FSIZE_is_a_memory_error(void **state) {
  (void)state;
  assert_child_succeeds(with_a_limit_of_sizes);
}

/* Inside the segment, which was created before. */
static void with_a_limit_set_later(void) {
  umemShm s;
  uintptr_t adr;
  struct rlimit limit = {100, RLIM_INFINITY};
  open_shm(&s, NULL, SIZE, 0);
  uintptr_t block = allocated(&s, 100);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_status(umem_try_alloc(&s, 100, &adr), umemMemoryError);
  assert_has(umem_get_message(&s), "EFBIG");
  assert_status(umem_free(&s, block), umemIOError);
  limit.rlim_cur = RLIM_INFINITY;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
  assert_ok(umem_free(&s, block));
  assert_all_free(&s, SIZE);
  assert_ok(umem_dtor(&s));
}

static void alloc__past_RLIMIT_FSIZE_is_a_memory_error(void **state) {
  (void)state;
  assert_child_succeeds(with_a_limit_set_later);
}

/* --- faults --------------------------------------------------------------- */

/* All calls of two contexts on one segment; true if all went well. */
static bool run_program(char const *name, bool *removed_out) {
  umemShm a, b = {{{0}}}; /* may never be constructed */
  uintptr_t adr = 0, zeroed = 0;
  bool ok = umemShm_ctor(&a, name, SIZE, 0) == umemOK;
  bool attached = ok && umemShm_ctor_fd(&b, umemShm_get_fd(&a)) == umemOK;
  ok = attached && umem_try_alloc(&a, 1000, &adr) == umemOK &&
       umem_try_calloc(&b, 10, 100, &zeroed) == umemOK &&
       umem_try_set(&a, adr, 'x', 1000) == umemOK &&
       umem_copy_to(&a, adr, &b, zeroed, 1000) == umemOK &&
       umem_free(&b, zeroed) == umemOK && umem_free(&a, adr) == umemOK;
  if (!ok && attached && adr && umem_is_ok(&a) && umem_is_ok(&b))
    fail_msg("a failure that nobody tells");
  ok = umem_dtor(&b) == umemOK && ok;
  *removed_out = umem_dtor(&a) == umemOK;
  return *removed_out && ok;
}

static void faults__at_every_call_leave_nothing_behind(void **state) {
  static int const hows[] = {EIO, ENOMEM, ENOSPC, EINTR, EMFILE};
  (void)state;
  unsigned points = 0;
  int const descriptors = open_descriptors();
  for (unsigned named = 0; named < 2; named++)
    for (enum fault_call call = 0; call < FAULT_CALL_COUNT; call++)
      for (size_t h = 0; h < LENGTH(hows); h++)
        for (unsigned k = 1;; k++) {
          char const *name = named ? new_name() : NULL;
          bool removed;
          faults_clear();
          faults_fail(call, k, hows[h]);
          run_program(name, &removed);
          bool reached = faults_count(call) >= k;
          faults_clear();
          assert_int_equal(open_descriptors(), descriptors);
          if (name && !removed)
            unlink(path_of(name)); /* it was told */
          if (name && file_exists(path_of(name)))
            fail_msg("%s, call %u: the name was left", fault_name(call), k);
          if (!reached)
            break;
          points++;
          assert_true(run_program(name, &removed));
        }
  print_message("faults: %u points\n", points);
  assert_true(points > 100);
}

/* --- views ---------------------------------------------------------------- */

/* System calls that move bytes to the segment and back. */
static unsigned calls_of_a_round_trip(umemShm *shm) {
  umemHost host;
  char out[5000], in[5000];
  uintptr_t adr = umem_alloc(shm, sizeof in);
  assert_ok(umemHost_ctor(&host));
  random_bytes((unsigned char *)in, sizeof in, 5);
  faults_clear();
  assert_ok(umem_copy_to(&host, (uintptr_t)in, shm, adr, sizeof in));
  assert_memory_equal((void const *)adr, in, sizeof in);
  assert_ok(umem_copy_to(shm, adr, &host, (uintptr_t)out, sizeof out));
  assert_memory_equal(in, out, sizeof in);
  return faults_count(FAULT_pread) + faults_count(FAULT_pwrite);
}

static void views__are_offered_by_what_nobody_can_cut_off(void **state) {
  (void)state;
  umemShm nameless, attached, named;
  assert_ok(umemShm_ctor(&nameless, NULL, 1 << 20, 0));
  assert_ok(umemShm_ctor_fd(&attached, umemShm_get_fd(&nameless)));
  assert_ok(umemShm_ctor(&named, new_name(), 1 << 20, UMEM_SHM_CREATE));
  assert_int_equal(calls_of_a_round_trip(&nameless), 0);
  assert_int_equal(calls_of_a_round_trip(&attached), 0);
  assert_int_equal(calls_of_a_round_trip(&named), 2);
  assert_ok(umem_dtor(&named));
  assert_ok(umem_dtor(&attached));
  assert_ok(umem_dtor(&nameless));
}

int main(void) {
  struct CMUnitTest const tests[] = {
      shm_test(ctor__creates_and_attaches_as_the_flags_say),
      shm_test(name__outlives_its_creator_if_kept),
      shm_test(name__of_a_successor_is_left_alone),
      shm_test(ctor__of_bad_names_creates_nothing),
      shm_test(ctor__of_bad_flags_and_sizes_creates_nothing),
      shm_test(segments__are_0600_whatever_the_umask_is),
      shm_test(ctor__raced_by_many_processes_makes_one_segment),
      shm_test(nameless__memory_is_sealed),
      shm_test(views__are_offered_by_what_nobody_can_cut_off),
      shm_test(get_fd__of_what_is_no_shm_is_minus_1),
      shm_test(descriptor__sent_to_a_process_gives_it_the_memory),
      shm_test(ctor_fd__of_what_is_no_segment_is_refused),
      shm_test(addresses__are_pointers_of_this_context_alone),
      shm_test(access__outside_of_the_blocks_is_an_index_error),
      shm_test(overlap__with_host_memory_is_memmove),
      shm_test(handle__finds_the_block_at_other_addresses),
      shm_test(handle__of_the_table_is_an_index_error),
      shm_test(blocks__are_shared_by_two_processes),
      shm_test(processes__that_hammer_at_once_never_share_a_byte),
      shm_test(kills__at_any_moment_harm_nobody),
      shm_test(kills__at_every_system_call_leave_a_correct_heap),
      shm_test(lock__of_a_peer_is_waited_for_and_freed_by_its_kill),
      shm_test(lock__of_a_killed_process_is_not_kept_by_its_child),
      shm_test(child__allocates_beside_its_parent),
      shm_test(child__of_busy_threads_does_not_hang),
      shm_test(abuse__of_the_header_is_told_to_who_attaches),
      shm_test(abuse__of_the_table_is_told),
      shm_test(abuse__of_the_size_is_told_and_raises_no_signal),
      shm_test(abuse__of_owner_and_mode_is_told_to_who_attaches),
      shm_test(abuse__of_the_name_is_told_to_who_attaches),
      shm_test(copies__cut_off_in_the_last_moment_raise_no_signal),
      shm_test(races__with_one_who_cuts_it_off_raise_no_signal),
      shm_test(ctor__where_memory_is_full_is_a_memory_error),
      shm_test(ctor__past_RLIMIT_FSIZE_is_a_memory_error),
      shm_test(alloc__past_RLIMIT_FSIZE_is_a_memory_error),
      shm_test(faults__at_every_call_leave_nothing_behind),
  };
  return cmocka_run_group_tests(tests, names_setup, temp_teardown);
}
