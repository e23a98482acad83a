// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// new NAME: a small project that builds, in a folder of that name. In the files @ stands for the name.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

static const char program[] =
    "// The softmax of each row: one kernel that reads x once.\n"
    "fn softmax_rows(x: f32[N, D]) -> f32[N, D] {\n"
    "  let e = exp(x - max(x, D))\n"
    "  return e / sum(e, D)\n"
    "}\n";

static const char host[] =
    "/* Compiles softmax_rows of a program and calls it: main FILE.tdsl */\n"
    "#include <stdio.h>\n"
    "#include <tcc_fuse.h>\n"
    "\n"
    "static int failed(const tcf_session *s) {\n"
    "  fprintf(stderr, \"%s\\n\", tcf_session_message(s));\n"
    "  return 1;\n"
    "}\n"
    "\n"
    "static int call(tcf_session *s, tcf_function *f) {\n"
    "  float x[2][3] = {{1, 2, 3}, {3, 2, 1}}, y[2][3];\n"
    "  int64_t dims[2] = {2, 3};\n"
    "  tcf_tensor *in = NULL, *out = NULL;\n"
    "  int status = 0;\n"
    "  if (tcf_tensor_borrow(s, TCF_F32, 2, dims, NULL, x, &in) ||\n"
    "      tcf_tensor_borrow(s, TCF_F32, 2, dims, NULL, y, &out) ||\n"
    "      tcf_call(f, (const tcf_tensor *const[]){in}, 1, &out, 1))\n"
    "    status = failed(s);\n"
    "  for (int i = 0; i < 2 && !status; i++) printf(\"%.3f %.3f %.3f\\n\", y[i][0], y[i][1], y[i][2]);\n"
    "  tcf_tensor_free(in);\n"
    "  tcf_tensor_free(out);\n"
    "  return status;\n"
    "}\n"
    "\n"
    "int main(int argc, char **argv) {\n"
    "  tcf_session *s;\n"
    "  tcf_program *p;\n"
    "  if (argc != 2) return fprintf(stderr, \"usage: %s FILE.tdsl\\n\", argv[0]), 2;\n"
    "  tcf_status status = tcf_session_new(NULL, &s);\n"
    "  if (status) return fprintf(stderr, \"%s\\n\", tcf_status_name(status)), 1;\n"
    "  tcf_function *f = NULL;\n"
    "  if (!tcf_program_load_file(s, argv[1], &p)) f = tcf_program_function(p, \"softmax_rows\");\n"
    "  int result = f ? call(s, f) : failed(s);\n"
    "  tcf_session_free(s);\n"
    "  return result;\n"
    "}\n";

static const char makefile[] =
    "# Where tccfuse is not installed in a folder of the system: PKG_CONFIG_PATH=DIR/lib/pkgconfig make\n"
    "CFLAGS ?= -O2 -Wall\n"
    "CFLAGS += $(shell pkg-config --cflags tccfuse)\n"
    "LDLIBS += $(shell pkg-config --libs tccfuse) -Wl,-rpath,$(shell pkg-config --variable=libdir tccfuse)\n"
    "\n"
    "main: main.c\n"
    "\n"
    "run: main\n"
    "\t./main @.tdsl\n"
    "\n"
    "clean:\n"
    "\trm -f main\n"
    "\n"
    ".PHONY: run clean\n";

static const char cmake[] =
    "# Where tccfuse is not installed in a folder of the system: PKG_CONFIG_PATH=DIR/lib/pkgconfig cmake ...\n"
    "cmake_minimum_required(VERSION 3.16)\n"
    "project(@ LANGUAGES C)\n"
    "find_package(PkgConfig REQUIRED)\n"
    "pkg_check_modules(tccfuse REQUIRED IMPORTED_TARGET tccfuse)\n"
    "add_executable(main main.c)\n"
    "target_link_libraries(main PRIVATE PkgConfig::tccfuse)\n"
    "enable_testing()\n"
    "add_test(NAME softmax_rows COMMAND main ${CMAKE_CURRENT_SOURCE_DIR}/@.tdsl)\n";

static const char readme[] =
    "# @\n"
    "\n"
    "`@.tdsl` is a program for tcc-fuse; `main.c` compiles it when it runs, and calls it.\n"
    "\n"
    "    make run                                         # or\n"
    "    cmake -B build && cmake --build build && build/main @.tdsl\n"
    "\n"
    "    tcc-fuse explain @.tdsl                          # what became of it, and what it costs\n"
    "    tcc-fuse run @.tdsl --dim N=4 --dim D=5 --check  # without a host\n"
    "    tcc-fuse build @.tdsl -o softmax.so --header softmax.h\n"
    "                                                     # a library that needs no compiler\n";

static const struct {
  const char *name, *text;
} files[] = {{"@.tdsl", program}, {"main.c", host},        {"Makefile", makefile},
             {"CMakeLists.txt", cmake}, {"README.md", readme}};
enum { FILES = sizeof files / sizeof *files, MOST = 64 };

/// The text with the name for each @, malloc'd; null: no memory.
static char *filled(const char *text, const char *name) {
  size_t places = 0;
  for (const char *at = text; *at; at++) places += *at == '@';
  char *out = malloc(strlen(text) + places * strlen(name) + 1), *to = out;
  for (const char *at = text; out && *at; at++) {
    if (*at == '@') to = stpcpy(to, name);
    else *to++ = *at;
  }
  if (out) *to = 0;
  return out;
}

/// What CMake, make, file systems and shells all take.
static bool name_is_plain(const char *name) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
  size_t length = strlen(name);
  if (strchr(name, '/'))
    return complain("%s: the name is that of a folder made here, without slashes", name), false;
  if (length && length <= MOST && strchr(letters, *name) && strspn(name, others) == length) return true;
  return complain("'%s' is no name of a project: up to %d letters, digits, _ and -, the first a letter", name,
                  MOST),
         false;
}

/// All files, or none.
static int write_files(tcf_session *s, const char *name) {
  tcf_output out[FILES] = {0};
  char *paths[FILES] = {0}, *texts[FILES] = {0};
  bool room = true;
  for (int i = 0; i < FILES; i++) {
    char path[2 * MOST + 32];
    char *file = filled(files[i].name, name);
    snprintf(path, sizeof path, "%s/%s", name, file ? file : "");
    room = room && file;
    free(file);
    paths[i] = strdup(path);
    texts[i] = filled(files[i].text, name);
    room = room && paths[i] && texts[i];
    out[i] = (tcf_output){.path = paths[i], .data = texts[i], .size = texts[i] ? strlen(texts[i]) : 0};
  }
  int status = room ? report(s, tcf_save(s, out, FILES)) : no_memory();
  for (int i = 0; !status && i < FILES; i++) puts(paths[i]);
  for (int i = 0; i < FILES; i++) free(paths[i]), free(texts[i]);
  return status;
}

static int make_project(tcf_session *s, const char *name) {
  // Fails where anything of the name is there: nothing is overwritten.
  if (mkdir(name, 0777)) {
    if (errno == EEXIST) complain("%s is there already; nothing is changed", name);
    else complain("the folder %s cannot be made: %s", name, strerror(errno));
    return EXIT_ENVIRONMENT;
  }
  int status = write_files(s, name);
  if (status) rmdir(name);
  return status;
}

int new_command(int argc, char **argv) {
  const option options[] = {{0}};
  const command *c = find_command("new");
  strings words = {0};
  bool help = false;
  tcf_session *s = NULL;
  int status = parse_options(c, options, argc, argv, &words, &help) ? EXIT_DONE : EXIT_USAGE;
  if (!status && !help) {
    if (words.count != 1) status = (complain("new takes one name: tcc-fuse %s", c->usage), EXIT_USAGE);
    else if (!name_is_plain(words.items[0])) status = EXIT_USAGE;
    if (!status) status = open_session(&(common){0}, "interp", &s);
    if (!status) status = make_project(s, words.items[0]);
  }
  tcf_session_free(s);
  strings_free(&words);
  return flushed(status);
}
