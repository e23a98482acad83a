# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Times the MiniLM encoder (examples/minilm) on an NVIDIA GPU in f16 beside PyTorch; needs no network.

usage: gpu_minilm.py [--no-compile] [--tokens N] [--out FILE] [BATCH...]        default: 32 256

The peer is transformers' BertModel of the published shape in f16 with scaled dot product attention,
mean pooling and normalisation, eager, compiled, and compiled with CUDA graphs ("reduce-overhead").
Weights are random normal of the published shapes, since times do not depend on them; token ids are
random, the mask is padding at the ends of most sentences. "burst": after 30 ms of rest with the
level-two cache overwritten, median; "sustained": a quarter of a second of warming, then as long timed. ratio = best
peer's time / ours. cosine: the smallest with the f32 model, ours and the f16 peer's.
"""
import os
import sys

import torch

import gpu

HERE = os.path.dirname(os.path.abspath(__file__))
LAYERS, WIDTH, HEADS, INNER, VOCABULARY = 6, 384, 12, 1536, 30522


def encoder():
    from transformers import BertConfig, BertModel
    config = BertConfig(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS,
                        num_attention_heads=HEADS, intermediate_size=INNER)
    config._attn_implementation = "sdpa"

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = BertModel(config, add_pooling_layer=False)

        def forward(self, ids, mask):
            x = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            m = mask[:, :, None].to(x.dtype)
            x = (x * m).sum(1, dtype=torch.float32) / m.sum(1, dtype=torch.float32)
            return torch.nn.functional.normalize(x)

    torch.manual_seed(1)
    model = Encoder().eval().cuda()
    with torch.no_grad():
        for name, p in model.named_parameters():
            is_norm = "LayerNorm" in name
            p.copy_(torch.randn_like(p) * (0.1 if is_norm else 0.05) + (is_norm and name.endswith("weight")))
    return model


def our_arguments(model, ids, mask):
    w = {k: v.half().contiguous() for k, v in model.bert.state_dict().items()}
    e = "embeddings."
    arguments = [ids.int(), mask.int(), w[e + "word_embeddings.weight"],
                 w[e + "position_embeddings.weight"], w[e + "token_type_embeddings.weight"],
                 w[e + "LayerNorm.weight"], w[e + "LayerNorm.bias"]]
    for layer in range(LAYERS):
        for name in ("attention.self.query", "attention.self.key", "attention.self.value",
                     "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense",
                     "output.dense", "output.LayerNorm"):
            for kind in ("weight", "bias"):
                arguments.append(w[f"encoder.layer.{layer}.{name}.{kind}"])
    return arguments


def inputs(batch, tokens):
    ids = torch.randint(0, VOCABULARY, (batch, tokens), device="cuda")
    lengths = torch.randint(tokens // 2, tokens + 1, (batch, 1), device="cuda")
    lengths[0] = tokens
    return ids, (torch.arange(tokens, device="cuda")[None, :] < lengths).long()


def contenders(model, half, ids, mask, compile_peers):
    ours = gpu.Ours(os.environ.get("TCF_SCHEDULE"), path("minilm_f16.tdsl"))
    out = torch.full((ids.shape[0], WIDTH), float("nan"), device="cuda")
    runs = {"ours": ours.bind("embed_f16", our_arguments(model, ids, mask), [out])}

    def peer(f):
        def run():
            with torch.inference_mode():
                return f(ids, mask)
        return run
    runs["eager"] = peer(half)
    if compile_peers:
        for name, mode in (("compile", None), ("graphs", "reduce-overhead")):
            torch._dynamo.reset()
            runs[name] = peer(torch.compile(half, dynamic=False, mode=mode))
            for _ in range(3):
                runs[name]()
    runs["ours"]()
    torch.cuda.synchronize()
    with torch.inference_mode():
        want = model(ids, mask)
        cosines = [(x.float() * want).sum(1).min().item() for x in (out, half(ids, mask))]
    return runs, cosines


def path(name):
    """Beside this file in a bundle, else in the project."""
    beside = os.path.join(HERE, "minilm", name)
    return beside if os.path.exists(beside) else os.path.join(HERE, "..", "examples", "minilm", name)


def flops(batch, tokens):
    products = 2 * tokens * WIDTH * (4 * WIDTH + 2 * INNER)
    attention = 2 * 2 * tokens * tokens * WIDTH
    return batch * LAYERS * (products + attention)


def main():
    args = sys.argv[1:]
    out, tokens = None, 128
    if "--out" in args:
        at = args.index("--out")
        out = open(args[at + 1], "w")
        del args[at:at + 2]
    if "--tokens" in args:
        at = args.index("--tokens")
        tokens = int(args[at + 1])
        del args[at:at + 2]
    compile_peers = "--no-compile" not in args
    batches = [int(a) for a in args if not a.startswith("--")] or [32, 256]

    def say(text):
        print(text, flush=True)
        if out:
            out.write(text + "\n")
    model = encoder()
    half = encoder().half()
    columns = ["ours", "eager", "compile", "graphs"]
    for batch in batches:
        ids, mask = inputs(batch, tokens)
        runs, cosines = contenders(model, half, ids, mask, compile_peers)
        say(f"\n### MiniLM, f16, batch {batch}, {tokens} tokens, ms\n\n| | " +
            " | ".join(columns) + " | ratio | TFLOP/s | cosine |\n|---|---|---|---|---|---|---|---|")
        for label, t in (("burst", gpu.measure(runs, 9, 0.03)),
                         ("sustained", {k: gpu.sustained(r) for k, r in runs.items()})):
            best = min(v for k, v in t.items() if k != "ours")
            say(f"| {label} | " + " | ".join(f"{t[c]:.4f}" if c in t else "-" for c in columns) +
                f" | {best / t['ours']:.2f} | {flops(batch, tokens) / t['ours'] / 1e9:.0f} | "
                f"{cosines[0]:.6f}, peer {cosines[1]:.6f} |")


if __name__ == "__main__":
    main()
