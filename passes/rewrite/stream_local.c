// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Under `fuse stream(T)`, before sums are taken apart: what makes operands what lies in memory, and
// equal programs equal, by rules that look at one value at a time.
//
//   %a = bf16(%q * 0.3)                          %d = dot %q, %k over D
//   %b = bf16(%k * 0.3)                          %s = %d * 0.09                        scales
//   %s = dot %a, %b over D            ──▶
//   %r = f32(bf16(%s))                           %r = %s                               excess_precision
//   %y = %x * 0.3 / 20                           %y = %x * 0.015                       constant_factors
//   %t = tanh(%x), of an exponent                %t = 2 * sigmoid(2 * %x) - 1          caps
//   %m = where(%c, %s, -1e30)                    %m = where(%c, %s, -inf)              stands_for_infinity
//
// With --exact-casts no rounding drops out.
#include <math.h>

#include "passes/rewrite/rewrite.h"

typedef struct local {
  unsigned off;
  // Of the nodes there were, by id:
  int count;
  ints *readers;
  uint8_t *returned;
  uint8_t *jumps;    // what is made of it may change much where it changes by a rounding
  uint8_t *widened;  // it is only ever widened, and what jumps does not follow
  // It is for exponents and what is taken from them: far below (or above) others it does not count.
  uint8_t *low, *high;
  uint8_t *exponent;  // it is for exponents and what is taken from them, multiplied by 100 at most
  uint8_t *wide;      // by contract: it has results that are not of 16 bits
  uint8_t *masked;  // it is a number that stands for -inf, or -inf, where a condition says so
} local;

/// The streaming contract that n is under; null none.
static contract *contract_of(const graph *g, const node *n) {
  contract *c = n->contract ? &g->contracts.data[n->contract - 1] : NULL;
  return c && c->streamed ? c : NULL;
}

static node *applied(const rewrite *r, const node *n, unsigned rule, node *to) {
  contract_of(r->g, n)->rules |= rule;
  return to;
}

static bool has_any(const node *n, const int *axes, int naxes) {
  for (int i = 0; i < naxes; i++)
    if (node_has_axis(n, axes[i])) return true;
  return false;
}

static bool is_number(const node *n) { return !n->naxes && dtype_is_float(n->type); }

static bool is_rounding(const node *n) {
  return n->op == OP_cast && dtype_is_float(n->type) && dtype_is_float(n->in[0]->type) &&
         !dtype_cast_is_exact(n->in[0]->type, n->type);
}

static bool is_widening(const node *n) {
  return n->op == OP_cast && dtype_is_float(n->in[0]->type) &&
         dtype_cast_is_exact(n->in[0]->type, n->type);
}

// ---- scales

/// The float x without its scale, which *by becomes, where a condition may select it from 0; null: it has none.
static node *take_computed_scale(const rewrite *r, node *x, node **by, op *how) {
  double zero;
  if (!rewrite_used_once(r, x) || !dtype_is_float(x->type)) return NULL;
  if (x->op == OP_where && node_is_const(x->in[2], &zero) && zero == 0) {
    node *of = take_computed_scale(r, x->in[1], by, how);
    return of ? graph_where(r->g, x->in[0], of, x->in[2]) : NULL;
  }
  if (x->op != OP_mul && x->op != OP_div) return NULL;
  int k = x->op == OP_mul && is_number(x->in[0]) ? 0 : 1;
  if (!is_number(x->in[k]) || is_number(x->in[1 - k])) return NULL;
  *by = x->in[k];
  *how = x->op;
  return x->in[1 - k];
}

/// x without its scale, which *by becomes; x: it has none.
static node *take_scale(const rewrite *r, node *x, node **by, op *how) {
  const local *l = r->state;
  bool rounds = is_rounding(x);
  node *of = rounds ? x->in[0] : x;
  if (rounds && l->off & RULE_roundings) return x;
  if ((of->op == OP_mul || of->op == OP_div) && dtype_is_float(of->type)) {
    int k = of->op == OP_mul && is_number(of->in[0]) ? 0 : 1;
    node *rest = of->in[1 - k];
    bool number = is_number(of->in[k]) && !is_number(rest);
    if (number && (!rounds || (rest->op == OP_cast && rest->in[0]->type == x->type))) {
      *by = of->in[k];
      *how = of->op;
      return rounds ? rest->in[0] : rest;
    }
  }
  // The range of bf16 is that of f32: what is computed is rounded as well without its scale.
  bool wide = rounds && x->type == DT_bf16 && of->type == DT_f32 && rewrite_used_once(r, x);
  node *rest = wide ? take_computed_scale(r, of, by, how) : NULL;
  if (!rest) return x;
  bool narrow = rest->op == OP_cast && rest->in[0]->type == x->type;
  return narrow ? rest->in[0] : graph_cast(r->g, rest, x->type);
}

/// Numbers that scale an operand of a product scale the product.
static node *scaled_product(const rewrite *r, node *n) {
  graph *g = r->g;
  node *in[2], *by[2] = {NULL, NULL};
  op how[2];
  if (n->op != OP_dot || !dtype_is_float(n->type) || !contract_of(g, n)) return n;
  for (int k = 0; k < 2; k++) in[k] = take_scale(r, n->in[k], &by[k], &how[k]);
  if (!by[0] && !by[1]) return n;
  node *to = graph_dot(g, in[0], in[1], n->attr_axes, n->nattr_axes);
  if (to->type != n->type || !node_same_axis_set(to, n)) return n;
  double x, y;
  if (by[0] && by[1] && how[0] == OP_mul && how[1] == OP_mul && node_is_const(by[0], &x) &&
      node_is_const(by[1], &y)) {
    by[0] = graph_const_float(g, to->type, x * y);
    by[1] = NULL;
  }
  for (int k = 0; k < 2; k++) {
    if (!by[k]) continue;
    node *scale = by[k]->type == to->type ? by[k] : graph_cast(g, by[k], to->type);
    to = graph_binary(g, how[k], to, scale);
  }
  return applied(r, n, RULE_scales, to);
}

// ---- constant factors

/// x * c or x / c; *by is c or its inverse. Null: it is neither.
static node *constant_factor(const node *n, double *by) {
  double c;
  if (n->op != OP_mul && n->op != OP_div) return NULL;
  int k = n->op == OP_mul && n->in[0]->op == OP_const ? 0 : 1;
  if (!dtype_is_float(n->type) || !node_is_const(n->in[k], &c) || n->in[1 - k]->op == OP_const) return NULL;
  *by = n->op == OP_mul ? c : 1 / c;
  return n->in[1 - k];
}

/// Constant factors and divisors of a value along the stream are one factor.
static node *constant_factors(const rewrite *r, node *n) {
  const contract *c = contract_of(r->g, n);
  const local *l = r->state;
  double by, more;
  node *x = c && n->id < l->count && !l->jumps[n->id] ? constant_factor(n, &by) : NULL;
  if (!x || !has_any(n, c->axes, c->naxes)) return n;
  node *y = x->contract == n->contract && rewrite_used_once(r, x) ? constant_factor(x, &more) : NULL;
  if (y) by *= more, x = y;
  else if (n->op != OP_div) return n;
  bool normal = n->type == DT_f64 ? isnormal(by) : isnormal((float)by);
  if (!normal || !node_same_axis_set(x, n)) return n;
  node *factor = graph_const_float(r->g, n->type, by);
  return applied(r, n, RULE_constant_factors, graph_binary(r->g, OP_mul, x, factor));
}

// ---- excess precision

/// Nothing else reads the value.
static bool is_alone(const local *l, const node *n) {
  return n->id < l->count && l->readers[n->id].len == 1 && !l->returned[n->id];
}

/// The value, or what is made of it along the stream, is a result: its rounding shows.
static bool shows(const rewrite *r, const node *n, const contract *c, int depth) {
  const local *l = r->state;
  if (n->id >= l->count || l->returned[n->id] || !depth) return true;
  for (int i = 0; i < l->readers[n->id].len; i++) {
    const node *user = r->g->nodes.data[l->readers[n->id].data[i]];
    bool combined = false;
    for (int k = 0; k < user->nattr_axes && op_get(user->op)->class != CLASS_scan; k++)
      combined |= axes_have(c->axes, c->naxes, user->attr_axes[k]);
    if (!combined && shows(r, user, c, depth - 1)) return true;
  }
  return false;
}

/// All that the value is for is to be added up along the stream.
static bool is_only_summed(const rewrite *r, const node *n, const contract *c) {
  const local *l = r->state;
  if (l->returned[n->id]) return false;
  for (int i = 0; i < l->readers[n->id].len; i++) {
    const node *user = r->g->nodes.data[l->readers[n->id].data[i]];
    bool sum = user->op == OP_sum && user->contract == n->contract;
    for (int k = 0; sum && k < user->nattr_axes; k++)
      sum = axes_have(c->axes, c->naxes, user->attr_axes[k]);
    if (!sum) return false;
  }
  return true;
}

/// The 16-bit value x as it is before it is rounded; null: it has been that narrow from the start, or
/// something else reads what is rounded. `summed`: others may read x.
static node *unrounded(const rewrite *r, node *x, dtype type, bool summed, int depth) {
  const local *l = r->state;
  if (x->op == OP_const) return graph_const_float(r->g, type, x->value.f);
  if (!contract_of(r->g, x) || x->id >= l->count || l->returned[x->id]) return NULL;
  if (!summed && !l->widened[x->id]) return NULL;
  if (is_rounding(x)) return x->in[0]->type == type && is_alone(l, x->in[0]) ? x->in[0] : NULL;
  if (x->op != OP_where || !depth) return NULL;
  node *a = unrounded(r, x->in[1], type, summed, depth - 1);
  node *b = a ? unrounded(r, x->in[2], type, summed, depth - 1) : NULL;
  return b ? graph_where(r->g, x->in[0], a, b) : NULL;
}

/// A rounding that is widened again drops out.
static node *excess_precision(const rewrite *r, node *n) {
  enum { DEPTH = 4, FAR = 12 };  // of selections between; of what is made of it
  const contract *c = contract_of(r->g, n);
  const local *l = r->state;
  if (!c || n->id >= l->count || !is_widening(n) || !dtype_is_storage(n->in[0]->type) ||
      n->in[0]->op == OP_const || !has_any(n, c->axes, c->naxes) ||
      shows(r, n, c, FAR))
    return n;
  node *to = unrounded(r, n->in[0], n->type, is_only_summed(r, n, c), DEPTH);
  return to ? applied(r, n, RULE_excess_precision, to) : n;
}

/// Where n changes by a rounding, what `user` makes of it may change by more.
static bool jumps_at(const graph *g, const local *l, const node *user, const node *n) {
  const contract *c = contract_of(g, user);
  op_class class = op_get(user->op)->class;
  bool adds = user->op == OP_sum || user->op == OP_prod || class == CLASS_contraction;
  if (op_jumps(user->op)) {
    double v;  // but not away from infinity
    bool equal = user->op == OP_eq || user->op == OP_ne;
    return !equal || !node_is_const(user->in[user->in[0] == n], &v) || !isinf(v);
  }
  if (class == CLASS_opaque || (user->op == OP_cast && !dtype_is_float(user->type))) return true;
  // What is added up along the stream has the roundings of all of it.
  if (adds && c && axes_have(c->axes, c->naxes, user->attr_axes[0])) return false;
  return l->jumps[user->id];
}

// ---- finite numbers that stand for -inf

/// An integer as an index expression, where the streamed axis has coordinate `at`; 0: it is none.
static ix linear(graph *g, const node *n, int axis, ix at, int depth) {
  enum { LARGE = 1 << 30 };  // what is smaller does not wrap around
  int64_t v = n->value.i;
  if ((n->type != DT_i32 && n->type != DT_i64) || !depth) return 0;
  if (n->op == OP_const) return v > -LARGE && v < LARGE ? ix_const(&g->ix, v) : 0;
  if (n->op == OP_size) return n->index[0];
  if (n->op == OP_index) return n->attr_axes[0] == axis ? at : ix_axis(&g->ix, n->attr_axes[0]);
  if (n->op != OP_cast && n->op != OP_add && n->op != OP_sub) return 0;
  ix x = linear(g, n->in[0], axis, at, depth - 1);
  if (n->op == OP_cast || !x) return x;
  ix y = linear(g, n->in[1], axis, at, depth - 1);
  return !y ? 0 : n->op == OP_add ? ix_add(&g->ix, x, y) : ix_sub(&g->ix, x, y);
}

/// The condition holds for every row at coordinate `at` of the streamed axis.
static bool holds(graph *g, const node *c, bool negated, int axis, ix at, int depth) {
  if (!depth || c->type != DT_bool) return false;
  if (c->op == OP_not) return holds(g, c->in[0], !negated, axis, at, depth - 1);
  if (c->op == OP_and || c->op == OP_or) {
    bool x = holds(g, c->in[0], negated, axis, at, depth - 1);
    bool both = (c->op == OP_and) != negated;
    return x == both ? holds(g, c->in[1], negated, axis, at, depth - 1) : x;
  }
  if (c->op != OP_lt && c->op != OP_le && c->op != OP_gt && c->op != OP_ge) return false;
  ix x = linear(g, c->in[0], axis, at, depth), y = linear(g, c->in[1], axis, at, depth);
  if (!x || !y) return false;
  bool greater = (c->op == OP_gt || c->op == OP_ge) != negated;
  bool strict = (c->op == OP_lt || c->op == OP_gt) != negated;
  ix less = greater ? y : x, more = greater ? x : y;
  return ix_known_le(&g->ix, ix_add(&g->ix, less, ix_const(&g->ix, strict)), more);
}

/// Every row has an element along the axis for which the condition holds, if it has any element: the first,
/// the last, or that of its own coordinate.
static bool holds_somewhere(graph *g, const node *c, bool negated, int axis) {
  enum { DEPTH = 8 };
  ix size = graph_axis_size(g, axis), one = ix_const(&g->ix, 1);
  if (holds(g, c, negated, axis, ix_const(&g->ix, 0), DEPTH)) return true;
  if (holds(g, c, negated, axis, ix_sub(&g->ix, size, one), DEPTH)) return true;
  for (int k = 0; k < c->naxes; k++)
    if (c->axes[k] != axis && graph_axis_size(g, c->axes[k]) == size &&
        holds(g, c, negated, axis, ix_axis(&g->ix, c->axes[k]), DEPTH))
      return true;
  return false;
}

static bool is_far_below(const node *n) {
  double v;
  return node_is_const(n, &v) && v < -1e29;
}

/// Through maps of n's type.
static bool is_masked(const local *l, const node *n) {
  bool any = n->op == OP_where && (is_far_below(n->in[1]) || is_far_below(n->in[2]));
  for (int k = 0; k < n->nin && (op_is_map(n->op) || n->op == OP_view); k++)
    any |= l->masked[n->in[k]->id];
  return any;
}

/// What reads n, which is far below (high: above) others, is for exponents only.
static bool is_exponent_of(const graph *g, const local *l, const node *user, const node *n,
                           bool high) {
  const contract *c = contract_of(g, user);
  double by = 0;
  bool same = high ? l->high[user->id] : l->low[user->id],
       other = high ? l->low[user->id] : l->high[user->id];
  if (!c || c->naxes != 1 || user->contract != n->contract) return false;
  switch (user->op) {
    case OP_exp:
    case OP_exp2: return !high;
    case OP_reduce_max: return !high && user->nattr_axes == 1 && user->attr_axes[0] == c->axes[0];
    case OP_reduce_min: return high && user->nattr_axes == 1 && user->attr_axes[0] == c->axes[0];
    case OP_cast: return dtype_is_float(user->type) && same;
    case OP_neg: return other;
    case OP_add:
    case OP_sub:  // of two masks that are added both may hide all of a row
      if (l->masked[user->in[user->in[0] == n]->id]) return false;
      return user->op == OP_add || user->in[0] == n ? same : other;
    case OP_mul:
    case OP_div:
      return constant_factor(user, &by) == n && fabs(by) >= 1e-6 && (by > 0 ? same : other);
    default: return false;
  }
}

// ---- caps

/// What reads n is for exponents, in which errors count by their size alone.
static bool is_in_exponent(const graph *g, const local *l, const node *user, const node *n) {
  const contract *c = contract_of(g, user);
  bool same = l->exponent[user->id];
  double by;
  if (!c || user->contract != n->contract || dtype_is_float(user->type) != (user->op != OP_eq))
    return false;
  switch (user->op) {
    case OP_exp:
    case OP_exp2: return true;
    case OP_reduce_max:
    case OP_reduce_min: return axes_have(c->axes, c->naxes, user->attr_axes[0]) && same;
    case OP_add:
    case OP_sub:
    case OP_neg:
    case OP_where:
    case OP_cast:
    case OP_view: return same;
    case OP_mul:
    case OP_div: return constant_factor(user, &by) == n && fabs(by) <= 100 && same;
    case OP_eq: return node_is_const(user->in[user->in[0] == n], &by) && isinf(by);
    default: return false;
  }
}

/// On GPUs a sigmoid is half of a tanh, which has to be right near 0 as well; results are of 16 bits.
static node *caps(const rewrite *r, node *n) {
  graph *g = r->g;
  const contract *c = contract_of(g, n);
  const local *l = r->state;
  if (!c || n->op != OP_tanh || n->type != DT_f32 || n->id >= l->count || !l->exponent[n->id] ||
      l->wide[n->contract] || !has_any(n, c->axes, c->naxes))
    return n;
  node *two = graph_const_float(g, n->type, 2), *one = graph_const_float(g, n->type, 1);
  node *s = graph_unary(g, OP_sigmoid, graph_binary(g, OP_mul, n->in[0], two));
  return applied(r, n, RULE_caps, graph_binary(g, OP_sub, graph_binary(g, OP_mul, s, two), one));
}

/// where(c, x, -1e30) of an exponent is where(c, x, -inf), if every row has an x.
static node *stands_for_infinity(const rewrite *r, node *n) {
  const contract *c = contract_of(r->g, n);
  const local *l = r->state;
  double v;
  if (!c || n->op != OP_where || n->id >= l->count || !l->low[n->id] ||
      !node_has_axis(n, c->axes[0]))
    return n;
  for (int k = 1; k < 3; k++) {
    bool stands = node_is_const(n->in[k], &v) && v <= -1e30 && !isinf(v);
    if (!stands || is_far_below(n->in[3 - k]) || l->masked[n->in[3 - k]->id]) continue;
    if (!holds_somewhere(r->g, n->in[0], k == 1, c->axes[0])) continue;
    node *in[] = {n->in[0], n->in[1], n->in[2]};
    in[k] = graph_const_float(r->g, n->type, -INFINITY);
    return applied(r, n, RULE_stands_for_infinity, graph_where(r->g, in[0], in[1], in[2]));
  }
  return n;
}

// ---- the rules

static void find_readers(const graph *g, local *l, arena *a) {
  l->count = g->nodes.len;
  l->readers = arena_array(a, ints, l->count);
  l->returned = arena_array(a, uint8_t, l->count);
  l->jumps = arena_array(a, uint8_t, l->count);
  l->widened = arena_array(a, uint8_t, l->count);
  l->low = arena_array(a, uint8_t, l->count);
  l->high = arena_array(a, uint8_t, l->count);
  l->exponent = arena_array(a, uint8_t, l->count);
  l->wide = arena_array(a, uint8_t, g->contracts.len + 1);
  l->masked = arena_array(a, uint8_t, l->count);
  for (int k = 0; k < g->outputs.len; k++) l->returned[g->outputs.data[k].value->id] = 1;
  for (int id = 0; id < l->count; id++) {
    for (int k = 0; k < g->nodes.data[id]->nin; k++)
      vec_push(a, &l->readers[g->nodes.data[id]->in[k]->id], id);
    l->masked[id] = is_masked(l, g->nodes.data[id]);
  }
  for (int id = l->count - 1; id >= 0; id--) {
    const node *n = g->nodes.data[id];
    l->widened[id] = l->low[id] = l->high[id] = l->exponent[id] = !l->returned[id];
    l->wide[n->contract] |= l->returned[id] && !dtype_is_storage(n->type);
    for (int i = 0; i < l->readers[id].len; i++) {
      const node *user = g->nodes.data[l->readers[id].data[i]];
      l->wide[n->contract] |= user->contract != n->contract && !dtype_is_storage(n->type);
      l->jumps[id] |= jumps_at(g, l, user, n);
      l->low[id] &= is_exponent_of(g, l, user, n, false);
      l->high[id] &= is_exponent_of(g, l, user, n, true);
      l->exponent[id] &= is_in_exponent(g, l, user, n);
      bool fits = is_widening(user) ? !l->jumps[user->id] : user->op == OP_where && l->widened[user->id];
      l->widened[id] &= fits && user->contract == n->contract;
    }
  }
}

bool stream_local(pass_ctx *ctx) {
  local l = {.off = rules_switched_off(ctx->options)};
  bool changed = !(l.off & RULE_scales) && rewrite_graph_once(ctx, scaled_product, &l);
  if (!(l.off & RULE_excess_precision)) {
    find_readers(ctx->graph, &l, ctx->scratch);
    changed |= rewrite_graph_once(ctx, excess_precision, &l);
  }
  if (!(l.off & RULE_caps) && ctx->options && ctx->options->target && ctx->options->target->sm) {
    find_readers(ctx->graph, &l, ctx->scratch);
    changed |= rewrite_graph_once(ctx, caps, &l);
  }
  if (!(l.off & RULE_constant_factors)) {
    do find_readers(ctx->graph, &l, ctx->scratch);
    while (rewrite_graph_once(ctx, constant_factors, &l) && (changed = true));
  }
  if (!(l.off & RULE_stands_for_infinity)) {
    find_readers(ctx->graph, &l, ctx->scratch);
    changed |= rewrite_graph_once(ctx, stands_for_infinity, &l);
  }
  return changed;
}
