// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowering: checked, inlined functions to graph IR. What its files share.
//
//   lower.c        one graph per concrete function: parameters, sizes, results
//   lower_func.c   calls of functions: bodies, results
//   lower_bind.c   axes and values of a call to parameters
//   lower_expr.c   expressions: names, operators, types that meet
//   lower_call.c   built-in functions
//   lower_axes.c   built-in functions that take axes
//   lower_join.c   concat, pad, scatter_add
//   lower_grad.c   grad, stop
//   lower_vjp.c    derivatives that the program gives
//   lower_backward.c  the backward part of a whole function
//   lower_view.c   what stands in brackets
//   scope.c        axes and names of one function; errors with the calls that led there
//   size.c         sizes: equality, bounds, divisibility, facts
//   constant.c     literals and sizes, which take the type of what they meet
#pragma once
#include "frontend/builtin.h"
#include "frontend/program.h"

enum {
  MAX_INLINE_DEPTH = 64,     // calls within calls
  MAX_EVAL_DEPTH = 1000,     // expressions within expressions, through calls: 2 MB of stack
  MAX_CALLS = 200000,        // of one function, after inlining
  MAX_NODES = 500000,        // of one graph
};

/// Integers of any type: from the least i64 to the largest u64.
__extension__ typedef __int128 whole;

/// A number without a type of its own: made of literals and axis sizes.
typedef struct constant constant;
struct constant {
  bool is_float;      // can only become a float
  bool known;         // no size symbol in it: as_float and, unless is_float, as_int are its value
  bool int_overflow;  // as_int left the range of i64 and u64
  bool fixed;         // a constant passed for a parameter of type `type`: it has that type
  dtype type;
  double as_float;
  whole as_int;
  ix size;            // the same as a size expression; 0: it is none
  op op;              // how it was made, for values that are not known; OP_size: from `size`
  const constant *in[2];
  int nin, depth;
  node *made[DT_COUNT];
};

typedef enum value_kind { VALUE_POISON, VALUE_NODE, VALUE_CONST, VALUE_TUPLE } value_kind;

typedef struct value value;
struct value {
  value_kind kind;  // POISON: an error was reported, whatever is done with it is silent
  span at;
  node *n;
  constant *c;
  value *items;
  int nitems;
};

/// What an axis name stands for. Shared by caller and callee when passed as an argument, so that
/// a new name given by the caller is defined by the callee.
typedef struct axis_name {
  str name;
  int axis;  // of the graph; -1: a new name, not defined yet
  span at;   // where the name was introduced
} axis_name;

#define MAX_AXIS_SIZE ((int64_t)1 << 40)  // of an axis whose size is in the program

typedef struct axis_set {
  int axes[2 * MAX_AXES];
  int n;
} axis_set;

typedef struct local {
  value v;
  span at;
} local;

typedef struct lowerer lowerer;

typedef struct axis_pair {
  int axis, original;
} axis_pair;

/// One inlined copy of a function.
typedef struct scope {
  lowerer *l;
  func *f;
  struct scope *caller;
  span call_at;
  int depth;
  map locals;     // name -> local*
  map axes;       // name -> axis_name*
  map packs;      // name of an `axis R..` parameter -> axis_set*
  axis_set rest;  // what `..` stands for
  vec(axis_pair) stand_ins;  // axes of the caller that have two names here
  value result;
} scope;

typedef struct custom_result custom_result;

/// Given when the function has been lowered: a body may be lowered more than once.
typedef struct late_warning {
  int code;
  span at;
  str text;
} late_warning;

/// Parameters that all float results are differentiated for.
typedef struct backward_request {
  const int *params;
  int nparams;
} backward_request;

struct lowerer {
  arena *arena;
  diag_list *diags;
  program *p;
  graph *g;
  map reported;       // errors given, so that a generic function's are given once
  diag *open;         // the last error, waiting for the notes of the calls that led to it
  scope *open_scope;
  int errors;
  int depth, calls;
  int stamped;        // nodes below have their position
  bool stopped;       // a limit was passed: everything is poison
  const stmt *block;  // the `fuse` that is being lowered; null none
  const stmt *checkpoint;         // the `checkpoint` that is being lowered, and whose it is; null none
  const scope *checkpoint_scope;
  bool assumed;       // a fact was added that earlier expressions have not seen
  vec(late_warning) warnings;
  vec(custom_result *) custom;  // results of functions with a derivative of their own
  map facts;          // symbol -> ix_fact*, over all attempts
  const backward_request *backward;  // null: none
};

static inline bool is_poison(value v) { return v.kind == VALUE_POISON; }
static inline value poison_at(span at) { return (value){.at = at}; }
static inline value node_value(node *n, span at) {
  return (value){.kind = VALUE_NODE, .n = n, .at = at};
}
static inline value const_value(constant *c, span at) {
  return (value){.kind = VALUE_CONST, .c = c, .at = at};
}

/// True and the graph in l->g when the concrete function has no errors.
bool lower_function(lowerer *l, func *f);

// scope.c
diag *scope_error(scope *s, int code, span at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void scope_note(scope *s, diag *d, span at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void scope_fixit(scope *s, diag *d, span at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/// The fix "write type(e)".
void scope_fix_wrap(scope *s, diag *d, span at, const char *type);
enum { MOST_CALL_NOTES = 8 };
/// The innermost scope that is not in a library function.
const scope *user_scope(const scope *s);
/// Adds the notes of the calls to the last error.
void close_error(lowerer *l);
/// The source text when short and on one line, else "this value".
str source_text(scope *s, span at);
/// The position for nodes made here: in library functions the call in the user's program.
span stamp_span(const scope *s, span at);
/// Gives nodes that have none yet this position.
void stamp_nodes(lowerer *l, span at);

axis_name *find_axis(const scope *s, str name);
/// The name of a graph axis in this function.
str axis_text(const scope *s, int axis);
str axes_text(const scope *s, const int *axes, int n);  // "N, D"; "no axes"
str node_text(const scope *s, const node *n);           // "f32[N, D]"
/// The axis `name` with this size: made, or found and of equal size; -1 and an error otherwise.
int define_axis(scope *s, str name, span at, ix size);
/// Notes where the axis comes from; where one of two sizes that should be equal is a symbol, its
/// declaration can say so.
void note_equal_sizes(scope *s, diag *d, const axis_name *a, ix old, ix size);
void bind_axis(scope *s, str name, axis_name *a);
bool define_local(scope *s, str name, span at, value v);
/// The axes an argument names: one, those of a pack, or `..`; an error when it names none.
bool collect_axes(scope *s, const expr *e, axis_set *out);
bool is_axis_expr(const scope *s, const expr *e);
/// The defined axis of that name; -1 and an error ("did you mean") otherwise.
int need_axis(scope *s, str name, span at);
/// n has the axis; else the error "x has no axis K; it has N, D".
bool need_axis_of(scope *s, const node *n, span n_at, int axis, span at);
bool set_has(const axis_set *set, int axis);
void set_add(axis_set *set, int axis);
/// At most MAX_AXES, else an error.
bool check_axis_count(scope *s, const axis_set *set, span at);

// size.c
str size_text(const scope *s, ix size);
/// As a program has it: "2 * J" for "J*2", "J * 2 + 3" for "J*2 + 3".
str size_formula(const scope *s, ix size);
bool sizes_equal(scope *s, ix a, ix b);
/// a <= b for every call: provable, or true by a fact of a size symbol that is assumed from now on.
bool assume_le(scope *s, ix a, ix b);
bool assume_multiple(scope *s, ix a, ix by);
/// The size that the expression stands for; an error when it is none.
bool size_of_expr(scope *s, const expr *e, ix *out);
bool size_of_value(scope *s, value v, ix *out);
/// An error when the size of an axis is a constant below 0 or beyond the limit.
bool size_is_possible(scope *s, ix size, span at);
/// A `where` fact: assumed when it says something of symbols, else it must be provable.
void lower_fact(scope *s, const expr *fact);
void restore_facts(lowerer *l);

// constant.c
constant *constant_int(scope *s, whole v);
/// A known integer that index arithmetic cannot take.
bool constant_beyond_sizes(const constant *c);
constant *constant_float(scope *s, double v);
constant *constant_size(scope *s, ix size);
/// The op on constants; null when it has no meaning on them (the caller makes nodes).
constant *constant_op(scope *s, op o, const constant *a, const constant *b);
/// As a scalar of type t: what literals and sizes become beside a typed value; null and an error
/// when it does not fit.
node *constant_node(scope *s, constant *c, dtype t, span at);
/// The type when nothing else says: f32 or i32.
dtype constant_type(const constant *c);

// lower_expr.c
value lower_expr(scope *s, const expr *e);
/// The value as a node: constants get their default type; null after an error.
node *need_node(scope *s, value v);
/// Storage types widened to f32.
node *widen(scope *s, node *n);
/// Both of one type, storage types widened, constants adapted; an error naming `what` otherwise.
bool meet_types(scope *s, value a, value b, span at, const char *what, node **na, node **nb);
value lower_unary_op(scope *s, op o, const char *name, value a, span at);
value lower_binary_op(scope *s, op o, const char *name, value a, value b, span at);
value lower_cast(scope *s, value v, dtype t, span at);
/// The value as type t where a declaration asks for it: constants adapt, nothing else converts.
node *coerce(scope *s, value v, dtype t, const char *what, span declared);

// lower_call.c, lower_axes.c, lower_join.c
value lower_builtin(scope *s, const expr *e, const builtin *b);
/// Reduces v, the first argument, over the axes that the others name.
value lower_reduce(scope *s, const expr *e, const builtin *b, op o, value v);
value lower_with_axes(scope *s, const expr *e, const builtin *b);
value lower_pad(scope *s, const expr *e, const builtin *b);
value lower_concat(scope *s, const expr *e, const builtin *b);
value lower_scatter_add(scope *s, const expr *e, const builtin *b);
/// Axes of a reduction of n. An unknown name is reported as an axis that n does not have.
bool axes_of(scope *s, const expr *e, int from, const node *n, span n_at, axis_set *out);
/// n is not of bools; else an error.
bool number_operand(scope *s, const char *name, const node *n, span at);
/// axes of e->args[from...]
bool collect_axis_args(scope *s, const expr *e, int from, axis_set *out);

// lower_grad.c
value lower_grad(scope *s, const expr *e);
value lower_stop(scope *s, const expr *e);
value lower_keep(scope *s, const expr *e);
/// The value of a parameter of s->f, as a node of its own where the function takes derivatives.
value as_variable(scope *s, value v);
/// The same value as a node of its own.
node *another_node(graph *g, node *n, unsigned flags);
/// What only grad() asks for is not in the graph that is handed on.
void forget_variables(graph *g);

// lower_backward.c
/// What l->backward asks for, when the outputs are there. False: an error was reported.
bool add_backward(scope *s);

// lower_vjp.c
typedef struct grad_call_site {
  scope *s;
  span at;
} grad_call_site;
/// The function given with `vjp` can be one of f; else an error.
bool derivative_fits(lowerer *l, const func *f);
/// The result of the call s, to be differentiated by the function given with `vjp`.
value with_derivative(scope *s, value v);
// For grad_options; ctx is a grad_call_site.
struct grad_custom;
const struct grad_custom *custom_operands(void *ctx, const node *n);
bool custom_apply(void *ctx, node *n, node *g, node **gives);

// lower_view.c
value lower_view(scope *s, const expr *e);

// lower_bind.c
bool count_arguments(scope *s, const func *f, const expr *e);
/// Binds the parameters of s->f to the arguments of the call e in s->caller.
bool bind_arguments(scope *s, const expr *e);

// lower_func.c
value lower_call(scope *s, const expr *e);
void lower_body(scope *s);
/// The value as the declared type: element type, axes, sizes, storage order. Null after an error.
node *match_type(scope *s, value v, const type_ref *t, const char *what);
/// The sizes written in the type are those of its axes; at_call: errors are the caller's.
bool size_declared_axes(scope *s, const type_ref *t, bool at_call);
