// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Names in generated headers: functions, parameters and axes called like keywords, macros and
// functions of C and C++ compile in both, whatever was included before; and what they are exported
// as.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "left_out.h"
#include "tcc_fuse.h"

static tcf_session *open_session(const char *target) {
  tcf_options o = {.size = sizeof o, .target = target, .cache_dir = "", .threads = 1};
  tcf_session *s = NULL;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  return s;
}

/// The only function of a text, or null where the language refuses a name.
static tcf_function *only_function(tcf_session *s, const char *text) {
  tcf_program *p;
  tcf_status status = tcf_program_load(s, "names.tdsl", text, strlen(text), &p);
  return status ? NULL : tcf_program_at(p, 0);
}

static tcf_function *function_called(tcf_session *s, const char *name) {
  char text[512];
  snprintf(text, sizeof text, "fn %s(x: f32[N, M]) -> f32[N] {\n  return sum(x, M)\n}\n", name);
  return only_function(s, text);
}

// ---- compiling

static const char *const keywords[] = {
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bitand", "bitor", "bool", "break",
    "case", "catch", "char", "char16_t", "char32_t", "char8_t", "class", "co_await", "co_return",
    "co_yield", "compl", "concept", "const", "const_cast", "consteval", "constexpr", "constinit",
    "continue", "decltype", "default", "delete", "do", "double", "dynamic_cast", "else", "enum",
    "explicit", "export", "extern", "false", "float", "for", "friend", "goto", "if", "inline",
    "int", "long", "mutable", "namespace", "new", "noexcept", "not", "not_eq", "nullptr",
    "operator", "or", "or_eq", "private", "protected", "public", "register", "reinterpret_cast",
    "requires", "restrict", "return", "short", "signed", "sizeof", "static", "static_assert",
    "static_cast", "struct", "switch", "template", "this", "thread_local", "throw", "true", "try",
    "typedef", "typeid", "typename", "typeof", "typeof_unqual", "union", "unsigned", "using",
    "virtual", "void", "volatile", "wchar_t", "while", "xor", "xor_eq", "_Bool", "_Complex",
    "_Generic", "_Noreturn",
    // macros of compilers, and names of the headers themselves
    "unix", "linux", "i386", "errno", "stdin", "NULL", "EOF", "INT32_MAX", "I", "M_PI", "SCNx8",
    "int32_t", "uint8_t", "size_t", "tcf_frame", "tcf_task", "TCF_ABI_H", "TCF_CALL_OK",
    "out", "frame", "context", "pool", "worker", "args",
    // functions
    "main", "malloc", "free", "memcpy", "memset", "memmove", "exp", "expf", "fmod", "y0", "gamma",
    "write", "read", "open", "close", "sem", "shm", "mq", "exit", "_exit", "_start", "environ",
    "index", "assert", "isnan", "major", "va_start", "sin", "time", "select", "signal"};

static const char includes[] =
    "#include <assert.h>\n#include <complex.h>\n#include <ctype.h>\n#include <errno.h>\n"
    "#include <fcntl.h>\n#include <fenv.h>\n#include <float.h>\n#include <inttypes.h>\n"
    "#include <limits.h>\n#include <locale.h>\n#include <math.h>\n#include <mqueue.h>\n"
    "#include <netdb.h>\n#include <pthread.h>\n#include <semaphore.h>\n#include <setjmp.h>\n"
    "#include <signal.h>\n#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n"
    "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <strings.h>\n"
    "#include <sys/mman.h>\n#include <sys/param.h>\n#include <sys/socket.h>\n"
    "#include <sys/stat.h>\n#include <sys/sysmacros.h>\n#include <sys/time.h>\n"
    "#include <sys/types.h>\n#include <sys/wait.h>\n#include <termios.h>\n#include <time.h>\n"
    "#include <unistd.h>\n#include <wchar.h>\n#include <wctype.h>\n"
    "#ifndef __cplusplus\n#include <stdatomic.h>\n#include <stdnoreturn.h>\n#include <threads.h>\n"
    "#include <uchar.h>\n#endif\n";

/// Runs a command; its output is in the message when it fails.
static void expect_success(const char *command) {
  char said[4096] = "", whole[1024];
  snprintf(whole, sizeof whole, "(%s) 2>&1", command);
  FILE *p = popen(whole, "r");
  cr_assert(p);
  said[fread(said, 1, sizeof said - 1, p)] = 0;
  while (fgetc(p) != EOF) continue;
  cr_expect_eq(pclose(p), 0, "%s\n%.3000s", command, said);
}

static void expect_compiles(const char *header) {
  static const char *const languages[] = {"-x c -std=c11 -pedantic", "-x c -std=gnu17",
                                          "-x c++ -std=gnu++17", "-x c++ -std=c++20"};
  for (size_t i = 0; i < sizeof languages / sizeof *languages; i++) {
    // Nothing before it, then everything.
    char command[512];
    snprintf(command, sizeof command,
             "echo 'int unit;' | cc %s -fsyntax-only -Wall -Wextra -Werror -include %s -",
             languages[i], header);
    expect_success(command);
    snprintf(command, sizeof command,
             "echo 'int unit;' | cc %s -D_GNU_SOURCE -fsyntax-only -Wall -Werror -include "
             "%s.before -include %s -",
             languages[i], header, header);
    expect_success(command);
  }
}

typedef tcf_status make_header(tcf_function *, const tcf_size *, size_t, char **);

typedef struct gathering {
  tcf_session *session;
  FILE *file;
  int made;
} gathering;

static void put_header(gathering *g, tcf_function *f, make_header *make) {
  char *text;
  if (!f) return;
  cr_assert_eq(make(f, NULL, 0, &text), TCF_OK, "%s", tcf_session_message(g->session));
  fputs(text, g->file);
  tcf_text_free(text);
  g->made++;
}

/// Headers of a function, a parameter and an axis of that name.
static void gather(gathering *g, const char *name, make_header *make) {
  char text[1024];
  int number = g->made;
  put_header(g, function_called(g->session, name), make);
  snprintf(text, sizeof text, "fn p%d(%s: f32[N]) -> f32[N] {\n  return %s * 2\n}\n", number, name,
           name);
  put_header(g, only_function(g->session, text), make);
  snprintf(text, sizeof text, "fn a%d(x: f32[%s]) -> f32[%s] {\n  return x * 2\n}\n", number, name,
           name);
  put_header(g, only_function(g->session, text), make);
}

/// Names of a command's lines.
static int gather_lines(gathering *g, const char *command, make_header *make) {
  char line[256];
  FILE *p = popen(command, "r");
  int before = g->made;
  cr_assert(p);
  while (fgets(line, sizeof line, p)) {
    line[strcspn(line, "\n")] = 0;
    gather(g, line, make);
  }
  pclose(p);
  return g->made - before;
}

static void open_header(char path[64]) {
  char before[80];
  strcpy(path, "/tmp/tcf-header-XXXXXX");
  int fd = mkstemp(path);
  cr_assert(fd >= 0);
  close(fd);
  snprintf(before, sizeof before, "%s.before", path);
  FILE *f = fopen(before, "w");
  fputs(includes, f);
  fclose(f);
}

static void close_header(const char *path) {
  char before[80];
  snprintf(before, sizeof before, "%s.before", path);
  unlink(before);
  unlink(path);
}

static void headers_compile(const char *target, make_header *make) {
  char path[64];
  open_header(path);
  gathering g = {open_session(target), fopen(path, "w"), 0};
  for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) gather(&g, keywords[i], make);
  fclose(g.file);
  cr_expect_gt(g.made, 400, "%d", g.made);
  expect_compiles(path);
  close_header(path);
  tcf_session_free(g.session);
}

Test(api_header, names_of_objects) { headers_compile("cpu", tcf_function_header); }
Test(api_header, names_of_libraries) { headers_compile("cpu", tcf_function_library_header); }
Test(api_header, names_of_libraries_for_devices) {
  headers_compile("cuda:sm_90a", tcf_function_library_header);
}

/// What a header declares besides the function cannot be what a program declares itself.
static void has_prefixes(const char *target) {
  char path[64], command[1024], line[256];
  open_header(path);
  gathering g = {open_session(target), fopen(path, "w"), 0};
  put_header(&g, function_called(g.session, "plain"), tcf_function_header);
  put_header(&g, function_called(g.session, "plain"), tcf_function_library_header);
  fclose(g.file);
  cr_assert_eq(g.made, 2);
  // Without comments: enumerators and macros, then types.
  snprintf(command, sizeof command,
           "cc -fpreprocessed -dD -E -P -x c %s 2>/dev/null >%s.text; "
           "grep -oE '\\b[A-Z][A-Z0-9_]{2,}\\b' %s.text | grep -vE '^TCF_'; "
           "sed -nE 's/^} (\\w+);/\\1/p; s/^typedef struct (\\w+).*/\\1/p' %s.text | "
           "grep -vE '^(tcf_\\w+|plain_context)$'; rm %s.text",
           path, path, path, path, path);
  FILE *p = popen(command, "r");
  cr_assert(p);
  while (fgets(line, sizeof line, p)) cr_expect(false, "declares %s", line);
  pclose(p);
  close_header(path);
  tcf_session_free(g.session);
}

Test(api_header, prefixes) {
  has_prefixes("cpu");
  has_prefixes("cuda:sm_90a");
}

/// The macros of all headers above. Those in capitals are known by their form: some do.
Test(api_header, names_of_macros, .timeout = 120) {
  char path[64], command[1024];
  open_header(path);
  gathering g = {open_session("cpu"), fopen(path, "w"), 0};
  snprintf(command, sizeof command,
           "cc -x c -D_GNU_SOURCE -dM -E %s.before | sed -En 's/^#define ([A-Za-z]\\w*).*/\\1/p' |"
           " sort -u | awk '!/^[A-Z][A-Z0-9_]/ || NR %% 40 == 0'",
           path);
  int macros = gather_lines(&g, command, tcf_function_library_header);
  cr_expect_gt(macros, 500, "%d macros", macros);
  fclose(g.file);
  expect_compiles(path);
  close_header(path);
  tcf_session_free(g.session);
}

/// What libc and libm of this machine have: a newer one may have some that the list has not.
Test(api_header, names_of_the_c_library, .timeout = 120) {
  char line[256];
  FILE *p = popen(
      "nm -D --defined-only $(cc -print-file-name=libc.so.6) $(cc -print-file-name=libm.so.6) "
      "2>/dev/null | sed -En 's/^[0-9a-f]* [A-Z] ([A-Za-z]\\w*)@@.*/\\1/p' | sort -u",
      "r");
  tcf_session *s = open_session("interp");
  int names = 0, unknown = 0;
  cr_assert(p);
  while (fgets(line, sizeof line, p)) {
    line[strcspn(line, "\n")] = 0;
    tcf_function *f = function_called(s, line);
    if (!f) continue;
    names++;
    if (strcmp(tcf_function_export_name(f), line)) continue;
    unknown++;
    fprintf(stderr, "not known to be of libc: %s\n", line);
  }
  pclose(p);
  if (!names) left_out("names of libc's functions", "nm tells none");
  cr_expect(!names || (names > 1500 && unknown * 50 <= names), "%d of %d", unknown, names);
  tcf_session_free(s);
}

// ---- what is exported

Test(api_header, symbols) {
  static const char *const pairs[][2] = {
      {"softmax", "softmax"},  {"add", "add"},       {"double", "double_"},
      {"malloc", "malloc_"},   {"expf", "expf_"},    {"fmodf64x", "fmodf64x_"},
      {"memset", "memset_"},   {"sem", "sem_"},      {"main", "main_"},
      {"EOF", "EOF_"},         {"_exit", "_exit_"},  {"unix", "unix_"},
      {"wide_t", "wide_t_"},   {"norm2", "norm2"},   {"tcf_call", "tcf_call_"},
      {"scale64", "scale64"},  {"z", "z"},           {"relu", "relu"},
      {"abort", "abort_"},     {"yn", "yn_"},        {"alignas", "alignas_"},
      {"xor_eq", "xor_eq_"},   {"a64l", "a64l_"}};
  tcf_session *s = open_session("cpu");
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    tcf_function *f = function_called(s, pairs[i][0]);
    cr_assert(f, "%s: %s", pairs[i][0], tcf_session_message(s));
    cr_expect_str_eq(tcf_function_export_name(f), pairs[i][1]);
  }
  tcf_session_free(s);
}

Test(api_header, symbols_that_are_given) {
  tcf_session *s = open_session("cpu");
  tcf_function *f = function_called(s, "double");
  char *text;
  static const char *const wrong[] = {"double", "malloc", "", "2x", "a-b", "a b", "sem", "unix"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    cr_expect_eq(tcf_function_export_as(f, wrong[i]), TCF_WRONG_USE, "%s", wrong[i]);
  cr_expect_eq(tcf_function_export_as(f, NULL), TCF_WRONG_USE);
  cr_expect_eq(tcf_function_export_as(NULL, "x"), TCF_WRONG_USE);
  cr_expect_str_eq(tcf_function_export_name(f), "double_");
  cr_assert_eq(tcf_function_export_as(f, "twofold"), TCF_OK);
  cr_expect_str_eq(tcf_function_export_name(f), "twofold");
  cr_assert_eq(tcf_function_header(f, NULL, 0, &text), TCF_OK);
  cr_expect(strstr(text, "int32_t twofold(") && strstr(text, "twofold_arena_size("), "%s", text);
  tcf_text_free(text);
  tcf_session_free(s);
}

/// Calls are not touched by the names: neither by those of C nor by what is exported.
Test(api_header, calls) {
  static const char *const names[] = {"memset", "memcpy", "malloc", "main", "write", "exit"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    tcf_session *s = open_session("cpu");
    tcf_function *f = function_called(s, names[i]);
    tcf_tensor *x, *out = NULL;
    cr_assert(f);
    if (i % 2) cr_assert_eq(tcf_function_export_as(f, "other"), TCF_OK);
    cr_assert_eq(tcf_tensor_new(s, TCF_F32, 2, (int64_t[]){3, 50}, &x), TCF_OK);
    tcf_tensor_fill(x, 2);
    cr_assert_eq(tcf_call(f, (const tcf_tensor *const[]){x}, 1, &out, 1), TCF_OK, "%s",
                 tcf_session_message(s));
    for (int k = 0; k < 3; k++) cr_expect_eq(((const float *)tcf_tensor_data(out))[k], 100);
    tcf_tensor_free(x);
    tcf_tensor_free(out);
    tcf_session_free(s);
  }
}
