"""Makes crates/model/tests/golden/families.json with transformers: one tiny random encoder of
each family, its weights drawn from a formula that the test repeats, and its hidden states.

    python dev/make_golden_families.py

Needs torch and transformers. Nothing is downloaded.
"""

import json
import math
import pathlib
import platform

import tokenizers
import torch
import transformers
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel
from transformers import RobertaConfig, RobertaModel, XLMRobertaConfig, XLMRobertaModel

OUT = pathlib.Path(__file__).parent.parent / "crates/model/tests/golden/families.json"

SHARED = dict(vocab_size=24, max_position_embeddings=20, layer_norm_eps=1e-5)
WIDE = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
FAMILIES = {
    "bert": (BertModel, BertConfig(
        **SHARED, **WIDE, pad_token_id=0, type_vocab_size=2, hidden_act="gelu")),
    "bert-tanh": (BertModel, BertConfig(
        **SHARED, **WIDE, pad_token_id=0, type_vocab_size=1, hidden_act="gelu_new")),
    "roberta": (RobertaModel, RobertaConfig(
        **SHARED, **WIDE, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1)),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig(
        **SHARED, **WIDE, pad_token_id=3, bos_token_id=0, eos_token_id=2, type_vocab_size=1)),
    "distilbert": (DistilBertModel, DistilBertConfig(
        vocab_size=24, max_position_embeddings=20, dim=16, n_layers=2, n_heads=2, hidden_dim=24,
        pad_token_id=0, activation="gelu")),
}
TEXTS = [[0, 5, 6, 7, 8, 2], [0, 2], [0, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 2]]


def fill(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """The formula: sin(i · 0.7 + h) with h from the name; scales of norms lie around 1."""
    start = sum((at + 1) * byte for at, byte in enumerate(name.encode())) % 997
    flat = [math.sin(i * 0.7 + start) for i in range(tensor.numel())]
    values = torch.tensor(flat, dtype=torch.float64).reshape(tensor.shape) * 0.3
    if "norm" in name.lower() and name.endswith(".weight"):
        values = values + 1.0
    return values.float()


SENTENCES = ["red cat", "the red dog", "", "a  bluebird <pad> sings", "über café"]


def xlm_tokenizer() -> tokenizers.Tokenizer:
    """A SentencePiece-like tokenizer as XLM-R has it, with a vocabulary of 24 pieces."""
    pieces = ["<s>", "<unk>", "</s>", "<pad>", "\u2581", "\u2581red", "\u2581cat", "\u2581dog",
              "\u2581blue", "bird", "\u2581the", "\u2581a", "\u2581sing", "s", "r", "e", "d", "c",
              "a", "t", "f", "\u2581quer", "y", ":"]
    vocabulary = [(piece, 0.0 if at < 4 else -1.0 - 0.1 * at) for at, piece in enumerate(pieces)]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(vocabulary, unk_id=1))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made.add_special_tokens(["<s>", "<unk>", "</s>", "<pad>"])
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return made


def main() -> None:
    torch.set_grad_enabled(False)
    out = {
        "origin": {
            "what": "hidden states of tiny encoders with weights from a formula, float32",
            "command": "python dev/make_golden_families.py",
            "versions": {"python": platform.python_version(), "torch": torch.__version__,
                         "transformers": transformers.__version__},
        },
        "families": {},
    }
    for name, (kind, config) in FAMILIES.items():
        model = kind(config).eval()
        tensors = [(key, value) for key, value in model.named_parameters() if "pooler" not in key]
        for key, value in tensors:
            value.copy_(fill(key, value))
        states = [model(torch.tensor([ids])).last_hidden_state[0] for ids in TEXTS]
        settings = {key: value for key, value in config.to_dict().items()
                    if isinstance(value, (int, float, str)) and not key.startswith("_")}
        out["families"][name] = {
            "config": settings,
            "tensors": {key: list(value.shape) for key, value in tensors},
            "texts": TEXTS,
            # The first and the last token of each text: enough to see any difference.
            "first": [[round(float(v), 6) for v in state[0]] for state in states],
            "last": [[round(float(v), 6) for v in state[-1]] for state in states],
        }
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=xlm_tokenizer(), pad_token="<pad>", unk_token="<unk>",
        bos_token="<s>", eos_token="</s>")
    out["tokenizer"] = {
        "file": json.loads(xlm_tokenizer().to_str()),
        "prefix": "query: ",
        "limit": 8,
        "texts": SENTENCES,
        "ids": [fast("query: " + text, truncation=True, max_length=8)["input_ids"]
                for text in SENTENCES],
    }
    OUT.write_text(json.dumps(out, indent=0) + "\n")
    print(OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
