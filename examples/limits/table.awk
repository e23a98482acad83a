# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# limits.md of two files: lines of family, form, system, kernels, bytes; of family, form, system,
# seconds, kernels. A time is a ratio: over that of the fastest form of the family, whoever runs it.

function ratio(x) { return sprintf(x < 9.95 ? "%.2f" : "%.1f", x) }

function title_of(family) { return family in title ? family ": " title[family] : family }

BEGIN {
  nsystems = split("plain,contract,torch.compile,XLA", systems, ",")
  heading["plain"] = "tcc-fuse"
  heading["contract"] = "under contract"
  heading["torch.compile"] = "torch.compile"
  heading["XLA"] = "XLA"
  n = split(titles, list, "|")
  for (i = 1; i <= n; i++) title[substr(list[i], 1, index(list[i], "=") - 1)] = substr(list[i], index(list[i], "=") + 1)
  n = split(sizes, list, /; */)
  for (i = 1; i <= n; i++) shape[substr(list[i], 1, index(list[i], " ") - 1)] = substr(list[i], index(list[i], " ") + 1)
}

!($1 in nforms) { family[++nfamilies] = $1 }
!(($1, $2) in seen) { form[$1, ++nforms[$1]] = $2; seen[$1, $2]; total++ }

FNR == NR { kernels[$1, $2, $3] = $4; bytes[$1, $2, $3] = $5; has[$3]; next }

{
  has[$3]
  if ($5 != "-") kernels[$1, $2, $3] = $5
  if (!(($1, $2, $3) in took) || $4 < took[$1, $2, $3]) took[$1, $2, $3] = $4
  if (!($1 in best) || $4 < best[$1]) best[$1] = $4
  if (!(($1, $3) in least) || $4 < least[$1, $3]) least[$1, $3] = $4
  if ($4 > most[$1, $3]) most[$1, $3] = $4
}

END {
  print "# Does fusion hold when a program is written in another way?\n"
  print head ". Written by `./dev limits`; [docs/limits.md](../../docs/limits.md) says what it means.\n"
  print "*kernels* is how many there are (for peers: calls of kernels and library functions in the compiled code), or the error of a"
  print "contract that does not hold; *MB* what they move at least, each array counted once a kernel; *time* is over the fastest form of"
  print "the family, whoever runs it: in turns of random order, on CPUs the lower quartile of the processor's time (one thread), on GPUs the"
  print "median. All texts of a family compute the same. ![times](limits.svg)\n"
  used = 0
  for (s = 1; s <= nsystems; s++) if (systems[s] in has) run[++used] = systems[s]
  line = "| |"; rule = "|---|"
  for (s = 1; s <= used; s++) { line = line " " heading[run[s]] " |"; rule = rule "---|" }
  print line "\n" rule
  one = "| forms that are one kernel |"
  spread = "| slowest over fastest form of a family, at worst |"
  mean = "| time over the fastest of the family, geometric mean |"
  for (s = 1; s <= used; s++) {
    count = logs = counted = 0; worst = 0; where = "-"
    for (i = 1; i <= nfamilies; i++) {
      f = family[i]
      for (k = 1; k <= nforms[f]; k++) {
        if (kernels[f, form[f, k], run[s]] == "1") count++
        t = took[f, form[f, k], run[s]]
        if (t) { logs += log(t / best[f]); counted++ }
      }
      if (least[f, run[s]] && most[f, run[s]] / least[f, run[s]] > worst) {
        worst = most[f, run[s]] / least[f, run[s]]
        where = ratio(worst) " (" f ")"
      }
    }
    one = one " " count " of " total " |"
    spread = spread " " where " |"
    mean = mean " " (counted ? ratio(exp(logs / counted)) : "-") " |"
  }
  print one "\n" spread "\n" mean
  print "\nBy family: the slowest form over the fastest, of each; in parentheses its fastest form over the fastest of all.\n"
  line = "| |"; rule = "|---|"
  for (s = 1; s <= used; s++) { line = line " " heading[run[s]] " |"; rule = rule "---|" }
  print line "\n" rule
  for (i = 1; i <= nfamilies; i++) {
    f = family[i]
    line = "| " f " |"
    for (s = 1; s <= used; s++)
      line = line " " (least[f, run[s]] ? ratio(most[f, run[s]] / least[f, run[s]]) " (" \
                       ratio(least[f, run[s]] / best[f]) ")" : "-") " |"
    print line
  }
  for (i = 1; i <= nfamilies; i++) {
    f = family[i]
    print "\n## " title_of(f) "\n"
    if (f in shape) print shape[f] "\n"
    line = "| form |"; rule = "|---|"; last = "| fastest, ms |"
    for (s = 1; s <= used; s++) {
      ours = run[s] == "plain" || run[s] == "contract"
      line = line " " heading[run[s]] ": kernels |" (ours ? " MB |" : "") " time |"
      rule = rule "---|---|" (ours ? "---|" : "")
      last = last " |" (ours ? " |" : "") " " (least[f, run[s]] ? sprintf("%.3g", 1e3 * least[f, run[s]]) : "-") " |"
    }
    print line "\n" rule
    for (k = 1; k <= nforms[f]; k++) {
      name = form[f, k]
      line = "| `" name "` |"
      for (s = 1; s <= used; s++) {
        key = f SUBSEP name SUBSEP run[s]
        line = line " " (key in kernels ? kernels[key] : "-") " |"
        if (run[s] == "plain" || run[s] == "contract")
          line = line " " (bytes[key] + 0 ? sprintf("%.3g", bytes[key] / 1e6) : "-") " |"
        line = line " " (took[key] ? ratio(took[key] / best[f]) : "-") " |"
      }
      print line
    }
    print last
  }
}
