// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// .safetensors: <u64 length> {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
// and then the elements, row-major, little endian. https://github.com/huggingface/safetensors
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clocale.h"
#include "runtime/formats.h"

enum { HEADER_LIMIT = 100 << 20 };  // the format's own

static const char *const type_names[] = {
    [DT_f64] = "F64", [DT_f32] = "F32", [DT_f16] = "F16", [DT_bf16] = "BF16", [DT_i64] = "I64",
    [DT_i32] = "I32", [DT_i16] = "I16", [DT_i8] = "I8",   [DT_u8] = "U8",     [DT_bool] = "BOOL",
    [DT_u64] = "U64", [DT_u32] = "U32", [DT_u16] = "U16"};

static bool bad_member(archive *a, const char *name, const char *what, error *e) {
  return error_set(e, ERROR_FORMAT, "%s:%s: %s", a->path, name, what);
}

static bool read_member(archive *a, const char *name, const json_t *entry, int64_t base,
                        int64_t data_bytes, error *e) {
  archive_member m = {0};
  const char *type = json_string_value(json_object_get(entry, "dtype"));
  const json_t *shape = json_object_get(entry, "shape");
  const json_t *offsets = json_object_get(entry, "data_offsets");
  if (!type || !json_is_array(shape) || !json_is_array(offsets) || json_array_size(offsets) != 2 ||
      !json_is_integer(json_array_get(offsets, 0)) || !json_is_integer(json_array_get(offsets, 1)))
    return bad_member(a, name, "dtype, shape or data_offsets is missing or malformed", e);
  for (m.type = 0; m.type < DT_COUNT && strcmp(type, type_names[m.type]); m.type++) {
  }
  if (json_array_size(shape) > TENSOR_MAX_RANK) return bad_member(a, name, "too many axes", e);
  m.rank = (int)json_array_size(shape);
  for (int k = 0; k < m.rank; k++) {
    const json_t *size = json_array_get(shape, (size_t)k);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
      return bad_member(a, name, "a size is not a whole number", e);
    m.dims[k] = json_integer_value(size);
  }
  m.begin = json_integer_value(json_array_get(offsets, 0));
  m.end = json_integer_value(json_array_get(offsets, 1));
  if (m.begin < 0 || m.begin > m.end || m.end > data_bytes)
    return bad_member(a, name, "data_offsets lie outside the file (truncated?)", e);
  // An unknown type hurts only who asks for it.
  int64_t elements, bytes;
  if (m.type < DT_COUNT &&
      (!tensor_count(m.type, m.rank, m.dims, &elements, &bytes) || bytes != m.end - m.begin))
    return bad_member(a, name, "the shape and data_offsets disagree", e);
  m.begin += base;
  m.end += base;
  m.name = strdup(name);
  if (!m.name) return error_set(e, ERROR_MEMORY, "%s: out of memory", a->path);
  a->members[a->nmembers++] = m;
  return true;
}

static bool read_members(archive *a, json_t *root, int64_t base, int64_t data_bytes, error *e) {
  if (!json_is_object(root))
    return error_set(e, ERROR_FORMAT, "%s: the header is not a JSON object", a->path);
  a->members = calloc(json_object_size(root) + 1, sizeof *a->members);
  if (!a->members) return error_set(e, ERROR_MEMORY, "%s: out of memory", a->path);
  const char *name;
  json_t *entry;
  json_object_foreach(root, name, entry) {
    if (strcmp(name, "__metadata__") && !read_member(a, name, entry, base, data_bytes, e))
      return false;
  }
  return true;
}

static bool safetensors_open(archive *a, error *e) {
  int64_t size;
  a->fd = file_open(a->path, &size, e);
  if (a->fd < 0) return false;
  reader r = reader_fd(a->path, &a->fd, size);
  unsigned char length[8];
  if (!r.read(&r, length, 8, e)) return false;
  uint64_t header = 0;
  for (int i = 7; i >= 0; i--) header = header << 8 | length[i];
  if (header > HEADER_LIMIT)
    return error_set(e, ERROR_FORMAT, "%s: the header claims %" PRIu64 " bytes (limit %d)", a->path,
                     header, HEADER_LIMIT);
  if (header > (uint64_t)r.left)
    return error_set(e, ERROR_FORMAT, "%s: truncated: the header claims %" PRIu64 " bytes", a->path,
                     header);
  char *text = malloc(header + 1);
  if (!text) return error_set(e, ERROR_MEMORY, "%s: out of memory", a->path);
  json_error_t why;
  bool ok = r.read(&r, text, header, e);
  locale_t before = clocale_enter();
  json_t *root = ok ? json_loadb(text, header, JSON_REJECT_DUPLICATES, &why) : NULL;
  clocale_leave(before);
  if (ok && !root)
    ok = error_set(e, ERROR_FORMAT, "%s: the header is not valid JSON: %s", a->path, why.text);
  ok = ok && read_members(a, root, 8 + (int64_t)header, r.left, e);
  json_decref(root);
  free(text);
  return ok;
}

static tensor *safetensors_load(archive *a, int i, error *e) {
  const archive_member *m = &a->members[i];
  if (m->type == DT_COUNT) {
    bad_member(a, m->name, "its element type is not supported", e);
    return NULL;
  }
  tensor *t = tensor_new(m->type, m->rank, m->dims, e);
  if (!t) return NULL;
  for (int64_t at = m->begin; at < m->end;) {
    ssize_t got = pread(a->fd, (char *)t->data + (at - m->begin), (size_t)(m->end - at), at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      error_set(e, ERROR_FILE, "%s:%s: %s", a->path, m->name,
                got < 0 ? clocale_error(errno) : "the file became shorter");
      tensor_free(t);
      return NULL;
    }
    at += got;
  }
  elements_from_file(t, false);
  return t;
}

static void safetensors_close(archive *a) {
  if (a->fd >= 0) close(a->fd);
}

static json_t *entry_of(const tensor *t, json_int_t at) {
  json_t *shape = json_array();
  for (int k = 0; k < t->rank; k++) json_array_append_new(shape, json_integer(t->dims[k]));
  return json_pack("{s:s, s:o, s:[I, I]}", "dtype", type_names[t->type], "shape", shape,
                   "data_offsets", at, at + (json_int_t)tensor_bytes(t));
}

/// The text of the header, malloc'd. Null with *e.
static char *header_of(const char *path, const char *const *names, const tensor *const *tensors,
                       int n, error *e) {
  json_t *root = json_object();
  json_int_t at = 0;
  char *text = NULL;
  const char *wrong = NULL;
  for (int i = 0; !wrong && i < n; i++) {
    if (!strcmp(names[i], "__metadata__")) wrong = "reserved";
    else if (json_object_set_new(root, names[i], entry_of(tensors[i], at))) wrong = "not UTF-8";
    if (wrong)
      error_set(e, ERROR_USAGE, "%s: '%s' cannot be the name of an array: it is %s", path, names[i],
                wrong);
    at += tensor_bytes(tensors[i]);
  }
  if (!wrong && !(text = json_dumps(root, JSON_COMPACT)))
    error_set(e, ERROR_MEMORY, "%s: out of memory", path);
  json_decref(root);
  return text;
}

static bool safetensors_write(output_file *f, const char *const *names,
                              const tensor *const *tensors, int n, error *e) {
  char *text = header_of(f->path, names, tensors, n, e);
  if (!text) return false;
  size_t length = strlen(text), padded = (length + 7) / 8 * 8;
  unsigned char head[8];
  for (int i = 0; i < 8; i++) head[i] = (unsigned char)((uint64_t)padded >> (8 * i));
  bool ok = file_write(f, head, 8, e) && file_write(f, text, length, e) &&
            file_write(f, "       ", padded - length, e);
  for (int i = 0; ok && i < n; i++) ok = file_write_elements(f, tensors[i], e);
  free(text);
  return ok;
}

const archive_kind safetensors_kind = {safetensors_open, safetensors_load, safetensors_close,
                                       safetensors_write};
