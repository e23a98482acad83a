// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Where a block of a GPU keeps what an outline keeps.
//
//   on chip    what fits, beside everything else, with few rows and short steps
//   nowhere    computed operands of contractions: computed where they are read
//   memory     results without a streamed axis: each block has its own rows of them
//
// Sizes on chip are constants, so that what has an axis of unknown size is not there, unless a tile or
// a step cuts that axis.
#include "base/fault.h"
#include "passes/fusion/outline.h"

enum { FEW_ROWS = 16, SHORT_STEP = 32 };
enum { UNIT = 128, PANELS_UNIT = 1024 };  // bytes that buffers begin at multiples of

/// Besides what is kept there are partial results of reductions over several warps.
int64_t outline_room(const target_info *t) {
  enum { SCRATCH = 8 << 10 };
  return t->shared_per_block - SCRATCH;
}

dtype outline_type(const node *n, node *const *nodes, int count) {
  for (int i = 0; i < count; i++) {
    const node *user = nodes[i];
    if (op_get(user->op)->class != CLASS_contraction) continue;
    for (int k = 0; k < user->nin; k++)
      if (user->in[k] == n) return user->type;
  }
  return n->type;
}

int64_t outline_bytes(const outline *o, node *const *nodes, int count, const node *n, int64_t rows,
                      int64_t step, int *axis) {
  const outline_value *v = &o->values[n->id];
  dtype type = outline_type(n, nodes, count);
  int64_t bytes = dtype_bytes(type), unit = type == n->type ? UNIT : PANELS_UNIT, size;
  // With its scale and shift, or the extreme, or what it moved by and how many elements there were before.
  if (v->is_frame || v->is_centre || op_is_arg(n->op)) bytes *= v->is_centre ? 4 : 3;
  bool any = false;
  for (int k = 0; k < n->naxes; k++) any |= axes_have(o->rows, o->nrows, n->axes[k]);
  if (any) bytes *= rows;
  for (int k = 0; k < n->naxes; k++) {
    if (axes_have(o->rows, o->nrows, n->axes[k])) continue;
    bool known = ix_is_const(&o->g->ix, graph_axis_size(o->g, n->axes[k]), &size);
    if (axes_have(o->stream, o->nstream, n->axes[k])) {
      if (n->axes[k] == o->stream[o->nstream - 1]) bytes = estimate_times(bytes, step);
    } else if (!known) {
      *axis = n->axes[k];
      return -1;
    } else {
      bytes = estimate_times(bytes, size > 0 ? size : 1);
    }
  }
  if (v->carries) {  // with its last element, which sums keep twice as wide
    int64_t last = (bytes + step - 1) / step;
    bytes += dtype_is_float(n->type) ? 2 * last : last;
  }
  return (bytes + unit - 1) / unit * unit;
}

typedef struct placer {
  outline *o;
  arena *a;
  node *const *nodes;
  int n;
  int64_t most;
  int axis;  // of unknown size, of the last value asked about
} placer;

static bool is_on_chip(const placer *p, const node *n) {
  const outline_value *v = &p->o->values[n->id];
  return v->kept && !v->in_memory;
}

static int64_t bytes_of(placer *p, const node *n, int64_t rows) {
  return outline_bytes(p->o, p->nodes, p->n, n, rows, SHORT_STEP, &p->axis);
}

/// Each block has elements of its own.
static bool has_all_rows(const placer *p, const node *n) {
  bool all = true;
  for (int i = 0; i < p->o->nrows; i++) all &= node_has_axis(n, p->o->rows[i]);
  return all;
}

/// Results of a step are nowhere else.
static void take_off(const placer *p, const node *n) {
  outline_value *v = &p->o->values[n->id];
  if (v->streamed || !has_all_rows(p, n)) v->kept = false;
  else v->in_memory = true;
}

static bool must_stay(const placer *p, const node *n) {
  return op_combines(n->op) && (p->o->values[n->id].streamed || !has_all_rows(p, n));
}

typedef struct room {
  int64_t bytes;
  bool known;         // of all of it
  const node *large;  // the largest, or one of unknown size; null none
} room;

/// What so many rows take: of all that is on chip, or of what must stay there, or of the rest.
typedef enum which { ALL, STAYING, MOVABLE } which;
static room room_of(placer *p, int64_t rows, which w) {
  room r = {.known = true};
  int64_t most = 0;
  for (int i = 0; i < p->n; i++) {
    const node *n = p->nodes[i];
    if (!is_on_chip(p, n) || (w != ALL && must_stay(p, n) != (w == STAYING))) continue;
    int64_t bytes = bytes_of(p, n, rows);
    if (bytes < 0) r.known = false, bytes = INT64_MAX;
    else r.bytes += bytes;
    if (bytes > most) r.large = n, most = bytes;
  }
  return r;
}

/// What must stay fits with so many rows, and as much of the rest as there is room for.
static bool place_rows(placer *p, int64_t rows) {
  room staying = room_of(p, rows, STAYING);
  if (!staying.known || staying.bytes > p->most) return false;
  for (;;) {
    room all = room_of(p, rows, ALL), movable = room_of(p, rows, MOVABLE);
    if (all.known && all.bytes <= p->most) return true;
    take_off(p, movable.large);
  }
}

static str describe(placer *p, const node *n) {
  const outline *o = p->o;
  int64_t bytes = bytes_of(p, n, 1);
  str stream = o->g->axes.data[o->stream[o->nstream - 1]].name;
  if (bytes < 0)
    return str_printf(p->a, "a step of it has all elements of %.*s, of which it is not known how many",
                      STR_FMT(o->g->axes.data[p->axis].name));
  return str_printf(p->a, "%s%d elements of %.*s it takes %lld bytes; a block has %lld",
                    o->nrows ? "with one row and " : "with ", SHORT_STEP, STR_FMT(stream),
                    (long long)bytes, (long long)p->most);
}

bool outline_place(outline *o, arena *a, node *const *nodes, int n, int64_t bytes, reason *why,
                   int *at, str *detail) {
  placer p = {.o = o, .a = a, .nodes = nodes, .n = n, .most = bytes};
  for (int64_t rows = FEW_ROWS; rows > 0; rows /= 2)
    if (place_rows(&p, rows)) return true;
  room staying = room_of(&p, 1, STAYING);
  *why = REASON_on_chip;
  *at = staying.large->id;
  *detail = describe(&p, staying.large);
  return false;
}
