// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Growable array in an arena:  vec(int) v = {0};  vec_push(a, &v, 3);  v.data[i], v.len
#pragma once
#include "base/arena.h"

#define vec(T)    \
  struct {        \
    T *data;      \
    int len, cap; \
  }

#define vec_push(a, v, ...)                                                                 \
  do {                                                                                      \
    if ((v)->len == (v)->cap) {                                                             \
      int cap_ = (v)->cap ? (v)->cap * 2 : 8;                                               \
      (v)->data = arena_grow((a), (v)->data, sizeof *(v)->data * (size_t)(v)->cap,          \
                             sizeof *(v)->data * (size_t)cap_);                             \
      (v)->cap = cap_;                                                                      \
    }                                                                                       \
    (v)->data[(v)->len++] = (__VA_ARGS__);                                                  \
  } while (0)

typedef vec(int) ints;
