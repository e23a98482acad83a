// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_NEST: loop nests one after the other over a tile of rows, each of which leaves its values in
// an on-chip buffer for those after it (outline.h). On GPUs a block of threads has the tile, and vec
// is a layout (nest_plan.c).
//
//   grid B_H:1, S:64 {
//     local m[S], l[S], o[S, E]              states
//     local packed[D, S]                     q, its lanes innermost (nest_lanes.c)
//     loop T:256 {
//       local s[T, S]                        values of a step
//       loop T:8 { loop S:32 { c = loop D:1 { dot }; s = c } }
//       loop S:64 { loop T:1 { max }; m, scale }
//       loop S:64 { loop T:1 { s = exp(s - m); l += s } }     in its place (nest_reuse.c)
//       loop S:8 { loop E:32 vec { o = o * scale + loop T:1 { dot } } }
//     }
//     loop S:1 { loop E:64 vec { store o / l } }
//   }
#include "base/fault.h"
#include "passes/lowering/lower_reduce.h"
#include "passes/lowering/nest.h"

void nest_forget(kbuild *b) {
  for (scope *s = b->scope; s; s = s->outer) s->memo = (map){0};
}

// ---- buffers

/// On GPUs operands of 16 bits stay so, for tensor cores.
static dtype kept_type(const nest *t, const node *n) {
  const group *g = t->b->group;
  return t->threads ? n->type : outline_type(n, g->nodes.data, g->nodes.len);
}

void nest_declare(nest *t, const node *n, const char *name) {
  kbuild *b = t->b;
  int axes[MAX_KERNEL_AXES], count = nest_axes_of(t, n, nest_loops_of(t, n).lanes, axes);
  bool in_memory = t->o.values[n->id].in_memory;
  b->local_of[n->id] =
      in_memory ? t->kept_in[n->id] : kb_local(b, name, kept_type(t, n), axes, count);
  nest_lay_in_panels(t, n, b->local_of[n->id]);
  b->local_ready[n->id] = false;
}

static void declare_scale(nest *t, const node *frame) {
  int axes[MAX_KERNEL_AXES], count = nest_axes_of(t, frame, -1, axes);
  if (t->o.values[frame->id].in_memory) return;
  t->scale_of[frame->id] = kb_local(t->b, "scale", frame->type, axes, count);
  t->shift_of[frame->id] = kb_local(t->b, "shift", frame->type, axes, count);
}

tval *nest_kept(const nest *t, const node *n, int buf) {
  tval *v = t->b->k->bufs.data[buf].local ? kb_load_local(t->b, buf) : kb_load_arg(t->b, n, buf);
  return buf == t->b->local_of[n->id] ? kb_as_type(t->b, v, n->type) : v;
}

void nest_keep_in(const nest *t, const node *n, int buf, tval *v) {
  kbuild *b = t->b;
  ix index[MAX_AXES];
  v = kb_as_type(b, v, b->k->bufs.data[buf].type);
  if (b->k->bufs.data[buf].local) {
    kb_store_local(b, buf, v);
    return;
  }
  kb_identity(b, n, index);
  kb_store(b, buf, v, index, n->naxes);
}

void nest_keep(const nest *t, const node *n, tval *v) { nest_keep_in(t, n, t->b->local_of[n->id], v); }

// ---- loops

/// Opens the loops of these axes, in this order.
static int open_axes(const nest *t, const nest_loops *s, const int *axes, int count) {
  kbuild *b = t->b;
  int opened = 0;
  for (int i = 0; i < count; i++) {
    bool is_lanes = axes[i] == s->lanes;
    int by = is_lanes ? nest_width(t, s) : axes[i] == s->across ? nest_rows(t, s) : 1;
    if (b->extent[axes[i]] == 1) continue;
    if (b->extent[axes[i]] && by > b->extent[axes[i]]) by = b->extent[axes[i]];
    tstmt *loop = kb_loop(b, axes[i], by, NULL, 0);
    loop->vec = is_lanes && !t->threads && axes[i] != b->k->vec_axis;
    if (axes[i] == t->block) loop->layout = s->layout;
    opened++;
  }
  return opened;
}

int nest_open(const nest *t, const node *n, const nest_loops *s) {
  int axes[MAX_KERNEL_AXES], count = nest_axes_of(t, n, s->lanes, axes);
  return open_axes(t, s, axes, count);
}

void nest_close(const nest *t, int opened) {
  while (opened--) kb_end_loop(t->b, NULL, 0);
}

tval *nest_filled(const nest *t, const node *n, dtype type, scalar v, int more, int extent) {
  kbuild *b = t->b;
  int own[MAX_KERNEL_AXES], axes[MAX_AXES], extents[MAX_AXES], count = 0;
  int nown = nest_axes_of(t, n, -1, own);
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    int e = axis == more ? extent : axes_have(own, nown, axis) ? b->extent[axis] : 0;
    if (!e) continue;
    check(count < MAX_AXES);
    axes[count] = axis;
    extents[count++] = e;
  }
  return kb_fill(b, type, v, axes, extents, count);
}

int nest_reduced(const nest *t, const node *n, int *axes) {
  int count = 0;
  for (int k = 0; k < n->nattr_axes; k++) {
    int axis = t->b->kaxis[n->attr_axes[k]];
    if (axis >= 0 && !axes_have(axes, count, axis)) axes[count++] = axis;
  }
  return count;
}

// ---- one value

/// Operands that are the same in all steps of a walk.
static void pack_before(nest *t) {
  const kbuild *b = t->b;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    const outline_value *v = &t->o.values[n->id];
    t->packed_of[n->id] = 0;
    bool works = v->state ? v->walk == t->walk : t->needed[n->id] && v->streamed;
    if (op_get(n->op)->class != CLASS_contraction || !works || t->threads) continue;
    nest_loops s = nest_loops_of(t, n);
    if (s.packed < 0) continue;
    const node *x = n->in[s.packed];
    bool same = true;
    for (int k = 0; k < t->nstream; k++) same &= !kb_uses(t->b, x, t->stream[k]);
    if (same && skip_is_at_hand(t->b, &t->o, x)) t->packed_of[n->id] = nest_pack(t, x, n->type, s.lanes);
  }
  nest_forget(t->b);
}

/// from[]: buffers of the operands, -1: they are computed here.
static tval *dot_step(nest *t, const node *n, const int *from, tval *sum, const int *over, int nover) {
  kbuild *b = t->b;
  tval *in[3];
  for (int k = 0; k < 2; k++) {
    tval *v = from[k] >= 0 ? kb_load_local(b, from[k]) : kb_value_here(b, n->in[k]);
    in[k] = kb_as_type(b, v, n->type);
  }
  in[2] = sum;
  int axes[MAX_AXES], count = 0;
  for (int i = 0; i < nover; i++)
    if (tval_extent(in[0], over[i]) || tval_extent(in[1], over[i])) axes[count++] = over[i];
  if (!count || !dtype_is_float(n->type)) {
    tval *product = kb_map(b, OP_mul, n->type, in[0], in[1], NULL);
    product = kb_reduce_tile(b, OP_add, product, over, nover);
    return kb_map(b, OP_add, n->type, product, sum, NULL);
  }
  tstmt *st = reduce_statement(b, TILE_DOT, OP_dot, in, 3, 1);
  st->unit = DOT_FMA;
  st->axes = arena_copy(b->l->a, axes, sizeof(int) * (size_t)count);
  st->naxes = count;
  st->out[0] = tile_value(b->k, sum->type, sum->axes, sum->extents, sum->naxes);
  st->at = n->at;
  kb_append(b, b->scope, st);
  return st->out[0];
}

/// The factor by which what was added up under the frame shrinks in this step.
tval *nest_scaled(const nest *t, const node *state, tval *before) {
  const node *frame = t->o.values[state->id].frame;
  if (!frame) return before;
  tval *scale = nest_kept(t, frame, t->scale_of[frame->id]);
  return kb_map(t->b, OP_mul, before->type, before, kb_as_type(t->b, scale, before->type), NULL);
}

/// A step of a product of a block of threads.
static tval *product_step(nest *t, const node *n, const nest_product *d, tval *sum, const int *over,
                          int nover) {
  enum { UNROLL = 8 };
  kbuild *b = t->b;
  int from[2];
  nest_product_stage(t, n, d, from);
  if (d->unit != DOT_FMA) return nest_product_multiply(t, n, d, from, sum);
  tstmt *loop = kb_loop(b, d->depth, 1, &sum, 1);
  loop->unroll = UNROLL;
  sum = dot_step(t, n, from, loop->body->params[0], over, nover);
  return kb_end_loop(b, &sum, 1)[0];
}

static void emit_contraction(nest *t, const node *n) {
  kbuild *b = t->b;
  nest_loops s = nest_loops_of(t, n);
  nest_product d;
  bool state = t->o.values[n->id].state, product = nest_product_begin(t, n, &s, &d);
  int over[MAX_AXES], nover = nest_reduced(t, n, over), from[2] = {-1, -1};
  for (int i = 0; product && i + 1 < nover; i++)
    if (over[i] == d.depth) over[i] = over[nover - 1], over[nover - 1] = d.depth;
  if (s.packed >= 0) {
    int before = t->packed_of[n->id];
    from[s.packed] = before ? before : nest_pack(t, n->in[s.packed], n->type, s.lanes);
  }
  int o = nest_open(t, n, &s);
  scalar zero = scalar_cast((scalar){.i = 0}, DT_i64, n->type);
  tval *sum = state ? nest_kept(t, n, b->local_of[n->id]) : nest_filled(t, n, n->type, zero, -1, 0);
  if (state && nest_is_weight(t, n)) nest_keep_in(t, n, t->before_of[n->id], sum);
  if (state) sum = nest_scaled(t, n, sum);
  for (int i = 0; i < nover; i++) {
    int by = over[i] == s.lanes ? nest_width(t, &s) : 1;
    tstmt *loop = kb_loop(b, over[i], product && over[i] == d.depth ? d.step : by, &sum, 1);
    if (i + 1 == nover && !product) loop->unroll = 4;
    sum = loop->body->params[0];
  }
  sum = product ? product_step(t, n, &d, sum, over, nover) : dot_step(t, n, from, sum, over, nover);
  for (int i = 0; i < nover; i++) sum = kb_end_loop(b, &sum, 1)[0];
  nest_keep(t, n, sum);
  nest_close(t, o);
}

/// It is made of values that the rows have, which are the same for all of the stream.
static bool reads_rows(const nest *t, const node *n, bool *seen) {
  const kbuild *b = t->b;
  if (seen[n->id]) return false;
  seen[n->id] = true;
  for (int i = 0; i < n->nin; i++) {
    const node *x = n->in[i];
    bool streamed = false;
    for (int k = 0; k < t->nstream; k++) streamed |= kb_uses(b, x, t->stream[k]);
    if (!streamed && op_get(x->op)->class != CLASS_leaf && kb_uses(b, x, t->block)) return true;
    bool made_here = kb_in_group(b, x) && !t->o.values[x->id].kept && !t->o.values[x->id].state;
    if (made_here && reads_rows(t, x, seen)) return true;
  }
  return false;
}

/// Lanes along the rows: what rows have stays in registers while the stream goes by.
static int open_map(const nest *t, const node *n, const nest_loops *s) {
  int axes[MAX_KERNEL_AXES], count = nest_axes_of(t, n, s->lanes, axes);
  bool rows = count > 1 && axes[count - 1] == s->lanes && s->lanes == t->block && !t->threads &&
              reads_rows(t, n, kb_unseen(t->b));
  for (int i = count - 1; rows && i > 0; i--) axes[i] = axes[i - 1];
  if (rows) axes[0] = s->lanes;
  return open_axes(t, s, axes, count);
}

/// Marks what a value is made of, up to what is there; gives whether something expensive was marked before.
static bool mark_parts(const nest *t, const node *n, bool *marked) {
  enum { EXPENSIVE = 8 };
  if (!kb_in_group(t->b, n) || t->b->local_ready[n->id]) return false;
  if (marked[n->id]) return op_get(n->op)->cost >= EXPENSIVE;
  marked[n->id] = true;
  bool met = false;
  for (int k = 0; k < n->nin; k++) met |= mark_parts(t, n->in[k], marked);
  return met;
}

/// Other kept maps of the same elements that are ready and have an expensive part in common with n: one loop
/// computes it once.
static int find_companions(nest *t, const node *n, const node **found) {
  enum { MOST = 3 };
  const group *g = t->b->group;
  nest_loops own = nest_loops_of(t, n);
  int count = 0;
  if (t->threads || !t->needed || !t->o.values[n->id].streamed) return 0;
  for (int i = 0; i < g->nodes.len; i++)
    if (t->o.values[g->nodes.data[i]->id].is_centre) return 0;  // what is made of one comes later
  for (int i = 0; i < g->nodes.len && count < MOST; i++) {
    const node *m = g->nodes.data[i];
    const outline_value *v = &t->o.values[m->id];
    bool map = op_is_map(m->op) || (m->op == OP_view && view_is_reorder(t->b->l->g, m));
    if (m == n || !map || !v->kept || v->state || !v->streamed || !t->needed[m->id] ||
        t->b->local_ready[m->id] || !nest_same_axes(t, n, m))
      continue;
    nest_loops s = nest_loops_of(t, m);
    if (s.lanes != own.lanes || s.vectors != own.vectors) continue;
    if (!nest_is_ready(t, m, n, kb_unseen(t->b)) || nest_reduction_beside(t, m)) continue;
    bool *marked = kb_unseen(t->b);
    mark_parts(t, n, marked);
    if (mark_parts(t, m, marked)) found[count++] = m;
  }
  return count;
}

static void emit_maps(nest *t, const node *n) {
  const node *also[MAX_AXES];
  tval *v[MAX_AXES];
  int count = find_companions(t, n, also);
  if (op_is_map(n->op)) nest_declare_value(t, n, also, count);
  for (int i = 0; i < count; i++) nest_declare(t, also[i], "v");
  nest_loops s = nest_loops_of(t, n);
  int o = open_map(t, n, &s);
  tval *first = kb_value_here(t->b, n);
  for (int i = 0; i < count; i++) v[i] = kb_value_here(t->b, also[i]);
  // One of them may lie where they are made of.
  nest_keep(t, n, first);
  for (int i = 0; i < count; i++) nest_keep(t, also[i], v[i]);
  nest_close(t, o);
  for (int i = 0; i < count; i++) nest_is_there(t, also[i]);
}

static void emit_value(nest *t, const node *n) {
  kbuild *b = t->b;
  op_class class = op_get(n->op)->class;
  if (!op_is_map(n->op) && !t->o.values[n->id].state) nest_declare(t, n, "v");
  if (class == CLASS_contraction) emit_contraction(t, n);
  else if (op_is_arg(n->op)) nest_emit_arg(t, n);
  else if (class == CLASS_reduce) nest_emit_reduction(t, n);
  else if (class == CLASS_scan) nest_emit_scan(t, n);
  else emit_maps(t, n);
  nest_is_there(t, n);
  nest_forget(b);
}

/// States of the walk read what is taken from exponents; later walks, and the end, the maximum.
static void swap_frame(nest *t, const node *frame) {
  int buf = t->b->local_of[frame->id];
  t->b->local_of[frame->id] = t->shift_of[frame->id];
  t->shift_of[frame->id] = buf;
}

static void emit_store(nest *t, const node *n) {
  nest_loops s = nest_loops_of(t, n);
  int o = nest_open(t, n, &s);
  kb_store_node(t->b, n, kb_value_here(t->b, n), false);
  nest_close(t, o);
  nest_forget(t->b);
}

// ---- walks

static void begin_state(const nest *t, const node *n) {
  op combine = n->op == OP_dot ? OP_sum : n->op;
  nest_keep(t, n, nest_filled(t, n, n->type, op_identity(combine, n->type), -1, 0));
}

static int declare_before(nest *t, const node *n) {
  int axes[MAX_KERNEL_AXES], count = nest_axes_of(t, n, nest_loops_of(t, n).lanes, axes);
  if (t->o.values[n->id].in_memory) return t->before_of[n->id];
  return kb_local(t->b, "before", n->type, axes, count);
}

static void begin_states(nest *t, int walk) {
  kbuild *b = t->b;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    const outline_value *v = &t->o.values[n->id];
    if (v->is_centre && v->walk == walk) nest_begin_centre(t, n);
    if (!v->state || v->walk != walk) continue;
    nest_declare(t, n, "state");
    if (nest_is_weight(t, n)) t->before_of[n->id] = declare_before(t, n);
    if (v->is_frame) declare_scale(t, n);
    if (op_is_arg(n->op)) nest_declare_arg(t, n);
    nest_loops s = nest_loops_of(t, n);
    int o = nest_open(t, n, &s);
    if (op_is_arg(n->op)) nest_begin_arg(t, n);
    else begin_state(t, n);
    nest_close(t, o);
    nest_forget(b);
  }
}

/// By node id: made of a running mean.
static const uint8_t *find_late(const nest *t) {
  const group *g = t->b->group;
  uint8_t *late = arena_array(t->b->l->a, uint8_t, t->b->l->g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; k < n->nin; k++) {
      const node *x = n->in[k];
      late[n->id] |= t->member[x->id] && (t->o.values[x->id].is_centre || late[x->id]);
    }
  }
  return late;
}

/// First what is about no running mean, and these; then what is about them, all of them moved.
static void run_step(nest *t, const uint8_t *late) {
  const group *g = t->b->group;
  for (int i = 0; i < 2 * g->nodes.len; i++) {
    const node *n = g->nodes.data[i % g->nodes.len];
    const outline_value *v = &t->o.values[n->id];
    t->centred = i >= g->nodes.len;
    if (late[n->id] != t->centred) continue;
    bool works = v->state ? v->walk == t->walk : t->needed[n->id] && v->streamed && v->kept;
    const node *red = works && !t->b->local_ready[n->id] ? nest_reduction_beside(t, n) : NULL;
    if (red) emit_value(t, red);
    if (works && !t->b->local_ready[n->id]) emit_value(t, n);
    if (works && v->is_frame) swap_frame(t, n);
    if (v->is_centre && v->walk == t->walk) nest_emit_centre(t, n);
    if (v->streamed && t->stored[n->id] && v->walk == t->walk) emit_store(t, n);
  }
}

/// A running combine goes on in every step.
static bool carries(const nest *t) {
  const group *g = t->b->group;
  for (int i = 0; i < g->nodes.len; i++)
    if (t->needed[g->nodes.data[i]->id] && t->o.values[g->nodes.data[i]->id].carries) return true;
  return false;
}

static skip_test begin_tests(nest *t, int walk) {
  const kernel *k = t->b->k;
  skip_test tests = {.s = {.b = t->b, .o = &t->o, .stored = t->stored, .stream = -1}};
  skip *s = &tests.s;
  if (!t->nstream || carries(t)) return tests;
  s->stream = t->stream[t->nstream - 1];
  s->step = t->step;
  s->points = t->threads;
  for (int i = 0; i < k->grid.len; i++) s->open[s->nopen++] = k->grid.data[i];
  for (int i = 0; i + 1 < t->nstream; i++)
    s->open[s->nopen++] = (grid_axis){.axis = t->stream[i], .extent = 1};
  skip_test_begin(&tests, walk);
  return tests;
}

static void run_walk(nest *t, int walk) {
  kbuild *b = t->b;
  const group *g = b->group;
  uint8_t *needed = arena_array(b->l->a, uint8_t, b->l->g->nodes.len);
  outline_needs(&t->o, g->nodes.data, g->nodes.len, t->member, t->stored, walk, needed);
  t->walk = walk;
  t->needed = needed;
  begin_states(t, walk);
  for (int i = 0; i < g->nodes.len; i++)
    if (needed[g->nodes.data[i]->id] && t->o.values[g->nodes.data[i]->id].carries) nest_begin_carry(t, g->nodes.data[i]);
  skip_test skips = begin_tests(t, walk);
  pack_before(t);
  for (int i = 0; i < t->nstream; i++) {
    bool last = i + 1 == t->nstream;
    tval *within[2];
    bool some = last && skip_within(&skips, within, false);
    tstmt *loop = kb_loop(b, t->stream[i], last ? t->step : 1, NULL, 0);
    loop->reverse = t->o.reversed;
    if (last && t->chunk < 0) loop->from = skips.s.from, loop->below = skips.s.below;
    if (some) kb_loop_within(b, loop, within);
  }
  tval *may_change = skip_test_step(&skips);
  if (may_change) kb_if(b, COND_ANY, 0, may_change);
  run_step(t, find_late(t));
  if (may_change) {
    kb_else(b, NULL, 0);
    kb_end_if(b, NULL, 0);
  }
  for (int i = 0; i < t->nstream; i++) kb_end_loop(b, NULL, 0);
  // Values of the last step are gone.
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (t->o.values[n->id].is_frame && t->o.values[n->id].walk == walk) swap_frame(t, n);
  }
  for (int i = 0; i < g->nodes.len; i++) {
    const outline_value *v = &t->o.values[g->nodes.data[i]->id];
    // What reads a mean later reads the quotient of its sums, infinite or not.
    if (v->streamed || v->is_centre) b->local_ready[g->nodes.data[i]->id] = false;
  }
  t->needed = NULL;
  nest_forget(b);
}

/// What has no streamed axis and waits for `walk` walks. Chunks store no results.
static void run_between(nest *t, int walk, bool chunk) {
  const group *g = t->b->group;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    const outline_value *v = &t->o.values[n->id];
    if (v->streamed || v->walk != walk) continue;
    if (v->kept && !v->state && !v->is_centre) emit_value(t, n);
    if (t->stored[n->id] && !chunk && !nest_keeps_output(t, n)) emit_store(t, n);
  }
}

void lower_nest_group(kbuild *b) {
  const lower *l = b->l;
  const group *g = b->group;
  nest t = {.b = b, .chunk = -1};
  t.member = arena_array(l->a, uint8_t, l->g->nodes.len + 1);
  t.stored = arena_array(l->a, uint8_t, l->g->nodes.len + 1);
  t.scale_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.shift_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.in_place_of = arena_array(l->a, const node *, l->g->nodes.len + 1);
  t.packed_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.lost_of = arena_array(l->a, int, l->g->nodes.len);
  t.carry_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.lost_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.move_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.before_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.count_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.best_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.part_of = arena_array(l->a, int, l->g->nodes.len + 1);
  t.part_more = arena_array(l->a, int, l->g->nodes.len + 1);
  t.kept_in = arena_array(l->a, int, l->g->nodes.len + 1);
  t.threads = l->target->sm;
  for (int i = 0; i < g->nodes.len; i++) t.member[g->nodes.data[i]->id] = 1;
  for (int i = 0; i < g->outputs.len; i++) t.stored[g->outputs.data[i]->id] = 1;
  const contract *c = group_contract(l->g, g->nodes.data[0]);
  reason why;
  int at;
  check(outline_make(&t.o, l->a, l->g, g->nodes.data, g->nodes.len, t.member, t.stored, c, &why, &at));
  str detail;
  check(!t.threads || outline_place(&t.o, l->a, g->nodes.data, g->nodes.len, outline_room(l->target),
                                    &why, &at, &detail));
  kb_survey(b);
  nest_choose(&t);
  kb_begin(b);
  bool chunked = t.chunk >= 0;
  run_between(&t, 0, chunked);
  for (int walk = 1; walk <= t.o.walks; walk++) {
    run_walk(&t, walk);
    if (chunked) {
      nest_begin_finish(&t);
      run_between(&t, 0, false);  // again: the last block has nothing of before
    }
    run_between(&t, walk, false);
  }
  if (chunked) kb_end_finish(b);
}
