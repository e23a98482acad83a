// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loads and stores of tiles, in vectors of up to 16 bytes where the layout's innermost register digit
// runs along the unit stride.
#include "base/fault.h"
#include "codegen/nvptx/access.h"

enum { VECTOR_BYTES = 16 };

static LLVMTypeRef memory_type(ngen *g, dtype t) {
  return t == DT_bool ? g->e->i8 : emit_type(g->e, t, 0);
}

lval nv_zero(ngen *g, dtype t) { return LLVMConstNull(emit_type(g->e, t, 0)); }

// ---- accesses

static ix placed(ngen *g, ix e) {
  int n = g->k->axes.len;
  ix *by = arena_array(g->arena, ix, n + 1);
  for (int axis = 0; axis < n; axis++)
    if (g->ranges[axis] && ix_uses_axis(&g->ix, e, axis)) by[axis] = nv_coordinate(g, axis);
  return ix_substitute(&g->ix, &g->ix, e, by, n);
}

/// Along an axis that a cluster shares a block keeps its part alone.
static ix placed_local(ngen *g, int axis, ix e) {
  const range *r = g->ranges[axis];
  bool shared = r && nv_blocks_along(g, axis, r->extent) > 1;
  return shared ? nv_local_coordinate(g, axis) : placed(g, e);
}

ix access_offset(ngen *g, const tstmt *s, int buf) {
  const tile_buf *t = &g->k->bufs.data[buf];
  ix sum = ix_const(&g->ix, 0);
  if (t->local) {
    const local_place *p = &g->locals[buf];
    for (int i = 0; i < t->rank; i++) {
      int64_t stride = t->panel > 0 && i == t->panel_dim ? 1 : p->strides[i];
      sum = ix_add(&g->ix, sum, ix_scale(&g->ix, ix_sub(&g->ix, s->ix[i], p->base[i]), stride));
    }
    return sum;
  }
  for (int i = 0; i < t->rank; i++)
    sum = ix_add(&g->ix, sum, ix_mul(&g->ix, s->ix[i], t->strides[i]));
  return sum;
}

static bool moves_indirectly(const tstmt *s, int rank, int axis) {
  for (int i = 0; i < rank; i++)
    if (s->indirect && s->indirect[i] >= 0 &&
        tval_extent(s->in[s->indirect[i]], axis))
      return true;
  return false;
}

/// Elements of a vector that the layout allows.
static int run_width(ngen *g, const access *a, int axis) {
  int width = spread_of(g, axis, g->ranges[axis]->extent)->run, bytes = dtype_bytes(a->type);
  while (width & (width - 1)) width &= width - 1;
  return width * bytes > VECTOR_BYTES ? VECTOR_BYTES / bytes : width;
}

/// Elements of a vector that the offsets' known divisors and the valid ends allow.
static int vector_width(ngen *g, const access *a, int axis) {
  const tile_buf *t = &g->k->bufs.data[a->buf];
  int bytes = dtype_bytes(a->type), width = run_width(g, a, axis);
  for (int i = 0; i < a->shape.naxes; i++) g->at[a->shape.axes[i]] = 0;
  int64_t d = ix_divisor(&g->ix, placed(g, a->offset));
  // Other registers differ by the steps of the other axes.
  for (int reg = 0; reg < a->shape.nregs; reg += 1) {
    nv_enter(g, &a->shape, reg);
    if (g->at[axis] % width) continue;
    d = ix_gcd(d, ix_divisor(&g->ix, placed(g, a->offset)));
  }
  for (int i = 0; i < t->rank; i++)
    if (!t->local && a->s->indirect && a->s->indirect[i] >= 0)
      d = ix_gcd(d, ix_divisor(&g->ix, t->strides[i]));
  while (width > 1 && d % width) width /= 2;
  if (t->swizzle)
    while (width * bytes > 16) width /= 2;
  return width;
}

void access_vectors(ngen *g, access *a) {
  const tile_buf *t = &g->k->bufs.data[a->buf];
  a->along = -1;
  a->width = 1;
  if (a->s->guard) return;
  for (int i = 0; i < a->shape.naxes; i++) {
    int axis = a->shape.axes[i];
    const range *r = g->ranges[axis];
    ix coef, rest;
    int64_t one;
    if (!r || a->shape.on[i]->run < 2 || a->shape.on[i]->extent != r->extent) continue;
    if (!ix_affine(&g->ix, a->offset, axis, &coef, &rest)) continue;
    if (!ix_is_const(&g->ix, coef, &one) || one != 1) continue;
    if (moves_indirectly(a->s, t->rank, axis)) continue;
    int width = vector_width(g, a, axis), most = run_width(g, a, axis);
    bool unaligned = most * dtype_bytes(a->type) == VECTOR_BYTES && unaligned_pays(a, width);
    if (unaligned) width = most;
    if (width <= a->width) continue;
    a->width = width;
    a->along = axis;
    a->unaligned = unaligned;
    int64_t ends = ix_divisor(&g->ix, g->k->axes.data[axis].size);
    a->partial = !r->whole && (ends % width || ix_divisor(&g->ix, r->base) % width);
  }
}

static lval indirect_value(ngen *g, const tval *t) {
  lval v = nv_at(g, t);
  return emit_map(g->e, OP_cast, t->type, DT_i64, &v, 1);
}

lval access_pointer(ngen *g, const access *a) {
  LLVMBuilderRef b = g->e->builder;
  const tile_buf *t = &g->k->bufs.data[a->buf];
  const tstmt *s = a->s;
  if (a->local) {
    ix coords[MAX_AXES];
    for (int i = 0; i < t->rank; i++) coords[i] = placed_local(g, t->local_axes[i], s->ix[i]);
    return nv_local_pointer(g, a->buf, coords);
  }
  ix e = placed(g, a->offset), rest = e;
  int64_t displacement = 0;
  ix_node n = *ix_get(&g->ix, e);
  if (n.kind == IX_CONST) displacement = n.value;
  if (n.kind == IX_SUM && n.terms[n.nterms - 1].natoms == 0) displacement = n.terms[n.nterms - 1].coef;
  rest = ix_sub(&g->ix, e, ix_const(&g->ix, displacement));
  lval at = nv_ix64(g, rest);
  for (int i = 0; i < t->rank; i++)
    if (s->indirect && s->indirect[i] >= 0) {
      lval v = indirect_value(g, s->in[s->indirect[i]]);
      at = LLVMBuildAdd(b, at, LLVMBuildMul(b, v, nv_ix64(g, t->strides[i]), ""), "");
    }
  LLVMTypeRef type = memory_type(g, a->type);
  lval p = LLVMBuildGEP2(b, type, g->bufs[a->buf], &at, 1, "");
  if (!displacement) return p;
  lval d = i64_of(g, displacement);
  return LLVMBuildGEP2(b, type, p, &d, 1, "");
}

// ---- packing: elements of 1 and 2 bytes travel in words of 4

static lval from_bits(ngen *g, dtype t, lval x) {
  if (t == DT_bool) return LLVMBuildTrunc(g->e->builder, x, g->e->i1, "");
  return LLVMBuildBitCast(g->e->builder, x, emit_type(g->e, t, 0), "");
}

static lval to_bits(ngen *g, dtype t, lval x) {
  if (t == DT_bool) return LLVMBuildZExt(g->e->builder, x, g->e->i8, "");
  LLVMTypeRef bits = LLVMIntTypeInContext(g->e->context, 8 * (unsigned)dtype_bytes(t));
  return LLVMBuildBitCast(g->e->builder, x, bits, "");
}

/// Words from shared memory, which LLVM would otherwise take apart into halves, with an instruction
/// more for each than shifting and masking take.
static lval keep_whole(ngen *g, lval word) {
  static const char operands[] = "=r,0";
  LLVMTypeRef type = LLVMFunctionType(g->e->i32, &g->e->i32, 1, 0);
  lval code = LLVMGetInlineAsm(type, "", 0, operands, sizeof operands - 1, 0, 0,
                               LLVMInlineAsmDialectATT, 0);
  return LLVMBuildCall2(g->e->builder, type, code, &word, 1, "");
}

void access_unpack(ngen *g, const access *a, lval x, lval *out) {
  LLVMBuilderRef b = g->e->builder;
  int bytes = dtype_bytes(a->type), n = a->width;
  lval whole = NULL;
  if (bytes >= 4) x = LLVMBuildBitCast(b, x, emit_type(g->e, a->type, n > 1 ? n : 0), "");
  for (int i = 0; i < n; i++) {
    if (bytes >= 4) {
      out[i] = n > 1 ? LLVMBuildExtractElement(b, x, i32_of(g, i), "") : x;
      continue;
    }
    int per = 4 / bytes;
    lval word = x;
    if (emit_lanes(LLVMTypeOf(x))) word = LLVMBuildExtractElement(b, x, i32_of(g, i / per), "");
    if (a->local && LLVMTypeOf(word) == g->e->i32)
      word = whole = i % per ? whole : keep_whole(g, word);
    int shift = 8 * bytes * (i % per);
    if (shift) word = LLVMBuildLShr(b, word, emit_int(LLVMTypeOf(word), shift), "");
    LLVMTypeRef bits = LLVMIntTypeInContext(g->e->context, 8 * (unsigned)bytes);
    if (LLVMTypeOf(word) != bits) word = LLVMBuildTrunc(b, word, bits, "");
    out[i] = from_bits(g, a->type, word);
  }
}

void access_mark_constant(ngen *g, const access *a, lval load) {
  if (a->local || g->k->bufs.data[a->buf].written) return;
  unsigned kind = LLVMGetMDKindIDInContext(g->e->context, "invariant.load", 14);
  LLVMMetadataRef none = LLVMMDNodeInContext2(g->e->context, NULL, 0);
  LLVMSetMetadata(load, kind, LLVMMetadataAsValue(g->e->context, none));
}

static void load_elements(ngen *g, const access *a, lval pointer, lval *out) {
  LLVMBuilderRef b = g->e->builder;
  int bytes = dtype_bytes(a->type), n = a->width;
  LLVMTypeRef type = bytes >= 4 ? emit_type(g->e, a->type, n > 1 ? n : 0)
                     : bytes * n < 4
                         ? LLVMIntTypeInContext(g->e->context, 8 * (unsigned)(bytes * n))
                         : emit_vec(g->e->i32, bytes * n / 4 > 1 ? bytes * n / 4 : 0);
  lval x = LLVMBuildLoad2(b, type, pointer, "");
  LLVMSetAlignment(x, (unsigned)(bytes * n));
  access_mark_constant(g, a, x);
  access_unpack(g, a, x, out);
}

lval nv_pack_pair(ngen *g, dtype t, lval low, lval high) {
  LLVMBuilderRef b = g->e->builder;
  LLVMTypeRef element = t == DT_bf16 ? LLVMBFloatTypeInContext(g->e->context)
                        : t == DT_f16 ? LLVMHalfTypeInContext(g->e->context) : g->e->i16;
  lval v = LLVMGetPoison(emit_vec(element, 2));
  v = LLVMBuildInsertElement(b, v, LLVMBuildBitCast(b, low, element, ""), i32_of(g, 0), "");
  v = LLVMBuildInsertElement(b, v, LLVMBuildBitCast(b, high, element, ""), i32_of(g, 1), "");
  return LLVMBuildBitCast(b, v, g->e->i32, "");
}

lval access_pack(ngen *g, dtype t, const lval *in, int n) {
  LLVMBuilderRef b = g->e->builder;
  int bytes = dtype_bytes(t);
  lval x;
  if (n == 1) {
    x = bytes < 4 ? to_bits(g, t, in[0]) : in[0];
  } else if (bytes >= 4) {
    x = LLVMGetPoison(emit_type(g->e, t, n));
    for (int i = 0; i < n; i++) x = LLVMBuildInsertElement(b, x, in[i], i32_of(g, i), "");
  } else {
    int per = 4 / bytes, words = (n + per - 1) / per;
    x = words > 1 ? LLVMGetPoison(emit_vec(g->e->i32, words)) : NULL;
    for (int w = 0; w < words; w++) {
      lval word = NULL;
      if (bytes == 2 && n - w * per >= 2) {
        word = nv_pack_pair(g, t, in[w * 2], in[w * 2 + 1]);
      } else {
        for (int i = 0; i < per && w * per + i < n; i++) {
          lval part = LLVMBuildZExt(b, to_bits(g, t, in[w * per + i]), g->e->i32, "");
          if (i) part = LLVMBuildShl(b, part, i32_of(g, 8 * bytes * i), "");
          word = word ? LLVMBuildOr(b, word, part, "") : part;
        }
      }
      x = words > 1 ? LLVMBuildInsertElement(b, x, word, i32_of(g, w), "") : word;
    }
    if (bytes * n < 4)
      x = LLVMBuildTrunc(b, x, LLVMIntTypeInContext(g->e->context, 8 * (unsigned)(bytes * n)), "");
  }
  return x;
}

/// What several instructions do together one after the other is as good.
static void add_elements(ngen *g, lval pointer, const lval *in, int n) {
  LLVMBuilderRef b = g->e->builder;
  int together = ptx_has(g->e, PTX_TMA) ? n : 1;
  for (int i = 0; i < n; i += together) {
    lval at = i64_of(g, i);
    ptx_add_to_memory(g->e, i ? LLVMBuildGEP2(b, g->e->f32, pointer, &at, 1, "") : pointer, in + i, together);
  }
}

static void store_elements(ngen *g, const access *a, lval pointer, const lval *in) {
  if (a->s->adds) return add_elements(g, pointer, in, a->width);
  unsigned bytes = (unsigned)(dtype_bytes(a->type) * a->width);
  lval x = access_pack(g, a->type, in, a->width);
  LLVMSetAlignment(LLVMBuildStore(g->e->builder, x, pointer), bytes);
}

// ---- validity

/// Narrows *ok to where the coordinates are inside the buffer; for guarded loads.
static void inside_buffer(ngen *g, const access *a, lval *ok) {
  LLVMBuilderRef b = g->e->builder;
  const tile_buf *t = &g->k->bufs.data[a->buf];
  for (int i = 0; i < t->rank; i++) {
    ix c = placed(g, a->s->ix[i]);
    bool indirect = a->s->indirect && a->s->indirect[i] >= 0;
    ix_range below = ix_bounds(&g->ix, c);
    ix_range left = ix_bounds(&g->ix, ix_sub(&g->ix, t->dims[i], c));
    if (!indirect && below.min >= 0 && left.min > 0) continue;
    lval v = nv_ix64(g, c);
    if (indirect) v = LLVMBuildAdd(b, v, indirect_value(g, a->s->in[a->s->indirect[i]]), "");
    *ok = nv_both(g, *ok, LLVMBuildICmp(b, LLVMIntULT, v, nv_ix64(g, t->dims[i]), ""));
  }
}

/// An indirect coordinate that failed its check became 0, which a buffer without elements lacks.
static void not_empty(ngen *g, const access *a, lval *ok) {
  const tile_buf *t = &g->k->bufs.data[a->buf];
  for (int i = 0; i < t->rank; i++) {
    if (!a->s->indirect || a->s->indirect[i] < 0 || ix_bounds(&g->ix, t->dims[i]).min > 0) continue;
    lval size = nv_ix64(g, t->dims[i]);
    *ok = nv_both(g, *ok, LLVMBuildICmp(g->e->builder, LLVMIntSGT, size, i64_of(g, 0), ""));
  }
}

/// Where a load that must not happen reads instead: the buffer's first element.
static lval load_anywhere(ngen *g, const access *a, lval ok, lval pointer) {
  if (!ok || (a->local && !g->locals[a->buf].ragged)) return pointer;
  lval start = a->local ? nv_local_start(g, a->buf) : g->bufs[a->buf];
  return LLVMBuildSelect(g->e->builder, ok, pointer, start, "");
}

static bool may_be_empty(ngen *g, int buf) {
  const tile_buf *t = &g->k->bufs.data[buf];
  for (int i = 0; i < t->rank; i++)
    if (ix_bounds(&g->ix, t->dims[i]).min < 1) return true;
  return false;
}

/// Loads behind a branch: where the buffer may have no element at all.
static void load_guarded(ngen *g, const access *a, lval ok, lval pointer, lval *out) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(b), inside = nv_block(g), after = nv_block(g);
  LLVMBuildCondBr(b, ok, inside, after);
  LLVMPositionBuilderAtEnd(b, inside);
  load_elements(g, a, pointer, out);
  inside = LLVMGetInsertBlock(b);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, after);
  for (int i = 0; i < a->width; i++) {
    lval phi = LLVMBuildPhi(b, LLVMTypeOf(out[i]), "");
    lval values[] = {out[i], LLVMConstNull(LLVMTypeOf(out[i]))};
    LLVMBasicBlockRef blocks[] = {inside, before};
    LLVMAddIncoming(phi, values, blocks, 2);
    out[i] = phi;
  }
}

/// The register's part of the access at g->at: element i of the vector.
static int enter_element(ngen *g, const access *a, int first, int i) {
  if (a->along >= 0) g->at[a->along] = first + i;
  int at = 0;
  for (int k = 0; k < a->shape.naxes; k++)
    at = at * a->shape.on[k]->nregs + g->at[a->shape.axes[k]];
  return at;
}

bool access_alive(ngen *g, const access *a, lval *some, lval *all) {
  int first = a->along >= 0 ? g->at[a->along] : 0;
  lval head = NULL, tail = NULL;
  bool head_alive = nv_alive(g, &a->shape, &head), tail_alive = head_alive;
  if (a->partial) {
    enter_element(g, a, first, a->width - 1);
    tail_alive = nv_alive(g, &a->shape, &tail);
    enter_element(g, a, first, 0);
    *all = head_alive && tail_alive ? nv_both(g, head, tail) : emit_int(g->e->i1, 0);
    // Rows are not shorter than a vector, or else hardly worth it: one end is valid, or both.
    if (head_alive && tail_alive)
      *some = head && tail ? LLVMBuildOr(g->e->builder, head, tail, "") : NULL;
    else
      *some = head_alive ? head : tail;
    return head_alive || tail_alive;
  }
  *some = *all = head;
  return head_alive;
}

/// A vector that is valid in part is read whole, since what lies beside it is in the same buffer;
/// only behind the last element, and, of a walk that starts early, before the first one of a buffer
/// without such rows, there may be nothing.
static lval vector_in_buffer(ngen *g, const access *a) {
  const tile_buf *t = &g->k->bufs.data[a->buf];
  ix elements = ix_const(&g->ix, 1);
  for (int i = 0; i < t->rank; i++) elements = ix_mul(&g->ix, elements, t->dims[i]);
  int64_t divisor = ix_divisor(&g->ix, elements);
  if (divisor % a->width == 0 && !a->unaligned) return NULL;
  // An unaligned one reaches into the aligned vector behind it.
  int reach = a->unaligned ? 2 * a->width : a->width;
  LLVMBuilderRef b = g->e->builder;
  ix begin = placed(g, a->offset), end = ix_add(&g->ix, begin, ix_const(&g->ix, reach));
  lval before_end = LLVMBuildICmp(b, LLVMIntSLE, nv_ix64(g, end), nv_ix64(g, elements), "");
  if (!a->unaligned || ix_bounds(&g->ix, begin).min >= 0) return before_end;
  lval behind_start = LLVMBuildICmp(b, LLVMIntSGE, nv_ix64(g, begin), i64_of(g, 0), "");
  return LLVMBuildAnd(b, behind_start, before_end, "");
}

void access_load_singly(ngen *g, const access *a, lval *out) {
  access one = *a;
  one.width = 1;
  int first = g->at[a->along];
  for (int i = 0; i < a->width; i++) {
    lval ok = NULL;
    enter_element(g, a, first, i);
    if (!nv_alive(g, &a->shape, &ok)) out[i] = nv_zero(g, a->type);
    else load_elements(g, &one, load_anywhere(g, a, ok, access_pointer(g, &one)), &out[i]);
  }
  enter_element(g, a, first, 0);
}

static void load_partial(ngen *g, const access *a, lval some, lval *out) {
  LLVMBuilderRef b = g->e->builder;
  lval inside = a->local ? NULL : vector_in_buffer(g, a);
  lval pointer = access_pointer(g, a);
  if (a->unaligned) {
    load_unaligned(g, a, load_anywhere(g, a, some, pointer), inside, out);
    return;
  }
  if (!inside) {
    load_elements(g, a, load_anywhere(g, a, some, pointer), out);
    return;
  }
  LLVMBasicBlockRef whole = nv_block(g), single = nv_block(g), after = nv_block(g);
  lval parts[VECTOR_BYTES];
  LLVMBuildCondBr(b, inside, whole, single);
  LLVMPositionBuilderAtEnd(b, whole);
  load_elements(g, a, load_anywhere(g, a, some, pointer), out);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, single);
  int mark = scope_open(g);
  access_load_singly(g, a, parts);
  scope_close(g, mark);
  LLVMBasicBlockRef from[] = {whole, LLVMGetInsertBlock(b)};
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, after);
  for (int i = 0; i < a->width; i++) {
    lval phi = LLVMBuildPhi(b, LLVMTypeOf(out[i]), "");
    lval values[] = {out[i], parts[i]};
    LLVMAddIncoming(phi, values, from, 2);
    out[i] = phi;
  }
}

access access_of_load(ngen *g, const tstmt *s) {
  const tval *t = s->out[0];
  access a = {.s = s, .buf = s->buf, .local = g->k->bufs.data[s->buf].local, .type = t->type};
  a.shape = nv_shape_of(g, t);
  a.offset = access_offset(g, s, s->buf);
  a.empty = !a.local && may_be_empty(g, s->buf);
  access_vectors(g, &a);
  if ((a.partial || a.unaligned) && (a.empty || tstmt_is_indirect(s)))
    a.width = 1, a.along = -1, a.partial = a.unaligned = false;
  return a;
}

void access_load(ngen *g, const access *a, lval *regs) {
  const tstmt *s = a->s;
  const tval *fill = s->guard ? s->in[s->nin - 1] : NULL;
  lval some = NULL, all = NULL, in = NULL, loaded[VECTOR_BYTES];
  if (!access_alive(g, a, &some, &all)) return;
  if (s->guard) inside_buffer(g, a, &in);
  lval may = nv_both(g, some, in);
  not_empty(g, a, &may);
  if (a->partial || a->unaligned) {
    load_partial(g, a, some, loaded);
  } else {
    lval pointer = access_pointer(g, a);
    if (a->empty && may) load_guarded(g, a, may, pointer, loaded);
    else load_elements(g, a, load_anywhere(g, a, may, pointer), loaded);
  }
  if (in) loaded[0] = LLVMBuildSelect(g->e->builder, in, loaded[0], nv_at(g, fill), "");
  int first = a->along >= 0 ? g->at[a->along] : 0;
  for (int i = 0; i < a->width; i++) regs[enter_element(g, a, first, i)] = loaded[i];
  enter_element(g, a, first, 0);
}

void nv_load(ngen *g, const tstmt *s) {
  access a = access_of_load(g, s);
  nv_before_access(g, s->buf, false);
  lval *regs = nv_define(g, s->out[0]);
  for (int r = 0; r < a.shape.nregs; r++) {
    nv_enter(g, &a.shape, r);
    if (regs[r] || (a.along >= 0 && g->at[a.along] % a.width)) continue;
    access_load(g, &a, regs);
  }
}

static void see_axis(void *ctx, int axis) { ((bool *)ctx)[axis] = true; }

/// The axes of the index and of the operands.
static shape store_shape(ngen *g, const tstmt *s, const tile_buf *t) {
  bool *used = arena_array(g->arena, bool, g->k->axes.len + 1);
  for (int i = 0; i < t->rank; i++) ix_axes(&g->k->ix, s->ix[i], see_axis, used);
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int axis = 0; axis < g->k->axes.len; axis++) {
    int extent = used[axis] ? g->ranges[axis]->extent : 0;
    for (int i = 0; i < s->nin && !extent; i++) extent = tval_extent(s->in[i], axis);
    if (!extent) continue;
    axes[n] = axis;
    extents[n++] = extent;
  }
  return nv_shape_of_axes(g, axes, extents, n);
}

/// Whole where all elements are valid, else those that are.
static void store_partial(ngen *g, const access *a, lval all, const lval *values) {
  LLVMBuilderRef b = g->e->builder;
  access one = *a;
  one.width = 1;
  int first = g->at[a->along];
  LLVMBasicBlockRef whole = nv_block(g), single = nv_block(g), after = nv_block(g);
  lval pointer = access_pointer(g, a);
  LLVMBuildCondBr(b, all, whole, single);
  LLVMPositionBuilderAtEnd(b, whole);
  store_elements(g, a, pointer, values);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, single);
  int mark = scope_open(g);
  for (int i = 0; i < a->width; i++) {
    lval ok = NULL;
    enter_element(g, a, first, i);
    if (!nv_alive(g, &a->shape, &ok)) continue;
    not_empty(g, a, &ok);
    guard w = nv_guard(g, ok);
    store_elements(g, &one, access_pointer(g, &one), &values[i]);
    nv_guard_end(g, w);
  }
  scope_close(g, mark);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, after);
  enter_element(g, a, first, 0);
}

void nv_store(ngen *g, const tstmt *s) {
  const tile_buf *t = &g->k->bufs.data[s->buf];
  access a = {.s = s, .buf = s->buf, .local = t->local, .type = t->type};
  a.shape = store_shape(g, s, t);
  a.offset = access_offset(g, s, s->buf);
  access_vectors(g, &a);
  nv_before_access(g, s->buf, true);
  bool zero = a.local && g->zero_locals && !g->locals[s->buf].ragged;
  unsigned covered = shape_threads(&a.shape);
  if (a.local) covered |= nv_bits_of_blocks(g);  // each block has its own
  guard replica = nv_guard(g, is_first_replica(g, covered));
  for (int r = 0; r < a.shape.nregs; r++) {
    nv_enter(g, &a.shape, r);
    if (a.along >= 0 && g->at[a.along] % a.width) continue;
    lval some = NULL, all = NULL, values[VECTOR_BYTES];
    bool alive = access_alive(g, &a, &some, &all);
    if (!alive && !zero) continue;
    if (!a.local) not_empty(g, &a, &all);
    int first = a.along >= 0 ? g->at[a.along] : 0;
    for (int i = 0; i < a.width; i++) {
      lval ok = NULL;
      enter_element(g, &a, first, i);
      values[i] = alive && nv_alive(g, &a.shape, &ok) ? nv_at(g, s->in[0]) : NULL;
      if (!values[i]) values[i] = nv_zero(g, a.type);
      if (zero) values[i] = nv_blend(g, ok, values[i], nv_zero(g, a.type));
    }
    enter_element(g, &a, first, 0);
    if (a.partial && all && !zero) {
      store_partial(g, &a, all, values);
      continue;
    }
    guard w = nv_guard(g, zero ? NULL : all);
    store_elements(g, &a, access_pointer(g, &a), values);
    nv_guard_end(g, w);
  }
  nv_guard_end(g, replica);
}
