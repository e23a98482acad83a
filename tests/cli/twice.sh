# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Values that use another one twice, and that one another, 40 times over: each is looked at once, for
# looking at all ways that lead to the first would not end. Sourced by run.sh.

twice() { # twice OPERATOR FIRST RESULT SIGNATURE [SIZES...]: programs whose y40 is made of y0 = FIRST
  local operator=$1 first=$2 result=$3 signature=$4 i
  shift 4
  {
    echo "fn f($signature {"
    echo "  let y0 = $first"
    for i in $(seq 40); do echo "  let y$i = y$((i - 1)) $operator y$((i - 1))"; done
    echo "  return $result"
    echo "}"
  } >twice.tdsl
  for target in cpu sm_80 sm_90a; do
    holds "40 times $first $operator in $result for $target" \
      timeout 60 "$tool" opt twice.tdsl --to=asm --target $target "$@" >out.txt 2>err.txt
  done
}

rows='x: f32[N, T], w: f32[N, T]) -> f32[N, T]'
twice '*' x 'softmax(y40 + w, T)' "$rows"
twice + 'exp(x)' 'softmax(y40 + w, T)' "$rows"
twice '*' 'x - mean(x, T)' 'y40 / sum(exp(y40) * w, T)' "$rows"
twice '*' w 'sum(exp(x - max(x, T)) * y40, T) / sum(exp(x - max(x, T)), T) + x' "$rows"
twice '*' x 'cumsum(y40 + w, T)' "$rows"
twice '*' x 'dot(y40, w, T)' 'x: f32[N, T], w: f32[T, H]) -> f32[N, H]'
twice '*' 'f32(x)' 'dot(bf16(y40), w, T)' 'x: bf16[N, T], w: bf16[T, H]) -> f32[N, H]'
attention='q: bf16[B, S, D = 64], k: bf16[B, T, D], v: bf16[B, T, E = 64], g: f32[B, S, T]) -> bf16[B, S, E]'
sizes='--dim B=64 --dim S=4096 --dim T=4096'
# shellcheck disable=SC2086
{
  twice '*' g 'bf16(dot(bf16(softmax(dot(q, k, D) + y40, T)), v, T))' "$attention" $sizes
  twice '*' 'f32(q)' 'bf16(dot(bf16(softmax(dot(bf16(y40), k, D) + g, T)), v, T))' "$attention" $sizes
  twice + 'dot(q, k, D)' 'bf16(dot(bf16(softmax(y40 + g, T)), v, T))' "$attention" $sizes
  twice + 'index(T)' 'bf16(dot(bf16(softmax(where(y40 < index(S), dot(q, k, D) + g, -inf), T)), v, T))' \
    "$attention" $sizes
}
