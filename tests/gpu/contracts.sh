#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Programs under contract on an NVIDIA GPU: tests/contracts at odd sizes, against the interpreter.
#
# usage: contracts.sh TOOLS [--sanitize]     TOOLS holds tcc-fuse
#   --sanitize  under compute-sanitizer: memcheck, racecheck, synccheck, at one size each
set -uo pipefail
tool=$(realpath "$1/tcc-fuse")
cd "$(dirname "${BASH_SOURCE[0]}")/../contracts" || exit 3
. ./dims.sh
passed=0 failed=0
run() { # run COMMAND-PREFIX... -- FILE FUNCTION SIZES...
  local prefix=() out
  while [ "$1" != -- ]; do prefix+=("$1"); shift; done
  # shellcheck disable=SC2046
  if out=$("${prefix[@]}" "$tool" run "$2" -e "$3" --target cuda --no-cache --check $(dims "${@:2}") 2>&1)
  then passed=$((passed + 1))
  else failed=$((failed + 1)); echo "FAIL ${prefix[*]} ${*:2}"; head -"${TCF_LINES:-4}" <<<"$out"; fi
}

for file in attention blocks gpu gpu_nests; do
  for name in $(functions $file.tdsl); do
    if [ "${2:-}" = --sanitize ]; then
      for check in memcheck racecheck synccheck; do
        run compute-sanitizer --tool $check --error-exitcode 9 -- $file.tdsl "$name" \
          B=2 S=37 T=170 D=24 E=40 H=2 G=2
      done
      continue
    fi
    run -- $file.tdsl "$name" B=2 S=67 T=301 D=24 E=33 H=2 G=2
    run -- $file.tdsl "$name" B=1 S=1 T=1 D=1 E=1 H=1 G=1
    run -- $file.tdsl "$name" B=3 S=129 T=64 D=16 E=16 H=1 G=3
    run -- $file.tdsl "$name" B=1 S=5 T=0 D=3 E=4 H=1 G=1
    [[ $name = *_row* ]] || run -- $file.tdsl "$name" B=1 S=130 T=500 D=130 E=72 H=3 G=2
  done
done
echo "contracts: $passed passed, $failed failed"
[ $failed = 0 ]
