// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which products are under way, and the waits for them; see pending.h.
#include "codegen/nvptx/pending.h"

#include "base/fault.h"
#include "codegen/nvptx/ptx.h"
#include "codegen/nvptx/ring.h"

typedef struct release {
  ring *of;
  lval slot;
} release;

struct flight {
  lval *regs;
  int nregs;
  int left, right;  // buffers that it reads; -1 none
  bool landed;  // the registers are as the wait gave them
  vec(const tval *) names;
  vec(release) releases;
};

void flight_start(ngen *g, const tval *v, int left, int right) {
  flight *f = arena_new(g->arena, flight);
  *f = (flight){
      .regs = g->regs[v->id], .nregs = nv_shape_of(g, v).nregs, .left = left, .right = right};
  vec_push(g->arena, &g->flights, f);
  vec_push(g->arena, &f->names, v);
  g->in_flight[v->id] = f;
}

bool flight_reads_buffer(const ngen *g, int buf) {
  for (int i = 0; i < g->flights.len; i++)
    if (g->flights.data[i]->left == buf || g->flights.data[i]->right == buf) return true;
  return false;
}

void flight_name(ngen *g, const tval *from, const tval *to) {
  flight *f = g->in_flight[from->id];
  if (!f || g->in_flight[to->id] == f) return;
  vec_push(g->arena, &f->names, to);
  g->in_flight[to->id] = f;
}

void flight_resume(ngen *g, const tval *v, flight *f) {
  g->in_flight[v->id] = f->landed ? NULL : f;
  for (int r = 0; f->landed && r < f->nregs; r++) g->regs[v->id][r] = f->regs[r];
}

void flight_then_free(ngen *g, ring *r, lval slot) {
  int n = g->flights.len;
  if (!n) return ring_free(g, r, slot);
  vec_push(g->arena, &g->flights.data[n - 1]->releases, ((release){r, slot}));
}

/// The registers as the wait gives them, under all names that are not other values by now.
static void hand_out(ngen *g, flight *f, lval *regs) {
  f->regs = regs;
  f->landed = true;
  for (int k = 0; k < f->names.len; k++) {
    const tval *v = f->names.data[k];
    if (g->in_flight[v->id] != f) continue;
    for (int r = 0; r < f->nregs; r++) g->regs[v->id][r] = regs[r];
    g->in_flight[v->id] = NULL;
  }
}

/// The first n flights.
static void land(ngen *g, int n) {
  check(!g->guards);
  flight **landed = arena_copy(g->arena, g->flights.data, sizeof *landed * (size_t)n);
  int total = 0, at = 0;
  for (int i = 0; i < n; i++) total += landed[i]->nregs;
  lval *regs = arena_array(g->arena, lval, total);
  for (int i = 0; i < n; i++)
    for (int r = 0; r < landed[i]->nregs; r++) regs[at++] = landed[i]->regs[r];
  g->flights.len -= n;
  for (int i = 0; i < g->flights.len; i++) g->flights.data[i] = g->flights.data[i + n];
  ptx_wgmma_wait(g->e, g->flights.len, regs, total);
  for (int i = 0; i < n; i++) {
    hand_out(g, landed[i], regs);
    regs += landed[i]->nregs;
  }
  for (int i = 0; i < n; i++)
    for (int k = 0; k < landed[i]->releases.len; k++)
      ring_free(g, landed[i]->releases.data[k].of, landed[i]->releases.data[k].slot);
}

void flight_land(ngen *g, const tval *v) {
  const flight *f = g->in_flight[v->id];
  if (!f) return;
  for (int i = 0; i < g->flights.len; i++)
    if (g->flights.data[i] == f) return land(g, i + 1);
}

void flight_land_all(ngen *g) {
  if (g->flights.len) land(g, g->flights.len);
}

bool flight_reads(const ngen *g, const tstmt *s) {
  for (int i = 0; i < s->nin; i++)
    if (g->in_flight[s->in[i]->id]) return true;
  return false;
}

void flight_land_operands(ngen *g, const tstmt *s) {
  for (int i = 0; i < s->nin; i++) flight_land(g, s->in[i]);
}
