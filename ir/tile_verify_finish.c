// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rules of `if finished`, see Finish in ir/tile.h: where it may stand, and how many groups of
// tiles finish. That it sees nothing of its tile is judged with the values (ir/tile_verify.c).
#include "ir/tile_verify.h"

typedef struct finder {
  const kernel *k;
  arena *arena;
  tile_complain *complain;
  void *ctx;
} finder;

static void bad(finder *f, const tstmt *s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void bad(finder *f, const tstmt *s, const char *format, ...) {
  va_list args;
  va_start(args, format);
  str text = str_vprintf(f->arena, format, args);
  va_end(args);
  f->complain(f->ctx, s, text);
}

/// Tiles along the other axes of the grid, at most.
static int64_t most_groups(const kernel *k, int axis) {
  int64_t groups = 1;
  for (int i = 0; i < k->grid.len; i++) {
    grid_axis g = k->grid.data[i];
    if (g.axis == axis) continue;
    int64_t most = ix_bounds(&k->ix, k->axes.data[g.axis].size).max;
    if (most > 0 && __builtin_mul_overflow(groups, (most - 1) / g.extent + 1, &groups))
      return INT64_MAX;
  }
  return groups;
}

static void verify(finder *f, const tstmt *s) {
  const kernel *k = f->k;
  bool grid = false;
  for (int i = 0; i < k->grid.len; i++) grid |= k->grid.data[i].axis == s->axis;
  if (kernel_finish(k) != s)
    return bad(f, s, "`if finished` ends the body of a kernel: all tiles come there, each once");
  if (s->other || s->nout) bad(f, s, "the tiles that are not the last have no else and no results");
  if (!grid) return bad(f, s, "%.*s is no axis of the grid", STR_FMT(k->axes.data[s->axis].name));
  if (!k->threads) bad(f, s, "tiles finish together on GPUs: the kernel has no threads");
  for (int i = 0; i < k->nargs; i++)
    if (kernel_adds_to(k, i)) bad(f, s, "tiles that finish together do not add to memory");
  if (k->cluster || k->producer_warps || k->blocks_per_sm)
    bad(f, s, "tiles of clusters, producers and resident blocks do not finish together");
  int64_t groups = most_groups(k, s->axis);
  if (groups > FINISH_MOST)
    bad(f, s, "there may be %lld groups of tiles, more than %d finish at a time", (long long)groups,
        FINISH_MOST);
}

static void find(finder *f, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_IF && s->cond == COND_FINISHED) verify(f, s);
    find(f, s->body);
    find(f, s->other);
  }
}

void tile_verify_finish(const kernel *k, arena *a, tile_complain *complain, void *ctx) {
  find(&(finder){k, a, complain, ctx}, &k->body);
}
