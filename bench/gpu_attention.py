# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times attention on an NVIDIA GPU, under contract (gpu_attention.tdsl), beside PyTorch's; writes a
table in Markdown.

usage: gpu_attention.py [NAME...] [--short] [--texts] [--out FILE]     NAME: of CASES
  --short   cuDNN alone
  --texts   also what is written as tile IR (tests/gpu/attention)

One process, random order, random normal bf16 inputs. "burst": 60 ms idle, the level-two cache
overwritten, a busy kernel in front so that no launch is timed; the median of 6. "sustained": a
quarter of a second of warming, then as long timed. Peers: scaled_dot_product_attention with cuDNN,
and with FlashAttention-2; where there is no such, FlexAttention, compiled, whose block masks are made
before. TFLOP/s count 2 (D + E) for each pair of a row and a key that it sees.
"""
import os
import random
import statistics
import sys
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import gpu

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.path.join(HERE, "gpu_attention.tdsl")
TEXTS = os.path.join(HERE, "..", "tests", "gpu", "attention")
PEERS = {"cuDNN": SDPBackend.CUDNN_ATTENTION, "FA2": SDPBackend.FLASH_ATTENTION}
WINDOW = DOCUMENT = 1024
SLOPE, CAP = 0.02, 30.0

# name, batch, heads, rows, keys, D, E, what a row sees
CASES = [
    ("full_d128", 2, 32, 8192, 8192, 128, 128, "all"),
    ("causal_d128", 2, 32, 8192, 8192, 128, 128, "before"),
    ("full_d64", 2, 32, 8192, 8192, 64, 64, "all"),
    ("causal_d64", 2, 32, 8192, 8192, 64, 64, "before"),
    ("full_d96", 2, 32, 8192, 8192, 96, 96, "all"),
    ("causal_d96", 2, 32, 8192, 8192, 96, 96, "before"),
    ("full_d192", 2, 16, 8192, 8192, 192, 128, "all"),
    ("full_d256", 2, 16, 8192, 8192, 256, 256, "all"),
    ("causal_d256", 2, 16, 8192, 8192, 256, 256, "before"),
    ("causal_d128", 16, 16, 1024, 1024, 128, 128, "before"),
    ("full_d128", 16, 32, 1000, 1000, 128, 128, "all"),
    ("plain_d128", 2, 32, 8192, 8192, 128, 128, "all"),
    ("window_d128", 2, 32, 8192, 8192, 128, 128, "window"),
    ("alibi_d128", 2, 32, 8192, 8192, 128, 128, "bias"),
    ("softcap_d128", 2, 32, 8192, 8192, 128, 128, "cap"),
    ("documents_d128", 2, 32, 8192, 8192, 128, 128, "documents"),
]


# Those of the program; plain_d128 is full_d128 without overlap, which a schedule says.
with open(PROGRAM) as f:
    COMPILED = {line[3:line.index("(")] for line in f if line.startswith("fn ")}


def pairs(rows, keys, sees):
    if sees == "all":
        return rows * keys
    if sees == "window":
        return sum(min(i + 1, WINDOW) for i in range(rows))
    if sees == "documents":
        return sum(i % DOCUMENT + 1 for i in range(rows))
    return rows * (rows + 1) // 2


def peer(backend, q, k, v, sees):
    if sees not in ("all", "before"):
        return None

    def run():
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=sees == "before")
    try:
        run()
        return run
    except RuntimeError:
        return None


flex_compiled = None


def flex(q, k, v, sees):
    """FlexAttention with the same scores and masks."""
    global flex_compiled
    if sees not in ("window", "bias", "cap", "documents"):
        return None
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    if flex_compiled is None:
        flex_compiled = torch.compile(flex_attention, dynamic=False)
    scale = q.shape[-1] ** -0.5
    ids = torch.arange(q.shape[2], device="cuda") // DOCUMENT

    def seen(b, h, row, key):
        near = key <= row
        if sees == "window":
            near = near & (row - key < WINDOW)
        if sees == "documents":
            near = near & (ids[row] == ids[key])
        return near

    def scored(score, b, h, row, key):
        return score + SLOPE * scale * (key - row) if sees == "bias" else CAP * torch.tanh(score / CAP)
    mask = create_block_mask(seen, None, None, q.shape[2], k.shape[2], device="cuda")
    change = scored if sees in ("bias", "cap") else None

    def run():
        return flex_compiled(q, k, v, score_mod=change, block_mask=mask)
    run()
    return run


def reference(q, k, v, sees):
    """One head in f32."""
    q, k, v = (x[-1, -1].float() for x in (q, k, v))
    scores = q @ k.T
    row = torch.arange(q.shape[0], device="cuda")[:, None]
    key = torch.arange(k.shape[0], device="cuda")[None, :]
    if sees == "bias":
        scores += SLOPE * (key - row)
    scores /= q.shape[1] ** 0.5
    if sees == "cap":
        scores = CAP * torch.tanh(scores / CAP)
    if sees != "all":
        hidden = key > row
        if sees == "window":
            hidden |= key <= row - WINDOW
        if sees == "documents":
            hidden |= key // DOCUMENT != row // DOCUMENT
        scores.masked_fill_(hidden, float("-inf"))
    return torch.softmax(scores, -1) @ v


def burst(run):
    if gpu.flush is None:
        gpu.flush = torch.empty(1 << 29, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    time.sleep(0.06)
    gpu.flush.fill_(1)
    torch.cuda._sleep(1_000_000)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def bursts(runs, turns):
    times = {name: [] for name in runs}
    for _ in range(turns):
        for name in random.sample(list(runs), len(runs)):
            times[name].append(burst(runs[name]))
    return {name: statistics.median(t) for name, t in times.items()}


compiled = None


def program():
    global compiled
    if compiled is None:
        compiled = gpu.Ours(path=PROGRAM)
    return compiled


def row(say, case, short, texts):
    name, b, h, s, t, d, e, sees = case
    q, k, v = gpu.normal(b, h, s, d), gpu.normal(b, h, t, d), gpu.normal(b, h, t, e)
    inputs = [q, k, v]
    if sees == "documents":
        inputs.append((torch.arange(s, device="cuda", dtype=torch.int32) // DOCUMENT).repeat(b, 1))
    out = torch.full((b, h, s, e), float("nan"), device="cuda", dtype=torch.bfloat16)
    runs, worst, text = {}, 0, os.path.join(TEXTS, name + ".tile")
    if name in COMPILED:
        runs["ours"] = program().bind(name, inputs, [out])
    if texts and os.path.exists(text):
        runs["text"] = gpu.Ours(path=text).bind("att", inputs, [out])
    if not runs:
        return 0
    for run in runs.values():
        out.fill_(float("nan"))
        run()
        torch.cuda.synchronize()
        error = gpu.error(out[-1, -1], reference(q, k, v, sees))
        worst = error if not error < worst else worst
    for p, backend in PEERS.items():
        run = peer(backend, q, k, v, sees)
        if run and not (short and p != "cuDNN"):
            runs[p] = run
    run = None if short else flex(q, k, v, sees)
    if run:
        runs["Flex"] = run
    for run in runs.values():
        burst(run)
    fast, slow = bursts(runs, 6), {}
    for p in random.sample(list(runs), len(runs)):
        slow[p] = gpu.sustained(runs[p])
    rate = lambda ms: 2 * (d + e) * pairs(s, t, sees) * b * h / (ms * 1e-3) / 1e12
    cell = lambda p: f"{rate(fast[p]):.0f} / {rate(slow[p]):.0f}" if p in fast else "-"
    best, other = "ours" if "ours" in runs else "text", "cuDNN" if "cuDNN" in runs else "Flex"
    ratio = f"{fast[other] / fast[best]:.2f} / {slow[other] / slow[best]:.2f}" if other in runs else "-"
    cells = [cell(p) for p in ("ours", "text", "cuDNN", "FA2", "Flex") if p != "text" or texts]
    say(f"| {name} {b}x{h}x{s}x{t} | {' | '.join(cells)} | {ratio} | {worst:.1e} |")
    if not worst < 6e-3:
        say(f"{name}: wrong")
        return 1
    return 0


def main(args):
    out = open(args[args.index("--out") + 1], "w") if "--out" in args else None
    names = [a for a in args if not a.startswith("--") and (not out or a != out.name)]

    def say(text):
        print(text, flush=True)
        if out:
            out.write(text + "\n")
    torch.manual_seed(1)
    texts = "--texts" in args
    heads = ["case", "ours"] + ["as tile IR"] * texts + ["cuDNN", "FA2", "Flex", "ours over the peer", "error"]
    say(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    wrong = 0
    for case in CASES:
        if not names or case[0] in names:
            wrong += row(say, case, "--short" in args, texts)
            torch.cuda.empty_cache()
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
