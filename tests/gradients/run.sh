#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# How many kernels gradients are: tests/gradients/run.sh TOOL. On CPUs and, from the same rules, on GPUs; the
# numbers are those of the interpreter of the graph, at odd sizes.
set -uo pipefail
tool=$(realpath "${1:?usage: tests/gradients/run.sh TOOL}")
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 3
passed=0 failed=0

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); printf '%s\n' "$@"; }

dims() { # dims SIZES: options of the tool
  printf -- '--dim %s ' "$@"
}

# expect FUNCTION KERNELS "SIZES" "SMALL SIZES"
expect() {
  local name=$1 kernels=$2 sizes=$3 small=$4 target out
  for target in cpu sm_90a; do
    # shellcheck disable=SC2046,SC2086
    out=$("$tool" explain kernels.tdsl -e "$name" --target $target $(dims $sizes) 2>&1 | head -1)
    if [[ $out == *": $kernels kernel"* ]]; then ok
    else bad "$name is not $kernels kernels on $target: $out"; fi
  done
  for target in cpu interp-tile interp-tile:sm_90a; do
    # shellcheck disable=SC2046,SC2086
    if out=$("$tool" run kernels.tdsl -e "$name" --target $target --no-cache --check $(dims $small) 2>&1); then ok
    else bad "$name on $target:" "$out"; fi
  done
}

expect cross_entropy_rows 1 'N=4096 V=10007' 'N=67 V=101'
expect cross_entropy_mean 2 'N=4096 V=10007' 'N=67 V=101'
expect softmax_rows 1 'N=4096 D=768' 'N=67 D=65'
expect layernorm_x 1 'N=4096 D=768' 'N=67 D=65'
expect layernorm_weights 1 'N=4096 D=768' 'N=67 D=65'
expect linear 3 'N=4096 D=768 H=512' 'N=67 D=65 H=35'
expect convolution_image 1 'B=8 C=32 O=48 P=28 Q=28' 'B=2 C=5 O=6 P=7 Q=9'
expect convolution_weights 1 'B=8 C=32 O=48 P=28 Q=28' 'B=2 C=5 O=6 P=7 Q=9'
expect max_pool_image 1 'B=8 C=32 P=14 Q=14' 'B=2 C=5 P=7 Q=9'


# products FUNCTION NUMBER: of its kernels together
products() {
  local n
  n=$("$tool" opt kernels.tdsl -e "$1" --to=fused | grep -c ' = dot ')
  if [ "$n" = "$2" ]; then ok; else bad "$1 is $n products, not $2"; fi
}
expect attention 4 'B=4 S=128 T=128 K=32 E=32' 'B=2 S=37 T=37 K=5 E=7'
products attention 9
products squared_weights 10
expect squared_weights 4 'B=4 S=128 T=128 K=32 E=32' 'B=2 S=19 T=37 K=5 E=7'

expect attention_twice 6 'S=128 T=128 K=32 E=32' 'S=37 T=45 K=5 E=7'
if "$tool" explain kernels.tdsl -e attention_twice | grep -E 'writes.*\[(S, T|T, S)\]' >/dev/null; then
  bad 'the second derivative of attention has scores in memory'
else ok; fi
expect streamed_maximum 2 'N=64 D=32 H=128' 'N=1 D=130 H=7'
expect streamed_once 3 'N=64 D=32 H=128' 'N=7 D=13 H=19'

echo "$passed passed, $failed failed"
[ $failed = 0 ]
