// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The disk cache of compiled objects; see runtime/cache.h.
#define _GNU_SOURCE
#include "runtime/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clocale.h"
#include "runtime/file.h"

enum { FORMAT_VERSION = 1, STORES_PER_SWEEP = 32 };
static const char suffix[] = ".tcfo";

typedef struct entry_head {
  char magic[4];  // "TCFO"
  uint32_t version;
  uint64_t text_size, object_size;
  uint64_t check[2];  // XXH3-128 of text and object
} entry_head;

struct cache {
  char *directory;
  uint64_t limit;
  int stores;  // since the last sweep; the first store sweeps
};

static char *join(const char *a, const char *b) {
  char *path;
  return asprintf(&path, "%s/%s", a, b) < 0 ? NULL : path;
}

static char *default_directory(void) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  // The XDG specification says that relative paths are to be ignored.
  if (base && base[0] == '/') return join(base, "tcc-fuse");
  if (home && home[0] == '/') return join(home, ".cache/tcc-fuse");
  return NULL;
}

cache *cache_open(const char *directory, uint64_t limit_bytes) {
  cache *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->directory = directory ? strdup(directory) : default_directory();
  c->limit = limit_bytes ? limit_bytes : (uint64_t)512 << 20;
  c->stores = STORES_PER_SWEEP;
  if (c->directory) return c;
  free(c);
  return NULL;
}

void cache_close(cache *c) {
  if (!c) return;
  free(c->directory);
  free(c);
}

const char *cache_directory(const cache *c) { return c->directory; }

bool cache_usable(const cache *c, error *e) {
  bool there = file_make_directory(c->directory);
  struct stat st;
  if (!there && errno == ENOMEM) return error_set(e, ERROR_MEMORY, "out of memory");
  if (!there && !stat(c->directory, &st)) errno = ENOTDIR;
  if (there && !access(c->directory, R_OK | W_OK | X_OK)) return true;
  return error_set(e, ERROR_FILE, "the cache directory %s cannot be used: %s", c->directory,
                   clocale_error(errno));
}

cache_key cache_key_of(const char *identity, size_t identity_size, const char *program,
                       size_t program_size) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  uint64_t size = identity_size;  // so that moving the border between the two changes the key
  XXH3_128bits_update(&state, &size, sizeof size);
  XXH3_128bits_update(&state, identity, identity_size);
  XXH3_128bits_update(&state, program, program_size);
  XXH128_hash_t h = XXH3_128bits_digest(&state);
  cache_key key;
  snprintf(key.hex, sizeof key.hex, "%016llx%016llx", (unsigned long long)h.high64,
           (unsigned long long)h.low64);
  return key;
}

static char *entry_path(const cache *c, const cache_key *key) {
  char *path;
  return asprintf(&path, "%s/%s%s", c->directory, key->hex, suffix) < 0 ? NULL : path;
}

static void checksum(const char *block, size_t size, uint64_t out[2]) {
  XXH128_hash_t h = XXH3_128bits(block, size);
  out[0] = h.low64;
  out[1] = h.high64;
}

static bool parse_entry(char *block, size_t size, cache_entry *out) {
  entry_head head;
  if (size < sizeof head) return false;
  memcpy(&head, block, sizeof head);
  size_t body = size - sizeof head;
  if (memcmp(head.magic, "TCFO", 4) || head.version != FORMAT_VERSION) return false;
  if (head.text_size > body || head.object_size != body - head.text_size) return false;
  uint64_t check[2];
  checksum(block + sizeof head, body, check);
  if (memcmp(check, head.check, sizeof check)) return false;
  out->block = block;
  out->text = block + sizeof head;
  out->text_size = (size_t)head.text_size;
  out->object = out->text + head.text_size;
  out->object_size = (size_t)head.object_size;
  return true;
}

bool cache_load(cache *c, const cache_key *key, cache_entry *out) {
  char *path = c ? entry_path(c, key) : NULL;
  if (!path) return false;
  error ignored;
  size_t size;
  char *block = access(path, R_OK) ? NULL : file_read(path, SIZE_MAX / 4, &size, &ignored);
  bool ok = block && parse_entry(block, size, out);
  if (ok) {
    utimensat(AT_FDCWD, path, NULL, 0);  // used now: the order of eviction
  } else if (block) {
    unlink(path);
    free(block);
  }
  free(path);
  return ok;
}

typedef struct sweep_item {
  char name[64];
  int64_t when_s, when_ns;
  uint64_t size;
} sweep_item;

static int by_age(const void *a_, const void *b_) {
  const sweep_item *a = a_, *b = b_;
  if (a->when_s != b->when_s) return a->when_s < b->when_s ? -1 : 1;
  if (a->when_ns != b->when_ns) return a->when_ns < b->when_ns ? -1 : 1;
  return strcmp(a->name, b->name);
}

// Entries of the directory; also removes temporary files that a killed process left an hour ago.
static sweep_item *list_entries(DIR *dir, size_t *count, uint64_t *total) {
  sweep_item *items = NULL;
  size_t n = 0, cap = 0;
  struct stat st, now;
  bool clock = !fstat(dirfd(dir), &now);
  for (struct dirent *d; (d = readdir(dir));) {
    bool temporary = !strncmp(d->d_name, FILE_TEMPORARY, sizeof FILE_TEMPORARY - 1);
    const char *end = strstr(d->d_name, suffix);
    bool entry = end && !end[sizeof suffix - 1] && strlen(d->d_name) < sizeof items->name;
    if (!temporary && !entry) continue;
    if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode)) continue;
    if (temporary) {
      if (clock && st.st_mtime + 3600 < now.st_mtime) unlinkat(dirfd(dir), d->d_name, 0);
      continue;
    }
    if (n == cap) {
      sweep_item *more = realloc(items, sizeof *items * (cap = cap ? cap * 2 : 256));
      if (!more) break;
      items = more;
    }
    sweep_item *item = &items[n++];
    snprintf(item->name, sizeof item->name, "%s", d->d_name);
    item->when_s = st.st_mtim.tv_sec;
    item->when_ns = st.st_mtim.tv_nsec;
    item->size = (uint64_t)st.st_size;
    *total += item->size;
  }
  *count = n;
  return items;
}

static void sweep(cache *c) {
  DIR *dir = opendir(c->directory);
  if (!dir) return;
  size_t n = 0;
  uint64_t total = 0;
  sweep_item *items = list_entries(dir, &n, &total);
  if (total > c->limit) {
    qsort(items, n, sizeof *items, by_age);
    // A quarter below the limit, so that not every store sweeps again.
    for (size_t i = 0; i < n && total > c->limit / 4 * 3; i++)
      if (!unlinkat(dirfd(dir), items[i].name, 0)) total -= items[i].size;
  }
  free(items);
  closedir(dir);
}

bool cache_store(cache *c, const cache_key *key, const char *text, size_t text_size,
                 const void *object, size_t object_size) {
  if (!c || text_size + object_size > c->limit / 2 || !file_make_directory(c->directory))
    return false;
  size_t size = sizeof(entry_head) + text_size + object_size;
  char *path = entry_path(c, key), *block = malloc(size);
  bool ok = path && block;
  if (ok) {
    entry_head head = {.magic = "TCFO",
                       .version = FORMAT_VERSION,
                       .text_size = text_size,
                       .object_size = object_size};
    memcpy(block + sizeof head, text, text_size);
    memcpy(block + sizeof head + text_size, object, object_size);
    checksum(block + sizeof head, size - sizeof head, head.check);
    memcpy(block, &head, sizeof head);
    error ignored;
    ok = file_write_whole(path, block, size, &ignored);
  }
  free(path);
  free(block);
  if (ok && ++c->stores > STORES_PER_SWEEP) {
    c->stores = 0;
    sweep(c);
  }
  return ok;
}
