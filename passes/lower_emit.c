// Building blocks of the lowering: scopes, loops, on-chip buffers, and values by demand.
#include <limits.h>

#include "base/fault.h"
#include "passes/lower.h"

// ---- scopes and statements

static scope *push_scope(kbuild *b, tregion *region, tstmt *stmt, int axis, int extent) {
  scope *s = arena_new(b->l->a, scope);
  *s = (scope){.outer = b->scope, .region = region, .stmt = stmt, .axis = axis, .extent = extent};
  s->depth = b->scope ? b->scope->depth + 1 : 0;
  b->scope = s;
  return s;
}

void kb_init(kbuild *b, lower *l, const group *grp, const char *label) {
  int nodes = l->g->nodes.len;
  *b = (kbuild){.l = l, .group = grp};
  b->k = kernel_new(l->a, str_from(label));
  b->k->vec_axis = -1;
  b->k->vec_lanes = 1;
  b->k->ix.facts = l->p->ix.facts;
  b->sigma = arena_array(l->a, ix, l->g->axes.len + 1);
  b->kaxis = arena_array(l->a, int, l->g->axes.len + 1);
  for (int i = 0; i <= l->g->axes.len; i++) b->kaxis[i] = -1;
  b->pool = &b->k->ix;
  b->done = arena_array(l->a, tval *, nodes + 1);
  b->local_of = arena_array(l->a, int, nodes + 1);
  b->local_ready = arena_array(l->a, bool, nodes + 1);
  for (int i = 0; i <= nodes; i++) b->local_of[i] = -1;
}

void kb_begin(kbuild *b) {
  b->top = push_scope(b, &b->k->body, NULL, -1, 0);
  for (int i = 0; i < b->k->grid.len; i++)
    b->extent[b->k->grid.data[i].axis] = b->k->grid.data[i].extent;
}

/// The scope that opens the axis now: a loop, or the top for grid axes; null when closed.
static scope *opener(const kbuild *b, int axis) {
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

static scope *scope_at(const kbuild *b, int depth) {
  scope *s = b->scope;
  while (s->depth > depth) s = s->outer;
  return s;
}

static tstmt *new_stmt(kbuild *b, tile_op kind, tval *const *in, int nin) {
  tstmt *st = arena_new(b->l->a, tstmt);
  st->kind = kind;
  st->nin = nin;
  st->in = arena_array(b->l->a, tval *, nin);
  for (int i = 0; i < nin; i++) st->in[i] = in[i];
  return st;
}

static void one_result(kbuild *b, tstmt *st, tval *v) {
  st->nout = 1;
  st->out = arena_array(b->l->a, tval *, 1);
  st->out[0] = v;
}

typedef struct axes_seen {
  bool used[MAX_KERNEL_AXES];
  bool pseudo[MAX_KERNEL_AXES];
} axes_seen;

static void see_axis(void *ctx, int axis) {
  axes_seen *seen = ctx;
  if (axis >= PSEUDO_AXIS)
    seen->pseudo[axis - PSEUDO_AXIS] = true;
  else
    seen->used[axis] = true;
}

/// Work asked for in an arm of an if stays there: it may not be needed otherwise.
static int innermost_arm(const kbuild *b) {
  for (const scope *s = b->scope; s; s = s->outer)
    if (s->stmt && s->stmt->kind == TILE_IF) return s->depth;
  return 0;
}

static int depth_of(const kbuild *b, const axes_seen *seen, tval *const *in, int nin) {
  int depth = innermost_arm(b);
  for (int axis = 0; axis < b->k->axes.len; axis++)
    if (seen && seen->used[axis]) {
      scope *s = opener(b, axis);
      check(s);
      if (s->depth > depth) depth = s->depth;
    }
  for (int i = 0; i < nin; i++)
    if (b->val_depth.data[in[i]->id] > depth) depth = b->val_depth.data[in[i]->id];
  return depth;
}

/// Result shape: the union of the operands' axes and the axes seen, in axis order.
static tval *union_value(kbuild *b, dtype t, const axes_seen *seen, tval *const *in, int nin) {
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

static tval *emit_map_stmt(kbuild *b, op o, dtype result, tval *const *in, int nin) {
  tstmt *st = new_stmt(b, TILE_MAP, in, nin);
  st->op = o;
  one_result(b, st, union_value(b, result, NULL, in, nin));
  kb_append(b, scope_at(b, depth_of(b, NULL, in, nin)), st);
  return st->out[0];
}

tval *kb_map(kbuild *b, op o, dtype result, tval *x, tval *y, tval *z) {
  tval *in[3] = {x, y, z};
  return emit_map_stmt(b, o, result, in, z ? 3 : y ? 2 : 1);
}

tval *kb_fill(kbuild *b, dtype t, scalar v, const int *axes, const int *extents, int naxes) {
  tstmt *st = new_stmt(b, TILE_CONST, NULL, 0);
  st->value = v;
  one_result(b, st, tile_value(b->k, t, axes, extents, naxes));
  kb_append(b, b->scope, st);
  return st->out[0];
}

tval *kb_const(kbuild *b, dtype t, scalar v) {
  struct {
    int64_t type;
    scalar value;
  } key = {t, v};
  tval *known = map_get(&b->consts, MAP_KEY(key));
  if (known) return known;
  tstmt *st = new_stmt(b, TILE_CONST, NULL, 0);
  st->value = v;
  one_result(b, st, tile_value(b->k, t, NULL, NULL, 0));
  kb_append(b, b->top, st);
  map_put(b->l->a, &b->consts, MAP_KEY(key), st->out[0]);
  return st->out[0];
}

static tval *int_const(kbuild *b, dtype t, int64_t v) { return kb_const(b, t, (scalar){.i = v}); }

tval *kb_accumulate(kbuild *b, op o, tval *const *in, int nin) {
  tstmt *st = new_stmt(b, TILE_ACCUM, in, nin);
  st->op = o;
  one_result(b, st, tile_value(b->k, in[0]->type, in[0]->axes, in[0]->extents, in[0]->naxes));
  kb_append(b, b->scope, st);
  return st->out[0];
}

tval *kb_reduce_tile(kbuild *b, op o, tval *v, const int *axes, int naxes) {
  tstmt *st = new_stmt(b, TILE_REDUCE, &v, 1);
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
  one_result(b, st, tile_value(b->k, v->type, left, extents, n));
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
  if (nyields) kb_append(b, b->scope, new_stmt(b, TILE_YIELD, yields, nyields));
}

tstmt *kb_loop(kbuild *b, int axis, int extent, tval *const *inits, int ninits) {
  tstmt *st = new_stmt(b, TILE_LOOP, inits, ninits);
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
  st->value.i = b->extent[axis];
  b->extent[axis] = extent;
  return st;
}

tval **kb_end_loop(kbuild *b, tval *const *yields, int nyields) {
  scope *s = b->scope;
  add_yield(b, yields, nyields);
  b->extent[s->axis] = (int)s->stmt->value.i;
  s->stmt->value.i = 0;
  b->scope = s->outer;
  kb_append(b, b->scope, s->stmt);
  return s->stmt->out;
}

tstmt *kb_if(kbuild *b, tile_cond cond, int axis, tval *on) {
  tstmt *st = new_stmt(b, TILE_IF, &on, on ? 1 : 0);
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

// ---- buffers

int kb_axis(kbuild *b, str name, ix size) {
  check(b->k->axes.len < MAX_KERNEL_AXES);
  // T.3 from inlining is T again, so that equal kernels have equal texts.
  for (int i = 0; i < name.len; i++)
    if (name.ptr[i] == '.' && i + 1 < name.len && name.ptr[i + 1] >= '0' && name.ptr[i + 1] <= '9')
      name.len = i;
  return kernel_add_axis(b->k, name, size);
}

int kb_own_axis(kbuild *b, int graph_axis) {
  const graph *g = b->l->g;
  ix size = ix_substitute(&b->k->ix, &g->ix, graph_axis_size(g, graph_axis), NULL, 0);
  int axis = kb_axis(b, g->axes.data[graph_axis].name, size);
  b->sigma[graph_axis] = ix_axis(&b->k->ix, axis);
  b->kaxis[graph_axis] = axis;
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
  tstmt *st = new_stmt(b, TILE_LOCAL, NULL, 0);
  st->buf = k->bufs.len - 1;
  kb_append(b, b->scope, st);
  return st->buf;
}

static void set_index(kbuild *b, tstmt *st, int buf, const ix *index, int rank) {
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

tval *kb_load_local(kbuild *b, int buf, const int *axes, int naxes) {
  (void)axes, (void)naxes;
  ix index[MAX_AXES];
  local_index(b, buf, index);
  axes_seen seen = {0};
  for (int i = 0; i < b->k->bufs.data[buf].rank; i++) ix_axes(&b->k->ix, index[i], see_axis, &seen);
  tstmt *st = new_stmt(b, TILE_LOAD, NULL, 0);
  set_index(b, st, buf, index, b->k->bufs.data[buf].rank);
  one_result(b, st, union_value(b, b->k->bufs.data[buf].type, &seen, NULL, 0));
  kb_append(b, b->scope, st);
  return st->out[0];
}

tstmt *kb_store(kbuild *b, int buf, tval *v, const ix *index, int rank) {
  tstmt *st = new_stmt(b, TILE_STORE, &v, 1);
  set_index(b, st, buf, index, rank);
  b->k->bufs.data[buf].written = true;
  kb_append(b, b->scope, st);
  return st;
}

void kb_store_local(kbuild *b, int buf, tval *v) {
  ix index[MAX_AXES];
  local_index(b, buf, index);
  kb_store(b, buf, v, index, b->k->bufs.data[buf].rank);
}

void kb_store_node(kbuild *b, const node *n, tval *v, bool nontemporal) {
  ix index[MAX_AXES];
  kb_identity(b, n, index);
  int first = b->l->buffer_of[n->id];
  check(first >= 0);
  int nouts = b->l->outputs_of[n->id].len;
  for (int i = 0; i < (nouts ? nouts : 1); i++) {
    int buffer = nouts ? b->l->outputs_of[n->id].data[i] : first;
    tstmt *st = kb_store(b, kb_arg(b, buffer), v, index, n->naxes);
    st->nontemporal = nontemporal;
    st->at = n->at;
  }
}

// ---- coordinates

void kb_identity(const kbuild *b, const node *n, ix *sigma) {
  for (int i = 0; i < n->naxes; i++) {
    sigma[i] = b->sigma[n->axes[i]];
    check(sigma[i]);
  }
}

bool kb_is_identity(const kbuild *b, const node *n, const ix *sigma) {
  for (int i = 0; i < n->naxes; i++)
    if (sigma[i] != b->sigma[n->axes[i]]) return false;
  return true;
}

bool kb_in_group(const kbuild *b, const node *n) {
  return n->kernel == b->group->kernel && n->op != OP_param;
}

/// The coordinate of graph axis `axis` at (n, sigma); 0 when n lacks it.
static ix coordinate(const node *n, const ix *sigma, int axis) {
  for (int i = 0; i < n->naxes; i++)
    if (n->axes[i] == axis) return sigma[i];
  return 0;
}

void kb_operand_sigma(kbuild *b, const node *n, int i, const ix *sigma, ix *out) {
  const node *x = n->in[i];
  bool indexed = (n->op == OP_view || n->op == OP_pad) && i == 0;
  ix *table = NULL;
  if (indexed) {
    table = arena_array(b->l->a, ix, b->l->g->axes.len);
    for (int k = 0; k < n->naxes; k++) table[n->axes[k]] = sigma[k];
  }
  for (int k = 0; k < x->naxes; k++) {
    if (indexed)
      out[k] = ix_substitute(b->pool, &b->l->g->ix, n->index[k], table, b->l->g->axes.len);
    else
      out[k] = coordinate(n, sigma, x->axes[k]);
    // Axes that n lacks are reduced, contracted or scanned over: the kernel walks them.
    if (!out[k]) out[k] = b->sigma[x->axes[k]];
    check(out[k]);
  }
}

static tval *size_value(kbuild *b, ix e, dtype t) {
  int64_t v;
  if (ix_is_const(&b->k->ix, e, &v)) return int_const(b, t, v);
  tstmt *st = new_stmt(b, TILE_SIZE, NULL, 0);
  st->nix = 1;
  st->ix = arena_copy(b->l->a, &e, sizeof e);
  one_result(b, st, tile_value(b->k, t, NULL, NULL, 0));
  kb_append(b, b->top, st);
  return st->out[0];
}

static tval *axis_value(kbuild *b, int axis, dtype t) {
  if (axis >= PSEUDO_AXIS) {
    tval *v = b->pseudo[axis - PSEUDO_AXIS];
    return v->type == t ? v : kb_map(b, OP_cast, t, v, NULL, NULL);
  }
  axes_seen seen = {0};
  seen.used[axis] = true;
  tstmt *st = new_stmt(b, TILE_INDEX, NULL, 0);
  st->axis = axis;
  one_result(b, st, union_value(b, t, &seen, NULL, 0));
  kb_append(b, scope_at(b, depth_of(b, &seen, NULL, 0)), st);
  return st->out[0];
}

/// x / y or x % y rounding down; y > 0.
static tval *floor_divide(kbuild *b, ix_kind kind, ix e, tval *x, tval *y, dtype t) {
  tval *r = kb_map(b, kind == IX_DIV ? OP_div : OP_rem, t, x, y, NULL);
  if (ix_bounds(&b->k->ix, e).min >= 0) return r;
  tval *rem = kind == IX_MOD ? r : kb_map(b, OP_rem, t, x, y, NULL);
  tval *negative = kb_map(b, OP_lt, DT_bool, rem, int_const(b, t, 0), NULL);
  tval *fixed = kind == IX_DIV ? kb_map(b, OP_sub, t, r, int_const(b, t, 1), NULL)
                               : kb_map(b, OP_add, t, r, y, NULL);
  return kb_map(b, OP_where, t, negative, fixed, r);
}

static tval *term_value(kbuild *b, const ix_term *term, dtype t) {
  tval *v = term->coef == 1 && term->natoms ? NULL : int_const(b, t, term->coef);
  for (int i = 0; i < term->natoms; i++) {
    tval *atom = kb_index_value(b, term->atoms[i], t);
    v = v ? kb_map(b, OP_mul, t, v, atom, NULL) : atom;
  }
  return v;
}

tval *kb_index_value(kbuild *b, ix e, dtype t) {
  if (ix_is_size(&b->k->ix, e)) return size_value(b, e, t);
  ix_node node = *ix_get(&b->k->ix, e);
  switch (node.kind) {
    case IX_AXIS: return axis_value(b, (int)node.value, t);
    case IX_DIV:
    case IX_MOD: {
      tval *x = kb_index_value(b, node.a, t), *y = kb_index_value(b, node.b, t);
      return floor_divide(b, node.kind, node.a, x, y, t);
    }
    case IX_SUM: {
      tval *sum = NULL;
      for (int i = 0; i < node.nterms; i++) {
        tval *v = term_value(b, &node.terms[i], t);
        sum = sum ? kb_map(b, OP_add, t, sum, v, NULL) : v;
      }
      return sum;
    }
    default: panic("index expression of kind %d", node.kind);
  }
}

// ---- values

/// Splits a coordinate into a part over kernel axes and an indirect tile (null: none).
static tval *split_indirect(kbuild *b, ix *e) {
  axes_seen seen = {0};
  ix_axes(&b->k->ix, *e, see_axis, &seen);
  for (int i = 0; i < b->npseudo; i++) {
    if (!seen.pseudo[i]) continue;
    ix coef, rest;
    int64_t one;
    bool simple = ix_affine(&b->k->ix, *e, PSEUDO_AXIS + i, &coef, &rest) &&
                  ix_is_const(&b->k->ix, coef, &one) && one == 1;
    axes_seen left = {0};
    if (simple) ix_axes(&b->k->ix, rest, see_axis, &left);
    for (int j = 0; j < b->npseudo; j++) simple &= !left.pseudo[j];
    tval *v = simple ? b->pseudo[i] : kb_index_value(b, *e, DT_i64);
    *e = simple ? rest : ix_const(&b->k->ix, 0);
    return v;
  }
  return NULL;
}

static tval *load_node(kbuild *b, const node *n, const ix *sigma, tval *fill) {
  int arg = kb_arg(b, b->l->buffer_of[n->id]);
  ix index[MAX_AXES];
  int8_t indirect[MAX_AXES];
  tval *in[MAX_AXES + 1];
  int nin = 0;
  for (int i = 0; i < n->naxes; i++) {
    index[i] = sigma[i];
    tval *v = split_indirect(b, &index[i]);
    indirect[i] = (int8_t)(v ? nin : -1);
    if (v) in[nin++] = v;
  }
  bool guard = b->guarded || fill || lower_is_empty(b->l, n);  // it may land outside a loop that never runs
  if (guard) in[nin++] = fill ? fill : kb_const(b, n->type, scalar_cast((scalar){.i = 0}, DT_i64, n->type));
  axes_seen seen = {0};
  for (int i = 0; i < n->naxes; i++) ix_axes(&b->k->ix, index[i], see_axis, &seen);
  tstmt *st = new_stmt(b, TILE_LOAD, in, nin);
  set_index(b, st, arg, index, n->naxes);
  memcpy(st->indirect, indirect, (size_t)n->naxes);
  st->guard = guard;
  st->at = n->at;
  one_result(b, st, union_value(b, n->type, &seen, in, nin));
  kb_append(b, scope_at(b, depth_of(b, &seen, in, nin)), st);
  return st->out[0];
}

tval *kb_load_buffer(kbuild *b, const node *n) {
  ix index[MAX_AXES];
  kb_identity(b, n, index);
  axes_seen seen = {0};
  for (int i = 0; i < n->naxes; i++) ix_axes(&b->k->ix, index[i], see_axis, &seen);
  tstmt *st = new_stmt(b, TILE_LOAD, NULL, 0);
  set_index(b, st, kb_arg(b, b->l->buffer_of[n->id]), index, n->naxes);
  one_result(b, st, union_value(b, n->type, &seen, NULL, 0));
  kb_append(b, b->scope, st);
  return st->out[0];
}

static tval *load_cached(kbuild *b, const node *n) {
  tval *v = kb_load_local(b, b->local_of[n->id], NULL, 0);
  return v->type == n->type ? v : kb_map(b, OP_cast, n->type, v, NULL, NULL);
}

/// The indices of a gather or scatter as a tile inside [0, size), checked unless told not to.
static tval *checked_index(kbuild *b, const node *n, tval *raw, ix size) {
  int64_t limit;
  bool narrow = ix_is_const(&b->k->ix, size, &limit) && limit <= INT32_MAX;
  dtype t = raw->type == DT_i64 || !narrow ? DT_i64 : DT_i32;
  tval *v = raw->type == t ? raw : kb_map(b, OP_cast, t, raw, NULL, NULL);
  if (n->flags & NODE_UNCHECKED) return v;
  if (!b->guarded) {
    tstmt *st = new_stmt(b, TILE_CHECK, &v, 1);
    st->nix = 1;
    st->ix = arena_copy(b->l->a, &size, sizeof size);
    st->site = b->sites.len;
    st->at = n->at;
    vec_push(b->l->a, &b->sites, n->at);
    b->k->nsites = b->sites.len;
    kb_append(b, scope_at(b, b->val_depth.data[v->id]), st);
  }
  tval *last = size_value(b, ix_sub(&b->k->ix, size, ix_const(&b->k->ix, 1)), t);
  tval *low = kb_map(b, OP_min, t, v, last, NULL);
  return kb_map(b, OP_max, t, low, int_const(b, t, 0), NULL);
}

/// The element(s) of the node's buffer at the index along its scattered axis.
static tstmt *indirect_access(kbuild *b, tile_op kind, const node *n, int buf, tval *value,
                              tval *index) {
  tval *in[2] = {value ? value : index, index};
  ix at[MAX_AXES];
  tstmt *st = new_stmt(b, kind, in, value ? 2 : 1);
  for (int i = 0; i < n->naxes; i++)
    at[i] = n->axes[i] == n->attr_axes[0] ? ix_const(&b->k->ix, 0) : b->sigma[n->axes[i]];
  set_index(b, st, buf, at, n->naxes);
  for (int i = 0; i < n->naxes; i++)
    if (n->axes[i] == n->attr_axes[0]) st->indirect[i] = (int8_t)(value ? 1 : 0);
  axes_seen seen = {0};
  for (int i = 0; i < n->naxes; i++) ix_axes(&b->k->ix, at[i], see_axis, &seen);
  if (!value) one_result(b, st, union_value(b, n->type, &seen, &index, 1));
  if (value) b->k->bufs.data[buf].written = true;
  kb_append(b, b->scope, st);
  return st;
}

void kb_add_at(kbuild *b, const node *n, tval *index, tval *update) {
  ix size = ix_substitute(&b->k->ix, &b->l->g->ix, graph_axis_size(b->l->g, n->attr_axes[0]), NULL, 0);
  tval *at = checked_index(b, n, index, size);
  // Nothing can be added to an empty axis; the failed check has been reported.
  int64_t least = ix_bounds(&b->k->ix, size).min;
  if (least < 1) {
    tval *some = kb_map(b, OP_gt, DT_bool, size_value(b, size, DT_i64), int_const(b, DT_i64, 0), NULL);
    kb_if(b, COND_ALL, 0, some);
  }
  int nouts = b->l->outputs_of[n->id].len;
  for (int i = 0; i < (nouts ? nouts : 1); i++) {
    int buf = kb_arg(b, nouts ? b->l->outputs_of[n->id].data[i] : b->l->buffer_of[n->id]);
    tval *old = indirect_access(b, TILE_LOAD, n, buf, NULL, at)->out[0];
    indirect_access(b, TILE_STORE, n, buf, kb_map(b, OP_add, n->type, old, update, NULL), at);
  }
  if (least < 1) {
    kb_else(b, NULL, 0);
    kb_end_if(b, NULL, 0);
  }
}

typedef struct value_key {
  int id, guarded;
  ix at[MAX_AXES];
} value_key;

static value_key key_of(const kbuild *b, const node *n, const ix *sigma, int naxes) {
  value_key key = {.id = n->id, .guarded = b->guarded > 0};
  memcpy(key.at, sigma, sizeof(ix) * (size_t)naxes);
  return key;
}

/// A remembered value holds as long as no loop has re-opened one of its axes since.
static bool still_valid(const kbuild *b, const tval *v, const scope *s) {
  for (int i = 0; i < v->naxes; i++) {
    if (!b->extent[v->axes[i]]) continue;
    scope *o = opener(b, v->axes[i]);
    if (o->depth > s->depth || b->extent[v->axes[i]] != v->extents[i]) return false;
  }
  return true;
}

static tval *recall(const kbuild *b, const value_key *key) {
  for (scope *s = b->scope; s; s = s->outer) {
    tval *v = map_get(&s->memo, MAP_KEY(*key));
    if (v && still_valid(b, v, s)) return v;
  }
  return NULL;
}

static void remember(kbuild *b, const value_key *key, tval *v) {
  map_put(b->l->a, &scope_at(b, b->val_depth.data[v->id])->memo, MAP_KEY(*key), v);
}

/// The checked index of a gather, once per place.
static tval *gather_index(kbuild *b, const node *n, const ix *sigma, ix size) {
  ix at[MAX_AXES];
  kb_operand_sigma(b, n, 1, sigma, at);
  value_key key = key_of(b, n, at, n->in[1]->naxes);
  key.guarded += 2;  // beside the gathered value's own key
  tval *v = recall(b, &key);
  if (v) return v;
  v = checked_index(b, n, kb_value(b, n->in[1], at), size);
  remember(b, &key, v);
  return v;
}

static ix pseudo_axis(kbuild *b, tval *v) {
  int i = 0;
  while (i < b->npseudo && b->pseudo[i] != v) i++;
  check(i < MAX_KERNEL_AXES);
  if (i == b->npseudo) b->pseudo[b->npseudo++] = v;
  return ix_axis(&b->k->ix, PSEUDO_AXIS + i);
}

static tval *gather_value(kbuild *b, const node *n, const ix *sigma) {
  const node *table = n->in[0];
  ix size = ix_substitute(&b->k->ix, &b->l->g->ix, graph_axis_size(b->l->g, n->attr_axes[0]), NULL, 0);
  ix pseudo = pseudo_axis(b, gather_index(b, n, sigma, size));
  ix at[MAX_AXES];
  for (int i = 0; i < table->naxes; i++)
    at[i] = table->axes[i] == n->attr_axes[0] ? pseudo : coordinate(n, sigma, table->axes[i]);
  // An empty table has no element to clamp to: its (reported) accesses must not happen.
  int64_t least = ix_bounds(&b->k->ix, size).min;
  b->guarded += least < 1;
  tval *v = kb_value(b, table, at);
  b->guarded -= least < 1;
  return v;
}

/// True where every coordinate of the padded operand is inside it; null when known.
static tval *inside(kbuild *b, const node *x, const ix *at) {
  tval *all = NULL;
  for (int i = 0; i < x->naxes; i++) {
    ix size = ix_substitute(&b->k->ix, &b->l->g->ix, graph_axis_size(b->l->g, x->axes[i]), NULL, 0);
    ix_range r = ix_bounds(&b->k->ix, at[i]);
    tval *coordinate_value = NULL;
    for (int side = 0; side < 2; side++) {
      if (side == 0 && r.min >= 0) continue;
      if (side == 1 && ix_known_le(&b->k->ix, ix_add(&b->k->ix, at[i], ix_const(&b->k->ix, 1)), size))
        continue;
      if (!coordinate_value) coordinate_value = kb_index_value(b, at[i], DT_i64);
      tval *limit = side ? size_value(b, size, DT_i64) : int_const(b, DT_i64, 0);
      tval *ok = kb_map(b, side ? OP_lt : OP_ge, DT_bool, coordinate_value, limit, NULL);
      all = all ? kb_map(b, OP_and, DT_bool, all, ok, NULL) : ok;
    }
  }
  return all;
}

static tval *pad_value(kbuild *b, const node *n, const ix *sigma) {
  const node *x = n->in[0];
  ix at[MAX_AXES], fill_at[MAX_AXES];
  kb_operand_sigma(b, n, 0, sigma, at);
  kb_operand_sigma(b, n, 1, sigma, fill_at);
  tval *fill = kb_value(b, n->in[1], fill_at);
  if (!kb_in_group(b, x) && !b->guarded) return load_node(b, x, at, fill);
  tval *ok = inside(b, x, at);
  if (!ok) return kb_value(b, x, at);
  b->guarded++;
  tval *v = kb_value(b, x, at);
  b->guarded--;
  return kb_map(b, OP_where, n->type, ok, v, fill);
}

static tval *map_value(kbuild *b, const node *n, const ix *sigma) {
  tval *in[3];
  ix at[MAX_AXES];
  for (int i = 0; i < n->nin; i++) {
    kb_operand_sigma(b, n, i, sigma, at);
    in[i] = kb_value(b, n->in[i], at);
  }
  return emit_map_stmt(b, n->op, n->type, in, n->nin);
}

static tval *compute(kbuild *b, const node *n, const ix *sigma) {
  if (!kb_in_group(b, n)) return load_node(b, n, sigma, NULL);
  ix at[MAX_AXES];
  switch (op_get(n->op)->class) {
    case CLASS_map: return map_value(b, n, sigma);
    case CLASS_gather: return gather_value(b, n, sigma);
    case CLASS_view:
      if (n->op == OP_pad) return pad_value(b, n, sigma);
      kb_operand_sigma(b, n, 0, sigma, at);
      return kb_value(b, n->in[0], at);
    case CLASS_leaf:
      if (n->op == OP_const) return kb_const(b, n->type, n->value);
      if (n->op == OP_index) return kb_index_value(b, sigma[0], n->type);
      if (n->op == OP_size) {
        ix e = ix_substitute(&b->k->ix, &b->l->g->ix, n->index[0], NULL, 0);
        tval *v = size_value(b, e, DT_i64);
        return n->type == DT_i64 ? v : kb_map(b, OP_cast, n->type, v, NULL, NULL);
      }
      break;
    default: break;
  }
  panic("lowering: %s %%%d is used before its loop has run", op_get(n->op)->name, n->id);
}

tval *kb_value(kbuild *b, const node *n, const ix *sigma) {
  if (b->done[n->id]) {
    check(kb_is_identity(b, n, sigma));
    return b->done[n->id];
  }
  value_key key = key_of(b, n, sigma, n->naxes);
  tval *v = recall(b, &key);
  if (v) return v;
  bool cached = b->local_of[n->id] >= 0 && b->local_ready[n->id] && kb_is_identity(b, n, sigma);
  v = cached ? load_cached(b, n) : compute(b, n, sigma);
  remember(b, &key, v);
  return v;
}

tval *kb_value_here(kbuild *b, const node *n) {
  ix sigma[MAX_AXES];
  kb_identity(b, n, sigma);
  return kb_value(b, n, sigma);
}
