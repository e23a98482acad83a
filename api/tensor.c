// The public face of tensors and array files: runtime functions with statuses.
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
  TCF_bool = TCF_BOOL
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

double tcf_tensor_get(const tcf_tensor *t, int64_t i) {
  scalar v = tensor_at(t, i);
  return dtype_is_float(t->type) ? v.f : (double)v.i;
}

void tcf_tensor_fill_random(tcf_tensor *t, uint64_t seed) { tensor_fill_random(t, seed); }
void tcf_tensor_fill_uniform(tcf_tensor *t, uint64_t seed, double low, double high) {
  tensor_fill_uniform(t, seed, low, high);
}
void tcf_tensor_fill(tcf_tensor *t, double value) {
  tensor_fill_value(t, (scalar){.f = value}, DT_f64);
}
void tcf_tensor_fill_iota(tcf_tensor *t) { tensor_fill_iota(t); }

tcf_status tcf_tensor_compare(tcf_session *s, const tcf_tensor *got, const tcf_tensor *wanted,
                              double tolerance, tcf_difference *out) {
  bool same = got->type == wanted->type && got->rank == wanted->rank;
  for (int k = 0; same && k < got->rank; k++) same = got->dims[k] == wanted->dims[k];
  if (!same)
    return session_fail(s, TCF_WRONG_USE, "only tensors of the same type and sizes are compared");
  tensor_difference d = tensor_compare(got, wanted, tolerance);
  *out = (tcf_difference){d.elements, d.failed,  d.worst,   d.got,  d.wanted,
                          d.max_abs,  d.max_rel, d.max_ulp, d.scale};
  return TCF_OK;
}

// ---- files

tcf_status tcf_npy_load(tcf_session *s, const char *path, tcf_tensor **out) {
  error e;
  return give(s, npy_load(path, &e), &e, out);
}

tcf_status tcf_npy_save(tcf_session *s, const char *path, const tcf_tensor *t) {
  error e;
  return npy_write(path, t, &e) ? TCF_OK : session_fail_error(s, &e);
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

tcf_status tcf_archive_save(tcf_session *s, const char *path, const char *const *names,
                            const tcf_tensor *const *tensors, size_t count) {
  error e;
  size_t n = strlen(path);
  bool npz = n >= 4 && !strcmp(path + n - 4, ".npz");
  if (!npz && (n < 12 || strcmp(path + n - 12, ".safetensors")))
    return session_fail(s, TCF_WRONG_USE, "%s: not a .npz or .safetensors file by its name", path);
  bool ok = (npz ? npz_write : safetensors_write)(path, names, tensors, (int)count, &e);
  return ok ? TCF_OK : session_fail_error(s, &e);
}
