// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Attention written as tile IR, run on a GPU and compared with a plain computation in f64.
//
// usage: attention FOLDER [--small] [--interpreter] [NAME]
//   FOLDER has the texts
//   --small        few sizes: for sanitizers
//   --interpreter  by the interpreter of tile IR, without a GPU
//
// Every text at sizes that are no multiple of its tiles, with three kinds of values: random normal,
// scores 8 times larger, all scores near -900 (a word of garbage in the last partial step is NaN
// then, and multiplied by zero it is not). Results lie between guard zones and begin as NaN; a second
// run must give the same bits.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"

enum { BATCH = 2, HEADS = 2, GUARD = 4096, POISON = 0x7fff };

typedef struct text {
  const char *name;
  int d, e;      // of q and k; of v
  int window;    // keys before a row that it sees; 0: none is hidden, -1: all before it
  double slope;  // of a bias by distance
} text;

static const text texts[] = {
    {"plain_d128", 128, 128, 0, 0},     {"full_d128", 128, 128, 0, 0},
    {"causal_d128", 128, 128, -1, 0},   {"window_d128", 128, 128, 1024, 0},
    {"alibi_d128", 128, 128, -1, 0.02}, {"full_d64", 64, 64, 0, 0},
    {"causal_d64", 64, 64, -1, 0},      {"full_d96", 96, 96, 0, 0},
    {"full_d192", 192, 128, 0, 0},      {"full_d256", 256, 256, 0, 0},
};

static const int sizes[][2] = {{70, 200}, {129, 127}, {300, 385}, {1, 1}, {513, 1000}, {1400, 65}};
typedef enum kind { NORMAL, LARGE, LOW, KINDS } kind;
static const char *const kind_names[] = {"normal", "large", "low"};

static int passed, failed;
static int interpreter;  // tensors are the host's then

static void fail(const char *what, const char *message) {
  failed++;
  printf("FAIL %s: %s\n", what, message);
}

static void must(tcf_session *s, tcf_status status) {
  if (!status) return;
  fprintf(stderr, "attention: %s\n", tcf_session_message(s));
  exit(3);
}

// ---- values

static double from_bf16(uint16_t bits) {
  uint32_t word = (uint32_t)bits << 16;
  float f;
  memcpy(&f, &word, sizeof f);
  return f;
}

static uint16_t to_bf16(double v) {
  float f = (float)v;
  uint32_t word;
  memcpy(&word, &f, sizeof word);
  return (uint16_t)((word + 0x7fff + (word >> 16 & 1)) >> 16);
}

static double uniform(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(uint64_t *state) {
  double u = uniform(state), v = uniform(state);
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/// [BATCH, HEADS, rows, columns], and the same as numbers.
typedef struct matrix {
  uint16_t *bits;
  double *data;
} matrix;

/// mean + deviation times a normal value.
static matrix filled(int rows, int columns, double mean, double deviation, uint64_t seed) {
  size_t n = (size_t)(BATCH * HEADS) * (size_t)rows * (size_t)columns;
  matrix m = {malloc(n * sizeof *m.bits), malloc(n * sizeof *m.data)};
  for (size_t i = 0; i < n; i++) {
    m.bits[i] = to_bf16(mean + deviation * normal(&seed));
    m.data[i] = from_bf16(m.bits[i]);
  }
  return m;
}

static void matrix_free(matrix m) { free(m.bits), free(m.data); }

typedef struct problem {
  const text *t;
  int s, keys;
  matrix q, k, v;
  uint16_t *got, *again;
} problem;

static problem problem_new(const text *t, int s, int keys, kind values) {
  problem p = {.t = t, .s = s, .keys = keys};
  double low = sqrt(900 / sqrt(t->d));  // q k is -900 then, scaled by 1 / sqrt(d)
  double q = values == LOW ? -low : 0, k = values == LOW ? low : 0;
  double spread = values == LARGE ? 8 : values == LOW ? 0.05 : 1;
  p.q = filled(s, t->d, q, spread, 1);
  p.k = filled(keys, t->d, k, values == LOW ? 0.05 : 1, 2);
  p.v = filled(keys, t->e, 0, 1, 3);
  size_t bytes = sizeof(uint16_t) * (size_t)(BATCH * HEADS * s) * (size_t)t->e;
  p.got = malloc(bytes);
  p.again = malloc(bytes);
  return p;
}

static void problem_free(problem *p) {
  matrix_free(p->q), matrix_free(p->k), matrix_free(p->v);
  free(p->got), free(p->again);
}

// ---- the reference

static int sees(const problem *p, int row, int key) {
  if (!p->t->window) return 1;
  return key <= row && (p->t->window < 0 || key > row - p->t->window);
}

/// Scores of one row over its head; gives their maximum.
static double row_scores(const problem *p, int head, int row, double *scores) {
  int d = p->t->d;
  const double *q = p->q.data + ((size_t)head * p->s + row) * d;
  double most = -INFINITY;
  for (int key = 0; key < p->keys; key++) {
    const double *k = p->k.data + ((size_t)head * p->keys + key) * d;
    double sum = 0;
    scores[key] = -INFINITY;
    if (!sees(p, row, key)) continue;
    for (int i = 0; i < d; i++) sum += q[i] * k[i];
    // The texts add the bias to what is not scaled yet.
    scores[key] = (sum + p->t->slope * (key - row)) / sqrt(d);
    if (scores[key] > most) most = scores[key];
  }
  return most;
}

static void reference_row(const problem *p, int head, int row, double *scores, double *out) {
  int e = p->t->e;
  double most = row_scores(p, head, row, scores), sum = 0;
  for (int i = 0; i < e; i++) out[i] = 0;
  for (int key = 0; key < p->keys; key++) {
    double weight = exp(scores[key] - most);
    const double *v = p->v.data + ((size_t)head * p->keys + key) * e;
    sum += weight;
    for (int i = 0; weight && i < e; i++) out[i] += weight * v[i];
  }
  for (int i = 0; i < e; i++) out[i] /= sum;
}

/// |got - wanted| / |wanted| over all elements; NaN where a result is.
static double error_of(const problem *p) {
  double *scores = malloc(sizeof(double) * (size_t)p->keys), row_out[256], off = 0, size = 0;
  for (int head = 0; head < BATCH * HEADS; head++)
    for (int row = 0; row < p->s; row++) {
      const uint16_t *got = p->got + ((size_t)head * p->s + row) * p->t->e;
      reference_row(p, head, row, scores, row_out);
      for (int i = 0; i < p->t->e; i++) {
        double d = from_bf16(got[i]) - row_out[i];
        off += d * d;
        size += row_out[i] * row_out[i];
      }
    }
  free(scores);
  return sqrt(off / size);
}

// ---- runs

/// A tensor of the device with these elements; with the interpreter, of this memory.
static tcf_tensor *on_device(tcf_session *s, int rank, const int64_t *dims, void *data) {
  tcf_tensor *host, *there;
  must(s, tcf_tensor_borrow(s, TCF_BF16, rank, dims, NULL, data, &host));
  if (interpreter) return host;
  must(s, tcf_tensor_new_device(s, TCF_BF16, rank, dims, &there));
  must(s, tcf_tensor_copy(s, there, host));
  tcf_tensor_free(host);
  return there;
}

static void from_device(tcf_session *s, tcf_tensor *t, void *data) {
  tcf_tensor *host;
  if (interpreter) return;
  must(s,
       tcf_tensor_borrow(s, TCF_BF16, tcf_tensor_rank(t), tcf_tensor_dims(t), NULL, data, &host));
  must(s, tcf_tensor_copy(s, host, t));
  must(s, tcf_synchronize(s));
  tcf_tensor_free(host);
}

static int guards_stand(const uint16_t *all, size_t n) {
  for (size_t i = 0; i < GUARD; i++)
    if (all[i] != POISON || all[GUARD + n + i] != POISON) return 0;
  return 1;
}

/// Calls the function with its result between guard zones; false (reported): it failed.
static int run(tcf_session *s, tcf_function *f, const problem *p, const char *what, uint16_t *out) {
  int64_t q[] = {BATCH, HEADS, p->s, p->t->d}, k[] = {BATCH, HEADS, p->keys, p->t->d};
  int64_t v[] = {BATCH, HEADS, p->keys, p->t->e}, o[] = {BATCH, HEADS, p->s, p->t->e};
  size_t n = (size_t)(o[0] * o[1] * o[2] * o[3]), total = n + 2 * GUARD;
  int64_t all = (int64_t)total;
  uint16_t *host = malloc(total * sizeof *host);
  for (size_t i = 0; i < total; i++) host[i] = POISON;
  tcf_tensor *args[] = {on_device(s, 4, q, p->q.bits), on_device(s, 4, k, p->k.bits),
                        on_device(s, 4, v, p->v.bits)};
  tcf_tensor *memory = on_device(s, 1, &all, host), *result;
  uint16_t *place = (uint16_t *)tcf_tensor_data(memory) + GUARD;
  if (interpreter) must(s, tcf_tensor_borrow(s, TCF_BF16, 4, o, NULL, place, &result));
  else must(s, tcf_tensor_borrow_device(s, TCF_BF16, 4, o, NULL, place, &result));
  tcf_status status = tcf_call(f, (const tcf_tensor *const *)args, 3, &result, 1);
  if (status) fail(what, tcf_session_message(s));
  from_device(s, memory, host);
  int whole = guards_stand(host, n);
  if (!status && !whole) fail(what, "it stored outside of its result");
  memcpy(out, host + GUARD, n * sizeof *host);
  for (int i = 0; i < 3; i++) tcf_tensor_free(args[i]);
  tcf_tensor_free(result);
  tcf_tensor_free(memory);
  free(host);
  return !status && whole;
}

static void check(tcf_session *s, tcf_function *f, problem *p, const char *what) {
  const double limit = 4e-3;  // rounding of the weights and of the result to bf16
  size_t bytes = sizeof(uint16_t) * (size_t)(BATCH * HEADS * p->s) * (size_t)p->t->e;
  char message[80];
  if (!run(s, f, p, what, p->got) || !run(s, f, p, what, p->again)) return;
  double error = error_of(p);
  snprintf(message, sizeof message, "error %.2e, limit %.0e", error, limit);
  if (!(error <= limit)) return fail(what, message);
  if (memcmp(p->got, p->again, bytes)) return fail(what, "a second run gives other bits");
  passed++;
}

static void check_text(tcf_session *s, const char *folder, const text *t, int small) {
  char path[512], what[160];
  tcf_program *program;
  snprintf(path, sizeof path, "%s/%s.tile", folder, t->name);
  must(s, tcf_program_load_file(s, path, &program));
  tcf_function *f = tcf_program_function(program, "att");
  for (size_t i = 0; i < (small ? 2 : sizeof sizes / sizeof *sizes); i++)
    for (kind values = 0; values < (small ? 1 : KINDS); values++) {
      int rows = sizes[i][0], keys = t->window ? rows : sizes[i][1];
      if (small && t->window) rows = keys = 200;
      problem p = problem_new(t, rows, keys, values);
      snprintf(what, sizeof what, "%s S=%d T=%d %s", t->name, rows, keys, kind_names[values]);
      check(s, f, &p, what);
      problem_free(&p);
    }
  tcf_program_free(program);
}

int main(int argc, char **argv) {
  const char *folder = argc > 1 ? argv[1] : ".", *only = NULL;
  int small = 0;
  for (int i = 2; i < argc; i++)
    if (!strcmp(argv[i], "--small")) small = 1;
    else if (!strcmp(argv[i], "--interpreter")) interpreter = 1;
    else only = argv[i];
  tcf_options options = {.size = sizeof options, .target = interpreter ? "interp-tile" : "cuda"};
  tcf_device_info info = {.size = sizeof info};
  tcf_session *s;
  if (tcf_session_new(&options, &s)) return 3;
  if (!interpreter) must(s, tcf_session_device(s, &info));
  if (!interpreter && strcmp(info.arch, "sm_90a")) {
    printf("attention: left out, %s has no wgmma\n", info.arch);
    return 77;
  }
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    if (!only || !strcmp(only, texts[i].name)) check_text(s, folder, &texts[i], small);
  tcf_session_free(s);
  printf("attention: %d passed, %d failed\n", passed, failed);
  return failed != 0;
}
