// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Matrix products against OpenBLAS and oneDNN, interleaved in one process.
//
// usage: bench-products THREADS [f32|small|gelu|bf16|bf16-small|bf16-gelu]...
//
// Prints a markdown table of GFLOP/s: the median over the turns and, in parentheses, the best. The
// ratio is the best counted peer's median time over ours. Every result is checked against sums in
// double at sampled places.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/contender.h"

enum { MAX_CONTENDERS = 8, MAX_TURNS = 400 };

typedef struct shape {
  int m, n, k;
} shape;

static const shape large[] = {{256, 256, 256},    {384, 384, 384},    {512, 512, 512},
                              {777, 777, 777},    {1024, 1024, 1024}, {1531, 1531, 1531},
                              {2048, 2048, 2048}, {16, 4096, 4096},   {4096, 64, 4096},
                              {4096, 4096, 64}};
static const shape small[] = {{32, 32, 32}, {48, 48, 48}, {64, 64, 64}, {96, 96, 96},
                              {127, 127, 127}, {128, 128, 128}};

static double clock_seconds(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double now(void) { return clock_seconds(CLOCK_MONOTONIC); }

static uint64_t random_state = 12345;

static double uniform(void) {
  uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static float normal(void) {  // Box and Muller 1958
  return (float)(sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform()));
}

static uint16_t to_bf16(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static void *random_array(int64_t n, bool bf16) {
  void *data = aligned_alloc(64, (size_t)((n * (bf16 ? 2 : 4) + 63) / 64 * 64));
  for (int64_t i = 0; i < n; i++) {
    float f = normal();
    if (bf16) ((uint16_t *)data)[i] = to_bf16(f);
    else ((float *)data)[i] = f;
  }
  return data;
}

static double element(const product *p, const void *data, int64_t i) {
  if (!product_is_bf16(p)) return ((const float *)data)[i];
  uint32_t bits = (uint32_t)((const uint16_t *)data)[i] << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

/// Largest |error| / sum |a b| over sampled elements.
static double check_product(const product *p) {
  double worst = 0;
  for (int s = 0; s < 200; s++) {
    int i = (int)(uniform() * p->m), j = (int)(uniform() * p->n);
    if (s == 0) i = p->m - 1, j = p->n - 1;
    double sum = 0, size = 0;
    for (int l = 0; l < p->k; l++) {
      double v = element(p, p->a, (int64_t)i * p->k + l) * element(p, p->b, (int64_t)l * p->n + j);
      sum += v;
      size += fabs(v);
    }
    if (product_has_gelu(p)) {
      double x = sum + p->bias[j];
      sum = x / 2 * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    }
    worst = fmax(worst, fabs(p->c[(int64_t)i * p->n + j] - sum) / size);
  }
  return worst;
}

typedef struct timing {
  double times[MAX_TURNS], median, best;
  int turns, calls;
} timing;

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/// Waits until no thread of the process runs: libraries' threads spin for 1 to 100 ms after their
/// last call, on the CPUs that the next contender needs.
static void wait_until_quiet(void) {
  enum { TRIES = 100 };
  for (int i = 0; i < TRIES; i++) {
    double before = clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    if (clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - before < 0.0002) return;
  }
}

static void one_turn(contender *c, timing *t) {
  wait_until_quiet();
  // Wakes this one's threads and lets them settle: woken ones may share a CPU until the scheduler
  // moves them, which takes it some ticks.
  double begin = now();
  do c->call(c);
  while (now() < begin + 0.02);
  begin = now();
  for (int i = 0; i < t->calls; i++) c->call(c);
  t->times[t->turns++] = (now() - begin) / t->calls;
}

static void measure(const product *p, contender *list, timing *timings, int n, double *errors) {
  for (int i = 0; i < n; i++) {
    memset(p->c, 0xff, sizeof(float) * (size_t)p->m * (size_t)p->n);  // NaN: must be overwritten
    list[i].call(&list[i]);
    errors[i] = check_product(p);
    double begin = now();
    list[i].call(&list[i]);
    double once = now() - begin;
    timings[i] = (timing){.calls = once > 0.01 ? 1 : (int)fmin(0.01 / fmax(once, 1e-8), 20000)};
  }
  const char *wanted = getenv("TCF_BENCH_SECONDS");
  double end = now() + (wanted ? atof(wanted) : 0.8) * n;
  while ((now() < end || timings[0].turns < 7) && timings[0].turns < MAX_TURNS)
    for (int i = 0; i < n; i++) one_turn(&list[i], &timings[i]);
  for (int i = 0; i < n; i++) {
    qsort(timings[i].times, (size_t)timings[i].turns, sizeof(double), by_value);
    timings[i].median = timings[i].times[timings[i].turns / 2];
    timings[i].best = timings[i].times[0];
  }
}

/// Ratio of the best counted peer's median to ours; 0 when ours did not run.
static double report(const product *p, const contender *list, const timing *timings, int n,
                     const double *errors, bool ours) {
  double flops = 2.0 * p->m * p->n * p->k, median = INFINITY, best = INFINITY;
  printf("| %dx%dx%d |", p->m, p->n, p->k);
  if (!ours) printf(" |");
  for (int i = 0; i < n; i++) {
    printf(" %.1f (%.1f) |", flops / timings[i].median * 1e-9, flops / timings[i].best * 1e-9);
    if ((ours && i == 0) || !list[i].counted) continue;
    median = fmin(median, timings[i].median);
    best = fmin(best, timings[i].best);
  }
  double ratio = ours ? median / timings[0].median : 0;
  if (ours) printf(" %.2f (%.2f) | %.0e |\n", ratio, best / timings[0].best, errors[0]);
  else printf(" | |\n");
  fflush(stdout);
  for (int i = 0; i < n; i++)
    if (!(errors[i] < 1e-5))
      fprintf(stderr, "%s: wrong result, error %g of sum |a b|\n", list[i].name, errors[i]);
  return ratio;
}

static double run_shape(product_kind kind, shape s, int threads, bool header) {
  product p = {kind, s.m, s.n, s.k, .threads = threads};
  bool bf16 = product_is_bf16(&p);
  p.a = random_array((int64_t)s.m * s.k, bf16);
  p.b = random_array((int64_t)s.k * s.n, bf16);
  p.bias = random_array(s.n, false);
  p.c = random_array((int64_t)s.m * s.n, false);
  contender list[MAX_CONTENDERS];
  timing *timings = calloc(MAX_CONTENDERS, sizeof *timings);
  double errors[MAX_CONTENDERS];
  int n = ours_prepare(&p, list);
  bool ours = n > 0;
  n += openblas_prepare(&p, list + n);
  n += onednn_prepare(&p, list + n);
  if (header) {
    printf("| m x n x k | tcc-fuse |");
    for (int i = ours; i < n; i++) printf(" %s |", list[i].name);
    printf(" ratio (best) | error |\n|---|---|");
    for (int i = ours; i < n; i++) printf("---|");
    printf("---|---|\n");
  }
  measure(&p, list, timings, n, errors);
  double ratio = report(&p, list, timings, n, errors, ours);
  free(timings);
  free((void *)p.a);
  free((void *)p.b);
  free((void *)p.bias);
  free(p.c);
  return ratio;
}

static const struct table {
  const char *name, *title;
  product_kind kind;
  const shape *shapes;
  int n;
} tables[] = {
#define SHAPES(list) list, (int)(sizeof(list) / sizeof *(list))
    {"f32", "f32 products", PRODUCT_F32, SHAPES(large)},
    {"small", "small f32 products", PRODUCT_F32, SHAPES(small)},
    {"gelu", "f32 products + bias + gelu (tanh)", PRODUCT_BIAS_GELU, SHAPES(large)},
    {"bf16", "bf16 products", PRODUCT_BF16, SHAPES(large)},
    {"bf16-small", "small bf16 products", PRODUCT_BF16, SHAPES(small)},
    {"bf16-gelu", "bf16 products + bias + gelu (tanh)", PRODUCT_BF16_BIAS_GELU, SHAPES(large)},
#undef SHAPES
};

static void run_table(const struct table *t, int threads) {
  printf("\n### %s, %d thread%s (GFLOP/s)\n\n", t->title, threads, threads > 1 ? "s" : "");
  double sum = 0, worst = INFINITY;
  for (int i = 0; i < t->n; i++) {
    double ratio = run_shape(t->kind, t->shapes[i], threads, i == 0);
    sum += log(ratio);
    worst = fmin(worst, ratio);
  }
  if (worst > 0) printf("\ngeometric mean %.2f, worst %.2f\n", exp(sum / t->n), worst);
}

int main(int argc, char **argv) {
  int threads = argc > 1 ? atoi(argv[1]) : 0;
  if (threads < 1) {
    fprintf(stderr,
            "usage: bench-products THREADS [f32|small|gelu|bf16|bf16-small|bf16-gelu]...\n");
    return 2;
  }
  for (int i = 2; i < argc || i == 2; i++)
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
      if (i >= argc || !strcmp(argv[i], tables[t].name)) run_table(&tables[t], threads);
  return 0;
}
