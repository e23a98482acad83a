// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensors: limits, strides, copies, random filling, comparison.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "runtime/tensor.h"

Test(runtime_tensor, sizes_are_checked) {
  error e = {0};
  cr_assert_null(tensor_new(DT_f32, 2, (int64_t[]){1LL << 40, 1LL << 40}, &e));
  cr_assert_eq(e.kind, ERROR_USAGE);
  cr_assert(strstr(e.text, "more than 2^61 bytes"), "%s", e.text);
  cr_assert_null(tensor_new(DT_f32, 1, (int64_t[]){-1}, &e));
  cr_assert(strstr(e.text, "negative size -1"), "%s", e.text);
  cr_assert_null(tensor_new(DT_f32, 17, (int64_t[17]){0}, &e));
  cr_assert(strstr(e.text, "at most 16 axes"), "%s", e.text);
  cr_assert_null(tensor_new(DT_f64, 1, (int64_t[]){((int64_t)1 << 36) + 1}, &e));
  cr_assert_eq(e.kind, ERROR_USAGE);
  cr_assert(strstr(e.text, "549755813896 bytes is beyond the limit of 512 GiB"), "%s", e.text);
  cr_assert_null(tensor_borrow(DT_f32, 1, (int64_t[]){4}, NULL, NULL, &e));
  tensor *empty = tensor_borrow(DT_f32, 2, (int64_t[]){4, 0}, NULL, NULL, &e);
  cr_assert(empty);
  cr_assert_eq(tensor_elements(empty), 0);
  tensor_free(empty);
}

Test(runtime_tensor, memory_is_aligned) {
  for (int64_t n = 0; n < 5 << 20; n = n * 3 + 1) {
    tensor *t = tensor_new(DT_u8, 1, &n, NULL);
    cr_assert_eq((uintptr_t)t->data % TENSOR_ALIGNMENT, 0);
    memset(t->data, 1, (size_t)n);
    tensor_free(t);
  }
}

Test(runtime_tensor, strided_copies) {
  int32_t data[24];
  for (int i = 0; i < 24; i++) data[i] = i;
  // A 2x3x4 array seen transposed and with its middle axis reversed.
  tensor *t =
      tensor_borrow(DT_i32, 3, (int64_t[]){4, 3, 2}, (int64_t[]){4, -16, 48}, data + 8, NULL);
  tensor *c = tensor_compact(t, NULL);
  cr_assert(tensor_is_contiguous(c));
  cr_assert_not(tensor_is_contiguous(t));
  cr_assert(tensor_is_aligned(t));
  for (int64_t i = 0; i < 4; i++)
    for (int64_t j = 0; j < 3; j++)
      for (int64_t k = 0; k < 2; k++) {
        int32_t wanted = (int32_t)(k * 12 + (2 - j) * 4 + i);
        cr_assert_eq(((int32_t *)c->data)[(i * 3 + j) * 2 + k], wanted);
        cr_assert_eq(tensor_at(t, (i * 3 + j) * 2 + k).i, wanted);
      }
  const char *begin, *end;
  tensor_extent(t, &begin, &end);
  cr_assert_eq(begin, (const char *)data);
  cr_assert_eq(end, (const char *)(data + 24));
  cr_assert(tensor_overlaps(t, t));
  cr_assert_not(tensor_overlaps(t, c));
  tensor_free(c);
  tensor_free(t);
}

Test(runtime_tensor, repeated_and_unaligned_elements) {
  float one = 5;
  tensor *t = tensor_borrow(DT_f32, 2, (int64_t[]){3, 2}, (int64_t[]){0, 0}, &one, NULL);
  tensor *c = tensor_compact(t, NULL);
  for (int i = 0; i < 6; i++) cr_assert_eq(((float *)c->data)[i], 5);
  tensor_free(c);
  tensor_free(t);
  char bytes[32] = {0};
  float v = 3;
  memcpy(bytes + 1, &v, 4);
  t = tensor_borrow(DT_f32, 1, (int64_t[]){2}, (int64_t[]){5}, bytes + 1, NULL);
  cr_assert_not(tensor_is_aligned(t));
  c = tensor_compact(t, NULL);
  cr_assert_eq(((float *)c->data)[0], 3);
  tensor_free(c);
  tensor_free(t);
}

Test(runtime_tensor, random_numbers_are_normal_and_repeatable) {
  int64_t n = 1 << 16;
  tensor *a = tensor_new(DT_f32, 1, &n, NULL), *b = tensor_new(DT_f64, 1, &n, NULL);
  tensor_fill_random(a, 7);
  tensor_fill_random(b, 7);
  double sum = 0, square = 0, fourth = 0, lag = 0, previous = 0;
  for (int64_t i = 0; i < n; i++) {
    double v = tensor_at(a, i).f;
    cr_assert_float_eq(v, tensor_at(b, i).f, 1e-6);
    sum += v;
    square += v * v;
    fourth += v * v * v * v;
    lag += v * previous;
    previous = v;
  }
  // Five standard deviations of each estimate.
  cr_assert_lt(fabs(sum / n), 5 / sqrt(n));
  cr_assert_lt(fabs(square / n - 1), 5 * sqrt(2. / n));
  cr_assert_lt(fabs(fourth / n - 3), 5 * sqrt(96. / n));
  cr_assert_lt(fabs(lag / n), 5 / sqrt(n));
  // Strided memory and odd lengths change nothing.
  tensor *odd = tensor_borrow(DT_f32, 1, (int64_t[]){7}, NULL, (float[7]){0}, NULL);
  tensor *apart = tensor_borrow(DT_f32, 1, (int64_t[]){7}, (int64_t[]){8}, (float[14]){0}, NULL);
  tensor_fill_random(odd, 7);
  tensor_fill_random(apart, 7);
  for (int64_t i = 0; i < 7; i++) {
    cr_assert_eq(tensor_at(odd, i).f, tensor_at(a, i).f);
    cr_assert_eq(tensor_at(apart, i).f, tensor_at(a, i).f);
  }
  tensor_free(odd);
  tensor_free(apart);
  tensor_fill_random(b, 8);
  cr_assert_gt(tensor_compare(b, b, 0).elements, 0);
  cr_assert_neq(tensor_at(a, 3).f, tensor_at(b, 3).f);
  tensor_free(a);
  tensor_free(b);
}

Test(runtime_tensor, uniform_integers_stay_in_their_range) {
  int64_t n = 10000, seen[5] = {0};
  tensor *t = tensor_new(DT_i32, 1, &n, NULL);
  tensor_fill_uniform(t, 1, -2, 3);
  for (int64_t i = 0; i < n; i++) {
    int64_t v = tensor_at(t, i).i;
    cr_assert(v >= -2 && v < 3);
    seen[v + 2]++;
  }
  for (int i = 0; i < 5; i++) cr_assert_gt(seen[i], 1800);
  tensor_free(t);
}

static tensor *of_floats(const float *v, int64_t n) {
  return tensor_borrow(DT_f32, 1, &n, NULL, (void *)v, NULL);
}

Test(runtime_tensor, differences) {
  float a[] = {1, 2, INFINITY, NAN, -0.0f}, b[] = {1, 2, INFINITY, NAN, 0};
  tensor *x = of_floats(a, 5), *y = of_floats(b, 5);
  tensor_difference d = tensor_compare(x, y, 0);
  cr_assert_eq(d.failed, 0);
  cr_assert_eq(d.worst, -1);
  a[1] = nextafterf(nextafterf(2, 3), 3);
  d = tensor_compare(x, y, 0);
  cr_assert_eq(d.failed, 1);
  cr_assert_eq(d.worst, 1);
  cr_assert_float_eq(d.max_ulp, 2, 1e-9);
  cr_assert_eq(tensor_compare(x, y, 1e-6).failed, 0);
  a[2] = 5;  // a number where infinity was wanted is never within a tolerance
  cr_assert_eq(tensor_compare(x, y, 1e6).failed, 1);
  a[3] = 5;
  cr_assert_eq(tensor_compare(x, y, 1e6).failed, 2);
  tensor_free(x);
  tensor_free(y);
}
