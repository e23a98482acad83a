#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Runs the test stages one after the other and adds up their results; `./dev test` calls it.
#
#   layers            8 passed, 0 failed (0 s)
#   building in build-test/, minutes at first (log in build-test/logs/build.log)
#   build             1 passed, 0 failed (312 s)
#   unit            412 passed, 0 failed (21 s)
#   ...
#   left out: PTX is not assembled (there is no ptxas): 132 times
#   1234 passed, 0 failed
#
# What a test does not do on this machine it says in a line `left out: WHAT (WHY)` of its log. With
# --bare all runs as on a machine without optional programs (tests/bare.sh).
#
# A stage is a shell function here, or a script tests/NAME/run.sh which takes the command line tool
# to test and prints "N passed, N failed" at its end. Logs are in build-test/logs/.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 3
jobs=${TCF_JOBS:-$(nproc)}
logs=build-test/logs
tool=build-test/tcc-fuse
programs=${TCF_PROGRAMS:-6000}  # random programs compared with the interpreter, of other kinds a fifth or less
. tests/fuzz/kinds.sh

all=0 list=0 only='' rewrite=''
stages=(layers build unit)
for script in tests/*/run.sh; do
  name=$(basename "$(dirname "$script")")
  [ "$name" = fuzz ] || stages+=("$name")
done
stages+=(random seeds sanitizers leaks bare)
long_stages=(threads fuzz math)

arguments=("$@")
while [ $# -gt 0 ]; do
  case "$1" in
    --bare) for i in "${!arguments[@]}"; do
              [ "${arguments[i]}" != --bare ] || unset 'arguments[i]'
            done
            exec tests/bare.sh tests/run.sh "${arguments[@]}" ;;
    --all) all=1 ;;
    --only) [ $# -gt 1 ] || { echo "tests/run.sh: --only needs STAGE,..." >&2; exit 2; }
            only=$2; shift ;;
    --rewrite) rewrite=--rewrite ;;
    --list) list=1 ;;
    *) echo "tests/run.sh: unknown argument $1" >&2; exit 2 ;;
  esac
  shift
done

# compile DIR OPTIONS...: every build of the tests has warnings as errors, and prints, re-parses and
# continues on the copy after every pass.
compile() {
  local dir=$1
  shift
  cmake -G Ninja -S . -B "$dir" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTCF_WERROR=ON \
        -DTCF_ROUNDTRIP=ON "$@" && ninja -C "$dir" -j "$jobs"
}

criterion() { # criterion BINARY ARGUMENTS...: runs it and prints the counts in our form
  local out status
  out=$("$@" 2>&1)
  status=$?
  printf '%s\n' "$out"
  printf '%s\n' "$out" | sed -n \
    's/.*Synthesis: Tested: .*Passing: .*\x1b\[.*//; s/\x1b\[[0-9;]*m//g;
     s/.*Tested: *[0-9]* *| *Passing: *\([0-9]*\) *| *Failing: *\([0-9]*\) *| *Crashing: *\([0-9]*\).*/\1 \2 \3/p' |
    tail -1 | { read -r p f c && echo "$p passed, $((f + c)) failed"; }
  return $status
}

stage_layers() { tests/check_layers.sh; }
stage_build() { compile build-test; }
stage_unit() { criterion build-test/unit-tests -j "$jobs"; }
# Fixed seeds, other ones for each kind.
stage_random() {
  local kind count first=1 status=0
  for kind in "${random_kinds[@]}"; do
    count=$((programs / 5))
    [ "$kind" != cpu ] || count=$programs
    [[ $kind != identities* && $kind != gradients* ]] || count=$((programs / 30))  # several compilations each
    echo "$kind: $count programs from seed $first on"
    if random_runs_here "$kind"; then
      # shellcheck disable=SC2046
      build-test/random-programs --first $first --count $count --jobs "$jobs" \
        $(random_arguments "$kind") || status=1
    else echo "left out: this machine cannot run its code"
    fi
    first=$((first + 1000000))
  done
  return $status
}
stage_seeds() {
  tests/fuzz/seeds.sh build-test/random-programs build-test/seeds || return 1
  build-test/seeds-program build-test/seeds/* && build-test/seeds-arrays tests/fuzz/seeds/*
}
stage_sanitizers() {
  # Sanitizers change what GCC warns about; the `build` stage is the one that decides.
  compile build-asan -DTCF_WERROR=OFF -DTCF_SANITIZE=address,undefined || return 1
  # Criterion runs each test in a child that leaves by _exit: leaks are looked for in `leaks`.
  export ASAN_OPTIONS=detect_leaks=0
  criterion build-asan/unit-tests -j "$jobs" || return 1
  build-asan/random-programs --count $((programs / 20)) --jobs "$jobs" --first 100000
}
stage_leaks() {
  local status passed=0 failed=0 file out
  compile build-asan -DTCF_WERROR=OFF -DTCF_SANITIZE=address,undefined || return 1
  export ASAN_OPTIONS=detect_leaks=1
  for file in $(git ls-files 'examples/*.tdsl' 'tests/*.tdsl' 'tests/diag/*.graph' 'tests/diag/*.tile'); do
    out=$(build-asan/tcc-fuse check "$file" 2>&1 </dev/null)
    status=$?
    # Wrong programs are expected among the tests: status 1. Anything above is a fault.
    if [ $status -le 1 ] && ! grep -q 'Sanitizer' <<<"$out"; then passed=$((passed + 1))
    else failed=$((failed + 1)); echo "check $file: status $status"; tail -20 <<<"$out"; fi
  done
  for file in $(git ls-files 'examples/*.tdsl'); do
    out=$(build-asan/tcc-fuse explain "$file" 2>&1 </dev/null)
    status=$?
    if [ $status -le 1 ] && ! grep -q 'Sanitizer' <<<"$out"; then passed=$((passed + 1))
    else failed=$((failed + 1)); echo "explain $file: status $status"; tail -20 <<<"$out"; fi
  done
  if out=$(examples/demo.sh build-asan/tcc-fuse 2>&1); then passed=$((passed + 1))
  else failed=$((failed + 1)); echo "examples/demo.sh:"; tail -30 <<<"$out"; fi
  # What happens after errors: the command line's tests, of which only the reports of the sanitizer
  # count (a limit on address space, which some set, is not for it).
  rm -f $logs/asan.*
  ASAN_OPTIONS=detect_leaks=1:log_path=$PWD/$logs/asan tests/cli/run.sh build-asan/tcc-fuse \
    >/dev/null 2>&1
  if out=$(grep -l 'LeakSanitizer:\|AddressSanitizer: heap\|AddressSanitizer: stack' $logs/asan.*); then
    failed=$((failed + 1))
    for file in $out; do head -30 "$file"; done
  else passed=$((passed + 1)); fi
  echo "$passed passed, $failed failed"
  [ $failed = 0 ]
}
stage_threads() {
  compile build-tsan -DTCF_WERROR=OFF -DTCF_SANITIZE=thread || return 1
  build-tsan/random-programs --count 500 --first 200000 --threads 4
}
stage_fuzz() { tests/fuzz/run.sh 60; }
# The tests that use programs where there are any, without these.
stage_bare() {
  local suites out status=0
  suites=$(grep -lE 'left_out\(|nvptx_assemble\(' tests/unit/*.c |
           xargs sed -n 's/^Test(\([a-z_0-9]*\),.*/\1/p' | sort -u | paste -sd'|')
  out=$(tests/bare.sh build-test/unit-tests -j "$jobs" --filter "@($suites)/*" 2>&1) || status=1
  criterion printf '%s\n' "$out"
  [[ $out == *'left out: PTX is not assembled'* ]] || { echo 'ptxas was not hidden'; status=1; }
  out=$(tests/bare.sh tests/cli/run.sh "$tool" 2>&1) || status=1
  printf '%s\n' "$out"
  [[ $out == *'left out: the command line makes no cubin'* ]] || { echo 'ptxas was not hidden'; status=1; }
  return $status
}
stage_math() { TCF_EXHAUSTIVE=1 criterion build-test/unit-tests --filter='math*/*' --timeout 3600; }

total_passed=0 total_failed=0
run_stage() {
  local name=$1 begin status counts p f
  begin=$SECONDS
  # What runs is told before it ends.
  [ "$name" != build ] || echo "building in build-test/, minutes at first (log in $logs/build.log)"
  printf '%-12s ' "$name"
  if [ "$(type -t "stage_$name")" = function ]; then "stage_$name" >"$logs/$name.log" 2>&1
  elif [ -n "$rewrite" ]; then tests/"$name"/run.sh "$tool" --rewrite >"$logs/$name.log" 2>&1
  else tests/"$name"/run.sh "$tool" >"$logs/$name.log" 2>&1
  fi
  status=$?
  counts=$(grep -oE '[0-9]+ passed, [0-9]+ failed' "$logs/$name.log" |
           awk '{ p += $1; f += $3 } END { print p + 0, f + 0 }')
  read -r p f <<<"$counts"
  if [ $status != 0 ] && [ "$f" = 0 ]; then f=1; fi
  if [ "$p" = 0 ] && [ "$f" = 0 ]; then p=1; fi
  total_passed=$((total_passed + p)) total_failed=$((total_failed + f))
  printf '%6d passed, %d failed (%d s)\n' "$p" "$f" $((SECONDS - begin))
  if [ "$f" != 0 ]; then
    echo "---- the end of $logs/$name.log"
    tail -40 "$logs/$name.log"
    echo "----"
  fi
  return $status
}

if [ -n "$only" ]; then
  known=" ${stages[*]} ${long_stages[*]} "
  IFS=, read -ra stages <<<"$only"
  for stage in "${stages[@]}"; do
    [[ $known == *" $stage "* ]] || { echo "there is no stage $stage; there are$known" >&2; exit 2; }
  done
  # The stages need the programs of this source.
  case ",$only," in
    *,build,*|,layers,|,sanitizers,|,threads,|,fuzz,) ;;
    *) stages=(build "${stages[@]}") ;;
  esac
elif [ $all = 1 ] || [ $list = 1 ]; then stages+=("${long_stages[@]}")
fi
if [ -n "$rewrite" ]; then
  stages=(build)
  for script in $(grep -l -e '--rewrite' tests/*/run.sh); do
    stages+=("$(basename "$(dirname "$script")")")
  done
fi
if [ $list = 1 ]; then echo "${stages[@]}"; exit 0; fi

mkdir -p $logs
ran=()
for stage in "${stages[@]}"; do
  ran+=("$logs/$stage.log")
  # Without a build the stages after it would only repeat its failure.
  run_stage "$stage" || [ "$stage" != build ] || break
done

# What was left out: by the tests (those of `bare` do so on purpose), then whole stages.
for log in "${ran[@]}"; do [ "$log" = $logs/bare.log ] || grep -h '^left out: ' "$log"; done |
  sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)/\2: \1 times/; s/: 1 times$//'
if [ -z "$only$rewrite" ]; then
  [ $all = 1 ] || echo "left out: ${long_stages[*]} (they are long; --all runs them)"
  echo 'left out: kernels on an NVIDIA GPU (./dev test --gpu runs them where there is one)'
fi
echo "$total_passed passed, $total_failed failed"
[ $total_failed = 0 ]
