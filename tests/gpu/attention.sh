#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Attention written as tile IR on an NVIDIA GPU: right, clean under compute-sanitizer, and how fast.
#
# usage: attention.sh TOOLS [check] [sanitize] [bench] [--short]     without a word: all of them
#   TOOLS holds gpu-attention (and libtccfuse.so for bench)
#   --short   the sanitizers see three texts, the bench only cuDNN
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(cd "$1" && pwd)
shift
short=
parts=
for word in "$@"; do
  case "$word" in
    --short) short=--short ;;
    check|sanitize|bench) parts="$parts $word" ;;
    *) echo "unknown argument $word" >&2; exit 2 ;;
  esac
done
[ -n "$parts" ] || parts="check sanitize bench"
failed=0
PATH=$PATH:/usr/local/cuda/bin

for part in $parts; do
  case $part in
    check)
      "$tools/gpu-attention" "$here/attention"
      status=$?
      [ $status = 77 ] && exit 0
      [ $status = 0 ] || failed=1
      ;;
    sanitize)
      if ! command -v compute-sanitizer >/dev/null; then
        echo "sanitizers: left out, there is no compute-sanitizer"
        continue
      fi
      names=
      for text in "$here"/attention/*.tile; do names="$names $(basename "$text" .tile)"; done
      [ -z "$short" ] || names="full_d128 causal_d128 causal_d64"
      for tool in memcheck racecheck synccheck; do
        for name in $names; do
          if out=$(compute-sanitizer --tool $tool --error-exitcode 9 "$tools/gpu-attention" \
              "$here/attention" --small "$name" 2>&1); then
            echo "$tool $name: clean"
          else
            failed=1
            echo "FAIL $tool $name"
            echo "$out" | grep -E '=====|FAIL' | head -12
          fi
        done
      done
      ;;
    bench)
      # shellcheck disable=SC2086
      TCF_LIBRARY=${TCF_LIBRARY:-$tools/libtccfuse.so} \
        python3 "$here/../../bench/gpu_attention.py" --texts $short || failed=1
      ;;
  esac
done
exit $failed
