"""Parquet files byte by byte: what pyarrow does not write (old lists, damage), for tools/vectors_data.py."""
import struct

TYPES = {"i8": 3, "i16": 4, "i32": 5, "i64": 6, "binary": 8, "list": 9, "struct": 12}
BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE, BYTES, FIXED = range(8)
REQUIRED, OPTIONAL, REPEATED = range(3)
UTF8, MAP, MAP_KEY_VALUE, LIST = range(4)


def varint(n):
    out = bytearray()
    while True:
        out.append(n & 0x7f | (0x80 if n > 0x7f else 0))
        n >>= 7
        if not n:
            return bytes(out)


def zigzag(n):
    return varint(n * 2 if n >= 0 else -n * 2 - 1)


def value(kind, v):
    if kind in ("i16", "i32", "i64"):
        return zigzag(v)
    if kind == "i8":
        return struct.pack("b", v)
    if kind == "binary":
        return varint(len(v)) + v
    if kind == "struct":
        return thrift(v)
    element, items = v
    n = len(items)
    head = bytes([n << 4 | TYPES[element]]) if n < 15 else bytes([0xf0 | TYPES[element]]) + varint(n)
    return head + b"".join(value(element, x) for x in items)


def thrift(fields):
    """fields: (id, kind, value), None left out."""
    out, last = b"", 0
    for number, kind, v in fields:
        if v is None:
            continue
        code = (1 if v else 2) if kind == "bool" else TYPES[kind]
        step = number - last
        out += bytes([step << 4 | code]) if 0 < step < 16 else bytes([code]) + zigzag(number)
        out += b"" if kind == "bool" else value(kind, v)
        last = number
    return out + b"\0"


def element(name, type=None, repetition=REQUIRED, children=None, converted=None):
    return [(1, "i32", type), (3, "i32", repetition), (4, "binary", name.encode()), (5, "i32", children), (6, "i32", converted)]


def root(children):
    return [(4, "binary", b"schema"), (5, "i32", children)]


def runs(pairs, width):
    """RLE runs of (count, value)."""
    return b"".join(varint(n << 1) + v.to_bytes((width + 7) // 8, "little") for n, v in pairs)


def levels(pairs, most):
    if not most:
        return b""
    body = runs(pairs, most.bit_length())
    return struct.pack("<I", len(body)) + body


def plain(type, values):
    if type == BYTES:
        return b"".join(struct.pack("<I", len(v)) + v for v in values)
    return b"".join(struct.pack({INT32: "<i", INT64: "<q", DOUBLE: "<d", FLOAT: "<f"}[type], v) for v in values)


def data_page(n, body, encoding=0, size=None, stored=None, crc=None):
    head = [(1, "i32", 0), (2, "i32", len(body) if size is None else size), (3, "i32", len(body) if stored is None else stored),
            (4, "i32", crc), (5, "struct", [(1, "i32", n), (2, "i32", encoding), (3, "i32", 3), (4, "i32", 3)])]
    return thrift(head) + body


def dictionary_page(n, body):
    return thrift([(1, "i32", 2), (2, "i32", len(body)), (3, "i32", len(body)), (7, "struct", [(1, "i32", n), (2, "i32", 0)])]) + body


class Column:
    def __init__(self, type, pages, n, codec=0, dictionary=b"", at=None, size=None, file=None):
        self.type, self.pages, self.n, self.codec, self.dictionary = type, pages, n, codec, dictionary
        self.at, self.size, self.file = at, size, file


def parquet(schema, columns, rows, group_rows=None, footer=lambda f: f, end=b"PAR1", footer_size=None):
    out, chunks = b"PAR1", []
    for c in columns:
        at = len(out)
        out += c.dictionary + c.pages
        n = len(c.dictionary + c.pages)
        meta = [(1, "i32", c.type), (2, "list", ("i32", [0])), (3, "list", ("binary", [b"x"])), (4, "i32", c.codec), (5, "i64", c.n),
                (6, "i64", n), (7, "i64", n if c.size is None else c.size),
                (9, "i64", at + len(c.dictionary) if c.at is None else c.at), (11, "i64", at if c.dictionary else None)]
        chunks.append([(1, "binary", c.file), (2, "i64", at), (3, "struct", meta)])
    group = [(1, "list", ("struct", chunks)), (2, "i64", len(out)), (3, "i64", rows if group_rows is None else group_rows)]
    foot = footer(thrift([(1, "i32", 1), (2, "list", ("struct", schema)), (3, "i64", rows), (4, "list", ("struct", [group])),
                          (6, "binary", b"by hand")]))
    return out + foot + struct.pack("<I", len(foot) if footer_size is None else footer_size) + end
