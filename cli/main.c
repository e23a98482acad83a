// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// tcc-fuse: finds the command and prints help.
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const command run_info = {
    "run", "run FILE [OPTIONS]", "compile a function and call it on arrays",
    "ARR is FILE.npy, FILE.npz[:KEY], FILE.safetensors[:KEY] (a leading @ is allowed), - (a .npy\n"
    "on standard input), random[:SEED], uniform:LOW:HIGH[:SEED], zeros, ones, iota, or a number.\n"
    "A parameter without --in is random: the seed is --seed plus the parameter's position; floats\n"
    "are standard normal, integers uniform in [0, 8), bool a fair coin.\n"
    "FILE of --out is a .npy, FILE.npz[:KEY], FILE.safetensors[:KEY], or - for a .npy on standard\n"
    "output. --out FILE.npz and --out FILE.safetensors write all results, each under its name.\n"
    "Without --out a summary of each result is printed.\n",
    run_command};
static const command build_info = {
    "build", "build FILE -o OUT.{o,a,so,s,ll,ptx,cubin} [OPTIONS]",
    "compile a function ahead of time",
    "The ending of OUT says what it is: a library that is ready to be called (.so, linked by cc,\n"
    "or .a), an object whose caller brings threads and memory (.o), assembly or LLVM IR of a CPU;\n"
    "PTX or a cubin of an NVIDIA architecture (--target sm_90a; a cubin is made by ptxas, from\n"
    "$PATH or $CUDA_HOME/bin). With an architecture, libraries carry PTX and, if there is a\n"
    "ptxas, a cubin; OUT.o is the host's side with the PTX in it. --header writes the\n"
    "C declarations. Sizes without --dim are parameters. No device is needed.\n"
    "--split-backward makes f_forward, which returns what f returns and what it saves, and f_backward,\n"
    "which takes that and a derivative for each result: a library and a header have both, other kinds are\n"
    "two files, OUT_forward and OUT_backward with the ending of OUT. What is saved is decided for the\n"
    "sizes of --dim.\n",
    build_command};
static const command opt_info = {
    "opt", "opt FILE [OPTIONS]", "run passes and print the program at a stage",
    "FILE is a program, or IR text of any level as printed by this command; - is standard input.\n"
    "Without --passes, --to=graph runs none and the other stages the whole pipeline; with it, the\n"
    "graph after those passes is printed unless --to says otherwise.\n",
    opt_command};
static const command explain_info = {"explain", "explain FILE [OPTIONS]",
                                     "say what was fused, what was not, why, and what it costs",
                                     NULL, explain_command};
static const command check_info = {
    "check", "check FILE... [--target=TARGET] [--no-rule=NAME] [--format=text|json]",
    "parse and check programs", NULL, check_command};
static const command fmt_info = {"fmt", "fmt FILE... [--check|--diff]",
                                 "rewrite programs in the canonical layout",
                                 "- formats standard input to standard output.\n", fmt_command};
static const command list_info = {
    "list", "list passes|ops|targets|errors|functions [FILE]", "print what there is",
    "list functions FILE prints the functions of a program that can be called, with their signatures:\n"
    "names, types, axes and sizes, and what `where` demands of these.\n",
    list_command};

static const command cache_info = {
    "cache", "cache list|verify|clear [OPTIONS]", "look after the directory of compiled code",
    "list shows each entry: when it was used last, what it is (code; cubin: what an NVIDIA driver\n"
    "made of PTX; schedule: of --autotune), its size and its file. verify reads all of them; exit\n"
    "status 4 when some cannot be used: they are dropped when they are needed, and made again.\n"
    "clear removes the entries, and nothing else: files of other names stay, and a directory that\n"
    "has other files and no entry is left alone.\n",
    cache_command};

static const command new_info = {
    "new", "new NAME", "make a folder with a small project that builds",
    "It has NAME.tdsl, a host in C that compiles and calls it, a Makefile and a CMakeLists.txt (with\n"
    "pkg-config), and a README. Nothing is overwritten.\n",
    new_command};

const command *const commands[] = {&run_info,   &build_info, &opt_info, &explain_info,
                                   &check_info, &fmt_info,   &list_info,  &cache_info, &new_info};
const int command_count = sizeof commands / sizeof *commands;

const command *find_command(const char *name) {
  for (int i = 0; i < command_count; i++)
    if (!strcmp(commands[i]->name, name)) return commands[i];
  return NULL;
}

static int unknown_command(const char *name) {
  const char *names[sizeof commands / sizeof *commands];
  for (int i = 0; i < command_count; i++) names[i] = commands[i]->name;
  const char *near = nearest(name, names, command_count);
  complain("there is no command %s%s%s%s", name, near ? "; did you mean " : "", near ? near : "",
           near ? "?" : "");
  return EXIT_USAGE;
}

static int help(const char *name, const char *format) {
  const command *c = name ? find_command(name) : NULL;
  if (c) return c->run(1, (char *[]){"--help", NULL});
  return name ? unknown_command(name) : print_all_help(format);
}

int main(int argc, char **argv) {
  // Numbers have a point, whatever a library that is loaded with the tool does; and a file that may
  // not grow is an error of the write.
  setlocale(LC_ALL, "C");
  signal(SIGXFSZ, SIG_IGN);
  if (argc < 2) return print_all_help("usage");
  const char *name = argv[1];
  if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help"))
    return help(argv[2], "text");
  if (!strncmp(name, "--help=", 7)) return help(NULL, name + 7);
  if (!strcmp(name, "--version")) {
    printf("tcc-fuse %s\n", tcf_version());
    return EXIT_DONE;
  }
  const command *c = find_command(name);
  return c ? c->run(argc - 2, argv + 2) : unknown_command(name);
}
