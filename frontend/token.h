// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tokens of the language. Comments are kept beside them for the formatter.
#pragma once
#include "base/diag.h"

/// X(kind, spelling): the words of the language; none may be used as a name.
#define KEYWORDS(X)                                                                        \
  X(FN, "fn") X(EXTERN, "extern") X(IMPORT, "import") X(LET, "let") X(RETURN, "return")    \
  X(WHERE, "where") X(AXIS, "axis") X(FUSE, "fuse") X(CHECKPOINT, "checkpoint")            \
  X(REAL, "real") X(TRUE, "true") X(FALSE, "false") X(INF, "inf") X(NAN, "nan") X(PI, "pi")

/// X(kind, spelling): longest spelling first where one begins another.
#define PUNCTUATION(X)                                                                  \
  X(ARROW, "->") X(REST, "..") X(POWER, "**") X(LE, "<=") X(GE, ">=") X(EQ, "==")       \
  X(NE, "!=") X(AND_AND, "&&") X(OR_OR, "||") X(LPAREN, "(") X(RPAREN, ")")             \
  X(LBRACKET, "[") X(RBRACKET, "]") X(LBRACE, "{") X(RBRACE, "}") X(COMMA, ",")         \
  X(COLON, ":") X(ASSIGN, "=") X(PLUS, "+") X(MINUS, "-") X(STAR, "*") X(SLASH, "/")    \
  X(PERCENT, "%") X(LT, "<") X(GT, ">") X(NOT, "!") X(SEMICOLON, ";")

typedef enum token_kind {
  TOK_EOF, TOK_BAD, TOK_NAME, TOK_TYPE, TOK_INT, TOK_FLOAT, TOK_STRING,
#define X(kind, text) TOK_##kind,
  KEYWORDS(X) PUNCTUATION(X)
#undef X
} token_kind;

typedef struct token {
  token_kind kind;
  int newlines;  // line ends between the previous token or comment and this one
  uint32_t begin, end;
} token;

typedef struct token_list {
  uint32_t file;
  str text;
  vec(token) tokens;    // the last is TOK_EOF
  vec(token) comments;  // without the line end; kind is not used
} token_list;

enum {
  MAX_TOKEN_LENGTH = 1024,      // of a name, number or string
  MAX_FILE_LENGTH = 16 << 20,   // bytes of one source file
};

/// Splits a file into tokens; false when there were errors (the tokens are usable all the same).
bool lex_file(arena *a, diag_list *diags, uint32_t file, token_list *out);

str token_text(const token_list *list, const token *t);
/// "`->`", "a name", ...
const char *token_describe(token_kind kind);
