// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Views: what stands in brackets after a value. All items of one pair of brackets act at once.
//
//   x[S -> T]             x'(.., t) = x(.., t)                  rename
//   x[D -> (H, K = 64)]   x'(.., h, k) = x(.., h * 64 + k)      split
//   x[(H, K) -> D]        x'(.., d) = x(.., d / 64, d % 64)     merge
//   x[D = 3]              x'(..) = x(.., 3)                     select
//   x[D = 2:10 -> E]      x'(.., e) = x(.., e + 2)              slice
//   x[Y -> P * 2 + R]     x'(.., p, r) = x(.., p * 2 + r)       window
//   x[V = tokens]         x'(.., b) = x(.., tokens(b))          gather, after the others
//
// All but gather are one view node: a coordinate of x per axis, over the axes of the result.
#include "frontend/lower.h"

typedef struct gather_item {
  int axis;
  node *indices;
  span at;
} gather_item;

typedef struct plan {
  node *n;
  span n_at;
  bool touched[MAX_AXES];    // by axis of n
  ix index[MAX_AXES];        // its coordinate; 0: its own
  axis_set made[MAX_AXES];   // the axes that take its place
  bool changed;              // some item but a gather
  vec(gather_item) gathers;
} plan;

static value view_error(scope *s, span at, const char *text) {
  scope_error(s, DIAG_view_form, at, "%s", text);
  return poison_at(at);
}

/// The position of the axis `name` in n; -1 and an error when n lacks it or it was used.
static int source_axis(scope *s, plan *p, str name, span at) {
  const axis_name *a = find_axis(s, name);
  if (!a && s->f->bad_syntax) return s->l->errors++, -1;
  if (!need_axis_of(s, p->n, p->n_at, a ? a->axis : -1, at)) return -1;
  int k = 0;
  while (p->n->axes[k] != a->axis) k++;
  if (p->touched[k]) {
    scope_error(s, DIAG_duplicate_axis, at, "the axis %.*s is changed twice in these brackets",
                STR_FMT(name));
    return -1;
  }
  p->touched[k] = true;
  return k;
}

static ix source_size(scope *s, const plan *p, int k) {
  return graph_axis_size(s->l->g, p->n->axes[k]);
}

// ---- rename, split, merge

/// The size an item of a split gives its axis; 0: none is known. False after an error.
static bool part_size(scope *s, const expr *e, ix *size) {
  *size = 0;
  if (e->kind == EXPR_NAMED) return size_of_expr(s, e->args[0], size);
  if (e->kind != EXPR_NAME) return view_error(s, e->at, "an axis name is needed here"), false;
  const axis_name *a = find_axis(s, e->name);
  if (a && a->axis >= 0) *size = graph_axis_size(s->l->g, a->axis);
  return true;
}

/// Fills in the one size that is not given, or checks that the product is the size of the axis.
static bool complete_sizes(scope *s, const expr *parts, const expr *const *items, int n, ix total,
                           ix *sizes) {
  ix_pool *pool = &s->l->g->ix;
  ix product = ix_const(pool, 1);
  int open = -1;
  for (int i = 0; i < n; i++) {
    if (sizes[i]) {
      product = ix_mul(pool, product, sizes[i]);
    } else if (open >= 0) {
      scope_error(s, DIAG_size_unknown, parts->at,
                  "the sizes of %.*s and %.*s are both open; give one of them: %.*s = 64",
                  STR_FMT(items[open]->name), STR_FMT(items[i]->name), STR_FMT(items[i]->name));
      return false;
    } else {
      open = i;
    }
  }
  if (open >= 0) {
    if (assume_multiple(s, total, product)) return sizes[open] = ix_div(pool, total, product), true;
    diag *d = scope_error(s, DIAG_not_provable, parts->at,
                          "the size %.*s is not known to be a multiple of %.*s",
                          STR_FMT(size_text(s, total)), STR_FMT(size_text(s, product)));
    scope_note(s, d, parts->at,
               "a parameter that has the axes %.*s instead needs no such proof; x[(A, B) -> C] "
               "merges axes",
               STR_FMT(source_text(s, parts->at)));
    return false;
  }
  if (sizes_equal(s, product, total)) return true;
  diag *d = scope_error(s, DIAG_size_mismatch, parts->at,
                        "an axis of size %.*s cannot be split into %.*s",
                        STR_FMT(size_text(s, total)), STR_FMT(size_text(s, product)));
  const axis_name *a = find_axis(s, size_text(s, total));
  if (a) note_equal_sizes(s, d, a, total, product);
  return false;
}

static bool lower_split(scope *s, plan *p, int k, const expr *to) {
  ix_pool *pool = &s->l->g->ix;
  bool tuple = to->kind == EXPR_TUPLE;
  const expr *single[1] = {to}, *const *items = tuple ? (const expr *const *)to->args : single;
  int n = tuple ? to->nargs : 1;
  ix sizes[MAX_AXES];
  if (n < 1 || n > MAX_AXES) {
    scope_error(s, DIAG_too_many_axes, to->at, "an axis is split into 1 to %d axes", MAX_AXES);
    return false;
  }
  for (int i = 0; i < n; i++) {
    if (!part_size(s, items[i], &sizes[i])) return false;
    for (int k2 = 0; k2 < i; k2++) {
      if (!str_eq(items[i]->name, items[k2]->name)) continue;
      scope_error(s, DIAG_duplicate_axis, items[i]->at, "the axis %.*s is named twice",
                  STR_FMT(items[i]->name));
      return false;
    }
  }
  // A renamed axis has the size of its source, whatever the name stood for before.
  if (n == 1 && items[0]->kind == EXPR_NAME) sizes[0] = source_size(s, p, k);
  if (!complete_sizes(s, to, items, n, source_size(s, p, k), sizes)) return false;
  ix sum = ix_const(pool, 0), stride = ix_const(pool, 1);
  int axes[MAX_AXES];
  for (int i = n - 1; i >= 0; i--) {
    axes[i] = define_axis(s, items[i]->name, items[i]->name_at, sizes[i]);
    if (axes[i] < 0) return false;
    sum = ix_add(pool, sum, ix_mul(pool, ix_axis(pool, axes[i]), stride));
    stride = ix_mul(pool, stride, sizes[i]);
  }
  for (int i = 0; i < n; i++) set_add(&p->made[k], axes[i]);
  p->index[k] = sum;
  return true;
}

static bool lower_merge(scope *s, plan *p, const expr *from, const expr *to) {
  ix_pool *pool = &s->l->g->ix;
  int places[MAX_AXES];
  ix size = ix_const(pool, 1), given;
  if (to->kind != EXPR_NAME && to->kind != EXPR_NAMED)
    return view_error(s, to->at, "axes are merged into one: x[(H, K) -> D]"), false;
  if (from->nargs < 1 || from->nargs > MAX_AXES)
    return view_error(s, from->at, "there is no axis to merge"), false;
  for (int i = 0; i < from->nargs; i++) {
    const expr *e = from->args[i];
    if (e->kind != EXPR_NAME) return view_error(s, e->at, "an axis name is needed here"), false;
    if ((places[i] = source_axis(s, p, e->name, e->at)) < 0) return false;
    size = ix_mul(pool, size, source_size(s, p, places[i]));
  }
  if (to->kind == EXPR_NAMED) {
    if (!size_of_expr(s, to->args[0], &given)) return false;
    if (!sizes_equal(s, given, size)) {
      scope_error(s, DIAG_size_mismatch, to->at, "the merged axis has size %.*s, not %.*s",
                  STR_FMT(size_text(s, size)), STR_FMT(size_text(s, given)));
      return false;
    }
  }
  int axis = define_axis(s, to->name, to->name_at, size);
  if (axis < 0) return false;
  ix rest = ix_axis(pool, axis);
  for (int i = from->nargs - 1; i >= 0; i--) {
    ix one = source_size(s, p, places[i]);
    p->index[places[i]] = i ? ix_mod(pool, rest, one) : rest;
    rest = ix_div(pool, rest, one);
  }
  set_add(&p->made[places[0]], axis);
  return true;
}

// ---- select, slice, gather

/// `beyond`: the first position after the axis that `what` cannot have.
static void out_of_range(scope *s, const plan *p, int k, span at, const char *what, ix value,
                         int beyond) {
  ix_pool *pool = &s->l->g->ix;
  ix size = source_size(s, p, k);
  str name = axis_text(s, p->n->axes[k]);
  int64_t v;
  bool known = ix_is_const(pool, value, &v) && ix_is_const(pool, size, &v);
  bool never = ix_known_le(pool, value, ix_const(pool, -1)) ||
               ix_known_le(pool, ix_add(pool, size, ix_const(pool, beyond)), value);
  if (known || never)  // no fact can help
    scope_error(s, DIAG_out_of_range, at, "%s %.*s is outside the axis %.*s of size %.*s", what,
                STR_FMT(size_text(s, value)), STR_FMT(name), STR_FMT(size_text(s, size)));
  else
    scope_error(s, DIAG_not_provable, at,
                "%s %.*s is not known to be within the axis %.*s of size %.*s; a `where` fact can "
                "say so", what, STR_FMT(size_text(s, value)), STR_FMT(name),
                STR_FMT(size_text(s, size)));
}

static bool lower_select(scope *s, plan *p, int k, const expr *e) {
  ix_pool *pool = &s->l->g->ix;
  value v = lower_expr(s, e->args[0]);
  ix at, last = ix_sub(pool, source_size(s, p, k), ix_const(pool, 1));
  if (is_poison(v)) return false;
  if (v.kind == VALUE_NODE) {
    if (!dtype_is_int(v.n->type)) {
      diag *d = scope_error(s, DIAG_operand_type, v.at, "an index is an integer, not %s",
                            dtype_name(v.n->type));
      if (v.n->type != DT_bool) scope_fix_wrap(s, d, v.at, "i32");
      return false;
    }
    gather_item item = {p->n->axes[k], v.n, e->at};
    vec_push(s->l->arena, &p->gathers, item);
    p->touched[k] = false;
    return true;
  }
  if (!size_of_value(s, v, &at)) return false;
  if (!assume_le(s, ix_const(pool, 0), at) || !assume_le(s, at, last))
    return out_of_range(s, p, k, v.at, "the index", at, 0), false;
  p->index[k] = at;
  p->changed = true;
  return true;
}

static bool lower_slice(scope *s, plan *p, int k, const expr *e) {
  ix_pool *pool = &s->l->g->ix;
  ix size = source_size(s, p, k), begin = ix_const(pool, 0), end = size;
  if (e->args[0] && !size_of_expr(s, e->args[0], &begin)) return false;
  if (e->args[1] && !size_of_expr(s, e->args[1], &end)) return false;
  if (!e->to.len) {
    diag *d = scope_error(s, DIAG_view_form, e->at,
                          "a slice gives its axis a new name: x[%.*s = 2:10 -> E]",
                          STR_FMT(e->name));
    scope_fixit(s, d, (span){e->at.file, e->at.end, e->at.end}, " -> %.*s2", STR_FMT(e->name));
    return false;
  }
  if (!assume_le(s, ix_const(pool, 0), begin))
    return out_of_range(s, p, k, e->args[0]->at, "the start", begin, 1), false;
  if (!assume_le(s, end, size))
    return out_of_range(s, p, k, e->args[1]->at, "the end", end, 1), false;
  if (!assume_le(s, begin, end)) {
    scope_error(s, DIAG_out_of_range, e->at, "the slice from %.*s to %.*s may end before it begins",
                STR_FMT(size_text(s, begin)), STR_FMT(size_text(s, end)));
    return false;
  }
  int to = define_axis(s, e->to, e->axis_to_at, ix_sub(pool, end, begin));
  if (to < 0) return false;
  set_add(&p->made[k], to);
  p->index[k] = ix_add(pool, ix_axis(pool, to), begin);
  p->changed = true;
  return true;
}

// ---- window: a coordinate expression over new axes

/// While a coordinate expression is read: the axes in it, and the one whose size is open.
typedef struct window {
  scope *s;
  str source;       // this name is the size of the axis being replaced
  ix source_size;
  axis_set axes;    // in order of appearance; UNSIZED for the open one
  str open;
  span open_at;
} window;

enum { UNSIZED = -2 };

static ix unknown_symbol(scope *s) { return ix_sym(&s->l->g->ix, STR("?")); }

static ix coordinate_name(window *w, const expr *e) {
  scope *s = w->s;
  ix size;
  if (str_eq(e->name, w->source)) return w->source_size;
  if (map_get(&s->locals, e->name)) return size_of_expr(s, e, &size) ? size : 0;
  const axis_name *a = find_axis(s, e->name);
  if (e->kind == EXPR_NAMED) {
    if (!size_of_expr(s, e->args[0], &size)) return 0;
    int axis = define_axis(s, e->name, e->name_at, size);
    if (axis < 0) return 0;
    set_add(&w->axes, axis);
    return ix_axis(&s->l->g->ix, axis);
  }
  if (a && a->axis >= 0) {
    set_add(&w->axes, a->axis);
    return ix_axis(&s->l->g->ix, a->axis);
  }
  if (w->open.len && !str_eq(w->open, e->name)) {
    scope_error(s, DIAG_size_unknown, e->at,
                "the sizes of %.*s and %.*s are both open; give one of them: (%.*s = 3)",
                STR_FMT(w->open), STR_FMT(e->name), STR_FMT(e->name));
    return 0;
  }
  w->open = e->name;
  w->open_at = e->at;
  set_add(&w->axes, UNSIZED);
  return unknown_symbol(s);
}

static ix coordinate(window *w, const expr *e) {
  scope *s = w->s;
  ix_pool *pool = &s->l->g->ix;
  ix a, b;
  int64_t divisor;
  switch (e->kind) {
    case EXPR_POISON: s->l->errors++; return 0;
    case EXPR_INT: return size_of_expr(s, e, &a) ? a : 0;
    case EXPR_NAME: case EXPR_NAMED: return coordinate_name(w, e);
    case EXPR_UNARY:
      if (e->op != TOK_MINUS || !(a = coordinate(w, e->args[0]))) break;
      return ix_scale(pool, a, -1);
    case EXPR_BINARY:
      if (!(a = coordinate(w, e->args[0])) || !(b = coordinate(w, e->args[1]))) return 0;
      if (e->op == TOK_PLUS) return ix_add(pool, a, b);
      if (e->op == TOK_MINUS) return ix_sub(pool, a, b);
      if (e->op == TOK_STAR && (ix_is_size(pool, a) || ix_is_size(pool, b)))
        return ix_mul(pool, a, b);
      if (!ix_is_const(pool, b, &divisor) || divisor <= 0) break;
      if (e->op == TOK_SLASH) return ix_div(pool, a, b);
      if (e->op == TOK_PERCENT) return ix_mod(pool, a, b);
      break;
    default: break;
  }
  view_error(s, e->at, "a window is made of axes, sizes, + - *, and / % by a positive number");
  return 0;
}

static bool contains_unknown(const ix_pool *p, ix e, ix unknown) {
  const ix_node *n = ix_get(p, e);
  if (e == unknown) return true;
  if (n->kind == IX_DIV || n->kind == IX_MOD)
    return contains_unknown(p, n->a, unknown) || contains_unknown(p, n->b, unknown);
  for (int i = 0; n->kind == IX_SUM && i < n->nterms; i++)
    for (int k = 0; k < n->terms[i].natoms; k++)
      if (contains_unknown(p, n->terms[i].atoms[k], unknown)) return true;
  return false;
}

/// e = coef * unknown + rest; false when it is not of that form with a constant coef.
static bool split_unknown(ix_pool *p, ix e, ix unknown, int64_t *coef, ix *rest) {
  const ix_node *n = ix_get(p, e);
  *coef = e == unknown ? 1 : 0;
  for (int i = 0; n->kind == IX_SUM && i < n->nterms; i++)
    if (n->terms[i].natoms == 1 && n->terms[i].atoms[0] == unknown) *coef = n->terms[i].coef;
  *rest = ix_sub(p, e, ix_scale(p, unknown, *coef));
  return *coef != 0 && !contains_unknown(p, *rest, unknown);
}

/// The largest (or smallest) value of an expression affine in its axes, as a size; 0: not affine.
static ix extreme(scope *s, ix e, const axis_set *axes, bool largest) {
  ix_pool *pool = &s->l->g->ix;
  for (int i = 0; i < axes->n; i++) {
    ix coef, rest;
    if (axes->axes[i] == UNSIZED || !ix_uses_axis(pool, e, axes->axes[i])) continue;
    if (!ix_affine(pool, e, axes->axes[i], &coef, &rest)) return 0;
    ix_range sign = ix_bounds(pool, coef);
    if (sign.min < 0 && sign.max > 0) return 0;
    ix last = ix_sub(pool, graph_axis_size(s->l->g, axes->axes[i]), ix_const(pool, 1));
    bool at_last = (sign.min >= 0) == largest;
    e = at_last ? ix_add(pool, rest, ix_mul(pool, coef, last)) : rest;
  }
  return e;
}

/// The number of positions of the open axis for which the coordinate stays within the source, which
/// it leaves at the end (*towards > 0) or at the beginning.
static ix open_size(scope *s, window *w, ix e, span at, int *towards) {
  ix_pool *pool = &s->l->g->ix;
  int64_t coef, v;
  ix rest, most, least, one = ix_const(pool, 1), size;
  bool affine = split_unknown(pool, e, unknown_symbol(s), &coef, &rest) &&
                (most = extreme(s, rest, &w->axes, true)) &&
                (least = extreme(s, rest, &w->axes, false));
  if (!affine) {
    scope_error(s, DIAG_size_unknown, at, "the size of %.*s does not follow from this window; give "
                "it: (%.*s = 8)", STR_FMT(w->open), STR_FMT(w->open));
    return 0;
  }
  *towards = coef > 0 ? 1 : -1;
  ix room = coef > 0 ? ix_sub(pool, ix_sub(pool, w->source_size, one), most) : least;
  ix step = ix_const(pool, coef < 0 ? -coef : coef);
  size = ix_add(pool, ix_div(pool, room, step), one);
  if (!ix_is_const(pool, size, &v) || v >= 0) return size;
  scope_error(s, DIAG_out_of_range, at, "the window is larger than the axis %.*s of size %.*s",
              STR_FMT(w->source), STR_FMT(size_text(s, w->source_size)));
  return 0;
}

/// Every coordinate is in the source: for all positions of all axes. An axis sized by this window
/// with positive steps (`sized` > 0) ends where the source does, with negative ones where it begins.
static bool window_fits(scope *s, const window *w, ix e, span at, int sized) {
  ix_pool *pool = &s->l->g->ix;
  ix zero = ix_const(pool, 0), last = ix_sub(pool, w->source_size, ix_const(pool, 1));
  ix least = extreme(s, e, &w->axes, false), most = extreme(s, e, &w->axes, true);
  bool low = sized < 0 || ix_known_le(pool, zero, e) || (least && assume_le(s, zero, least));
  bool high = sized > 0 || ix_known_le(pool, e, last) || (most && assume_le(s, most, last));
  if (low && high) return true;
  diag *d = scope_error(s, DIAG_not_provable, at,
                        "this window is not known to stay within the axis %.*s of size %.*s",
                        STR_FMT(w->source), STR_FMT(size_text(s, w->source_size)));
  if (least && !low)
    scope_note(s, d, at, "it begins at %.*s; pad the axis first", STR_FMT(size_text(s, least)));
  if (most && !high)
    scope_note(s, d, at, "it reaches %.*s", STR_FMT(size_text(s, most)));
  return false;
}

static bool lower_window(scope *s, plan *p, int k, str source, const expr *to) {
  window w = {.s = s, .source = source, .source_size = source_size(s, p, k)};
  ix e = coordinate(&w, to);
  if (!e) return false;
  int sized = 0;
  if (w.open.len > 0) {
    ix size = open_size(s, &w, e, to->at, &sized);
    int axis = size ? define_axis(s, w.open, w.open_at, size) : -1;
    if (axis < 0) return false;
    w = (window){.s = s, .source = source, .source_size = source_size(s, p, k)};
    if (!(e = coordinate(&w, to))) return false;
  }
  if (!w.axes.n)
    return view_error(s, to->at, "no axis here; to take one element write D = 3"), false;
  if (!window_fits(s, &w, e, to->at, sized)) return false;
  p->made[k] = w.axes;
  p->index[k] = e;
  return true;
}

// ---- items

static bool lower_arrow(scope *s, plan *p, const expr *e) {
  const expr *from = e->args[0], *to = e->args[1];
  p->changed = true;
  if (from->kind == EXPR_POISON || to->kind == EXPR_POISON) return s->l->errors++, false;
  if (from->kind == EXPR_TUPLE) return lower_merge(s, p, from, to);
  if (from->kind != EXPR_NAME) {
    view_error(s, from->at, "an axis name, or several in parentheses, is needed here");
    return false;
  }
  int k = source_axis(s, p, from->name, from->at);
  if (k < 0) return false;
  bool names = to->kind == EXPR_NAME || to->kind == EXPR_NAMED || to->kind == EXPR_TUPLE;
  return names ? lower_split(s, p, k, to) : lower_window(s, p, k, from->name, to);
}

static bool lower_item(scope *s, plan *p, const expr *e) {
  if (e->kind == EXPR_POISON) return s->l->errors++, false;
  if (e->kind == EXPR_ARROW) return lower_arrow(s, p, e);
  if (e->kind == EXPR_NAMED || e->kind == EXPR_SLICE) {
    int k = source_axis(s, p, e->name, e->name_at);
    if (k < 0) return false;
    return e->kind == EXPR_SLICE ? lower_slice(s, p, k, e) : lower_select(s, p, k, e);
  }
  diag *d = scope_error(s, DIAG_view_form, e->at,
                        "a view names an axis: x[S -> T], x[D = 3], x[D = 2:10 -> E]");
  if (p->n->naxes == 1)
    scope_fixit(s, d, (span){e->at.file, e->at.begin, e->at.begin}, "%.*s = ",
                STR_FMT(axis_text(s, p->n->axes[0])));
  return false;
}

static node *build_view(scope *s, plan *p, const expr *e) {
  ix_pool *pool = &s->l->g->ix;
  axis_set axes = {.n = 0};
  for (int k = 0; k < p->n->naxes; k++) {
    axis_set own = {.axes = {p->n->axes[k]}, .n = 1};
    const axis_set *made = p->index[k] ? &p->made[k] : &own;
    if (!p->index[k]) p->index[k] = ix_axis(pool, p->n->axes[k]);
    for (int i = 0; i < made->n; i++) {
      if (set_has(&axes, made->axes[i])) {
        scope_error(s, DIAG_duplicate_axis, e->op_at,
                    "the result would have the axis %.*s twice; give one of them another name",
                    STR_FMT(axis_text(s, made->axes[i])));
        return NULL;
      }
      set_add(&axes, made->axes[i]);
    }
  }
  if (!check_axis_count(s, &axes, e->op_at)) return NULL;
  return graph_view(s->l->g, p->n, p->index, axes.axes, axes.n);
}

static node *build_gathers(scope *s, plan *p, node *n, const expr *e) {
  for (int i = 0; i < p->gathers.len; i++) {
    const gather_item *item = &p->gathers.data[i];
    axis_set axes = {.n = 0};
    for (int k = 0; k < n->naxes; k++)
      if (n->axes[k] != item->axis) set_add(&axes, n->axes[k]);
    for (int k = 0; k < item->indices->naxes; k++) set_add(&axes, item->indices->axes[k]);
    if (!check_axis_count(s, &axes, e->op_at)) return NULL;
    n = graph_gather(s->l->g, n, item->axis, item->indices);
    n->at = stamp_span(s, item->at);
    s->l->stamped = s->l->g->nodes.len;
    if (s->l->p->options->unchecked) n->flags |= NODE_UNCHECKED;
  }
  return n;
}

value lower_view(scope *s, const expr *e) {
  value v = lower_expr(s, e->args[0]);
  node *n = is_poison(v) ? NULL : need_node(s, v);
  if (!n) return poison_at(e->at);
  if (e->nargs == 1) return view_error(s, e->op_at, "empty brackets");
  plan *p = arena_new(s->l->arena, plan);
  *p = (plan){.n = n, .n_at = v.at};
  bool fine = true;
  for (int i = 1; i < e->nargs; i++) fine = lower_item(s, p, e->args[i]) && fine;
  if (!fine) return poison_at(e->at);
  if (p->changed) n = build_view(s, p, e);
  if (n && p->changed) n->at = stamp_span(s, e->at);
  if (n) n = build_gathers(s, p, n, e);
  return n ? node_value(n, e->at) : poison_at(e->at);
}
