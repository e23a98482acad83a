// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See tile_fixture.h.
#include "tile_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

bool tile_fixture_parse(tile_fixture *f, str text) {
  f->diags.arena = &f->arena;
  f->random = 0x9E3779B97F4A7C15u;
  uint32_t file = diag_add_file(&f->diags, STR("test.tile"), text);
  if (!tile_module_parse(&f->arena, &f->diags, file, &f->module)) return false;
  f->p = f->module.programs.len ? f->module.programs.data[0] : NULL;
  return true;
}

str tile_fixture_read(tile_fixture *f, const char *name) {
  str path = str_printf(&f->arena, TCF_SOURCE_DIR "/tests/golden/tile/%s", name);
  FILE *file = fopen(path.ptr, "rb");
  cr_assert(file, "cannot open %s", path.ptr);
  enum { LARGEST = 1 << 16 };
  char *text = arena_alloc(&f->arena, LARGEST);
  size_t n = fread(text, 1, LARGEST, file);
  fclose(file);
  return (str){text, (int)n};
}

void tile_fixture_load(tile_fixture *f, const char *name) {
  str report;
  if (!tile_fixture_parse(f, tile_fixture_read(f, name))) {
    strbuf text = sb_new(&f->arena);
    diag_render_text(&f->diags, f->diags.items.data[0], false, &text);
    cr_assert(false, "%s: %s", name, text.data);
  }
  bool sound = program_verify(f->p, &f->arena, &report);
  cr_assert(sound, "%s:\n%s", name, report.ptr);
}

void tile_fixture_free(tile_fixture *f) { arena_free(&f->arena); }

static uint64_t next_random(tile_fixture *f) {
  f->random ^= f->random << 13;
  f->random ^= f->random >> 7;
  f->random ^= f->random << 17;
  return f->random;
}

static double uniform(tile_fixture *f) {
  return ((double)(next_random(f) >> 11) + 0.5) / 9007199254740992.0;
}

double random_normal(tile_fixture *f) {
  double radius = sqrt(-2 * log(uniform(f)));
  return radius * cos(6.283185307179586 * uniform(f));
}

int random_below(tile_fixture *f, int n) { return (int)(next_random(f) >> 33) % n; }

interp_tensor random_tensor(tile_fixture *f, dtype t, int rank, const int64_t *dims) {
  interp_tensor tensor = {.type = t, .rank = rank};
  int64_t count = 1;
  for (int d = 0; d < rank; d++) count *= tensor.dims[d] = dims[d];
  tensor.data = arena_array(&f->arena, scalar, count);
  for (int64_t i = 0; i < count; i++) {
    scalar v = {.f = random_normal(f) * (dtype_is_float(t) ? 1 : 10)};
    tensor.data[i] = scalar_cast(v, DT_f64, t);
  }
  return tensor;
}

void tile_fixture_run(tile_fixture *f, const interp_tensor *params, interp_tensor *outputs) {
  str error;
  span at;
  bool fine = program_interpret(f->p, &f->arena, params, outputs, NULL, &error, &at);
  cr_assert(fine, "@%.*s: %.*s at byte %u", STR_FMT(f->p->name), STR_FMT(error), at.begin);
}
