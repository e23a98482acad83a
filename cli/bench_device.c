// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// --bench on a CUDA device: times taken there by events, with arguments and results in its memory;
// the roofline is a copy of as many bytes, measured the same way right after.
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

enum { FEWEST = 10, MOST = 1000, FIRST = 5, HOST_CALLS = 200 };
static const double SECONDS = 0.3;

typedef struct device_bench {
  tcf_session *session;
  tcf_function *function;
  tcf_tensor **args, **results;
  size_t nargs, nresults;
} device_bench;

static tcf_status make_twin(tcf_session *s, const tcf_tensor *t, tcf_tensor **out) {
  return tcf_tensor_new_device(s, tcf_tensor_dtype(t), tcf_tensor_rank(t), tcf_tensor_dims(t), out);
}

static tcf_status make_tensors(device_bench *b, const inputs *in, tcf_tensor *const *results) {
  b->nargs = in->count;
  b->nresults = tcf_function_results(b->function);
  b->args = calloc(b->nargs + 1, sizeof *b->args);
  b->results = calloc(b->nresults + 1, sizeof *b->results);
  tcf_status status = b->args && b->results ? TCF_OK : TCF_NO_MEMORY;
  for (size_t i = 0; !status && i < b->nargs; i++) {
    status = make_twin(b->session, in->tensors[i], &b->args[i]);
    if (!status) status = tcf_tensor_copy(b->session, b->args[i], in->tensors[i]);
  }
  for (size_t i = 0; !status && i < b->nresults; i++)
    status = make_twin(b->session, results[i], &b->results[i]);
  return status;
}

static void free_tensors(device_bench *b) {
  for (size_t i = 0; b->args && i < b->nargs; i++) tcf_tensor_free(b->args[i]);
  for (size_t i = 0; b->results && i < b->nresults; i++) tcf_tensor_free(b->results[i]);
  free(b->args);
  free(b->results);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/// Sorted times of as many runs as fit a fraction of a second.
static tcf_status take_times(device_bench *b, bool cold, double *times, int *runs) {
  const tcf_tensor *const *args = (const tcf_tensor *const *)b->args;
  *runs = FIRST;
  for (int pass = 0; pass < 2; pass++) {
    tcf_status status = tcf_device_time(b->function, args, b->nargs, b->results, b->nresults, cold,
                                        (size_t)*runs, times);
    if (status) return status;
    qsort(times, (size_t)*runs, sizeof *times, by_value);
    double wanted = pass ? *runs : SECONDS / (times[FIRST / 2] + 5e-6);
    *runs = pass ? *runs : wanted < FEWEST ? FEWEST : wanted > MOST ? MOST : (int)wanted;
  }
  return TCF_OK;
}

/// Seconds of the host for a call, work on the device not waited for.
static tcf_status host_time(device_bench *b, double *seconds) {
  const tcf_tensor *const *args = (const tcf_tensor *const *)b->args;
  tcf_status status = tcf_synchronize(b->session);
  double begin = now_seconds();
  for (int i = 0; !status && i < HOST_CALLS; i++)
    status = tcf_call(b->function, args, b->nargs, b->results, b->nresults);
  *seconds = (now_seconds() - begin) / HOST_CALLS;
  return status ? status : tcf_synchronize(b->session);
}

static void print_kernels(device_bench *b) {
  tcf_kernel_usage k;
  const tcf_tensor *const *args = (const tcf_tensor *const *)b->args;
  for (size_t i = 0; !tcf_function_kernel(b->function, args, b->nargs, i, &k); i++)
    printf(
        "  kernel %s: %d threads, %d registers, %d bytes spilled, %d bytes shared, %d block%s "
        "per multiprocessor\n",
        k.name, k.threads, k.registers, k.spilled_bytes, k.shared_bytes,
        k.blocks_per_multiprocessor, k.blocks_per_multiprocessor == 1 ? "" : "s");
}

static tcf_status measure(device_bench *b, const tcf_device_info *d, const ready_times *ready) {
  static double warm[MOST], cold[MOST];
  const tcf_tensor *const *args = (const tcf_tensor *const *)b->args;
  int runs, cold_runs;
  double host, copied, copied_cold;
  tcf_cost cost;
  tcf_status status = tcf_call(b->function, args, b->nargs, b->results, b->nresults);
  if (!status) status = tcf_function_cost(b->function, args, b->nargs, &cost);
  if (!status) status = take_times(b, false, warm, &runs);
  if (!status) status = take_times(b, true, cold, &cold_runs);
  if (!status) status = host_time(b, &host);
  double bytes = status ? 0 : cost.bytes_read + cost.bytes_written;
  if (!status) status = tcf_device_copy_rate(b->session, (int64_t)bytes, 0, &copied);
  if (!status) status = tcf_device_copy_rate(b->session, (int64_t)bytes, 1, &copied_cold);
  if (status) return status;
  bool small = has_params_of(b->function, TCF_F16) || has_params_of(b->function, TCF_BF16);
  double peak = small ? d->tensor_flops_per_second : d->flops_per_second;
  double median = warm[runs / 2], memory = bytes / copied, compute = cost.flops / peak;
  printf("bench %s: ", tcf_function_name(b->function));
  print_time("median", median);
  print_time(", best", warm[0]);
  print_time(", cold cache", cold[cold_runs / 2]);
  print_time("; host", host);
  print_time("; ready in", ready->seconds);
  print_time(" (the driver's start", ready->start);
  print_time(", its kernels", ready->kernels);
  print_time(", ours", ready->seconds - ready->start - ready->kernels);
  putchar(')');
  printf("; %d runs, %d kernel%s\n", runs, cost.kernels, cost.kernels == 1 ? "" : "s");
  printf("  %s: %.4g GB/s (%.4g MB moved; cold %.4g GB/s), %.4g TFLOP/s (%.4g Mflop)\n", d->name,
         bytes / median * 1e-9, bytes * 1e-6, bytes / cold[cold_runs / 2] * 1e-9,
         cost.flops / median * 1e-12, cost.flops * 1e-6);
  printf(
      "  roofline: copy %.4g GB/s at this footprint (cold %.4g), %s %.4g TFLOP/s by its figures; "
      "%.0f %% of it, bound by %s\n",
      copied * 1e-9, copied_cold * 1e-9, small ? "tensor cores" : "f32 FMA", peak * 1e-12,
      (memory > compute ? memory : compute) / median * 100,
      memory > compute ? "memory" : "arithmetic");
  print_kernels(b);
  return TCF_OK;
}

int bench_device(tcf_session *s, tcf_function *f, const inputs *in, tcf_tensor **results,
                 const tcf_device_info *d, const ready_times *ready) {
  device_bench b = {.session = s, .function = f};
  tcf_status status = make_tensors(&b, in, results);
  if (!status) status = measure(&b, d, ready);
  free_tensors(&b);
  return report(s, status);
}
