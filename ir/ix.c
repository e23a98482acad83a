// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index expressions: the pool, the normal form of sums of products, and substitution.
//
//   (H*64 + K) + 2*(K + 1)   ->   H*64 + K*3 + 2
//
// Division and modulo are folded in ir/ix_div.c, ranges are in ir/ix_range.c, text in ir/ix_text.c.
#include "ir/ix.h"

#include "base/fault.h"
#include "ir/ix_terms.h"

// ---- the pool

static ix intern(ix_pool *p, const ix_node *n, str key) {
  void *found = map_get(&p->by_key, key);
  if (found) return (ix)(uintptr_t)found;
  ix e = (ix)p->nodes.len;
  vec_push(p->arena, &p->nodes, *n);
  map_put(p->arena, &p->by_key, key, (void *)(uintptr_t)e);
  return e;
}

void ix_init(ix_pool *p, arena *a) {
  *p = (ix_pool){.arena = a};
  vec_push(a, &p->nodes, (ix_node){IX_NONE});
}

const ix_node *ix_get(const ix_pool *p, ix e) {
  check(e > 0 && (int)e < p->nodes.len);
  return &p->nodes.data[e];
}

ix ix_const(ix_pool *p, int64_t v) {
  struct {
    int64_t kind, value;
  } key = {IX_CONST, v};
  return intern(p, &(ix_node){.kind = IX_CONST, .value = v}, MAP_KEY(key));
}

ix ix_sym(ix_pool *p, str name) {
  check(name.len > 0 && name.len < 256);
  char key[256 + 1] = {IX_SYM};
  memcpy(key + 1, name.ptr, (size_t)name.len);
  str k = {key, name.len + 1};
  void *found = map_get(&p->by_key, k);
  if (found) return (ix)(uintptr_t)found;
  return intern(p, &(ix_node){.kind = IX_SYM, .name = str_dup(p->arena, name)}, k);
}

ix ix_axis(ix_pool *p, int axis) {
  check(axis >= 0);
  struct {
    int64_t kind, axis;
  } key = {IX_AXIS, axis};
  return intern(p, &(ix_node){.kind = IX_AXIS, .value = axis}, MAP_KEY(key));
}

ix ix_intern_quotient(ix_pool *p, ix_kind kind, ix a, ix b) {
  struct {
    int64_t kind;
    ix a, b;
  } key = {kind, a, b};
  return intern(p, &(ix_node){.kind = kind, .a = a, .b = b}, MAP_KEY(key));
}

// ---- recent results

// There are pools for each kernel, most of them small.
enum { FEW_SLOTS = 16, MOST_SLOTS = 512, FEW_NODES = 32 };

static ix_memo *memo_slot(ix_pool *p, char kind, ix a, ix b) {
  int slots = p->nodes.len > FEW_NODES ? MOST_SLOTS : FEW_SLOTS;
  if (slots > p->memo_slots) {
    p->memo = arena_array(p->arena, ix_memo, slots);
    p->memo_slots = slots;
  }
  uint32_t hash = (a * 0x9E3779B1u) ^ (b * 0x85EBCA77u) ^ (uint32_t)kind * 0xC2B2AE3Du;
  return &p->memo[(hash >> 23) % (uint32_t)p->memo_slots];
}

ix ix_recall(ix_pool *p, char kind, ix a, ix b) {
  const ix_memo *slot = memo_slot(p, kind, a, b);
  return slot->kind == kind && slot->a == a && slot->b == b ? slot->result : 0;
}

ix ix_remember(ix_pool *p, char kind, ix a, ix b, ix result) {
  // Recalled later, a result that grew out of bounds would come without its flag.
  if (!p->overflow) *memo_slot(p, kind, a, b) = (ix_memo){kind, a, b, result};
  return result;
}

/// Results depend on ranges.
static void forget(ix_pool *p) {
  if (p->memo) memset(p->memo, 0, sizeof(ix_memo) * (size_t)p->memo_slots);
}

// ---- what is known from outside

void ix_set_axis(ix_pool *p, int axis, ix size) {
  forget(p);
  while (p->axis_size.len <= axis) vec_push(p->arena, &p->axis_size, 0);
  p->axis_size.data[axis] = size;
}

ix_fact *ix_fact_of(ix_pool *p, str symbol) {
  forget(p);
  ix_fact *fact = map_get(&p->facts, symbol);
  if (fact) return fact;
  fact = arena_new(p->arena, ix_fact);
  *fact = (ix_fact){.min = 0, .max = INT64_MAX, .multiple_of = 1};
  map_put(p->arena, &p->facts, symbol, fact);
  return fact;
}

const ix_fact *ix_find_fact(const ix_pool *p, str symbol) { return map_get(&p->facts, symbol); }

void ix_copy_pool(ix_pool *to, const ix_pool *p) {
  arena *a = to->arena;
  check(to->nodes.len == 1);
  for (int e = 1; e < p->nodes.len; e++) {
    ix_node n = p->nodes.data[e];
    if (n.kind == IX_SYM) n.name = str_dup(a, n.name);
    if (n.kind == IX_SUM) {
      ix_term *terms = arena_copy(a, n.terms, sizeof(ix_term) * (size_t)n.nterms);
      for (int k = 0; k < n.nterms; k++)
        terms[k].atoms = arena_copy(a, terms[k].atoms, sizeof(ix) * (size_t)terms[k].natoms);
      n.terms = terms;
    }
    vec_push(a, &to->nodes, n);
  }
  for (int k = 0; k < p->by_key.len; k++)
    map_put(a, &to->by_key, p->by_key.entries[k].key, p->by_key.entries[k].value);
  for (int k = 0; k < p->axis_size.len; k++) ix_set_axis(to, k, p->axis_size.data[k]);
  for (int k = 0; k < p->facts.len; k++)
    *ix_fact_of(to, p->facts.entries[k].key) = *(const ix_fact *)p->facts.entries[k].value;
  to->overflow = p->overflow;
}

// ---- term lists

ix_poly ix_poly_of(ix_pool *p, ix e) {
  ix_poly poly = {0};
  ix_node n = *ix_get(p, e);
  if (n.kind == IX_SUM) {
    for (int k = 0; k < n.nterms; k++) vec_push(p->arena, &poly, n.terms[k]);
  } else if (n.kind == IX_CONST) {
    if (n.value) vec_push(p->arena, &poly, (ix_term){.coef = n.value});
  } else {
    ix *atom = arena_copy(p->arena, &e, sizeof e);
    vec_push(p->arena, &poly, (ix_term){.coef = 1, .natoms = 1, .atoms = atom});
  }
  return poly;
}

/// By atoms; the constant term comes last.
static int term_cmp(const ix_term *a, const ix_term *b) {
  if (!a->natoms != !b->natoms) return a->natoms ? -1 : 1;
  for (int k = 0; k < a->natoms && k < b->natoms; k++)
    if (a->atoms[k] != b->atoms[k]) return a->atoms[k] < b->atoms[k] ? -1 : 1;
  return a->natoms - b->natoms;
}

bool ix_term_same_atoms(const ix_term *a, const ix_term *b) { return term_cmp(a, b) == 0; }

static int64_t add_checked(ix_pool *p, int64_t a, int64_t b) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) p->overflow = true;
  return sum;
}

int64_t ix_mul_checked(ix_pool *p, int64_t a, int64_t b) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product)) p->overflow = true;
  return product;
}

void ix_poly_add_term(ix_pool *p, ix_poly *poly, ix_term t) {
  int at = 0;
  while (at < poly->len && term_cmp(&poly->data[at], &t) < 0) at++;
  if (at < poly->len && ix_term_same_atoms(&poly->data[at], &t)) {
    poly->data[at].coef = add_checked(p, poly->data[at].coef, t.coef);
    if (poly->data[at].coef) return;
    memmove(poly->data + at, poly->data + at + 1, sizeof(ix_term) * (size_t)(poly->len - at - 1));
    poly->len--;
    return;
  }
  if (!t.coef) return;
  if (poly->len >= IX_MOST_TERMS) {
    p->overflow = true;
    return;
  }
  vec_push(p->arena, poly, t);
  memmove(poly->data + at + 1, poly->data + at, sizeof(ix_term) * (size_t)(poly->len - at - 1));
  poly->data[at] = t;
}

void ix_poly_add(ix_pool *p, ix_poly *poly, ix e, int64_t by) {
  ix_poly more = ix_poly_of(p, e);
  for (int k = 0; k < more.len; k++) {
    ix_term t = more.data[k];
    t.coef = ix_mul_checked(p, t.coef, by);
    ix_poly_add_term(p, poly, t);
  }
}

ix_term ix_term_mul(ix_pool *p, const ix_term *a, const ix_term *b) {
  ix_term t = {.coef = ix_mul_checked(p, a->coef, b->coef), .natoms = a->natoms + b->natoms};
  if (t.natoms > IX_MOST_ATOMS) {
    p->overflow = true;
    return (ix_term){0};
  }
  ix *atoms = arena_array(p->arena, ix, t.natoms);
  int i = 0, j = 0;
  for (int k = 0; k < t.natoms; k++)
    atoms[k] = j == b->natoms || (i < a->natoms && a->atoms[i] <= b->atoms[j]) ? a->atoms[i++]
                                                                            : b->atoms[j++];
  t.atoms = atoms;
  return t;
}

bool ix_term_divide(ix_pool *p, const ix_term *t, const ix_term *by, ix_term *quotient) {
  if (by->coef == 0 || (by->coef == -1 && t->coef == INT64_MIN)) return false;
  if (t->coef % by->coef || t->natoms < by->natoms) return false;
  ix *left = arena_array(p->arena, ix, t->natoms);
  int n = 0, j = 0;
  for (int k = 0; k < t->natoms; k++)
    if (j < by->natoms && t->atoms[k] == by->atoms[j]) j++;
    else left[n++] = t->atoms[k];
  *quotient = (ix_term){t->coef / by->coef, n, left};
  return j == by->natoms;
}

static ix intern_sum(ix_pool *p, const ix_poly *poly) {
  if (poly->len == 0) return ix_const(p, 0);
  const ix_term *first = &poly->data[0];
  if (poly->len == 1 && first->natoms == 0) return ix_const(p, first->coef);
  if (poly->len == 1 && first->natoms == 1 && first->coef == 1) return first->atoms[0];
  strbuf key = sb_new(p->arena);
  sb_putc(&key, IX_SUM);
  for (int k = 0; k < poly->len; k++) {
    const ix_term *t = &poly->data[k];
    sb_put(&key, MAP_KEY(t->coef));
    sb_put(&key, MAP_KEY(t->natoms));
    sb_put(&key, (str){(const char *)t->atoms, (int)sizeof(ix) * t->natoms});
  }
  return intern(p, &(ix_node){.kind = IX_SUM, .nterms = poly->len, .terms = poly->data},
                sb_str(&key));
}

ix ix_poly_finish(ix_pool *p, ix_poly *poly) {
  while (ix_fold_quotients(p, poly)) continue;
  return intern_sum(p, poly);
}

// ---- arithmetic

ix ix_add(ix_pool *p, ix a, ix b) {
  ix known = ix_recall(p, '+', a, b);
  if (known) return known;
  ix_poly sum = ix_poly_of(p, a);
  ix_poly_add(p, &sum, b, 1);
  return ix_remember(p, '+', a, b, ix_poly_finish(p, &sum));
}

ix ix_sub(ix_pool *p, ix a, ix b) {
  ix known = ix_recall(p, '-', a, b);
  if (known) return known;
  ix_poly sum = ix_poly_of(p, a);
  ix_poly_add(p, &sum, b, -1);
  return ix_remember(p, '-', a, b, ix_poly_finish(p, &sum));
}

ix ix_scale(ix_pool *p, ix a, int64_t by) {
  ix_poly sum = {0};
  ix_poly_add(p, &sum, a, by);
  return ix_poly_finish(p, &sum);
}

ix ix_mul(ix_pool *p, ix a, ix b) {
  ix known = ix_recall(p, '*', a, b);
  if (known) return known;
  ix_poly x = ix_poly_of(p, a), y = ix_poly_of(p, b), product = {0};
  // What has grown out of bounds is no expression: its terms are not worth the time.
  for (int i = 0; i < x.len && !p->overflow; i++)
    for (int j = 0; j < y.len && !p->overflow; j++)
      ix_poly_add_term(p, &product, ix_term_mul(p, &x.data[i], &y.data[j]));
  return ix_remember(p, '*', a, b, ix_poly_finish(p, &product));
}

ix ix_from_term(ix_pool *p, ix_term t) {
  ix_poly poly = {0};
  ix_poly_add_term(p, &poly, t);
  return ix_poly_finish(p, &poly);
}

// ---- queries

bool ix_is_const(const ix_pool *p, ix e, int64_t *value) {
  const ix_node *n = ix_get(p, e);
  if (n->kind == IX_CONST && value) *value = n->value;
  return n->kind == IX_CONST;
}

bool ix_is_axis(const ix_pool *p, ix e, int *axis) {
  const ix_node *n = ix_get(p, e);
  if (n->kind == IX_AXIS && axis) *axis = (int)n->value;
  return n->kind == IX_AXIS;
}

static void mark_axes(const ix_pool *p, ix e, bool *used) {
  const ix_node *n = ix_get(p, e);
  switch (n->kind) {
    case IX_AXIS: used[n->value] = true; break;
    case IX_DIV:
    case IX_MOD:
      mark_axes(p, n->a, used);
      mark_axes(p, n->b, used);
      break;
    case IX_SUM:
      for (int k = 0; k < n->nterms; k++)
        for (int i = 0; i < n->terms[k].natoms; i++) mark_axes(p, n->terms[k].atoms[i], used);
      break;
    default: break;
  }
}

bool ix_uses_axis(const ix_pool *p, ix e, int axis) {
  const ix_node *n = ix_get(p, e);
  switch (n->kind) {
    case IX_AXIS: return axis < 0 || n->value == axis;
    case IX_DIV:
    case IX_MOD: return ix_uses_axis(p, n->a, axis) || ix_uses_axis(p, n->b, axis);
    case IX_SUM:
      for (int k = 0; k < n->nterms; k++)
        for (int i = 0; i < n->terms[k].natoms; i++)
          if (ix_uses_axis(p, n->terms[k].atoms[i], axis)) return true;
      return false;
    default: return false;
  }
}

bool ix_is_size(const ix_pool *p, ix e) { return !ix_uses_axis(p, e, -1); }

static int largest_axis(const ix_pool *p, ix e) {
  const ix_node *n = ix_get(p, e);
  int most = n->kind == IX_AXIS ? (int)n->value : -1, of;
  if (n->kind == IX_DIV || n->kind == IX_MOD) {
    if ((of = largest_axis(p, n->a)) > most) most = of;
    if ((of = largest_axis(p, n->b)) > most) most = of;
  }
  for (int k = 0; n->kind == IX_SUM && k < n->nterms; k++)
    for (int i = 0; i < n->terms[k].natoms; i++)
      if ((of = largest_axis(p, n->terms[k].atoms[i])) > most) most = of;
  return most;
}

void ix_axes(const ix_pool *p, ix e, void (*visit)(void *ctx, int axis), void *ctx) {
  int count = largest_axis(p, e) + 1;
  if (count == 0) return;
  bool *used = arena_array(p->arena, bool, count);
  mark_axes(p, e, used);
  for (int axis = 0; axis < count; axis++)
    if (used[axis]) visit(ctx, axis);
}

bool ix_linear(const ix_pool *p, ix size, str *symbol, int64_t *coef, int64_t *rest) {
  const ix_node *n = ix_get(p, size);
  *coef = 1, *rest = 0;
  if (n->kind == IX_SYM) return *symbol = n->name, true;
  if (n->kind != IX_SUM || n->nterms > 2 || n->terms[0].natoms != 1) return false;
  if (n->nterms == 2 && n->terms[1].natoms) return false;
  const ix_node *atom = ix_get(p, n->terms[0].atoms[0]);
  if (atom->kind != IX_SYM) return false;
  *symbol = atom->name;
  *coef = n->terms[0].coef;
  if (n->nterms == 2) *rest = n->terms[1].coef;
  return true;
}

bool ix_affine(ix_pool *p, ix e, int axis, ix *coef, ix *rest) {
  ix_poly poly = ix_poly_of(p, e), with = {0}, without = {0};
  ix atom = ix_axis(p, axis);
  ix_term unit = {.coef = 1, .natoms = 1, .atoms = &atom};
  for (int k = 0; k < poly.len; k++) {
    ix_term t = poly.data[k], quotient;
    if (!ix_term_divide(p, &t, &unit, &quotient)) {
      quotient = t;
      ix_poly_add_term(p, &without, t);
    } else {
      ix_poly_add_term(p, &with, quotient);
    }
    for (int i = 0; i < quotient.natoms; i++)
      if (ix_uses_axis(p, quotient.atoms[i], axis)) return false;
  }
  *coef = ix_poly_finish(p, &with);
  *rest = ix_poly_finish(p, &without);
  return true;
}

// ---- rebuilding

/// What replaces the leaves while an expression is rebuilt in pool `to`.
typedef struct rebuild {
  ix_pool *to;
  const ix_pool *from;
  const ix *by;
  int nby;
  bool (*value)(void *, str, int64_t *);
  void *ctx;
} rebuild;

static ix rebuild_expr(const rebuild *r, ix e);

static ix rebuild_leaf(const rebuild *r, const ix_node *n) {
  int64_t v;
  switch (n->kind) {
    case IX_CONST: return ix_const(r->to, n->value);
    case IX_SYM:
      if (r->value && r->value(r->ctx, n->name, &v)) return ix_const(r->to, v);
      return ix_sym(r->to, n->name);
    default:
      if (n->value < r->nby && r->by[n->value]) return r->by[n->value];
      return ix_axis(r->to, (int)n->value);
  }
}

static ix rebuild_sum(const rebuild *r, const ix_node *n) {
  ix_poly sum = {0};
  for (int k = 0; k < n->nterms; k++) {
    ix product = ix_const(r->to, n->terms[k].coef);
    for (int i = 0; i < n->terms[k].natoms; i++)
      product = ix_mul(r->to, product, rebuild_expr(r, n->terms[k].atoms[i]));
    ix_poly_add(r->to, &sum, product, 1);
  }
  return ix_poly_finish(r->to, &sum);
}

static ix rebuild_expr(const rebuild *r, ix e) {
  ix_node n = *ix_get(r->from, e);  // a copy: the pool may grow meanwhile
  switch (n.kind) {
    case IX_SUM: return rebuild_sum(r, &n);
    case IX_DIV:
    case IX_MOD: {
      ix a = rebuild_expr(r, n.a), b = rebuild_expr(r, n.b);
      return n.kind == IX_DIV ? ix_div(r->to, a, b) : ix_mod(r->to, a, b);
    }
    default: return rebuild_leaf(r, &n);
  }
}

ix ix_substitute(ix_pool *to, const ix_pool *p, ix e, const ix *by, int nby) {
  return rebuild_expr(&(rebuild){.to = to, .from = p, .by = by, .nby = nby}, e);
}

ix ix_bind(ix_pool *to, const ix_pool *p, ix e, bool (*value)(void *, str, int64_t *), void *ctx) {
  return rebuild_expr(&(rebuild){.to = to, .from = p, .value = value, .ctx = ctx}, e);
}

// ---- evaluation

static int64_t saturate_mul(int64_t a, int64_t b) {
  int64_t product;
  if (!__builtin_mul_overflow(a, b, &product)) return product;
  return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
}

static int64_t saturate_add(int64_t a, int64_t b) {
  int64_t sum;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return a < 0 ? INT64_MIN : INT64_MAX;
}

int64_t ix_gcd(int64_t a, int64_t b) {
  while (b) {
    int64_t r = b == -1 ? 0 : a % b;
    a = b;
    b = r;
  }
  return a < 0 ? -a : a;
}

int64_t ix_floor_div(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return a == INT64_MIN ? INT64_MAX : -a;
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

int64_t ix_floor_mod(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return 0;
  int64_t r = a % b;
  return r && (r < 0) != (b < 0) ? r + b : r;
}

int64_t ix_eval(const ix_pool *p, ix e, int64_t (*sym)(void *, str), int64_t (*axis)(void *, int),
                void *ctx) {
  const ix_node *n = ix_get(p, e);
  switch (n->kind) {
    case IX_CONST: return n->value;
    case IX_SYM: check(sym); return sym(ctx, n->name);
    case IX_AXIS: check(axis); return axis(ctx, (int)n->value);
    case IX_DIV:
      return ix_floor_div(ix_eval(p, n->a, sym, axis, ctx), ix_eval(p, n->b, sym, axis, ctx));
    case IX_MOD:
      return ix_floor_mod(ix_eval(p, n->a, sym, axis, ctx), ix_eval(p, n->b, sym, axis, ctx));
    default: break;
  }
  int64_t sum = 0;
  for (int k = 0; k < n->nterms; k++) {
    int64_t product = n->terms[k].coef;
    for (int i = 0; i < n->terms[k].natoms; i++)
      product = saturate_mul(product, ix_eval(p, n->terms[k].atoms[i], sym, axis, ctx));
    sum = saturate_add(sum, product);
  }
  return sum;
}
