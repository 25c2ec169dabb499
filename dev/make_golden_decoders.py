"""Makes crates/model/tests/golden/decoders.json with transformers: one tiny random decoder of each
family, its weights drawn from a formula that the test repeats, and its logits.

    python dev/make_golden_decoders.py

Needs torch and transformers. Nothing is downloaded.
"""

import json
import pathlib
import platform

import torch
import transformers

from make_golden_families import fill

OUT = pathlib.Path(__file__).parent.parent / "crates/model/tests/golden/decoders.json"

SHAPE = dict(vocab_size=20, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
             bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)
# Four pairs of columns: three quarters of a head of 8 are rotated below.
LONG = dict(rope_type="longrope", rope_theta=10000.0, partial_rotary_factor=0.75,
            short_factor=[1.0, 1.1, 1.2], long_factor=[2.0, 3.0, 4.0],
            original_max_position_embeddings=32)
FAMILIES = {
    "llama": ("Llama", dict(SHAPE)),
    "llama-biased-tied": ("Llama", dict(
        SHAPE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "llama3-scaled": ("Llama", dict(SHAPE, rope_parameters=LLAMA3)),
    "llama-linear": ("Llama", dict(
        SHAPE, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0))),
    "smollm3": ("SmolLM3", dict(SHAPE, num_hidden_layers=4)),
    "mistral": ("Mistral", dict(SHAPE, sliding_window=4)),
    "qwen2": ("Qwen2", dict(SHAPE)),
    "qwen2-yarn": ("Qwen2", dict(SHAPE, rope_parameters=YARN)),
    "qwen3": ("Qwen3", dict(SHAPE, head_dim=12)),
    "gemma2": ("Gemma2", dict(SHAPE, head_dim=12, sliding_window=5, query_pre_attn_scalar=10)),
    "gemma3": ("Gemma3", dict(
        SHAPE, head_dim=12, sliding_window=5, num_hidden_layers=6, query_pre_attn_scalar=10)),
    "phi3": ("Phi3", dict(SHAPE, sliding_window=None)),
    "phi4-mini": ("Phi3", dict(SHAPE, sliding_window=None, tie_word_embeddings=True,
                               rope_parameters=LONG, original_max_position_embeddings=32)),
}
IDS = [1, 5, 6, 7, 8, 19, 3, 4, 11, 12, 13, 14, 15]


def of(kind: str, settings: dict):
    """The configuration and the model of a kind."""
    text = {"Gemma3": "Gemma3Text"}.get(kind, kind)
    config = getattr(transformers, f"{text}Config")(**settings)
    return config, getattr(transformers, f"{kind}ForCausalLM")


def main() -> None:
    torch.set_grad_enabled(False)
    out = {
        "origin": {
            "what": "logits of tiny decoders with weights from a formula, float32, eager attention",
            "command": "python dev/make_golden_decoders.py",
            "versions": {"python": platform.python_version(), "torch": torch.__version__,
                         "transformers": transformers.__version__},
        },
        "ids": IDS,
        "families": {},
    }
    for name, (kind, settings) in FAMILIES.items():
        config, model_class = of(kind, settings)
        config._attn_implementation = "eager"
        model = model_class(config).eval()
        tensors = dict(model.named_parameters())
        for key, value in tensors.items():
            value.copy_(fill(key, value))
        logits = model(torch.tensor([IDS])).logits[0]
        given = {key: value for key, value in config.to_dict().items()
                 if not key.startswith("_") and key not in ("transformers_version", "architectures")}
        out["families"][name] = {
            "config": given,
            "tensors": {key: list(value.shape) for key, value in tensors.items()},
            # The logits after the first, a middle and the last token.
            "logits": {str(at): [round(float(v), 5) for v in logits[at]]
                       for at in (0, 6, len(IDS) - 1)},
        }
    OUT.write_text(json.dumps(out, indent=0) + "\n")
    print(OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
