// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// OpenBLAS and oneDNN (2.6, as Debian 12 has it) behind the interface of contender.h.
#include <cblas.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/contender.h"

static void openblas_call(contender *self) {
  const product *p = self->data;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, p->m, p->n, p->k, 1, p->a, p->k, p->b,
              p->n, 0, p->c, p->n);
}

int openblas_prepare(const product *p, contender *list) {
  if (p->kind != PRODUCT_F32) return 0;
  openblas_set_num_threads(p->threads);
  list[0] = (contender){"OpenBLAS", true, openblas_call, (void *)p};
  return 1;
}

// ---- oneDNN

static void expect(dnnl_status_t status, const char *what) {
  if (status == dnnl_success) return;
  fprintf(stderr, "oneDNN: %s failed with status %d\n", what, (int)status);
  exit(3);
}

static dnnl_engine_t engine(void) {
  static dnnl_engine_t e;
  if (!e) expect(dnnl_engine_create(&e, dnnl_cpu, 0), "engine");
  return e;
}

static dnnl_stream_t stream(void) {
  static dnnl_stream_t s;
  if (!s) expect(dnnl_stream_create(&s, engine(), dnnl_stream_default_flags), "stream");
  return s;
}

static void sgemm_call(contender *self) {
  const product *p = self->data;
  dnnl_sgemm('N', 'N', p->m, p->n, p->k, 1, p->a, p->k, p->b, p->n, 0, p->c, p->n);
}

typedef struct matmul {
  dnnl_primitive_t primitive;
  dnnl_exec_arg_t args[4];
  int nargs;
} matmul;

static void matmul_call(contender *self) {
  matmul *m = self->data;
  expect(dnnl_primitive_execute(m->primitive, stream(), m->nargs, m->args), "matmul");
  dnnl_stream_wait(stream());
}

static dnnl_memory_t memory(const dnnl_memory_desc_t *md, const void *data) {
  dnnl_memory_t m;
  expect(dnnl_memory_create(&m, md, engine(), (void *)data), "memory");
  return m;
}

static dnnl_memory_desc_t matrix(int rows, int cols, dnnl_data_type_t type,
                                 dnnl_format_tag_t tag) {
  dnnl_memory_desc_t md;
  dnnl_dims_t dims = {rows, cols};
  expect(dnnl_memory_desc_init_by_tag(&md, 2, dims, type, tag), "memory description");
  return md;
}

/// Copies b into the layout the primitive prefers.
static dnnl_memory_t packed(dnnl_primitive_desc_t pd, dnnl_memory_t b,
                            const dnnl_memory_desc_t *from) {
  const dnnl_memory_desc_t *to = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
  dnnl_primitive_desc_t reorder_pd;
  dnnl_primitive_t reorder;
  dnnl_memory_t out = memory(to, DNNL_MEMORY_ALLOCATE);
  expect(dnnl_reorder_primitive_desc_create(&reorder_pd, from, engine(), to, engine(), NULL),
         "reorder description");
  expect(dnnl_primitive_create(&reorder, reorder_pd), "reorder");
  dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, b}, {DNNL_ARG_TO, out}};
  expect(dnnl_primitive_execute(reorder, stream(), 2, args), "reorder");
  dnnl_stream_wait(stream());
  return out;
}

static matmul *matmul_new(const product *p, bool pack) {
  dnnl_data_type_t type = product_is_bf16(p) ? dnnl_bf16 : dnnl_f32;
  dnnl_memory_desc_t a = matrix(p->m, p->k, type, dnnl_ab), b = matrix(p->k, p->n, type, dnnl_ab);
  dnnl_memory_desc_t c = matrix(p->m, p->n, dnnl_f32, dnnl_ab);
  dnnl_memory_desc_t bias = matrix(1, p->n, dnnl_f32, dnnl_ab);
  dnnl_memory_desc_t any = matrix(p->k, p->n, type, dnnl_format_tag_any);
  bool epilogue = product_has_gelu(p);
  dnnl_matmul_desc_t desc;
  expect(dnnl_matmul_desc_init(&desc, &a, pack ? &any : &b, epilogue ? &bias : NULL, &c),
         "matmul description");
  dnnl_primitive_attr_t attr;
  dnnl_post_ops_t post;
  expect(dnnl_primitive_attr_create(&attr), "attributes");
  expect(dnnl_post_ops_create(&post), "post-operations");
  if (epilogue)
    expect(dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_gelu_tanh, 0, 0), "gelu");
  expect(dnnl_primitive_attr_set_post_ops(attr, post), "post-operations");
  dnnl_primitive_desc_t pd;
  expect(dnnl_primitive_desc_create(&pd, &desc, attr, engine(), NULL), "matmul description");
  matmul *m = calloc(1, sizeof *m);
  expect(dnnl_primitive_create(&m->primitive, pd), "matmul");
  dnnl_memory_t weights = memory(&b, p->b);
  if (pack) weights = packed(pd, weights, &b);
  m->args[m->nargs++] = (dnnl_exec_arg_t){DNNL_ARG_SRC, memory(&a, p->a)};
  m->args[m->nargs++] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, weights};
  m->args[m->nargs++] = (dnnl_exec_arg_t){DNNL_ARG_DST, memory(&c, p->c)};
  if (epilogue)
    m->args[m->nargs++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, memory(&bias, p->bias)};
  return m;
}

int onednn_prepare(const product *p, contender *list) {
  int n = 0;
  omp_set_num_threads(p->threads);
  if (p->kind == PRODUCT_F32) list[n++] = (contender){"oneDNN sgemm", true, sgemm_call, (void *)p};
  list[n++] = (contender){"oneDNN matmul", true, matmul_call, matmul_new(p, false)};
  list[n++] = (contender){"oneDNN matmul, b packed before", false, matmul_call,
                          matmul_new(p, true)};
  return n;
}
