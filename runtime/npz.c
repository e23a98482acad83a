// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// NumPy's .npz: a zip file of .npy members, through libzip. "weights.npy" is the array `weights`.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

#include "base/clocale.h"
#include "runtime/formats.h"

enum { MEMBER_LIMIT = 1 << 20 };

static bool npz_open(archive *a, error *e) {
  int code;
  zip_t *zip = zip_open(a->path, ZIP_RDONLY, &code);
  if (!zip) {
    zip_error_t why;
    zip_error_init_with_code(&why, code);
    bool missing = code == ZIP_ER_NOENT || code == ZIP_ER_OPEN || code == ZIP_ER_READ;
    error_set(e, missing ? ERROR_FILE : ERROR_FORMAT, "%s: %s", a->path,
              code == ZIP_ER_NOENT ? clocale_error(ENOENT) : zip_error_strerror(&why));
    zip_error_fini(&why);
    return false;
  }
  a->zip = zip;
  int64_t n = zip_get_num_entries(zip, 0);
  if (n > MEMBER_LIMIT)
    return error_set(e, ERROR_FORMAT, "%s: more than %d members", a->path, MEMBER_LIMIT);
  a->members = calloc(n ? (size_t)n : 1, sizeof *a->members);
  if (!a->members) return error_set(e, ERROR_MEMORY, "%s: out of memory", a->path);
  for (int64_t i = 0; i < n; i++) {
    const char *name = zip_get_name(zip, (zip_uint64_t)i, 0);
    size_t len = name ? strlen(name) : 0;
    if (len < 4 || strcmp(name + len - 4, ".npy")) continue;
    char *copy = strndup(name, len - 4);
    if (!copy) return error_set(e, ERROR_MEMORY, "%s: out of memory", a->path);
    a->members[a->nmembers++] = (archive_member){.name = copy, .number = (uint64_t)i};
  }
  return true;
}

static bool read_member(reader *r, void *to, size_t n, error *e) {
  if ((uint64_t)r->left < n)
    return error_set(e, ERROR_FORMAT, "%s: truncated: %zu more bytes expected, %lld there", r->name,
                     n, (long long)r->left);
  for (char *p = to; n;) {
    zip_int64_t got = zip_fread(r->handle, p, n);
    if (got <= 0)
      return error_set(e, ERROR_FORMAT, "%s: %s", r->name,
                       got < 0 ? zip_file_strerror(r->handle) : "truncated");
    p += got;
    n -= (size_t)got;
    r->left -= got;
  }
  return true;
}

// libzip compares the checksum when it meets the end of the member.
static bool at_end(reader *r, error *e) {
  char byte;
  zip_int64_t got = zip_fread(r->handle, &byte, 1);
  if (got == 0) return true;
  return error_set(e, ERROR_FORMAT, "%s: %s", r->name,
                   got < 0 ? zip_file_strerror(r->handle) : "longer than its directory entry says");
}

static tensor *npz_load(archive *a, int i, error *e) {
  char name[256];
  snprintf(name, sizeof name, "%s:%s", a->path, a->members[i].name);
  zip_stat_t stat;
  zip_file_t *file = zip_fopen_index(a->zip, a->members[i].number, 0);
  if (!file || zip_stat_index(a->zip, a->members[i].number, 0, &stat) ||
      !(stat.valid & ZIP_STAT_SIZE) || stat.size > INT64_MAX) {
    error_set(e, ERROR_FORMAT, "%s: %s", name, zip_strerror(a->zip));
    if (file) zip_fclose(file);
    return NULL;
  }
  reader r = {.read = read_member, .left = (int64_t)stat.size, .name = name, .handle = file};
  tensor *t = npy_read(&r, e);
  if (t && !at_end(&r, e)) {
    tensor_free(t);
    t = NULL;
  }
  zip_fclose(file);
  return t;
}

static void npz_close(archive *a) {
  if (a->zip) zip_discard(a->zip);
}

// libzip owns and frees the buffer of a source made with freep = 1.
static bool add_member(zip_t *zip, const char *name, const tensor *t, error *e) {
  size_t head;
  char *header = npy_header(t, &head), *file_name = NULL;
  size_t bytes = (size_t)tensor_bytes(t), size = strlen(name) + 5;
  char *data = header ? malloc(head + bytes) : NULL;
  bool ok = data && (file_name = malloc(size));
  if (ok) {
    memcpy(data, header, head);
    tensor *body = tensor_borrow(t->type, t->rank, t->dims, NULL, data + head, e);
    ok = body != NULL;
    if (ok) tensor_copy(body, t);
    tensor_free(body);
    snprintf(file_name, size, "%s.npy", name);
  }
  zip_source_t *source = ok ? zip_source_buffer(zip, data, head + bytes, 1) : NULL;
  if (source) data = NULL;
  zip_int64_t at = source ? zip_file_add(zip, file_name, source, ZIP_FL_ENC_UTF_8) : -1;
  if (source && at < 0) zip_source_free(source);
  // Stored, as numpy.savez does; with a fixed date the same arrays make the same file.
  ok = at >= 0 && !zip_set_file_compression(zip, (zip_uint64_t)at, ZIP_CM_STORE, 0) &&
       !zip_file_set_dostime(zip, (zip_uint64_t)at, 0, (1 << 5) | 1, 0);
  free(header);
  free(file_name);
  free(data);
  if (source && at < 0)
    return error_set(e, ERROR_USAGE, "'%s' cannot be the name of an array: %s", name,
                     zip_strerror(zip));
  return ok || error_set(e, ERROR_MEMORY, "%s: out of memory", name);
}

// libzip writes an archive through this, and to no file of its own. Read, it is empty.
typedef struct sink {
  output_file *file;
  int64_t at, size;
  error *error;
  zip_error_t why;
} sink;

static zip_int64_t sink_command(void *user, void *data, zip_uint64_t size,
                                zip_source_cmd_t command) {
  sink *s = user;
  switch (command) {
    case ZIP_SOURCE_SUPPORTS:
      return zip_source_make_command_bitmap(
          ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
          ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_BEGIN_WRITE,
          ZIP_SOURCE_WRITE, ZIP_SOURCE_SEEK_WRITE, ZIP_SOURCE_TELL_WRITE, ZIP_SOURCE_COMMIT_WRITE,
          ZIP_SOURCE_ROLLBACK_WRITE, ZIP_SOURCE_REMOVE, -1);
    case ZIP_SOURCE_STAT:
      zip_stat_init(data);
      ((zip_stat_t *)data)->valid = ZIP_STAT_SIZE;
      return sizeof(zip_stat_t);
    case ZIP_SOURCE_ERROR: return zip_error_to_data(&s->why, data, size);
    case ZIP_SOURCE_WRITE:
      if (!file_write(s->file, data, (size_t)size, s->error)) break;
      s->at += (int64_t)size;
      if (s->at > s->size) s->size = s->at;
      return (zip_int64_t)size;
    case ZIP_SOURCE_SEEK_WRITE:
      s->at = zip_source_seek_compute_offset((zip_uint64_t)s->at, (zip_uint64_t)s->size, data, size,
                                             &s->why);
      if (s->at < 0 || !file_seek(s->file, s->at, s->error)) break;
      return 0;
    case ZIP_SOURCE_TELL_WRITE: return s->at;
    default: return 0;
  }
  zip_error_set(&s->why, ZIP_ER_WRITE, 0);
  return -1;
}

static bool npz_write(output_file *f, const char *const *names, const tensor *const *tensors,
                      int n, error *e) {
  zip_error_t why;
  if (!f->target)
    return error_set(e, ERROR_FILE, "%s: a .npz can only be written to a regular file", f->path);
  sink s = {.file = f, .error = e};
  e->kind = ERROR_NONE;
  zip_error_init(&s.why);
  zip_error_init(&why);
  zip_source_t *to = zip_source_function_create(sink_command, &s, &why);
  zip_t *zip = to ? zip_open_from_source(to, ZIP_CREATE | ZIP_TRUNCATE, &why) : NULL;
  if (to && !zip) zip_source_free(to);
  bool ok = zip || error_set(e, ERROR_MEMORY, "%s: %s", f->path, zip_error_strerror(&why));
  zip_error_fini(&why);
  for (int i = 0; ok && i < n; i++) ok = add_member(zip, names[i], tensors[i], e);
  if (ok && !zip_close(zip)) return true;
  // What a write has said stays.
  if (ok && !e->kind) error_set(e, ERROR_FILE, "%s: %s", f->path, zip_strerror(zip));
  if (zip) zip_discard(zip);
  return false;
}

const archive_kind npz_kind = {npz_open, npz_load, npz_close, npz_write};
