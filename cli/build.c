// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `tcc-fuse build`: a function ahead of time, as object, library, assembly, LLVM IR, PTX or cubin.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

typedef enum output_kind {
  OUT_OBJECT,
  OUT_ARCHIVE,
  OUT_SHARED,
  OUT_ASSEMBLY,
  OUT_LLVM,
  OUT_PTX,
  OUT_CUBIN
} output_kind;

typedef struct build_options {
  common common;
  const char *out, *header, *symbol, *split;
  output_kind kind;
  target_name target;
} build_options;

static bool choose_kind(build_options *o) {
  static const char *const endings[] = {".o", ".a", ".so", ".s", ".ll", ".ptx", ".cubin"};
  const char *dot = strrchr(o->out, '.');
  for (int i = 0; dot && i <= OUT_CUBIN; i++)
    if (!strcmp(dot, endings[i])) return o->kind = (output_kind)i, true;
  complain("%s: the output ends in .o, .a, .so, .s, .ll, .ptx or .cubin", o->out);
  return false;
}

static bool choose_target(build_options *o) {
  o->target = target_of(&o->common);
  bool gpu = !strncmp(o->target.text, "cuda", 4), wanted = o->kind >= OUT_PTX;
  if (wanted && !gpu)
    return complain("%s is of an NVIDIA architecture: give one with --target, e.g. sm_90a",
                    o->kind == OUT_PTX ? "PTX" : "a cubin"),
           false;
  if (!wanted && gpu && o->kind == OUT_ASSEMBLY)
    return complain("the assembly of an NVIDIA architecture is PTX: -o OUT.ptx"), false;
  if (strncmp(o->target.text, "interp", 6)) return true;
  return complain("interpreters have no code to write"), false;
}

static bool is_library(const build_options *o) {
  return o->kind == OUT_ARCHIVE || o->kind == OUT_SHARED;
}

/// What is built: the function, or its forward and its backward part.
typedef struct built {
  tcf_session *s;
  tcf_function *functions[2];
  size_t count;
  const tcf_size *dims;
  size_t ndims;
} built;

static int write_library(const build_options *o, const built *b) {
  char *summary;
  tcf_status status =
      tcf_functions_library(b->functions, b->count, b->dims, b->ndims, o->out, &summary);
  if (status) return report(b->s, status);
  printf("%s: %s\n", o->out, summary);
  tcf_text_free(summary);
  return EXIT_DONE;
}

static tcf_status emit_text(const build_options *o, const built *b, tcf_function *f, char **data,
                            size_t *size) {
  tcf_emit_options e = {.size = sizeof e,
                        .function = tcf_function_name(f),
                        .stage = o->kind == OUT_LLVM ? TCF_STAGE_LLVM : TCF_STAGE_ASM,
                        .sizes = b->dims,
                        .nsizes = b->ndims};
  tcf_status status = tcf_program_emit(tcf_function_program(f), &e, data);
  if (!status) *size = strlen(*data);
  return status;
}

static tcf_status make_code(const build_options *o, const built *b, tcf_function *f, char **data,
                            size_t *size) {
  return o->kind == OUT_OBJECT  ? tcf_function_object(f, b->dims, b->ndims, data, size)
         : o->kind == OUT_CUBIN ? tcf_function_cubin(f, b->dims, b->ndims, data, size)
                                : emit_text(o, b, f, data, size);
}

/// "dir/f.o" -> "dir/f_backward.o", malloc'd.
static char *part_path(const char *out, const char *part) {
  const char *dot = strrchr(out, '.');
  size_t size = strlen(out) + strlen(part) + 1;
  char *path = malloc(size);
  if (path) snprintf(path, size, "%.*s%s%s", (int)(dot - out), out, part, dot);
  return path;
}

/// The code of each function: of the only one in OUT, of two in files beside it.
static tcf_status make_files(const build_options *o, const built *b, tcf_output *files,
                             size_t *count) {
  static const char *const parts[] = {"_forward", "_backward"};
  for (size_t i = 0; i < b->count; i++) {
    char *path = part_path(o->out, b->count > 1 ? parts[i] : ""), *code;
    size_t size;
    tcf_status status = path ? make_code(o, b, b->functions[i], &code, &size) : TCF_NO_MEMORY;
    if (status) return free(path), status;
    files[(*count)++] = (tcf_output){.path = path, .data = code, .size = size};
  }
  return TCF_OK;
}

/// The code and the header appear together or not at all; a library is linked in its place before
/// its header is written.
static int write_files(const build_options *o, const built *b) {
  tcf_output files[3];
  size_t count = 0;
  char *header = NULL;
  tcf_status status = TCF_OK;
  if (o->header)
    status = (is_library(o) ? tcf_functions_library_header : tcf_functions_header)(
        b->functions, b->count, b->dims, b->ndims, &header);
  if (header)
    files[count++] = (tcf_output){.path = o->header, .data = header, .size = strlen(header)};
  size_t first = count;
  int result = !status && is_library(o) ? write_library(o, b) : EXIT_DONE;
  if (!status && !is_library(o)) status = make_files(o, b, files, &count);
  if (!status && !result) status = tcf_save(b->s, files, count);
  for (size_t i = first; i < count; i++) {
    free((char *)files[i].path);
    tcf_text_free((char *)files[i].data);
  }
  tcf_text_free(header);
  return status ? report(b->s, status) : result;
}

static void say_symbol(const build_options *o, const tcf_function *f) {
  if (!strcmp(tcf_function_export_name(f), o->symbol ? o->symbol : tcf_function_name(f))) return;
  fprintf(stderr, "note: %s is exported as %s, for C or a library of C has that name; --symbol "
          "gives it another\n", tcf_function_name(f), tcf_function_export_name(f));
}

static int choose_parts(const build_options *o, tcf_function *f, built *b) {
  tcf_program *parts;
  b->functions[0] = f;
  b->count = 1;
  if (!o->split) return EXIT_DONE;
  int result = split_program(b->s, f, o->split, b->dims, b->ndims, &parts);
  if (result) return result;
  for (b->count = 0; b->count < 2; b->count++)
    b->functions[b->count] = tcf_program_at(parts, b->count);
  return EXIT_DONE;
}

static int build(build_options *o, const char *file, tcf_session **s, const tcf_size *dims,
                 size_t ndims) {
  tcf_program *p;
  int result = open_session(&o->common, NULL, s);
  if (result) return result;
  tcf_status status = tcf_program_load_file(*s, file, &p);
  if (status) return report(*s, status);
  tcf_function *f = choose_function(p, o->common.function);
  if (!f || !dims_are_known(p, f, dims, ndims)) return EXIT_USAGE;
  if (o->symbol) status = tcf_function_export_as(f, o->symbol);
  if (status) return report(*s, status);
  if (!o->split) say_symbol(o, f);
  built b = {.s = *s, .dims = dims, .ndims = ndims};
  result = choose_parts(o, f, &b);
  return result ? result : write_files(o, &b);
}

/// "cuda" is this machine's device; without one the architecture must be said.
static void hint_architecture(const build_options *o, tcf_session *s) {
  tcf_device_info device = {.size = sizeof device};
  bool of_device = !strncmp(o->target.text, "cuda", 4) && !strstr(o->target.text, "sm_");
  if (of_device && (!s || tcf_session_device(s, &device) == TCF_UNAVAILABLE))
    complain("without a device, name an architecture: --target cuda:sm_90a");
}

int build_command(int argc, char **argv) {
  build_options o = {0};
  const option options[] = {
      {"--function", 'e', OPTION_VALUE, "FN", "the function (default: the only one, or main)",
       &o.common.function},
      {"--output", 'o', OPTION_VALUE, "OUT", "what is written; the ending says what", &o.out},
      {"--header", 0, OPTION_VALUE, "OUT.h", "the C declarations", &o.header},
      {"--symbol", 0, OPTION_VALUE, "NAME", "what the function is called there (default: its name)",
       &o.symbol},
      SPLIT_OPTION(o.split),
      {"--target", 0, OPTION_VALUE, "TARGET", "cpu[:NAME], [cuda:]sm_NN, cuda[:N]",
       &o.common.target},
      COMMON_OPTIONS_BUT_TARGET(o.common),
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
    } else if (!choose_kind(&o) || !choose_target(&o)) {
      status = EXIT_USAGE;
    } else if (!(status = parse_dims(&o.common, &dims, &ndims))) {
      status = build(&o, files.items[0], &s, dims, ndims);
      if (status == EXIT_ENVIRONMENT) hint_architecture(&o, s);
    }
  }
  tcf_session_free(s);
  if (dims) free_dims(dims, ndims);
  common_free(&o.common);
  strings_free(&files);
  return status;
}
