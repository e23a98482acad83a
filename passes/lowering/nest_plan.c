// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sizes of a kernel of loop nests: the tile of rows, the step along the stream, the kernel's lanes.
//
// On GPUs the lanes are threads. Rows of the tile lie on the others:
//
//   layout { S:64 = t16@16 r4, T:64 = r4 t16@1, E:64 = r4 t16@1 }
//
// so that no value has two axes besides its rows that are spread; all others are walked one by one.
#include "base/fault.h"
#include "passes/lowering/gpu.h"
#include "passes/lowering/nest.h"

enum { MOST_ROWS = 64, MOST_STEP = 256, BOUNDED_STEP = 64, TESTED_STEP = 128, APART_STEP = 1024 };
enum { GPU_STEP = 64, GPU_ROW_THREADS = 16 };

static int kernel_axis(const nest *t, int graph_axis) { return t->b->kaxis[graph_axis]; }

int nest_axes_of(const nest *t, const node *n, int lanes, int *axes) {
  int count = 0;
  for (int i = 0; i < t->nrows; i++)
    if (t->rows[i] != lanes && kb_uses(t->b, n, t->rows[i])) axes[count++] = t->rows[i];
  for (int k = 0; k < n->naxes; k++) {
    int axis = kernel_axis(t, n->axes[k]);
    if (axis < 0 || axis == lanes || axes_have(axes, count, axis)) continue;
    axes[count++] = axis;
  }
  if (lanes >= 0 && kb_uses(t->b, n, lanes)) axes[count++] = lanes;
  return count;
}

int64_t nest_held(const nest *t, int axis) {
  for (int i = 0; i < t->nrows; i++)
    if (t->rows[i] == axis) return t->tile[i];
  if (axes_have(t->stream, t->nstream, axis)) return axis == t->stream[t->nstream - 1] ? t->step : 1;
  int64_t size = kb_kernel_size(t->b, axis);
  return size > 0 ? size : 1;
}

static int64_t kept_bytes(const nest *t) {
  const group *g = t->b->group;
  int64_t total = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (!t->o.values[n->id].kept) continue;
    int axes[MAX_KERNEL_AXES], count = nest_axes_of(t, n, -1, axes);
    int64_t bytes = dtype_bytes(n->type) < 4 ? 4 : dtype_bytes(n->type);
    for (int k = 0; k < count; k++) bytes = estimate_times(bytes, nest_held(t, axes[k]));
    total += bytes;
  }
  return total;
}

/// Of a block of a GPU.
int64_t nest_chip_bytes(const nest *t) {
  const group *g = t->b->group;
  int64_t total = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    const outline_value *v = &t->o.values[n->id];
    int axis, rows = t->nrows ? t->tile[t->nrows - 1] : 1;
    if (v->kept && !v->in_memory)
      total += outline_bytes(&t->o, g->nodes.data, g->nodes.len, n, rows, t->step, &axis);
  }
  return total;
}

static int power_up_to(int64_t v, int most) {
  int p = 1;
  while (p < most && p < v) p *= 2;
  return p;
}

/// Products read the columns once for all rows of a tile along the axis.
static bool shares_columns(const nest *t, int axis) {
  const group *g = t->b->group;
  bool any = false;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (op_get(n->op)->class == CLASS_contraction)
      any |= kb_uses(t->b, n->in[0], axis) != kb_uses(t->b, n->in[1], axis);
  }
  return any;
}

/// The axis that tiles have several elements of comes last: of those along which products share
/// columns the longest, of equal ones the last.
static void order_rows(nest *t) {
  int best = -1;
  for (int i = 0; i < t->nrows; i++)
    if (shares_columns(t, t->rows[i]) &&
        (best < 0 || kb_kernel_size(t->b, t->rows[i]) >= kb_kernel_size(t->b, t->rows[best])))
      best = i;
  if (best < 0) return;
  int axis = t->rows[best];
  for (int i = best; i + 1 < t->nrows; i++) t->rows[i] = t->rows[i + 1];
  t->rows[t->nrows - 1] = axis;
}

/// Rows share nothing of a step but vectors along it: no product, no operand that others read as well.
static bool rows_are_apart(const nest *t) {
  const group *g = t->b->group;
  if (t->nstream != 1) return false;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (op_get(n->op)->class == CLASS_contraction) return false;
    for (int k = 0; k < n->nin; k++) {
      const node *x = n->in[k];
      if (kb_in_group(t->b, x) || x->naxes < 2) continue;
      for (int j = 0; j < t->o.nrows; j++)
        if (!node_has_axis(x, t->o.rows[j])) return false;
    }
  }
  return true;
}

skip nest_skip(const nest *t, int step, bool points) {
  skip s = {.b = t->b, .o = &t->o, .stored = t->stored, .step = step, .points = points};
  s.stream = t->stream[t->nstream - 1];
  for (int i = 0; i < t->nrows; i++)
    s.open[s.nopen++] = (grid_axis){.axis = t->rows[i], .extent = t->tile[i]};
  for (int i = 0; i + 1 < t->nstream; i++)
    s.open[s.nopen++] = (grid_axis){.axis = t->stream[i], .extent = 1};
  skip_find(&s, 1);
  return s;
}

/// Long steps where all are taken; where some may be left out, shorter ones leave out more.
static int longest_step(const nest *t) {
  skip s = nest_skip(t, 1, false);
  return s.from || s.below ? BOUNDED_STEP : s.conditions.len ? TESTED_STEP : MOST_STEP;
}

/// Halves the tile of rows while what is kept does not fit half of the second cache, and while
/// there are fewer tiles than cores.
static void choose_tiles(nest *t) {
  const kbuild *b = t->b;
  int64_t tiles = 1;
  t->lanes = b->lanes;
  for (int i = 0; i < t->nrows; i++) {
    bool last = i + 1 == t->nrows;
    int64_t size = kb_kernel_size(b, t->rows[i]);
    t->tile[i] = last ? power_up_to(size, MOST_ROWS) : 1;
    tiles = estimate_times(tiles, (size + t->tile[i] - 1) / t->tile[i]);
  }
  t->block = t->nrows ? t->rows[t->nrows - 1] : -1;
  t->step = 0;
  bool apart = rows_are_apart(t);
  if (t->nstream) {
    int64_t size = kb_kernel_size(b, t->stream[t->nstream - 1]);
    t->step = power_up_to(size, schedule_power(b->l, "step", apart ? APART_STEP : longest_step(t)));
    if (t->step < b->lanes) t->step = b->lanes;
  }
  if (!t->nrows) return;
  int *tile = &t->tile[t->nrows - 1];
  // Each row is read as it lies, and what a step reads twice is in the first cache.
  while (apart && *tile > 1 && *tile * t->step > APART_STEP) *tile /= 2;
  *tile = schedule_power(b->l, "mt", *tile);
  while (*tile > 8 && kept_bytes(t) > b->l->target->l2_bytes / 2) *tile /= 2, tiles *= 2;
  while (*tile > 8 && tiles < 2 * b->l->target->cores) *tile /= 2, tiles *= 2;
}

// ---- blocks of threads

/// Blocks of the last row axis alone, up to MOST_ROWS. Gives how many there are.
static int64_t begin_blocks(nest *t) {
  const kbuild *b = t->b;
  int64_t tiles = 1;
  t->step = 0;
  if (t->nstream) {
    int64_t size = kb_kernel_size(b, t->stream[t->nstream - 1]);
    t->step = power_up_to(size, schedule_power(b->l, "step", GPU_STEP));
  }
  for (int i = 0; i < t->nrows; i++) {
    bool last = i + 1 == t->nrows;
    int64_t size = kb_kernel_size(b, t->rows[i]);
    t->tile[i] = last ? schedule_power(b->l, "m", power_up_to(size, MOST_ROWS)) : 1;
    tiles = estimate_times(tiles, (size + t->tile[i] - 1) / t->tile[i]);
  }
  t->block = t->nrows ? t->rows[t->nrows - 1] : -1;
  return tiles;
}

static bool multiplies_on_tensor_cores(const nest *t) {
  const group *g = t->b->group;
  nest_product d;
  bool any = false;
  for (int i = 0; i < g->nodes.len; i++) any |= nest_on_tensor_cores(t, g->nodes.data[i], &d);
  return any;
}

/// Shorter steps, then fewer rows, until what is kept fits on chip; fewer rows still while there are
/// fewer tiles than multiprocessors.
static void choose_blocks(nest *t) {
  enum { LEAST_STEP = 32 };
  kbuild *b = t->b;
  const target_info *target = b->l->target;
  int64_t tiles = begin_blocks(t), room = outline_room(target);
  int one = 1, *tile = t->nrows ? &t->tile[t->nrows - 1] : &one;
  bool asked = schedule_given(b->l, "m", 0) > 0;
  if (*tile > MOST_ROWS) *tile = MOST_ROWS;
  while (t->step > LEAST_STEP && nest_chip_bytes(t) > room) t->step /= 2;
  while (*tile > 1 && nest_chip_bytes(t) > room) *tile /= 2, tiles *= 2;
  check(nest_chip_bytes(t) <= room);
  while (*tile > GPU_ROW_THREADS && tiles < target->cores && !asked) *tile /= 2, tiles *= 2;
  while (*tile > GPU_ROW_THREADS && multiplies_on_tensor_cores(t) &&
         nest_chip_bytes(t) + NEST_STAGED > room)
    *tile /= 2, tiles *= 2;
  t->no_staging = nest_chip_bytes(t) + NEST_STAGED > room;
  nest_choose_chunks(t, tiles);
  if (t->nrows) schedule_settle(b->l, "m", *tile);
  if (t->nstream) schedule_settle(b->l, "step", t->step);
  int threads = *tile < GPU_ROW_THREADS ? *tile : GPU_ROW_THREADS;
  t->lanes = GPU_BLOCK / threads;
  gpu_set_threads(b, GPU_BLOCK);
  kernel_add_layout(b->k);
  if (!t->nrows) return;
  layout_digit digits[] = {{threads, t->lanes}, {*tile / threads, 0}};
  kernel_set_layout(b->k, 0, t->block, digits, 2);
}

bool nest_keeps_output(const nest *t, const node *n) {
  const lower *l = t->b->l;
  return t->o.values[n->id].in_memory && t->stored[n->id] && l->outputs_of[n->id].len < 2 &&
         !lower_seen_through(l, l->buffer_of[n->id]);
}

/// Arguments for what is kept in memory: before all buffers on chip.
static void make_memory(nest *t) {
  kbuild *b = t->b;
  const group *g = b->group;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    const outline_value *v = &t->o.values[n->id];
    if (!v->in_memory) continue;
    int buffer = nest_keeps_output(t, n) ? b->l->buffer_of[n->id]
                                         : lower_add_temporary(b->l, n, "kept", n->type);
    t->kept_in[n->id] = kb_arg(b, buffer);
    if (v->state && op_is_arg(n->op))
      t->best_of[n->id] = kb_arg(b, lower_add_temporary(b->l, n, "best", n->in[0]->type));
    if (nest_is_weight(t, n))
      t->before_of[n->id] = kb_arg(b, lower_add_temporary(b->l, n, "before", n->type));
    if (v->is_centre) t->move_of[n->id] = kb_arg(b, lower_add_temporary(b->l, n, "move", n->type));
    if (v->is_centre && !v->weight) {
      t->before_of[n->id] = kb_arg(b, lower_add_temporary(b->l, n, "before", n->type));
      t->count_of[n->id] = kb_arg(b, lower_add_temporary(b->l, n, "count", n->type));
    }
    if (!v->is_frame) continue;
    t->scale_of[n->id] = kb_arg(b, lower_add_temporary(b->l, n, "scale", n->type));
    t->shift_of[n->id] = kb_arg(b, lower_add_temporary(b->l, n, "shift", n->type));
  }
}

// ---- the kernel

/// By-lane reductions need the kernel's own lane axis: the stream (unless lanes run along rows), or the
/// axis that most reductions have; without reductions columns of a product, or rows.
static int kernel_lanes(const nest *t) {
  const kbuild *b = t->b;
  if (t->nstream) return t->row_lanes ? t->block : t->stream[t->nstream - 1];
  int best = -1, most = 0;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    if (!op_is_reduce(n->op)) continue;
    int axis = kernel_axis(t, n->attr_axes[n->nattr_axes - 1]), count = 0;
    for (int k = 0; k < b->group->nodes.len; k++) {
      const node *other = b->group->nodes.data[k];
      for (int j = 0; op_is_reduce(other->op) && j < other->nattr_axes; j++)
        count += kernel_axis(t, other->attr_axes[j]) == axis;
    }
    if (count > most) best = axis, most = count;
  }
  for (int i = 0; best < 0 && i < b->group->nodes.len; i++)
    if (op_get(b->group->nodes.data[i]->op)->class == CLASS_contraction)
      best = nest_contraction_lanes(t, b->group->nodes.data[i]);
  return best < 0 && t->nrows ? t->rows[t->nrows - 1] : best;
}

static void own_axes(nest *t, const int *axes, int n) {
  kbuild *b = t->b;
  for (int k = 0; k < n; k++) {
    if (b->sigma[axes[k]]) continue;
    if (graph_axis_is_single(b->l->g, axes[k])) b->sigma[axes[k]] = ix_const(&b->k->ix, 0);
    else kb_own_axis(b, axes[k]);
  }
}

void nest_choose(nest *t) {
  kbuild *b = t->b;
  t->nrows = kb_collapse(b, t->o.rows, t->o.nrows, t->rows);
  for (int i = 0; i < t->o.nstream; i++)
    if (!graph_axis_is_single(b->l->g, t->o.stream[i])) t->stream[t->nstream++] = kb_own_axis(b, t->o.stream[i]);
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    bool walked = op_get(n->op)->class != CLASS_leaf && op_get(n->op)->class != CLASS_gather;
    if (walked || t->stored[n->id]) own_axes(t, n->axes, n->naxes);
    if (walked) own_axes(t, n->attr_axes, n->nattr_axes);
  }
  order_rows(t);
  if (t->threads) choose_blocks(t);
  else choose_tiles(t);
  make_memory(t);
  nest_make_parts(t);
  if (t->chunk >= 0) kernel_set_grid(b->k, t->chunk, 1);
  for (int i = 0; i < t->nrows; i++)
    vec_push(b->l->a, &b->k->grid, (grid_axis){t->rows[i], t->tile[i]});
  t->row_lanes = nest_suits_row_lanes(t) && schedule_option(b->l, "lanes", 1);
  int lanes = t->threads ? -1 : kernel_lanes(t);
  if (lanes < 0) return;
  b->k->vec_axis = lanes;
  b->k->vec_lanes = b->lanes;
}
