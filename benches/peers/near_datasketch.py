"""Near-duplicates by datasketch's MinHash LSH over the same shingles as ours: character 4-grams,
Jaccard similarity 0.8, 80 permutations in 16 bands of 5. Prints seconds and pairs found."""

import csv
import re
import sys
import time

from datasketch import MinHash, MinHashLSH

start = time.perf_counter()
with open(sys.argv[1], newline="", encoding="utf-8") as file:
    texts = [row["text"] for row in csv.DictReader(file)]


def shingles(text):
    text = " " + " ".join(re.findall(r"\w+", text.lower())) + " "
    return {text[at : at + 4] for at in range(max(1, len(text) - 3))}


lsh = MinHashLSH(num_perm=80, params=(16, 5))
seen, pairs = [], 0
for number, text in enumerate(texts):
    grams = shingles(text)
    sketch = MinHash(num_perm=80, seed=1)
    sketch.update_batch([gram.encode() for gram in grams])
    for other in lsh.query(sketch):
        both = len(grams & seen[other])
        pairs += both / (len(grams) + len(seen[other]) - both) >= 0.8
    lsh.insert(number, sketch)
    seen.append(grams)
print(time.perf_counter() - start, pairs)
