// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "frontend/spelling.h"

#include "base/clocale.h"

// ---- slips

enum { ORDINARY = 5, LONG = 9, MOST_WORDS = 8 };

static int lower(char c) { return char_lower(c); }

static bool same_letters(str a, str b) {
  for (int i = 0; i < a.len && a.len == b.len; i++)
    if (lower(a.ptr[i]) != lower(b.ptr[i])) return false;
  return a.len == b.len;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// The digits of both, in order, are the same.
static bool same_digits(str a, str b) {
  int i = 0, k = 0;
  for (;; i++, k++) {
    while (i < a.len && !is_digit(a.ptr[i])) i++;
    while (k < b.len && !is_digit(b.ptr[k])) k++;
    if (i == a.len || k == b.len) return i == a.len && k == b.len;
    if (a.ptr[i] != b.ptr[k]) return false;
  }
}

static bool is_swap(str a, str b) {
  int i = 0;
  if (a.len != b.len) return false;
  while (i < a.len && a.ptr[i] == b.ptr[i]) i++;
  if (i + 1 >= a.len || a.ptr[i] != b.ptr[i + 1] || a.ptr[i + 1] != b.ptr[i]) return false;
  for (i += 2; i < a.len; i++)
    if (a.ptr[i] != b.ptr[i]) return false;
  return true;
}

/// `longer` is `shorter` with one letter doubled.
static bool is_doubling(str shorter, str longer) {
  int i = 0;
  if (longer.len != shorter.len + 1) return false;
  while (i < shorter.len && shorter.ptr[i] == longer.ptr[i]) i++;
  if (i == 0 || longer.ptr[i] != longer.ptr[i - 1]) return false;
  for (; i < shorter.len; i++)
    if (shorter.ptr[i] != longer.ptr[i + 1]) return false;
  return true;
}

/// How far a word is from another; -1: it is another word.
static int word_slip(str a, str b) {
  enum { CASE = 1, LETTER = 2 };
  if (str_eq(a, b)) return 0;
  if (!same_digits(a, b)) return -1;
  if (same_letters(a, b)) return CASE;
  if (is_swap(a, b) || is_doubling(a, b) || is_doubling(b, a)) return LETTER;
  int shorter = a.len < b.len ? a.len : b.len;
  int allowed = shorter >= LONG ? 2 : shorter >= ORDINARY ? 1 : 0;
  if (a.len != b.len && lower(a.ptr[0]) != lower(b.ptr[0])) return -1;
  int distance = str_distance(a, b);
  return distance <= allowed ? LETTER * distance : -1;
}

/// The words between underscores; -1: more than there is room for.
static int split_words(str name, str *words) {
  int n = 0;
  for (int i = 0, begin = 0; i <= name.len; i++) {
    if (i < name.len && name.ptr[i] != '_') continue;
    if (i > begin && n == MOST_WORDS) return -1;
    if (i > begin) words[n++] = (str){name.ptr + begin, i - begin};
    begin = i + 1;
  }
  return n;
}

/// Equal but for underscores and case.
static bool same_but_underscores(str a, str b) {
  int i = 0, k = 0;
  for (;; i++, k++) {
    while (i < a.len && a.ptr[i] == '_') i++;
    while (k < b.len && b.ptr[k] == '_') k++;
    if (i == a.len || k == b.len) return i == a.len && k == b.len;
    if (lower(a.ptr[i]) != lower(b.ptr[k])) return false;
  }
}

static int slip(str a, str b) {
  str wa[MOST_WORDS], wb[MOST_WORDS];
  int na = split_words(a, wa), nb = split_words(b, wb), sum = 0;
  if (same_but_underscores(a, b)) return 1;
  if (na != nb || na < 1) return -1;
  for (int i = 0; i < na; i++) {
    int one = word_slip(wa[i], wb[i]);
    if (one < 0) return -1;
    sum += one;
  }
  return sum;
}

str nearest_name(str name, const str *candidates, int n) {
  str best = {0};
  int least = -1;
  bool alone = false;
  for (int i = 0; i < n; i++) {
    int one = slip(name, candidates[i]);
    if (one < 0 || (least >= 0 && one > least)) continue;
    alone = one != least || str_eq(candidates[i], best);
    best = candidates[i];
    least = one;
  }
  return alone ? best : (str){0};
}

// ---- other languages

#define DOT "a product of tensors names the axes it sums over: dot(a, b, AXIS)"
#define ORDER "axes have names, and their order is that of the signature"
#define SPLIT "an axis is split by x[D -> (H, K)], and axes are merged by x[(H, K) -> D]"
#define JOIN "values are joined by concat(a, b, (P, Q) -> D)"
#define FILL "a number meets every axis by itself; alone it is repeated by broadcast(0.0, N)"
#define COORDINATE "the coordinate along an axis is index(N)"
#define SCAN \
  "running combines are cumsum, cumprod, cummax and cummin (x, AXIS), and affine_scan(a, b, AXIS) " \
  "of y = a * y + b"
#define AFFINE "y[t] = a[t] * y[t - 1] + b[t] is affine_scan(a, b, AXIS)"
#define LOOP "there are no loops: operations take all elements of an axis, and sum, max, cumsum and others combine along one"
#define CHOICE "there is no if: a choice by element is where(condition, a, b)"
#define BACKWARD "derivatives are values: let (da, db) = grad(y, a, b)"
#define AGAIN "values that a derivative computes again are named in a block: checkpoint { let y = f(x) }"
#define MODULO "a % b has the sign of a; of floats, a - b * floor(a / b) has that of b"

static const foreign functions[] = {
    {"swish", "silu", NULL}, {"matmul", NULL, DOT}, {"mm", NULL, DOT}, {"bmm", NULL, DOT},
    {"einsum", NULL, DOT}, {"tensordot", NULL, DOT}, {"gemm", NULL, DOT}, {"linear", NULL, DOT},
    {"dense", NULL, DOT}, {"outer", NULL, "x * y of different axes is the outer product"},
    {"transpose", NULL, ORDER}, {"permute", NULL, ORDER}, {"swapaxes", NULL, ORDER},
    {"reshape", NULL, SPLIT}, {"view", NULL, SPLIT}, {"rearrange", NULL, SPLIT},
    {"flatten", NULL, "axes are merged by x[(H, K) -> D]"},
    {"unflatten", NULL, "an axis is split by x[D -> (H, K)]"},
    {"squeeze", NULL, "an axis of size one goes by x[R = 0]"},
    {"unsqueeze", NULL, "an axis of size one is made by broadcast(x, R = 1)"},
    {"expand_dims", NULL, "an axis of size one is made by broadcast(x, R = 1)"},
    {"expand", NULL, "a value is repeated along a new axis by broadcast(x, R = 4)"},
    {"repeat", NULL, "a value is repeated along a new axis by broadcast(x, R = 4)"},
    {"tile", NULL, "a value is repeated along a new axis by broadcast(x, R = 4)"},
    {"concatenate", NULL, JOIN}, {"cat", NULL, JOIN}, {"stack", NULL, JOIN},
    {"hstack", NULL, JOIN}, {"vstack", NULL, JOIN},
    {"split", NULL, "a part of an axis is x[D = 0:4 -> E]"},
    {"chunk", NULL, "a part of an axis is x[D = 0:4 -> E]"},
    {"slice", NULL, "a part of an axis is x[D = 0:4 -> E]"},
    {"take", NULL, "elements are taken by index: x[V = indices]"},
    {"gather", NULL, "elements are taken by index: x[V = indices]"},
    {"index_select", NULL, "elements are taken by index: x[V = indices]"},
    {"embedding", NULL, "elements are taken by index: x[V = indices]"},
    {"scatter", NULL, "updates are added by scatter_add(x, V = indices, updates)"},
    {"zeros", NULL, FILL}, {"ones", NULL, FILL}, {"full", NULL, FILL}, {"empty", NULL, FILL},
    {"zeros_like", NULL, FILL}, {"ones_like", NULL, FILL}, {"full_like", NULL, FILL},
    {"fill", NULL, FILL}, {"constant", NULL, FILL},
    {"arange", NULL, COORDINATE}, {"range", NULL, COORDINATE}, {"iota", NULL, COORDINATE},
    {"linspace", NULL, COORDINATE},
    {"eye", NULL, "write f32(index(N) == index(M))"},
    {"one_hot", NULL, "write f32(index(V) == target)"},
    {"tril", NULL, "write where(index(T) <= index(S), x, 0)"},
    {"triu", NULL, "write where(index(T) >= index(S), x, 0)"},
    {"scan", NULL, SCAN}, {"associative_scan", NULL, SCAN}, {"accumulate", NULL, SCAN},
    {"ema", NULL, AFFINE}, {"ewm", NULL, AFFINE}, {"lfilter", NULL, AFFINE},
    {"selective_scan", NULL, AFFINE}, {"linear_scan", "affine_scan", NULL},
    {"prefix_sum", "cumsum", NULL},
    {"map", NULL, LOOP}, {"vmap", NULL, LOOP}, {"fold", NULL, LOOP}, {"reduce", NULL, LOOP},
    {"for", NULL, LOOP}, {"while", NULL, LOOP}, {"if", NULL, CHOICE}, {"ifelse", NULL, CHOICE},
    {"if_else", NULL, CHOICE}, {"select", NULL, CHOICE}, {"cond", NULL, CHOICE},
    {"arcsin", "asin", NULL}, {"arccos", "acos", NULL}, {"arctan", "atan", NULL},
    {"arctan2", "atan2", NULL}, {"fabs", "abs", NULL}, {"ln", "log", NULL},
    {"ceiling", "ceil", NULL}, {"rint", "round", NULL}, {"clip", "clamp", NULL},
    {"minimum", "min", NULL}, {"maximum", "max", NULL},
    {"fmin", NULL, "min(a, b) is NaN where one of them is"},
    {"fmax", NULL, "max(a, b) is NaN where one of them is"}, {"power", "pow", NULL},
    {"average", "mean", NULL}, {"amax", "max", NULL}, {"amin", "min", NULL},
    {"var", NULL, "variance(x, AXIS) is divided by the count"}, {"log1m", NULL, "write log1p(-x)"},
    {"asinh", NULL, "write sign(x) * log(abs(x) + sqrt(x * x + 1))"},
    {"acosh", NULL, "write log(x + sqrt(x * x - 1))"},
    {"atanh", NULL, "write 0.5 * (log1p(x) - log1p(-x))"},
    {"exp10", NULL, "write pow(10, x)"}, {"cbrt", NULL, "write sign(x) * abs(x) ** (1 / 3)"},
    {"square", NULL, "write x ** 2"}, {"reciprocal", NULL, "write 1 / x"},
    {"negative", NULL, "write -x"}, {"mod", NULL, MODULO}, {"fmod", NULL, "write a % b"},
    {"remainder", NULL, MODULO}, {"floor_mod", NULL, MODULO},
    {"isfinite", NULL, "write !(is_nan(x) || is_inf(x))"},
    {"std", NULL, "write sqrt(variance(x, AXIS)), which is divided by the count"},
    {"logaddexp", NULL, "write max(a, b) + log1p(exp(-abs(a - b)))"},
    {"relu6", NULL, "write clamp(x, 0, 6)"}, {"hardtanh", NULL, "write clamp(x, -1, 1)"},
    {"gradient", "grad", NULL}, {"autograd", "grad", NULL}, {"backward", NULL, BACKWARD},
    {"value_and_grad", NULL, BACKWARD}, {"detach", "stop", NULL}, {"stop_gradient", "stop", NULL},
    {"vjp", NULL, "write grad(y, x, seed = dy)"},
    {"jacobian", NULL, "it is a gradient with the identity as its seed: grad(y, x, seed = f32(index(N) == index(M)))"},
    {"checkpoint", NULL, AGAIN}, {"remat", NULL, AGAIN},
    {"dropout", NULL, "write where(uniform(seed, N, D) < p, 0, x / (1 - p))"},
    {"mse_loss", NULL, "write mean((x - y) ** 2, AXIS)"},
    {"shape", NULL, "the name of an axis, used as a number, is its size"},
    {"size", NULL, "the name of an axis, used as a number, is its size"},
    {"len", NULL, "the name of an axis, used as a number, is its size"},
};

const foreign *foreign_function(str name) {
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    if (str_eqz(name, functions[i].name)) return &functions[i];
  return NULL;
}

const char *foreign_type(str name) {
  static const struct { const char *wrong, *right; } types[] = {
      {"float", "f32"}, {"double", "f64"}, {"half", "f16"}, {"bfloat16", "bf16"},
      {"float16", "f16"}, {"float32", "f32"}, {"float64", "f64"}, {"fp16", "f16"},
      {"fp32", "f32"}, {"fp64", "f64"}, {"short", "i16"}, {"int", "i32"}, {"long", "i64"},
      {"int8", "i8"}, {"int16", "i16"}, {"int32", "i32"}, {"int64", "i64"}, {"byte", "u8"},
      {"uint8", "u8"}, {"uint16", "u16"}, {"uint32", "u32"}, {"uint64", "u64"}, {"uint", "u32"},
      {"boolean", "bool"}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (str_eqz(name, types[i].wrong)) return types[i].right;
  return NULL;
}

const char *foreign_word(str word) {
  static const struct { const char *word, *hint;
  } words[] = {{"for", LOOP},
               {"while", LOOP},
               {"loop", LOOP},
               {"if", CHOICE},
               {"else", CHOICE},
               {"elif", CHOICE},
               {"switch", CHOICE},
               {"match", CHOICE},
               {"var", "values are named by let"},
               {"const", "values are named by let"},
               {"auto", "values are named by let"},
               {"val", "values are named by let"},
               {"stream", "contracts begin with `fuse`: fuse stream(T) { ... }"},
               {"print", "there is no output but the results"}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (str_eqz(word, words[i].word)) return words[i].hint;
  return NULL;
}
