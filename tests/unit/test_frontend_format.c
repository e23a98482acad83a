// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The formatter: the canonical layout, comments kept, nothing but spaces and line ends changed.
#include <criterion/criterion.h>

#include "frontend/token.h"
#include "tests/unit/frontend_fixture.h"

static str format(arena *a, str text) {
  diag_list diags = {.arena = a};
  str out = {0};
  uint32_t file = diag_add_file(&diags, STR("test.tdsl"), text);
  bool ok = frontend_format(a, &diags, file, &out);
  cr_assert(ok, "%.*s", STR_FMT(text));
  return out;
}

static void expect_format(const char *text, const char *expected) {
  arena a = {0};
  str once = format(&a, str_from(text));
  cr_expect_str_eq(once.ptr, expected);
  cr_expect_str_eq(format(&a, once).ptr, expected);
  arena_free(&a);
}

Test(frontend_format, layout) {
  expect_format(
      "//head\nimport   \"a\"\n\n\n\nfn f( x:f32[N,D=2*K] )->f32[N] where (N+1)<=3,D%16==0 {\n\n"
      "let y=exp(x-\nmax(x,D)) // why\n\n\n//own\n let z = -y**-2+f32(!a)[D = 2 : 10->E][S->T]\n"
      "return (sum(y,..),z) }\nextern fn h(a:real[..,T],axis T,axis R..)->(f32,f32)\n"
      "fn k()->f32 { fuse stream(T,passes=1) {return where(a<b,c,d)} }//end\n//tail",
      "// head\n"
      "import \"a\"\n"
      "\n"
      "fn f(x: f32[N, D = 2 * K]) -> f32[N] where (N + 1) <= 3, D % 16 == 0 {\n"
      "  let y = exp(x -\n"
      "              max(x, D))  // why\n"
      "\n"
      "  // own\n"
      "  let z = -y ** -2 + f32(!a)[D = 2:10 -> E][S -> T]\n"
      "  return (sum(y, ..), z)\n"
      "}\n"
      "\n"
      "extern fn h(a: real[.., T], axis T, axis R..) -> (f32, f32)\n"
      "fn k() -> f32 {\n"
      "  fuse stream(T, passes = 1) {\n"
      "    return where(a < b, c, d)\n"
      "  }\n"
      "}  // end\n"
      "// tail\n");
}

Test(frontend_format, new_axes_and_unsigned_types) {
  expect_format("fn f(x:u32[N])->u64[N,R=2*N]{return u64(x)+u64(index( R=2*N ))+\n"
                "0xffffffffffffffff*broadcast(u64(1),R = 2*N)}\n",
                "fn f(x: u32[N]) -> u64[N, R = 2 * N] {\n"
                "  return u64(x) + u64(index(R = 2 * N)) +\n"
                "      0xffffffffffffffff * broadcast(u64(1), R = 2 * N)\n"
                "}\n");
}

Test(frontend_format, lines_that_go_on) {
  expect_format("fn f(x: f32[N],\ny: f32[N])\n-> f32[N] {\nreturn g(\nx,\n// note\ny\n)\n+ x\n}\n",
                "fn f(x: f32[N],\n"
                "     y: f32[N])\n"
                "    -> f32[N] {\n"
                "  return g(\n"
                "      x,\n"
                "      // note\n"
                "      y\n"
                "      )\n"
                "      + x\n"
                "}\n");
}

Test(frontend_format, nothing_and_comments_only) {
  expect_format("", "");
  expect_format("\n\n  //a\n\n\n//b", "// a\n\n// b\n");
}

Test(frontend_format, wrong_programs_are_left_alone) {
  arena a = {0};
  diag_list diags = {.arena = &a};
  str out;
  uint32_t file = diag_add_file(&diags, STR("test.tdsl"), STR("fn f( {"));
  cr_expect(!frontend_format(&a, &diags, file, &out));
  cr_expect_gt(diags.errors, 0);
  arena_free(&a);
}

static void same_tokens(arena *a, str before, str after, const char *name) {
  diag_list diags = {.arena = a};
  token_list x, y;
  lex_file(a, &diags, diag_add_file(&diags, STR("before"), before), &x);
  lex_file(a, &diags, diag_add_file(&diags, STR("after"), after), &y);
  cr_expect_eq(x.tokens.len, y.tokens.len, "%s", name);
  cr_expect_eq(x.comments.len, y.comments.len, "%s", name);
  for (int i = 0; i < x.tokens.len && i < y.tokens.len; i++)
    cr_expect(str_eq(token_text(&x, &x.tokens.data[i]), token_text(&y, &y.tokens.data[i])), "%s",
              name);
}

/// The library and the examples are kept in the canonical layout; odd programs stay what they are.
Test(frontend_format, files_of_the_project) {
  static const struct { const char *folder; bool canonical; } folders[] = {
      {TCF_SOURCE_DIR "/std", true},
      {TCF_SOURCE_DIR "/examples", true},
      {TCF_SOURCE_DIR "/examples/minilm", true},
      {TCF_SOURCE_DIR "/tests/diag", false},
  };
  arena a = {0};
  for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
    str *files;
    int n = list_files(&a, folders[f].folder, ".tdsl", &files);
    for (int i = 0; i < n; i++) {
      bool found;
      str text = read_whole_file(&a, files[i].ptr, &found), out;
      diag_list diags = {.arena = &a};
      uint32_t file = diag_add_file(&diags, files[i], text);
      if (!frontend_format(&a, &diags, file, &out)) {
        cr_expect(!folders[f].canonical, "%s does not parse", files[i].ptr);
        continue;
      }
      same_tokens(&a, text, out, files[i].ptr);
      cr_expect(str_eq(out, format(&a, out)), "%s", files[i].ptr);
      if (folders[f].canonical) cr_expect(str_eq(text, out), "%s is not formatted", files[i].ptr);
    }
  }
  arena_free(&a);
}
