// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "base/str.h"

#include <math.h>

#include "base/clocale.h"

str str_from(const char *z) { return (str){z, (int)strlen(z)}; }

bool str_eq(str a, str b) {
  return a.len == b.len && (a.len == 0 || !memcmp(a.ptr, b.ptr, (size_t)a.len));
}

bool str_eqz(str a, const char *z) { return str_eq(a, str_from(z)); }

int str_cmp(str a, str b) {
  int n = a.len < b.len ? a.len : b.len;
  int c = n ? memcmp(a.ptr, b.ptr, (size_t)n) : 0;
  return c ? c : a.len - b.len;
}

bool str_starts(str s, str prefix) {
  return s.len >= prefix.len && str_eq((str){s.ptr, prefix.len}, prefix);
}

bool str_ends(str s, str suffix) {
  return s.len >= suffix.len && str_eq((str){s.ptr + s.len - suffix.len, suffix.len}, suffix);
}

char *str_z(arena *a, str s) {
  char *p = arena_alloc(a, (size_t)s.len + 1);
  if (s.len) memcpy(p, s.ptr, (size_t)s.len);
  return p;
}

str str_dup(arena *a, str s) { return (str){str_z(a, s), s.len}; }

str str_vprintf(arena *a, const char *format, va_list args) {
  va_list again;
  va_copy(again, args);
  int len = clocale_vsnprintf(NULL, 0, format, args);
  char *p = arena_alloc(a, (size_t)len + 1);
  clocale_vsnprintf(p, (size_t)len + 1, format, again);
  va_end(again);
  return (str){p, len};
}

str str_printf(arena *a, const char *format, ...) {
  va_list args;
  va_start(args, format);
  str s = str_vprintf(a, format, args);
  va_end(args);
  return s;
}

int str_distance(str a, str b) {
  enum { LONGEST = 64 };
  if (a.len > LONGEST || b.len > LONGEST) return LONGEST;
  int rows[3][LONGEST + 1];  // of i - 2, i - 1 and i, in turn
  for (int j = 0; j <= b.len; j++) rows[0][j] = j;
  for (int i = 1; i <= a.len; i++) {
    int *row = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
    row[0] = i;
    for (int j = 1; j <= b.len; j++) {
      int best = before[j - 1] + (a.ptr[i - 1] != b.ptr[j - 1]);
      if (before[j] + 1 < best) best = before[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      bool swapped = i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1];
      if (swapped && earlier[j - 2] + 1 < best) best = earlier[j - 2] + 1;
      row[j] = best;
    }
  }
  return rows[a.len % 3][b.len];
}

strbuf sb_new(arena *a) {
  strbuf b = {.arena = a, .cap = 64};
  b.data = arena_alloc(a, 64);
  return b;
}

static void reserve(strbuf *b, int more) {
  if (b->len + more + 1 <= b->cap) return;
  int cap = b->cap * 2;
  while (cap < b->len + more + 1) cap *= 2;
  b->data = arena_grow(b->arena, b->data, (size_t)b->cap, (size_t)cap);
  b->cap = cap;
}

void sb_put(strbuf *b, str s) {
  reserve(b, s.len);
  if (s.len) memcpy(b->data + b->len, s.ptr, (size_t)s.len);
  b->len += s.len;
  b->data[b->len] = 0;
}

void sb_puts(strbuf *b, const char *z) { sb_put(b, str_from(z)); }

void sb_putc(strbuf *b, char c) { sb_put(b, (str){&c, 1}); }

void sb_printf(strbuf *b, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int len = clocale_vsnprintf(NULL, 0, format, args);
  reserve(b, len);
  clocale_vsnprintf(b->data + b->len, (size_t)len + 1, format, again);
  b->len += len;
  va_end(again);
  va_end(args);
}

str sb_str(const strbuf *b) { return (str){b->data, b->len}; }

void sb_put_float(strbuf *b, double v) {
  if (isnan(v)) return sb_puts(b, "nan");
  if (isinf(v)) return sb_puts(b, v < 0 ? "-inf" : "inf");
  char text[40];
  for (int digits = 1; digits <= 17; digits++) {
    clocale_snprintf(text, sizeof text, "%.*g", digits, v);
    if (clocale_strtod(text, NULL) == v) break;
  }
  sb_puts(b, text);
  if (!strpbrk(text, ".e")) sb_puts(b, ".0");
}
