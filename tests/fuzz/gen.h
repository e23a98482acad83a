// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Random valid programs. A program is a list of values, each an expression over earlier ones, so
// that a failing one can be shrunk by cutting values out; gen_print() writes it as .tdsl text.
//
//   fn f(p0: f32[A, B = 17], p1: i32[C]) -> (f32[A], f32[B, C]) {
//     let v2 = exp(min(p0, 3.0))
//     ...
//     return (v7, v9)
//   }
//
// Some statements may be under a contract, `fuse { }` or `fuse stream(A) { }`, which holds or is refused.
//
// Every value carries a bound of its magnitude and of the difference that two correct evaluations
// may show (error analysis, one rule per operation). Operations that jump (comparisons, floor,
// casts to integers, argmax) are only applied to values that must agree exactly, and arguments
// are kept where no NaN or infinity arises. So the comparison's tolerance is sound by construction.
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum { GEN_AXES = 40, GEN_VALUES = 96, GEN_RANK = 6, GEN_INPUTS = 3, GEN_ELEMENTS = 6000 };

typedef enum gen_type {
  GEN_F64,
  GEN_F32,
  GEN_F16,
  GEN_BF16,
  GEN_I64,
  GEN_I32,
  GEN_I16,
  GEN_I8,
  GEN_U8,
  GEN_BOOL,
  GEN_U64,
  GEN_U32,
  GEN_U16
} gen_type;

typedef struct gen_axis {
  char name[16];
  int size;
  bool symbolic;  // the signature leaves the size open
  bool pinned;    // some expression depends on this very size
} gen_axis;

typedef struct gen_value {
  bool param;
  gen_type type;
  int rank, axes[GEN_RANK];
  int nin, in[GEN_INPUTS];
  char text[256];      // expression; $0, $1, $2 are the inputs
  bool annotated;      // written with its type, which fixes the storage order
  double magnitude;    // no element is larger in magnitude
  double error;        // two correct evaluations differ by at most this; 0: never
  int limit;           // integers: elements are in [0, limit) when not 0
  bool cut;            // shrinking turned it into a parameter
} gen_value;

typedef struct gen_program {
  uint64_t seed;
  bool smooth;  // floats are f32 and have derivatives, but for a set of points of no size
  gen_axis axes[GEN_AXES];
  int naxes;
  gen_value values[GEN_VALUES];
  int nvalues;
  int outputs[4], noutputs;
  // Statements under a contract: those from `first` up to `last`, along an axis or (-1) none. None: last < 0.
  int block_first, block_last, block_axis;
} gen_program;

void gen_make(uint64_t seed, gen_program *p);
void gen_make_smooth(uint64_t seed, gen_program *p);
/// Writes the program, at most `size` bytes with the final null; parameters that no output needs
/// are left out. Returns the length.
int gen_print(const gen_program *p, char *text, int size);
/// Parts of that: parameters in parentheses, from `p0: f32[A, B = 17]` on; the statement of a value, whose
/// expression is `text`. Each gives what snprintf does.
int gen_print_params(const gen_program *p, char *text, int size);
int gen_print_statement(const gen_program *p, int value, const char *expression, char *text, int size);
/// needed[i]: value i is an output or an input of a needed value.
void gen_needed(const gen_program *p, bool *needed);

int gen_type_bytes(gen_type t);
const char *gen_type_name(gen_type t);
bool gen_is_float(gen_type t);
bool gen_is_unsigned(gen_type t);  // an integer without sign
int64_t gen_elements(const gen_program *p, const gen_value *v);
/// Random elements of a parameter within its magnitude (normal, or integers), in memory format.
/// Depends on the program's seed and the value's number only.
void gen_fill(const gen_program *p, int value, void *data);
/// Element i of an array as a double.
double gen_read(gen_type t, const void *data, int64_t i);

uint64_t gen_random(uint64_t *state);  // splitmix64 (Steele, Lea, Flood 2014)
