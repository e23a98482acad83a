// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Foreign calls.
#include "runtime/call.h"

#include <ffi.h>
#include <stdlib.h>

typedef struct call_types {
  ffi_cif cif;
  ffi_type *types[];
} call_types;

bool call_prepare(call_shape *s, int npointers, int nints, bool frame, error *e) {
  int n = npointers + nints + frame;
  call_types *t = malloc(sizeof *t + sizeof *t->types * (size_t)n);
  if (!t) return error_set(e, ERROR_MEMORY, "out of memory");
  for (int i = 0; i < n; i++)
    t->types[i] = i < npointers || i == npointers + nints ? &ffi_type_pointer : &ffi_type_sint64;
  if (ffi_prep_cif(&t->cif, FFI_DEFAULT_ABI, (unsigned)n, &ffi_type_sint32, t->types) != FFI_OK) {
    free(t);
    return error_set(e, ERROR_USAGE, "libffi does not take a signature of %d arguments", n);
  }
  *s = (call_shape){t, npointers, nints, frame};
  return true;
}

void call_release(call_shape *s) {
  free(s->private_);
  s->private_ = NULL;
}

/// Few pointers and no sizes: a plain call. libffi takes 45 ns, a small kernel not much more.
static bool invoke_few(void (*function)(void), int n, void *const *p, tcf_frame *frame,
                       int32_t *result) {
  typedef int32_t with1(void *, tcf_frame *);
  typedef int32_t with2(void *, void *, tcf_frame *);
  typedef int32_t with3(void *, void *, void *, tcf_frame *);
  typedef int32_t with4(void *, void *, void *, void *, tcf_frame *);
  typedef int32_t with5(void *, void *, void *, void *, void *, tcf_frame *);
  switch (n) {
    case 1: *result = ((with1 *)function)(p[0], frame); return true;
    case 2: *result = ((with2 *)function)(p[0], p[1], frame); return true;
    case 3: *result = ((with3 *)function)(p[0], p[1], p[2], frame); return true;
    case 4: *result = ((with4 *)function)(p[0], p[1], p[2], p[3], frame); return true;
    case 5: *result = ((with5 *)function)(p[0], p[1], p[2], p[3], p[4], frame); return true;
    default: return false;
  }
}

int32_t call_invoke(const call_shape *s, void (*function)(void), void *const *pointers,
                    const int64_t *ints, tcf_frame *frame) {
  call_types *t = s->private_;
  int n = s->npointers + s->nints + s->frame;
  int32_t status;
  if (s->frame && !s->nints && invoke_few(function, s->npointers, pointers, frame, &status))
    return status;
  void *values[n + 1];
  for (int i = 0; i < s->npointers; i++) values[i] = (void *)&pointers[i];
  for (int i = 0; i < s->nints; i++) values[s->npointers + i] = (void *)&ints[i];
  if (s->frame) values[n - 1] = &frame;
  ffi_arg result = 0;
  ffi_call(&t->cif, function, &result, values);
  return (int32_t)result;
}
