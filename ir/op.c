// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the op table means: type rules, and the scalar semantics that constant folding and the
// interpreters compute.
//
// The scalar column of ops.def is expanded twice, over doubles and over integers; the column
// `types` picks the rows that take part and where the result goes (a number or a bool).
#include "ir/op.h"

#include <math.h>

#include "base/fault.h"

// The column `law` sets the fields commutes, identity, combine and splits.
#define LAW_none false, IDENTITY_none, OP_none, false
#define LAW_commutes true, IDENTITY_none, OP_none, false
#define LAW_monoid(x) true, IDENTITY_##x, OP_none, false
#define LAW_folds(op) false, IDENTITY_none, OP_##op, true
#define LAW_walks(op) false, IDENTITY_none, OP_##op, false
#define LAW_affine false, IDENTITY_none, OP_none, false

static const op_info infos[OP_COUNT] = {
#define OP(name, arity, class, types, cost, law, error, algebra, ...) \
  [OP_##name] = {#name, arity, CLASS_##class, TYPES_##types, cost, LAW_##law, ERROR_##error, \
                  ALGEBRA_##algebra},
#include "ir/ops.def"
#undef OP
};

const op_info *op_get(op o) { return &infos[o]; }

const char *op_class_name(op_class c) {
  static const char *const names[] = {"leaf", "map",    "reduce",  "contraction", "scan",
                                      "view", "gather", "scatter", "opaque"};
  return names[c];
}

bool op_parse(str name, op *out) {
  for (int o = 0; o < OP_COUNT; o++) {
    if (!str_eqz(name, infos[o].name)) continue;
    *out = (op)o;
    return true;
  }
  return false;
}

bool op_is_map(op o) { return infos[o].class == CLASS_map; }
bool op_is_reduce(op o) { return infos[o].class == CLASS_reduce; }
bool op_combines(op o) {
  op_class c = op_get(o)->class;
  return c == CLASS_reduce || c == CLASS_contraction || c == CLASS_scan;
}

bool op_is_arg(op o) { return infos[o].types == TYPES_ARG; }
bool op_jumps(op o) {
  op_types t = infos[o].types;
  return t == TYPES_CMP || t == TYPES_ARG || t == TYPES_BITCAST || o == OP_floor || o == OP_ceil ||
         o == OP_round || o == OP_trunc || o == OP_sign || o == OP_rem;
}
bool op_is_monoid(op o) { return infos[o].identity != IDENTITY_none; }

// ---- type rules

static bool is_number(dtype t) { return t != DT_bool && !dtype_is_storage(t); }
static bool is_wide_float(dtype t) { return t == DT_f64 || t == DT_f32; }

static const char *const wants[] = {
    [TYPES_PARAM] = "no operands",
    [TYPES_CONST] = "no operands",
    [TYPES_INDEX] = "type i32 or i64",
    [TYPES_SAME] = "one operand",
    [TYPES_NUM] = "equal number types other than f16, bf16",
    [TYPES_FLOAT] = "f64 or f32 operands of one type",
    [TYPES_INT] = "integers of one type",
    [TYPES_BOOL] = "a bool",
    [TYPES_BITS] = "integers or bools of one type",
    [TYPES_CMP] = "two equal types other than f16, bf16 (bool: only eq and ne)",
    [TYPES_FCLASS] = "an f64 or f32",
    [TYPES_WHERE] = "a bool and two equal types",
    [TYPES_CAST] = "one operand",
    [TYPES_BITCAST] = "f32 to i32 or u32, f64 to i64 or u64, or back",
    [TYPES_RANDOM] = "two i64 operands",
    [TYPES_ARG] = "a number type other than f16, bf16",
    [TYPES_DOT] = "two equal types other than bool",
    [TYPES_PAD] = "a fill value of the operand's type",
    [TYPES_GATHER] = "an operand and integer indices",
    [TYPES_SCATTER] = "numbers, integer indices, and updates of the first operand's type",
    [TYPES_CALL] = "any operands",
};

static bool same_types(const dtype *in, int nin) {
  for (int k = 1; k < nin; k++)
    if (in[k] != in[0]) return false;
  return true;
}

static bool bitcast_ok(dtype from, dtype to) {
  bool between = dtype_is_float(from) ? dtype_is_int(to) : dtype_is_int(from) && dtype_is_float(to);
  return between && dtype_bytes(from) == dtype_bytes(to) && dtype_bytes(from) >= 4;
}

static bool types_ok(op o, const dtype *in, int nin, dtype wanted) {
  switch (infos[o].types) {
    case TYPES_PARAM:
    case TYPES_CONST:
    case TYPES_CALL:
    case TYPES_SAME:
    case TYPES_CAST: return true;
    case TYPES_INDEX: return wanted == DT_i32 || wanted == DT_i64;
    case TYPES_NUM: return is_number(in[0]) && same_types(in, nin);
    case TYPES_FLOAT: return is_wide_float(in[0]) && same_types(in, nin);
    case TYPES_INT: return dtype_is_int(in[0]) && same_types(in, nin);
    case TYPES_BOOL: return in[0] == DT_bool;
    case TYPES_BITS: return (dtype_is_int(in[0]) || in[0] == DT_bool) && same_types(in, nin);
    case TYPES_CMP:
      return same_types(in, nin) && (is_number(in[0]) ||
                                     (in[0] == DT_bool && (o == OP_eq || o == OP_ne)));
    case TYPES_FCLASS: return is_wide_float(in[0]);
    case TYPES_WHERE: return in[0] == DT_bool && in[1] == in[2];
    case TYPES_BITCAST: return bitcast_ok(in[0], wanted);
    case TYPES_RANDOM: return in[0] == DT_i64 && in[1] == DT_i64;
    case TYPES_ARG: return is_number(in[0]);
    case TYPES_DOT: return in[0] == in[1] && in[0] != DT_bool;
    case TYPES_PAD: return in[0] == in[1];
    case TYPES_GATHER: return dtype_is_int(in[1]);
    case TYPES_SCATTER: return is_number(in[0]) && dtype_is_int(in[1]) && in[2] == in[0];
  }
  return false;
}

dtype op_dot_type(dtype t) {
  if (dtype_is_float(t)) return t == DT_f64 ? DT_f64 : DT_f32;
  if (t == DT_u16 || t == DT_u32) return DT_u32;
  return t == DT_i64 || t == DT_u64 ? t : DT_i32;
}

bool op_result_type(op o, const dtype *in, int nin, dtype wanted, dtype *out, str *why, arena *a) {
  const op_info *info = op_get(o);
  if ((info->arity >= 0 && nin != info->arity) || !types_ok(o, in, nin, wanted)) {
    strbuf b = sb_new(a);
    if (info->arity >= 0 && nin != info->arity)
      sb_printf(&b, "%s takes %d operand%s, not %d", info->name, info->arity,
                info->arity == 1 ? "" : "s", nin);
    else
      sb_printf(&b, "%s needs %s%s", info->name, wants[info->types], nin ? ", not " : "");
    for (int k = 0; k < nin && nin == info->arity; k++)
      sb_printf(&b, "%s%s", k ? ", " : "", dtype_name(in[k]));
    if (why) *why = sb_str(&b);
    return false;
  }
  switch (info->types) {
    case TYPES_PARAM:
    case TYPES_CONST:
    case TYPES_INDEX:
    case TYPES_CAST:
    case TYPES_BITCAST:
    case TYPES_CALL: *out = wanted; break;
    case TYPES_CMP:
    case TYPES_FCLASS: *out = DT_bool; break;
    case TYPES_WHERE: *out = in[1]; break;
    case TYPES_ARG: *out = DT_i32; break;
    case TYPES_DOT: *out = op_dot_type(in[0]); break;
    default: *out = in[0];
  }
  return true;
}

// ---- scalar semantics

// A NaN operand gives NaN; of zeros -0 is the smaller.
static double float_min(double a, double b) {
  if (isnan(a) || isnan(b)) return a + b;
  if (a == b) return signbit(a) ? a : b;
  return a < b ? a : b;
}
static double float_max(double a, double b) {
  if (isnan(a) || isnan(b)) return a + b;
  if (a == b) return signbit(a) ? b : a;
  return a > b ? a : b;
}
static double float_sign(double a) { return a > 0 ? 1 : a < 0 ? -1 : a; }
static double float_div(double a, double b) { return a / b; }
/// Products of f32 are exact in double but their sum is not: only fmaf rounds once.
static double float_fma(dtype t, double a, double b, double c) {
  return t == DT_f32 ? fmaf((float)a, (float)b, (float)c) : fma(a, b, c);
}

// Which rows a class of op contributes: only elementwise ones have a scalar meaning. FLOAT_* and
// INT_* say by type rule whether a row is a case of the evaluator, and of which form.
#define NO_CASE(...)
#define SELECT_leaf NO_CASE
#define SELECT_reduce NO_CASE
#define SELECT_contraction NO_CASE
#define SELECT_scan NO_CASE
#define SELECT_view NO_CASE
#define SELECT_gather NO_CASE
#define SELECT_scatter NO_CASE
#define SELECT_opaque NO_CASE
#define OP(name, arity, class, types, cost, law, error, algebra, ...) \
  SELECT_##class(types, name, __VA_ARGS__)

#define FLOAT_NUM(name, ...) case OP_##name: return (scalar){.f = (__VA_ARGS__)};
#define FLOAT_FLOAT FLOAT_NUM
#define FLOAT_CMP(name, ...) case OP_##name: return (scalar){.i = (__VA_ARGS__) != 0};
#define FLOAT_FCLASS FLOAT_CMP
#define FLOAT_INT NO_CASE
#define FLOAT_BITS NO_CASE
#define FLOAT_WHERE NO_CASE
#define FLOAT_CAST NO_CASE
#define FLOAT_BITCAST NO_CASE
#define FLOAT_RANDOM NO_CASE

static scalar eval_float(op o, dtype t, const scalar *in, int nin) {
  double a = in[0].f, b = nin > 1 ? in[1].f : 0, c = nin > 2 ? in[2].f : 0;
#define SELECT_map(types, name, ...) FLOAT_##types(name, __VA_ARGS__)
#define DIV(x, y) float_div(x, y)
#define REM(x, y) fmod(x, y)
#define MIN(x, y) float_min(x, y)
#define MAX(x, y) float_max(x, y)
#define ABS(x) fabs(x)
#define SIGN(x) float_sign(x)
#define FMA(x, y, z) float_fma(t, x, y, z)
  switch (o) {
#include "ir/ops.def"
    default: panic("%s has no meaning on floats", op_get(o)->name);
  }
#undef SELECT_map
#undef DIV
#undef REM
#undef MIN
#undef MAX
#undef ABS
#undef SIGN
}

// The values of all types but u64 are below 2^63 and ordered, divided and shifted as int64_t.

/// A number that is ordered among others of it as a is among those of type t.
static int64_t ordered(dtype t, int64_t a) { return t == DT_u64 ? a ^ INT64_MIN : a; }
/// Division by zero gives 0; the most negative value divided by -1 wraps to itself.
static int64_t int_div(dtype t, int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (t == DT_u64) return (int64_t)((uint64_t)a / (uint64_t)b);
  return b == -1 ? (int64_t)-(uint64_t)a : a / b;
}
static int64_t int_rem(dtype t, int64_t a, int64_t b) {
  if (t == DT_u64 && b != 0) return (int64_t)((uint64_t)a % (uint64_t)b);
  return b == 0 || b == -1 ? 0 : a % b;
}
static int64_t int_min(dtype t, int64_t a, int64_t b) {
  return ordered(t, a) < ordered(t, b) ? a : b;
}
static int64_t int_max(dtype t, int64_t a, int64_t b) {
  return ordered(t, a) > ordered(t, b) ? a : b;
}
static int64_t int_abs(dtype t, int64_t a) {
  return t != DT_u64 && a < 0 ? (int64_t) - (uint64_t)a : a;
}
static int64_t int_sign(dtype t, int64_t a) { return t == DT_u64 ? a != 0 : (a > 0) - (a < 0); }
/// Shift amounts count modulo the width of the type.
static int64_t int_shl(dtype t, int64_t a, int64_t b) {
  return (int64_t)((uint64_t)a << (b & (dtype_bytes(t) * 8 - 1)));
}
static int64_t int_shr(dtype t, int64_t a, int64_t b) {
  int by = (int)(b & (dtype_bytes(t) * 8 - 1));
  return t == DT_u64 ? (int64_t)((uint64_t)a >> by) : a >> by;
}
static int64_t int_not(dtype t, int64_t a) { return t == DT_bool ? !a : ~a; }

// Arithmetic is done in uint64_t, where it wraps; what depends on the sign takes int64_t.
#define INT_NUM(name, ...)                        \
  case OP_##name: {                               \
    uint64_t a = (uint64_t)sa, b = (uint64_t)sb;  \
    (void)b;                                      \
    return (scalar){.i = (int64_t)(__VA_ARGS__)}; \
  }
#define INT_INT(name, ...)           \
  case OP_##name: {                  \
    int64_t a = sa, b = sb;          \
    (void)b;                         \
    return (scalar){.i = (__VA_ARGS__)}; \
  }
#define INT_BITS INT_INT
#define INT_CMP(name, ...)                          \
  case OP_##name: {                                 \
    int64_t a = ordered(t, sa), b = ordered(t, sb); \
    return (scalar){.i = (__VA_ARGS__)};            \
  }
#define INT_FLOAT NO_CASE
#define INT_FCLASS NO_CASE
#define INT_WHERE NO_CASE
#define INT_CAST NO_CASE
#define INT_BITCAST NO_CASE
#define INT_RANDOM NO_CASE

static scalar eval_int(op o, dtype t, const scalar *in, int nin) {
  int64_t sa = in[0].i, sb = nin > 1 ? in[1].i : 0;
#define SELECT_map(types, name, ...) INT_##types(name, __VA_ARGS__)
#define DIV(x, y) (uint64_t) int_div(t, (int64_t)(x), (int64_t)(y))
#define REM(x, y) (uint64_t) int_rem(t, (int64_t)(x), (int64_t)(y))
#define MIN(x, y) (uint64_t) int_min(t, (int64_t)(x), (int64_t)(y))
#define MAX(x, y) (uint64_t) int_max(t, (int64_t)(x), (int64_t)(y))
#define ABS(x) (uint64_t) int_abs(t, (int64_t)(x))
#define SIGN(x) (uint64_t) int_sign(t, (int64_t)(x))
#define SHL(x, y) int_shl(t, x, y)
#define SHR(x, y) int_shr(t, x, y)
#define NOT(x) int_not(t, x)
  switch (o) {
#include "ir/ops.def"
    default: panic("%s has no meaning on integers", op_get(o)->name);
  }
#undef SELECT_map
}
#undef OP

static scalar eval_bitcast(dtype from, dtype to, scalar v) {
  unsigned char bytes[8];
  scalar_store(bytes, from, v);
  return scalar_load(bytes, to);
}

scalar op_eval(op o, dtype operand, dtype result, const scalar *in) {
  int nin = op_get(o)->arity;
  switch (o) {
    case OP_where: return in[0].i ? in[1] : in[2];
    case OP_cast: return scalar_cast(in[0], operand, result);
    case OP_bitcast: return eval_bitcast(operand, result, in[0]);
    case OP_random_bits:
      return (scalar){.i = (int64_t)op_random_bits((uint64_t)in[0].i, (uint64_t)in[1].i)};
    default: break;
  }
  if (!dtype_is_float(operand)) return scalar_cast(eval_int(o, operand, in, nin), DT_i64, result);
  scalar v = eval_float(o, operand, in, nin);
  return dtype_is_float(result) ? scalar_cast(v, DT_f64, result) : v;
}

op op_combiner(op o) { return infos[o].combine == OP_none ? o : infos[o].combine; }

static scalar float_identity(op_identity_kind kind) {
  switch (kind) {
    case IDENTITY_zero: return (scalar){.f = 0};
    case IDENTITY_one: return (scalar){.f = 1};
    case IDENTITY_least: return (scalar){.f = -INFINITY};
    case IDENTITY_most: return (scalar){.f = INFINITY};
    default: panic("no identity on floats");
  }
}

static scalar int_identity(op_identity_kind kind, dtype t) {
  switch (kind) {
    case IDENTITY_zero: return (scalar){.i = 0};
    case IDENTITY_one: return (scalar){.i = 1};
    case IDENTITY_ones: return scalar_cast((scalar){.i = -1}, DT_i64, t);
    case IDENTITY_least: return scalar_limit(t, false);
    case IDENTITY_most: return scalar_limit(t, true);
    default: panic("no identity on integers");
  }
}

scalar op_identity(op o, dtype t) {
  op_identity_kind kind = infos[op_combiner(o)].identity;
  return dtype_is_float(t) ? float_identity(kind) : int_identity(kind, t);
}

scalar op_neutral(op o, dtype t) {
  scalar identity = op_identity(o, t);
  if (dtype_is_float(t) && op_combiner(o) == OP_add) identity.f = -0.0;
  return identity;
}

scalar op_combine(op o, dtype t, scalar acc, scalar v) {
  return op_eval(op_combiner(o), t, t, (scalar[]){acc, v});
}

op_running op_start(scalar from) { return (op_running){.acc = from}; }

void op_step(op_running *r, op o, dtype t, scalar v) {
  if (!dtype_is_float(t)) r->acc = op_combine(o, t, r->acc, v);
  else if (op_combiner(o) == OP_add) op_add_float(r, v.f);
  else r->acc = op_combine(o, DT_f64, r->acc, v);
}

/// What was lost is multiplied on, too; and a product loses what its fma finds. Langlois, Louvet, "How
/// to ensure a faithful polynomial evaluation with the compensated Horner algorithm", ARITH 18 (2007).
void op_step_affine(op_running *r, dtype t, scalar a, scalar b) {
  if (!dtype_is_float(t)) {
    scalar product = op_eval(OP_mul, t, t, (scalar[]){a, r->acc});
    r->acc = op_eval(OP_add, t, t, (scalar[]){product, b});
    return;
  }
  double product = a.f * r->acc.f;
  r->lost = a.f * r->lost + fma(a.f, r->acc.f, -product);
  r->acc.f = product;
  op_add_float(r, b.f);
}

scalar op_value(op_running r, dtype t) {
  if (!dtype_is_float(t)) return r.acc;
  // Beside an infinite sum there is nothing but NaN; and -0 + 0 would be 0.
  if (r.lost != 0 && isfinite(r.lost)) r.acc.f += r.lost;
  return scalar_cast(r.acc, DT_f64, t);
}

// ---- random numbers

void op_philox(uint32_t c[4], uint64_t key) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t even = (uint64_t)c[0] * 0xD2511F53u, odd = (uint64_t)c[2] * 0xCD9E8D57u;
    c[0] = (uint32_t)(odd >> 32) ^ c[1] ^ k0;
    c[1] = (uint32_t)odd;
    c[2] = (uint32_t)(even >> 32) ^ c[3] ^ k1;
    c[3] = (uint32_t)even;
    k0 += 0x9E3779B9u;  // the golden ratio, then sqrt(3) - 1
    k1 += 0xBB67AE85u;
  }
}

uint64_t op_random_bits(uint64_t key, uint64_t counter) {
  uint32_t c[4] = {(uint32_t)counter, (uint32_t)(counter >> 32), 0, 0};
  op_philox(c, key);
  return (uint64_t)c[1] << 32 | c[0];
}
