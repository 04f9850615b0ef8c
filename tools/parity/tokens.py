"""Token ids of real text against llama.cpp on the same GGUF file."""
import glob
import gzip
import json
import os

LINES = 10000
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "shared", "data")


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from strings(v)
    elif isinstance(value, dict):
        for v in value.values():
            yield from strings(v)


def lines():
    """Lines of all data files in turn, so that each kind of text has its share."""
    def of(path):
        with gzip.open(path, "rt", encoding="utf-8") as f:
            rows = json.load(f) if path.endswith(".json.gz") else (json.loads(row) for row in f)
            for row in rows:
                for s in strings(row):
                    yield from (x for x in s.split("\n") if x and "\r" not in x)

    files = [of(p) for p in sorted(glob.glob(os.path.join(DATA, "*.jsonl.gz")) + glob.glob(os.path.join(DATA, "*", "*", "*.json.gz")))]
    while files:
        for f in list(files):
            try:
                yield next(f)
            except StopIteration:
                files.remove(f)


def check(report, rlaif, gguf):
    name = "token ids of real lines equal llama.cpp's"
    try:
        import llama_cpp
    except ImportError:
        return report.skip(name, "llama-cpp-python is not installed")
    text = [s for s, _ in zip(lines(), range(LINES))]
    if not text:
        return report.skip(name, f"no data in {os.path.normpath(DATA)}")
    llama = llama_cpp.Llama(gguf, vocab_only=True, verbose=False)
    got = rlaif.ids(gguf, text)
    wrong = [s for s, ids in zip(text, got) if ids != llama.tokenize(s.encode(), add_bos=False, special=False)]
    report.check(name, not wrong and len(got) == len(text),
                 f"{len(text)} lines, {sum(map(len, got))} tokens, {len(wrong)} lines differ" +
                 (f", first {wrong[0][:60]!r}" if wrong else ""))
    back = rlaif.run("tokenize", "-m", gguf, "--decode", stdin="".join(json.dumps(x) + "\n" for x in got).encode())
    report.check("decoding them gives the lines back", back == "".join(s + "\n" for s in text).encode(), f"{len(back)} bytes")
