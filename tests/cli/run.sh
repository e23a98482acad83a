#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Tests of the command line: exit statuses, messages, files in and out.
# usage: run.sh TOOL
set -uo pipefail
tool=$(realpath "${1:-build/tcc-fuse}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
cd "$dir" || exit 3
export TCF_CACHE_DIR=$dir/cache NO_COLOR=1
unset TCF_TARGET TCF_THREADS
cp "$here"/*.tdsl .

passed=0 failed=0
# expect STATUS TEXT ARGUMENTS...: the tool ends with STATUS, and what it says has TEXT (a fixed
# string; empty: anything goes) on either stream.
expect() {
  local status=$1 text=$2 got
  shift 2
  "$tool" "$@" >out.txt 2>err.txt </dev/null
  got=$?
  if [ $got != "$status" ] || { [ -n "$text" ] && ! grep -qF -- "$text" out.txt err.txt; }; then
    failed=$((failed + 1))
    echo "FAILED: tcc-fuse $*: status $got, wanted $status with '$text'"
    head -5 out.txt err.txt
  else
    passed=$((passed + 1))
  fi
}
# holds DESCRIPTION COMMAND...: the command succeeds
holds() {
  local what=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $what"; fi
}

# ---- help and usage
expect 2 'usage: tcc-fuse COMMAND'
expect 0 'Exit status' --help
expect 0 'tcc-fuse 0.' --version
for command in run opt explain check fmt list build cache new; do
  expect 0 "usage: tcc-fuse $command" "$command" --help
  expect 0 "usage: tcc-fuse $command" help "$command"
done
expect 2 'did you mean explain?' explian x.tdsl
expect 2 'there is no command frobnicate' frobnicate
expect 2 'there is no command frobnicate' help frobnicate
expect 2 'run has no option --treads; did you mean --threads?' run --treads 2 add.tdsl
expect 2 '--dim needs a value' run add.tdsl --dim
expect 2 '--check takes no value' run add.tdsl --check=yes
expect 2 'run takes one file' run
expect 2 'build writes OUT' build add.tdsl
expect 2 'ends in .o, .a, .so, .s, .ll, .ptx or .cubin' build add.tdsl -o add.exe
expect 0 '' build add.tdsl -o add.o --header add.h
cp add.o kept.o
for header in none/add.h .; do
  expect 3 "$header: cannot be written" build add.tdsl --dim N=4 -o add.o --header $header
  expect 3 "$header: cannot be written" build add.tdsl -o new.o --header $header
done
holds 'an object stays when its header cannot be written' cmp -s add.o kept.o
holds 'and none is made' test ! -e new.o
expect 2 'two outputs go to ./add.o' build add.tdsl -o add.o --header ./add.o
holds 'the object has its entry' grep -q 'ELF' add.o
cat >call.c <<'C'
#include "add.h"
#include <stdio.h>
static void serial(void *pool, tcf_task task, void *args, int64_t n) { (void)pool; task(args, 0, n, 0); }
int main(void) {
  float x[70], y[70], out[70];
  for (int i = 0; i < 70; i++) x[i] = i, y[i] = 2 * i;
  tcf_frame frame = {.parallel_for = serial, .workers = 1};
  if (add(x, y, out, 7, 10, &frame)) return 1;
  for (int i = 0; i < 70; i++)
    if (out[i] != 3 * i) return 2;
  return 0;
}
C
holds 'the object links and runs' sh -c 'gcc -Wall -Werror call.c add.o -o call && ./call'
expect 0 '' build add.tdsl -o add.ptx --target sm_90a --dim N=4096
holds 'PTX of the architecture' grep -q 'target sm_90a' add.ptx
expect 0 '' build add.tdsl -o gpu.o --target cuda:sm_80 --header gpu.h
holds 'the header lists kernels' grep -q 'add_kernels\[0\]' gpu.h
for command in explain 'opt --to=ptx'; do
  # shellcheck disable=SC2086
  expect 0 'add' $command add.tdsl --target sm_90a
  # shellcheck disable=SC2086
  TCF_TARGET=sm_90a expect 0 'add' $command add.tdsl
done
expect 0 '[cuda:]sm_NN' build --help
TCF_CUDA_LIBRARY=/none/libcuda.so expect 3 'name an architecture: --target cuda:sm_90a' \
  build add.tdsl -o none.so --target cuda
expect 2 'PTX is of an NVIDIA architecture' build add.tdsl -o add.ptx
expect 3 'unknown GPU architecture' build add.tdsl -o add.ptx --target sm_91x
if command -v ptxas >/dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/ptxas" ]; then
  expect 0 '' build add.tdsl -o add.cubin --target sm_90a
  holds 'a cubin is ELF' grep -q 'ELF' add.cubin
else
  echo 'left out: the command line makes no cubin (there is no ptxas)'
fi
printf '#!/bin/sh\nPATH=/none CUDA_HOME=/none exec "%s" "$@"\n' "$tool" >without_ptxas
chmod +x without_ptxas
tool=$dir/without_ptxas expect 3 'ptxas is not in $PATH or $CUDA_HOME/bin' \
  build add.tdsl -o none.cubin --target sm_90a

# ---- libraries, called from C: for this processor, then for a GPU with the driver of the tests
build_libraries() { # build_libraries ENDING TARGET FUNCTION...
  local ending=$1 target=$2 function
  shift 2
  for function in "$@"; do
    expect 0 "$function.$ending: " build library.tdsl -e "$function" --target "$target" \
      -o "$function.$ending" --header "$function.h"
  done
}
# ---- functions of more pointers than LLVM passes well
{
  printf 'fn many(x: f32[N]) -> (f32[N]'
  printf ', f32[N]%.0s' {1..299}
  printf ') { return (x'
  printf ', x + %s.0' {1..299}
  echo ') }'
} >many.tdsl
{
  printf '#include "many.h"\n#include <stdio.h>\nstatic float x[5] = {1, 2, 3, 4, 5}, out[300][5];\n'
  printf '#ifdef LIBRARY\n#define LAST context\n#else\n#define LAST &frame\n'
  printf 'static void serial(void *p, tcf_task t, void *a, int64_t n) { (void)p; t(a, 0, n, 0); }\n#endif\n'
  printf 'int main(void) {\n#ifdef LIBRARY\n  many_context *context;\n  if (many_open(2, &context)) return 1;\n'
  printf '#else\n  tcf_frame frame = {.parallel_for = serial, .workers = 1};\n#endif\n  if (many(x'
  printf ', out[%s]' {0..299}
  printf ', 5, LAST)) return 2;\n  for (int i = 0; i < 1500; i++)\n'
  printf '    if (out[i / 5][i %% 5] != (float)(i / 5 + i %% 5 + 1)) return 3;\n#ifdef LIBRARY\n  many_close(context);\n#endif\n  return 0;\n}\n'
} >many.c
expect 0 '' build many.tdsl -o many.o --header many.h
holds 'an object of 301 pointers is called' sh -c 'gcc -Wall -Werror many.c many.o -o many && ./many'
for ending in so a; do
  expect 0 '' build many.tdsl -o many.$ending --header many.h
  holds "and a library (.$ending)" sh -c "gcc -DLIBRARY -Wall -Werror many.c ./many.$ending -lm -lpthread -Wl,-rpath,. -o many && ./many"
done
holds 'in C++' sh -c 'g++ -x c++ -DLIBRARY -Wall -Werror many.c -x none ./many.so -Wl,-rpath,. -o many && ./many'
expect 0 '' build many.tdsl -o many.o --target sm_90a
expect 0 '' build many.tdsl -o many.so --target sm_90a --header many.h

targets='cpu cpu:x86-64'
if grep -qw avx2 /proc/cpuinfo; then targets+=' cpu:x86-64-v3'; fi
for target in $targets; do
  for sizes in 'N=5 --dim M=37' 'N=64 --dim M=64' 'N=33 --dim M=1'; do
    # shellcheck disable=SC2086
    expect 0 'check out2: ' run arguments.tdsl --dim $sizes --in p4=uniform:0:7 --target $target --check
  done
done

# ---- the manual page and the completions
"$tool" --help=man >tcc-fuse.1
"$tool" --help=bash >completion.bash
"$tool" --help=zsh >_tcc-fuse
expect 2 'text, man, bash or zsh' --help=fish
expect 2 'text, man, bash or zsh' run --help=fish
for command in run opt explain check fmt list build cache new; do
  for option in $("$tool" $command --help | grep -oE '^  (-., )?--[a-z0-9-]+' | grep -oE -- '--.*'); do
    holds "$command $option is in the manual page" grep -qF -- "${option//-/\\-}" tcc-fuse.1
    holds "and completed in bash" grep -qE -- "'$command options'.* $option( |')" completion.bash
    holds "and in zsh" grep -qF -- "$option" _tcc-fuse
  done
done
if command -v mandoc >/dev/null; then
  holds 'mandoc has no warning' test -z "$(mandoc -T lint -W warning tcc-fuse.1 | grep -v 'missing date')"
else
  echo 'left out: the manual page is not checked (there is no mandoc)'
fi
if command -v zsh >/dev/null; then
  holds 'zsh reads its completion' zsh -n _tcc-fuse
else
  echo 'left out: the completion of zsh is not read (there is no zsh)'
fi
# completes WANTED LINE: what bash would offer at the end of the line, sorted
completes() {
  local got COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDS COMP_CWORD COMPREPLY
  read -ra COMP_WORDS <<<"$2"
  case $2 in *' ') COMP_WORDS+=('') ;; esac
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_WORDS[0]=$tool
  _tcc_fuse
  got=$(printf '%s\n' "${COMPREPLY[@]}" | sort | xargs)
  holds "'$2' is completed by '$1', not '$got'" test "$got" = "$1"
}
# shellcheck disable=SC1091
. ./completion.bash
completes '--help --version build cache check explain fmt help list new opt run' 'tcc-fuse '
completes 'explain' 'tcc-fuse ex'
completes 'explain' 'tcc-fuse help ex'
completes 'functions' 'tcc-fuse list func'
completes 'several.tdsl' 'tcc-fuse list functions sev'
completes 'clear list verify' 'tcc-fuse cache '
completes 'asm fused graph llvm plan ptx tile' 'tcc-fuse opt add.tdsl --to='
completes 'tile' 'tcc-fuse opt add.tdsl --to t'
completes 'json' 'tcc-fuse check --format=j'
completes '--check' 'tcc-fuse run add.tdsl --che'
completes 'several.tdsl' 'tcc-fuse run --check sev'
completes 'several.tdsl' 'tcc-fuse run --in x=sev'
completes 'softmax' 'tcc-fuse run several.tdsl -e so'
completes 'softmax' 'tcc-fuse run several.tdsl --function=so'
completes 'znver4' 'tcc-fuse run several.tdsl --target cpu:znver4'
completes 'interp interp-tile' 'tcc-fuse run several.tdsl --target=int'
completes 'dce' 'tcc-fuse opt several.tdsl --print-after=dce'
if [ -e "$(dirname "$tool")/CMakeCache.txt" ]; then
  holds 'cmake --install' sh -c "cmake --install '$(dirname "$tool")' --prefix installed >installed.txt"
  holds 'installs the license' cmp -s installed/share/doc/tcc-fuse/LICENSE "$here/../../LICENSE"
  holds 'the manual page' cmp -s installed/share/man/man1/tcc-fuse.1 tcc-fuse.1
  holds 'and the completions' cmp -s installed/share/bash-completion/completions/tcc-fuse completion.bash
  holds 'of both shells' cmp -s installed/share/zsh/site-functions/_tcc-fuse _tcc-fuse
fi

compile=(gcc -Wall -Wextra -Werror -I. "-I$here/../..")
build_libraries so cpu scaled pick windows
holds 'the header has what is demanded of sizes' grep -qx '//   where T % 4 == 0' scaled.h
holds 'and of indices' grep -qx '//   0 <= ids < V, else TCF_CALL_INDEX' pick.h
printf 'fn both(a: f32[V], b: f32[V, D], ids: i32[N]) -> (f32[N], f32[N, D]) where V >= 2, D <= 64 {
  return (a[V = ids], b[V = ids])
}' >both.tdsl
expect 0 '' build both.tdsl -o both.so --header both.h --dim D=8
holds 'each once, without the sizes that are known' test "$(grep -E '^//   (where|0)' both.h)" = \
  $'//   where V >= 2\n//   0 <= ids < V, else TCF_CALL_INDEX'
holds 'and no status of devices' test "$(grep -c LAUNCH scaled.h)" = 0
holds 'shared libraries link' "${compile[@]}" "$here/library_cpu.c" ./scaled.so ./pick.so ./windows.so \
  -lm -Wl,-rpath,"$dir" -o library_cpu
holds 'and run' ./library_cpu
holds 'only the functions of the header are exported' test \
  "$(nm -D --defined-only pick.so | cut -d' ' -f3 | sort | xargs)" = 'pick pick_close pick_message pick_open'
build_libraries a cpu scaled pick windows
holds 'archives link' "${compile[@]}" "$here/library_cpu.c" scaled.a pick.a windows.a -lm -lpthread \
  -o library_cpu
holds 'and run' ./library_cpu
fake=$(dirname "$tool")/libfake-cuda.so
if [ -e "$fake" ]; then
  for ending in so a; do
    build_libraries $ending sm_90a twice pick
    holds "libraries for GPUs link: $ending" "${compile[@]}" "$here/library_cuda.c" ./twice.$ending \
      ./pick.$ending -lpthread -ldl -Wl,-rpath,"$dir" -o library_cuda
    holds 'and run with a driver' env TCF_CUDA_LIBRARY="$fake" ./library_cuda
    holds 'and without one' env TCF_CUDA_LIBRARY=/none/libcuda.so ./library_cuda
  done
fi
# names that C, C++ or their libraries have: nothing of the program that links them is replaced
cat >names.tdsl <<'TDSL'
fn double(int: f32[new]) -> f32[new] { return int + int }
fn main(register: f32[errno]) -> f32[errno] { return register * 3 }
fn malloc(this: f32[N]) -> f32[N] { return this * 0 }
fn write(out_: f32[NULL]) -> f32[NULL] { return out_ + 1 }
TDSL
for file in double.so main.a malloc.o write.so; do
  expect 0 "exported as ${file%.*}_, for C" build names.tdsl -e ${file%.*} -o $file --header ${file%.*}.h
done
cat >names.c <<'C'
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "double.h"
#include "main.h"
#include "malloc.h"
#include "write.h"
static void serial(void *pool, tcf_task task, void *args, int64_t n) { (void)pool; task(args, 0, n, 0); }
int main(void) {
  float *x = (float *)malloc(sizeof *x * 5), y[5] = {0, 0, 0, 0, 0}, z[5];
  double__context *d;
  main__context *m;
  write__context *w;
  static tcf_frame frame;
  frame.parallel_for = serial, frame.workers = 1;
  if (!x || malloc_(y, x, 0, &frame)) return 1;
  for (int i = 0; i < 5; i++) x[i] = (float)i;
  if (double__open(1, &d) || main__open(1, &m) || write__open(1, &w)) return 2;
  if (double_(x, y, 5, d) || main_(y, z, 5, m) || write_(z, x, 5, w)) return 3;
  double__close(d), main__close(m), write__close(w);
  for (int i = 0; i < 5; i++)
    if (x[i] != 6 * i + 1) return 4;
  puts("names");
  free(x);
  return 0;
}
C
holds 'functions called like those of C link' "${compile[@]}" names.c ./double.so ./write.so main.a malloc.o \
  -lm -lpthread -Wl,-rpath,"$dir" -o names
holds 'and run' test "$(./names)" = names
holds 'in C++ too' g++ -Wall -Wextra -Werror -fsyntax-only -I. -x c++ names.c
expect 0 '' build names.tdsl -e double -o twofold.so --header twofold.h --symbol twofold
holds 'a symbol that is given: nothing to note' test ! -s err.txt
holds 'it is what is exported' test "$(nm -D --defined-only twofold.so | cut -d' ' -f3 | sort | xargs)" = \
  'twofold twofold_close twofold_message twofold_open'
holds 'and declared' grep -q '^int32_t twofold(const float \* /\* int \*/, float \*out,' twofold.h
for symbol in double malloc 2x a-b ''; do
  expect 2 'cannot be exported as' build names.tdsl -e double -o no.so --symbol "$symbol"
done
expect 2 'calls calls host functions' build library.tdsl -e calls -o calls.so
printf '#!/bin/sh\nPATH=/none exec "%s" "$@"\n' "$tool" >without_programs
chmod +x without_programs
tool=$dir/without_programs expect 3 'a shared library is linked by cc' build library.tdsl -e pick -o none.so
tool=$dir/without_programs expect 0 'pick.a: code for' build library.tdsl -e pick -o pick.a
expect 3 'none/x.so' build library.tdsl -e pick -o none/x.so

# ---- programs
expect 0 '' check add.tdsl
expect 1 'wrong.tdsl:2:14: error[E0' check wrong.tdsl
expect 1 '"line": 2' check wrong.tdsl --format=json
expect 1 'wrong.tdsl:2:14' check add.tdsl wrong.tdsl
cat >told.tdsl <<'TDSL'
fn f(x: f32[N, T], v: bf16[T, E]) -> f32[N, E] {
  let unused = x + 1
  fuse stream(T, passes = 1) { return dot(bf16(softmax(x, T)), v, T) }
}
TDSL
targets='--target cpu --target sm_80 --target sm_90a'
expect 0 W0801 check told.tdsl
# shellcheck disable=SC2086
{
  holds 'what several targets have in common is said once' \
    test "$("$tool" check told.tdsl $targets 2>&1 | grep -c W0801)" = 1
  holds 'errors as well' test "$("$tool" check told.tdsl $targets --no-rule=frames 2>&1 | grep -c E0303)" = 1
  holds 'in JSON each target has all' \
    test "$("$tool" check told.tdsl $targets --format=json | grep -c W0801)" = 3
  expect 1 'E0303' check told.tdsl --format=json --no-rule frames $targets
}
expect 1 'the rule `roundings` is switched off' check told.tdsl --exact-casts
expect 1 'the rule `frames` is switched off' check told.tdsl --no-rule=frames
expect 2 'there is no rule frame; did you mean frames' check told.tdsl --no-rule=frame
expect 2 'there is no target zpu' check told.tdsl --target zpu --format=json
expect 3 'none.tdsl: No such file' check none.tdsl
{ printf 'fn f(x: f32) -> f32 { '; printf 'fuse {%.0s' {1..400}; } >deep.tdsl
holds 'blocks that are nested too deep are one error' \
  test "$("$tool" check deep.tdsl 2>&1 | grep -c E0202)" = 1
expect 3 'directory' check .
expect 1 'wrong.tdsl:2:14' run wrong.tdsl
expect 2 'which function? Name one with -e: softmax, pick' run several.tdsl --dim N=2
expect 2 'there is no function zork; there are softmax, pick' run several.tdsl -e zork
expect 2 'there is no function zork; there is add' run add.tdsl -e zork
: >empty.tdsl
expect 2 'no function' run empty.tdsl
expect 2 'no function' explain empty.tdsl
expect 2 'there is no function softmaxx; did you mean softmax?' run several.tdsl -e softmaxx

# ---- every option that a session takes is an option of the command line
options=$(sed -nE 's/^(PASS|TARGET|CALL)_OPTION\([A-Z0-9_]+, ([a-z0-9_]+)\)/\2/p' "$here/../../ir/options.def")
holds 'there are options' test "$(wc -w <<<"$options")" -ge 6
for option in $options; do expect 0 "--${option//_/-} " run --help; done

expect 2 'did you mean frames' run add.tdsl --no-rule=frame
expect 0 'out: f32' run add.tdsl --dim N=2 --dim M=2 --no-rule=frames --no-rule=scales

# ---- a parameter called out: results have names of their own
echo 'fn own(out: f32[N]) -> f32[N] { return out * 2 }' >own.tdsl
expect 0 'out_: f32[N = 2] 2 2' run own.tdsl --dim N=2 --in out=ones
expect 0 'check out_' run own.tdsl --dim N=2 --check --out out_=own.npz
expect 0 'out_: f32[N = 2]' run own.tdsl --in out=own.npz:out_
expect 0 '' build own.tdsl -o own.so --header own.h
echo 'fn size(x: f32[out]) -> f32[out] { return x * 2 }' >size.tdsl
expect 0 '' build size.tdsl -o size.so --header size.h
holds 'and that of the axis' grep -q 'const float \*x, float \*out_, int64_t out,' size.h
holds 'a header has both names' grep -q 'const float \*out, float \*out_,' own.h

# ---- imports, relative to the importing file
mkdir -p lib/deep
echo 'fn twice(x: f32[N]) -> f32[N] { return x + x }' >lib/twice.tdsl
printf 'import "../twice.tdsl"\nfn four(x: f32[N]) -> f32[N] { return twice(twice(x)) }\n' \
  >lib/deep/four.tdsl
printf 'import "lib/deep/four.tdsl"\nimport "lib/deep/../twice.tdsl"\nimport "./lib/twice.tdsl"\n%s\n' \
  'fn eight(x: f32[N]) -> f32[N] { return twice(four(x)) }' >eight.tdsl
expect 0 'out: f32[N = 2] 8 8' run eight.tdsl -e eight --dim N=2 --in x=ones
expect 0 'out: f32[N = 2] 8 8' run "$dir/eight.tdsl" -e eight --dim N=2 --in x=ones
echo 'import "lib/none.tdsl"' >lost.tdsl
expect 1 'lib/none.tdsl: No such file' check lost.tdsl

# ---- run
echo 'fn main(x: f32[N]) -> f32[N] { return fma(x, x, x) }' >cpus.tdsl
expect 0 'out: f32[N = 3, M = 4]' run add.tdsl --dim N=3 --dim M=4
expect 2 'the size M is not given; use --dim or --in' run add.tdsl --dim N=3
expect 2 'the sizes N, M are not given; use --dim or --in' run add.tdsl
expect 2 '--dim gives N twice: N=3 and N=4' run add.tdsl --dim N=3 --dim M=1 --dim N=4
expect 2 'has no size symbol K' run add.tdsl --dim N=3 --dim M=4 --dim K=2
expect 2 '--dim is NAME=SIZE' run add.tdsl --dim N
expect 2 '--dim is NAME=SIZE' run add.tdsl --dim N=-3
expect 2 '--dim is NAME=SIZE' run add.tdsl --dim N=99999999999999999999
expect 2 '--dim is NAME=SIZE' run add.tdsl --dim 'N= 3'
expect 2 "--seed is a whole number, not '-1'" run add.tdsl --seed -1
expect 2 "--seed is a whole number, not '99999999999999999999'" run add.tdsl --seed 99999999999999999999
expect 2 'add has no parameter z' run add.tdsl --in z=ones
expect 2 'there is no target cpu:foo; `tcc-fuse list targets`' run add.tdsl --target cpu:foo
expect 2 'there is no target cpu:haswel; did you mean cpu:haswell?' opt add.tdsl --target cpu:haswel
expect 2 'there is no target interp-tiles; did you mean interp-tile?' run add.tdsl --target interp-tiles
expect 2 'there is no target cpu:' explain add.tdsl --target cpu:
expect 0 'vfmadd' opt cpus.tdsl --to=asm --target cpu:x86-64-v3
expect 0 'cpu:znver4' list targets
# code for another CPU runs, or is refused: no instruction ends the process
cat >narrow.tdsl <<'EOF'
fn main(x: f16[N], y: bf16[N], z: i8[N]) -> (f16[N], bf16[N], i32) {
  return (f16(f32(x) * 2 + 1), bf16(exp(f32(y))), dot(z, z, N))
}
EOF
for target in cpu:{x86-64,x86-64-v4,silvermont,btver2,bdver4,znver5,alderlake,sapphirerapids}; do
  "$tool" run narrow.tdsl --dim N=100 --target "$target" --no-cache >out.txt 2>err.txt
  status=$?
  holds "code for $target runs or is refused" \
    eval "[ $status = 0 ] || { [ $status = 3 ] && grep -q 'cannot run code for $target: it lacks' err.txt; }"
done
expect 2 'there is no target gpu' run add.tdsl --target gpu --dim N=1 --dim M=1
expect 2 'number of threads' run add.tdsl --threads 0 --dim N=1 --dim M=1
expect 2 'a tensor of 40000000000000 bytes is beyond the limit of 512 GiB' run add.tdsl \
  --dim N=1000000 --dim M=10000000
expect 2 'more than 72057594037927936 elements together' run add.tdsl --dim N=4000000000 \
  --dim M=4000000000
echo 'fn f(x: f32[N], y: f32[M]) -> f32[Q] { return (x * y)[(N, M) -> Q] }' >merged.tdsl
expect 2 'the size of the axis Q would not fit 64 bits' explain merged.tdsl --dim N=4000000000 \
  --dim M=4000000000
# Sizes that are not known are estimated; a panel of a tile stays within 64 MiB whatever they are.
cat >estimated.tdsl <<'TDSL'
fn main(x: i32[C, B], y: i32[C, N = B*C*C*2]) -> u16[B, N] { return u16(dot(x, y, C)) }
TDSL
holds 'panels of estimated sizes fit into memory' test -z \
  "$("$tool" opt estimated.tdsl --to=tile | grep 'local .*:[0-9]\{7,\}')"
"$tool" opt merged.tdsl --to=tile >merged.ir
expect 2 'the size of the axis Q would not fit 64 bits' run merged.ir --dim N=4000000000 --dim M=4000000000
echo 'fn main(x: f32[N]) -> f32[N, M = 1099511627776] { return x + 0 * f32(index(M)) }' >vast.tdsl
for command in 'run' 'run --target interp' 'opt --to=tile' explain; do
  # shellcheck disable=SC2086
  expect 2 'more than 72057594037927936 elements together' $command vast.tdsl --dim N=100000
done
expect 0 'out: f32[N = 2, M = 2] 3 3 3 3' run add.tdsl --dim N=2 --dim M=2 --in x=ones --in y=2
expect 0 'out: f32[N = 2, M = 2] 0 1 2 3' run add.tdsl --dim N=2 --dim M=2 --in x=iota --in y=zeros
for target in cpu interp interp-tile; do
  expect 0 'out: f32[N = 2, M = 3] 1 2 3 4 5 6' run add.tdsl --dim N=2 --dim M=3 --in x=iota \
    --in y=ones --target $target
done
# Integers beyond 2^53 are printed whole.
cat >whole.tdsl <<'END'
fn whole(a: u64[N], b: i64[N], c: u16[N]) -> (u64[N], i64[N], u16[N], u32[N]) {
  return (a - 1, b * 9007199254740993, c * 3, u32(c) - 1)
}
END
expect 0 'out0: u64[N = 1] 18446744073709551615' run whole.tdsl --in a=zeros --in b=ones --in c=zeros --dim N=1
expect 0 'out1: i64[N = 1] 9007199254740993' run whole.tdsl --in a=zeros --in b=ones --in c=zeros --dim N=1
expect 0 'out2: u16[N = 1] 65533' run whole.tdsl --in a=ones --in b=ones --in c=65535 --dim N=1
expect 0 'out3: u32[N = 1] 4294967295' run whole.tdsl --in a=ones --in b=ones --in c=zeros --dim N=1
expect 2 '--in c=65536 is no value of type u16' run whole.tdsl --in c=65536 --dim N=1
expect 2 '--in a=-1 is no value of type u64' run whole.tdsl --in a=-1 --dim N=1
# and read whole, or not at all
expect 0 'out0: u64[N = 1] 9223372036854775807' run whole.tdsl --in a=9223372036854775808 --in b=ones --in c=zeros --dim N=1
for number in 9007199254740993 -9007199254740993 18446744073709551615; do
  expect 2 "--in b=$number: numbers beyond 2^53" run whole.tdsl --in b=$number --dim N=1
done
expect 0 '' run whole.tdsl --dim N=30 --check --out out0=u.npz:a --out out2=u.npz:c
expect 0 '' run whole.tdsl --in a=u.npz --in b=ones --in c=u.npz
expect 2 'the array is u64[30], the parameter u16[N]; nothing is converted: save it as uint16' \
  run whole.tdsl --in a=u.npz --in b=ones --in c=u.npz:a
expect 0 '' build whole.tdsl -o whole.o --header whole.h
holds 'headers have the unsigned types' grep -q 'const uint64_t \*a, const int64_t \*b, const uint16_t \*c' whole.h
expect 0 ': ok' run add.tdsl --dim N=30 --dim M=17 --check
expect 2 'D = 13, but the function demands D >= 14' run several.tdsl -e backwards --dim D=13
expect 0 ': ok' run several.tdsl -e backwards --dim D=14 --check
expect 0 ': ok' run several.tdsl -e softmax --dim N=30 --dim T=1000 --check --deterministic
for threads in 1 3; do
  for sizes in 'B=3 --dim N=1000 --dim D=130' 'B=1 --dim N=2500 --dim D=333' 'B=2 --dim N=49 --dim D=1024' 'B=2 --dim N=0 --dim D=200'; do
    # shellcheck disable=SC2086
    expect 0 ': ok' run columns.tdsl -e sums --dim $sizes --check --threads $threads
  done
  expect 0 ': ok' run columns.tdsl -e small --dim N=7 --dim M=81 --dim D=517 --check --threads $threads
  expect 0 ': ok' run columns.tdsl -e centred --dim N=300 --dim D=517 --check --threads $threads
  for sizes in 'V=100 --dim D=130 --dim N=70' 'V=33 --dim D=64 --dim N=500' 'V=900 --dim D=130 --dim N=70' 'V=5 --dim D=1000 --dim N=3' 'V=10 --dim D=70 --dim N=0'; do
    # shellcheck disable=SC2086
    expect 0 ': ok' run columns.tdsl -e looked_up --dim $sizes --check --threads $threads
    # shellcheck disable=SC2086
    expect 0 ': ok' run columns.tdsl -e added --dim $sizes --check --threads $threads
  done
done
expect 4 'FAILED' run several.tdsl -e softmax --dim N=30 --dim T=1000 --check --tolerance 0
expect 4 'FAILED' run several.tdsl -e softmax --dim N=30 --dim T=1000 --check --tolerance 0 --out unchecked.npy
holds 'nothing is written when a check fails' test ! -e unchecked.npy
# what is said of a check: how much of it says nothing, and what explains a failure
cat >checks.tdsl <<'TDSL'
fn logs(x: f32[N]) -> f32[N] { return log(x) }
fn inverses(x: f32[N]) -> f32[N] { return 1 / x }
fn variance(x: f32[R, N]) -> f32[R] { return sum(x * x, N) / N - (sum(x, N) / N) ** 2 }
fn millionths(x: f32[N]) -> i32[N] { return i32(exp(x) * 1e6) }
fn less(x: f32[N], y: f32[N]) -> bool[N] { return exp(x) * exp(y) < exp(x + y) }
fn near(x: f32[N], y: f32[N]) -> f32 { return sum(x * y, N) }
TDSL
check=(run checks.tdsl --check)
expect 0 ': ok, but no element is a finite number; 9 NaN' "${check[@]}" -e logs --dim N=9 --in x=-1
expect 0 ': ok, but no element is a finite number; 9 infinite' "${check[@]}" -e inverses --dim N=9 --in x=0
expect 0 ': ok; 5 NaN' "${check[@]}" -e logs --dim N=9
expect 0 ': ok' "${check[@]}" -e inverses --dim N=9
holds 'of numbers nothing more is said' grep -q 'ok$' out.txt
for target in cpu interp interp-tile; do
  expect 0 'out: f32[N = 2] nan nan' run checks.tdsl -e logs --dim N=2 --in x=-1 --target $target
done
expect 4 'the program cancels or jumps there' "${check[@]}" -e variance --dim R=64 --dim N=10007 \
  --in x=uniform:100:101
expect 4 'these integers are made of floats' "${check[@]}" -e millionths --dim N=1003
expect 4 'these truth values are made of floats' "${check[@]}" -e less --dim N=1003
expect 4 'it is within the tolerance for the roundings of the program' "${check[@]}" -e near \
  --dim N=1000 --tolerance 0
expect 0 'GB/s' run add.tdsl --dim N=300 --dim M=170 --bench --threads 1
"$tool" run add.tdsl --dim N=9 --dim M=9 --out a.npy --seed 1 && "$tool" run add.tdsl --dim N=9 \
  --dim M=9 --out out=b.npy --seed 1 --threads 1 && "$tool" run add.tdsl --dim N=9 --dim M=9 \
  --out c.npy --seed 2
holds 'the same seed gives the same file' cmp -s a.npy b.npy
holds 'another seed gives another file' eval '! cmp -s a.npy c.npy'

# ---- files
expect 0 '' run add.tdsl --in x=a.npy --in y=@b.npy --out out=s.npz:sum
expect 0 'out: f32[N = 9, M = 9]' run add.tdsl --in x=s.npz:sum --in y=s.npz
expect 0 'out: f32[N = 9, M = 9]' run add.tdsl --in x=s.npz:sum --in y=zeros
expect 0 '' run several.tdsl -e both --dim N=4 --out out0=b.safetensors:x --out out1=b.safetensors:y
expect 0 'out: f32[N = 4, M = 4]' run add.tdsl --in x=b.safetensors:x --in y=zeros --dim M=4
expect 0 '' run add.tdsl --dim N=4 --in-all b.safetensors
expect 0 '' run several.tdsl -e both --dim N=4 --out all.npz --out all.safetensors --out out1=one.npy
for all in all.npz all.safetensors; do
  for key in out0 out1; do expect 0 'out: f32[N = 4, M = 4]' run add.tdsl --in x=$all:$key --in y=zeros --dim M=4; done
  expect 2 "$all has 2 arrays, none named x" run add.tdsl --in x=$all --in y=zeros --dim M=4
done
expect 2 '--out: x.npz:k is one array, and there are 2 results' run several.tdsl -e both --dim N=4 --out x.npz:k
expect 2 '--out is NAME=FILE, or FILE.npz or FILE.safetensors for all' run several.tdsl -e both --dim N=4 --out x.npy
expect 2 'two outputs go to x.npz:out1' run several.tdsl -e both --dim N=4 --out x.npz --out out1=x.npz
holds 'none of which is written' test ! -e x.npz -a ! -e x.npy
expect 2 "no array 'k'" run add.tdsl --in x=s.npz:k --in y=zeros
expect 2 'write b.safetensors:KEY' run several.tdsl -e softmax --in z=b.safetensors
expect 2 'has no result none; there is out' run add.tdsl --dim N=2 --dim M=2 --out none=x.npy
expect 3 'No such file' run add.tdsl --in x=none.npy --in y=zeros
expect 3 'No such file' run add.tdsl --in x=none.npz:a --in y=zeros
expect 3 'cannot be written' run add.tdsl --dim N=2 --dim M=2 --out out=none/x.npy
head -c 100 a.npy >short.npy
expect 3 'short.npy: truncated' run add.tdsl --in x=short.npy --in y=zeros
printf 'not numpy at all' >junk.npy
expect 3 '--in x: junk.npy: not a .npy file' run add.tdsl --in x=junk.npy --in y=zeros
expect 3 'junk.npz' run add.tdsl --in x=junk.npz:a --in y=zeros
cp junk.npy junk.safetensors
expect 3 'junk.safetensors: the header claims' run add.tdsl --in x=junk.safetensors:a --in y=zeros
expect 2 'x has N = 9, but y has N = 4' run several.tdsl -e same --in x=a.npy --in y=b.safetensors:x
expect 2 '--in ids: the array is f32[9, 9], the parameter i32[N]' run several.tdsl -e pick --in ids=a.npy \
  --dim V=2 --dim D=2
echo 'fn main(x: i32[N, T]) -> i32[N, T] { return x + 1 }' >ints.tdsl
expect 0 '' run ints.tdsl --dim N=2 --dim T=2 --out i32.npy
expect 2 'the array is i32[2, 2], the parameter f32[N, T]; nothing is converted: save it as float32' run several.tdsl -e softmax --in z=i32.npy
"$tool" run add.tdsl --in x=a.npy --in y=zeros --out - >piped.npy
holds 'an array goes through a pipe' cmp -s a.npy piped.npy
"$tool" run add.tdsl --in x=- --in y=zeros --out again.npy <a.npy
holds 'an array comes from a pipe' cmp -s a.npy again.npy
holds 'no temporary files are left' eval '! ls -A | grep -q "^\.tcc-fuse-"'

# ---- indices out of range
for target in cpu interp interp-tile; do
  expect 1 'several.tdsl:9:16: error[E0601]' run several.tdsl -e pick --dim N=3 \
    --in table=a.npy --target $target --in ids=9
done
"$tool" opt several.tdsl -e pick --to=tile >pick.ir
for target in cpu interp interp-tile; do
  expect 1 'index 9 is outside of axis V of size 9' run several.tdsl -e pick --dim N=3 \
    --in table=a.npy --target $target --in ids=9
done
for target in cpu interp-tile; do
  expect 1 'index 9 is outside of an axis of size 9' run pick.ir --dim N=3 --in table=a.npy \
    --target $target --in ids=9
done
expect 0 '' run several.tdsl -e pick --dim N=3 --in table=a.npy --in ids=8

# ---- opt, explain, list
for stage in graph fused tile llvm asm; do
  expect 0 softmax opt several.tdsl -e softmax --to=$stage
  expect 0 softmax opt several.tdsl -e softmax --to=$stage --dim N=8 --dim T=100
done
for stage in graph fused tile; do
  "$tool" opt several.tdsl -e softmax --to=$stage >printed.txt
  passes=(--passes=)
  [ $stage = tile ] && passes=()
  "$tool" opt printed.txt "${passes[@]}" --to=$stage >again.txt
  holds "what --to=$stage prints reads back" cmp -s printed.txt again.txt
  expect 0 'out: f32[N = 2, T = 3]' run printed.txt --dim N=2 --dim T=3
done
expect 0 'out: f32[N = 2, T = 3]' run printed.txt --dim N=2 --dim T=3 --target interp-tile
expect 2 'there is no graph to show' opt printed.txt --to=fused
expect 0 '// after dce' opt several.tdsl -e softmax --print-after=dce
"$tool" opt several.tdsl -e softmax --print-after=remat >after.ir
expect 0 ': ok' run after.ir --dim N=3 --dim T=5 --check
expect 0 'fused graph' opt several.tdsl -e softmax --print-after=remat --to=fused
expect 2 "a value of --print-after follows '=': --print-after=dce" opt --print-after dce several.tdsl -e softmax
expect 0 '// after dce' opt --print-after several.tdsl -e softmax
expect 0 'graph @softmax' opt several.tdsl -e softmax --passes=dce,fuse
expect 2 'did you mean dce?' opt several.tdsl --passes=dcee
expect 2 '--to is graph, fused' opt several.tdsl --to=tiles
# pairs of a value that is only broadcast along the sum are no pairs in memory
cat >pairs.tdsl <<'END'
fn varies(a: bf16[B = 50, C = 64], w: bf16[D = 400, C]) -> f32[D, B] { return dot(w, a, C) }
fn stands(a: bf16[B = 5, C = 8], w: bf16[D = 40]) -> f32[D, B] { return dot(broadcast(w, C), a, C) }
END
for target in cpu:sapphirerapids cpu:znver4; do
  expect 0 'dot pairs %' opt pairs.tdsl -e varies --target $target --schedule pairs=1 --to=tile
  expect 0 'dot %' opt pairs.tdsl -e stands --target $target --schedule pairs=1 --to=tile
done
# kernels that only a GPU's blocks can do, or only for some sizes
cat >rows.tdsl <<'END'
fn rows(x: bf16[N, D = 256], w: bf16[D, M = 128]) -> f32[N, M] {
  return softmax(dot(f32(x), f32(w), D), M)
}
END
cat >attention.tdsl <<'END'
fn attention(q: bf16[B = 64, S = 512, D = 64], k: bf16[B, T = 128, D], v: bf16[B, T, E = 64]) -> bf16[B, S, E] {
  let s = dot(q, k, D) * 0.125
  return bf16(dot(bf16(softmax(s, T)), v, T))
}
END
"$tool" opt rows.tdsl --target sm_90a --to=fused >rows.ir
"$tool" opt attention.tdsl --target sm_90a --to=fused >attention.ir
for name in rows attention; do
  holds "the whole $name is one kernel on a GPU" test "$(grep -c 'kernel ' $name.ir)" = 1
  expect 0 "kernel @$name.0" opt $name.ir --target sm_90a --to=tile
  for target in cpu cpu:x86-64 interp-tile; do
    expect 2 "@$name was fused for another target" opt $name.ir --target $target --to=tile
    expect 2 "@$name was fused for another target" explain $name.ir --target $target
  done
  expect 2 "@$name was fused for another target" build $name.ir --target cpu -o no.o
done
expect 2 '@rows was fused for another target' run rows.ir --dim N=8 --target cpu
expect 0 'out: f32[N = 8, M = 128]' run rows.ir --dim N=8 --target interp
expect 2 'or other sizes' opt rows.ir --dim N=1 --target sm_90a --to=tile
expect 0 'softmax' explain several.tdsl -e softmax --dim N=64 --dim T=1000
expect 0 '"kernels"' explain several.tdsl --format=json
for format in text json html; do
  expect 0 'registers' explain add.tdsl --target cuda:sm_90a --format=$format
done
expect 0 '' explain several.tdsl -o told.txt
holds 'explain -o writes a file' test -s told.txt
expect 0 '</body></html>' explain several.tdsl --format=html
cat >columns.tdsl <<'EOF'
fn sums(x: f32[N, M], y: f32[N, M]) -> (f32[N], f32[M]) { return (sum(x, M), sum(x * y, N)) }
fn maps(x: f32[N, M]) -> (f32[N, M], f32[N, M]) { return (exp(x), sin(x)) }
fn later(x: f32[N, M]) -> (f32[N, M], f32[N], f32[M]) {
  let e = exp(x)
  return (e, sum(e, M), sum(e, N))
}
EOF
expect 0 'walks other axes than the reduction; both read x; costs' explain columns.tdsl -e sums
expect 0 'siblings; both read x' explain columns.tdsl -e maps
expect 0 '"shared": "x"' explain columns.tdsl -e sums --format=json
expect 0 'both read <code>x</code>' explain columns.tdsl -e sums --format=html
cat >facts.tdsl <<'EOF'
fn pool(x: f32[N, C], y: f32[Y, X]) -> (f32[N, H], f32[P, Q]) where C % 32 == 0, N <= 100 {
  return (sum(x[C -> (H, K = 32)], K), max(y[Y -> P + (R = 3), X -> Q + (S = 3)], R, S))
}
EOF
for command in 'run' 'opt --to=tile' 'explain'; do
  # shellcheck disable=SC2086
  expect 2 'C = 48, but the function demands a multiple of 32' $command facts.tdsl --dim C=48 \
    --dim N=3 --dim X=9 --dim Y=9
done
expect 2 'N = 101, but the function demands N <= 100' explain facts.tdsl --dim N=101
for command in 'run' 'run --target interp' 'opt --to=fused' 'explain'; do
  # shellcheck disable=SC2086
  expect 2 'the axis Q would have the size X - 2 = -1' $command facts.tdsl --dim C=32 --dim N=3 \
    --dim X=1 --dim Y=9
done
echo 'fn pool(x: f32[Y, X]) -> f32[V, U] {
  let y = exp(x[Y -> P + (R = 3), X -> Q + (S = 3)])
  return sum(max(y, R, S)[P -> V * 2 + (I = 2), Q -> U * 2 + (J = 2)], I, J)
}' >pool.tdsl
expect 0 'Y = 1000' opt pool.tdsl --to=tile --dim Y=1000
expect 0 ': ok' run pool.tdsl --dim Y=19 --dim X=30 --check
# a long sum that is split over an axis C.1 beside an axis C
cat >triples.tdsl <<'EOF'
fn triples(x: f32[B]) -> i32 {
  let d = x - x[B -> C]
  return sum(i32(d * (x - x[B -> E]) < 0), B, C, E)
}
EOF
expect 0 ': ok' run triples.tdsl --dim B=128 --deterministic --check
expect 0 ': ok' run facts.tdsl --dim C=64 --dim N=5 --dim X=30 --dim Y=19 --check
for what in passes ops targets errors; do expect 0 '' list $what; done
expect 0 'E0601 index_out_of_range' list errors
expect 2 'did you mean passes?' list pases

# ---- fmt
printf 'fn   f( x:f32[N] )->f32[N]{return x+1}\n' >ugly.tdsl
chmod 640 ugly.tdsl
expect 4 ugly.tdsl fmt --check ugly.tdsl add.tdsl
cp ugly.tdsl before.tdsl
printf '// %s\n' {1..9} >>before.tdsl
printf 'fn   g(x: f32[N]) -> f32[N] {\n  return x\n}\n\n// %s\n' {1..9} >>before.tdsl
printf 'fn h(x: f32[N])->f32[N] { return x }' >>before.tdsl
expect 4 '+fn f(x: f32[N]) -> f32[N] {' fmt --diff ugly.tdsl add.tdsl
holds 'nothing of a file that stays' test -z "$(grep add out.txt)"
"$tool" fmt --diff before.tdsl >before.diff
holds 'and nothing is changed' grep -q 'fn   g' before.tdsl
cp before.tdsl after.tdsl
expect 0 '' fmt after.tdsl
if command -v patch >/dev/null; then
  patch -s before.tdsl before.diff
  holds 'the diff leads to what fmt writes' cmp -s before.tdsl after.tdsl
else echo 'left out: what fmt --diff prints is not applied (there is no patch)'
fi
expect 0 '' fmt --diff after.tdsl
holds 'no diff of what stays' test ! -s out.txt
expect 0 '' fmt ugly.tdsl
expect 0 '' fmt --check ugly.tdsl
holds 'fmt keeps the mode' test "$(stat -c %a ugly.tdsl)" = 640
expect 1 'wrong' fmt broken.tdsl wrong.tdsl
holds 'fmt leaves what does not parse alone' cmp -s broken.tdsl "$here/broken.tdsl"

# ---- environment
TCF_TARGET=none expect 2 'there is no target none' run add.tdsl --dim N=1 --dim M=1
TCF_THREADS=x expect 2 'number of threads' run add.tdsl --dim N=1 --dim M=1
TCF_CACHE_DIR='' expect 0 '' run add.tdsl --dim N=1 --dim M=1
holds 'compiled code is kept in the cache' eval 'ls cache/*.tcfo >/dev/null'
for file in cache/*.tcfo; do printf 'damage' | dd of="$file" bs=1 seek=40 conv=notrunc status=none; done
expect 0 ': ok' run add.tdsl --dim N=30 --dim M=17 --check
one=(run add.tdsl --dim N=1 --dim M=1)
: >plain-file
for unusable in /proc/none plain-file plain-file/below; do
  expect 3 "$unusable cannot be used" "${one[@]}" --cache-dir $unusable
  TCF_CACHE_DIR=$unusable expect 3 "$unusable cannot be used" "${one[@]}"
  expect 0 'out:' "${one[@]}" --cache-dir $unusable --no-cache
done
expect 0 'out:' "${one[@]}" --cache-dir new/deep/cache
holds 'a cache directory is made' eval 'ls new/deep/cache/*.tcfo >/dev/null'
holds 'without a default directory there is no cache' eval \
  'env -u TCF_CACHE_DIR XDG_CACHE_HOME=/proc/none "$tool" "${one[@]}" | grep out: >/dev/null'

# ---- determinism
cat >sums.tdsl <<'TDSL'
fn total(x: f32[N]) -> f32 { return sum(x, N) }
fn columns(x: f32[N, M]) -> f32[M] { return sum(x * x, N) }
fn product(x: f32[N, M], y: f32[M, K]) -> f32[N, K] { return dot(x, y, M) }
TDSL
for f in total columns product; do
  dims=(--dim N=200011)
  [ $f = total ] || dims=(--dim N=20011 --dim M=33)
  [ $f != product ] || dims+=(--dim K=5)
  for threads in 1 2 3 7; do
    "$tool" run sums.tdsl -e $f "${dims[@]}" --deterministic --threads $threads \
      --out sum$threads.npy
  done
  for threads in 2 3 7; do
    holds "$f is deterministic with $threads threads" cmp sum1.npy sum$threads.npy
  done
done

# ---- the example of docs/embedding.md
awk '/^```c$/ { p = 1; next } /^```$/ { if (p) exit } p' "$here/../../docs/embedding.md" >host.c
# shellcheck disable=SC2046
holds 'the example of docs/embedding.md compiles' cc -std=c11 -Wall -Werror -I"$here/../../include" \
  host.c "$(dirname "$tool")/libtccfuse.a" -ljansson -lzip -lffi $(llvm-config-22 --ldflags --libs) \
  -lpthread -lm -o host
holds 'and prints what it says' test "$(./host)" = '0.0900306 0.244728 0.665241'
cp host.c host.cpp
holds 'and is C++' g++ -Wall -Werror -fsyntax-only -I"$here/../../include" host.cpp
# and the one ahead of time
fenced() { awk -v fence="\`\`\`$1" -v n="$2" '$0 == fence { p = ++i == n; next } /^```$/ { p = 0 } p' \
  "$here/../../docs/embedding.md"; }
mkdir -p ahead
fenced tdsl 1 >ahead/softmax.tdsl
fenced c 2 >ahead/main.c
expect 0 '' build ahead/softmax.tdsl -o ahead/softmax.so --header ahead/softmax.h
holds 'the library of docs/embedding.md links' sh -c \
  "cd ahead && cc -Wall -Werror main.c softmax.so -Wl,-rpath,'\$ORIGIN' -o main"
holds 'and prints what it says' test "$(ahead/main)" = '0.0900306 0.244728 0.665241'

# ---- scripts: a mistyped argument is said before anything is done
refused() { # refused TEXT COMMAND...: status 2
  local text=$1
  shift
  "$@" >out.txt 2>err.txt </dev/null
  [ $? = 2 ] && grep -qF -- "$text" err.txt
}
holds 'minilm refuses unknown arguments' refused 'unknown argument --nobench' \
  "$here/../../examples/minilm/run.sh" --nobench
holds 'test names its stages' refused 'there is no stage nope; there are layers build' \
  "$here/../run.sh" --only layers,nope
holds 'stages build what they need' test "$("$here/../run.sh" --only unit,cli --list)" = 'build unit cli'

# ---- arguments that make no sense
echo 'fn main(x: i16[N]) -> i16[N] { return x + x }' >short.tdsl
expect 2 '--dim N=7, but the array of parameter x has N = 9' run add.tdsl --in x=a.npy --in y=zeros \
  --dim N=7
expect 0 '' run add.tdsl --in x=a.npy --in y=zeros --dim N=9
expect 2 '--in-all is given twice' run add.tdsl --in-all s.npz --in-all s.npz
expect 2 '--in gives x twice' run add.tdsl --in x=ones --in x=zeros --dim N=2 --dim M=2
expect 2 'standard input can be used once' run add.tdsl --in x=- --in y=-
expect 0 'note: y is random' run add.tdsl --in x=ones --dim N=2 --dim M=2
for given in '' '--in x=ones --in y=random'; do
  # shellcheck disable=SC2086
  expect 0 '' run add.tdsl $given --dim N=2 --dim M=2
  holds 'no note when all are random or given' test ! -s err.txt
done
expect 2 'explain takes sizes only' explain add.tdsl --in x=ones
expect 2 'the value is missing' run add.tdsl --in x= --dim N=2 --dim M=2
for wrong in random:abc random:-1 uniform:1 uniform:a:b uniform:1:2:x; do
  expect 2 'write random, random:SEED' run add.tdsl --in x=$wrong --dim N=2 --dim M=2
done
expect 2 'the lower end is above the upper' run add.tdsl --in x=uniform:3:1 --dim N=2 --dim M=2
expect 2 'no value of type i16' run short.tdsl --in x=70000 --dim N=2
expect 2 'no value of type i16' run short.tdsl --in x=1.5 --dim N=2
expect 0 '-4 -4' run short.tdsl --in x=-2 --dim N=2
expect 2 'there are softmax, pick' opt several.tdsl -e zork
expect 2 'an empty name in the passes' opt several.tdsl --passes=fold,,dce

for command in 'run --dim N=2 --dim M=2' 'opt --to=tile' explain; do
  # shellcheck disable=SC2086
  expect 2 'schedule: an item is KEY=NUMBER' $command add.tdsl --schedule=gird=64
  # shellcheck disable=SC2086
  expect 2 'grid is from 1 to' $command add.tdsl --schedule=vectors=2,grid=many
done
expect 0 ': ok' run add.tdsl --dim N=2 --dim M=2 --schedule=vectors=2,grid=64 --check
expect 0 ': ok' run add.tdsl --dim N=2 --dim M=2 --schedule=0.vectors=2,7.grid=64 --check
expect 2 'schedule: an item is KEY=NUMBER' explain add.tdsl --schedule=0.gird=64
echo 'fn mm(a: f32[M, K], b: f32[K, N]) -> f32[M, N] { return dot(a, b, K) }' >mm.tdsl
for schedule in nt=160 mt=5 kc=3 nr=7,mr=5 mc=7,mt=9,nt=5,kc=17,pack_b=1 inner=1,mt=3,nt=3,kc=5; do
  expect 0 ': ok' run mm.tdsl --dim M=200 --dim K=256 --dim N=300 --schedule=$schedule --check
done
echo 'fn mm(a: bf16[K, M], b: bf16[N, K]) -> f32[M, N] { return dot(a, b, K) }' >pairs.tdsl
for schedule in pairs=0 pairs=1 pairs=1,kc=33,nr=32 pairs=1,kc=64,mc=7 pairs=1,pack_b=0; do
  expect 0 ': ok' run pairs.tdsl --dim M=50 --dim K=101 --dim N=70 --schedule=$schedule --check
done
# ---- schedules by trial
expect 0 " us, the model's choice" run several.tdsl -e softmax --dim N=64 --dim T=512 --autotune --check
holds 'trials are told' \
  grep -qE 'autotune softmax: trial 1, 0\..*=.* us, (slower|hardly faster|taken) \(best' err.txt
holds 'and what is kept' grep -qE 'autotune softmax: after [0-9]+ trials.* us, .*kept$' err.txt
holds 'and the winner is right' grep -q ': ok' out.txt
expect 0 ': ok' run several.tdsl -e softmax --dim N=64 --dim T=512 --autotune --check
holds 'what was found is kept' test ! -s err.txt
for key in $("$tool" explain add.tdsl --schedule=x=1 2>&1 | sed 's/.*keys //'); do
  holds "docs/command-line.md has the schedule key $key" \
    grep -q "^| .$key. |" "$here/../../docs/command-line.md"
done

# ---- where results go
both=(run several.tdsl -e both --dim N=4)
expect 2 'the key is missing' "${both[@]}" --out out0=q.npz:
expect 2 'cannot be the name of an array' "${both[@]}" --out out0="q.npz:"$'\xff'
expect 2 'cannot be the name of an array: it is not UTF-8' "${both[@]}" \
  --out out0="q.safetensors:"$'\xff'
expect 2 'cannot be the name of an array: it is reserved' "${both[@]}" \
  --out out0=q.safetensors:__metadata__
holds 'and nothing is written' eval '! ls q.* 2>/dev/null'
for option in --check --bench; do
  expect 2 'prints on standard output' "${both[@]}" --out out0=- $option
done
expect 2 'two outputs go to q.npy' "${both[@]}" --out out0=q.npy --out out1=q.npy
expect 2 'two outputs go to q.npz:a' "${both[@]}" --out out0=q.npz:a --out out1=q.npz:a
expect 2 'two outputs go to -' "${both[@]}" --out out0=- --out out1=-
expect 0 '' "${both[@]}" --out out0=q.npz:a --out out1=q.npz:b
# one file by two names, before it exists and after, as it is and through links
mkdir -p there && ln -s there here && ln -s there/new.npy link-to-new.npy
for status in before after; do
  for pair in 'q1.npy ./q1.npy' 'there/q2.npy here/q2.npy' 'there/new.npy link-to-new.npy'; do
    expect 2 "two outputs go to ${pair%% *}" "${both[@]}" --out out0=${pair%% *} --out out1=${pair##* }
  done
  [ $status = before ] && touch q1.npy there/q2.npy there/new.npy
done
expect 0 '' "${both[@]}" --out out0=there/q3.npy --out out1=q3.npy
expect 0 '' "${both[@]}" --out out0=there/q.npz:a --out out1=./here/q.npz:b
expect 0 'out: f32[N = 4, M = 4]' run add.tdsl --in x=there/q.npz:a --in y=there/q.npz:b --dim M=4
expect 2 "'y.txt' is not .npy" "${both[@]}" --out out0=y.txt
# together or not at all, whichever of them cannot be written
mkdir -p set/folder.npy
"$tool" "${both[@]}" --out out0=set/old.npy && cp set/old.npy old.npy
for bad in none/x.npy set/folder.npy; do
  for good in set/old.npy set/new.npy set/new.npz:a set/new.safetensors:a -; do
    expect 3 "$bad: cannot be written" "${both[@]}" --seed 9 --out out0=$good --out out1=$bad
    expect 3 "$bad: cannot be written" "${both[@]}" --seed 9 --out out0=$bad --out out1=$good
  done
done
holds 'standard output is written last' test ! -s out.txt
holds 'of several files none is written when one cannot be' \
  test "$(ls set)" = $'folder.npy\nold.npy'
holds 'and what was there stays' cmp -s set/old.npy old.npy
add=(run add.tdsl --dim N=2 --dim M=2)
long=$(printf 'x%.0s' {1..251}).npy
expect 0 '' "${add[@]}" --out "$long"
holds 'a name as long as the file system takes' test -s "$long"
mkfifo pipe.npy
timeout 20 cat pipe.npy >piped.npy &
expect 0 '' "${add[@]}" --out pipe.npy
wait $!
"$tool" "${add[@]}" --out plain.npy
holds 'a FIFO is written' cmp -s piped.npy plain.npy
holds 'and stays one' test -p pipe.npy
mkdir -p elsewhere && : >elsewhere/real.npy && ln -s elsewhere/real.npy link.npy
expect 0 '' "${add[@]}" --out link.npy
holds 'the file behind a link is replaced' cmp -s elsewhere/real.npy plain.npy
holds 'and the link stays' test -L link.npy
echo 'fn  f(x:f32[N])->f32[N]{return x+x}' >elsewhere/real.tdsl
ln -s elsewhere/real.tdsl link.tdsl
expect 0 '' fmt link.tdsl
expect 0 '' fmt --check elsewhere/real.tdsl
holds 'fmt keeps links' test -L link.tdsl

# ---- tile IR from a file is verified
cat >product.tdsl <<'EOF'
fn main(a: f32[N, K], b: f32[K, M], c: f32[M, J]) -> f32[N, J] {
  return dot(dot(a, b, K), c, M)
}
EOF
"$tool" opt product.tdsl --to=tile --dim N=48 --dim K=40 --dim M=48 --dim J=32 >product.ir
expect 0 ': ok' run product.ir --check
sed 's/arena [0-9]*/arena 64/' product.ir >arena.ir
sed 's/temp at 0/temp at 1000000000000/' product.ir >far.ir
sed 's/dot %3, %4, %2/dot %3, %4/' product.ir >operand.ir
sed 's/call @main.0(%a, %b, /call @main.0(%b, %a, /' product.ir >swapped.ir
for wrong in 'arena temp t3 does not end inside' 'far temp t3 does not end inside' \
  'operand dot cannot take 2 values' 'swapped argument a0 and buffer b differ in size'; do
  for command in check 'opt --to=llvm' 'run --check' 'run --target interp-tile'; do
    # shellcheck disable=SC2086
    expect 1 "${wrong#* }" $command "${wrong%% *}.ir"
  done
done
line=$(grep -n 'dot %3, %4' operand.ir | head -1 | cut -d: -f1)
expect 1 "operand.ir:$line:11: error[E0507]" check operand.ir
expect 1 "swapped.ir:$(grep -n 'call @main.0' swapped.ir | cut -d: -f1):8: error[E0507]" \
  check swapped.ir
expect 1 "far.ir:$(grep -n 'temp at 1000' far.ir | cut -d: -f1):10: error[E0507]" check far.ir
"$tool" opt add.tdsl --to=tile | sed 's/load a0\[N_M /load a0[(N_M + 63) /' >beyond.ir
for command in check run 'run --target interp-tile' 'opt --to=asm'; do
  # shellcheck disable=SC2086
  expect 1 'is not known to be below #N, and there is no guard' $command beyond.ir
done
expect 2 'passes work on graphs' opt product.ir --passes=dce
expect 2 'passes work on graphs' opt product.ir --passes=

# ---- too little memory: arguments, results, the interpreter's scalars
for run in 'cpu 20000 20000' 'cpu 12000 20000' 'interp 9000 9000' 'interp-tile 9000 9000'; do
  read -r target n m <<<"$run"
  # shellcheck disable=SC2086
  (ulimit -v 2500000; exec "$tool" run add.tdsl --dim N=$n --dim M=$m --in x=ones --in y=ones \
    --target $target >out.txt 2>err.txt)
  holds "out of memory: $run" test $? = 3
  holds "out of memory is said: $run" grep -q 'out of memory' err.txt
  case $target in
    interp*) holds "and by whom: $run" grep -q 'bytes for the interpreter' err.txt ;;
    *) holds "and not by the compiler: $run" test "$(grep -c 'for the compiler' err.txt)" = 0 ;;
  esac
done

# ---- standard output that takes nothing: files may not grow here, and messages go through a pipe
said=$( (trap '' XFSZ; ulimit -f 0; exec "$tool" list ops >full.txt) 2>&1; echo "status $?")
holds 'a full standard output is an error' test "${said##*$'\n'}" = 'status 3'
holds 'and is said' grep -q 'standard output cannot be written' <<<"$said"

# shellcheck source=tests/cli/new.sh
. "$here/new.sh"

# shellcheck source=tests/cli/list.sh
. "$here/list.sh"

# shellcheck source=tests/cli/cache.sh
. "$here/cache.sh"

# shellcheck source=tests/cli/twice.sh
. "$here/twice.sh"

# shellcheck source=tests/cli/plans.sh
. "$here/plans.sh"

# shellcheck source=tests/cli/budget.sh
. "$here/budget.sh"

# shellcheck source=tests/cli/host.sh
. "$here/host.sh"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
