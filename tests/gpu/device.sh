#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Execution tests on an NVIDIA GPU: stored NumPy results, random programs against the interpreter,
# products, rows and edge cases of examples at many sizes, programs under contract, attention written
# as tile IR, and index errors.
#
# usage: device.sh TOOLS [--count N] [--sanitize]     TOOLS holds tcc-fuse, numpy-cases, random-programs,
#                                                     gpu-devices, gpu-attention, gpu-library,
#                                                     gpu-chunks
#   --count N   random programs (default 1000)
#   --sanitize  under compute-sanitizer: memcheck, racecheck, initcheck of the sized cases
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(cd "$1" && pwd)
shift
count=1000
sanitize=0
while [ $# -gt 0 ]; do
  case "$1" in
    --count) count=$2; shift ;;
    --sanitize) sanitize=1 ;;
    *) echo "unknown argument $1" >&2; exit 2 ;;
  esac
  shift
done
passed=0
failed=0
note() { # note STATUS NAME
  if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL $2"; fi
}

# FUNCTION SIZES [OPTIONS]: one line per case of cases.tdsl.
cases() { grep -v '^#' "$here/cases.txt"; }

options=() # of every case
# shellcheck disable=SC2086
run_case() { # run_case COMMAND-PREFIX... -- FUNCTION SIZES...
  local prefix=()
  while [ "$1" != -- ]; do prefix+=("$1"); shift; done
  shift
  local function=$1 dims=()
  shift
  for size in "$@"; do
    case "$size" in
      --*) dims+=("$size") ;;
      *) dims+=(--dim "$size") ;;
    esac
  done
  "${prefix[@]}" "$tools/tcc-fuse" run "$here/cases.tdsl" -e "$function" --target cuda "${dims[@]}" \
    "${options[@]}" --check
}

if [ $sanitize = 1 ]; then
  for tool in memcheck racecheck initcheck; do
    # initcheck does not see what the copy engine stores; that results are written is what --check
    # is for.
    also=()
    [ $tool != initcheck ] || also=(--check-api-memory-access no)
    while read -r line; do
      # shellcheck disable=SC2086
      out=$(run_case compute-sanitizer --tool $tool "${also[@]}" --error-exitcode 9 -- $line 2>&1)
      status=$?
      note $status "$tool $line"
      [ $status = 0 ] || echo "$out" | grep -E '=====' | head -${TCF_LINES:-4}
    done < <(cases)
  done
  "$here/attention.sh" "$tools" sanitize --short
  note $? "sanitizers, attention"
  for tool in memcheck racecheck initcheck; do
    out=$(compute-sanitizer --tool $tool --error-exitcode 9 "$tools/gpu-chunks" 1 2>&1)
    note $? "$tool chunks"
    echo "$out" | grep -E '=====|FAIL' | head -${TCF_LINES:-4}
  done
  "$here/contracts.sh" "$tools" --sanitize
  note $? "sanitizers, contracts"
  echo "sanitizers: $passed passed, $failed failed"
  exit $((failed > 0))
fi

while read -r line; do
  # shellcheck disable=SC2086
  out=$(run_case -- $line 2>&1)
  status=$?
  note $status "$line"
  [ $status = 0 ] || echo "$out" | head -${TCF_LINES:-4}
done < <(cases)

# many_calls TYPE CALL: a sum of so many calls, each with a constant of its own for #, that the function
# is called and not made where it is used.
many_calls() {
  awk -v type="$1" -v call="$2" 'BEGIN {
    printf "fn f(x: %s[N], y: %s[N]) -> %s[N] {\n  let v0 = x\n", type, type, type
    for (i = 0; i < 130; i++) {
      one = call
      gsub(/#/, i + 1 ".5", one)
      printf "  let v%d = v%d + %s\n", i + 1, i, one
    }
    printf "  return v130\n}\n"
  }'
}
program=$(mktemp --suffix=.tdsl)
for type in f32 f64; do
  for call in 'pow(abs(x) + 0.5, y / #)' 'tan(x / #)' 'sinh(x / #)' 'erfc(x / #)' 'atan2(x, y + #)' \
    'exp(x / #)' 'log(abs(x) + #)' '(f(x * 100) % #)'; do
    many_calls $type "${call/f(x/$type(x}" >"$program"
    out=$("$tools/tcc-fuse" run "$program" --target cuda --dim N=10007 --check 2>&1)
    note $? "called: $type $call"
  done
done
rm -f "$program"

for group in elementwise casts reductions products views scans functions unsigned recurrences; do
  "$tools/numpy-cases" --target cuda "$here/../numpy/cases" "$group" >"/tmp/tcf-gpu-$$" 2>&1
  status=$?
  note $status "numpy $group"
  tail -1 "/tmp/tcf-gpu-$$"
  [ $status = 0 ] || grep -v '^$' "/tmp/tcf-gpu-$$" | head -${TCF_LINES:-8}
done
"$tools/random-programs" --count "$count" --as-made --target cuda >"/tmp/tcf-gpu-$$" 2>&1
status=$?
note $status "random programs"
tail -${TCF_LINES:-4} "/tmp/tcf-gpu-$$"
rm -f "/tmp/tcf-gpu-$$"

"$here/contracts.sh" "$tools"
note $? "contracts"

# Few long rows, whose blocks finish together.
out=$("$tools/gpu-chunks" 2>&1)
note $? "chunks"
echo "$out" | tail -${TCF_LINES:-8}

# Several devices in one process, where there are.
out=$("$tools/gpu-devices" 2>&1)
status=$?
echo "$out" | tail -${TCF_LINES:-8}
[ $status = 77 ] || note $status "several devices"

# Attention as tile IR, where there are warpgroups.
out=$("$tools/gpu-attention" "$here/attention" 2>&1)
status=$?
echo "$out" | tail -${TCF_LINES:-8}
[ $status = 77 ] || note $status "attention"

# Schedules by trial: the result is right, and what was found is taken without another trial.
cache=$(mktemp -d)
options=(--autotune --cache-dir "$cache")
for line in 'scale N=1000003' 'softmax_rows N=4096 D=4096' 'product_bf16 N=1024 D=1024 K=1024' 'norm N=64 D=1024'; do
  # shellcheck disable=SC2086
  out=$(run_case -- $line 2>&1) && grep -q '^autotune' <<<"$out"
  note $? "autotune $line"
  echo "$out" | grep -E ': 0: |taken|does not|differ' | sed 's/^/  /' | head -${TCF_LINES:-8}
  # shellcheck disable=SC2086
  out=$(run_case -- $line 2>&1) && ! grep -q '^autotune' <<<"$out"
  note $? "autotune $line, kept"
done
options=()
rm -r "$cache"

# Timing: a share of what the device was measured to reach.
for line in 'softmax_rows N=16384 D=4096' 'product_bf16 N=4096 D=4096 K=4096' 'softmax_rows N=8 D=128256'; do
  dims=()
  for size in ${line#* }; do dims+=(--dim "$size"); done
  out=$("$tools/tcc-fuse" run "$here/cases.tdsl" -e "${line%% *}" --target cuda "${dims[@]}" --bench 2>&1)
  grep -q '% of it' <<<"$out"
  note $? "bench $line"
  echo "$out" | sed 's/^/  /' | head -${TCF_LINES:-4}
done

# Libraries ahead of time: those of the bundle, which needs no cc here, or of the source tree.
arch=$("$tools/tcc-fuse" explain "$here/cases.tdsl" -e pick --target cuda |
  sed -n 's/^fn .* on cuda:\(sm_[0-9a-z]*\).*/\1/p')
libraries=$tools/libraries/$arch
[ -d "$libraries" ] || libraries=$tools/libraries/sm_80
if [ ! -d "$libraries" ]; then
  libraries=$tools/libraries/$arch
  mkdir -p "$libraries"
  for function in scaled pick; do
    "$tools/tcc-fuse" build "$here/../cli/library.tdsl" -e $function --target "$arch" \
      -o "$libraries/$function.so"
    note $? "build $function.so"
  done
fi
out=$("$tools/gpu-library" "$libraries" 2>&1)
status=$?
note $status "libraries"
echo "$out" | tail -${TCF_LINES:-8}

out=$("$tools/tcc-fuse" run "$here/cases.tdsl" -e pick --target cuda --dim N=1000 --dim D=64 \
  --in x=random --in t=64 2>&1)
case "$out" in *"out of range"*|*"outside"*) note 0 "index error" ;; *) note 1 "index error: $out" ;; esac
echo "gpu: $passed passed, $failed failed"
exit $((failed > 0))
