// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The syntax tree: what was written, with spans; nothing is checked here beyond the grammar.
#pragma once
#include "frontend/token.h"
#include "ir/dtype.h"

enum {
  MAX_NESTING = 256,     // brackets and operators within one another
  MAX_CHAIN = 500,      // operators or views one after another: depth of a tree
};

typedef enum expr_kind {
  EXPR_POISON,  // did not parse; was reported
  EXPR_INT,     // integer
  EXPR_FLOAT,   // number; also inf, nan, pi
  EXPR_BOOL,    // integer is 0 or 1
  EXPR_NAME,    // name: a value, or an axis
  EXPR_REST,    // ..
  EXPR_UNARY,   // op args[0]
  EXPR_BINARY,  // args[0] op args[1]
  EXPR_CALL,    // name(args)
  EXPR_CAST,    // type(args[0])
  EXPR_VIEW,    // args[0] [ args[1], ... ]
  EXPR_TUPLE,   // (args)
  EXPR_ARROW,   // args[0] -> args[1]
  EXPR_NAMED,   // name = args[0]
  EXPR_SLICE,   // name = args[0] : args[1]; a null bound is the end of the axis
} expr_kind;

typedef struct func func;
typedef struct expr expr;
struct expr {
  expr_kind kind;
  int depth;
  bool in_parens;
  span at;
  token_kind op;
  span op_at;
  str name;
  span name_at;
  int64_t integer;  // of a literal: the bits of a uint64_t
  double number;
  dtype type;
  expr **args;
  int nargs;
  span axis_to_at;  // EXPR_SLICE: the `-> E` part, whose name is to
  str to;
  func *callee;     // EXPR_CALL: set by resolve; null: built in
};

typedef struct axis_decl {
  span at;
  str name;
  bool rest;   // ..
  expr *size;  // after `=`; null: not fixed
} axis_decl;

typedef struct type_ref {
  span at, elem_at;
  bool real;  // any float type
  dtype elem;
  axis_decl *axes;
  int naxes;
} type_ref;

typedef enum param_kind { PARAM_VALUE, PARAM_AXIS, PARAM_AXES } param_kind;

typedef struct param {
  param_kind kind;
  str name;
  span at;  // of the name
  type_ref type;
} param;

typedef struct let_name {
  str name;
  span at;
  bool used;
} let_name;

typedef struct stmt stmt;
typedef vec(stmt *) block;

typedef enum stmt_kind { STMT_LET, STMT_RETURN, STMT_FUSE, STMT_CHECKPOINT } stmt_kind;

struct stmt {
  stmt_kind kind;
  span at;  // the keyword
  let_name *names;
  int nnames;
  type_ref *type;  // annotation or null
  expr *value;
  block body;      // of fuse and checkpoint
  vec(expr *) stream;  // fuse stream(A, B, passes = 1)
  bool streamed;
};

typedef enum func_state { FUNC_NEW, FUNC_VISITING, FUNC_GOOD, FUNC_FAILED } func_state;

struct func {
  str name;
  span name_at;
  span end_at;  // the closing brace
  bool is_extern;
  bool generic;      // real, .. or axis in the signature: checked at each call
  bool differentiates; // has a call of `grad`
  bool prelude;      // of the standard library
  bool root;         // of the file being compiled
  bool bad_signature;  // did not parse: not checked at all
  bool bad_syntax;   // parts are missing: unknown names in it are not errors of their own
  func_state state;
  vec(param) params;
  type_ref *results;
  int nresults;
  bool tuple_result;
  vec(expr *) facts;
  str vjp;           // the function that gives its derivative; empty: none
  span vjp_at;
  struct func *derivative;  // of that name
  block body;
};

typedef struct import_decl {
  span at;
  str path;
} import_decl;

typedef struct unit {
  uint32_t file;
  vec(import_decl) imports;
  vec(func *) funcs;
} unit;

/// Parses a file as far as it goes; false when there were errors.
bool parse_unit(arena *a, diag_list *diags, uint32_t file, unit *out);
