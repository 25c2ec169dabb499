"""Do decoders' adapters learn and compute here what they do in PEFT?

    python dev/check_peft_decoder.py

For one tiny random decoder of each kind: trains an adapter on every linear layer here and, from
the same beginning, in PyTorch with PEFT, and compares losses and matrices after some steps of
AdamW; loads the adapter written here in PEFT and compares logits, then the other way round. Needs
torch, transformers, peft and safetensors; nothing is downloaded.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import peft
import safetensors.torch
import torch
import transformers
from make_golden_decoders import FAMILIES, of

ROOT = pathlib.Path(__file__).parent.parent
ALLOWED = {"loss": 1e-5, "matrix": 2e-4, "logit": 1e-4}
JOB = {
    "examples": [
        {"ids": [1, 5, 6, 7, 8, 19, 3, 4, 11, 2], "answer": {"start": 4, "end": 10}},
        {"ids": [1, 9, 2], "answer": {"start": 1, "end": 3}},
        {"ids": [12, 13, 14, 15, 2, 7, 7], "answer": {"start": 3, "end": 5}},
    ],
    "steps": 6,
    "rate": 0.005,
}


def ours(what: str, base: str, folder: str) -> list:
    """What the Rust side prints, one JSON value a line."""
    command = ["cargo", "run", "--quiet", "-p", "sprat-model", "--example", "decoder_adapter", "--"]
    done = subprocess.run(command + [what, base, folder], check=True, cwd=ROOT,
                          input=json.dumps(JOB), text=True, capture_output=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def loss(model) -> torch.Tensor:
    """The mean over all answers' tokens."""
    total, count = 0.0, 0
    for example in JOB["examples"]:
        ids, answer = torch.tensor([example["ids"]]), example["answer"]
        rows = slice(answer["start"] - 1, answer["end"] - 1)
        targets = ids[0, answer["start"]:answer["end"]]
        logits = model(ids).logits[0, rows]
        total = total + torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        count += len(targets)
    return total / count


def train(model) -> list[float]:
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=JOB["rate"], weight_decay=0.01)
    losses = []
    for _ in range(JOB["steps"]):
        optimizer.zero_grad()
        found = loss(model)
        found.backward()
        losses.append(found.item())
        optimizer.step()
    return losses


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([model(torch.tensor([example["ids"]])).logits[0]
                          for example in JOB["examples"]])


def matrices(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "adapter_model.safetensors")


def check(name: str, kind: str, settings: dict, folder: pathlib.Path) -> bool:
    torch.manual_seed(1)
    # Strong enough weights that a difference would show.
    config, model_class = of(kind, dict(settings, initializer_range=0.2))
    config._attn_implementation = "eager"
    base = str(folder / "base")
    model_class(config).save_pretrained(base)

    def fresh():
        return model_class.from_pretrained(base, attn_implementation="eager").float()

    mine = ours("train", base, str(folder))[0]
    model = peft.PeftModel.from_pretrained(fresh(), folder / "start", is_trainable=True).eval()
    theirs = train(model)
    model.save_pretrained(folder / "theirs")
    end, their_end = matrices(folder / "end"), matrices(folder / "theirs")
    assert end.keys() == their_end.keys(), f"{name}: other tensors"
    of_loss = max(abs(a - b) for a, b in zip(mine, theirs))
    of_matrix = max((end[key] - their_end[key]).abs().max().item() for key in end)

    plain = logits(fresh())
    loaded = logits(peft.PeftModel.from_pretrained(fresh(), folder / "end").eval())
    written = torch.tensor(ours("logits", base, str(folder / "end")))
    back = torch.tensor(ours("logits", base, str(folder / "theirs")))
    of_logit = max((written - loaded).abs().max().item(),
                   (back - logits(model)).abs().max().item())
    effect = (loaded - plain).abs().max().item()
    print(f"{name:18} loss {theirs[0]:.4f} to {theirs[-1]:.4f}, largest differences: loss "
          f"{of_loss:.1e}, matrices {of_matrix:.1e}, logits {of_logit:.1e} (adapter moves them "
          f"by {effect:.2f})", flush=True)
    return (of_loss <= ALLOWED["loss"] and of_matrix <= ALLOWED["matrix"]
            and of_logit <= ALLOWED["logit"] and effect > 100 * ALLOWED["logit"])


def main() -> int:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    good = True
    for name, (kind, settings) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            good = check(name, kind, settings, pathlib.Path(folder)) and good
    print("PASS" if good else "FAIL")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
