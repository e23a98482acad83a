// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the commands share. The command line is a client of tcc_fuse.h and of nothing else.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tcc_fuse.h"

enum { EXIT_DONE = 0, EXIT_PROGRAM = 1, EXIT_USAGE = 2, EXIT_ENVIRONMENT = 3, EXIT_CHECK = 4 };

// ---- options (cli/args.c)

typedef struct strings {
  const char **items;
  int count;
} strings;

typedef enum option_kind {
  OPTION_FLAG,
  OPTION_VALUE,     // of several the last counts
  OPTION_ONCE,      // a second one is an error: it would silently drop data
  OPTION_LIST,
  OPTION_OPTIONAL,  // `--x` gives "", `--x=value` the value
} option_kind;

/// One option of a command.
typedef struct option {
  const char *name;  // "--target"
  char letter;       // 'e' for -e; 0 none
  option_kind kind;
  const char *value_name;  // "NAME=ARR"
  const char *help;
  void *target;         // bool, const char * or strings
  const char *choices;  // "text json": the values there are; null: any
} option;

typedef struct command {
  const char *name;
  const char *usage;    // after "tcc-fuse "
  const char *summary;  // one line
  const char *details;  // printed by --help after the options; may be null
  int (*run)(int argc, char **argv);
} command;

extern const command *const commands[];
extern const int command_count;
const command *find_command(const char *name);

/// Parses argv[0 .. argc) into the targets; files are what is left. False: usage error, said on
/// stderr; *help: --help was asked and printed.
bool parse_options(const command *c, const option *options, int argc, char **argv, strings *files,
                   bool *help);
void strings_add(strings *s, const char *item);
void strings_free(strings *s);
/// Digits and nothing else, up to `most`.
bool parse_whole(const char *text, uint64_t most, uint64_t *out);
/// The nearest of the names, or null when none is near.
const char *nearest(const char *word, const char *const *names, int count);

// ---- help (cli/help.c, cli/complete.c): all of it comes from the tables of commands and options

typedef struct named_text {
  const char *name, *text;
} named_text;
extern const named_text exit_statuses[], environment[];  // ended by a null name

/// A command's part of the help in a format: "text", of the manual page "man", of the completion of
/// a shell "bash" or "zsh". False: there is no such format, said on stderr.
bool print_help(const command *c, const option *options, const char *format);
/// The whole, by calls of the commands; "text" is a summary.
int print_all_help(const char *format);
void bash_options(const command *c, const option *options);
void zsh_options(const command *c, const option *options);
int print_completion(const char *shell);
/// The first arguments that a command takes: "passes|ops|..." of its usage, as a length of it; null:
/// files.
const char *argument_words(const command *c, int *length);
/// It takes files, alone or behind these words.
bool takes_files(const command *c);

// ---- sessions and messages (cli/common.c)

/// Options of every command that compiles; the environment's TCF_TARGET, TCF_THREADS and
/// TCF_CACHE_DIR are the defaults.
typedef struct common {
  const char *target, *threads, *cache_dir, *schedule, *function, *memory_budget, *recompute_slack;
  bool no_cache;
#define PASS_OPTION(flag, name) bool name;
#define TARGET_OPTION(flag, name) PASS_OPTION(flag, name)
#define CALL_OPTION(flag, name) PASS_OPTION(flag, name)
#include "ir/options.def"
  strings dims, without_rules;
  strings *said;  // diagnostics that are not printed again; null: each is
  bool quiet;     // none is printed
} common;

// clang-format off
#define COMMON_OPTIONS(c)                                                                        \
  {"--target", 0, OPTION_VALUE, "TARGET",                                                        \
   "cpu[:NAME], cuda[:N], [cuda:]sm_NN, interp, interp-tile", &(c).target},                      \
  COMMON_OPTIONS_BUT_TARGET(c)
#define RULE_OPTIONS(c)                                                                          \
  {"--exact-casts", 0, OPTION_FLAG, NULL, "fuse stream: roundings stay where they are written",  \
   &(c).exact_casts},                                                                            \
  {"--no-rule", 0, OPTION_LIST, "NAME", "fuse stream: without a rule (see docs/contracts.md)",   \
   &(c).without_rules}
#define SPLIT_OPTION(target)                                                                     \
  {"--split-backward", 0, OPTION_OPTIONAL, "X,W,...",                                            \
   "its forward and backward part instead, for gradients of X, W (default: all floats)", &(target)}
#define COMMON_OPTIONS_BUT_TARGET(c)                                                             \
  {"--dim", 0, OPTION_LIST, "N=4096", "gives a size symbol its value", &(c).dims},               \
  {"--deterministic", 0, OPTION_FLAG, NULL, "results do not depend on the number of threads",    \
   &(c).deterministic},                                                                          \
  {"--fast-math", 0, OPTION_FLAG, NULL, "rewrites that change rounding are allowed",             \
   &(c).fast_math},                                                                              \
  {"--tf32", 0, OPTION_FLAG, NULL, "GPU: f32 products on tensor cores, factors rounded to tf32", \
   &(c).tf32},                                                                                   \
  {"--unchecked", 0, OPTION_FLAG, NULL, "indices are not tested", &(c).unchecked},               \
  {"--unordered-sums", 0, OPTION_FLAG, NULL,                                                     \
   "GPU: sums of gradients are added up in memory as they come", &(c).unordered_sums},           \
  RULE_OPTIONS(c),                                                                               \
  {"--schedule", 0, OPTION_VALUE, "KEY=VALUE,...", "overrides the schedule", &(c).schedule},     \
  {"--memory-budget", 0, OPTION_VALUE, "BYTES",                                                  \
   "for intermediate results: 512MiB, or 0.5 of the way from the least", &(c).memory_budget},    \
  {"--recompute-slack", 0, OPTION_VALUE, "SHARE",                                                \
   "of the time, for less memory (default 0.01)", &(c).recompute_slack},                         \
  {"--threads", 0, OPTION_VALUE, "N", "threads to use (default: all CPUs)", &(c).threads}
// clang-format on

/// "tcc-fuse: ..." on stderr.
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// v to be printed: the sign of a NaN, which differs between targets, means nothing.
double plain_nan(double v);
/// "out of memory", and the exit status for it.
int no_memory(void);
/// Says why (unless diagnostics did) and gives the exit status.
int report(tcf_session *s, tcf_status status);
int exit_of(tcf_status status);

/// The target that counts, of the option, else the environment, else "cpu"; "sm_90a" is written out as
/// "cuda:sm_90a".
typedef struct target_name {
  char text[64];
} target_name;
target_name target_of(const common *c);
void common_free(common *c);
/// A session that prints diagnostics to stderr. EXIT_DONE or an exit status. `target` null: from
/// the options or the environment.
int open_session(const common *c, const char *target, tcf_session **s);
/// The sizes of --dim; false: malformed, said.
int parse_dims(const common *c, tcf_size **sizes, size_t *count);
void free_dims(tcf_size *sizes, size_t count);
/// Sizes that no function of the program (or not the given one) has are usage errors.
bool dims_are_known(tcf_program *p, const tcf_function *only, const tcf_size *sizes, size_t count);
/// The function -e names, else the only one, else `main`. Null: said on stderr.
tcf_function *choose_function(tcf_program *p, const char *name);
/// The parts of a function for gradients of the parameters "x,w" (empty: all floats), as a program that
/// belongs to that of the function (cli/split.c). EXIT_DONE or an exit status.
int split_program(tcf_session *s, tcf_function *f, const char *wrt, const tcf_size *dims,
                  size_t ndims, tcf_program **parts);
/// All of a file or standard input, malloc'd. Null: said.
char *read_text(const char *path, size_t *size);
bool stderr_color(void);
/// What makes `new` of `old`, in unified format on standard output (cli/diff.c). False: no memory.
bool print_diff(const char *name, const char *old, size_t old_size, const char *new, size_t new_size);
/// The status, or EXIT_ENVIRONMENT with a message when standard output did not take everything.
int flushed(int status);

// ---- arrays (cli/arrays.c)

/// Opened archives by path, so that a file with many arrays is read once.
typedef struct archives {
  struct opened {
    char *path;
    tcf_archive *file;
  } *items;
  int count;
} archives;
void archives_free(archives *a);

/// The arguments of a call, made from --in, --in-all and --dim. EXIT_DONE or an exit status.
typedef struct inputs {
  tcf_tensor **tensors;
  size_t count;
  archives archives;
} inputs;
int make_inputs(tcf_session *s, tcf_function *f, const strings *in, const char *in_all,
                uint64_t seed, const tcf_size *dims, size_t ndims, inputs *out);
void inputs_free(inputs *in);
/// Writes results as --out says.
int write_results(tcf_session *s, tcf_function *f, tcf_tensor *const *results, const strings *out);
/// "out: f32[N=64, T=1000]  0.1 0.2 ..."
void print_result(const tcf_function *f, size_t i, const tcf_tensor *t);

// ---- checking (cli/check.c)

typedef struct checking {
  common common;
  const char *file;
  tcf_session *session;
  tcf_function *function;
  const tcf_tensor *const *args;
  size_t nargs;
  tcf_tensor **results;
  size_t nresults;
  double tolerance;  // < 0: by the rule
} checking;
/// Compares with the same call in the interpreter, a line per result. EXIT_DONE, EXIT_CHECK, ...
int check_results(const checking *c);

// ---- measuring (cli/bench.c, cli/bench_device.c, cli/roofline.c)

/// What compiling or loading from the cache took.
typedef struct ready_times {
  double seconds;
  double start, kernels;  // of it, a device's driver: to start, to compile and load kernels
} ready_times;
int bench(tcf_session *s, tcf_function *f, const inputs *in, tcf_tensor **results, int threads,
          const ready_times *ready);
/// The same on the session's CUDA device.
int bench_device(tcf_session *s, tcf_function *f, const inputs *in, tcf_tensor **results,
                 const tcf_device_info *device, const ready_times *ready);
/// "LABEL 12.3 us"
void print_time(const char *label, double seconds);
typedef struct roofline {
  double bytes_per_second;  // copying, read and written bytes counted, at the footprint given
  double flops_per_second;  // multiply-adds, 2 each
  const char *unit;         // what multiplies: "f32 FMA", "bf16 pairs"
} roofline;
/// Measured with all threads at once, for about a tenth of a second each. With bf16, dots of bf16
/// pairs count where the CPU has faster ones than f32 multiply-adds.
roofline measure_roofline(double footprint_bytes, int threads, bool bf16);
/// Some parameter has this type.
bool has_params_of(const tcf_function *f, tcf_dtype type);
double now_seconds(void);

// ---- commands
int run_command(int argc, char **argv);
int opt_command(int argc, char **argv);
int explain_command(int argc, char **argv);
int check_command(int argc, char **argv);
int fmt_command(int argc, char **argv);
int list_command(int argc, char **argv);
int build_command(int argc, char **argv);
int cache_command(int argc, char **argv);
int new_command(int argc, char **argv);
