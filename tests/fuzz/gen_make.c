// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the makers of statements share, and the choice among them.
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/gen_make.h"

gen_value *start_value(maker *m, gen_type t, const char *text, int a, int b, int c) {
  gen_value *v = add_value(m, t);
  snprintf(v->text, sizeof v->text, "%s", text);
  int in[3] = {a, b, c};
  for (int i = 0; i < 3 && in[i] >= 0; i++) v->in[v->nin++] = in[i];
  return v;
}

void copy_axes(gen_value *v, const gen_value *from) {
  v->rank = from->rank;
  memcpy(v->axes, from->axes, sizeof from->axes);
}

typedef struct weighted_maker {
  bool (*make)(maker *);
  int weight;
} weighted_maker;

static const weighted_maker any[] = {
    {make_unary, 22}, {make_binary, 22}, {make_square, 4},  {make_integer, 6},
    {make_compare, 5}, {make_logic, 2},  {make_where, 6},   {make_index_mask, 4}, {make_cast, 10},
    {make_index, 3},   {make_constant, 5}, {make_reduce, 14}, {make_bool_reduce, 2}, {make_arg, 3},
    {make_softmax, 4}, {make_norm, 3},   {make_dot, 12},    {make_cumsum, 2},    {make_affine, 3},
    {make_attention, 5},
    {make_view, 12},   {make_gather, 5}, {make_scatter, 7}, {make_pad, 3},     {make_concat, 4},
    {make_reorder, 4}, {0}};

static const weighted_maker smooth[] = {
    {make_unary, 16}, {make_binary, 20}, {make_square, 4},  {make_integer, 1}, {make_compare, 4},
    {make_logic, 1},  {make_where, 6},   {make_index_mask, 5}, {make_index, 2}, {make_constant, 5},
    {make_reduce, 14}, {make_arg, 1}, {make_softmax, 4}, {make_norm, 3}, {make_dot, 12}, {make_cumsum, 3},
    {make_affine, 3}, {make_attention, 5}, {make_view, 14}, {make_gather, 6}, {make_scatter, 7},
    {make_pad, 5}, {make_concat, 5}, {make_reorder, 4}, {make_domain, 8}, {make_power, 5}, {make_scan, 4},
    {make_stop, 2}, {0}};

bool make_statement(maker *m) {
  const weighted_maker *makers = m->p->smooth ? smooth : any;
  int total = 0;
  for (int i = 0; makers[i].make; i++) total += makers[i].weight;
  int at = pick(m, total), which = 0;
  while (at >= makers[which].weight) at -= makers[which++].weight;
  if (m->p->nvalues >= GEN_VALUES - 6) return false;
  int axes = m->p->naxes;
  bool good = makers[which].make(m);
  if (!good) m->p->naxes = axes;
  return good;
}
