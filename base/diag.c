// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Diagnostics as data, and their two renderings: text for people, JSON for programs.
//
// Text shows each position's source line with a caret; tabs are kept in the line under it, so the
// caret is right for any tab width, and wide characters count two cells. Bytes that are not UTF-8
// or are control characters are shown as U+FFFD: a program cannot send escapes to the terminal.
#include "base/diag.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/fault.h"

static const diag_info all_codes[] = {
#define DIAG(code, name, explanation) {code, #name, explanation},
#include "base/diag.def"
#undef DIAG
};

const diag_info *diag_codes(int *count) {
  *count = (int)(sizeof all_codes / sizeof *all_codes);
  return all_codes;
}

uint32_t diag_add_file(diag_list *list, str path, str text) {
  source_file file = {path, text};
  vec_push(list->arena, &file.lines, 0);
  for (int i = 0; i < text.len; i++)
    if (text.ptr[i] == '\n') vec_push(list->arena, &file.lines, i + 1);
  vec_push(list->arena, &list->files, file);
  return (uint32_t)list->files.len;
}

static diag *diag_new(diag_list *list, diag_severity severity, int code, span at, str text) {
  diag *d = arena_new(list->arena, diag);
  d->severity = severity;
  d->code = code;
  d->at = at;
  d->text = text;
  return d;
}

diag *diag_error(diag_list *list, int code, span at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  diag *d = diag_new(list, DIAG_ERROR, code, at, str_vprintf(list->arena, format, args));
  va_end(args);
  list->errors++;
  if (list->errors <= DIAG_ERROR_LIMIT) {
    vec_push(list->arena, &list->items, d);
  } else if (!list->suppressed) {
    list->suppressed = true;
    diag *last = diag_new(list, DIAG_ERROR, DIAG_too_many_errors, at,
                          STR("too many errors; the rest are not shown"));
    vec_push(list->arena, &list->items, last);
  }
  return d;
}

diag *diag_warning(diag_list *list, int code, span at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  diag *d = diag_new(list, DIAG_WARNING, code, at, str_vprintf(list->arena, format, args));
  va_end(args);
  vec_push(list->arena, &list->items, d);
  return d;
}

void diag_drop_repeated(diag_list *list, int from) {
  int kept = from;
  for (int i = from; i < list->items.len; i++) {
    diag *d = list->items.data[i];
    bool repeated = false;
    for (int k = from; k < kept && !repeated; k++) {
      const diag *e = list->items.data[k];
      repeated = d->severity == DIAG_ERROR && e->code == d->code && e->at.file == d->at.file &&
                 e->at.begin == d->at.begin && str_eq(e->text, d->text);
    }
    if (!repeated) list->items.data[kept++] = d;
  }
  list->items.len = kept;
}

void diag_add_note(diag_list *list, diag *d, span at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  diag_note note = {at, str_vprintf(list->arena, format, args)};
  va_end(args);
  vec_push(list->arena, &d->notes, note);
}

void diag_add_fixit(diag_list *list, diag *d, span at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  diag_fixit fixit = {at, str_vprintf(list->arena, format, args)};
  va_end(args);
  vec_push(list->arena, &d->fixits, fixit);
}

span span_join(span a, span b) {
  if (!a.file) return b;
  if (a.file != b.file) return a;
  return (span){a.file, a.begin < b.begin ? a.begin : b.begin, a.end > b.end ? a.end : b.end};
}

// ---- positions

/// Decodes one code point at text[at]; returns its length in bytes, 1 with *cp = U+FFFD for a
/// byte that begins no valid sequence (RFC 3629: no surrogates, no overlong forms).
static int decode_utf8(str text, int at, uint32_t *cp) {
  unsigned char c = (unsigned char)text.ptr[at];
  *cp = c;
  if (c < 0x80) return 1;
  int len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
  uint32_t v = c & (0x7fu >> len), least = len == 4 ? 0x10000 : len == 3 ? 0x800 : 0x80;
  *cp = 0xfffd;
  if (c < 0xc2 || c > 0xf4 || at + len > text.len) return 1;
  for (int i = 1; i < len; i++) {
    unsigned char next = (unsigned char)text.ptr[at + i];
    if ((next & 0xc0) != 0x80) return 1;
    v = v << 6 | (next & 0x3f);
  }
  if (v < least || v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) return 1;
  *cp = v;
  return len;
}

/// Terminal cells of a code point: 0 for combining marks, 2 for East Asian wide and emoji.
static int cell_width(uint32_t cp) {
  static const struct { uint32_t first, last; int width; } ranges[] = {
      {0x300, 0x36f, 0},   {0x200b, 0x200f, 0}, {0x20d0, 0x20ff, 0},  {0xfe00, 0xfe0f, 0},
      {0x1100, 0x115f, 2}, {0x2e80, 0x303e, 2}, {0x3041, 0xa4cf, 2},  {0xac00, 0xd7a3, 2},
      {0xf900, 0xfaff, 2}, {0xfe30, 0xfe6f, 2}, {0xff00, 0xff60, 2},  {0xffe0, 0xffe6, 2},
      {0x1f300, 0x1f64f, 2}, {0x1f900, 0x1f9ff, 2}, {0x20000, 0x3fffd, 2},
  };
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
    if (cp >= ranges[i].first && cp <= ranges[i].last) return ranges[i].width;
  return 1;
}

static const source_file *file_of(const diag_list *list, span at) {
  if (!at.file || at.file > (uint32_t)list->files.len) return NULL;
  return &list->files.data[at.file - 1];
}

static int clamp_offset(uint32_t offset, str text) {
  return offset > (uint32_t)text.len ? text.len : (int)offset;
}

static int line_start(str text, int at) {
  while (at > 0 && text.ptr[at - 1] != '\n') at--;
  return at;
}

line_col diag_line_col(const diag_list *list, span at) {
  const source_file *file = file_of(list, at);
  if (!file) return (line_col){0, 0};
  int begin = clamp_offset(at.begin, file->text), low = 0, high = file->lines.len;
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    if (file->lines.data[middle] <= begin) low = middle;
    else high = middle;
  }
  int start = file->lines.data[low];
  line_col pos = {low + 1, 1};
  uint32_t cp;
  for (int i = start; i < begin; i += decode_utf8(file->text, i, &cp)) pos.col++;
  return pos;
}

// ---- text

enum { LINE_CELLS = 160, CELLS_BEFORE = 60 };  // longer lines are cut around the caret

static const char *const plain = "", *const bold = "\033[1m", *const reset = "\033[0m";

static void put_cells(str line, int from, int to, bool blank, strbuf *out) {
  for (int i = from; i < to;) {
    uint32_t cp;
    int len = decode_utf8(line, i, &cp), width = cell_width(cp);
    bool hidden = cp == 0xfffd || (cp < 0x20 && cp != '\t') || (cp >= 0x7f && cp < 0xa0) ||
                  (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
    if (blank && cp != '\t')
      for (int w = 0; w < width; w++) sb_putc(out, ' ');
    else if (hidden)
      sb_puts(out, "\xef\xbf\xbd");
    else
      sb_put(out, (str){line.ptr + i, len});
    i += len;
  }
}

static int count_cells(str line, int from, int to) {
  int cells = 0;
  uint32_t cp;
  for (int i = from; i < to;) {
    i += decode_utf8(line, i, &cp);
    cells += cell_width(cp);
  }
  return cells;
}

/// The byte offset `cells` cells after `from`, at most the end of the line.
static int skip_cells(str line, int from, int cells) {
  uint32_t cp;
  while (from < line.len && cells > 0) {
    int len = decode_utf8(line, from, &cp);
    cells -= cell_width(cp);
    from += len;
  }
  return from;
}

static void put_snippet(const diag_list *list, span at, bool color, strbuf *out) {
  const source_file *file = file_of(list, at);
  if (!file) return;
  str text = file->text;
  int begin = clamp_offset(at.begin, text), start = line_start(text, begin), end = start;
  while (end < text.len && text.ptr[end] != '\n') end++;
  if (end > start && text.ptr[end - 1] == '\r') end--;
  str line = {text.ptr + start, end - start};
  int mark = begin - start > line.len ? line.len : begin - start;
  int mark_end = clamp_offset(at.end, text) - start;
  if (mark_end > line.len) mark_end = line.len;
  int first = 0;
  if (count_cells(line, 0, mark) > LINE_CELLS - CELLS_BEFORE)
    first = skip_cells(line, 0, count_cells(line, 0, mark) - CELLS_BEFORE);
  int last = skip_cells(line, first, LINE_CELLS);
  const char *lead = first ? "..." : "", *tail = last < line.len ? "..." : "";
  if (mark_end > last) mark_end = last;

  sb_printf(out, "%4d | %s", diag_line_col(list, at).line, lead);
  put_cells(line, first, last, false, out);
  sb_printf(out, "%s\n     | %s", tail, first ? "   " : "");
  put_cells(line, first, mark, true, out);
  sb_printf(out, "%s^", color ? "\033[1;32m" : plain);
  for (int i = count_cells(line, mark, mark_end); i > 1; i--) sb_putc(out, '~');
  sb_printf(out, "%s\n", color ? reset : plain);
}

static void put_position(const diag_list *list, span at, bool color, strbuf *out) {
  const source_file *file = file_of(list, at);
  if (!file) return;
  line_col pos = diag_line_col(list, at);
  sb_puts(out, color ? bold : plain);
  put_cells(file->path, 0, file->path.len, false, out);
  sb_printf(out, ":%d:%d: %s", pos.line, pos.col, color ? reset : plain);
}

static void put_fixit(const diag_list *list, const diag_fixit *fixit, strbuf *out) {
  const source_file *file = file_of(list, fixit->at);
  if (!file) return;
  int begin = clamp_offset(fixit->at.begin, file->text);
  str old = {file->text.ptr + begin, clamp_offset(fixit->at.end, file->text) - begin};
  sb_puts(out, "     = fix: ");
  if (old.len <= 0) {
    sb_printf(out, "insert `%.*s`\n", STR_FMT(fixit->text));
    return;
  }
  sb_puts(out, fixit->text.len ? "replace `" : "remove `");
  put_cells(old, 0, old.len, false, out);
  if (fixit->text.len) sb_printf(out, "` with `%.*s", STR_FMT(fixit->text));
  sb_puts(out, "`\n");
}

void diag_render_text(const diag_list *list, const diag *d, bool color, strbuf *out) {
  bool error = d->severity == DIAG_ERROR;
  put_position(list, d->at, color, out);
  sb_puts(out, !color ? plain : error ? "\033[1;31m" : "\033[1;35m");
  sb_printf(out, "%s[%c%04d]:%s ", error ? "error" : "warning", error ? 'E' : 'W', d->code,
            color ? reset : plain);
  put_cells(d->text, 0, d->text.len, false, out);
  sb_putc(out, '\n');
  put_snippet(list, d->at, color, out);
  for (int i = 0; i < d->fixits.len; i++) put_fixit(list, &d->fixits.data[i], out);
  for (int i = 0; i < d->notes.len; i++) {
    const diag_note *note = &d->notes.data[i];
    put_position(list, note->at, color, out);
    sb_printf(out, "%snote:%s ", color ? "\033[1;36m" : plain, color ? reset : plain);
    put_cells(note->text, 0, note->text.len, false, out);
    sb_putc(out, '\n');
    put_snippet(list, note->at, color, out);
  }
}

// ---- JSON

/// A JSON string of any bytes: what is not UTF-8 becomes U+FFFD.
static json_t *json_text(arena *a, str s) {
  strbuf b = sb_new(a);
  uint32_t cp;
  for (int i = 0; i < s.len;) {
    int len = decode_utf8(s, i, &cp);
    sb_put(&b, cp == 0xfffd ? STR("\xef\xbf\xbd") : (str){s.ptr + i, len});
    i += len;
  }
  return json_stringn(b.data, (size_t)b.len);
}

static void json_add_span(const diag_list *list, json_t *object, span at) {
  const source_file *file = file_of(list, at);
  if (!file) return;
  line_col first = diag_line_col(list, at);
  line_col last = diag_line_col(list, (span){at.file, at.end, at.end});
  json_object_set_new(object, "file", json_text(list->arena, file->path));
  json_object_set_new(object, "line", json_integer(first.line));
  json_object_set_new(object, "column", json_integer(first.col));
  json_object_set_new(object, "end_line", json_integer(last.line));
  json_object_set_new(object, "end_column", json_integer(last.col));
  json_object_set_new(object, "begin", json_integer(at.begin));
  json_object_set_new(object, "end", json_integer(at.end));
}

static json_t *json_place(const diag_list *list, span at, const char *key, str text) {
  json_t *object = json_object();
  json_add_span(list, object, at);
  json_object_set_new(object, key, json_text(list->arena, text));
  return object;
}

static json_t *json_diag(const diag_list *list, const diag *d) {
  json_t *object = json_object(), *notes = json_array(), *fixits = json_array();
  char code[8];
  bool error = d->severity == DIAG_ERROR;
  snprintf(code, sizeof code, "%c%04d", error ? 'E' : 'W', d->code % 10000);
  json_object_set_new(object, "severity", json_string(error ? "error" : "warning"));
  json_object_set_new(object, "code", json_string(code));
  json_add_span(list, object, d->at);
  json_object_set_new(object, "message", json_text(list->arena, d->text));
  for (int i = 0; i < d->notes.len; i++)
    json_array_append_new(notes, json_place(list, d->notes.data[i].at, "message",
                                            d->notes.data[i].text));
  for (int i = 0; i < d->fixits.len; i++)
    json_array_append_new(fixits, json_place(list, d->fixits.data[i].at, "replacement",
                                             d->fixits.data[i].text));
  json_object_set_new(object, "notes", notes);
  json_object_set_new(object, "fixits", fixits);
  return object;
}

static int append_json(const char *data, size_t size, void *out) {
  sb_put(out, (str){data, (int)size});
  return 0;
}

void diag_render_json(const diag_list *list, strbuf *out) {
  // The JSON tree is on the heap: a fault while it is built passes through here to release it.
  json_t *root = json_array();
  fault_frame frame;
  if (fault_try(&frame)) {
    for (int i = 0; i < list->items.len; i++)
      json_array_append_new(root, json_diag(list, list->items.data[i]));
    json_dump_callback(root, append_json, out, JSON_INDENT(2));
    sb_putc(out, '\n');
  }
  fault_pop(&frame);
  json_decref(root);
  if (frame.kind != FAULT_NONE) fault_raise(frame.kind, "%s", frame.text);
}
