// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The directory of the cache as a whole: what is in it, whether it is sound, and away with it; see
// runtime/cache.h.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clocale.h"
#include "runtime/cache.h"
#include "runtime/file.h"

/// "<32 hex digits>.tcfo"
static bool is_entry_name(const char *name) {
  enum { DIGITS = 32 };
  return strspn(name, "0123456789abcdef") == DIGITS && !strcmp(name + DIGITS, ".tcfo");
}

static bool is_temporary_name(const char *name) {
  return !strncmp(name, FILE_TEMPORARY, sizeof FILE_TEMPORARY - 1);
}

static bool is_regular(DIR *dir, const char *name, struct stat *st) {
  return !fstatat(dirfd(dir), name, st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st->st_mode);
}

cache_items cache_list(DIR *dir) {
  cache_items found = {.all = true};
  size_t cap = 0;
  struct stat st;
  rewinddir(dir);
  for (struct dirent *d; (d = readdir(dir));) {
    if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, "..") || is_temporary_name(d->d_name)) continue;
    if (!is_entry_name(d->d_name) || !is_regular(dir, d->d_name, &st)) {
      found.others++;
      continue;
    }
    if (found.count == cap) {
      cache_item *more = realloc(found.items, sizeof *more * (cap = cap ? cap * 2 : 256));
      if (!more) return found.all = false, found;
      found.items = more;
    }
    cache_item *item = &found.items[found.count++];
    *item = (cache_item){.size = (uint64_t)st.st_size,
                         .used_s = st.st_mtim.tv_sec,
                         .used_ns = st.st_mtim.tv_nsec};
    strcpy(item->name, d->d_name);
    found.bytes += item->size;
  }
  return found;
}

void cache_remove_left(DIR *dir) {
  struct stat st, now;
  if (fstat(dirfd(dir), &now)) return;  // its own time is the clock that the files go by
  rewinddir(dir);
  for (struct dirent *d; (d = readdir(dir));)
    if (is_temporary_name(d->d_name) && is_regular(dir, d->d_name, &st) &&
        st.st_mtime + 3600 < now.st_mtime)
      unlinkat(dirfd(dir), d->d_name, 0);
}

// ---- tasks

static int by_use(const void *a_, const void *b_) {
  const cache_item *a = a_, *b = b_;
  if (a->used_s != b->used_s) return a->used_s > b->used_s ? -1 : 1;
  if (a->used_ns != b->used_ns) return a->used_ns > b->used_ns ? -1 : 1;
  return strcmp(a->name, b->name);
}

/// All `n` bytes, if they are there: how many are. -1: errno says why.
static ssize_t read_at(int fd, void *to, size_t n, uint64_t at) {
  size_t have = 0;
  while (have < n) {
    ssize_t got = pread(fd, (char *)to + have, n - have, (off_t)(at + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (!got) break;
    have += (size_t)got;
  }
  return (ssize_t)have;
}

static const char *kind_of(int fd, const cache_head *head) {
  Elf64_Ehdr elf = {0};
  if (!head->object_size) return "schedule";
  ssize_t got = read_at(fd, &elf, sizeof elf, sizeof *head + head->text_size);
  bool cubin = got == sizeof elf && !memcmp(elf.e_ident, ELFMAG, SELFMAG) && elf.e_machine == EM_CUDA;
  return cubin ? "cubin" : "code";
}

/// The rest of a file whose head is sound. False with *e: no memory.
static bool verify(int fd, const cache_item *item, cache_finding *f, error *e) {
  size_t size = (size_t)item->size;
  char *block = malloc(size);
  if (!block) return error_set(e, ERROR_MEMORY, "out of memory");
  cache_entry unused;
  ssize_t got = read_at(fd, block, size, 0);
  f->fault = got < 0 ? clocale_error(errno) : cache_parse(block, (size_t)got, &unused);
  free(block);
  return true;
}

/// *gone: another process removed it.
static bool examine(DIR *dir, cache_task task, const cache_item *item, cache_finding *f, bool *gone,
                    error *e) {
  cache_head head = {0};
  *f = (cache_finding){.item = item, .kind = ""};
  int fd = openat(dirfd(dir), item->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  ssize_t got = fd < 0 ? -1 : read_at(fd, &head, sizeof head, 0);
  *gone = fd < 0 && errno == ENOENT;
  f->fault = got < 0 ? clocale_error(errno) : cache_head_fault(&head, (size_t)got, item->size);
  bool ok = true;
  if (!f->fault) {
    f->kind = kind_of(fd, &head);
    if (task == CACHE_VERIFY) ok = verify(fd, item, f, e);
  }
  if (fd >= 0) close(fd);
  return ok;
}

static void remove_entry(DIR *dir, cache_finding *f, bool *gone) {
  bool failed = unlinkat(dirfd(dir), f->item->name, 0);
  *gone = failed && errno == ENOENT;
  f->fault = failed ? clocale_error(errno) : NULL;
}

/// Files of others are there, and of those that are named as entries none has the head of one.
static bool is_of_others(DIR *dir, const cache_items *found) {
  if (!found->others) return false;
  for (size_t i = 0; i < found->count; i++) {
    char magic[4];
    int fd = openat(dirfd(dir), found->items[i].name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool ours = fd >= 0 && read_at(fd, magic, 4, 0) == 4 && !memcmp(magic, "TCFO", 4);
    if (fd >= 0) close(fd);
    if (ours) return false;
  }
  return true;
}

typedef struct task_run {
  const char *directory;
  cache_task task;
  void (*found)(void *user, const cache_finding *f);
  void *user;
  cache_totals *totals;
} task_run;

static bool run_on(const task_run *t, DIR *dir, const cache_items *items, error *e) {
  if (!items->all) return error_set(e, ERROR_MEMORY, "out of memory");
  bool clear = t->task == CACHE_CLEAR;
  if (clear && is_of_others(dir, items))
    return error_set(e, ERROR_USAGE,
                     "%s is no cache of tcc-fuse: other files are there and no entry of one; "
                     "nothing is removed",
                     t->directory);
  if (clear) cache_remove_left(dir);
  t->totals->others = items->others;
  if (items->count) qsort(items->items, items->count, sizeof *items->items, by_use);
  for (size_t i = 0; i < items->count; i++) {
    cache_finding f;
    bool gone;
    if (!examine(dir, t->task, &items->items[i], &f, &gone, e)) return false;
    if (clear && !gone) remove_entry(dir, &f, &gone);
    if (gone) continue;
    bool stays = clear && f.fault;
    t->totals->entries += !stays;
    t->totals->bytes += stays ? 0 : f.item->size;
    t->totals->faults += f.fault != NULL;
    t->found(t->user, &f);
  }
  return true;
}

bool cache_go_through(const char *directory, cache_task task, bool none_is_empty,
                      void (*found)(void *user, const cache_finding *f), void *user,
                      cache_totals *totals, error *e) {
  *totals = (cache_totals){0};
  DIR *dir = opendir(directory);
  if (!dir && errno == ENOENT && none_is_empty) return true;
  if (!dir)
    return error_set(e, errno == ENOMEM ? ERROR_MEMORY : ERROR_FILE, "the cache directory %s: %s",
                     directory, clocale_error(errno));
  task_run t = {directory, task, found, user, totals};
  cache_items items = cache_list(dir);
  bool ok = run_on(&t, dir, &items, e);
  free(items.items);
  closedir(dir);
  return ok;
}
