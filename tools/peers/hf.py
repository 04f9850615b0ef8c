"""transformers (torch, on the CPU, bf16) as a peer of `rlaif bench`: a line of JSON in, {"units", "seconds"} or {"skip"} out."""
import gc
import json
import os
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what libraries print is not an answer

import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

models = {}


def model(q):
    if q["folder"] not in models:
        models.clear()
        gc.collect()
        models[q["folder"]] = AutoModelForCausalLM.from_pretrained(q["folder"], dtype=torch.bfloat16)
    return models[q["folder"]]


def ids(m, rows, n):
    return torch.randint(2, m.config.vocab_size, (rows, n))


def timed(f):
    start = time.monotonic()
    f()
    return time.monotonic() - start


def train(q):
    m = model(q).train()
    if not hasattr(m, "bench_optimizer"):
        m.bench_optimizer = torch.optim.AdamW(m.parameters(), lr=1e-5)
    x = ids(m, q["n"], q["length"])

    def step():
        m.bench_optimizer.zero_grad()
        m(input_ids=x, labels=x).loss.backward()
        m.bench_optimizer.step()

    return {"units": q["n"] * q["length"], "seconds": timed(step)}


@torch.no_grad()
def score(q):
    m = model(q).eval()
    x = ids(m, q["n"], q["length"])
    return {"units": x.numel(), "seconds": timed(lambda: m(input_ids=x, logits_to_keep=1))}


@torch.no_grad()
def label(q):
    """Both orders of a pair in one batch; nothing is kept from one pair to the next."""
    m = model(q).eval()
    n = min(q["n"], 2)  # pairs cost the same
    rows = [ids(m, 2, q["shared"] + q["length"]) for _ in range(n)]
    return {"units": n, "seconds": timed(lambda: [m(input_ids=x, logits_to_keep=1) for x in rows])}


@torch.no_grad()
def rollout(q):
    m = model(q).eval()
    x = ids(m, q["n"], q["length"])
    f = lambda: m.generate(x, attention_mask=torch.ones_like(x), do_sample=True, top_k=0, max_new_tokens=q["add"],
                           min_new_tokens=q["add"], pad_token_id=0)
    return {"units": q["n"] * q["add"], "seconds": timed(f)}


def answer(q):
    torch.set_num_threads(q["threads"])
    if q["quantised"]:
        return {"skip": "no packed weights"}
    if q["kind"] == "score" and q["shared"]:
        return {"skip": "no shared prefix"}
    f = {"train": train, "score": score, "label": label, "rollout": rollout}.get(q["kind"])
    return f(q) if f else {"skip": "not compared"}


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except Exception as e:
        reply = {"skip": f"{type(e).__name__}: {e}"[:120]}
    print(json.dumps(reply), file=out, flush=True)
