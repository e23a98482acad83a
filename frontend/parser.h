// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// State and helpers shared by parser.c (declarations, statements) and parse_expr.c.
#pragma once
#include "frontend/ast.h"

typedef struct parser {
  arena *arena;
  diag_list *diags;
  token_list list;
  int at;           // current token
  int depth;        // nesting of the current construct
  bool recovering;  // an error was reported; quiet until a statement or declaration begins
  bool failed;      // an error was reported in the current function
} parser;

const token *peek_token(const parser *p);
bool at_token(const parser *p, token_kind kind);
bool take_token(parser *p, token_kind kind);
span token_span(const parser *p, const token *t);
span previous_span(const parser *p);
/// Takes the token or reports that it is missing after `after`, e.g. "the condition".
bool expect_token(parser *p, token_kind kind, const char *after);
/// Takes the closing bracket of the one opened at `open`.
bool expect_close(parser *p, token_kind kind, span open, const char *in);
/// Takes a name; a keyword in its place is reported as such.
bool expect_name(parser *p, const char *what, str *name, span *at);
/// Reports once until the parser is in step again; returns null while quiet.
diag *syntax_error(parser *p, int code, span at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/// Skips all up to the end of the next block in braces, or to a declaration.
void skip_block(parser *p);
/// Enters a nested construct; false (and reported) beyond MAX_NESTING.
bool enter_nesting(parser *p);

expr *parse_expr(parser *p);
/// An expression, `a -> b`, `name = e` or `name = a : b -> E`: what stands in brackets.
expr *parse_item(parser *p);
