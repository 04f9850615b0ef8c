"""Rows of Parquet against pyarrow (and `datasets`), of CSV against Python's csv; and how long reading takes."""
import csv
import gzip
import itertools
import json
import os
import random
import re
import subprocess
import tempfile
import time

CODECS = ["none", "snappy", "gzip", "zstd", "lz4"]
WORDS = "the a of answer question model said no yes is 42 äöü 你好 😀 \\n { \" , '".split(" ") + ["\n", "\t", ""]


def text(r, most=12):
    return " ".join(r.choice(WORDS) for _ in range(r.randrange(most)))


def some(r, nulls, make):
    """nulls: none, few, runs of them, or nothing else."""
    state = [False]

    def one():
        if nulls == "all":
            return None
        if nulls == "runs":
            if r.random() < 0.05:
                state[0] = not state[0]
            return None if state[0] else make()
        return None if nulls == "few" and r.random() < 0.1 else make()
    return one


def table_of(pa, n, nulls, seed):
    """Columns as alignment data sets have them, and nesting they do not."""
    r = random.Random(seed)
    turn = some(r, nulls, lambda: {"role": r.choice(["user", "assistant", "system"]), "content": text(r)})
    turns = some(r, nulls, lambda: [turn() for _ in range(r.randrange(4))])
    word, number = some(r, nulls, lambda: r.choice(WORDS)), some(r, nulls, lambda: r.randrange(-2**40, 2**40))
    small, real = some(r, nulls, lambda: r.randrange(-128, 128)), some(r, nulls, lambda: r.choice([r.gauss(0, 1), 0.0, 1e300]))
    flag, line = some(r, nulls, lambda: r.random() < 0.3), some(r, nulls, lambda: text(r, 60))
    deep = some(r, nulls, lambda: [[[small() for _ in range(r.randrange(3))] for _ in range(r.randrange(3))] for _ in range(r.randrange(3))])
    tree = some(r, nulls, lambda: {"a": number(), "b": turns(), "c": {"d": word(), "e": [real() for _ in range(r.randrange(3))]}})
    ints, msg = pa.list_(pa.int8()), pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    kinds = {"prompt": (pa.string(), line), "word": (pa.string(), word), "chosen": (msg, turns), "rejected": (msg, turns), "n": (pa.int64(), number),
             "i": (pa.int32(), small), "x": (pa.float64(), real), "y": (pa.float32(), small), "ok": (pa.bool_(), flag), "deep": (pa.list_(pa.list_(ints)), deep),
             "tree": (pa.struct([("a", pa.int64()), ("b", msg), ("c", pa.struct([("d", pa.string()), ("e", pa.list_(pa.float64()))]))]), tree)}
    return pa.table({k: pa.array([make() for _ in range(n)], t) for k, (t, make) in kinds.items()})


def encodings():
    delta = {c: "DELTA_BINARY_PACKED" for c in ["n", "i", "tree.a", "deep.list.element.list.element.list.element"]}
    yield "dictionary", {}
    yield "plain", {"use_dictionary": False}
    yield "delta", {"use_dictionary": False, "column_encoding": {**delta, "prompt": "DELTA_LENGTH_BYTE_ARRAY", "word": "DELTA_BYTE_ARRAY", "ok": "RLE",
                                                                 "tree.c.d": "DELTA_BYTE_ARRAY", "x": "BYTE_STREAM_SPLIT", "y": "BYTE_STREAM_SPLIT"}}
    yield "overflow", {"dictionary_pagesize_limit": 200}       # a dictionary that is given up in the middle


def lines(program, *files):
    r = subprocess.run([program, *files], capture_output=True)
    if r.returncode:
        return r.stderr.decode(errors="replace")
    return [json.loads(line) for line in r.stdout.split(b"\n") if line]


def difference(got, want):
    if isinstance(got, str):
        return got
    if len(got) != len(want):
        return f"{len(got)} rows, expected {len(want)}"
    for i, (a, b) in enumerate(zip(got, want)):
        if a != b:
            key = next((k for k in b if a.get(k) != b[k]), "keys")
            return f"row {i + 1}, {key}: {a.get(key)!r}, expected {b.get(key)!r}"
    return None


def check_parquet(report, rows, folder):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from rows import rows_of
    sizes = [("one group", {}), ("small pages", {"data_page_size": 64, "write_batch_size": 7, "row_group_size": 101, "write_page_checksum": True})]
    for nulls in ["no", "few", "runs", "all"]:
        table = table_of(pa, 400, nulls, 7)
        want, wrong, count = rows_of(table), [], 0
        for codec, (name, how), version, (size, more) in itertools.product(CODECS, encodings(), ["1.0", "2.0"], sizes):
            path = os.path.join(folder, "t.parquet")
            pq.write_table(table, path, compression=codec, data_page_version=version, **how, **more)
            bad = difference(lines(rows, path), want)
            count += 1
            if bad:
                wrong.append(f"{codec}, {name}, v{version[0]}, {size}: {bad}")
        report.check(f"Parquet equals pyarrow, {nulls} nulls", not wrong,
                     f"{count} files (codecs x encodings x page versions x page sizes), {table.num_columns} columns, {len(wrong)} differ" +
                     (f", first: {wrong[0]}" if wrong else ""))


def check_shards(report, rows, folder):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from rows import rows_of
    want = []
    for i in range(3):
        table = table_of(pa, 50, "few", i)
        pq.write_table(table, os.path.join(folder, f"train-{i:05}-of-00003.parquet"))
        want += rows_of(table)
    bad = difference(lines(rows, os.path.join(folder, "train-*.parquet")), want)
    report.check("shards are one data set in order", not bad, bad or f"{len(want)} rows of 3 files")


def check_datasets(report, rows, folder):
    name = "Parquet of `datasets`"
    try:
        import datasets
    except ImportError:
        return report.skip(name, "datasets is not installed")
    r = random.Random(3)
    want = [{"prompt": text(r), "messages": [{"role": "user", "content": text(r)} for _ in range(r.randrange(3))], "label": r.randrange(3),
             "scores": [r.random() for _ in range(r.randrange(4))], "meta": {"source": text(r), "n": i if i % 3 else None}} for i in range(3000)]
    path = os.path.join(folder, "d.parquet")
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(want).to_parquet(path)
    bad = difference(lines(rows, path), want)
    report.check(name, not bad, bad or f"{len(want)} rows, datasets {datasets.__version__}")


def check_csv(report, rows, folder):
    r = random.Random(5)
    want = [{k: text(r).replace("\r", "") or None for k in ["prompt", "chosen", "a name, with comma"]} for _ in range(2000)]
    want = [row for row in want if any(row.values())]
    for name, opener, how in [("c.csv", open, {}), ("c.tsv", open, {"delimiter": "\t"}), ("c.csv.gz", gzip.open, {"lineterminator": "\n"})]:
        path = os.path.join(folder, name)
        with opener(path, "wt", encoding="utf-8", newline="") as f:
            w = csv.DictWriter(f, list(want[0]), **how)
            w.writeheader()
            w.writerows(want)
        bad = difference(lines(rows, path), want)
        report.check(f"{name} equals what csv wrote", not bad, bad or f"{len(want)} rows")


def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start


def check_speed(report, rows, folder):
    """Best of five each, in turn, one thread."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    r = random.Random(9)
    answer = [text(r, 200) for _ in range(5000)]
    chat = [{"prompt": f"{i} {answer[i % 5000]}", "messages": [{"role": role, "content": f"{i} {answer[(i * 7 + k) % 5000]}"}
                                                             for k, role in enumerate(["user", "assistant"])]} for i in range(30000)]
    flat = [{"id": i, "x": i / 7, "source": "ab"[i % 2], "text": answer[i % 5000]} for i in range(100000)]
    for name, data in [("conversations", chat), ("flat columns", flat)]:
        path = os.path.join(folder, "s.parquet")
        pq.write_table(pa.Table.from_pylist(data), path, row_group_size=10000)
        best = {"ours": 1e9, "pyarrow": 1e9}
        for _ in range(5):
            best["pyarrow"] = min(best["pyarrow"], seconds(lambda: pq.read_table(path, use_threads=False).to_pylist()))
            said = subprocess.run([rows, "--time", path], capture_output=True, text=True, check=True).stdout
            best["ours"] = min(best["ours"], float(re.search(r" in ([\d.]+) s", said)[1]))
        report.check(f"reading {name} takes at most 1.2 times what pyarrow's to_pylist does", best["ours"] <= 1.2 * best["pyarrow"],
                     f"{len(data)} rows, {os.path.getsize(path) / 1e6:.1f} MB: {best['ours']:.3f} s, pyarrow {pa.__version__} {best['pyarrow']:.3f} s")


def check(report, rlaif):
    rows = os.path.join(os.path.dirname(rlaif.program), "examples", "rows")
    with tempfile.TemporaryDirectory() as folder:
        check_csv(report, rows, folder)
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            return report.skip("Parquet equals pyarrow", "pyarrow is not installed")
        check_parquet(report, rows, folder)
        check_shards(report, rows, folder)
        check_datasets(report, rows, folder)
        check_speed(report, rows, folder)
