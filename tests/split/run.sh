#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Forward and backward part of a function by the command line: what is said of wrong ones, parts as text that
# is read again, built for C, and trained with by a host (examples/own_loop).
# usage: run.sh TOOL [--rewrite], beside which the program own-loop is
set -uo pipefail
tool=$(realpath "${1:-build-test/tcc-fuse}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp "$here"/*.tdsl "$here"/*.ir "$here"/*.c "$dir"
cd "$dir" || exit 3
export TCF_CACHE_DIR=$dir/cache NO_COLOR=1 LC_ALL=C
unset TCF_TARGET TCF_THREADS

passed=0 failed=0
# holds DESCRIPTION COMMAND...: the command succeeds
holds() {
  local what=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $what"; fi
}

# ---- wrong ones, and those that are warned of
wrong() {
  local arguments
  while read -r arguments; do
    echo "\$ tcc-fuse opt wrong.tdsl $arguments"
    # shellcheck disable=SC2086
    { "$tool" opt wrong.tdsl $arguments >/dev/null; } 2>&1
    echo "status $?"
  done <<'END'
-e counted --split-backward
-e called --split-backward
-e called --split-backward=w
-e named --split-backward
-e named --split-backward=d_out
-e named_after --split-backward
-e named_after --split-backward=d_x
-e indices --split-backward
-e apart --split-backward
-e apart --split-backward=x,s
-e apart --split-backward=x
-e apart --split-backward=k
-e apart --split-backward=nothing
-e pieces --split-backward
-e fine --split-backward=wieght
-e fine --split-backward=x,x
-e fine --split-backward=x,,weight
--split-backward
END
  echo '$ tcc-fuse opt fused.ir --split-backward'
  "$tool" opt wrong.tdsl -e fine >fused.ir
  "$tool" opt fused.ir --split-backward 2>&1
  echo "status $?"
  echo '$ tcc-fuse opt tile.ir --split-backward'
  "$tool" opt wrong.tdsl -e fine --to=tile >tile.ir
  "$tool" opt tile.ir --split-backward 2>&1
  echo "status $?"
  echo '$ tcc-fuse opt bits.ir --split-backward'
  "$tool" opt bits.ir --split-backward 2>&1
  echo "status $?"
  echo '$ tcc-fuse explain called.ir --split-backward'
  "$tool" opt wrong.tdsl -e called --to=graph >called.ir
  "$tool" explain called.ir --split-backward 2>&1
  echo "status $?"
}
[ "${2:-}" != --rewrite ] || wrong >"$here/wrong.txt"
holds 'what is said of wrong ones' diff <(wrong) "$here/wrong.txt"

# ---- built and called from C
tries() { # tries NAME COMMAND...: says what it prints when it fails
  local what=$1
  shift
  if "$@" >log.txt 2>&1; then passed=$((passed + 1))
  else failed=$((failed + 1)); echo "FAILED: $what"; cat log.txt
  fi
}
for ending in so a; do
  tries "net.$ending" "$tool" build net.tdsl --split-backward=w,v -o net.$ending --header net.h
  tries "net.$ending is called" sh -c "gcc -O1 -Wall -Werror library.c ./net.$ending -lm -lpthread -Wl,-rpath,. -o net && ./net"
done
for line in 'saved0: f32\[N, H\], row-major, saved for net_backward' 'out1: f32\[N\], row-major, of net_forward' \
    'saved0: f32\[N, H\], row-major, of net_forward' 'd_out1: f32\[N\], row-major, the derivative for out1' \
    'd_w: f32\[D, H\], row-major, the derivative for w'; do
  holds "the header says $line" grep -q "$line" net.h
done
tries 'in C++' sh -c "echo '#include \"net.h\"' | g++ -x c++ -fsyntax-only -Wall -Werror -I. -"
holds 'the library has both functions only' test "$(nm -D --defined-only net.so | awk '{ print $3 }' | sort | xargs)" = \
  'net_backward net_backward_close net_backward_message net_backward_open net_forward net_forward_close net_forward_message net_forward_open'
tries 'net.o' "$tool" build net.tdsl --split-backward=w,v -o net.o --header net.h
holds 'is two files' test -s net_forward.o -a -s net_backward.o -a ! -e net.o
tries 'which are called' sh -c 'gcc -O1 -DOBJECT -Wall -Werror library.c net_forward.o net_backward.o -lm -o net && ./net'
tries 'under another name' "$tool" build net.tdsl --split-backward --symbol train -o train.so --header train.h
holds 'which both begin with' grep -q 'int32_t train_backward(' train.h
tries 'for sizes' "$tool" build net.tdsl --split-backward --dim N=64 --dim D=8 --dim H=16 -o known.a --header known.h
holds 'that are no parameters' sh -c '! grep -q "int64_t N" known.h'
for kind in ptx so; do
  tries "net.$kind of a GPU" "$tool" build net.tdsl --split-backward -o gpu.$kind --target sm_90a --header gpu.h
done
holds 'the PTX of both' grep -q 'target sm_90a' gpu_forward.ptx gpu_backward.ptx
if command -v ptxas >/dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/ptxas" ]; then
  tries 'cubins' "$tool" build net.tdsl --split-backward -o gpu.cubin --target sm_90a
  holds 'are two' test -s gpu_forward.cubin -a -s gpu_backward.cubin
else
  echo 'left out: the parts of a function are no cubins (there is no ptxas)'
fi

# ---- what is printed is what runs
reads_back() { test -s tiles.txt && "$tool" opt parts.ir --to=tile | cmp -s - tiles.txt; }
for function in attend norm net; do
  dims='--dim N=6 --dim D=8'
  [ $function = norm ] || dims+=' --dim T=7'
  "$tool" opt parts.tdsl -e $function --split-backward --to=graph >parts.ir
  "$tool" opt parts.tdsl -e $function --split-backward --to=tile >tiles.txt
  holds "the text of $function is read back to the same kernels" reads_back
  for part in forward backward; do
    # shellcheck disable=SC2086
    tries "${function}_$part runs from its text" "$tool" run parts.ir -e ${function}_$part $dims --check
  done
done
"$tool" explain parts.tdsl -e attend --split-backward >explained.txt
holds 'both are explained' grep -q 'fn attend_backward on cpu' explained.txt
holds 'the contract of the one' grep -q 'fuse stream(T): ' explained.txt

# ---- a loop of a host
own_loop=$(dirname "$tool")/own-loop
spirals=$here/../../examples/own_loop/spirals.tdsl
for target in cpu interp; do
  tries "the loss of a host's own loop goes down on $target" "$own_loop" "$spirals" $target
done

echo "$passed passed, $failed failed"
[ $failed = 0 ]
