#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The study of examples/limits: tests/limits/run.sh TOOL [--rewrite]. Every form, plain and under contract, is the
# function that the first of its family is; under contract each is one kernel; docs/limits.md quotes
# messages as they are.
set -uo pipefail
tool=$(realpath "${1:?usage: tests/limits/run.sh TOOL [--rewrite]}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); printf '%s\n' "$@"; }

sizes='full B=1 H=2 S=35 T=131; causal B=1 H=2 S=131; alibi B=1 H=2 S=67; softcap B=1 H=2 S=67;
  softmax N=35 T=301; weighted N=35 T=1301; cross_entropy N=35 V=301; last_layer N=35 V=301;
  layernorm N=35 D=301; norm_product N=35 D=301 E=67; layer N=35 D=67 H=131;
  mlp N=35 D=67 H=131 E=33; gated N=35 D=67 H=131 E=33'

# The forms of a file, with those of the plain text as NAME_plain, and for every form a function that
# says whether both are what the first of the family is: NAME_same.
both() { # both FILE
  sed 's/bf16/f32/g' "$1"
  sed 's/bf16/f32/g; s/^fn \([a-z_0-9]*\)(/fn \1_plain(/; /^  fuse.* {$/d; /^  }$/d' "$1"
  awk '/^\/\/ ====/ { reference = "" }
       /^fn / {
         name = substr($2, 1, index($2, "(") - 1)
         head = $0
         gsub(/bf16/, "f32", head)
         sub(/^fn [a-z_0-9]*/, "", head)
         split(head, half, / -> /)
         names = half[1]
         gsub(/\[[^]]*\]/, "", names)
         gsub(/: [a-z0-9]+/, "", names)
         axes = half[2]
         sub(/^[^[]*\[/, "", axes)
         sub(/\].*/, "", axes)
         if (reference == "") { reference = name; given = names }
         # Other results, and masks that are data.
         if (half[2] ~ /^\(/ || axes ~ /=/ || names != given) next
         print "fn " name "_same" half[1] " -> (bool, bool) {"
         print "  let wanted = " reference "_plain" names
         print "  let most = 2e-5 * max(abs(wanted), " axes ")"
         print "  let off = abs(" name names " - wanted)"
         print "  let off_plain = abs(" name "_plain" names " - wanted)"
         print "  return (all(off <= most, " axes "), all(off_plain <= most, " axes "))\n}"
       }' "$1"
}

for file in examples/limits/*.tdsl; do
  name=$(basename "$file" .tdsl)
  both "$file" >"$work/$name.tdsl"
  sed 's/bf16/f32/g' "$file" >"$work/contract.tdsl"
  # shellcheck disable=SC2086
  awk -v sizes="$(echo $sizes)" -f examples/limits/forms.awk "$file" >"$work/forms"
  before=''
  while IFS=$'\t' read -r _ family form _ _ given; do
    given=$(printf -- '--dim %s ' $given)
    kernels=$("$tool" opt "$work/contract.tdsl" -e "$form" --to=fused | grep -c '^  kernel ')
    if [ "$kernels" = 1 ]; then ok; else bad "$file: $form is $kernels kernels under contract"; fi
    if grep -q "^fn ${form}_same(" "$work/$name.tdsl"; then
      # shellcheck disable=SC2086
      out=$("$tool" run "$work/$name.tdsl" -e "${form}_same" --no-cache $given 2>&1)
      if [ "$(grep -c '^out[01]: bool 1$' <<<"$out")" = 2 ]; then ok
      else bad "$file: $form is not the first form of $family:" "$out"; fi
    else
      # shellcheck disable=SC2086
      if out=$("$tool" run "$work/contract.tdsl" -e "$form" --no-cache --check $given 2>&1); then ok
      else bad "$file: $form:" "$out"; fi
    fi
    if [ "$family" != "$before" ]; then
      # shellcheck disable=SC2086
      if out=$("$tool" run "$work/$name.tdsl" -e "${form}_plain" --no-cache --check $given 2>&1); then ok
      else bad "$file: $form:" "$out"; fi
    fi
    before=$family
    # The peers' texts have the same forms.
    if grep -qE "^    \"$form\":" examples/limits/forms.py; then ok
    else bad "forms.py has no $form"; fi
  done <"$work/forms"
done

# On GPUs attention is one kernel in every form, and all that is not is told with its code.
while IFS=$'\t' read -r _ _ form _; do
  kernels=$("$tool" opt examples/limits/attention.tdsl -e "$form" --to=fused --target sm_90a |
            grep -c '^  kernel ')
  if [ "$kernels" = 1 ]; then ok; else bad "attention.tdsl: $form is $kernels kernels on sm_90a"; fi
done < <(awk -f examples/limits/forms.awk examples/limits/attention.tdsl)

# Equal programs, equal kernels: what a step of the walk does has the same text, by family. Where forms
# differ they are named.
step_of() { # step_of FUNCTION: without the numbers of values, in any order
  "$tool" opt examples/limits/attention.tdsl -e "$1" --to=tile --target sm_90a |
    sed -n '/ = loop T:/,/^    }/p' | sed 's/%[0-9]*/%/g; s/\ba[0-9]\b/a/; s/B_H/N/g; s/N \/ #H, N % #H/N/' | sort
}
while read -r same as; do
  for form in $as; do
    if cmp -s <(step_of "$same") <(step_of "$form"); then ok
    else bad "attention.tdsl: a step of $form is not that of $same:" "$(diff <(step_of "$same") <(step_of "$form"))"; fi
  done
done <<'EOF'
scaled divided cast_after cast_before scale_on_q scale_on_both as_sums written_out divided_last
scaled base_two negated reciprocal log_space exp_of_log shifted_by_mean shifted_by_minimum
scaled merged_heads other_order rounded_sum guarded statistics
compared compared_finite compared_cast hidden_weights
capped capped_after capped_by_sigmoid
EOF

# The table and the plot, without times.
forms=$(grep -c '^fn ' examples/limits/*.tdsl | awk -F: '{ n += $2 } END { print n }')
if examples/limits/limits.sh "$tool" --no-times --only weighted,gated --out "$work" >/dev/null &&
   [ "$(grep -c '^| `' "$work/limits.md")" = 8 ] &&
   grep -q '^| forms that are one kernel | [0-9]* of 8 | 8 of 8 |$' "$work/limits.md" &&
   [ "$(tail -1 "$work/limits.svg")" = '</svg>' ]; then ok
else bad "limits.sh does not write its table"; fi
[ "$forms" -ge 37 ] && ok || bad "there are $forms forms"

# Its figures are those of the table.
for row in 'forms that are one kernel' 'slowest over fastest form' 'time over the fastest'; do
  quoted=$(grep -F "| $row" docs/limits.md)
  if [ -n "$quoted" ] && grep -qxF -- "$quoted" bench/results/limits.md; then ok
  else bad "docs/limits.md does not quote bench/results/limits.md: $row"; fi
done

# The programs of docs/limits.md that do not compile, and what is said of them: stopN.tdsl, stopN.err.
awk -v work="$work" '
  /^```tdsl error=/ { n++; file = work "/stop" n ".tdsl"; kind = "program"; next }
  /^```$/ && kind == "program" { close(file); kind = ""; next }
  /^```text$/ && n && !(n in told) { told[n]; file = work "/stop" n ".err"; kind = "message"; next }
  /^```$/ && kind == "message" { close(file); kind = ""; next }
  kind { print > file }' docs/limits.md
stops=0
while [ -e "$work/stop$((stops + 1)).tdsl" ]; do
  stops=$((stops + 1))
  cp "$work/stop$stops.tdsl" "$work/limits.tdsl"
  target=cpu
  grep -q 'cuda:sm_90a' "$work/stop$stops.err" && target=sm_90a
  (cd "$work" && "$tool" check limits.tdsl --target $target) >"$work/stop$stops.said" 2>&1
  if out=$(diff "$work/stop$stops.err" "$work/stop$stops.said"); then ok
  elif [ "${2:-}" = --rewrite ]; then ok
  else bad "docs/limits.md, program $stops:" "$out"; fi
done
if [ "${2:-}" = --rewrite ]; then
  awk -v work="$work" '
    /^```tdsl error=/ { n++ }
    skip && /^```$/ { skip = 0 }
    !skip { print }
    /^```text$/ && n && !(n in told) {
      told[n]; skip = 1
      while ((getline line < (work "/stop" n ".said")) > 0) print line
    }' docs/limits.md >"$work/limits.doc" && cp "$work/limits.doc" docs/limits.md
fi
[ $stops -ge 5 ] && ok || bad "docs/limits.md has $stops programs that do not compile"

echo "$passed passed, $failed failed"
[ $failed = 0 ]
