// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiled objects on disk, by the hash of everything they were made from.
//
// A directory of files <32 hex digits>.tcfo: magic, version, sizes, the XXH3 checksum of the
// payload, then a small text (what the caller must know besides the code) and the object. Entries
// are written under a temporary name and renamed, so several processes may share a directory. An
// entry that is damaged in any way is removed and counts as absent. When the directory grows over
// the limit, the entries not used for the longest time are removed. Files of other names are not
// touched, but for temporary ones that were left.
#pragma once
#include <dirent.h>
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
/// The one that cache_open(NULL) uses, malloc'd; null: there is none.
char *cache_default_directory(void);
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

// ---- the directory as a whole (runtime/cache_folder.c)

/// An entry as a file. The head is followed by the text and the object.
typedef struct cache_head {
  char magic[4];  // "TCFO"
  uint32_t version;
  uint64_t text_size, object_size;
  uint64_t check[2];  // XXH3-128 of text and object
} cache_head;

/// What is wrong with the first `got` bytes of a file, as far as they hold a head; null: nothing.
const char *cache_head_fault(const cache_head *head, size_t got, uint64_t file_size);
/// The same of all of a file; *out is set where nothing is.
const char *cache_parse(char *block, size_t size, cache_entry *out);

typedef struct cache_item {
  char name[40];  // of the file
  uint64_t size;
  int64_t used_s, used_ns;  // when it was last
} cache_item;

typedef struct cache_items {
  cache_item *items;  // malloc'd, in no order
  size_t count;
  uint64_t bytes;
  size_t others;  // what else is there, but for temporary files
  bool all;       // false: memory ran out before the end
} cache_items;

/// The entries of a directory: regular files that are named as entries are.
cache_items cache_list(DIR *dir);
/// Temporary files that a killed process left an hour ago.
void cache_remove_left(DIR *dir);

typedef enum cache_task { CACHE_LIST, CACHE_VERIFY, CACHE_CLEAR } cache_task;

/// What a task found out about an entry.
typedef struct cache_finding {
  const cache_item *item;
  const char *kind;   // "code", "cubin", "schedule"; "": not known
  const char *fault;  // null: none
} cache_finding;

typedef struct cache_totals {
  uint64_t entries, bytes;  // that are there; with CACHE_CLEAR: that were removed
  uint64_t faults;
  uint64_t others;                  // files that are no entries, which are left alone
} cache_totals;

/// Goes through the entries of the directory, the last used first. CACHE_LIST reads their heads,
/// CACHE_VERIFY all of them, CACHE_CLEAR removes them. A fault of an entry ends nothing. False with *e
/// when the directory cannot be read; when it is to be cleared and is none of a cache: it has other files
/// and no entry with a head; and without memory. `none_is_empty`: a directory that is not there has no
/// entries.
bool cache_go_through(const char *directory, cache_task task, bool none_is_empty,
                      void (*found)(void *user, const cache_finding *f), void *user,
                      cache_totals *totals, error *e);
