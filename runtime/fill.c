// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Filling tensors with numbers that depend on (seed, position) alone, so that a run can be
// repeated and neither threads nor storage order change the values.
#include <math.h>
#include <string.h>

#include "runtime/tensor.h"

// The finaliser of splitmix64 over a Weyl sequence: Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", OOPSLA 2014.
static uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static uint64_t random_bits(uint64_t seed, uint64_t i) {
  return mix(mix(seed + 0x9e3779b97f4a7c15u) + (i + 1) * 0x9e3779b97f4a7c15u);
}

// Box-Muller gives the values of two positions, 2 * pair and 2 * pair + 1; |value| < 6.
static void random_normals(uint64_t seed, uint64_t pair, float out[2]) {
  uint64_t bits = random_bits(seed, pair);
  float u = ((float)(uint32_t)(bits >> 40) + 0.5f) * 0x1p-24f;
  float angle = (float)(uint32_t)(bits & 0xffffff) * (6.2831853f * 0x1p-24f);
  float radius = sqrtf(-2 * logf(u));
  out[0] = radius * cosf(angle);
  out[1] = radius * sinf(angle);
}

static double random_normal(uint64_t seed, uint64_t i) {
  float both[2];
  random_normals(seed, i / 2, both);
  return both[i % 2];
}

typedef struct filler filler;
struct filler {
  scalar (*value)(const filler *f, uint64_t i, dtype t);
  uint64_t seed;
  double low, high;
  scalar constant;
};

static void fill(tensor *t, const filler *f) {
  int64_t n = tensor_elements(t), at[TENSOR_MAX_RANK] = {0};
  char *p = t->data;
  for (int64_t i = 0; i < n; i++) {
    scalar_store(p, t->type, f->value(f, (uint64_t)i, t->type));
    for (int k = t->rank - 1; k >= 0; k--) {
      p += t->strides[k];
      if (++at[k] < t->dims[k]) break;
      p -= t->dims[k] * t->strides[k];
      at[k] = 0;
    }
  }
}

static scalar value_random(const filler *f, uint64_t i, dtype t) {
  if (dtype_is_float(t)) return (scalar){.f = random_normal(f->seed, i)};
  return (scalar){.i = (int64_t)(random_bits(f->seed, i) >> (t == DT_bool ? 63 : 61))};
}

static scalar value_uniform(const filler *f, uint64_t i, dtype t) {
  double unit = (double)(random_bits(f->seed, i) >> 11) * 0x1p-53;
  double v = f->low + unit * (f->high - f->low);
  if (dtype_is_float(t)) return (scalar){.f = v};
  return scalar_cast((scalar){.f = floor(v)}, DT_f64, t);
}

static scalar value_constant(const filler *f, uint64_t i, dtype t) {
  (void)i, (void)t;
  return f->constant;
}

static scalar value_iota(const filler *f, uint64_t i, dtype t) {
  (void)f;
  return scalar_cast((scalar){.i = (int64_t)i}, DT_i64, t);
}

void tensor_fill_random(tensor *t, uint64_t seed) {
  if (t->type == DT_f32 && tensor_is_contiguous(t)) {  // the same numbers, in half the time
    int64_t n = tensor_elements(t);
    float *to = t->data, both[2];
    for (int64_t i = 0; i < n; i += 2) {
      random_normals(seed, (uint64_t)i / 2, both);
      memcpy(to + i, both, sizeof *both * (size_t)(n - i < 2 ? n - i : 2));
    }
    return;
  }
  fill(t, &(filler){.value = value_random, .seed = seed});
}

void tensor_fill_uniform(tensor *t, uint64_t seed, double low, double high) {
  fill(t, &(filler){.value = value_uniform, .seed = seed, .low = low, .high = high});
}

void tensor_fill_value(tensor *t, scalar v, dtype from) {
  fill(t, &(filler){.value = value_constant, .constant = scalar_cast(v, from, t->type)});
}

void tensor_fill_iota(tensor *t) { fill(t, &(filler){.value = value_iota}); }
