// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tile IR as text: canonical and byte-stable. Values are numbered in order of their definition in
// the text, so that structurally equal kernels print alike. Broken kernels print too (the verifier
// shows them): what is undefined prints as %?.
//
//   %5, %6 = arg max %1, %2, %3, %4 : f32[N:1, T:16], i32[N:1, T:16]
//   store out[N, T], %7 nontemporal
#include <stdlib.h>

#include "ir/tile_text.h"

typedef struct printer {
  strbuf *out;
  const kernel *k;
  int *number;  // by value id; -1 not yet defined
  int next;
  int indent;
  tile_note_fn *note;
  void *note_ctx;
} printer;

// ---- pieces

static str axis_text(const kernel *k, int axis) {
  bool known = axis >= 0 && axis < k->axes.len;
  return known ? k->axes.data[axis].name : STR("?");
}

static str axis_name(void *ctx, int axis) { return axis_text(ctx, axis); }

/// A size: names are size symbols.
static void put_size(const ix_pool *pool, ix e, strbuf *out) {
  if (!e) return sb_puts(out, "?");
  ix_print(pool, e, NULL, NULL, out);
}

/// A coordinate: names are axes, size symbols are written #N.
static void put_index(const kernel *k, ix e, strbuf *out) {
  if (!e) return sb_puts(out, "?");
  ix_print(&k->ix, e, axis_name, (void *)k, out);
}

static void put_line(printer *p) {
  sb_putc(p->out, '\n');
  for (int i = 0; i < p->indent; i++) sb_puts(p->out, "  ");
}

static void put_value(printer *p, const tval *v) {
  int number = v && v->id >= 0 && v->id < p->k->nvals ? p->number[v->id] : -1;
  if (number < 0) return sb_puts(p->out, "%?");
  sb_printf(p->out, "%%%d", number);
}

static void put_values(printer *p, tval *const *values, int n) {
  for (int i = 0; i < n; i++) {
    if (i) sb_puts(p->out, ", ");
    put_value(p, values[i]);
  }
}

/// Numbers a value and prints its name.
static void put_definition(printer *p, const tval *v) {
  if (v && v->id >= 0 && v->id < p->k->nvals) p->number[v->id] = p->next++;
  put_value(p, v);
}

static void put_definitions(printer *p, tval *const *values, int n) {
  for (int i = 0; i < n; i++) {
    if (i) sb_puts(p->out, ", ");
    put_definition(p, values[i]);
  }
  if (n) sb_puts(p->out, " = ");
}

static void put_type(printer *p, const tval *v) {
  sb_puts(p->out, dtype_name(v->type));
  for (int i = 0; i < v->naxes; i++) {
    sb_puts(p->out, i ? ", " : "[");
    sb_put(p->out, axis_text(p->k, v->axes[i]));
    sb_printf(p->out, ":%d", v->extents[i]);
  }
  if (v->naxes) sb_putc(p->out, ']');
}

static void put_types(printer *p, tval *const *values, int n) {
  for (int i = 0; i < n; i++) {
    sb_puts(p->out, i ? ", " : " : ");
    put_type(p, values[i]);
  }
}

static void put_axes(printer *p, const tstmt *s) {
  sb_puts(p->out, " over ");
  for (int i = 0; i < s->naxes; i++) {
    if (i) sb_puts(p->out, ", ");
    sb_put(p->out, axis_text(p->k, s->axes[i]));
  }
}

static void put_constant(strbuf *out, scalar v, dtype t) {
  if (dtype_is_float(t)) return sb_put_float(out, v.f);
  if (t == DT_bool) return sb_puts(out, v.i ? "true" : "false");
  scalar_print(v, t, out);
}

void ix_row_major(ix_pool *p, const ix *dims, int rank, ix *strides) {
  ix stride = ix_const(p, 1);
  for (int d = rank - 1; d >= 0; d--) {
    strides[d] = stride;
    stride = ix_mul(p, stride, dims[d]);
  }
}

/// " strides [1, N]" unless they are row-major. Compares in a pool of its own: printing leaves
/// the kernel as it is.
static void put_strides(const ix_pool *pool, const ix *dims, const ix *strides, int rank,
                        strbuf *out) {
  ix_pool scratch = {0};
  ix copy[MAX_AXES], expected[MAX_AXES];
  ix_init(&scratch, out->arena);
  for (int d = 0; d < rank; d++) copy[d] = ix_substitute(&scratch, pool, dims[d], NULL, 0);
  ix_row_major(&scratch, copy, rank, expected);
  bool row_major = true;
  for (int d = 0; d < rank && row_major; d++)
    row_major = strides[d] && ix_substitute(&scratch, pool, strides[d], NULL, 0) == expected[d];
  if (row_major) return;
  sb_puts(out, " strides [");
  for (int d = 0; d < rank; d++) {
    if (d) sb_puts(out, ", ");
    put_size(pool, strides[d], out);
  }
  sb_putc(out, ']');
}

// ---- statements

bool tile_access_is_whole(const kernel *k, const tstmt *s) {
  return s->buf >= 0 && s->buf < k->bufs.len && s->nix == k->bufs.data[s->buf].rank &&
         (s->nix == 0 || (s->ix && s->indirect));
}

static void put_coordinate(printer *p, const tstmt *s, int d) {
  int at = s->indirect[d];
  if (at < 0) return put_index(p->k, s->ix[d], p->out);
  put_value(p, at < s->nin ? s->in[at] : NULL);
  int64_t zero;
  if (s->ix[d] && ix_is_const(&p->k->ix, s->ix[d], &zero) && !zero) return;
  sb_puts(p->out, " + ");
  put_index(p->k, s->ix[d], p->out);
}

/// " x[N, %3 + 2*T]"
static void put_access(printer *p, const tstmt *s) {
  bool known = s->buf >= 0 && s->buf < p->k->bufs.len;
  sb_putc(p->out, ' ');
  sb_put(p->out, known ? p->k->bufs.data[s->buf].name : STR("?"));
  if (!tile_access_is_whole(p->k, s)) return sb_puts(p->out, "[?]");
  sb_putc(p->out, '[');
  for (int d = 0; d < s->nix; d++) {
    if (d) sb_puts(p->out, ", ");
    put_coordinate(p, s, d);
  }
  sb_putc(p->out, ']');
}

static void put_local(printer *p, const tstmt *s) {
  const kernel *k = p->k;
  if (s->buf < 0 || s->buf >= k->bufs.len) return sb_puts(p->out, " ?");
  const tile_buf *b = &k->bufs.data[s->buf];
  sb_printf(p->out, " %.*s : %s", STR_FMT(b->name), dtype_name(b->type));
  for (int d = 0; d < b->rank; d++) {
    int along = b->local_axes[d];
    sb_puts(p->out, d ? ", " : "[");
    sb_put(p->out, axis_text(k, along));
    int64_t extent;
    bool whole = along >= 0 && along < k->axes.len && b->dims[d] == k->axes.data[along].size;
    if (!whole && ix_is_const(&k->ix, b->dims[d], &extent))
      sb_printf(p->out, ":%lld", (long long)extent);
  }
  if (b->rank) sb_putc(p->out, ']');
  if (b->panel) {
    bool known = b->panel_dim >= 0 && b->panel_dim < b->rank;
    sb_puts(p->out, " panel ");
    sb_put(p->out, known ? axis_text(k, b->local_axes[b->panel_dim]) : STR("?"));
    sb_printf(p->out, ":%d", b->panel);
  }
  if (b->swizzle) sb_puts(p->out, " swizzle");
  if (b->pairs) {
    bool known = b->pair_dim >= 0 && b->pair_dim < b->rank;
    sb_puts(p->out, " pairs ");
    sb_put(p->out, known ? axis_text(k, b->local_axes[b->pair_dim]) : STR("?"));
  }
  if (b->pad) sb_printf(p->out, " pad %d", b->pad);
}

static void put_region(printer *p, const tregion *r);

static void put_bound(printer *p, const char *word, ix bound) {
  if (!bound) return;
  sb_puts(p->out, word);
  put_index(p->k, bound, p->out);
}

static void put_loop(printer *p, const tstmt *s) {
  sb_putc(p->out, ' ');
  sb_put(p->out, axis_text(p->k, s->axis));
  sb_printf(p->out, ":%d", s->extent);
  if (s->unroll > 1) sb_printf(p->out, " unroll %d", s->unroll);
  if (s->reverse) sb_puts(p->out, " reverse");
  put_bound(p, " from ", s->from);
  put_bound(p, " below ", s->below);
  int carried = s->nin - (s->within ? 2 : 0);
  if (s->within) {
    sb_puts(p->out, " within ");
    for (int i = carried; i < s->nin; i++) {
      if (i > carried) sb_puts(p->out, ", ");
      put_value(p, i < 0 ? NULL : s->in[i]);
    }
  }
  if (s->vec) sb_puts(p->out, " vec");
  if (s->stage) sb_puts(p->out, " stage");
  if (s->stages) sb_printf(p->out, " stages=%d", s->stages);
  if (s->skew) sb_puts(p->out, " skew");
  if (s->turns) sb_puts(p->out, " turns");
  if (s->layout) sb_printf(p->out, " layout=%d", s->layout);
  int n = s->body ? s->body->nparams : 0;
  for (int i = 0; i < n || i < carried; i++) {
    sb_puts(p->out, i ? ", " : " carry ");
    put_definition(p, i < n ? s->body->params[i] : NULL);
    sb_puts(p->out, " = ");
    put_value(p, i < carried ? s->in[i] : NULL);
  }
  sb_putc(p->out, ' ');
  put_region(p, s->body);
}

static void put_if(printer *p, const tstmt *s) {
  static const char *const words[] = {"first", "last", "any", "all", "finished"};
  sb_printf(p->out, " %s ", words[s->cond]);
  if (s->cond == COND_ANY || s->cond == COND_ALL)
    put_value(p, s->nin ? s->in[0] : NULL);
  else
    sb_put(p->out, axis_text(p->k, s->axis));
  sb_putc(p->out, ' ');
  put_region(p, s->body);
  if (!s->other) return;
  sb_puts(p->out, " else ");
  put_region(p, s->other);
}

const char *tile_op_word(tile_op kind) {
  static const char *const words[] = {
      [TILE_MAP] = "map",     [TILE_CONST] = "const",
      [TILE_SIZE] = "size",   [TILE_INDEX] = "index",
      [TILE_LOAD] = "load",   [TILE_STORE] = "store",
      [TILE_ACCUM] = "accum", [TILE_REDUCE] = "reduce",
      [TILE_ARG] = "arg",     [TILE_ARG_REDUCE] = "arg_reduce",
      [TILE_DOT] = "dot",     [TILE_LOOP] = "loop",
      [TILE_IF] = "if",       [TILE_YIELD] = "yield",
      [TILE_LOCAL] = "local", [TILE_PREFETCH] = "prefetch",
      [TILE_CHECK] = "check",
  };
  return words[kind];
}

/// The words after the operation's name, up to the result types.
static void put_operands(printer *p, const tstmt *s) {
  strbuf *out = p->out;
  const ix_pool *pool = &p->k->ix;
  switch (s->kind) {
    case TILE_CONST:
      sb_putc(out, ' ');
      put_constant(out, s->value, s->nout ? s->out[0]->type : DT_f64);
      return;
    case TILE_SIZE:
      sb_putc(out, ' ');
      return put_size(pool, s->nix ? s->ix[0] : 0, out);
    case TILE_INDEX:
      sb_putc(out, ' ');
      return sb_put(out, axis_text(p->k, s->axis));
    case TILE_LOAD:
      put_access(p, s);
      if (s->unchecked) sb_puts(out, " unchecked");
      if (!s->guard) return;
      sb_puts(out, " guard ");
      return put_value(p, s->nin ? s->in[s->nin - 1] : NULL);
    case TILE_STORE:
      put_access(p, s);
      if (s->unchecked) sb_puts(out, " unchecked");
      sb_puts(out, ", ");
      put_value(p, s->nin ? s->in[0] : NULL);
      return sb_puts(out, s->adds ? " add" : s->nontemporal ? " nontemporal" : "");
    case TILE_PREFETCH:
      put_access(p, s);
      return sb_printf(out, " level %d%s", s->level, s->write ? " write" : "");
    case TILE_CHECK:
      sb_putc(out, ' ');
      put_values(p, s->in, s->nin);
      sb_puts(out, " below ");
      put_size(pool, s->nix ? s->ix[0] : 0, out);
      return sb_printf(out, " site %d", s->site);
    case TILE_LOCAL:
      return put_local(p, s);
    case TILE_LOOP:
      return put_loop(p, s);
    case TILE_IF:
      return put_if(p, s);
    case TILE_YIELD:
    case TILE_MAP:
    case TILE_ACCUM:
    case TILE_REDUCE:
    case TILE_ARG:
    case TILE_ARG_REDUCE:
    case TILE_DOT:
      if (s->kind == TILE_DOT && s->unit != DOT_FMA) sb_printf(out, " %s", dot_unit_name(s->unit));
      if (s->nin) sb_putc(out, ' ');
      put_values(p, s->in, s->nin);
      if (s->naxes) put_axes(p, s);
      if (s->kind == TILE_REDUCE && s->extent) sb_printf(out, " to %d", s->extent);
      return;
  }
}

static bool names_an_op(tile_op kind) {
  return kind == TILE_ACCUM || kind == TILE_REDUCE || kind == TILE_ARG || kind == TILE_ARG_REDUCE;
}

static void put_note(printer *p, const tstmt *s) {
  if (!p->note) return;
  str text = p->note(p->note_ctx, s);
  for (int at = 0; at < text.len;) {
    int end = at;
    while (end < text.len && text.ptr[end] != '\n') end++;
    put_line(p);
    sb_printf(p->out, "// ^ %.*s", end - at, text.ptr + at);
    at = end + 1;
  }
}

static const char *op_text(op o) { return o >= 0 && o < OP_COUNT ? op_get(o)->name : "?"; }

static void put_stmt(printer *p, const tstmt *s) {
  put_line(p);
  put_definitions(p, s->out, s->nout);
  if (s->kind == TILE_MAP)
    sb_puts(p->out, op_text(s->op));
  else
    sb_puts(p->out, tile_op_word(s->kind));
  if (names_an_op(s->kind)) sb_printf(p->out, " %s", op_text(s->op));
  put_operands(p, s);
  if (s->kind != TILE_LOOP && s->kind != TILE_IF) put_types(p, s->out, s->nout);
  put_note(p, s);
}

static void put_region(printer *p, const tregion *r) {
  sb_putc(p->out, '{');
  p->indent++;
  for (int i = 0; r && i < r->stmts.len; i++) put_stmt(p, r->stmts.data[i]);
  p->indent--;
  put_line(p);
  sb_putc(p->out, '}');
}

// ---- kernels

static void put_head(printer *p) {
  const kernel *k = p->k;
  strbuf *out = p->out;
  sb_printf(out, "kernel @%.*s(", STR_FMT(k->name));
  for (int i = 0; i < k->nargs && i < k->bufs.len; i++) {
    const tile_buf *b = &k->bufs.data[i];
    sb_printf(out, "%s%.*s: %s", i ? ", " : "", STR_FMT(b->name), dtype_name(b->type));
    for (int d = 0; d < b->rank; d++) {
      sb_puts(out, d ? ", " : "[");
      put_size(&k->ix, b->dims[d], out);
    }
    if (b->rank) sb_putc(out, ']');
    put_strides(&k->ix, b->dims, b->strides, b->rank, out);
  }
  sb_putc(out, ')');
  if (k->vec_axis >= 0)
    sb_printf(out, " vec %.*s:%d", STR_FMT(axis_text(k, k->vec_axis)), k->vec_lanes);
  tile_print_threads(k, out);
  sb_puts(out, " {");
}

/// "axes N, D = 64": the size is left out where it is the symbol of the same name.
static void put_kernel_axes(printer *p) {
  const kernel *k = p->k;
  for (int i = 0; i < k->axes.len; i++) {
    const axis *a = &k->axes.data[i];
    if (!i) put_line(p);
    sb_printf(p->out, "%s%.*s", i ? ", " : "axes ", STR_FMT(a->name));
    const ix_node *size = a->size ? ix_get(&k->ix, a->size) : NULL;
    if (size && size->kind == IX_SYM && str_eq(size->name, a->name)) continue;
    sb_puts(p->out, " = ");
    put_size(&k->ix, a->size, p->out);
  }
}

static int by_symbol(const void *a, const void *b) {
  return str_cmp(((const map_entry *)a)->key, ((const map_entry *)b)->key);
}

/// A line "size N where N >= 1, N <= 4096, N % 16 == 0, N ~ 1000" per symbol of which something is
/// known, by name.
static void put_facts(const ix_pool *pool, int indent, strbuf *out) {
  int n = pool->facts.len;
  map_entry *sorted = arena_copy(out->arena, pool->facts.entries, sizeof(map_entry) * (size_t)n);
  if (n) qsort(sorted, (size_t)n, sizeof *sorted, by_symbol);
  for (int i = 0; i < n; i++) {
    const ix_fact *f = sorted[i].value;
    if (!f) continue;
    const struct {
      bool known;
      const char *relation;
      int64_t value;
      const char *tail;
    } facts[] = {{f->min > 0, " >= ", f->min, ""},
                 {f->max != INT64_MAX, " <= ", f->max, ""},
                 {f->multiple_of > 1, " % ", f->multiple_of, " == 0"},
                 {f->estimate > 0, " ~ ", f->estimate, ""}};
    const char *lead = " where ";
    for (int k = 0; k < 4; k++) {
      if (!facts[k].known) continue;
      if (lead[1] == 'w') sb_printf(out, "\n%*ssize %.*s", indent * 2, "", STR_FMT(sorted[i].key));
      sb_printf(out, "%s%.*s%s%lld%s", lead, STR_FMT(sorted[i].key), facts[k].relation,
                (long long)facts[k].value, facts[k].tail);
      lead = ", ";
    }
  }
}

void kernel_print_notes(const kernel *k, tile_note_fn *note, void *ctx, strbuf *out) {
  printer p = {.out = out, .k = k, .indent = 1, .note = note, .note_ctx = ctx};
  p.number = arena_array(out->arena, int, k->nvals + 1);
  for (int i = 0; i < k->nvals; i++) p.number[i] = -1;
  put_head(&p);
  put_facts(&k->ix, 1, out);
  put_kernel_axes(&p);
  tile_print_layouts(k, out);
  put_note(&p, NULL);
  put_line(&p);
  sb_puts(out, "grid ");
  for (int i = 0; i < k->grid.len; i++) {
    grid_axis g = k->grid.data[i];
    sb_printf(out, "%s%.*s:%d", i ? ", " : "", STR_FMT(axis_text(k, g.axis)), g.extent);
    if (g.group) sb_printf(out, " group %d", g.group);
    if (g.descending) sb_puts(out, " descending");
  }
  if (k->grid.len) sb_putc(out, ' ');
  put_region(&p, &k->body);
  sb_puts(out, "\n}\n");
}

void kernel_print(const kernel *k, strbuf *out) { kernel_print_notes(k, NULL, NULL, out); }

// ---- programs

static void put_quoted(strbuf *out, str text) {
  sb_putc(out, '"');
  for (int i = 0; i < text.len; i++) {
    char c = text.ptr[i];
    if (c == '"' || c == '\\') sb_putc(out, '\\');
    if (c == '\n')
      sb_puts(out, "\\n");
    else
      sb_putc(out, c);
  }
  sb_putc(out, '"');
}

static void put_buffer(const program *p, const buffer *b, strbuf *out) {
  sb_printf(out, "\n  buffer %%%.*s : %s", STR_FMT(b->name), dtype_name(b->type));
  for (int d = 0; d < b->rank; d++) {
    sb_puts(out, d ? ", " : "[");
    sb_put(out, b->axis_names[d]);
    const ix_node *size = ix_get(&p->ix, b->dims[d]);
    if (size->kind == IX_SYM && str_eq(size->name, b->axis_names[d])) continue;
    sb_puts(out, " = ");
    put_size(&p->ix, b->dims[d], out);
  }
  if (b->rank) sb_putc(out, ']');
  put_strides(&p->ix, b->dims, b->strides, b->rank, out);
  if (b->kind == BUFFER_TEMP) {
    sb_puts(out, " temp at ");
    put_size(&p->ix, b->offset, out);
    if (b->host) sb_printf(out, " of %%%.*s", STR_FMT(p->buffers.data[b->host - 1].name));
  } else {
    sb_printf(out, " %s %d", b->kind == BUFFER_PARAM ? "param" : "output", b->number);
  }
}

static void put_step(const program *p, const step *s, strbuf *out) {
  if (s->kind == STEP_HOST)
    sb_printf(out, "\n  host @%.*s(", STR_FMT(s->host_name));
  else
    sb_printf(out, "\n  call @%.*s(", STR_FMT(p->kernels.data[s->kernel]->name));
  for (int i = 0; i < s->nbufs; i++)
    sb_printf(out, "%s%%%.*s", i ? ", " : "", STR_FMT(p->buffers.data[s->bufs[i]].name));
  sb_putc(out, ')');
  if (!s->what.len) return;
  sb_puts(out, " what ");
  put_quoted(out, s->what);
}

void program_print(const program *p, strbuf *out) {
  sb_printf(out, "program @%.*s", STR_FMT(p->name));
  for (int i = 0; i < p->symbols.len; i++)
    sb_printf(out, "%s%.*s", i ? ", " : "(", STR_FMT(p->symbols.data[i]));
  sb_puts(out, p->symbols.len ? ") {" : " {");
  put_facts(&p->ix, 1, out);
  int64_t bytes;
  if (p->arena_bytes && !(ix_is_const(&p->ix, p->arena_bytes, &bytes) && !bytes)) {
    sb_puts(out, "\n  arena ");
    put_size(&p->ix, p->arena_bytes, out);
  }
  for (int i = 0; i < p->buffers.len; i++) put_buffer(p, &p->buffers.data[i], out);
  for (int i = 0; i < p->steps.len; i++) put_step(p, &p->steps.data[i], out);
  sb_puts(out, "\n}\n");
  for (int i = 0; i < p->kernels.len; i++) {
    sb_putc(out, '\n');
    kernel_print(p->kernels.data[i], out);
  }
}

void tile_module_print(const tile_module *m, strbuf *out) {
  for (int i = 0; i < m->programs.len; i++) {
    if (i) sb_putc(out, '\n');
    program_print(m->programs.data[i], out);
  }
}
