// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Graph IR: axes, questions about nodes, and operations on whole graphs: compaction, deep copies,
// specialisation to sizes.
#include "ir/graph.h"

#include "base/fault.h"

// ---- axes

typedef struct named_axis {
  int axis;
  int next;  // the next suffix to try for this name
} named_axis;

graph *graph_new(arena *a, str name) {
  graph *g = arena_new(a, graph);
  g->arena = a;
  g->name = str_dup(a, name);
  ix_init(&g->ix, a);
  return g;
}

graph *graph_find(const module *m, str name) {
  for (int k = 0; k < m->graphs.len; k++)
    if (str_eq(m->graphs.data[k]->name, name)) return m->graphs.data[k];
  return NULL;
}

int graph_add_axis(graph *g, str name, ix size) {
  named_axis *taken = map_get(&g->axis_names, name);
  str unique = taken ? (str){0} : str_dup(g->arena, name);
  while (!unique.len) {
    str candidate = str_printf(g->arena, "%.*s.%d", STR_FMT(name), ++taken->next);
    if (!map_get(&g->axis_names, candidate)) unique = candidate;
  }
  named_axis *entry = arena_new(g->arena, named_axis);
  entry->axis = g->axes.len;
  map_put(g->arena, &g->axis_names, unique, entry);
  ix_set_axis(&g->ix, g->axes.len, size);
  vec_push(g->arena, &g->axes, (axis){unique, size});
  return entry->axis;
}

int graph_find_axis(const graph *g, str name) {
  named_axis *entry = map_get(&g->axis_names, name);
  return entry ? entry->axis : -1;
}

ix graph_axis_size(const graph *g, int axis) {
  check(axis >= 0 && axis < g->axes.len);
  return g->axes.data[axis].size;
}

bool graph_axis_is_single(const graph *g, int axis) {
  int64_t size;
  return ix_is_const(&g->ix, graph_axis_size(g, axis), &size) && size == 1;
}

bool view_is_reorder(const graph *g, const node *view) {
  if (view->op != OP_view || !node_same_axis_set(view, view->in[0])) return false;
  for (int k = 0; k < view->in[0]->naxes; k++) {
    int axis;
    if (!ix_is_axis(&g->ix, view->index[k], &axis) || axis != view->in[0]->axes[k]) return false;
  }
  return true;
}

// ---- reasons

const char *reason_name(reason r) {
  static const char *const names[] = {
#define REASON(name, text) #name,
#include "ir/reasons.def"
#undef REASON
  };
  return names[r];
}

const char *reason_text(reason r) {
  static const char *const texts[] = {
#define REASON(name, text) text,
#include "ir/reasons.def"
#undef REASON
  };
  return texts[r];
}

// ---- nodes

bool node_has_axis(const node *n, int axis) {
  for (int k = 0; k < n->naxes; k++)
    if (n->axes[k] == axis) return true;
  return false;
}

bool node_same_axis_set(const node *a, const node *b) {
  if (a->naxes != b->naxes) return false;
  for (int k = 0; k < a->naxes; k++)
    if (!node_has_axis(b, a->axes[k])) return false;
  return true;
}

bool node_is_checked_index(const node *n) {
  return n->op == OP_gather && n->in[0]->op == OP_index;
}

bool node_is_one_number(const node *n) {
  while (n->op == OP_view) n = n->in[0];
  return n->op == OP_const || n->op == OP_size;
}

bool node_gathers_buffer(const node *n) {
  return n->op == OP_gather && !node_is_checked_index(n) && !node_is_one_number(n->in[0]);
}

ix node_elements(graph *g, const node *n) {
  ix count = ix_const(&g->ix, 1);
  for (int k = 0; k < n->naxes; k++)
    count = ix_mul(&g->ix, count, graph_axis_size(g, n->axes[k]));
  return count;
}

const char *rule_name(int n) {
  static const char *const names[] = {
#define RULE(name, text) #name,
#include "ir/rules.def"
#undef RULE
  };
  return names[n];
}

int graph_add_contract(graph *g, contract c) {
  c.axes = arena_copy(g->arena, c.axes, sizeof(int) * (size_t)c.naxes);
  contract_call *calls = arena_copy(g->arena, c.calls, sizeof *calls * (size_t)c.ncalls);
  for (int i = 0; i < c.ncalls; i++) calls[i].function = str_dup(g->arena, calls[i].function);
  c.calls = calls;
  vec_push(g->arena, &g->contracts, c);
  return g->contracts.len - 1;
}

static int index_count(const node *n) {
  if (n->op == OP_size) return 1;
  return n->op == OP_view || n->op == OP_pad ? n->in[0]->naxes : 0;
}

static node *copy_node(arena *a, const node *n, node *const *in) {
  node *copy = arena_copy(a, n, sizeof *n);
  copy->axes = arena_copy(a, n->axes, sizeof(int) * (size_t)n->naxes);
  copy->attr_axes = arena_copy(a, n->attr_axes, sizeof(int) * (size_t)n->nattr_axes);
  copy->in = arena_copy(a, in, sizeof(node *) * (size_t)n->nin);
  if (n->index) copy->index = arena_copy(a, n->index, sizeof(ix) * (size_t)index_count(n));
  if (n->strides) copy->strides = arena_copy(a, n->strides, sizeof(int64_t) * (size_t)n->naxes);
  if (n->name.len) copy->name = str_dup(a, n->name);
  return copy;
}

node *graph_clone_node(graph *g, const node *n, node *const *in) {
  check(n->op != OP_param || g->nparams == g->nodes.len);
  node *copy = copy_node(g->arena, n, in);
  if (n->op == OP_param) g->nparams++;
  copy->id = g->nodes.len;
  vec_push(g->arena, &g->nodes, copy);
  return copy;
}

int *graph_use_counts(const graph *g, arena *a) {
  int *uses = arena_array(a, int, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++)
    for (int k = 0; k < g->nodes.data[i]->nin; k++) uses[g->nodes.data[i]->in[k]->id]++;
  for (int k = 0; k < g->outputs.len; k++) uses[g->outputs.data[k].value->id]++;
  return uses;
}

// ---- compaction

static node *resolve(node **replacement, int count, node *n) {
  for (int step = 0; n->id < count && replacement[n->id] && replacement[n->id] != n; step++) {
    check(step <= count);  // a cycle of replacements
    n = replacement[n->id];
  }
  return n;
}

/// Nodes in an order that follows the old one but has inputs first.
typedef struct sorter {
  arena *arena;
  char *state;  // by old id: 0 unseen, 1 on the stack, 2 placed
  vec(node *) order;
  vec(node *) stack;
} sorter;

static void place(sorter *s, node *root) {
  vec_push(s->arena, &s->stack, root);
  while (s->stack.len) {
    node *n = s->stack.data[s->stack.len - 1];
    bool ready = true;
    if (s->state[n->id] == 0) {
      s->state[n->id] = 1;
      for (int k = n->nin - 1; k >= 0; k--) {
        if (s->state[n->in[k]->id] == 2) continue;
        check(s->state[n->in[k]->id] == 0);  // a cycle through n
        vec_push(s->arena, &s->stack, n->in[k]);
        ready = false;
      }
    }
    if (!ready) continue;
    s->stack.len--;
    if (s->state[n->id] == 2) continue;
    s->state[n->id] = 2;
    vec_push(s->arena, &s->order, n);
  }
}

bool *graph_live(const graph *g, arena *a) {
  bool *live = arena_array(a, bool, g->nodes.len);
  vec(node *) stack = {0};
  for (int k = 0; k < g->outputs.len; k++) vec_push(a, &stack, g->outputs.data[k].value);
  while (stack.len) {
    node *n = stack.data[--stack.len];
    if (live[n->id]) continue;
    live[n->id] = true;
    for (int k = 0; k < n->nin; k++) vec_push(a, &stack, n->in[k]);
  }
  return live;
}

void graph_compact(graph *g, node **replacement) {
  arena *a = g->arena;
  int count = g->nodes.len;
  if (replacement) {
    for (int i = 0; i < count; i++) {
      node *n = g->nodes.data[i];
      for (int k = 0; k < n->nin; k++) n->in[k] = resolve(replacement, count, n->in[k]);
    }
    for (int k = 0; k < g->outputs.len; k++)
      g->outputs.data[k].value = resolve(replacement, count, g->outputs.data[k].value);
  }
  const bool *live = graph_live(g, a);
  sorter s = {.arena = a, .state = arena_array(a, char, count)};
  for (int i = 0; i < count; i++)
    if (live[i] || i < g->nparams) place(&s, g->nodes.data[i]);
  int *renumbered = arena_array(a, int, count);
  for (int i = 0; i < count; i++) renumbered[i] = -1;
  for (int i = 0; i < s.order.len; i++) {
    renumbered[s.order.data[i]->id] = i;
    s.order.data[i]->id = i;
    g->nodes.data[i] = s.order.data[i];
  }
  g->nodes.len = s.order.len;
  for (int k = 0; k < g->decisions.len; k++) {
    decision *d = &g->decisions.data[k];
    if (d->producer >= 0) d->producer = renumbered[d->producer];
    if (d->consumer >= 0) d->consumer = renumbered[d->consumer];
    if (d->shared) d->shared = 1 + renumbered[d->shared - 1];
  }
}

void graph_drop_params(graph *g, const bool *drop) {
  int kept = 0, params = g->nparams;
  for (int id = 0; id < g->nodes.len; id++) {
    node *n = g->nodes.data[id];
    if (id < params && drop[id]) {
      n->id = -1;
      g->nparams--;
      continue;
    }
    for (int k = 0; k < n->nin; k++) check(n->in[k]->id >= 0);
    n->id = kept;
    g->nodes.data[kept++] = n;
  }
  g->nodes.len = kept;
  for (int k = 0; k < g->outputs.len; k++) check(g->outputs.data[k].value->id >= 0);
}

// ---- copies

/// Everything but the pool, the axis sizes and the index expressions, which stay handles of g.
static graph *copy_frame(arena *a, const graph *g) {
  graph *copy = graph_new(a, g->name);
  node **nodes = arena_array(a, node *, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    node **in = arena_array(a, node *, n->nin);
    for (int k = 0; k < n->nin; k++) in[k] = nodes[n->in[k]->id];
    nodes[i] = copy_node(a, n, in);
    vec_push(a, &copy->nodes, nodes[i]);
  }
  for (int k = 0; k < g->outputs.len; k++)
    graph_output(copy, nodes[g->outputs.data[k].value->id], g->outputs.data[k].name);
  for (int k = 0; k < g->decisions.len; k++)
    vec_push(a, &copy->decisions, g->decisions.data[k]);
  for (int k = 0; k < g->contracts.len; k++) graph_add_contract(copy, g->contracts.data[k]);
  for (int k = 0; k < g->plans.len; k++) vec_push(a, &copy->plans, str_dup(a, g->plans.data[k]));
  copy->nparams = g->nparams;
  copy->fused = g->fused;
  copy->nkernels = g->nkernels;
  copy->nregions = g->nregions;
  return copy;
}

/// Value callback that binds nothing.
static bool keep_symbol(void *ctx, str name, int64_t *v) {
  (void)ctx, (void)name, (void)v;
  return false;
}

graph *graph_copy(arena *a, const graph *g) {
  graph *copy = copy_frame(a, g);
  ix_copy_pool(&copy->ix, &g->ix);
  for (int k = 0; k < g->symbols.len; k++)
    vec_push(a, &copy->symbols, str_dup(a, g->symbols.data[k]));
  for (int k = 0; k < g->axes.len; k++)
    graph_add_axis(copy, g->axes.data[k].name, g->axes.data[k].size);
  return copy;
}

static void copy_facts(ix_pool *to, const ix_pool *from, bool (*value)(void *, str, int64_t *),
                       void *ctx) {
  for (int k = 0; k < from->facts.len; k++) {
    const map_entry *e = &from->facts.entries[k];
    int64_t v;
    if (!value(ctx, e->key, &v)) *ix_fact_of(to, e->key) = *(const ix_fact *)e->value;
  }
}

graph *graph_specialise(arena *a, const graph *g, bool (*value)(void *, str, int64_t *),
                        void *ctx) {
  if (!value) value = keep_symbol;
  graph *copy = copy_frame(a, g);
  copy_facts(&copy->ix, &g->ix, value, ctx);
  for (int k = 0; k < g->symbols.len; k++) {
    int64_t v;
    if (!value(ctx, g->symbols.data[k], &v))
      vec_push(a, &copy->symbols, str_dup(a, g->symbols.data[k]));
  }
  for (int k = 0; k < g->axes.len; k++)
    graph_add_axis(copy, g->axes.data[k].name,
                   ix_bind(&copy->ix, &g->ix, g->axes.data[k].size, value, ctx));
  for (int i = 0; i < copy->nodes.len; i++) {
    node *n = copy->nodes.data[i];
    for (int k = 0; n->index && k < index_count(n); k++)
      n->index[k] = ix_bind(&copy->ix, &g->ix, n->index[k], value, ctx);
  }
  return copy;
}

// ---- what a node is

static void put_bytes(strbuf *b, const void *data, size_t size) {
  sb_put(b, (str){(const char *)data, (int)size});
}

static void put_int(strbuf *b, int v) { put_bytes(b, &v, sizeof v); }

static int number_of(const int *number, const node *n) { return number ? number[n->id] : n->id; }

str node_key(arena *a, const node *n, const int *number, int contract) {
  strbuf b = sb_new(a);
  put_int(&b, n->op);
  put_int(&b, n->type);
  put_int(&b, (int)(n->flags & ~(unsigned)NODE_KEEP));
  // What is computed in a block stays in its kernel, and what is outside does not come in; leaves are
  // in any.
  put_int(&b, op_get(n->op)->class == CLASS_leaf ? 0 : contract);
  bool swap = op_get(n->op)->commutes && number_of(number, n->in[0]) > number_of(number, n->in[1]);
  for (int k = 0; k < n->nin; k++) put_int(&b, number_of(number, n->in[swap ? 1 - k : k]));
  put_int(&b, -1);
  for (int k = 0; k < n->naxes; k++) put_int(&b, n->axes[k]);
  put_int(&b, -1);
  for (int k = 0; k < n->nattr_axes; k++) put_int(&b, n->attr_axes[k]);
  put_int(&b, -1);
  if (n->op == OP_const) put_bytes(&b, &n->value, sizeof n->value);
  int nindex = n->op == OP_size ? 1 : op_get(n->op)->class == CLASS_view ? n->in[0]->naxes : 0;
  for (int k = 0; k < nindex; k++) put_bytes(&b, &n->index[k], sizeof n->index[k]);
  return sb_str(&b);
}
