// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rules of programs: buffers in order with sizes, steps whose buffers fit the kernels'
// arguments, nothing read before it is written, every output written. Where temps are in the
// arena is judged by ir/tile_verify_arena.c.
#include "ir/tile_verify.h"

typedef struct verifier {
  const program *p;
  arena *arena;
  tile_faults *found;
  span at;       // what is being judged
  ix_pool pool;  // where sizes of kernels and buffers are compared
  bool *written;
  map buffers, kernels;  // names seen
} verifier;

static void bad(verifier *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void bad(verifier *v, const char *format, ...) {
  va_list args;
  va_start(args, format);
  tile_fault fault = {v->at, str_vprintf(v->arena, format, args)};
  va_end(args);
  vec_push(v->arena, v->found, fault);
}

/// Adds the name to those seen.
static bool is_new_name(verifier *v, map *names, str name) {
  if (map_get(names, name)) return false;
  map_put(v->arena, names, name, v);
  return true;
}

/// An expression without coordinates: a stride, which may be negative.
static bool is_stride(const ix_pool *pool, ix e) {
  return e > 0 && (int)e < pool->nodes.len && ix_is_size(pool, e);
}

/// A size which is not known to be negative.
static bool is_size(const ix_pool *pool, ix e) {
  return is_stride(pool, e) && ix_bounds(pool, e).max >= 0;
}

static ix common(verifier *v, const ix_pool *from, ix e) {
  return ix_substitute(&v->pool, from, e, NULL, 0);
}

/// Row-major, where rows may be longer in memory than their elements.
static bool is_row_major(verifier *v, const buffer *b) {
  ix_pool *pool = &v->pool;
  int rank = b->rank < 0 || b->rank > MAX_AXES ? 0 : b->rank;
  for (int d = 0; d < rank; d++)
    if (!is_size(&v->p->ix, b->dims[d]) || !is_stride(&v->p->ix, b->strides[d])) return true;
  ix least = ix_const(pool, 1);
  for (int d = rank - 1; d >= 0; d--) {
    ix stride = common(v, &v->p->ix, b->strides[d]);
    bool row = d == rank - 2;
    if (stride != least && !(row && ix_known_le(pool, least, stride))) return false;
    least = ix_mul(pool, common(v, &v->p->ix, b->dims[d]), stride);
  }
  return true;
}

/// A kernel counts on no more than the program knows: a call keeps the program's facts.
static void verify_facts(verifier *v, const ix_pool *pool, str symbol, str who) {
  static const ix_fact nothing = {.min = 0, .max = INT64_MAX, .multiple_of = 1};
  const ix_fact *wanted = ix_find_fact(pool, symbol), *known = ix_find_fact(&v->p->ix, symbol);
  if (!wanted) return;
  if (!known) known = &nothing;
  int64_t wanted_multiple = wanted->multiple_of > 1 ? wanted->multiple_of : 1;
  int64_t multiple = known->multiple_of > 1 ? known->multiple_of : 1;
  bool implied = known->min >= wanted->min && known->max <= wanted->max &&
                 (multiple % wanted_multiple == 0 || (known->min == known->max &&
                                                      known->min % wanted_multiple == 0));
  if (!implied)
    bad(v, "@%.*s takes facts of the size %.*s that the program does not state", STR_FMT(who),
        STR_FMT(symbol));
}

/// Sizes use the symbols that a call gives.
static void verify_symbols(verifier *v, const ix_pool *pool, str who) {
  for (int i = 1; i < pool->nodes.len; i++) {
    const ix_node *n = &pool->nodes.data[i];
    bool known = n->kind != IX_SYM;
    for (int k = 0; k < v->p->symbols.len && !known; k++)
      known = str_eq(v->p->symbols.data[k], n->name);
    if (!known)
      bad(v, "@%.*s uses the size %.*s, which the program does not have", STR_FMT(who),
          STR_FMT(n->name));
    else if (n->kind == IX_SYM && pool != &v->p->ix)
      verify_facts(v, pool, n->name, who);
  }
}

static void verify_buffer(verifier *v, int i) {
  const buffer *b = &v->p->buffers.data[i];
  v->at = b->at;
  const ix_pool *pool = &v->p->ix;
  int place = b->kind == BUFFER_PARAM ? i : i - v->p->nparams;
  bool placed = b->kind == BUFFER_PARAM    ? i < v->p->nparams
                : b->kind == BUFFER_OUTPUT ? place >= 0 && place < v->p->noutputs
                                           : place >= v->p->noutputs;
  if (!placed || (b->kind != BUFFER_TEMP && b->number != place))
    bad(v, "buffer %.*s is not in its place", STR_FMT(b->name));
  if (b->rank < 0 || b->rank > MAX_AXES) bad(v, "buffer %.*s has a bad rank", STR_FMT(b->name));
  for (int d = 0; d < b->rank && d < MAX_AXES; d++)
    if (!is_size(pool, b->dims[d]) || !is_stride(pool, b->strides[d]))
      bad(v, "buffer %.*s has no size in dimension %d", STR_FMT(b->name), d);
  if (b->kind == BUFFER_TEMP && !is_size(pool, b->offset))
    bad(v, "buffer %.*s has no offset", STR_FMT(b->name));
  if (b->host && (b->kind != BUFFER_TEMP || b->host > i || v->p->buffers.data[b->host - 1].kind != BUFFER_OUTPUT))
    bad(v, "buffer %.*s lies in what is no output", STR_FMT(b->name));
  if (b->kind == BUFFER_TEMP && !is_row_major(v, b))
    bad(v, "temp %.*s is not row-major", STR_FMT(b->name));
  if (!is_new_name(v, &v->buffers, b->name))
    bad(v, "two buffers are called %.*s", STR_FMT(b->name));
}

/// The buffer passed for an argument has its type and sizes.
static void verify_argument(verifier *v, const kernel *k, const tile_buf *arg, const buffer *b) {
  const char *mismatch = NULL;
  if (arg->type != b->type)
    mismatch = "type";
  else if (arg->rank != b->rank)
    mismatch = "rank";
  for (int d = 0; !mismatch && d < b->rank; d++) {
    if (common(v, &k->ix, arg->dims[d]) != common(v, &v->p->ix, b->dims[d])) mismatch = "size";
    if (!mismatch && common(v, &k->ix, arg->strides[d]) != common(v, &v->p->ix, b->strides[d]))
      mismatch = "stride";
  }
  if (mismatch)
    bad(v, "@%.*s: argument %.*s and buffer %.*s differ in %s", STR_FMT(k->name),
        STR_FMT(arg->name), STR_FMT(b->name), mismatch);
}

/// Buffers read must hold something; a step does not write where it also reads under another name.
static void verify_flow(verifier *v, const step *s, int i, bool writes, bool adds, const char *who) {
  const buffer *b = &v->p->buffers.data[s->bufs[i]];
  if (!writes) {
    if (b->kind != BUFFER_PARAM && !v->written[s->bufs[i]])
      bad(v, "%s reads buffer %.*s before it is written", who, STR_FMT(b->name));
    return;
  }
  if (adds && !v->written[s->bufs[i]])
    bad(v, "%s adds to buffer %.*s before it is written", who, STR_FMT(b->name));
  if (b->kind == BUFFER_PARAM) bad(v, "%s writes the param %.*s", who, STR_FMT(b->name));
  for (int j = 0; j < s->nbufs; j++)
    if (j != i && s->bufs[j] == s->bufs[i])
      bad(v, "%s gets buffer %.*s twice and writes it", who, STR_FMT(b->name));
}

static bool step_writes(const program *p, const step *s, int i) {
  if (s->kind == STEP_HOST) return i + 1 == s->nbufs;
  return p->kernels.data[s->kernel]->bufs.data[i].written;
}

static void verify_step(verifier *v, const step *s) {
  const program *p = v->p;
  v->at = s->at;
  bool host = s->kind == STEP_HOST;
  if (!host && (s->kernel < 0 || s->kernel >= p->kernels.len))
    return bad(v, "a step calls an unknown kernel");
  const kernel *k = host ? NULL : p->kernels.data[s->kernel];
  const char *who = str_z(v->arena, host ? s->host_name : k->name);
  int expected = host ? s->nbufs : k->nargs;
  if (s->nbufs != expected || (host && s->nbufs < 1))
    return bad(v, "@%s gets %d buffers, not %d", who, s->nbufs, host ? 1 : expected);
  for (int i = 0; i < s->nbufs; i++)
    if (s->bufs[i] < 0 || s->bufs[i] >= p->buffers.len)
      return bad(v, "@%s gets an unknown buffer", who);
  for (int i = 0; i < s->nbufs; i++) {
    if (k) verify_argument(v, k, &k->bufs.data[i], &p->buffers.data[s->bufs[i]]);
    verify_flow(v, s, i, step_writes(p, s, i), k && kernel_adds_to(k, i), who);
  }
  for (int i = 0; i < s->nbufs; i++)
    if (step_writes(p, s, i)) v->written[s->bufs[i]] = true;
  if (k && s->nsites != k->nsites)
    bad(v, "@%s has %d check sites, the step %d", who, k->nsites, s->nsites);
}

static bool verify_kernels(verifier *v, tile_faults *faults, strbuf *report) {
  const program *p = v->p;
  bool sound = true;
  for (int i = 0; i < p->kernels.len; i++) {
    v->at = p->kernels.data[i]->at;
    if (!is_new_name(v, &v->kernels, p->kernels.data[i]->name))
      bad(v, "two kernels are called @%.*s", STR_FMT(p->kernels.data[i]->name));
    str text;
    if (tile_verify_kernel(p->kernels.data[i], v->arena, faults, &text)) continue;
    sb_put(report, text);
    sound = false;
  }
  return sound;
}

/// Nothing needs to write a buffer without elements.
static bool is_empty(const program *p, int number) {
  const buffer *b = &p->buffers.data[number];
  for (int i = 0; i < b->rank; i++) {
    int64_t size;
    if (ix_is_const(&p->ix, b->dims[i], &size) && size == 0) return true;
  }
  return false;
}

/// The steps, when kernels, buffers and their sizes make sense.
static void verify_steps(verifier *v) {
  const program *p = v->p;
  for (int i = 0; i < p->buffers.len; i++) v->written[i] = is_empty(p, i);
  for (int i = 0; i < p->steps.len; i++) verify_step(v, &p->steps.data[i]);
  for (int i = 0; i < p->buffers.len; i++) {
    const buffer *b = &p->buffers.data[i];
    v->at = b->at;
    if (b->kind == BUFFER_OUTPUT && !v->written[i])
      bad(v, "output %.*s is never written", STR_FMT(b->name));
  }
  if (!v->found->len) tile_verify_arena(p, v->arena, &v->pool, v->found);
}

/// Violations of the program's own rules and of its kernels'; the kernels' with a report.
static void find_faults(const program *p, arena *a, tile_faults *own, tile_faults *of_kernels,
                        strbuf *report) {
  verifier v = {.p = p, .arena = a, .found = own, .written = arena_array(a, bool, p->buffers.len)};
  ix_init(&v.pool, a);
  ix_copy_pool(&v.pool, &p->ix);  // sizes fold by the same facts
  bool sound = verify_kernels(&v, of_kernels, report);
  for (int i = 0; i < p->buffers.len; i++) verify_buffer(&v, i);
  v.at = p->at;
  verify_symbols(&v, &p->ix, p->name);
  for (int i = 0; i < p->kernels.len; i++) {
    v.at = p->kernels.data[i]->at;
    verify_symbols(&v, &p->kernels.data[i]->ix, p->kernels.data[i]->name);
  }
  if (sound && !own->len) verify_steps(&v);
}

bool program_verify(const program *p, arena *a, str *report) {
  tile_faults own = {0}, of_kernels = {0};
  strbuf text = sb_new(a), kernels = sb_new(a);
  find_faults(p, a, &own, &of_kernels, &kernels);
  *report = (str){0};
  if (!own.len && !of_kernels.len) return true;
  for (int i = 0; i < own.len; i++) sb_printf(&text, "// %.*s\n", STR_FMT(own.data[i].text));
  if (own.len) {
    sb_putc(&text, '\n');
    program_print(p, &text);
  }
  sb_put(&text, sb_str(&kernels));
  *report = sb_str(&text);
  return false;
}

bool program_find_faults(const program *p, arena *a, tile_faults *faults) {
  tile_faults own = {0};
  strbuf unused = sb_new(a);
  int before = faults->len;
  find_faults(p, a, &own, faults, &unused);
  for (int i = 0; i < own.len; i++) vec_push(a, faults, own.data[i]);
  return faults->len == before;
}
