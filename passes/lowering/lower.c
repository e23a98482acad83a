// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fused graph to tile IR: buffers, one kernel per group, shared kernels, the arena.
#include "base/fault.h"
#include "passes/lowering/gpu.h"

/// Row-major strides for the buffer's dimensions, or the param's own. Rows take a multiple of
/// `row` elements.
static void set_strides(lower *l, struct buffer *buf, const int64_t *own, int row) {
  ix_pool *pool = &l->p->ix;
  ix step = ix_const(pool, 1), unit = ix_const(pool, row);
  for (int i = buf->rank - 1; i >= 0; i--) {
    buf->strides[i] = own ? ix_const(pool, own[i]) : step;
    step = ix_mul(pool, step, buf->dims[i]);
    if (i + 1 < buf->rank || ix_divisor(pool, step) % row == 0) continue;
    step = ix_add(pool, step, ix_const(pool, row - 1));
    step = ix_mul(pool, ix_div(pool, step, unit), unit);
  }
}

static int add_buffer(lower *l, const node *n, str name, buffer_kind kind, int number, int row) {
  struct buffer buf = {.name = name, .kind = kind, .number = number, .type = n->type};
  buf.rank = n->naxes;
  for (int i = 0; i < n->naxes; i++) {
    buf.axis_names[i] = l->g->axes.data[n->axes[i]].name;
    buf.dims[i] = ix_substitute(&l->p->ix, &l->g->ix, graph_axis_size(l->g, n->axes[i]), NULL, 0);
  }
  set_strides(l, &buf, n->strides, row);
  vec_push(l->a, &l->p->buffers, buf);
  return l->p->buffers.len - 1;
}

/// "t12" of %12, with as many '_' behind it as it takes: params and outputs are called anything.
static str temp_name(lower *l, const char *what, const node *n) {
  str name = str_printf(l->a, "%s%d", what, n->id);
  int named = l->g->nparams + l->g->outputs.len;
  for (int i = l->taken.len ? named : 0; i < named; i++)
    map_put(l->a, &l->taken, l->p->buffers.data[i].name, l);
  while (map_get(&l->taken, name)) name = str_printf(l->a, "%.*s_", STR_FMT(name));
  return name;
}

int lower_add_temporary(lower *l, const node *n, const char *name, dtype t) {
  int buf = add_buffer(l, n, temp_name(l, name, n), BUFFER_TEMP, 0, 1);
  l->p->buffers.data[buf].type = t;
  return buf;
}

int lower_add_workspace(lower *l, const node *n, const char *name, dtype t, const ix *dims,
                        const str *names, int rank) {
  struct buffer buf = {.name = temp_name(l, name, n), .kind = BUFFER_TEMP, .type = t, .rank = rank};
  for (int i = 0; i < rank; i++) {
    buf.axis_names[i] = names[i];
    buf.dims[i] = dims[i];
  }
  set_strides(l, &buf, NULL, 1);
  vec_push(l->a, &l->p->buffers, buf);
  return l->p->buffers.len - 1;
}

int lower_add_parts(lower *l, const node *n, ix count, dtype t) {
  check(n->naxes < MAX_AXES);
  // Several of one node, as of a maximum and its sums.
  const char *name = str_z(l->a, str_printf(l->a, "part%d_", l->p->buffers.len));
  int number = add_buffer(l, n, temp_name(l, name, n), BUFFER_TEMP, 0, 1);
  struct buffer *buf = &l->p->buffers.data[number];
  buf->type = t;
  for (int i = buf->rank++; i > 0; i--) {
    buf->axis_names[i] = buf->axis_names[i - 1];
    buf->dims[i] = buf->dims[i - 1];
  }
  buf->axis_names[0] = STR("C");
  buf->dims[0] = count;
  set_strides(l, buf, NULL, 1);
  return number;
}

/// Buffers of views are those of the outputs that are stored through them.
static void see_through(lower *l, const group *grp) {
  for (int k = 0; k < grp->written.len; k++) {
    const node *view = grp->written.data[k];
    bool own = false;
    for (int i = 0; i < grp->outputs.len; i++) own |= grp->outputs.data[i] == view;
    for (int i = 0; grp->columns && i < grp->columns->n; i++) own |= grp->columns->sums[i] == view;
    if (own) continue;
    seen_through *t = arena_new(l->a, seen_through);
    t->view = view;
    if (!l->inverse_pool) {
      l->inverse_pool = arena_new(l->a, ix_pool);
      ix_init(l->inverse_pool, l->a);
      ix_copy_pool(l->inverse_pool, &l->g->ix);
    }
    t->pool = l->inverse_pool;
    check(view_inverse_in(l->inverse_pool, l->g, view, t->index));
    int id = view->in[0]->id, own_buffer = l->buffer_of[view->id];
    int_vec *to = &l->outputs_of[id], *from = &l->outputs_of[view->id];
    if (l->buffer_of[id] < 0) l->buffer_of[id] = own_buffer;
    else if (!to->len) vec_push(l->a, to, l->buffer_of[id]);
    if (!from->len) vec_push(l->a, from, own_buffer);
    while (l->through.len < l->p->buffers.len) vec_push(l->a, &l->through, NULL);
    for (int i = 0; i < from->len; i++) {
      l->through.data[from->data[i]] = t;
      vec_push(l->a, to, from->data[i]);
    }
  }
}

static void add_buffers(lower *l, const group *groups, int ngroups) {
  const graph *g = l->g;
  const uint8_t *readers = group_readers(g, groups, ngroups, l->a);
  node **over = graph_in_place(g, l->target, groups, ngroups, l->a);
  for (int i = 0; i < g->nparams; i++)
    l->buffer_of[g->nodes.data[i]->id] =
        add_buffer(l, g->nodes.data[i], g->nodes.data[i]->name, BUFFER_PARAM, i, 1);
  for (int i = 0; i < g->outputs.len; i++) {
    const node *n = g->outputs.data[i].value;
    check(n->op != OP_param);
    int buf = add_buffer(l, n, g->outputs.data[i].name, BUFFER_OUTPUT, i, 1);
    vec_push(l->a, &l->outputs_of[n->id], buf);
    if (l->buffer_of[n->id] < 0) l->buffer_of[n->id] = buf;
  }
  for (int i = 0; i < ngroups; i++)
    for (int k = 0; k < groups[i].written.len; k++) {
      const node *n = groups[i].written.data[k];
      if (over[n->id]) l->buffer_of[n->id] = l->buffer_of[over[n->id]->id];
      if (l->buffer_of[n->id] >= 0) continue;
      int row = group_row_unit(g, l->target, readers, n);
      l->buffer_of[n->id] = add_buffer(l, n, temp_name(l, "t", n), BUFFER_TEMP, 0, row);
    }
  for (int i = 0; i < ngroups; i++) see_through(l, &groups[i]);
}

/// "reduce_max, exp, sum, div": the ops a group computes, views and leaves left out.
static str label(lower *l, const group *grp) {
  strbuf out = sb_new(l->a);
  for (int i = 0; i < grp->nodes.len; i++) {
    const op_info *info = op_get(grp->nodes.data[i]->op);
    if (info->class == CLASS_leaf || info->class == CLASS_view) continue;
    if (out.len > 80) {
      sb_puts(&out, ", ...");
      break;
    }
    if (out.len) sb_puts(&out, ", ");
    sb_puts(&out, info->name);
  }
  if (!out.len) sb_puts(&out, "copy");
  return sb_str(&out);
}

static span group_span(const group *grp) {
  if (grp->anchor) return grp->anchor->at;
  if (grp->reductions.len) return grp->reductions.data[0]->at;
  return grp->outputs.data[0]->at;
}

static void build_gpu_kernel(kbuild *b, const group *grp) {
  switch (grp->kind) {
    case GROUP_MAP: gpu_map_group(b); return;
    case GROUP_REDUCE: gpu_reduce_group(b); return;
    case GROUP_CONTRACTION: gpu_contraction_group(b); return;
    case GROUP_SCAN: gpu_scan_group(b); return;
    case GROUP_SCATTER: gpu_scatter_group(b); return;
    case GROUP_STREAM: gpu_stream_group(b); return;
    case GROUP_NEST: lower_nest_group(b); return;
    case GROUP_OPAQUE: break;
  }
  panic("no kernel for a group of kind %d", grp->kind);
}

static void build_kernel(kbuild *b, const group *grp) {
  switch (grp->kind) {
    case GROUP_MAP: lower_map_group(b); return;
    case GROUP_REDUCE: lower_reduce_group(b); return;
    case GROUP_CONTRACTION: lower_contraction_group(b); return;
    case GROUP_SCAN: lower_scan_group(b); return;
    case GROUP_SCATTER: lower_scatter_group(b); return;
    case GROUP_NEST: lower_nest_group(b); return;
    case GROUP_STREAM:
    case GROUP_OPAQUE: break;
  }
  panic("no kernel for a group of kind %d", grp->kind);
}

static void add_host_step(lower *l, const group *grp) {
  const node *call = grp->anchor;
  step s = {.kind = STEP_HOST, .group = grp->kernel, .host_name = call->name, .at = call->at};
  s.nbufs = call->nin + 1;
  s.what = str_printf(l->a, "call %.*s", STR_FMT(call->name));
  s.bufs = arena_array(l->a, int, s.nbufs);
  for (int i = 0; i < call->nin; i++) s.bufs[i] = l->buffer_of[call->in[i]->id];
  s.bufs[call->nin] = l->buffer_of[call->id];
  vec_push(l->a, &l->p->steps, s);
}

/// The number of a kernel with this text, adding the kernel when it is the first.
static int share_kernel(lower *l, kernel *k) {
  strbuf text = sb_new(l->a);
  k->name = STR("");
  kernel_print(k, &text);
  intptr_t known = (intptr_t)map_get(&l->kernels, sb_str(&text));
  if (known) return (int)known - 1;
  k->name = str_printf(l->a, "%.*s.%d", STR_FMT(l->g->name), l->p->kernels.len);
  vec_push(l->a, &l->p->kernels, k);
  map_put(l->a, &l->kernels, sb_str(&text), (void *)(intptr_t)l->p->kernels.len);
  return l->p->kernels.len - 1;
}

bool lower_is_empty(const lower *l, const node *n) {
  for (int i = 0; i < n->naxes; i++) {
    int64_t size;
    if (ix_is_const(&l->g->ix, graph_axis_size(l->g, n->axes[i]), &size) && size == 0) return true;
  }
  return false;
}

/// For schedule_choices: the alternatives that follow are of this kernel. Gives their first.
static int note_kernel(lower *l, const group *grp) {
  schedule_choices *c = l->options->choices;
  l->number = grp->kernel;
  return c ? c->alternatives.len : 0;
}

/// Equal kernels are tried together: alternatives of the first are kept.
static void note_equal(lower *l, int kernel, int offered) {
  schedule_choices *c = l->options->choices;
  if (!c) return;
  int first = l->number;
  for (int i = 0; i < c->kernels.len; i++)
    if (c->shared.data[i] == kernel) first = c->same_as.data[i];
  if (first != l->number) c->alternatives.len = offered;
  vec_push(l->a, &c->shared, kernel);
  vec_push(l->a, &c->kernels, l->number);
  vec_push(l->a, &c->same_as, first);
}

void lower_add_step(kbuild *b, str what) {
  step s = {.kind = STEP_KERNEL, .group = b->group->kernel, .at = group_span(b->group), .what = what};
  s.nbufs = b->arg_buffers.len;
  s.bufs = b->arg_buffers.data;
  s.nsites = b->sites.len;
  s.sites = b->sites.data;
  s.site_axes = b->site_axes.data;
  s.kernel = share_kernel(b->l, b->k);
  vec_push(b->l->a, &b->l->p->steps, s);
}

/// A step of the same group that stores 0 everywhere in the buffer.
static void add_zeros(const kbuild *of, int buffer) {
  enum { LANES = 128, ROWS = 32 };
  lower *l = of->l;
  const struct buffer *to = &l->p->buffers.data[buffer];
  kbuild b = {.l = l, .group = of->group, .k = kernel_new(l->a, STR(""))};
  kernel *k = b.k;
  ix index[MAX_AXES], strides[MAX_AXES], dims[MAX_AXES];
  int axes[MAX_AXES], extents[MAX_AXES], stride = 1;
  k->vec_axis = -1;
  k->vec_lanes = 1;
  k->ix.facts = l->p->ix.facts;
  for (int i = 0; i < to->rank; i++) {
    dims[i] = ix_substitute(&k->ix, &l->p->ix, to->dims[i], NULL, 0);
    strides[i] = ix_substitute(&k->ix, &l->p->ix, to->strides[i], NULL, 0);
    axes[i] = kernel_add_axis(k, str_printf(l->a, "A%d", i), dims[i]);
    extents[i] = i + 1 == to->rank ? LANES : i + 2 == to->rank ? ROWS : 1;
    index[i] = ix_axis(&k->ix, axes[i]);
    kernel_set_grid(k, axes[i], extents[i]);
  }
  kernel_add_arg(k, STR("a0"), to->type, to->rank, dims, strides);
  vec_push(l->a, &b.arg_buffers, buffer);
  kernel_add_layout(k);
  gpu_lay(&b, 0, axes[to->rank - 1], (gpu_share){LANES / GPU_WARP, GPU_WARP, 1}, &stride);
  if (to->rank > 1)
    gpu_lay(&b, 0, axes[to->rank - 2],
            (gpu_share){1, GPU_BLOCK / GPU_WARP, ROWS * GPU_WARP / GPU_BLOCK}, &stride);
  gpu_set_threads(&b, stride);
  tile_builder out = kernel_builder(k);
  tile_store(&out, 0, index, NULL,
             tile_const(&out, to->type, (scalar){.f = 0}, axes, extents, to->rank));
  lower_add_step(&b, STR("zeros to add to"));
}

/// Before the step that adds to the node.
static void add_zeros_of(const kbuild *b, const node *n) {
  const int_vec *outs = &b->l->outputs_of[n->id];
  if (!outs->len) add_zeros(b, b->l->buffer_of[n->id]);
  for (int i = 0; i < outs->len; i++) add_zeros(b, outs->data[i]);
}

static void add_kernel_step(lower *l, const group *grp) {
  if (group_is_empty(l->g, grp)) return;
  kbuild b;
  int offered = note_kernel(l, grp);
  kb_init(&b, l, grp, "");
  if (l->target->sm)
    build_gpu_kernel(&b, grp);
  else
    build_kernel(&b, grp);
  if (b.added) add_zeros_of(&b, b.added);
  lower_add_step(&b, label(l, grp));
  note_equal(l, l->p->steps.data[l->p->steps.len - 1].kernel, offered);
}

/// Buffers and tables, no steps yet. Gives the groups.
static group *lower_open(lower *l, arena *a, const graph *g, const pass_options *options,
                         int *ngroups) {
  check(g->fused);
  *l = (lower){.a = a, .g = g, .options = options, .target = options->target};
  program *p = l->p = arena_new(a, program);
  p->arena = a;
  p->name = g->name;
  ix_init(&p->ix, a);
  p->ix.facts = g->ix.facts;
  for (int i = 0; i < g->symbols.len; i++) vec_push(a, &p->symbols, g->symbols.data[i]);
  p->nparams = g->nparams;
  p->noutputs = g->outputs.len;
  l->buffer_of = arena_array(a, int, g->nodes.len + 1);
  for (int i = 0; i <= g->nodes.len; i++) l->buffer_of[i] = -1;
  l->tables = node_tables_new(a, g->nodes.len);
  l->outputs_of = arena_alloc(a, sizeof *l->outputs_of * (size_t)(g->nodes.len + 1));
  group *groups = graph_groups(g, l->target, a, ngroups);
  add_buffers(l, groups, *ngroups);
  return groups;
}

program *lower_to_tiles(arena *a, const graph *g, const pass_options *options) {
  lower l;
  int ngroups;
  const group *groups = lower_open(&l, a, g, options, &ngroups);
  for (int i = 0; i < ngroups; i++) {
    if (groups[i].kind == GROUP_OPAQUE) add_host_step(&l, &groups[i]);
    else add_kernel_step(&l, &groups[i]);
  }
  lower_place_temporaries(&l);
  return l.p;
}

/// A step with the buffers of a kernel, and nothing else of it.
static void add_bare_step(lower *l, const group *grp) {
  if (grp->kind != GROUP_OPAQUE && group_is_empty(l->g, grp)) return;
  step s = {.kind = STEP_KERNEL};
  s.bufs = arena_array(l->a, int, grp->inputs.len + grp->written.len);
  for (int i = 0; i < grp->inputs.len; i++)
    s.bufs[s.nbufs++] = l->buffer_of[grp->inputs.data[i]->id];
  for (int i = 0; i < grp->written.len; i++)
    s.bufs[s.nbufs++] = l->buffer_of[grp->written.data[i]->id];
  vec_push(l->a, &l->p->steps, s);
}

/// The program without kernels, its temps placed. Gives the step of each group, that before it where it has none.
static int *open_bare(lower *l, arena *a, const graph *g, const pass_options *options) {
  int ngroups;
  const group *groups = lower_open(l, a, g, options, &ngroups);
  int *step_of = arena_array(a, int, ngroups);
  for (int i = 0; i < ngroups; i++) {
    add_bare_step(l, &groups[i]);
    step_of[i] = l->p->steps.len - 1;
  }
  lower_place_temporaries(l);
  return step_of;
}

temporaries graph_temporaries(const graph *g, const pass_options *options) {
  scratch s;
  scratch_open(&s);
  lower l;
  open_bare(&l, &s.arena, g, options);
  temporaries t = program_temporaries(l.p);
  scratch_close(&s);
  return t;
}

/// Of several that lie in one buffer, one in the place of the other, the one that is there at the peak.
static void name_values(const lower *l, const int *step_of, memory_peak *peak, arena *a) {
  const graph *g = l->g;
  peak_value **at = arena_array(a, peak_value *, l->p->buffers.len);
  for (int i = 0; i < peak->values.len; i++)
    at[l->buffer_of[peak->values.data[i].node]] = &peak->values.data[i];
  for (int id = g->nparams; id < g->nodes.len; id++) {
    int buffer = l->buffer_of[id];
    if (buffer >= 0 && at[buffer] && step_of[g->nodes.data[id]->kernel] <= peak->step)
      at[buffer]->node = id;
  }
}

memory_peak graph_peak(arena *a, const graph *g, const pass_options *options) {
  scratch s;
  scratch_open(&s);
  lower l;
  const int *step_of = open_bare(&l, &s.arena, g, options);
  int *node_of = arena_array(&s.arena, int, l.p->buffers.len);
  for (int id = 0; id < g->nodes.len; id++)
    if (l.buffer_of[id] >= 0) node_of[l.buffer_of[id]] = id;
  memory_peak peak = program_peak(a, l.p, node_of);
  name_values(&l, step_of, &peak, &s.arena);
  scratch_close(&s);
  return peak;
}
