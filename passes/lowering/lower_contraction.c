// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_CONTRACTION: one dot with what is fused into its loads and its result.
//
//   grid batch:1, M:MT, N:NT {
//     local %b[K, N] panels of NR          packed, converted, contiguous along N
//     loop K:KC {                          blocks of the contraction
//       stage loops: %b = operand b
//       loop M:MR { loop N:NR {            register block: accumulators stay in registers
//         c = first block ? 0 : partial sums
//         c = c + loop K:1 { sum += a[M] * b[N] }      from 0: long chains of additions round off
//         last block ? epilogue, store : store partial sums
//
// After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", TOMS 2008,
// without packing a: with few rows per block it is read in place as broadcasts. The lanes run
// along N, an axis of one operand only (called b; operands swap to make it so). A matrix product,
// a batched one, a convolution over window views and an outer product are the same case with
// other axes.
#include "passes/lowering/lower_contraction.h"

#include "base/fault.h"
#include "passes/lowering/lower_reduce.h"
#include "passes/lowering/sums.h"

/// The axis along which packing moves vectors: where b is contiguous along K, or a along its rows,
/// square tiles let the backend transpose them in registers. -1: b along its lanes, a by element.
static int vector_run(const kbuild *b, const contraction_plan *p, int which) {
  int inner_k = p->nkk ? p->kk[p->nkk - 1] : -1;
  bool whole = !p->kc || inner_k != p->kk[0] || p->kc % (2 * b->lanes) == 0;
  if (!whole) return -1;
  if (contraction_along_k(b, p, p->dot->in[which]) && kb_kernel_size(b, inner_k) >= b->lanes)
    return inner_k;
  return which == p->a && contraction_along_rows(b, p) ? p->rows : -1;
}

/// How much of the axis packing takes at a time.
static int pack_step(const kbuild *b, const contraction_plan *p, bool is_b, int axis, int run) {
  int inner_k = p->nkk ? p->kk[p->nkk - 1] : -1, pair = is_b && p->pairs ? 2 : 1;
  if (is_b && axis == p->lanes) return run < 0 ? p->nr : b->lanes;
  if (run < 0 || (axis != run && axis != inner_k)) return axis == inner_k ? pair : 1;
  bool square = is_b || run != inner_k;
  return b->lanes * (square ? pair : 2);
}

/// Copies operand `which` into a local buffer over the current ranges of its axes.
static int pack(kbuild *b, const contraction_plan *p, int which, const char *name) {
  const node *x = p->dot->in[which];
  bool is_b = which == p->b;
  int axes[MAX_AXES], naxes = 0;
  for (int i = 0; i < p->nkbatch; i++) axes[naxes++] = p->kbatch[i];
  for (int i = 0; is_b && i < p->nkn; i++)
    if (p->kn[i] != p->lanes) axes[naxes++] = p->kn[i];
  for (int i = 0; !is_b && i < p->nkm; i++) axes[naxes++] = p->km[i];
  for (int i = 0; i < p->nkk; i++) axes[naxes++] = p->kk[i];
  if (is_b && p->lanes >= 0) axes[naxes++] = p->lanes;
  int buf = kb_local(b, name, p->type, axes, naxes);
  if (is_b && p->lanes >= 0) {
    b->k->bufs.data[buf].panel_dim = naxes - 1;
    b->k->bufs.data[buf].panel = p->nr;
    b->k->bufs.data[buf].pairs = p->pairs;
    b->k->bufs.data[buf].pair_dim = naxes - 2;
  }
  int run = vector_run(b, p, which), opened = 0;
  for (int i = 0; i < naxes; i++) {
    // b panel by panel: its lanes outermost.
    int loop_axis = !is_b || p->lanes < 0 ? axes[i] : i ? axes[i - 1] : p->lanes;
    if (b->extent[loop_axis] == 1) continue;
    int by = pack_step(b, p, is_b, loop_axis, run);
    tstmt *loop = kb_loop(b, loop_axis, by, NULL, 0);
    loop->stage = true;
    loop->vec = !is_b && run >= 0 && loop_axis == run;
    if (by <= 2 && i + 1 == naxes) loop->unroll = 4;
    opened++;
  }
  kb_store_local(b, buf, kb_as_type(b, kb_value_here(b, x), p->type));
  while (opened--) kb_end_loop(b, NULL, 0);
  return buf;
}

static tval *operand(kbuild *b, const contraction_plan *p, int which) {
  int buf = which == p->b ? p->b_buf : p->a_buf;
  tval *v = buf >= 0 ? kb_load_local(b, buf) : kb_value_here(b, p->dot->in[which]);
  return kb_as_type(b, v, p->dot->type);
}

tval *contraction_zero(kbuild *b, const contraction_plan *p) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    if (axes_have(p->kk, p->nkk, axis) || !b->extent[axis]) continue;
    axes[n] = axis;
    extents[n++] = b->extent[axis];
  }
  scalar zero = scalar_cast((scalar){.i = 0}, DT_i64, p->dot->type);
  return kb_fill(b, p->dot->type, zero, axes, extents, n);
}

/// sum and the products over these axes, of which those that no factor varies along are one element
/// at a time.
static tval *dot_step(kbuild *b, const contraction_plan *p, tval *sum, const int *over, int nover) {
  tval *in[] = {operand(b, p, p->a), operand(b, p, p->b), sum};
  int axes[MAX_AXES], n = 0;
  for (int i = 0; i < nover; i++) {
    if (tval_extent(in[0], over[i]) || tval_extent(in[1], over[i])) axes[n++] = over[i];
    else check(b->extent[over[i]] == 1);
  }
  if (!n) {
    if (dtype_is_float(sum->type)) return kb_map(b, OP_fma, sum->type, in[0], in[1], sum);
    tval *product = kb_map(b, OP_mul, sum->type, in[0], in[1], NULL);
    return kb_map(b, OP_add, sum->type, product, sum, NULL);
  }
  tstmt *st = arena_new(b->l->a, tstmt);
  *st = (tstmt){.kind = TILE_DOT, .nin = 3, .nout = 1, .unit = p->pairs ? DOT_PAIRS : DOT_FMA};
  st->in = arena_copy(b->l->a, in, sizeof in);
  st->axes = arena_copy(b->l->a, axes, sizeof(int) * (size_t)n);
  st->naxes = n;
  st->out = arena_array(b->l->a, tval *, 1);
  st->out[0] = tile_value(b->k, sum->type, sum->axes, sum->extents, sum->naxes);
  st->at = p->dot->at;
  kb_append(b, b->scope, st);
  return st->out[0];
}

/// The contraction over the current range of K, one step at a time. Where a is read in place
/// from a large buffer, its next rows are fetched line by line meanwhile; where b is read once, its
/// next columns.
static tval *contraction(kbuild *b, const contraction_plan *p, tval *start) {
  enum { LINE_BYTES = 64 };
  if (!p->nkk) return dot_step(b, p, start, NULL, 0);  // an outer product
  int inner = p->kk[p->nkk - 1], line = LINE_BYTES / dtype_bytes(p->type);
  bool whole_lines = !p->kc || inner != p->kk[0] || p->kc % line == 0;
  bool fetch = p->rows >= 0 && p->a_buf < 0 && whole_lines && kb_kernel_size(b, inner) >= 4 * line;
  int opened = 0;
  tval *sum = start;
  for (int i = 0; i < p->nkk + fetch; i++) {
    bool last = i + 1 == p->nkk + fetch;
    int by = last ? (p->pairs ? 2 : 1) : fetch && i + 1 == p->nkk ? line : 1;
    tstmt *loop = kb_loop(b, i < p->nkk ? p->kk[i] : inner, by, &sum, 1);
    if (last) loop->unroll = 4;
    sum = loop->body->params[0];
    opened++;
  }
  const tregion *loads = b->scope->region;
  sum = dot_step(b, p, sum, p->kk, p->nkk);
  // Rows of b far apart are too many streams for the processor to follow.
  if (p->stream_b) kb_prefetch_next(b, loads, p->lanes, 2 * (int64_t)p->nr, 2, 0);
  for (; opened; opened--) {
    sum = kb_end_loop(b, &sum, 1)[0];
    if (fetch && opened == p->nkk + 1)
      kb_prefetch_next(b, loads, p->rows, p->mr, 2, b->l->target->l2_bytes / 2);
  }
  return sum;
}

/// The contraction added to `start`, block by block where the sum is long. Blocks of a plan (kc)
/// are such; without them it is one of moderate length, or its length is not known.
static tval *contraction_from(kbuild *b, const contraction_plan *p, tval *start) {
  enum { BLOCK = 1024 };
  bool is_float = dtype_is_float(p->dot->type);
  if (!is_float || !p->nkk) return contraction(b, p, start);
  bool is_long = !p->kc && sum_steps(b, p->kk[0], 1) > BLOCK;
  if (!is_long && !p->kc) return contraction(b, p, start);
  if (is_long) start = kb_loop(b, p->kk[0], BLOCK, &start, 1)->body->params[0];
  tval *block = contraction(b, p, contraction_zero(b, p));
  tval *sum = kb_map(b, OP_add, p->dot->type, start, block, NULL);
  return is_long ? kb_end_loop(b, &sum, 1)[0] : sum;
}

/// Reductions along columns that the block tile holds, in order.
void contraction_finish(kbuild *b, const contraction_plan *p, tval *sum) {
  b->done[p->dot->id] = sum;
  for (int i = 0; i < b->group->reductions.len; i++) {
    const node *red = b->group->reductions.data[i];
    int axis = b->kaxis[red->attr_axes[0]];
    b->done[red->id] =
        kb_reduce_tile(b, op_combiner(red->op), kb_value_here(b, red->in[0]), &axis, 1);
  }
}

void contraction_epilogue(kbuild *b, const contraction_plan *p, tval *sum) {
  contraction_finish(b, p, sum);
  for (int i = 0; i < b->group->outputs.len; i++) {
    const node *out = b->group->outputs.data[i];
    // Partial sums have brought the output into the caches already.
    bool stream = !p->kc && kb_nontemporal(b, b->l->buffer_of[out->id]);
    kb_store_node(b, out, kb_value_here(b, out), stream);
  }
  b->done[p->dot->id] = NULL;
  for (int i = 0; i < b->group->reductions.len; i++)
    b->done[b->group->reductions.data[i]->id] = NULL;
}

/// Unrolled over the register block, expensive functions would make much code and run out of
/// registers: their rows are walked one by one, from a buffer.
static bool is_expensive_epilogue(const kbuild *b, const contraction_plan *p) {
  enum { EXPENSIVE = 12 };
  if (p->rows < 0 || p->mr < 2) return false;
  int cost = 0;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    if (n->id > p->dot->id && op_is_map(n->op)) cost += op_get(n->op)->cost;
  }
  return cost >= EXPENSIVE;
}

static void finish_block(kbuild *b, const contraction_plan *p, tval *sum) {
  if (!is_expensive_epilogue(b, p)) {
    contraction_epilogue(b, p, sum);
    return;
  }
  int axes[MAX_AXES], n = 0;
  for (int i = 0; i < sum->naxes; i++)
    if (sum->axes[i] != p->lanes) axes[n++] = sum->axes[i];
  if (p->lanes >= 0) axes[n++] = p->lanes;
  int buf = kb_local(b, "sums", sum->type, axes, n);
  kb_store_local(b, buf, sum);
  kb_loop(b, p->rows, 1, NULL, 0);
  contraction_epilogue(b, p, kb_load_local(b, buf));
  kb_end_loop(b, NULL, 0);
}

static tval *load_partial(kbuild *b, const contraction_plan *p) {
  if (p->c_buf >= 0) return kb_load_local(b, p->c_buf);
  return kb_load_buffer(b, b->group->outputs.data[0]);
}

static void store_partial(kbuild *b, const contraction_plan *p, tval *sum) {
  if (p->c_buf >= 0) kb_store_local(b, p->c_buf, sum);
  else kb_store_node(b, b->group->outputs.data[0], sum, false);
}

/// One register block: contraction over the current K range, then epilogue or partial sums.
static void block(kbuild *b, const contraction_plan *p) {
  tval *start = contraction_zero(b, p);
  if (p->kc) {
    kb_if(b, COND_FIRST, p->kk[0], NULL);
    kb_else(b, &start, 1);
    tval *partial = load_partial(b, p);
    if (p->lanes >= 0)
      kb_prefetch_next(b, b->scope->region, p->lanes, p->nr, 2, b->l->target->l2_bytes / 2);
    start = kb_end_if(b, &partial, 1)[0];
  }
  tval *sum = contraction_from(b, p, start);
  if (!p->kc) {
    finish_block(b, p, sum);
    return;
  }
  kb_if(b, COND_LAST, p->kk[0], NULL);
  finish_block(b, p, sum);
  kb_else(b, NULL, 0);
  store_partial(b, p, sum);
  kb_end_if(b, NULL, 0);
}

static int declare_partial(kbuild *b, const contraction_plan *p) {
  int axes[MAX_AXES], n = 0;
  for (int i = 0; i < p->nkbatch; i++) axes[n++] = p->kbatch[i];
  for (int i = 0; i < p->nkn; i++)
    if (p->kn[i] != p->lanes) axes[n++] = p->kn[i];
  for (int i = 0; i < p->nkm; i++) axes[n++] = p->km[i];
  if (p->lanes >= 0) axes[n++] = p->lanes;
  return kb_local(b, "acc", p->dot->type, axes, n);
}

/// Walks the batch entries of a grid tile one by one. Returns the number of loops opened.
static int open_batch(kbuild *b, const contraction_plan *p) {
  int opened = 0;
  for (int i = 0; i < p->nkbatch; i++)
    if (p->bt[i] > 1) kb_loop(b, p->kbatch[i], 1, NULL, 0), opened++;
  return opened;
}

/// Opens loops over register blocks. Returns their number.
static int open_blocks(kbuild *b, const contraction_plan *p) {
  int opened = 0;
  if (p->stream_b) kb_loop(b, p->lanes, p->nr, NULL, 0), opened++;
  for (int i = 0; i < p->nkm; i++)
    kb_loop(b, p->km[i], p->km[i] == p->rows ? p->mr : 1, NULL, 0), opened++;
  if (!p->stream_b && p->lanes >= 0) kb_loop(b, p->lanes, p->nr, NULL, 0), opened++;
  return opened;
}

/// Blocks of K enclose the stores, and an empty K has no block: then the sums are zero.
static void store_empty_sums(kbuild *b, const contraction_plan *p) {
  ix size = b->k->axes.data[p->kk[0]].size;
  if (ix_bounds(&b->k->ix, size).min > 0) return;
  tval *one = kb_const(b, DT_i64, (scalar){.i = 1});
  kb_if(b, COND_ALL, 0, kb_map(b, OP_lt, DT_bool, kb_index_value(b, size, DT_i64), one, NULL));
  int opened = open_blocks(b, p);
  finish_block(b, p, contraction_zero(b, p));
  while (opened--) kb_end_loop(b, NULL, 0);
  kb_else(b, NULL, 0);
  kb_end_if(b, NULL, 0);
}

static void emit(kbuild *b, contraction_plan *p) {
  kb_begin(b);
  int opened = open_batch(b, p);
  if (p->kc) store_empty_sums(b, p);
  // Row axes besides the blocked one stay inside the packing of b.
  if (p->kc && !p->partial_in_output) p->c_buf = declare_partial(b, p);
  if (p->kc) kb_loop(b, p->kk[0], p->kc, NULL, 0), opened++;
  if (p->pack_b) p->b_buf = pack(b, p, p->b, "panel");
  if (p->pack_a) {
    if (p->rows >= 0) kb_loop(b, p->rows, p->mc, NULL, 0), opened++;
    p->a_buf = pack(b, p, p->a, "block");
  }
  opened += open_blocks(b, p);
  block(b, p);
  while (opened--) kb_end_loop(b, NULL, 0);
}

static void make_grid(kbuild *b, const contraction_plan *p) {
  kernel *k = b->k;
  for (int i = 0; i < p->nkbatch; i++)
    vec_push(b->l->a, &k->grid, (grid_axis){p->kbatch[i], p->bt[i]});
  for (int i = 0; i < p->nkn; i++)
    if (p->kn[i] != p->lanes) vec_push(b->l->a, &k->grid, (grid_axis){p->kn[i], 1});
  if (p->lanes >= 0) vec_push(b->l->a, &k->grid, (grid_axis){p->lanes, p->nt});
  // Other row axes: one each, unless b is packed for all of them.
  for (int i = 0; i < p->nkm; i++) {
    bool inside = p->km[i] != p->rows && p->pack_b && !p->pack_a;
    int extent = p->km[i] == p->rows ? p->mt
                 : inside            ? contraction_round(kb_kernel_size(b, p->km[i]), 1)
                                     : 1;
    vec_push(b->l->a, &k->grid, (grid_axis){p->km[i], extent});
  }
}
// ---- inner products
//
// Where both operands are contiguous along K and there are few rows, transposing b would cost more
// than it saves: the lanes run along K, sums are kept per lane and combined at the end, and the
// epilogue runs over the finished sums with its lanes along N.
//
//   grid N:NT { local sum[M, N]
//     loop N:NR { loop M:MR { loop K:16 { acc[M, N, K] += a[M, K] * b[N, K] }; sum = reduce acc } }
//     loop M:1 { loop N:64 vec { epilogue(sum) } } }
//
// Of bf16 pairs, K numbers the pairs, a lane holds one, and what is added is a dot over an axis of 2.

static void sum_block(kbuild *b, const contraction_plan *p, int buf) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0, inner = p->kk[p->nkk - 1];
  for (int axis_number = 0; axis_number < b->k->axes.len; axis_number++) {
    int extent = axis_number == inner                    ? b->lanes
                 : axes_have(p->kk, p->nkk, axis_number) ? 1
                                                         : b->extent[axis_number];
    if (!extent) continue;
    axes[n] = axis_number;
    extents[n++] = extent;
  }
  tval *sum = kb_fill(b, p->dot->type, scalar_cast((scalar){.i = 0}, DT_i64, p->dot->type), axes,
                      extents, n);
  bool is_long = sum_is_long(b, OP_add, sum->type, inner, b->lanes);
  tval *before = sum;
  for (int i = 0; i < p->nkk; i++) {
    int by = p->kk[i] != inner ? 1 : is_long ? SUM_BLOCK * b->lanes : b->lanes;
    sum = kb_loop(b, p->kk[i], by, &sum, 1)->body->params[0];
  }
  if (is_long) {
    before = sum;
    sum = kb_like(b, sum, (scalar){.f = 0});
    sum = kb_loop(b, inner, b->lanes, &sum, 1)->body->params[0];
  }
  if (p->pair >= 0) sum = kb_loop(b, p->pair, 2, &sum, 1)->body->params[0];
  const tregion *loads = b->scope->region;
  if (p->pair >= 0) {
    sum = dot_step(b, p, sum, &p->pair, 1);
  } else {
    tval *in[] = {sum, operand(b, p, p->a), operand(b, p, p->b)};
    sum = kb_accumulate(b, OP_fma, in, 3);
  }
  // Few rows: the time goes into reading b, whose next rows arrive meanwhile.
  kb_prefetch_next(b, loads, p->lanes, p->nr, 2, b->l->target->l2_bytes / 8);
  if (p->pair >= 0) sum = kb_end_loop(b, &sum, 1)[0];
  if (is_long) {
    sum = kb_end_loop(b, &sum, 1)[0];
    sum = kb_accumulate(b, OP_add, (tval *[]){before, sum}, 2);
  }
  for (int i = 0; i < p->nkk; i++) sum = kb_end_loop(b, &sum, 1)[0];
  kb_store_local(b, buf, kb_reduce_tile(b, OP_add, sum, p->kk, p->nkk));
}

static void lower_inner_product(kbuild *b, const contraction_plan *p) {
  b->k->vec_axis = p->kk[p->nkk - 1];
  b->k->vec_lanes = b->lanes;
  make_grid(b, p);
  kb_begin(b);
  int opened = open_batch(b, p);
  int buf = declare_partial(b, p);
  kb_loop(b, p->lanes, p->nr, NULL, 0);
  kb_loop(b, p->rows, p->mr, NULL, 0);
  sum_block(b, p, buf);
  kb_end_loop(b, NULL, 0);
  kb_end_loop(b, NULL, 0);
  kb_loop(b, p->rows, 1, NULL, 0);
  kb_loop(b, p->lanes, 2 * b->lanes, NULL, 0)->vec = true;
  contraction_epilogue(b, p, kb_load_local(b, buf));
  kb_end_loop(b, NULL, 0);
  kb_end_loop(b, NULL, 0);
  while (opened--) kb_end_loop(b, NULL, 0);
}

void contraction_become_reduction(kbuild *b) {
  const node *dot = b->group->anchor;
  group *g = arena_copy(b->l->a, b->group, sizeof *b->group);
  g->kind = GROUP_REDUCE;
  g->reductions.data = NULL;
  g->reductions.len = g->reductions.cap = 0;
  vec_push(b->l->a, &g->reductions, (node *)dot);
  lower *l = b->l;
  kernel *old = b->k;
  kb_init(b, l, g, "");
  b->k->name = old->name;
}

void lower_contraction_group(kbuild *b) {
  contraction_plan p;
  contraction_form form = contraction_choose(b, &p);
  if (form == CONTRACTION_REDUCTION) {
    contraction_become_reduction(b);
    lower_reduce_group(b);
    return;
  }
  if (form == CONTRACTION_INNER) {
    lower_inner_product(b, &p);
    return;
  }
  if (p.lanes >= 0) {
    b->k->vec_axis = p.lanes;
    b->k->vec_lanes = b->lanes;
  }
  make_grid(b, &p);
  emit(b, &p);
}
