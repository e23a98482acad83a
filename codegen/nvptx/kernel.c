// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The function of a kernel: parameters, grid tiles, statements.
//
// One grid tile per block, or, with blocks_per_sm, as many blocks as are resident walk the tiles.
// Where the last tiles of an axis are partial, the body is made twice: for whole tiles without any
// test, and for the others; bodies with dots once.
#include "base/fault.h"
#include "codegen/nvptx/pending.h"
#include "codegen/nvptx/pipeline.h"
#include "codegen/nvptx/ptx.h"
#include "codegen/nvptx/ring.h"

enum { WARP = 32, KERNEL_CONVENTION = 71, SHARED = 3, GLOBAL = 1 };

// ---- statements

/// Of the producers' code: only what leads to their copies.
static void follow_region(ngen *g, const tregion *r) {
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    ring *once = ring_filled_once(g, s);
    if (once) ring_fill_once(g, once);
    else if (producers_walk(g, s)) nv_loop(g, s);
  }
}

void nv_region(ngen *g, const tregion *r) {
  if (g->producing) {
    follow_region(g, r);
    return;
  }
  if (g->filling && nv_copy_async(g, r, false)) return;
  int mark = g->checked.len;
  nv_statements(g, r, 0, r->stmts.len);
  while (g->checked.len > mark) {
    checked c = g->checked.data[--g->checked.len];
    g->regs[c.id] = c.regs;
  }
}

void nv_statement(ngen *g, const tstmt *s) {
  // Loops and yields may pass on what is under way.
  if (s->kind != TILE_LOOP && s->kind != TILE_YIELD) flight_land_operands(g, s);
  switch (s->kind) {
    case TILE_MAP: nv_map(g, s); break;
    case TILE_CONST: nv_const(g, s); break;
    case TILE_SIZE: nv_size(g, s); break;
    case TILE_INDEX: nv_index(g, s); break;
    case TILE_LOAD: nv_load(g, s); break;
    case TILE_STORE:
      if (!writeback_store(g, s) && !adds_store(g, s)) nv_store(g, s);
      break;
    case TILE_ACCUM: nv_accum(g, s); break;
    case TILE_REDUCE: nv_reduce(g, s); break;
    case TILE_ARG: nv_arg(g, s); break;
    case TILE_ARG_REDUCE: nv_arg_reduce(g, s); break;
    case TILE_DOT: s->unit == DOT_FMA ? nv_dot(g, s) : tensor_dot(g, s); break;
    case TILE_LOOP: nv_loop(g, s); break;
    case TILE_IF: nv_if(g, s); break;
    case TILE_LOCAL: nv_local(g, s); break;
    case TILE_CHECK: nv_check(g, s); break;
    case TILE_PREFETCH:  // the threads of other blocks hide the latency
    case TILE_YIELD: break;
  }
  lazy_after(g, s);
}

void nv_statements(ngen *g, const tregion *r, int from, int to) {
  for (int i = from; i < to; i++) {
    const tstmt *s = r->stmts.data[i];
    if (tensor_reads_in_place(g, s) || ring_filled_once(g, s)) continue;
    rings_before(g, r, i);
    if (!nv_waits_for_mask(g, r, i, NULL) && !lazy_defer(g, s, r)) nv_statement(g, s);
    rings_after(g, r, i);
  }
}

// ---- shared memory of reductions

static int64_t scratch_of(ngen *g, const tstmt *s) {
  shape outer = nv_shape_of(g, s->out[0]);
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int i = 0; i < s->naxes; i++) {
    int extent = 0;
    for (int k = 0; k < s->nin && !extent; k++) extent = tval_extent(s->in[k], s->axes[i]);
    if (!extent) continue;
    axes[n] = s->axes[i];
    extents[n++] = extent;
  }
  shape inner = nv_shape_of_axes(g, axes, extents, n);
  if (!(shape_threads(&inner) & ~(unsigned)(WARP - 1))) return 0;
  bool compact = !(shape_threads(&outer) & (WARP - 1));
  int slots = compact ? (g->k->threads + WARP - 1) / WARP : g->k->threads;
  return (int64_t)outer.nregs * slots * 8 * s->nout;
}

static int64_t scratch_needed(ngen *g, const tregion *r) {
  int64_t most = 0;
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    int outside = g->layout;
    if (s->layout) g->layout = s->layout;
    bool reduces = s->kind == TILE_REDUCE || s->kind == TILE_ARG_REDUCE ||
                   (s->kind == TILE_DOT && s->unit == DOT_FMA);
    int64_t n = reduces ? scratch_of(g, s) : 0;
    int64_t body = scratch_needed(g, s->body), other = scratch_needed(g, s->other);
    n = n > body ? n : body;
    n = n > other ? n : other;
    most = most > n ? most : n;
    g->layout = outside;
  }
  return most;
}

/// A sum over threads or registers, made just before it is stored.
static bool is_sum(const tregion *r, const tval *v) {
  for (int i = r->stmts.len - 1; i >= 0; i--) {
    const tstmt *s = r->stmts.data[i];
    if (s->nout && s->out[0] == v) return s->kind == TILE_REDUCE && s->op == OP_add;
  }
  return false;
}

/// What a tensor core made of factors of few bits, for sums that come in any order.
static bool is_added_product(const tregion *r, const tstmt *store) {
  for (int i = r->stmts.len - 1; i >= 0 && store->adds; i--) {
    const tstmt *s = r->stmts.data[i];
    if (s->nout && s->out[0] == store->in[0]) return tstmt_on_tensor_cores(s);
  }
  return false;
}

/// All that is stored is 16-bit floats, or, where these do, sums, of which nobody says in which order they round.
static bool results_are_narrow(const kernel *k, const tregion *r, bool or_sums) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    const tile_buf *to = s->kind == TILE_STORE ? &k->bufs.data[s->buf] : NULL;
    bool wide = to && !to->local && !dtype_is_storage(to->type) && !is_added_product(r, s);
    if (wide && !(or_sums && is_sum(r, s->in[0]))) return false;
    if (!results_are_narrow(k, s->body, or_sums) || !results_are_narrow(k, s->other, or_sums)) return false;
  }
  return true;
}

static unsigned use_of(const tstmt *s, int operand) {
  if (s->kind == TILE_MAP && s->op == OP_cast && dtype_is_storage(s->out[0]->type))
    return USE_NARROWED | USE_EITHER;
  bool adds = s->op == OP_add && (s->kind == TILE_REDUCE || (s->kind == TILE_ACCUM && operand == 1));
  return adds ? USE_SUMMED | USE_EITHER : 0;
}

/// Leaves of the uses marked for each value those that all its uses are.
static void mark_uses(ngen *g, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    for (int k = 0; k < s->nin; k++) g->uses[s->in[k]->id] &= use_of(s, k);
    mark_uses(g, s->body);
    mark_uses(g, s->other);
  }
}

// ---- the grid

typedef struct grid_range {
  range r;
  lval whole;  // i1, null: known
} grid_range;

/// Tiles along a grid axis; at least 1, since code must not divide by 0 where nothing runs.
static lval tiles_along(ngen *g, const grid_axis *a, ix *count) {
  ix size = g->k->axes.data[a->axis].size, extent = ix_const(&g->ix, a->extent);
  *count = ix_div(&g->ix, ix_add(&g->ix, size, ix_const(&g->ix, a->extent - 1)), extent);
  int64_t n;
  lval v = nv_ix32(g, *count);
  if (ix_is_const(&g->ix, *count, &n)) return i32_of(g, n > 0 ? n : 1);
  lval none = LLVMBuildICmp(g->e->builder, LLVMIntSLT, v, i32_of(g, 1), "");
  return LLVMBuildSelect(g->e->builder, none, i32_of(g, 1), v, "");
}

static void open_axis(ngen *g, grid_range *gr, const grid_axis *a, lval index, lval counts,
                      ix count) {
  LLVMBuilderRef b = g->e->builder;
  if (a->descending) {
    lval last = LLVMBuildSub(b, counts, i32_of(g, 1), ""), near = LLVMBuildSub(b, last, index, "");
    if (g->far) g->alone = LLVMBuildICmp(b, LLVMIntEQ, near, index, "");
    index = g->far ? LLVMBuildSelect(b, g->far, index, near, "") : near;
  }
  ix size = g->k->axes.data[a->axis].size;
  *gr = (grid_range){.r = {.axis = a->axis, .extent = a->extent, .base = ix_const(&g->ix, 0)}};
  int64_t n, divisor = ix_divisor(&g->ix, size);
  if (!ix_is_const(&g->ix, count, &n) || n > 1) {
    gr->r.base = ix_scale(&g->ix, nv_root(g, index, 1, count), a->extent);
    gr->r.index = index;
    gr->r.count = counts;
  }
  gr->r.whole = a->extent == 1 || (divisor && divisor % a->extent == 0);
  g->ranges[a->axis] = &gr->r;
}

/// So many tiles of the last axis but one for each of the last; 1: in the order of the grid. Where the
/// kernel does not say, products are grouped: they read rows and columns again and again, and
/// neighbouring tiles share them.
static int group_of_tiles(ngen *g) {
  const tregion *r = &g->k->body;
  if (g->k->grid.len < 2) return 1;
  const grid_axis *a = &g->k->grid.data[g->k->grid.len - 2];
  if (a->group) return a->group;
  bool product = region_has_tensor_dot(r, DOT_WGMMA) || region_has_tensor_dot(r, DOT_MMA);
  return product ? rows_of_group(a->extent) : 1;
}

/// Opens the ranges of a grid tile: its number split into one per axis, the last fastest.
static void open_grid(ngen *g, lval tile, grid_range *ranges) {
  LLVMBuilderRef b = g->e->builder;
  const grid_axis *axes = g->k->grid.data;
  int last = g->k->grid.len - 1, group = group_of_tiles(g);
  lval rest = tile, counts[2], index[2];
  ix count[2];
  if (group > 1) {
    for (int i = 0; i < 2; i++) counts[i] = tiles_along(g, &axes[last - 1 + i], &count[i]);
    lval columns = g->far ? g->pairs : counts[1];
    if (last >= 2) {
      lval of_two = LLVMBuildMul(b, counts[0], columns, "");
      lval t = LLVMBuildURem(b, rest, of_two, "");
      rest = LLVMBuildUDiv(b, rest, of_two, "");
      grouped_tile(g, t, counts[0], columns, group, &index[0], &index[1]);
    } else {
      grouped_tile(g, rest, counts[0], columns, group, &index[0], &index[1]);
    }
    for (int i = 0; i < 2; i++)
      open_axis(g, &ranges[last - 1 + i], &axes[last - 1 + i], index[i], counts[i], count[i]);
    last -= 2;
  }
  for (int i = last; i >= 0; i--) {
    counts[0] = tiles_along(g, &axes[i], &count[0]);
    index[0] = rest;
    bool one = LLVMIsConstant(counts[0]) && LLVMConstIntGetZExtValue(counts[0]) == 1;
    if (i > 0 && !one) {
      lval n = g->far && axes[i].descending ? g->pairs : counts[0];
      index[0] = LLVMBuildURem(b, rest, n, "");
      rest = LLVMBuildUDiv(b, rest, n, "");
    }
    open_axis(g, &ranges[i], &axes[i], index[0], counts[0], count[0]);
  }
}

static int count_statements(const tregion *r) {
  int n = 0;
  for (int i = 0; r && i < r->stmts.len; i++)
    n += 1 + count_statements(r->stmts.data[i]->body) + count_statements(r->stmts.data[i]->other);
  return n;
}

/// Code for whole tiles and code for the others.
static void gen_versions(ngen *g, grid_range *ranges) {
  enum { LONG = 200 };
  LLVMBuilderRef b = g->e->builder;
  const kernel *k = g->k;
  lval whole = NULL;
  bool partial = false, single = false;
  for (int i = 0; i < k->grid.len; i++) {
    const range *r = &ranges[i].r;
    if (r->whole) continue;
    partial = true;
    ix left = ix_sub(&g->ix, k->axes.data[r->axis].size, r->base);
    if (ix_bounds(&g->ix, left).max < r->extent) single = true;
    lval v = nv_ix(g, left);
    whole = nv_both(g, whole, LLVMBuildICmp(b, LLVMIntSGE, v, emit_int(LLVMTypeOf(v), r->extent), ""));
  }
  if (!partial || single || region_has_dot(&k->body) || count_statements(&k->body) > LONG) {
    nv_region(g, &k->body);
    return;
  }
  LLVMBasicBlockRef yes = nv_block(g), no = nv_block(g), after = nv_block(g);
  LLVMBuildCondBr(b, whole, yes, no);
  const uint8_t *before = accesses_now(g);
  for (int version = 0; version < 2; version++) {
    LLVMPositionBuilderAtEnd(b, version ? no : yes);
    int mark = scope_open(g);
    int64_t top = g->shared_top;
    accesses_set(g, before);
    bool *were = arena_array(g->arena, bool, k->grid.len);
    for (int i = 0; i < k->grid.len; i++) {
      were[i] = ranges[i].r.whole;
      if (!version) ranges[i].r.whole = true;
    }
    nv_region(g, &k->body);
    for (int i = 0; i < k->grid.len; i++) ranges[i].r.whole = were[i];
    scope_close(g, mark);
    shared_release(g, top);
    LLVMBuildBr(b, after);
  }
  LLVMPositionBuilderAtEnd(b, after);
}

static lval special_register(ngen *g, const char *name) {
  return emit_intrinsic(g->e, name, NULL, 0, NULL, 0);
}

static void gen_tile(ngen *g, lval tile) {
  grid_range *ranges = arena_alloc(g->arena, sizeof *ranges * (size_t)(g->k->grid.len + 1));
  open_grid(g, tile, ranges);
  gen_versions(g, ranges);
  for (int i = 0; i < g->k->grid.len; i++) g->ranges[g->k->grid.data[i].axis] = NULL;
}

/// Whether the next tile writes to shared memory that a thread may still be reading.
static bool leaves_shared(ngen *g) {
  if (!g->specialised) return g->shared_peak > 0;
  int rings = 0, locals = 0;
  for (int i = 0; i < g->pipes.len; i++) rings += g->pipes.data[i]->nlocals;
  for (int i = 0; i < g->rings.len; i++) rings += !g->rings.data[i]->of && !g->rings.data[i]->within;
  for (int i = 0; i < g->k->bufs.len; i++) locals += g->k->bufs.data[i].local;
  return !g->producing && (locals > rings || g->scratch_bytes);
}

/// Of blocks, counted by clusters where there are some.
static lval cluster_number(ngen *g, const char *name) {
  lval v = special_register(g, name);
  return g->k->cluster ? LLVMBuildUDiv(g->e->builder, v, i32_of(g, g->k->cluster), "") : v;
}

/// The later a tile along a descending axis, the more work it has: a resident block takes one from
/// either end in turn, so that all blocks have the same. Gives the number of pairs. Where there is a
/// block for each tile (*all), each takes its own.
static lval open_pairs(ngen *g, lval blocks, lval tiles, lval *all) {
  LLVMBuilderRef b = g->e->builder;
  ix count;
  lval n = tiles_along(g, &g->k->grid.data[g->k->grid.len - 1], &count), one = i32_of(g, 1);
  *all = LLVMBuildICmp(b, LLVMIntSGE, blocks, tiles, "");
  lval half = LLVMBuildLShr(b, LLVMBuildAdd(b, n, one, ""), one, "");
  g->pairs = LLVMBuildSelect(b, *all, n, half, "");
  return LLVMBuildMul(b, LLVMBuildUDiv(b, tiles, n, ""), g->pairs, "");
}

static void gen_resident(ngen *g) {
  LLVMBuilderRef b = g->e->builder;
  lval block = cluster_number(g, "llvm.nvvm.read.ptx.sreg.ctaid.x");
  lval blocks = cluster_number(g, "llvm.nvvm.read.ptx.sreg.nctaid.x");
  lval tiles = LLVMBuildTrunc(b, g->tiles, g->e->i32, ""), all = NULL;
  bool pairs = g->k->grid.len && g->k->grid.data[g->k->grid.len - 1].descending;
  if (pairs) tiles = open_pairs(g, blocks, tiles, &all);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(b), header = nv_block(g), after = nv_block(g);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, block, tiles, ""), header, after);
  LLVMPositionBuilderAtEnd(b, header);
  int mark = scope_open(g);
  lval tile = LLVMBuildPhi(b, g->e->i32, ""), again = NULL, stride = blocks;
  LLVMAddIncoming(tile, &block, &before, 1);
  if (pairs) {
    lval light = LLVMConstInt(g->e->i1, 0, false);
    g->far = LLVMBuildPhi(b, g->e->i1, "");
    LLVMAddIncoming(g->far, &light, &before, 1);
  }
  mark_accesses(g, &g->k->body);
  gen_tile(g, tile);
  if (leaves_shared(g)) nv_barrier(g);
  if (pairs) {
    lval last = LLVMBuildOr(b, LLVMBuildOr(b, g->far, all, ""), g->alone, "");
    again = LLVMBuildNot(b, last, "");
    stride = LLVMBuildSelect(b, again, i32_of(g, 0), blocks, "");
  }
  lval next = LLVMBuildAdd(b, tile, stride, "");
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(b);
  LLVMAddIncoming(tile, &next, &latch, 1);
  if (pairs) LLVMAddIncoming(g->far, &again, &latch, 1);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, tiles, ""), header, after);
  LLVMPositionBuilderAtEnd(b, after);
  scope_close(g, mark);
  g->far = NULL;
}

static void gen_tiles(ngen *g) {
  if (g->k->blocks_per_sm) gen_resident(g);
  else gen_tile(g, cluster_number(g, "llvm.nvvm.read.ptx.sreg.ctaid.x"));
}

// ---- the function

static str plain_name(arena *a, str name) {
  char *text = arena_copy(a, name.ptr, (size_t)name.len);
  for (int i = 0; i < name.len; i++)
    if (text[i] == '.') text[i] = '_';
  return (str){text, name.len};
}

static void add_attribute(emit *e, lval f, const char *key, const char *value) {
  LLVMAttributeRef attribute = LLVMCreateStringAttribute(
      e->context, key, (unsigned)strlen(key), value, (unsigned)strlen(value));
  LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, attribute);
}

/// A tensor map comes by value and is used where it lies.
static void map_param(emit *e, lval f, int param) {
  LLVMAttributeIndex at = (LLVMAttributeIndex)(param + 1);
  unsigned byval = LLVMGetEnumAttributeKindForName("byval", 5);
  unsigned align = LLVMGetEnumAttributeKindForName("align", 5);
  LLVMTypeRef map = LLVMArrayType2(e->i8, 128);
  LLVMAddAttributeAtIndex(f, at, LLVMCreateTypeAttribute(e->context, byval, map));
  LLVMAddAttributeAtIndex(f, at, LLVMCreateEnumAttribute(e->context, align, 64));
  LLVMAddAttributeAtIndex(f, at, LLVMCreateStringAttribute(e->context, "nvvm.grid_constant", 18,
                                                           "", 0));
}

static lval kernel_function(ngen *g, str name) {
  emit *e = g->e;
  arena *a = g->arena;
  LLVMTypeRef global = LLVMPointerTypeInContext(e->context, GLOBAL);
  int buffers = TCF_KERNEL_SYMBOLS + g->program->symbols.len, words = buffers + g->k->nargs;
  if (kernel_finish(g->k)) words++;  // the tickets
  int n = words + g->maps.len;
  LLVMTypeRef *params = arena_array(a, LLVMTypeRef, n);
  for (int i = 0; i < n; i++)
    params[i] = i >= words                          ? e->ptr
                : i == TCF_KERNEL_ERROR || i >= buffers ? global
                                                    : e->i64;
  lval f = LLVMAddFunction(e->module, str_z(a, name),
                           LLVMFunctionType(e->void_, params, (unsigned)n, 0));
  LLVMSetFunctionCallConv(f, KERNEL_CONVENTION);
  for (int i = words; i < n; i++) map_param(e, f, i);
  add_attribute(e, f, "nvvm.reqntid", str_z(a, str_printf(a, "%d", producer_threads(g))));
  int resident = g->specialised ? producer_blocks(g) : g->k->blocks_per_sm;
  if (resident) add_attribute(e, f, "nvvm.minctasm", str_z(a, str_printf(a, "%d", resident)));
  if (g->k->cluster)
    add_attribute(e, f, "nvvm.cluster_dim", str_z(a, str_printf(a, "%d,1,1", g->k->cluster)));
  unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
  LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                          LLVMCreateEnumAttribute(e->context, nounwind, 0));
  return f;
}

static lval shared_memory(emit *e) {
  lval known = LLVMGetNamedGlobal(e->module, "shared_memory");
  if (known) return known;
  lval v = LLVMAddGlobalInAddressSpace(e->module, LLVMArrayType2(e->i8, 0), "shared_memory", SHARED);
  LLVMSetLinkage(v, LLVMExternalLinkage);
  LLVMSetAlignment(v, 1024);
  return v;
}

void nv_kernel(emit *e, arena *a, const program *p, const kernel *k, tcf_kernel_info *info,
                kernel_maps *maps) {
  check(k->threads > 0 && k->threads % WARP == 0);
  str name = plain_name(a, k->name);
  ngen g = {.e = e, .arena = a, .program = p, .k = k};
  ix_init(&g.ix, a);
  ix_copy_pool(&g.ix, &k->ix);
  g.first_root = g.ix.axis_size.len > k->axes.len ? g.ix.axis_size.len : k->axes.len;
  g.ranges = arena_array(a, range *, k->axes.len + 1);
  g.at = arena_array(a, int, k->axes.len + 1);
  g.regs = arena_array(a, lval *, k->nvals + 1);
  g.symbols = arena_array(a, lval, p->symbols.len + 1);
  g.bufs = arena_array(a, lval, k->bufs.len + 1);
  g.in_flight = arena_array(a, flight *, k->nvals + 1);
  g.locals = arena_alloc(a, sizeof *g.locals * (size_t)(k->bufs.len + 1));
  memset(g.locals, 0, sizeof *g.locals * (size_t)(k->bufs.len + 1));
  pipeline_scan(&g);
  g.function = kernel_function(&g, name);
  LLVMPositionBuilderAtEnd(e->builder, nv_block(&g));
  g.error = LLVMGetParam(g.function, TCF_KERNEL_ERROR);
  g.site = LLVMGetParam(g.function, TCF_KERNEL_SITE);
  g.tiles = LLVMGetParam(g.function, TCF_KERNEL_TILES);
  for (int i = 0; i < p->symbols.len; i++)
    g.symbols[i] = LLVMGetParam(g.function, (unsigned)(TCF_KERNEL_SYMBOLS + i));
  for (int i = 0; i < k->nargs; i++)
    g.bufs[i] = LLVMGetParam(g.function, (unsigned)(TCF_KERNEL_SYMBOLS + p->symbols.len + i));
  if (kernel_finish(k))
    g.tickets =
        LLVMGetParam(g.function, (unsigned)(TCF_KERNEL_SYMBOLS + p->symbols.len + k->nargs));
  g.tid = g.tid_local = special_register(&g, "llvm.nvvm.read.ptx.sreg.tid.x");
  if (k->cluster) {
    lval before = LLVMBuildMul(e->builder, ptx_cluster_rank(e), i32_of(&g, k->threads), "");
    g.tid = LLVMBuildAdd(e->builder, before, g.tid_local, "");
  }
  g.smem = shared_memory(e);
  ngen_open(&g);
  tensor_open(&g);
  lval high = LLVMBuildLShr(e->builder, g.tiles, i64_of(&g, 62), "");
  g.hidden_zero = LLVMBuildTrunc(e->builder, high, e->i32, "");
  exchange_open(&g);
  lazy_open(&g);
  g.uses = arena_array(a, unsigned, k->nvals + 1);
  for (int i = 0; i < k->nvals; i++) g.uses[i] = USE_NARROWED | USE_SUMMED | USE_EITHER;
  mark_uses(&g, &k->body);
  // Under contraction and short functions a map's bits depend on the kernel that it is in.
  g.narrow_results = !e->deterministic && results_are_narrow(k, &k->body, false);
  e->fused_multiply_add = !e->deterministic && results_are_narrow(k, &k->body, true);
  g.zero_locals = region_has_dot(&k->body);
  g.scratch_bytes = (scratch_needed(&g, &k->body) + 127) / 128 * 128;
  g.shared_top = g.shared_peak = 2 * g.scratch_bytes;
  cluster_open(&g);
  if (g.specialised) {
    producer_split(&g, gen_tiles);
  } else {
    writeback_open(&g);
    adds_open(&g);
    gen_tiles(&g);
    writeback_close(&g);
    adds_close(&g);
  }
  cluster_close(&g);
  int registers = lazy_registers(&g);
  if (registers)
    add_attribute(e, g.function, "nvvm.maxnreg", str_z(a, str_printf(a, "%d", registers)));
  LLVMBuildRetVoid(e->builder);
  *info = (tcf_kernel_info){.name = str_z(a, name), .cluster = k->cluster ? k->cluster : 1};
  info->threads = producer_threads(&g);
  info->words = TCF_KERNEL_SYMBOLS + p->symbols.len + k->nargs;
  if (g.tickets) info->ticket_word = info->words++;
  info->shared_bytes = (int32_t)g.shared_peak;
  info->blocks_per_sm = k->blocks_per_sm;
  info->size_most = (int32_t)k->resident_most;
  for (int i = 0; i < p->symbols.len; i++)
    if (k->resident_size && str_eq(p->symbols.data[i], ix_get(&k->ix, k->resident_size)->name))
      info->size_word = TCF_KERNEL_SYMBOLS + i;
  info->nmaps = g.maps.len;
  info->maps = g.maps.data;
  *maps = (kernel_maps){arena_copy(a, &g.ix, sizeof g.ix), g.map_axes.data};
}
