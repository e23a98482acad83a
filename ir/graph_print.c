// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Graph IR as text: canonical and byte-stable; ir/graph_parse.c reads it back. See docs/ir.md.
//
//   fused graph @layer(%x: f32[N, D], %w: bf16[V, D] strides [1, 4096]) {
//     size N where N <= 4096
//     size V
//     axis D = 64
//     fuse#0 stream(D) passes 1
//     kernel 0 {
//       %2 = sum %x over D : f32[N] in fuse#0
//     }
//     return %2
//   }
//
// Broken graphs print too, since the verifier shows them; what is undefined prints as "?".
#include "ir/graph_text.h"

typedef struct printer {
  strbuf *out;
  const graph *g;
  arena *scratch;  // the arena of `out`
  graph_note_fn *note;
  void *note_ctx;
  int indent;
} printer;

// ---- what is implied

typedef struct implied {
  arena *arena;
  symbol_list *list;
} implied;

static void add_symbols(const ix_pool *p, ix e, const implied *to) {
  const ix_node *n = ix_get(p, e);
  switch (n->kind) {
    case IX_SYM:
      for (int k = 0; k < to->list->len; k++)
        if (str_eq(to->list->data[k], n->name)) return;
      vec_push(to->arena, to->list, n->name);
      return;
    case IX_DIV:
    case IX_MOD:
      add_symbols(p, n->a, to);
      add_symbols(p, n->b, to);
      return;
    case IX_SUM:
      for (int k = 0; k < n->nterms; k++)
        for (int i = 0; i < n->terms[k].natoms; i++) add_symbols(p, n->terms[k].atoms[i], to);
      return;
    default: return;
  }
}

static bool is_axis(const graph *g, int a) { return a >= 0 && a < g->axes.len; }

/// Only sizes that are one symbol count: the order of the symbols in others is the pool's.
void graph_implied_symbols(const graph *g, arena *a, symbol_list *out) {
  implied to = {a, out};
  for (int i = 0; i < g->nparams; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; k < n->naxes; k++) {
      if (!is_axis(g, n->axes[k]) || !g->axes.data[n->axes[k]].size) continue;
      ix size = g->axes.data[n->axes[k]].size;
      if (ix_get(&g->ix, size)->kind == IX_SYM) add_symbols(&g->ix, size, &to);
    }
  }
}

// ---- pieces

static str axis_text(const graph *g, int a) { return is_axis(g, a) ? g->axes.data[a].name : STR("?"); }

static str axis_name(void *ctx, int a) { return axis_text(ctx, a); }

static void put_line(printer *p) {
  sb_putc(p->out, '\n');
  for (int i = 0; i < p->indent; i++) sb_puts(p->out, "  ");
}

static void put_index(printer *p, ix e) {
  if (!e) return sb_puts(p->out, "?");
  ix_print(&p->g->ix, e, axis_name, (void *)p->g, p->out);
}

static void put_size(printer *p, ix e) {
  if (!e) return sb_puts(p->out, "?");
  ix_print(&p->g->ix, e, NULL, NULL, p->out);
}

static void put_value(printer *p, const node *n) {
  bool here = n && n->id >= 0 && n->id < p->g->nodes.len && p->g->nodes.data[n->id] == n;
  if (!here) sb_puts(p->out, "%?");
  else if (n->op == OP_param) sb_printf(p->out, "%%%.*s", STR_FMT(n->name));
  else sb_printf(p->out, "%%%d", n->id);
}

static void put_axes(printer *p, const int *axes, int naxes) {
  for (int k = 0; k < naxes; k++) {
    str name = axis_text(p->g, axes[k]);
    sb_printf(p->out, "%s%.*s", k ? ", " : "", STR_FMT(name));
  }
}

static void put_type(printer *p, const node *n) {
  sb_puts(p->out, n->type < DT_COUNT ? dtype_name(n->type) : "?");
  if (!n->naxes) return;
  sb_putc(p->out, '[');
  put_axes(p, n->axes, n->naxes);
  sb_putc(p->out, ']');
}

static void put_note(printer *p, const node *n) {
  str text = p->note ? p->note(p->note_ctx, n) : (str){0};
  while (text.len) {
    const char *end = memchr(text.ptr, '\n', (size_t)text.len);
    int len = end ? (int)(end - text.ptr) : text.len;
    put_line(p);
    sb_put(p->out, (str){text.ptr, len});
    int past = end ? len + 1 : len;
    text = (str){text.ptr + past, text.len - past};
  }
}

// ---- nodes

static void put_operands(printer *p, const node *n) {
  bool mapped = n->op == OP_view || n->op == OP_pad;
  for (int k = 0; k < n->nin; k++) {
    sb_puts(p->out, k ? ", " : "");
    put_value(p, n->in[k]);
    if (!mapped || k || !n->in[0]) continue;
    sb_putc(p->out, '[');
    for (int i = 0; i < n->in[0]->naxes; i++) {
      sb_puts(p->out, i ? ", " : "");
      put_index(p, n->index ? n->index[i] : 0);
    }
    sb_putc(p->out, ']');
  }
}

static void put_body(printer *p, const node *n) {
  if (n->op >= OP_COUNT) return sb_puts(p->out, "?");
  sb_printf(p->out, "%s ", op_get(n->op)->name);
  switch (n->op) {
    case OP_const: scalar_print(n->value, n->type, p->out); break;
    case OP_size: put_size(p, n->index ? n->index[0] : 0); break;
    case OP_index: put_axes(p, n->attr_axes, n->nattr_axes); break;
    case OP_call:
      sb_printf(p->out, "@%.*s(", STR_FMT(n->name));
      put_operands(p, n);
      sb_putc(p->out, ')');
      break;
    default:
      put_operands(p, n);
      if (!n->nattr_axes) break;
      sb_puts(p->out, " over ");
      put_axes(p, n->attr_axes, n->nattr_axes);
  }
  if (n->flags & NODE_REVERSE) sb_puts(p->out, " reverse");
  if (n->flags & NODE_EXCLUSIVE) sb_puts(p->out, " exclusive");
  if (n->flags & NODE_UNCHECKED) sb_puts(p->out, " unchecked");
}

static void put_node(printer *p, const node *n) {
  put_line(p);
  sb_printf(p->out, "%%%d = ", n->id);
  put_body(p, n);
  sb_puts(p->out, " : ");
  put_type(p, n);
  if (n->flags & NODE_KEEP) sb_puts(p->out, " keep");
  if (n->flags & NODE_RECOMPUTED) sb_puts(p->out, " recomputed");
  if (n->region) sb_printf(p->out, " in checkpoint#%d", n->region - 1);
  if (n->phase) sb_printf(p->out, " phase %d", n->phase);
  if (n->contract) sb_printf(p->out, " in fuse#%d", n->contract - 1);
  put_note(p, n);
}

static void put_nodes(printer *p) {
  const graph *g = p->g;
  int open = -1;
  for (int i = g->nparams; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (n->kernel != open && open >= 0) {
      p->indent--;
      put_line(p);
      sb_putc(p->out, '}');
    }
    if (n->kernel != open && n->kernel >= 0) {
      put_line(p);
      sb_printf(p->out, "kernel %d ", n->kernel);
      if (n->kernel < g->plans.len && g->plans.data[n->kernel].len)
        sb_printf(p->out, "plan %.*s ", STR_FMT(g->plans.data[n->kernel]));
      sb_putc(p->out, '{');
      p->indent++;
    }
    open = n->kernel;
    put_node(p, n);
  }
  if (open < 0) return;
  p->indent--;
  put_line(p);
  sb_putc(p->out, '}');
}

// ---- the frame

static void put_param(printer *p, const node *n) {
  put_value(p, n);
  sb_puts(p->out, ": ");
  put_type(p, n);
  if (!n->strides) return;
  sb_puts(p->out, " strides [");
  for (int k = 0; k < n->naxes; k++)
    sb_printf(p->out, "%s%lld", k ? ", " : "", (long long)n->strides[k]);
  sb_putc(p->out, ']');
}

/// On one line when it fits into 100 columns, else a line for each.
static void put_params(printer *p) {
  const graph *g = p->g;
  strbuf line = sb_new(p->scratch), *out = p->out;
  p->out = &line;
  for (int i = 0; i < g->nparams; i++) {
    if (i) sb_puts(&line, ", ");
    put_param(p, g->nodes.data[i]);
  }
  p->out = out;
  bool fits = line.len + g->name.len + 20 <= 100;
  if (fits) return sb_put(out, sb_str(&line));
  for (int i = 0; i < g->nparams; i++) {
    sb_puts(out, i ? ",\n    " : "\n    ");
    put_param(p, g->nodes.data[i]);
  }
}

static bool fact_says_something(const ix_fact *f) {
  return f && (f->min > 0 || f->max != INT64_MAX || f->multiple_of > 1 || f->estimate > 0);
}

static void put_fact(printer *p, str symbol, const ix_fact *f) {
  const char *lead = " where ";
#define CLAUSE(cond, format, value)                                                \
  if (cond) {                                                                      \
    sb_printf(p->out, "%s%.*s " format, lead, STR_FMT(symbol), (long long)(value)); \
    lead = ", ";                                                                   \
  }
  CLAUSE(f->min > 0, ">= %lld", f->min)
  CLAUSE(f->max != INT64_MAX, "<= %lld", f->max)
  CLAUSE(f->multiple_of > 1, "%% %lld == 0", f->multiple_of)
  CLAUSE(f->estimate > 0, "~ %lld", f->estimate)
#undef CLAUSE
}

static void put_symbols(printer *p) {
  const graph *g = p->g;
  symbol_list list = {0};
  graph_implied_symbols(g, p->scratch, &list);
  bool plain = list.len == g->symbols.len;
  for (int k = 0; plain && k < list.len; k++)
    plain = str_eq(list.data[k], g->symbols.data[k]) &&
            !fact_says_something(ix_find_fact(&g->ix, list.data[k]));
  for (int k = 0; !plain && k < g->symbols.len; k++) {
    const ix_fact *fact = ix_find_fact(&g->ix, g->symbols.data[k]);
    put_line(p);
    sb_printf(p->out, "size %.*s", STR_FMT(g->symbols.data[k]));
    if (fact_says_something(fact)) put_fact(p, g->symbols.data[k], fact);
  }
}

/// An axis whose size is the symbol of its name needs no line.
static void put_axis(printer *p, int a) {
  const graph *g = p->g;
  ix size = g->axes.data[a].size;
  if (size) {
    const ix_node *n = ix_get(&g->ix, size);
    if (n->kind == IX_SYM && str_eq(n->name, g->axes.data[a].name)) return;
  }
  put_line(p);
  sb_printf(p->out, "axis %.*s = ", STR_FMT(g->axes.data[a].name));
  put_size(p, size);
}

/// Axes are declared in the order in which the text mentions them.
static void put_axis_lines(printer *p) {
  const graph *g = p->g;
  bool *seen = arena_array(p->scratch, bool, g->axes.len);
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; k < n->naxes + n->nattr_axes; k++) {
      int a = k < n->naxes ? n->axes[k] : n->attr_axes[k - n->naxes];
      if (!is_axis(g, a) || seen[a]) continue;
      seen[a] = true;
      put_axis(p, a);
    }
  }
  for (int i = 0; i < g->contracts.len; i++)
    for (int k = 0; k < g->contracts.data[i].naxes; k++) {
      int a = g->contracts.data[i].axes[k];
      if (!is_axis(g, a) || seen[a]) continue;
      seen[a] = true;
      put_axis(p, a);
    }
}

static void put_contract(printer *p, int number) {
  const contract *c = &p->g->contracts.data[number];
  put_line(p);
  sb_printf(p->out, "fuse#%d", number);
  if (!c->streamed) return;
  sb_puts(p->out, " stream(");
  put_axes(p, c->axes, c->naxes);
  sb_putc(p->out, ')');
  if (c->passes) sb_printf(p->out, " passes %d", c->passes);
  if (c->chosen) sb_puts(p->out, " chosen");
  if (c->gradient) sb_puts(p->out, " gradient");
  if (c->unordered) sb_puts(p->out, " unordered");
  if (c->without_frames) sb_puts(p->out, " unframed");
  for (int i = 0, any = 0; i < RULE_COUNT; i++)
    if (c->rules >> i & 1) sb_printf(p->out, "%s%s", any++ ? ", " : " by ", rule_name(i));
}

static void put_return(printer *p) {
  const graph *g = p->g;
  put_line(p);
  sb_puts(p->out, "return");
  for (int k = 0; k < g->outputs.len; k++) {
    const output *o = &g->outputs.data[k];
    sb_puts(p->out, k ? ", " : " ");
    put_value(p, o->value);
    if (!str_eq(o->name, graph_result_name(g, k, g->outputs.len > 1, p->scratch)))
      sb_printf(p->out, " as %.*s", STR_FMT(o->name));
  }
}

void graph_print_notes(const graph *g, graph_note_fn *note, void *ctx, strbuf *out) {
  printer p = {.out = out, .g = g, .scratch = out->arena, .note = note, .note_ctx = ctx};
  sb_printf(out, "%sgraph @%.*s(", g->fused ? "fused " : "", STR_FMT(g->name));
  put_params(&p);
  sb_puts(out, ") {");
  p.indent = 1;
  put_note(&p, NULL);
  for (int i = 0; i < g->nparams; i++) put_note(&p, g->nodes.data[i]);
  put_symbols(&p);
  put_axis_lines(&p);
  for (int k = 0; k < g->contracts.len; k++) put_contract(&p, k);
  put_nodes(&p);
  put_return(&p);
  sb_puts(out, "\n}\n");
}

void graph_print(const graph *g, strbuf *out) { graph_print_notes(g, NULL, NULL, out); }

void module_print(const module *m, strbuf *out) {
  for (int k = 0; k < m->graphs.len; k++) {
    if (k) sb_putc(out, '\n');
    graph_print(m->graphs.data[k], out);
  }
}
