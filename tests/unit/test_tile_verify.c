// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Every rule of the tile verifier fires, at the statement that breaks it, and only there.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "tile_fixture.h"

#define PROGRAM(body)                                                                       \
  "program @p(N, D) {\n buffer %x : f32[N, D] param 0\n buffer %out : f32[N, D] output 0\n" \
  " call @k(%x, %out)\n}\nkernel @k(x: f32[N, D], out: f32[N, D]) vec D:4 {\n"              \
  " axes N, D, E = 64\n grid N:2, D:8 {\n" body                                             \
  "\n %z = const 1.0 : f32\n store out[N, D], %z\n }\n}\n"
#define LOAD " %a = load x[N, D] : f32[N:2, D:8]\n"

typedef struct wrong {
  const char *body, *note;
} wrong;

/// The note stands below a statement of the printed kernel.
static void expect_note(const char *text, const char *note) {
  tile_fixture f = {0};
  cr_assert(tile_fixture_parse(&f, str_from(text)), "%s\n%.*s", text,
            STR_FMT(f.diags.items.data[0]->text));
  str report;
  cr_assert_not(program_verify(f.p, &f.arena, &report), "accepted:\n%s", text);
  str line = str_printf(&f.arena, "// ^ %s\n", note);
  cr_expect(strstr(report.ptr, line.ptr), "expected \"%s\" in\n%s", note, report.ptr);
  tile_fixture_free(&f);
}

#define CASES(name, ...)                                      \
  Test(tile_verify, name) {                                   \
    static const wrong cases[] = {__VA_ARGS__};               \
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) \
      expect_note(cases[i].body, cases[i].note);              \
  }

#define OUT_OF(what, bound) \
  what " is not known to be " bound ", and there is no guard"

CASES(accesses_stay_inside,
      {PROGRAM(" %a = load x[N, D + 1] : f32[N:2, D:8]"),
       OUT_OF("dimension 1: D + 1", "below #D")},
      {PROGRAM(" %a = load x[N - 1, D] : f32[N:2, D:8]"),
       OUT_OF("dimension 0: N - 1", "at least 0")},
      {PROGRAM(" %a = load x[N, 63] : f32[N:2]"), OUT_OF("dimension 1: 63", "below #D")},
      {PROGRAM(" loop E:4 {\n %a = load x[N, E] : f32[N:2, E:4]\n }"),
       OUT_OF("dimension 1: E", "below #D")},
      {PROGRAM(" %a = load x[N, D*2 / 3 * 2] : f32[N:2, D:8]"),
       OUT_OF("dimension 1: ((D*2) / 3)*2", "below #D")},
      {PROGRAM(" %y = const 2.0 : f32\n store out[N, #D - D], %y"),
       OUT_OF("dimension 1: #D - D", "below #D")},
      {PROGRAM(" loop E:1 below #D + 1 {\n %a = load x[N, E] : f32[N:2, E:1]\n }"),
       OUT_OF("dimension 1: E", "below #D")},
      // a step has positions behind its base
      {PROGRAM(" loop E:4 below #D {\n %a = load x[N, E] : f32[N:2, E:4]\n }"),
       OUT_OF("dimension 1: E", "below #D")},
      {PROGRAM(" loop E:1 below D {\n %a = load x[N, E + 1] : f32[N:2, E:1]\n }"),
       OUT_OF("dimension 1: E + 1", "below #D")},
      {PROGRAM(" local l : f32[E]\n loop E:4 {\n %a = load l[E + 1] : f32[E:4]\n }"),
       OUT_OF("dimension 0: E + 1", "below 64")},
      {PROGRAM(" local l : f32[D:8]\n %a = load l[D / 2] : f32[D:8]"),
       "dimension 0 holds the current range of D only; D / 2 may be outside of it"})

Test(tile_verify, accesses_that_are_inside) {
  static const char *const bodies[] = {
      PROGRAM(" %a = load x[#N - 1 - N, D / 2 + (D + 1) / 2] : f32[N:2, D:8]"),
      PROGRAM(" %f = const 0.0 : f32\n %a = load x[N, D + 63] guard %f : f32[N:2, D:8]"),
      PROGRAM(" prefetch x[N + 8, D + 64] level 1"),
      PROGRAM(" %i = index D : i64[D:8]\n %a = load x[N, %i] : f32[D:8, N:2]"),
      PROGRAM(" local l : f32[E]\n loop E:4 {\n %a = load l[63 - E] : f32[E:4]\n }"),
      PROGRAM(" local l : f32[D:8]\n loop D:4 {\n %a = load l[D] : f32[D:4]\n }"),
      PROGRAM(" loop E:1 below #D {\n %a = load x[N, E] : f32[N:2, E:1]\n }"),
      PROGRAM(" loop N:1 {\n loop E:1 below (#D - N + 3) / 4 {\n"
              " %a = load x[N, E*4 + N] : f32[N:1, E:1]\n }\n }"),
  };
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    tile_fixture f = {0};
    str report;
    cr_assert(tile_fixture_parse(&f, str_from(bodies[i])), "%s\n%.*s", bodies[i],
              STR_FMT(f.diags.items.data[0]->text));
    cr_expect(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
    tile_fixture_free(&f);
  }
}

// Indices that are values: known to be inside, or the text says that nobody knows.

#define PICK(rows, body)                                                                         \
  "program @p(N, D) {\n buffer %x : f32[N = " rows "] param 0\n buffer %i : i32[D] param 1\n"      \
  " buffer %out : f32[D] output 0\n call @k(%x, %i, %out)\n}\n"                                  \
  "kernel @k(x: f32[" rows "], i: i32[D], out: f32[D]) {\n axes D, N = " rows "\n grid D:8 {\n"   \
  " %i = load i[D] : i32[D:8]\n" body "\n %b = const 0.0 : f32\n store out[D], %b\n }\n}\n"
#define INSIDE(rows)                                                                            \
  "dimension 0: the index is not known to be from 0 to below " rows                             \
  "; `check` tests it, `unchecked` says that it is right"
#define CLAMP(first, last)                                                                      \
  " %l = const " last " : i32\n %z = const " first " : i32\n %m = min %i, %l : i32[D:8]\n"        \
  " %c = max %m, %z : i32[D:8]\n"

CASES(indices_that_are_values,
      {PICK("#N", " %a = load x[%i] : f32[D:8]"), INSIDE("#N")},
      {PICK("#N", " check %i below N + 1 site 0\n %a = load x[%i] : f32[D:8]"), INSIDE("#N")},
      {PICK("64", " check %i below 64 site 0\n %a = load x[%i + 1] : f32[D:8]"), INSIDE("64")},
      // nothing is known of what was computed before the check
      {PICK("64", " %1 = const 0 : i32\n %j = add %i, %1 : i32[D:8]\n check %i below 64 site 0\n"
                  " %a = load x[%j] : f32[D:8]"), INSIDE("64")},
      // a check holds in its region
      {PICK("64", " if first D {\n check %i below 64 site 0\n }\n %a = load x[%i] : f32[D:8]"),
       INSIDE("64")},
      // and in lanes that were valid there
      {PICK("64", " check %i below 64 site 0\n loop D:4 {\n %a = load x[%i] : f32[D:8]\n }"),
       INSIDE("64")},
      {PICK("64", CLAMP("0", "64") " %a = load x[%c] : f32[D:8]"), INSIDE("64")},
      {PICK("64", CLAMP("-1", "63") " %a = load x[%c] : f32[D:8]"), INSIDE("64")},
      {PICK("64", " %z = const 0 : i32\n %c = max %i, %z : i32[D:8]\n %a = load x[%c] : f32[D:8]"),
       INSIDE("64")},
      // i8 wraps around
      {PICK("200", " check %i below 200 site 0\n %c = cast %i : i8[D:8]\n"
                   " %a = load x[%c] : f32[D:8]"), INSIDE("200")},
      {PICK("200", " check %i below 100 site 0\n %c = cast %i : i8[D:8]\n"
                   " %d = add %c, %c : i8[D:8]\n %a = load x[%d] : f32[D:8]"), INSIDE("200")},
      {PICK("64", " check %i below 64 site 0\n %j = cast %i : i64[D:8]\n"
                  " %c = const 4611686018427387904 : i64\n %m = mul %j, %c : i64[D:8]\n"
                  " %q = div %m, %c : i64[D:8]\n %a = load x[%q] : f32[D:8]"), INSIDE("64")},
      // division rounds towards 0
      {PICK("64", " check %i below 64 site 0\n %c = const 64 : i32\n %d = sub %i, %c : i32[D:8]\n"
                  " %2 = const 2 : i32\n %q = div %d, %2 : i32[D:8]\n"
                  " %a = load x[%q + 31] : f32[D:8]"), INSIDE("64")},
      {PICK("64", " %c = const 64 : i32\n %r = rem %i, %c : i32[D:8]\n %a = load x[%r] : f32[D:8]"),
       INSIDE("64")},
      // N may be 0 while D has positions
      {PICK("#N", " %d = index D : i64[D:8]\n %n = size N : i64\n %r = rem %d, %n : i64[D:8]\n"
                  " %a = load x[%r] : f32[D:8]"), INSIDE("#N")},
      {PICK("64", " %0 = const 0 : i32\n %r = rem %i, %0 : i32[D:8]\n"
                  " %a = load x[%r] : f32[D:8]"), INSIDE("64")},
      {PICK("64", " local l : f32[N]\n check %i below 64 site 0\n %a = load l[%i] : f32[D:8]"),
       "on-chip buffers are indexed by axes, not by values"},
      {PICK("64", " %a = load x[0] unchecked : f32"), "unchecked is for indices that are values"})

Test(tile_verify, indices_that_are_known_to_be_inside) {
  static const char *const bodies[] = {
      PICK("#N", " check %i below N site 0\n %a = load x[%i] : f32[D:8]"),
      PICK("#N", " %a = load x[%i] unchecked : f32[D:8]"),
      PICK("#N", " %f = const 0.0 : f32\n %a = load x[%i] guard %f : f32[D:8]"),
      PICK("#N", " check %i below N site 0\n %j = cast %i : i64[D:8]\n %1 = size N - 1 : i64\n"
                 " %m = min %j, %1 : i64[D:8]\n %0 = const 0 : i64\n %c = max %m, %0 : i64[D:8]\n"
                 " %a = load x[%c] : f32[D:8]"),
      PICK("65", " check %i below 64 site 0\n %a = load x[%i + 1] : f32[D:8]"),
      PICK("64", CLAMP("0", "63") " %a = load x[%c] : f32[D:8]"),
      PICK("64", " check %i below 128 site 0\n %2 = const 2 : i32\n %q = div %i, %2 : i32[D:8]\n"
                 " %r = rem %i, %2 : i32[D:8]\n %a = load x[%q] : f32[D:8]\n"
                 " %b2 = load x[%r + 62] : f32[D:8]"),
      PICK("64", " check %i below 64 site 0\n %64 = const 64 : i32\n %d = sub %i, %64 : i32[D:8]\n"
                 " %2 = const 2 : i32\n %q = div %d, %2 : i32[D:8]\n %r = rem %d, %2 : i32[D:8]\n"
                 " %0 = const 0 : i32\n %n = lt %r, %0 : bool[D:8]\n %1 = const 1 : i32\n"
                 " %less = sub %q, %1 : i32[D:8]\n %down = where %n, %less, %q : i32[D:8]\n"
                 " %a = load x[%down + 32] : f32[D:8]"),
      PICK("64", " %64 = const 64 : i32\n %r = rem %i, %64 : i32[D:8]\n %0 = const 0 : i32\n"
                 " %m = max %r, %0 : i32[D:8]\n %a = load x[%m] : f32[D:8]"),
      PICK("64", " if first D {\n check %i below 64 site 0\n %a = load x[%i] : f32[D:8]\n }"),
      // D is at least 1 where it has positions
      PICK("64", " %d = index D : i64[D:8]\n %s = size 2*D : i64\n %d2 = add %d, %s : i64[D:8]\n"
                 " %n = size D : i64\n %q = div %d2, %n : i64[D:8]\n %a = load x[%q + 61] : f32[D:8]"),
  };
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    tile_fixture f = {0};
    str report;
    cr_assert(tile_fixture_parse(&f, str_from(bodies[i])), "%s\n%.*s", bodies[i],
              STR_FMT(f.diags.items.data[0]->text));
    cr_expect(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
    tile_fixture_free(&f);
  }
}

Test(tile_verify, the_frame_of_these_tests_is_sound) {
  tile_fixture f = {0};
  str report;
  cr_assert(tile_fixture_parse(&f, STR(PROGRAM(LOAD))));
  cr_expect(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
  cr_expect(report.len == 0);
  tile_fixture_free(&f);
}

CASES(shapes_and_types_of_maps,
      {PROGRAM(LOAD " %b = load x[N, 0] : f32[N:2]\n %c = add %a, %b : f32[N:2]"),
       "the result lacks an axis"},
      {PROGRAM(LOAD " %b = neg %a : f32[N:2, D:4]"), "the result has extent 4 along D, not 8"},
      {PROGRAM(" %a = const 1.0 : f32[E:4]\n %b = const 1.0 : f32[E:8]\n"
               " %c = add %a, %b : f32[E:4]"),
       "extents 4 and 8 meet along E"},
      {PROGRAM(LOAD " %b = neg %a : f32[N:2, D:8, E:4]"),
       "the result has axis E, which is not expected"},
      {PROGRAM(LOAD " %b = exp %a : f64[N:2, D:8]"), "the result has type f64, not f32"},
      {PROGRAM(LOAD " %b = add %a : f32[N:2, D:8]"), "add takes 2 values"},
      {PROGRAM(LOAD " %b = add %a, %a, %a, %a : f32[N:2, D:8]"), "map cannot take 4 values"},
      {PROGRAM(LOAD " %b, %c = neg %a : f32[N:2, D:8], f32"), "map has 1 result, not 2"},
      {PROGRAM(" %a = const 1.0 : f32[E:4, E:4]"), "result 0 has a malformed shape"},
      {PROGRAM(" %a = const 1.0 : f32[E:8192, N:8192]"), "result 0 has a malformed shape"})

CASES(values_are_visible_inside_their_region,
      {PROGRAM(" loop E:4 {\n %a = const 1.0 : f32\n }\n %b = neg %a : f32"),
       "operand 0 is not visible here"},
      {PROGRAM(" if first N {\n %a = const 1.0 : f32\n } else {\n %b = neg %a : f32\n }"),
       "operand 0 is not visible here"},
      {PROGRAM(" %i = const 1.0 : f32\n %a = loop E:4 carry %p = %i {\n yield %a\n }"),
       "operand 0 is not visible here"})

CASES(leaves, {PROGRAM(" %a = index E : i32[E:4]"), "axis E is not open here"},
      {PROGRAM(" %a = index N : f32[N:2]"), "an index is i32 or i64, not f32"},
      {PROGRAM(" %a = index N : i32[N:4]"), "the result has extent 4 along N, not 2"},
      {PROGRAM(" %a = size N : bool"), "bool is not a number type"},
      {PROGRAM(" %a = size N : f32[N:2]"), "a size has no axes"})

CASES(access_to_memory,
      {PROGRAM(" %a = load x[N, E] : f32[N:2]"), "the index uses axis E, which is not open here"},
      {PROGRAM(" %a = load x[N, D] : f32[N:2]"), "the result lacks an axis"},
      {PROGRAM(" %a = load x[N, D] : f64[N:2, D:8]"), "the result has type f64, not f32"},
      {PROGRAM(" %i = const 1.0 : f32\n %a = load x[%i, D] : f32[D:8]"),
       "the indirect coordinate is f32, not an integer"},
      {PROGRAM(" %i = const 1 : i32[D:4]\n %a = load x[%i, D] : f32[D:8]"),
       "extents 4 and 8 meet along D"},
      {PROGRAM(" %i = const 1 : i32\n %a = load x[N, D - 1] guard %i : f32[N:2, D:8]"),
       "the guard value has type i32, not f32"},
      {PROGRAM(" %i = const 1.0 : f32[E:2]\n %a = load x[N, D - 1] guard %i : f32[N:2, D:8]"),
       "the guard value has axis E, which is not expected"},
      {PROGRAM(" %a = const 1.0 : f64\n store out[N, D], %a"), "the value has type f64, not f32"},
      {PROGRAM(" %a = const 1.0 : f32[E:4]\n store out[N, D], %a"),
       "the value has axis E, which is not expected"},
      {PROGRAM(" %a = const 1.0 : f32[N:4]\n store out[N, D], %a"),
       "the value has extent 4 along N, not 2"})

CASES(local_buffers,
      {PROGRAM(" loop E:4 {\n local l : f32[E:4]\n }\n loop E:4 {\n"
               " %a = load l[E] : f32[E:4]\n }"),
       "local l is not declared here"},
      {PROGRAM(" local l : f32[N]"), "N is open with extent 2, the dimension differs"},
      {PROGRAM(" local l : f32[E:4]"), "E is closed, but the dimension is not its size"},
      {PROGRAM(" local l : f32[E, E]"), "dimension 1 does not follow an axis of its own"},
      {PROGRAM(" local l : f32[E] panel N:4"), "the panel has no dimension"},
      {PROGRAM(" local l : f32[E, D:8] pairs N"), "the pairs have no dimension"},
      {PROGRAM(" local l : f32[D:8, E] pairs E"),
       "pairs run along another dimension than the last and the panel's"},
      {PROGRAM(" local l : f32[E, D:8] panel E:4 pairs E"),
       "pairs run along another dimension than the last and the panel's"},
      {PROGRAM(" local l : f32[E, D:8] pairs E pad 2"), "pairs are not swizzled or padded"})

CASES(combining,
      {PROGRAM(LOAD " %b = accum sub %a, %a : f32[N:2, D:8]"),
       "sub does not combine; add mul min max and or do"},
      {PROGRAM(LOAD " %b = accum and %a, %a : f32[N:2, D:8]"),
       "and needs integers or bools of one type, not f32, f32"},
      {PROGRAM(LOAD " %b = accum add %a, %a, %a : f32[N:2, D:8]"), "3 values are too many or few"},
      {PROGRAM(" %a = const 1 : i32\n %b = accum fma %a, %a, %a : i32"), "fma is for f32 and f64"},
      {PROGRAM(LOAD " %i = const 0.0 : f32[N:2]\n %b = accum add %i, %a : f32[N:2]"),
       "the value has axis D, which is not expected"},
      {PROGRAM(LOAD " %i = const 0 : i32\n %b = accum add %a, %i : f32[N:2, D:8]"),
       "the value has type i32, not f32"},
      {PROGRAM(LOAD " %b = accum add %a, %a : f32[N:2]"), "the result lacks an axis"},
      {PROGRAM(LOAD " %b = reduce add %a over E : f32[N:2, D:8]"), "the value has no axis E"},
      {PROGRAM(LOAD " %b = reduce add %a over D : f32[D:8]"),
       "the result has axis D, which is not expected"},
      {PROGRAM(LOAD " %b = reduce max %a over D : f64[N:2]"), "the result has type f64, not f32"},
      {PROGRAM(" %a = const 1.0 : bf16[E:4]\n %b = reduce add %a over E : bf16"),
       "add needs equal number types other than f16, bf16, not bf16, bf16"})

#define BEST " %m = const 0.0 : f32[N:2, D:8]\n %i = const 0 : i32[N:2, D:8]\n"
CASES(best_values,
      {PROGRAM(LOAD BEST " %p, %q = arg add %m, %i, %a, %i : f32[N:2, D:8], i32[N:2, D:8]"),
       "the op is min or max"},
      {PROGRAM(LOAD BEST " %p, %q = arg max %m, %a, %a, %a : f32[N:2, D:8], f32[N:2, D:8]"),
       "the index is not an integer"},
      {PROGRAM(LOAD BEST " %j = const 0 : i32\n"
                         " %p, %q = arg max %m, %j, %a, %i : f32[N:2, D:8], i32"),
       "the best index lacks an axis"},
      {PROGRAM(LOAD BEST " %p, %q = arg max %m, %i, %i, %i : f32[N:2, D:8], i32[N:2, D:8]"),
       "the value has type i32, not f32"},
      {PROGRAM(LOAD BEST " %j = const 0 : i64\n"
                         " %p, %q = arg max %m, %i, %a, %j : f32[N:2, D:8], i32[N:2, D:8]"),
       "the index has type i64, not i32"},
      {PROGRAM(LOAD BEST " %p, %q = arg_reduce max %a, %i over E : f32[N:2], i32[N:2]"),
       "the value has no axis E"},
      {PROGRAM(LOAD " %i = const 0 : i32[E:4]\n"
                    " %p, %q = arg_reduce max %a, %i over D : f32[N:2], i32[N:2]"),
       "the index has axis E, which is not expected"},
      {PROGRAM(LOAD BEST " %p, %q = arg_reduce max %a, %i over D : f32[N:2], i64[N:2]"),
       "the result has type i64, not i32"})

#define FACTORS LOAD " %b = const 1.0 : f32[D:8, E:4]\n %c = const 0.0 : f32[N:2, E:4]\n"
CASES(products,
      {PROGRAM(FACTORS " %d = dot %a, %b, %a over D : f32[N:2, D:8]"),
       "the accumulator has axis D"},
      {PROGRAM(FACTORS " %d = dot %a, %a, %c over E : f32[N:2, E:4]"), "no factor has axis E"},
      {PROGRAM(FACTORS " %e = const 0.0 : f32[N:2]\n %d = dot %a, %b, %e over D : f32[N:2]"),
       "the product has axis E, which is not expected"},
      {PROGRAM(FACTORS " %e = const 0.0 : f64[N:2, E:4]\n"
                       " %d = dot %a, %b, %e over D : f64[N:2, E:4]"),
       "the first factor has type f32, not f64"},
      {PROGRAM(FACTORS " %d = dot %a, %b, %c over D : f32[N:2]"), "the result lacks an axis"},
      {PROGRAM(FACTORS " %e = const 1.0 : f32[D:4]\n %d = dot %a, %e, %c over D : f32[N:2, E:4]"),
       "extents 8 and 4 meet along D"})

CASES(loops, {PROGRAM(" loop D:3 {\n }"), "steps of 3 do not divide the range of 8"},
      {PROGRAM(" %i = const 0.0 : f32\n %a = loop E:4 carry %p = %i {\n }"),
       "0 yields for 1 results"},
      {PROGRAM(" loop E:4 {\n %i = const 0.0 : f32\n yield %i\n }"), "1 yields for 0 results"},
      {PROGRAM(" %i = const 0.0 : f32\n %j = const 0.0 : f64\n"
               " %a = loop E:4 carry %p = %i {\n yield %j\n }"),
       "yields 0 differs in type or shape from the result"},
      {PROGRAM(" %i = const 0.0 : f32[N:2, E:4]\n %j = const 0.0 : f32[E:4, N:2]\n"
               " %a = loop E:4 carry %p = %i {\n yield %j\n }"),
       "yields 0 differs in type or shape from the result"},
      {PROGRAM(" %i = const 0.0 : f32\n %a = loop E:4 vec carry %p = %i {\n yield %p\n }"),
       "a vec loop carries nothing"},
      {PROGRAM(LOAD " loop E:4 vec {\n %b = neg %a : f32[N:2, D:8]\n }"),
       "operand 0 is not visible here"})

CASES(conditions, {PROGRAM(" if last E {\n }"), "axis E is not open here"},
      {PROGRAM(LOAD " if any %a {\n }"), "the condition has type f32, not bool"},
      {PROGRAM(" %a = const 1.0 : f32\n %b = if first N {\n yield %a\n }"), "results need an else"},
      {PROGRAM(" %a = const 1.0 : f32\n %c = const 1.0 : f64\n"
               " %b = if first N {\n yield %a\n } else {\n yield %c\n }"),
       "yields 0 differs in type or shape from the result"},
      {PROGRAM(" %a = const 1.0 : f32\n %b = if first N {\n yield %a\n } else {\n }"),
       "0 yields for 1 results"})

CASES(checked_indices, {PROGRAM(LOAD " check %a below N site 0"), "the index is not an integer"})

// ---- what text cannot say

static const char plain[] = PROGRAM(LOAD " %b = neg %a : f32[N:2, D:8]");

typedef void break_kernel(kernel *k);

static void expect_broken(break_kernel *broken, const char *note) {
  tile_fixture f = {0};
  cr_assert(tile_fixture_parse(&f, str_from(plain)));
  kernel *k = f.p->kernels.data[0];
  broken(k);
  str report;
  fault_frame frame;
  bool sound = true;
  if (fault_try(&frame)) sound = kernel_verify(k, &f.arena, &report);
  fault_pop(&frame);
  cr_assert(frame.kind == FAULT_NONE, "%s: %s", note, frame.text);
  cr_assert_not(sound, "accepted: %s", note);
  str line = str_printf(&f.arena, "// ^ %s\n", note);
  cr_expect(strstr(report.ptr, line.ptr), "expected \"%s\" in\n%s", note, report.ptr);
  tile_fixture_free(&f);
}

static tstmt *stmt(kernel *k, int i) { return k->body.stmts.data[i]; }

static void no_operand(kernel *k) { stmt(k, 1)->in[0] = NULL; }
static void unknown_op(kernel *k) { stmt(k, 1)->op = OP_COUNT; }
static void no_map(kernel *k) { stmt(k, 1)->op = OP_dot; }
static void unknown_buffer(kernel *k) { stmt(k, 0)->buf = 7; }
static void short_index(kernel *k) { stmt(k, 0)->nix = 1; }
static void no_index(kernel *k) { stmt(k, 0)->ix[1] = 0; }
static void no_tile(kernel *k) { stmt(k, 0)->indirect[1] = 3; }
static void unknown_axis(kernel *k) { stmt(k, 1)->out[0]->axes[0] = 9; }
static void no_extent(kernel *k) { stmt(k, 1)->out[0]->extents[0] = 0; }
static void twice(kernel *k) { stmt(k, 1)->out[0]->id = stmt(k, 0)->out[0]->id; }
static void no_number(kernel *k) { stmt(k, 1)->out[0]->id = 99; }
static void two_axes(kernel *k) { k->axes.data[1].name = k->axes.data[0].name; }
static void no_size(kernel *k) { k->axes.data[2].size = 0; }
static void axis_size(kernel *k) { k->axes.data[2].size = ix_axis(&k->ix, 0); }
static void grid_twice(kernel *k) { k->grid.data[1].axis = 0; }
static void grid_step(kernel *k) { k->grid.data[1].extent = 0; }
static void vector_axis(kernel *k) { k->vec_axis = 5; }
static void many_lanes(kernel *k) { k->vec_lanes = 128; }
static void lanes(kernel *k) { k->vec_lanes = 3; }
static void two_buffers(kernel *k) { k->bufs.data[1].name = k->bufs.data[0].name; }
static void misplaced(kernel *k) { k->bufs.data[0].local = true; }
static void unmarked(kernel *k) { k->bufs.data[1].written = false; }
static void marked(kernel *k) { k->bufs.data[0].written = true; }
static void no_stride(kernel *k) { k->bufs.data[0].strides[1] = 0; }
static void top_yield(kernel *k) { stmt(k, 1)->kind = TILE_YIELD, stmt(k, 1)->nout = 0; }
static void undeclared(kernel *k) {
  tile_buf b = {.name = STR("l"), .type = DT_f32, .local = true};
  vec_push(k->arena, &k->bufs, b);
}
static void not_local(kernel *k) {
  stmt(k, 1)->kind = TILE_LOCAL, stmt(k, 1)->nin = stmt(k, 1)->nout = 0;
}
static void no_size_value(kernel *k) { stmt(k, 1)->kind = TILE_SIZE, stmt(k, 1)->nin = 0; }
static void site(kernel *k) {
  tile_builder b = kernel_builder(k);
  tile_check(&b, tile_size(&b, DT_i32, ix_const(&k->ix, 1)), ix_const(&k->ix, 2), 0);
  k->nsites = 0;
}
static void coordinate_check(kernel *k) {
  tile_builder b = kernel_builder(k);
  tile_check(&b, tile_size(&b, DT_i32, ix_const(&k->ix, 1)), ix_axis(&k->ix, 0), 0);
}
static void level(kernel *k) {
  tile_builder b = kernel_builder(k);
  tile_prefetch(&b, 0, (ix[]){ix_axis(&k->ix, 0), ix_axis(&k->ix, 1)}, 4, false);
}
static tstmt *broken_loop(kernel *k) {
  tile_builder b = kernel_builder(k), body;
  return tile_loop(&b, 2, 4, NULL, 0, &body);
}
static void loop_axis(kernel *k) { broken_loop(k)->axis = 8; }
static void loop_step(kernel *k) { broken_loop(k)->extent = 0; }
static void loop_body(kernel *k) { broken_loop(k)->body = NULL; }
static void loop_unroll(kernel *k) { broken_loop(k)->unroll = -1; }
static void loop_params(kernel *k) {
  tstmt *s = broken_loop(k);
  s->body->nparams = 1;
  s->body->params = arena_new(k->arena, tval *);
  s->body->params[0] = tile_value(k, DT_f32, NULL, NULL, 0);
}
static void early_yield(kernel *k) {
  tile_builder b = kernel_builder(k), body;
  tile_loop(&b, 2, 4, NULL, 0, &body);
  tile_yield(&body, NULL, 0);
  tile_size(&body, DT_i32, ix_const(&k->ix, 1));
}
static void twice_declared(kernel *k) {
  tile_builder b = kernel_builder(k);
  int buf = tile_local(&b, STR("l"), DT_f32, (int[]){2}, (int[]){0}, 1, 0, 0);
  tile_stmt(&b, TILE_LOCAL, NULL, 0)->buf = buf;
}
static void if_body(kernel *k) {
  tile_builder b = kernel_builder(k), body;
  tile_if(&b, COND_FIRST, 0, NULL, &body)->body = NULL;
}
static void if_params(kernel *k) {
  tile_builder b = kernel_builder(k), body;
  tregion *r = tile_if(&b, COND_FIRST, 0, NULL, &body)->body;
  r->nparams = 1;
  r->params = arena_new(k->arena, tval *);
  r->params[0] = tile_value(k, DT_f32, NULL, NULL, 0);
}
static void over_nothing(kernel *k) {
  tile_builder b = kernel_builder(k);
  tile_reduce(&b, OP_add, stmt(k, 0)->out[0], NULL, 0);
}
static void dot_nothing(kernel *k) {
  tile_builder b = kernel_builder(k);
  tval *v = stmt(k, 0)->out[0];
  tile_dot(&b, v, v, v, NULL, 0);
}

Test(tile_verify, broken_structures) {
  static const struct {
    break_kernel *broken;
    const char *note;
  } cases[] = {
      {no_operand, "operand 0 is missing"},
      {unknown_op, "unknown op"},
      {no_map, "dot is not elementwise"},
      {unknown_buffer, "unknown buffer"},
      {short_index, "the index has 1 dimensions, the buffer 2"},
      {no_index, "dimension 1 has no index"},
      {no_tile, "dimension 1 has no indirect tile"},
      {unknown_axis, "result 0 has a malformed shape"},
      {no_extent, "result 0 has a malformed shape"},
      {twice, "value 0 is defined twice"},
      {no_number, "a result has no number"},
      {two_axes, "two axes are called N"},
      {no_size, "axis E has no size"},
      {axis_size, "axis E has no size"},
      {grid_twice, "axis N is twice in the grid"},
      {grid_step, "grid axis 1 is malformed"},
      {vector_axis, "unknown vector axis"},
      {lanes, "3 vector lanes: they are a power of two up to 64"},
      {many_lanes, "128 vector lanes: they are a power of two up to 64"},
      {two_buffers, "two buffers are called x"},
      {misplaced, "x is not in its place"},
      {unmarked, "out is stored, but marked otherwise"},
      {marked, "x is never stored, but marked otherwise"},
      {no_stride, "x has no size in dimension 1"},
      {top_yield, "the kernel's body yields nothing"},
      {undeclared, "local l is never declared"},
      {not_local, "not a local buffer"},
      {no_size_value, "not a size"},
      {site, "site 0 of 0"},
      {coordinate_check, "not checked against a size"},
      {level, "the level is 1, 2 or 3"},
      {loop_axis, "unknown axis"},
      {loop_step, "the step is 0"},
      {loop_body, "no body"},
      {loop_unroll, "negative unroll"},
      {loop_params, "1 params for 0 results"},
      {early_yield, "a yield ends its region"},
      {twice_declared, "declared twice"},
      {if_body, "no body"},
      {if_params, "the region has params"},
      {over_nothing, "no axes to combine over"},
      {dot_nothing, "no axes to sum over"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    expect_broken(cases[i].broken, cases[i].note);
}

// ---- programs

#define COPY                                                       \
  "kernel @copy(x: f32[N], out: f32[N]) {\n axes N\n grid N:4 {\n" \
  " %0 = load x[N] : f32[N:4]\n store out[N], %0\n }\n}\n"
#define BUFFERS                                                               \
  "program @p(N, M) {\n arena N*4\n buffer %x : f32[N] param 0\n"             \
  " buffer %m : f32[M] param 1\n buffer %d : f64[N] param 2\n"                \
  " buffer %r : f32[N] strides [2] param 3\n buffer %s : f32[N, M] param 4\n" \
  " buffer %out : f32[N] output 0\n buffer %t : f32[N] temp at 0\n"

#define COPY_EVEN                                                                              \
  "kernel @copy(x: f32[N], out: f32[N]) {\n size N where N % 2 == 0\n axes N, M = N/2, O = 2\n" \
  " grid M:4 {\n loop O:1 {\n %0 = load x[M*2 + O] : f32[M:4, O:1]\n store out[M*2 + O], %0\n" \
  " }\n }\n}\n"
#define COPY_OF_K                                                  \
  "kernel @copy(x: f32[K], out: f32[K]) {\n axes K\n grid K:4 {\n" \
  " %0 = load x[K] : f32[K:4]\n store out[K], %0\n }\n}\n"
/// x to out by way of three temps, of which the first and the last may share their place.
#define CHAIN(arena, a, b, c)                                                                 \
  "program @p(N) {\n arena " arena "\n buffer %x : f32[N] param 0\n"                          \
  " buffer %out : f32[N] output 0\n buffer %a : f32[N] temp at " a                            \
  "\n buffer %b : f32[N] temp at " b "\n buffer %c : f32[N] temp at " c                       \
  "\n call @copy(%x, %a)\n call @copy(%a, %b)\n call @copy(%b, %c)\n call @copy(%c, %out)\n" \
  "}\n" COPY

/// Rows of %a are 32 elements apart: its last one ends 8 elements before the bytes of all rows do.
#define ROWS(arena, b)                                                            \
  "program @p {\n arena " arena "\n buffer %x : f32[N = 4, D = 24] param 0\n"     \
  " buffer %out : f32[N = 4, D = 24] output 0\n"                                  \
  " buffer %a : f32[N = 4, D = 24] strides [32, 1] temp at 0\n"                   \
  " buffer %b : f32[M = 16] temp at " b                                           \
  "\n host @f(%x, %a)\n host @g(%a, %b)\n host @h(%b, %out)\n}\n"

/// The places of %b and %c are that of %a cut in two, once it is dead.
#define SPLIT                                                                     \
  "program @p {\n arena 8960\n buffer %x : f32[N = 4] param 0\n"                  \
  " buffer %out : f32[N = 4] output 0\n buffer %a : f32[M = 1600] temp at 0\n"    \
  " buffer %b : f32[K = 960] temp at 0\n buffer %c : f32[L = 640] temp at 3840\n" \
  " buffer %d : f32[L = 640] temp at 6400\n host @f(%x, %a)\n host @f(%a, %d)\n"  \
  " host @f(%d, %b)\n host @f(%d, %c)\n host @f(%b, %c, %out)\n}\n"

Test(tile_verify, temps_that_share_a_place_in_turn) {
  static const char *const texts[] = {
      CHAIN("((N + 15) / 16)*128", "0", "((N + 15) / 16)*64", "0"),
      CHAIN("N*128", "0", "N*64", "0"),
      ROWS("576", "512"),
      SPLIT,
  };
  for (int i = 0; i < (int)(sizeof texts / sizeof *texts); i++) {
    tile_fixture f = {0};
    str report;
    cr_assert(tile_fixture_parse(&f, str_from(texts[i])));
    cr_expect(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
    tile_fixture_free(&f);
  }
}

Test(tile_verify, facts_of_the_program_serve_its_kernels) {
  tile_fixture f = {0};
  str report;
  cr_assert(tile_fixture_parse(&f, STR("program @p(N) {\n size N where N % 6 == 0\n"
                                       " arena N / 6 * 128 + 64\n buffer %x : f32[N] param 0\n"
                                       " buffer %out : f32[N] output 0\n"
                                       " buffer %t : f32[M = N / 6, K = 6] temp at 0\n"
                                       " call @copy(%x, %out)\n}\n" COPY_EVEN)));
  cr_expect(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
  tile_fixture_free(&f);
}

Test(tile_verify, programs) {
  static const wrong cases[] = {
      {BUFFERS " call @copy(%x)\n}\n" COPY, "@copy gets 1 buffers, not 2"},
      {BUFFERS " call @copy(%m, %out)\n}\n" COPY, "@copy: argument x and buffer m differ in size"},
      {BUFFERS " call @copy(%d, %out)\n}\n" COPY, "@copy: argument x and buffer d differ in type"},
      {BUFFERS " call @copy(%r, %out)\n}\n" COPY,
       "@copy: argument x and buffer r differ in stride"},
      {BUFFERS " call @copy(%s, %out)\n}\n" COPY, "@copy: argument x and buffer s differ in rank"},
      {BUFFERS " call @copy(%t, %out)\n}\n" COPY, "copy reads buffer t before it is written"},
      {BUFFERS " host @f(%t, %out)\n}\n" COPY, "f reads buffer t before it is written"},
      {BUFFERS " call @copy(%x, %x)\n}\n" COPY, "copy writes the param x"},
      {BUFFERS " call @copy(%x, %out)\n call @copy(%out, %out)\n}\n" COPY,
       "copy gets buffer out twice and writes it"},
      {BUFFERS " host @f()\n}\n" COPY, "@f gets 0 buffers, not 1"},
      {BUFFERS " call @copy(%x, %t)\n}\n" COPY, "output out is never written"},
      {BUFFERS " call @copy(%x, %out)\n}\n" COPY COPY, "two kernels are called @copy"},
      {"program @p(N) {\n buffer %out : f32[N] output 0\n buffer %x : f32[N] param 0\n"
       " call @copy(%x, %out)\n}\n" COPY,
       "buffer out is not in its place"},
      {BUFFERS " call @copy(%x, %out)\n}\n" COPY_OF_K, "@copy uses the size K, which the program does"
                                                      " not have"},
      {BUFFERS " call @copy(%x, %out)\n}\n" COPY_EVEN,
       "@copy takes facts of the size N that the program does not state"},
      {"program @p(N) {\n arena 64*N + 64\n buffer %x : f32[N] param 0\n buffer %out : f32[N] output 0\n"
       " buffer %t : f32[N] strides [2] temp at 0\n call @copy(%x, %out)\n}\n" COPY,
       "temp t is not row-major"},
      {CHAIN("1024", "0", "512", "0"), "temp a does not end inside of the arena"},
      {CHAIN("((N + 15) / 16)*64 + N*4", "0", "((N + 15) / 16)*64", "N*64"),
       "temp c does not end inside of the arena"},
      {CHAIN("N*256", "0", "9223372036854775744", "0"), "temp b does not end inside of the arena"},
      {CHAIN("N*256", "0 - N*64", "N*64", "0"), "temp a begins before the arena"},
      {CHAIN("N*256", "0", "N*128 - 1024", "0"), "temp b begins before the arena"},
      {CHAIN("N*256", "0", "N*64 + 4", "0"), "temp b is not aligned to 64 bytes"},
      {CHAIN("N*256", "0", "0", "N*64"), "temps b and a overlap and are live in the same step"},
      {ROWS("576", "448"), "temps b and a overlap and are live in the same step"},
      {CHAIN("N*256", "0", "((N + 14) / 16)*64", "0"),
       "temps b and a overlap and are live in the same step"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tile_fixture f = {0};
    cr_assert(tile_fixture_parse(&f, str_from(cases[i].body)), "%s", cases[i].body);
    str report;
    cr_assert_not(program_verify(f.p, &f.arena, &report), "accepted:\n%s", cases[i].body);
    str line = str_printf(&f.arena, "// %s\n", cases[i].note);
    cr_expect(strstr(report.ptr, line.ptr), "expected \"%s\" in\n%s", cases[i].note, report.ptr);
    tile_fixture_free(&f);
  }
}

Test(tile_verify, sites_of_steps) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "gather_check.tile");
  f.p->steps.data[0].nsites = 0;
  str report;
  cr_assert_not(program_verify(f.p, &f.arena, &report));
  cr_expect(str_starts(report, STR("// @embed.0 has 1 check sites, the step 0\n")), "%s",
            report.ptr);
  tile_fixture_free(&f);
}
