# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The whole MiniLM encoder against torch.compile and ONNX Runtime, batch 1 and 32.

usage: minilm.py THREADS MODEL_FOLDER     (run it under taskset with as many CPUs)

The peers run the transformers implementation of BERT with the same weights (scaled dot product
attention), mean pooling and normalisation; ONNX Runtime gets the exported graph with all its
optimisations and its own fusions for BERT.
"""
import os
import sys
import tempfile
import time

import numpy as np

import bound
import timing

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLE = os.path.join(HERE, "..", "examples", "minilm")


def torch_model(weights):
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=30522, hidden_size=384, num_hidden_layers=6,
                        num_attention_heads=12, intermediate_size=1536)

    class Encoder(torch.nn.Module):
        def __init__(self, attention):
            super().__init__()
            config._attn_implementation = attention
            self.bert = BertModel(config)
            self.bert.load_state_dict(load_file(weights), strict=False)

        def forward(self, ids, mask):
            x = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            m = mask[:, :, None].to(x.dtype)
            return F.normalize((x * m).sum(1) / m.sum(1))

    return Encoder


def onnx_session(encoder, ids, mask, threads):
    import onnxruntime
    import torch
    from onnxruntime.transformers import optimizer

    folder = tempfile.mkdtemp()
    plain, fused = os.path.join(folder, "plain.onnx"), os.path.join(folder, "fused.onnx")
    with torch.no_grad():
        torch.onnx.export(encoder("eager").eval(), (ids, mask), plain, input_names=["ids", "mask"],
                          output_names=["out"], dynamo=False, opset_version=17)
    model = optimizer.optimize_model(plain, model_type="bert", num_heads=12, hidden_size=384)
    model.save_model_to_file(fused)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return (onnxruntime.InferenceSession(fused, options, providers=["CPUExecutionProvider"]),
            model.get_fused_operator_statistics())


def our_arguments(weights, ids, mask):
    from safetensors.numpy import load_file
    w = load_file(weights)
    e, arguments = "embeddings.", [ids, mask]
    arguments += [w[e + "word_embeddings.weight"], w[e + "position_embeddings.weight"],
                  w[e + "token_type_embeddings.weight"], w[e + "LayerNorm.weight"],
                  w[e + "LayerNorm.bias"]]
    for layer in range(6):
        for name in ("attention.self.query", "attention.self.key", "attention.self.value",
                     "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense",
                     "output.dense", "output.LayerNorm"):
            for kind in ("weight", "bias"):
                arguments.append(w[f"encoder.layer.{layer}.{name}.{kind}"])
    return arguments


def time_compilation(arguments, threads):
    """Seconds from the source text to code ready to be called: with an empty cache on disk, and
    with the object in it."""
    with tempfile.TemporaryDirectory() as cache:
        times = []
        for _ in range(6):
            begin = time.perf_counter()
            function = bound.compile(os.path.join(EXAMPLE, "minilm.tdsl"), "embed", arguments,
                                       threads, cache)
            function.prepare(arguments)
            times.append(time.perf_counter() - begin)
        return times[0], min(times[1:])


def main(threads, model_folder):
    import torch
    torch.set_num_threads(threads)
    weights = os.path.join(model_folder, "model.safetensors")
    encoder = torch_model(weights)
    reference = np.load(os.path.join(EXAMPLE, "reference.npz"))
    print(f"\n### {threads} thread{'s' if threads > 1 else ''}\n")
    print("| case | tcc-fuse | torch.compile | ONNX Runtime | ratio (best) | worst cosine |")
    print("|---|---|---|---|---|---|")
    compiled_in = []
    for batch, suffix in ((1, "1"), (32, "")):
        ids, mask = reference["ids" + suffix], reference["mask" + suffix]
        expected = reference["embedding1" if batch == 1 else "embeddings"]
        tids, tmask = torch.from_numpy(ids).long(), torch.from_numpy(mask).long()
        torch._dynamo.reset()
        compiled = torch.compile(encoder("sdpa").eval(), dynamic=False)
        session, fused = onnx_session(encoder, tids, tmask, threads)
        feeds = {"ids": tids.numpy(), "mask": tmask.numpy()}

        def run_torch():
            with torch.inference_mode():
                return compiled(tids, tmask)

        outputs = {"torch.compile": run_torch().numpy(), "ONNX": session.run(None, feeds)[0]}
        contenders = {"torch.compile": run_torch, "ONNX": lambda: session.run(None, feeds)}
        if bound.available():
            arguments = our_arguments(weights, ids, mask)
            function = bound.compile(os.path.join(EXAMPLE, "minilm.tdsl"), "embed", arguments,
                                       threads)
            call = function.bind(arguments, [np.empty((batch, 384), np.float32)])
            call()
            outputs["tcc-fuse"] = call.outputs[0]
            contenders["tcc-fuse"] = call
        cosine = {n: (o * expected).sum(1).min() for n, o in outputs.items()}
        times = timing.interleave(contenders, seconds=4)
        cells = {n: f"{timing.show(m)} ({timing.show(b)})" for n, (m, b) in times.items()}
        ratio = ""
        if "tcc-fuse" in times:
            best = [min(times["torch.compile"][i], times["ONNX"][i]) for i in (0, 1)]
            ratio = f"{best[0] / times['tcc-fuse'][0]:.2f} ({best[1] / times['tcc-fuse'][1]:.2f})"
        print(f"| batch {batch}, {ids.shape[1]} tokens | {cells.get('tcc-fuse', '')} | "
              f"{cells['torch.compile']} | {cells['ONNX']} | {ratio} | "
              f"{min(cosine.values()):.7f} |", flush=True)
        if "tcc-fuse" in times:
            compiled_in.append((batch, *time_compilation(arguments, threads)))
        print("ONNX Runtime's fusions:", {k: v for k, v in fused.items() if v}, file=sys.stderr)
    print()
    for batch, cold, cached in compiled_in:
        print(f"batch {batch}: ready after {timing.show(cold)}, from the disk cache "
              f"{timing.show(cached)}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
