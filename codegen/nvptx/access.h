// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Moving the elements of a tile between memory and registers, or from memory to shared memory: what
// memory.c and copy.c share.
#pragma once
#include "codegen/nvptx/nvptx.h"
#include "codegen/nvptx/ptx.h"

typedef struct access {
  const tstmt *s;
  int buf;
  bool local;
  dtype type;
  shape shape;   // of what moves
  ix offset;     // elements, over kernel axes; direct part
  int along;     // axis of the vectors, -1 none
  int width;     // elements
  bool partial;  // vectors may be valid in part
  bool empty;    // the argument may have no elements
  bool unaligned;  // loads: vectors are unaligned, see unaligned.c
  bool direct;     // does not pass registers, where vectors could be shifted
} access;

ix access_offset(ngen *g, const tstmt *s, int buf);
/// Sets along and width.
void access_vectors(ngen *g, access *a);
/// Narrows *some (*all) to where some (every) element of the vector at g->at is valid. False when
/// none ever is.
bool access_alive(ngen *g, const access *a, lval *some, lval *all);
/// Of the element at g->at.
lval access_pointer(ngen *g, const access *a);
access access_of_load(ngen *g, const tstmt *load);
/// The vector that begins at g->at, to its places among the registers of the load's result.
void access_load(ngen *g, const access *a, lval *regs);
/// Of a load from memory that the kernel does not write.
void access_mark_constant(ngen *g, const access *a, lval load);
/// The elements of the vector at g->at one by one, invalid ones from the buffer's first element.
void access_load_singly(ngen *g, const access *a, lval *out);
/// n elements as they lie in memory, as words where they fill some; and back.
lval access_pack(ngen *g, dtype t, const lval *in, int n);
void access_unpack(ngen *g, const access *a, lval x, lval *out);

// ---- unaligned.c
/// Whether a load whose vectors are `natural` elements long by alignment is better made so.
bool unaligned_pays(const access *a, int natural);
/// 16 bytes at the pointer; where not `inside`, what is beside them may lie outside of the buffer.
void load_unaligned(ngen *g, const access *a, lval pointer, lval inside, lval *out);

/// Two 16-bit elements to a word. A vector of halves, so that two conversions become one.
lval nv_pack_pair(ngen *g, dtype t, lval low, lval high);
