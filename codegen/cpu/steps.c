// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Steps of a long program as constants and a loop. As code each would take LLVM the time of twenty
// instructions, and the processor that of loading them.
//
//   steps   = { kernel, tiles or -1, buffers, first of them }...      one row for each step
//   buffers = numbers of buffers...                                   for places in the table
//   for each row: block.site = step << 16; block.buffers = table[buffers[...]]
//                 tiles < 0: kernel(block, 0, 1, 0), else frame->parallel_for(kernel, tiles)
//                 return TCF_CALL_INDEX if frame->error_site
#include "codegen/cpu/entry.h"

#include <stddef.h>

/// Fewer steps in a row are code, unless they have hundreds of pointers.
enum { FEW_STEPS = 32 };
enum { ROW_KERNEL, ROW_TILES, ROW_COUNT, ROW_FIRST, ROW_WORDS };

static bool has_row(const entry *en, int i) {
  return en->many && !en->kernels->infos && en->g.program->steps.data[i].kind != STEP_HOST;
}

int steps_in_table(const entry *en, int first) {
  int n = 0;
  while (first + n < en->g.program->steps.len && has_row(en, first + n)) n++;
  return n < FEW_STEPS && !en->words ? 0 : n;
}

void steps_fill_table(entry *en) {
  kgen *g = &en->g;
  const program *p = g->program;
  bool any = false;
  for (int i = 0; i < p->steps.len && !any; i++) any = steps_in_table(en, i) > 0;
  for (int i = 0; any && i < p->buffers.len; i++)
    if (en->buffers[i]) put_word(g, en->table, i, en->buffers[i]);
}

// ---- constants

typedef struct rows {
  vec(lval) words, buffers;  // i32
  ix_list tiles;             // each count once
} rows;

/// -1: one tile, as everybody knows.
static int tiles_number(entry *en, rows *r, int kernel_number) {
  kgen *g = &en->g;
  int64_t n;
  ix tiles = tiles_of(g, g->program->kernels.data[kernel_number]);
  if (ix_is_const(&g->ix, tiles, &n) && n == 1) return -1;
  for (int i = 0; i < r->tiles.len; i++)
    if (r->tiles.data[i] == tiles) return i;
  vec_push(g->arena, &r->tiles, tiles);
  return r->tiles.len - 1;
}

static rows rows_of(entry *en, int first, int count) {
  kgen *g = &en->g;
  rows r = {0};
  int *known = arena_array(g->arena, int, g->program->kernels.len);  // number + 2
  for (int i = first; i < first + count; i++) {
    const step *s = &g->program->steps.data[i];
    if (!known[s->kernel]) known[s->kernel] = tiles_number(en, &r, s->kernel) + 2;
    int row[ROW_WORDS] = {[ROW_KERNEL] = s->kernel, [ROW_TILES] = known[s->kernel] - 2,
                          [ROW_COUNT] = s->nbufs, [ROW_FIRST] = r.buffers.len};
    for (int w = 0; w < ROW_WORDS; w++)
      vec_push(g->arena, &r.words, emit_int(g->e->i32, row[w]));
    for (int b = 0; b < s->nbufs; b++)
      vec_push(g->arena, &r.buffers, emit_int(g->e->i32, s->bufs[b]));
  }
  return r;
}

static lval constant_array(entry *en, const char *what, int first, LLVMTypeRef type, lval *values,
                           int n, unsigned alignment) {
  const program *p = en->g.program;
  str name = str_printf(en->g.arena, "%.*s.%s.%d", STR_FMT(p->name), what, first);
  return constant_new(en->g.e, name, LLVMConstArray2(type, values, (uint64_t)n), false, alignment);
}

// ---- the loop

/// block.buffers = the places of the row's.
static void put_buffers(entry *en, lval buffers, lval row, lval table) {
  kgen *g = &en->g;
  LLVMBuilderRef b = g->e->builder;
  lval count = small_element(g, row, int64(g, ROW_COUNT));
  lval first = small_element(g, row, int64(g, ROW_FIRST));
  lval to = byte_address(g, en->block, int64(g, 8 * (en->symbols + g->program->symbols.len)));
  counted c = count_begin(g);
  lval number = small_element(g, buffers, LLVMBuildNSWAdd(b, first, c.i, ""));
  lval place = array_element(g, g->e->ptr, 8, table, number);
  LLVMBuildStore(b, place, byte_address(g, to, LLVMBuildNSWMul(b, c.i, int64(g, 8), "")));
  count_end(g, &c, count);
}

/// The counts of tiles in memory: words by number.
static lval put_tiles(entry *en, const ix_list *tiles) {
  kgen *g = &en->g;
  lval words = stack_words(g, tiles->len);
  for (int i = 0; i < tiles->len; i++) put_word(g, words, i, ix_value(g, tiles->data[i]));
  return words;
}

static void run_row(entry *en, lval row, lval task, lval tiles) {
  kgen *g = &en->g;
  LLVMBuilderRef b = g->e->builder;
  lval number = small_element(g, row, int64(g, ROW_TILES));
  LLVMBasicBlockRef once = block_new(g), many = block_new(g), after = block_new(g);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, number, int64(g, 0), ""), once, many);
  LLVMPositionBuilderAtEnd(b, once);
  entry_run_tile(en, task);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, many);
  entry_run_tiles(en, task, array_element(g, g->e->i64, 8, tiles, number), true);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, after);
}

/// null: no kernel reads any.
static lval constants_by_kernel(entry *en, int first) {
  kgen *g = &en->g;
  int n = g->program->kernels.len;
  if (!en->kernels->constants) return NULL;
  lval *all = arena_array(g->arena, lval, n);
  for (int i = 0; i < n; i++)
    all[i] = en->kernels->constants[i] ? en->kernels->constants[i] : LLVMConstNull(g->e->ptr);
  return constant_array(en, "constants", first, g->e->ptr, all, n, 8);
}

void steps_run_table(entry *en, int first, int count) {
  kgen *g = &en->g;
  emit *e = g->e;
  rows r = rows_of(en, first, count);
  lval steps = constant_array(en, "steps", first, e->i32, r.words.data, r.words.len, 4);
  lval buffers = constant_array(en, "buffers", first, e->i32, r.buffers.data, r.buffers.len, 4);
  lval tasks = constant_array(en, "tasks", first, e->ptr, (lval *)en->kernels->tasks,
                              g->program->kernels.len, 8);
  lval tiles = put_tiles(en, &r.tiles);
  lval constants = constants_by_kernel(en, first);
  counted c = count_begin(g);
  lval site = LLVMBuildNSWAdd(e->builder, c.i, int64(g, first), "");
  put_word(g, en->block, ARG_SITE, LLVMBuildShl(e->builder, site, int64(g, 16), ""));
  lval row = byte_address(g, steps, LLVMBuildNSWMul(e->builder, c.i, int64(g, 4 * ROW_WORDS), ""));
  put_buffers(en, buffers, row, en->table);
  lval number = small_element(g, row, int64(g, ROW_KERNEL));
  lval task = array_element(g, e->ptr, 8, tasks, number);
  if (constants)
    put_word(g, en->block, constants_word(g->program),
             array_element(g, e->ptr, 8, constants, number));
  run_row(en, row, task, tiles);
  lval failed = load_field(g, e->i64, offsetof(tcf_frame, error_site));
  return_if(g, LLVMBuildICmp(e->builder, LLVMIntNE, failed, int64(g, 0), ""), TCF_CALL_INDEX);
  count_end(g, &c, int64(g, count));
}
