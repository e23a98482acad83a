# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# limits.svg of the files of table.awk: a line for each form, a mark for each system at its time over
# that of the fastest form of the family. In black and grey, marks of different shape.

function x_of(r) { return left + (width - left - right) * log(r < 1 ? 1 : r > top ? top : r) / log(top) }

function mark(kind, x, y) {
  if (kind == "plain") return sprintf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.6\" fill=\"white\" stroke=\"black\"/>", x, y)
  if (kind == "contract") return sprintf("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.6\" fill=\"black\" stroke=\"black\"/>", x, y)
  if (kind == "XLA") return sprintf("<path d=\"M%.1f %.1fl6 6m0 -6l-6 6\" stroke=\"black\"/>", x - 3, y - 3)
  return sprintf("<path d=\"M%.1f %.1fl4 7h-8z\" fill=\"#bbb\" stroke=\"black\"/>", x, y - 4)
}

function text(x, y, what, more) {
  return sprintf("<text x=\"%.1f\" y=\"%.1f\" %s>%s</text>", x, y, more, what)
}

BEGIN {
  width = 720; left = 165; right = 20; row = 11.5; gap = 20
  nsystems = split("torch.compile,XLA,plain,contract", systems, ",")
  n = split(titles, list, "|")
  for (i = 1; i <= n; i++) title[substr(list[i], 1, index(list[i], "=") - 1)] = substr(list[i], index(list[i], "=") + 1)
}

!($1 in nforms) { family[++nfamilies] = $1 }
!(($1, $2) in seen) { form[$1, ++nforms[$1]] = $2; seen[$1, $2]; total++ }
FNR == NR { next }

{
  has[$3]
  if (!(($1, $2, $3) in took) || $4 < took[$1, $2, $3]) took[$1, $2, $3] = $4
  if (!($1 in best) || $4 < best[$1]) best[$1] = $4
}

END {
  top = 2
  for (key in took) {
    split(key, part, SUBSEP)
    while (took[key] > top * best[part[1]] && top < 64) top *= 2
  }
  height = 62 + row * total + gap * nfamilies
  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\"", width, height, width, height
  print " font-family=\"sans-serif\" font-size=\"9\" stroke-width=\"0.8\">"
  print "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"
  print text(8, 14, "Time of every form over the fastest of its family", "font-size=\"12\" font-weight=\"bold\"")
  print text(8, 27, head, "fill=\"#444\"")
  x = 8
  name["plain"] = "tcc-fuse, plain"; name["contract"] = "tcc-fuse, under contract"
  name["torch.compile"] = "torch.compile"; name["XLA"] = "XLA"
  for (s = nsystems; s >= 1; s--) {
    if (!(systems[s] in has)) continue
    print mark(systems[s], x + 4, 38) text(x + 13, 41, name[systems[s]], "")
    x += 30 + 5.2 * length(name[systems[s]])
  }
  y = 50
  for (r = 1; r <= top; r *= 2) {
    printf "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x_of(r), y + 4, x_of(r), height - 6, r == 1 ? "#666" : "#ddd"
    print text(x_of(r), y + 1, r == 1 ? "1" : r " x", "text-anchor=\"middle\"")
  }
  for (i = 1; i <= nfamilies; i++) {
    f = family[i]
    y += gap
    what = f (f in title ? ": " title[f] : "")
    printf "<rect x=\"6\" y=\"%.1f\" width=\"%.1f\" height=\"12\" fill=\"white\"/>\n", y - 12, 5.4 * length(what)
    print text(8, y - 3, what, "font-weight=\"bold\"")
    for (k = 1; k <= nforms[f]; k++) {
      y += row
      print text(left - 10, y - 1, form[f, k], "text-anchor=\"end\"")
      printf "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", left, y - 4, width - right, y - 4
      for (s = 1; s <= nsystems; s++) {
        t = took[f, form[f, k], systems[s]]
        if (t) print mark(systems[s], x_of(t / best[f]), y - 4)
      }
    }
  }
  print "</svg>"
}
