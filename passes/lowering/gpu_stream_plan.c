// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sizes of a streamed kernel: rows and keys by the registers of a thread and the on-chip memory of a
// block, and how its steps overlap.
//
// A warpgroup has 64 rows. Beside one another a thread has the sums of the products over the stream, the
// scores of a step and the weights of each product, in 16 bits:
//
//   columns / 2 + leads * keys / 2 + products * keys / 4 <= registers - what everything else takes
//
// and a block has its rows, `stages` steps of what lies along the stream, and what its results leave through.
#include "base/fault.h"
#include "ir/units.h"
#include "passes/lowering/gpu_stream.h"

enum { WARPGROUP = 128, GROUP_ROWS = 64, MOST_KEYS = 128, KEYS_UNIT = 16, STAGING = 32 << 10, UNIT_ALIGNMENT = 16 };

/// Warpgroups of a block with what a thread of them may have beside the producers, and what is left
/// of it for tiles.
static const struct { int groups, room; } warpgroups[] = {{3, 160 - 28}, {2, 240 - 28}, {1, 240 - 28}};

// ---- axes

/// The kernel axis of a graph axis of its own.
static int own_axis(kbuild *b, int graph_axis) {
  return b->sigma[graph_axis] ? b->kaxis[graph_axis] : kb_own_axis(b, graph_axis);
}

/// Batches first, which rows and keys share, then what keys are the same for, then the rest.
static void make_axes(gpu_stream *s) {
  kbuild *b = s->b;
  const stream_form *f = &s->f;
  int rows[2 * MAX_AXES], axes[MAX_AXES], kernel_axes[MAX_AXES], nrows = 0, n = 0;
  const node *scores = f->lead[0].dot, *keys = f->lead[0].keys;
  for (int i = 0; i < s->o.nrows; i++) rows[nrows++] = s->o.rows[i];
  // Those that a view of computed rows makes are none of the outline's.
  for (int k = 0; k < scores->naxes; k++) {
    int axis = scores->axes[k];
    bool single = graph_axis_is_single(b->l->g, axis);
    if (axis != f->stream && !single && !axes_have(rows, nrows, axis)) rows[nrows++] = axis;
  }
  for (int pass = 0; pass < 2; pass++)
    for (int i = 0; i < nrows; i++)
      if (rows[i] != f->row && node_has_axis(keys, rows[i]) == !pass) axes[n++] = rows[i];
  n = kb_collapse(b, axes, n, kernel_axes);
  for (int i = 0; i < n; i++) kernel_set_grid(b->k, kernel_axes[i], 1);
  s->row = own_axis(b, f->row);
  s->stream = own_axis(b, f->stream);
  for (int i = 0; i < f->nleads; i++) s->depth[i] = own_axis(b, f->lead[i].depth);
  for (int i = 0; i < f->nproducts; i++) s->columns[i] = own_axis(b, f->product[i].columns);
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *x = b->group->nodes.data[i];
    if (op_get(x->op)->class == CLASS_leaf || op_get(x->op)->class == CLASS_view) continue;
    for (int k = 0; k < x->naxes + x->nattr_axes; k++) {
      int axis = k < x->naxes ? x->axes[k] : x->attr_axes[k - x->naxes];
      if (graph_axis_is_single(b->l->g, axis) && !b->sigma[axis]) b->sigma[axis] = ix_const(&b->k->ix, 0);
    }
  }
}

// ---- operands

static int size_of_axis(const gpu_stream *s, int kernel_axis) {
  int64_t size = 0;
  check(ix_is_const(&s->b->k->ix, s->b->k->axes.data[kernel_axis].size, &size));
  return (int)size;
}

/// Neighbours along the graph axis are neighbours in memory, else those along the stream (the row).
static bool is_along(const gpu_stream *s, const node *operand, int graph_axis, bool rows) {
  const kbuild *b = s->b;
  const access *m = contraction_access(b, operand);
  return !m || kb_unit_stride(m, b, graph_axis) || !kb_unit_stride(m, b, rows ? s->f.row : s->f.stream);
}

static int add_operand(gpu_stream *s, const node *x, int graph_axis, int kernel_axis, bool rows) {
  for (int i = 0; i < s->noperands; i++)
    if (s->operands[i].x == x && s->operands[i].head == kernel_axis) return i;
  s->operands[s->noperands] = (stream_operand){
      .x = x, .head = kernel_axis, .extent = size_of_axis(s, kernel_axis), .rows = rows,
      .along_head = is_along(s, x, graph_axis, rows)};
  return s->noperands++;
}

/// In the order in which a step needs them.
static void add_operands(gpu_stream *s) {
  const stream_form *f = &s->f;
  for (int i = 0; i < f->nleads; i++)
    s->rows_of[i] = add_operand(s, f->lead[i].rows, f->lead[i].depth, s->depth[i], true);
  for (int i = 0; i < f->nleads; i++)
    s->keys_of[i] = add_operand(s, f->lead[i].keys, f->lead[i].depth, s->depth[i], false);
  for (int i = 0; i < f->nproducts; i++) {
    const stream_product *p = &f->product[i];
    s->values_of[i] = add_operand(s, p->values, p->columns, s->columns[i], false);
    s->own[i] = size_of_axis(s, s->columns[i]);
  }
}

// ---- vectors

/// The copy engine takes a step of it: steps and rows begin at multiples of 16 bytes.
static bool is_copied_whole(const gpu_stream *s, const node *x) {
  const graph *g = s->b->l->g;
  int64_t stride = dtype_bytes(x->type);
  bool plain = x->naxes && !x->strides && s->b->l->buffer_of[x->id] >= 0 && x->axes[x->naxes - 1] == s->f.stream;
  for (int k = x->naxes - 1; k > 0 && plain; k--) {
    stride *= ix_divisor(&g->ix, graph_axis_size(g, x->axes[k]));
    plain = stride % UNIT_ALIGNMENT == 0;
  }
  return plain;
}

static void add_vector(gpu_stream *s, const node *x) {
  for (int i = 0; i < s->nvectors; i++)
    if (s->vectors[i].x == x) return;
  if (s->nvectors < STREAM_VECTORS) s->vectors[s->nvectors++] = (stream_vector){.x = x};
}

/// Beside two leads and their sums no registers are left to load them ahead into.
static void add_vectors(gpu_stream *s) {
  const group *g = s->b->group;
  for (int i = 0; i < g->nodes.len && s->f.nleads > 1; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; k < n->nin && op_is_map(n->op); k++) {
      const node *x = n->in[k];
      bool along = !kb_in_group(s->b, x) && node_has_axis(x, s->f.stream) && !node_has_axis(x, s->f.row);
      if (along && dtype_bytes(x->type) == 4 && is_copied_whole(s, x)) add_vector(s, x);
    }
  }
}

static bool is_vector(const gpu_stream *s, const node *n) {
  for (int i = 0; i < s->nvectors; i++)
    if (s->vectors[i].x == n) return true;
  return false;
}

const node *gpu_stream_shifted(const gpu_stream *s, int lead, const node **vector, double *sign) {
  const group *g = s->b->group;
  const node *dot = s->f.lead[lead].dot;
  const node *only = NULL;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    int at = 0;
    while (at < n->nin && n->in[at] != dot) at++;
    if (at == n->nin) continue;
    bool sum = (n->op == OP_add || (n->op == OP_sub && at == 0)) && n->type == DT_f32;
    if (only || !sum || !is_vector(s, n->in[1 - at])) return NULL;
    only = n;
    *vector = n->in[1 - at];
    *sign = n->op == OP_add ? 1 : -1;
  }
  return only;
}

// ---- what the steps do

const node *gpu_stream_unscaled(const node *n, double *scale) {
  for (; n->nin; n = n->in[0]) {
    const node *c = n->nin > 1 ? n->in[1] : NULL;
    bool multiple = (n->op == OP_mul || n->op == OP_div) && c->op == OP_const && n->type == DT_f32 &&
                    c->value.f > 0x1p-40 && c->value.f < 0x1p40;
    if (!multiple) break;
    *scale = n->op == OP_mul ? *scale * c->value.f : *scale / c->value.f;
  }
  return n;
}

/// What is computed of each score in any stream: multiples, the distance from the maximum, its
/// exponential, rounding.
static bool is_usual(const gpu_stream *s, const node *n) {
  double scale = 1;
  if (gpu_stream_unscaled(n, &scale) != n || n->op == OP_cast || n->op == OP_exp) return true;
  return n->op == OP_sub && kb_in_group(s->b, n->in[1]) && s->o.values[n->in[1]->id].is_frame;
}

/// Registers of a thread that masks, biases and further states take.
static int further_registers(const gpu_stream *s, int keys) {
  enum { STATE = 8, LITTLE = 4, MUCH = 14, MUCH_OF_TWO = 12, FEW = 3, USUAL = 3, STARTED = -12 };
  int states = 0, loaded = 0, lines = 0, work = 0, masks = 0;
  for (int i = 0; i < s->b->group->nodes.len; i++) {
    const node *n = s->b->group->nodes.data[i];
    const outline_value *v = &s->o.values[n->id];
    states += v->state;
    if (!op_is_map(n->op) || !v->streamed || !node_has_axis(n, s->f.row)) continue;
    work += !is_usual(s, n);
    masks += n->op == OP_where;
    for (int k = 0; k < n->nin; k++) {
      const node *x = n->in[k];
      bool row = node_has_axis(x, s->f.row);
      if (!node_has_axis(x, s->f.stream)) continue;
      while (kb_in_group(s->b, x) && x->nin && (x->op == OP_view || (!row && op_is_map(x->op)))) x = x->in[0];
      if (!kb_in_group(s->b, x)) row ? loaded++ : lines++;
    }
  }
  int maps = work > FEW ? MUCH : work ? LITTLE : 0;
  // Of two leads, that which was used makes room for what is made of the other.
  if (s->f.nleads > 1) {
    int beside = s->starts      ? (masks ? 0 : STARTED)
                 : !s->nvectors ? 0
                 : work > FEW   ? MUCH_OF_TWO
                                : LITTLE;
    return beside + loaded * keys / 2;
  }
  return maps + loaded * keys / 2 + lines * keys / 4 + (states > USUAL ? (states - USUAL) * STATE : 0);
}

// ---- sizes

static int64_t shared_bytes(const gpu_stream *s, int rows, int keys) {
  int64_t bytes = s->f.added.dot ? (int64_t)rows * keys * dtype_bytes(s->f.added.weights->type) : 0;
  for (int i = 0; i < s->noperands; i++) {
    const stream_operand *o = &s->operands[i];
    int64_t each = dtype_bytes(o->x->type), panel = UNIT_ROW / each;
    int64_t row = each * gpu_pieces(o->extent, panel) * panel;
    bytes += o->rows ? row * rows : row * s->stages * keys;
  }
  for (int i = 0; i < s->nvectors; i++)
    bytes += (int64_t)s->stages * keys * dtype_bytes(s->vectors[i].x->type);
  return bytes;
}

static int whole(int64_t keys, int unit) {
  if (keys > MOST_KEYS) keys = MOST_KEYS;
  return (int)(keys / unit * unit);
}

/// Registers of a thread for sums, and four times those for a key.
static int sum_registers(const gpu_stream *s) {
  int n = 0;
  for (int i = 0; i < s->f.nproducts; i++) n += s->own[i] / 2;
  return n;
}
static int key_registers_4(const gpu_stream *s) {
  return 2 * s->f.nleads + (s->f.nproducts ? s->f.nproducts : 1);
}

/// The most keys of a step; 0: not even the least fit.
static int keys_of(const gpu_stream *s, int groups, int room, int unit) {
  enum { ENOUGH = 80 };
  int64_t by_registers = (room - sum_registers(s)) * 4 / key_registers_4(s);
  int64_t most = s->b->l->target->shared_per_block;
  int rows = groups * GROUP_ROWS;
  int64_t fixed = shared_bytes(s, rows, 0), each = shared_bytes(s, rows, 1) - fixed;
  int64_t by_memory = (most - STAGING - fixed) / each;
  // Without room of their own results wait for the operands' to be free.
  if (by_memory < ENOUGH && (most - fixed - 1024) / each > by_memory) {
    by_memory = (most - fixed - 1024) / each;
    if (by_memory > ENOUGH) by_memory = ENOUGH;
  }
  // The form leaves room for the least step; what else it holds then spills.
  if (groups == 1 && by_registers < unit) by_registers = unit;
  int64_t keys = by_registers < by_memory ? by_registers : by_memory;
  return keys > 0 ? whole(keys, unit) : 0;
}

enum { LONG = 96, LONG_OF_TWO = 64 };

/// Three warpgroups where their registers hold a step of some length; fewer where there are few rows.
static void choose_rows(gpu_stream *s) {
  const kbuild *b = s->b;
  int64_t rows = contraction_size(b, s->row);
  // Keys that lie along the stream in memory are read in whole panels.
  bool panels = false;
  for (int i = 0; i < s->noperands; i++) panels |= !s->operands[i].rows && !s->operands[i].along_head;
  int unit = panels ? UNIT_ROW / dtype_bytes(s->f.lead[0].keys->type) : KEYS_UNIT;
  int enough = s->f.nleads > 1 ? LONG_OF_TWO : LONG;
  int want_rows = (int)schedule_given(b->l, "m", 0), want_keys = (int)schedule_given(b->l, "n", 0);
  int count = sizeof warpgroups / sizeof *warpgroups;
  for (int i = 0; i < count; i++) {
    int groups = warpgroups[i].groups, room = warpgroups[i].room - further_registers(s, enough);
    int keys = keys_of(s, groups, room, unit);
    bool last = i + 1 == count, wide = (groups - 1) * GROUP_ROWS >= rows;
    bool wanted = want_rows ? groups * GROUP_ROWS == want_rows : keys >= (groups > 2 ? enough : unit);
    // Keys that the copy engine cannot turn pass the registers of all threads.
    bool crowded = panels && groups > 2 && !want_rows;
    if (!last && (!wanted || crowded || (wide && !want_rows))) continue;
    s->d.warps_m = groups * WARPGROUP / GPU_WARP;
    s->d.bm = groups * GROUP_ROWS;
    s->keys = keys;
    break;
  }
  if (want_keys && want_keys <= MOST_KEYS && want_keys % unit == 0 &&
      shared_bytes(s, s->d.bm, want_keys) + 1024 <= b->l->target->shared_per_block)
    s->keys = want_keys;
  check(s->keys > 0);
}

/// Where what a step takes of vectors leaves no room for a long one, sums start from them.
static void choose_tile(gpu_stream *s) {
  const node *vector;
  double sign;
  s->starts = false;
  choose_rows(s);
  for (int lead = 1; lead < s->f.nleads && s->keys < LONG_OF_TWO; lead++)
    s->starts |= gpu_stream_shifted(s, lead, &vector, &sign) != NULL;
  if (s->starts) choose_rows(s);
  schedule_settle(s->b->l, "m", s->d.bm);
  schedule_settle(s->b->l, "n", s->keys);
}

/// What is added up in memory has the rows of a step as its own, and of each warpgroup 64. The copy engine adds it
/// from shared memory, by rows that are a little longer there.
static void choose_added_tile(gpu_stream *s) {
  enum { GROUPS = 2, MOST_STAGES = 4, LONGER = 8, BESIDES = 6 << 10 };
  s->d.warps_m = GROUPS * WARPGROUP / GPU_WARP;
  s->d.bm = GROUPS * GROUP_ROWS;
  s->keys = stream_added_step(&s->f, s->b->l->g, &s->sharing);
  check(s->keys > 0);
  const node *vector;
  double sign;
  for (int lead = 1; lead < s->f.nleads; lead++)
    s->starts |= gpu_stream_shifted(s, lead, &vector, &sign) != NULL;
  int columns = s->operands[s->rows_of[s->f.added.lead]].extent / s->sharing;
  int64_t room = s->b->l->target->shared_per_block - BESIDES;
  room -= (int64_t)GROUPS * GROUP_ROWS * (columns + LONGER) * dtype_bytes(DT_f32);
  s->stages = (int)schedule_option(s->b->l, "stages", MOST_STAGES);
  while (s->stages > 2 && shared_bytes(s, s->d.bm, s->keys) > room) s->stages--;
  schedule_settle(s->b->l, "m", s->d.bm);
  schedule_settle(s->b->l, "n", s->keys);
  schedule_settle(s->b->l, "stages", s->stages);
}

/// The bounds of the walk that conditions give.
static void choose_bounds(gpu_stream *s) {
  const kernel *k = s->b->k;
  s->tests.s = (skip){.b = s->b, .o = &s->o, .stored = s->stored, .stream = s->stream, .step = s->keys};
  s->tests.s.points = true;
  skip *walk = &s->tests.s;
  for (int i = 0; i < k->grid.len; i++)
    if (k->grid.data[i].axis != s->row) walk->open[walk->nopen++] = k->grid.data[i];
  walk->open[walk->nopen++] = (grid_axis){.axis = s->row, .extent = s->d.bm};
  skip_test_begin(&s->tests, 1);
}

/// Short walks of unequal lengths: the start of a tile costs as much as a step or two, and resident
/// blocks load while they finish the one before, unless data says what they load. Which tile it is takes
/// a few registers.
static void choose_residents(const gpu_stream *s) {
  enum { SHORT = 1024, TILE = 6 };
  int room = 0, used = sum_registers(s) + s->keys * key_registers_4(s) / 4 + further_registers(s, s->keys) + TILE;
  for (size_t i = 0; i < sizeof warpgroups / sizeof *warpgroups; i++)
    if (warpgroups[i].groups == s->d.warps_m * GPU_WARP / WARPGROUP) room = warpgroups[i].room;
  kernel *k = s->b->k;
  ix size = k->axes.data[s->stream].size;
  int64_t n = INT64_MAX;
  bool known = ix_is_const(&k->ix, size, &n), symbol = ix_get(&k->ix, size)->kind == IX_SYM;
  bool square = size == k->axes.data[s->row].size;  // else both ends are tested in each step
  bool pays = s->f.nleads == 1 && s->tests.s.below && !s->tests.s.from && square && used <= room && (known ? n <= SHORT : symbol);
  for (int i = 0; i < s->tests.s.conditions.len; i++) pays &= s->tests.s.conditions.data[i].bounded;
  int given = (int)schedule_given(s->b->l, "blocks_per_sm", -1);
  k->blocks_per_sm = given >= 0 ? given : pays;
  if (given >= 0) schedule_settle(s->b->l, "blocks_per_sm", given);
  if (given >= 0 || !pays || known) return;
  k->resident_size = size;
  k->resident_most = SHORT;
}

/// Steps in flight. With two leads what a skewed step reads lives for two steps: fewer than three make it wait.
static void choose_stages(gpu_stream *s) {
  enum { MOST = 4 };
  int usual = s->f.nleads > 1 ? 3 : 2;
  s->stages = (int)schedule_option(s->b->l, "stages", usual);
  if (s->stages < 2) s->stages = 2;
  while (s->stages > 2 && keys_of(s, 1, warpgroups[2].room, KEYS_UNIT) < KEYS_UNIT) s->stages--;
  choose_tile(s);
  bool free = s->f.nleads > 1 && !schedule_given(s->b->l, "stages", 0);
  for (; free && s->stages < MOST; s->stages++) {
    s->stages++;
    bool fits = shared_bytes(s, s->d.bm, s->keys) + STAGING <= s->b->l->target->shared_per_block - 1024;
    s->stages--;
    if (!fits) break;
  }
  schedule_settle(s->b->l, "stages", s->stages);
}

int gpu_stream_columns(const gpu_stream *s, const node *n) {
  for (int i = 0; i < s->f.nproducts; i++)
    if (node_has_axis(n, s->f.product[i].columns)) return i;
  return -1;
}

void gpu_stream_plan(gpu_stream *s) {
  enum { TURNS_MOST = 192, HEADS = 8 };
  kbuild *b = s->b;
  make_axes(s);
  add_operands(s);
  add_vectors(s);
  s->d = (gpu_dot){.unit = DOT_WGMMA, .warps_n = 1};
  s->d.p.rows = s->row;
  if (s->f.added.dot) choose_added_tile(s);
  else choose_stages(s);
  s->d.threads = s->d.warps_m * GPU_WARP;
  s->skew = s->f.nproducts &&
            schedule_option(b->l, "skew", !s->f.added.dot && (s->f.nleads == 1 || s->stages > 2));
  int longest = 0;
  for (int i = 0; i < s->noperands; i++)
    if (s->operands[i].extent > longest) longest = s->operands[i].extent;
  // Two products over the stream keep the unit busy enough without, while registers last (measured).
  bool turns = longest <= TURNS_MOST && (s->f.nproducts < 2 || s->starts);
  // What is added up passes from warpgroup to warpgroup.
  s->turns = s->skew && !s->f.added.dot && s->d.warps_m > WARPGROUP / GPU_WARP &&
             schedule_option(b->l, "turns", turns);
  choose_bounds(s);
  choose_residents(s);
  const skip *walk = &s->tests.s;
  s->heads = walk->below || walk->from ? (int)schedule_option(b->l, "heads", HEADS) : 1;
  kernel_set_grid(b->k, s->row, s->d.bm);
  int last = b->k->grid.len - 1;
  b->k->grid.data[last].descending = walk->below != 0;
  if (last > 0) b->k->grid.data[last - 1].group = s->heads;
}
