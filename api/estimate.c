// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How exact a result must be.
//
// The tolerance follows the roundings along the worst path to the result, in the graph as written:
//
//   e(param) = 0, e(op) by the column `error` of ir/ops.def; the rules are OP_ERRORS in ir/op.h
//
// and is 8 e. A dot of f32 under TCF_TF32 has 2^-9 more, for both factors lose all but 10 bits.
// Random inputs make rounding errors add up like a random walk, and long sums are taken so that they
// do not do worse for others: hence sqrt(L). It is held against the largest value of the result
// (tcf_tensor_compare): cancellation in single elements is not an error of the compiler.
#include <math.h>

#include "api/session.h"

static double unit_roundoff(dtype t) {
  switch (t) {
    case DT_f64:
      return 0x1p-53;
    case DT_f32:
      return 0x1p-24;
    case DT_f16:
      return 0x1p-11;
    case DT_bf16:
      return 0x1p-8;
    default:
      return 0;
  }
}

/// The elements that one element of the result combines, at most.
static double elements_combined(const graph *g, const node *n) {
  double length = 1;
  if (n->op != OP_scatter_add) {
    for (int k = 0; k < n->nattr_axes; k++)
      length *= (double)ix_estimate(&g->ix, graph_axis_size(g, n->attr_axes[k]));
    return length;
  }
  const node *indices = n->in[1], *updates = n->in[2];
  for (int k = 0; k < indices->naxes; k++)
    length *= (double)ix_estimate(&g->ix, graph_axis_size(g, indices->axes[k]));
  for (int k = 0; k < updates->naxes; k++)
    if (!node_has_axis(indices, updates->axes[k]) && !node_has_axis(n, updates->axes[k]))
      length *= (double)ix_estimate(&g->ix, graph_axis_size(g, updates->axes[k]));
  return length;
}

static double error_of(const graph *g, const node *n, const double *errors, bool tf32) {
  double e = 0, all = 0, u = unit_roundoff(n->type), length;
  for (int i = 0; i < n->nin; i++) {
    e = fmax(e, errors[n->in[i]->id]);
    all += errors[n->in[i]->id];
  }
  if (tf32 && n->op == OP_dot && n->in[0]->type == DT_f32) all += 0x1p-9;
  switch (op_get(n->op)->error) {
    case ERROR_once: return e + u;
    case ERROR_step: return e + 4 * u;
    case ERROR_times: return all + 4 * u;
    case ERROR_grow: return 2 * e + 4 * u;
    case ERROR_sum: return e + (2 * sqrt(elements_combined(g, n)) + 8) * u;
    case ERROR_products: return all + (2 * sqrt(elements_combined(g, n)) + 8) * u;
    case ERROR_prod:
      length = elements_combined(g, n);
      return length * e + (2 * sqrt(length) + 8) * u;
    case ERROR_affine:
      length = elements_combined(g, n);
      return length * errors[n->in[0]->id] + errors[n->in[1]->id] + (2 * sqrt(length) + 8) * u;
    default: return e;
  }
}

typedef struct estimate_args {
  tcf_function *function;
  const tensor *const *args;
  size_t nargs, result;
  arena arena;
  double tolerance;
  bool exact;
} estimate_args;

static tcf_status estimate(void *args) {
  estimate_args *e = args;
  graph *g;
  tcf_status status = function_specialise_for(e->function, e->args, e->nargs, &e->arena, &g);
  if (status) return status;
  if (e->result >= (size_t)g->outputs.len)
    return session_fail(e->function->program->session, TCF_WRONG_USE, "there is no result %zu",
                        e->result);
  double *errors = arena_array(&e->arena, double, g->nodes.len);
  bool tf32 = e->function->program->session->flags & TCF_TF32;
  for (int i = 0; i < g->nodes.len; i++) errors[i] = error_of(g, g->nodes.data[i], errors, tf32);
  const node *n = g->outputs.data[e->result].value;
  e->tolerance = dtype_is_float(n->type) ? 8 * errors[n->id] : 0;
  e->exact = errors[n->id] == 0;
  return TCF_OK;
}

tcf_status function_tolerance(tcf_function *f, const tensor *const *args, size_t nargs,
                              size_t result, double *out) {
  estimate_args e = {.function = f, .args = args, .nargs = nargs, .result = result};
  tcf_status status = session_compile_guard(f->program->session, estimate, &e);
  arena_free(&e.arena);
  if (!status) *out = e.tolerance;
  return status;
}

tcf_status tcf_function_tolerance(tcf_function *f, const tcf_tensor *const *args, size_t nargs,
                                  size_t result, double *out) {
  entry in;
  tcf_status status = entry_open_function(&in, f);
  if (status) return status;
  status = need(in.session, out, "the tolerance");
  return entry_close(&in, status ? status : function_tolerance(f, args, nargs, result, out));
}

tcf_status tcf_function_is_exact(tcf_function *f, const tcf_tensor *const *args, size_t nargs,
                                 size_t result, int *exact) {
  entry in;
  tcf_status status = entry_open_function(&in, f);
  if (status) return status;
  estimate_args e = {.function = f, .args = args, .nargs = nargs, .result = result};
  status = need(in.session, exact, "the answer");
  if (!status) status = session_compile_guard(in.session, estimate, &e);
  arena_free(&e.arena);
  if (!status) *exact = e.exact;
  return entry_close(&in, status);
}
