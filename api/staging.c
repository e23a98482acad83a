// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arguments and results of calls on a device: what is used in place and what is copied.
//
//   argument                                     used
//   on the host                                  a row-major copy on the device
//   on the device, first element at 16 k         itself (strides are compiled in)
//   on the device, elsewhere                     a copy with the same strides
//   strided, for host functions or tile IR       a row-major copy
//   result
//   on the device, row-major, at 16 k, alone     itself
//   any other                                    a new one, copied afterwards
#include "api/session.h"

enum { ALIGNMENT = 16 };

static bool is_placed(const tensor *t) { return (uintptr_t)t->data % ALIGNMENT == 0; }

static bool wants_row_major(const tcf_function *f) {
  for (int i = 0; f->graph && i < f->graph->nodes.len; i++)
    if (f->graph->nodes.data[i]->op == OP_call) return true;
  return f->tile;
}

/// A caller's stream: copies are made in its order, and none while it is captured.
static tcf_status may_copy(call *c, cuda_device *d, const char *what, const sig_value *v) {
  tcf_session *s = c->function->program->session;
  error e;
  if (!c->borrowed) return TCF_OK;
  if (cuda_is_capturing(d, c->stream))
    return session_fail(s, TCF_WRONG_USE,
                        "%s %s would have to be copied, which is not done while the stream is "
                        "captured",
                        what, v->name);
  return cuda_follow(d, c->stream, &e) ? TCF_OK : session_fail_error(s, &e);
}

static tcf_status on_host(const call *c, const char *what, const sig_value *v) {
  return session_fail(c->function->program->session, TCF_WRONG_USE,
                      "%s %s is in the host's memory: calls on a stream take tensors of the device",
                      what, v->name);
}

static tensor *copy_to(cuda_device *d, const tensor *t, error *e) {
  tensor *x = cuda_tensor_new(d, t->type, t->rank, t->dims, e);
  if (x && tensor_transfer(x, t, e)) return x;
  tensor_free(x);
  return NULL;
}

/// Only strides matter for which variant is compiled.
static tcf_status stage_for_compiling(call *c, int i) {
  const tensor *t = c->args[i];
  error e;
  if (t->device || tensor_is_contiguous(t)) return TCF_OK;
  c->used[i] = c->copies[i] = tensor_compact(t, &e);
  return c->used[i] ? TCF_OK : session_fail_error(c->function->program->session, &e);
}

static tcf_status stage_argument(call *c, cuda_device *d, int i, bool row_major) {
  const tensor *t = c->used[i] = c->args[i];
  const sig_value *v = &c->function->sig.params[i];
  if (c->prepare_only && !c->tunes && !t->device) return stage_for_compiling(c, i);
  if (!t->device && c->borrowed) return on_host(c, "argument", v);
  bool compact = !t->device || !tensor_is_aligned(t) || (row_major && !tensor_is_contiguous(t));
  if (!compact && is_placed(t)) return TCF_OK;
  if (!t->device) c->waits = true;
  error e;
  tcf_status status = may_copy(c, d, "argument", v);
  if (status) return status;
  c->used[i] = c->copies[i] = compact ? copy_to(d, t, &e) : cuda_tensor_realigned(t, &e);
  return c->used[i] ? TCF_OK : session_fail_error(c->function->program->session, &e);
}

tcf_status stage_arguments(call *c) {
  tcf_session *s = c->function->program->session;
  cuda_device *d;
  cuda_scope scope;
  error e;
  tcf_status status = session_device(s, &d);
  if (status) return status;
  if (!cuda_enter(&scope, d, &e)) return session_fail_error(s, &e);
  bool row_major = wants_row_major(c->function);
  for (int i = 0; !status && i < c->function->sig.nparams; i++)
    status = stage_argument(c, d, i, row_major);
  cuda_leave(&scope);
  return status;
}

static bool some_argument_is_there(const call *c) {
  for (int i = 0; i < c->function->sig.nparams; i++)
    if (c->args[i]->device) return true;
  return c->borrowed;
}

tcf_status stage_result(call *c, int i, const int64_t *dims) {
  tcf_session *s = c->function->program->session;
  const sig_value *v = &c->function->sig.results[i];
  tensor *given = c->results[i];
  error e;
  if (given && given->device && tensor_is_contiguous(given) && is_placed(given) &&
      !call_overlaps(c, given, i))
    return c->targets[i] = given, TCF_OK;
  if (given && !given->device && c->borrowed) return on_host(c, "result", v);
  tcf_status status = may_copy(c, s->device, "result", v);
  if (status) return status;
  if (!given && !some_argument_is_there(c)) {
    c->fresh[i] = tensor_new(v->type, v->rank, dims, &e);
    if (!c->fresh[i]) return session_fail_error(s, &e);
  }
  if (c->fresh[i] || (given && !given->device)) c->waits = true;
  c->made[i] = c->targets[i] = cuda_tensor_new(s->device, v->type, v->rank, dims, &e);
  return c->made[i] ? TCF_OK : session_fail_error(s, &e);
}

tcf_status unstage_results(call *c) {
  tcf_session *s = c->function->program->session;
  error e;
  bool copied = false;
  for (int i = 0; i < c->function->sig.nresults; i++) {
    tensor *to = c->fresh[i] ? c->fresh[i] : c->results[i];
    if (!c->made[i] || !to) continue;
    if (!tensor_transfer(to, c->made[i], &e)) return session_fail_error(s, &e);
    copied = true;
  }
  if (copied && c->borrowed && !cuda_join(s->device, c->stream, &e))
    return session_fail_error(s, &e);
  return TCF_OK;
}
