// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A function and its backward part, as two functions. What the backward part reads of the forward pass,
// and `remat` did not copy into it, is an output of the one and a parameter of the other.
//
//   graph @f(%x, %w, %d_out) {                   graph @f_forward(%x, %w) {
//     %3 = mul %x, %w                              %2 = mul %x, %w
//     %4 = tanh %3                                 %3 = tanh %2
//     %5 = mul %4, %4 : phase 1          ──▶       return %3 as out
//     %6 = sub 1, %5 : phase 1                   }
//     %7 = mul %d_out, %6 : phase 1              graph @f_backward(%w, %out, %d_out) {
//     %8 = mul %7, %w : phase 1                    %3 = mul %out, %out : phase 1
//     return %4, %8 as d_x                         ...
//   }                                              return %6 as d_x
//                                                }
//
// Views, constants and other free nodes (passes/fusion/fuse.h) are part of both.
#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"

typedef struct splitter {
  arena *a;  // of the results
  const graph *joint;
  int params, results;
  const bool *free;  // by node id
  bool *read;        // by node id: the backward part reads it of the forward pass
  int nread;
} splitter;

static bool is_backward(const node *n) { return n->phase > 0 || n->flags & NODE_RECOMPUTED; }

static void find_read(splitter *s) {
  const graph *g = s->joint;
  bool *needed = arena_array(s->a, bool, g->nodes.len);
  s->read = arena_array(s->a, bool, g->nodes.len);
  for (int k = s->results; k < g->outputs.len; k++) needed[g->outputs.data[k].value->id] = true;
  for (int id = g->nodes.len - 1; id >= g->nparams; id--) {
    const node *n = g->nodes.data[id];
    if (!needed[id]) continue;
    bool computed = op_get(n->op)->class != CLASS_leaf;
    if (!is_backward(n) && computed && !s->free[id]) {
      s->read[id] = true;
      s->nread++;
      continue;
    }
    for (int k = 0; k < n->nin; k++) needed[n->in[k]->id] = true;
  }
}

// ---- names

static bool is_name(const graph *g, str name) {
  for (int i = 0; i < g->nparams; i++)
    if (str_eq(g->nodes.data[i]->name, name)) return true;
  for (int k = 0; k < g->outputs.len; k++)
    if (str_eq(g->outputs.data[k].name, name)) return true;
  return graph_find_axis(g, name) >= 0;
}

/// "saved0", with as many '_' behind it as it takes.
static str saved_name(const splitter *s, int number) {
  str name = str_printf(s->a, "saved%d", number);
  while (is_name(s->joint, name)) name = str_printf(s->a, "%.*s_", STR_FMT(name));
  return name;
}

// ---- what is read, as outputs of the forward part

/// An output that is this value, maybe in another storage order.
static const output *result_of(const graph *g, int results, const node *n) {
  for (int k = 0; k < results; k++) {
    const node *v = g->outputs.data[k].value;
    bool reordered = v->op == OP_view && v->in[0] == n && node_same_axis_set(v, n);
    if (v == n || (reordered && view_is_reorder(g, v))) return &g->outputs.data[k];
  }
  return NULL;
}

static void drop_contracts(graph *g) {
  int *number = arena_array(g->arena, int, g->contracts.len + 1), kept = 0;
  for (int id = 0; id < g->nodes.len; id++) number[g->nodes.data[id]->contract] = 1;
  for (int k = 0; k < g->contracts.len; k++) {
    if (!number[k + 1]) continue;
    g->contracts.data[kept++] = g->contracts.data[k];
    number[k + 1] = kept;
  }
  number[0] = 0;
  g->contracts.len = kept;
  for (int id = 0; id < g->nodes.len; id++)
    g->nodes.data[id]->contract = number[g->nodes.data[id]->contract];
}

static graph *make_forward(splitter *s) {
  graph *g = graph_copy(s->a, s->joint);
  bool *drop = arena_array(s->a, bool, g->nparams);
  int saved = 0;
  g->name = str_printf(s->a, "%.*s_forward", STR_FMT(s->joint->name));
  g->outputs.len = s->results;
  for (int id = g->nparams; id < g->nodes.len; id++)
    if (s->read[id] && !result_of(g, s->results, g->nodes.data[id]))
      graph_output(g, g->nodes.data[id], saved_name(s, saved++));
  graph_compact(g, NULL);
  for (int i = s->params; i < g->nparams; i++) drop[i] = true;
  graph_drop_params(g, drop);
  for (int id = 0; id < g->nodes.len; id++) g->nodes.data[id]->phase = 0;
  drop_contracts(g);
  return g;
}

// ---- ... and as parameters of the backward part

/// A param of the backward part in the place of each value that is read; it becomes param number s->params
/// or one of those after it.
static node **read_params(splitter *s, graph *g) {
  int count = g->nodes.len, saved = 0, made = 0;
  node **old = arena_copy(s->a, g->nodes.data, sizeof(node *) * (size_t)count);
  node **stands = arena_array(s->a, node *, count);
  for (int k = 0; k < s->results; k++) {
    node *v = g->outputs.data[k].value, *p = NULL;
    for (int id = s->joint->nparams; id < count; id++) {
      const output *o = s->read[id] ? result_of(g, s->results, old[id]) : NULL;
      if (o != &g->outputs.data[k]) continue;
      if (!p) p = graph_insert_param(g, s->params + made++, o->name, v->type, v->axes, v->naxes);
      p->at = v->at;
      stands[id] = graph_reorder(g, p, old[id]->axes);
    }
  }
  for (int id = s->joint->nparams; id < count; id++) {
    const node *v = old[id];
    if (!s->read[id] || stands[id]) continue;
    stands[id] = graph_insert_param(g, s->params + made++, saved_name(s, saved++), v->type, v->axes,
                                    v->naxes);
    stands[id]->at = v->at;
  }
  node **by_id = arena_array(s->a, node *, g->nodes.len);
  for (int id = 0; id < count; id++)
    if (stands[id]) by_id[old[id]->id] = stands[id];
  return by_id;
}

// ---- sizes

typedef struct symbol_search {
  str symbol;
  bool found;
} symbol_search;

static int64_t look_at_symbol(void *search, str name) {
  symbol_search *s = search;
  s->found |= str_eq(s->symbol, name);
  return 1;
}

static int64_t any_coordinate(void *ctx, int axis) {
  (void)ctx, (void)axis;
  return 0;
}

static bool mentions(const graph *g, ix e, str symbol) {
  symbol_search search = {symbol, false};
  ix_eval(&g->ix, e, look_at_symbol, any_coordinate, &search);
  return search.found;
}

static bool node_mentions(const graph *g, const node *n, str symbol) {
  for (int k = 0; k < n->naxes; k++)
    if (mentions(g, graph_axis_size(g, n->axes[k]), symbol)) return true;
  for (int k = 0; k < n->nattr_axes; k++)
    if (mentions(g, graph_axis_size(g, n->attr_axes[k]), symbol)) return true;
  int count = !n->index ? 0 : n->op == OP_size ? 1 : n->in[0]->naxes;
  for (int k = 0; k < count; k++)
    if (mentions(g, n->index[k], symbol)) return true;
  return false;
}

/// Symbols of the function that nothing here depends on; axes with such a size are of no node.
static void drop_symbols(graph *g) {
  int kept = 0;
  for (int k = 0; k < g->symbols.len; k++) {
    str symbol = g->symbols.data[k];
    bool used = false;
    for (int id = 0; id < g->nodes.len && !used; id++)
      used = node_mentions(g, g->nodes.data[id], symbol);
    if (used) {
      g->symbols.data[kept++] = symbol;
      continue;
    }
    for (int i = 0; i < g->axes.len; i++)
      if (mentions(g, g->axes.data[i].size, symbol)) g->axes.data[i].size = ix_const(&g->ix, 1);
  }
  g->symbols.len = kept;
}

static bool has_symbol(const graph *g, const node *n, str symbol) {
  for (int k = 0; k < n->naxes; k++) {
    const ix_node *size = ix_get(&g->ix, graph_axis_size(g, n->axes[k]));
    if (size->kind == IX_SYM && str_eq(size->name, symbol)) return true;
  }
  return false;
}

/// Some param that stays has the symbol as a size. Else the first of the function that has it stays; where
/// none has, all do: together they give all sizes.
static void keep_size(const splitter *s, const graph *g, str symbol, bool *drop) {
  int with = -1;
  for (int i = g->nparams - 1; i >= 0; i--) {
    if (!has_symbol(g, g->nodes.data[i], symbol)) continue;
    if (!drop[i]) return;
    with = i;
  }
  if (with >= 0) drop[with] = false;
  else memset(drop, 0, sizeof(bool) * (size_t)s->params);
}

static graph *make_backward(splitter *s) {
  graph *g = graph_copy(s->a, s->joint);
  g->name = str_printf(s->a, "%.*s_backward", STR_FMT(s->joint->name));
  node **stands = read_params(s, g);
  int gradients = g->outputs.len - s->results;
  for (int k = 0; k < gradients; k++) g->outputs.data[k] = g->outputs.data[s->results + k];
  g->outputs.len = gradients;
  graph_compact(g, stands);
  bool *live = graph_live(g, s->a), *drop = arena_array(s->a, bool, g->nparams);
  for (int i = 0; i < s->params; i++) drop[i] = !live[i];
  // Without what nothing reads, then with what gives sizes that are needed.
  graph *bare = graph_copy(s->a, g);
  graph_drop_params(bare, drop);
  drop_symbols(bare);
  for (int k = 0; k < bare->symbols.len; k++) keep_size(s, g, bare->symbols.data[k], drop);
  graph_drop_params(g, drop);
  drop_symbols(g);
  // What is part of both is under no promise of the forward part.
  for (int id = 0; id < g->nodes.len; id++)
    if (!is_backward(g->nodes.data[id]))
      g->nodes.data[id]->contract = g->nodes.data[id]->region = 0;
  drop_contracts(g);
  return g;
}

/// What is of one contract with something of the forward pass is too: not to save what is inside of the block.
static bool spread_in_contracts(const graph *joint, bool *forward, bool *contracts) {
  bool changed = false;
  for (int id = 0; id < joint->nodes.len; id++)
    if (forward[id]) contracts[joint->nodes.data[id]->contract] = true;
  for (int id = joint->nodes.len - 1; id >= 0; id--) {
    const node *n = joint->nodes.data[id];
    if (!forward[id] && n->contract && contracts[n->contract]) changed = forward[id] = true;
    for (int k = 0; forward[id] && k < n->nin; k++) {
      changed |= !forward[n->in[k]->id];
      forward[n->in[k]->id] = true;
    }
  }
  return changed;
}

/// Of a function that has derivatives itself, these are part of the forward pass.
void settle_phases(graph *joint, int results) {
  bool *forward = arena_array(joint->arena, bool, joint->nodes.len);
  bool *contracts = arena_array(joint->arena, bool, joint->contracts.len + 1);
  for (int k = 0; k < results; k++) forward[joint->outputs.data[k].value->id] = true;
  while (spread_in_contracts(joint, forward, contracts)) continue;
  for (int id = joint->nodes.len - 1; id >= 0; id--) {
    node *n = joint->nodes.data[id];
    if (n->phase > 1 || forward[id]) n->phase = !forward[id];
    if (forward[id] && !n->contract) n->flags &= ~(unsigned)NODE_RECOMPUTED;
  }
}

void settle_seeds(graph *joint, int params) {
  for (int id = joint->nparams; id < joint->nodes.len; id++) {
    node *n = joint->nodes.data[id];
    for (int k = 0; k < n->nin; k++) {
      bool seed = n->in[k]->op == OP_param && n->in[k]->id >= params;
      if (!n->phase && (seed || n->in[k]->phase)) n->phase = 1;
    }
  }
}

phase_split split_phases(arena *a, const graph *joint, int params, int results,
                         const pass_options *options) {
  scratch room;
  scratch_open(&room);
  diag_list diags = {.arena = &room.arena};
  pass_ctx ctx = {graph_copy(&room.arena, joint), &room.arena, options, &diags};
  fusion f;
  fusion_init(&f, &ctx);
  splitter s = {.a = a, .joint = joint, .params = params, .results = results};
  s.free = arena_copy(a, f.free, sizeof(bool) * (size_t)joint->nodes.len);
  scratch_close(&room);
  find_read(&s);
  phase_split split = {make_forward(&s), make_backward(&s), results};
  return split;
}
