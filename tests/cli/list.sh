# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# list functions FILE: signatures, from each level, as text and as JSON. Sourced by run.sh.

expect 2 'list functions takes one file' list functions
expect 2 'list functions takes one file' list functions add.tdsl several.tdsl
expect 2 'did you mean functions?' list function add.tdsl
expect 2 '--format is for list functions' list ops --format json
expect 2 "--format is text or json, not 'html'" list functions add.tdsl --format html
expect 0 '' list functions several.tdsl
cat >wanted.txt <<'EOF'
fn softmax(z: f32[N, T]) -> f32[N, T]
fn pick(table: f32[V, D], ids: i32[N]) -> f32[N, D]
fn both(x: f32[N, M = N]) -> (f32[N, M = N], f32[N, M = N])
fn same(x: f32[N, A], y: f32[N, B]) -> f32[N]
fn backwards(x: f32[D]) -> f32[M = 3, J = 2] where D >= 14
EOF
holds 'functions have their signatures' cmp wanted.txt out.txt
for level in graph tile; do
  "$tool" opt several.tdsl --to=$level >several.ir
  expect 0 'fn pick(table: f32[V, D], ids: i32[N]) -> f32[N, D]' list functions several.ir
done
echo 'fn f(x: bf16[N, D], n: i64) -> (f32, f32[D]) where D % 4 == 0, N >= 2, N <= 64 {
  return (sum(f32(x), N, D) + f32(n), sum(f32(x), N))
}
fn g(x: real[N]) -> real[N] { return x }' >demands.tdsl
expect 0 'fn f(x: bf16[N, D], n: i64) -> (f32, f32[D]) where N >= 2, N <= 64, D % 4 == 0' \
  list functions demands.tdsl
holds 'what is generic cannot be called' test "$(wc -l <out.txt)" = 1
"$tool" list functions demands.tdsl --format json | tr -d ' \n' >list.json
holds 'JSON has sizes' grep -qF '"sizes":[{"name":"N","least":2,"most":64,"multiple_of":1},{"name":"D","least":0,"most":null,"multiple_of":4}]' list.json
holds 'and axes' grep -qF '{"name":"x","type":"bf16","axes":[{"name":"N","size":"N"},{"name":"D","size":"D"}]}' list.json
echo 'fn g(x: real[N]) -> real[N] { return x }' >generic.tdsl
expect 0 'generic.tdsl has no function with a concrete signature' list functions generic.tdsl
expect 0 '[]' list functions generic.tdsl --format json
expect 1 'broken.tdsl:' list functions broken.tdsl
expect 3 'none.tdsl: No such file' list functions none.tdsl
