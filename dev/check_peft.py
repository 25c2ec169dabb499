"""Do adapters written here compute the same in PEFT, and adapters written by PEFT the same here?

    python dev/check_peft.py BASE_FOLDER [ARTEFACT_FOLDER]

Without an artefact one with random adapters on every linear layer is made. Loads base and
adapter in PEFT, pools and applies the head, and compares with the logits that
`crates/model/examples/logits.rs` prints; then saves the adapter from PEFT and reads that one.
Fails when a logit differs by more than 1e-4. Needs torch, transformers, peft and safetensors.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import peft
import safetensors.torch
import torch
import transformers
from golden_texts import texts

ALLOWED = 1e-4
ROOT = pathlib.Path(__file__).parent.parent


def ours(artefact: str, base: str, sentences: list[str], random: bool) -> torch.Tensor:
    """The logits of the Rust side, [texts, labels]."""
    command = ["cargo", "run", "--quiet", "-p", "sprat-model", "--example", "logits", "--"]
    done = subprocess.run(
        command + (["--random"] if random else []) + [artefact, base], check=True, cwd=ROOT,
        input="\n".join(json.dumps(text) for text in sentences), text=True, capture_output=True)
    return torch.tensor([json.loads(line) for line in done.stdout.splitlines()])


def pooled(states: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector from the states of one text, [tokens, hidden]; there is no padding."""
    return {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]


def theirs(model, artefact: str, base: str, sentences: list[str]) -> torch.Tensor:
    """The logits of PEFT's model, one text at a time."""
    manifest = json.loads(pathlib.Path(artefact, "classifier.json").read_text())
    head = safetensors.torch.load_file(pathlib.Path(artefact, "head.safetensors"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    rows = []
    for text in sentences:
        text = text.lower() if manifest["lowercase"] else text
        tokens = tokenizer(manifest["prefix"] + text, truncation=True,
                           max_length=manifest["max_tokens"], return_tensors="pt")
        vector = pooled(model(**tokens).last_hidden_state[0], manifest["pooling"])
        if manifest["normalize"]:
            vector = torch.nn.functional.normalize(vector, dim=0)
        rows.append(head["weight"] @ vector + head["bias"])
    return torch.stack(rows)


def report(what: str, a: torch.Tensor, b: torch.Tensor) -> bool:
    worst = (a - b).abs().max().item()
    print(f"{what}: largest difference {worst:.2e} over {tuple(a.shape)} logits, "
          f"which spread by {a.std().item():.3f}; allowed {ALLOWED:.0e}")
    return worst <= ALLOWED


def main(base: str, given: str | None) -> int:
    torch.set_grad_enabled(False)
    sentences = texts()
    with tempfile.TemporaryDirectory() as folder:
        artefact = given or str(pathlib.Path(folder, "artefact"))
        mine = ours(artefact, base, sentences, random=given is None)
        plain = transformers.AutoModel.from_pretrained(base).eval().float()
        untuned = theirs(plain, artefact, base, sentences)
        model = peft.PeftModel.from_pretrained(plain, artefact).eval()
        tuned = theirs(model, artefact, base, sentences)
        # If the adapter had not been loaded, this would be zero.
        effect = (tuned - untuned).abs().max().item()
        print(f"the adapter moves logits by up to {effect:.3f}")
        good = effect > 100 * ALLOWED and report("written here, read by PEFT", mine, tuned)

        back = pathlib.Path(folder, "back")
        model.save_pretrained(back)
        for name in ["classifier.json", "head.safetensors"]:
            shutil.copy(pathlib.Path(artefact, name), back / name)
        again = ours(str(back), base, sentences, random=False)
        good = report("written by PEFT, read here", again, tuned) and good
    print("PASS" if good else "FAIL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
