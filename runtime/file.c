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
#include <unistd.h>

#include "base/clocale.h"

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
  int folder = (int)(strrchr(f->target, '/') + 1 - f->target);
  if (asprintf(&f->temporary, "%.*s" FILE_TEMPORARY "XXXXXX", folder, f->target) < 0)
    f->temporary = NULL, errno = ENOMEM;
  f->fd = f->temporary ? mkostemp(f->temporary, O_CLOEXEC) : -1;
  // mkstemp makes private files; the result should be as if it had been opened plainly.
  if (f->fd >= 0 && !fchmod(f->fd, there ? st.st_mode & 07777 : 0666 & ~file_mask())) return true;
  cannot_write(path, e);
  file_abandon(f);
  return false;
}

bool file_write(output_file *f, const void *data, size_t size, error *e) {
  for (const char *p = data; size;) {
    ssize_t put = write(f->fd, p, size < (1u << 30) ? size : (1u << 30));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return error_set(e, ERROR_FILE, "%s: %s", f->path, clocale_error(errno));
    p += put;
    size -= (size_t)put;
  }
  return true;
}

bool file_commit(output_file *f, error *e) {
  bool closed = f->fd == STDOUT_FILENO || !close(f->fd);
  f->fd = STDOUT_FILENO;
  if (!closed || (f->temporary && rename(f->temporary, f->target))) {
    error_set(e, ERROR_FILE, "%s: %s", f->path, clocale_error(errno));
    file_abandon(f);
    return false;
  }
  free(f->temporary);
  free(f->target);
  f->temporary = f->target = NULL;
  return true;
}

void file_abandon(output_file *f) {
  if (f->fd >= 0 && f->fd != STDOUT_FILENO) close(f->fd);
  f->fd = STDOUT_FILENO;
  if (f->temporary) unlink(f->temporary);
  free(f->temporary);
  free(f->target);
  f->temporary = f->target = NULL;
}

bool file_write_whole(const char *path, const void *data, size_t size, error *e) {
  output_file f;
  if (!file_create(&f, path, e)) return false;
  if (file_write(&f, data, size, e)) return file_commit(&f, e);
  file_abandon(&f);
  return false;
}

bool file_make_directory(const char *path) {
  char *copy = strdup(path);
  if (!copy) return false;
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
