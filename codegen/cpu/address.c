// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index expressions to LLVM values and addresses, loop-invariant code hoisted by construction.
//
//   x[6*m + i, k], strides [lda, 1]      base + i*lda        in the function's entry
//                                        ... + 6*lda*m       where the loop counter m exists
//                                        ... + k             where k exists
//
// A sum is split by the level of its terms and each part is emitted once, at its own level.
#include "base/fault.h"
#include "codegen/cpu/cpu.h"

lval int64(kgen *g, int64_t v) { return emit_int(g->e->i64, v); }

LLVMBasicBlockRef block_new(kgen *g) {
  return LLVMAppendBasicBlockInContext(g->e->context, g->function, "");
}

// ---- the generator

kgen kgen_open(emit *e, arena *a, const program *p, const kernel *k, lval function) {
  kgen g = {.e = e, .arena = a, .program = p, .k = k, .function = function};
  int naxes = k ? k->axes.len : 0;
  g.lanes = k ? k->vec_lanes : 1;
  g.vec_axis = g.lanes > 1 ? k->vec_axis : -1;
  ix_init(&g.ix, a);
  ix_copy_pool(&g.ix, k ? &k->ix : &p->ix);
  g.lane_axis = g.ix.axis_size.len > naxes ? g.ix.axis_size.len : naxes;
  ix_set_axis(&g.ix, g.lane_axis, ix_const(&g.ix, g.lanes));
  g.first_root = g.lane_axis + 1;
  g.ranges = arena_array(a, range *, naxes);
  g.coord = arena_array(a, int, naxes);
  g.place = arena_array(a, ix, naxes + 1);
  g.symbols = arena_array(a, lval, p->symbols.len);
  if (k) {
    g.regs = arena_array(a, lval *, k->nvals);
    g.bufs = arena_array(a, lval, k->bufs.len);
    g.locals = arena_array(a, local_place, k->bufs.len);
  }
  g.hoist = LLVMCreateBuilderInContext(e->context);
  LLVMPositionBuilderAtEnd(e->builder, block_new(&g));
  level_open(&g);
  return g;
}

void kgen_close(kgen *g) { LLVMDisposeBuilder(g->hoist); }

// ---- levels and roots

void level_open_at(kgen *g, LLVMBasicBlockRef anchor) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef body = block_new(g);
  LLVMBuildBr(b, body);
  LLVMPositionBuilderAtEnd(b, body);
  vec_push(g->arena, &g->levels, (level){anchor});
}

void level_open(kgen *g) {
  LLVMBasicBlockRef anchor = block_new(g);
  LLVMBuildBr(g->e->builder, anchor);
  LLVMPositionBuilderAtEnd(g->e->builder, anchor);
  level_open_at(g, anchor);
}

void level_close(kgen *g) { g->levels.len--; }

ix root_new(kgen *g, lval value, int64_t scale, int at, ix size) {
  vec_push(g->arena, &g->roots, (root){value, scale, at});
  int axis = g->first_root + g->roots.len - 1;
  ix_set_axis(&g->ix, axis, size);
  return ix_axis(&g->ix, axis);
}

LLVMBuilderRef level_builder(kgen *g, int at) {
  check(at < g->levels.len);
  LLVMPositionBuilderBefore(g->hoist, LLVMGetBasicBlockTerminator(g->levels.data[at].anchor));
  return g->hoist;
}

static memo *memo_of(kgen *g, ix e) {
  while (g->memos.len <= (int)e) vec_push(g->arena, &g->memos, (memo){0});
  return &g->memos.data[e];
}

static int ix_level(kgen *g, ix e) {
  if (memo_of(g, e)->level) return memo_of(g, e)->level - 1;
  const ix_node *n = ix_get(&g->ix, e);
  int at = 0;
#define RAISE(x) do { int at_ = ix_level(g, (x)); if (at_ > at) at = at_; } while (0)
  switch (n->kind) {
    case IX_AXIS:
      check(n->value >= g->first_root);  // an axis that is not open, or a lane
      at = g->roots.data[n->value - g->first_root].level;
      break;
    case IX_SUM:
      for (int t = 0; t < n->nterms; t++)
        for (int i = 0; i < n->terms[t].natoms; i++) RAISE(n->terms[t].atoms[i]);
      break;
    case IX_DIV:
    case IX_MOD:
      RAISE(n->a);
      RAISE(n->b);
      break;
    default: break;
  }
#undef RAISE
  memo_of(g, e)->level = at + 1;
  return at;
}

// ---- values

/// Programs have hundreds of symbols, and functions read some.
static lval symbol_value(kgen *g, str name) {
  int i = 0, n = g->program->symbols.len;
  while (i < n && !str_eq(g->program->symbols.data[i], name)) i++;
  if (i == n) panic("no size symbol %.*s in program %.*s", STR_FMT(name), STR_FMT(g->program->name));
  if (!g->symbols[i]) {
    LLVMBuilderRef b = level_builder(g, 0);
    lval at = int64(g, i);
    lval word = LLVMBuildGEP2(b, g->e->i64, g->symbol_words, &at, 1, "");
    g->symbols[i] = LLVMBuildLoad2(b, g->e->i64, word, "");
  }
  return g->symbols[i];
}

static root *root_of(kgen *g, ix e) {
  int axis;
  if (!ix_is_axis(&g->ix, e, &axis)) return NULL;
  return &g->roots.data[axis - g->first_root];
}

/// coef * product of atoms, at `at`. The first root is used unscaled when coef allows it:
/// (64 * s) with s = counter / 64 is the counter.
static lval term_value(kgen *g, ix_term t, int at) {
  lval factors[MAX_AXES * 2] = {0};
  int64_t coef = t.coef;
  bool unscaled = false;
  check(t.natoms <= MAX_AXES * 2);
  for (int i = 0; i < t.natoms; i++) {
    root *r = root_of(g, t.atoms[i]);
    bool direct = r && !unscaled && coef % r->scale == 0;
    if (direct) coef /= r->scale;
    if (direct) unscaled = true;
    factors[i] = direct ? r->value : ix_value(g, t.atoms[i]);
  }
  level_builder(g, at);
  lval product = t.natoms ? factors[0] : NULL;
  for (int i = 1; i < t.natoms; i++)
    product = LLVMBuildNSWMul(g->hoist, product, factors[i], "");
  if (!product) return int64(g, coef);
  return coef == 1 ? product : LLVMBuildNSWMul(g->hoist, product, int64(g, coef), "");
}

static ix ix_of_term(kgen *g, ix_term t) {
  ix product = ix_const(&g->ix, t.coef);
  for (int i = 0; i < t.natoms; i++) product = ix_mul(&g->ix, product, t.atoms[i]);
  return product;
}

/// Splits a sum: the terms of level `at` stay, the others are returned.
static ix split_lower(kgen *g, ix e, int at) {
  ix lower = ix_const(&g->ix, 0);
  ix_node n = *ix_get(&g->ix, e);
  if (n.kind != IX_SUM) return lower;
  for (int t = 0; t < n.nterms; t++) {
    ix term = ix_of_term(g, n.terms[t]);
    if (ix_level(g, term) < at) lower = ix_add(&g->ix, lower, term);
  }
  return lower;
}

static lval sum_value(kgen *g, ix e, int at) {
  ix lower = split_lower(g, e, at);
  lval sum = NULL;
  int64_t zero;
  bool none = ix_is_const(&g->ix, lower, &zero) && zero == 0;
  if (!none) {
    e = ix_sub(&g->ix, e, lower);
    sum = ix_value(g, lower);
  }
  ix_node n = *ix_get(&g->ix, e);
  if (n.kind != IX_SUM) {
    lval rest = ix_value(g, e);
    level_builder(g, at);
    return LLVMBuildNSWAdd(g->hoist, rest, sum, "");
  }
  for (int t = 0; t < n.nterms; t++) {
    lval term = term_value(g, n.terms[t], at);
    level_builder(g, at);
    sum = sum ? LLVMBuildNSWAdd(g->hoist, sum, term, "") : term;
  }
  return sum;
}

/// Floor division (or its remainder) on scalars or vectors. Hoisted code also runs where nothing
/// needs its value, with sizes of 0: a divisor of 0 counts as 1.
static lval floor_div(kgen *g, LLVMBuilderRef b, const ix_node *n, lval x, lval y) {
  bool mod = n->kind == IX_MOD;
  if (ix_bounds(&g->ix, n->b).min < 1) {
    lval none = LLVMBuildICmp(b, LLVMIntSLT, y, emit_int(LLVMTypeOf(y), 1), "");
    y = LLVMBuildSelect(b, none, emit_int(LLVMTypeOf(y), 1), y, "");
  }
  if (ix_bounds(&g->ix, n->a).min >= 0)
    return mod ? LLVMBuildURem(b, x, y, "") : LLVMBuildUDiv(b, x, y, "");
  lval zero = LLVMConstNull(LLVMTypeOf(x));
  lval r = LLVMBuildSRem(b, x, y, "");
  lval below = LLVMBuildICmp(b, LLVMIntSLT, r, zero, "");
  if (mod) return LLVMBuildAdd(b, r, LLVMBuildSelect(b, below, y, zero, ""), "");
  lval q = LLVMBuildSDiv(b, x, y, "");
  return LLVMBuildAdd(b, q, LLVMBuildSExt(b, below, LLVMTypeOf(x), ""), "");
}

static lval build_value(kgen *g, ix e, int at) {
  ix_node n = *ix_get(&g->ix, e);
  switch (n.kind) {
    case IX_CONST: return int64(g, n.value);
    case IX_SYM: return symbol_value(g, n.name);
    case IX_SUM: return sum_value(g, e, at);
    case IX_AXIS: {
      root r = *root_of(g, e);
      level_builder(g, at);
      return r.scale == 1 ? r.value : LLVMBuildExactUDiv(g->hoist, r.value, int64(g, r.scale), "");
    }
    case IX_DIV:
    case IX_MOD: {
      lval x = ix_value(g, n.a), y = ix_value(g, n.b);
      level_builder(g, at);
      return floor_div(g, g->hoist, &n, x, y);
    }
    case IX_NONE: break;
  }
  panic("index expression without a value");
}

lval ix_value(kgen *g, ix e) {
  if (memo_of(g, e)->value) return memo_of(g, e)->value;
  lval v = build_value(g, e, ix_level(g, e));
  memo_of(g, e)->value = v;
  return v;
}

// ---- values per lane

/// The value and everything computed on the way to it.
bool ix_fits_i32(kgen *g, ix e) {
  if (!ix_bounds_fit(&g->ix, e)) return false;
  ix_node n = *ix_get(&g->ix, e);
  if (n.kind == IX_DIV || n.kind == IX_MOD) return ix_fits_i32(g, n.a) && ix_fits_i32(g, n.b);
  for (int t = 0; n.kind == IX_SUM && t < n.nterms; t++) {
    if (!ix_bounds_fit(&g->ix, ix_of_term(g, n.terms[t]))) return false;
    for (int i = 0; i < n.terms[t].natoms; i++)
      if (!ix_fits_i32(g, n.terms[t].atoms[i])) return false;
  }
  return true;
}

static lval lane_numbers(kgen *g, LLVMTypeRef element) {
  lval numbers[MOST_VEC_LANES];
  for (int i = 0; i < g->lanes; i++) numbers[i] = emit_int(element, i);
  return LLVMConstVector(numbers, (unsigned)g->lanes);
}

static lval lanes_of_sum(kgen *g, ix e, bool narrow) {
  LLVMBuilderRef b = g->e->builder;
  ix_node n = *ix_get(&g->ix, e);
  ix uniform = ix_const(&g->ix, 0);
  lval sum = NULL;
  for (int t = 0; t < n.nterms; t++) {
    ix term = ix_of_term(g, n.terms[t]);
    if (!ix_uses_axis(&g->ix, term, g->lane_axis)) {
      uniform = ix_add(&g->ix, uniform, term);
      continue;
    }
    lval product = ix_lanes(g, ix_const(&g->ix, n.terms[t].coef), narrow);
    for (int i = 0; i < n.terms[t].natoms; i++)
      product = LLVMBuildMul(b, product, ix_lanes(g, n.terms[t].atoms[i], narrow), "");
    sum = sum ? LLVMBuildAdd(b, sum, product, "") : product;
  }
  return LLVMBuildAdd(b, sum, ix_lanes(g, uniform, narrow), "");
}

lval ix_lanes(kgen *g, ix e, bool narrow) {
  LLVMBuilderRef b = g->e->builder;
  LLVMTypeRef element = narrow ? g->e->i32 : g->e->i64;
  if (!ix_uses_axis(&g->ix, e, g->lane_axis)) {
    lval v = ix_value(g, e);
    return splat(g, narrow ? LLVMBuildTrunc(b, v, element, "") : v);
  }
  ix_node n = *ix_get(&g->ix, e);
  if (n.kind == IX_AXIS) return lane_numbers(g, element);
  if (n.kind == IX_SUM) return lanes_of_sum(g, e, narrow);
  return floor_div(g, b, &n, ix_lanes(g, n.a, narrow), ix_lanes(g, n.b, narrow));
}

// ---- addresses

typedef struct address_key {
  int32_t buf;
  ix e;
} address_key;

static lval element_pointer(kgen *g, LLVMBuilderRef b, int buf, lval base, lval offset) {
  LLVMTypeRef type = memory_type(g, g->k->bufs.data[buf].type, 0);
  return LLVMBuildGEP2(b, type, base, &offset, 1, "");
}

lval buffer_base(kgen *g, int buf) {
  if (g->bufs[buf]) return g->bufs[buf];
  check(buf < g->k->nargs);
  LLVMBuilderRef b = g->e->builder;
  lval at = int64(g, 8 * (int64_t)(ARG_SYMBOLS + g->program->symbols.len + buf));
  lval args = LLVMGetParam(g->function, 0);
  lval pointer = LLVMBuildLoad2(b, g->e->ptr, LLVMBuildGEP2(b, g->e->i8, args, &at, 1, ""), "");
  LLVMSetAlignment(pointer, 8);
  return pointer;
}

/// e has no constant term; each level adds its terms to the address of the levels outside.
static lval address_of_terms(kgen *g, int buf, ix e) {
  int64_t zero;
  if (ix_is_const(&g->ix, e, &zero)) return g->bufs[buf];
  address_key key = {buf, e};
  lval known = map_get(&g->pointers, MAP_KEY(key));
  if (known) return known;
  int at = ix_level(g, e);
  ix lower = split_lower(g, e, at);
  lval base = address_of_terms(g, buf, lower);
  lval offset = ix_value(g, ix_sub(&g->ix, e, lower));
  level_builder(g, at);
  lval pointer = element_pointer(g, g->hoist, buf, base, offset);
  map_put(g->arena, &g->pointers, MAP_KEY(key), pointer);
  return pointer;
}

static int64_t constant_term(kgen *g, ix e) {
  ix_node n = *ix_get(&g->ix, e);
  if (n.kind == IX_CONST) return n.value;
  if (n.kind != IX_SUM || n.nterms == 0) return 0;
  ix_term last = n.terms[n.nterms - 1];
  return last.natoms == 0 ? last.coef : 0;
}

lval address(kgen *g, int buf, ix e) {
  int64_t displacement = constant_term(g, e);
  ix rest = ix_sub(&g->ix, e, ix_const(&g->ix, displacement));
  int64_t zero;
  lval base;
  if (g->bufs[buf]) base = address_of_terms(g, buf, rest);
  else if (base = buffer_base(g, buf), !ix_is_const(&g->ix, rest, &zero))
    base = element_pointer(g, g->e->builder, buf, base, ix_value(g, rest));
  if (displacement == 0) return base;
  return element_pointer(g, g->e->builder, buf, base, int64(g, displacement));
}
