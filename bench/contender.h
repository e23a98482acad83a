// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What takes part in the benchmark of matrix products: c = a * b, with a of m rows and k columns,
// b of k rows and n columns, all row-major.
#pragma once
#include <stdbool.h>

typedef enum product_kind {
  PRODUCT_F32,
  PRODUCT_BIAS_GELU,
  PRODUCT_BF16,
  PRODUCT_BF16_BIAS_GELU,
} product_kind;

typedef struct product {
  product_kind kind;
  int m, n, k;
  const void *a, *b;  // f32 or bf16
  const float *bias;  // [n], with bias and gelu
  float *c;
  int threads;
} product;

static inline bool product_is_bf16(const product *p) { return p->kind >= PRODUCT_BF16; }
static inline bool product_has_gelu(const product *p) {
  return p->kind == PRODUCT_BIAS_GELU || p->kind == PRODUCT_BF16_BIAS_GELU;
}

typedef struct contender {
  const char *name;
  bool counted;  // takes part in "best peer": same inputs as ours, nothing prepared in advance
  void (*call)(struct contender *self);
  void *data;
} contender;

/// Each prepares itself for the product and adds contenders to the list; returns how many.
int ours_prepare(const product *p, contender *list);
int openblas_prepare(const product *p, contender *list);
int onednn_prepare(const product *p, contender *list);
