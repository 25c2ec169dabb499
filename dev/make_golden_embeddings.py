"""Makes crates/model/tests/golden/minilm_embeddings.json with sentence-transformers.

    python dev/make_golden_embeddings.py MODEL_FOLDER

MODEL_FOLDER is all-MiniLM-L6-v2 as sentence-transformers reads it. Needs torch and
sentence-transformers. The file holds the texts, the token counts and the embeddings, 384
half-precision numbers each, in base64; rounding to half precision moves a cosine by less
than 1e-6.
"""

import base64
import hashlib
import json
import pathlib
import platform
import sys

import numpy
import sentence_transformers
import torch
import transformers
from golden_texts import texts

OUT = pathlib.Path(__file__).parent.parent / "crates/model/tests/golden/minilm_embeddings.json"


def main(folder: str) -> None:
    torch.set_grad_enabled(False)
    model = sentence_transformers.SentenceTransformer(folder, device="cpu").float()
    sentences = texts()
    # One at a time: no padding, so that the numbers are those of the text alone.
    vectors = numpy.stack([model.encode(text, convert_to_numpy=True) for text in sentences])
    lengths = [int(model.tokenize([text])["input_ids"].shape[1]) for text in sentences]
    weights = pathlib.Path(folder, "model.safetensors").read_bytes()
    golden = {
        "origin": {
            "what": "sentence embeddings, float32 computation, rounded to float16 for storage",
            "model": "sentence-transformers/all-MiniLM-L6-v2",
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "command": "python dev/make_golden_embeddings.py MODEL_FOLDER",
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "sentence-transformers": sentence_transformers.__version__,
            },
            "max_seq_length": model.max_seq_length,
            "texts": "written by the authors of this repository: dev/golden_texts.py",
        },
        "items": [
            {
                "text": text,
                "tokens": length,
                "embedding": base64.b64encode(vector.astype("<f2").tobytes()).decode(),
            }
            for text, length, vector in zip(sentences, lengths, vectors)
        ],
    }
    OUT.write_text(json.dumps(golden, ensure_ascii=True, indent=0) + "\n")
    print(f"{len(sentences)} texts, {min(lengths)} to {max(lengths)} tokens, "
          f"{OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
