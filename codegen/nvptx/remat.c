// Computing again instead of keeping: between two reductions of rows that stay in registers, what was
// computed from the loaded row is forgotten, and only the row itself, in 16 bits, is kept.
//
//   %x = load : bf16 [T:16384]        16 words a thread            kept
//   %e = exp(cast %x - %max)          32 floats a thread           made for the sum, and again
//   %s = reduce add %e                                             for the quotient
//
// Both LLVM and the device's assembler would merge the two computations and keep the floats, with
// the registers that were to be saved; so each copy of the row is combined with a zero that they
// cannot see through.
// A row that lies on chip is read from there again.
//
// What a loop over rows takes from outside (weights) is kept in 16 bits as well, and widened where it
// is used.
#include "base/fault.h"
#include "codegen/nvptx/nvptx.h"

enum {
  MANY = 24,  // registers of a value that are worth it
  MOST = 48,  // registers of a value that small blocks keep: they find room beside others
  WIDE = 512, // threads of blocks that do not
  DEAR = 40,  // cost of the operations (ir/ops.def) that are not repeated
};

static int registers(ngen *g, const tval *t) { return gpu_shape_of(g, t).nregs; }

static bool is_map(const tstmt *s) { return s && s->kind == TILE_MAP; }

/// Cost of making v again from loaded 16-bit values and small ones; DEAR when that cannot be done.
static int cost_again(ngen *g, const tval *v, const tregion *r) {
  const remat *m = &g->remat[v->id];
  if (registers(g, v) < MANY) return 0;
  if (!m->def || m->region != r) return DEAR;
  if (m->def->kind == TILE_LOAD) return dtype_bytes(v->type) == 2 ? 1 : DEAR;
  if (!is_map(m->def)) return DEAR;
  int cost = op_get(m->def->op)->cost;
  for (int i = 0; i < m->def->nin && cost < DEAR; i++) cost += cost_again(g, m->def->in[i], r);
  return cost;
}

/// The elements of a load once more, from the same registers.
static void load_again(ngen *g, const tval *v) {
  LLVMBuilderRef b = g->e->builder;
  LLVMTypeRef i16 = g->e->i16, i32 = g->e->i32, type = emit_type(g->e, v->type, 0);
  // As text, because LLVM would split the operation into halves.
  static const char text[] = "xor.b32 $0, $1, $2;", operands[] = "=r,r,r";
  LLVMTypeRef type3 = LLVMFunctionType(i32, (LLVMTypeRef[]){i32, i32}, 2, 0);
  lval hide = LLVMGetInlineAsm(type3, text, sizeof text - 1, operands, sizeof operands - 1, 0, 0,
                               LLVMInlineAsmDialectATT, 0);
  int n = registers(g, v);
  lval *from = g->regs[v->id], *to = gpu_define(g, v);
  memcpy(to, from, sizeof(lval) * (size_t)n);
  for (int r = 0; r + 1 < n; r += 2) {
    if (!from[r] || !from[r + 1]) continue;
    lval low = LLVMBuildZExt(b, LLVMBuildBitCast(b, from[r], i16, ""), i32, "");
    lval high = LLVMBuildZExt(b, LLVMBuildBitCast(b, from[r + 1], i16, ""), i32, "");
    lval word = LLVMBuildOr(b, low, LLVMBuildShl(b, high, i32_of(g, 16), ""), "");
    word = LLVMBuildCall2(b, type3, hide, (lval[]){word, g->hidden_zero}, 2, "");
    to[r] = LLVMBuildBitCast(b, LLVMBuildTrunc(b, word, i16, ""), type, "");
    high = LLVMBuildTrunc(b, LLVMBuildLShr(b, word, i32_of(g, 16), ""), i16, "");
    to[r + 1] = LLVMBuildBitCast(b, high, type, "");
  }
}

static void make_again(ngen *g, const tval *v) {
  remat *m = &g->remat[v->id];
  if (registers(g, v) < MANY || m->epoch == g->epoch) return;
  m->epoch = g->epoch;
  if (m->def->kind == TILE_LOAD && g->k->bufs.data[m->def->buf].local) {
    gpu_load(g, m->def);
    return;
  }
  if (m->def->kind == TILE_LOAD) {
    load_again(g, v);
    if (!m->kept) g->kept_words += registers(g, v) / 2;
    m->kept = true;
    return;
  }
  for (int i = 0; i < m->def->nin; i++) make_again(g, m->def->in[i]);
  gpu_map(g, m->def);
}

/// Widened outside of the loop that uses it, from 16 bits.
static bool comes_widened(ngen *g, const tval *v, const tregion *r) {
  const remat *m = &g->remat[v->id];
  if (!is_map(m->def) || m->region == r || m->def->op != OP_cast) return false;
  const remat *from = &g->remat[m->def->in[0]->id];
  return registers(g, v) >= MANY && from->def && from->def->kind == TILE_LOAD &&
         from->region == m->region && dtype_bytes(m->def->in[0]->type) == 2;
}

/// v for one statement alone: what is made inside of a loop is not known behind it.
static void widen_here(ngen *g, const tval *v) {
  const tstmt *cast = g->remat[v->id].def;
  const tval *narrow = cast->in[0];
  remat *m = &g->remat[narrow->id];
  vec_push(g->arena, &g->widened, ((widened){v, g->regs[v->id]}));
  lval *words = g->regs[narrow->id];
  load_again(g, narrow);
  gpu_map(g, cast);
  g->regs[narrow->id] = words;
  if (!m->kept) g->kept_words += registers(g, narrow) / 2;
  m->kept = true;
}

static bool reduces_many(ngen *g, const tstmt *s) {
  return (s->kind == TILE_REDUCE || s->kind == TILE_ARG_REDUCE) && registers(g, s->in[0]) >= MANY;
}

void remat_before(ngen *g, const tstmt *s, const tregion *r) {
  if (s->kind == TILE_LOOP || s->kind == TILE_IF || s->kind == TILE_YIELD) return;
  for (int i = 0; i < s->nin; i++) {
    remat *m = &g->remat[s->in[i]->id];
    if (g->k->threads >= WIDE && comes_widened(g, s->in[i], r)) widen_here(g, s->in[i]);
    if (!is_map(m->def) || m->epoch == g->epoch || m->region != r) continue;
    if (g->k->threads < WIDE && registers(g, s->in[i]) < MOST) continue;
    if (cost_again(g, s->in[i], r) < DEAR) make_again(g, s->in[i]);
  }
}

int remat_registers(const ngen *g) {
  enum { OTHERS = 24, STEP = 8 };
  enum { FILE_SIZE = 65536, SHARED_SIZE = 228 << 10, SHARED_BESIDES = 1 << 10 };
  int need = g->kept_words + OTHERS, blocks = FILE_SIZE / (need * g->k->threads);
  int64_t on_chip = SHARED_SIZE / (g->shared_peak + SHARED_BESIDES);
  if (blocks > on_chip) blocks = (int)on_chip;
  if (!g->kept_words || !blocks) return 0;
  return FILE_SIZE / (blocks * g->k->threads) / STEP * STEP;
}

void remat_after(ngen *g, const tstmt *s, const tregion *r) {
  while (g->widened.len) {
    widened w = g->widened.data[--g->widened.len];
    g->regs[w.value->id] = w.regs;
  }
  for (int i = 0; i < s->nout; i++) g->remat[s->out[i]->id] = (remat){s, r, g->epoch};
  if (reduces_many(g, s)) g->epoch++;
}
