// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index expressions as text: the canonical printer and the parser of what it prints.
//
// Terms are ordered by what they look like, never by handle, so the text does not depend on the
// history of the pool: most factors first, large coefficients first, constants last.
#include <stdlib.h>

#include "ir/ix_terms.h"

// ---- printing

typedef struct printer {
  const ix_pool *pool;
  str (*axis_name)(void *, int);
  void *ctx;
  arena *scratch;
} printer;

static str print_expr(const printer *w, ix e);

static str print_operand(const printer *w, ix e) {
  const ix_node *n = ix_get(w->pool, e);
  bool plain = n->kind == IX_SYM || n->kind == IX_AXIS || (n->kind == IX_CONST && n->value >= 0);
  str text = print_expr(w, e);
  return plain ? text : str_printf(w->scratch, "(%.*s)", STR_FMT(text));
}

static str print_atom(const printer *w, ix e) {
  const ix_node *n = ix_get(w->pool, e);
  switch (n->kind) {
    case IX_SYM: return w->axis_name ? str_printf(w->scratch, "#%.*s", STR_FMT(n->name)) : n->name;
    case IX_AXIS:
      if (!w->axis_name) return str_printf(w->scratch, "?%d", (int)n->value);
      return w->axis_name(w->ctx, (int)n->value);
    default: {
      str a = print_operand(w, n->a), b = print_operand(w, n->b);
      return str_printf(w->scratch, "%.*s %c %.*s", STR_FMT(a), n->kind == IX_DIV ? '/' : '%',
                        STR_FMT(b));
    }
  }
}

static int compare_strs(const void *a, const void *b) {
  return str_cmp(*(const str *)a, *(const str *)b);
}

/// The factors of a term without its sign: "H*64", "(D / 4)*N*3".
static str print_product(const printer *w, const ix_term *t) {
  uint64_t size = t->coef < 0 ? -(uint64_t)t->coef : (uint64_t)t->coef;
  if (t->natoms == 1 && size == 1) return print_atom(w, t->atoms[0]);
  str *factors = arena_array(w->scratch, str, t->natoms + 1);
  for (int i = 0; i < t->natoms; i++) factors[i] = print_operand(w, t->atoms[i]);
  qsort(factors, (size_t)t->natoms, sizeof *factors, compare_strs);
  strbuf b = sb_new(w->scratch);
  for (int i = 0; i < t->natoms; i++) sb_printf(&b, "%s%.*s", i ? "*" : "", STR_FMT(factors[i]));
  if (size != 1 || t->natoms == 0)
    sb_printf(&b, "%s%llu", t->natoms ? "*" : "", (unsigned long long)size);
  return sb_str(&b);
}

typedef struct printed_term {
  const ix_term *term;
  str text;
} printed_term;

static int compare_terms(const void *a, const void *b) {
  const printed_term *x = a, *y = b;
  bool x_constant = !x->term->natoms, y_constant = !y->term->natoms;
  if ((x->term->coef < 0) != (y->term->coef < 0)) return x->term->coef < 0 ? 1 : -1;
  if (x_constant != y_constant) return x_constant ? 1 : -1;
  if (x->term->natoms != y->term->natoms) return y->term->natoms - x->term->natoms;
  // By size of the coefficient; of equal signs, so the comparison cannot overflow.
  if (x->term->coef != y->term->coef)
    return (x->term->coef > y->term->coef) == (x->term->coef > 0) ? -1 : 1;
  return str_cmp(x->text, y->text);
}

static str print_expr(const printer *w, ix e) {
  const ix_node *n = ix_get(w->pool, e);
  if (n->kind == IX_CONST) return str_printf(w->scratch, "%lld", (long long)n->value);
  if (n->kind != IX_SUM) return print_atom(w, e);
  printed_term *terms = arena_array(w->scratch, printed_term, n->nterms);
  for (int k = 0; k < n->nterms; k++)
    terms[k] = (printed_term){&n->terms[k], print_product(w, &n->terms[k])};
  qsort(terms, (size_t)n->nterms, sizeof *terms, compare_terms);
  strbuf b = sb_new(w->scratch);
  for (int k = 0; k < n->nterms; k++) {
    bool negative = terms[k].term->coef < 0;
    sb_puts(&b, k ? (negative ? " - " : " + ") : negative ? "-" : "");
    sb_put(&b, terms[k].text);
  }
  return sb_str(&b);
}

void ix_print(const ix_pool *p, ix e, str (*axis_name)(void *, int), void *ctx, strbuf *out) {
  sb_put(out, print_expr(&(printer){p, axis_name, ctx, out->arena}, e));
}

// ---- parsing

enum { DEEPEST = 100 };

typedef struct reader {
  ix_pool *pool;
  str text;
  int at, depth;
  ix (*resolve)(void *, str);
  void *ctx;
  const char *error;
} reader;

static ix read_sum(reader *r);

static ix fail(reader *r, const char *error) {
  if (!r->error) r->error = error;
  return 0;
}

static char peek(reader *r) {
  while (r->at < r->text.len && (r->text.ptr[r->at] == ' ' || r->text.ptr[r->at] == '\t')) r->at++;
  return r->at < r->text.len ? r->text.ptr[r->at] : 0;
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static str read_name(reader *r) {
  int begin = r->at;
  while (r->at < r->text.len) {
    char c = r->text.ptr[r->at];
    if (!is_letter(c) && !is_digit(c) && c != '.') break;
    r->at++;
  }
  return (str){r->text.ptr + begin, r->at - begin};
}

static ix read_number(reader *r) {
  int64_t v = 0;
  while (r->at < r->text.len && is_digit(r->text.ptr[r->at])) {
    int digit = r->text.ptr[r->at++] - '0';
    if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
      return fail(r, "the number is too large");
  }
  return ix_const(r->pool, v);
}

static ix read_primary(reader *r) {
  char c = peek(r);
  if (is_digit(c)) return read_number(r);
  bool symbol = c == '#';
  if (symbol) r->at++;
  if (symbol || is_letter(c)) {
    if (symbol && !(r->at < r->text.len && is_letter(r->text.ptr[r->at])))
      return fail(r, "expected the name of a size after '#'");
    str name = read_name(r);
    if (name.len >= 200) return fail(r, "the name is too long");
    if (symbol) return ix_sym(r->pool, name);
    ix e = r->resolve ? r->resolve(r->ctx, name) : 0;
    return e ? e : fail(r, "unknown name");
  }
  if (c != '(') return fail(r, "expected a number, a name or '('");
  if (++r->depth > DEEPEST) return fail(r, "too many parentheses");
  r->at++;
  ix e = read_sum(r);
  r->depth--;
  if (!e) return 0;
  if (peek(r) != ')') return fail(r, "expected ')'");
  r->at++;
  return e;
}

static ix read_product(reader *r) {
  ix e = read_primary(r);
  int64_t k;
  for (char c; e && ((c = peek(r)) == '*' || c == '/' || c == '%');) {
    if (r->pool->overflow) return fail(r, "the expression is too large");
    r->at++;
    ix b = read_primary(r);
    if (!b) return 0;
    if (c == '*') {
      e = ix_mul(r->pool, e, b);
      continue;
    }
    if (ix_is_const(r->pool, b, &k) && k <= 0) return fail(r, "a divisor must be positive");
    e = c == '/' ? ix_div(r->pool, e, b) : ix_mod(r->pool, e, b);
  }
  return e;
}

static ix read_sum(reader *r) {
  bool negative = peek(r) == '-';
  if (negative) r->at++;
  ix e = read_product(r);
  if (e && negative) e = ix_scale(r->pool, e, -1);
  for (char c; e && ((c = peek(r)) == '+' || c == '-');) {
    if (r->pool->overflow) return fail(r, "the expression is too large");
    r->at++;
    ix b = read_product(r);
    if (!b) return 0;
    e = c == '+' ? ix_add(r->pool, e, b) : ix_sub(r->pool, e, b);
  }
  return e;
}

ix ix_parse(ix_pool *p, str text, int *at, ix (*resolve)(void *, str), void *ctx,
            const char **error) {
  reader r = {.pool = p, .text = text, .at = *at, .resolve = resolve, .ctx = ctx};
  bool overflow = p->overflow;
  p->overflow = false;
  ix e = read_sum(&r);
  if (e && p->overflow) e = fail(&r, "the expression is too large");
  p->overflow = overflow;
  *at = r.at;
  if (!e) *error = r.error;
  return e;
}
