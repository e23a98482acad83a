#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# run.sh TRAIN digits|text [OPTIONS]: fetches the data where it is not there yet, and trains. OPTIONS
# are those of the program TRAIN (build/train --help) and stand for the ones given here.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: ./dev train digits|text [OPTIONS], which are those of build/train --help" >&2; exit 2; }
train=$(realpath "$1")
run=$2
shift 2
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
for argument in "$run" "$@"; do
  case $argument in -h | --help) exec "$train" --help ;; esac
done

case $run in
  digits) options=(--unit images --size B=64 --size C1=16 --size C2=32 --size H=64
                   --steps 1400 --warmup 50 --rate 3e-3 --drop 0.2 --evaluate 200) ;;
  text) options=(--unit letters --size B=16 --size S=64 --size D=128 --size F=512
                 --steps 2000 --warmup 100 --rate 2e-3 --drop 0.1 --evaluate 500) ;;
  *) echo "train: there is no run $run; there are digits, text" >&2; exit 2 ;;
esac
data=$("$here/data.sh" "$run")
# The bytes behind the header, which is 128 long.
[ "$run" != text ] || options+=(--size "V=$(($(wc -c <"$data/letters.npy") - 128))")
out=$(realpath -m --relative-to="$PWD" "$here/../../build/train-$run")
exec "$train" "$here/$run.tdsl" --data "$data" --out "$out" --deterministic \
  "${options[@]}" "$@"
