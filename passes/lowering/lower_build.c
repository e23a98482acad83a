// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Building blocks of the lowering: scopes, statements, loops and on-chip buffers.
#include "base/fault.h"
#include "passes/lowering/lower_stmt.h"

// ---- scopes and statements

static scope *push_scope(kbuild *b, tregion *region, tstmt *stmt, int axis, int extent) {
  scope *s = arena_new(b->l->a, scope);
  *s = (scope){.outer = b->scope, .region = region, .stmt = stmt, .axis = axis, .extent = extent};
  s->depth = b->scope ? b->scope->depth + 1 : 0;
  b->scope = s;
  return s;
}

node_tables node_tables_new(arena *a, int nodes) {
  node_tables t = {
      .done = arena_array(a, tval *, nodes + 1),
      .local_of = arena_array(a, int, nodes + 1),
      .local_ready = arena_array(a, bool, nodes + 1),
      .level = arena_array(a, int, nodes + 1),
      .first_pass = arena_array(a, int, nodes + 1),
      .along = arena_array(a, bool, nodes + 1),
      .saved = arena_array(a, bool, nodes + 1),
      .seen = arena_array(a, bool, nodes + 1),
  };
  for (int i = 0; i <= nodes; i++) t.local_of[i] = -1;
  return t;
}

static void clear_entry(node_tables *t, int id) {
  t->done[id] = NULL;
  t->local_of[id] = -1;
  t->level[id] = t->first_pass[id] = 0;
  t->local_ready[id] = t->along[id] = t->saved[id] = t->seen[id] = false;
}

static void clear_tables(lower *l) {
  const group *grp = l->tabled;
  if (!grp) return;
  for (int i = 0; i < grp->nodes.len; i++) clear_entry(&l->tables, grp->nodes.data[i]->id);
  for (int i = 0; i < grp->inputs.len; i++) clear_entry(&l->tables, grp->inputs.data[i]->id);
}

bool *kb_unseen(const kbuild *b) {
  const group *grp = b->group;
  bool *seen = b->l->tables.seen;
  for (int i = 0; i < grp->nodes.len; i++) seen[grp->nodes.data[i]->id] = false;
  for (int i = 0; i < grp->inputs.len; i++) seen[grp->inputs.data[i]->id] = false;
  return seen;
}

void kb_init(kbuild *b, lower *l, const group *grp, const char *label) {
  *b = (kbuild){.l = l, .group = grp};
  b->k = kernel_new(l->a, str_from(label));
  b->k->vec_axis = -1;
  b->k->vec_lanes = 1;
  b->k->ix.facts = l->p->ix.facts;
  b->sigma = arena_array(l->a, ix, l->g->axes.len + 1);
  b->kaxis = arena_array(l->a, int, l->g->axes.len + 1);
  for (int i = 0; i <= l->g->axes.len; i++) b->kaxis[i] = -1;
  b->pool = &b->k->ix;
  clear_tables(l);
  l->tabled = grp;
  b->done = l->tables.done;
  b->local_of = l->tables.local_of;
  b->local_ready = l->tables.local_ready;
}

void kb_begin(kbuild *b) {
  b->top = push_scope(b, &b->k->body, NULL, -1, 0);
  for (int i = 0; i < b->k->grid.len; i++)
    b->extent[b->k->grid.data[i].axis] = b->k->grid.data[i].extent;
}

/// The scope that opens the axis now: a loop, or the top for grid axes; null when closed.
scope *kb_opener(const kbuild *b, int axis) {
  for (scope *s = b->scope; s; s = s->outer)
    if (s->axis == axis) return s;
  return b->extent[axis] ? b->top : NULL;
}

void kb_append(kbuild *b, scope *s, tstmt *st) {
  tregion *r = s->region;
  vec_push(b->l->a, &r->stmts, st);
  for (int i = 0; i < st->nout; i++) {
    while (b->val_depth.len <= st->out[i]->id) vec_push(b->l->a, &b->val_depth, 0);
    b->val_depth.data[st->out[i]->id] = s->depth;
  }
}

static void set_depth(kbuild *b, const tval *v, int depth) {
  while (b->val_depth.len <= v->id) vec_push(b->l->a, &b->val_depth, 0);
  b->val_depth.data[v->id] = depth;
}

scope *kb_scope_at(const kbuild *b, int depth) {
  scope *s = b->scope;
  while (s->depth > depth) s = s->outer;
  return s;
}

tstmt *kb_stmt(kbuild *b, tile_op kind, tval *const *in, int nin) {
  tstmt *st = arena_new(b->l->a, tstmt);
  st->kind = kind;
  st->nin = nin;
  st->in = arena_array(b->l->a, tval *, nin);
  for (int i = 0; i < nin; i++) st->in[i] = in[i];
  return st;
}

void kb_one_result(kbuild *b, tstmt *st, tval *v) {
  st->nout = 1;
  st->out = arena_array(b->l->a, tval *, 1);
  st->out[0] = v;
}

void kb_see_axis(void *ctx, int axis) {
  axes_seen *seen = ctx;
  if (axis >= PSEUDO_AXIS)
    seen->pseudo[axis - PSEUDO_AXIS] = true;
  else
    seen->used[axis] = true;
}

/// Work asked for in an arm of an if stays there, as it may not be needed otherwise, and so does
/// work in a loop with a layout of its own, as it would lie otherwise outside.
static int innermost_border(const kbuild *b) {
  for (const scope *s = b->scope; s; s = s->outer)
    if (s->stmt && (s->stmt->kind == TILE_IF || s->stmt->layout)) return s->depth;
  return 0;
}

/// In a loop whose lanes run along another axis than the kernel's, what carries that axis outside of
/// it cannot be seen.
static int lanes_border(const kbuild *b, const axes_seen *seen, tval *const *in, int nin) {
  int vec = b->k->vec_axis;
  bool carries = vec >= 0 && seen && seen->used[vec];
  for (int i = 0; i < nin && vec >= 0; i++) carries |= tval_extent(in[i], vec) > 0;
  for (const scope *s = b->scope; carries && s; s = s->outer)
    if (s->stmt && s->stmt->vec) return s->depth;
  return 0;
}

int kb_depth_of(const kbuild *b, const axes_seen *seen, tval *const *in, int nin) {
  int depth = innermost_border(b), lanes = lanes_border(b, seen, in, nin);
  if (lanes > depth) depth = lanes;
  for (int axis = 0; axis < b->k->axes.len; axis++)
    if (seen && seen->used[axis]) {
      scope *s = kb_opener(b, axis);
      check(s);
      if (s->depth > depth) depth = s->depth;
    }
  for (int i = 0; i < nin; i++)
    if (b->val_depth.data[in[i]->id] > depth) depth = b->val_depth.data[in[i]->id];
  return depth;
}

/// Result shape: the union of the operands' axes and the axes seen, in axis order.
tval *kb_union_value(kbuild *b, dtype t, const axes_seen *seen, tval *const *in, int nin) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    int extent = seen && seen->used[axis] ? b->extent[axis] : 0;
    for (int i = 0; i < nin && !extent; i++) extent = tval_extent(in[i], axis);
    if (!extent) continue;
    check(n < MAX_AXES);
    axes[n] = axis;
    extents[n++] = extent;
  }
  return tile_value(b->k, t, axes, extents, n);
}

tval *kb_map_of(kbuild *b, op o, dtype result, tval *const *in, int nin) {
  tstmt *st = kb_stmt(b, TILE_MAP, in, nin);
  st->op = o;
  kb_one_result(b, st, kb_union_value(b, result, NULL, in, nin));
  kb_append(b, kb_scope_at(b, kb_depth_of(b, NULL, in, nin)), st);
  return st->out[0];
}

tval *kb_map(kbuild *b, op o, dtype result, tval *x, tval *y, tval *z) {
  tval *in[3] = {x, y, z};
  return kb_map_of(b, o, result, in, z ? 3 : y ? 2 : 1);
}

tval *kb_as_type(kbuild *b, tval *v, dtype t) {
  return v->type == t ? v : kb_map(b, OP_cast, t, v, NULL, NULL);
}

tval *kb_fill(kbuild *b, dtype t, scalar v, const int *axes, const int *extents, int naxes) {
  tstmt *st = kb_stmt(b, TILE_CONST, NULL, 0);
  st->value = v;
  kb_one_result(b, st, tile_value(b->k, t, axes, extents, naxes));
  kb_append(b, b->scope, st);
  return st->out[0];
}

tval *kb_fill_open(kbuild *b, dtype t, scalar v, int other, int more) {
  int axes[MAX_KERNEL_AXES], extents[MAX_KERNEL_AXES], naxes = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    if (!b->extent[axis] && (axis != other || !more)) continue;
    axes[naxes] = axis;
    extents[naxes++] = axis == other ? more : b->extent[axis];
  }
  return kb_fill(b, t, v, axes, extents, naxes);
}

tval *kb_const(kbuild *b, dtype t, scalar v) {
  struct {
    int64_t type;
    scalar value;
  } key = {t, v};
  tval *known = map_get(&b->consts, MAP_KEY(key));
  if (known) return known;
  tstmt *st = kb_stmt(b, TILE_CONST, NULL, 0);
  st->value = v;
  kb_one_result(b, st, tile_value(b->k, t, NULL, NULL, 0));
  kb_append(b, b->top, st);
  map_put(b->l->a, &b->consts, MAP_KEY(key), st->out[0]);
  return st->out[0];
}

tval *kb_int(kbuild *b, dtype t, int64_t v) { return kb_const(b, t, (scalar){.i = v}); }

tval *kb_accumulate(kbuild *b, op o, tval *const *in, int nin) {
  tstmt *st = kb_stmt(b, TILE_ACCUM, in, nin);
  st->op = o;
  kb_one_result(b, st, tile_value(b->k, in[0]->type, in[0]->axes, in[0]->extents, in[0]->naxes));
  kb_append(b, b->scope, st);
  return st->out[0];
}

/// v along all of the axes, those too that it does not vary along: as many elements as are valid.
static tval *along_axes(kbuild *b, op o, tval *v, const int *axes, int naxes) {
  axes_seen seen = {0};
  bool lacks = false;
  for (int i = 0; i < naxes; i++) {
    if (tval_extent(v, axes[i]) || b->extent[axes[i]] <= 1) continue;
    seen.used[axes[i]] = lacks = true;
  }
  // The least of equal values is the value, and so on: how many there are does not matter.
  if (!lacks || (o != OP_add && o != OP_mul)) return v;
  const tval *all = kb_union_value(b, v->type, &seen, &v, 1);
  tval *none = kb_fill(b, v->type, op_identity(o, v->type), all->axes, all->extents, all->naxes);
  return kb_accumulate(b, o, (tval *[]){none, v}, 2);
}

tval *kb_reduce_tile(kbuild *b, op o, tval *v, const int *axes, int naxes) {
  v = along_axes(b, o, v, axes, naxes);
  tstmt *st = kb_stmt(b, TILE_REDUCE, &v, 1);
  st->op = o;
  st->axes = arena_array(b->l->a, int, naxes);
  for (int i = 0; i < naxes; i++)
    if (tval_extent(v, axes[i])) st->axes[st->naxes++] = axes[i];
  if (!st->naxes) return v;
  int left[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int i = 0; i < v->naxes; i++) {
    bool gone = false;
    for (int j = 0; j < st->naxes; j++) gone |= st->axes[j] == v->axes[i];
    if (gone) continue;
    left[n] = v->axes[i];
    extents[n++] = v->extents[i];
  }
  kb_one_result(b, st, tile_value(b->k, v->type, left, extents, n));
  kb_append(b, b->scope, st);
  return st->out[0];
}

tval *kb_sum_lanes(kbuild *b, tval *v, int axis, int lanes) {
  v = along_axes(b, OP_add, v, &axis, 1);
  tstmt *st = kb_stmt(b, TILE_REDUCE, &v, 1);
  st->op = OP_add;
  st->naxes = 1;
  st->axes = arena_copy(b->l->a, &axis, sizeof axis);
  st->extent = lanes;
  int extents[MAX_AXES];
  for (int i = 0; i < v->naxes; i++) extents[i] = v->axes[i] == axis ? lanes : v->extents[i];
  kb_one_result(b, st, tile_value(b->k, v->type, v->axes, extents, v->naxes));
  kb_append(b, b->scope, st);
  return st->out[0];
}

// ---- loops and ifs

static tval **carried_values(kbuild *b, tval *const *like, int n, int depth) {
  tval **values = arena_array(b->l->a, tval *, n);
  for (int i = 0; i < n; i++) {
    values[i] = tile_value(b->k, like[i]->type, like[i]->axes, like[i]->extents, like[i]->naxes);
    set_depth(b, values[i], depth);
  }
  return values;
}

static void add_yield(kbuild *b, tval *const *yields, int nyields) {
  if (nyields) kb_append(b, b->scope, kb_stmt(b, TILE_YIELD, yields, nyields));
}

tstmt *kb_loop(kbuild *b, int axis, int extent, tval *const *inits, int ninits) {
  tstmt *st = kb_stmt(b, TILE_LOOP, inits, ninits);
  st->axis = axis;
  st->extent = extent;
  st->body = arena_new(b->l->a, tregion);
  st->nout = ninits;
  st->out = carried_values(b, inits, ninits, b->scope->depth);
  push_scope(b, st->body, st, axis, extent);
  b->scope->memo = (map){0};
  st->body->nparams = ninits;
  st->body->params = carried_values(b, inits, ninits, b->scope->depth);
  // The extent outside comes back when the loop ends.
  b->scope->extent_outside = b->extent[axis];
  if (b->part.below && axis == b->part.axis && !b->extent[axis]) {
    st->from = b->part.from;
    st->below = b->part.below;
  }
  b->extent[axis] = extent;
  return st;
}

void kb_loop_within(kbuild *b, tstmt *loop, tval *const within[2]) {
  tval **in = arena_array(b->l->a, tval *, loop->nin + 2);
  for (int i = 0; i < loop->nin + 2; i++) in[i] = i < loop->nin ? loop->in[i] : within[i - loop->nin];
  loop->in = in;
  loop->nin += 2;
  loop->within = true;
}

tval **kb_end_loop(kbuild *b, tval *const *yields, int nyields) {
  scope *s = b->scope;
  add_yield(b, yields, nyields);
  b->extent[s->axis] = s->extent_outside;
  b->scope = s->outer;
  kb_append(b, b->scope, s->stmt);
  return s->stmt->out;
}

tstmt *kb_if(kbuild *b, tile_cond cond, int axis, tval *on) {
  tstmt *st = kb_stmt(b, TILE_IF, &on, on ? 1 : 0);
  st->cond = cond;
  st->axis = axis;
  st->body = arena_new(b->l->a, tregion);
  st->other = arena_new(b->l->a, tregion);
  push_scope(b, st->body, st, -1, 0);
  return st;
}

void kb_else(kbuild *b, tval *const *yields, int nyields) {
  scope *s = b->scope;
  add_yield(b, yields, nyields);
  s->stmt->nout = nyields;
  b->scope = s->outer;
  s->stmt->out = carried_values(b, yields, nyields, b->scope->depth);
  push_scope(b, s->stmt->other, s->stmt, -1, 0);
}

tval **kb_end_if(kbuild *b, tval *const *yields, int nyields) {
  scope *s = b->scope;
  check(s->stmt->nout == nyields);
  add_yield(b, yields, nyields);
  b->scope = s->outer;
  kb_append(b, b->scope, s->stmt);
  return s->stmt->out;
}

ix kb_part_length(ix_pool *pool, ix size, int64_t count, int64_t step) {
  ix up = ix_add(pool, size, ix_const(pool, count * step - 1));
  return ix_scale(pool, ix_div(pool, up, ix_const(pool, count * step)), step);
}

void kb_begin_finish(kbuild *b, int axis) {
  tstmt *st = kb_stmt(b, TILE_IF, NULL, 0);
  st->cond = COND_FINISHED;
  st->axis = axis;
  st->body = arena_new(b->l->a, tregion);
  check(b->scope == b->top);
  b->scope->memo = (map){0};
  b->consts = (map){0};
  b->extent[axis] = 0;
  b->part = (walked_part){0};
  push_scope(b, st->body, st, -1, 0);
  b->top = b->scope;  // of constants and sizes too
}

void kb_end_finish(kbuild *b) {
  scope *s = b->scope;
  check(s == b->top);
  b->scope = s->outer;
  kb_append(b, b->scope, s->stmt);
}

// ---- buffers

int kb_axis(kbuild *b, str name, ix size) {
  check(b->k->axes.len < MAX_KERNEL_AXES);
  // T.3 from inlining is T again, so that equal kernels have equal texts.
  for (int i = 0; i < name.len; i++)
    if (name.ptr[i] == '.' && i + 1 < name.len && name.ptr[i + 1] >= '0' && name.ptr[i + 1] <= '9')
      name.len = i;
  // Where C and C.1 meet in one kernel, the later one is C_2.
  str free = name;
  for (int k = 2; kernel_find_axis(b->k, free) >= 0; k++)
    free = str_printf(b->l->a, "%.*s_%d", STR_FMT(name), k);
  return kernel_add_axis(b->k, free, size);
}

ix kb_axis_size(const kbuild *b, int graph_axis) {
  const graph *g = b->l->g;
  return ix_substitute(&b->k->ix, &g->ix, graph_axis_size(g, graph_axis), NULL, 0);
}

int kb_own_axis(kbuild *b, int graph_axis) {
  const graph *g = b->l->g;
  int axis = kb_axis(b, g->axes.data[graph_axis].name, kb_axis_size(b, graph_axis));
  b->sigma[graph_axis] = ix_axis(&b->k->ix, axis);
  b->kaxis[graph_axis] = axis;
  return axis;
}

int kb_pair_axis(kbuild *b, int graph_axis, int *element) {
  ix_pool *pool = &b->k->ix;
  ix two = ix_const(pool, 2);
  int axis = kb_own_axis(b, graph_axis);
  *element = kb_axis(b, STR("pair"), two);
  ix half = ix_div(pool, b->k->axes.data[axis].size, two);
  b->k->axes.data[axis].size = half;
  ix_set_axis(pool, axis, half);
  b->sigma[graph_axis] =
      ix_add(pool, ix_scale(pool, b->sigma[graph_axis], 2), ix_axis(pool, *element));
  return axis;
}

int kb_arg(kbuild *b, int buffer) {
  for (int i = 0; i < b->arg_buffers.len; i++)
    if (b->arg_buffers.data[i] == buffer) return i;
  program *p = b->l->p;
  const struct buffer *from = &p->buffers.data[buffer];
  ix dims[MAX_AXES], strides[MAX_AXES];
  for (int i = 0; i < from->rank; i++) {
    dims[i] = ix_substitute(&b->k->ix, &p->ix, from->dims[i], NULL, 0);
    strides[i] = ix_substitute(&b->k->ix, &p->ix, from->strides[i], NULL, 0);
  }
  // Arguments come first in bufs: locals are declared after the survey has made all arguments.
  str name = str_printf(b->l->a, "a%d", b->arg_buffers.len);
  int arg = kernel_add_arg(b->k, name, from->type, from->rank, dims, strides);
  vec_push(b->l->a, &b->arg_buffers, buffer);
  check(arg == b->arg_buffers.len - 1);
  return arg;
}

int kb_local(kbuild *b, const char *name, dtype t, const int *axes, int naxes) {
  kernel *k = b->k;
  str unique = str_printf(b->l->a, "%s%d", name, k->bufs.len - k->nargs);
  tile_buf buf = {.name = unique, .type = t, .rank = naxes, .local = true, .panel_dim = -1};
  for (int i = 0; i < naxes; i++) {
    buf.local_axes[i] = axes[i];
    buf.dims[i] =
        b->extent[axes[i]] ? ix_const(&k->ix, b->extent[axes[i]]) : k->axes.data[axes[i]].size;
  }
  vec_push(b->l->a, &k->bufs, buf);
  tstmt *st = kb_stmt(b, TILE_LOCAL, NULL, 0);
  st->buf = k->bufs.len - 1;
  kb_append(b, b->scope, st);
  return st->buf;
}

void kb_set_index(kbuild *b, tstmt *st, int buf, const ix *index, int rank) {
  st->buf = buf;
  st->nix = rank;
  st->ix = arena_copy(b->l->a, index, sizeof(ix) * (size_t)rank);
  st->indirect = arena_array(b->l->a, int8_t, rank);
  for (int i = 0; i < rank; i++) st->indirect[i] = -1;
}

static void local_index(kbuild *b, int buf, ix *index) {
  const tile_buf *t = &b->k->bufs.data[buf];
  for (int i = 0; i < t->rank; i++) index[i] = ix_axis(&b->k->ix, t->local_axes[i]);
}

tval *kb_load_at(kbuild *b, int buf, const ix *index) {
  axes_seen seen = {0};
  for (int i = 0; i < b->k->bufs.data[buf].rank; i++) ix_axes(&b->k->ix, index[i], kb_see_axis, &seen);
  tstmt *st = kb_stmt(b, TILE_LOAD, NULL, 0);
  kb_set_index(b, st, buf, index, b->k->bufs.data[buf].rank);
  kb_one_result(b, st, kb_union_value(b, b->k->bufs.data[buf].type, &seen, NULL, 0));
  kb_append(b, b->scope, st);
  return st->out[0];
}

tval *kb_load_local(kbuild *b, int buf) {
  ix index[MAX_AXES];
  local_index(b, buf, index);
  return kb_load_at(b, buf, index);
}

tval *kb_load_arg(kbuild *b, const node *n, int buf) {
  ix index[MAX_AXES];
  kb_identity(b, n, index);
  return kb_load_at(b, buf, index);
}

tstmt *kb_store(kbuild *b, int buf, tval *v, const ix *index, int rank) {
  tstmt *st = kb_stmt(b, TILE_STORE, &v, 1);
  kb_set_index(b, st, buf, index, rank);
  b->k->bufs.data[buf].written = true;
  kb_append(b, b->scope, st);
  return st;
}

void kb_store_local(kbuild *b, int buf, tval *v) {
  ix index[MAX_AXES];
  local_index(b, buf, index);
  kb_store(b, buf, v, index, b->k->bufs.data[buf].rank);
}

int kb_place(const kbuild *b, const node *n, int buffer, ix *index) {
  const seen_through *t = lower_seen_through(b->l, buffer);
  if (!t) {
    kb_identity(b, n, index);
    return n->naxes;
  }
  for (int i = 0; i < t->view->naxes; i++)
    index[i] = ix_substitute(b->pool, t->pool, t->index[i], b->sigma, b->l->g->axes.len);
  return t->view->naxes;
}

static void store_node(kbuild *b, const node *n, tval *v, bool nontemporal, bool adds) {
  ix index[MAX_AXES];
  int first = b->l->buffer_of[n->id];
  check(first >= 0);
  int nouts = b->l->outputs_of[n->id].len;
  for (int i = 0; i < (nouts ? nouts : 1); i++) {
    int buffer = nouts ? b->l->outputs_of[n->id].data[i] : first;
    if (lower_seen_through(b->l, buffer) && lower_is_empty(b->l, n)) continue;  // no element has a place
    int rank = kb_place(b, n, buffer, index);
    tstmt *st = kb_store(b, kb_arg(b, buffer), v, index, rank);
    st->nontemporal = nontemporal;
    st->adds = adds;
    st->at = n->at;
  }
}

void kb_store_node(kbuild *b, const node *n, tval *v, bool nontemporal) {
  store_node(b, n, v, nontemporal, false);
}

void kb_add_to_node(kbuild *b, const node *n, tval *v) {
  store_node(b, n, v, false, true);
  b->added = n;
}
