// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Unaligned vectors of 16 bytes: the two aligned vectors in which they lie, shifted.
//
//   memory    | . . . a b c d e | f g h . . . . . |     8 elements of 16 bits
//   loaded            a b c d e   f g h
//
// One element at a time would be eight loads of the same lines, and eight places to wait for.
#include "base/fault.h"
#include "codegen/nvptx/access.h"

enum { VECTOR = 16, WORDS = VECTOR / 4 };

bool unaligned_pays(const access *a, int natural) {
  enum { WORD = 4 };
  return a->s->kind == TILE_LOAD && !a->local && !a->direct && dtype_bytes(a->type) <= WORD &&
         natural * dtype_bytes(a->type) <= WORD;
}

/// Both aligned vectors: where the pointer is aligned, the same one twice.
static void load_pair(ngen *g, const access *a, lval pointer, lval shift, lval *words) {
  LLVMBuilderRef b = g->e->builder;
  LLVMTypeRef vector = emit_vec(g->e->i32, WORDS);
  lval back = LLVMBuildSExt(b, LLVMBuildNeg(b, shift, ""), g->e->i64, "");
  lval first = LLVMBuildGEP2(b, g->e->i8, pointer, &back, 1, "");
  lval up = LLVMBuildAdd(b, shift, i32_of(g, VECTOR - 1), "");
  up = LLVMBuildZExt(b, LLVMBuildAnd(b, up, i32_of(g, VECTOR), ""), g->e->i64, "");
  lval second = LLVMBuildGEP2(b, g->e->i8, first, &up, 1, "");
  for (int half = 0; half < 2; half++) {
    lval x = LLVMBuildLoad2(b, vector, half ? second : first, "");
    LLVMSetAlignment(x, VECTOR);
    access_mark_constant(g, a, x);
    for (int i = 0; i < WORDS; i++)
      words[half * WORDS + i] = LLVMBuildExtractElement(b, x, i32_of(g, i), "");
  }
}

/// words[0..] moved down by `by` words where the bit of the shift is set; n are of interest.
static void move_down(ngen *g, lval shift, int bit, int by, lval *words, int n) {
  LLVMBuilderRef b = g->e->builder;
  lval set = LLVMBuildAnd(b, shift, i32_of(g, bit), "");
  set = LLVMBuildICmp(b, LLVMIntNE, set, i32_of(g, 0), "");
  for (int i = 0; i < n; i++) words[i] = LLVMBuildSelect(b, set, words[i + by], words[i], "");
}

/// The 16 bytes from byte `shift` (0..15) of two vectors on, in words[0..3].
static void shift_down(ngen *g, lval shift, int element_bytes, lval *words) {
  LLVMBuilderRef b = g->e->builder;
  move_down(g, shift, 8, 2, words, WORDS + 2);
  move_down(g, shift, 4, 1, words, WORDS + 1);
  if (element_bytes == 4) return;
  lval bits = LLVMBuildAnd(b, shift, i32_of(g, 3), "");
  bits = LLVMBuildShl(b, bits, i32_of(g, 3), "");
  for (int i = 0; i < WORDS; i++) {
    lval args[] = {words[i + 1], words[i], bits};
    words[i] = emit_intrinsic(g->e, "llvm.fshr", &g->e->i32, 1, args, 3);
  }
}

static lval pack_words(ngen *g, const lval *words) {
  lval x = LLVMGetPoison(emit_vec(g->e->i32, WORDS));
  for (int i = 0; i < WORDS; i++)
    x = LLVMBuildInsertElement(g->e->builder, x, words[i], i32_of(g, i), "");
  return x;
}

/// The shifting comes after the branches, so that the loads of several vectors are under way at
/// once.
void load_unaligned(ngen *g, const access *a, lval pointer, lval inside, lval *out) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef whole = nv_block(g), single = nv_block(g), after = nv_block(g);
  lval words[2 * WORDS], parts[VECTOR];
  lval address = LLVMBuildPtrToInt(b, pointer, g->e->i64, "");
  lval shift = LLVMBuildTrunc(b, address, g->e->i32, "");
  shift = LLVMBuildAnd(b, shift, i32_of(g, VECTOR - 1), "");
  LLVMBuildCondBr(b, inside, whole, single);
  LLVMPositionBuilderAtEnd(b, whole);
  load_pair(g, a, pointer, shift, words);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, single);
  int mark = scope_open(g);
  access_load_singly(g, a, parts);
  lval alone = access_pack(g, a->type, parts, a->width);
  alone = LLVMBuildBitCast(b, alone, emit_vec(g->e->i32, WORDS), "");
  scope_close(g, mark);
  LLVMBasicBlockRef from[] = {whole, LLVMGetInsertBlock(b)};
  lval alone_words[2 * WORDS];
  for (int i = 0; i < 2 * WORDS; i++)
    alone_words[i] =
        i < WORDS ? LLVMBuildExtractElement(b, alone, i32_of(g, i), "") : i32_of(g, 0);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, after);
  for (int i = 0; i <= 2 * WORDS; i++) {
    lval phi = LLVMBuildPhi(b, g->e->i32, "");
    bool is_shift = i == 2 * WORDS;
    lval values[] = {is_shift ? shift : words[i], is_shift ? i32_of(g, 0) : alone_words[i]};
    LLVMAddIncoming(phi, values, from, 2);
    if (is_shift) shift = phi;
    else words[i] = phi;
  }
  shift_down(g, shift, dtype_bytes(a->type), words);
  access_unpack(g, a, pack_words(g, words), out);
}
