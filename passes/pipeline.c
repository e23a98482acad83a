// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs passes from the table, verifying the graph after each.
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "passes/passes.h"

static const pass_info pipeline[] = {
#define PASS(name, summary) {#name, pass_##name, summary},
#define AGAIN(name) {#name, pass_##name, NULL},
#include "passes/passes.def"
#undef PASS
#undef AGAIN
};
enum { PIPELINE_LENGTH = sizeof pipeline / sizeof *pipeline };

const pass_info *passes_all(int *count) {
  *count = PIPELINE_LENGTH;
  return pipeline;
}

const pass_info *passes_find(str name) {
  for (int i = 0; i < PIPELINE_LENGTH; i++)
    if (str_eqz(name, pipeline[i].name)) return &pipeline[i];
  return NULL;
}

static void verify(const pass_ctx *ctx, const char *pass) {
  str report = {0};
  if (!graph_verify(ctx->graph, ctx->scratch, &report))
    panic("after pass %s: %.*s", pass, STR_FMT(report));
}

#ifdef TCF_ROUNDTRIP
/// What the text does not carry: source positions and decisions.
static void keep_annotations(graph *copy, const graph *g) {
  check(copy->nodes.len == g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++) copy->nodes.data[i]->at = g->nodes.data[i]->at;
  copy->decisions.len = 0;
  for (int i = 0; i < g->decisions.len; i++)
    vec_push(copy->arena, &copy->decisions, g->decisions.data[i]);
}

static str text_of(const graph *g, arena *a) {
  strbuf text = sb_new(a);
  graph_print(g, &text);
  return sb_str(&text);
}

/// A pass that says that it changed nothing has changed nothing.
static void check_unchanged(const pass_ctx *ctx, const char *pass, str before) {
  if (!str_eq(before, text_of(ctx->graph, ctx->graph->arena)))
    panic("pass %s changed the graph and says that it did not", pass);
}

/// Continues on a graph that was printed and parsed, so that every test tests these two as well.
static void round_trip(pass_ctx *ctx, const char *pass) {
  graph *g = ctx->graph;
  str text = text_of(g, g->arena);
  diag_list diags = {.arena = g->arena};
  uint32_t file = diag_add_file(&diags, STR("<round trip>"), text);
  module m = {.arena = g->arena};
  if (!module_parse(g->arena, &diags, file, &m) || m.graphs.len != 1) {
    strbuf why = sb_new(g->arena);
    for (int i = 0; i < diags.items.len; i++)
      diag_render_text(&diags, diags.items.data[i], false, &why);
    panic("after pass %s the graph does not parse back: %.*s", pass, STR_FMT(sb_str(&why)));
  }
  graph *copy = m.graphs.data[0];
  if (!str_eq(text, text_of(copy, g->arena)))
    panic("after pass %s the graph does not print as it was parsed", pass);
  copy->ix.facts = g->ix.facts;
  for (int i = 0; i < g->contracts.len; i++) {
    copy->contracts.data[i].at = g->contracts.data[i].at;
    copy->contracts.data[i].asked = g->contracts.data[i].asked;
    copy->contracts.data[i].ncalls = g->contracts.data[i].ncalls;
    copy->contracts.data[i].calls = g->contracts.data[i].calls;
  }
  keep_annotations(copy, g);
  ctx->graph = copy;
}
#endif

bool passes_run(pass_ctx *ctx, const pass_info *const *list, int n, pass_observer *observe,
                void *observer_ctx) {
  arena *outer = ctx->scratch;
  int errors = ctx->diags ? ctx->diags->errors : 0;
  for (int i = 0; i < (list ? n : PIPELINE_LENGTH); i++) {
    const pass_info *pass = list ? list[i] : &pipeline[i];
#ifdef TCF_ROUNDTRIP
    str before = text_of(ctx->graph, ctx->graph->arena);
    if (!pass->run(ctx)) check_unchanged(ctx, pass->name, before);
    verify(ctx, pass->name);
    round_trip(ctx, pass->name);
#else
    pass->run(ctx);
    verify(ctx, pass->name);
#endif
    if (observe) observe(observer_ctx, pass, ctx->graph);
    if (outer) arena_free(outer);
    if (ctx->diags && ctx->diags->errors > errors) return false;
  }
  return true;
}
