// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loads, stores and prefetches.
//
// Along the vector axis an element offset is mostly affine in the lane: coef * lane + rest.
//   coef 1       one vector, masked where lanes are invalid
//   coef 0       one element, splat
//   other        vectors along another axis transposed in registers (transpose.c), else a gather
// Offsets that are not affine (views that divide) are computed per lane and gathered. Where lanes are
// few vectors apart, these are loaded and permuted (pattern.c).
#include "base/fault.h"
#include "codegen/cpu/cpu.h"

// ---- elements in memory

/// bool is a byte, and half types travel as integers: every CPU has masked moves for those.
LLVMTypeRef memory_type(kgen *g, dtype t, int lanes) {
  LLVMTypeRef element = t == DT_bool                   ? g->e->i8
                        : t == DT_f16 || t == DT_bf16 ? g->e->i16
                                                      : emit_type(g->e, t, 0);
  return lanes ? emit_vec(element, lanes) : element;
}

lval from_memory(kgen *g, dtype t, lval x) {
  LLVMBuilderRef b = g->e->builder;
  if (t == DT_bool) return LLVMBuildICmp(b, LLVMIntNE, x, LLVMConstNull(LLVMTypeOf(x)), "");
  if (t != DT_f16 && t != DT_bf16) return x;
  return LLVMBuildBitCast(b, x, emit_type(g->e, t, emit_lanes(LLVMTypeOf(x))), "");
}

lval to_memory(kgen *g, dtype t, lval x) {
  LLVMTypeRef type = memory_type(g, t, emit_lanes(LLVMTypeOf(x)));
  if (t == DT_bool) return LLVMBuildZExt(g->e->builder, x, type, "");
  return LLVMBuildBitCast(g->e->builder, x, type, "");
}

static void align_argument(kgen *g, lval call, unsigned argument, int bytes) {
  unsigned kind = LLVMGetEnumAttributeKindForName("align", 5);
  LLVMAddCallSiteAttribute(call, argument,
                           LLVMCreateEnumAttribute(g->e->context, kind, (uint64_t)bytes));
}

/// A masked intrinsic on vectors of `type` whose pointers, argument number `at` of the call, are
/// aligned. Where LLVM makes a branch for each lane of it, a long program has that once, in a function.
static lval masked_move(kgen *g, const char *name, LLVMTypeRef type, lval *args, int at,
                        int alignment, bool native) {
  emit *e = g->e;
  LLVMTypeRef types[] = {type, LLVMTypeOf(args[at - 1])};
  if (native || !e->is_long) {
    lval call = emit_intrinsic(e, name, types, 2, args, 3);
    align_argument(g, call, (unsigned)at, alignment);
    return call;
  }
  char *element = LLVMPrintTypeToString(LLVMGetElementType(type));
  str own = str_printf(g->arena, "%s.%s.%d.%d", name + sizeof "llvm." - 1, element,
                       emit_lanes(type), alignment);
  LLVMDisposeMessage(element);
  lval f = LLVMGetNamedFunction(e->module, own.ptr);
  if (!f) {
    LLVMTypeRef params[3];
    lval own_args[3];
    for (int i = 0; i < 3; i++) params[i] = LLVMTypeOf(args[i]);
    bool load = at == 1;
    f = function_new(e, own.ptr, LLVMFunctionType(load ? type : e->void_, params, 3, 0), false);
    unsigned noinline = LLVMGetEnumAttributeKindForName("noinline", 8);
    LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->context, noinline, 0));
    LLVMBasicBlockRef here = LLVMGetInsertBlock(e->builder);
    LLVMPositionBuilderAtEnd(e->builder, LLVMAppendBasicBlockInContext(e->context, f, ""));
    for (int i = 0; i < 3; i++) own_args[i] = LLVMGetParam(f, (unsigned)i);
    lval x = masked_move(g, name, type, own_args, at, alignment, true);
    if (load) LLVMBuildRet(e->builder, x);
    else LLVMBuildRetVoid(e->builder);
    LLVMPositionBuilderAtEnd(e->builder, here);
  }
  return LLVMBuildCall2(e->builder, LLVMGlobalGetValueType(f), f, args, 3, "");
}

bool moves_masked(const kgen *g, int bytes) { return g->e->avx512 || (g->e->avx2 && bytes >= 4); }

lval load_masked(kgen *g, LLVMTypeRef type, lval pointer, lval mask, int alignment, lval rest) {
  lval args[] = {pointer, mask, rest ? rest : LLVMConstNull(type)};
  bool native = LLVMIsConstant(mask) || moves_masked(g, alignment);
  return masked_move(g, "llvm.masked.load", type, args, 1, alignment, native);
}

/// What lanes that are not loaded hold. Without masked loads LLVM 22 knows lanes to be zero, takes 0 / 0
/// for zero as well, and drops the selection that keeps the NaN out of a sum: they hold ones there.
static lval rest_of_lanes(kgen *g, dtype t, LLVMTypeRef type) {
  if (g->e->avx2 || g->e->avx512 || !dtype_is_float(t)) return NULL;
  LLVMTypeRef element = LLVMGetElementType(type);
  enum { BF16_ONE = 0x3f80, F16_ONE = 0x3c00 };
  lval one = t == DT_bf16  ? LLVMConstInt(element, BF16_ONE, false)
             : t == DT_f16 ? LLVMConstInt(element, F16_ONE, false)
                           : LLVMConstReal(element, 1);
  lval lanes[MOST_VEC_LANES];
  for (int i = 0; i < g->lanes; i++) lanes[i] = one;
  return LLVMConstVector(lanes, (unsigned)g->lanes);
}

lval load_vector(kgen *g, dtype t, lval pointer, lval mask) {
  LLVMTypeRef type = memory_type(g, t, g->lanes);
  if (mask) {
    lval rest = rest_of_lanes(g, t, type);
    return from_memory(g, t, load_masked(g, type, pointer, mask, dtype_bytes(t), rest));
  }
  lval x = LLVMBuildLoad2(g->e->builder, type, pointer, "");
  LLVMSetAlignment(x, (unsigned)dtype_bytes(t));
  return from_memory(g, t, x);
}

/// The lane of a constant mask that has one; -1: it has others, or is no constant.
static int only_lane(const kgen *g, lval mask) {
  int lane = -1;
  for (int i = 0; i < g->lanes; i++) {
    lval bit = LLVMIsConstant(mask) ? LLVMGetAggregateElement(mask, (unsigned)i) : NULL;
    if (!bit || !LLVMIsAConstantInt(bit)) return -1;
    if (!LLVMConstIntGetZExtValue(bit)) continue;
    if (lane >= 0) return -1;
    lane = i;
  }
  return lane;
}

void store_vector(kgen *g, dtype t, lval x, lval pointer, lval mask) {
  x = to_memory(g, t, x);
  int lane = mask ? only_lane(g, mask) : -1;
  if (lane >= 0) {
    // LLVM 22 makes a store of four bytes of a masked store of one 16-bit lane that was truncated.
    lval index = LLVMConstInt(g->e->i32, (unsigned)lane, false);
    lval one = LLVMBuildExtractElement(g->e->builder, x, index, "");
    lval at = LLVMBuildGEP2(g->e->builder, LLVMTypeOf(one), pointer, &index, 1, "");
    LLVMSetAlignment(LLVMBuildStore(g->e->builder, one, at), (unsigned)dtype_bytes(t));
  } else if (mask) {
    lval args[] = {x, pointer, mask};
    bool native = LLVMIsConstant(mask) || moves_masked(g, dtype_bytes(t));
    masked_move(g, "llvm.masked.store", LLVMTypeOf(x), args, 2, dtype_bytes(t), native);
  } else {
    LLVMSetAlignment(LLVMBuildStore(g->e->builder, x, pointer), (unsigned)dtype_bytes(t));
  }
}

static lval load_scalar(kgen *g, dtype t, lval pointer) {
  lval x = LLVMBuildLoad2(g->e->builder, memory_type(g, t, 0), pointer, "");
  LLVMSetAlignment(x, (unsigned)dtype_bytes(t));
  return from_memory(g, t, x);
}

static lval all_lanes(kgen *g) {
  return LLVMConstAllOnes(emit_vec(g->e->i1, g->lanes));
}

static lval gather(kgen *g, dtype t, lval pointers, lval mask) {
  LLVMTypeRef type = memory_type(g, t, g->lanes);
  lval args[] = {pointers, mask ? mask : all_lanes(g), LLVMConstNull(type)};
  bool native = !mask || g->e->avx512;
  lval x = masked_move(g, "llvm.masked.gather", type, args, 1, dtype_bytes(t), native);
  return from_memory(g, t, x);
}

static void scatter(kgen *g, dtype t, lval x, lval pointers, lval mask) {
  x = to_memory(g, t, x);
  lval args[] = {x, pointers, mask ? mask : all_lanes(g)};
  bool native = !mask || g->e->avx512;
  masked_move(g, "llvm.masked.scatter", LLVMTypeOf(x), args, 2, dtype_bytes(t), native);
}

// ---- where an access goes

access access_of(kgen *g, const tstmt *s) {
  const tile_buf *buf = &g->k->bufs.data[s->buf];
  access a = {.buf = s->buf, .type = buf->type, .rank = buf->rank};
  for (int d = 0; d < a.rank; d++) {
    a.coords[d] = s->ix[d];
    a.dims[d] = buf->dims[d];
  }
  if (buf->local) {
    a.offset = local_offset(g, s->buf, a.coords);
    a.room = local_room_of(g, s);
    return a;
  }
  a.offset = ix_const(&g->ix, 0);
  for (int d = 0; d < a.rank; d++) {
    ix stride = buf->strides[d];
    a.offset = ix_add(&g->ix, a.offset, ix_mul(&g->ix, stride, a.coords[d]));
  }
  return a;
}

static ix dim_stride(kgen *g, int buf, int d) {
  const tile_buf *b = &g->k->bufs.data[buf];
  return b->local ? g->locals[buf].strides[d] : b->strides[d];
}

ix placed(kgen *g, ix e, int along, int block, bool clamp) {
  int naxes = g->k->axes.len;
  for (int axis = 0; axis < naxes; axis++) {
    g->place[axis] = 0;
    if (!g->ranges[axis] || !ix_uses_axis(&g->ix, e, axis)) continue;
    if (axis == along) {
      ix first = row_coordinate(g, axis, block * g->lanes, false);
      g->place[axis] = ix_add(&g->ix, first, ix_axis(&g->ix, g->lane_axis));
    } else {
      g->place[axis] = row_coordinate(g, axis, g->coord[axis], clamp);
    }
  }
  return ix_substitute(&g->ix, &g->ix, e, g->place, naxes);
}

bool lane_affine(kgen *g, ix e, ix *coef, ix *rest) {
  return ix_affine(&g->ix, e, g->lane_axis, coef, rest) &&
         !ix_uses_axis(&g->ix, *coef, g->lane_axis);
}

lval needed_mask(const access *a, int v, lval mask) {
  bool some_valid = v == 0 || (mask && LLVMIsConstant(mask));
  bool free = a->room == ROOM_STEP || (a->room == ROOM_VECTOR && some_valid);
  return free ? NULL : mask;
}

static bool is_constant(kgen *g, ix e, int64_t value) {
  int64_t v;
  return ix_is_const(&g->ix, e, &v) && v == value;
}

/// Where the element(s) of one register are: pointer + lane offsets.
typedef struct target {
  lval pointer;   // of lane 0, or of all when lanes is set
  lval lanes;     // offsets in elements per lane, or null
  lane_pattern *pattern;  // the same, where known; null: not
  bool unit;      // one vector at pointer
  lval ok, mask;  // where it may be touched: i1 and vector of i1, or null
  bool prefix;    // the lanes of the mask are the first ones
} target;

static lval offset_pointer(kgen *g, int buf, lval pointer, lval offset) {
  LLVMTypeRef type = memory_type(g, g->k->bufs.data[buf].type, 0);
  return LLVMBuildGEP2(g->e->builder, type, pointer, &offset, 1, "");
}

/// Offsets per lane of an affine access: a constant vector when the stride is small.
static lval stride_lanes(kgen *g, ix coef) {
  bool narrow = ix_fits_i32(g, ix_scale(&g->ix, coef, g->lanes));
  return ix_lanes(g, ix_mul(&g->ix, coef, ix_axis(&g->ix, g->lane_axis)), narrow);
}

static lval widen(kgen *g, lval x) {
  int lanes = emit_lanes(LLVMTypeOf(x));
  LLVMTypeRef to = lanes ? emit_vec(g->e->i64, lanes) : g->e->i64;
  return LLVMBuildSExt(g->e->builder, x, to, "");
}

static lval add_lanes(kgen *g, lval a, lval b) {
  if (!a) return b;
  return LLVMBuildAdd(g->e->builder, widen(g, a), widen(g, b), "");
}

static lval index_value(kgen *g, dtype t, lval x) {
  return emit_map(g->e, OP_cast, t, DT_i64, &x, 1);
}

/// Adds the indirect coordinates; false when one is dead.
static bool add_indirect(kgen *g, const tstmt *s, int v, target *t) {
  LLVMBuilderRef b = g->e->builder;
  for (int d = 0; d < s->nix; d++) {
    if (!s->indirect || s->indirect[d] < 0) continue;
    const tval *in = s->in[s->indirect[d]];
    lval x = tile_at(g, in, v, false);
    if (!x) return false;
    x = index_value(g, in->type, x);
    lval stride = ix_value(g, dim_stride(g, s->buf, d));
    if (emit_lanes(LLVMTypeOf(x))) {
      t->lanes = add_lanes(g, t->lanes, LLVMBuildMul(b, x, splat(g, stride), ""));
      t->unit = false;
    } else {
      t->pointer = offset_pointer(g, s->buf, t->pointer, LLVMBuildMul(b, x, stride, ""));
    }
  }
  return true;
}

/// The place of register v (of the row at g->coord); vector: lanes run along the vector axis.
static bool locate(kgen *g, const tstmt *s, const access *a, int v, bool vector, bool clamp,
                   target *t) {
  int along = vector ? g->vec_axis : -1;
  ix e = placed(g, a->offset, along, v, clamp), coef, rest;
  *t = (target){0};
  if (lane_affine(g, e, &coef, &rest)) {
    t->pointer = address(g, a->buf, rest);
    if (!vector) return add_indirect(g, s, v, t);
    t->unit = is_constant(g, coef, 1);
    if (t->unit && s->indirect)
      for (int d = 0; d < s->nix; d++)
        if (s->indirect[d] >= 0 && tval_extent(s->in[s->indirect[d]], along)) t->unit = false;
    if (!t->unit && !is_constant(g, coef, 0)) t->lanes = stride_lanes(g, coef);
  } else {
    t->pointer = buffer_base(g, a->buf);
    t->lanes = ix_lanes(g, e, ix_fits_i32(g, e));
  }
  if (t->lanes && !tstmt_is_indirect(s) && moves_masked(g, dtype_bytes(a->type)))
    t->pattern = pattern_of(g, e);
  return add_indirect(g, s, v, t);
}

static lval and_of(kgen *g, lval a, lval b) {
  return !a ? b : !b ? a : LLVMBuildAnd(g->e->builder, a, b, "");
}

// ---- bounds of guarded loads

/// The coordinate, a size-independent fact: in [0, dim) for every valid coordinate of the axes.
static bool in_bounds(kgen *g, ix coordinate, ix dim) {
  int axis;
  if (ix_is_axis(&g->ix, coordinate, &axis) && g->ix.axis_size.data[axis] == dim) return true;
  ix one = ix_const(&g->ix, 1);
  return ix_bounds(&g->ix, coordinate).min >= 0 &&
         ix_known_le(&g->ix, ix_add(&g->ix, coordinate, one), dim);
}

static void narrow_by(kgen *g, lval coordinate, ix dim, target *t) {
  LLVMBuilderRef b = g->e->builder;
  lval size = ix_value(g, dim);
  bool vector = emit_lanes(LLVMTypeOf(coordinate)) > 0;
  // unsigned: negative coordinates are large
  lval ok = LLVMBuildICmp(b, LLVMIntULT, coordinate, vector ? splat(g, size) : size, "");
  if (vector) t->mask = and_of(g, t->mask, ok);
  else t->ok = and_of(g, t->ok, ok);
}

/// Narrows t to where every dimension's coordinate is inside the buffer.
static bool add_bounds(kgen *g, const tstmt *s, const access *a, int v, bool vector, target *t) {
  for (int d = 0; d < a->rank; d++) {
    int indirect = s->indirect ? s->indirect[d] : -1;
    if (indirect < 0 && in_bounds(g, a->coords[d], a->dims[d])) continue;
    ix e = placed(g, a->coords[d], vector ? g->vec_axis : -1, v, true);
    bool lanes = vector && ix_uses_axis(&g->ix, e, g->lane_axis);
    lval coordinate = lanes ? ix_lanes(g, e, false) : ix_value(g, e);
    if (indirect >= 0) {
      lval x = tile_at(g, s->in[indirect], v, false);
      if (!x) return false;
      x = index_value(g, s->in[indirect]->type, x);
      bool wide = emit_lanes(LLVMTypeOf(x)) > 0;
      if (wide && !lanes) coordinate = splat(g, coordinate);
      if (!wide && lanes) x = splat(g, x);
      coordinate = LLVMBuildAdd(g->e->builder, coordinate, x, "");
    }
    narrow_by(g, coordinate, a->dims[d], t);
  }
  return true;
}

// ---- loads

/// An address that may always be read stands in where `ok` is false.
static lval safe_pointer(kgen *g, lval ok, lval pointer) {
  if (!ok) return pointer;
  static const char name[] = "tcf.zeros";
  lval zeros = LLVMGetNamedGlobal(g->e->module, name);
  if (!zeros) {
    LLVMTypeRef type = LLVMArrayType2(g->e->i8, 64);
    zeros = LLVMAddGlobal(g->e->module, type, name);
    LLVMSetInitializer(zeros, LLVMConstNull(type));
    LLVMSetLinkage(zeros, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(zeros, 1);
    LLVMSetAlignment(zeros, 64);
  }
  return LLVMBuildSelect(g->e->builder, ok, pointer, zeros, "");
}

/// Gather instructions move 4 and 8 bytes and need AVX2.
static bool has_gather(const kgen *g, dtype t) { return g->e->avx2 && dtype_bytes(t) >= 4; }

/// One load and insert per lane. Lanes outside the mask read what lane 0 does; if that is outside
/// too, all are.
static lval gather_by_lane(kgen *g, dtype type, const access *a, const target *t, lval mask) {
  LLVMBuilderRef b = g->e->builder;
  lval offsets = t->lanes, base = t->pointer;
  if (mask) {
    lval first = LLVMBuildExtractElement(b, mask, emit_int(g->e->i32, 0), "");
    base = safe_pointer(g, first, base);
    offsets = LLVMBuildSelect(b, mask, offsets, LLVMConstNull(LLVMTypeOf(offsets)), "");
  }
  lval x = LLVMGetPoison(memory_type(g, type, g->lanes));
  for (int l = 0; l < g->lanes; l++) {
    lval lane = emit_int(g->e->i32, l);
    lval offset = widen(g, LLVMBuildExtractElement(b, offsets, lane, ""));
    lval pointer = offset_pointer(g, a->buf, base, offset);
    lval element = LLVMBuildLoad2(b, memory_type(g, type, 0), pointer, "");
    LLVMSetAlignment(element, (unsigned)dtype_bytes(type));
    x = LLVMBuildInsertElement(b, x, element, lane, "");
  }
  return from_memory(g, type, x);
}

static lval load_target(kgen *g, dtype type, const access *a, const target *t, bool vector) {
  lval mask = t->mask;
  if (!vector || (!t->lanes && !t->unit)) {
    lval x = load_scalar(g, type, safe_pointer(g, t->ok, t->pointer));
    return vector ? splat(g, x) : x;
  }
  lval near = t->pattern && !t->ok ? pattern_load(g, type, a->buf, t->pattern, mask) : NULL;
  if (near) return near;
  if (t->ok) mask = and_of(g, mask, splat(g, t->ok));
  if (t->lanes && !has_gather(g, type) && t->prefix) return gather_by_lane(g, type, a, t, mask);
  if (t->lanes) return gather(g, type, offset_pointer(g, a->buf, t->pointer, t->lanes), mask);
  return load_vector(g, type, t->pointer, mask);
}

/// One register; `mask`: valid lanes.
static lval load_reg(kgen *g, const tstmt *s, const access *a, int v, bool vector, lval mask,
                     lval ok) {
  target t;
  if (!locate(g, s, a, v, vector, true, &t)) return NULL;
  bool indirect = s->nin > (s->guard ? 1 : 0);
  lval inside = NULL;
  if (s->guard) {
    if (!add_bounds(g, s, a, v, vector, &t)) return NULL;
    inside = t.mask && t.ok ? and_of(g, t.mask, splat(g, t.ok)) : and_of(g, t.mask, t.ok);
  }
  if (indirect) t.ok = and_of(g, t.ok, ok);  // the index of an invalid row is unspecified
  if (!t.unit && !t.lanes && vector && v > 0 && mask) {
    // a single element for all lanes, of which none may be valid
    lval first = LLVMBuildExtractElement(g->e->builder, mask, emit_int(g->e->i32, 0), "");
    t.ok = and_of(g, t.ok, first);
  }
  if (t.unit) mask = needed_mask(a, v, mask);
  t.prefix = !s->guard;
  if (t.unit || t.lanes) t.mask = and_of(g, t.mask, mask);
  lval x = load_target(g, a->type, a, &t, vector);
  if (!inside) return x;
  lval fill = tile_at(g, s->in[s->nin - 1], v, vector);
  return fill ? blend(g, inside, x, fill) : NULL;
}

void gen_load(kgen *g, const tstmt *s) {
  access a = access_of(g, s);
  shape sh = tile_shape(g, s->out[0]);
  lval *out = tile_define(g, s->out[0]);
  if (gen_load_pairs(g, s, &a) || gen_load_transposed(g, s, &a)) return;
  int vecs = sh.vecs ? sh.vecs : 1;
  for (int row = 0; row < sh.rows; row++) {
    lval ok, mask = NULL;
    shape_enter(g, &sh, row);
    if (g->vec_axis >= 0) g->coord[g->vec_axis] = 0;
    if (!rows_alive(g, &sh, &ok)) continue;
    for (int v = 0; v < vecs; v++) {
      if (sh.vecs && !lanes_alive(g, g->vec_axis, sh.vec_extent, v, &mask)) continue;
      out[row * vecs + v] = load_reg(g, s, &a, v, sh.vecs > 0, mask, ok);
    }
  }
}

// ---- stores

LLVMBasicBlockRef guard_begin(kgen *g, lval ok) {
  if (!ok) return NULL;
  LLVMBasicBlockRef body = block_new(g), after = block_new(g);
  LLVMBuildCondBr(g->e->builder, ok, body, after);
  LLVMPositionBuilderAtEnd(g->e->builder, body);
  return after;
}

void guard_end(kgen *g, LLVMBasicBlockRef after) {
  if (!after) return;
  LLVMBuildBr(g->e->builder, after);
  LLVMPositionBuilderAtEnd(g->e->builder, after);
}

static int stream_alignment(const kgen *g, dtype t) {
  int bytes = dtype_bytes(t) * g->lanes;
  return bytes > 64 ? 64 : bytes;
}

static void store_streaming(kgen *g, dtype t, lval x, lval pointer) {
  emit *e = g->e;
  lval store = LLVMBuildStore(e->builder, to_memory(g, t, x), pointer);
  LLVMSetAlignment(store, (unsigned)stream_alignment(g, t));
  LLVMMetadataRef one = LLVMValueAsMetadata(emit_int(e->i32, 1));
  LLVMSetMetadata(store, LLVMGetMDKindIDInContext(e->context, "nontemporal", 11),
                  LLVMMetadataAsValue(e->context, LLVMMDNodeInContext2(e->context, &one, 1)));
  g->nontemporal = true;
}

static void store_reg(kgen *g, const tstmt *s, const access *a, lval x, int v, bool vector,
                      lval mask, bool stream) {
  target t;
  if (!locate(g, s, a, v, vector, false, &t)) return;
  if (!vector || (!t.unit && !t.lanes)) {
    if (vector) x = LLVMBuildExtractElement(g->e->builder, x, emit_int(g->e->i32, 0), "");
    lval store = LLVMBuildStore(g->e->builder, to_memory(g, a->type, x), t.pointer);
    LLVMSetAlignment(store, (unsigned)dtype_bytes(a->type));
  } else if (t.pattern && pattern_store(g, a->type, x, a->buf, t.pattern, mask)) {
    return;
  } else if (t.lanes) {
    scatter(g, a->type, x, offset_pointer(g, a->buf, t.pointer, t.lanes), mask);
  } else if (!mask && stream) {
    store_streaming(g, a->type, x, t.pointer);
  } else {
    store_vector(g, a->type, x, t.pointer, needed_mask(a, v, mask));
  }
}

shape store_shape(kgen *g, const tstmt *s, const access *a) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int axis = 0; axis < g->k->axes.len; axis++) {
    int extent = 0;
    for (int i = 0; i < s->nin; i++)
      if (!extent) extent = tval_extent(s->in[i], axis);
    for (int d = 0; d < a->rank; d++)
      if (!extent && g->ranges[axis] && ix_uses_axis(&g->ix, a->coords[d], axis))
        extent = g->ranges[axis]->extent;
    if (!extent) continue;
    check(n < MAX_AXES);
    axes[n] = axis;
    extents[n++] = extent;
  }
  return shape_of_axes(g, axes, extents, n);
}

static void store_rows(kgen *g, const tstmt *s, const access *a, const shape *sh, bool stream) {
  int vecs = sh->vecs ? sh->vecs : 1;
  for (int row = 0; row < sh->rows; row++) {
    lval ok, mask = NULL;
    shape_enter(g, sh, row);
    if (g->vec_axis >= 0) g->coord[g->vec_axis] = 0;
    if (!rows_alive(g, sh, &ok)) continue;
    LLVMBasicBlockRef after = guard_begin(g, ok);
    for (int v = 0; v < vecs; v++) {
      if (sh->vecs && !lanes_alive(g, g->vec_axis, sh->vec_extent, v, &mask)) continue;
      lval x = tile_at(g, s->in[0], v, sh->vecs > 0);
      if (x) store_reg(g, s, a, x, v, sh->vecs > 0, mask, stream);
    }
    guard_end(g, after);
  }
}

/// Streaming stores must be aligned to their size or they fall apart: whether all rows are, as an
/// i1; null when the store cannot stream.
static lval rows_aligned(kgen *g, const tstmt *s, const access *a, const shape *sh) {
  LLVMBuilderRef b = g->e->builder;
  int align = stream_alignment(g, a->type);
  lval bits = NULL, ok;
  if (!s->nontemporal || !sh->vecs || s->nin > 1 || align < 16) return NULL;
  for (int row = 0; row < sh->rows; row++) {
    target t;
    shape_enter(g, sh, row);
    g->coord[g->vec_axis] = 0;
    if (!rows_alive(g, sh, &ok)) continue;
    if (!locate(g, s, a, 0, true, false, &t) || !t.unit) return NULL;
    lval at = LLVMBuildPtrToInt(b, t.pointer, g->e->i64, "");
    bits = bits ? LLVMBuildOr(b, bits, at, "") : at;
  }
  if (!bits) return NULL;
  return LLVMBuildICmp(b, LLVMIntEQ, LLVMBuildAnd(b, bits, int64(g, align - 1), ""), int64(g, 0),
                       "");
}

/// The ranges of the store that may be whole or not, as the run decides.
static int open_questions(kgen *g, const shape *sh, range **asked) {
  int n = 0;
  for (int a = 0; a <= sh->naxes; a++) {
    bool lanes = a == sh->naxes;
    if (lanes && !sh->vecs) continue;
    range *r = g->ranges[lanes ? g->vec_axis : sh->axes[a]];
    int extent = lanes ? sh->vec_extent : sh->extents[a];
    if (r && r->valid == VALID_ASK && r->whole_too && r->extent == extent && extent > 1)
      asked[n++] = r;
  }
  return n;
}

/// Two forms where the run decides: whole tiles with aligned rows (streaming when asked to), and
/// the others, with masks and tests.
void gen_store(kgen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  access a = access_of(g, s);
  if (gen_store_pairs(g, s, &a) || gen_store_transposed(g, s, &a)) return;
  shape sh = store_shape(g, s, &a);
  range *asked[MAX_AXES + 1];
  int n = open_questions(g, &sh, asked);
  for (int i = 0; i < n; i++) asked[i]->valid = VALID_ALL;
  lval aligned = rows_aligned(g, s, &a, &sh), easy = aligned;
  for (int i = 0; i < n; i++)
    easy = and_of(g, easy, LLVMBuildICmp(b, LLVMIntSGE, asked[i]->limit,
                                         int64(g, asked[i]->extent), ""));
  if (!easy) return store_rows(g, s, &a, &sh, false);
  LLVMBasicBlockRef whole = block_new(g), part = block_new(g), after = block_new(g);
  LLVMBuildCondBr(b, easy, whole, part);
  LLVMPositionBuilderAtEnd(b, whole);
  store_rows(g, s, &a, &sh, aligned != NULL);
  LLVMBuildBr(b, after);
  for (int i = 0; i < n; i++) asked[i]->valid = VALID_ASK;
  LLVMPositionBuilderAtEnd(b, part);
  store_rows(g, s, &a, &sh, false);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, after);
}

// ---- prefetches

static void prefetch(kgen *g, lval pointer, bool write, int level) {
  LLVMTypeRef i32 = g->e->i32;
  lval args[] = {pointer, emit_int(i32, write), emit_int(i32, 4 - level), emit_int(i32, 1)};
  emit_intrinsic(g->e, "llvm.prefetch", &g->e->ptr, 1, args, 4);
}

/// Whether `at` is in the line, or just behind the start, of an element that was prefetched.
static bool shares_line(kgen *g, ix at, ix before, int bytes) {
  enum { LINE = 64 };
  int64_t ahead;
  return before && ix_is_const(&g->ix, ix_sub(&g->ix, at, before), &ahead) && ahead >= 0 &&
         ahead * bytes < LINE;
}

/// Every line of the tile that the index names; never faults, so no masks. An element's line may be
/// that of the one before it, in its row or in its lane.
void gen_prefetch(kgen *g, const tstmt *s) {
  enum { LINE = 64 };
  access a = access_of(g, s);
  shape sh = store_shape(g, s, &a);
  int bytes = dtype_bytes(a.type), count = sh.vecs ? sh.vec_extent : 1;
  ix coef, rest, last = 0, *of_lane = arena_array(g->arena, ix, count);
  for (int row = 0; row < sh.rows; row++) {
    shape_enter(g, &sh, row);
    int vec = g->vec_axis, step = 1;
    if (vec >= 0) g->coord[vec] = 0;
    if (sh.vecs && lane_affine(g, placed(g, a.offset, vec, 0, false), &coef, &rest) &&
        is_constant(g, coef, 1))
      step = LINE / bytes;
    for (int i = 0; i < count; i += step) {
      if (sh.vecs) g->coord[vec] = i;
      ix at = placed(g, a.offset, -1, 0, false);
      if (shares_line(g, at, last, bytes) || shares_line(g, at, of_lane[i], bytes)) continue;
      last = of_lane[i] = at;
      prefetch(g, address(g, a.buf, at), s->write, s->level);
    }
  }
}
