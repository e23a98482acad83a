// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// DLPack: tensors from and to other libraries. The structs are those of its stable ABI (version 0,
// without the version header), written here so that its header is not needed.
#include <stdlib.h>

#include "api/session.h"

typedef struct DLDevice {
  int32_t device_type, device_id;
} DLDevice;

typedef struct DLDataType {
  uint8_t code, bits;
  uint16_t lanes;
} DLDataType;

typedef struct DLTensor {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape;
  int64_t *strides;  // in elements; null: row-major
  uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensor {
  DLTensor dl_tensor;
  void *manager_ctx;
  void (*deleter)(struct DLManagedTensor *self);
} DLManagedTensor;

enum { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3 };
enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6 };

static const DLDataType types[DT_COUNT] = {
    [DT_f64] = {kDLFloat, 64, 1},   [DT_f32] = {kDLFloat, 32, 1}, [DT_f16] = {kDLFloat, 16, 1},
    [DT_bf16] = {kDLBfloat, 16, 1}, [DT_i64] = {kDLInt, 64, 1},   [DT_i32] = {kDLInt, 32, 1},
    [DT_i16] = {kDLInt, 16, 1},     [DT_i8] = {kDLInt, 8, 1},     [DT_u8] = {kDLUInt, 8, 1},
    [DT_u64] = {kDLUInt, 64, 1},    [DT_u32] = {kDLUInt, 32, 1},  [DT_u16] = {kDLUInt, 16, 1},
    [DT_bool] = {kDLBool, 8, 1},
};

// ---- in

/// `owned` holds the foreign object.
static void give_back(tensor *t) {
  DLManagedTensor *m = t->owned;
  if (m && m->deleter) m->deleter(m);
  cuda_close(t->device);
}

static bool find_type(DLDataType wanted, dtype *out) {
  for (int i = 0; i < DT_COUNT; i++)
    if (types[i].code == wanted.code && types[i].bits == wanted.bits && wanted.lanes == 1)
      return *out = (dtype)i, true;
  return false;
}

static tcf_status find_device(tcf_session *s, DLDevice from, cuda_device **out) {
  *out = NULL;
  if (from.device_type == kDLCPU || from.device_type == kDLCUDAHost) return TCF_OK;
  if (from.device_type != kDLCUDA)
    return session_fail(s, TCF_WRONG_USE,
                        "memory of DLPack device type %d: only the host's (1, 3) and CUDA's (2)",
                        (int)from.device_type);
  if (!s) return TCF_WRONG_USE;  // whose device it is to be of
  if (from.device_id != session_ordinal(s))
    return session_fail(s, TCF_WRONG_USE,
                        "the tensor is on CUDA device %d, which is not the session's",
                        (int)from.device_id);
  return session_device(s, out);
}

static tcf_status take(tcf_session *s, struct DLManagedTensor *managed, tcf_tensor **out) {
  const DLTensor *d = &managed->dl_tensor;
  dtype type;
  cuda_device *device;
  error e;
  if (!find_type(d->dtype, &type))
    return session_fail(s, TCF_WRONG_USE,
                        "there is no element type for DLPack's code %d, %d bits, "
                        "%d lanes",
                        d->dtype.code, d->dtype.bits, d->dtype.lanes);
  tcf_status status = find_device(s, d->device, &device);
  if (status) return status;
  int64_t strides[TENSOR_MAX_RANK];
  for (int k = 0; d->strides && k < d->ndim && k < TENSOR_MAX_RANK; k++)
    strides[k] = d->strides[k] * dtype_bytes(type);
  char *data = d->data ? (char *)d->data + d->byte_offset : NULL;
  tensor *t = tensor_borrow(type, d->ndim, d->shape, d->strides ? strides : NULL, data, &e);
  if (!t) return session_fail_error(s, &e);
  t->device = device ? cuda_share(device) : NULL;
  t->owned = managed;
  t->release = give_back;
  *out = t;
  return TCF_OK;
}

tcf_status tcf_tensor_from_dlpack(tcf_session *s, struct DLManagedTensor *managed,
                                  tcf_tensor **out) {
  entry e;
  entry_open_tensors(&e, &s);
  tcf_status status = need(s, managed, "the DLPack tensor");
  if (!status) status = need(s, out, "the tensor");
  return entry_close(&e, status ? status : take(s, managed, out));
}

// ---- out

typedef struct exported {
  DLManagedTensor managed;
  tensor *tensor;
  int64_t shape[TENSOR_MAX_RANK], strides[TENSOR_MAX_RANK];
} exported;

static void delete_exported(DLManagedTensor *m) {
  exported *x = m->manager_ctx;
  tensor_free(x->tensor);
  free(x);
}

static tcf_status give(tcf_session *s, tcf_tensor *t, struct DLManagedTensor **out) {
  error e;
  int64_t size = dtype_bytes(t->type);
  for (int k = 0; k < t->rank; k++)
    if (t->strides[k] % size)
      return session_fail(s, TCF_WRONG_USE,
                          "DLPack counts strides in elements: one of %lld bytes "
                          "has no place in it",
                          (long long)t->strides[k]);
  if (t->device && !cuda_wait(t->device, &e)) return session_fail_error(s, &e);
  exported *x = calloc(1, sizeof *x);
  if (!x) return session_fail(s, TCF_NO_MEMORY, "out of memory");
  x->tensor = t;
  for (int k = 0; k < t->rank; k++) {
    x->shape[k] = t->dims[k];
    x->strides[k] = t->strides[k] / size;
  }
  int ordinal = tensor_ordinal(t);
  x->managed = (DLManagedTensor){
      .dl_tensor = {.data = t->data,
                    .device = {ordinal < 0 ? kDLCPU : kDLCUDA, ordinal < 0 ? 0 : ordinal},
                    .ndim = t->rank,
                    .dtype = types[t->type],
                    .shape = x->shape,
                    .strides = x->strides},
      .manager_ctx = x,
      .deleter = delete_exported};
  *out = &x->managed;
  return TCF_OK;
}

tcf_status tcf_tensor_to_dlpack(tcf_session *s, tcf_tensor *t, struct DLManagedTensor **out) {
  entry e;
  entry_open_tensors(&e, &s);
  tcf_status status = need(s, t, "the tensor");
  if (!status) status = need(s, out, "the DLPack tensor");
  return entry_close(&e, status ? status : give(s, t, out));
}
