# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Plans: what the schedule of each kernel is, as text that can be edited. Sourced by run.sh.

# What is printed is what runs: held to its plan, every program gives the same tile text.
for file in "$here"/../../examples/*.tdsl "$here"/../golden/[cg]pu/*.tdsl "$here"/../contracts/*.tdsl; do
  for target in cpu cpu:x86-64-v3 cuda:sm_80 cuda:sm_90a; do
    "$tool" opt "$file" --to=plan --target $target >whole.plan 2>/dev/null || continue
    "$tool" opt "$file" --to=tile --target $target >direct.tile
    holds "the plan of $file for $target gives its tile text" \
      cmp -s <("$tool" opt whole.plan --to=tile --target $target 2>&1) direct.tile
    holds "the plan of $file for $target has itself as its plan" \
      cmp -s <("$tool" opt whole.plan --to=plan --target $target 2>&1) whole.plan
  done
done

# Edited ones run.
cat >attend.tdsl <<'EOF'
fn attend(q: bf16[B, S, D = 64], k: bf16[B, T, D], v: bf16[B, T, E = 64]) -> bf16[B, S, E] {
  fuse stream(T) { let o = bf16(dot(bf16(softmax(dot(q, k, D) * 0.125, T)), v, T)) }
  return o
}
EOF
"$tool" opt attend.tdsl --to=plan --target cuda:sm_90a >attend.plan
expect 0 'plan stages=2,m=192,n=128,skew=1,turns=1 {' opt attend.plan --to=plan --target cuda:sm_90a
sed 's/n=128,skew=1,turns=1/n=96,skew=0/' attend.plan >edited.plan
expect 0 'plan stages=2,m=192,n=96,skew=0' opt edited.plan --to=plan --target cuda:sm_90a
expect 0 ': ok' run edited.plan --target interp-tile:sm_90a --dim B=1 --dim S=200 --dim T=300 --check
expect 0 'loop T:96' opt edited.plan --to=tile --target cuda:sm_90a
expect 0 'm=128' opt edited.plan --to=plan --target cuda:sm_90a --schedule m=128  # options come first
expect 0 ': ok' run attend.plan --target interp-tile:sm_90a --dim B=1 --dim S=200 --dim T=300 --check

sed 's/unit=wgmma/unit=mma/; s/m=[0-9]*,n=[0-9]*,//' <("$tool" opt "$here/../gpu/matmul.tdsl" --to=plan --target sm_90a) >unit.plan
expect 0 'unit=mma' opt unit.plan --to=plan --target sm_90a

# What cannot be is not left out without a word.
for wrong in 'm=100 m=100, which it cannot be: it would be' 'mr=4 nothing of the kernel follows from it' \
             'gird=4 gird, which is no key' 'stages=99 stages is from 1 to 16'; do
  sed "s/plan stages=2,m=192.*turns=1/plan ${wrong%% *}/" attend.plan >wrong.plan
  expect 2 "${wrong#* }" opt wrong.plan --to=tile --target cuda:sm_90a
  expect 2 "${wrong#* }" run wrong.plan --target interp-tile:sm_90a --dim B=1 --dim S=8 --dim T=8
done
sed 's/plan stages=2/plan =2/' attend.plan >wrong.plan
expect 1 'a key of a plan' check wrong.plan
