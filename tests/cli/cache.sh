# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# cache list|verify|clear, over directories that are sound, damaged, shared with other files, or no cache
# at all. Sourced by run.sh.

expect 2 'cache takes list, verify or clear' cache
expect 2 'cache takes list, verify or clear' cache list clear
expect 2 "not 'clera'; did you mean clear?" cache clera
expect 2 "--format is text or json, not 'html'" cache list --format html
expect 2 'the session has no cache' cache clear --cache-dir ''
TCF_CACHE_DIR='' expect 2 'the session has no cache' cache list
for task in list verify clear; do
  expect 3 'the cache directory '"$dir"'/not/there: No such file or directory' cache $task --cache-dir not/there
  expect 3 'add.tdsl: Not a directory' cache $task --cache-dir add.tdsl
  holds "the default directory may be missing: $task" eval \
    'env -u TCF_CACHE_DIR XDG_CACHE_HOME=$dir/no-home "$tool" cache $task | grep "0 entries, 0 B, in $dir/no-home/tcc-fuse" >/dev/null'
  holds "or be nowhere: $task" eval \
    '(env -u TCF_CACHE_DIR -u HOME -u XDG_CACHE_HOME "$tool" cache $task 2>&1 >/dev/null; true) >err.txt; grep -q "there is no cache directory" err.txt'
done

fill_cache() { # fill_cache DIR: two entries of code
  rm -rf "$1"
  for m in 2 3; do "$tool" run add.tdsl --dim N=2 --dim M=$m --cache-dir "$1" >/dev/null; done
}
entries() { find "$1" -regextype egrep -regex '.*/[0-9a-f]{32}\.tcfo' | wc -l; }

fill_cache kept
first=$(ls kept/*.tcfo | head -1) other=$(ls kept/*.tcfo | tail -1)
expect 0 '2 entries, ' cache list --cache-dir kept
holds 'each entry is a row' test "$(grep -cE '^[0-9-]{10} [0-9:]{8}  code +[0-9.]+ (B|KiB)  [0-9a-f]{32}\.tcfo$' out.txt)" = 2
holds 'its file is named' grep -q "$(basename "$first")" out.txt
expect 0 ': all are sound' cache verify --cache-dir kept
TCF_CACHE_DIR=kept expect 0 '2 entries, ' cache list
touch -d '2001-02-03 04:05:06' "$first"
"$tool" cache list --cache-dir kept >out.txt
holds 'the one used last is first' test "$(sed -n '2s/ .*//p' out.txt)" = 2001-02-03
"$tool" cache verify --cache-dir kept >out.txt
holds 'looking is no use of an entry' test "$(stat -c %Y "$first")" = "$(date -d '2001-02-03 04:05:06' +%s)"
"$tool" cache list --cache-dir kept --format json >list.json
holds 'JSON has the same' test "$(grep -c '"kind": "code"' list.json) $(grep -c '"count": 2' list.json)" = '2 1'
if command -v jq >/dev/null; then
  holds 'and adds up' eval 'jq -e "([.entries[].bytes] | add) == .bytes and .faults == 0" list.json >jq.txt'
else echo 'left out: lists of the cache in JSON are not added up (there is no jq)'
fi
"$tool" run several.tdsl -e softmax --dim N=8 --dim T=8 --autotune --cache-dir tuned >/dev/null 2>&1
expect 0 ' schedule ' cache list --cache-dir tuned

# damage: each kind is told, and the rest still looked at; then it is compiled again
damaged() { # damaged WHAT TEXT COMMAND...: of the first entry by the command
  local what=$1 text=$2
  shift 2
  fill_cache kept
  "$@"
  expect 4 "$(basename "$first"): $text" cache verify --cache-dir kept
  holds "$what: the other entry is sound" grep -q '^2 entries, .*: 1 cannot be used$' out.txt
  expect 0 '2 entries, ' cache list --cache-dir kept
  holds "$what: verify changes nothing" test "$(entries kept)" = 2
}
put() { printf '%b' "$2" | dd of="$first" bs=1 seek="$1" conv=notrunc status=none; }
damaged 'another byte' 'its checksum is not the one of its contents' put 100 '\377'
damaged 'cut off' 'its size is not the one that it was written with' truncate -s 90 "$first"
damaged 'longer' 'its size is not the one that it was written with' truncate -s +1 "$first"
damaged 'a size beyond all' 'its size is not the one that it was written with' put 8 '\377\377\377\377\377\377\377\377'
damaged 'empty' 'it is too short for an entry' truncate -s 0 "$first"
damaged 'other text' 'it does not begin as entries do' put 0 'abcd'
damaged 'another version' 'it is of another version of the format' put 4 '\377'
expect 0 ': it is of another version' cache list --cache-dir kept
"$tool" cache verify --cache-dir kept --format json >list.json
holds 'JSON says so too' grep -q '"fault": "it is of another version of the format"' list.json
for m in 2 3; do "$tool" run add.tdsl --dim N=2 --dim M=$m --cache-dir kept >/dev/null; done
expect 0 ': all are sound' cache verify --cache-dir kept
if [ "$(id -u)" != 0 ]; then
  damaged 'unreadable' 'Permission denied' chmod 0 "$first"
  chmod 500 kept
  expect 3 "$(basename "$other") cannot be removed: Permission denied" cache clear --cache-dir kept
  chmod 700 kept
else echo 'left out: unreadable entries of the cache (root can read all)'
fi

# clear takes entries and what was left of them, and nothing else
fill_cache kept
name=0123456789abcdef0123456789abcdef
mkdir kept/folder kept/$name.tcfo
echo note | tee kept/notes.txt kept/other.tcfo kept/${name%f}.tcfo kept/${name^^}.tcfo kept/$name.tcfo.old >kept/.hidden
ln -s "$dir/add.tdsl" "kept/${name//0/f}.tcfo"
touch -d '3 hours ago' kept/.tcc-fuse-aaaaaa
touch kept/.tcc-fuse-bbbbbb
truncate -s 10 "$first"
expect 0 '; 9 other files there' cache list --cache-dir kept
expect 0 'removed 2 entries, ' cache clear --cache-dir kept
holds 'what is damaged goes too, files that are not of the cache stay' test "$(ls -A kept | LC_ALL=C sort | xargs)" = \
  ".hidden .tcc-fuse-bbbbbb ${name^^}.tcfo ${name%f}.tcfo $name.tcfo $name.tcfo.old ${name//0/f}.tcfo folder notes.txt other.tcfo"
expect 2 'is no cache of tcc-fuse' cache clear --cache-dir kept
fill_cache kept
expect 0 'removed 2 entries, ' cache clear --cache-dir kept
expect 0 'removed 0 entries, 0 B' cache clear --cache-dir kept
holds 'the directory stays' test -d kept

# a directory that is no cache: nothing goes, not even what has the name of an entry or of a temporary file
mkdir project
echo 'int main(void) {}' | tee project/main.c >project/$name.tcfo
touch -d '3 hours ago' project/.tcc-fuse-aaaaaa
expect 2 "$dir/project is no cache of tcc-fuse" cache clear --cache-dir project
holds 'and all of it is there' test "$(ls -A project | wc -l)" = 3
# but a cache in which everything is damaged is one
fill_cache kept
truncate -s 0 kept/*.tcfo
expect 0 'removed 2 entries, 0 B' cache clear --cache-dir kept
expect 0 ': ok' run add.tdsl --dim N=2 --dim M=2 --check --cache-dir kept
rm -r kept project tuned
