// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Array files: what is written is read back; every damaged file is an error or a valid tensor.
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/formats.h"

static char folder[64];

static void make_folder(void) {
  strcpy(folder, "/tmp/tcf-files-XXXXXX");
  cr_assert(mkdtemp(folder));
}

static void remove_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_assert_eq(system(command), 0);
}

static char *in_folder(const char *name) {
  static char path[4][128];
  static int next;
  char *p = path[next++ % 4];
  snprintf(p, sizeof path[0], "%s/%s", folder, name);
  return p;
}

static void write_bytes(const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "wb");
  cr_assert(f);
  cr_assert_eq(fwrite(data, 1, n, f), n);
  fclose(f);
}

static tensor *random_tensor(dtype t, int rank, const int64_t *dims, uint64_t seed) {
  error e;
  tensor *x = tensor_new(t, rank, dims, &e);
  cr_assert(x);
  tensor_fill_random(x, seed);
  return x;
}

static void expect_equal(const tensor *a, const tensor *b, const char *what) {
  cr_assert_eq(a->type, b->type, "%s", what);
  cr_assert_eq(a->rank, b->rank, "%s", what);
  for (int k = 0; k < a->rank; k++) cr_assert_eq(a->dims[k], b->dims[k], "%s", what);
  tensor_difference d = tensor_compare(a, b, 0);
  cr_assert_eq(d.failed, 0, "%s: element %lld: %g, %g", what, (long long)d.worst, d.got, d.wanted);
}

static bool save_npy(const char *path, const tensor *t, error *e) {
  return outputs_save(&(output_part){.path = path, .tensor = t}, 1, e);
}

static bool save_archive(const char *path, const char *const *names, const tensor *const *x, int n,
                         error *e) {
  output_part all[DT_COUNT];
  for (int i = 0; i < n; i++) all[i] = (output_part){.path = path, .name = names[i], .tensor = x[i]};
  return outputs_save(all, n, e);
}

TestSuite(runtime_files, .init = make_folder, .fini = remove_folder);

Test(runtime_files, npy_keeps_every_type_and_rank) {
  static const int64_t shapes[][3] = {{0}, {7}, {3, 5}, {2, 0, 4}, {2, 3, 4}};
  static const int ranks[] = {0, 1, 2, 3, 3};
  for (int t = 0; t < DT_COUNT; t++)
    for (int s = 0; s < 5; s++) {
      error e;
      tensor *x = random_tensor((dtype)t, ranks[s], shapes[s], (uint64_t)(t * 5 + s));
      cr_assert(save_npy(in_folder("x.npy"), x, &e), "%s", e.text);
      tensor *y = npy_load(in_folder("x.npy"), &e);
      cr_assert(y, "%s", e.text);
      expect_equal(x, y, dtype_name((dtype)t));
      tensor_free(x);
      tensor_free(y);
    }
}

// header and elements as NumPy would write them, version 1 to 3
static size_t make_npy(char *to, int version, const char *dict, const void *data, size_t n) {
  size_t len = strlen(dict), at = 0;
  memcpy(to, "\x93NUMPY", 6);
  to[6] = (char)version;
  to[7] = 0;
  at = 8;
  for (int i = 0; i < (version == 1 ? 2 : 4); i++) to[at++] = (char)(len >> (8 * i));
  memcpy(to + at, dict, len);
  memcpy(to + at + len, data, n);
  return at + len + n;
}

Test(runtime_files, npy_versions_byte_orders_and_fortran_order) {
  static const unsigned char big[] = {0x3f, 0x80, 0, 0, 0x40, 0,    0, 0, 0x40, 0x40, 0, 0,
                                      0x40, 0x80, 0, 0, 0x40, 0xa0, 0, 0, 0x40, 0xc0, 0, 0};
  for (int version = 1; version <= 3; version++) {
    char file[512];
    error e;
    size_t n = make_npy(file, version,
                        "{'shape': (2, 3), 'fortran_order': True, \"descr\": '>f4'}\n", big, 24);
    reader r = reader_memory("memory", file, n);
    tensor *x = npy_read(&r, &e);
    cr_assert(x, "version %d: %s", version, e.text);
    // Column-major 1 2 3 4 5 6 is the matrix 1 3 5 / 2 4 6.
    static const double rows[] = {1, 3, 5, 2, 4, 6};
    for (int i = 0; i < 6; i++) cr_assert_eq(tensor_at(x, i).f, rows[i], "version %d", version);
    cr_assert_not(tensor_is_contiguous(x));
    tensor *y = tensor_compact(x, &e);
    expect_equal(x, y, "compact");
    tensor_free(x);
    tensor_free(y);
  }
}

Test(runtime_files, npy_bool_bytes_become_zero_and_one) {
  char file[256];
  error e;
  size_t n = make_npy(file, 1, "{'descr': '|b1', 'fortran_order': False, 'shape': (4,), }",
                      "\x00\x01\x02\xff", 4);
  reader r = reader_memory("memory", file, n);
  tensor *x = npy_read(&r, &e);
  cr_assert(x, "%s", e.text);
  cr_assert_eq(memcmp(x->data, "\0\1\1\1", 4), 0);
  tensor_free(x);
}

Test(runtime_files, npy_wrong_headers_name_the_file_and_the_reason) {
  static const struct {
    const char *dict, *expected;
  } cases[] = {
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "truncated"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "too long"},
      {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "'<c8' is not supported"},
      {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "structured"},
      {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}", "True or False"},
      {"{'descr': '<f4', 'shape': (2,)}", "missing"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}", "a size was expected"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "too large"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", "too large"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4294967296, 4294967296)}",
       "too large"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2)}",
       "more than 16 axes"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}", "',' or ')'"},
      {"{'descr': '<f4' 'fortran_order': False}", "',' or '}'"},
      {"{'descr': '<f4", "unterminated"},
      {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", "text after"},
      {"[1]", "'{' was expected"},
      {"", "'{' was expected"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char file[512];
    error e = {0};
    size_t n = make_npy(file, 1, cases[i].dict, "12345678", 8);
    reader r = reader_memory("name.npy", file, n);
    cr_assert_null(npy_read(&r, &e), "%s", cases[i].dict);
    cr_assert(strstr(e.text, cases[i].expected), "%s: %s", cases[i].dict, e.text);
    cr_assert(!strncmp(e.text, "name.npy: ", 10), "%s", e.text);
    cr_assert_eq(e.kind, ERROR_FORMAT);
  }
}

Test(runtime_files, npy_header_may_not_claim_more_than_there_is) {
  error e;
  static const char huge[] = "\x93NUMPY\x02\x00\xff\xff\xff\xff{";
  reader r = reader_memory("h.npy", huge, sizeof huge - 1);
  cr_assert_null(npy_read(&r, &e));
  cr_assert(strstr(e.text, "claims 4294967295 bytes"), "%s", e.text);
}

static tensor *load_any(const char *path, error *e) {
  size_t n = strlen(path);
  if (!strcmp(path + n - 4, ".npy")) return npy_load(path, e);
  archive *a = archive_open(path, e);
  tensor *t = NULL;
  for (int i = 0; a && i < archive_count(a); i++) {
    tensor_free(t);
    t = archive_load(a, i, e);
    if (!t) break;
  }
  archive_close(a);
  return t;
}

// Truncates the file at every byte and flips a bit of every byte: an error with a text, or a
// tensor whose memory can be read.
static void torture(const char *path) {
  error e;
  size_t size;
  char *whole = file_read(path, 1 << 20, &size, &e);
  cr_assert(whole, "%s", e.text);
  for (size_t n = 0; n < size; n++) {
    write_bytes(path, whole, n);
    e = (error){0};
    tensor *t = load_any(path, &e);
    if (!t && strstr(path, ".npz")) continue;  // an empty archive is valid and has no member
    cr_assert_null(t, "%s cut at %zu was accepted", path, n);
    cr_assert(strlen(e.text) > strlen(path), "%s cut at %zu: '%s'", path, n, e.text);
  }
  for (size_t n = 0; n < size * 8; n++) {
    whole[n / 8] ^= (char)(1 << (n % 8));
    write_bytes(path, whole, size);
    e = (error){0};
    tensor *t = load_any(path, &e);
    if (t) tensor_compare(t, t, 0);
    tensor_free(t);
    whole[n / 8] ^= (char)(1 << (n % 8));
  }
  free(whole);
}

Test(runtime_files, damaged_npy) {
  error e;
  tensor *x = random_tensor(DT_f32, 2, (int64_t[]){2, 3}, 1);
  cr_assert(save_npy(in_folder("x.npy"), x, &e));
  torture(in_folder("x.npy"));
  tensor_free(x);
}

Test(runtime_files, damaged_npz) {
  error e;
  const tensor *x[] = {random_tensor(DT_f32, 2, (int64_t[]){2, 3}, 1),
                       random_tensor(DT_i64, 1, (int64_t[]){2}, 2)};
  cr_assert(save_archive(in_folder("x.npz"), (const char *[]){"a", "b"}, x, 2, &e), "%s", e.text);
  torture(in_folder("x.npz"));
  tensor_free((tensor *)x[0]);
  tensor_free((tensor *)x[1]);
}

Test(runtime_files, damaged_safetensors) {
  error e;
  const tensor *x[] = {random_tensor(DT_bf16, 2, (int64_t[]){2, 3}, 1),
                       random_tensor(DT_u8, 1, (int64_t[]){3}, 2)};
  const char *path = in_folder("x.safetensors");
  cr_assert(save_archive(path, (const char *[]){"a", "b"}, x, 2, &e), "%s", e.text);
  torture(path);
  tensor_free((tensor *)x[0]);
  tensor_free((tensor *)x[1]);
}

Test(runtime_files, archives_keep_members_of_every_type) {
  static const char *const files[] = {"all.npz", "all.safetensors"};
  const char *names[DT_COUNT];
  const tensor *x[DT_COUNT];
  for (int t = 0; t < DT_COUNT; t++) {
    names[t] = dtype_name((dtype)t);
    x[t] = random_tensor((dtype)t, 3, (int64_t[]){2, 1, (int64_t)t}, (uint64_t)t);
  }
  for (int f = 0; f < 2; f++) {
    error e;
    const char *path = in_folder(files[f]);
    cr_assert(save_archive(path, names, x, DT_COUNT, &e), "%s", e.text);
    archive *a = archive_open(path, &e);
    cr_assert(a, "%s", e.text);
    cr_assert_eq(archive_count(a), DT_COUNT);
    for (int t = 0; t < DT_COUNT; t++) {
      int i = archive_find(a, names[t]);
      cr_assert_geq(i, 0, "%s", names[t]);
      tensor *y = archive_load(a, i, &e);
      cr_assert(y, "%s", e.text);
      expect_equal(x[t], y, names[t]);
      tensor_free(y);
    }
    cr_assert_eq(archive_find(a, "nothing"), -1);
    archive_close(a);
  }
  for (int t = 0; t < DT_COUNT; t++) tensor_free((tensor *)x[t]);
}

static void expect_bad_safetensors(const char *json, uint64_t claimed, const char *data, size_t n,
                                   const char *expected) {
  char file[1024];
  error e = {0};
  size_t len = strlen(json);
  uint64_t size = claimed ? claimed : len;
  for (int i = 0; i < 8; i++) file[i] = (char)(size >> (8 * i));
  memcpy(file + 8, json, len);
  memcpy(file + 8 + len, data, n);
  write_bytes(in_folder("bad.safetensors"), file, 8 + len + n);
  archive *a = archive_open(in_folder("bad.safetensors"), &e);
  tensor *t = a ? archive_load(a, 0, &e) : NULL;
  cr_assert_null(t, "%s", json);
  archive_close(a);
  cr_assert(strstr(e.text, expected), "%s: %s", json, e.text);
  cr_assert(strstr(e.text, "bad.safetensors"), "%s", e.text);
}

Test(runtime_files, safetensors_wrong_headers) {
  expect_bad_safetensors("{}", UINT64_MAX, "", 0, "claims 18446744073709551615 bytes");
  expect_bad_safetensors("{}", 50 << 20, "", 0, "truncated");
  expect_bad_safetensors("{", 0, "", 0, "not valid JSON");
  expect_bad_safetensors("[]", 0, "", 0, "not a JSON object");
  expect_bad_safetensors("{\"a\":1}", 0, "", 0, "missing or malformed");
  expect_bad_safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 0,
                         "1234", 4, "outside the file");
  expect_bad_safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 0,
                         "12345678", 8, "outside the file");
  expect_bad_safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 0,
                         "12345678", 8, "disagree");
  expect_bad_safetensors(
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],"
      "\"data_offsets\":[0,8]}}",
      0, "12345678", 8, "disagree");
  expect_bad_safetensors("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 0,
                         "12345678", 8, "not a whole number");
  expect_bad_safetensors("{\"a\":{\"dtype\":\"C64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 0,
                         "12345678", 8, "not supported");
  expect_bad_safetensors(
      "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
      0, "12345678", 8, "duplicate");
}

Test(runtime_files, what_cannot_be_opened) {
  error e = {0};
  cr_assert_null(npy_load(in_folder("none.npy"), &e));
  cr_assert_eq(e.kind, ERROR_FILE);
  cr_assert(strstr(e.text, "No such file"), "%s", e.text);
  cr_assert_null(archive_open(in_folder("none.npz"), &e));
  cr_assert(strstr(e.text, "none.npz: No such file"), "%s", e.text);
  cr_assert_null(archive_open(in_folder("none.safetensors"), &e));
  cr_assert(strstr(e.text, "No such file"), "%s", e.text);
  cr_assert_null(archive_open(in_folder("none.txt"), &e));
  cr_assert_eq(e.kind, ERROR_USAGE);
  cr_assert_null(npy_load(folder, &e));
  cr_assert(strstr(e.text, "not a regular file"), "%s", e.text);
}

static int temporaries(void) {
  int n = 0;
  DIR *d = opendir(folder);
  for (struct dirent *f; (f = readdir(d));)
    n += !strncmp(f->d_name, FILE_TEMPORARY, sizeof FILE_TEMPORARY - 1);
  closedir(d);
  return n;
}

Test(runtime_files, outputs_appear_whole_or_not_at_all) {
  error e = {0};
  tensor *x = random_tensor(DT_f32, 1, (int64_t[]){4}, 3);
  cr_assert_not(save_npy(in_folder("no/such/folder.npy"), x, &e));
  cr_assert(strstr(e.text, "cannot be written"), "%s", e.text);

  output_file f;
  write_bytes(in_folder("old"), "old", 3);
  cr_assert(file_create(&f, in_folder("old"), &e));
  cr_assert(file_write(&f, "new contents", 12, &e));
  size_t size;
  char *text = file_read(in_folder("old"), 100, &size, &e);
  cr_assert_str_eq(text, "old");
  free(text);
  file_abandon(&f);
  cr_assert_eq(temporaries(), 0);

  cr_assert(file_write_whole(in_folder("old"), "new", 3, &e));
  text = file_read(in_folder("old"), 100, &size, &e);
  cr_assert_str_eq(text, "new");
  free(text);
  cr_assert_null(file_read(in_folder("old"), 2, &size, &e));
  cr_assert(strstr(e.text, "limit of 2 bytes"), "%s", e.text);
  tensor_free(x);
}

static int files_in_folder(void) {
  struct dirent **entries;
  int n = scandir(folder, &entries, NULL, NULL);
  for (int i = 0; i < n; i++) free(entries[i]);
  free(entries);
  return n - 2;
}

static bool file_holds(const char *name, const char *contents) {
  error e;
  size_t size;
  char *text = file_read(in_folder(name), 1 << 20, &size, &e);
  bool same = text && !strcmp(text, contents);
  free(text);
  return same;
}

Test(runtime_files, several_outputs_appear_together_or_not_at_all) {
  error e = {0};
  tensor *x = random_tensor(DT_f32, 1, (int64_t[]){4}, 3);
  char out[64], before[64], none[64], archive[64];
  strcpy(out, in_folder("out.npy"));
  strcpy(before, in_folder("before"));
  strcpy(none, in_folder("none/x.npy"));
  strcpy(archive, in_folder("all.npz"));
  write_bytes(before, "before", 6);
  output_part all[] = {{.path = out, .tensor = x},
                  {.path = before, .data = "after", .size = 5},
                  {.path = archive, .name = "a", .tensor = x},
                  {.path = archive, .name = "b", .tensor = x},
                  {.path = none, .tensor = x}};
  cr_assert_not(outputs_save(all, 5, &e));
  cr_expect(strstr(e.text, "none/x.npy: cannot be written"), "%s", e.text);
  cr_expect(file_holds("before", "before"));
  cr_expect_eq(files_in_folder(), 1);

  cr_assert(outputs_save(all, 4, &e), "%s", e.text);
  cr_expect(file_holds("before", "after"));
  cr_expect_eq(files_in_folder(), 3);

  all[3].name = "a";
  cr_assert_not(outputs_save(all, 4, &e));
  cr_expect(strstr(e.text, "all.npz:a"), "%s", e.text);
  cr_expect_eq(e.kind, ERROR_USAGE);
  tensor_free(x);
}

Test(runtime_files, a_replaced_file_keeps_its_mode_and_links_stay) {
  error e = {0};
  struct stat st;
  char real[64], link[64], ahead[64];
  strcpy(real, in_folder("real"));
  strcpy(link, in_folder("link"));
  strcpy(ahead, in_folder("ahead"));
  write_bytes(real, "old", 3);
  cr_assert_eq(chmod(real, 0640), 0);
  cr_assert_eq(symlink("real", link), 0);
  cr_assert_eq(symlink("to-come", ahead), 0);
  output_part all[] = {{.path = link, .data = "new", .size = 3}, {.path = ahead, .data = "made", .size = 4}};
  cr_assert(outputs_save(all, 2, &e), "%s", e.text);
  cr_expect(file_holds("real", "new") && file_holds("to-come", "made"));
  cr_assert_eq(lstat(real, &st), 0);
  cr_expect_eq(st.st_mode & 0777, 0640);
  cr_expect(!lstat(link, &st) && S_ISLNK(st.st_mode));
  cr_expect(!lstat(ahead, &st) && S_ISLNK(st.st_mode));

  all[1].path = real;
  cr_assert_not(outputs_save(all, 2, &e), "one file by two names");
  cr_assert_eq(symlink("circle", in_folder("circle")), 0);
  cr_assert_not(outputs_save(&(output_part){.path = in_folder("circle")}, 1, &e));
  cr_assert_eq(e.kind, ERROR_FILE);
}
