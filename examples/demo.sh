#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The demonstration of `./dev demo`: compiles the programs of examples/, runs them on random arrays,
# checks them against the interpreter, measures them, and shows what was fused.
# usage: demo.sh TCC_FUSE
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
tool=$1
checked=0

title() { # bold on a terminal
  if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then printf '\033[1m%s\033[0m\n' "$*"
  else printf '%s\n' "$*"
  fi
}

show() { # show FILE FUNCTION ARGUMENTS...: the command, then what it prints
  local file=$1 function=$2
  shift 2
  echo
  title "\$ tcc-fuse run examples/$file -e $function $* --check --bench"
  "$tool" run "$here/$file" -e "$function" "$@" --check --bench
  checked=$((checked + 1))
}

title examples/norms.tdsl
cat "$here/norms.tdsl"
show norms.tdsl softmax_rows --dim N=1024 --dim D=1000
show norms.tdsl softmax_columns --dim N=1024 --dim D=1000
show norms.tdsl add_layernorm --dim N=1024 --dim D=1024
show loss.tdsl loss --dim N=64 --dim V=10007
show mlp.tdsl mlp --dim N=64 --dim D=256 --dim H=512 --dim E=256
show attention/scores.tdsl alibi --dim B=1 --dim H=4 --dim S=300
show attention/masks.tdsl documents --dim B=1 --dim H=4 --dim S=300
show attention/heads.tdsl differential --dim B=1 --dim H=4 --dim S=100 --dim T=300
show streaming/losses.tdsl last_layer --dim N=64 --dim V=10007 --dim D=64
show streaming/pairs.tdsl kernel_sum --dim I=1000 --dim J=1000 --dim C=3
show streaming/pairs.tdsl nearest --dim I=1000 --dim J=100 --dim C=8
show streaming/moments.tdsl mean_and_variance --dim N=64 --dim T=100003
show scans.tdsl moving_average --dim N=64 --dim T=1000
show scans.tdsl state_space --dim B=2 --dim T=200 --dim D=96 --dim S=16
show scans.tdsl retention --dim B=2 --dim H=4 --dim T=200 --dim D=16 --dim E=32
show gradients.tdsl step --dim N=256 --dim D=64 --dim H=128 --in rate=0.1
show gradients.tdsl attention_gradients --dim B=2 --dim S=100 --dim T=300 --dim D=32 --dim E=32
show conv.tdsl block --dim N=2 --dim C=8 --dim Y=30 --dim X=30 --dim O=16
show embedding.tdsl embed --dim B=4 --dim S=64 --dim V=1000 --dim D=384

echo
title "\$ tcc-fuse explain examples/mlp.tdsl --dim N=64 --dim D=256 --dim H=512 --dim E=256"
"$tool" explain "$here/mlp.tdsl" --dim N=64 --dim D=256 --dim H=512 --dim E=256

printf '\n%d programs compiled, run, and checked against the interpreter.\n' "$checked"
