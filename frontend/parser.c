// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Recursive descent over the tokens of one file: declarations and statements.
//
// Recovery: the first error in a statement is reported, then the parser is quiet until the next
// word that begins a statement or declaration. Those words are reserved, so being in step again
// is certain and one mistake gives one error.
#include "frontend/parser.h"

#include "frontend/spelling.h"

const token *peek_token(const parser *p) { return &p->list.tokens.data[p->at]; }

bool at_token(const parser *p, token_kind kind) { return peek_token(p)->kind == kind; }

bool take_token(parser *p, token_kind kind) {
  if (!at_token(p, kind)) return false;
  if (kind != TOK_EOF) p->at++;
  return true;
}

span token_span(const parser *p, const token *t) {
  return (span){p->list.file, t->begin, t->end};
}

span previous_span(const parser *p) {
  return token_span(p, &p->list.tokens.data[p->at ? p->at - 1 : 0]);
}

diag *syntax_error(parser *p, int code, span at, const char *format, ...) {
  // A character that is no token was reported by the lexer.
  bool quiet = p->recovering || at_token(p, TOK_BAD);
  p->recovering = p->failed = true;
  if (quiet) return NULL;
  va_list args;
  va_start(args, format);
  str text = str_vprintf(p->arena, format, args);
  va_end(args);
  return diag_error(p->diags, code, at, "%.*s", STR_FMT(text));
}

/// Where something is missing: after the previous token if the next one is on another line.
static span missing_at(const parser *p) {
  const token *next = peek_token(p);
  if (p->at && (next->newlines || next->kind == TOK_EOF)) {
    span before = previous_span(p);
    return (span){before.file, before.end, before.end};
  }
  return token_span(p, next);
}

bool expect_token(parser *p, token_kind kind, const char *after) {
  if (take_token(p, kind)) return true;
  span before = previous_span(p);
  diag *d = syntax_error(p, DIAG_expected, missing_at(p), "expected %s after %s, not %s",
                         token_describe(kind), after, token_describe(peek_token(p)->kind));
  bool one_spelling = kind > TOK_STRING && kind != TOK_LBRACE && kind != TOK_RBRACE;
  if (d && one_spelling) {
    span end = {before.file, before.end, before.end};
    const char *quoted = token_describe(kind);
    int len = (int)strlen(quoted);
    diag_add_fixit(p->diags, d, end, "%.*s", len - 2, quoted + 1);
  }
  return false;
}

bool expect_close(parser *p, token_kind kind, span open, const char *in) {
  if (take_token(p, kind)) return true;
  bool operand = at_token(p, TOK_NAME) || at_token(p, TOK_INT) || at_token(p, TOK_FLOAT) ||
                 at_token(p, TOK_TYPE);
  const char *or_comma = kind == TOK_RBRACE ? "" : "`,` or ";
  diag *d = syntax_error(p, DIAG_unclosed, missing_at(p), "expected %s%s in %s, not %s", or_comma,
                         token_describe(kind), in, token_describe(peek_token(p)->kind));
  if (!d) return false;
  span before = previous_span(p);
  if (operand && kind != TOK_RBRACE && !peek_token(p)->newlines)
    diag_add_fixit(p->diags, d, (span){before.file, before.end, before.end}, ",");
  diag_add_note(p->diags, d, open, "opened here");
  return false;
}

bool expect_name(parser *p, const char *what, str *name, span *at) {
  const token *t = peek_token(p);
  *at = token_span(p, t);
  *name = token_text(&p->list, t);
  if (t->kind == TOK_NAME) return take_token(p, TOK_NAME);
  bool reserved = t->kind == TOK_TYPE || (t->kind >= TOK_FN && t->kind <= TOK_PI);
  if (reserved && !t->newlines && !p->recovering) {
    syntax_error(p, DIAG_reserved_name, *at, "`%.*s` is a word of the language; it cannot be %s",
                 STR_FMT(*name), what);
    // It was meant as a name: what follows is in step.
    *name = (str){0};
    p->recovering = false;
    p->at++;
    return true;
  }
  *name = (str){0};
  *at = missing_at(p);
  syntax_error(p, DIAG_expected, *at, "expected %s, not %s", what, token_describe(t->kind));
  return false;
}

bool enter_nesting(parser *p) {
  if (++p->depth <= MAX_NESTING) return true;
  syntax_error(p, DIAG_nesting_too_deep, token_span(p, peek_token(p)),
               "nested more than %d deep", MAX_NESTING);
  return false;
}

// ---- recovery

static bool begins_declaration(token_kind k) {
  return k == TOK_FN || k == TOK_EXTERN || k == TOK_IMPORT || k == TOK_EOF;
}

static bool begins_statement(token_kind k) {
  return k == TOK_LET || k == TOK_RETURN || k == TOK_FUSE || k == TOK_CHECKPOINT;
}

void skip_block(parser *p) {
  int open = 0;
  for (bool closed = false; !closed && !begins_declaration(peek_token(p)->kind); p->at++) {
    open += at_token(p, TOK_LBRACE) - at_token(p, TOK_RBRACE);
    closed = !open && at_token(p, TOK_RBRACE);
  }
  p->recovering = false;
}

/// A block on the way is part of what is not understood: its statements are not this block's.
static void skip_to_statement(parser *p) {
  while (!begins_declaration(peek_token(p)->kind) && !begins_statement(peek_token(p)->kind) &&
         !at_token(p, TOK_RBRACE)) {
    if (at_token(p, TOK_LBRACE)) skip_block(p);
    else p->at++;
  }
  p->recovering = false;
}

static void skip_to_body(parser *p) {
  while (!begins_declaration(peek_token(p)->kind) && !begins_statement(peek_token(p)->kind) &&
         !at_token(p, TOK_LBRACE) && !at_token(p, TOK_RBRACE))
    p->at++;
  p->recovering = false;
}

/// Semicolons end nothing here; taken and reported, and everything is in step.
static bool take_semicolon(parser *p) {
  span at = token_span(p, peek_token(p));
  if (!take_token(p, TOK_SEMICOLON)) return false;
  diag *d = diag_error(p->diags, DIAG_bad_character, at, "`;` means nothing here");
  diag_add_fixit(p->diags, d, at, "%s", "");
  return true;
}

// ---- types

/// `f32[128, D]`: the size is there, its name is not.
static void size_without_name(parser *p) {
  const token *t = peek_token(p);
  span at = token_span(p, t);
  str size = token_text(&p->list, t);
  syntax_error(p, DIAG_expected, at,
               "expected an axis name, not a number; an axis of a fixed size has a name too: "
               "[N = %.*s]", STR_FMT(size));
  // What follows is in step.
  p->at++;
  p->recovering = false;
}

static axis_decl parse_axis_decl(parser *p) {
  axis_decl axis = {.at = token_span(p, peek_token(p))};
  if (take_token(p, TOK_REST)) {
    axis.rest = true;
  } else if (at_token(p, TOK_INT)) {
    size_without_name(p);
  } else if (expect_name(p, "an axis name", &axis.name, &axis.at) && take_token(p, TOK_ASSIGN)) {
    axis.size = parse_expr(p);
  }
  return axis;
}

static void parse_axes(parser *p, type_ref *type) {
  vec(axis_decl) axes = {0};
  span open = previous_span(p);
  while (!at_token(p, TOK_RBRACKET)) {
    axis_decl axis = parse_axis_decl(p);
    vec_push(p->arena, &axes, axis);
    if (p->recovering || !take_token(p, TOK_COMMA)) break;
  }
  expect_close(p, TOK_RBRACKET, open, "this type");
  type->axes = axes.data;
  type->naxes = axes.len;
}

/// "f64, f32, f16, ..."
static str type_list(arena *a) {
  strbuf b = sb_new(a);
  for (int t = 0; t < DT_COUNT; t++) sb_printf(&b, "%s%s", t ? ", " : "", dtype_name((dtype)t));
  return sb_str(&b);
}

static void unknown_type(parser *p, span at, str name) {
  str names[DT_COUNT];
  for (int t = 0; t < DT_COUNT; t++) names[t] = str_from(dtype_name((dtype)t));
  const char *same = foreign_type(name);
  str meant = same ? str_from(same) : nearest_name(name, names, DT_COUNT);
  diag *d = syntax_error(p, DIAG_unknown_type, at,
                         "`%.*s` is not an element type; those are %.*s "
                         "and, in generic functions, real",
                         STR_FMT(name), STR_FMT(type_list(p->arena)));
  if (d && meant.len) diag_add_fixit(p->diags, d, at, "%.*s", STR_FMT(meant));
}

static type_ref parse_type(parser *p) {
  const token *t = peek_token(p);
  type_ref type = {.at = token_span(p, t), .elem_at = token_span(p, t)};
  str name = token_text(&p->list, t);
  if (take_token(p, TOK_REAL)) {
    type.real = true;
  } else if (take_token(p, TOK_TYPE)) {
    dtype_parse(name, &type.elem);
  } else if (at_token(p, TOK_NAME)) {
    unknown_type(p, type.at, name);
    // A misspelt element type says nothing of what follows it: stay in step.
    p->at++;
    p->recovering = false;
  } else {
    syntax_error(p, DIAG_expected, missing_at(p), "expected a type such as f32[N], not %s",
                 token_describe(t->kind));
  }
  if (!p->recovering && take_token(p, TOK_LBRACKET)) parse_axes(p, &type);
  type.at = span_join(type.at, previous_span(p));
  return type;
}

// ---- statements

static void parse_block(parser *p, block *out, const char *after, span *end);

static void parse_let_names(parser *p, stmt *s) {
  vec(let_name) names = {0};
  bool tuple = take_token(p, TOK_LPAREN);
  span open = previous_span(p);
  do {
    let_name n = {0};
    if (!expect_name(p, "the name of a value", &n.name, &n.at)) break;
    vec_push(p->arena, &names, n);
  } while (tuple && take_token(p, TOK_COMMA) && !at_token(p, TOK_RPAREN));
  if (tuple) expect_close(p, TOK_RPAREN, open, "this list of names");
  s->names = names.data;
  s->nnames = names.len;
}

static expr *poison(parser *p) {
  expr *e = arena_new(p->arena, expr);
  e->at = token_span(p, peek_token(p));
  return e;
}

static void parse_let(parser *p, stmt *s) {
  parse_let_names(p, s);
  s->value = poison(p);
  if (p->recovering) return;
  if (s->nnames == 1 && take_token(p, TOK_COLON)) {
    s->type = arena_new(p->arena, type_ref);
    *s->type = parse_type(p);
  }
  if (!p->recovering && expect_token(p, TOK_ASSIGN, "the name")) s->value = parse_expr(p);
}

static void parse_return(parser *p, stmt *s) {
  uint32_t begin = peek_token(p)->begin;
  s->value = parse_expr(p);
  if (p->recovering || !at_token(p, TOK_COMMA)) return;
  diag *d = syntax_error(p, DIAG_expected, token_span(p, peek_token(p)),
                         "several values are returned in parentheses");
  p->recovering = false;
  s->value->kind = EXPR_POISON;  // one of several says nothing
  while (!p->recovering && take_token(p, TOK_COMMA)) parse_expr(p);
  if (!d || p->recovering) return;
  span all = {p->list.file, begin, previous_span(p).end};
  diag_add_fixit(p->diags, d, all, "(%.*s)", (int)(all.end - begin), p->list.text.ptr + begin);
}

/// fuse stream T { }
static bool bare_stream(parser *p, stmt *s) {
  const token *t = peek_token(p);
  if (t->kind != TOK_NAME || t[1].kind != TOK_LBRACE) return false;
  str name = token_text(&p->list, t);
  diag *d = syntax_error(p, DIAG_expected, token_span(p, t),
                         "streamed axes are in parentheses: stream(%.*s)", STR_FMT(name));
  if (d) diag_add_fixit(p->diags, d, token_span(p, t), "(%.*s)", STR_FMT(name));
  p->recovering = false;
  expr *item = parse_item(p);
  vec_push(p->arena, &s->stream, item);
  return true;
}

/// At `stream`, or where `fuse(T)` lacks it.
static void parse_stream(parser *p, stmt *s) {
  s->streamed = true;
  if (at_token(p, TOK_LPAREN)) {
    span before = previous_span(p);
    diag *d = syntax_error(p, DIAG_expected, token_span(p, peek_token(p)),
                           "expected `{` after `fuse`, not `(`; axes are those of a stream: "
                           "fuse stream(T) { ... }");
    if (d) diag_add_fixit(p->diags, d, (span){before.file, before.end, before.end}, " stream");
    p->recovering = false;
  } else {
    p->at++;
  }
  if (bare_stream(p, s) || !expect_token(p, TOK_LPAREN, "`stream`")) return;
  span open = previous_span(p);
  while (!at_token(p, TOK_RPAREN)) {
    expr *item = parse_item(p);
    vec_push(p->arena, &s->stream, item);
    if (p->recovering || !take_token(p, TOK_COMMA)) break;
  }
  expect_close(p, TOK_RPAREN, open, "the streamed axes");
}

static stmt *parse_statement(parser *p) {
  stmt *s = arena_new(p->arena, stmt);
  const token *t = peek_token(p);
  s->at = token_span(p, t);
  span end;
  p->at++;
  switch (t->kind) {
    case TOK_LET:
      s->kind = STMT_LET;
      parse_let(p, s);
      return s;
    case TOK_RETURN:
      s->kind = STMT_RETURN;
      parse_return(p, s);
      return s;
    case TOK_FUSE:
      s->kind = STMT_FUSE;
      if (at_token(p, TOK_LPAREN) ||
          (at_token(p, TOK_NAME) && str_eqz(token_text(&p->list, peek_token(p)), "stream")))
        parse_stream(p, s);
      break;
    default:
      s->kind = STMT_CHECKPOINT;
  }
  if (enter_nesting(p)) parse_block(p, &s->body, token_describe(t->kind), &end);
  else skip_block(p);  // what is in it would be as deep
  p->depth--;
  return s;
}

/// Whether the function has a value of that name, or one that is to be.
static bool named_before(const parser *p, const token *t) {
  str name = token_text(&p->list, t);
  for (const token *at = t - 1; at >= p->list.tokens.data && at->kind != TOK_FN; at--)
    if (at->kind == TOK_NAME && str_eq(token_text(&p->list, at), name)) return true;
  return false;
}

/// Something that begins no statement, where one is due.
static void no_statement(parser *p, bool first) {
  const token *t = peek_token(p);
  bool name = t->kind == TOK_NAME, own_line = first || t->newlines;
  bool given = name && (t[1].kind == TOK_ASSIGN ||  // y = ..., y += ...
                        (t[2].kind == TOK_ASSIGN && t[1].end == t[2].begin));
  bool again = given && named_before(p, t);
  const char *hint = name ? foreign_word(token_text(&p->list, t)) : NULL;
  if (!hint && again) hint = "values do not change: let gives a new one, with a name of its own";
  else if (!hint && name && own_line)
    hint = given ? "values are named by let" : "a value is named by let, or returned";
  diag *d = syntax_error(
      p, DIAG_expected, token_span(p, t), "expected %s, not %s%s%s",
      own_line ? "a statement (let, return, fuse)" : "an operator or the next statement",
      token_describe(t->kind), hint ? "; " : "", hint ? hint : "");
  if (d && given && !again && t[1].kind == TOK_ASSIGN)
    diag_add_fixit(p->diags, d, (span){p->list.file, t->begin, t->begin}, "let ");
}

static void parse_block(parser *p, block *out, const char *after, span *end) {
  if (!p->recovering) expect_token(p, TOK_LBRACE, after);
  if (p->recovering) {
    skip_to_body(p);
    // The statements after a contract without a block are those of the block around it.
    if (!take_token(p, TOK_LBRACE) && p->depth) return;
  }
  span open = previous_span(p);
  while (!at_token(p, TOK_RBRACE) && !begins_declaration(peek_token(p)->kind)) {
    if (begins_statement(peek_token(p)->kind)) {
      stmt *s = parse_statement(p);
      vec_push(p->arena, out, s);
      // The rest of the expression is unknown, and so is its value.
      if (at_token(p, TOK_BAD) && s->value) s->value->kind = EXPR_POISON;
    }
    while (!p->recovering && take_semicolon(p)) {}
    const token *t = peek_token(p);
    if (!p->recovering && !at_token(p, TOK_RBRACE) && !begins_statement(t->kind) &&
        !begins_declaration(t->kind))
      no_statement(p, !out->len);
    if (p->recovering) skip_to_statement(p);
  }
  *end = token_span(p, peek_token(p));
  expect_close(p, TOK_RBRACE, open, "this block");
}

// ---- declarations

static bool parse_param(parser *p, param *out) {
  *out = (param){0};
  if (at_token(p, TOK_AXIS) && peek_token(p)[1].kind != TOK_COLON) {
    p->at++;
    if (!expect_name(p, "an axis name", &out->name, &out->at)) return false;
    out->kind = take_token(p, TOK_REST) ? PARAM_AXES : PARAM_AXIS;
    return true;
  }
  if (!expect_name(p, "the name of a parameter", &out->name, &out->at)) return false;
  if (!expect_token(p, TOK_COLON, "the name of a parameter")) return false;
  out->type = parse_type(p);
  return true;
}

static void parse_params(parser *p, func *f) {
  if (!expect_token(p, TOK_LPAREN, "the name of the function")) return;
  span open = previous_span(p);
  while (!at_token(p, TOK_RPAREN)) {
    param one;
    if (!parse_param(p, &one)) break;
    vec_push(p->arena, &f->params, one);
    if (p->recovering || !take_token(p, TOK_COMMA)) break;
  }
  expect_close(p, TOK_RPAREN, open, "the parameters");
}

static void parse_results(parser *p, func *f) {
  vec(type_ref) results = {0};
  if (!expect_token(p, TOK_ARROW, "the parameters")) return;
  f->tuple_result = take_token(p, TOK_LPAREN);
  span open = previous_span(p);
  do {
    type_ref type = parse_type(p);
    vec_push(p->arena, &results, type);
  } while (f->tuple_result && !p->recovering && take_token(p, TOK_COMMA) &&
           !at_token(p, TOK_RPAREN));
  if (f->tuple_result) expect_close(p, TOK_RPAREN, open, "the results");
  f->results = results.data;
  f->nresults = results.len;
}

/// `vjp` is a word only here, so that it can be a name.
static void parse_vjp(parser *p, func *f) {
  const token *t = peek_token(p);
  if (p->recovering || t->kind != TOK_NAME || !str_eqz(token_text(&p->list, t), "vjp")) return;
  p->at++;
  expect_name(p, "the name of the function that gives its derivative", &f->vjp, &f->vjp_at);
}

static void parse_facts(parser *p, func *f) {
  if (p->recovering || !take_token(p, TOK_WHERE)) return;
  do {
    expr *fact = parse_expr(p);
    vec_push(p->arena, &f->facts, fact);
  } while (!p->recovering && take_token(p, TOK_COMMA));
}

static bool type_is_generic(const type_ref *t) {
  for (int i = 0; i < t->naxes; i++)
    if (t->axes[i].rest) return true;
  return t->real;
}

static bool func_is_generic(const func *f) {
  for (int i = 0; i < f->params.len; i++)
    if (f->params.data[i].kind != PARAM_VALUE || type_is_generic(&f->params.data[i].type))
      return true;
  for (int i = 0; i < f->nresults; i++)
    if (type_is_generic(&f->results[i])) return true;
  return false;
}

static func *parse_func(parser *p) {
  func *f = arena_new(p->arena, func);
  p->failed = false;
  f->is_extern = take_token(p, TOK_EXTERN);
  if (expect_token(p, TOK_FN, "`extern`") &&
      expect_name(p, "the name of a function", &f->name, &f->name_at)) {
    parse_params(p, f);
    if (!p->recovering) parse_results(p, f);
    parse_vjp(p, f);
    parse_facts(p, f);
  }
  f->end_at = previous_span(p);
  f->bad_signature = p->failed;
  if (p->recovering) skip_to_body(p);
  if (!f->is_extern || at_token(p, TOK_LBRACE)) {
    span brace = token_span(p, peek_token(p));
    parse_block(p, &f->body, "the signature", &f->end_at);
    if (f->is_extern)
      diag_error(p->diags, DIAG_extern_form, brace,
                 "an extern function is defined by the host program and has no body here");
  }
  f->generic = func_is_generic(f);
  f->bad_syntax = p->failed;
  return f;
}

static void parse_import(parser *p, unit *out) {
  import_decl import = {.at = token_span(p, peek_token(p))};
  p->at++;
  const token *t = peek_token(p);
  if (!expect_token(p, TOK_STRING, "`import`")) return;
  str text = token_text(&p->list, t);
  bool closed = text.len >= 2 && text.ptr[text.len - 1] == '"';
  import.at = token_span(p, t);
  import.path = (str){text.ptr + 1, text.len - 1 - closed};
  if (closed && !import.path.len)
    diag_error(p->diags, DIAG_import_failed, import.at, "the path of the imported file is empty");
  else if (closed)
    vec_push(p->arena, &out->imports, import);
}

/// `def f(x):`, `function f(x)`: a word and a name.
static void no_declaration(parser *p) {
  const token *t = peek_token(p);
  bool function = t->kind == TOK_NAME && t[1].kind == TOK_NAME;
  syntax_error(p, DIAG_expected, token_span(p, t), "expected a function or an import, not %s%s",
               token_describe(t->kind), function ? "; functions begin with `fn`" : "");
}

bool parse_unit(arena *a, diag_list *diags, uint32_t file, unit *out) {
  *out = (unit){.file = file};
  parser p = {.arena = a, .diags = diags};
  int errors = diags->errors;
  lex_file(a, diags, file, &p.list);
  while (!at_token(&p, TOK_EOF)) {
    if (at_token(&p, TOK_FN) || at_token(&p, TOK_EXTERN)) {
      func *f = parse_func(&p);
      vec_push(a, &out->funcs, f);
    } else if (at_token(&p, TOK_IMPORT)) {
      parse_import(&p, out);
    } else if (take_semicolon(&p)) {
      continue;
    } else {
      no_declaration(&p);
    }
    if (p.recovering) {
      while (!begins_declaration(peek_token(&p)->kind)) p.at++;
      p.recovering = false;
    }
  }
  return diags->errors == errors;
}
