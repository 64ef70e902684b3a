"""A GGUF file of 115 KB: a llama of one layer with random weights, which speaks gibberish but truly runs."""

import random
import struct
from pathlib import Path

WIDTH, HIDDEN, HEADS = 32, 64, 2
TOKENS = [
    *(("<unk>", 2), ("<s>", 3), ("</s>", 3)),
    *((f"<0x{byte:02X}>", 6) for byte in range(256)),
    *((f"\u2581{word}", 1) for word in ("a", "the", "cat", "dog", "sun", "saw", "ran", "to", "and", "was")),
]
U32, I32, F32, STRING, ARRAY = 4, 5, 6, 8, 9
ALIGN = 32


def write(path: Path) -> Path:
    """Write the model; its end token never wins, so that an answer is as long as it may be."""
    head, data = b"", b""
    for name, dims in _tensors().items():
        data += b"\0" * (-len(data) % ALIGN)
        head += _string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, len(data))
        data += _weights(name, dims)
    pairs = [_string(key) + struct.pack("<I", kind) + value for key, kind, value in _pairs()]
    said = b"GGUF" + struct.pack("<IQQ", 3, len(_tensors()), len(pairs)) + b"".join(pairs) + head
    path.write_bytes(said + b"\0" * (-len(said) % ALIGN) + data)
    return path


def _tensors() -> dict[str, tuple[int, ...]]:
    block = {f"attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")} | {
        "attn_norm": (WIDTH,),
        "ffn_norm": (WIDTH,),
        "ffn_gate": (WIDTH, HIDDEN),
        "ffn_up": (WIDTH, HIDDEN),
        "ffn_down": (HIDDEN, WIDTH),
    }
    ends = {"token_embd": (WIDTH, len(TOKENS)), "output": (WIDTH, len(TOKENS)), "output_norm": (WIDTH,)}
    named = ends | {f"blk.0.{name}": dims for name, dims in block.items()}
    return {f"{name}.weight": dims for name, dims in named.items()}


def _weights(name: str, dims: tuple[int, ...]) -> bytes:
    count = dims[0] * (dims[1] if len(dims) > 1 else 1)
    chance = random.Random(name)
    values = [1.0] * count if len(dims) == 1 else [chance.gauss(0, 0.3) for _ in range(count)]
    if name == "output.weight":
        values[: 3 * WIDTH] = [0.0] * (3 * WIDTH)
    return struct.pack(f"<{count}f", *values)


def _pairs() -> list[tuple[str, int, bytes]]:
    numbers = {
        "llama.context_length": 2048,
        "llama.embedding_length": WIDTH,
        "llama.block_count": 1,
        "llama.feed_forward_length": HIDDEN,
        "llama.attention.head_count": HEADS,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    texts, kinds = zip(*TOKENS, strict=True)
    count = struct.pack("<Q", len(TOKENS))
    return [
        ("general.architecture", STRING, _string("llama")),
        ("tokenizer.ggml.model", STRING, _string("llama")),
        ("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5)),
        *((key, U32, struct.pack("<I", value)) for key, value in numbers.items()),
        (
            "tokenizer.ggml.tokens",
            ARRAY,
            struct.pack("<I", STRING) + count + b"".join(map(_string, texts)),
        ),
        (
            "tokenizer.ggml.scores",
            ARRAY,
            struct.pack("<I", F32) + count + struct.pack(f"<{len(TOKENS)}f", *[0.0] * len(TOKENS)),
        ),
        (
            "tokenizer.ggml.token_type",
            ARRAY,
            struct.pack("<I", I32) + count + struct.pack(f"<{len(TOKENS)}i", *kinds),
        ),
    ]


def _string(text: str) -> bytes:
    said = text.encode()
    return struct.pack("<Q", len(said)) + said
