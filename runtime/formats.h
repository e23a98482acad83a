// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Array files: .npy, .npz, .safetensors.
//
// What the element types are called in each:
//   npy           f8 f4 f2 i8 i4 i2 i1 u1 b1 in either byte order; V2 is bf16 (as ml_dtypes writes)
//   safetensors   F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL, little endian
// Fortran order becomes strides. Bool bytes other than 0 become 1. Every count and offset in a file
// is checked against the bytes that are there before memory is asked for.
#pragma once
#include "runtime/file.h"
#include "runtime/tensor.h"

/// Reads one .npy stream, versions 1 to 3. All of r must be used up. Null with *e on failure.
tensor *npy_read(reader *r, error *e);
/// The header that goes before the row-major elements: malloc'd, *size bytes; null: no memory.
char *npy_header(const tensor *t, size_t *size);
bool npy_write(output_file *f, const tensor *t, error *e);
tensor *npy_load(const char *path, error *e);

/// An opened .npz or .safetensors file; members are read one by one.
typedef struct archive archive;
/// By the name's ending. Null with *e on failure.
archive *archive_open(const char *path, error *e);
void archive_close(archive *a);
int archive_count(const archive *a);
const char *archive_name(const archive *a, int i);
int archive_find(const archive *a, const char *name);  // -1 absent
tensor *archive_load(archive *a, int i, error *e);

/// An array, or bytes, and where they go.
typedef struct output_part {
  const char *path;      // "-": standard output
  const char *name;      // of a member of a .npz or .safetensors; null: a .npy
  const tensor *tensor;  // null: the bytes
  const void *data;
  size_t size;
} output_part;

/// Writes all outputs, or none, and what was there stays. Members of one archive go to it together.
/// What cannot be taken back (standard output, devices, FIFOs) is written after all files are.
bool outputs_save(const output_part *outputs, int n, error *e);

/// The two kinds of archives.
typedef struct archive_kind {
  bool (*open)(archive *a, error *e);
  tensor *(*load)(archive *a, int i, error *e);
  void (*close)(archive *a);
  bool (*write)(output_file *f, const char *const *names, const tensor *const *tensors, int n,
                error *e);
} archive_kind;
extern const archive_kind npz_kind, safetensors_kind;
/// By the name's ending. Null with *e.
const archive_kind *archive_kind_of(const char *path, error *e);

typedef struct archive_member {
  char *name;
  // safetensors
  dtype type;
  int rank;
  int64_t dims[TENSOR_MAX_RANK];
  int64_t begin, end;  // bytes in the file
  // npz
  uint64_t number;
} archive_member;

struct archive {
  const archive_kind *kind;
  char *path;
  archive_member *members;
  int nmembers;
  void *zip;
  int fd;
};

/// Bytes of a freshly read tensor to host form: byte order, bool to 0 and 1.
void elements_from_file(tensor *t, bool swap);
/// The elements, row-major.
bool file_write_elements(output_file *f, const tensor *t, error *e);
