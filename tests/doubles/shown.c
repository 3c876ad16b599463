/* SPDX-License-Identifier: BSD-3-Clause */
/* Faked files of /sys and /proc; see shown.h. */
#include "shown.h"

#include "core.h"

static struct { char const *path, *text; } shown[32];
static size_t shown_count;

static int open_text(char const *text) {
  char path[] = "/tmp/umem-shown-XXXXXX";
  int fd = mkostemp(path, O_CLOEXEC);
  assert_true(fd >= 0);
  unlink(path);
  assert_int_equal(write(fd, text, strlen(text)), strlen(text));
  return fd;
}

static int open_shown(char const *path, int flags, ...) {
  if ((flags & O_PATH) ||
      (strncmp(path, "/sys/", 5) != 0 && strncmp(path, "/proc/", 6) != 0))
    return faults_real.open(path, flags, 0600);
  for (size_t i = shown_count; i-- > 0;)
    if (strcmp(shown[i].path, path) == 0)
      return open_text(shown[i].text);
  errno = ENOENT;
  return -1;
}

void show(char const *path, char const *text) {
  assert_true(shown_count < LENGTH(shown));
  shown[shown_count].path = path;
  shown[shown_count++].text = text;
  umemi_os.open = open_shown;
}

int shown_teardown(void **state) {
  shown_count = 0;
  return faults_teardown(state);
}
