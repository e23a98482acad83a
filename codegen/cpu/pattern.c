// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lanes at fixed distances from each other, a few vectors apart at most: a load of these vectors and
// a permutation instead of a gather.
//
//   x[T*2]        lanes at  0 2 4 6 8 10 12 14      two vectors, every other element of them
//   x[T/2 % 4]    lanes at  0 0 1 1 2 2 3 3         a part of one vector
//   x[7 - T]      lanes at  7 6 5 4 3 2 1 0         one vector, from behind
//
// Only elements that some lane needs are touched.
#include "base/fault.h"
#include "codegen/cpu/cpu.h"

enum { MOST_CHUNKS = 4 };  // vectors that an access reaches over

/// The terms of e that move with the lane.
static ix lane_terms(kgen *g, ix e) {
  ix_node n = *ix_get(&g->ix, e);
  if (n.kind != IX_SUM) return e;
  ix sum = ix_const(&g->ix, 0);
  for (int t = 0; t < n.nterms; t++) {
    ix term = ix_const(&g->ix, n.terms[t].coef);
    for (int i = 0; i < n.terms[t].natoms; i++) term = ix_mul(&g->ix, term, n.terms[t].atoms[i]);
    if (ix_uses_axis(&g->ix, term, g->lane_axis)) sum = ix_add(&g->ix, sum, term);
  }
  return sum;
}

static bool value_at_lane(kgen *g, ix e, int lane, int64_t *value) {
  ix *at = arena_array(g->arena, ix, g->lane_axis + 1);
  at[g->lane_axis] = ix_const(&g->ix, lane);
  return ix_is_const(&g->ix, ix_substitute(&g->ix, &g->ix, e, at, g->lane_axis + 1), value);
}

lane_pattern *pattern_of(kgen *g, ix e) {
  if (g->lanes < 2 || !ix_uses_axis(&g->ix, e, g->lane_axis)) return NULL;
  lane_pattern *p = arena_new(g->arena, lane_pattern);
  ix moving = lane_terms(g, e);
  int64_t at[MOST_VEC_LANES], low = 0, high = 0;
  for (int l = 0; l < g->lanes; l++) {
    if (!value_at_lane(g, moving, l, &at[l])) return NULL;
    low = !l || at[l] < low ? at[l] : low;
    high = !l || at[l] > high ? at[l] : high;
  }
  if ((uint64_t)high - (uint64_t)low >= (uint64_t)MOST_CHUNKS * (uint64_t)g->lanes) return NULL;
  for (int l = 0; l < g->lanes; l++) p->offset[l] = (int)(at[l] - low);
  p->chunks = (int)((high - low) / g->lanes) + 1;
  ix rest = ix_sub(&g->ix, e, moving);
  p->base = ix_add(&g->ix, rest, ix_const(&g->ix, low));
  return p;
}

/// Whether each lane is valid; false where that is not known here.
static bool known_lanes(const kgen *g, lval mask, bool *valid) {
  for (int l = 0; l < g->lanes; l++) {
    lval bit = mask && LLVMIsConstant(mask) ? LLVMGetAggregateElement(mask, (unsigned)l) : NULL;
    if (mask && (!bit || !LLVMIsAConstantInt(bit))) return false;
    valid[l] = !bit || LLVMConstIntGetZExtValue(bit);
  }
  return true;
}

/// The elements of a chunk that valid lanes are at: 0 none, 1 some, 2 all.
static int touched(kgen *g, const lane_pattern *p, const bool *valid, int chunk, lval *mask) {
  lval bits[MOST_VEC_LANES];
  int count = 0;
  for (int i = 0; i < g->lanes; i++) {
    bool used = false;
    for (int l = 0; l < g->lanes; l++) used |= valid[l] && p->offset[l] == chunk * g->lanes + i;
    bits[i] = emit_int(g->e->i1, used);
    count += used;
  }
  *mask = LLVMConstVector(bits, (unsigned)g->lanes);
  return count == g->lanes ? 2 : count > 0;
}

static lval chunk_pointer(kgen *g, int buf, const lane_pattern *p, int chunk) {
  return address(g, buf, ix_add(&g->ix, p->base, ix_const(&g->ix, (int64_t)chunk * g->lanes)));
}

/// Of two registers, the element of each lane; lanes that are elsewhere are poison.
static lval picked(kgen *g, const lane_pattern *p, const bool *valid, int first, lval low, lval high) {
  lval from[MOST_VEC_LANES], none = LLVMGetPoison(LLVMTypeOf(low ? low : high));
  for (int l = 0; l < g->lanes; l++) {
    int at = p->offset[l] - first * g->lanes;
    bool here = valid[l] && at >= 0 && at < 2 * g->lanes;
    from[l] = here ? emit_int(g->e->i32, at) : LLVMGetPoison(g->e->i32);
  }
  lval order = LLVMConstVector(from, (unsigned)g->lanes);
  return LLVMBuildShuffleVector(g->e->builder, low ? low : none, high ? high : none, order, "");
}

lval pattern_load(kgen *g, dtype t, int buf, const lane_pattern *p, lval mask) {
  bool valid[MOST_VEC_LANES];
  if (!known_lanes(g, mask, valid)) return NULL;
  LLVMTypeRef type = memory_type(g, t, g->lanes);
  lval x = NULL;
  for (int first = 0; first < p->chunks; first += 2) {
    lval part[2] = {0}, here[MOST_VEC_LANES];
    for (int i = 0; i < 2 && first + i < p->chunks; i++) {
      lval needed;
      int some = touched(g, p, valid, first + i, &needed);
      if (!some) continue;
      lval at = chunk_pointer(g, buf, p, first + i);
      if (some == 1) {
        part[i] = load_masked(g, type, at, needed, dtype_bytes(t), LLVMGetPoison(type));
      } else {
        part[i] = LLVMBuildLoad2(g->e->builder, type, at, "");
        LLVMSetAlignment(part[i], (unsigned)dtype_bytes(t));
      }
    }
    if (!part[0] && !part[1]) continue;
    lval y = picked(g, p, valid, first, part[0], part[1]);
    for (int l = 0; l < g->lanes; l++)
      here[l] = emit_int(g->e->i1, p->offset[l] >= first * g->lanes);
    lval later = LLVMConstVector(here, (unsigned)g->lanes);
    x = x ? LLVMBuildSelect(g->e->builder, later, y, x, "") : y;
  }
  return from_memory(g, t, x ? x : LLVMConstNull(type));
}

bool pattern_store(kgen *g, dtype t, lval x, int buf, const lane_pattern *p, lval mask) {
  bool valid[MOST_VEC_LANES];
  if (!known_lanes(g, mask, valid)) return false;
  for (int l = 0; l < g->lanes; l++)
    for (int k = 0; k < l; k++)
      if (valid[l] && valid[k] && p->offset[l] == p->offset[k]) return false;
  for (int chunk = 0; chunk < p->chunks; chunk++) {
    lval from[MOST_VEC_LANES], needed;
    int some = touched(g, p, valid, chunk, &needed);
    if (!some) continue;
    for (int i = 0; i < g->lanes; i++) from[i] = LLVMGetPoison(g->e->i32);
    for (int l = 0; l < g->lanes; l++)
      if (valid[l] && p->offset[l] / g->lanes == chunk)
        from[p->offset[l] % g->lanes] = emit_int(g->e->i32, l);
    lval order = LLVMConstVector(from, (unsigned)g->lanes), none = LLVMGetPoison(LLVMTypeOf(x));
    lval y = LLVMBuildShuffleVector(g->e->builder, x, none, order, "");
    store_vector(g, t, y, chunk_pointer(g, buf, p, chunk), some == 2 ? NULL : needed);
  }
  return true;
}
