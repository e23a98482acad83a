// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The task function of a kernel: grid tiles [begin, end), the statements of a region, and ifs.
//
//   void kernel(args *, i64 begin, i64 end, i32 worker)
//     for (tile = begin; tile < end; tile++)
//       split tile into one index per grid axis (the first axis outermost)
//       body, in a version for whole tiles and one for those cut off by the size of an axis
#include "base/fault.h"
#include "codegen/abi.h"
#include "codegen/cpu/cpu.h"

#include <stddef.h>

// ---- ifs

static lval first_or_last(kgen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  const range *r = g->ranges[s->axis];
  check(r);
  lval at = LLVMBuildAdd(b, r->position, int64(g, r->ahead), "");
  if ((s->cond == COND_FIRST) != r->reverse)
    return LLVMBuildICmp(b, LLVMIntEQ, at, int64(g, 0), "");
  lval next = LLVMBuildAdd(b, at, int64(g, r->extent), "");
  return LLVMBuildICmp(b, LLVMIntSGE, next, r->end, "");
}

/// Emits one side; its yields are left in regs[] (one array per result).
static LLVMBasicBlockRef side(kgen *g, const tstmt *s, const tregion *r, lval **regs) {
  if (!r) return LLVMGetInsertBlock(g->e->builder);
  gen_region(g, r);
  int n;
  tval *const *yields = tregion_yields(r, &n);
  check(n == s->nout);
  for (int i = 0; i < n; i++) regs[i] = g->regs[yields[i]->id];
  return LLVMGetInsertBlock(g->e->builder);
}

static void merge_results(kgen *g, const tstmt *s, lval **yes, lval **no,
                          LLVMBasicBlockRef yes_from, LLVMBasicBlockRef no_from) {
  for (int i = 0; i < s->nout; i++) {
    shape sh = tile_shape(g, s->out[i]);
    lval *out = tile_define(g, s->out[i]);
    for (int r = 0; r < shape_regs(&sh); r++) {
      lval values[] = {reg_or_poison(g, s->out[i], yes[i][r]),
                       reg_or_poison(g, s->out[i], no[i][r])};
      LLVMBasicBlockRef blocks[] = {yes_from, no_from};
      out[r] = LLVMBuildPhi(g->e->builder, LLVMTypeOf(values[0]), "");
      LLVMAddIncoming(out[r], values, blocks, 2);
    }
  }
}

static void gen_if(kgen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  bool on_tile = s->cond == COND_ANY || s->cond == COND_ALL;
  lval cond = on_tile ? gen_condition(g, s) : first_or_last(g, s);
  lval **yes = arena_array(g->arena, lval *, s->nout);
  lval **no = arena_array(g->arena, lval *, s->nout);
  if (LLVMIsAConstantInt(cond)) {
    side(g, s, LLVMConstIntGetZExtValue(cond) ? s->body : s->other, yes);
    for (int i = 0; i < s->nout; i++) g->regs[s->out[i]->id] = yes[i];
    return;
  }
  LLVMBasicBlockRef body = block_new(g), other = block_new(g), after = block_new(g);
  LLVMBuildCondBr(b, cond, body, other);
  LLVMPositionBuilderAtEnd(b, body);
  LLVMBasicBlockRef yes_from = side(g, s, s->body, yes);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, other);
  LLVMBasicBlockRef no_from = side(g, s, s->other, no);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, after);
  merge_results(g, s, yes, no, yes_from, no_from);
}

// ---- regions

static void gen_stmt(kgen *g, const tstmt *s) {
  switch (s->kind) {
    case TILE_MAP: gen_map(g, s); break;
    case TILE_CONST: gen_const(g, s); break;
    case TILE_SIZE: gen_size(g, s); break;
    case TILE_INDEX: gen_index(g, s); break;
    case TILE_LOAD: gen_load(g, s); break;
    case TILE_STORE: gen_store(g, s); break;
    case TILE_ACCUM: gen_accum(g, s); break;
    case TILE_REDUCE: gen_reduce(g, s); break;
    case TILE_ARG: gen_arg(g, s); break;
    case TILE_ARG_REDUCE: gen_arg_reduce(g, s); break;
    case TILE_DOT: gen_dot(g, s); break;
    case TILE_LOOP: gen_loop(g, s); break;
    case TILE_IF: gen_if(g, s); break;
    case TILE_YIELD: break;
    case TILE_LOCAL: gen_local(g, s); break;
    case TILE_PREFETCH: gen_prefetch(g, s); break;
    case TILE_CHECK: gen_check(g, s); break;
  }
}

void gen_region(kgen *g, const tregion *r) {
  ix top = g->scratch_top;
  for (int i = 0; i < r->stmts.len; i++) gen_stmt(g, r->stmts.data[i]);
  g->scratch_top = top;
}

// ---- the grid

static ix tile_count(kgen *g, const grid_axis *a) {
  ix size = g->k->axes.data[a->axis].size;
  ix up = ix_add(&g->ix, size, ix_const(&g->ix, a->extent - 1));
  return ix_div(&g->ix, up, ix_const(&g->ix, a->extent));
}

/// The tile's index along each grid axis, from its number; `tile` exists at level `at`.
static void split_tile(kgen *g, lval tile, int at, lval *index) {
  for (int i = g->k->grid.len - 1; i >= 0; i--) {
    ix count = tile_count(g, &g->k->grid.data[i]);
    int64_t known;
    if (ix_is_const(&g->ix, count, &known) && known == 1) {
      index[i] = int64(g, 0);
    } else if (i == 0) {
      index[i] = tile;
    } else {
      lval n = ix_value(g, count);
      LLVMBuilderRef b = level_builder(g, at);
      index[i] = LLVMBuildURem(b, tile, n, "");
      tile = LLVMBuildUDiv(b, tile, n, "");
    }
  }
}

static void open_grid(kgen *g, int i, const lval *index);

static void with_range(kgen *g, int i, const lval *index, ix base, valid_kind valid, lval left,
                       bool one) {
  const grid_axis *a = &g->k->grid.data[i];
  ix size = g->k->axes.data[a->axis].size;
  range *r = range_open(g, a->axis, a->extent, base);
  int64_t known;
  r->valid = valid;
  r->position = ix_value(g, base);
  r->end = ix_value(g, size);
  if (valid == VALID_FIRST && ix_is_const(&g->ix, size, &known)) r->count = known % a->extent;
  if (valid == VALID_ASK) {
    r->limit = left;
    r->whole_too = one;
    r->multiple = common_divisor(ix_divisor(&g->ix, size), a->extent);
  }
  open_grid(g, i + 1, index);
  range_close(g, r);
}

/// Two versions: of whole tiles, and of those that the size cuts.
static void both_versions(kgen *g, int i, const lval *index, ix base, lval left, bool known) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef whole = block_new(g), part = block_new(g), after = block_new(g);
  lval fits = LLVMBuildICmp(b, LLVMIntSGE, left, int64(g, g->k->grid.data[i].extent), "");
  LLVMBuildCondBr(b, fits, whole, part);
  for (int version = 0; version < 2; version++) {
    LLVMPositionBuilderAtEnd(b, version ? part : whole);
    level_open(g);
    g->tails += version;
    with_range(g, i, index, base, !version ? VALID_ALL : known ? VALID_FIRST : VALID_ASK, left,
               false);
    g->tails -= version;
    level_close(g);
    LLVMBuildBr(b, after);
  }
  LLVMPositionBuilderAtEnd(b, after);
}

/// Opens grid axes i, i + 1, ... and emits the body.
static void open_grid(kgen *g, int i, const lval *index) {
  if (i == g->k->grid.len) {
    gen_region(g, &g->k->body);
    return;
  }
  const grid_axis *a = &g->k->grid.data[i];
  ix size = g->k->axes.data[a->axis].size, base = ix_const(&g->ix, 0);
  int64_t n;
  bool known = ix_is_const(&g->ix, size, &n);
  if (!known || n > a->extent) {
    ix tile = root_new(g, index[i], 1, 1, tile_count(g, a));
    base = ix_scale(&g->ix, tile, a->extent);
  }
  bool exact = known ? n % a->extent == 0 : ix_divisor(&g->ix, size) % a->extent == 0;
  if (exact) return with_range(g, i, index, base, VALID_ALL, NULL, false);
  if (known && n < a->extent) return with_range(g, i, index, base, VALID_FIRST, NULL, false);
  lval left = ix_value(g, ix_sub(&g->ix, size, base));
  bool one = !known && one_version(g, &g->k->body, a->axis);
  if (!one && region_works_along(g->k, &g->k->body, a->axis, a->extent))
    return both_versions(g, i, index, base, left, known);
  LLVMBuilderRef b = level_builder(g, 1);
  lval some = LLVMBuildICmp(b, LLVMIntSLT, left, int64(g, a->extent), "");
  left = LLVMBuildSelect(b, some, left, int64(g, a->extent), "");
  with_range(g, i, index, base, VALID_ASK, left, true);
}

// ---- the function

static lval load_word(kgen *g, LLVMTypeRef type, lval args, int word) {
  LLVMBuilderRef b = level_builder(g, 0);
  lval at = int64(g, 8 * (int64_t)word);
  lval x = LLVMBuildLoad2(b, type, LLVMBuildGEP2(b, g->e->i8, args, &at, 1, ""), "");
  LLVMSetAlignment(x, 8);
  return x;
}

/// More pointers than there are registers wait in memory: LLVM would write them there too, and take
/// long to find out.
static void load_arguments(kgen *g) {
  enum { MANY_ARGUMENTS = 16 };
  LLVMTypeRef i64 = g->e->i64, ptr = g->e->ptr;
  lval args = LLVMGetParam(g->function, 0);
  int nsymbols = g->program->symbols.len;
  g->frame = load_word(g, ptr, args, ARG_FRAME);
  g->site_base = load_word(g, i64, args, ARG_SITE);
  lval at = int64(g, ARG_SYMBOLS);
  g->symbol_words = LLVMBuildGEP2(level_builder(g, 0), i64, args, &at, 1, "");
  bool wait = g->k->nargs > MANY_ARGUMENTS;
  for (int i = 0; i < g->k->nargs && !wait; i++)
    g->bufs[i] = load_word(g, ptr, args, ARG_SYMBOLS + nsymbols + i);
  lval bytes = load_word(g, i64, args, ARG_SCRATCH);
  LLVMBuilderRef b = level_builder(g, 0);
  lval field = int64(g, offsetof(tcf_frame, scratch));
  lval all = LLVMBuildLoad2(b, ptr, LLVMBuildGEP2(b, g->e->i8, g->frame, &field, 1, ""), "");
  lval worker = LLVMBuildSExt(b, LLVMGetParam(g->function, 3), i64, "");
  lval mine = LLVMBuildMul(b, worker, bytes, "");
  g->scratch = LLVMBuildGEP2(b, g->e->i8, all, &mine, 1, "");
}

/// for (tile = begin; tile < end; tile++), one level.
static void gen_tiles(kgen *g) {
  LLVMBuilderRef b = g->e->builder;
  lval begin = LLVMGetParam(g->function, 1), end = LLVMGetParam(g->function, 2);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(b), header = block_new(g), after = block_new(g);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, begin, end, ""), header, after);
  LLVMPositionBuilderAtEnd(b, header);
  lval tile = LLVMBuildPhi(b, g->e->i64, "");
  LLVMAddIncoming(tile, &begin, &before, 1);
  level_open_at(g, header);
  lval *index = arena_array(g->arena, lval, g->k->grid.len);
  split_tile(g, tile, 1, index);
  open_grid(g, 0, index);
  lval next = LLVMBuildNSWAdd(b, tile, int64(g, 1), "");
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(b);
  LLVMAddIncoming(tile, &next, &latch, 1);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, end, ""), header, after);
  LLVMPositionBuilderAtEnd(b, after);
  level_close(g);
}

static int statements_of(const tregion *r) {
  int n = 0;
  for (int i = 0; r && i < r->stmts.len; i++)
    n += 1 + statements_of(r->stmts.data[i]->body) + statements_of(r->stmts.data[i]->other);
  return n;
}

bool program_is_long(const program *p) {
  enum { LONG_KERNEL = 400, LONG_PROGRAM = 4000 };  // models have 100 and 1000
  int all = 0;
  for (int i = 0; i < p->kernels.len; i++) {
    int n = statements_of(&p->kernels.data[i]->body);
    if (n > LONG_KERNEL) return true;
    all += n;
  }
  return all > LONG_PROGRAM;
}

lval gen_kernel(emit *e, arena *a, const program *p, const kernel *k, bool reads_constants,
                ix_pool *sizes, ix_list *peaks) {
  LLVMTypeRef params[] = {e->ptr, e->i64, e->i64, e->i32};
  LLVMTypeRef type = LLVMFunctionType(e->void_, params, 4, 0);
  lval function = function_new(e, str_z(a, k->name), type, false);
  kgen g = kgen_open(e, a, p, k, function);
  g.scratch_top = ix_const(&g.ix, 0);
  pairs_open(&g);
  load_arguments(&g);
  if (reads_constants) constants_open(&g);
  gen_tiles(&g);
  if (g.nontemporal) emit_intrinsic(e, "llvm.x86.sse.sfence", NULL, 0, NULL, 0);
  LLVMBuildRetVoid(e->builder);
  for (int i = 0; i < g.peaks.len; i++)
    vec_push(sizes->arena, peaks, ix_substitute(sizes, &g.ix, g.peaks.data[i], NULL, 0));
  kgen_close(&g);
  return function;
}
