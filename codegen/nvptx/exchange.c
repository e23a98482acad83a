// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arguments through which the threads of a block pass values to one another.
//
//   loop E:64 { store kept[S, E], %1 }        each thread its elements of S and E
//   loop E:1 { %2 = load kept[S, E] }         those of all
//
// Such an argument has barriers between writing and reading as an on-chip buffer has. None is needed
// where each element is stored and loaded by the one thread that has it: where all accesses have the
// same index and layout, these cover all threads, and no walk may start early (early.c).
#include "base/fault.h"
#include "codegen/nvptx/nvptx.h"

typedef struct finder {
  ngen *g;
  int *extent;         // by axis: of the range that is open; 0 closed
  bool *walked;        // by axis: opened by a walk of all of it
  int *first_extent;   // by buffer and axis: at the first access
  const tstmt **first;  // by buffer
  int *first_layout;
  bool *loaded, *stored, *differs;  // by buffer
} finder;

static bool same_digits(const axis_layout *a, const axis_layout *b) {
  if (!a || !b) return a == b;
  bool same = a->ndigits == b->ndigits;
  for (int i = 0; same && i < a->ndigits; i++)
    same = a->digits[i].size == b->digits[i].size && a->digits[i].stride == b->digits[i].stride;
  return same;
}

static const axis_layout *lies(const finder *f, int layout, int axis, int extent) {
  const kernel *k = f->g->k;
  return layout < k->layouts.len ? thread_layout_find(&k->layouts.data[layout], axis, extent) : NULL;
}

static bool uses(const finder *f, const tstmt *s, int axis) {
  bool used = false;
  for (int d = 0; d < s->nix; d++) used |= ix_uses_axis(&f->g->k->ix, s->ix[d], axis);
  return used;
}

/// All threads have elements of their own.
static bool covers(const finder *f, const tstmt *s) {
  int threads = 1;
  for (int axis = 0; axis < f->g->k->axes.len; axis++) {
    const axis_layout *l = uses(f, s, axis) ? lies(f, f->g->layout, axis, f->extent[axis]) : NULL;
    for (int d = 0; l && d < l->ndigits; d++)
      if (l->digits[d].stride) threads *= l->digits[d].size;
  }
  return threads == kernel_tile_threads(f->g->k);
}

/// A walk of a row of known length, in vectors.
static bool may_be_early(const finder *f, const tstmt *s) {
  bool early = false;
  for (int axis = 0; axis < f->g->k->axes.len; axis++) {
    int64_t size;
    if (!f->walked[axis] || !uses(f, s, axis)) continue;
    const axis_layout *l = lies(f, f->g->layout, axis, f->extent[axis]);
    early |= l && !l->digits[0].stride && ix_is_const(&f->g->k->ix, f->g->k->axes.data[axis].size, &size);
  }
  return early;
}

static void see(finder *f, const tstmt *s) {
  const kernel *k = f->g->k;
  int *at = &f->first_extent[s->buf * k->axes.len];
  const tstmt *first = f->first[s->buf];
  if (s->kind == TILE_LOAD) f->loaded[s->buf] = true;
  else f->stored[s->buf] = true;
  // Elements that data chooses are added to in place, by threads that hold the index.
  if (tstmt_is_indirect(s)) return;
  f->differs[s->buf] |= !covers(f, s) || may_be_early(f, s);
  if (!first) {
    f->first[s->buf] = s;
    f->first_layout[s->buf] = f->g->layout;
    memcpy(at, f->extent, sizeof(int) * (size_t)k->axes.len);
    return;
  }
  for (int d = 0; d < s->nix; d++) f->differs[s->buf] |= s->ix[d] != first->ix[d];
  for (int axis = 0; axis < k->axes.len; axis++) {
    if (!uses(f, s, axis)) continue;
    bool same = at[axis] == f->extent[axis] &&
                same_digits(lies(f, f->first_layout[s->buf], axis, at[axis]),
                            lies(f, f->g->layout, axis, f->extent[axis]));
    f->differs[s->buf] |= !same;
  }
}

static void find(finder *f, const tregion *r) {
  ngen *g = f->g;
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if ((s->kind == TILE_LOAD || s->kind == TILE_STORE) && !g->k->bufs.data[s->buf].local) see(f, s);
    bool finished = s->kind == TILE_IF && s->cond == COND_FINISHED;
    int layout = g->layout, axis = s->kind == TILE_LOOP || finished ? s->axis : 0;
    int outside = f->extent[axis];
    bool walked = f->walked[axis];
    if (s->layout) g->layout = s->layout;
    if (s->kind == TILE_LOOP) f->extent[axis] = s->extent;
    if (s->kind == TILE_LOOP) f->walked[axis] |= !outside;
    if (finished) f->extent[axis] = 0;
    find(f, s->body);
    find(f, s->other);
    f->extent[axis] = outside;
    f->walked[axis] = walked;
    g->layout = layout;
  }
}

void exchange_open(ngen *g) {
  const kernel *k = g->k;
  arena *a = g->arena;
  finder f = {.g = g};
  f.extent = arena_array(a, int, k->axes.len + 1);
  f.walked = arena_array(a, bool, k->axes.len + 1);
  f.first_extent = arena_array(a, int, k->bufs.len * k->axes.len + 1);
  f.first = arena_array(a, const tstmt *, k->bufs.len + 1);
  f.first_layout = arena_array(a, int, k->bufs.len + 1);
  f.loaded = arena_array(a, bool, k->bufs.len + 1);
  f.stored = arena_array(a, bool, k->bufs.len + 1);
  f.differs = arena_array(a, bool, k->bufs.len + 1);
  for (int i = 0; i < k->grid.len; i++) f.extent[k->grid.data[i].axis] = k->grid.data[i].extent;
  find(&f, &k->body);
  for (int i = 0; i < k->bufs.len; i++)
    g->locals[i].shared = k->bufs.data[i].local || (f.loaded[i] && f.stored[i] && f.differs[i]);
}
