// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// NumPy's .npy: magic, version, a header that is a Python dict literal, then the elements.
// Format: numpy.lib.format.
//
//   \x93NUMPY 1 0 <u16 length> {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }\n ...
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clocale.h"
#include "runtime/formats.h"

enum { HEADER_LIMIT = 1 << 16 };

typedef struct header {
  bool have_type, have_order, have_shape;
  dtype type;
  bool swap;  // big endian
  bool fortran;
  int rank;
  int64_t dims[TENSOR_MAX_RANK];
} header;

typedef struct cursor {
  const char *at;
  const char *name;  // of the file
  error *e;
} cursor;

static bool malformed(cursor *c, const char *what) {
  return error_set(c->e, ERROR_FORMAT, "%s: malformed .npy header: %s", c->name, what);
}

static void skip_space(cursor *c) {
  while (char_is_space(*c->at)) c->at++;
}

static bool take(cursor *c, char wanted) {
  skip_space(c);
  if (*c->at != wanted) return false;
  c->at++;
  return true;
}

static bool take_word(cursor *c, const char *word) {
  skip_space(c);
  size_t n = strlen(word);
  if (strncmp(c->at, word, n)) return false;
  c->at += n;
  return true;
}

// A quoted string without escapes, into text.
static bool take_string(cursor *c, char *text, size_t size) {
  skip_space(c);
  char quote = *c->at;
  if (quote != '\'' && quote != '"') return malformed(c, "a string was expected");
  const char *begin = ++c->at;
  while (*c->at && *c->at != quote) c->at++;
  size_t n = (size_t)(c->at - begin);
  if (!*c->at || n >= size) return malformed(c, "an unterminated or overlong string");
  memcpy(text, begin, n);
  text[n] = 0;
  c->at++;
  return true;
}

static bool parse_descr(cursor *c, header *h) {
  skip_space(c);
  if (*c->at == '[')
    return error_set(c->e, ERROR_FORMAT, "%s: structured element types are not supported", c->name);
  char descr[16];
  if (!take_string(c, descr, sizeof descr)) return false;
  const char *kind = descr;
  if (strchr("<>=|", *kind) && *kind) kind++;
  static const char *const names[] = {
#define X(name, bytes, class, npy) [DT_##name] = npy,
      DTYPES(X)
#undef X
  };
  h->have_type = true;
  if (!strcmp(kind, "V2")) {
    h->type = DT_bf16;
    h->swap = descr[0] == '>';
    return true;
  }
  for (int t = 0; t < DT_COUNT; t++) {
    if (!*names[t] || strcmp(kind, names[t])) continue;
    h->type = (dtype)t;
    h->swap = descr[0] == '>';
    return true;
  }
  return error_set(c->e, ERROR_FORMAT,
                   "%s: element type '%s' is not supported (f8 f4 f2 i8 i4 i2 i1 u1 b1 are)",
                   c->name, descr);
}

static bool parse_shape(cursor *c, header *h) {
  if (!take(c, '(')) return malformed(c, "a shape (a tuple) was expected");
  h->have_shape = true;
  h->rank = 0;
  while (!take(c, ')')) {
    skip_space(c);
    if (!char_is_digit(*c->at)) return malformed(c, "a size was expected in the shape");
    int64_t size = 0;
    for (; char_is_digit(*c->at); c->at++)
      if (__builtin_mul_overflow(size, 10, &size) ||
          __builtin_add_overflow(size, *c->at - '0', &size))
        return malformed(c, "a size in the shape is too large");
    if (*c->at == 'L') c->at++;  // written by Python 2
    if (h->rank == TENSOR_MAX_RANK)
      return error_set(c->e, ERROR_FORMAT, "%s: more than %d axes", c->name, TENSOR_MAX_RANK);
    h->dims[h->rank++] = size;
    if (!take(c, ',')) {
      if (!take(c, ')')) return malformed(c, "',' or ')' was expected in the shape");
      return true;
    }
  }
  return true;
}

static bool parse_entry(cursor *c, header *h) {
  char key[32];
  if (!take_string(c, key, sizeof key)) return false;
  if (!take(c, ':')) return malformed(c, "':' was expected");
  if (!strcmp(key, "descr")) return parse_descr(c, h);
  if (!strcmp(key, "shape")) return parse_shape(c, h);
  if (strcmp(key, "fortran_order")) return malformed(c, "an unknown key");
  h->have_order = true;
  h->fortran = take_word(c, "True");
  return h->fortran || take_word(c, "False") || malformed(c, "True or False was expected");
}

static bool parse_header(cursor *c, header *h) {
  if (!take(c, '{')) return malformed(c, "'{' was expected");
  while (!take(c, '}')) {
    if (!parse_entry(c, h)) return false;
    if (take(c, ',')) continue;
    if (!take(c, '}')) return malformed(c, "',' or '}' was expected");
    break;
  }
  skip_space(c);
  if (*c->at) return malformed(c, "text after the dictionary");
  if (!h->have_type || !h->have_order || !h->have_shape)
    return malformed(c, "descr, fortran_order or shape is missing");
  return true;
}

static bool read_header(reader *r, header *h, error *e) {
  unsigned char start[8], length[4];
  if (!r->read(r, start, 8, e)) return false;
  if (memcmp(start, "\x93NUMPY", 6))
    return error_set(e, ERROR_FORMAT, "%s: not a .npy file (wrong magic)", r->name);
  if (start[6] < 1 || start[6] > 3)
    return error_set(e, ERROR_FORMAT, "%s: .npy version %d.%d is not supported", r->name, start[6],
                     start[7]);
  int width = start[6] == 1 ? 2 : 4;
  if (!r->read(r, length, (size_t)width, e)) return false;
  uint32_t size = 0;
  for (int i = width - 1; i >= 0; i--) size = size << 8 | length[i];
  if (size > HEADER_LIMIT)
    return error_set(e, ERROR_FORMAT, "%s: the .npy header claims %u bytes (limit %d)", r->name,
                     size, HEADER_LIMIT);
  char *text = malloc(size + 1);
  if (!text) return error_set(e, ERROR_MEMORY, "%s: out of memory", r->name);
  bool ok = r->read(r, text, size, e);
  if (ok) {
    text[size] = 0;
    cursor c = {text, r->name, e};
    ok = strlen(text) == size ? parse_header(&c, h) : malformed(&c, "a null byte");
  }
  free(text);
  return ok;
}

void elements_from_file(tensor *t, bool swap) {
  int64_t n = tensor_elements(t);
  int size = dtype_bytes(t->type);
  if (t->type == DT_bool) {
    unsigned char *p = t->data;
    for (int64_t i = 0; i < n; i++) p[i] = p[i] != 0;
  }
  if (!swap || size == 1) return;
  char *p = t->data;
  for (int64_t i = 0; i < n; i++, p += size)
    for (int a = 0, b = size - 1; a < b; a++, b--) {
      char byte = p[a];
      p[a] = p[b];
      p[b] = byte;
    }
}

static void column_major(tensor *t) {
  int64_t stride = dtype_bytes(t->type);
  for (int k = 0; k < t->rank; k++) {
    t->strides[k] = stride;
    if (t->dims[k]) stride *= t->dims[k];
  }
}

tensor *npy_read(reader *r, error *e) {
  header h = {0};
  if (!read_header(r, &h, e)) return NULL;
  int64_t elements, bytes;
  if (!tensor_count(h.type, h.rank, h.dims, &elements, &bytes)) {
    error_set(e, ERROR_FORMAT, "%s: the product of the sizes in the shape is too large", r->name);
    return NULL;
  }
  if (bytes != r->left) {
    error_set(e, ERROR_FORMAT, "%s: %s: the shape needs %lld bytes of elements, %lld are there",
              r->name, bytes > r->left ? "truncated" : "too long", (long long)bytes,
              (long long)r->left);
    return NULL;
  }
  tensor *t = tensor_new(h.type, h.rank, h.dims, e);
  if (!t) return NULL;
  if (!r->read(r, t->data, (size_t)bytes, e)) {
    tensor_free(t);
    return NULL;
  }
  elements_from_file(t, h.swap);
  if (h.fortran) column_major(t);
  return t;
}

tensor *npy_load(const char *path, error *e) {
  if (!strcmp(path, "-")) {
    size_t size;
    char *data = file_read(path, SIZE_MAX / 4, &size, e);
    if (!data) return NULL;
    reader r = reader_memory("<stdin>", data, size);
    tensor *t = npy_read(&r, e);
    free(data);
    return t;
  }
  int64_t size;
  int fd = file_open(path, &size, e);
  if (fd < 0) return NULL;
  reader r = reader_fd(path, &fd, size);
  tensor *t = npy_read(&r, e);
  close(fd);
  return t;
}

char *npy_header(const tensor *t, size_t *size) {
  static const char *const names[] = {
#define X(name, bytes, class, npy) [DT_##name] = npy,
      DTYPES(X)
#undef X
  };
  char dict[64 + TENSOR_MAX_RANK * 24];
  int width = dtype_bytes(t->type);
  int n = snprintf(dict, sizeof dict, "{'descr': '%s%s', 'fortran_order': False, 'shape': (",
                   width == 1 ? "|" : "<", t->type == DT_bf16 ? "V2" : names[t->type]);
  for (int k = 0; k < t->rank; k++)
    n += snprintf(dict + n, sizeof dict - (size_t)n, k ? ", %lld" : "%lld", (long long)t->dims[k]);
  n += snprintf(dict + n, sizeof dict - (size_t)n, t->rank == 1 ? ",), }" : "), }");
  // Padded with spaces so that the elements start at a multiple of 64.
  size_t total = (10 + (size_t)n + 1 + 63) / 64 * 64;
  char *text = malloc(total);
  if (!text) return NULL;
  memset(text, ' ', total);
  memcpy(text, "\x93NUMPY\1\0", 8);
  text[8] = (char)((total - 10) & 255);
  text[9] = (char)((total - 10) >> 8);
  memcpy(text + 10, dict, (size_t)n);
  text[total - 1] = '\n';
  *size = total;
  return text;
}

bool npy_write(output_file *f, const tensor *t, error *e) {
  size_t size;
  char *head = npy_header(t, &size);
  bool ok = head ? file_write(f, head, size, e) && file_write_elements(f, t, e)
                 : error_set(e, ERROR_MEMORY, "%s: out of memory", f->path);
  free(head);
  return ok;
}
