// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inside of the index expressions: sums of products under construction. Only ir/ix*.c use it.
#pragma once
#include "ir/ix.h"

enum { IX_MOST_TERMS = 256, IX_MOST_ATOMS = 32 };  // beyond: the pool's overflow flag

/// A sum: terms ordered by their atoms, no two alike, no zero coefficient, the constant last.
typedef vec(ix_term) ix_poly;

ix_poly ix_poly_of(ix_pool *p, ix e);  // a copy
void ix_poly_add_term(ix_pool *p, ix_poly *poly, ix_term t);
void ix_poly_add(ix_pool *p, ix_poly *poly, ix e, int64_t by);  // poly += by * e
/// Folds pairs of quotient and remainder and interns; the poly must not be used afterwards.
ix ix_poly_finish(ix_pool *p, ix_poly *poly);

ix ix_from_term(ix_pool *p, ix_term t);
ix_term ix_term_mul(ix_pool *p, const ix_term *a, const ix_term *b);
/// True with the quotient when t is a multiple of `by`.
bool ix_term_divide(ix_pool *p, const ix_term *t, const ix_term *by, ix_term *quotient);
bool ix_term_same_atoms(const ix_term *a, const ix_term *b);
int64_t ix_mul_checked(ix_pool *p, int64_t a, int64_t b);

int64_t ix_floor_div(int64_t a, int64_t b);
int64_t ix_floor_mod(int64_t a, int64_t b);

/// Recent results of binary operations, direct-mapped: passes ask for the same few again and
/// again, and folding a quotient takes microseconds. kind: an operator's character.
typedef struct ix_memo {
  char kind;
  ix a, b, result;
} ix_memo;
/// The result, or 0.
ix ix_recall(ix_pool *p, char kind, ix a, ix b);
/// Gives the result back.
ix ix_remember(ix_pool *p, char kind, ix a, ix b, ix result);

/// A node a / b or a % b as it is, without folding.
ix ix_intern_quotient(ix_pool *p, ix_kind kind, ix a, ix b);
/// One folding step such as x/k*k + x%k -> x; false when there is none (ir/ix_div.c).
bool ix_fold_quotients(ix_pool *p, ix_poly *poly);
