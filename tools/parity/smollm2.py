"""SmolLM2 from its GGUF file against transformers, which dequantises the same file: both in fp32.

Ids are ours: the conversion of the GGUF's tokenizer in transformers leaves its digit rule out (tokens.py compares ids)."""
import os

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from texts import TEXTS

BOUND = 1e-4        # of the largest logit
NEAR = 1e-3         # two best logits this close may change places
GREEDY, NEW = 8, 64


def token_strings(tokenizer, ids):
    """The ids whose text, alone, is a clean string on one line."""
    pairs = [(i, tokenizer.decode([i])) for i in ids]
    return [(i, s) for i, s in pairs if s.strip() and "\ufffd" not in s and "\n" not in s and "<" not in s]


def check_logprobs(report, rlaif, gguf, model, tokenizer):
    """Every token of the texts, and what the last position says of its likeliest and of arbitrary tokens."""
    prompts = rlaif.ids(gguf, [p for p, _ in TEXTS])
    ours = rlaif.rows("logprobs", gguf, [{"prompt": p, "completion": c} for p, c in TEXTS], "--dtype", "float32", "--dequantize")
    worst = tokens = 0
    for prompt, row in zip(prompts, ours):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + row["ids"]])).logits[0]
        want = torch.log_softmax(logits[len(prompt) - 1:-1], -1).gather(1, torch.tensor(row["ids"])[:, None])[:, 0]
        worst = max(worst, float((torch.tensor(row["logprobs"]) - want).abs().max() / logits.abs().max()))
        tokens += len(row["ids"])
    report.check("SmolLM2: log-probs of 20 texts", worst <= BOUND, f"{tokens} tokens, off by {worst:.1e} of the largest logit")

    asked, wanted, scale = [], [], []
    for (text, _), prompt in zip(TEXTS, prompts):
        with torch.no_grad():
            logits = model(torch.tensor([prompt])).logits[0, -1]
        some = logits.topk(12).indices.tolist() + list(range(300, len(logits), 3001))
        for i, s in token_strings(tokenizer, some):
            asked.append({"prompt": text, "completion": s})
            wanted.append((i, float(torch.log_softmax(logits, -1)[i])))
            scale.append(float(logits.abs().max()))
    ours = rlaif.rows("logprobs", gguf, asked, "--dtype", "float32", "--dequantize")
    errors = [abs(row["logprobs"][0] - p) / s for row, (i, p), s in zip(ours, wanted, scale) if row["ids"] == [i]]
    report.check("SmolLM2: logits after 20 texts", len(errors) > 200 and max(errors) <= BOUND,
                 f"{len(errors)} logits, off by {max(errors):.1e} of the largest")


def greedy(model, ids):
    """Greedy continuation: ids, and by how much each led the second best."""
    out, lead, past = [], [], None
    step = torch.tensor([ids])
    stop = model.generation_config.eos_token_id or model.config.eos_token_id
    while len(out) < NEW:
        with torch.no_grad():
            r = model(step, past_key_values=past, use_cache=True)
        best = r.logits[0, -1].topk(2)
        past = r.past_key_values
        out.append(int(best.indices[0]))
        lead.append(float(best.values[0] - best.values[1]))
        if out[-1] in (stop if isinstance(stop, list) else [stop]):
            break
        step = best.indices[:1][None]
    return out, lead


def first_difference(tokenizer, ids, text):
    """The first step after which the texts part, or None."""
    if tokenizer.decode(ids, skip_special_tokens=True).rstrip("\ufffd") == text.rstrip("\ufffd"):
        return None
    for n in range(1, len(ids) + 1):
        if not text.startswith(tokenizer.decode(ids[:n], skip_special_tokens=True).rstrip("\ufffd")):
            return n - 1
    return len(ids) - 1


def check_greedy(report, rlaif, gguf, model, tokenizer):
    texts = [p for p, _ in TEXTS[:GREEDY]]
    ours = rlaif.rows("generate", gguf, [{"prompt": p} for p in texts], "--dtype", "float32", "--dequantize", "--temperature", 0,
                      "--max_new_tokens", NEW)
    same = ties = 0
    detail = ""
    for prompt, row, text in zip(rlaif.ids(gguf, texts), ours, texts):
        ids, lead = greedy(model, prompt)
        at = first_difference(tokenizer, ids, row["completions"][0])
        same += at is None
        ties += at is not None and lead[at] < NEAR
        if at is not None and lead[at] >= NEAR:
            detail = f"; {text!r} parts at token {at}, where the best leads by {lead[at]:.4f}"
    report.check("SmolLM2: greedy continuations", same + ties == GREEDY,
                 f"{same} of {GREEDY} identical over {NEW} tokens, {ties} part at a near tie{detail}")


def check(report, rlaif, gguf):
    folder, name = os.path.split(os.path.abspath(gguf))
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    check_logprobs(report, rlaif, gguf, model, tokenizer)
    check_greedy(report, rlaif, gguf, model, tokenizer)
