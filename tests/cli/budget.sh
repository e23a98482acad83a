# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Budgets of memory and what is explained of them: sourced by run.sh.

# ---- options
expect 2 "a budget of memory is bytes (536870912, 1.5GB, 512MiB) or a share from 0.0 to 1.0 (0.5), not '0,5'" \
  run layers.tdsl -e train4 --memory-budget=0,5
expect 2 "not '1.5'" explain layers.tdsl --memory-budget 1.5
expect 2 'is a share from 0 to 1' opt layers.tdsl --recompute-slack=2
expect 1 'error[E0275]' opt layers.tdsl -e unsized --memory-budget=1MiB
expect 0 '' opt layers.tdsl -e unsized --memory-budget=1MiB --dim N=64 --dim D=8
expect 0 '' opt layers.tdsl -e unsized '--memory-budget=1.5 MB' --dim N=64 --dim D=8
expect 2 "not '1.5 M'" opt layers.tdsl -e unsized '--memory-budget=1.5 M' --dim N=64 --dim D=8
expect 1 'error[E0276]' run layers.tdsl -e train4 --memory-budget=1000
expect 1 'note: this `' run layers.tdsl -e train4 --memory-budget=1000
# What is said to be needed is enough, and a byte less is not.
needed=$(sed -n 's/.*(\([0-9]*\) bytes).*/\1/p' err.txt)
expect 0 '' build layers.tdsl -e train4 --memory-budget="$needed" -o train4.o
expect 1 'error[E0276]' build layers.tdsl -e train4 --memory-budget=$((needed - 1)) -o train4.o
# As text too, which has the units of `explain`.
text=$(sed -n 's/.* at least \([0-9.]* [kMG]*B\) (.*/\1/p' err.txt)
holds "what is needed has a unit: $text" test -n "$text"
expect 0 '' build layers.tdsl -e train4 --memory-budget="$text" -o train4.o
# What is kept of compiled code is kept by budget.
expect 0 '' run layers.tdsl -e train4
expect 1 'error[E0276]' run layers.tdsl -e train4 --memory-budget=1000
# A program that was planned before is taken as it is, or not at all.
"$tool" opt layers.tdsl -e train4 >fused.ir
expect 2 'more than the budget' run fused.ir --memory-budget="$needed"

# ---- results: of 4 and 8 layers with half of the memory, against the interpreter
memory() { "$tool" explain layers.tdsl "$@" --format=json | sed -n 's/^  "memory_bytes": \([0-9]*\),/\1/p'; }
for layers in 4 8; do
  full=$(memory -e train$layers --memory-budget=1.0)
  half=$(memory -e train$layers --memory-budget=$((full / 2)))
  holds "$layers layers take half: $half of $full" test "$half" -le $((full / 2))
  expect 0 ': ok' run layers.tdsl -e train$layers --check --memory-budget=$((full / 2))
done

# ---- the same bits, dropout among them, whatever is computed again
run=(run layers.tdsl -e train8 --deterministic)
"$tool" "${run[@]}" --memory-budget=1.0 --threads 1 --out out1=dw.npy --out out2=dv.npy --out out3=dg.npy
for budget in 0.5 0.0; do
  "$tool" "${run[@]}" --memory-budget=$budget --threads 2 --out out1=dw2.npy --out out2=dv2.npy --out out3=dg2.npy
  for name in dw dv dg; do
    holds "$name is the same with a budget of $budget" cmp -s $name.npy ${name}2.npy
  done
done
"$tool" opt layers.tdsl -e train8 --deterministic --memory-budget=0.0 --print-after=remat >planned.ir
holds 'functions are computed again' grep -q '= tanh .* recomputed' planned.ir
run=(run layers.tdsl --deterministic --dim N=64 --dim D=32 --dim H=96)
"$tool" "${run[@]}" -e dropped --out out1=dw.npy
"$tool" "${run[@]}" -e dropped_again --out out1=dw2.npy
holds 'dropout in a checkpoint is the same' cmp -s dw.npy dw2.npy
"$tool" opt layers.tdsl -e dropped_again --deterministic --print-after=remat >planned.ir
holds 'random numbers are computed again' grep -q '= random_bits .* recomputed' planned.ir

# ---- explain
expect 0 'across the phases' explain layers.tdsl -e train4 --remat
expect 0 '"least_memory": true' explain layers.tdsl -e train4 --remat --format=json
holds 'the plan taken is known to keep all' \
  test "$("$tool" explain reasons.tdsl -e kept --remat --format=json |
    sed -n '/"taken": {/,/}/s/^ *"keeps_all": \(.*\),$/\1/p')" = true
expect 0 '</svg>' explain layers.tdsl -e train4 --remat --format=svg
expect 0 'the least memory</text>' explain layers.tdsl -e train4 --remat --format=svg
expect 0 'assuming N = 1024, D = 1024' explain layers.tdsl -e unsized --remat
expect 0 '"N = 1024"' explain layers.tdsl -e unsized --remat --format=json
expect 0 'there are no gradients' explain add.tdsl --remat
expect 0 'a budget of memory needs sizes' explain layers.tdsl -e unsized --remat --memory-budget=1MiB
expect 2 'text, json or svg' explain layers.tdsl -e train4 --remat --format=html
expect 2 'text, json or html' explain layers.tdsl -e train4 --format=svg
expect 2 'svg is a format of --remat' explain layers.tdsl -e train4 --format=svg
expect 2 'a picture is of one function; name one of train4, ' explain layers.tdsl --remat --format=svg
expect 2 'there is no picture of add: there are no gradients' explain add.tdsl -e add --remat --format=svg
# Of several functions the one that has gradients needs no name.
{ cat add.tdsl && sed -n '/^fn kept/,/^}/p' reasons.tdsl; } >one_of_two.tdsl
expect 0 '</svg>' explain one_of_two.tdsl --remat --format=svg

# Each reason occurs, with the program that is made for it.
occurs() {
  local reason=$1 file=$2
  shift 2
  expect 0 ": $reason" explain "$file" --remat "$@"
  expect 0 "  $(printf '%-23s' "$reason") " explain "$file" --remat "$@"
}
sized=(--target sm_90a --dim N=8192 --dim D=4096)
occurs saved_kept reasons.tdsl -e kept --target sm_90a
occurs saved_contract reasons.tdsl -e contract --target sm_90a
occurs saved_not_reproducible reasons.tdsl -e called --target sm_90a
occurs saved_in_memory_anyway reasons.tdsl -e norms "${sized[@]}"
occurs saved_cheaper reasons.tdsl -e norms "${sized[@]}"
occurs recomputed_fuses reasons.tdsl -e norms "${sized[@]}"
occurs recomputed_cheaper reasons.tdsl -e norms "${sized[@]}"
occurs recomputed_for_budget reasons.tdsl -e norms "${sized[@]}" --memory-budget=0.0
occurs recomputed_checkpoint reasons.tdsl -e again --target sm_90a
# Not where the forward pass reads it in f32 too.
expect 0 'bf16(%3) would halve it' explain reasons.tdsl -e wide --remat "${sized[@]}" --dim H=4096 --dim E=4096
"$tool" explain reasons.tdsl -e kept --target sm_90a --remat >kept.txt
holds 'nothing would halve what is read in f32' test "$(grep -c 'would halve' kept.txt)" = 0
