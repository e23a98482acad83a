// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arrays of the command line: what --in names becomes tensors, results become files or a summary.
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

void archives_free(archives *a) {
  for (int i = 0; i < a->count; i++) {
    free(a->items[i].path);
    tcf_archive_free(a->items[i].file);
  }
  free(a->items);
}

/// EXIT_DONE or an exit status, said.
static int archive_at(tcf_session *s, archives *a, const char *path, tcf_archive **out) {
  for (int i = 0; i < a->count; i++)
    if (!strcmp(a->items[i].path, path)) return *out = a->items[i].file, EXIT_DONE;
  tcf_status status = tcf_archive_open(s, path, out);
  if (status) return complain("%s", tcf_session_message(s)), exit_of(status);
  struct opened *more = realloc(a->items, sizeof *more * (size_t)(a->count + 1));
  char *name = strdup(path);
  if (more) a->items = more;
  if (!more || !name) {
    free(name);
    tcf_archive_free(*out);
    return no_memory();
  }
  a->items[a->count++] = (struct opened){name, *out};
  return EXIT_DONE;
}

/// Splits "dir/x.npz:key" at the colon; *path null: no memory; *key null when there is none. False:
/// not an archive.
static bool split_archive(const char *text, char **path, const char **key) {
  static const char *const endings[] = {".npz", ".safetensors"};
  for (int i = 0; i < 2; i++) {
    size_t n = strlen(endings[i]);
    for (const char *at = text; (at = strstr(at, endings[i])); at++) {
      if (at[n] && at[n] != ':') continue;
      *path = strndup(text, (size_t)(at - text) + n);
      *key = at[n] ? at + n + 1 : NULL;
      return true;
    }
  }
  return false;
}

/// "encoder.layer.0.bias" and "encoder_layer_0_bias" are the same name.
static bool names_match(const char *parameter, const char *member) {
  for (; *parameter && *member; parameter++, member++)
    if (*parameter != (strchr("./-", *member) ? '_' : *member)) return false;
  return *parameter == *member;
}

static const char *member_for(const tcf_archive *a, const char *parameter) {
  for (size_t i = 0; i < tcf_archive_count(a); i++)
    if (names_match(parameter, tcf_archive_name(a, i))) return tcf_archive_name(a, i);
  return NULL;
}

// ---- where the elements of a parameter come from

typedef enum origin { FROM_FILE, FROM_RANDOM, FROM_UNIFORM, FROM_IOTA, FROM_NUMBER } origin;

typedef struct source {
  origin origin;
  uint64_t seed;
  double low, high;  // FROM_NUMBER: low
  bool given;        // by --in or --in-all
} source;

static bool parse_number(const char *text, double *out) {
  char *end;
  *out = strtod(text, &end);
  return end != text && !*end;
}

static bool parse_generated(const char *text, uint64_t seed, source *out) {
  int used = 0;
  *out = (source){.seed = seed};
  if (!strcmp(text, "random")) return out->origin = FROM_RANDOM, true;
  if (!strncmp(text, "random:", 7) && parse_whole(text + 7, UINT64_MAX, &out->seed))
    return out->origin = FROM_RANDOM, true;
  out->origin = FROM_UNIFORM;
  if (sscanf(text, "uniform:%lf:%lf%n", &out->low, &out->high, &used) == 2 &&
      (!text[used] || (text[used] == ':' && parse_whole(text + used + 1, UINT64_MAX, &out->seed))))
    return true;
  if (!strcmp(text, "iota")) return out->origin = FROM_IOTA, true;
  out->origin = FROM_NUMBER;
  if (!strcmp(text, "zeros")) return out->low = 0, true;
  if (!strcmp(text, "ones")) return out->low = 1, true;
  return parse_number(text, &out->low);
}

static int load(tcf_session *s, archives *opened, const char *text, const char *parameter,
                tcf_tensor **out) {
  if (*text == '@') text++;
  char *path;
  const char *key;
  tcf_status status;
  if (split_archive(text, &path, &key)) {
    tcf_archive *a;
    int failed = path ? archive_at(s, opened, path, &a) : no_memory();
    if (!failed && !key) key = member_for(a, parameter);
    if (!failed && !key && tcf_archive_count(a) == 1) key = tcf_archive_name(a, 0);
    if (!failed && !key) {
      complain("%s has %zu arrays, none named %s: write %s:KEY", path, tcf_archive_count(a), parameter,
               path);
      failed = EXIT_USAGE;
    }
    free(path);
    if (failed) return failed;
    status = tcf_archive_load(s, a, key, out);
  } else {
    status = tcf_npy_load(s, text, out);
  }
  if (status) complain("--in %s: %s", parameter, tcf_session_message(s));
  return exit_of(status);
}

static void fill(tcf_tensor *t, const source *from) {
  switch (from->origin) {
    case FROM_RANDOM:
      tcf_tensor_fill_random(t, from->seed);
      break;
    case FROM_UNIFORM:
      tcf_tensor_fill_uniform(t, from->seed, from->low, from->high);
      break;
    case FROM_IOTA:
      tcf_tensor_fill_iota(t);
      break;
    case FROM_NUMBER:
      tcf_tensor_fill(t, from->low);
      break;
    case FROM_FILE:
      break;
  }
}

// ---- all parameters of a function

typedef struct making {
  tcf_session *session;
  tcf_function *function;
  inputs *out;
  source *sources;  // by parameter
  tcf_size *sizes;  // of --dim, then those that files determine
  size_t nsizes;
} making;

static int parameter_named(const tcf_function *f, const char *name, size_t length) {
  tcf_value_info info;
  for (size_t i = 0; i < tcf_function_params(f); i++) {
    tcf_function_param(f, i, &info);
    if (strlen(info.name) == length && !strncmp(info.name, name, length)) return (int)i;
  }
  complain("--in: %s has no parameter %.*s", tcf_function_name(f), (int)length, name);
  return -1;
}

static bool is_generated(const char *text) {
  static const char *const words[] = {"random:", "uniform:", "uniform"};
  for (int i = 0; i < 3; i++)
    if (!strncmp(text, words[i], strlen(words[i]))) return !strchr(text, '/') && !strchr(text, '.');
  return false;
}

/// The whole number in the text is another one than v, which was read from it.
static bool is_rounded(const char *text, double v) {
  bool negative = *text == '-';
  uint64_t exact;
  if (!parse_whole(text + negative, UINT64_MAX, &exact)) return false;
  double size = negative ? -v : v;
  return size >= 0x1p64 || (uint64_t)size != exact;
}

/// What a generator says must make sense for the element type.
static int check_generated(const source *from, const char *text, const tcf_value_info *info) {
  static const double low[] = {[TCF_I64] = -0x1p63, [TCF_I32] = -0x1p31, [TCF_I16] = -0x1p15,
                               [TCF_I8] = -0x1p7,   [TCF_U8] = 0,        [TCF_BOOL] = 0,
                               [TCF_U64] = 0,       [TCF_U32] = 0,       [TCF_U16] = 0};
  static const double high[] = {
      [TCF_I64] = 0x1p63 - 1024, [TCF_I32] = 0x1p31 - 1, [TCF_I16] = 0x1p15 - 1,
      [TCF_I8] = 0x1p7 - 1,      [TCF_U8] = 255,         [TCF_BOOL] = 1,
      [TCF_U64] = 0x1p64 - 2048, [TCF_U32] = 0x1p32 - 1, [TCF_U16] = 0x1p16 - 1};
  if (from->origin == FROM_UNIFORM && !(from->low <= from->high)) {
    complain("--in %s=%s: the lower end is above the upper", info->name, text);
    return EXIT_USAGE;
  }
  if (from->origin != FROM_NUMBER || info->dtype <= TCF_BF16) return EXIT_DONE;
  double v = from->low;
  if (is_rounded(text, v)) {
    complain("--in %s=%s: numbers beyond 2^53 that a double does not hold come from files",
             info->name, text);
    return EXIT_USAGE;
  }
  if (v == floor(v) && v >= low[info->dtype] && v <= high[info->dtype]) return EXIT_DONE;
  complain("--in %s=%s is no value of type %s", info->name, text, tcf_dtype_name(info->dtype));
  return EXIT_USAGE;
}

/// Duplicates, empty values and what looks like a generator but is none. EXIT_DONE or said.
static int check_in(const strings *in, int k, const char *equals) {
  const char *text = in->items[k];
  size_t name = (size_t)(equals - text) + 1;
  for (int j = 0; j < k; j++) {
    if (!strncmp(in->items[j], text, name))
      return complain("--in gives %.*s twice", (int)name - 1, text), EXIT_USAGE;
    if (!strcmp(equals, "=-") && !strcmp(strchr(in->items[j], '='), "=-"))
      return complain("--in: standard input can be used once"), EXIT_USAGE;
  }
  source unused;
  if (!equals[1]) return complain("--in %s: the value is missing", text), EXIT_USAGE;
  if (is_generated(equals + 1) && !parse_generated(equals + 1, 0, &unused)) {
    complain("--in %s: write random, random:SEED, uniform:LOW:HIGH or uniform:LOW:HIGH:SEED", text);
    return EXIT_USAGE;
  }
  return EXIT_DONE;
}

static int apply_in(making *m, const strings *in) {
  int status = EXIT_DONE;
  for (int k = 0; k < in->count && !status; k++) {
    const char *text = in->items[k], *equals = strchr(text, '=');
    if (!equals) return complain("--in is NAME=ARR, not '%s'", text), EXIT_USAGE;
    status = check_in(in, k, equals);
  }
  if (status) return status;
  for (int k = 0; k < in->count; k++) {
    const char *text = in->items[k], *equals = strchr(text, '=');
    int i = parameter_named(m->function, text, (size_t)(equals - text));
    if (i < 0) return EXIT_USAGE;
    tcf_tensor_free(m->out->tensors[i]);
    m->out->tensors[i] = NULL;
    tcf_value_info info;
    tcf_function_param(m->function, (size_t)i, &info);
    if (parse_generated(equals + 1, m->sources[i].seed, &m->sources[i])) {
      status = check_generated(&m->sources[i], equals + 1, &info);
      if (status) return status;
      m->sources[i].given = true;
      continue;
    }
    status = load(m->session, &m->out->archives, equals + 1, info.name, &m->out->tensors[i]);
    if (status) return status;
    m->sources[i].origin = FROM_FILE;
  }
  return EXIT_DONE;
}

static int apply_in_all(making *m, const char *path) {
  if (!path) return EXIT_DONE;
  tcf_archive *a;
  int failed = archive_at(m->session, &m->out->archives, *path == '@' ? path + 1 : path, &a);
  if (failed) return failed;
  tcf_status status = TCF_OK;
  for (size_t i = 0; !status && i < tcf_function_params(m->function); i++) {
    tcf_value_info info;
    tcf_function_param(m->function, i, &info);
    const char *key = member_for(a, info.name);
    if (!key) continue;
    status = tcf_archive_load(m->session, a, key, &m->out->tensors[i]);
    m->sources[i].origin = FROM_FILE;
  }
  return status ? report(m->session, status) : EXIT_DONE;
}

static const tcf_size *size_named(const making *m, const char *name) {
  for (size_t j = 0; j < m->nsizes; j++)
    if (!strcmp(m->sizes[j].name, name)) return &m->sizes[j];
  return NULL;
}

/// "f32[9, 9]": what a file has, or "f32[N, D]": what the parameter takes.
static const char *array_text(const tcf_tensor *t, const tcf_value_info *info, char text[512]) {
  int rank = t ? tcf_tensor_rank(t) : info->rank;
  int n = snprintf(text, 512, "%s", tcf_dtype_name(t ? tcf_tensor_dtype(t) : info->dtype));
  for (int k = 0; k < rank && n < 480; k++) {
    n += snprintf(text + n, 512 - (size_t)n, k ? ", " : "[");
    n += t ? snprintf(text + n, 512 - (size_t)n, "%lld", (long long)tcf_tensor_dims(t)[k])
           : snprintf(text + n, 512 - (size_t)n, "%.60s", info->axes[k]);
  }
  if (rank && n < 510) strcpy(text + n, "]");
  return text;
}

static int check_array(const tcf_tensor *t, const tcf_value_info *info) {
  static const char *const numpy[] = {
      [TCF_F64] = "float64", [TCF_F32] = "float32", [TCF_F16] = "float16", [TCF_BF16] = "bfloat16",
      [TCF_I64] = "int64",   [TCF_I32] = "int32",   [TCF_I16] = "int16",   [TCF_I8] = "int8",
      [TCF_U8] = "uint8",    [TCF_BOOL] = "bool",   [TCF_U64] = "uint64",  [TCF_U32] = "uint32",
      [TCF_U16] = "uint16"};
  char got[512], wanted[512];
  bool rank = tcf_tensor_rank(t) == info->rank, type = tcf_tensor_dtype(t) == info->dtype;
  if (rank && type) return EXIT_DONE;
  array_text(t, info, got);
  array_text(NULL, info, wanted);
  if (type) complain("--in %s: the array is %s, the parameter %s", info->name, got, wanted);
  else
    complain("--in %s: the array is %s, the parameter %s; nothing is converted: save it as %s",
             info->name, got, wanted, numpy[info->dtype]);
  return EXIT_USAGE;
}

/// "note: gain, w and b are random": some arguments were given, and these may have been forgotten.
static void note_random(const making *m) {
  size_t left = 0;
  tcf_value_info info;
  for (size_t i = 0; i < m->out->count; i++) left += !m->out->tensors[i] && !m->sources[i].given;
  if (!left) return;
  fflush(stdout);
  for (size_t i = 0, said = 0; i < m->out->count; i++) {
    if (m->out->tensors[i] || m->sources[i].given) continue;
    tcf_function_param(m->function, i, &info);
    fprintf(stderr, "%s%s", !said ? "note: " : said + 1 == left ? " and " : ", ", info.name);
    said++;
  }
  fprintf(stderr, " %s random\n", left == 1 ? "is" : "are");
}

/// Axes of loaded arrays whose size is a symbol give its value; --dim must not say otherwise.
static int sizes_from_files(making *m) {
  size_t given = m->nsizes;
  for (size_t i = 0; i < m->out->count; i++) {
    const tcf_tensor *t = m->out->tensors[i];
    tcf_value_info info;
    tcf_function_param(m->function, i, &info);
    if (!t) continue;
    if (check_array(t, &info)) return EXIT_USAGE;
    for (int k = 0; k < info.rank; k++) {
      bool symbol = false;
      for (size_t j = 0; j < tcf_function_symbols(m->function); j++)
        symbol |= !strcmp(tcf_function_symbol(m->function, j), info.sizes[k]);
      if (!symbol) continue;
      const tcf_size *known = size_named(m, info.sizes[k]);
      int64_t size = tcf_tensor_dims(t)[k];
      if (known && known < m->sizes + given && known->value != size) {
        complain("--dim %s=%lld, but the array of parameter %s has %s = %lld", known->name,
                 (long long)known->value, info.name, info.axes[k], (long long)size);
        return EXIT_USAGE;
      }
      if (!known) m->sizes[m->nsizes++] = (tcf_size){info.sizes[k], size};
    }
  }
  return EXIT_DONE;
}

/// The word stands in a size such as "2*N + 1".
static bool size_mentions(const char *size, const char *word) {
  size_t n = strlen(word);
  for (const char *at = size; *at;) {
    size_t len = 0;
    while (isalnum((unsigned char)at[len]) || at[len] == '_') len++;
    if (len == n && !strncmp(at, word, n)) return true;
    at += len ? len : 1;
  }
  return false;
}

/// A parameter that must be made has this symbol in its sizes.
static bool size_is_needed(const making *m, const char *symbol) {
  for (size_t i = 0; i < m->out->count; i++) {
    tcf_value_info info;
    if (m->out->tensors[i]) continue;
    tcf_function_param(m->function, i, &info);
    for (int k = 0; k < info.rank; k++)
      if (size_mentions(info.sizes[k], symbol)) return true;
  }
  return false;
}

/// Names all sizes that neither --dim nor a file gives at once.
static int all_sizes_known(const making *m) {
  char missing[1024] = "";
  int count = 0;
  for (size_t j = 0; j < tcf_function_symbols(m->function); j++) {
    const char *symbol = tcf_function_symbol(m->function, j);
    if (size_named(m, symbol) || !size_is_needed(m, symbol)) continue;
    size_t used = strlen(missing);
    snprintf(missing + used, sizeof missing - used, "%s%s", count++ ? ", " : "", symbol);
  }
  if (!count) return EXIT_DONE;
  complain("the size%s %s %s not given; use --dim or --in", count > 1 ? "s" : "", missing,
           count > 1 ? "are" : "is");
  return EXIT_USAGE;
}

static int generate(making *m) {
  for (size_t i = 0; i < m->out->count; i++) {
    if (m->out->tensors[i]) continue;
    tcf_value_info info;
    int64_t dims[TCF_MAX_RANK];
    tcf_function_param(m->function, i, &info);
    tcf_status status = tcf_function_param_dims(m->function, i, m->sizes, m->nsizes, dims);
    if (status == TCF_WRONG_USE) {
      complain("%s", tcf_session_message(m->session));
      return EXIT_USAGE;
    }
    if (!status)
      status = tcf_tensor_new(m->session, info.dtype, info.rank, dims, &m->out->tensors[i]);
    if (status) return report(m->session, status);
    fill(m->out->tensors[i], &m->sources[i]);
  }
  return EXIT_DONE;
}

int make_inputs(tcf_session *s, tcf_function *f, const strings *in, const char *in_all,
                uint64_t seed, const tcf_size *dims, size_t ndims, inputs *out) {
  size_t n = tcf_function_params(f);
  *out = (inputs){.tensors = calloc(n + 1, sizeof *out->tensors), .count = n};
  making m = {.session = s,
              .function = f,
              .out = out,
              .nsizes = ndims,
              .sources = calloc(n + 1, sizeof *m.sources),
              .sizes = calloc(ndims + tcf_function_symbols(f) + 1, sizeof *m.sizes)};
  int status = EXIT_ENVIRONMENT;
  if (!out->tensors || !m.sources || !m.sizes) {
    no_memory();
  } else {
    if (ndims) memcpy(m.sizes, dims, sizeof *dims * ndims);
    for (size_t i = 0; i < n; i++) m.sources[i] = (source){.origin = FROM_RANDOM, .seed = seed + i};
    status = apply_in_all(&m, in_all);
    if (!status) status = apply_in(&m, in);
    if (!status) status = sizes_from_files(&m);
    if (!status) status = all_sizes_known(&m);
    if (!status && (in->count || in_all)) note_random(&m);
    if (!status) status = generate(&m);
  }
  free(m.sources);
  free(m.sizes);
  return status;
}

void inputs_free(inputs *in) {
  for (size_t i = 0; in->tensors && i < in->count; i++) tcf_tensor_free(in->tensors[i]);
  free(in->tensors);
  archives_free(&in->archives);
}

// ---- results

static int result_named(const tcf_function *f, const char *name, size_t length) {
  tcf_value_info info;
  for (size_t i = 0; i < tcf_function_results(f); i++) {
    tcf_function_result(f, i, &info);
    if (strlen(info.name) == length && !strncmp(info.name, name, length)) return (int)i;
  }
  fprintf(stderr, "tcc-fuse: --out: %s has no result %.*s; there %s", tcf_function_name(f),
          (int)length, name, tcf_function_results(f) == 1 ? "is" : "are");
  for (size_t i = 0; i < tcf_function_results(f); i++) {
    tcf_function_result(f, i, &info);
    fprintf(stderr, "%s %s", i ? "," : "", info.name);
  }
  fputc('\n', stderr);
  return -1;
}

/// Where results go, by result and file; the paths are malloc'd.
typedef struct destinations {
  const tcf_function *function;
  tcf_tensor *const *results;
  tcf_output *items;
  size_t count;
} destinations;

static int add_output(destinations *d, size_t result, const char *path, const char *key) {
  tcf_value_info info;
  char *copy = strdup(path);
  if (!copy) return no_memory();
  tcf_function_result(d->function, result, &info);
  d->items[d->count++] =
      (tcf_output){.path = copy, .name = key ? key : info.name, .tensor = d->results[result]};
  return EXIT_DONE;
}

/// To FILE.npz or FILE.safetensors: under the key, else its name; result -1: all of them.
static int add_to_archive(destinations *d, int result, const char *path, const char *key) {
  size_t n = tcf_function_results(d->function);
  int status = EXIT_DONE;
  if (key && !*key) return complain("--out: the key is missing after '%s:'", path), EXIT_USAGE;
  if (result >= 0) return add_output(d, (size_t)result, path, key);
  if (key && n != 1)
    return complain(
               "--out: %s:%s is one array, and there are %zu results: write NAME=%s:%s, or %s "
               "for all",
               path, key, n, path, key, path),
           EXIT_USAGE;
  for (size_t i = 0; i < n && !status; i++) status = add_output(d, i, path, key);
  return status;
}

/// Reads one --out.
static int parse_output(destinations *d, const char *text) {
  const char *equals = strchr(text, '='), *path = equals ? equals + 1 : text, *key;
  bool one = tcf_function_results(d->function) == 1;
  int result = equals ? result_named(d->function, text, (size_t)(equals - text)) : -1;
  if (equals && result < 0) return EXIT_USAGE;
  if (*path == '@') path++;
  char *file;
  if (split_archive(path, &file, &key)) {
    int status = file ? add_to_archive(d, result, file, key) : no_memory();
    free(file);
    return status;
  }
  if (!equals && !one) {
    complain("--out is NAME=FILE, or FILE.npz or FILE.safetensors for all results, not '%s'", text);
    return EXIT_USAGE;
  }
  size_t n = strlen(path);
  if (strcmp(path, "-") && (n < 4 || strcmp(path + n - 4, ".npy"))) {
    complain("--out: '%s' is not .npy, .npz, .npz:KEY, .safetensors, .safetensors:KEY or -", path);
    return EXIT_USAGE;
  }
  int status = add_output(d, result < 0 ? 0 : (size_t)result, path, NULL);
  if (!status) d->items[d->count - 1].name = NULL;  // the file is a .npy
  return status;
}

int write_results(tcf_session *s, tcf_function *f, tcf_tensor *const *results, const strings *out) {
  size_t most = (size_t)out->count * (tcf_function_results(f) + 1);
  destinations d = {f, results, calloc(most + 1, sizeof *d.items), 0};
  int status = d.items ? EXIT_DONE : no_memory();
  for (int i = 0; i < out->count && !status; i++) status = parse_output(&d, out->items[i]);
  if (!status) status = report(s, tcf_save(s, d.items, d.count));
  for (size_t i = 0; i < d.count; i++) free((char *)d.items[i].path);
  free(d.items);
  return status;
}

void print_result(const tcf_function *f, size_t i, const tcf_tensor *t) {
  enum { SHOWN = 6 };
  tcf_value_info info;
  tcf_function_result(f, i, &info);
  printf("%s: %s", info.name, tcf_dtype_name(info.dtype));
  for (int k = 0; k < info.rank; k++)
    printf("%s%s = %lld", k ? ", " : "[", info.axes[k], (long long)tcf_tensor_dims(t)[k]);
  fputs(info.rank ? "]" : "", stdout);
  int64_t n = tcf_tensor_elements(t);
  for (int64_t k = 0; k < n && k < SHOWN; k++) {
    long long whole = (long long)tcf_tensor_get_integer(t, k);
    if (info.dtype <= TCF_BF16) printf(" %.6g", plain_nan(tcf_tensor_get(t, k)));
    else printf(info.dtype == TCF_U64 ? " %llu" : " %lld", whole);
  }
  fputs(n > SHOWN ? " ...\n" : "\n", stdout);
}
