// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Text to tokens. Whatever the bytes are, it ends with a token list and diagnostics.
#include "frontend/token.h"

#include "ir/dtype.h"

typedef struct lexer {
  arena *arena;
  diag_list *diags;
  token_list *out;
  str text;
  int at;
  int newlines;
} lexer;

static const struct { const char *text; token_kind kind; } keywords[] = {
#define X(kind, text) {text, TOK_##kind},
    KEYWORDS(X)
#undef X
}, punctuation[] = {
#define X(kind, text) {text, TOK_##kind},
    PUNCTUATION(X)
#undef X
};

str token_text(const token_list *list, const token *t) {
  return (str){list->text.ptr + t->begin, (int)(t->end - t->begin)};
}

const char *token_describe(token_kind kind) {
  switch (kind) {
    case TOK_EOF: return "the end of the file";
    case TOK_BAD: return "an unknown character";
    case TOK_NAME: return "a name";
    case TOK_TYPE: return "an element type";
    case TOK_INT: case TOK_FLOAT: return "a number";
    case TOK_STRING: return "a string";
#define X(kind, text) case TOK_##kind: return "`" text "`";
    KEYWORDS(X) PUNCTUATION(X)
#undef X
  }
  return "a token";
}

static int peek(const lexer *l, int ahead) {
  return l->at + ahead < l->text.len ? (unsigned char)l->text.ptr[l->at + ahead] : -1;
}

static bool is_digit(int c) { return c >= '0' && c <= '9'; }
static bool is_between(int c, int first, int last) { return c >= first && c <= last; }
static bool is_letter(int c) { return is_between(c | 0x20, 'a', 'z') || c == '_'; }
static bool is_hex(int c) { return is_digit(c) || is_between(c | 0x20, 'a', 'f'); }

static span span_at(const lexer *l, int begin, int end) {
  return (span){l->out->file, (uint32_t)begin, (uint32_t)end};
}

static void add(lexer *l, token_kind kind, int begin) {
  if (kind != TOK_BAD && l->at - begin > MAX_TOKEN_LENGTH) {
    diag_error(l->diags, DIAG_token_too_long, span_at(l, begin, begin + 1),
               "this token has %d bytes; the limit is %d", l->at - begin, MAX_TOKEN_LENGTH);
    kind = TOK_BAD;  // of no use to the parser: one error
  }
  token t = {kind, l->newlines, (uint32_t)begin, (uint32_t)l->at};
  vec_push(l->arena, &l->out->tokens, t);
  l->newlines = 0;
}

/// Length of the valid UTF-8 sequence at text[at], 0 when there is none.
static int utf8_length(str text, int at) {
  unsigned char c = (unsigned char)text.ptr[at];
  if (c < 0x80) return 1;
  int len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
  if (c < 0xc2 || c > 0xf4 || at + len > text.len) return 0;
  for (int i = 1; i < len; i++)
    if (((unsigned char)text.ptr[at + i] & 0xc0) != 0x80) return 0;
  unsigned char d = (unsigned char)text.ptr[at + 1];
  if ((c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f)) return 0;
  if ((c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f)) return 0;
  return len;
}

/// False, with one error, for a file that is not text: it is one mistake, not thousands. So is a
/// text in another encoding, but the rest of what is wrong with it can be said.
static bool check_text(lexer *l) {
  const char *zero = l->text.len ? memchr(l->text.ptr, 0, (size_t)l->text.len) : NULL;
  if (zero) {
    int at = (int)(zero - l->text.ptr);
    diag_error(l->diags, DIAG_bad_character, span_at(l, at, at + 1),
               "a zero byte; this file is not text");
    return false;
  }
  int bad = 0, len = 1;
  while (bad < l->text.len && (len = utf8_length(l->text, bad))) bad += len;
  if (!len)
    diag_error(l->diags, DIAG_bad_utf8, span_at(l, bad, bad + 1), "byte 0x%02x is not UTF-8 text",
               (unsigned char)l->text.ptr[bad]);
  return true;
}

static void lex_word(lexer *l) {
  int begin = l->at;
  while (is_letter(peek(l, 0)) || is_digit(peek(l, 0))) l->at++;
  str word = {l->text.ptr + begin, l->at - begin};
  token_kind kind = TOK_NAME;
  dtype type;
  for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
    if (str_eqz(word, keywords[i].text)) kind = keywords[i].kind;
  if (kind == TOK_NAME && dtype_parse(word, &type)) kind = TOK_TYPE;
  add(l, kind, begin);
}

/// 12, 0x1f, 1.5, 2e-3. A dot belongs to the number only before a digit, so `0..` is 0 and `..`.
static void lex_number(lexer *l) {
  int begin = l->at;
  token_kind kind = TOK_INT;
  if (peek(l, 0) == '0' && (peek(l, 1) == 'x' || peek(l, 1) == 'X') && is_hex(peek(l, 2))) {
    l->at += 2;
    while (is_hex(peek(l, 0))) l->at++;
  } else {
    while (is_digit(peek(l, 0))) l->at++;
    if (peek(l, 0) == '.' && is_digit(peek(l, 1))) {
      kind = TOK_FLOAT;
      for (l->at++; is_digit(peek(l, 0));) l->at++;
    }
    int sign = peek(l, 1) == '+' || peek(l, 1) == '-';
    if ((peek(l, 0) == 'e' || peek(l, 0) == 'E') && is_digit(peek(l, 1 + sign))) {
      kind = TOK_FLOAT;
      for (l->at += 1 + sign; is_digit(peek(l, 0));) l->at++;
    }
  }
  int bad = l->at;
  while (is_letter(peek(l, 0)) || is_digit(peek(l, 0))) l->at++;
  if (l->at > bad)
    diag_error(l->diags, DIAG_bad_number, span_at(l, begin, l->at),
               "`%.*s` is not a number; names begin with a letter and numbers look like 12, 0x1f, "
               "1.5 or 2e-3", l->at - begin > 40 ? 40 : l->at - begin, l->text.ptr + begin);
  add(l, kind, begin);
}

static void lex_string(lexer *l) {
  int begin = l->at++;
  while (peek(l, 0) >= 0 && peek(l, 0) != '"' && peek(l, 0) != '\n') l->at++;
  if (peek(l, 0) == '"') {
    l->at++;
  } else {
    diag *d = diag_error(l->diags, DIAG_unterminated_string, span_at(l, begin, begin + 1),
                         "this string has no closing quote on its line");
    diag_add_fixit(l->diags, d, span_at(l, l->at, l->at), "\"");
  }
  add(l, TOK_STRING, begin);
}

static void lex_comment(lexer *l) {
  int begin = l->at;
  while (peek(l, 0) >= 0 && peek(l, 0) != '\n') l->at++;
  int end = l->at;
  while (end > begin && (l->text.ptr[end - 1] == '\r' || l->text.ptr[end - 1] == ' ' ||
                         l->text.ptr[end - 1] == '\t'))
    end--;
  token t = {TOK_EOF, l->newlines, (uint32_t)begin, (uint32_t)end};
  vec_push(l->arena, &l->out->comments, t);
  l->newlines = 0;
}

static bool lex_punctuation(lexer *l) {
  str rest = {l->text.ptr + l->at, l->text.len - l->at};
  for (size_t i = 0; i < sizeof punctuation / sizeof *punctuation; i++)
    if (str_starts(rest, str_from(punctuation[i].text))) {
      int begin = l->at;
      l->at += (int)strlen(punctuation[i].text);
      add(l, punctuation[i].kind, begin);
      return true;
    }
  return false;
}

/// The rest of a run of foreign characters is the same mistake.
static void add_bad(lexer *l, int begin) {
  while (peek(l, 0) >= 0x80) l->at++;
  add(l, TOK_BAD, begin);
}

/// What to write instead, for characters that other languages have.
static const char *hint_for(unsigned char c) {
  switch (c) {
    case '@': return "; a product of tensors names the axes it sums over: dot(a, b, AXIS)";
    case '?': return "; to choose between values write where(condition, a, b)";
    case '.': return "; functions take values in parentheses: exp(x)";
    default: return "";
  }
}

/// Reports a run of characters that begin nothing, as one error; the parser skips what it leaves.
static void lex_bad(lexer *l) {
  int begin = l->at;
  unsigned char c = (unsigned char)l->text.ptr[begin];
  if (c == '.' && is_digit(peek(l, 1))) {
    diag *d = diag_error(l->diags, DIAG_bad_number, span_at(l, begin, begin + 1),
                         "a number needs a digit before its point");
    diag_add_fixit(l->diags, d, span_at(l, begin, begin), "0");
    l->at++;
    lex_number(l);
    return;
  }
  l->at += utf8_length(l->text, l->at);
  if (l->at == begin) return add_bad(l, begin);  // check_text() has said so
  span at = span_at(l, begin, l->at);
  if (c < 0x20 || c == 0x7f) {
    diag_error(l->diags, DIAG_bad_character, at, "control character 0x%02x", c);
    return add(l, TOK_BAD, begin);
  }
  diag *d = diag_error(l->diags, DIAG_bad_character, at, "`%.*s` means nothing here%s",
                       l->at - begin, l->text.ptr + begin, hint_for(c));
  const char *instead = c == '&' ? "&&" : c == '|' ? "||" : c == '^' ? "**" : NULL;
  if (instead) diag_add_fixit(l->diags, d, at, "%s", instead);
  add_bad(l, begin);
}

bool lex_file(arena *a, diag_list *diags, uint32_t file, token_list *out) {
  str text = diags->files.data[file - 1].text;
  *out = (token_list){.file = file, .text = text};
  lexer l = {.arena = a, .diags = diags, .out = out, .text = text};
  int errors = diags->errors;
  if (text.len > MAX_FILE_LENGTH) {
    diag_error(diags, DIAG_file_too_large, span_at(&l, 0, 0),
               "the file has %d bytes; the limit is %d", text.len, MAX_FILE_LENGTH);
    l.text.len = 0;
  }
  if (str_starts(l.text, STR("\xef\xbb\xbf"))) l.at = 3;  // byte order mark
  if (!check_text(&l)) l.text.len = l.at = 0;
  while (l.at < l.text.len) {
    int c = peek(&l, 0);
    if (c == '\n') l.newlines++;
    if (c == '\n' || c == ' ' || c == '\t' || c == '\r') l.at++;
    else if (c == '/' && peek(&l, 1) == '/') lex_comment(&l);
    else if (is_letter(c)) lex_word(&l);
    else if (is_digit(c)) lex_number(&l);
    else if (c == '"') lex_string(&l);
    else if (!lex_punctuation(&l)) lex_bad(&l);
  }
  add(&l, TOK_EOF, l.at);
  return diags->errors == errors;
}
