// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Statements that combine: accumulators, reductions, arg max and min, dots without tensor cores,
// conditions, bounds checks. Invalid registers take no part.
//
// A reduction combines the registers of a thread, then lanes by butterfly shuffles (the extremes of
// i32s of a whole warp by one instruction), then warps
// through shared memory, in one fixed order; all threads get the result.
#include "base/fault.h"
#include "codegen/nvptx/nvptx.h"
#include "codegen/nvptx/ptx.h"

#include <stddef.h>

enum { WARP = 32 };

// ---- one combine step, of one value or of a value with its index

typedef struct bundle {
  lval v[2];
} bundle;

static lval neutral(ngen *g, op o, dtype t) {
  LLVMTypeRef type = emit_type(g->e, t, 0);
  scalar v = op_neutral(o, t);
  return dtype_is_float(t) ? emit_float(type, v.f) : emit_int(type, v.i);
}

/// x with index xi comes before the best so far: NaN first, then by value, then the smaller index.
static lval beats(ngen *g, op o, dtype t, bundle x, bundle best) {
  LLVMBuilderRef b = g->e->builder;
  lval better, equal;
  if (dtype_is_float(t)) {
    LLVMRealPredicate p = o == OP_max ? LLVMRealOGT : LLVMRealOLT;
    lval xn = LLVMBuildFCmp(b, LLVMRealUNO, x.v[0], x.v[0], "");
    lval bn = LLVMBuildFCmp(b, LLVMRealUNO, best.v[0], best.v[0], "");
    lval first_nan = LLVMBuildAnd(b, xn, LLVMBuildNot(b, bn, ""), "");
    better = LLVMBuildOr(b, LLVMBuildFCmp(b, p, x.v[0], best.v[0], ""), first_nan, "");
    equal = LLVMBuildOr(b, LLVMBuildFCmp(b, LLVMRealOEQ, x.v[0], best.v[0], ""),
                        LLVMBuildAnd(b, xn, bn, ""), "");
  } else {
    bool is_unsigned = dtype_is_unsigned(t);
    LLVMIntPredicate p = o == OP_max ? (is_unsigned ? LLVMIntUGT : LLVMIntSGT)
                                     : (is_unsigned ? LLVMIntULT : LLVMIntSLT);
    better = LLVMBuildICmp(b, p, x.v[0], best.v[0], "");
    equal = LLVMBuildICmp(b, LLVMIntEQ, x.v[0], best.v[0], "");
  }
  lval earlier = LLVMBuildICmp(b, LLVMIntSLT, x.v[1], best.v[1], "");
  return LLVMBuildOr(b, better, LLVMBuildAnd(b, equal, earlier, ""), "");
}

static bundle choose(ngen *g, lval first, bundle x, bundle y) {
  LLVMBuilderRef b = g->e->builder;
  return (bundle){{LLVMBuildSelect(b, first, x.v[0], y.v[0], ""),
                   LLVMBuildSelect(b, first, x.v[1], y.v[1], "")}};
}

static bundle combine(ngen *g, const tstmt *s, bundle a, bundle b) {
  dtype t = s->out[0]->type;
  if (s->nout == 1) return (bundle){{emit_combine(g->e, s->op, t, a.v[0], b.v[0])}};
  return choose(g, beats(g, s->op, t, b, a), b, a);
}

enum {
  CHAINS = 4,       // running results of a thread, where more would be short of registers
  MOST_AT_ONCE = 16,
};

/// Pairs, then pairs of pairs: short chains and one fixed order.
static bundle combine_tree(ngen *g, const tstmt *s, bundle *x, int n) {
  for (; n > 1; n = (n + 1) / 2) {
    for (int i = 0; i < n / 2; i++) x[i] = combine(g, s, x[2 * i], x[2 * i + 1]);
    if (n % 2) x[n / 2] = x[n - 1];
  }
  return x[0];
}

// ---- across threads

/// As 32-bit words: one, or two for 8-byte types.
static int to_words(ngen *g, dtype t, lval x, lval *words) {
  LLVMBuilderRef b = g->e->builder;
  LLVMTypeRef i32 = g->e->i32;
  if (t == DT_bool) return words[0] = LLVMBuildZExt(b, x, i32, ""), 1;
  int bytes = dtype_bytes(t);
  lval bits = LLVMBuildBitCast(b, x, LLVMIntTypeInContext(g->e->context, 8 * (unsigned)bytes), "");
  if (bytes < 4) return words[0] = LLVMBuildZExt(b, bits, i32, ""), 1;
  if (bytes == 4) return words[0] = bits, 1;
  words[0] = LLVMBuildTrunc(b, bits, i32, "");
  words[1] = LLVMBuildTrunc(b, LLVMBuildLShr(b, bits, i64_of(g, 32), ""), i32, "");
  return 2;
}

static lval from_words(ngen *g, dtype t, const lval *words) {
  LLVMBuilderRef b = g->e->builder;
  if (t == DT_bool) return LLVMBuildTrunc(b, words[0], g->e->i1, "");
  int bytes = dtype_bytes(t);
  LLVMTypeRef bits = LLVMIntTypeInContext(g->e->context, 8 * (unsigned)bytes);
  lval x = words[0];
  if (bytes < 4) x = LLVMBuildTrunc(b, x, bits, "");
  if (bytes == 8) {
    lval high = LLVMBuildShl(b, LLVMBuildZExt(b, words[1], bits, ""), i64_of(g, 32), "");
    x = LLVMBuildOr(b, LLVMBuildZExt(b, words[0], bits, ""), high, "");
  }
  return LLVMBuildBitCast(b, x, emit_type(g->e, t, 0), "");
}

static lval shuffle_xor(ngen *g, dtype t, lval x, int mask) {
  lval words[2];
  int n = to_words(g, t, x, words);
  for (int i = 0; i < n; i++) {
    lval args[] = {i32_of(g, -1), words[i], i32_of(g, mask), i32_of(g, 31)};
    words[i] = emit_intrinsic(g->e, "llvm.nvvm.shfl.sync.bfly.i32", NULL, 0, args, 4);
  }
  return from_words(g, t, words);
}

/// Extremes of i32s in one instruction, by all lanes of a warp: those that are not to be
/// combined hold the same as one that is. Null: not of these.
static lval extreme_of_warp(ngen *g, const tstmt *s, lval x) {
  bool extreme = s->nout == 1 && s->out[0]->type == DT_i32 && (s->op == OP_min || s->op == OP_max);
  if (!extreme || !ptx_has(g->e, PTX_CP_ASYNC)) return NULL;
  const char *name = s->op == OP_min ? "llvm.nvvm.redux.sync.min" : "llvm.nvvm.redux.sync.max";
  return emit_intrinsic(g->e, name, NULL, 0, (lval[]){x, i32_of(g, -1)}, 2);
}

static bundle butterfly(ngen *g, const tstmt *s, bundle x, unsigned lanes) {
  for (unsigned m = 1; m < WARP; m *= 2) {
    if (!(lanes & m)) continue;
    bundle other = {{0}};
    for (int i = 0; i < s->nout; i++) other.v[i] = shuffle_xor(g, s->out[i]->type, x.v[i], (int)m);
    // Both threads of a pair combine in the same order, so that they get the same result.
    if (s->nout == 1 && dtype_is_float(s->out[0]->type)) {
      x.v[0] = emit_combine(g->e, s->op, s->out[0]->type, x.v[0], other.v[0]);
      continue;
    }
    x = combine(g, s, x, other);
  }
  return x;
}

static lval scratch_pointer(ngen *g, int part, int n, dtype t, lval slot) {
  LLVMBuilderRef b = g->e->builder;
  int64_t offset = g->scratch_half * g->scratch_bytes + (int64_t)part * n * 8;
  lval bytes = LLVMBuildMul(b, slot, i32_of(g, dtype_bytes(t) < 4 ? 4 : dtype_bytes(t)), "");
  bytes = LLVMBuildAdd(b, bytes, i32_of(g, offset), "");
  return LLVMBuildGEP2(b, g->e->i8, g->smem, &bytes, 1, "");
}

static void put_word(ngen *g, dtype t, lval x, lval pointer) {
  lval words[2];
  if (dtype_bytes(t) >= 4) LLVMBuildStore(g->e->builder, x, pointer);
  else to_words(g, t, x, words), LLVMBuildStore(g->e->builder, words[0], pointer);
}

static lval get_word(ngen *g, dtype t, lval pointer) {
  LLVMBuilderRef b = g->e->builder;
  if (dtype_bytes(t) >= 4) return LLVMBuildLoad2(b, emit_type(g->e, t, 0), pointer, "");
  lval word = LLVMBuildLoad2(b, g->e->i32, pointer, "");
  return from_words(g, t, &word);
}

unsigned nv_deposit(unsigned mask, unsigned i) {
  unsigned r = 0;
  for (unsigned bit = 1; mask; bit <<= 1)
    if (mask & bit) {
      if (i & 1) r |= bit;
      i >>= 1;
      mask &= ~bit;
    }
  return r;
}

/// Combines over warps that differ in the bits `across` of the thread number. Where all lanes of a
/// warp hold the same (compact), a slot per warp is enough.
static void combine_warps(ngen *g, const tstmt *s, bundle *x, int n, unsigned across, bool compact) {
  LLVMBuilderRef b = g->e->builder;
  int slots = compact ? (g->k->threads + WARP - 1) / WARP : g->k->threads;
  unsigned mask = compact ? across / WARP : across;
  int partials = 1 << __builtin_popcount(mask);
  lval warp = i32_of(g, WARP), lane = LLVMBuildURem(b, g->tid_local, warp, "");
  lval mine = compact ? LLVMBuildUDiv(b, g->tid_local, warp, "") : g->tid_local;
  lval writer = compact ? LLVMBuildICmp(b, LLVMIntEQ, lane, i32_of(g, 0), "") : NULL;
  check((int64_t)n * slots * 8 * s->nout <= g->scratch_bytes);
  guard w = nv_guard(g, writer);
  for (int r = 0; r < n; r++)
    for (int i = 0; i < s->nout; i++) {
      lval slot = LLVMBuildAdd(b, mine, i32_of(g, r * slots), "");
      put_word(g, s->out[i]->type, x[r].v[i], scratch_pointer(g, i, n * slots, s->out[i]->type, slot));
    }
  nv_guard_end(g, w);
  nv_barrier(g);
  lval base = LLVMBuildAnd(b, mine, i32_of(g, (int64_t)~mask), "");
  for (int r = 0; r < n; r++) {
    bundle *part = arena_array(g->arena, bundle, partials);
    int found = 0;
    for (int j = 0; j < partials; j++) {
      int other = (int)nv_deposit(mask, (unsigned)j);
      if (other >= slots) continue;  // beyond a topmost digit that is no power of two
      for (int i = 0; i < s->nout; i++) {
        lval slot = LLVMBuildAdd(b, base, i32_of(g, r * slots + other), "");
        part[found].v[i] =
            get_word(g, s->out[i]->type, scratch_pointer(g, i, n * slots, s->out[i]->type, slot));
      }
      found++;
    }
    x[r] = combine_tree(g, s, part, found);
  }
  g->scratch_half = !g->scratch_half;
  g->scratch_used = true;
}

lval nv_to_word(ngen *g, dtype t, lval x) {
  lval words[2];
  int n = to_words(g, t, x, words);
  lval low = LLVMBuildZExt(g->e->builder, words[0], g->e->i64, "");
  if (n == 1) return low;
  lval high = LLVMBuildZExt(g->e->builder, words[1], g->e->i64, "");
  return LLVMBuildOr(g->e->builder, low, LLVMBuildShl(g->e->builder, high, i64_of(g, 32), ""), "");
}

lval nv_from_word(ngen *g, dtype t, lval word) {
  lval words[2] = {LLVMBuildTrunc(g->e->builder, word, g->e->i32, "")};
  lval high = LLVMBuildLShr(g->e->builder, word, i64_of(g, 32), "");
  words[1] = LLVMBuildTrunc(g->e->builder, high, g->e->i32, "");
  return from_words(g, t, words);
}

/// Combines over blocks of the cluster that differ in the bits of mask.
static void combine_blocks(ngen *g, const tstmt *s, bundle *x, int n, unsigned mask) {
  int parts = 1 << __builtin_popcount(mask), words = n * s->nout;
  lval *mine = arena_array(g->arena, lval, words), *all = arena_array(g->arena, lval, words * parts);
  for (int r = 0; r < n; r++)
    for (int i = 0; i < s->nout; i++)
      mine[r * s->nout + i] = nv_to_word(g, s->out[i]->type, x[r].v[i]);
  cluster_exchange(g, s, mine, words, mask, all);
  bundle *part = arena_array(g->arena, bundle, parts);
  for (int r = 0; r < n; r++) {
    for (int j = 0; j < parts; j++)
      for (int i = 0; i < s->nout; i++)
        part[j].v[i] = nv_from_word(g, s->out[i]->type, all[j * words + r * s->nout + i]);
    x[r] = combine_tree(g, s, part, parts);
  }
}

/// Over the threads that differ in the bits `across` of their numbers; `compact`: as combine_warps.
static void combine_threads(ngen *g, const tstmt *s, bundle *x, int n, unsigned across,
                            bool compact) {
  unsigned lanes = across & (WARP - 1), blocks = across & nv_bits_of_blocks(g);
  unsigned warps = across & ~lanes & ~blocks;
  for (int r = 0; r < n && lanes; r++) {
    lval extreme = compact ? extreme_of_warp(g, s, x[r].v[0]) : NULL;
    x[r] = extreme ? (bundle){{extreme}} : butterfly(g, s, x[r], lanes);
  }
  if (warps) combine_warps(g, s, x, n, warps, compact);
  if (blocks) combine_blocks(g, s, x, n, blocks / (unsigned)g->k->threads);
}

static shape reduced_shape(ngen *g, const tstmt *s, const tval *t) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int i = 0; i < s->naxes; i++) {
    if (!tval_extent(t, s->axes[i])) continue;
    axes[n] = s->axes[i];
    extents[n++] = tval_extent(t, s->axes[i]);
  }
  return nv_shape_of_axes(g, axes, extents, n);
}

static bundle identity_bundle(ngen *g, const tstmt *s) {
  bundle x = {{neutral(g, s->op, s->out[0]->type)}};
  if (s->nout > 1) x.v[1] = neutral(g, OP_min, s->out[1]->type);
  return x;
}

/// The 16-bit floats that the operand of a maximum or minimum was widened from; null: it was not.
static const tval *widened_from(const ngen *g, const tstmt *s) {
  const tstmt *def = g->lazy[s->in[0]->id].def;
  bool extreme = s->kind == TILE_REDUCE && (s->op == OP_max || s->op == OP_min);
  if (!extreme || s->in[0]->type != DT_f32 || !ptx_has(g->e, PTX_CP_ASYNC)) return NULL;
  if (!def || def->kind != TILE_MAP || def->op != OP_cast) return NULL;
  dtype t = def->in[0]->type;
  return t == DT_bf16 || t == DT_f16 ? def->in[0] : NULL;
}

static LLVMTypeRef pair_type(ngen *g, dtype t) {
  LLVMContextRef c = g->e->context;
  return emit_vec(t == DT_bf16 ? LLVMBFloatTypeInContext(c) : LLVMHalfTypeInContext(c), 2);
}

/// Two 16-bit elements as i16s to a pair of floats.
static lval make_pair(ngen *g, dtype t, lval low, lval high) {
  LLVMBuilderRef b = g->e->builder;
  high = LLVMBuildShl(b, LLVMBuildZExt(b, high, g->e->i32, ""), i32_of(g, 16), "");
  lval word = LLVMBuildOr(b, LLVMBuildZExt(b, low, g->e->i32, ""), high, "");
  return LLVMBuildBitCast(b, word, pair_type(g, t), "");
}

/// The extreme of the thread's registers along `inner`, two at a time before they are widened, which
/// the extreme commutes with; null: none is valid.
static lval extreme_of_pairs(ngen *g, const tstmt *s, const tval *narrow, const shape *inner) {
  LLVMBuilderRef b = g->e->builder;
  dtype t = narrow->type;
  bool max = s->op == OP_max;
  LLVMTypeRef type = pair_type(g, t);
  const char *name = max ? "llvm.maximum" : "llvm.minimum";
  lval none = emit_int(g->e->i16, (t == DT_bf16 ? 0x7f80 : 0x7c00) | (max ? 0x8000 : 0));
  lval x[CHAINS] = {0}, waiting = NULL;
  int n = 0;
  for (int i = 0; i <= inner->nregs; i++) {
    lval ok = NULL, v = NULL;
    if (i < inner->nregs) {
      nv_enter(g, inner, i);
      if (!nv_alive(g, inner, &ok) || !(v = nv_at(g, narrow))) continue;
      v = nv_blend(g, ok, LLVMBuildBitCast(b, v, g->e->i16, ""), none);
    }
    if (!waiting || !v) {
      if (!waiting || i < inner->nregs) waiting = v;
      if (i < inner->nregs || !waiting) continue;
      v = none;
    }
    lval pair = make_pair(g, t, waiting, v), *chain = &x[n++ % CHAINS];
    *chain = *chain ? emit_intrinsic(g->e, name, &type, 1, (lval[]){*chain, pair}, 2) : pair;
    waiting = NULL;
  }
  if (!n) return NULL;
  for (int i = 1; i < CHAINS; i++)
    if (x[i]) x[0] = emit_intrinsic(g->e, name, &type, 1, (lval[]){x[0], x[i]}, 2);
  lval halves[2];
  for (int i = 0; i < 2; i++) {
    lval half = LLVMBuildExtractElement(b, x[0], i32_of(g, i), "");
    half = LLVMBuildBitCast(b, half, emit_type(g->e, t, 0), "");
    halves[i] = emit_map(g->e, OP_cast, t, DT_f32, &half, 1);
  }
  return emit_combine(g->e, s->op, DT_f32, halves[0], halves[1]);
}

/// What the thread's registers along `inner` combine to.
static bundle reduce_registers(ngen *g, const tstmt *s, const shape *inner, bundle *part) {
  int n = 0, most = inner->nregs > MOST_AT_ONCE ? CHAINS : inner->nregs;
  bundle none = identity_bundle(g, s);
  for (int i = 0; i < inner->nregs; i++) {
    lval ok = NULL;
    nv_enter(g, inner, i);
    if (!nv_alive(g, inner, &ok)) continue;
    bundle v = {{0}};
    bool known = true;
    for (int k = 0; k < s->nout; k++) known &= (v.v[k] = nv_at(g, s->in[k])) != NULL;
    if (!known) continue;
    for (int k = 0; k < s->nout; k++) v.v[k] = nv_blend(g, ok, v.v[k], none.v[k]);
    bundle *to = &part[n++ % most];
    *to = n > most ? combine(g, s, *to, v) : v;
  }
  return n ? combine_tree(g, s, part, n < most ? n : most) : none;
}

static void reduce(ngen *g, const tstmt *s) {
  shape outer = nv_shape_of(g, s->out[0]), inner = reduced_shape(g, s, s->in[0]);
  bundle *x = arena_array(g->arena, bundle, outer.nregs);
  bundle *part = arena_array(g->arena, bundle, inner.nregs);
  const tval *narrow = widened_from(g, s);
  for (int r = 0; r < outer.nregs; r++) {
    nv_enter(g, &outer, r);
    lval extreme = narrow && inner.nregs > 2 ? extreme_of_pairs(g, s, narrow, &inner) : NULL;
    x[r] = extreme ? (bundle){{extreme}} : reduce_registers(g, s, &inner, part);
  }
  bool compact = !(shape_threads(&outer) & (WARP - 1));
  // Lanes that are left along the axis stay on their threads.
  bool left = s->kind == TILE_REDUCE && s->extent;
  unsigned across = shape_threads(&inner) & ~(left ? shape_threads(&outer) : 0);
  combine_threads(g, s, x, outer.nregs, across, compact);
  for (int k = 0; k < s->nout; k++) {
    lval *out = nv_define(g, s->out[k]);
    for (int r = 0; r < outer.nregs; r++) out[r] = x[r].v[k];
  }
}

void nv_reduce(ngen *g, const tstmt *s) { reduce(g, s); }
void nv_arg_reduce(ngen *g, const tstmt *s) { reduce(g, s); }

// ---- accumulators

static lval multiply_add(ngen *g, dtype t, lval a, lval b, lval acc) {
  lval in[] = {a, b, acc};
  LLVMTypeRef type = LLVMTypeOf(acc);
  if (dtype_is_float(t)) return emit_intrinsic(g->e, "llvm.fma", &type, 1, in, 3);
  lval product = emit_map(g->e, OP_mul, t, t, in, 2);
  return emit_map(g->e, OP_add, t, t, (lval[]){product, acc}, 2);
}

void nv_accum(ngen *g, const tstmt *s) {
  shape sh = nv_shape_of(g, s->out[0]);
  lval *out = nv_define(g, s->out[0]);
  dtype t = s->out[0]->type;
  for (int r = 0; r < sh.nregs; r++) {
    lval ok = NULL;
    nv_enter(g, &sh, r);
    lval acc = out[r] = nv_at(g, s->in[0]);
    if (!acc || !nv_alive(g, &sh, &ok)) continue;
    lval x = nv_at(g, s->in[1]), y = s->nin > 2 ? nv_at(g, s->in[2]) : NULL;
    if (!x || (s->nin > 2 && !y)) continue;
    lval sum = s->op == OP_fma ? multiply_add(g, t, x, y, acc) : emit_combine(g->e, s->op, t, acc, x);
    out[r] = nv_blend(g, ok, sum, acc);
  }
}

void nv_arg(ngen *g, const tstmt *s) {
  shape sh = nv_shape_of(g, s->out[0]);
  lval *out = nv_define(g, s->out[0]), *outi = nv_define(g, s->out[1]);
  for (int r = 0; r < sh.nregs; r++) {
    lval ok = NULL;
    nv_enter(g, &sh, r);
    bundle best = {{nv_at(g, s->in[0]), nv_at(g, s->in[1])}};
    out[r] = best.v[0];
    outi[r] = best.v[1];
    if (!best.v[0] || !nv_alive(g, &sh, &ok)) continue;
    bundle x = {{nv_at(g, s->in[2]), nv_at(g, s->in[3])}};
    if (!x.v[0] || !x.v[1]) continue;
    lval first = nv_both(g, ok, beats(g, s->op, s->out[0]->type, x, best));
    best = choose(g, first, x, best);
    out[r] = best.v[0];
    outi[r] = best.v[1];
  }
}

// ---- dot

static shape contracted_shape(ngen *g, const tstmt *s) {
  int extents[MAX_AXES];
  for (int i = 0; i < s->naxes; i++) {
    extents[i] = tval_extent(s->in[0], s->axes[i]);
    if (!extents[i]) extents[i] = tval_extent(s->in[1], s->axes[i]);
  }
  return nv_shape_of_axes(g, s->axes, extents, s->naxes);
}

/// Sums of products in registers. Where the contracted axes lie on threads too, each thread sums
/// its part from zero, and the parts and the accumulator are added last.
void nv_dot(ngen *g, const tstmt *s) {
  shape sh = nv_shape_of(g, s->out[0]), inner = contracted_shape(g, s);
  dtype t = s->out[0]->type;
  unsigned across = shape_threads(&inner);
  lval *acc = g->regs[s->in[2]->id], *sum = arena_array(g->arena, lval, sh.nregs);
  for (int r = 0; r < sh.nregs; r++) sum[r] = across ? nv_zero(g, t) : acc[r];
  for (int i = 0; i < inner.nregs; i++) {
    lval ok = NULL;
    nv_enter(g, &inner, i);
    if (!nv_alive(g, &inner, &ok)) continue;
    for (int r = 0; r < sh.nregs; r++) {
      nv_enter(g, &sh, r);
      lval a = nv_at(g, s->in[0]), b = nv_at(g, s->in[1]);
      if (!a || !b || !sum[r]) continue;
      sum[r] = nv_blend(g, ok, multiply_add(g, t, a, b, sum[r]), sum[r]);
    }
  }
  lval *out = nv_define(g, s->out[0]);
  if (!across) {
    memcpy(out, sum, sizeof(lval) * (size_t)sh.nregs);
    return;
  }
  tstmt add = {.kind = TILE_REDUCE, .op = OP_add, .nout = 1, .out = s->out};
  bundle *x = arena_array(g->arena, bundle, sh.nregs);
  for (int r = 0; r < sh.nregs; r++) x[r].v[0] = sum[r] ? sum[r] : nv_zero(g, t);
  combine_threads(g, &add, x, sh.nregs, across, !(shape_threads(&sh) & (WARP - 1)));
  for (int r = 0; r < sh.nregs; r++)
    out[r] = acc[r] ? emit_combine(g->e, OP_add, t, acc[r], x[r].v[0]) : NULL;
}

// ---- conditions and checks

lval nv_condition(ngen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  bool all = s->cond == COND_ALL;
  shape sh = nv_shape_of(g, s->in[0]);
  lval sum = emit_int(g->e->i1, all);
  for (int r = 0; r < sh.nregs; r++) {
    lval ok = NULL;
    nv_enter(g, &sh, r);
    if (!nv_alive(g, &sh, &ok)) continue;
    lval v = nv_at(g, s->in[0]);
    if (!v) continue;
    v = nv_blend(g, ok, v, emit_int(g->e->i1, all));
    sum = all ? LLVMBuildAnd(b, sum, v, "") : LLVMBuildOr(b, sum, v, "");
  }
  // All threads of the block must agree, whatever they hold.
  lval args[] = {i32_of(g, CONSUMERS_BARRIER), i32_of(g, g->k->threads), sum};
  const char *name = all ? "llvm.nvvm.barrier.cta.red.and.aligned.count"
                         : "llvm.nvvm.barrier.cta.red.or.aligned.count";
  return emit_intrinsic(g->e, name, NULL, 0, args, 3);
}

static void report(ngen *g, const tstmt *s, lval index) {
  emit *e = g->e;
  lval code = LLVMBuildAdd(e->builder, g->site, i64_of(g, s->site + 1), "");
  lval old = LLVMBuildAtomicCmpXchg(e->builder, g->error, i64_of(g, 0), code,
                                    LLVMAtomicOrderingMonotonic, LLVMAtomicOrderingMonotonic, 0);
  guard first = nv_guard(g, LLVMBuildExtractValue(e->builder, old, 1, ""));
  lval at = i64_of(g, offsetof(tcf_device_error, index));
  LLVMBuildStore(e->builder, index, LLVMBuildGEP2(e->builder, e->i8, g->error, &at, 1, ""));
  nv_guard_end(g, first);
}

/// The first failure is noted; the bad index counts as 0 from here on, so that nothing is read or
/// written outside, and the call fails when the kernel has ended.
void nv_check(ngen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  const tval *t = s->in[0];
  shape sh = nv_shape_of(g, t);
  lval size = nv_ix64(g, s->ix[0]), *outside = g->regs[t->id];
  lval *regs = arena_copy(g->arena, outside, sizeof(lval) * (size_t)sh.nregs);
  vec_push(g->arena, &g->checked, (checked){t->id, outside});
  g->regs[t->id] = regs;
  for (int r = 0; r < sh.nregs; r++) {
    lval ok = NULL;
    nv_enter(g, &sh, r);
    if (!regs[r] || !nv_alive(g, &sh, &ok)) continue;
    lval x = emit_map(g->e, OP_cast, t->type, DT_i64, &regs[r], 1);
    lval bad = LLVMBuildICmp(b, LLVMIntUGE, x, size, "");
    guard w = nv_guard(g, nv_both(g, ok, bad));
    report(g, s, x);
    nv_guard_end(g, w);
    regs[r] = LLVMBuildSelect(b, bad, LLVMConstNull(LLVMTypeOf(regs[r])), regs[r], "");
  }
}
