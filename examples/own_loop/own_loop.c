// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A host with a training loop of its own: the gradients of spirals.tdsl as two functions, and gradient
// descent with momentum in C between their calls.
//   cc own_loop.c $(pkg-config --cflags --libs tccfuse) -lm -o own-loop
//   ./own-loop spirals.tdsl [TARGET]
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"

enum { POINTS = 256, HIDDEN = 48, STEPS = 400, MOST = 16 };

static tcf_session *session;

static void check(tcf_status status) {
  if (!status) return;
  fprintf(stderr, "own-loop: %s\n", tcf_session_message(session));
  exit(1);
}

static void print_diagnostic(void *user, const tcf_diagnostic *d) {
  (void)user;
  fputs(d->text, stderr);
}

/// A value of the loop by its name: parameters of forward, its results, gradients.
typedef struct value {
  const char *name;
  tcf_tensor *tensor;
} value;
static value values[3 * MOST];
static int nvalues;

static tcf_tensor *find(const char *name) {
  for (int i = 0; i < nvalues; i++)
    if (!strcmp(values[i].name, name)) return values[i].tensor;
  fprintf(stderr, "own-loop: nothing is called %s\n", name);
  exit(1);
}

static const tcf_size sizes[] = {{"N", POINTS}, {"H", HIDDEN}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void add(const tcf_value_info *v, const int64_t *dims) {
  values[nvalues].name = v->name;
  check(tcf_tensor_new(session, v->dtype, v->rank, dims, &values[nvalues++].tensor));
}

/// Tensors for what both functions take and give. What is saved is found by its name, as all else.
static void make_values(tcf_function *forward, tcf_function *backward) {
  tcf_value_info v;
  int64_t dims[TCF_MAX_RANK];
  for (size_t i = 0; i < tcf_function_params(forward); i++) {
    check(tcf_function_param(forward, i, &v));
    check(tcf_function_param_dims(forward, i, sizes, SIZES, dims));
    add(&v, dims);
  }
  for (int f = 0; f < 2; f++)
    for (size_t i = 0; i < tcf_function_results(f ? backward : forward); i++) {
      check(tcf_function_result(f ? backward : forward, i, &v));
      check(tcf_function_result_dims(f ? backward : forward, i, sizes, SIZES, dims));
      add(&v, dims);
    }
  // The derivative of what is minimised for the loss: it is the loss.
  v = (tcf_value_info){.name = "d_out0", .dtype = TCF_F32};
  add(&v, dims);
  tcf_tensor_fill(find("d_out0"), 1);
}

static void call(tcf_function *f) {
  const tcf_tensor *args[MOST];
  tcf_tensor *results[MOST];
  tcf_value_info v;
  size_t nargs = tcf_function_params(f), nresults = tcf_function_results(f);
  for (size_t i = 0; i < nargs; i++) {
    check(tcf_function_param(f, i, &v));
    args[i] = find(v.name);
  }
  for (size_t i = 0; i < nresults; i++) {
    check(tcf_function_result(f, i, &v));
    results[i] = find(v.name);
  }
  check(tcf_call(f, args, nargs, results, nresults));
}

static void make_points(void) {
  float *xy = tcf_tensor_data(find("points"));
  int32_t *arm = tcf_tensor_data(find("arm"));
  for (int i = 0; i < POINTS; i++) {
    arm[i] = i % 2;
    float turn = 4 * (float)i / POINTS, radius = 0.2f + turn / 2,
          angle = turn + 3.14159f * (float)arm[i];
    xy[2 * i] = radius * cosf(angle);
    xy[2 * i + 1] = radius * sinf(angle);
  }
}

/// v = 0.9 v - rate g; w = w + v
static void descend(const char *name, float *velocity, float rate) {
  char gradient[64];
  snprintf(gradient, sizeof gradient, "d_%s", name);
  float *w = tcf_tensor_data(find(name));
  const float *g = tcf_tensor_data(find(gradient));
  for (int64_t i = 0; i < tcf_tensor_elements(find(name)); i++) {
    velocity[i] = 0.9f * velocity[i] - rate * g[i];
    w[i] += velocity[i];
  }
}

int main(int argc, char **argv) {
  static const char *const weights[] = {"w1", "b1", "w2", "b2"};
  static float velocity[4][2 * HIDDEN];
  tcf_options o = {
      .size = sizeof o, .target = argc > 2 ? argv[2] : "cpu", .diagnostic = print_diagnostic};
  tcf_program *p;
  tcf_function *forward, *backward;
  if (argc < 2 || tcf_session_new(&o, &session))
    return fprintf(stderr, "usage: own-loop FILE [TARGET]\n"), 2;
  check(tcf_program_load_file(session, argv[1], &p));
  tcf_split_options split = {
      .size = sizeof split, .wrt = weights, .nwrt = 4, .sizes = sizes, .nsizes = SIZES};
  check(tcf_function_split(tcf_program_function(p, "loss"), &split, &forward, &backward));
  make_values(forward, backward);
  make_points();
  for (int k = 0; k < 4; k++) { tcf_tensor_fill_uniform(find(weights[k]), (uint64_t)k, -0.7, 0.7); }
  tcf_tensor_fill(find("drop"), 0.05);
  double first = 0, loss = 0;
  int right = 0;
  for (int step = 0; step < STEPS; step++) {
    tcf_tensor_fill(find("seed"), step);
    call(forward);
    loss = tcf_tensor_get(find("out0"), 0);
    right = (int)tcf_tensor_get_integer(find("out1"), 0);
    if (!step) first = loss;
    if (step % 50 == 0) printf("step %3d: loss %.4f, %d of %d right\n", step, loss, right, POINTS);
    call(backward);
    for (int k = 0; k < 4; k++) descend(weights[k], velocity[k], 0.1f);
  }
  printf("after %d steps: loss %.4f, %d of %d right\n", STEPS, loss, right, POINTS);
  for (int i = 0; i < nvalues; i++) tcf_tensor_free(values[i].tensor);
  tcf_session_free(session);
  return !(loss < 0.5 * first);
}
