// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expressions by precedence climbing, and the items that stand in brackets.
//
//   loosest   ||   &&   < <= > >= == != (one only)   + -   * / %   unary - !   **   tightest
//
// Operators one after another make a left-deep tree whose depth is limited (MAX_CHAIN) like
// nesting (MAX_NESTING), so whoever walks a tree may recurse.
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/clocale.h"
#include "frontend/parser.h"
#include "frontend/spelling.h"

static expr *new_expr(parser *p, expr_kind kind, span at) {
  expr *e = arena_new(p->arena, expr);
  e->kind = kind;
  e->at = at;
  e->depth = 1;
  return e;
}

static void set_args(parser *p, expr *e, expr *const *args, int nargs) {
  e->args = arena_copy(p->arena, args, sizeof(expr *) * (size_t)nargs);
  e->nargs = nargs;
  for (int i = 0; i < nargs; i++)
    if (args[i] && args[i]->depth >= e->depth) e->depth = args[i]->depth + 1;
  if (e->depth > MAX_CHAIN && !p->recovering)
    syntax_error(p, DIAG_nesting_too_deep, e->at,
                 "more than %d operators in one expression; name a part of it with let", MAX_CHAIN);
}

static expr *parse_poison(parser *p) { return new_expr(p, EXPR_POISON, previous_span(p)); }

// ---- primaries

static expr *parse_integer(parser *p, const token *t) {
  expr *e = new_expr(p, EXPR_INT, token_span(p, t));
  char *text = str_z(p->arena, token_text(&p->list, t));
  bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
  errno = 0;
  e->integer = (int64_t)strtoull(hex ? text + 2 : text, NULL, hex ? 16 : 10);
  if (errno == ERANGE)
    diag_error(p->diags, DIAG_number_too_large, e->at,
               "this integer does not fit 64 bits; the largest is 18446744073709551615, of u64");
  return e;
}

static expr *parse_float(parser *p, const token *t) {
  expr *e = new_expr(p, EXPR_FLOAT, token_span(p, t));
  e->number = clocale_strtod(str_z(p->arena, token_text(&p->list, t)), NULL);
  if (isinf(e->number))
    diag_error(p->diags, DIAG_number_too_large, e->at,
               "this number is beyond the range of f64; write inf for infinity");
  return e;
}

static expr *parse_constant(parser *p, const token *t) {
  bool is_bool = t->kind == TOK_TRUE || t->kind == TOK_FALSE;
  expr *e = new_expr(p, is_bool ? EXPR_BOOL : EXPR_FLOAT, token_span(p, t));
  e->integer = t->kind == TOK_TRUE;
  e->number = t->kind == TOK_INF ? INFINITY : t->kind == TOK_NAN ? NAN : 3.14159265358979323846;
  return e;
}

/// Items up to the closing bracket, appended to first (null: none) as the arguments of e.
static void parse_items(parser *p, expr *e, expr *first, token_kind close, const char *in) {
  vec(expr *) items = {0};
  span open = previous_span(p);
  if (first) vec_push(p->arena, &items, first);
  while (!at_token(p, close)) {
    expr *item = parse_item(p);
    vec_push(p->arena, &items, item);
    if (p->recovering || !take_token(p, TOK_COMMA)) break;
  }
  expect_close(p, close, open, in);
  e->at = span_join(e->at, previous_span(p));
  set_args(p, e, items.data, items.len);
  // With items missing, its meaning would be a mistake of its own.
  if (p->recovering) e->kind = EXPR_POISON;
}

static expr *parse_call(parser *p, span at, str name) {
  expr *e = new_expr(p, EXPR_CALL, at);
  e->name = name;
  e->name_at = at;
  parse_items(p, e, NULL, TOK_RPAREN, "this call");
  return e;
}

/// A condition or a loop where a value stands: `if x > 0 ...`, `if (x > 0) { ... }`.
static bool is_foreign_control(const token *t) {
  enum { FAR = 200 };  // tokens of a condition that are looked at
  int open = 0;
  if (t[1].newlines) return false;
  if (t[1].kind != TOK_LPAREN) return t[1].kind >= TOK_NAME && t[1].kind <= TOK_FLOAT;
  const token *end = t + FAR;
  for (t++; t->kind != TOK_EOF && t < end; t++) {
    open += (t->kind == TOK_LPAREN) - (t->kind == TOK_RPAREN);
    if (!open) return t[1].kind == TOK_LBRACE;
  }
  return false;
}

static expr *parse_name(parser *p, const token *t) {
  str name = token_text(&p->list, t);
  span at = token_span(p, t);
  const char *hint = foreign_word(name);
  if (hint && is_foreign_control(t)) {
    syntax_error(p, DIAG_expected, at, "expected an expression, not `%.*s`; %s", STR_FMT(name),
                 hint);
    return parse_poison(p);
  }
  if (take_token(p, TOK_LPAREN)) return parse_call(p, at, name);
  expr *e = new_expr(p, EXPR_NAME, at);
  e->name = name;
  e->name_at = at;
  return e;
}

static expr *parse_cast(parser *p, const token *t) {
  expr *e = new_expr(p, EXPR_CAST, token_span(p, t));
  dtype_parse(token_text(&p->list, t), &e->type);
  if (!expect_token(p, TOK_LPAREN, "an element type")) return e->kind = EXPR_POISON, e;
  parse_items(p, e, NULL, TOK_RPAREN, "this conversion");
  return e;
}

/// ( e ) is e; ( N = e ) names a size; everything else is a tuple.
static expr *parse_parens(parser *p, span open) {
  expr *tuple = new_expr(p, EXPR_TUPLE, open);
  parse_items(p, tuple, NULL, TOK_RPAREN, "these parentheses");
  if (p->recovering || tuple->nargs != 1) return tuple;
  expr *only = tuple->args[0];
  if (only->kind == EXPR_ARROW || only->kind == EXPR_SLICE || only->kind == EXPR_REST) return tuple;
  only->in_parens = true;
  if (only->kind != EXPR_NAMED) only->at = tuple->at;
  return only;
}

/// `axis` stands in signatures only; an argument is the name alone.
static void axis_word_in_call(parser *p) {
  span word = token_span(p, peek_token(p)), name = token_span(p, peek_token(p) + 1);
  str text = token_text(&p->list, peek_token(p) + 1);
  diag *d = syntax_error(p, DIAG_expected, word,
                         "expected an expression, not `axis`; an axis is given by its name alone: "
                         "%.*s", STR_FMT(text));
  if (!d) return;
  diag_add_fixit(p->diags, d, (span){word.file, word.begin, name.begin}, "%s", "");
  p->recovering = false;
  p->at++;
}

/// `let a = fuse { ... }`: the contracts are statements, but whoever writes this wants the contract.
/// Its block is skipped, so that what follows is in step.
static expr *parse_contract(parser *p, const token *t) {
  diag_error(p->diags, DIAG_expected, token_span(p, t),
             "`%.*s` is a statement and has no value; names given in its block are known after it: "
             "%.*s { let y = ... }",
             STR_FMT(token_text(&p->list, t)), STR_FMT(token_text(&p->list, t)));
  p->failed = true;
  skip_block(p);
  return parse_poison(p);
}

static bool begins_contract(const parser *p, const token *t) {
  if (t[1].kind == TOK_LBRACE) return t->kind == TOK_FUSE || t->kind == TOK_CHECKPOINT;
  return t->kind == TOK_FUSE && str_eqz(token_text(&p->list, &t[1]), "stream");
}

static expr *parse_primary(parser *p) {
  const token *t = peek_token(p);
  if (t->kind == TOK_AXIS && t[1].kind == TOK_NAME && !t[1].newlines) {
    axis_word_in_call(p);
    t = peek_token(p);
  }
  switch (t->kind) {
    case TOK_INT: p->at++; return parse_integer(p, t);
    case TOK_FLOAT: p->at++; return parse_float(p, t);
    case TOK_INF: case TOK_NAN: case TOK_PI: case TOK_TRUE: case TOK_FALSE:
      p->at++;
      return parse_constant(p, t);
    case TOK_FUSE: case TOK_CHECKPOINT: case TOK_WHERE:
      if (begins_contract(p, t)) return parse_contract(p, t);
      if (t->kind == TOK_FUSE || t[1].kind != TOK_LPAREN) break;
      p->at++;
      return parse_name(p, t);
    case TOK_NAME: p->at++; return parse_name(p, t);
    case TOK_TYPE: p->at++; return parse_cast(p, t);
    case TOK_REST: p->at++; return new_expr(p, EXPR_REST, token_span(p, t));
    case TOK_LPAREN: p->at++; return parse_parens(p, token_span(p, t));
    default: break;
  }
  span at = token_span(p, t);
  if (p->at && (t->newlines || t->kind == TOK_EOF)) {
    at = previous_span(p);
    at.begin = at.end;
  }
  bool list = t->kind == TOK_LBRACKET;
  diag *d = syntax_error(p, DIAG_expected, at, "expected an expression, not %s%s",
                         token_describe(t->kind),
                         list ? "; there are no lists of numbers: give them as a parameter, make "
                                "them of index(N), or join values by concat"
                              : "");
  if (d && t->kind == TOK_PLUS)
    diag_add_fixit(p->diags, d, at, "%s", "");
  return parse_poison(p);
}

// ---- operators

static expr *parse_postfix(parser *p) {
  expr *e = parse_primary(p);
  while (!p->recovering && take_token(p, TOK_LBRACKET)) {
    expr *view = new_expr(p, EXPR_VIEW, e->at);
    view->op_at = previous_span(p);
    parse_items(p, view, e, TOK_RBRACKET, "this view");
    view->op_at = span_join(view->op_at, previous_span(p));
    e = view;
  }
  return e;
}

static expr *parse_unary(parser *p);

static expr *parse_power(parser *p) {
  expr *base = parse_postfix(p);
  if (p->recovering || !take_token(p, TOK_POWER)) return base;
  span op_at = previous_span(p);
  expr *exponent = parse_unary(p);  // right-associative; 2 ** -1 is allowed
  expr *e = new_expr(p, EXPR_BINARY, span_join(base->at, exponent->at));
  e->op = TOK_POWER;
  e->op_at = op_at;
  set_args(p, e, (expr *[]){base, exponent}, 2);
  return e;
}

static expr *parse_unary(parser *p) {
  const token *t = peek_token(p);
  expr *e;
  if (!enter_nesting(p)) {
    e = parse_poison(p);
  } else if (take_token(p, TOK_MINUS) || take_token(p, TOK_NOT)) {
    expr *operand = parse_unary(p);
    e = new_expr(p, EXPR_UNARY, span_join(token_span(p, t), operand->at));
    e->op = t->kind;
    e->op_at = token_span(p, t);
    set_args(p, e, &operand, 1);
  } else {
    e = parse_power(p);
  }
  p->depth--;
  return e;
}

static int precedence(token_kind kind) {
  switch (kind) {
    case TOK_OR_OR: return 1;
    case TOK_AND_AND: return 2;
    case TOK_LT: case TOK_LE: case TOK_GT: case TOK_GE: case TOK_EQ: case TOK_NE: return 3;
    case TOK_PLUS: case TOK_MINUS: return 4;
    case TOK_STAR: case TOK_SLASH: case TOK_PERCENT: return 5;
    default: return 0;
  }
}

static expr *parse_binary(parser *p, int least) {
  expr *left = parse_unary(p);
  while (!p->recovering) {
    const token *t = peek_token(p);
    int level = precedence(t->kind);
    if (level < least || level == 0) return left;
    if (level == 3 && left->kind == EXPR_BINARY && precedence(left->op) == 3 &&
        !left->in_parens) {
      syntax_error(p, DIAG_comparison_chain, token_span(p, t),
                   "comparisons do not chain; write a < b && b < c");
      return left;
    }
    p->at++;
    expr *right = parse_binary(p, level + 1);
    expr *e = new_expr(p, EXPR_BINARY, span_join(left->at, right->at));
    e->op = t->kind;
    e->op_at = token_span(p, t);
    set_args(p, e, (expr *[]){left, right}, 2);
    left = e;
  }
  return left;
}

expr *parse_expr(parser *p) { return parse_binary(p, 1); }

// ---- items in brackets

/// After `name =`: an expression, or `a : b -> E` with optional bounds.
static expr *parse_named(parser *p) {
  const token *t = peek_token(p);
  expr *e = new_expr(p, EXPR_NAMED, token_span(p, t));
  e->name = token_text(&p->list, t);
  e->name_at = token_span(p, t);
  p->at += 2;
  expr *bounds[2] = {0};
  if (!at_token(p, TOK_COLON)) bounds[0] = parse_expr(p);
  if (!p->recovering && take_token(p, TOK_COLON)) {
    e->kind = EXPR_SLICE;
    bool open = at_token(p, TOK_ARROW) || at_token(p, TOK_RBRACKET) || at_token(p, TOK_COMMA);
    if (!open) bounds[1] = parse_expr(p);
    if (!p->recovering && take_token(p, TOK_ARROW))
      expect_name(p, "an axis name", &e->to, &e->axis_to_at);
  }
  e->at = span_join(e->at, previous_span(p));
  set_args(p, e, bounds, e->kind == EXPR_SLICE ? 2 : 1);
  return e;
}

expr *parse_item(parser *p) {
  if (!enter_nesting(p)) return p->depth--, parse_poison(p);
  const token *t = peek_token(p);
  bool named = (t->kind == TOK_NAME || t->kind == TOK_AXIS) && t[1].kind == TOK_ASSIGN;
  expr *e = named ? parse_named(p) : parse_expr(p);
  if (!p->recovering && e->kind != EXPR_SLICE && take_token(p, TOK_ARROW)) {
    expr *to = parse_expr(p);
    expr *arrow = new_expr(p, EXPR_ARROW, span_join(e->at, to->at));
    set_args(p, arrow, (expr *[]){e, to}, 2);
    e = arrow;
  }
  p->depth--;
  return e;
}
