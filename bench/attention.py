# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention in f32 against torch's fused attention.

usage: attention.py THREADS [PATTERN]     (run it under taskset with as many CPUs)
Prints a markdown table.
"""
import gc
import os
import statistics
import sys
import time

import numpy as np

import timing

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attention.tdsl")
# batch, heads, queries and keys, head size
CASES = [("plain", 4, 12, 1024, 64), ("causal", 1, 12, 2048, 64), ("plain", 1, 12, 2048, 64),
         ("plain", 1, 8, 1024, 128), ("causal", 1, 8, 1024, 128), ("plain", 2, 12, 197, 64),
         ("plain", 1, 2, 4096, 64), ("causal", 1, 2, 4096, 64), ("window", 1, 2, 4096, 64)]


def contenders(function, batch, heads, length, size, threads):
    """{name: function without arguments}, and the largest difference between their results."""
    import torch
    import tccfuse

    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((batch, heads, length, size), dtype=np.float32) for _ in range(3)]
    q, k, v = (torch.from_numpy(a) for a in arrays)
    ours = tccfuse.compile(PROGRAM, function, arrays, threads).bind(
        arrays, [np.empty_like(arrays[0])])
    fused = torch.nn.functional.scaled_dot_product_attention
    mask = None
    if function == "window":
        at = torch.arange(length)
        mask = (at[None, :] <= at[:, None]) & (at[:, None] - at[None, :] < 256)

    def run_torch():
        with torch.no_grad():
            return fused(q, k, v, attn_mask=mask, is_causal=function == "causal")

    ours()
    error = float(np.abs(ours.outputs[0] - run_torch().numpy()).max())
    return {"tcc-fuse": ours, "torch": run_torch}, error


def products(function, length):
    """Pairs of a query and a key that are not masked."""
    if function == "causal":
        return length * (length + 1) // 2
    if function == "window":
        return sum(min(256, s + 1) for s in range(length))
    return length * length


def paired(found, seconds):
    """Single calls in turns: medians of either, and of the quotients of neighbours."""
    times = {name: [] for name in found}
    end = time.perf_counter() + seconds * len(found)
    for function in found.values():
        timing.warm_up(function, 0.1)
    while time.perf_counter() < end or len(times["torch"]) < 7:
        for name, function in found.items():
            timing.wait_until_quiet()
            begin = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - begin)
    quotients = [t / o for t, o in zip(times["torch"], times["tcc-fuse"])]
    return {n: (statistics.median(t), min(t)) for n, t in times.items()}, statistics.median(quotients)


def main(threads, pattern=""):
    import torch
    torch.set_num_threads(threads)
    print(f"\n### {threads} thread{'s' if threads > 1 else ''}\n")
    print("| case | tcc-fuse | GFLOP/s | torch | ratio (best) | max diff |")
    print("|---|---|---|---|---|---|")
    for function, batch, heads, length, size in CASES:
        name = f"{function} {batch}x{heads}x{length}x{size}"
        if pattern not in name:
            continue
        found, error = contenders(function, batch, heads, length, size, threads)
        times, ratio = paired(found, float(os.environ.get("TCF_BENCH_SECONDS", 2)))
        cells = {n: f"{timing.show(m)} ({timing.show(b)})" for n, (m, b) in times.items()}
        flops = 4 * batch * heads * size * products(function, length)
        best = times["torch"][1] / times["tcc-fuse"][1]
        print(f"| {name} | {cells['tcc-fuse']} | {flops / times['tcc-fuse'][0] / 1e9:.0f} | "
              f"{cells['torch']} | {ratio:.2f} ({best:.2f}) | {error:.1e} |", flush=True)
        del found
        gc.collect()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:3])
