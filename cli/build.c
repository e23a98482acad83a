// `tcc-fuse build`: a function ahead of time, as object, assembly, LLVM IR, PTX or cubin.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

typedef enum output_kind { OUT_OBJECT, OUT_ASSEMBLY, OUT_LLVM, OUT_PTX, OUT_CUBIN } output_kind;

typedef struct build_options {
  common common;
  const char *out, *header;
  output_kind kind;
  char target[64];
} build_options;

static bool choose_kind(build_options *o) {
  static const char *const endings[] = {".o", ".s", ".ll", ".ptx", ".cubin"};
  const char *dot = strrchr(o->out, '.');
  for (int i = 0; dot && i < 5; i++)
    if (!strcmp(dot, endings[i])) return o->kind = (output_kind)i, true;
  complain("%s: the output ends in .o, .s, .ll, .ptx or .cubin", o->out);
  return false;
}

/// "sm_90a" is short for "cuda:sm_90a".
static bool choose_target(build_options *o) {
  const char *t = o->common.target ? o->common.target : getenv("TCF_TARGET");
  if (!t || !*t) t = "cpu";
  snprintf(o->target, sizeof o->target, "%s%s", strncmp(t, "sm_", 3) ? "" : "cuda:", t);
  bool gpu = !strncmp(o->target, "cuda", 4), wanted = o->kind >= OUT_PTX;
  if (wanted && !gpu)
    return complain("%s is of an NVIDIA architecture: give one with --target, e.g. sm_90a",
                    o->kind == OUT_PTX ? "PTX" : "a cubin"),
           false;
  if (!wanted && gpu && o->kind == OUT_ASSEMBLY)
    return complain("the assembly of an NVIDIA architecture is PTX: -o OUT.ptx"), false;
  if (strncmp(o->target, "interp", 6)) return true;
  return complain("interpreters have no code to write"), false;
}

// ---- ptxas

static bool find_ptxas(char *path, size_t size) {
  const char *home = getenv("CUDA_HOME");
  char *search = NULL;
  if (asprintf(&search, "%s:%s%s/usr/local/cuda/bin", getenv("PATH") ? getenv("PATH") : "",
               home ? home : "", home ? "/bin:" : "") < 0)
    return false;
  bool found = false;
  for (char *at = strtok(search, ":"); at && !found; at = strtok(NULL, ":")) {
    snprintf(path, size, "%s/ptxas", at);
    found = !access(path, X_OK);
  }
  free(search);
  return found;
}

static bool run_ptxas(const char *arch, const char *in, const char *out) {
  char tool[4096], option[64];
  if (!find_ptxas(tool, sizeof tool))
    return complain(
               "a cubin is made by ptxas, which is not in $PATH, $CUDA_HOME/bin or "
               "/usr/local/cuda/bin; PTX (-o OUT.ptx) needs nothing"),
           false;
  snprintf(option, sizeof option, "-arch=%s", arch);
  pid_t child = fork();
  if (!child) {
    execl(tool, tool, option, "-o", out, in, (char *)NULL);
    _exit(127);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  if (child > 0 && WIFEXITED(status) && !WEXITSTATUS(status)) return true;
  complain("%s failed", tool);
  return false;
}

/// PTX to a cubin through files in a directory of its own.
static int write_cubin(const build_options *o, const char *ptx) {
  char directory[] = "/tmp/tcc-fuse-XXXXXX", in[64], out[64];
  if (!mkdtemp(directory)) return complain("/tmp: %s", strerror(errno)), EXIT_ENVIRONMENT;
  snprintf(in, sizeof in, "%s/code.ptx", directory);
  snprintf(out, sizeof out, "%s/code.cubin", directory);
  const char *arch = strchr(o->target, ':');
  size_t size = 0;
  char *cubin = NULL;
  if (write_text(in, ptx, strlen(ptx)) && run_ptxas(arch + 1, in, out))
    cubin = read_text(out, &size);
  bool ok = cubin && write_text(o->out, cubin, size);
  free(cubin);
  unlink(in);
  unlink(out);
  rmdir(directory);
  return ok ? EXIT_DONE : EXIT_ENVIRONMENT;
}

// ----

static int write_code(const build_options *o, tcf_session *s, tcf_program *p, tcf_function *f,
                      const tcf_size *dims, size_t ndims) {
  char *data;
  size_t size;
  tcf_status status;
  if (o->kind == OUT_OBJECT) {
    status = tcf_function_object(f, dims, ndims, &data, &size);
  } else {
    tcf_emit_options e = {.size = sizeof e,
                          .function = tcf_function_name(f),
                          .stage = o->kind == OUT_LLVM ? TCF_STAGE_LLVM : TCF_STAGE_ASM,
                          .sizes = dims,
                          .nsizes = ndims};
    status = tcf_program_emit(p, &e, &data);
    size = status ? 0 : strlen(data);
  }
  if (status) return report(s, status);
  int result = o->kind == OUT_CUBIN             ? write_cubin(o, data)
               : write_text(o->out, data, size) ? EXIT_DONE
                                                : EXIT_ENVIRONMENT;
  tcf_text_free(data);
  return result;
}

static int write_header(const build_options *o, tcf_session *s, tcf_function *f,
                        const tcf_size *dims, size_t ndims) {
  char *text;
  tcf_status status = tcf_function_header(f, dims, ndims, &text);
  if (status) return report(s, status);
  bool ok = write_text(o->header, text, strlen(text));
  tcf_text_free(text);
  return ok ? EXIT_DONE : EXIT_ENVIRONMENT;
}

static int build(build_options *o, const char *file, tcf_session **s, const tcf_size *dims,
                 size_t ndims) {
  tcf_program *p;
  int result = open_session(&o->common, o->target, s);
  if (result) return result;
  tcf_status status = tcf_program_load_file(*s, file, &p);
  if (status) return report(*s, status);
  tcf_function *f = choose_function(p, o->common.function);
  if (!f || !dims_are_known(p, f, dims, ndims)) return EXIT_USAGE;
  tcf_device_info device = {.size = sizeof device};
  bool gpu = !strncmp(o->target, "cuda", 4);
  if (gpu && o->kind == OUT_CUBIN) {  // "cuda:0" is of its device's architecture
    status = tcf_session_device(*s, &device);
    if (status) return report(*s, status);
    snprintf(o->target, sizeof o->target, "cuda:%s", device.arch);
  }
  result = write_code(o, *s, p, f, dims, ndims);
  if (!result && o->header) result = write_header(o, *s, f, dims, ndims);
  return result;
}

int build_command(int argc, char **argv) {
  build_options o = {0};
  const option options[] = {
      {"--function", 'e', OPTION_VALUE, "FN", "the function (default: the only one, or main)",
       &o.common.function},
      {"--output", 'o', OPTION_VALUE, "OUT", "what is written; the ending says what", &o.out},
      {"--header", 0, OPTION_VALUE, "OUT.h", "the C declarations", &o.header},
      COMMON_OPTIONS(o.common),
      {0}};
  const command *c = find_command("build");
  strings files = {0};
  bool help = false;
  tcf_session *s = NULL;
  tcf_size *dims = NULL;
  size_t ndims = 0;
  int status = parse_options(c, options, argc, argv, &files, &help) ? EXIT_DONE : EXIT_USAGE;
  if (!status && !help) {
    if (files.count != 1 || !o.out) {
      complain("build writes OUT from one file: tcc-fuse %s", c->usage);
      status = EXIT_USAGE;
    } else if (!choose_kind(&o) || !choose_target(&o) || !parse_dims(&o.common, &dims, &ndims)) {
      status = EXIT_USAGE;
    } else {
      status = build(&o, files.items[0], &s, dims, ndims);
    }
  }
  tcf_session_free(s);
  if (dims) free_dims(dims, ndims);
  strings_free(&o.common.dims);
  strings_free(&files);
  return status;
}
