// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The public face of tensors and array files: runtime functions with statuses. What reads or fills
// a tensor of a device does it on a copy in the host's memory.
#include <math.h>
#include <stdlib.h>

#include "api/session.h"
#include "runtime/formats.h"

// The public enum is the internal one by position.
#define X(name, bytes, class, npy) \
  _Static_assert((int)TCF_##name == (int)DT_##name, "tcf_dtype follows ir/dtype.h");
enum {
  TCF_f64 = TCF_F64,
  TCF_f32 = TCF_F32,
  TCF_f16 = TCF_F16,
  TCF_bf16 = TCF_BF16,
  TCF_i64 = TCF_I64,
  TCF_i32 = TCF_I32,
  TCF_i16 = TCF_I16,
  TCF_i8 = TCF_I8,
  TCF_u8 = TCF_U8,
  TCF_bool = TCF_BOOL,
  TCF_u64 = TCF_U64,
  TCF_u32 = TCF_U32,
  TCF_u16 = TCF_U16
};
DTYPES(X)
#undef X
_Static_assert((int)TCF_MAX_RANK == (int)TENSOR_MAX_RANK, "one limit on axes");
_Static_assert((int)TCF_MAX_RANK == (int)MAX_AXES, "one limit on axes");

static bool type_exists(tcf_dtype t) { return (unsigned)t < DT_COUNT; }
size_t tcf_dtype_size(tcf_dtype t) { return type_exists(t) ? (size_t)dtype_bytes((dtype)t) : 0; }
const char *tcf_dtype_name(tcf_dtype t) {
  return type_exists(t) ? dtype_name((dtype)t) : "unknown";
}

static tcf_status give(tcf_session *s, tensor *t, const error *e, tcf_tensor **out) {
  if (!t) return session_fail_error(s, e);
  *out = t;
  return TCF_OK;
}

static tcf_status check_new(tcf_session *s, tcf_dtype t, int rank, const int64_t *dims,
                            tcf_tensor **out) {
  if (!type_exists(t)) return session_fail(s, TCF_WRONG_USE, "%d is no element type", (int)t);
  tcf_status status = rank > 0 ? need(s, dims, "the list of dims") : TCF_OK;
  return status ? status : need(s, out, "the tensor");
}

tcf_status tcf_tensor_new(tcf_session *s, tcf_dtype type, int rank, const int64_t *dims,
                          tcf_tensor **out) {
  entry in;
  error e;
  entry_open_tensors(&in, &s);
  tcf_status status = check_new(s, type, rank, dims, out);
  if (!status) status = give(s, tensor_new((dtype)type, rank, dims, &e), &e, out);
  return entry_close(&in, status);
}

tcf_status tcf_tensor_borrow(tcf_session *s, tcf_dtype type, int rank, const int64_t *dims,
                             const int64_t *strides, void *data, tcf_tensor **out) {
  entry in;
  error e;
  entry_open_tensors(&in, &s);
  tcf_status status = check_new(s, type, rank, dims, out);
  if (!status) status = give(s, tensor_borrow((dtype)type, rank, dims, strides, data, &e), &e, out);
  return entry_close(&in, status);
}

void tcf_tensor_free(tcf_tensor *t) { tensor_free(t); }
tcf_dtype tcf_tensor_dtype(const tcf_tensor *t) { return t ? (tcf_dtype)t->type : TCF_F64; }
int tcf_tensor_rank(const tcf_tensor *t) { return t ? t->rank : 0; }
const int64_t *tcf_tensor_dims(const tcf_tensor *t) { return t ? t->dims : NULL; }
const int64_t *tcf_tensor_strides(const tcf_tensor *t) { return t ? t->strides : NULL; }
void *tcf_tensor_data(const tcf_tensor *t) { return t ? t->data : NULL; }
int64_t tcf_tensor_elements(const tcf_tensor *t) { return t ? tensor_elements(t) : 0; }

// ---- devices

tcf_status tcf_tensor_new_device(tcf_session *s, tcf_dtype type, int rank, const int64_t *dims,
                                 tcf_tensor **out) {
  entry in;
  error e;
  cuda_device *d;
  tcf_status status = entry_open(&in, s);
  if (status) return status;
  status = check_new(s, type, rank, dims, out);
  if (!status) status = session_device(s, &d);
  if (!status) status = give(s, cuda_tensor_new(d, (dtype)type, rank, dims, &e), &e, out);
  return entry_close(&in, status);
}

tcf_status tcf_tensor_borrow_device(tcf_session *s, tcf_dtype type, int rank, const int64_t *dims,
                                    const int64_t *strides, void *data, tcf_tensor **out) {
  entry in;
  error e;
  cuda_device *d;
  tcf_status status = entry_open(&in, s);
  if (status) return status;
  status = check_new(s, type, rank, dims, out);
  if (!status) status = session_device(s, &d);
  if (!status)
    status = give(s, cuda_tensor_borrow(d, (dtype)type, rank, dims, strides, data, &e), &e, out);
  return entry_close(&in, status);
}

int tcf_tensor_device(const tcf_tensor *t) { return t ? tensor_ordinal(t) : -1; }

static bool same_shape(const tensor *a, const tensor *b) {
  bool same = a->type == b->type && a->rank == b->rank;
  for (int k = 0; same && k < a->rank; k++) same = a->dims[k] == b->dims[k];
  return same;
}

tcf_status tcf_tensor_copy(tcf_session *s, tcf_tensor *to, const tcf_tensor *from) {
  entry in;
  error e;
  entry_open_tensors(&in, &s);
  tcf_status status = need(s, to, "the tensor to copy to");
  if (!status) status = need(s, from, "the tensor to copy");
  if (!status && !same_shape(to, from))
    status = session_fail(s, TCF_WRONG_USE, "only tensors of the same type and sizes are copied");
  if (!status && !tensor_transfer(to, from, &e)) status = session_fail_error(s, &e);
  return entry_close(&in, status);
}

/// The tensor itself, or a copy of a device's in *copy. Null with *e.
static const tensor *host_view(const tensor *t, tensor **copy, error *e) {
  *copy = NULL;
  return t->device ? (*copy = tensor_to_host(t, e)) : t;
}

/// Of a device the one element is copied; false when that fails.
static bool element_at(const tensor *t, int64_t i, scalar *out) {
  char element[8];
  if (!t || i < 0 || i >= tensor_elements(t)) return false;
  if (!t->device) return *out = tensor_at(t, i), true;
  const char *at = t->data;
  for (int k = t->rank - 1; k >= 0; k--) {
    at += i % t->dims[k] * t->strides[k];
    i /= t->dims[k];
  }
  size_t size = (size_t)dtype_bytes(t->type);
  if (!cuda_copy(t->device, CUDA_TO_HOST, element, at, size, NULL)) return false;
  *out = scalar_load(element, t->type);
  return true;
}

double tcf_tensor_get(const tcf_tensor *t, int64_t i) {
  scalar v;
  return element_at(t, i, &v) ? scalar_double(v, t->type) : NAN;
}

int64_t tcf_tensor_get_integer(const tcf_tensor *t, int64_t i) {
  scalar v;
  return t && !dtype_is_float(t->type) && element_at(t, i, &v) ? v.i : 0;
}

/// A tensor being filled, by way of one of the host's memory.
typedef struct filling {
  tensor *tensor, *image;
  float_modes modes;
} filling;

/// Out of memory leaves the tensor as it was.
static bool fill_begin(filling *f, tensor *t) {
  if (!t) return false;
  *f = (filling){t, t, {0}};
  if (t->device && !(f->image = tensor_new(t->type, t->rank, t->dims, NULL))) return false;
  f->modes = float_modes_enter(false);
  return true;
}

static void fill_end(filling *f) {
  float_modes_leave(f->modes);
  if (f->image == f->tensor) return;
  tensor_transfer(f->tensor, f->image, NULL);
  tensor_free(f->image);
}

void tcf_tensor_fill_random(tcf_tensor *t, uint64_t seed) {
  filling f;
  if (!fill_begin(&f, t)) return;
  tensor_fill_random(f.image, seed);
  fill_end(&f);
}

void tcf_tensor_fill_uniform(tcf_tensor *t, uint64_t seed, double low, double high) {
  filling f;
  if (!fill_begin(&f, t)) return;
  tensor_fill_uniform(f.image, seed, low, high);
  fill_end(&f);
}

void tcf_tensor_fill(tcf_tensor *t, double value) {
  filling f;
  if (!fill_begin(&f, t)) return;
  tensor_fill_value(f.image, (scalar){.f = value}, DT_f64);
  fill_end(&f);
}

void tcf_tensor_fill_iota(tcf_tensor *t) {
  filling f;
  if (!fill_begin(&f, t)) return;
  tensor_fill_iota(f.image);
  fill_end(&f);
}

static tcf_status compare(tcf_session *s, const tensor *got, const tensor *wanted, double tolerance,
                          tcf_difference *out) {
  if (!same_shape(got, wanted))
    return session_fail(s, TCF_WRONG_USE, "only tensors of the same type and sizes are compared");
  error e;
  tensor *copies[2] = {0};
  const tensor *a = host_view(got, &copies[0], &e);
  const tensor *b = a ? host_view(wanted, &copies[1], &e) : NULL;
  if (b) {
    tensor_difference d = tensor_compare(a, b, tolerance);
    *out = (tcf_difference){d.elements, d.failed,  d.worst, d.got, d.wanted,  d.max_abs,
                            d.max_rel,  d.max_ulp, d.scale, d.nan, d.infinite};
  }
  tensor_free(copies[0]);
  tensor_free(copies[1]);
  return b ? TCF_OK : session_fail_error(s, &e);
}

tcf_status tcf_tensor_compare(tcf_session *s, const tcf_tensor *got, const tcf_tensor *wanted,
                              double tolerance, tcf_difference *out) {
  entry in;
  entry_open_tensors(&in, &s);
  tcf_status status = need(s, got, "the tensor to compare");
  if (!status) status = need(s, wanted, "the tensor to compare with");
  if (!status) status = need(s, out, "the difference");
  return entry_close(&in, status ? status : compare(s, got, wanted, tolerance, out));
}

// ---- files

tcf_status tcf_npy_load(tcf_session *s, const char *path, tcf_tensor **out) {
  entry in;
  error e;
  entry_open_tensors(&in, &s);
  tcf_status status = need(s, path, "the path");
  if (!status) status = need(s, out, "the tensor");
  if (!status) status = give(s, npy_load(path, &e), &e, out);
  return entry_close(&in, status);
}

struct tcf_archive {
  archive *file;
};

static tcf_status open_archive(tcf_session *s, const char *path, tcf_archive **out) {
  error e;
  tcf_archive *a = malloc(sizeof *a);
  if (!a) return session_fail(s, TCF_NO_MEMORY, "out of memory");
  a->file = archive_open(path, &e);
  if (a->file) {
    *out = a;
    return TCF_OK;
  }
  free(a);
  return session_fail_error(s, &e);
}

tcf_status tcf_archive_open(tcf_session *s, const char *path, tcf_archive **out) {
  entry in;
  entry_open_tensors(&in, &s);
  tcf_status status = need(s, path, "the path");
  if (!status) status = need(s, out, "the archive");
  return entry_close(&in, status ? status : open_archive(s, path, out));
}

void tcf_archive_free(tcf_archive *a) {
  if (!a) return;
  archive_close(a->file);
  free(a);
}

size_t tcf_archive_count(const tcf_archive *a) { return a ? (size_t)archive_count(a->file) : 0; }

const char *tcf_archive_name(const tcf_archive *a, size_t i) {
  return i < tcf_archive_count(a) ? archive_name(a->file, (int)i) : NULL;
}

tcf_status tcf_archive_load(tcf_session *s, tcf_archive *a, const char *name, tcf_tensor **out) {
  entry in;
  error e;
  entry_open_tensors(&in, &s);
  tcf_status status = need(s, a, "the archive");
  if (!status) status = need(s, name, "the name");
  if (!status) status = need(s, out, "the tensor");
  int i = status ? -1 : archive_find(a->file, name);
  if (!status && i < 0)
    status =
        session_fail(s, TCF_WRONG_USE, "%s: there is no array '%s' in it", a->file->path, name);
  if (!status) status = give(s, archive_load(a->file, i, &e), &e, out);
  return entry_close(&in, status);
}

static tcf_status check_outputs(tcf_session *s, const tcf_output *outputs, size_t count) {
  tcf_status status = count ? need(s, outputs, "the list of outputs") : TCF_OK;
  for (size_t i = 0; !status && i < count; i++) {
    status = need(s, outputs[i].path, "the path of an output");
    if (!status && !outputs[i].tensor && outputs[i].size)
      status = need(s, outputs[i].data, "the tensor or the data of an output");
  }
  return status;
}

static tcf_status save(tcf_session *s, const tcf_output *outputs, size_t count) {
  error e = {0};
  tensor **copies = calloc(count + 1, sizeof *copies);
  output_part *views = calloc(count + 1, sizeof *views);
  bool ok = (copies && views) || error_set(&e, ERROR_MEMORY, "out of memory");
  for (size_t i = 0; ok && i < count; i++) {
    const tcf_output *o = &outputs[i];
    views[i] = (output_part){.path = o->path, .name = o->name, .data = o->data, .size = o->size};
    ok = !o->tensor || (views[i].tensor = host_view(o->tensor, &copies[i], &e));
  }
  ok = ok && outputs_save(views, (int)count, &e);
  for (size_t i = 0; copies && i < count; i++) tensor_free(copies[i]);
  free(copies);
  free(views);
  return ok ? TCF_OK : session_fail_error(s, &e);
}

tcf_status tcf_save(tcf_session *s, const tcf_output *outputs, size_t count) {
  entry in;
  entry_open_tensors(&in, &s);
  tcf_status status = check_outputs(s, outputs, count);
  return entry_close(&in, status ? status : save(s, outputs, count));
}
