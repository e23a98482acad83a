# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The forms of a file: lines of FILE, family, form, inputs, results, sizes, separated by tabs.
#
#   // ==== causal: no query sees later keys
#   fn compared(q: bf16[B, S, D = 128], k: bf16[B, T = S, D]) -> bf16[B, S] {
#                                                ──▶  attention  causal  compared
#                                        q=bf16:1,512,128 k=bf16:1,512,128  bf16:1,512  B=1 S=512
#
# usage: awk -v sizes="full B=1 S=512; softmax N=64 T=100" -f forms.awk FILE

function size_of(text,    parts) {
  if (text ~ /^[0-9]+$/) return text
  if (split(text, parts, / \* /) == 2) return size_of(parts[1]) * size_of(parts[2])
  return text in size ? size[text] : "?" text
}

# "bf16[B, S, D = 128]" is bf16:1,512,128
function shape_of(type,    axes, n, i, sides, out) {
  if (!match(type, /\[.*\]/)) return type ":"
  n = split(substr(type, RSTART + 1, RLENGTH - 2), axes, /, */)
  for (i = 1; i <= n; i++) {
    if (split(axes[i], sides, / = /) == 2) size[sides[1]] = size_of(sides[2])
    else if (!(sides[1] in fixed)) symbols[sides[1]]
    fixed[sides[1]]
    out = out (i > 1 ? "," : "") size_of(sides[1])
  }
  return substr(type, 1, index(type, "[") - 1) ":" out
}

# Commas between brackets do not end a type.
function types_of(text, names,    i, c, depth, out, item) {
  out = ""
  item = ""
  for (i = 1; i <= length(text) + 1; i++) {
    c = i > length(text) ? "," : substr(text, i, 1)
    if (c == "[") depth++
    if (c == "]") depth--
    if (c != "," || depth) { item = item c; continue }
    sub(/^ +/, "", item)
    if (names) out = out (out ? " " : "") substr(item, 1, index(item, ":") - 1) "=" \
                     shape_of(substr(item, index(item, ":") + 2))
    else out = out (out ? " " : "") shape_of(item)
    item = ""
  }
  return out
}

/^\/\/ ==== / {
  family = $3
  sub(/:$/, "", family)
  split("", size)
  groups = split(sizes, group, /; */)
  for (i = 1; i <= groups; i++) {
    n = split(group[i], word, / +/)
    if (word[1] != family) continue
    for (k = 2; k <= n; k++) size[substr(word[k], 1, index(word[k], "=") - 1)] = substr(word[k], index(word[k], "=") + 1)
  }
}

/^fn / {
  file = FILENAME
  sub(/.*\//, "", file)
  sub(/\.tdsl$/, "", file)
  form = substr($2, 1, index($2, "(") - 1)
  split($0, half, / -> /)
  inputs = half[1]
  sub(/^[^(]*\(/, "", inputs)
  sub(/\)$/, "", inputs)
  split("", fixed)
  split("", symbols)
  inputs = types_of(inputs, 1)
  given = ""
  for (name in symbols) given = given (given ? " " : "") name "=" size_of(name)
  results = half[2]
  sub(/ \{$/, "", results)
  if (results ~ /^\(/) results = substr(results, 2, length(results) - 2)
  print file "\t" family "\t" form "\t" inputs "\t" types_of(results, 0) "\t" given
}
