// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Times on the device: calls, copies; and what its compiler made of the kernels.
#include <stdlib.h>

#include "api/session.h"

static size_t flush_bytes(const cuda_device *d, bool cold) {
  return cold ? 4 * (size_t)cuda_device_info(d)->l2_bytes : 0;
}

static tcf_status device_time(tcf_function *f, const tensor *const *args, size_t nargs,
                              tensor *const *results, size_t nresults, int cold, size_t runs,
                              double *seconds) {
  tcf_session *s = f->program->session;
  cuda_device *d;
  error e;
  tcf_status status = session_device(s, &d);
  if (status) return status;
  status = nargs ? need(s, args, "the list of arguments") : TCF_OK;
  if (!status && nresults) status = need(s, results, "the list of results");
  if (!status) status = need(s, seconds, "the list of times");
  if (status) return status;
  for (size_t i = 0; i < nargs + nresults; i++) {
    const tensor *t = i < nargs ? args[i] : results[i - nargs];
    if (!t || !t->device)
      return session_fail(s, TCF_WRONG_USE, "times are taken with tensors of the device");
  }
  cuda_timer *t = cuda_timer_new(d, (int)runs, flush_bytes(d, cold), &e);
  if (!t) return session_fail_error(s, &e);
  bool ok = true;
  for (size_t i = 0; ok && !status && i < runs; i++) {
    ok = cuda_timer_begin(t, &e);
    if (ok) status = function_call(f, args, nargs, (tcf_tensor **)results, nresults);
    ok = ok && !status && cuda_timer_end(t, &e);
  }
  ok = ok && cuda_timer_read(t, seconds, &e);
  cuda_timer_free(t);
  return status || ok ? status : session_fail_error(s, &e);
}

tcf_status tcf_device_time(tcf_function *f, const tcf_tensor *const *args, size_t nargs,
                           tcf_tensor *const *results, size_t nresults, int cold, size_t runs,
                           double *seconds) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  if (status) return status;
  return entry_close(&e, device_time(f, args, nargs, results, nresults, cold, runs, seconds));
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static tcf_status copy_rate(tcf_session *s, int64_t bytes, int cold, double *out) {
  enum { RUNS = 15, WARM = 3 };
  cuda_device *d;
  error e;
  double seconds[RUNS + WARM];
  tcf_status status = session_device(s, &d);
  if (status) return status;
  size_t half = bytes > 2 * 4096 ? (size_t)bytes / 2 / 256 * 256 : 4096;
  void *from = cuda_alloc(d, half, &e), *to = from ? cuda_alloc(d, half, &e) : NULL;
  cuda_timer *t = to ? cuda_timer_new(d, RUNS + WARM, flush_bytes(d, cold), &e) : NULL;
  bool ok = t;
  for (int i = 0; ok && i < RUNS + WARM; i++)
    ok = cuda_timer_begin(t, &e) && cuda_copy(d, CUDA_ON_DEVICE, to, from, half, &e) &&
         cuda_timer_end(t, &e);
  ok = ok && cuda_timer_read(t, seconds, &e);
  cuda_timer_free(t);
  cuda_free(d, from);
  cuda_free(d, to);
  if (!ok) return session_fail_error(s, &e);
  qsort(seconds + WARM, RUNS, sizeof *seconds, by_value);
  *out = 2. * (double)half / seconds[WARM + RUNS / 2];
  return TCF_OK;
}

tcf_status tcf_device_copy_rate(tcf_session *s, int64_t bytes, int cold, double *out) {
  entry e;
  tcf_status status = entry_open(&e, s);
  if (status) return status;
  status = need(s, out, "the rate");
  return entry_close(&e, status ? status : copy_rate(s, bytes, cold, out));
}

// ---- kernels

typedef struct kernel_args {
  tcf_function *function;
  const tensor *const *args;
  size_t nargs, number;
  tcf_kernel_usage *out;
  arena arena;
} kernel_args;

static tcf_status kernel_usage(void *args_) {
  kernel_args *a = args_;
  tcf_function *f = a->function;
  tcf_session *s = f->program->session;
  int64_t *sizes = arena_array(&a->arena, int64_t, f->sig.nsymbols);
  str why = STR("");
  if (!signature_bind(&f->sig, a->args, sizes, &a->arena, &why))
    return session_fail(s, TCF_WRONG_USE, "%.*s", STR_FMT(why));
  variant *v;
  tcf_status status = variant_for(f, a->args, sizes, &v);
  if (status) return status;
  if (!v->module || a->number >= (size_t)cuda_module_kernels(v->module))
    return session_fail(s, TCF_WRONG_USE, "there is no kernel %zu", a->number);
  cuda_usage u;
  error e;
  if (!cuda_module_usage(v->module, (int)a->number, &u, &e)) return session_fail_error(s, &e);
  *a->out = (tcf_kernel_usage){u.name,          u.threads,      u.registers,
                               u.spilled_bytes, u.shared_bytes, u.blocks_per_sm};
  return TCF_OK;
}

tcf_status tcf_function_kernel(tcf_function *f, const tcf_tensor *const *args, size_t nargs,
                               size_t i, tcf_kernel_usage *usage) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  if (status) return status;
  kernel_args a = {f, args, nargs, i, usage, {0}};
  status = need(e.session, usage, "the usage");
  if (!status) status = function_prepare(f, args, nargs);
  if (!status) status = session_guard(e.session, kernel_usage, &a);
  arena_free(&a.arena);
  return entry_close(&e, status);
}
