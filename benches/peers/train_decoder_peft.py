"""Peer of bench-train and bench-qlora: LoRA on a decoder with PEFT and PyTorch.

    python train_decoder_peft.py make SHAPE_JSON FOLDER
    python train_decoder_peft.py train FOLDER {f32|bf16} EXAMPLES TOKENS STEPS

The first writes a model folder with random weights that both sides open. The second trains rank-16
adapters on all linear layers, on EXAMPLES sequences of TOKENS random tokens a step, all of which
carry loss; the first step is not timed. Prints one JSON object: seconds a step, peak resident
memory in bytes, the versions.
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


def make(shape, folder):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**json.loads(shape))
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)


def train(folder, precision, examples, tokens, steps):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = peft.LoraConfig(
        r=16,
        lora_alpha=32,
        lora_dropout=0.0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                        "down_proj"],
    )
    model = peft.get_peft_model(model, config)
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    ids = torch.randint(0, model.config.vocab_size, (examples, tokens))
    times = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        times.append(time.perf_counter() - began)
    times = sorted(times[1:])
    print(json.dumps({
        "seconds": times[len(times) // 2],
        "peak_bytes": peak_bytes(),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "peft": peft.__version__,
                     "transformers": transformers.__version__},
    }))


if sys.argv[1] == "make":
    make(sys.argv[2], sys.argv[3])
else:
    train(sys.argv[2], sys.argv[3], *map(int, sys.argv[4:]))
