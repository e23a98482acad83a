// Running compiled code: the frame it gets, the modes it asks for, the errors it reports.
#include "api/session.h"

// ---- denormals

/// Sets the floating point mode on whichever thread runs a range, and restores it.
typedef struct flushing {
  void *pool;
  void (*parallel_for)(void *, tcf_task, void *, int64_t);
} flushing;

typedef struct flushed_task {
  tcf_task task;
  void *args;
} flushed_task;

static void run_flushed(void *args, int64_t begin, int64_t end, int32_t worker) {
  flushed_task *t = args;
  unsigned state = denormals_flush();
  t->task(t->args, begin, end, worker);
  denormals_restore(state);
}

static void flushing_for(void *pool_, tcf_task task, void *args, int64_t n) {
  flushing *f = pool_;
  flushed_task t = {task, args};
  f->parallel_for(f->pool, run_flushed, &t, n);
}

// ---- errors

typedef struct index_failure {
  const variant *variant;
  int64_t site, index;
  arena arena;
} index_failure;

/// ": the axis V has size 3", where the indexed axis is known.
static void put_size(const graph *g, const node *n, strbuf *out) {
  int axis_number = n->attr_axes[0];
  int64_t size;
  if (node_has_axis(n->in[0], axis_number) &&
      ix_is_const(&g->ix, graph_axis_size(g, axis_number), &size))
    sb_printf(out, ": the axis %.*s has size %lld", STR_FMT(g->axes.data[axis_number].name),
              (long long)size);
}

static tcf_status report_index(void *args) {
  index_failure *f = args;
  const variant *v = f->variant;
  tcf_program *p = v->function->program;
  int64_t where = f->site - 1;
  const site *found = NULL;
  for (int i = 0; i < v->sites.len; i++)
    if (v->sites.data[i].step == where >> 16 && v->sites.data[i].number == (where & 0xffff))
      found = &v->sites.data[i];
  strbuf text = sb_new(&f->arena);
  sb_printf(&text, "index %lld is out of range", (long long)f->index);
  if (found && found->node >= 0)
    put_size(v->specialised, v->specialised->nodes.data[found->node], &text);
  return session_data_error(p, found ? found->at : (span){0}, sb_str(&text));
}

tcf_status report_index_error(const variant *v, int64_t error_site, int64_t index) {
  index_failure f = {v, error_site, index, {0}};
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
  if (s->flags & TCF_FLUSH_DENORMALS) {
    // This thread's mode too: code need not go through parallel_for for a single range.
    flushing flush = {frame.pool, frame.parallel_for};
    frame.pool = &flush;
    frame.parallel_for = flushing_for;
    unsigned state = denormals_flush();
    result = call_invoke(&v->shape, v->entry, in->pointers, in->symbols, &frame);
    denormals_restore(state);
  } else {
    result = call_invoke(&v->shape, v->entry, in->pointers, in->symbols, &frame);
  }
  switch (result) {
    case TCF_CALL_OK:
      return TCF_OK;
    case TCF_CALL_INDEX:
      return report_index_error(v, frame.error_site, frame.error_index);
    case TCF_CALL_HOST:
      return session_fail(s, TCF_WRONG_DATA, "%s", host.message);
    default:
      return session_fail(s, TCF_INTERNAL, "%s returned an unknown status", v->function->name);
  }
}
