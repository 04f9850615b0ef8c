"""Model folders that this program wrote, loaded in transformers: language models and reward models."""
import glob
import json
import os

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

BOUND = 1e-4
ROWS = 16

PLAIN = [{"prompt": "the old mill by the river", "completion": " was sold to the twins in the spring."},
         {"prompt": "we went to town", "completion": " and came back late."}] * 2


def models(places):
    """Folders with a config below the given places, checkpoints left out."""
    found = []
    for place in places:
        for path in glob.glob(os.path.join(place, "**", "config.json"), recursive=True):
            folder = os.path.dirname(path)
            if os.path.exists(os.path.join(folder, "model.safetensors")) and "checkpoint" not in folder:
                found.append(folder)
    return sorted(set(found))


def rows_for(folder):
    """Prompts of the run that the folder belongs to, with a completion each."""
    path = os.path.join(os.path.dirname(folder), "candidates.jsonl")
    if not os.path.exists(path):
        return PLAIN
    rows = []
    with open(path) as f:
        for line in f:
            row = json.loads(line)
            text = [c for c in row.get("completions", []) if c.strip()]
            if isinstance(row["prompt"], str) and text:
                rows.append({"prompt": row["prompt"], "completion": text[0]})
            if len(rows) == ROWS:
                break
    return rows or PLAIN


def language_model(report, rlaif, folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = rows_for(folder)
    ours = rlaif.rows("logprobs", folder, rows, "--dtype", "float32")
    worst = tokens = 0
    same = True
    for row, got in zip(rows, ours):
        prompt = tokenizer(row["prompt"])["input_ids"]
        ids = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
        same = same and got["ids"][:len(ids)] == ids
        with torch.no_grad():
            logits = model(torch.tensor([prompt + got["ids"]])).logits[0]
        want = torch.log_softmax(logits[len(prompt) - 1:-1], -1).gather(1, torch.tensor(got["ids"])[:, None])[:, 0]
        worst = max(worst, float((torch.tensor(got["logprobs"]) - want).abs().max()))
        tokens += len(got["ids"])
    report.check(f"{folder} in AutoModelForCausalLM", worst <= BOUND and same,
                 f"{len(rows)} rows, {tokens} log-probs, off by {worst:.1e}, ids {'equal' if same else 'differ'}")


def reward_model(report, rlaif, folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = rows_for(folder)
    worst = 0
    for got in rlaif.rows("score", folder, rows, "--dtype", "float32"):
        with torch.no_grad():
            want = float(model(torch.tensor([got["ids"]])).logits[0, 0])
        worst = max(worst, abs(got["raw_score"] - want) / max(1, abs(want)))
    report.check(f"{folder} in AutoModelForSequenceClassification", worst <= BOUND, f"{len(rows)} scores, off by {worst:.1e}")


def check(report, rlaif, places):
    found = models(places)
    if all(f.startswith("models") for f in found):
        report.skip("models of the demo", "no run folder with models (make demo writes runs/lab-tldr)")
    for folder in found:
        with open(os.path.join(folder, "config.json")) as f:
            kind = json.load(f).get("architectures", [""])[0]
        if kind.endswith("ForCausalLM"):
            language_model(report, rlaif, folder)
        elif kind.endswith("ForSequenceClassification"):
            reward_model(report, rlaif, folder)
        else:
            report.check(folder, False, f"architecture {kind!r}")
