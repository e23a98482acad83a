// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The backward part of a whole function, for who runs it apart from the forward part: what
// `grad(result, x..., seed = d_result)` would be for all results at once.
#include "frontend/lower.h"
#include "ir/grad.h"

static void warn(scope *s, const param *p, str why) {
  str text =
      str_printf(s->l->arena, "the gradient for %.*s is 0: %.*s", STR_FMT(p->name), STR_FMT(why));
  vec_push(s->l->arena, &s->l->warnings, (late_warning){DIAG_grad_independent, p->at, text});
}

static void warn_of_independent(scope *s, const grad_result *r) {
  const backward_request *b = s->l->backward;
  for (int i = 0; i < b->nparams; i++) {
    const param *p = &s->f->params.data[b->params[i]];
    if (r->reached[i]) continue;
    warn(s, p,
         r->flat[i] ? STR("only ops that are flat (floor, round, sign) lead from it to results")
                    : STR("no result depends on it"));
  }
}

static void no_derivative(scope *s, const node *n) {
  bool call = n->op == OP_call;
  str name = call ? n->name : str_from(op_get(n->op)->name);
  diag *d = scope_error(
      s, DIAG_no_derivative, n->at,
      call ? "`%.*s` is an extern function without a derivative" : "`%.*s` has no derivative",
      STR_FMT(name));
  scope_note(s, d, s->f->name_at, "on the way back from the results of `%.*s`",
             STR_FMT(s->f->name));
  if (call)
    scope_note(s, d, n->at, "give it one: extern fn %.*s(...) -> ... vjp NAME", STR_FMT(name));
  else scope_note(s, d, n->at, "stop(...) makes a value a constant for derivatives");
}

bool add_backward(scope *s) {
  lowerer *l = s->l;
  const backward_request *b = l->backward;
  grad_call_site site = {s, s->f->name_at};
  grad_options options = {.custom = custom_operands, .apply = custom_apply, .ctx = &site};
  node **x = arena_array(l->arena, node *, b->nparams);
  for (int i = 0; i < b->nparams; i++) x[i] = l->g->nodes.data[b->params[i]];
  grad_result r;
  l->warnings.len = 0;
  if (!graph_add_backward(l->g, x, b->nparams, &options, &r)) {
    if (!r.reported) no_derivative(s, r.failed);
    close_error(l);
    return false;
  }
  warn_of_independent(s, &r);
  return true;
}
