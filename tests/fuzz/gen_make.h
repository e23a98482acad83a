// Shared by gen.c and the makers of statements in gen_make.c.
#pragma once
#include "tests/fuzz/gen.h"

typedef struct maker {
  gen_program *p;
  uint64_t state;  // of the random numbers
  int base_axes;   // the first axes are those of the parameters
} maker;

int pick(maker *m, int n);
bool chance(maker *m, int percent);
int pick_value(maker *m);
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

/// Adds one statement or a small group; false when the draw did not fit.
bool make_statement(maker *m);
