"""Makes crates/nn/tests/golden/blocks.json with the gguf package: bytes of every block format that
sprat reads with the numbers they stand for, and numbers with the bytes they are stored as.

    python dev/golden_blocks.py

Needs numpy and gguf. Nothing is downloaded. Bytes and little-endian F32 numbers are written in
hexadecimal.
"""

import importlib.metadata
import json
import pathlib
import platform

import gguf
import numpy

OUT = pathlib.Path(__file__).parent.parent / "crates/nn/tests/golden/blocks.json"
READ = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
WRITTEN = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
# Where the F16 scales of a block stand: random bytes there would often be infinite.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208]}
# Ordinary, negative, the largest, the smallest normal, two subnormal ones, both zeros.
NUMBERS = [0.01, -0.3, 65504.0, 6.1035e-05, 6e-08, -4.5e-05, 0.0, -0.0, 1.75, 0.000123]


def blocks(draw: numpy.random.Generator, name: str) -> numpy.ndarray:
    """Random blocks with finite scales, [blocks, bytes]."""
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    if elements == 1:
        bits = draw.integers(0, 256, (64, size), dtype=numpy.uint8)
        numbers = gguf.quants.dequantize(bits.reshape(1, -1), kind).reshape(-1)
        return bits[numpy.isfinite(numbers)]
    out = draw.integers(0, 256, (len(NUMBERS) if elements == 32 else 4, size), dtype=numpy.uint8)
    for row, block in enumerate(out):
        for at, place in enumerate(SCALES[name]):
            number = numpy.float16(NUMBERS[(row * (1 + at) + 3 * at) % len(NUMBERS)])
            block[place:place + 2] = numpy.frombuffer(number.tobytes(), dtype=numpy.uint8)
    return out


def rows(draw: numpy.random.Generator) -> numpy.ndarray:
    """Numbers to store, [blocks, 32]: several widths, one-sided, constant, zero, halves."""
    out = [draw.standard_normal(32) * width for width in (1e-6, 0.02, 0.3, 1.0, 50.0, 3000.0)]
    out += [numpy.abs(draw.standard_normal(32)) * 0.1, -numpy.abs(draw.standard_normal(32)) * 0.1]
    out += [numpy.zeros(32), numpy.full(32, 0.7), numpy.full(32, -0.7)]
    out += [numpy.arange(32) - 15.5, (numpy.arange(32) - 16) / 16, numpy.eye(32)[5] * -2.0]
    # Exact halves of a step of Q8_0, which round away from zero.
    out += [numpy.concatenate([[127.0], numpy.arange(31) - 15.5])]
    return numpy.stack(out).astype(numpy.float32)


def main() -> None:
    draw = numpy.random.default_rng(20261125)
    read, written = {}, {}
    for name in READ:
        kind = gguf.GGMLQuantizationType[name]
        bits = numpy.ascontiguousarray(blocks(draw, name))
        numbers = gguf.quants.dequantize(bits.reshape(1, -1), kind).astype("<f4")
        assert numpy.isfinite(numbers).all(), name
        read[name] = {"bytes": bits.tobytes().hex(), "numbers": numbers.tobytes().hex()}
    numbers = rows(draw)
    for name in WRITTEN:
        bits = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType[name])
        written[name] = bits.tobytes().hex()
    golden = {
        "origin": {
            "what": "blocks and the numbers they stand for, of gguf.quants",
            "command": "python dev/golden_blocks.py",
            "versions": {
                "python": platform.python_version(),
                "gguf": importlib.metadata.version("gguf"),
                "numpy": numpy.__version__,
            },
        },
        "read": read,
        "written": {"numbers": numbers.astype("<f4").tobytes().hex(), "bytes": written},
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(golden, indent=0) + "\n")
    print(f"{len(read)} formats read, {len(written)} written, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
