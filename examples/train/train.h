// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// train: what its files share. It knows no model: what there is to train, and on what, the signatures
// of the program say (model.c).
#ifndef TRAIN_H
#define TRAIN_H

#include <stdint.h>
#include <stdio.h>

#include "tcc_fuse.h"

enum { MAX_ARGS = 256, MAX_SIZES = 64 };

typedef struct train_options {
  const char *program, *data, *out, *target, *unit;
  tcf_size sizes[MAX_SIZES];
  size_t nsizes;
  int64_t steps, warmup, seed;
  double rate, drop;
  int64_t save_every, log_every, evaluate_every, sample;
  int threads, deterministic;
} train_options;

// A value that functions take by its name: an array of the data, a number, or the rows of a batch.
typedef struct input {
  char name[64];
  tcf_tensor *tensor;
} input;

typedef struct model {
  const train_options *options;
  tcf_session *session;
  tcf_program *program;
  tcf_function *init, *step, *evaluate, *next;  // evaluate, next: may be NULL
  size_t nparams, nstate;                       // nstate: parameters and both moments of each
  tcf_tensor *state[2][MAX_ARGS];  // a step reads one and writes the other
  int now;                         // the one that holds the state
  input inputs[MAX_ARGS];
  size_t ninputs;
  uint64_t data_hash;
} model;

// Prints "train: ..." and ends the program.
_Noreturn void fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Ends it with the session's message when the status is not TCF_OK.
void must(tcf_session *session, tcf_status status);
uint64_t hash_bytes(uint64_t hash, const void *data, size_t size);

void model_open(model *m, const train_options *options);
void model_init(model *m);
typedef struct step_result {
  double loss, norm, count;
} step_result;
step_result model_step(model *m, int64_t step);
// Results of `evaluate`, at most `n`; how many there are.
size_t model_evaluate(model *m, double *values, size_t n);
void model_sample(model *m, int64_t count, FILE *to);
void model_close(model *m);
int64_t tensor_bytes(const tcf_tensor *t);

// The run as it stands after `step` steps, each with its loss.
typedef struct run {
  int64_t step;
  float *losses;  // options.steps entries
  char id[17];    // of the program and all that shapes the run: the beginning of its files' names
  char recipe[1024];
  uint64_t program_hash;
  int64_t saved, saved_before;  // steps of the newest checkpoints; -1: none
} run;

void run_begin(run *r, model *m);
void checkpoint_save(run *r, model *m);
// Takes up the newest checkpoint that fits, with a remark for each that is passed over; 0: there is none.
int checkpoint_resume(run *r, model *m);

// out/loss.svg
void plot_save(const run *r, model *m);

#endif
