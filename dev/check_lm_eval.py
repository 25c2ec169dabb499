"""Runs lm-eval's log-likelihood tasks against a running server and against transformers.

    python dev/check_lm_eval.py http://127.0.0.1:8080/v1 MODEL_NAME MODEL_FOLDER

MODEL_NAME is what the server calls the model, MODEL_FOLDER the same model in Hugging Face's layout.
A multiple-choice task is made from local data (no network): both must choose the same answers, and
the log-likelihoods of all choices must agree to 1e-2. Needs `lm_eval`, `torch`, `transformers`.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

import lm_eval  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

QUESTIONS = [
    ("The opposite of hot is", ["cold", "green", "seven"], 0),
    ("Two and two make", ["nine", "four", "blue"], 1),
    ("A dog is an", ["animal", "ocean", "engine"], 0),
    ("Snow is", ["black", "white", "loud"], 1),
    ("Paris lies in", ["France", "Brazil", "Kenya"], 0),
    ("Fish live in", ["trees", "water", "books"], 1),
    ("The sun rises in the", ["east", "drawer", "song"], 0),
    ("Bread is made from", ["steel", "flour", "smoke"], 1),
]

TASK = """
task: sprat_local
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list:
  - metric: acc
"""


def evaluate(model, arguments, folder):
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    results = lm_eval.simple_evaluate(
        model=model, model_args=arguments, tasks=["sprat_local"], task_manager=manager,
        log_samples=True, bootstrap_iters=0,
    )
    samples = sorted(results["samples"]["sprat_local"], key=lambda sample: sample["doc_id"])
    scores = [[float(response[0]) for response in sample["filtered_resps"]] for sample in samples]
    return results["results"]["sprat_local"]["acc,none"], scores


def main():
    url, name, folder = sys.argv[1:4]
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        data = place / "data.jsonl"
        rows = [{"question": q, "choices": c, "answer": a} for q, c, a in QUESTIONS]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (place / "task.yaml").write_text(TASK.format(data=data))
        served = evaluate(
            "local-completions",
            {"model": name, "base_url": f"{url}/completions", "tokenizer": folder,
             "tokenizer_backend": "huggingface", "num_concurrent": 2, "max_retries": 1,
             # As transformers does it by itself where the tokenizer says so.
             "add_bos_token": True},
            place,
        )
        local = evaluate(
            "hf", {"pretrained": folder, "dtype": "float32", "device": "cpu", "batch_size": 1},
            place,
        )
    if "-v" in sys.argv: print(served[1][0], local[1][0])
    worst = max(abs(a - b) for x, y in zip(served[1], local[1]) for a, b in zip(x, y))
    print(f"accuracy: served {served[0]:.3f}, transformers {local[0]:.3f}")
    print(f"largest difference of {sum(map(len, served[1]))} log-likelihoods: {worst:.2e}")
    assert served[0] == local[0] and worst < 1e-2
    print("all checks passed")


main()
