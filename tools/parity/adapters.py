"""Adapters against PEFT, every family, all in fp32: PEFT's folders in this library (logits, gradients of every A and B), folders
this library writes in PEFT (logits), folders that rlaif sft --use_peft writes, reward adapters, and what export merges."""
import json
import os
import subprocess
import sys
import tempfile

import peft
import torch
import transformers as tr

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import vectors_families as vf  # noqa: E402
from families import body_scores, gradient_error, rows, run  # noqa: E402

LOGITS, GRADIENTS, SEED = 5e-5, 1e-4, 1000      # logits relative to the largest
ATTENTION = {"gpt2": ["c_attn", "attn.c_proj"], "gpt_neox": ["query_key_value", "dense"], "phi3": ["qkv_proj", "o_proj"],
             "mixtral": ["q_proj", "k_proj", "v_proj", "o_proj"]}


def family(name):
    return name.split("-")[0]


def config(name, **more):
    """Everything linear (of Mixtral the attention: its experts are no modules in transformers 5), with patterns."""
    kind = family(name)
    some = ATTENTION.get(kind, ["q_proj"])[0]
    target = ATTENTION["mixtral"] if kind == "mixtral" else "all-linear"
    return peft.LoraConfig(**{"r": 3, "lora_alpha": 4, "target_modules": target, "rank_pattern": {some: 5},
                              "alpha_pattern": {"1.*": 7}, "use_rslora": len(name) % 2 == 0,
                              "fan_in_fan_out": kind == "gpt2"} | more)


def liven(model):
    torch.manual_seed(7)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if "lora_" in n:
                p.copy_(torch.randn_like(p) * 0.1)


def ours(name):
    """PEFT's name of a parameter, as this library says it."""
    name = name.removeprefix("base_model.model.").replace(".default", "").replace(".modules_to_save", "")
    return name.replace("lm_head", "embed_out") if "gpt_neox" in name else name


def difference(got, want):
    return float((got - want).abs().max() / want.abs().max())


def ask_for(model, seqs, base, **more):
    names = [[ours(n), p.numel()] for n, p in model.named_parameters() if p.requires_grad]
    return {"sequences": seqs, "names": names, "new": 1, "base": base, **more}


def language_model(program, name, d, seqs, **more):
    base, folder = os.path.join(d, "base"), os.path.join(d, "adapter")
    plain = vf.make(name, SEED)
    plain.save_pretrained(base)
    vf.write_tokenizer(base)
    model = peft.get_peft_model(plain, config(name, task_type="CAUSAL_LM", **more)).eval()
    liven(model)
    model.save_pretrained(folder, save_embedding_layers=False)
    ask = ask_for(model, seqs, base, router=0.0)
    _, logits, grads = run(program, folder, ask, folder + "-out")
    want = rows(model, seqs)
    vf.mean_loss(model, seqs).backward()
    named = {ours(n): p.grad for n, p in model.named_parameters() if p.requires_grad}
    fresh = tr.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    again = peft.PeftModel.from_pretrained(fresh, folder + "-out/saved").eval()
    return {"logits": (difference(logits, want), LOGITS), "gradients": (gradient_error(ask["names"], grads, named), GRADIENTS),
            "saved": (difference(rows(again, seqs), want), LOGITS)}, base, folder, want


def trained(program, name, d, base, seqs):
    """A folder of rlaif sft --use_peft, in PEFT; and merged by rlaif export, in transformers."""
    rlaif = os.path.join(os.path.dirname(program), "rlaif")
    data, out, merged = (os.path.join(d, x) for x in ("sft.jsonl", "trained", "merged"))
    with open(data, "w") as f:
        f.write(json.dumps({"prompt": "A word: ", "completion": "red, green"}) + "\n")
    common = ["--max_model_len", str(run.max_model_len)]

    def call(*args):
        r = subprocess.run([rlaif, *args], capture_output=True)
        if r.returncode:
            raise RuntimeError(r.stderr.decode(errors="replace"))
    call("sft", "-m", base, "--dataset_name", data, "--output_dir", out, "--use_peft", "--lora_r", "4", "--lora_target_modules",
         *ATTENTION.get(family(name), ["q_proj", "o_proj", "up_proj"]), "--use_rslora",
         "--learning_rate", "0.03", "--max_steps", "4", "--dtype", "float32", "--threads", "1", "--quiet", *common)
    fresh = tr.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager").eval()
    plain = rows(fresh, seqs)
    model = peft.PeftModel.from_pretrained(fresh, out).eval()
    want = rows(model, seqs)
    _, logits, _ = run(program, out, {"sequences": seqs, "names": [], "new": 1, "base": base}, out + "-out")
    if difference(want, plain) < 1e-3:
        raise RuntimeError(f"{name}: training moved nothing")
    call("export", "-m", base, "--adapter", out, "--output_dir", merged, "--dtype", "float32")
    whole = tr.AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32, attn_implementation="eager").eval()
    return {"trained": (difference(logits, want), LOGITS), "merged": (difference(rows(whole, seqs), want), LOGITS)}


def reward_model(program, name, d, seqs):
    base, folder = os.path.join(d, "base"), os.path.join(d, "reward")
    plain = vf.make(name, SEED, vf.classifier(name), num_labels=1)
    model = peft.get_peft_model(plain, config(name, task_type="SEQ_CLS")).eval()
    liven(model)
    model.save_pretrained(folder)
    body = peft.get_peft_model_state_dict(model)
    lm = vf.make(name, SEED)            # the base is the language model with the same body
    lm.load_state_dict({k.replace(".base_layer", "").removeprefix("base_model.model."): v for k, v in model.state_dict().items()
                        if "lora_" not in k and "score" not in k}, strict=False)
    lm.save_pretrained(base)
    vf.write_tokenizer(base)
    ask = ask_for(model, seqs, base, scalar=True)
    _, scores, grads = run(program, folder, ask, folder + "-out")
    want = body_scores(model.base_model.model, seqs)
    weights = torch.tensor([(i % 5 - 2) / 8 for i in range(len(want))])
    (want * weights).sum().backward()
    named = {ours(n): p.grad for n, p in model.named_parameters() if p.requires_grad}
    back = peft.load_peft_weights(folder + "-out/saved")
    worst = max(float((back[k] - body[k]).abs().max()) for k in body)
    return {"scores": (difference(scores, want.detach()), LOGITS),
            "score grad.": (gradient_error(ask["names"], grads, named), GRADIENTS), "score saved": (worst, 0.0)}


def outer(program, name, d, seqs):
    """Embedding and head adapted; then trained whole."""
    found = {}
    embed = {"gpt2": "wte", "gpt_neox": "embed_in"}.get(family(name), "embed_tokens")
    some = ATTENTION.get(family(name), ["q_proj"])[0]
    for kind, more in (("outer", {"target_modules": [embed, "lm_head", some]}),
                       ("whole", {"target_modules": [some], "modules_to_save": ["lm_head", embed]})):
        with tempfile.TemporaryDirectory() as inside:
            checks, *_ = language_model(program, name, inside, seqs, **more)
            found |= {f"{kind} {c}": v for c, v in checks.items()}
    return found


def check(report, program, only=()):
    torch.set_num_threads(1)
    seqs = vf.sequences(SEED)
    for name in only or vf.FAMILIES:
        run.max_model_len = 1280 if name == "phi3-long" else 0
        with tempfile.TemporaryDirectory() as d:
            checks, base, _, _ = language_model(program, name, d, seqs)
            checks |= trained(program, name, d, base, seqs)
        with tempfile.TemporaryDirectory() as d:
            checks |= reward_model(program, name, d, seqs)
        if name in ("llama", "qwen3", "gemma2", "gpt2", "granite", "olmo2"):
            with tempfile.TemporaryDirectory() as d:
                checks |= outer(program, name, d, seqs)
        bad = [c for c, (value, bound) in checks.items() if not value <= bound]
        report.check(f"adapters on {name}", not bad, ", ".join(f"{c} {checks[c][0]:.0e}" for c in (bad or checks)))


if __name__ == "__main__":
    from kit import Report
    tr.logging.set_verbosity_error()
    r = Report()
    check(r, sys.argv[1], sys.argv[2:])
    sys.exit(r.end())
