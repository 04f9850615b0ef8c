"""Writes tests/vectors/data: small Parquet files and the rows in them (pyarrow's), and damaged ones with what is said.

    python tools/vectors_data.py
"""
import csv
import datetime
import decimal
import os
import sys
import zlib

import pyarrow as pa
import pyarrow.parquet as pq

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "parity"))
sys.path.insert(0, HERE)
import parquet_by_hand as hand
from parquet_by_hand import BYTES, FIXED, INT32, INT64, LIST, MAP, OPTIONAL, REPEATED, REQUIRED, UTF8, Column, element, root
from rows import rows_of, rows_read, write_lines

OUT = os.path.join(HERE, "..", "tests", "vectors", "data")


def folder(name):
    path = os.path.join(OUT, name)
    os.makedirs(path, exist_ok=True)
    return path


def write(name, table, files):
    d = folder(name)
    write_lines(os.path.join(d, "rows.jsonl"), rows_of(table))
    for file, options in files.items():
        pq.write_table(table, os.path.join(d, file + ".parquet"), store_schema=False, **options)


# ---- rows as preference data sets have them ------------------------------------------

def chat():
    def turn(role, content):
        return {"role": role, "content": content}

    rows = []
    for i in range(23):
        question = turn("user", f"Question {i}: what is {i} + {i}? " + "äß€😀"[: i % 5])
        rows.append({
            "prompt": None if i % 7 == 3 else f"Question {i}",
            "chosen": [question, turn("assistant", f"It is {2 * i}.")] + ([turn("user", "Sure?")] if i % 4 == 1 else []),
            "rejected": [] if i % 6 == 5 else None if i % 6 == 2 else [question, turn("assistant", None if i % 5 == 4 else "No idea.")],
            "score_chosen": None if i % 3 == 2 else i / 7,
            "label": i % 2 == 0,
            "source": ["ultra", "hh", None][i % 3],
        })
    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    schema = pa.schema([("prompt", pa.string()), ("chosen", message), ("rejected", message), ("score_chosen", pa.float64()),
                        ("label", pa.bool_()), ("source", pa.string())])
    table = pa.Table.from_pylist(rows, schema=schema)
    files = {}
    for codec in ["none", "snappy", "zstd", "gzip", "lz4"]:
        for version in ["1.0", "2.0"]:
            files[f"{codec}-v{version[0]}"] = {"compression": codec, "data_page_version": version}
    files["plain"] = {"compression": "none", "use_dictionary": False, "row_group_size": 5, "write_page_checksum": True}
    files["pages"] = {"compression": "snappy", "data_page_size": 1, "write_batch_size": 2, "row_group_size": 9, "write_page_index": True}
    files["old-lists"] = {"compression": "snappy", "use_compliant_nested_type": False, "version": "1.0"}
    write("chat", table, files)


# ---- every type in every encoding it can have ------------------------------------------

def types():
    n = 40
    day = datetime.datetime(1969, 12, 31, 23, 59, 59, 123456)
    step = datetime.timedelta(days=397, seconds=7919, microseconds=250)
    some = [None if i % 9 == 4 else i for i in range(n)]

    def each(f):
        return [None if i is None else f(i) for i in some]

    columns = {
        "i8": pa.array(each(lambda i: i - 20), pa.int8()), "u8": pa.array(each(lambda i: 255 - i), pa.uint8()),
        "i16": pa.array(each(lambda i: i * 1000 - 20000), pa.int16()), "u32": pa.array(each(lambda i: 2**32 - 1 - i), pa.uint32()),
        "i32": pa.array(each(lambda i: (-1) ** i * 2**31 // (i + 1) if i else -2**31), pa.int32()),
        "i64": pa.array(each(lambda i: (-1) ** i * (2**63 - 1) // (i + 1)), pa.int64()),
        "u64": pa.array(each(lambda i: 2**62 + i), pa.uint64()),
        "f16": pa.array(each(lambda i: [0.0, -0.5, 65504.0, 6e-8, float("inf"), float("nan")][i % 6]), pa.float16()),
        "f32": pa.array(each(lambda i: [0.1, -1e30, float("nan"), 3.5][i % 4] * i), pa.float32()),
        "f64": pa.array(each(lambda i: [0.1, -1e300, float("-inf"), 1 / 3][i % 4]), pa.float64()),
        "bool": pa.array(each(lambda i: i % 3 == 0)),
        "text": pa.array(each(lambda i: "prefix of many letters " * (i % 3) + str(i * i) + "ü" * (i % 4))),
        "large": pa.array(each(str), pa.large_string()), "word": pa.array(each(lambda i: "ab"[i % 2])).dictionary_encode(),
        "bytes": pa.array(each(lambda i: b"bytes %d" % i)), "fixed": pa.array(each(lambda i: b"%05d" % i), pa.binary(5)),
        "date": pa.array(each(lambda i: (day + i * 70 * step).date() if i % 2 else datetime.date(1 + i * i, 2, 28))),
        "time_ms": pa.array(each(lambda i: i * 2199999), pa.time32("ms")), "time_us": pa.array(each(lambda i: i * 2199999999), pa.time64("us")),
        "stamp_ms": pa.array(each(lambda i: day + i * step), pa.timestamp("ms")), "stamp_us": pa.array(each(lambda i: day - i * step), pa.timestamp("us")),
        "stamp_utc": pa.array(each(lambda i: day + i * step), pa.timestamp("us", "UTC")),
        "dec_9": pa.array(each(lambda i: decimal.Decimal(i - 20) / 100), pa.decimal128(9, 2)),
        "dec_38": pa.array(each(lambda i: decimal.Decimal((-1) ** i * 10**37 + i)), pa.decimal128(38, 0)),
        "nothing": pa.array([None] * n, pa.null()), "needed": pa.array(range(n), pa.int32()),
    }
    table = pa.table(columns)
    table = table.set_column(table.schema.get_field_index("needed"), pa.field("needed", pa.int32(), nullable=False), columns["needed"])
    by_kind = {
        "delta": {**{c: "DELTA_BINARY_PACKED" for c in ["i8", "u8", "i16", "u32", "i32", "i64", "u64", "date", "time_ms", "time_us", "stamp_ms",
                                                        "stamp_us", "stamp_utc", "needed", "dec_9"]},
                  **{c: "DELTA_LENGTH_BYTE_ARRAY" for c in ["text", "large", "bytes"]}, "fixed": "DELTA_BYTE_ARRAY", "bool": "RLE"},
        "prefix": {c: "DELTA_BYTE_ARRAY" for c in ["text", "large", "bytes", "fixed"]},
        "split": {c: "BYTE_STREAM_SPLIT" for c in ["i32", "i64", "f16", "f32", "f64", "fixed", "u32"]},
    }
    files = {"plain": {"use_dictionary": False}, "dictionary": {"use_dictionary": True}, "v2": {"data_page_version": "2.0", "use_dictionary": False}}
    for name, encodings in by_kind.items():
        files[name] = {"use_dictionary": False, "column_encoding": encodings, "data_page_version": "2.0" if name == "delta" else "1.0",
                       "store_decimal_as_integer": name == "delta"}
    for o in files.values():
        o.update(compression="zstd", version="2.6")
    write("types", table, files)
    stamps = pa.table({"at": pa.array([day, None, day + 10 * step], pa.timestamp("ns")),
                       "fine": pa.array([1, 1234567891234567891, None], pa.timestamp("ns"))})
    write("int96", stamps, {"int96": {"use_deprecated_int96_timestamps": True}, "int64": {"version": "2.6"}})


# ---- nesting ---------------------------------------------------------------------------

def nested():
    def pick(i, k):
        return [None, [], [None], [1], [i, None, k], [k] * 5][(i * 5 + k) % 6]

    rows = [{
        "ll": None if i % 5 == 0 else [pick(i, k) for k in range(i % 4)],
        "ls": [] if i % 4 == 1 else [None if k == i % 3 else {"a": pick(i, k), "b": {"c": None if k % 2 else str(k), "d": pick(k, i)}}
                                     for k in range(i % 5)],
        "ss": None if i % 6 == 1 else {"x": None if i % 3 == 0 else {"y": None if i % 2 else i, "z": [str(i)] * (i % 3)}},
        "m": None if i % 7 == 2 else [(f"k{k}", pick(i, k)) for k in range(i % 3)],
    } for i in range(37)]
    ints = pa.list_(pa.int32())
    schema = pa.schema([
        ("ll", pa.list_(ints)),
        ("ls", pa.list_(pa.struct([("a", ints), ("b", pa.struct([("c", pa.string()), ("d", pa.large_list(pa.int32()))]))]))),
        ("ss", pa.struct([("x", pa.struct([("y", pa.int64()), ("z", pa.list_(pa.string()))]))])),
        ("m", pa.map_(pa.string(), ints)),
    ])
    table = pa.Table.from_pylist(rows, schema=schema)
    write("nested", table, {"v1": {"compression": "none"}, "v2": {"data_page_version": "2.0", "row_group_size": 10, "compression": "zstd"},
                            "pages": {"data_page_size": 1, "write_batch_size": 3, "use_dictionary": False, "compression": "none"}})


# ---- the kinds of rows that stages take ---------------------------------------------------

def stages():
    d = folder("stages")

    def turns(*texts):
        return [{"role": "assistant" if i % 2 else "user", "content": t} for i, t in enumerate(texts)]

    def save(name, rows, table=False):
        pq.write_table(pa.Table.from_pylist(rows), os.path.join(d, name + ".parquet"))
        write_lines(os.path.join(d, name + ".jsonl"), rows)
        if table:
            with open(os.path.join(d, name + ".csv"), "w", newline="", encoding="utf-8") as f:
                w = csv.DictWriter(f, list(rows[0]))
                w.writeheader()
                w.writerows(rows)

    n = range(12)
    save("prompts", [{"id": f"p{i}", "prompt": f"what is {i}, \"{i}\"?\n"} for i in n], True)
    save("sft", [{"prompt": f"count to {i}:", "completion": " " + " ".join(map(str, range(i + 1)))} for i in n], True)
    save("text", [{"text": f"a line of text\nand {i} more"} for i in n], True)
    save("pairs", [{"prompt": f"say {i}", "chosen": f"{i}", "rejected": f"{i}, or not", "label_prob": 0.5 + i / 24} for i in n], True)
    # columns that a row does not use are null, and a prompt beside messages repeats the first of them (UltraChat)
    save("messages", [{"prompt": f"hello {i}", "messages": turns(f"hello {i}", f"hello to you, {i}"), "completion": None} for i in n])
    save("pairs-chat", [{"prompt": f"is it {i}?", "chosen": turns(f"is it {i}?", f"yes, {i}"), "rejected": turns(f"is it {i}?", "no")} for i in n])
    save("candidates", [{"prompt": f"name {i}", "completions": [f"{i}", f"{i} or {i + 1}"]} for i in n])
    save("hh", [{"chosen": f"\n\nHuman: is {i} even?\n\nAssistant: {i % 2 == 0}", "rejected": f"\n\nHuman: is {i} even?\n\nAssistant: maybe"} for i in n], True)


# ---- lists as older writers spell them ---------------------------------------------------

def legacy():
    d = folder("legacy")

    def one(name, schema, columns, rows):
        path = os.path.join(d, name + ".parquet")
        with open(path, "wb") as f:
            f.write(hand.parquet(schema, columns, rows))
        write_lines(os.path.join(d, name + ".jsonl"), rows_read(path))

    def ints(reps, defs, most_def, values):
        n = len(reps)
        body = hand.levels([(1, r) for r in reps], 1) + hand.levels([(1, v) for v in defs], most_def) + hand.plain(INT32, values)
        return Column(INT32, hand.data_page(n, body), n)

    def texts(reps, defs, most_def, values):
        n = len(reps)
        body = hand.levels([(1, r) for r in reps], 1) + hand.levels([(1, v) for v in defs], most_def) + hand.plain(BYTES, values)
        return Column(BYTES, hand.data_page(n, body), n)

    # rows: [1, 2], null, [], [3]
    reps, two = [0, 1, 0, 0, 0], [2, 2, 0, 1, 2]
    one("two-levels", [root(1), element("a", None, OPTIONAL, 1, LIST), element("array", INT32, REPEATED)],
        [ints(reps, two, 2, [1, 2, 3])], 4)
    group = [element("array", None, REPEATED, 2), element("role", BYTES, REQUIRED, None, UTF8), element("content", BYTES, REQUIRED, None, UTF8)]
    one("two-level-structs", [root(1), element("messages", None, OPTIONAL, 1, LIST)] + group,
        [texts(reps, two, 2, [b"user", b"assistant", b"user"]), texts(reps, two, 2, [b"a", b"b", b"c"])], 4)
    one("tuple", [root(1), element("c", None, OPTIONAL, 1, LIST), element("c_tuple", None, REPEATED, 1), element("x", INT32, REQUIRED)],
        [ints(reps, two, 2, [1, 2, 3])], 4)
    one("bare", [root(1), element("d", INT32, REPEATED)], [ints([0, 1, 0, 0], [1, 1, 0, 1], 1, [1, 2, 3])], 3)
    one("bare-structs", [root(1), element("d", None, REPEATED, 1), element("x", INT32, OPTIONAL)],
        [ints([0, 1, 0, 0], [2, 1, 0, 2], 2, [1, 3])], 3)
    one("three-levels", [root(1), element("e", None, REQUIRED, 1, LIST), element("bag", None, REPEATED, 1), element("item", INT32, OPTIONAL)],
        [ints([0, 1, 0, 0], [2, 1, 0, 2], 2, [1, 3])], 3)


# ---- files that lie ------------------------------------------------------------------------

def bad():
    d, said = folder("bad"), []

    def save(name, data, part):
        with open(os.path.join(d, name + ".parquet"), "wb") as f:
            f.write(data)
        said.append(f"{name}\t{part}\n")

    number, text = [root(1), element("n", INT32)], [root(1), element("t", BYTES, OPTIONAL, None, UTF8)]
    listed = [root(1), element("l", None, OPTIONAL, 1, LIST), element("list", None, REPEATED, 2), element("a", INT32), element("b", INT32)]

    def numbers(values=(1, 2, 3), n=None, **o):
        page = {k: o.pop(k) for k in ("size", "stored", "crc", "encoding") if k in o}
        n = len(values) if n is None else n
        return Column(INT32, hand.data_page(n, hand.plain(INT32, values), **page), o.pop("entries", n), **o)

    good = hand.parquet(number, [numbers()], 3)
    save("cut", good[:-5], "cut short")
    save("encrypted", good[:-4] + b"PARE", "encrypted")
    save("long-footer", hand.parquet(number, [numbers()], 3, footer_size=2**31), "footer claims 2147483648 bytes")
    save("footer", hand.parquet(number, [numbers()], 3, footer=lambda f: f[:20] + b"\xff" * 9 + f[29:]), "footer is damaged")
    save("footer-nests", hand.parquet(number, [numbers()], 3, footer=lambda f: b"\x19\x1c" + b"\x1c" * 3000 + f), "footer is damaged")
    save("deep", hand.parquet([root(1)] + [element("g", None, OPTIONAL, 1)] * 40 + [element("n", INT32)], [numbers()], 3), "deeper than 32")
    save("children", hand.parquet([root(1), element("g", None, OPTIONAL, 2**31 - 1), element("n", INT32)], [numbers()], 3), "more children")
    save("no-children", hand.parquet([root(2), element("g", None, OPTIONAL), element("n", INT32)], [numbers()], 3), "a group without columns")
    save("leftover", hand.parquet([root(1), element("n", INT32), element("m", INT32)], [numbers()] * 2, 3), "schema has 3 elements")
    save("same-names", hand.parquet([root(2), element("n", INT32), element("n", INT32)], [numbers()] * 2, 3), "the same name")
    save("type", hand.parquet([root(1), element("n", 9)], [numbers()], 3), "unknown physical type 9")
    save("other-type", hand.parquet([root(1), element("n", INT64)], [numbers()], 3), "physical type is 1, the schema says 2")
    save("interval", hand.parquet([root(1), element("n", FIXED, OPTIONAL, None, 21)], [numbers()], 3), "INTERVAL")
    save("columns", hand.parquet(number, [numbers()] * 2, 3), "a row group of 2 columns, the schema has 1")
    save("rows", hand.parquet(number, [numbers()], 3, group_rows=4), "claims 3 rows, its row groups hold 4")
    save("few-values", hand.parquet(number, [numbers((1, 2))], 3), "fewer values than the row group has rows")
    save("many-values", hand.parquet(number, [numbers((1, 2, 3, 4))], 3), "more values than the row group has rows")
    save("missing-values", hand.parquet(number, [numbers(entries=5)], 3), "2 values are missing")
    save("page-values", hand.parquet(number, [numbers(n=9, entries=3)], 3), "a page of 9 values where 3 are left")
    save("short-values", hand.parquet(number, [numbers((1, 2), n=3)], 3), "end too early")
    save("offset", hand.parquet(number, [numbers(at=2**40)], 3), "from byte 1099511627776")
    save("chunk-size", hand.parquet(number, [Column(INT32, hand.data_page(3, hand.plain(INT32, [1, 2, 3])), 3, size=2**62)], 3), "bytes from byte 4 of a file")
    save("page-size", hand.parquet(number, [numbers(stored=2**30)], 3), "reaches beyond the column's end")
    save("bomb-snappy", hand.parquet(number, [Column(INT32, hand.data_page(3, b"\xff\xff\xff\xff\x03xx", size=2**30 - 1), 3, codec=1)], 3),
         "claims to become 1073741823")
    save("bomb-zstd", hand.parquet(number, [Column(INT32, hand.data_page(3, b"\x28\xb5\x2f\xfd" * 4, size=2**31 - 1), 3, codec=6)], 3), "claims to become")
    save("bomb-nulls", hand.parquet([root(1), element("l", None, OPTIONAL, 1, LIST), element("list", None, REPEATED, 1), element("i", INT32, OPTIONAL)],
                                    [Column(INT32, hand.data_page(2**31 - 1, hand.levels([(1, 0), (2**31 - 2, 1)], 1) + hand.levels([(2**31 - 1, 2)], 3)),
                                            2**31 - 1)], 1), "to be honest")
    save("snappy", hand.parquet(number, [Column(INT32, hand.data_page(3, b"\x0c\xfe\xff\xff", size=12), 3, codec=1)], 3), "SNAPPY data is damaged")
    save("crc", hand.parquet(number, [numbers(crc=1)], 3), "checksum is wrong")
    save("brotli", hand.parquet(number, [numbers(codec=4)], 3), "BROTLI")
    save("other-file", hand.parquet(number, [numbers(file=b"part.parquet")], 3), "in another file")
    save("encoding", hand.parquet(number, [numbers(encoding=4)], 3), "encoding 4")
    save("no-dictionary", hand.parquet(number, [numbers(encoding=8)], 3), "no dictionary")

    def picked(indices, claims=2):
        pages = hand.data_page(3, b"\x02" + hand.runs([(1, i) for i in indices], 2), encoding=8)
        return Column(INT32, pages, 3, dictionary=hand.dictionary_page(claims, hand.plain(INT32, [7, 8])))

    save("index", hand.parquet(number, [picked([0, 1, 3])], 3), "dictionary index 3 of a dictionary of 2")
    save("dictionary-size", hand.parquet(number, [picked([0, 1, 1], 2**31 - 1)], 3), "claims 2147483647 values")

    def leveled(pairs, body=b""):
        return Column(BYTES, hand.data_page(3, hand.levels(pairs, 1) + body), 3)

    save("levels", hand.parquet(text, [Column(BYTES, hand.data_page(3, b"\xff\0\0\0\6\0"), 3)], 3), "levels reach beyond the page")
    save("few-levels", hand.parquet(text, [leveled([(2, 0)])], 3), "definition levels end too early")
    save("lengths", hand.parquet(text, [leveled([(3, 1)], b"\xff\xff\xff\x7fabc")], 3), "end too early")

    def items(reps, defs, values):
        return Column(INT32, hand.data_page(len(reps), hand.levels([(1, r) for r in reps], 1) + hand.levels([(1, v) for v in defs], 2) +
                                            hand.plain(INT32, values)), len(reps))

    whole = items([0, 1, 0], [2, 2, 2], [1, 2, 3])
    save("high-level", hand.parquet(listed, [items([0, 1, 0], [2, 3, 2], [1, 2, 3]), whole], 2), "definition level of 3, the schema allows 2")
    save("first-level", hand.parquet(listed, [items([1, 1, 0], [2, 2, 2], [1, 2, 3]), whole], 2), "contradict")
    save("sibling-reps", hand.parquet(listed, [whole, items([0, 0, 1], [2, 2, 2], [1, 2, 3])], 2), "contradict")
    save("sibling-defs", hand.parquet(listed, [items([0, 0], [1, 0], []), items([0, 0], [0, 0], [])], 2), "contradict")
    with open(os.path.join(d, "said.txt"), "w") as f:
        f.writelines(said)
    spoilt = hand.parquet(text, [Column(BYTES, hand.data_page(4, hand.levels([(4, 1)], 1) + hand.plain(BYTES, [b"good", b"\xff", b"a\0b", b"end"])), 4)], 4)
    with open(os.path.join(folder("."), "spoilt.parquet"), "wb") as f:
        f.write(spoilt)


if __name__ == "__main__":
    chat()
    types()
    nested()
    stages()
    legacy()
    bad()
