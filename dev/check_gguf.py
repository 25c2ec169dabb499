"""Are GGUF files written here the same to the gguf package?

    python dev/check_gguf.py [FILE]

Without a file `crates/model/examples/gguf_sample.rs` writes one. Reads it with gguf.GGUFReader and
compares metadata, names and shapes; every tensor as that package restores it with how we restored
it, bit by bit; and, where the package can store the format, the bytes. Needs numpy and gguf.
"""

import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy

ROOT = pathlib.Path(__file__).parent.parent
METADATA = {
    "general.architecture": "llama", "sample.u8": 8, "sample.i8": -8, "sample.u16": 16,
    "sample.i16": -16, "sample.u32": 32, "sample.i32": -32, "sample.u64": 2**64 - 1,
    "sample.i64": -2**63, "sample.f32": 0.25, "sample.f64": 0.1, "sample.flag": True,
    "sample.text": "grün", "sample.texts": ["a", "", "日本"], "sample.floats": [0.5, -1.0],
    "sample.numbers": [3, -4], "sample.flags": [True, False],
    "general.quantization_version": 2,
}
STORED = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def main(path: str) -> int:
    reader = gguf.GGUFReader(path)
    found = {name: field.contents() for name, field in reader.fields.items()
             if not name.startswith("GGUF.")}
    wrong = [] if found == METADATA else [f"metadata: {found}"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    original = tensors.pop("original")
    names = [name for name in tensors if not name.endswith(".restored")]
    for name in names:
        tensor, ours = tensors[name], tensors[f"{name}.restored"].data
        if list(tensor.shape) != [768, 24] or tensor.tensor_type.name != name:
            wrong.append(f"{name}: {tensor.tensor_type.name} {list(tensor.shape)}")
        theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        same = theirs.reshape(ours.shape).tobytes() == ours.tobytes()
        stored = "not stored by the package"
        if name in STORED:
            bits = gguf.quants.quantize(numpy.array(original.data), tensor.tensor_type)
            stored = f"bytes {'the same' if bits.tobytes() == tensor.data.tobytes() else 'DIFFER'}"
        error = numpy.sqrt(((ours - original.data) ** 2).mean() / (original.data**2).mean())
        print(f"{name:5} restored {'the same' if same else 'DIFFERENTLY'}, {stored}, "
              f"relative error {error:.5f}")
        if not same or "DIFFER" in stored:
            wrong.append(name)
    print(f"{len(found)} entries, {len(reader.tensors)} tensors, wrong: {wrong or 'none'}")
    return 1 if wrong or len(names) != 11 else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(sys.argv[1]))
    with tempfile.TemporaryDirectory() as folder:
        sample = str(pathlib.Path(folder, "sample.gguf"))
        command = ["cargo", "run", "--quiet", "-p", "sprat-model", "--example", "gguf_sample"]
        subprocess.run([*command, "--", sample], check=True, cwd=ROOT)
        sys.exit(main(sample))
