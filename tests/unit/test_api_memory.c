// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The memory that `explain` says intermediates take is what a call allocates, on the host and on a
// device, and close to what lives at once.
#include <stdlib.h>

#include "api/session.h"
#include "api_support.h"

// `big` is dead when `left` and `right` come: together they fit where it was.
static const char text[] =
    "fn f(x: f32[N, K], a: f32[K, A], s: f32[A, S], b: f32[S, B], c: f32[S, C], d: f32[B, O],\n"
    "     e: f32[C, O]) -> f32[N, O] {\n"
    "  let big = dot(x, a, K)\n"
    "  let small = dot(big, s, A)\n"
    "  let left = dot(small, b, S)\n"
    "  let right = dot(small, c, S)\n"
    "  return dot(left, d, B) + dot(right, e, C)\n"
    "}\n";
static const tcf_size sizes[] = {{"N", 64}, {"K", 32}, {"A", 100}, {"S", 16},
                                 {"B", 60}, {"C", 40}, {"O", 8}};
enum { NSIZES = sizeof sizes / sizeof *sizes, NPARAMS = 7 };

static int64_t size_of(const char *name) {
  for (int i = 0; i < NSIZES; i++)
    if (!strcmp(sizes[i].name, name)) return sizes[i].value;
  return -1;
}

static int64_t number_after(const char *json, const char *key) {
  const char *at = strstr(json, key);
  cr_assert(at, "no %s in %s", key, json);
  return strtoll(at + strlen(key), NULL, 10);
}

typedef struct memory {
  int64_t bytes, live;
} memory;

static memory explained(tcf_session *s, tcf_function *f, size_t nsizes) {
  char *json, *told;
  tcf_program *p = f->program;
  cr_assert_eq(tcf_program_explain(p, "f", sizes, nsizes, TCF_JSON, &json), TCF_OK, "%s",
               tcf_session_message(s));
  memory m = {number_after(json, "\"memory_bytes\": "),
              number_after(json, "\"memory_live_bytes\": ")};
  cr_assert_eq(tcf_program_explain(p, "f", sizes, nsizes, TCF_TEXT, &told), TCF_OK);
  cr_assert(strstr(told, "of memory for intermediates"), "%s", told);
  tcf_text_free(json);
  tcf_text_free(told);
  return m;
}

static void run(tcf_session *s, tcf_function *f) {
  static const char *const axes[NPARAMS][2] = {{"N", "K"}, {"K", "A"}, {"A", "S"}, {"S", "B"},
                                               {"S", "C"}, {"B", "O"}, {"C", "O"}};
  tcf_tensor *in[NPARAMS], *out = NULL;
  for (int i = 0; i < NPARAMS; i++) {
    int64_t dims[] = {size_of(axes[i][0]), size_of(axes[i][1])};
    cr_assert_eq(tcf_tensor_new(s, TCF_F32, 2, dims, &in[i]), TCF_OK);
    tcf_tensor_fill_random(in[i], (uint64_t)i);
  }
  cr_assert_eq(tcf_call(f, (const tcf_tensor *const *)in, NPARAMS, &out, 1), TCF_OK, "%s",
               tcf_session_message(s));
  for (int i = 0; i < NPARAMS; i++) tcf_tensor_free(in[i]);
  tcf_tensor_free(out);
}

Test(api_memory, reported_is_allocated) {
  tcf_session *s = open_on("cpu");
  tcf_function *f = compile(s, text);
  memory m = explained(s, f, NSIZES);
  // left, right and small; slots that are never split would take big, small and right besides.
  cr_assert_eq(m.live, 64 * 4 * (16 + 60 + 40));
  cr_assert_eq(m.bytes, m.live);
  run(s, f);
  cr_assert_eq((int64_t)s->memory.size, m.bytes);
  tcf_session_free(s);
}

// The driver is played, so that this runs anywhere; its kernels compute nothing.
Test(api_memory, reported_is_allocated_on_a_device) {
  setenv("TCF_CUDA_LIBRARY", TCF_FAKE_CUDA, 1);
  tcf_session *s = open_on("cuda");
  tcf_function *f = compile(s, text);
  memory m = explained(s, f, NSIZES);
  cr_assert(m.live > 0 && m.bytes >= m.live);
  run(s, f);
  cr_assert_eq((int64_t)s->device_arena.size, m.bytes);
  tcf_session_free(s);
}

// A dimension that stays open: nothing is known but what the algebra proves.
Test(api_memory, symbolic_sizes_are_estimated) {
  tcf_session *s = open_on("cpu");
  tcf_function *f = compile(s, text);
  memory known = explained(s, f, NSIZES), open = explained(s, f, 1);
  cr_assert_geq(open.bytes, open.live);
  cr_assert_neq(open.live, known.live);
  cr_assert_eq(tcf_function_keep_symbolic(f, "N", 1), TCF_OK);
  run(s, f);
  cr_assert_geq((int64_t)s->memory.size, known.live);
  tcf_session_free(s);
}

Test(api_memory, nothing_to_keep) {
  tcf_session *s = open_on("cpu");
  tcf_function *f = compile(s, "fn f(x: f32[N]) -> f32[N] { return x + 1.0 }");
  char *json, *told;
  cr_assert_eq(tcf_program_explain(f->program, "f", sizes, 1, TCF_JSON, &json), TCF_OK);
  cr_assert_eq(number_after(json, "\"memory_bytes\": "), 0);
  cr_assert_eq(tcf_program_explain(f->program, "f", sizes, 1, TCF_TEXT, &told), TCF_OK);
  cr_assert(!strstr(told, "intermediates"));
  tcf_text_free(json);
  tcf_text_free(told);
  tcf_session_free(s);
}
