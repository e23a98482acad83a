#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Golden files of the IR: tests/golden/run.sh TOOL [--rewrite]. The tests proper are in the unit
# test binary beside the tool; this runs just them, or lets them write what they expect.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 3
tests=$(dirname "${1:?usage: tests/golden/run.sh TOOL [--rewrite]}")/unit-tests
if [ "${2:-}" = --rewrite ]; then
  TCF_REWRITE_GOLDEN=1 "$tests" --filter '*golden*/*' >/dev/null 2>&1
  TCF_REWRITE_GOLDEN=1 "$tests" --filter '*/*golden*' >/dev/null 2>&1
fi
# The plans of kernels under contract: what is chosen for each, and by which rules. Those of GPUs: on
# CPUs they follow from the caches and cores of the machine.
plans() {
  local file target
  for file in attention blocks algebra gpu few_rows; do
    for target in cuda:sm_80 cuda:sm_90a; do
      echo "== $file on $target"
      "$tool" opt tests/contracts/$file.tdsl --to=plan --target $target 2>/dev/null |
        sed -n 's/^fused graph \(@[a-z_0-9]*\).*/\1/p; s/^  \(fuse#.*\)/  \1/p; s/^  \(kernel .*\) {$/  \1/p'
    done
  done
}
tool=$1
[ "${2:-}" != --rewrite ] || plans >tests/golden/plans.txt
if ! out=$(diff <(plans) tests/golden/plans.txt); then
  printf '%s\n' "$out" "0 passed, 1 failed"
  exit 1
fi
inputs=$(find tests/golden -name '*.ir' -o -name '*.tdsl' | wc -l)
if out=$("$tests" --filter '@(passes|lower)_golden/*' 2>&1); then echo "$((inputs + 1)) passed, 0 failed"
else
  printf '%s\n' "$out"
  failed=$(grep -c ' gave$' <<<"$out")
  [ "$failed" -gt 0 ] || failed=1
  echo "$((inputs - failed)) passed, $failed failed"
  exit 1
fi
