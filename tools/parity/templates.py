"""Chat templates: `rlaif template` against transformers' apply_chat_template, and snippets against its Jinja2.

Templates come from tests/vectors/template, and from the folder PARITY_TEMPLATES names (any *.jinja below it), for those
whose licences keep them out of here."""
import json
import os
import random
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(HERE, "tools"))


def folder_with(vectors, templates, where):
    """A tokenizer's folder whose config holds templates by name."""
    shutil.copy(os.path.join(HERE, "tests/vectors/tokenizer/digits/tokenizer.json"), where)
    with open(os.path.join(where, "tokenizer_config.json"), "w") as f:
        json.dump({**vectors.TOKENS, "chat_template": [{"name": k, "template": v} for k, v in templates.items()]}, f)


def render(rlaif, model, requests):
    lines = "".join(json.dumps(r) + "\n" for r in requests)
    out = rlaif.run("template", "-m", model, "--keep_going", stdin=lines.encode()).decode()
    return [json.loads(line) for line in out.split("\n") if line]


def same(expected, got):
    return got == expected["text"] if "text" in expected else isinstance(got, dict)


def found_templates():
    out = {}
    for folder in [os.path.join(HERE, "tests/vectors/template"), os.environ.get("PARITY_TEMPLATES")]:
        for base, _, names in os.walk(folder) if folder else []:
            for name in sorted(names):
                if name.endswith(".jinja"):
                    with open(os.path.join(base, name), newline="") as f:
                        out[os.path.relpath(os.path.join(base, name), folder)] = f.read()
    return out


def check_templates(report, rlaif, vectors):
    tok, templates = vectors.tokenizer(), found_templates()
    with open(os.path.join(vectors.FOLDER, "conversations.json")) as f:
        talks = json.load(f)
    texts = bad = 0
    first = ""
    with tempfile.TemporaryDirectory() as d:
        folder_with(vectors, templates, d)
        requests = [{**{k: v for k, v in t.items() if k != "name"}, "template": name} for name in templates for t in talks]
        answers = iter(render(rlaif, d, requests))
        for name, template in templates.items():
            for talk in talks:
                expected, got = vectors.apply(tok, template, talk), next(answers)
                texts += "text" in expected
                if not same(expected, got):
                    bad += 1
                    first = first or f"; {name}, {talk['name']}: {str(expected)[:200]} / {str(got)[:200]}"
    report.check("chat templates", bad == 0,
                 f"{len(templates)} templates x {len(talks)} conversations, {texts} texts equal byte for byte, "
                 f"{len(templates) * len(talks) - texts} errors in both, {bad} differ{first}")


# ---- snippets ------------------------------------------------------------------------

FILTERS = ("upper lower title capitalize trim length first last list sort string int float abs round tojson join(',') "
           "default('D') default('D',true) sum min max replace('a','b') dictsort e count tojson(indent=2) "
           "wordcount center(9) groupby('role') safe reverse|list map('string')|list select|list").split(" ")
TESTS = ("defined undefined none string number mapping iterable sequence boolean integer float odd even true false lower "
         "upper callable").split() + ["in [1,'a']", "eq 1", "gt 1", "sameas none", "divisibleby 2"]
METHODS = ("upper() strip() split() split(',') items() keys() values() get('k') title() startswith('H') replace('l','L') "
           "count('l') index('a') find('o') splitlines() isdigit() zfill(5) lstrip('H') swapcase() capitalize() role k").split()
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">", "<=", ">=", "in", "not in", "and", "or"]
LITERALS = ["0", "1", "-2", "7", "2.5", "1e3", "'a'", "'b c'", "''", "'x,y,z'", "'é'", "[]", "[1,2,3]", "['b','A','c']",
            "{'k':1,'j':'v'}", "(1,2)", "n", "f", "t", "z", "messages", "messages[0]", "bos_token", "nothing"]


def expression(r, depth):
    kind = r.randrange(10) if depth else 0
    sub = lambda: expression(r, depth - 1)
    if kind < 2:
        return r.choice(LITERALS)
    if kind < 4:
        return f"({sub()} {r.choice(OPERATORS)} {sub()})"
    if kind < 6:
        return f"({sub()})|{r.choice(FILTERS)}"
    if kind == 6:
        return f"({sub()} is {r.choice(['', 'not '])}{r.choice(TESTS)})"
    if kind == 7:
        return f"({sub()}).{r.choice(METHODS)}"
    if kind == 8:
        return f"({sub()} if {sub()} else {sub()})"
    return f"[{sub()}, {sub()}]"


def block(r):
    dash, e = lambda: r.choice(["", "", "-", "+"]), lambda: expression(r, 1)
    space = lambda: r.choice(["", "\n", "  ", "\n  ", "x "])
    tag = lambda text: f"{space()}{{%{dash()} {text} {r.choice(['', '-'])}%}}{space()}"
    return r.choice([
        lambda: tag(f"if {e()}") + "a{{ " + e() + " }}" + tag("else") + "b" + tag("endif"),
        lambda: tag(f"for i in {r.choice(['messages', '[1,2,3]', e()])}") + "{{ loop.index }}{{ loop.last }}{{ " + e() + " }}" + tag("endfor"),
        lambda: tag(f"for i in [1,2,3,4] if {e()}") + "{{ i }}{{ loop.length }}" + tag("else") + "none" + tag("endfor"),
        lambda: tag(f"set n = {e()}") + "{{ n }}",
        lambda: tag("set q") + "{{ " + e() + " }}" + tag("endset") + "[{{ q }}]",
        lambda: tag("macro m(a, b=2)") + "{{ a }}{{ " + e() + " }}" + tag("endmacro") + "{{ m(1) }}{{ m(n, b=3) }}",
        lambda: tag("filter upper") + "{{ " + e() + " }}" + tag("endfilter"),
    ])()


# Not compared: methods and generators print their address in memory.
KNOWN = (" at 0x", "<built-in", "<bound", "<function", "<class")


def check_snippets(report, rlaif, vectors):
    with open(vectors.SNIPPETS) as f:
        first, *rest = [json.loads(line) for line in f]
    r = random.Random(7)
    templates = [row["template"] for row in rest] + ["{{ " + expression(r, 3) + " }}" for _ in range(600)] + [
        block(r) for _ in range(400)]
    variables = {k: v for k, v in first["variables"].items() if k != "messages"}
    bad, known, errors, example = 0, 0, 0, ""
    with tempfile.TemporaryDirectory() as d:
        folder_with(vectors, {f"s{i}": t for i, t in enumerate(templates)}, d)
        # null keys of messages are dropped on the way in, so there must be none
        given = [{"messages": first["variables"]["messages"], "variables": variables, "template": f"s{i}"}
                 for i in range(len(templates))]
        for template, got in zip(templates, render(rlaif, d, given)):
            expected = vectors.render_snippet(template, {
                **vectors.TOKENS, **json.loads(json.dumps(first["variables"])), "tools": None, "documents": None,
                "add_generation_prompt": False})
            errors += "error" in expected
            if any(k in expected.get("text", "") for k in KNOWN):
                known += 1
            elif not same(expected, got):
                bad += 1
                example = example or f"; {template!r}: {str(expected)[:200]} / {str(got)[:200]}"
    report.check("Jinja snippets", bad == 0, f"{len(templates)} against Jinja2, {errors} of them errors in both, "
                 f"{known} print addresses and are not compared, {bad} differ{example}")


def check(report, rlaif):
    try:
        import vectors_template as vectors
    except ImportError as e:
        report.skip("chat templates", e)
        return
    check_templates(report, rlaif, vectors)
    check_snippets(report, rlaif, vectors)
