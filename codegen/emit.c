// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Helpers of every emitter: element types, splats, constants, intrinsics.
#include "codegen/emit.h"

#include <llvm-c/Analysis.h>

#include "base/fault.h"

void emit_types(emit *e) {
  LLVMContextRef c = e->context;
  e->i1 = LLVMInt1TypeInContext(c);
  e->i8 = LLVMInt8TypeInContext(c);
  e->i16 = LLVMInt16TypeInContext(c);
  e->i32 = LLVMInt32TypeInContext(c);
  e->i64 = LLVMInt64TypeInContext(c);
  e->f16 = LLVMHalfTypeInContext(c);
  e->bf16 = e->i16;
  e->f32 = LLVMFloatTypeInContext(c);
  e->f64 = LLVMDoubleTypeInContext(c);
  e->ptr = LLVMPointerTypeInContext(c, 0);
  e->void_ = LLVMVoidTypeInContext(c);
}

LLVMTypeRef emit_vec(LLVMTypeRef element, int lanes) {
  return lanes ? LLVMVectorType(element, (unsigned)lanes) : element;
}

LLVMTypeRef emit_type(emit *e, dtype t, int lanes) {
  const LLVMTypeRef element[DT_COUNT] = {
      [DT_f64] = e->f64, [DT_f32] = e->f32, [DT_f16] = e->f16, [DT_bf16] = e->bf16,
      [DT_i64] = e->i64, [DT_i32] = e->i32, [DT_i16] = e->i16, [DT_i8] = e->i8,
      [DT_u64] = e->i64, [DT_u32] = e->i32, [DT_u16] = e->i16, [DT_u8] = e->i8,
      [DT_bool] = e->i1,
  };
  return emit_vec(element[t], lanes);
}

int emit_lanes(LLVMTypeRef type) {
  return LLVMGetTypeKind(type) == LLVMVectorTypeKind ? (int)LLVMGetVectorSize(type) : 0;
}

static LLVMValueRef constant_splat(LLVMValueRef element, int lanes) {
  enum { MOST = 256 };
  LLVMValueRef elements[MOST];
  if (!lanes) return element;
  check(lanes <= MOST);
  for (int k = 0; k < lanes; k++) elements[k] = element;
  return LLVMConstVector(elements, (unsigned)lanes);
}

static LLVMTypeRef element_of(LLVMTypeRef type) {
  return emit_lanes(type) ? LLVMGetElementType(type) : type;
}

LLVMValueRef emit_int(LLVMTypeRef type, int64_t v) {
  LLVMTypeRef element = element_of(type);
  check(LLVMGetTypeKind(element) == LLVMIntegerTypeKind);
  return constant_splat(LLVMConstInt(element, (unsigned long long)v, true), emit_lanes(type));
}

LLVMValueRef emit_float(LLVMTypeRef type, double v) {
  return constant_splat(LLVMConstReal(element_of(type), v), emit_lanes(type));
}

LLVMValueRef emit_splat(emit *e, LLVMValueRef scalar, int lanes) {
  if (!lanes) return scalar;
  if (LLVMIsConstant(scalar) && !LLVMIsPoison(scalar)) return constant_splat(scalar, lanes);
  LLVMTypeRef type = emit_vec(LLVMTypeOf(scalar), lanes);
  LLVMValueRef poison = LLVMGetPoison(type);
  LLVMValueRef first =
      LLVMBuildInsertElement(e->builder, poison, scalar, LLVMConstInt(e->i32, 0, false), "");
  LLVMValueRef zeros = LLVMConstNull(emit_vec(e->i32, lanes));
  return LLVMBuildShuffleVector(e->builder, first, poison, zeros, "");
}

LLVMValueRef emit_intrinsic(emit *e, const char *name, LLVMTypeRef *types, int ntypes,
                            LLVMValueRef *args, int nargs) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  if (!id) panic("LLVM has no intrinsic %s", name);
  LLVMValueRef f = LLVMGetIntrinsicDeclaration(e->module, id, types, (size_t)ntypes);
  LLVMTypeRef type = LLVMIntrinsicGetType(e->context, id, types, (size_t)ntypes);
  return LLVMBuildCall2(e->builder, type, f, args, (unsigned)nargs, "");
}

void emit_verify(emit *e, str name) {
  char *text = NULL;
  bool broken = LLVMVerifyModule(e->module, LLVMReturnStatusAction, &text);
  str copy = str_dup(e->arena, str_from(text ? text : ""));
  LLVMDisposeMessage(text);
  if (broken) panic("LLVM IR of %.*s: %.*s", STR_FMT(name), STR_FMT(copy));
}
