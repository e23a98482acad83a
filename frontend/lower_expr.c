// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expressions: names, operators, conversions, and how the types of two operands meet.
//
// Storage types (f16, bf16) are widened to f32 by everything that computes; constants take the
// type of what they meet; nothing else converts by itself.
#include <math.h>

#include "frontend/lower.h"
#include "frontend/spelling.h"

// ---- types that meet

node *widen(scope *s, node *n) {
  return dtype_is_storage(n->type) ? graph_cast(s->l->g, n, DT_f32) : n;
}

node *need_node(scope *s, value v) {
  if (v.kind == VALUE_NODE) return v.n;
  if (v.kind == VALUE_CONST) return constant_node(s, v.c, constant_type(v.c), v.at);
  if (v.kind == VALUE_TUPLE)
    scope_error(s, DIAG_tuple_misuse, v.at, "%d values stand where one is needed", v.nitems);
  return NULL;
}

/// The type an operand has before it meets another; false for constants, which have none.
static bool operand_type(value v, dtype *t) {
  if (v.kind == VALUE_NODE) {
    *t = dtype_is_storage(v.n->type) ? DT_f32 : v.n->type;
    return true;
  }
  *t = v.c->type;
  return v.c->fixed;
}

static void note_operand(scope *s, diag *d, value v) {
  if (v.kind == VALUE_NODE)
    scope_note(s, d, v.at, "this is %.*s", STR_FMT(node_text(s, v.n)));
  else
    scope_note(s, d, v.at, "this is %s", dtype_name(v.c->type));
}

/// Which of two types the other should be converted to: the float one, then the wider one.
static bool goes_to(dtype from, dtype to) {
  if (dtype_is_float(from) != dtype_is_float(to)) return dtype_is_float(to);
  return dtype_bytes(from) < dtype_bytes(to) || (dtype_bytes(from) == dtype_bytes(to) && from > to);
}

bool meet_types(scope *s, value a, value b, span at, const char *what, node **na, node **nb) {
  if (is_poison(a) || is_poison(b)) return false;
  if (a.kind == VALUE_TUPLE || b.kind == VALUE_TUPLE)
    return need_node(s, a.kind == VALUE_TUPLE ? a : b), false;
  dtype ta, tb;
  bool typed_a = operand_type(a, &ta), typed_b = operand_type(b, &tb);
  if (!typed_a && !typed_b) ta = tb = a.c->is_float || b.c->is_float ? DT_f32 : DT_i64;
  if (!typed_a) ta = tb;
  if (!typed_b) tb = ta;
  if (ta != tb) {
    diag *d = scope_error(s, DIAG_type_mismatch, at, "%s needs operands of one type, not %s and %s",
                          what, dtype_name(ta), dtype_name(tb));
    bool left = goes_to(ta, tb);
    if (ta != DT_bool && tb != DT_bool)
      scope_fix_wrap(s, d, left ? a.at : b.at, dtype_name(left ? tb : ta));
    note_operand(s, d, a);
    note_operand(s, d, b);
    return false;
  }
  *na = a.kind == VALUE_NODE ? widen(s, a.n) : constant_node(s, a.c, ta, a.at);
  *nb = b.kind == VALUE_NODE ? widen(s, b.n) : constant_node(s, b.c, tb, b.at);
  return *na && *nb;
}

node *coerce(scope *s, value v, dtype t, const char *what, span declared) {
  if (is_poison(v)) return NULL;
  if (v.kind == VALUE_CONST && !v.c->fixed) return constant_node(s, v.c, t, v.at);
  node *n = need_node(s, v);
  if (!n || n->type == t) return n;
  diag *d = scope_error(s, DIAG_declared_type, v.at, "%s is declared %s, but this is %s", what,
                        dtype_name(t), dtype_name(n->type));
  if (t != DT_bool) scope_fix_wrap(s, d, v.at, dtype_name(t));
  scope_note(s, d, declared, "declared here");
  return NULL;
}

// ---- operators

static const char *wanted_by(op_types types) {
  return types == TYPES_FLOAT || types == TYPES_FCLASS ? "floats"
         : types == TYPES_INT                          ? "integers"
         : types == TYPES_BITS                         ? "integers or bools"
                                                       : "numbers";
}

static bool type_suits(op_types types, dtype t) {
  switch (types) {
    case TYPES_FLOAT: case TYPES_FCLASS: return dtype_is_float(t);
    case TYPES_INT: return dtype_is_int(t);
    case TYPES_BITS: return dtype_is_int(t) || t == DT_bool;
    case TYPES_BOOL: return t == DT_bool;
    default: return t != DT_bool;
  }
}

/// The operand's own type suits the op; else an error with the conversion that would help.
static bool suits(scope *s, op_types types, const char *name, value v, span at) {
  if (is_poison(v)) return false;
  dtype t;
  if (v.kind == VALUE_TUPLE) return need_node(s, v), false;
  if (!operand_type(v, &t) || type_suits(types, t)) return true;
  diag *d = scope_error(s, DIAG_operand_type, at, "%s needs %s, not %s", name,
                        types == TYPES_BOOL ? "bools" : wanted_by(types), dtype_name(t));
  const char *to = types == TYPES_FLOAT ? "f32" : types == TYPES_INT ? NULL : "i32";
  if (types == TYPES_BOOL || types == TYPES_BITS) to = NULL;
  if (to) scope_fix_wrap(s, d, v.at, to);
  note_operand(s, d, v);
  return false;
}

static bool union_fits(scope *s, span at, node *const *in, int nin) {
  axis_set set = {.n = 0};
  for (int i = 0; i < nin; i++)
    for (int k = 0; k < in[i]->naxes; k++) set_add(&set, in[i]->axes[k]);
  return check_axis_count(s, &set, at);
}

value lower_unary_op(scope *s, op o, const char *name, value a, span at) {
  op_types types = op_get(o)->types;
  if (!suits(s, types, name, a, at)) return poison_at(at);
  if (a.kind == VALUE_CONST) {
    constant *c = constant_op(s, o, a.c, NULL);
    if (c) return const_value(c, at);
    bool to_float = types == TYPES_FLOAT || types == TYPES_FCLASS;
    if (to_float && !a.c->fixed) a = node_value(constant_node(s, a.c, DT_f32, a.at), a.at);
  }
  node *n = need_node(s, a);
  if (!n) return poison_at(at);
  n = widen(s, n);
  if (!suits(s, types, name, node_value(n, a.at), at)) return poison_at(at);
  return node_value(graph_unary(s->l->g, o, n), at);
}

value lower_binary_op(scope *s, op o, const char *name, value a, value b, span at) {
  op_types types = op_get(o)->types;
  node *in[2];
  if (types == TYPES_CMP) {
    dtype t;
    bool bools = a.kind == VALUE_NODE && b.kind == VALUE_NODE && operand_type(a, &t) &&
                 t == DT_bool && (o == OP_eq || o == OP_ne);
    if (!bools && !(suits(s, TYPES_NUM, name, a, at) && suits(s, TYPES_NUM, name, b, at)))
      return poison_at(at);
  } else if (!suits(s, types, name, a, at) || !suits(s, types, name, b, at)) {
    return poison_at(at);
  }
  if (a.kind == VALUE_CONST && b.kind == VALUE_CONST) {
    constant *c = constant_op(s, o, a.c, b.c);
    if (c) return const_value(c, at);
  }
  if (!meet_types(s, a, b, at, name, &in[0], &in[1])) return poison_at(at);
  value left = node_value(in[0], a.at);
  if (types != TYPES_CMP && !suits(s, types, name, left, at)) return poison_at(at);
  if (!union_fits(s, at, in, 2)) return poison_at(at);
  return node_value(graph_binary(s->l->g, o, in[0], in[1]), at);
}

/// n by repeated squaring: at most 2 log2(n) products, each rounded.
static node *integer_power(scope *s, node *base, int64_t n) {
  graph *g = s->l->g;
  node *result = NULL;
  for (node *square = base;; square = graph_binary(g, OP_mul, square, square)) {
    if (n & 1) result = result ? graph_binary(g, OP_mul, result, square) : square;
    n >>= 1;
    if (!n) return result;
  }
}

/// x ** n for a known n: products for whole numbers, sqrt for halves; null: none of these.
static node *known_power(scope *s, node *base, const constant *c) {
  enum { MOST = 64 };
  graph *g = s->l->g;
  double n = c->as_float;
  bool is_float = dtype_is_float(base->type);
  if (n == 0.5 && is_float) return graph_unary(g, OP_sqrt, base);
  if (n == -0.5 && is_float) return graph_unary(g, OP_rsqrt, base);
  if (n != floor(n) || fabs(n) > MOST || (n < 0 && !is_float)) return NULL;
  if (n == 0) return graph_const_float(g, base->type, 1);
  node *power = integer_power(s, base, (int64_t)fabs(n));
  return n > 0 ? power : graph_binary(g, OP_div, graph_const_float(g, base->type, 1), power);
}

static value lower_power(scope *s, value a, value b, span at) {
  if (!suits(s, TYPES_NUM, "`**`", a, at) || !suits(s, TYPES_NUM, "`**`", b, at))
    return poison_at(at);
  if (a.kind == VALUE_NODE && b.kind == VALUE_CONST && b.c->known) {
    node *base = widen(s, a.n), *n = known_power(s, base, b.c);
    // x ** 0 is 1 along the axes of x.
    if (n && b.c->as_float == 0)
      n = graph_where(s->l->g, graph_binary(s->l->g, OP_eq, base, base), n, n);
    if (n) return node_value(n, at);
  }
  value v = lower_binary_op(s, OP_pow, "`**`", a, b, at);
  return v;
}

static value lower_binary(scope *s, const expr *e) {
  static const struct { token_kind token; op op; const char *name; } table[] = {
      {TOK_PLUS, OP_add, "`+`"},  {TOK_MINUS, OP_sub, "`-`"}, {TOK_STAR, OP_mul, "`*`"},
      {TOK_SLASH, OP_div, "`/`"}, {TOK_PERCENT, OP_rem, "`%`"}, {TOK_LT, OP_lt, "`<`"},
      {TOK_LE, OP_le, "`<=`"},    {TOK_GT, OP_gt, "`>`"},     {TOK_GE, OP_ge, "`>=`"},
      {TOK_EQ, OP_eq, "`==`"},    {TOK_NE, OP_ne, "`!=`"},
  };
  value a = lower_expr(s, e->args[0]), b = lower_expr(s, e->args[1]);
  if (is_poison(a) || is_poison(b)) return poison_at(e->at);
  value v = poison_at(e->at);
  if (e->op == TOK_POWER) v = lower_power(s, a, b, e->op_at);
  if (e->op == TOK_AND_AND || e->op == TOK_OR_OR) {
    const char *name = e->op == TOK_AND_AND ? "`&&`" : "`||`";
    node *in[2];
    if (!suits(s, TYPES_BOOL, name, a, e->op_at) || !suits(s, TYPES_BOOL, name, b, e->op_at))
      return v;
    if (a.kind == VALUE_CONST || b.kind == VALUE_CONST) {
      constant_node(s, a.kind == VALUE_CONST ? a.c : b.c, DT_bool,
                    a.kind == VALUE_CONST ? a.at : b.at);
      return v;
    }
    if (!meet_types(s, a, b, e->op_at, name, &in[0], &in[1]) || !union_fits(s, e->op_at, in, 2))
      return v;
    v = node_value(graph_binary(s->l->g, e->op == TOK_AND_AND ? OP_and : OP_or, in[0], in[1]),
                   e->at);
  }
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (table[i].token == e->op)
      v = lower_binary_op(s, table[i].op, table[i].name, a, b, e->op_at);
  v.at = e->at;
  return v;
}

static value lower_unary(scope *s, const expr *e) {
  value a = lower_expr(s, e->args[0]);
  if (is_poison(a)) return a;
  if (e->op == TOK_MINUS) return lower_unary_op(s, OP_neg, "`-`", a, e->at);
  if (a.kind == VALUE_CONST) {
    constant_node(s, a.c, DT_bool, a.at);
    return poison_at(e->at);
  }
  if (!suits(s, TYPES_BOOL, "`!`", a, e->op_at)) return poison_at(e->at);
  return node_value(graph_unary(s->l->g, OP_not, a.n), e->at);
}

// ---- conversions

value lower_cast(scope *s, value v, dtype t, span at) {
  if (is_poison(v)) return v;
  graph *g = s->l->g;
  if (v.kind == VALUE_CONST && v.c->known && t != DT_bool) {
    bool is_whole = !v.c->is_float && !v.c->int_overflow;
    scalar from = is_whole ? (scalar){.i = (int64_t)v.c->as_int} : (scalar){.f = v.c->as_float};
    dtype as = !is_whole ? DT_f64 : v.c->as_int > INT64_MAX ? DT_u64 : DT_i64;
    return node_value(graph_const(g, t, scalar_cast(from, as, t)), at);
  }
  bool adapts = v.kind == VALUE_CONST && !v.c->fixed && t != DT_bool;
  if (adapts && (!v.c->is_float || dtype_is_float(t))) {
    node *n = constant_node(s, v.c, t, v.at);
    return n ? node_value(n, at) : poison_at(at);
  }
  node *n = need_node(s, v);
  if (!n) return poison_at(at);
  if (t == DT_bool && n->type != DT_bool) {
    n = widen(s, n);
    return node_value(graph_binary(g, OP_ne, n, graph_const_float(g, n->type, 0)), at);
  }
  return node_value(n->type == t ? n : graph_cast(g, n, t), at);
}

// ---- names

static value pack_size(scope *s, const axis_set *pack, span at) {
  ix size = ix_const(&s->l->g->ix, 1);
  for (int i = 0; i < pack->n; i++)
    size = ix_mul(&s->l->g->ix, size, graph_axis_size(s->l->g, pack->axes[i]));
  return const_value(constant_size(s, size), at);
}

static void unknown_name(scope *s, const expr *e) {
  if (s->f->bad_syntax) {
    s->l->errors++;
    return;
  }
  vec(str) names = {0};
  for (int i = 0; i < s->locals.len; i++)
    vec_push(s->l->arena, &names, s->locals.entries[i].key);
  for (int i = 0; i < s->axes.len; i++) vec_push(s->l->arena, &names, s->axes.entries[i].key);
  const char *hint = foreign_word(e->name);
  diag *d = scope_error(s, DIAG_unknown_name, e->at, "there is no value or axis `%.*s`%s%s",
                        STR_FMT(e->name), hint ? "; " : "", hint ? hint : "");
  str near = nearest_name(e->name, names.data, names.len);
  if (near.len && (near.len > 1 || e->name.len > 1))
    scope_fixit(s, d, e->at, "%.*s", STR_FMT(near));
  if (builtin_find(e->name) || map_get(&s->l->p->functions, e->name) ||
      map_get(&s->l->p->library, e->name))
    scope_note(s, d, e->at, "`%.*s` is a function; a value is what a call gives: %.*s(...)",
               STR_FMT(e->name), STR_FMT(e->name));
}

static value lower_name(scope *s, const expr *e) {
  const local *v = map_get(&s->locals, e->name);
  if (v) {
    value copy = v->v;
    copy.at = e->at;
    return copy;
  }
  const axis_set *pack = map_get(&s->packs, e->name);
  if (pack) return pack_size(s, pack, e->at);
  if (!find_axis(s, e->name)) return unknown_name(s, e), poison_at(e->at);
  int axis = need_axis(s, e->name, e->at);
  if (axis < 0) return poison_at(e->at);
  return const_value(constant_size(s, graph_axis_size(s->l->g, axis)), e->at);
}

// ---- expressions

static value misplaced(scope *s, const expr *e) {
  switch (e->kind) {
    case EXPR_TUPLE:
      scope_error(s, DIAG_tuple_misuse, e->at,
                  "a list of values can only be returned; here one value is needed");
      break;
    case EXPR_REST:
      scope_error(s, DIAG_rest_misuse, e->at, "`..` stands for axes; a value is needed here");
      break;
    case EXPR_NAMED:
      scope_error(s, DIAG_unknown_option, e->name_at, "`%.*s = ` has no meaning here",
                  STR_FMT(e->name));
      break;
    default:
      scope_error(s, DIAG_view_form, e->at,
                  "`->` and `:` belong in views: x[S -> T], x[D = 0:4 -> E]");
  }
  return poison_at(e->at);
}

static value lower_kind(scope *s, const expr *e) {
  switch (e->kind) {
    case EXPR_POISON: return s->l->errors++, poison_at(e->at);
    case EXPR_INT: return const_value(constant_int(s, (uint64_t)e->integer), e->at);
    case EXPR_FLOAT: return const_value(constant_float(s, e->number), e->at);
    case EXPR_BOOL:
      return node_value(graph_const(s->l->g, DT_bool, (scalar){.i = e->integer}), e->at);
    case EXPR_NAME: return lower_name(s, e);
    case EXPR_UNARY: return lower_unary(s, e);
    case EXPR_BINARY: return lower_binary(s, e);
    case EXPR_CAST:
      if (e->nargs == 1) return lower_cast(s, lower_expr(s, e->args[0]), e->type, e->at);
      scope_error(s, DIAG_argument_count, e->at, "a conversion takes one value, not %d", e->nargs);
      return poison_at(e->at);
    case EXPR_VIEW: return lower_view(s, e);
    case EXPR_CALL: return lower_call(s, e);
    default: return misplaced(s, e);
  }
}

static value limit_error(scope *s, const expr *e, int code, const char *what, int limit) {
  if (limit) scope_error(s, code, e->at, "%s; the limit is %d", what, limit);
  else scope_error(s, code, e->at, "%s", what);
  s->l->stopped = true;
  return poison_at(e->at);
}

void stamp_nodes(lowerer *l, span at) {
  for (; l->stamped < l->g->nodes.len; l->stamped++) l->g->nodes.data[l->stamped]->at = at;
}

value lower_expr(scope *s, const expr *e) {
  lowerer *l = s->l;
  if (l->stopped) return poison_at(e->at);
  if (l->depth >= MAX_EVAL_DEPTH)
    return limit_error(s, e, DIAG_inline_depth, "expressions are nested too deep through calls",
                       MAX_EVAL_DEPTH);
  l->depth++;
  value v = lower_kind(s, e);
  l->depth--;
  // Operands have stamped their own nodes; what is new is of this expression.
  stamp_nodes(l, stamp_span(s, e->at));
  if (l->stopped || is_poison(v)) return poison_at(e->at);
  if (l->g->nodes.len > MAX_NODES)
    return limit_error(s, e, DIAG_too_large, "this function becomes too large after inlining",
                       MAX_NODES);
  if (l->g->ix.overflow)
    return limit_error(s, e, DIAG_too_large, "a size becomes too large to compute with", 0);
  return v;
}
