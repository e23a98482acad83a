// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// train: runs the training step of a program over and over (README.md).
//
//   resume or init -> { step -> log, evaluate, checkpoint } * -> plot, samples
#include "train.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: train PROGRAM.tdsl --data FOLDER --out FOLDER [options]\n"
    "\n"
    "  --size NAME=N     a size symbol of the program\n"
    "  --steps N         steps to train (1000)\n"
    "  --warmup N        of which the rate rises (0)\n"
    "  --rate X          of Adam, at its peak (1e-3)\n"
    "  --drop X          probability of dropout (0.1)\n"
    "  --seed N          of initial values, batches and dropout (1)\n"
    "  --save N          steps between checkpoints (100)\n"
    "  --log N           steps between lines where the output is no terminal (50)\n"
    "  --evaluate N      steps between evaluations; 0: at the end only (0)\n"
    "  --sample N        tokens written at the end (400), where the program has `next`\n"
    "  --unit WORD       what a step counts: \"images\", \"tokens\" (examples)\n"
    "  --target T        cpu, cuda, ... (cpu)\n"
    "  --threads N       all by default\n"
    "  --deterministic   the results do not depend on the number of threads\n"
    "\n"
    "A run is taken up from its newest checkpoint in the folder --out.\n";

// ---- options

typedef struct flag {
  const char *name;
  char kind;  // 's' text, 'i' whole number from 0, 'x' number, 'n' int from 0
  void *to;
} flag;

static int64_t whole(const char *name, const char *text) {
  char *end;
  long long v = strtoll(text, &end, 10);
  if (end == text || *end || v < 0 || v >= 1LL << 53) fail(2, "%s: not a whole number: %s", name, text);
  return v;
}

static double number(const char *name, const char *text) {
  char *end;
  double v = strtod(text, &end);
  if (end == text || *end || !(v >= 0) || isinf(v)) fail(2, "%s: not a number: %s", name, text);
  return v;
}

static void take_size(train_options *o, char *text) {
  char *is = strchr(text, '=');
  if (!is || o->nsizes == MAX_SIZES) fail(2, "--size: NAME=N, at most %d of them", MAX_SIZES);
  *is = 0;
  size_t i = 0;
  while (i < o->nsizes && strcmp(o->sizes[i].name, text)) i++;
  o->sizes[i] = (tcf_size){text, whole("--size", is + 1)};  // the last one of a name counts
  if (i == o->nsizes) o->nsizes++;
}

static void take(const flag *f, const char *text) {
  switch (f->kind) {
    case 's': *(const char **)f->to = text; break;
    case 'i': *(int64_t *)f->to = whole(f->name, text); break;
    case 'n': *(int *)f->to = (int)(whole(f->name, text) & 0xffff); break;
    default: *(double *)f->to = number(f->name, text);
  }
}

static train_options parse(int argc, char **argv) {
  train_options o = {.target = "cpu", .unit = "examples", .steps = 1000, .seed = 1, .rate = 1e-3,
                     .drop = 0.1, .save_every = 100, .log_every = 50, .sample = 400};
  const flag flags[] = {{"--data", 's', &o.data},       {"--out", 's', &o.out},
                        {"--target", 's', &o.target},   {"--unit", 's', &o.unit},
                        {"--steps", 'i', &o.steps},     {"--warmup", 'i', &o.warmup},
                        {"--seed", 'i', &o.seed},       {"--save", 'i', &o.save_every},
                        {"--log", 'i', &o.log_every},   {"--evaluate", 'i', &o.evaluate_every},
                        {"--sample", 'i', &o.sample},   {"--threads", 'n', &o.threads},
                        {"--rate", 'x', &o.rate},       {"--drop", 'x', &o.drop}};
  for (int i = 1; i < argc; i++) {
    const flag *f = flags, *end = flags + sizeof flags / sizeof *flags;
    while (f < end && strcmp(f->name, argv[i])) f++;
    if (!strcmp(argv[i], "--help")) {
      fputs(usage, stdout);
      exit(0);
    }
    if (!strcmp(argv[i], "--deterministic")) o.deterministic = 1;
    else if (argv[i][0] != '-' && !o.program) o.program = argv[i];
    else if (f == end && strcmp(argv[i], "--size")) fail(2, "unknown option %s", argv[i]);
    else if (i + 1 == argc) fail(2, "%s needs a value", argv[i]);
    else if (f == end) take_size(&o, argv[++i]);
    else take(f, argv[++i]);
  }
  if (!o.program || !o.data || !o.out) fail(2, "PROGRAM.tdsl, --data and --out are needed\n\n%s", usage);
  if (o.drop >= 1) fail(2, "--drop: below 1");
  return o;
}

// ---- what is told

typedef struct progress {
  int terminal;
  double begin, shown;  // seconds
  int64_t first;        // step that `begin` is the end of: the one that compiled is not counted
  double count;
} progress;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void show_progress(progress *p, const run *r, const train_options *o, const step_result *s) {
  double t = now(), spent = t - p->begin;
  int64_t done = r->step - p->first;
  int last = r->step == o->steps;
  if (p->terminal ? t - p->shown < 0.1 && !last : !last && (!o->log_every || r->step % o->log_every))
    return;
  p->shown = t;
  printf("%sstep %" PRId64 "/%" PRId64 "  loss %.4f  norm %.3g", p->terminal ? "\r\033[K" : "", r->step,
         o->steps, s->loss, s->norm);
  if (done > 0 && spent > 0) {
    int64_t left = (int64_t)(spent / (double)done * (double)(o->steps - r->step) + 0.5);
    printf("  %.0f %s/s", p->count / spent, o->unit);
    if (!last) printf("  %" PRId64 ":%02" PRId64 " left", left / 60, left % 60);
  }
  if (!p->terminal) putchar('\n');
  fflush(stdout);
}

static void show_evaluation(const progress *p, model *m, const run *r) {
  double values[8];
  size_t n = model_evaluate(m, values, 8);
  if (!n) return;
  printf("%sstep %" PRId64 "  test loss %.4f", p->terminal ? "\r\033[K" : "", r->step, values[0]);
  if (n > 1) printf("  accuracy %.2f %%", 100 * values[1]);
  putchar('\n');
  fflush(stdout);
}

// ---- the run

static volatile sig_atomic_t stop;

static void on_signal(int signal_number) { stop = signal_number; }

static void watch_signals(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}

static void train(model *m, run *r) {
  const train_options *o = m->options;
  progress p = {.terminal = isatty(STDOUT_FILENO), .begin = now(), .first = r->step};
  int64_t first = r->step;
  while (r->step < o->steps && !stop) {
    step_result s = model_step(m, r->step);
    if (!isfinite(s.loss) || !isfinite(s.norm)) {
      if (p.terminal) putchar('\n');
      fail(1, "step %" PRId64 " has loss %g and norm %g; the checkpoints before it stay", r->step,
           s.loss, s.norm);
    }
    r->losses[r->step++] = (float)s.loss;
    if (r->step == first + 1) p.begin = now(), p.first = r->step;
    else p.count += s.count;
    show_progress(&p, r, o, &s);
    if (o->save_every && r->step % o->save_every == 0) checkpoint_save(r, m);
    if (o->evaluate_every && r->step % o->evaluate_every == 0 && r->step < o->steps)
      show_evaluation(&p, m, r);
  }
  if (p.terminal && r->step > first) putchar('\n');
  checkpoint_save(r, m);
  plot_save(r, m);
  if (!stop) show_evaluation(&p, m, r);
}

int main(int argc, char **argv) {
  train_options o = parse(argc, argv);
  model m;
  run r;
  model_open(&m, &o);
  run_begin(&r, &m);
  watch_signals();
  if (checkpoint_resume(&r, &m)) {
    printf("resumed at step %" PRId64 "\n", r.step);
    fflush(stdout);
  } else {
    model_init(&m);
    checkpoint_save(&r, &m);
  }
  train(&m, &r);
  if (!stop && o.sample) model_sample(&m, o.sample, stdout);
  model_close(&m);
  free(r.losses);
  if (stop) fail(128 + stop, "stopped at step %" PRId64 "; the same command goes on from there", r.step);
  return 0;
}
