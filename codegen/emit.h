// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The builder state that every emitter shares: LLVM handles, types, and what the target can do.
// Only files under codegen/ include LLVM headers.
#pragma once
#include <llvm-c/Core.h>

#include "base/arena.h"
#include "ir/op.h"
#include "ir/target.h"

struct program;

typedef enum emit_arch { ARCH_X86, ARCH_NVPTX, ARCH_OTHER } emit_arch;

typedef bool emit_called[2];  // of f32, of f64

typedef struct emit {
  LLVMContextRef context;
  LLVMModuleRef module;
  LLVMBuilderRef builder;
  arena *arena;
  emit_arch arch;
  // x86 features (all false elsewhere)
  bool avx512;   // F, BW, DQ, VL
  bool avx2;     // with FMA
  bool avx512_bf16, avx512_fp16, f16c;
  bool is_long;  // CPUs: the program is, so that loops have no second copies of their bodies
  const target_info *target;  // GPUs
  bool fast_math;
  bool deterministic;  // functions are the same for every number of lanes and in every kernel
  bool coarse;    // GPUs: short functions that lose a few ulp of f32
  bool fused_multiply_add;  // GPUs: a product and a sum may become one multiply-add
  emit_called
      *called;  // by op: functions that are called, not made where they are used; null: none
  LLVMTypeRef i1, i8, i16, i32, i64, f16, bf16, f32, f64, ptr, void_;
} emit;

/// Sets the types from e->context: f16 is half, bf16 its bits in an i16.
void emit_types(emit *e);
/// The module is well formed, or that is our fault.
void emit_verify(emit *e, str name);
/// In-register element type: bool is i1, u8 is i8, u16 i16, ...; lanes 0 is the scalar type.
LLVMTypeRef emit_type(emit *e, dtype t, int lanes);
LLVMTypeRef emit_vec(LLVMTypeRef element, int lanes);
int emit_lanes(LLVMTypeRef type);  // 0 for scalars
LLVMValueRef emit_int(LLVMTypeRef scalar_or_vector, int64_t v);
LLVMValueRef emit_float(LLVMTypeRef scalar_or_vector, double v);
LLVMValueRef emit_splat(emit *e, LLVMValueRef scalar, int lanes);
/// Calls an LLVM intrinsic overloaded on `types`; panics when LLVM does not know the name.
LLVMValueRef emit_intrinsic(emit *e, const char *name, LLVMTypeRef *types, int ntypes,
                            LLVMValueRef *args, int nargs);

/// Emits a map op on scalars or vectors (all operands alike) of the operand type `t` giving
/// `result`: arithmetic, comparisons, where, casts between all types, and the float functions
/// inline (codegen/math.c). Never a library call; a branch only on GPUs (f32 sine and cosine of
/// large arguments), so that the builder may be in another block afterwards.
LLVMValueRef emit_map(emit *e, op o, dtype t, dtype result, LLVMValueRef *in, int nin);
/// A float function of n scalars at once (0: asks), which look together for arguments that are rare
/// and take a branch. False: it has none on the target.
bool emit_math_many(emit *e, op o, dtype t, const LLVMValueRef *in, LLVMValueRef *out, int n);
/// Long functions that the program's kernels use so often that one body each, which is called, takes
/// much less time to compile than a copy in each place. The values are the same.
void emit_choose_called(emit *e, const struct program *p);
/// Combine step of reductions: add mul min max and or (min, max: NaN if either is NaN).
LLVMValueRef emit_combine(emit *e, op o, dtype t, LLVMValueRef a, LLVMValueRef b);

/// Stated bound of a float function in units in the last place of t, and its domain text, for
/// docs and tests; 0.5 is correctly rounded.
double math_ulp_bound(op o, dtype t);
