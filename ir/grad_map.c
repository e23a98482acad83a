// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Expands the texts of ir/derivatives.def into nodes:
//
//   text   = sum [" if " sum]
//   sum    = term {("+" | "-") term}     term = factor {("*" | "/") factor}
//   factor = "-" factor | number | g a b c y | op "(" sum {"," sum} ")" | "(" sum ")"
//
// The texts are part of the program, so a fault in one is a panic; a test expands each.
#include <string.h>

#include "base/clocale.h"
#include "base/fault.h"
#include "ir/grad_rules.h"

typedef struct reader {
  gradient *d;
  const node *n;
  node *g;
  const char *at;
} reader;

static node *read_sum(reader *r);

static void skip_blanks(reader *r) {
  while (*r->at == ' ') r->at++;
}

static bool accept(reader *r, char c) {
  skip_blanks(r);
  if (*r->at != c) return false;
  r->at++;
  return true;
}

static node *read_op(reader *r, str name) {
  node *in[3];
  int nin = 0;
  op o;
  if (!op_parse(name, &o)) panic("a derivative uses %.*s", STR_FMT(name));
  do in[nin++] = read_sum(r);
  while (accept(r, ',') && nin < 3);
  check(accept(r, ')') && nin == op_get(o)->arity && op_is_map(o));
  dtype types[3], result;
  str why;
  for (int k = 0; k < nin; k++) types[k] = in[k]->type;
  check(op_result_type(o, types, nin, in[0]->type, &result, &why, r->d->g->arena));
  return graph_map(r->d->g, o, in, nin, result);
}

static node *read_name(reader *r) {
  const char *begin = r->at;
  while ((*r->at >= 'a' && *r->at <= 'z') || *r->at == '_' || (*r->at >= '0' && *r->at <= '9'))
    r->at++;
  str name = {begin, (int)(r->at - begin)};
  if (accept(r, '(')) return read_op(r, name);
  if (str_eqz(name, "g")) return r->g;
  if (str_eqz(name, "y")) return (node *)r->n;
  check(name.len == 1 && *begin >= 'a' && *begin - 'a' < r->n->nin);
  return r->n->in[*begin - 'a'];
}

static node *read_factor(reader *r) {
  skip_blanks(r);
  if (*r->at == '-' && !(r->at[1] >= '0' && r->at[1] <= '9')) {
    r->at++;
    return graph_unary(r->d->g, OP_neg, read_factor(r));
  }
  if (*r->at == '-' || (*r->at >= '0' && *r->at <= '9')) {
    char *end;
    double v = clocale_strtod(r->at, &end);
    r->at = end;
    return grad_number(r->d, v, r->g->type);
  }
  if (!accept(r, '(')) return read_name(r);
  node *v = read_sum(r);
  check(accept(r, ')'));
  return v;
}

static node *read_term(reader *r) {
  node *v = read_factor(r);
  for (;;) {
    op o = accept(r, '*') ? OP_mul : accept(r, '/') ? OP_div : OP_none;
    if (o == OP_none) return v;
    node *w = read_factor(r);
    v = graph_binary(r->d->g, o, v, w);
  }
}

static node *read_sum(reader *r) {
  node *v = read_term(r);
  for (;;) {
    op o = accept(r, '+') ? OP_add : accept(r, '-') ? OP_sub : OP_none;
    if (o == OP_none) return v;
    node *w = read_term(r);
    v = graph_binary(r->d->g, o, v, w);
  }
}

void grad_map(gradient *d, node *n, cotangent c) {
  const grad_row *row = grad_row_of(n->op);
  for (int k = 0; k < n->nin; k++) {
    if (!grad_wants(d, n, k) || !row->partials[k][0]) continue;
    reader r = {d, n, c.value, row->partials[k]};
    cotangent gives = {read_sum(&r), c.mask};
    skip_blanks(&r);
    if (!strncmp(r.at, "if ", 3)) {
      r.at += 3;
      node *kept = read_sum(&r);
      gives.mask = c.mask ? graph_binary(d->g, OP_and, c.mask, kept) : kept;
    }
    check(!*r.at);
    grad_give(d, n->in[k], gives, n->axes, n->naxes);
  }
}
