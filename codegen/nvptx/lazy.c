// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values that are made where they are used, register by register.
//
//   %2 = load x : bf16 [T:16384]      words                          kept, or read from chip again
//   %e = exp(cast %2 - %max)          no code
//   %s = reduce add %e                load, widen, exp, add; the next element; ...
//   store div %e, %s                  once more: load, widen, exp, div; ...
//
// In code made statement by statement all elements of a row would be alive as floats at once. Here a
// value of a region that reduces rows is made by its first user, which goes from element to element.
// It is remembered; from wide blocks on, and for long rows, only until the next reduction, when what
// can be made again from 16-bit rows, or from rows on chip, is forgotten.
//
// Both LLVM and the device's assembler would merge what is made twice and keep the floats, with the
// registers that were to be saved. So a row is read from chip again, behind a barrier, or its words
// are combined with a zero that they cannot see through. What a loop over rows takes from outside
// (weights) is kept in 16 bits as well, and widened where it is used.
#include "base/fault.h"
#include "codegen/nvptx/access.h"
#include "codegen/nvptx/pending.h"
#include "codegen/nvptx/pipeline.h"

enum { OTHERS = 24 };

enum {
  MANY = 24,  // registers of a value that are worth it
  MOST = 48,  // registers of a value that small blocks keep: they find room beside others
  WIDE = 512, // threads of blocks that do not
  EXPENSIVE = 40,  // cost of the operations (ir/ops.def) that are not repeated
};

// ---- which values

static int registers(ngen *g, const tval *t) { return nv_shape_of(g, t).nregs; }

static bool reads_by_element(const tstmt *s, int operand) {
  switch (s->kind) {
    case TILE_MAP:
    case TILE_REDUCE:
    case TILE_ARG_REDUCE: return true;
    case TILE_ACCUM: return operand >= 1;
    case TILE_ARG: return operand >= 2;
    case TILE_STORE: return operand == 0;
    default: return false;
  }
}

static void find_uses(ngen *g, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    for (int k = 0; k < s->nin; k++) {
      lazy *v = &g->lazy[s->in[k]->id];
      v->pinned |= !reads_by_element(s, k);
      v->leaves |= v->home != r;
      v->users += !k || s->in[k] != s->in[k - 1];
    }
    find_uses(g, s->body);
    find_uses(g, s->other);
    for (int k = 0; k < s->nout; k++) g->lazy[s->out[k]->id].home = r;
  }
}

void lazy_open(ngen *g) {
  g->lazy = arena_alloc(g->arena, sizeof *g->lazy * (size_t)(g->k->nvals + 1));
  memset(g->lazy, 0, sizeof *g->lazy * (size_t)(g->k->nvals + 1));
  find_uses(g, &g->k->body);
  for (int i = 0; i < g->writebacks.len; i++)
    g->lazy[g->writebacks.data[i].store->in[0]->id].pinned = true;
}

static bool reduces_many(ngen *g, const tstmt *s) {
  return (s->kind == TILE_REDUCE || s->kind == TILE_ARG_REDUCE) && registers(g, s->in[0]) >= MANY;
}

static bool region_reduces_many(ngen *g, const tregion *r) {
  for (int i = 0; i < r->stmts.len; i++)
    if (reduces_many(g, r->stmts.data[i])) return true;
  return false;
}

static void count_kept(ngen *g, const tval *t) {
  lazy *v = &g->lazy[t->id];
  if (!v->counted) g->kept_words += registers(g, t) / 2;
  v->counted = true;
}

static bool on_chip(const ngen *g, const tstmt *load) { return g->k->bufs.data[load->buf].local; }

static bool is_row(ngen *g, const tstmt *load) {
  return dtype_bytes(load->out[0]->type) == 2 || on_chip(g, load);
}

/// Cost of making v again from rows and small values; EXPENSIVE when that cannot be done.
static int cost_again(ngen *g, const tval *v) {
  const tstmt *def = g->lazy[v->id].def;
  if (registers(g, v) < MANY) return 0;
  if (!def) return EXPENSIVE;
  if (def->kind == TILE_LOAD) return is_row(g, def) ? 1 : EXPENSIVE;
  int cost = op_get(def->op)->cost;
  for (int i = 0; i < def->nin && cost < EXPENSIVE; i++) cost += cost_again(g, def->in[i]);
  return cost;
}

/// Registers of a thread where rings of rows leave room for few blocks anyway; 0: there are none.
static int registers_beside_rings(ngen *g) {
  int64_t bytes = 0;
  for (int i = 0; i < g->pipes.len && !g->specialised; i++)
    for (int n = 0; n < g->pipes.data[i]->nlocals; n++) {
      const tile_buf *t = &g->k->bufs.data[g->pipes.data[i]->locals[n]];
      int64_t elements = g->pipes.data[i]->loop->stages, dim;
      for (int d = 0; d < t->rank; d++) elements *= ix_is_const(&g->ix, t->dims[d], &dim) ? dim : 1;
      bytes += elements * dtype_bytes(t->type) / (g->k->cluster ? g->k->cluster : 1);
    }
  if (!bytes) return 0;
  const target_info *t = g->e->target;
  int64_t blocks = t->shared_per_core / (bytes + t->shared_reserved);
  return t->registers_per_core / (g->k->threads * (int)(blocks ? blocks : 1));
}

/// What is widened from 16 bits is as near as they are.
static bool is_near(const tstmt *s) {
  return s->kind == TILE_MAP && s->op == OP_cast && dtype_bytes(s->in[0]->type) == 2;
}

static bool is_loaded_in(const tregion *r, const tval *v) {
  for (int i = 0; i < r->stmts.len; i++)
    if (r->stmts.data[i]->kind == TILE_LOAD && r->stmts.data[i]->out[0] == v) return true;
  return false;
}

/// Where few blocks are resident anyway, what there are registers for is remembered: values with
/// several users, the last ones first.
static void plan_kept(ngen *g, const tregion *r) {
  enum { LARGEST = 1024 };
  int rings = registers_beside_rings(g);
  int given = rings ? rings : g->e->target->registers_per_core / LARGEST;
  if (!rings && g->k->threads < LARGEST) return;
  int room = given - g->kept_words - OTHERS;
  for (int i = r->stmts.len - 1; i >= 0; i--) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind != TILE_MAP) continue;
    lazy *v = &g->lazy[s->out[0]->id];
    int need = registers(g, s->out[0]) * (dtype_bytes(s->out[0]->type) == 2 ? 1 : 2) / 2;
    v->kept = v->users > 1 && need <= room && !is_near(s);
    if (v->kept) room -= need;
    if (v->kept && !rings) g->kept_words += need;
    // The words of a row are kept in any case.
    if (!rings && v->users > 1 && is_near(s) && is_loaded_in(r, s->in[0])) room -= need / 2;
  }
}

/// Too many registers for being remembered over reductions.
static bool is_forgotten(ngen *g, const tval *v) {
  if (g->lazy[v->id].kept) return false;
  return (g->k->threads >= WIDE || registers(g, v) >= MOST) && cost_again(g, v) < EXPENSIVE;
}

/// A 16-bit load, widened outside of the loop that uses it.
static bool widens_for_loop(ngen *g, const tstmt *s) {
  const tstmt *load = s->op == OP_cast ? g->lazy[s->in[0]->id].def : NULL;
  const lazy *v = &g->lazy[s->out[0]->id];
  return load && load->kind == TILE_LOAD && dtype_bytes(s->in[0]->type) == 2 && v->leaves &&
         g->lazy[s->in[0]->id].home == v->home && g->k->threads >= WIDE;
}

/// Reads the same in all grid tiles, so that the data is near.
static bool is_shared_load(ngen *g, const tstmt *s) {
  if (s->nin || g->locals[s->buf].shared) return false;
  for (int i = 0; i < s->nix; i++)
    for (int k = 0; k < g->k->grid.len; k++)
      if (ix_uses_axis(&g->ix, s->ix[i], g->k->grid.data[k].axis)) return false;
  return true;
}

static bool can_wait(ngen *g, const tstmt *s) {
  if (s->kind == TILE_LOAD) return is_shared_load(g, s);
  return s->kind == TILE_MAP && !emit_math_many(g->e, s->op, s->in[0]->type, NULL, NULL, 0);
}

bool lazy_reads_again(ngen *g, const tstmt *load) { return registers(g, load->out[0]) >= MANY; }

bool lazy_defer(ngen *g, const tstmt *s, const tregion *r) {
  if (s->nout != 1 || !can_wait(g, s)) return false;
  lazy *v = &g->lazy[s->out[0]->id];
  v->def = NULL;
  v->words = NULL;
  v->from = NULL;
  if (v->pinned || registers(g, s->out[0]) < MANY) return false;
  if (flight_reads(g, s) || nv_is_mask(g, s)) return false;
  v->passing = s->kind == TILE_MAP && widens_for_loop(g, s);
  if (v->passing) count_kept(g, s->in[0]);
  if (!v->passing && (v->leaves || !region_reduces_many(g, r))) return false;
  if (g->planned != r) plan_kept(g, r);
  g->planned = r;
  nv_define(g, s->out[0]);
  v->def = s;
  v->forgotten = s->kind == TILE_LOAD || is_forgotten(g, s->out[0]);
  return true;
}

void lazy_after(ngen *g, const tstmt *s) {
  if (s->kind == TILE_LOAD) {
    lazy *v = &g->lazy[s->out[0]->id];
    v->def = registers(g, s->out[0]) >= MANY ? s : NULL;
    v->words = NULL;
    v->from = NULL;
    v->forgotten = v->def && is_forgotten(g, s->out[0]);
  }
  if (!reduces_many(g, s)) return;
  g->reductions++;
  for (int i = 0; i < g->k->nvals; i++) {
    lazy *v = &g->lazy[i];
    if (v->home != g->lazy[s->out[0]->id].home || !v->def || !v->forgotten || !g->regs[i]) continue;
    const tval *t = v->def->out[0];
    if (v->def->kind == TILE_LOAD && !on_chip(g, v->def) && !v->words) v->words = g->regs[i];
    nv_define(g, t);
  }
}

// ---- making them

/// Combines the word with a zero that looks different after each reduction.
static lval assembly(ngen *g, const char *text, const char *operands, lval word) {
  LLVMTypeRef i32 = g->e->i32;
  LLVMTypeRef type = LLVMFunctionType(i32, (LLVMTypeRef[]){i32, i32}, 2, 0);
  lval code = LLVMGetInlineAsm(type, text, strlen(text), operands, strlen(operands), 0, 0,
                               LLVMInlineAsmDialectATT, 0);
  lval zero = LLVMBuildLShr(g->e->builder, g->hidden_zero, i32_of(g, g->reductions % 32), "");
  return LLVMBuildCall2(g->e->builder, type, code, (lval[]){word, zero}, 2, "");
}

/// The word of two neighbouring 16-bit registers; null: they are not known both.
static lval word_of(ngen *g, const lval *regs, int r) {
  LLVMBuilderRef b = g->e->builder;
  lval low = regs[r & ~1], high = regs[r | 1];
  if (!low || !high) return NULL;
  low = LLVMBuildZExt(b, LLVMBuildBitCast(b, low, g->e->i16, ""), g->e->i32, "");
  high = LLVMBuildZExt(b, LLVMBuildBitCast(b, high, g->e->i16, ""), g->e->i32, "");
  return LLVMBuildOr(b, low, LLVMBuildShl(b, high, i32_of(g, 16), ""), "");
}

/// The axis along which registers 2 i and 2 i + 1 are neighbours; -1: there is none.
static int pair_axis(ngen *g, const tval *t) {
  shape sh = nv_shape_of(g, t);
  int last = sh.naxes - 1;
  while (last >= 0 && sh.on[last]->nregs == 1) last--;
  return last >= 0 && sh.on[last]->nregs % 2 == 0 ? sh.axes[last] : -1;
}

/// Element r of a row in registers, anew. As text, because LLVM would split the operation into halves.
static lval hidden_element(ngen *g, const tval *t, int r) {
  LLVMBuilderRef b = g->e->builder;
  lazy *v = &g->lazy[t->id];
  lval word = pair_axis(g, t) >= 0 ? word_of(g, v->words, r) : NULL;
  if (!word) return v->words[r];
  count_kept(g, t);
  word = assembly(g, "xor.b32 $0, $1, $2;", "=r,r,r", word);
  if (r % 2) word = LLVMBuildLShr(b, word, i32_of(g, 16), "");
  return LLVMBuildBitCast(b, LLVMBuildTrunc(b, word, g->e->i16, ""), emit_type(g->e, t->type, 0), "");
}

/// The same widened to f32, in one instruction; null: not of this kind.
static lval hidden_widened(ngen *g, const tstmt *s, int r) {
  const tval *t = s->in[0];
  const lazy *from = &g->lazy[t->id];
  bool there = from->kept || g->lazy[s->out[0]->id].passing;
  const lval *words = there ? g->regs[t->id] : from->words;
  if (s->op != OP_cast || t->type != DT_bf16 || s->out[0]->type != DT_f32 || !words ||
      pair_axis(g, t) < 0)
    return NULL;
  lval word = word_of(g, words, r);
  if (!word) return NULL;
  if (!from->kept) count_kept(g, t);
  word = r % 2 ? assembly(g, "lop3.b32 $0, $1, 0xffff0000, $2, 0xea;", "=r,r,r", word)
               : assembly(g, "mad.lo.u32 $0, $1, 65536, $2;", "=r,r,r", word);
  return LLVMBuildBitCast(g->e->builder, word, g->e->f32, "");
}

/// The vector at g->at of a row on chip, once more.
static void read_again(ngen *g, const tval *t) {
  lazy *v = &g->lazy[t->id];
  if (!v->from) {
    size_t bytes = sizeof *g->at * (size_t)g->k->axes.len;
    int *here = arena_copy(g->arena, g->at, bytes);
    v->from = arena_new(g->arena, access);
    *v->from = access_of_load(g, v->def);
    memcpy(g->at, here, bytes);
  }
  const access *a = v->from;
  int at = a->along >= 0 ? g->at[a->along] : 0;
  if (a->along >= 0) g->at[a->along] -= at % a->width;
  access_load(g, a, g->regs[t->id]);
  if (a->along >= 0) g->at[a->along] = at;
}

/// The register at g->at and its neighbour rounded to 16 bits by one instruction. False: they are not
/// known both.
static bool narrow_pair(ngen *g, const tval *t, lval out[2]) {
  const tstmt *s = g->lazy[t->id].def;
  int axis = nv_narrows(s) ? pair_axis(g, t) : -1;
  lval x[2];
  if (axis < 0) return false;
  int at = g->at[axis];
  for (int i = 0; i < 2; i++) {
    g->at[axis] = (at & ~1) + i;
    lval ok = NULL;
    shape sh = nv_shape_of(g, t);
    x[i] = nv_alive(g, &sh, &ok) ? nv_at(g, s->in[0]) : NULL;
  }
  g->at[axis] = at;
  return x[0] && x[1] && nv_narrow(g, s, x, out);
}

static lval make(ngen *g, const tval *t, int r) {
  lazy *v = &g->lazy[t->id];
  lval *regs = g->regs[t->id], pair[2], y;
  if (v->def->kind == TILE_LOAD && v->words) return hidden_element(g, t, r);
  if (v->def->kind == TILE_LOAD) {
    read_again(g, t);
    return regs[r];
  }
  if ((y = hidden_widened(g, v->def, r))) return y;
  if (narrow_pair(g, t, pair)) {
    if (!g->guards) regs[r ^ 1] = pair[!(r % 2)];
    return pair[r % 2];
  }
  return nv_map_at(g, v->def);
}

lval lazy_at(ngen *g, const tval *t, int r) {
  const lazy *v = &g->lazy[t->id];
  lval ok = NULL, *regs = g->regs[t->id];
  shape sh = nv_shape_of(g, t);
  if (!v->def || (v->def->kind == TILE_LOAD && !v->forgotten) || !nv_alive(g, &sh, &ok)) return NULL;
  lval y = make(g, t, r);
  // What is made behind a branch, or in a loop inside, is not known after it.
  regs[r] = g->guards || v->passing ? NULL : y;
  return y;
}

int lazy_registers(const ngen *g) {
  enum { STEP = 8 };
  const target_info *t = g->e->target;
  int need = g->kept_words + OTHERS, blocks = t->registers_per_core / (need * g->k->threads);
  int64_t resident = t->shared_per_core / (g->shared_peak + t->shared_reserved);
  if (blocks > resident) blocks = (int)resident;
  if (!g->kept_words || !blocks) return 0;
  return t->registers_per_core / (blocks * g->k->threads) / STEP * STEP;
}
