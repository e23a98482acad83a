// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The disk cache of compiled objects; see runtime/cache.h.
#define _GNU_SOURCE
#include "runtime/cache.h"

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

struct cache {
  char *directory;
  uint64_t limit;
  int stores;  // since the last sweep; the first store sweeps
};

static char *join(const char *a, const char *b) {
  char *path;
  return asprintf(&path, "%s/%s", a, b) < 0 ? NULL : path;
}

char *cache_default_directory(void) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  // The XDG specification says that relative paths are to be ignored.
  if (base && base[0] == '/') return join(base, "tcc-fuse");
  if (home && home[0] == '/') return join(home, ".cache/tcc-fuse");
  return NULL;
}

cache *cache_open(const char *directory, uint64_t limit_bytes) {
  cache *c = calloc(1, sizeof *c);
  if (!c) return NULL;
  c->directory = directory ? strdup(directory) : cache_default_directory();
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

const char *cache_head_fault(const cache_head *head, size_t got, uint64_t file_size) {
  if (got < sizeof *head) return "it is too short for an entry";
  if (memcmp(head->magic, "TCFO", 4)) return "it does not begin as entries do";
  if (head->version != FORMAT_VERSION) return "it is of another version of the format";
  uint64_t body = file_size - sizeof *head;
  if (head->text_size > body || head->object_size != body - head->text_size)
    return "its size is not the one that it was written with";
  return NULL;
}

const char *cache_parse(char *block, size_t size, cache_entry *out) {
  cache_head head = {0};
  memcpy(&head, block, size < sizeof head ? size : sizeof head);
  const char *fault = cache_head_fault(&head, size, size);
  if (fault) return fault;
  uint64_t check[2];
  checksum(block + sizeof head, size - sizeof head, check);
  if (memcmp(check, head.check, sizeof check)) return "its checksum is not the one of its contents";
  out->block = block;
  out->text = block + sizeof head;
  out->text_size = (size_t)head.text_size;
  out->object = out->text + head.text_size;
  out->object_size = (size_t)head.object_size;
  return NULL;
}

bool cache_load(cache *c, const cache_key *key, cache_entry *out) {
  char *path = c ? entry_path(c, key) : NULL;
  if (!path) return false;
  error ignored;
  size_t size;
  char *block = access(path, R_OK) ? NULL : file_read(path, SIZE_MAX / 4, &size, &ignored);
  bool ok = block && !cache_parse(block, size, out);
  if (ok) {
    utimensat(AT_FDCWD, path, NULL, 0);  // used now: the order of eviction
  } else if (block) {
    unlink(path);
    free(block);
  }
  free(path);
  return ok;
}

static int by_age(const void *a_, const void *b_) {
  const cache_item *a = a_, *b = b_;
  if (a->used_s != b->used_s) return a->used_s < b->used_s ? -1 : 1;
  if (a->used_ns != b->used_ns) return a->used_ns < b->used_ns ? -1 : 1;
  return strcmp(a->name, b->name);
}

static void sweep(cache *c) {
  DIR *dir = opendir(c->directory);
  if (!dir) return;
  cache_remove_left(dir);
  cache_items found = cache_list(dir);
  uint64_t total = found.bytes;
  if (total > c->limit) {
    qsort(found.items, found.count, sizeof *found.items, by_age);
    // A quarter below the limit, so that not every store sweeps again.
    for (size_t i = 0; i < found.count && total > c->limit / 4 * 3; i++)
      if (!unlinkat(dirfd(dir), found.items[i].name, 0)) total -= found.items[i].size;
  }
  free(found.items);
  closedir(dir);
}

bool cache_store(cache *c, const cache_key *key, const char *text, size_t text_size,
                 const void *object, size_t object_size) {
  if (!c || text_size + object_size > c->limit / 2 || !file_make_directory(c->directory))
    return false;
  size_t size = sizeof(cache_head) + text_size + object_size;
  char *path = entry_path(c, key), *block = malloc(size);
  bool ok = path && block;
  if (ok) {
    cache_head head = {.magic = "TCFO",
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
