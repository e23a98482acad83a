// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// random-programs: generates programs, compares compiled code with the interpreter, and shrinks and
// prints those that differ.
//
// usage: random-programs [--count N] [--first SEED] [--jobs N] [--threads N] [--target TARGET]
//                        [--deterministic] [--as-made] [--identities] [--gradients]
//        random-programs --print SEED      the program as text
//        random-programs --seed SEED       this one only; shrunk when it fails
//
// --identities: two forms of a function, written by identities of algebra (identities.h).
// --gradients: derivatives of programs (gradients.h).
// The last line is "N passed, N failed"; status 1 when some failed. The work is split over child
// processes, so that a crash costs one program. --as-made: failing programs are not shrunk, where time
// is short.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/gradients.h"
#include "tests/fuzz/identities.h"

enum { MAX_JOBS = 64, MAX_FAILURES = 64, SHOWN_FAILURES = 8, SECONDS_PER_PROGRAM = 120, RESTART = 75 };

static const char *const verdict_names[] = {"same",    "rejected", "error",
                                            "differs", "crashed",  "timeout"};

typedef struct failure {
  uint64_t seed;
  verdict v;
  char why[2000];
} failure;

typedef struct worker {  // in shared memory
  uint64_t next, passed, failed;
  int nfailures;
  failure failures[MAX_FAILURES];
} worker;

typedef struct settings {
  uint64_t first, count;
  int jobs;
  bool as_made;  // failing programs are not shrunk
  run_options run;
  bool identities;
} settings;

static void note_failure(worker *w, uint64_t seed, verdict v, const char *why) {
  w->failed++;
  if (w->nfailures == MAX_FAILURES) return;
  failure *f = &w->failures[w->nfailures++];
  f->seed = seed;
  f->v = v;
  snprintf(f->why, sizeof f->why, "%s", why);
}

static void make(const settings *s, uint64_t seed, gen_program *p) {
  if (s->run.gradients) gen_make_smooth(seed, p);
  else gen_make(seed, p);
}

static void work(worker *w, const settings *s) {
  static gen_program p;
  static char why[2000];
  signal(SIGALRM, SIG_DFL);
  for (; w->next < s->first + s->count; w->next += (uint64_t)s->jobs) {
    alarm(SECONDS_PER_PROGRAM);
    if (!s->identities) make(s, w->next, &p);
    verdict v = s->identities ? identity_run(w->next, &s->run, why, sizeof why)
                              : run_program(&p, &s->run, why, sizeof why);
    if (v == VERDICT_SAME) w->passed++;
    else note_failure(w, w->next, v, why);
    if (v != VERDICT_ERROR) continue;
    w->next += (uint64_t)s->jobs;
    _exit(RESTART);  // after a fault on a GPU its context does nothing more in this process
  }
}

static pid_t start(worker *w, const settings *s) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    work(w, s);
    _exit(0);
  }
  return pid;
}

/// Runs all workers; one that dies has its program noted as crashed, and goes on with the next.
static void run_workers(worker *workers, const settings *s) {
  pid_t pids[MAX_JOBS];
  int running = s->jobs;
  for (int i = 0; i < s->jobs; i++) {
    workers[i].next = s->first + (uint64_t)i;
    pids[i] = start(&workers[i], s);
  }
  while (running > 0) {
    int status;
    pid_t pid = wait(&status);
    int i = 0;
    while (i < s->jobs && pids[i] != pid) i++;
    if (i == s->jobs) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      running--;
      continue;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == RESTART) {
      pids[i] = start(&workers[i], s);
      continue;
    }
    char why[64];
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    snprintf(why, sizeof why, sig ? "signal %d" : "exit status %d",
             sig ? sig : WEXITSTATUS(status));
    note_failure(&workers[i], workers[i].next,
                 sig == SIGALRM ? VERDICT_TIMEOUT : VERDICT_CRASHED, why);
    workers[i].next += (uint64_t)s->jobs;
    pids[i] = start(&workers[i], s);
  }
}

static void show_program(const gen_program *p) {
  static char text[1 << 17];
  if (p->smooth) gradients_print(p, text, sizeof text);
  else gen_print(p, text, sizeof text);
  printf("// sizes:");
  for (int i = 0; i < p->naxes; i++) printf(" %s=%d", p->axes[i].name, p->axes[i].size);
  printf("\n%s", text);
}

static void show_failure(const failure *f, const settings *s) {
  printf("\n---- seed %llu: %s: %s\n", (unsigned long long)f->seed, verdict_names[f->v], f->why);
  static gen_program p;
  static char text[1 << 14];
  if (s->identities) {
    identity_print(f->seed, text, sizeof text);
    printf("%sagain: random-programs --identities --seed %llu\n", text, (unsigned long long)f->seed);
    fflush(stdout);
    return;
  }
  make(s, f->seed, &p);
  if (!s->as_made) {
    shrink_program(&p, &s->run, f->v);
    char why[2000];
    run_isolated(&p, &s->run, why, sizeof why);
    printf("shrunk: %s\n", why);
  }
  show_program(&p);
  printf("again: random-programs %s--seed %llu\n", s->run.gradients ? "--gradients " : "",
         (unsigned long long)f->seed);
  fflush(stdout);
}

static int run_all(const settings *s) {
  worker *workers = mmap(NULL, sizeof(worker) * MAX_JOBS, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (workers == MAP_FAILED) return 3;
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  run_workers(workers, s);
  clock_gettime(CLOCK_MONOTONIC, &end);
  uint64_t passed = 0, failed = 0;
  int shown = 0, by_kind[6] = {0};
  for (int i = 0; i < s->jobs; i++) {
    passed += workers[i].passed;
    failed += workers[i].failed;
    for (int k = 0; k < workers[i].nfailures; k++) {
      failure *f = &workers[i].failures[k];
      if (by_kind[f->v]++ < 3 && shown++ < SHOWN_FAILURES) show_failure(f, s);
      else printf("seed %llu: %s: %.150s\n", (unsigned long long)f->seed, verdict_names[f->v],
                  f->why);
    }
  }
  printf("%.1f s\n%llu passed, %llu failed\n",
         (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec),
         (unsigned long long)passed, (unsigned long long)failed);
  munmap(workers, sizeof(worker) * MAX_JOBS);
  return failed ? 1 : 0;
}

int main(int argc, char **argv) {
  settings s = {.first = 1, .count = 1000, .jobs = 1, .run = {.target = "cpu"}};
  uint64_t print = 0;
  for (int i = 1; i < argc; i += 2) {
    const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";
    bool deterministic = !strcmp(name, "--deterministic");
    if (deterministic || !strcmp(name, "--as-made")) {
      if (deterministic) s.run.deterministic = true;
      else s.as_made = true;
      i--;
      continue;
    }
    bool gradients = !strcmp(name, "--gradients");
    if (gradients || !strcmp(name, "--identities")) {
      if (gradients) s.run.gradients = true;
      else s.identities = true;
      i--;
      continue;
    }
    if (!strcmp(name, "--count")) s.count = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--first")) s.first = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--jobs")) s.jobs = atoi(value);
    else if (!strcmp(name, "--threads")) s.run.threads = atoi(value);
    else if (!strcmp(name, "--target")) s.run.target = value;
    else if (!strcmp(name, "--print")) print = strtoull(value, NULL, 10);
    else if (!strcmp(name, "--seed")) s.first = strtoull(value, NULL, 10), s.count = 1;
    else {
      fprintf(stderr, "random-programs: unknown argument %s\n", name);
      return 2;
    }
  }
  if (print) {
    static gen_program p;
    make(&s, print, &p);
    show_program(&p);
    return 0;
  }
  if (s.jobs < 1 || s.jobs > MAX_JOBS) s.jobs = 1;
  return run_all(&s);
}
