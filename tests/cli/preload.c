// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loaded into the tool by LD_PRELOAD: a host with a state of its own, and a world that fails.
//
//   PRELOAD_LOCALE=de_DE.UTF-8   setlocale before main
//   PRELOAD_SIGNAL=15            the process gets the signal after its first long write to a file
//   PRELOAD_NAMED=1              the file system has no unnamed files
//   PRELOAD_FAIL=7               allocation 7 of the tool's own code (not of LLVM) fails
//   PRELOAD_COUNT=FILE           the number of its allocations goes there
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../own_code.h"

static int number;
static long fail_at = -1, seen;
static code_range own;  // of the tool's code

static void __attribute__((constructor)) start(void) {
  const char *locale = getenv("PRELOAD_LOCALE"), *text = getenv("PRELOAD_SIGNAL");
  if (locale && !setlocale(LC_ALL, locale)) abort();
  number = text ? atoi(text) : 0;
  text = getenv("PRELOAD_FAIL");
  fail_at = text ? atol(text) : -1;
  own = own_code();
}

static void __attribute__((destructor)) end(void) {
  const char *path = getenv("PRELOAD_COUNT");
  FILE *f = path ? fopen(path, "w") : NULL;
  if (f) fprintf(f, "%ld\n", seen), fclose(f);
}

// ---- allocations

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static int fails(const void *caller) {
  if (!in_code(own, caller)) return 0;
  int now = __atomic_fetch_add(&seen, 1, __ATOMIC_RELAXED) == fail_at;
  if (now) errno = ENOMEM;
  return now;
}

#define CALLER __builtin_return_address(0)
void *malloc(size_t n) { return fails(CALLER) ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return fails(CALLER) ? NULL : __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return fails(CALLER) ? NULL : __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { return fails(CALLER) ? NULL : __libc_memalign(a, n); }
char *strdup(const char *text) {
  size_t n = strlen(text) + 1;
  char *p = fails(CALLER) ? NULL : __libc_malloc(n);
  return p ? memcpy(p, text, n) : NULL;
}
char *strndup(const char *text, size_t n) {
  n = strnlen(text, n);
  char *p = fails(CALLER) ? NULL : __libc_calloc(n + 1, 1);
  return p ? memcpy(p, text, n) : NULL;
}

// ---- files

ssize_t write(int fd, const void *data, size_t size) {
  ssize_t (*next)(int, const void *, size_t) =
      (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  ssize_t put = next(fd, data, size);
  struct stat st;
  if (number && size > 400 && !fstat(fd, &st) && S_ISREG(st.st_mode)) {
    int once = number;
    number = 0;
    kill(getpid(), once);
  }
  return put;
}

static int open_next(const char *symbol, const char *path, int flags, mode_t mode) {
  int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, symbol);
  if ((flags & O_TMPFILE) == O_TMPFILE && getenv("PRELOAD_NAMED")) return errno = EOPNOTSUPP, -1;
  return next(path, flags, mode);
}

#define OPEN(name)                              \
  int name(const char *path, int flags, ...) {  \
    va_list args;                               \
    va_start(args, flags);                      \
    mode_t mode = va_arg(args, mode_t);         \
    va_end(args);                               \
    return open_next(#name, path, flags, mode); \
  }
OPEN(open)
OPEN(open64)
