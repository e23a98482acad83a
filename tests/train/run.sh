#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# Tests of examples/train on made-up data: both models learn, and a run that is stopped in any way goes
# on to the same bits.
# usage: run.sh TOOL, beside which the program `train` is
set -uo pipefail
train=$(dirname "$(realpath "${1:-build-test/tcc-fuse}")")/train
examples=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../examples/train")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 3
export XDG_CACHE_HOME=$dir/cache LC_ALL=C
. "$examples/arrays.sh"

passed=0 failed=0
# holds DESCRIPTION COMMAND...: the command succeeds
holds() {
  local what=$1
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $what"; fi
}
says() { # says TEXT: what the last run said has it
  if grep -qF -- "$1" out.txt err.txt; then passed=$((passed + 1))
  else failed=$((failed + 1)); echo "FAILED: '$1' is not in"; head -5 out.txt err.txt; fi
}

# ---- data: ten patterns with noise, and a text of a few words

# No awk need have the same rand().
random='function random() { state = state * 16807 % 2147483647; return state / 2147483647 }'
rows() { # rows SEED COUNT: 64 numbers and the class
  awk -v seed="$1" -v count="$2" "$random"' BEGIN {
    state = 5
    for (k = 0; k < 640; k++) pattern[k] = random() < 0.4 ? 11 : 2
    state = seed
    for (i = 0; i < count; i++) {
      class = int(10 * random())
      for (k = 0; k < 64; k++) printf "%d ", pattern[64 * class + k] + int(5 * random())
      print class
    }
  }'
}
mkdir digits text
for part in '' test_; do
  rows 7${part:+7} 200 >rows
  cut -d' ' -f1-64 rows | to_bytes | npy '200, 8, 8' >digits/${part}images.npy
  cut -d' ' -f65 rows | to_bytes | npy '200,' >digits/${part}labels.npy
  awk -v seed=3${part:+3} "$random"' BEGIN {
    state = seed
    split("1 2 3 0,4 5 0,6 7 8 9 0,3 2 1 0,9 4 0", words, ",")
    for (i = 0; i < 800; i++) print words[1 + int(5 * random())]
  }' | to_bytes >tokens
  npy "$(wc -c <tokens)," <tokens >text/${part}text.npy
done
printf '\nabcdefghi' | npy '10,' >text/letters.npy

digits=("$train" "$examples/digits.tdsl" --data digits --size B=8 --size C1=4 --size C2=8 --size H=16
        --deterministic --unit images)
text=("$train" "$examples/text.tdsl" --data text --size B=8 --size S=16 --size D=32 --size F=64
      --size V=10 --deterministic --unit letters --warmup 5 --rate 5e-3 --sample 20)
losses() { sed -n 's/^step [0-9]*\/.*loss \([0-9.]*\) .*/\1/p' "$1"; }
falls() { # falls FILE FACTOR: the last five losses are below FACTOR of the first five
  losses "$1" | awk -v by="$2" '{ x[NR] = $1 }
    END { for (i = 1; i <= 5; i++) { a += x[i]; b += x[NR - i + 1] }; exit !(NR > 20 && b < by * a) }'
}
last() { ls "$1"/*-step-*.safetensors 2>/dev/null | sort -V | tail -1; } # last FOLDER: the newest checkpoint
same() { cmp <(cat "$(last "$1")") <(cat "$(last "$2")"); }

# ---- both models learn

"${digits[@]}" --out whole --size B=32 --steps 150 --save 50 --log 1 --rate 1e-2 \
  --warmup 10 --drop 0 >out.txt 2>err.txt
holds 'the digits train' [ $? = 0 ]
holds 'the loss of the digits falls' falls out.txt 0.6
holds 'and it is right on others' grep -qE '^step 150  test loss [0-9.]+  accuracy ([89][0-9]|100)\.[0-9]+ %$' out.txt
holds 'two checkpoints stay' [ "$(ls whole/*-step-*.safetensors | wc -l)" = 2 ]
holds 'the plot is whole' [ "$(tail -1 whole/loss.svg)" = '</svg>' ]
holds 'a pipe gets plain lines' [ "$(grep -c $'[\r\033]' out.txt)" = 0 ]
"${text[@]}" --out letters --steps 60 --save 40 --log 1 >out.txt 2>err.txt
holds 'the text trains' [ $? = 0 ]
holds 'the loss of the text falls' falls out.txt 0.8
holds 'letters are written' [ "$(tail -n +62 out.txt | tr -d '\n' | tr -d a-i | wc -c)" = 0 ]
cp -r letters again
rm "$(last again)"
"${text[@]}" --out again --steps 60 --save 40 >out.txt 2>err.txt
says 'resumed at step 40'
holds 'the text goes on to the same bits' same letters again

# ---- runs that are killed

long=("${digits[@]}" --steps 200 --save 1 --warmup 10)
"${long[@]}" --out uninterrupted >out.txt 2>err.txt
"${long[@]}" --out threads --save 200 --threads 1 >out.txt 2>err.txt
holds 'threads do not change the bits' same uninterrupted threads
seed=$RANDOM
RANDOM=$seed
resumed=0
for turn in 1 2 3 4 5 6 7 8; do
  before=$(last killed)
  "${long[@]}" --out killed >out.txt 2>err.txt &
  # Some when they have begun to write, some at any time.
  for _ in $(seq $((turn % 2 * 200))); do [ "$(last killed)" = "$before" ] || break; sleep 0.01; done
  sleep "0.$((RANDOM % 2))$((RANDOM % 10))"
  kill -9 $! 2>/dev/null
  wait $! 2>/dev/null
  ! grep -qE '^resumed at step [1-9]' out.txt || resumed=$((resumed + 1))
done
"${long[@]}" --out killed >out.txt 2>err.txt
holds "killed runs go on to the same bits (RANDOM=$seed)" same uninterrupted killed
holds "killed runs were resumed (RANDOM=$seed)" [ $resumed -ge 2 ]
holds 'nothing was skipped' [ ! -s err.txt ]

"${long[@]}" --out asked >out.txt 2>err.txt &
for _ in $(seq 100); do [ ! -e asked ] || break; sleep 0.05; done
kill $! && wait $!
status=$?
holds 'SIGTERM ends it with a checkpoint' [ $status = 143 ]
says 'the same command goes on from there'
"${long[@]}" --out asked >out.txt 2>err.txt
says 'resumed at step'
holds 'and it goes on to the same bits' same uninterrupted asked

# ---- checkpoints that are no good

short=("${digits[@]}" --steps 40 --save 10 --warmup 10)
"${short[@]}" --out good >out.txt 2>err.txt
newest=$(basename "$(last good)")
id=${newest%%-*}
damaged() { # damaged DESCRIPTION REMARK COMMAND...: what it writes, of the newest checkpoint, is skipped
  local what=$1 remark=$2
  shift 2
  rm -rf bad
  cp -r good bad
  "$@" <"good/$newest" >"bad/$newest"
  "${short[@]}" --out bad >out.txt 2>err.txt
  holds "$what: it goes on" [ $? = 0 ]
  says "train: skipped bad/$newest"
  says "$remark"
  says 'resumed at step 30'
  holds "$what: the same bits" same good bad
}
size=$(wc -c <"good/$newest")
flip() { head -c $((size - 5000)); printf '\125\252'; tail -c 4998 "good/$newest"; }
damaged 'cut off' 'truncated' head -c $((size / 2))
damaged 'cut off in the header' 'truncated' head -c 100
damaged 'empty' 'train: skipped' true
damaged 'no header' 'train: skipped' tr 'a-z{' 'b-za['
damaged 'bits changed' 'its sum is wrong' flip
damaged 'another version' 'of another version' sed 's/checkpoint 1, tcc/checkpoint 0, tcc/'
damaged 'other options' 'of other options or data (seed=2, not 1)' sed 's/seed=1 steps=40/seed=2 steps=40/'
damaged 'other data' 'of other options or data (data)' sed 's/ data=[0-9a-f]\{16\}/ data=0123456789abcdef/'
rm -rf bad
cp -r good bad
for file in bad/*-step-*; do head -c 1000 "$file" >part; mv part "$file"; done
"${short[@]}" --out bad >out.txt 2>err.txt
holds 'where no checkpoint is good it begins anew' same good bad

# Another program: its checkpoints are told of, and stay.
sed 's/0\.999/0.99/g' "$examples/adam.tdsl" >adam.tdsl
cp "$examples/digits.tdsl" .
rm -rf bad
cp -r good bad
"$train" digits.tdsl "${short[@]:2}" --out bad >out.txt 2>err.txt
says "train: skipped bad/$newest: it is of another program"
holds 'of another run the newest is told of' [ "$(grep -c skipped err.txt)" = 1 ]
holds 'those of another program stay' cmp "good/$newest" "bad/$newest"
holds 'those of another program are not taken' [ "$(find bad -name "*-step-*" ! -name "$id-*" | wc -l)" = 2 ]
printf '// comment\n' | cat - "$examples/digits.tdsl" >digits.tdsl
cp "$examples/adam.tdsl" .
"$train" digits.tdsl "${short[@]:2}" --out good >out.txt 2>err.txt
says 'resumed at step 40'  # comments are not the program

# ---- the program of the README

sed -n '/^```tdsl$/,/^```$/p' "$examples/README.md" | sed '/^```/d' >mine.tdsl
"$train" mine.tdsl --data . --out mine >out.txt 2>err.txt
holds 'a size must be given' [ $? = 2 ]
says 'mine.tdsl: the size D is not given; --size gives it'
ones() { for ((i = 0; i < $1; i++)); do printf '\000\000\200\077'; done; } # as f32
ones 4 | npy '4,' | sed 's/|u1/<f4/' >y.npy
ones 8 | npy '4, 2' | sed 's/|u1/<f4/' >x.npy
"$train" mine.tdsl --data . --out mine --size D=2 --steps 100 --rate 0.1 --log 1 >out.txt 2>err.txt
holds 'the program of the README trains' [ $? = 0 ]
says 'step 100/100  loss 0.0000'

# ---- what is wrong, and what a terminal shows

"${digits[@]}" --out infinite --steps 200 --save 5 --rate 1e30 >out.txt 2>err.txt
holds 'a loss that is no number ends the run' [ $? = 1 ]
says 'the checkpoints before it stay'
"$train" >out.txt 2>err.txt
holds 'usage' [ $? = 2 ]
for asked in --help 'digits --help' 'text --steps 3 --help'; do
  # shellcheck disable=SC2086
  bash "$examples/run.sh" "$train" $asked >out.txt 2>err.txt
  holds "$asked needs no data" [ $? = 0 ]
  says 'usage: train'
done
"${digits[@]}" --out x --stepz 3 >out.txt 2>err.txt
says 'unknown option --stepz'
"${digits[@]}" --size Q=3 --out x >out.txt 2>err.txt
holds 'a size that nothing has is wrong' [ $? = 2 ]
says '--size: the program has no size symbol Q'
"${digits[@]}" --data none --out x >out.txt 2>err.txt
says 'none/images.npy'
if command -v script >/dev/null; then
  script -qec "$(printf '%q ' "${digits[@]}" --out shown --steps 20)" /dev/null >out.txt 2>err.txt </dev/null
  holds 'a terminal gets one line that changes' grep -q $'\r\033\[Kstep 20/20 .* images/s' out.txt
else echo 'left out: what a terminal shows (there is no script)'
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ]
