// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The graph interpreter: leaves, elementwise ops, reductions, contractions and scans.
#include <math.h>

#include "base/fault.h"
#include "ir/graph_interp.h"

static const scalar *input(const run *r, const node *n, int k) {
  return r->values[n->in[k]->id].data;
}

// ---- leaves

bool interp_leaf(run *r, const node *n, value *out) {
  if (n->op == OP_const) {
    out->data[0] = n->value;
  } else if (n->op == OP_size) {
    scalar v;
    ix size = ix_bind(&r->pool, &r->g->ix, n->index[0], run_symbol, r);
    check(ix_is_const(&r->pool, size, &v.i));
    out->data[0] = scalar_cast(v, DT_i64, n->type);
  } else {
    for (int64_t j = 0; j < out->count; j++)
      out->data[j] = scalar_cast((scalar){.i = j}, DT_i64, n->type);
  }
  return true;
}

// ---- maps

bool interp_map(run *r, const node *n, value *out) {
  walk w = walk_over(r, n->axes, n->naxes);
  const scalar *in[3] = {0};
  for (int k = 0; k < n->nin; k++) {
    walk_operand(r, &w, n->in[k]);
    in[k] = input(r, n, k);
  }
  dtype operand = n->in[n->op == OP_where ? 1 : 0]->type, result = n->type;
  scalar *to = out->data;
  for (bool more = walk_first(&w); more; more = walk_next(&w)) {
    for (int64_t j = 0; j < w.row; j++) {
      scalar args[3];
      for (int k = 0; k < n->nin; k++) args[k] = in[k][w.offset[k] + j * w.step[k]];
      *to++ = op_eval(n->op, operand, result, args);
    }
  }
  return true;
}

// ---- reductions

/// True when v takes the place of the best so far: NaN beats all, the first of equals stays.
static bool is_better(op o, dtype t, scalar v, scalar best) {
  if (dtype_is_float(t)) {
    if (isnan(best.f)) return false;
    if (isnan(v.f)) return true;
    return o == OP_argmax ? v.f > best.f : v.f < best.f;
  }
  return o == OP_argmax ? scalar_less(best, v, t) : scalar_less(v, best, t);
}

static bool interp_arg(run *r, const node *n, value *out) {
  const node *a = n->in[0];
  walk w = walk_over(r, a->axes, a->naxes);
  int to = walk_operand(r, &w, n);
  int along = n->attr_axes[0];
  bool in_row = w.axes[w.naxes - 1] == along;
  const scalar *in = input(r, n, 0);
  scalar *best = arena_array(&out->arena, scalar, out->count);
  for (int64_t j = 0; j < out->count; j++) out->data[j].i = -1;
  for (bool more = walk_first(&w); more; more = walk_next(&w)) {
    int64_t start = in_row ? 0 : walk_coordinate(&w, along);
    for (int64_t j = 0; j < w.row; j++, in++) {
      int64_t at = w.offset[to] + j * w.step[to];
      if (out->data[at].i >= 0 && !is_better(n->op, a->type, *in, best[at])) continue;
      best[at] = *in;
      out->data[at].i = start + (in_row ? j : 0);
    }
  }
  for (int64_t j = 0; j < out->count; j++)
    if (out->data[j].i < 0) out->data[j].i = 0;  // of nothing: 0
  return true;
}

op_running *run_start(run *r, const node *n, const value *out, const scalar *from) {
  op_running *running = arena_array(&r->values[n->id].arena, op_running, out->count);
  scalar identity = op_identity(n->op, n->type);
  for (int64_t j = 0; j < out->count; j++) running[j] = op_start(from ? from[j] : identity);
  return running;
}

void run_finish(const node *n, const op_running *running, value *out) {
  for (int64_t j = 0; j < out->count; j++) out->data[j] = op_value(running[j], n->type);
}

bool interp_reduce(run *r, const node *n, value *out) {
  if (op_is_arg(n->op)) return interp_arg(r, n, out);
  const node *a = n->in[0];
  op_running *running = run_start(r, n, out, NULL);
  walk w = walk_over(r, a->axes, a->naxes);
  int to = walk_operand(r, &w, n);
  const scalar *in = input(r, n, 0);
  bool adds = n->op == OP_sum && dtype_is_float(n->type);
  for (bool more = walk_first(&w); more; more = walk_next(&w)) {
    op_running *row = running + w.offset[to];
    int64_t step = w.step[to];
    if (adds)
      for (int64_t j = 0; j < w.row; j++) op_add_float(&row[j * step], in[j].f);
    else
      for (int64_t j = 0; j < w.row; j++) op_step(&row[j * step], n->op, n->type, in[j]);
    in += w.row;
  }
  run_finish(n, running, out);
  return true;
}

// ---- contractions

/// The contracted axes go last, or before the last axis of the result.
static walk contraction_walk(const run *r, const node *n, bool result_inside) {
  int axes[WALK_AXES], count = 0, last = n->naxes - 1;
  for (int k = 0; k < (result_inside ? last : n->naxes); k++) axes[count++] = n->axes[k];
  for (int k = 0; k < n->nattr_axes; k++) axes[count++] = n->attr_axes[k];
  if (result_inside) axes[count++] = n->axes[last];
  walk w = walk_over(r, axes, count);
  walk_operand(r, &w, n);
  walk_operand(r, &w, n->in[0]);
  walk_operand(r, &w, n->in[1]);
  return w;
}

/// How many operands lie still or contiguous along the rows; none when rows are short.
static int row_score(const walk *w) {
  int score = 0, last = w->naxes - 1;
  for (int o = 0; o < w->noperands; o++)
    score += w->stride[o][last] == 0 || w->stride[o][last] == 1;
  return w->size[last] >= 8 ? score : 0;
}

static void multiply_row(const walk *w, bool is_float, scalar *to, const scalar *a,
                         const scalar *b) {
  int64_t st = w->step[0], sa = w->step[1], sb = w->step[2];
  if (!is_float) {
    for (int64_t j = 0; j < w->row; j++) {
      uint64_t product = (uint64_t)a[j * sa].i * (uint64_t)b[j * sb].i;
      to[j * st].i = (int64_t)((uint64_t)to[j * st].i + product);
    }
  } else if (st == 1 && sa == 0 && sb == 1) {
    double factor = a->f;
    for (int64_t j = 0; j < w->row; j++) to[j].f += factor * b[j].f;
  } else if (st == 0) {
    double sum = 0;
    for (int64_t j = 0; j < w->row; j++) sum += a[j * sa].f * b[j * sb].f;
    to->f += sum;
  } else {
    for (int64_t j = 0; j < w->row; j++) to[j * st].f += a[j * sa].f * b[j * sb].f;
  }
}

/// Sums of f64, where double is not wider.
static void multiply_exactly(run *r, const node *n, walk *w, value *out) {
  op_running *running = run_start(r, n, out, NULL);
  for (bool more = walk_first(w); more; more = walk_next(w)) {
    const scalar *a = input(r, n, 0) + w->offset[1], *b = input(r, n, 1) + w->offset[2];
    op_running *to = running + w->offset[0];
    for (int64_t j = 0; j < w->row; j++)
      op_add_float(&to[j * w->step[0]], a[j * w->step[1]].f * b[j * w->step[2]].f);
  }
  run_finish(n, running, out);
}

bool interp_dot(run *r, const node *n, value *out) {
  walk w = contraction_walk(r, n, false);
  if (n->naxes) {
    walk other = contraction_walk(r, n, true);
    if (row_score(&other) > row_score(&w)) w = other;
  }
  if (n->type == DT_f64) {
    multiply_exactly(r, n, &w, out);
    return true;
  }
  bool is_float = dtype_is_float(n->type);
  for (bool more = walk_first(&w); more; more = walk_next(&w))
    multiply_row(&w, is_float, out->data + w.offset[0], input(r, n, 0) + w.offset[1],
                 input(r, n, 1) + w.offset[2]);
  dtype held = is_float ? DT_f64 : DT_i64;
  for (int64_t j = 0; j < out->count; j++) out->data[j] = scalar_cast(out->data[j], held, n->type);
  return true;
}

// ---- scans

/// One more step; in[k] is the next element of operand k.
static void scan_step(op_running *running, const node *n, const scalar *const *in) {
  if (n->op == OP_affine_scan) op_step_affine(running, n->type, *in[0], *in[1]);
  else op_step(running, n->op, n->type, *in[0]);
}

bool interp_scan(run *r, const node *n, value *out) {
  int axes[MAX_AXES], count = 0, along = n->attr_axes[0];
  for (int k = 0; k < n->naxes; k++)
    if (n->axes[k] != along) axes[count++] = n->axes[k];
  axes[count++] = along;
  walk w = walk_over(r, axes, count);
  int to = walk_operand(r, &w, n), from[2];
  for (int k = 0; k < n->nin; k++) from[k] = walk_operand(r, &w, n->in[k]);
  bool affine = n->op == OP_affine_scan;
  scalar zero = scalar_cast((scalar){.i = 0}, DT_i64, n->type);
  for (bool more = walk_first(&w); more; more = walk_next(&w)) {
    op_running running = op_start(affine ? zero : op_identity(n->op, n->type));
    for (int64_t j = 0; j < w.row; j++) {
      int64_t at = n->flags & NODE_REVERSE ? w.row - 1 - j : j;
      scalar *shown = &out->data[w.offset[to] + at * w.step[to]];
      if (n->flags & NODE_EXCLUSIVE) *shown = op_value(running, n->type);
      const scalar *in[2];
      for (int k = 0; k < n->nin; k++)
        in[k] = input(r, n, k) + w.offset[from[k]] + at * w.step[from[k]];
      scan_step(&running, n, in);
      if (!(n->flags & NODE_EXCLUSIVE)) *shown = op_value(running, n->type);
    }
  }
  return true;
}

// ---- host functions

static interp_tensor tensor_of(const run *r, const node *n, scalar *data) {
  interp_tensor t = {.type = n->type, .rank = n->naxes, .data = data};
  for (int k = 0; k < n->naxes; k++) t.dims[k] = r->axis_size[n->axes[k]];
  return t;
}

bool interp_call(run *r, const node *n, value *out) {
  interp_tensor *in = arena_array(r->arena, interp_tensor, n->nin);
  for (int k = 0; k < n->nin; k++) in[k] = tensor_of(r, n->in[k], r->values[n->in[k]->id].data);
  interp_tensor result = tensor_of(r, n, out->data);
  bool ok = r->host && r->host->call && r->host->call(r->host->ctx, n->name, in, n->nin, &result);
  if (!ok) return run_fail(r, n, "the host function %.*s is unknown or failed", STR_FMT(n->name));
  if (result.data != out->data)
    memcpy(out->data, result.data, sizeof(scalar) * (size_t)out->count);
  return true;
}
