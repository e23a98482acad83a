// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reverse-mode derivatives of a graph, as ordinary nodes of it. See docs/gradients.md.
//
// The cotangent of a value n is the derivative of y for n: a value with some of the axes of n (it is
// constant along those that it lacks) and the further axes of the seed. Elementwise rows of the table
// ir/derivatives.def have formulas, the other classes a rule each. Griewank and Walther, "Evaluating
// Derivatives", 2nd ed., chapter 3.
#pragma once
#include "ir/graph.h"

typedef enum grad_kind { GRAD_PARTIALS, GRAD_RULE, GRAD_FLAT, GRAD_CONSTANT, GRAD_NONE } grad_kind;

/// A row of ir/derivatives.def.
typedef struct grad_row {
  grad_kind kind;
  const char *partials[3];  // GRAD_PARTIALS: by operand; "": none
} grad_row;
const grad_row *grad_row_of(op o);

/// A derivative that the program gives for a node, as a function of these nodes before it, whatever
/// lies between.
typedef struct grad_custom grad_custom;
struct grad_custom {
  int n;
  node **of;
};

typedef struct grad_options {
  bool exact;  // no rounding of cotangents to 16-bit types
  /// Asked for calls, and for nodes with the flag NODE_CUSTOM; null: it has none.
  const grad_custom *(*custom)(void *ctx, const node *n);
  /// What the cotangent g of n gives to each: values with their axes, or null. False: an error was
  /// reported.
  bool (*apply)(void *ctx, node *n, node *g, node **gives);
  void *ctx;
  span at;  // of the call of grad, where there is one
} grad_options;

typedef struct grad_result {
  node **dx;           // by x: with its axes in its order, then those of the seed; f32 or f64
  bool *reached;       // by x: y depends on it
  bool *flat;          // by x: it would, but for ops that are flat (floor, sign)
  const node *failed;  // a node on the way without a derivative; null none
  int axes;            // it has one, of so many axes that no value may have
  bool reported;       // it failed, and options.apply gave the error
} grad_result;

/// The type of cotangents of values of type t: f64 of f64, else f32.
dtype grad_type(dtype t);

/// Makes streamed blocks of the derivatives of streamed blocks, when all of g is there. Drops what no output needs.
void graph_derive_streams(graph *g);

/// Adds to g the derivatives of y for each x (floats; any nodes of g), all other ways to y held open.
/// seed: the cotangent of y: axes of y, or some of them, and further ones, which no x has; null, where
/// y has no axes: 1. A cotangent of a 16-bit value is rounded to its type where the graph rounds the
/// value, but not that of an x. New nodes take the positions of those that they come from, and are of
/// a phase above those of y and x. False where a node on the way has no derivative: then g has nodes
/// that nothing uses.
bool graph_grad(graph *g, node *y, node *const *x, int nx, node *seed, const grad_options *options,
                grad_result *out);

/// The same for the derivative of the sum of all y, each times its seed, which has axes of its y only.
bool graph_grad_of_all(graph *g, node *const *y, node *const *seeds, int ny, node *const *x, int nx,
                       const grad_options *options, grad_result *out);

// ---- grad_joint.c

/// "d_out": what the seed of a result, or the gradient for a parameter, is called.
str graph_derivative_name(arena *a, str of);
/// Makes of a function, whose outputs are there, one that has its backward part too: behind its params
/// a seed for each float output, behind its outputs the gradients for x, which are params. No param or
/// output has one of these names. False as graph_grad().
bool graph_add_backward(graph *g, node *const *x, int nx, const grad_options *options,
                        grad_result *out);
