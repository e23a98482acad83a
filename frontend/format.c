// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The canonical layout, made from tokens: line breaks inside of statements and comments stay where
// the author put them, everything else (spaces, indentation, blank lines) has one form.
//
//   fn f( x:f32[N,D] )->f32[N] {          fn f(x: f32[N, D]) -> f32[N] {
//   let y=exp(x-                     ──▶    let y = exp(x -
//     max(x,D)); return sum(y,D) }                      max(x, D))
//                                           return sum(y, D)
//                                         }
//
// Lines that go on inside of a bracket are aligned with what follows the bracket; other lines that
// go on are indented by four.
#include "frontend/ast.h"
#include "frontend/frontend.h"

typedef struct bracket {
  token_kind kind;
  int column;  // where lines inside of it begin
} bracket;

typedef struct formatter {
  arena *arena;
  strbuf out;
  token_list list;
  int comment;      // next comment
  int line_start;   // offset in out
  int braces;
  bool in_signature;
  vec(bracket) brackets;
  token previous;   // last token written
  bool any;         // something was written
  bool line_ended;  // by a comment: the next token begins a line
  bool after_open;  // nothing was written since `{`
} formatter;

static bool starts_statement(const formatter *f, const token *t) {
  switch (t->kind) {
    case TOK_LET: case TOK_RETURN: case TOK_FUSE: case TOK_IMPORT: case TOK_EXTERN: case TOK_RBRACE:
      return true;
    case TOK_CHECKPOINT: return t[1].kind != TOK_LPAREN;
    case TOK_FN: return f->previous.kind != TOK_EXTERN;
    default: return false;
  }
}

static void new_line(formatter *f, bool blank, int column) {
  if (!f->any) return;
  if (f->out.len > f->line_start) sb_putc(&f->out, '\n');
  if (blank) sb_putc(&f->out, '\n');
  f->line_start = f->out.len;
  for (int i = 0; i < column; i++) sb_putc(&f->out, ' ');
}

static int continuation(const formatter *f) {
  if (f->brackets.len) return f->brackets.data[f->brackets.len - 1].column;
  return 2 * f->braces + 4;
}

// ---- spaces

static bool is_operator(token_kind k) {
  return (k >= TOK_POWER && k <= TOK_OR_OR) || k == TOK_ASSIGN || k == TOK_ARROW ||
         (k >= TOK_PLUS && k <= TOK_GT);
}

/// A minus after one of these has no left operand.
static bool expects_operand(token_kind k) {
  return is_operator(k) || k == TOK_LPAREN || k == TOK_LBRACKET || k == TOK_COMMA ||
         k == TOK_COLON || k == TOK_RETURN || k == TOK_WHERE || k == TOK_NOT;
}

static bool opens_tight(const formatter *f, token_kind before) {
  if (before == TOK_WHERE) return !f->in_signature || f->brackets.len;
  return before == TOK_NAME || before == TOK_TYPE || before == TOK_REAL || before == TOK_RPAREN ||
         before == TOK_RBRACKET || before == TOK_CHECKPOINT || before == TOK_INT ||
         before == TOK_FLOAT;
}

static bool in_square_brackets(const formatter *f) {
  return f->brackets.len && f->brackets.data[f->brackets.len - 1].kind == TOK_LBRACKET;
}

/// `unary`: the previous token is a sign or `!` without a left operand.
static bool needs_space(const formatter *f, token_kind before, token_kind now, bool unary) {
  if (before == TOK_LPAREN || before == TOK_LBRACKET || unary) return false;
  if (now == TOK_RPAREN || now == TOK_RBRACKET || now == TOK_COMMA) return false;
  if (now == TOK_COLON || before == TOK_COLON) return now != TOK_COLON && !in_square_brackets(f);
  if (now == TOK_LPAREN || now == TOK_LBRACKET) return !opens_tight(f, before);
  if (now == TOK_REST) return before != TOK_NAME;
  return true;
}

// ---- writing

static void put_token(formatter *f, const token *t) {
  static const token none = {0};
  bool sign = f->previous.kind == TOK_MINUS || f->previous.kind == TOK_NOT;
  const token *last = &f->list.tokens.data[0];
  const token *before_sign = t - last >= 2 ? t - 2 : &none;
  bool unary = sign && (f->previous.kind == TOK_NOT || expects_operand(before_sign->kind));
  bool line_begun = f->out.len > f->line_start && f->out.data[f->out.len - 1] != ' ';
  if (line_begun && needs_space(f, f->previous.kind, t->kind, unary)) sb_putc(&f->out, ' ');
  sb_put(&f->out, token_text(&f->list, t));
  f->previous = *t;
  f->any = true;
  f->line_ended = f->after_open = false;
}

static void put_comment(formatter *f, const token *c, int column) {
  str text = token_text(&f->list, c);
  bool own_line = c->newlines > 0 || !f->any || f->line_ended;
  if (own_line) {
    bool blank = f->any && !f->after_open && c->newlines > 1;
    blank |= f->braces == 0 && f->previous.kind == TOK_RBRACE && !f->line_ended;
    new_line(f, blank, column);
  } else {
    sb_puts(&f->out, "  ");
  }
  sb_puts(&f->out, "//");
  if (text.len > 2 && text.ptr[2] != ' ' && text.ptr[2] != '/' && text.ptr[2] != '!')
    sb_putc(&f->out, ' ');
  sb_put(&f->out, (str){text.ptr + 2, text.len - 2});
  f->any = f->line_ended = true;
  f->after_open = false;
}

static void put_comments_before(formatter *f, const token *t, int column) {
  while (f->comment < f->list.comments.len && f->list.comments.data[f->comment].begin < t->begin)
    put_comment(f, &f->list.comments.data[f->comment++], column);
}

static void open_bracket(formatter *f, const token *t) {
  bool comment_next = f->comment < f->list.comments.len &&
                      f->list.comments.data[f->comment].begin < t[1].begin;
  bool alone = t[1].newlines > 0 || comment_next;
  int indent = 0, line = f->out.len - f->line_start;
  while (indent < line && f->out.data[f->line_start + indent] == ' ') indent++;
  bracket b = {t->kind, alone ? indent + 4 : line};
  vec_push(f->arena, &f->brackets, b);
}

static void track(formatter *f, const token *t) {
  switch (t->kind) {
    case TOK_LPAREN: case TOK_LBRACKET: open_bracket(f, t); break;
    case TOK_RPAREN: case TOK_RBRACKET:
      if (f->brackets.len) f->brackets.len--;
      break;
    case TOK_LBRACE:
      f->braces++;
      f->in_signature = false;
      f->after_open = true;
      break;
    case TOK_FN: f->in_signature = true; break;
    case TOK_IMPORT: f->in_signature = false; break;
    default: break;
  }
}

static void format_token(formatter *f, const token *t) {
  bool statement = starts_statement(f, t);
  int outer = 2 * (f->braces - (t->kind == TOK_RBRACE));
  put_comments_before(f, t, statement || f->after_open ? 2 * f->braces : continuation(f));
  bool after_block = f->previous.kind == TOK_RBRACE && f->braces == 0 && t->kind != TOK_RBRACE;
  if (t->kind == TOK_RBRACE) {
    f->braces--;
    new_line(f, false, outer);
  } else if (statement) {
    bool blank = !f->after_open && t->newlines > 1;
    blank |= after_block && !f->line_ended;
    new_line(f, blank, outer);
  } else if (f->line_ended || (t->newlines > 0 && t->kind != TOK_LBRACE)) {
    new_line(f, false, t->kind == TOK_LBRACE ? outer : continuation(f));
  }
  put_token(f, t);
  track(f, t);
}

bool frontend_format(arena *a, diag_list *diags, uint32_t file, str *out) {
  unit parsed;
  if (!parse_unit(a, diags, file, &parsed)) return false;
  formatter f = {.arena = a, .out = sb_new(a)};
  lex_file(a, diags, file, &f.list);
  for (int i = 0; i + 1 < f.list.tokens.len; i++) format_token(&f, &f.list.tokens.data[i]);
  put_comments_before(&f, &f.list.tokens.data[f.list.tokens.len - 1], 0);
  // A comment at the very end begins where the file ends.
  while (f.comment < f.list.comments.len) put_comment(&f, &f.list.comments.data[f.comment++], 0);
  if (f.out.len) sb_putc(&f.out, '\n');
  *out = sb_str(&f.out);
  return true;
}
