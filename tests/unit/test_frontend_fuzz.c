// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Any bytes give diagnostics or graphs that verify: random bytes, random tokens, and damaged
// programs. What is accepted is formatted, and the formatted text gives the same graphs.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/fault.h"
#include "frontend/token.h"
#include "tests/unit/frontend_fixture.h"

static uint64_t next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static int below(uint64_t *state, int n) { return (int)(next(state) % (uint64_t)n); }

static str print_all(program_test *t) {
  strbuf out = sb_new(&t->arena);
  for (int i = 0; i < t->graphs.graphs.len; i++) graph_print(t->graphs.graphs.data[i], &out);
  return sb_str(&out);
}

/// Compiles and formats; a fault is a failure of the test.
static bool survives(str text) {
  fault_frame frame;
  program_test t, again;
  bool accepted = false;
  if (fault_try(&frame)) {
    program_test_run(&t, "fuzz", text);
    accepted = t.ok;
    cr_assert(t.ok == (t.diags.errors == 0), "%.*s", STR_FMT(text));
    program_test_messages(&t);
    str formatted, twice;
    if (frontend_format(&t.arena, &t.diags, 1, &formatted)) {
      uint32_t file = diag_add_file(&t.diags, STR("formatted"), formatted);
      cr_assert(frontend_format(&t.arena, &t.diags, file, &twice), "%.*s", STR_FMT(formatted));
      cr_assert(str_eq(formatted, twice), "not idempotent:\n%.*s\n%.*s", STR_FMT(formatted),
                STR_FMT(twice));
      if (t.ok) {
        program_test_run(&again, "formatted", formatted);
        cr_assert(str_eq(print_all(&t), print_all(&again)), "%.*s", STR_FMT(formatted));
        program_test_free(&again);
      }
    }
    program_test_free(&t);
  }
  fault_pop(&frame);
  cr_assert(frame.kind == FAULT_NONE, "%s\n%.*s", frame.text, STR_FMT(text));
  return accepted;
}

static int rounds(int usual) {
  const char *n = getenv("TCF_FUZZ_ROUNDS");
  return n ? atoi(n) : usual;
}

Test(frontend_fuzz, random_bytes) {
  uint64_t state = 0x9e3779b97f4a7c15;
  char bytes[200];
  for (int i = 0; i < rounds(500); i++) {
    int len = below(&state, (int)sizeof bytes);
    for (int k = 0; k < len; k++) bytes[k] = (char)next(&state);
    survives((str){bytes, len});
  }
}

Test(frontend_fuzz, random_tokens) {
  static const char *const words[] = {
#define X(kind, text) text,
      KEYWORDS(X) PUNCTUATION(X)
#undef X
      "f32", "i32", "bf16", "bool", "x", "y", "N", "D", "K", "1", "0", "2.5", "sum", "dot", "max",
      "softmax", "concat", "pad", "index", "cumsum", "fn f(x: f32[N, D]) -> f32[N] {", "let y =",
      "return", "x[", "-> K]", "\n"};
  uint64_t state = 0x123456789abcdef;
  arena a = {0};
  for (int i = 0; i < rounds(1500); i++) {
    strbuf text = sb_new(&a);
    for (int k = below(&state, 60); k >= 0; k--) {
      sb_puts(&text, words[below(&state, (int)(sizeof words / sizeof *words))]);
      sb_putc(&text, ' ');
    }
    survives(sb_str(&text));
    arena_free(&a);
  }
}

static const char program[] =
    "fn f(x: f32[N, D = 64], w: f32[D, E], t: i32[B], m: bool[N]) -> (f32[N, E], f32[N])\n"
    "    where N % 4 == 0, E <= 1000 {\n"
    "  let h = gelu(dot(x, w, D)) * 2 ** 0.5\n"
    "  let s = softmax(where(index(E) <= index(N), h, -inf), E)\n"
    "  let v = x[D -> (H, K = 16)][(H, K) -> G][G = 2:10 -> Q]\n"
    "  let c = concat(x, x[D -> D2], (D, D2) -> D3)\n"
    "  let p = pad(x, D -> P, 1, N, 0)[P -> R + (S = 3)]\n"
    "  let g = x[N = t]\n"
    "  let z = scatter_add(x, N = t, g)\n"
    "  let (a, b) = pair(x, D)\n"
    "  let u = uniform(1, N) + f32(argmax(x, D)) + a + b[N = 3]\n"
    "  return (s, sum(v, Q) + sum(c, D3) + sum(z, D) + sum(p, R, S) + u * f32(m))\n"
    "}\n"
    "fn pair(x: real[.., T], axis T) -> (real[..], real[..]) {\n"
    "  return (max(x, T), sum(cumsum(x, T, reverse = true), T))\n"
    "}\n";

static str mutate(arena *a, uint64_t *state, str text) {
  char *copy = arena_alloc(a, (size_t)text.len + 64);
  int len = text.len;
  memcpy(copy, text.ptr, (size_t)len);
  for (int i = below(state, 4); i >= 0; i--) {
    int at = below(state, len), n = below(state, 8);
    if (at + n > len) n = len - at;
    switch (below(state, 5)) {
      case 0: copy[at] = (char)(32 + below(state, 95)); break;
      case 1: memmove(copy + at, copy + at + n, (size_t)(len - at - n)), len -= n; break;
      case 2: memcpy(copy + at, text.ptr + below(state, text.len - 8), (size_t)n); break;
      case 3: {
        int from = below(state, text.len - 8);
        memmove(copy + at + n, copy + at, (size_t)(len - at));
        memcpy(copy + at, text.ptr + from, (size_t)n);
        len += n;
        break;
      }
      default: copy[at] = "NDEKHxyw0129()[]{},=->."[below(state, 23)];
    }
  }
  return (str){copy, len};
}

Test(frontend_fuzz, damaged_programs) {
  uint64_t state = 0xfeedfacecafebeef;
  arena a = {0};
  str text = str_from(program);
  cr_assert(survives(text), "the program itself must compile");
  int accepted = 0, n = rounds(3000);
  for (int i = 0; i < n; i++) {
    accepted += survives(mutate(&a, &state, text));
    arena_free(&a);
  }
  cr_expect(accepted > n / 100, "%d of %d accepted", accepted, n);
}

/// A few tokens replaced by others of their kind: what parses, so that checking is what is tried.
static str exchange(arena *a, uint64_t *state, const token_list *list) {
  int n = list->tokens.len - 1;
  const token **chosen = arena_array(a, const token *, n);
  for (int i = 0; i < n; i++) chosen[i] = &list->tokens.data[i];
  for (int i = below(state, 3); i >= 0;) {
    const token *from = &list->tokens.data[below(state, n)];
    int at = below(state, n);
    if (chosen[at]->kind != from->kind || chosen[at]->kind > TOK_STRING) continue;
    chosen[at] = from;
    i--;
  }
  strbuf text = sb_new(a);
  for (int i = 0; i < n; i++) {
    sb_put(&text, token_text(list, chosen[i]));
    sb_putc(&text, list->tokens.data[i + 1].newlines ? '\n' : ' ');
  }
  return sb_str(&text);
}

Test(frontend_fuzz, exchanged_names) {
  uint64_t state = 0x0123456789abcdef;
  arena names = {0}, a = {0};
  diag_list diags = {.arena = &names};
  token_list list;
  lex_file(&names, &diags, diag_add_file(&diags, STR("program"), str_from(program)), &list);
  int accepted = 0, n = rounds(3000);
  for (int i = 0; i < n; i++) {
    accepted += survives(exchange(&a, &state, &list));
    arena_free(&a);
  }
  cr_expect(accepted > n / 100, "%d of %d accepted", accepted, n);
  arena_free(&names);
}

/// Out of memory anywhere unwinds to the frame; what was built is in the arena.
Test(frontend_fuzz, memory_runs_out_everywhere) {
  for (size_t limit = 1000; limit < 400000; limit += 3000) {
    arena a = {.limit = limit};
    fault_frame frame;
    if (fault_try(&frame)) {
      diag_list diags = {.arena = &a};
      module out;
      uint32_t file = diag_add_file(&diags, STR("small"), str_from(program));
      frontend_compile(&a, &diags, file, NULL, &out, NULL);
    }
    fault_pop(&frame);
    cr_expect(frame.kind == FAULT_NONE || frame.kind == FAULT_NOMEM, "%s", frame.text);
    arena_free(&a);
  }
}
