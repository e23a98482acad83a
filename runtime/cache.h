// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiled objects on disk, by the hash of everything they were made from.
//
// A directory of files <32 hex digits>.tcfo: magic, version, sizes, the XXH3 checksum of the
// payload, then a small text (what the caller must know besides the code) and the object. Entries
// are written under a temporary name and renamed, so several processes may share a directory. An
// entry that is damaged in any way is removed and counts as absent. When the directory grows over
// the limit, the entries not used for the longest time are removed.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/error.h"

typedef struct cache cache;

typedef struct cache_key {
  char hex[33];
} cache_key;

typedef struct cache_entry {
  char *block;  // malloc'd by cache_load, freed by the caller
  const char *text;
  size_t text_size;
  const char *object;
  size_t object_size;
} cache_entry;

/// directory null: $XDG_CACHE_HOME/tcc-fuse, else $HOME/.cache/tcc-fuse. limit_bytes 0: 512 MiB.
/// Null when there is no usable directory: no caching then.
cache *cache_open(const char *directory, uint64_t limit_bytes);
void cache_close(cache *c);
const char *cache_directory(const cache *c);
/// Makes the directory when it is not there; false when entries cannot be kept in it.
bool cache_usable(const cache *c, error *e);

/// The key of two texts: who compiled it, and what.
cache_key cache_key_of(const char *identity, size_t identity_size, const char *program,
                       size_t program_size);
bool cache_load(cache *c, const cache_key *key, cache_entry *out);
/// Failing to store is not an error: the next process compiles again.
bool cache_store(cache *c, const cache_key *key, const char *text, size_t text_size,
                 const void *object, size_t object_size);
