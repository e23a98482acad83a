// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Files with several named arrays: .npz and .safetensors behind one interface.
#include <stdlib.h>
#include <string.h>

#include "runtime/formats.h"

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && !strcmp(text + n - m, end);
}

const archive_kind *archive_kind_of(const char *path, error *e) {
  if (ends_with(path, ".npz")) return &npz_kind;
  if (ends_with(path, ".safetensors")) return &safetensors_kind;
  error_set(e, ERROR_USAGE, "%s: not a .npz or .safetensors file by its name", path);
  return NULL;
}

archive *archive_open(const char *path, error *e) {
  const archive_kind *kind = archive_kind_of(path, e);
  if (!kind) return NULL;
  archive *a = calloc(1, sizeof *a);
  if (a) a->path = strdup(path);
  if (!a || !a->path) {
    free(a);
    error_set(e, ERROR_MEMORY, "%s: out of memory", path);
    return NULL;
  }
  a->kind = kind;
  a->fd = -1;
  if (kind->open(a, e)) return a;
  archive_close(a);
  return NULL;
}

void archive_close(archive *a) {
  if (!a) return;
  a->kind->close(a);
  for (int i = 0; i < a->nmembers; i++) free(a->members[i].name);
  free(a->members);
  free(a->path);
  free(a);
}

int archive_count(const archive *a) { return a->nmembers; }

const char *archive_name(const archive *a, int i) { return a->members[i].name; }

int archive_find(const archive *a, const char *name) {
  for (int i = 0; i < a->nmembers; i++)
    if (!strcmp(a->members[i].name, name)) return i;
  return -1;
}

tensor *archive_load(archive *a, int i, error *e) { return a->kind->load(a, i, e); }
