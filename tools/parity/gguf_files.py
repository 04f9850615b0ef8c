"""GGUF files that this program writes: run in llama.cpp, read back, and their blocks beside llama.cpp's own.

A tiny random model of every family is exported as F32; llama.cpp and this program compute the same log-probs and greedy
ids from that file, and the file exported again as a folder holds the bits of the original.  The demo's model is
exported in every type that is written.  Blocks are compared with the gguf package's and, through ctypes, with ggml's."""
import ctypes
import json
import os
import re
import shutil
import tempfile

import gguf
import numpy as np
import torch
import transformers as tr
from safetensors.torch import load_file

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENIZER = os.path.join(HERE, "..", "..", "tests", "vectors", "families", "tokenizer.json")
BOUND = 2e-4        # log-probs in fp32: llama.cpp sums attention and rotates in its own order
GELU = 2e-2         # where llama.cpp takes tanh's approximation of GELU, or fp16 tables
NEW = 64
TEXT = ["The mill by the river was sold,", " and nobody knew to whom it belonged now. Later, it burned down twice!"]

SHAPE = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256, vocab_size=258, bos_token_id=None, eos_token_id=256, pad_token_id=257)
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64, "rope_theta": 5000.0}
LONG = {"rope_type": "longrope", "rope_theta": 1000.0, "short_factor": [1.0, 1.3, 1.9, 2.5], "long_factor": [1.0, 2.0, 8.0, 20.0],
        "partial_rotary_factor": 0.5}
MODELS = {
    "llama": (tr.LlamaConfig, dict()),
    "llama, llama3 rope": (tr.LlamaConfig, dict(rope_parameters=LLAMA3, head_dim=32, attention_bias=True, mlp_bias=True)),
    "llama, linear": (tr.LlamaConfig, dict(rope_parameters={"rope_type": "linear", "factor": 3.0, "rope_theta": 700.0},
                                           tie_word_embeddings=True)),
    "llama, yarn": (tr.LlamaConfig, dict(rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0,
                                                          "original_max_position_embeddings": 64})),
    "mistral": (tr.MistralConfig, dict(sliding_window=None, head_dim=32)),
    "mixtral": (tr.MixtralConfig, dict(num_local_experts=4, num_experts_per_tok=2, sliding_window=None)),
    "qwen2": (tr.Qwen2Config, dict(tie_word_embeddings=True)),
    "qwen3": (tr.Qwen3Config, dict(head_dim=24)),
    "gemma": (tr.GemmaConfig, dict(head_dim=32, num_key_value_heads=1)),
    "gemma2": (tr.Gemma2Config, dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=32, attn_logit_softcapping=5.0,
                                     final_logit_softcapping=4.0)),
    "gemma3": (tr.Gemma3TextConfig, dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=16, num_hidden_layers=7, rope_parameters={
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 3000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})),
    "phi3": (tr.Phi3Config, dict(rope_parameters=LONG, num_key_value_heads=4, original_max_position_embeddings=256,
                                 max_position_embeddings=1024, sliding_window=None)),
    "gpt2": (tr.GPT2Config, dict(num_key_value_heads=4, n_embd=64, n_layer=3, n_head=4, n_positions=256)),
    "gpt_neox": (tr.GPTNeoXConfig, dict(num_key_value_heads=4, rotary_pct=0.25)),
    "gpt_neox, serial": (tr.GPTNeoXConfig, dict(num_key_value_heads=4, rotary_pct=0.5, use_parallel_residual=False)),
    "olmo2": (tr.Olmo2Config, dict()),
    "granite": (tr.GraniteConfig, dict(embedding_multiplier=6.0, residual_multiplier=0.3, attention_multiplier=0.2, logits_scaling=3.0)),
    "wide": (tr.LlamaConfig, dict(hidden_size=256, intermediate_size=512, num_hidden_layers=9, tie_word_embeddings=True)),
    "smollm3": (tr.SmolLM3Config, dict(num_hidden_layers=5, use_sliding_window=False)),
}


def make(name, folder):
    kind, choices = MODELS[name]
    torch.manual_seed(len(name))
    model = tr.AutoModelForCausalLM.from_config(kind(**(SHAPE | choices))).float().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():     # away from the start, where all is near zero
            p.copy_(torch.randn_like(p) * (0.25 if p.ndim > 1 else 0.1) + (1.0 if "norm" in key and key.endswith("weight") and
                    not name.startswith("gemma") else 0.0))
    model.save_pretrained(folder)
    shutil.copy(TOKENIZER, folder)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump({"eos_token": "<|endoftext|>", "pad_token": "<|pad|>", "tokenizer_class": "PreTrainedTokenizerFast"}, f)
    return model


def llama_logits(llama_cpp, path, ids):
    """log-probs of every position, and greedy ids that follow all of them."""
    llama = llama_cpp.Llama(path, n_ctx=256, n_batch=256, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0)  # F32 keys
    llama.eval(ids)
    logits = np.array(llama.scores[:len(ids)], dtype=np.float64)
    out, lead = [], []
    row = logits[-1]
    while len(out) < NEW and (not out or out[-1] != llama.token_eos()):
        top = np.argsort(row)[-2:]
        out.append(int(top[1]))
        lead.append(float(row[top[1]] - row[top[0]]))
        llama.eval([out[-1]])
        row = np.array(llama.scores[llama.n_tokens - 1], dtype=np.float64)
    del llama
    return logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(-1, keepdims=True), out, lead


def compare(report, rlaif, llama_cpp, name, path, bound):
    """This program and llama.cpp on one file."""
    prompt, completion = TEXT
    row = rlaif.rows("logprobs", path, [{"prompt": prompt, "completion": completion}], "--dtype", "float32")[0]
    ids = rlaif.ids(path, [prompt])[0]
    logp, greedy, lead = llama_logits(llama_cpp, path, ids + row["ids"])
    want = np.array([logp[len(ids) - 1 + i, t] for i, t in enumerate(row["ids"])])
    off = float(np.abs(np.array(row["logprobs"]) - want).max())
    ours = shown(rlaif.rows("generate", path, [{"prompt": prompt + completion}], "--dtype", "float32", "--temperature", 0,
                            "--max_new_tokens", NEW)[0]["completions"][0])
    texts = [shown(llama_cpp_text(llama_cpp, path, greedy[:n])) for n in range(len(greedy) + 1)]
    same = ours == texts[-1]
    at = max(n for n, t in enumerate(texts) if ours.startswith(t))     # tokens until they part
    tie = not same and lead[min(at, len(lead) - 1)] < 50 * bound
    report.check(f"GGUF {name}", off <= bound and (same or tie),
                 f"log-probs of {len(want)} tokens off by {off:.1e}, greedy text over {len(greedy)} tokens "
                 + ("identical" if same else f"parts at token {at}, {'a near tie' if tie else 'where the best leads'} by {lead[at]:.4f}"))


def shown(text):
    """Random models write broken UTF-8, for which programs put different numbers of replacement characters, and NUL."""
    return re.sub("\ufffd+", "\ufffd", text.split("\0")[0]).rstrip("\ufffd")


def llama_cpp_text(llama_cpp, path, ids):
    llama = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    return llama.detokenize([i for i in ids if i != llama.token_eos()]).decode(errors="replace")


def families(report, rlaif, llama_cpp):
    for name in MODELS:
        if name == "wide":      # for the mix of types below
            continue
        with tempfile.TemporaryDirectory() as d:
            folder, path, back = (os.path.join(d, x) for x in ("hf", "model.gguf", "back"))
            make(name, folder)
            try:
                rlaif.run("export", "-m", folder, "--gguf", "F32", "--output", path)
                rlaif.run("export", "-m", path, "--dtype", "float32", "--output_dir", back)
            except RuntimeError as e:
                report.check(f"GGUF {name}", False, str(e))
                continue
            a, b = (load_file(os.path.join(x, "model.safetensors")) for x in (folder, back))
            differ = [k for k in b if k not in a or not torch.allclose(a[k], b[k], rtol=0, atol=2e-7 if name.startswith("gemma") else 0)]
            missing = [k for k in a if k not in b and "lm_head" not in k]
            configs = [json.load(open(os.path.join(x, "config.json"))) for x in (folder, back)]
            report.check(f"GGUF {name}: there and back", not differ and not missing and configs[0]["model_type"] in
                         (configs[1]["model_type"], "mistral"), f"{len(b)} tensors, {len(differ)} differ {differ[:2]}")
            compare(report, rlaif, llama_cpp, name, path, GELU if name.startswith(("gpt", "gemma")) else BOUND)


def demo(report, rlaif, llama_cpp):
    for kind, bound in [("F32", BOUND), ("F16", 1e-2), ("BF16", 5e-2), ("Q8_0", 0.1), ("Q4_0", 0.3), ("Q4_1", 0.3), ("Q4_K_M", 0.3), ("Q6_K", 0.1)]:
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "model.gguf")
            rlaif.run("export", "-m", "models/s", "--gguf", kind, "--output", path)
            compare(report, rlaif, llama_cpp, f"models/s {kind}", path, bound)


def tensors(path):
    return {t.name: t for t in gguf.GGUFReader(path).tensors}


def mix(report, rlaif, llama_cpp, source):
    """Types of tensors, and their errors, beside what llama-quantize makes of the same values."""
    for kind in ["Q8_0", "Q4_0", "Q4_1", "Q4_K_M", "Q6_K"]:
        with tempfile.TemporaryDirectory() as d:
            plain, ours, theirs = (os.path.join(d, x) for x in ("f32.gguf", "ours.gguf", "theirs.gguf"))
            rlaif.run("export", "-m", source, "--gguf", "F32", "--output", plain)
            rlaif.run("export", "-m", source, "--gguf", kind, "--output", ours)
            params = llama_cpp.llama_model_quantize_default_params()
            params.nthread = 1
            params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
            llama_cpp.llama_model_quantize(plain.encode(), theirs.encode(), ctypes.byref(params))
            a, b, x = tensors(ours), tensors(theirs), tensors(plain)
            other = [k for k in b if k not in a or a[k].tensor_type != b[k].tensor_type]
            errors = []
            for t in (a, b):
                errors.append(sum(float(((gguf.quants.dequantize(t[k].data, t[k].tensor_type).reshape(-1) - x[k].data.reshape(-1)) ** 2).sum())
                                  for k in t if k not in other))
            ratio = (errors[0] / errors[1]) ** 0.5
            report.check(f"GGUF {os.path.basename(source)} {kind} beside llama-quantize", not other and ratio <= 1 + 1e-6,
                         f"{len(b)} tensors, {len(other)} of another type {other[:2]}, {ratio:.4f} of its root mean square error")


def check(report, rlaif):
    try:
        import llama_cpp
    except ImportError:
        return report.skip("GGUF files in llama.cpp", "llama-cpp-python is not installed")
    families(report, rlaif, llama_cpp)
    demo(report, rlaif, llama_cpp)
    mix(report, rlaif, llama_cpp, "models/l")
    with tempfile.TemporaryDirectory() as d:    # columns that blocks of 256 divide, and layers enough for the mix
        make("wide", d)
        mix(report, rlaif, llama_cpp, d)
