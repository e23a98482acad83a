# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Sourced by run.sh: the state of the host, signals, and files that may not grow.
# shellcheck shell=bash disable=SC2154  # dir, here, tool, expect and holds are those of run.sh

left_out() { echo "left out: $*"; }
loaded() { # loaded ASSIGNMENTS... COMMAND...: with preload.c in the tool
  # A test that was started in the background has these ignored, and the tool leaves it so.
  env --default-signal=HUP,INT,TERM "LD_PRELOAD=$dir/preload.so" "$@"
}
no_temporaries() { [ -z "$(find . -name '.tcc-fuse-*')" ]; }
can_load=1
# Sanitizers want to be loaded first.
if nm "$tool" 2>/dev/null | grep __asan_init >/dev/null ||
  ! gcc -shared -fPIC "$here/preload.c" -o preload.so -ldl 2>err.txt; then
  can_load=
  left_out 'tests that load something into the tool'
fi

# ---- the locale: of the environment, and of a library that comes with the tool
echo 'fn main(x: f32[N]) -> f32[N] { return x * 0.5 + 2.75 }' >point.tdsl
point=(run point.tdsl --no-cache --dim N=2 --check --in x=uniform:0.25:0.75)
say() { "$@" "${point[@]}"; "$@" explain point.tdsl; "$@" opt point.tdsl --to=tile; }
mkdir -p locales
if ! localedef -i de_DE -f UTF-8 locales/de_DE.UTF-8 >/dev/null 2>&1; then
  left_out 'locales: there is no localedef, or no de_DE'
else
  plain=$(say "$tool")
  holds 'a number has a point' grep -q '2\.75' <<<"$plain"
  german=(env "LOCPATH=$dir/locales" LC_ALL=de_DE.UTF-8)
  holds 'whatever LC_ALL is' test "$plain" = "$(say "${german[@]}" "$tool")"
  if [ -n "$can_load" ]; then
    german+=("LD_PRELOAD=$dir/preload.so" PRELOAD_LOCALE=de_DE.UTF-8)
    holds 'and whoever sets the locale' test "$plain" = "$(say "${german[@]}" "$tool")"
  fi
fi

# ---- signals while files are written: the files that were there stay, and nothing else is left
cat >unnamed.c <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
int main(void) { return open(".", O_TMPFILE | O_WRONLY, 0600) < 0; }
C
unnamed=1
if ! gcc unnamed.c -o unnamed || ! ./unnamed; then
  unnamed=
  left_out 'SIGKILL: this file system has no unnamed files'
fi
ends_by() { # ends_by NUMBER WHAT ASSIGNMENT... -- ARGUMENTS...: by that signal; old.* stay
  local number=$1 what=$2 assignments=() status
  shift 2
  while [ "$1" != -- ]; do assignments+=("$1"); shift; done
  shift
  rm -f new.*
  for ending in npy npz safetensors o; do echo old >old.$ending; done
  loaded "PRELOAD_SIGNAL=$number" "${assignments[@]}" "$tool" "$@" >out.txt 2>err.txt
  status=$?
  holds "signal $number ends it: $what" test $status = $((128 + number))
  holds "nothing is left by signal $number: $what" no_temporaries
  holds "nor made: $what" test ! -e new.npy -a ! -e new.h
  holds "files stay when signal $number comes: $what" \
    eval 'for ending in npy npz safetensors o; do [ "$(cat old.$ending)" = old ]; done'
}
if [ -n "$can_load" ]; then
  for number in 1 2 15 9; do
    for named in '' PRELOAD_NAMED=1; do
      if [ $number = 9 ] && { [ -n "$named" ] || [ -z "$unnamed" ]; }; then continue; fi
      for out in old.npy old.npz:k old.safetensors:k new.npy; do
        ends_by $number "--out $out $named" ${named:+"$named"} -- \
          run add.tdsl --no-cache --dim N=50 --dim M=50 --out $out
      done
      ends_by $number "build $named" ${named:+"$named"} -- build add.tdsl -o old.o --header new.h
      ends_by $number "the cache $named" ${named:+"$named"} -- run add.tdsl --dim N=5 --dim M=7 \
        --cache-dir "$dir/ended$number$named"
    done
  done
  # Without unnamed files all is as with them.
  for out in named.npy named.npz:k named.safetensors:k; do
    loaded PRELOAD_NAMED=1 "$tool" run add.tdsl --dim N=5 --dim M=5 --out $out >/dev/null
    "$tool" run add.tdsl --dim N=5 --dim M=5 --out "un$out"
    holds "$out is the same by either way" cmp -s "${out%:k}" "un${out%:k}"
  done
  holds 'and nothing is left' no_temporaries
fi
# A linker that has the tool ended while it runs.
mkdir -p bin tmp
printf '#!/bin/sh\nkill -TERM $PPID\nexec %s "$@"\n' "$(command -v cc)" >bin/cc
chmod +x bin/cc
PATH=$dir/bin:$PATH TMPDIR=$dir/tmp "$tool" build add.tdsl -o linked.so >out.txt 2>err.txt
holds 'SIGTERM during linking ends it' test $? = 143
holds 'and leaves no directory' test -z "$(ls -A tmp)"

# ---- files that may not grow: an error, and nothing is left
for out in big.npy big.npz:k big.safetensors:k; do
  (ulimit -f 8; exec "$tool" run add.tdsl --no-cache --dim N=300 --dim M=300 --out $out >out.txt 2>err.txt)
  holds "a file that may not grow is an error: $out" test $? = 3
  holds "and is said: $out" grep -q "${out%:k}: .*File too large" err.txt
  holds "and is not there: $out" test ! -e "${out%:k}"
done
(ulimit -f 1; exec "$tool" build add.tdsl -o big.o >out.txt 2>err.txt)
holds 'nor does an object' test $? = 3
holds 'of which it is said' grep -q 'big.o: File too large' err.txt
(ulimit -f 0; exec "$tool" run add.tdsl --dim N=3 --dim M=3 --cache-dir limited 2>&1) | cat >out.txt
holds 'a cache that may not grow is done without' grep -q 'out: f32' out.txt
(ulimit -f 1; exec "$tool" opt several.tdsl --to=asm -e softmax >text.txt 2>err.txt)
holds 'standard output neither' test $? = 3
holds 'nothing is left of them' no_temporaries
holds 'a full device is an error' test "$("$tool" run add.tdsl --dim N=300 --dim M=300 \
  --out - 2>&1 >/dev/full | grep -c 'standard output')" = 1
(set +o pipefail; "$tool" run add.tdsl --dim N=300 --dim M=300 --out - 2>err.txt | head -c 1 >/dev/null)
holds 'as is a reader that ends early' grep -q 'standard output: Broken pipe' err.txt

# ---- every allocation of the tool fails once: status 3 and a message, or it does without
if [ -n "$can_load" ]; then
  "$tool" run add.tdsl --no-cache --dim N=3 --dim M=4 --out given.npz:x
  short=(run add.tdsl --target interp --dim N=3 --in x=@given.npz --in y=given.npz:x --out all.npz
    --out out=more.npy)
  loaded PRELOAD_COUNT=count.txt "$tool" "${short[@]}" >/dev/null
  wrong=0
  for ((k = 0; k < $(cat count.txt); k++)); do
    rm -f all.npz more.npy
    loaded PRELOAD_FAIL=$k "$tool" "${short[@]}" >out.txt 2>err.txt
    status=$?
    if [ $status = 0 ] && [ -s all.npz ] && [ -s more.npy ]; then continue; fi
    if [ $status = 3 ] && grep -qi 'memory' err.txt && [ ! -e all.npz ] && [ ! -e more.npy ]; then continue; fi
    wrong=$((wrong + 1))
    echo "allocation $k: status $status: $(head -1 err.txt)"
  done
  holds "each of $(cat count.txt) allocations may fail" test "$wrong" = 0 -a "$(cat count.txt)" -gt 40
fi

# ---- one cache, that several processes use while another one clears and damages it, and some are
# killed: results are right
mkdir -p shared
until=$((SECONDS + 4))
(while [ $SECONDS -lt $until ]; do
  rm -f shared/*
  sleep 0.11
  for file in shared/*; do
    [ -f "$file" ] && printf 'damage' | dd of="$file" bs=1 seek=$((RANDOM % 3000)) conv=notrunc status=none 2>/dev/null
  done
done) &
clearing=$!
wrong=0
while [ $SECONDS -lt $until ]; do
  runs=()
  for i in 1 2 3; do
    "$tool" run add.tdsl --cache-dir shared --dim N=$((RANDOM % 3 + 1)) --dim M=$((RANDOM % 3 + 5)) \
      --check >"shared.$i.txt" 2>&1 &
    runs+=($!)
  done
  if [ $((RANDOM % 2)) = 0 ]; then sleep 0.0$((RANDOM % 10)); kill -KILL "${runs[0]}" 2>/dev/null; fi
  for i in 1 2 3; do
    wait "${runs[i - 1]}" 2>/dev/null
    status=$?
    if [ $status != 0 ] && [ $status != 137 ]; then wrong=$((wrong + 1)); head -3 "shared.$i.txt"; fi
  done
done
wait $clearing
holds 'a shared cache that is cleared and damaged does not change results' test $wrong = 0
