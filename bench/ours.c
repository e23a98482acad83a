// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// tcc-fuse behind the interface of contender.h: an ordinary client of the public header.
#include <stdio.h>
#include <stdlib.h>

#include "bench/contender.h"
#include "tcc_fuse.h"

typedef struct ours {
  tcf_session *session;
  tcf_program *program;
  tcf_function *function;
  tcf_tensor *args[3], *result;
  size_t nargs;
} ours;

static void fail(const ours *o, const char *what) {
  fprintf(stderr, "tcc-fuse: %s: %s\n", what, o->session ? tcf_session_message(o->session) : "");
  exit(3);
}

static void call(contender *self) {
  ours *o = self->data;
  if (tcf_call(o->function, (const tcf_tensor *const *)o->args, o->nargs, &o->result, 1))
    fail(o, "call");
}

static tcf_tensor *borrow(ours *o, tcf_dtype type, int rows, int cols, const void *data) {
  tcf_tensor *t;
  int64_t dims[2] = {rows, cols};
  // A bias has one axis: rows 0 stands for it.
  if (tcf_tensor_borrow(o->session, type, rows ? 2 : 1, rows ? dims : dims + 1, NULL,
                        (void *)data, &t))
    fail(o, "tensor");
  return t;
}

int ours_prepare(const product *p, contender *list) {
  static const char *const names[] = {"product", "product_bias_gelu", "product_bf16",
                                      "product_bf16_bias_gelu"};
  ours *o = calloc(1, sizeof *o);
  tcf_options options = {.size = sizeof options, .threads = p->threads, .cache_dir = "",
                         .schedule = getenv("TCF_SCHEDULE")};
  if (tcf_session_new(&options, &o->session)) fail(o, "session");
  if (tcf_program_load_file(o->session, TCF_SOURCE_DIR "/bench/products.tdsl", &o->program))
    fail(o, "products.tdsl");
  o->function = tcf_program_function(o->program, names[p->kind]);
  tcf_dtype type = product_is_bf16(p) ? TCF_BF16 : TCF_F32;
  o->args[o->nargs++] = borrow(o, type, p->m, p->k, p->a);
  o->args[o->nargs++] = borrow(o, type, p->k, p->n, p->b);
  if (product_has_gelu(p)) o->args[o->nargs++] = borrow(o, TCF_F32, 0, p->n, p->bias);
  o->result = borrow(o, TCF_F32, p->m, p->n, p->c);
  list[0] = (contender){"tcc-fuse", false, call, o};
  return 1;
}
