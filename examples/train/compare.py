# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The same training in PyTorch, step by step beside ours: losses and times in one run.

    ./dev build && ninja -C build train && examples/train/data.sh digits
    python examples/train/compare.py digits|text [--steps 200] [--threads 1] [--compile]

Both begin with the values that build/train writes, and take the same batches; dropout is off. It fails where
a loss is further from PyTorch's than BOUND.
"""
import argparse
import glob
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "bench"))
import bound  # noqa: E402

# Of the larger loss. Roundings grow with the steps, so these hold for 200.
BOUND = {"digits": 0.02, "text": 1e-4}
SIZES = {"digits": dict(B=64, C1=16, C2=32, H=64), "text": dict(B=16, S=64, D=128, F=512)}
RUN = {"digits": dict(rate=3e-3, warmup=50, steps=1400), "text": dict(rate=2e-3, warmup=100, steps=2000)}
SEED = 1


def digits(p, x, target):
    h = F.relu(F.conv2d(x, p["w1"], p["b1"], padding=1))
    h = F.max_pool2d(F.relu(F.conv2d(h, p["w2"], p["b2"], padding=1)), 2)
    h = F.relu(F.linear(h.flatten(1), p["w3"].flatten(1), p["b3"]))
    return F.cross_entropy(F.linear(h, p["w4"], p["b4"]), target)


def text(p, letters, target):
    b, s = letters.shape
    d = p["table"].shape[1]
    x = F.embedding(letters, p["table"]) + p["position"]
    for i in range(p["g1"].shape[0]):
        n = F.rms_norm(x, (d,), p["g1"][i], 1e-6)
        q, k, v = F.linear(n, p["qkv"][i]).view(b, s, 3, d // 32, 32).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = x + F.linear(a.transpose(1, 2).reshape(b, s, d), p["o"][i])
        n = F.rms_norm(h, (d,), p["g2"][i], 1e-6)
        x = h + F.linear(F.gelu(F.linear(n, p["up"][i]), approximate="tanh"), p["down"][i])
    scores = F.linear(F.rms_norm(x, (d,), p["last"], 1e-6), p["table"])
    return F.cross_entropy(scores.flatten(0, 1), target.flatten())


def rate(step, run):
    if step < run["warmup"]:
        return run["rate"] * (step + 1) / run["warmup"]
    along = (step - run["warmup"]) / (run["steps"] - run["warmup"])
    return run["rate"] * (0.55 + 0.45 * math.cos(math.pi * along))


def safetensors(path):
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        base = file.tell()
        types = {"F32": np.float32, "I64": np.int64, "U64": np.uint64, "U8": np.uint8}
        out = {}
        for name, e in header.items():
            file.seek(base + e["data_offsets"][0])
            data = file.read(e["data_offsets"][1] - e["data_offsets"][0])
            out[name] = np.frombuffer(data, types[e["dtype"]]).reshape(e["shape"]).copy()
        return out


def first_state(name, data, sizes):
    """Parameters and moments before the first step, in the order of the program."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([os.path.join(HERE, "../../build/train"), f"{HERE}/{name}.tdsl", "--data", data, "--out", out,
                        "--steps", "0", "--sample", "0", "--seed", str(SEED),
                        *[a for k, v in sizes.items() for a in ("--size", f"{k}={v}")]],
                       check=True, stdout=subprocess.DEVNULL)
        state = safetensors(glob.glob(f"{out}/*-step-000000.safetensors")[0])
    return {k: v for k, v in state.items() if not k.startswith("train.")}


class Ours:
    def __init__(self, name, state, data, sizes, threads):
        self.run = RUN[name]
        names = [n for n in state if n[:2] not in ("m_", "v_")]
        order = names + ["m_" + n for n in names] + ["v_" + n for n in names]
        self.state = [[state[n].copy() for n in order], [np.empty_like(state[n]) for n in order]]
        self.step_number = np.zeros((), np.int64)
        self.loss, norm, count = np.zeros((), np.float32), np.zeros((), np.float32), np.zeros((), np.int64)
        numbers = [np.array(SEED, np.int64), self.step_number, np.array(self.run["steps"], np.int64),
                   np.array(self.run["warmup"], np.int64), np.array(self.run["rate"], np.float32),
                   np.array(0, np.float32)]
        rows = np.arange(sizes["B"], dtype=np.int64)
        self.function = bound.Function(os.path.join(HERE, name + ".tdsl"), "step", threads)
        self.calls = [self.function.bind(self.state[k] + data + [rows] + numbers,
                                         self.state[1 - k] + [self.loss, norm, count]) for k in (0, 1)]

    def step(self, i):
        self.step_number[()] = i
        self.calls[i % 2]()
        return float(self.loss)


class Torch:
    def __init__(self, name, state, compiled):
        self.run, self.clip = RUN[name], name == "text"
        self.p = {n: torch.from_numpy(a.copy()).requires_grad_() for n, a in state.items()
                  if n[:2] not in ("m_", "v_")}
        self.adam = torch.optim.Adam(self.p.values(), foreach=True)
        loss = {"digits": digits, "text": text}[name]
        self.loss = torch.compile(loss) if compiled else loss

    def step(self, i, batch):
        self.adam.param_groups[0]["lr"] = rate(i, self.run)
        self.adam.zero_grad()
        loss = self.loss(self.p, *batch)
        loss.backward()
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.p.values(), 1.0)
        self.adam.step()
        return float(loss.detach())


def batches(name, data, sizes, steps):
    """What the program's `batch` gives: inputs and targets, of each step."""
    rows, number = np.arange(sizes["B"], dtype=np.int64), np.zeros((), np.int64)
    arguments = data + [rows, np.array(SEED, np.int64), number]
    path, b, target = os.path.join(HERE, "digits.tdsl"), sizes["B"], (sizes["B"],)
    out = [np.empty((b, 1, 8, 8), np.float32), np.empty(b, np.int32)]
    with tempfile.TemporaryDirectory() as folder:
        if name == "text":
            path = os.path.join(folder, "batches.tdsl")
            with open(path, "w") as file:
                file.write(f'import "{HERE}/text.tdsl"\n'
                           "fn batches(text: u8[N], rows: i64[B], seed: i64, step: i64, places: f32[S])\n"
                           "    -> (i32[B, S], i32[B, S]) {\n  return batch(text, rows, seed, step, S)\n}\n")
            target = (b, sizes["S"])
            arguments.append(np.zeros(sizes["S"], np.float32))
            out = [np.empty(target, np.int32), np.empty(target, np.int32)]
        call = bound.Function(path, "batches" if name == "text" else "batch", 1).bind(arguments, out)
    for number[()] in range(steps):
        call()
        yield [torch.from_numpy(a.astype(np.int64) if a.dtype == np.int32 else a.copy()) for a in out]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=sorted(BOUND))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="loss and gradient by torch.compile")
    options = parser.parse_args()
    name, sizes = options.name, dict(SIZES[options.name])
    torch.set_num_threads(options.threads)
    folder = os.path.join(HERE, "data", name)
    data = [np.load(os.path.join(folder, n + ".npy")) for n in
            (["images", "labels"] if name == "digits" else ["text"])]
    if name == "text":
        sizes["V"] = len(np.load(os.path.join(folder, "letters.npy")))
    state = first_state(name, folder, sizes)
    ours, peer = Ours(name, state, data, sizes, options.threads), Torch(name, state, options.compile)
    times, worst, shown = ([], []), 0.0, set(range(0, options.steps, max(1, options.steps // 10)))
    print("| step | loss, ours | loss, PyTorch | relative difference |\n|---|---|---|---|")
    for i, batch in enumerate(batches(name, data, sizes, options.steps)):
        t0 = time.perf_counter()
        a = ours.step(i)
        t1 = time.perf_counter()
        b = peer.step(i, batch)
        t2 = time.perf_counter()
        if i >= 3:  # the first compile
            times[0].append(t1 - t0)
            times[1].append(t2 - t1)
        difference = abs(a - b) / max(abs(a), abs(b))
        worst = max(worst, difference)
        if i in shown or i == options.steps - 1:
            print(f"| {i} | {a:.6f} | {b:.6f} | {difference:.1e} |", flush=True)
    mine, other = map(min, times)  # what else runs on the machine only makes steps longer
    middle = statistics.median(b / a for a, b in zip(*times))
    print(f"\n{name}: largest relative difference of the losses {worst:.1e} (bound {BOUND[name]:g}); a step takes "
          f"{1e3 * mine:.1f} ms, in PyTorch {torch.__version__}{' compiled' if options.compile else ''} "
          f"{1e3 * other:.1f} ms at best: {other / mine:.2f} times as fast, {middle:.2f} in the middle of "
          f"neighbouring steps ({options.threads} thread)")
    if worst > BOUND[name]:
        sys.exit(f"compare.py: losses differ by more than {BOUND[name]:g}")


main()
