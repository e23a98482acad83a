// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `tcc-fuse run`: compile a function, call it, check and time it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

typedef struct run_options {
  common common;
  strings in, out;
  const char *in_all, *seed, *tolerance;
  bool check, bench;
} run_options;

typedef struct run_state {
  run_options *options;
  const char *file;
  tcf_session *session;
  tcf_program *program;
  tcf_function *function;
  tcf_size *dims;
  size_t ndims;
  inputs in;
  tcf_tensor **results;
  size_t nresults;
  double tolerance;  // < 0: by the rule
  ready_times ready;
  uint64_t seed;
} run_state;

static bool is_interp(const run_state *r) {
  return !strcmp(target_of(&r->options->common).text, "interp");
}

static int prepare(run_state *r) {
  const run_options *o = r->options;
  char *end;
  if (o->seed && !parse_whole(o->seed, UINT64_MAX, &r->seed))
    return complain("--seed is a whole number, not '%s'", o->seed), EXIT_USAGE;
  r->tolerance = -1;
  if (o->tolerance) r->tolerance = strtod(o->tolerance, &end);
  if (o->tolerance && (*end || end == o->tolerance || !(r->tolerance >= 0)))
    return complain("--tolerance is a number, not '%s'", o->tolerance), EXIT_USAGE;
  int status = parse_dims(&o->common, &r->dims, &r->ndims);
  if (!status) status = open_session(&o->common, NULL, &r->session);
  if (status) return status;
  tcf_status loaded = tcf_program_load_file(r->session, r->file, &r->program);
  if (loaded) return report(r->session, loaded);
  r->function = choose_function(r->program, o->common.function);
  if (!r->function || !dims_are_known(r->program, r->function, r->dims, r->ndims))
    return EXIT_USAGE;
  return make_inputs(r->session, r->function, &o->in, o->in_all, r->seed, r->dims, r->ndims,
                     &r->in);
}

static int call(run_state *r) {
  r->nresults = tcf_function_results(r->function);
  r->results = calloc(r->nresults + 1, sizeof *r->results);
  if (!r->results) return complain("out of memory"), EXIT_ENVIRONMENT;
  double begin = now_seconds();
  tcf_status prepared =
      tcf_prepare(r->function, (const tcf_tensor *const *)r->in.tensors, r->in.count);
  r->ready.seconds = now_seconds() - begin;
  if (prepared) return report(r->session, prepared);
  tcf_device_info device = {.size = sizeof device};
  if (!tcf_session_device(r->session, &device)) {
    r->ready.start = device.start_seconds;
    r->ready.kernels = device.kernel_seconds;
  }
  return report(r->session, tcf_call(r->function, (const tcf_tensor *const *)r->in.tensors,
                                     r->in.count, r->results, r->nresults));
}

static int check(const run_state *r) {
  checking c = {.common = r->options->common,
                .file = r->file,
                .session = r->session,
                .function = r->function,
                .args = (const tcf_tensor *const *)r->in.tensors,
                .nargs = r->in.count,
                .results = r->results,
                .nresults = r->nresults,
                .tolerance = r->tolerance};
  return check_results(&c);
}

static bool writes_standard_output(const strings *out) {
  for (int i = 0; i < out->count; i++) {
    const char *equals = strchr(out->items[i], '=');
    if (!strcmp(equals ? equals + 1 : out->items[i], "-")) return true;
  }
  return false;
}

static int run(run_state *r) {
  const run_options *o = r->options;
  if (o->check && !strcmp(r->file, "-"))
    return complain("--check reads the program twice: it cannot be standard input"), EXIT_USAGE;
  if ((o->check || o->bench) && writes_standard_output(&o->out))
    return complain("%s prints on standard output: --out cannot write an array there",
                    o->check ? "--check" : "--bench"),
           EXIT_USAGE;
  int status = prepare(r);
  if (!status) status = call(r);
  if (!status && o->check && !is_interp(r)) status = check(r);  // before anything is written
  if (!status && o->out.count) status = write_results(r->session, r->function, r->results, &o->out);
  for (size_t i = 0; !status && !o->out.count && !o->bench && !o->check && i < r->nresults; i++)
    print_result(r->function, i, r->results[i]);
  tcf_device_info device = {.size = sizeof device};
  if (!status && o->bench && !tcf_session_device(r->session, &device)) {
    status = bench_device(r->session, r->function, &r->in, r->results, &device, &r->ready);
  } else if (!status && o->bench) {
    const char *threads = o->common.threads ? o->common.threads : getenv("TCF_THREADS");
    int n = threads && *threads ? atoi(threads) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    status = bench(r->session, r->function, &r->in, r->results, n, &r->ready);
  }
  return status;
}

int run_command(int argc, char **argv) {
  run_options o = {0};
  const option options[] = {
      {"--function", 'e', OPTION_VALUE, "FN", "the function (default: the only one, or main)",
       &o.common.function},
      {"--in", 0, OPTION_LIST, "NAME=ARR", "an argument, see below", &o.in},
      {"--in-all", 0, OPTION_ONCE, "FILE",
       "arguments named like arrays of a .npz or .safetensors ('.' is '_')", &o.in_all},
      {"--out", 0, OPTION_LIST, "NAME=FILE", "where a result goes", &o.out},
      {"--seed", 0, OPTION_VALUE, "SEED", "of random arguments (default 0)", &o.seed},
      {"--check", 0, OPTION_FLAG, NULL, "compare with the interpreter", &o.check},
      {"--tolerance", 0, OPTION_VALUE, "X",
       "of --check (default: from the roundings of the program)", &o.tolerance},
      {"--bench", 0, OPTION_FLAG, NULL, "measure the call and the roofline", &o.bench},
      COMMON_OPTIONS(o.common),
      {"--autotune", 0, OPTION_FLAG, NULL, "find schedules by trial, and keep them in the cache",
       &o.common.autotune},
      {"--flush-denormals", 0, OPTION_FLAG, NULL, "denormal numbers count as zero",
       &o.common.flush_denormals},
      {"--cache-dir", 0, OPTION_VALUE, "DIR", "where compiled code is kept", &o.common.cache_dir},
      {"--no-cache", 0, OPTION_FLAG, NULL, "compile anew, keep nothing", &o.common.no_cache},
      {0}};
  const command *c = find_command("run");
  strings files = {0};
  bool help = false;
  run_state r = {.options = &o};
  int status = parse_options(c, options, argc, argv, &files, &help) ? EXIT_DONE : EXIT_USAGE;
  if (!status && !help && files.count != 1) {
    complain("run takes one file: tcc-fuse %s", c->usage);
    status = EXIT_USAGE;
  }
  if (!status && !help) {
    r.file = files.items[0];
    status = run(&r);
  }
  for (size_t i = 0; r.results && i < r.nresults; i++) tcf_tensor_free(r.results[i]);
  free(r.results);
  inputs_free(&r.in);
  free_dims(r.dims, r.ndims);
  tcf_session_free(r.session);
  strings_free(&o.in);
  strings_free(&o.out);
  common_free(&o.common);
  strings_free(&files);
  if (!status && (fflush(stdout) || ferror(stdout)))
    return complain("standard output cannot be written"), EXIT_ENVIRONMENT;
  return status;
}
