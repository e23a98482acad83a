// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of the tile IR from text: what ir/tile_print.c prints, with comments and any names for
// values. Types and shapes are taken as written; kernel_verify judges them afterwards.
#include "ir/tile_parse.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clocale.h"

enum { DEEPEST = 100, MOST_EXTENT = 1 << 24 };

typedef vec(tval *) tval_list;

typedef struct parser {
  text_cursor *c;
  kernel *k;
  map values;  // by name
  int depth;
} parser;

// ---- names

static int read_axis(parser *p) {
  text_peek(p->c);
  int begin = p->c->at;
  str name = text_name(p->c, "the name of an axis");
  int found = p->c->failed ? -1 : kernel_find_axis(p->k, name);
  if (found < 0 && !p->c->failed)
    text_fail(p->c, DIAG_ir_unknown, begin, "the kernel has no axis %.*s", STR_FMT(name));
  return found < 0 ? 0 : found;
}

/// "T:64"
static int read_axis_extent(parser *p, int *extent) {
  int found = read_axis(p);
  text_expect(p->c, ':');
  *extent = (int)text_int(p->c, 1, MOST_EXTENT);
  return found;
}

static tval *read_value(parser *p) {
  text_peek(p->c);
  int begin = p->c->at;
  str name = text_sigil_name(p->c, '%');
  tval *v = p->c->failed ? NULL : map_get(&p->values, name);
  if (!v) text_fail(p->c, DIAG_ir_unknown, begin, "no value %%%.*s is defined", STR_FMT(name));
  return v;
}

static void read_values(parser *p, tval_list *list) {
  do vec_push(p->k->arena, list, read_value(p));
  while (text_accept(p->c, ','));
}

typedef struct name_at {
  str name;
  int begin;
} name_at;
typedef vec(name_at) name_list;

static void read_definition(parser *p, name_list *names) {
  text_peek(p->c);
  int begin = p->c->at;
  name_at found = {text_sigil_name(p->c, '%'), begin};
  vec_push(p->c->arena, names, found);
}

static void define(parser *p, const name_at *n, tval *v) {
  if (p->c->failed) return;
  if (map_get(&p->values, n->name))
    text_fail(p->c, DIAG_ir_twice, n->begin, "%%%.*s is defined twice", STR_FMT(n->name));
  else
    map_put(p->c->arena, &p->values, n->name, v);
}

static int find_buffer(parser *p) {
  text_peek(p->c);
  int begin = p->c->at;
  str name = text_name(p->c, "the name of a buffer");
  for (int i = 0; i < p->k->bufs.len; i++)
    if (str_eq(p->k->bufs.data[i].name, name)) return i;
  text_fail(p->c, DIAG_ir_unknown, begin, "the kernel has no buffer %.*s", STR_FMT(name));
  return 0;
}

// ---- types, constants, coordinates

/// "f32[N:1, T:64]"
static tval *read_type(parser *p) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  dtype t = text_dtype(p->c);
  if (text_accept(p->c, '[')) {
    do {
      if (n == MAX_AXES) {
        text_fail(p->c, DIAG_ir_limit, p->c->at, "more than %d axes", MAX_AXES);
        break;
      }
      axes[n] = read_axis_extent(p, &extents[n]);
      n++;
    } while (text_accept(p->c, ','));
    text_expect(p->c, ']');
  }
  return tile_value(p->k, t, axes, extents, n);
}

/// The characters of a number or word; its meaning depends on the type that follows.
static str read_constant(parser *p) {
  text_peek(p->c);
  const char *text = p->c->text.ptr;
  int begin = p->c->at, end = begin;
  while (end < p->c->text.len && !strchr(" \t\r\n:", text[end])) end++;
  p->c->at = end;
  return (str){text + begin, end - begin};
}

static scalar constant_of(parser *p, str text, dtype t) {
  scalar v = {0};
  if (p->c->failed) return v;
  int begin = (int)(text.ptr - p->c->text.ptr);
  char *z = str_z(p->c->arena, text), *end = z;
  errno = 0;
  if (t == DT_bool) {
    v.i = str_eqz(text, "true");
    end = v.i || str_eqz(text, "false") ? z + text.len : z;
  } else if (dtype_is_float(t)) {
    v.f = clocale_strtod(z, &end);
    errno = 0;  // overflow gives inf, underflow the nearest: as written
  } else if (t == DT_u64) {
    v.i = (int64_t)strtoull(z, &end, 10);
    if (*z == '-') end = z;
  } else {
    v.i = strtoll(z, &end, 10);
  }
  if (!text.len || *end || end == z || errno)
    text_fail(p->c, DIAG_ir_number, begin, "%s is not a constant of type %s", z, dtype_name(t));
  else if (!dtype_is_float(t) && scalar_cast(v, DT_i64, t).i != v.i)
    text_fail(p->c, DIAG_ir_number, begin, "%s does not fit into %s", z, dtype_name(t));
  return v;
}

static ix axis_coordinate(void *ctx, str name) {
  kernel *k = ctx;
  int found = kernel_find_axis(k, name);
  return found < 0 ? 0 : ix_axis(&k->ix, found);
}

static ix read_index(parser *p) {
  text_peek(p->c);
  if (p->c->failed) return ix_const(&p->k->ix, 0);
  int begin = p->c->at;
  const char *error = "malformed index";
  ix e = ix_parse(&p->k->ix, p->c->text, &p->c->at, axis_coordinate, p->k, &error);
  if (e) return e;
  text_fail(p->c, DIAG_ir_syntax, begin, "%s", error);
  return ix_const(&p->k->ix, 0);
}

// ---- statements

static void set_inputs(parser *p, tstmt *s, const tval_list *list) {
  s->nin = list->len;
  s->in = arena_copy(p->k->arena, list->data, sizeof(tval *) * (size_t)list->len);
}

static void set_size(parser *p, tstmt *s) {
  s->nix = 1;
  s->ix = arena_new(p->k->arena, ix);
  s->ix[0] = text_size(p->c, &p->k->ix);
}

/// "x[N, %3 + 2*T]": the buffer and its coordinates; indirect tiles are appended to `in`.
static void read_access(parser *p, tstmt *s, tval_list *in) {
  s->buf = find_buffer(p);
  if (p->c->failed) return;
  int rank = p->k->bufs.data[s->buf].rank;
  s->nix = rank;
  s->ix = arena_array(p->k->arena, ix, rank);
  s->indirect = arena_array(p->k->arena, int8_t, rank);
  text_expect(p->c, '[');
  for (int d = 0; d < rank; d++) {
    if (d) text_expect(p->c, ',');
    s->indirect[d] = -1;
    bool tile = text_peek(p->c) == '%';
    if (tile) {
      s->indirect[d] = (int8_t)in->len;
      vec_push(p->k->arena, in, read_value(p));
    }
    bool more = !tile || text_accept(p->c, '+');
    s->ix[d] = more ? read_index(p) : ix_const(&p->k->ix, 0);
  }
  text_expect(p->c, ']');
}

static void read_load(parser *p, tstmt *s) {
  tval_list in = {0};
  read_access(p, s, &in);
  s->unchecked = text_accept_word(p->c, "unchecked");
  s->guard = text_accept_word(p->c, "guard");
  if (s->guard) vec_push(p->k->arena, &in, read_value(p));
  set_inputs(p, s, &in);
}

static void read_store(parser *p, tstmt *s) {
  tval_list in = {0};
  vec_push(p->k->arena, &in, NULL);
  read_access(p, s, &in);
  s->unchecked = text_accept_word(p->c, "unchecked");
  text_expect(p->c, ',');
  in.data[0] = read_value(p);
  s->nontemporal = text_accept_word(p->c, "nontemporal");
  s->adds = !s->nontemporal && text_accept_word(p->c, "add");
  set_inputs(p, s, &in);
  p->k->bufs.data[s->buf].written = true;
}

static void read_prefetch(parser *p, tstmt *s) {
  tval_list in = {0};
  read_access(p, s, &in);
  set_inputs(p, s, &in);
  text_expect_word(p->c, "level");
  s->level = (int)text_int(p->c, 1, 3);
  s->write = text_accept_word(p->c, "write");
}

static void read_check(parser *p, tstmt *s) {
  tval_list in = {0};
  vec_push(p->k->arena, &in, read_value(p));
  set_inputs(p, s, &in);
  text_expect_word(p->c, "below");
  set_size(p, s);
  text_expect_word(p->c, "site");
  s->site = (int)text_int(p->c, 0, 65535);
  if (s->site >= p->k->nsites) p->k->nsites = s->site + 1;
}

static void read_pairs(parser *p, tile_buf *b) {
  int along = read_axis(p);
  b->pairs = true;
  b->pair_dim = -1;
  for (int d = 0; d < b->rank; d++)
    if (b->local_axes[d] == along) b->pair_dim = d;
}

/// "local row : f32[T, D:64] panel D:16"
static void read_local(parser *p, tstmt *s) {
  kernel *k = p->k;
  text_peek(p->c);
  int begin = p->c->at;
  tile_buf b = {.name = text_name(p->c, "the name of a buffer"), .local = true, .panel_dim = -1};
  for (int i = 0; i < k->bufs.len; i++)
    if (str_eq(k->bufs.data[i].name, b.name))
      text_fail(p->c, DIAG_ir_twice, begin, "there is a buffer %.*s", STR_FMT(b.name));
  text_expect(p->c, ':');
  b.type = text_dtype(p->c);
  if (text_accept(p->c, '[')) {
    do {
      if (b.rank == MAX_AXES) {
        text_fail(p->c, DIAG_ir_limit, p->c->at, "more than %d dimensions", MAX_AXES);
        break;
      }
      b.local_axes[b.rank] = read_axis(p);
      if (p->c->failed) return;
      bool part = text_accept(p->c, ':');
      b.dims[b.rank] = part ? ix_const(&k->ix, text_int(p->c, 1, MOST_EXTENT))
                            : k->axes.data[b.local_axes[b.rank]].size;
      b.rank++;
    } while (text_accept(p->c, ','));
    text_expect(p->c, ']');
  }
  if (text_accept_word(p->c, "panel")) {
    int along = read_axis_extent(p, &b.panel);
    for (int d = 0; d < b.rank; d++)
      if (b.local_axes[d] == along) b.panel_dim = d;
    b.swizzle = text_accept_word(p->c, "swizzle");
  }
  if (text_accept_word(p->c, "pairs")) read_pairs(p, &b);
  if (text_accept_word(p->c, "pad")) b.pad = (int)text_int(p->c, 1, MOST_EXTENT);
  s->buf = k->bufs.len;
  b.name = str_dup(k->arena, b.name);
  vec_push(k->arena, &k->bufs, b);
}

static void read_over(parser *p, tstmt *s) {
  vec(int) axes = {0};
  text_expect_word(p->c, "over");
  do vec_push(p->k->arena, &axes, read_axis(p));
  while (text_accept(p->c, ','));
  s->naxes = axes.len;
  s->axes = axes.data;
}

static void read_region(parser *p, tregion *r);

static tval *value_like(parser *p, const tval *v) {
  return v ? tile_value(p->k, v->type, v->axes, v->extents, v->naxes)
           : tile_value(p->k, DT_f32, NULL, NULL, 0);
}

/// "stages=4"
static int read_setting(parser *p, const char *key, int64_t max) {
  if (!text_accept_word(p->c, key)) return 0;
  text_expect(p->c, '=');
  return (int)text_int(p->c, 1, max);
}

/// "loop T:64 unroll 4 reverse from S below S + 64 within %3, %4 vec stage stages=4 skew turns
/// layout=1 carry %2 = %0 { ... }"
static void read_loop(parser *p, tstmt *s, const name_list *results) {
  s->axis = read_axis_extent(p, &s->extent);
  if (text_accept_word(p->c, "unroll")) s->unroll = (int)text_int(p->c, 1, 4096);
  s->reverse = text_accept_word(p->c, "reverse");
  if (text_accept_word(p->c, "from")) s->from = read_index(p);
  if (text_accept_word(p->c, "below")) s->below = read_index(p);
  tval *ends[2] = {0};
  s->within = text_accept_word(p->c, "within");
  for (int i = 0; s->within && i < 2; i++) {
    if (i) text_expect(p->c, ',');
    ends[i] = read_value(p);
  }
  s->vec = text_accept_word(p->c, "vec");
  s->stage = text_accept_word(p->c, "stage");
  s->stages = read_setting(p, "stages", 16);
  s->skew = text_accept_word(p->c, "skew");
  s->turns = text_accept_word(p->c, "turns");
  s->layout = read_setting(p, "layout", 1 << 16);
  name_list params = {0};
  tval_list inits = {0};
  if (text_accept_word(p->c, "carry")) {
    do {
      read_definition(p, &params);
      text_expect(p->c, '=');
      vec_push(p->k->arena, &inits, read_value(p));
    } while (text_accept(p->c, ','));
  }
  tval_list in = {0};
  for (int i = 0; i < inits.len; i++) vec_push(p->k->arena, &in, inits.data[i]);
  for (int i = 0; s->within && i < 2; i++) vec_push(p->k->arena, &in, ends[i]);
  set_inputs(p, s, &in);
  if (results->len != inits.len)
    return text_fail(p->c, DIAG_ir_syntax, p->c->at, "the loop has %d results and carries %d",
                     results->len, inits.len);
  s->body = arena_new(p->k->arena, tregion);
  s->nout = s->body->nparams = inits.len;
  s->out = arena_array(p->k->arena, tval *, inits.len);
  s->body->params = arena_array(p->k->arena, tval *, inits.len);
  for (int i = 0; i < inits.len; i++) {
    s->out[i] = value_like(p, inits.data[i]);
    define(p, &results->data[i], s->out[i]);
  }
  for (int i = 0; i < inits.len; i++) {
    s->body->params[i] = value_like(p, inits.data[i]);
    define(p, &params.data[i], s->body->params[i]);
  }
  read_region(p, s->body);
}

static void read_condition(parser *p, tstmt *s) {
  static const char *const words[] = {"first", "last", "any", "all", "finished"};
  enum { WORDS = sizeof words / sizeof *words };
  int cond = 0;
  while (cond < WORDS && !text_accept_word(p->c, words[cond])) cond++;
  if (cond == WORDS)
    return text_fail(p->c, DIAG_ir_syntax, p->c->at, "expected first, last, any, all or finished");
  s->cond = (tile_cond)cond;
  if (s->cond != COND_ANY && s->cond != COND_ALL) {
    s->axis = read_axis(p);
    return;
  }
  tval_list in = {0};
  vec_push(p->k->arena, &in, read_value(p));
  set_inputs(p, s, &in);
}

/// Results take number and name before the regions, their shapes from the yields.
static void read_if(parser *p, tstmt *s, const name_list *results) {
  read_condition(p, s);
  s->nout = results->len;
  s->out = arena_array(p->k->arena, tval *, results->len);
  for (int i = 0; i < results->len; i++) s->out[i] = value_like(p, NULL);
  s->body = arena_new(p->k->arena, tregion);
  read_region(p, s->body);
  if (text_accept_word(p->c, "else")) {
    s->other = arena_new(p->k->arena, tregion);
    read_region(p, s->other);
  }
  int n;
  tval *const *yields = tregion_yields(s->body, &n);
  for (int i = 0; i < results->len && !p->c->failed; i++) {
    int id = s->out[i]->id;
    if (i < n) *s->out[i] = *yields[i];
    s->out[i]->id = id;
    define(p, &results->data[i], s->out[i]);
  }
}

static void read_operands(parser *p, tstmt *s) {
  tval_list in = {0};
  for (dot_unit u = DOT_FMA + 1; s->kind == TILE_DOT && u < DOT_UNITS; u++)
    if (text_accept_word(p->c, dot_unit_name(u))) s->unit = u;
  read_values(p, &in);
  set_inputs(p, s, &in);
  if (s->kind == TILE_REDUCE || s->kind == TILE_ARG_REDUCE || s->kind == TILE_DOT) read_over(p, s);
  if (s->kind == TILE_REDUCE && text_accept_word(p->c, "to"))
    s->extent = (int)text_int(p->c, 1, MOST_EXTENT);
}

static void read_op(parser *p, tstmt *s) {
  text_peek(p->c);
  int begin = p->c->at;
  str name = text_name(p->c, "an op");
  if (!p->c->failed && !op_parse(name, &s->op))
    text_fail(p->c, DIAG_ir_unknown, begin, "%.*s is not an op", STR_FMT(name));
}

/// ": f32[N:1], i32[N:1]", one type per result.
static void read_results(parser *p, tstmt *s, const name_list *results) {
  if (!results->len) return;
  text_expect(p->c, ':');
  s->nout = results->len;
  s->out = arena_array(p->k->arena, tval *, results->len);
  for (int i = 0; i < results->len; i++) {
    if (i) text_expect(p->c, ',');
    s->out[i] = read_type(p);
    define(p, &results->data[i], s->out[i]);
  }
}

static bool kind_of_word(str word, tile_op *kind, op *o) {
  for (int i = 0; i <= TILE_CHECK; i++) {
    if (i == TILE_MAP || !str_eqz(word, tile_op_word((tile_op)i))) continue;
    *kind = (tile_op)i;
    return true;
  }
  *kind = TILE_MAP;
  return op_parse(word, o) && op_is_map(*o);
}

static void read_details(parser *p, tstmt *s, const name_list *results) {
  str constant = {0};
  switch (s->kind) {
    case TILE_CONST:
      constant = read_constant(p);
      break;
    case TILE_SIZE:
      set_size(p, s);
      break;
    case TILE_INDEX:
      s->axis = read_axis(p);
      break;
    case TILE_LOAD:
      read_load(p, s);
      break;
    case TILE_STORE:
      read_store(p, s);
      break;
    case TILE_PREFETCH:
      read_prefetch(p, s);
      break;
    case TILE_CHECK:
      read_check(p, s);
      break;
    case TILE_LOCAL:
      read_local(p, s);
      break;
    case TILE_LOOP:
      read_loop(p, s, results);
      return;
    case TILE_IF:
      read_if(p, s, results);
      return;
    case TILE_ACCUM:
    case TILE_REDUCE:
    case TILE_ARG:
    case TILE_ARG_REDUCE:
      read_op(p, s);
      read_operands(p, s);
      break;
    case TILE_YIELD:
    case TILE_MAP:
    case TILE_DOT:
      read_operands(p, s);
      break;
  }
  read_results(p, s, results);
  if (s->kind != TILE_CONST) return;
  if (s->nout != 1)
    text_fail(p->c, DIAG_ir_syntax, p->c->at, "a constant has one result");
  else
    s->value = constant_of(p, constant, s->out[0]->type);
}

static void read_stmt(parser *p, tregion *r) {
  name_list results = {0};
  int begin = p->c->at;
  if (text_peek(p->c) == '%') {
    do read_definition(p, &results);
    while (text_accept(p->c, ','));
    text_expect(p->c, '=');
  }
  text_peek(p->c);
  int word_at = p->c->at;
  str word = text_name(p->c, "a statement or '}'");
  tile_op kind;
  op o = OP_add;
  if (p->c->failed) return;
  if (!kind_of_word(word, &kind, &o))
    return text_fail(p->c, DIAG_ir_unknown, word_at, "%.*s is not a statement", STR_FMT(word));
  tile_builder b = {.k = p->k, .region = r};
  tstmt *s = tile_stmt(&b, kind, NULL, 0);
  s->op = o;
  s->at = text_span(p->c, begin);  // loops and ifs: their first word; else the whole statement
  read_details(p, s, &results);
  if (kind != TILE_LOOP && kind != TILE_IF) s->at = text_span(p->c, begin);
}

static void read_region(parser *p, tregion *r) {
  if (++p->depth > DEEPEST)
    return text_fail(p->c, DIAG_ir_limit, p->c->at, "regions are nested too deep");
  text_expect(p->c, '{');
  while (!p->c->failed && text_peek(p->c) != '}') read_stmt(p, r);
  text_expect(p->c, '}');
  p->depth--;
}

// ---- kernels

static void read_arguments(parser *p) {
  text_expect(p->c, '(');
  if (text_accept(p->c, ')')) return;
  do {
    ix dims[MAX_AXES], strides[MAX_AXES];
    int rank = 0;
    text_peek(p->c);
    int begin = p->c->at;
    str name = text_name(p->c, "the name of an argument");
    text_expect(p->c, ':');
    dtype t = text_dtype(p->c);
    if (text_accept(p->c, '[')) {
      do {
        if (rank == MAX_AXES)
          text_fail(p->c, DIAG_ir_limit, begin, "the rank is too large");
        else
          dims[rank++] = text_size(p->c, &p->k->ix);
      } while (text_accept(p->c, ','));
      text_expect(p->c, ']');
    }
    if (p->c->failed) return;
    text_strides(p->c, &p->k->ix, dims, rank, strides);
    for (int i = 0; i < p->k->bufs.len; i++)
      if (str_eq(p->k->bufs.data[i].name, name))
        text_fail(p->c, DIAG_ir_twice, begin, "two arguments are called %.*s", STR_FMT(name));
    kernel_add_arg(p->k, name, t, rank, dims, strides);
  } while (text_accept(p->c, ','));
  text_expect(p->c, ')');
}

static void read_axes(parser *p) {
  text_cursor *c = p->c;
  if (!text_accept_word(c, "axes")) return;
  do {
    text_peek(c);
    int begin = c->at;
    str name = text_name(c, "the name of an axis");
    if (c->failed) return;
    ix size = text_accept(c, '=') ? text_size(c, &p->k->ix) : ix_sym(&p->k->ix, name);
    if (kernel_find_axis(p->k, name) >= 0)
      return text_fail(c, DIAG_ir_twice, begin, "two axes are called %.*s", STR_FMT(name));
    kernel_add_axis(p->k, name, size);
  } while (text_accept(c, ','));
}

/// Facts of sizes and axes stand below the arguments but must be known before them.
static void read_head(parser *p) {
  text_cursor *c = p->c;
  int arguments = c->at;
  while (text_peek(c) && text_peek(c) != '{') c->at++;
  text_expect(c, '{');
  text_facts(c, &p->k->ix);
  read_axes(p);
  tile_parse_layouts(c, p->k);
  if (c->failed) return;
  int body = c->at;
  c->at = arguments;
  read_arguments(p);
  if (text_accept_word(c, "vec")) p->k->vec_axis = read_axis_extent(p, &p->k->vec_lanes);
  tile_parse_threads(c, p->k);
  text_expect(c, '{');
  if (!c->failed) c->at = body;
}

kernel *tile_parse_kernel(text_cursor *c) {
  parser p = {.c = c};
  text_peek(c);
  int begin = c->at;
  str name = text_sigil_name(c, '@');
  if (c->failed) return NULL;
  p.k = kernel_new(c->arena, name);
  p.k->at = text_span(c, begin);
  read_head(&p);
  text_expect_word(c, "grid");
  while (!c->failed && text_peek(c) != '{') {
    int extent;
    if (p.k->grid.len) text_expect(c, ',');
    int along = read_axis_extent(&p, &extent);
    if (c->failed) break;
    kernel_set_grid(p.k, along, extent);
    grid_axis *g = &p.k->grid.data[p.k->grid.len - 1];
    if (text_accept_word(c, "group")) g->group = (int)text_int(c, 1, MOST_EXTENT);
    g->descending = text_accept_word(c, "descending");
  }
  read_region(&p, &p.k->body);
  text_expect(c, '}');
  return c->failed ? NULL : p.k;
}
