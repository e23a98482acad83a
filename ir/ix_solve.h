// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Solving index equations: at which coordinates does a view read a given element?
//
//   v % 3 = c         v = q*3 + c              for all q < (V + 2)/3, which stays free
//   p*2 + r = c       r = s*2 + c % 2, p = c/2 - s      for all s < (R + 1)/2
//   a*8 + b = c       a = c / 8, b = c % 8
//   4 = c             a condition
//
// Every solution is found, and by one choice of the free unknowns only, so that a sum over these
// takes each once.
#pragma once
#include "ir/ix.h"

enum { IX_MOST_UNKNOWNS = 64 };

/// e = 0, or 0 <= e < below where that is given.
typedef struct ix_condition {
  ix e, below;
} ix_condition;

typedef struct ix_equation {
  ix e;            // = 0
  uint64_t fixed;  // unknowns that it must not be solved for, as bits
} ix_equation;

/// Axis k of the pool is a coordinate that is given, for k < ngiven, or unknown k - ngiven.
typedef struct ix_system {
  ix_pool pool;
  int ngiven;
  int nwanted;  // unknowns of the caller; the following ones were introduced
  int nunknown;
  ix size[IX_MOST_UNKNOWNS];
  ix value[IX_MOST_UNKNOWNS];  // 0: free, takes every value in [0, size)
  int like[IX_MOST_UNKNOWNS];  // the wanted unknown that it comes from
  vec(ix_condition) conditions;
  vec(ix_equation) pending;
  bool never;    // there is no solution, whatever the coordinates given
  bool guarded;  // some divisor is only known to be positive where no wanted axis is empty: there
                 // the values mean nothing
} ix_system;

/// An empty system with a pool of its own, which knows the facts of `from`.
void ix_system_init(ix_system *s, arena *a, const ix_pool *from);
/// The coordinate of an axis of this size (in the pool of the system): 0 where it is single. All
/// that are given come before those that are wanted.
ix ix_system_given(ix_system *s, ix size);
ix ix_system_wanted(ix_system *s, ix size);
void ix_system_equate(ix_system *s, ix a, ix b);
/// False: it does not know how. Else the values are over given coordinates and free unknowns, and
/// hold where the conditions do and every value is in [0, size); the latter is up to the caller
/// for what is wanted and among the conditions for the rest. Conditions that always hold are left
/// out.
bool ix_system_solve(ix_system *s);
