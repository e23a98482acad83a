// Programs of the tile IR from text: buffers and steps, followed by their kernels.
#include "ir/tile_lex.h"

typedef struct call_name {
  str name;
  int begin;
} call_name;

typedef struct parser {
  tile_cursor *c;
  program *p;
  vec(call_name) calls;  // by step: the kernels, which come later
} parser;

/// "[N, D = 64]"
static void read_dims(parser *r, buffer *b) {
  tile_cursor *c = r->c;
  if (!tlex_accept(c, '[')) return;
  do {
    if (b->rank == MAX_AXES) {
      tlex_fail(c, TILE_E_LIMIT, c->at, "the rank is too large");
      return;
    }
    str name = tlex_name(c, "the name of an axis");
    if (c->failed) return;
    b->axis_names[b->rank] = str_dup(c->arena, name);
    b->dims[b->rank++] =
        tlex_accept(c, '=') ? tlex_size(c, &r->p->ix) : ix_sym(&r->p->ix, name);
  } while (tlex_accept(c, ','));
  tlex_expect(c, ']');
}

static int find_buffer(const program *p, str name) {
  for (int i = 0; i < p->buffers.len; i++)
    if (str_eq(p->buffers.data[i].name, name)) return i;
  return -1;
}

static void read_buffer(parser *r) {
  tile_cursor *c = r->c;
  program *p = r->p;
  buffer b = {.kind = BUFFER_TEMP};
  tlex_peek(c);
  int begin = c->at;
  b.name = str_dup(c->arena, tlex_sigil_name(c, '%'));
  if (find_buffer(p, b.name) >= 0)
    tlex_fail(c, TILE_E_TWICE, begin, "two buffers are called %%%.*s", STR_FMT(b.name));
  tlex_expect(c, ':');
  b.type = tlex_dtype(c);
  read_dims(r, &b);
  if (c->failed) return;
  tlex_strides(c, &p->ix, b.dims, b.rank, b.strides);
  if (tlex_accept_word(c, "param")) {
    b.kind = BUFFER_PARAM;
    b.number = (int)tlex_int(c, p->nparams, p->nparams);
    p->nparams++;
  } else if (tlex_accept_word(c, "output")) {
    b.kind = BUFFER_OUTPUT;
    b.number = (int)tlex_int(c, p->noutputs, p->noutputs);
    p->noutputs++;
  } else {
    tlex_expect_word(c, "temp");
    tlex_expect_word(c, "at");
    b.offset = tlex_size(c, &p->ix);
  }
  vec_push(c->arena, &p->buffers, b);
}

/// "@softmax.0(%x, %out) what "..."", after call or host.
static void read_step(parser *r, step_kind kind) {
  tile_cursor *c = r->c;
  vec(int) bufs = {0};
  step s = {.kind = kind};
  tlex_peek(c);
  int begin = c->at;
  str name = tlex_sigil_name(c, '@');
  call_name call = {name, begin};
  tlex_expect(c, '(');
  for (bool more = tlex_peek(c) != ')'; more && !c->failed; more = tlex_accept(c, ',')) {
    tlex_peek(c);
    int at = c->at;
    str buf = tlex_sigil_name(c, '%');
    int found = find_buffer(r->p, buf);
    if (found < 0) tlex_fail(c, TILE_E_UNKNOWN, at, "there is no buffer %%%.*s", STR_FMT(buf));
    vec_push(c->arena, &bufs, found);
  }
  tlex_expect(c, ')');
  s.at = tlex_span(c, begin);
  if (tlex_accept_word(c, "what")) s.what = tlex_quoted(c);
  if (kind == STEP_HOST) s.host_name = str_dup(c->arena, name);
  s.nbufs = bufs.len;
  s.bufs = bufs.data;
  vec_push(c->arena, &r->p->steps, s);
  vec_push(c->arena, &r->calls, call);
}

static void read_program(parser *r) {
  tile_cursor *c = r->c;
  program *p = r->p;
  p->name = str_dup(c->arena, tlex_sigil_name(c, '@'));
  if (tlex_accept(c, '(')) {
    do {
      str symbol = tlex_name(c, "the name of a size");
      vec_push(c->arena, &p->symbols, str_dup(c->arena, symbol));
    } while (tlex_accept(c, ','));
    tlex_expect(c, ')');
  }
  tlex_expect(c, '{');
  tlex_facts(c, &p->ix);
  p->arena_bytes = tlex_accept_word(c, "arena") ? tlex_size(c, &p->ix) : ix_const(&p->ix, 0);
  while (tlex_accept_word(c, "buffer")) read_buffer(r);
  while (!c->failed && tlex_peek(c) != '}') {
    bool host = tlex_accept_word(c, "host");
    if (!host) tlex_expect_word(c, "call");
    read_step(r, host ? STEP_HOST : STEP_KERNEL);
  }
  tlex_expect(c, '}');
  while (tlex_accept_word(c, "kernel")) {
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
      tlex_fail(r->c, TILE_E_UNKNOWN, call.begin, "there is no kernel @%.*s", STR_FMT(call.name));
      return;
    }
    const kernel *k = p->kernels.data[s->kernel];
    s->nsites = k->nsites;
    s->sites = arena_array(r->c->arena, span, k->nsites);
    find_sites(&k->body, s->sites);
  }
}

bool tile_module_parse(arena *a, diag_list *diags, uint32_t file, tile_module *out) {
  tile_cursor c = {.arena = a, .diags = diags, .file = file};
  c.text = diags->files.data[file - 1].text;
  *out = (tile_module){.arena = a};
  while (!c.failed && tlex_peek(&c)) {
    tlex_expect_word(&c, "program");
    parser r = {.c = &c, .p = arena_new(a, program)};
    r.p->arena = a;
    ix_init(&r.p->ix, a);
    read_program(&r);
    resolve_calls(&r);
    if (!c.failed) vec_push(a, &out->programs, r.p);
  }
  return !c.failed;
}
