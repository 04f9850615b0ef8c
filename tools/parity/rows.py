"""Rows as pyarrow reads them, told as the JSON that src/data/parquet/parquet.h promises."""
import datetime
import decimal
import json
import math
import uuid

import pyarrow as pa
import pyarrow.parquet as pq


def jsonable(v, t):
    if v is None:
        return None
    if pa.types.is_map(t):
        return {k: jsonable(x, t.item_type) for k, x in v}
    if pa.types.is_list(t) or pa.types.is_large_list(t) or pa.types.is_fixed_size_list(t):
        return [jsonable(x, t.value_type) for x in v]
    if pa.types.is_struct(t):
        return {f.name: jsonable(v[f.name], f.type) for f in t}
    if pa.types.is_dictionary(t):
        return jsonable(v, t.value_type)
    if pa.types.is_timestamp(t) and hasattr(v, "astimezone") and v.tzinfo is not None:
        return v.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(v, (datetime.datetime, datetime.date, datetime.time)):
        return v.isoformat()
    if isinstance(v, decimal.Decimal):
        return format(v, "f")
    if isinstance(v, uuid.UUID):
        return str(v)
    if isinstance(v, bytes):
        return v.decode()
    if isinstance(v, float) and not math.isfinite(v):
        return None
    if hasattr(v, "item"):
        return v.item()
    return v


def rows_of(table):
    return [{f.name: jsonable(row[f.name], f.type) for f in table.schema} for row in table.to_pylist()]


def rows_read(path):
    return rows_of(pq.ParquetFile(path).read())


def write_lines(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
