#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Fuzzes for SECONDS each: random programs of every kind (tests/fuzz/kinds.sh) from a fresh seed, which
# is printed, then the libFuzzer targets (address and undefined-behaviour sanitizer). Findings are left
# in build-fuzz/; the last line is "N passed, N failed".
#
# usage: tests/fuzz/run.sh SECONDS [KIND|program|arrays]...
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 3
. tests/fuzz/kinds.sh
seconds=${1:-60}
jobs=${TCF_JOBS:-$(nproc)}
passed=0 failed=0
[ $# -eq 0 ] || shift
wanted=("$@")
[ $# -gt 0 ] || wanted=("${random_kinds[@]}" program arrays)

result() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }

build_random() {
  cmake -G Ninja -S . -B build-test -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTCF_WERROR=ON \
    -DTCF_ROUNDTRIP=ON >/dev/null && ninja -C build-test -j "$jobs" random-programs || exit 3
}

build_targets() {
  local clang
  clang=$(command -v clang-22 || command -v clang)
  cmake -G Ninja -S . -B build-fuzz -DCMAKE_C_COMPILER="$clang" -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DTCF_FUZZ=ON -DTCF_TESTS=OFF -DTCF_SANITIZE=address,undefined >/dev/null &&
    ninja -C build-fuzz -j "$jobs" fuzz-program fuzz-arrays || exit 3
}

fuzz_random() { # fuzz_random KIND
  local seed end
  if ! random_runs_here "$1"; then
    echo "$1: left out, this machine cannot run its code"
    return
  fi
  seed=$((($(date +%s) - 1700000000) * 1000))
  end=$((SECONDS + seconds))
  echo "$1: random programs from seed $seed on"
  while [ $SECONDS -lt $end ]; do
    # shellcheck disable=SC2046
    build-test/random-programs --first $seed --count 500 --jobs "$jobs" $(random_arguments "$1")
    result $?
    seed=$((seed + 500))
  done
}

fuzz_target() { # fuzz_target program|arrays
  local seeds=tests/fuzz/seeds began status
  if [ "$1" = program ]; then
    seeds=build-fuzz/seeds
    tests/fuzz/seeds.sh build-test/random-programs $seeds || exit 3
  fi
  mkdir -p "build-fuzz/$1-corpus"
  began=$SECONDS
  build-fuzz/fuzz-"$1" -max_total_time="$seconds" -jobs="$jobs" -workers="$jobs" -max_len=4096 \
    -rss_limit_mb=4000 -timeout=20 -artifact_prefix="build-fuzz/$1-" \
    -dict="tests/fuzz/$1.dict" "build-fuzz/$1-corpus" $seeds >"build-fuzz/$1.log" 2>&1
  status=$?
  tail -3 "build-fuzz/$1.log"
  if [ $status = 0 ] && [ $((SECONDS - began)) -lt $((seconds * 9 / 10)) ]; then
    echo "$1: the target stopped after $((SECONDS - began)) of $seconds seconds"
    status=1
  fi
  result $status
  rm -f fuzz-[0-9]*.log
}

build_random
for kind in "${wanted[@]}"; do
  case $kind in
    program | arrays) build_targets; fuzz_target "$kind" ;;
    *) random_arguments "$kind" >/dev/null || { echo "tests/fuzz/run.sh: no kind $kind; there are ${random_kinds[*]} program arrays" >&2; exit 2; }
       fuzz_random "$kind" ;;
  esac
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
