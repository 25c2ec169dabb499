"""Does llama.cpp compute what we compute, from the same GGUF file?

    python dev/check_llama_cpp.py MODEL.gguf [TOKENS]

llama-server (built by benches/peers/llama_cpp.sh) continues a prompt greedily; we read the same
tokens and compare, at every step, the greedy choice and the logarithms of the probabilities that
the server gives. Both sides quantize activations, but not alike: llama.cpp's choice of blocks and
its half-precision cache and sums differ in the last digits. Needs nothing but Python and cargo.
"""

import json
import math
import pathlib
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).parent.parent
PORT = 18473
PROMPT = [1, 403, 407, 261, 378]


def main(model: str, count: int) -> int:
    programs = subprocess.run([ROOT / "benches/peers/llama_cpp.sh"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.strip()
    server = subprocess.Popen(
        [f"{programs}/llama-server", "-m", model, "-t", "2", "-c", "512", "-np", "1",
         "--port", str(PORT), "-fa", "off", "-ctk", "f32", "-ctv", "f32", "--no-warmup"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        steps = complete(count)
    finally:
        server.terminate()
        server.wait()
    tokens = [step["id"] for step in steps]
    print("llama.cpp:", tokens)
    run = subprocess.run(
        ["cargo", "run", "-q", "--release", "-p", "sprat-bench", "--bin", "decoder_logits", "--",
         model], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE,
        input=json.dumps(PROMPT + tokens[:-1]))
    rows = [json.loads(line) for line in run.stdout.splitlines()][len(PROMPT) - 1:]
    ours = [max(range(len(row)), key=row.__getitem__) for row in rows]
    print("ours:     ", ours)
    worst, total, compared, spread = 0.0, 0.0, 0, 0.0
    for row, step in zip(rows, steps, strict=True):
        top = max(row)
        norm = top + math.log(sum(math.exp(x - top) for x in row))
        spread = max(spread, top - min(row))
        for entry in step["top_logprobs"]:
            difference = abs(row[entry["id"]] - norm - entry["logprob"])
            worst, total, compared = max(worst, difference), total + difference, compared + 1
    same = sum(a == b for a, b in zip(ours, tokens, strict=True))
    print(f"{same} of {len(tokens)} greedy tokens the same; logarithms of {compared} "
          f"probabilities differ by {worst:.5f} at most, {total / compared:.5f} on average; "
          f"logits of a row spread over {spread:.1f}")
    return 0 if same == len(tokens) else 1


def complete(count: int) -> list[dict]:
    """The server's greedy continuation, with the probabilities of the likeliest tokens."""
    body = {"prompt": PROMPT, "n_predict": count, "temperature": 0, "n_probs": 400,
            "post_sampling_probs": False, "cache_prompt": False, "ignore_eos": False}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/completion",
                                     json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    for _ in range(300):
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)["completion_probabilities"]
        except OSError:
            time.sleep(0.5)
    raise SystemExit("llama-server does not answer")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 24))
