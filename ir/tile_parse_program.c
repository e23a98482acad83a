// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Programs of the tile IR from text: buffers and steps, followed by their kernels.
#include "ir/tile_parse.h"

typedef struct call_name {
  str name;
  int begin;
} call_name;

typedef struct parser {
  text_cursor *c;
  program *p;
  vec(call_name) calls;  // by step: the kernels, which come later
} parser;

/// "[N, D = 64]"
static void read_dims(parser *r, buffer *b) {
  text_cursor *c = r->c;
  if (!text_accept(c, '[')) return;
  do {
    if (b->rank == MAX_AXES) {
      text_fail(c, DIAG_ir_limit, c->at, "the rank is too large");
      return;
    }
    str name = text_name(c, "the name of an axis");
    if (c->failed) return;
    b->axis_names[b->rank] = str_dup(c->arena, name);
    b->dims[b->rank++] = text_accept(c, '=') ? text_size(c, &r->p->ix) : ix_sym(&r->p->ix, name);
  } while (text_accept(c, ','));
  text_expect(c, ']');
}

static int find_buffer(const program *p, str name) {
  for (int i = 0; i < p->buffers.len; i++)
    if (str_eq(p->buffers.data[i].name, name)) return i;
  return -1;
}

/// An output, which comes before all temps.
static int read_host(parser *r) {
  text_cursor *c = r->c;
  text_peek(c);
  int begin = c->at;
  str name = text_sigil_name(c, '%');
  int number = find_buffer(r->p, name);
  if (number < 0 || r->p->buffers.data[number].kind != BUFFER_OUTPUT)
    text_fail(c, DIAG_ir_unknown, begin, "no output is called %%%.*s", STR_FMT(name));
  return number < 0 ? 0 : number;
}

static void read_buffer(parser *r) {
  text_cursor *c = r->c;
  program *p = r->p;
  buffer b = {.kind = BUFFER_TEMP};
  text_peek(c);
  int begin = c->at;
  b.name = str_dup(c->arena, text_sigil_name(c, '%'));
  b.at = text_span(c, begin);
  if (find_buffer(p, b.name) >= 0)
    text_fail(c, DIAG_ir_twice, begin, "two buffers are called %%%.*s", STR_FMT(b.name));
  text_expect(c, ':');
  b.type = text_dtype(c);
  read_dims(r, &b);
  if (c->failed) return;
  text_strides(c, &p->ix, b.dims, b.rank, b.strides);
  if (text_accept_word(c, "param")) {
    b.kind = BUFFER_PARAM;
    b.number = (int)text_int(c, p->nparams, p->nparams);
    p->nparams++;
  } else if (text_accept_word(c, "output")) {
    b.kind = BUFFER_OUTPUT;
    b.number = (int)text_int(c, p->noutputs, p->noutputs);
    p->noutputs++;
  } else {
    text_expect_word(c, "temp");
    text_expect_word(c, "at");
    b.offset = text_size(c, &p->ix);
    if (text_accept_word(c, "of")) b.host = 1 + read_host(r);
  }
  vec_push(c->arena, &p->buffers, b);
}

/// "@softmax.0(%x, %out) what "..."", after call or host.
static void read_step(parser *r, step_kind kind) {
  text_cursor *c = r->c;
  vec(int) bufs = {0};
  step s = {.kind = kind};
  text_peek(c);
  int begin = c->at;
  str name = text_sigil_name(c, '@');
  call_name call = {name, begin};
  text_expect(c, '(');
  for (bool more = text_peek(c) != ')'; more && !c->failed; more = text_accept(c, ',')) {
    text_peek(c);
    int at = c->at;
    str buf = text_sigil_name(c, '%');
    int found = find_buffer(r->p, buf);
    if (found < 0) text_fail(c, DIAG_ir_unknown, at, "there is no buffer %%%.*s", STR_FMT(buf));
    vec_push(c->arena, &bufs, found);
  }
  text_expect(c, ')');
  s.at = text_span(c, begin);
  if (text_accept_word(c, "what")) s.what = text_quoted(c);
  if (kind == STEP_HOST) s.host_name = str_dup(c->arena, name);
  s.nbufs = bufs.len;
  s.bufs = bufs.data;
  vec_push(c->arena, &r->p->steps, s);
  vec_push(c->arena, &r->calls, call);
}

static void read_program(parser *r) {
  text_cursor *c = r->c;
  program *p = r->p;
  text_peek(c);
  int begin = c->at;
  p->name = str_dup(c->arena, text_sigil_name(c, '@'));
  p->at = text_span(c, begin);
  if (text_accept(c, '(')) {
    do {
      str symbol = text_name(c, "the name of a size");
      vec_push(c->arena, &p->symbols, str_dup(c->arena, symbol));
    } while (text_accept(c, ','));
    text_expect(c, ')');
  }
  text_expect(c, '{');
  text_facts(c, &p->ix);
  p->arena_bytes = text_accept_word(c, "arena") ? text_size(c, &p->ix) : ix_const(&p->ix, 0);
  while (text_accept_word(c, "buffer")) read_buffer(r);
  while (!c->failed && text_peek(c) != '}') {
    bool host = text_accept_word(c, "host");
    if (!host) text_expect_word(c, "call");
    read_step(r, host ? STEP_HOST : STEP_KERNEL);
  }
  text_expect(c, '}');
  while (text_accept_word(c, "kernel")) {
    kernel *k = tile_parse_kernel(c);
    if (k) vec_push(c->arena, &p->kernels, k);
  }
}

/// Positions of the checks: those of the statements in the text.
static void find_sites(const tregion *r, span *sites) {
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_CHECK) sites[s->site] = s->at;
    if (s->body) find_sites(s->body, sites);
    if (s->other) find_sites(s->other, sites);
  }
}

static void resolve_calls(parser *r) {
  program *p = r->p;
  for (int i = 0; i < p->steps.len && !r->c->failed; i++) {
    step *s = &p->steps.data[i];
    call_name call = r->calls.data[i];
    if (s->kind == STEP_HOST) continue;
    s->kernel = -1;
    for (int j = 0; j < p->kernels.len; j++)
      if (str_eq(p->kernels.data[j]->name, call.name)) s->kernel = j;
    if (s->kernel < 0) {
      r->c->at = call.begin + call.name.len + 1;
      text_fail(r->c, DIAG_ir_unknown, call.begin, "there is no kernel @%.*s", STR_FMT(call.name));
      return;
    }
    const kernel *k = p->kernels.data[s->kernel];
    s->nsites = k->nsites;
    s->sites = arena_array(r->c->arena, span, k->nsites);
    find_sites(&k->body, s->sites);
  }
}

bool tile_module_parse(arena *a, diag_list *diags, uint32_t file, tile_module *out) {
  text_cursor c = {.arena = a, .diags = diags, .file = file};
  c.text = diags->files.data[file - 1].text;
  *out = (tile_module){.arena = a};
  while (!c.failed && text_peek(&c)) {
    text_expect_word(&c, "program");
    parser r = {.c = &c, .p = arena_new(a, program)};
    r.p->arena = a;
    ix_init(&r.p->ix, a);
    read_program(&r);
    resolve_calls(&r);
    if (!c.failed) vec_push(a, &out->programs, r.p);
  }
  return !c.failed;
}
