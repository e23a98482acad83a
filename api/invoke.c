// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Running compiled code: the frame it gets, the modes it asks for, the errors it reports.
#include "api/session.h"

// ---- floating point modes

/// Sets the floating point modes of the call on whichever thread runs a range, and restores them.
typedef struct moded_pool {
  void *pool;
  void (*parallel_for)(void *, tcf_task, void *, int64_t);
  bool flush;
} moded_pool;

typedef struct moded_task {
  tcf_task task;
  void *args;
  bool flush;
} moded_task;

static void run_moded(void *args, int64_t begin, int64_t end, int32_t worker) {
  moded_task *t = args;
  float_modes before = float_modes_enter(t->flush);
  t->task(t->args, begin, end, worker);
  float_modes_leave(before);
}

static void moded_for(void *pool_, tcf_task task, void *args, int64_t n) {
  moded_pool *p = pool_;
  moded_task t = {task, args, p->flush};
  p->parallel_for(p->pool, run_moded, &t, n);
}

// ---- errors

typedef struct index_failure {
  const variant *variant;
  int64_t site, index;
  const int64_t *symbols;  // null: unknown
  arena arena;
} index_failure;

static bool known_symbol(void *ctx, str name, int64_t *out) {
  const index_failure *f = ctx;
  for (int k = 0; f->symbols && k < f->variant->symbols.len; k++)
    if (str_eq(f->variant->symbols.data[k], name)) return *out = f->symbols[k], true;
  return false;
}

/// The value of a size; -1 when it has a symbol that is not known here.
static int64_t size_at_failure(index_failure *f, const ix_pool *from, ix size) {
  ix_pool pool;
  int64_t value;
  ix_init(&pool, &f->arena);
  return ix_is_const(&pool, ix_bind(&pool, from, size, known_symbol, f), &value) ? value : -1;
}

static const tstmt *find_check(const tregion *r, int number) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i], *inside;
    if (s->kind == TILE_CHECK && s->site == number) return s;
    if ((inside = find_check(s->body, number)) || (inside = find_check(s->other, number)))
      return inside;
  }
  return NULL;
}

/// Of a program read as tile IR: the check says against which size.
static int64_t size_of_check(index_failure *f, const struct program *p, const site *at) {
  const kernel *k = p->kernels.data[p->steps.data[at->step].kernel];
  const tstmt *s = find_check(&k->body, at->number);
  return s ? size_at_failure(f, &k->ix, s->ix[0]) : -1;
}

static tcf_status report_index(void *args) {
  index_failure *f = args;
  const variant *v = f->variant;
  tcf_program *p = v->function->program;
  int64_t where = f->site - 1, size = -1;
  const site *found = NULL;
  str axis = {0};
  for (int i = 0; i < v->sites.len; i++)
    if (v->sites.data[i].step == where >> 16 && v->sites.data[i].number == (where & 0xffff))
      found = &v->sites.data[i];
  if (found && found->node >= 0) {
    const graph *g = v->specialised;
    int number = g->nodes.data[found->node]->attr_axes[0];
    axis = g->axes.data[number].name;
    size = size_at_failure(f, &g->ix, graph_axis_size(g, number));
  } else if (found && v->function->tile) {
    size = size_of_check(f, v->function->tile, found);
  }
  return session_data_error(p, found ? found->at : (span){0},
                            index_error_text(&f->arena, f->index, axis, size));
}

tcf_status report_index_error(const variant *v, int64_t error_site, int64_t index,
                              const int64_t *symbols) {
  index_failure f = {v, error_site, index, symbols, {0}};
  tcf_status status = session_guard(v->function->program->session, report_index, &f);
  arena_free(&f.arena);
  return status;
}

// ---- the call

static tcf_status make_frame(tcf_session *s, const invocation *in, tcf_frame *frame) {
  error e;
  if (!s->parallel_for && !s->pool && !(s->pool = pool_new(s->threads)))
    return session_fail(s, TCF_NO_MEMORY, "out of memory");
  *frame = (tcf_frame){.pool = s->parallel_for ? s->parallel_user : s->pool,
                       .parallel_for = s->parallel_for ? s->parallel_for : pool_run,
                       .workers = s->parallel_for ? s->threads : pool_workers(s->pool)};
  if (!call_memory_reserve(&s->memory, in->arena_bytes, &e) ||
      !call_memory_reserve(&s->scratch, in->scratch_bytes * frame->workers, &e))
    return session_fail_error(s, &e);
  frame->arena = s->memory.data;
  frame->scratch = s->scratch.data;
  return TCF_OK;
}

tcf_status invoke(const invocation *in) {
  const variant *v = in->variant;
  tcf_session *s = v->function->program->session;
  if (v->module) return device_invoke(in);
  tcf_frame frame;
  tcf_status status = make_frame(s, in, &frame);
  if (status) return status;
  host_context host;
  if (v->hosts.len) {
    host = (host_context){.session = s, .variant = v};
    frame.host = &host;
    frame.host_call = host_call;
  }
  int32_t result;
  bool flush = s->flags & TCF_FLUSH_DENORMALS;
  // Threads of our own have the default modes; those of the host have any.
  moded_pool moded = {frame.pool, frame.parallel_for, flush};
  if (flush || s->parallel_for) {
    frame.pool = &moded;
    frame.parallel_for = moded_for;
  }
  // This thread's mode too: code need not go through parallel_for for a single range.
  float_modes before;
  if (flush) before = float_modes_enter(true);
  result = call_invoke(&v->shape, v->entry, in->pointers, in->symbols, &frame);
  if (flush) float_modes_leave(before);
  switch (result) {
    case TCF_CALL_OK:
      return TCF_OK;
    case TCF_CALL_INDEX:
      return report_index_error(v, frame.error_site, frame.error_index, in->symbols);
    case TCF_CALL_HOST: return host_failure(&host);
    default:
      return session_fail(s, TCF_INTERNAL, "%s returned an unknown status", v->function->name);
  }
}
