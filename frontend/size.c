// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sizes: what can be shown of them, and what is assumed of size symbols.
//
// A size is an index expression without coordinates. Two sizes are equal when their normal forms
// are. Where a bound or a multiple depends on one symbol only (x[D = 3] needs D >= 4), it becomes
// a fact of that symbol, which the caller is held to; anything else must be provable.
#include "frontend/lower.h"

str size_text(const scope *s, ix size) {
  strbuf b = sb_new(s->l->arena);
  ix_print(&s->l->g->ix, size, NULL, NULL, &b);
  return sb_str(&b);
}

str size_formula(const scope *s, ix size) {
  str text = size_text(s, size);
  strbuf b = sb_new(s->l->arena);
  int last = text.len;
  while (last > 0 && text.ptr[last - 1] >= '0' && text.ptr[last - 1] <= '9') last--;
  bool one_term = last > 1 && last < text.len && text.ptr[last - 1] == '*';
  for (int i = 0; i < text.len; i++) one_term = one_term && !strchr(" ()", text.ptr[i]);
  if (one_term) {
    sb_printf(&b, "%.*s * ", text.len - last, text.ptr + last);
    text.len = last - 1;
  }
  for (int i = 0; i < text.len; i++) sb_printf(&b, text.ptr[i] == '*' ? " %c " : "%c", text.ptr[i]);
  return sb_str(&b);
}

bool sizes_equal(scope *s, ix a, ix b) {
  ix_pool *p = &s->l->g->ix;
  int64_t difference;
  return a == b || (ix_is_const(p, ix_sub(p, a, b), &difference) && difference == 0);
}

// ---- facts

static ix_fact *fact_of(lowerer *l, str symbol) {
  ix_fact *kept = map_get(&l->facts, symbol);
  if (!kept) {
    kept = arena_new(l->arena, ix_fact);
    *kept = *ix_fact_of(&l->g->ix, symbol);
    map_put(l->arena, &l->facts, symbol, kept);
  }
  return kept;
}

static void store_fact(lowerer *l, str symbol, const ix_fact *f) {
  *ix_fact_of(&l->g->ix, symbol) = *f;
  l->assumed = true;
}

void restore_facts(lowerer *l) {
  for (int i = 0; i < l->facts.len; i++)
    *ix_fact_of(&l->g->ix, l->facts.entries[i].key) = *(ix_fact *)l->facts.entries[i].value;
}

/// ix_linear() with numbers that can be negated.
static bool linear_in_symbol(const ix_pool *p, ix e, str *symbol, int64_t *coef, int64_t *offset) {
  return ix_linear(p, e, symbol, coef, offset) && *coef != INT64_MIN && *offset != INT64_MIN;
}

static int64_t floor_div(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

bool assume_le(scope *s, ix a, ix b) {
  ix_pool *p = &s->l->g->ix;
  if (ix_known_le(p, a, b)) return true;
  str symbol;
  int64_t coef, offset;
  // coef * symbol + offset >= 0
  if (!linear_in_symbol(p, ix_sub(p, b, a), &symbol, &coef, &offset)) return false;
  ix_fact *f = fact_of(s->l, symbol), old = *f;
  if (coef > 0) {
    int64_t least = -floor_div(offset, coef);
    if (least > f->min) f->min = least;
  } else {
    int64_t most = floor_div(offset, -coef);
    if (most < f->max) f->max = most;
  }
  if (f->min > f->max) return *f = old, false;
  store_fact(s->l, symbol, f);
  return true;
}

bool assume_multiple(scope *s, ix a, ix by) {
  ix_pool *p = &s->l->g->ix;
  int64_t rest, k, coef, offset, multiple;
  str symbol;
  if (ix_is_const(p, ix_mod(p, a, by), &rest)) return rest == 0;
  if (!ix_is_const(p, by, &k) || k < 1) return false;
  if (!linear_in_symbol(p, a, &symbol, &coef, &offset) || offset) return false;
  ix_fact *f = fact_of(s->l, symbol);
  k /= gcd(coef < 0 ? -coef : coef, k);
  int64_t step = k / gcd(k, f->multiple_of);
  if (__builtin_mul_overflow(f->multiple_of, step, &multiple)) return false;
  f->multiple_of = multiple;
  store_fact(s->l, symbol, f);
  return true;
}

// ---- sizes in the program

bool size_is_possible(scope *s, ix size, span at) {
  int64_t v;
  if (!ix_is_const(&s->l->g->ix, size, &v) || (v >= 0 && v <= MAX_AXIS_SIZE)) return true;
  scope_error(s, DIAG_out_of_range, at, "an axis cannot have size %lld; sizes are from 0 to %lld",
              (long long)v, (long long)MAX_AXIS_SIZE);
  return false;
}

/// What makes an integer of the call a size: a parameter of a generic function that gets a number.
static void suggest_constant(scope *s, diag *d, const node *n) {
  if (n->op != OP_param || n->naxes || !dtype_is_int(n->type)) return;
  scope_note(
      s, d, s->f->name_at,
      "where `%.*s` is generic (x: real[N], or with `..`) and is called with a number for it, "
      "`%.*s` is a constant and can be a size; or take the size from an axis of a parameter",
      STR_FMT(s->f->name), STR_FMT(n->name));
}

bool size_of_value(scope *s, value v, ix *out) {
  if (is_poison(v)) return false;
  if (v.kind == VALUE_CONST && v.c->size) return *out = v.c->size, true;
  if (v.kind == VALUE_CONST && constant_beyond_sizes(v.c)) {
    whole size = v.c->as_int;
    scope_error(s, DIAG_out_of_range, v.at, "%s%llu is too large for a size; they are below 2^53",
                size < 0 ? "-" : "", (unsigned long long)(size < 0 ? -size : size));
    return false;
  }
  diag *d = scope_error(s, DIAG_not_a_size, v.at,
                        "this is not a size; sizes are made of integers and axes by + - * / %%");
  if (v.kind != VALUE_NODE) return false;
  scope_note(s, d, v.at, "it is %.*s, known only when the program runs",
             STR_FMT(node_text(s, v.n)));
  suggest_constant(s, d, v.n);
  return false;
}

bool size_of_expr(scope *s, const expr *e, ix *out) {
  return size_of_value(s, lower_expr(s, e), out);
}

typedef enum fact_kind { FACT_MULTIPLE, FACT_LE, FACT_OTHER } fact_kind;

/// a % b == 0, or a <= b.
typedef struct fact {
  fact_kind kind;
  ix a, b;
} fact;

static bool is_zero(const expr *e) { return e->kind == EXPR_INT && e->integer == 0; }

static bool read_fact(scope *s, const expr *e, fact *out) {
  ix_pool *p = &s->l->g->ix;
  *out = (fact){.kind = FACT_OTHER};
  if (e->kind != EXPR_BINARY) return true;
  const expr *left = e->args[0], *right = e->args[1];
  if (e->op == TOK_EQ && is_zero(right) && left->kind == EXPR_BINARY && left->op == TOK_PERCENT) {
    out->kind = FACT_MULTIPLE;
    return size_of_expr(s, left->args[0], &out->a) && size_of_expr(s, left->args[1], &out->b);
  }
  bool less = e->op == TOK_LE || e->op == TOK_LT, greater = e->op == TOK_GE || e->op == TOK_GT;
  if (!less && !greater) return true;
  out->kind = FACT_LE;
  if (!size_of_expr(s, less ? left : right, &out->a)) return false;
  if (!size_of_expr(s, less ? right : left, &out->b)) return false;
  if (e->op == TOK_LT || e->op == TOK_GT) out->a = ix_add(p, out->a, ix_const(p, 1));
  return true;
}

/// Kept are facts of one symbol and constants. What is said of several sizes has to follow from
/// their declarations.
static bool concerns_one_symbol(scope *s, const fact *f) {
  const ix_pool *p = &s->l->g->ix;
  str symbol;
  int64_t coef, offset, k;
  if (f->kind == FACT_MULTIPLE && !ix_is_const(p, f->b, &k)) return false;
  ix e = f->kind == FACT_MULTIPLE ? f->a : ix_sub(&s->l->g->ix, f->b, f->a);
  return ix_is_const(p, e, &k) || ix_linear(p, e, &symbol, &coef, &offset);
}

static void fact_error(scope *s, const expr *e, const fact *f) {
  scope *at = s->caller ? s->caller : s;
  bool one = concerns_one_symbol(s, f);
  const char *why = s->caller ? "is asked for" : one ? "cannot hold" : "is not known to hold";
  diag *d =
      scope_error(at, DIAG_fact_not_met, s->caller ? s->call_at : e->at,
                  "the fact %.*s %s; %.*s is not known to be %s %.*s",
                  STR_FMT(source_text(s, e->at)), why, STR_FMT(size_text(s, f->a)),
                  f->kind == FACT_LE ? "at most" : "a multiple of", STR_FMT(size_text(s, f->b)));
  if (s->caller) {
    scope_note(at, d, e->at, "`%.*s` asks for it", STR_FMT(s->f->name));
  } else if (!one && f->kind == FACT_MULTIPLE && ix_get(&s->l->g->ix, f->a)->kind == IX_SYM) {
    bool sym = ix_get(&s->l->g->ix, f->b)->kind == IX_SYM;
    scope_note(at, d, e->at,
               "a fact is of one size and constants; a size that is a product is declared as one: "
               "f32[%.*s = R * %s%.*s%s], where R is an axis of a parameter too",
               STR_FMT(size_text(s, f->a)), sym ? "" : "(", STR_FMT(size_formula(s, f->b)),
               sym ? "" : ")");
  } else if (!one) {
    scope_note(at, d, e->at, "a fact is of one size and constants: N >= 4, D %% 16 == 0");
  }
}

void lower_fact(scope *s, const expr *e) {
  fact f;
  if (e->kind == EXPR_POISON || !read_fact(s, e, &f)) return;
  if (f.kind == FACT_OTHER) {
    diag *d = scope_error(s, DIAG_fact_form, e->at,
                          "a fact on sizes is D %% 16 == 0 or a comparison by <= < >= >");
    if (e->kind == EXPR_BINARY && e->op == TOK_EQ)
      scope_note(s, d, e->at, "equal sizes are declared in the type: f32[D = 64], f32[D, E = D]");
    return;
  }
  bool holds = f.kind == FACT_LE ? assume_le(s, f.a, f.b) : assume_multiple(s, f.a, f.b);
  if (!holds) fact_error(s, e, &f);
}
