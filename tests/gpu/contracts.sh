#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Programs under contract on an NVIDIA GPU: tests/contracts at odd sizes, against the interpreter.
#
# usage: contracts.sh TOOLS [--sanitize] [--jobs N]     TOOLS holds tcc-fuse
#   --sanitize  under compute-sanitizer: memcheck, racecheck, synccheck, at one size each
#   --jobs N    programs at the same time (default: the processors)
set -uo pipefail
self=$(realpath "${BASH_SOURCE[0]}")
[ "$1" = --one ] || tool=$(realpath "$1/tcc-fuse")
cd "$(dirname "$self")/../contracts" || exit 3
. ./dims.sh
PATH=$PATH:/usr/local/cuda/bin

if [ "$1" = --one ]; then # --one TOOL PREFIX FILE FUNCTION SIZES... in:NAME=ARRAY... opt:OPTION...
  tool=$2 prefix=$3 inputs=
  shift 3
  for word in "$@"; do
    [[ $word != in:* ]] || inputs+=" --in ${word#in:}"
    [[ $word != opt:* ]] || inputs+=" ${word#opt:}"
  done
  # shellcheck disable=SC2046,SC2086
  if out=$(timeout "${TCF_SECONDS:-120}" $prefix "$tool" run "$1" -e "$2" --target cuda --no-cache --check $inputs \
    $(dims "$@") 2>&1)
  then echo ok
  else echo "FAIL $prefix $*"; head -"${TCF_LINES:-4}" <<<"$out"
  fi
  exit 0
fi

shift
sanitize=0 jobs=$(nproc)
while [ $# -gt 0 ]; do
  case "$1" in
    --sanitize) sanitize=1; shift ;;
    --jobs) jobs=$2; shift 2 ;;
    *) echo "unknown argument $1" >&2; exit 2 ;;
  esac
done

# Lines of a command in front, file, function, sizes.
cases() {
  local file name check
  for file in attention blocks algebra gpu gradients gpu_nests few_rows; do
    for name in $(functions $file.tdsl); do
      if [ $sanitize = 1 ]; then
        for check in memcheck racecheck synccheck; do
          echo "compute-sanitizer --tool $check --error-exitcode 9;$file.tdsl;$name;B=2 S=37 T=170 D=24 E=40 H=2 G=2"
        done
        continue
      fi
      for sizes in 'B=2 S=67 T=301 D=24 E=33 H=2 G=2' 'B=1 S=1 T=1 D=1 E=1 H=1 G=1' \
          'B=3 S=129 T=64 D=16 E=16 H=1 G=3' 'B=1 S=5 T=0 D=3 E=4 H=1 G=1'; do
        # The gradient of a softmax of one key is what roundings leave of 0.
        [[ $file = gradients && $sizes = *T=1\ * ]] || echo ";$file.tdsl;$name;$sizes"
      done
      [[ $name = *_row* ]] || echo ";$file.tdsl;$name;B=1 S=130 T=500 D=130 E=72 H=3 G=2"
    done
  done
}
# Sums of gradients that blocks add up in memory.
unordered_cases() {
  local name sizes check
  for name in $(functions gradients.tdsl); do
    for sizes in 'B=2 S=67 T=301 H=2 G=2' 'B=1 S=1030 T=515 H=3 G=2' 'B=3 S=129 T=64 H=1 G=3' 'B=1 S=5 T=0 H=1 G=1'; do
      [ $sanitize = 1 ] || echo ";gradients.tdsl;$name;$sizes opt:--unordered-sums"
    done
    for check in memcheck racecheck synccheck; do
      [ $sanitize = 0 ] || echo "compute-sanitizer --tool $check --error-exitcode 9;gradients.tdsl;$name;B=2 S=137 T=170 H=2 G=2 opt:--unordered-sums"
    done
  done
}
# What data says of steps: see tests/contracts/run.sh.
data_cases() {
  [ $sanitize = 0 ] || return 0
  local sizes
  for sizes in 'B=2 S=270 T=500' 'B=3 S=400 T=5000' 'B=1 S=130 T=9000'; do
    printf ';gpu.tdsl;%s\n' "by_document;$sizes in:a=zeros in:b=zeros" "by_document;$sizes in:a=iota in:b=iota" \
      "by_document;$sizes in:a=zeros in:b=100" "by_length;$sizes in:n=iota" "by_length;$sizes in:n=1000" \
      "by_length;$sizes in:n=-3" "by_padding;$sizes in:there=ones" "by_padding;$sizes in:there=zeros"
  done
}
seen=$(mktemp)
trap 'rm -f "$seen"' EXIT
# shellcheck disable=SC2016
{ cases; unordered_cases; data_cases; } | xargs -d '\n' -P "$jobs" -I {} bash -c \
  'IFS=";" read -r prefix file name sizes <<<"$3"; exec "$1" --one "$2" "$prefix" "$file" "$name" $sizes' \
  - "$self" "$tool" {} | tee "$seen" | grep -v '^ok$'
failed=$(grep -c '^FAIL' "$seen")
echo "contracts: $(grep -c '^ok$' "$seen") passed, $failed failed"
[ "$failed" = 0 ]
