"""Peer of bench-encoder-serve: sentence embeddings with ONNX Runtime, f32 and dynamic int8.

    python serve_onnx.py MODEL_FOLDER TEXTS_JSON THREADS

Exports the encoder with mean pooling and unit length as one graph, fuses attention, GELU and
layer norms with ONNX Runtime's own optimizer for BERT, quantizes a copy with `quantize_dynamic`
(int8 weights per channel, dynamic activations), then answers commands on standard input, one JSON object per line:

    {"format": "f32" | "int8", "at_once": N, "texts": COUNT}

Each runs the first COUNT texts, N per call, and prints {"seconds", "latencies_ms"}: the time of
every call from text to vector, tokenization included, padded to the longest text of the call.
The first line printed describes the versions and how close int8 comes to f32.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy
import onnx
import onnxruntime
import tokenizers
import torch
import transformers
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer


class Embedder(torch.nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids, attention_mask, token_type_ids):
        states = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1)


def export(folder, path):
    encoder = transformers.AutoModel.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ids = torch.ones(2, 7, dtype=torch.int64)
    example = (ids, ids, torch.zeros_like(ids))
    axes = {name: {0: "batch", 1: "tokens"} for name in names}
    plain = path.with_suffix(".plain.onnx")
    torch.onnx.export(
        Embedder(encoder), example, str(plain), input_names=names, output_names=["embedding"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )
    fused = optimizer.optimize_model(
        str(plain), model_type="bert", num_heads=encoder.config.num_attention_heads,
        hidden_size=encoder.config.hidden_size, opt_level=1,
    )
    counts = fused.get_fused_operator_statistics()
    # Without its fusions the peer would be slower than it can be.
    assert counts["Attention"] == encoder.config.num_hidden_layers, counts
    fused.save_model_to_file(str(path))


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main():
    folder, texts_file, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(threads)
    texts = json.loads(Path(texts_file).read_text())
    work = Path(tempfile.mkdtemp())
    export(folder, work / "f32.onnx")
    quantize_dynamic(
        work / "f32.onnx", work / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True,
        # The types behind fused nodes are not inferred.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    sessions = {name: session(work / f"{name}.onnx", threads) for name in ["f32", "int8"]}
    # The tokenizers library itself, without the slower layer above it.
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()

    def embed(name, batch):
        encoded = tokenizer.encode_batch_fast(batch)
        feed = {
            "input_ids": numpy.array([e.ids for e in encoded], dtype=numpy.int64),
            "attention_mask": numpy.array([e.attention_mask for e in encoded], dtype=numpy.int64),
            "token_type_ids": numpy.array([e.type_ids for e in encoded], dtype=numpy.int64),
        }
        return sessions[name].run(None, feed)[0]

    some = texts[:64]
    cosines = (embed("f32", some) * embed("int8", some)).sum(1)
    print(json.dumps({
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
        "int8_cosine_mean": float(cosines.mean()),
        "int8_cosine_min": float(cosines.min()),
        # As a padded row of a batch, so that the mask of the fused graph is checked too.
        "first_vector": embed("f32", texts[:8])[0].tolist(),
    }), flush=True)

    for line in sys.stdin:
        command = json.loads(line)
        chosen = texts[: command["texts"]]
        latencies = []
        began = time.perf_counter()
        for at in range(0, len(chosen), command["at_once"]):
            start = time.perf_counter()
            embed(command["format"], chosen[at : at + command["at_once"]])
            latencies.append((time.perf_counter() - start) * 1e3)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "latencies_ms": latencies}), flush=True)


main()
