// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The host entry of device code, loaded through ORC and called with a launch function that writes
// down what it is given.
#include <criterion/criterion.h>
#include <string.h>

#include "codegen/nvptx/host.h"
#include "tile_fixture.h"

// Two steps with a temp between them; the second kernel reads its first argument through a tensor
// map, and that argument has its unit stride in the first dimension.
static const char two_steps[] =
    "program @p(N, M) {\n arena N*M*4 + 64\n buffer %x : f32[N, M] param 0\n"
    " buffer %w : bf16[K = 24, J = 40] strides [1, 32] param 1\n"
    " buffer %out : f32[N, M] output 0\n buffer %t : f32[N, M] temp at 64\n"
    " call @k(%x, %t)\n call @l(%w, %t, %out)\n}\n"
    "kernel @k(x: f32[N, M], t: f32[N, M]) {\n axes N, M\n grid N:2, M:8 {\n"
    "  %0 = load x[N, M] : f32[N:2, M:8]\n  store t[N, M], %0\n }\n}\n"
    "kernel @l(w: bf16[24, 40] strides [1, 32], t: f32[N, M], out: f32[N, M]) {\n axes N, M\n"
    " grid N:1, M:8 {\n  %0 = load t[N, M] : f32[N:1, M:8]\n  store out[N, M], %0\n }\n}\n";

static const tcf_map_info maps[] = {
    {.word = TCF_KERNEL_SYMBOLS + 2, .rank = 2, .element_bytes = 2, .swizzle = 128, .box = {64, 32}}};
static const tcf_kernel_info kernels[] = {{.name = "k", .words = 7, .threads = 64, .cluster = 1},
                                          {.name = "l",
                                           .words = 8,
                                           .threads = 128,
                                           .shared_bytes = 4096,
                                           .cluster = 2,
                                           .blocks_per_sm = 3,
                                           .size_word = TCF_KERNEL_SYMBOLS,
                                           .size_most = 2048,
                                           .nmaps = 1,
                                           .maps = maps}};

typedef struct seen {
  int n, fail_at;
  int32_t kernel[4];
  int64_t words[4][8], tiles[4], maps[4][3];
} seen;

static int32_t note(void *device, int32_t kernel, int64_t *args, int64_t tiles,
                    const int64_t *map_words) {
  seen *s = device;
  cr_assert(s->n < 4);
  s->kernel[s->n] = kernel;
  s->tiles[s->n] = tiles;
  memcpy(s->words[s->n], args, 8 * (size_t)kernels[kernel].words);
  if (kernels[kernel].nmaps) memcpy(s->maps[s->n], map_words, sizeof s->maps[0]);
  return ++s->n == s->fail_at;
}

typedef struct loaded {
  tile_fixture f;
  jit *jit;
  jit_object *object;
  int32_t (*call)(const void *x, const void *w, void *out, int64_t n, int64_t m, tcf_frame *frame);
} loaded;

static void *symbol(loaded *l, const char *name) {
  str error;
  void *s = jit_symbol(l->jit, l->object, name, &l->f.arena, &error);
  cr_assert(s, "%.*s", STR_FMT(error));
  return s;
}

static void load(loaded *l) {
  *l = (loaded){0};
  str report, error = {0};
  if (!tile_fixture_parse(&l->f, str_from(two_steps))) {
    strbuf message = sb_new(&l->f.arena);
    diag_render_text(&l->f.diags, l->f.diags.items.data[0], false, &message);
    cr_assert(false, "%s", message.data);
  }
  cr_assert(program_verify(l->f.p, &l->f.arena, &report), "%s", report.ptr);
  codegen_options options = {.cpu = STR("sm_90a")};
  code object, image = {"ptx\0text", 8};
  cr_assert(codegen_host_launcher(&l->f.arena, l->f.p, &options, kernels, NULL, 2, image, &object,
                                  &error),
            "%.*s", STR_FMT(error));
  l->jit = jit_new(&error, &l->f.arena);
  l->object = jit_load(l->jit, object.data, object.size, &l->f.arena, &error);
  cr_assert(l->object, "%.*s", STR_FMT(error));
  void *f = symbol(l, "p");
  memcpy(&l->call, &f, sizeof f);
}

static void unload(loaded *l) {
  jit_unload(l->jit, l->object);
  jit_free(l->jit);
  tile_fixture_free(&l->f);
}

/// Words that are addresses are never followed by the host.
static const void *const X = (void *)0x1000, *const W = (void *)0x2000;
static void *const OUT = (void *)0x3000, *const ARENA = (void *)0x40000;

static int32_t call(loaded *l, seen *s, int64_t n, int64_t m) {
  tcf_frame frame = {.arena = ARENA, .device = s, .launch = note};
  return l->call(X, W, OUT, n, m, &frame);
}

Test(host_launcher, words_and_maps) {
  loaded l;
  load(&l);
  seen s = {0};
  cr_assert_eq(call(&l, &s, 5, 20), TCF_CALL_OK);
  cr_assert_eq(s.n, 2);
  int64_t first[] = {0, 0, 9, 5, 20, 0x1000, 0x40040};
  int64_t second[] = {0, 1 << 16, 15, 5, 20, 0x2000, 0x40040, 0x3000};
  int64_t map[] = {24, 40, 64};  // the unit stride is that of the first dimension
  cr_expect(s.kernel[0] == 0 && s.tiles[0] == 9, "%lld tiles", (long long)s.tiles[0]);
  cr_expect(s.kernel[1] == 1 && s.tiles[1] == 15, "%lld tiles", (long long)s.tiles[1]);
  for (int i = 0; i < 7; i++) cr_expect_eq(s.words[0][i], first[i], "word %d", i);
  for (int i = 0; i < 8; i++) cr_expect_eq(s.words[1][i], second[i], "word %d", i);
  for (int i = 0; i < 3; i++) cr_expect_eq(s.maps[1][i], map[i], "map %d", i);
  unload(&l);
}

Test(host_launcher, no_tiles_no_launch_and_a_failed_launch_ends_the_call) {
  loaded l;
  load(&l);
  seen s = {0};
  cr_expect_eq(call(&l, &s, 0, 20), TCF_CALL_OK);
  cr_expect_eq(s.n, 0);
  s.fail_at = 1;
  cr_expect_eq(call(&l, &s, 3, 4), TCF_CALL_LAUNCH);
  cr_expect_eq(s.n, 1);
  unload(&l);
}

Test(host_launcher, constants_beside_the_entry) {
  loaded l;
  load(&l);
  const tcf_kernel_info *k = symbol(&l, "p_kernels");
  cr_expect_str_eq(k[0].name, "k");
  cr_expect_null(k[0].maps);
  cr_expect_str_eq(k[1].name, "l");
  cr_expect(k[1].words == 8 && k[1].threads == 128 && k[1].shared_bytes == 4096 &&
            k[1].cluster == 2 && k[1].blocks_per_sm == 3 && k[1].nmaps == 1 &&
            k[1].size_word == TCF_KERNEL_SYMBOLS && k[1].size_most == 2048);
  cr_expect(!memcmp(k[1].maps, maps, sizeof maps));
  cr_expect_null(k[2].name);
  cr_expect_eq(*(const int64_t *)symbol(&l, "p_image_size"), 8);
  cr_expect(!memcmp(symbol(&l, "p_image"), "ptx\0text", 9));
  int64_t (*arena_size)(const int64_t *);
  void *f = symbol(&l, "p_arena_size");
  memcpy(&arena_size, &f, sizeof f);
  cr_expect_eq(arena_size((int64_t[]){5, 20}), 464);
  unload(&l);
}
