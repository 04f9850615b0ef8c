#!/usr/bin/env python3
"""tools/big_gguf.py - a GGUF file with the shape of a 7B model and random blocks, for measuring memory.

    tools/big_gguf.py models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf /tmp/7b.gguf        # 4.2 GB

The tokenizer is the first file's (its vocabulary too); the mix of types is llama.cpp's Q4_K_M: half of the
layers have v and down in Q6_K, the head is Q6_K, norms are F32, everything else is Q4_K.  Quants are
random; scales give weights a deviation of about 0.02.  Needs nothing beyond Python."""
import os, random, struct, sys

WIDTH, FFN, LAYERS, HEADS, KV = 4096, 11008, 32, 32, 32
U32, F32, STRING, ARRAY = 4, 6, 8, 9
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
ALIGN = 32


def string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def skip_value(f, kind):
    """Moves past one value."""
    if kind == STRING:
        f.seek(struct.unpack("<Q", f.read(8))[0], 1)
    elif kind == ARRAY:
        of, n = struct.unpack("<IQ", f.read(12))
        for _ in range(n if of in (STRING, ARRAY) else 0):
            skip_value(f, of)
        if of not in (STRING, ARRAY):
            f.seek(SIZES[of] * n, 1)
    else:
        f.seek(SIZES[kind], 1)


def tokenizer_of(path):
    """The keys about the tokenizer as bytes, and how many tokens there are."""
    keys, vocab = [], 0
    with open(path, "rb") as f:
        magic, version, tensors, n = struct.unpack("<4sIQQ", f.read(24))
        assert magic == b"GGUF", path
        for _ in range(n):
            start = f.tell()
            name = f.read(struct.unpack("<Q", f.read(8))[0]).decode()
            kind = struct.unpack("<I", f.read(4))[0]
            at = f.tell()
            if name == "tokenizer.ggml.tokens":
                vocab = struct.unpack("<IQ", f.read(12))[1]
                f.seek(at)
            skip_value(f, kind)
            if name.startswith("tokenizer."):
                end = f.tell()
                f.seek(start)
                keys.append(f.read(end - start))
    return keys, vocab


def half(x):
    return struct.pack("<e", x)


def block(kind, r):
    if kind == "Q4_K":
        return half(8e-5) + half(6e-4) + r.randbytes(140)
    return r.randbytes(192) + bytes(r.randrange(16, 48) for _ in range(16)) + half(4e-5)


KINDS = {"F32": (0, 1, 4), "Q4_K": (12, 256, 144), "Q6_K": (14, 256, 210)}


def tensors(vocab):
    """Name, columns, rows (0: a vector), type."""
    yield "token_embd.weight", WIDTH, vocab, "Q4_K"
    for i in range(LAYERS):
        more = "Q6_K" if i < LAYERS // 8 or i >= 7 * LAYERS // 8 or (i - LAYERS // 8) % 3 == 2 else "Q4_K"
        kv = WIDTH // HEADS * KV
        for name, cols, rows, kind in (
                ("attn_norm", WIDTH, 0, "F32"), ("attn_q", WIDTH, WIDTH, "Q4_K"), ("attn_k", WIDTH, kv, "Q4_K"),
                ("attn_v", WIDTH, kv, more), ("attn_output", WIDTH, WIDTH, "Q4_K"), ("ffn_norm", WIDTH, 0, "F32"),
                ("ffn_gate", WIDTH, FFN, "Q4_K"), ("ffn_up", WIDTH, FFN, "Q4_K"), ("ffn_down", FFN, WIDTH, more)):
            yield f"blk.{i}.{name}.weight", cols, rows, kind
    yield "output_norm.weight", WIDTH, 0, "F32"
    yield "output.weight", WIDTH, vocab, "Q6_K"


def main():
    source, path = sys.argv[1], sys.argv[2]
    keys, vocab = tokenizer_of(source)
    facts = [("general.architecture", STRING, "llama"), ("general.name", STRING, "random 7B"),
             ("llama.block_count", U32, LAYERS), ("llama.context_length", U32, 4096),
             ("llama.embedding_length", U32, WIDTH), ("llama.feed_forward_length", U32, FFN),
             ("llama.attention.head_count", U32, HEADS), ("llama.attention.head_count_kv", U32, KV),
             ("llama.rope.dimension_count", U32, WIDTH // HEADS), ("llama.vocab_size", U32, vocab),
             ("llama.attention.layer_norm_rms_epsilon", F32, 1e-5), ("llama.rope.freq_base", F32, 1e4)]
    for name, kind, value in facts:
        text = string(value) if kind == STRING else struct.pack("<I" if kind == U32 else "<f", value)
        keys.append(string(name) + struct.pack("<I", kind) + text)
    table, at, sizes = [], 0, []
    for name, cols, rows, kind in tensors(vocab):
        number, values, size = KINDS[kind]
        shape = [cols, rows] if rows else [cols]
        table.append(string(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
                     + struct.pack("<IQ", number, at))
        sizes.append((kind, cols * max(rows, 1) // values * size))
        at = (at + sizes[-1][1] + ALIGN - 1) // ALIGN * ALIGN
    r = random.Random(1)
    pattern = {k: b"".join(block(k, r) for _ in range(4096)) for k in ("Q4_K", "Q6_K")}
    pattern["F32"] = struct.pack("<f", 1) * 4096
    with open(path + ".part", "wb") as f:
        f.write(struct.pack("<4sIQQ", b"GGUF", 3, len(table), len(keys)) + b"".join(keys) + b"".join(table))
        f.write(bytes(-f.tell() % ALIGN))
        for kind, size in sizes:
            p = pattern[kind]
            for _ in range(size // len(p)):
                f.write(p)
            f.write(p[:size % len(p)])
            f.write(bytes(-size % ALIGN))
    os.rename(path + ".part", path)
    print(f"{path}: {os.path.getsize(path) / 1e9:.2f} GB, vocabulary of {vocab}")


main()
