# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Forward and backward of bench/gradients.tdsl beside torch.compile, in one process, taking turns.

    python bench/gradients.py [--threads 1] [--only NAME] [--check]
"""
import argparse
import math
import os

import numpy as np

from timing import interleave, show
import bound

HERE = os.path.dirname(os.path.abspath(__file__))


def cases():
    import torch
    import torch.nn.functional as F

    def block(x, qkv, o, w1, w2, g1, g2):
        b, s, d = x.shape
        a = d // 64
        n = F.rms_norm(x, (d,), g1, 1e-6)
        q, k, v = F.linear(n, qkv).view(b, s, 3, a, 64).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = x + F.linear(y.transpose(1, 2).reshape(b, s, d), o)
        n = F.rms_norm(h, (d,), g2, 1e-6)
        return h + F.linear(F.gelu(F.linear(n, w1), approximate="tanh"), w2)

    def conv(x, w, g, b):
        return F.relu(F.batch_norm(F.conv2d(x, w, padding=1), None, None, g, b, training=True, eps=1e-5))

    # name: shapes of the arguments, how many of them have a gradient, the function, scale of the weights
    return {
        "layernorm_grad": ([(4096, 768), (768,), (768,)], 3,
                           lambda x, g, b: F.layer_norm(x, (x.shape[-1],), g, b, 1e-5)),
        "cross_entropy_grad": ([(4096, 10007), ("i", 10007, 4096)], 1,
                               lambda z, t: F.cross_entropy(z, t.long())),
        "mlp_grad": ([(512, 768), (3072, 768), (3072,), (768, 3072), (768,)], 5,
                     lambda x, w1, b1, w2, b2: F.linear(F.gelu(F.linear(x, w1, b1)), w2, b2)),
        "conv_block_grad": ([(8, 64, 28, 28), (64, 64, 3, 3), (64,), (64,)], 4, conv),
        "embedding_grad": ([(32000, 512), ("i", 32000, 512, 16)], 1,
                           lambda e, t: F.embedding(t, e).sum(1)),
        "block_grad": ([(4, 128, 384), (1152, 384), (384, 384), (1536, 384), (384, 1536), (384,), (384,)], 7,
                       block),
    }


def inputs(shapes):
    random = np.random.default_rng(7)
    out = []
    for shape in shapes:
        if shape[0] == "i":
            out.append(random.integers(0, shape[1], shape[2:], dtype=np.int32))
        else:
            scale = 1 / math.sqrt(np.prod(shape[1:])) if len(shape) > 1 and shape[0] != shape[-1] and len(out) else 1
            out.append(random.standard_normal(shape, dtype=np.float32) * np.float32(scale))
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--check", action="store_true", help="values only")
    options = parser.parse_args()
    import torch
    torch.set_num_threads(options.threads)
    print("| | ours | torch.compile | eager | compile over ours | largest difference |\n|---|---|---|---|---|---|")
    ratios = []
    for name, (shapes, nwrt, f) in cases().items():
        if options.only and options.only not in name:
            continue
        arrays = inputs(shapes)
        tensors = [torch.from_numpy(a) for a in arrays]
        wrt = [t.requires_grad_() for t in tensors[:nwrt]]
        compiled = torch.compile(f)
        y = f(*tensors)
        seed = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)) if y.ndim else None

        def backward(function):
            out = function(*tensors)
            return [out.detach(), *torch.autograd.grad(out, wrt, seed)]

        want = [t.numpy() for t in backward(f)]
        outputs = [np.empty_like(t) for t in want]
        arguments = arrays + ([seed.numpy()] if seed is not None else [])
        function = bound.Function(os.path.join(HERE, "gradients.tdsl"), name, options.threads)
        run = function.bind([np.ascontiguousarray(a) for a in arguments], outputs)
        run()
        worst = max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in zip(outputs, want))
        if options.check:
            print(f"| {name} | | | | | {worst:.1e} |", flush=True)
            continue
        t = interleave({"ours": run, "compile": lambda: backward(compiled), "eager": lambda: backward(f)})
        # The best of the turns: what else runs on the machine only makes them longer.
        best = {who: times[1] for who, times in t.items()}
        ratio = best["compile"] / best["ours"]
        ratios.append(ratio)
        print(f"| {name} | {show(best['ours'])} | {show(best['compile'])} | {show(best['eager'])} | {ratio:.2f} | {worst:.1e} |",
              flush=True)
    if ratios:
        print(f"\ngeometric mean {math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}")


main()
