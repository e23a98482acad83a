// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A function together with its backward part:
//
//   graph @f(%x: f32[N], %k: i32) {          graph @f(%x: f32[N], %k: i32, %d_out: f32[N]) {
//     %2 = exp %x : f32[N]            ──▶      %3 = exp %x : f32[N]
//     return %2                                %4 = mul %d_out, %3 : f32[N] phase 1
//   }                                          return %3, %4 as d_x
//                                            }
#include "ir/grad.h"

str graph_derivative_name(arena *a, str of) { return str_printf(a, "d_%.*s", STR_FMT(of)); }

bool graph_add_backward(graph *g, node *const *x, int nx, const grad_options *options,
                        grad_result *out) {
  int nresults = g->outputs.len, ny = 0;
  node **y = arena_array(g->arena, node *, nresults),
       **seeds = arena_array(g->arena, node *, nresults);
  for (int k = 0; k < nresults; k++) {
    output *o = &g->outputs.data[k];
    if (!dtype_is_float(o->value->type)) continue;
    y[ny] = o->value;
    seeds[ny] = graph_insert_param(g, g->nparams, graph_derivative_name(g->arena, o->name),
                                   grad_type(o->value->type), o->value->axes, o->value->naxes);
    seeds[ny++]->at = o->value->at;
  }
  if (!graph_grad_of_all(g, y, seeds, ny, x, nx, options, out)) return false;
  for (int i = 0; i < nx; i++)
    graph_output(g, out->dx[i], graph_derivative_name(g->arena, x[i]->name));
  return true;
}
