// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rules of loops whose steps overlap:
//
//   loop T:64 stages=2 skew { local k, v; stage loops; a; %s = dot .. k; b; %o = dot .. v; c }
//
//   written   a s b o c of step i    | a s b o c of step i + 1
//   done      a s of step i + 1      | o c of step i    | b of step i + 1
//
// so that "a s" of a step comes before "o c" of the step before: it needs nothing that those give,
// neither a carried value nor what they store. Where warpgroups take turns, nothing waits for all.
#include <stdarg.h>

#include "ir/tile_verify.h"

enum { WARPGROUP = 128, MOST_TURNS = 7 };

typedef struct checker {
  const kernel *k;
  arena *arena;
  tile_complain *complain;
  void *ctx;
} checker;

static void bad(checker *c, const tstmt *s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void bad(checker *c, const tstmt *s, const char *format, ...) {
  va_list args;
  va_start(args, format);
  c->complain(c->ctx, s, str_vprintf(c->arena, format, args));
  va_end(args);
}

typedef struct touched {
  bool *read, *written;  // by buffer
} touched;

static void touch(const tstmt *s, touched *t) {
  if (s->kind == TILE_LOAD) t->read[s->buf] = true;
  if (s->kind == TILE_STORE) t->written[s->buf] = true;
  const tregion *inside[] = {s->body, s->other};
  for (int k = 0; k < 2; k++)
    for (int i = 0; inside[k] && i < inside[k]->stmts.len; i++) touch(inside[k]->stmts.data[i], t);
}

static touched touched_in(checker *c, const tregion *r, int from, int to) {
  touched t = {arena_array(c->arena, bool, c->k->bufs.len),
               arena_array(c->arena, bool, c->k->bufs.len)};
  for (int i = from; i < to; i++) touch(r->stmts.data[i], &t);
  return t;
}

static void verify_memory(checker *c, const tstmt *s, tile_halves h) {
  touched early = touched_in(c, s->body, h.from, h.issued);
  touched late = touched_in(c, s->body, h.cut, s->body->stmts.len);
  for (int i = 0; i < c->k->bufs.len; i++)
    if ((early.written[i] && (late.read[i] || late.written[i])) ||
        (late.written[i] && early.read[i]))
      bad(c, s, "skew: %.*s is stored on one side of the overlap and used on the other",
          STR_FMT(c->k->bufs.data[i].name));
}

static void verify_skew(checker *c, const tstmt *s) {
  tile_halves h;
  if (s->stages < 2 || !c->k->producer_warps)
    return bad(c, s, "skew is for loops with stages that producers fill");
  if (!tile_split_steps(s->body, &h))
    return bad(c, s, "skew needs two statements with dots of unit wgmma");
  for (int i = h.from; i < h.issued; i++)
    if (tile_uses_carried(s->body->stmts.data[i], s->body))
      return bad(c, s, "skew: what leads to the first dot needs a carried value");
  verify_memory(c, s, h);
}

/// A warpgroup whose turn it is cannot wait for those whose turn it is not: for what they store on
/// chip, or until they have read it. What else waits for all of them is in tile_verify_threads.c.
static void verify_turns(checker *c, const tstmt *s) {
  int groups = c->k->threads / WARPGROUP;
  tile_halves h;
  if (!s->skew) bad(c, s, "turns are for loops with skew");
  if (tile_split_steps(s->body, &h)) {
    touched t = touched_in(c, s->body, h.from, s->body->stmts.len);
    for (int i = 0; i < c->k->bufs.len; i++)
      if (c->k->bufs.data[i].local && t.written[i])
        bad(c, s, "turns: %.*s is stored by warpgroups that do not wait for each other",
            STR_FMT(c->k->bufs.data[i].name));
  }
  if (c->k->threads % WARPGROUP || groups < 2 || groups > MOST_TURNS)
    bad(c, s, "turns are for 2 to %d warpgroups of %d threads", MOST_TURNS, WARPGROUP);
}

static void verify_region(checker *c, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_LOOP && s->skew) verify_skew(c, s);
    if (s->kind == TILE_LOOP && s->turns) verify_turns(c, s);
    verify_region(c, s->body);
    verify_region(c, s->other);
  }
}

void tile_verify_skew(const kernel *k, arena *a, tile_complain *complain, void *ctx) {
  verify_region(&(checker){k, a, complain, ctx}, &k->body);
}
