// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Shared by gen.c and the makers of statements in gen_map.c, gen_reduce.c, gen_view.c,
// gen_smooth.c.
#pragma once
#include "tests/fuzz/gen.h"

typedef struct maker {
  gen_program *p;
  uint64_t state;  // of the random numbers
  int base_axes;   // the first axes are those of the parameters
  // What statements are about for a while, so that rare cases meet what is hard about them: a value
  // that does not vary along an axis, an axis of no or of one element. -1: none.
  int focus, focus_axis;
} maker;

int pick(maker *m, int n);
bool chance(maker *m, int percent);
int pick_value(maker *m);
int pick_axis(maker *m, const gen_value *v);  // one of its axes, which it has
/// A value that fits, or -1.
int pick_where(maker *m, bool (*fits)(const gen_value *));

bool is_arith_float(const gen_value *v);  // f32 or f64, exact enough to go on with
bool is_exact_float(const gen_value *v);
bool is_small_float(const gen_value *v);  // any float type
bool is_integer(const gen_value *v);
bool is_bool(const gen_value *v);
bool is_any(const gen_value *v);
bool has_axes(const gen_value *v);
bool value_has_axis(const gen_value *v, int axis);
double integer_limit(gen_type t);
double type_eps(gen_type t);  // what one rounding may move, with a margin of two

gen_value *add_value(maker *m, gen_type t);
bool finish_value(maker *m, gen_value *v);
/// A new axis, or -1 when there are too many.
int new_axis(maker *m, int size, bool symbolic);
bool unite_axes(const gen_value *a, const gen_value *b, gen_value *out);

/// A new value of the type over up to three operands (-1: none); its axes are still to be set.
gen_value *start_value(maker *m, gen_type t, const char *text, int a, int b, int c);
void copy_axes(gen_value *v, const gen_value *from);
/// A value to go with a in one operation, or -1.
int pick_partner(maker *m, int a, bool (*fits)(const gen_value *));
/// v gets the axes of x but one; false when x does not have that one.
bool without_axis(const gen_value *x, int axis, gen_value *v);

// Makers: one statement or a small group each; false when the draw did not fit.
// gen_map.c
bool make_unary(maker *m);
bool make_binary(maker *m);
bool make_square(maker *m);
bool make_integer(maker *m);
bool make_compare(maker *m);
bool make_logic(maker *m);
bool make_where(maker *m);
bool make_index_mask(maker *m);
bool make_cast(maker *m);
bool make_index(maker *m);
bool make_constant(maker *m);
// gen_reduce.c
bool make_reduce(maker *m);
bool make_bool_reduce(maker *m);
bool make_arg(maker *m);
bool make_softmax(maker *m);
bool make_norm(maker *m);
bool make_dot(maker *m);
bool make_cumsum(maker *m);
bool make_affine(maker *m);
bool make_attention(maker *m);
// gen_view.c
bool make_view(maker *m);
bool make_gather(maker *m);
bool make_scatter(maker *m);
bool make_pad(maker *m);
bool make_concat(maker *m);
bool make_reorder(maker *m);
// gen_smooth.c
bool make_domain(maker *m);
bool make_power(maker *m);
bool make_scan(maker *m);
bool make_stop(maker *m);

/// One of them by chance.
bool make_statement(maker *m);
