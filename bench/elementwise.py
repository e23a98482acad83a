# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Elementwise chains, normalisations and losses against torch.compile and JAX.

usage: elementwise.py THREADS [PATTERN]     (run it under taskset with as many CPUs)
Prints a markdown table; one JSON object per case goes to the file named by TCF_BENCH_JSON.
"""
import gc
import json
import math
import os
import sys

import numpy as np

import cases
import timing


def contenders(case, threads):
    """{name: function without arguments}, and the largest difference between their results."""
    import jax
    import torch
    import bound

    arrays = case.inputs()
    torch_arrays = [torch.from_numpy(a) for a in arrays]
    torch._dynamo.reset()
    torch_fn = torch.compile(case.torch, dynamic=False)
    jax_arrays = [jax.device_put(a) for a in arrays]
    jax_fn = jax.jit(case.jax)
    found = {}
    with torch.no_grad():
        reference = torch_fn(*torch_arrays).numpy()

    def run_torch():
        with torch.no_grad():
            torch_fn(*torch_arrays)

    found["torch.compile"] = run_torch
    found["JAX"] = lambda: jax_fn(*jax_arrays).block_until_ready()
    error = float(np.abs(np.asarray(jax_fn(*jax_arrays)) - reference).max())
    if bound.available():
        function = bound.compile(os.path.join(os.path.dirname(__file__), "cases.tdsl"),
                                   case.function, arrays, threads)
        call = function.bind(arrays, [np.empty(reference.shape, np.float32)])
        call()
        ours = call.outputs[0]
        error = max(error, float(np.abs(ours - reference).max()))
        found["tcc-fuse"] = call
    return found, error, sum(a.nbytes for a in arrays) + reference.nbytes


def main(threads, pattern=""):
    import torch
    torch.set_num_threads(threads)
    print(f"\n### {threads} thread{'s' if threads > 1 else ''}\n")
    print("| case | tcc-fuse | GB/s | torch.compile | JAX | ratio (best) | max diff |")
    print("|---|---|---|---|---|---|---|")
    ratios = []
    for case in cases.build():
        if pattern not in case.name:
            continue
        found, error, size = contenders(case, threads)
        times = timing.interleave(found)
        cells = {n: f"{timing.show(m)} ({timing.show(b)})" for n, (m, b) in times.items()}
        ours = times.get("tcc-fuse")
        peers = [times["torch.compile"], times["JAX"]]
        ratio = ""
        if ours:
            r = min(p[0] for p in peers) / ours[0]
            ratios.append(r)
            ratio = f"{r:.2f} ({min(p[1] for p in peers) / ours[1]:.2f})"
        rate = f"{size / ours[0] / 1e9:.1f}" if ours else ""
        print(f"| {case.name} | {cells.get('tcc-fuse', '')} | {rate} | {cells['torch.compile']} | "
              f"{cells['JAX']} | {ratio} | {error:.1e} |", flush=True)
        if os.environ.get("TCF_BENCH_JSON"):
            with open(os.environ["TCF_BENCH_JSON"], "a") as out:
                json.dump({"case": case.name, "threads": threads, "times": times}, out)
                out.write("\n")
        del found
        gc.collect()
    if ratios:
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"\ngeometric mean {mean:.2f}, worst {min(ratios):.2f}, {len(ratios)} cases")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:3])
