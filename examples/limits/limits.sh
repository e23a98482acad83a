#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Does fusion hold when a program is written in another way? Counts the kernels of every form of
# *.tdsl, as plain code and under contract, what they move, and their times; with Python and PyTorch
# beside torch.compile, with JAX beside XLA. Writes limits.md and limits.svg. `./dev limits` calls it.
#
# usage: limits.sh TOOL [--target cpu|cuda] [--only FAMILY,...] [--no-times] [--python PYTHON]
#                  [--seconds S] [--out FOLDER]
#   --only      families: full, causal, ... ("// ==== NAME:" in *.tdsl)
#   --python    of PyTorch, JAX; default python3; "" for none: `run --bench` takes the times
#   --seconds   for the times of a form by a contender (default 0.15)
#
# Needs the library beside TOOL (TCF_LIBRARY: elsewhere) where PyTorch is compared with.
# The plain text of a form is its text without the lines of `fuse`. On CPUs bf16 is f32, of one thread.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tool=$(realpath "${1:?usage: limits.sh TOOL [--target cpu|cuda] ...}")
shift
target=cpu only='' times=1 python=python3 seconds=0.15 out=.
while [ $# -gt 0 ]; do
  case "$1" in
    --target|--only|--python|--seconds|--out) declare "${1#--}=$2"; shift 2 ;;
    --no-times) times=0; shift ;;
    *) sed -n 's/^# \(usage.*\)/\1/p' "$0" >&2; exit 2 ;;
  esac
done

export TCF_LIBRARY=${TCF_LIBRARY:-$(dirname "$tool")/libtccfuse.so}

case "$target" in
  cpu*) sizes='full B=1 H=4 S=512 T=512; causal B=1 H=4 S=512; alibi B=1 H=4 S=512;
          softcap B=1 H=4 S=512; softmax N=1024 T=4096; weighted N=1024 T=4096;
          cross_entropy N=512 V=16384; last_layer N=256 V=8192; layernorm N=2048 D=2048;
          norm_product N=256 D=1024 E=256; layer N=256 D=512 H=1024; mlp N=256 D=256 H=1024 E=256;
          gated N=256 D=256 H=1024 E=256' ;;
  *) sizes='full B=2 H=16 S=4096 T=4096; causal B=2 H=16 S=4096; alibi B=2 H=16 S=4096;
          softcap B=2 H=16 S=4096; softmax N=16384 T=4096; weighted N=16384 T=4096;
          cross_entropy N=8192 V=50257; last_layer N=8192 V=32000; layernorm N=16384 D=4096;
          norm_product N=4096 D=4096 E=1024; layer N=4096 D=1024 H=4096;
          mlp N=4096 D=1024 H=4096 E=1024; gated N=4096 D=1024 H=4096 E=1024' ;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/plain" "$work/contract" "$out"

for file in "$here"/*.tdsl; do
  name=$(basename "$file")
  case "$target" in cpu*) sed 's/bf16/f32/g' "$file" ;; *) cat "$file" ;; esac >"$work/contract/$name"
  sed '/^  fuse.* {$/d; /^  }$/d' "$work/contract/$name" >"$work/plain/$name"
  awk -v sizes="$(echo $sizes)" -f "$here/forms.awk" "$work/contract/$name"
done >"$work/all"
awk -F '\t' -v only="$only" 'only == "" || index("," only ",", "," $2 ",")' "$work/all" >"$work/forms"
[ -s "$work/forms" ] || { echo "limits.sh: no family $only" >&2; exit 2; }

# Lines of family, form, system, kernels, bytes.
while IFS=$'\t' read -r file family form _ _ given; do
  for system in plain contract; do
    # shellcheck disable=SC2046,SC2086
    if "$tool" explain "$work/$system/$file.tdsl" -e "$form" --target "$target" --format=json \
        $(printf -- '--dim %s ' $given) >"$work/json" 2>"$work/errors"; then
      kernels=$(grep -c '^ *"kernel": [0-9]' "$work/json")
      bytes=$(sed -n 's/^ *"bytes": \([0-9]*\),*$/\1/p' "$work/json" | head -1)
    else
      kernels=$(sed -n 's/.*error\[\(E[0-9]*\)\].*/\1/p' "$work/errors" | head -1)
      bytes=-
      [ -n "$kernels" ] || { cat "$work/errors" >&2; exit 1; }
    fi
    printf '%s\t%s\t%s\t%s\t%s\n' "$family" "$form" $system "$kernels" "$bytes"
  done
done <"$work/forms" >"$work/kernels"

bench() { # bench SYSTEM FILE FORM SIZES: seconds of a call, by the tool alone
  # shellcheck disable=SC2046,SC2086
  "$tool" run "$work/$1/$2.tdsl" -e "$3" --target "$target" --threads 1 --bench \
      $(printf -- '--dim %s ' $4) 2>/dev/null |
    awk '/^bench / { for (i = 1; i < NF; i++) if ($i == "median") { unit = $(i + 2); sub(/,/, "", unit)
           print $(i + 1) * (unit == "s" ? 1 : unit == "ms" ? 1e-3 : unit == "us" ? 1e-6 : 1e-9); exit } }'
}

: >"$work/times"
if [ $times = 1 ] && [ -n "$python" ] && "$python" -c 'import torch' 2>/dev/null; then
  case "$target" in
    cpu*) export XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
          ;;
  esac
  export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=1099511627776 PYTHONWARNINGS=ignore
  "$python" "$here/compare.py" "$work" "$target" "$seconds" <"$work/forms" >"$work/times"
elif [ $times = 1 ]; then
  echo "no PyTorch: times of tcc-fuse alone" >&2
  while IFS=$'\t' read -r file family form _ _ given; do
    for system in plain contract plain contract; do
      took=$(bench $system "$file" "$form" "$given")
      [ -z "$took" ] || printf '%s\t%s\t%s\t%s\t-\n' "$family" "$form" $system "$took"
    done
  done <"$work/forms" >"$work/times"
fi

what=$("$tool" --version 2>/dev/null | head -1)
case "$target" in
  cpu*) machine="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), one thread, f32" ;;
  *) machine=$({ nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null || echo "$target"; } | head -1)
     machine="$machine, bf16" ;;
esac
peers=''
[ ! -s "$work/times" ] || peers=$("$python" -c 'from importlib.metadata import version
for name in "torch", "jax":
  try: print(name, version(name))
  except Exception: pass' 2>/dev/null | paste -sd, | sed 's/,/, /')
titles=$(sed -n 's|^// ==== ||p' "$here"/*.tdsl | sed 's/: /=/' | paste -sd'|')
awk -F '\t' -v head="$(date +%Y-%m-%d), $what, $machine${peers:+; $peers}" -v titles="$titles" -v sizes="$(echo $sizes)" \
  -f "$here/table.awk" "$work/kernels" "$work/times" >"$out/limits.md"
awk -F '\t' -v head="$machine" -v titles="$titles" -f "$here/plot.awk" "$work/kernels" "$work/times" \
  >"$out/limits.svg"
echo "$out/limits.md, $out/limits.svg: $(wc -l <"$work/forms") forms"
