"""Peer of bench-encoder-train: LoRA on a BERT encoder with PEFT and PyTorch, on given batches.

    python train_peft.py MODEL_FOLDER BATCHES_JSON {f32|bf16} RANK ALPHA DROPOUT

BATCHES_JSON: {"classes": N, "warmup": W, "batches": [[[text, class], ...], ...]}. The first W
batches are not timed. Prints one JSON object: real (unpadded) tokens per second over the timed
batches, padded tokens, peak resident memory in bytes, the losses, and the versions.
"""

import json
import sys
import time

import peft
import torch
import transformers


def peak_bytes():
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


class Classifier(torch.nn.Module):
    """Mean pooling, length one, a linear head: what sentence-transformers models do."""

    def __init__(self, encoder, classes):
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(encoder.config.hidden_size, classes)

    def forward(self, ids, mask):
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * weights).sum(1) / weights.sum(1)
        return self.head(torch.nn.functional.normalize(pooled, dim=-1))


def main():
    folder, batches_file, precision, rank, alpha, dropout = sys.argv[1:]
    torch.manual_seed(0)
    with open(batches_file) as file:
        work = json.load(file)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoder = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
    config = peft.LoraConfig(
        r=int(rank),
        lora_alpha=float(alpha),
        lora_dropout=float(dropout),
        target_modules=["query", "key", "value", "attention.output.dense",
                        "intermediate.dense", "output.dense"],
    )
    model = Classifier(peft.get_peft_model(encoder, config), work["classes"])
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)

    # Tokenized beforehand, as ours are: the steps alone are timed. Padding is dynamic, to the
    # longest text of each batch.
    prepared = []
    for batch in work["batches"]:
        texts = [text for text, _ in batch]
        encoded = tokenizer(texts, padding="longest", truncation=True, return_tensors="pt")
        labels = torch.tensor([label for _, label in batch])
        prepared.append((encoded["input_ids"], encoded["attention_mask"], labels))

    losses, real, padded = [], 0, 0
    began = time.perf_counter()
    for step, (ids, mask, labels) in enumerate(prepared):
        if step == work["warmup"]:
            real, padded, began = 0, 0, time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = torch.nn.functional.cross_entropy(model(ids, mask), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        real += int(mask.sum())
        padded += mask.numel()
    seconds = time.perf_counter() - began
    print(json.dumps({
        "tokens_per_second": real / seconds,
        "real_tokens": real,
        "padded_tokens": padded,
        "seconds": seconds,
        "peak_bytes": peak_bytes(),
        "losses": losses,
        "trainable": sum(parameter.numel() for parameter in trained),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "peft": peft.__version__,
                     "transformers": transformers.__version__},
    }))


if __name__ == "__main__":
    main()
