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

size_t tcf_dtype_size(tcf_dtype t) { return (size_t)dtype_bytes((dtype)t); }
const char *tcf_dtype_name(tcf_dtype t) { return dtype_name((dtype)t); }

static tcf_status give(tcf_session *s, tensor *t, const error *e, tcf_tensor **out) {
  if (!t) return session_fail_error(s, e);
  *out = t;
  return TCF_OK;
}

static tcf_status check_type(tcf_session *s, tcf_dtype t) {
  return (unsigned)t < DT_COUNT ? TCF_OK
                                : session_fail(s, TCF_WRONG_USE, "%d is no element type", (int)t);
}

tcf_status tcf_tensor_new(tcf_session *s, tcf_dtype type, int rank, const int64_t *dims,
                          tcf_tensor **out) {
  error e;
  tcf_status status = check_type(s, type);
  return status ? status : give(s, tensor_new((dtype)type, rank, dims, &e), &e, out);
}

tcf_status tcf_tensor_borrow(tcf_session *s, tcf_dtype type, int rank, const int64_t *dims,
                             const int64_t *strides, void *data, tcf_tensor **out) {
  error e;
  tcf_status status = check_type(s, type);
  if (status) return status;
  return give(s, tensor_borrow((dtype)type, rank, dims, strides, data, &e), &e, out);
}

void tcf_tensor_free(tcf_tensor *t) { tensor_free(t); }
tcf_dtype tcf_tensor_dtype(const tcf_tensor *t) { return (tcf_dtype)t->type; }
int tcf_tensor_rank(const tcf_tensor *t) { return t->rank; }
const int64_t *tcf_tensor_dims(const tcf_tensor *t) { return t->dims; }
const int64_t *tcf_tensor_strides(const tcf_tensor *t) { return t->strides; }
void *tcf_tensor_data(const tcf_tensor *t) { return t->data; }
int64_t tcf_tensor_elements(const tcf_tensor *t) { return tensor_elements(t); }

// ---- devices

static tcf_status device_of(tcf_session *s, tcf_dtype type, cuda_device **d) {
  tcf_status status = check_type(s, type);
  return status ? status : session_device(s, d);
}

tcf_status tcf_tensor_new_device(tcf_session *s, tcf_dtype type, int rank, const int64_t *dims,
                                 tcf_tensor **out) {
  error e;
  cuda_device *d;
  tcf_status status = device_of(s, type, &d);
  return status ? status : give(s, cuda_tensor_new(d, (dtype)type, rank, dims, &e), &e, out);
}

tcf_status tcf_tensor_borrow_device(tcf_session *s, tcf_dtype type, int rank, const int64_t *dims,
                                    const int64_t *strides, void *data, tcf_tensor **out) {
  error e;
  cuda_device *d;
  tcf_status status = device_of(s, type, &d);
  if (status) return status;
  return give(s, cuda_tensor_borrow(d, (dtype)type, rank, dims, strides, data, &e), &e, out);
}

int tcf_tensor_device(const tcf_tensor *t) { return tensor_ordinal(t); }

static bool same_shape(const tensor *a, const tensor *b) {
  bool same = a->type == b->type && a->rank == b->rank;
  for (int k = 0; same && k < a->rank; k++) same = a->dims[k] == b->dims[k];
  return same;
}

tcf_status tcf_tensor_copy(tcf_session *s, tcf_tensor *to, const tcf_tensor *from) {
  error e;
  if (!same_shape(to, from))
    return session_fail(s, TCF_WRONG_USE, "only tensors of the same type and sizes are copied");
  return tensor_transfer(to, from, &e) ? TCF_OK : session_fail_error(s, &e);
}

/// The tensor itself, or a copy of a device's in *copy. Null with *e.
static const tensor *host_view(const tensor *t, tensor **copy, error *e) {
  *copy = NULL;
  return t->device ? (*copy = tensor_to_host(t, e)) : t;
}

/// Of a device the one element is copied; false when that fails.
static bool element_at(const tensor *t, int64_t i, scalar *out) {
  char element[8];
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
  return !dtype_is_float(t->type) && element_at(t, i, &v) ? v.i : 0;
}

/// A host tensor of the same shape to fill; sent to the device by filled(). Out of memory leaves
/// the tensor as it was.
static tensor *fillable(tensor *t) {
  return t->device ? tensor_new(t->type, t->rank, t->dims, NULL) : t;
}

static void filled(tensor *t, tensor *image) {
  if (image == t) return;
  tensor_transfer(t, image, NULL);
  tensor_free(image);
}

void tcf_tensor_fill_random(tcf_tensor *t, uint64_t seed) {
  tensor *image = fillable(t);
  if (!image) return;
  tensor_fill_random(image, seed);
  filled(t, image);
}

void tcf_tensor_fill_uniform(tcf_tensor *t, uint64_t seed, double low, double high) {
  tensor *image = fillable(t);
  if (!image) return;
  tensor_fill_uniform(image, seed, low, high);
  filled(t, image);
}

void tcf_tensor_fill(tcf_tensor *t, double value) {
  tensor *image = fillable(t);
  if (!image) return;
  tensor_fill_value(image, (scalar){.f = value}, DT_f64);
  filled(t, image);
}

void tcf_tensor_fill_iota(tcf_tensor *t) {
  tensor *image = fillable(t);
  if (!image) return;
  tensor_fill_iota(image);
  filled(t, image);
}

tcf_status tcf_tensor_compare(tcf_session *s, const tcf_tensor *got, const tcf_tensor *wanted,
                              double tolerance, tcf_difference *out) {
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

// ---- files

tcf_status tcf_npy_load(tcf_session *s, const char *path, tcf_tensor **out) {
  error e;
  return give(s, npy_load(path, &e), &e, out);
}

struct tcf_archive {
  archive *file;
};

tcf_status tcf_archive_open(tcf_session *s, const char *path, tcf_archive **out) {
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

void tcf_archive_free(tcf_archive *a) {
  if (!a) return;
  archive_close(a->file);
  free(a);
}

size_t tcf_archive_count(const tcf_archive *a) { return (size_t)archive_count(a->file); }

const char *tcf_archive_name(const tcf_archive *a, size_t i) {
  return i < tcf_archive_count(a) ? archive_name(a->file, (int)i) : NULL;
}

tcf_status tcf_archive_load(tcf_session *s, tcf_archive *a, const char *name, tcf_tensor **out) {
  error e;
  int i = archive_find(a->file, name);
  if (i < 0)
    return session_fail(s, TCF_WRONG_USE, "%s: there is no array '%s' in it", a->file->path, name);
  return give(s, archive_load(a->file, i, &e), &e, out);
}

tcf_status tcf_save(tcf_session *s, const tcf_output *outputs, size_t count) {
  error e;
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
