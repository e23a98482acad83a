// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A long program as segments, each a graph of its own.
//
//   forward    x ─ segment 0 ─ h0 ─ segment 1 ─ h1 ─ segment 2 ─ loss
//                     │               │               │
//   backward   dx ────┴───── dh0 ─────┴───── dh1 ─────┘
//
// A *narrow place* is where one value leads from what the forward pass has done to what it will do, params
// and a few values that are read all over aside. What later phases do belongs to the earliest segment that it
// reads of: they come to the segments in the opposite order. A run of segments is made a graph, whose
// params are what comes from elsewhere; the layers of a model then are the same graph.
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"

enum { MAX_SEGMENTS = 128, LEAST_UNITS = 6, MAX_ASIDE = 32 };

typedef struct divider {
  arena *a;
  const graph *g;
  const remat_units *u;
  bool *unit;   // by id: computed in one place
  int *last;    // by id, of the forward pass: its last reader there
  bool *aside;  // by id: read all over
  remat_segments *s;
} divider;

// ---- readers

typedef void visit_fn(divider *d, int value, int reader);

/// Visits the units and params that the node reads, through free nodes.
static void visit_operands(divider *d, const node *n, int reader, visit_fn *visit) {
  for (int k = 0; k < n->nin; k++) {
    const node *in = n->in[k];
    if (d->u->free[in->id]) visit_operands(d, in, reader, visit);
    else visit(d, in->id, reader);
  }
}

static void note_last(divider *d, int value, int reader) {
  if (!d->g->nodes.data[reader]->phase && reader > d->last[value]) d->last[value] = reader;
}

static void note_segment(divider *d, int value, int reader) {
  remat_segments *s = d->s;
  int of = s->of[reader];
  if (of < s->first_reader[value]) s->first_reader[value] = of;
  if (of > s->last_reader[value]) s->last_reader[value] = of;
}

// ---- narrow places

/// Where a value crosses alone: the ends of segments, and these values. How many.
static int find_narrow(divider *d, const bool *aside, int least, int *ends, int *heads) {
  const graph *g = d->g;
  int *gone = arena_array(d->a, int, g->nodes.len + 1);  // by id: values last read there
  int64_t *gone_ids = arena_array(d->a, int64_t, g->nodes.len + 1);
  int crossing = 0, n = 0, units = 0;
  int64_t ids = 0;
  for (int id = 0; id < g->nodes.len; id++) {
    if (!d->unit[id] || g->nodes.data[id]->phase) continue;
    units++;
    crossing -= gone[id];
    ids -= gone_ids[id];
    if (!aside[id] && d->last[id] > id) {
      crossing++;
      ids += id;
      gone[d->last[id]]++;
      gone_ids[d->last[id]] += id;
    }
    if (crossing != 1 || units < least || isinf(d->u->keep[ids])) continue;
    if (n && heads[n - 1] == (int)ids) continue;
    ends[n] = id;
    heads[n++] = (int)ids;
    units = 0;
  }
  return n;
}

/// The value with the longest life in the forward pass that is not aside.
static int longest(const divider *d, const bool *aside) {
  int best = -1;
  for (int id = 0; id < d->g->nodes.len; id++) {
    if (!d->unit[id] || aside[id] || isinf(d->u->keep[id]) || d->last[id] <= id) continue;
    if (best < 0 || d->last[id] - id > d->last[best] - best) best = id;
  }
  return best;
}

/// With values aside only where without them there are few segments: one that is aside is kept.
static int choose_places(divider *d, int *ends, int *heads) {
  int units = 0, best = 0, count = d->g->nodes.len;
  for (int id = 0; id < count; id++) units += d->unit[id] && !d->g->nodes.data[id]->phase;
  int least = units / MAX_SEGMENTS > LEAST_UNITS ? units / MAX_SEGMENTS : LEAST_UNITS;
  bool *aside = arena_array(d->a, bool, count);
  int *some_ends = arena_array(d->a, int, count), *some_heads = arena_array(d->a, int, count);
  for (int tries = 0; tries <= MAX_ASIDE; tries++) {
    int n = find_narrow(d, aside, least, some_ends, some_heads);
    if (n > 2 * best + (tries ? 2 : 0)) {
      best = n;
      memcpy(ends, some_ends, sizeof(int) * (size_t)n);
      memcpy(heads, some_heads, sizeof(int) * (size_t)n);
      memcpy(d->aside, aside, sizeof(bool) * (size_t)count);
    }
    int next = longest(d, aside);
    if (next < 0) break;
    aside[next] = true;
  }
  return best;
}

// ---- which segment

static bool is_head_of(const remat_segments *s, int id, int segment) {
  return segment >= 0 && segment < s->n - 1 && s->heads[segment] == id;
}

/// The earliest segment that a node of a later phase reads of; INT_MAX: of none.
static int earliest_read(const divider *d, const int *of, const node *n) {
  int best = INT_MAX;
  for (int k = 0; k < n->nin; k++) {
    const node *in = n->in[k];
    if (in->op == OP_param || d->aside[in->id]) continue;
    int at = of[in->id];
    // What the next segment begins with is its own.
    if (!in->phase && d->unit[in->id] && is_head_of(d->s, in->id, at)) at++;
    if (at < best) best = at;
  }
  return best;
}

/// What is under one contract is one kernel.
static void join_contracts(const divider *d, int *of) {
  const graph *g = d->g;
  int *first = arena_array(d->a, int, g->contracts.len + 1);
  for (int k = 0; k <= g->contracts.len; k++) first[k] = INT_MAX;
  for (int id = 0; id < g->nodes.len; id++) {
    int contract = g->nodes.data[id]->contract;
    if (contract && of[id] < first[contract]) first[contract] = of[id];
  }
  for (int id = 0; id < g->nodes.len; id++) {
    int contract = g->nodes.data[id]->contract;
    if (contract && first[contract] < INT_MAX) of[id] = first[contract];
  }
}

static void assign(divider *d, const int *ends) {
  const graph *g = d->g;
  remat_segments *s = d->s;
  int *of = arena_array(d->a, int, g->nodes.len), at = 0;
  for (int id = 0; id < g->nodes.len; id++) {
    const node *n = g->nodes.data[id];
    of[id] = INT_MAX;
    if (n->op == OP_param) continue;
    if (n->phase || !d->unit[id]) of[id] = earliest_read(d, of, n);
    if (n->phase || !d->unit[id]) continue;
    of[id] = at;
    if (at < s->n - 1 && id == ends[at]) at++;
  }
  join_contracts(d, of);
  // What reads nothing of any segment is made for who reads it.
  for (int id = g->nodes.len - 1; id >= 0; id--) {
    const node *n = g->nodes.data[id];
    if (of[id] == INT_MAX) of[id] = d->unit[id] ? s->n - 1 : -1;
    for (int k = 0; k < n->nin; k++) {
      int *in = &of[n->in[k]->id];
      if (n->in[k]->phase && *in == INT_MAX) *in = of[id];
    }
  }
  for (int id = 0; id < g->nodes.len; id++) s->of[id] = d->unit[id] && !d->aside[id] ? of[id] : -1;
}

/// Bytes of later phases that are made before a segment's turn and read after it.
static void find_carried(const divider *d) {
  remat_segments *s = d->s;
  s->carried = arena_array(d->a, double, s->n + 1);
  for (int id = 0; id < d->g->nodes.len; id++) {
    const node *n = d->g->nodes.data[id];
    if (!n->phase || !d->unit[id] || s->returned[id]) continue;
    for (int k = s->first_reader[id] + 1; k < s->of[id]; k++) s->carried[k] += node_bytes(d->g, n);
  }
}

static void find_units(divider *d) {
  const graph *g = d->g;
  const bool *live = graph_live(g, d->a);
  d->unit = arena_array(d->a, bool, g->nodes.len);
  d->last = arena_array(d->a, int, g->nodes.len);
  d->aside = arena_array(d->a, bool, g->nodes.len);
  for (int id = 0; id < g->nodes.len; id++) {
    const node *n = g->nodes.data[id];
    d->unit[id] = live[id] && !d->u->free[id] && n->op != OP_param;
    if (d->unit[id]) visit_operands(d, n, id, note_last);
  }
}

remat_segments remat_divide(arena *a, const graph *g, const remat_units *u) {
  int count = g->nodes.len;
  remat_segments s = {.of = arena_array(a, int, count),
                      .first_reader = arena_array(a, int, count),
                      .last_reader = arena_array(a, int, count),
                      .returned = arena_array(a, bool, count),
                      .heads = arena_array(a, int, count + 1)};
  divider d = {.a = a, .g = g, .u = u, .s = &s};
  find_units(&d);
  int *ends = arena_array(a, int, count);
  s.n = 1 + choose_places(&d, ends, s.heads);
  assign(&d, ends);
  for (int i = 0; i < g->outputs.len; i++) s.returned[g->outputs.data[i].value->id] = true;
  for (int id = 0; id < count; id++) s.first_reader[id] = INT_MAX, s.last_reader[id] = -1;
  for (int id = 0; id < count; id++)
    if (s.of[id] >= 0) visit_operands(&d, g->nodes.data[id], id, note_segment);
  find_carried(&d);
  for (int id = 0; id < count; id++)
    if (d.aside[id]) s.aside_bytes += u->bytes[id];
  return s;
}

// ---- runs as graphs

static void add_member(arena *a, const graph *g, const remat_units *u, bool *in, ints *ids,
                       int id) {
  if (in[id]) return;
  in[id] = true;
  vec_push(a, ids, id);
  const node *n = g->nodes.data[id];
  for (int k = 0; k < n->nin; k++)
    if (u->free[n->in[k]->id]) add_member(a, g, u, in, ids, n->in[k]->id);
}

static int by_number(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  return (x > y) - (x < y);
}

remat_run remat_run_of(arena *a, const graph *g, const remat_units *u, const remat_segments *s,
                       int first, int last) {
  remat_run r = {.first = first, .last = last};
  scratch room;
  scratch_open(&room);
  bool *in = arena_array(&room.arena, bool, g->nodes.len);
  bool *outside = arena_array(&room.arena, bool, g->nodes.len);
  ints members = {0};
  for (int id = 0; id < g->nodes.len; id++)
    if (s->of[id] >= first && s->of[id] <= last) add_member(&room.arena, g, u, in, &members, id);
  if (members.len) qsort(members.data, (size_t)members.len, sizeof(int), by_number);
  for (int i = 0; i < members.len; i++) {
    const node *n = g->nodes.data[members.data[i]];
    for (int k = 0; k < n->nin; k++) {
      int id = n->in[k]->id;
      if (in[id] || outside[id]) continue;
      outside[id] = true;
      vec_push(a, &r.ids, id);
    }
  }
  r.nparams = r.ids.len;
  for (int i = 0; i < members.len; i++) vec_push(a, &r.ids, members.data[i]);
  for (int i = 0; i < r.nparams; i++) {
    const node *n = g->nodes.data[r.ids.data[i]];
    bool head = first > 0 && s->heads[first - 1] == n->id, aside = s->of[n->id] < 0;
    if (n->op != OP_param && !head && !aside) r.outer_bytes += node_bytes(g, n);
  }
  for (int i = r.nparams; i < r.ids.len; i++) {
    int id = r.ids.data[i];
    if (remat_leaves_run(s, &r, id) && !s->returned[id])
      r.outer_bytes += node_bytes(g, g->nodes.data[id]);
  }
  if (last < s->n - 1) r.head_bytes = node_bytes(g, g->nodes.data[s->heads[last]]);
  scratch_close(&room);
  return r;
}

bool remat_leaves_run(const remat_segments *s, const remat_run *r, int id) {
  if (s->of[id] < 0) return false;
  return s->returned[id] || s->first_reader[id] < r->first || s->last_reader[id] > r->last;
}

/// A graph with the axes, expressions and contracts of g and nothing else.
static graph *empty_like(arena *a, const graph *g) {
  graph *copy = graph_new(a, g->name);
  ix_copy_pool(&copy->ix, &g->ix);
  for (int k = 0; k < g->symbols.len; k++) vec_push(a, &copy->symbols, g->symbols.data[k]);
  for (int k = 0; k < g->axes.len; k++)
    graph_add_axis(copy, g->axes.data[k].name, g->axes.data[k].size);
  for (int k = 0; k < g->contracts.len; k++) graph_add_contract(copy, g->contracts.data[k]);
  copy->nregions = g->nregions;
  return copy;
}

graph *remat_run_graph(arena *a, const graph *g, const remat_segments *s, const remat_run *r) {
  graph *copy = empty_like(a, g);
  node **local = arena_array(a, node *, g->nodes.len);
  for (int i = 0; i < r->ids.len; i++) {
    node *n = g->nodes.data[r->ids.data[i]];
    node **in = arena_array(a, node *, n->nin);
    for (int k = 0; k < n->nin && i >= r->nparams; k++) in[k] = local[n->in[k]->id];
    node param = {.op = OP_param,
                  .type = n->type,
                  .naxes = n->naxes,
                  .axes = n->axes,
                  .name = str_printf(a, "p%d", i),
                  .strides = n->strides,
                  .at = n->at,
                  .kernel = -1};
    local[n->id] = graph_clone_node(copy, i < r->nparams ? &param : n, in);
  }
  for (int i = r->nparams, k = 0; i < r->ids.len; i++)
    if (remat_leaves_run(s, r, r->ids.data[i]))
      graph_output(copy, copy->nodes.data[i], str_printf(a, "r%d", k++));
  return copy;
}

// ---- equal segments

typedef struct writer {
  arena *a;
  const graph *g;
  int *axis;  // by axis: its number in the text
  int axes;
  strbuf *out;
} writer;

static int axis_number(writer *w, int axis) {
  if (w->axis[axis] >= 0) return w->axis[axis];
  w->axis[axis] = w->axes++;
  sb_printf(w->out, "(A%d=", w->axis[axis]);
  ix_print(&w->g->ix, graph_axis_size(w->g, axis), NULL, NULL, w->out);
  sb_putc(w->out, ')');
  return w->axis[axis];
}

static str axis_text(void *ctx, int axis) {
  writer *w = ctx;
  return str_printf(w->a, "A%d", w->axis[axis]);
}

static void note_axis(void *ctx, int axis) { axis_number(ctx, axis); }

static void write_index(writer *w, const node *n) {
  int count = n->op == OP_size ? 1 : op_get(n->op)->class == CLASS_view ? n->in[0]->naxes : 0;
  for (int k = 0; n->index && k < count; k++) {
    ix_axes(&w->g->ix, n->index[k], note_axis, w);
    sb_putc(w->out, ';');
    ix_print(&w->g->ix, n->index[k], axis_text, w, w->out);
  }
}

static void write_node(writer *w, const node *n, const int *local) {
  strbuf *out = w->out;
  sb_printf(out, "%d %d %u %d %d %d", n->op, n->type, n->flags, n->phase, n->contract != 0,
            n->region != 0);
  if (n->op == OP_const) sb_printf(out, " c%llx", (unsigned long long)n->value.i);
  if (n->op == OP_call) sb_printf(out, " %.*s", STR_FMT(n->name));
  for (int k = 0; k < n->nin; k++) sb_printf(out, " %%%d", local[n->in[k]->id]);
  for (int k = 0; k < n->naxes; k++) sb_printf(out, " a%d", axis_number(w, n->axes[k]));
  for (int k = 0; k < n->nattr_axes; k++) sb_printf(out, " o%d", axis_number(w, n->attr_axes[k]));
  write_index(w, n);
}

str remat_run_text(arena *a, const graph *g, const remat_segments *s, const remat_run *r) {
  scratch room;
  scratch_open(&room);
  strbuf out = sb_new(a);
  int *local = arena_array(&room.arena, int, g->nodes.len);
  writer w = {
      .a = &room.arena, .g = g, .axis = arena_array(&room.arena, int, g->axes.len), .out = &out};
  for (int k = 0; k < g->axes.len; k++) w.axis[k] = -1;
  for (int i = 0; i < r->ids.len; i++) {
    const node *n = g->nodes.data[r->ids.data[i]];
    local[n->id] = i;
    if (i >= r->nparams) {
      write_node(&w, n, local);
    } else {
      sb_printf(&out, "p %d %d %d", n->type, n->op == OP_param, n->phase > 0);
      for (int k = 0; k < n->naxes; k++) sb_printf(&out, " a%d", axis_number(&w, n->axes[k]));
    }
    bool leaves = i >= r->nparams && remat_leaves_run(s, r, n->id);
    sb_printf(&out, "%s\n", leaves ? s->returned[n->id] ? " returned" : " read" : "");
  }
  scratch_close(&room);
  return sb_str(&out);
}
