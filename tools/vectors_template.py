#!/usr/bin/env python3
"""What Jinja2, set up as transformers sets it up, makes of chat templates.

    tools/vectors_template.py [--add-snippets FILE] [--add-templates NAME=FILE...]

Rewrites, from the templates that stand in them:
  tests/cases/chat/jinja.jsonl     snippets: the text each one renders, or the error (one variable set, in its first line)
  tests/vectors/template/expect.jsonl   each NAME.jinja there with each conversation of conversations.json: the text,
                                        its SHA-256 where it is long, or the error
--add-snippets takes a file with one snippet on each line, --add-templates copies templates in.
"""
import hashlib
import json
import os
import shutil
import sys

import transformers.utils.chat_template_utils as utils
from transformers import PreTrainedTokenizerFast
from tokenizers import Tokenizer, models

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SNIPPETS = os.path.join(HERE, "tests/cases/chat/jinja.jsonl")
FOLDER = os.path.join(HERE, "tests/vectors/template")
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
LONG = 300


def render_snippet(template, variables):
    try:
        return {"text": utils._compile_jinja_template(template).render(**variables)}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"}


def tokenizer():
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **TOKENS)


def apply(tok, template, request):
    """apply_chat_template of a request as chat_apply takes it: a text, or what went wrong."""
    r = dict(request)
    try:
        return {"text": tok.apply_chat_template(
            r["messages"], tools=r.get("tools"), documents=r.get("documents"), chat_template=template, tokenize=False,
            add_generation_prompt=r.get("add_generation_prompt", False),
            continue_final_message=r.get("continue_field") or False, **r.get("variables", {}))}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"[:200]}


def rewrite_snippets(more):
    with open(SNIPPETS) as f:
        first, *rest = [json.loads(line) for line in f]
    seen, out = set(), []
    for template in [r["template"] for r in rest] + more:
        if template not in seen:
            seen.add(template)
            out.append({"template": template, **render_snippet(template, first["variables"])})
    with open(SNIPPETS, "w") as f:
        for row in [first] + out:
            f.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(len(out), "snippets,", sum("error" in r for r in out), "of them errors")


def rewrite_vectors():
    with open(os.path.join(FOLDER, "conversations.json")) as f:
        requests = json.load(f)
    names = sorted(n for n in os.listdir(FOLDER) if n.endswith(".jinja"))
    tok, errors = tokenizer(), 0
    with open(os.path.join(FOLDER, "expect.jsonl"), "w") as f:
        for name in names:
            with open(os.path.join(FOLDER, name), newline="") as t:
                template = t.read()
            for request in requests:
                got = apply(tok, template, request)
                errors += "error" in got
                if len(got.get("text", "")) > LONG:
                    got = {"sha256": hashlib.sha256(got["text"].encode()).hexdigest()}
                f.write(json.dumps({"template": name, "conversation": request["name"], **got}, ensure_ascii=False) + "\n")
    print(len(names), "templates x", len(requests), "conversations,", errors, "errors")


def main():
    snippets, args = [], sys.argv[1:]
    while args:
        what = args.pop(0)
        if what == "--add-snippets":
            with open(args.pop(0)) as f:
                snippets += [line.rstrip("\n") for line in f if line.strip()]
        elif what == "--add-templates":
            while args and "=" in args[0]:
                name, path = args.pop(0).split("=", 1)
                shutil.copyfile(path, os.path.join(FOLDER, name + ".jinja"))
    rewrite_snippets(snippets)
    rewrite_vectors()


if __name__ == "__main__":
    main()
