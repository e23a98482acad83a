// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Matrix instructions: ldmatrix, stmatrix, mma.sync, wgmma.
//
// wgmma has no intrinsic. Its accumulators are outputs of an inline statement tied to inputs, which
// LLVM puts in one register each, through loops too, without moves:
//
//   { .reg .pred p; setp.ne.b32 p, $130, 0;
//     wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {$0, ..., $63}, $128, $129, p, 1, 1, 0, 1; }
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/str.h"
#include "base/vec.h"
#include "codegen/nvptx/ptx.h"

static lval element(emit *e, lval aggregate, int i) {
  return LLVMBuildExtractValue(e->builder, aggregate, (unsigned)i, "");
}

// ---- 8 x 8 matrices

static const char *matrix_name(char *buffer, size_t size, const char *which, int n,
                               bool transposed) {
  check(n == 1 || n == 2 || n == 4);
  snprintf(buffer, size, "llvm.nvvm.%s.sync.aligned.m8n8.x%d%s.b16", which, n,
           transposed ? ".trans" : "");
  return buffer;
}

void ptx_ldmatrix(emit *e, lval address, int n, bool transposed, lval *out) {
  char name[64];
  check(ptx_has(e, PTX_CP_ASYNC));
  lval p = ptx_shared(e, address);
  LLVMTypeRef type = LLVMTypeOf(p);
  lval r =
      emit_intrinsic(e, matrix_name(name, sizeof name, "ldmatrix", n, transposed), &type, 1, &p, 1);
  for (int i = 0; i < n; i++) out[i] = n == 1 ? r : element(e, r, i);
}

void ptx_stmatrix(emit *e, lval address, int n, bool transposed, const lval *in) {
  char name[64];
  check(ptx_has(e, PTX_TMA));
  lval args[5] = {ptx_shared(e, address)};
  LLVMTypeRef type = LLVMTypeOf(args[0]);
  for (int i = 0; i < n; i++) args[1 + i] = in[i];
  emit_intrinsic(e, matrix_name(name, sizeof name, "stmatrix", n, transposed), &type, 1, args,
                 n + 1);
}

// ---- mma.sync

void ptx_mma(emit *e, dtype t, lval *acc, const lval *a, const lval *b) {
  check(ptx_has(e, PTX_CP_ASYNC) && (t == DT_f16 || t == DT_bf16 || t == DT_f32));
  const char *name = t == DT_f16    ? "llvm.nvvm.mma.m16n8k16.row.col.f32.f32"
                     : t == DT_bf16 ? "llvm.nvvm.mma.m16n8k16.row.col.bf16"
                                    : "llvm.nvvm.mma.m16n8k8.row.col.tf32";
  lval args[10];
  LLVMTypeRef pair = LLVMVectorType(e->f16, 2);
  for (int i = 0; i < 6; i++) {
    lval v = i < 4 ? a[i] : b[i - 4];
    args[i] = t == DT_f16 ? LLVMBuildBitCast(e->builder, v, pair, "") : v;
  }
  for (int i = 0; i < 4; i++) args[6 + i] = acc[i];
  lval r = emit_intrinsic(e, name, NULL, 0, args, 10);
  for (int i = 0; i < 4; i++) acc[i] = element(e, r, i);
}

lval ptx_to_tf32(emit *e, lval bits) {
  check(ptx_has(e, PTX_CP_ASYNC));
  lval f = LLVMBuildBitCast(e->builder, bits, e->f32, "");
  return emit_intrinsic(e, "llvm.nvvm.f2tf32.rna", NULL, 0, &f, 1);
}

// ---- inline statements

/// An inline statement: outputs, then inputs tied to them one by one, then further inputs.
typedef struct statement {
  strbuf text, constraints;
  vec(lval) args;
  vec(LLVMTypeRef) outputs;
} statement;

static const char *register_class(emit *e, lval v) {
  LLVMTypeRef type = LLVMTypeOf(v);
  check(type == e->f32 || type == e->i32 || type == e->i64);
  return type == e->f32 ? "f" : type == e->i32 ? "r" : "l";
}

static statement statement_new(emit *e, const lval *tied, int n) {
  statement s = {.text = sb_new(e->arena), .constraints = sb_new(e->arena)};
  for (int i = 0; i < n; i++) {
    sb_printf(&s.constraints, "=%s,", register_class(e, tied[i]));
    vec_push(e->arena, &s.outputs, LLVMTypeOf(tied[i]));
  }
  for (int i = 0; i < n; i++) {
    sb_printf(&s.constraints, "%d,", i);
    vec_push(e->arena, &s.args, tied[i]);
  }
  return s;
}

/// Its number in the text.
static int statement_input(emit *e, statement *s, lval v) {
  sb_printf(&s->constraints, "%s,", register_class(e, v));
  vec_push(e->arena, &s->args, v);
  return s->outputs.len + s->args.len - 1;
}

/// Writes the outputs over `tied`.
static void statement_end(emit *e, statement *s, lval *tied) {
  int nargs = s->args.len, n = s->outputs.len;
  LLVMTypeRef *types = arena_array(e->arena, LLVMTypeRef, nargs + 1);
  for (int i = 0; i < nargs; i++) types[i] = LLVMTypeOf(s->args.data[i]);
  LLVMTypeRef result =
      n == 0   ? e->void_
      : n == 1 ? s->outputs.data[0]
               : LLVMStructTypeInContext(e->context, s->outputs.data, (unsigned)n, false);
  LLVMTypeRef type = LLVMFunctionType(result, types, (unsigned)nargs, false);
  sb_puts(&s->constraints, "~{memory}");
  str text = sb_str(&s->text), constraints = sb_str(&s->constraints);
  lval code =
      LLVMGetInlineAsm(type, text.ptr, (size_t)text.len, constraints.ptr, (size_t)constraints.len,
                       true, false, LLVMInlineAsmDialectATT, false);
  lval call = LLVMBuildCall2(e->builder, type, code, s->args.data, (unsigned)nargs, "");
  static const char *const attributes[] = {"convergent", "nounwind"};
  for (int i = 0; i < 2; i++) {
    unsigned kind = LLVMGetEnumAttributeKindForName(attributes[i], strlen(attributes[i]));
    LLVMAddCallSiteAttribute(call, LLVMAttributeFunctionIndex,
                             LLVMCreateEnumAttribute(e->context, kind, 0));
  }
  for (int i = 0; i < n; i++) tied[i] = n == 1 ? call : element(e, call, i);
}

static void registers_text(strbuf *b, int first, int n) {
  sb_puts(b, "{");
  for (int i = 0; i < n; i++) sb_printf(b, "%s$%d", i ? "," : "", first + i);
  sb_puts(b, "}");
}

// ---- wgmma

lval ptx_wgmma_descriptor(emit *e, lval address, int leading) {
  enum { STRIDE = 1024, SWIZZLE_128 = 1 };  // 8 rows of 128 bytes
  LLVMBuilderRef b = e->builder;
  lval low = LLVMBuildAnd(b, address, emit_int(e->i32, 0x3FFFF), "");
  low = LLVMBuildLShr(b, low, emit_int(e->i32, 4), "");
  uint64_t high =
      (uint64_t)(leading >> 4) << 16 | (uint64_t)(STRIDE >> 4) << 32 | (uint64_t)SWIZZLE_128 << 62;
  return LLVMBuildOr(b, LLVMBuildZExt(b, low, e->i64, ""), emit_int(e->i64, (int64_t)high), "");
}

void ptx_wgmma(emit *e, dtype t, int n, lval *acc, wgmma_a a, lval b, wgmma_major b_major,
               lval keep) {
  check(ptx_has(e, PTX_WGMMA) && n % 8 == 0 && n >= 8 && n <= 256);
  check(t == DT_f16 || t == DT_bf16 ||
        (t == DT_f32 && a.major == WGMMA_K_MAJOR && b_major == WGMMA_K_MAJOR));
  const char *type = t == DT_f16 ? "f16" : t == DT_bf16 ? "bf16" : "tf32";
  statement s = statement_new(e, acc, n / 2);
  int at_a = 0;
  if (a.descriptor) {
    at_a = statement_input(e, &s, a.descriptor);
  } else {
    at_a = statement_input(e, &s, a.fragment[0]);
    for (int i = 1; i < 4; i++) statement_input(e, &s, a.fragment[i]);
  }
  int at_b = statement_input(e, &s, b), at_keep = statement_input(e, &s, keep);
  sb_printf(&s.text,
            "{ .reg .pred p; setp.ne.b32 p, $%d, 0; "
            "wgmma.mma_async.sync.aligned.m64n%dk%d.f32.%s.%s ",
            at_keep, n, t == DT_f32 ? 8 : 16, type, type);
  registers_text(&s.text, 0, n / 2);
  if (a.descriptor) {
    sb_printf(&s.text, ", $%d", at_a);
  } else {
    sb_puts(&s.text, ", ");
    registers_text(&s.text, at_a, 4);
  }
  sb_printf(&s.text, ", $%d, p, 1, 1", at_b);
  if (t != DT_f32 && a.descriptor) sb_printf(&s.text, ", %d", a.major == WGMMA_MN_MAJOR);
  if (t != DT_f32) sb_printf(&s.text, ", %d", b_major == WGMMA_MN_MAJOR);
  sb_puts(&s.text, "; }");
  statement_end(e, &s, acc);
}

lval ptx_copy(emit *e, lval v) {
  statement s = {.text = sb_new(e->arena), .constraints = sb_new(e->arena)};
  sb_printf(&s.constraints, "=%s,", register_class(e, v));
  vec_push(e->arena, &s.outputs, LLVMTypeOf(v));
  sb_printf(&s.text, "mov.b%d $0, $%d;", LLVMTypeOf(v) == e->i64 ? 64 : 32,
            statement_input(e, &s, v));
  statement_end(e, &s, &v);
  return v;
}

void ptx_wgmma_fence(emit *e) {
  check(ptx_has(e, PTX_WGMMA));
  emit_intrinsic(e, "llvm.nvvm.wgmma.fence.sync.aligned", NULL, 0, NULL, 0);
}

void ptx_wgmma_commit(emit *e) {
  check(ptx_has(e, PTX_WGMMA));
  emit_intrinsic(e, "llvm.nvvm.wgmma.commit_group.sync.aligned", NULL, 0, NULL, 0);
}

void ptx_wgmma_wait(emit *e, int pending, lval *registers, int n) {
  check(ptx_has(e, PTX_WGMMA));
  statement s = statement_new(e, registers, n);
  sb_printf(&s.text, "wgmma.wait_group.sync.aligned %d;", pending);
  statement_end(e, &s, registers);
}
