// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The two ceilings of this machine, measured by all threads at once: copying memory, and
// multiply-adds in registers.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cli/cli.h"

enum { MAX_THREADS = 256, CHAINS = 12 };
static const double SECONDS = 0.06;
enum { BURSTS = 8 };  // of multiply-adds, all threads together, in that time

typedef struct probe {
  void (*run)(struct probe *);
  pthread_barrier_t *start;
  char *from, *to;
  size_t bytes;
  double rate;  // bytes or flops per second
} probe;

#if defined(__x86_64__)
/// Copies with stores that do not read the lines they fill; whole blocks of 64 bytes.
static void copy_streaming(char *to, const char *from, size_t bytes) {
  for (size_t i = 0; i + 64 <= bytes; i += 64)
    for (int k = 0; k < 64; k += 16)
      _mm_stream_si128((__m128i *)(to + i + k), _mm_load_si128((const __m128i *)(from + i + k)));
  _mm_sfence();
}
#endif

static void copy_plain(char *to, const char *from, size_t bytes) { memcpy(to, from, bytes); }

/// The fastest of many rounds, as a ceiling is not lowered by what else the machine does. Read and
/// written bytes count, whichever stores are used.
static void measure_copy(probe *p, void (*copy)(char *, const char *, size_t)) {
  size_t copies = 1 + ((size_t)1 << 20) / p->bytes;
  copy(p->to, p->from, p->bytes);
  double first = now_seconds(), begin = first, end;
  p->rate = 0;
  do {
    for (size_t i = 0; i < copies; i++) {
      copy(p->to, p->from, p->bytes);
      p->from[0] = p->to[p->bytes - 1];  // so that no copy is left out
    }
    end = now_seconds();
    double rate = 2. * (double)copies * (double)p->bytes / (end - begin);
    if (rate > p->rate) p->rate = rate;
    begin = end;
  } while (end - first < SECONDS);
}

static void probe_copy(probe *p) { measure_copy(p, copy_plain); }

#if defined(__x86_64__)
static void probe_streaming(probe *p) { measure_copy(p, copy_streaming); }
#endif

#if defined(__x86_64__)
// Twelve independent chains: latency 4, two units, and some to spare.
#define FMA_LOOP(name, isa, vec, splat, fma, reduce)               \
  __attribute__((target(isa))) static float name(int64_t n) {      \
    vec a = splat(0.999f), b = splat(0.001f), c[CHAINS];           \
    for (int k = 0; k < CHAINS; k++) c[k] = splat((float)k);       \
    for (int64_t i = 0; i < n; i++) {                              \
      _Pragma("GCC unroll 12") /* in registers, not in memory */   \
          for (int k = 0; k < CHAINS; k++) c[k] = fma(c[k], a, b); \
    }                                                              \
    for (int k = 1; k < CHAINS; k++) c[0] = fma(c[k], a, c[0]);    \
    return reduce(c[0]);                                           \
  }
FMA_LOOP(fma_512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_cvtss_f32)
FMA_LOOP(fma_256, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_cvtss_f32)
static inline __m128 mul_add(__m128 a, __m128 b, __m128 c) {
  return _mm_add_ps(_mm_mul_ps(a, b), c);
}
FMA_LOOP(fma_128, "sse2", __m128, _mm_set1_ps, mul_add, _mm_cvtss_f32)

/// The same of bf16 pairs, two multiply-adds a lane.
__attribute__((target("avx512f,avx512bf16"))) static float pairs_512(int64_t n) {
  __m512bh a = (__m512bh)_mm512_set1_epi16(0x3a83);  // 0.001
  __m512 c[CHAINS];
  for (int k = 0; k < CHAINS; k++) c[k] = _mm512_set1_ps((float)k);
  for (int64_t i = 0; i < n; i++) {
    _Pragma("GCC unroll 12") for (int k = 0; k < CHAINS; k++) c[k] = _mm512_dpbf16_ps(c[k], a, a);
  }
  for (int k = 1; k < CHAINS; k++) c[0] = _mm512_add_ps(c[k], c[0]);
  return _mm512_cvtss_f32(c[0]);
}
#else
static float fma_scalar(int64_t n) {
  float a = 0.999f, b = 0.001f, c[CHAINS] = {0};
  for (int64_t i = 0; i < n; i++)
    for (int k = 0; k < CHAINS; k++) c[k] = c[k] * a + b;
  for (int k = 1; k < CHAINS; k++) c[0] += c[k];
  return c[0];
}
#endif

/// Runs a loop of multiply-adds, `lanes` in each of its chains.
static void measure_flops(probe *p, float (*loop)(int64_t), int lanes) {
  enum { ROUNDS = 1 << 16 };
  volatile int64_t rounds = ROUNDS;  // unknown, or one call would do for all
  volatile float sink = loop(rounds);
  double begin = now_seconds(), end, flops = 0;
  do {
    sink = sink + loop(rounds);
    flops += 2. * CHAINS * lanes * ROUNDS;
    end = now_seconds();
  } while (end - begin < SECONDS / BURSTS);
  p->rate = flops / (end - begin);
}

static void probe_fma(probe *p) {
  float (*loop)(int64_t);
  int lanes;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f"))
    loop = fma_512, lanes = 16;
  else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    loop = fma_256, lanes = 8;
  else
    loop = fma_128, lanes = 4;
#else
  loop = fma_scalar, lanes = 1;
#endif
  measure_flops(p, loop, lanes);
}

#if defined(__x86_64__)
static void probe_pairs(probe *p) { measure_flops(p, pairs_512, 32); }
#endif

static void *probe_main(void *argument) {
  probe *p = argument;
  pthread_barrier_wait(p->start);
  p->run(p);
  return NULL;
}

/// The sum of the rates of all threads.
static double run_probes(void (*run)(probe *), int threads, size_t bytes) {
  probe probes[MAX_THREADS];
  pthread_t ids[MAX_THREADS];
  pthread_barrier_t start;
  pthread_barrier_init(&start, NULL, (unsigned)threads);
  double total = 0;
  for (int i = 0; i < threads; i++) {
    probes[i] = (probe){.run = run, .start = &start, .bytes = bytes};
    if (bytes) {
      probes[i].from = aligned_alloc(64, bytes);
      probes[i].to = aligned_alloc(64, bytes);
      if (!probes[i].from || !probes[i].to) exit(EXIT_ENVIRONMENT);
      memset(probes[i].from, 1, bytes);
      memset(probes[i].to, 2, bytes);
    }
  }
  for (int i = 1; i < threads; i++)
    if (pthread_create(&ids[i], NULL, probe_main, &probes[i])) exit(EXIT_ENVIRONMENT);
  probe_main(&probes[0]);
  for (int i = 0; i < threads; i++) {
    if (i) pthread_join(ids[i], NULL);
    total += probes[i].rate;
    free(probes[i].from);
    free(probes[i].to);
  }
  pthread_barrier_destroy(&start);
  return total;
}

/// The best of several bursts: what else the machine does lowers a few of them, not the ceiling.
static double best_burst(void (*run)(probe *), int threads) {
  double best = 0;
  for (int i = 0; i < BURSTS; i++) {
    double rate = run_probes(run, threads, 0);
    if (rate > best) best = rate;
  }
  return best;
}

roofline measure_roofline(double footprint_bytes, int threads, bool bf16) {
  if (threads < 1) threads = 1;
  if (threads > MAX_THREADS) threads = MAX_THREADS;
  // Read and written halves, divided over the threads; from 4 KB to 128 MB each.
  double half = footprint_bytes / 2 / threads;
  if (half < 4096) half = 4096;
  if (half > (128 << 20)) half = 128 << 20;
  size_t bytes = (size_t)half / 64 * 64;
  // Plain stores win in the caches, streaming ones beyond: the ceiling is the better of the two.
  double copied = run_probes(probe_copy, threads, bytes);
#if defined(__x86_64__)
  double streamed = run_probes(probe_streaming, threads, bytes);
  if (streamed > copied) copied = streamed;
#endif
  roofline r = {copied, best_burst(probe_fma, threads), "f32 FMA"};
#if defined(__x86_64__)
  bool pairs = bf16 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16");
  double paired = pairs ? best_burst(probe_pairs, threads) : 0;
  if (paired > r.flops_per_second) r = (roofline){copied, paired, "bf16 pairs"};
#else
  (void)bf16;
#endif
  return r;
}
