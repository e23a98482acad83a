// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The host object of device code: see codegen/nvptx/host.h. The entry is the CPU's
// (codegen/cpu/entry.c) with launches for steps; here are the constants beside it:
//
//   const tcf_kernel_info f_kernels[n + 1] = { { "k0", words, ..., f_k0_maps }, ..., { null } };
//   const char f_image[];  const int64_t f_image_size;
#include "codegen/nvptx/host.h"

#include "base/fault.h"
#include "codegen/cpu/cpu.h"

int map_dimension(const kernel *k, int arg, int d) {
  const tile_buf *b = &k->bufs.data[arg];
  int unit = b->rank - 1;
  int64_t stride;
  for (int i = b->rank - 1; i >= 0; i--) {
    if (!ix_is_const(&k->ix, b->strides[i], &stride) || stride != 1) continue;
    unit = i;
    break;
  }
  if (d == 0) return unit;
  int at = b->rank - d;  // of those before `unit` in this order, one was taken already
  return at > unit ? at : at - 1;
}

typedef struct launcher {
  const tcf_kernel_info *kernels;
  const kernel_maps *maps;
  int n;
  code image;
  const codegen_options *options;
} launcher;

static lval maps_constant(emit *e, const tcf_kernel_info *k) {
  if (!k->nmaps) return LLVMConstNull(e->ptr);
  enum { WORDS = sizeof(tcf_map_info) / sizeof(int32_t) };
  int n = k->nmaps * WORDS;
  lval *words = arena_array(e->arena, lval, n);
  int32_t *values = arena_copy(e->arena, k->maps, sizeof *k->maps * (size_t)k->nmaps);
  for (int i = 0; i < n; i++) words[i] = emit_int(e->i32, values[i]);
  return constant_new(e, STR("maps"), LLVMConstArray2(e->i32, words, (uint64_t)n), false, 8);
}

/// The fields in the order of the struct, without holes.
static lval info_constant(emit *e, const tcf_kernel_info *k) {
  _Static_assert(sizeof(tcf_kernel_info) == 56, "info_constant follows tcf_kernel_info");
  enum { NUMBERS = 10 };
  int32_t numbers[NUMBERS] = {
      k->words,     k->threads,   k->shared_bytes, k->cluster, k->blocks_per_sm,
      k->size_word, k->size_most, k->ticket_word,  k->nmaps,   0};
  lval fields[NUMBERS + 2] = {constant_text(e, k->name)};
  for (int i = 0; i < NUMBERS; i++) fields[1 + i] = emit_int(e->i32, numbers[i]);
  fields[NUMBERS + 1] = maps_constant(e, k);
  return LLVMConstStructInContext(e->context, fields, NUMBERS + 2, 0);
}

static lval kernel_table(emit *e, const launcher *l) {
  lval *infos = arena_array(e->arena, lval, l->n + 1);
  for (int i = 0; i < l->n; i++) infos[i] = info_constant(e, &l->kernels[i]);
  infos[l->n] = info_constant(e, &(tcf_kernel_info){0});
  return LLVMConstArray2(LLVMTypeOf(infos[0]), infos, (uint64_t)l->n + 1);
}

static void fill_with_launches(emit *e, const program *p, void *ctx) {
  const launcher *l = ctx;
  ix_pool none;
  ix_init(&none, e->arena);
  const tcf_kernel_info no_kernels = {0};
  entry_kernels kernels = {
      .sizes = &none, .infos = l->n ? l->kernels : &no_kernels, .maps = l->maps};
  gen_entry(e, e->arena, p, &kernels);
  bool exported = !l->options->library;
  library_images images = {.ptx = l->image, .cubin = l->options->cubin};
  images.kernels = constant_new(e, str_printf(e->arena, "%.*s_kernels", STR_FMT(p->name)),
                                kernel_table(e, l), exported, 8);
  if (!exported) return gen_library(e, e->arena, p, l->options->library, &images);
  constant_new(e, str_printf(e->arena, "%.*s_image", STR_FMT(p->name)), constant_bytes(e, l->image),
               true, 64);
  constant_new(e, str_printf(e->arena, "%.*s_image_size", STR_FMT(p->name)),
               emit_int(e->i64, (int64_t)l->image.size), true, 8);
}

bool codegen_host_launcher(arena *a, const program *p, const codegen_options *options,
                           const tcf_kernel_info *kernels, const kernel_maps *maps, int n,
                           code image, code *out, str *error) {
  check(n == p->kernels.len);
  codegen_options host = {.cpu = STR("x86-64"), .kind = options->kind};
  launcher l = {kernels, maps, n, image, options};
  return module_compile(a, p, &host, fill_with_launches, &l, out, error);
}
