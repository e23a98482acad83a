// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The device of a session: opened when first needed; calls started on it; errors found there.
#include <stdio.h>
#include <stdlib.h>

#include "api/session.h"

int session_ordinal(const tcf_session *s) { return s->target == TARGET_CUDA ? s->ordinal : -1; }

tcf_status session_device(tcf_session *s, cuda_device **out) {
  error e;
  if (s->target != TARGET_CUDA)
    return session_fail(s, TCF_UNAVAILABLE, "the session's target is no CUDA device");
  if (s->ordinal < 0)
    return session_fail(s, TCF_UNAVAILABLE,
                        "the target cuda:%.*s is an architecture, not a device: its code can be "
                        "looked at, not run",
                        STR_FMT(s->cpu));
  if (!s->device && !(s->device = cuda_open(s->ordinal, &e))) return session_fail_error(s, &e);
  *out = s->device;
  return TCF_OK;
}

// ---- what the cost model goes by

tcf_status device_figures(tcf_session *s, target_info *out) {
  if (s->ordinal < 0) return named_figures(s, out);
  cuda_device *device;
  tcf_status status = session_device(s, &device);
  if (status) return status;
  const cuda_info *d = cuda_device_info(device);
  const target_info *arch = target_of_device(d->major * 10 + d->minor);
  if (!arch)
    return session_fail(s, TCF_UNAVAILABLE,
                        "%s: no code can be made for compute capability %d.%d; known: %.*s",
                        d->name, d->major, d->minor, STR_FMT(target_gpu_names(&s->arena)));
  *out = *arch;
  s->cpu = target_arch(arch);
  double scale = out->cores ? (double)d->multiprocessors / out->cores : 1;
  out->tensor_flops_per_second *= scale;
  out->tf32_flops_per_second *= scale;
  out->cores = d->multiprocessors;
  out->threads_per_core = d->threads_per_sm;
  out->registers_per_core = d->registers_per_sm;
  out->l1_bytes = out->shared_per_block = d->shared_per_block;
  out->shared_per_core = d->shared_per_sm;
  out->l2_bytes = out->l3_bytes = d->l2_bytes;
  // The driver's figure is the pins'; about nine tenths of it can be had.
  if (d->bytes_per_second > 0) out->bytes_per_second = 0.9 * d->bytes_per_second;
  return TCF_OK;
}

static tcf_status describe(tcf_session *s, tcf_device_info *info) {
  const target_info *t;
  tcf_status given = need(s, info, "the info");
  if (given) return given;
  if (info->size < offsetof(tcf_device_info, tensor_flops_per_second))
    return session_fail(s, TCF_WRONG_USE, "tcf_device_info.size is not set");
  if (s->target != TARGET_CUDA)
    return session_fail(s, TCF_UNAVAILABLE, "the session's target is no CUDA device");
  tcf_status status = session_target(s, &t);
  if (status) return status;
  const cuda_info *d = s->device ? cuda_device_info(s->device) : NULL;
  cuda_spent spent = s->device ? cuda_device_spent(s->device) : (cuda_spent){0};
  tcf_device_info out = {.size = info->size,
                         .ordinal = s->ordinal,
                         .multiprocessors = t->cores,
                         .memory_bytes = d ? d->memory_bytes : 0,
                         .l2_bytes = t->l2_bytes,
                         .shared_bytes = t->shared_per_block,
                         .bytes_per_second = t->bytes_per_second,
                         .flops_per_second = t->flops_per_second * t->cores,
                         .tensor_flops_per_second = t->tensor_flops_per_second,
                         .start_seconds = spent.start,
                         .kernel_seconds = spent.kernels};
  snprintf(out.name, sizeof out.name, "%s", d ? d->name : "no device");
  snprintf(out.arch, sizeof out.arch, "%.*s", STR_FMT(s->cpu));
  memcpy(info, &out, info->size < sizeof out ? info->size : sizeof out);
  return TCF_OK;
}

tcf_status tcf_session_device(tcf_session *s, tcf_device_info *info) {
  entry e;
  tcf_status status = entry_open(&e, s);
  return status ? status : entry_close(&e, describe(s, info));
}

// ---- loading

static bool find_symbol(tcf_session *s, arena *a, str function, const device_code *c,
                        const char *suffix, const void **out, str *why) {
  const char *name = str_printf(a, "%.*s_%s", STR_FMT(function), suffix).ptr;
  return (*out = jit_symbol(s->jit, c->object, name, a, why));
}

/// Of an object that is loaded.
static tcf_status find_code(tcf_session *s, arena *a, str function, device_code *c) {
  const void *kernels, *image, *size;
  str why = STR("");
  if (!find_symbol(s, a, function, c, "kernels", &kernels, &why) ||
      !find_symbol(s, a, function, c, "image", &image, &why) ||
      !find_symbol(s, a, function, c, "image_size", &size, &why))
    return session_fail(s, TCF_INTERNAL, "the compiled code of %.*s cannot be loaded: %.*s",
                        STR_FMT(function), STR_FMT(why));
  c->kernels = kernels;
  c->image = image;
  c->image_size = *(const int64_t *)size;
  return TCF_OK;
}

tcf_status device_code_open(tcf_session *s, arena *a, str function, code object, device_code *out) {
  str why = STR("");
  tcf_status status = session_llvm_room(s);
  if (status) return status;
  if (!s->jit) s->jit = jit_new(&why, &s->arena);
  out->object = s->jit ? jit_load(s->jit, object.data, object.size, a, &why) : NULL;
  if (!out->object)
    return session_fail(s, TCF_INTERNAL, "the compiled code of %.*s cannot be loaded: %.*s",
                        STR_FMT(function), STR_FMT(why));
  status = find_code(s, a, function, out);
  if (status) device_code_close(s, out);
  return status;
}

void device_code_close(tcf_session *s, device_code *c) { jit_unload(s->jit, c->object); }

tcf_status device_load(tcf_session *s, variant *v) {
  device_code c = {.object = v->object};
  error e;
  cuda_device *d;
  tcf_status status = session_device(s, &d);
  if (!status) status = find_code(s, &v->arena, c_symbol(&v->arena, str_from(v->function->name)), &c);
  if (status) return status;
  v->module =
      cuda_module_compile(d, c.kernels, c.image, (size_t)c.image_size, session_cache(s), &e);
  if (v->module && v->sites.len) v->errors = cuda_error_word(d, &e);
  if (v->module && (v->errors || !v->sites.len)) return TCF_OK;
  device_unload(s, v);
  return session_fail(s, e.kind == ERROR_MEMORY ? TCF_NO_MEMORY : TCF_UNAVAILABLE, "%s: %s",
                      v->function->name, e.text);
}

void device_unload(tcf_session *s, variant *v) {
  if (!v->module) return;
  cuda_wait(s->device, NULL);  // nothing of it may still run
  cuda_module_free(v->module);
  cuda_error_word_free(s->device, v->errors);
  v->module = NULL;
  v->errors = NULL;
}

// ---- calls

/// What starts a call's kernels, on the stack of the caller.
typedef struct device_run {
  const invocation *in;
  cuda_call call;
  tcf_frame frame;
  host_context host;
} device_run;

static int32_t run_entry(void *ctx) {
  device_run *r = ctx;
  const variant *v = r->in->variant;
  return call_invoke(&v->shape, v->entry, r->in->pointers, r->in->symbols, &r->frame);
}

/// Host functions see copies in the host's memory.
static int32_t call_host_step(void *context, int32_t at, void *const *ptrs, const int64_t *dims) {
  device_run *r = context;
  const variant *v = r->in->variant;
  cuda_device *d = r->host.session->device;
  const host_step *h = NULL;
  for (int i = 0; i < v->hosts.len; i++)
    if (v->hosts.data[i].step == at) h = &v->hosts.data[i];
  check(h);
  void *copies[h->nbufs];
  size_t bytes[h->nbufs];
  const int64_t *next = dims;
  bool ok = true;
  error e;
  memset(copies, 0, sizeof copies);
  for (int i = 0; i < h->nbufs; next += h->ranks[i++]) {
    bytes[i] = host_bytes(h, i, next);
    copies[i] = ok ? tensor_memory(bytes[i]) : NULL;
    ok = copies[i] || (ok && error_set(&e, ERROR_MEMORY, "out of memory"));
    if (ok && i < h->nbufs - 1) ok = cuda_copy(d, CUDA_TO_HOST, copies[i], ptrs[i], bytes[i], &e);
  }
  if (!ok) snprintf(r->host.message, sizeof r->host.message, "%.255s", e.text);
  // What a failed check left is not shown to the function.
  if (ok && v->errors) ok = cuda_wait(d, NULL) && !v->errors->site;
  ok = ok && !host_call(&r->host, at, copies, dims);
  int last = h->nbufs - 1;
  if (ok && !cuda_copy(d, CUDA_TO_DEVICE, ptrs[last], copies[last], bytes[last], &e)) {
    snprintf(r->host.message, sizeof r->host.message, "%.255s", e.text);
    ok = false;
  }
  for (int i = 0; i < h->nbufs; i++) free(copies[i]);
  return !ok;
}

static tcf_status launch_error(const device_run *r) {
  const variant *v = r->in->variant;
  tcf_program *p = v->function->program;
  bool known = r->call.step >= 0 && r->call.step < v->steps.len;
  span at = known ? v->steps.data[r->call.step].at : (span){0};
  tcf_status status = r->call.error.kind == ERROR_MEMORY ? TCF_NO_MEMORY : TCF_UNAVAILABLE;
  if (!at.file)
    return session_fail(p->session, status, "%s: %s", v->function->name, r->call.error.text);
  line_col lc = diag_line_col(&p->diags, at);
  return session_fail(p->session, status, "%.*s:%d:%d: %s",
                      STR_FMT(p->diags.files.data[at.file - 1].path), lc.line, lc.col,
                      r->call.error.text);
}

static tcf_status found_errors(const variant *v) {
  tcf_device_error found = *v->errors;
  if (!found.site) return TCF_OK;
  *v->errors = (tcf_device_error){0};
  return report_index_error(v, found.site, found.index, NULL);
}

static tcf_status outcome(const device_run *r, int32_t result) {
  const variant *v = r->in->variant;
  tcf_session *s = r->host.session;
  switch (result) {
    case TCF_CALL_OK: return TCF_OK;
    case TCF_CALL_HOST:
      if (v->errors && v->errors->site) return found_errors(v);
      return host_failure(&r->host);
    case TCF_CALL_LAUNCH: return launch_error(r);
    default:
      return session_fail(s, TCF_INTERNAL, "%s returned an unknown status", v->function->name);
  }
}

static void open_run(device_run *r, const invocation *in, void *arena) {
  const variant *v = in->variant;
  tcf_session *s = v->function->program->session;
  r->in = in;
  r->call = (cuda_call){.module = v->module, .errors = v->errors, .step = -1};
  r->host.session = s;
  r->host.variant = v;
  r->host.message[0] = 0;
  r->host.no_memory = false;
  r->frame = (tcf_frame){.arena = arena,
                         .host = r,
                         .host_call = call_host_step,
                         .device = &r->call,
                         .launch = cuda_launch};
}

static tcf_status reserve_arena(tcf_session *s, int64_t bytes) {
  error e;
  call_memory *m = &s->device_arena;
  if (bytes <= 0 || (uint64_t)bytes <= m->size) return TCF_OK;
  cuda_free(s->device, m->data);  // in the order of the stream: after what uses it
  m->data = cuda_alloc(s->device, (size_t)bytes, &e);
  m->size = m->data ? (size_t)bytes : 0;
  return m->data ? TCF_OK : session_fail_error(s, &e);
}

/// Everything that the launches of a call depend on.
static int32_t run_recorded(device_run *r) {
  const invocation *in = r->in;
  const variant *v = in->variant;
  int npointers = v->shape.npointers, n = 0;
  int64_t key[npointers + v->symbols.len + 1];
  for (int i = 0; i < npointers; i++) key[n++] = (int64_t)(uintptr_t)in->pointers[i];
  for (int i = 0; i < v->symbols.len; i++) key[n++] = in->symbols[i];
  key[n++] = (int64_t)(uintptr_t)r->frame.arena;
  return cuda_run(&r->call, key, n, run_entry, r);
}

/// On the device's stream, with the context current.
static tcf_status run_here(const invocation *in) {
  const variant *v = in->variant;
  tcf_session *s = v->function->program->session;
  tcf_status status = reserve_arena(s, in->arena_bytes);
  if (status) return status;
  device_run r;
  open_run(&r, in, s->device_arena.data);
  if (v->steps.len > 1 && !v->hosts.len) return outcome(&r, run_recorded(&r));
  r.call.stream = cuda_stream(s->device, &r.call.error);
  return outcome(&r, r.call.stream ? run_entry(&r) : TCF_CALL_LAUNCH);
}

static tcf_status device_failure(const variant *v, const error *e) {
  return session_fail(
      v->function->program->session, e->kind == ERROR_MEMORY ? TCF_NO_MEMORY : TCF_UNAVAILABLE,
      "%s: %s (TCF_CUDA_SYNC=1 in the environment tells the kernel)", v->function->name, e->text);
}

tcf_status device_invoke(const invocation *in) {
  const variant *v = in->variant;
  tcf_session *s = v->function->program->session;
  error e;
  cuda_scope scope;
  if (!cuda_enter(&scope, s->device, &e)) return session_fail_error(s, &e);
  tcf_status status = run_here(in);
  if (!status && v->errors)
    status = cuda_wait(s->device, &e) ? found_errors(v) : device_failure(v, &e);
  cuda_leave(&scope);
  return status;
}

/// Directly on the stream, intermediates in memory of the call's own.
static tcf_status run_there(const invocation *in, void *stream) {
  device_run r;
  open_run(&r, in, NULL);
  return outcome(&r, cuda_run_on(&r.call, stream, in->arena_bytes, &r.frame.arena, run_entry, &r));
}

tcf_status device_invoke_on(const invocation *in, void *stream) {
  const variant *v = in->variant;
  tcf_session *s = v->function->program->session;
  cuda_device *d = s->device;
  error e;
  cuda_scope scope;
  tcf_status status;
  if (!cuda_enter(&scope, d, &e)) return session_fail_error(s, &e);
  bool capturing = cuda_is_capturing(d, stream);
  if (v->errors) s->unchecked_errors = true;
  if ((capturing || in->arena_bytes <= 0) && !v->hosts.len) {
    status = run_there(in, stream);
  } else if (capturing) {
    status = session_fail(s, TCF_WRONG_USE, "%s calls host functions: a captured stream cannot",
                          v->function->name);
  } else {
    // Where the arena and the recorded graphs are.
    status = cuda_follow(d, stream, &e) ? run_here(in) : session_fail_error(s, &e);
    if (!status && !cuda_join(d, stream, &e)) status = session_fail_error(s, &e);
  }
  cuda_leave(&scope);
  return status;
}

// ---- waiting

static tcf_status collect(tcf_session *s) {
  tcf_status first = TCF_OK;
  for (tcf_program *p = s->programs; p; p = p->next)
    for (int i = 0; i < p->nfunctions; i++)
      for (int k = 0; k < p->functions[i].variants.len; k++) {
        const variant *v = p->functions[i].variants.entries[k].value;
        if (!v->errors || !v->errors->site) continue;
        if (!first) first = found_errors(v);
        else *v->errors = (tcf_device_error){0};
      }
  return first;
}

static tcf_status synchronize(tcf_session *s) {
  error e;
  if (!s->device) return TCF_OK;
  if (!cuda_wait(s->device, &e)) return session_fail_error(s, &e);
  bool unchecked = s->unchecked_errors;
  s->unchecked_errors = false;
  return unchecked ? collect(s) : TCF_OK;
}

tcf_status tcf_synchronize(tcf_session *s) {
  entry e;
  tcf_status status = entry_open(&e, s);
  return status ? status : entry_close(&e, synchronize(s));
}
