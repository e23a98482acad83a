#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# products.sh TCC-FUSE [TARGET]: the products of matmul.tdsl on a GPU against the interpreter where that
# is quick, in every size that takes another way through the code generator.
set -u
tool=$1
target=${2:-cuda}
file=$(dirname "$0")/matmul.tdsl
failed=0

check() { # function dims...
  fn=$1
  shift
  dims=
  for d in "$@"; do dims="$dims --dim $d"; done
  # shellcheck disable=SC2086
  if "$tool" run "$file" -e "$fn" --target "$target" $dims --check >/tmp/products.$$ 2>&1; then
    echo "ok   $fn $*"
  else
    echo "FAIL $fn $*"
    head -20 /tmp/products.$$
    failed=1
  fi
  rm -f /tmp/products.$$
}

for fn in plain plain_f16 sums weights_nk transposed bias_gelu residual scaled exact; do
  check "$fn" M=128 N=128 K=128
  check "$fn" M=256 N=512 K=320
done
check plain M=1000 N=1288 K=72       # TMA clips the ends
check weights_nk M=1000 N=1288 K=72
check plain M=257 N=129 K=131         # pitches that the copy engine does not take
check weights_nk M=257 N=129 K=131
check bias_gelu M=130 N=520 K=1032
check plain M=384 N=256 K=64
check plain M=16 N=1024 K=512         # few rows
check weights_nk M=1 N=1024 K=512
check batched B=5 M=128 N=192 K=96
check batched B=3 M=100 N=72 K=40
check two_axes M=128 N=128 K=64 H=3
check slices M=128 N=128 P=100        # the engine must not read what lies behind K
check heads S=128 T=192 H=4 D=64
exit $failed
