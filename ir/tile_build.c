// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Building kernels: values, statements, loops and ifs. Each builder makes one statement with its
// results and appends it to the region.
#include "base/fault.h"
#include "ir/tile.h"
#include "ir/units.h"

kernel *kernel_new(arena *a, str name) {
  kernel *k = arena_new(a, kernel);
  k->arena = a;
  k->name = str_dup(a, name);
  k->vec_axis = -1;
  k->vec_lanes = 1;
  ix_init(&k->ix, a);
  return k;
}

int kernel_find_axis(const kernel *k, str name) {
  for (int i = 0; i < k->axes.len; i++)
    if (str_eq(k->axes.data[i].name, name)) return i;
  return -1;
}

int kernel_add_axis(kernel *k, str name, ix size) {
  check(kernel_find_axis(k, name) < 0);
  axis added = {.name = str_dup(k->arena, name), .size = size};
  vec_push(k->arena, &k->axes, added);
  ix_set_axis(&k->ix, k->axes.len - 1, size);
  return k->axes.len - 1;
}

int kernel_add_arg(kernel *k, str name, dtype t, int rank, const ix *dims, const ix *strides) {
  check(rank <= MAX_AXES && k->nargs == k->bufs.len);  // arguments come before locals
  tile_buf buf = {.name = str_dup(k->arena, name), .type = t, .rank = rank, .panel_dim = -1};
  for (int d = 0; d < rank; d++) {
    buf.dims[d] = dims[d];
    buf.strides[d] = strides[d];
  }
  vec_push(k->arena, &k->bufs, buf);
  return k->nargs++;
}

void kernel_set_grid(kernel *k, int axis, int extent) {
  check(axis >= 0 && axis < k->axes.len && extent > 0);
  vec_push(k->arena, &k->grid, (grid_axis){axis, extent});
}

tile_builder kernel_builder(kernel *k) { return (tile_builder){.k = k, .region = &k->body}; }

// ---- values

bool tstmt_is_indirect(const tstmt *s) {
  for (int d = 0; s->indirect && d < s->nix; d++)
    if (s->indirect[d] >= 0) return true;
  return false;
}

bool tstmt_on_tensor_cores(const tstmt *s) {
  return s->kind == TILE_DOT && unit_is_tensor(s->unit);
}

int tval_extent(const tval *v, int axis) {
  for (int i = 0; i < v->naxes; i++)
    if (v->axes[i] == axis) return v->extents[i];
  return 0;
}

bool tval_same_shape(const tval *a, const tval *b) {
  if (a->naxes != b->naxes) return false;
  for (int i = 0; i < a->naxes; i++)
    if (a->axes[i] != b->axes[i] || a->extents[i] != b->extents[i]) return false;
  return true;
}

tval *tile_value(kernel *k, dtype t, const int *axes, const int *extents, int naxes) {
  check(naxes <= MAX_AXES);
  tval *v = arena_new(k->arena, tval);
  v->id = k->nvals++;
  v->type = t;
  v->naxes = naxes;
  for (int i = 0; i < naxes; i++) {
    v->axes[i] = axes[i];
    v->extents[i] = extents[i];
  }
  return v;
}

static tval *value_like(kernel *k, const tval *v) {
  return tile_value(k, v->type, v->axes, v->extents, v->naxes);
}

/// Appends the axes of v that the shape lacks; extents of shared axes must agree.
static void shape_join(int *axes, int *extents, int *naxes, const tval *v) {
  for (int i = 0; i < v->naxes; i++) {
    int at = 0;
    while (at < *naxes && axes[at] != v->axes[i]) at++;
    if (at == *naxes) {
      check(*naxes < MAX_AXES);
      axes[at] = v->axes[i];
      extents[at] = v->extents[i];
      ++*naxes;
    }
    check(extents[at] == v->extents[i]);
  }
}

static bool axis_in(const int *axes, int naxes, int axis) {
  for (int i = 0; i < naxes; i++)
    if (axes[i] == axis) return true;
  return false;
}

/// The shape of v without these axes.
static tval *value_without(kernel *k, const tval *v, const int *axes, int naxes) {
  int kept[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int i = 0; i < v->naxes; i++) {
    if (axis_in(axes, naxes, v->axes[i])) continue;
    kept[n] = v->axes[i];
    extents[n++] = v->extents[i];
  }
  return tile_value(k, v->type, kept, extents, n);
}

// ---- statements

static void set_out(tile_builder *b, tstmt *s, tval *const *out, int n) {
  s->nout = n;
  s->out = arena_array(b->k->arena, tval *, n);
  for (int i = 0; i < n; i++) s->out[i] = out[i];
}

tstmt *tile_stmt(tile_builder *b, tile_op kind, tval *const *in, int nin) {
  arena *a = b->k->arena;
  tstmt *s = arena_new(a, tstmt);
  s->kind = kind;
  s->axis = s->buf = s->site = -1;
  s->at = b->at;
  s->nin = nin;
  s->in = arena_array(a, tval *, nin);
  for (int i = 0; i < nin; i++) s->in[i] = in[i];
  vec_push(a, &b->region->stmts, s);
  return s;
}

/// A statement with one result.
static tval *stmt_value(tile_builder *b, tstmt *s, tval *v) {
  set_out(b, s, &v, 1);
  return v;
}

static void set_axes(tile_builder *b, tstmt *s, const int *axes, int naxes) {
  s->naxes = naxes;
  s->axes = arena_array(b->k->arena, int, naxes);
  for (int i = 0; i < naxes; i++) s->axes[i] = axes[i];
}

static void set_ix(tile_builder *b, tstmt *s, const ix *index, int n) {
  s->nix = n;
  s->ix = arena_array(b->k->arena, ix, n);
  for (int i = 0; i < n; i++) s->ix[i] = index[i];
}

tval *tile_map(tile_builder *b, op o, tval *const *in, int nin, dtype result) {
  check(op_is_map(o));
  int axes[MAX_AXES], extents[MAX_AXES], naxes = 0;
  for (int i = 0; i < nin; i++) shape_join(axes, extents, &naxes, in[i]);
  tstmt *s = tile_stmt(b, TILE_MAP, in, nin);
  s->op = o;
  return stmt_value(b, s, tile_value(b->k, result, axes, extents, naxes));
}

tval *tile_const(tile_builder *b, dtype t, scalar v, const int *axes, const int *extents,
                 int naxes) {
  tstmt *s = tile_stmt(b, TILE_CONST, NULL, 0);
  s->value = v;
  return stmt_value(b, s, tile_value(b->k, t, axes, extents, naxes));
}

tval *tile_size(tile_builder *b, dtype t, ix size) {
  tstmt *s = tile_stmt(b, TILE_SIZE, NULL, 0);
  set_ix(b, s, &size, 1);
  return stmt_value(b, s, tile_value(b->k, t, NULL, NULL, 0));
}

tval *tile_index(tile_builder *b, dtype t, int axis, int extent) {
  tstmt *s = tile_stmt(b, TILE_INDEX, NULL, 0);
  s->axis = axis;
  return stmt_value(b, s, tile_value(b->k, t, &axis, &extent, 1));
}

int tile_local(tile_builder *b, str name, dtype t, const int *axes, const int *extents, int rank,
               int panel_dim, int panel) {
  kernel *k = b->k;
  check(rank <= MAX_AXES);
  tile_buf buf = {.name = str_dup(k->arena, name),
                  .type = t,
                  .rank = rank,
                  .local = true,
                  .panel_dim = panel ? panel_dim : -1,
                  .panel = panel};
  for (int d = 0; d < rank; d++) {
    buf.local_axes[d] = axes[d];
    buf.dims[d] = extents[d] ? ix_const(&k->ix, extents[d]) : k->axes.data[axes[d]].size;
  }
  vec_push(k->arena, &k->bufs, buf);
  tile_stmt(b, TILE_LOCAL, NULL, 0)->buf = k->bufs.len - 1;
  return k->bufs.len - 1;
}

/// Inputs of a load or store: `first` (the stored value), the indirect coordinates in order of
/// dimensions, `last` (the fill).
static tstmt *access(tile_builder *b, tile_op kind, int buf, const ix *index, tval *const *indirect,
                     tval *first, tval *last) {
  tval *in[MAX_AXES + 2];
  int8_t where[MAX_AXES];
  int nin = 0, rank = b->k->bufs.data[buf].rank;
  if (first) in[nin++] = first;
  for (int d = 0; d < rank; d++) {
    where[d] = -1;
    if (!indirect || !indirect[d]) continue;
    where[d] = (int8_t)nin;
    in[nin++] = indirect[d];
  }
  if (last) in[nin++] = last;
  tstmt *s = tile_stmt(b, kind, in, nin);
  s->buf = buf;
  set_ix(b, s, index, rank);
  s->indirect = arena_copy(b->k->arena, where, (size_t)rank);
  return s;
}

tval *tile_load(tile_builder *b, int buf, const ix *index, tval *const *indirect, tval *fill,
                const int *axes, const int *extents, int naxes) {
  tstmt *s = access(b, TILE_LOAD, buf, index, indirect, NULL, fill);
  s->guard = fill != NULL;
  dtype t = b->k->bufs.data[buf].type;
  return stmt_value(b, s, tile_value(b->k, t, axes, extents, naxes));
}

tstmt *tile_store(tile_builder *b, int buf, const ix *index, tval *const *indirect, tval *value) {
  b->k->bufs.data[buf].written = true;
  return access(b, TILE_STORE, buf, index, indirect, value, NULL);
}

tval *tile_accum(tile_builder *b, op o, tval *acc, tval *value) {
  tstmt *s = tile_stmt(b, TILE_ACCUM, (tval *[]){acc, value}, 2);
  s->op = o;
  return stmt_value(b, s, value_like(b->k, acc));
}

tval *tile_reduce(tile_builder *b, op o, tval *value, const int *axes, int naxes) {
  tstmt *s = tile_stmt(b, TILE_REDUCE, &value, 1);
  s->op = o;
  set_axes(b, s, axes, naxes);
  return stmt_value(b, s, value_without(b->k, value, axes, naxes));
}

tval *tile_reduce_to(tile_builder *b, op o, tval *value, int axis, int lanes) {
  tval *result = value_like(b->k, value);
  tstmt *s = tile_stmt(b, TILE_REDUCE, &value, 1);
  s->op = o;
  s->extent = lanes;
  set_axes(b, s, &axis, 1);
  for (int i = 0; i < result->naxes; i++)
    if (result->axes[i] == axis) result->extents[i] = lanes;
  return stmt_value(b, s, result);
}

tval *tile_dot(tile_builder *b, tval *x, tval *y, tval *acc, const int *axes, int naxes) {
  tstmt *s = tile_stmt(b, TILE_DOT, (tval *[]){x, y, acc}, 3);
  set_axes(b, s, axes, naxes);
  return stmt_value(b, s, value_like(b->k, acc));
}

void tile_arg(tile_builder *b, op o, tval **best, tval **besti, tval *v, tval *i) {
  tstmt *s = tile_stmt(b, TILE_ARG, (tval *[]){*best, *besti, v, i}, 4);
  s->op = o;
  *best = value_like(b->k, *best);
  *besti = value_like(b->k, *besti);
  set_out(b, s, (tval *[]){*best, *besti}, 2);
}

void tile_arg_reduce(tile_builder *b, op o, tval **v, tval **i, const int *axes, int naxes) {
  tstmt *s = tile_stmt(b, TILE_ARG_REDUCE, (tval *[]){*v, *i}, 2);
  s->op = o;
  set_axes(b, s, axes, naxes);
  dtype index_type = (*i)->type;
  *v = value_without(b->k, *v, axes, naxes);
  *i = tile_value(b->k, index_type, (*v)->axes, (*v)->extents, (*v)->naxes);
  set_out(b, s, (tval *[]){*v, *i}, 2);
}

void tile_check(tile_builder *b, tval *index, ix size, int site) {
  tstmt *s = tile_stmt(b, TILE_CHECK, &index, 1);
  set_ix(b, s, &size, 1);
  s->site = site;
  if (site >= b->k->nsites) b->k->nsites = site + 1;
}

void tile_prefetch(tile_builder *b, int buf, const ix *index, int level, bool write) {
  tstmt *s = access(b, TILE_PREFETCH, buf, index, NULL, NULL, NULL);
  s->level = level;
  s->write = write;
}

// ---- regions

tstmt *tile_loop(tile_builder *b, int axis, int extent, tval *const *inits, int n,
                 tile_builder *body) {
  arena *a = b->k->arena;
  tstmt *s = tile_stmt(b, TILE_LOOP, inits, n);
  s->axis = axis;
  s->extent = extent;
  s->body = arena_new(a, tregion);
  s->body->nparams = n;
  s->body->params = arena_array(a, tval *, n);
  s->nout = n;
  s->out = arena_array(a, tval *, n);
  for (int i = 0; i < n; i++) s->out[i] = value_like(b->k, inits[i]);
  for (int i = 0; i < n; i++) s->body->params[i] = value_like(b->k, inits[i]);
  *body = (tile_builder){b->k, s->body, b->at};
  return s;
}

tstmt *tile_if(tile_builder *b, tile_cond cond, int axis, tval *tile, tile_builder *body) {
  bool on_tile = cond == COND_ANY || cond == COND_ALL;
  tstmt *s = tile_stmt(b, TILE_IF, &tile, on_tile ? 1 : 0);
  s->cond = cond;
  s->axis = on_tile ? -1 : axis;
  s->body = arena_new(b->k->arena, tregion);
  *body = (tile_builder){b->k, s->body, b->at};
  return s;
}

const tstmt *kernel_finish(const kernel *k) {
  const tregion *r = &k->body;
  const tstmt *last = r->stmts.len ? r->stmts.data[r->stmts.len - 1] : NULL;
  return last && last->kind == TILE_IF && last->cond == COND_FINISHED ? last : NULL;
}

tile_builder tile_else(tile_builder *b, tstmt *s) {
  check(s->kind == TILE_IF && !s->other);
  s->other = arena_new(b->k->arena, tregion);
  return (tile_builder){b->k, s->other, b->at};
}

void tile_yield(tile_builder *body, tval *const *values, int n) {
  tile_stmt(body, TILE_YIELD, values, n);
}

tval *const *tregion_yields(const tregion *r, int *n) {
  const tstmt *last = r->stmts.len ? r->stmts.data[r->stmts.len - 1] : NULL;
  bool yields = last && last->kind == TILE_YIELD;
  *n = yields ? last->nin : 0;
  return yields ? last->in : NULL;
}

// ---- steps that overlap

const tstmt *tile_wgmma_dot(const tstmt *s) {
  if (s->kind == TILE_DOT) return s->unit == DOT_WGMMA ? s : NULL;
  const tregion *inside[] = {s->body, s->other};
  for (int k = 0; k < 2; k++)
    for (int i = 0; inside[k] && i < inside[k]->stmts.len; i++) {
      const tstmt *dot = tile_wgmma_dot(inside[k]->stmts.data[i]);
      if (dot) return dot;
    }
  return NULL;
}

bool tile_uses_carried(const tstmt *s, const tregion *body) {
  for (int k = 0; k < s->nin; k++)
    for (int i = 0; i < body->nparams; i++)
      if (s->in[k] == body->params[i]) return true;
  const tregion *inside[] = {s->body, s->other};
  for (int k = 0; k < 2; k++)
    for (int i = 0; inside[k] && i < inside[k]->stmts.len; i++)
      if (tile_uses_carried(inside[k]->stmts.data[i], body)) return true;
  return false;
}

bool tile_split_steps(const tregion *body, tile_halves *out) {
  int n = body->stmts.len;
  *out = (tile_halves){.issued = -1, .cut = -1};
  for (; out->from < n; out->from++) {
    const tstmt *s = body->stmts.data[out->from];
    bool fills = s->kind == TILE_LOOP && s->stage && !s->nin && !tile_uses_carried(s, body);
    if (s->kind != TILE_LOCAL && !fills) break;
  }
  for (int i = out->from; i < n; i++) {
    if (!tile_wgmma_dot(body->stmts.data[i])) continue;
    if (out->issued < 0) out->issued = i + 1;
    out->cut = i;
  }
  return out->issued >= 0 && out->cut >= out->issued;
}

// ---- results of ifs

void tile_if_results(tile_builder *b, tstmt *s) {
  int n, m;
  tval *const *yields = tregion_yields(s->body, &n);
  check(s->other);
  tregion_yields(s->other, &m);
  check(n == m);
  s->nout = n;
  s->out = arena_array(b->k->arena, tval *, n);
  for (int i = 0; i < n; i++) s->out[i] = value_like(b->k, yields[i]);
}
