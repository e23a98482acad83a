#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Programs under contract: tests/contracts/run.sh TOOL. Each function is as many kernels as it has
# contracts, and compiled it gives what the interpreter of the graph gives: on the CPU here, with
# AVX2, as tile IR of CPUs and of GPUs; at odd sizes, of one element, of none; with scores that are
# large or all far below zero.
set -uo pipefail
tool=$(realpath "${1:?usage: tests/contracts/run.sh TOOL}")
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 3
. ./dims.sh
passed=0 failed=0

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); printf '%s\n' "$@"; }

check() { # check TARGET FILE FUNCTION ARGUMENTS...
  local target=$1 file=$2 name=$3 out
  shift 3
  if out=$("$tool" run "$file" -e "$name" --target "$target" --no-cache --check "$@" 2>&1); then ok
  else bad "run $file -e $name --target $target $*:" "$out"; fi
}

expect() { # expect TEXT COMMAND...
  local want=$1 out
  shift
  out=$("$@" 2>&1)
  if grep -qF -- "$want" <<<"$out"; then ok; else bad "no '$want' in what $* prints:" "$out"; fi
}

plain=$(mktemp -d)
trap 'rm -rf "$plain"' EXIT

ptxas=$(command -v ptxas || ls /usr/local/cuda/bin/ptxas 2>/dev/null)
[ -n "$ptxas" ] || echo "no ptxas: its part of these tests is left out"
assemble() { # assemble FILE FUNCTION ARCHITECTURE OPTIONS...: the output of ptxas in $assembled
  local ptx
  assembled=
  ptx=$(mktemp)
  if "$tool" opt "$1" -e "$2" --to=ptx --target "cuda:$3" "${@:4}" >"$ptx" 2>&1; then ok
  else bad "opt $1 -e $2 --to=ptx --target cuda:$3:" "$(head -5 "$ptx")"; fi
  if [ -n "$ptxas" ]; then
    if assembled=$("$ptxas" -arch="$3" -v "$ptx" -o /dev/null 2>&1); then ok
    else bad "ptxas for $2 on $3:" "$assembled"; fi
  fi
  rm -f "$ptx"
}

for file in attention.tdsl blocks.tdsl; do
  for name in $(functions "$file"); do
    for target in cpu cuda:sm_80 cuda:sm_90a; do
      fused=$("$tool" opt "$file" -e "$name" --to=fused --target $target)
      kernels=$(grep -c '^  kernel ' <<<"$fused")
      contracts=$(grep -c '^  fuse#' <<<"$fused")
      [ "$name" = twice ] && contracts=2
      if [ "$kernels" = "$contracts" ]; then ok
      else bad "$file: $name is $kernels kernels for $contracts contracts on $target"; fi
    done
    for sizes in 'B=2 S=67 T=301 D=24 E=33' 'B=1 S=1 T=1 D=1 E=1' 'B=3 S=129 T=64 D=16 E=16' \
                 'B=1 S=5 T=0 D=3 E=4'; do
      # shellcheck disable=SC2046,SC2086
      check cpu "$file" "$name" $(dims "$file" "$name" $sizes)
      for target in sm_80 sm_90a; do
        # shellcheck disable=SC2046,SC2086
        check interp-tile:$target "$file" "$name" $(dims "$file" "$name" $sizes)
      done
    done
    sizes='B=1 S=35 T=270 D=20 E=18'
    for target in cpu:x86-64-v3 cpu:x86-64 interp-tile; do
      # shellcheck disable=SC2046,SC2086
      check $target "$file" "$name" $(dims "$file" "$name" $sizes)
    done
    assemble "$file" "$name" sm_80
    assemble "$file" "$name" sm_90a
  done
done

# Few long rows, which blocks of GPUs share: right in any order of blocks, and one launch.
for name in $(functions few_rows.tdsl); do
  for target in sm_80 sm_90a; do
    check interp-tile:$target few_rows.tdsl "$name"
    tile=$("$tool" opt few_rows.tdsl -e "$name" --to=tile --target cuda:$target)
    shared=1
    [ "$name" != deviation ] || shared=0
    if [ "$(grep -c '^  call' <<<"$tile")" = 1 ] && [ "$(grep -c 'if finished' <<<"$tile")" = $shared ]; then ok
    else bad "few_rows.tdsl: blocks of $target do not share $name:" "$tile"; fi
    assemble few_rows.tdsl "$name" $target
  done
  check cpu few_rows.tdsl "$name"
done

# GPUs with products of warpgroups: one kernel as well, right under the interpreter of tile IR at
# sizes around those of tiles, assembled without spills and with products that are not serialised.
for name in $(functions gpu.tdsl); do
  for sizes in 'B=2 H=2 G=2 S=150 T=301' 'B=1 H=1 G=3 S=385 T=64'; do
    # shellcheck disable=SC2046,SC2086
    check interp-tile:sm_90a gpu.tdsl "$name" $(dims gpu.tdsl "$name" $sizes)
  done
  # shellcheck disable=SC2046
  check cpu gpu.tdsl "$name" $(dims gpu.tdsl "$name" B=2 H=2 G=2 S=67 T=301)
  kernels=$("$tool" opt gpu.tdsl -e "$name" --to=fused --target cuda:sm_90a | grep -c '^  kernel ')
  if [ "$kernels" = 1 ]; then ok; else bad "gpu.tdsl: $name is $kernels kernels on cuda:sm_90a"; fi
  assemble gpu.tdsl "$name" sm_90a
  if [ -n "$ptxas" ]; then
    if grep -q ' 0 bytes spill stores' <<<"$assembled" && ! grep -q 'C75[0-9][0-9]' <<<"$assembled"; then ok
    else bad "ptxas for $name:" "$assembled"; fi
  fi
done
# Their derivatives: the block again, walked along the keys and along the rows, with two products before the walk's own;
# no sum over the keys waits for another. What is not of 16 bits is loop nests.
for name in $(functions gradients.tdsl); do
  for sizes in 'B=2 H=2 G=2 S=150 T=301' 'B=1 H=1 G=3 S=385 T=64' 'B=1 H=3 G=1 S=132 T=132'; do
    # shellcheck disable=SC2046,SC2086
    check interp-tile:sm_90a gradients.tdsl "$name" $(dims gradients.tdsl "$name" $sizes)
  done
  for target in cpu interp-tile:sm_80; do
    # shellcheck disable=SC2046
    check $target gradients.tdsl "$name" $(dims gradients.tdsl "$name" B=2 H=2 G=2 S=67 T=130)
  done
  fused=$("$tool" opt gradients.tdsl -e "$name" --to=fused --target cuda:sm_90a)
  tile=$("$tool" opt gradients.tdsl -e "$name" --to=tile --target cuda:sm_90a)
  contracts=$(grep -c '^  fuse#' <<<"$fused") walks=$(grep -c 'loop [ST]:.* reverse .*skew' <<<"$tile")
  if [ "$contracts" = "$walks" ]; then ok
  else bad "gradients.tdsl: $name has $walks walks of warpgroups for $contracts contracts"; fi
  assemble gradients.tdsl "$name" sm_90a
  if [ -n "$ptxas" ]; then
    # A word or two of sizes that are not known may wait in memory.
    if ! grep -qE ' [0-9]{3,} bytes spill stores' <<<"$assembled" && ! grep -q 'C75[0-9][0-9]' <<<"$assembled"; then ok
    else bad "ptxas for $name:" "$assembled"; fi
  fi
done
# Where sums may be unordered one walk has both parts of the derivative, with what the blocks of the keys' rows add up;
# with --deterministic they may not.
for name in softmaxed divided divided_last causal window grouped halves distance; do
  for sizes in 'B=2 H=2 G=2 S=150 T=301' 'B=1 H=1 G=3 S=385 T=64' 'B=1 H=1 G=1 S=5 T=0'; do
    # shellcheck disable=SC2046,SC2086
    check interp-tile:sm_90a gradients.tdsl "$name" $(dims gradients.tdsl "$name" $sizes) --unordered-sums
  done
  tile=$("$tool" opt gradients.tdsl -e "$name" --to=tile --target cuda:sm_90a --unordered-sums)
  adds=$(grep -c '^ *store a[0-9]*.* add$' <<<"$tile") products=$(grep -c ' = dot wgmma ' <<<"$tile")
  if [ "$adds $products" = '1 7' ]; then ok
  else bad "gradients.tdsl: $name adds $adds products of $products with --unordered-sums"; fi
  assemble gradients.tdsl "$name" sm_90a --unordered-sums
  if ! grep -qE ' ([2-9][0-9]{2}|[0-9]{4,}) bytes spill stores' <<<"$assembled" && ! grep -q 'C75[0-9][0-9]' <<<"$assembled"; then ok
  else bad "ptxas for $name with --unordered-sums:" "$assembled"; fi
done
# The copy engine adds whole rows of a warp.
# Steps that the mask empties add nothing: they are left out there as well.
if "$tool" opt gradients.tdsl -e causal --to=tile --target cuda:sm_90a --unordered-sums | grep 'loop S:.* reverse from (T' >/dev/null; then ok
else bad "gradients.tdsl: causal walks all rows with --unordered-sums"; fi
ptx=$("$tool" opt gradients.tdsl -e causal --to=ptx --target cuda:sm_90a --unordered-sums)
rows=$(grep -c 'cp.reduce.async.bulk.*add.f32' <<<"$ptx") elements=$(grep -c 'red.relaxed' <<<"$ptx")
if [ "$rows $elements" = '1 0' ]; then ok; else bad "gradients.tdsl: causal adds $rows times rows, $elements times elements"; fi
for target in cpu cuda:sm_80; do
  if diff <("$tool" opt gradients.tdsl -e causal --to=tile --target $target) \
          <("$tool" opt gradients.tdsl -e causal --to=tile --target $target --unordered-sums) >/dev/null; then ok
  else bad "gradients.tdsl: causal is not the same on $target with --unordered-sums"; fi
done
if "$tool" opt gradients.tdsl -e causal --to=tile --target cuda:sm_90a | grep ' add$' >/dev/null
then bad "gradients.tdsl: causal adds to memory without --unordered-sums"; else ok; fi
expect 'either deterministic or of unordered sums' "$tool" opt gradients.tdsl -e causal --deterministic --unordered-sums
expect 'blocks add up in memory, in no order, dot' "$tool" explain gradients.tdsl -e causal --target cuda:sm_90a --unordered-sums
expect '1 kernel before it stores the zeros that its blocks add to' \
  "$tool" explain gradients.tdsl -e causal --target cuda:sm_90a --unordered-sums
# Read back, its graph is for such streams alone.
graph=$(mktemp)
"$tool" opt gradients.tdsl -e causal --to=plan --target cuda:sm_90a --unordered-sums >"$graph"
sed 's/^fused //; /^  kernel [0-9]* .*{$/d; /^  }$/d' "$graph" >"$graph.loose"
for target in cpu cuda:sm_80; do
  for form in "$graph" "$graph.loose"; do
    expect 'blocks add it up in memory in no order' "$tool" opt "$form" --to=tile --target $target
  done
done
expect 'blocks add it up in memory in no order' "$tool" opt "$graph.loose" --to=tile --target cuda:sm_90a --deterministic
expect 'results are not deterministic' "$tool" opt "$graph" --to=tile --target cuda:sm_90a --deterministic
check interp-tile:sm_90a "$graph" causal --dim B=1 --dim S=70 --dim T=90
rm -f "$graph" "$graph.loose"
# Columns that warpgroups share: in one order, and in one panel of what is multiplied.
tile=$(mktemp)
"$tool" opt gradients.tdsl -e softmaxed --to=tile --target cuda:sm_90a --unordered-sums >"$tile"
while IFS='|' read -r from to message; do
  if grep -qF "$from" "$tile"; then ok; else bad "gradients.tdsl: softmaxed has no layout $from"; fi
  expect "$message" "$tool" opt <(sed "s/$from/$to/" "$tile") --to=tile --target cuda:sm_90a
done <<'EOF'
D:64 = r2 t4@1 r4 t2@128 }|D:64 = r2 t4@1 t2@128 r4 }|columns of a warpgroup are in its registers, those of several one after the other
EOF
rm -f "$tile"
# Results of different widths: the engine has read the first one's last block before the second one's first is put there.
waits=$("$tool" opt gradients.tdsl -e divided_last --to=ptx --target cuda:sm_90a |
  sed -n '/^.visible .entry divided_last_3/,$p' | grep -c 'bulk.wait_group.read[[:space:]]*0;')
if [ "$waits" -ge 2 ]; then ok; else bad "gradients.tdsl: $waits waits between the results of divided_last"; fi
# Row values along the walk: sums of the second lead start from theirs where registers are few; else it is loaded
# between what two is raised to and the exponentials.
while read -r name keys starts order; do
  walk=$("$tool" opt gradients.tdsl -e "$name" --to=tile --target cuda:sm_90a --dim B=2 --dim S=132 --dim T=132 |
    sed -n "/loop S:$keys reverse/,\$p")
  started=$(awk '/ = mul /{m=$1} /loop .* carry /&&$NF=="{"&&$(NF-1)==m{n++} END{print n+0}' <<<"$walk")
  seen=$(grep -oE 'load vector|fma|exp2' <<<"$walk" | sed 's/load vector/load/' | paste -sd,)
  if [ "$started" = "$starts" ] && [ "$seen" = "$order" ]; then ok
  else bad "gradients.tdsl: the walk of $name in steps of $keys starts $started sums from vectors: $seen"; fi
  [ -n "$ptxas" ] || continue
  # Nor does anything wait for products because a register is copied while they are under way.
  assembled=$("$tool" opt gradients.tdsl -e "$name" --to=ptx --target cuda:sm_90a --dim B=2 --dim S=132 --dim T=132 |
    "$ptxas" -arch=sm_90a -v -o /dev/null - 2>&1)
  if ! grep -q 'C75[0-9][0-9]' <<<"$assembled"; then ok; else bad "ptxas for $name:" "$assembled"; fi
done <<'EOF'
softmaxed 80 0 load,fma,load,exp2
causal 48 1 load,load,fma,exp2
EOF
# What the registers of a warpgroup cannot hold is left to loop nests, with the same contract.
wide=$(mktemp)
sed 's/= 128\]/= 192]/g' gradients.tdsl >"$wide"
check interp-tile:sm_90a "$wide" causal --dim B=1 --dim S=70 --dim T=70
walks=$("$tool" opt "$wide" -e causal --to=tile --target cuda:sm_90a | grep -c 'loop [ST]:.* reverse .*skew')
if [ "$walks" = 2 ]; then ok; else bad "gradients.tdsl: $walks walks of warpgroups with heads of 192"; fi
sed 's/bf16/f32/g' gradients.tdsl >"$wide"
if "$tool" opt "$wide" -e causal --to=tile --target cuda:sm_90a | grep wgmma >/dev/null
then bad "gradients.tdsl: f32 is on tensor cores"; else ok; fi
rm -f "$wide"
# Without warpgroups: loop nests, in which tensor cores multiply whatever is of 16 bits, and nothing else.
for name in $(functions gpu.tdsl); do
  for sizes in 'B=2 H=2 G=2 S=150 T=301' 'B=1 H=1 G=3 S=385 T=64'; do
    # shellcheck disable=SC2046,SC2086
    check interp-tile:sm_80 gpu.tdsl "$name" $(dims gpu.tdsl "$name" $sizes)
  done
  tile=$("$tool" opt gpu.tdsl -e "$name" --to=tile --target cuda:sm_80)
  products=$(grep -c 'dot ' <<<"$tile") mma=$(grep -c 'dot mma ' <<<"$tile")
  if [ "$products" = "$mma" ] && [ "$(grep -c '^  call' <<<"$tile")" = 1 ]; then ok
  else bad "gpu.tdsl: $mma of $products products of $name are on tensor cores of sm_80"; fi
  assemble gpu.tdsl "$name" sm_80
done
for name in plain doubles; do
  if "$tool" opt attention.tdsl -e $name --to=tile --target cuda:sm_80 | grep 'dot mma' >/dev/null
  then bad "attention.tdsl: $name is on tensor cores"; else ok; fi
done
mma=$("$tool" opt attention.tdsl -e plain --to=tile --target cuda:sm_80 --tf32 | grep -c 'dot mma')
if [ "$mma" = 2 ]; then ok; else bad "attention.tdsl: $mma products of plain are on tensor cores with --tf32"; fi
# shellcheck disable=SC2046
check interp-tile:sm_80 attention.tdsl plain $(dims attention.tdsl plain B=2 S=67 T=301 D=24 E=33) --tf32
# Computed rows are on chip before the first warpgroup takes its turn: in it nobody waits for all.
order=$("$tool" opt gpu.tdsl -e scale_on_q --to=ptx --target cuda:sm_90a | grep -o 'bar.sync.*1, 384\|bar.sync.*, 256' |
  head -1)
if [[ $order == *'1, 384' ]]; then ok; else bad "scale_on_q: the first barrier is $order"; fi

# Steps that a mask empties are not walked, where all that is added up is under the mask.
while read -r name bounds; do
  loop=$("$tool" opt gpu.tdsl -e "$name" --to=tile --target cuda:sm_90a |
    sed -n 's/.*\(loop T:.*\) stages=.*/\1 stages=/; s/ within %[0-9]*, %[0-9]*/ within/; /stages=$/p')
  if [[ $loop == "loop T:"*" reverse${bounds:+ $bounds} stages=" ]]; then ok
  else bad "gpu.tdsl: $name walks $loop, not ${bounds:-all steps}"; fi
done <<'EOF'
plain
causal below S + 192
causal_added below S + 128
window from ((S + 79) / 128)*128 - 128 below S + 128
later_only from (S / 128)*128
from_the_end below 400 - S
causal_and_count
causal_finite below S + 192
prefix within
documents
by_document below S + 278 within
by_length within
by_padding from ((S + 57) / 128)*128 - 256 below S + 128 within
by_block within
EOF
# On CPUs, too, and there steps that a condition on data empties: by the tile IR's text, and by numbers in
# short steps of few rows. What counts under its mask, and what is not known, is walked.
while IFS='|' read -r name bounds test; do
  within=$("$tool" opt skip.tdsl -e "$name" --to=tile --target cuda:sm_80 | grep -c ' within ')
  if [ "$within" = "${test:-0}" ]; then ok; else bad "skip.tdsl: $name is within $within on GPUs"; fi
  tile=$("$tool" opt skip.tdsl -e "$name" --to=tile --schedule step=16,mt=8)
  loops=$(sed -n 's/^    loop T:16 *\(.*\){/\1/p' <<<"$tile" | paste -sd,)
  tests=$(grep -c '^      if any ' <<<"$tile")
  if [ "$loops" = "${bounds:+$bounds }" ] && [ "$tests" = "${test:-0}" ]; then ok
  else bad "skip.tdsl: $name walks '$loops' with $tests tests"; fi
  inputs=
  for data in a b at; do grep -q "^fn $name(.*\b$data: i32" skip.tdsl && inputs+="--in $data=iota "; done
  # shellcheck disable=SC2046,SC2086
  for target in cpu interp-tile; do
    check $target skip.tdsl "$name" $inputs --schedule step=16,mt=8 \
      $(dims skip.tdsl "$name" B=2 S=150 T=301 D=8 E=8 R=301)
  done
  # shellcheck disable=SC2046,SC2086
  check cpu skip.tdsl "$name" $inputs $(dims skip.tdsl "$name" B=1 S=301 T=700 D=8 E=8 R=700)
  # shellcheck disable=SC2046,SC2086
  check interp-tile:sm_80 skip.tdsl "$name" $inputs $(dims skip.tdsl "$name" B=1 S=33 T=200 D=8 E=8 R=200)
done <<'EOF'
causal|below S + 8
negated|below S + 8
window|from ((S + 9) / 16)*16 - 48 below S + 8
window_by_data|below S + 8|1
prefix||1
documents||1
others|below S + 8|1
blocks||1
padded||1
wrapping||1
narrow||1
extremes|below S + 8
twice|below S + 8 ,below 50
finite
counted
tested
floats
EOF
if "$tool" run skip.tdsl -e tested --no-cache --in at=iota $(dims skip.tdsl tested B=1 S=4 T=900 D=8 E=8 R=800) \
  >/dev/null 2>&1; then bad "skip.tdsl: an index out of range under a mask is not found"; else ok; fi

# What data says of steps: one document, sorted ones across tiles, lengths of 0 and beyond the end, no key at
# all, keys that are all there.
while read -r name inputs; do
  for target in sm_90a sm_80; do
    # shellcheck disable=SC2046,SC2086
    check interp-tile:$target gpu.tdsl "$name" $inputs $(dims gpu.tdsl "$name" B=2 S=270 T=500)
  done
done <<'EOF'
by_document --in a=zeros --in b=zeros
by_document --in a=iota --in b=iota
by_document --in a=zeros --in b=100
by_length --in n=iota
by_length --in n=1000
by_length --in n=-3
by_padding --in there=ones
by_padding --in there=zeros
EOF

for schedule in m=64 n=48 m=128,n=96,stages=3 skew=0 turns=0 m=192,n=64,heads=2; do
  for name in plain causal; do
    # shellcheck disable=SC2046
    check interp-tile:sm_90a gpu.tdsl $name $(dims gpu.tdsl $name B=1 S=150 T=301) \
      --schedule "$schedule"
  done
done

for schedule in m=16 m=32,step=32 m=1 m=64,step=16 step=8 step=4096; do
  for name in causal grouped heads_inside; do
    # shellcheck disable=SC2046
    check interp-tile:sm_80 gpu.tdsl $name $(dims gpu.tdsl $name B=1 H=1 G=2 S=150 T=301) \
      --schedule "$schedule"
  done
done

# Reasons and details that comments before functions give: FILE COMMAND...
told() {
  local file=$1 reason detail signature name out
  shift
  while IFS=: read -r reason detail && read -r signature; do
    name=${signature#fn }
    name=${name%%(*}
    out=$("$tool" "$@" "$file" -e "$name" 2>&1)
    if grep -qF "(${reason#// })" <<<"$out" && grep -qF "${detail# }" <<<"$out"; then ok
    else bad "$* $file -e $name does not say ${reason#// }:$detail" "$out"; fi
  done < <(grep -A1 --no-group-separator '^// [a-z]*_[a-z]*: ' "$file")
}
told gpu_refused.tdsl opt --to=fused --target cuda:sm_80
told gpu_nests.tdsl explain --target sm_90a
for name in $(functions gpu_nests.tdsl); do
  sizes='B=2 S=67 T=130 D=40'
  [[ $name = *_row* ]] && sizes='S=5 T=70 D=3'
  # shellcheck disable=SC2046,SC2086
  check interp-tile:sm_90a gpu_nests.tdsl "$name" $(dims gpu_nests.tdsl "$name" $sizes)
  assemble gpu_nests.tdsl "$name" sm_90a
done
for name in plain statistics only_statistics negative_scale; do
  for target in sm_80 sm_90a; do
    # shellcheck disable=SC2046
    check interp-tile:$target gpu.tdsl $name $(dims gpu.tdsl $name B=1 S=1 T=130)
    # shellcheck disable=SC2046
    check interp-tile:$target gpu.tdsl $name $(dims gpu.tdsl $name B=1 S=5 T=0)
  done
done
for name in plain causal statistics documents sinks; do
  for target in sm_80 sm_90a; do
    # shellcheck disable=SC2046
    check interp-tile:$target gpu.tdsl $name $(dims gpu.tdsl $name B=1 S=40 T=600) \
      --in q=uniform:-9:9 --in k=uniform:-4:4
    # shellcheck disable=SC2046
    check interp-tile:$target gpu.tdsl $name $(dims gpu.tdsl $name B=1 S=40 T=600) \
      --in q=uniform:-10:-9.9 --in k=uniform:10:10.1
  done
done

# Sums about running means: one walk, right where means are large beside deviations, with infinite elements and NaN.
# The cases of the algebra: walks and what is in the way of fewer, and numbers.
sed 's/fuse stream(T)/fuse stream(T, passes = 1)/' algebra.tdsl >"$plain/algebra.tdsl"
for name in $(functions algebra.tdsl); do
  why=$(sed -n "/^fn $name(/{x;s/^\/\/ walks [0-9]*: \([a-z_]*\)$/(\1)/p};h" algebra.tdsl)
  [ -z "$why" ] || expect "$why" "$tool" opt "$plain/algebra.tdsl" -e "$name" --to=fused
  [ -z "$why" ] || expect "$why" "$tool" explain algebra.tdsl -e "$name"
  walks=$(sed -n "/^fn $name(/{x;s/^\/\/ walks \([0-9]*\).*/\1/p};h" algebra.tdsl)
  for target in cpu cuda:sm_90a; do
    expect "fuse stream(T): $walks walk" "$tool" explain algebra.tdsl -e "$name" --target $target
  done
  for sizes in 'S=7 T=301 D=8 E=5' 'S=1 T=1 D=1 E=1' 'S=5 T=0 D=3 E=4'; do
    # shellcheck disable=SC2046,SC2086
    check cpu algebra.tdsl "$name" $(dims algebra.tdsl "$name" $sizes)
    # shellcheck disable=SC2046,SC2086
    check interp-tile:sm_80 algebra.tdsl "$name" $(dims algebra.tdsl "$name" $sizes)
  done
done
for rule in 'order max_of_softmax 2' 'order argmax_of_softmax 2' 'terms layernorm_product 2' \
            'terms differential 2' 'late_factors cosine 2'; do
  read -r rule name walks <<<"$rule"
  expect "fuse stream(T): $walks walks" "$tool" explain algebra.tdsl -e "$name" --no-rule="$rule"
  expect ", which $rule, switched off, would take out of \`" "$tool" explain algebra.tdsl -e "$name" --no-rule="$rule"
  expect "the rule \`$rule\` is switched off" "$tool" opt "$plain/algebra.tdsl" -e "$name" --to=fused --no-rule="$rule"
  expect "$rule" "$tool" opt algebra.tdsl -e "$name" --to=fused
  # shellcheck disable=SC2046
  check cpu algebra.tdsl "$name" $(dims algebra.tdsl "$name" S=7 T=301 D=8 E=5) --no-rule="$rule"
done

for name in $(functions moments.tdsl); do
  walks='1 walk '
  [ $name = two_walks ] && walks='2 walks '
  for target in cpu sm_80 sm_90a; do
    expect "fuse stream(T): ${walks}over T" "$tool" explain moments.tdsl -e "$name" --target $target
  done
  expect 'moment_shift' "$tool" explain moments.tdsl -e "$name"
  for sizes in 'B=2 S=37 T=2501 D=24 E=33' 'B=3 S=29 T=64 D=16 E=16' 'B=1 S=5 T=0 D=3 E=4' 'B=1 S=5 T=1 D=3 E=4'; do
    [[ $name = sample_variance && $sizes = *T=[01]\ * ]] && continue
    for target in cpu cpu:x86-64-v3 interp-tile:sm_90a; do
      # shellcheck disable=SC2046,SC2086
      check $target moments.tdsl "$name" $(dims moments.tdsl "$name" $sizes)
    done
  done
  # shellcheck disable=SC2046
  check cpu moments.tdsl "$name" $(dims moments.tdsl "$name" B=1 S=7 T=700 D=8 E=5) --fast-math
  assemble moments.tdsl "$name" sm_80
done
# A mean that grows in every step, and what the programs themselves do not cancel at one of 10000 beside a deviation of 0.6.
for name in statistics sample_variance covariance softmax_weighted positive_weights about_maximum masked infinite; do
  for target in cpu interp-tile:sm_80; do
    # shellcheck disable=SC2046
    check $target moments.tdsl $name $(dims moments.tdsl $name S=37 T=2501) --in x=uniform:9999:10001 \
      $([[ $name = covariance || $name = softmax_weighted ]] && echo --in y=uniform:-10001:-9999)
  done
done
for name in statistics covariance softmax_weighted masked; do
  expect 'rule_off' "$tool" opt moments.tdsl -e $name --no-rule=moment_shift --to=fused
  sed 's/passes = 1/passes = 9/' moments.tdsl >"$plain/moments.tdsl"
  expect ': 2 walks over T' "$tool" explain "$plain/moments.tdsl" -e $name --no-rule=moment_shift
  # shellcheck disable=SC2046
  check cpu "$plain/moments.tdsl" $name $(dims moments.tdsl $name S=7 T=700 E=5) --no-rule=moment_shift
done
expect 'running mean %3 (the frame of sum %9, sum %14)' "$tool" explain moments.tdsl -e statistics

# What rules make of equal programs: the same text, or nothing; numbers are right with the rule and without.
# On CPUs states may stand in another order.
tile_of() { # tile_of FUNCTION TARGET OPTIONS...
  local text
  text=$("$tool" opt rules.tdsl -e "$1" --to=tile --target "$2" "${@:3}" | sed "s/@$1/@/; s/ what \".*//")
  if [ "$2" = cpu ]; then sed 's/%[0-9]*/%/g; s/state[0-9]*/state/g' <<<"$text" | sort; else echo "$text"; fi
}
while IFS=' :' read -r _ rule verdict like && read -r signature; do
  name=${signature#fn }
  name=${name%%(*}
  targets='cpu cuda:sm_90a'
  [ "$rule" = caps ] && targets=cuda:sm_90a
  for target in $targets; do
    uses=$("$tool" opt rules.tdsl -e "$name" --to=fused --target $target | grep -c "^  fuse#0 .*\<$rule\>")
    if [ "$verdict" = not ]; then
      if [ "$uses" = 0 ]; then ok; else bad "rules.tdsl: $rule is applied to $name on $target"; fi
    elif cmp -s <(tile_of "$name" $target) <(tile_of "$like" $target); then ok
    else bad "rules.tdsl: $name is not $like on $target"; fi
    if [ "$verdict" = is ]; then
      if cmp -s <(tile_of "$name" $target --no-rule="$rule") <(tile_of "$like" $target)
      then bad "rules.tdsl: $name is $like without $rule, too"; else ok; fi
      expect "$rule" "$tool" explain rules.tdsl -e "$name" --target $target
    fi
  done
  for sizes in 'B=2 S=150 T=301 E=33' 'B=1 S=5 T=1 E=3'; do
    for target in cpu interp-tile interp-tile:sm_80 interp-tile:sm_90a; do
      # shellcheck disable=SC2046,SC2086
      check $target rules.tdsl "$name" $(dims rules.tdsl "$name" $sizes)
    done
    # shellcheck disable=SC2046,SC2086
    check cpu rules.tdsl "$name" $(dims rules.tdsl "$name" $sizes) --no-rule="$rule"
  done
done < <(grep -A1 --no-group-separator '^// [a-z_]*: \(is\|not\)' rules.tdsl)

if "$tool" opt rules.tdsl -e capped_by_tanh --to=fused | grep caps
then bad 'rules.tdsl: CPUs take tanh from a sigmoid'; else ok; fi

# Running combines: one walk, in the order of the stream.
for name in $(functions scans.tdsl); do
  for target in cpu sm_80 sm_90a; do
    expect 'fuse stream(T): ' "$tool" explain scans.tdsl -e "$name" --target $target
  done
  for sizes in 'S=37 T=1301 D=24 E=33' 'S=129 T=64 D=16 E=16' 'S=5 T=0 D=3 E=4' 'S=5 T=1 D=3 E=4'; do
    for target in cpu cpu:x86-64-v3 interp-tile:sm_90a; do
      # shellcheck disable=SC2046,SC2086
      check $target scans.tdsl "$name" $(dims scans.tdsl "$name" $sizes)
    done
  done
  assemble scans.tdsl "$name" sm_80
done
expect 'states cumsum %' "$tool" explain scans.tdsl -e running_sum
lanes_of() { # lanes_of FUNCTION: the loops by vectors of another axis than the stream
  # shellcheck disable=SC2046
  "$tool" opt scans.tdsl -e "$1" --to=tile --target cpu:x86-64-v4 $(dims scans.tdsl "$1" S=32 T=500 D=24) |
    grep -o 'loop [A-Z]*:[0-9]* vec'
}
for name in channels sums_of_channels; do expect 'loop U:16 vec' lanes_of $name; done
if lanes_of running_sum >/dev/null; then bad 'running_sum: rows are no neighbours'; else ok; fi

# The same programs without the contracts: one kernel by cost, the same one.
without_contracts() { # without_contracts FILE
  awk '/^ *fuse/ { sub(/fuse( stream\([^)]*\))? \{ */, ""); open = !sub(/ *\}$/, ""); if (/^ *$/) next }
       open && /^  \}$/ { open = 0; next }
       { print }' "$1"
}
shape() { # shape FILE FUNCTION OPTIONS...: what is computed, in which kernels
  "$tool" opt "$1" -e "$2" --to=fused "${@:3}" | sed 's/^  fuse#.*//; /^ *$/d'
}
for file in attention.tdsl gpu.tdsl; do
  without_contracts $file >"$plain/$file"
  target=cpu sizes='B=8 S=64 T=96 D=16 E=24'
  [ $file = gpu.tdsl ] && target=cuda:sm_90a sizes='B=64 H=8 G=2 S=32768 T=4096'
  for name in $(functions $file); do
    # Products of products without a reduction between them are found under a contract only, and
    # keys that are computed at some cost are stored.
    case $name in linear | keys_normal) continue ;; esac
    # shellcheck disable=SC2046,SC2086
    set -- --target $target $(dims $file $name $sizes)
    # The target is clamped for a gather before it is compared; rows of what is in memory have a form
    # of their own.
    if [[ $name == only_statistics || $name == weighted ]]; then
      if [ "$(shape "$plain/$file" $name "$@" | grep -c '^  kernel')" = 1 ]; then ok
      else bad "$file: $name is not one kernel without its contract"; fi
    elif cmp -s <(shape "$plain/$file" $name "$@") <(shape $file $name "$@"); then ok
    else bad "$file: $name is another program without its contract:" "$(shape "$plain/$file" $name "$@")"; fi
    # shellcheck disable=SC2046,SC2086
    [ $target = cuda:sm_90a ] || check cpu "$plain/$file" $name $(dims $file $name $sizes)
  done
done

# Results are stored through views at the end: one kernel with the contract and without, and right, with
# rows and parts of no elements, too. Views that are not one to one end the block (tests/diag/E0301.tdsl).
without_contracts views.tdsl >"$plain/views.tdsl"
for file in views.tdsl "$plain/views.tdsl"; do
  for name in $(functions views.tdsl); do
    for target in cpu cuda:sm_80 cuda:sm_90a; do
      [[ $file = /* && $target != cpu && $name = @(heads|grouped|residual) ]] && continue  # chosen by cost
      kernels=$("$tool" opt "$file" -e "$name" --to=fused --target $target | grep -c '^  kernel ')
      if [ "$kernels" = 1 ]; then ok; else bad "$file: $name is $kernels kernels on $target"; fi
    done
    for sizes in 'H=3 R=2 S=67 T=301 M=128 D=24 N=37 P=36 A=9' 'H=1 R=1 S=1 T=1 M=64 D=1 N=1 P=12 A=3' \
                 'H=2 R=3 S=5 T=0 M=64 D=3 N=4 P=0 A=0'; do
      for target in cpu cpu:x86-64 interp-tile:sm_80 interp-tile:sm_90a; do
        # shellcheck disable=SC2046,SC2086
        check $target "$file" "$name" $(dims "$file" "$name" $sizes)
      done
    done
    assemble "$file" "$name" sm_90a
  done
done
kernels=$("$tool" opt "$plain/views.tdsl" -e heads --to=fused --target cuda:sm_90a | grep -c '^  kernel ')
if [ "$kernels" = 1 ]; then ok; else bad "views.tdsl: heads is $kernels kernels without its contract"; fi

# A rule that is switched off is named; a block that is called twice has its error once.
for rule in frames late_factors; do
  expect "the rule \`$rule\` is switched off" "$tool" opt attention.tdsl -e plain --to=fused --no-rule=$rule
done
for command in check 'opt --to=fused -e twice_called'; do
  # shellcheck disable=SC2086
  errors=$("$tool" $command ../diag/E0303.tdsl 2>&1 | grep -c '^../diag/E0303.tdsl:3:12: error')
  if [ "$errors" = 1 ]; then ok; else bad "$command prints the error of a block that is called twice $errors times"; fi
done
expect 'in this call of `through`' "$tool" opt ../diag/E0303.tdsl -e calls --to=fused

# Values that use another one twice, and that one another, 40 times over: none is looked at 2^40 times.
while IFS='|' read -r under first operator result; do
  {
    echo "fn f(q: f32[B, S, D], k: f32[B, T, D], v: f32[B, T, E], p: f32[B, S, E], x: f32[B, T]) -> f32 {"
    [ -z "$under" ] || echo "  fuse stream(T) {"
    echo "    let m = max(x, T)"
    echo "    let y0 = $first"
    for i in $(seq 40); do echo "    let y$i = y$((i - 1)) $operator y$((i - 1))"; done
    echo "    let o = $result"
    [ -z "$under" ] || echo "  }"
    echo "  return sum(o, B)"
    echo "}"
  } >"$plain/twice.tdsl"
  for command in 'opt --to=fused' explain; do
    # shellcheck disable=SC2086
    if timeout 60 "$tool" $command "$plain/twice.tdsl" --dim B=8 --dim S=64 --dim T=96 --dim D=16 --dim E=24 >/dev/null 2>"$plain/said"
    then ok
    else bad "$command of 40 times $first $operator:" "$(head -5 "$plain/said")"; fi
  done
done <<'EOF'
|p|*|sum(dot(softmax(dot(q, k, D), T), v, T) + y40, S, E)
|f32(index(T))|*|sum(dot(softmax(dot(q, k, D) + y40, T), v, T), S, E)
contract|k|*|sum(dot(softmax(dot(q, y40, D), T), v, T), S, E)
contract|x|*|sum(y40, T) + sum(exp(x - m), T)
contract|exp(x - m)|*|sum(y40, T)
contract|x - m|+|sum(exp(y40), T)
contract|x - mean(x, T)|*|sum(y40, T)
EOF

# Large scores, and all far below zero: maxima that grow, and differences of what is nearly -inf.
for name in plain causal_where base_two statistics sinks; do
  # shellcheck disable=SC2046
  check cpu attention.tdsl $name $(dims attention.tdsl $name B=1 S=40 T=600 D=16 E=8) \
    --in q=uniform:-9:9 --in k=uniform:-4:4
  # shellcheck disable=SC2046
  check cpu attention.tdsl $name $(dims attention.tdsl $name B=1 S=40 T=600 D=16 E=8) \
    --in q=uniform:-10:-9.9 --in k=uniform:10:10.1
done

# The examples: one kernel each, on GPUs as well.
examples=../../examples
for file in "$examples"/attention/*.tdsl "$examples"/streaming/*.tdsl; do
  for name in $(functions "$file"); do
    for target in cpu cuda:sm_80 cuda:sm_90a; do
      kernels=$("$tool" opt "$file" -e "$name" --to=fused --target $target | grep -c '^  kernel ')
      if [ "$kernels" = 1 ]; then ok; else bad "$file: $name is $kernels kernels on $target"; fi
    done
    sizes='B=2 H=2 G=2 R=2 S=67 T=150 M=128 D=24 E=20 N=35 V=301 I=33 J=270 C=3'
    # shellcheck disable=SC2046,SC2086
    check cpu "$file" "$name" $(dims "$file" "$name" $sizes)
  done
done
for name in $(functions "$examples/scans.tdsl"); do
  for target in cpu interp-tile:sm_90a; do
    # shellcheck disable=SC2046
    check $target "$examples/scans.tdsl" "$name" $(dims "$examples/scans.tdsl" "$name" B=2 H=2 N=35 T=150 D=24 S=16 E=20)
  done
done
for pair in masks:documents masks:prefix scores:relative; do
  file=$examples/attention/${pair%:*}.tdsl
  # shellcheck disable=SC2046
  check interp-tile:sm_90a "$file" "${pair#*:}" $(dims "$file" "${pair#*:}" B=1 H=2 S=150)
done
# Targets of losses are tested in a stream as well, also where the vocabulary has one word.
for out in 0:1:0 1:1:1 300:301:0 301:301:1 -1:301:1; do
  IFS=: read -r target words status <<<"$out"
  "$tool" run $examples/streaming/losses.tdsl -e last_layer --no-cache --in target="$target" \
    --dim N=5 --dim V="$words" --dim D=8 >/dev/null 2>&1
  got=$?
  if [ $got = "$status" ]; then ok; else bad "target $target of $words words: status $got"; fi
done

# Blocks without reductions are vector code, too.
for name in mlp three_products shared_inside scalar; do
  if "$tool" opt blocks.tdsl -e $name --to=tile | grep '^kernel .* vec ' >/dev/null; then ok
  else bad "blocks.tdsl: $name is scalar code"; fi
done
# Sums that walk the same elements share a loop: one exp of them, and one that scales. Rows that
# share nothing are walked one after the other.
exps=$("$tool" opt attention.tdsl -e weighted --to=tile --dim T=4096 | grep -c '= exp ')
if [ "$exps" = 2 ]; then ok; else bad "attention.tdsl: weighted takes $exps exponentials"; fi
for rows in weighted:1 plain:64; do
  if "$tool" opt attention.tdsl -e ${rows%:*} --to=tile --dim B=8 --dim S=1024 --dim T=4096 --dim D=64 --dim E=64 |
    grep "^  grid .*S:${rows#*:} {" >/dev/null; then ok
  else bad "attention.tdsl: the grid of ${rows%:*} is not S:${rows#*:}"; fi
done
# Lanes run along the rows of products, unless many of them would be beyond the last row, or where memory is
# read along the stream; either way is right.
for lanes in plain:512:S plain:67:T keys_scaled:512:S linear:512:S documents:512:S weighted:512:T; do
  IFS=: read -r name rows axis <<<"$lanes"
  if "$tool" opt attention.tdsl -e $name --to=tile --dim S=$rows --dim D=64 --dim E=64 | grep "^kernel .* vec $axis:" >/dev/null
  then ok; else bad "attention.tdsl: the lanes of $name are not along $axis with $rows rows"; fi
  for along in rows stream; do
    # shellcheck disable=SC2046
    check cpu attention.tdsl $name $(dims attention.tdsl $name B=2 S=67 T=301 D=24 E=33) --schedule lanes=$along
  done
done
# What is masked and scaled takes the place of the product, exponentials that of both.
buffers=$("$tool" opt attention.tdsl -e causal_where --to=tile --dim S=512 --dim E=64 | grep -c 'local .*T:')
if [ "$buffers" = 1 ]; then ok; else bad "attention.tdsl: causal_where keeps $buffers values of a step"; fi
# Operands whose neighbours in memory are not neighbours in the lanes are copied for all rows of a tile, not
# for few, nor where they lie along the lanes.
while read -r name sizes copies; do
  # shellcheck disable=SC2086
  set -- $(dims "$examples/streaming/pairs.tdsl" "$name" ${sizes//,/ })
  found=$("$tool" opt "$examples/streaming/pairs.tdsl" -e "$name" --to=tile "$@" | grep -c 'local packed.*J:')
  if [ "$found" = "$copies" ]; then ok; else bad "pairs.tdsl: $name copies $found operands"; fi
  check cpu "$examples/streaming/pairs.tdsl" "$name" "$@"
  check interp-tile "$examples/streaming/pairs.tdsl" "$name" "$@"
done <<'EOF'
kernel_sum I=130,J=301,C=3 1
kernel_sum I=4,J=301,C=3 0
kernel_sum I=130,J=301,C=1 0
nearest I=130,J=301,C=17 1
smooth I=65,J=40,C=2 1
EOF
# Keys and values that are computed in the block do not take its rows away.
for name in keys_scaled keys_turned keys_normal; do
  if "$tool" opt attention.tdsl -e $name --to=tile --dim S=512 | grep '^  grid .*S:' >/dev/null; then ok
  else bad "attention.tdsl: the grid of $name has no rows"; fi
done

# What is told of a contract, and options that change it.
expect 'fuse stream(T): 1 walk over T; states reduce_max' "$tool" explain attention.tdsl -e plain
expect 'by late_factors, exponents, frames' "$tool" explain attention.tdsl -e plain
expect '"promise": "fuse stream(T)"' "$tool" explain attention.tdsl -e plain --format=json
expect '"frame": "reduce_max %' "$tool" explain attention.tdsl -e plain --format=json
expect 'contract</th><td>fuse stream(T): 1 walk' "$tool" explain attention.tdsl -e plain --format=html
expect 'fuse stream(S) gradient: 1 walk over S; states' "$tool" explain gradients.tdsl -e softmaxed
expect 'steps are skipped where data says so' "$tool" explain skip.tdsl -e documents --dim B=1
expect '% of the steps are skipped, others where data says so' "$tool" explain gpu.tdsl -e by_document --target cuda:sm_90a --dim B=1 --dim S=4096 --dim T=4096
expect '% of the steps are skipped' "$tool" explain gpu.tdsl -e causal --target sm_90a --dim B=1 --dim S=4096
expect '% of the steps are skipped' "$tool" explain skip.tdsl -e window --dim B=1 --dim S=4096 --dim T=4096
expect 'none: chosen by cost as fuse stream(T)' "$tool" explain "$plain/attention.tdsl" -e plain \
  --dim B=8 --dim S=64 --dim T=96 --dim D=16 --dim E=24
split=$("$tool" explain gpu.tdsl -e split_keys --target sm_90a --dim S=4096)
if grep -qF 'kernel 0, stream:' <<<"$split" && grep -qF 'stream(T_R): 1 walk' <<<"$split"; then ok
else bad "gpu.tdsl: split_keys is not what one axis of keys is:" "$split"; fi
# Why there is a second walk: what waits for what, the operation that no rule looks through and where it
# is, in all forms.
waits='; sum %8 is in walk 2 because it waits for sum %1, which no rule takes out of `where` at '
for format in text html; do
  expect "$waits$(grep -n 'where(z > mean' algebra.tdsl | cut -d: -f1):31: the condition waits" \
    "$tool" explain algebra.tdsl -e count_above_mean --format=$format
done
json=$("$tool" explain algebra.tdsl -e count_above_mean --format=json | tr -d ' \n' |
  sed 's/.*"later_walks":\(.*\),"rules":.*/\1/')
case $json in
  '[{"value":"sum%8","walk":2,"waits_for":"sum%1","reason":"condition_waits","text":"theconditionwaits'*'"obstacle":"where","at":{"file":"algebra.tdsl","line":'*'"rules_off":[]}]') ok ;;
  *) bad "explain --format=json of count_above_mean says $json" ;;
esac
expect '"rules_off": [' "$tool" explain algebra.tdsl -e cosine --no-rule=late_factors --format=json
expect 'is in walk 2 because it waits for reduce_max %1: `mul` at' "$tool" explain algebra.tdsl -e softmax_itself
# A rule that is switched off costs a walk, and which sum waits for what is told.
echo 'fn f(q: f32[S, T], v: bf16[T, E]) -> f32[S, E] {
  fuse stream(T) { return dot(bf16(softmax(q, T)), v, T) }
}' >"$plain/rules.tdsl"
expect 'f(T): 1 walk' sed 's/stream(/f(/' <("$tool" explain "$plain/rules.tdsl")
for rule in late_factors frames roundings; do
  expect ': 2 walks over T' "$tool" explain "$plain/rules.tdsl" --no-rule=$rule
  expect 'is in walk 2 because it waits for' "$tool" explain "$plain/rules.tdsl" --no-rule=$rule
  expect ", which $rule, switched off, would take out of \`" "$tool" explain "$plain/rules.tdsl" --no-rule=$rule
  check cpu "$plain/rules.tdsl" f --dim S=7 --dim T=33 --dim E=5 --no-rule=$rule
done
expect 'by scales' "$tool" opt gpu.tdsl -e scale_on_q --to=fused
expect 'rule_off' "$tool" opt attention.tdsl -e plain --no-rule=frames --to=fused
expect 'did you mean frames' "$tool" opt attention.tdsl -e plain --no-rule=frame --to=fused
expect 'rounded_between' "$tool" opt attention.tdsl -e halves --exact-casts --to=fused
if "$tool" opt rules.tdsl -e cast_after --exact-casts --to=fused | grep excess_precision
then bad 'rules.tdsl: a rounding drops out with --exact-casts'; else ok; fi
expect 'E0303' "$tool" check ../diag/E0303.tdsl
expect 'E0304' "$tool" check gpu_refused.tdsl --target sm_90a
expect 'E0306' "$tool" check ../diag/E0306.tdsl --target sm_80
"$tool" check ../diag/E0306.tdsl --target sm_90a --target cpu && ok || bad "check of E0306.tdsl finds errors on sm_90a"
expect 'on cuda:sm_90a' "$tool" check gpu_refused.tdsl --target cpu --target sm_90a
expect 'in memory dot' "$tool" explain blocks.tdsl -e mlp --target sm_80
"$tool" check attention.tdsl blocks.tdsl gpu_nests.tdsl --target sm_80 --target sm_90a && ok || bad "check finds errors"
"$tool" check attention.tdsl blocks.tdsl && ok || bad "check finds errors"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
