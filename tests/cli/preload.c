// Loaded into the tool by LD_PRELOAD: a host with a state of its own, and a world that fails.
//
//   PRELOAD_LOCALE=de_DE.UTF-8   setlocale before main
//   PRELOAD_SIGNAL=15            the process gets the signal after its first long write to a file
//   PRELOAD_NAMED=1              the file system has no unnamed files
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int number;

static void __attribute__((constructor)) start(void) {
  const char *locale = getenv("PRELOAD_LOCALE"), *text = getenv("PRELOAD_SIGNAL");
  if (locale && !setlocale(LC_ALL, locale)) abort();
  number = text ? atoi(text) : 0;
}

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

#define OPEN(name)                                \
  int name(const char *path, int flags, ...) {    \
    va_list args;                                 \
    va_start(args, flags);                        \
    mode_t mode = va_arg(args, mode_t);           \
    va_end(args);                                 \
    return open_next(#name, path, flags, mode);   \
  }
OPEN(open)
OPEN(open64)
