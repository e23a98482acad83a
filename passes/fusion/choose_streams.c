// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plain programs take the plans that contracts promise, where these are faster.
//
//   s = dot(q, k, D)                  S, T     the lead: a product or reduction along other axes
//   m = max(s, T)                     S        a reduction of it over T
//   p = exp(s - m)                    S, T     inside: all that carries rows and T and depends on either
//   o = dot(p, v, T) / sum(p, T)      S, E     ... what combines that over T, and maps of its results
//
// Such a set is cut out and compiled twice by itself, as plain code and under a contract of its own;
// the one that takes less time by the cost model stays. A value of the set along T that is read by
// anything else ends the matter: it has to be in memory. One element of it (what pass onehot leaves of
// a selection) is a sum over T again.
#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/fusion/outline.h"

// A gain below this part is within the error of the cost model; of loop nests on GPUs less is known.
static const double least_share = 0.05, least_of_nests = 0.35;

typedef struct chooser {
  graph *g;
  arena *a;
  const pass_options *options;
  const target_info *target;
  int n;            // nodes there were
  ints *users;      // by node id
  uint8_t *live, *returned;
  uint8_t *pure;    // made of indices, sizes and constants: every kernel that needs it computes it
  uint8_t *ends;    // one to one views that are returned
  uint8_t *given;   // nothing but maps, up to what is in memory when the program begins
  int axis;         // streamed
  uint8_t *moving;  // by node id: depends on a lead or on what combines along the axis
  uint8_t *in;      // the set
  uint8_t *last;    // the set before
  uint8_t *tried;   // by node id: was in a set
  int rows[MAX_AXES], nrows;
  ints members;
} chooser;

static op_class class_of(const node *n) { return op_get(n->op)->class; }

static bool combines(const node *n) {
  op_class c = class_of(n);
  return c == CLASS_contraction || c == CLASS_reduce;
}

static bool is_computed(const node *n) { return n->op != OP_param && class_of(n) != CLASS_leaf; }

static bool is_over(const node *n, int axis) {
  for (int k = 0; combines(n) && k < n->nattr_axes; k++)
    if (n->attr_axes[k] == axis) return true;
  return false;
}

/// The element of a row that an index known to be inside picks.
static bool is_pick(const chooser *c, const node *n) {
  return n->op == OP_gather && (n->flags & NODE_UNCHECKED) && n->attr_axes[0] == c->axis &&
         !node_has_axis(n->in[1], c->axis);
}

static bool is_map_like(const node *n) {
  return op_is_map(n->op) || n->op == OP_view || n->op == OP_pad;
}

static void find_users(chooser *c) {
  const graph *g = c->g;
  for (int k = 0; k < g->outputs.len; k++)
    c->live[g->outputs.data[k].value->id] = c->returned[g->outputs.data[k].value->id] = 1;
  for (int id = c->n - 1; id >= 0; id--)
    for (int k = 0; c->live[id] && k < g->nodes.data[id]->nin; k++)
      c->live[g->nodes.data[id]->in[k]->id] = 1;
  for (int id = 0; id < c->n; id++)
    for (int k = 0; c->live[id] && k < g->nodes.data[id]->nin; k++)
      vec_push(c->a, &c->users[g->nodes.data[id]->in[k]->id], id);
}

static void find_given(chooser *c) {
  for (int id = 0; id < c->n; id++) {
    const node *n = c->g->nodes.data[id];
    c->pure[id] = n->op != OP_param && (!is_computed(n) || is_map_like(n));
    c->given[id] = !is_computed(n) || (is_map_like(n) && !n->contract);
    for (int k = 0; k < n->nin; k++) {
      c->pure[id] &= c->pure[n->in[k]->id];
      c->given[id] &= c->given[n->in[k]->id];
    }
  }
}

/// Along the axis: what depends on a lead, or on a reduction over the axis.
static void find_moving(chooser *c) {
  memset(c->moving, 0, (size_t)c->n);
  for (int id = 0; id < c->n; id++) {
    const node *n = c->g->nodes.data[id];
    bool on = is_over(n, c->axis) || (combines(n) && node_has_axis(n, c->axis));
    for (int k = 0; k < n->nin && !on; k++) on = c->moving[n->in[k]->id];
    c->moving[id] = on && c->live[id];
  }
}

// ---- the set

static bool has_rows(const chooser *c, const node *n) {
  for (int k = 0; k < c->nrows; k++)
    if (!node_has_axis(n, c->rows[k])) return false;
  return true;
}

/// Carries the rows and the streamed axis, and exists for a step of it only.
static bool is_tile(const chooser *c, const node *n) {
  return is_computed(n) && c->moving[n->id] && node_has_axis(n, c->axis) && has_rows(c, n) &&
         (is_map_like(n) || combines(n)) && !n->contract;
}

static void add(chooser *c, const node *n) {
  if (c->in[n->id]) return;
  c->in[n->id] = 1;
  vec_push(c->a, &c->members, n->id);
}

/// What the tile is made of up to its leads, and all that is made of it. False: something else reads
/// a value along the axis.
static bool grow_tile(chooser *c, const node *seed) {
  add(c, seed);
  for (int i = 0; i < c->members.len; i++) {
    const node *n = c->g->nodes.data[c->members.data[i]];
    for (int k = 0; k < n->nin; k++)
      if (is_tile(c, n->in[k])) add(c, n->in[k]);
    if (!node_has_axis(n, c->axis)) continue;
    if (c->returned[n->id]) return false;
    for (int k = 0; k < c->users[n->id].len; k++) {
      const node *user = c->g->nodes.data[c->users[n->id].data[k]];
      bool fits = is_tile(c, user) || is_over(user, c->axis) || (is_pick(c, user) && user->in[0] == n);
      if (!fits || user->contract || op_is_arg(user->op)) return false;
      add(c, user);
    }
  }
  return true;
}

/// What lies between members.
static void close_paths(chooser *c) {
  uint8_t *after = arena_array(c->a, uint8_t, c->n), *before = arena_array(c->a, uint8_t, c->n);
  for (int id = 0; id < c->n; id++) {
    const node *n = c->g->nodes.data[id];
    after[id] = c->in[id];
    for (int k = 0; k < n->nin && c->live[id]; k++) after[id] |= after[n->in[k]->id];
  }
  for (int id = c->n - 1; id >= 0; id--) {
    const node *n = c->g->nodes.data[id];
    before[id] |= c->in[id];
    for (int k = 0; k < n->nin && before[id]; k++) before[n->in[k]->id] = 1;
  }
  for (int id = 0; id < c->n; id++)
    if (after[id] && before[id]) add(c, c->g->nodes.data[id]);
}

static bool all_users_in(const chooser *c, int id) {
  bool any = false;
  for (int k = 0; k < c->users[id].len; k++) {
    if (!c->in[c->users[id].data[k]]) return false;
    any = true;
  }
  return any && !c->returned[id];
}

/// Maps that only the set reads. `keys`: those too that lack rows: else the keys are in memory.
static void take_operands(chooser *c, bool keys) {
  for (int id = c->n - 1; id >= 0; id--) {
    const node *n = c->g->nodes.data[id];
    if (c->in[id] || !c->live[id] || !is_computed(n) || !is_map_like(n) || n->contract) continue;
    if (!keys && node_has_axis(n, c->axis) && !has_rows(c, n) && !c->moving[id]) {
      // A mask or bias lacks rows too; what a contraction multiplies is what has to be in memory.
      bool multiplied = false;
      for (int k = 0; k < c->users[id].len; k++)
        multiplied |= class_of(c->g->nodes.data[c->users[id].data[k]]) == CLASS_contraction;
      if (multiplied) continue;
    }
    if (all_users_in(c, id)) add(c, n);
  }
}

/// Takes what x is made of where that is another walk over the axis along the same rows.
static bool join(chooser *c, const node *x) {
  if (c->in[x->id] || c->given[x->id]) return true;
  if (x->contract || node_has_axis(x, c->axis)) return false;
  if (is_over(x, c->axis) && !op_is_arg(x->op)) return grow_tile(c, x);
  if (!op_is_map(x->op)) return false;
  for (int k = 0; k < x->nin; k++)
    if (!join(c, x->in[k])) return false;
  add(c, x);
  return true;
}

/// Results are stored through these.
static void find_ends(chooser *c) {
  scratch s;
  scratch_open(&s);
  ix_pool pool;
  ix index[MAX_AXES];
  bool any = false;
  for (int id = 0; id < c->n; id++) {
    const node *n = c->g->nodes.data[id];
    if (!c->returned[id] || n->op != OP_view) continue;
    if (!any) ix_init(&pool, &s.arena), ix_copy_pool(&pool, &c->g->ix);
    any = true;
    c->ends[id] = view_inverse_in(&pool, c->g, n, index);
  }
  scratch_close(&s);
}

/// Maps of finished rows, and views that these are stored through, while they need nothing that has to be computed before, or with `others` but
/// further walks. False: such a walk has a value that something else reads.
static bool take_finish(chooser *c, bool others) {
  for (int id = 0; id < c->n; id++) {
    const node *n = c->g->nodes.data[id];
    if (c->in[id] || !c->live[id] || n->contract) continue;
    bool end = c->ends[id];
    if (!end && !op_is_map(n->op) && !view_is_reorder(c->g, n)) continue;
    bool fits = false, alone = true;
    for (int k = 0; k < n->nin; k++)
      fits |= c->in[n->in[k]->id] && (end || node_same_axis_set(n->in[k], n)) && !node_has_axis(n->in[k], c->axis);
    for (int k = 0; k < n->nin && fits; k++) {
      const node *x = n->in[k];
      bool known = c->in[x->id] || c->given[x->id];
      if (!known && others && !join(c, x)) return false;
      alone &= known || others;
    }
    if (fits && alone) add(c, n);
  }
  return true;
}

static int count_combining(const chooser *c) {
  int count = 0;
  for (int i = 0; i < c->members.len; i++) count += combines(c->g->nodes.data[c->members.data[i]]);
  return count;
}

/// The set around a reduction over the axis of something that moves along it.
static bool find_set(chooser *c, const node *seed, bool keys, bool others) {
  memset(c->in, 0, (size_t)c->n);
  c->members.len = c->nrows = 0;
  for (int k = 0; k < seed->naxes; k++)
    if (!graph_axis_is_single(c->g, seed->axes[k])) c->rows[c->nrows++] = seed->axes[k];
  if (!c->nrows || !grow_tile(c, seed)) return false;
  close_paths(c);
  if (!take_finish(c, others)) return false;
  if (others) close_paths(c);
  take_operands(c, keys);
  if (count_combining(c) < 2) return false;
  bool apart = c->options && c->options->phases_apart;
  for (int i = 0; i < c->members.len; i++) {
    const node *n = c->g->nodes.data[c->members.data[i]];
    if (apart && is_computed(n) && (n->phase > 0) != (seed->phase > 0)) return false;
    op_class class = class_of(n);
    bool known = combines(n) || is_map_like(n) || class == CLASS_leaf || is_pick(c, n);
    if (n->contract || n->op == OP_param || !known || op_is_arg(n->op)) return false;
  }
  ints_sort_unique(&c->members);
  return true;
}

// ---- what it costs

/// The picked element as a sum over the axis.
static node *pick_by_sum(graph *g, const node *n, node *x, node *at, int axis) {
  node *chosen = graph_binary(g, OP_eq, graph_index(g, at->type, axis), at);
  node *zero = graph_const_float(g, n->type, 0);
  node *sum = graph_reduce(g, OP_sum, graph_where(g, chosen, x, zero), &axis, 1);
  return graph_reorder(g, sum, n->axes);
}

/// The set as a graph of its own.
typedef struct cutting {
  chooser *c;
  graph *to;
  node **map;     // by node id
  uint8_t *seen;  // likewise
} cutting;

/// A view of a value is part of the kernels that read it.
static bool is_inside(const chooser *c, const node *n) {
  return c->in[n->id] || (n->op != OP_param && (n->op == OP_view || c->pure[n->id]));
}

/// Names that no parameter of the program has.
static void make_params(cutting *t, const node *n) {
  for (int k = 0; k < n->nin; k++) {
    const node *x = n->in[k];
    if (t->map[x->id] || t->seen[x->id]) continue;
    t->seen[x->id] = 1;
    if (is_inside(t->c, x)) {
      make_params(t, x);
      continue;
    }
    if (x->op == OP_param) {
      t->map[x->id] = graph_clone_node(t->to, x, NULL);
      continue;
    }
    str name = str_printf(t->c->a, "%%%d", x->id);
    t->map[x->id] = graph_param(t->to, name, x->type, x->axes, x->naxes);
  }
}

static node *copy_in(cutting *t, const node *n) {
  if (t->map[n->id]) return t->map[n->id];
  node **in = arena_array(t->c->a, node *, n->nin);
  for (int k = 0; k < n->nin; k++) in[k] = copy_in(t, n->in[k]);
  int streamed = t->to->contracts.len, first = t->to->nodes.len;
  node *made = streamed && is_pick(t->c, n) ? pick_by_sum(t->to, n, in[0], in[1], t->c->axis)
                                            : graph_clone_node(t->to, n, in);
  for (int id = first; id < t->to->nodes.len; id++)
    if (is_computed(t->to->nodes.data[id])) t->to->nodes.data[id]->contract = streamed;
  return t->map[n->id] = made;
}

static graph *cut(chooser *c, bool streamed) {
  graph frame = *c->g;
  frame.nodes.len = frame.outputs.len = frame.decisions.len = frame.contracts.len = frame.nparams = 0;
  cutting t = {.c = c, .to = graph_copy(c->a, &frame), .map = arena_array(c->a, node *, c->n),
               .seen = arena_array(c->a, uint8_t, c->n)};
  graph *to = t.to;
  if (streamed)
    graph_add_contract(to, (contract){.streamed = true, .naxes = 1, .axes = &c->axis, .chosen = true});
  for (int i = 0; i < c->members.len; i++)
    make_params(&t, c->g->nodes.data[c->members.data[i]]);
  for (int i = 0; i < c->members.len; i++) copy_in(&t, c->g->nodes.data[c->members.data[i]]);
  for (int i = 0; i < c->members.len; i++) {
    int id = c->members.data[i];
    bool read = c->returned[id];
    for (int k = 0; k < c->users[id].len; k++) read |= !c->in[c->users[id].data[k]];
    if (read) graph_output(to, t.map[id], str_printf(c->a, "%%o%d", id));
  }
  return to;
}

/// The part of the target that is busy while blocks of rows are.
static double busy_share(const chooser *c) {
  enum { GPU_ROWS = 128, CPU_ROWS = 32 };
  double rows = 1, blocks;
  for (int k = 0; k < c->nrows; k++)
    rows *= (double)ix_estimate(&c->g->ix, graph_axis_size(c->g, c->rows[k]));
  blocks = rows / (c->target->sm ? GPU_ROWS : CPU_ROWS);
  return blocks >= c->target->cores ? 1 : (blocks < 1 ? 1 : blocks) / c->target->cores;
}

/// The set after the passes that follow this one.
static graph *compiled(chooser *c, bool streamed) {
  pass_ctx ctx = {.graph = cut(c, streamed), .scratch = c->a, .options = c->options};
  int count, i = 0;
  const pass_info *all = passes_all(&count);
  while (all[i].run != pass_choose_streams) i++;
  while (++i < count) all[i].run(&ctx);
  return ctx.graph;
}

/// One kernel in one walk; *nests: of loop nests.
static bool is_streamed(const chooser *c, graph *g, bool *nests) {
  int count;
  if (g->nkernels != 1) return false;
  const group *groups = graph_groups(g, c->target, c->a, &count);
  const node *last = g->nodes.data[g->nodes.len - 1];
  *nests = groups[0].kind == GROUP_NEST;
  if (!last->contract || (!*nests && groups[0].kind != GROUP_STREAM)) return false;
  outline o;
  return outline_of_group(&o, c->a, g, &groups[0]) && o.walks == 1;
}

/// Of loop nests on GPUs, *nests, the time follows from their schedule, which explanations look at.
static bool compiled_pays(chooser *c, bool *nests) {
  graph *streamed = compiled(c, true);
  if (!is_streamed(c, streamed, nests)) return false;
  graph *plain = compiled(c, false);
  *nests &= c->target->threads_per_core > 0;
  if (*nests)
    return predicted_seconds(c->a, streamed, c->options) <
           (1 - least_of_nests) * predicted_seconds(c->a, plain, c->options);
  double launch = c->target->launch_seconds, seconds = fused_seconds(streamed, c->target, c->a);
  seconds = (seconds - launch) / busy_share(c) + launch;
  return seconds < (1 - least_share) * fused_seconds(plain, c->target, c->a);
}

/// Long programs ask this of each of their layers, so nothing is kept of an answer.
static bool pays(const chooser *c, bool *nests) {
  scratch s;
  scratch_open(&s);
  chooser own = *c;
  own.a = &s.arena;
  bool found = compiled_pays(&own, nests);
  scratch_close(&s);
  return found;
}

// ---- the change

/// Puts the set under a contract of its own. Nodes are built when all sets are found.
static void put_under_contract(chooser *c) {
  int number = graph_add_contract(
      c->g, (contract){.streamed = true, .naxes = 1, .axes = &c->axis, .chosen = true});
  for (int i = 0; i < c->members.len; i++) {
    node *n = c->g->nodes.data[c->members.data[i]];
    if (is_computed(n)) n->contract = number + 1;
  }
  find_given(c);
}

/// The contract's own copy of what is made of indices and constants.
static node *own(chooser *c, node *n, int number, node **copies) {
  if (!is_computed(n) || !c->pure[n->id] || n->contract == number + 1) return n;
  if (copies[n->id]) return copies[n->id];
  node **in = arena_array(c->a, node *, n->nin);
  for (int k = 0; k < n->nin; k++) in[k] = own(c, n->in[k], number, copies);
  node *copy = graph_clone_node(c->g, n, in);
  copy->contract = number + 1;
  return copies[n->id] = copy;
}

/// What the members of the contract read and pick, as it is inside of it.
static void finish_contract(chooser *c, int number, node **replacement) {
  graph *g = c->g;
  scratch s;
  scratch_open(&s);
  node **copies = arena_array(&s.arena, node *, c->n);
  c->axis = g->contracts.data[number].axes[0];
  for (int id = 0; id < c->n; id++) {
    node *n = g->nodes.data[id];
    if (n->contract != number + 1) continue;
    for (int k = 0; k < n->nin; k++) n->in[k] = own(c, n->in[k], number, copies);
    if (!is_pick(c, n)) continue;
    g->contract = number + 1, g->phase = n->phase;
    replacement[id] = pick_by_sum(g, n, n->in[0], n->in[1], c->axis);
    g->contract = g->phase = 0;
  }
  scratch_close(&s);
}

// ---- where to look

/// Through maps, from a value along the axis (or of finished rows): a product or reduction that gives a
/// value along the axis, or with `over` a reduction over it; null none. `seen` by node id holds `mark`
/// where the search has been.
static node *find_origin(const chooser *c, node *n, int axis, bool over, int *seen, int mark) {
  if (seen[n->id] == mark || !is_computed(n)) return NULL;
  seen[n->id] = mark;
  bool along = node_has_axis(n, axis);
  if (combines(n)) return (over ? is_over(n, axis) && class_of(n) == CLASS_reduce : along) ? n : NULL;
  if (!is_map_like(n)) return NULL;
  for (int k = 0; k < n->nin; k++) {
    node *found = find_origin(c, n->in[k], axis, over, seen, mark);
    if (found) return found;
  }
  return NULL;
}

/// A reduction over one axis, of what a product or another reduction gave along it; or of which a
/// product over the axis needs the rows. Null: the node is neither that nor such a product.
static node *seed_of(const chooser *c, node *n, int *seen) {
  if (!combines(n) || !c->live[n->id] || n->contract || n->nattr_axes != 1) return NULL;
  int axis = n->attr_axes[0];
  if (graph_axis_is_single(c->g, axis)) return NULL;
  bool product = class_of(n) == CLASS_contraction;
  node *found = NULL;
  for (int k = 0; k < n->nin && !found; k++)
    if (node_has_axis(n->in[k], axis)) found = find_origin(c, n->in[k], axis, product, seen, n->id + 1);
  node *seed = product ? found : found ? n : NULL;
  return seed && !op_is_arg(seed->op) && !seed->contract && seed->nattr_axes == 1 ? seed : NULL;
}

/// Loop nests on GPUs where no part of theirs is a stream.
static bool choose_around(chooser *c, const node *seed) {
  uint8_t *last = memset(c->last, 0, (size_t)c->n);
  int of_nests = -1;
  if (c->axis != seed->attr_axes[0]) c->axis = seed->attr_axes[0], find_moving(c);
  for (int form = 3; form >= 0; form--) {
    bool found = find_set(c, seed, form & 1, form & 2), nests = false;
    if (!found || !memcmp(last, c->in, (size_t)c->n)) continue;
    memcpy(last, c->in, (size_t)c->n);
    for (int i = 0; i < c->members.len && !(form & 2); i++) c->tried[c->members.data[i]] = 1;
    bool chosen = pays(c, &nests);
    if (chosen && !nests) return true;
    if (chosen && of_nests < 0) of_nests = form;
  }
  return of_nests >= 0 && find_set(c, seed, of_nests & 1, of_nests & 2);
}

bool pass_choose_streams(pass_ctx *ctx) {
  graph *g = ctx->graph;
  if (g->fused) return false;
  chooser c = {.g = g, .a = ctx->scratch, .options = ctx->options, .n = g->nodes.len,
               .target = target_or_default(ctx->options), .axis = -1};
  c.pure = arena_array(c.a, uint8_t, c.n);
  c.given = arena_array(c.a, uint8_t, c.n);
  c.tried = arena_array(c.a, uint8_t, c.n);
  c.users = arena_array(c.a, ints, c.n);
  c.live = arena_array(c.a, uint8_t, c.n);
  c.returned = arena_array(c.a, uint8_t, c.n);
  c.moving = arena_array(c.a, uint8_t, c.n);
  c.in = arena_array(c.a, uint8_t, c.n);
  c.last = arena_array(c.a, uint8_t, c.n);
  c.ends = arena_array(c.a, uint8_t, c.n);
  find_users(&c);
  find_given(&c);
  find_ends(&c);
  int *seen = arena_array(c.a, int, c.n), first = g->contracts.len;
  for (int id = 0; id < c.n; id++) {
    const node *seed = seed_of(&c, g->nodes.data[id], seen);
    if (seed && !c.tried[seed->id] && choose_around(&c, seed)) put_under_contract(&c);
  }
  if (g->contracts.len == first) return false;
  node **replacement = arena_array(c.a, node *, c.n);
  for (int k = first; k < g->contracts.len; k++) finish_contract(&c, k, replacement);
  node **all = arena_array(c.a, node *, g->nodes.len);
  memcpy(all, replacement, sizeof(node *) * (size_t)c.n);
  graph_compact(g, all);
  return true;
}
