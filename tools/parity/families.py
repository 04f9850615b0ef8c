"""Every family against transformers: a random small model, every quirk switched on, all in fp32.

The table of families x checks is printed, and written to docs/parity.md with PARITY_WRITE=1.  Columns: the largest
difference of any logit; of any gradient, relative to the tensor's norm; greedy ids that agree; the largest difference between
log-probs of generation over the cache and of one pass; of any logit after we wrote the folder and transformers read it; of
any token's score and of the gradients of a ForSequenceClassification, and of its score in our folder; of any logit after
the model was written to a GGUF file (F32) and read from there."""
import json
import os
import subprocess
import sys
import tempfile

import torch
import transformers as tr

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
import vectors_families as vf  # noqa: E402

LOGITS, GRADIENTS, SAVED, NEW = 1e-4, 1e-4, 1e-4, 64
SEED = 1000
COLUMNS = ["logits", "gradients", "greedy", "cached", "saved", "scores", "score grad.", "score saved", "GGUF"]


def floats(path):
    with open(path, "rb") as f:
        values = bytearray(f.read())
    return torch.frombuffer(values, dtype=torch.float32) if values else torch.empty(0)


def run(program, folder, ask, out):
    path = os.path.join(out, "ask.json")
    os.makedirs(out, exist_ok=True)
    with open(path, "w") as f:
        json.dump(ask | {"max_model_len": run.max_model_len}, f)
    r = subprocess.run([program, folder, path, out], capture_output=True)
    if r.returncode:
        raise RuntimeError(r.stderr.decode(errors="replace"))
    with open(os.path.join(out, "facts.json")) as f:
        facts = json.load(f)
    return facts, floats(os.path.join(out, "logits.bin")), floats(os.path.join(out, "grad.bin"))


run.max_model_len = 0       # of the family at hand


def gradient_error(names, got, want):
    """The largest difference of a gradient relative to its norm, or to 1e-3 of the norm of all where that is more: some are nought
    but for rounding, such as a bias of keys that do not turn."""
    at, worst = 0, 0.0
    least = 1e-3 * float(torch.stack([w.double().norm() for w in want.values()]).norm())
    for name, n in names:
        g, w = got[at:at + n].double(), want[name].double().flatten()
        at += n
        worst = max(worst, float((g - w).norm()) / max(float(w.norm()), least))
    return worst


def rows(model, seqs):
    with torch.no_grad():
        return torch.cat([model(torch.tensor([s])).logits[0].flatten() for s in seqs])


def ask_for(model, seqs, **more):
    names = [[k, v.numel()] for k, v in vf.by_file_name(model, lambda p: p).items()]
    return {"sequences": seqs, "names": names, "new": NEW, **more}


def language_model(program, name, folder, seqs):
    for seed in range(SEED, SEED + 100):        # greedy ids are compared, so no two best logits may be near
        model = vf.make(name, seed)
        want_ids, lead = vf.greedy(model, seqs[0], NEW)
        if lead > vf.LEAD:
            break
    model.save_pretrained(folder)
    weight = getattr(model.config, "router_aux_loss_coef", 0.0)
    ask = ask_for(model, seqs, router=weight)
    facts, logits, grads = run(program, folder, ask, folder + "-out")
    want = rows(model, seqs)
    loss = vf.mean_loss(model, seqs)
    if weight:
        loss = loss + weight * vf.router_loss(model, seqs)
    loss.backward()
    again = tr.AutoModelForCausalLM.from_pretrained(folder + "-out/saved", dtype=torch.float32, attn_implementation="eager").eval()
    return {"logits": (float((logits - want).abs().max()), LOGITS),
            "gradients": (gradient_error(ask["names"], grads, vf.by_file_name(model)), GRADIENTS),
            "greedy": (sum(a == b for a, b in zip(facts["greedy"], want_ids)), NEW),
            "cached": (facts["cached"], 0.0),
            "saved": (float((rows(again, seqs) - want).abs().max()), SAVED)}


def gguf(program, name, folder, seqs):
    """Through a GGUF file and back, without what llama.cpp does not compute (which is refused)."""
    rlaif, path = os.path.join(os.path.dirname(program), "rlaif"), folder + ".gguf"
    if subprocess.run([rlaif, "export", "--help"], capture_output=True).returncode:
        return {"GGUF": (None, SAVED)}      # a program that writes none
    vf.make(name, SEED, **vf.TAME.get(name, {})).save_pretrained(folder)
    ask = {"sequences": seqs, "names": [], "new": 1}
    _, logits, _ = run(program, folder, ask, folder + "-out")
    r = subprocess.run([rlaif, "export", "-m", folder, "--gguf", "F32", "--output", path], capture_output=True)
    if r.returncode:
        raise RuntimeError(r.stderr.decode(errors="replace"))
    _, again, _ = run(program, path, ask, folder + "-again")
    return {"GGUF": (float((again - logits).abs().max()), SAVED)}


def body_scores(model, seqs):
    """The scalar head at every token, as a value model reads it."""
    body = getattr(model, model.base_model_prefix)
    return torch.cat([model.score(body(torch.tensor([s])).last_hidden_state)[0, :, 0] for s in seqs])


def reward_model(program, name, folder, seqs):
    model = vf.make(name, SEED, vf.classifier(name), num_labels=1)
    model.save_pretrained(folder)
    ask = ask_for(model, seqs, scalar=True)
    _, scores, grads = run(program, folder, ask, folder + "-out")
    want = body_scores(model, seqs)
    weights = torch.tensor([(i % 5 - 2) / 8 for i in range(len(want))])
    (want * weights).sum().backward()
    again = vf.classifier(name).from_pretrained(folder + "-out/saved", dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        last = [float(again(torch.tensor([s])).logits[0, 0]) for s in seqs]
    want = want.detach()
    ends = [sum(len(s) for s in seqs[:i + 1]) - 1 for i in range(len(seqs))]
    return {"scores": (float((scores - want).abs().max()), LOGITS),
            "score grad.": (gradient_error(ask["names"], grads, vf.by_file_name(model)), GRADIENTS),
            "score saved": (max(abs(a - float(want[e])) for a, e in zip(last, ends)), SAVED)}


def good(column, value, bound):
    if value is None:
        return True
    return value == bound if column == "greedy" else value <= bound


def show(column, value):
    if value is None:
        return "-"
    return f"{value} of {NEW}" if column == "greedy" else "0" if value == 0 else f"{value:.0e}"


def table(found):
    lines = ["| model | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, checks in found.items():
        lines.append("| " + " | ".join([name] + [show(c, checks[c][0]) for c in COLUMNS]) + " |")
    return "\n".join(lines) + "\n"


def keep(text):
    """Puts the table between the marks of docs/parity.md."""
    path = os.path.join(HERE, "..", "..", "docs", "parity.md")
    with open(path) as f:
        page = f.read()
    begin, end = "<!-- families -->\n", "<!-- /families -->\n"
    a, b = page.index(begin) + len(begin), page.index(end)
    with open(path, "w") as f:
        f.write(page[:a] + f"\ntransformers {tr.__version__}, torch {torch.__version__.split('+')[0]}, one thread.\n\n" + text + "\n" + page[b:])


def check(report, program, only=()):
    torch.set_num_threads(1)
    seqs, found = vf.sequences(SEED), {}
    for name in only or vf.FAMILIES:
        run.max_model_len = 1280 if name == "phi3-long" else 0      # longer than the original length: the long factors
        with tempfile.TemporaryDirectory() as d:
            checks = {}
            for kind, compare in (("lm", language_model), ("rm", reward_model), ("gguf", gguf)):
                folder = os.path.join(d, kind)
                os.makedirs(folder)
                vf.write_tokenizer(folder)
                checks |= compare(program, name, folder, seqs)
        found[name] = checks
        bad = [c for c, (value, bound) in checks.items() if not good(c, value, bound)]
        report.check(f"family {name}", not bad, ", ".join(f"{c} {show(c, checks[c][0])}" for c in (bad or checks)))
    print(table(found))
    if os.environ.get("PARITY_WRITE") and not only:
        keep(table(found))


if __name__ == "__main__":
    from kit import Report
    tr.logging.set_verbosity_error()
    r = Report()
    check(r, sys.argv[1], sys.argv[2:])
    sys.exit(r.end())
