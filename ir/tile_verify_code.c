// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rule of tile IR that keeps compilation short: how much code a kernel asks for. A statement is
// as many instructions as a thread (or the CPU) has registers of it, times what loops around it are
// unrolled by:
//
//   threads 256; layout { D:1024 = r4 t256@1 }    %5 = exp %4 : f32[N:4, D:1024]     16
//   threads 256; no layout                        the same                           4096
//
// Long kernels may be long; a few statements may not be.
#include <stdarg.h>

#include "ir/tile_verify.h"
#include "ir/units.h"

enum {
  MOST_REGISTERS = 1024,  // of a value in one thread of a GPU, which has 255
  MOST_COPIES = 2048,     // of one statement
  MOST_CODE = 1 << 14,    // of a kernel, besides
  CODE_EACH = 64,         // so much for each statement
  // By the cost column of ops.def, of what loops are unrolled by: the time that LLVM takes for long
  // straight code grows faster than the code.
  MOST_UNROLLED = 1 << 13,      // of one statement
  MOST_ALL_UNROLLED = 1 << 15,  // of a kernel
};

typedef struct sizes {
  const kernel *k;
  arena *arena;
  tile_complain *complain;
  void *ctx;
  int *extent;    // by axis: of the current range; 0 closed
  int layout;     // in force
  int vec_axis;   // likewise
  int64_t times;  // that the statement at hand stands there
  int64_t code, statements, unrolled;
  bool *factor;     // by value id: of a dot on tensor cores
  bool *of_factor;  // that a factor is a cast of
  bool told;
} sizes;

static void bad(sizes *z, const tstmt *s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void bad(sizes *z, const tstmt *s, const char *format, ...) {
  va_list args;
  va_start(args, format);
  z->complain(z->ctx, s, str_vprintf(z->arena, format, args));
  va_end(args);
  z->told = true;
}

/// Registers along an axis; of a CPU vectors.
static int64_t registers_along(const sizes *z, int axis, int extent) {
  const kernel *k = z->k;
  if (!k->threads && axis == z->vec_axis) return (extent + k->vec_lanes - 1) / k->vec_lanes;
  const axis_layout *l =
      z->layout < k->layouts.len ? thread_layout_find(&k->layouts.data[z->layout], axis, extent) : NULL;
  if (!l) return extent;
  int64_t n = 1;
  for (int d = 0; d < l->ndigits; d++)
    if (!l->digits[d].stride) n *= l->digits[d].size;
  return n;
}

static void join(int *extents, const tval *t) {
  for (int i = 0; i < t->naxes; i++) extents[t->axes[i]] = t->extents[i];
}

/// The extents of everything that the statement runs over.
static int64_t registers_of(const sizes *z, const tstmt *s) {
  int naxes = z->k->axes.len;
  int64_t n = 1;
  int *extents = arena_array(z->arena, int, naxes + 1);
  bool tensor = s->kind == TILE_DOT && unit_is_tensor(s->unit);
  for (int i = 0; i < s->nin && !tensor; i++) join(extents, s->in[i]);
  for (int i = 0; i < s->nout; i++) join(extents, s->out[i]);
  for (int d = 0; d < s->nix && s->kind == TILE_STORE; d++)
    for (int axis = 0; axis < naxes; axis++)
      if (ix_uses_axis(&z->k->ix, s->ix[d], axis)) extents[axis] = z->extent[axis];
  for (int axis = 0; axis < naxes && n <= MOST_COPIES; axis++)
    if (extents[axis]) n *= registers_along(z, axis, extents[axis]);
  return n;
}

static void count(sizes *z, const tstmt *s) {
  int64_t registers = registers_of(z, s), copies = registers * z->times;
  z->statements++;
  z->code += copies;
  int64_t cost = z->times > 1 && s->kind == TILE_MAP ? copies * op_get(s->op)->cost : 0;
  z->unrolled += cost;
  if (z->told) return;
  if (z->k->threads && s->kind != TILE_DOT && registers > MOST_REGISTERS)
    bad(z, s, "%lld registers in each thread, more than %d: a layout distributes them",
        (long long)registers, MOST_REGISTERS);
  else if (copies > MOST_COPIES)
    bad(z, s, "more than %d instructions for one statement: smaller steps or less unrolling do it",
        MOST_COPIES);
  else if (cost > MOST_UNROLLED || z->unrolled > MOST_ALL_UNROLLED)
    bad(z, s, "%s costs %d a copy, and %lld copies are too much code: less unrolling does it",
        op_get(s->op)->name, op_get(s->op)->cost, (long long)copies);
  else if (z->code > MOST_CODE + CODE_EACH * z->statements)
    bad(z, s, "%lld instructions for %lld statements: smaller steps or less unrolling do it",
        (long long)z->code, (long long)z->statements);
}

/// Loads that tensor cores read where they lie, and the casts that they read through.
static bool is_made(const sizes *z, const tstmt *s) {
  if (!s->nout) return true;
  int v = s->out[0]->id;
  bool cast = s->kind == TILE_MAP && s->op == OP_cast;
  return !(z->factor[v] && cast) && !((z->factor[v] || z->of_factor[v]) && s->kind == TILE_LOAD);
}

static void walk(sizes *z, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    bool computes = s->kind != TILE_LOOP && s->kind != TILE_IF && s->kind != TILE_YIELD &&
                    s->kind != TILE_LOCAL && s->kind != TILE_PREFETCH && s->kind != TILE_CONST;
    if (computes && is_made(z, s)) count(z, s);
    if (!s->body) continue;
    sizes outer = *z;
    bool finished = s->kind == TILE_IF && s->cond == COND_FINISHED;
    int extent = s->kind == TILE_LOOP || finished ? z->extent[s->axis] : 0;
    if (finished) z->extent[s->axis] = 0;
    if (s->kind == TILE_LOOP) {
      z->extent[s->axis] = s->extent;
      if (s->layout) z->layout = s->layout;
      if (s->vec) z->vec_axis = s->axis;
      if (s->unroll > 1) z->times *= s->unroll <= MOST_COPIES ? s->unroll : MOST_COPIES + 1;
      if (s->skew) z->times *= 2;  // steps before and after those that overlap
      if (z->times > MOST_COPIES) z->times = MOST_COPIES + 1;
    }
    walk(z, s->body);
    walk(z, s->other);
    if (s->kind == TILE_LOOP || finished) z->extent[s->axis] = extent;
    z->layout = outer.layout;
    z->vec_axis = outer.vec_axis;
    z->times = outer.times;
  }
}

/// Factors of dots on tensor cores, and what these are casts of.
static void mark_factors(sizes *z, const tregion *r) {
  for (int i = r ? r->stmts.len - 1 : -1; i >= 0; i--) {
    const tstmt *s = r->stmts.data[i];
    bool tensor = s->kind == TILE_DOT && unit_is_tensor(s->unit);
    for (int k = 0; k < 2 && tensor; k++) z->factor[s->in[k]->id] = true;
    bool cast = s->kind == TILE_MAP && s->op == OP_cast && z->factor[s->out[0]->id];
    if (cast) z->of_factor[s->in[0]->id] = true;
    mark_factors(z, s->body);
    mark_factors(z, s->other);
  }
}

void tile_verify_code(const kernel *k, arena *a, tile_complain *complain, void *ctx) {
  sizes z = {.k = k, .arena = a, .complain = complain, .ctx = ctx, .times = 1};
  z.vec_axis = k->vec_axis;
  z.extent = arena_array(a, int, k->axes.len + 1);
  z.factor = arena_array(a, bool, k->nvals);
  z.of_factor = arena_array(a, bool, k->nvals);
  mark_factors(&z, &k->body);
  for (int i = 0; i < k->grid.len; i++) z.extent[k->grid.data[i].axis] = k->grid.data[i].extent;
  walk(&z, &k->body);
}
