"""Unpacks `models/sprat-base/sprat-base-q8_0.gguf` into a model folder of floats, from which all
weights can be tuned: unpack_base.py GGUF FOLDER. Run by `benches/run extraction`."""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as Decoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

CONTROL = 3  # token type of GGUF's `tokenizer.ggml.token_type`
PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def main(file: str, folder: Path) -> None:
    reader = GGUFReader(file)
    read = lambda name: reader.get_field(name).contents()
    llama = lambda name: read(f"llama.{name}")
    heads, pairs = llama("attention.head_count"), llama("attention.head_count_kv")

    def name(own: str) -> str:
        if own == "token_embd.weight":
            return "model.embed_tokens.weight"
        if own == "output_norm.weight":
            return "model.norm.weight"
        _, layer, part, _ = own.split(".")
        return f"model.layers.{layer}.{PARTS[part]}.weight"

    tensors = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        part = tensor.name.split(".")[-2]
        if part in ("attn_q", "attn_k"):
            # GGUF files of Llamas hold the two halves of a rotation side by side.
            count = heads if part == "attn_q" else pairs
            rows, columns = values.shape
            values = values.reshape(count, rows // count // 2, 2, columns).swapaxes(1, 2)
            values = values.reshape(rows, columns)
        tensors[name(tensor.name)] = np.ascontiguousarray(values)

    tokens, merges = read("tokenizer.ggml.tokens"), read("tokenizer.ggml.merges")
    kinds = read("tokenizer.ggml.token_type")
    model = BPE({token: at for at, token in enumerate(tokens)}, [tuple(pair.split(" ")) for pair in merges])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer.decoder = Decoder()
    special = [AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, kinds) if kind == CONTROL]
    tokenizer.add_special_tokens(special)

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokens[read("tokenizer.ggml.eos_token_id")]
    template = read("tokenizer.chat_template")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": None, "eos_token": end, "chat_template": template})
    )
    head = llama("rope.dimension_count") if reader.get_field("llama.rope.dimension_count") else None
    hidden = llama("embedding_length")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": llama("feed_forward_length"),
        "num_hidden_layers": llama("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": pairs,
        "head_dim": head or hidden // heads,
        "max_position_embeddings": llama("context_length"),
        "rms_norm_eps": llama("attention.layer_norm_rms_epsilon"),
        "rope_theta": llama("rope.freq_base"),
        "vocab_size": len(tokens),
        "tie_word_embeddings": "output.weight" not in {tensor.name for tensor in reader.tensors},
        "eos_token_id": [read("tokenizer.ggml.eos_token_id"), read("tokenizer.ggml.eot_token_id")],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    # Last: a folder without weights is unpacked again.
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})


main(sys.argv[1], Path(sys.argv[2]))
