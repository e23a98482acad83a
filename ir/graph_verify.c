// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rules of the graph IR, checked: collects every violation and shows the graph with a remark
// below each offending node:
//
//   %3 = add %1, %2 : f32[N]
//   // ^ add needs equal number types other than f16, bf16, not f32, i32
#include "base/fault.h"
#include "ir/graph_text.h"

typedef struct violation {
  const node *at;  // null: the graph itself
  str text;
} violation;

typedef struct verifier {
  const graph *g;
  arena *arena;
  vec(violation) found;
  map params, outputs;  // names seen
} verifier;

static void bad(verifier *v, const node *n, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void bad(verifier *v, const node *n, const char *format, ...) {
  va_list args;
  va_start(args, format);
  violation found = {n, str_vprintf(v->arena, format, args)};
  va_end(args);
  vec_push(v->arena, &v->found, found);
}

// ---- nodes

static bool known_axis(const verifier *v, int a) { return a >= 0 && a < v->g->axes.len; }

static bool known_ix(const verifier *v, ix e) { return e > 0 && (int)e < v->g->ix.nodes.len; }

/// What everything else relies on: false when looking further would read nonsense.
static bool verify_form(verifier *v, const node *n, int at) {
  const graph *g = v->g;
  int before = v->found.len;
  if (n->id != at) bad(v, n, "has id %d at position %d", n->id, at);
  if (n->op >= OP_COUNT || n->type >= DT_COUNT) {
    bad(v, n, "has an unknown op or type");
    return false;
  }
  for (int k = 0; k < n->nin; k++) {
    const node *in = n->in[k];
    bool here = in && in->id >= 0 && in->id < g->nodes.len && g->nodes.data[in->id] == in;
    if (!here) bad(v, n, "operand %d is not a node of the graph", k);
    else if (in->phase > n->phase) bad(v, n, "is of phase %d, its operand %%%d of phase %d", n->phase, in->id, in->phase);
    else if (in->id >= at) bad(v, n, "uses %%%d before it is defined", in->id);
  }
  if (n->naxes < 0 || n->naxes > MAX_AXES) bad(v, n, "has %d axes", n->naxes);
  for (int k = 0; k < n->naxes && n->naxes <= MAX_AXES; k++) {
    if (!known_axis(v, n->axes[k])) bad(v, n, "has an unknown axis");
    for (int i = 0; i < k; i++)
      if (n->axes[i] == n->axes[k] && known_axis(v, n->axes[k]))
        bad(v, n, "has axis %.*s twice", STR_FMT(g->axes.data[n->axes[k]].name));
  }
  bool mapped = n->op == OP_view || n->op == OP_pad;
  int count = n->op == OP_size ? 1 : mapped && v->found.len == before ? n->in[0]->naxes : 0;
  for (int k = 0; n->index && k < count; k++)
    if (!known_ix(v, n->index[k])) bad(v, n, "has an unknown index expression");
  return v->found.len == before;
}

static bool has_symbol(const graph *g, str name) {
  for (int k = 0; k < g->symbols.len; k++)
    if (str_eq(g->symbols.data[k], name)) return true;
  return false;
}

/// Every symbol of e is one of the graph's. n: of a node; else of an axis, `where`.
static void verify_symbols(verifier *v, const node *n, ix e, str where) {
  const ix_pool *p = &v->g->ix;
  const ix_node *x = ix_get(p, e);
  if (x->kind == IX_SYM && !has_symbol(v->g, x->name))
    bad(v, n, "%.*s uses size %.*s, which no param binds", STR_FMT(where), STR_FMT(x->name));
  if (x->kind == IX_DIV || x->kind == IX_MOD) {
    verify_symbols(v, n, x->a, where);
    verify_symbols(v, n, x->b, where);
  }
  for (int k = 0; x->kind == IX_SUM && k < x->nterms; k++)
    for (int i = 0; i < x->terms[k].natoms; i++) verify_symbols(v, n, x->terms[k].atoms[i], where);
}

/// View coordinates must stay inside of the operand; only what is surely wrong is refused.
static void verify_view(verifier *v, const node *n) {
  const graph *g = v->g;
  for (int k = 0; n->op == OP_view && k < n->naxes; k++)
    if (ix_bounds(&g->ix, g->axes.data[n->axes[k]].size).max == 0) return;  // empty
  for (int k = 0; n->op == OP_view && k < n->in[0]->naxes; k++) {
    int a = n->in[0]->axes[k];
    ix_range at = ix_bounds(&g->ix, n->index[k]), size = ix_bounds(&g->ix, g->axes.data[a].size);
    bool below = at.max != INT64_MAX && at.max < 0;
    bool above = at.min != INT64_MIN && size.max != INT64_MAX && at.min >= size.max;
    if (below || above)
      bad(v, n, "is outside of axis %.*s of its operand", STR_FMT(g->axes.data[a].name));
  }
}

/// Adds the name to those seen.
static bool is_new_name(verifier *v, map *names, str name) {
  if (map_get(names, name)) return false;
  map_put(v->arena, names, name, v);
  return true;
}

static void verify_attributes(verifier *v, const node *n) {
  op_class class = op_get(n->op)->class;
  bool is_param = n->op == OP_param;
  if (is_param != (n->id < v->g->nparams))
    bad(v, n, is_param ? "is a param behind the params" : "is no param, but among them");
  unsigned allowed = class == CLASS_scan ? NODE_REVERSE | NODE_EXCLUSIVE
                     : class == CLASS_gather || class == CLASS_scatter ? NODE_UNCHECKED
                                                                       : 0;
  if (!is_param) allowed |= NODE_KEEP | NODE_RECOMPUTED;
  if (n->flags & ~allowed) bad(v, n, "has flags that %s does not take", op_get(n->op)->name);
  if ((is_param || n->op == OP_call) && !n->name.len) bad(v, n, "has no name");
  if (n->strides && !is_param) bad(v, n, "has strides, but is no param");
  if (is_param && !is_new_name(v, &v->params, n->name))
    bad(v, n, "has the name of another param, %.*s", STR_FMT(n->name));
}

/// A constant holds what its type can hold: casting it to itself changes nothing.
static void verify_const(verifier *v, const node *n) {
  if (n->op != OP_const) return;
  scalar same = scalar_cast(n->value, n->type, n->type);
  bool nan = dtype_is_float(n->type) && n->value.f != n->value.f;
  if (!nan && memcmp(&same, &n->value, sizeof same)) bad(v, n, "holds a value outside of its type");
}

static void verify_inference(verifier *v, const node *n) {
  int axes[MAX_AXES], naxes = 0;
  dtype type;
  str why = {0};
  if (!node_infer(v->g, n, v->arena, &type, axes, &naxes, &why)) {
    bad(v, n, "%.*s", STR_FMT(why));
    return;
  }
  if (type != n->type) bad(v, n, "has type %s, not %s", dtype_name(n->type), dtype_name(type));
  node inferred = {.axes = axes, .naxes = naxes};
  if (node_same_axis_set(n, &inferred)) return;
  strbuf b = sb_new(v->arena);
  for (int k = 0; k < naxes; k++)
    sb_printf(&b, "%s%.*s", k ? ", " : "", STR_FMT(v->g->axes.data[axes[k]].name));
  bad(v, n, "should have the axes [%.*s]", STR_FMT(sb_str(&b)));
}

/// Sizes and coordinates of a node.
static void verify_expressions(verifier *v, const node *n) {
  bool mapped = n->op == OP_view || n->op == OP_pad;
  int count = n->op == OP_size ? 1 : mapped ? n->in[0]->naxes : 0;
  if (n->op == OP_size && n->index && !ix_is_size(&v->g->ix, n->index[0])) bad(v, n, "takes a size");
  for (int k = 0; n->index && k < count; k++)
    verify_symbols(v, n, n->index[k], str_from(op_get(n->op)->name));
}

static void verify_node(verifier *v, const node *n, int at) {
  if (!verify_form(v, n, at)) return;
  int before = v->found.len;
  verify_attributes(v, n);
  verify_inference(v, n);
  verify_const(v, n);
  if (v->found.len == before) verify_expressions(v, n);
  if (v->found.len == before) verify_view(v, n);
}

// ---- the graph

/// Sizes are sizes, over the symbols of the signature, and not below zero.
static void verify_size(verifier *v, ix e, str axis_name) {
  const graph *g = v->g;
  if (!known_ix(v, e) || !ix_is_size(&g->ix, e)) {
    bad(v, NULL, "axis %.*s has no size", STR_FMT(axis_name));
    return;
  }
  if (ix_bounds(&g->ix, e).max < 0)
    bad(v, NULL, "axis %.*s has a negative size", STR_FMT(axis_name));
}

static void verify_axes(verifier *v) {
  const graph *g = v->g;
  for (int k = 0; k < g->axes.len; k++) {
    const axis *a = &g->axes.data[k];
    int before = v->found.len;
    verify_size(v, a->size, a->name);
    if (v->found.len == before) verify_symbols(v, NULL, a->size, a->name);
    if (graph_find_axis(g, a->name) != k)
      bad(v, NULL, "axis %.*s is not found by its name", STR_FMT(a->name));
  }
  if (g->ix.overflow) bad(v, NULL, "a size does not fit into 64 bits");
}

static void verify_outputs(verifier *v) {
  const graph *g = v->g;
  if (!g->outputs.len) bad(v, NULL, "returns nothing");
  for (int k = 0; k < g->outputs.len; k++) {
    const output *o = &g->outputs.data[k];
    bool here = o->value && o->value->id >= 0 && o->value->id < g->nodes.len &&
                g->nodes.data[o->value->id] == o->value;
    if (!here) bad(v, NULL, "output %d is not a node of the graph", k);
    if (!o->name.len) bad(v, NULL, "output %d has no name", k);
    if (!is_new_name(v, &v->outputs, o->name))
      bad(v, NULL, "two outputs have the name %.*s", STR_FMT(o->name));
    if (map_get(&v->params, o->name))
      bad(v, NULL, "an output and a param have the name %.*s", STR_FMT(o->name));
  }
}

/// Kernels are numbered in order, each in one piece.
static void verify_kernels(verifier *v) {
  const graph *g = v->g;
  int last = -1;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (!g->fused || n->op == OP_param) {
      if (n->kernel != -1) bad(v, n, "is in kernel %d", n->kernel);
      continue;
    }
    if (n->kernel < 0)
      bad(v, n, "is in no kernel");
    else if (n->kernel != last && n->kernel != last + 1)
      bad(v, n, "is in kernel %d, after one of kernel %d", n->kernel, last);
    if (n->kernel >= 0) last = n->kernel;
  }
  if (g->fused && g->nkernels != last + 1)
    bad(v, NULL, "has %d kernels, not %d", last + 1, g->nkernels);
}

/// Numbers are those of contracts; a fused graph has a kernel of its own for each.
static void verify_contracts(verifier *v) {
  const graph *g = v->g;
  int *kernel = arena_array(v->arena, int, g->contracts.len + 1);
  int *owner = arena_array(v->arena, int, g->nkernels + 1);
  for (int k = 0; k < g->contracts.len; k++) {
    const contract *c = &g->contracts.data[k];
    kernel[k] = -1;
    if (c->streamed != (c->naxes > 0)) bad(v, NULL, "fuse#%d streams no axis", k);
    for (int i = 0; i < c->naxes; i++) {
      if (c->axes[i] < 0 || c->axes[i] >= g->axes.len)
        bad(v, NULL, "fuse#%d streams an unknown axis", k);
      for (int j = 0; j < i; j++)
        if (c->axes[i] == c->axes[j]) bad(v, NULL, "fuse#%d names an axis twice", k);
    }
  }
  for (int k = 0; k < g->nkernels; k++) owner[k] = -1;
  for (int i = g->nparams; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (n->contract < 0 || n->contract > g->contracts.len) {
      bad(v, n, "is under a contract that is not there");
      continue;
    }
    if (!g->fused || n->kernel < 0 || n->kernel >= g->nkernels) continue;
    if (owner[n->kernel] >= 0 && owner[n->kernel] != n->contract)
      bad(v, n, "is in kernel %d with nodes under another contract, or none", n->kernel);
    owner[n->kernel] = n->contract;
    if (!n->contract) continue;
    if (kernel[n->contract - 1] >= 0 && kernel[n->contract - 1] != n->kernel)
      bad(v, n, "is in kernel %d, but fuse#%d promises one kernel", n->kernel, n->contract - 1);
    kernel[n->contract - 1] = n->kernel;
  }
}

static str note(void *ctx, const node *n) {
  verifier *v = ctx;
  strbuf b = sb_new(v->arena);
  for (int k = 0; k < v->found.len; k++)
    if (v->found.data[k].at == n) sb_printf(&b, "// ^ %.*s\n", STR_FMT(v->found.data[k].text));
  return sb_str(&b);
}

static void verify_all(verifier *v) {
  const graph *g = v->g;
  check(g->nparams >= 0 && g->nparams <= g->nodes.len);
  verify_axes(v);
  for (int i = 0; i < g->nodes.len; i++) verify_node(v, g->nodes.data[i], i);
  verify_outputs(v);
  verify_kernels(v);
  verify_contracts(v);
}

void graph_violations(const graph *g, arena *a, graph_found *found, void *ctx) {
  verifier v = {.g = g, .arena = a};
  verify_all(&v);
  for (int k = 0; k < v.found.len; k++) found(ctx, v.found.data[k].at, v.found.data[k].text);
}

bool graph_verify(const graph *g, arena *a, str *report) {
  verifier v = {.g = g, .arena = a};
  verify_all(&v);
  if (!v.found.len) return true;
  strbuf b = sb_new(a);
  graph_print_notes(g, note, &v, &b);
  if (report) *report = sb_str(&b);
  return false;
}
