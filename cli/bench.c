// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// --bench: the median time of a call, what it moved and computed, and the share of the roofline
// measured right after it.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli/cli.h"

enum { MOST_RUNS = 100000, FEWEST_RUNS = 5 };
static const double SECONDS = 0.5;

double now_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

void print_time(const char *label, double seconds) {
  if (seconds < 1e-3)
    printf("%s %.2f us", label, seconds * 1e6);
  else if (seconds < 1)
    printf("%s %.3f ms", label, seconds * 1e3);
  else
    printf("%s %.3f s", label, seconds);
}

bool has_params_of(const tcf_function *f, tcf_dtype type) {
  tcf_value_info v;
  for (size_t i = 0; i < tcf_function_params(f); i++)
    if (!tcf_function_param(f, i, &v) && v.dtype == type) return true;
  return false;
}

int bench(tcf_session *s, tcf_function *f, const inputs *in, tcf_tensor **results, int threads,
          const ready_times *ready) {
  size_t n = tcf_function_results(f);
  const tcf_tensor *const *args = (const tcf_tensor *const *)in->tensors;
  double *times = malloc(sizeof *times * MOST_RUNS);
  if (!times) return complain("out of memory"), EXIT_ENVIRONMENT;
  int runs = 0;
  tcf_status status = tcf_call(f, args, in->count, results, n);
  double begin = now_seconds(), at = begin;
  while (!status && runs < MOST_RUNS && (runs < FEWEST_RUNS || at - begin < SECONDS)) {
    status = tcf_call(f, args, in->count, results, n);
    double end = now_seconds();
    times[runs++] = end - at;
    at = end;
  }
  tcf_cost cost = {0};
  if (!status) status = tcf_function_cost(f, args, in->count, &cost);
  if (status) {
    free(times);
    return report(s, status);
  }
  qsort(times, (size_t)runs, sizeof *times, by_value);
  double median = times[runs / 2], bytes = cost.bytes_read + cost.bytes_written;
  roofline roof = measure_roofline(bytes, threads, has_params_of(f, TCF_BF16));
  double memory = bytes / roof.bytes_per_second, compute = cost.flops / roof.flops_per_second;
  double bound = memory > compute ? memory : compute;
  printf("bench %s: ", tcf_function_name(f));
  print_time("median", median);
  print_time(", best", times[0]);
  print_time("; ready in", ready->seconds);
  printf("; %d runs, %d thread%s, %d kernel%s\n", runs, threads, threads == 1 ? "" : "s",
         cost.kernels, cost.kernels == 1 ? "" : "s");
  printf("  %.4g GB/s (%.4g MB moved), %.4g GFLOP/s (%.4g Mflop)\n", bytes / median * 1e-9,
         bytes * 1e-6, cost.flops / median * 1e-9, cost.flops * 1e-6);
  printf(
      "  roofline: copy %.4g GB/s at this footprint, %s %.4g GFLOP/s; %.0f %% of it, bound by "
      "%s%s\n",
      roof.bytes_per_second * 1e-9, roof.unit, roof.flops_per_second * 1e-9, bound / median * 100,
      memory > compute ? "memory" : "arithmetic",
      bound > 1.05 * median ? " (that peak was measured too low: the machine was busy)" : "");
  free(times);
  return EXIT_DONE;
}
