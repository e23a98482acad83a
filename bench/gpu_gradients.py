# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times forward and backward on an NVIDIA GPU (gpu_gradients.tdsl) beside PyTorch's; writes a table in Markdown.

usage: gpu_gradients.py [NAME...] [--no-compile] [--unordered-sums] [--out FILE]     NAME: of CASES

Random normal inputs; "burst" and "sustained" as in gpu_attention.py. Peers: torch.compile, eager, and for attention
scaled_dot_product_attention with cuDNN, each forward and backward. MiB: the most that is allocated beyond
inputs and results while it runs. error: the largest difference of a result from eager's, over its largest element.
"""
import math
import os
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import gpu
import gpu_attention

HERE = os.path.dirname(os.path.abspath(__file__))
UNORDERED_SUMS = 1048576  # include/tcc_fuse.h
PROGRAM = os.path.join(HERE, "gpu_gradients.tdsl")


def rotate(x, angle):
    a, b = x.float().chunk(2, -1)
    c, s = torch.cos(angle), torch.sin(angle)
    return torch.cat([a * c - b * s, b * c + a * s], -1).to(x.dtype)


def layer(x, wq, wk, wv, wo, wg, wu, wd, g1, g2, angle):
    b, s, c = x.shape
    n = F.rms_norm(x, (c,), g1, 1e-5)
    q = rotate(F.linear(n, wq).view(b, s, -1, 128).transpose(1, 2), angle)
    k = rotate(F.linear(n, wk).view(b, s, -1, 128).transpose(1, 2), angle)
    v = F.linear(n, wv).view(b, s, -1, 128).transpose(1, 2)
    a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    h = x + F.linear(a.transpose(1, 2).reshape(b, s, -1), wo)
    n = F.rms_norm(h, (c,), g2, 1e-5)
    return h + F.linear(F.silu(F.linear(n, wg)) * F.linear(n, wu), wd)


def attention(causal):
    def run(q, k, v):
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return run


def loss(x, w, t):
    return F.cross_entropy(F.linear(x, w).float(), t.long())


def heads(d):
    return lambda: [gpu.normal(2, 32, 8192, d) for _ in range(3)]


def weights():
    shapes = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096), (14336, 4096), (14336, 4096), (4096, 14336)]
    angle = torch.arange(4096, device="cuda")[:, None] * 5e5 ** (-torch.arange(64, device="cuda") / 64)
    return ([gpu.normal(2, 4096, 4096)] + [gpu.normal(*s) / math.sqrt(s[1]) for s in shapes] +
            [1 + 0.1 * gpu.normal(4096) for _ in range(2)] + [angle.float()])


# name: inputs, how many have a gradient, the function, types of the gradients, whether it is compiled
CASES = {
    "layernorm_grad": (lambda: [gpu.normal(16384, 4096), 1 + 0.1 * gpu.normal(4096), gpu.normal(4096)], 3,
                       lambda x, g, b: F.layer_norm(x, (4096,), g, b, 1e-5), [torch.bfloat16, torch.float32, torch.float32], True),
    "full_grad_d128": (heads(128), 3, attention(False), [torch.bfloat16] * 3, False),
    "causal_grad_d128": (heads(128), 3, attention(True), [torch.bfloat16] * 3, False),
    "full_grad_d64": (heads(64), 3, attention(False), [torch.bfloat16] * 3, False),
    "layer_grad": (weights, 10, layer, [torch.bfloat16] * 10, True),
    "loss_grad": (lambda: [gpu.normal(8192, 4096), gpu.normal(128256, 4096) / 64,
                           torch.randint(0, 128256, (8192,), device="cuda", dtype=torch.int32)], 2, loss, [torch.bfloat16] * 2, True),
}


def beyond(run):
    """MiB allocated by PyTorch while it runs, beyond what there was."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = run()
    torch.cuda.synchronize()
    kept = sum(t.numel() * t.element_size() for t in out)
    return (torch.cuda.max_memory_allocated() - before - kept) / 2 ** 20


def row(say, name, compile_peer, flags):
    inputs, nwrt, f, types, compiles = CASES[name]
    tensors = inputs()
    wrt = [t.requires_grad_() for t in tensors[:nwrt]]
    y = f(*tensors)
    seed = gpu.normal(*y.shape) if y.ndim else None

    def backward(function):
        def run():
            out = function(*tensors)
            return [out.detach(), *torch.autograd.grad(out, wrt, seed)]
        return run

    want = backward(f)()
    del y
    outputs = [torch.empty_like(want[0])] + [torch.empty(t.shape, device="cuda", dtype=d) for t, d in zip(wrt, types)]
    ours = gpu.Ours(os.environ.get("TCF_SCHEDULE"), PROGRAM, flags).bind(name, [t.detach() for t in tensors] + ([seed] if seed is not None else []), outputs)
    free = torch.cuda.mem_get_info()[0]
    ours()
    torch.cuda.synchronize()
    used = (free - torch.cuda.mem_get_info()[0]) / 2 ** 20
    worst = max(((a.float() - b.float()).abs().max() / b.float().abs().max()).item() for a, b in zip(outputs, want))
    del want
    runs = {"ours": ours, "cuDNN" if not compiles else "eager": backward(f)}
    if compiles and compile_peer:
        runs["compile"] = backward(torch.compile(f))
    memory = {"ours": used, **{p: beyond(r) for p, r in runs.items() if p != "ours"}}
    for run in runs.values():
        gpu_attention.burst(run)
    fast = gpu_attention.bursts(runs, 4)
    slow = {p: gpu.sustained(r) for p, r in runs.items()}
    peers = [p for p in runs if p != "ours"]
    cell = lambda p: f"{p} {fast[p]:.2f} / {slow[p]:.2f} ms, {memory[p]:.0f} MiB"
    best = min(fast[p] for p in peers) / fast["ours"], min(slow[p] for p in peers) / slow["ours"]
    say(f"| {name} | {cell('ours')} | {'; '.join(map(cell, peers))} | {best[0]:.2f} / {best[1]:.2f} | {worst:.1e} |")
    return 0 if worst < 3e-2 else 1


def main(args):
    out = open(args[args.index("--out") + 1], "w") if "--out" in args else None
    names = [a for a in args if not a.startswith("--") and (not out or a != out.name)]

    def say(text):
        print(text, flush=True)
        if out:
            out.write(text + "\n")
            out.flush()
    torch.manual_seed(1)
    say("| case | ours, burst / sustained | peers | best peer over ours | error |\n|---|---|---|---|---|")
    wrong = 0
    for name in CASES:
        if not names or name in names:
            try:
                wrong += row(say, name, "--no-compile" not in args, UNORDERED_SUMS if "--unordered-sums" in args else 0)
            except Exception as e:  # one case does not take the table with it
                say(f"| {name} | {type(e).__name__}: {str(e)[:300]} | | | |")
                wrong += 1
            torch.cuda.empty_cache()
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
