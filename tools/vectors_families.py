"""Writes tests/vectors/families/: a tiny random model of every family, every quirk switched on, and what transformers
makes of it.

    python tools/vectors_families.py [NAME...]

Each folder holds config.json and model.safetensors as transformers saves them (values that bfloat16 holds, stored so),
and case.json: two sequences, logits at some rows, the mean loss of all next tokens, of the gradient of every tensor
its norm and its sums under three patterns of signs, and 64 greedy ids.  tokenizer.json is shared by all.
Needs torch, transformers, tokenizers, safetensors; fp32 throughout.  The same versions write the same bytes."""
import json
import os
import sys

import torch
import transformers as tr
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers.modeling_layers import GenericForSequenceClassification
from transformers.models.granite.modeling_granite import GranitePreTrainedModel

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "vectors", "families")
VOCAB = 260
GREEDY = 64
LEAD = 2e-3         # by how much every greedy id leads the second best; seeds are tried until it does
MASK = (1 << 64) - 1

BASE = dict(vocab_size=VOCAB, bos_token_id=None, eos_token_id=256, pad_token_id=257, attn_implementation="eager")
SHAPE = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=192)
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 24, "rope_theta": 5000.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 100.0}
LONG = {"rope_type": "longrope", "rope_theta": 1000.0, "short_factor": [1.0, 1.3, 1.9, 2.5], "long_factor": [1.0, 2.0, 8.0, 20.0]}

FAMILIES = {
    "llama": (tr.LlamaConfig, SHAPE | dict(rope_parameters=LLAMA3, head_dim=8, attention_bias=True, mlp_bias=True)),
    "llama-linear": (tr.LlamaConfig, SHAPE | dict(rope_parameters={"rope_type": "linear", "factor": 3.0, "rope_theta": 700.0},
                                                  tie_word_embeddings=True, hidden_act="gelu")),
    "llama-dynamic": (tr.LlamaConfig, SHAPE | dict(rope_parameters={"rope_type": "dynamic", "factor": 2.5, "rope_theta": 900.0},
                                                   num_key_value_heads=4, hidden_act="relu")),
    "mistral": (tr.MistralConfig, SHAPE | dict(sliding_window=19, head_dim=8)),
    "mixtral": (tr.MixtralConfig, SHAPE | dict(sliding_window=50, num_local_experts=5, num_experts_per_tok=2,
                                               intermediate_size=16, router_aux_loss_coef=0.05)),
    "qwen2": (tr.Qwen2Config, SHAPE | dict(use_sliding_window=True, sliding_window=21, max_window_layers=1, rope_parameters=YARN)),
    "qwen3": (tr.Qwen3Config, SHAPE | dict(head_dim=10, attention_bias=True, tie_word_embeddings=True,
                                           rope_parameters={"rope_type": "yarn", "factor": 2.0, "rope_theta": 50.0,
                                                            "original_max_position_embeddings": 96, "beta_fast": 16.0,
                                                            "beta_slow": 2.0, "truncate": False, "attention_factor": 0.9})),
    "gemma": (tr.GemmaConfig, SHAPE | dict(head_dim=10, num_key_value_heads=1)),
    "gemma2": (tr.Gemma2Config, SHAPE | dict(head_dim=10, query_pre_attn_scalar=17, sliding_window=20, attn_logit_softcapping=3.0,
                                             final_logit_softcapping=4.0)),
    "gemma3": (tr.Gemma3TextConfig, SHAPE | dict(
        head_dim=8, query_pre_attn_scalar=12, sliding_window=15, num_hidden_layers=3, final_logit_softcapping=5.0,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 3000.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 150.0}})),
    "phi3": (tr.Phi3Config, SHAPE | dict(rope_parameters=LONG | {"partial_rotary_factor": 0.5}, hidden_size=32, num_attention_heads=2,
                                         num_key_value_heads=1,
                                         original_max_position_embeddings=160, max_position_embeddings=1280, sliding_window=33)),
    "phi3-long": (tr.Phi3Config, SHAPE | dict(rope_parameters=LONG | {"partial_rotary_factor": 0.5}, hidden_size=32,
                                              num_attention_heads=2, num_key_value_heads=1, original_max_position_embeddings=8,
                                              max_position_embeddings=1280, sliding_window=33)),    # every sequence is a long one
    "gpt2": (tr.GPT2Config, dict(n_embd=24, n_layer=2, n_head=3, n_positions=192, scale_attn_by_inverse_layer_idx=True)),
    "gpt_neox": (tr.GPTNeoXConfig, dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                                        max_position_embeddings=192, rotary_pct=0.25)),
    "gpt_neox-serial": (tr.GPTNeoXConfig, dict(hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                                               max_position_embeddings=192, rotary_pct=0.5, use_parallel_residual=False,
                                               attention_bias=False, hidden_act="gelu_new", tie_word_embeddings=True)),
    "olmo2": (tr.Olmo2Config, SHAPE | dict()),
    "granite": (tr.GraniteConfig, SHAPE | dict(embedding_multiplier=3.0, residual_multiplier=0.22, attention_multiplier=0.3,
                                               logits_scaling=2.5, tie_word_embeddings=True, mlp_bias=True)),
    "smollm3": (tr.SmolLM3Config, SHAPE | dict(no_rope_layer_interval=2, attention_bias=True, use_sliding_window=True,
                                               sliding_window=23)),
}


# What llama.cpp does not compute for an architecture, given up: for GGUF files.
TAME = {
    "llama-linear": dict(hidden_act="silu"),
    "llama-dynamic": dict(hidden_act="silu", rope_parameters={"rope_type": "default", "rope_theta": 900.0}),
    "qwen2": dict(use_sliding_window=False),
    "qwen3": dict(attention_bias=False, rope_parameters={"rope_type": "default", "rope_theta": 900.0}),
    "gemma2": dict(query_pre_attn_scalar=10),
    "gemma3": dict(query_pre_attn_scalar=8, final_logit_softcapping=None, num_hidden_layers=6, layer_types=None,
                   rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 3000.0},
                                    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}),
    "gpt2": dict(scale_attn_by_inverse_layer_idx=False),
    "gpt_neox-serial": dict(hidden_act="gelu", tie_word_embeddings=False, attention_bias=True),
    "smollm3": dict(no_rope_layer_interval=4, num_hidden_layers=4, use_sliding_window=False, attention_bias=False),
}


class GraniteForSequenceClassification(GenericForSequenceClassification, GranitePreTrainedModel):
    """transformers has none of its own; this is what it makes of other families."""


def classifier(name):
    return GraniteForSequenceClassification if name == "granite" else tr.AutoModelForSequenceClassification


def liven(model):
    """Gains near 1 (or 0 where one is added), biases and matrices large enough that every nonlinearity bends."""
    offset = model.config.model_type.startswith("gemma")
    with torch.no_grad():
        for name, p in model.named_parameters():
            gain = p.dim() == 1 and name.endswith("weight")
            x = torch.randn_like(p) * (0.2 if p.dim() == 1 else 0.3)
            p.copy_((x + 1 if gain and not offset else x).bfloat16().float())


def make(name, seed, kind=tr.AutoModelForCausalLM, **more):
    config_class, quirks = FAMILIES[name]
    torch.manual_seed(seed)
    quirks = json.loads(json.dumps(quirks))         # the classes change what they are given
    start = getattr(kind, "from_config", None) or kind._from_config
    model = start(config_class(**BASE | quirks | more), attn_implementation="eager").float().eval()
    liven(model)
    return model


def sequences(seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (n,), generator=g).tolist() for n in (9, 70)]      # one longer than a block of keys


def mean_loss(model, seqs):
    total, count = 0, 0
    for ids in seqs:
        logits = model(torch.tensor([ids])).logits[0]
        total = total + torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="sum")
        count += len(ids) - 1
    return total / count


def greedy(model, ids, n):
    """The ids, and the least lead of one over the second best."""
    out, lead, past, step = [], 1e9, None, torch.tensor([ids])
    while len(out) < n:
        with torch.no_grad():
            r = model(step, past_key_values=past, use_cache=True)
        best = r.logits[0, -1].topk(2)
        past = r.past_key_values
        out.append(int(best.indices[0]))
        lead = min(lead, float(best.values[0] - best.values[1]))
        step = torch.tensor([[out[-1]]])
    return out, lead


def by_file_name(model, value=lambda p: p.grad):
    """Gradients under the names of the file: transformers keeps Mixtral's experts in one tensor and renames GPT-NeoX's head."""
    out = {}
    for name, p in model.named_parameters():
        v = value(p)
        if ".mlp.experts.gate_up_proj" in name:
            for e, both in enumerate(v):
                stem = name.replace("mlp.experts.gate_up_proj", f"block_sparse_moe.experts.{e}.")
                out[stem + "w1.weight"], out[stem + "w3.weight"] = both.chunk(2)
        elif ".mlp.experts.down_proj" in name:
            for e, one in enumerate(v):
                out[name.replace("mlp.experts.down_proj", f"block_sparse_moe.experts.{e}.w2.weight")] = one
        else:
            if model.config.model_type == "mixtral":
                name = name.replace(".mlp.gate.", ".block_sparse_moe.gate.")
            if model.config.model_type == "gpt_neox":
                name = name.replace("lm_head", "embed_out")
            out[name] = v
    return out


def sign(pattern, i):
    """+1 or -1: a bit of a hash (SplitMix64's finish) that the C side computes as well."""
    z = ((pattern << 32) + i + 1) * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return 1.0 if (z ^ z >> 31) & 1 else -1.0


def sums(grad):
    g = grad.double().flatten()
    signs = torch.tensor([[sign(p, i) for i in range(len(g))] for p in range(3)], dtype=torch.float64)
    return [float(g.norm())] + (signs @ g).tolist()


def router_loss(model, seqs):
    """Over the rows of both sequences together, as over one batch."""
    gates = [model(torch.tensor([ids]), output_router_logits=True).router_logits for ids in seqs]
    joined = tuple(torch.cat(layer) for layer in zip(*gates))
    c = model.config
    return tr.models.mixtral.modeling_mixtral.load_balancing_loss_func(joined, c.num_local_experts, c.num_experts_per_tok)


def write(name):
    for seed in range(1, 200):
        model, seqs = make(name, seed), sequences(seed)
        ids, lead = greedy(model, seqs[0], GREEDY)
        if lead > LEAD:
            break
    folder = os.path.join(HERE, name)
    model.save_pretrained(folder)
    saved = {k: v.bfloat16() for k, v in load(folder).items()}
    save(folder, saved)
    case = {"torch": torch.__version__.split("+")[0], "transformers": tr.__version__, "seed": seed, "sequences": seqs,
            "greedy": ids}
    case["rows"] = [[0, len(s) // 2, len(s) - 1] for s in seqs]
    with torch.no_grad():
        case["logits"] = [[[round(float(x), 6) for x in model(torch.tensor([s])).logits[0, r]] for r in rows]
                          for s, rows in zip(seqs, case["rows"])]
    loss = mean_loss(model, seqs)
    case["loss"] = float(loss.detach())
    if name == "mixtral":
        aux = router_loss(model, seqs)
        case |= {"router_loss": float(aux.detach()), "router_weight": model.config.router_aux_loss_coef}
        loss = loss + model.config.router_aux_loss_coef * aux
    loss.backward()
    case["gradients"] = {k: [float(f"{x:.7g}") for x in sums(v)] for k, v in by_file_name(model).items()}
    with open(os.path.join(folder, "case.json"), "w") as f:
        json.dump(case, f)
        f.write("\n")
    os.remove(os.path.join(folder, "generation_config.json"))
    print(name, f"seed {seed}, lead {lead:.1e}, loss {case['loss']:.4f},",
          sum(os.path.getsize(os.path.join(folder, x)) for x in os.listdir(folder)), "bytes", flush=True)


def load(folder):
    from safetensors.torch import load_file
    return load_file(os.path.join(folder, "model.safetensors"))


def save(folder, tensors):
    from safetensors.torch import save_file
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, os.path.join(folder, "model.safetensors"),
              metadata={"format": "pt"})


def write_tokenizer(folder):
    """Bytes alone, and an end and a pad."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens(["<|endoftext|>", "<|pad|>"])
    t.save(os.path.join(folder, "tokenizer.json"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    tr.logging.set_verbosity_error()
    os.makedirs(HERE, exist_ok=True)
    write_tokenizer(HERE)
    for each in sys.argv[1:] or FAMILIES:
        write(each)
