// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The oracle: evaluates a graph node by node into dense arrays of scalars. Every element is rounded
// to its node's type, once: inside an op it is held in double. Every other way of running a program
// is tested against this one, so it does nothing cleverly that could be done plainly; it is only
// careful not to walk trees per element.
//
// A value is freed after its last use, and on the way out of a fault.
#include "ir/graph_interp.h"

#include "base/fault.h"

// ---- walks

walk walk_over(const run *r, const int *axes, int naxes) {
  walk w = {.naxes = naxes};
  check(naxes <= WALK_AXES);
  for (int k = 0; k < naxes; k++) {
    w.axes[k] = axes[k];
    w.size[k] = r->axis_size[axes[k]];
  }
  if (!naxes) {
    w.naxes = 1;
    w.axes[0] = -1;
    w.size[0] = 1;
  }
  return w;
}

int walk_operand(const run *r, walk *w, const node *n) {
  check(w->noperands < WALK_OPERANDS);
  int64_t *stride = w->stride[w->noperands];
  int64_t elements = 1;
  for (int k = n->naxes - 1; k >= 0; k--) {
    for (int i = 0; i < w->naxes; i++)
      if (w->axes[i] == n->axes[k]) stride[i] = elements;
    elements *= r->axis_size[n->axes[k]];
  }
  return w->noperands++;
}

bool walk_first(walk *w) {
  for (int k = 0; k < w->naxes; k++)
    if (!w->size[k]) return false;
  int last = w->naxes - 1;
  w->row = w->size[last];
  for (int o = 0; o < w->noperands; o++) w->step[o] = w->stride[o][last];
  return true;
}

bool walk_next(walk *w) {
  for (int k = w->naxes - 2; k >= 0; k--) {
    if (++w->at[k] < w->size[k]) {
      for (int o = 0; o < w->noperands; o++) w->offset[o] += w->stride[o][k];
      return true;
    }
    for (int o = 0; o < w->noperands; o++) w->offset[o] -= w->stride[o][k] * (w->size[k] - 1);
    w->at[k] = 0;
  }
  return false;
}

int64_t walk_coordinate(const walk *w, int along) {
  for (int k = 0; k < w->naxes; k++)
    if (w->axes[k] == along) return w->at[k];
  panic("the walk has no such axis");
}

// ---- sizes and errors

bool run_symbol(void *ctx, str name, int64_t *v) {
  const run *r = ctx;
  for (int k = 0; k < r->g->symbols.len; k++)
    if (str_eq(r->g->symbols.data[k], name)) return *v = r->symbols[k], true;
  return false;
}

bool run_fail(run *r, const node *n, const char *format, ...) {
  va_list args;
  va_start(args, format);
  *r->error = str_vprintf(r->arena, format, args);
  va_end(args);
  if (n) *r->at = n->at;
  return false;
}

// ---- the run

typedef bool interp_fn(run *r, const node *n, value *out);

static interp_fn *const interpreters[] = {
    [CLASS_leaf] = interp_leaf, [CLASS_map] = interp_map,       [CLASS_reduce] = interp_reduce,
    [CLASS_contraction] = interp_dot, [CLASS_scan] = interp_scan,  [CLASS_view] = interp_view,
    [CLASS_gather] = interp_gather, [CLASS_scatter] = interp_scatter, [CLASS_opaque] = interp_call,
};

static bool count_elements(run *r, const node *n, int64_t *count) {
  *count = 1;
  for (int k = 0; k < n->naxes; k++)
    if (r->axis_size[n->axes[k]] == 0) return *count = 0, true;
  for (int k = 0; k < n->naxes; k++)
    if (__builtin_mul_overflow(*count, r->axis_size[n->axes[k]], count) || *count > INT64_MAX / 16)
      return run_fail(r, n, "a tensor has too many elements");
  return true;
}

static bool run_node(run *r, const node *n) {
  value *out = &r->values[n->id];
  if (!count_elements(r, n, &out->count)) return false;
  out->arena.user = r->arena->user;
  out->data = arena_array(&out->arena, scalar, out->count);
  return interpreters[op_get(n->op)->class](r, n, out);
}

static void give_back(run *r, const node *n, int *uses) {
  for (int k = 0; k < n->nin; k++) {
    int id = n->in[k]->id;
    if (--uses[id] == 0) arena_free(&r->values[id].arena);
  }
}

static bool axis_sizes(run *r) {
  for (int k = 0; k < r->g->axes.len; k++) {
    if (r->axis_size[k] >= 0) continue;
    str name = r->g->axes.data[k].name;
    return run_fail(r, NULL, "axis %.*s has the negative size %lld", STR_FMT(name),
                    (long long)r->axis_size[k]);
  }
  return true;
}

static bool run_all(run *r, const interp_tensor *params, interp_tensor *outputs, arena *a) {
  const graph *g = r->g;
  if (!interp_bind(r, params) || !axis_sizes(r)) return false;
  int *uses = graph_use_counts(g, r->arena);
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (n->op == OP_param) {
      if (!count_elements(r, n, &r->values[i].count)) return false;
      r->values[i].data = params[i].data;
      continue;
    }
    if (!uses[i]) continue;  // dead: not computed, and not checked either
    if (!run_node(r, n)) return false;
    give_back(r, n, uses);
  }
  for (int k = 0; k < g->outputs.len; k++) {
    const node *n = g->outputs.data[k].value;
    const value *v = &r->values[n->id];
    outputs[k] = (interp_tensor){.type = n->type, .rank = n->naxes};
    for (int d = 0; d < n->naxes; d++) outputs[k].dims[d] = r->axis_size[n->axes[d]];
    outputs[k].data = arena_copy(a, v->data, sizeof(scalar) * (size_t)v->count);
  }
  return true;
}

static void free_values(run *r) {
  for (int i = 0; r->values && i < r->g->nodes.len; i++) arena_free(&r->values[i].arena);
}

bool graph_interpret(const graph *g, arena *a, const interp_tensor *params, interp_tensor *outputs,
                     const interp_host *host, str *error, span *at) {
  arena scratch = {.user = "the interpreter"};
  span nowhere;
  run r = {.g = g, .arena = &scratch, .host = host, .error = error};
  r.at = at ? at : &nowhere;
  *r.at = (span){0};
  fault_frame frame;
  bool ok = false;
  if (fault_try(&frame)) {
    r.values = arena_array(&scratch, value, g->nodes.len);
    ok = run_all(&r, params, outputs, a);
    if (!ok) *error = str_dup(a, *error);
  }
  fault_pop(&frame);
  free_values(&r);
  arena_free(&scratch);
  if (frame.kind != FAULT_NONE) fault_raise(frame.kind, "%s", frame.text);
  return ok;
}
