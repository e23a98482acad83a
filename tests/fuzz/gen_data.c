// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Element types and random data of the program generator.
#include <math.h>
#include <string.h>

#include "tests/fuzz/gen.h"

static const struct {
  const char *name;
  int bytes;
} types[] = {{"f64", 8}, {"f32", 4}, {"f16", 2},  {"bf16", 2}, {"i64", 8}, {"i32", 4}, {"i16", 2},
             {"i8", 1},  {"u8", 1},  {"bool", 1}, {"u64", 8},  {"u32", 4}, {"u16", 2}};

int gen_type_bytes(gen_type t) { return types[t].bytes; }
const char *gen_type_name(gen_type t) { return types[t].name; }
bool gen_is_float(gen_type t) { return t <= GEN_BF16; }
bool gen_is_unsigned(gen_type t) { return t == GEN_U8 || t >= GEN_U64; }

uint64_t gen_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

int64_t gen_elements(const gen_program *p, const gen_value *v) {
  int64_t n = 1;
  for (int i = 0; i < v->rank; i++) n *= p->axes[v->axes[i]].size;
  return n;
}

static double uniform(uint64_t *state) { return (double)(gen_random(state) >> 11) * 0x1p-53; }

static double normal(uint64_t *state) {  // Box and Muller 1958
  double u = 1 - uniform(state), v = uniform(state);
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static uint16_t to_bf16(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static float from_bf16(uint16_t h) {
  uint32_t bits = (uint32_t)h << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

static int64_t integer(const gen_value *v, uint64_t *state) {
  if (v->limit > 0) return (int64_t)(gen_random(state) % (uint64_t)v->limit);
  if (v->type == GEN_BOOL) return gen_random(state) & 1;
  int64_t m = (int64_t)fmin(v->magnitude, 100);
  int64_t i = (int64_t)(gen_random(state) % (uint64_t)(2 * m + 1)) - m;
  return gen_is_unsigned(v->type) && i < 0 ? -i : i;
}

void gen_fill(const gen_program *p, int value, void *data) {
  const gen_value *v = &p->values[value];
  uint64_t state = p->seed * 977 + (uint64_t)value;
  int64_t n = gen_elements(p, v);
  for (int64_t i = 0; i < n; i++) {
    double f = 0;
    if (gen_is_float(v->type)) f = fmax(fmin(normal(&state), v->magnitude), -v->magnitude);
    int64_t k = gen_is_float(v->type) ? 0 : integer(v, &state);
    switch (v->type) {
      case GEN_F64: ((double *)data)[i] = f; break;
      case GEN_F32: ((float *)data)[i] = (float)f; break;
      case GEN_F16: ((_Float16 *)data)[i] = (_Float16)f; break;
      case GEN_BF16: ((uint16_t *)data)[i] = to_bf16((float)f); break;
      case GEN_U64:
      case GEN_I64: ((int64_t *)data)[i] = k; break;
      case GEN_U32:
      case GEN_I32: ((int32_t *)data)[i] = (int32_t)k; break;
      case GEN_U16:
      case GEN_I16: ((int16_t *)data)[i] = (int16_t)k; break;
      case GEN_I8: ((int8_t *)data)[i] = (int8_t)k; break;
      case GEN_U8:
      case GEN_BOOL: ((uint8_t *)data)[i] = (uint8_t)k; break;
    }
  }
}

double gen_read(gen_type t, const void *data, int64_t i) {
  switch (t) {
    case GEN_F64: return ((const double *)data)[i];
    case GEN_F32: return ((const float *)data)[i];
    case GEN_F16: return ((const _Float16 *)data)[i];
    case GEN_BF16: return from_bf16(((const uint16_t *)data)[i]);
    case GEN_I64: return (double)((const int64_t *)data)[i];
    case GEN_I32: return ((const int32_t *)data)[i];
    case GEN_I16: return ((const int16_t *)data)[i];
    case GEN_I8: return ((const int8_t *)data)[i];
    case GEN_U64: return (double)((const uint64_t *)data)[i];
    case GEN_U32: return ((const uint32_t *)data)[i];
    case GEN_U16: return ((const uint16_t *)data)[i];
    case GEN_U8:
    case GEN_BOOL: return ((const uint8_t *)data)[i];
  }
  return 0;
}
