"""Writes tests/vectors/gguf/: blocks/TYPE, eight random blocks of a type and their values; quantised/TYPE, floats and their blocks; a tiny Llama as tiny.gguf, with a tensor of every type we read, and the same values
as a Hugging Face folder in float32 (what the gguf package makes of the blocks, rows of q and k in Hugging Face's order).

    python tools/vectors_gguf.py

Needs gguf, numpy and safetensors; the tokenizer is tests/vectors/tokenizer/digits."""
import ctypes
import json
import os
import shutil

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors.numpy import save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "vectors")
WIDTH, FFN, LAYERS, HEADS, KV, VOCAB = 32, 64, 3, 2, 1, 420
rng = np.random.default_rng(11)


def values(rows, cols):
    x = rng.normal(0, 0.2, (rows, cols)).astype(np.float32)
    x[0, 0] = 0
    return x


def interleave(x, heads):
    """What llama.cpp's converter does to the rows of q and k."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, x.shape[1]).swapaxes(1, 2).reshape(x.shape)


def tensors():
    q, kv, d = WIDTH, KV * WIDTH // HEADS, WIDTH
    types = [T.Q4_1, T.Q8_0, T.Q4_0, T.Q5_0, T.Q5_1, T.F16, T.BF16, T.F32]
    yield "token_embd.weight", "model.embed_tokens.weight", values(VOCAB, d), T.Q8_0, 0
    yield "output_norm.weight", "model.norm.weight", 1 + values(1, d)[0], T.F32, 0
    yield "output.weight", "lm_head.weight", values(VOCAB, d), T.Q4_0, 0
    n = 0
    for i in range(LAYERS):
        for g, h, rows, cols, heads in [("attn_q", "self_attn.q_proj", q, d, HEADS), ("attn_k", "self_attn.k_proj", kv, d, KV),
                                        ("attn_v", "self_attn.v_proj", kv, d, 0), ("attn_output", "self_attn.o_proj", d, q, 0),
                                        ("ffn_gate", "mlp.gate_proj", FFN, d, 0), ("ffn_up", "mlp.up_proj", FFN, d, 0),
                                        ("ffn_down", "mlp.down_proj", d, FFN, 0)]:
            yield f"blk.{i}.{g}.weight", f"model.layers.{i}.{h}.weight", values(rows, cols), types[n % len(types)], heads
            n += 1
        yield f"blk.{i}.attn_norm.weight", f"model.layers.{i}.input_layernorm.weight", 1 + values(1, d)[0], T.F32, 0
        yield f"blk.{i}.ffn_norm.weight", f"model.layers.{i}.post_attention_layernorm.weight", 1 + values(1, d)[0], T.F32, 0


def blocks(out, kind, count=8):
    """Random bytes with finite scales, then the values that gguf makes of them as float32."""
    _, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(kind.value).integers(0, 256, (count, size), dtype=np.uint8)
    scales = {T.IQ4_NL: [0], T.IQ4_XS: [0], T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}[kind]
    for at in scales:
        raw[:, at + 1] &= 0xbb
    values = gguf.quants.dequantize(raw, kind).astype("<f4")
    with open(os.path.join(out, kind.name), "wb") as f:
        f.write(raw.tobytes() + values.tobytes())


def quantised(out, kind):
    """512 floats and the blocks that the gguf package makes of them; K-quants, which it does not make, by ggml itself
    from llama-cpp-python's library."""
    r = np.random.default_rng(100 + kind.value)
    x = np.concatenate([r.normal(0, 0.05, 256), r.standard_t(3, 128) * 0.02, r.normal(0, 1, 64) + 3, np.zeros(32), r.normal(0, 1, 32) - 4])
    x = x.astype(np.float32)
    try:
        raw = gguf.quants.quantize(x, kind)
    except NotImplementedError:
        import llama_cpp
        lib = ctypes.CDLL(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))
        block, size = gguf.GGML_QUANT_SIZES[kind]
        raw = np.zeros(len(x) // block * size, np.uint8)
        lib.ggml_quantize_chunk(kind.value, x.ctypes.data_as(ctypes.c_void_p), raw.ctypes.data_as(ctypes.c_void_p),
                                ctypes.c_int64(0), ctypes.c_int64(1), ctypes.c_int64(len(x)), None)
    with open(os.path.join(out, kind.name), "wb") as f:
        f.write(x.astype("<f4").tobytes() + raw.tobytes())


def main():
    os.makedirs(os.path.join(HERE, "gguf", "quantised"), exist_ok=True)
    for kind in [T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q4_K, T.Q5_K, T.Q6_K]:
        quantised(os.path.join(HERE, "gguf", "quantised"), kind)
    os.makedirs(os.path.join(HERE, "gguf", "blocks"), exist_ok=True)
    for kind in [T.IQ4_NL, T.IQ4_XS, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K]:
        blocks(os.path.join(HERE, "gguf", "blocks"), kind)
    out = os.path.join(HERE, "gguf")
    os.makedirs(os.path.join(out, "folder"), exist_ok=True)
    w = gguf.GGUFWriter(os.path.join(out, "tiny.gguf"), "llama")
    w.add_block_count(LAYERS)
    w.add_context_length(256)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(10000.0)
    w.add_rope_dimension_count(WIDTH // HEADS)
    w.add_vocab_size(VOCAB)
    with open(os.path.join(HERE, "tokenizer", "digits", "tokenizer.json")) as f:
        tok = json.load(f)
    vocab = sorted(tok["model"]["vocab"].items(), key=lambda kv: kv[1])
    special = {t["content"] for t in tok["added_tokens"]}
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list([t for t, _ in vocab])
    w.add_token_types([3 if t in special else 1 for t, _ in vocab])
    w.add_token_merges([" ".join(m) for m in tok["model"]["merges"]])
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_add_bos_token(False)
    with open(os.path.join(HERE, "..", "cases", "chat", "chatml.jsonl")) as f:
        w.add_chat_template(json.loads(f.readline())["template"])
    expected = {}
    for name, hf, x, kind, heads in tensors():
        stored = interleave(x, heads) if heads else x
        data = gguf.quants.quantize(stored, kind)
        back = gguf.quants.dequantize(data, kind).reshape(stored.shape).astype(np.float32)
        if heads:   # undone: rows (head, pair, half) become (head, half, pair)
            back = back.reshape(heads, x.shape[0] // heads // 2, 2, x.shape[1]).swapaxes(1, 2).reshape(x.shape)
        expected[hf] = np.ascontiguousarray(back)
        w.add_tensor(name, data, raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    save_file(expected, os.path.join(out, "folder", "model.safetensors"), {"format": "pt"})
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=LAYERS,
                  num_attention_heads=HEADS, num_key_value_heads=KV, vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5,
                  rope_theta=10000.0, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, torch_dtype="float32")
    with open(os.path.join(out, "folder", "config.json"), "w") as f:
        json.dump(config, f, indent=1)
    shutil.copy(os.path.join(HERE, "tokenizer", "digits", "tokenizer.json"), os.path.join(out, "folder"))


if __name__ == "__main__":
    main()
