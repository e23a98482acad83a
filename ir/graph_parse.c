// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Graph IR from text: what ir/graph_print.c prints, with comments and any names for values.
//
//   [fused] graph @NAME(%PARAM: TYPE [strides [...]], ...) {
//     size N where N >= 1, N <= 4096, N % 16 == 0, N ~ 512
//     axis D = H*64
//     fuse#0 stream(D) passes 1
//     %NAME = OP ... : TYPE [keep] [recomputed] [in checkpoint#0] [phase 1] [in fuse#0]
//     kernel 0 { ... }
//     return %NAME [as NAME], ...
//   }
//
// A graph that is read is valid: the verifier's remarks become diagnostics. One error is reported
// per graph, then reading goes on with the next one.
#include "ir/graph_parse.h"

// ---- the signature

typedef struct read_param {
  name_at name;
  dtype type;
  name_list axes;
  vec(int64_t) strides;
} read_param;
typedef vec(read_param) param_list;

static void read_strides(graph_parser *p, read_param *param) {
  text_cursor *c = p->c;
  if (!text_accept_word(c, "strides")) return;
  int begin = c->at;
  text_expect(c, '[');
  while (!c->failed && text_peek(c) != ']') {
    if (param->strides.len) text_expect(c, ',');
    vec_push(c->arena, &param->strides, text_int(c, INT64_MIN, INT64_MAX));
  }
  text_expect(c, ']');
  if (!c->failed && (param->strides.len != param->axes.len || !param->axes.len))
    text_fail(c, DIAG_ir_invalid, begin, "there are %d strides for %d axes", param->strides.len,
              param->axes.len);
}

static void read_params(graph_parser *p, param_list *params) {
  text_cursor *c = p->c;
  text_expect(c, '(');
  if (text_accept(c, ')')) return;
  do {
    read_param param = {0};
    text_peek(c);
    param.name.begin = c->at;
    param.name.name = text_sigil_name(c, '%');
    text_expect(c, ':');
    param.type = gparse_type(p, &param.axes);
    read_strides(p, &param);
    vec_push(c->arena, params, param);
  } while (text_accept(c, ',') && !c->failed);
  text_expect(c, ')');
}

/// Params are made after the size and axis lines, which say what their axes are.
static void make_params(graph_parser *p, const param_list *params) {
  for (int i = 0; i < params->len && !p->c->failed; i++) {
    const read_param *param = &params->data[i];
    int axes[MAX_AXES], naxes = gparse_axes(p, &param->axes, axes);
    if (p->c->failed) return;
    for (int k = 1; k < naxes; k++)
      for (int j = 0; j < k; j++)
        if (axes[j] == axes[k])
          text_fail(p->c, DIAG_ir_twice, param->axes.data[k].begin, "the axis is there twice");
    if (p->c->failed) return;
    node *n = graph_param(p->g, param->name.name, param->type, axes, naxes);
    if (param->strides.len)
      n->strides = arena_copy(p->g->arena, param->strides.data, sizeof(int64_t) * (size_t)naxes);
    int begin = param->name.begin;
    n->at = (span){p->c->file, (uint32_t)begin, (uint32_t)(begin + 1 + param->name.name.len)};
    gparse_define(p, param->name.name, begin, n);
  }
}

/// "size N where ..." lines: the symbols in order, with their facts.
static void read_sizes(graph_parser *p) {
  graph *g = p->g;
  while (text_accept_word(p->c, "size")) {
    text_peek(p->c);
    int begin = p->c->at;
    str name = text_name(p->c, "the name of a size");
    if (p->c->failed) return;
    for (int k = 0; k < g->symbols.len; k++)
      if (str_eq(g->symbols.data[k], name))
        text_fail(p->c, DIAG_ir_twice, begin, "size %.*s is there twice", STR_FMT(name));
    vec_push(g->arena, &g->symbols, str_dup(g->arena, name));
    if (text_accept_word(p->c, "where")) text_fact_list(p->c, ix_fact_of(&g->ix, name), name);
  }
}

static void read_axes(graph_parser *p) {
  graph *g = p->g;
  while (text_accept_word(p->c, "axis")) {
    text_peek(p->c);
    int begin = p->c->at;
    str name = text_name(p->c, "the name of an axis");
    if (!p->c->failed && graph_find_axis(g, name) >= 0)
      text_fail(p->c, DIAG_ir_twice, begin, "axis %.*s is declared twice", STR_FMT(name));
    text_expect(p->c, '=');
    ix size = text_size(p->c, &g->ix);
    if (p->c->failed) return;
    graph_add_axis(g, name, size);
  }
}

static unsigned read_rules(text_cursor *c) {
  unsigned rules = 0;
  do {
    int begin = c->at, i = 0;
    str name = text_name(c, "the name of a rule");
    while (i < RULE_COUNT && !str_eqz(name, rule_name(i))) i++;
    if (!c->failed && i == RULE_COUNT)
      text_fail(c, DIAG_ir_syntax, begin, "there is no rule %.*s", STR_FMT(name));
    rules |= 1u << i;
  } while (!c->failed && text_accept(c, ','));
  return rules;
}

/// "fuse#0", where the number is the next one; the axes are found when all are known.
static void read_contract(graph_parser *p) {
  text_cursor *c = p->c;
  contract made = {0};
  int axes[MAX_AXES];
  text_expect_word(c, "fuse");
  made.at = text_span(c, c->at - 4);
  text_expect(c, '#');
  text_int(c, p->g->contracts.len, p->g->contracts.len);
  if (text_accept_word(c, "stream")) {
    name_list names = {0};
    made.streamed = true;
    text_expect(c, '(');
    gparse_names(p, &names);
    text_expect(c, ')');
    made.naxes = gparse_axes(p, &names, axes);
    made.axes = axes;
    if (text_accept_word(c, "passes")) made.passes = (int)text_int(c, 1, 64);
    made.chosen = text_accept_word(c, "chosen");
    made.gradient = text_accept_word(c, "gradient");
    made.unordered = text_accept_word(c, "unordered");
    made.without_frames = text_accept_word(c, "unframed");
    made.rules = text_accept_word(c, "by") ? read_rules(c) : 0;
  }
  if (!c->failed) graph_add_contract(p->g, made);
}

// ---- the body

/// "m=128,unit=mma": which keys and values there are is the lowering's to say.
static str read_plan(text_cursor *c) {
  strbuf out = sb_new(c->arena);
  do {
    str key = text_name(c, "a key of a plan");
    text_expect(c, '=');
    sb_printf(&out, "%s%.*s=", out.len ? "," : "", STR_FMT(key));
    char next = text_peek(c);
    if (next >= '0' && next <= '9') sb_printf(&out, "%lld", (long long)text_int(c, 0, INT64_MAX));
    else sb_put(&out, text_name(c, "a value"));
  } while (!c->failed && text_accept(c, ','));
  return sb_str(&out);
}

static void read_kernel(graph_parser *p) {
  text_cursor *c = p->c;
  graph *g = p->g;
  text_peek(c);
  if (!g->fused)
    text_fail(c, DIAG_ir_syntax, c->at, "kernels are in graphs that begin with 'fused graph'");
  g->nkernels++;
  int number = (int)text_int(c, g->nkernels - 1, g->nkernels - 1);
  vec_push(g->arena, &g->plans, text_accept_word(c, "plan") ? read_plan(c) : STR(""));
  text_expect(c, '{');
  while (!c->failed && text_peek(c) == '%') gparse_node(p, number);
  text_expect(c, '}');
}

static void read_return(graph_parser *p) {
  text_cursor *c = p->c;
  vec(output) outputs = {0};
  text_expect_word(c, "return");
  do {
    output o = {.value = gparse_value(p)};
    if (text_accept_word(c, "as")) o.name = text_name(c, "the name of the output");
    vec_push(c->arena, &outputs, o);
  } while (text_accept(c, ',') && !c->failed);
  for (int k = 0; k < outputs.len && !c->failed; k++) {
    output o = outputs.data[k];
    if (!o.name.len) o.name = graph_result_name(p->g, k, outputs.len > 1, c->arena);
    graph_output(p->g, o.value, o.name);
  }
}

typedef struct remarks {
  graph_parser *parser;
  int begin, end;  // the head of the graph
} remarks;

static void report(void *ctx, const node *n, str text) {
  const remarks *r = ctx;
  text_cursor *c = r->parser->c;
  span head = {c->file, (uint32_t)r->begin, (uint32_t)r->end};
  diag_error(c->diags, DIAG_ir_invalid, n ? n->at : head, "%.*s", STR_FMT(text));
  c->failed = true;
}

/// After the words "graph" or "fused graph".
static graph *read_graph(text_cursor *c, arena *a, bool fused) {
  remarks r = {.begin = c->at};
  graph *g = graph_new(a, text_sigil_name(c, '@'));
  graph_parser p = {.c = c, .g = g, .axes_open = true};
  param_list params = {0};
  r.parser = &p;
  r.end = c->at;
  g->fused = fused;
  read_params(&p, &params);
  text_expect(c, '{');
  read_sizes(&p);
  read_axes(&p);
  make_params(&p, &params);
  p.axes_open = false;
  while (!c->failed && text_peek(c) == 'f') read_contract(&p);
  if (!c->failed && !g->symbols.len) {
    symbol_list implied = {0};
    graph_implied_symbols(g, a, &implied);
    for (int k = 0; k < implied.len; k++) vec_push(a, &g->symbols, implied.data[k]);
  }
  for (char next; !c->failed && ((next = text_peek(c)) == '%' || next == 'k');) {
    if (next == '%') {
      gparse_node(&p, -1);
    } else {
      text_expect_word(c, "kernel");
      read_kernel(&p);
    }
  }
  read_return(&p);
  text_expect(c, '}');
  if (!c->failed) graph_violations(g, a, report, &r);
  if (!c->failed) graph_find_outside(g, a, report, &r);
  return c->failed ? NULL : g;
}

/// To the next line that begins with "graph" or "fused".
static void recover(text_cursor *c) {
  while (c->at < c->text.len) {
    str rest = {c->text.ptr + c->at, c->text.len - c->at};
    bool line = c->at == 0 || c->text.ptr[c->at - 1] == '\n';
    if (line && (str_starts(rest, STR("graph ")) || str_starts(rest, STR("fused ")))) break;
    c->at++;
  }
  c->failed = false;
}

bool module_parse(arena *a, diag_list *diags, uint32_t file, module *out) {
  *out = (module){.arena = a};
  text_cursor c = {.arena = a, .diags = diags, .file = file};
  c.text = diags->files.data[file - 1].text;
  bool ok = true;
  while (text_peek(&c)) {
    bool fused = text_accept_word(&c, "fused");
    text_expect_word(&c, "graph");
    text_peek(&c);
    int begin = c.at;
    graph *g = c.failed ? NULL : read_graph(&c, a, fused);
    if (g && graph_find(out, g->name)) {
      c.at = begin + g->name.len + 1;
      text_fail(&c, DIAG_ir_twice, begin, "two graphs are called @%.*s", STR_FMT(g->name));
    }
    ok = ok && !c.failed;
    if (c.failed) recover(&c);
    else vec_push(a, &out->graphs, g);
  }
  if (!ok || out->graphs.len) return ok;
  text_fail(&c, DIAG_ir_syntax, c.at, "expected 'graph'");
  return false;
}
