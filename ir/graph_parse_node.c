// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One node of the graph IR from text: "%5 = sum %x over T : f32[N]". The type at the end is compared
// with what the op gives; it decides the storage order of the axes, and for some ops the type.
#include <string.h>

#include "ir/graph_parse.h"

/// What can only be looked up once the axes of the result are known.
typedef struct pending {
  name_list over;   // after "over", or the axis of index
  int index_begin;  // inside of the brackets of a view; 0 none
  name_at literal;  // of a constant
  name_at callee;
} pending;

// ---- pieces

node *gparse_value(graph_parser *p) {
  text_peek(p->c);
  int begin = p->c->at;
  str name = text_sigil_name(p->c, '%');
  node *n = p->c->failed ? NULL : map_get(&p->values, name);
  if (!n) text_fail(p->c, DIAG_ir_unknown, begin, "no value %%%.*s is defined", STR_FMT(name));
  return n;
}

void gparse_define(graph_parser *p, str name, int begin, node *n) {
  if (p->c->failed) return;
  if (map_get(&p->values, name))
    text_fail(p->c, DIAG_ir_twice, begin, "%%%.*s is defined twice", STR_FMT(name));
  else map_put(p->g->arena, &p->values, name, n);
}

static name_at read_name(graph_parser *p, const char *what) {
  text_peek(p->c);
  int begin = p->c->at;
  return (name_at){text_name(p->c, what), begin};
}

void gparse_names(graph_parser *p, name_list *out) {
  do vec_push(p->c->arena, out, read_name(p, "the name of an axis"));
  while (text_accept(p->c, ','));
}

dtype gparse_type(graph_parser *p, name_list *axes) {
  dtype t = text_dtype(p->c);
  if (!text_accept(p->c, '[')) return t;
  gparse_names(p, axes);
  text_expect(p->c, ']');
  return t;
}

static bool is_symbol(const graph *g, str name) {
  for (int k = 0; k < g->symbols.len; k++)
    if (str_eq(g->symbols.data[k], name)) return true;
  return false;
}

int gparse_axes(graph_parser *p, const name_list *names, int *axes) {
  graph *g = p->g;
  for (int k = 0; k < names->len && !p->c->failed; k++) {
    const name_at *n = &names->data[k];
    if (k == MAX_AXES) {
      text_fail(p->c, DIAG_ir_limit, n->begin, "more than %d axes", MAX_AXES);
      return 0;
    }
    axes[k] = graph_find_axis(g, n->name);
    if (axes[k] >= 0) continue;
    if (p->axes_open || is_symbol(g, n->name))
      axes[k] = graph_add_axis(g, n->name, ix_sym(&g->ix, n->name));
    else
      text_fail(p->c, DIAG_ir_unknown, n->begin, "there is no axis %.*s; declare it: axis %.*s = ...",
                STR_FMT(n->name), STR_FMT(n->name));
  }
  return p->c->failed ? 0 : names->len;
}

/// Skips "[...]" of a view; the coordinates are read when the axes are known.
static void skip_index(graph_parser *p, pending *late) {
  text_cursor *c = p->c;
  text_expect(c, '[');
  int begin = c->at;
  while (!c->failed && c->at < c->text.len && c->text.ptr[c->at] != ']') c->at++;
  text_expect(c, ']');
  late->index_begin = begin;
}

// ---- before the type

/// A number, true, false, nan, inf, -inf.
static name_at read_literal(graph_parser *p) {
  text_cursor *c = p->c;
  text_peek(c);
  name_at text = {{c->text.ptr + c->at, 0}, c->at};
  while (!c->failed && c->at < c->text.len) {
    char x = c->text.ptr[c->at];
    bool inside = (x >= '0' && x <= '9') || (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') ||
                  x == '.' || x == '-' || x == '+';
    if (!inside) break;
    c->at++, text.name.len++;
  }
  if (!text.name.len) text_fail(c, DIAG_ir_syntax, c->at, "expected a number, true or false");
  return text;
}

static void read_operands(graph_parser *p, node *n, pending *late) {
  vec(node *) in = {0};
  bool mapped = n->op == OP_view || n->op == OP_pad;
  do {
    vec_push(p->c->arena, &in, gparse_value(p));
    if (mapped && in.len == 1) skip_index(p, late);
  } while (text_accept(p->c, ',') && !p->c->failed);
  n->nin = in.len;
  n->in = arena_copy(p->g->arena, in.data, sizeof(node *) * (size_t)in.len);
}

static void read_call(graph_parser *p, node *n, pending *late) {
  text_cursor *c = p->c;
  text_peek(c);
  late->callee.begin = c->at;
  late->callee.name = text_sigil_name(c, '@');
  text_expect(c, '(');
  if (text_accept(c, ')')) return;
  read_operands(p, n, late);
  text_expect(c, ')');
}

static void read_body(graph_parser *p, node *n, pending *late) {
  text_cursor *c = p->c;
  switch (n->op) {
    case OP_const: late->literal = read_literal(p); break;
    case OP_size: n->index = arena_new(p->g->arena, ix); break;
    case OP_index: vec_push(c->arena, &late->over, read_name(p, "the name of an axis")); break;
    case OP_call: read_call(p, n, late); break;
    default: read_operands(p, n, late);
  }
  if (n->op == OP_size && !c->failed) n->index[0] = text_size(c, &p->g->ix);
  if (text_accept_word(c, "over")) gparse_names(p, &late->over);
  if (text_accept_word(c, "reverse")) n->flags |= NODE_REVERSE;
  if (text_accept_word(c, "exclusive")) n->flags |= NODE_EXCLUSIVE;
  if (text_accept_word(c, "unchecked")) n->flags |= NODE_UNCHECKED;
}

// ---- after the type

static ix resolve_axis(void *ctx, str name) {
  graph_parser *p = ctx;
  int found = graph_find_axis(p->g, name);
  return found < 0 ? 0 : ix_axis(&p->g->ix, found);
}

/// The coordinates in the brackets of a view, one for each axis of its operand.
static void read_index(graph_parser *p, node *n, int begin) {
  text_cursor *c = p->c;
  int after = c->at, count = n->in[0]->naxes;
  c->at = begin;
  n->index = arena_array(p->g->arena, ix, count);
  for (int k = 0; k < count && !c->failed; k++) {
    const char *error = "malformed coordinate";
    if (k) text_expect(c, ',');
    text_peek(c);
    int at = c->at;
    if (c->failed) return;
    n->index[k] = ix_parse(&p->g->ix, c->text, &c->at, resolve_axis, p, &error);
    if (!n->index[k]) text_fail(c, DIAG_ir_syntax, at, "%s", error);
  }
  if (text_peek(c) != ']')
    text_fail(c, DIAG_ir_syntax, c->at, "the operand has %d axes: expected ']'", count);
  if (!c->failed) c->at = after;
}

static void read_const(graph_parser *p, node *n, const name_at *literal) {
  if (!scalar_parse(literal->name, n->type, &n->value))
    text_fail(p->c, DIAG_ir_number, literal->begin, "%.*s is no %s", STR_FMT(literal->name),
              dtype_name(n->type));
}

static str type_text(graph_parser *p, dtype t, const int *axes, int naxes) {
  strbuf b = sb_new(p->c->arena);
  sb_puts(&b, dtype_name(t));
  for (int k = 0; k < naxes; k++) {
    str name = p->g->axes.data[axes[k]].name;
    sb_printf(&b, "%s%.*s", k ? ", " : "[", STR_FMT(name));
  }
  if (naxes) sb_putc(&b, ']');
  return sb_str(&b);
}

/// The written type must be what the op gives, up to the storage order.
static void compare_type(graph_parser *p, const node *n, int begin) {
  int axes[MAX_AXES], naxes;
  dtype type;
  str why;
  if (p->c->failed) return;
  if (!node_infer(p->g, n, p->g->arena, &type, axes, &naxes, &why)) {
    text_fail(p->c, DIAG_ir_invalid, begin, "%.*s", STR_FMT(why));
    return;
  }
  node inferred = {.axes = axes, .naxes = naxes};
  if (type == n->type && node_same_axis_set(n, &inferred)) return;
  str wanted = type_text(p, type, axes, naxes), written = type_text(p, n->type, n->axes, n->naxes);
  text_fail(p->c, DIAG_ir_type, begin, "%s gives %.*s, not %.*s", op_get(n->op)->name,
            STR_FMT(wanted), STR_FMT(written));
}

static void read_type(graph_parser *p, node *n, const pending *late) {
  int axes[MAX_AXES];
  name_list names = {0};
  text_expect(p->c, ':');
  n->type = gparse_type(p, &names);
  n->naxes = gparse_axes(p, &names, axes);
  n->axes = arena_copy(p->g->arena, axes, sizeof(int) * (size_t)n->naxes);
  n->nattr_axes = gparse_axes(p, &late->over, axes);
  n->attr_axes = arena_copy(p->g->arena, axes, sizeof(int) * (size_t)n->nattr_axes);
  if (p->c->failed) return;
  if (late->index_begin) read_index(p, n, late->index_begin);
  if (n->op == OP_const) read_const(p, n, &late->literal);
  if (n->op == OP_call) n->name = str_dup(p->g->arena, late->callee.name);
}

static op read_op(graph_parser *p) {
  text_peek(p->c);
  int begin = p->c->at;
  str name = text_name(p->c, "an op");
  op o = OP_const;
  if (!p->c->failed && (!op_parse(name, &o) || o == OP_param))
    text_fail(p->c, DIAG_ir_unknown, begin, "there is no op %.*s", STR_FMT(name));
  return o;
}

/// "keep", "recomputed", "phase 1", "in checkpoint#0", "in fuse#0"; regions are numbered as they come.
static bool read_mark(graph_parser *p, node *n) {
  text_cursor *c = p->c;
  if (text_accept_word(c, "keep")) return n->flags |= NODE_KEEP, true;
  if (text_accept_word(c, "recomputed")) return n->flags |= NODE_RECOMPUTED, true;
  if (text_accept_word(c, "phase")) return n->phase = (int)text_int(c, 1, MAX_PHASE), true;
  if (!text_accept_word(c, "in")) return false;
  bool checkpoint = text_accept_word(c, "checkpoint");
  if (!checkpoint) text_expect_word(c, "fuse");
  text_expect(c, '#');
  int number = (int)text_int(c, 0, (checkpoint ? MAX_REGIONS : p->g->contracts.len) - 1);
  if (!checkpoint) return n->contract = 1 + number, true;
  n->region = 1 + number;
  if (p->g->nregions < n->region) p->g->nregions = n->region;
  return true;
}

/// In any order. What else follows on the line is no mark.
static void read_marks(graph_parser *p, node *n) {
  text_cursor *c = p->c;
  int end;
  do end = c->at;
  while (read_mark(p, n));
  str word = text_peek_name(c);
  if (!word.len || str_eqz(word, "return") || str_eqz(word, "kernel")) return;
  if (memchr(c->text.ptr + end, '\n', (size_t)(c->at - end))) return;
  text_fail(
      c, DIAG_ir_syntax, c->at,
      "there is no mark `%.*s`; there are keep, recomputed, phase 1, in checkpoint#0, in fuse#0",
      STR_FMT(word));
}

void gparse_node(graph_parser *p, int kernel) {
  graph *g = p->g;
  text_peek(p->c);
  int begin = p->c->at;
  str name = text_sigil_name(p->c, '%');
  int name_end = p->c->at;
  text_expect(p->c, '=');
  node *n = arena_new(g->arena, node);
  pending late = {0};
  n->kernel = kernel;
  n->op = read_op(p);
  if (!p->c->failed) read_body(p, n, &late);
  if (!p->c->failed) read_type(p, n, &late);
  compare_type(p, n, begin);
  read_marks(p, n);
  if (p->c->failed) return;
  n->at = text_span(p->c, begin);
  n->id = g->nodes.len;
  vec_push(g->arena, &g->nodes, n);
  int at = p->c->at;
  p->c->at = name_end;  // the span of an error is the name
  gparse_define(p, name, begin, n);
  if (!p->c->failed) p->c->at = at;
}
