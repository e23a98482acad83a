// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values by demand: the tile of a node at given coordinates. See lower.h.
#include "base/fault.h"
#include "passes/lowering/lower_stmt.h"

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
bool kb_uses(const kbuild *b, const node *n, int kernel_axis) {
  for (int k = 0; k < n->naxes; k++)
    if (ix_uses_axis(&b->k->ix, b->sigma[n->axes[k]], kernel_axis)) return true;
  return false;
}

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
  if (ix_is_const(&b->k->ix, e, &v)) return kb_int(b, t, v);
  tstmt *st = kb_stmt(b, TILE_SIZE, NULL, 0);
  st->nix = 1;
  st->ix = arena_copy(b->l->a, &e, sizeof e);
  kb_one_result(b, st, tile_value(b->k, t, NULL, NULL, 0));
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
  tstmt *st = kb_stmt(b, TILE_INDEX, NULL, 0);
  st->axis = axis;
  kb_one_result(b, st, kb_union_value(b, t, &seen, NULL, 0));
  kb_append(b, kb_scope_at(b, kb_depth_of(b, &seen, NULL, 0)), st);
  return st->out[0];
}

/// x / y or x % y rounding down; y > 0.
static tval *floor_divide(kbuild *b, ix_kind kind, ix e, tval *x, tval *y, dtype t) {
  tval *r = kb_map(b, kind == IX_DIV ? OP_div : OP_rem, t, x, y, NULL);
  if (ix_bounds(&b->k->ix, e).min >= 0) return r;
  tval *rem = kind == IX_MOD ? r : kb_map(b, OP_rem, t, x, y, NULL);
  tval *negative = kb_map(b, OP_lt, DT_bool, rem, kb_int(b, t, 0), NULL);
  tval *fixed = kind == IX_DIV ? kb_map(b, OP_sub, t, r, kb_int(b, t, 1), NULL)
                               : kb_map(b, OP_add, t, r, y, NULL);
  return kb_map(b, OP_where, t, negative, fixed, r);
}

static tval *term_value(kbuild *b, const ix_term *term, dtype t) {
  tval *v = term->coef == 1 && term->natoms ? NULL : kb_int(b, t, term->coef);
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
static tval *split_indirect(kbuild *b, ix *e, bool *unchecked) {
  axes_seen seen = {0};
  ix_axes(&b->k->ix, *e, kb_see_axis, &seen);
  for (int i = 0; i < b->npseudo; i++) *unchecked |= seen.pseudo[i] && b->unchecked[i];
  for (int i = 0; i < b->npseudo; i++) {
    if (!seen.pseudo[i]) continue;
    ix coef, rest;
    int64_t one;
    bool simple = ix_affine(&b->k->ix, *e, PSEUDO_AXIS + i, &coef, &rest) &&
                  ix_is_const(&b->k->ix, coef, &one) && one == 1;
    axes_seen left = {0};
    if (simple) ix_axes(&b->k->ix, rest, kb_see_axis, &left);
    for (int j = 0; j < b->npseudo; j++) simple &= !left.pseudo[j];
    tval *v = simple ? b->pseudo[i] : kb_index_value(b, *e, DT_i64);
    *e = simple ? rest : ix_const(&b->k->ix, 0);
    return v;
  }
  return NULL;
}

/// An element that the operand need not have: what lies in a loop that never runs (an axis of no
/// elements) may be hoisted out of it.
static bool is_fixed_outside(const kbuild *b, const node *n, const ix *index) {
  ix_pool *pool = &b->k->ix;
  int64_t at;
  for (int i = 0; i < n->naxes; i++) {
    if (!ix_is_const(pool, index[i], &at)) continue;
    ix size = ix_substitute(pool, &b->l->g->ix, graph_axis_size(b->l->g, n->axes[i]), NULL, 0);
    if (!ix_known_le(pool, ix_const(pool, at + 1), size)) return true;
  }
  return lower_is_empty(b->l, n);
}

static tval *load_node(kbuild *b, const node *n, const ix *sigma, tval *fill) {
  int arg = kb_arg(b, b->l->buffer_of[n->id]);
  ix index[MAX_AXES];
  int8_t indirect[MAX_AXES];
  tval *in[MAX_AXES + 1];
  int nin = 0;
  bool unchecked = false;
  for (int i = 0; i < n->naxes; i++) {
    index[i] = sigma[i];
    tval *v = split_indirect(b, &index[i], &unchecked);
    indirect[i] = (int8_t)(v ? nin : -1);
    if (v) in[nin++] = v;
  }
  bool guard = b->guarded || fill || is_fixed_outside(b, n, index);
  if (guard) in[nin++] = fill ? fill : kb_const(b, n->type, scalar_cast((scalar){.i = 0}, DT_i64, n->type));
  axes_seen seen = {0};
  for (int i = 0; i < n->naxes; i++) ix_axes(&b->k->ix, index[i], kb_see_axis, &seen);
  tstmt *st = kb_stmt(b, TILE_LOAD, in, nin);
  kb_set_index(b, st, arg, index, n->naxes);
  memcpy(st->indirect, indirect, (size_t)n->naxes);
  st->guard = guard;
  st->unchecked = unchecked && !guard;
  st->at = n->at;
  kb_one_result(b, st, kb_union_value(b, n->type, &seen, in, nin));
  kb_append(b, kb_scope_at(b, kb_depth_of(b, &seen, in, nin)), st);
  return st->out[0];
}

tval *kb_load_buffer(kbuild *b, const node *n) {
  ix index[MAX_AXES];
  int rank = kb_place(b, n, b->l->buffer_of[n->id], index);
  axes_seen seen = {0};
  for (int i = 0; i < rank; i++) ix_axes(&b->k->ix, index[i], kb_see_axis, &seen);
  tstmt *st = kb_stmt(b, TILE_LOAD, NULL, 0);
  kb_set_index(b, st, kb_arg(b, b->l->buffer_of[n->id]), index, rank);
  kb_one_result(b, st, kb_union_value(b, n->type, &seen, NULL, 0));
  kb_append(b, b->scope, st);
  return st->out[0];
}

static tval *load_cached(kbuild *b, const node *n) {
  int buf = b->local_of[n->id];
  tval *v = b->k->bufs.data[buf].local ? kb_load_local(b, buf) : kb_load_arg(b, n, buf);
  return v->type == n->type ? v : kb_map(b, OP_cast, n->type, v, NULL, NULL);
}

tval *kb_checked_index(kbuild *b, const node *n, tval *raw, ix size) {
  int64_t limit;
  bool narrow = ix_is_const(&b->k->ix, size, &limit) && limit <= INT32_MAX;
  dtype t = narrow && dtype_cast_is_exact(raw->type, DT_i32) ? DT_i32 : DT_i64;
  tval *v = raw->type == t ? raw : kb_map(b, OP_cast, t, raw, NULL, NULL);
  if (n->flags & NODE_UNCHECKED) return v;
  if (!b->guarded) {
    tstmt *st = kb_stmt(b, TILE_CHECK, &v, 1);
    st->nix = 1;
    st->ix = arena_copy(b->l->a, &size, sizeof size);
    st->site = b->sites.len;
    st->at = n->at;
    vec_push(b->l->a, &b->sites, n->at);
    vec_push(b->l->a, &b->site_axes, b->l->g->axes.data[n->attr_axes[0]].name);
    b->k->nsites = b->sites.len;
    kb_append(b, kb_scope_at(b, b->val_depth.data[v->id]), st);
  }
  tval *last = size_value(b, ix_sub(&b->k->ix, size, ix_const(&b->k->ix, 1)), t);
  tval *low = kb_map(b, OP_min, t, v, last, NULL);
  return kb_map(b, OP_max, t, low, kb_int(b, t, 0), NULL);
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
    scope *o = kb_opener(b, v->axes[i]);
    if (o->depth > s->depth || b->extent[v->axes[i]] != v->extents[i]) return false;
  }
  return true;
}

static tval *recall(const kbuild *b, const value_key *key) {
  bool border = false;  // beyond it values lie otherwise on the threads, except those without axes
  for (scope *s = b->scope; s; s = s->outer) {
    tval *v = map_get(&s->memo, MAP_KEY(*key));
    if (v && still_valid(b, v, s) && !(border && v->naxes)) return v;
    border |= s->stmt && s->stmt->layout;
  }
  return NULL;
}

static void remember(kbuild *b, const value_key *key, tval *v) {
  map_put(b->l->a, &kb_scope_at(b, b->val_depth.data[v->id])->memo, MAP_KEY(*key), v);
}

/// The checked index of a gather, once per place.
static tval *gather_index(kbuild *b, const node *n, const ix *sigma, ix size) {
  ix at[MAX_AXES];
  kb_operand_sigma(b, n, 1, sigma, at);
  value_key key = key_of(b, n, at, n->in[1]->naxes);
  key.guarded += 2;  // beside the gathered value's own key
  tval *v = recall(b, &key);
  if (v) return v;
  v = kb_checked_index(b, n, kb_value(b, n->in[1], at), size);
  remember(b, &key, v);
  return v;
}

ix kb_indirect(kbuild *b, tval *v, bool unchecked) {
  int i = 0;
  while (i < b->npseudo && b->pseudo[i] != v) i++;
  check(i < MAX_KERNEL_AXES);
  if (i == b->npseudo) b->pseudo[b->npseudo++] = v;
  b->unchecked[i] |= unchecked;
  return ix_axis(&b->k->ix, PSEUDO_AXIS + i);
}

static tval *gather_value(kbuild *b, const node *n, const ix *sigma) {
  const node *table = n->in[0];
  ix size = ix_substitute(&b->k->ix, &b->l->g->ix, graph_axis_size(b->l->g, n->attr_axes[0]), NULL, 0);
  tval *index = gather_index(b, n, sigma, size);
  if (node_is_checked_index(n) && kb_in_group(b, table))
    return index->type == n->type ? index : kb_map(b, OP_cast, n->type, index, NULL, NULL);
  ix pseudo = kb_indirect(b, index, n->flags & NODE_UNCHECKED);
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
      tval *limit = side ? size_value(b, size, DT_i64) : kb_int(b, DT_i64, 0);
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
  return kb_map_of(b, n->op, n->type, in, n->nin);
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

void kb_set_value(kbuild *b, const node *n, tval *v) {
  ix sigma[MAX_AXES];
  kb_identity(b, n, sigma);
  value_key key = key_of(b, n, sigma, n->naxes);
  remember(b, &key, v);
}
