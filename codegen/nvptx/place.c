// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Where elements are: layouts to registers, index expressions to code, validity of registers.
#include "base/fault.h"
#include "codegen/nvptx/pending.h"

lval i32_of(ngen *g, int64_t v) { return emit_int(g->e->i32, v); }
lval i64_of(ngen *g, int64_t v) { return emit_int(g->e->i64, v); }

LLVMBasicBlockRef nv_block(ngen *g) {
  return LLVMAppendBasicBlockInContext(g->e->context, g->function, "");
}

lval nv_both(ngen *g, lval a, lval b) {
  if (!a || !b) return a ? a : b;
  return LLVMBuildAnd(g->e->builder, a, b, "");
}

lval nv_blend(ngen *g, lval ok, lval yes, lval no) {
  return ok ? LLVMBuildSelect(g->e->builder, ok, yes, no, "") : yes;
}

// ---- scopes of memoised values

int scope_open(ngen *g) { return g->memos.len; }

void scope_close(ngen *g, int mark) {
  while (g->memos.len > mark) g->memo_of.data[g->memos.data[--g->memos.len].e] = 0;
}

guard nv_guard(ngen *g, lval ok) {
  guard w = {.mark = scope_open(g)};
  if (!ok) return w;
  LLVMBasicBlockRef inside = nv_block(g);
  g->guards++;
  w.after = nv_block(g);
  LLVMBuildCondBr(g->e->builder, ok, inside, w.after);
  LLVMPositionBuilderAtEnd(g->e->builder, inside);
  return w;
}

void nv_guard_end(ngen *g, guard w) {
  if (!w.after) return;
  g->guards--;
  LLVMBuildBr(g->e->builder, w.after);
  LLVMPositionBuilderAtEnd(g->e->builder, w.after);
  scope_close(g, w.mark);
}

// ---- roots and expressions

ix nv_root(ngen *g, lval value, int64_t scale, ix size) {
  vec_push(g->arena, &g->roots, (root){value, scale});
  int axis = g->first_root + g->roots.len - 1;
  ix_set_axis(&g->ix, axis, size);
  return ix_scale(&g->ix, ix_axis(&g->ix, axis), scale);
}

static lval as_type(ngen *g, lval v, LLVMTypeRef type) {
  LLVMTypeRef from = LLVMTypeOf(v);
  if (from == type) return v;
  return type == g->e->i64 ? LLVMBuildSExt(g->e->builder, v, type, "")
                           : LLVMBuildTrunc(g->e->builder, v, type, "");
}

static lval build_value(ngen *g, ix e, LLVMTypeRef type);

static lval value_as(ngen *g, ix e, LLVMTypeRef type) { return as_type(g, nv_ix(g, e), type); }

static lval symbol_value(ngen *g, str name) {
  for (int i = 0; i < g->program->symbols.len; i++)
    if (str_eq(g->program->symbols.data[i], name)) return g->symbols[i];
  panic("no size symbol %.*s in program %.*s", STR_FMT(name), STR_FMT(g->program->name));
}

static root *root_of(ngen *g, ix e) {
  int axis;
  if (!ix_is_axis(&g->ix, e, &axis)) return NULL;
  check(axis >= g->first_root);  // an axis that is not open
  return &g->roots.data[axis - g->first_root];
}

/// coef * product of atoms; a root is used unscaled where coef allows it.
static lval term_value(ngen *g, ix_term t, LLVMTypeRef type) {
  LLVMBuilderRef b = g->e->builder;
  int64_t coef = t.coef;
  lval product = NULL;
  bool unscaled = false;
  for (int i = 0; i < t.natoms; i++) {
    root *r = root_of(g, t.atoms[i]);
    bool direct = r && !unscaled && coef % r->scale == 0;
    if (direct) coef /= r->scale;
    if (direct) unscaled = true;
    lval f = direct ? as_type(g, r->value, type) : value_as(g, t.atoms[i], type);
    product = product ? LLVMBuildNSWMul(b, product, f, "") : f;
  }
  if (!product) return emit_int(type, coef);
  return coef == 1 ? product : LLVMBuildNSWMul(b, product, emit_int(type, coef), "");
}

/// Rounds down; a divisor of 0, of code that nothing needs then, counts as 1.
static lval floor_div(ngen *g, const ix_node *n, LLVMTypeRef type) {
  LLVMBuilderRef b = g->e->builder;
  lval x = value_as(g, n->a, type), y = value_as(g, n->b, type);
  bool mod = n->kind == IX_MOD;
  if (ix_bounds(&g->ix, n->b).min < 1) {
    lval none = LLVMBuildICmp(b, LLVMIntSLT, y, emit_int(type, 1), "");
    y = LLVMBuildSelect(b, none, emit_int(type, 1), y, "");
  }
  if (ix_bounds(&g->ix, n->a).min >= 0)
    return mod ? LLVMBuildURem(b, x, y, "") : LLVMBuildUDiv(b, x, y, "");
  lval r = LLVMBuildSRem(b, x, y, "");
  lval below = LLVMBuildICmp(b, LLVMIntSLT, r, LLVMConstNull(type), "");
  if (mod) return LLVMBuildAdd(b, r, LLVMBuildSelect(b, below, y, LLVMConstNull(type), ""), "");
  return LLVMBuildAdd(b, LLVMBuildSDiv(b, x, y, ""), LLVMBuildSExt(b, below, type, ""), "");
}

static lval build_value(ngen *g, ix e, LLVMTypeRef type) {
  LLVMBuilderRef b = g->e->builder;
  ix_node n = *ix_get(&g->ix, e);
  switch (n.kind) {
    case IX_CONST: return emit_int(type, n.value);
    case IX_SYM: return as_type(g, symbol_value(g, n.name), type);
    case IX_AXIS: {
      root r = *root_of(g, e);
      lval v = as_type(g, r.value, type);
      return r.scale == 1 ? v : LLVMBuildExactUDiv(b, v, emit_int(type, r.scale), "");
    }
    case IX_SUM: {
      // The constant last and apart, so that expressions that differ in it share the rest.
      ix_term last = n.terms[n.nterms - 1];
      if (last.natoms == 0 && n.nterms > 1) {
        lval rest = value_as(g, ix_sub(&g->ix, e, ix_const(&g->ix, last.coef)), type);
        return LLVMBuildNSWAdd(b, rest, emit_int(type, last.coef), "");
      }
      lval sum = NULL;
      for (int t = 0; t < n.nterms; t++) {
        lval term = term_value(g, n.terms[t], type);
        sum = sum ? LLVMBuildNSWAdd(b, sum, term, "") : term;
      }
      return sum;
    }
    case IX_DIV:
    case IX_MOD: {
      bool narrow = ix_bounds_fit(&g->ix, n.a) && ix_bounds_fit(&g->ix, n.b);
      return as_type(g, floor_div(g, &n, narrow ? g->e->i32 : g->e->i64), type);
    }
    case IX_NONE: break;
  }
  panic("index expression without a value");
}

/// Whether the expression and all its terms can be computed in 32 bits.
static bool narrow(ngen *g, ix e) {
  if (!ix_bounds_fit(&g->ix, e)) return false;
  ix_node n = *ix_get(&g->ix, e);
  for (int t = 0; n.kind == IX_SUM && t < n.nterms; t++) {
    ix term = ix_const(&g->ix, n.terms[t].coef);
    for (int i = 0; i < n.terms[t].natoms; i++) term = ix_mul(&g->ix, term, n.terms[t].atoms[i]);
    if (!ix_bounds_fit(&g->ix, term)) return false;
  }
  return true;
}

lval nv_ix(ngen *g, ix e) {
  while (g->memo_of.len <= (int)e) vec_push(g->arena, &g->memo_of, 0);
  if (g->memo_of.data[e]) return g->memos.data[g->memo_of.data[e] - 1].value;
  lval v = build_value(g, e, narrow(g, e) ? g->e->i32 : g->e->i64);
  if (LLVMIsConstant(v)) return v;
  while (g->memo_of.len <= (int)e) vec_push(g->arena, &g->memo_of, 0);
  vec_push(g->arena, &g->memos, (memo){e, v});
  g->memo_of.data[e] = g->memos.len;
  return v;
}

lval nv_ix64(ngen *g, ix e) { return as_type(g, nv_ix(g, e), g->e->i64); }
lval nv_ix32(ngen *g, ix e) { return as_type(g, nv_ix(g, e), g->e->i32); }

// ---- layouts

static lval thread_digit(ngen *g, layout_digit d) {
  LLVMBuilderRef b = g->e->builder;
  lval v = g->tid;
  if (d.stride > 1) v = LLVMBuildUDiv(b, v, i32_of(g, d.stride), "");
  if (d.stride * d.size < kernel_tile_threads(g->k)) v = LLVMBuildURem(b, v, i32_of(g, d.size), "");
  return v;
}

static bool is_of_cluster(const ngen *g, layout_digit d) { return d.stride >= g->k->threads; }

static int blocks_of(const ngen *g, const axis_layout *l) {
  int n = 1;
  for (int d = 0; d < l->ndigits; d++)
    if (is_of_cluster(g, l->digits[d])) n *= l->digits[d].size;
  return n;
}

/// Bits of the thread number; of the topmost digit, whose size may be any, up to the last thread's.
static unsigned bits_of(layout_digit d) {
  unsigned first = (unsigned)d.stride, end = first;
  while (end < first * (unsigned)d.size) end *= 2;
  return end - first;
}

/// The thread's first position and, by register, those relative to it; `local`: as if the digits of
/// the cluster's blocks were not there.
static ix spread_digits(ngen *g, spread *s, int **pos, bool local) {
  int weight = 1, below = 1, most = 0;
  int64_t scale = 0;
  lval sum = NULL;
  *pos = arena_array(g->arena, int, s->nregs);
  for (int d = 0; d < s->layout->ndigits; d++) {
    layout_digit digit = s->layout->digits[d];
    if (local && is_of_cluster(g, digit)) continue;
    if (digit.stride) {
      lval part = thread_digit(g, digit);
      if (weight > 1) part = LLVMBuildNSWMul(g->e->builder, part, i32_of(g, weight), "");
      sum = sum ? LLVMBuildNSWAdd(g->e->builder, sum, part, "") : part;
      scale = ix_gcd(scale, weight);
      most += weight * (digit.size - 1);
      s->threads |= bits_of(digit);
    } else {
      for (int i = 0; i < s->nregs; i++) (*pos)[i] += i / below % digit.size * weight;
      below *= digit.size;
    }
    weight *= digit.size;
  }
  check(local || weight == s->extent);
  if (!sum) return ix_const(&g->ix, 0);
  return nv_root(g, sum, scale, ix_const(&g->ix, most / scale + 1));
}

static spread *spread_new(ngen *g, int axis, int extent, const axis_layout *l) {
  spread *s = arena_new(g->arena, spread);
  *s = (spread){.axis = axis, .extent = extent, .nregs = 1, .run = 1, .layout = l};
  if (!l) {
    s->nregs = s->run = extent;
    s->pos = s->pos_local = arena_array(g->arena, int, extent);
    for (int i = 0; i < extent; i++) s->pos[i] = i;
    s->first = s->first_local = ix_const(&g->ix, 0);
    return s;
  }
  for (int d = 0; d < l->ndigits; d++)
    if (!l->digits[d].stride) s->nregs *= l->digits[d].size;
  if (!l->digits[0].stride) s->run = l->digits[0].size;
  s->first = spread_digits(g, s, &s->pos, false);
  s->pos_local = s->pos;
  s->first_local = s->first;
  if (blocks_of(g, l) > 1) s->first_local = spread_digits(g, s, &s->pos_local, true);
  return s;
}

/// The thread's parts are computed at the start of the function.
void ngen_open(ngen *g) {
  const kernel *k = g->k;
  check(k->layouts.len <= MOST_LAYOUTS);
  for (int i = 0; i < k->layouts.len; i++)
    for (int j = 0; j < k->layouts.data[i].axes.len; j++) {
      const axis_layout *l = &k->layouts.data[i].axes.data[j];
      vec_push(g->arena, &g->spreads[i], spread_new(g, l->axis, l->extent, l));
    }
}

const spread *spread_of(ngen *g, int axis, int extent) {
  for (int i = 0; i < g->spreads[g->layout].len; i++) {
    spread *s = g->spreads[g->layout].data[i];
    if (s->axis == axis && s->extent == extent) return s;
  }
  spread *s = spread_new(g, axis, extent, NULL);
  vec_push(g->arena, &g->spreads[g->layout], s);
  return s;
}

shape nv_shape_of_axes(ngen *g, const int *axes, const int *extents, int naxes) {
  shape s = {.naxes = naxes, .nregs = 1};
  for (int i = 0; i < naxes; i++) {
    s.axes[i] = axes[i];
    s.on[i] = spread_of(g, axes[i], extents[i]);
    s.nregs *= s.on[i]->nregs;
  }
  return s;
}

shape nv_shape_of(ngen *g, const tval *t) { return nv_shape_of_axes(g, t->axes, t->extents, t->naxes); }

void nv_enter(ngen *g, const shape *s, int r) {
  for (int i = s->naxes - 1; i >= 0; i--) {
    g->at[s->axes[i]] = r % s->on[i]->nregs;
    r /= s->on[i]->nregs;
  }
}

lval *nv_define(ngen *g, const tval *t) {
  shape s = nv_shape_of(g, t);
  g->in_flight[t->id] = NULL;
  return g->regs[t->id] = arena_array(g->arena, lval, s.nregs);
}

lval nv_at(ngen *g, const tval *t) {
  check(g->regs[t->id]);
  flight_land(g, t);
  int r = 0;
  for (int i = 0; i < t->naxes; i++)
    r = r * spread_of(g, t->axes[i], t->extents[i])->nregs + g->at[t->axes[i]];
  lval v = g->regs[t->id][r];
  return v ? v : lazy_at(g, t, r);
}

ix nv_coordinate(ngen *g, int axis) {
  const range *r = g->ranges[axis];
  check(r);
  const spread *s = spread_of(g, axis, r->extent);
  ix inside = ix_add(&g->ix, s->first, ix_const(&g->ix, s->pos[g->at[axis]]));
  return ix_add(&g->ix, r->base, inside);
}

ix nv_local_coordinate(ngen *g, int axis) {
  const range *r = g->ranges[axis];
  check(r);
  const spread *s = spread_of(g, axis, r->extent);
  ix inside = ix_add(&g->ix, s->first_local, ix_const(&g->ix, s->pos_local[g->at[axis]]));
  return ix_add(&g->ix, r->base, inside);
}

int nv_blocks_along(const ngen *g, int axis, int extent) {
  if (!g->k->cluster) return 1;
  const axis_layout *l = thread_layout_find(&g->k->layouts.data[g->layout], axis, extent);
  return l ? blocks_of(g, l) : 1;
}

unsigned nv_bits_of_blocks(const ngen *g) {
  return g->k->cluster ? (unsigned)((g->k->cluster - 1) * g->k->threads) : 0;
}

bool nv_axis_alive(ngen *g, int axis, int extent, lval *ok) {
  LLVMBuilderRef b = g->e->builder;
  const range *r = g->ranges[axis];
  if (!r || r->extent != extent || r->whole) return true;
  ix c = nv_coordinate(g, axis), left = ix_sub(&g->ix, g->k->axes.data[axis].size, c);
  ix_range above = ix_bounds(&g->ix, left), below = ix_bounds(&g->ix, c);
  int64_t size;
  if (r->early && ix_is_const(&g->ix, g->k->axes.data[axis].size, &size)) {
    ix_range inside = ix_bounds(&g->ix, ix_sub(&g->ix, c, r->base));
    below = (ix_range){inside.min + r->least, inside.max + r->most};
    above = (ix_range){size - below.max, size - below.min};
  }
  if (above.max <= 0 || below.max < 0) return false;
  // Tests that a loop inside would keep in registers are rather made anew in every step.
  if (above.min <= 0) {
    lval v = nv_ix(g, left);
    if (r->hidden && LLVMTypeOf(v) == g->e->i32) v = LLVMBuildNSWAdd(b, v, r->hidden, "");
    *ok = nv_both(g, *ok, LLVMBuildICmp(b, LLVMIntSGT, v, LLVMConstNull(LLVMTypeOf(v)), ""));
  }
  if (below.min < 0) {  // a range that starts early, see loop.c
    lval v = nv_ix(g, c);
    if (r->hidden && LLVMTypeOf(v) == g->e->i32) v = LLVMBuildNSWAdd(b, v, r->hidden, "");
    *ok = nv_both(g, *ok, LLVMBuildICmp(b, LLVMIntSGE, v, LLVMConstNull(LLVMTypeOf(v)), ""));
  }
  return true;
}

bool nv_alive(ngen *g, const shape *s, lval *ok) {
  for (int i = 0; i < s->naxes; i++)
    if (!nv_axis_alive(g, s->axes[i], s->on[i]->extent, ok)) return false;
  return true;
}

unsigned shape_threads(const shape *s) {
  unsigned bits = 0;
  for (int i = 0; i < s->naxes; i++) bits |= s->on[i]->threads;
  return bits;
}

lval is_first_replica(ngen *g, unsigned threads) {
  unsigned all = 1;
  while ((int)all < kernel_tile_threads(g->k)) all *= 2;
  unsigned rest = (all - 1) & ~threads;
  if (!rest) return NULL;
  lval bits = LLVMBuildAnd(g->e->builder, g->tid, i32_of(g, rest), "");
  return LLVMBuildICmp(g->e->builder, LLVMIntEQ, bits, i32_of(g, 0), "");
}
