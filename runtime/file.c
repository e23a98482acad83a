// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reading whole streams and writing whole files; see runtime/file.h.
#define _GNU_SOURCE  // mkostemp, asprintf
#include "runtime/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clocale.h"
#include "runtime/signals.h"

static bool short_read(reader *r, size_t wanted, error *e) {
  return error_set(e, ERROR_FORMAT, "%s: truncated: %zu more bytes expected, %lld there", r->name,
                   wanted, (long long)r->left);
}

static bool read_memory(reader *r, void *to, size_t n, error *e) {
  if ((uint64_t)r->left < n) return short_read(r, n, e);
  if (n) memcpy(to, r->at, n);
  r->at += n;
  r->left -= (int64_t)n;
  return true;
}

reader reader_memory(const char *name, const void *data, size_t size) {
  return (reader){.read = read_memory, .left = (int64_t)size, .name = name, .at = data};
}

static bool read_fd(reader *r, void *to, size_t n, error *e) {
  if ((uint64_t)r->left < n) return short_read(r, n, e);
  for (char *p = to; n;) {
    ssize_t got = read(*(const int *)r->handle, p, n < (1u << 30) ? n : (1u << 30));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return error_set(e, ERROR_FILE, "%s: %s", r->name, clocale_error(errno));
    if (got == 0) {  // shrank while being read
      r->left = 0;
      return short_read(r, n, e);
    }
    p += got;
    n -= (size_t)got;
    r->left -= got;
  }
  return true;
}

reader reader_fd(const char *name, const int *fd, int64_t size) {
  return (reader){.read = read_fd, .left = size, .name = name, .handle = (void *)fd};
}

int file_open(const char *path, int64_t *size, error *e) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st)) {
    error_set(e, ERROR_FILE, "%s: %s", path, clocale_error(errno));
  } else if (!S_ISREG(st.st_mode)) {
    error_set(e, ERROR_FILE, "%s: not a regular file", path);
  } else {
    *size = st.st_size;
    return fd;
  }
  if (fd >= 0) close(fd);
  return -1;
}

static char *read_all(int fd, const char *name, size_t limit, size_t *size, error *e) {
  size_t cap = 1 << 16, len = 0;
  struct stat st;
  if (!fstat(fd, &st) && S_ISDIR(st.st_mode)) {
    error_set(e, ERROR_FILE, "%s: is a directory", name);
    return NULL;
  }
  if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < limit) cap = (size_t)st.st_size + 2;
  char *data = malloc(cap);
  while (data) {
    ssize_t got = read(fd, data + len, cap - len - 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      error_set(e, ERROR_FILE, "%s: %s", name, clocale_error(errno));
      break;
    }
    len += (size_t)got;
    if (len > limit) {
      error_set(e, ERROR_FORMAT, "%s: larger than the limit of %zu bytes", name, limit);
      break;
    }
    if (got == 0) {
      data[len] = 0;
      *size = len;
      return data;
    }
    if (len + 1 == cap) {
      char *more = realloc(data, cap *= 2);
      if (!more) break;
      data = more;
    }
  }
  if (e->kind == ERROR_NONE) error_set(e, ERROR_MEMORY, "%s: out of memory", name);
  free(data);
  return NULL;
}

char *file_read(const char *path, size_t limit, size_t *size, error *e) {
  bool standard = !strcmp(path, "-");
  e->kind = ERROR_NONE;
  int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    error_set(e, ERROR_FILE, "%s: %s", path, clocale_error(errno));
    return NULL;
  }
  char *data = read_all(fd, standard ? "<stdin>" : path, limit, size, e);
  if (!standard) close(fd);
  return data;
}

// ---- output

enum { AT_ONCE = 16 << 20 };  // bytes, before signals are looked at

/// errno said why.
static bool cannot_write(const char *path, error *e) {
  return error_set(e, errno == ENOMEM ? ERROR_MEMORY : ERROR_FILE, "%s: cannot be written: %s",
                   path, clocale_error(errno));
}

/// One step along a chain of links: `at` becomes what it points at, from the folder it lies in.
static bool follow_link(char at[PATH_MAX], const char *folder, const char *link) {
  char next[PATH_MAX];
  bool absolute = *link == '/';
  int n = snprintf(next, sizeof next, "%s%s%s", absolute ? "" : folder, absolute ? "" : "/", link);
  if (n >= (int)sizeof next) return errno = ENAMETOOLONG, false;
  memcpy(at, next, (size_t)n + 1);
  return true;
}

char *file_target(const char *path, error *e) {
  enum { MOST_LINKS = 40 };
  char at[PATH_MAX], link[PATH_MAX], folder[PATH_MAX], *out = NULL;
  errno = ENAMETOOLONG;
  bool going = snprintf(at, sizeof at, "%s", path) < (int)sizeof at;
  for (int hops = 0; going; hops++) {
    char copy[PATH_MAX], *slash = strrchr(at, '/'), *name = slash ? slash + 1 : at;
    strcpy(copy, at);
    errno = EISDIR;
    if (!*name || !realpath(dirname(copy), folder)) break;
    ssize_t n = readlink(at, link, sizeof link - 1);
    if (n < 0) {
      if (asprintf(&out, "%s/%s", folder, name) < 0) errno = ENOMEM, out = NULL;
      break;
    }
    link[n] = 0;
    errno = ELOOP;
    going = hops < MOST_LINKS && follow_link(at, folder, link);
  }
  if (!out) cannot_write(path, e);
  return out;
}

/// The mask of new files. It can only be read by setting it, which other threads would see: the
/// kernel says it elsewhere.
static mode_t file_mask(void) {
  mode_t mask = 022;
  FILE *status = fopen("/proc/self/status", "re");
  char line[128];
  unsigned value;
  while (status && fgets(line, sizeof line, status))
    if (sscanf(line, "Umask: %o", &value) == 1) mask = (mode_t)value;
  if (status) fclose(status);
  return mask;
}

/// The folder of the target, with the slash at its end.
static int folder_length(const output_file *f) {
  return (int)(strrchr(f->target, '/') + 1 - f->target);
}

/// A name is given by way of /proc.
static int open_unnamed(const output_file *f) {
  char folder[PATH_MAX];
  if (access("/proc/self/fd", X_OK)) return -1;
  snprintf(folder, sizeof folder, "%.*s", folder_length(f), f->target);
  return open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
}

static int open_named(output_file *f) {
  signals_hold_ends();
  int fd = mkostemp(f->temporary, O_CLOEXEC);
  f->named = fd >= 0;
  return fd;
}

/// Named or not, it has the room for a name: nothing that can lack memory is left to the commit.
static int open_beside(output_file *f) {
  int folder = folder_length(f);
  if (asprintf(&f->temporary, "%.*s" FILE_TEMPORARY "XXXXXX", folder, f->target) < 0) {
    f->temporary = NULL;
    return errno = ENOMEM, -1;
  }
  int fd = open_unnamed(f);
  return fd >= 0 ? fd : open_named(f);
}

bool file_create(output_file *f, const char *path, error *e) {
  struct stat st;
  bool standard = !strcmp(path, "-");
  *f = (output_file){.fd = STDOUT_FILENO, .path = standard ? "standard output" : path};
  if (standard) return true;
  bool there = !stat(path, &st);
  if (there && !S_ISREG(st.st_mode)) {
    f->fd = open(path, O_WRONLY | O_CLOEXEC);
    return f->fd >= 0 || cannot_write(path, e);
  }
  f->target = file_target(path, e);
  if (!f->target) return false;
  f->fd = open_beside(f);
  // Both are private; the result should be as if it had been opened plainly.
  if (f->fd >= 0 && !fchmod(f->fd, there ? st.st_mode & 07777 : 0666 & ~file_mask())) return true;
  cannot_write(path, e);
  file_abandon(f);
  return false;
}

bool file_may_go_on(const output_file *f, error *e) {
  return !f->named || !signals_end_is_near() ||
         error_set(e, ERROR_FILE, "%s: interrupted", f->path);
}

bool file_write(output_file *f, const void *data, size_t size, error *e) {
  for (const char *p = data; size;) {
    if (!file_may_go_on(f, e)) return false;
    ssize_t put = write(f->fd, p, size < AT_ONCE ? size : AT_ONCE);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return error_set(e, ERROR_FILE, "%s: %s", f->path, clocale_error(errno));
    p += put;
    size -= (size_t)put;
  }
  return true;
}

bool file_seek(output_file *f, int64_t at, error *e) {
  if (lseek(f->fd, at, SEEK_SET) == at) return true;
  return error_set(e, ERROR_FILE, "%s: %s", f->path, clocale_error(errno));
}

/// Links an unnamed file to a name that is not there yet.
static bool link_unnamed(const output_file *f, const char *name) {
  char from[40];
  snprintf(from, sizeof from, "/proc/self/fd/%d", f->fd);
  return !linkat(AT_FDCWD, from, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
}

/// A name of its own, in the way of mkstemp: numbers until one is free.
static bool link_temporary(output_file *f) {
  enum { TRIES = 100, DIGITS = 6 };
  char *digits = f->temporary + strlen(f->temporary) - DIGITS;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  unsigned seed = (unsigned)now.tv_nsec ^ (unsigned)getpid() << 10;
  signals_hold_ends();
  for (int i = 0; i < TRIES && !f->named; i++, seed = seed * 1664525 + 1013904223) {
    snprintf(digits, DIGITS + 1, "%06x", seed >> 8);
    f->named = link_unnamed(f, f->temporary);
    if (!f->named && errno != EEXIST) break;
  }
  return f->named;
}

static bool cannot_finish(output_file *f, error *e) {
  error_set(e, ERROR_FILE, "%s: %s", f->path, clocale_error(errno));
  file_abandon(f);
  return false;
}

bool file_name(output_file *f, error *e) {
  return !f->target || f->named || link_temporary(f) || cannot_finish(f, e);
}

/// To the target's place, whatever is there.
static bool put_in_place(output_file *f) {
  if (!f->named && link_unnamed(f, f->target)) return true;
  if (!f->named && (errno != EEXIST || !link_temporary(f))) return false;
  if (rename(f->temporary, f->target)) return false;
  f->named = false;
  return true;
}

bool file_commit(output_file *f, error *e) {
  // One with a name is closed first, because some file systems tell of failed writes then; one
  // without is gone when it is closed.
  bool close_first = (!f->target || f->named) && f->fd != STDOUT_FILENO;
  bool closed = !close_first || !close(f->fd);
  if (close_first) f->fd = STDOUT_FILENO;
  if (!closed || (f->target && !put_in_place(f))) return cannot_finish(f, e);
  file_abandon(f);
  return true;
}

void file_abandon(output_file *f) {
  if (f->fd >= 0 && f->fd != STDOUT_FILENO) close(f->fd);
  f->fd = STDOUT_FILENO;
  if (f->named) unlink(f->temporary);
  f->named = false;
  free(f->temporary);
  free(f->target);
  f->temporary = f->target = NULL;
}

bool file_write_whole(const char *path, const void *data, size_t size, error *e) {
  output_file f;
  held_signals held;
  signals_hold(&held);
  bool created = file_create(&f, path, e);
  bool ok = created && file_write(&f, data, size, e) && file_may_go_on(&f, e);
  if (ok) ok = file_commit(&f, e);
  else if (created) file_abandon(&f);
  signals_release(&held);
  return ok;
}

bool file_make_directory(const char *path) {
  char *copy = strdup(path);
  if (!copy) return errno = ENOMEM, false;
  for (char *p = copy + 1; *p; p++) {
    if (*p != '/') continue;
    *p = 0;
    mkdir(copy, 0700);
    *p = '/';
  }
  mkdir(copy, 0700);
  struct stat st;
  bool there = !stat(copy, &st) && S_ISDIR(st.st_mode);
  free(copy);
  return there;
}
