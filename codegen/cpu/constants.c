// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of a long program that differ in their constants alone are one function, which reads them:
//
//   block.constants = { the constants of the kernel, in the order of its statements }
//
// The word stands behind the buffers of the step that has most.
#include "codegen/cpu/cpu.h"

static bool is_read(const tstmt *s) {
  dtype t = s->kind == TILE_CONST ? s->out[0]->type : DT_bool;
  // Zeros begin sums, and are cheap.
  return (t == DT_f32 || t == DT_f64) && s->value.f != 0;
}

static void collect(const tregion *r, constants *out, arena *a) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (is_read(s)) vec_push(a, out, s);
    collect(s->body, out, a);
    collect(s->other, out, a);
  }
}

/// The text of the kernel without its name and the constants.
static str text_without(arena *a, const kernel *k) {
  static const char mark[] = " = const ";
  strbuf all = sb_new(a), rest = sb_new(a);
  kernel_print(k, &all);
  const char *at = all.data + (strchr(all.data, '(') - all.data);
  for (const char *line = at; *line;) {
    const char *end = strchr(line, '\n'), *found = strstr(line, mark);
    if (!end) end = line + strlen(line);
    const char *type = found && found < end ? strstr(found, " : f") : NULL;
    bool blank = type && type < end && (type[4] == '3' || type[4] == '6') &&
                 strncmp(found + sizeof mark - 1, "0.0 ", 4) != 0 &&
                 strncmp(found + sizeof mark - 1, "-0.0 ", 5) != 0;
    sb_printf(&rest, "%.*s", (int)((blank ? found : end) - line), line);
    if (blank) sb_printf(&rest, "%.*s", (int)(end - type), type);
    sb_puts(&rest, "\n");
    line = *end ? end + 1 : end;
  }
  return sb_str(&rest);
}

int *kernels_like(arena *a, const program *p) {
  int n = p->kernels.len, *like = arena_array(a, int, n);
  int *members = arena_array(a, int, n);
  map seen = {0};
  for (int i = 0; i < n; i++) {
    int *first = NULL;
    str text = text_without(a, p->kernels.data[i]);
    first = map_get(&seen, text);
    if (!first) map_put(a, &seen, text, first = arena_copy(a, &i, sizeof i));
    like[i] = *first;
    members[like[i]]++;
  }
  for (int i = 0; i < n; i++)
    if (members[like[i]] == 1) like[i] = -1;
  return like;
}

int constants_word(const program *p) {
  int most = 0;
  for (int i = 0; i < p->steps.len; i++)
    if (p->steps.data[i].nbufs > most) most = p->steps.data[i].nbufs;
  return ARG_SYMBOLS + p->symbols.len + most;
}

lval constants_table(emit *e, arena *a, const kernel *k) {
  constants all = {0};
  collect(&k->body, &all, a);
  if (!all.len) return LLVMConstNull(e->ptr);
  lval *words = arena_array(a, lval, all.len);
  for (int i = 0; i < all.len; i++) {
    int64_t bits = 0;
    scalar_store(&bits, all.data[i]->out[0]->type, all.data[i]->value);
    words[i] = emit_int(e->i64, bits);
  }
  str name = str_printf(a, "%.*s.constants", STR_FMT(k->name));
  return constant_new(e, name, LLVMConstArray2(e->i64, words, (uint64_t)all.len), false, 8);
}

void constants_open(kgen *g) {
  collect(&g->k->body, &g->constants, g->arena);
  LLVMBuilderRef b = level_builder(g, 0);
  lval at = int64(g, 8 * (int64_t)constants_word(g->program));
  lval word = LLVMBuildGEP2(b, g->e->i8, LLVMGetParam(g->function, 0), &at, 1, "");
  g->constant_words = LLVMBuildLoad2(b, g->e->ptr, word, "");
}

lval constant_read(kgen *g, const tstmt *s) {
  for (int i = 0; i < g->constants.len; i++) {
    if (g->constants.data[i] != s) continue;
    LLVMBuilderRef b = level_builder(g, 0);
    lval at = int64(g, 8 * (int64_t)i);
    lval word = LLVMBuildGEP2(b, g->e->i8, g->constant_words, &at, 1, "");
    lval x = LLVMBuildLoad2(b, emit_type(g->e, s->out[0]->type, 0), word, "");
    unsigned invariant = LLVMGetMDKindIDInContext(g->e->context, "invariant.load", 14);
    LLVMSetMetadata(x, invariant,
                    LLVMMetadataAsValue(g->e->context,
                                        LLVMMDNodeInContext2(g->e->context, NULL, 0)));
    return x;
  }
  return NULL;
}
