// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The cursor over the text of an IR, see ir/text.h.
#include "ir/text.h"

#include "ir/tile_text.h"

span text_span(const text_cursor *c, int begin) {
  return (span){c->file, (uint32_t)begin, (uint32_t)c->at};
}

void text_fail(text_cursor *c, int code, int begin, const char *format, ...) {
  if (c->failed) return;
  c->failed = true;
  va_list args;
  va_start(args, format);
  str text = str_vprintf(c->arena, format, args);
  va_end(args);
  span at = text_span(c, begin);
  if (at.end == at.begin && c->at < c->text.len) at.end++;
  diag_error(c->diags, code, at, "%.*s", STR_FMT(text));
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static char here(const text_cursor *c) { return c->at < c->text.len ? c->text.ptr[c->at] : 0; }

char text_peek(text_cursor *c) {
  if (c->failed) return 0;
  for (;;) {
    char next = here(c);
    bool comment = next == '/' && c->at + 1 < c->text.len && c->text.ptr[c->at + 1] == '/';
    if (comment) {
      while (c->at < c->text.len && here(c) != '\n') c->at++;
    } else if (next == ' ' || next == '\n' || next == '\t' || next == '\r') {
      c->at++;
    } else {
      return next;
    }
  }
}

bool text_accept(text_cursor *c, char punctuation) {
  if (text_peek(c) != punctuation || c->failed) return false;
  c->at++;
  return true;
}

void text_expect(text_cursor *c, char punctuation) {
  if (!text_accept(c, punctuation))
    text_fail(c, DIAG_ir_syntax, c->at, "expected '%c'", punctuation);
}

static int name_end(const text_cursor *c, bool digits_first) {
  int end = c->at;
  while (end < c->text.len) {
    char x = c->text.ptr[end];
    bool inside = digits_first || end > c->at;
    if (!is_letter(x) && !(inside && (is_digit(x) || x == '.'))) break;
    end++;
  }
  return end;
}

str text_peek_name(text_cursor *c) {
  text_peek(c);
  if (c->failed) return (str){0};
  return (str){c->text.ptr + c->at, name_end(c, false) - c->at};
}

enum { LONGEST_NAME = 199 };

static str take_name(text_cursor *c, str name, const char *what) {
  int begin = c->at;
  if (c->failed) return STR("?");
  c->at += name.len;
  if (!name.len) text_fail(c, DIAG_ir_syntax, begin, "expected %s", what);
  else if (name.len > LONGEST_NAME) text_fail(c, DIAG_ir_limit, begin, "the name is too long");
  return c->failed ? STR("?") : name;
}

str text_name(text_cursor *c, const char *what) { return take_name(c, text_peek_name(c), what); }

str text_sigil_name(text_cursor *c, char sigil) {
  text_expect(c, sigil);
  str name = {c->text.ptr + c->at, name_end(c, true) - c->at};
  return take_name(c, name, sigil == '@' ? "a name after '@'" : "a name after '%'");
}

bool text_accept_word(text_cursor *c, const char *word) {
  str name = text_peek_name(c);
  if (!name.len || !str_eqz(name, word)) return false;
  c->at += name.len;
  return true;
}

void text_expect_word(text_cursor *c, const char *word) {
  if (!text_accept_word(c, word)) text_fail(c, DIAG_ir_syntax, c->at, "expected '%s'", word);
}

int64_t text_int(text_cursor *c, int64_t min, int64_t max) {
  bool negative = text_accept(c, '-');
  text_peek(c);
  int begin = c->at;
  int64_t v = 0;
  bool fits = true;
  while (!c->failed && is_digit(here(c))) {
    int digit = c->text.ptr[c->at++] - '0';
    fits = fits && !__builtin_mul_overflow(v, 10, &v) &&
           !__builtin_sub_overflow(v, digit, &v);  // negative: INT64_MIN has no positive
  }
  if (c->at == begin) text_fail(c, DIAG_ir_syntax, begin, "expected an integer");
  fits = fits && (negative || v != INT64_MIN);
  if (fits && !negative) v = -v;
  if (!fits || v < min || v > max)
    text_fail(c, DIAG_ir_number, begin, "the number is outside [%lld, %lld]", (long long)min,
              (long long)max);
  return c->failed ? min : v;
}

str text_quoted(text_cursor *c) {
  text_expect(c, '"');
  strbuf out = sb_new(c->arena);
  int begin = c->at;
  while (!c->failed && here(c) != '"') {
    char x = here(c);
    bool escaped = x == '\\';
    if (escaped) x = ++c->at < c->text.len ? c->text.ptr[c->at] : 0;
    if (c->at >= c->text.len || x == '\n')
      return text_fail(c, DIAG_ir_syntax, begin, "the text has no closing quote"), (str){0};
    sb_putc(&out, escaped && x == 'n' ? '\n' : x);
    c->at++;
  }
  text_expect(c, '"');
  return sb_str(&out);
}

dtype text_dtype(text_cursor *c) {
  text_peek(c);
  int begin = c->at;
  str name = text_name(c, "an element type");
  dtype t = DT_f32;
  if (!c->failed && !dtype_parse(name, &t))
    text_fail(c, DIAG_ir_unknown, begin, "%.*s is not an element type", STR_FMT(name));
  return t;
}

static ix symbol_of(void *pool, str name) { return ix_sym(pool, name); }

ix text_size(text_cursor *c, ix_pool *pool) {
  text_peek(c);
  if (c->failed) return ix_const(pool, 0);
  int begin = c->at;
  const char *error = "malformed size";
  ix e = ix_parse(pool, c->text, &c->at, symbol_of, pool, &error);
  if (e) return e;
  text_fail(c, DIAG_ir_syntax, begin, "%s", error);
  return ix_const(pool, 0);
}

void text_strides(text_cursor *c, ix_pool *pool, const ix *dims, int rank, ix *strides) {
  ix_row_major(pool, dims, rank, strides);
  if (!text_accept_word(c, "strides")) return;
  text_expect(c, '[');
  for (int d = 0; d < rank; d++) {
    if (d) text_expect(c, ',');
    strides[d] = text_size(c, pool);
  }
  text_expect(c, ']');
}

static void read_fact(text_cursor *c, ix_fact *f, str symbol) {
  text_peek(c);
  int begin = c->at;
  str name = text_name(c, "the size's name");
  if (!c->failed && !str_eq(name, symbol))
    text_fail(c, DIAG_ir_unknown, begin, "the line is about %.*s", STR_FMT(symbol));
  if (text_accept(c, '>')) {
    text_expect(c, '=');
    f->min = text_int(c, 0, INT64_MAX);
  } else if (text_accept(c, '<')) {
    text_expect(c, '=');
    f->max = text_int(c, 0, INT64_MAX);
  } else if (text_accept(c, '%')) {
    f->multiple_of = text_int(c, 1, INT64_MAX);
    text_expect(c, '=');
    text_expect(c, '=');
    text_int(c, 0, 0);
  } else {
    text_expect(c, '~');
    f->estimate = text_int(c, 1, INT64_MAX);
  }
}

void text_fact_list(text_cursor *c, ix_fact *f, str symbol) {
  do read_fact(c, f, symbol);
  while (text_accept(c, ',') && !c->failed);
}

void text_facts(text_cursor *c, ix_pool *pool) {
  while (text_accept_word(c, "size")) {
    str symbol = text_name(c, "the name of a size");
    if (c->failed) return;
    ix_fact *f = ix_fact_of(pool, symbol);
    text_expect_word(c, "where");
    text_fact_list(c, f, symbol);
  }
}
