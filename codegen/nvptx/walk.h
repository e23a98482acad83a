// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the files of walks share: loop.c, branch.c, skew.c, turns.c.
#pragma once
#include "codegen/nvptx/pending.h"
#include "codegen/nvptx/pipeline.h"

typedef struct walk {
  const tstmt *s;
  bool early;  // starts up to 127 positions before 0
  ix start;
  int64_t length;  // known: >= 0
  lval dynamic;    // else the length, i32
  int64_t most;    // an upper bound of the steps, for the range of the counter
  ix last;     // reverse: the base of the first step in walking order, where it is known without
               // the length; 0: it is not
  bool whole;  // of a length that is not known: all steps are
  bool some;   // ... there is one at least
  bool one;    // one step, in which products that are under way stay so
  lval *carry;
  int ncarry;
  pipe *pipe;  // null: a plain loop
} walk;

/// Several steps in a row.
typedef struct counted {
  lval n;  // steps, i32
  bool maybe_none;
  bool whole;
  lval count;  // of the whole walk
  lval last;   // reverse: number of the last step
  int copies;  // steps per iteration; divides n
} counted;

/// A step of a walk, in walking order.
typedef struct walk_step {
  ix base;
  bool whole;
  lval index, count;
} walk_step;

/// By which a row's first vector may be misaligned.
enum { ALIGN_BYTES = 128 };

// ---- carried values: one register after the other
int carry_count(ngen *g, tval *const *values, int n);
/// Products under way that write them are waited for.
void carry_set(ngen *g, lval *carry, tval *const *values, int n);
/// The same for a loop of one step: they stay under way, for flight_name.
void carry_set_one(ngen *g, lval *carry, tval *const *values, int n);
void carry_get(ngen *g, const lval *carry, tval *const *values, int n);
/// Where two ways meet.
void carry_merge(ngen *g, lval *carry, int n, const lval *other, LLVMBasicBlockRef from,
                 LLVMBasicBlockRef other_from);

/// Scratch of reductions may be read until here and written by whoever comes next.
void settle_scratch(ngen *g);

/// Step `index` of a walk, which is `least` or more where it is no constant.
walk_step step_of(ngen *g, const walk *w, const counted *c, lval index, int least, bool whole);
/// The range that the step opens.
range step_range(ngen *g, const walk *w, const walk_step *s);

void run_step(ngen *g, walk *w, walk_step s);
void counted_loop(ngen *g, walk *w, counted c);

// ---- early.c
/// Where the walk starts instead of 0; 0 when it need not, or rows differ within a thread.
ix early_start(ngen *g, const tstmt *s, int64_t length);
/// The first step and the last ones with tests, those between without.
void early_walk(ngen *g, walk *w, ix start);

// ---- skew.c
/// The steps of the loop are made so that they overlap.
bool walk_overlaps(const ngen *g, const walk *w);
void skewed_loop(ngen *g, walk *w, counted c);

// ---- turns.c
/// Around a loop with turns, and around what a warpgroup issues in its turn.
void turns_begin(ngen *g, const tstmt *s);
void turns_end(ngen *g, const tstmt *s);
void turn_take(ngen *g, const tstmt *s);
void turn_give(ngen *g, const tstmt *s);
