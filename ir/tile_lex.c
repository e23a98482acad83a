// The cursor over the text of the tile IR, see ir/tile_lex.h.
#include "ir/tile_lex.h"

#include "ir/tile_text.h"

span tlex_span(const tile_cursor *c, int begin) {
  return (span){c->file, (uint32_t)begin, (uint32_t)c->at};
}

void tlex_fail(tile_cursor *c, int code, int begin, const char *format, ...) {
  if (c->failed) return;
  c->failed = true;
  va_list args;
  va_start(args, format);
  str text = str_vprintf(c->arena, format, args);
  va_end(args);
  span at = tlex_span(c, begin);
  if (at.end == at.begin && c->at < c->text.len) at.end++;
  diag_error(c->diags, code, at, "%.*s", STR_FMT(text));
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static char here(const tile_cursor *c) { return c->at < c->text.len ? c->text.ptr[c->at] : 0; }

char tlex_peek(tile_cursor *c) {
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

bool tlex_accept(tile_cursor *c, char punctuation) {
  if (tlex_peek(c) != punctuation || c->failed) return false;
  c->at++;
  return true;
}

void tlex_expect(tile_cursor *c, char punctuation) {
  if (!tlex_accept(c, punctuation))
    tlex_fail(c, TILE_E_SYNTAX, c->at, "expected '%c'", punctuation);
}

static int name_end(const tile_cursor *c, bool digits_first) {
  int end = c->at;
  while (end < c->text.len) {
    char x = c->text.ptr[end];
    bool inside = digits_first || end > c->at;
    if (!is_letter(x) && !(inside && (is_digit(x) || x == '.'))) break;
    end++;
  }
  return end;
}

str tlex_peek_name(tile_cursor *c) {
  tlex_peek(c);
  if (c->failed) return (str){0};
  return (str){c->text.ptr + c->at, name_end(c, false) - c->at};
}

enum { LONGEST_NAME = 199 };

static str take_name(tile_cursor *c, str name, const char *what) {
  int begin = c->at;
  if (c->failed) return STR("?");
  c->at += name.len;
  if (!name.len) tlex_fail(c, TILE_E_SYNTAX, begin, "expected %s", what);
  else if (name.len > LONGEST_NAME) tlex_fail(c, TILE_E_LIMIT, begin, "the name is too long");
  return c->failed ? STR("?") : name;
}

str tlex_name(tile_cursor *c, const char *what) { return take_name(c, tlex_peek_name(c), what); }

str tlex_sigil_name(tile_cursor *c, char sigil) {
  tlex_expect(c, sigil);
  str name = {c->text.ptr + c->at, name_end(c, true) - c->at};
  return take_name(c, name, sigil == '@' ? "a name after '@'" : "a name after '%'");
}

bool tlex_accept_word(tile_cursor *c, const char *word) {
  str name = tlex_peek_name(c);
  if (!name.len || !str_eqz(name, word)) return false;
  c->at += name.len;
  return true;
}

void tlex_expect_word(tile_cursor *c, const char *word) {
  if (!tlex_accept_word(c, word)) tlex_fail(c, TILE_E_SYNTAX, c->at, "expected '%s'", word);
}

int64_t tlex_int(tile_cursor *c, int64_t min, int64_t max) {
  bool negative = tlex_accept(c, '-');
  tlex_peek(c);
  int begin = c->at;
  int64_t v = 0;
  bool fits = true;
  while (!c->failed && is_digit(here(c))) {
    int digit = c->text.ptr[c->at++] - '0';
    fits = fits && !__builtin_mul_overflow(v, 10, &v) &&
           !__builtin_sub_overflow(v, digit, &v);  // negative: INT64_MIN has no positive
  }
  if (c->at == begin) tlex_fail(c, TILE_E_SYNTAX, begin, "expected an integer");
  fits = fits && (negative || v != INT64_MIN);
  if (fits && !negative) v = -v;
  if (!fits || v < min || v > max)
    tlex_fail(c, TILE_E_NUMBER, begin, "the number is outside [%lld, %lld]", (long long)min,
              (long long)max);
  return c->failed ? min : v;
}

str tlex_quoted(tile_cursor *c) {
  tlex_expect(c, '"');
  strbuf out = sb_new(c->arena);
  int begin = c->at;
  while (!c->failed && here(c) != '"') {
    char x = here(c);
    bool escaped = x == '\\';
    if (escaped) x = ++c->at < c->text.len ? c->text.ptr[c->at] : 0;
    if (c->at >= c->text.len || x == '\n')
      return tlex_fail(c, TILE_E_SYNTAX, begin, "the text has no closing quote"), (str){0};
    sb_putc(&out, escaped && x == 'n' ? '\n' : x);
    c->at++;
  }
  tlex_expect(c, '"');
  return sb_str(&out);
}

dtype tlex_dtype(tile_cursor *c) {
  tlex_peek(c);
  int begin = c->at;
  str name = tlex_name(c, "an element type");
  dtype t = DT_f32;
  if (!c->failed && !dtype_parse(name, &t))
    tlex_fail(c, TILE_E_UNKNOWN, begin, "%.*s is not an element type", STR_FMT(name));
  return t;
}

static ix symbol_of(void *pool, str name) { return ix_sym(pool, name); }

ix tlex_size(tile_cursor *c, ix_pool *pool) {
  tlex_peek(c);
  if (c->failed) return ix_const(pool, 0);
  int begin = c->at;
  const char *error = "malformed size";
  ix e = ix_parse(pool, c->text, &c->at, symbol_of, pool, &error);
  if (e) return e;
  tlex_fail(c, TILE_E_SYNTAX, begin, "%s", error);
  return ix_const(pool, 0);
}

void tlex_strides(tile_cursor *c, ix_pool *pool, const ix *dims, int rank, ix *strides) {
  ix_row_major(pool, dims, rank, strides);
  if (!tlex_accept_word(c, "strides")) return;
  tlex_expect(c, '[');
  for (int d = 0; d < rank; d++) {
    if (d) tlex_expect(c, ',');
    strides[d] = tlex_size(c, pool);
  }
  tlex_expect(c, ']');
}

static void read_fact(tile_cursor *c, ix_fact *f, str symbol) {
  tlex_peek(c);
  int begin = c->at;
  str name = tlex_name(c, "the size's name");
  if (!c->failed && !str_eq(name, symbol))
    tlex_fail(c, TILE_E_UNKNOWN, begin, "the line is about %.*s", STR_FMT(symbol));
  if (tlex_accept(c, '>')) {
    tlex_expect(c, '=');
    f->min = tlex_int(c, 0, INT64_MAX);
  } else if (tlex_accept(c, '<')) {
    tlex_expect(c, '=');
    f->max = tlex_int(c, 0, INT64_MAX);
  } else if (tlex_accept(c, '%')) {
    f->multiple_of = tlex_int(c, 1, INT64_MAX);
    tlex_expect(c, '=');
    tlex_expect(c, '=');
    tlex_int(c, 0, 0);
  } else {
    tlex_expect(c, '~');
    f->estimate = tlex_int(c, 1, INT64_MAX);
  }
}

void tlex_facts(tile_cursor *c, ix_pool *pool) {
  while (tlex_accept_word(c, "size")) {
    str symbol = tlex_name(c, "the name of a size");
    if (c->failed) return;
    ix_fact *f = ix_fact_of(pool, symbol);
    tlex_expect_word(c, "where");
    do read_fact(c, f, symbol);
    while (tlex_accept(c, ','));
  }
}
