#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Runs the MiniLM example: fetch, embed 32 sentences, compare with the reference, time.
# usage: run.sh [--no-bench]       (needs build/tcc-fuse; `./dev minilm` builds it)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bench=1
for argument in "$@"; do
  case "$argument" in
    --no-bench) bench=0 ;;
    *) echo "minilm: unknown argument $argument; usage: ./dev minilm [--no-bench]" >&2; exit 2 ;;
  esac
done
tool=${TCC_FUSE:-../../build/tcc-fuse}
weights=$(./fetch.sh)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# Parameters of minilm.tdsl and their names in the published file.
inputs=()
weight() { inputs+=(--in "$1=$weights:$2"); }
weight word embeddings.word_embeddings.weight
weight position embeddings.position_embeddings.weight
weight token_type embeddings.token_type_embeddings.weight
weight gain embeddings.LayerNorm.weight
weight bias embeddings.LayerNorm.bias
for layer in 0 1 2 3 4 5; do
  prefix=encoder.layer.$layer
  while read -r w b name; do
    weight "l${layer}_$w" "$prefix.$name.weight"
    weight "l${layer}_$b" "$prefix.$name.bias"
  done <<'NAMES'
wq bq attention.self.query
wk bk attention.self.key
wv bv attention.self.value
wo bo attention.output.dense
gain1 bias1 attention.output.LayerNorm
w1 b1 intermediate.dense
w2 b2 output.dense
gain2 bias2 output.LayerNorm
NAMES
done

embed() { # embed SUFFIX ARGUMENTS...: suffix 1 is the first sentence alone
  local suffix=$1
  shift
  "$tool" run minilm.tdsl -e embed --in "ids=reference.npz:ids$suffix" \
    --in "mask=reference.npz:mask$suffix" "${inputs[@]}" "$@"
}

last_value() { tail -c 4 "$2" | od -An -t "$1" | tr -d ' '; }

# compare SUFFIX REFERENCE TITLE: fails unless the embeddings agree with the stored ones
compare() {
  embed "$1" --out "out=$out/embeddings.npy"
  "$tool" run agreement.tdsl -e agreement --in "got=$out/embeddings.npy" \
    --in "wanted=reference.npz:$2" --out "out0=$out/cosine.npy" --out "out1=$out/reversed.npy"
  cosine=$(last_value f4 "$out/cosine.npy") reversed=$(last_value d4 "$out/reversed.npy")
  if awk "BEGIN { exit !($cosine > 1) }"; then cosine=1; fi  # beyond it is rounding
  echo "$3: smallest cosine with the reference $cosine, neighbours out of order: $reversed"
  awk "BEGIN { exit !($cosine >= 0.99999 && $reversed == 0) }" || {
    echo "the embeddings differ from the reference" >&2
    exit 4
  }
}
compare "" embeddings "32 sentences"
compare 1 embedding1 "one sentence"
[ $bench = 1 ] || exit 0

echo
echo "one sentence (11 tokens), then 32 sentences (37 tokens):"
embed 1 --bench
embed "" --bench
# The table in bench/results/ is written by `./dev bench minilm` only.
TCF_BENCH_RESULTS=build/minilm ../../bench/run.sh minilm
echo "written to build/minilm/minilm.md"
